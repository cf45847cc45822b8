/* SPDX-License-Identifier: Apache-2.0 */
#include "model/spec.h"

#include <string.h>

/* In the order of their enum; of a flag, false first. */
static const char *const precisions[] = {"f32", "bf16", "f16", "int8", NULL};
static const char *const layouts[] = {"NCHW", "NHWC", NULL};
static const char *const types[] = {"f32", "u8", NULL};
static const char *const channel_orders[] = {"rgb", "bgr", NULL};
static const char *const modes[] = {"center-crop", "resize-crop", "stretch", "letterbox", NULL};
static const char *const filters[] = {"bilinear", "bicubic", NULL};
static const char *const activations[] = {"softmax", "sigmoid", "none", NULL};

const struct key model_keys[MODEL_KEY_COUNT] = {
#define KEY(section, name, kind, field, least, most, values, needed)                               \
    {section, #name, KIND_##kind, offsetof(struct model_spec, field), least, most, values, needed},
#include "model/keys.def"
#undef KEY
};

bool key_is_text(const struct key *key)
{
    return key->kind == KIND_TEXT || key->kind == KIND_NAME || key->kind == KIND_VERSION ||
           key->kind == KIND_FILE;
}

static bool fits(const char *text, size_t size_max, const char *allowed)
{
    size_t size = strlen(text);
    return size >= 1 && size <= size_max && text[0] != '.' && strspn(text, allowed) == size;
}

bool model_name_fits(const char *name)
{
    return fits(name, 64, "abcdefghijklmnopqrstuvwxyz0123456789._-");
}

bool model_version_fits(const char *version)
{
    return fits(version, 32, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
}
