/* SPDX-License-Identifier: MPL-2.0 */
/* A record: one entry of an account's log, and the only thing that ever changes an account.
 *
 * Records are made by state_build (build.h) from intents, encoded here, inserted once under
 * (account, seq), and folded by state_fold (state.h). The encoding is our own: a version byte,
 * then varints and strings; all bounded on reading (a fuzz target feeds it anything). A reader
 * that meets a newer version or an unknown op stops writing to that account and says so
 * (-ERR_INTERNAL); it never guesses.
 */
#pragma once

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/mail/uidset.h"

#define RECORD_VERSION     1
#define TXID_SIZE          12
#define DELIVERY_HASH_SIZE 16

/* A mailbox's id, and with it MAILBOXID: seq of the record that created it << 16 | index of the op
 * in that record. Never reused. 0 is no mailbox. */
#define MAILBOX_ID(seq, index) ((uint64_t)(seq) << 16 | (uint16_t)(index))

/* System flags of a message. There is no \Recent (I13). */
enum {
    FLAG_SEEN = 1,
    FLAG_ANSWERED = 2,
    FLAG_FLAGGED = 4,
    FLAG_DELETED = 8,
    FLAG_DRAFT = 16,
    FLAGS_ALL = 31,
};

/* Flags and keywords as a record has them. Keywords: IMAP atoms, as first written by a client,
 * compared without regard to ASCII case; sorted; no doubles. */
struct flags {
    uint8_t system;
    struct slice *keywords;
    size_t n_keywords;
};

/* Special uses of RFC 6154, as bits. */
enum {
    USE_ALL = 1,
    USE_ARCHIVE = 2,
    USE_DRAFTS = 4,
    USE_FLAGGED = 8,
    USE_JUNK = 16,
    USE_SENT = 32,
    USE_TRASH = 64,
    USE_IMPORTANT = 128,
};

enum op_kind { /* numbers are the format */
               OP_NOOP = 0,
               OP_CREATE = 1,
               OP_RENAME = 2,
               OP_DELETE = 3,
               OP_SUBSCRIBE = 4,
               OP_SET = 5,
               OP_APPEND = 6,
               OP_COPY = 7,
               OP_MOVE = 8,
               OP_FLAGS = 9,
               OP_EXPUNGE = 10,
               OP_UNDELETE = 11,
               OP_ACCOUNT = 12,
               OP_CLOSE = 13,
               OP_KINDS_
};

/* One op; which members mean something is said behind them. Slices are borrowed from the encoded
 * record or from an arena. */
struct op {
    enum op_kind kind;
    uint64_t mailbox;     /* all but noop, subscribe, account, close; create: the id it gets */
    uint64_t target;      /* copy, move: destination mailbox */
    struct slice name;    /* create, rename: full name in UTF-8, levels parted by "/"; subscribe */
    uint32_t uidvalidity; /* create */
    uint32_t uses;        /* create, set: special uses */
    bool has_uses;        /* set: sets the special uses; else key and value */
    bool on;              /* subscribe: subscribed or not (by name, RFC 3501 section 6.3.6) */
    uint32_t uid;       /* append, undelete: the uid given; copy, move: first uid given in target */
    struct uidset uids; /* copy, move, flags, expunge: uids in mailbox, all present, ascending */
    uint64_t message;   /* append, undelete: message id */
    uint32_t size;      /* append: octets */
    int64_t date;       /* append: INTERNALDATE, seconds since 1970 UTC */
    struct flags add, remove; /* append: add = its flags; flags: what is added and removed */
    uint8_t delivery[DELIVERY_HASH_SIZE]; /* append: hash for I24 */
    bool has_delivery;
    struct slice key,
        value; /* account, set: a named value (quota, retention, ...); empty: removed */
};

/* The counters of a mailbox after the record (design: "sum"). */
struct mailbox_sum {
    uint64_t mailbox;
    uint32_t exists, unseen, deleted; /* messages; without \Seen; with \Deleted */
    uint32_t uidnext; /* 2^32 - 1 at most; an append that would pass it is refused */
    uint64_t bytes;   /* sum of sizes */
    uint64_t modseq;  /* HIGHESTMODSEQ */
};

struct record {
    uint64_t seq; /* from its key */
    int64_t t_ms; /* store time that its writer knew; for windows, not for order */
    uint8_t txid[TXID_SIZE];
    struct op *ops;
    size_t n_ops;
    struct mailbox_sum *sums; /* of every mailbox that the record touched and left alive */
    size_t n_sums;
    uint64_t used_bytes, used_messages; /* of the account, after the record */
};

/* What reading allows; build.h's limits are lower. */
#define RECORD_KEYWORDS_MAX 4096 /* in one set of flags */
#define RECORD_NAME_MAX     4096

/* uidsets are walked, slices copied: nothing of rec is kept. */
void record_encode(const struct record *rec, struct buf *out);
/* One op alone: its share of the record's size. */
void record_encode_op(const struct op *op, struct buf *out);
/* The largest encoding of what is not ops: head, and `n_sums` sums. */
size_t record_overhead(size_t n_sums);
/* Everything is allocated in the arena or borrowed from `bytes`; uidsets too are the arena's (do
 * not uidset_done them). -ERR_INTERNAL: damaged, or of a newer version. */
int record_decode(struct slice bytes, uint64_t seq, struct arena *arena, struct record *ret_rec,
                  struct error *err) MUST_USE;
/* For `eider log`: one line of text per op. A secret is not shown. */
void record_print(const struct record *rec, struct buf *out);
/* Of the value with this key only those know who make and check tokens by it. */
#define RECORD_SECRET_KEY "urlauth"
bool record_is_secret(const struct op *op);
const char *op_name(enum op_kind kind);
