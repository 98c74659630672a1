/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mime/intake.h"
#include "lib/mime/structure.h"
#include "tests/unit/mime/sample.h"

static const struct slice usual =
    S("Received: from a\r\nDate: Mon, 1 Jan 2024 10:00:00 +0200\r\n"
      "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nTo: g: x@y, z@w;\r\nTo: second@to\r\nCc: "
      "c@d (Carl)\r\n"
      "Subject: Re: [list] Hello\r\n World\r\nMessage-ID: <1@x>\r\nReferences: <a@x>\r\n\t<b@x>\r\n"
      "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
      "--b\r\nContent-Type: text/html\r\n\r\n<style>x</style><p>Hi &amp; <b>b</b>ye</p>\r\n"
      "--b\r\nContent-Type: a/b; name=x\r\nContent-Transfer-Encoding: "
      "base64\r\n\r\nAAAA\r\n--b--\r\n");

static struct intake *take(struct slice message, struct buf *digest)
{
    struct intake *in = intake_new(NULL, NULL, NULL);

    cr_assert_eq(intake_feed(in, message), 0);
    cr_assert_eq(intake_finish(in, digest, NULL), 0);
    return in;
}

#define EXPECT_SLICE(got, want) cr_expect(slice_eq(got, S(want)), #got " is %.*s", SLICE_FMT(got))

Test(mdigest, holds_what_lists_need)
{
    struct buf b = buf_make(BUF_MAX_DEFAULT);
    struct intake *in = take(usual, &b);
    struct mdigest d;

    cr_assert_eq(mdigest_open(&d, buf_slice(&b)), 0);
    cr_expect_eq(d.size, usual.n);
    cr_expect_eq(d.missing, 0);
    cr_expect(d.has_date && d.is_reply && d.has_attachment);
    cr_expect(d.all_fields);
    cr_expect_eq(d.date, 1704096000);
    cr_expect_eq(d.zone, 120);
    EXPECT_SLICE(d.subject, "Re: [list] Hello World");
    EXPECT_SLICE(d.base_subject, "Hello World");
    EXPECT_SLICE(d.from_mailbox, "j");
    EXPECT_SLICE(d.from_display, "Jürgen");
    EXPECT_SLICE(d.from_address, "j@example.org");
    EXPECT_SLICE(d.to_mailbox, "g"); /* To is a group */
    EXPECT_SLICE(d.to_display, "g");
    EXPECT_SLICE(d.cc_display, "Carl");
    EXPECT_SLICE(d.message_id, "1@x");
    EXPECT_SLICE(d.references, "a@x b@x");
    EXPECT_SLICE(d.preview, "Hi & bye");
    cr_expect_leq(b.n, 2400, "%zu octets", b.n);
    intake_free(in);
    buf_done(&b);
}

static void check_part(const struct mdigest *d, const struct mime_part *root, uint32_t *numbers,
                       size_t n)
{
    const struct mime_part *part = mime_part_find(root, numbers, n);
    struct mdigest_section s;
    int ret = mdigest_section_find(d, numbers, n, &s);

    cr_assert_eq(ret, part ? 0 : -ERR_NOTFOUND);
    if (!part || n == 4)
        return;
    cr_assert_eq(s.header_offset, part->header_start);
    cr_assert_eq(s.header_offset + s.header_len, part->body_start);
    cr_assert_eq(s.body_offset, part->body_start);
    cr_assert_eq(s.body_offset + s.body_len, part->end);
    cr_assert_eq(s.lines, part->lines);
    cr_assert_eq(s.kind, part->kind);
    cr_assert_eq(s.encoding, part->encoding);
    if (n > 0 && part->kind == MIME_MESSAGE) {
        cr_assert_eq(s.message_header_offset, part->child->header_start);
        cr_assert_eq(s.message_text_offset, part->child->body_start);
        cr_assert_eq(s.message_text_offset + s.message_text_len, part->child->end);
    }
    for (numbers[n] = 0; numbers[n] < 5; numbers[n]++)
        check_part(d, root, numbers, n + 1);
}

static void check_fields(const struct mdigest *d, struct slice header)
{
    static const struct slice sets[][3] = {
        {S("from"), S("to"), S("subject")},
        {S("DATE"), S("References"), S("X-Priority")},
        {S("content-type"), S("Mime-Version"), S("Received")},
        {S("X-Not-Covered"), S("To"), S("Cc")},
    };
    struct buf got = buf_make(BUF_MAX_DEFAULT), want = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < ARRAY_LEN(sets) * 2; i++) {
        got.n = want.n = 0;
        mdigest_filter_header(header, sets[i / 2], 3, i % 2, &want);
        if (mdigest_header_fields(d, sets[i / 2], 3, i % 2, &got))
            cr_assert(slice_eq(buf_slice(&got), buf_slice(&want)));
        else
            cr_assert(i % 2 || i / 2 >= 2 || d->missing, "usual fields can be answered");
    }
    buf_done(&got);
    buf_done(&want);
}

static void check_message(struct slice message)
{
    struct buf b = buf_make(BUF_MAX_DEFAULT), text = buf_make(BUF_MAX_DEFAULT);
    struct intake *in = take(message, &b);
    uint32_t numbers[8];
    struct mdigest d;

    cr_assert_eq(mdigest_open(&d, buf_slice(&b)), 0);
    cr_assert_eq(d.missing & ~(uint32_t)MDIGEST_NO_REFERENCES, 0);
    structure_write(&text, intake_root(in), true);
    cr_assert(slice_eq(buf_slice(&text), d.bodystructure));
    check_part(&d, intake_root(in), numbers, 0);
    check_fields(&d, intake_root(in)->header);
    cr_assert(utf8_valid(d.preview) && utf8_valid(d.subject) && utf8_valid(d.from_display));
    intake_free(in);
    buf_done(&b);
    buf_done(&text);
}

Test(mdigest, sections_and_fields_are_those_of_the_message)
{
    struct buf b = buf_make(BUF_MAX_DEFAULT);
    uint64_t state = 1001;

    check_message(usual);
    for (size_t i = 0; i < sample_count; i++)
        check_message(samples[i].message);
    for (int i = 0; i < 500; i++) {
        b.n = 0;
        sample_message(&state, &b);
        check_message(buf_slice(&b));
    }
    buf_done(&b);
}

Test(mdigest, damaged_values_are_refused_or_read_within_bounds)
{
    struct buf b = buf_make(BUF_MAX_DEFAULT), out = buf_make(BUF_MAX_DEFAULT);
    struct intake *in = take(usual, &b);
    static const struct slice names[] = {S("From"), S("To")};
    struct mdigest_section s;
    struct mdigest d;

    for (size_t n = 0; n < b.n; n++) {
        uint8_t *copy = mem_dup(b.p, n ? n : 1);

        cr_assert_lt(mdigest_open(&d, slice_of(copy, n)), 0);
        free(copy);
    }
    for (size_t i = 0; i < b.n * 8; i++) {
        b.p[i / 8] ^= (uint8_t)(1 << i % 8);
        if (mdigest_open(&d, buf_slice(&b)) == 0) {
            out.n = 0;
            (void)!mdigest_header_fields(&d, names, 2, false, &out);
            for (uint32_t k = 0; k < 4; k++)
                (void)!mdigest_section_find(&d, (uint32_t[]){k, 1}, 2, &s);
        }
        b.p[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    intake_free(in);
    buf_done(&b);
    buf_done(&out);
}

Test(mdigest, huge_structures_are_marked_and_built_whole_on_demand)
{
    struct buf b = buf_make(BUF_MAX_DEFAULT), digest = buf_make(BUF_MAX_DEFAULT),
               full = buf_make(BUF_MAX_DEFAULT);
    struct mdigest_section s;
    struct intake *in;
    struct mdigest d;

    buf_add_str(&b, "To: a@b");
    for (int i = 0; i < 3000; i++)
        buf_printf(&b, ",\r\n user%d@example.org", i);
    buf_add_str(&b, "\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (int i = 0; i < 3000; i++)
        buf_add_str(&b, "--b\r\n\r\nx\r\n");
    in = take(buf_slice(&b), &digest);
    cr_assert_eq(mdigest_open(&d, buf_slice(&digest)), 0);
    cr_assert_leq(digest.n, 2000);
    cr_assert_eq(d.missing, MDIGEST_NO_ENVELOPE | MDIGEST_NO_BODY | MDIGEST_NO_BODYSTRUCTURE |
                                MDIGEST_NO_SECTIONS);
    cr_assert_eq(mdigest_section_find(&d, (uint32_t[]){7}, 1, &s), -ERR_LIMIT);
    full.n = 0;
    cr_assert_eq(mdigest_header_fields(&d, (struct slice[]){S("subject")}, 1, false, &full), 1);
    cr_assert_eq(mdigest_header_fields(&d, (struct slice[]){S("to")}, 1, false, &full), 0);
    full.n = 0;
    mdigest_build(&full, intake_root(in), d.preview, &mdigest_caps_none);
    cr_assert_eq(mdigest_open(&d, buf_slice(&full)), 0);
    cr_assert_eq(d.missing, 0);
    cr_assert_eq(mdigest_section_find(&d, (uint32_t[]){2999}, 1, &s), 0);
    cr_assert_eq(s.body_len, 1);
    intake_free(in);
    buf_done(&b);
    buf_done(&digest);
    buf_done(&full);
}
