/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "protocols/imap/body_part.h"

#define TEXT                                                                                       \
    "(\"text\" \"plain\" (\"charset\" \"a)\\\"b\") NIL NIL \"quoted-printable\" 32 2 NIL NIL NIL " \
    "NIL)"
#define IMAGE "(\"image\" \"png\" NIL {5}\r\n(a b) NIL \"base64\" 8 NIL NIL NIL NIL)"
#define INNER "(" IMAGE TEXT " \"mixed\" NIL NIL NIL NIL)"
#define MESSAGE                                                                                    \
    "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 99 (NIL \"s\" NIL NIL NIL NIL NIL NIL NIL NIL) "
#define END " 9 NIL NIL NIL NIL)"

static const char whole[] =
    "(" TEXT MESSAGE INNER END MESSAGE IMAGE END " \"mixed\" NIL NIL NIL NIL)";

static void is(const char *structure, const uint32_t *numbers, size_t n, const char *want)
{
    struct slice part;
    bool found = body_part_find(slice_str(structure), numbers, n, &part);

    cr_assert_eq(found, want != NULL, "%s", structure);
    if (want)
        cr_assert(slice_eq(part, slice_str(want)), "%.*s", SLICE_FMT(part));
}

#define IS(structure, want, ...)                                                                   \
    is(structure, (const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / 4, want)

Test(body_part, numbers_lead_through_multiparts_and_messages)
{
    is(whole, NULL, 0, whole);
    IS(whole, TEXT, 1);
    IS(whole, MESSAGE INNER END, 2);
    IS(whole, IMAGE, 2, 1);
    IS(whole, TEXT, 2, 2);
    IS(whole, IMAGE, 3, 1);
    IS(INNER, TEXT, 2);
    IS(TEXT, TEXT, 1);
}

Test(body_part, what_is_not_there_is_not_found)
{
    IS(whole, NULL, 4);
    IS(whole, NULL, 1, 1);
    IS(whole, NULL, 2, 3);
    IS(whole, NULL, 3, 2);
    IS(whole, NULL, 0);
    IS(TEXT, NULL, 2);
    IS("(", NULL, 2);
    IS("((", NULL, 1);
    IS("((\"a)", NULL, 1);
    IS("(({9}\r\na))", NULL, 1);
    IS("", NULL, 1);
}

Test(body_part, decoded_parts_show_identity_octets_and_lines)
{
    CLEANUP(buf_done) struct buf b = buf_make(1000);

    cr_assert(body_part_decoded(S(TEXT), 27, 1, &b));
    cr_assert_str_eq(buf_cstr(&b),
                     "(\"text\" \"plain\" (\"charset\" \"a)\\\"b\") NIL NIL \"BINARY\" 27 "
                     "1 NIL NIL NIL NIL)");
    buf_reset(&b, 1000);
    cr_assert(body_part_decoded(S(IMAGE), 4, 0, &b));
    cr_assert_str_eq(buf_cstr(&b),
                     "(\"image\" \"png\" NIL {5}\r\n(a b) NIL \"BINARY\" 4 NIL NIL NIL NIL)");
    buf_reset(&b, 1000);
    cr_assert(!body_part_decoded(S(INNER), 4, 0, &b) && b.n == 0);
}

Test(body_part, the_body_of_a_message_within)
{
    struct slice body;

    cr_assert(body_part_message(S(MESSAGE INNER END), &body) && slice_eq(body, S(INNER)));
    cr_assert(!body_part_message(S(TEXT), &body) && !body_part_message(S(INNER), &body));
}
