/* SPDX-License-Identifier: MPL-2.0 */
/* The message and the Ed25519 key are those of RFC 8463 appendix A. */
#include <criterion/criterion.h>
#include <stdio.h>

#include <openssl/evp.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/queue/dkim.h"
#include "lib/store/store.h"

#define DOMAIN "football.example.com"

static const char message[] = "From: Joe SixPack <joe@football.example.com>\r\n"
                              "To: Suzie Q <suzie@shopping.example.net>\r\n"
                              "Subject: Is dinner ready?\r\n"
                              "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
                              "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
                              "\r\n"
                              "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                          "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                          "-----END PRIVATE KEY-----\n";

static struct store *store;
static struct dkim *dkim;
static struct arena arena;
static struct error err;

static void setup(void)
{
    cr_assert(store_open("memory:", NULL, &store, &err) == 0, "%s", err.text);
    dkim = dkim_new(store, 0);
}

static void teardown(void)
{
    dkim_free(dkim);
    store_close(store);
    arena_done(&arena);
}

TestSuite(dkim, .init = setup, .fini = teardown, .timeout = 60);

static void add(const char *selector, int64_t active, int64_t retired)
{
    struct dkim_key key = {0};

    cr_assert(dkim_key_read(S(pem), &arena, &key, &err) == 0, "%s", err.text);
    key.domain = DOMAIN;
    key.selector = selector;
    key.active_ms = active;
    key.retired_ms = retired;
    cr_assert(dkim_key_add(dkim, &key, &err) == 0, "%s", err.text);
}

/* As text; "" if there is none. */
static const char *sign(struct slice text, size_t piece, int *ret_n)
{
    CLEANUP(buf_done) struct buf out = buf_make(65536);
    struct dkim_signer *s = dkim_signer_new();

    for (size_t at = 0; at < text.n; at += piece)
        dkim_signer_feed(s, slice_sub(text, at, at + piece));
    *ret_n = dkim_sign(dkim, s, DOMAIN, &out, &err);
    dkim_signer_free(s);
    return arena_str(&arena, buf_slice(&out));
}

Test(dkim, the_record_is_that_of_the_rfc)
{
    CLEANUP(buf_done) struct buf record = buf_make(1000);
    struct dkim_key key = {0};

    cr_assert(dkim_key_read(S(pem), &arena, &key, &err) == 0, "%s", err.text);
    cr_assert(dkim_key_record(&key, &record, &err) == 0);
    cr_assert_str_eq(buf_cstr(&record),
                     "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
}

Test(dkim, the_body_hash_is_that_of_the_rfc_however_it_comes)
{
    int n;

    add("brisbane", 0, 0);
    for (size_t piece = 1; piece < sizeof message; piece += 7) {
        const char *field = sign(slice_str(message), piece, &n);

        cr_assert_eq(n, 1);
        cr_expect(strstr(field, "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="), "%s", field);
    }
}

/* RFC 6376 3.4.4, 3.4.5; the last three bytes of white space and lines at the end do not count. */
static const struct {
    const char *body, *same_as;
} bodies[] = {
    {"\r\n\r\n", ""},
    {" \t \r\n\r\n", ""},
    {" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"},
    {"a", "a\r\n"},
    {"a\nb\rc", "a\r\nb\r\nc\r\n"},
    {"a  \r\n \r\n\r\nb", "a\r\n\r\n\r\nb\r\n"},
};

static const char *body_hash_of(const char *body)
{
    int n;
    char *text = arena_printf(&arena, "From: a@b\r\n\r\n%s", body);
    const char *field = strstr(sign(slice_str(text), 3, &n), "bh=");

    cr_assert(field);
    return arena_str(&arena, slice_of(field, strcspn(field, ";")));
}

Test(dkim, white_space_that_may_change_on_the_way_does_not_count)
{
    add("brisbane", 0, 0);
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        cr_expect_str_eq(body_hash_of(bodies[i].body), body_hash_of(bodies[i].same_as), "case %zu",
                         i);
    cr_expect_str_eq(body_hash_of(""), "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    cr_expect_str_neq(body_hash_of("a b"), body_hash_of("ab"));
    cr_expect_str_neq(body_hash_of(" a"), body_hash_of("a"));
}

Test(dkim, fields_that_could_be_added_are_named_once_more)
{
    static const char *const wanted[] = {
        "h=from:from:", ":to:to:", ":subject:subject:", ":cc:", ":reply-to:"};
    int n;
    add("brisbane", 0, 0);
    const char *field = sign(slice_str(message), 1000, &n);

    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        CLEANUP(buf_done) struct buf flat = buf_make(65536);

        for (const char *p = field; *p; p++)
            if (*p != '\r' && *p != '\n' && *p != '\t')
                buf_add_byte(&flat, (uint8_t)*p);
        cr_expect(strstr(buf_cstr(&flat), wanted[i]), "%s in %s", wanted[i], buf_cstr(&flat));
    }
    for (const char *line = field; *line; line = strchr(line, '\n') + 1)
        cr_expect(strcspn(line, "\n") <= 80, "%s", line);
}

Test(dkim, each_active_key_signs_and_times_decide_which_is)
{
    int64_t now = clock_wall_ms();
    int n;

    add("past", 0, now - 1);
    add("now", 0, now + 1000000);
    add("too", now - 1, 0);
    add("later", now + 1000000, 0);
    const char *fields = sign(slice_str(message), 1000, &n);
    cr_assert_eq(n, 2);
    cr_expect(strstr(fields, "s=now;") && strstr(fields, "s=too;"));
}

Test(dkim, without_a_key_nothing_is_added)
{
    int n;

    cr_assert_str_eq(sign(slice_str(message), 1000, &n), "");
    cr_assert_eq(n, 0);
}

Test(dkim, a_huge_header_is_left_unsigned)
{
    CLEANUP(buf_done) struct buf text = buf_make(BUF_MAX_DEFAULT);
    int n;

    add("brisbane", 0, 0);
    buf_add_str(&text, "Subject: ");
    for (size_t i = 0; i < DKIM_HEADER_MAX; i++)
        buf_add_byte(&text, 'x');
    buf_add_str(&text, "\r\nX-Other: y\r\n\r\nhello\r\n");
    sign(buf_slice(&text), 1000, &n);
    cr_assert_eq(n, -ERR_TOOBIG);
}

Test(dkim, keys_are_kept_and_changed_one_by_one)
{
    struct dkim_key *list, key = {.domain = DOMAIN, .selector = "one"};
    size_t n;

    add("one", 5, 0);
    add("two", 6, 7);
    cr_assert_eq(dkim_key_read(S(pem), &arena, &key, &err), 0);
    cr_expect_eq(dkim_key_add(dkim, &key, &err), -ERR_EXISTS);
    key.selector = "a..b";
    cr_expect_eq(dkim_key_add(dkim, &key, &err), -ERR_INVALID);
    cr_expect_eq(dkim_key_retire(dkim, DOMAIN, "one", 9, &err), 0);
    cr_expect_eq(dkim_key_retire(dkim, DOMAIN, "three", 9, &err), -ERR_NOTFOUND);
    cr_assert_eq(dkim_key_list(dkim, DOMAIN, &arena, &list, &n, &err), 0);
    cr_assert_eq(n, 2);
    cr_expect(list[0].retired_ms == 9 && list[0].active_ms == 5 && list[1].retired_ms == 7);
    cr_expect(slice_eq(list[0].private_, key.private_));
    cr_expect_eq(dkim_key_delete(dkim, DOMAIN, "one", &err), 0);
    cr_assert_eq(dkim_key_list(dkim, NULL, &arena, &list, &n, &err), 0);
    cr_expect(n == 1 && strcmp(list[0].selector, "two") == 0);
}

Test(dkim, rsa_keys_are_made_and_others_are_refused)
{
    static const char *const bad[] = {"", "hello", "-----BEGIN PRIVATE KEY-----\nMC4=\n"};
    struct dkim_key key = {0};

    cr_expect_eq(dkim_key_make(DKIM_RSA_SHA256, 1024, &arena, &key, &err), 0);
    cr_expect(key.bits == 1024 && key.algorithm == DKIM_RSA_SHA256);
    cr_expect_eq(dkim_key_make(DKIM_RSA_SHA256, 512, &arena, &key, &err), -ERR_INVALID);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_expect_eq(dkim_key_read(slice_str(bad[i]), &arena, &key, &err), -ERR_INVALID);
}

Test(dkim, a_damaged_value_is_refused)
{
    CLEANUP(buf_done) struct buf value = buf_make(16384);
    struct dkim_key key = {.algorithm = DKIM_ED25519_SHA256, .bits = 256, .private_ = S("abc")};

    dkim_value_encode(&key, &value);
    for (size_t n = 0; n < value.n; n++)
        cr_expect_eq(dkim_value_decode(slice_of(value.p, n), &key), -ERR_INVALID);
    cr_expect_eq(dkim_value_decode(buf_slice(&value), &key), 0);
    value.p[0]++;
    cr_expect_eq(dkim_value_decode(buf_slice(&value), &key), -ERR_INVALID);
}
