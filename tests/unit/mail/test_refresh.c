/* SPDX-License-Identifier: MPL-2.0 */
/* Looking at the present while it moves: what is read may be old news when the read ends. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/store/store_impl.h"

/* A store that has something happen between a read of the log and its answer. */
struct slow {
    struct store store;
    struct store *inner;
    void (*between)(void *ctx); /* once */
    void *ctx;
    bool unproven; /* the primary cannot prove that it still is one */
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
    int r = slow->unproven && query->level == STORE_LINEARIZABLE
                ? error_set(err, ERR_UNAVAILABLE, "no majority answers")
                : store_range(slow->inner, query, docs, err);
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
    _Atomic bool over;
    _Atomic unsigned looked;
};

static void rig_init(struct rig *r)
{
    struct mail_account_options options = {0};
    struct mail_settings settings;

    mail_settings_default(&settings);
    settings.poll_ms = 3600000; /* nobody else reads */
    cr_assert_eq(store_open("memory:", NULL, &r->slow.inner, NULL), 0);
    r->slow.store = (struct store){&slow_ops, true, r->slow.inner->settings};
    cr_assert_eq(mail_new(&r->slow.store, NULL, &settings, &r->mail, NULL), 0);
    cr_assert_eq(mail_account_create(r->mail, 1, &options, NULL), 0);
    cr_assert_eq(account_open(r->mail, 1, &r->account, NULL), 0);
}

static void rig_done(struct rig *r)
{
    account_unref(r->account);
    mail_free(r->mail);
    store_close(r->slow.inner);
}

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
    struct error err = {0};
    struct state *st;

    rig_init(&r);
    r.slow.ctx = &r;
    r.slow.between = commit_and_show;
    cr_assert_eq(account_refresh(r.account, &st, &err), 0, "%s", err.text);
    cr_assert_gt(r.seq, 0, "the commit came in between");
    cr_assert_eq(st->seq, r.seq);
    state_unref(st);
    rig_done(&r);
}

#define ASKERS 3
#define ASKED  2000

/* Sessions that look at the present, all the time. (One look serves all who wait, so that theirs
 * may fail as well.) */
static void *keep_looking(void *arg)
{
    struct rig *r = arg;

    while (!r->over)
        if (account_catch_up(r->account, STORE_MAJORITY, NULL) == 0)
            r->looked++;
    return NULL;
}

Test(refresh, I23_a_proof_that_failed_is_not_made_good_by_a_later_read_without_one)
{
    struct rig r = {0};
    pthread_t askers[ASKERS];

    rig_init(&r);
    r.slow.unproven = true;
    for (int i = 0; i < ASKERS; i++)
        cr_assert_eq(pthread_create(&askers[i], NULL, keep_looking, &r), 0);
    while (r.looked == 0)
        sched_yield();
    for (int i = 0; i < ASKED; i++)
        cr_assert_eq(account_catch_up(r.account, STORE_LINEARIZABLE, NULL), -ERR_UNAVAILABLE,
                     "at the %d. time", i);
    r.over = true;
    for (int i = 0; i < ASKERS; i++)
        pthread_join(askers[i], NULL);
    rig_done(&r);
}
