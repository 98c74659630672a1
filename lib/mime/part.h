/* SPDX-License-Identifier: MPL-2.0 */
/* The Content-* fields of one part (RFC 2045, 2046, 2183, 3282, 2557, 1864). For parse.c. */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/mime/parse.h"

#define PART_BOUNDARY_MAX 80 /* octets of a boundary that count: RFC 2046 says 70 */

/* Fills type to languages from part->header. ret_boundary: of a multipart; {NULL, 0} if it has
 * none. Slices are in arena memory or point into part->header. */
void part_read_header(struct arena *a, struct buf *scratch, struct mime_part *part,
                      struct slice *ret_boundary);
