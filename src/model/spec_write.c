/* SPDX-License-Identifier: Apache-2.0
 * spec_write.c - model.yaml from a spec: what it writes, spec.c reads back as it was. */
#include "model/spec.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMENT_COLUMN 32

/* Plain where any YAML reader takes it for text, else in double quotes. */
static enum rc write_text(const char *text, bool quote, struct buf *into)
{
    quote = quote || !isalpha((unsigned char)text[0]);
    for (const char *at = text; *at != '\0' && !quote; at++)
        quote = !isalnum((unsigned char)*at) && strchr("._/-", *at) == NULL;
    if (!quote)
        return buf_printf(into, "%s", text);
    enum rc rc = buf_printf(into, "\"");
    for (const char *at = text; *at != '\0' && rc == RC_OK; at++)
        rc = buf_printf(into, "%s%c", *at == '"' || *at == '\\' ? "\\" : "", *at);
    return rc == RC_OK ? buf_printf(into, "\"") : rc;
}

/* The shortest text that is read back as the same number. */
static enum rc write_real(double value, bool narrow, struct buf *into)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        double back = strtod(text, NULL);
        if (narrow ? (float)back == (float)value : back == value)
            break;
    }
    return buf_printf(into, "%s", text);
}

static enum rc write_three(const float *three, struct buf *into)
{
    enum rc rc = RC_OK;
    for (int i = 0; i < 3 && rc == RC_OK; i++) {
        rc = buf_printf(into, "%s", i == 0 ? "[" : ", ");
        if (rc == RC_OK)
            rc = write_real((double)three[i], true, into);
    }
    return rc == RC_OK ? buf_printf(into, "]") : rc;
}

static enum rc write_value(const struct model_spec *spec, const struct key *key, struct buf *into)
{
    const void *field = (const char *)spec + key->offset;
    switch (key->kind) {
    case KIND_TEXT:
    case KIND_NAME:
    case KIND_FILE:
        return write_text(*(char *const *)field, false, into);
    case KIND_VERSION:
        return write_text(*(char *const *)field, true, into);
    case KIND_U8:
        return buf_printf(into, "%u", *(const uint8_t *)field);
    case KIND_U32:
        return buf_printf(into, "%u", *(const uint32_t *)field);
    case KIND_REAL:
        return write_real(*(const double *)field, false, into);
    case KIND_REAL3:
        return write_three(field, into);
    case KIND_CHOICE:
        return buf_printf(into, "%s", key->values[*(const unsigned *)field]);
    case KIND_FLAG:
        return buf_printf(into, "%s", key->values[*(const bool *)field]);
    }
    return RC_INTERNAL;
}

/* Keys of the other geometries are left out, since they would be refused. */
static bool is_given(const struct model_spec *spec, const struct key *key)
{
    enum image_mode mode = spec->geometry.mode;
    if (key_is_text(key))
        return *(char *const *)((const char *)spec + key->offset) != NULL;
    if (strcmp(key->name, "crop_fraction") == 0)
        return mode == IMAGE_CENTER_CROP;
    if (strcmp(key->name, "resize_side") == 0)
        return mode == IMAGE_RESIZE_CROP;
    if (strcmp(key->name, "pad") == 0)
        return mode == IMAGE_LETTERBOX;
    return true;
}

enum rc model_spec_write_commented(const struct model_spec *spec,
                                   const char *const comments[MODEL_KEY_COUNT], struct buf *into)
{
    const char *section = "";
    enum rc rc = RC_OK;
    for (size_t i = 0; i < MODEL_KEY_COUNT && rc == RC_OK; i++) {
        const struct key *key = &model_keys[i];
        if (!is_given(spec, key))
            continue;
        if (strcmp(section, key->section) != 0)
            rc = buf_printf(into, "%s:\n", key->section);
        section = key->section;
        size_t line = into->size;
        if (rc == RC_OK)
            rc = buf_printf(into, "%s%s: ", section[0] != '\0' ? "  " : "", key->name);
        if (rc == RC_OK)
            rc = write_value(spec, key, into);
        int width = (int)(into->size - line);
        int space = width < COMMENT_COLUMN ? COMMENT_COLUMN - width : 1;
        if (rc == RC_OK && comments != NULL && comments[i] != NULL)
            rc = buf_printf(into, "%*s# %s", space, "", comments[i]);
        if (rc == RC_OK)
            rc = buf_printf(into, "\n");
    }
    return rc;
}

enum rc model_spec_write(const struct model_spec *spec, struct buf *into)
{
    return model_spec_write_commented(spec, NULL, into);
}
