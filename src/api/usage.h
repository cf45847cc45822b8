/* SPDX-License-Identifier: Apache-2.0
 * usage.h - what /v1/usage and its statement share. Included by api/ only. */
#ifndef API_USAGE_H
#define API_USAGE_H
#include "api/exchange.h"
#include "api/usage_print.h"

static inline struct bill_source usage_source(const struct exchange *exchange)
{
    return (struct bill_source){.account = exchange->api->config.account,
                                .results = exchange->api->config.results,
                                .tenant = exchange->tenant};
}
#endif
