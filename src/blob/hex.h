/* SPDX-License-Identifier: Apache-2.0
 * hex.h - hashes as text, as they stand in names. */
#ifndef BLOB_HEX_H
#define BLOB_HEX_H
#include "blob/blob.h"

#define HEX_NAME_SIZE (2 * BLOB_SHA256_SIZE + 1)

void hex_text(const uint8_t *octets, size_t size, char *into); /* 2 * size + 1 characters */
bool hex_parse(const char *text, uint8_t *into, size_t size);
#endif
