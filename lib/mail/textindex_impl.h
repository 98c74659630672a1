/* SPDX-License-Identifier: MPL-2.0 */
/* What textindex*.c share, and nobody else. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <uthash.h>

#include "lib/mail/account.h"
#include "lib/mail/textindex.h"
#include "lib/mail/textindex_format.h"
#include "lib/store/keys.h"

#define TEXTINDEX_AT_ONCE 64 /* documents in one read or insert; about 2 MB */

/* --- documents in memory (textindex_cache.c) -------------------------------------------------- */

/* A document that was checked. Never changes; shared; held by reference. */
struct textindex_doc {
    struct key20 key;
    struct slice bytes;         /* of a part */
    struct textindex_head head; /* of TEXTINDEX_HEAD */
    size_t size;                /* in memory */
    uint32_t refs;              /* under the cache's mutex */
    TAILQ_ENTRY(textindex_doc) lru;
    UT_hash_handle hh;
};

/* One process's: the least recently used goes first. Part of struct mail. */
struct textindex {
    pthread_mutex_t mutex;
    struct textindex_doc *table;
    TAILQ_HEAD(textindex_lru, textindex_doc) lru;
    size_t bytes, max;
    _Atomic bool busy; /* an index is being brought up to date in the background */
};

struct textindex *textindex_new(size_t max_bytes);
void textindex_free(struct textindex *t);

struct textindex_id {
    uint32_t part;
    uint64_t segment;
};
/* Documents of an account in as few reads as may be. cached: from the cache, and kept there; else
 * as they are stored. ret_docs[i] is held (textindex_release), or NULL: then ret_why[i] (may be
 * NULL) is -ERR_NOTFOUND, -ERR_INVALID (damaged) or -ERR_UNAVAILABLE (a newer format). */
int textindex_load(struct mail *mail, uint64_t account, const struct textindex_id *ids, size_t n,
                   bool cached, struct textindex_doc **ret_docs, int *ret_why,
                   struct error *err) MUST_USE;
void textindex_release(struct mail *mail, struct textindex_doc *doc); /* NULL is fine */

/* The segments of an account, by number. */
struct textindex_segments {
    uint64_t *items;
    size_t n, cap;
};
void textindex_segments_done(struct textindex_segments *s);
int textindex_segments(struct mail *mail, uint64_t account, enum store_level level,
                       struct textindex_segments *ret, struct error *err) MUST_USE;

/* --- writing (textindex_write.c) -------------------------------------------------------------- */

/* A segment on its way into the store: kinds in their order, of each its lists in the order of
 * their grams; then the end, which stores what describes it. Documents leave in batches. */
struct textindex_writer {
    struct mail *mail;
    uint64_t account;
    struct textindex_head head; /* ids and open are the caller's */
    enum textindex_kind kind;
    uint32_t at; /* index of the part that is being filled */
    struct textindex_part_writer part;
    struct store_item items[TEXTINDEX_AT_ONCE];
    struct key20 keys[TEXTINDEX_AT_ONCE];
    struct buf bytes[TEXTINDEX_AT_ONCE];
    size_t n;
};
/* guess[]: about how many octets the lists of each kind will take. */
struct textindex_writer *textindex_writer_new(struct mail *mail, uint64_t account, uint64_t *ids,
                                              uint8_t *open, uint32_t n,
                                              const uint64_t guess[TEXTINDEX_KINDS_]);
int textindex_writer_add(struct textindex_writer *w, enum textindex_kind kind, uint32_t gram,
                         const uint32_t *ordinals, size_t count, struct error *err) MUST_USE;
/* *ret_segment: its number. */
int textindex_writer_end(struct textindex_writer *w, uint64_t *ret_segment,
                         struct error *err) MUST_USE;
void textindex_writer_free(struct textindex_writer *w);

/* --- making segments (textindex_build.c, textindex_merge.c) ----------------------------------- */

/* The grams of one message. */
struct textindex_grams {
    struct {
        uint32_t *items;
        size_t n, cap;
    } of[TEXTINDEX_KINDS_];
    uint64_t *seen[TEXTINDEX_KINDS_]; /* a bit a gram */
    bool open;                        /* too many, or it cannot be read: it may hold anything */
};
void textindex_grams_init(struct textindex_grams *g);
void textindex_grams_done(struct textindex_grams *g);
/* Those of a message; the ones before are forgotten. -ERR_NOTFOUND: it is gone. */
int textindex_grams_read(struct textindex_grams *g, struct account *account, uint64_t message,
                         struct error *err) MUST_USE;

/* A segment of messages from the front of ids (ascending); *ret_taken: how many of them were looked
 * at, at least one. *ret_segment: 0 if all of them are gone. */
int textindex_build(struct account *account, const uint64_t *ids, size_t n, size_t *ret_taken,
                    uint64_t *ret_segment, struct error *err) MUST_USE;

/* One segment of what others know of the messages in `live` (ascending). -ERR_INVALID: *ret_bad of
 * them cannot be read. */
int textindex_merge(struct account *account, struct textindex_doc *const *heads, size_t n,
                    const uint64_t *live, size_t n_live, size_t *ret_bad,
                    struct error *err) MUST_USE;
