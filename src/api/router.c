/* SPDX-License-Identifier: Apache-2.0
 * router.c - method and path -> the row of routes.def. */
#include "api/exchange.h"
#include "net/query.h"

#include <stdio.h>
#include <string.h>

static const struct route routes[] = {
#define ROUTE(port, method, path, scope, body, handler)                                            \
    {PORT_##port, method, path, SCOPE_##scope, BODY_##body, handler},
#include "api/routes.def"
#undef ROUTE
};

static struct bytes next_segment(struct bytes *path)
{
    const uint8_t *start = path->data + 1;
    size_t left = path->size - 1;
    const uint8_t *end = left > 0 ? memchr(start, '/', left) : NULL;
    struct bytes segment = {start, end != NULL ? (size_t)(end - start) : left};
    *path = (struct bytes){start + segment.size, left - segment.size};
    return segment;
}

/* RC_OK: it is this path. NOT_FOUND: it is another. INVALID: it is, but an escape is broken. */
static enum rc match(struct exchange *exchange, const char *pattern, struct bytes path,
                     struct error *err)
{
    struct bytes rest = bytes_of(pattern);
    uint32_t count = 0;
    while (rest.size > 0 && path.size > 0 && path.data[0] == '/') {
        struct bytes want = next_segment(&rest);
        struct bytes have = next_segment(&path);
        if (want.size == 0 || want.data[0] != '{') {
            if (!bytes_equal(want, have))
                return RC_NOT_FOUND;
            continue;
        }
        if (have.size == 0)
            return RC_NOT_FOUND;
        struct buf *segment = &exchange->segments[count++];
        buf_clear(segment);
        enum rc rc = query_decode_segment(have, segment, err);
        if (rc != RC_OK)
            return rc;
    }
    return rest.size == 0 && path.size == 0 ? RC_OK : RC_NOT_FOUND;
}

static bool method_matches(const char *method, struct bytes sent)
{
    /* HEAD is GET without the body, which the HTTP server leaves away. */
    return bytes_equal(sent, bytes_of(method)) ||
           (strcmp(method, "GET") == 0 && bytes_equal(sent, bytes_of("HEAD")));
}

enum rc route_find(struct exchange *exchange, enum route_port port, char *allow, size_t allow_size,
                   struct error *err)
{
    struct bytes path = http_path(exchange->http);
    struct bytes method = http_method(exchange->http);
    allow[0] = '\0';
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct route *route = &routes[i];
        enum rc rc = route->port == port ? match(exchange, route->path, path, err) : RC_NOT_FOUND;
        if (rc == RC_NOT_FOUND)
            continue;
        if (rc != RC_OK)
            return rc;
        if (method_matches(route->method, method)) {
            exchange->route = route;
            return RC_OK;
        }
        size_t used = strlen(allow);
        (void)snprintf(allow + used, allow_size - used, "%s%s%s", used > 0 ? ", " : "",
                       route->method, strcmp(route->method, "GET") == 0 ? ", HEAD" : "");
    }
    if (allow[0] != '\0')
        return error_set(err, RC_METHOD, "this resource takes %s, not %.*s", allow,
                         (int)(method.size < 20 ? method.size : 20), (const char *)method.data);
    return error_set(
        err, RC_NOT_FOUND, "%s",
        port == PORT_PUBLIC
            ? "nothing is served here; POST a picture to /v1/predict, or GET /v1/models"
            : "nothing is served here; this port has /livez and /readyz");
}
