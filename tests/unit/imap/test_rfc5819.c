/* SPDX-License-Identifier: MPL-2.0 */
/* RFC 5819: STATUS information in LIST. */
#include <criterion/criterion.h>

#include "tests/unit/imap/talk.h"

static struct talk *begin(void)
{
    struct talk *t = talk_new();

    talk_login(t, 1);
    talk_is(t, 1, "_ CREATE foo/bar", "_ OK ${*}");
    cr_assert(imap_world_fill(t->world, S("INBOX"), 3));
    cr_assert(imap_world_fill(t->world, S("foo/bar"), 2));
    return t;
}

/* 2: "For each selectable mailbox matching the list pattern and selection options, the server MUST
 * return an untagged LIST response followed by an untagged STATUS response" */
Test(rfc5819, a_status_behind_each_list)
{
    struct talk *t = begin();

    talk_is(t, 1, "A01 LIST \"\" (INBOX foo%) RETURN (STATUS (MESSAGES UNSEEN))",
            "* LIST (\\HasNoChildren) \"/\" \"INBOX\"\n"
            "* STATUS \"INBOX\" (MESSAGES 3 UNSEEN 3)\n"
            "* LIST (\\HasChildren) \"/\" \"foo\"\n"
            "* STATUS \"foo\" (MESSAGES 0 UNSEEN 0)\n"
            "A01 OK ${*}");
    talk_free(t);
}

/* 3: "The "bar" mailbox isn't selectable, so it has no STATUS reply." */
Test(rfc5819, no_status_of_what_cannot_be_selected)
{
    struct talk *t = begin();

    talk_is(t, 1, "_ DELETE foo", "_ OK ${*}");
    talk_is(t, 1, "_ SUBSCRIBE nothing", "_ OK ${*}");
    talk_is(t, 1, "a LIST \"\" f% RETURN (STATUS (MESSAGES))",
            "* LIST (\\NonExistent \\HasChildren) \"/\" \"foo\"\na OK ${*}");
    talk_is(t, 1, "b LIST (SUBSCRIBED) \"\" n% RETURN (STATUS (MESSAGES))",
            "* LIST (\\NonExistent \\Subscribed \\HasNoChildren) \"/\" \"nothing\"\nb OK ${*}");
    talk_free(t);
}

/* 3: "The LIST reply for "foo" is returned because it has matching children, but no STATUS reply is
 * returned because "foo" itself doesn't match the selection criteria." */
Test(rfc5819, no_status_of_what_is_only_a_parent)
{
    struct talk *t = begin();

    talk_is(t, 1, "_ SUBSCRIBE foo/bar", "_ OK ${*}");
    talk_is(t, 1,
            "A02 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (INBOX f%) "
            "RETURN (STATUS (MESSAGES))",
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"INBOX\"\n"
            "* STATUS \"INBOX\" (MESSAGES 3)\n"
            "* LIST (\\HasChildren) \"/\" \"foo\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
            "A02 OK ${*}");
    talk_free(t);
}

/* RFC 9051 section 6.3.9.2: the status of the selected mailbox is asked for like any other's; and
 * it is that of the store, not of what has been told. */
Test(rfc5819, the_selected_mailbox)
{
    struct talk *t = begin();

    talk_has(t, 1, "s SELECT INBOX", "s OK ${*}");
    cr_assert(imap_world_fill(t->world, S("INBOX"), 1));
    talk_is(t, 1, "a LIST \"\" INBOX RETURN (STATUS (MESSAGES UIDNEXT))",
            "* LIST (\\HasNoChildren) \"/\" \"INBOX\"\n"
            "* STATUS \"INBOX\" (MESSAGES 4 UIDNEXT 5)\n"
            "* 4 EXISTS\n"
            "a OK ${*}");
    talk_free(t);
}

/* 4: status-option = "STATUS" SP "(" status-att *(SP status-att) ")" */
Test(rfc5819, syntax)
{
    struct talk *t = begin();

    talk_is(t, 1, "a LIST \"\" * RETURN (STATUS)", "a BAD ${*}");
    talk_is(t, 1, "b LIST \"\" * RETURN (STATUS ())", "b BAD ${*}");
    talk_is(t, 1, "c LIST \"\" * RETURN (STATUS (FROB))", "c BAD ${*}");
    talk_is(t, 1, "d LIST (STATUS (MESSAGES)) \"\" *", "d BAD ${*}");
    talk_has(t, 1, "e LIST \"\" foo RETURN (STATUS (MESSAGES) SUBSCRIBED CHILDREN)",
             "* STATUS \"foo\" (MESSAGES 0)");
    talk_free(t);
}

Test(rfc5819, capability)
{
    struct talk *t = begin();

    talk_has(t, 1, "a CAPABILITY", "* CAPABILITY ${*} LIST-STATUS${*}");
    talk_free(t);
}
