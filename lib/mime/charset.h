/* SPDX-License-Identifier: MPL-2.0 */
/* Character sets to UTF-8, by ICU, with a short way for UTF-8, US-ASCII and Latin.
 *
 * Converters are kept per thread (a few), since opening one costs more than a usual mail. Damage
 * becomes U+FFFD; an unknown charset is read as UTF-8 where well-formed, else as windows-1252, so
 * that ASCII in it stays readable. Names are those of IANA, with the aliases of the WHATWG list
 * that matter for mail (iso-8859-1 means windows-1252, gb2312 means gbk, ...).
 */
#pragma once

#include "lib/base/buf.h"

struct charset;

/* A charset by name, for this thread, until it is given back; never NULL. An empty name is
 * "unknown". */
struct charset *charset_open(struct slice name);
void charset_close(struct charset *cs);
/* Converts; a character cut at the end is kept for the next call unless `last`. */
void charset_to_utf8(struct charset *cs, struct buf *out, struct slice in, bool last);
bool charset_known(struct slice name);

/* In one go. */
void charset_convert(struct buf *out, struct slice name, struct slice in);
