/* SPDX-License-Identifier: Apache-2.0
 * fault.h - "fault:<url>" is the driver of <url> with a function in between, which tests set to
 * make calls fail, before they happen or after: then they have happened, and only the answer is
 * lost. */
#ifndef RESULTS_FAULT_H
#define RESULTS_FAULT_H
#include "results/results.h"

enum results_op {
    RESULTS_PUT,
    RESULTS_GET,
    RESULTS_QUERY,
    RESULTS_ERASE,
    RESULTS_SWEEP,
    RESULTS_PICTURE_USED,
    RESULTS_FEEDBACK_PUT,
    RESULTS_ACCURACY,
    RESULTS_RESERVE,
    RESULTS_RELEASE,
    RESULTS_JOB_PUT,
    RESULTS_JOB_GET,
    RESULTS_JOB_LIST,
    RESULTS_JOB_END,
    RESULTS_JOB_REOPEN,
    RESULTS_JOB_OPEN_LIST,
    RESULTS_JOB_NEEDS_PICTURE,
    RESULTS_JOB_SWEEP,
    RESULTS_JOB_ITEMS,
    RESULTS_JOB_PROGRESS,
    RESULTS_USAGE,
    RESULTS_LEDGER_FIND,
    RESULTS_VERIFY,
    RESULTS_OUTBOX_TAKE,
    RESULTS_OUTBOX_DONE,
    RESULTS_OUTBOX_RETRY_AT,
    RESULTS_EXPIRE,
    RESULTS_TENANT_NEXT,
    RESULTS_BACKUP,
    RESULTS_CHECK,
    RESULTS_OP_COUNT
};
/* Anything but RC_OK becomes the call's result. May be called by several threads at once. */
typedef enum rc (*results_fault_fn)(void *ctx, enum results_op op, bool after);

/* `results` was opened with a fault: URL and is not in use. NULL: no faults. */
void results_fault_set(struct results *results, results_fault_fn fault, void *ctx);
#endif
