/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/mailbox_list.h"

#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/pattern.h"

static bool is_below(struct slice name, struct slice superior)
{
    return name.n > superior.n && name.p[superior.n] == '/' && slice_starts(name, superior);
}

static bool in_inbox(struct slice name)
{
    return slice_eq(name, S("INBOX")) || is_below(name, S("INBOX"));
}

static int entry_order(const void *x, const void *y)
{
    struct slice a = ((const struct list_entry *)x)->name;
    struct slice b = ((const struct list_entry *)y)->name;
    size_t i = 0;
    int ca, cb;

    if (in_inbox(a) != in_inbox(b))
        return in_inbox(a) ? -1 : 1;
    while (i < a.n && i < b.n && a.p[i] == b.p[i])
        i++;
    ca = i == a.n ? -2 : a.p[i] == '/' ? -1 : a.p[i];
    cb = i == b.n ? -2 : b.p[i] == '/' ? -1 : b.p[i];
    return ca - cb;
}

static bool add_subscribed(void *ctx, struct slice name)
{
    *VEC_PUSH((struct mailbox_list *)ctx) = (struct list_entry){.name = name, .subscribed = true};
    return true;
}

static void collect(const struct state *st, const struct list_query *query,
                    struct mailbox_list *names)
{
    for (size_t i = 0; query->mailboxes && i < st->n_mailboxes; i++) {
        const struct mailbox *box = st->mailboxes[i];

        *VEC_PUSH(names) = (struct list_entry){.name = slice_str(box->name), .box = box};
    }
    if (query->subscribed)
        state_each_subscribed(st, add_subscribed, names);
    if (names->n)
        qsort(names->items, names->n, sizeof *names->items, entry_order);
}

/* --- one pass over the sorted names ------------------------------------------------------------
 */

/* Entries of the list that the one before is below, and that one itself. */
struct path {
    size_t *items;
    size_t n, cap;
};

static void up_to(const struct mailbox_list *list, struct path *path, struct slice name)
{
    while (path->n && !is_below(name, list->items[path->items[path->n - 1]].name))
        path->n--;
}

static void append(struct mailbox_list *list, struct path *path, struct list_entry entry)
{
    *VEC_PUSH(path) = list->n;
    *VEC_PUSH(list) = entry;
}

/* The levels between the deepest known superior and the name. */
static void add_levels(struct mailbox_list *list, struct path *path, struct slice name)
{
    size_t from = path->n ? list->items[path->items[path->n - 1]].name.n + 1 : 1;

    for (size_t i = from; i < name.n; i++)
        if (name.p[i] == '/')
            append(list, path, (struct list_entry){.name = slice_sub(name, 0, i)});
}

static void build(const struct mailbox_list *names, struct mailbox_list *list)
{
    struct path path = {0};

    for (size_t i = 0; i < names->n; i++) {
        const struct list_entry *now = &names->items[i];
        struct list_entry *last = list->n ? &list->items[list->n - 1] : NULL;

        if (last && slice_eq(last->name, now->name)) {
            last->box = last->box ? last->box : now->box;
            last->subscribed |= now->subscribed;
            continue;
        }
        up_to(list, &path, now->name);
        add_levels(list, &path, now->name);
        append(list, &path, *now);
    }
    VEC_DONE(&path);
}

static void match(const struct list_query *query, struct list_entry *e)
{
    for (size_t i = 0; i < query->n_patterns && !(e->matched && e->level); i++) {
        struct slice pattern = query->patterns[i];

        if (!pattern_match(pattern, e->name))
            continue;
        e->matched = true;
        e->level |= pattern.n && pattern.p[pattern.n - 1] == '%';
    }
}

/* RFC 5258 section 3: "the server MUST return information about mailbox names that satisfy every
 * selection option". */
static bool selects(const struct list_query *query, const struct list_entry *e)
{
    if (query->select_special_use && !(e->box && e->box->uses))
        return false;
    return query->select_subscribed ? e->subscribed : e->box != NULL;
}

/* What an entry is makes its superiors what they are; those of which it is known already have told
 * theirs. */
static void tell_superiors(struct mailbox_list *list, const struct path *path,
                           const struct list_entry *e)
{
    for (size_t i = path->n; i-- > 0;) {
        struct list_entry *up = &list->items[path->items[i]];
        bool hidden = e->selected && !e->matched;

        if ((up->has_children || !e->box) && (up->child_selected || !e->selected) &&
            (up->child_hidden || !hidden))
            return;
        up->has_children |= e->box != NULL;
        up->child_selected |= e->selected;
        up->child_hidden |= hidden;
    }
}

static void judge(const struct list_query *query, struct mailbox_list *list)
{
    struct path path = {0};

    for (size_t i = 0; i < list->n; i++) {
        struct list_entry *e = &list->items[i];

        match(query, e);
        e->selected = selects(query, e);
        up_to(list, &path, e->name);
        tell_superiors(list, &path, e);
        *VEC_PUSH(&path) = i;
    }
    VEC_DONE(&path);
}

void mailbox_list_make(const struct state *st, const struct list_query *query,
                       struct mailbox_list *ret)
{
    struct mailbox_list names = {0};

    *ret = (struct mailbox_list){0};
    collect(st, query, &names);
    build(&names, ret);
    judge(query, ret);
    mailbox_list_done(&names);
}

void mailbox_list_done(struct mailbox_list *list)
{
    VEC_DONE(list);
}

bool mailbox_has_children(const struct state *st, struct slice name)
{
    for (size_t i = 0; i < st->n_mailboxes; i++)
        if (is_below(slice_str(st->mailboxes[i]->name), name))
            return true;
    return false;
}
