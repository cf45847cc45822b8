/* SPDX-License-Identifier: Apache-2.0
 * The repository on temporary folders, with the fake engine. */
#include "check.h"
#include "model/loaded.h"
#include "model/model.h"
#include "tiny_onnx.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/imago-models-XXXXXX";
static struct engine *engine;

static const char *path_of(const char *relative)
{
    static char paths[2][PATH_MAX];
    static unsigned turn;
    turn ^= 1;
    (void)snprintf(paths[turn], PATH_MAX, "%s/%s", root, relative);
    return paths[turn];
}

static void make_dir(const char *relative) { assert_int_equal(mkdir(path_of(relative), 0700), 0); }

static void write_text(const char *relative, const char *text)
{
    FILE *file = fopen(path_of(relative), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void setup_root(void)
{
    struct engine_config config = {.driver = "fake"};
    (void)strcpy(root + sizeof(root) - 7, "XXXXXX");
    assert_non_null(mkdtemp(root));
    assert_int_equal(engine_open(&config, &engine, NULL), RC_OK);
}

static void remove_root(void)
{
    char command[128];
    engine_free(engine);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
}

static void write_files(const char *dir, const char *name, const char *version, bool labels)
{
    char path[256], yaml[1024];
    struct tiny_onnx tiny = {.input_name = "images",
                             .output_name = "logits",
                             .width = 16,
                             .height = 16,
                             .class_count = 3};
    (void)snprintf(yaml, sizeof(yaml),
                   "name: %s\nversion: '%s'\ntask: classification\nprecision: f32\ninput:\n"
                   "  name: images\n  width: 16\n  height: 16\n  layout: NCHW\n  type: f32\n"
                   "  channels: rgb\n  geometry: stretch\n  filter: bilinear\n"
                   "output:\n  name: logits\n  activation: softmax\n%s",
                   name, version, labels ? "labels: labels.txt\n" : "");
    (void)snprintf(path, sizeof(path), "%s/model.yaml", dir);
    write_text(path, yaml);
    (void)snprintf(path, sizeof(path), "%s/model.onnx", dir);
    tiny_onnx_write(path_of(path), &tiny);
    (void)snprintf(path, sizeof(path), "%s/labels.txt", dir);
    if (labels)
        write_text(path, "cat\nd\xc3\xb6g\r\ncow");
}

static void add_model(const char *name, const char *version)
{
    char path[128];
    (void)mkdir(path_of(name), 0700);
    (void)snprintf(path, sizeof(path), "%s/%s", name, version);
    make_dir(path);
    write_files(path, name, version, true);
}

static enum rc open_root(const char *default_name, struct model_repository **ret_repository,
                         struct error *err)
{
    struct model_repository_config config = {
        .dir = root, .default_name = default_name, .batch_max = 4};
    return model_repository_open(&config, engine, ret_repository, err);
}

static struct model_repository *open_good(const char *default_name)
{
    struct model_repository *repository = NULL;
    struct error err = {0};
    if (open_root(default_name, &repository, &err) != RC_OK)
        fail_msg("%s", err.text);
    return repository;
}

static void assert_not_opened(enum rc rc, const char *part)
{
    struct model_repository *repository = NULL;
    struct error err = {0};
    assert_int_equal(open_root(NULL, &repository, &err), rc);
    assert_int_equal(err.rc, rc);
    assert_null(repository);
    if (strstr(err.text, part) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, part);
}

static const struct model *find(const struct model_repository *repository, const char *name,
                                const char *version)
{
    const struct model *model = NULL;
    struct error err = {0};
    if (model_find(repository, bytes_of(name), bytes_of(version), &model, &err) != RC_OK)
        fail_msg("%s", err.text);
    return model;
}

TEST(models_are_found_by_name_and_version)
{
    setup_root();
    add_model("zebra", "1");
    add_model("ape", "9");
    add_model("ape", "10");
    add_model("ape", "2");
    struct model_repository *repository = open_good(NULL);
    assert_int_equal(model_count(repository), 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(model_index(model_at(repository, i)), i);
    assert_string_equal(model_version(find(repository, "", "")), "10");
    assert_string_equal(model_name(find(repository, "", "")), "ape");
    assert_string_equal(model_version(find(repository, "ape", "")), "10");
    assert_string_equal(model_version(find(repository, "ape", "9")), "9");
    assert_string_equal(model_version(find(repository, "", "2")), "2");
    assert_string_equal(model_name(find(repository, "zebra", "")), "zebra");
    const struct model *model = NULL;
    struct error err = {0};
    assert_int_equal(model_find(repository, bytes_of("cat"), bytes_of(""), &model, &err),
                     RC_NOT_FOUND);
    assert_non_null(strstr(err.text, "'cat'; there are: ape, zebra"));
    assert_int_equal(model_find(repository, bytes_of("ape"), bytes_of("3"), &model, &err),
                     RC_NOT_FOUND);
    assert_non_null(strstr(err.text, "it has: 2, 9, 10"));
    model_repository_free(repository);
    repository = open_good("zebra");
    assert_string_equal(model_name(find(repository, "", "")), "zebra");
    model_repository_free(repository);
    assert_int_equal(open_root("yak", &repository, &err), RC_NOT_FOUND);
    remove_root();
}

TEST(a_model_has_labels_and_scores)
{
    setup_root();
    add_model("ape", "1");
    struct model_repository *repository = open_good(NULL);
    const struct model *model = model_at(repository, 0);
    assert_int_equal(model_class_count(model), 3);
    assert_string_equal(model_label(model, 0), "cat");
    assert_string_equal(model_label(model, 1), "d\xc3\xb6g");
    assert_string_equal(model_label(model, 2), "cow");
    assert_int_equal(model_geometry(model)->width, 16);
    assert_string_equal(model_spec(model)->input_name, "images");
    struct class_score scores[3];
    float raw[] = {1, 3, 2};
    assert_int_equal(model_top_k(model, raw, 2, 0, scores), 2);
    assert_int_equal(scores[0].class_id, 1);
    struct network *network = NULL;
    assert_int_equal(model_network(model, &network, NULL), RC_OK);
    assert_int_equal(network_class_count(network), 3);
    model_repository_free(repository);
    remove_root();
}

TEST(without_labels_classes_are_numbered)
{
    setup_root();
    make_dir("ape");
    make_dir("ape/1");
    write_files("ape/1", "ape", "1", false);
    struct model_repository *repository = open_good(NULL);
    const struct model *model = model_at(repository, 0);
    assert_int_equal(model_class_count(model), 1000);
    assert_string_equal(model_label(model, 17), "class 17");
    model_repository_free(repository);
    remove_root();
}

/* As Kubernetes mounts a ConfigMap or a git-sync folder: links to a dated dot-folder. */
TEST(links_are_followed_and_dotfiles_are_not_looked_at)
{
    setup_root();
    make_dir("..2026_01");
    make_dir("..2026_01/1");
    write_files("..2026_01/1", "ape", "1", true);
    make_dir("ape");
    assert_int_equal(symlink("../..2026_01/1", path_of("ape/1")), 0);
    assert_int_equal(symlink("..2026_01", path_of("..data")), 0);
    make_dir(".git");
    make_dir("lost+found");
    write_text("README.md", "models");
    write_text("ape/NOTES", "text");
    struct model_repository *repository = open_good(NULL);
    assert_int_equal(model_count(repository), 1);
    model_repository_free(repository);
    remove_root();
}

TEST(what_is_wrong_is_named)
{
    setup_root();
    assert_not_opened(RC_NOT_FOUND, "no model");
    make_dir("ape");
    assert_not_opened(RC_INVALID, "ape: the model has no version");
    make_dir("ape/1");
    assert_not_opened(RC_INVALID, "ape/1/model.yaml");
    write_files("ape/1", "ape", "2", true);
    assert_not_opened(RC_INVALID, "ape version 2, but its folder says ape/1");
    write_files("ape/1", "ape", "1", true);
    write_text("ape/1/labels.txt", "cat\n\ncow\n");
    assert_not_opened(RC_INVALID, "labels.txt:2: the line is empty");
    write_text("ape/1/labels.txt", "cat\n\xed\xa0\x80\n");
    assert_not_opened(RC_INVALID, "labels.txt:2: the label is not UTF-8");
    write_text("ape/1/labels.txt", "cat\nd\tog\n");
    assert_not_opened(RC_INVALID, "labels.txt:2: the label has a control character");
    write_text("ape/1/labels.txt", "");
    assert_not_opened(RC_INVALID, "labels.txt: it must have");
    assert_int_equal(unlink(path_of("ape/1/labels.txt")), 0);
    assert_not_opened(RC_INVALID, "labels.txt");
    assert_int_equal(mkfifo(path_of("ape/1/labels.txt"), 0600), 0);
    assert_not_opened(RC_INVALID, "labels.txt: this is not a file");
    assert_int_equal(unlink(path_of("ape/1/labels.txt")), 0);
    write_files("ape/1", "ape", "1", true);
    assert_int_equal(unlink(path_of("ape/1/model.onnx")), 0);
    assert_not_opened(RC_NOT_FOUND, "ape/1/model.onnx");
    write_text("ape/1/model.onnx", "garbage");
    assert_not_opened(RC_UNAVAILABLE, "ape/1/model.onnx");
    write_files("ape/1", "ape", "1", true);
    make_dir("Bad Name");
    assert_not_opened(RC_INVALID, "Bad Name");
    remove_root();
}

TEST(a_folder_that_is_not_there_is_not_found)
{
    struct model_repository_config config = {.dir = "/no/such/models", .batch_max = 4};
    struct model_repository *repository = NULL;
    struct error err = {0};
    setup_root();
    assert_int_equal(model_repository_open(&config, engine, &repository, &err), RC_NOT_FOUND);
    assert_non_null(strstr(err.text, "/no/such/models"));
    remove_root();
}

static void *open_network(void *model)
{
    struct network *network = NULL;
    return model_network(model, &network, NULL) == RC_OK ? network : NULL;
}

TEST(a_network_is_opened_once_when_first_asked_for)
{
    enum { THREAD_COUNT = 8 };
    pthread_t threads[THREAD_COUNT];
    void *networks[THREAD_COUNT];
    setup_root();
    add_model("ape", "1");
    add_model("bear", "1");
    add_model("cow", "1");
    write_text("cow/1/model.onnx", "garbage");
    struct model_repository *repository = open_good(NULL);
    const struct model *bear = find(repository, "bear", "");
    for (int i = 0; i < THREAD_COUNT; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_network, (void *)(uintptr_t)bear),
                         0);
    for (int i = 0; i < THREAD_COUNT; i++)
        assert_int_equal(pthread_join(threads[i], &networks[i]), 0);
    for (int i = 0; i < THREAD_COUNT; i++) {
        assert_non_null(networks[i]);
        assert_ptr_equal(networks[i], networks[0]);
    }
    struct network *network = NULL;
    struct error err = {0};
    for (int i = 0; i < 2; i++) {
        err = (struct error){0};
        assert_int_equal(model_network(find(repository, "cow", ""), &network, &err),
                         RC_UNAVAILABLE);
        assert_non_null(strstr(err.text, "cow/1/model.onnx"));
    }
    model_repository_free(repository);
    remove_root();
}

TEST(versions_compare_as_people_read_them)
{
    static const char *const rising[] = {"1",   "01",   "2", "9",  "10",
                                         "1.9", "1.10", "a", "a2", "a10"};
    assert_true(model_version_compare("9", "10") < 0);
    assert_true(model_version_compare("1.10", "1.9") > 0);
    assert_true(model_version_compare("2024-01-31", "2024-02-01") < 0);
    assert_true(model_version_compare("1", "1.1") < 0);
    assert_true(model_version_compare("v2", "v10") < 0);
    assert_int_equal(model_version_compare("v1", "v1"), 0);
    for (size_t i = 0; i < sizeof(rising) / sizeof(rising[0]); i++)
        for (size_t j = 0; j < sizeof(rising) / sizeof(rising[0]); j++) {
            int forth = model_version_compare(rising[i], rising[j]);
            int back = model_version_compare(rising[j], rising[i]);
            assert_true(i == j ? forth == 0 : (forth < 0) == (back > 0) && forth != 0);
        }
}

TEST_MAIN("model repository")
