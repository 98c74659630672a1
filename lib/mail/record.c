/* SPDX-License-Identifier: MPL-2.0 */
/* The format, version 1: version byte; t_ms (svarint); txid; number of ops, ops; number of sums,
 * sums; used bytes and messages. An op is its kind (byte) and the fields that encode_op names, in
 * that order. To add an op: a kind, a row in `names`, a case in encode_op, decode_op and print_op,
 * and its meaning in state_fold.c. Reading support ships before any build step makes it. */
#include "lib/mail/record.h"

#include <inttypes.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mail/flagset.h"

#define OPS_MAX    65535
#define SUM_LEAST  7 /* bytes of the smallest encoded sum: seven varints */
#define VARINT_MAX 10
#define DATE_MAX                                                                                   \
    ((int64_t)1 << 40) /* seconds either way, so that arithmetic on dates cannot overflow */
#define T_MS_MAX ((int64_t)1 << 53)

static const char *const names[OP_KINDS_] = {
    [OP_NOOP] = "noop",       [OP_CREATE] = "create",       [OP_RENAME] = "rename",
    [OP_DELETE] = "delete",   [OP_SUBSCRIBE] = "subscribe", [OP_SET] = "set",
    [OP_APPEND] = "append",   [OP_COPY] = "copy",           [OP_MOVE] = "move",
    [OP_FLAGS] = "flags",     [OP_EXPUNGE] = "expunge",     [OP_UNDELETE] = "undelete",
    [OP_ACCOUNT] = "account", [OP_CLOSE] = "close",
};

const char *op_name(enum op_kind kind)
{
    return (unsigned)kind < OP_KINDS_ ? names[kind] : "unknown";
}

/* --- encoding -------------------------------------------------------------------------------- */

static void encode_flags(const struct flags *f, struct buf *out)
{
    buf_add_byte(out, f->system);
    buf_add_varint(out, f->n_keywords);
    for (size_t i = 0; i < f->n_keywords; i++)
        buf_add_string(out, f->keywords[i]);
}

static void encode_append(const struct op *op, struct buf *out)
{
    buf_add_varint(out, op->uid);
    buf_add_be64(out, op->message);
    buf_add_varint(out, op->size);
    buf_add_svarint(out, op->date);
    encode_flags(&op->add, out);
    buf_add_byte(out, op->has_delivery);
    if (op->has_delivery)
        buf_add(out, op->delivery, DELIVERY_HASH_SIZE);
}

static void encode_set(const struct op *op, struct buf *out)
{
    buf_add_byte(out, op->has_uses);
    if (op->has_uses) {
        buf_add_varint(out, op->uses);
        return;
    }
    buf_add_string(out, op->key);
    buf_add_string(out, op->value);
}

void record_encode_op(const struct op *op, struct buf *out)
{
    buf_add_byte(out, (uint8_t)op->kind);
    if (op->kind == OP_NOOP || op->kind == OP_CLOSE)
        return;
    if (op->kind != OP_SUBSCRIBE && op->kind != OP_ACCOUNT)
        buf_add_varint(out, op->mailbox);
    switch (op->kind) {
    case OP_CREATE:
        buf_add_string(out, op->name);
        buf_add_varint(out, op->uidvalidity);
        buf_add_varint(out, op->uses);
        break;
    case OP_RENAME:
        buf_add_string(out, op->name);
        break;
    case OP_SUBSCRIBE:
        buf_add_string(out, op->name);
        buf_add_byte(out, op->on);
        break;
    case OP_SET:
        encode_set(op, out);
        break;
    case OP_ACCOUNT:
        buf_add_string(out, op->key);
        buf_add_string(out, op->value);
        break;
    case OP_APPEND:
        encode_append(op, out);
        break;
    case OP_UNDELETE:
        buf_add_varint(out, op->uid);
        buf_add_be64(out, op->message);
        break;
    case OP_COPY:
    case OP_MOVE:
        buf_add_varint(out, op->target);
        buf_add_varint(out, op->uid);
        uidset_encode(&op->uids, out);
        break;
    case OP_FLAGS:
        uidset_encode(&op->uids, out);
        encode_flags(&op->add, out);
        encode_flags(&op->remove, out);
        break;
    case OP_EXPUNGE:
        uidset_encode(&op->uids, out);
        break;
    default:
        break;
    }
}

static void encode_sum(const struct mailbox_sum *s, struct buf *out)
{
    buf_add_varint(out, s->mailbox);
    buf_add_varint(out, s->exists);
    buf_add_varint(out, s->unseen);
    buf_add_varint(out, s->deleted);
    buf_add_varint(out, s->uidnext);
    buf_add_varint(out, s->bytes);
    buf_add_varint(out, s->modseq);
}

void record_encode(const struct record *rec, struct buf *out)
{
    buf_add_byte(out, RECORD_VERSION);
    buf_add_svarint(out, rec->t_ms);
    buf_add(out, rec->txid, TXID_SIZE);
    buf_add_varint(out, rec->n_ops);
    for (size_t i = 0; i < rec->n_ops; i++)
        record_encode_op(&rec->ops[i], out);
    buf_add_varint(out, rec->n_sums);
    for (size_t i = 0; i < rec->n_sums; i++)
        encode_sum(&rec->sums[i], out);
    buf_add_varint(out, rec->used_bytes);
    buf_add_varint(out, rec->used_messages);
}

size_t record_overhead(size_t n_sums)
{
    return 1 + TXID_SIZE + 5 * VARINT_MAX + n_sums * (3 * VARINT_MAX + 4 * 5);
}

/* --- decoding -------------------------------------------------------------------------------- */

static uint32_t decode_u32(struct cursor *in)
{
    uint64_t v = cursor_varint(in);

    in->bad |= v > UINT32_MAX;
    return in->bad ? 0 : (uint32_t)v;
}

static bool decode_bool(struct cursor *in)
{
    uint8_t v = cursor_u8(in);

    in->bad |= v > 1;
    return v == 1;
}

static struct slice decode_name(struct cursor *in)
{
    struct slice s = cursor_string(in);

    in->bad |= !s.n || s.n > RECORD_NAME_MAX || slice_find(s, 0) >= 0;
    return s;
}

static void decode_flags(struct cursor *in, struct arena *arena, struct flags *ret)
{
    uint64_t n;

    ret->system = cursor_u8(in);
    n = cursor_varint(in);
    in->bad |= ret->system > FLAGS_ALL || n > RECORD_KEYWORDS_MAX || n > cursor_left(in) / 2;
    if (in->bad || !n)
        return;
    ret->keywords = arena_array(arena, (size_t)n, sizeof *ret->keywords);
    for (size_t i = 0; i < n && !in->bad; i++) {
        ret->keywords[i] = cursor_string(in);
        in->bad |= !keyword_valid(ret->keywords[i]) ||
                   (i && keyword_cmp(ret->keywords[i - 1], ret->keywords[i]) >= 0);
    }
    ret->n_keywords = (size_t)n;
}

static void decode_uids(struct cursor *in, struct arena *arena, struct uidset *ret)
{
    if (uidset_decode_arena(ret, in, arena) < 0 || !ret->n)
        in->bad = true;
}

static void decode_append(struct cursor *in, struct arena *arena, struct op *op)
{
    struct slice hash;

    op->uid = decode_u32(in);
    op->message = cursor_be64(in);
    op->size = decode_u32(in);
    op->date = cursor_svarint(in);
    in->bad |= op->date < -DATE_MAX || op->date > DATE_MAX;
    decode_flags(in, arena, &op->add);
    op->has_delivery = decode_bool(in);
    if (!op->has_delivery)
        return;
    hash = cursor_bytes(in, DELIVERY_HASH_SIZE);
    if (hash.n)
        memcpy(op->delivery, hash.p, hash.n);
}

static void decode_set(struct cursor *in, struct op *op)
{
    op->has_uses = decode_bool(in);
    if (op->has_uses) {
        op->uses = decode_u32(in);
        return;
    }
    op->key = decode_name(in);
    op->value = cursor_string(in);
}

/* The same order of fields as in record_encode_op. */
static void decode_fields(struct cursor *in, struct arena *arena, struct op *op)
{
    switch (op->kind) {
    case OP_CREATE:
        op->name = decode_name(in);
        op->uidvalidity = decode_u32(in);
        op->uses = decode_u32(in);
        break;
    case OP_RENAME:
        op->name = decode_name(in);
        break;
    case OP_SUBSCRIBE:
        op->name = decode_name(in);
        op->on = decode_bool(in);
        break;
    case OP_SET:
        decode_set(in, op);
        break;
    case OP_ACCOUNT:
        op->key = decode_name(in);
        op->value = cursor_string(in);
        break;
    case OP_APPEND:
        decode_append(in, arena, op);
        break;
    case OP_UNDELETE:
        op->uid = decode_u32(in);
        op->message = cursor_be64(in);
        break;
    case OP_COPY:
    case OP_MOVE:
        op->target = cursor_varint(in);
        op->uid = decode_u32(in);
        decode_uids(in, arena, &op->uids);
        break;
    case OP_FLAGS:
        decode_uids(in, arena, &op->uids);
        decode_flags(in, arena, &op->add);
        decode_flags(in, arena, &op->remove);
        break;
    case OP_EXPUNGE:
        decode_uids(in, arena, &op->uids);
        break;
    default:
        break;
    }
}

static int decode_ops(struct cursor *in, struct arena *arena, struct record *rec, struct error *err)
{
    uint64_t n = cursor_varint(in);

    if (in->bad || !n || n > OPS_MAX || n > cursor_left(in))
        return error_set(err, ERR_INTERNAL, "record %" PRIu64 " is damaged", rec->seq);
    rec->ops = arena_array(arena, (size_t)n, sizeof *rec->ops);
    for (; rec->n_ops < n && !in->bad; rec->n_ops++) {
        struct op *op = &rec->ops[rec->n_ops];
        uint8_t kind = cursor_u8(in);

        if (!in->bad && kind >= OP_KINDS_)
            return error_set(err, ERR_INTERNAL,
                             "record %" PRIu64 " has an op (%u) of a newer version", rec->seq,
                             kind);
        op->kind = kind;
        if (kind != OP_NOOP && kind != OP_CLOSE && kind != OP_SUBSCRIBE && kind != OP_ACCOUNT)
            op->mailbox = cursor_varint(in);
        decode_fields(in, arena, op);
    }
    return 0;
}

static void decode_sums(struct cursor *in, struct arena *arena, struct record *rec)
{
    uint64_t n = cursor_varint(in);

    in->bad |= n > cursor_left(in) / SUM_LEAST;
    if (in->bad)
        return;
    rec->sums = arena_array(arena, (size_t)n, sizeof *rec->sums);
    for (; rec->n_sums < n; rec->n_sums++) {
        struct mailbox_sum *s = &rec->sums[rec->n_sums];

        s->mailbox = cursor_varint(in);
        s->exists = decode_u32(in);
        s->unseen = decode_u32(in);
        s->deleted = decode_u32(in);
        s->uidnext = decode_u32(in);
        s->bytes = cursor_varint(in);
        s->modseq = cursor_varint(in);
    }
}

int record_decode(struct slice bytes, uint64_t seq, struct arena *arena, struct record *ret_rec,
                  struct error *err)
{
    struct cursor in = cursor_of(bytes);
    struct record rec = {.seq = seq};
    uint8_t version = cursor_u8(&in);
    struct slice txid;
    int r;

    if (!in.bad && version > RECORD_VERSION)
        return error_set(err, ERR_INTERNAL, "record %" PRIu64 " is of a newer version (%u)", seq,
                         version);
    rec.t_ms = cursor_svarint(&in);
    txid = cursor_bytes(&in, TXID_SIZE);
    if (in.bad || version == 0 || rec.t_ms < 0 || rec.t_ms > T_MS_MAX)
        return error_set(err, ERR_INTERNAL, "record %" PRIu64 " is damaged", seq);
    memcpy(rec.txid, txid.p, TXID_SIZE);
    r = decode_ops(&in, arena, &rec, err);
    if (r < 0)
        return r;
    decode_sums(&in, arena, &rec);
    rec.used_bytes = cursor_varint(&in);
    rec.used_messages = cursor_varint(&in);
    if (in.bad || cursor_left(&in))
        return error_set(err, ERR_INTERNAL, "record %" PRIu64 " is damaged", seq);
    *ret_rec = rec;
    return 0;
}

/* --- printing -------------------------------------------------------------------------------- */

static void print_text(struct buf *out, const char *key, struct slice s)
{
    buf_printf(out, " %s=\"", key);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < ' ' || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == 0x7f)
            buf_printf(out, "\\x%02x", s.p[i]);
        else
            buf_add_byte(out, s.p[i]);
    }
    buf_add_byte(out, '"');
}

static void print_flags(struct buf *out, const char *key, const struct flags *f)
{
    static const char letters[] =
        "SAFDT"; /* Seen Answered Flagged Deleted drafT, as maildir has them */

    if (!f->system && !f->n_keywords)
        return;
    buf_printf(out, " %s=", key);
    for (size_t i = 0; letters[i]; i++)
        if (f->system & 1u << i)
            buf_add_byte(out, (uint8_t)letters[i]);
    for (size_t i = 0; i < f->n_keywords; i++) {
        buf_add_byte(out, ',');
        buf_add_slice(out, f->keywords[i]);
    }
}

static void print_append(const struct op *op, struct buf *out)
{
    struct civil c = civil_from_unix(op->date, 0);

    buf_printf(out, " uid=%" PRIu32 " message=%016" PRIx64 " size=%" PRIu32, op->uid, op->message,
               op->size);
    buf_printf(out, " date=%04d-%02d-%02dT%02d:%02d:%02dZ", c.year, c.month, c.day, c.hour,
               c.minute, c.second);
    print_flags(out, "flags", &op->add);
    if (!op->has_delivery)
        return;
    buf_add_str(out, " delivery=");
    hex_encode(out, slice_of(op->delivery, DELIVERY_HASH_SIZE));
}

bool record_is_secret(const struct op *op)
{
    return slice_eq(op->key, S(RECORD_SECRET_KEY));
}

static void print_op(const struct op *op, struct buf *out)
{
    buf_add_str(out, op_name(op->kind));
    if (op->mailbox)
        buf_printf(out, " mailbox=%" PRIx64, op->mailbox);
    if (op->target)
        buf_printf(out, " target=%" PRIx64, op->target);
    if (op->name.n)
        print_text(out, "name", op->name);
    if (op->kind == OP_CREATE)
        buf_printf(out, " uidvalidity=%" PRIu32, op->uidvalidity);
    if (op->kind == OP_CREATE || op->has_uses)
        buf_printf(out, " uses=%" PRIu32, op->uses);
    if (op->kind == OP_SUBSCRIBE)
        buf_add_str(out, op->on ? " on" : " off");
    if (op->key.n) {
        print_text(out, "key", op->key);
        print_text(out, "value", op->value.n && record_is_secret(op) ? S("(hidden)") : op->value);
    }
    if (op->kind == OP_APPEND) {
        print_append(op, out);
        return;
    }
    if (op->message)
        buf_printf(out, " message=%016" PRIx64, op->message);
    if (op->uid)
        buf_printf(out, " uid=%" PRIu32, op->uid);
    if (op->uids.n) {
        buf_add_str(out, " uids=");
        uidset_print(&op->uids, out);
    }
    print_flags(out, "add", &op->add);
    print_flags(out, "remove", &op->remove);
}

void record_print(const struct record *rec, struct buf *out)
{
    for (size_t i = 0; i < rec->n_ops; i++) {
        buf_printf(out, "%" PRIu64 ".%zu ", rec->seq, i);
        print_op(&rec->ops[i], out);
        buf_add_byte(out, '\n');
    }
}
