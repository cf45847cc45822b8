/* SPDX-License-Identifier: Apache-2.0
 * models_dir.h - where the model repository is when nobody said. */
#ifndef CLI_MODELS_DIR_H
#define CLI_MODELS_DIR_H
#include "base/rc.h"

#include <limits.h>

/* `given` unless empty; else models/ beside the program, else share/imago/models of its prefix.
 * NOT_FOUND names both. */
NODISCARD enum rc models_dir_find(const char *given, char into[PATH_MAX], struct error *err);
#endif
