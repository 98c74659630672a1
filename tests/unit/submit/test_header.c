/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "protocols/submit/header.h"

static const struct submit_fixes fixes = {
    .from = "joe@b.org", .sender = "s@b.org", .message_id = "id@h", .date = 760686745};

#define FROM "From: <joe@b.org>\r\n"
#define DATE "Date: Tue, 8 Feb 1994 05:52:25 +0000\r\n"
#define ID   "Message-ID: <id@h>\r\n"

Test(header, what_is_missing_is_added_and_what_must_not_be_seen_goes)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"", FROM DATE ID "\r\n"},
        {"\r\n", FROM DATE ID "\r\n"},
        {"Subject: x\r\n\r\n", FROM DATE ID "Subject: x\r\n\r\n"},
        {"Subject: x", FROM DATE ID "Subject: x\r\n\r\n"},
        {"from: a@b\r\nDATE: x\r\nmessage-id: <y@z>\r\n\r\n",
         "from: a@b\r\nDATE: x\r\nmessage-id: <y@z>\r\n\r\n"},
        {"From: a@b.c\r\nbcc: x,\r\n\ty@z\r\nDate: x\r\nResent-Bcc: q\r\nMessage-ID: <y@z>\r\n"
         "Return-Path: <u>\r\nBccX: stays\r\n\r\n",
         "From: a@b.c\r\nDate: x\r\nMessage-ID: <y@z>\r\nBccX: stays\r\n\r\n"},
        {"From: a@b.c, d@e.f\r\nDate: x\r\nMessage-ID: <y@z>\r\n\r\n",
         "Sender: <s@b.org>\r\nFrom: a@b.c, d@e.f\r\nDate: x\r\nMessage-ID: <y@z>\r\n\r\n"},
        {"Sender: q\r\nFrom: a@b.c, d@e.f\r\nDate: x\r\nMessage-ID: <y@z>\r\n\r\n",
         "Sender: q\r\nFrom: a@b.c, d@e.f\r\nDate: x\r\nMessage-ID: <y@z>\r\n\r\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf out = buf_make(10000);
        CLEANUP(arena_done) struct arena a = {0};
        struct submit_header h;

        submit_header_read(slice_str(rows[i].in), &a, &h);
        submit_header_write(&h, &fixes, &out);
        cr_assert_str_eq(buf_cstr(&out), rows[i].out, "%zu", i);
    }
}

Test(header, the_senders_own_copy_keeps_bcc)
{
    CLEANUP(buf_done) struct buf out = buf_make(10000);
    CLEANUP(arena_done) struct arena a = {0};
    struct submit_fixes own = fixes;
    struct submit_header h;

    own.keep_bcc = true;
    submit_header_read(S("From: a@b.c\r\nDate: x\r\nBcc: x@y.z\r\nMessage-ID: <y@z>\r\n\r\n"), &a,
                       &h);
    submit_header_write(&h, &own, &out);
    cr_assert_str_eq(buf_cstr(&out),
                     "From: a@b.c\r\nDate: x\r\nBcc: x@y.z\r\nMessage-ID: <y@z>\r\n\r\n");
}

Test(header, authors_are_those_of_from_or_of_who_resends)
{
    static const struct {
        const char *in, *authors;
        bool damaged;
    } rows[] = {
        {"From: Joe <joe@b.org>\r\n", "joe@b.org ", false},
        {"From: a@b.c, \"x, y\" <d@e.f>\r\n", "a@b.c d@e.f ", false},
        {"From: \"a b\"@c.d\r\n", "\"a b\"@c.d ", false},
        {"From: team: a@b.c, d@e.f;\r\n", "a@b.c d@e.f ", false},
        {"From: undisclosed:;\r\n", "", false},
        {"From: joe\r\n", "", true},
        {"From: <joe@b.org\r\n evil@c.d>\r\n", "", true},
        {"Resent-From: b@c.d\r\nResent-From: old@c.d\r\nFrom: a@b.c\r\n", "b@c.d ", false},
        {"From: =?utf-8?q?J=C3=B6rg_=3Cx=40y.z=3E?= <j@b.org>\r\n", "j@b.org ", false},
        {"From:\r\n", "", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf out = buf_make(10000);
        CLEANUP(arena_done) struct arena a = {0};
        struct submit_header h;

        submit_header_read(slice_str(rows[i].in), &a, &h);
        for (size_t k = 0; k < h.authors_n; k++)
            buf_printf(&out, "%s ", h.authors[k]);
        if (!rows[i].damaged)
            cr_assert_str_eq(buf_cstr(&out), rows[i].authors, "%zu", i);
        cr_assert_eq(h.authors_damaged, rows[i].damaged, "%zu: %s", i, buf_cstr(&out));
    }
}

Test(header, a_body_without_a_header_is_known)
{
    cr_assert(submit_header_absent(S("Hello there\r\n")));
    cr_assert(submit_header_absent(S("Dear Ann: hello\r\n")));
    cr_assert(submit_header_absent(S(" Subject: x\r\n")));
    cr_assert(submit_header_absent(S(": x\r\n")));
    cr_assert(submit_header_absent(S("J\xc3\xb6rg: x\r\n")));
    cr_assert_not(submit_header_absent(S("\r\n")));
    cr_assert_not(submit_header_absent(S("Subject: x\r\n")));
    cr_assert_not(submit_header_absent(S("Subject : x\r\n")));
}

Test(header, hops_and_wishes_are_counted)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct submit_header h;

    submit_header_read(S("Received: x\r\nreceived: y\r\nTLS-Required: no \r\n"
                         "Message-ID: <1@x.y>\r\n"),
                       &a, &h);
    cr_assert_eq(h.received, 2);
    cr_assert(h.tls_no);
    cr_assert_str_eq(h.id, "1@x.y");
}
