/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/mail/state_impl.h"
#include "tests/unit/mail/world.h"

#define HELD 12

/* A state that somebody holds, with what it looked like when he took it. */
struct held {
    struct state *st;
    struct buf dump;
};

static void hold(struct held *h, struct state *st)
{
    if (h->st) {
        CLEANUP(buf_done) struct buf now = buf_make(BUF_MAX_DEFAULT);

        state_dump(h->st, &now);
        cr_assert(slice_eq(buf_slice(&now), buf_slice(&h->dump)), "a held state has changed");
        state_unref(h->st);
    }
    buf_done(&h->dump);
    h->dump = buf_make(BUF_MAX_DEFAULT);
    h->st = st ? state_ref(st) : NULL;
    if (st)
        state_dump(st, &h->dump);
}

struct vanishing {
    unsigned exact, forgotten;
};

/* Who knows `old` learns of everything that has left since; what is reported is not there. */
static void check_vanished(const struct state *old, const struct state *now, struct vanishing *v)
{
    for (size_t i = 0; i < now->n_mailboxes; i++) {
        const struct mailbox *box = now->mailboxes[i], *then = state_mailbox(old, box->id);
        CLEANUP(uidset_done) struct uidset gone = {0};
        struct message m, there;
        bool exact = state_vanished(now, box->id, old->seq, &gone);

        v->exact += exact && gone.n;
        v->forgotten += !exact;
        for (struct mailbox_iter at = mailbox_iter(box, 0); exact && mailbox_next(&at, &m);)
            cr_assert(!uidset_has(&gone, m.uid), "uid %u is there", m.uid);
        if (!then)
            continue;
        for (struct mailbox_iter at = mailbox_iter(then, 0); mailbox_next(&at, &m);)
            if (!mailbox_find(box, m.uid, &there))
                cr_assert(uidset_has(&gone, m.uid), "uid %u left unseen", m.uid);
    }
}

/* Messages by the run are those that come one by one, from whichever uid on. */
static void check_runs(const struct mailbox *box, uint32_t from)
{
    struct mailbox_iter runs = mailbox_iter(box, from), one = runs;
    struct message_run run;
    struct message m;

    while (mailbox_next_run(&runs, &run)) {
        cr_assert_gt(run.n, 0);
        for (size_t i = 0; i < run.n; i++)
            cr_assert(mailbox_next(&one, &m) && m.uid == run.uid[i] && m.size == run.size[i]);
    }
    cr_assert(!mailbox_next(&one, &m));
}

static void check_all_runs(const struct state *st)
{
    for (size_t i = 0; i < st->n_mailboxes; i++)
        for (uint32_t from = 0; from <= st->mailboxes[i]->sum.uidnext; from += 7)
            check_runs(st->mailboxes[i], from);
}

static struct vanishing run(uint64_t seed, int steps, uint64_t quota)
{
    struct vanishing v = {0};
    struct held held[HELD] = {0};
    struct state *alone = state_new_empty(77), *shared = state_new_empty(77);
    struct world w;

    world_init(&w, seed, 0);
    world_fold(&w, &alone);
    world_fold(&w, &shared);
    if (quota) {
        world_done(&w);
        state_unref(alone);
        state_unref(shared);
        world_init(&w, seed, quota);
        alone = state_ref(w.st);
        shared = state_ref(w.st);
    }
    for (int i = 0; i < steps; i++) {
        world_step(&w);
        ref_check(w.ref, w.st);
        if (!w.has_record)
            continue;
        world_fold(&w, &alone);
        hold(&held[world_draw(&w, HELD)], shared);
        world_fold(&w, &shared);
        for (size_t k = 0; k < HELD; k += 4)
            if (held[k].st)
                check_vanished(held[k].st, shared, &v);
        check_same_dump(alone, w.st, "folded in place");
        check_same_dump(shared, w.st, "folded by copying");
    }
    check_all_runs(shared);
    for (size_t i = 0; i < HELD; i++)
        hold(&held[i], NULL);
    state_unref(alone);
    state_unref(shared);
    world_done(&w);
    return v;
}

Test(state, I1_I2_I4_I5_I6_I15_I16_I19_I20_random_records_agree_with_arrays, .timeout = 250)
{
    for (uint64_t seed = 1; seed <= 12; seed++)
        run(seed, 150, 0);
}

Test(state, I11_all_that_left_a_mailbox_is_told_also_when_it_is_forgotten, .timeout = 250)
{
    struct vanishing all = {0};

    for (uint64_t seed = 80; seed <= 83; seed++) {
        struct vanishing v = run(seed, 150, 0);

        all.exact += v.exact;
        all.forgotten += v.forgotten;
    }
    cr_assert(all.exact > 100 && all.forgotten > 100, "%u exact, %u forgotten", all.exact,
              all.forgotten);
}

Test(state, I26_quota_is_never_passed, .timeout = 250)
{
    for (uint64_t seed = 50; seed <= 55; seed++)
        run(seed, 120, 60000);
}

/* --- comparing ------------------------------------------------------------------------------- */

struct diff {
    struct uidset gone, changed, added;
};

static void on_gone(void *ctx, uint32_t uid)
{
    uidset_add(&((struct diff *)ctx)->gone, uid);
}

static void on_changed(void *ctx, const struct message *m)
{
    uidset_add(&((struct diff *)ctx)->changed, m->uid);
}

static void on_added(void *ctx, const struct message *m)
{
    uidset_add(&((struct diff *)ctx)->added, m->uid);
}

static const struct mailbox_diff all_events = {on_gone, on_changed, on_added};

static void check_diff(const struct mailbox *old, const struct mailbox *now, const struct diff *d)
{
    struct message a, b;

    for (struct mailbox_iter i = mailbox_iter(old, 0); mailbox_next(&i, &a);) {
        bool there = mailbox_find(now, a.uid, &b);

        cr_assert_eq(uidset_has(&d->gone, a.uid), !there);
        cr_assert_eq(uidset_has(&d->changed, a.uid), there && a.modseq != b.modseq);
    }
    for (struct mailbox_iter i = mailbox_iter(now, 0); mailbox_next(&i, &b);)
        cr_assert_eq(uidset_has(&d->added, b.uid), b.uid >= old->sum.uidnext);
    cr_assert(uidset_count(&d->gone) + uidset_count(&d->changed) <= old->sum.exists);
}

static void compare_all(const struct state *old, const struct state *now)
{
    for (size_t i = 0; i < old->n_mailboxes; i++) {
        const struct mailbox *box = state_mailbox(now, old->mailboxes[i]->id);
        struct diff d = {0};

        if (!box)
            continue;
        mailbox_compare(old->mailboxes[i], box, &all_events, &d);
        check_diff(old->mailboxes[i], box, &d);
        uidset_done(&d.gone);
        uidset_done(&d.changed);
        uidset_done(&d.added);
    }
}

Test(state, compare_finds_what_arrays_find, .timeout = 250)
{
    for (uint64_t seed = 100; seed < 106; seed++) {
        struct state *old;
        struct world w;

        world_init(&w, seed, 0);
        old = state_ref(w.st);
        for (int i = 0; i < 150; i++) {
            world_step(&w);
            compare_all(old, w.st);
            if (world_draw(&w, 6) == 0) {
                state_unref(old);
                old = state_ref(w.st);
            }
        }
        state_unref(old);
        world_done(&w);
    }
}

/* --- what does not apply --------------------------------------------------------------------- */

Test(state, a_record_that_does_not_apply_leaves_all_as_it_was)
{
    static struct uid_range absent = {900, 901}, present = {1, 1};
    static const struct op bad[] = {
        {.kind = OP_APPEND, .mailbox = MAILBOX_ID(1, 0), .uid = 1},
        {.kind = OP_APPEND, .mailbox = 12345, .uid = 1},
        {.kind = OP_FLAGS, .mailbox = MAILBOX_ID(1, 0), .uids = {&absent, 1, 1}},
        {.kind = OP_EXPUNGE, .mailbox = MAILBOX_ID(1, 0), .uids = {&absent, 1, 1}},
        {.kind = OP_COPY,
         .mailbox = MAILBOX_ID(1, 0),
         .target = 5,
         .uid = 1,
         .uids = {&present, 1, 1}},
        {.kind = OP_MOVE,
         .mailbox = MAILBOX_ID(1, 0),
         .target = MAILBOX_ID(1, 0),
         .uid = 1,
         .uids = {&present, 1, 1}},
        {.kind = OP_CREATE, .mailbox = 1, .name = {(const uint8_t *)"x", 1}, .uidvalidity = 100},
        {.kind = OP_RENAME, .mailbox = MAILBOX_ID(1, 1), .name = {(const uint8_t *)"INBOX", 5}},
        {.kind = OP_UNDELETE, .mailbox = MAILBOX_ID(1, 0), .uid = 100, .message = 3},
    };
    struct world w;

    world_init(&w, 7, 0);
    while (w.ref->boxes[0].n < 5)
        world_step(&w);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct mailbox_sum sum = w.st->mailboxes[0]->sum;
        struct op ops[2] = {
            {.kind = OP_APPEND, .mailbox = sum.mailbox, .uid = sum.uidnext, .message = 9}, bad[i]};
        struct record rec = {.seq = w.st->seq + 1, .ops = ops, .n_ops = 2};

        cr_assert_eq(state_fold(w.st, &rec, &w.st, NULL), -ERR_INTERNAL, "%zu", i);
        ref_check(w.ref, w.st);
    }
    world_done(&w);
}

Test(state, I6_the_time_of_a_state_never_goes_back)
{
    struct op op = {.kind = OP_NOOP};
    struct record late = {.seq = 1, .t_ms = 5000, .ops = &op, .n_ops = 1};
    struct record early = {.seq = 2, .t_ms = 4000, .ops = &op, .n_ops = 1};
    struct state *st = state_new_empty(1);

    cr_assert_eq(state_fold(st, &late, &st, NULL), 0);
    cr_assert_eq(state_fold(st, &early, &st, NULL), 0);
    cr_assert(st->seq == 2 && st->t_ms == 5000);
    cr_assert_eq(state_fold(st, &early, &st, NULL), -ERR_INTERNAL);
    state_unref(st);
}

Test(state, names_and_values)
{
    struct names *names = names_new(), *held;
    struct values *values = values_new(), *old;

    names_set(&names, S("b"), true);
    names_set(&names, S("a"), true);
    held = names_ref(names);
    names_set(&names, S("b"), false);
    cr_assert(names_has(names, S("a")) && !names_has(names, S("b")) && names_has(held, S("b")));
    values_set(&values, S("k"), S("1"));
    old = values_ref(values);
    values_set(&values, S("k"), S("2"));
    values_set(&values, S("j"), S("0"));
    cr_assert(slice_eq(values_get(values, S("k")), S("2")) &&
              slice_eq(values_get(old, S("k")), S("1")));
    values_set(&values, S("k"), (struct slice){NULL, 0});
    cr_assert(values->n == 1 && !values_get(values, S("k")).n);
    names_unref(names);
    names_unref(held);
    values_unref(values);
    values_unref(old);
}
