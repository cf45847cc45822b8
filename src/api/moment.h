/* SPDX-License-Identifier: Apache-2.0
 * moment.h - times and days as clients write them. Included by api/ only. */
#ifndef API_MOMENT_H
#define API_MOMENT_H
#include "base/bytes.h"

#define MS_PER_DAY 86400000ull

/* RFC 3339 with any offset, cut to milliseconds; `name` is for the error. INVALID: it is not one,
 * there is no such day, or it is before 1970. */
NODISCARD enum rc moment_read(const char *name, struct bytes text, uint64_t *ret_ms,
                              struct error *err);
/* YYYY-MM-DD, as days since 1970. */
NODISCARD enum rc day_read(const char *name, struct bytes text, uint32_t *ret_day,
                           struct error *err);
#define DAY_TEXT_SIZE 11
void day_text(uint32_t day, char into[DAY_TEXT_SIZE]);
#endif
