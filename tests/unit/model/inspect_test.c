/* SPDX-License-Identifier: Apache-2.0
 * model_inspect() on graphs that OpenVINO reads: what it writes is a model.yaml that is accepted.
 */
#include "check.h"
#include "model/model.h"
#include "tiny_onnx.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char root[] = "/tmp/imago-inspect-XXXXXX";
static char path[PATH_MAX];
static struct engine *engine;

static void setup_root(const char *file)
{
    struct engine_config config = {.driver = "openvino"};
    struct error err = {0};
    (void)strcpy(root + sizeof(root) - 7, "XXXXXX");
    assert_non_null(mkdtemp(root));
    (void)snprintf(path, sizeof(path), "%s/%s", root, file);
    if (engine_open(&config, &engine, &err) != RC_OK)
        fail_msg("%s", err.text);
}

static void remove_root(void)
{
    char command[128];
    engine_free(engine);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    assert_int_equal(system(command), 0);
}

static void inspect(struct model_spec *ret_spec)
{
    struct buf text = BUF_INIT(8192);
    struct error err = {0};
    if (model_inspect(path, engine, &text, &err) != RC_OK)
        fail_msg("%s", err.text);
    if (model_spec_parse((struct bytes){text.data, text.size}, "f", ret_spec, &err) != RC_OK)
        fail_msg("%s\n%.*s", err.text, (int)text.size, (char *)text.data);
    buf_done(&text);
}

TEST(a_graph_of_normalised_planes)
{
    struct tiny_onnx tiny = {.input_name = "in:0",
                             .output_name = "out put",
                             .width = 320,
                             .height = 240,
                             .class_count = 12};
    struct model_spec spec = {0};
    setup_root("My Net.V2.onnx");
    tiny_onnx_write(path, &tiny);
    inspect(&spec);
    assert_string_equal(spec.name, "my-net.v2");
    assert_string_equal(spec.input_name, "in:0");
    assert_string_equal(spec.output_name, "out put");
    assert_int_equal(spec.geometry.width, 320);
    assert_int_equal(spec.geometry.height, 240);
    assert_false(spec.input_nhwc);
    assert_false(spec.input_u8);
    assert_int_equal(spec.precision, PRECISION_F32);
    model_spec_done(&spec);
    remove_root();
}

TEST(a_graph_of_pixels_of_any_size)
{
    struct tiny_onnx tiny = {
        .input_name = "in", .output_name = "out", .class_count = 5, .pixels = true};
    struct model_spec spec = {0};
    setup_root("...onnx");
    tiny_onnx_write(path, &tiny);
    inspect(&spec);
    assert_string_equal(spec.name, "model");
    assert_int_equal(spec.geometry.width, 224);
    assert_true(spec.input_nhwc);
    assert_true(spec.input_u8);
    assert_true(spec.scale[0] == 1.0f);
    model_spec_done(&spec);
    remove_root();
}

TEST(what_is_no_classifier_is_refused)
{
    struct tiny_onnx tiny = {
        .input_name = "in", .output_name = "out", .width = 4, .height = 4, .class_count = 5};
    struct buf text = BUF_INIT(8192);
    struct error err = {0};
    setup_root("small.onnx");
    tiny_onnx_write(path, &tiny);
    assert_int_equal(model_inspect(path, engine, &text, &err), RC_INVALID);
    assert_non_null(strstr(err.text, "a picture classifier"));
    assert_int_equal(model_inspect("/no/such.onnx", engine, &text, &err), RC_NOT_FOUND);
    buf_done(&text);
    remove_root();
}

TEST_MAIN("model inspect")
