/* SPDX-License-Identifier: MPL-2.0 */
/* RFC 9208: QUOTA. */
#include <criterion/criterion.h>

#include <stdio.h>

#include "lib/auth/directory.h"
#include "lib/base/mem.h"
#include "tests/unit/imap/talk.h"

#define ROOT "\"joe@example.org\""

static struct talk *begin(bool admin)
{
    struct talk *t = talk_new();
    CLEANUP(arena_done) struct arena arena = {0};
    struct directory_account account;
    struct error err = {0};

    cr_assert_eq(
        directory_account_get(t->world->directory, t->world->account, &arena, &account, &err), 0);
    account.admin = admin;
    cr_assert_eq(directory_account_update(t->world->directory, &account, &err), 0);
    talk_login(t, 1);
    return t;
}

/* 4.1.2: "The GETQUOTAROOT command takes a mailbox name and returns the list of quota roots for the
 * mailbox in an untagged QUOTAROOT response. For each listed quota root, it also returns the quota
 * root's resource usage and limits in an untagged QUOTA response."; "the mailbox name parameter
 * doesn't have to reference an existing mailbox" */
Test(rfc9208, getquotaroot)
{
    struct talk *t = begin(false);

    talk_is(t, 1, "G0002 GETQUOTAROOT INBOX",
            "* QUOTAROOT \"INBOX\" " ROOT "\n* QUOTA " ROOT " (MAILBOX 6 10000)\nG0002 OK ${*}");
    talk_is(t, 1, "a GETQUOTAROOT not/yet",
            "* QUOTAROOT \"not/yet\" " ROOT "\n* QUOTA " ROOT " (MAILBOX 6 10000)\na OK ${*}");
    talk_free(t);
}

/* 4.1.1: "NO - getquota error: no such quota root, permission denied"; 8: "The resource usage of
 * other users is likely to be considered confidential information" */
Test(rfc9208, getquota)
{
    struct talk *t = begin(false);

    talk_is(t, 1, "a GETQUOTA " ROOT, "* QUOTA " ROOT " (MAILBOX 6 10000)\na OK ${*}");
    talk_is(t, 1, "b GETQUOTA Joe@Example.ORG", "* QUOTA " ROOT " (MAILBOX 6 10000)\nb OK ${*}");
    talk_is(t, 1, "c GETQUOTA \"anna@example.org\"", "c NO [NOPERM] ${*}");
    talk_is(t, 1, "d GETQUOTA \"\"", "d NO [NOPERM] ${*}");
    talk_is(t, 1, "e GETQUOTA", "e BAD ${*}");
    talk_free(t);
}

/* 4.1.3: "The resource limits for the named quota root are changed to the specified limits. Any
 * previous resource limits for the named quota root are discarded, even resource limits not
 * explicitly listed in the SETQUOTA command." 5: STORAGE "in units of 1024 octets" */
Test(rfc9208, setquota)
{
    struct talk *t = begin(true);

    talk_is(t, 1, "a SETQUOTA " ROOT " (STORAGE 111 MESSAGE 1000)",
            "* QUOTA " ROOT " (STORAGE 0 111 MESSAGE 0 1000 MAILBOX 6 10000)\na OK ${*}");
    cr_assert(imap_world_fill(t->world, S("INBOX"), 7));
    talk_is(t, 1, "S0001 SETQUOTA " ROOT " (storage 510)",
            "* QUOTA " ROOT " (STORAGE 2 510 MAILBOX 6 10000)\nS0001 OK ${*}");
    talk_is(t, 1, "b SETQUOTA " ROOT " (MAILBOX 7)", "* QUOTA " ROOT " (MAILBOX 6 7)\nb OK ${*}");
    talk_is(t, 1, "c SETQUOTA " ROOT " ()", "* QUOTA " ROOT " (MAILBOX 6 10000)\nc OK ${*}");
    talk_is(t, 1, "d SETQUOTA " ROOT " (FROB 1)", "d NO [CANNOT] ${*}");
    talk_is(t, 1, "e SETQUOTA " ROOT " (STORAGE 9223372036854775807)", "e NO [LIMIT] ${*}");
    talk_is(t, 1, "f SETQUOTA \"nobody@example.org\" (STORAGE 1)", "f NO [NONEXISTENT] ${*}");
    talk_is(t, 1, "g SETQUOTA " ROOT " (STORAGE)", "g BAD ${*}");
    talk_free(t);
}

/* "NO - setquota error: can't set that data" */
Test(rfc9208, setquota_is_for_administrators)
{
    struct talk *t = begin(false);

    talk_is(t, 1, "a SETQUOTA " ROOT " (STORAGE 1000000)", "a NO [NOPERM] ${*}");
    talk_is(t, 1, "b GETQUOTA " ROOT, "* QUOTA " ROOT " (MAILBOX 6 10000)\nb OK ${*}");
    talk_free(t);
}

/* 4.3.1: "The OVERQUOTA response code SHOULD be returned in the tagged NO response to an
 * APPEND/COPY/MOVE when the addition of the message(s) puts the target mailbox over any one of its
 * quota limits." */
Test(rfc9208, overquota)
{
    struct talk *t = begin(true);

    cr_assert(imap_world_fill(t->world, S("INBOX"), 4));
    talk_has(t, 1, "_ SETQUOTA " ROOT " (MESSAGE 5)", "_ OK ${*}");
    talk_has(t, 1, "_ SELECT INBOX", "_ OK ${*}");
    talk_is(t, 1, "a COPY 1:2 Sent", "a NO [OVERQUOTA] ${*}");
    talk_has(t, 1, "b COPY 1 Sent", "b OK ${*}");
    talk_is(t, 1, "c APPEND INBOX {6+}\r\na: b\r\n", "c NO [OVERQUOTA] ${*}");
    /* a MOVE within the root adds nothing */
    talk_has(t, 1, "d MOVE 1 Sent", "d OK ${*}");
    talk_has(t, 1, "e STORE 1 +FLAGS.SILENT (\\Deleted)", "e OK ${*}");
    talk_has(t, 1, "f EXPUNGE", "f OK ${*}");
    talk_has(t, 1, "g APPEND INBOX {6+}\r\na: b\r\n", "g OK ${*}");
    talk_free(t);
}

/* 3.1.2: "Limits will be specified as, and MUST be represented as, an integer. 0 indicates that any
 * usage is prohibited." */
Test(rfc9208, a_limit_of_0_prohibits)
{
    struct talk *t = begin(true);

    talk_has(t, 1, "_ SETQUOTA " ROOT " (STORAGE 0)", "* QUOTA " ROOT " (STORAGE 0 0 MAILBOX ${*}");
    talk_is(t, 1, "a APPEND INBOX {6+}\r\na: b\r\n", "a NO [OVERQUOTA] ${*}");
    talk_has(t, 1, "_ SETQUOTA " ROOT " ()", "_ OK ${*}");
    talk_has(t, 1, "b APPEND INBOX {6+}\r\na: b\r\n", "b OK ${*}");
    talk_free(t);
}

/* 5.3: ""MAILBOX" is the number of mailboxes governed by the quota root. This MUST be an exact
 * number" */
Test(rfc9208, mailboxes)
{
    struct talk *t = begin(true);

    talk_has(t, 1, "_ SETQUOTA " ROOT " (MAILBOX 8)", "_ OK ${*}");
    talk_is(t, 1, "a CREATE a/b/c", "a NO [OVERQUOTA] ${*}");
    talk_is(t, 1, "b CREATE a/b", "b OK ${*}");
    talk_is(t, 1, "c GETQUOTA " ROOT, "* QUOTA " ROOT " (MAILBOX 8 8)\nc OK ${*}");
    talk_is(t, 1, "d CREATE c", "d NO [OVERQUOTA] ${*}");
    talk_is(t, 1, "e RENAME a c", "e OK ${*}");
    talk_is(t, 1, "f DELETE c/b", "f OK ${*}");
    talk_is(t, 1, "g CREATE d", "g OK ${*}");
    talk_free(t);
}

/* 4.1.4: "The DELETED status data item requests the server to return the number of messages with
 * the \Deleted flag set."; DELETED-STORAGE "the amount of storage space that can be reclaimed by
 * performing EXPUNGE on the mailbox" */
Test(rfc9208, deleted_and_deleted_storage)
{
    struct talk *t = begin(false);
    unsigned long long reclaimable, before, after;
    const char *got;

    cr_assert(imap_world_fill(t->world, S("INBOX"), 5));
    talk_is(t, 1, "a STATUS INBOX (MESSAGES DELETED DELETED-STORAGE)",
            "* STATUS \"INBOX\" (MESSAGES 5 DELETED 0 DELETED-STORAGE 0)\na OK ${*}");
    talk_has(t, 1, "_ SELECT INBOX", "_ OK ${*}");
    talk_has(t, 1, "_ STORE 2:3 +FLAGS.SILENT (\\Deleted)", "_ OK ${*}");
    got = talk(t, 1, "b STATUS INBOX (DELETED DELETED-STORAGE SIZE)");
    cr_assert_eq(sscanf(got, "* STATUS \"INBOX\" (DELETED 2 DELETED-STORAGE %llu SIZE %llu)",
                        &reclaimable, &before),
                 2, "%s", got);
    talk_has(t, 1, "_ EXPUNGE", "_ OK ${*}");
    got = talk(t, 1, "c STATUS INBOX (SIZE)");
    cr_assert_eq(sscanf(got, "* STATUS \"INBOX\" (SIZE %llu)", &after), 1, "%s", got);
    cr_assert_eq(before - after, reclaimable);
    cr_assert_gt(reclaimable, 0);
    talk_free(t);
}

/* 3.1.1: "Supported resource names MUST be advertised as a capability by prepending the resource
 * name with "QUOTA=RES-"." */
Test(rfc9208, capabilities)
{
    static const char *const names[] = {"QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE",
                                        "QUOTA=RES-MAILBOX", "QUOTASET"};
    struct talk *t = begin(false);

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char pattern[80];

        snprintf(pattern, sizeof pattern, "* CAPABILITY ${*} %s ${*}", names[i]);
        talk_has(t, 1, "a CAPABILITY", pattern);
    }
    talk_free(t);
}
