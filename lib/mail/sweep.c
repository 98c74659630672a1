/* SPDX-License-Identifier: MPL-2.0 */
/* Sweeping; see sweep.h. The order matters and is always the same: list the messages that are old,
 * bring the state up to date, see which of them nobody names, commit a noop on that very state,
 * and only then delete.
 */
#include "lib/mail/sweep.h"

#include <pthread.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/mail/commit.h"
#include "lib/mail/expire.h"
#include "lib/mail/snapshot.h"
#include "lib/mail/textindex.h"
#include "lib/store/keys.h"

#define LIST_PAGE      5000
#define REMOVE_BATCH   256
#define BLOBS_AT_ONCE  64
#define CONFLICT_TRIES 3

struct ids {
    uint64_t *items;
    size_t n, cap;
};

static void ids_done(struct ids *ids)
{
    VEC_DONE(ids);
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* --- what is there --------------------------------------------------------------------------- */

/* Ids of the messages stored longer ago than the horizon, ascending; and whether there are any
 * younger. */
static int list_old(struct mail *mail, uint64_t account, struct ids *old, bool *ret_younger,
                    struct error *err)
{
    struct key16 from = key_pair(account, 0), to = key_pair(account, UINT64_MAX);
    bool more = true;

    *ret_younger = false;
    while (more) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        int r = store_range(mail->store,
                            &(struct store_query){.table = STORE_MESSAGES,
                                                  .from = KEY_SLICE(from),
                                                  .to = KEY_SLICE(to),
                                                  .limit = LIST_PAGE,
                                                  .level = STORE_MAJORITY},
                            &docs, err);

        if (r < 0)
            return r;
        mail_heard(mail, docs.time);
        for (size_t i = 0; i < docs.n; i++) {
            uint64_t id = get_be64(docs.items[i].key.p + 8);

            if (docs.time - docs.items[i].stored_ms > mail->settings.horizon_ms)
                *VEC_PUSH(old) = id;
            else
                *ret_younger = true;
            from = key_pair(account, id + 1);
        }
        more = docs.more;
    }
    return 0;
}

static void list_live(const struct state *st, struct ids *live)
{
    struct message m;

    for (size_t i = 0; i < st->n_mailboxes; i++)
        for (struct mailbox_iter k = mailbox_iter(st->mailboxes[i], 0); mailbox_next(&k, &m);)
            *VEC_PUSH(live) = m.id;
    if (live->n)
        qsort(live->items, live->n, sizeof *live->items, compare_ids);
}

/* Leaves in `old` those that no mailbox holds and that have left the undelete window. */
static void keep_orphans(const struct state *st, const struct ids *live, struct ids *old)
{
    size_t kept = 0;
    int64_t t;
    uint32_t size;

    for (size_t i = 0; i < old->n; i++)
        if (!(live->n &&
              bsearch(&old->items[i], live->items, live->n, sizeof *live->items, compare_ids)) &&
            !state_gone(st, old->items[i], &t, &size))
            old->items[kept++] = old->items[i];
    old->n = kept;
}

/* --- removing -------------------------------------------------------------------------------- */

/* A message without links is one whose head cannot be read: its links go with the blob sweep. */
static int remove_batch(struct mail *mail, uint64_t account, const uint64_t *ids, size_t n,
                        struct swept *swept, struct error *err)
{
    struct key16 keys[REMOVE_BATCH];
    struct slice slices[REMOVE_BATCH];
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    CLEANUP(arena_done) struct arena arena = {0};
    int r;

    for (size_t i = 0; i < n; i++) {
        keys[i] = key_pair(account, ids[i]);
        slices[i] = KEY_SLICE(keys[i]);
    }
    r = store_get(mail->store, STORE_MESSAGES, slices, n, STORE_HEAD, STORE_MAJORITY, &docs, err);
    for (size_t i = 0; i < n && r == 0; i++) {
        struct slice *links;
        size_t n_links = 0;

        if (docs.items[i].found &&
            content_links(docs.items[i].head, account, ids[i], &arena, &links, &n_links, NULL) ==
                0 &&
            n_links)
            r = store_delete(mail->store, STORE_BLOBLINKS, links, n_links, err);
        swept->links += n_links;
        content_forget(mail->content, account, ids[i]);
    }
    if (r == 0)
        r = store_delete(mail->store, STORE_MESSAGES, slices, n, err);
    if (r == 0)
        swept->messages += n;
    return r;
}

static int remove_all(struct mail *mail, uint64_t account, const struct ids *ids,
                      struct swept *swept, struct error *err)
{
    for (size_t i = 0; i < ids->n; i += REMOVE_BATCH) {
        int r = remove_batch(mail, account, ids->items + i, MIN(ids->n - i, (size_t)REMOVE_BATCH),
                             swept, err);

        if (r < 0)
            return r;
    }
    return 0;
}

/* --- closed accounts ------------------------------------------------------------------------- */

/* Has the newest record been stored for the horizon? Until then somebody may still be on his way
 * to the slot behind an older one. */
static int last_is_old(struct mail *mail, uint64_t account, uint64_t seq, bool *ret_old,
                       struct error *err)
{
    struct key16 key = key_pair(account, seq);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    int r = store_get(mail->store, STORE_LOG, (struct slice[]){KEY_SLICE(key)}, 1, STORE_KEYS,
                      STORE_MAJORITY, &docs, err);

    *ret_old = r == 0 && (!docs.items[0].found ||
                          docs.time - docs.items[0].stored_ms > mail->settings.horizon_ms);
    return r;
}

/* The manifest of the closed state goes last: whoever comes back after a crash finds where to go
 * on. */
static int erase(struct account *a, const struct state *st, struct swept *swept, struct error *err)
{
    struct store *store = a->mail->store;
    struct key16 log_from = key_pair(a->id, 0), log_to = key_pair(a->id, UINT64_MAX);
    struct key16 last = key_pair(a->id, st->seq);
    struct key28 from = key_segment(a->id, 0, 0, 0);
    struct key28 to = key_segment(a->id, UINT64_MAX, UINT32_MAX, UINT64_MAX);
    struct key8 manifest = key_account(a->id);
    bool old = false;
    int r = last_is_old(a->mail, a->id, st->seq, &old, err);

    if (r < 0 || !old)
        return r;
    r = snapshot_save(a, 1, err);
    if (r == 0)
        r = store_delete_range(store, STORE_LOG, KEY_SLICE(log_from), KEY_SLICE(last), NULL, err);
    if (r == 0)
        r = store_delete_range(store, STORE_SEGMENTS, KEY_SLICE(from), KEY_SLICE(to), NULL, err);
    if (r == 0)
        r = textindex_erase(a->mail, a->id, err);
    if (r == 0)
        r = store_delete_range(store, STORE_LOG, KEY_SLICE(log_from), KEY_SLICE(log_to), NULL, err);
    if (r == 0)
        r = store_delete(store, STORE_SNAPSHOTS, (struct slice[]){KEY_SLICE(manifest)}, 1, err);
    account_drop(a);
    swept->erased += r == 0;
    return r;
}

/* --- one account ----------------------------------------------------------------------------- */

static int sweep_open(struct account *a, struct ids *old, bool younger, struct swept *swept,
                      struct error *err)
{
    struct mail *mail = a->mail;
    CLEANUP(ids_done) struct ids live = {0};
    struct state *st;
    int64_t seen;
    int r;

    if (!account_position(a, &st, &seen))
        return error_set(err, ERR_CONFLICT, "the account has to be opened again");
    r = account_load_all(a, st, err);
    if (r == 0) {
        list_live(st, &live);
        keep_orphans(st, &live, old);
        if (old->n && !(mail->broken & BREAK_SWEEP)) {
            r = commit_noop(a, st, seen, err);
            swept->noops += r == 0;
        }
    }
    if (r == 0)
        r = remove_all(mail, a->id, old, swept, err);
    if (r == 0 && st->closed && old->n == 0 && !younger)
        r = erase(a, st, swept, err);
    state_unref(st);
    return r;
}

int sweep_account(struct mail *mail, uint64_t account, struct swept *swept, struct error *err)
{
    CLEANUP(ids_done) struct ids old = {0};
    struct trimmed trimmed = {0};
    struct account *a;
    bool younger;
    int r = list_old(mail, account, &old, &younger, err);

    if (r < 0)
        return r;
    a = account_get(mail, account);
    r = account_catch_up(a, STORE_MAJORITY, err);
    if (r == -ERR_NOTFOUND) /* no log: erased, or never begun. Only the newest read may say so */
        r = account_catch_up(a, STORE_LINEARIZABLE, err);
    if (r == 0)
        r = sweep_open(a, &old, younger, swept, err);
    else if (r == -ERR_NOTFOUND && (r = remove_all(mail, account, &old, swept, err)) == 0)
        r = textindex_erase(mail, account, err);
    account_unref(a);
    if (r == 0)
        r = snapshot_trim(mail, account, &trimmed, err);
    swept->records += trimmed.records;
    swept->segments += trimmed.segments;
    swept->accounts++;
    return r;
}

/* --- all of them ----------------------------------------------------------------------------- */

static const struct {
    enum store_table table;
    size_t key_size;
} account_tables[] = {{STORE_LOG, 16},
                      {STORE_MESSAGES, 16},
                      {STORE_SNAPSHOTS, 8},
                      {STORE_SEGMENTS, 28},
                      {STORE_TEXTINDEX, 20}};

int sweep_next_account(struct mail *mail, uint64_t after, uint64_t *ret_account, struct error *err)
{
    uint64_t best = 0;
    bool any = false;

    if (after == UINT64_MAX)
        return error_set(err, ERR_NOTFOUND, "no more accounts");
    for (size_t i = 0; i < ARRAY_LEN(account_tables); i++) {
        struct key28 from = key_segment(after + 1, 0, 0, 0);
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        int r =
            store_range(mail->store,
                        &(struct store_query){.table = account_tables[i].table,
                                              .from = slice_of(from.b, account_tables[i].key_size),
                                              .limit = 1,
                                              .level = STORE_MAJORITY},
                        &docs, err);

        if (r < 0)
            return r;
        if (docs.n && (!any || get_be64(docs.items[0].key.p) < best)) {
            best = get_be64(docs.items[0].key.p);
            any = true;
        }
    }
    if (!any)
        return error_set(err, ERR_NOTFOUND, "no more accounts");
    *ret_account = best;
    return 0;
}

int sweep_account_remains(struct mail *mail, uint64_t account, struct error *err)
{
    uint64_t found;
    int r = sweep_next_account(mail, account - 1, &found, err);

    if (r < 0)
        return r == -ERR_NOTFOUND ? 0 : r;
    return found == account;
}

static int sweep_patiently(struct mail *mail, uint64_t account, struct swept *swept,
                           struct error *err)
{
    int r = -ERR_CONFLICT;

    for (int i = 0; i < CONFLICT_TRIES && r == -ERR_CONFLICT; i++)
        r = sweep_account(mail, account, swept, err);
    return r;
}

int sweep_all(struct mail *mail, struct swept *swept, struct error *err)
{
    uint8_t cursor[32] = {0};
    uint64_t account = 0;
    int r, worst = 0;

    while ((r = sweep_next_account(mail, account, &account, err)) == 0) {
        r = sweep_patiently(mail, account, swept, err);
        if (r < 0 && r != -ERR_CONFLICT)
            worst = r;
    }
    if (r != -ERR_NOTFOUND)
        return r;
    while ((r = content_sweep(mail->content, cursor, BLOBS_AT_ONCE, &swept->blobs, err)) > 0)
        ;
    return r < 0 ? r : worst;
}

/* --- in the background ----------------------------------------------------------------------- */

struct sweeper {
    struct mail *mail;
    int pause_ms;
    struct sweeper_hooks hooks;
    pthread_t thread;
    pthread_mutex_t lock; /* total, stopping */
    struct swept total;
    pthread_cond_t changed;
    bool stopping;
};

/* False: it is time to stop. */
static bool pause_for(struct sweeper *s, int ms)
{
    struct timespec until;
    bool going;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000 + 1;
    if (ms < 1000) {
        until.tv_sec--;
        until.tv_nsec += (long)ms * 1000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
    }
    pthread_mutex_lock(&s->lock);
    while (!s->stopping && pthread_cond_timedwait(&s->changed, &s->lock, &until) == 0)
        ;
    going = !s->stopping;
    pthread_mutex_unlock(&s->lock);
    return going;
}

static void note_trouble(const char *what, int r, const struct error *err)
{
    if (r == -ERR_INTERNAL)
        log_text(LOG_ERROR_, "sweep", "%s: %s", what, err->text);
}

static void add(struct swept *to, const struct swept *from)
{
    to->accounts += from->accounts;
    to->expired += from->expired;
    to->messages += from->messages;
    to->links += from->links;
    to->records += from->records;
    to->segments += from->segments;
    to->erased += from->erased;
    to->noops += from->noops;
    to->blobs.blobs_seen += from->blobs.blobs_seen;
    to->blobs.marked += from->blobs.marked;
    to->blobs.deleted += from->blobs.deleted;
    to->blobs.links_removed += from->blobs.links_removed;
}

static void add_swept(struct sweeper *s, struct swept *round, const struct swept *swept)
{
    add(round, swept);
    pthread_mutex_lock(&s->lock);
    add(&s->total, swept);
    pthread_mutex_unlock(&s->lock);
}

static void want_textindex(struct mail *mail, uint64_t account)
{
    struct account *a = account_get(mail, account);

    textindex_wanted(a);
    account_unref(a);
}

static void expire(struct sweeper *s, uint64_t account, struct swept *swept)
{
    struct error err = {0};
    int64_t standard =
        s->hooks.expire_ms ? s->hooks.expire_ms(s->hooks.ctx, account) : EXPIRE_NEVER;

    note_trouble("expire", expire_account(s->mail, account, standard, &swept->expired, &err), &err);
}

static void one_account(struct sweeper *s, uint64_t account, struct swept *round)
{
    struct swept swept = {0};
    struct error err = {0};

    expire(s, account, &swept);
    note_trouble("account", sweep_patiently(s->mail, account, &swept, &err), &err);
    want_textindex(s->mail, account);
    if (swept.erased && s->hooks.erased)
        s->hooks.erased(s->hooks.ctx, account);
    add_swept(s, round, &swept);
}

static bool sweep_round(struct sweeper *s, struct swept *round)
{
    uint8_t cursor[32] = {0};
    uint64_t account = 0;
    struct error err = {0};
    int r;

    while (sweep_next_account(s->mail, account, &account, &err) == 0) {
        one_account(s, account, round);
        if (!pause_for(s, s->pause_ms))
            return false;
    }
    if (s->hooks.round)
        s->hooks.round(s->hooks.ctx);
    do {
        struct swept swept = {0};

        r = content_sweep(s->mail->content, cursor, BLOBS_AT_ONCE, &swept.blobs, &err);
        note_trouble("blobs", r, &err);
        add_swept(s, round, &swept);
        if (!pause_for(s, s->pause_ms))
            return false;
    } while (r > 0);
    return true;
}

static void *sweeper_main(void *arg)
{
    struct sweeper *s = arg;

    pthread_setname_np(pthread_self(), "mail-sweep");
    while (pause_for(s, s->mail->settings.sweep_pause_ms)) {
        struct swept swept = {0};
        struct log_line l;
        bool going = sweep_round(s, &swept);

        log_begin(&l,
                  swept.expired || swept.messages || swept.blobs.deleted ? LOG_INFO_ : LOG_DEBUG_,
                  "swept");
        log_num(&l, "accounts", (int64_t)swept.accounts);
        log_num(&l, "expired", (int64_t)swept.expired);
        log_num(&l, "messages", (int64_t)swept.messages);
        log_num(&l, "records", (int64_t)swept.records);
        log_num(&l, "blobs", (int64_t)swept.blobs.deleted);
        log_end(&l);
        if (!going)
            break;
    }
    return NULL;
}

struct sweeper *sweeper_start(struct mail *mail, int pause_ms, const struct sweeper_hooks *hooks)
{
    struct sweeper *s = NEW(struct sweeper);

    s->mail = mail;
    s->pause_ms = pause_ms > 0 ? pause_ms : 1000;
    if (hooks)
        s->hooks = *hooks;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (pthread_create(&s->thread, NULL, sweeper_main, s) == 0)
        return s;
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return NULL;
}

struct swept sweeper_read_counters(struct sweeper *s)
{
    struct swept ret = {0};

    if (!s)
        return ret;
    pthread_mutex_lock(&s->lock);
    ret = s->total;
    pthread_mutex_unlock(&s->lock);
    return ret;
}

void sweeper_stop(struct sweeper *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
