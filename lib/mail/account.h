/* SPDX-License-Identifier: MPL-2.0 */
/* Replicas: the accounts in the memory of one node. Inside lib/mail only.
 *
 * A replica is a state together with a position: "at store time `seen`, a majority said that record
 * `st->seq` was the newest". It moves in two ways, both only forward: a reader reads on from the
 * store, or the committer adopts the state that it built and whose record is in. Everybody who asks
 * for the present waits for one read that began after he asked; one read serves all who wait.
 *
 * Locks, outermost first; none is held over a call to the store:
 *   mail->lock      the table of accounts, reference counts, idle list
 *   account->lock   replica, reading, watches
 *   commit's lock   queues (commit.c)
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <uthash.h>

#include "lib/base/pool.h"
#include "lib/mail/content.h"
#include "lib/mail/mail.h"

struct committer;
struct sweeper;
struct bus_subscription;

struct watch {
    struct account *account;
    void (*wake)(void *ctx);
    void *ctx;
    LIST_ENTRY(watch) link;
};

struct account {
    struct mail *mail;
    uint64_t id;
    UT_hash_handle hh;
    uint32_t refs; /* holders, the committer's turns and jobs among them; under mail->lock */
    TAILQ_ENTRY(account) idle_link; /* while refs is 0, oldest first */
    size_t idle_bytes;

    pthread_mutex_t lock;
    pthread_cond_t read_done;
    struct state *st; /* NULL: not open */
    int64_t seen;     /* store time of the reply that showed st->seq to be the newest */
    uint64_t least;   /* highest seq shown to anybody here: never go below (I10, I25) */
    uint64_t drops;   /* how often the replica was dropped: what was read before is not adopted */
    int64_t checked_ms; /* clock_mono_ms() when a read last ended well; 0: known to be behind */
    bool reading, want_linearizable;
    uint64_t reads_begun, reads_done; /* tickets: who asks waits for a read that begins later */
    enum store_level read_level;
    int read_result;
    struct error read_error;
    uint64_t saved_seq; /* of the newest manifest known; 0: none */
    bool saving;        /* a snapshot is being made by this node */
    uint32_t notifying; /* wake() calls under way */
    pthread_cond_t notified;
    LIST_HEAD(, watch) watches;

    struct commit_queue *queue; /* commit.c's part; made and freed with the account */
    struct bus_subscription *hints;
};

TAILQ_HEAD(account_list, account);

struct mail {
    struct store *store;
    struct bus *bus;
    struct mail_settings settings;
    struct content *content;
    struct committer *committer;
    struct sweeper *sweeper;

    pthread_mutex_t lock;
    struct account *accounts;
    struct account_list idle;
    size_t idle_bytes;

    /* Background work: reads that batches need, outcomes to find out, snapshots. NULL when stepped:
     * then jobs wait in `todo` and mail_step runs them (model check: one thread, exact replay). */
    struct pool *jobs;
    bool stepped;
    STAILQ_HEAD(, pool_job) todo;

    pthread_t poller;
    bool polling, stopping;
    pthread_mutex_t stop_lock;
    pthread_cond_t stop_changed;
    uint64_t broken; /* bits for the model check: rules broken on purpose, see mail_break */
};

/* --- mail.c ---------------------------------------------------------------------------------- */

/* A node without threads of its own: whoever commits does the committer's work, one call after the
 * other, and background work waits for mail_step. For the model check. */
int mail_new_stepped(struct store *store, const struct mail_settings *settings,
                     struct mail **ret_mail, struct error *err) MUST_USE;
/* Runs one waiting job; false: there was none. Stepped nodes only. */
bool mail_step(struct mail *mail);
void mail_submit(struct mail *mail, struct pool_job *job);
/* Waits for ms or until the mail is being freed (then false). Stepped: returns at once. */
bool mail_sleep(struct mail *mail, int ms);

/* Latest store time heard of. */
int64_t mail_clock(const struct mail *mail);
void mail_heard(struct mail *mail, int64_t store_time);
/* May a reply of that store time still conclude something from a position seen at `seen`? */
bool mail_in_time(const struct mail *mail, int64_t seen, int64_t reply);

/* Rules that the model check takes out, to show that it would notice. Never set elsewhere. */
enum mail_break {
    BREAK_TXID = 1,      /* a taken slot is taken for ours */
    BREAK_FENCE = 2,     /* an unknown outcome that is absent counts as refused */
    BREAK_POSITION = 4,  /* no position guard, no predecessor */
    BREAK_NOTHING = 8,   /* answers without a record come from the replica */
    BREAK_READ = 16,     /* a lost slot is not read again before the next build */
    BREAK_SWEEP = 32,    /* orphans are removed without a noop */
    BREAK_OLD = 64,      /* a message stored long ago is named all the same */
    BREAK_DUPLICATE = 128, /* a taken message id is taken for ours */
};
void mail_set_broken(struct mail *mail, uint64_t rules);

/* --- account.c ------------------------------------------------------------------------------- */

/* The account's entry, made if need be; not opened. Never fails; account_unref. */
struct account *account_get(struct mail *mail, uint64_t id);
/* One read that begins after this call, shared with others who wait; opens a cold replica. 0: the
 * replica is open and was the newest at a moment after the call. -ERR_NOTFOUND: the account has no
 * log; -ERR_UNAVAILABLE; -ERR_INTERNAL (damage, or a newer format: nothing is written then). */
int account_catch_up(struct account *a, enum store_level level, struct error *err) MUST_USE;
/* The replica with its position; false: it is not open. */
bool account_position(struct account *a, struct state **ret_st, int64_t *ret_seen);
/* A record of ours is in: `built` (consumed) is the state at its seq. */
void account_adopt(struct account *a, struct state *built, int64_t reply_time);
/* What this node believes may be wrong or out of date for ever: forget it, open again. */
void account_drop(struct account *a);
/* The next build must be preceded by a read. */
void account_set_behind(struct account *a);
/* The replica, where it is fresh enough to build on; false: catch up first. */
bool account_fresh(struct account *a, struct state **ret_st, int64_t *ret_seen);
/* Loads what `ranges` name into *st (a reference that the caller owns; it may be replaced) and into the
 * replica. -ERR_CONFLICT: a segment is gone (a newer manifest does without it): open again. */
struct load_range {
    uint64_t mailbox;
    uint32_t first, last;
};
int account_load(struct account *a, struct state **st, const struct load_range *ranges, size_t n,
                 struct error *err) MUST_USE;
/* Reads on, in this thread, a state that is nobody else's: manifest, segments as needed, tail; for fsck
 * and sweeps. upto: a seq, or UINT64_MAX. */
int account_read_cold(struct mail *mail, uint64_t id, enum store_level level, struct state **ret_st,
                      int64_t *ret_seen, uint64_t *ret_saved_seq, struct error *err) MUST_USE;
/* Frees idle replicas above the settings' limit. Takes mail->lock. */
void account_evict(struct mail *mail);
void account_free_all(struct mail *mail);
/* Wakes all that watch. */
void account_notify(struct account *a);
