/* SPDX-License-Identifier: MPL-2.0 */
/* struct mail: one node. What it owns is made and ended here, in one order:
 *
 *   content, jobs and chores (pools), committer, poller (threads); ended the other way round.
 *
 * The poller keeps time: it gives up what has waited too long (committer_tick) and compares
 * accounts that somebody holds with the store: when the store's pulse says that another process
 * wrote, and otherwise every poll_ms, so that a lost hint costs that long and no more (I14, I28).
 */
#include "lib/mail/mail.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/plant.h"
#include "lib/mail/account.h"
#include "lib/mail/build.h"
#include "lib/mail/commit.h"
#include "lib/mail/sortkeys.h"
#include "lib/mail/textindex_impl.h"

#define JOB_THREADS   6
#define CHORE_THREADS 4
#define SCAN_THREADS  4u /* at least; else one a core, */
#define SCAN_MOST     16u
#define TICK_MS       100
#define ROOM_EVERY_MS 2000 /* looking whether replicas take too much */

void mail_settings_default(struct mail_settings *settings)
{
    *settings = (struct mail_settings){
        .snapshot_records = 256,
        .guard_ms = (int64_t)12 * 3600 * 1000,
        .horizon_ms = (int64_t)24 * 3600 * 1000,
        .replica_bytes = (size_t)256 << 20,
        .unload_after_ms = 5000,
        .content_cache_bytes = (size_t)256 << 20,
        .sortkeys_bytes = (size_t)64 << 20,
        .sights_max = 100000,
        .commit_wait_ms = 20000,
        .poll_ms = 20000,
        .message_max = (uint64_t)100 << 20,
        .mailboxes_max = 10000,
        .keywords_max = 1000,
        .name_max = 1000,
        .name_depth = 32,
        .metadata_max = 16384,
        .metadata_entries = 100,
        .sweep_pause_ms = 60000,
        .index_after = 256,
        .index_bytes = (size_t)64 << 20,
    };
}

struct store *mail_store(struct mail *mail)
{
    return mail->store;
}

static uint64_t read_counter(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

struct mail_counters mail_read_counters(struct mail *mail)
{
    const struct commit_counters *c = commit_counters(mail);
    struct mail_counters ret = {
        .intents = read_counter(&c->intents),
        .batches = read_counter(&c->batches),
        .records = read_counter(&c->records),
        .conflicts = read_counter(&c->lost),
        .looked_up = read_counter(&c->looked_up),
        .fences = read_counter(&c->fences),
        .given_up = read_counter(&c->given_up),
        .without_record = read_counter(&c->without_record),
        .snapshots = read_counter(&mail->snapshots),
    };
    struct account *a;

    pthread_mutex_lock(&mail->lock);
    ret.accounts = HASH_COUNT(mail->accounts);
    TAILQ_FOREACH (a, &mail->idle, idle_link)
        ret.idle_accounts++;
    ret.idle_bytes = mail->idle_bytes;
    ret.held_bytes = mail->held_bytes;
    ret.unloaded = mail->unloaded;
    pthread_mutex_unlock(&mail->lock);
    return ret;
}

const struct mail_settings *mail_settings(const struct mail *mail)
{
    return &mail->settings;
}

struct content *mail_content(struct mail *mail)
{
    return mail->content;
}

int64_t mail_clock(const struct mail *mail)
{
    return content_clock(mail->content);
}

void mail_heard(struct mail *mail, int64_t store_time)
{
    content_heard(mail->content, store_time);
}

bool mail_in_time(const struct mail *mail, int64_t seen, int64_t reply)
{
    return mail->broken & BREAK_POSITION || reply - seen <= mail->settings.guard_ms;
}

void mail_set_broken(struct mail *mail, uint64_t rules)
{
    mail->broken = rules;
}

/* --- background work ------------------------------------------------------------------------- */

static void submit(struct mail *mail, struct pool *pool, struct pool_job *job)
{
    if (pool)
        pool_submit(pool, job);
    else
        STAILQ_INSERT_TAIL(&mail->todo, job, link);
}

void mail_submit(struct mail *mail, struct pool_job *job)
{
    submit(mail, mail->jobs, job);
}

void mail_submit_chore(struct mail *mail, struct pool_job *job)
{
    submit(mail, mail->chores, job);
}

void mail_submit_scan(struct mail *mail, struct pool_job *job)
{
    submit(mail, mail->scans, job);
}

bool mail_step(struct mail *mail)
{
    struct pool_job *job = STAILQ_FIRST(&mail->todo);

    if (!job)
        return false;
    STAILQ_REMOVE_HEAD(&mail->todo, link);
    job->run(job);
    return true;
}

static void deadline_in(struct timespec *ts, int ms)
{
    clock_gettime(CLOCK_MONOTONIC, ts);
    ts->tv_sec += ms / 1000;
    ts->tv_nsec += (long)(ms % 1000) * 1000000;
    if (ts->tv_nsec >= 1000000000) {
        ts->tv_sec++;
        ts->tv_nsec -= 1000000000;
    }
}

bool mail_sleep(struct mail *mail, int ms)
{
    struct timespec until;
    bool stopping;

    if (mail->stepped)
        return true;
    deadline_in(&until, ms);
    pthread_mutex_lock(&mail->stop_lock);
    while (!mail->stopping &&
           pthread_cond_timedwait(&mail->stop_changed, &mail->stop_lock, &until) != ETIMEDOUT)
        ;
    stopping = mail->stopping;
    pthread_mutex_unlock(&mail->stop_lock);
    return !stopping;
}

/* --- the poller ------------------------------------------------------------------------------ */

/* Held accounts that were last compared before `before`. */
static void check_due(struct mail *mail, int64_t before)
{
    CLEANUP_FREE struct account **due = NULL;
    struct account *a, *next;
    size_t n = 0;

    pthread_mutex_lock(&mail->lock);
    due = NEW_ARRAY(struct account *, HASH_COUNT(mail->accounts) + 1);
    HASH_ITER (hh, mail->accounts, a, next) {
        if (a->refs == 0 || a->asked_ms > before)
            continue;
        a->asked_ms = clock_mono_ms();
        a->refs++;
        due[n++] = a;
    }
    pthread_mutex_unlock(&mail->lock);
    for (size_t i = 0; i < n; i++) {
        account_check(due[i]);
        account_unref(due[i]);
    }
}

static void ask_time(struct pool_job *job)
{
    struct mail *mail = CONTAINER_OF(job, struct mail, time_job);
    int64_t now;

    if (store_time(mail->store, &now, NULL) == 0)
        mail_heard(mail, now);
    mail->asking_time = false;
}

/* So that INTERNALDATE and the times of records are of now, though nothing was read for a while. */
static void refresh_clock(struct mail *mail)
{
    if (atomic_exchange(&mail->asking_time, true))
        return;
    mail->time_job.run = ask_time;
    mail_submit_chore(mail, &mail->time_job);
}

static void *poller_main(void *arg)
{
    struct mail *mail = arg;
    uint64_t pulse = store_pulse(mail->store);
    int64_t swept_ms = clock_mono_ms(), room_ms = swept_ms;

    pthread_setname_np(pthread_self(), "mail-poll");
    while (mail_sleep(mail, TICK_MS)) {
        uint64_t now = store_pulse(mail->store);
        int64_t mono = clock_mono_ms();

        committer_tick(mail->committer);
        if (PLANTED(hint_ignored))
            continue;
        if (now != pulse) {
            pulse = now;
            check_due(mail, mono - TICK_MS / 2);
        } else if (mono - swept_ms >= 1000) {
            swept_ms = mono;
            refresh_clock(mail);
            check_due(mail, mono - mail->settings.poll_ms);
        }
        if (mono - room_ms >= ROOM_EVERY_MS) {
            room_ms = mono;
            account_make_room(mail);
        }
    }
    return NULL;
}

/* --- beginning and end ----------------------------------------------------------------------- */

static struct mail *mail_alloc(struct store *store, struct bus *bus,
                               const struct mail_settings *settings)
{
    struct mail *mail = NEW(struct mail);
    pthread_condattr_t attr;

    mail->store = store;
    mail->bus = bus;
    mail->settings = *settings;
    pthread_mutex_init(&mail->lock, NULL);
    pthread_mutex_init(&mail->stop_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&mail->stop_changed, &attr);
    pthread_condattr_destroy(&attr);
    TAILQ_INIT(&mail->idle);
    TAILQ_INIT(&mail->husks);
    STAILQ_INIT(&mail->todo);
    mail->content = content_new(store, &mail->settings);
    mail->sortkeys = sortkeys_cache_new(settings->sortkeys_bytes);
    mail->textindex = textindex_new(mail->settings.index_bytes);
    mail->committer = committer_new(mail);
    return mail;
}

static void stop_poller(struct mail *mail)
{
    pthread_mutex_lock(&mail->stop_lock);
    mail->stopping = true;
    pthread_cond_broadcast(&mail->stop_changed);
    pthread_mutex_unlock(&mail->stop_lock);
    if (mail->polling)
        pthread_join(mail->poller, NULL);
    mail->polling = false;
}

/* Committing ends before the poller does: it is the poller that gives up on an unreachable store.
 */
void mail_free(struct mail *mail)
{
    if (!mail)
        return;
    committer_stop(mail->committer);
    stop_poller(mail);
    pool_free(mail->jobs); /* what runs to the end may submit more, so NULL comes after it */
    pool_free(mail->chores);
    pool_free(mail->scans);
    mail->jobs = mail->chores = mail->scans = NULL;
    while (mail_step(mail))
        ;
    account_free_all(mail);
    committer_free(mail->committer);
    textindex_free(mail->textindex);
    content_free(mail->content);
    sortkeys_cache_free(mail->sortkeys);
    pthread_cond_destroy(&mail->stop_changed);
    pthread_mutex_destroy(&mail->stop_lock);
    pthread_mutex_destroy(&mail->lock);
    free(mail);
}

/* The store's time is asked for once, so that the first message ids are of today; an unreachable
 * store is no reason not to start (I36). */
int mail_new(struct store *store, struct bus *bus, const struct mail_settings *settings,
             struct mail **ret_mail, struct error *err)
{
    struct mail *mail = mail_alloc(store, bus, settings);
    int64_t now = 0;
    int r = pool_new("mail-jobs", JOB_THREADS, &mail->jobs, err);

    if (r == 0)
        r = pool_new("mail-chore", CHORE_THREADS, &mail->chores, err);
    if (r == 0)
        r = pool_new("mail-scan", MIN(MAX(pool_cores(), SCAN_THREADS), SCAN_MOST), &mail->scans,
                     err);
    if (store_time(store, &now, NULL) == 0)
        mail_heard(mail, now);
    if (r == 0)
        r = committer_start(mail->committer, err);
    if (r == 0 && pthread_create(&mail->poller, NULL, poller_main, mail) != 0)
        r = error_set(err, ERR_UNAVAILABLE, "no thread for the poller");
    if (r < 0) {
        mail_free(mail);
        return r;
    }
    mail->polling = true;
    *ret_mail = mail;
    return 0;
}

int mail_new_stepped(struct store *store, const struct mail_settings *settings,
                     struct mail **ret_mail, struct error *err)
{
    struct mail *mail = mail_alloc(store, NULL, settings);

    mail->stepped = true;
    *ret_mail = mail;
    return 0;
}

/* --- new accounts ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint32_t uses;
} first_mailboxes[] = {
    {"INBOX", 0},       {"Drafts", USE_DRAFTS}, {"Sent", USE_SENT},
    {"Junk", USE_JUNK}, {"Trash", USE_TRASH},   {"Archive", USE_ARCHIVE},
};

#define CREATE_TRIES  5
#define FIRST_INTENTS (2 * ARRAY_LEN(first_mailboxes) + 3)

struct first_record {
    struct intent intents[FIRST_INTENTS];
    struct intent *list[FIRST_INTENTS];
    size_t n;
    char bytes[24], messages[24], undelete[24];
};

static struct intent *add_intent(struct first_record *f, struct account *a, enum intent_kind kind)
{
    struct intent *it = &f->intents[f->n];

    it->kind = kind;
    it->account = a;
    it->in_one_record_with_next = true;
    f->list[f->n++] = it;
    return it;
}

static void add_value(struct first_record *f, struct account *a, const char *key, uint64_t value,
                      char text[24])
{
    struct intent *it;

    if (!value)
        return;
    snprintf(text, 24, "%llu", (unsigned long long)value);
    it = add_intent(f, a, INTENT_ACCOUNT);
    it->key = slice_str(key);
    it->value = slice_str(text);
}

static void fill_first_record(struct first_record *f, struct account *a,
                              const struct mail_account_options *options)
{
    size_t n = options->only_inbox ? 1 : ARRAY_LEN(first_mailboxes);

    for (size_t i = 0; i < n; i++) {
        struct intent *it = add_intent(f, a, INTENT_CREATE);

        it->name = slice_str(first_mailboxes[i].name);
        it->uses = first_mailboxes[i].uses;
        it = add_intent(f, a, INTENT_SUBSCRIBE);
        it->name = slice_str(first_mailboxes[i].name);
        it->on = true;
    }
    add_value(f, a, VALUE_QUOTA_BYTES, options->quota_bytes, f->bytes);
    add_value(f, a, VALUE_QUOTA_MESSAGES, options->quota_messages, f->messages);
    add_value(f, a, VALUE_UNDELETE_MS, options->undelete_ms, f->undelete);
    f->list[f->n - 1]->in_one_record_with_next = false;
}

static int create_once(struct mail *mail, struct account *a,
                       const struct mail_account_options *options, struct error *err)
{
    struct first_record first = {.n = 0};
    int r = account_begin(a, err);

    if (r < 0)
        return r;
    fill_first_record(&first, a, options);
    mail_commit(mail, first.list, first.n);
    r = first.intents[0].result;
    if (r < 0)
        error_set(err, (enum err) - r, "%s", first.intents[0].error.text);
    for (size_t i = 0; i < first.n; i++)
        intent_done(&first.intents[i]);
    return r;
}

/* A look at the store between the beginning and the commit finds no account; then it begins again.
 */
int mail_account_create(struct mail *mail, uint64_t account,
                        const struct mail_account_options *options, struct error *err)
{
    struct account *a = account_get(mail, account);
    int r = -ERR_NOTFOUND;

    for (int i = 0; i < CREATE_TRIES && r == -ERR_NOTFOUND; i++)
        r = create_once(mail, a, options, err);
    account_unref(a);
    return r;
}

void intent_done(struct intent *it)
{
    uidset_done(&it->done);
    uidset_done(&it->late);
}
