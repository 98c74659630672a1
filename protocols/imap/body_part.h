/* SPDX-License-Identifier: MPL-2.0 */
/* body_part: one part's BODYSTRUCTURE out of a message's (RFC 5259 section 9: BODYPARTSTRUCTURE).
 * Pure functions over text. */
#pragma once

#include "lib/base/buf.h"

/* The part with this section number; n 0: the message's body. False: there is none. */
bool body_part_find(struct slice structure, const uint32_t *numbers, size_t n, struct slice *ret);
/* The body of the message that a part is; false: it is none. */
bool body_part_message(struct slice part, struct slice *ret);
/* Appends a part that is not multipart as it is without its transfer encoding, with so many octets
 * and lines. False, and nothing appended: it cannot be read. */
bool body_part_decoded(struct slice part, uint64_t octets, uint64_t lines, struct buf *out);
