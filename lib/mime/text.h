/* SPDX-License-Identifier: MPL-2.0 */
/* The readable text of a message, for SEARCH and previews.
 *
 * Searching streams: header fields with encoded words decoded, bodies of text parts with transfer
 * encoding and charset undone, all folded for caseless comparison (i;unicode-casemap, RFC 5051) and
 * looked through for all keys at once. Memory is the keys and 64 KB, whatever the message.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/mime/parse.h"

/* RFC 5051 section 2: titlecase mapping, then full decomposition. Damage in the input becomes
 * U+FFFD. Streams: a UTF-8 sequence must not be cut between calls. */
void text_casemap(struct buf *out, struct slice utf8);

/* Does the casemapped text hold the casemapped key? An empty key is in all. */
bool text_contains(struct slice utf8, struct slice key_utf8);

enum text_where {
    TEXT_HEADERS = 1, /* all header fields of the message and of its parts */
    TEXT_BODIES = 2,  /* bodies of text/ and message/ parts, decoded; no header fields */
};

/* The mapped texts of a message, as searching compares them. Who makes an index of messages takes
 * it from here, so that the two cannot differ. */
struct text_sink {
    void *ctx;
    unsigned where; /* enum text_where: what is wanted; the rest is not even decoded */
    /* A stretch of text, as far as it is known; a match never goes over from one stretch to the
     * next. Gives how many octets at its end shall come again in front of what follows. `last`: it
     * ends here, nothing comes again. */
    size_t (*look)(void *ctx, enum text_where where, struct slice text, bool last);
    /* No more is wanted; may be NULL. */
    bool (*done)(void *ctx);
};
struct text_walk;
struct text_walk *text_walk_new(const struct text_sink *sink);
void text_walk_feed(struct text_walk *w, struct slice message_bytes);
void text_walk_finish(struct text_walk *w); /* once, at the end */
void text_walk_free(struct text_walk *w);   /* NULL is fine */
/* Changes whenever the mapped text of some message may: with this library's rules and with ICU's
 * version. A later version has a higher number. */
uint32_t text_version(void);

struct text_search;

/* keys: UTF-8, not mapped yet; where[i] says where key i is looked for (IMAP BODY: TEXT_BODIES,
 * IMAP TEXT: both). At most 64 keys. */
struct text_search *text_search_new(const struct slice *keys, const enum text_where *where,
                                    size_t n);
void text_search_feed(struct text_search *t, struct slice message_bytes);
/* All keys have been found: no need to feed more. */
bool text_search_done(const struct text_search *t);
/* Bit i: key i was found. Call once, at the end. */
uint64_t text_search_finish(struct text_search *t);
void text_search_free(struct text_search *t);

/* A field's value against a key, as SEARCH HEADER, FROM, SUBJECT want it: encoded words decoded. */
bool text_field_contains(struct slice value, struct slice key_utf8);

/* The same for a field of addresses, as FROM, TO, CC and BCC want it: RFC 3501 section 6.4.4: "in
 * the envelope structure's FROM field". */
bool text_addresses_contain(struct slice value, struct slice key_utf8);

/* Collects the beginning of the first text part for a preview (RFC 8970): drive it with a sink. */
struct text_preview;
struct text_preview *text_preview_new(void);
void text_preview_header(struct text_preview *t, const struct mime_part *part);
void text_preview_bytes(struct text_preview *t, const struct mime_part *part, enum mime_bytes kind,
                        struct slice s);
/* At most 200 characters of UTF-8, white space joined, markup of HTML taken out. */
void text_preview_finish(struct text_preview *t, struct buf *out);
void text_preview_free(struct text_preview *t);
