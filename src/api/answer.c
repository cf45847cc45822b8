/* SPDX-License-Identifier: Apache-2.0 */
#include "api/answer.h"

#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const media_types[] = {
    [ANSWER_JSON] = "application/json",
    [ANSWER_NDJSON] = "application/x-ndjson",
    [ANSWER_CSV] = "text/csv",
};

const char *answer_media_type(enum answer_format format) { return media_types[format]; }

static struct bytes trim(struct bytes text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = (struct bytes){text.data + 1, text.size - 1};
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
        text.size--;
    return text;
}

/* Take the part before `separator` off `rest`. */
static struct bytes take_until(struct bytes *rest, char separator)
{
    const uint8_t *end = memchr(rest->data, separator, rest->size);
    struct bytes part = {rest->data, end != NULL ? (size_t)(end - rest->data) : rest->size};
    size_t used = part.size + (end != NULL);
    *rest = (struct bytes){rest->data + used, rest->size - used};
    return trim(part);
}

static double quality(struct bytes parameters)
{
    while (parameters.size > 0) {
        struct bytes one = take_until(&parameters, ';');
        if (one.size > 2 && one.size < 8 && (one.data[0] | 32) == 'q' && one.data[1] == '=') {
            char text[8] = "";
            memcpy(text, one.data + 2, one.size - 2);
            return strtod(text, NULL);
        }
    }
    return 1;
}

/* How closely a media range names the type: 3 the type itself, 2 its family, 1 everything, 0 not.
 */
static int media_range_fit(struct bytes range, const char *media_type)
{
    size_t family = (size_t)(strchr(media_type, '/') - media_type) + 1;
    if (bytes_equal_nocase(range, bytes_of(media_type)))
        return 3;
    if (range.size == family + 1 && range.data[family] == '*' &&
        bytes_equal_nocase((struct bytes){range.data, family},
                           (struct bytes){(const uint8_t *)media_type, family}))
        return 2;
    return bytes_equal(range, bytes_of("*/*")) ? 1 : 0;
}

static enum rc accept_none(const char *const types[], uint32_t count, struct error *err)
{
    char text[200] = "";
    for (uint32_t i = 0; i < count; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i > 0 ? ", " : "",
                       types[i]);
    return error_set(err, RC_NOT_ACCEPTABLE, "Accept allows none of %s", text);
}

enum rc answer_choose_type(struct bytes accept, const char *const types[], uint32_t count,
                           uint32_t *ret_index, struct error *err)
{
    assert(count <= ANSWER_TYPE_MAX);
    *ret_index = 0;
    if (accept.data == NULL || accept.size == 0)
        return RC_OK;
    /* The closest range decides about a type, wherever it stands (RFC 9110, section 12.5.1). */
    double qualities[ANSWER_TYPE_MAX] = {0};
    int fits[ANSWER_TYPE_MAX] = {0};
    while (accept.size > 0) {
        struct bytes parameters = take_until(&accept, ',');
        if (parameters.size == 0)
            continue;
        struct bytes range = take_until(&parameters, ';');
        double q = quality(parameters);
        for (uint32_t i = 0; i < count; i++) {
            int fit = media_range_fit(range, types[i]);
            if (fit > fits[i]) {
                fits[i] = fit;
                qualities[i] = q;
            }
        }
    }
    double best = 0;
    for (uint32_t i = 0; i < count; i++)
        if (qualities[i] > best) {
            best = qualities[i];
            *ret_index = i;
        }
    return best > 0 ? RC_OK : accept_none(types, count, err);
}

enum rc answer_choose(struct bytes accept, enum answer_format *ret_format, struct error *err)
{
    uint32_t index = 0;
    enum rc rc = answer_choose_type(accept, media_types, ANSWER_CSV + 1, &index, err);
    *ret_format = (enum answer_format)index;
    return rc;
}

void sha256_text(const uint8_t sha256[32], char into[SHA256_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 32; i++) {
        into[2 * i] = digits[sha256[i] >> 4];
        into[2 * i + 1] = digits[sha256[i] & 15];
    }
    into[64] = '\0';
}

/* Milliseconds with three decimals. */
static json_t *milliseconds(uint32_t us) { return json_real(us / 1e3); }

static json_t *text_of(struct bytes text)
{
    return json_stringn((const char *)text.data, text.size);
}

json_t *answer_class(struct result_score score, const char *label)
{
    return json_pack("{s:i, s:s, s:f}", "class_id", (int)score.class_id, "label", label, "score",
                     (double)score.score);
}

json_t *answer_prediction(const struct result *result, json_t *classes)
{
    char id[ID_TEXT_SIZE];
    char created_at[CLOCK_TEXT_SIZE];
    char sha256[SHA256_TEXT_SIZE];
    id_text(result->id, id);
    clock_wall_text(result->created_ms, created_at);
    sha256_text(result->picture.sha256, sha256);
    const struct result_timing *timing = &result->timing;
    json_t *image = json_pack(
        "{s:s, s:o, s:I, s:I}", "sha256", sha256, "format", text_of(result->picture.format),
        "width", (json_int_t)result->picture.width, "height", (json_int_t)result->picture.height);
    json_t *times =
        json_pack("{s:o, s:o, s:o, s:o, s:o}", "queue", milliseconds(timing->queue_us), "decode",
                  milliseconds(timing->decode_us), "fit", milliseconds(timing->fit_us), "infer",
                  milliseconds(timing->infer_us), "total", milliseconds(timing->total_us));
    return json_pack("{s:s, s:o, s:o, s:s, s:o, s:o, s:o}", "id", id, "model",
                     text_of(result->model), "version", text_of(result->version), "created_at",
                     created_at, "predictions", classes, "image", image, "timing_ms", times);
}

static json_t *prediction(const struct work_request *request, const struct work_result *result)
{
    const struct predict_task *task = &result->task;
    struct result said = work_describe(request, result);
    json_t *classes = json_array();
    for (uint32_t i = 0; i < task->top_count; i++) {
        struct result_score score = {task->top[i].class_id, task->top[i].score};
        json_array_append_new(classes,
                              answer_class(score, model_label(request->model, score.class_id)));
    }
    return answer_prediction(&said, classes);
}

json_t *answer_problem(enum rc rc, const char *detail, const char *request_id, const char *instance)
{
    char type[48];
    (void)snprintf(type, sizeof(type), "/problems/%s", rc_slug(rc));
    /* A detail may quote what a client sent; jansson refuses what is not UTF-8. */
    json_t *text = json_string(detail[0] != '\0' ? detail : rc_text(rc));
    if (text == NULL)
        text = json_string(rc_text(rc));
    return json_pack("{s:s, s:s, s:i, s:o, s:s*, s:s*}", "type", type, "title", rc_text(rc),
                     "status", rc_http_status(rc), "detail", text, "instance", instance,
                     "request_id", request_id);
}

json_t *answer_result(const struct work_request *request, const struct work_result *result)
{
    if (result->task.rc == RC_OK)
        return prediction(request, result);
    char id[ID_TEXT_SIZE];
    id_text(request->id, id);
    return answer_problem(result->task.rc, result->task.err.text, id, NULL);
}

static int append(const char *data, size_t size, void *into)
{
    return buf_append(into, (struct bytes){(const uint8_t *)data, size}) == RC_OK ? 0 : -1;
}

enum rc answer_dump(const json_t *value, struct buf *into)
{
    if (value == NULL || json_dump_callback(value, append, into,
                                            JSON_COMPACT | JSON_PRESERVE_ORDER |
                                                JSON_REAL_PRECISION(ANSWER_REAL_DIGITS)) != 0)
        return RC_NO_MEMORY;
    return buf_append(into, bytes_of("\n"));
}

enum rc answer_csv_field(struct bytes text, struct buf *into)
{
    bool plain = true;
    for (size_t i = 0; i < text.size && plain; i++)
        plain = text.data[i] == '\0' || strchr(",\"\r\n", text.data[i]) == NULL;
    if (plain)
        return buf_append(into, text);
    enum rc rc = buf_append(into, bytes_of("\""));
    for (size_t i = 0; i < text.size && rc == RC_OK; i++) {
        if (text.data[i] == '"')
            rc = buf_append(into, bytes_of("\""));
        if (rc == RC_OK)
            rc = buf_append(into, (struct bytes){text.data + i, 1});
    }
    return rc == RC_OK ? buf_append(into, bytes_of("\"")) : rc;
}

static enum rc csv_field(const char *text, struct buf *into)
{
    return answer_csv_field(bytes_of(text), into);
}

enum rc answer_csv_head(const char *key_name, struct buf *into)
{
    return buf_printf(into, "%s,rank,class_id,label,score,problem\r\n", key_name);
}

enum rc answer_csv_class(const char *key, uint32_t rank, struct result_score score,
                         const char *label, struct buf *into)
{
    enum rc rc = csv_field(key, into);
    if (rc == RC_OK)
        rc = buf_printf(into, ",%u,%u,", rank, score.class_id);
    if (rc == RC_OK)
        rc = csv_field(label, into);
    if (rc == RC_OK)
        rc = buf_printf(into, ",%.*g,\r\n", ANSWER_REAL_DIGITS, (double)score.score);
    return rc;
}

enum rc answer_csv_problem(const char *key, enum rc problem, const char *text, struct buf *into)
{
    enum rc rc = csv_field(key, into);
    if (rc == RC_OK)
        rc = buf_append(into, bytes_of(",,,,,"));
    if (rc == RC_OK)
        rc = csv_field(text[0] != '\0' ? text : rc_text(problem), into);
    return rc == RC_OK ? buf_append(into, bytes_of("\r\n")) : rc;
}

enum rc answer_csv_rows(const char *key, const struct work_request *request,
                        const struct work_result *result, struct buf *into)
{
    const struct predict_task *task = &result->task;
    if (task->rc != RC_OK)
        return answer_csv_problem(key, task->rc, task->err.text, into);
    enum rc rc = RC_OK;
    for (uint32_t i = 0; i < task->top_count && rc == RC_OK; i++) {
        struct result_score score = {task->top[i].class_id, task->top[i].score};
        rc = answer_csv_class(key, i + 1, score, model_label(request->model, score.class_id), into);
    }
    return rc;
}

static enum rc dump_object(const struct answer_source *source, uint32_t index, struct buf *into)
{
    json_t *value = source->object(source->ctx, index);
    enum rc rc = answer_dump(value, into);
    json_decref(value);
    return rc;
}

static enum rc dump_results(const struct answer_source *source, uint32_t count, struct buf *into)
{
    json_t *results = json_array();
    int failed = 0;
    for (uint32_t i = 0; i < count && failed == 0; i++)
        failed = json_array_append_new(results, source->object(source->ctx, i));
    json_t *whole = json_pack("{s:o}", "results", results);
    enum rc rc = failed == 0 ? answer_dump(whole, into) : RC_NO_MEMORY;
    json_decref(whole);
    return rc;
}

enum rc answer_print_source(enum answer_format format, const struct answer_source *source,
                            uint32_t count, bool several, struct buf *into)
{
    if (format == ANSWER_JSON)
        return several ? dump_results(source, count, into) : dump_object(source, 0, into);
    enum rc rc = format == ANSWER_CSV ? answer_csv_head("id", into) : RC_OK;
    for (uint32_t i = 0; i < count && rc == RC_OK; i++)
        rc = format == ANSWER_CSV ? source->csv_rows(source->ctx, i, into)
                                  : dump_object(source, i, into);
    return rc;
}

static json_t *work_object(void *ctx, uint32_t index)
{
    const struct work_request *request = ctx;
    return answer_result(request, &request->results[index]);
}

static enum rc work_csv_rows(void *ctx, uint32_t index, struct buf *into)
{
    const struct work_request *request = ctx;
    char id[ID_TEXT_SIZE];
    id_text(request->results[index].id, id);
    return answer_csv_rows(id, request, &request->results[index], into);
}

enum rc answer_print(enum answer_format format, struct work_request *request, bool several,
                     struct buf *into)
{
    const struct answer_source source = {request, work_object, work_csv_rows};
    return answer_print_source(format, &source, request->image_count, several, into);
}
