/* SPDX-License-Identifier: MPL-2.0 */
/* A stored skeleton, damaged in any way: refused, or any range of it reads within bounds and with
 * the length that it says. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/mime/skeleton.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BLOB_MAX 65536

struct blob {
    uint8_t bytes[BLOB_MAX];
    uint32_t stored; /* what the skeleton says of the next one */
};

static int fetch(void *ctx, const uint8_t hash[SKELETON_HASH], struct slice *ret)
{
    struct blob *b = ctx;

    (void)hash;
    *ret = slice_of(b->bytes, MIN(b->stored, (uint32_t)BLOB_MAX));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct blob b;
    struct buf out = buf_make(4 << 20), part = buf_make(4 << 20);
    struct skeleton_ref ref;
    struct skeleton sk;
    size_t pos = 0;

    if (skeleton_open(&sk, slice_of(data, size)) < 0)
        return 0;
    while (skeleton_next_blob(&sk, &pos, &ref))
        b.stored = ref.stored;
    if (sk.size < 1 << 20 && skeleton_read(&sk, 0, UINT64_MAX, fetch, &b, &out) == 0) {
        if (out.n != sk.size)
            abort();
        if (skeleton_read(&sk, sk.size / 3, sk.size / 2, fetch, &b, &part) == 0 &&
            !slice_eq(buf_slice(&part),
                      slice_sub(buf_slice(&out), sk.size / 3, sk.size / 3 + sk.size / 2)))
            abort();
    }
    buf_done(&out);
    buf_done(&part);
    return 0;
}
