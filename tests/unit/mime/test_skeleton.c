/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mime/base64_form.h"
#include "lib/mime/intake.h"
#include "lib/mime/skeleton.h"
#include "tests/unit/mime/sample.h"

/* Blobs in memory, found by hash. */
struct store {
    VEC(struct buf) blobs;
    VEC(uint8_t) hashes;
    size_t bytes, largest;
    int fail;
};

static int store_put(void *ctx, struct slice bytes, uint8_t ret_hash[SKELETON_HASH])
{
    struct store *s = ctx;
    struct buf b = buf_make(BUF_MAX_DEFAULT);

    if (s->fail)
        return s->fail;
    digest_sha256(bytes, ret_hash);
    buf_add_slice(&b, bytes);
    *VEC_PUSH(&s->blobs) = b;
    for (int i = 0; i < SKELETON_HASH; i++)
        *VEC_PUSH(&s->hashes) = ret_hash[i];
    s->bytes += bytes.n;
    s->largest = MAX(s->largest, bytes.n);
    return 0;
}

static int store_fetch(void *ctx, const uint8_t hash[SKELETON_HASH], struct slice *ret)
{
    struct store *s = ctx;

    for (size_t i = 0; i < s->blobs.n; i++) {
        if (memcmp(s->hashes.items + i * SKELETON_HASH, hash, SKELETON_HASH) == 0) {
            *ret = buf_slice(&s->blobs.items[i]);
            return 0;
        }
    }
    return -ERR_NOTFOUND;
}

static void store_done(struct store *s)
{
    for (size_t i = 0; i < s->blobs.n; i++)
        buf_done(&s->blobs.items[i]);
    VEC_DONE(&s->blobs);
    VEC_DONE(&s->hashes);
}

static void write_cut(struct slice message, size_t step, struct store *s, struct buf *out)
{
    struct intake *in = intake_new(store_put, s, NULL);

    for (size_t at = 0; at < message.n; at += step)
        cr_assert_eq(intake_feed(in, slice_sub(message, at, at + step)), 0);
    cr_assert_eq(intake_finish(in, NULL, out), 0);
    intake_free(in);
}

static void check_ranges(uint64_t *state, const struct skeleton *sk, struct slice message,
                         struct store *s)
{
    struct buf some = buf_make(BUF_MAX_DEFAULT);

    for (int i = 0; i < 24; i++) {
        size_t from = message.n ? sample_random(state) % (message.n + 1) : 0;
        size_t n = sample_random(state) % (i % 2 ? 200 : message.n + 10);

        some.n = 0;
        cr_assert_eq(skeleton_read(sk, from, n, store_fetch, s, &some), 0);
        cr_assert(slice_eq(buf_slice(&some), slice_sub(message, from, from + n)), "%zu+%zu", from,
                  n);
    }
    buf_done(&some);
}

/* Writes, reads, compares; how many octets of blobs it made. */
static size_t check_round_trip(uint64_t *state, struct slice message, size_t step)
{
    struct store s = {0};
    struct buf stored = buf_make(BUF_MAX_DEFAULT), back = buf_make(BUF_MAX_DEFAULT);
    struct skeleton sk;
    size_t bytes;

    write_cut(message, step, &s, &stored);
    cr_assert_eq(skeleton_open(&sk, buf_slice(&stored)), 0);
    cr_assert_eq(sk.size, message.n);
    cr_assert_leq(s.largest, SKELETON_PIECE);
    cr_assert_leq(stored.n, SKELETON_INLINE_MAX + 64 + s.blobs.n * 64 + message.n / 100);
    cr_assert_eq(skeleton_read(&sk, 0, UINT64_MAX, store_fetch, &s, &back), 0);
    cr_assert(slice_eq(buf_slice(&back), message), "%zu octets, step %zu", message.n, step);
    check_ranges(state, &sk, message, &s);
    bytes = s.bytes;
    buf_done(&stored);
    buf_done(&back);
    store_done(&s);
    return bytes;
}

Test(skeleton, I33_fixed_messages_come_out_as_they_came_in)
{
    uint64_t state = 7;

    for (size_t i = 0; i < sample_count; i++) {
        check_round_trip(&state, samples[i].message, 1);
        check_round_trip(&state, samples[i].message, 65536);
    }
}

Test(skeleton, I33_random_messages_come_out_as_they_came_in)
{
    uint64_t state = 4711;
    struct buf b = buf_make(BUF_MAX_DEFAULT);

    for (int i = 0; i < 600; i++) {
        b.n = 0;
        if (i % 2)
            buf_add_str(&b,
                        "Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n");
        sample_message(&state, &b);
        check_round_trip(&state, buf_slice(&b), 1 + sample_random(&state) % 30000);
    }
    buf_done(&b);
}

Test(skeleton, base64_of_any_line_length_is_stored_decoded)
{
    static const struct {
        size_t line;
        const char *end;
    } forms[] = {{76, "\r\n"}, {76, "\n"}, {64, "\r\n"},   {60, "\n"},
                 {75, "\r\n"}, {73, "\n"}, {1000, "\r\n"}, {10000000, "\r\n"}};
    static const size_t sizes[] = {13000, 49152, 300001, 1048575, 1058576, 2500000};
    uint64_t state = 99;
    struct buf b = buf_make(BUF_MAX_DEFAULT);

    for (size_t f = 0; f < ARRAY_LEN(forms); f++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            b.n = 0;
            buf_add_str(&b, "Content-Transfer-Encoding: base64\r\nContent-Type: a/b\r\n\r\n");
            sample_base64(&state, &b, sizes[i], forms[f].line, forms[f].end);
            cr_assert_eq(check_round_trip(&state, buf_slice(&b), 50000), sizes[i],
                         "line %zu size %zu", forms[f].line, sizes[i]);
        }
    }
    buf_done(&b);
}

Test(skeleton, the_same_attachment_in_other_lines_makes_the_same_blobs)
{
    struct store a = {0}, b = {0};
    struct buf first = buf_make(BUF_MAX_DEFAULT), out = buf_make(BUF_MAX_DEFAULT);
    uint64_t state = 5;

    buf_add_str(&first, "Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    sample_base64(&state, &first, 2200000, 76, "\r\n");
    write_cut(buf_slice(&first), 10000, &a, &out);
    first.n = 0;
    state = 5;
    buf_add_str(&first, "MIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\n");
    sample_base64(&state, &first, 2200000, 60, "\n");
    write_cut(buf_slice(&first), 777, &b, &out);
    cr_assert_eq(a.blobs.n, 3);
    cr_assert_eq(b.hashes.n, a.hashes.n);
    cr_assert_arr_eq(a.hashes.items, b.hashes.items, a.hashes.n);
    store_done(&a);
    store_done(&b);
    buf_done(&first);
    buf_done(&out);
}

Test(skeleton, how_the_input_is_cut_makes_no_difference)
{
    uint64_t state = 31337;
    struct buf b = buf_make(BUF_MAX_DEFAULT), one = buf_make(BUF_MAX_DEFAULT),
               two = buf_make(BUF_MAX_DEFAULT);

    for (int i = 0; i < 150; i++) {
        struct store s = {0}, t = {0};

        b.n = one.n = two.n = 0;
        if (i % 2)
            buf_add_str(&b, "Content-Transfer-Encoding: base64\r\nContent-Type: x/y\r\n\r\n");
        sample_message(&state, &b);
        write_cut(buf_slice(&b), b.n + 1, &s, &one);
        write_cut(buf_slice(&b), 1 + sample_random(&state) % 5000, &t, &two);
        cr_assert(slice_eq(buf_slice(&one), buf_slice(&two)));
        store_done(&s);
        store_done(&t);
    }
    buf_done(&b);
    buf_done(&one);
    buf_done(&two);
}

Test(skeleton, what_is_not_large_is_bounded_too)
{
    uint64_t state = 3;
    struct buf b = buf_make(BUF_MAX_DEFAULT);

    buf_add_str(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (int i = 0; i < 60000; i++)
        buf_printf(&b, "--b\r\nX-Number: %d\r\n\r\nsmall part\r\n", i);
    check_round_trip(&state, buf_slice(&b), 8192);
    b.n = 0;
    for (int i = 0; i < 100000; i++)
        buf_printf(&b, "X-%d: field of a huge header\r\n", i);
    check_round_trip(&state, buf_slice(&b), 8192);
    buf_done(&b);
}

Test(skeleton, a_failing_store_is_reported)
{
    struct store s = {.fail = -ERR_UNAVAILABLE};
    struct buf b = buf_make(BUF_MAX_DEFAULT), out = buf_make(BUF_MAX_DEFAULT);
    struct intake *in = intake_new(store_put, &s, NULL);

    buf_add_str(&b, "\r\n");
    for (int i = 0; i < 3000000; i++)
        buf_add_byte(&b, 'x');
    cr_assert_eq(intake_feed(in, buf_slice(&b)), -ERR_UNAVAILABLE);
    cr_assert_eq(intake_finish(in, &out, &out), -ERR_UNAVAILABLE);
    cr_assert_eq(out.n, 0);
    intake_free(in);
    buf_done(&b);
}

Test(skeleton, damaged_values_are_refused_or_read_within_bounds)
{
    struct store s = {0};
    struct buf b = buf_make(BUF_MAX_DEFAULT), stored = buf_make(BUF_MAX_DEFAULT),
               back = buf_make(1 << 20);
    struct skeleton sk;
    uint64_t state = 8;

    buf_add_str(&b, "Content-Transfer-Encoding: base64\r\nContent-Type: x/y\r\n\r\n");
    sample_base64(&state, &b, 30000, 76, "\r\n");
    write_cut(buf_slice(&b), 1000, &s, &stored);
    for (size_t n = 0; n < stored.n; n++)
        cr_assert_lt(skeleton_open(&sk, slice_sub(buf_slice(&stored), 0, n)), 0, "cut at %zu", n);
    for (size_t i = 0; i < stored.n * 8; i++) {
        stored.p[i / 8] ^= (uint8_t)(1 << i % 8);
        if (skeleton_open(&sk, buf_slice(&stored)) == 0) {
            buf_reset(&back, 1 << 20);
            (void)!skeleton_read(&sk, 0, 100000, store_fetch, &s, &back);
        }
        stored.p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    store_done(&s);
    buf_done(&b);
    buf_done(&stored);
    buf_done(&back);
}

Test(skeleton, any_form_encodes_any_range)
{
    struct buf all = buf_make(BUF_MAX_DEFAULT), some = buf_make(BUF_MAX_DEFAULT),
               raw = buf_make(4096);
    uint64_t state = 77;

    for (int i = 0; i < 3000; i++) {
        struct base64_form f = {.line = sample_random(&state) % 12,
                                .nl = 1 + sample_random(&state) % 2};
        uint64_t size, from, to;

        f.col = f.line ? sample_random(&state) % (f.line + 1) : 0;
        raw.n = all.n = some.n = 0;
        for (uint32_t n = sample_random(&state) % 60; n > 0; n--)
            buf_add_byte(&raw, (uint8_t)sample_random(&state));
        size = base64_form_size(&f, raw.n);
        cr_assert(base64_form_encode(&f, buf_slice(&raw), 0, size, &all));
        cr_assert_eq(all.n, size);
        from = sample_random(&state) % (size + 1);
        to = from + sample_random(&state) % (size - from + 1);
        cr_assert(base64_form_encode(&f, buf_slice(&raw), from, to, &some));
        cr_assert(slice_eq(buf_slice(&some), slice_sub(buf_slice(&all), from, to)), "%u %u %u",
                  f.line, f.col, f.nl);
    }
    buf_done(&all);
    buf_done(&some);
    buf_done(&raw);
}
