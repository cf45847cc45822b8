/* SPDX-License-Identifier: Apache-2.0
 * aws_xml.h - takes elements out of the small XML documents that AWS answers with. Not a parser of
 * XML: no attributes are read, no entities but the five of the standard, nothing is checked. Pure.
 */
#ifndef NET_AWS_XML_H
#define NET_AWS_XML_H
#include "base/bytes.h"

/* What stands inside the next element `name` of `rest`, which moves behind it. Elements do not
 * nest in themselves in these documents. */
bool aws_xml_next(struct bytes *rest, const char *name, struct bytes *ret_inside);
/* The text of the first element `name`, at most `size - 1` bytes; "" and false if there is none or
 * it does not fit. */
bool aws_xml_text(struct bytes document, const char *name, char *into, size_t size);
#endif
