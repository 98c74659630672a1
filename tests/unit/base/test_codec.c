/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"

static const struct {
    const char *utf8, *mutf7;
} names[] = {
    {"INBOX", "INBOX"},
    {"a&b", "a&-b"},
    {"Entw\xc3\xbcrfe", "Entw&APw-rfe"},
    {"\xe5\x8f\xb0\xe5\x8c\x97", "&U,BTFw-"},
    {"~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
     "~peter/mail/&U,BTFw-/&ZeVnLIqe-"},
    {"\xf0\x9f\x98\x80", "&2D3eAA-"},
};

Test(codec, mutf7_encodes_and_decodes_back)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(buf_done) struct buf out = buf_make(1000);

        cr_assert_eq(mutf7_encode(&out, slice_str(names[i].utf8)), 0);
        cr_assert_str_eq(buf_cstr(&out), names[i].mutf7);
        buf_reset(&out, 1000);
        cr_assert_eq(mutf7_decode(&out, slice_str(names[i].mutf7)), 0, "%s", names[i].mutf7);
        cr_assert_str_eq(buf_cstr(&out), names[i].utf8);
    }
}

Test(codec, mutf7_refuses_what_encoding_would_not_give)
{
    static const char *const bad[] = {"&",     "&AGE-",      "&APw",   "&U,BTFx-", "&2D0-",
                                      "a\x80", "&APw-&APw-", "&AP/w-", "&3gA-",    "x\ty"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(buf_done) struct buf out = buf_make(1000);

        cr_assert_eq(mutf7_decode(&out, slice_str(bad[i])), -ERR_INVALID, "%s", bad[i]);
    }
}

Test(codec, base64_is_strict_and_reversible)
{
    static const char *const bad[] = {
        "A", "AA", "AAA", "AA=A", "AB==", "AAB=", "A===", "AA\n=", "===="};
    uint8_t bytes[60];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        CLEANUP(buf_done) struct buf text = buf_make(1000), back = buf_make(1000);

        base64_encode(&text, slice_of(bytes, n));
        cr_assert_eq(base64_decode(&back, buf_slice(&text)), 0);
        cr_assert(slice_eq(buf_slice(&back), slice_of(bytes, n)));
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        CLEANUP(buf_done) struct buf out = buf_make(1000);

        cr_assert_eq(base64_decode(&out, slice_str(bad[i])), -ERR_INVALID, "%s", bad[i]);
    }
}

Test(codec, utf8_refuses_overlong_surrogate_and_too_high)
{
    static const char *const bad[] = {"\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                      "\xe2\x82", "\x80",         "\xff"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_not(utf8_valid(slice_str(bad[i])), "%zu", i);
    cr_assert(utf8_valid(S("a\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80")));
}

Test(codec, base64url_is_strict)
{
    static const struct {
        const char *text, *want; /* want NULL: invalid */
    } cases[] = {
        {"", ""},       {"Zg", "f"}, {"Zm8", "fo"}, {"Zm9v", "foo"}, {"-_-_", "\xfb\xff\xbf"},
        {"Zg==", NULL}, {"Z", NULL}, {"Zh", NULL},  {"+/+/", NULL},  {"Zm9v\n", NULL},
        {"Zm9vZ", NULL}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf out = buf_make(100);
        int r = base64url_decode(&out, slice_str(cases[i].text));

        cr_expect(r == (cases[i].want ? 0 : -ERR_INVALID), "%s", cases[i].text);
        if (r == 0)
            cr_expect(slice_eq(buf_slice(&out), slice_str(cases[i].want)), "%s", cases[i].text);
        buf_done(&out);
    }
}
