/* SPDX-License-Identifier: Apache-2.0 */
#include "net/address.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct block {
    uint8_t octets[16];
    uint8_t bits;
};

/* IANA's IPv4 special-purpose registry, multicast, and what is reserved. */
static const struct block private_v4[] = {
    {{0}, 8},             /* this network */
    {{10}, 8},            /* private */
    {{100, 64}, 10},      /* shared by carriers */
    {{127}, 8},           /* loopback */
    {{169, 254}, 16},     /* link-local */
    {{172, 16}, 12},      /* private */
    {{192, 0, 0}, 24},    /* protocol assignments */
    {{192, 0, 2}, 24},    /* documentation */
    {{192, 88, 99}, 24},  /* 6to4 relays */
    {{192, 168}, 16},     /* private */
    {{198, 18}, 15},      /* benchmarks */
    {{198, 51, 100}, 24}, /* documentation */
    {{203, 0, 113}, 24},  /* documentation */
    {{224}, 4},           /* multicast */
    {{240}, 4},           /* reserved, broadcast */
};

/* Global unicast is 2000::/3, and nothing else is public; of it, these are not. */
static const struct block global_v6 = {{0x20}, 3};
static const struct block private_v6[] = {
    {{0x20, 0x01}, 23},             /* protocol assignments, Teredo */
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {{0x3f, 0xff}, 20},             /* documentation */
};

static const struct block loopback_v4 = {{127}, 8};
static const struct block loopback_v6 = {{[15] = 1}, 128};

static const struct block mapped = {{[10] = 0xff, 0xff}, 96};
/* An IPv4 address at `offset`. */
static const struct {
    struct block block;
    size_t offset;
} carriers[] = {
    {{{0x00, 0x64, 0xff, 0x9b}, 96}, 12}, /* NAT64 */
    {{{0x20, 0x02}, 16}, 2},              /* 6to4 */
};

static bool is_in(const struct block *block, const uint8_t *octets)
{
    size_t whole = block->bits / 8u;
    unsigned rest = block->bits % 8u;
    unsigned mask = 0xffu & (0xff00u >> rest);
    return memcmp(block->octets, octets, whole) == 0 &&
           (rest == 0 || ((block->octets[whole] ^ octets[whole]) & mask) == 0);
}

static bool is_public_v4(const uint8_t octets[4])
{
    for (size_t i = 0; i < sizeof(private_v4) / sizeof(private_v4[0]); i++)
        if (is_in(&private_v4[i], octets))
            return false;
    return true;
}

static bool is_public_v6(const uint8_t octets[16])
{
    /* ISATAP: the last 64 bits are 0000:5efe or 0200:5efe and an IPv4 address. */
    if ((octets[8] & 0xfd) == 0 && octets[9] == 0 && octets[10] == 0x5e && octets[11] == 0xfe &&
        !is_public_v4(octets + 12))
        return false;
    for (size_t i = 0; i < sizeof(carriers) / sizeof(carriers[0]); i++)
        if (is_in(&carriers[i].block, octets))
            return is_public_v4(octets + carriers[i].offset);
    for (size_t i = 0; i < sizeof(private_v6) / sizeof(private_v6[0]); i++)
        if (is_in(&private_v6[i], octets))
            return false;
    return is_in(&global_v6, octets);
}

/* 4 or 16 octets, a mapped address as the IPv4 one that it is; 0: neither family. */
static size_t octets_of(const struct sockaddr *address, socklen_t size, uint8_t into[16])
{
    if (size >= sizeof(struct sockaddr_in) && address->sa_family == AF_INET) {
        memcpy(into, (const char *)address + offsetof(struct sockaddr_in, sin_addr), 4);
        return 4;
    }
    if (size < sizeof(struct sockaddr_in6) || address->sa_family != AF_INET6)
        return 0;
    memcpy(into, (const char *)address + offsetof(struct sockaddr_in6, sin6_addr), 16);
    if (!is_in(&mapped, into))
        return 16;
    memmove(into, into + 12, 4);
    return 4;
}

bool address_is_public(const struct sockaddr *address, socklen_t size)
{
    uint8_t octets[16];
    size_t count = octets_of(address, size, octets);
    return count == 4 ? is_public_v4(octets) : count == 16 && is_public_v6(octets);
}

bool address_is_loopback(const struct sockaddr *address, socklen_t size)
{
    uint8_t octets[16];
    size_t count = octets_of(address, size, octets);
    return count == 4 ? is_in(&loopback_v4, octets) : count == 16 && is_in(&loopback_v6, octets);
}
