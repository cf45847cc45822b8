/* SPDX-License-Identifier: Apache-2.0
 * rc.h - how functions say what happened. Every fallible function returns `enum rc`. */
#ifndef BASE_RC_H
#define BASE_RC_H
#include <stdbool.h>
#include <stddef.h>

#define NODISCARD         __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

#define RC(name, http, exit, retry, text) RC_##name,
enum rc {
#include "base/rc.def"
    RC_COUNT
};
#undef RC

/* Details for a human: caller-owned, fixed size, may be NULL. Written only on failure. */
struct error {
    enum rc rc;
    const char *where; /* the function that failed */
    char text[240];    /* what was wrong, where, and what to do */
};

/* Fill `err` if there is one and give `rc`, so that `return error_set(...)` is one line. A macro,
 * so that a reader of the caller alone, a static analyser too, sees which `rc` comes back. */
#define error_set(err, code, ...)                                                                  \
    __extension__({                                                                                \
        enum rc error_rc = (code);                                                                 \
        error_set_at((err), error_rc, __func__, __VA_ARGS__);                                      \
        error_rc;                                                                                  \
    })
void error_set_at(struct error *err, enum rc rc, const char *where, const char *format, ...)
    PRINTF_LIKE(4, 5);

const char *rc_name(enum rc rc); /* "BAD_IMAGE" */
const char *rc_slug(enum rc rc); /* "bad-image": the last part of the problem type */
const char *rc_text(enum rc rc); /* the sentence of rc.def */
int rc_http_status(enum rc rc);
int rc_exit_status(enum rc rc);
bool rc_retryable(enum rc rc);
#endif
