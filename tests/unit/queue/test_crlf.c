/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/queue/crlf.h"

static const struct {
    const char *in, *out;
} cases[] = {
    {"", ""},
    {"a\r\nb\r\n", "a\r\nb\r\n"},
    {"a\nb", "a\r\nb"},
    {"a\rb", "a\r\nb"},
    {"a\r", "a\r\n"},
    {"\n.\n", "\r\n.\r\n"},
    {"\n.\r\n", "\r\n.\r\n"},
    {"\r.\r", "\r\n.\r\n"},
    {"\r\r\n\n", "\r\n\r\n\r\n"},
};

Test(crlf, lone_ends_become_whole_however_cut)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = slice_str(cases[i].in);

        for (size_t cut = 0; cut <= in.n; cut++) {
            CLEANUP(buf_done) struct buf out = buf_make(100);
            struct crlf c = {0};

            crlf_feed(&c, slice_sub(in, 0, cut), &out);
            crlf_feed(&c, slice_skip(in, cut), &out);
            crlf_end(&c, &out);
            cr_expect(slice_eq(buf_slice(&out), slice_str(cases[i].out)), "case %zu cut %zu", i,
                      cut);
        }
    }
}
