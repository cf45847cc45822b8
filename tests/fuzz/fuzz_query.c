/* SPDX-License-Identifier: Apache-2.0
 * Any bytes as a query string: every pair is within the limit, and it ends. */
#include "net/query.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest = {data, size};
    struct buf name = BUF_INIT(100), value = BUF_INIT(1000);
    struct error err;
    bool found = true;
    while (found) {
        size_t before = rest.size;
        if (query_next(&rest, &name, &value, &found, &err) != RC_OK)
            break;
        if (found && (rest.size >= before || name.size > 100 || value.size > 1000 ||
                      memchr(name.data != NULL ? name.data : data, 0, name.size) != NULL))
            abort();
    }
    if (query_decode_segment((struct bytes){data, size}, &value, &err) == RC_OK &&
        value.size > size)
        abort();
    buf_done(&name);
    buf_done(&value);
    return 0;
}
