/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/serve_webhooks.h"

#include "base/clock.h"
#include "telemetry/log.h"

static void log_note(void *ctx, const struct webhook_note *note)
{
    static const struct {
        enum log_level level;
        const char *text;
    } outcomes[] = {[WEBHOOK_DELIVERED] = {LOG_DEBUG, "delivered"},
                    [WEBHOOK_FAILED] = {LOG_INFO, "failed"},
                    [WEBHOOK_GIVEN_UP] = {LOG_WARNING, "given up"}};
    (void)ctx;
    if (!log_wants(outcomes[note->what].level))
        return;
    char id[ID_TEXT_SIZE];
    char retry_at[CLOCK_TEXT_SIZE];
    id_text(note->id, id);
    clock_wall_text(note->retry_at_ms, retry_at);
    log_event(outcomes[note->what].level, "webhook",
              json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:s*, s:s*}", "id", id, "tenant",
                        note->tenant, "receiver", note->origin, "outcome",
                        outcomes[note->what].text, "attempt", (int)note->attempt, "status",
                        note->status, "detail", note->reason[0] != '\0' ? note->reason : NULL,
                        "retry_at", note->retry_at_ms > 0 ? retry_at : NULL));
}

static void log_trouble(void *ctx, const struct error *err)
{
    (void)ctx;
    log_event(LOG_WARNING, "webhooks", json_pack("{s:s}", "detail", err->text));
}

enum rc serve_webhooks_open(const struct settings *settings, struct results *results,
                            struct account *account, struct webhook_sender **ret_sender,
                            struct error *err)
{
    if (results == NULL || account == NULL)
        return RC_OK;
    struct webhook_sender_config config = {.results = results,
                                           .account = account,
                                           .internal = settings->webhook_internal,
                                           .timeout_ms = settings->webhook_timeout,
                                           .note = log_note,
                                           .trouble = log_trouble};
    return webhook_sender_open(&config, ret_sender, err);
}
