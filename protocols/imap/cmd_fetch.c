/* SPDX-License-Identifier: MPL-2.0 */
/* FETCH: RFC 3501 section 6.4.5, RFC 7162, RFC 3516.
 *
 * A FETCH goes through its set in batches: the messages of a batch are looked up, their digests
 * (and contents, where these are small and asked for) come in one read, and where bodies are asked
 * for, \Seen is set on all of them by one intent before the first is sent. While a batch that had
 * to be read is written, the next one is read ahead. Then the messages are written, and the handler
 * returns whenever a slice of output is full, also in the middle of a literal, to go on at that
 * very place: `struct fetch` is all that is kept, and a body of any size passes through the output
 * buffer by pieces.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/message_ahead.h"
#include "protocols/imap/fetch_binary.h"
#include "protocols/imap/fetch_part.h"
#include "protocols/imap/impl.h"
#include "protocols/imap/objectid.h"
#include "protocols/imap/search_return.h"

#define BATCH       256
#define BATCH_BYTES ((uint64_t)1 << 20)  /* of a batch's messages, where bodies are asked for */
#define LARGE       ((uint64_t)64 << 10) /* as much of one counts in it, if it is not marked \Seen */
#define CHUNK       ((size_t)64 << 10)
#define WORK_MS     100 /* then others have their turn */

struct item {
    enum fetch_word word;
    const struct imap_section *section; /* BODY[...]; NULL: BODY is the structure */
    bool partial;
    uint64_t offset, count;
};

struct fetched {
    uint32_t seq;
    struct message m;
    bool seen_now; /* \Seen was set by this FETCH */
};

struct fetch {
    struct item *items; /* the command's arena's */
    size_t n_items;
    bool digest, content, sets_seen, has_flags, has_modseq, has_uid,
        decodes; /* what the items ask for */
    uint64_t changed_since;
    const struct arg *part_of; /* PARTIAL: its range */
    struct vanished vanished;  /* to be told before all else */
    struct uidset uids;
    size_t range; /* first range of uids not looked at yet */

    struct fetched batch[BATCH];
    struct slice digests[BATCH];
    struct hold *hold, *contents; /* of the batch */
    struct message_ahead *ahead;  /* of the next one */
    size_t n, at;                 /* messages in the batch; the one being written */

    struct fetch_part part;      /* of the message being written */
    size_t item;                 /* next to be written of it */
    uint64_t pos, left;          /* of a literal being written */
    struct fetch_binary binary;  /* of it, if it is decoded */
    const struct item *scanning; /* the size of this one is being counted */
    bool streaming;              /* bytes of this message's response may have been sent */

    bool some_gone, unknown_cte;
    struct error damage; /* the first message that could not be read */
    int64_t until;       /* of this step's work */
};

static void fetch_free(void *context)
{
    struct fetch *f = context;

    fetch_binary_done(&f->binary);
    fetch_part_done(&f->part);
    message_ahead_end(f->ahead);
    hold_release(f->contents);
    hold_release(f->hold);
    uidset_done(&f->uids);
    uidset_done(&f->vanished.uids);
    free(f);
}

/* --- what is asked for -------------------------------------------------------------------------
 */

static const struct imap_section whole = {.kind = SECTION_ALL};
static const struct imap_section header = {.kind = SECTION_HEADER};
static const struct imap_section text = {.kind = SECTION_TEXT};

static void add_item(struct fetch *f, enum fetch_word word)
{
    for (size_t i = 0; i < f->n_items; i++)
        if (f->items[i].word == word && !f->items[i].section)
            return;
    f->items[f->n_items++] = (struct item){.word = word};
    f->digest |= word == FETCH_ENVELOPE || word == FETCH_BODY || word == FETCH_BODYSTRUCTURE ||
                 word == FETCH_PREVIEW || word == FETCH_THREADID;
    f->has_flags |= word == FETCH_FLAGS;
    f->has_modseq |= word == FETCH_MODSEQ;
    f->has_uid |= word == FETCH_UID;
}

/* Whether it is in the digest of nearly every message. */
static bool is_in_digest(const struct imap_section *s)
{
    if (s->kind != SECTION_FIELDS || s->n_numbers)
        return false;
    for (size_t i = 0; i < s->n_fields; i++)
        if (mdigest_field_id(s->fields[i]) < 0)
            return false;
    return true;
}

static int add_body(struct fetch *f, struct command *cmd, const struct arg *arg)
{
    struct item *item;

    if (!arg->items[0].kind) {
        if (arg->items[1].kind)
            return imap_bad(cmd, "BODY<...> needs a section");
        add_item(f, FETCH_BODY);
        return 0;
    }
    item = &f->items[f->n_items++];
    item->word = arg->word;
    item->section = arg->items[0].section;
    item->partial = arg->items[1].kind;
    item->offset = arg->items[1].partial.offset;
    item->count = arg->items[1].partial.count;
    f->sets_seen |= arg->word == FETCH_BODY;
    f->digest = true;
    f->content |= !is_in_digest(item->section);
    return 0;
}

/* RFC 3516 section 7: section-binary is a part number or nothing */
static int add_binary(struct fetch *f, struct command *cmd, const struct arg *arg)
{
    struct item *item = &f->items[f->n_items++];

    item->word = arg->word;
    item->section = arg->items[0].section;
    if (item->section->kind != SECTION_ALL)
        return imap_bad(cmd, "BINARY takes a part number, not %.*s",
                        SLICE_FMT(item->section->text));
    if (arg->word != FETCH_BINARY_SIZE) {
        item->partial = arg->items[1].kind;
        item->offset = arg->items[1].partial.offset;
        item->count = arg->items[1].partial.count;
    }
    f->sets_seen |= arg->word == FETCH_BINARY;
    f->digest = f->content = f->decodes = true;
    return 0;
}

static void add_rfc822(struct fetch *f, enum fetch_word word, bool peek)
{
    f->items[f->n_items++] = (struct item){
        .word = word,
        .section = word == FETCH_RFC822        ? &whole
                   : word == FETCH_RFC822_TEXT ? &text
                                               : &header,
    };
    f->sets_seen |= word != FETCH_RFC822_HEADER && !peek;
    f->digest = f->content = true;
}

static void add_macro(struct fetch *f, enum fetch_word word)
{
    add_item(f, FETCH_FLAGS);
    add_item(f, FETCH_INTERNALDATE);
    add_item(f, FETCH_SIZE);
    if (word != FETCH_FAST)
        add_item(f, FETCH_ENVELOPE);
    if (word == FETCH_FULL)
        add_item(f, FETCH_BODY);
}

static int add_word(struct imap *im, struct fetch *f, struct command *cmd, const struct arg *arg)
{
    switch (arg->word) {
    case FETCH_BODY:
    case FETCH_BODY_PEEK:
        return add_body(f, cmd, arg);
    case FETCH_BINARY:
    case FETCH_BINARY_PEEK:
    case FETCH_BINARY_SIZE:
        return add_binary(f, cmd, arg);
    case FETCH_RFC822:
    case FETCH_RFC822_HEADER:
    case FETCH_RFC822_TEXT:
        add_rfc822(f, arg->word, false);
        return 0;
    case FETCH_RFC822_PEEK: /* answered under the name without PEEK (RFC 1730 section 7.3) */
        add_rfc822(f, FETCH_RFC822, true);
        return 0;
    case FETCH_RFC822_TEXT_PEEK:
        add_rfc822(f, FETCH_RFC822_TEXT, true);
        return 0;
    case FETCH_ALL:
    case FETCH_FULL:
    case FETCH_FAST:
        add_macro(f, arg->word);
        return 0;
    case FETCH_MODSEQ:
        imap_enable_condstore(im);
        break;
    default:
        break;
    }
    add_item(f, arg->word);
    return 0;
}

static int add_modifier(struct imap *im, struct fetch *f, struct command *cmd,
                        const struct arg *modifier)
{
    if (modifier->word == FETCH_PARTIAL) {
        if (f->part_of)
            return imap_bad(cmd, "PARTIAL once");
        f->part_of = &modifier->items[0];
        return 0;
    }
    if (modifier->word == FETCH_VANISHED)
        return 0;
    f->changed_since = modifier->items[0].number; /* RFC 7162 section 3.1.4.1 */
    imap_enable_condstore(im);
    add_item(f, FETCH_MODSEQ);
    return 0;
}

static bool has_modifier(const struct command *cmd, int word)
{
    const struct arg *list = &cmd->parsed.args[2];

    for (size_t i = 0; list->kind && i < list->items[0].n; i++)
        if (list->items[0].items[i].word == word)
            return true;
    return false;
}

/* RFC 7162 section 3.2.6 */
static int check_vanished(struct imap *im, struct command *cmd)
{
    if (has_modifier(cmd, FETCH_VANISHED) &&
        (!has_modifier(cmd, FETCH_CHANGEDSINCE) || !(cmd->row->flags & CMD_UID) ||
         !(im->enabled & ENABLED_QRESYNC)))
        return imap_bad(cmd, "VANISHED needs UID FETCH, CHANGEDSINCE, and ENABLE QRESYNC");
    return 0;
}

/* "*" is the highest uid ever given here: the last messages may be what is gone. */
static void find_vanished(struct imap *im, struct fetch *f, const struct arg *set)
{
    CLEANUP(uidset_done) struct uidset asked = {0};
    struct state *st = account_state(im->account);

    for (size_t i = 0; i < set->set.n; i++) {
        uint32_t first = set->set.items[i].first, last = set->set.items[i].last;

        first = first ? first : UINT32_MAX;
        last = last ? last : UINT32_MAX;
        uidset_add_range(&asked, MIN(first, last), MAX(first, last));
    }
    if (set->set.saved)
        uidset_add_all(&asked, &im->saved);
    imap_find_vanished(im, st, f->changed_since, &asked, &f->vanished.uids);
    state_unref(st);
}

static int read_items(struct imap *im, struct fetch *f, struct command *cmd)
{
    const struct arg *args = cmd->parsed.args, *choice = &args[1];
    const struct arg *list = choice->kind == RULE_LIST ? &choice->items[0] : NULL;
    size_t n = list ? list->n : 1;
    int r = 0;

    f->items = arena_array(&cmd->arena, n + 8, sizeof *f->items); /* 8: macros, UID, MODSEQ */
    if (cmd->row->flags & CMD_UID && !(im->enabled & ENABLED_UIDONLY))
        add_item(f, FETCH_UID);
    for (size_t i = 0; i < n && r == 0; i++)
        r = add_word(im, f, cmd, list ? &list->items[i] : choice);
    r = r == 0 ? check_vanished(im, cmd) : r;
    for (size_t i = 0; args[2].kind && i < args[2].items[0].n && r == 0; i++)
        r = add_modifier(im, f, cmd, &args[2].items[0].items[i]);
    if (r == 0 && has_modifier(cmd, FETCH_VANISHED))
        find_vanished(im, f, &args[0]);
    return r;
}

/* RFC 9394 section 3.3: of the set's messages that are there, and that other modifiers leave, those
 * at the positions asked for. */
static void cut_to_part(struct imap *im, struct fetch *f)
{
    CLEANUP(uidset_done) struct uidset all = f->uids;
    CLEANUP(uidset_done) struct uidset present = {0};
    struct message m;
    uint32_t seq;
    bool gone;

    f->uids = (struct uidset){0};
    if (!all.n)
        return;
    for (struct view_iter i = view_each(im->view, &all); view_next(&i, &seq, &m, &gone);)
        if (m.modseq > f->changed_since || !f->changed_since)
            uidset_add(&present, m.uid);
    f->uids = search_return_part(&present, f->part_of);
}

static int begin(struct imap *im, struct command *cmd)
{
    struct fetch *f = NEW(struct fetch);
    int r;

    f->part.rebuilt = buf_make(BUF_MAX_DEFAULT);
    cmd->context = f;
    cmd->context_free = fetch_free;
    r = read_items(im, f, cmd);
    if (r == 0)
        r = imap_resolve_set(im, cmd, &cmd->parsed.args[0], &f->uids);
    if (r == 0 && f->part_of)
        r = imap_limit_check(im, cmd,
                             (uint64_t)f->part_of->range.last - f->part_of->range.first + 1, false);
    if (r == 0 && f->part_of)
        cut_to_part(im, f);
    else if (r == 0)
        imap_limit(im, im->view, cmd, &f->uids, false);
    return r;
}

/* --- batches -----------------------------------------------------------------------------------
 */

/* Takes uids up to `last` off the set: they have been looked at. */
static void advance(struct fetch *f, uint32_t last)
{
    while (f->range < f->uids.n && f->uids.items[f->range].last <= last)
        f->range++;
    if (f->range < f->uids.n && f->uids.items[f->range].first <= last)
        f->uids.items[f->range].first = last + 1;
}

/* What one more message makes of the bytes of a batch. */
static uint64_t weight(const struct fetch *f, const struct message *m)
{
    if (f->sets_seen)
        return m->size;
    return f->content ? MIN(m->size, LARGE) : 0;
}

static struct uidset rest_of(const struct fetch *f)
{
    return (struct uidset){.items = f->uids.items + f->range, .n = f->uids.n - f->range};
}

static void fill_batch(struct imap *im, struct fetch *f)
{
    const struct uidset rest = rest_of(f);
    struct view_iter i;
    struct fetched *to = f->batch;
    uint64_t bytes = 0;
    bool gone;

    f->n = f->at = 0;
    if (!rest.n)
        return;
    i = view_each(im->view, &rest);
    while (f->n < BATCH && bytes <= BATCH_BYTES) {
        if (!view_next(&i, &to->seq, &to->m, &gone)) {
            f->range = f->uids.n;
            return;
        }
        if (gone && !to->m.id) { /* nothing is known of it any more */
            f->some_gone = true;
            continue;
        }
        if (to->m.modseq <= f->changed_since)
            continue;
        to->seen_now = false;
        bytes += weight(f, &to->m);
        f->n++;
        to++;
    }
    advance(f, f->batch[f->n - 1].m.uid);
}

/* The messages of a batch, for reading: all, and those whose contents are small and wanted. */
struct wanted {
    uint64_t ids[BATCH], small[BATCH];
    size_t n, n_small;
};

static void want(const struct fetch *f, const struct message *m, struct wanted *to)
{
    to->ids[to->n++] = m->id;
    if (f->content && m->size <= MESSAGE_SMALL)
        to->small[to->n_small++] = m->id;
}

/* The batch behind this one, as it looks from here. */
static void begin_ahead(struct imap *im, struct fetch *f)
{
    const struct uidset rest = rest_of(f);
    struct wanted wanted;
    struct view_iter i;
    uint64_t bytes = 0;
    struct message m;
    uint32_t seq;
    bool gone;

    wanted.n = wanted.n_small = 0;
    if (!rest.n)
        return;
    i = view_each(im->view, &rest);
    while (wanted.n < BATCH && bytes <= BATCH_BYTES && view_next(&i, &seq, &m, &gone)) {
        if (!m.id || m.modseq <= f->changed_since)
            continue;
        want(f, &m, &wanted);
        bytes += weight(f, &m);
    }
    if (wanted.n)
        f->ahead =
            message_ahead_begin(im->account, wanted.ids, wanted.n, wanted.small, wanted.n_small);
}

static int read_batch(struct imap *im, struct fetch *f, struct error *err)
{
    struct wanted wanted;
    int r = 0;

    wanted.n = wanted.n_small = 0;
    for (size_t i = 0; i < f->n; i++)
        want(f, &f->batch[i].m, &wanted);
    message_ahead_wait(f->ahead);
    if (wanted.n_small)
        r = message_read_ahead(im->account, wanted.small, wanted.n_small, &f->contents, err);
    if (r == 0)
        r = message_digests(im->account, wanted.ids, wanted.n, f->digests, &f->hold, err);
    if (r < 0)
        return r;
    if (message_ahead_end(TAKE(f->ahead)) || hold_has_read(f->contents) || hold_has_read(f->hold))
        begin_ahead(im, f);
    return 0;
}

/* The batch again, as the view has it now. */
static void look_again(struct imap *im, struct fetch *f, const struct uidset *seen)
{
    for (size_t i = 0; i < f->n; i++) {
        struct fetched *e = &f->batch[i];

        if (view_message(im->view, e->m.uid, &e->m, NULL) && uidset_has(seen, e->m.uid))
            e->seen_now = true;
    }
}

static int set_seen(struct imap *im, struct command *cmd, struct fetch *f)
{
    CLEANUP(uidset_done) struct uidset uids = {0};
    CLEANUP(intent_done)
    struct intent intent = {
        .kind = INTENT_FLAGS,
        .mailbox = im->mailbox,
        .flags = {.system = FLAG_SEEN},
        .how = FLAGS_ADD,
    };
    int r;

    for (size_t i = 0; i < f->n; i++)
        if (!(f->batch[i].m.flags->system & FLAG_SEEN))
            uidset_add(&uids, f->batch[i].m.uid);
    if (!uids.n)
        return 0;
    intent.uids = uids;
    r = imap_commit(im, cmd, &intent);
    if (r == -ERR_UNKNOWN_OUTCOME || r == -ERR_UNAVAILABLE)
        return r;
    /* refused otherwise (deleted mailbox, closed account): the mail can be read all the same */
    if (r < 0)
        return 0;
    r = imap_update(im, false, &cmd->err);
    if (r < 0 && r != -ERR_NOTFOUND)
        return r;
    look_again(im, f, &intent.done);
    return 0;
}

/* 1: there is a batch; 0: all is done. */
static int next_batch(struct imap *im, struct command *cmd, struct fetch *f)
{
    int r;

    hold_release(TAKE(f->contents));
    hold_release(TAKE(f->hold));
    fill_batch(im, f);
    if (!f->n)
        return 0;
    r = f->digest ? read_batch(im, f, &cmd->err) : 0;
    if (r < 0)
        return r;
    if (f->sets_seen && !im->read_only) {
        r = set_seen(im, cmd, f);
        if (r < 0)
            return r;
    }
    return 1;
}

/* --- writing -----------------------------------------------------------------------------------
 */

static bool is_binary(const struct item *item)
{
    return item->word == FETCH_BINARY || item->word == FETCH_BINARY_PEEK ||
           item->word == FETCH_BINARY_SIZE;
}

static void write_label(struct buf *out, const struct item *item)
{
    switch (item->word) {
    case FETCH_RFC822:
        buf_add_str(out, "RFC822 ");
        return;
    case FETCH_RFC822_HEADER:
        buf_add_str(out, "RFC822.HEADER ");
        return;
    case FETCH_RFC822_TEXT:
        buf_add_str(out, "RFC822.TEXT ");
        return;
    default:
        buf_add_str(out, item->word == FETCH_BINARY_SIZE ? "BINARY.SIZE["
                         : is_binary(item)               ? "BINARY["
                                                         : "BODY[");
        buf_add_slice(out, item->section->text);
        buf_add_byte(out, ']');
        if (item->partial)
            buf_printf(out, "<%" PRIu64 ">", item->offset);
        buf_add_byte(out, ' ');
    }
}

static void clamp(const struct item *item, uint64_t *offset, uint64_t *len)
{
    uint64_t skip = item->partial ? MIN(item->offset, *len) : 0;

    *offset += skip;
    *len -= skip;
    if (item->partial)
        *len = MIN(*len, item->count);
}

static void write_literal_head(struct buf *out, uint64_t len)
{
    buf_add_byte(out, '{');
    buf_add_u64(out, len);
    buf_add_str(out, "}\r\n");
}

static int write_fields(struct fetch *f, const struct item *item, struct buf *out,
                        struct error *err)
{
    CLEANUP(buf_done) struct buf fields = buf_make(BUF_MAX_DEFAULT);
    uint64_t offset = 0, len;
    int r = fetch_part_fields(&f->part, item->section, &fields, err);

    if (r < 0)
        return r;
    write_label(out, item);
    if (r == 0) {
        buf_add_str(out, "NIL");
        return 0;
    }
    len = fields.n;
    clamp(item, &offset, &len);
    write_literal_head(out, len);
    buf_add_slice(out, slice_sub(buf_slice(&fields), (size_t)offset, (size_t)(offset + len)));
    return 0;
}

static int begin_binary(const struct imap *im, struct fetch *f, const struct item *item,
                        struct buf *out, struct error *err)
{
    static const struct binary_mark none;
    struct mdigest_section s;
    int r = fetch_part_find(&f->part, item->section, &s, err);

    if (r < 0)
        return r;
    if (r == 0) {
        write_label(out, item);
        buf_add_str(out, item->word == FETCH_BINARY_SIZE ? "0" : "NIL");
        return 0;
    }
    r = s.body_len ? fetch_part_content(&f->part, err) : 0;
    if (r < 0)
        return r;
    fetch_binary_begin(&f->binary, &f->part, &s, item->partial ? item->offset : 0,
                       item->partial ? item->count : UINT64_MAX, im->binary ? im->binary : &none);
    f->scanning = item;
    return 0;
}

/* Counts on; behind that, the head of the literal, or the number. */
static int scan(struct fetch *f, struct buf *out, struct error *err)
{
    const struct item *item = f->scanning;
    int r = fetch_binary_scan(&f->binary, &f->part, f->until, err);

    if (r <= 0)
        return r < 0 ? r : RUN_AGAIN;
    f->scanning = NULL;
    write_label(out, item);
    if (item->word == FETCH_BINARY_SIZE) {
        buf_add_u64(out, f->binary.size);
        fetch_binary_done(&f->binary);
        return 0;
    }
    if (f->binary.nul) /* RFC 3516 section 4.3 */
        buf_add_byte(out, '~');
    write_literal_head(out, f->binary.size);
    f->left = f->binary.size;
    return 0;
}

/* RFC 3516 section 4.3: "If the server does not know how to decode the section's CTE, it MUST fail
 * the request and issue a "NO" response that contains the "UNKNOWN-CTE" extended response code." It
 * is found out before anything of the message is sent. */
static int check_encodings(struct fetch *f, struct error *err)
{
    for (size_t i = 0; i < f->n_items; i++) {
        struct mdigest_section s;
        int r =
            is_binary(&f->items[i]) ? fetch_part_find(&f->part, f->items[i].section, &s, err) : 0;

        if (r < 0)
            return r;
        if (r > 0 && s.kind == MIME_LEAF && s.encoding == MIME_UNKNOWN) {
            f->unknown_cte = true;
            return error_set(err, ERR_NOPERM, "A part's encoding is not known");
        }
    }
    return 0;
}

static int write_section(struct imap *im, struct fetch *f, const struct item *item, struct buf *out,
                         struct error *err)
{
    uint64_t offset, len;
    int r;

    if (is_binary(item))
        return begin_binary(im, f, item, out, err);
    if (item->section->kind == SECTION_FIELDS || item->section->kind == SECTION_FIELDS_NOT)
        return write_fields(f, item, out, err);
    r = fetch_part_range(&f->part, item->section, &offset, &len, err);
    if (r < 0)
        return r;
    if (r > 0) {
        clamp(item, &offset, &len);
        r = len ? fetch_part_content(&f->part, err) : 0;
        if (r < 0)
            return r;
        write_label(out, item);
        write_literal_head(out, len);
        f->pos = offset;
        f->left = len;
        return 0;
    }
    write_label(out, item);
    buf_add_str(out, "NIL");
    return 0;
}

static int stream_binary(struct imap *im, struct fetch *f, struct buf *out, struct error *err)
{
    while (f->left && out->n < SESSION_SLICE) {
        int r = fetch_binary_read(&f->binary, &f->part, out, err);

        if (r < 0)
            return r;
        f->left -= (uint64_t)r;
    }
    if (f->left)
        return RUN_AGAIN;
    if (!im->binary)
        im->binary = NEW(struct binary_mark);
    *im->binary = *fetch_binary_mark(&f->binary);
    fetch_binary_done(&f->binary);
    return 0;
}

/* Bytes of the literal under way, as many as the slice takes. */
static int stream(struct imap *im, struct fetch *f, struct buf *out, struct error *err)
{
    if (f->binary.at.message)
        return stream_binary(im, f, out, err);
    while (f->left && out->n < SESSION_SLICE) {
        size_t n = (size_t)MIN(f->left, (uint64_t)CHUNK), before = out->n;
        int r = message_read(f->part.reader, f->pos, n, out, err);

        if (r < 0)
            return r;
        if (out->n - before != n)
            return error_set(err, ERR_INTERNAL, "A message is shorter than its digest says");
        f->pos += n;
        f->left -= n;
    }
    return f->left ? RUN_AGAIN : 0;
}

static int write_text(struct fetch *f, const char *label, struct slice *in_digest, uint32_t missing,
                      struct buf *out, struct error *err)
{
    int r = fetch_part_need(&f->part, missing, err);

    if (r < 0)
        return r;
    buf_add_str(out, label);
    buf_add_slice(out, *in_digest);
    return 0;
}

static void write_objectid(struct buf *out, const char *label, enum objectid_kind kind, uint64_t id)
{
    buf_add_str(out, label);
    buf_add_str(out, " (");
    objectid_write(out, kind, id);
    buf_add_byte(out, ')');
}

static int write_thread(struct fetch *f, const struct message *m, struct buf *out,
                        struct error *err)
{
    int r = fetch_part_need(&f->part, MDIGEST_NO_REFERENCES, err);

    if (r == 0)
        write_objectid(out, "THREADID", OBJECTID_THREAD, objectid_thread(&f->part.digest, m->id));
    return r;
}

static int write_item(struct imap *im, struct fetch *f, const struct item *item, struct error *err)
{
    const struct message *m = &f->batch[f->at].m;
    struct buf *out = &im->s.out;
    struct mdigest *d = &f->part.digest;

    if (item->section)
        return write_section(im, f, item, out, err);
    switch (item->word) {
    case FETCH_UID:
        buf_add_str(out, "UID ");
        buf_add_u64(out, m->uid);
        return 0;
    case FETCH_FLAGS:
        imap_write_flags(out, m->flags);
        view_told(im->view, m->uid);
        return 0;
    case FETCH_INTERNALDATE:
        buf_add_str(out, "INTERNALDATE ");
        imap_write_date(out, m->date);
        return 0;
    case FETCH_SIZE:
        buf_add_str(out, "RFC822.SIZE ");
        buf_add_u64(out, m->size);
        return 0;
    case FETCH_MODSEQ:
        imap_write_modseq(im, m->modseq);
        return 0;
    case FETCH_SAVEDATE:
        buf_add_str(out, "SAVEDATE ");
        imap_write_date(out, m->saved);
        return 0;
    case FETCH_EMAILID:
        write_objectid(out, "EMAILID", OBJECTID_EMAIL, m->id);
        return 0;
    case FETCH_THREADID:
        return write_thread(f, m, out, err);
    case FETCH_PREVIEW: /* RFC 8970: it is made when the message comes, LAZY or not */
        buf_add_str(out, "PREVIEW ");
        imap_write_string(out, d->preview);
        return 0;
    case FETCH_ENVELOPE:
        return write_text(f, "ENVELOPE ", &d->envelope, MDIGEST_NO_ENVELOPE, out, err);
    case FETCH_BODYSTRUCTURE:
        return write_text(f, "BODYSTRUCTURE ", &d->bodystructure, MDIGEST_NO_BODYSTRUCTURE, out,
                          err);
    default: /* BODY */
        return write_text(f, "BODY ", &d->body, MDIGEST_NO_BODY, out, err);
    }
}

static void write_end(struct imap *im, struct fetch *f)
{
    const struct fetched *e = &f->batch[f->at];
    struct buf *out = &im->s.out;

    if (e->seen_now && !f->has_flags) {
        buf_add_byte(out, ' ');
        imap_write_flags(out, e->m.flags);
        view_told(im->view, e->m.uid);
    }
    /* RFC 7162 section 3.2.4: also where FLAGS were asked for */
    if (e->seen_now && !f->has_modseq && im->enabled & ENABLED_CONDSTORE) {
        buf_add_byte(out, ' ');
        imap_write_modseq(im, e->m.modseq);
    }
    if (e->seen_now && !f->has_uid && im->enabled & (ENABLED_CONDSTORE | ENABLED_REV2))
        buf_printf(out, " UID %u", e->m.uid);
    buf_add_str(out, ")\r\n");
}

/* Thousands of items of one message, each a large header, are no reason to hold the worker. */
static bool slice_is_full(const struct imap *im, const struct fetch *f)
{
    return im->s.out.n >= SESSION_SLICE || (f->digest && clock_mono_ms() >= f->until);
}

static int write_message(struct imap *im, struct fetch *f, struct error *err)
{
    struct fetched *e = &f->batch[f->at];
    struct buf *out = &im->s.out;
    int r = 0;

    if (f->item == 0) {
        if (f->digest)
            r = fetch_part_open(&f->part, im->account, e->m.id, f->digests[f->at], err);
        if (r == 0 && f->decodes)
            r = check_encodings(f, err);
        if (r < 0)
            return r;
        imap_write_fetch(im, e->seq, e->m.uid);
    }
    for (;;) {
        r = f->scanning ? scan(f, out, err) : 0;
        if (r == 0)
            r = stream(im, f, out, err);
        if (r != 0)
            break;
        if (f->item == f->n_items) {
            write_end(im, f);
            break;
        }
        if (f->item)
            buf_add_byte(out, ' ');
        r = write_item(im, f, &f->items[f->item++], err);
        if (r < 0)
            break;
        if (f->item < f->n_items && slice_is_full(im, f)) {
            r = RUN_AGAIN;
            break;
        }
    }
    f->streaming = r == RUN_AGAIN;
    return r;
}

static void next_message(struct fetch *f)
{
    fetch_binary_done(&f->binary);
    f->scanning = NULL;
    fetch_part_done(&f->part);
    f->at++;
    f->item = 0;
    f->left = 0;
}

/* A message that cannot be read must not keep the others from the client: it is left out, and the
 * command says NO at its end. `start` is where its response begins in the output. */
static int write_or_skip(struct imap *im, struct fetch *f, struct error *err)
{
    size_t start = im->s.out.n;
    bool was_streaming = f->streaming;
    struct error why = {0};
    int r = write_message(im, f, &why);

    if (r == RUN_AGAIN)
        return r;
    if (r < 0 && was_streaming) {
        /* a literal of announced length is half sent: nothing but the end can follow */
        *err = why;
        return -ERR_UNKNOWN_OUTCOME;
    }
    if (r < 0)
        im->s.out.n = start;
    if (r == -ERR_UNAVAILABLE || r == -ERR_CANCELLED) {
        *err = why;
        return r;
    }
    if (r == -ERR_NOTFOUND)
        f->some_gone = true;
    else if (r < 0 && !f->unknown_cte && !f->damage.kind)
        f->damage = why;
    next_message(f);
    return 0;
}

static int finished(struct fetch *f, struct command *cmd)
{
    if (f->some_gone)
        return imap_no(cmd, "EXPUNGEISSUED", "Some of the messages are expunged");
    if (f->unknown_cte)
        return imap_no(cmd, "UNKNOWN-CTE", "The encoding of some of the parts is not known");
    if (f->damage.kind) /* RFC 5530 */
        return imap_no(cmd, "CORRUPTION", "%s", f->damage.text);
    return 0;
}

int cmd_fetch(struct imap *im, struct command *cmd)
{
    struct fetch *f;
    int r = cmd->context ? 0 : begin(im, cmd);

    if (r < 0)
        return r;
    f = cmd->context;
    f->until = clock_mono_ms() + WORK_MS;
    if (imap_tell_vanished(im, &f->vanished))
        return RUN_AGAIN;
    while (!slice_is_full(im, f)) {
        if (f->at == f->n) {
            r = next_batch(im, cmd, f);
            if (r < 0)
                return r;
            if (r == 0)
                return finished(f, cmd);
        }
        r = write_or_skip(im, f, &cmd->err);
        if (r != 0)
            return r;
    }
    return RUN_AGAIN;
}
