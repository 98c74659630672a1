/* SPDX-License-Identifier: MPL-2.0 */
/* A record from anywhere is refused, or prints, encodes, and folds or is refused by the fold. */
#include <stdlib.h>

#include "lib/mail/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf text = buf_make(BUF_MAX_DEFAULT), bytes = buf_make(BUF_MAX_DEFAULT);
    struct arena arena = {0};
    struct record rec, again;

    if (record_decode(slice_of(data, n), 1, &arena, &rec, NULL) == 0) {
        struct state *st = state_new_empty(1);

        record_print(&rec, &text);
        record_encode(&rec, &bytes);
        if (record_decode(buf_slice(&bytes), 1, &arena, &again, NULL) < 0 ||
            again.n_ops != rec.n_ops)
            abort();
        if (state_fold(st, &rec, &st, NULL) == 0)
            state_dump(st, &text);
        state_unref(st);
    }
    arena_done(&arena);
    buf_done(&text);
    buf_done(&bytes);
    return 0;
}
