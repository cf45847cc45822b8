/* SPDX-License-Identifier: Apache-2.0
 * health.c - /livez: the process turns requests around; /readyz: send it requests. */
#include "api/exchange.h"

void route_livez(struct exchange *exchange)
{
    exchange_answer_json(exchange, 200, json_pack("{s:s}", "status", "live"));
}

void route_readyz(struct exchange *exchange)
{
    bool draining = atomic_load(&exchange->api->draining);
    bool ready = atomic_load(&exchange->api->ready) && !draining;
    exchange_answer_json(exchange, ready ? 200 : 503,
                         json_pack("{s:s}", "status",
                                   draining ? "draining"
                                   : ready  ? "ready"
                                            : "starting"));
}
