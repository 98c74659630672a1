/* SPDX-License-Identifier: MPL-2.0 */
/* The bytes are head and body before packing: two bytes say where the head ends. */
#include "lib/mail/snapshot_format_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf raw = buf_make(MANIFEST_RAW_MAX), head = raw, body = raw,
               text = buf_make(BUF_MAX_DEFAULT);
    struct slice rest = slice_skip(slice_of(data, n), 2);
    struct manifest *m;

    if (n < 2)
        return 0;
    buf_add_be64(&raw, 1);
    buf_add_slice(&raw, slice_sub(rest, 0, get_be16(data)));
    pack(MANIFEST_VERSION, &raw, &head);
    buf_reset(&raw, SIZE_MAX);
    buf_add_slice(&raw, slice_skip(rest, get_be16(data)));
    pack(MANIFEST_VERSION, &raw, &body);
    if (manifest_decode(1, buf_slice(&head), buf_slice(&body), &m, NULL) == 0) {
        struct state *st = state_from_manifest(m);
        bool any = false;

        for (size_t i = 0; i < st->n_mailboxes; i++)
            any |= mailbox_needs(st->mailboxes[i], NULL, NULL, NULL);
        if (!any)
            state_dump(st, &text);
        state_unref(st);
        manifest_free(m);
    }
    buf_done(&raw);
    buf_done(&head);
    buf_done(&body);
    buf_done(&text);
    return 0;
}
