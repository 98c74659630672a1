/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/objectid.h"

#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

void objectid_write(struct buf *out, enum objectid_kind kind, uint64_t id)
{
    uint8_t bytes[8];

    put_be64(bytes, id);
    buf_add_byte(out, (uint8_t)kind);
    hex_encode(out, slice_of(bytes, sizeof bytes));
}

bool objectid_read(struct slice text, enum objectid_kind kind, uint64_t *ret)
{
    uint64_t id = 0;

    if (text.n != 17 || text.p[0] != (uint8_t)kind)
        return false;
    for (size_t i = 1; i < text.n; i++) {
        uint8_t c = text.p[i];

        if (!byte_is_digit(c) && (c < 'a' || c > 'f'))
            return false;
        id = id << 4 | (uint64_t)(byte_is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    *ret = id;
    return true;
}

static struct slice first_of(struct slice ids)
{
    ssize_t end = slice_find(ids, ' ');

    return end < 0 ? ids : slice_sub(ids, 0, (size_t)end);
}

uint64_t objectid_thread(const struct mdigest *d, uint64_t message)
{
    struct slice root = first_of(d->references);
    uint8_t own[9] = {0}, hash[SHA256_SIZE];

    if (!root.n)
        root = first_of(d->in_reply_to);
    if (!root.n)
        root = d->message_id;
    if (!root.n) {
        put_be64(own + 1, message); /* a NUL in front: no Message-ID looks like it */
        root = slice_of(own, sizeof own);
    }
    digest_sha256(root, hash);
    return get_be64(hash);
}
