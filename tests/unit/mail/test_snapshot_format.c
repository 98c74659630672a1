/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "lib/base/mem.h"
#include "lib/mail/build.h"
#include "lib/mail/snapshot_format.h"
#include "lib/mail/state_impl.h"
#include "tests/unit/mail/world.h"

#define REPLICAS 4

/* What a store would hold. */
struct shelf {
    struct stored {
        struct segment_ref ref;
        struct buf bytes;
    } * items;
    size_t n, cap;
    struct manifest *manifest;
    size_t written;
};

static void shelf_done(struct shelf *s)
{
    for (size_t i = 0; i < s->n; i++)
        buf_done(&s->items[i].bytes);
    VEC_DONE(s);
    manifest_free(s->manifest);
}

static bool same_ref(const struct segment_ref *a, const struct segment_ref *b)
{
    return a->mailbox == b->mailbox && a->first == b->first && a->stamp == b->stamp;
}

static void load(const struct shelf *shelf, const struct mailbox *box, uint32_t first,
                 uint32_t last)
{
    struct segment_ref missing[500];
    size_t n = mailbox_missing(box, first, last, missing, ARRAY_LEN(missing));

    cr_assert_leq(n, ARRAY_LEN(missing));
    for (size_t i = 0; i < n; i++) {
        size_t at = 0;
        struct error err;

        while (at < shelf->n && !same_ref(&shelf->items[at].ref, &missing[i]))
            at++;
        cr_assert_lt(at, shelf->n, "a segment that nobody stored");
        cr_assert_eq(segment_attach(box, &missing[i], buf_slice(&shelf->items[at].bytes), &err), 0,
                     "%s", err.text);
    }
    cr_assert(mailbox_loaded(box, first, last));
}

struct loading {
    const struct shelf *shelf;
    const struct state *st;
    size_t n;
};

static void on_need(void *ctx, uint64_t mailbox, uint32_t first, uint32_t last)
{
    struct loading *l = ctx;

    l->n++;
    load(l->shelf, state_mailbox(l->st, mailbox), first, last);
}

/* Only what the manifest in the store names may be left as it is: all else may be swept. */
static void check_named(const struct shelf *shelf, const struct segment_ref *ref)
{
    const struct segment_ref *named;
    size_t n, at = 0;

    cr_assert_not_null(shelf->manifest);
    named = manifest_segments(shelf->manifest, &n);
    while (at < n && !same_ref(&named[at], ref))
        at++;
    cr_assert_lt(at, n, "a segment is not written again that the manifest does not name");
}

static void save(struct shelf *shelf, struct state **st, uint32_t random)
{
    CLEANUP(buf_done) struct buf head = buf_make(BUF_MAX_DEFAULT), body = buf_make(BUF_MAX_DEFAULT);
    struct manifest_mark older = {3, 12345};
    struct segment_ref missing;
    struct snapshot_plan plan;
    struct state *compact;

    state_compact_needs(*st, on_need, &(struct loading){shelf, *st, 0});
    compact = state_compact(*st);
    state_unref(*st);
    *st = compact;
    while (snapshot_plan(*st, shelf->manifest, random, &plan, &missing, NULL) < 0)
        load(shelf, state_mailbox(*st, missing.mailbox), missing.first, missing.last);
    for (size_t i = 0; i < plan.n; i++) {
        struct stored *s;

        if (!plan.items[i].write) {
            check_named(shelf, &plan.items[i].ref);
            continue;
        }
        s = VEC_PUSH(shelf);
        s->ref = plan.items[i].ref;
        s->bytes = buf_make(BUF_MAX_DEFAULT);
        segment_encode(&plan, &plan.items[i], &s->bytes);
        shelf->written++;
    }
    cr_assert_eq(manifest_encode(&plan, older, &head, &body, NULL), 0);
    manifest_free(shelf->manifest);
    cr_assert_eq(manifest_decode(77, buf_slice(&head), buf_slice(&body), &shelf->manifest, NULL),
                 0);
    cr_assert(manifest_older(shelf->manifest).time == 12345 &&
              manifest_seq(shelf->manifest) == (*st)->seq);
    snapshot_plan_stored(&plan);
    snapshot_plan_done(&plan);
}

static void load_all(const struct shelf *shelf, const struct state *st)
{
    for (size_t i = 0; i < st->n_mailboxes; i++)
        load(shelf, st->mailboxes[i], 0, UINT32_MAX);
}

/* Folding needs what state_fold_needs says, and no more. */
static void fold_lazily(struct world *w, const struct shelf *shelf, struct state **st)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct loading l = {shelf, *st, 0};
    struct record rec;
    struct error err;

    cr_assert_eq(record_decode(buf_slice(&w->record), (*st)->seq + 1, &arena, &rec, NULL), 0);
    state_fold_needs(*st, &rec, on_need, &l);
    cr_assert_eq(state_fold(*st, &rec, st, &err), 0, "%s", err.text);
}

static void run(uint64_t seed)
{
    struct state *replicas[REPLICAS] = {0};
    struct shelf shelf = {0};
    struct world w;

    world_init(&w, seed, 0);
    for (int i = 0; i < 200; i++) {
        world_step(&w);
        for (size_t r = 0; r < REPLICAS && w.has_record; r++)
            if (replicas[r])
                fold_lazily(&w, &shelf, &replicas[r]);
        if (world_draw(&w, 4) == 0) { /* any node saves, also one with little loaded */
            uint32_t who = world_draw(&w, REPLICAS + 1);

            save(&shelf, who == REPLICAS || !replicas[who] ? &w.st : &replicas[who], (uint32_t)i);
        }
        if (shelf.manifest && manifest_seq(shelf.manifest) == w.st->seq && world_draw(&w, 2)) {
            struct state **st = &replicas[world_draw(&w, REPLICAS)];

            state_unref(*st);
            *st = state_from_manifest(shelf.manifest);
        }
        if (i % 20 == 0)
            for (size_t r = 0; r < REPLICAS; r++)
                if (replicas[r] && world_draw(&w, 2)) {
                    load_all(&shelf, replicas[r]);
                    check_same_dump(replicas[r], w.st, "from a snapshot");
                }
    }
    for (size_t r = 0; r < REPLICAS; r++)
        if (replicas[r]) {
            load_all(&shelf, replicas[r]);
            check_same_dump(replicas[r], w.st, "from a snapshot");
            ref_check(w.ref, replicas[r]);
        }
    for (size_t r = 0; r < REPLICAS; r++)
        state_unref(replicas[r]);
    shelf_done(&shelf);
    world_done(&w);
}

Test(snapshot_format, I6_snapshot_and_rest_fold_to_the_same_bytes, .timeout = 250)
{
    for (uint64_t seed = 1; seed <= 10; seed++)
        run(seed);
}

static void fill(struct world *w, uint32_t messages)
{
    w->n = 1;
    for (uint32_t i = 0; i < messages; i++) {
        w->intents[0].name = S("INBOX");
        w->intents[0].kind = INTENT_APPEND;
        w->items[0] = (struct build_item){&w->intents[0], ((uint64_t)w->t_ms << 16) + i * 77, 100};
        world_commit(w);
    }
}

Test(snapshot_format, appending_and_counting_load_nothing)
{
    struct shelf shelf = {0};
    struct state *st;
    struct world w;

    world_init(&w, 3, 0);
    fill(&w, 300);
    save(&shelf, &w.st, 1);
    st = state_from_manifest(shelf.manifest);
    for (int i = 0; i < 20; i++) {
        fill(&w, 1);
        world_fold(&w, &st);
    }
    cr_assert(!mailbox_loaded(st->mailboxes[0], 1, 300) &&
              mailbox_loaded(st->mailboxes[0], 301, 400));
    cr_assert_eq(st->mailboxes[0]->sum.exists, 320);
    cr_assert_eq(mailbox_index(st->mailboxes[0], 301), 300);
    state_unref(st);
    shelf_done(&shelf);
    world_done(&w);
}

Test(snapshot_format, only_what_changed_is_written_again)
{
    struct shelf shelf = {0};
    struct world w;
    size_t before;

    world_init(&w, 3, 0);
    fill(&w, 640);
    save(&shelf, &w.st, 1);
    before = shelf.written;
    cr_assert_eq(before, 10);
    fill(&w, 1);
    save(&shelf, &w.st, 2);
    cr_assert_eq(shelf.written, before + 1);
    save(&shelf, &w.st, 3);
    cr_assert_eq(shelf.written, before + 1);
    /* another node's manifest does not name them: all are written again */
    manifest_free(TAKE(shelf.manifest));
    save(&shelf, &w.st, 4);
    cr_assert_eq(shelf.written, before + 1 + 11);
    shelf_done(&shelf);
    world_done(&w);
}

/* A log from before there was a limit of their number may have as many as fit into the limit of
 * bytes: a manifest that cannot be read again would be the end of the account. */
Test(snapshot_format, subscriptions_beyond_all_limits_are_kept)
{
    struct shelf shelf = {0};
    struct state *st;
    struct world w;
    char name[12];

    world_init(&w, 3, 0);
    for (int i = 0; i < 260000; i++) {
        snprintf(name, sizeof name, "s%06d", i);
        names_set(&w.st->subscribed, slice_str(name), true);
    }
    save(&shelf, &w.st, 1);
    st = state_from_manifest(shelf.manifest);
    cr_assert(state_is_subscribed(st, S("s259999")) && !state_is_subscribed(st, S("s260000")));
    state_unref(st);
    shelf_done(&shelf);
    world_done(&w);
}

/* Messages of each segment have a hundred kilobytes of keywords between them. What all segments
 * have is more than a manifest may have, and can be found out from the segments. */
Test(snapshot_format, summaries_leave_room_for_the_rest_of_a_manifest)
{
    static char texts[1024][KEYWORD_MAX + 1];
    static struct slice words[1024];
    const struct flagset *sets[16];
    struct shelf shelf = {0};
    struct message m;
    struct state *st;
    struct world w;

    world_init(&w, 3, 0);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        snprintf(texts[i], sizeof texts[i], "%0100zu", i);
        words[i] = slice_str(texts[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        sets[i] = flagsets_intern(w.st->flagsets, 0, words + i * 64, 64);
    for (uint32_t i = 0; i < 200 * SEGMENT_MESSAGES; i++) {
        struct mailbox *box = state_own_mailbox(w.st, w.st->mailboxes[0]->id);
        struct message new = {
            .uid = i + 1, .modseq = w.st->seq, .id = ((uint64_t)w.t_ms << 16) + i, .size = 1};

        new.flags = sets[i % ARRAY_LEN(sets)];
        if (i % SEGMENT_MESSAGES == 0)
            mailbox_add_segment(box, segment_new());
        segment_append(box->segments[box->n_segments - 1], &new);
        box->sum.exists++;
        box->sum.uidnext = new.uid + 1;
    }
    save(&shelf, &w.st, 1);
    st = state_from_manifest(shelf.manifest);
    cr_assert_eq(flagsets_keywords_count(st->flagsets), ARRAY_LEN(words));
    load(&shelf, st->mailboxes[0], 1, 1);
    cr_assert(mailbox_find(st->mailboxes[0], 1, &m) && m.flags->n_keywords == 64);
    state_unref(st);
    shelf_done(&shelf);
    world_done(&w);
}

/* A client that moves keywords around must not fill memory with sets that no message has. */
Test(snapshot_format, I35_a_summary_of_many_keywords_makes_no_sets)
{
    static char texts[SEGMENT_MESSAGES][KEYWORD_MAX + 1];
    struct segment *s = segment_new();
    struct segment_summary sum;
    struct shelf shelf = {0};
    struct mailbox *box;
    struct state *st;
    struct world w;
    size_t before;

    world_init(&w, 3, 0);
    box = state_own_mailbox(w.st, w.st->mailboxes[0]->id);
    for (uint32_t i = 0; i < SEGMENT_MESSAGES; i++) {
        struct message m = {.uid = i + 1, .modseq = 1, .id = (uint64_t)w.t_ms << 16, .size = 1};
        struct slice word;

        snprintf(texts[i], sizeof texts[i], "%0100u", i * 7919 % SEGMENT_MESSAGES);
        word = slice_str(texts[i]);
        m.flags = flagsets_intern(w.st->flagsets, i % 2 ? FLAG_SEEN : 0, &word, 1);
        segment_append(s, &m);
        box->sum.exists++;
        box->sum.uidnext = m.uid + 1;
    }
    mailbox_add_segment(box, s);
    before = flagsets_count(w.st->flagsets);
    cr_assert(segment_summarize(box, s, &sum));
    cr_assert_eq(sum.unseen, SEGMENT_MESSAGES / 2);
    save(&shelf, &w.st, 1);
    cr_assert_eq(flagsets_count(w.st->flagsets), before);
    st = state_from_manifest(shelf.manifest);
    cr_assert_eq(flagsets_keywords_count(st->flagsets), SEGMENT_MESSAGES);
    cr_assert(segment_summarize(st->mailboxes[0], st->mailboxes[0]->segments[0], &sum));
    cr_assert(sum.unseen == SEGMENT_MESSAGES / 2 && sum.keywords->n_keywords == SEGMENT_MESSAGES);
    state_unref(st);
    shelf_done(&shelf);
    world_done(&w);
}

Test(snapshot_format, damage_is_refused)
{
    CLEANUP(buf_done) struct buf copy = buf_make(BUF_MAX_DEFAULT);
    struct shelf shelf = {0};
    struct state *st;
    struct world w;

    world_init(&w, 3, 0);
    fill(&w, 60);
    save(&shelf, &w.st, 1);
    st = state_from_manifest(shelf.manifest);
    for (size_t i = 0; i < shelf.items[0].bytes.n; i++) {
        struct segment_ref ref = shelf.items[0].ref;

        buf_reset(&copy, SIZE_MAX);
        buf_add_slice(&copy, slice_of(shelf.items[0].bytes.p, i));
        cr_assert_lt(segment_attach(st->mailboxes[0], &ref, buf_slice(&copy), NULL), 0,
                     "cut at %zu", i);
    }
    cr_assert_eq(segment_attach(st->mailboxes[0], &(struct segment_ref){.first = 1, .count = 3},
                                buf_slice(&shelf.items[0].bytes), NULL),
                 -ERR_NOTFOUND);
    shelf.items[0].bytes.p[0]++;
    cr_assert_eq(segment_attach(st->mailboxes[0], &shelf.items[0].ref,
                                buf_slice(&shelf.items[0].bytes), NULL),
                 -ERR_INTERNAL);
    cr_assert(!mailbox_loaded(st->mailboxes[0], 1, 60));
    state_unref(st);
    shelf_done(&shelf);
    world_done(&w);
}
