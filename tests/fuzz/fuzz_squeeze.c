/* SPDX-License-Identifier: MPL-2.0 */
/* What a client sends under COMPRESS=DEFLATE: the first byte says how it comes in pieces and when
 * the connection rests. With rests and without it must give the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/net/squeeze.h"

#define MOST ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool run(const uint8_t *data, size_t size, size_t piece, bool rests, struct buf *out)
{
    struct squeeze *s = squeeze_new();
    bool ok = true;

    for (size_t at = 0; at < size && ok && out->n < MOST; at += piece) {
        ssize_t n = 1;

        squeeze_feed(s, slice_of(data + at, MIN(piece, size - at)));
        while (n > 0 && out->n < MOST) {
            n = squeeze_read(s, buf_reserve(out, 4096), 4096);
            out->n += n > 0 ? (size_t)n : 0;
            ok = n >= 0;
        }
        if (rests)
            squeeze_rest(s);
    }
    squeeze_free(s);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_done) struct buf a = buf_make(BUF_MAX_DEFAULT), b = buf_make(BUF_MAX_DEFAULT);
    size_t piece;
    bool ok;

    if (size < 2)
        return 0;
    piece = (size_t)data[0] + 1;
    ok = run(data + 1, size - 1, piece, false, &a);
    if (run(data + 1, size - 1, piece, true, &b) != ok || a.n != b.n ||
        (a.n && memcmp(a.p, b.p, a.n)))
        abort();
    return 0;
}
