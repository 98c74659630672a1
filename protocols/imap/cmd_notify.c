/* SPDX-License-Identifier: MPL-2.0 */
/* NOTIFY: RFC 5465 section 3.1. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/imap/notify.h"

/* Section 3.1: BADEVENT "MUST list names of all events supported by the server". */
#define EVENTS                                                                                     \
    "MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange "   \
    "ServerMetadataChange"

static int read_events(struct command *cmd, const struct arg *events, unsigned *ret,
                       const struct arg **ret_fetch)
{
    const struct arg *list = events->kind == RULE_LIST ? &events->items[0] : NULL;

    *ret = 0;
    *ret_fetch = NULL;
    for (size_t i = 0; list && i < list->n; i++) {
        const struct arg *event = &list->items[i];

        if (event->kind != RULE_WORD)
            return imap_no(cmd, "BADEVENT (" EVENTS ")", "There is no event %.*s here",
                           SLICE_FMT(event->text));
        *ret |= (unsigned)event->word;
        if (event->word == NOTIFY_MESSAGE_NEW && event->items[0].kind)
            *ret_fetch = &event->items[0];
    }
    return 0;
}

/* Section 5: "If one of MessageNew or MessageExpunge is specified, then both events MUST be
 * specified", and with FlagChange, too. */
static int check_events(struct command *cmd, unsigned events)
{
    unsigned both = NOTIFY_MESSAGE_NEW | NOTIFY_MESSAGE_EXPUNGE;

    if (events & NOTIFY_MESSAGES && (events & both) != both)
        return imap_bad(cmd, "MessageNew and MessageExpunge go together, and FlagChange with them");
    return 0;
}

/* Section 6.1 */
static int take_selected(struct command *cmd, struct notify *n, const struct arg *filter,
                         unsigned events, const struct arg *fetch, bool *taken)
{
    if (*taken)
        return imap_bad(cmd, "One of SELECTED and SELECTED-DELAYED, once");
    if (events & ~(unsigned)NOTIFY_MESSAGES)
        return imap_bad(cmd, "Of the selected mailbox there are events of messages only");
    *taken = true;
    n->selected = events;
    n->at_once = filter->word == FILTER_SELECTED;
    n->fetch = fetch;
    return 0;
}

static int take_group(struct command *cmd, struct notify *n, const struct arg *group, size_t *names,
                      bool *selected)
{
    const struct arg *filter = &group->items[0], *fetch;
    struct notify_group g = {.filter = mailbox_filter_read(filter)};
    int r = read_events(cmd, &group->items[1], &g.events, &fetch);

    if (r == 0)
        r = check_events(cmd, g.events);
    if (r < 0)
        return r;
    if (mailbox_filter_is_selected(g.filter.kind))
        return take_selected(cmd, n, filter, g.events, fetch, selected);
    if (fetch)
        return imap_bad(cmd, "FETCH items are for the selected mailbox");
    *names += g.filter.n_names + 1;
    if (*names > NOTIFY_NAMES_MAX || cmd->arena.used > NOTIFY_MEMORY)
        return imap_no(cmd, "NOTIFICATIONOVERFLOW", "Too many mailboxes are named, or too long");
    n->groups[n->n_groups++] = g;
    return 0;
}

static int take_groups(struct command *cmd, struct notify *n, const struct arg *groups)
{
    bool selected = false;
    size_t names = 0;
    int r = 0;

    n->groups = arena_array(&cmd->arena, groups->n, sizeof *n->groups);
    for (size_t i = 0; i < groups->n && r == 0; i++)
        r = take_group(cmd, n, &groups->items[i], &names, &selected);
    return r;
}

/* --- STATUS ------------------------------------------------------------------------------------
 */

struct first_look {
    struct state *st;
    size_t at;
};

static void first_look_free(void *context)
{
    struct first_look *f = context;

    state_unref(f->st);
    free(f);
}

/* "the server MUST send a STATUS response for that mailbox before NOTIFY's tagged OK"; and where no
 * events are wanted: section 5: "NOTIFY SET ... NONE can be used as a snapshot facility". */
static void look_at(struct imap *im, const struct state *st, const struct mailbox *box)
{
    const struct notify_group *g = notify_group_of(im->notify, st, slice_str(box->name));

    if (!g || (g->events && !(g->events & NOTIFY_MESSAGES)) || (im->view && box->id == im->mailbox))
        return;
    notify_write_status(im, box, g->events & NOTIFY_FLAG_CHANGE || im->enabled & ENABLED_CONDSTORE);
}

static int go_on(struct imap *im, struct command *cmd)
{
    struct first_look *f = cmd->context;

    while (f && f->at < f->st->n_mailboxes) {
        if (im->s.out.n >= SESSION_SLICE)
            return RUN_AGAIN;
        look_at(im, f->st, f->st->mailboxes[f->at++]);
    }
    return 0;
}

/* --- the command -------------------------------------------------------------------------------
 */

static int begin(struct imap *im, struct command *cmd, const struct arg *set)
{
    struct notify *n = NEW(struct notify);
    struct first_look *f;
    int r = set ? take_groups(cmd, n, &set->items[1]) : 0;

    if (r < 0) {
        free(n);
        return r;
    }
    /* the command's tree lives on with what it has asked for */
    n->arena = cmd->arena;
    cmd->arena = (struct arena){0};
    imap_notify_begin(im, n);
    if (!set || !set->items[0].kind || !n->n_groups)
        return 0;
    f = NEW(struct first_look);
    f->st = n->seen ? state_ref(n->seen) : account_state(im->account);
    cmd->context = f;
    cmd->context_free = first_look_free;
    return 0;
}

int cmd_notify(struct imap *im, struct command *cmd)
{
    const struct arg *what = &cmd->parsed.args[0];
    struct state *st;
    int r = 0;

    if (cmd->context)
        return go_on(im, cmd);
    r = account_refresh(im->account, &st, &cmd->err);
    if (r < 0)
        return r;
    state_unref(st);
    r = begin(im, cmd, what->word == NOTIFY_SET ? what : NULL);
    return r < 0 ? r : go_on(im, cmd);
}
