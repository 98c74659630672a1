/* SPDX-License-Identifier: MPL-2.0 */
/* Group commit for callers that do not know of each other: what comes for one table while a command
 * is under way leaves together as the next one. No timer: alone, a caller waits for nobody.
 *
 * The committer of lib/mail does this for the log, above the port, as it has to build records
 * anyway. The queue's callers (submissions, attempts) have nothing to build; each of their
 * documents stands for itself, and a command with a journal's flush for each of them is what their
 * rate would end at. Only tables with a row in mongo.c's `layouts` that says so gather.
 */
#include "lib/base/mem.h"
#include "lib/store/mongo_impl.h"

void mongo_latch_wait(struct mongo_latch *l)
{
    pthread_mutex_lock(&l->lock);
    while (l->waiting)
        pthread_cond_wait(&l->open, &l->lock);
    pthread_mutex_unlock(&l->lock);
    pthread_cond_destroy(&l->open);
    pthread_mutex_destroy(&l->lock);
}

void mongo_latch_count(struct mongo_latch *l)
{
    pthread_mutex_lock(&l->lock);
    if (--l->waiting == 0)
        pthread_cond_signal(&l->open);
    pthread_mutex_unlock(&l->lock);
}

/* Two guarded changes of one document in one command could not be told apart. */
static bool goes_with(struct mongo_member *const *members, size_t n, const struct mongo_member *m)
{
    for (size_t i = 0; i < n && m->key.n; i++)
        if (slice_eq(members[i]->key, m->key))
            return false;
    return true;
}

/* Under the lock: takes out what leaves together, first come, first served. */
static size_t gather(struct mongo_group *g, struct mongo_member **members)
{
    struct mongo_member *m = TAILQ_FIRST(&g->waiting), *next;
    size_t n = 0, bytes = 0;

    for (; m && n < MONGO_MEMBERS_MAX; m = next) {
        next = TAILQ_NEXT(m, link);
        if (n && (bytes + m->bytes > MONGO_BYTES_MAX || !goes_with(members, n, m)))
            continue;
        TAILQ_REMOVE(&g->waiting, m, link);
        members[n++] = m;
        bytes += m->bytes;
    }
    return n;
}

static void run_flight(struct pool_job *job)
{
    struct mongo_flight *f = CONTAINER_OF(job, struct mongo_flight, job);
    struct mongo_group *g = f->group;
    struct mongo_member *members[MONGO_MEMBERS_MAX];
    size_t n;

    pthread_mutex_lock(&g->lock);
    while ((n = gather(g, members))) {
        pthread_mutex_unlock(&g->lock);
        g->send(g->m, members, n);
        for (size_t i = 0; i < n; i++)
            mongo_latch_count(members[i]->latch);
        pthread_mutex_lock(&g->lock);
    }
    f->busy = false;
    pthread_mutex_unlock(&g->lock);
}

void mongo_group_add(struct mongo_group *g, struct mongo_member *member)
{
    struct mongo_flight *start = NULL;

    pthread_mutex_lock(&g->lock);
    TAILQ_INSERT_TAIL(&g->waiting, member, link);
    for (size_t i = 0; i < ARRAY_LEN(g->flights) && !start; i++)
        if (!g->flights[i].busy)
            start = &g->flights[i];
    if (start)
        start->busy = true;
    pthread_mutex_unlock(&g->lock);
    if (start)
        pool_submit(g->m->helpers, &start->job);
}

struct mongo_group *mongo_group_new(struct mongo *m,
                                    void (*send)(struct mongo *m, struct mongo_member **members,
                                                 size_t n))
{
    struct mongo_group *g = NEW(struct mongo_group);

    g->m = m;
    g->send = send;
    pthread_mutex_init(&g->lock, NULL);
    TAILQ_INIT(&g->waiting);
    for (size_t i = 0; i < ARRAY_LEN(g->flights); i++)
        g->flights[i] = (struct mongo_flight){.group = g, .job.run = run_flight};
    return g;
}

void mongo_group_free(struct mongo_group *g)
{
    if (!g)
        return;
    pthread_mutex_destroy(&g->lock);
    free(g);
}
