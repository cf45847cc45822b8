/* SPDX-License-Identifier: Apache-2.0 */
#include "work/kept_answer.h"

#include <string.h>

#define FORM 1u

_Static_assert(KEPT_ANSWER_SIZE_MAX <= RESULT_ANSWER_SIZE_MAX, "the store keeps it whole");

static enum rc write_text(const char *text, struct buf *into)
{
    uint8_t size = (uint8_t)strnlen(text, UINT8_MAX);
    enum rc rc = buf_append(into, (struct bytes){&size, 1});
    return rc == RC_OK ? buf_append(into, (struct bytes){(const uint8_t *)text, size}) : rc;
}

enum rc kept_answer_write(const struct work_request *request, struct buf *into)
{
    static const uint8_t form = FORM;
    buf_clear(into);
    enum rc rc = buf_append(into, (struct bytes){&form, 1});
    for (uint32_t i = 0; i < request->image_count && rc == RC_OK; i++) {
        const struct predict_task *task = &request->results[i].task;
        if (task->rc == RC_OK)
            continue;
        const uint8_t index[2] = {(uint8_t)i, (uint8_t)(i >> 8)};
        rc = buf_append(into, (struct bytes){index, sizeof(index)});
        /* By name: numbers move when a row is added to rc.def. */
        if (rc == RC_OK)
            rc = write_text(rc_name(task->rc), into);
        if (rc == RC_OK)
            rc = write_text(task->err.text, into);
    }
    return rc;
}

static bool read_text(struct bytes *rest, struct bytes *ret_text)
{
    if (rest->size < 1 || rest->size - 1 < rest->data[0])
        return false;
    *ret_text = (struct bytes){rest->data + 1, rest->data[0]};
    *rest = (struct bytes){rest->data + 1 + ret_text->size, rest->size - 1 - ret_text->size};
    return true;
}

static bool read_failure(struct bytes *rest, struct work_request *request)
{
    struct bytes name;
    struct bytes text;
    if (rest->size < 2)
        return false;
    uint32_t index = rest->data[0] | (uint32_t)rest->data[1] << 8;
    *rest = (struct bytes){rest->data + 2, rest->size - 2};
    if (!read_text(rest, &name) || !read_text(rest, &text) || index >= request->image_count)
        return false;
    struct predict_task *task = &request->results[index].task;
    task->rc = RC_INTERNAL; /* of a version that knew more of them */
    for (int rc = RC_OK + 1; rc < RC_COUNT; rc++)
        if (bytes_equal(name, bytes_of(rc_name((enum rc)rc))))
            task->rc = (enum rc)rc;
    /* error_set() would format it again. */
    size_t size = text.size < sizeof(task->err.text) ? text.size : sizeof(task->err.text) - 1;
    if (size > 0)
        memcpy(task->err.text, text.data, size);
    task->err.text[size] = '\0';
    task->err.rc = task->rc;
    return true;
}

enum rc kept_answer_read(struct bytes kept, struct work_request *request, struct error *err)
{
    for (uint32_t i = 0; i < request->image_count; i++)
        request->results[i].task.rc = RC_OK;
    bool right = kept.size > 0 && kept.data[0] == FORM;
    struct bytes rest = {kept.data + right, kept.size - right};
    while (right && rest.size > 0)
        right = read_failure(&rest, request);
    return right ? RC_OK
                 : error_set(err, RC_INTERNAL,
                             "what was kept of the first answer cannot be read (%zu bytes)",
                             kept.size);
}
