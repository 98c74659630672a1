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
 *   account->lock   replica, reading
 *   commit's lock   queues (commit.c)
 *   watch_lock      by itself
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <uthash.h>

#include "lib/base/pool.h"
#include "lib/mail/content.h"
#include "lib/mail/mail.h"

#define ACCOUNT_HUSKS_MAX 100000 /* entries kept without a state, for `least` */

struct committer;
struct bus_subscription;
struct textindex;

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
    bool husk;

    pthread_mutex_t lock;
    pthread_cond_t read_done;
    struct state *st;     /* the newest that is known; NULL: none yet */
    bool open;            /* seen is good: st may be read on from and built on */
    bool behind;          /* known to be old: read before building */
    int64_t seen;         /* store time of the reply that showed st->seq to be the newest */
    int64_t seen_mono_ms; /* clock_mono_ms() then */
    int64_t used_ms;      /* clock_mono_ms() when somebody last asked for the present */
    uint64_t least;       /* highest seq shown to anybody here: never go below (I10, I25) */
    uint64_t drops; /* how often it was dropped: what was read from before that is not adopted */
    uint64_t saved_seq;       /* of the newest manifest known; 0: none */
    bool saving;              /* a snapshot is being made by this node */
    int64_t save_after_ms;    /* clock_mono_ms(): not before, since it failed */
    _Atomic int64_t asked_ms; /* clock_mono_ms() when it was last compared with the store */

    bool reading, want_linearizable;
    uint64_t reads_begun; /* who asks waits for a read that begins later */
    struct read_outcome {
        uint64_t number; /* of the last one that is done */
        int result;
        struct error error;
    } read, proven; /* of all reads; of the linearizable ones, whose failure no later read of
                       another kind makes good */

    pthread_mutex_t watch_lock; /* held while wake() is called */
    LIST_HEAD(, watch) watches;
    struct bus_subscription *hints; /* while somebody watches; under watch_lock */
    _Atomic bool checking;          /* a job that compares it with the store is under way */

    struct commit_queue *queue; /* commit.c's part; made and freed with the account */
};

TAILQ_HEAD(account_list, account);

struct mail {
    struct store *store;
    struct bus *bus;
    struct mail_settings settings;
    struct content *content;
    struct sortkeys_cache *sortkeys;
    struct textindex *textindex;
    struct committer *committer;

    pthread_mutex_t lock;
    struct account *accounts;
    struct account_list idle, husks; /* that nobody holds; husks have lost their state */
    size_t idle_bytes, husks_n;
    size_t held_bytes; /* of the replicas in use, when last looked at */
    uint64_t unloaded; /* how often one of them lost its segments */

    /* Background work: what somebody waits for (reads that batches need, outcomes to find out), and
     * what nobody does (comparing, saving, indexing), which may be much, each piece as long as an
     * unreachable store is waited for. NULL when stepped: then jobs wait in `todo` and mail_step
     * runs them (model check: one thread, exact replay). `scans`: pieces of searches (textscan.h),
     * which burn time; never when stepped. */
    struct pool *jobs, *chores, *scans;
    bool stepped;
    STAILQ_HEAD(, pool_job) todo;

    pthread_t poller;
    bool polling, stopping;
    _Atomic bool asking_time; /* a job that asks for the store's time is under way */
    struct pool_job time_job;
    pthread_mutex_t stop_lock;
    pthread_cond_t stop_changed;
    _Atomic uint64_t snapshots;   /* saved here */
    uint64_t broken;              /* for the model check: rules broken on purpose, see mail_break */
    _Atomic uint64_t coarse_dice; /* for the model check: message ids that often collide; 0: no */
};

/* --- mail.c ---------------------------------------------------------------------------------- */

/* A node without threads of its own: whoever commits does the committer's work, one call after the
 * other, and background work waits for mail_step. For the model check. */
int mail_new_stepped(struct store *store, const struct mail_settings *settings,
                     struct mail **ret_mail, struct error *err) MUST_USE;
/* Runs one waiting job; false: there was none. Stepped nodes only. */
bool mail_step(struct mail *mail);
void mail_submit(struct mail *mail, struct pool_job *job);
void mail_submit_chore(struct mail *mail, struct pool_job *job);
void mail_submit_scan(struct mail *mail, struct pool_job *job);
/* Waits for ms or until the mail is being freed (then false). Stepped: returns at once. */
bool mail_sleep(struct mail *mail, int ms);

/* Latest store time heard of. */
int64_t mail_clock(const struct mail *mail);
void mail_heard(struct mail *mail, int64_t store_time);
/* May a reply of that store time still conclude something from a position seen at `seen`? */
bool mail_in_time(const struct mail *mail, int64_t seen, int64_t reply);

/* Rules that the model check takes out, to show that it would notice. Never set elsewhere. */
enum mail_break {
    BREAK_TXID = 1,        /* a taken slot is taken for ours */
    BREAK_FENCE = 2,       /* an unknown outcome that is absent counts as refused */
    BREAK_POSITION = 4,    /* no position guard, no predecessor */
    BREAK_NOTHING = 8,     /* answers without a record come from the replica */
    BREAK_READ = 16,       /* a lost slot is not read: the next record goes behind it */
    BREAK_SWEEP = 32,      /* orphans are removed without a noop */
    BREAK_OLD = 64,        /* a message stored long ago is named all the same */
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
/* The position proves nothing any more (the state stays true): open again before reading on or
 * building. */
void account_drop(struct account *a);
/* The next build must be preceded by a read. */
void account_set_behind(struct account *a);
/* The replica, where it is fresh enough to build on; false: catch up first. */
bool account_fresh(struct account *a, struct state **ret_st, int64_t *ret_seen);
/* Reads an account from the store into a state that is nobody else's; for cold replicas and fsck.
 * 0; -ERR_NOTFOUND: no log; -ERR_UNAVAILABLE: not reachable, or changing too fast; -ERR_INTERNAL.
 */
int account_read_cold(struct mail *mail, uint64_t id, enum store_level level, struct state **ret_st,
                      int64_t *ret_seen, uint64_t *ret_saved_seq, struct error *err) MUST_USE;
/* Folds what follows *st in the log, to its end. *st is the caller's reference and is replaced.
 * -ERR_CONFLICT: a gap, a missing segment, or a position too old to conclude from: open again. */
int account_read_on(struct mail *mail, struct state **st, int64_t *seen, enum store_level level,
                    struct error *err) MUST_USE;
/* Makes room where the replicas in memory take more than settings.replica_bytes: of those that
 * nobody uses the oldest go, then those in use that were asked least recently lose the segments
 * that are stored; sessions that wait (IDLE) are woken to let go of theirs. The poller's. */
void account_make_room(struct mail *mail);
void account_free_all(struct mail *mail);
/* Loads all segments of st, a state of this replica. -ERR_CONFLICT: one is no longer stored; the
 * next who reads opens the account again. */
int account_load_all(struct account *a, const struct state *st, struct error *err) MUST_USE;
/* Collects what state_fold_needs, build_needs and the like call for. */
struct load_range {
    uint64_t mailbox;
    uint32_t first, last;
};
struct needs {
    struct load_range ranges[64];
    size_t n;
    bool more; /* there are more than fit: load these, ask again */
};
void needs_note(void *needs, uint64_t mailbox, uint32_t first, uint32_t last);
/* Has it compared with the store in the background. */
void account_check(struct account *a);
/* Tells the other nodes (a hint on the bus). */
void account_tell(struct account *a, uint64_t seq);
/* A new account: the empty state, to build its first record on. -ERR_EXISTS: it has a log;
 * -ERR_UNAVAILABLE. */
int account_begin(struct account *a, struct error *err) MUST_USE;
/* Wakes all that watch. */
void account_notify(struct account *a);
