/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mime/address.h"
#include "lib/mime/date.h"
#include "lib/mime/envelope.h"
#include "lib/mime/header.h"
#include "lib/mime/mdigest.h"
#include "lib/mime/mdigest_format.h"
#include "lib/mime/structure.h"

#define KEY_MAX     256 /* octets of a sort key */
#define NOT_LIMITED SIZE_MAX
#define TEXT_MAX    BUF_MAX_DEFAULT

const struct mdigest_caps mdigest_caps_default = {
    .envelope = 8192,
    .body = 4096,
    .bodystructure = 8192,
    .sections = 4096,
    .fields = 8192,
    .references = 2048,
};

const struct mdigest_caps mdigest_caps_none = {
    NOT_LIMITED, NOT_LIMITED, NOT_LIMITED, NOT_LIMITED, NOT_LIMITED, NOT_LIMITED,
};

/* Texts are written one behind the other into `text`; they are slices of it only at the end, since
 * it moves while it grows. */
struct piece {
    size_t from, to;
};

struct builder {
    const struct mime_part *root;
    const struct mdigest_caps *caps;
    struct arena arena;
    struct buf text;
    struct buf work;
    struct mdigest d;
    uint64_t unknown; /* covered names that are not answered */
    uint64_t flags;
    struct slice from, to, cc, subject, date, message_id, in_reply_to, references;
};

/* What goes past the cap is not even written: mail can make a text many times its own size. */
static size_t text_begin(struct builder *b, size_t cap)
{
    b->text.max = cap < TEXT_MAX - b->text.n ? b->text.n + cap : TEXT_MAX;
    return b->text.n;
}

/* A text is done: kept if it is below the cap, else marked. */
static struct piece text_end(struct builder *b, size_t from, enum mdigest_missing bit)
{
    if (buf_full(&b->text)) {
        b->d.missing |= bit;
        b->text.n = from;
        b->text.full = false;
    }
    b->text.max = TEXT_MAX;
    return (struct piece){from, b->text.n};
}

static struct slice text_slice(const struct builder *b, struct piece p)
{
    return slice_of(b->text.p + p.from, p.to - p.from);
}

/* --- the section table --- */

static void section_write(struct buf *out, const struct mime_part *part, uint64_t before)
{
    uint64_t at = part->body_start, children = 0;

    buf_add_byte(out, (uint8_t)(part->kind | part->encoding << 2));
    buf_add_varint(out, part->header_start - before);
    buf_add_varint(out, part->body_start - part->header_start);
    buf_add_varint(out, part->end - part->body_start);
    buf_add_varint(out, part->lines);
    for (const struct mime_part *p = part->child; p; p = p->next)
        children++;
    if (part->kind == MIME_MULTIPART)
        buf_add_varint(out, children);
    for (const struct mime_part *p = part->child; p; p = p->next) {
        section_write(out, p, at);
        at = p->end;
    }
}

/* --- header fields --- */

/* Received is of use only for its newest one: more of them are not covered. */
static bool is_received(int id)
{
    return slice_eq(mdigest_names[id], S("Received"));
}

static void fields_write(struct builder *b, size_t cap)
{
    struct header_reader r = header_reader_of(b->root->header);
    size_t from = b->text.n;
    struct header_field f;
    uint64_t seen = 0;
    int id;

    if (b->root->header_cut) {
        b->d.missing |= MDIGEST_NO_FIELDS;
        return;
    }
    b->flags |= MDIGEST_ALL_FIELDS;
    while (header_next(&r, &f)) {
        id = mdigest_field_id(f.name);
        if (id < 0) {
            b->flags &= ~(uint64_t)MDIGEST_ALL_FIELDS;
            continue;
        }
        if ((is_received(id) && (seen >> id & 1)) || f.raw.n > cap ||
            b->text.n - from > cap - f.raw.n) {
            b->unknown |= (uint64_t)1 << id;
            b->flags &= ~(uint64_t)MDIGEST_ALL_FIELDS;
            continue;
        }
        seen |= (uint64_t)1 << id;
        buf_add_byte(&b->text, (uint8_t)id);
        buf_add_varint(&b->text, f.offset);
        buf_add_string(&b->text, f.raw);
    }
}

static void find_fields(struct builder *b)
{
    const struct {
        struct slice name;
        struct slice *to;
    } wanted[] = {
        {S("from"), &b->from},
        {S("to"), &b->to},
        {S("cc"), &b->cc},
        {S("subject"), &b->subject},
        {S("date"), &b->date},
        {S("message-id"), &b->message_id},
        {S("in-reply-to"), &b->in_reply_to},
        {S("references"), &b->references},
    };
    struct header_reader r = header_reader_of(b->root->header);
    struct header_field f;

    while (header_next(&r, &f)) {
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
            if (f.name.n == wanted[i].name.n && !wanted[i].to->p &&
                slice_ieq(f.name, wanted[i].name))
                *wanted[i].to = f.value.n > 0 ? f.value : S("");
        }
    }
}

/* --- keys --- */

/* At most KEY_MAX octets, not cut within a character, without blanks at the ends. */
static struct slice key_cut(struct slice s)
{
    s = slice_trim(s);
    if (s.n <= KEY_MAX)
        return s;
    s.n = KEY_MAX;
    while (s.n > 0 && (s.p[s.n] & 0xC0) == 0x80)
        s.n--;
    return s;
}

static struct slice key_keep(struct builder *b, struct slice s)
{
    return arena_slice(&b->arena, key_cut(s));
}

static struct slice key_decoded(struct builder *b, struct slice raw)
{
    b->work.n = 0;
    header_decode(&b->work, raw);
    return key_keep(b, buf_slice(&b->work));
}

/* mailbox@domain of the first that is no start or end of a group. */
static struct slice first_address(struct builder *b, const struct address *a)
{
    while (a && (!a->mailbox.p || !a->domain.p))
        a = a->next;
    if (!a)
        return (struct slice){0};
    b->work.n = 0;
    buf_add_slice(&b->work, a->mailbox);
    buf_add_byte(&b->work, '@');
    buf_add_slice(&b->work, a->domain);
    return key_keep(b, buf_slice(&b->work));
}

static void address_keys(struct builder *b, struct slice value, struct slice *ret_mailbox,
                         struct slice *ret_display, struct slice *ret_address)
{
    const struct address *a = address_list_parse(&b->arena, slice_sub(value, 0, 4096));

    if (!a)
        return;
    if (ret_address)
        *ret_address = first_address(b, a);
    /* RFC 5256 section 3, RFC 5957 section 3: of the first address structure, which for a group is
     * its start: a mailbox without a host */
    *ret_mailbox = a->mailbox.p ? key_keep(b, a->mailbox) : (struct slice){0};
    *ret_display = a->name.n > 0 ? key_decoded(b, a->name) : (struct slice){0};
    if (ret_display->n == 0)
        *ret_display = a->domain.p ? first_address(b, a) : *ret_mailbox;
}

static void subject_keys(struct builder *b)
{
    b->d.subject = key_decoded(b, slice_sub(b->subject, 0, 4096));
    b->work.n = 0;
    if (subject_base(&b->work, b->d.subject) & SUBJECT_IS_REPLY)
        b->flags |= MDIGEST_IS_REPLY;
    if (slice_eq(buf_slice(&b->work), b->d.subject))
        b->flags |= MDIGEST_BASE_IS_SUBJECT;
    else
        b->d.base_subject = key_keep(b, buf_slice(&b->work));
}

static void date_keys(struct builder *b)
{
    struct civil c;

    if (!b->date.p || date_parse(b->date, &c) < 0)
        return;
    b->flags |= MDIGEST_HAS_DATE;
    b->d.date = civil_to_unix(&c);
    b->d.zone = (int16_t)c.zone;
}

static struct slice first_id(struct builder *b, struct slice value)
{
    size_t pos = 0;

    b->work.n = 0;
    return msgid_next(value, &pos, &b->work) ? arena_slice(&b->arena, buf_slice(&b->work))
                                             : (struct slice){0};
}

/* All ids; the oldest go if they are too many, since the newest name the parent. */
static struct slice all_ids(struct builder *b, struct slice value, size_t cap)
{
    struct slice ids;
    size_t pos = 0;
    ssize_t blank;

    b->work.n = 0;
    while (msgid_next(value, &pos, &b->work))
        buf_add_byte(&b->work, ' ');
    ids = slice_trim(buf_slice(&b->work));
    if (ids.n > cap) {
        b->d.missing |= MDIGEST_NO_REFERENCES;
        ids = slice_skip(ids, ids.n - cap);
        blank = slice_find(ids, ' ');
        ids = blank < 0 ? (struct slice){0} : slice_skip(ids, (size_t)blank + 1);
    }
    return arena_slice(&b->arena, ids);
}

/* A paper clip: what says so, and files that are not shown in the text. */
static bool is_attachment(const struct mime_part *part)
{
    bool named = mime_param_find(&part->disposition_params, S("filename")) ||
                 mime_param_find(&part->params, S("name"));

    if (part->kind == MIME_MULTIPART)
        return false;
    if (slice_ieq(part->disposition, S("attachment")))
        return true;
    return named && !(part->id.p && slice_ieq(part->type, S("image")));
}

static bool has_attachment(const struct mime_part *part)
{
    if (part->kind == MIME_LEAF || is_attachment(part))
        return is_attachment(part);
    for (const struct mime_part *p = part->child; p; p = p->next) {
        if (part->kind == MIME_MULTIPART && has_attachment(p))
            return true;
    }
    return false;
}

static void keys_fill(struct builder *b)
{
    struct mdigest *d = &b->d;

    find_fields(b);
    date_keys(b);
    subject_keys(b);
    address_keys(b, b->from, &d->from_mailbox, &d->from_display, &d->from_address);
    address_keys(b, b->to, &d->to_mailbox, &d->to_display, NULL);
    address_keys(b, b->cc, &d->cc_mailbox, &d->cc_display, NULL);
    d->message_id = first_id(b, b->message_id);
    d->in_reply_to = first_id(b, b->in_reply_to);
    d->references = all_ids(b, b->references, b->caps->references);
    if (has_attachment(b->root))
        b->flags |= MDIGEST_HAS_ATTACHMENT;
}

static void texts_fill(struct builder *b)
{
    struct piece pieces[5];
    size_t from;

    from = text_begin(b, b->caps->envelope);
    envelope_write(&b->text, b->root->header);
    pieces[0] = text_end(b, from, MDIGEST_NO_ENVELOPE);
    from = text_begin(b, b->caps->body);
    structure_write(&b->text, b->root, false);
    pieces[1] = text_end(b, from, MDIGEST_NO_BODY);
    from = text_begin(b, b->caps->bodystructure);
    structure_write(&b->text, b->root, true);
    pieces[2] = text_end(b, from, MDIGEST_NO_BODYSTRUCTURE);
    from = text_begin(b, b->caps->sections);
    section_write(&b->text, b->root, 0);
    pieces[3] = text_end(b, from, MDIGEST_NO_SECTIONS);
    from = b->text.n;
    fields_write(b, b->caps->fields);
    pieces[4] = (struct piece){from, b->text.n};
    b->d.envelope = text_slice(b, pieces[0]);
    b->d.body = text_slice(b, pieces[1]);
    b->d.bodystructure = text_slice(b, pieces[2]);
    b->d.sections = text_slice(b, pieces[3]);
    b->d.fields = text_slice(b, pieces[4]);
}

void mdigest_build(struct buf *out, const struct mime_part *root, struct slice preview,
                   const struct mdigest_caps *caps)
{
    struct builder b = {.root = root, .caps = caps ? caps : &mdigest_caps_default};
    struct slice *strings[MDIGEST_STRINGS];

    b.text = b.work = buf_make(BUF_MAX_DEFAULT);
    texts_fill(&b);
    keys_fill(&b);
    b.d.preview = preview;
    buf_add_byte(out, MDIGEST_VERSION);
    buf_add_varint(out, b.flags);
    buf_add_varint(out, b.d.missing);
    buf_add_varint(out, root->end);
    buf_add_varint(out, root->body_start);
    buf_add_svarint(out, b.d.date);
    buf_add_svarint(out, b.d.zone);
    mdigest_strings(&b.d, strings);
    for (size_t i = 0; i < MDIGEST_STRINGS; i++)
        buf_add_string(out, *strings[i]);
    buf_add_varint(out, MDIGEST_NAMES);
    buf_add_varint(out, b.unknown);
    buf_done(&b.text);
    buf_done(&b.work);
    arena_done(&b.arena);
}
