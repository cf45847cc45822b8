/* SPDX-License-Identifier: Apache-2.0
 * spec.h - keys.def as a table, for what reads and writes model.yaml. Included by model/ only. */
#ifndef MODEL_SPEC_H
#define MODEL_SPEC_H
#include "model/model.h"

enum key_kind {
    KIND_TEXT,
    KIND_NAME,    /* text of a-z 0-9 . _ - */
    KIND_VERSION, /* text of A-Z a-z 0-9 . _ - */
    KIND_FILE,    /* the name of a file in the model's folder */
    KIND_U8,
    KIND_U32,
    KIND_REAL,
    KIND_REAL3, /* a list of three, for the channels in the graph's order */
    KIND_CHOICE,
    KIND_FLAG, /* a choice of two, kept as a bool */
};

struct key {
    const char *section; /* "": the top */
    const char *name;
    enum key_kind kind;
    size_t offset; /* in struct model_spec */
    double least;
    double most;
    const char *const *values; /* ends with NULL */
    bool needed;
};

#define KEY(section, name, kind, field, least, most, values, needed) +1
enum {
    MODEL_KEY_COUNT = 0
#include "model/keys.def"
};
#undef KEY
extern const struct key model_keys[MODEL_KEY_COUNT];

/* A text key that was not given is not set. */
bool key_is_text(const struct key *key);
bool model_name_fits(const char *name);
bool model_version_fits(const char *version);

/* Writes `comments[i]` after key i; NULL entries, or NULL, for none. */
NODISCARD enum rc model_spec_write_commented(const struct model_spec *spec,
                                             const char *const comments[MODEL_KEY_COUNT],
                                             struct buf *into);
#endif
