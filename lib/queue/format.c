/* SPDX-License-Identifier: MPL-2.0 */
/* To add a field: at the end of its document, under a raised format number, and a decoder that
 * still reads the one before. Readers ship before writers. */
#include "lib/queue/format.h"

#include <zstd.h>

#include "lib/base/mem.h"

#define STORED_FORMAT 2 /* 2: with solicit; what has none is written as 1 */
#define ENTRY_FORMAT  1
#define ROW_FORMAT    1
#define PIECE_FORMAT  1
#define ZSTD_LEVEL    3
#define KEY_ROW       22

enum { PACK_PLAIN, PACK_ZSTD };

static int damaged(struct error *err, const char *what)
{
    return error_set(err, ERR_INTERNAL, "damaged %s in the queue", what);
}

/* The format, 1 to the newest one that is known. */
static int check_format(struct cursor *in, unsigned newest, const char *what, struct error *err)
{
    unsigned got = cursor_u8(in);

    if (in->bad || got == 0)
        return damaged(err, what);
    if (got > newest)
        return error_set(err, ERR_INTERNAL, "%s of format %u, which this version does not know",
                         what, got);
    return (int)got;
}

static void add_str(struct buf *out, const char *s)
{
    buf_add_string(out, slice_str(s));
}

static const char *take_str(struct cursor *in, struct arena *arena)
{
    return arena_str(arena, cursor_string(in));
}

static void take_tag(struct cursor *in, struct queue_tag *ret)
{
    struct slice bytes = cursor_bytes(in, QUEUE_TAG_SIZE);

    if (bytes.n)
        memcpy(ret->b, bytes.p, QUEUE_TAG_SIZE);
}

/* --- envelopes ------------------------------------------------------------------------------- */

enum { KIND_ENVELOPE = 1, KIND_TOMBSTONE = 2 };
enum { FLAG_UTF8 = 1, FLAG_BY_TRACE = 2, FLAG_REQUIRE_TLS = 4, FLAG_TLS_OPTIONAL = 8, FLAGS = 15 };

static unsigned envelope_flags(const struct queue_envelope *e)
{
    return (e->utf8 ? FLAG_UTF8 : 0) | (e->by_trace ? FLAG_BY_TRACE : 0) |
           (e->require_tls ? FLAG_REQUIRE_TLS : 0) | (e->tls_optional ? FLAG_TLS_OPTIONAL : 0);
}

void queue_stored_encode(const struct queue_stored *stored, struct buf *out)
{
    const struct queue_envelope *e = &stored->envelope;
    bool solicit = !stored->tombstone && e->solicit && *e->solicit;

    buf_add_byte(out, solicit ? STORED_FORMAT : STORED_FORMAT - 1);
    buf_add_byte(out, stored->tombstone ? KIND_TOMBSTONE : KIND_ENVELOPE);
    buf_add(out, stored->tag.b, QUEUE_TAG_SIZE);
    if (stored->tombstone)
        return;
    buf_add_varint(out, stored->size);
    buf_add_varint(out, stored->entries);
    buf_add_be64(out, e->account);
    add_str(out, e->sender);
    buf_add_byte(out, (uint8_t)envelope_flags(e));
    buf_add_byte(out, (uint8_t)e->body);
    buf_add_byte(out, (uint8_t)e->ret);
    add_str(out, e->envid);
    buf_add_svarint(out, e->hold_until_ms);
    buf_add_byte(out, (uint8_t)e->by);
    buf_add_svarint(out, e->by_ms);
    buf_add_svarint(out, e->priority);
    buf_add_string(out, e->head);
    if (solicit)
        add_str(out, e->solicit);
}

static int check_envelope(const struct queue_stored *s, unsigned flags, unsigned body, unsigned ret,
                          unsigned by, struct error *err)
{
    int priority = s->envelope.priority;

    if (flags > FLAGS || body > QUEUE_BINARYMIME || ret > QUEUE_RET_HDRS || by > QUEUE_BY_NOTIFY ||
        priority < -9 || priority > 9 || s->entries > UINT16_MAX + 1u)
        return damaged(err, "envelope");
    return 0;
}

int queue_stored_decode(struct slice head, struct arena *arena, struct queue_stored *ret,
                        struct error *err)
{
    struct cursor in = cursor_of(head);
    struct queue_stored s = {0};
    struct queue_envelope *e = &s.envelope;
    unsigned kind, flags, body, ret_what, by;
    int64_t priority;
    int format = check_format(&in, STORED_FORMAT, "an envelope", err), r = 0;

    if (format < 0)
        return format;
    kind = cursor_u8(&in);
    take_tag(&in, &s.tag);
    s.tombstone = kind == KIND_TOMBSTONE;
    if (in.bad || (kind != KIND_ENVELOPE && !s.tombstone))
        return damaged(err, "envelope");
    if (!s.tombstone) {
        s.size = cursor_varint(&in);
        s.entries = (unsigned)MIN(cursor_varint(&in), (uint64_t)UINT32_MAX);
        e->account = cursor_be64(&in);
        e->sender = take_str(&in, arena);
        flags = cursor_u8(&in);
        body = cursor_u8(&in);
        ret_what = cursor_u8(&in);
        e->envid = take_str(&in, arena);
        e->hold_until_ms = cursor_svarint(&in);
        by = cursor_u8(&in);
        e->by_ms = cursor_svarint(&in);
        priority = cursor_svarint(&in);
        e->priority = (int)MAX(MIN(priority, 99), -99);
        e->head = arena_slice(arena, cursor_string(&in));
        e->solicit = format > 1 ? take_str(&in, arena) : "";
        if (in.bad)
            return damaged(err, "envelope");
        r = check_envelope(&s, flags, body, ret_what, by, err);
        e->utf8 = flags & FLAG_UTF8;
        e->by_trace = flags & FLAG_BY_TRACE;
        e->require_tls = flags & FLAG_REQUIRE_TLS;
        e->tls_optional = flags & FLAG_TLS_OPTIONAL;
        e->body = (enum queue_body_type)body;
        e->ret = (enum queue_ret)ret_what;
        e->by = (enum queue_by)by;
    }
    if (r == 0)
        *ret = s;
    return r;
}

/* --- entries --------------------------------------------------------------------------------- */

enum { ENTRY_DONE = 1, ENTRY_HELD = 2, ENTRY_BY_TOLD = 4, ENTRY_FLAGS = 7 };

static void target_encode(const struct queue_target *t, struct buf *out)
{
    add_str(out, t->to.address);
    buf_add_byte(out, (uint8_t)t->to.notify);
    add_str(out, t->to.orcpt);
    buf_add_byte(out, (uint8_t)t->state);
    buf_add_byte(out, (uint8_t)t->notice);
    if (t->notice)
        buf_add_varint(out, t->notice_number);
    buf_add_svarint(out, t->when_ms);
    if (t->when_ms == 0)
        return;
    buf_add_varint(out, t->code);
    buf_add_byte(out, t->relayed_dsn);
    add_str(out, t->status);
    buf_add_string(out, slice_sub(slice_str(t->text), 0, QUEUE_TEXT_MAX));
    add_str(out, t->remote);
}

void queue_entry_encode(const struct queue_entry *e, struct buf *out)
{
    buf_add_byte(out, ENTRY_FORMAT);
    buf_add(out, e->tag.b, QUEUE_TAG_SIZE);
    buf_add_be64(out, e->mark);
    buf_add_byte(out, (uint8_t)((e->done ? ENTRY_DONE : 0) | (e->held ? ENTRY_HELD : 0) |
                                (e->by_told ? ENTRY_BY_TOLD : 0)));
    if (e->done)
        return;
    buf_add_svarint(out, e->due_ms);
    buf_add_svarint(out, e->row_ms);
    buf_add_varint(out, e->turn);
    buf_add_svarint(out, e->lease_ms);
    buf_add_be64(out, e->owner);
    buf_add_varint(out, e->attempts);
    buf_add_varint(out, e->warned);
    buf_add_varint(out, e->notices);
    buf_add_svarint(out, e->notice_ms);
    add_str(out, e->destination);
    buf_add_varint(out, e->n);
    for (size_t i = 0; i < e->n; i++)
        target_encode(&e->targets[i], out);
}

static bool target_decode(struct cursor *in, struct arena *arena, struct queue_target *t)
{
    unsigned state, notice;

    t->to.address = take_str(in, arena);
    t->to.notify = cursor_u8(in);
    t->to.orcpt = take_str(in, arena);
    state = cursor_u8(in);
    notice = cursor_u8(in);
    t->notice_number = notice ? (uint32_t)cursor_varint(in) : 0;
    t->when_ms = cursor_svarint(in);
    t->status = t->text = t->remote = "";
    if (t->when_ms) {
        t->code = (unsigned)MIN(cursor_varint(in), (uint64_t)999);
        t->relayed_dsn = cursor_u8(in) != 0;
        t->status = take_str(in, arena);
        t->text = take_str(in, arena);
        t->remote = take_str(in, arena);
    }
    if (in->bad || state > QUEUE_FAILED || notice >= QUEUE_NOTICES_)
        return false;
    t->state = (enum queue_state)state;
    t->notice = (enum queue_notice)notice;
    return true;
}

static bool live_decode(struct cursor *in, struct arena *arena, struct queue_entry *e)
{
    uint64_t n;

    e->due_ms = cursor_svarint(in);
    e->row_ms = cursor_svarint(in);
    e->turn = (uint32_t)cursor_varint(in);
    e->lease_ms = cursor_svarint(in);
    e->owner = cursor_be64(in);
    e->attempts = (unsigned)MIN(cursor_varint(in), (uint64_t)1 << 30);
    e->warned = (unsigned)MIN(cursor_varint(in), (uint64_t)1 << 30);
    e->notices = (uint32_t)cursor_varint(in);
    e->notice_ms = cursor_svarint(in);
    e->destination = take_str(in, arena);
    n = cursor_varint(in);
    if (in->bad || n == 0 || n > QUEUE_ENTRY_RECIPIENTS)
        return false;
    e->targets = arena_array(arena, (size_t)n, sizeof *e->targets);
    e->n = (size_t)n;
    for (size_t i = 0; i < e->n; i++)
        if (!target_decode(in, arena, &e->targets[i]))
            return false;
    return true;
}

int queue_entry_decode(uint64_t id, uint16_t number, struct slice head, struct arena *arena,
                       struct queue_entry *ret, struct error *err)
{
    struct cursor in = cursor_of(head);
    struct queue_entry e = {.id = id, .number = number, .destination = ""};
    unsigned flags;
    int r = check_format(&in, ENTRY_FORMAT, "an entry", err);

    if (r < 0)
        return r;
    take_tag(&in, &e.tag);
    e.mark = cursor_be64(&in);
    flags = cursor_u8(&in);
    e.done = flags & ENTRY_DONE;
    e.held = flags & ENTRY_HELD;
    e.by_told = flags & ENTRY_BY_TOLD;
    if (in.bad || flags > ENTRY_FLAGS || (!e.done && !live_decode(&in, arena, &e)))
        return damaged(err, "entry");
    *ret = e;
    return 0;
}

/* --- rows ------------------------------------------------------------------------------------ */

void queue_row_encode(const struct queue_row *row, struct buf *out)
{
    buf_add_byte(out, ROW_FORMAT);
    buf_add_svarint(out, row->priority);
    buf_add_svarint(out, row->deadline_ms);
    buf_add_string(out, row->destination);
}

int queue_row_decode(struct slice key, struct slice head, struct queue_row *ret, struct error *err)
{
    struct cursor k = cursor_of(key), in = cursor_of(head);
    struct queue_row row;
    int r = check_format(&in, ROW_FORMAT, "a row of the due index", err);

    if (r < 0)
        return r;
    if (key.n != KEY_ROW)
        return damaged(err, "row");
    row.when_ms = (int64_t)cursor_be64(&k);
    row.id = cursor_be64(&k);
    row.number = cursor_be16(&k);
    row.turn = cursor_be32(&k);
    row.priority = (int)MAX(MIN(cursor_svarint(&in), 9), -9);
    row.deadline_ms = cursor_svarint(&in);
    row.destination = cursor_string(&in);
    if (in.bad || row.when_ms < 0)
        return damaged(err, "row");
    *ret = row;
    return 0;
}

/* --- pieces ---------------------------------------------------------------------------------- */

void queue_piece_head(const struct queue_tag *tag, struct buf *out)
{
    buf_add_byte(out, PIECE_FORMAT);
    buf_add(out, tag->b, QUEUE_TAG_SIZE);
}

bool queue_piece_is_ours(struct slice head, const struct queue_tag *tag)
{
    return head.n == 1 + QUEUE_TAG_SIZE && head.p[0] == PIECE_FORMAT &&
           memcmp(head.p + 1, tag->b, QUEUE_TAG_SIZE) == 0;
}

void queue_piece_pack(struct slice bytes, struct buf *out)
{
    size_t bound = ZSTD_compressBound(bytes.n), n;
    uint8_t *to;

    buf_add_byte(out, PACK_ZSTD);
    to = buf_reserve(out, bound);
    if (!to)
        return;
    n = ZSTD_compress(to, bound, bytes.p, bytes.n, ZSTD_LEVEL);
    if (!ZSTD_isError(n) && n < bytes.n - bytes.n / 16) {
        out->n += n;
        return;
    }
    out->p[out->n - 1] = PACK_PLAIN;
    buf_add_slice(out, bytes);
}

int queue_piece_unpack(struct slice packed, struct buf *out, struct error *err)
{
    struct slice rest = slice_skip(packed, 1);
    unsigned long long size;
    uint8_t *to;
    size_t n;

    if (packed.n && packed.p[0] == PACK_PLAIN && rest.n <= QUEUE_PIECE) {
        buf_add_slice(out, rest);
        return 0;
    }
    if (!packed.n || packed.p[0] != PACK_ZSTD)
        return damaged(err, "piece of a message");
    size = ZSTD_getFrameContentSize(rest.p, rest.n);
    if (size == ZSTD_CONTENTSIZE_ERROR || size == ZSTD_CONTENTSIZE_UNKNOWN || size > QUEUE_PIECE)
        return damaged(err, "piece of a message (size)");
    to = buf_reserve(out, (size_t)size);
    if (!to)
        return damaged(err, "piece of a message (too large)");
    n = ZSTD_decompress(to, (size_t)size, rest.p, rest.n);
    if (ZSTD_isError(n) || n != size)
        return damaged(err, "piece of a message");
    out->n += n;
    return 0;
}
