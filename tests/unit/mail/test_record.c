/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/mem.h"
#include "lib/mail/record.h"

static struct slice words[] = {{(const uint8_t *)"$Work", 5}, {(const uint8_t *)"later", 5}};
static struct uid_range ranges[] = {{3, 9}, {12, 12}, {100, 4000000000u}};

static const struct op all_ops[] = {
    {.kind = OP_NOOP},
    {.kind = OP_CREATE,
     .mailbox = MAILBOX_ID(7, 1),
     .name = {(const uint8_t *)"a/b", 3},
     .uidvalidity = 7,
     .uses = USE_SENT},
    {.kind = OP_RENAME, .mailbox = 9, .name = {(const uint8_t *)"new \"name\"", 10}},
    {.kind = OP_DELETE, .mailbox = 9},
    {.kind = OP_SUBSCRIBE, .name = {(const uint8_t *)"x", 1}, .on = true},
    {.kind = OP_SET, .mailbox = 4, .has_uses = true, .uses = USE_TRASH},
    {.kind = OP_SET,
     .mailbox = 4,
     .key = {(const uint8_t *)"k", 1},
     .value = {(const uint8_t *)"v", 1}},
    {.kind = OP_APPEND,
     .mailbox = 4,
     .uid = 3,
     .message = 0xfedcba9876543210,
     .size = 77,
     .date = -5,
     .add = {.system = FLAG_SEEN, .keywords = words, .n_keywords = 2},
     .has_delivery = true,
     .delivery = {1, 2, 3}},
    {.kind = OP_COPY, .mailbox = 4, .target = 5, .uid = 8, .uids = {ranges, 3, 3}},
    {.kind = OP_MOVE, .mailbox = 4, .target = 5, .uid = 8, .uids = {ranges, 2, 2}},
    {.kind = OP_FLAGS,
     .mailbox = 4,
     .uids = {ranges, 1, 1},
     .add = {.system = FLAG_SEEN},
     .remove = {.keywords = words, .n_keywords = 1}},
    {.kind = OP_EXPUNGE, .mailbox = 4, .uids = {ranges, 3, 3}},
    {.kind = OP_UNDELETE, .mailbox = 4, .uid = 9, .message = 55},
    {.kind = OP_ACCOUNT,
     .key = {(const uint8_t *)"quota.bytes", 11},
     .value = {(const uint8_t *)"1000", 4}},
    {.kind = OP_CLOSE},
};

static void make(struct buf *out)
{
    struct mailbox_sum sums[] = {{.mailbox = 4,
                                  .exists = 5,
                                  .unseen = 1,
                                  .deleted = 2,
                                  .uidnext = 99,
                                  .bytes = 1u << 20,
                                  .modseq = 7}};
    struct record rec = {.seq = 7,
                         .t_ms = 1700000000000,
                         .txid = {9, 8},
                         .ops = (struct op *)all_ops,
                         .n_ops = ARRAY_LEN(all_ops),
                         .sums = sums,
                         .n_sums = 1,
                         .used_bytes = 5,
                         .used_messages = 6};

    record_encode(&rec, out);
}

Test(record, every_op_comes_back)
{
    CLEANUP(buf_done)
    struct buf b = buf_make(10000), again = buf_make(10000), text = buf_make(10000);
    CLEANUP(arena_done) struct arena arena = {0};
    struct record rec;

    cr_assert_eq(ARRAY_LEN(all_ops), OP_KINDS_ + 1);
    make(&b);
    cr_assert_eq(record_decode(buf_slice(&b), 7, &arena, &rec, NULL), 0);
    record_encode(&rec, &again);
    cr_assert(slice_eq(buf_slice(&b), buf_slice(&again)));
    cr_assert(rec.ops[7].has_delivery && rec.ops[7].delivery[2] == 3 && rec.ops[7].date == -5);
    cr_assert(slice_eq(rec.ops[7].add.keywords[1], S("later")));
    cr_assert(rec.sums[0].uidnext == 99 && rec.used_messages == 6 && rec.txid[1] == 8);
    record_print(&rec, &text);
    cr_assert(strstr(buf_cstr(&text), "7.10 flags mailbox=4 uids=3:9 add=S remove=,$Work\n"), "%s",
              buf_cstr(&text));
    cr_assert(strstr(buf_cstr(&text), "7.2 rename mailbox=9 name=\"new \\x22name\\x22\"\n"));
}

Test(record, a_secret_is_not_printed)
{
    struct op ops[] = {{.kind = OP_ACCOUNT, .key = S(RECORD_SECRET_KEY), .value = S("0123")},
                       {.kind = OP_SET, .key = S("/private/x"), .value = S("=4567")}};
    struct record rec = {.seq = 7, .ops = ops, .n_ops = ARRAY_LEN(ops)};
    CLEANUP(buf_done) struct buf text = buf_make(10000);

    record_print(&rec, &text);
    cr_assert(!strstr(buf_cstr(&text), "0123") && strstr(buf_cstr(&text), "4567"), "%s",
              buf_cstr(&text));
}

Test(record, damage_is_refused)
{
    CLEANUP(buf_done) struct buf b = buf_make(10000);
    CLEANUP(arena_done) struct arena arena = {0};
    struct error err;
    struct record rec;

    make(&b);
    for (size_t n = 0; n < b.n; n++)
        cr_assert_eq(record_decode(slice_of(b.p, n), 7, &arena, &rec, NULL), -ERR_INTERNAL,
                     "cut at %zu", n);
    buf_add_byte(&b, 0);
    cr_assert_eq(record_decode(buf_slice(&b), 7, &arena, &rec, NULL), -ERR_INTERNAL);
    b.n--;
    b.p[0] = RECORD_VERSION + 1;
    cr_assert_eq(record_decode(buf_slice(&b), 7, &arena, &rec, &err), -ERR_INTERNAL);
    cr_assert(strstr(err.text, "newer"));
}

Test(record, an_unknown_op_is_said_to_be_newer)
{
    CLEANUP(buf_done) struct buf b = buf_make(1000);
    CLEANUP(arena_done) struct arena arena = {0};
    struct op op = {.kind = OP_NOOP};
    struct record rec = {.seq = 3, .ops = &op, .n_ops = 1};
    struct error err;

    record_encode(&rec, &b);
    b.p[1 + 1 + TXID_SIZE + 1] = OP_KINDS_;
    cr_assert_eq(record_decode(buf_slice(&b), 3, &arena, &rec, &err), -ERR_INTERNAL);
    cr_assert(strstr(err.text, "newer"));
}
