/* SPDX-License-Identifier: MPL-2.0 */
/* Content transfer encodings (RFC 2045 section 6), decoded leniently, streaming.
 *
 * Bytes that do not belong are skipped (base64) or pass (quoted-printable), as readers want it. Not
 * for storage: skeleton.h decides by itself what is exactly reversible.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/mime/parse.h"

struct transfer {
    enum mime_encoding encoding;
    uint32_t bits; /* base64: bits not given out yet */
    uint8_t nbits;
    bool ended;       /* base64: padding seen */
    uint8_t held[64]; /* quoted-printable: "=", "=4", or blanks that a line end would make void */
    uint8_t nheld;
};

void transfer_begin(struct transfer *t, enum mime_encoding encoding);
void transfer_feed(struct transfer *t, struct buf *out, struct slice in);
void transfer_end(struct transfer *t, struct buf *out);
/* The encoding that a Content-Transfer-Encoding token names. */
enum mime_encoding transfer_by_name(struct slice token);
/* RFC 2047 section 4.2, where "_" is a blank. */
void transfer_q_word(struct buf *out, struct slice in);
