/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/loopback.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HOST_SIZE 256

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    return address->sa_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
            (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) && v6->sin6_addr.s6_addr[12] == 127));
}

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
        all = all && is_loopback(at->ai_addr);
    freeaddrinfo(found);
    return all;
}
