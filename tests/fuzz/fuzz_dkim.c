/* SPDX-License-Identifier: MPL-2.0 */
/* A message, cut as the first byte says, signed by a key: whatever it is, one signature comes of
 * it, folded, and the same one however it is cut. And the stored form of keys. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/queue/dkim.h"
#include "lib/store/store.h"

static struct store *store;
static struct dkim *dkim;

static void set_up(void)
{
    struct arena a = {0};
    struct dkim_key key = {.domain = "d.example", .selector = "s"};

    if (store_open("memory:", NULL, &store, NULL) < 0 ||
        dkim_key_make(DKIM_ED25519_SHA256, 0, &a, &key, NULL) < 0)
        abort();
    key.domain = "d.example";
    key.selector = "s";
    dkim = dkim_new(store, INT64_C(1) << 40);
    if (dkim_key_add(dkim, &key, NULL) < 0)
        abort();
    arena_done(&a);
}

static void sign(struct slice message, size_t piece, struct buf *out)
{
    struct dkim_signer *s = dkim_signer_new();

    for (size_t at = 0; at < message.n; at += piece)
        dkim_signer_feed(s, slice_sub(message, at, at + piece));
    int n = dkim_sign(dkim, s, "d.example", out, NULL);
    if (n != 1 && n != -ERR_TOOBIG)
        abort();
    dkim_signer_free(s);
}

/* Of two signatures made one after the other only the time may differ. */
static struct slice without_time(struct buf *b)
{
    ssize_t at = slice_search(buf_slice(b), S(" t="));

    return at < 0 ? buf_slice(b) : slice_sub(buf_slice(b), 0, (size_t)at);
}

static struct slice body_hash(struct buf *b)
{
    ssize_t at = slice_search(buf_slice(b), S("bh="));

    return at < 0 ? S("") : slice_sub(buf_slice(b), (size_t)at, (size_t)at + 47);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_done) struct buf whole = buf_make((size_t)4 << 20);
    CLEANUP(buf_done) struct buf cut = buf_make((size_t)4 << 20);
    struct dkim_key key = {0};

    if (!dkim)
        set_up();
    if (size == 0)
        return 0;
    struct slice message = slice_of(data + 1, size - 1);

    (void)!dkim_value_decode(message, &key);
    sign(message, size, &whole);
    sign(message, (size_t)data[0] % 16 + 1, &cut);
    if (!slice_eq(without_time(&whole), without_time(&cut)) ||
        !slice_eq(body_hash(&whole), body_hash(&cut)))
        abort();
    return 0;
}
