/* SPDX-License-Identifier: MPL-2.0 */
/* SEARCH: RFC 3501 section 6.4.4, RFC 4731, RFC 5182, RFC 5267, RFC 7162 section
 * 3.1.5, RFC 9394. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "protocols/imap/context.h"
#include "protocols/imap/search_return.h"
#include "protocols/imap/search_run.h"

struct search {
    struct search_run run;
    struct search_return found;
    struct uidset scope; /* where it is limited (RFC 9738) */
    struct command *cmd;
};

static void search_free(void *context)
{
    struct search *s = context;

    search_run_done(&s->run);
    search_return_done(&s->found);
    uidset_done(&s->scope);
    free(s);
}

static void hit(void *ctx, uint32_t seq, const struct message *m)
{
    struct search *s = ctx;

    search_return_add(&s->found, s->cmd, seq, m->uid, m->modseq);
}

/* RFC 9738: of the messages that it would look at, only the highest. */
static void limit(struct imap *im, struct command *cmd, struct search *s)
{
    s->scope = search_run_scope(&s->run);
    imap_limit(im, im->view, cmd, &s->scope, false);
    s->run.only = &s->scope;
}

static int begin(struct imap *im, struct command *cmd)
{
    const struct arg *args = cmd->parsed.args;
    struct search *s = NEW(struct search);
    struct slice charset = args[1].kind ? args[1].items[0].text : (struct slice){0};
    int r;

    s->cmd = cmd;
    cmd->context = s;
    cmd->context_free = search_free;
    /* RFC 6855 section 3: "it SHOULD reject the command with a "BAD" response" */
    if (im->enabled & ENABLED_UTF8 && args[1].kind)
        return imap_bad(cmd, "After ENABLE UTF8=ACCEPT all strings are UTF-8");
    r = search_return_read(&s->found, im, cmd, &args[0]);
    /* RFC 9051 section 6.4.4: ESEARCH is the only answer to SEARCH there (but not to SORT) */
    s->found.extended |= im->enabled & ENABLED_REV2;
    if (r == 0)
        r = context_check(im, cmd, &s->found);
    if (r == 0)
        r = search_run_begin(&s->run, im, im->view, cmd, charset, &args[2]);
    if (r == 0 && im->service->settings.message_limit)
        limit(im, cmd, s);
    return r;
}

static int step(struct imap *im, struct command *cmd)
{
    int64_t until = clock_mono_ms() + SEARCH_WORK_MS;
    struct search *s;
    int r = cmd->context ? 0 : begin(im, cmd);

    s = cmd->context;
    if (r == 0 && !s->found.writing)
        r = search_run_step(&s->run, im, cmd, until, hit, s);
    if (r == 0)
        r = search_return_write(&s->found, im, cmd, "SEARCH", s->run.tree.modseq);
    if (r == 0)
        search_run_text(&s->run, cmd);
    if (r == 0 && s->found.update)
        context_add(im, cmd, &s->found, &s->run, &s->found.uids, NULL);
    return r;
}

int cmd_search(struct imap *im, struct command *cmd)
{
    int r = step(im, cmd);
    struct search *s = cmd->context;

    return search_return_refused(&s->found, im, cmd, r);
}
