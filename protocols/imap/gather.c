/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/gather.h"

#include "lib/base/clock.h"

/* RFC 9738: an order, or threads, of a part would be misleading. */
static int check_limit(const struct gather *g, struct imap *im, struct command *cmd)
{
    CLEANUP(uidset_done) struct uidset scope = {0};

    if (!im->service->settings.message_limit)
        return 0;
    scope = search_run_scope(&g->run);
    return imap_limit_check(im, cmd, scope.n ? imap_count(im->view, &scope) : 0, false);
}

int gather_begin(struct gather *g, struct imap *im, struct command *cmd, struct slice charset,
                 const struct arg *keys, bool wants_keys)
{
    int r;

    g->wants_keys = wants_keys;
    if (wants_keys)
        g->keys = sortkeys_open(im->account, im->mailbox);
    r = search_run_begin(&g->run, im, im->view, cmd, charset, keys);
    return r == 0 ? check_limit(g, im, cmd) : r;
}

void gather_done(struct gather *g)
{
    search_run_done(&g->run);
    sortkeys_close(g->keys);
    VEC_DONE(&g->found);
}

static void hit(void *ctx, uint32_t seq, const struct message *m)
{
    struct gather *g = ctx;

    *VEC_PUSH(&g->found) = (struct gathered){.seq = seq, .m = *m};
}

static int some_keys(struct gather *g, struct imap *im, struct error *err)
{
    const struct message *messages[SORTKEYS_AT_ONCE] = {NULL};
    const struct sortkeys *keys[SORTKEYS_AT_ONCE];
    struct gathered *from = g->found.items + g->with_keys;
    size_t n = MIN(g->found.n - g->with_keys, (size_t)SORTKEYS_AT_ONCE);
    int r;

    for (size_t i = 0; i < n; i++)
        messages[i] = &from[i].m;
    r = sortkeys_get(g->keys, im->account, messages, n, keys, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        from[i].keys = keys[i];
    g->with_keys += n;
    return r;
}

int gather_step(struct gather *g, struct imap *im, struct command *cmd, int64_t until)
{
    int r = g->searched ? 0 : search_run_step(&g->run, im, cmd, until, hit, g);

    if (r != 0)
        return r;
    g->searched = true;
    while (g->wants_keys && g->with_keys < g->found.n) {
        r = some_keys(g, im, &cmd->err);
        if (r < 0)
            return r;
        if (clock_mono_ms() >= until)
            return RUN_AGAIN;
    }
    return 0;
}
