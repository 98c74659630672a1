/* SPDX-License-Identifier: MPL-2.0 */
/* Segments as bytes. Unpacked: mailbox, first uid, last uid, count; keywords; sets of flags (system
 * flags and indexes of keywords); then the columns: uid, modseq, id, size, date, saved, flags. */
#include <stdlib.h>
#include <zstd.h>

#include "lib/base/mem.h"
#include "lib/mail/snapshot_format_impl.h"

#define ZSTD_LEVEL 3
#define ROW_LEAST                                                                                  \
    8 /* bytes of a message before packing: seven columns, one of them of two bytes                \
       */
#define DATE_MAX ((int64_t)1 << 40) /* as in record.c */

int damaged(const char *what, struct error *err)
{
    return error_set(err, ERR_INTERNAL, "%s is damaged", what);
}

void pack(uint8_t version, const struct buf *raw, struct buf *out)
{
    size_t bound = ZSTD_compressBound(raw->n), n;
    CLEANUP_FREE uint8_t *packed = mem_alloc(bound);

    n = ZSTD_compress(packed, bound, raw->p, raw->n, ZSTD_LEVEL);
    if (ZSTD_isError(n)) {
        out->full = true;
        return;
    }
    buf_add_byte(out, version);
    buf_add(out, packed, n);
}

int unpack(const char *what, uint8_t version, struct slice bytes, struct buf *raw,
           struct error *err)
{
    unsigned long long size;
    uint8_t *to;
    size_t n;

    if (!bytes.n || bytes.p[0] == 0)
        return damaged(what, err);
    if (bytes.p[0] > version)
        return error_set(err, ERR_INTERNAL, "%s is of a newer version (%u)", what, bytes.p[0]);
    bytes = slice_skip(bytes, 1);
    size = ZSTD_getFrameContentSize(bytes.p, bytes.n);
    if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR || size > raw->max)
        return damaged(what, err);
    to = buf_reserve(raw, (size_t)size);
    if (!to)
        return damaged(what, err);
    n = ZSTD_decompress(to, (size_t)size, bytes.p, bytes.n);
    if (ZSTD_isError(n) || n != size)
        return damaged(what, err);
    raw->n = n;
    return 0;
}

uint32_t cursor_u32(struct cursor *in)
{
    uint64_t v = cursor_varint(in);

    in->bad |= v > UINT32_MAX;
    return in->bad ? 0 : (uint32_t)v;
}

/* --- columns --------------------------------------------------------------------------------- */

static size_t varint_size(int64_t delta)
{
    uint64_t v = (uint64_t)delta << 1 ^ (uint64_t)(delta >> 63);

    return 1 + (63 - (size_t)__builtin_clzll(v | 1)) / 7;
}

/* Each value as its difference from the one before, or, where that is shorter, from a column that
 * is known already. */
static void put_column(const int64_t *values, const int64_t *base, size_t n, struct buf *out)
{
    size_t by_previous = 0, by_base = 0;
    int64_t previous = 0;
    bool use_base;

    for (size_t i = 0; i < n; previous = values[i++]) {
        by_previous += varint_size(values[i] - previous);
        by_base += base ? varint_size(values[i] - base[i]) : 10;
    }
    use_base = by_base < by_previous;
    buf_add_byte(out, use_base);
    previous = 0;
    for (size_t i = 0; i < n; previous = values[i++])
        buf_add_svarint(out, values[i] - (use_base ? base[i] : previous));
}

/* The messages of a segment, each column in one piece. */
struct columns {
    size_t n;
    uint32_t *uid, *flags;
    int64_t *modseq, *made, *date, *saved, *size; /* made: milliseconds in the message id */
    int64_t *made_s;                              /* the same in seconds: the base of date */
    uint16_t *rest;                               /* random bits in the message id */
    struct arena arena;
};

static void columns_init(struct columns *c, size_t n)
{
    *c = (struct columns){.n = n};
    c->uid = arena_array(&c->arena, n, sizeof *c->uid);
    c->flags = arena_array(&c->arena, n, sizeof *c->flags);
    c->modseq = arena_array(&c->arena, n, sizeof *c->modseq);
    c->made = arena_array(&c->arena, n, sizeof *c->made);
    c->made_s = arena_array(&c->arena, n, sizeof *c->made_s);
    c->date = arena_array(&c->arena, n, sizeof *c->date);
    c->saved = arena_array(&c->arena, n, sizeof *c->saved);
    c->size = arena_array(&c->arena, n, sizeof *c->size);
    c->rest = arena_array(&c->arena, n, sizeof *c->rest);
}

static void columns_done(struct columns *c)
{
    arena_done(&c->arena);
}

static void columns_fill(struct columns *c, const struct rows *rows)
{
    size_t at = 0;

    for (size_t i = 0; i < rows->n; i++) {
        const struct chunk *k = rows->chunks[i];

        for (size_t j = 0; j < k->n; j++, at++) {
            c->uid[at] = k->uid[j];
            c->flags[at] = k->flags[j];
            c->modseq[at] = (int64_t)k->modseq[j];
            c->made[at] = (int64_t)(k->id[j] >> 16);
            c->made_s[at] = c->made[at] / 1000;
            c->rest[at] = (uint16_t)k->id[j];
            c->date[at] = k->date[j];
            c->saved[at] = k->saved[j];
            c->size[at] = k->size[j];
        }
    }
}

static void put_columns(const struct columns *c, struct buf *out)
{
    for (size_t i = 1; i < c->n; i++)
        buf_add_varint(out, c->uid[i] - c->uid[i - 1] - 1);
    put_column(c->modseq, NULL, c->n, out);
    put_column(c->made, NULL, c->n, out);
    for (size_t i = 0; i < c->n; i++)
        buf_add_be16(out, c->rest[i]);
    for (size_t i = 0; i < c->n; i++)
        buf_add_varint(out, (uint64_t)c->size[i]);
    put_column(c->date, c->made_s, c->n, out);
    put_column(c->saved, c->date, c->n, out);
    for (size_t i = 0; i < c->n; i++)
        buf_add_varint(out, c->flags[i]);
}

/* --- flags ----------------------------------------------------------------------------------- */

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int compare_slices(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

/* The sets that a segment uses, and their keywords: by index of the segment's own. */
struct dictionary {
    uint32_t *sets; /* indexes in the account's table, sorted */
    size_t n_sets;
    struct slice *keywords; /* sorted */
    size_t n_keywords;
};

static void collect_keywords(struct dictionary *d, const struct flagsets *t, struct arena *arena)
{
    size_t n = 0, kept = 0;

    for (size_t i = 0; i < d->n_sets; i++)
        n += flagsets_at(t, d->sets[i])->n_keywords;
    d->keywords = arena_array(arena, n, sizeof *d->keywords);
    n = 0;
    for (size_t i = 0; i < d->n_sets; i++) {
        const struct flagset *s = flagsets_at(t, d->sets[i]);

        for (size_t k = 0; k < s->n_keywords; k++)
            d->keywords[n++] = s->keywords[k];
    }
    qsort(d->keywords, n, sizeof *d->keywords, compare_slices);
    for (size_t i = 0; i < n; i++)
        if (!kept || !slice_eq(d->keywords[kept - 1], d->keywords[i]))
            d->keywords[kept++] = d->keywords[i];
    d->n_keywords = kept;
}

static void put_set(const struct dictionary *d, const struct flagset *s, struct buf *out)
{
    buf_add_byte(out, s->system);
    buf_add_varint(out, s->n_keywords);
    for (size_t i = 0; i < s->n_keywords; i++) {
        const struct slice *at = bsearch(&s->keywords[i], d->keywords, d->n_keywords,
                                         sizeof *d->keywords, compare_slices);

        buf_add_varint(out, (uint64_t)(at - d->keywords));
    }
}

/* Writes the sets in use and makes c->flags the segment's own indexes. */
static void put_dictionary(struct columns *c, const struct flagsets *t, struct buf *out)
{
    struct dictionary d = {.sets = arena_array(&c->arena, c->n, sizeof *d.sets)};

    memcpy(d.sets, c->flags, c->n * sizeof *d.sets);
    qsort(d.sets, c->n, sizeof *d.sets, compare_u32);
    for (size_t i = 0; i < c->n; i++)
        if (!d.n_sets || d.sets[d.n_sets - 1] != d.sets[i])
            d.sets[d.n_sets++] = d.sets[i];
    collect_keywords(&d, t, &c->arena);
    buf_add_varint(out, d.n_keywords);
    for (size_t i = 0; i < d.n_keywords; i++)
        buf_add_string(out, d.keywords[i]);
    buf_add_varint(out, d.n_sets);
    for (size_t i = 0; i < d.n_sets; i++)
        put_set(&d, flagsets_at(t, d.sets[i]), out);
    for (size_t i = 0; i < c->n; i++) {
        const uint32_t *at = bsearch(&c->flags[i], d.sets, d.n_sets, sizeof *d.sets, compare_u32);

        c->flags[i] = (uint32_t)(at - d.sets);
    }
}

static void get_keywords(struct cursor *in, struct arena *arena, struct dictionary *d)
{
    uint64_t n = cursor_varint(in);

    in->bad |= n > cursor_left(in) / 2;
    if (in->bad)
        return;
    d->keywords = arena_array(arena, (size_t)n, sizeof *d->keywords);
    for (d->n_keywords = 0; d->n_keywords < n; d->n_keywords++) {
        d->keywords[d->n_keywords] = cursor_string(in);
        in->bad |= !keyword_valid(d->keywords[d->n_keywords]);
    }
}

static uint32_t get_set(struct cursor *in, struct arena *arena, const struct dictionary *d,
                        struct flagsets *t)
{
    uint8_t system = cursor_u8(in);
    uint64_t n = cursor_varint(in);
    struct slice *keywords;

    in->bad |= system > FLAGS_ALL || n > d->n_keywords || n > cursor_left(in);
    if (in->bad)
        return 0;
    keywords = arena_array(arena, (size_t)n, sizeof *keywords);
    for (size_t i = 0; i < n; i++) {
        uint64_t at = cursor_varint(in);

        in->bad |= at >= d->n_keywords;
        if (in->bad)
            return 0;
        keywords[i] = d->keywords[at];
        in->bad |= i && keyword_cmp(keywords[i - 1], keywords[i]) >= 0;
    }
    return in->bad ? 0 : flagsets_intern(t, system, keywords, (size_t)n)->index;
}

static void get_dictionary(struct cursor *in, struct arena *arena, struct dictionary *d,
                           struct flagsets *t, size_t n_messages)
{
    uint64_t n;

    get_keywords(in, arena, d);
    n = cursor_varint(in);
    in->bad |= !n || n > n_messages || n > cursor_left(in) / 2;
    if (in->bad)
        return;
    d->sets = arena_array(arena, (size_t)n, sizeof *d->sets);
    for (; d->n_sets < n && !in->bad; d->n_sets++)
        d->sets[d->n_sets] = get_set(in, arena, d, t);
}

/* --- segments -------------------------------------------------------------------------------- */

void segment_encode(const struct snapshot_plan *plan, const struct snapshot_item *item,
                    struct buf *out)
{
    CLEANUP(buf_done) struct buf raw = buf_make(SEGMENT_RAW_MAX);
    CLEANUP(columns_done) struct columns c;

    columns_init(&c, item->segment->count);
    columns_fill(&c, segment_rows(item->segment));
    buf_add_varint(&raw, item->ref.mailbox);
    buf_add_varint(&raw, item->ref.first);
    buf_add_varint(&raw, item->ref.last);
    buf_add_varint(&raw, item->ref.count);
    put_dictionary(&c, plan->st->flagsets, &raw);
    put_columns(&c, &raw);
    if (buf_full(&raw))
        out->full = true;
    else
        pack(SEGMENT_VERSION, &raw, out);
}

/* --- reading columns --------------------------------------------------------------------------
 */

/* A column that put_column wrote, value by value; after a bad one values mean nothing. */
struct column {
    bool use_base;
    int64_t previous, least, most;
};

struct decoder {
    struct cursor in;
    const struct segment_ref *ref;
    struct dictionary sets;
    struct arena arena;
    struct column column; /* the one that is being read */
    uint64_t next_uid;    /* the least that comes next */
};

static void decoder_done(struct decoder *d)
{
    arena_done(&d->arena);
}

/* As cursor_varint. Nearly all are short, and there are millions of them: those are read in place.
 */
static inline uint64_t next_varint(struct cursor *in)
{
    const uint8_t *p = in->p;

    if (in->bad || in->end - p < 2)
        return cursor_varint(in);
    if (p[0] < 0x80) {
        in->p = p + 1;
        return p[0];
    }
    if (p[1] >= 0x80)
        return cursor_varint(in);
    in->p = p + 2;
    return (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
}

static inline uint32_t next_u32(struct cursor *in)
{
    uint64_t v = next_varint(in);

    in->bad |= v > UINT32_MAX;
    return in->bad ? 0 : (uint32_t)v;
}

static inline int64_t column_next(struct column *c, struct cursor *in, int64_t base)
{
    uint64_t zigzag = next_varint(in);
    int64_t delta = (int64_t)(zigzag >> 1) ^ -(int64_t)(zigzag & 1), v;

    in->bad |= __builtin_add_overflow(delta, c->use_base ? base : c->previous, &v);
    in->bad |= v < c->least || v > c->most;
    return c->previous = v;
}

static void get_uids(struct decoder *d, struct chunk *k)
{
    uint64_t next = d->next_uid;

    for (size_t i = 0; i < k->n; i++) {
        uint64_t uid = next > d->ref->first ? next + next_u32(&d->in) : next;

        d->in.bad |= uid > d->ref->last;
        k->uid[i] = (uint32_t)uid;
        next = uid + 1;
    }
    d->next_uid = next;
}

static void get_modseqs(struct decoder *d, struct chunk *k)
{
    struct column c = d->column;

    for (size_t i = 0; i < k->n; i++)
        k->modseq[i] = (uint64_t)column_next(&c, &d->in, 0);
    d->column = c;
}

/* The milliseconds of the ids. */
static void get_made(struct decoder *d, struct chunk *k)
{
    struct column c = d->column;

    for (size_t i = 0; i < k->n; i++)
        k->id[i] = (uint64_t)column_next(&c, &d->in, 0) << 16;
    d->column = c;
}

static void get_rest(struct decoder *d, struct chunk *k)
{
    struct slice bytes = cursor_bytes(&d->in, k->n * sizeof(uint16_t));

    for (size_t i = 0; i < bytes.n / sizeof(uint16_t); i++)
        k->id[i] |= get_be16(bytes.p + i * sizeof(uint16_t));
}

static void get_sizes(struct decoder *d, struct chunk *k)
{
    for (size_t i = 0; i < k->n; i++)
        k->size[i] = next_u32(&d->in);
}

static void get_dates(struct decoder *d, struct chunk *k)
{
    struct column c = d->column;

    for (size_t i = 0; i < k->n; i++)
        k->date[i] = column_next(&c, &d->in, (int64_t)(k->id[i] >> 16) / 1000);
    d->column = c;
}

static void get_saved(struct decoder *d, struct chunk *k)
{
    struct column c = d->column;

    for (size_t i = 0; i < k->n; i++)
        k->saved[i] = (uint32_t)column_next(&c, &d->in, k->date[i]);
    d->column = c;
}

static void get_flags(struct decoder *d, struct chunk *k)
{
    for (size_t i = 0; i < k->n; i++) {
        uint32_t at = next_u32(&d->in);

        d->in.bad |= at >= d->sets.n_sets;
        k->flags[i] = d->sets.sets[d->in.bad ? 0 : at];
    }
}

/* In the order in which they are stored; each is read straight into the chunks. */
static const struct {
    void (*get)(struct decoder *d, struct chunk *k);
    bool is_column, has_base;
    int64_t least, most;
} columns_read[] = {
    {get_uids},
    {get_modseqs, true, false, 1, INT64_MAX},
    {get_made, true, false, 0, ((int64_t)1 << 48) - 1},
    {get_rest},
    {get_sizes},
    {get_dates, true, true, -DATE_MAX, DATE_MAX},
    {get_saved, true, true, 0, UINT32_MAX},
    {get_flags},
};

static void column_begin(struct decoder *d, size_t at)
{
    uint8_t use_base = cursor_u8(&d->in);

    d->in.bad |= use_base > columns_read[at].has_base;
    d->column = (struct column){
        .use_base = use_base, .least = columns_read[at].least, .most = columns_read[at].most};
}

static void get_rows(struct decoder *d, struct rows *rows)
{
    d->next_uid = d->ref->first;
    for (size_t i = 0; i < ARRAY_LEN(columns_read); i++) {
        if (columns_read[i].is_column)
            column_begin(d, i);
        for (size_t k = 0; k < rows->n && !d->in.bad; k++)
            columns_read[i].get(d, rows->chunks[k]);
    }
    d->in.bad |= d->next_uid != (uint64_t)d->ref->last + 1;
}

/* Chunks for so many messages, whose columns are to be filled. */
static struct rows *rows_for(uint32_t n)
{
    struct rows *rows = rows_new();

    for (uint32_t size; n; n -= size) {
        struct chunk *k;

        size = MIN(n, CHUNK_MESSAGES);
        k = chunk_new(size);
        k->n = size;
        rows_add(rows, k);
    }
    return rows;
}

static int decode_rows(struct slice bytes, const struct segment_ref *ref, struct flagsets *t,
                       struct rows **ret, struct error *err)
{
    CLEANUP(buf_done) struct buf raw = buf_make(SEGMENT_RAW_MAX);
    CLEANUP(decoder_done) struct decoder d = {.ref = ref};
    struct rows *rows;
    int r = unpack("a segment", SEGMENT_VERSION, bytes, &raw, err);

    if (r < 0)
        return r;
    d.in = cursor_of(buf_slice(&raw));
    if (cursor_varint(&d.in) != ref->mailbox || cursor_varint(&d.in) != ref->first ||
        cursor_varint(&d.in) != ref->last || cursor_varint(&d.in) != ref->count || d.in.bad)
        return error_set(err, ERR_INTERNAL, "a segment is not the one that the manifest names");
    if (!ref->count || ref->count > SEGMENT_MESSAGES || ref->count > cursor_left(&d.in) / ROW_LEAST)
        return damaged("a segment", err);
    get_dictionary(&d.in, &d.arena, &d.sets, t, ref->count);
    if (d.in.bad)
        return damaged("a segment", err);
    rows = rows_for(ref->count);
    get_rows(&d, rows);
    if (d.in.bad || cursor_left(&d.in)) {
        rows_free(rows);
        return damaged("a segment", err);
    }
    *ret = rows;
    return 0;
}

static struct segment_ref ref_of(const struct mailbox *box, const struct segment *s)
{
    return (struct segment_ref){box->id, s->first, s->last, s->count,
                                atomic_load(&((struct segment *)s)->stamp)};
}

size_t mailbox_missing(const struct mailbox *box, uint32_t first, uint32_t last,
                       struct segment_ref *ret, size_t max)
{
    size_t n = 0;

    for (size_t i = mailbox_segment_at(box, first); i < box->n_segments; i++) {
        const struct segment *s = box->segments[i];

        if (s->first > last)
            break;
        if (segment_rows(s))
            continue;
        if (n < max)
            ret[n] = ref_of(box, s);
        n++;
    }
    return n;
}

int segment_attach(const struct mailbox *box, const struct segment_ref *ref, struct slice bytes,
                   struct error *err)
{
    size_t at = mailbox_segment_at(box, ref->first);
    struct segment *s = at < box->n_segments ? box->segments[at] : NULL;
    struct rows *rows = NULL, *none = NULL;
    int r;

    if (!s || s->first != ref->first || s->last != ref->last || s->count != ref->count)
        return error_set(err, ERR_NOTFOUND, "the mailbox has no such segment (any more)");
    if (segment_rows(s))
        return 0;
    r = decode_rows(bytes, ref, box->flagsets, &rows, err);
    if (r < 0)
        return r;
    if (!atomic_compare_exchange_strong(&s->rows, &none, rows))
        rows_free(rows); /* somebody else was first */
    return 0;
}
