/* SPDX-License-Identifier: Apache-2.0
 * driver.h - what a results driver implements. Included by files of this folder only. Arguments
 * have been checked: sizes, ranges, tenant, ids; see results.h for what each function promises. */
#ifndef RESULTS_DRIVER_H
#define RESULTS_DRIVER_H
#include "results/jobs.h"

/* A place in the history, which goes from large to small: first by time, then by id. */
struct results_position {
    uint64_t created_ms;
    struct id id;
};

struct results_ops {
    const char *scheme;
    enum rc (*open)(const char *url, struct results **ret_results, struct error *err);
    void (*free)(struct results *results);
    /* Skips commits whose rc is not RC_OK; ids are filled in. */
    enum rc (*put)(struct results *results, struct result_commit *const commits[], uint32_t count,
                   struct error *err);
    enum rc (*get)(struct results *results, struct bytes tenant, struct id id,
                   struct result_set *set, struct error *err);
    /* From below `before`. *ret_more: go on below *ret_next, the last place looked at. */
    enum rc (*query)(struct results *results, struct bytes tenant,
                     const struct results_filter *filter, struct results_position before,
                     uint32_t limit, struct result_set *set, struct results_position *ret_next,
                     bool *ret_more, struct error *err);
    enum rc (*erase)(struct results *results, struct bytes tenant, struct id id, uint64_t now_ms,
                     struct results_removed *ret_removed, struct error *err);
    enum rc (*sweep)(struct results *results, struct bytes tenant, uint64_t before_ms,
                     uint32_t limit, uint64_t now_ms, struct results_removed *into,
                     uint32_t *ret_count, struct error *err);
    enum rc (*picture_used)(struct results *results, struct bytes tenant, const uint8_t sha256[32],
                            bool *ret_used, struct error *err);
    enum rc (*feedback_put)(struct results *results, struct bytes tenant, struct id id,
                            const struct result_feedback *feedback, struct error *err);
    enum rc (*accuracy)(struct results *results, struct bytes tenant, uint64_t from_ms,
                        uint64_t to_ms, results_accuracy_fn each, void *ctx, struct error *err);
    enum rc (*reserve)(struct results *results, struct bytes tenant, struct bytes key,
                       const uint8_t fingerprint[32], struct id request_id, uint64_t now_ms,
                       uint64_t lease_until_ms, uint64_t expires_ms,
                       struct results_reservation *reservation, struct error *err);
    enum rc (*release)(struct results *results, struct bytes tenant, struct bytes key,
                       uint32_t attempt, uint64_t now_ms, struct error *err);
    enum rc (*job_put)(struct results *results, struct bytes tenant, const struct result_job *job,
                       struct error *err);
    enum rc (*job_get)(struct results *results, struct bytes tenant, struct id id,
                       struct result_job_set *set, struct error *err);
    /* From below `before`. *ret_more: go on below the last one. */
    enum rc (*job_list)(struct results *results, struct bytes tenant,
                        struct results_position before, uint32_t limit, struct result_job_set *set,
                        bool *ret_more, struct error *err);
    enum rc (*job_end)(struct results *results, struct bytes tenant, struct id id,
                       enum result_job_end end, struct bytes reason, uint64_t now_ms,
                       struct bytes payload, uint64_t payload_due_ms, bool *ret_first,
                       struct error *err);
    enum rc (*job_reopen)(struct results *results, struct bytes tenant, struct id id,
                          struct error *err);
    enum rc (*job_open_list)(struct results *results, const struct results_job_open *after,
                             uint32_t limit, struct results_job_open *into, uint32_t *ret_count,
                             struct error *err);
    enum rc (*job_needs_picture)(struct results *results, struct bytes tenant,
                                 const uint8_t sha256[32], bool *ret_needed, struct error *err);
    enum rc (*job_sweep)(struct results *results, struct bytes tenant, uint64_t before_ms,
                         uint32_t limit, uint32_t *ret_count, struct error *err);
    enum rc (*job_items)(struct results *results, struct bytes tenant, struct id job_id,
                         uint32_t first_index, uint32_t limit, results_job_item_fn each, void *ctx,
                         struct error *err);
    enum rc (*job_progress)(struct results *results, struct bytes tenant, struct id job_id,
                            uint64_t *ret_done, uint64_t *ret_failed, struct error *err);
    enum rc (*usage)(struct results *results, struct bytes tenant, uint32_t from_day,
                     uint32_t to_day, uint32_t group, results_quantity_fn each, void *ctx,
                     struct error *err);
    enum rc (*ledger_find)(struct results *results, struct bytes tenant, struct id request_id,
                           uint32_t index_count, uint64_t *ret_images, uint64_t *ret_last_ms,
                           struct error *err);
    enum rc (*verify)(struct results *results, struct bytes tenant,
                      const struct results_verifier *verifier, struct results_proof *ret_proof,
                      struct error *err);
    enum rc (*outbox_take)(struct results *results, uint64_t now_ms, uint64_t lease_until_ms,
                           uint32_t limit, struct results_message *into, uint32_t *ret_count,
                           struct error *err);
    enum rc (*outbox_done)(struct results *results, uint64_t number, struct error *err);
    enum rc (*outbox_retry_at)(struct results *results, uint64_t number, uint32_t attempt,
                               uint64_t due_ms, struct error *err);
    enum rc (*expire)(struct results *results, uint64_t now_ms, uint32_t limit, uint32_t *ret_count,
                      struct error *err);
    enum rc (*tenant_next)(struct results *results, const char *after, char *into,
                           struct error *err);
    enum rc (*backup)(struct results *results, const char *path, struct error *err);
    enum rc (*check)(struct results *results, bool full, struct error *err);
};

/* Every driver's struct starts with this. */
struct results {
    const struct results_ops *ops;
};

/* What drivers share. */
/* A further item, zeroed; NULL: out of memory. */
struct result *result_set_add(struct result_set *set);
struct result_job *result_job_set_add(struct result_job_set *set);
/* A copy that lives as long as the set whose `chunks` they are. An empty one cannot fail. */
NODISCARD enum rc result_copy(struct result_chunk **chunks, struct bytes bytes,
                              struct bytes *ret_copy);
/* Keep some memory. */
void result_set_clear(struct result_set *set);
void result_job_set_clear(struct result_job_set *set);
/* The part of a filter that no index serves. */
bool results_filter_passes(const struct results_filter *filter, struct bytes version,
                           struct bytes scores);
/* Is the best class of a prediction what the feedback says? */
bool result_feedback_correct(const struct result_feedback *feedback, struct bytes label,
                             struct bytes scores);

#define DRIVER(name) extern const struct results_ops results_##name;
#include "results/drivers.def"
#undef DRIVER
#endif
