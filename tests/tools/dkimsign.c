/* SPDX-License-Identifier: MPL-2.0 */
/* Signs a message with the keys that a store has for a domain.
 *     dkimsign STORE DOMAIN [PIECE] <message      the message, signatures in front
 * PIECE: bytes fed at once. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/mem.h"
#include "lib/queue/dkim.h"
#include "lib/store/store.h"

#define MESSAGE_MAX ((size_t)64 << 20)

static int sign(struct store *store, const char *domain, struct slice message, size_t piece,
                struct error *err)
{
    CLEANUP(buf_done) struct buf head = buf_make((size_t)1 << 20);
    struct dkim *dkim = dkim_new(store, 0);
    struct dkim_signer *s = dkim_signer_new();

    for (size_t at = 0; at < message.n; at += piece)
        dkim_signer_feed(s, slice_sub(message, at, at + piece));
    int n = dkim_sign(dkim, s, domain, &head, err);
    dkim_signer_free(s);
    dkim_free(dkim);
    fwrite(head.p, 1, head.n, stdout);
    fwrite(message.p, 1, message.n, stdout);
    return n;
}

int main(int argc, char **argv)
{
    CLEANUP(buf_done) struct buf message = buf_make(MESSAGE_MAX);
    struct store *store;
    struct error err = {0};
    size_t piece = argc > 3 ? strtoul(argv[3], NULL, 10) : MESSAGE_MAX, got;

    if (argc < 3 || piece == 0) {
        fprintf(stderr, "usage: dkimsign STORE DOMAIN [PIECE] <message\n");
        return 64;
    }
    do {
        uint8_t *to = buf_reserve(&message, 65536);

        got = to ? fread(to, 1, 65536, stdin) : 0;
        message.n += got;
    } while (got > 0);
    int n = store_open(argv[1], NULL, &store, &err);
    if (n == 0) {
        n = sign(store, argv[2], buf_slice(&message), piece, &err);
        store_close(store);
    }
    if (n < 0)
        fprintf(stderr, "dkimsign: %s\n", err.text);
    return n < 0;
}
