/* SPDX-License-Identifier: MPL-2.0 */
/* What decodes encodes to the same bytes. */
#include <stdlib.h>

#include "lib/mail/uidset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf out = buf_make(BUF_MAX_DEFAULT);
    struct cursor in = cursor_of(slice_of(data, n));
    struct uidset s;

    if (uidset_decode(&s, &in) == 0) {
        struct cursor again;
        struct uidset back;

        uidset_encode(&s, &out);
        again = cursor_of(buf_slice(&out));
        if (uidset_decode(&back, &again) < 0 || back.n != s.n ||
            uidset_count(&back) != uidset_count(&s))
            abort();
        uidset_done(&back);
        uidset_done(&s);
    }
    buf_done(&out);
    return 0;
}
