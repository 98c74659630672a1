/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/submit/lines.h"

struct run {
    int (*give)(void *ctx, struct slice bytes);
    void *ctx;
    int result;
};

static void give(struct run *run, struct slice bytes)
{
    if (run->result == 0 && bytes.n)
        run->result = run->give(run->ctx, bytes);
}

/* What stands at a line end that begins at in.p[at]: how many bytes of it are there. */
static size_t line_end(struct slice in, size_t at)
{
    if (in.p[at] == '\n')
        return 1;
    return at + 1 < in.n && in.p[at + 1] == '\n' ? 2 : 1;
}

int lines_feed(struct lines *l, struct slice in, int (*f)(void *ctx, struct slice bytes), void *ctx)
{
    struct run run = {f, ctx, 0};
    size_t start = 0, at = 0; /* [start, at) is good and not given yet */

    if (in.n && memchr(in.p, 0, in.n))
        return -ERR_INVALID;
    if (l->cr && in.n) {
        give(&run, S("\r\n"));
        start = at = in.p[0] == '\n';
        l->cr = false;
    }
    while (at < in.n && run.result == 0) {
        size_t n;

        if (in.p[at] != '\r' && in.p[at] != '\n') {
            at++;
            continue;
        }
        n = line_end(in, at);
        if (n == 2) {
            at += 2;
            continue;
        }
        give(&run, slice_sub(in, start, at));
        l->cr = in.p[at] == '\r' && at + 1 == in.n;
        if (!l->cr)
            give(&run, S("\r\n"));
        start = ++at;
    }
    give(&run, slice_sub(in, start, at));
    return run.result;
}

int lines_finish(struct lines *l, int (*f)(void *ctx, struct slice bytes), void *ctx)
{
    bool cr = l->cr;

    l->cr = false;
    return cr ? f(ctx, S("\r\n")) : 0;
}
