/* SPDX-License-Identifier: MPL-2.0 */
/* RFC 8438: STATUS=SIZE. */
#include <criterion/criterion.h>

#include <stdio.h>

#include "tests/unit/imap/talk.h"

static uint64_t size_of(struct talk *t, const char *mailbox)
{
    char line[100];
    const char *at;
    unsigned long long n;

    snprintf(line, sizeof line, "s STATUS %s (SIZE)", mailbox);
    at = strstr(talk(t, 1, line), "(SIZE ");
    cr_assert(at && sscanf(at, "(SIZE %llu)", &n) == 1);
    return n;
}

/* 3: "it MUST be equal to or greater than the sum of the values of the RFC822.SIZE FETCH message
 * data item of all messages in the mailbox" */
Test(rfc8438, size_is_the_sum_of_sizes)
{
    struct talk *t = talk_new();
    uint64_t sum = 0;

    talk_login(t, 1);
    cr_assert_eq(size_of(t, "INBOX"), 0);
    cr_assert(imap_world_fill(t->world, S("INBOX"), 12));
    talk_has(t, 1, "a SELECT INBOX", "a OK ${*}");
    for (const char *p = talk(t, 1, "b FETCH 1:* RFC822.SIZE"); (p = strstr(p, "SIZE ")); p++) {
        unsigned long long n;

        cr_assert_eq(sscanf(p, "SIZE %llu", &n), 1);
        sum += n;
    }
    cr_assert_gt(sum, 0);
    cr_assert_eq(size_of(t, "INBOX"), sum);
    talk_has(t, 1, "c STORE 1:11 +FLAGS.SILENT (\\Deleted)", "c OK ${*}");
    talk_has(t, 1, "d EXPUNGE", "d OK ${*}");
    cr_assert_lt(size_of(t, "INBOX"), sum / 8);
    talk_free(t);
}

/* 3: "the STATUS command can be combined with the LIST command" */
Test(rfc8438, with_list)
{
    struct talk *t = talk_new();

    talk_login(t, 1);
    talk_has(t, 1, "A04 LIST \"\" IN% RETURN (STATUS (MESSAGES SIZE))",
             "* STATUS \"INBOX\" (MESSAGES 0 SIZE 0)");
    talk_has(t, 1, "a CAPABILITY", "* CAPABILITY ${*} STATUS=SIZE${*}");
    talk_free(t);
}
