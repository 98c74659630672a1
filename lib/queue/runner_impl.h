/* SPDX-License-Identifier: MPL-2.0 */
/* The runner's inside: runner.c decides and keeps the books, attempt.c sees one entry through. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "lib/base/mem.h"
#include "lib/base/pool.h"
#include "lib/queue/change.h"
#include "lib/queue/ready.h"
#include "lib/queue/runner.h"
#include "lib/store/keys.h"

#define FIND_MAX 64 /* entries that are read together */
#define FINDS_MOST                                                                                 \
    2 /* such reads under way at once: what is taken meanwhile goes with the next                  \
       */

struct gone {
    uint64_t id, size;
};

/* TAKEN, and not read yet. */
struct unread {
    struct ready_item *item;
    bool give_back;
};

struct find {
    struct runner *runner;
    struct pool_job job;
    bool busy;
};

struct counters {
    _Atomic uint64_t attempts, delivered, deferred, failed, expired, bounces, warnings, reports,
        dropped, leases, leases_lost, found_out, rows_read, rereads, stale_rows, swept;
};

struct runner {
    struct runner_settings settings;
    char *hostname;
    struct queue *queue;
    struct mail *mail;
    struct runner_transport transport;
    uint64_t id; /* owner of leases */
    struct pool *pool;
    struct counters counters;

    pthread_mutex_t lock; /* guards what follows; never held while anything waits */
    pthread_cond_t wake;  /* of the thread */
    pthread_cond_t idle;  /* an attempt has ended */
    struct ready *ready;
    TAILQ_HEAD(, attempt) attempts;
    unsigned running; /* entries that are TAKEN: read, attempted, recorded */
    bool woken;       /* look at the index now */
    bool draining, stopping;
    VEC(struct unread) unread;
    struct find finds[FINDS_MOST];
    VEC(struct key22) old_rows; /* to be deleted */
    VEC(struct gone) gone;      /* messages whose pieces are to be deleted */
    unsigned chores;            /* brooms and sweeps under way */
    bool sweeping;

    pthread_t thread; /* what follows is its own */
    bool started;
    int64_t read_from_ms; /* rows before it are known, but for those that come late ... */
    int64_t late_from_ms; /* ... which are not before this */
    int64_t next_read, next_late, next_reread, next_renew, next_broom,
        next_sweep; /* clock_mono_ms() */
};

/* One entry, from being read to being let go. One thread at a time: a worker, or the transport, or
 * a worker that renews its lease meanwhile (recording waits for that). */
struct attempt {
    struct runner *runner;
    struct pool_job job, renewal;
    struct ready_item *item;
    struct queue_found found; /* found.entry is what is in the store, as far as known */
    struct queue_reader reader;
    struct transport_job send;
    int64_t began_mono;
    bool give_back; /* a drain: only let the lease go */
    /* under the runner's lock */
    bool sending;  /* the transport has it; its lease is to be renewed */
    bool renewing; /* a renewal is under way */
    bool over;     /* the transport has ended: to be recorded after the renewal */
    int64_t lease_ms;
    int64_t again_mono; /* 0, or: its result could not be recorded, once more then */
    TAILQ_ENTRY(attempt) link;
};

/* Takes over what was read of the item; the attempt goes on by itself until it is let go. */
void queue_attempt_begin(struct runner *r, struct ready_item *item, struct queue_found *found,
                         bool give_back);
/* Has its result recorded, on a worker. */
void queue_attempt_record(struct attempt *a);
/* Renews its lease, on a worker. Under the runner's lock. */
void queue_attempt_renew(struct attempt *a);

/* --- the books (runner.c) --------------------------------------------------------------------- */

/* A TAKEN item is nobody's any more: it is looked at again, but not before so many ms. */
void queue_item_park(struct runner *r, struct ready_item *item, int64_t wait_ms);
/* The entry is done, or free and due again, or its row was stale: the index is made to name it
 * where it is to be found next, and the item is dropped. */
void queue_item_close(struct runner *r, struct ready_item *item, const struct queue_found *found);
/* Nothing of the message is needed any more but its place. */
void runner_gone(struct runner *r, uint64_t id, uint64_t size);
/* When the entry is to be looked at, however busy its destination is. */
int64_t runner_deadline(const struct runner *r, const struct queue_found *found);

/* --- the sweep (sweep.c) ---------------------------------------------------------------------- */

/* One round through the four tables. Blocks for long. *ret_n: what was removed. -ERR_UNAVAILABLE;
 * -ERR_CANCELLED: `stop` said so. */
int queue_sweep(struct queue *queue, bool (*stop)(void *ctx), void *ctx, uint64_t *ret_n,
                struct error *err) MUST_USE;
