/* SPDX-License-Identifier: MPL-2.0 */
/* The PROXY header parser: what it takes is within the bytes, every beginning of it is "more", and
 * its texts are terminated and printable. */
#include <stdlib.h>

#include "lib/net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t max)
{
    size_t n = strnlen(text, max);

    if (n == max)
        abort();
    for (size_t i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] > '~')
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header h, ignored;
    char text[NETADDR_TEXT_MAX];
    size_t n, ignored_n;

    if (proxy_parse(slice_of(data, size), &h, &n) != PROXY_DONE)
        return 0;
    if (n == 0 || n > size || n > PROXY_MAX)
        abort();
    if (proxy_parse(slice_of(data, n - 1), &ignored, &ignored_n) != PROXY_MORE ||
        proxy_parse(slice_of(data, n), &ignored, &ignored_n) != PROXY_DONE || ignored_n != n)
        abort();
    check_text(h.tls_version, sizeof h.tls_version);
    check_text(h.tls_cipher, sizeof h.tls_cipher);
    check_text(h.authority, sizeof h.authority);
    netaddr_format(&h.source, text);
    netaddr_format(&h.destination, text);
    return 0;
}
