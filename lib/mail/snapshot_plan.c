/* SPDX-License-Identifier: MPL-2.0 */
/* What of a state has to be written. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/mail/snapshot_format_impl.h"

#define SMALL (SEGMENT_MESSAGES / 4)

/* One of two neighbours has to be written anyway, one is small, and both fit into one segment.
 * Joining more eagerly would write large segments again and again. */
static bool worth_joining(const struct segment *a, const struct segment *b)
{
    bool write =
        !atomic_load(&((struct segment *)a)->stamp) || !atomic_load(&((struct segment *)b)->stamp);

    return write && MIN(a->count, b->count) <= SMALL && a->count + b->count <= SEGMENT_MESSAGES;
}

void state_compact_needs(const struct state *st, need_fn *need, void *ctx)
{
    for (size_t i = 0; i < st->n_mailboxes; i++) {
        const struct mailbox *box = st->mailboxes[i];

        for (size_t j = 1; j < box->n_segments; j++) {
            const struct segment *a = box->segments[j - 1], *b = box->segments[j];

            if (!worth_joining(a, b))
                continue;
            if (!segment_rows(a))
                need(ctx, box->id, a->first, a->last);
            if (!segment_rows(b))
                need(ctx, box->id, b->first, b->last);
        }
    }
}

static bool can_join(const struct mailbox *box, size_t at)
{
    const struct segment *a = box->segments[at - 1], *b = box->segments[at];

    return segment_rows(a) && segment_rows(b) && worth_joining(a, b);
}

static void join_all(struct mailbox *box)
{
    for (size_t i = 1; i < box->n_segments;) {
        size_t before = box->n_segments;

        if (can_join(box, i)) {
            struct segment *b = mailbox_own_segment(box, i);

            segment_join(mailbox_own_segment(box, i - 1), b);
            mailbox_refresh(box);
        }
        if (box->n_segments == before)
            i++;
    }
}

struct state *state_compact(struct state *st)
{
    struct state *copy = NULL;

    for (size_t i = 0; i < st->n_mailboxes; i++) {
        const struct mailbox *box = st->mailboxes[i];
        bool any = false;

        for (size_t j = 1; j < box->n_segments && !any; j++)
            any = can_join(box, j);
        if (!any)
            continue;
        if (!copy)
            copy = state_copy(st);
        join_all(state_own_mailbox(copy, box->id));
    }
    return copy ? copy : state_ref(st);
}

int snapshot_plan(struct state *st, const struct manifest *current, uint32_t random,
                  struct snapshot_plan *ret, struct segment_ref *ret_missing, struct error *err)
{
    VEC(struct snapshot_item) items = {0};

    for (size_t i = 0; i < st->n_mailboxes; i++)
        for (size_t j = 0; j < st->mailboxes[i]->n_segments; j++) {
            struct segment *s = st->mailboxes[i]->segments[j];
            struct segment_ref ref = {st->mailboxes[i]->id, s->first, s->last, s->count,
                                      atomic_load(&s->stamp)};
            bool write = !ref.stamp || !current || !manifest_names(current, &ref);

            if (write && !segment_rows(s)) {
                *ret_missing = ref;
                VEC_DONE(&items);
                return error_set(err, ERR_UNAVAILABLE, "a segment to be saved is not loaded");
            }
            if (write)
                ref.stamp = SEGMENT_STAMP(st->seq, random);
            *VEC_PUSH(&items) = (struct snapshot_item){ref, s, write};
        }
    *ret = (struct snapshot_plan){state_ref(st), items.items, items.n};
    return 0;
}

void snapshot_plan_stored(struct snapshot_plan *plan)
{
    /* The plan's state holds the segments, so that nobody has changed them since. */
    for (size_t i = 0; i < plan->n; i++)
        if (plan->items[i].write)
            atomic_store(&plan->items[i].segment->stamp, plan->items[i].ref.stamp);
}

void snapshot_plan_done(struct snapshot_plan *plan)
{
    state_unref(TAKE(plan->st));
    free(plan->items);
    plan->items = NULL;
    plan->n = 0;
}
