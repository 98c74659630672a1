/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    STAILQ_HEAD(, pool_job) queue;
    struct pool_counters counters;
    _Atomic bool has_waiting; /* as counters.waiting says, for who does not take the lock */
    bool ending;
    char name[11];
    unsigned threads_n;
    pthread_t threads[];
};

/* With the lock held; NULL: the pool ends and nothing is left to do. */
static struct pool_job *take_job(struct pool *pool)
{
    while (STAILQ_EMPTY(&pool->queue) && !pool->ending)
        pthread_cond_wait(&pool->work, &pool->lock);

    struct pool_job *job = STAILQ_FIRST(&pool->queue);

    if (job) {
        STAILQ_REMOVE_HEAD(&pool->queue, link);
        pool->counters.waiting--;
        atomic_store_explicit(&pool->has_waiting, pool->counters.waiting > 0, memory_order_relaxed);
        pool->counters.running++;
        pool->counters.waited_us += (uint64_t)(clock_mono_us() - job->since_us);
    }
    return job;
}

static void *thread_main(void *arg)
{
    struct pool *pool = arg;
    struct pool_job *job;

    pthread_setname_np(pthread_self(), pool->name);
    pthread_mutex_lock(&pool->lock);
    while ((job = take_job(pool))) {
        pthread_mutex_unlock(&pool->lock);
        job->run(job); /* may free it */
        pthread_mutex_lock(&pool->lock);
        pool->counters.running--;
        pool->counters.done++;
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static int start_threads(struct pool *pool, unsigned threads)
{
    for (unsigned i = 0; i < threads; i++) {
        if (pthread_create(&pool->threads[i], NULL, thread_main, pool) != 0)
            return -ERR_UNAVAILABLE;
        pool->threads_n++;
    }
    return 0;
}

int pool_new(const char *name, unsigned threads, struct pool **ret_pool, struct error *err)
{
    if (threads == 0)
        threads = pool_cores();
    if (threads > POOL_THREADS_MAX)
        return error_set(err, ERR_INVALID, "%u threads are more than %d", threads,
                         POOL_THREADS_MAX);

    struct pool *pool = mem_zalloc(sizeof *pool + threads * sizeof pool->threads[0]);

    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    STAILQ_INIT(&pool->queue);
    snprintf(pool->name, sizeof pool->name, "%s", name);
    if (start_threads(pool, threads) < 0) {
        unsigned got = pool->threads_n;

        pool_free(pool);
        return error_set(err, ERR_UNAVAILABLE, "the system gives no more than %u threads", got);
    }
    *ret_pool = pool;
    return 0;
}

void pool_free(struct pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->threads_n; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static void add_job(struct pool *pool, struct pool_job *job)
{
    job->since_us = clock_mono_us();
    STAILQ_INSERT_TAIL(&pool->queue, job, link);
    pool->counters.waiting++;
    atomic_store_explicit(&pool->has_waiting, true, memory_order_relaxed);
    pthread_cond_signal(&pool->work);
}

void pool_submit(struct pool *pool, struct pool_job *job)
{
    pthread_mutex_lock(&pool->lock);
    add_job(pool, job);
    pthread_mutex_unlock(&pool->lock);
}

struct call {
    struct pool_job job;
    void (*fn)(void *);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};

static void run_call(struct pool_job *job)
{
    struct call *call = CONTAINER_OF(job, struct call, job);

    call->fn(call->arg);
    pthread_mutex_lock(&call->lock);
    call->is_done = true;
    pthread_cond_signal(&call->done); /* before the unlock: then the waiter frees the condition */
    pthread_mutex_unlock(&call->lock);
}

int pool_call(struct pool *pool, void (*fn)(void *), void *arg, size_t max_waiting)
{
    struct call call = {.job.run = run_call,
                        .fn = fn,
                        .arg = arg,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .done = PTHREAD_COND_INITIALIZER};

    pthread_mutex_lock(&pool->lock);
    bool refused = pool->counters.waiting > max_waiting;
    if (!refused)
        add_job(pool, &call.job);
    pthread_mutex_unlock(&pool->lock);
    if (refused)
        return -ERR_LIMIT;

    pthread_mutex_lock(&call.lock);
    while (!call.is_done)
        pthread_cond_wait(&call.done, &call.lock);
    pthread_mutex_unlock(&call.lock);
    pthread_cond_destroy(&call.done);
    pthread_mutex_destroy(&call.lock);
    return 0;
}

struct pool_counters pool_read_counters(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct pool_counters counters = pool->counters;
    pthread_mutex_unlock(&pool->lock);
    return counters;
}

bool pool_has_waiting(const struct pool *pool)
{
    return atomic_load_explicit(&pool->has_waiting, memory_order_relaxed);
}

unsigned pool_cores(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    return (unsigned)MAX(CPU_COUNT(&set), 1);
}
