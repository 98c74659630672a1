/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/queue/admin.h"

#include <strings.h>

#include "lib/base/mem.h"
#include "lib/store/keys.h"

#define PAGE 64 /* entries that are read together */

/* --- listing --------------------------------------------------------------------------------- */

static bool is_to(const struct queue_entry *e, const char *recipient)
{
    for (size_t i = 0; i < e->n; i++)
        if (strcasecmp(e->targets[i].to.address, recipient) == 0)
            return true;
    return false;
}

static bool is_set(const char *s)
{
    return s && *s;
}

static bool fits(const struct queue_filter *f, const struct queue_found *found)
{
    const struct queue_entry *e = &found->entry;
    const struct queue_envelope *env = &found->stored.envelope;

    if (!found->counts || e->done)
        return false;
    return (f->number < 0 || e->number == f->number) &&
           (!is_set(f->destination) || strcasecmp(e->destination, f->destination) == 0) &&
           (!is_set(f->sender) || strcasecmp(env->sender, f->sender) == 0) &&
           (!is_set(f->recipient) || is_to(e, f->recipient)) &&
           (!f->account || env->account == f->account) &&
           (!f->older_ms || e->read_ms - found->queued_ms >= f->older_ms) && (!f->held || e->held);
}

/* What is done has a short head, and is most of what there is. */
static bool is_done(const struct store_doc *doc)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct queue_entry e;

    return queue_entry_decode(0, 0, doc->head, &arena, &e, NULL) == 0 && e.done;
}

/* 1: go on; 0: enough. */
static int tell_page(struct queue *q, const struct queue_filter *f, const struct store_docs *docs,
                     bool (*tell)(void *ctx, struct queue_found *found), void *ctx,
                     struct error *err)
{
    struct queue_found found[PAGE];
    uint64_t ids[PAGE];
    uint16_t numbers[PAGE];
    size_t n = 0;
    bool more = true;
    int r;

    for (size_t i = 0; i < docs->n; i++) {
        if (is_done(&docs->items[i]))
            continue;
        ids[n] = get_be64(docs->items[i].key.p);
        numbers[n++] = get_be16(docs->items[i].key.p + 8);
    }
    if (n == 0)
        return 1;
    r = queue_find(q, ids, numbers, n, found, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        if (more && fits(f, &found[i]))
            more = tell(ctx, &found[i]);
        queue_found_done(&found[i]);
    }
    return more;
}

int queue_list(struct queue *q, const struct queue_filter *f,
               bool (*tell)(void *ctx, struct queue_found *found), void *ctx, struct error *err)
{
    struct key10 from = key_queue_entry(f->id, 0),
                 to = key_queue_entry(f->id ? f->id : UINT64_MAX, UINT16_MAX);
    int r = 1;

    while (r == 1) {
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        r = store_range(q->store,
                        &(struct store_query){.table = STORE_QUEUEENTRIES,
                                              .from = KEY_SLICE(from),
                                              .to = KEY_SLICE(to),
                                              .limit = PAGE,
                                              .parts = STORE_HEAD,
                                              .level = STORE_MAJORITY},
                        &docs, err);
        if (r == 0)
            r = tell_page(q, f, &docs, tell, ctx, err);
        if (r < 0 || !docs.more || docs.n == 0)
            break;
        from = key_queue_entry(get_be64(docs.items[docs.n - 1].key.p),
                               get_be16(docs.items[docs.n - 1].key.p + 8));
        if (get_be16(from.b + 8) == UINT16_MAX)
            put_be64(from.b, get_be64(from.b) + 1);
        put_be16(from.b + 8, (uint16_t)(get_be16(from.b + 8) + 1));
    }
    return MIN(r, 0);
}

/* --- acting ---------------------------------------------------------------------------------- */

struct act {
    enum queue_action action;
    int64_t now;
};

static int edit_act(void *ctx, struct queue_entry *e)
{
    struct act *act = ctx;
    bool leased = e->lease_ms > e->read_ms;

    if (e->done)
        return 0;
    switch (act->action) {
    case QUEUE_RETRY:
        if (leased || e->held)
            return 0;
        e->due_ms = act->now;
        queue_entry_move(e, act->now);
        return 1;
    case QUEUE_HOLD:
        if (e->held)
            return 0;
        e->held = true;
        queue_entry_move(e, 0);
        return 1;
    case QUEUE_RELEASE:
        if (!e->held)
            return 0;
        e->held = false;
        e->due_ms = act->now;
        queue_entry_move(e, act->now);
        return 1;
    case QUEUE_DELETE:
        e->done = true;
        return 1;
    }
    return -ERR_INVALID;
}

static int delete_pieces(struct queue *q, const struct queue_found *found, struct error *err)
{
    int r = queue_all_done(q, found->entry.id, &found->stored, err);

    return r == 1 ? queue_pieces_delete(q, found->entry.id, found->stored.size, err) : MIN(r, 0);
}

int queue_act(struct queue *q, struct queue_found *found, enum queue_action action,
              struct error *err)
{
    struct queue_entry *e = &found->entry;
    struct key22 old = key_queue_due(e->row_ms, e->id, e->number, e->turn);
    struct act act = {action, queue_now(q)};
    int r = queue_change(q, e, &found->arena, edit_act, &act, err);

    if (r <= 0)
        return r;
    r = queue_row_renew(q, e, &found->stored, 0, KEY_SLICE(old), err);
    if (r == 0 && e->done)
        r = delete_pieces(q, found, err);
    return r < 0 ? r : 1;
}
