/* SPDX-License-Identifier: Apache-2.0
 * loopback.h - whether an address is reached from this machine alone. */
#ifndef CLI_LOOPBACK_H
#define CLI_LOOPBACK_H
#include <stdbool.h>

/* Of HOST:PORT or [HOST]:PORT. A name counts by all that it stands for; an empty host is every
 * address, and what cannot be read or found is not known to be local. */
bool listen_is_loopback(const char *listen);
#endif
