/* SPDX-License-Identifier: MPL-2.0 */
/* pool: a fixed number of threads that run jobs in the order in which they came.
 *
 * The pump has one for the steps of sessions (they may block on the store); whatever burns
 * processor time for long (password hashes) has its own with as many threads as there are cores,
 * so that it cannot starve the other. A job is part of its owner's struct: handing one in allocates
 * nothing and cannot fail. Order is first come, first served: fair, because a session has one job.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "lib/base/err.h"

struct pool;

struct pool_job {
    STAILQ_ENTRY(pool_job) link; /* the pool's own, like since_us */
    int64_t since_us;
    /* On a thread of the pool. The job may be handed in again, or freed, from within. */
    void (*run)(struct pool_job *job);
};

#define POOL_THREADS_MAX 1024

/* threads: 1..POOL_THREADS_MAX, or 0 for one per core. `name` (10 bytes count) is seen in ps, gdb.
 * 0, -ERR_INVALID (threads), -ERR_UNAVAILABLE (the system gives no more threads). */
int pool_new(const char *name, unsigned threads, struct pool **ret_pool,
             struct error *err) MUST_USE;
/* Runs all that is queued, ends the threads. Nothing may be handed in any more. NULL is fine. */
void pool_free(struct pool *pool);

/* Any thread. The job is the pool's until its run is called. */
void pool_submit(struct pool *pool, struct pool_job *job);

/* Any thread that is not one of this pool: has fn(arg) run and waits until it has returned.
 * 0; -ERR_LIMIT, without running it, if more than max_waiting jobs wait already. */
int pool_call(struct pool *pool, void (*fn)(void *), void *arg, size_t max_waiting) MUST_USE;

/* For /metrics: how many jobs wait, how many run, how many were run; at some moment of late. */
struct pool_counters {
    uint64_t waiting, running, done;
    uint64_t waited_us; /* sum over all jobs run, from submit to start */
};
struct pool_counters pool_read_counters(struct pool *pool);
/* Does a job wait, as far as can be seen without waiting for the pool? Any thread. */
bool pool_has_waiting(const struct pool *pool);
/* Of the machine, as far as this process may use them; at least 1. */
unsigned pool_cores(void);
