/* SPDX-License-Identifier: MPL-2.0 */
/* RFC 6154: SPECIAL-USE and CREATE-SPECIAL-USE. */
#include <criterion/criterion.h>

#include "tests/unit/imap/talk.h"

static struct talk *begin(void)
{
    struct talk *t = talk_new();

    talk_login(t, 1);
    return t;
}

/* 2: "If the client specifies the "SPECIAL-USE" selection option, the LIST command MUST return only
 * those mailboxes that have a special-use attribute set." */
Test(rfc6154, selection)
{
    struct talk *t = begin();

    talk_is(t, 1, "_ CREATE plain/deep", "_ OK ${*}");
    talk_is(t, 1, "a LIST (SPECIAL-USE) \"\" *",
            "* LIST (\\HasNoChildren \\Archive) \"/\" \"Archive\"\n"
            "* LIST (\\HasNoChildren \\Drafts) \"/\" \"Drafts\"\n"
            "* LIST (\\HasNoChildren \\Junk) \"/\" \"Junk\"\n"
            "* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent\"\n"
            "* LIST (\\HasNoChildren \\Trash) \"/\" \"Trash\"\n"
            "a OK ${*}");
    /* RFC 5258 section 3: several selection options must all hold */
    talk_is(t, 1, "_ UNSUBSCRIBE Trash", "_ OK ${*}");
    talk_is(t, 1, "b LIST (SPECIAL-USE SUBSCRIBED) \"\" (T* S*)",
            "* LIST (\\Subscribed \\HasNoChildren \\Sent) \"/\" \"Sent\"\nb OK ${*}");
    talk_free(t);
}

/* 2: "If the client specifies the "SPECIAL-USE" return option, the LIST command MUST return the new
 * special-use attributes on those mailboxes that have them set." */
Test(rfc6154, return_option)
{
    struct talk *t = begin();

    talk_is(t, 1, "a LIST \"\" (INBOX Sent) RETURN (SPECIAL-USE)",
            "* LIST (\\HasNoChildren) \"/\" \"INBOX\"\n"
            "* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent\"\na OK ${*}");
    talk_free(t);
}

/* 3: "If the server cannot create a mailbox with the designated special use defined, for whatever
 * reason, it MUST NOT create the mailbox, and MUST respond to the CREATE command with a tagged NO
 * response. ... the server SHOULD include the new "USEATTR" response code" */
Test(rfc6154, uses_that_cannot_be_made)
{
    struct talk *t = begin();

    talk_is(t, 1, "t3 CREATE Everything (USE (\\All))", "t3 NO [USEATTR] ${*}");
    talk_is(t, 1, "a CREATE Marked (USE (\\Sent \\Flagged))", "a NO [USEATTR] ${*}");
    /* use-attr-ext: one that nobody has defined is right by the grammar */
    talk_is(t, 1, "b CREATE Odd (USE (\\Frobbed))", "b NO [USEATTR] ${*}");
    talk_is(t, 1, "c CREATE Odd (USE (Frobbed))", "c BAD ${*}");
    talk_is(t, 1, "d LIST \"\" (Everything Marked Odd)", "d OK ${*}");
    talk_free(t);
}

/* 3: "a parenthesized list of zero or more special-use attributes"; "This might have the effect of
 * moving the special use from the old mailbox to the new one" */
Test(rfc6154, a_use_moves_to_the_new_mailbox)
{
    struct talk *t = begin();

    talk_is(t, 1, "t2 CREATE MySpecial (USE (\\Drafts \\sent))", "t2 OK ${*}");
    talk_is(t, 1, "a LIST \"\" (MySpecial Drafts Sent)",
            "* LIST (\\HasNoChildren) \"/\" \"Drafts\"\n"
            "* LIST (\\HasNoChildren \\Drafts \\Sent) \"/\" \"MySpecial\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"Sent\"\na OK ${*}");
    talk_is(t, 1, "b CREATE None (USE ())", "b OK ${*}");
    talk_free(t);
}

/* 4: "it SHOULD tie the special-use attributes for a mailbox to its metadata entry
 * "/private/specialuse""; the example of 5.4 */
Test(rfc6154, metadata)
{
    struct talk *t = begin();

    talk_login(t, 2);
    talk_is(t, 2, "_ ENABLE METADATA", "* ENABLED METADATA\n_ OK ${*}");
    talk_is(t, 1, "_ CREATE SavedDrafts", "_ OK ${*}");
    talk_is(t, 1, "t2 GETMETADATA Drafts /private/specialuse",
            "* METADATA \"Drafts\" (/private/specialuse \"\\\\Drafts\")\nt2 OK ${*}");
    talk_is(t, 1, "t3 SETMETADATA SavedDrafts (/private/specialuse \"\\\\Drafts\")", "t3 OK ${*}");
    talk_is(t, 1, "t4 SETMETADATA Sent (/private/specialuse NIL)", "t4 OK ${*}");
    talk_is(t, 1, "t5 LIST \"\" (Sent *Drafts)",
            "* LIST (\\HasNoChildren) \"/\" \"Drafts\"\n"
            "* LIST (\\HasNoChildren \\Drafts) \"/\" \"SavedDrafts\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"Sent\"\nt5 OK ${*}");
    talk_is(t, 1, "t6 GETMETADATA Sent /private/specialuse",
            "* METADATA \"Sent\" (/private/specialuse NIL)\nt6 OK ${*}");
    talk_is(t, 2, "t7 NOOP",
            "* METADATA \"Drafts\" \"/private/specialuse\"\n"
            "* METADATA \"Sent\" \"/private/specialuse\"\n"
            "* METADATA \"SavedDrafts\" \"/private/specialuse\"\n"
            "t7 OK ${*}");
    talk_free(t);
}

/* 4: "It MUST NOT just blindly accept setting of these metadata by clients" */
Test(rfc6154, metadata_is_checked)
{
    struct talk *t = begin();

    talk_is(t, 1, "a SETMETADATA Sent (/private/specialuse \"\\\\All\")", "a NO [USEATTR] ${*}");
    talk_is(t, 1, "b SETMETADATA Sent (/private/specialuse \"\\\\Junk frob\")",
            "b NO [USEATTR] ${*}");
    talk_is(t, 1, "c SETMETADATA INBOX (/private/specialuse \"\\\\Junk\")", "c NO [USEATTR] ${*}");
    talk_is(t, 1, "d SETMETADATA Sent (/private/comment \"x\" /private/specialuse \"\\\\All\")",
            "d NO [USEATTR] ${*}");
    talk_is(
        t, 1, "e GETMETADATA Sent (/private/comment /private/specialuse)",
        "* METADATA \"Sent\" (/private/specialuse \"\\\\Sent\" /private/comment NIL)\ne OK ${*}");
    talk_is(t, 1,
            "f SETMETADATA Sent (/private/comment \"x\" "
            "/private/specialuse \"\\\\Sent  \\\\Archive\")",
            "f OK ${*}");
    talk_is(t, 1, "g LIST (SPECIAL-USE) \"\" (A* S*)",
            "* LIST (\\HasNoChildren \\Archive \\Sent) \"/\" \"Sent\"\ng OK ${*}");
    talk_free(t);
}

Test(rfc6154, capabilities)
{
    struct talk *t = begin();

    talk_has(t, 1, "a CAPABILITY", "* CAPABILITY ${*} SPECIAL-USE${*}");
    talk_has(t, 1, "b CAPABILITY", "* CAPABILITY ${*} CREATE-SPECIAL-USE${*}");
    talk_free(t);
}
