/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "lib/base/mem.h"
#include "lib/base/pool.h"

struct counted {
    struct pool_job job;
    _Atomic int *sum;
    struct pool *pool;
    int again;
};

static void count(struct pool_job *job)
{
    struct counted *c = CONTAINER_OF(job, struct counted, job);

    atomic_fetch_add(c->sum, 1);
    if (c->again-- > 0)
        pool_submit(c->pool, job);
}

Test(pool, runs_every_job_and_jobs_that_hand_themselves_in_again)
{
    enum { JOBS = 200 };
    static struct counted jobs[JOBS];
    _Atomic int sum = 0;
    struct pool *pool;

    cr_assert_eq(pool_new("test", 3, &pool, NULL), 0);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct counted){.job.run = count, .sum = &sum, .pool = pool, .again = 4};
        pool_submit(pool, &jobs[i].job);
    }
    while (pool_read_counters(pool).done < JOBS * 5)
        usleep(1000);
    pool_free(pool);
    cr_assert_eq(sum, JOBS * 5);
}

struct gate {
    pthread_mutex_t lock;
    _Atomic int inside;
};

static void wait_at_gate(void *arg)
{
    struct gate *g = arg;

    atomic_fetch_add(&g->inside, 1);
    pthread_mutex_lock(&g->lock);
    pthread_mutex_unlock(&g->lock);
}

static void *call_gate(void *arg)
{
    void **args = arg;

    cr_assert_eq(pool_call(args[0], wait_at_gate, args[1], 10), 0);
    return NULL;
}

Test(pool, a_call_is_refused_when_too_many_wait)
{
    struct gate gate = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct pool *pool;
    pthread_t threads[2];
    void *args[2];

    cr_assert_eq(pool_new("test", 1, &pool, NULL), 0);
    args[0] = pool;
    args[1] = &gate;
    pthread_mutex_lock(&gate.lock);
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, call_gate, args);
    while (pool_read_counters(pool).running < 1 || pool_read_counters(pool).waiting < 1)
        usleep(1000);
    int refused = pool_call(pool, wait_at_gate, &gate, 0);
    pthread_mutex_unlock(&gate.lock);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(refused, -ERR_LIMIT);
    cr_assert_eq(pool_call(pool, wait_at_gate, &gate, 0), 0);
    cr_assert_eq(gate.inside, 3);
    pool_free(pool);
}

Test(pool, says_what_is_wrong_with_the_number_of_threads)
{
    struct pool *pool = NULL;
    struct error err;

    cr_assert_eq(pool_new("test", POOL_THREADS_MAX + 1, &pool, &err), -ERR_INVALID);
    cr_assert_null(pool);
    cr_assert_geq(pool_cores(), 1);
}
