/* SPDX-License-Identifier: MPL-2.0 */
/* Base64 text of a fixed form, there and back without the loss of an octet. For the skeleton.
 *
 * The form: lines of `line` characters (0: no line ends at all), each line end CRLF or LF, the
 * first character in column `col` of its line. A line end is written before a character that does
 * not fit its line any more, so a text never ends with one.
 */
#pragma once

#include "lib/base/buf.h"

#define BASE64_LINE_MAX 4096

/* Of each octet: 0 to 63, BASE64_PAD for "=", BASE64_NONE for what is no digit. Both are < 0. */
#define BASE64_NONE (-1)
#define BASE64_PAD  (-2)
extern const int8_t base64_values[256];

struct base64_form {
    uint32_t line;
    uint32_t col; /* 0 to line */
    uint8_t nl;   /* octets of a line end: 1 LF, 2 CRLF */
};

/* The form that a text seems to have, column 0. False: it cannot be one. */
bool base64_form_guess(struct slice text, struct base64_form *ret);

/* Decodes the longest front of the text that encoding gives back exactly, at most `max` octets (a
 * multiple of 3). Returns how much of the text that is; *ret_col is the column behind it. */
size_t base64_form_decode(const struct base64_form *f, struct slice text, size_t max,
                          struct buf *out, uint32_t *ret_col);

/* Octets of the text of n decoded octets. */
uint64_t base64_form_size(const struct base64_form *f, size_t n);
/* Appends octets [from, to) of the text; to <= base64_form_size. False if out is full. */
bool base64_form_encode(const struct base64_form *f, struct slice decoded, uint64_t from,
                        uint64_t to, struct buf *out) MUST_USE;
