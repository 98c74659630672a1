/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/mime/recode.h"
#include "tests/unit/mime/sample.h"

static int take(void *ctx, struct slice s)
{
    buf_add_slice(ctx, s);
    return 0;
}

static int recode(struct slice in, size_t cut, struct buf *out)
{
    struct recode *r = recode_new(take, out);
    int res = 0;

    for (size_t at = 0; at < in.n && res == 0; at += cut)
        res = recode_feed(r, slice_sub(in, at, at + cut));
    if (res == 0)
        res = recode_finish(r);
    recode_free(r);
    return res;
}

static const struct {
    struct slice in, out; /* out.p NULL: refused */
} cases[] = {
    /* a leaf that is the message */
    {S("MIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\1\2"),
     S("MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n")},
    {S("MIME-Version: 1.0\r\nContent-Transfer-Encoding: BINARY\r\n\r\n"),
     S("MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n")},
    /* the word in a comment is not the encoding; a field that says nothing does not count */
    {S("Content-Type: a/b\r\nContent-Transfer-Encoding: ;\r\n"
       "Content-Transfer-Encoding: (binary) binary (x)\r\n\r\n\0"),
     S("Content-Type: a/b\r\nContent-Transfer-Encoding: ;\r\n"
       "Content-Transfer-Encoding: (binary) base64 (x)\r\n\r\nAA==\r\n")},
    /* in a multipart, which becomes 8bit; the line end before a boundary is the boundary's */
    {S("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: "
       "binary\r\n\r\npre\r\n"
       "--b\r\n\r\nplain\r\n--b\r\nContent-Transfer-Encoding: "
       "binary\r\n\r\n\0\r\n\r\n--b--\r\npost"),
     S("Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\npre\r\n"
       "--b\r\n\r\nplain\r\n--b\r\nContent-Transfer-Encoding: "
       "base64\r\n\r\nAA0K\r\n--b--\r\npost")},
    /* a line of 57 octets, and one more */
    {S("MIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\r\n"
       "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"),
     S("MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n"
       "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh\r\nYg==\r\n")},
    /* in a message within a message */
    {S("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n"
       "MIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\r\n\0"),
     S("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
       "MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n")},
    /* NULs elsewhere */
    {S("Subject: a\0b\r\n\r\n"), {NULL, 0}},
    {S("Subject: a\r\n\r\na\0"), {NULL, 0}},
    {S("Content-Transfer-Encoding: binary\r\n\r\na\0"), {NULL, 0}}, /* no MIME: plain text */
    {S("MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\0"), {NULL, 0}},
};

Test(recode, binary_becomes_base64_however_it_is_cut)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t cut = 1; cut <= cases[i].in.n; cut++) {
            CLEANUP(buf_done) struct buf out = buf_make(BUF_MAX_DEFAULT);
            int r = recode(cases[i].in, cut, &out);

            if (!cases[i].out.p)
                cr_assert_eq(r, -ERR_INVALID, "case %zu", i);
            else
                cr_assert(r == 0 && slice_eq(buf_slice(&out), cases[i].out), "case %zu: %.*s", i,
                          SLICE_FMT(buf_slice(&out)));
        }
}

Test(recode, what_has_no_binary_passes_octet_by_octet)
{
    uint64_t state = 7;

    for (size_t i = 0; i < sample_count; i++) {
        CLEANUP(buf_done) struct buf out = buf_make(BUF_MAX_DEFAULT);

        if (slice_find(samples[i].message, 0) >= 0 ||
            slice_search(samples[i].message, S("inary")) >= 0)
            continue;
        cr_assert_eq(recode(samples[i].message, 7, &out), 0);
        cr_expect(slice_eq(buf_slice(&out), samples[i].message), "%s", samples[i].name);
    }
    for (int i = 0; i < 300; i++) {
        CLEANUP(buf_done) struct buf in = buf_make(BUF_MAX_DEFAULT);
        CLEANUP(buf_done) struct buf out = buf_make(BUF_MAX_DEFAULT);

        sample_message(&state, &in);
        if (slice_find(buf_slice(&in), 0) >= 0 || slice_search(buf_slice(&in), S("inary")) >= 0)
            continue;
        cr_assert_eq(recode(buf_slice(&in), 1 + sample_random(&state) % 100, &out), 0);
        cr_expect(slice_eq(buf_slice(&out), buf_slice(&in)));
    }
}

static int fail(void *ctx, struct slice s)
{
    return -ERR_TOOBIG;
}

Test(recode, the_failure_of_the_taker_is_given_on)
{
    struct recode *r = recode_new(fail, NULL);

    cr_assert_eq(recode_feed(r, S("Subject: x\r\n\r\nbody\r\n")), -ERR_TOOBIG);
    cr_assert_eq(recode_finish(r), -ERR_TOOBIG);
    recode_free(r);
}
