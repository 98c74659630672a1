/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "protocols/imap/url.h"
#include "protocols/imap/urlauth.h"

#define TOKEN "0191354a473744909de610943775f92038"

static int parse(const char *text, struct arena *arena, struct imap_url *ret)
{
    return imap_url_parse(slice_str(text), arena, ret, NULL);
}

Test(url, a_path_names_mailbox_message_section_and_piece)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct imap_url url;

    cr_assert_eq(
        parse("/inbox/a%20b;UIDVALIDITY=5/;UID=7/;SECTION=1.2.MIME/;PARTIAL=3.4", &arena, &url), 0);
    cr_assert(!url.host.n && !url.user.n && !url.access && !url.expires);
    cr_assert(slice_eq(url.mailbox, S("INBOX/a b")) && url.uidvalidity == 5 && url.uid == 7);
    cr_assert(url.section->n_numbers == 2 && url.section->kind == SECTION_MIME);
    cr_assert(url.offset == 3 && url.count == 4);
}

Test(url, a_whole_one_names_server_user_and_who_may_have_it)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct imap_url url;

    cr_assert_eq(parse("IMAP://joe%40example.org;AUTH=*@[2001:db8::1]:143/x/;UID=7"
                       ";EXPIRE=1970-01-02T01:30:00.25+01:30;urlauth=SUBMIT+joe:internal:" TOKEN,
                       &arena, &url),
                 0);
    cr_assert(slice_eq(url.host, S("[2001:db8::1]:143")) &&
              slice_eq(url.user, S("joe@example.org")));
    cr_assert(url.expires && url.expiry == 86400 && url.access == URL_SUBMIT);
    cr_assert(slice_eq(url.access_user, S("joe")) && slice_eq(url.mechanism, S("internal")));
    cr_assert(slice_eq(url.token, S(TOKEN)) && slice_eq(url.mailbox, S("x")));
    cr_assert(slice_starts(url.rump, S("IMAP://")) &&
              slice_eq(slice_skip(url.rump, url.rump.n - 10), S("SUBMIT+joe")));
}

Test(url, of_the_user_only_the_last_at_parts_the_host)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct imap_url url;

    cr_assert_eq(parse("imap://joe@example.org@mail.example.org/x/;UID=7", &arena, &url), 0);
    cr_assert(slice_eq(url.user, S("joe@example.org")) &&
              slice_eq(url.host, S("mail.example.org")));
    cr_assert_eq(parse("imap://;AUTH=PLAIN@h/x/;UID=7", &arena, &url), 0);
    cr_assert(!url.user.n && slice_eq(url.host, S("h")));
}

Test(url, what_is_no_url_of_a_message_is_refused)
{
    static const char *const wrong[] = {
        "",
        "/",
        "/INBOX",
        "/INBOX/;UID=0",
        "/INBOX/;UID=1/;SECTION=1.NOTHING",
        "/INBOX/;UID=1/;PARTIAL=1.0",
        "/INBOX/;UID=1;URLAUTH=anonymous",
        "/a%00b/;UID=1",
        "/a\rb/;UID=1",
        "/%ff/;UID=1",
        "http://h/x/;UID=1",
        "imap:///x/;UID=1",
        "imap://@h/x/;UID=1",
        "imap://joe;X=1@h/x/;UID=1",
        "imap://joe@h",
        "imap://joe@h/",
        "imap://joe@h/x",
        "imap://joe@h/x/;UID=1;EXPIRE=2030-01-01T00:00:00Z",
        "imap://joe@h/x/;UID=1;EXPIRE=2030-02-29T00:00:00Z;URLAUTH=anonymous",
        "imap://joe@h/x/;UID=1;EXPIRE=2030-01-01T00:00:00;URLAUTH=anonymous",
        "imap://joe@h/x/;UID=1;EXPIRE=2030-01-01T00:00:00+24:00;URLAUTH=anonymous",
        "imap://joe@h/x/;UID=1;EXPIRE=2030-01-01T00:00:61Z;URLAUTH=anonymous",
        "imap://joe@h/x/;UID=1;URLAUTH=",
        "imap://joe@h/x/;UID=1;URLAUTH=submit+",
        "imap://joe@h/x/;UID=1;URLAUTH=user+%00",
        "imap://joe@h/x/;UID=1;URLAUTH=anonymous+joe",
        "imap://joe@h/x/;UID=1;URLAUTH=nobody",
        "imap://joe@h/x/;UID=1;URLAUTH=anonymous:internal",
        "imap://joe@h/x/;UID=1;URLAUTH=anonymous:internal:",
        "imap://joe@h/x/;UID=1;URLAUTH=anonymous:internal:0123456789",
        "imap://joe@h/x/;UID=1;URLAUTH=anonymous:int@rnal:" TOKEN,
        "imap://joe@h/x/;UID=1;URLAUTH=anonymous:internal:" TOKEN "x",
        "imap://joe@h/x/;UID=1;URLAUTH=anonymous:internal:" TOKEN ";UID=2",
    };
    CLEANUP(arena_done) struct arena arena = {0};
    struct imap_url url;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        cr_assert_eq(parse(wrong[i], &arena, &url), -ERR_INVALID, "%s", wrong[i]);
}

Test(url, hosts_are_names_without_case_and_port)
{
    static const char hosts[] = "mail.example.org  imap.example.org [2001:db8::1]";

    cr_assert(urlauth_is_our_host(hosts, S("IMAP.example.org:993")));
    cr_assert(urlauth_is_our_host(hosts, S("mail.example.org")));
    cr_assert(urlauth_is_our_host(hosts, S("[2001:DB8::1]:143")));
    cr_assert(!urlauth_is_our_host(hosts, S("example.org")));
    cr_assert(!urlauth_is_our_host(hosts, S("mail.example.org.evil.example")));
    cr_assert(!urlauth_is_our_host(hosts, S("*")));
    cr_assert(!urlauth_is_our_host("", S("mail.example.org")));
    cr_assert(urlauth_is_our_host("*", S("anything")));
}
