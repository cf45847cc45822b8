/* SPDX-License-Identifier: Apache-2.0
 * file.h - reads a small file whole. Included by model/ only. */
#ifndef MODEL_FILE_H
#define MODEL_FILE_H
#include "base/bytes.h"

/* Appends the file to `into`, whose cap is the limit. NOT_FOUND: it cannot be opened. INVALID:
 * it is not a regular file, or is over the limit. */
NODISCARD enum rc file_read(const char *path, struct buf *into, struct error *err);
#endif
