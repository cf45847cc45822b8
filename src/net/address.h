/* SPDX-License-Identifier: Apache-2.0
 * address.h - which network addresses a stranger may make this machine talk to.
 *
 * Only those that the whole Internet reaches: what is private, loopback, link-local (cloud
 * metadata among it), shared, reserved, multicast or for documentation is not, nor is an IPv6
 * address that carries such an IPv4 address inside (mapped, NAT64, 6to4, ISATAP). Pure; any thread.
 */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H
#include <stdbool.h>
#include <sys/socket.h>

/* `size` bytes at `address`. Other families than IPv4 and IPv6 are neither. */
bool address_is_public(const struct sockaddr *address, socklen_t size);
bool address_is_loopback(const struct sockaddr *address, socklen_t size);
#endif
