/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/notify.h"

#include <stdlib.h>

#include "lib/base/mem.h"

/* --- life --------------------------------------------------------------------------------------
 */

static void wake(void *ctx)
{
    struct imap *im = ctx;

    im->s.wake(&im->s);
}

void imap_notify_end(struct imap *im)
{
    struct notify *n = TAKE(im->notify);

    if (!n)
        return;
    if (n->watch)
        account_unwatch(n->watch);
    state_unref(n->seen);
    state_unref(n->next);
    uidset_done(&n->arrived);
    uidset_done(&n->own);
    imap_command_done(&n->fetch_command);
    arena_done(&n->arena);
    free(n);
}

/* Changes of annotations are told by imap_metadata_tell, from here on. */
static void begin_metadata(struct imap *im, unsigned events)
{
    if (im->enabled & ENABLED_METADATA)
        return;
    imap_metadata_forget(im);
    if (events & NOTIFY_METADATA)
        im->metadata_seen = account_state(im->account);
}

void imap_notify_begin(struct imap *im, struct notify *n)
{
    imap_notify_end(im);
    im->notify = n;
    for (size_t i = 0; i < n->n_groups; i++)
        n->any |= n->groups[i].events;
    begin_metadata(im, n->any);
    if (n->any | n->selected)
        n->watch = account_watch(im->account, wake, im);
    /* behind the watch, so that nothing falls between the two */
    if (n->any)
        n->seen = account_state(im->account);
}

/* --- what is wanted ----------------------------------------------------------------------------
 */

const struct notify_group *notify_group_of(const struct notify *n, const struct state *st,
                                           struct slice name)
{
    for (size_t i = 0; i < n->n_groups; i++)
        if (mailbox_filter_covers(&n->groups[i].filter, st, name))
            return &n->groups[i];
    return NULL;
}

bool imap_notify_wants_metadata(const struct imap *im, const struct state *st,
                                const struct mailbox *box)
{
    const struct notify *n = im->notify;
    const struct notify_group *g;

    if (im->enabled & ENABLED_METADATA || !n)
        return im->enabled & ENABLED_METADATA;
    if (!box)
        return n->any & NOTIFY_SERVER_METADATA;
    g = notify_group_of(n, st, slice_str(box->name));
    return g && g->events & NOTIFY_MAILBOX_METADATA;
}

/* --- the selected mailbox ----------------------------------------------------------------------
 */

unsigned imap_notify_selected(const struct imap *im)
{
    const struct command_row *row = im->cmd.row;
    unsigned what = 0;

    /* section 3.1: "A successful NOTIFY SET command MUST cause the server to immediately return any
     * accumulated changes to the currently selected mailbox" */
    if (!im->notify || (row && row->run == cmd_notify))
        return VIEW_ALL;
    if (im->notify->selected & NOTIFY_MESSAGE_NEW)
        what |= VIEW_EXISTS | VIEW_EXPUNGE;
    if (im->notify->selected & NOTIFY_FLAG_CHANGE)
        what |= VIEW_FLAGS;
    /* what commands have asked for by themselves */
    if (row && row->run == cmd_store)
        what |= VIEW_FLAGS;
    if (row && row->flags & CMD_EXPUNGES)
        what |= VIEW_EXPUNGE;
    return what;
}

void imap_notify_arrived(struct imap *im, uint32_t first, uint32_t last)
{
    if (im->notify && im->notify->fetch && first <= last)
        uidset_add_range(&im->notify->arrived, first, last);
}

void imap_notify_unselected(struct imap *im)
{
    if (!im->notify)
        return;
    uidset_clear(&im->notify->arrived);
    uidset_clear(&im->notify->own);
}

/* What arrived, with the items of MessageNew. */
static int fetch(struct imap *im, struct notify *n)
{
    CLEANUP(uidset_done) struct uidset uids = {0};

    if (!n->fetch_command.row && n->arrived.n) {
        uids = uidset_minus(&n->arrived, &n->own);
        uidset_clear(&n->arrived);
        uidset_clear(&n->own);
        imap_pushed_fetch_begin(&n->fetch_command, &uids, n->fetch);
    }
    return imap_pushed_fetch_step(im, &n->fetch_command);
}

/* --- between commands --------------------------------------------------------------------------
 */

static int tell_selected(struct imap *im, bool idle)
{
    struct error err = {0};
    int r = imap_update(im, false, &err);

    if (r == -ERR_NOTFOUND || r == -ERR_CONFLICT)
        return r;
    return imap_tell(im, idle || im->notify->at_once, true) ? RUN_AGAIN : 0;
}

int imap_notify_push_selected(struct imap *im, bool idle)
{
    struct notify *n = im->notify;
    bool fetched;
    int r = 0;

    /* after each thing that takes long there is another look: what happened meanwhile may have
     * woken the session already */
    do {
        if (im->view && !n->fetch_command.row)
            r = tell_selected(im, idle);
        fetched = n->fetch_command.row || n->arrived.n;
        if (r == 0)
            r = fetch(im, n);
    } while (r == 0 && fetched);
    return r;
}

int imap_notify_push_others(struct imap *im)
{
    imap_metadata_tell(im, false);
    if (notify_tell(im, SESSION_SLICE, NULL) || notify_tell(im, SESSION_SLICE, NULL))
        return RUN_AGAIN;
    return 0;
}

void imap_notify_tell(struct imap *im)
{
    if (im->notify)
        notify_tell(im, SESSION_SLICE, NULL);
}

/* --- what the client does himself --------------------------------------------------------------
 */

static void tell_but(struct imap *im, const struct notify_own *own)
{
    if (im->notify && im->notify->next)
        notify_tell(im, SIZE_MAX, NULL);
    notify_tell(im, SIZE_MAX, own);
}

void imap_notify_own_names(struct imap *im, struct slice a, struct slice b)
{
    tell_but(im, &(struct notify_own){.a = a, .b = b});
}

void imap_notify_own_messages(struct imap *im, uint64_t mailbox, uint32_t first, uint64_t count)
{
    if (!im->notify || !count)
        return;
    if (im->view && im->mailbox == mailbox && im->notify->fetch)
        uidset_add_range(&im->notify->own, first, (uint32_t)(first + count - 1));
    tell_but(im, &(struct notify_own){.mailbox = mailbox, .first = first, .count = count});
}
