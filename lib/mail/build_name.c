/* SPDX-License-Identifier: MPL-2.0 */
/* Mailbox names: what is allowed, and how they are written. */
#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mail/build.h"
#include "lib/mime/nfc.h"

static bool is_control(int32_t c)
{
    /* RFC 9051 section 5.1: no control characters, nor U+2028 and U+2029 (Net-Unicode, RFC 5198) */
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029;
}

static int check_characters(struct slice name, struct error *err)
{
    while (name.n) {
        size_t n;
        int32_t c = utf8_next(name, &n);

        if (c < 0)
            return error_set(err, ERR_INVALID, "a mailbox name must be UTF-8");
        if (is_control(c))
            return error_set(err, ERR_INVALID, "a mailbox name has no control characters");
        name = slice_skip(name, n);
    }
    return 0;
}

static int check_levels(struct slice name, struct error *err)
{
    size_t depth = 0;

    for (bool more = true; more; depth++) {
        ssize_t at = slice_find(name, '/');
        struct slice level = at < 0 ? name : slice_sub(name, 0, (size_t)at);

        more = at >= 0;
        if (!level.n)
            return error_set(err, ERR_INVALID, "a mailbox name has no empty level");
        if (level.n > NAME_LEVEL_MAX)
            return error_set(err, ERR_LIMIT, "a level of a mailbox name has at most %d bytes",
                             NAME_LEVEL_MAX);
        name = slice_skip(name, level.n + more);
    }
    if (depth > NAME_DEPTH)
        return error_set(err, ERR_LIMIT, "a mailbox name has at most %d levels", NAME_DEPTH);
    return 0;
}

int name_normalise(struct slice name, struct buf *out, struct error *err)
{
    CLEANUP(buf_done) struct buf composed = buf_make(RECORD_NAME_MAX);
    int r;

    /* RFC 9051 section 5.1: "convert it to Unicode Normalization Form C (NFC) (as per Net-Unicode
     * requirements) prior to mailbox creation" */
    if (name.n <= NAME_MAX_BYTES && nfc_add(&composed, name))
        name = buf_slice(&composed);
    if (!name.n)
        return error_set(err, ERR_INVALID, "the mailbox name is empty");
    if (name.n > NAME_MAX_BYTES)
        return error_set(err, ERR_LIMIT, "a mailbox name has at most %d bytes", NAME_MAX_BYTES);
    r = check_characters(name, err);
    if (r == 0)
        r = check_levels(name, err);
    if (r < 0)
        return r;
    if (slice_istarts(name, S("inbox")) && (name.n == 5 || name.p[5] == '/')) {
        buf_add_str(out, "INBOX");
        name = slice_skip(name, 5);
    }
    buf_add_slice(out, name);
    return 0;
}
