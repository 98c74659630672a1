/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mime/mdigest.h"

#include "lib/base/mem.h"
#include "lib/mime/header.h"
#include "lib/mime/mdigest_format.h"

const struct slice mdigest_names[MDIGEST_NAMES] = {
    S("From"),
    S("To"),
    S("Cc"),
    S("Bcc"),
    S("Subject"),
    S("Date"),
    S("Message-ID"),
    S("In-Reply-To"),
    S("References"),
    S("Reply-To"),
    S("Sender"),
    S("Content-Type"),
    S("Content-Transfer-Encoding"),
    S("MIME-Version"),
    S("Priority"),
    S("X-Priority"),
    S("Importance"),
    S("Newsgroups"),
    S("List-Id"),
    S("List-Post"),
    S("List-Unsubscribe"),
    S("Return-Path"),
    S("Delivered-To"),
    S("Received"),
    S("Disposition-Notification-To"),
    S("X-Spam-Flag"),
    S("X-Spam-Status"),
    S("X-Spam-Level"),
    S("Content-Class"),
    S("Content-Description"),
    S("Content-Disposition"),
    S("Content-ID"),
    S("Content-Language"),
    S("Lines"),
    S("List-Subscribe"),
    S("List-Archive"),
    S("List-Help"),
    S("List-Owner"),
    S("List-Unsubscribe-Post"),
    S("Mail-Followup-To"),
    S("Mail-Reply-To"),
    S("Followup-To"),
    S("X-Label"),
    S("X-Mailer"),
    S("User-Agent"),
    S("X-Original-To"),
    S("X-TUID"),
    S("X-Keywords"),
    S("X-Mozilla-Status"),
    S("X-MSMail-Priority"),
    S("X-Universally-Unique-Identifier"),
    S("X-Uniform-Type-Identifier"),
    S("X-Apple-Auto-Saved"),
    S("X-K9mail-Identity"),
    S("Chat-Version"),
    S("Precedence"),
    S("Auto-Submitted"),
    S("Errors-To"),
};

void mdigest_strings(struct mdigest *d, struct slice *ret[MDIGEST_STRINGS])
{
    struct slice *order[MDIGEST_STRINGS] = {
        &d->envelope,    &d->body,         &d->bodystructure, &d->sections,     &d->fields,
        &d->subject,     &d->base_subject, &d->from_mailbox,  &d->from_display, &d->from_address,
        &d->to_mailbox,  &d->to_display,   &d->cc_mailbox,    &d->cc_display,   &d->message_id,
        &d->in_reply_to, &d->references,   &d->preview,
    };

    memcpy(ret, order, sizeof order);
}

int mdigest_field_id(struct slice name)
{
    if (name.n == 0)
        return -1;
    for (int i = 0; i < MDIGEST_NAMES; i++) {
        if (mdigest_names[i].n == name.n &&
            byte_lower(mdigest_names[i].p[0]) == byte_lower(name.p[0]) &&
            slice_ieq(mdigest_names[i], name))
            return i;
    }
    return -1;
}

/* One stored field. */
struct stored {
    uint8_t id;
    uint64_t offset;
    struct slice raw;
};

static bool next_stored(struct cursor *c, struct stored *ret)
{
    if (cursor_left(c) == 0)
        return false;
    ret->id = cursor_u8(c);
    ret->offset = cursor_varint(c);
    ret->raw = cursor_string(c);
    return !c->bad && ret->id < 64;
}

/* Looked at where fields are asked for: opening is a large part of what FETCH ENVELOPE costs. */
static bool fields_are_whole(const struct mdigest *d)
{
    struct cursor c = cursor_of(d->fields);
    struct stored f;

    while (next_stored(&c, &f))
        ;
    return !c.bad && cursor_left(&c) == 0;
}

static void set_flags(struct mdigest *d, uint64_t flags)
{
    d->has_date = flags & MDIGEST_HAS_DATE;
    d->is_reply = flags & MDIGEST_IS_REPLY;
    d->has_attachment = flags & MDIGEST_HAS_ATTACHMENT;
    d->all_fields = flags & MDIGEST_ALL_FIELDS;
    if (flags & MDIGEST_BASE_IS_SUBJECT)
        d->base_subject = d->subject;
}

int mdigest_open(struct mdigest *ret, struct slice bytes)
{
    struct cursor c = cursor_of(bytes);
    struct slice *strings[MDIGEST_STRINGS];
    uint64_t flags, count, unknown;
    struct mdigest d = {0};

    if (cursor_u8(&c) != MDIGEST_VERSION)
        return c.bad ? -ERR_INVALID : -ERR_UNAVAILABLE;
    flags = cursor_varint(&c);
    d.missing = (uint32_t)cursor_varint(&c);
    d.size = cursor_varint(&c);
    d.header_size = cursor_varint(&c);
    d.date = cursor_svarint(&c);
    d.zone = (int16_t)cursor_svarint(&c);
    mdigest_strings(&d, strings);
    for (size_t i = 0; i < MDIGEST_STRINGS; i++)
        *strings[i] = cursor_string(&c);
    count = cursor_varint(&c);
    unknown = cursor_varint(&c);
    if (c.bad || d.header_size > d.size || count > 64)
        return -ERR_INVALID;
    set_flags(&d, flags);
    if (!(d.missing & MDIGEST_NO_FIELDS))
        d.known = (count == 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1) & ~unknown;
    *ret = d;
    return 0;
}

/* --- sections --- */

struct node {
    uint64_t header, body, end, lines; /* offsets in the message */
    uint64_t children;
    enum mime_kind kind;
    enum mime_encoding encoding;
};

/* The next node of the table; `before` is where the part before it ended. */
static bool next_node(struct cursor *c, uint64_t before, uint64_t size, struct node *ret)
{
    uint8_t first = cursor_u8(c);
    uint64_t gap = cursor_varint(c), header = cursor_varint(c), body = cursor_varint(c);

    *ret = (struct node){.kind = first & 3, .encoding = first >> 2, .lines = cursor_varint(c)};
    if (ret->kind == MIME_MULTIPART)
        ret->children = cursor_varint(c);
    else
        ret->children = ret->kind == MIME_MESSAGE;
    if (c->bad || ret->kind > MIME_MESSAGE || ret->encoding > MIME_UNKNOWN)
        return false;
    if (gap > size || header > size || body > size || before + gap + header + body > size)
        return false;
    ret->header = before + gap;
    ret->body = ret->header + header;
    ret->end = ret->body + body;
    return true;
}

/* Passes over the descendants of a node that was read. Their offsets do not matter. */
static bool skip_below(struct cursor *c, const struct node *node, uint64_t size)
{
    uint64_t left = node->children;
    struct node n;

    for (; left > 0; left--) {
        if (!next_node(c, 0, size, &n) || n.children > UINT32_MAX)
            return false;
        left += n.children;
    }
    return true;
}

/* Child number `number` (from 1) of a node that was just read. */
static int child_node(struct cursor *c, uint64_t size, const struct node *parent, uint64_t number,
                      struct node *ret)
{
    uint64_t before = parent->body;

    if (number == 0 || number > parent->children)
        return -ERR_NOTFOUND;
    for (;; number--) {
        if (!next_node(c, before, size, ret))
            return -ERR_LIMIT;
        if (number == 1)
            return 0;
        if (!skip_below(c, ret, size))
            return -ERR_LIMIT;
        before = ret->end;
    }
}

/* mime_part_find over the table; see there for the numbering. */
static int walk(struct cursor *c, uint64_t size, const uint32_t *numbers, size_t n,
                struct node *ret)
{
    struct node at;
    int err;

    if (!next_node(c, 0, size, &at))
        return -ERR_LIMIT;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && at.kind == MIME_LEAF)
            return -ERR_NOTFOUND;
        if (i > 0 && at.kind == MIME_MESSAGE) {
            err = child_node(c, size, &at, 1, &at);
            if (err < 0)
                return err;
        }
        if (at.kind != MIME_MULTIPART) {
            if (numbers[i] != 1)
                return -ERR_NOTFOUND;
            continue;
        }
        err = child_node(c, size, &at, numbers[i], &at);
        if (err < 0)
            return err;
    }
    *ret = at;
    return 0;
}

int mdigest_section_find(const struct mdigest *d, const uint32_t *numbers, size_t n,
                         struct mdigest_section *ret)
{
    struct cursor c = cursor_of(d->sections);
    struct node node, inner;
    int err;

    if (d->missing & MDIGEST_NO_SECTIONS)
        return -ERR_LIMIT;
    err = walk(&c, d->size, numbers, n, &node);
    if (err < 0)
        return err;
    inner = node;
    if (n > 0 && node.kind == MIME_MESSAGE && child_node(&c, d->size, &node, 1, &inner) < 0)
        return -ERR_LIMIT;
    *ret = (struct mdigest_section){
        .header_offset = node.header,
        .header_len = node.body - node.header,
        .body_offset = node.body,
        .body_len = node.end - node.body,
        .lines = node.lines,
        .kind = node.kind,
        .encoding = node.encoding,
        .has_message = n == 0 || node.kind == MIME_MESSAGE,
    };
    if (ret->has_message) {
        ret->message_header_offset = inner.header;
        ret->message_header_len = inner.body - inner.header;
        ret->message_text_offset = inner.body;
        ret->message_text_len = inner.end - inner.body;
    }
    return 0;
}

/* --- header fields --- */

static bool is_named(struct slice name, const struct slice *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (slice_ieq(name, names[i]))
            return true;
    }
    return false;
}

/* The set of ids asked for; false if the digest does not know about all of them. */
static bool asked_ids(const struct mdigest *d, const struct slice *names, size_t n, bool negate,
                      uint64_t *ret)
{
    int id;

    *ret = 0;
    if (negate && !d->all_fields)
        return false;
    for (size_t i = 0; i < n; i++) {
        id = mdigest_field_id(names[i]);
        if (id >= 0 && (d->known >> id & 1))
            *ret |= (uint64_t)1 << id;
        else if (!d->all_fields)
            return false; /* else it is known not to be there */
    }
    if (negate)
        *ret = ~*ret;
    return true;
}

int mdigest_header_fields(const struct mdigest *d, const struct slice *names, size_t n, bool negate,
                          struct buf *out)
{
    struct cursor c = cursor_of(d->fields);
    struct stored f;
    uint64_t ids;

    if ((d->missing & MDIGEST_NO_FIELDS) || !fields_are_whole(d) ||
        !asked_ids(d, names, n, negate, &ids))
        return 0;
    while (next_stored(&c, &f)) {
        if (ids >> f.id & 1)
            buf_add_slice(out, f.raw);
    }
    buf_add_str(out, "\r\n");
    return 1;
}

int mdigest_field_value(const struct mdigest *d, struct slice name, struct slice *ret)
{
    struct cursor c = cursor_of(d->fields);
    struct header_reader r;
    struct header_field field;
    struct stored f;
    uint64_t ids;

    if ((d->missing & MDIGEST_NO_FIELDS) || !fields_are_whole(d) ||
        !asked_ids(d, &name, 1, false, &ids))
        return 0;
    *ret = (struct slice){0};
    while (next_stored(&c, &f)) {
        r = header_reader_of(f.raw);
        if ((ids >> f.id & 1) && header_next(&r, &field)) {
            *ret = field.value.n > 0 ? field.value : S("");
            break;
        }
    }
    return 1;
}

void mdigest_filter_header(struct slice header_block, const struct slice *names, size_t n,
                           bool negate, struct buf *out)
{
    struct header_reader r = header_reader_of(header_block);
    struct header_field f;

    while (header_next(&r, &f)) {
        if (is_named(f.name, names, n) != negate)
            buf_add_slice(out, f.raw);
    }
    buf_add_str(out, "\r\n");
}
