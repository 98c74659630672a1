/* SPDX-License-Identifier: MPL-2.0 */
/* From intents to a record: what the model (tests/model/fold.py) calls evaluate() and build().
 *
 * Every intent is judged on the state that the ones before it leave (flat combining), its ops are
 * applied to a working copy, and all of them leave as one record. Pure: nothing here blocks or
 * touches the store, and the state given is not changed. A lost slot means: call again with the
 * newer state; results of an earlier call are thrown away.
 *
 * Mailbox names: UTF-8 in NFC, levels parted by "/", each of 1 to 255 bytes, at most NAME_DEPTH
 * levels and NAME_MAX_BYTES bytes (build_limits may say less), no control characters, no empty
 * level. A first level that is INBOX in any
 * case is written so. Superior mailboxes that do not exist are created with CREATE and RENAME as
 * real mailboxes (RFC 3501 sections 6.3.3 and 6.3.5: SHOULD), so that a client can use every name
 * it sees; DELETE leaves inferiors alone, so that names without a mailbox can still come about.
 * Subscriptions go by name and are touched by SUBSCRIBE only.
 *
 * A special use is of one mailbox: given to another, it is taken from the one that had it, in the
 * same record (RFC 6154 section 3).
 *
 * Values whose keys begin with "/" are annotations (RFC 5464): the key is the entry's name in lower
 * case; the value has METADATA_MARK before what the client wrote, as an empty one would be none.
 * They are counted and measured here. RENAME of INBOX copies its values to the new mailbox.
 *
 * Keywords: IMAP atoms of at most KEYWORD_MAX bytes, at most KEYWORDS_PER_MESSAGE on a message.
 * They keep the spelling that the account has already.
 */
#pragma once

#include "lib/mail/mail.h"

#define NAME_MAX_BYTES 1000
#define NAME_LEVEL_MAX 255
#define NAME_DEPTH     32
#define NAMES_TOTAL_MAX                                                                            \
    ((size_t)2 << 20) /* bytes: all mailbox names, subscriptions and values of an account */
#define VALUE_MAX            ((size_t)64 << 10) /* bytes of one value; its key: 255 */
#define KEYWORD_MAX          100
#define KEYWORDS_PER_MESSAGE 64
#define RECORD_OPS_MAX       65535

struct build_limits {
    uint32_t mailboxes_max, keywords_max; /* as in mail_settings; the first is that of
                                             subscriptions too */
    /* also as there; 0: the greatest that can be (NAME_MAX_BYTES, ...; metadata: no limit) */
    uint32_t name_max, name_depth, metadata_max, metadata_entries;
    size_t record_max; /* bytes of an encoded record; 0: STORE_HEAD_MAX */
};

/* An intent, and what only the committer knows: under which id its message is (or will be) stored.
 */
struct build_item {
    struct intent *intent;
    uint64_t message; /* append, deliver: message id */
    uint64_t size;    /* append, deliver: octets; 2^32 - 1 at most, else -ERR_TOOBIG */
};

struct built {
    struct record rec; /* its memory is in `arena` and in the intents: valid as long as both */
    struct buf bytes;  /* the record, encoded; empty if there is nothing to commit */
    struct state *st;  /* the state after it: the committer's new state once the record is in */
    size_t taken;      /* items with a result; the rest waits for the next record */
    struct arena arena;
};
/* Frees all of it; take `st` or `bytes` before (and leave NULL or an empty buf). */
void built_done(struct built *built);

/* Which unloaded segments build_record would look at; calls as in state_fold_needs. */
void build_needs(const struct state *st, const struct build_item *items, size_t n,
                 void (*need)(void *ctx, uint64_t mailbox, uint32_t first, uint32_t last),
                 void *ctx);

/* Judges items[0..n), sets their intents' results (result, error, seq, nothing, duplicate,
 * mailbox_id, uid, done, late,
 * ...) and makes record st->seq + 1 of what is to be done. `t_ms`: store time known to the writer.
 * Stops early (ret->taken < n) where the record is full, or where a segment is not loaded that no
 * earlier build_needs could tell. A group (in_one_record_with_next) is taken whole or not at all,
 * and is done whole or not at all: where one is refused, its fellows get the same result. An intent
 * that could not fit into any record gets -ERR_LIMIT.
 *
 * intent->seq: of the record where it has ops or others have (the record proves that the answer was
 * true), else st->seq. Results with no record (ret->bytes.n == 0: nothing, duplicate, refused) are
 * to be given only after a linearizable read has shown st to be the newest (rule `nothing` of the
 * model).
 *
 * 0, and ret filled. -ERR_UNAVAILABLE: a segment that items[0] needs is not loaded (call
 * build_needs first). */
int build_record(const struct state *st, struct build_item *items, size_t n, int64_t t_ms,
                 const uint8_t txid[TXID_SIZE], const struct build_limits *limits,
                 struct built *ret, struct error *err) MUST_USE;

/* A fence: record st->seq + 1 with one noop (unknown outcomes, sweeps). */
void build_noop(const struct state *st, int64_t t_ms, const uint8_t txid[TXID_SIZE],
                struct built *ret);

/* The name as the state would have it ("inbox/x" -> "INBOX/x"), in *out. -ERR_INVALID, -ERR_LIMIT.
 */
int name_normalise(struct slice name, struct buf *out, struct error *err) MUST_USE;
/* Is it an atom that may be a keyword? (RFC 3501 section 9: flag-keyword) */
bool keyword_valid(struct slice keyword);
