/* SPDX-License-Identifier: MPL-2.0 */
/* What content.c, content_cache.c, content_sweep.c and message.c share, and nobody else. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <zstd.h>

#include "lib/mail/content.h"
#include "lib/mail/message.h"

#define BLOB_HASH_SIZE 32

/* A prepared message is immutable; shared by the intents that name it. */
struct prepared {
    _Atomic uint32_t refs;
    struct slice digest; /* owned; with `head` taken into account */
    struct slice body;   /* owned: the document's body up to where the head lines go, see below */
    struct slice head;   /* owned: lines put before the message for one account */
    uint64_t size;       /* octets, head included */
    uint8_t hash[32];    /* SHA-256 of the message without head */
    uint8_t (*blobs)[BLOB_HASH_SIZE]; /* owned; each once */
    size_t n_blobs;
};

/* --- documents -------------------------------------------------------------------------------- */

/* The parts of a message's document, borrowed from it. */
struct message_head {
    struct slice tag;
    struct slice blobs; /* n * 32 bytes */
    struct slice digest;
};
int message_head_parse(struct slice head, struct message_head *ret, struct error *err) MUST_USE;

/* Body of a message's document: the head lines, and the skeleton, unpacked into `out`. */
int message_body_unpack(struct content *content, struct slice body, struct slice *ret_head,
                        struct buf *out, struct error *err) MUST_USE;

struct blob_head {
    bool dying;
    bool empty; /* its bytes are still to come (bytes outside the database) */
};
void blob_head_encode(const struct blob_head *head, struct buf *out);
int blob_head_parse(struct slice bytes, struct blob_head *ret, struct error *err) MUST_USE;

/* zstd frame or plain bytes, whichever is smaller, behind a format byte; and back. */
void content_pack(struct content *content, struct slice bytes, struct buf *out);
int content_unpack(struct content *content, struct slice packed, size_t max, struct buf *out,
                   struct error *err) MUST_USE;

/* --- reading ---------------------------------------------------------------------------------- */

/* Reads documents by key from anywhere; what seems absent is asked for again with more certainty.
 * For immutable documents. Answers stand at the index of their key. */
int content_fetch(struct content *content, enum store_table table, const struct slice *keys,
                  size_t n, enum store_parts parts, struct store_docs *ret_docs,
                  struct error *err) MUST_USE;

/* A blob's bytes, unpacked, appended to out. -ERR_NOTFOUND; -ERR_UNAVAILABLE; -ERR_INTERNAL. */
int content_blob(struct content *content, const uint8_t hash[BLOB_HASH_SIZE], struct buf *out,
                 struct error *err) MUST_USE;

/* --- blobs ------------------------------------------------------------------------------------ */

/* Makes sure that the blob is there and seen alive within half the guard. bytes may be NULL: then a
 * blob that is absent is -ERR_CANCELLED. */
int content_blob_ensure(struct content *content, const uint8_t hash[BLOB_HASH_SIZE],
                        const struct slice *bytes, struct error *err) MUST_USE;

/* --- cache of message documents (content_cache.c) ------------------------------------------------
 */

struct cache;
struct cache_entry {
    struct slice digest;               /* empty and !has_digest: not cached */
    struct slice head_lines, skeleton; /* skeleton unpacked */
    bool has_skeleton;
};
struct cache *cache_new(size_t bytes);
void cache_free(struct cache *cache);
/* A held entry, or NULL. Release with cache_release. */
const struct cache_entry *cache_get(struct cache *cache, uint64_t account, uint64_t message,
                                    bool want_skeleton);
/* Copies the slices in; gives the held entry (an older one with the same key is replaced). */
const struct cache_entry *cache_put(struct cache *cache, uint64_t account, uint64_t message,
                                    const struct cache_entry *entry);
void cache_release(struct cache *cache, const struct cache_entry *entry);
void cache_drop(struct cache *cache, uint64_t account, uint64_t message);

struct cache *content_cache(struct content *content);
struct store *content_store(struct content *content);
const struct mail_settings *content_settings(struct content *content);

/* Compression contexts are kept and lent: making one costs more than a small message. */
ZSTD_CCtx *content_lend_cctx(struct content *content);
void content_return_cctx(struct content *content, ZSTD_CCtx *cctx);
ZSTD_DCtx *content_lend_dctx(struct content *content);
void content_return_dctx(struct content *content, ZSTD_DCtx *dctx);
