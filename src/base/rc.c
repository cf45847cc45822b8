/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rc.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

enum { no = false, yes = true };

static const struct {
    const char *name;
    int http;
    int exit;
    bool retry;
    const char *text;
} rows[RC_COUNT] = {
#define RC(name, http, exit, retry, text) [RC_##name] = {#name, http, exit, retry, text},
#include "base/rc.def"
#undef RC
};

#define SLUG_SIZE_MAX 24
static char slugs[RC_COUNT][SLUG_SIZE_MAX];

/* Before main(), so that readers need no lock. */
__attribute__((constructor)) static void slugs_init(void)
{
    for (int rc = 0; rc < RC_COUNT; rc++)
        for (size_t i = 0; i + 1 < SLUG_SIZE_MAX && rows[rc].name[i] != '\0'; i++)
            slugs[rc][i] =
                rows[rc].name[i] == '_' ? '-' : (char)tolower((unsigned char)rows[rc].name[i]);
}

void error_set_at(struct error *err, enum rc rc, const char *where, const char *format, ...)
{
    assert(rc != RC_OK);
    if (err == NULL)
        return;
    err->rc = rc;
    err->where = where;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
}

const char *rc_name(enum rc rc) { return rows[rc].name; }

const char *rc_slug(enum rc rc) { return slugs[rc]; }

const char *rc_text(enum rc rc) { return rows[rc].text; }

int rc_http_status(enum rc rc) { return rows[rc].http; }

int rc_exit_status(enum rc rc) { return rows[rc].exit; }

bool rc_retryable(enum rc rc) { return rows[rc].retry; }
