/* SPDX-License-Identifier: Apache-2.0
 * model.c - `imago model list`, `imago model inspect FILE`. */
#include "cli/cli.h"
#include "cli/models_dir.h"
#include "model/model.h"

#include <stdio.h>
#include <string.h>

#define YAML_SIZE_MAX (64u * 1024)

struct options {
#define OPTION CONFIG_MEMBER
#include "cli/model_options.def"
#undef OPTION
};
static const struct option rows[] = {
#define OPTION(...) CONFIG_ROW(struct options, __VA_ARGS__)
#include "cli/model_options.def"
#undef OPTION
};

static enum rc open_engine(struct engine **ret_engine, struct error *err)
{
    struct engine_config config = {.driver = "openvino"};
    return engine_open(&config, ret_engine, err);
}

static enum rc list(struct cli_call *call, struct error *err)
{
    const struct options *options = call->options;
    struct engine *engine = NULL;
    char dir[PATH_MAX];
    struct model_repository *repository = NULL;
    enum rc rc = models_dir_find(options->models, dir, err);
    struct model_repository_config config = {.dir = dir, .batch_max = 1};
    if (rc == RC_OK)
        rc = open_engine(&engine, err);
    if (rc == RC_OK)
        rc = model_repository_open(&config, engine, &repository, err);
    if (rc != RC_OK)
        goto out;
    (void)printf("%-28s %-10s %-9s %-8s %s\n", "MODEL", "VERSION", "PRECISION", "CLASSES", "INPUT");
    for (uint32_t i = 0; i < model_count(repository); i++) {
        const struct model *model = model_at(repository, i);
        const struct model_spec *spec = model_spec(model);
        (void)printf("%-28s %-10s %-9s %-8u %u x %u\n", model_name(model), model_version(model),
                     precision_text(spec->precision), model_class_count(model),
                     spec->geometry.width, spec->geometry.height);
    }
out:
    model_repository_free(repository);
    engine_free(engine);
    return rc;
}

static enum rc inspect(struct cli_call *call, struct error *err)
{
    struct engine *engine = NULL;
    struct buf yaml = BUF_INIT(YAML_SIZE_MAX);
    enum rc rc = open_engine(&engine, err);
    if (rc == RC_OK)
        rc = model_inspect(call->argv[0], engine, &yaml, err);
    if (rc == RC_OK)
        rc = cli_print(&yaml, err);
    buf_done(&yaml);
    engine_free(engine);
    return rc;
}

static const struct cli_verb verbs[] = {{"list", "", 0, list},
                                        {"inspect", "FILE.onnx", 0, inspect}};

int cli_model(int argc, char **argv)
{
    struct options options = {0};
    const struct cli_command command = {
        .name = "model",
        .prose = "list: the models of the repository. inspect: a first model.yaml for an "
                 "ONNX classifier, with a\ncomment at each line that a person must check.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(rows[0]),
        .verbs = verbs,
        .verb_count = sizeof(verbs) / sizeof(verbs[0])};
    return cli_run(&command, &options, argc, argv);
}
