/* SPDX-License-Identifier: MPL-2.0 */
/* STANDARDS: RFC 6409 section 8, RFC 5322 section 3.6, RFC 5321 section 4.4 (no Return-Path in what
 * is sent), RFC 8689 section 5, RFC 3865 section 2.5. */
#include "protocols/submit/header.h"

#include "lib/base/mem.h"
#include "lib/mime/address.h"
#include "protocols/smtp/trace.h"

/* RFC 5322 section 3.6.8: printable ASCII but the colon; then, as people write it, blanks. */
bool submit_header_absent(struct slice line)
{
    ssize_t colon = slice_find(line, ':');
    struct slice name = slice_sub(line, 0, colon < 0 ? 0 : (size_t)colon);

    if (slice_eq(line, S("\r\n")) || slice_eq(line, S("\n")))
        return false;
    while (name.n && (name.p[name.n - 1] == ' ' || name.p[name.n - 1] == '\t'))
        name.n--;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] >= 0x7f)
            return true;
    return name.n == 0;
}

/* Which fields mean something here. */
enum field {
    DATE,
    MESSAGE_ID,
    SENDER,
    BCC,
    RETURN_PATH,
    RECEIVED,
    FROM,
    RESENT_FROM,
    TLS,
    SOLICITATION,
    OTHER
};

static enum field field_of(struct slice name)
{
    static const struct {
        const char *name;
        enum field field;
    } rows[] = {
        {"Date", DATE},
        {"Message-ID", MESSAGE_ID},
        {"Sender", SENDER},
        {"Bcc", BCC},
        {"Resent-Bcc", BCC},
        {"Return-Path", RETURN_PATH},
        {"Received", RECEIVED},
        {"From", FROM},
        {"Resent-From", RESENT_FROM},
        {"TLS-Required", TLS},
        {"Solicitation", SOLICITATION},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (slice_ieq(name, slice_str(rows[i].name)))
            return rows[i].field;
    return OTHER;
}

static bool needs_quotes(struct slice local)
{
    for (size_t i = 0; i < local.n; i++) {
        uint8_t c = local.p[i];

        if (c < 0x80 && !byte_is_alpha(c) && !byte_is_digit(c) &&
            !strchr("!#$%&'*+-/=?^_`{|}~.", c))
            return true;
    }
    return local.n == 0;
}

/* As it stands in a path: the local part quoted where it must be. */
static const char *mailbox_text(const struct address *address, struct arena *a)
{
    CLEANUP(buf_done) struct buf out = buf_make(address->mailbox.n * 2 + address->domain.n + 4);
    bool quotes = needs_quotes(address->mailbox);

    if (quotes)
        buf_add_byte(&out, '"');
    for (size_t i = 0; i < address->mailbox.n; i++) {
        uint8_t c = address->mailbox.p[i];

        if (quotes && (c == '"' || c == '\\'))
            buf_add_byte(&out, '\\');
        buf_add_byte(&out, c);
    }
    buf_printf(&out, "%s@", quotes ? "\"" : "");
    buf_add_slice(&out, address->domain);
    return arena_str(a, buf_slice(&out));
}

static const char *read_id(struct slice value, struct arena *a)
{
    CLEANUP(buf_done) struct buf id = buf_make(1000);
    size_t pos = 0;

    return msgid_next(value, &pos, &id) ? arena_str(a, buf_slice(&id)) : "";
}

static void read_authors(struct slice value, struct arena *a, struct submit_header *h)
{
    h->authors = arena_array(a, SUBMIT_AUTHORS_MAX, sizeof *h->authors);
    h->authors_n = 0;
    h->authors_damaged = false;
    for (const struct address *at = address_list_parse(a, value); at; at = at->next) {
        if (!at->domain.p) /* the start or the end of a group (RFC 6854) */
            continue;
        if (at->invalid || h->authors_n == SUBMIT_AUTHORS_MAX)
            h->authors_damaged = true;
        else
            h->authors[h->authors_n++] = mailbox_text(at, a);
    }
}

void submit_header_read(struct slice block, struct arena *a, struct submit_header *ret)
{
    struct header_reader r = header_reader_of(block);
    CLEANUP(buf_done) struct buf classes = buf_make(block.n + 1);
    struct slice from = {0}, resent = {0};
    struct header_field f;

    *ret = (struct submit_header){.block = block, .id = ""};
    while (header_next(&r, &f)) {
        enum field field = field_of(f.name);

        ret->has_date |= field == DATE;
        ret->has_message_id |= field == MESSAGE_ID;
        ret->has_sender |= field == SENDER;
        ret->has_bcc |= field == BCC;
        ret->received += field == RECEIVED;
        ret->from_fields += field == FROM;
        ret->tls_no |= field == TLS && slice_ieq(slice_trim(f.value), S("No"));
        if (field == MESSAGE_ID)
            ret->id = read_id(f.value, a);
        if (field == SOLICITATION) {
            buf_add_slice(&classes, f.value);
            buf_add_byte(&classes, ','); /* the value is shorter than its field by more than that */
        }
        if (field == FROM)
            from = f.value;
        if (field == RESENT_FROM && !resent.p)
            resent = f.value; /* the newest resending stands first */
    }
    ret->solicitation = arena_slice(a, buf_slice(&classes));
    /* RFC 5322 section 3.6.6: who resends leaves From as it is */
    if (resent.p || from.p)
        read_authors(resent.p ? resent : from, a, ret);
}

static void add_missing(const struct submit_header *h, const struct submit_fixes *fixes,
                        struct buf *out)
{
    if (!h->from_fields)
        buf_printf(out, "From: <%s>\r\n", fixes->from);
    if (h->authors_n > 1 && !h->has_sender)
        buf_printf(out, "Sender: <%s>\r\n", fixes->sender);
    if (!h->has_date) {
        buf_add_str(out, "Date: ");
        trace_date(fixes->date, out);
        buf_add_str(out, "\r\n");
    }
    if (!h->has_message_id)
        buf_printf(out, "Message-ID: <%s>\r\n", fixes->message_id);
}

void submit_header_write(const struct submit_header *h, const struct submit_fixes *fixes,
                         struct buf *out)
{
    struct header_reader r = header_reader_of(h->block);
    struct header_field f;

    add_missing(h, fixes, out);
    while (header_next(&r, &f)) {
        enum field field = field_of(f.name);

        if (field == RETURN_PATH || (field == BCC && !fixes->keep_bcc))
            continue;
        buf_add_slice(out, f.raw);
    }
    if (out->n && out->p[out->n - 1] != '\n')
        buf_add_str(out, "\r\n"); /* an end of input cut the last field */
    buf_add_str(out, "\r\n");
}
