/* SPDX-License-Identifier: MPL-2.0 */
/* Four ways: UTF-8 (checked and copied), ASCII and what is unknown (UTF-8 where it is that, else
 * windows-1252), windows-1252 (a table), and ICU for all others.
 *
 * The converters that a thread has used last are kept in a small table of the thread, which ends
 * with it. This is the one place of the library that keeps something between calls. */
#include "lib/mime/charset.h"

#include <pthread.h>
#include <stdlib.h>
#include <unicode/ucnv.h>
#include <unicode/utf16.h>

#include "lib/base/codec.h"
#include "lib/base/mem.h"

#define NAME_MAX_ 64   /* longer names are unknown */
#define KEPT_MAX  12   /* converters a thread keeps */
#define CHUNK     1024 /* UTF-16 units at a time */

enum way {
    WAY_UTF8,
    WAY_GUESS,
    WAY_1252,
    WAY_ICU,
};

struct charset {
    enum way way;
    UConverter *icu;
    char name[NAME_MAX_]; /* of an ICU converter, lower case */
    uint8_t held[4];      /* UTF-8 and guess: a sequence that the input cut */
    uint8_t nheld;
};

struct kept {
    struct charset *items[KEPT_MAX]; /* the last used first */
    size_t n;
};

static pthread_once_t kept_once = PTHREAD_ONCE_INIT;
static pthread_key_t kept_key;

static void charset_free(struct charset *cs)
{
    if (cs->icu)
        ucnv_close(cs->icu);
    free(cs);
}

static void kept_free(void *arg)
{
    struct kept *k = arg;

    for (size_t i = 0; i < k->n; i++)
        charset_free(k->items[i]);
    free(k);
}

static void kept_make_key(void)
{
    if (pthread_key_create(&kept_key, kept_free) != 0)
        abort();
}

static struct kept *kept_of_thread(void)
{
    struct kept *k;

    pthread_once(&kept_once, kept_make_key);
    k = pthread_getspecific(kept_key);
    if (!k) {
        k = NEW(struct kept);
        pthread_setspecific(kept_key, k);
    }
    return k;
}

static const struct {
    const char *name;
    enum way way;
    const char *icu; /* NULL: none is needed */
} aliases[] = {
    {"utf-8", WAY_UTF8, NULL},
    {"utf8", WAY_UTF8, NULL},
    {"us-ascii", WAY_GUESS, NULL},
    {"ascii", WAY_GUESS, NULL},
    {"ansi_x3.4-1968", WAY_GUESS, NULL},
    {"", WAY_GUESS, NULL},
    {"unknown-8bit", WAY_GUESS, NULL},
    {"unknown", WAY_GUESS, NULL},
    {"x-unknown", WAY_GUESS, NULL},
    {"default", WAY_GUESS, NULL},
    {"iso-8859-1", WAY_1252, NULL},
    {"iso8859-1", WAY_1252, NULL},
    {"iso_8859-1", WAY_1252, NULL},
    {"latin1", WAY_1252, NULL},
    {"latin-1", WAY_1252, NULL},
    {"windows-1252", WAY_1252, NULL},
    {"cp1252", WAY_1252, NULL},
    {"cp-1252", WAY_1252, NULL},
    {"iso-8859-9", WAY_ICU, "windows-1254"},
    {"iso-8859-11", WAY_ICU, "windows-874"},
    {"tis-620", WAY_ICU, "windows-874"},
    {"gb2312", WAY_ICU, "gb18030"},
    {"gbk", WAY_ICU, "gb18030"},
    {"x-gbk", WAY_ICU, "gb18030"},
    {"ks_c_5601-1987", WAY_ICU, "windows-949"},
    {"euc-kr", WAY_ICU, "windows-949"},
    {"shift_jis", WAY_ICU, "windows-31j"},
    {"x-sjis", WAY_ICU, "windows-31j"},
    {"iso-8859-8-i", WAY_ICU, "iso-8859-8"},
    {"x-mac-cyrillic", WAY_ICU, "x-mac-cyrillic"},
    {"unicode-1-1-utf-7", WAY_ICU, "utf-7"},
};

/* 0x80 to 0x9f of windows-1252; five of them have no character and stay controls (WHATWG). */
static const uint16_t table_1252[32] = {
    0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8D,   0x017D, 0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178,
};

static void add_1252(struct buf *out, uint8_t c)
{
    utf8_add(out, c >= 0x80 && c < 0xA0 ? table_1252[c - 0x80] : c);
}

/* Lower case, blanks cut; false if it cannot be a name. */
static bool normal_name(struct slice name, char ret[NAME_MAX_])
{
    name = slice_trim(name);
    if (name.n >= NAME_MAX_)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] <= ' ' || name.p[i] >= 0x7F)
            return false;
        ret[i] = (char)byte_lower(name.p[i]);
    }
    ret[name.n] = '\0';
    return true;
}

static UConverter *icu_open(const char *name)
{
    UErrorCode status = U_ZERO_ERROR;
    UConverter *icu = ucnv_open(name, &status);

    return U_SUCCESS(status) ? icu : NULL;
}

static enum way way_of(struct slice name, char ret_name[NAME_MAX_])
{
    if (!normal_name(name, ret_name))
        return WAY_GUESS;
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
        if (strcmp(aliases[i].name, ret_name) == 0) {
            if (aliases[i].icu)
                strcpy(ret_name, aliases[i].icu);
            return aliases[i].way;
        }
    }
    return WAY_ICU;
}

/* A converter of that name that nobody uses, out of the table. */
static struct charset *kept_take(enum way way, const char *name)
{
    struct kept *k = kept_of_thread();
    struct charset *cs;

    for (size_t i = 0; i < k->n; i++) {
        cs = k->items[i];
        if (cs->way == way && strcmp(cs->name, name) == 0) {
            memmove(k->items + i, k->items + i + 1, (--k->n - i) * sizeof k->items[0]);
            return cs;
        }
    }
    return NULL;
}

struct charset *charset_open(struct slice name)
{
    char normal[NAME_MAX_] = "";
    enum way way = way_of(name, normal);
    struct charset *cs = kept_take(way, way == WAY_ICU ? normal : "");

    if (cs)
        return cs;
    cs = NEW(struct charset);
    cs->way = way;
    if (way == WAY_ICU) {
        cs->icu = icu_open(normal);
        if (cs->icu)
            strcpy(cs->name, normal);
        else
            cs->way = WAY_GUESS;
    }
    return cs;
}

void charset_close(struct charset *cs)
{
    struct kept *k = kept_of_thread();

    if (cs->icu)
        ucnv_resetToUnicode(cs->icu);
    cs->nheld = 0;
    if (k->n == KEPT_MAX)
        charset_free(k->items[--k->n]);
    memmove(k->items + 1, k->items, k->n * sizeof k->items[0]);
    k->items[0] = cs;
    k->n++;
}

bool charset_known(struct slice name)
{
    struct charset *cs = charset_open(name);
    bool known = cs->way != WAY_GUESS || slice_ieq(slice_trim(name), S("us-ascii"));

    charset_close(cs);
    return known;
}

static void damaged(struct charset *cs, struct buf *out, uint8_t c)
{
    if (cs->way == WAY_GUESS)
        add_1252(out, c);
    else
        buf_add_str(out, "\xEF\xBF\xBD");
}

/* Does s start with a sequence that may go on behind its end? */
static bool sequence_cut(struct slice s)
{
    static const uint8_t rest[3] = {0x80, 0x80, 0x80};
    uint8_t whole[4];
    size_t want = s.p[0] >= 0xF0 ? 4 : s.p[0] >= 0xE0 ? 3 : 2, n;

    if (s.p[0] < 0xC2 || s.p[0] > 0xF4 || s.n >= want)
        return false;
    memcpy(whole, s.p, s.n);
    memcpy(whole + s.n, rest, want - s.n);
    if (s.n == 1 && (s.p[0] == 0xE0 || s.p[0] == 0xF0))
        whole[1] = 0xA0; /* shorter forms would be overlong */
    return utf8_next(slice_of(whole, want), &n) >= 0;
}

static size_t ascii_run(struct slice s)
{
    size_t i = 0;
    uint64_t word;

    for (; i + 8 <= s.n; i += 8) {
        memcpy(&word, s.p + i, 8);
        if (word & 0x8080808080808080u)
            break;
    }
    while (i < s.n && s.p[i] < 0x80)
        i++;
    return i;
}

/* The well-formed run at the front. */
static size_t utf8_run(struct slice s)
{
    size_t i = 0, n;

    while (i < s.n) {
        i += ascii_run(slice_skip(s, i));
        if (i == s.n || utf8_next(slice_skip(s, i), &n) < 0)
            break;
        i += n;
    }
    return i;
}

/* All of s but a sequence cut at its end; how many octets were taken. */
static size_t utf8_some(struct charset *cs, struct buf *out, struct slice s, bool last)
{
    size_t at = 0, n;

    while (at < s.n) {
        n = utf8_run(slice_skip(s, at));
        buf_add(out, s.p + at, n);
        at += n;
        if (at == s.n || (!last && sequence_cut(slice_skip(s, at))))
            break;
        damaged(cs, out, s.p[at]);
        at++;
    }
    return at;
}

static void utf8_convert(struct charset *cs, struct buf *out, struct slice in, bool last)
{
    size_t n;

    while (cs->nheld > 0 && (in.n > 0 || last)) {
        if (in.n > 0 && cs->nheld < sizeof cs->held) {
            cs->held[cs->nheld++] = in.p[0];
            in = slice_skip(in, 1);
        }
        n = utf8_some(cs, out, slice_of(cs->held, cs->nheld), last && in.n == 0);
        cs->nheld = (uint8_t)(cs->nheld - n);
        memmove(cs->held, cs->held + n, cs->nheld);
    }
    n = utf8_some(cs, out, in, last);
    if (n < in.n) {
        cs->nheld = (uint8_t)(in.n - n);
        memcpy(cs->held, in.p + n, cs->nheld);
    }
}

static void add_utf16(struct buf *out, const UChar *u, int32_t n)
{
    UChar32 c;

    for (int32_t i = 0; i < n;) {
        U16_NEXT(u, i, n, c);
        utf8_add(out, U_IS_SURROGATE(c) ? 0xFFFD : (uint32_t)c);
    }
}

static void icu_convert(struct charset *cs, struct buf *out, struct slice in, bool last)
{
    UChar units[CHUNK + 1], *to;
    const char *from = (const char *)in.p, *end = from + in.n;
    UErrorCode status;
    int32_t n, kept = 0;

    do {
        status = U_ZERO_ERROR;
        to = units + kept;
        ucnv_toUnicode(cs->icu, &to, units + CHUNK, &from, end, NULL, last, &status);
        n = (int32_t)(to - units);
        /* a pair must not be torn: its first half waits for the next round */
        kept = status == U_BUFFER_OVERFLOW_ERROR && n > 0 && U16_IS_LEAD(units[n - 1]);
        add_utf16(out, units, n - kept);
        if (kept)
            units[0] = units[n - 1];
    } while (status == U_BUFFER_OVERFLOW_ERROR);
}

void charset_to_utf8(struct charset *cs, struct buf *out, struct slice in, bool last)
{
    size_t n;

    switch (cs->way) {
    case WAY_UTF8:
    case WAY_GUESS:
        utf8_convert(cs, out, in, last);
        break;
    case WAY_1252:
        while (in.n > 0) {
            n = ascii_run(in);
            buf_add(out, in.p, n);
            if (n < in.n)
                add_1252(out, in.p[n++]);
            in = slice_skip(in, n);
        }
        break;
    case WAY_ICU:
        icu_convert(cs, out, in, last);
        break;
    }
}

void charset_convert(struct buf *out, struct slice name, struct slice in)
{
    struct charset *cs = charset_open(name);

    charset_to_utf8(cs, out, in, true);
    charset_close(cs);
}
