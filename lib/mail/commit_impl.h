/* SPDX-License-Identifier: MPL-2.0 */
/* What commit.c, turn.c and settle.c share: see commit.h.
 *
 *   commit.c  queues, batches, committer threads, answers
 *   turn.c    what must be there before a record can be built (position, segments, messages);
 * building settle.c  what became of a record; answers without a record
 */
#pragma once

#include "lib/mail/build.h"
#include "lib/mail/commit.h"
#include "lib/store/keys.h"

/* Who called mail_commit: waits until `left` is 0. Under the committer's lock. */
struct waiter {
    pthread_cond_t done;
    size_t left;
};

/* An intent that waits, and the message that it wants to be named. Lives in mail_commit's frame;
 * the queue's or one turn's at any time, gone once it is answered. */
struct pending {
    STAILQ_ENTRY(pending) link;
    struct intent *intent;
    struct waiter *waiter;
    int64_t deadline_ms; /* commit_now() */

    uint64_t message; /* the id tried or stored; 0: none yet. Kept while its outcome is unknown */
    uint8_t tag[MESSAGE_TAG_SIZE];
    int64_t born;   /* store time before the id was made */
    int64_t stored; /* store time at which message and links were stored, the oldest; 0: not known
                       to be */
    bool tried;     /* an insert was sent whose outcome was not DONE: look before the next */
};
STAILQ_HEAD(pendings, pending);

struct commit_queue {
    struct account *account;
    struct pendings waiting;
    size_t n;
    bool busy;             /* a turn, or the preparation of one, is under way */
    bool listed;           /* in committer->active */
    bool ready;            /* in committer->ready */
    int64_t not_before_ms; /* commit_now(): after a failure; 0: at once */
    TAILQ_ENTRY(commit_queue) active_link, ready_link;
};

/* One record on its way. Owns its account reference and its pendings. */
struct turn {
    struct account *account;
    struct pendings pendings;
    size_t n;
    STAILQ_ENTRY(turn) link;
    struct pool_job job;

    struct state *base; /* seq n */
    int64_t seen;
    struct built built; /* record n + 1 */
    bool is_built;
    uint8_t txid[TXID_SIZE];
    struct key16 key, after;
    struct arena arena;         /* of the store items */
    size_t first_item, n_items; /* in the batch; the record is the last */
    enum store_outcome outcome;
    bool refused; /* a document of it is larger than the store takes */
};
STAILQ_HEAD(turns, turn);

struct committer {
    struct mail *mail;
    struct commit_counters counters;
    pthread_mutex_t lock;
    pthread_cond_t work; /* something is ready, or a stage is free */
    TAILQ_HEAD(, commit_queue) ready;
    TAILQ_HEAD(, commit_queue) active; /* queues with pendings */
    bool collecting; /* a thread is between taking a batch and having sent its first insert (atomic
                        stores: having built it) */
    bool recording;  /* a thread's records are in flight (stores that are not atomic) */
    bool stopping;
    int64_t ticks; /* calls of committer_tick */
    pthread_t threads[3];
    size_t n_threads;
};

/* --- commit.c -------------------------------------------------------------------------------- */

int64_t commit_now(const struct committer *c);
/* Answers the turn's pendings: all with `result` and text, or (result 1) as their intents say. */
void turn_answer(struct turn *t, int result, const char *text);
/* Gives the pendings back to the front of the queue and ends the turn. delay_ms: until the next
 * try. */
void turn_requeue(struct turn *t, int delay_ms);
/* Ends a turn whose pendings are all answered. Frees it. */
void turn_end(struct turn *t);
/* The first `keep` pendings stay; the rest goes back to the queue. */
void turn_split(struct turn *t, size_t keep);

/* --- turn.c ---------------------------------------------------------------------------------- */

/* Could a record be built now, without reading anything? Sets base and seen. */
bool turn_is_ready(struct turn *t);
/* Sees to all that turn_is_ready asks for, then requeues. On a thread of mail->jobs. */
void turn_prepare(struct turn *t);
/* Items of the messages that are not stored yet. */
size_t turn_item_count(const struct turn *t);
void turn_fill_items(struct turn *t, struct store_item *items, uint32_t group);
/* Notes what became of them. */
void turn_note_items(struct turn *t, const struct store_item *items, int64_t time);
bool turn_all_stored(const struct turn *t);
/* Has a message been sent of which it is not known whether it is there? */
bool turn_is_in_doubt(const struct turn *t);
/* Builds the record on base. 0: built (perhaps nothing to commit: built.bytes.n is 0);
 * -ERR_UNAVAILABLE: prepare first. */
int turn_build(struct turn *t, struct error *err) MUST_USE;
void turn_unbuild(struct turn *t);
struct store_item turn_record_item(const struct turn *t, struct slice bytes, uint32_t group);

/* --- settle.c -------------------------------------------------------------------------------- */

/* The record is in, as a reply of that time shows: adopt, answer, end. */
void turn_committed(struct turn *t, int64_t time);
/* Finds out what became of the record, on a thread of mail->jobs. */
void turn_settle(struct turn *t);
/* Nothing to commit: confirm by a read, answer; on a thread of mail->jobs. */
void turn_confirm(struct turn *t);
