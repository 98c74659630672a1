/* SPDX-License-Identifier: MPL-2.0 */
/* Looking at the present while it moves: what is read may be old news when the read ends. */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/mail/mail.h"
#include "lib/store/store_impl.h"

/* A store that has something happen between a read of the log and its answer. */
struct slow {
    struct store store;
    struct store *inner;
    void (*between)(void *ctx); /* once */
    void *ctx;
};

static struct store *inner_of(struct store *s)
{
    return ((struct slow *)s)->inner;
}

static int slow_insert(struct store *s, struct store_item *items, size_t n, int64_t *time,
                       struct error *err)
{
    return store_insert(inner_of(s), items, n, time, err);
}

static int slow_update(struct store *s, const struct store_change *change, uint64_t *version,
                       int64_t *time, struct error *err)
{
    return store_update(inner_of(s), change, version, time, err);
}

static int slow_get(struct store *s, enum store_table table, const struct slice *keys, size_t n,
                    enum store_parts parts, enum store_level level, struct store_docs *docs,
                    struct error *err)
{
    return store_get(inner_of(s), table, keys, n, parts, level, docs, err);
}

static int slow_range(struct store *s, const struct store_query *query, struct store_docs *docs,
                      struct error *err)
{
    struct slow *slow = (struct slow *)s;
    int r = store_range(slow->inner, query, docs, err);
    void (*between)(void *ctx) = TAKE(slow->between);

    if (between)
        between(slow->ctx);
    return r;
}

static int slow_time(struct store *s, int64_t *time, struct error *err)
{
    return store_time(inner_of(s), time, err);
}

static const struct store_ops slow_ops = {.kind = "slow",
                                          .insert = slow_insert,
                                          .update = slow_update,
                                          .get = slow_get,
                                          .range = slow_range,
                                          .time = slow_time};

struct rig {
    struct slow slow;
    struct mail *mail;
    struct account *account;
    uint64_t seq; /* of the commit in between */
};

/* Another session of this node commits, and a third one is shown the result. */
static void commit_and_show(void *ctx)
{
    struct rig *r = ctx;
    struct intent it = {
        .kind = INTENT_ACCOUNT, .account = r->account, .key = S("a"), .value = S("b")};
    struct intent *list[] = {&it};
    struct state *st;

    mail_commit(r->mail, list, 1);
    cr_assert_eq(it.result, 0, "%s", it.error.text);
    r->seq = it.seq;
    intent_done(&it);
    st = account_state(r->account);
    cr_assert_eq(st->seq, r->seq);
    state_unref(st);
}

Test(refresh, I10_a_commit_of_our_own_during_the_read_is_no_failure_of_the_read)
{
    struct rig r = {0};
    struct mail_settings settings;
    struct mail_account_options options = {0};
    struct error err = {0};
    struct state *st;

    mail_settings_default(&settings);
    settings.poll_ms = 3600000; /* nobody else reads */
    cr_assert_eq(store_open("memory:", NULL, &r.slow.inner, NULL), 0);
    r.slow.store = (struct store){&slow_ops, true, r.slow.inner->settings};
    cr_assert_eq(mail_new(&r.slow.store, NULL, &settings, &r.mail, NULL), 0);
    cr_assert_eq(mail_account_create(r.mail, 1, &options, NULL), 0);
    cr_assert_eq(account_open(r.mail, 1, &r.account, NULL), 0);
    r.slow.ctx = &r;
    r.slow.between = commit_and_show;
    cr_assert_eq(account_refresh(r.account, &st, &err), 0, "%s", err.text);
    cr_assert_gt(r.seq, 0, "the commit came in between");
    cr_assert_eq(st->seq, r.seq);
    state_unref(st);
    account_unref(r.account);
    mail_free(r.mail);
    store_close(r.slow.inner);
}
