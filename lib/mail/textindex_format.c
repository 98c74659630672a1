/* SPDX-License-Identifier: MPL-2.0 */
/* Lists are Rice codes of the gaps between ordinals, or, of what most messages hold, between those
 * that are not in it. The parameter follows from both counts; so the code is within some hundredths
 * of what random lists need at least.
 *
 *   head   format, segment(8), part(4), text version, n, bits and bytes of each kind, ids as
 *          differences, number of open messages and their ordinals as differences
 *   part   format, segment(8), part(4), n, number of lists, octets of the dictionary;
 *          dictionary: gram as difference, count, octets; then the lists
 *
 * each with the check at its end.
 */
#include "lib/mail/textindex_format.h"

#include <stdlib.h>

#include "lib/base/digest.h"
#include "lib/base/mem.h"

#define CHECK_SIZE 8

/* --- frames ---------------------------------------------------------------------------------- */

static void frame_begin(struct buf *out, uint64_t segment, uint32_t part)
{
    buf_add_byte(out, TEXTINDEX_FORMAT);
    buf_add_be64(out, segment);
    buf_add_be32(out, part);
}

static void frame_end(struct buf *out, size_t start)
{
    uint8_t hash[SHA256_SIZE];

    digest_sha256(slice_skip(buf_slice(out), start), hash);
    buf_add(out, hash, CHECK_SIZE);
}

static int frame_open(struct slice bytes, uint64_t segment, uint32_t part, struct cursor *ret)
{
    uint8_t hash[SHA256_SIZE];
    struct cursor in;

    if (bytes.n && bytes.p[0] > TEXTINDEX_FORMAT)
        return -ERR_UNAVAILABLE;
    if (bytes.n < CHECK_SIZE)
        return -ERR_INVALID;
    digest_sha256(slice_sub(bytes, 0, bytes.n - CHECK_SIZE), hash);
    in = cursor_of(slice_sub(bytes, 0, bytes.n - CHECK_SIZE));
    if (memcmp(hash, bytes.p + bytes.n - CHECK_SIZE, CHECK_SIZE) != 0 ||
        cursor_u8(&in) != TEXTINDEX_FORMAT || cursor_be64(&in) != segment ||
        cursor_be32(&in) != part || in.bad)
        return -ERR_INVALID;
    *ret = in;
    return 0;
}

/* --- the describing document ----------------------------------------------------------------- */

static void add_ids(const struct textindex_head *h, struct buf *out)
{
    uint64_t before = 0;

    for (uint32_t i = 0; i < h->n; i++) {
        buf_add_varint(out, h->ids[i] - before);
        before = h->ids[i];
    }
}

static bool is_open(const struct textindex_head *h, uint32_t i)
{
    return h->open[i / 8] >> i % 8 & 1;
}

static void add_open(const struct textindex_head *h, struct buf *out)
{
    uint32_t count = 0, before = 0;

    for (uint32_t i = 0; i < h->n; i++)
        count += is_open(h, i);
    buf_add_varint(out, count);
    for (uint32_t i = 0; i < h->n; i++)
        if (is_open(h, i)) {
            buf_add_varint(out, i - before);
            before = i;
        }
}

void textindex_head_encode(const struct textindex_head *h, struct buf *out)
{
    size_t start = out->n;

    frame_begin(out, h->segment, TEXTINDEX_HEAD);
    buf_add_varint(out, h->text_version);
    buf_add_varint(out, h->n);
    for (size_t k = 0; k < TEXTINDEX_KINDS_; k++) {
        buf_add_byte(out, h->bits[k]);
        buf_add_varint(out, h->bytes[k]);
    }
    add_ids(h, out);
    add_open(h, out);
    frame_end(out, start);
}

static bool read_ids(struct cursor *in, struct textindex_head *h)
{
    uint64_t id = 0, step;

    h->ids = NEW_ARRAY(uint64_t, h->n);
    for (uint32_t i = 0; i < h->n; i++) {
        step = cursor_varint(in);
        if (in->bad || step > UINT64_MAX - id || (i && !step))
            return false;
        h->ids[i] = id += step;
    }
    return true;
}

static bool read_open(struct cursor *in, struct textindex_head *h)
{
    uint64_t count = cursor_varint(in), at = 0;

    h->open = NEW_ARRAY(uint8_t, h->n / 8 + 1);
    for (uint64_t i = 0; i < count; i++) {
        at += cursor_varint(in);
        if (in->bad || at >= h->n)
            return false;
        h->open[at / 8] |= (uint8_t)(1 << at % 8);
    }
    return !in->bad && cursor_left(in) == 0;
}

int textindex_head_decode(struct slice bytes, uint64_t segment, struct textindex_head *ret)
{
    struct textindex_head h = {.segment = segment};
    struct cursor in;
    uint64_t version, n;
    int r = frame_open(bytes, segment, TEXTINDEX_HEAD, &in);

    if (r < 0)
        return r;
    version = cursor_varint(&in);
    n = cursor_varint(&in);
    for (size_t k = 0; k < TEXTINDEX_KINDS_; k++) {
        h.bits[k] = cursor_u8(&in);
        h.bytes[k] = cursor_varint(&in);
        if (h.bits[k] > TEXTINDEX_PART_BITS)
            return -ERR_INVALID;
    }
    if (in.bad || version > UINT32_MAX || n == 0 || n > TEXTINDEX_MESSAGES_MAX)
        return -ERR_INVALID;
    h.text_version = (uint32_t)version;
    h.n = (uint32_t)n;
    if (!read_ids(&in, &h) || !read_open(&in, &h)) {
        textindex_head_done(&h);
        return -ERR_INVALID;
    }
    *ret = h;
    return 0;
}

void textindex_head_done(struct textindex_head *h)
{
    free(h->ids);
    free(h->open);
    h->ids = NULL;
    h->open = NULL;
}

/* --- Rice codes ------------------------------------------------------------------------------ */

/* The best parameter for m of n is log2(0.69 n/m). */
static unsigned rice_parameter(uint32_t n, uint32_t m)
{
    uint64_t mean = (uint64_t)n * 11 / ((uint64_t)m * 16);

    return mean ? 63u - (unsigned)__builtin_clzll(mean) : 0;
}

struct bit_writer {
    struct buf *out;
    uint64_t bits; /* the first in the lowest */
    unsigned n;
};

static void put_bits(struct bit_writer *w, uint64_t value, unsigned n)
{
    w->bits |= value << w->n;
    w->n += n;
    for (; w->n >= 8; w->n -= 8, w->bits >>= 8)
        buf_add_byte(w->out, (uint8_t)w->bits);
}

static void put_gap(struct bit_writer *w, uint32_t gap, unsigned k)
{
    uint32_t ones = gap >> k;

    for (; ones >= 32; ones -= 32)
        put_bits(w, UINT32_MAX, 32);
    put_bits(w, ((uint64_t)1 << ones) - 1, ones + 1);
    put_bits(w, gap & ((1u << k) - 1), k);
}

static void end_bits(struct bit_writer *w)
{
    if (w->n)
        buf_add_byte(w->out, (uint8_t)w->bits);
}

static void put_those(struct bit_writer *w, const uint32_t *ordinals, uint32_t count, unsigned k)
{
    uint32_t next = 0;

    for (uint32_t i = 0; i < count; i++) {
        put_gap(w, ordinals[i] - next, k);
        next = ordinals[i] + 1;
    }
}

static void put_others(struct bit_writer *w, const uint32_t *ordinals, uint32_t count, uint32_t n,
                       unsigned k)
{
    uint32_t next = 0, at = 0;

    for (uint32_t i = 0; i <= count; i++) {
        uint32_t end = i < count ? ordinals[i] : n;

        for (; at < end; at++) {
            put_gap(w, at - next, k);
            next = at + 1;
        }
        at = end + 1;
    }
}

static void put_list(struct buf *out, const uint32_t *ordinals, uint32_t count, uint32_t n)
{
    struct bit_writer w = {.out = out};

    if (count <= n / 2)
        put_those(&w, ordinals, count, rice_parameter(n, count));
    else if (count < n)
        put_others(&w, ordinals, count, n, rice_parameter(n, n - count));
    end_bits(&w);
}

struct bit_reader {
    const uint8_t *p, *end;
    uint64_t bits;
    unsigned n;
    bool bad;
};

static void refill(struct bit_reader *r)
{
    while (r->n <= 56 && r->p < r->end) {
        r->bits |= (uint64_t)*r->p++ << r->n;
        r->n += 8;
    }
}

static void drop_bits(struct bit_reader *r, unsigned n)
{
    r->bits = n < 64 ? r->bits >> n : 0;
    r->n -= n;
}

static uint32_t get_gap(struct bit_reader *r, unsigned k, uint32_t max)
{
    uint64_t ones = 0, low;
    unsigned run;

    for (;;) {
        refill(r);
        run = ~r->bits ? (unsigned)__builtin_ctzll(~r->bits) : 64;
        if (run < r->n)
            break;
        ones += r->n;
        if (!r->n || ones > max) {
            r->bad = true;
            return 0;
        }
        drop_bits(r, r->n);
    }
    drop_bits(r, run + 1);
    ones += run;
    refill(r);
    if (r->n < k || ones > max >> k) {
        r->bad = true;
        return 0;
    }
    low = r->bits & (((uint64_t)1 << k) - 1);
    drop_bits(r, k);
    return (uint32_t)(ones << k | low);
}

static void set_all(uint64_t *bitmap, uint32_t n)
{
    memset(bitmap, 0xFF, n / 64 * 8);
    if (n % 64)
        bitmap[n / 64] = ((uint64_t)1 << n % 64) - 1;
}

bool textindex_list_bitmap(const struct textindex_list *list, uint32_t n, uint64_t *bitmap)
{
    struct bit_reader r = {.p = list->bytes.p, .end = list->bytes.p + list->bytes.n};
    bool others = list->count > n / 2;
    uint32_t m = others ? n - list->count : list->count, at = 0;
    unsigned k = m ? rice_parameter(n, m) : 0;

    if (list->count == 0 || list->count > n)
        return false;
    if (others)
        set_all(bitmap, n);
    for (uint32_t i = 0; i < m; i++) {
        at += get_gap(&r, k, n);
        if (r.bad || at >= n)
            return false;
        bitmap[at / 64] ^= (uint64_t)1 << at % 64;
        at++;
    }
    return true;
}

/* --- parts ----------------------------------------------------------------------------------- */

void textindex_part_begin(struct textindex_part_writer *w, uint32_t n)
{
    *w = (struct textindex_part_writer){
        .n = n, .dictionary = buf_make(BUF_MAX_DEFAULT), .lists = buf_make(BUF_MAX_DEFAULT)};
}

void textindex_part_add(struct textindex_part_writer *w, uint32_t gram, const uint32_t *ordinals,
                        size_t count)
{
    size_t before = w->lists.n;

    put_list(&w->lists, ordinals, (uint32_t)count, w->n);
    buf_add_varint(&w->dictionary, gram - w->last);
    buf_add_varint(&w->dictionary, count);
    buf_add_varint(&w->dictionary, w->lists.n - before);
    w->last = gram;
    w->count++;
}

void textindex_part_end(struct textindex_part_writer *w, uint64_t segment, uint32_t part,
                        struct buf *out)
{
    size_t start = out->n;

    frame_begin(out, segment, part);
    buf_add_varint(out, w->n);
    buf_add_varint(out, w->count);
    buf_add_string(out, buf_slice(&w->dictionary));
    buf_add_slice(out, buf_slice(&w->lists));
    frame_end(out, start);
    w->dictionary.n = w->lists.n = 0;
    w->count = w->last = 0;
}

void textindex_part_done(struct textindex_part_writer *w)
{
    buf_done(&w->dictionary);
    buf_done(&w->lists);
}

int textindex_part_check(struct slice bytes, uint64_t segment, uint32_t part)
{
    struct cursor in;

    return frame_open(bytes, segment, part, &in);
}

void textindex_part_open(struct textindex_part_reader *r, struct slice bytes, uint32_t n)
{
    struct cursor in = cursor_of(slice_sub(bytes, 0, bytes.n - MIN(bytes.n, (size_t)CHECK_SIZE)));
    uint64_t count;

    cursor_bytes(&in, 13);
    *r = (struct textindex_part_reader){.n = n};
    r->bad = cursor_varint(&in) != n;
    count = cursor_varint(&in);
    r->dictionary = cursor_of(cursor_string(&in));
    r->bad = r->bad || in.bad || count > cursor_left(&r->dictionary);
    r->left = r->bad ? 0 : (uint32_t)count;
    r->lists = cursor_bytes(&in, cursor_left(&in));
}

bool textindex_part_next(struct textindex_part_reader *r, struct textindex_list *ret)
{
    uint64_t step, count, n;

    if (r->bad || !r->left)
        return false;
    step = cursor_varint(&r->dictionary);
    count = cursor_varint(&r->dictionary);
    n = cursor_varint(&r->dictionary);
    if (r->dictionary.bad || step > 0xFFFFFF - r->next || count == 0 || count > r->n ||
        n > r->lists.n) {
        r->bad = true;
        return false;
    }
    r->next += (uint32_t)step;
    *ret = (struct textindex_list){r->next, (uint32_t)count, slice_sub(r->lists, 0, (size_t)n)};
    r->lists = slice_skip(r->lists, (size_t)n);
    r->left--;
    return true;
}
