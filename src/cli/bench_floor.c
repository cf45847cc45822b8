/* SPDX-License-Identifier: Apache-2.0
 * bench_floor.c - what the work costs with nothing around it: each part alone, one thread, CPU
 * time.
 *
 * The parts are the plainest right ones: libjpeg-turbo's own whole-picture decode, this program's
 * resize of a decoded frame, and the engine on full batches of real pictures, at whichever of four
 * batch sizes is best. A server cannot do these parts in less, unless it does less of them. */
#include "base/clock.h"
#include "cli/bench.h"
#include "cli/models_dir.h"
#include "image/floor.h"
#include "image/resample.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX       8u
#define ENGINE_RUN_SIZE 96u /* pictures through the engine in a round, for each batch size */
#define CHANNELS        3u
#define SETTLE_RUN_MAX  400u /* batches; some ten seconds */
#define SETTLED_RUNS    5u

static const uint32_t batch_sizes[FLOOR_BATCH_KINDS] = {1, 2, 4, 8};

struct floor_bench {
    const struct photos *photos;
    struct engine *engine;
    struct model_repository *repository;
    const struct model *model;
    struct session *session;
    struct image_scratch *scratch;
    struct floor_decoder *decoder;
    struct floor_picture picture; /* its memory is kept between pictures, as a server would */
    uint8_t *fitted;              /* [photos][height][width][3] */
    size_t fitted_size;           /* of one */
    size_t engine_next;           /* photo */
    char name[200];
};

static enum rc open_parts(struct floor_bench *floor, const struct bench_options *options,
                          struct error *err)
{
    char dir[PATH_MAX];
    enum rc rc = models_dir_find(options->models, dir, err);
    struct engine_config engine = {.driver = options->engine, .stream_count = 1};
    if (rc == RC_OK)
        rc = engine_open(&engine, &floor->engine, err);
    struct model_repository_config repository = {
        .dir = dir, .default_name = options->model, .batch_max = BATCH_MAX};
    if (rc == RC_OK)
        rc = model_repository_open(&repository, floor->engine, &floor->repository, err);
    if (rc == RC_OK)
        rc = model_find(floor->repository, bytes_of(""), bytes_of(""), &floor->model, err);
    struct network *network = NULL;
    if (rc == RC_OK)
        rc = model_network(floor->model, &network, err);
    if (rc == RC_OK)
        rc = session_open(network, &floor->session, err);
    if (rc == RC_OK)
        rc = image_scratch_open(&floor->scratch, err);
    if (rc == RC_OK)
        rc = floor_decoder_open(&floor->decoder, err);
    return rc;
}

void floor_free(struct floor_bench *floor)
{
    if (floor == NULL)
        return;
    floor_decoder_free(floor->decoder);
    floor_picture_done(&floor->picture);
    image_scratch_free(floor->scratch);
    session_free(floor->session);
    model_repository_free(floor->repository);
    engine_free(floor->engine);
    free(floor->fitted);
    free(floor);
}

const char *floor_model(const struct floor_bench *floor) { return floor->name; }

const char *floor_precision(const struct floor_bench *floor)
{
    return precision_text(model_spec(floor->model)->precision);
}

const char *floor_kernels(const struct floor_bench *floor)
{
    (void)floor;
    return kernels_best()->name;
}

static enum rc run_engine(struct floor_bench *floor, uint32_t batch, double *ret_ms,
                          struct error *err)
{
    uint64_t spent_ns = 0;
    uint32_t done = 0;
    enum rc rc = RC_OK;
    while (rc == RC_OK && done < ENGINE_RUN_SIZE) {
        for (uint32_t i = 0; i < batch; i++) {
            memcpy(session_slot(floor->session, i),
                   floor->fitted + floor->engine_next * floor->fitted_size, floor->fitted_size);
            floor->engine_next = (floor->engine_next + 1) % floor->photos->count;
        }
        /* Of the process: an engine may hand work to threads of its own. */
        uint64_t start_ns = clock_process_cpu_ns();
        rc = session_run(floor->session, batch, err);
        spent_ns += clock_process_cpu_ns() - start_ns;
        done += batch;
    }
    *ret_ms = (double)spent_ns / (double)NS_PER_MS / done;
    return rc;
}

/* Decode and resize every photo once. */
static enum rc fit_photos(struct floor_bench *floor, struct floors *ret_floors, struct error *err)
{
    const struct image_geometry *geometry = model_geometry(floor->model);
    uint64_t decode_ns = 0;
    uint64_t resize_ns = 0;
    for (size_t i = 0; i < floor->photos->count; i++) {
        uint64_t start_ns = clock_thread_cpu_ns();
        enum rc rc =
            floor_decode(floor->decoder, floor->photos->items[i].file, &floor->picture, err);
        uint64_t decoded_ns = clock_thread_cpu_ns();
        if (rc == RC_OK) {
            struct floor_box box = floor_center_box(&floor->picture, geometry->crop_fraction);
            rc = floor_resize(floor->scratch, &floor->picture, &box, geometry,
                              floor->fitted + i * floor->fitted_size, err);
        }
        resize_ns += clock_thread_cpu_ns() - decoded_ns;
        decode_ns += decoded_ns - start_ns;
        if (rc == RC_BAD_IMAGE)
            return error_set(err, rc,
                             "picture %zu (%s) is no JPEG that decodes; --floor takes a folder of "
                             "JPEG pictures, such as build/photos/set",
                             i, floor->photos->items[i].type);
        if (rc != RC_OK)
            return rc;
    }
    double count = (double)floor->photos->count * (double)NS_PER_MS;
    ret_floors->part_ms[FLOOR_DECODE] = (double)decode_ns / count;
    ret_floors->part_ms[FLOOR_RESIZE] = (double)resize_ns / count;
    return RC_OK;
}

/* An engine may go on preparing itself in a thread of its own. Run it until a few runs in a row
 * have cost nothing but this thread's time. The first pass over the photos, which grows buffers, is
 * not measured either. */
static enum rc settle(struct floor_bench *floor, struct error *err)
{
    uint32_t settled = 0;
    struct floors ignored;
    enum rc rc = fit_photos(floor, &ignored, err);
    for (uint32_t i = 0; i < SETTLE_RUN_MAX && settled < SETTLED_RUNS && rc == RC_OK; i++) {
        uint64_t process_ns = clock_process_cpu_ns();
        uint64_t thread_ns = clock_thread_cpu_ns();
        rc = session_run(floor->session, BATCH_MAX, err);
        thread_ns = clock_thread_cpu_ns() - thread_ns;
        process_ns = clock_process_cpu_ns() - process_ns;
        settled = process_ns < thread_ns + thread_ns / 50 ? settled + 1 : 0;
    }
    return rc;
}

enum rc floor_open(const struct bench_options *options, const struct photos *photos,
                   struct floor_bench **ret_floor, struct error *err)
{
    struct floor_bench *floor = calloc(1, sizeof(*floor));
    if (floor == NULL)
        return error_set(err, RC_NO_MEMORY, "no memory for the floor");
    floor->photos = photos;
    enum rc rc = open_parts(floor, options, err);
    if (rc == RC_OK && model_geometry(floor->model)->mode != IMAGE_CENTER_CROP)
        rc = error_set(err, RC_INVALID, "--floor: the geometry of model '%s' is not center-crop",
                       model_name(floor->model));
    if (rc == RC_OK) {
        const struct image_geometry *geometry = model_geometry(floor->model);
        floor->fitted_size = (size_t)geometry->width * geometry->height * CHANNELS;
        floor->fitted = malloc(floor->fitted_size * photos->count);
        (void)snprintf(floor->name, sizeof(floor->name), "%s/%s", model_name(floor->model),
                       model_version(floor->model));
        if (floor->fitted == NULL)
            rc = error_set(err, RC_NO_MEMORY, "no memory for %zu fitted photos", photos->count);
    }
    if (rc == RC_OK)
        rc = settle(floor, err);
    if (rc != RC_OK) {
        floor_free(floor);
        return rc;
    }
    *ret_floor = floor;
    return RC_OK;
}

enum rc floor_run(struct floor_bench *floor, struct floors *ret_floors, struct error *err)
{
    struct floors floors = {0};
    enum rc rc = fit_photos(floor, &floors, err);
    for (size_t i = 0; i < FLOOR_BATCH_KINDS && rc == RC_OK; i++) {
        rc = run_engine(floor, batch_sizes[i], &floors.batch_ms[i], err);
        if (i == 0 || floors.batch_ms[i] < floors.part_ms[FLOOR_ENGINE])
            floors.part_ms[FLOOR_ENGINE] = floors.batch_ms[i];
    }
    *ret_floors = floors;
    return rc;
}
