/* SPDX-License-Identifier: MPL-2.0 */
/* Header lines in front of a message whose digest is known: what parsing all of it again would give
 * (a test compares the two), for a small part of the cost. Offsets in the section table are
 * relative, so only the root's header grows. */
#include "lib/base/mem.h"
#include "lib/mime/header.h"
#include "lib/mime/mdigest.h"
#include "lib/mime/mdigest_format.h"

struct prepend {
    struct slice head;
    uint64_t flags, unknown, seen;
    struct buf sections, fields;
};

/* As in mdigest_build.c: Received is covered for its newest field only. */
static bool is_single(int id)
{
    return slice_eq(mdigest_names[id], S("Received"));
}

static void put_field(struct prepend *p, int id, uint64_t offset, struct slice raw)
{
    if (is_single(id) && (p->seen >> id & 1)) {
        p->unknown |= (uint64_t)1 << id;
        p->flags &= ~(uint64_t)MDIGEST_ALL_FIELDS;
        return;
    }
    p->seen |= (uint64_t)1 << id;
    buf_add_byte(&p->fields, (uint8_t)id);
    buf_add_varint(&p->fields, offset);
    buf_add_string(&p->fields, raw);
}

/* Nothing but whole fields: each with a name and a line end, and no empty line. */
static int head_fields(struct prepend *p)
{
    struct header_reader r = header_reader_of(p->head);
    struct header_field f;
    size_t end = 0;

    while (header_next(&r, &f)) {
        int id = mdigest_field_id(f.name);

        if (!f.name.n || f.offset != end || f.raw.p[f.raw.n - 1] != '\n')
            return -ERR_INVALID;
        end = f.offset + f.raw.n;
        if (id < 0)
            p->flags &= ~(uint64_t)MDIGEST_ALL_FIELDS;
        else
            put_field(p, id, f.offset, f.raw);
    }
    return end == p->head.n ? 0 : -ERR_INVALID;
}

static int base_fields(struct prepend *p, struct slice fields)
{
    struct cursor c = cursor_of(fields);

    while (cursor_left(&c)) {
        uint8_t id = cursor_u8(&c);
        uint64_t offset = cursor_varint(&c);
        struct slice raw = cursor_string(&c);

        if (c.bad || id >= MDIGEST_NAMES)
            return -ERR_INVALID;
        put_field(p, id, offset + p->head.n, raw);
    }
    return c.bad ? -ERR_INVALID : 0;
}

static int grow_root(struct prepend *p, struct slice sections)
{
    struct cursor c = cursor_of(sections);
    uint8_t first = cursor_u8(&c);
    uint64_t gap = cursor_varint(&c), header = cursor_varint(&c);

    if (c.bad)
        return -ERR_INVALID;
    buf_add_byte(&p->sections, first);
    buf_add_varint(&p->sections, gap);
    buf_add_varint(&p->sections, header + p->head.n);
    buf_add_slice(&p->sections, slice_of(c.p, cursor_left(&c)));
    return 0;
}

static int prepend(struct prepend *p, struct mdigest *d)
{
    int res = 0;

    if (!(d->missing & MDIGEST_NO_FIELDS)) {
        res = head_fields(p);
        if (res == 0)
            res = base_fields(p, d->fields);
    }
    if (res == 0 && !(d->missing & MDIGEST_NO_SECTIONS))
        res = grow_root(p, d->sections);
    return res;
}

static void write_out(struct prepend *p, struct mdigest *d, uint64_t names, struct buf *out)
{
    struct slice *strings[MDIGEST_STRINGS];

    d->sections = buf_slice(&p->sections);
    d->fields = buf_slice(&p->fields);
    if (p->flags & MDIGEST_BASE_IS_SUBJECT)
        d->base_subject = (struct slice){NULL, 0};
    buf_add_byte(out, MDIGEST_VERSION);
    buf_add_varint(out, p->flags);
    buf_add_varint(out, d->missing);
    buf_add_varint(out, d->size + p->head.n);
    buf_add_varint(out, d->header_size + p->head.n);
    buf_add_svarint(out, d->date);
    buf_add_svarint(out, d->zone);
    mdigest_strings(d, strings);
    for (size_t i = 0; i < MDIGEST_STRINGS; i++)
        buf_add_string(out, *strings[i]);
    buf_add_varint(out, names);
    buf_add_varint(out, p->unknown);
}

/* What mdigest_open does not tell: flags as they stand, covered names, which are unknown. */
static void read_rest(struct slice digest, uint64_t *flags, uint64_t *names, uint64_t *unknown)
{
    struct cursor c = cursor_of(digest);

    cursor_u8(&c);
    *flags = cursor_varint(&c);
    cursor_varint(&c);
    cursor_varint(&c);
    cursor_varint(&c);
    cursor_svarint(&c);
    cursor_svarint(&c);
    for (size_t i = 0; i < MDIGEST_STRINGS; i++)
        cursor_string(&c);
    *names = cursor_varint(&c);
    *unknown = cursor_varint(&c);
}

int mdigest_prepend(struct slice digest, struct slice head, struct buf *out)
{
    struct prepend p = {.head = head};
    struct mdigest d;
    uint64_t names;
    int res = mdigest_open(&d, digest);

    if (res < 0)
        return res;
    read_rest(digest, &p.flags, &names, &p.unknown);
    p.sections = p.fields = buf_make(digest.n + head.n + 4096);
    res = prepend(&p, &d);
    if (res == 0)
        write_out(&p, &d, names, out);
    buf_done(&p.sections);
    buf_done(&p.fields);
    if (res == 0 && buf_full(out))
        return -ERR_LIMIT;
    return res;
}
