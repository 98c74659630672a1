/* SPDX-License-Identifier: MPL-2.0 */
/* The state of an account: the fold of the first `seq` records of its log, and nothing else (I6).
 *
 * States are immutable once shared and cheap to keep: state -> mailbox -> segment -> chunk are
 * reference-counted and copied only where a record changes them, so that a session can hold the
 * state it showed its client and compare it later with the newest one. Comparing two versions of
 * a mailbox skips what they share.
 *
 * A segment is up to 16,384 messages in uid order and is the unit of storage (snapshot.h); it may
 * be not loaded: then only its first and last uid, count and key are known. Functions that look at
 * messages say what must be loaded; mailbox_load in account.h does it. Folding may need segments
 * too: state_fold says which.
 *
 * Threads: reference counts are atomic; a state is read by any number of threads; state_fold works
 * on a copy.
 */
#pragma once

#include "lib/mail/record.h"

/* Tests are also built with small ones, so that small mailboxes have many pieces. */
#ifndef SEGMENT_MESSAGES
#define SEGMENT_MESSAGES 16384u
#define CHUNK_MESSAGES   512u
#endif

/* A set of flags and keywords, interned per account: equal sets are the same pointer and stay as
 * long as any state of the account. `text` is "\Seen \Flagged $Work", ready for FETCH FLAGS (...).
 */
struct flagset {
    uint32_t index; /* in the account's table, from 0 = no flags */
    uint8_t system;
    size_t n_keywords;
    struct slice *keywords; /* sorted */
    struct slice text;
};

struct message {
    uint32_t uid;
    uint32_t size; /* octets */
    uint64_t modseq;
    uint64_t id;   /* message id: EMAILID, key of digest and content */
    int64_t date;  /* INTERNALDATE, seconds */
    int64_t saved; /* when it came into this mailbox, seconds of store time (SAVEDATE) */
    const struct flagset *flags;
};

struct segment; /* opaque: state_impl.h */
struct mailbox {
    _Atomic uint32_t refs;
    uint64_t id;
    uint32_t uidvalidity;
    uint32_t uses; /* special uses */
    char *name;    /* full name, UTF-8, "/" between levels; INBOX is always upper case */
    struct mailbox_sum sum;
    uint64_t created;  /* seq */
    uint64_t expunged; /* highest seq at which a message left it; 0: none ever */
    struct segment **segments;
    uint32_t *starts; /* messages before each segment */
    size_t n_segments;
    struct values *values;     /* named values of the mailbox (mailbox_value) */
    struct flagsets *flagsets; /* the account's */
};

struct state {
    _Atomic uint32_t refs;
    uint64_t account;
    uint64_t seq; /* of the last record folded */
    int64_t t_ms; /* the latest time of any record so far */
    uint8_t txid[TXID_SIZE];
    uint64_t used_bytes, used_messages;
    bool closed;                /* the account is deleted */
    struct mailbox **mailboxes; /* by id */
    uint32_t *name_hashes;      /* of the mailboxes' names, in the same order */
    size_t n_mailboxes;
    struct flagsets *flagsets; /* flagset.h; shared by all states of the account on this node */
    struct names *subscribed;  /* names, sorted (state_subscribed) */
    struct values *values;     /* account values: quota, retention, ... (state_value) */
    struct ledger *deliveries, *gone; /* delivery hashes; messages in the undelete window */
    struct ledger *vanished;          /* uids that left their mailbox (state_vanished) */
    uint32_t last_uidvalidity;        /* last given */
};

struct state *state_new_empty(uint64_t account); /* seq 0 */
struct state *state_ref(struct state *st);
void state_unref(struct state *st); /* NULL is fine */
struct mailbox *mailbox_ref(struct mailbox *box);
void mailbox_unref(struct mailbox *box);

const struct mailbox *state_mailbox(const struct state *st, uint64_t id);
/* UTF-8; INBOX in any case. NULL if there is none. */
const struct mailbox *state_mailbox_named(const struct state *st, struct slice name);
bool state_is_subscribed(const struct state *st, struct slice name);
/* Calls f for each subscribed name in order; ends early when f returns false. */
void state_each_subscribed(const struct state *st, bool (*f)(void *ctx, struct slice name),
                           void *ctx);
/* A named value of the account ("quota.bytes", ...) or of a mailbox, or an empty slice. */
struct slice state_value(const struct state *st, struct slice key);
struct slice mailbox_value(const struct mailbox *box, struct slice key);
/* Calls f for each named value in the order of the keys; ends early when f returns false. */
typedef bool value_fn(void *ctx, struct slice key, struct slice value);
void state_each_value(const struct state *st, value_fn *f, void *ctx);
void mailbox_each_value(const struct mailbox *box, value_fn *f, void *ctx);
/* The keywords that this node has met in the account: those in use, and perhaps some that were
 * (FLAGS, PERMANENTFLAGS). */
void state_each_keyword(const struct state *st, void (*f)(void *ctx, struct slice keyword),
                        void *ctx);
bool state_has_delivery(const struct state *st, const uint8_t hash[DELIVERY_HASH_SIZE]);
/* A message that left its mailbox within the undelete window. */
bool state_gone(const struct state *st, uint64_t message, int64_t *ret_t_ms, uint32_t *ret_size);
/* All of them, in the order in which they went; one that went twice comes twice. */
void state_each_gone(const struct state *st,
                     void (*f)(void *ctx, uint64_t message, int64_t t_ms, uint32_t size),
                     void *ctx);
/* The uids that left a mailbox by a record above `since`, added to *ret (I11). False: that is not
 * known any more (VANISHED_WINDOW_MS, VANISHED_MAX), and *ret has all uids that were ever given
 * there; who asks takes away those that are there. A mailbox that does not exist has none. */
bool state_vanished(const struct state *st, uint64_t mailbox, uint64_t since, struct uidset *ret);
/* The same state with every segment unloaded that is stored as it is; NULL: there is none. */
struct state *state_unload(struct state *st);
/* Bytes of memory that only this state is sure to hold, about (for limits on idle replicas). */
size_t state_bytes(const struct state *st);

/* --- messages of one mailbox; the segments looked at must be loaded --------------------------- */

/* Are all segments that hold uids in [first, last] loaded? */
bool mailbox_loaded(const struct mailbox *box, uint32_t first, uint32_t last);
/* index: from 0 in uid order. False past the end. O(log). */
bool mailbox_at(const struct mailbox *box, uint32_t index, struct message *ret);
/* Its uid alone, 0 past the end; of the first and the last message nothing need be loaded. */
uint32_t mailbox_uid_at(const struct mailbox *box, uint32_t index);
bool mailbox_find(const struct mailbox *box, uint32_t uid, struct message *ret);
/* Number of messages with a uid below: the index of `uid` if it is there. */
uint32_t mailbox_index(const struct mailbox *box, uint32_t uid);

/* Walks in uid order from a uid on; fast (no search per message).
 * for (struct mailbox_iter i = mailbox_iter(box, uid); mailbox_next(&i, &m);) */
struct mailbox_iter {
    const struct mailbox *box;
    size_t segment, chunk, at;
};
struct mailbox_iter mailbox_iter(const struct mailbox *box, uint32_t from_uid);
bool mailbox_next(struct mailbox_iter *i, struct message *ret);
/* The same, but stays before the first message with a uid above `last`, and looks at no segment
 * behind it. */
bool mailbox_next_to(struct mailbox_iter *i, uint32_t last, struct message *ret);

/* The same, many at a time: messages that stand in a row, as columns; at most CHUNK_MESSAGES. The
 * columns are the mailbox's, and live as long as it does. */
struct message_run {
    size_t n; /* not 0 */
    const uint32_t *uid, *size;
};
bool mailbox_next_run(struct mailbox_iter *i, struct message_run *ret);

/* What changed between two versions of one mailbox (old before new): calls for each uid, in
 * order. Skips chunks that both share. NULL functions are not called. */
struct mailbox_diff {
    void (*gone)(void *ctx, uint32_t uid);
    void (*changed)(void *ctx, const struct message *now); /* in both, another modseq */
    void (*added)(void *ctx, const struct message *now);   /* uid at or above old's uidnext */
};
void mailbox_compare(const struct mailbox *old, const struct mailbox *now,
                     const struct mailbox_diff *diff, void *ctx);

/* The segments that mailbox_compare would look into and that are not loaded, in either version:
 * calls as in state_fold_needs. (Rare: versions of one replica share their segments; a reopened
 * replica does not.) */
void mailbox_compare_needs(const struct mailbox *old, const struct mailbox *now,
                           void (*need)(void *ctx, const struct mailbox *version, uint32_t first,
                                        uint32_t last),
                           void *ctx);

/* --- folding --------------------------------------------------------------------------------- */

/* Settings that the fold depends on; the same on all nodes (they are account values or constants).
 */
#define DELIVERY_WINDOW_MS ((int64_t)3 * 24 * 3600 * 1000)
#define UNDELETE_WINDOW_MS                                                                         \
    ((int64_t)24 * 3600 * 1000) /* unless the value "undelete.ms" says other */
#define UNDELETE_MAX_MS    ((int64_t)30 * 24 * 3600 * 1000)
#define VANISHED_WINDOW_MS ((int64_t)30 * 24 * 3600 * 1000)
/* Of the ledgers only the newest so many are kept, so that a manifest stays small: beyond it
 * the windows get shorter. VANISHED_MAX: ranges of uids, of all mailboxes together. */
#ifndef DELIVERIES_MAX
#define DELIVERIES_MAX 250000u
#define GONE_MAX       250000u
#define VANISHED_MAX   100000u
#endif

/* Which unloaded segments folding `rec` on `st` would touch: calls need(ctx, mailbox, first uid,
 * last uid) for each range; none: state_fold will not fail for want of segments. */
void state_fold_needs(const struct state *st, const struct record *rec,
                      void (*need)(void *ctx, uint64_t mailbox, uint32_t first, uint32_t last),
                      void *ctx);
/* rec->seq must be st->seq + 1. Consumes the caller's reference to st (working in place where
 * nobody else holds it) and gives the new state; on failure st is unchanged and still the caller's.
 * -ERR_INTERNAL: the record does not apply (damage, or a segment it needs is not loaded). */
int state_fold(struct state *st, const struct record *rec, struct state **ret,
               struct error *err) MUST_USE;

/* All of a state as canonical bytes, for comparing (I6) in tests and fsck; everything loaded. */
void state_dump(const struct state *st, struct buf *out);
/* Counts again what the sums say; false and a sentence where they differ (I20, I26). */
bool state_recount(const struct state *st, struct error *err);
