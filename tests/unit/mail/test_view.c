/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/mail/view.h"
#include "tests/unit/mail/world.h"

#define CLIENT_MAX 3000

/* A client: what it believes, from what it was told. */
struct client {
    uint32_t n; /* EXISTS less EXPUNGEs; the uids it would learn by asking */
    uint32_t uid[CLIENT_MAX];
    uint64_t id[CLIENT_MAX];
    const struct flagset *flags[CLIENT_MAX];
    uint64_t left[CLIENT_MAX]; /* modseq at which the message left, 0: it is there */
    unsigned what;             /* may be told */
    bool may_expunge, any_exists, any_flags;
    struct view *view;
};

static void learn(struct client *c)
{
    for (uint32_t i = c->n; i < view_count(c->view); i++) {
        struct message m;

        c->uid[i] = view_uid(c->view, i + 1);
        cr_assert(i == 0 || c->uid[i] > c->uid[i - 1]); /* I1 */
        cr_assert(view_message(c->view, c->uid[i], &m, NULL));
        c->id[i] = m.id;
        c->flags[i] = m.flags;
        c->left[i] = 0;
    }
    c->n = view_count(c->view);
}

static void forget(struct client *c, uint32_t seq)
{
    uint32_t rest = c->n - seq;

    memmove(c->uid + seq - 1, c->uid + seq, rest * sizeof *c->uid);
    memmove(c->id + seq - 1, c->id + seq, rest * sizeof *c->id);
    memmove(c->flags + seq - 1, c->flags + seq, rest * sizeof *c->flags);
    memmove(c->left + seq - 1, c->left + seq, rest * sizeof *c->left);
    c->n--;
}

static void on_expunge(void *ctx, uint32_t seq, uint32_t uid)
{
    struct client *c = ctx;

    cr_assert(c->may_expunge && !c->any_exists && !c->any_flags); /* I7, and the order */
    cr_assert(seq >= 1 && seq <= c->n && c->uid[seq - 1] == uid && c->left[seq - 1]);
    forget(c, seq);
}

static void on_vanished(void *ctx, const struct uidset *uids)
{
    struct client *c = ctx;
    uint32_t before = c->n;

    cr_assert(c->may_expunge && !c->any_exists && !c->any_flags);
    for (uint32_t i = c->n; i; i--)
        if (uidset_has(uids, c->uid[i - 1])) {
            cr_assert(c->left[i - 1]);
            forget(c, i);
        }
    cr_assert_eq(before - c->n, uidset_count(uids));
}

static void on_exists(void *ctx, uint32_t count)
{
    struct client *c = ctx;

    cr_assert(count > c->n && !c->any_flags && c->what & VIEW_EXISTS); /* I8 */
    c->any_exists = true;
    learn(c);
    cr_assert_eq(c->n, count);
}

static void on_flags(void *ctx, uint32_t seq, const struct message *m)
{
    struct client *c = ctx;

    c->any_flags = true;
    cr_assert(c->what & VIEW_FLAGS);
    cr_assert(seq >= 1 && seq <= c->n && c->uid[seq - 1] == m->uid);
    c->flags[seq - 1] = m->flags;
}

static const struct view_events by_number = {
    .expunge = on_expunge, .exists = on_exists, .flags = on_flags};
static const struct view_events by_uid = {
    .vanished = on_vanished, .exists = on_exists, .flags = on_flags};

/* What the client believes is what the view answers. */
static void check_numbers(const struct client *c)
{
    cr_assert_eq(view_count(c->view), c->n);
    for (uint32_t i = 0; i < c->n; i++) {
        struct message m;
        bool gone;

        cr_assert_eq(view_uid(c->view, i + 1), c->uid[i], "number %u", i + 1);
        cr_assert_eq(view_seq(c->view, c->uid[i]), i + 1, "uid %u", c->uid[i]);
        cr_assert(view_message(c->view, c->uid[i], &m, &gone));
        cr_assert(m.id == c->id[i] && gone == (c->left[i] != 0));    /* I4, I9 */
        cr_assert(!c->left[i] || view_modseq(c->view) < c->left[i]); /* I10 */
    }
    cr_assert(!view_uid(c->view, c->n + 1) && !view_uid(c->view, 0));
}

static void check_walk(struct world *w, const struct client *c)
{
    CLEANUP(uidset_done) struct uidset uids = {0};
    uint32_t first = 1 + world_draw(w, c->n + 1), last = 1 + world_draw(w, c->n + 1), seq, at;
    struct seq_range r = {MIN(first, c->n), MIN(last, c->n)};
    struct message m;
    bool gone;

    if (!c->n)
        return;
    cr_assert_eq(view_resolve(c->view, &r, 1, false, &uids, NULL), 0);
    at = MIN(r.first, r.last);
    for (struct view_iter i = view_each(c->view, &uids); view_next(&i, &seq, &m, &gone); at++) {
        cr_assert(seq == at && m.uid == c->uid[at - 1] && m.id == c->id[at - 1]);
        cr_assert_eq(gone, c->left[at - 1] != 0);
    }
    cr_assert_eq(at, MAX(r.first, r.last) + 1);
}

static struct mailbox *inbox(const struct world *w)
{
    return mailbox_ref((struct mailbox *)state_mailbox_named(w->st, S("INBOX")));
}

static void note_left(const struct world *w, struct client *c)
{
    const struct mailbox *box = state_mailbox_named(w->st, S("INBOX"));
    struct message m;

    for (uint32_t i = 0; i < c->n; i++)
        if (!c->left[i] && !mailbox_find(box, c->uid[i], &m))
            c->left[i] = w->st->seq;
}

static void check_flags_told(const struct client *c)
{
    struct message m;

    for (uint32_t i = 0; i < c->n; i++)
        if (!c->left[i] && mailbox_find(view_mailbox(c->view), c->uid[i], &m))
            cr_assert_eq(c->flags[i], m.flags, "uid %u: %.*s", m.uid, SLICE_FMT(m.flags->text));
}

static void talk(struct world *w, struct client *c)
{
    uint64_t before = view_modseq(c->view);
    size_t max = world_draw(w, 3) ? 0 : 1 + world_draw(w, 4);
    bool more;

    c->what = VIEW_ALL;
    c->may_expunge = world_draw(w, 3) == 0;
    c->any_exists = c->any_flags = false;
    more = view_emit(c->view, c->may_expunge, max, world_draw(w, 2) ? &by_number : &by_uid, c);
    cr_assert(more == view_pending(c->view, c->may_expunge));
    cr_assert(max || !more);
    cr_assert_geq(view_modseq(c->view), before);
    check_numbers(c);
    if (!more)
        check_flags_told(c);
    if (!view_pending(c->view, true))
        cr_assert_eq(view_modseq(c->view), view_mailbox(c->view)->sum.modseq);
}

/* What may not be told yet waits, and numbers are right all the same. */
static void talk_of_some(struct world *w, struct client *c)
{
    c->what = world_draw(w, 8);
    c->may_expunge = c->what & VIEW_EXPUNGE;
    c->any_exists = c->any_flags = false;
    cr_assert(!view_emit_some(c->view, c->what, 0, world_draw(w, 2) ? &by_number : &by_uid, c));
    check_numbers(c);
    if (c->what == VIEW_ALL)
        check_flags_told(c);
}

static void run(uint64_t seed)
{
    static struct client c;
    struct mailbox *box;
    struct world w;

    world_init(&w, seed, 0);
    box = inbox(&w);
    c = (struct client){.view = view_open(box)};
    mailbox_unref(box);
    for (int i = 0; i < 250; i++) {
        world_step(&w);
        note_left(&w, &c);
        if (world_draw(&w, 3))
            continue;
        box = inbox(&w);
        view_update(c.view, box);
        mailbox_unref(box);
        check_numbers(&c);
        check_walk(&w, &c);
        if (world_draw(&w, 3) == 0)
            talk_of_some(&w, &c);
        else if (world_draw(&w, 2))
            talk(&w, &c);
    }
    view_free(c.view);
    world_done(&w);
}

Test(view, I7_I8_I9_I10_a_client_never_loses_count, .timeout = 250)
{
    for (uint64_t seed = 1; seed <= 10; seed++)
        run(seed);
}

/* --- silence --------------------------------------------------------------------------------- */

static void count(void *ctx, uint32_t seq, const struct message *m)
{
    ++*(size_t *)ctx;
}

static void ignore(void *ctx, uint32_t n)
{
}

static void store(struct world *w, enum flags_how how, uint8_t system, uint32_t first,
                  uint32_t last)
{
    struct intent *it = &w->intents[0];
    struct uidset uids = it->uids, done = it->done, late = it->late;

    *it = (struct intent){.kind = INTENT_FLAGS,
                          .uids = uids,
                          .done = done,
                          .late = late,
                          .how = how,
                          .flags.system = system,
                          .mailbox = state_mailbox_named(w->st, S("INBOX"))->id};
    uidset_clear(&it->uids);
    uidset_add_range(&it->uids, first, last);
    w->n = 1;
    world_commit(w);
}

static size_t told(struct world *w, struct view *v)
{
    static const struct view_events events = {.flags = count, .exists = ignore};
    struct mailbox *box = inbox(w);
    size_t n = 0;

    view_update(v, box);
    mailbox_unref(box);
    cr_assert(!view_emit(v, false, 0, &events, &n));
    return n;
}

Test(view, silence_covers_the_own_change_only)
{
    struct mailbox *box;
    struct world w;
    struct view *v;

    world_init(&w, 5, 0);
    for (int i = 0; i < 10; i++) {
        w.n = 1;
        w.intents[0] =
            (struct intent){.kind = INTENT_APPEND, .name = S("INBOX"), .done = w.intents[0].done};
        w.items[0] = (struct build_item){&w.intents[0], (uint64_t)i + 1, 1};
        world_commit(&w);
    }
    box = inbox(&w);
    v = view_open(box);
    mailbox_unref(box);

    store(&w, FLAGS_ADD, FLAG_SEEN, 1, 5);
    cr_assert_eq(told(&w, v), 5);
    store(&w, FLAGS_ADD, FLAG_FLAGGED, 1, 5);
    view_silent(v, &w.intents[0].done, FLAGS_ADD, &w.intents[0].flags);
    cr_assert_eq(told(&w, v), 0);
    /* somebody else changes two of them as well, before we look */
    store(&w, FLAGS_REPLACE, FLAG_DELETED, 1, 5);
    view_silent(v, &w.intents[0].done, FLAGS_REPLACE, &w.intents[0].flags);
    store(&w, FLAGS_ADD, FLAG_DRAFT, 4, 7);
    cr_assert_eq(told(&w, v), 4);
    /* told by a FETCH */
    store(&w, FLAGS_REMOVE, FLAG_DRAFT, 4, 7);
    box = inbox(&w);
    view_update(v, box);
    mailbox_unref(box);
    view_told(v, 4);
    cr_assert_eq(told(&w, v), 3);
    view_tell(v, &w.intents[0].uids);
    cr_assert_eq(told(&w, v), 4);
    view_free(v);
    world_done(&w);
}

Test(view, I35_old_versions_are_let_go, .timeout = 100)
{
    struct intent *it;
    struct mailbox *box;
    struct message m;
    struct world w;
    struct view *v;
    uint32_t last = VIEW_BURIALS_MAX + 10;
    bool gone;

    world_init(&w, 5, 0);
    for (uint32_t i = 0; i < last; i++) {
        w.n = 1;
        w.intents[0] =
            (struct intent){.kind = INTENT_APPEND, .name = S("INBOX"), .done = w.intents[0].done};
        w.items[0] = (struct build_item){&w.intents[0], (uint64_t)i + 1, 1};
        world_commit(&w);
    }
    box = inbox(&w);
    v = view_open(box);
    mailbox_unref(box);
    for (uint32_t uid = 1; uid <= last; uid++) {
        store(&w, FLAGS_ADD, FLAG_DELETED, uid, uid);
        it = &w.intents[0];
        it->kind = INTENT_EXPUNGE;
        world_commit(&w);
        box = inbox(&w);
        view_update(v, box);
        mailbox_unref(box);
    }
    cr_assert(view_count(v) == last && view_seq(v, 1) == 1 && view_seq(v, last) == last);
    cr_assert(!view_message(v, 1, &m, &gone) && gone && !view_message(v, 10, &m, &gone) && gone);
    cr_assert(view_message(v, 11, &m, &gone) && gone && m.id == 11);
    view_free(v);
    world_done(&w);
}

/* --- sequence sets --------------------------------------------------------------------------- */

Test(view, sequence_sets)
{
    static const struct {
        const char *text;
        int result;
        size_t n;
        struct seq_range first;
    } cases[] = {
        {"1", 0, 1, {1, 1}},
        {"*", 0, 1, {0, 0}},
        {"1:*", 0, 1, {1, 0}},
        {"*:4", 0, 1, {0, 4}},
        {"2:4,7,9:12", 0, 3, {2, 4}},
        {"4294967295", 0, 1, {4294967295, 4294967295}},
        {"", -ERR_INVALID, 0, {0, 0}},
        {"0", -ERR_INVALID, 0, {0, 0}},
        {"01", -ERR_INVALID, 0, {0, 0}},
        {"1,", -ERR_INVALID, 0, {0, 0}},
        {"1:", -ERR_INVALID, 0, {0, 0}},
        {"1:2:3", -ERR_INVALID, 0, {0, 0}},
        {"4294967296", -ERR_INVALID, 0, {0, 0}},
        {"1 ", -ERR_INVALID, 0, {0, 0}},
        {"1,2,3,4,5", -ERR_LIMIT, 0, {0, 0}},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct seq_range r[4] = {{0}};
        size_t n = 0;

        cr_expect_eq(seqset_parse(slice_str(cases[i].text), r, 4, &n), cases[i].result, "%s",
                     cases[i].text);
        cr_expect(cases[i].result || (n == cases[i].n && r[0].first == cases[i].first.first &&
                                      r[0].last == cases[i].first.last),
                  "%s", cases[i].text);
    }
}

Test(view, numbers_beyond_the_end_are_refused_and_uids_are_not)
{
    CLEANUP(uidset_done) struct uidset uids = {0};
    struct seq_range all = {1, 0}, star = {0, 0}, beyond = {5, 0}, no = {0, 4};
    struct mailbox *box;
    struct world w;
    struct view *v;

    world_init(&w, 5, 0);
    box = inbox(&w);
    v = view_open(box);
    mailbox_unref(box);
    cr_assert_eq(view_resolve(v, &all, 1, false, &uids, NULL), -ERR_INVALID); /* empty mailbox */
    cr_assert_eq(view_resolve(v, &all, 1, true, &uids, NULL), 0);
    uidset_done(&uids);
    for (int i = 0; i < 3; i++) {
        w.n = 1;
        w.intents[0] = (struct intent){.kind = INTENT_APPEND, .name = S("INBOX")};
        w.items[0] = (struct build_item){&w.intents[0], (uint64_t)i + 1, 1};
        world_commit(&w);
    }
    view_free(v);
    box = inbox(&w);
    v = view_open(box);
    mailbox_unref(box);
    cr_assert_eq(view_resolve(v, &no, 1, false, &uids, NULL), -ERR_INVALID);
    cr_assert_eq(view_resolve(v, &star, 1, false, &uids, NULL), 0);
    cr_assert(uids.n == 1 && uids.items[0].first == 3 && uids.items[0].last == 3);
    uidset_done(&uids);
    /* "5:*" holds the last message, RFC 3501 section 6.4.8 */
    cr_assert_eq(view_resolve(v, &beyond, 1, true, &uids, NULL), 0);
    cr_assert(uids.n == 1 && uids.items[0].first == 3 && uids.items[0].last == 3);
    view_free(v);
    world_done(&w);
}
