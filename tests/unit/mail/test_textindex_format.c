/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mail/textindex_format.h"

#define N 1000u

/* Of n messages, those that a rule picks. */
static size_t pick(uint32_t n, uint32_t per_mille, uint32_t *ret)
{
    size_t count = 0;

    for (uint32_t i = 0; i < n; i++)
        if (random_u64() % 1000 < per_mille)
            ret[count++] = i;
    return count;
}

static void check_bits(const struct textindex_list *list, uint32_t n, const uint32_t *ordinals,
                       size_t count)
{
    uint64_t bitmap[N / 64 + 1] = {0}, expected[N / 64 + 1] = {0};

    for (size_t i = 0; i < count; i++)
        expected[ordinals[i] / 64] |= (uint64_t)1 << ordinals[i] % 64;
    cr_assert_eq(list->count, count);
    cr_assert(textindex_list_bitmap(list, n, bitmap));
    cr_assert_eq(memcmp(bitmap, expected, sizeof bitmap), 0);
}

Test(textindex_format, lists_come_back_whatever_share_of_the_messages_is_in_them)
{
    static const uint32_t per_mille[] = {1, 5, 50, 300, 499, 501, 700, 990, 999, 1000};
    static const uint32_t sizes[] = {1, 2, 3, 63, 64, 65, 127, 128, N};

    for (size_t s = 0; s < ARRAY_LEN(sizes); s++)
        for (size_t i = 0; i < ARRAY_LEN(per_mille); i++) {
            uint32_t ordinals[N];
            size_t count = pick(sizes[s], per_mille[i], ordinals);
            struct buf bytes = buf_make(BUF_MAX_DEFAULT);
            struct textindex_part_writer w;
            struct textindex_part_reader r;
            struct textindex_list list;

            if (!count)
                ordinals[count++] = sizes[s] - 1;
            textindex_part_begin(&w, sizes[s]);
            textindex_part_add(&w, 7, ordinals, count);
            textindex_part_add(&w, 0xFFFFFF, ordinals, 1);
            textindex_part_end(&w, 5, 6, &bytes);
            textindex_part_done(&w);
            cr_assert_eq(textindex_part_check(buf_slice(&bytes), 5, 6), 0);
            textindex_part_open(&r, buf_slice(&bytes), sizes[s]);
            cr_assert(textindex_part_next(&r, &list) && list.gram == 7);
            check_bits(&list, sizes[s], ordinals, count);
            cr_assert(textindex_part_next(&r, &list) && list.gram == 0xFFFFFF);
            check_bits(&list, sizes[s], ordinals, 1);
            cr_assert(!textindex_part_next(&r, &list) && !r.bad);
            buf_done(&bytes);
        }
}

Test(textindex_format, a_document_in_another_place_or_with_another_bit_is_none)
{
    struct buf bytes = buf_make(BUF_MAX_DEFAULT);
    struct textindex_part_writer w;

    textindex_part_begin(&w, 3);
    textindex_part_add(&w, 9, (uint32_t[]){0, 2}, 2);
    textindex_part_end(&w, 5, 6, &bytes);
    textindex_part_done(&w);
    cr_assert_eq(textindex_part_check(buf_slice(&bytes), 5, 7), -ERR_INVALID);
    cr_assert_eq(textindex_part_check(buf_slice(&bytes), 4, 6), -ERR_INVALID);
    for (size_t i = 0; i < bytes.n * 8; i++) {
        bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
        cr_assert_lt(textindex_part_check(buf_slice(&bytes), 5, 6), 0);
        bytes.p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    for (size_t n = 0; n < bytes.n; n++)
        cr_assert_eq(textindex_part_check(slice_of(bytes.p, n), 5, 6), -ERR_INVALID);
    bytes.p[0] = TEXTINDEX_FORMAT + 1;
    cr_assert_eq(textindex_part_check(buf_slice(&bytes), 5, 6), -ERR_UNAVAILABLE);
    buf_done(&bytes);
}

Test(textindex_format, what_describes_a_segment_comes_back)
{
    uint64_t ids[] = {1, 2, 0x123456789abcdef, UINT64_MAX};
    uint8_t open[] = {0x0a};
    struct textindex_head h = {.segment = 77,
                               .text_version = 0x01480100,
                               .n = 4,
                               .bits = {8, 3},
                               .bytes = {123456, 7},
                               .ids = ids,
                               .open = open},
                          got;
    struct buf bytes = buf_make(BUF_MAX_DEFAULT);

    textindex_head_encode(&h, &bytes);
    cr_assert_eq(textindex_head_decode(buf_slice(&bytes), 77, &got), 0);
    cr_assert_eq(got.n, 4);
    cr_assert_eq(got.text_version, h.text_version);
    cr_assert_eq(memcmp(got.ids, ids, sizeof ids), 0);
    cr_assert_eq(got.open[0], 0x0a);
    cr_assert_eq(got.bits[0] * 16 + got.bits[1], 0x83);
    cr_assert_eq(got.bytes[0] + got.bytes[1], 123463);
    textindex_head_done(&got);
    cr_assert_eq(textindex_head_decode(buf_slice(&bytes), 78, &got), -ERR_INVALID);
    buf_done(&bytes);
}

Test(textindex_format, each_three_octets_have_a_gram_of_their_own)
{
    uint64_t *seen = NEW_ARRAY(uint64_t, (1 << 24) / 64);
    bool good = true;

    for (uint32_t i = 0; i < 1 << 24; i++) {
        uint8_t p[] = {(uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        uint32_t gram = textindex_gram(TEXTINDEX_BODIES, p);

        good = good && gram < 1 << 24 && !(seen[gram / 64] >> gram % 64 & 1) &&
               textindex_gram(TEXTINDEX_HEADERS, p) < 1 << 12;
        seen[gram / 64] |= (uint64_t)1 << gram % 64;
    }
    cr_assert(good);
    free(seen);
}
