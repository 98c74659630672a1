/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/auth/directory.h"
#include "lib/base/mem.h"
#include "lib/store/store.h"

static struct directory *make(char delimiter, const char *domain)
{
    struct directory_options options = {.delimiter = delimiter, .default_domain = domain};

    return directory_new(NULL, &options);
}

Test(address, forms_and_their_keys)
{
    static const struct {
        const char *text, *key, *detail, *full;
    } cases[] = {
        {"joe@example.org", "joe@example.org", "", "joe@example.org"},
        {"Joe@EXAMPLE.Org", "joe@example.org", "", "joe@example.org"},
        {"Joe+Lists@Example.org", "joe@example.org", "Lists", "joe+lists@example.org"},
        {"joe+a+b@example.org", "joe@example.org", "a+b", "joe+a+b@example.org"},
        {"joe+@example.org", "joe@example.org", "", "joe@example.org"},
        {"+box@example.org", "+box@example.org", "", "+box@example.org"},
        {"joe@example.org.", "joe@example.org", "", "joe@example.org"},
        {"\"joe\"@example.org", "joe@example.org", "", "joe@example.org"},
        {"\"j o\\\"e\"@example.org", "j o\"e@example.org", "", "j o\"e@example.org"},
        {"\"a@b\"@example.org", "a@b@example.org", "", "a@b@example.org"},
        {"joe", "joe@default.example", "", "joe@default.example"},
        {"joe+x", "joe@default.example", "x", "joe+x@default.example"},
        {"Jörg@Bücher.example", "jörg@xn--bcher-kva.example", "", "jörg@xn--bcher-kva.example"},
        {"JÖRG@xn--BCHER-kva.example", "jörg@xn--bcher-kva.example", "",
         "jörg@xn--bcher-kva.example"},
        /* o and a combining diaeresis: NFC makes one character of them. */
        {"jo\xcc\x88rg@example.org", "jörg@example.org", "", "jörg@example.org"},
        {"straße@straße.example", "straße@xn--strae-oqa.example", "",
         "straße@xn--strae-oqa.example"},
        {"用户@例え.jp", "用户@xn--r8jz45g.jp", "", "用户@xn--r8jz45g.jp"},
        {"a..b.@example.org", "a..b.@example.org", "", "a..b.@example.org"},
        {"@example.org", "@example.org", "", "@example.org"},
    };
    struct directory *d = make('+', "Default.example");

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(arena_done) struct arena a = {0};
        struct address got;
        struct error err = {0};
        int r = address_parse(d, slice_str(cases[i].text), true, &a, &got, &err);

        cr_expect(r == 0, "%s: %s", cases[i].text, err.text);
        if (r < 0)
            continue;
        cr_expect_str_eq(got.key, cases[i].key);
        cr_expect_str_eq(got.detail, cases[i].detail);
        cr_expect_str_eq(got.full, cases[i].full);
    }
    directory_free(d);
}

Test(address, what_is_no_address_is_refused)
{
    static const char *const cases[] = {
        "",
        "@",
        "joe@",
        "joe@@example.org",
        "joe@a@example.org",
        "@b.org",
        "jo e@b.org",
        "joe@[1.2.3.4]",
        "\"joe@example.org",
        "\"joe\"x@example.org",
        "\"joe\\",
        "joe@a..b",
        "joe@-a.org",
        "joe@a-.org",
        "joe@.org",
        "joe@a b",
        "<joe@b.org>",
        "joe@b_c.org",
        "\xff@b.org",
        "joe@\xff.org",
        "j\x01@b.org",
        "\"j\x7f\"@b.org",
        "j\xc2\x85@b.org",
        "joe",
        "joe@x",
        "(c)joe@b.org",
    };
    struct directory *d = make('+', NULL);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(arena_done) struct arena a = {0};
        struct address got;

        cr_expect(address_parse(d, slice_str(cases[i]), false, &a, &got, NULL) == -ERR_INVALID,
                  "%s", cases[i]);
    }
    directory_free(d);
}

Test(address, sizes_are_limited)
{
    struct directory *d = make('+', NULL);
    char text[2000];

    for (size_t local = 1; local < 600; local += 37) {
        for (size_t domain = 2; domain < 400; domain += 61) {
            CLEANUP(arena_done) struct arena a = {0};
            struct address got = {0};
            size_t n = local + 1 + domain;

            memset(text, 'a', n);
            text[local] = '@';
            for (size_t i = local + 51; i + 1 < n; i += 50)
                text[i] = '.';
            if (address_parse(d, slice_of(text, n), false, &a, &got, NULL) == 0)
                cr_expect(strlen(got.key) <= ADDRESS_MAX && strlen(got.full) <= ADDRESS_MAX);
            else
                cr_expect(local > 255 || domain > 255 || n > ADDRESS_MAX, "%zu %zu", local, domain);
        }
    }
    directory_free(d);
}

Test(address, no_delimiter_no_detail)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct directory *d = make(0, NULL);
    struct address got;

    cr_assert(address_parse(d, S("joe+x@b.org"), false, &a, &got, NULL) == 0);
    cr_assert_str_eq(got.key, "joe+x@b.org");
    directory_free(d);
}
