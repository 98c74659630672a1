/* SPDX-License-Identifier: MPL-2.0 */
/* Replicas. See account.h for what one is; docs/log.md section 2 for why reading is safe.
 *
 * The model's names (tests/model/commit_model.py): catch_up = account_catch_up, follow =
 * account_read_on, open = account_read_cold, show = shown.
 */
#include "lib/mail/account.h"

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/plant.h"
#include "lib/bus/bus.h"
#include "lib/mail/commit.h"
#include "lib/mail/snapshot.h"
#include "lib/store/keys.h"

#define TAIL_PAGE     2000 /* records in one read of the tail */
#define OPEN_TRIES    6
#define OPEN_PAUSE_MS 20

/* --- the table of accounts ------------------------------------------------------------------- */

static struct account *account_new(struct mail *mail, uint64_t id)
{
    struct account *a = NEW(struct account);

    a->mail = mail;
    a->id = id;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->read_done, NULL);
    pthread_mutex_init(&a->watch_lock, NULL);
    LIST_INIT(&a->watches);
    a->queue = commit_queue_new(a);
    return a;
}

static void account_free(struct account *a)
{
    commit_queue_free(a->queue);
    state_unref(a->st);
    pthread_mutex_destroy(&a->watch_lock);
    pthread_cond_destroy(&a->read_done);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* With mail->lock held. */
static void idle_remove(struct mail *mail, struct account *a)
{
    if (a->husk) {
        TAILQ_REMOVE(&mail->husks, a, idle_link);
        mail->husks_n--;
    } else {
        TAILQ_REMOVE(&mail->idle, a, idle_link);
        mail->idle_bytes -= a->idle_bytes;
    }
    a->husk = false;
}

struct account *account_get(struct mail *mail, uint64_t id)
{
    struct account *a;

    pthread_mutex_lock(&mail->lock);
    HASH_FIND(hh, mail->accounts, &id, sizeof id, a);
    if (!a) {
        a = account_new(mail, id);
        HASH_ADD(hh, mail->accounts, id, sizeof a->id, a);
    } else if (a->refs == 0) {
        idle_remove(mail, a);
    }
    a->refs++;
    pthread_mutex_unlock(&mail->lock);
    return a;
}

struct account *account_ref(struct account *a)
{
    pthread_mutex_lock(&a->mail->lock);
    a->refs++;
    pthread_mutex_unlock(&a->mail->lock);
    return a;
}

/* With mail->lock held. The oldest idle replicas lose their state; their entries stay, for `least`,
 * as long as there are not too many of them. */
static void evict(struct mail *mail)
{
    struct account *a;

    while (mail->idle_bytes + mail->held_bytes > mail->settings.replica_bytes &&
           (a = TAILQ_FIRST(&mail->idle))) {
        idle_remove(mail, a);
        state_unref(TAKE(a->st));
        a->open = false;
        TAILQ_INSERT_TAIL(&mail->husks, a, idle_link);
        mail->husks_n++;
        a->husk = true;
    }
    while (mail->husks_n > ACCOUNT_HUSKS_MAX) {
        a = TAILQ_FIRST(&mail->husks);
        idle_remove(mail, a);
        HASH_DELETE(hh, mail->accounts, a);
        account_free(a);
    }
}

void account_unref(struct account *a)
{
    struct mail *mail;

    if (!a)
        return;
    mail = a->mail;
    pthread_mutex_lock(&mail->lock);
    if (--a->refs == 0 && !a->st && a->least == 0) {
        HASH_DELETE(hh, mail->accounts, a);
        account_free(a);
    } else if (a->refs == 0) {
        a->idle_bytes = sizeof *a + (a->st ? state_bytes(a->st) : 0);
        TAILQ_INSERT_TAIL(&mail->idle, a, idle_link);
        mail->idle_bytes += a->idle_bytes;
        evict(mail);
    }
    pthread_mutex_unlock(&mail->lock);
}

uint64_t account_id(const struct account *a)
{
    return a->id;
}

struct mail *account_mail(const struct account *a)
{
    return a->mail;
}

void account_free_all(struct mail *mail)
{
    struct account *a, *next;

    HASH_ITER (hh, mail->accounts, a, next) {
        HASH_DELETE(hh, mail->accounts, a);
        account_free(a);
    }
}

/* --- watches --------------------------------------------------------------------------------- */

struct check_job {
    struct pool_job job;
    struct account *account;
};

static void check_now(struct pool_job *job)
{
    struct check_job *check = CONTAINER_OF(job, struct check_job, job);
    struct account *a = check->account;
    int r;

    a->checking = false;
    r = account_catch_up(a, STORE_MAJORITY, NULL);
    /* unreachable: whoever needs it will say so. No log: somebody here may be about to begin it */
    if (r < 0 && r != -ERR_NOTFOUND)
        account_set_behind(a);
    account_unref(a);
    free(check);
}

void account_check(struct account *a)
{
    struct check_job *check;

    if (atomic_exchange(&a->checking, true))
        return;
    check = NEW(struct check_job);
    check->job.run = check_now;
    check->account = account_ref(a);
    mail_submit_chore(a->mail, &check->job);
}

/* On the bus thread. seq 0: hints were lost. */
static void hinted(void *ctx, uint64_t seq)
{
    struct account *a = ctx;
    bool news;

    pthread_mutex_lock(&a->lock);
    news = seq == 0 || !a->st || a->st->seq < seq;
    pthread_mutex_unlock(&a->lock);
    if (news && !PLANTED(hint_ignored))
        account_check(a);
}

void account_tell(struct account *a, uint64_t seq)
{
    if (a->mail->bus)
        bus_publish(a->mail->bus, a->id, seq);
}

struct watch *account_watch(struct account *a, void (*wake)(void *ctx), void *ctx)
{
    struct watch *w = NEW(struct watch);

    w->account = account_ref(a);
    w->wake = wake;
    w->ctx = ctx;
    pthread_mutex_lock(&a->watch_lock);
    LIST_INSERT_HEAD(&a->watches, w, link);
    if (!a->hints && a->mail->bus)
        a->hints = bus_subscribe(a->mail->bus, a->id, hinted, a);
    pthread_mutex_unlock(&a->watch_lock);
    return w;
}

void account_unwatch(struct watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->account->watch_lock);
    LIST_REMOVE(w, link);
    if (LIST_EMPTY(&w->account->watches))
        bus_unsubscribe(TAKE(w->account->hints)); /* hinted() does not take this lock */
    pthread_mutex_unlock(&w->account->watch_lock);
    account_unref(w->account);
    free(w);
}

void account_notify(struct account *a)
{
    struct watch *w;

    pthread_mutex_lock(&a->watch_lock);
    LIST_FOREACH (w, &a->watches, link)
        w->wake(w->ctx);
    pthread_mutex_unlock(&a->watch_lock);
}

/* --- the replica ----------------------------------------------------------------------------- */

/* With the lock held: from here on sessions see this state. */
static struct state *shown(struct account *a)
{
    if (!a->st)
        return NULL;
    a->least = MAX(a->least, a->st->seq);
    return state_ref(a->st);
}

struct state *account_state(struct account *a)
{
    struct state *st;

    pthread_mutex_lock(&a->lock);
    st = shown(a);
    pthread_mutex_unlock(&a->lock);
    return st;
}

bool account_position(struct account *a, struct state **ret_st, int64_t *ret_seen)
{
    bool open;

    pthread_mutex_lock(&a->lock);
    open = a->open;
    if (open) {
        *ret_st = state_ref(a->st);
        *ret_seen = a->seen;
    }
    pthread_mutex_unlock(&a->lock);
    return open;
}

/* Half the guard: the other half is for the record to arrive in. */
bool account_fresh(struct account *a, struct state **ret_st, int64_t *ret_seen)
{
    int64_t half = a->mail->settings.guard_ms / 2;
    bool fresh;

    pthread_mutex_lock(&a->lock);
    fresh = a->open && !a->behind &&
            (a->mail->broken & BREAK_POSITION ||
             (mail_clock(a->mail) - a->seen <= half && clock_mono_ms() - a->seen_mono_ms <= half));
    if (fresh) {
        *ret_st = state_ref(a->st);
        *ret_seen = a->seen;
    }
    pthread_mutex_unlock(&a->lock);
    return fresh;
}

/* With the lock held. */
static void set_position(struct account *a, int64_t seen)
{
    a->seen = a->open ? MAX(a->seen, seen) : seen;
    a->seen_mono_ms = clock_mono_ms();
    a->open = true;
}

void account_adopt(struct account *a, struct state *built, int64_t reply_time)
{
    bool moved = false;

    pthread_mutex_lock(&a->lock);
    if (!a->st || a->st->seq < built->seq) {
        struct state *old = a->st;

        a->st = TAKE(built);
        set_position(a, reply_time);
        a->behind = false;
        moved = true;
        built = old;
    } else if (a->st->seq == built->seq) {
        set_position(a, reply_time);
    }
    pthread_mutex_unlock(&a->lock);
    state_unref(built);
    if (moved)
        account_notify(a);
}

void account_drop(struct account *a)
{
    pthread_mutex_lock(&a->lock);
    a->open = false;
    a->drops++;
    pthread_mutex_unlock(&a->lock);
}

void account_set_behind(struct account *a)
{
    pthread_mutex_lock(&a->lock);
    a->behind = true;
    pthread_mutex_unlock(&a->lock);
}

/* --- making room ------------------------------------------------------------------------------ */

struct held {
    struct account *account;
    int64_t used_ms;
    size_t bytes;
};

static int by_use(const void *a, const void *b)
{
    const struct held *x = a, *y = b;

    return (x->used_ms > y->used_ms) - (x->used_ms < y->used_ms);
}

/* All accounts that somebody holds, each with a reference. */
static struct held *list_held(struct mail *mail, size_t *ret_n)
{
    struct account *a, *next;
    struct held *list;
    size_t n = 0;

    pthread_mutex_lock(&mail->lock);
    list = NEW_ARRAY(struct held, HASH_COUNT(mail->accounts) + 1);
    HASH_ITER (hh, mail->accounts, a, next) {
        if (a->refs == 0)
            continue;
        a->refs++;
        list[n++].account = a;
    }
    pthread_mutex_unlock(&mail->lock);
    *ret_n = n;
    return list;
}

static void weigh(struct held *h)
{
    struct state *st = NULL;

    pthread_mutex_lock(&h->account->lock);
    h->used_ms = h->account->used_ms;
    if (h->account->st)
        st = state_ref(h->account->st);
    pthread_mutex_unlock(&h->account->lock);
    h->bytes = st ? state_bytes(st) : 0;
    state_unref(st);
}

/* How many bytes are free now, or will be when those who wait have looked. */
static size_t unload(struct account *a)
{
    struct state *before = NULL, *after = NULL;
    size_t freed = 0;

    pthread_mutex_lock(&a->lock);
    if (a->st)
        before = state_ref(a->st);
    pthread_mutex_unlock(&a->lock);
    if (before)
        after = state_unload(before);
    pthread_mutex_lock(&a->lock);
    if (after && a->st == before) {
        freed = state_bytes(before) - state_bytes(after);
        state_unref(a->st);
        a->st = TAKE(after);
    }
    pthread_mutex_unlock(&a->lock);
    state_unref(before);
    state_unref(after);
    if (freed)
        account_notify(a);
    return freed;
}

void account_make_room(struct mail *mail)
{
    int64_t now = clock_mono_ms();
    size_t n, held = 0, unloaded = 0;
    CLEANUP_FREE struct held *list = list_held(mail, &n);

    for (size_t i = 0; i < n; i++) {
        weigh(&list[i]);
        held += list[i].bytes;
    }
    if (held > mail->settings.replica_bytes)
        qsort(list, n, sizeof *list, by_use);
    for (size_t i = 0; i < n && held > mail->settings.replica_bytes; i++) {
        size_t freed =
            now - list[i].used_ms >= mail->settings.unload_after_ms ? unload(list[i].account) : 0;

        held -= MIN(held, freed);
        unloaded += freed > 0;
    }
    for (size_t i = 0; i < n; i++)
        account_unref(list[i].account);
    pthread_mutex_lock(&mail->lock);
    mail->held_bytes = held;
    mail->unloaded += unloaded;
    evict(mail);
    pthread_mutex_unlock(&mail->lock);
}

/* --- loading segments ------------------------------------------------------------------------ */

void needs_note(void *ctx, uint64_t mailbox, uint32_t first, uint32_t last)
{
    struct needs *needs = ctx;

    if (needs->n == ARRAY_LEN(needs->ranges))
        needs->more = true;
    else
        needs->ranges[needs->n++] = (struct load_range){mailbox, first, last};
}

/* What is loaded is filled into the segments that all versions of the mailbox share. */
int mailbox_load(struct account *a, struct state *st, uint64_t id, uint32_t first, uint32_t last,
                 struct mailbox **ret_mailbox, struct error *err)
{
    const struct mailbox *box = state_mailbox(st, id);
    int r = 0;

    if (!box)
        return error_set(err, ERR_NOTFOUND, "no such mailbox");
    if (!mailbox_loaded(box, first, last)) {
        struct load_range range = {id, first, last};

        r = snapshot_load_segments(a->mail, st, &range, 1, err);
    }
    if (r == -ERR_CONFLICT) {
        account_drop(a); /* the next who refreshes opens it again */
        r = error_set(err, ERR_UNAVAILABLE, "an old version of the mailbox is no longer stored");
    }
    if (r == 0)
        *ret_mailbox = mailbox_ref((struct mailbox *)box);
    return r;
}

int account_load_all(struct account *a, const struct state *st, struct error *err)
{
    int r = snapshot_load_all(a->mail, st, err);

    if (r == -ERR_CONFLICT)
        account_drop(a);
    return r;
}

/* --- reading --------------------------------------------------------------------------------- */

static int fold_one(struct mail *mail, struct state **st, const struct record *rec,
                    struct error *err)
{
    struct needs needs;
    int r;

    do {
        needs = (struct needs){.n = 0};
        state_fold_needs(*st, rec, needs_note, &needs);
        if (needs.n && (r = snapshot_load_segments(mail, *st, needs.ranges, needs.n, err)) < 0)
            return r;
    } while (needs.more);
    return state_fold(*st, rec, st, err);
}

static int fold_docs(struct mail *mail, struct state **st, const struct store_docs *docs,
                     struct error *err)
{
    struct arena arena = {0};
    int r = 0;

    for (size_t i = 0; i < docs->n && r == 0; i++) {
        struct record rec;
        uint64_t seq = get_be64(docs->items[i].key.p + 8);

        if (seq != (*st)->seq + 1) {
            r = error_set(err, ERR_CONFLICT, "the log goes on at %llu, not %llu",
                          (unsigned long long)seq, (unsigned long long)(*st)->seq + 1);
            break;
        }
        arena_reset(&arena);
        r = record_decode(docs->items[i].head, seq, &arena, &rec, err);
        if (r == 0)
            r = fold_one(mail, st, &rec, err);
    }
    arena_done(&arena);
    return r;
}

int account_read_on(struct mail *mail, struct state **st, int64_t *seen, enum store_level level,
                    struct error *err)
{
    struct key16 to = key_pair((*st)->account, UINT64_MAX);
    bool more = true;

    while (more) {
        struct key16 from = key_pair((*st)->account, (*st)->seq + 1);
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        int r = store_range(mail->store,
                            &(struct store_query){.table = STORE_LOG,
                                                  .from = KEY_SLICE(from),
                                                  .to = KEY_SLICE(to),
                                                  .limit = TAIL_PAGE,
                                                  .parts = STORE_HEAD,
                                                  .level = level},
                            &docs, err);

        if (r < 0)
            return r;
        mail_heard(mail, docs.time);
        if (!mail_in_time(mail, *seen, docs.time))
            return error_set(err, ERR_CONFLICT, "the position is too old to read on from");
        if ((r = fold_docs(mail, st, &docs, err)) < 0)
            return r;
        more = docs.more;
        if (!more)
            *seen = MAX(*seen, docs.time);
    }
    return 0;
}

/* Manifest, then tail. Either may be replaced while the other is read: then once more. */
static int read_cold_once(struct mail *mail, uint64_t id, enum store_level level,
                          struct state **ret_st, int64_t *ret_seen, uint64_t *ret_saved_seq,
                          struct error *err)
{
    struct state *st = NULL;
    int64_t seen = 0;
    uint64_t saved;
    int r = snapshot_load(mail, id, level, &st, &seen, err);

    if (r < 0)
        return r;
    saved = st->seq;
    r = account_read_on(mail, &st, &seen, level, err);
    if (r == 0 && st->seq == 0)
        r = error_set(err, ERR_NOTFOUND, "no such account");
    if (r < 0) {
        state_unref(st);
        return r;
    }
    *ret_st = st;
    *ret_seen = seen;
    *ret_saved_seq = saved;
    return 0;
}

int account_read_cold(struct mail *mail, uint64_t id, enum store_level level, struct state **ret_st,
                      int64_t *ret_seen, uint64_t *ret_saved_seq, struct error *err)
{
    int r = -ERR_CONFLICT;

    for (int i = 0; i < OPEN_TRIES && r == -ERR_CONFLICT; i++) {
        if (i > 0)
            mail_sleep(mail, OPEN_PAUSE_MS << i);
        r = read_cold_once(mail, id, level, ret_st, ret_seen, ret_saved_seq, err);
    }
    if (r == -ERR_CONFLICT) {
        error_prefix(err, "account cannot be opened");
        r = -ERR_UNAVAILABLE;
        if (err)
            err->kind = ERR_UNAVAILABLE;
    }
    return r;
}

/* What one read found. */
struct found {
    struct state *st;
    int64_t seen;
    uint64_t saved_seq; /* 0: not looked at */
    uint64_t drops;
    bool cold;
};

/* With the lock held; f->st is consumed. A read that began from a position that was dropped since
 * is good for nothing; one that found less than sessions here have seen came from a stale primary.
 */
static int adopt_found(struct account *a, struct found *f, bool *ret_moved, struct error *err)
{
    if (!f->cold && f->drops != a->drops)
        return error_set(err, ERR_UNAVAILABLE, "the account has to be opened again");
    if (f->st->seq < a->least) {
        /* unless it is our own commit that came in between: then the replica is what was asked for
         */
        if (a->open && a->st->seq >= a->least)
            return 0;
        return error_set(err, ERR_UNAVAILABLE, "the store's answer is older than an earlier one");
    }
    if (f->saved_seq)
        a->saved_seq = MAX(a->saved_seq, f->saved_seq);
    /* One read anew is taken in place of an equal one: its segments are those that are stored now.
     */
    if (!a->st || a->st->seq < f->st->seq || (f->cold && a->st->seq == f->st->seq)) {
        struct state *old = a->st;

        a->st = f->st;
        f->st = old;
        *ret_moved = true;
    }
    /* Where the committer went further meanwhile, its position is the better one. */
    if (!f->st || f->st->seq <= a->st->seq) {
        if (*ret_moved || f->st->seq == a->st->seq)
            set_position(a, f->seen);
        a->behind = false;
    }
    return 0;
}

/* Reads in this thread; nobody else does for this account at the moment. */
static int read_now(struct account *a, enum store_level level, bool *ret_moved, struct error *err)
{
    struct found f = {0};
    int r = -ERR_CONFLICT;

    pthread_mutex_lock(&a->lock);
    f.drops = a->drops;
    if (a->open) {
        f.st = state_ref(a->st);
        f.seen = a->seen;
    }
    pthread_mutex_unlock(&a->lock);
    if (f.st)
        r = account_read_on(a->mail, &f.st, &f.seen, level, err);
    if (r == -ERR_CONFLICT) {
        state_unref(TAKE(f.st));
        f.cold = true;
        r = account_read_cold(a->mail, a->id, level, &f.st, &f.seen, &f.saved_seq, err);
    }
    if (r == 0 && f.st->seq == 0)
        r = error_set(err, ERR_NOTFOUND, "no such account");
    if (r == 0) {
        pthread_mutex_lock(&a->lock);
        r = adopt_found(a, &f, ret_moved, err);
        pthread_mutex_unlock(&a->lock);
    }
    state_unref(f.st);
    return r;
}

/* With the lock held; leaves and takes it. */
static void read_and_tell(struct account *a)
{
    enum store_level level = a->want_linearizable ? STORE_LINEARIZABLE : STORE_MAJORITY;
    struct error err = {0};
    bool moved = false;
    uint64_t seq = 0;
    int r;

    a->reading = true;
    a->want_linearizable = false;
    a->reads_begun++;
    a->asked_ms = clock_mono_ms();
    pthread_mutex_unlock(&a->lock);
    r = read_now(a, level, &moved, &err);
    if (moved)
        account_notify(a);
    pthread_mutex_lock(&a->lock);
    a->reading = false;
    a->read = (struct read_outcome){a->reads_begun, r, err};
    if (level == STORE_LINEARIZABLE)
        a->proven = a->read;
    if (r == 0)
        seq = a->st->seq;
    pthread_cond_broadcast(&a->read_done);
    if (moved && r == 0) {
        pthread_mutex_unlock(&a->lock);
        snapshot_wanted(a, seq);
        pthread_mutex_lock(&a->lock);
    }
}

int account_catch_up(struct account *a, enum store_level level, struct error *err)
{
    bool proof = level == STORE_LINEARIZABLE;
    const struct read_outcome *outcome = proof ? &a->proven : &a->read;
    uint64_t ticket;
    int r;

    pthread_mutex_lock(&a->lock);
    ticket = a->reads_begun + 1;
    if (proof) /* so the next read is one, and its number the ticket's or above */
        a->want_linearizable = true;
    while (outcome->number < ticket) {
        if (a->reading)
            pthread_cond_wait(&a->read_done, &a->lock);
        else
            read_and_tell(a);
    }
    r = outcome->result;
    if (r < 0 && err)
        *err = outcome->error;
    pthread_mutex_unlock(&a->lock);
    return r;
}

int account_begin(struct account *a, struct error *err)
{
    int64_t before = mail_clock(a->mail);
    struct error why = {0};
    int r = account_catch_up(a, STORE_LINEARIZABLE, &why);

    if (r == 0)
        return error_set(err, ERR_EXISTS, "the account exists");
    if (r != -ERR_NOTFOUND)
        return error_set(err, (enum err) - r, "%s", why.text);
    pthread_mutex_lock(&a->lock);
    if (!a->st) {
        a->st = state_new_empty(a->id);
        set_position(a, before ? before : mail_clock(a->mail));
        a->behind = false;
    }
    pthread_mutex_unlock(&a->lock);
    return 0;
}

int account_open(struct mail *mail, uint64_t id, struct account **ret_account, struct error *err)
{
    struct account *a = account_get(mail, id);
    int r = account_catch_up(a, STORE_MAJORITY, err);

    if (r < 0) {
        account_unref(a);
        return r;
    }
    *ret_account = a;
    return 0;
}

int account_refresh(struct account *a, struct state **ret_state, struct error *err)
{
    int r = PLANTED(present_stale) && a->open ? 0 : account_catch_up(a, STORE_MAJORITY, err);

    if (r < 0)
        return r;
    pthread_mutex_lock(&a->lock);
    a->used_ms = clock_mono_ms();
    if (ret_state)
        *ret_state = shown(a);
    pthread_mutex_unlock(&a->lock);
    return 0;
}
