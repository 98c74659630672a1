/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/queue/format.h"
#include "lib/store/keys.h"

static void cut_everywhere(struct slice bytes, int (*decode)(struct slice bytes, struct arena *a))
{
    for (size_t n = 0; n < bytes.n; n++) {
        CLEANUP(arena_done) struct arena arena = {0};

        cr_assert_eq(decode(slice_sub(bytes, 0, n), &arena), -ERR_INTERNAL, "cut at %zu", n);
    }
}

static int decode_stored(struct slice bytes, struct arena *a)
{
    struct queue_stored got;

    return queue_stored_decode(bytes, a, &got, NULL);
}

static int decode_entry(struct slice bytes, struct arena *a)
{
    struct queue_entry got;

    return queue_entry_decode(1, 0, bytes, a, &got, NULL);
}

Test(format, an_envelope_comes_back_as_it_was)
{
    struct queue_stored in = {.size = 12345678901, .entries = 3, .tag = {{1, 2, 3}}}, out;
    CLEANUP(buf_done) struct buf b = buf_make(65536);
    CLEANUP(arena_done) struct arena arena = {0};

    in.envelope = (struct queue_envelope){.account = 77,
                                          .sender = "anna@example.org",
                                          .utf8 = true,
                                          .body = QUEUE_BINARYMIME,
                                          .ret = QUEUE_RET_HDRS,
                                          .envid = "e1",
                                          .hold_until_ms = 1234,
                                          .by = QUEUE_BY_NOTIFY,
                                          .by_ms = -5,
                                          .by_trace = true,
                                          .priority = -9,
                                          .require_tls = true,
                                          .tls_optional = true,
                                          .head = S("DKIM-Signature: x\r\n")};
    queue_stored_encode(&in, &b);
    cr_assert_eq(queue_stored_decode(buf_slice(&b), &arena, &out, NULL), 0);
    cr_assert(out.size == in.size && out.entries == 3 && !out.tombstone);
    cr_assert(queue_tag_eq(&in.tag, &out.tag));
    cr_assert_str_eq(out.envelope.sender, "anna@example.org");
    cr_assert_str_eq(out.envelope.envid, "e1");
    cr_assert(out.envelope.account == 77 && out.envelope.utf8 && out.envelope.by_trace);
    cr_assert(out.envelope.body == QUEUE_BINARYMIME && out.envelope.ret == QUEUE_RET_HDRS);
    cr_assert(out.envelope.hold_until_ms == 1234 && out.envelope.by == QUEUE_BY_NOTIFY);
    cr_assert(out.envelope.by_ms == -5 && out.envelope.priority == -9);
    cr_assert(out.envelope.require_tls && out.envelope.tls_optional);
    cr_assert_str_eq(out.envelope.solicit, "");
    cr_assert_eq(b.p[0], 1, "what has no classes is read by older versions too");
    cut_everywhere(buf_slice(&b), decode_stored);
}

Test(format, classes_of_mail_are_in_a_newer_format)
{
    struct queue_stored in = {.size = 1, .entries = 1}, out;
    CLEANUP(buf_done) struct buf b = buf_make(65536);
    CLEANUP(arena_done) struct arena arena = {0};

    in.envelope = (struct queue_envelope){
        .sender = "anna@example.org", .envid = "", .solicit = "net.example:ADV,org.example:X"};
    queue_stored_encode(&in, &b);
    cr_assert_eq(b.p[0], 2);
    cr_assert_eq(queue_stored_decode(buf_slice(&b), &arena, &out, NULL), 0);
    cr_assert_str_eq(out.envelope.solicit, "net.example:ADV,org.example:X");
    cut_everywhere(buf_slice(&b), decode_stored);
    b.p[0] = 3;
    cr_assert_eq(queue_stored_decode(buf_slice(&b), &arena, &out, NULL), -ERR_INTERNAL);
}

Test(format, an_entry_comes_back_as_it_was)
{
    struct queue_target targets[2] = {
        {.to = {"a@x.example", QUEUE_NOTIFY_DELAY, "rfc822;a@x.example"}},
        {.to = {"b@x.example", 0, ""},
         .state = QUEUE_FAILED,
         .notice = QUEUE_NOTICE_FAILED,
         .code = 550,
         .status = "5.1.1",
         .text = "no such user",
         .remote = "mx.x.example",
         .relayed_dsn = true,
         .when_ms = 99}};
    struct queue_entry in = {.mark = 8,
                             .held = true,
                             .by_told = true,
                             .due_ms = 5,
                             .row_ms = 6,
                             .turn = 7,
                             .lease_ms = 8,
                             .owner = 9,
                             .attempts = 10,
                             .warned = 1,
                             .notices = 2,
                             .notice_ms = 98,
                             .destination = "x.example",
                             .targets = targets,
                             .n = 2};
    struct queue_entry out;
    CLEANUP(buf_done) struct buf b = buf_make(65536), again = buf_make(65536);
    CLEANUP(arena_done) struct arena arena = {0};

    queue_entry_encode(&in, &b);
    cr_assert_eq(queue_entry_decode(1, 2, buf_slice(&b), &arena, &out, NULL), 0);
    queue_entry_encode(&out, &again);
    cr_assert(slice_eq(buf_slice(&b), buf_slice(&again)));
    cr_assert(out.id == 1 && out.number == 2 && out.n == 2 && out.held && !out.done);
    cr_assert_str_eq(out.targets[1].text, "no such user");
    cr_assert_str_eq(out.targets[0].text, "");
    cut_everywhere(buf_slice(&b), decode_entry);
}

Test(format, a_newer_format_is_said_to_be_one)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct queue_entry entry;
    struct error err = {0};

    cr_assert_eq(queue_entry_decode(1, 2, S("\x63rest"), &arena, &entry, &err), -ERR_INTERNAL);
    cr_assert(strstr(err.text, "format 99"), "%s", err.text);
}

Test(format, a_row_comes_back_as_it_was)
{
    struct queue_row in = {.when_ms = 1,
                           .id = 2,
                           .number = 3,
                           .turn = 4,
                           .priority = -4,
                           .deadline_ms = 55,
                           .destination = S("x.example")},
                     out;
    struct key22 key = key_queue_due(1, 2, 3, 4);
    CLEANUP(buf_done) struct buf b = buf_make(4096);

    queue_row_encode(&in, &b);
    cr_assert_eq(queue_row_decode(KEY_SLICE(key), buf_slice(&b), &out, NULL), 0);
    cr_assert(out.when_ms == 1 && out.id == 2 && out.number == 3 && out.turn == 4);
    cr_assert(out.priority == -4 && out.deadline_ms == 55);
    cr_assert(slice_eq(out.destination, in.destination));
}

Test(format, pieces_come_back_compressed_or_not)
{
    CLEANUP(buf_done)
    struct buf noise = buf_make(QUEUE_PIECE), packed = buf_make(2 * QUEUE_PIECE),
               out = buf_make(QUEUE_PIECE);

    for (int text = 0; text < 2; text++) {
        buf_reset(&noise, SIZE_MAX);
        buf_reset(&packed, SIZE_MAX);
        buf_reset(&out, SIZE_MAX);
        memset(buf_reserve(&noise, QUEUE_PIECE), 'x', QUEUE_PIECE);
        noise.n = QUEUE_PIECE;
        if (!text)
            random_bytes(noise.p, noise.n);
        queue_piece_pack(buf_slice(&noise), &packed);
        cr_assert_eq(packed.n < 100000, text);
        cr_assert_eq(queue_piece_unpack(buf_slice(&packed), &out, NULL), 0);
        cr_assert(slice_eq(buf_slice(&noise), buf_slice(&out)));
    }
}
