/* SPDX-License-Identifier: Apache-2.0
 * value.h - one setting's value as text and as a number. Included by config/ only. */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H
#include "config/config.h"

/* Parse and check `text` and write the value to `into`. For TEXT, `*ret_copy` owns the string.
 * On INVALID, `why` completes the sentence "'text' ...". */
NODISCARD enum rc option_value_parse(const struct option *row, const char *text, void *into,
                                     char **ret_copy, char *why, size_t why_size);
/* "20 MB"-style text is not kept: a value prints in the largest unit that divides it. */
void option_value_text(const struct option *row, const void *value, char *into, size_t size);
void option_flag(const struct option *row, char *into, size_t size);     /* --admin-listen */
void option_variable(const struct option *row, char *into, size_t size); /* IMAGO_ADMIN_LISTEN */
#endif
