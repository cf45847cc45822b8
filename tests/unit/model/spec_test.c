/* SPDX-License-Identifier: Apache-2.0
 * model.yaml: what is right is read, what is wrong is refused with its place. */
#include "check.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE 4096

static const char GOOD[] = "name: efficientnet-lite0\n"       /* 1 */
                           "version: \"1\"\n"                 /* 2 */
                           "task: classification\n"           /* 3 */
                           "precision: int8\n"                /* 4 */
                           "input:\n"                         /* 5 */
                           "  name: images\n"                 /* 6 */
                           "  width: 224\n"                   /* 7 */
                           "  height: 192\n"                  /* 8 */
                           "  layout: NCHW\n"                 /* 9 */
                           "  type: f32\n"                    /* 10 */
                           "  channels: rgb\n"                /* 11 */
                           "  mean: [127, 126.5, -1.5e1]\n"   /* 12 */
                           "  scale: [128, 64, 0.5]\n"        /* 13 */
                           "  geometry: center-crop # text\n" /* 14 */
                           "  crop_fraction: 0.875\n"         /* 15 */
                           "  filter: bicubic\n"              /* 16 */
                           "output:\n"                        /* 17 */
                           "  name: 'logits:0'\n"             /* 18 */
                           "  activation: softmax\n"          /* 19 */
                           "labels: labels.txt\n"             /* 20 */
                           "license: Apache-2.0\n";           /* 21 */

/* GOOD with its first `from` made `to`. */
static const char *with(const char *from, const char *to)
{
    static char text[TEXT_SIZE];
    const char *at = strstr(GOOD, from);
    assert_non_null(at);
    (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - GOOD), GOOD, to, at + strlen(from));
    return text;
}

static void assert_refused_bytes(struct bytes yaml, const char *part)
{
    struct model_spec spec = {0};
    struct error err = {0};
    if (model_spec_parse(yaml, "model.yaml", &spec, &err) != RC_INVALID)
        fail_msg("accepted, or another code, where '%s' is to be refused", part);
    assert_null(spec.name);
    assert_int_equal(strncmp(err.text, "model.yaml:", 11), 0);
    if (strstr(err.text, part) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, part);
}

static void assert_refused(const char *yaml, const char *part)
{
    assert_refused_bytes(bytes_of(yaml), part);
}

static void assert_parsed(const char *yaml, struct model_spec *ret_spec)
{
    struct error err = {0};
    if (model_spec_parse(bytes_of(yaml), "model.yaml", ret_spec, &err) != RC_OK)
        fail_msg("%s", err.text);
}

TEST(every_key_is_read)
{
    struct model_spec spec = {0};
    assert_parsed(GOOD, &spec);
    assert_string_equal(spec.name, "efficientnet-lite0");
    assert_string_equal(spec.version, "1");
    assert_string_equal(spec.task, "classification");
    assert_string_equal(spec.license, "Apache-2.0");
    assert_string_equal(spec.labels_file, "labels.txt");
    assert_string_equal(spec.input_name, "images");
    assert_string_equal(spec.output_name, "logits:0");
    assert_int_equal(spec.precision, PRECISION_INT8);
    assert_int_equal(spec.activation, ACTIVATION_SOFTMAX);
    assert_false(spec.input_nhwc);
    assert_false(spec.input_u8);
    assert_int_equal(spec.geometry.width, 224);
    assert_int_equal(spec.geometry.height, 192);
    assert_int_equal(spec.geometry.mode, IMAGE_CENTER_CROP);
    assert_int_equal(spec.geometry.filter, IMAGE_BICUBIC);
    assert_false(spec.geometry.bgr);
    assert_true(spec.geometry.crop_fraction == 0.875);
    assert_true(spec.mean[0] == 127 && spec.mean[1] == 126.5f && spec.mean[2] == -15);
    assert_true(spec.scale[0] == 128 && spec.scale[1] == 64 && spec.scale[2] == 0.5f);
    model_spec_done(&spec);
    assert_null(spec.name);
}

TEST(other_values_are_read)
{
    struct model_spec spec = {0};
    assert_parsed(with("  geometry: center-crop # text\n  crop_fraction: 0.875\n",
                       "  geometry: resize-crop\n  resize_side: 256\n"),
                  &spec);
    assert_int_equal(spec.geometry.mode, IMAGE_RESIZE_CROP);
    assert_int_equal(spec.geometry.resize_side, 256);
    model_spec_done(&spec);
    assert_parsed(with("  geometry: center-crop # text\n  crop_fraction: 0.875\n",
                       "  geometry: letterbox\n  pad: 114\n"),
                  &spec);
    assert_int_equal(spec.geometry.pad, 114);
    model_spec_done(&spec);
    assert_parsed(with("labels: labels.txt\nlicense: Apache-2.0\n", ""), &spec);
    assert_null(spec.labels_file);
    assert_null(spec.license);
    model_spec_done(&spec);
    assert_parsed(with("  type: f32\n  channels: rgb\n  mean: [127, 126.5, -1.5e1]\n"
                       "  scale: [128, 64, 0.5]\n",
                       "  type: u8\n  channels: bgr\n"),
                  &spec);
    assert_true(spec.input_u8);
    assert_true(spec.geometry.bgr);
    assert_true(spec.mean[2] == 0 && spec.scale[2] == 1);
    model_spec_done(&spec);
}

static const struct {
    const char *from;
    const char *to;
    const char *says;
} WRONG[] = {
    {"name: efficientnet-lite0", "name: Big", "model.yaml:1:7: name must be of a-z"},
    {"name: efficientnet-lite0", "name: ../up", "name must be"},
    {"name: efficientnet-lite0", "name: .hidden", "name must be"},
    {"name: efficientnet-lite0", "name: ''", "1 to 64 bytes"},
    {"name: efficientnet-lite0", "name: [a]", "name must be a single value"},
    {"name: efficientnet-lite0\n", "", "the key name is missing"},
    {"version: \"1\"", "version: 1/2", "2:10: version must be of letters"},
    {"version: \"1\"\n", "", "the key version is missing"},
    {"task: classification", "task: detection", "model.yaml:3:1: task must be classification"},
    {"precision: int8", "precision: int4", "4:12: precision must be one of f32, bf16, f16, int8"},
    {"precision: int8", "precision: {a: b}", "precision must be a single value"},
    {"  width: 224", "  width: 224.5", "7:10: input.width must be a whole number from 8 to 4096"},
    {"  width: 224", "  width: 0", "input.width must be"},
    {"  width: 224", "  width: -224", "input.width must be"},
    {"  width: 224", "  width: 4097", "input.width must be"},
    {"  width: 224", "  width: 0x20", "input.width must be"},
    {"  width: 224", "  width: 1e300", "input.width must be"},
    {"  width: 224", "  width: nan", "input.width must be"},
    {"  width: 224", "  width:", "input.width must be"},
    {"  height: 192\n", "", "the key input.height is missing"},
    {"NCHW", "CHWN", "input.layout must be one of NCHW, NHWC"},
    {"  type: f32", "  type: f64", "input.type must be one of f32, u8"},
    {"  type: f32", "  type: u8", "model.yaml:10:1: a graph that takes u8 normalises itself"},
    {"rgb", "rgba", "input.channels must be one of rgb, bgr"},
    {"[127, 126.5, -1.5e1]", "127", "input.mean must be a list of three numbers"},
    {"[127, 126.5, -1.5e1]", "[127, 126.5]", "input.mean must be a list of three numbers"},
    {"[127, 126.5, -1.5e1]", "[1, 2, 3, 4]", "more than three"},
    {"[127, 126.5, -1.5e1]", "[1, [2], 3]", "input.mean must be a list of three numbers"},
    {"[127, 126.5, -1.5e1]", "[1, 2, x]", "input.mean must be a number"},
    {"[128, 64, 0.5]", "[128, 64, 0]", "input.scale must be a number from 1e-06"},
    {"[128, 64, 0.5]", "[128, 64, inf]", "input.scale must be"},
    {"center-crop", "center", "input.geometry must be one of center-crop"},
    {"center-crop", "stretch", "model.yaml:15:1: input.crop_fraction belongs to"},
    {"  crop_fraction: 0.875\n", "", "model.yaml:14:1: input.crop_fraction belongs to"},
    {"crop_fraction: 0.875", "crop_fraction: 1.01", "15:18: input.crop_fraction must be"},
    {"crop_fraction: 0.875", "crop_fraction: 0.875\n  pad: 3", "16:1: input.pad belongs to"},
    {"center-crop # text\n  crop_fraction: 0.875", "letterbox\n  pad: 256", "from 0 to 255"},
    {"center-crop # text\n  crop_fraction: 0.875", "resize-crop\n  resize_side: 223",
     "input.resize_side must be at least"},
    {"bicubic", "nearest", "input.filter must be one of bilinear, bicubic"},
    {"softmax", "relu", "output.activation must be one of softmax, sigmoid, none"},
    {"  name: 'logits:0'", "  name: \"a\\0b\"", "must be"},
    {"labels: labels.txt", "labels: ../labels.txt", "labels must be the name of a file"},
    {"labels: labels.txt", "labels: /etc/passwd", "labels must be the name of a file"},
    {"license: Apache-2.0", "licence: Apache-2.0", "21:1: there is no key 'licence' here"},
    {"  width: 224", "  depth: 3", "7:3: there is no key 'depth' in input"},
    {"  width: 224", "  width: 224\n  width: 224", "8:3: input.width must be given once"},
    {"labels: labels.txt", "input: {name: x}", "input.name must be given once"},
    {"labels: labels.txt", "input: x", "keys and values are expected"},
    {"labels: labels.txt", "[a]: b", "a key is expected"},
    {"labels: labels.txt", "labels: &a labels.txt", "anchors, aliases and tags"},
    {"labels: labels.txt", "labels: *a", "anchors, aliases and tags"},
    {"labels: labels.txt", "labels: !!str labels.txt", "anchors, aliases and tags"},
    {"labels: labels.txt", "labels: !python/object:os.system x", "anchors, aliases and tags"},
    {"labels: labels.txt", "\tlabels: x", "model.yaml:20:"},
    {"labels: labels.txt", "labels: 'x", "model.yaml:2"},
    {"labels: labels.txt", "labels: \"\xff\"", "model.yaml:"},
    {"license: Apache-2.0\n", "license: Apache-2.0\n---\nname: b\n", "one document is enough"},
    {"license: Apache-2.0", "license: \"a\\nb\"", "control characters"},
};

TEST(each_key_that_is_wrong_is_refused_with_its_place)
{
    for (size_t i = 0; i < sizeof(WRONG) / sizeof(WRONG[0]); i++)
        assert_refused(with(WRONG[i].from, WRONG[i].to), WRONG[i].says);
}

TEST(what_is_not_a_mapping_is_refused)
{
    assert_refused("", "empty");
    assert_refused("\n# text\n", "the file is empty");
    assert_refused("name", "keys and values are expected");
    assert_refused("- a\n- b\n", "keys and values are expected");
    assert_refused_bytes((struct bytes){(const uint8_t *)"name: a\0b", 9}, "not text");
}

TEST(hostile_yaml_ends_at_once)
{
    static char text[80000];
    memset(text, '[', 60000);
    text[60000] = '\0';
    assert_refused(text, "keys and values are expected");
    (void)memcpy(text, "name: ", 6);
    assert_refused(text, "name must be a single value");
    memset(text, 'x', 70000);
    text[70000] = '\0';
    assert_refused(text, "over the limit");
    (void)snprintf(text, sizeof(text), "name: %s",
                   "&a [x,x]\nversion: &b [*a,*a,*a,*a]\ntask: &c [*b,*b,*b,*b]\n");
    assert_refused(text, "anchors, aliases and tags");
    memset(text, 'x', 60000);
    text[60000] = '\0';
    (void)memcpy(text, "name: ", 6);
    assert_refused(text, "1 to 64 bytes");
}

/* Every prefix and every single damaged byte: refused or read, never worse. */
TEST(damaged_text_is_read_or_refused)
{
    char text[sizeof(GOOD)];
    for (size_t i = 0; i < 3 * sizeof(GOOD); i++) {
        static const char damage[] = {'\n', ':', '\xc3'};
        struct model_spec spec = {0};
        memcpy(text, GOOD, sizeof(GOOD));
        text[i % sizeof(GOOD)] = damage[i / sizeof(GOOD)];
        size_t size = sizeof(GOOD) - 1;
        for (int cut = 0; cut < 2; cut++, size = i % sizeof(GOOD))
            if (model_spec_parse((struct bytes){(uint8_t *)text, size}, "f", &spec, NULL) == RC_OK)
                model_spec_done(&spec);
    }
}

TEST(what_is_written_is_read_back)
{
    static const char *const geometries[] = {
        "  geometry: center-crop\n  crop_fraction: 0.8750000001\n",
        "  geometry: resize-crop\n  resize_side: 300\n",
        "  geometry: letterbox\n  pad: 7\n",
        "  geometry: stretch\n",
    };
    for (size_t i = 0; i < sizeof(geometries) / sizeof(geometries[0]); i++) {
        struct model_spec spec = {0}, back = {0};
        struct buf first = BUF_INIT(TEXT_SIZE), second = BUF_INIT(TEXT_SIZE);
        assert_parsed(
            with("  geometry: center-crop # text\n  crop_fraction: 0.875\n", geometries[i]), &spec);
        free(spec.license);
        spec.license = strdup("say \"when\" \\ #1: two");
        spec.mean[0] = 0.1f;
        assert_int_equal(model_spec_write(&spec, &first), RC_OK);
        assert_int_equal(model_spec_parse((struct bytes){first.data, first.size}, "f", &back, NULL),
                         RC_OK);
        assert_string_equal(back.license, spec.license);
        assert_true(back.mean[0] == 0.1f);
        assert_true(back.geometry.crop_fraction == spec.geometry.crop_fraction);
        assert_int_equal(back.geometry.resize_side, spec.geometry.resize_side);
        assert_int_equal(model_spec_write(&back, &second), RC_OK);
        assert_int_equal(first.size, second.size);
        assert_memory_equal(first.data, second.data, first.size);
        model_spec_done(&spec);
        model_spec_done(&back);
        buf_done(&first);
        buf_done(&second);
    }
}

TEST_MAIN("model spec")
