/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/mailbox_filter.h"

struct mailbox_filter mailbox_filter_read(const struct arg *word)
{
    struct mailbox_filter f = {.kind = word->word};
    const struct arg *choice;

    if (f.kind != FILTER_SUBTREE && f.kind != FILTER_SUBTREE_ONE && f.kind != FILTER_MAILBOXES)
        return f;
    choice = &word->items[0];
    f.names = choice->kind == RULE_LIST ? choice->items[0].items : choice;
    f.n_names = choice->kind == RULE_LIST ? choice->items[0].n : 1;
    return f;
}

bool mailbox_filter_is_selected(enum mailbox_filter_kind kind)
{
    return kind == FILTER_SELECTED || kind == FILTER_SELECTED_DELAYED;
}

static bool is_below(struct slice name, struct slice superior)
{
    return superior.n && slice_starts(name, superior) && name.n > superior.n &&
           name.p[superior.n] == '/';
}

static bool covers_name(enum mailbox_filter_kind kind, struct slice wanted, struct slice name)
{
    if (slice_eq(name, wanted))
        return true;
    if (kind == FILTER_MAILBOXES || !is_below(name, wanted))
        return false;
    return kind == FILTER_SUBTREE || slice_find(slice_skip(name, wanted.n + 1), '/') < 0;
}

bool mailbox_filter_covers(const struct mailbox_filter *f, const struct state *st,
                           struct slice name)
{
    switch (f->kind) {
    case FILTER_SUBSCRIBED:
        return state_is_subscribed(st, name);
    case FILTER_SUBTREE:
    case FILTER_SUBTREE_ONE:
    case FILTER_MAILBOXES:
        for (size_t i = 0; i < f->n_names; i++)
            if (covers_name(f->kind, f->names[i].text, name))
                return true;
        return false;
    case FILTER_INBOXES:
        /* RFC 5465 section 6.3: "If the IMAP server cannot easily compute this set, it MUST treat
         * "inboxes" as equivalent to "personal"": which mailboxes get mail depends on each message
         */
    case FILTER_PERSONAL:
        return true;
    default:
        return false;
    }
}
