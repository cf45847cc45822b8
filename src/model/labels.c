/* SPDX-License-Identifier: Apache-2.0 */
#include "model/labels.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#define LABEL_COUNT_MAX (1u << 20)

/* The bytes of the UTF-8 character at `at`; 0: there is none (RFC 3629: no surrogates, nothing over
 * U+10FFFF, nothing longer than it need be). */
static size_t utf8_size(const uint8_t *at, size_t left)
{
    if (at[0] < 0x80)
        return 1;
    size_t size = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || left < size)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
        (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return size;
}

static const char *label_fault(const uint8_t *line, size_t size)
{
    if (size == 0)
        return "the line is empty";
    if (size > MODEL_LABEL_SIZE_MAX)
        return "the label is longer than 256 bytes";
    for (size_t i = 0; i < size;) {
        size_t step = utf8_size(line + i, size - i);
        if (step == 0)
            return "the label is not UTF-8";
        if (line[i] < ' ' || line[i] == 0x7f)
            return "the label has a control character";
        i += step;
    }
    return NULL;
}

static uint32_t count_lines(struct bytes text)
{
    uint32_t count = 0;
    const uint8_t *at = text.data, *end = text.data + text.size;
    for (; at < end && count <= LABEL_COUNT_MAX; count++) {
        const uint8_t *stop = memchr(at, '\n', (size_t)(end - at));
        at = stop != NULL ? stop + 1 : end;
    }
    return count;
}

static enum rc split(struct labels *labels, size_t size, const char *file, struct error *err)
{
    char *at = labels->text, *end = labels->text + size;
    for (uint32_t i = 0; i < labels->count; i++) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL)
            stop = end;
        char *last = stop > at && stop[-1] == '\r' ? stop - 1 : stop;
        const char *fault = label_fault((const uint8_t *)at, (size_t)(last - at));
        if (fault != NULL)
            return error_set(err, RC_INVALID, "%s:%u: %s", file, i + 1, fault);
        *last = '\0';
        labels->names[i] = at;
        at = stop + 1;
    }
    return RC_OK;
}

enum rc labels_parse(struct bytes text, const char *file, struct labels *ret_labels,
                     struct error *err)
{
    struct labels labels = {.count = count_lines(text)};
    if (labels.count == 0 || labels.count > LABEL_COUNT_MAX)
        return error_set(err, RC_INVALID, "%s: it must have 1 to %u lines", file, LABEL_COUNT_MAX);
    labels.text = malloc(text.size + 1);
    labels.names = calloc(labels.count, sizeof(labels.names[0]));
    enum rc rc = labels.text != NULL && labels.names != NULL
                     ? RC_OK
                     : error_set(err, RC_NO_MEMORY, "%s", file);
    if (rc == RC_OK) {
        memcpy(labels.text, text.data, text.size);
        labels.text[text.size] = '\0';
        rc = split(&labels, text.size, file, err);
    }
    if (rc == RC_OK)
        *ret_labels = labels;
    else
        labels_done(&labels);
    return rc;
}

void labels_done(struct labels *labels)
{
    free(labels->text);
    free(labels->names);
    *labels = (struct labels){0};
}
