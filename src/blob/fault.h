/* SPDX-License-Identifier: Apache-2.0
 * fault.h - makes a store of pictures fail, for tests of its callers: open "fault:file:/folder",
 * then say what is to go wrong. Test builds only. */
#ifndef BLOB_FAULT_H
#define BLOB_FAULT_H
#include "blob/blob.h"

enum blob_call {
    BLOB_PUT,
    BLOB_GET,
    BLOB_STAT,
    BLOB_DELETE,
    BLOB_LIST,
    BLOB_TENANT_NEXT,
    BLOB_SWEEP
};

/* Of the calls of one kind (for BLOB_PUT: of the items), those after `skip_count` fail,
 * `fail_count` of them. A lost answer is a failure reported after the call has done its work. */
struct blob_fault {
    enum blob_call call;
    uint32_t skip_count;
    uint32_t fail_count; /* UINT32_MAX: from then on always */
    enum rc rc;
    bool lose_answer;
};

/* `blob` was opened with "fault:". Replaces what was said before; NULL: nothing fails. */
void blob_fault_set(struct blob *blob, const struct blob_fault *fault);
/* How many calls (items) have failed so since. */
uint32_t blob_fault_count(struct blob *blob);
#endif
