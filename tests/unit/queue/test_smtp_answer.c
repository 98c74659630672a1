/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/queue/smtp_answer.h"

static const struct {
    const char *in;
    int result;
    unsigned code;
    const char *status, *text;
} cases[] = {
    {"250 ok\r\n", 1, 250, "", "250 ok"},
    {"250\r\n", 1, 250, "", "250 "},
    {"250 ok\n", 1, 250, "", "250 ok"},
    {"550 5.1.1 no such user\r\n", 1, 550, "5.1.1", "550 5.1.1 no such user"},
    {"550-5.1.1 no\r\n550 5.1.1 such user\r\n", 1, 550, "5.1.1", "550 5.1.1 no 5.1.1 such user"},
    {"450 4.123.456 x\r\n", 1, 450, "4.123.456", "450 4.123.456 x"},
    {"550 4.1.1 of another class\r\n", 1, 550, "", "550 4.1.1 of another class"},
    {"550 5.1 x\r\n", 1, 550, "", "550 5.1 x"},
    {"550 5.1.1x\r\n", 1, 550, "", "550 5.1.1x"},
    {"550 5.1234.1 x\r\n", 1, 550, "", "550 5.1234.1 x"},
    {"354\r\n", 1, 354, "", "354 "},
    {"250 a\001b\x7f\tc\r\n", 1, 250, "", "250 a?b? c"},
    {"250 \xff\r\n", 1, 250, "", "250 ?"},
    {"250 \xc3\xa9\r\n", 1, 250, "", "250 \xc3\xa9"},
    {"", 0, 0, "", ""},
    {"250", 0, 0, "", ""},
    {"250 ok\r", 0, 0, "", ""},
    {"250-a\r\n", 0, 0, "", ""},
    {"250-a\r\n250", 0, 0, "", ""},
    {"250-a\r\n251 b\r\n", -ERR_INVALID, 0, "", ""},
    {"150 x\r\n", -ERR_INVALID, 0, "", ""},
    {"650 x\r\n", -ERR_INVALID, 0, "", ""},
    {"25 x\r\n", -ERR_INVALID, 0, "", ""},
    {"2505 x\r\n", -ERR_INVALID, 0, "", ""},
    {"hello\r\n", -ERR_INVALID, 0, "", ""},
    {"\r\n", -ERR_INVALID, 0, "", ""},
};

Test(smtp_answer, replies_are_taken_or_refused)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_done) struct buf text = buf_make(4096);
        struct slice in = slice_str(cases[i].in);
        struct smtp_answer reply;
        size_t used = 0;
        int rc = smtp_answer_take(in, &reply, &used);

        cr_assert_eq(rc, cases[i].result, "case %zu: %d", i, rc);
        if (rc != 1)
            continue;
        smtp_answer_text(&reply, &text);
        cr_expect_eq(used, in.n, "case %zu", i);
        cr_expect_eq(reply.code, cases[i].code, "case %zu", i);
        cr_expect_str_eq(reply.status, cases[i].status, "case %zu", i);
        cr_expect_str_eq(buf_cstr(&text), cases[i].text, "case %zu", i);
    }
}

Test(smtp_answer, what_follows_is_left)
{
    struct smtp_answer reply;
    size_t used;

    cr_assert_eq(smtp_answer_take(S("250 a\r\n550 b\r\n"), &reply, &used), 1);
    cr_assert_eq(used, 7);
}

Test(smtp_answer, endless_ones_are_refused)
{
    CLEANUP(buf_done) struct buf lines = buf_make(SMTP_ANSWER_MAX * 2);
    CLEANUP(buf_done) struct buf line = buf_make(SMTP_ANSWER_MAX * 2);
    struct smtp_answer reply;
    size_t used;

    for (int i = 0; i < SMTP_ANSWER_LINES; i++)
        buf_add_str(&lines, "250-x\r\n");
    cr_expect_eq(smtp_answer_take(buf_slice(&lines), &reply, &used), -ERR_LIMIT);
    while (line.n < SMTP_ANSWER_MAX)
        buf_add_str(&line, "250 x");
    cr_expect_eq(smtp_answer_take(buf_slice(&line), &reply, &used), -ERR_LIMIT);
}

Test(smtp_answer, long_text_is_cut_at_a_character)
{
    CLEANUP(buf_done) struct buf in = buf_make(SMTP_ANSWER_MAX), text = buf_make(SMTP_ANSWER_MAX);
    struct smtp_answer reply;
    size_t used;

    buf_add_str(&in, "250 ");
    for (int i = 0; i < 1000; i++)
        buf_add_str(&in, "\xc3\xa9");
    buf_add_str(&in, "\r\n");
    cr_assert_eq(smtp_answer_take(buf_slice(&in), &reply, &used), 1);
    smtp_answer_text(&reply, &text);
    cr_expect(text.n <= SMTP_ANSWER_TEXT && utf8_valid(buf_slice(&text)), "%zu", text.n);
}

Test(smtp_answer, what_ehlo_offers)
{
    struct smtp_answer reply;
    struct smtp_offer offer;
    size_t used;
    struct slice in = S("250-mx.example.org STARTTLS\r\n250-pipelining\r\n250-SIZE 1000\r\n"
                        "250-AUTH plain SCRAM-SHA-256 X\"Y\r\n250-LIMITS RCPTMAX=5 MAILMAX=7\r\n"
                        "250-NO-SOLICITING net.example:ADV\r\n"
                        "250-DELIVERBY 60\r\n250-SIZES\r\n250 8BITMIME\r\n");

    cr_assert_eq(smtp_answer_take(in, &reply, &used), 1);
    smtp_answer_offer(&reply, &offer);
    cr_expect_eq(offer.features, SMTP_PIPELINING | SMTP_SIZE | SMTP_AUTH | SMTP_LIMITS |
                                     SMTP_NO_SOLICITING | SMTP_DELIVERBY | SMTP_8BITMIME);
    cr_expect(offer.size_max == 1000 && offer.rcpt_max == 5 && offer.mail_max == 7);
    cr_expect(offer.deliverby_min == 60);
    cr_expect_str_eq(offer.mechanisms, "PLAIN SCRAM-SHA-256 ");
}
