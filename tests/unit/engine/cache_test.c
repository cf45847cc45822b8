/* SPDX-License-Identifier: Apache-2.0
 * The cache gives back what was put, and nothing else. */
#include "check.h"
#include "engine/cache.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/imago-cache-XXXXXX";

static const char *path_of(const char *name)
{
    static char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    return path;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void setup_root(void)
{
    (void)strcpy(root + sizeof(root) - 7, "XXXXXX");
    assert_non_null(mkdtemp(root));
    assert_int_equal(mkdir(path_of("model"), 0700), 0);
    write_file(path_of("model/model.onnx"), "the graph");
}

static void remove_root(void)
{
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
}

static struct cache_key make_key(const char *settings)
{
    struct cache_key key = {0};
    assert_int_equal(cache_key_make(path_of("model/model.onnx"), settings, &key, NULL), RC_OK);
    key.batch = 1;
    return key;
}

static bool write_hello(const char *path, void *ctx)
{
    write_file(path, ctx);
    return true;
}

static bool write_nothing(const char *path, void *ctx)
{
    (void)path;
    (void)ctx;
    return false;
}

static char hello[] = "a compiled network";

static char *cache_dir(void)
{
    static char dir[PATH_MAX];
    (void)snprintf(dir, sizeof(dir), "%s/cache", root);
    return dir;
}

static void assert_cached(const struct cache_key *key, bool there)
{
    struct cache_blob blob = {0};
    assert_int_equal(cache_get(cache_dir(), key, &blob), there);
    if (there) {
        assert_int_equal(blob.content.size, strlen(hello));
        assert_memory_equal(blob.content.data, hello, strlen(hello));
    }
    cache_blob_done(&blob);
}

TEST(what_was_put_is_there)
{
    setup_root();
    struct cache_key key = make_key("a");
    assert_cached(&key, false);
    assert_true(cache_put(cache_dir(), &key, write_hello, hello));
    assert_cached(&key, true);
    assert_true(cache_put(cache_dir(), &key, write_hello, hello));
    assert_cached(&key, true);
    remove_root();
}

TEST(other_settings_graphs_weights_and_batches_are_other_keys)
{
    setup_root();
    struct cache_key key = make_key("a"), other = make_key("b");
    assert_true(cache_put(cache_dir(), &key, write_hello, hello));
    assert_cached(&other, false);
    other = key;
    other.batch = 2;
    assert_cached(&other, false);
    write_file(path_of("model/weights.bin"), "external");
    other = make_key("a");
    assert_cached(&other, false);
    assert_int_equal(unlink(path_of("model/weights.bin")), 0);
    write_file(path_of("model/model.onnx"), "the grapH");
    other = make_key("a");
    assert_cached(&other, false);
    assert_cached(&key, true);
    remove_root();
}

TEST(any_damaged_byte_and_any_cut_is_found)
{
    setup_root();
    struct cache_key key = make_key("a");
    char path[PATH_MAX + 64], content[512];
    assert_true(cache_put(cache_dir(), &key, write_hello, hello));
    (void)snprintf(path, sizeof(path), "%s/%016llx-1.blob", cache_dir(),
                   (unsigned long long)key.place);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t size = fread(content, 1, sizeof(content), file);
    assert_in_range(size, strlen(hello) + 1, sizeof(content) - 1);
    assert_int_equal(fclose(file), 0);
    for (size_t i = 0; i < 2 * size; i++) {
        size_t cut = i < size ? size : i - size;
        content[i % size] ^= 0x10;
        file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(content, 1, cut, file), cut);
        assert_int_equal(fclose(file), 0);
        content[i % size] ^= 0x10;
        assert_cached(&key, false);
    }
    assert_true(cache_put(cache_dir(), &key, write_hello, hello));
    assert_cached(&key, true);
    remove_root();
}

TEST(a_failed_write_leaves_nothing)
{
    setup_root();
    struct cache_key key = make_key("a");
    assert_false(cache_put(cache_dir(), &key, write_nothing, NULL));
    assert_cached(&key, false);
    assert_int_equal(rmdir(cache_dir()), 0);
    assert_false(cache_put(path_of("no/such/dir"), &key, write_nothing, NULL));
    remove_root();
}

TEST(a_graph_that_is_not_there_is_not_found)
{
    struct cache_key key = {0};
    struct error err = {0};
    assert_int_equal(cache_key_make("/no/such/model.onnx", "", &key, &err), RC_NOT_FOUND);
    assert_non_null(strstr(err.text, "/no/such/model.onnx"));
}

TEST_MAIN("engine cache")
