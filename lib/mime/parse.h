/* SPDX-License-Identifier: MPL-2.0 */
/* The push parser: bytes of a message in, in any cuts, a tree of parts out.
 *
 * It never fails: damaged mail gives a tree too, and what is beyond a limit becomes the opaque body
 * of a leaf. Memory is bounded by the limits, not by the size of the message: only header blocks
 * are kept. How the input is cut makes no difference to the result.
 *
 * Boundaries are taken as mail in the wild needs them (and as Dovecot does): the innermost
 * multipart first, the longest match wins, a line that merely starts with the boundary counts, LF
 * ends a line as CRLF does, a bare CR does not, a missing end is the end of the outer part. The
 * line end before a boundary belongs to the boundary (RFC 2046 section 5.1.1).
 *
 * One parser is used by one thread at a time.
 */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/bytes.h"

struct mime_limits {
    uint32_t depth;        /* of nested parts, the message itself being 1 */
    uint32_t parts;        /* in all */
    uint32_t header_kept;  /* bytes of one header block that are looked at */
    uint32_t headers_kept; /* the same, all header blocks together */
};

#define MIME_LIMITS_DEFAULT                                                                        \
    ((struct mime_limits){                                                                         \
        .depth = 100, .parts = 10000, .header_kept = 1 << 20, .headers_kept = 4 << 20})

enum mime_kind {
    MIME_LEAF,
    MIME_MULTIPART, /* its children are its parts; may have none */
    MIME_MESSAGE,   /* message/rfc822; its one child is the message in it */
};

enum mime_encoding {
    MIME_7BIT, /* also when the field is missing */
    MIME_8BIT,
    MIME_BINARY,
    MIME_QP,
    MIME_BASE64,
    MIME_UNKNOWN,
};

/* A parameter after RFC 2231 continuations are joined: a name ending in "*" has a value that is
 * still in the extended form (charset'language'%41...), as BODYSTRUCTURE shows it.
 * param_text() in header.h decodes. */
struct mime_param {
    struct slice name, value;
};

struct mime_params {
    struct mime_param *items;
    size_t n;
};

struct mime_part {
    struct mime_part *parent, *next, *child;

    /* Offsets into the whole message, in octets. The header block is [header_start, body_start)
     * with its empty line; a part of a multipart has its MIME header there. */
    uint64_t header_start, body_start, end;
    uint64_t lines; /* LF octets in the body */

    enum mime_kind kind;
    enum mime_encoding encoding;
    bool is_text;   /* type is text */
    bool is_digest; /* multipart/digest */
    bool opaque;    /* a multipart or message that a limit keeps closed; a leaf */
    bool has_type;  /* a Content-Type field is there */

    struct slice header; /* the header block as it came, as much as is kept */
    bool header_cut;     /* not all of it is kept */

    /* From the first field of each name. {NULL, 0} is "not there"; an empty value has p set.
     * Texts have folding and NULs as they came: structure.h cleans when it writes. */
    struct slice type, subtype; /* as written; empty if Content-Type is broken */
    struct mime_params params;
    struct slice encoding_text; /* Content-Transfer-Encoding as written */
    struct slice id, description, md5, location;
    struct slice disposition;
    struct mime_params disposition_params;
    struct slice *languages;
    size_t language_count;
};

enum mime_bytes {
    MIME_BYTES_HEADER, /* of the part, with the empty line */
    MIME_BYTES_BODY,   /* of a leaf */
    MIME_BYTES_GLUE,   /* boundary lines, text before the first and after the last part */
};

/* What a parser tells while it works. Every octet that is fed comes out of `bytes` once, in order.
 * `header` is called when the header block of a part is complete, before its body; parts that an
 * end of input cuts off have it called too. Either may be NULL. The part's `end` and `lines` are
 * not known yet at that time. */
struct mime_sink {
    void *ctx;
    void (*header)(void *ctx, const struct mime_part *part);
    void (*bytes)(void *ctx, const struct mime_part *part, enum mime_bytes kind, struct slice s);
};

struct mime_parser;

/* limits NULL: the defaults. sink NULL: none; else copied. */
struct mime_parser *mime_parser_new(const struct mime_limits *limits, const struct mime_sink *sink);
void mime_parser_feed(struct mime_parser *p, struct slice bytes);
/* The whole message has been fed. The tree lives as long as the parser. */
const struct mime_part *mime_parser_finish(struct mime_parser *p);
void mime_parser_free(struct mime_parser *p);

/* The part of an IMAP section number ("1.2" is {1, 2}; none is the root), or NULL. The numbering is
 * that of RFC 3501 section 6.4.5: a message/rfc822 has the numbers of the message in it below its
 * own, and a message that is no multipart has one part, 1: that message itself. */
const struct mime_part *mime_part_find(const struct mime_part *root, const uint32_t *numbers,
                                       size_t n);
/* The value of a parameter (name without "*"), NULL if not there; ASCII case does not matter. */
const struct mime_param *mime_param_find(const struct mime_params *params, struct slice name);
