/* SPDX-License-Identifier: Apache-2.0
 * client_url.h - the parts of a URL that the client goes by. Included by net/client*.c only. */
#ifndef NET_CLIENT_URL_H
#define NET_CLIENT_URL_H
#include "net/client.h"

#define CLIENT_HOST_SIZE 256u

struct client_url {
    bool plain;                  /* http:// */
    char host[CLIENT_HOST_SIZE]; /* "[::1]" for IPv6 */
    char port[8];                /* "": the scheme's */
};
/* INVALID as client_url_check() says it, but for what depends on the reach. */
NODISCARD enum rc client_url_read(struct bytes text, struct client_url *ret_url, struct error *err);
#endif
