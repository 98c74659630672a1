/* SPDX-License-Identifier: MPL-2.0 */
/* RFC 5464: METADATA. */
#include <criterion/criterion.h>

#include <stdio.h>

#include "lib/base/mem.h"
#include "tests/unit/imap/talk.h"

static struct talk *begin(void)
{
    struct talk *t = talk_new();

    t->world->settings.literal_max = 65536;
    t->world->settings.command_max = 100000;
    imap_service_free(t->world->service);
    t->world->service = imap_service_new(&t->world->settings, t->world->mail, t->world->auth);
    talk_login(t, 1);
    return t;
}

/* 4.3: "This command sets the specified list of entries by adding or replacing the specified values
 * provided"; 4.2: "Entry specifiers can be lists of atomic specifiers" */
Test(rfc5464, set_and_get)
{
    struct talk *t = begin();

    talk_is(t, 1,
            "a SETMETADATA INBOX (/private/comment \"My new comment\" "
            "/shared/comment \"This one is for you!\")",
            "a OK ${*}");
    talk_is(t, 1, "b GETMETADATA \"INBOX\" /private/comment",
            "* METADATA \"INBOX\" (/private/comment \"My new comment\")\nb OK ${*}");
    talk_is(t, 1, "c GETMETADATA INBOX (/shared/comment /private/comment)",
            "* METADATA \"INBOX\" (/private/comment \"My new comment\" "
            "/shared/comment \"This one is for you!\")\nc OK ${*}");
    talk_is(t, 1, "d SETMETADATA INBOX (/private/comment \"another\")", "d OK ${*}");
    talk_is(t, 1, "e GETMETADATA INBOX /private/comment",
            "* METADATA \"INBOX\" (/private/comment \"another\")\ne OK ${*}");
    talk_free(t);
}

/* 4.3: "Clients can use NIL for the value of entries it wants to remove."; 3.2: "The value of an
 * entry is NIL (has no value), or a string or binary data of zero or more octets." */
Test(rfc5464, nil_removes_and_an_empty_value_is_one)
{
    struct talk *t = begin();

    talk_is(t, 1, "a SETMETADATA INBOX (/private/comment \"\")", "a OK ${*}");
    talk_is(t, 1, "b GETMETADATA INBOX /private/comment",
            "* METADATA \"INBOX\" (/private/comment \"\")\nb OK ${*}");
    talk_is(t, 1, "c SETMETADATA INBOX (/private/comment NIL)", "c OK ${*}");
    talk_is(t, 1, "d GETMETADATA INBOX /private/comment",
            "* METADATA \"INBOX\" (/private/comment NIL)\nd OK ${*}");
    talk_is(t, 1, "e SETMETADATA INBOX (/private/comment NIL)", "e OK ${*}");
    talk_free(t);
}

/* 4.3's example: a multi-line value by a literal; 5: value = nstring / literal8 */
Test(rfc5464, literals_and_binary)
{
    struct talk *t = begin();

    talk_is(t, 1,
            "a SETMETADATA INBOX (/private/comment {33+}\r\nMy new comment across\r\ntwo lines.)",
            "a OK ${*}");
    talk_is(t, 1, "b GETMETADATA INBOX /private/comment",
            "* METADATA \"INBOX\" (/private/comment {33}\nMy new comment across\ntwo lines.)\n"
            "b OK ${*}");
    talk_is(t, 1,
            "c SETMETADATA INBOX (/private/comment ~{3+}\r\na\x01"
            "b)",
            "c OK ${*}");
    talk_is(t, 1, "d GETMETADATA INBOX /private/comment",
            "* METADATA \"INBOX\" (/private/comment {3}\na\x01"
            "b)\nd OK ${*}");
    talk_free(t);
}

/* 3.2: "An entry name MUST NOT contain two consecutive "/" characters and MUST NOT end with a "/"
 * character."; "Invalid entry names result in a BAD response in any IMAP command in which they are
 * used." */
Test(rfc5464, entry_names)
{
    static const char *const bad[] = {
        "comment",         "/comment", "/private//x", "/private/x/",       "/private/a%b",
        "\"/private/a*\"", "/other/x", "/private",    "/shared/vendor/me", "\"/private/\""};
    struct talk *t = begin();

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char line[100];

        snprintf(line, sizeof line, "a SETMETADATA INBOX (%s \"x\")", bad[i]);
        talk_is(t, 1, line, "a BAD ${*}");
    }
    talk_is(t, 1, "b GETMETADATA INBOX /private//x", "b BAD ${*}");
    talk_is(t, 1, "c GETMETADATA INBOX (/private/x comment)", "c BAD ${*}");
    talk_is(t, 1, "d SETMETADATA INBOX (/shared/vendor/me/colour \"blue\")", "d OK ${*}");
    talk_free(t);
}

/* 3.2: "Entry names are case-insensitive." */
Test(rfc5464, case_makes_no_difference)
{
    struct talk *t = begin();

    talk_is(t, 1, "a SETMETADATA INBOX (/Private/Comment \"x\")", "a OK ${*}");
    talk_is(t, 1, "b GETMETADATA INBOX /PRIVATE/comment",
            "* METADATA \"INBOX\" (/private/comment \"x\")\nb OK ${*}");
    talk_free(t);
}

/* 4.2.1: "Only entry values that are less than or equal in octet size to the specified MAXSIZE
 * limit are returned. ... the server MUST include the METADATA LONGENTRIES response code ...
 * returns the size of the biggest entry value requested" */
Test(rfc5464, maxsize)
{
    struct talk *t = begin();

    talk_is(t, 1,
            "a SETMETADATA INBOX (/private/a \"12345\" /private/b \"123456\" "
            "/private/c \"12345678\" /private/d \"123456789\")",
            "a OK ${*}");
    talk_is(t, 1, "b GETMETADATA INBOX (MAXSIZE 5) (/private/a /private/b /private/c)",
            "* METADATA \"INBOX\" (/private/a \"12345\")\nb OK [METADATA LONGENTRIES 8] ${*}");
    /* as the grammar has it: options before the mailbox */
    talk_is(t, 1, "c GETMETADATA (MAXSIZE 9) INBOX (/private/a /private/d)",
            "* METADATA \"INBOX\" (/private/a \"12345\" /private/d \"123456789\")\nc OK Done");
    talk_is(t, 1, "d GETMETADATA INBOX (MAXSIZE 1) /private/a",
            "d OK [METADATA LONGENTRIES 5] ${*}");
    talk_free(t);
}

/* 4.2.2: ""depth 1" for an entry "/a" will match "/a" as well as its children entries (e.g.,
 * "/a/b"), but will not match grandchildren entries (e.g., "/a/b/c")." */
Test(rfc5464, depth)
{
    struct talk *t = begin();

    talk_is(t, 1,
            "_ SETMETADATA INBOX (/private/a \"1\" /private/a/b \"2\" /private/a/b/c \"3\" "
            "/private/ab \"4\")",
            "_ OK ${*}");
    talk_is(t, 1, "a GETMETADATA INBOX (DEPTH 0) /private/a",
            "* METADATA \"INBOX\" (/private/a \"1\")\na OK ${*}");
    talk_is(t, 1, "b GETMETADATA INBOX (DEPTH 1) (/private/a)",
            "* METADATA \"INBOX\" (/private/a \"1\" /private/a/b \"2\")\nb OK ${*}");
    talk_is(t, 1, "c GETMETADATA (DEPTH infinity MAXSIZE 100) INBOX (/private/a)",
            "* METADATA \"INBOX\" (/private/a \"1\" /private/a/b \"2\" /private/a/b/c \"3\")\n"
            "c OK ${*}");
    talk_has(t, 1, "d GETMETADATA INBOX (DEPTH infinity) /private",
             "* METADATA ${*} /private/ab ${*}");
    talk_is(t, 1, "e GETMETADATA INBOX (DEPTH 2) /private", "e BAD ${*}");
    talk_is(t, 1, "f GETMETADATA INBOX (FROB 2) /private", "f BAD ${*}");
    talk_free(t);
}

/* A SETMETADATA with a value of n octets; valid until the next one. */
static const char *set_of(size_t n)
{
    static struct buf line = {.max = BUF_MAX_DEFAULT};

    buf_reset(&line, 0);
    buf_printf(&line, "a SETMETADATA INBOX (/private/comment {%zu+}\r\n", n);
    for (size_t i = 0; i < n; i++)
        buf_add_byte(&line, 'x');
    buf_add_byte(&line, ')');
    return buf_cstr(&line);
}

/* 4.3: "If the server is unable to set an annotation because the size of its value is too large,
 * the server MUST return a tagged NO response with a "[METADATA MAXSIZE NNN]" response code"; 4.1:
 * "the server MUST accept an annotation data size of at least 1024 bytes" */
Test(rfc5464, too_large)
{
    struct talk *t = begin();

    talk_is(t, 1, set_of(1024), "a OK ${*}");
    talk_is(t, 1, set_of(16384), "a OK ${*}");
    talk_is(t, 1, set_of(16385), "a NO [METADATA MAXSIZE 16384] ${*}");
    talk_is(t, 1, "b GETMETADATA INBOX (MAXSIZE 10) /private/comment",
            "b OK [METADATA LONGENTRIES 16384] ${*}");
    talk_free(t);
}

/* 4.3: "If the server is unable to set a new annotation because the maximum number of allowed
 * annotations has already been reached, the server MUST return a tagged NO response with a
 * "[METADATA TOOMANY]" response code."; "the server MUST NOT change the values for other
 * annotations specified in the SETMETADATA command" */
Test(rfc5464, too_many_and_all_or_nothing)
{
    struct talk *t = begin();
    unsigned n = mail_settings(t->world->mail)->metadata_entries;
    char line[200];

    for (unsigned i = 0; i + 1 < n; i++) {
        snprintf(line, sizeof line, "a SETMETADATA INBOX (/private/n%u \"x\")", i);
        talk_is(t, 1, line, "a OK ${*}");
    }
    talk_is(t, 1, "b SETMETADATA INBOX (/private/n0 \"changed\" /private/y \"1\" /private/z \"2\")",
            "b NO [METADATA TOOMANY] ${*}");
    talk_is(t, 1, "c GETMETADATA INBOX (/private/n0 /private/y)",
            "* METADATA \"INBOX\" (/private/n0 \"x\" /private/y NIL)\nc OK ${*}");
    talk_is(t, 1, "d SETMETADATA INBOX (/private/y \"1\")", "d OK ${*}");
    talk_is(t, 1, "e SETMETADATA INBOX (/private/y \"2\" /private/n0 \"y\")", "e OK ${*}");
    talk_is(t, 1, "f SETMETADATA INBOX (/private/z \"2\")", "f NO [METADATA TOOMANY] ${*}");
    talk_is(t, 1, "g SETMETADATA Sent (/private/z \"2\")", "g OK ${*}");
    talk_free(t);
}

/* 3.3: "If a client attempts to set or retrieve annotations on mailboxes that do not satisfy the
 * conditions above, the server MUST respond with a NO response." */
Test(rfc5464, mailboxes_that_are_not_there)
{
    struct talk *t = begin();

    talk_is(t, 1, "a GETMETADATA nothing /private/comment", "a NO [NONEXISTENT] ${*}");
    talk_is(t, 1, "b SETMETADATA nothing (/private/comment \"x\")", "b NO [NONEXISTENT] ${*}");
    talk_free(t);
}

/* 4.1: "Servers SHOULD ensure that mailbox annotations are automatically moved when the mailbox
 * they refer to is renamed"; "mailbox annotations are preserved on the INBOX when it is renamed";
 * "Servers SHOULD delete annotations for a mailbox when the mailbox is deleted" */
Test(rfc5464, rename_and_delete)
{
    struct talk *t = begin();

    talk_is(t, 1, "_ CREATE a", "_ OK ${*}");
    talk_is(t, 1, "_ SETMETADATA a (/private/comment \"of a\")", "_ OK ${*}");
    talk_is(t, 1, "_ SETMETADATA INBOX (/private/comment \"of INBOX\")", "_ OK ${*}");
    talk_is(t, 1, "_ RENAME a b", "_ OK ${*}");
    talk_is(t, 1, "a GETMETADATA b /private/comment",
            "* METADATA \"b\" (/private/comment \"of a\")\na OK ${*}");
    talk_is(t, 1, "_ RENAME INBOX old", "_ OK ${*}");
    talk_is(t, 1, "b GETMETADATA old /private/comment",
            "* METADATA \"old\" (/private/comment \"of INBOX\")\nb OK ${*}");
    talk_is(t, 1, "c GETMETADATA INBOX /private/comment",
            "* METADATA \"INBOX\" (/private/comment \"of INBOX\")\nc OK ${*}");
    talk_is(t, 1, "_ DELETE b", "_ OK ${*}");
    talk_is(t, 1, "_ CREATE b", "_ OK ${*}");
    talk_is(t, 1, "d GETMETADATA b /private/comment",
            "* METADATA \"b\" (/private/comment NIL)\nd OK ${*}");
    talk_free(t);
}

/* 4.1: "An empty string is used for the mailbox name to signify server annotations."; 3.2.1.1:
 * "/shared/admin ... This entry is always read-only -- clients cannot change it."; 3.3: "Servers
 * MAY restrict the creation of private or shared server annotations ... the server MUST return a NO
 * response" */
Test(rfc5464, server_entries)
{
    struct talk *t = talk_new();
    struct imap_settings *s = &t->world->settings;

    s->comment = "Back at noon";
    s->admin = "mailto:admin@example.org";
    imap_service_free(t->world->service);
    t->world->service = imap_service_new(s, t->world->mail, t->world->auth);
    talk_login(t, 1);
    talk_is(t, 1, "a GETMETADATA \"\" (/shared/comment /shared/admin /private/comment)",
            "* METADATA \"\" (/shared/comment \"Back at noon\" "
            "/shared/admin \"mailto:admin@example.org\" /private/comment NIL)\na OK ${*}");
    talk_is(t, 1, "b SETMETADATA \"\" (/shared/admin \"mailto:me@example.org\")",
            "b NO [NOPERM] ${*}");
    talk_is(t, 1, "c SETMETADATA \"\" (/shared/comment \"x\")", "c NO [NOPERM] ${*}");
    talk_is(t, 1, "d SETMETADATA \"\" (/private/comment \"mine\")", "d OK ${*}");
    talk_is(t, 1, "e GETMETADATA \"\" (DEPTH infinity) (/private)",
            "* METADATA \"\" (/private/comment \"mine\")\ne OK ${*}");
    /* the account's own values are no annotations */
    talk_is(t, 1, "f GETMETADATA \"\" quota.bytes", "f BAD ${*}");
    talk_free(t);
}

/* 4.4: "When unsolicited responses are activated by the ENABLE [RFC5161] command for this
 * extension, servers MUST send unsolicited METADATA responses if server or mailbox annotations are
 * changed by a third-party"; "Unsolicited METADATA responses MUST only contain entry names, not the
 * values." */
Test(rfc5464, others_changes_are_told)
{
    struct talk *t = begin();

    talk_login(t, 2);
    talk_is(t, 2, "a ENABLE METADATA", "* ENABLED METADATA\na OK ${*}");
    talk_is(t, 2, "b NOOP", "b OK ${*}");
    talk_is(t, 1, "_ SETMETADATA INBOX (/private/comment \"x\" /shared/comment \"y\")",
            "_ OK ${*}");
    talk_is(t, 1, "_ SETMETADATA \"\" (/private/comment \"x\")", "_ OK ${*}");
    talk_is(t, 2, "c NOOP",
            "* METADATA \"\" \"/private/comment\"\n"
            "* METADATA \"INBOX\" \"/private/comment\" \"/shared/comment\"\n"
            "c OK ${*}");
    talk_is(t, 2, "d NOOP", "d OK ${*}");
    /* 4.3: "The server SHOULD NOT return a METADATA response containing the updated annotation
     * data."; what others did meanwhile is told all the same */
    talk_is(t, 1, "_ SETMETADATA Sent (/private/comment \"x\")", "_ OK ${*}");
    talk_is(t, 2, "e SETMETADATA INBOX (/private/comment \"mine\" /shared/comment NIL)",
            "* METADATA \"Sent\" \"/private/comment\"\ne OK ${*}");
    talk_is(t, 2, "f NOOP", "f OK ${*}");
    /* removed; and a connection that has not asked for it hears nothing */
    talk_is(t, 1, "_ SETMETADATA Sent (/private/comment NIL)", "_ OK ${*}");
    talk_has(t, 2, "g SELECT INBOX", "* METADATA \"Sent\" \"/private/comment\"");
    talk_is(t, 1, "h NOOP", "h OK ${*}");
    talk_free(t);
}

Test(rfc5464, capability)
{
    struct talk *t = begin();

    talk_has(t, 1, "a CAPABILITY", "* CAPABILITY ${*} METADATA ${*}");
    talk_free(t);
}
