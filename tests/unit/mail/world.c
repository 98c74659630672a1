/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/unit/mail/world.h"

#include <criterion/criterion.h>

#include "lib/base/mem.h"

static const struct build_limits limits = {.mailboxes_max = 1000, .keywords_max = 100};
static const uint8_t txid[TXID_SIZE] = "a test txid";

uint32_t world_draw(struct world *w, uint32_t below)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->seed >> 33) % below;
}

static void world_intent_done(struct intent *it)
{
    uidset_done(&it->done);
    uidset_done(&it->late);
}

void world_init(struct world *w, uint64_t seed, uint64_t quota)
{
    CLEANUP_FREE char *text = mem_printf("%lu", quota);

    *w = (struct world){.seed = seed,
                        .ref = ref_new(),
                        .st = state_new_empty(77),
                        .record = buf_make(BUF_MAX_DEFAULT),
                        .t_ms = 1700000000000};
    w->intents[0] = (struct intent){.kind = INTENT_CREATE, .name = S("inbox")};
    w->intents[1] = (struct intent){.kind = INTENT_CREATE, .name = S("a")};
    w->n = 2;
    world_commit(w);
    w->ref->quota = quota;
    if (!quota)
        return;
    /* the reference knows quotas, not values: its record is a step without any change */
    w->intents[0] = (struct intent){
        .kind = INTENT_ACCOUNT, .key = S(VALUE_QUOTA_BYTES), .value = slice_str(text)};
    w->items[0] = (struct build_item){&w->intents[0], 0, 0};
    struct built built;

    cr_assert_eq(build_record(w->st, w->items, 1, w->t_ms, txid, &limits, &built, NULL), 0);
    cr_assert(built.rec.n_ops == 1);
    state_unref(w->st);
    w->st = TAKE(built.st);
    buf_reset(&w->record, SIZE_MAX);
    buf_add_slice(&w->record, buf_slice(&built.bytes));
    w->has_record = true;
    built_done(&built);
    ref_begin(w->ref, w->t_ms);
}

void world_done(struct world *w)
{
    ref_free(w->ref);
    state_unref(w->st);
    buf_done(&w->record);
    for (size_t i = 0; i < WORLD_BATCH; i++) {
        uidset_done(&w->intents[i].uids);
        world_intent_done(&w->intents[i]);
    }
}

static void draw_uids(struct world *w, const struct ref_box *box, struct uidset *uids)
{
    uint32_t n = 1 + world_draw(w, 4), top = box ? box->uidnext : 5;

    uidset_clear(uids);
    if (world_draw(w, 8) == 0)
        uidset_add_range(uids, 1, world_draw(w, 2) ? UINT32_MAX : 1 + world_draw(w, top));
    while (n--) {
        uint32_t first = 1 + world_draw(w, top);

        uidset_add_range(uids, first, first + world_draw(w, 1 + top / 6));
    }
}

static void draw_flags(struct world *w, size_t at, struct flags *f)
{
    f->system = (uint8_t)(world_draw(w, 3) ? world_draw(w, 32) : 0);
    f->n_keywords = world_draw(w, 3);
    f->keywords = w->words[at];
    for (size_t i = 0; i < f->n_keywords; i++)
        w->words[at][i] = slice_str(ref_words[world_draw(w, REF_WORDS)]);
    if (world_draw(w, 10) == 0 && f->n_keywords)
        w->words[at][0] = S("$WORK"); /* a known keyword, spelled otherwise */
}

static enum intent_kind draw_kind(struct world *w)
{
    static const enum intent_kind kinds[] = {
        INTENT_APPEND,  INTENT_APPEND,  INTENT_APPEND,    INTENT_APPEND,  INTENT_DELIVER,
        INTENT_DELIVER, INTENT_DELIVER, INTENT_FLAGS,     INTENT_FLAGS,   INTENT_FLAGS,
        INTENT_EXPUNGE, INTENT_COPY,    INTENT_COPY,      INTENT_MOVE,    INTENT_CREATE,
        INTENT_RENAME,  INTENT_DELETE,  INTENT_SUBSCRIBE, INTENT_UNDELETE};

    return kinds[world_draw(w, ARRAY_LEN(kinds))];
}

static void draw_intent(struct world *w, size_t at)
{
    struct intent *it = &w->intents[at];
    struct uidset uids = it->uids;
    const struct ref_box *box =
        w->ref->n ? &w->ref->boxes[world_draw(w, (uint32_t)w->ref->n)] : NULL;

    world_intent_done(it);
    *it = (struct intent){.kind = draw_kind(w), .uids = uids, .mailbox = box ? box->id : 1};
    it->name = slice_str(ref_names[world_draw(w, REF_NAMES)]);
    if (world_draw(w, 2) == 0 && it->kind != INTENT_CREATE && it->kind != INTENT_RENAME)
        it->name = S("Inbox");
    draw_uids(w, box, &it->uids);
    draw_flags(w, at, &it->flags);
    it->how = (enum flags_how)world_draw(w, 3);
    it->has_since = world_draw(w, 3) == 0;
    it->since = w->ref->seq - MIN(w->ref->seq, world_draw(w, 12));
    it->only_deleted = world_draw(w, 2);
    it->on = world_draw(w, 2);
    it->date = world_draw(w, 2) ? 1000000000 + world_draw(w, 600000000) : 0;
    it->else_inbox = world_draw(w, 2);
    put_be64(it->delivery + 8, world_draw(w, 40));
    if (w->ref->n_gone)
        it->message = w->ref->gone[world_draw(w, (uint32_t)w->ref->n_gone)].a;
    w->next_message += 1 + world_draw(w, 1u << 20);
    it->all_there = it->kind == INTENT_EXPUNGE && w->next_message % 8 == 0;
    w->items[at] = (struct build_item){it, (uint64_t)w->t_ms << 16 | (w->next_message & 0xffff),
                                       1 + world_draw(w, 5000)};
}

/* One group of intents, all or nothing. */
static void reference_group(struct world *w, size_t from, size_t n, struct intent *expect)
{
    struct ref *before = ref_copy(w->ref);
    int result = 0;

    for (size_t i = from; i < from + n && !result; i++) {
        ref_intent(w->ref, &w->items[i], &expect[i]);
        result = expect[i].result;
    }
    if (!result) {
        ref_free(before);
        return;
    }
    ref_free(w->ref);
    w->ref = before;
    for (size_t i = from; i < from + n; i++)
        expect[i].result = result;
}

static void reference_all(struct world *w, struct intent *expect)
{
    for (size_t i = 0, n; i < w->n; i += n) {
        for (n = 1; i + n < w->n && w->intents[i + n - 1].in_one_record_with_next;)
            n++;
        reference_group(w, i, n, expect);
    }
}

void world_commit(struct world *w)
{
    struct intent expect[WORLD_BATCH] = {0};
    struct ref *before = ref_copy(w->ref);
    struct error err = {0};
    struct built built;

    for (size_t i = 0; i < w->n; i++)
        w->items[i].intent = &w->intents[i];
    cr_assert_eq(build_record(w->st, w->items, w->n, w->t_ms, txid, &limits, &built, &err), 0, "%s",
                 err.text);
    cr_assert_eq(built.taken, w->n);
    ref_begin(w->ref, w->t_ms);
    reference_all(w, expect);
    for (size_t i = 0; i < w->n; i++) {
        ref_check_results(&expect[i], &w->intents[i]);
        world_intent_done(&expect[i]);
    }
    w->has_record = ref_end(w->ref);
    cr_assert_eq(w->has_record, built.bytes.n != 0);
    ref_free(w->has_record ? before : w->ref);
    if (w->has_record) {
        cr_assert_eq(built.rec.n_ops, w->ref->ops);
        state_unref(w->st);
        w->st = TAKE(built.st);
        buf_reset(&w->record, SIZE_MAX);
        buf_add_slice(&w->record, buf_slice(&built.bytes));
    } else {
        w->ref = before;
    }
    built_done(&built);
}

void world_step(struct world *w)
{
    w->n = 1 + world_draw(w, WORLD_BATCH);
    /* mostly forward; sometimes a writer whose clock is behind; seldom, days pass */
    w->t_ms += (int64_t)world_draw(w, 4000000) - 400000;
    if (world_draw(w, 150) == 0)
        w->t_ms += DELIVERY_WINDOW_MS / 2;
    for (size_t i = 0; i < w->n; i++) {
        draw_intent(w, i);
        w->intents[i].in_one_record_with_next = world_draw(w, 5) == 0;
    }
    world_commit(w);
}

void world_fold(struct world *w, struct state **st)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct error err = {0};
    struct record rec;

    cr_assert_eq(record_decode(buf_slice(&w->record), (*st)->seq + 1, &arena, &rec, &err), 0, "%s",
                 err.text);
    cr_assert_eq(state_fold(*st, &rec, st, &err), 0, "%s", err.text);
}

void check_same_dump(const struct state *a, const struct state *b, const char *what)
{
    CLEANUP(buf_done) struct buf x = buf_make(BUF_MAX_DEFAULT), y = buf_make(BUF_MAX_DEFAULT);

    state_dump(a, &x);
    state_dump(b, &y);
    cr_assert(slice_eq(buf_slice(&x), buf_slice(&y)), "%s\n%s\n---\n%s", what, buf_cstr(&x),
              buf_cstr(&y));
}
