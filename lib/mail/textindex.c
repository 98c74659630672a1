/* SPDX-License-Identifier: MPL-2.0 */
/* Keeping the index of an account up to date; see textindex.h and docs/search.md.
 *
 * Nothing is locked. What two nodes do at once is done twice: two segments of the same messages are
 * both right, and the next one who looks drops the one with the higher number. A node that meets
 * segments of a newer version leaves the whole index to those who made them.
 */
#include "lib/mail/textindex.h"

#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/mail/textindex_impl.h"

#define JOIN        8                    /* segments of about one size become one */
#define SMALL       4096                 /* messages: the sizes are below this, */
#define MIDDLE      32768                /* below this, and the rest, which stay */
#define JOINED_MAX  ((uint64_t)96 << 20) /* octets of what is joined */
#define LEFTOVER_AT 1000                 /* keys in one delete */

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

/* --- what there is --------------------------------------------------------------------------- */

struct found {
    struct textindex_doc *head; /* NULL: it cannot be read */
    uint64_t segment;
    uint32_t live; /* messages that are in a mailbox, and in no segment before it; 0: of no use */
};

struct update {
    struct account *account;
    struct ids live, fresh; /* message ids, ascending: in mailboxes; of these, in no segment */
    struct found *items;
    size_t n;
    bool foreign; /* some is of a newer version */
    struct textindex_done *done;
};

static void let_go(struct update *u)
{
    for (size_t i = 0; i < u->n; i++)
        textindex_release(u->account->mail, u->items[i].head);
    free(TAKE(u->items));
    u->n = 0;
    u->fresh.n = 0;
}

/* The ids of all messages in mailboxes, each once. */
static int list_live(struct account *a, struct ids *live, struct error *err)
{
    struct state *st;
    struct message m;
    size_t kept = 0;
    int r = account_refresh(a, &st, err);

    if (r < 0)
        return r;
    r = account_load_all(a, st, err);
    for (size_t i = 0; i < st->n_mailboxes && r == 0; i++)
        for (struct mailbox_iter k = mailbox_iter(st->mailboxes[i], 0); mailbox_next(&k, &m);)
            *VEC_PUSH(live) = m.id;
    state_unref(st);
    if (live->n)
        qsort(live->items, live->n, sizeof *live->items, compare_ids);
    for (size_t i = 0; i < live->n; i++)
        if (!i || live->items[i] != live->items[i - 1])
            live->items[kept++] = live->items[i];
    live->n = kept;
    return r;
}

/* Also marks them: covered[i] for live.items[i]. */
static uint32_t count_live(const struct update *u, const struct textindex_head *h, bool *covered)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < h->n; i++) {
        const uint64_t *at =
            u->live.n ? bsearch(&h->ids[i], u->live.items, u->live.n, sizeof h->ids[i], compare_ids)
                      : NULL;

        if (!at || covered[at - u->live.items])
            continue;
        covered[at - u->live.items] = true;
        n++;
    }
    return n;
}

static bool is_usable(const struct found *f)
{
    return f->head && f->head->head.text_version == text_version();
}

static void take_stock(struct update *u, const struct textindex_segments *segments,
                       struct textindex_doc **heads, const int *why)
{
    CLEANUP_FREE bool *covered = NEW_ARRAY(bool, u->live.n + 1);

    for (size_t i = 0; i < segments->n; i++) {
        struct found *f = &u->items[u->n++];

        *f = (struct found){.head = heads[i], .segment = segments->items[i]};
        if (is_usable(f))
            f->live = count_live(u, &f->head->head, covered);
        u->foreign = u->foreign || (!f->head && why[i] == -ERR_UNAVAILABLE) ||
                     (f->head && f->head->head.text_version > text_version());
    }
    for (size_t i = 0; i < u->live.n; i++)
        if (!covered[i])
            *VEC_PUSH(&u->fresh) = u->live.items[i];
}

static int load_heads(struct mail *mail, uint64_t account,
                      const struct textindex_segments *segments, struct textindex_doc **ret,
                      int *why, struct error *err)
{
    CLEANUP_FREE struct textindex_id *ids = NEW_ARRAY(struct textindex_id, segments->n + 1);

    for (size_t i = 0; i < segments->n; i++)
        ids[i] = (struct textindex_id){TEXTINDEX_HEAD, segments->items[i]};
    return textindex_load(mail, account, ids, segments->n, true, ret, why, err);
}

static int look(struct update *u, struct error *err)
{
    struct mail *mail = u->account->mail;
    CLEANUP(textindex_segments_done) struct textindex_segments segments = {0};
    CLEANUP_FREE struct textindex_doc **heads = NULL;
    CLEANUP_FREE int *why = NULL;
    int r = textindex_segments(mail, u->account->id, STORE_MAJORITY, &segments, err);

    let_go(u);
    if (r < 0)
        return r;
    heads = NEW_ARRAY(struct textindex_doc *, segments.n + 1);
    why = NEW_ARRAY(int, segments.n + 1);
    r = load_heads(mail, u->account->id, &segments, heads, why, err);
    if (r < 0)
        return r;
    u->items = NEW_ARRAY(struct found, segments.n + 1);
    take_stock(u, &segments, heads, why);
    return 0;
}

/* --- removing -------------------------------------------------------------------------------- */

static int drop_parts(struct mail *mail, uint64_t account, const struct textindex_head *h,
                      struct error *err)
{
    for (unsigned k = 0; k < TEXTINDEX_KINDS_; k++) {
        struct key20 keys[1 << TEXTINDEX_PART_BITS];
        struct slice slices[1 << TEXTINDEX_PART_BITS];
        uint32_t n = 1u << h->bits[k];
        int r;

        for (uint32_t i = 0; i < n; i++) {
            keys[i] = key_textindex(account, textindex_part((enum textindex_kind)k, i), h->segment);
            slices[i] = KEY_SLICE(keys[i]);
        }
        r = store_delete(mail->store, STORE_TEXTINDEX, slices, n, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* What describes it goes first: from then on nobody begins to read the rest. Parts of one whose
 * description cannot be read are leftovers. */
static int drop(struct update *u, const struct found *f, struct error *err)
{
    struct mail *mail = u->account->mail;
    struct key20 key = key_textindex(u->account->id, TEXTINDEX_HEAD, f->segment);
    int r = store_delete(mail->store, STORE_TEXTINDEX, (struct slice[]){KEY_SLICE(key)}, 1, err);

    u->done->dropped += r == 0;
    if (r == 0 && f->head)
        r = drop_parts(mail, u->account->id, &f->head->head, err);
    return r;
}

/* Those that cannot be read or are of an older version, and those with so few living messages that
 * these are better off in a new one. */
static int drop_useless(struct update *u, bool *ret_some, struct error *err)
{
    uint32_t enough = (uint32_t)u->account->mail->settings.index_after;
    int r = 0;

    *ret_some = false;
    for (size_t i = 0; i < u->n && r == 0; i++) {
        const struct found *f = &u->items[i];

        if (f->live && (f->live >= enough || f->live > f->head->head.n / 2))
            continue;
        r = drop(u, f, err);
        *ret_some = true;
    }
    return r;
}

static bool is_named(const struct update *u, uint64_t segment)
{
    for (size_t i = 0; i < u->n; i++)
        if (u->items[i].segment == segment)
            return true;
    return false;
}

static int delete_keys(struct update *u, const struct slice *keys, size_t n, struct error *err)
{
    int r = store_delete(u->account->mail->store, STORE_TEXTINDEX, keys, n, err);

    if (r == 0)
        u->done->parts += n;
    return r;
}

/* Parts that nobody names and that have lain there for the horizon: their writer has given up. */
static int drop_leftovers(struct update *u, struct error *err)
{
    uint64_t account = u->account->id;
    struct key20 from = key_textindex(account, TEXTINDEX_HEAD + 1, 0);
    struct key20 to = key_textindex(account, UINT32_MAX, UINT64_MAX);
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    struct slice dead[LEFTOVER_AT];
    size_t n = 0;
    int r = store_range(u->account->mail->store,
                        &(struct store_query){.table = STORE_TEXTINDEX,
                                              .from = KEY_SLICE(from),
                                              .to = KEY_SLICE(to),
                                              .parts = STORE_KEYS,
                                              .level = STORE_MAJORITY},
                        &docs, err);

    for (size_t i = 0; i < docs.n && r == 0; i++) {
        const struct store_doc *d = &docs.items[i];

        if (docs.time - d->stored_ms > u->account->mail->settings.horizon_ms &&
            !is_named(u, get_be64(d->key.p + 12)))
            dead[n++] = d->key;
        if (n == LEFTOVER_AT || (n && i + 1 == docs.n)) {
            r = delete_keys(u, dead, n, err);
            n = 0;
        }
    }
    return r;
}

int textindex_erase(struct mail *mail, uint64_t account, struct error *err)
{
    struct key20 from = key_textindex(account, 0, 0);
    struct key20 to = key_textindex(account, UINT32_MAX, UINT64_MAX);

    return store_delete_range(mail->store, STORE_TEXTINDEX, KEY_SLICE(from), KEY_SLICE(to), NULL,
                              err);
}

/* --- making ---------------------------------------------------------------------------------- */

static int stopping(struct update *u, struct error *err)
{
    return mail_sleep(u->account->mail, 0) ? 0 : error_set(err, ERR_CANCELLED, "we are stopping");
}

/* What is left over is fewer than make a segment: searches read these. */
static int make_new(struct update *u, struct error *err)
{
    size_t at = 0, after = (size_t)u->account->mail->settings.index_after, taken;
    uint64_t segment;
    int r = 0;

    while (r == 0 && u->fresh.n - at >= after) {
        r = textindex_build(u->account, u->fresh.items + at, u->fresh.n - at, &taken, &segment,
                            err);
        if (r < 0)
            return r;
        at += taken;
        u->done->indexed += taken;
        u->done->made += segment != 0;
        r = stopping(u, err);
    }
    return r;
}

static int size_class(const struct found *f)
{
    return f->live < SMALL ? 0 : f->live < MIDDLE ? 1 : 2;
}

/* The next that should become one: JOIN of a size, or one of which half is gone. 0: none. */
static size_t pick(const struct update *u, const struct found *ret[JOIN])
{
    for (int class = 0; class < 2; class ++) {
        uint64_t messages = 0, bytes = 0;
        size_t n = 0;

        for (size_t i = 0; i < u->n && n < JOIN; i++) {
            const struct found *f = &u->items[i];
            uint64_t size = f->live ? f->head->head.bytes[0] + f->head->head.bytes[1] : 0;

            if (!f->live || size_class(f) != class || messages + f->live > TEXTINDEX_MESSAGES_MAX ||
                bytes + size > JOINED_MAX)
                continue;
            messages += f->live;
            bytes += size;
            ret[n++] = f;
        }
        if (n == JOIN)
            return n;
    }
    for (size_t i = 0; i < u->n; i++)
        if (u->items[i].live && u->items[i].live <= u->items[i].head->head.n / 2) {
            ret[0] = &u->items[i];
            return 1;
        }
    return 0;
}

/* Living messages that no segment has but these: what others have need not be kept twice. */
static void only_theirs(const struct update *u, const struct found *const *picked, size_t n,
                        struct ids *ret)
{
    CLEANUP_FREE bool *covered = NEW_ARRAY(bool, u->live.n + 1);

    for (size_t i = 0; i < u->n; i++) {
        bool theirs = false;

        for (size_t k = 0; k < n; k++)
            theirs = theirs || picked[k] == &u->items[i];
        if (!theirs && is_usable(&u->items[i]))
            count_live(u, &u->items[i].head->head, covered);
    }
    for (size_t i = 0; i < u->live.n; i++)
        if (!covered[i])
            *VEC_PUSH(ret) = u->live.items[i];
}

/* 1: some were joined, look again; 0: nothing to join. */
static int join(struct update *u, struct error *err)
{
    const struct found *picked[JOIN];
    struct textindex_doc *heads[JOIN];
    CLEANUP(ids_done) struct ids theirs = {0};
    size_t n = pick(u, picked), bad = 0;
    int r;

    for (size_t i = 0; i < n; i++)
        heads[i] = picked[i]->head;
    if (!n)
        return 0;
    only_theirs(u, picked, n, &theirs);
    r = textindex_merge(u->account, heads, n, theirs.items, theirs.n, &bad, err);
    if (r == -ERR_INVALID) {
        log_text(LOG_WARN_, "textindex", "account %016llx: segment %016llx cannot be read",
                 (unsigned long long)u->account->id, (unsigned long long)picked[bad]->segment);
        r = drop(u, picked[bad], err);
        return r < 0 ? r : 1;
    }
    u->done->merged += r == 0;
    for (size_t i = 0; i < n && r == 0; i++)
        r = drop(u, picked[i], err);
    if (r == 0)
        r = stopping(u, err);
    return r < 0 ? r : 1;
}

static int update(struct update *u, struct error *err)
{
    bool dropped;
    int r = list_live(u->account, &u->live, err);

    if (r == 0)
        r = look(u, err);
    if (r < 0 || u->foreign)
        return r;
    r = drop_useless(u, &dropped, err);
    if (r == 0 && dropped)
        r = look(u, err);
    if (r == 0)
        r = drop_leftovers(u, err);
    if (r == 0)
        r = make_new(u, err);
    do {
        if (r >= 0)
            r = look(u, err);
        if (r == 0 && !u->foreign)
            r = join(u, err);
    } while (r == 1);
    return r;
}

int textindex_update(struct account *account, struct textindex_done *done, struct error *err)
{
    struct update u = {.account = account, .done = done};
    int r = account->mail->settings.index_after > 0 ? update(&u, err) : 0;

    let_go(&u);
    ids_done(&u.live);
    ids_done(&u.fresh);
    return r;
}

/* --- in the background ----------------------------------------------------------------------- */

struct update_job {
    struct pool_job job;
    struct account *account;
};

static void note_done(const struct account *a, const struct textindex_done *done, int64_t ms)
{
    struct log_line l;
    char id[17];

    snprintf(id, sizeof id, "%016llx", (unsigned long long)a->id);
    log_begin(&l, LOG_INFO_, "textindex");
    log_str(&l, "account", slice_str(id));
    log_num(&l, "messages", (int64_t)done->indexed);
    log_num(&l, "made", (int64_t)done->made);
    log_num(&l, "merged", (int64_t)done->merged);
    log_num(&l, "dropped", (int64_t)done->dropped);
    log_num(&l, "ms", ms);
    log_end(&l);
}

static void update_in_background(struct pool_job *job)
{
    struct update_job *u = CONTAINER_OF(job, struct update_job, job);
    struct account *a = u->account;
    struct textindex_done done = {0};
    struct error err = {0};
    int64_t began = clock_mono_ms();
    int r = textindex_update(a, &done, &err);

    if (r == -ERR_INTERNAL)
        log_text(LOG_ERROR_, "textindex", "account %016llx: %s", (unsigned long long)a->id,
                 err.text);
    if (done.made || done.merged || done.dropped)
        note_done(a, &done, clock_mono_ms() - began);
    atomic_store(&a->mail->textindex->busy, false);
    account_unref(a);
    free(u);
}

void textindex_wanted(struct account *a)
{
    struct update_job *u;

    if (a->mail->stepped || a->mail->settings.index_after <= 0 ||
        atomic_exchange(&a->mail->textindex->busy, true))
        return;
    u = NEW(struct update_job);
    u->job.run = update_in_background;
    u->account = account_ref(a);
    mail_submit_chore(a->mail, &u->job);
}
