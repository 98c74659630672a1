/* SPDX-License-Identifier: MPL-2.0 */
/* URLs of CATENATE. */
#include <stdlib.h>

#include "protocols/imap/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct parse_limits limits = {
        .command = 1 << 16, .nesting = 20, .arguments = 1000, .set = 1000, .literals = 10};
    struct arena arena = {0};
    struct imap_url url;

    if (imap_url_parse(slice_of(data, n), &limits, &arena, &url, NULL) == 0 &&
        (!url.mailbox.n || !url.uid || !url.section || !url.count))
        abort();
    arena_done(&arena);
    return 0;
}
