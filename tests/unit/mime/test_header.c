/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mime/charset.h"
#include "lib/mime/date.h"
#include "lib/mime/envelope.h"
#include "lib/mime/header.h"
#include "tests/unit/mime/sample.h"

struct pair {
    const char *in, *out;
};

static void expect(struct buf *got, const struct pair *p)
{
    cr_expect_str_eq(buf_cstr(got), p->out, "%s", p->in);
    got->n = 0;
}

Test(header, fields_are_split_as_they_came)
{
    struct slice block =
        S("Subject : a\r\n b\r\nno colon\r\nX:\r\n\tc\nY:  \t \r\n z\r\n\r\nBody: x\r\n");
    struct header_reader r = header_reader_of(block);
    struct header_field f;

    cr_assert(header_next(&r, &f));
    cr_assert(slice_eq(f.name, S("Subject")) && slice_eq(f.value, S("a\r\n b")));
    cr_assert(slice_eq(f.raw, S("Subject : a\r\n b\r\n")));
    cr_assert(header_next(&r, &f));
    cr_assert(f.name.n == 0 && slice_eq(f.value, S("no colon")) && f.offset == 17);
    cr_assert(header_next(&r, &f));
    cr_assert(slice_eq(f.name, S("X")) && slice_eq(f.value, S("\r\n\tc")));
    cr_assert(header_next(&r, &f));
    cr_assert(slice_eq(f.value, S(" \t \r\n z")) || slice_eq(f.value, S("\t \r\n z")) ||
              f.value.n > 0);
    cr_assert(!header_next(&r, &f));
    cr_assert(header_find(block, S("SUBJECT"), &f));
    cr_assert(!header_find(block, S("Body"), &f), "behind the empty line is no header");
}

Test(header, encoded_words_are_decoded)
{
    static const struct pair cases[] = {
        {"plain", "plain"},
        {"=?utf-8?q?J=C3=BCrgen?=", "Jürgen"},
        {"=?UTF-8?B?SsO8cmdlbg==?= x", "Jürgen x"},
        {"=?iso-8859-1?q?a?= =?iso-8859-1?q?b?=", "ab"},
        {"=?utf-8?q?a?=\r\n =?utf-8?q?b?= c", "ab c"},
        {"=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"},
        {"=?iso-2022-jp?B?GyRCJCQbKEI=?=", "い"},
        {"=?gb2312?B?1tDOxA==?=", "中文"},
        {"=?x-nosuch?q?abc=E4?=", "abcä"},
        {"=?utf-8?q?=FF?=", "\xEF\xBF\xBD"},
        {"=?utf-8*en?q?a_b?=", "a b"},
        {"=?utf-8?q?a b?=", "a b"},
        {"=?utf-8?q?=0D=0A=00x?=", "   x"},
        {"=?utf-8?q?unfinished", "=?utf-8?q?unfinished"},
        {"=?utf-8?z?x?=", "=?utf-8?z?x?="},
        {"=?=?=?", "=?=?=?"},
        {"a\r\n b", "a b"},
        {"8bit \xFC", "8bit ü"},
        {"8bit \xC3\xBC", "8bit ü"},
        {"(=?utf-8?q?x?=)", "(x)"},
        {"=?utf-8?q?a?=b=?utf-8?q?c?=", "abc"},
    };
    struct buf out = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        header_decode(&out, slice_str(cases[i].in));
        expect(&out, &cases[i]);
    }
    buf_done(&out);
}

Test(header, base_subjects_follow_RFC_5256)
{
    static const struct {
        const char *in, *out;
        int reply;
    } cases[] = {
        {"hello", "hello", 0},
        {"Re: hello", "hello", 1},
        {"RE : hello", "hello", 1},
        {"re[2]: hello", "hello", 1},
        {"Fwd: Re: FW: hello (fwd) (fwd) ", "hello", 1},
        {"[list] hello", "hello", 0},
        {"[list] Re: [list] hello", "hello", 1},
        {"[list]", "[list]", 0},
        {"[a][b]", "[b]", 0},
        {"[fwd: hello]", "hello", 1},
        {"[Fwd: [x] Re: hello (fwd)]", "hello", 1},
        {"  a \t\t b ", "a b", 0},
        {"Re:", "", 1},
        {"Reply", "Reply", 0},
        {"Re[x]y: z", "Re[x]y: z", 0},
        {"", "", 0},
    };
    struct buf out = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        out.n = 0;
        cr_expect_eq(subject_base(&out, slice_str(cases[i].in)), cases[i].reply, "%s", cases[i].in);
        cr_expect_str_eq(buf_cstr(&out), cases[i].out, "%s", cases[i].in);
    }
    buf_done(&out);
}

Test(header, message_ids_are_found_in_any_text)
{
    static const struct pair cases[] = {
        {"<a@b>", "a@b;"},
        {"<a@b><c@d> text <e@f>", "a@b;c@d;e@f;"},
        {"<\"a.b\"@c> <\"a b\"@c>", "a.b@c;\"a b\"@c;"},
        {"< a (x) @ b >", "a@b;"},
        {"<a@[1.2.3.4]>", "a@[1.2.3.4];"},
        {"<<a@b>>", "a@b;"},
        {"a@b", ""},
        {"<a", ""},
        {"<a@b", ""},
        {"<>", ""},
        {"<a@b>\r\n\t<c@d>", "a@b;c@d;"},
    };
    struct buf out = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t pos = 0;

        while (msgid_next(slice_str(cases[i].in), &pos, &out))
            buf_add_byte(&out, ';');
        expect(&out, &cases[i]);
    }
    buf_done(&out);
}

Test(header, dates_of_all_forms_are_read)
{
    static const struct {
        const char *in;
        int64_t unix_time; /* -1: no date */
    } cases[] = {
        {"Mon, 1 Jan 2024 10:00:00 +0000", 1704103200},
        {"1 Jan 2024 10:00:00 +0200", 1704096000},
        {"Mon, 1 Jan 24 10:00 GMT", 1704103200},
        {"Monday, 01-Jan-24 10:00:00 EST", 1704121200},
        {"Thu Sep  4 10:00:00 1998", 904903200},
        {"Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", 880127706},
        {"1 January 2024 10:00:00 +0100 (CET)", 1704099600},
        {"Mon,1 Jan 2024 10:00:00+0000", 1704103200},
        {"Mon, 1 Jan 99 00:00:00 Z", 915148800},
        {"Mon, 1 Jan 100 00:00:00 Z", 946684800},
        {"1 Jan 70 00:00:00 A", 0},
        {"Mon, 1 Jan 2024 10:00:60 Z", 1704103259},
        {"Mon, 1 Jan 2024", 1704067200},
        {"32 Jan 2024 10:00:00 +0000", -1},
        {"29 Feb 2023 10:00:00 +0000", -1},
        {"Mon, 1 Jan 2024 25:00:00 +0000", -1},
        {"Mon, 1 Jan 99999 10:00:00 +0000", -1},
        {"garbage", -1},
        {"", -1},
        {"(((", -1},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct civil c;
        int ret = date_parse(slice_str(cases[i].in), &c);

        cr_expect_eq(ret, cases[i].unix_time == -1 ? -ERR_INVALID : 0, "%s", cases[i].in);
        if (ret == 0)
            cr_expect_eq(civil_to_unix(&c), cases[i].unix_time, "%s: %lld", cases[i].in,
                         (long long)civil_to_unix(&c));
    }
}

/* A From field -> its list in ENVELOPE. */
static const struct pair addresses[] = {
    {"a@b", "((NIL NIL \"a\" \"b\"))"},
    {"A B <a@b>", "((\"A B\" NIL \"a\" \"b\"))"},
    {"\"A, \\\"B\\\"\" <a@b>", "(({6}\r\nA, \"B\" NIL \"a\" \"b\"))"},
    {"a@b (A Comment)", "((\"A Comment\" NIL \"a\" \"b\"))"},
    {"g: a@b, c@d;",
     "((NIL NIL \"g\" NIL)(NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")(NIL NIL NIL NIL))"},
    {"undisclosed-recipients:;", "((NIL NIL \"undisclosed-recipients\" NIL)(NIL NIL NIL NIL))"},
    {"<@r1,@r2:a@b>", "((NIL \"@r1,@r2\" \"a\" \"b\"))"},
    {"user", "((NIL NIL \"user\" \"MISSING_DOMAIN\"))"},
    {"user name", "((\"user name\" NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\"))"},
    {"<>", "((NIL NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\"))"},
    {"A <a@b", "((\"A\" NIL \"a\" \"SYNTAX_ERROR\"))"},
    {"a . b @ c . d", "((NIL NIL \"a.b\" \"c.d\"))"},
    {".a..b.@c", "((NIL NIL \".a..b.\" \"c\"))"},
    {"a@[192.0.2.1]", "((NIL NIL \"a\" \"[192.0.2.1]\"))"},
    {"\xC3\xA4 <\xC3\xB6@\xC3\xBC>", "(({2}\r\n\xC3\xA4 NIL {2}\r\n\xC3\xB6 {2}\r\n\xC3\xBC))"},
    {"", "NIL"},
    {"a@b, , c@d", "((NIL NIL \"a\" \"b\")(NIL NIL \"MISSING_MAILBOX\" \"MISSING_DOMAIN\")(NIL NIL "
                   "\"c\" \"d\"))"},
};

Test(header, addresses_are_read_and_mended)
{
    struct buf block = buf_make(BUF_MAX_DEFAULT), out = buf_make(BUF_MAX_DEFAULT),
               want = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        const char *list = addresses[i].out;

        block.n = out.n = want.n = 0;
        buf_printf(&block, "From: %s\r\n\r\n", addresses[i].in);
        buf_printf(&want, "(NIL NIL %s %s %s NIL NIL NIL NIL NIL)", list, list, list);
        envelope_write(&out, buf_slice(&block));
        cr_expect_str_eq(buf_cstr(&out), buf_cstr(&want), "%s", addresses[i].in);
    }
    buf_done(&block);
    buf_done(&out);
    buf_done(&want);
}

Test(header, envelope_strings_are_quoted_or_literals)
{
    struct buf out = buf_make(BUF_MAX_DEFAULT);

    envelope_write(&out, S("Date: x\r\n y\r\nSubject:  a \"b\"\r\n\t c \r\nMessage-ID: "
                           "<1>\r\nMessage-ID: <\"2\\\">\r\n"
                           "In-Reply-To: \xC3\xA4\r\nTo: a@b\r\nTo: c@d\r\nSender:\r\n\r\n"));
    cr_assert_str_eq(
        buf_cstr(&out),
        "(\"x y\" {7}\r\na \"b\" c NIL NIL NIL ((NIL NIL \"a\" \"b\")(NIL NIL \"c\" \"d\")) "
        "NIL NIL {2}\r\n\xC3\xA4 \"<\\\"2\\\\\\\">\")");
    buf_done(&out);
}

Test(header, charsets_are_converted_in_any_cuts)
{
    static const struct {
        const char *charset;
        struct slice in;
        const char *out;
    } cases[] = {
        {"utf-8", S("a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"), "aä€😀"},
        {"utf-8", S("\xC3\x41\xE2\x82\xF0\x9F"),
         "\xEF\xBF\xBD"
         "A\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"iso-8859-1", S("\xE4\x80"), "ä€"},
        {"us-ascii", S("\xE4 \xC3\xA4"), "ä ä"},
        {"koi8-r", S("\xF0\xD2"), "Пр"},
        {"shift_jis", S("\x93\xFA\x96\x7B"), "日本"},
        {"iso-2022-jp", S("\x1b$BF|K\\\x1b(B x"), "日本 x"},
        {"utf-16", S("\xFE\xFF\x00\x61\xD8\x3D\xDE\x00"), "a😀"},
        {"gb18030", S("\xD6\xD0\x95\x32\x82\x36"), "中𠀀"},
        {"no-such-charset", S("a\xC3\xA4\xE4"), "aää"},
    };
    struct buf out = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t cut = 0; cut <= cases[i].in.n; cut++) {
            struct charset *cs = charset_open(slice_str(cases[i].charset));

            out.n = 0;
            charset_to_utf8(cs, &out, slice_sub(cases[i].in, 0, cut), false);
            for (size_t at = cut; at < cases[i].in.n; at++)
                charset_to_utf8(cs, &out, slice_sub(cases[i].in, at, at + 1), false);
            charset_to_utf8(cs, &out, S(""), true);
            charset_close(cs);
            cr_expect_str_eq(buf_cstr(&out), cases[i].out, "%s cut at %zu", cases[i].charset, cut);
        }
    }
    buf_done(&out);
}

Test(header, decoded_text_is_always_clean_UTF_8)
{
    struct buf in = buf_make(BUF_MAX_DEFAULT), out = buf_make(BUF_MAX_DEFAULT);
    uint64_t state = 12;

    for (int i = 0; i < 3000; i++) {
        in.n = out.n = 0;
        sample_message(&state, &in);
        header_decode(&out, slice_sub(buf_slice(&in), 0, 3000));
        cr_assert(utf8_valid(buf_slice(&out)));
        cr_assert_eq(slice_find(buf_slice(&out), '\n'), -1);
        cr_assert_eq(slice_find(buf_slice(&out), '\0'), -1);
    }
    buf_done(&in);
    buf_done(&out);
}
