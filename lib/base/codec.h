/* SPDX-License-Identifier: MPL-2.0 */
/* Text codings that more than one layer needs. (Transfer encodings of MIME parts: lib/mime.) */
#pragma once

#include "lib/base/buf.h"

/* RFC 4648 section 4, with padding, on one line. */
void base64_encode(struct buf *out, struct slice in);
/* Strict: padding required, no other bytes, no bits left over. 0 or -ERR_INVALID. */
int base64_decode(struct buf *out, struct slice in) MUST_USE;
/* RFC 4648 section 5, without padding, as strict. 0 or -ERR_INVALID. */
int base64url_decode(struct buf *out, struct slice in) MUST_USE;
void hex_encode(struct buf *out, struct slice in); /* lower case */
int hex_decode(struct buf *out, struct slice in) MUST_USE;

/* The code point at the front of s, its length in *ret_n; -1 and length 1 if it is not well-formed
 * UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF). s is not empty. */
int32_t utf8_next(struct slice s, size_t *ret_n);
bool utf8_valid(struct slice s);
void utf8_add(struct buf *out, uint32_t code_point);

/* Modified UTF-7 of IMAP mailbox names (RFC 3501 section 5.1.3) to UTF-8 and back. Decoding is
 * strict: what encoding would not give back is -ERR_INVALID. */
int mutf7_decode(struct buf *out, struct slice in) MUST_USE;
int mutf7_encode(struct buf *out, struct slice utf8) MUST_USE;
