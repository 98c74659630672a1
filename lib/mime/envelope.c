/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/mime/envelope.h"

#include "lib/mime/address.h"
#include "lib/mime/header.h"

/* With more than this many characters to be escaped a literal is shorter. */
#define ESCAPES_MAX 4

static void literal(struct buf *out, struct slice s)
{
    buf_add_byte(out, '{');
    buf_add_u64(out, s.n);
    buf_add_str(out, "}\r\n");
    buf_add_slice(out, s);
}

/* QUOTED-CHAR = TEXT-CHAR / "\" quoted-specials; TEXT-CHAR is 7 bit without CR and LF. NUL fits
 * neither a string nor a literal (RFC 3501 section 9, CHAR8) and is shown as U+FFFD. */
static bool quotable(struct slice s, size_t *ret_escapes)
{
    *ret_escapes = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] >= 0x80 || s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0')
            return false;
        *ret_escapes += s.p[i] == '"' || s.p[i] == '\\';
    }
    return *ret_escapes <= ESCAPES_MAX;
}

static void quoted(struct buf *out, struct slice s, bool escapes)
{
    uint8_t *to = buf_reserve(out, 2 * s.n + 2), *start = to;

    if (!to)
        return;
    *to++ = '"';
    if (!escapes) {
        if (s.n)
            memcpy(to, s.p, s.n);
        to += s.n;
    }
    for (size_t i = 0; escapes && i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            *to++ = '\\';
        *to++ = s.p[i];
    }
    *to++ = '"';
    out->n += (size_t)(to - start);
}

void imap_nstring(struct buf *out, struct slice s)
{
    struct buf clean;
    size_t escapes;

    if (!s.p) {
        buf_add_str(out, "NIL");
    } else if (quotable(s, &escapes)) {
        quoted(out, s, escapes > 0);
    } else if (slice_find(s, '\0') >= 0) {
        clean = buf_make(BUF_MAX_DEFAULT);
        for (size_t i = 0; i < s.n; i++) {
            if (s.p[i])
                buf_add_byte(&clean, s.p[i]);
            else
                buf_add_str(&clean, "\xEF\xBF\xBD");
        }
        literal(out, buf_slice(&clean));
        buf_done(&clean);
    } else {
        literal(out, s);
    }
}

void imap_nstring_unfolded(struct buf *out, struct slice s)
{
    struct buf clean;

    if (!s.p || (slice_find(s, '\n') < 0 && slice_find(s, '\r') < 0 && slice_find(s, '\0') < 0)) {
        imap_nstring(out, s);
        return;
    }
    clean = buf_make(BUF_MAX_DEFAULT);
    header_unfold(&clean, s);
    imap_nstring(out, clean.p ? buf_slice(&clean) : S(""));
    buf_done(&clean);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* May it go out in quotes as it is? */
static bool is_plain_text(struct slice s)
{
    bool space = true;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] >= 0x80 || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '\0')
            return false;
        if (is_space(s.p[i]) && (space || s.p[i] != ' '))
            return false;
        space = is_space(s.p[i]);
    }
    return s.n == 0 || !space;
}

void imap_text(struct buf *out, struct slice s)
{
    struct buf clean;
    bool space = false;

    if (!s.p) {
        buf_add_str(out, "NIL");
        return;
    }
    if (is_plain_text(s)) {
        quoted(out, s, false);
        return;
    }
    clean = buf_make(BUF_MAX_DEFAULT);
    for (size_t i = 0; i < s.n; i++) {
        if (is_space(s.p[i])) {
            space = clean.n > 0;
            continue;
        }
        if (space)
            buf_add_byte(&clean, ' ');
        space = false;
        if (s.p[i])
            buf_add_byte(&clean, s.p[i]);
        else
            buf_add_str(&clean, "\xEF\xBF\xBD");
    }
    if (clean.n == 0)
        buf_add_str(out, "\"\"");
    else
        literal(out, buf_slice(&clean));
    buf_done(&clean);
}

enum field {
    DATE,
    SUBJECT,
    FROM,
    SENDER,
    REPLY_TO,
    TO,
    CC,
    BCC,
    IN_REPLY_TO,
    MESSAGE_ID,
    FIELD_COUNT
};

static const struct slice names[FIELD_COUNT] = {
    [DATE] = S("Date"),
    [SUBJECT] = S("Subject"),
    [FROM] = S("From"),
    [SENDER] = S("Sender"),
    [REPLY_TO] = S("Reply-To"),
    [TO] = S("To"),
    [CC] = S("Cc"),
    [BCC] = S("Bcc"),
    [IN_REPLY_TO] = S("In-Reply-To"),
    [MESSAGE_ID] = S("Message-ID"),
};

struct envelope {
    struct slice texts[FIELD_COUNT];
    struct address *first[FIELD_COUNT], **last[FIELD_COUNT];
};

static bool is_address_field(int field)
{
    return field >= FROM && field <= BCC;
}

static int field_of(struct slice name)
{
    for (int i = 0; i < FIELD_COUNT; i++) {
        if (name.n == names[i].n && byte_lower(name.p[0]) == byte_lower(names[i].p[0]) &&
            slice_ieq(name, names[i]))
            return i;
    }
    return -1;
}

/* Several address fields are one list, so that a client shows all authors and not the first or the
 * last alone. */
static void take_field(struct envelope *e, struct arena *a, int field, struct slice value)
{
    if (!is_address_field(field)) {
        e->texts[field] = value.p ? value : S("");
        return;
    }
    if (!e->last[field])
        e->last[field] = &e->first[field];
    *e->last[field] = address_list_parse(a, value);
    while (*e->last[field])
        e->last[field] = &(*e->last[field])->next;
}

static void write_addresses(struct buf *out, const struct address *list)
{
    if (!list) {
        buf_add_str(out, " NIL");
        return;
    }
    buf_add_str(out, " (");
    for (; list; list = list->next) {
        buf_add_byte(out, '(');
        imap_text(out, list->name);
        buf_add_byte(out, ' ');
        imap_nstring(out, list->route);
        buf_add_byte(out, ' ');
        imap_nstring(out, list->mailbox);
        buf_add_byte(out, ' ');
        imap_nstring(out, list->domain);
        buf_add_byte(out, ')');
    }
    buf_add_byte(out, ')');
}

void envelope_write(struct buf *out, struct slice header_block)
{
    struct header_reader r = header_reader_of(header_block);
    struct header_field f;
    struct envelope e = {0};
    struct arena arena = {0};
    int field;

    while (header_next(&r, &f)) {
        field = f.name.n > 0 ? field_of(f.name) : -1;
        if (field >= 0)
            take_field(&e, &arena, field, f.value);
    }
    buf_add_byte(out, '(');
    imap_nstring_unfolded(out, e.texts[DATE]);
    buf_add_byte(out, ' ');
    imap_text(out, e.texts[SUBJECT]);
    for (field = FROM; field <= BCC; field++) {
        bool as_from = (field == SENDER || field == REPLY_TO) && !e.first[field];

        write_addresses(out, e.first[as_from ? FROM : field]);
    }
    buf_add_byte(out, ' ');
    imap_nstring_unfolded(out, e.texts[IN_REPLY_TO]);
    buf_add_byte(out, ' ');
    imap_nstring_unfolded(out, e.texts[MESSAGE_ID]);
    buf_add_byte(out, ')');
    arena_done(&arena);
}
