/* SPDX-License-Identifier: MPL-2.0 */
/* Which segments a view needs, and loading them. */
#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/mail/snapshot.h"
#include "lib/mail/state_impl.h"
#include "lib/mail/view.h"

static int load(struct account *a, const struct mailbox *box, const struct needs *needs,
                struct error *err)
{
    int r = 0;

    if (needs->n)
        r = snapshot_load_mailbox(a->mail, a->id, box, needs->ranges, needs->n, err);
    if (r == -ERR_CONFLICT) {
        account_drop(a); /* the next who refreshes opens it again */
        r = error_set(err, ERR_CONFLICT, "this version of the mailbox is no longer stored");
    }
    return r;
}

int view_load(struct view *v, struct account *account, const struct uidset *uids, struct error *err)
{
    const struct mailbox *box = view_mailbox(v);
    struct needs needs;
    int r;

    do {
        needs = (struct needs){.n = 0};
        mailbox_needs(box, uids, needs_note, &needs);
        r = load(account, box, &needs, err);
    } while (r == 0 && needs.more);
    return r;
}

/* The segment that has the message at this place; nothing where its uid is known without. */
static void need_place(const struct mailbox *box, uint32_t index, struct needs *needs)
{
    size_t low = 0, high = box->n_segments;

    if (index == 0 || index + 1 >= box->sum.exists)
        return;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;

        if (box->starts[mid] <= index)
            low = mid;
        else
            high = mid;
    }
    if (!segment_rows(box->segments[low]))
        needs_note(needs, box->id, box->segments[low]->first, box->segments[low]->last);
}

int view_load_set(struct view *v, struct account *account, const struct seq_range *ranges, size_t n,
                  bool by_uid, struct error *err)
{
    const struct mailbox *box = view_mailbox(v);

    /* with messages that are gone or not announced, places are other ones */
    if (view_pending(v, true))
        return view_load(v, account, NULL, err);
    for (size_t i = 0; i < n && !by_uid; i++) {
        struct needs needs = {.n = 0};
        int r;

        if (ranges[i].first)
            need_place(box, ranges[i].first - 1, &needs);
        if (ranges[i].last)
            need_place(box, ranges[i].last - 1, &needs);
        r = load(account, box, &needs, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Those of one of two versions. */
struct side_needs {
    const struct mailbox *version;
    struct needs needs;
};

static void note_side(void *ctx, const struct mailbox *version, uint32_t first, uint32_t last)
{
    struct side_needs *side = ctx;

    if (version == side->version)
        needs_note(&side->needs, version->id, first, last);
}

static int load_compared(struct account *account, const struct mailbox *old,
                         const struct mailbox *now, const struct mailbox *side, struct error *err)
{
    struct side_needs needs;
    int r;

    do {
        needs = (struct side_needs){.version = side};
        mailbox_compare_needs(old, now, note_side, &needs);
        r = load(account, side, &needs.needs, err);
    } while (r == 0 && needs.needs.more);
    return r;
}

static bool was_loaded(const struct mailbox *old, const struct segment *s)
{
    for (size_t i = mailbox_segment_at(old, s->first); i < old->n_segments; i++) {
        if (old->segments[i]->first > s->last)
            break;
        if (segment_rows(old->segments[i]))
            return true;
    }
    return false;
}

static int load_kept(struct account *account, const struct mailbox *old, const struct mailbox *now,
                     struct error *err)
{
    struct needs needs;
    int r;

    do {
        needs = (struct needs){.n = 0};
        for (size_t i = 0; i < now->n_segments; i++) {
            const struct segment *s = now->segments[i];

            if (!segment_rows(s) && was_loaded(old, s))
                needs_note(&needs, now->id, s->first, s->last);
        }
        r = load(account, now, &needs, err);
    } while (r == 0 && needs.more);
    return r;
}

int view_load_update(struct view *v, struct account *account, const struct mailbox *newest,
                     struct error *err)
{
    const struct mailbox *old = view_mailbox(v);
    int r;

    /* the same content, and no numbers to keep: what was loaded may go (account_make_room) */
    if (old->sum.modseq == newest->sum.modseq && !view_pending(v, true))
        return 0;
    r = load_compared(account, old, newest, old, err);
    if (r == 0)
        r = load_compared(account, old, newest, newest, err);
    return r == 0 ? load_kept(account, old, newest, err) : r;
}

int mailbox_load_summary(struct account *account, const struct mailbox *box, uint32_t *ret_unseen,
                         struct error *err)
{
    struct segment_summary sum;
    uint32_t unseen = 0;
    int r = 0;

    for (size_t i = 0; i < box->n_segments && r == 0; i++) {
        struct segment *s = box->segments[i];
        bool first = segment_summarize(box, s, &sum) ? !unseen && sum.unseen : true;
        struct message m;

        if (!first)
            continue;
        if (!segment_rows(s)) {
            struct needs needs = {.n = 0};

            needs_note(&needs, box->id, s->first, s->last);
            r = load(account, box, &needs, err);
        }
        if (r < 0 || !segment_summarize(box, s, &sum) || unseen || !sum.unseen)
            continue;
        for (struct mailbox_iter at = mailbox_iter(box, s->first);
             !unseen && mailbox_next_to(&at, s->last, &m);)
            unseen = m.flags->system & FLAG_SEEN ? 0 : m.uid;
    }
    *ret_unseen = unseen;
    return r;
}
