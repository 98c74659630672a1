/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/unit/mail/reference.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <strings.h>

#include "lib/base/mem.h"

const char *const ref_words[REF_WORDS] = {"$Forwarded", "$Work", "later", "Zebra"};
const char *const ref_names[REF_NAMES] = {"INBOX", "a",     "a/b", "a/b/c",   "a/b/b",
                                          "d",     "a/d/e", "d/a", "INBOX/x", "f"};

struct ref *ref_new(void)
{
    return NEW(struct ref);
}

struct ref *ref_copy(const struct ref *r)
{
    struct ref *c = mem_dup(r, sizeof *r);

    c->boxes = mem_dup(r->boxes, r->n * sizeof *r->boxes);
    for (size_t i = 0; i < r->n; i++)
        c->boxes[i].m = mem_dup(r->boxes[i].m, r->boxes[i].n * sizeof *r->boxes[i].m);
    c->deliveries = mem_dup(r->deliveries, r->n_deliveries * sizeof *r->deliveries);
    c->gone = mem_dup(r->gone, r->n_gone * sizeof *r->gone);
    return c;
}

static void clear(struct ref *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->boxes[i].m);
    free(r->boxes);
    free(r->deliveries);
    free(r->gone);
}

void ref_free(struct ref *r)
{
    clear(r);
    free(r);
}

struct ref_box *ref_named(struct ref *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->boxes[i].name, name) == 0)
            return &r->boxes[i];
    return NULL;
}

static struct ref_box *by_id(struct ref *r, uint64_t id)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->boxes[i].id == id)
            return &r->boxes[i];
    return NULL;
}

static uint64_t used(const struct ref *r)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < r->n; i++)
        for (size_t j = 0; j < r->boxes[i].n; j++)
            bytes += r->boxes[i].m[j].size;
    return bytes;
}

static void add_event(struct ref_event **list, size_t *n, struct ref_event e)
{
    *list = mem_realloc(*list, *n + 1, sizeof e);
    (*list)[(*n)++] = e;
}

static void drop_events(struct ref_event *list, size_t *n, int64_t t_ms, size_t max)
{
    while (*n && (*n > max || list[0].t_ms <= t_ms))
        memmove(list, list + 1, --*n * sizeof *list);
}

static void put(struct ref *r, struct ref_box *box, struct ref_message m)
{
    m.modseq = r->seq;
    m.saved = r->t_ms / 1000;
    m.uid = box->uidnext++;
    box->m = mem_realloc(box->m, box->n + 1, sizeof m);
    box->m[box->n++] = m;
    box->modseq = r->seq;
}

static struct ref_message take(struct ref *r, struct ref_box *box, size_t at, bool gone)
{
    struct ref_message m = box->m[at];

    memmove(box->m + at, box->m + at + 1, (--box->n - at) * sizeof m);
    box->expunged = box->modseq = r->seq;
    if (gone)
        add_event(&r->gone, &r->n_gone,
                  (struct ref_event){m.id, (uint64_t)m.size << 32 | (uint32_t)m.date, r->t_ms});
    return m;
}

void ref_begin(struct ref *r, int64_t t_ms)
{
    r->seq++;
    r->t_ms = MAX(r->t_ms, t_ms);
    r->ops = 0;
}

bool ref_end(struct ref *r)
{
    drop_events(r->deliveries, &r->n_deliveries, r->t_ms - DELIVERY_WINDOW_MS, DELIVERIES_MAX);
    drop_events(r->gone, &r->n_gone, r->t_ms - UNDELETE_WINDOW_MS, GONE_MAX);
    return r->ops != 0;
}

static struct ref_box *create_one(struct ref *r, const char *name)
{
    struct ref_box box = {
        .id = MAILBOX_ID(r->seq, r->ops++), .created = r->seq, .modseq = r->seq, .uidnext = 1};

    box.uidvalidity = r->last_uidvalidity = MAX((uint32_t)r->seq, r->last_uidvalidity + 1);
    snprintf(box.name, sizeof box.name, "%s", name);
    r->boxes = mem_realloc(r->boxes, r->n + 1, sizeof box);
    r->boxes[r->n] = box;
    return &r->boxes[r->n++];
}

static void create_superiors(struct ref *r, const char *name)
{
    for (const char *at = strchr(name, '/'); at; at = strchr(at + 1, '/')) {
        CLEANUP_FREE char *superior = mem_printf("%.*s", (int)(at - name), name);

        if (!ref_named(r, superior))
            create_one(r, superior);
    }
}

static char *proper(struct slice name)
{
    char *s = slice_dup(name);

    if (strncasecmp(s, "inbox", 5) == 0 && (s[5] == '\0' || s[5] == '/'))
        memcpy(s, "INBOX", 5);
    return s;
}

static uint8_t words_of(const struct flags *f)
{
    uint8_t words = 0;

    for (size_t i = 0; i < f->n_keywords; i++)
        for (int w = 0; w < REF_WORDS; w++)
            if (slice_ieq(f->keywords[i], slice_str(ref_words[w])))
                words |= (uint8_t)(1 << w);
    return words;
}

static void do_append(struct ref *r, const struct build_item *item, struct ref_box *box,
                      struct intent *x)
{
    const struct intent *it = item->intent;
    struct ref_message m = {.size = (uint32_t)item->size,
                            .id = item->message,
                            .date = it->date,
                            .system = it->flags.system,
                            .words = words_of(&it->flags)};
    uint64_t a = get_be64(it->delivery), b = get_be64(it->delivery + 8);

    x->mailbox_id = box->id;
    x->uidvalidity = box->uidvalidity;
    for (size_t i = 0; it->kind == INTENT_DELIVER && i < r->n_deliveries; i++)
        if (r->deliveries[i].a == a && r->deliveries[i].b == b) {
            x->duplicate = x->nothing = true;
            return;
        }
    if (r->quota && used(r) + item->size > r->quota) {
        x->result = -ERR_QUOTA;
        return;
    }
    m.date = it->date || it->has_date ? it->date : r->t_ms / 1000;
    x->uid = box->uidnext;
    put(r, box, m);
    r->ops++;
    if (it->kind == INTENT_DELIVER)
        add_event(&r->deliveries, &r->n_deliveries, (struct ref_event){a, b, r->t_ms});
}

static void change(struct ref_message *m, const struct intent *it)
{
    uint8_t words = words_of(&it->flags);

    if (it->how == FLAGS_ADD) {
        m->system |= it->flags.system;
        m->words |= words;
    } else if (it->how == FLAGS_REMOVE) {
        m->system &= (uint8_t)~it->flags.system;
        m->words &= (uint8_t)~words;
    } else {
        m->system = it->flags.system;
        m->words = words;
    }
}

static void do_flags(struct ref *r, const struct intent *it, struct ref_box *box, struct intent *x)
{
    for (size_t i = 0; i < box->n; i++) {
        struct ref_message *m = &box->m[i], new = *m;

        if (!uidset_has(&it->uids, m->uid))
            continue;
        if (it->has_since && m->modseq > it->since) {
            uidset_add(&x->late, m->uid);
            continue;
        }
        change(&new, it);
        if (new.system == m->system &&new.words == m->words)
            continue;
        new.modseq = box->modseq = r->seq;
        *m = new;
        uidset_add(&x->done, m->uid);
    }
    x->nothing = !x->done.n;
    r->ops += x->done.n != 0;
}

static void do_expunge(struct ref *r, const struct intent *it, struct ref_box *box,
                       struct intent *x)
{
    uint64_t there = 0;

    for (size_t i = 0; i < box->n; i++)
        there += uidset_has(&it->uids, box->m[i].uid) &&
                 (!it->only_deleted || box->m[i].system & FLAG_DELETED);
    if (it->all_there && there != uidset_count(&it->uids)) {
        x->result = -ERR_CONFLICT;
        return;
    }
    for (size_t i = 0; i < box->n;) {
        struct ref_message *m = &box->m[i];

        if (!uidset_has(&it->uids, m->uid) || (it->only_deleted && !(m->system & FLAG_DELETED))) {
            i++;
            continue;
        }
        uidset_add(&x->done, m->uid);
        take(r, box, i, true);
    }
    x->nothing = !x->done.n;
    r->ops += x->done.n != 0;
}

static void do_transfer(struct ref *r, const struct intent *it, struct ref_box *box,
                        struct ref_box *target, struct intent *x)
{
    struct ref_message *picked = NEW_ARRAY(struct ref_message, box->n);
    uint64_t bytes = 0;
    size_t n = 0;

    x->mailbox_id = target->id;
    x->uidvalidity = target->uidvalidity;
    for (size_t i = 0; i < box->n; i++)
        if (uidset_has(&it->uids, box->m[i].uid)) {
            picked[n++] = box->m[i];
            bytes += box->m[i].size;
        }
    x->nothing = n == 0;
    if (n && it->kind == INTENT_COPY && r->quota && used(r) + bytes > r->quota) {
        x->result = -ERR_QUOTA;
        n = 0;
    }
    x->uid = n ? target->uidnext : 0;
    r->ops += n != 0;
    for (size_t i = 0; i < n; i++)
        uidset_add(&x->done, picked[i].uid);
    for (size_t i = 0; i < box->n && n && it->kind == INTENT_MOVE;)
        if (uidset_has(&x->done, box->m[i].uid))
            take(r, box, i, false);
        else
            i++;
    for (size_t i = 0; i < n; i++)
        put(r, target, picked[i]);
    free(picked);
}

static void do_delete(struct ref *r, struct ref_box *box, struct intent *x)
{
    if (strcmp(box->name, "INBOX") == 0) {
        x->result = -ERR_NOPERM;
        return;
    }
    x->mailbox_id = box->id;
    while (box->n)
        take(r, box, 0, true);
    free(box->m);
    memmove(box, box + 1, (size_t)(r->boxes + --r->n - box) * sizeof *box);
    r->ops++;
}

static void do_rename_inbox(struct ref *r, const char *name, struct intent *x)
{
    struct ref_box *inbox, *box;

    create_superiors(r, name);
    box = create_one(r, name);
    inbox = ref_named(r, "INBOX");
    x->mailbox_id = box->id;
    x->uidvalidity = box->uidvalidity;
    x->uid = inbox->n ? 1 : 0;
    r->ops += inbox->n != 0;
    while (inbox->n) {
        uidset_add(&x->done, inbox->m[0].uid);
        put(r, box, take(r, inbox, 0, false));
    }
}

static bool is_in_tree(const char *name, const char *top)
{
    size_t n = strlen(top);

    return strncmp(name, top, n) == 0 && (name[n] == '\0' || name[n] == '/');
}

static void do_rename(struct ref *r, uint64_t id, const char *name, struct intent *x)
{
    struct ref_box *box = by_id(r, id);
    char old[64], new[160];

    snprintf(old, sizeof old, "%s", box->name);
    if (ref_named(r, name)) {
        x->result = -ERR_EXISTS;
        return;
    }
    if (strcmp(old, "INBOX") == 0) {
        do_rename_inbox(r, name, x);
        return;
    }
    if (is_in_tree(name, old)) {
        x->result = -ERR_NOPERM;
        return;
    }
    for (size_t i = 0; i < r->n; i++) {
        struct ref_box *there;

        if (!is_in_tree(r->boxes[i].name, old))
            continue;
        snprintf(new, sizeof new, "%s%s", name, r->boxes[i].name + strlen(old));
        there = ref_named(r, new);
        if (there && !is_in_tree(there->name, old)) {
            x->result = -ERR_EXISTS;
            return;
        }
    }
    create_superiors(r, name);
    for (size_t i = 0; i < r->n; i++)
        if (is_in_tree(r->boxes[i].name, old)) {
            snprintf(new, sizeof new, "%s%s", name, r->boxes[i].name + strlen(old));
            memcpy(r->boxes[i].name, new, sizeof r->boxes[i].name);
            r->ops++;
        }
    x->mailbox_id = id;
    x->uidvalidity = by_id(r, id)->uidvalidity;
}

static void do_undelete(struct ref *r, const struct intent *it, struct ref_box *box,
                        struct intent *x)
{
    for (size_t i = r->n_gone; i; i--)
        if (r->gone[i - 1].a == it->message) {
            struct ref_message m = {.id = it->message,
                                    .size = (uint32_t)(r->gone[i - 1].b >> 32),
                                    .date = (uint32_t)r->gone[i - 1].b};

            if (r->quota && used(r) + m.size > r->quota) {
                x->result = -ERR_QUOTA;
                return;
            }
            x->mailbox_id = box->id;
            x->uidvalidity = box->uidvalidity;
            x->uid = box->uidnext;
            put(r, box, m);
            r->ops++;
            return;
        }
    x->result = -ERR_NOTFOUND;
}

static void do_subscribe(struct ref *r, const struct intent *it, const char *name, struct intent *x)
{
    for (int i = 0; i < REF_NAMES; i++)
        if (strcmp(ref_names[i], name) == 0) {
            x->nothing = r->subscribed[i] == it->on;
            r->subscribed[i] = it->on;
            r->ops += !x->nothing;
        }
}

void ref_intent(struct ref *r, const struct build_item *item, struct intent *x)
{
    const struct intent *it = item->intent;
    CLEANUP_FREE char *name = proper(it->name);
    struct ref_box *box = by_id(r, it->mailbox), *target = ref_named(r, name);

    if (it->kind == INTENT_DELIVER && it->else_inbox && !target)
        target = ref_named(r, "INBOX");
    if (it->kind == INTENT_SUBSCRIBE) {
        do_subscribe(r, it, name, x);
    } else if (it->kind == INTENT_CREATE) {
        if (target) {
            x->result = -ERR_EXISTS;
            return;
        }
        create_superiors(r, name);
        box = create_one(r, name);
        x->mailbox_id = box->id;
        x->uidvalidity = box->uidvalidity;
    } else if (it->kind == INTENT_APPEND || it->kind == INTENT_DELIVER) {
        if (target)
            do_append(r, item, target, x);
        else
            x->result = -ERR_NOTFOUND;
    } else if (it->kind == INTENT_UNDELETE) {
        if (target)
            do_undelete(r, it, target, x);
        else
            x->result = -ERR_NOTFOUND;
    } else if (!box || ((it->kind == INTENT_COPY || it->kind == INTENT_MOVE) && !target)) {
        x->result = -ERR_NOTFOUND;
    } else if (it->kind == INTENT_FLAGS) {
        do_flags(r, it, box, x);
    } else if (it->kind == INTENT_EXPUNGE) {
        do_expunge(r, it, box, x);
    } else if (it->kind == INTENT_RENAME) {
        do_rename(r, it->mailbox, name, x);
    } else if (it->kind == INTENT_DELETE) {
        do_delete(r, box, x);
    } else {
        do_transfer(r, it, box, target, x);
    }
}

/* --- comparing ------------------------------------------------------------------------------- */

static void check_message(const struct ref_message *a, const struct message *b)
{
    uint8_t words = words_of(
        &(struct flags){.keywords = b->flags->keywords, .n_keywords = b->flags->n_keywords});

    cr_assert(a->uid == b->uid && a->size == b->size && a->id == b->id, "uid %u", a->uid);
    cr_assert(a->modseq == b->modseq && a->date == b->date && a->saved == b->saved, "uid %u",
              a->uid);
    cr_assert(a->system == b->flags->system && a->words == words, "flags of uid %u", a->uid);
}

static void check_box(const struct ref_box *a, const struct mailbox *b)
{
    uint32_t unseen = 0, deleted = 0;
    uint64_t bytes = 0;
    struct message m;

    cr_assert(a->id == b->id && strcmp(a->name, b->name) == 0 && a->uidvalidity == b->uidvalidity);
    cr_assert(a->created == b->created && a->expunged == b->expunged, "%s", a->name);
    for (size_t i = 0; i < a->n; i++) {
        cr_assert(mailbox_at(b, (uint32_t)i, &m));
        check_message(&a->m[i], &m);
        cr_assert(mailbox_find(b, a->m[i].uid, &m) && m.id == a->m[i].id);
        cr_assert_eq(mailbox_index(b, a->m[i].uid), i);
        unseen += !(a->m[i].system & FLAG_SEEN);
        deleted += !!(a->m[i].system & FLAG_DELETED);
        bytes += a->m[i].size;
    }
    cr_assert(!mailbox_at(b, (uint32_t)a->n, &m));
    cr_assert_eq(mailbox_index(b, UINT32_MAX), a->n);
    cr_assert(b->sum.exists == a->n && b->sum.unseen == unseen && b->sum.deleted == deleted);
    cr_assert(b->sum.bytes == bytes && b->sum.uidnext == a->uidnext && b->sum.modseq == a->modseq,
              "%s at %lu, modseq %lu", a->name, b->sum.modseq, a->modseq);
}

void ref_check(const struct ref *r, const struct state *st)
{
    struct error err;

    cr_assert(r->seq == st->seq && r->t_ms == st->t_ms && r->n == st->n_mailboxes);
    cr_assert_eq(r->last_uidvalidity, st->last_uidvalidity);
    cr_assert_eq(st->used_bytes, used(r));
    for (size_t i = 0; i < r->n; i++) {
        check_box(&r->boxes[i], st->mailboxes[i]);
        cr_assert_eq(state_mailbox_named(st, slice_str(r->boxes[i].name)), st->mailboxes[i]);
    }
    for (size_t i = 0; i < REF_NAMES; i++)
        cr_assert_eq(r->subscribed[i], state_is_subscribed(st, slice_str(ref_names[i])));
    for (size_t i = 0; i < r->n_deliveries; i++) {
        uint8_t hash[DELIVERY_HASH_SIZE];

        put_be64(hash, r->deliveries[i].a);
        put_be64(hash + 8, r->deliveries[i].b);
        cr_assert(state_has_delivery(st, hash));
    }
    for (size_t i = 0; i < r->n_gone; i++)
        cr_assert(state_gone(st, r->gone[i].a, NULL, NULL));
    cr_assert(state_recount(st, &err), "%s", err.text);
}

static void check_same_set(const struct uidset *a, const struct uidset *b, const char *what)
{
    cr_assert(a->n == b->n && (!a->n || memcmp(a->items, b->items, a->n * sizeof *a->items) == 0),
              "%s", what);
}

void ref_check_results(const struct intent *x, const struct intent *got)
{
    cr_assert_eq(x->result, got->result, "kind %d: %d expected, got %d: %s", got->kind, x->result,
                 got->result, got->error.text);
    if (x->result < 0)
        return;
    cr_assert(x->nothing == got->nothing && x->duplicate == got->duplicate, "kind %d", got->kind);
    cr_assert(x->mailbox_id == got->mailbox_id && x->uidvalidity == got->uidvalidity, "kind %d",
              got->kind);
    cr_assert_eq(x->uid, got->uid, "kind %d", got->kind);
    check_same_set(&x->done, &got->done, "done");
    check_same_set(&x->late, &got->late, "late");
}
