/* SPDX-License-Identifier: MPL-2.0 */
/* The digest of a message: one small binary value with all that lists, FETCH ENVELOPE, BODY,
 * BODYSTRUCTURE, the usual HEADER.FIELDS, SORT and THREAD need, so that these never touch content.
 *
 * Reading copies nothing: mdigest_open checks the value once and fills a struct of slices into it;
 * the texts are ready to be sent. A value is read on any thread.
 *
 * What does not fit the caps is left out and marked in `missing`: read the content, parse it again
 * and build with mdigest_caps_none, which leaves nothing out. Formats only grow: a newer version is
 * -ERR_UNAVAILABLE, and its content can be parsed again too.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/mime/parse.h"

/* What is left out (struct mdigest.missing). */
enum mdigest_missing {
    MDIGEST_NO_ENVELOPE = 1,
    MDIGEST_NO_BODY = 2,
    MDIGEST_NO_BODYSTRUCTURE = 4,
    MDIGEST_NO_SECTIONS = 8,
    MDIGEST_NO_FIELDS = 16,     /* header fields: none is known */
    MDIGEST_NO_REFERENCES = 32, /* the list of references is cut at its front */
};

struct mdigest_caps {
    size_t envelope, body, bodystructure, sections, fields, references; /* octets */
};

extern const struct mdigest_caps mdigest_caps_default, mdigest_caps_none;

/* Appends the digest of a parsed message. `preview` may be empty. caps NULL: the default. */
void mdigest_build(struct buf *out, const struct mime_part *root, struct slice preview,
                   const struct mdigest_caps *caps);

struct mdigest {
    uint64_t size;        /* octets of the message: RFC822.SIZE */
    uint64_t header_size; /* octets of its header block with the empty line */
    uint32_t missing;     /* enum mdigest_missing */
    bool has_date;        /* the Date field is there and can be read */
    bool is_reply;        /* the subject had "Re:" or the like (RFC 5256 THREAD) */
    bool has_attachment;  /* a part that a list would show with a paper clip */
    int64_t date;         /* Date field, seconds since 1970 UTC */
    int16_t zone;         /* of the Date field, minutes east of UTC */

    /* Ready to send, with their parentheses. Empty if missing. */
    struct slice envelope, body, bodystructure;

    struct slice subject;      /* decoded, UTF-8, at most 256 octets */
    struct slice base_subject; /* RFC 5256 section 2.1, UTF-8, at most 256 octets */
    /* First address of the field, local part only (RFC 5256 SORT), and its display name or, without
     * one, mailbox@domain (RFC 5957); of a group its name. Decoded, UTF-8. */
    struct slice from_mailbox, from_display, to_mailbox, to_display, cc_mailbox, cc_display;
    struct slice from_address; /* mailbox@domain of the first mailbox */
    /* Without angle brackets; references: with a blank between each two, the newest last. */
    struct slice message_id, in_reply_to, references;
    struct slice preview; /* UTF-8, at most 200 characters */

    struct slice sections, fields; /* use the functions below */
    uint64_t known;                /* bit set of fields by mdigest_field_id */
    bool all_fields;               /* the header has no fields but those in `fields` */
};

/* 0; -ERR_INVALID: damaged; -ERR_UNAVAILABLE: of a newer version. */
int mdigest_open(struct mdigest *ret, struct slice bytes) MUST_USE;

struct mdigest_section {
    uint64_t header_offset, header_len; /* the part's own header block (MIME) */
    uint64_t body_offset, body_len;
    uint64_t lines; /* of the body */
    enum mime_kind kind;
    enum mime_encoding encoding;
    /* kind MIME_MESSAGE, or the root: the message itself. HEADER and TEXT of a section. */
    bool has_message;
    uint64_t message_header_offset, message_header_len;
    uint64_t message_text_offset, message_text_len;
};

/* The part of a section number ("1.2" is {1, 2}; n == 0 is the whole message, whose `body` is then
 * its text). 0; -ERR_NOTFOUND: no such part; -ERR_LIMIT: the table is missing, parse the content.
 *   BODY[1.2] = body, BODY[1.2.MIME] = header, BODY[1.2.HEADER] = message_header,
 *   BODY[1.2.TEXT] = message_text. */
int mdigest_section_find(const struct mdigest *d, const uint32_t *numbers, size_t n,
                         struct mdigest_section *ret) MUST_USE;

/* Number of a field name in the fixed list of covered fields, or -1. */
int mdigest_field_id(struct slice name);

/* Answers HEADER.FIELDS (names) or, with `negate`, HEADER.FIELDS.NOT of the whole message: appends
 * the fields as they came, in order, and an empty line. 1: done; 0: the digest cannot tell, nothing
 * is appended, parse the header. */
int mdigest_header_fields(const struct mdigest *d, const struct slice *names, size_t n, bool negate,
                          struct buf *out) MUST_USE;

/* The value (unfolded not, decoded not) of the first such field: 1, {NULL, 0} and 1 if it is known
 * not to be there, 0 if the digest cannot tell. */
int mdigest_field_value(const struct mdigest *d, struct slice name, struct slice *ret) MUST_USE;

/* The same filter over a header block of any message or part (BODY[1.HEADER.FIELDS (...)], or when
 * the digest cannot tell). */
void mdigest_filter_header(struct slice header_block, const struct slice *names, size_t n,
                           bool negate, struct buf *out);

/* The digest of `head` followed by the message that `digest` is of: whole header lines (LMTP's
 * Return-Path, Delivered-To, Received) put in front of it for one account. Offsets move, size and
 * header_size grow, the fields of head come first; all else stays, so head must not hold a field
 * that ENVELOPE or the structure shows. 0; -ERR_INVALID: damaged, or head is not header lines. */
int mdigest_prepend(struct slice digest, struct slice head, struct buf *out) MUST_USE;
