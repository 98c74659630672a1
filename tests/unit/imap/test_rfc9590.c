/* SPDX-License-Identifier: MPL-2.0 */
/* RFC 9590: LIST-METADATA. */
#include <criterion/criterion.h>

#include "tests/unit/imap/talk.h"

#define COLOUR "/shared/vendor/example/colour"

static struct talk *begin(void)
{
    struct talk *t = talk_new();

    talk_login(t, 1);
    talk_is(t, 1, "_ CREATE foo/bar", "_ OK ${*}");
    talk_is(t, 1, "_ SETMETADATA INBOX (" COLOUR " \"#b71c1c\")", "_ OK ${*}");
    return t;
}

/* 3: "the server MUST return an untagged LIST response followed by one or more untagged METADATA
 * responses containing the mailbox annotations requested in the METADATA return option" */
Test(rfc9590, metadata_behind_each_list)
{
    struct talk *t = begin();

    talk_is(t, 1, "A00 LIST \"\" (IN% f%) RETURN (METADATA (\"" COLOUR "\"))",
            "* LIST (\\HasNoChildren) \"/\" \"INBOX\"\n"
            "* METADATA \"INBOX\" (" COLOUR " \"#b71c1c\")\n"
            "* LIST (\\HasChildren) \"/\" \"foo\"\n"
            "* METADATA \"foo\" (" COLOUR " NIL)\n"
            "A00 OK ${*}");
    talk_free(t);
}

/* 3: no METADATA of what does not exist, or is there for its children's sake only */
Test(rfc9590, not_of_what_is_no_mailbox)
{
    struct talk *t = begin();

    talk_is(t, 1, "_ SUBSCRIBE foo/bar", "_ OK ${*}");
    talk_is(t, 1, "a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" f% RETURN (METADATA (" COLOUR "))",
            "* LIST (\\HasChildren) \"/\" \"foo\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\na OK ${*}");
    talk_is(t, 1, "_ DELETE foo", "_ OK ${*}");
    talk_is(t, 1, "b LIST \"\" f% RETURN (METADATA (" COLOUR "))",
            "* LIST (\\NonExistent \\HasChildren) \"/\" \"foo\"\nb OK ${*}");
    talk_free(t);
}

/* With other options; several entries; an entry that cannot be (RFC 5464 section 3.2). */
Test(rfc9590, syntax)
{
    struct talk *t = begin();

    talk_is(t, 1,
            "a LIST \"\" INBOX RETURN (METADATA (/private/comment " COLOUR ") "
            "STATUS (MESSAGES) SUBSCRIBED)",
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"INBOX\"\n"
            "* STATUS \"INBOX\" (MESSAGES 0)\n"
            "* METADATA \"INBOX\" (" COLOUR " \"#b71c1c\" /private/comment NIL)\n"
            "a OK ${*}");
    talk_is(t, 1, "b LIST \"\" INBOX RETURN (METADATA (comment))", "b BAD ${*}");
    talk_is(t, 1, "c LIST \"\" INBOX RETURN (METADATA)", "c BAD ${*}");
    talk_is(t, 1, "d LIST \"\" INBOX RETURN (METADATA ())", "d BAD ${*}");
    talk_has(t, 1, "e CAPABILITY", "* CAPABILITY ${*} LIST-METADATA${*}");
    talk_free(t);
}
