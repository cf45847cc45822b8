/* SPDX-License-Identifier: Apache-2.0
 * client_url.c - reads URLs with libcurl's own parser, so that what is judged is what is called. */
#include "net/address.h"
#include "net/client_url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static enum rc copy_part(CURLU *parser, CURLUPart part, char *into, size_t size)
{
    char *text = NULL;
    into[0] = '\0';
    CURLUcode code = curl_url_get(parser, part, &text, 0);
    if (code == CURLUE_OUT_OF_MEMORY)
        return RC_NO_MEMORY;
    bool fits = code != CURLUE_OK || snprintf(into, size, "%s", text) < (int)size;
    curl_free(text);
    return fits ? RC_OK : RC_INVALID;
}

static enum rc read_parts(CURLU *parser, struct client_url *ret_url, struct error *err)
{
    char scheme[8];
    char more[CLIENT_URL_SIZE_MAX + 1];
    struct client_url url = {0};
    /* Long schemes are none of ours, and fail here as well. */
    enum rc rc = copy_part(parser, CURLUPART_SCHEME, scheme, sizeof(scheme));
    if (rc == RC_OK && strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
        rc = RC_INVALID;
    if (rc != RC_OK)
        return error_set(err, rc, "the URL must begin with https://");
    url.plain = strcmp(scheme, "http") == 0;
    rc = copy_part(parser, CURLUPART_FRAGMENT, more, sizeof(more));
    if (rc == RC_OK && more[0] != '\0')
        return error_set(err, RC_INVALID, "the URL must have no #fragment");
    if (rc == RC_OK)
        rc = copy_part(parser, CURLUPART_ZONEID, more, sizeof(more));
    if (rc == RC_OK && more[0] != '\0')
        return error_set(err, RC_INVALID, "the URL must have no zone in its address");
    if (rc == RC_OK)
        rc = copy_part(parser, CURLUPART_PORT, url.port, sizeof(url.port));
    if (rc == RC_OK)
        rc = copy_part(parser, CURLUPART_HOST, url.host, sizeof(url.host));
    if (rc == RC_OK && url.host[0] == '\0')
        rc = RC_INVALID;
    if (rc != RC_OK)
        return error_set(err, rc, "the URL must have a host");
    *ret_url = url;
    return RC_OK;
}

enum rc client_url_read(struct bytes text, struct client_url *ret_url, struct error *err)
{
    char whole[CLIENT_URL_SIZE_MAX + 1];
    if (text.size == 0 || text.size >= sizeof(whole))
        return error_set(err, RC_INVALID, "a URL has 1 to %u bytes", CLIENT_URL_SIZE_MAX);
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] <= ' ' || text.data[i] >= 0x7f)
            return error_set(err, RC_INVALID,
                             "a URL is printable ASCII without spaces; what is "
                             "not must be percent-encoded");
    memcpy(whole, text.data, text.size);
    whole[text.size] = '\0';
    CURLU *parser = curl_url();
    if (parser == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for a URL");
    CURLUcode code = curl_url_set(parser, CURLUPART_URL, whole, CURLU_DISALLOW_USER);
    enum rc rc = RC_OK;
    if (code == CURLUE_USER_NOT_ALLOWED)
        rc = error_set(err, RC_INVALID, "the URL must have no user name or password");
    else if (code == CURLUE_OUT_OF_MEMORY)
        rc = error_set(err, RC_NO_MEMORY, "no memory for a URL");
    else if (code != CURLUE_OK)
        rc = error_set(err, RC_INVALID, "the URL must be like https://example.com/path");
    else
        rc = read_parts(parser, ret_url, err);
    curl_url_cleanup(parser);
    return rc;
}

/* Of an address in digits; false for a name. */
static bool parse_address(const char *host, struct sockaddr_storage *ret_address)
{
    struct sockaddr_storage address = {0};
    char bare[CLIENT_HOST_SIZE];
    size_t size = strlen(host);
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    bool found = false;
    if (host[0] == '[' && size > 2) {
        memcpy(bare, host + 1, size - 2);
        bare[size - 2] = '\0';
        address.ss_family = AF_INET6;
        found = inet_pton(AF_INET6, bare, &v6->sin6_addr) == 1;
    } else {
        address.ss_family = AF_INET;
        found = inet_pton(AF_INET, host, &v4->sin_addr) == 1;
    }
    *ret_address = address;
    return found;
}

/* RFC 6761: these names are loopback wherever they are asked for. */
static bool is_localhost(const char *host)
{
    static const char name[] = "localhost";
    size_t size = strlen(host);
    size -= size > 0 && host[size - 1] == '.';
    size_t own = sizeof(name) - 1;
    return size >= own && strncasecmp(host + size - own, name, own) == 0 &&
           (size == own || host[size - own - 1] == '.');
}

enum rc client_url_check(struct bytes text, enum client_reach reach, struct error *err)
{
    struct client_url url;
    enum rc rc = client_url_read(text, &url, err);
    if (rc != RC_OK || reach == CLIENT_ANY)
        return rc;
    struct sockaddr_storage address;
    bool digits = parse_address(url.host, &address);
    const struct sockaddr *at = (const struct sockaddr *)&address;
    bool local = digits ? address_is_loopback(at, sizeof(address)) : is_localhost(url.host);
    if (url.plain && !(reach == CLIENT_TRUSTED && local))
        return error_set(err, RC_INVALID, "the URL must begin with https://");
    if (reach == CLIENT_PUBLIC && (local || (digits && !address_is_public(at, sizeof(address)))))
        return error_set(err, RC_INVALID, "the URL must lead to a public address");
    return RC_OK;
}

void client_origin(struct bytes text, char into[CLIENT_ORIGIN_SIZE])
{
    struct client_url url;
    into[0] = '\0';
    if (client_url_read(text, &url, NULL) == RC_OK)
        (void)snprintf(into, CLIENT_ORIGIN_SIZE, "%s://%s%s%s", url.plain ? "http" : "https",
                       url.host, url.port[0] != '\0' ? ":" : "", url.port);
}
