/* SPDX-License-Identifier: Apache-2.0 */
#include "net/aws_xml.h"

#include <stdio.h>
#include <string.h>

static const uint8_t *find(struct bytes in, const void *what, size_t size)
{
    return in.data != NULL ? memmem(in.data, in.size, what, size) : NULL;
}

bool aws_xml_next(struct bytes *rest, const char *name, struct bytes *ret_inside)
{
    char open[64], close[64];
    size_t size = strlen(name);
    if (snprintf(open, sizeof(open), "<%s>", name) >= (int)sizeof(open) ||
        snprintf(close, sizeof(close), "</%s>", name) >= (int)sizeof(close))
        return false;
    const uint8_t *end = rest->data != NULL ? rest->data + rest->size : NULL;
    const uint8_t *start = find(*rest, open, size + 2);
    if (start == NULL)
        return false;
    start += size + 2;
    const uint8_t *stop = find((struct bytes){start, (size_t)(end - start)}, close, size + 3);
    if (stop == NULL)
        return false;
    *ret_inside = (struct bytes){start, (size_t)(stop - start)};
    *rest = (struct bytes){stop + size + 3, (size_t)(end - stop) - size - 3};
    return true;
}

static char entity(struct bytes *text)
{
    static const struct {
        const char *name;
        char is;
    } all[] = {{"&amp;", '&'},   {"&lt;", '<'},  {"&gt;", '>'},  {"&quot;", '"'},
               {"&apos;", '\''}, {"&#34;", '"'}, {"&#39;", '\''}};
    size_t used = 1;
    char is = (char)text->data[0];
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && is == '&' && used == 1; i++) {
        size_t size = strlen(all[i].name);
        if (text->size >= size && memcmp(text->data, all[i].name, size) == 0) {
            used = size;
            is = all[i].is;
        }
    }
    text->data += used;
    text->size -= used;
    return is;
}

bool aws_xml_text(struct bytes document, const char *name, char *into, size_t size)
{
    struct bytes inside;
    size_t used = 0;
    into[0] = '\0';
    if (!aws_xml_next(&document, name, &inside))
        return false;
    while (inside.size > 0) {
        if (used + 1 >= size) {
            into[0] = '\0';
            return false;
        }
        into[used++] = entity(&inside);
    }
    into[used] = '\0';
    return true;
}
