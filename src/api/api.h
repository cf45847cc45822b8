/* SPDX-License-Identifier: Apache-2.0
 * api.h - the HTTP resources: what /v1 and the health paths mean, over net/http.h.
 *
 * One file for each resource, one row for each method and path in routes.def. It parses and
 * formats; pictures are worked on behind work_submit().
 *
 * Threads: the handlers run on the server's loop threads and never block.
 */
#ifndef API_API_H
#define API_API_H
#include "account/key.h"
#include "net/http.h"
#include "work/job_runner.h"

struct api;

struct api_config {
    struct work *work;
    const struct model_repository *repository;
    struct account *account; /* NULL: everybody is tenant default and may do everything */
    struct results *results; /* both or neither, as in work_config */
    struct blob *blob;
    struct queue *queue; /* of jobs, and who works on them; both or neither, with results */
    struct job_runner *jobs;
    bool webhook_internal;      /* receivers may be http:// and inside */
    struct image_limits limits; /* of pictures that are stored without a prediction */
    size_t body_max;            /* of a request with several pictures, or in base64 */
    size_t image_max;           /* of a picture sent as it is */
    uint32_t images_max;        /* in one request */
    uint32_t top_k;             /* when the request does not say */
    uint32_t request_timeout_ms;
    size_t answer_memory_max; /* pages of history and pictures that clients are receiving */
    bool access_log;
};

NODISCARD enum rc api_open(const struct api_config *config, struct api **ret_api,
                           struct error *err);
/* What http_config.handler and .ctx take: one for the public port, one for the admin port. */
extern const struct http_handler api_public_handler;
extern const struct http_handler api_admin_handler;
/* /readyz says yes from now on. */
void api_ready(struct api *api);
/* /readyz says no from now on; requests are still served. */
void api_drain(struct api *api);
/* Every request must have been finished. NULL is fine. */
void api_free(struct api *api);
#endif
