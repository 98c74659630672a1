/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "protocols/submit/lines.h"

static int collect(void *ctx, struct slice bytes)
{
    buf_add_slice(ctx, bytes);
    return 0;
}

static int mend(struct slice in, size_t step, struct buf *out)
{
    struct lines l = {0};
    int r = 0;

    for (size_t at = 0; at < in.n && r == 0; at += step)
        r = lines_feed(&l, slice_sub(in, at, at + step), collect, out);
    return r < 0 ? r : lines_finish(&l, collect, out);
}

Test(lines, lone_line_ends_become_whole_ones_however_they_are_cut)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"", ""},
        {"a\r\nb\r\n", "a\r\nb\r\n"},
        {"a\nb\rc", "a\r\nb\r\nc"},
        {"\r", "\r\n"},
        {"\n", "\r\n"},
        {"\r\r\n\n", "\r\n\r\n\r\n"},
        {"x\n.\ny\r.\rz\r\n.\nw", "x\r\n.\r\ny\r\n.\r\nz\r\n.\r\nw"},
        {"\n\r\n\r", "\r\n\r\n\r\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t step = 1; step <= strlen(rows[i].in) + 1; step++) {
            CLEANUP(buf_done) struct buf out = buf_make(1000);

            cr_assert_eq(mend(slice_str(rows[i].in), step, &out), 0);
            cr_assert_str_eq(buf_cstr(&out), rows[i].out, "%zu by %zu", i, step);
        }
    }
}

Test(lines, a_nul_is_refused)
{
    CLEANUP(buf_done) struct buf out = buf_make(1000);

    cr_assert_eq(mend(S("a\0b"), 10, &out), -ERR_INVALID);
}
