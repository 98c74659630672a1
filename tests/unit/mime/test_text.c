/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mime/intake.h"
#include "lib/mime/text.h"
#include "lib/mime/transfer.h"
#include "tests/unit/mime/sample.h"

static void decode(enum mime_encoding encoding, struct slice in, size_t cut, struct buf *out)
{
    struct transfer t;

    out->n = 0;
    transfer_begin(&t, encoding);
    transfer_feed(&t, out, slice_sub(in, 0, cut));
    for (size_t i = cut; i < in.n; i++)
        transfer_feed(&t, out, slice_sub(in, i, i + 1));
    transfer_end(&t, out);
}

Test(text, transfer_encodings_are_decoded_in_any_cuts)
{
    static const struct {
        enum mime_encoding encoding;
        const char *in, *out;
    } cases[] = {
        {MIME_QP, "a=41b", "aAb"},         {MIME_QP, "a=\r\nb", "ab"},
        {MIME_QP, "a= \t\r\nb", "ab"},     {MIME_QP, "a=\nb", "ab"},
        {MIME_QP, "a \t\r\nb", "a\r\nb"},  {MIME_QP, "a =20\r\nb", "a  \r\nb"},
        {MIME_QP, "=ZZ=4Q=", "=ZZ=4Q"},    {MIME_QP, "==41", "=A"},
        {MIME_QP, "=c3=A4", "ä"},          {MIME_QP, "x ", "x "},
        {MIME_QP, "a\rb", "a\rb"},         {MIME_BASE64, "aGFs\r\nbG8=", "hallo"},
        {MIME_BASE64, "aGFsbG8", "hallo"}, {MIME_BASE64, "aG*Fs bG8=", "hallo"},
        {MIME_BASE64, "YQ==YQ==", "aa"},   {MIME_BASE64, "", ""},
        {MIME_8BIT, "a=41", "a=41"},       {MIME_UNKNOWN, "a=41", "a=41"},
    };
    struct buf out = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = slice_str(cases[i].in);

        for (size_t cut = 0; cut <= in.n; cut++) {
            decode(cases[i].encoding, in, cut, &out);
            cr_expect_str_eq(buf_cstr(&out), cases[i].out, "%s cut at %zu", cases[i].in, cut);
        }
    }
    buf_done(&out);
}

Test(text, case_and_composition_do_not_matter)
{
    static const struct {
        const char *text, *key;
        bool found;
    } cases[] = {
        {"Hello World", "LO wO", true},
        {"JÜRGEN", "jürgen", true},
        {"ju\xCC\x88rgen", "JÜRGEN", true},
        {"ПРИВЕТ мир", "привет МИР", true},
        {"Ελένη", "ΕΛΈΝΗ", true},
        {"abc", "abd", false},
        {"x", "", true},
        {"한국어", "국", true},
        {"ǆ", "Ǆ", true},
        {"bad \xFF", "bad", true},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_eq(text_contains(slice_str(cases[i].text), slice_str(cases[i].key)),
                     cases[i].found, "%s %s", cases[i].text, cases[i].key);
    cr_expect(
        text_field_contains(S("=?iso-8859-1?q?J=FC?=\r\n =?iso-8859-1?q?rgen?= x"), S("jürgen X")));
}

static const struct slice message =
    S("From: =?utf-8?q?J=C3=BCrgen?= <j@x>\r\nSubject: top\r\n subject\r\nContent-Type: "
      "multipart/mixed; boundary=b\r\n\r\n"
      "preamble words\r\n--b\r\nContent-Type: text/plain; "
      "charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n"
      "X-Part: partfield\r\n\r\nGr=FC=\r\n=DFe aus K=F6ln\r\n--b\r\nContent-Type: text/html; "
      "charset=utf-8\r\n"
      "Content-Transfer-Encoding: base64\r\n\r\nPGI+ZmV0dDwv\r\nYj4=\r\n--b\r\nContent-Type: "
      "application/x\r\n\r\nbinarywords\r\n"
      "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: "
      "inner\r\n\r\ninnerbody\r\n--b--\r\nepilogue\r\n");

Test(text, every_ascii_byte_is_mapped_at_every_place)
{
    for (unsigned c = 0; c < 0x80; c++)
        for (size_t at = 0; at < 20; at++) {
            uint8_t text[] = "abcdefghijklmnopqrst";
            CLEANUP(buf_done) struct buf out = buf_make(100);

            text[at] = (uint8_t)c;
            text_casemap(&out, slice_of(text, 20));
            cr_assert_eq(out.n, 20);
            for (size_t i = 0; i < 20; i++)
                cr_assert_eq(out.p[i], byte_upper(text[i]), "%u at %zu", c, at);
        }
}

Test(text, messages_are_searched_decoded)
{
    static const struct {
        const char *key;
        bool header, body;
    } cases[] = {
        {"jürgen", true, false},    {"TOP SUBJECT", true, false},
        {"from: jü", true, false},  {"grüße aus köln", false, true},
        {"<b>FETT", false, true},   {"binarywords", false, false},
        {"preamble", false, false}, {"epilogue", false, false},
        {"inner", true, true},      {"innerBODY", false, true},
        {"partfield", true, false}, {"subjectcontent", false, false},
    };

    for (size_t step = 1; step < 500; step += 37) {
        struct slice keys[2 * ARRAY_LEN(cases)];
        enum text_where where[2 * ARRAY_LEN(cases)];
        struct text_search *t;
        uint64_t found;

        for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
            keys[i] = slice_str(cases[i / 2].key);
            where[i] = i % 2 ? TEXT_BODIES : TEXT_HEADERS;
        }
        t = text_search_new(keys, where, ARRAY_LEN(keys));
        for (size_t at = 0; at < message.n; at += step)
            text_search_feed(t, slice_sub(message, at, at + step));
        found = text_search_finish(t);
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            cr_expect_eq(found >> (2 * i) & 1, cases[i].header, "%s in header", cases[i].key);
            cr_expect_eq(found >> (2 * i + 1) & 1, cases[i].body, "%s in body", cases[i].key);
        }
        text_search_free(t);
    }
}

Test(text, a_key_across_windows_is_found)
{
    struct buf b = buf_make(BUF_MAX_DEFAULT);
    struct slice key = S("needle in the hay");
    enum text_where where = TEXT_BODIES;

    for (size_t before = 16300; before < 16420; before++) {
        struct text_search *t = text_search_new(&key, &where, 1);

        b.n = 0;
        buf_add_str(&b, "\r\n");
        for (size_t i = 0; i < before; i++)
            buf_add_byte(&b, 'n');
        buf_add_str(&b, "Needle in the HAY and more");
        text_search_feed(t, buf_slice(&b));
        cr_assert_eq(text_search_finish(t), 1, "%zu", before);
        text_search_free(t);
    }
    buf_done(&b);
}

static void preview(struct slice m, struct buf *out)
{
    struct intake *in = intake_new(NULL, NULL, NULL);
    struct buf digest = buf_make(BUF_MAX_DEFAULT);
    struct mdigest d;

    cr_assert_eq(intake_feed(in, m), 0);
    cr_assert_eq(intake_finish(in, &digest, NULL), 0);
    cr_assert_eq(mdigest_open(&d, buf_slice(&digest)), 0);
    buf_add_slice(out, d.preview);
    intake_free(in);
    buf_done(&digest);
}

Test(text, previews_show_the_first_words)
{
    static const struct {
        struct slice message;
        const char *preview;
    } cases[] = {
        {S("\r\n\r\nHello\r\n  there\r\n"), "Hello there"},
        {S("Content-Type: "
           "text/html\r\n\r\n<html><head><title>T</title><style>p{}</style></head><!-- c > "
           "--><p>A&nbsp;&lt;b&gt;"
           "<br>x<script>if(a<b)</script> &#228;&#x20AC;&bogus;"),
         "A <b> x ä€&bogus;"},
        {S("Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: "
           "text/html\r\n\r\n<p>html\r\n--b\r\n\r\nplain\r\n--b--"),
         "plain"},
        {S("Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\n "
           "\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html\r\n--b--"),
         "html"},
        {S("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
           "base64\r\n\r\nw6TDtsO8\r\n"),
         "äöü"},
        {S("Content-Type: image/png\r\n\r\nxxxx"), ""},
        {S(""), ""},
        {S("Content-Type: text/html\r\n\r\n<p unclosed"), ""},
        {S("Content-Type: text/html\r\n\r\na < b && c"), "a < b && c"},
    };
    struct buf out = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        out.n = 0;
        preview(cases[i].message, &out);
        cr_expect_str_eq(buf_cstr(&out), cases[i].preview);
    }
    buf_done(&out);
}

Test(text, previews_have_200_characters_at_most)
{
    struct buf b = buf_make(BUF_MAX_DEFAULT), out = buf_make(BUF_MAX_DEFAULT);
    size_t chars = 0;

    buf_add_str(&b, "Content-Type: text/plain; charset=utf-8\r\n\r\n");
    for (int i = 0; i < 5000; i++)
        buf_add_str(&b, i % 7 ? "ä" : " ");
    preview(buf_slice(&b), &out);
    for (size_t i = 0; i < out.n; i++)
        chars += (out.p[i] & 0xC0) != 0x80;
    cr_assert_eq(chars, 200);
    cr_assert(utf8_valid(buf_slice(&out)));
    buf_done(&b);
    buf_done(&out);
}

Test(text, addresses_are_those_of_the_envelope)
{
    static const struct {
        const char *value, *key;
        bool found;
    } cases[] = {
        {"Ann Author <ann@example.org>", "author <ANN@", true},
        {"ann@example.org, bob@example.org", "org, bob", true},
        {"=?utf-8?q?J=C3=BCrgen?= <j@x>", "J\xC3\x9CRGEN", true},
        {"=?utf-8?q?J=C3=BCrgen?= <j@x>", "utf-8", false},
        {"ann@example.org (not bob)", "bob", true}, /* an old way to give the name */
        {"\"Ann (not bob)\" <ann@example.org>", "(not bob) <ann", true},
        {"Ann (not bob) <ann@example.org>", "bob", false},
        {"\"A \\\"B\\\" C\" <ann@example.org>", "a \"b\" c", true},
        {"ann @\r\n example.org", "ann@example.org", true},
        {"Team: ann@example.org, bob@example.org;", "team: ann@example.org, bob", true},
        {"", "x", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        cr_expect_eq(text_addresses_contain(slice_str(cases[i].value), slice_str(cases[i].key)),
                     cases[i].found, "%s in %s", cases[i].key, cases[i].value);
}
