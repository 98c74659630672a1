/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "protocols/smtp/line.h"

static int collect(void *ctx, struct slice bytes)
{
    buf_add_slice(ctx, bytes);
    return 0;
}

/* What DATA sends, and the message in it; "|" marks where the data must end, if it does. */
static const struct {
    const char *data, *message;
    size_t used; /* of data, 0: the end does not come */
} contents[] = {
    {".\r\n", "", 3},
    {"a\r\n.\r\n", "a\r\n", 6},
    {"a\r\n..\r\n.\r\nQUIT", "a\r\n.\r\n", 10},
    {"..a\r\n.\r\n", ".a\r\n", 8},
    {".a\r\n.\r\n", "a\r\n", 7},
    /* smuggling: none of these is an end (I33, RFC 5321 4.1.1.4) */
    {"a\n.\nb", "a\n.\nb", 0},
    {"a\n.\r\nb", "a\n.\r\nb", 0},
    {"a\r.\rb", "a\r.\rb", 0},
    {"a\r.\r\nb", "a\r.\r\nb", 0},
    {"a\r\n.\nb", "a\r\n\nb", 0},
    {"a\r\n.\rb", "a\r\n\rb", 0},
    {"a\r\n.\r\r\nb", "a\r\n\r\r\nb", 0},
    {"a\r\n.\r.\r\n", "a\r\n\r.\r\n", 0},
    {"a\r\r\n.\r\n", "a\r\r\n", 7},
};

Test(line, dots_end_only_at_crlf_dot_crlf_however_the_bytes_are_cut)
{
    for (size_t i = 0; i < ARRAY_LEN(contents); i++) {
        struct slice all = slice_str(contents[i].data);

        for (size_t step = 1; step <= all.n; step++) {
            CLEANUP(buf_done) struct buf out = buf_make(1000);
            struct smtp_dots dots = {0};
            size_t at = 0, used;
            int res = 0;

            while (at < all.n && res == 0) {
                res = smtp_dots_feed(&dots, slice_sub(all, at, at + step), &used, collect, &out);
                at += used;
            }
            cr_assert_eq(res, contents[i].used != 0, "%zu: end", i);
            cr_assert_eq(at, contents[i].used ? contents[i].used : all.n, "%zu by %zu: %zu", i,
                         step, at);
            cr_assert_str_eq(buf_cstr(&out), contents[i].message, "%zu by %zu", i, step);
        }
    }
}

static const struct {
    const char *rest, *address;
    int result;
    size_t params;
} paths[] = {
    {"FROM:<a@b.c>", "a@b.c", 0, 0},
    {"from: <a@b.c> SIZE=10 BODY=8BITMIME", "a@b.c", 0, 2},
    {"FROM:<>", "", 0, 0},
    {"FROM:<\"a>b\\\"\"@c> X", "\"a>b\\\"\"@c", 0, 1},
    {"FROM:<@x,@y:a@b>", "a@b", 0, 0},
    {"FROM:a@b", NULL, -ERR_INVALID, 0},
    {"FROM:<a@b", NULL, -ERR_INVALID, 0},
    {"FROM:<a@b>SIZE=1", NULL, -ERR_INVALID, 0},
    {"FROM:<@x>", NULL, -ERR_INVALID, 0},
    {"FROM:<a@b> =1", NULL, -ERR_INVALID, 0},
    {"TO:<a@b>", NULL, -ERR_INVALID, 0},
    {"FROM:<a@b> 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5", NULL, -ERR_LIMIT, 0},
};

Test(line, paths_and_parameters)
{
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct smtp_path path;
        int res = smtp_path_parse(slice_str(paths[i].rest), S("FROM:"), &path);

        cr_assert_eq(res, paths[i].result, "%s", paths[i].rest);
        if (res < 0)
            continue;
        cr_assert(slice_eq(path.address, slice_str(paths[i].address)), "%s", paths[i].rest);
        cr_assert_eq(path.n_params, paths[i].params);
    }
}

Test(line, bdat_sizes_are_bounded)
{
    uint64_t size;
    bool last;

    cr_assert(smtp_bdat_parse(S("12 last"), &size, &last) == 0 && size == 12 && last);
    cr_assert(smtp_bdat_parse(S("0"), &size, &last) == 0 && size == 0 && !last);
    cr_assert_eq(smtp_bdat_parse(S("99999999999999999999"), &size, &last), -ERR_INVALID);
    cr_assert_eq(smtp_bdat_parse(S("-1"), &size, &last), -ERR_INVALID);
    cr_assert_eq(smtp_bdat_parse(S("1 FIRST"), &size, &last), -ERR_INVALID);
    cr_assert_eq(smtp_bdat_parse(S(""), &size, &last), -ERR_INVALID);
}

Test(line, burl_has_a_url_and_perhaps_last)
{
    struct slice url;
    bool last;

    cr_assert(smtp_burl_parse(S("imap://h/x"), &url, &last) == 0 && !last);
    cr_assert(smtp_burl_parse(S("imap://h/x last "), &url, &last) == 0 && last);
    cr_assert(slice_eq(url, S("imap://h/x")));
    cr_assert_eq(smtp_burl_parse(S("imap://h/x FIRST"), &url, &last), -ERR_INVALID);
    cr_assert_eq(smtp_burl_parse(S(" LAST"), &url, &last), -ERR_INVALID);
    cr_assert_eq(smtp_burl_parse(S(""), &url, &last), -ERR_INVALID);
}
