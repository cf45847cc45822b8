/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/serve_sweep.h"

#include "telemetry/log.h"

static void log_counts(void *ctx, const struct sweep_counts *counts)
{
    (void)ctx;
    log_event(
        LOG_INFO, "swept",
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "predictions",
                  (json_int_t)counts->prediction_count, "job_rows",
                  (json_int_t)counts->job_row_count, "images", (json_int_t)counts->picture_count,
                  "image_bytes", (json_int_t)counts->picture_size, "idempotency_keys",
                  (json_int_t)counts->key_count, "stale_files", (json_int_t)counts->stale_count));
}

static void log_trouble(void *ctx, const struct error *err)
{
    (void)ctx;
    log_event(LOG_WARNING, "sweep", json_pack("{s:s}", "detail", err->text));
}

enum rc serve_sweep_open(const struct settings *settings, struct results *results,
                         struct blob *blob, struct account *account, struct sweep **ret_sweep,
                         struct error *err)
{
    if (results == NULL)
        return RC_OK;
    struct sweep_config config = {.results = results,
                                  .blob = blob,
                                  .account = account,
                                  .interval_ms = settings->sweep_interval,
                                  .note = log_counts,
                                  .trouble = log_trouble};
    enum rc rc = sweep_open(&config, ret_sweep, err);
    return rc == RC_OK ? sweep_start(*ret_sweep, err) : rc;
}
