/* SPDX-License-Identifier: MPL-2.0 */
/* Header fields: splitting, unfolding, message ids, parameters, encoded words, base subject.
 *
 * All functions are pure, take any bytes and run in linear time. Texts that come out are UTF-8
 * without NUL, CR or LF; 8-bit input is taken as UTF-8 where it is well-formed (RFC 6532), else as
 * windows-1252.
 */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/mime/parse.h"

struct header_field {
    struct slice name;  /* without blanks before the colon; empty if the line has no colon */
    struct slice value; /* after the colon and blanks; folding as it came, final line end cut */
    struct slice raw;   /* all of it with its line end */
    size_t offset;      /* of raw in the header block */
};

struct header_reader {
    struct slice block;
    size_t pos;
};

static inline struct header_reader header_reader_of(struct slice block)
{
    return (struct header_reader){block, 0};
}

/* The next field; false at the empty line or the end. */
bool header_next(struct header_reader *r, struct header_field *ret);
/* The first field of that name (ASCII case does not matter); false if there is none. */
bool header_find(struct slice block, struct slice name, struct header_field *ret);

/* Line ends taken out; where no blank follows one, it becomes a blank. NUL becomes U+FFFD. */
void header_unfold(struct buf *out, struct slice value);

/* The readable text of an unstructured field or a display name: unfolded, RFC 2047 words decoded
 * (adjacent ones joined, also when they split a character), damage substituted by U+FFFD. */
void header_decode(struct buf *out, struct slice value);

/* The text of a parameter: RFC 2231 decoded, or RFC 2047 decoded where people use that. */
void param_text(struct buf *out, const struct mime_param *param);

/* Message ids in a field, one call each: "<", local part, "@", domain, ">" without comments, blanks
 * and needless quotes. *pos starts at 0. Appends the id without the angles to out; false at the
 * end. Words that are no ids are skipped (RFC 5256 asks that for References). */
bool msgid_next(struct slice value, size_t *pos, struct buf *out);

/* RFC 5256 section 2.1: the base subject of a decoded subject, as UTF-8. Returns flags. */
#define SUBJECT_IS_REPLY 1 /* "Re:", "(fwd)" and friends were taken away */
int subject_base(struct buf *out, struct slice decoded);
