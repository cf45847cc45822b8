/* SPDX-License-Identifier: Apache-2.0 */
#include "api/history_json.h"

#include "base/clock.h"

#include <stdio.h>

#define LABEL_ROOM (RESULT_LABEL_SIZE_MAX + 1)

_Static_assert(MODEL_LABEL_SIZE_MAX <= RESULT_LABEL_SIZE_MAX, "every label can be stored");

/* Absent, or not UTF-8, as no answer of ours is: null. */
static json_t *text_or_null(struct bytes text)
{
    json_t *value = text.size > 0 ? json_stringn((const char *)text.data, text.size) : NULL;
    return value != NULL ? value : json_null();
}

json_t *feedback_json(const struct result_feedback *feedback)
{
    char created_at[CLOCK_TEXT_SIZE];
    clock_wall_text(feedback->time_ms, created_at);
    json_t *class_id =
        feedback->class_id != RESULT_CLASS_NONE ? json_integer(feedback->class_id) : json_null();
    return json_pack("{s:o, s:o, s:o, s:b, s:s}", "class_id", class_id, "label",
                     text_or_null(feedback->label), "note", text_or_null(feedback->note), "correct",
                     feedback->correct, "created_at", created_at);
}

/* The model that answered, NULL if the server has it no more. */
static const struct model *model_of(struct history_printer *printer, const struct result *result)
{
    const struct model *model = printer->model;
    if (model != NULL && bytes_equal(bytes_of(model_name(model)), result->model) &&
        bytes_equal(bytes_of(model_version(model)), result->version))
        return model;
    if (model_find(printer->repository, result->model, result->version, &model, NULL) != RC_OK)
        model = NULL;
    printer->model = model;
    return model;
}

/* Without the model, the best class has the stored label and the others are numbers. */
static const char *label_of(const struct model *model, const struct result *result, uint32_t rank,
                            uint32_t class_id, char room[LABEL_ROOM])
{
    if (model != NULL && class_id < model_class_count(model))
        return model_label(model, class_id);
    if (rank == 0 && result->label.size > 0 && result->label.size < LABEL_ROOM)
        (void)snprintf(room, LABEL_ROOM, "%.*s", (int)result->label.size,
                       (const char *)result->label.data);
    else
        (void)snprintf(room, LABEL_ROOM, "class %u", class_id);
    return room;
}

static uint32_t score_count(const struct result *result)
{
    return (uint32_t)(result->scores.size / RESULT_SCORE_SIZE);
}

static json_t *prediction(const struct model *model, const struct result *result)
{
    json_t *classes = json_array();
    for (uint32_t i = 0; i < score_count(result); i++) {
        char room[LABEL_ROOM];
        struct result_score score = result_score_at(result->scores, i);
        json_array_append_new(
            classes, answer_class(score, label_of(model, result, i, score.class_id, room)));
    }
    return answer_prediction(result, classes);
}

json_t *history_prediction(struct history_printer *printer, const struct result *result)
{
    return prediction(model_of(printer, result), result);
}

enum rc history_prediction_csv(struct history_printer *printer, const struct result *result,
                               struct buf *into)
{
    const struct model *model = model_of(printer, result);
    char id[ID_TEXT_SIZE];
    id_text(result->id, id);
    enum rc rc = RC_OK;
    for (uint32_t i = 0; i < score_count(result) && rc == RC_OK; i++) {
        char room[LABEL_ROOM];
        struct result_score score = result_score_at(result->scores, i);
        rc = answer_csv_class(id, i + 1, score, label_of(model, result, i, score.class_id, room),
                              into);
    }
    return rc;
}

static enum rc print_json(const struct model *model, const struct result *result, struct buf *into)
{
    json_t *value = prediction(model, result);
    json_object_set_new(value, "reference", text_or_null(result->reference));
    json_object_set_new(value, "feedback",
                        result->has_feedback ? feedback_json(&result->feedback) : json_null());
    enum rc rc = answer_dump(value, into);
    json_decref(value);
    if (rc != RC_OK)
        return rc;
    /* Metadata goes in as it was kept: a number read and written again might be another. */
    into->size -= sizeof("}\n") - 1;
    rc = buf_append(into, bytes_of(",\"metadata\":"));
    if (rc == RC_OK)
        rc = buf_append(into, result->metadata.size > 0 ? result->metadata : bytes_of("null"));
    return rc == RC_OK ? buf_append(into, bytes_of("}")) : rc;
}

enum rc history_print_head(struct history_printer *printer, struct buf *into)
{
    if (printer->format != ANSWER_CSV)
        return RC_OK;
    return buf_append(
        into, bytes_of("id,created_at,model,version,rank,class_id,label,score,sha256,format,"
                       "width,height,reference,metadata,feedback_class_id,feedback_label,"
                       "correct\r\n"));
}

/* What every row of one prediction ends with. */
static enum rc print_csv_tail(const struct result *result, struct buf *into)
{
    char sha256[SHA256_TEXT_SIZE];
    sha256_text(result->picture.sha256, sha256);
    enum rc rc = buf_printf(into, ",%s,%.*s,%u,%u,", sha256, (int)result->picture.format.size,
                            (const char *)result->picture.format.data, result->picture.width,
                            result->picture.height);
    if (rc == RC_OK)
        rc = answer_csv_field(result->reference, into);
    if (rc == RC_OK)
        rc = buf_append(into, bytes_of(","));
    if (rc == RC_OK)
        rc = answer_csv_field(result->metadata, into);
    const struct result_feedback *feedback = &result->feedback;
    if (rc == RC_OK && (!result->has_feedback || feedback->class_id == RESULT_CLASS_NONE))
        rc = buf_append(into, bytes_of(",,"));
    else if (rc == RC_OK)
        rc = buf_printf(into, ",%u,", feedback->class_id);
    if (rc == RC_OK && result->has_feedback)
        rc = answer_csv_field(feedback->label, into);
    if (rc == RC_OK)
        rc = buf_printf(into, ",%s\r\n",
                        !result->has_feedback ? ""
                        : feedback->correct   ? "true"
                                              : "false");
    return rc;
}

static enum rc print_csv_row(const struct model *model, const struct result *result, uint32_t rank,
                             struct buf *into)
{
    char id[ID_TEXT_SIZE];
    char created_at[CLOCK_TEXT_SIZE];
    id_text(result->id, id);
    clock_wall_text(result->created_ms, created_at);
    enum rc rc = buf_printf(into, "%s,%s,", id, created_at);
    if (rc == RC_OK)
        rc = answer_csv_field(result->model, into);
    if (rc == RC_OK)
        rc = buf_append(into, bytes_of(","));
    if (rc == RC_OK)
        rc = answer_csv_field(result->version, into);
    if (rc == RC_OK && rank >= score_count(result))
        rc = buf_append(into, bytes_of(",,,,"));
    else if (rc == RC_OK) {
        char room[LABEL_ROOM];
        struct result_score score = result_score_at(result->scores, rank);
        rc = buf_printf(into, ",%u,%u,", rank + 1, score.class_id);
        if (rc == RC_OK)
            rc = answer_csv_field(bytes_of(label_of(model, result, rank, score.class_id, room)),
                                  into);
        if (rc == RC_OK)
            rc = buf_printf(into, ",%.*g", ANSWER_REAL_DIGITS, (double)score.score);
    }
    return rc == RC_OK ? print_csv_tail(result, into) : rc;
}

enum rc history_print(struct history_printer *printer, const struct result *result,
                      struct buf *into)
{
    const struct model *model = model_of(printer, result);
    bool first = printer->count++ == 0;
    enum rc rc = RC_OK;
    if (printer->format == ANSWER_CSV) {
        uint32_t row_count = score_count(result) > 0 ? score_count(result) : 1;
        for (uint32_t i = 0; i < row_count && rc == RC_OK; i++)
            rc = print_csv_row(model, result, i, into);
        return rc;
    }
    if (printer->format == ANSWER_JSON && !first)
        rc = buf_append(into, bytes_of(","));
    if (rc == RC_OK)
        rc = print_json(model, result, into);
    if (rc == RC_OK && printer->format == ANSWER_NDJSON)
        rc = buf_append(into, bytes_of("\n"));
    return rc;
}
