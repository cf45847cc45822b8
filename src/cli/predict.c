/* SPDX-License-Identifier: Apache-2.0
 * predict.c - `imago predict`: the server's pipeline over files, answers in the files' order. */
#include "api/answer.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/models_dir.h"
#include "cli/progress.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_SIZE_MAX (4u << 20)
/* Room above --image-size, so that "too large" is told apart from "exactly at the limit". */
#define READ_ROOM (128u * 1024)

struct options {
#define OPTION CONFIG_MEMBER
#include "cli/predict_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/predict_options.def"
#undef OPTION
};

enum form { FORM_TABLE, FORM_JSONL, FORM_CSV };

/* One file between its reading and its line of output. */
struct item {
    struct labelling *labelling;
    const char *path;
    struct buf file;
    struct work_request *request;
    bool done;
};

struct labelling {
    const struct options *options;
    struct engine *engine;
    struct model_repository *repository;
    struct predict *predict;
    struct work *work;
    enum form form;
    pthread_mutex_t lock;
    pthread_cond_t item_done;
    struct item *items; /* a ring: the files in work */
    size_t item_count;
    enum rc first_failure;
    uint64_t failed_count;
};

static enum rc open_labelling(struct labelling *labelling, struct error *err)
{
    const struct options *options = labelling->options;
    char dir[PATH_MAX];
    enum rc rc = models_dir_find(options->models, dir, err);
    struct engine_config engine = {
        .driver = options->engine, .cache_dir = options->cache, .stream_count = options->workers};
    if (rc == RC_OK)
        rc = engine_open(&engine, &labelling->engine, err);
    struct model_repository_config repository = {
        .dir = dir, .default_name = options->model, .batch_max = options->batch};
    if (rc == RC_OK)
        rc = model_repository_open(&repository, labelling->engine, &labelling->repository, err);
    /* A wrong name is one mistake, not one for each picture. */
    const struct model *model = NULL;
    if (rc == RC_OK)
        rc = model_find(labelling->repository, bytes_of(options->model), bytes_of(options->version),
                        &model, err);
    uint32_t worker_count = options->workers != 0 ? options->workers : engine_cpu_count();
    labelling->item_count = (size_t)worker_count * options->batch * 2;
    struct predict_config predict = {
        .repository = labelling->repository,
        .limits = {.bytes_max = options->image_size,
                   .side_min = options->image_side_min,
                   .side_max = options->image_side_max,
                   .pixels_max = options->image_pixels,
                   .jpeg_scans_max = options->jpeg_scans,
                   .memory_max = options->decode_memory},
        .worker_count = worker_count,
        .queue_max = (uint32_t)labelling->item_count,
        .batch_max = options->batch,
    };
    if (rc == RC_OK)
        rc = predict_open(&predict, &labelling->predict, err);
    struct work_config work = {.predict = labelling->predict, .repository = labelling->repository};
    if (rc == RC_OK)
        rc = work_open(&work, &labelling->work, err);
    if (rc != RC_OK)
        return rc;
    labelling->items = calloc(labelling->item_count, sizeof(struct item));
    return labelling->items != NULL ? RC_OK : error_set(err, RC_NO_MEMORY, "no memory");
}

static void close_labelling(struct labelling *labelling)
{
    work_free(labelling->work);
    predict_free(labelling->predict);
    model_repository_free(labelling->repository);
    engine_free(labelling->engine);
    free(labelling->items);
}

static void item_is_done(struct item *item)
{
    pthread_mutex_lock(&item->labelling->lock);
    item->done = true;
    pthread_cond_signal(&item->labelling->item_done);
    pthread_mutex_unlock(&item->labelling->lock);
}

static void request_done(struct work_request *request) { item_is_done(request->ctx); }

/* A file that cannot be read or submitted gets its problem as its result. */
static void start_item(struct labelling *labelling, struct item *item, const char *path)
{
    const struct options *options = labelling->options;
    *item = (struct item){.labelling = labelling,
                          .path = path,
                          .file = BUF_INIT(options->image_size + READ_ROOM),
                          .request = work_request_open(1, options->top_k)};
    if (item->request == NULL)
        abort(); /* A few hundred bytes: there is no going on without them. */
    struct work_request *request = item->request;
    struct predict_task *task = &request->results[0].task;
    request->id = id_new(clock_wall_ms());
    request->model_name = bytes_of(options->model);
    request->model_version = bytes_of(options->version);
    request->min_score = (float)options->min_score;
    request->done = request_done;
    request->ctx = item;
    enum rc rc = files_read(path, options->image_size, &item->file, &task->err);
    task->file = (struct bytes){item->file.data, item->file.size};
    if (rc == RC_OK)
        rc = work_submit(labelling->work, request, &task->err);
    if (rc != RC_OK) {
        task->rc = rc;
        item_is_done(item);
    }
}

static enum rc write_table(const struct item *item, struct buf *into)
{
    const struct predict_task *task = &item->request->results[0].task;
    if (task->rc != RC_OK)
        return buf_printf(into, "%s\n    %s\n", item->path, task->err.text);
    enum rc rc = buf_printf(into, "%s\n", item->path);
    for (uint32_t i = 0; i < task->top_count && rc == RC_OK; i++)
        rc = buf_printf(into, "    %6.2f %%  %4u  %s\n", 100 * (double)task->top[i].score,
                        task->top[i].class_id,
                        model_label(item->request->model, task->top[i].class_id));
    return rc;
}

static enum rc write_jsonl(const struct item *item, struct buf *into)
{
    json_t *line = json_object();
    json_t *path = json_string(item->path);
    /* A name that is not UTF-8 is still worth an answer. */
    (void)json_object_set_new(line, "file", path != NULL ? path : json_null());
    json_t *result = answer_result(item->request, &item->request->results[0]);
    enum rc rc =
        json_object_update_missing(line, result) == 0 ? answer_dump(line, into) : RC_NO_MEMORY;
    json_decref(result);
    json_decref(line);
    return rc;
}

/* Wait for `item`, print it, free it. */
static enum rc finish_item(struct labelling *labelling, struct item *item, struct buf *text,
                           struct error *err)
{
    pthread_mutex_lock(&labelling->lock);
    while (!item->done)
        pthread_cond_wait(&labelling->item_done, &labelling->lock);
    pthread_mutex_unlock(&labelling->lock);
    const struct work_result *result = &item->request->results[0];
    if (result->task.rc != RC_OK) {
        labelling->failed_count++;
        if (labelling->first_failure == RC_OK)
            labelling->first_failure = result->task.rc;
    }
    buf_clear(text);
    enum rc rc = labelling->form == FORM_TABLE ? write_table(item, text)
                 : labelling->form == FORM_CSV
                     ? answer_csv_rows(item->path, item->request, result, text)
                     : write_jsonl(item, text);
    if (rc != RC_OK)
        (void)error_set(err, rc, "cannot write the answer for '%.150s': %s", item->path,
                        rc_text(rc));
    else
        rc = cli_print(text, err);
    buf_done(&item->file);
    work_request_free(item->request);
    item->request = NULL;
    return rc;
}

static enum rc label_files(struct labelling *labelling, const struct files *files,
                           struct error *err)
{
    struct buf text = BUF_INIT(LINE_SIZE_MAX);
    struct progress progress;
    size_t started = 0;
    enum rc rc = labelling->form == FORM_CSV ? answer_csv_head("file", &text) : RC_OK;
    if (rc == RC_OK && text.size > 0)
        rc = cli_print(&text, err);
    progress_init(&progress, "labelling", files->count);
    for (size_t i = 0; i < files->count; i++) {
        /* After a failure, what is in work is waited for and thrown away. */
        while (rc == RC_OK && started < files->count && started - i < labelling->item_count) {
            start_item(labelling, &labelling->items[started % labelling->item_count],
                       files->paths[started]);
            started++;
        }
        if (i == started)
            break;
        struct error ignored;
        enum rc finished = finish_item(labelling, &labelling->items[i % labelling->item_count],
                                       &text, rc == RC_OK ? err : &ignored);
        rc = rc == RC_OK ? finished : rc;
        progress_step(&progress, i + 1);
    }
    progress_done(&progress);
    buf_done(&text);
    return rc;
}

static enum form choose_form(const char *format)
{
    if (strcmp(format, "auto") == 0)
        return isatty(STDOUT_FILENO) ? FORM_TABLE : FORM_JSONL;
    return strcmp(format, "table") == 0 ? FORM_TABLE
           : strcmp(format, "csv") == 0 ? FORM_CSV
                                        : FORM_JSONL;
}

static enum rc label(const struct options *options, const struct files *files,
                     enum rc *ret_first_failure, struct error *err)
{
    struct labelling labelling = {.options = options, .form = choose_form(options->format)};
    (void)pthread_mutex_init(&labelling.lock, NULL);
    (void)pthread_cond_init(&labelling.item_done, NULL);
    enum rc rc = open_labelling(&labelling, err);
    if (rc == RC_OK)
        rc = label_files(&labelling, files, err);
    close_labelling(&labelling);
    if (rc == RC_OK && labelling.failed_count > 0)
        (void)fprintf(stderr, "imago: %llu of %zu pictures failed\n",
                      (unsigned long long)labelling.failed_count, files->count);
    *ret_first_failure = labelling.first_failure;
    return rc;
}

static enum rc run(struct cli_call *call, struct error *err)
{
    struct files files = {0};
    enum rc first_failure = RC_OK;
    enum rc rc = RC_OK;
    for (int i = 0; i < call->argc && rc == RC_OK; i++)
        rc = files_add(&files, call->argv[i], err);
    if (rc == RC_OK && files.count == 0)
        rc = error_set(err, RC_NOT_FOUND, "there is no picture in '%.150s'", call->argv[0]);
    if (rc == RC_OK)
        rc = label(call->options, &files, &first_failure, err);
    files_done(&files);
    call->status = rc_exit_status(first_failure);
    return rc;
}

static const struct cli_verb verb = {"", "FILE|DIR|- ...", 0, run};

int cli_predict(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "predict",
        .prose = "Labels pictures as the server would; '-' is one picture on standard input.\n"
                 "Exit status: 0 all were labelled; 7 a picture cannot be decoded; 6 one is "
                 "over a limit; 4 a file\nor model is missing; 2 the command line is wrong. "
                 "With several failures, the first one's.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = &verb,
        .verb_count = 1};
    return cli_run(&command, &options, argc, argv);
}
