/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/onnx.h"

#include <stdint.h>
#include <sys/types.h>

/* Protobuf: a field is a varint of (number << 3 | type), then by type a varint, 8 bytes, a length
 * and that many bytes, or 4 bytes. */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
/* Of ModelProto. */
enum { IR_VERSION = 1, GRAPH = 7, NUMBER_MAX = 64 };
#define FIELD_COUNT_MAX 100000 /* metadata and functions, each a field */

static bool read_varint(FILE *file, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        int byte = getc(file);
        if (byte == EOF)
            return false;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

bool onnx_is_model(FILE *file)
{
    bool has_version = false, has_graph = false;
    if (fseeko(file, 0, SEEK_END) != 0)
        return false;
    off_t size = ftello(file), at = 0;
    for (int i = 0; i < FIELD_COUNT_MAX && at < size; i++) {
        uint64_t tag = 0, skip = 0;
        if (fseeko(file, at, SEEK_SET) != 0 || !read_varint(file, &tag))
            return false;
        unsigned type = tag & 7;
        if (tag >> 3 == 0 || tag >> 3 > NUMBER_MAX)
            return false;
        if (type == FIXED64 || type == FIXED32)
            skip = type == FIXED64 ? 8 : 4;
        else if ((type != VARINT && type != BYTES) || !read_varint(file, &skip))
            return false;
        has_version = has_version || (tag >> 3 == IR_VERSION && type == VARINT);
        has_graph = has_graph || (tag >> 3 == GRAPH && type == BYTES);
        at = ftello(file);
        if (type != VARINT) {
            if (skip > (uint64_t)(size - at))
                return false;
            at += (off_t)skip;
        }
    }
    return at == size && has_version && has_graph;
}
