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
static const size_t row_count = sizeof(rows) / sizeof(rows[0]);

static enum rc list(const struct options *options, struct engine *engine, struct error *err)
{
    char dir[PATH_MAX];
    struct model_repository *repository = NULL;
    enum rc rc = models_dir_find(options->models, dir, err);
    struct model_repository_config config = {.dir = dir, .batch_max = 1};
    if (rc == RC_OK)
        rc = model_repository_open(&config, engine, &repository, err);
    if (rc != RC_OK)
        return rc;
    (void)printf("%-28s %-10s %-9s %-8s %s\n", "MODEL", "VERSION", "PRECISION", "CLASSES", "INPUT");
    for (uint32_t i = 0; i < model_count(repository); i++) {
        const struct model *model = model_at(repository, i);
        const struct model_spec *spec = model_spec(model);
        (void)printf("%-28s %-10s %-9s %-8u %u x %u\n", model_name(model), model_version(model),
                     precision_text(spec->precision), model_class_count(model),
                     spec->geometry.width, spec->geometry.height);
    }
    model_repository_free(repository);
    return RC_OK;
}

static enum rc inspect(const char *path, struct engine *engine, struct error *err)
{
    struct buf yaml = BUF_INIT(YAML_SIZE_MAX);
    enum rc rc = model_inspect(path, engine, &yaml, err);
    if (rc == RC_OK && cli_print(&yaml) != 0)
        rc = error_set(err, RC_INTERNAL, "cannot write to standard output");
    buf_done(&yaml);
    return rc;
}

int cli_model(int argc, char **argv)
{
    struct options options = {0};
    struct config config;
    struct error err = {0};
    enum config_result result;
    int rest = 0;
    enum rc rc =
        config_load(&config, rows, row_count, &options, argc, argv, false, &rest, &result, &err);
    if (rc != RC_OK)
        return cli_fail(&err);
    if (result == CONFIG_HELP || rest == 0) {
        config_done(&config);
        return cli_help("model list [--models DIR] | inspect FILE.onnx",
                        "list: the models of the repository. inspect: a first model.yaml for an "
                        "ONNX classifier, with a\ncomment at each line that a person must check.",
                        rows, row_count, false);
    }
    struct engine_config engine_config = {.driver = "openvino"};
    struct engine *engine = NULL;
    rc = engine_open(&engine_config, &engine, &err);
    if (rc == RC_OK) {
        if (strcmp(argv[0], "list") == 0 && rest == 1)
            rc = list(&options, engine, &err);
        else if (strcmp(argv[0], "inspect") == 0 && rest == 2)
            rc = inspect(argv[1], engine, &err);
        else
            rc = error_set(&err, RC_INVALID,
                           "write 'imago model list' or 'imago model inspect FILE.onnx'");
    }
    engine_free(engine);
    config_done(&config);
    return rc == RC_OK ? 0 : cli_fail(&err);
}
