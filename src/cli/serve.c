/* SPDX-License-Identifier: Apache-2.0
 * serve.c - `imago serve`: builds the server from its settings, runs it, takes it down in order. */
#include "api/api.h"
#include "cli/cli.h"
#include "cli/loopback.h"
#include "cli/models_dir.h"
#include "cli/serve_budgets.h"
#include "cli/serve_issuer.h"
#include "cli/serve_sweep.h"
#include "cli/serve_jobs.h"
#include "cli/serve_webhooks.h"

#include "base/clock.h"
#include "telemetry/log.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PRELOAD_NICE 5 /* requests come first */

/* From the bottom up, and taken down from the top. */
struct serving {
    const struct settings *settings;
    struct engine *engine;
    struct model_repository *repository;
    struct predict *predict;
    struct stores stores;  /* the same accounts, predictions, pictures, jobs as the commands' */
    struct issuer *issuer; /* NULL: keys alone */
    bool is_open;          /* when it started: nobody needs a key */
    struct work *work;
    struct webhook_sender *webhooks; /* NULL: nothing to send or to sign with */
    struct budget_watch *budgets;    /* NULL: nothing costs anything */
    struct sweep *sweep;             /* NULL: nothing is kept */
    struct job_runner *jobs;         /* NULL: no queue */
    struct api *api;
    struct http_server *public_server;
    struct http_server *admin_server;
    pthread_t preloader;
    bool preloading;
    atomic_bool stopping; /* read by the preloader */
};

static enum rc open_issuer(struct serving *serving, struct error *err)
{
    enum rc rc = issuer_open(serving->settings, &serving->issuer, err);
    serving->stores.jwt = issuer_jwt(serving->issuer);
    if (rc == RC_OK && serving->issuer != NULL &&
        (stores_on(&serving->stores) & STORE_ACCOUNTS) == 0)
        rc = error_set(err, RC_INVALID,
                       "--jwt-issuer with --accounts none: tokens are of tenants, which are kept "
                       "in the accounts");
    return rc;
}

/* Before there are threads that deliver, sweep or work: a server that nobody could reach must not
 * begin with any of it. */
static enum rc try_addresses(const struct settings *settings, struct error *err)
{
    bool in_use;
    enum rc rc = http_listen_try(settings->listen, &in_use, err);
    return rc == RC_OK && settings->admin_listen[0] != '\0'
               ? http_listen_try(settings->admin_listen, &in_use, err)
               : rc;
}

/* First of all: a server that may not be reached from elsewhere must not even begin. */
static enum rc open_accounts(struct serving *serving, struct error *err)
{
    const struct settings *settings = serving->settings;
    struct stores *stores = &serving->stores;
    bool ever = false;
    enum rc rc = stores_resolve(&settings->stores, stores, err);
    if (rc == RC_OK)
        rc = stores_make_data(&settings->stores, err);
    if (rc == RC_OK)
        rc = open_issuer(serving, err);
    if (rc == RC_OK)
        rc = stores_open(stores, (stores_on(stores) & STORE_ACCOUNTS) | STORE_CREATE, err);
    if (rc == RC_OK && serving->issuer != NULL)
        rc = account_issuer_seen(stores->account, err);
    if (rc == RC_OK && stores->account != NULL)
        rc = account_ever(stores->account, &ever, err);
    serving->is_open = !ever;
    if (rc == RC_OK && !ever && !listen_is_loopback(settings->listen))
        rc = error_set(err, RC_INVALID,
                       "--listen %.60s can be reached from elsewhere, and there is no key yet: "
                       "run 'imago key create' with the same --data and --accounts, then serve "
                       "%s; or listen on 127.0.0.1",
                       settings->listen,
                       stores->account != NULL ? "again" : "without --accounts none");
    return rc;
}

static enum rc open_models(struct serving *serving, struct error *err)
{
    const struct settings *settings = serving->settings;
    char cache[PATH_MAX];
    char models[PATH_MAX];
    enum rc rc = models_dir_find(settings->models, models, err);
    if (rc == RC_OK &&
        snprintf(cache, sizeof(cache), "%s/cache", settings->stores.data) >= PATH_MAX)
        rc = error_set(err, RC_INVALID, "--data: the path is over %d characters", PATH_MAX - 8);
    if (rc == RC_OK && mkdir(cache, 0700) != 0 && errno != EEXIST)
        rc = error_set(err, RC_UNAVAILABLE, "cannot create '%.150s': %s", cache, strerror(errno));
    struct engine_config engine = {.driver = settings->engine,
                                   .cache_dir = cache,
                                   .stream_count = settings->workers,
                                   .threads_per_stream = settings->engine_threads};
    if (rc == RC_OK)
        rc = engine_open(&engine, &serving->engine, err);
    struct model_repository_config repository = {
        .dir = models, .default_name = settings->model, .batch_max = settings->batch};
    if (rc == RC_OK)
        rc = model_repository_open(&repository, serving->engine, &serving->repository, err);
    return rc;
}

static struct image_limits image_limits(const struct settings *settings)
{
    return (struct image_limits){.bytes_max = settings->image_size,
                                 .side_min = settings->image_side_min,
                                 .side_max = settings->image_side_max,
                                 .pixels_max = settings->image_pixels,
                                 .jpeg_scans_max = settings->jpeg_scans,
                                 .memory_max = settings->decode_memory};
}

static enum rc open_work(struct serving *serving, struct error *err)
{
    const struct settings *settings = serving->settings;
    struct predict_config predict = {
        .repository = serving->repository,
        .limits = image_limits(settings),
        .worker_count = settings->workers,
        .queue_max = settings->waiting,
        .batch_max = settings->batch,
    };
    enum rc rc = predict_open(&predict, &serving->predict, err);
    if (rc == RC_OK)
        rc = stores_open(&serving->stores, stores_on(&serving->stores) | STORE_CREATE, err);
    struct work_config work = {.predict = serving->predict,
                               .repository = serving->repository,
                               .results = serving->stores.results,
                               .blob = serving->stores.blob,
                               .account = serving->stores.account};
    if (rc == RC_OK)
        rc = work_open(&work, &serving->work, err);
    if (rc == RC_OK)
        rc = serve_webhooks_open(settings, serving->stores.results, serving->stores.account,
                                 &serving->webhooks, err);
    if (rc == RC_OK)
        rc = serve_budgets_open(serving->stores.results, serving->stores.account, &serving->budgets,
                                err);
    if (rc == RC_OK)
        rc = serve_sweep_open(settings, serving->stores.results, serving->stores.blob,
                              serving->stores.account, &serving->sweep, err);
    return rc == RC_OK
               ? serve_jobs_open(settings, &serving->stores, serving->work, &serving->jobs, err)
               : rc;
}

static enum rc open_server(struct serving *serving, const char *listen,
                           const struct http_handler *handler, struct http_server **ret_server,
                           struct error *err)
{
    const struct settings *settings = serving->settings;
    struct http_config http = {
        .listen = listen,
        .loop_count = settings->http_threads,
        .connection_max = settings->connections,
        .header_max = settings->header_size,
        .body_memory_max = settings->body_memory,
        .header_timeout_ms = settings->header_timeout,
        .body_timeout_ms = settings->body_timeout,
        .idle_timeout_ms = settings->idle_timeout,
        .write_timeout_ms = settings->write_timeout,
        .handler = handler,
        .ctx = serving->api,
    };
    if (handler == &api_admin_handler)
        http.loop_count = 1;
    return http_server_open(&http, ret_server, err);
}

static enum rc open_edge(struct serving *serving, struct error *err)
{
    const struct settings *settings = serving->settings;
    struct api_config api = {
        .work = serving->work,
        .repository = serving->repository,
        .account = serving->stores.account,
        .results = serving->stores.results,
        .blob = serving->stores.blob,
        .queue = serving->stores.queue,
        .jobs = serving->jobs,
        .webhook_internal = settings->webhook_internal,
        .limits = image_limits(settings),
        .answer_memory_max = settings->body_memory,
        .body_max = settings->body_size,
        .image_max = settings->image_size,
        .images_max = settings->images_per_request,
        .top_k = settings->top_k,
        .request_timeout_ms = settings->request_timeout,
        .access_log = settings->access_log,
    };
    enum rc rc = api_open(&api, &serving->api, err);
    if (rc == RC_OK && settings->admin_listen[0] != '\0')
        rc = open_server(serving, settings->admin_listen, &api_admin_handler,
                         &serving->admin_server, err);
    /* Last: from here on there is work, and a failure would have to wait for it. */
    if (rc == RC_OK)
        rc = open_server(serving, settings->listen, &api_public_handler, &serving->public_server,
                         err);
    if (rc == RC_OK)
        api_ready(serving->api);
    return rc;
}

/* The public server was drained or never opened. The threads that answer its requests are joined
 * before it is freed: one may still be about to wake a loop whose client has its answer already. */
static void close_serving(struct serving *serving)
{
    atomic_store(&serving->stopping, true);
    if (serving->preloading)
        pthread_join(serving->preloader, NULL);
    http_server_free(serving->admin_server);
    api_free(serving->api);
    job_runner_free(serving->jobs); /* the workers finish what it began */
    /* The workers hand their last requests to the committer, which is the work's. */
    predict_free(serving->predict);
    work_free(serving->work);
    http_server_free(serving->public_server);
    budget_watch_close(serving->budgets);
    webhook_sender_free(serving->webhooks);
    sweep_free(serving->sweep);
    stores_close(&serving->stores);
    issuer_free(serving->issuer);
    model_repository_free(serving->repository);
    engine_free(serving->engine);
}

/* The next termination signal; 0 when `timeout_ms` passes first. */
static int wait_signal(const sigset_t *signals, uint32_t timeout_ms)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000,
                               .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    int number = sigtimedwait(signals, NULL, &timeout);
    return number > 0 ? number : 0;
}

/* RC_OK: every request was answered. A second signal ends the wait. */
static enum rc drain(struct serving *serving, const sigset_t *signals)
{
    const struct settings *settings = serving->settings;
    log_event(LOG_INFO, "draining",
              json_pack("{s:i}", "connections",
                        (int)http_server_connection_count(serving->public_server)));
    api_drain(serving->api);
    sweep_free(serving->sweep);
    serving->sweep = NULL;
    if (serving->jobs != NULL)
        job_runner_drain(serving->jobs);
    if (settings->drain_delay > 0 && wait_signal(signals, settings->drain_delay) != 0)
        return RC_CANCELLED;
    http_server_drain(serving->public_server, settings->drain_linger);
    uint64_t until_ns = clock_monotonic_ns() + settings->drain_timeout * NS_PER_MS;
    do {
        if (http_server_wait(serving->public_server, 100))
            return RC_OK;
        if (wait_signal(signals, 0) != 0)
            return RC_CANCELLED;
    } while (clock_monotonic_ns() < until_ns);
    return RC_TIMEOUT;
}

static const char *authentication_text(const struct serving *serving)
{
    if (serving->is_open)
        return "off: no key was ever made";
    return serving->issuer != NULL ? "keys and tokens" : "keys";
}

static void log_listening(const struct serving *serving)
{
    const struct model *model = NULL;
    (void)!model_find(serving->repository, (struct bytes){0}, (struct bytes){0}, &model, NULL);
    log_event(
        LOG_INFO, "listening",
        json_pack("{s:s, s:i, s:i, s:s, s:s, s:s, s:s}", "listen", serving->settings->listen,
                  "port", (int)http_server_port(serving->public_server), "admin_port",
                  serving->admin_server != NULL ? (int)http_server_port(serving->admin_server) : 0,
                  "authentication", authentication_text(serving), "model", model_name(model),
                  "version", model_version(model), "precision",
                  precision_text(model_spec(model)->precision)));
}

/* glibc would raise the threshold at the first large free, up to 32 MB, and keep what is freed from
 * then on: the memory of one flood of large pictures would stay with the process. */
static void fix_malloc(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 4 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 16 << 20);
}

/* A model that cannot be loaded is told at the start, not by the first request for it. */
static void *preload(void *argument)
{
    const struct serving *serving = argument;
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), PRELOAD_NICE);
    for (uint32_t i = 0; i < model_count(serving->repository) && !atomic_load(&serving->stopping);
         i++) {
        const struct model *model = model_at(serving->repository, i);
        struct network *network = NULL;
        struct error err = {0};
        enum rc rc = model_network(model, &network, &err);
        json_t *line =
            json_pack("{s:s, s:s}", "model", model_name(model), "version", model_version(model));
        if (rc != RC_OK)
            (void)json_object_set_new(line, "detail", json_string(err.text));
        log_event(rc == RC_OK ? LOG_DEBUG : LOG_ERROR, rc == RC_OK ? "model_ready" : "model_failed",
                  line);
    }
    return NULL;
}

static enum rc serve(const struct settings *settings, enum log_level level, struct error *err)
{
    fix_malloc();
    /* Every thread, the log's too, inherits this mask: signals come to wait_signal() alone. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    struct serving serving = {.settings = settings};
    enum rc rc = log_open(level, STDERR_FILENO, err);
    if (rc == RC_OK)
        rc = try_addresses(settings, err);
    if (rc == RC_OK)
        rc = open_accounts(&serving, err);
    if (rc == RC_OK)
        rc = open_models(&serving, err);
    if (rc == RC_OK)
        rc = open_work(&serving, err);
    if (rc == RC_OK)
        rc = open_edge(&serving, err);
    if (rc == RC_OK) {
        log_listening(&serving);
        serving.preloading =
            settings->preload && pthread_create(&serving.preloader, NULL, preload, &serving) == 0;
        int number = 0;
        while (sigwait(&signals, &number) != 0)
            ;
        rc = drain(&serving, &signals);
        log_event(rc == RC_OK ? LOG_INFO : LOG_ERROR, "stopped",
                  json_pack("{s:b}", "drained", rc == RC_OK));
        if (rc != RC_OK) {
            /* Requests are still in work: nothing under them may be freed. */
            if (serving.preloading)
                (void)pthread_detach(serving.preloader);
            if (serving.jobs != NULL)
                job_runner_abandon(serving.jobs);
            log_close();
            _exit(rc_exit_status(RC_INTERNAL));
        }
    }
    close_serving(&serving);
    return rc;
}

static enum rc run(struct cli_call *call, struct error *err)
{
    const struct settings *settings = call->options;
    enum log_level level = LOG_INFO;
    enum rc rc = log_level_parse(settings->log_level, &level);
    if (rc == RC_OK)
        rc = serve(settings, level, err);
    log_close();
    return rc;
}

static const struct cli_verb verb = {"", "", 0, run};

int cli_serve(int argc, char **argv)
{
    static struct settings settings;
    const struct cli_command command = {
        .name = "serve",
        .flags = "[--SETTING VALUE ...]",
        .prose = "Serves predictions over HTTP until SIGTERM or SIGINT, then finishes what it "
                 "accepted.",
        .rows = settings_rows,
        .row_count = settings_count,
        .verbs = &verb,
        .verb_count = 1};
    return cli_run(&command, &settings, argc, argv);
}
