/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/buf.h"
#include "lib/base/mem.h"
#include "lib/mime/parse.h"
#include "lib/mime/structure.h"
#include "tests/unit/mime/sample.h"

/* All that a tree says, as text. */
static void describe(struct buf *out, const struct mime_part *part)
{
    buf_printf(out, "(%d%d%d%d %llu %llu %llu %llu", part->kind, part->encoding, part->is_text,
               part->opaque, (unsigned long long)part->header_start,
               (unsigned long long)part->body_start, (unsigned long long)part->end,
               (unsigned long long)part->lines);
    buf_add_slice(out, part->header);
    for (const struct mime_part *p = part->child; p; p = p->next)
        describe(out, p);
    buf_add_byte(out, ')');
}

/* What the sink got, with runs of one kind and part joined. */
struct record {
    struct buf all, kinds;
    const struct mime_part *part;
    enum mime_bytes kind;
};

static void on_bytes(void *ctx, const struct mime_part *part, enum mime_bytes kind, struct slice s)
{
    struct record *r = ctx;

    cr_assert(s.n > 0);
    cr_assert(kind != MIME_BYTES_BODY || part->kind == MIME_LEAF);
    if (part != r->part || kind != r->kind)
        buf_printf(&r->kinds, "%zu:%d:%llu ", r->all.n, kind,
                   (unsigned long long)part->header_start);
    r->part = part;
    r->kind = kind;
    buf_add_slice(&r->all, s);
}

static void parse_cut(struct slice message, size_t first, size_t step, struct buf *out)
{
    struct record r = {.all = buf_make(BUF_MAX_DEFAULT), .kinds = buf_make(BUF_MAX_DEFAULT)};
    struct mime_sink sink = {.ctx = &r, .bytes = on_bytes};
    struct mime_parser *p = mime_parser_new(NULL, &sink);
    const struct mime_part *root;

    for (size_t at = 0, n = first; at < message.n; at += n, n = step)
        mime_parser_feed(p, slice_sub(message, at, at + n));
    root = mime_parser_finish(p);
    cr_assert(slice_eq(buf_slice(&r.all), message), "every octet comes out once, in order");
    cr_assert_eq(root->end, message.n);
    describe(out, root);
    structure_write(out, root, true);
    buf_add_slice(out, buf_slice(&r.kinds));
    mime_parser_free(p);
    buf_done(&r.all);
    buf_done(&r.kinds);
}

static void check_cuts(const char *name, struct slice message, size_t stride)
{
    struct buf whole = buf_make(BUF_MAX_DEFAULT), cut = buf_make(BUF_MAX_DEFAULT);

    parse_cut(message, message.n, 1, &whole);
    for (size_t i = 0; i < message.n; i += stride) {
        cut.n = 0;
        parse_cut(message, i + 1, i % 3 == 0 ? 1 : message.n, &cut);
        cr_assert(slice_eq(buf_slice(&whole), buf_slice(&cut)), "%s cut at %zu:\n%.*s\n%.*s", name,
                  i + 1, SLICE_FMT(buf_slice(&whole)), SLICE_FMT(buf_slice(&cut)));
    }
    buf_done(&whole);
    buf_done(&cut);
}

Test(parse, cutting_anywhere_makes_no_difference)
{
    for (size_t i = 0; i < sample_count; i++)
        check_cuts(samples[i].name, samples[i].message, 1);
}

Test(parse, cutting_random_messages_makes_no_difference)
{
    uint64_t state = 42;
    struct buf b = buf_make(BUF_MAX_DEFAULT);

    for (int i = 0; i < 400; i++) {
        b.n = 0;
        sample_message(&state, &b);
        check_cuts("random", buf_slice(&b), 1 + b.n / 40);
    }
    buf_done(&b);
}

/* message -> BODYSTRUCTURE */
static const struct {
    struct slice message;
    const char *text;
} structures[] = {
    {S("\r\nx\r\n"),
     "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 1 NIL NIL NIL NIL)"},
    {S("Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nContent-ID: "
       "<a>\r\n\r\nx"),
     "(\"text\" \"html\" (\"charset\" \"utf-8\") \"<a>\" NIL \"8bit\" 1 0 NIL NIL NIL NIL)"},
    {S("Content-Type: multipart/mixed; boundary=b\r\n\r\nnothing"),
     "((\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 NIL NIL NIL NIL) "
     "\"mixed\" "
     "(\"boundary\" \"b\") NIL NIL NIL)"},
    {S("Content-Type: image/png; name=\"a\xC3\xA4\"\r\nContent-Disposition: inline; size=3\r\n"
       "Content-Language: de, en\r\nContent-MD5: x\r\nContent-Location: y\r\n\r\n"),
     "(\"image\" \"png\" (\"name\" {3}\r\na\xC3\xA4) NIL NIL \"7bit\" 0 \"x\" (\"inline\" "
     "(\"size\" \"3\")) "
     "(\"de\" \"en\") \"y\")"},
    {S("Content-Type: message/rfc822\r\n\r\nSubject: in\r\nFrom: a@b\r\n\r\nx\r\n"),
     "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 29 (NIL \"in\" ((NIL NIL \"a\" \"b\")) ((NIL "
     "NIL \"a\" \"b\")) "
     "((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL) (\"text\" \"plain\" (\"charset\" \"us-ascii\") "
     "NIL NIL \"7bit\" 3 1 "
     "NIL NIL NIL NIL) 4 NIL NIL NIL NIL)"},
    {S("Content-Type: a/b; n*1=y; n*0*=utf-8''%41; m*0=p; m*1=q\r\n\r\n"),
     "(\"a\" \"b\" (\"m\" \"pq\" \"n*\" \"utf-8''%41y\") NIL NIL \"7bit\" 0 NIL NIL NIL NIL)"},
};

Test(parse, bodystructure_is_what_clients_expect)
{
    for (size_t i = 0; i < ARRAY_LEN(structures); i++) {
        struct buf out = buf_make(BUF_MAX_DEFAULT);
        struct mime_parser *p = mime_parser_new(NULL, NULL);

        mime_parser_feed(p, structures[i].message);
        structure_write(&out, mime_parser_finish(p), true);
        cr_expect_str_eq(buf_cstr(&out), structures[i].text);
        mime_parser_free(p);
        buf_done(&out);
    }
}

static void add_nested(struct buf *out, unsigned depth)
{
    for (unsigned i = 0; i < depth; i++)
        buf_printf(out, "Content-Type: multipart/mixed; boundary=n%uz\r\n\r\n--n%uz\r\n", i, i);
    buf_add_str(out, "\r\nx\r\n");
}

Test(parse, limits_make_opaque_leaves)
{
    struct mime_limits limits = {.depth = 5, .parts = 7, .header_kept = 4096, .headers_kept = 8192};
    struct buf b = buf_make(BUF_MAX_DEFAULT);
    struct mime_parser *p;
    const struct mime_part *part;
    unsigned depth = 1, n = 0;

    add_nested(&b, 20);
    p = mime_parser_new(&limits, NULL);
    mime_parser_feed(p, buf_slice(&b));
    for (part = mime_parser_finish(p); part->child; part = part->child)
        depth++;
    cr_assert_eq(depth, 5);
    cr_assert(part->opaque);
    cr_assert_eq(part->end, b.n);
    mime_parser_free(p);

    b.n = 0;
    buf_add_str(&b, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (int i = 0; i < 20; i++)
        buf_add_str(&b, "--b\r\n\r\nx\r\n");
    p = mime_parser_new(&limits, NULL);
    mime_parser_feed(p, buf_slice(&b));
    for (part = mime_parser_finish(p)->child; part->next; part = part->next)
        n++;
    cr_assert_eq(n, 5, "the message, and six parts");
    cr_assert_eq(part->end, b.n, "the last one has all that follows");
    mime_parser_free(p);
    buf_done(&b);
}

Test(parse, a_huge_header_is_cut_and_the_body_still_found)
{
    struct mime_limits limits = {.depth = 5, .parts = 7, .header_kept = 1000, .headers_kept = 8192};
    struct mime_parser *p = mime_parser_new(&limits, NULL);
    const struct mime_part *root;

    mime_parser_feed(p, S("Content-Type: text/html\r\n"));
    for (int i = 0; i < 1000; i++)
        mime_parser_feed(p, S("X-Header: value of the field\r\n"));
    mime_parser_feed(p, S("\r\nbody"));
    root = mime_parser_finish(p);
    cr_assert(root->header_cut);
    cr_assert_eq(root->header.n, 1000);
    cr_assert_eq(root->end - root->body_start, 4);
    cr_assert(slice_eq(root->subtype, S("html")));
    mime_parser_free(p);
}

/* The line end before a boundary is the boundary's, also if it is the empty line behind a header.
 */
Test(parse, a_part_without_body_gives_its_empty_line_to_the_boundary)
{
    struct mime_parser *p = mime_parser_new(NULL, NULL);
    const struct mime_part *part;

    mime_parser_feed(
        p, S("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: y\r\n\r\n"
             "--b\r\nX: y\r\n\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n--b--\r\n"));
    part = mime_parser_finish(p)->child;
    cr_assert_eq(part->body_start - part->header_start, 6, "no empty line, no body");
    cr_assert_eq(part->end, part->body_start);
    part = part->next;
    cr_assert_eq(part->body_start - part->header_start, 8, "an empty line, an empty body");
    cr_assert_eq(part->end, part->body_start);
    part = part->next;
    cr_assert_eq(part->body_start - part->header_start, 30);
    cr_assert_eq(part->child->header_start, part->body_start);
    cr_assert_eq(part->child->end, part->end);
    mime_parser_free(p);
}

Test(parse, section_numbers_find_their_parts)
{
    static const struct {
        uint32_t numbers[4];
        size_t n;
        const char *type; /* NULL: there is none */
    } cases[] = {
        {{0}, 0, "mixed"},  {{1}, 1, "plain"},    {{2}, 1, "rfc822"},   {{2, 1}, 2, "html"},
        {{2, 2}, 2, "css"}, {{2, 3}, 2, NULL},    {{3}, 1, "rfc822"},   {{3, 1}, 2, "csv"},
        {{3, 2}, 2, NULL},  {{1, 1}, 2, NULL},    {{3, 1, 1}, 3, NULL}, {{0}, 1, NULL},
        {{4}, 1, NULL},     {{2, 1, 1}, 3, NULL},
    };
    struct mime_parser *p = mime_parser_new(NULL, NULL);
    const struct mime_part *root, *part;

    mime_parser_feed(
        p,
        S("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: "
          "text/plain\r\n\r\n1"
          "\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: multipart/x; "
          "boundary=i\r\n\r\n"
          "--i\r\nContent-Type: text/html\r\n\r\n--i\r\nContent-Type: text/css\r\n\r\n--i--\r\n\r\n"
          "--b\r\nContent-Type: message/rfc822\r\n\r\nContent-Type: "
          "text/csv\r\n\r\nx\r\n--b--\r\n"));
    root = mime_parser_finish(p);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        part = mime_part_find(root, cases[i].numbers, cases[i].n);
        cr_expect_eq(part != NULL, cases[i].type != NULL, "case %zu", i);
        if (part && cases[i].type)
            cr_expect(slice_eq(part->subtype, slice_str(cases[i].type)), "case %zu", i);
    }
    mime_parser_free(p);
}
