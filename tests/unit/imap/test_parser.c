/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/parser.h"

#include <inttypes.h>

#include <criterion/criterion.h>

#include "lib/base/mem.h"

static const struct parse_limits limits = {
    .command = 400,
    .literal = 100,
    .stream = 1000,
    .literals = 4,
    .nesting = 8,
    .arguments = 60,
    .set = 8,
};

static const struct {
    const char *name;
    const struct rule *rules;
} verbs[] = {
    {"NOOP", imap_rules_none},
    {"LOGIN", imap_rules_login},
    {"LIST", imap_rules_list},
    {"APPEND", imap_rules_append},
    {"FETCH", imap_rules_fetch},
    {"STORE", imap_rules_store},
    {"SEARCH", imap_rules_search},
    {"SORT", imap_rules_sort},
    {"THREAD", imap_rules_thread},
    {"UID FETCH", imap_rules_fetch},
    {"ID", imap_rules_id},
    {"SELECT", imap_rules_select},
    {"STATUS", imap_rules_status},
    {"CREATE", imap_rules_create},
    {"GETMETADATA", imap_rules_getmetadata},
    {"SETMETADATA", imap_rules_setmetadata},
    {"SETQUOTA", imap_rules_setquota},
    {"AUTHENTICATE", imap_rules_authenticate},
};

static const struct rule *find(void *ctx, struct slice name, const void **ret_verb,
                               struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (slice_eq(name, slice_str(verbs[i].name))) {
            *ret_verb = verbs[i].name;
            return verbs[i].rules;
        }
    error_set(err, ERR_INVALID, "unknown");
    return NULL;
}

/* --- the tree as text, for comparing ------------------------------------------------------------
 */

static void dump(const struct arg *a, struct buf *out)
{
    switch (a->many ? RULE_LIST : a->kind) {
    case RULE_END:
        buf_add_str(out, "-");
        return;
    case RULE_NUMBER:
    case RULE_NUMBER64:
    case RULE_STREAM:
        buf_printf(out, "%llu", (unsigned long long)a->number);
        return;
    case RULE_DATE:
    case RULE_DATE_TIME:
        buf_printf(out, "@%lld", (long long)a->date);
        return;
    case RULE_RANGE:
        buf_printf(out, "%s%u..%u", a->range.from_end ? "-" : "", a->range.first, a->range.last);
        return;
    case RULE_SET:
        buf_add_str(out, a->set.saved ? "$" : "");
        for (size_t i = 0; i < a->set.n; i++)
            buf_printf(out, "%s%u:%u", i ? "," : "", a->set.items[i].first, a->set.items[i].last);
        return;
    case RULE_FLAGS:
    case RULE_FLAG_LIST:
        buf_printf(out, "f%u", a->flags.system);
        for (size_t i = 0; i < a->flags.n_keywords; i++)
            buf_printf(out, "/%.*s", SLICE_FMT(a->flags.keywords[i]));
        return;
    case RULE_SECTION:
        buf_printf(out, "[%.*s]", SLICE_FMT(a->section->text));
        return;
    case RULE_PARTIAL:
        buf_printf(out, "<%" PRIu64 ".%" PRIu64 ">", a->partial.offset, a->partial.count);
        return;
    case RULE_WORD:
        buf_printf(out, "w%d", a->word);
        break;
    case RULE_LIST:
    case RULE_GROUP:
        break;
    default:
        buf_printf(out, "'%.*s'%s", SLICE_FMT(a->text), a->malformed ? "!" : a->text.p ? "" : "0");
        return;
    }
    if (a->n || a->many) {
        buf_add_byte(out, '(');
        for (size_t i = 0; i < a->n; i++) {
            buf_add_str(out, i ? " " : "");
            dump(&a->items[i], out);
        }
        buf_add_byte(out, ')');
    }
}

static void dump_command(const struct parsed *c, struct buf *out)
{
    buf_printf(out, "%s %s", c->tag, (const char *)c->verb);
    for (size_t i = 0; i < c->n_args; i++) {
        buf_add_byte(out, ' ');
        dump(&c->args[i], out);
    }
    buf_add_byte(out, '\n');
}

/* --- driving it by cuts -------------------------------------------------------------------------
 */

/* One event, told in `out`; bytes used are taken from `in`. False: waits for more. */
static bool one(struct parser *p, struct buf *in, struct buf *out)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct parsed c = {.tag = "*"};
    struct error err = {0};
    size_t used, n;
    enum parser_event event;

    if (!parser_ready(p, buf_slice(in)))
        return false;
    if (p->mode == PARSER_BYTES) {
        n = MIN((size_t)p->left, in->n);
        buf_add(out, in->p, n);
        parser_took(p, n, imap_rules_append_more);
        if (p->mode != PARSER_BYTES)
            buf_add_str(out, "|\n");
        buf_consume(in, n);
        return true;
    }
    event = parser_next(p, buf_slice(in), find, NULL, &arena, &c, &used, &err);
    if (event == PARSER_CONTINUE)
        buf_add_str(out, "+\n");
    else if (event == PARSER_BAD)
        buf_printf(out, "%s BAD %s\n", c.tag, err.text);
    else if (event == PARSER_FATAL)
        buf_printf(out, "%s FATAL %s\n", c.tag, err.text);
    else if (event == PARSER_STREAM || event == PARSER_DONE)
        c.verb ? dump_command(&c, out) : buf_add_str(out, "more\n");
    if (event == PARSER_STREAM && c.stream_sync)
        buf_add_str(out, "+\n");
    buf_consume(in, used);
    return event != PARSER_FATAL;
}

static void run(struct slice text, size_t first, size_t step, struct buf *out)
{
    struct buf in = buf_make(BUF_MAX_DEFAULT);
    struct parser p;

    parser_init(&p, &limits);
    buf_reset(out, 0);
    for (size_t at = 0, n = first; at < text.n; at += n, n = step) {
        buf_add_slice(&in, slice_sub(text, at, at + n));
        while (one(&p, &in, out))
            ;
    }
    buf_done(&in);
}

static const struct {
    const char *in, *out;
} cases[] = {
    {"a NOOP\r\n", "a NOOP\n"},
    {"a noop\n", "a NOOP\n"},
    {"a NOOP \r\n", "a NOOP\n"},
    {"a NOOP x\r\n", "a BAD Expected the end of the command before 'x' (argument byte 1)\n"},
    {"\r\n", "* BAD A command is a tag, a blank, a name, and its arguments\n"},
    {"a\r\n", "a BAD A command is a tag, a blank, a name, and its arguments\n"},
    {"+ NOOP\r\n", "* BAD A command is a tag, a blank, a name, and its arguments\n"},
    {"a FROB\r\n", "a BAD unknown\n"},
    {"a LOGIN joe pass\r\n", "a LOGIN 'joe' 'pass'\n"},
    {"a LOGIN \"jo\\\"e\\\\\" \"\"\r\n", "a LOGIN 'jo\"e\\' ''\n"},
    {"a LOGIN \"j\xc3\xb6\" x\r\n", "a LOGIN 'j\xc3\xb6' 'x'\n"},
    {"a LOGIN \"joe x\r\n",
     "a BAD Expected a quote at the end of the string, but the command ends\n"},
    {"a LOGIN joe\r\n", "a BAD Expected a password, but the command ends\n"},
    {"a LOGIN {3}\r\njoe {4+}\r\npass\r\nb NOOP\r\n", "+\na LOGIN 'joe' 'pass'\nb NOOP\n"},
    {"a LOGIN {3}\r\njoe {0}\r\n\r\n", "+\n+\na LOGIN 'joe' ''\n"},
    {"a LOGIN {101}\r\n", "a BAD This literal may be 100 bytes long\n"},
    {"a LOGIN {101+}\r\n"
     "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012"
     "3456789\n"
     " x\r\nb NOOP\r\n",
     "a BAD This literal may be 100 bytes long\nb NOOP\n"},
    {"a LOGIN {9999999999+}\r\n", "a FATAL This literal is too large to be read and dropped\n"},
    {"a NOOP {3}\r\nb NOOP\r\n",
     "a BAD Expected the end of the command before '{' (argument byte 1)\nb NOOP\n"},
    {"a NOOP {3+}\r\nabc {2+}\r\nxy z\r\nb NOOP\r\n",
     "a BAD Expected the end of the command before '{' (argument byte 1)\nb NOOP\n"},
    {"a SELECT inBOX\r\n", "a SELECT 'INBOX' -\n"},
    {"a SELECT inbox/x (CONDSTORE)\r\n", "a SELECT 'INBOX/x' ((w1))\n"},
    {"a SELECT &AOQ-\r\n", "a SELECT '\xc3\xa4' -\n"},
    {"a SELECT &AOQ\r\n", "a SELECT '&AOQ'! -\n"},
    {"a CREATE x (USE (\\Sent \\Trash))\r\n", "a CREATE 'x' ((w1((('\\Sent' '\\Trash')))))\n"},
    {"a CREATE x (USE (Sent))\r\n", "a BAD Expected ) before 'S' (argument byte 9)\n"},
    {"a STATUS x (MESSAGES UIDNEXT)\r\n", "a STATUS 'x' ((w1 w3))\n"},
    {"a STATUS x ()\r\n", "a BAD Expected status item before ')' (argument byte 4)\n"},
    {"a STATUS x (FROBS)\r\n", "a BAD Unknown status item FROBS\n"},
    {"a LIST \"\" *\r\n", "a LIST - '' '*' -\n"},
    {"a LIST (SUBSCRIBED) \"\" (a b%) RETURN (SPECIAL-USE)\r\n",
     "a LIST ((w1)) '' (('a' 'b%')) w8(((w2)))\n"},
    {"a LIST \"\" * RETURN (STATUS (SIZE) METADATA (/private/x))\r\n",
     "a LIST - '' '*' w8(((w6(((w10))) w7((('/private/x'))))))\n"},
    {"a GETMETADATA \"\" /shared/x\r\n", "a GETMETADATA - '' '/shared/x' -\n"},
    {"a GETMETADATA x (MAXSIZE 5 DEPTH infinity) (/a /b)\r\n",
     "a GETMETADATA - 'x' ((w1(5) w2(w2))) (('/a' '/b'))\n"},
    {"a GETMETADATA (DEPTH 1) x (/a)\r\n", "a GETMETADATA ((w2(w1))) 'x' (('/a')) -\n"},
    {"a SETMETADATA x (/a NIL /b \"\" /c ~{1+}\r\n\x01)\r\n",
     "a SETMETADATA 'x' ((('/a' ''0) ('/b' '') ('/c' '\x01')))\n"},
    {"a SETMETADATA x (/a)\r\n", "a BAD Expected a value before ')' (argument byte 6)\n"},
    {"a SETQUOTA r (STORAGE 5 MESSAGE 6)\r\n", "a SETQUOTA 'r' ((('STORAGE' 5) ('MESSAGE' 6)))\n"},
    {"a SETQUOTA r ()\r\n", "a SETQUOTA 'r' (-)\n"},
    {"a ID NIL\r\n", "a ID w0\n"},
    {"a ID (\"name\" \"x\" \"os\" NIL)\r\n", "a ID (('name' 'x' 'os' ''0))\n"},
    {"a ID ()\r\n", "a ID (-)\n"},
    {"a FETCH 1:*,3 FLAGS\r\n", "a FETCH 1:0,3:3 w2 -\n"},
    {"a UID FETCH 1 (FLAGS BODY[1.2.HEADER.FIELDS (a \"b c\")]<0.10>)\r\n",
     "a UID FETCH 1:1 ((w2 w8([1.2.HEADER.FIELDS (a \"b c\")] <0.10>))) -\n"},
    {"a FETCH 1 BODY\r\n", "a FETCH 1:1 w8(- -) -\n"},
    {"a FETCH 1 BODY.PEEK[]\r\n", "a FETCH 1:1 w9([] -) -\n"},
    {"a FETCH 1 BODY.PEEK\r\n", "a BAD Expected [, but the command ends\n"},
    {"a FETCH 1 BODY[MIME]\r\n",
     "a BAD Expected a part number before MIME before ']' (argument byte 12)\n"},
    {"a FETCH 1 BODY[1.]\r\n",
     "a BAD Expected a part number or section name before ']' (argument byte 10)\n"},
    {"a FETCH 1 BODY[]<5>\r\n", "a BAD Expected <offset.count> before '>' (argument byte 11)\n"},
    {"a FETCH 1 (FLAGS ALL)\r\n", "a BAD Unknown FETCH item ALL\n"},
    {"a FETCH 1 FULL (CHANGEDSINCE 5)\r\n", "a FETCH 1:1 w14 ((w16(5)))\n"},
    {"a FETCH 0 FLAGS\r\n", "a BAD Expected a sequence set before '0' (argument byte 1)\n"},
    {"a FETCH 1,2,3,4,5,6,7,8,9 FLAGS\r\n", "a BAD Too many ranges in a set: 8 are taken\n"},
    {"a FETCH 4294967296 FLAGS\r\n",
     "a BAD Expected a sequence set before '4' (argument byte 1)\n"},
    {"a STORE 1 +FLAGS (\\Seen Work work \\Flagged)\r\n", "a STORE 1:1 - w2 f5/Work\n"},
    {"a STORE 1 (UNCHANGEDSINCE 9) FLAGS.SILENT \\Seen b a\r\n",
     "a STORE 1:1 ((w16(9))) w9 f1/a/b\n"},
    {"a STORE 1 FLAGS ()\r\n", "a STORE 1:1 - w1 f0\n"},
    {"a STORE 1 FLAGS (\\Frob)\r\n", "a STORE 1:1 - w1 f0\n"},
    {"a STORE 1 FLAGS (\\)\r\n",
     "a BAD Expected the name of a flag behind its backslash before ')' (argument byte 11)\n"},
    {"a SEARCH CHARSET utf-8 OR SEEN NOT (1:3 UID 7 FROM x)\r\n",
     "a SEARCH - w1('utf-8') (w21(w259 w20(((1:3 w18(7:7) w24('x'))))))\n"},
    {"a SEARCH RETURN (MIN PARTIAL -10:-1) $,3 KEYWORD $Junk\r\n",
     "a SEARCH w1(((w1 w32(-1..10)))) - ($3:3 w8('$Junk'))\n"},
    {"a SEARCH RETURN () ALL\r\n", "a SEARCH w1((-)) - (w2)\n"},
    {"a SEARCH RETURN (PARTIAL 1:-2) ALL\r\n",
     "a BAD Expected a range like 1:10 or -1:-10 before '-' (argument byte 19)\n"},
    {"a SORT (REVERSE DATE DISPLAYFROM) utf-8 ALL\r\n", "a SORT - ((w1(w4) w9)) 'utf-8' (w2)\n"},
    {"a SORT RETURN (COUNT) (REVERSE REVERSE DATE) utf-8 ALL\r\n",
     "a BAD Unknown sort key REVERSE\n"},
    {"a SORT () utf-8 ALL\r\n", "a BAD Expected sort criterion before ')' (argument byte 2)\n"},
    {"a THREAD REFS us-ascii 1:* NOT $\r\n", "a THREAD w3 'us-ascii' (1:0 w20($))\n"},
    {"a THREAD FROB utf-8 ALL\r\n", "a BAD Unknown threading algorithm FROB\n"},
    {"a SEARCH FROB\r\n", "a BAD Unknown search key FROB\n"},
    {"a SEARCH SEEN FROB\r\n", "a BAD Unknown search key FROB\n"},
    {"a SEARCH\r\n", "a BAD Expected a search key, but the command ends\n"},
    {"a SEARCH SINCE 1-Feb-1970 BEFORE \"02-feb-1970\"\r\n",
     "a SEARCH - - (w12(@2678400) w10(@2764800))\n"},
    {"a SEARCH ON 30-Feb-1970\r\n",
     "a BAD Expected a date like 1-Feb-1994, but the command ends\n"},
    {"a SEARCH MODSEQ \"/flags/\\\\draft\" all 620\r\n",
     "a SEARCH - - (w19('/flags/\\draft' w3 620))\n"},
    {"a SEARCH NOT NOT NOT NOT NOT NOT NOT NOT NOT ALL\r\n",
     "a BAD Too many levels of nesting: 8 are taken\n"},
    {"a SEARCH ((((((((((ALL))))))))))\r\n", "a BAD Too many levels of nesting: 8 are taken\n"},
    {"a APPEND x (\\Seen) \"17-Jul-1996 02:44:25 -0700\" {5}\r\nhello\r\nb NOOP\r\n",
     "a APPEND 'x' f1 @837596665 5\n+\nhello|\nmore\nb NOOP\n"},
    {"a APPEND x \"7-Jul-1996 02:44:25 -0700\" {1+}\r\nh\r\n",
     "a APPEND 'x' - @836732665 1\nh|\nmore\n"},
    {"a APPEND x \"007-Jul-1996 02:44:25 -0700\" {1+}\r\nh\r\n",
     "a BAD Expected a date like \"17-Jul-1996 02:44:25 -0700\" before '7' (argument byte 6)\n"},
    {"a APPEND {1+}\r\nx {5+}\r\nhello {2+}\r\nyo\r\nb NOOP\r\n",
     "a APPEND 'x' - - 5\nhello|\nmore\nyo|\nmore\nb NOOP\n"},
    {"a APPEND x hello\r\n", "a BAD Expected a literal before 'h' (argument byte 3)\n"},
    {"a APPEND x {5}x\r\n",
     "a BAD Expected a line end behind a literal's } before 'x' (argument byte 6)\n"},
    {"a AUTHENTICATE PLAIN\r\n", "a AUTHENTICATE 'PLAIN' -\n"},
    {"a AUTHENTICATE PLAIN =\r\n", "a AUTHENTICATE 'PLAIN' '='\n"},
    {"a AUTHENTICATE PLAIN AGEA\r\n", "a AUTHENTICATE 'PLAIN' 'AGEA'\n"},
};

Test(parser, gives_the_same_however_the_bytes_are_cut)
{
    struct buf out = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice in = slice_str(cases[i].in);

        run(in, in.n, 1, &out);
        cr_expect_str_eq(buf_cstr(&out), cases[i].out, "%s gave\n%s", cases[i].in, buf_cstr(&out));
        run(in, 1, 1, &out);
        cr_assert_str_eq(buf_cstr(&out), cases[i].out, "bytewise: %s", cases[i].in);
        for (size_t cut = 1; cut < in.n; cut++) {
            run(in, cut, in.n, &out);
            cr_assert_str_eq(buf_cstr(&out), cases[i].out, "cut at %zu: %s", cut, cases[i].in);
        }
    }
    buf_done(&out);
}

Test(parser, drops_what_is_too_long_up_to_its_end)
{
    static const char bad[] = "a BAD A command may be 400 bytes long\nb NOOP\n";
    struct buf in = buf_make(BUF_MAX_DEFAULT), out = buf_make(BUF_MAX_DEFAULT);

    buf_add_str(&in, "a LOGIN joe ");
    for (int i = 0; i < 500; i++)
        buf_add_byte(&in, 'x');
    buf_add_str(&in, "{3+}\r\na\nb{1+}\r\n\n rest\r\nb NOOP\r\n");
    for (size_t step = 1; step < in.n; step += step < 20 ? 1 : 17) {
        run(buf_slice(&in), step, step, &out);
        cr_assert_str_eq(buf_cstr(&out), bad, "by %zu: %s", step, buf_cstr(&out));
    }
    buf_done(&in);
    buf_done(&out);
}

Test(parser, counts_literals_and_arguments)
{
    struct buf in = buf_make(BUF_MAX_DEFAULT), out = buf_make(BUF_MAX_DEFAULT);

    buf_add_str(&in, "a ID (");
    for (int i = 0; i < 5; i++)
        buf_printf(&in, "%s{1+}\r\nx", i ? " " : "");
    buf_add_str(&in, ")\r\nb ID (");
    for (int i = 0; i < 61; i++)
        buf_add_str(&in, i ? " NIL" : "NIL");
    buf_add_str(&in, ")\r\nc NOOP\r\n");
    run(buf_slice(&in), in.n, 1, &out);
    cr_assert_str_eq(buf_cstr(&out), "a BAD A command may have 4 literals\n"
                                     "b BAD Too many arguments: 60 are taken\nc NOOP\n");
    run(buf_slice(&in), 1, 1, &out);
    cr_assert_str_eq(buf_cstr(&out), "a BAD A command may have 4 literals\n"
                                     "b BAD Too many arguments: 60 are taken\nc NOOP\n");
    buf_done(&in);
    buf_done(&out);
}

Test(parser, refuses_nul_in_literals_and_atoms)
{
    static const char in[] = "a LOGIN {3+}\r\nx\0y z\r\nb LOGIN x\0y z\r\nc NOOP\r\n";
    struct buf out = buf_make(BUF_MAX_DEFAULT);

    run(S(in), sizeof in, 1, &out);
    cr_assert_str_eq(buf_cstr(&out),
                     "a BAD Expected no NUL in a literal before 'x' (argument byte 7)\n"
                     "b BAD Expected a password at argument byte 2\nc NOOP\n",
                     "%s", buf_cstr(&out));
    buf_done(&out);
}
