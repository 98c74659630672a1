/* SPDX-License-Identifier: MPL-2.0 */
/* A message in two cuts: the same digest and skeleton, the skeleton reads back as what was fed
 * (I33), the digest opens, its sections are those of the tree. */
#include <stdlib.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mime/intake.h"
#include "lib/mime/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BLOBS_MAX 64

struct store {
    struct buf blobs[BLOBS_MAX];
    uint8_t hashes[BLOBS_MAX][SKELETON_HASH];
    size_t n;
};

static int put(void *ctx, struct slice bytes, uint8_t ret_hash[SKELETON_HASH])
{
    struct store *s = ctx;

    if (s->n == BLOBS_MAX)
        return -ERR_LIMIT;
    digest_sha256(bytes, ret_hash);
    memcpy(s->hashes[s->n], ret_hash, SKELETON_HASH);
    s->blobs[s->n] = buf_make(BUF_MAX_DEFAULT);
    buf_add_slice(&s->blobs[s->n++], bytes);
    return 0;
}

static int fetch(void *ctx, const uint8_t hash[SKELETON_HASH], struct slice *ret)
{
    struct store *s = ctx;

    for (size_t i = 0; i < s->n; i++) {
        if (memcmp(s->hashes[i], hash, SKELETON_HASH) == 0) {
            *ret = buf_slice(&s->blobs[i]);
            return 0;
        }
    }
    return -ERR_NOTFOUND;
}

static int take(struct slice message, size_t step, struct store *s, struct buf *digest,
                struct buf *skeleton)
{
    struct intake *in = intake_new(put, s, NULL);
    int ret = 0;

    for (size_t at = 0; at < message.n && ret == 0; at += step)
        ret = intake_feed(in, slice_sub(message, at, at + step));
    if (ret == 0)
        ret = intake_finish(in, digest, skeleton);
    intake_free(in);
    return ret;
}

static void check(bool good)
{
    if (!good)
        abort();
}

static void check_read(struct slice skeleton, struct slice message, struct store *s)
{
    struct buf back = buf_make(BUF_MAX_DEFAULT);
    struct skeleton sk;
    size_t third = message.n / 3;

    check(skeleton_open(&sk, skeleton) == 0);
    check(skeleton_read(&sk, 0, third, fetch, s, &back) == 0);
    check(skeleton_read(&sk, third, message.n, fetch, s, &back) == 0);
    check(slice_eq(buf_slice(&back), message));
    buf_done(&back);
}

static void store_done(struct store *s)
{
    for (size_t i = 0; i < s->n; i++)
        buf_done(&s->blobs[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf d1 = buf_make(BUF_MAX_DEFAULT), d2 = d1, s1 = d1, s2 = d1;
    struct store a = {.n = 0}, b = {.n = 0};
    struct slice message = slice_of(data + (size > 0), size - (size > 0));
    size_t step = size > 0 ? 1 + data[0] : 1;
    struct mdigest d;

    if (take(message, message.n + 1, &a, &d1, &s1) == 0) {
        check(take(message, step, &b, &d2, &s2) == 0);
        check(slice_eq(buf_slice(&d1), buf_slice(&d2)) && slice_eq(buf_slice(&s1), buf_slice(&s2)));
        check(mdigest_open(&d, buf_slice(&d1)) == 0 && d.size == message.n);
        check_read(buf_slice(&s1), message, &a);
        struct slice key = slice_sub(message, 0, 3);
        enum text_where where = TEXT_HEADERS | TEXT_BODIES;
        struct text_search *t = text_search_new(&key, &where, 1);

        text_search_feed(t, message);
        text_search_finish(t);
        text_search_free(t);
    }
    store_done(&a);
    store_done(&b);
    buf_done(&d1);
    buf_done(&d2);
    buf_done(&s1);
    buf_done(&s2);
    return 0;
}
