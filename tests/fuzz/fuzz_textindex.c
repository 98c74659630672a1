/* SPDX-License-Identifier: MPL-2.0 */
/* The first octet says what the others are: 0, what describes a segment; else a part of lists, for
 * as many messages as the octet after it says. The check at the end of a document is put there: a
 * fuzzer does not get past it. */
#include "lib/base/digest.h"
#include "lib/mail/textindex_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void look_at_head(struct slice bytes)
{
    struct textindex_head h;

    if (textindex_head_decode(bytes, 1, &h) < 0)
        return;
    for (uint32_t i = 1; i < h.n; i++)
        if (h.ids[i] <= h.ids[i - 1])
            __builtin_trap();
    textindex_head_done(&h);
}

static void look_at_part(struct slice bytes, uint32_t messages)
{
    struct textindex_part_reader r;
    struct textindex_list list;
    uint32_t before = 0;

    if (textindex_part_check(bytes, 1, 1) < 0)
        __builtin_trap();
    textindex_part_open(&r, bytes, messages);
    while (textindex_part_next(&r, &list)) {
        uint64_t bitmap[8] = {0};
        uint32_t count = 0;

        if (list.gram < before)
            __builtin_trap();
        before = list.gram;
        if (!textindex_list_bitmap(&list, messages, bitmap))
            continue;
        for (size_t i = 0; i < 8; i++)
            count += (uint32_t)__builtin_popcountll(bitmap[i]);
        if (count != list.count)
            __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf bytes = buf_make(BUF_MAX_DEFAULT);
    uint8_t hash[SHA256_SIZE];

    if (n < 2)
        return 0;
    buf_add_byte(&bytes, TEXTINDEX_FORMAT);
    buf_add_be64(&bytes, 1);
    buf_add_be32(&bytes, data[0] != 0);
    buf_add(&bytes, data + 2, n - 2);
    digest_sha256(buf_slice(&bytes), hash);
    buf_add(&bytes, hash, 8);
    if (data[0])
        look_at_part(buf_slice(&bytes), 1u + data[1]);
    else
        look_at_head(buf_slice(&bytes));
    buf_done(&bytes);
    return 0;
}
