/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mail/state_impl.h"

#include <assert.h>

/* One version, walked. The first uid of a segment is known without its rows. */
struct side {
    const struct mailbox *box;
    size_t segment, chunk, at;
};

static const struct segment *segment_at(const struct side *s)
{
    return s->box->segments[s->segment];
}

static bool at_segment_start(const struct side *s)
{
    return s->chunk == 0 && s->at == 0;
}

static const struct chunk *chunk_at(const struct side *s)
{
    const struct rows *rows = segment_rows(segment_at(s));

    assert(rows); /* mailbox_compare_needs says which must be loaded */
    return rows->chunks[s->chunk];
}

static uint32_t uid_at(const struct side *s)
{
    return at_segment_start(s) ? segment_at(s)->first : chunk_at(s)->uid[s->at];
}

static bool is_done(const struct side *s)
{
    return s->segment == s->box->n_segments;
}

static void skip_segment(struct side *s)
{
    s->segment++;
    s->chunk = s->at = 0;
}

static void skip_chunk(struct side *s)
{
    s->at = 0;
    if (++s->chunk == segment_rows(segment_at(s))->n)
        skip_segment(s);
}

static void skip_message(struct side *s)
{
    if (++s->at == chunk_at(s)->n)
        skip_chunk(s);
}

/* Of the same content, loaded or not. */
static bool same_segment(const struct segment *a, const struct segment *b)
{
    uint64_t stamp = atomic_load(&((struct segment *)a)->stamp);

    return a == b ||
           (stamp && a->first == b->first && stamp == atomic_load(&((struct segment *)b)->stamp));
}

static bool skip_shared(struct side *old, struct side *now)
{
    if (at_segment_start(old) && at_segment_start(now) &&
        same_segment(segment_at(old), segment_at(now))) {
        skip_segment(old);
        skip_segment(now);
        return true;
    }
    if (old->at || now->at || uid_at(old) != uid_at(now) || chunk_at(old) != chunk_at(now))
        return false;
    skip_chunk(old);
    skip_chunk(now);
    return true;
}

static void tell(void (*f)(void *ctx, const struct message *now), const struct side *now, void *ctx)
{
    struct message m;

    if (!f)
        return;
    chunk_message(now->box, chunk_at(now), now->at, &m);
    f(ctx, &m);
}

static void compare_message(struct side *old, struct side *now, const struct mailbox_diff *diff,
                            void *ctx)
{
    uint32_t a = uid_at(old), b = uid_at(now);

    if (a < b) {
        if (diff->gone)
            diff->gone(ctx, a);
        skip_message(old);
        return;
    }
    if (a > b) {
        tell(diff->added, now, ctx);
        skip_message(now);
        return;
    }
    if (chunk_at(old)->modseq[old->at] != chunk_at(now)->modseq[now->at])
        tell(diff->changed, now, ctx);
    skip_message(old);
    skip_message(now);
}

/* Nothing happens to a message without the mailbox's modseq (RFC 7162 section 3.1.2.1), so that one
 * version may be another's with its segments stored anew, or unloaded. */
static bool same_messages(const struct mailbox *old, const struct mailbox *now)
{
    return old == now || (old->id == now->id && old->sum.modseq == now->sum.modseq);
}

void mailbox_compare(const struct mailbox *old, const struct mailbox *now,
                     const struct mailbox_diff *diff, void *ctx)
{
    struct side a = {old}, b = {now};

    if (same_messages(old, now))
        return;
    while (!is_done(&a) && !is_done(&b))
        if (!skip_shared(&a, &b))
            compare_message(&a, &b, diff, ctx);
    for (; diff->gone && !is_done(&a); skip_message(&a))
        diff->gone(ctx, uid_at(&a));
    for (; diff->added && !is_done(&b); skip_message(&b))
        tell(diff->added, &b, ctx);
}

static void needs_of(const struct mailbox *version, const struct mailbox *other,
                     void (*need)(void *ctx, const struct mailbox *version, uint32_t first,
                                  uint32_t last),
                     void *ctx)
{
    for (size_t i = 0; i < version->n_segments; i++) {
        const struct segment *s = version->segments[i];
        size_t at = mailbox_segment_at(other, s->first);

        if (segment_rows(s) || (at < other->n_segments && same_segment(s, other->segments[at])))
            continue;
        need(ctx, version, s->first, s->last);
    }
}

void mailbox_compare_needs(const struct mailbox *old, const struct mailbox *now,
                           void (*need)(void *ctx, const struct mailbox *version, uint32_t first,
                                        uint32_t last),
                           void *ctx)
{
    if (same_messages(old, now))
        return;
    needs_of(old, now, need, ctx);
    needs_of(now, old, need, ctx);
}
