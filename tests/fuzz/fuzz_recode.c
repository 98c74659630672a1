/* SPDX-License-Identifier: MPL-2.0 */
/* However a message is cut, the same comes out; recoded once more, it stays as it is. */
#include <stdlib.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/mime/recode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int take(void *ctx, struct slice s)
{
    buf_add_slice(ctx, s);
    return 0;
}

static int recode(struct slice in, size_t cut, struct buf *out)
{
    struct recode *r = recode_new(take, out);
    int res = 0;

    for (size_t at = 0; at < in.n && res == 0; at += cut)
        res = recode_feed(r, slice_sub(in, at, at + cut));
    if (res == 0)
        res = recode_finish(r);
    recode_free(r);
    return res;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    CLEANUP(buf_done) struct buf whole = buf_make(BUF_MAX_DEFAULT);
    CLEANUP(buf_done) struct buf cut = buf_make(BUF_MAX_DEFAULT);
    CLEANUP(buf_done) struct buf again = buf_make(BUF_MAX_DEFAULT);
    size_t step = n ? data[0] % 40 + (size_t)1 : 1;
    int r = recode(slice_of(data, n), n + 1, &whole);

    if (recode(slice_of(data, n), step, &cut) != r)
        abort();
    if (r < 0)
        return 0;
    if (!slice_eq(buf_slice(&whole), buf_slice(&cut)))
        abort();
    if (recode(buf_slice(&whole), step, &again) < 0 ||
        !slice_eq(buf_slice(&whole), buf_slice(&again)))
        abort();
    return 0;
}
