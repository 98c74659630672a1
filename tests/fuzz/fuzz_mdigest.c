/* SPDX-License-Identifier: MPL-2.0 */
/* A stored digest, damaged in any way: refused, or read within its bounds. */
#include "lib/mime/mdigest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(struct slice s)
{
    volatile uint8_t sum = 0;

    for (size_t i = 0; i < s.n; i++)
        sum = (uint8_t)(sum + s.p[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct slice names[] = {S("From"), S("Subject"), S("Received")};
    struct buf out = buf_make(1 << 20);
    struct mdigest_section s;
    struct slice value;
    struct mdigest d;

    if (mdigest_open(&d, slice_of(data, size)) < 0)
        return 0;
    touch(d.envelope);
    touch(d.bodystructure);
    touch(d.preview);
    touch(d.base_subject);
    for (int negate = 0; negate < 2; negate++)
        (void)!mdigest_header_fields(&d, names, 3, negate, &out);
    if (mdigest_field_value(&d, names[1], &value) == 1)
        touch(value);
    for (uint32_t i = 0; i < 27; i++)
        (void)!mdigest_section_find(&d, (uint32_t[]){i % 3 + 1, i / 3 % 3 + 1, i / 9 + 1}, i % 4,
                                    &s);
    buf_done(&out);
    return 0;
}
