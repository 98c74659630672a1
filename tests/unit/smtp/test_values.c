/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/queue/queue.h"
#include "protocols/smtp/values.h"

Test(values, xtext_is_decoded_strictly)
{
    static const struct {
        const char *in, *out; /* NULL: refused */
    } rows[] = {
        {"abc", "abc"}, {"a+2Bb+3D", "a+b="}, {"+C3+B6", "\xc3\xb6"}, {"a b", NULL},
        {"a=b", NULL},  {"+2b", NULL},        {"a+2", NULL},          {"a+", NULL},
        {"+0A", NULL},  {"+00", NULL},        {"+C3", NULL},          {"a\x7f", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CLEANUP(buf_done) struct buf out = buf_make(100);
        int r = smtp_xtext_decode(slice_str(rows[i].in), &out);

        cr_assert_eq(r, rows[i].out ? 0 : -ERR_INVALID, "%s", rows[i].in);
        if (rows[i].out)
            cr_assert_str_eq(buf_cstr(&out), rows[i].out);
    }
}

Test(values, orcpt_has_a_type)
{
    static const char *const bad[] = {"",   ";",         "rfc822",    "rfc822;",
                                      ";a", "rfc 822;a", "rfc822;a=b"};
    CLEANUP(buf_done) struct buf out = buf_make(100);

    cr_assert_eq(smtp_orcpt_decode(S("utf-8;j+2Ba@x"), &out), 0);
    cr_assert_str_eq(buf_cstr(&out), "utf-8;j+a@x");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_eq(smtp_orcpt_decode(slice_str(bad[i]), &out), -ERR_INVALID, "%s", bad[i]);
}

Test(values, notify_is_never_or_a_list)
{
    static const char *const bad[] = {"",         ",",      "NEVER,DELAY",
                                      "SUCCESS,", "ALWAYS", "SUCCESS DELAY"};
    unsigned mask = 0;

    cr_assert(smtp_notify_parse(S("never"), &mask) == 0 && mask == QUEUE_NOTIFY_NEVER);
    cr_assert(smtp_notify_parse(S("Success,DELAY"), &mask) == 0 &&
              mask == (QUEUE_NOTIFY_SUCCESS | QUEUE_NOTIFY_DELAY));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_eq(smtp_notify_parse(slice_str(bad[i]), &mask), -ERR_INVALID, "%s", bad[i]);
}

Test(values, classes_of_mail)
{
    static const char *const good[] = {"a", "net.example:ADV", "A-b_c:1.2,org.example:ADULT"};
    static const char *const bad[] = {"",    ",",   "a,", ",a",  "a,,b",    "1a",
                                      "a b", "a;b", ".a", "a=b", "\xc3\xb6"};
    static const struct {
        const char *text, *refused, *found;
    } rows[] = {
        {"net.example:ADV", "", ""},
        {"net.example:ADV", "net.example:ADVICE", ""},
        {"x,net.example:adv", "org.example:X NET.example:ADV", "net.example:adv"},
        {"Solicitation: x,\r\n\tnet.example:ADV\r\n", "net.example:ADV", "net.example:ADV"},
    };
    char most[1002] = "";

    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        cr_assert_eq(smtp_solicit_check(slice_str(good[i])), 0, "%s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_eq(smtp_solicit_check(slice_str(bad[i])), -ERR_INVALID, "%s", bad[i]);
    memset(most, 'a', 1001);
    cr_assert_eq(smtp_solicit_check(slice_of(most, 1000)), 0);
    cr_assert_eq(smtp_solicit_check(slice_of(most, 1001)), -ERR_INVALID);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_assert(
            slice_eq(smtp_solicit_refused(slice_str(rows[i].text), slice_str(rows[i].refused)),
                     slice_str(rows[i].found)),
            "%s", rows[i].text);
}

Test(values, times_are_in_utc)
{
    static const char *const bad[] = {"",
                                      "2026-12-01",
                                      "2026-12-01T08:00:00",
                                      "2026-13-01T08:00:00Z",
                                      "2026-12-01T08:00:00+01:00",
                                      "2026-12-01T08-00:00Z",
                                      "2026-02-30T08:00:00Z",
                                      "20x6-12-01T08:00:00Z"};
    int64_t t = 0;

    cr_assert(smtp_time_parse(S("1970-01-02t00:00:01z"), &t) == 0 && t == 86401);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_eq(smtp_time_parse(slice_str(bad[i]), &t), -ERR_INVALID, "%s", bad[i]);
}

Test(values, by_has_a_time_and_a_mode)
{
    static const char *const bad[] = {"",    "5",    "5;",  ";R",    "0;R",         "-5;R",
                                      "5;X", "5;RX", "x;R", "5;RTT", "1234567890;R"};
    struct smtp_by by;

    cr_assert(smtp_by_parse(S("120;R"), &by) == 0 && by.seconds == 120 && by.ret && !by.trace);
    cr_assert(smtp_by_parse(S("-3;nt"), &by) == 0 && by.seconds == -3 && !by.ret && by.trace);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_eq(smtp_by_parse(slice_str(bad[i]), &by), -ERR_INVALID, "%s", bad[i]);
}

Test(values, priorities_are_small)
{
    static const char *const bad[] = {"", "10", "-10", "+1", "x", "1x", "--1"};
    int p = 0;

    cr_assert(smtp_priority_parse(S("-9"), &p) == 0 && p == -9);
    cr_assert(smtp_priority_parse(S("4"), &p) == 0 && p == 4);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        cr_assert_eq(smtp_priority_parse(slice_str(bad[i]), &p), -ERR_INVALID, "%s", bad[i]);
}
