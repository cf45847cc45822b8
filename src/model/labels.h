/* SPDX-License-Identifier: Apache-2.0
 * labels.h - labels.txt: UTF-8, the name of class 0 on the first line. Included by model/ only. */
#ifndef MODEL_LABELS_H
#define MODEL_LABELS_H
#include "base/bytes.h"

struct labels {
    char *text;         /* the file, each line terminated */
    const char **names; /* into `text` */
    uint32_t count;
};
/* INVALID names the line: empty, too long, not UTF-8 or with control characters. */
NODISCARD enum rc labels_parse(struct bytes text, const char *file, struct labels *ret_labels,
                               struct error *err);
void labels_done(struct labels *labels);
#endif
