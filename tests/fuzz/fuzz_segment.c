/* SPDX-License-Identifier: MPL-2.0 */
/* The bytes are a segment before packing (a fuzzer does not get past a compressor); packed here,
 * they are refused or become messages. The first 4 bytes: last uid and count that the manifest
 * says. */
#include "lib/mail/snapshot_format_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf raw = buf_make(SEGMENT_RAW_MAX), packed = buf_make(SEGMENT_RAW_MAX);
    struct segment_ref ref = {.mailbox = 1, .first = 1, .stamp = 1};
    struct flagsets *flagsets;
    struct segment *s;
    struct mailbox *box;
    struct message m;

    if (n < 4)
        return 0;
    ref.last = 1u + get_be16(data);
    ref.count = 1u + get_be16(data + 2) % SEGMENT_MESSAGES;
    flagsets = flagsets_new();
    box = mailbox_new(1, S("x"), flagsets);
    s = segment_new();
    rows_free(atomic_exchange(&s->rows, NULL));
    s->first = 1;
    s->last = ref.last;
    s->count = box->sum.exists = ref.count;
    mailbox_add_segment(box, s);
    buf_add_varint(&raw, 1);
    buf_add_varint(&raw, 1);
    buf_add_varint(&raw, ref.last);
    buf_add_varint(&raw, ref.count);
    buf_add(&raw, data + 4, n - 4);
    pack(SEGMENT_VERSION, &raw, &packed);
    if (segment_attach(box, &ref, buf_slice(&packed), NULL) == 0)
        for (struct mailbox_iter i = mailbox_iter(box, 0); mailbox_next(&i, &m);)
            if (!m.flags)
                __builtin_trap();
    mailbox_unref(box);
    flagsets_unref(flagsets);
    buf_done(&raw);
    buf_done(&packed);
    return 0;
}
