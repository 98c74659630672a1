/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/message_ahead.h"

#include "lib/base/mem.h"
#include "lib/mail/account.h"

enum ahead_state { AHEAD_WAITS, AHEAD_READS, AHEAD_DONE, AHEAD_GIVEN_UP };

/* Two own it: the caller, and the job. */
struct message_ahead {
    struct pool_job job;
    struct account *account; /* the job's reference */
    pthread_mutex_t lock;    /* state, refs */
    pthread_cond_t done;
    enum ahead_state state;
    unsigned refs;
    struct hold *digests, *contents; /* once done */
    size_t n, n_small;
    uint64_t ids[]; /* n, then n_small */
};

static void ahead_unref(struct message_ahead *a)
{
    bool last;

    pthread_mutex_lock(&a->lock);
    last = --a->refs == 0;
    pthread_mutex_unlock(&a->lock);
    if (!last)
        return;
    pthread_cond_destroy(&a->done);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

static void set_state(struct message_ahead *a, enum ahead_state state)
{
    pthread_mutex_lock(&a->lock);
    a->state = state;
    pthread_cond_signal(&a->done);
    pthread_mutex_unlock(&a->lock);
}

static bool may_begin(struct message_ahead *a)
{
    bool begins;

    pthread_mutex_lock(&a->lock);
    begins = a->state == AHEAD_WAITS;
    if (begins)
        a->state = AHEAD_READS;
    pthread_mutex_unlock(&a->lock);
    return begins;
}

/* Contents first: they bring their digests. Errors are for whoever asks again. */
static void read_all(struct message_ahead *a)
{
    CLEANUP_FREE struct slice *digests = NEW_ARRAY(struct slice, a->n + 1);

    if (a->n_small &&
        message_read_ahead(a->account, a->ids + a->n, a->n_small, &a->contents, NULL) < 0)
        a->contents = NULL;
    if (a->n && message_digests(a->account, a->ids, a->n, digests, &a->digests, NULL) < 0)
        a->digests = NULL;
}

static void run(struct pool_job *job)
{
    struct message_ahead *a = CONTAINER_OF(job, struct message_ahead, job);
    struct account *account = a->account;

    if (may_begin(a)) {
        read_all(a);
        set_state(a, AHEAD_DONE);
    }
    ahead_unref(a);
    account_unref(account);
}

struct message_ahead *message_ahead_begin(struct account *account, const uint64_t *ids, size_t n,
                                          const uint64_t *small, size_t n_small)
{
    if (store_is_atomic(account->mail->store))
        return NULL;
    return message_ahead_begin_any(account, ids, n, small, n_small);
}

struct message_ahead *message_ahead_begin_any(struct account *account, const uint64_t *ids,
                                              size_t n, const uint64_t *small, size_t n_small)
{
    struct message_ahead *a = mem_zalloc(sizeof *a + (n + n_small) * sizeof a->ids[0]);

    a->job.run = run;
    a->account = account_ref(account);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->done, NULL);
    a->refs = 2;
    a->n = n;
    a->n_small = n_small;
    if (n)
        memcpy(a->ids, ids, n * sizeof *ids);
    if (n_small)
        memcpy(a->ids + n, small, n_small * sizeof *small);
    mail_submit(account->mail, &a->job);
    return a;
}

void message_ahead_wait(struct message_ahead *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    if (a->state == AHEAD_WAITS)
        a->state = AHEAD_GIVEN_UP;
    while (a->state == AHEAD_READS)
        pthread_cond_wait(&a->done, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

bool message_ahead_end(struct message_ahead *a)
{
    bool read;

    if (!a)
        return false;
    message_ahead_wait(a);
    read = hold_has_read(a->digests) || hold_has_read(a->contents) || a->state == AHEAD_GIVEN_UP;
    hold_release(TAKE(a->digests));
    hold_release(TAKE(a->contents));
    ahead_unref(a);
    return read;
}
