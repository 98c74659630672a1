/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mime/nfc.h"

#include <stdlib.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"

#define EXPANSION 3 /* of NFC, in UTF-16 units (UAX 15) */
#define LONGEST   ((size_t)1 << 20)

static bool ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return false;
    return true;
}

/* In UTF-16, since ICU's C interface knows no other. */
static bool normalise(struct buf *out, struct slice utf8, UChar *from, UChar *to)
{
    UErrorCode code = U_ZERO_ERROR;
    const UNormalizer2 *nfc = unorm2_getNFCInstance(&code);
    int32_t room = (int32_t)utf8.n * EXPANSION, n = 0, bytes = 0;
    uint8_t *p;

    u_strFromUTF8(from, (int32_t)utf8.n, &n, (const char *)utf8.p, (int32_t)utf8.n, &code);
    n = unorm2_normalize(nfc, from, n, to, room, &code);
    if (U_FAILURE(code))
        return false;
    /* a UTF-16 unit is at most 3 bytes */
    p = buf_reserve(out, (size_t)n * 3);
    if (!p)
        return false;
    u_strToUTF8((char *)p, n * 3, &bytes, to, n, &code);
    if (U_FAILURE(code))
        return false;
    out->n += (size_t)bytes;
    return true;
}

bool nfc_add(struct buf *out, struct slice utf8)
{
    CLEANUP(buf_done) struct buf b = buf_make(LONGEST * EXPANSION * 3);
    CLEANUP_FREE UChar *from = NULL;
    CLEANUP_FREE UChar *to = NULL;

    if (ascii(utf8)) {
        buf_add_slice(out, utf8);
        return !buf_full(out);
    }
    if (utf8.n > LONGEST || !utf8_valid(utf8))
        return false;
    from = mem_realloc(NULL, utf8.n, sizeof *from);
    to = mem_realloc(NULL, utf8.n * EXPANSION, sizeof *to);
    if (!normalise(&b, utf8, from, to) || b.n > out->max - out->n)
        return false;
    buf_add_slice(out, buf_slice(&b));
    return true;
}
