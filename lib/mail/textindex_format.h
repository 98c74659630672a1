/* SPDX-License-Identifier: MPL-2.0 */
/* The bytes of the text index. Pure; nothing here blocks. For textindex*.c, tests and fuzzing.
 *
 * A segment covers some messages of an account, in ascending order of their ids; its ordinals
 * 0..n-1 number them. For each kind of text (bodies, headers) it has lists: of a gram, the ordinals
 * of the messages in whose text it occurs. A gram is a hash of three octets of the mapped text:
 *
 *   bodies   24 bits, which is the three octets themselves in another order
 *   headers  12 bits: ids and signatures are noise, which would take as much room as it says
 *
 * The lists of a kind stand in the order of their grams and are cut into 2^bits parts by the
 * grams' first bits, one document each, so that a search reads those it needs. One more document
 * describes the segment; it is stored last, and only what it names counts.
 *
 * Every document ends with the first 8 octets of the SHA-256 of its other octets, which begin with
 * format, segment and part: one that is damaged or in the wrong place is no document.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/base/err.h"

#define TEXTINDEX_FORMAT       1
#define TEXTINDEX_MESSAGES_MAX 65536u /* of a segment */
#define TEXTINDEX_PART_BITS    8      /* parts of a kind: at most 2^8 */

enum textindex_kind { TEXTINDEX_BODIES, TEXTINDEX_HEADERS, TEXTINDEX_KINDS_ };

static const uint8_t textindex_gram_bits[TEXTINDEX_KINDS_] = {24, 12};

/* Part number of the describing document, and of the parts: kind in the first octet, from 1. */
#define TEXTINDEX_HEAD 0u
static inline uint32_t textindex_part(enum textindex_kind kind, uint32_t index)
{
    return ((uint32_t)kind + 1) << 24 | index;
}

/* The gram of three octets: a multiplication that gives each value once, so that parts are of
 * about equal size. */
static inline uint32_t textindex_gram(enum textindex_kind kind, const uint8_t *p)
{
    uint32_t octets = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];

    return ((octets * 0x9E3779u) & 0xFFFFFF) >> (24 - textindex_gram_bits[kind]);
}

/* --- the describing document ----------------------------------------------------------------- */

struct textindex_head {
    uint64_t segment;
    uint32_t text_version; /* text_version() when it was made */
    uint32_t n;            /* messages */
    uint8_t bits[TEXTINDEX_KINDS_];
    uint64_t bytes[TEXTINDEX_KINDS_]; /* of all parts */
    uint64_t *ids;                    /* ascending */
    uint8_t *open; /* bit i: nothing is known of message i, it may hold anything */
};

void textindex_head_encode(const struct textindex_head *h, struct buf *out);
/* 0 (ids and open are allocated; textindex_head_done); -ERR_UNAVAILABLE: a newer format;
 * -ERR_INVALID: damaged. */
int textindex_head_decode(struct slice bytes, uint64_t segment,
                          struct textindex_head *ret) MUST_USE;
void textindex_head_done(struct textindex_head *h);

/* --- parts ----------------------------------------------------------------------------------- */

struct textindex_part_writer {
    uint32_t n; /* messages of the segment */
    struct buf dictionary, lists;
    uint32_t count, last;
};
void textindex_part_begin(struct textindex_part_writer *w, uint32_t n);
/* Grams in ascending order; ordinals ascending, each once, at least one. */
void textindex_part_add(struct textindex_part_writer *w, uint32_t gram, const uint32_t *ordinals,
                        size_t count);
/* Appends the document and is ready for the next part. */
void textindex_part_end(struct textindex_part_writer *w, uint64_t segment, uint32_t part,
                        struct buf *out);
void textindex_part_done(struct textindex_part_writer *w);

struct textindex_list {
    uint32_t gram;
    uint32_t count; /* ordinals */
    struct slice bytes;
};
struct textindex_part_reader {
    uint32_t n;
    uint32_t left, next; /* lists to come; least value of the next gram */
    struct cursor dictionary;
    struct slice lists;
    bool bad; /* damage was met: nothing that was read is to be believed */
};
/* Is it whole, and the document that it should be? 0; -ERR_UNAVAILABLE: newer; -ERR_INVALID. The
 * reader does not check again. */
int textindex_part_check(struct slice bytes, uint64_t segment, uint32_t part) MUST_USE;
/* For bytes that were checked. n: messages of the segment. */
void textindex_part_open(struct textindex_part_reader *r, struct slice bytes, uint32_t n);
bool textindex_part_next(struct textindex_part_reader *r, struct textindex_list *ret);

/* Sets the bits of a list's ordinals in a zeroed bitmap of n bits. False: damaged. */
bool textindex_list_bitmap(const struct textindex_list *list, uint32_t n,
                           uint64_t *bitmap) MUST_USE;
