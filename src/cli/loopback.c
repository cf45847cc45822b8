/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/loopback.h"

#include "net/address.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HOST_SIZE 256

bool listen_is_loopback(const char *listen)
{
    const char *end = strrchr(listen, ':');
    if (end == NULL)
        return false;
    if (listen[0] == '[' && end > listen && end[-1] == ']') {
        listen++;
        end--;
    }
    char host[HOST_SIZE];
    if (end == listen || (size_t)(end - listen) >= sizeof(host))
        return false;
    (void)snprintf(host, sizeof(host), "%.*s", (int)(end - listen), listen);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    bool all = found != NULL;
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next)
        all = all && address_is_loopback(at->ai_addr, at->ai_addrlen);
    freeaddrinfo(found);
    return all;
}
