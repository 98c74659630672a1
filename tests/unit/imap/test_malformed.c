/* SPDX-License-Identifier: MPL-2.0 */
/* Commands that are wrong, each sent as it stands (with the tag "x" where it has none of its own):
 * it gets BAD or NO, or the session ends with BYE; never OK, never silence; and the NOOP behind it
 * is answered. RFC 9051 section 2.2.1: "the server sends a BAD ... if it detects an error in the
 * command"
 */
#include <criterion/criterion.h>

#include <stdio.h>

#include "lib/base/mem.h"
#include "tests/session/drive.h"
#include "tests/session/imap_world.h"

enum situation { NEW_, IN, SELECTED };

static const char *const before_login[] = {
    "x LOGIN",
    "x LOGIN joe",
    "x LOGIN joe ",
    "x LOGIN joe secret more",
    "x LOGIN  joe secret",
    "x LOGIN joe  secret",
    "x LOGIN (joe) secret",
    "x LOGIN joe (secret)",
    "x LOGIN \"joe secret",
    "x LOGIN joe \"secret",
    "x LOGIN joe \"sec\\ret\"",
    "x LOGIN joe \"secret\"x",
    "x LOGIN joe {",
    "x LOGIN joe {6",
    "x LOGIN joe {6+",
    "x LOGIN joe {x}",
    "x LOGIN joe {-1}",
    "x LOGIN joe {99999999999999999999}",
    "x LOGIN joe {6+} \r\nx",
    "x LOGIN joe {3000}",
    "x LOGIN j*e secret",
    "x LOGIN joe sec%ret",
    "x LOGIN {3+}\r\njoe",
    "x LOGIN {3+}\r\njoesecret",
    "x AUTHENTICATE",
    "x AUTHENTICATE (PLAIN)",
    "x AUTHENTICATE NOSUCH",
    "x AUTHENTICATE PLAIN !!!!",
    "x AUTHENTICATE PLAIN AGpvZQBzZWNyZXQ= more",
    "x AUTHENTICATE PLAIN\r\n*",
    "x AUTHENTICATE PLAIN\r\n!!",
    "x AUTHENTICATE PLAIN\r\n",
    "x AUTHENTICATE PLAIN =",
    "x AUTHENTICATE SCRAM-SHA-256 biws",
    "x STARTTLS now",
    "x STARTTLS",
    "x CAPABILITY 1",
    "x LOGOUT now",
    "x ID",
    "x ID ()x",
    "x ID (name Eider)",
    "x ID (\"name\"",
    "x ID \"name\"",
    "x ID NILL",
    "x ENABLE CONDSTORE",
    "x SELECT INBOX",
    "x UNAUTHENTICATE",
    "x LIST \"\" *",
    "x IDLE",
    "x APPEND INBOX {3+}\r\nabc",
    "x FETCH 1 FLAGS",
    "x UID",
    "x UID UID FETCH 1 FLAGS",
    "GET / HTTP/1.1",
    "EHLO example.org",
    "\x16\x03\x01\x02",
    "\xff\xfe",
    "x",
    " NOOP",
    "* NOOP",
    "x\tNOOP",
    "x  NOOP",
    "{3+}\r\nabc NOOP",
    "\"x\" NOOP",
    "x \"NOOP\"",
    "x NOO",
    "x NOOPE",
    "x NOOP\t",
    "x NOOP NOOP",
};

static const char *const logged_in[] = {
    "x LOGIN joe secret",
    "x AUTHENTICATE PLAIN",
    "x STARTTLS",
    "x ENABLE",
    "x ENABLE ",
    "x ENABLE (CONDSTORE)",
    "x ENABLE \"CONDSTORE\"",
    "x SELECT",
    "x SELECT ",
    "x SELECT INBOX ()",
    "x SELECT INBOX (FROB)",
    "x SELECT INBOX CONDSTORE",
    "x SELECT INBOX (CONDSTORE",
    "x SELECT INBOX (CONDSTORE) x",
    "x SELECT (INBOX)",
    "x SELECT INBOX INBOX",
    "x SELECT nowhere",
    "x SELECT &AOQ",
    "x SELECT &",
    "x SELECT \"&AOQ-&AOQ-",
    "x SELECT \"in\nbox\"",
    "x SELECT INBOX (QRESYNC)",
    "x SELECT INBOX (QRESYNC 1 1)",
    "x SELECT INBOX (QRESYNC (1))",
    "x SELECT INBOX (QRESYNC (1 1 1:2 3:4))",
    "x SELECT INBOX (QRESYNC (1 1 (1 2 3)))",
    "x SELECT INBOX (QRESYNC (1 1 0))",
    "x SELECT INBOX (QRESYNC (1 99999999999999999999))",
    "x SELECT INBOX (QRESYNC (4294967296 1))",
    "x EXAMINE",
    "x EXAMINE nowhere",
    "x CREATE",
    "x CREATE \"\"",
    "x CREATE /",
    "x CREATE a//b",
    "x CREATE /a",
    "x CREATE INBOX",
    "x CREATE inbox",
    "x CREATE a b",
    "x CREATE a (USE)",
    "x CREATE a (USE ()",
    "x CREATE a (USE (\\Frob))",
    "x CREATE a (USE (\\All))",
    "x CREATE a (FROB)",
    "x CREATE a*b",
    "x CREATE a%b",
    "x CREATE (a)",
    "x CREATE \"a\x01"
    "b\"",
    "x CREATE &AAA-",
    "x CREATE a\\b",
    "x DELETE",
    "x DELETE INBOX",
    "x DELETE nowhere",
    "x DELETE a b",
    "x RENAME",
    "x RENAME INBOX",
    "x RENAME nowhere there",
    "x RENAME Drafts Sent",
    "x RENAME Drafts Drafts/below",
    "x RENAME Drafts INBOX",
    "x RENAME Drafts a//b",
    "x RENAME Drafts x y",
    "x SUBSCRIBE",
    "x SUBSCRIBE (a)",
    "x UNSUBSCRIBE",
    "x LIST",
    "x LIST \"\"",
    "x LIST \"\" \"%",
    "x LIST \"\" ()",
    "x LIST \"\" (% *",
    "x LIST (FROB) \"\" *",
    "x LIST (SUBSCRIBED \"\" *",
    "x LIST (RECURSIVEMATCH) \"\" *",
    "x LIST \"\" * RETURN",
    "x LIST \"\" * RETURN CHILDREN",
    "x LIST \"\" * RETURN (FROB)",
    "x LIST \"\" * RETURN (STATUS)",
    "x LIST \"\" * RETURN (STATUS ())",
    "x LIST \"\" * RETURN (STATUS (FROB))",
    "x LIST \"\" * FROB ()",
    "x LSUB",
    "x LSUB \"\"",
    "x LSUB \"\" * *",
    "x STATUS",
    "x STATUS INBOX",
    "x STATUS INBOX ()",
    "x STATUS INBOX MESSAGES",
    "x STATUS INBOX (FROB)",
    "x STATUS INBOX (MESSAGES",
    "x STATUS INBOX (MESSAGES) x",
    "x STATUS nowhere (MESSAGES)",
    "x STATUS (MESSAGES) INBOX",
    "x APPEND",
    "x APPEND INBOX",
    "x APPEND INBOX {0+}\r\n",
    "x APPEND INBOX \"text\"",
    "x APPEND INBOX text",
    "x APPEND INBOX () text",
    "x APPEND INBOX \\Seen {3+}\r\nabc",
    "x APPEND INBOX (\\Seen {3+}\r\nabc",
    "x APPEND INBOX (\\) {3+}\r\nabc",
    "x APPEND INBOX (a b)c {3+}\r\nabc",
    "x APPEND INBOX \"1-Jan-2020\" {3+}\r\nabc",
    "x APPEND INBOX \"32-Jan-2020 00:00:00 +0000\" {3+}\r\nabc",
    "x APPEND INBOX \"01-Foo-2020 00:00:00 +0000\" {3+}\r\nabc",
    "x APPEND INBOX \"01-Jan-2020 24:00:00 +0000\" {3+}\r\nabc",
    "x APPEND INBOX \"01-Jan-2020 00:00:00\" {3+}\r\nabc",
    "x APPEND INBOX \"01-Jan-2020 00:00:00 0000\" {3+}\r\nabc",
    "x APPEND nowhere {3+}\r\nabc",
    "x APPEND INBOX {3+}\r\nabcd",
    "x APPEND INBOX {3+}\r\nabc x",
    "x APPEND INBOX {3+}\r\nabc (\\Seen)",
    "x APPEND INBOX {3+}\r\nabc {3",
    "x NAMESPACE x",
    "x IDLE x",
    "x IDLE\r\nNOTDONE",
    "x FETCH 1 FLAGS",
    "x STORE 1 FLAGS ()",
    "x SEARCH ALL",
    "x COPY 1 Sent",
    "x EXPUNGE",
    "x CLOSE",
    "x UNSELECT",
    "x CHECK",
    "x UNAUTHENTICATE x",
    "x AUTHENTICATE",
    "x XYZZY",
    "x UID LIST \"\" *",
    "x SELECT {5}x",
    "x SELECT {5+}x",
    "x SELECT {5+}\r\nINBOXx",
    "x \x80",
    "x NOOP \x80",
    "\x01 NOOP",
    "+ NOOP",
    "x+y NOOP",
    "x(y NOOP",
};

static const char *const selected[] = {
    "x FETCH",
    "x FETCH 1",
    "x FETCH FLAGS",
    "x FETCH 0 FLAGS",
    "x FETCH 9 FLAGS",
    "x FETCH 1:9 FLAGS",
    "x FETCH 1, FLAGS",
    "x FETCH ,1 FLAGS",
    "x FETCH 1: FLAGS",
    "x FETCH :1 FLAGS",
    "x FETCH 1:2:3 FLAGS",
    "x FETCH 1;2 FLAGS",
    "x FETCH 4294967296 FLAGS",
    "x FETCH -1 FLAGS",
    "x FETCH 1..2 FLAGS",
    "x FETCH a FLAGS",
    "x FETCH 1 ()",
    "x FETCH 1 (FLAGS",
    "x FETCH 1 FLAGS)",
    "x FETCH 1 (FLAGS))",
    "x FETCH 1 (FLAGS FROB)",
    "x FETCH 1 (FLAGS ALL)",
    "x FETCH 1 ( FLAGS)",
    "x FETCH 1 (FLAGS  UID)",
    "x FETCH 1 FLAGS UID",
    "x FETCH 1 BODY[",
    "x FETCH 1 BODY[]]",
    "x FETCH 1 BODY[0]",
    "x FETCH 1 BODY[1.]",
    "x FETCH 1 BODY[.1]",
    "x FETCH 1 BODY[1..2]",
    "x FETCH 1 BODY[FROB]",
    "x FETCH 1 BODY[MIME]",
    "x FETCH 1 BODY[HEADER.FIELDS]",
    "x FETCH 1 BODY[HEADER.FIELDS ()]",
    "x FETCH 1 BODY[HEADER.FIELDS (Subject]",
    "x FETCH 1 BODY[HEADER.FIELDS Subject]",
    "x FETCH 1 BODY[]<0>",
    "x FETCH 1 BODY[]<0.0>",
    "x FETCH 1 BODY[]<a.1>",
    "x FETCH 1 BODY[]<0.1",
    "x FETCH 1 BODY[]<-1.1>",
    "x FETCH 1 BODY[]<9223372036854775808.1>",
    "x FETCH 1 BODY<0.1>",
    "x FETCH 1 BODY.PEEK",
    "x FETCH 1 BODY.FROB[]",
    "x FETCH 1 RFC822.FROB",
    "x FETCH 1 BINARY[TEXT]",
    "x FETCH 1 BINARY.SIZE",
    "x FETCH 1 FLAGS (CHANGEDSINCE)",
    "x FETCH 1 FLAGS (CHANGEDSINCE x)",
    "x FETCH 1 FLAGS (CHANGEDSINCE -1)",
    "x FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775808)",
    "x FETCH 1 FLAGS (FROB 1)",
    "x FETCH 1 FLAGS ()",
    "x FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
    "x UID FETCH 1 FLAGS (VANISHED)",
    "x UID FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
    "x UID FETCH",
    "x UID FETCH x FLAGS",
    "x UID",
    "x UID FETCH1 FLAGS",
    "x UID  FETCH 1 FLAGS",
    "x STORE",
    "x STORE 1",
    "x STORE 1 FLAGS",
    "x STORE 1 FLAGS ",
    "x STORE 1 FLAGS (",
    "x STORE 1 FLAGS )",
    "x STORE 1 FLAGS (\\Seen",
    "x STORE 1 FLAGS \\Seen)",
    "x STORE 1 FLAGS (\\)",
    "x STORE 1 FLAGS (\\*)",
    "x STORE 1 FLAGS (())",
    "x STORE 1 (FLAGS ())",
    "x STORE 1 (FLAGS (\\Seen))",
    "x STORE 1 FLAGS (\"a\")",
    "x STORE 1 FLAGS (a*)",
    "x STORE 1 FLAGS ({1+}\r\na)",
    "x STORE 1 ++FLAGS (\\Seen)",
    "x STORE 1 FLAGS.LOUD (\\Seen)",
    "x STORE 1 FLAG (\\Seen)",
    "x STORE 9 FLAGS (\\Seen)",
    "x STORE 0 FLAGS (\\Seen)",
    "x STORE 1 (UNCHANGEDSINCE) FLAGS (\\Seen)",
    "x STORE 1 (UNCHANGEDSINCE x) FLAGS (\\Seen)",
    "x STORE 1 (FROB 1) FLAGS (\\Seen)",
    "x STORE 1 UNCHANGEDSINCE 1 FLAGS (\\Seen)",
    "x SEARCH",
    "x SEARCH ",
    "x SEARCH FROB",
    "x SEARCH ()",
    "x SEARCH (ALL",
    "x SEARCH ALL)",
    "x SEARCH NOT",
    "x SEARCH OR ALL",
    "x SEARCH OR (ALL)",
    "x SEARCH FROM",
    "x SEARCH FROM (a)",
    "x SEARCH HEADER a",
    "x SEARCH LARGER x",
    "x SEARCH LARGER -1",
    "x SEARCH LARGER 9223372036854775808",
    "x SEARCH BEFORE yesterday",
    "x SEARCH BEFORE 1-Foo-2020",
    "x SEARCH BEFORE 31-Feb-2020",
    "x SEARCH BEFORE \"1-Jan-2020",
    "x SEARCH KEYWORD",
    "x SEARCH KEYWORD (a)",
    "x SEARCH UID",
    "x SEARCH UID x",
    "x SEARCH 9",
    "x SEARCH 0",
    "x SEARCH CHARSET",
    "x SEARCH CHARSET UTF-8",
    "x SEARCH CHARSET NO-SUCH TEXT a",
    "x SEARCH MODSEQ",
    "x SEARCH MODSEQ x",
    "x SEARCH RETURN ALL",
    "x SEARCH RETURN (FROB) ALL",
    "x SEARCH RETURN (ALL)",
    "x SEARCH OLDER 0",
    "x COPY",
    "x COPY 1",
    "x COPY 1 nowhere",
    "x COPY 9 Sent",
    "x COPY 1 Sent Sent",
    "x COPY 1 &AOQ",
    "x COPY Sent 1",
    "x MOVE 1",
    "x MOVE 1 nowhere",
    "x MOVE 9 Sent",
    "x UID MOVE 1",
    "x EXPUNGE 1",
    "x UID EXPUNGE",
    "x UID EXPUNGE x",
    "x CLOSE x",
    "x UNSELECT x",
    "x CHECK x",
    "x FETCH {1+}\r\n1 FLAGS",
    "x SEARCH {3+}\r\nALL",
    "x SEARCH SUBJECT {5000+}\r\n",
};

struct wrong {
    enum situation state;
    const char *const *commands;
    size_t n;
};

static void send(struct drive *d, const char *line)
{
    drive_send(d, slice_str(line));
    drive_send(d, S("\r\n"));
}

/* Has the output a line that begins so? */
static bool has_line(const struct drive *d, const char *begin)
{
    struct slice got = slice_of(d->got.p, d->got.n);

    while (got.n) {
        ssize_t end = slice_find(got, '\n');

        if (slice_starts(got, slice_str(begin)))
            return true;
        got = slice_skip(got, end < 0 ? got.n : (size_t)end + 1);
    }
    return false;
}

/* By the tag that the line has for the server ("GET / HTTP/1.1": GET). */
static bool is_refused(const struct drive *d)
{
    struct slice got = slice_of(d->got.p, d->got.n);

    return slice_search(got, S(" BAD ")) >= 0 || slice_search(got, S("x NO ")) >= 0;
}

static void open_in(struct imap_world *w, enum situation state, struct drive *d)
{
    drive_init(d, imap_world_open(w, S("")));
    if (state >= IN)
        send(d, "l LOGIN joe secret");
    if (state >= SELECTED)
        send(d, "s SELECT INBOX");
    cr_assert(state == NEW_ || has_line(d, state == IN ? "l OK" : "s OK"));
    buf_reset(&d->got, 0);
}

static void check(struct imap_world *w, enum situation state, const char *command)
{
    struct drive d;

    open_in(w, state, &d);
    send(&d, command);
    /* a literal that was announced, but not sent: the longest that occurs */
    for (int i = 0; i < 120 && strstr(command, "5000+"); i++)
        drive_send(&d, S("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));
    if (strstr(command, "5000+"))
        drive_send(&d, S("\r\n"));
    cr_expect(!has_line(&d, "x OK"), "%s\nis answered\n%s", command, buf_cstr(&d.got));
    if (d.closed) {
        cr_expect(has_line(&d, "* BYE"), "%s\nends without BYE\n%s", command, buf_cstr(&d.got));
    } else {
        cr_expect(is_refused(&d), "%s\nis answered\n%s", command, buf_cstr(&d.got));
        send(&d, "ok NOOP");
        cr_expect(has_line(&d, "ok OK"), "behind %s\nNOOP is answered\n%s", command,
                  buf_cstr(&d.got));
    }
    drive_done(&d);
}

Test(malformed, each_gets_bad_or_no_or_bye_and_the_session_goes_on, .timeout = 100)
{
    static const struct wrong all[] = {
        {NEW_, before_login, ARRAY_LEN(before_login)},
        {IN, logged_in, ARRAY_LEN(logged_in)},
        {SELECTED, selected, ARRAY_LEN(selected)},
    };
    struct imap_world *w = imap_world_new();
    size_t n = 0;

    cr_assert(imap_world_fill(w, S("INBOX"), 2));
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        for (size_t k = 0; k < all[i].n; k++, n++)
            check(w, all[i].state, all[i].commands[k]);
    cr_assert_gt(n, 300u);
    imap_world_free(w);
}
