/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGUMENT_MAX 16

struct loaded {
    struct config config;
    struct settings settings;
    struct error err;
    enum config_result result;
    int rest;
    char *argv[ARGUMENT_MAX];
};

/* `arguments` is a list that ends with NULL. */
static enum rc load(struct loaded *loaded, bool environment, const char *const arguments[])
{
    *loaded = (struct loaded){0};
    int argc = 0;
    while (arguments[argc] != NULL) {
        loaded->argv[argc] = (char *)(uintptr_t)arguments[argc];
        argc++;
    }
    return config_load(&loaded->config, settings_rows, settings_count, &loaded->settings, argc,
                       loaded->argv, environment, &loaded->rest, &loaded->result, &loaded->err);
}
#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void write_file(char path[], const char *text)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

TEST(every_default_is_legal)
{
    struct loaded loaded;
    assert_int_equal(load(&loaded, false, ARGUMENTS()), RC_OK);
    assert_string_equal(loaded.settings.listen, "127.0.0.1:8080");
    assert_int_equal(loaded.settings.image_size, 20000000);
    assert_int_equal(loaded.settings.header_timeout, 10000);
    assert_true(loaded.settings.access_log);
    config_done(&loaded.config);
}

TEST(a_flag_wins_over_the_environment_and_that_over_the_file)
{
    char path[] = "/tmp/imago-config-XXXXXX";
    write_file(path, "waiting: 11\nbatch: 3\ntop-k: 7\n");
    setenv("IMAGO_BATCH", "4", 1);
    setenv("IMAGO_WAITING", "12", 1);
    struct loaded loaded;
    assert_int_equal(load(&loaded, true, ARGUMENTS("--waiting", "13", "--config", path)), RC_OK);
    assert_int_equal(loaded.settings.waiting, 13);
    assert_int_equal(loaded.settings.batch, 4);
    assert_int_equal(loaded.settings.top_k, 7);
    assert_int_equal(loaded.settings.connections, 4096);
    config_done(&loaded.config);
    unsetenv("IMAGO_BATCH");
    unsetenv("IMAGO_WAITING");
    unlink(path);
}

TEST(units_are_read)
{
    static const struct {
        const char *text;
        uint64_t value;
    } sizes[] = {{"64", 64}, {"3k", 3000}, {"3Ki", 3072}, {"2M", 2000000}, {"2Mi", 2097152}};
    struct loaded loaded;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(load(&loaded, false, ARGUMENTS("--image-size", sizes[i].text)), RC_OK);
        assert_int_equal(loaded.settings.image_size, sizes[i].value);
        config_done(&loaded.config);
    }
    assert_int_equal(load(&loaded, false, ARGUMENTS("--idle-timeout=2m", "--header-timeout=250ms")),
                     RC_OK);
    assert_int_equal(loaded.settings.idle_timeout, 120000);
    assert_int_equal(loaded.settings.header_timeout, 250);
    config_done(&loaded.config);
}

TEST(a_switch_is_turned_on_and_off)
{
    struct loaded loaded;
    assert_int_equal(load(&loaded, false, ARGUMENTS("--no-access-log")), RC_OK);
    assert_false(loaded.settings.access_log);
    config_done(&loaded.config);
    assert_int_equal(load(&loaded, false, ARGUMENTS("--access-log=false", "--access-log")), RC_OK);
    assert_true(loaded.settings.access_log);
    config_done(&loaded.config);
}

TEST(what_is_no_flag_is_kept_in_order)
{
    struct loaded loaded;
    assert_int_equal(load(&loaded, false, ARGUMENTS("a", "--waiting", "5", "-", "--", "--b")),
                     RC_OK);
    assert_int_equal(loaded.rest, 3);
    assert_string_equal(loaded.argv[0], "a");
    assert_string_equal(loaded.argv[1], "-");
    assert_string_equal(loaded.argv[2], "--b");
    config_done(&loaded.config);
}

TEST(a_wrong_value_names_the_setting_and_its_range)
{
    static const char *const wrong[][2] = {
        {"--waiting=0", "--waiting"},    {"--waiting=-1", "--waiting"},
        {"--waiting=1x", "--waiting"},   {"--waiting=99999999999999999999", "--waiting"},
        {"--image-size=5", "64"},        {"--image-size=1T", "64"},
        {"--idle-timeout=10", "unit"},   {"--log-level=loud", "debug|info"},
        {"--access-log=yes", "neither"}, {"--waitin=1", "--waiting"},
        {"--no-waiting", "no-waiting"},  {"-q", "unknown"},
        {"--waiting", "needs a value"}};
    struct loaded loaded;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(load(&loaded, false, ARGUMENTS(wrong[i][0])), RC_INVALID);
        if (strstr(loaded.err.text, wrong[i][1]) == NULL)
            fail_msg("%s: '%s' does not say '%s'", wrong[i][0], loaded.err.text, wrong[i][1]);
    }
}

TEST(a_wrong_file_is_refused_with_its_line)
{
    static const char *const wrong[][2] = {{"waiting: 5\nwaitin: 5\n", ":2"},
                                           {"waiting: 5\nwaiting: 6\n", "twice"},
                                           {"waiting:\n  a: 5\n", "single value"},
                                           {"- waiting\n", "lists"},
                                           {"waiting: *a\n", ":1"},
                                           {"waiting: [5]\n", "lists"},
                                           {"waiting: x\n", ":1: waiting"},
                                           {"just text\n", "name: value"}};
    struct loaded loaded;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char path[] = "/tmp/imago-config-XXXXXX";
        write_file(path, wrong[i][0]);
        assert_int_equal(load(&loaded, true, ARGUMENTS("--config", path)), RC_INVALID);
        if (strstr(loaded.err.text, wrong[i][1]) == NULL)
            fail_msg("%s: '%s' does not say '%s'", wrong[i][0], loaded.err.text, wrong[i][1]);
        unlink(path);
    }
    assert_int_equal(load(&loaded, true, ARGUMENTS("--config=/nowhere")), RC_NOT_FOUND);
}

TEST(an_empty_file_changes_nothing)
{
    char path[] = "/tmp/imago-config-XXXXXX";
    write_file(path, "# nothing\n");
    struct loaded loaded;
    assert_int_equal(load(&loaded, true, ARGUMENTS("--config", path)), RC_OK);
    config_done(&loaded.config);
    unlink(path);
}

TEST(what_is_printed_is_a_file_that_gives_the_same)
{
    struct loaded first;
    assert_int_equal(load(&first, false,
                          ARGUMENTS("--data=a \"b\" \\c", "--waiting=77", "--no-access-log",
                                    "--drain-delay=90s")),
                     RC_OK);
    struct buf text = BUF_INIT(1 << 16);
    assert_int_equal(config_print(&first.config, &text), RC_OK);
    assert_int_equal(buf_append(&text, (struct bytes){(const uint8_t *)"", 1}), RC_OK);
    char path[] = "/tmp/imago-config-XXXXXX";
    write_file(path, (const char *)text.data);
    struct loaded second;
    assert_int_equal(load(&second, true, ARGUMENTS("--config", path)), RC_OK);
    assert_string_equal(second.settings.stores.data, "a \"b\" \\c");
    struct buf again = BUF_INIT(1 << 16);
    assert_int_equal(config_print(&second.config, &again), RC_OK);
    assert_non_null(strstr((const char *)text.data, "drain-delay: 90s"));
    assert_int_equal(second.settings.waiting, 77);
    assert_false(second.settings.access_log);
    buf_done(&text);
    buf_done(&again);
    config_done(&first.config);
    config_done(&second.config);
    unlink(path);
}

/* A table that has some of the server's settings beside its own. */
struct mixed {
    struct stores_settings stores;
    const char *format;
};
static const struct option mixed_rows[] = {
#define OPTION(...) CONFIG_ROW_SERVER(struct stores_settings, __VA_ARGS__)
#include "config/stores.def"
#undef OPTION
    CONFIG_ROW(struct mixed, "Options", format, TEXT, "auto", 0, 0, "KIND", "")};

TEST(a_command_reads_the_server_s_settings_where_the_server_does)
{
    char path[] = "/tmp/imago-config-XXXXXX";
    write_file(path, "workers: 3\ndata: /from/file\nimages: file:/i\n");
    setenv("IMAGO_CONFIG", path, 1);
    setenv("IMAGO_IMAGES", "file:/e", 1);
    setenv("IMAGO_FORMAT", "nonsense", 1);
    struct mixed values = {0};
    struct config config;
    enum config_result result;
    struct error err = {0};
    int rest = 0;
    char *none[] = {NULL};
    assert_int_equal(config_load(&config, mixed_rows, sizeof(mixed_rows) / sizeof(mixed_rows[0]),
                                 &values, 0, none, true, &rest, &result, &err),
                     RC_OK);
    assert_string_equal(values.stores.data, "/from/file");
    assert_string_equal(values.stores.images, "file:/e");
    assert_string_equal(values.format, "auto");
    config_done(&config);
    unlink(path);
    char other[] = "/tmp/imago-config-XXXXXX";
    write_file(other, "workrs: 3\n");
    setenv("IMAGO_CONFIG", other, 1);
    assert_int_equal(config_load(&config, mixed_rows, sizeof(mixed_rows) / sizeof(mixed_rows[0]),
                                 &values, 0, none, true, &rest, &result, &err),
                     RC_INVALID);
    unlink(other);
    unsetenv("IMAGO_CONFIG");
    unsetenv("IMAGO_IMAGES");
    unsetenv("IMAGO_FORMAT");
}

TEST(help_names_every_setting)
{
    struct buf text = BUF_INIT(1 << 18);
    assert_int_equal(config_help(settings_rows, settings_count, true, &text), RC_OK);
    assert_int_equal(buf_append(&text, (struct bytes){(const uint8_t *)"", 1}), RC_OK);
    for (size_t i = 0; i < settings_count; i++) {
        char flag[64];
        (void)snprintf(flag, sizeof(flag), "--%s", settings_rows[i].field);
        for (char *at = flag; *at != '\0'; at++)
            if (*at == '_')
                *at = '-';
        assert_non_null(strstr((const char *)text.data, flag));
    }
    buf_done(&text);
    struct loaded loaded;
    assert_int_equal(load(&loaded, false, ARGUMENTS("--waiting", "5", "--help")), RC_OK);
    assert_int_equal(loaded.result, CONFIG_HELP);
    config_done(&loaded.config);
}

TEST_MAIN("config")
