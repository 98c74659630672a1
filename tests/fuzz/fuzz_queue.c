/* SPDX-License-Identifier: MPL-2.0 */
/* The first byte says which document the rest is. What can be read is written again, and read. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/queue/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void expect(bool truth)
{
    if (!truth)
        abort();
}

static void read_envelope(struct slice bytes, struct arena *arena)
{
    CLEANUP(buf_done) struct buf out = buf_make(BUF_MAX_DEFAULT), again = buf_make(BUF_MAX_DEFAULT);
    struct queue_stored stored;

    if (queue_stored_decode(bytes, arena, &stored, NULL) < 0)
        return;
    queue_stored_encode(&stored, &out);
    expect(queue_stored_decode(buf_slice(&out), arena, &stored, NULL) == 0);
    queue_stored_encode(&stored, &again);
    expect(slice_eq(buf_slice(&out), buf_slice(&again)));
}

static void read_entry(struct slice bytes, struct arena *arena)
{
    CLEANUP(buf_done) struct buf out = buf_make(BUF_MAX_DEFAULT), again = buf_make(BUF_MAX_DEFAULT);
    struct queue_entry entry;

    if (queue_entry_decode(1, 2, bytes, arena, &entry, NULL) < 0)
        return;
    expect(entry.done || (entry.n > 0 && entry.n <= QUEUE_ENTRY_RECIPIENTS));
    queue_entry_encode(&entry, &out);
    expect(queue_entry_decode(1, 2, buf_slice(&out), arena, &entry, NULL) == 0);
    queue_entry_encode(&entry, &again);
    expect(slice_eq(buf_slice(&out), buf_slice(&again)));
}

static void read_row(struct slice bytes)
{
    struct queue_row row;
    struct slice key = slice_sub(bytes, 0, 22), head = slice_skip(bytes, 22);

    if (queue_row_decode(key, head, &row, NULL) == 0)
        expect(row.when_ms >= 0 && row.priority >= -9 && row.priority <= 9);
}

static void read_piece(struct slice bytes)
{
    CLEANUP(buf_done) struct buf out = buf_make(QUEUE_PIECE);

    if (queue_piece_unpack(bytes, &out, NULL) == 0)
        expect(out.n <= QUEUE_PIECE && !buf_full(&out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    CLEANUP(arena_done) struct arena arena = {0};
    struct slice rest = slice_skip(slice_of(data, n), 1);

    if (n == 0)
        return 0;
    switch (data[0] & 3) {
    case 0:
        read_envelope(rest, &arena);
        break;
    case 1:
        read_entry(rest, &arena);
        break;
    case 2:
        read_row(rest);
        break;
    default:
        read_piece(rest);
    }
    return 0;
}
