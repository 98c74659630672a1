/* SPDX-License-Identifier: MPL-2.0 */
/* Addresses of directory.h: taken apart, checked, normalised. */
#include <idn2.h>
#include <stdlib.h>
#include <string.h>
#include <unicode/unorm2.h>
#include <unicode/ustring.h>

#include "lib/auth/directory.h"
#include "lib/auth/directory_impl.h"
#include "lib/base/buf.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"

#define DOMAIN_MAX 255
#define LOCAL_MAX  255 /* RFC 5321 says 64, but VERP and detail are longer in practice */

/* ---- the local part ---- */

static bool ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return false;
    return true;
}

static bool has_control(struct slice s)
{
    for (size_t i = 0, n; i < s.n; i += n) {
        int32_t c = utf8_next(slice_skip(s, i), &n);

        if (c < 0x20 || (c >= 0x7f && c < 0xa0))
            return true; /* ill-formed UTF-8 too */
    }
    return false;
}

/* NFC, and in lower case if asked. */
static int fold_unicode(struct slice s, bool lower, struct arena *a, const char **ret)
{
    UErrorCode code = U_ZERO_ERROR;
    const UNormalizer2 *nfc = unorm2_getNFCInstance(&code);
    UChar text[LOCAL_MAX + 1], lowered[LOCAL_MAX * 3], normal[LOCAL_MAX * 9];
    char out[ADDRESS_MAX + 1];
    int32_t n = 0;

    u_strFromUTF8(text, (int32_t)ARRAY_LEN(text), &n, (const char *)s.p, (int32_t)s.n, &code);
    if (lower)
        n = u_strToLower(lowered, (int32_t)ARRAY_LEN(lowered), text, n, "", &code);
    n = unorm2_normalize(nfc, lower ? lowered : text, n, normal, (int32_t)ARRAY_LEN(normal), &code);
    u_strToUTF8(out, sizeof out, &n, normal, n, &code);
    if (U_FAILURE(code))
        return -ERR_INVALID;
    *ret = arena_str(a, slice_of(out, (size_t)n));
    return 0;
}

static int fold(struct slice s, bool lower, struct arena *a, const char **ret)
{
    char *copy;

    if (!ascii(s))
        return fold_unicode(s, lower, a, ret);
    copy = arena_str(a, s);
    for (char *p = copy; lower && *p; p++)
        *p = (char)byte_lower((uint8_t)*p);
    *ret = copy;
    return 0;
}

/* Quoted-string: text begins behind the opening quote. Its length with the closing one, or -1. */
static ssize_t unquote(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"')
            return (ssize_t)i + 1;
        if (text.p[i] == '\\' && ++i == text.n)
            break;
        buf_add_byte(out, text.p[i]);
    }
    return -1;
}

/* Dot-string, but dots may stand anywhere: there are such addresses. */
static bool dot_string(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];

        if (!byte_is_alpha(c) && !byte_is_digit(c) && c < 0x80 &&
            !memchr("!#$%&'*+-/=?^_`{|}~.", c, 20))
            return false;
    }
    return true;
}

/* Splits at the '@' and takes quotes off; *ret_domain is empty if there is no '@'. */
static int split(struct slice text, struct buf *local, struct slice *ret_domain)
{
    ssize_t at;

    if (text.n && text.p[0] == '"') {
        at = unquote(slice_skip(text, 1), local);
        if (at < 0)
            return -ERR_INVALID;
        at++;
        if ((size_t)at < text.n && text.p[at] != '@')
            return -ERR_INVALID;
    } else {
        at = slice_find(text, '@');
        if (at < 0)
            at = (ssize_t)text.n;
        if (!dot_string(slice_sub(text, 0, (size_t)at)))
            return -ERR_INVALID;
        buf_add_slice(local, slice_sub(text, 0, (size_t)at));
    }
    *ret_domain = slice_skip(text, (size_t)at + 1);
    if ((size_t)at < text.n && ret_domain->n == 0)
        return -ERR_INVALID;
    return 0;
}

/* ---- the domain ---- */

static bool ldh_labels(const char *s)
{
    size_t label = 0;

    for (;; s++) {
        if (*s == '.' || *s == '\0') {
            if (label == 0 || label > 63 || s[-1] == '-')
                return false;
            if (*s == '\0')
                return true;
            label = 0;
        } else if (byte_is_alpha((uint8_t)*s) || byte_is_digit((uint8_t)*s) ||
                   (*s == '-' && label > 0)) {
            label++;
        } else {
            return false;
        }
    }
}

int domain_normalise(struct slice text, struct arena *a, const char **ret, struct error *err)
{
    uint8_t *encoded = NULL;
    char *copy;

    if (text.n && text.p[text.n - 1] == '.')
        text.n--;
    if (text.n == 0 || text.n > DOMAIN_MAX || has_control(text))
        return error_set(err, ERR_INVALID, "that is no domain");
    copy = arena_str(a, text);
    if (!ascii(text)) {
        if (idn2_lookup_u8((const uint8_t *)copy, &encoded,
                           IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK)
            return error_set(err, ERR_INVALID, "that is no domain");
        copy = arena_str(a, slice_str((const char *)encoded));
        idn2_free(encoded);
    }
    for (char *p = copy; *p; p++)
        *p = (char)byte_lower((uint8_t)*p);
    /* One letter alone is no domain, and its catch-all would be too short for a key. */
    if (!ldh_labels(copy) || strlen(copy) > DOMAIN_MAX || strlen(copy) < 2)
        return error_set(err, ERR_INVALID, "that is no domain");
    *ret = copy;
    return 0;
}

/* ---- both ---- */

static int normalise_local(const struct directory *d, struct slice local, struct arena *a,
                           struct address *ret)
{
    char delimiter = directory_options(d)->delimiter;
    ssize_t cut = delimiter ? slice_find(local, (uint8_t)delimiter) : -1;
    struct slice detail = cut > 0 ? slice_skip(local, (size_t)cut + 1) : slice_of(NULL, 0);
    int r;

    if (cut > 0)
        local = slice_sub(local, 0, (size_t)cut);
    r = fold(local, true, a, &ret->user);
    if (r == 0)
        r = fold(detail, false, a, &ret->detail);
    return r;
}

static int join(const struct directory *d, struct arena *a, struct address *ret)
{
    const char *low = "";

    ret->key = arena_printf(a, "%s@%s", ret->user, ret->domain);
    if (strlen(ret->key) > ADDRESS_MAX)
        return -ERR_INVALID;
    ret->full = ret->key;
    if (!*ret->detail)
        return 0;
    if (fold(slice_str(ret->detail), true, a, &low) < 0)
        return -ERR_INVALID;
    ret->full =
        arena_printf(a, "%s%c%s@%s", ret->user, directory_options(d)->delimiter, low, ret->domain);
    /* Too long to be a key: then there is no such row either. */
    if (strlen(ret->full) > ADDRESS_MAX)
        ret->full = ret->key;
    return 0;
}

int address_parse(const struct directory *d, struct slice text, bool catch_all, struct arena *a,
                  struct address *ret, struct error *err)
{
    static const char bad[] = "that is no mail address";
    CLEANUP(buf_done) struct buf local = buf_make(LOCAL_MAX);
    struct address out = {.user = "", .detail = ""};
    struct slice domain;
    int r;

    if (text.n == 0 || split(text, &local, &domain) < 0 || buf_full(&local) ||
        has_control(buf_slice(&local)))
        return error_set(err, ERR_INVALID, bad);
    if (local.n == 0 && (!catch_all || text.p[0] != '@'))
        return error_set(err, ERR_INVALID, bad);
    if (normalise_local(d, buf_slice(&local), a, &out) < 0)
        return error_set(err, ERR_INVALID, bad);
    if (domain.n == 0) {
        if (!*directory_options(d)->default_domain)
            return error_set(err, ERR_INVALID, "the address has no domain");
        out.domain = arena_str(a, slice_str(directory_options(d)->default_domain));
    } else if ((r = domain_normalise(domain, a, &out.domain, err)) < 0) {
        return r;
    }
    if (join(d, a, &out) < 0)
        return error_set(err, ERR_INVALID, bad);
    *ret = out;
    return 0;
}
