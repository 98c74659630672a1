/* SPDX-License-Identifier: MPL-2.0 */
/* RFC 5258: LIST command extensions. The hierarchies are those of its examples (section 5). */
#include <criterion/criterion.h>

#include <stdio.h>

#include "lib/base/mem.h"
#include "tests/unit/imap/talk.h"

static void each(struct talk *t, const char *verb, const char *const *names)
{
    for (; *names; names++) {
        char line[100];

        snprintf(line, sizeof line, "_ %s %s", verb, *names);
        talk_is(t, 1, line, "_ OK ${*}");
    }
}

/* Logged in; of the mailboxes that every account has only INBOX is left. */
static struct talk *begin(const char *const *mailboxes, const char *const *subscribed)
{
    static const char *const first[] = {"Drafts", "Sent", "Junk", "Trash", "Archive", NULL};
    static const char *const inbox[] = {"INBOX", NULL};
    struct talk *t = talk_new();

    talk_login(t, 1);
    each(t, "DELETE", first);
    each(t, "UNSUBSCRIBE", first);
    each(t, "UNSUBSCRIBE", inbox);
    each(t, "CREATE", mailboxes);
    each(t, "SUBSCRIBE", subscribed);
    return t;
}

static const char *const none[] = {NULL};
static const char *const food[] = {"Fruit/Apple",        "Fruit/Banana",   "Tofu",
                                   "Vegetable/Broccoli", "Vegetable/Corn", NULL};
static const char *const eaten[] = {"INBOX",     "Fruit/Banana",       "Fruit/Peach",
                                    "Vegetable", "Vegetable/Broccoli", NULL};

/* 3: "If a mailbox name matches multiple mailbox patterns from the list, the server SHOULD return
 * only a single LIST response." */
Test(rfc5258, several_patterns_give_a_name_once)
{
    struct talk *t = begin(food, none);

    talk_is(t, 1, "a LIST \"\" (\"INBOX\" \"Tofu\" \"T*\" \"Fruit/%\")",
            "* LIST (\\HasNoChildren) \"/\" \"INBOX\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"Fruit/Apple\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"Fruit/Banana\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"Tofu\"\n"
            "a OK ${*}");
    talk_free(t);
}

/* 3: "ANY extended LIST command ... MUST NOT treat the empty mailbox name as such a special
 * request"; "the empty string MUST be ignored for the purpose of matching" */
Test(rfc5258, an_empty_pattern_is_special_in_the_basic_syntax_only)
{
    struct talk *t = begin(food, none);

    talk_is(t, 1, "a LIST \"\" \"\"", "* LIST (\\Noselect) \"/\" \"\"\na OK ${*}");
    talk_is(t, 1, "b LIST () \"\" \"\"", "b OK ${*}");
    talk_is(t, 1, "c LIST \"\" (\"\")", "c OK ${*}");
    talk_is(t, 1, "d LIST \"\" \"\" RETURN (CHILDREN)", "d OK ${*}");
    talk_is(t, 1, "e LIST \"\" (\"\" \"Tofu\")",
            "* LIST (\\HasNoChildren) \"/\" \"Tofu\"\ne OK ${*}");
    talk_is(t, 1, "f LIST \"Fruit\" (\"\")", "f OK ${*}");
    talk_free(t);
}

/* 3: "If a server doesn't accept a particular pattern, it MUST silently ignore it." */
Test(rfc5258, a_pattern_that_cannot_be_is_ignored)
{
    struct talk *t = begin(food, none);

    talk_is(t, 1, "a LIST \"\" (\"&bad\" \"Tofu\")",
            "* LIST (\\HasNoChildren) \"/\" \"Tofu\"\na OK ${*}");
    talk_free(t);
}

/* 3: "A server MUST respond to options it does not recognize with a BAD response."; "the server
 * MUST act as if it received the option only once" */
Test(rfc5258, options_unknown_and_repeated)
{
    struct talk *t = begin(food, eaten);

    talk_is(t, 1, "a LIST (FROB) \"\" *", "a BAD ${*}");
    talk_is(t, 1, "b LIST \"\" * RETURN (FROB)", "b BAD ${*}");
    talk_is(t, 1, "c LIST (SUBSCRIBED SUBSCRIBED REMOTE) \"\" V%/% RETURN (CHILDREN CHILDREN)",
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"Vegetable/Broccoli\"\nc OK ${*}");
    talk_is(t, 1, "d LIST () \"\" Tofu RETURN ()",
            "* LIST (\\HasNoChildren) \"/\" \"Tofu\"\nd OK ${*}");
    talk_free(t);
}

/* 3.1: "the list MUST include exactly those mailbox names that match the canonical list pattern and
 * are subscribed to"; "The "\NonExistent" attribute MUST be supported and MUST be accurately
 * computed." (example 2) */
Test(rfc5258, subscribed_selects_exactly_what_is_subscribed)
{
    struct talk *t = begin(food, eaten);

    talk_is(t, 1, "A02 LIST (SUBSCRIBED) \"\" \"*\"",
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"INBOX\"\n"
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"Fruit/Banana\"\n"
            "* LIST (\\NonExistent \\Subscribed \\HasNoChildren) \"/\" \"Fruit/Peach\"\n"
            "* LIST (\\Subscribed \\HasChildren) \"/\" \"Vegetable\"\n"
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"Vegetable/Broccoli\"\n"
            "A02 OK ${*}");
    talk_free(t);
}

/* 4: "If the CHILDREN return option is present, the server MUST return these attributes" (example
 * 3) */
Test(rfc5258, children)
{
    struct talk *t = begin(food, eaten);

    talk_is(t, 1, "A03 LIST () \"\" \"%\" RETURN (CHILDREN)",
            "* LIST (\\HasNoChildren) \"/\" \"INBOX\"\n"
            "* LIST (\\HasChildren) \"/\" \"Fruit\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"Tofu\"\n"
            "* LIST (\\HasChildren) \"/\" \"Vegetable\"\n"
            "A03 OK ${*}");
    talk_is(t, 1, "a CREATE INBOX/x", "a OK ${*}");
    talk_is(t, 1, "b LIST () \"\" INBOX RETURN (CHILDREN)",
            "* LIST (\\HasChildren) \"/\" \"INBOX\"\nb OK ${*}");
    talk_free(t);
}

/* 3.2: "SUBSCRIBED - causes the LIST command to return subscription state for all matching mailbox
 * names."; "return options MUST NOT cause the server to report information about additional mailbox
 * names" (example 6: no Fruit/Peach) */
Test(rfc5258, return_subscribed_adds_no_names)
{
    struct talk *t = begin(food, eaten);

    talk_is(t, 1, "A06 LIST (REMOTE) \"\" \"*\" RETURN (SUBSCRIBED)",
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"INBOX\"\n"
            "* LIST (\\HasChildren) \"/\" \"Fruit\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"Fruit/Apple\"\n"
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"Fruit/Banana\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"Tofu\"\n"
            "* LIST (\\Subscribed \\HasChildren) \"/\" \"Vegetable\"\n"
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"Vegetable/Broccoli\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"Vegetable/Corn\"\n"
            "A06 OK ${*}");
    talk_free(t);
}

/* 3.1: "The RECURSIVEMATCH option MUST NOT occur as the only selection option (or only with REMOTE)
 * ... The server MUST return BAD tagged response in such case." SPECIAL-USE is an independent
 * option like REMOTE (RFC 6154 section 6). */
Test(rfc5258, recursivematch_alone_is_bad)
{
    struct talk *t = begin(none, none);

    talk_is(t, 1, "a LIST (RECURSIVEMATCH) \"\" *", "a BAD ${*}");
    talk_is(t, 1, "b LIST (REMOTE RECURSIVEMATCH) \"\" *", "b BAD ${*}");
    talk_is(t, 1, "c LIST (SPECIAL-USE RECURSIVEMATCH) \"\" *", "c BAD ${*}");
    talk_is(t, 1, "d LIST (REMOTE RECURSIVEMATCH SUBSCRIBED) \"\" *", "d OK ${*}");
    talk_free(t);
}

static const char *const foo[] = {"Foo/Bar", "Foo/Baz", "Moo", NULL};

/* 3.1: "this option forces the server to return information about parent mailboxes that don't match
 * other selection options, but have some submailboxes that do" (example 8) */
Test(rfc5258, recursivematch_tells_of_parents)
{
    static const char *const baz[] = {"Foo/Baz", NULL};
    struct talk *t = begin(foo, baz);

    talk_is(t, 1, "C02 LIST (SUBSCRIBED) \"\" \"*\"",
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"Foo/Baz\"\nC02 OK ${*}");
    talk_is(t, 1, "C03 LIST (SUBSCRIBED) \"\" \"%\"", "C03 OK ${*}");
    talk_is(t, 1, "C04 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"%\"",
            "* LIST (\\HasChildren) \"/\" \"Foo\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\nC04 OK ${*}");
    talk_is(t, 1, "_ SUBSCRIBE Foo", "_ OK ${*}");
    talk_is(t, 1, "C05 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"%\"",
            "* LIST (\\Subscribed \\HasChildren) \"/\" \"Foo\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
            "C05 OK ${*}");
    talk_is(t, 1, "_ UNSUBSCRIBE Foo", "_ OK ${*}");
    talk_is(t, 1, "_ DELETE Foo", "_ OK ${*}");
    talk_is(t, 1, "C06 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"%\"",
            "* LIST (\\NonExistent \\HasChildren) \"/\" \"Foo\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
            "C06 OK ${*}");
    talk_is(t, 1, "_ UNSUBSCRIBE Foo/Baz", "_ OK ${*}");
    talk_is(t, 1, "C07 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"%\"", "C07 OK ${*}");
    talk_free(t);
}

/* Example 8 C: "the mailbox "Foo" has children, but none of them is subscribed" */
Test(rfc5258, no_childinfo_without_selected_children)
{
    static const char *const both[] = {"Foo", "Moo", NULL};
    struct talk *t = begin(foo, both);

    talk_is(t, 1, "C04 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" \"%\" RETURN (CHILDREN)",
            "* LIST (\\Subscribed \\HasChildren) \"/\" \"Foo\"\n"
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"Moo\"\n"
            "C04 OK ${*}");
    talk_free(t);
}

/* 3.1 note 2: "When returning the CHILDINFO extended data item, it doesn't matter whether or not
 * the submailbox matches the canonical LIST pattern."; 3.5: "Servers SHOULD ONLY return a
 * non-matching mailbox name along with CHILDINFO if at least one matching child is not also being
 * returned." (example 9; baz2 and qux2 are what is suppressed) */
Test(rfc5258, childinfo_whether_or_not_children_match)
{
    static const char *const boxes[] = {"foo2/bar1",   "foo2/bar2",  "baz2/bar2", "baz2/bar22",
                                        "baz2/bar222", "eps2/mamba", "qux2/bar2", NULL};
    static const char *const subscribed[] = {"foo2/bar1",  "foo2/bar2",   "baz2/bar2",
                                             "baz2/bar22", "baz2/bar222", "eps2",
                                             "eps2/mamba", "qux2/bar2",   NULL};
    struct talk *t = begin(boxes, subscribed);

    talk_is(t, 1, "_ DELETE qux2", "_ OK ${*}");
    talk_is(t, 1, "D03 LIST (RECURSIVEMATCH SUBSCRIBED) \"\" \"*2\"",
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"baz2/bar2\"\n"
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"baz2/bar22\"\n"
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"baz2/bar222\"\n"
            "* LIST (\\Subscribed \\HasChildren) \"/\" \"eps2\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
            "* LIST (\\HasChildren) \"/\" \"foo2\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\n"
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"foo2/bar2\"\n"
            "* LIST (\\Subscribed \\HasNoChildren) \"/\" \"qux2/bar2\"\n"
            "D03 OK ${*}");
    talk_free(t);
}

/* Example 10: "the presence of the CHILDINFO extended data item doesn't necessarily imply
 * \HasChildren" */
Test(rfc5258, childinfo_without_children)
{
    static const char *const boxes[] = {"foo", NULL}, *const subscribed[] = {"foo/bar", NULL};
    struct talk *t = begin(boxes, subscribed);

    talk_is(t, 1, "a1 LIST \"\" (\"foo\" \"foo/*\")",
            "* LIST (\\HasNoChildren) \"/\" \"foo\"\na1 OK ${*}");
    talk_is(t, 1, "a2 LIST (SUBSCRIBED) \"\" \"foo/*\"",
            "* LIST (\\NonExistent \\Subscribed \\HasNoChildren) \"/\" \"foo/bar\"\na2 OK ${*}");
    talk_is(t, 1, "a3 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" foo RETURN (CHILDREN)",
            "* LIST (\\HasNoChildren) \"/\" \"foo\" (\"CHILDINFO\" (\"SUBSCRIBED\"))\na3 OK ${*}");
    talk_free(t);
}

/* Example 11: "how a server that supports missing mailbox hierarchy elements can signal to a client
 * that didn't specify the RECURSIVEMATCH selection option that there is a child mailbox" */
Test(rfc5258, missing_levels)
{
    static const char *const boxes[] = {"music/rock", NULL};
    struct talk *t = begin(boxes, none);

    talk_is(t, 1, "_ DELETE music", "_ OK ${*}");
    talk_is(t, 1, "a1 LIST (REMOTE) \"\" m*",
            "* LIST (\\HasNoChildren) \"/\" \"music/rock\"\na1 OK ${*}");
    talk_is(t, 1, "a2 LIST () \"\" m%",
            "* LIST (\\NonExistent \\HasChildren) \"/\" \"music\"\na2 OK ${*}");
    talk_is(t, 1, "a3 LIST \"\" m%",
            "* LIST (\\Noselect \\HasChildren) \"/\" \"music\"\na3 OK ${*}");
    talk_is(t, 1, "a3.1 LIST \"\" (m% music/rock)",
            "* LIST (\\NonExistent \\HasChildren) \"/\" \"music\"\n"
            "* LIST (\\HasNoChildren) \"/\" \"music/rock\"\na3.1 OK ${*}");
    /* without a mailbox below there is no level, whatever is subscribed */
    talk_is(t, 1, "_ DELETE music/rock", "_ OK ${*}");
    talk_is(t, 1, "_ SUBSCRIBE music/rock", "_ OK ${*}");
    talk_is(t, 1, "a4 LIST () \"\" m%", "a4 OK ${*}");
    talk_free(t);
}

/* 3.5: "The CHILDINFO extended data item MUST NOT be returned unless the client has specified the
 * RECURSIVEMATCH selection option." and 3: "The server MUST NOT return any extended data item
 * unless the client has expressed its ability to support extended LIST responses" */
Test(rfc5258, no_extended_data_unasked)
{
    struct talk *t = begin(food, eaten);

    talk_lacks(t, 1, "a LIST (SUBSCRIBED) \"\" *", "${*}CHILDINFO${*}");
    talk_lacks(t, 1, "b LIST \"\" *", "${*}NonExistent${*}");
    talk_lacks(t, 1, "c LIST \"\" *", "${*}/\" \"${*}\" (${*}");
    talk_free(t);
}

/* 10,000 mailboxes are not one step: no worker is held (I35). */
Test(rfc5258, many_mailboxes_leave_in_slices, .timeout = 100)
{
    enum { BOXES = 3000, BATCH = 200 };
    struct talk *t = begin(none, none);
    struct intent *intents = NEW_ARRAY(struct intent, BOXES), **list;
    struct account *a;
    struct error err = {0};
    size_t steps, lines = 0;

    list = NEW_ARRAY(struct intent *, BOXES);
    cr_assert_eq(account_open(t->world->mail, t->world->account, &a, &err), 0);
    for (size_t i = 0; i < BOXES; i++) {
        intents[i] = (struct intent){.kind = INTENT_CREATE, .account = a};
        intents[i].name = slice_str(mem_printf("a mailbox with a name that is not short/%zu", i));
        list[i] = &intents[i];
    }
    for (size_t i = 0; i < BOXES; i += BATCH)
        mail_commit(t->world->mail, list + i, BATCH);
    steps = talk_steps(t, 1);
    for (const char *p = talk(t, 1, "a LIST \"\" *"); (p = strstr(p, "* LIST")); p++)
        lines++;
    cr_assert_eq(lines, BOXES + 2, "%zu lines", lines);
    cr_assert_geq(talk_steps(t, 1) - steps, 4, "%zu steps", talk_steps(t, 1) - steps);
    for (size_t i = 0; i < BOXES; i++) {
        cr_assert_eq(intents[i].result, 0);
        free((void *)intents[i].name.p);
        intent_done(&intents[i]);
    }
    free(intents);
    free(list);
    account_unref(a);
    talk_free(t);
}
