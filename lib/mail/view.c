/* SPDX-License-Identifier: MPL-2.0 */
/* The messages in view are: those of `now` below `bound`, and the ghosts (gone from `now`, not yet
 * told). Both are in uid order, and no uid is in both; a sequence number is the place in the merge
 * of the two. Ghosts come in ranges with the number of ghosts before each, so that a place is found
 * by binary search in either.
 *
 * Everything that is to be told is derived from this: EXPUNGE: ghosts; EXISTS: messages of `now`
 * from `bound` on; FETCH: `dirty`. */
#include "lib/mail/view.h"

#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/base/plant.h"
#include "lib/mail/state_impl.h"

/* Own changes without an answer, until the next update. */
struct silence {
    struct uidset uids;
    enum flags_how how;
    struct flags flags; /* owned */
    struct arena arena;
};

/* Ghosts of one update, and the last version that had them. */
struct burial {
    struct uidset uids;
    struct mailbox *version;
};

struct view {
    struct mailbox *now;
    uint32_t bound;      /* uids from here on are not announced */
    struct uidset dirty; /* flags to be told; in now, below bound */
    struct uidset ghosts;
    uint32_t *ghosts_before; /* number of ghosts before each range; ghosts.n + 1 values */
    uint64_t told_modseq;    /* everything up to here has been told */
    VEC(struct silence) silent;
    VEC(struct burial) burials;
};

/* --- life ------------------------------------------------------------------------------------ */

static void count_ghosts(struct view *v)
{
    uint32_t n = 0;

    v->ghosts_before = mem_realloc(v->ghosts_before, v->ghosts.n + 1, sizeof *v->ghosts_before);
    for (size_t i = 0; i < v->ghosts.n; i++) {
        v->ghosts_before[i] = n;
        n += v->ghosts.items[i].last - v->ghosts.items[i].first + 1;
    }
    v->ghosts_before[v->ghosts.n] = n;
}

struct view *view_open(struct mailbox *box)
{
    struct view *v = NEW(struct view);

    v->now = mailbox_ref(box);
    v->bound = box->sum.uidnext;
    v->told_modseq = box->sum.modseq;
    count_ghosts(v);
    return v;
}

static void forget_silence(struct view *v)
{
    for (size_t i = 0; i < v->silent.n; i++) {
        uidset_done(&v->silent.items[i].uids);
        arena_done(&v->silent.items[i].arena);
    }
    v->silent.n = 0;
}

static void forget_ghosts(struct view *v)
{
    for (size_t i = 0; i < v->burials.n; i++) {
        uidset_done(&v->burials.items[i].uids);
        mailbox_unref(v->burials.items[i].version);
    }
    v->burials.n = 0;
    uidset_clear(&v->ghosts);
    count_ghosts(v);
}

void view_free(struct view *v)
{
    if (!v)
        return;
    forget_silence(v);
    forget_ghosts(v);
    VEC_DONE(&v->silent);
    VEC_DONE(&v->burials);
    uidset_done(&v->dirty);
    uidset_done(&v->ghosts);
    free(v->ghosts_before);
    mailbox_unref(v->now);
    free(v);
}

const struct mailbox *view_mailbox(const struct view *v)
{
    return v->now;
}

/* --- places ---------------------------------------------------------------------------------- */

/* Ghosts with a uid below. */
static uint32_t ghosts_below(const struct view *v, uint32_t uid)
{
    size_t at = uidset_search(&v->ghosts, uid);
    uint32_t n = v->ghosts_before[at];

    if (at < v->ghosts.n && v->ghosts.items[at].first < uid)
        n += uid - v->ghosts.items[at].first;
    return n;
}

/* Messages of `now` that are in view. All of them, mostly; else the end of the mailbox is looked
 * at. */
static uint32_t living(const struct view *v)
{
    return v->bound >= v->now->sum.uidnext ? v->now->sum.exists : mailbox_index(v->now, v->bound);
}

uint32_t view_count(const struct view *v)
{
    return living(v) + v->ghosts_before[v->ghosts.n];
}

uint32_t view_bound(const struct view *v)
{
    return v->bound;
}

/* Number of messages in view with a uid below. */
static uint32_t place(const struct view *v, uint32_t uid)
{
    return mailbox_index(v->now, MIN(uid, v->bound)) + ghosts_below(v, uid);
}

uint32_t view_uid(const struct view *v, uint32_t seq)
{
    size_t low = 0, high = v->ghosts.n;
    uint32_t at = seq - 1, skip;

    if (!seq || seq > view_count(v))
        return 0;
    /* the last range of ghosts that begins at or before this place is low - 1 */
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (mailbox_index(v->now, v->ghosts.items[mid].first) + v->ghosts_before[mid] <= at)
            low = mid + 1;
        else
            high = mid;
    }
    if (low) {
        const struct uid_range *r = &v->ghosts.items[low - 1];

        skip = at - (mailbox_index(v->now, r->first) + v->ghosts_before[low - 1]);
        if (skip <= r->last - r->first)
            return r->first + skip;
    }
    return mailbox_uid_at(v->now, at - v->ghosts_before[low]);
}

uint32_t view_seq(const struct view *v, uint32_t uid)
{
    struct message m;

    if (!uid)
        return 0;
    if (!uidset_has(&v->ghosts, uid) && (uid >= v->bound || !mailbox_find(v->now, uid, &m)))
        return 0;
    return place(v, uid) + 1;
}

static bool ghost_message(const struct view *v, uint32_t uid, struct message *ret)
{
    for (size_t i = 0; i < v->burials.n; i++)
        if (uidset_has(&v->burials.items[i].uids, uid))
            return mailbox_find(v->burials.items[i].version, uid, ret);
    return false;
}

bool view_message(const struct view *v, uint32_t uid, struct message *ret, bool *ret_gone)
{
    bool gone = uidset_has(&v->ghosts, uid);

    if (ret_gone)
        *ret_gone = gone;
    if (gone)
        return ghost_message(v, uid, ret);
    return uid && uid < v->bound && mailbox_find(v->now, uid, ret);
}

/* --- taking in a newer version --------------------------------------------------------------- */

struct update {
    struct view *view;
    struct mailbox *old;
    struct uidset gone;
};

static void note_gone(void *ctx, uint32_t uid)
{
    struct update *u = ctx;

    if (uid < u->view->bound && !(PLANTED(vanished_forgotten) && uid % 8 == 0))
        uidset_add(&u->gone, uid);
}

static const struct flagset *after(struct flagsets *t, const struct silence *s,
                                   const struct flagset *old)
{
    struct flags all = {
        .system = FLAGS_ALL, .keywords = old->keywords, .n_keywords = old->n_keywords};

    if (s->how == FLAGS_ADD)
        return flagsets_change(t, old, &s->flags, NULL);
    if (s->how == FLAGS_REMOVE)
        return flagsets_change(t, old, NULL, &s->flags);
    return flagsets_change(t, flagsets_change(t, old, NULL, &all), &s->flags, NULL);
}

static bool same_flags(const struct flagset *a, const struct flagset *b)
{
    if (a == b)
        return true;
    if (a->system != b->system || a->n_keywords != b->n_keywords)
        return false;
    for (size_t i = 0; i < a->n_keywords; i++)
        if (keyword_cmp(a->keywords[i], b->keywords[i]))
            return false;
    return true;
}

/* Does what the client did itself explain the flags as they are now? */
static bool is_expected(const struct update *u, const struct message *m)
{
    const struct flagset *flags;
    struct message old;
    bool any = false;

    if (!u->view->silent.n || !mailbox_find(u->old, m->uid, &old))
        return false;
    flags = old.flags;
    for (size_t i = 0; i < u->view->silent.n; i++)
        if (uidset_has(&u->view->silent.items[i].uids, m->uid)) {
            flags = after(u->view->now->flagsets, &u->view->silent.items[i], flags);
            any = true;
        }
    return any && same_flags(flags, m->flags);
}

static void note_changed(void *ctx, const struct message *m)
{
    struct update *u = ctx;

    if (m->uid < u->view->bound && !is_expected(u, m) &&
        !(PLANTED(flags_untold) && m->uid % 8 == 0))
        uidset_add(&u->view->dirty, m->uid);
}

/* A client that gives no EXPUNGE a chance must not keep all versions there ever were. */
static void forget_oldest(struct view *v)
{
    uidset_done(&v->burials.items[0].uids);
    mailbox_unref(v->burials.items[0].version);
    v->burials.n--;
    memmove(v->burials.items, v->burials.items + 1, v->burials.n * sizeof *v->burials.items);
}

static void bury(struct view *v, struct uidset *gone, struct mailbox *version)
{
    if (v->burials.n == VIEW_BURIALS_MAX)
        forget_oldest(v);
    uidset_add_all(&v->ghosts, gone);
    count_ghosts(v);
    for (size_t i = 0; v->dirty.n && i < gone->n; i++)
        for (uint64_t uid = gone->items[i].first; uid <= gone->items[i].last; uid++)
            uidset_remove(&v->dirty, (uint32_t)uid);
    *VEC_PUSH(&v->burials) = (struct burial){*gone, mailbox_ref(version)};
}

static bool is_all_told(const struct view *v)
{
    return !v->ghosts.n && !v->dirty.n && living(v) == v->now->sum.exists;
}

static void note_told(struct view *v)
{
    if (!is_all_told(v))
        return;
    v->bound = MAX(v->bound, v->now->sum.uidnext);
    v->told_modseq = MAX(v->told_modseq, v->now->sum.modseq);
}

void view_update(struct view *v, struct mailbox *newest)
{
    static const struct mailbox_diff diff = {.gone = note_gone, .changed = note_changed};
    struct update u = {.view = v, .old = v->now};

    if (newest->sum.modseq < v->now->sum.modseq)
        return; /* an older one than is known here */
    v->now = mailbox_ref(newest);
    mailbox_compare(u.old, newest, &diff, &u);
    if (u.gone.n)
        bury(v, &u.gone, u.old);
    forget_silence(v);
    mailbox_unref(u.old);
    note_told(v);
}

void view_silent(struct view *v, const struct uidset *uids, enum flags_how how,
                 const struct flags *flags)
{
    struct silence *s = VEC_PUSH(&v->silent);
    size_t n = flags->n_keywords;

    *s = (struct silence){.uids = uidset_copy(uids), .how = how, .flags = *flags};
    s->flags.keywords = arena_array(&s->arena, n, sizeof *s->flags.keywords);
    for (size_t i = 0; i < n; i++)
        s->flags.keywords[i] = arena_slice(&s->arena, flags->keywords[i]);
    s->flags.n_keywords = keywords_sort(s->flags.keywords, n);
}

void view_told(struct view *v, uint32_t uid)
{
    if (!v->dirty.n)
        return;
    uidset_remove(&v->dirty, uid);
    note_told(v);
}

void view_tell(struct view *v, const struct uidset *uids)
{
    struct message m;

    for (size_t i = 0; i < uids->n; i++) {
        const struct uid_range *r = &uids->items[i];

        for (struct mailbox_iter at = mailbox_iter(v->now, r->first);
             mailbox_next_to(&at, MIN(r->last, v->bound - 1), &m);)
            uidset_add(&v->dirty, m.uid);
    }
}

const struct uidset *view_gone(const struct view *v)
{
    return &v->ghosts;
}

uint64_t view_modseq(const struct view *v)
{
    return v->told_modseq;
}

/* --- saying ---------------------------------------------------------------------------------- */

bool view_pending(const struct view *v, bool allow_expunge)
{
    return (allow_expunge && v->ghosts.n) || v->dirty.n || living(v) != v->now->sum.exists;
}

/* The highest first, so that the numbers of those still to come do not change. */
static bool emit_expunges(struct view *v, size_t *left, const struct view_events *events, void *ctx)
{
    while (v->ghosts.n && *left) {
        struct uid_range *last = &v->ghosts.items[v->ghosts.n - 1];
        uint32_t uid = last->last, seq = place(v, uid) + 1;

        if (last->first == last->last)
            v->ghosts.n--;
        else
            last->last--;
        v->ghosts_before[v->ghosts.n] =
            v->ghosts.n
                ? v->ghosts_before[v->ghosts.n - 1] + (v->ghosts.items[v->ghosts.n - 1].last -
                                                       v->ghosts.items[v->ghosts.n - 1].first + 1)
                : 0;
        --*left;
        events->expunge(ctx, seq, uid);
    }
    return v->ghosts.n == 0;
}

static bool emit_gone(struct view *v, size_t *left, const struct view_events *events, void *ctx)
{
    if (!v->ghosts.n)
        return true;
    if (events->vanished) {
        CLEANUP(uidset_done) struct uidset gone = uidset_copy(&v->ghosts);

        if (!*left)
            return false;
        --*left;
        forget_ghosts(v);
        events->vanished(ctx, &gone);
        return true;
    }
    if (!emit_expunges(v, left, events, ctx))
        return false;
    forget_ghosts(v);
    return true;
}

static bool emit_exists(struct view *v, size_t *left, const struct view_events *events, void *ctx)
{
    if (living(v) == v->now->sum.exists)
        return true;
    if (!*left)
        return false;
    --*left;
    v->bound = v->now->sum.uidnext;
    events->exists(ctx, view_count(v));
    return true;
}

static void keep_from(struct uidset *to, const struct uidset *from, uint32_t uid)
{
    for (size_t i = uidset_search(from, uid); i < from->n; i++)
        uidset_add_range(to, MAX(from->items[i].first, uid), from->items[i].last);
}

static bool emit_flags(struct view *v, size_t *left, const struct view_events *events, void *ctx)
{
    CLEANUP(uidset_done) struct uidset dirty = {0};
    struct message m;
    uint32_t seq;

    if (!v->dirty.n)
        return true;
    if (!*left)
        return false;
    dirty = v->dirty;
    v->dirty = (struct uidset){0};
    for (struct view_iter i = view_each(v, &dirty); view_next(&i, &seq, &m, NULL);) {
        if (!*left) {
            keep_from(&v->dirty, &dirty, m.uid);
            break;
        }
        --*left;
        events->flags(ctx, seq, &m);
    }
    return v->dirty.n == 0;
}

bool view_emit_some(struct view *v, unsigned what, size_t max, const struct view_events *events,
                    void *ctx)
{
    size_t left = max ? max : SIZE_MAX;
    bool done = !(what & VIEW_EXPUNGE) || emit_gone(v, &left, events, ctx);

    done = done && (!(what & VIEW_EXISTS) || emit_exists(v, &left, events, ctx));
    done = done && (!(what & VIEW_FLAGS) || emit_flags(v, &left, events, ctx));
    note_told(v);
    return !done;
}

bool view_emit(struct view *v, bool allow_expunge, size_t max, const struct view_events *events,
               void *ctx)
{
    return view_emit_some(v, allow_expunge ? VIEW_ALL : VIEW_ALL & ~VIEW_EXPUNGE, max, events, ctx);
}

/* --- walking --------------------------------------------------------------------------------- */

struct view_iter view_each(const struct view *v, const struct uidset *uids)
{
    return (struct view_iter){.view = v, .uids = uids, .at = {.box = v->now}};
}

/* The next message of `now` within [from, last], read ahead. */
static void look_ahead(struct view_iter *i, uint32_t last)
{
    if (i->ahead.uid >= i->from && i->ahead.uid)
        return;
    i->ahead.uid = 0;
    last = MIN(last, i->view->bound - 1);
    if (last >= i->from && mailbox_next_to(&i->at, last, &i->ahead))
        return;
    i->ahead.uid = 0;
}

static void enter_range(struct view_iter *i, const struct uid_range *r)
{
    i->from = r->first;
    i->at = mailbox_iter(i->view->now, r->first);
    i->index = mailbox_index(i->view->now, r->first);
    i->ahead.uid = 0;
    i->started = true;
}

/* The first ghost at or above `from`; 0: none. */
static uint32_t next_ghost(struct view_iter *i)
{
    const struct uidset *g = &i->view->ghosts;

    while (i->ghost < g->n && g->items[i->ghost].last < i->from)
        i->ghost++;
    return i->ghost < g->n ? MAX(g->items[i->ghost].first, i->from) : 0;
}

static bool next_in_range(struct view_iter *i, const struct uid_range *r, uint32_t *ret_seq,
                          struct message *ret, bool *ret_gone)
{
    uint32_t ghost = next_ghost(i);
    bool gone;

    if (ghost > r->last)
        ghost = 0;
    look_ahead(i, r->last);
    if (!ghost && !i->ahead.uid)
        return false;
    gone = ghost && (!i->ahead.uid || ghost < i->ahead.uid);
    if (gone) {
        if (!ghost_message(i->view, ghost, ret))
            *ret = (struct message){.uid = ghost, .flags = flagsets_at(i->view->now->flagsets, 0)};
        *ret_seq = i->index + ghosts_below(i->view, ghost) + 1;
    } else {
        *ret = i->ahead;
        *ret_seq = i->index++ + ghosts_below(i->view, ret->uid) + 1;
    }
    if (ret_gone)
        *ret_gone = gone;
    i->from = ret->uid + 1;
    return true;
}

bool view_next(struct view_iter *i, uint32_t *ret_seq, struct message *ret, bool *ret_gone)
{
    for (; i->range < i->uids->n; i->range++, i->started = false) {
        const struct uid_range *r = &i->uids->items[i->range];

        if (!i->started)
            enter_range(i, r);
        if (i->from && i->from <= r->last && next_in_range(i, r, ret_seq, ret, ret_gone))
            return true;
    }
    return false;
}

/* --- sequence sets --------------------------------------------------------------------------- */

static bool parse_number(struct slice *text, uint32_t *ret)
{
    size_t n = 0;
    uint64_t v;

    if (text->n && text->p[0] == '*') {
        *ret = 0;
        *text = slice_skip(*text, 1);
        return true;
    }
    while (n < text->n && byte_is_digit(text->p[n]))
        n++;
    /* nz-number: not zero, no leading zero */
    if (!n || text->p[0] == '0' || !slice_to_u64(slice_sub(*text, 0, n), UINT32_MAX, &v))
        return false;
    *ret = (uint32_t)v;
    *text = slice_skip(*text, n);
    return true;
}

int seqset_parse(struct slice text, struct seq_range *ret, size_t max, size_t *ret_n)
{
    size_t n = 0;

    for (bool more = true; more; n++) {
        struct seq_range r;

        if (!parse_number(&text, &r.first))
            return -ERR_INVALID;
        r.last = r.first;
        if (text.n && text.p[0] == ':') {
            text = slice_skip(text, 1);
            if (!parse_number(&text, &r.last))
                return -ERR_INVALID;
        }
        if (n == max)
            return -ERR_LIMIT;
        ret[n] = r;
        more = text.n && text.p[0] == ',';
        text = slice_skip(text, more);
    }
    if (text.n)
        return -ERR_INVALID;
    *ret_n = n;
    return 0;
}

static uint32_t last_uid(const struct view *v)
{
    uint32_t n = view_count(v);

    return n ? view_uid(v, n) : 0;
}

/* uids: RFC 3501 section 6.4.8: "a non-existent unique identifier is ignored"; "*" is the highest,
 * and so "n:*" always holds the last message. */
static void resolve_uids(const struct view *v, struct uidset *out, struct seq_range r,
                         uint32_t last)
{
    r.first = r.first ? r.first : last;
    r.last = r.last ? r.last : last;
    if (r.first > r.last) {
        uint32_t swap = r.first;

        r.first = r.last;
        r.last = swap;
    }
    uidset_add_range(out, r.first,
                     MIN(r.last, v->bound - 1)); /* I8: nothing that is not announced */
}

static int resolve_numbers(const struct view *v, struct uidset *out, struct seq_range r,
                           uint32_t count, struct error *err)
{
    uint32_t first = r.first ? r.first : count, last = r.last ? r.last : count;

    if (!count || first > count || last > count)
        return error_set(err, ERR_INVALID, "there is no message with that number");
    uidset_add_range(out, view_uid(v, MIN(first, last)), view_uid(v, MAX(first, last)));
    return 0;
}

int view_resolve(const struct view *v, const struct seq_range *ranges, size_t n, bool by_uid,
                 struct uidset *ret, struct error *err)
{
    struct uidset out = {0};
    uint32_t count = view_count(v), last = by_uid ? last_uid(v) : 0;

    for (size_t i = 0; i < n; i++) {
        int r = 0;

        if (by_uid)
            resolve_uids(v, &out, ranges[i], last);
        else
            r = resolve_numbers(v, &out, ranges[i], count, err);
        if (r < 0) {
            uidset_done(&out);
            return r;
        }
    }
    *ret = out;
    return 0;
}
