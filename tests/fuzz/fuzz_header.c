/* SPDX-License-Identifier: MPL-2.0 */
/* A header block or one value: all readers of header.h, address.h, date.h, charset.h. */
#include <stdlib.h>

#include "lib/base/codec.h"
#include "lib/mime/address.h"
#include "lib/mime/charset.h"
#include "lib/mime/date.h"
#include "lib/mime/envelope.h"
#include "lib/mime/header.h"
#include "lib/mime/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one_value(struct slice value)
{
    struct buf out = buf_make(BUF_MAX_DEFAULT), base = buf_make(BUF_MAX_DEFAULT);
    struct arena arena = {0};
    struct civil c;
    size_t pos = 0;

    header_decode(&out, value);
    if (!utf8_valid(buf_slice(&out)))
        abort();
    subject_base(&base, buf_slice(&out));
    text_casemap(&base, value);
    while (msgid_next(value, &pos, &base))
        ;
    header_unfold(&base, value);
    if (date_parse(value, &c) == 0 && !civil_valid(&c))
        abort();
    (void)address_list_parse(&arena, value);
    out.n = 0;
    charset_convert(&out, slice_sub(value, 0, 12), slice_skip(value, 12));
    if (!utf8_valid(buf_slice(&out)))
        abort();
    arena_done(&arena);
    buf_done(&out);
    buf_done(&base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice block = slice_of(data, size);
    struct header_reader r = header_reader_of(block);
    struct buf out = buf_make(BUF_MAX_DEFAULT);
    struct header_field f;

    one_value(block);
    while (header_next(&r, &f))
        one_value(f.value);
    envelope_write(&out, block);
    buf_done(&out);
    return 0;
}
