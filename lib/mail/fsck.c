/* SPDX-License-Identifier: MPL-2.0 */
/* fsck: see fsck.h. Two states are made from what is stored: `whole`, folded from record 1 (as long
 * as the log still begins there), and `opened`, from the manifest and the tail as every node does
 * it. They must be equal byte for byte (I6), and their sums must be what counting gives (I20, I26).
 */
#include "lib/mail/fsck.h"

#include <stdio.h>

#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/mail/snapshot.h"
#include "lib/mail/sweep.h"
#include "lib/mail/textindex.h"
#include "lib/store/keys.h"

#define LEVEL_TRIES 5
#define OPEN_TRIES  3
#define ID_PAGE     5000

struct check {
    struct mail *mail;
    uint64_t account;
    const struct fsck_options *options;
    struct fsck_result *result;
};

struct id_list {
    uint64_t *items;
    size_t n, cap;
};

static void id_list_done(struct id_list *ids)
{
    VEC_DONE(ids);
}

static void found(struct check *c, const char *what, bool repaired, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static void found(struct check *c, const char *what, bool repaired, const char *fmt, ...)
{
    CLEANUP(buf_done) struct buf text = buf_make(1024);
    char line[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    buf_add_str(&text, line);
    c->result->problems++;
    c->result->repaired += repaired;
    if (c->options->found)
        c->options->found(c->options->ctx, c->account, what, buf_slice(&text), repaired);
}

/* --- the two states -------------------------------------------------------------------------- */

/* *ret_st is NULL where the log no longer begins at record 1. */
static int fold_whole(struct check *c, struct state **ret_st, struct error *err)
{
    struct state *st = state_new_empty(c->account);
    int64_t seen = mail_clock(c->mail);
    int r = account_read_on(c->mail, &st, &seen, STORE_MAJORITY, err);

    if (r < 0 || st->seq == 0) {
        state_unref(st);
        st = NULL;
    }
    *ret_st = st;
    return r == -ERR_CONFLICT ? 0 : r;
}

static int open_loaded_once(struct check *c, struct state **ret_st, struct error *err)
{
    int64_t seen;
    uint64_t saved;
    int r = account_read_cold(c->mail, c->account, STORE_LINEARIZABLE, ret_st, &seen, &saved, err);

    if (r < 0)
        return r;
    r = snapshot_load_all(c->mail, *ret_st, err);
    if (r < 0)
        state_unref(TAKE(*ret_st));
    return r;
}

/* A segment that is gone was replaced by another node a moment ago, or is missing. */
static int open_loaded(struct check *c, struct state **ret_st, struct error *err)
{
    int r = -ERR_CONFLICT;

    for (int i = 0; i < OPEN_TRIES && r == -ERR_CONFLICT; i++)
        r = open_loaded_once(c, ret_st, err);
    return r;
}

/* Reads on the older one until both are at one seq: servers may be running. */
static int make_level(struct check *c, struct state **a, struct state **b, struct error *err)
{
    int r = 0;

    for (int i = 0; i < LEVEL_TRIES && r == 0 && (*a)->seq != (*b)->seq; i++) {
        int64_t seen = mail_clock(c->mail);

        r = account_read_on(c->mail, (*a)->seq < (*b)->seq ? a : b, &seen, STORE_MAJORITY, err);
    }
    return r;
}

static bool are_equal(const struct state *a, const struct state *b)
{
    CLEANUP(buf_done) struct buf x = buf_make(SIZE_MAX / 2), y = buf_make(SIZE_MAX / 2);

    state_dump(a, &x);
    state_dump(b, &y);
    return slice_eq(buf_slice(&x), buf_slice(&y));
}

/* The log is whole: what it says is saved in place of what is wrong. The wrong one is never merely
 * removed, because a node that has read it may trim the log at any moment. */
static bool save_anew(struct check *c, struct state *whole)
{
    struct account *a;

    if (!c->options->repair || snapshot_replace(c->mail, whole, NULL) < 0)
        return false;
    a = account_get(c->mail, c->account);
    account_drop(a);
    account_unref(a);
    return true;
}

/* The state to go on with: of the two the one that is right, or NULL. */
static int check_states(struct check *c, struct state **ret_st, struct error *err)
{
    struct state *whole = NULL, *opened = NULL;
    struct error why = {0};
    int r = fold_whole(c, &whole, &why);

    if (r == -ERR_INTERNAL)
        found(c, "log", false, "%s", why.text);
    else if (r < 0)
        return error_set(err, (enum err) - r, "%s", why.text);
    r = open_loaded(c, &opened, &why);
    if (r == -ERR_NOTFOUND && !whole)
        return error_set(err, ERR_NOTFOUND, "no such account");
    if (r == -ERR_UNAVAILABLE) {
        state_unref(whole);
        return error_set(err, ERR_UNAVAILABLE, "%s", why.text);
    }
    if (r < 0 && !whole) {
        found(c, "open", false, "%s", why.text);
    } else if (r < 0) {
        found(c, "snapshot", save_anew(c, whole), "%s", why.text);
    } else if (whole && make_level(c, &whole, &opened, NULL) == 0 && whole->seq == opened->seq &&
               !are_equal(whole, opened)) {
        found(c, "snapshot", save_anew(c, whole), "differs from the log at record %llu",
              (unsigned long long)whole->seq);
        state_unref(TAKE(opened));
    }
    *ret_st = opened ? TAKE(opened) : TAKE(whole);
    state_unref(whole);
    state_unref(opened);
    return 0;
}

/* --- messages -------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static bool id_list_has(const struct id_list *ids, uint64_t id)
{
    return ids->n && bsearch(&id, ids->items, ids->n, sizeof id, by_value);
}

static int list_stored(struct check *c, struct id_list *stored, struct error *err)
{
    struct key16 from = key_pair(c->account, 0), to = key_pair(c->account, UINT64_MAX);
    bool more = true;

    while (more) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};
        int r = store_range(c->mail->store,
                            &(struct store_query){.table = STORE_MESSAGES,
                                                  .from = KEY_SLICE(from),
                                                  .to = KEY_SLICE(to),
                                                  .limit = ID_PAGE,
                                                  .level = STORE_MAJORITY},
                            &docs, err);

        if (r < 0)
            return r;
        for (size_t i = 0; i < docs.n; i++)
            *VEC_PUSH(stored) = get_be64(docs.items[i].key.p + 8);
        if (docs.n)
            from = key_pair(c->account, stored->items[stored->n - 1] + 1);
        more = docs.more && docs.n;
    }
    return 0;
}

static void list_named(struct check *c, const struct state *st, struct id_list *named)
{
    struct message m;

    for (size_t i = 0; i < st->n_mailboxes; i++)
        for (struct mailbox_iter k = mailbox_iter(st->mailboxes[i], 0); mailbox_next(&k, &m);) {
            *VEC_PUSH(named) = m.id;
            c->result->messages++;
            c->result->bytes += m.size;
        }
    if (named->n)
        qsort(named->items, named->n, sizeof *named->items, by_value);
}

/* Named messages must be there and, if asked for, read back. One that another node's expunge and
 * sweep removed since the state was read is no problem: then the state has moved on. */
static int check_named(struct check *c, const struct id_list *named, const struct id_list *stored,
                       struct error *err)
{
    for (size_t i = 0; i < named->n; i++) {
        uint64_t id = named->items[i];
        struct error why = {0};
        int r = 0;

        if (i > 0 && named->items[i - 1] == id)
            continue;
        if (!id_list_has(stored, id))
            r = error_set(&why, ERR_NOTFOUND, "is not stored");
        else if (c->options->contents)
            r = content_verify(c->mail->content, c->account, id, &why);
        if (r == -ERR_UNAVAILABLE)
            return error_set(err, ERR_UNAVAILABLE, "%s", why.text);
        if (r < 0)
            found(c, "message", false, "%016llx: %s", (unsigned long long)id, why.text);
    }
    return 0;
}

static void count_orphans(struct check *c, const struct state *st, const struct id_list *named,
                          const struct id_list *stored)
{
    int64_t t;
    uint32_t size;

    for (size_t i = 0; i < stored->n; i++)
        if (!id_list_has(named, stored->items[i]) && !state_gone(st, stored->items[i], &t, &size))
            c->result->orphans++;
}

static int check_messages(struct check *c, const struct state *st, struct error *err)
{
    CLEANUP(id_list_done) struct id_list named = {0}, stored = {0};
    int r = list_stored(c, &stored, err);

    if (r < 0)
        return r;
    list_named(c, st, &named);
    r = check_named(c, &named, &stored, err);
    if (r == 0)
        count_orphans(c, st, &named, &stored);
    return r;
}

/* --- the text index -------------------------------------------------------------------------- */

static void textindex_found(void *ctx, const char *what, bool repaired)
{
    found(ctx, "text index", repaired, "%s", what);
}

static int check_textindex(struct check *c, struct error *err)
{
    struct account *a = account_get(c->mail, c->account);
    int r = textindex_check(a, c->options->repair, textindex_found, c, err);

    account_unref(a);
    return r;
}

int fsck_account(struct mail *mail, uint64_t account, const struct fsck_options *options,
                 struct fsck_result *result, struct error *err)
{
    struct check c = {mail, account, options, result};
    struct state *st = NULL;
    struct error why = {0};
    int r = check_states(&c, &st, err);

    if (r < 0 || !st)
        return r;
    result->records += st->seq;
    result->mailboxes += st->n_mailboxes;
    if (!state_recount(st, &why))
        found(&c, "sums", false, "%s", why.text);
    r = check_messages(&c, st, err);
    if (r == 0)
        r = check_textindex(&c, err);
    if (r == 0 && options->repair && result->orphans) {
        struct swept swept = {0};

        r = sweep_account(mail, account, &swept, err);
        if (r == -ERR_CONFLICT)
            r = 0; /* in use: the next sweep will do */
    }
    state_unref(st);
    return r;
}
