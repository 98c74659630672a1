/* SPDX-License-Identifier: MPL-2.0 */
/* Atoms, strings, sets, flags, dates, sections: what rules end in. */
#include "protocols/imap/reader.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mime/nfc.h"

/* --- bytes -------------------------------------------------------------------------------------
 */

bool reader_is_atom_char(uint8_t c)
{
    return c > ' ' && c < 0x7f && !strchr("(){%*\"\\]", c);
}

bool reader_is_astring_char(uint8_t c)
{
    return reader_is_atom_char(c) || c == ']';
}

bool reader_is_pattern_char(uint8_t c)
{
    return reader_is_astring_char(c) || c == '%' || c == '*';
}

/* Names of words: letters and what occurs in "+FLAGS.SILENT", "\Sent", "RFC822.SIZE". */
bool reader_is_word_char(uint8_t c)
{
    return byte_is_alpha(c) || byte_is_digit(c) || (c && strchr(".+-_/=\\", c));
}

bool reader_is_base64_char(uint8_t c)
{
    return byte_is_alpha(c) || byte_is_digit(c) || c == '+' || c == '/' || c == '=';
}

enum parse_result reader_wrong(struct reader *x, const char *wanted)
{
    uint8_t c = reader_peek(x, 0);

    if (x->pos >= x->n || c == '\r' || c == '\n')
        error_set(x->err, ERR_INVALID, "Expected %s, but the command ends", wanted);
    else if (c > ' ' && c < 0x7f)
        error_set(x->err, ERR_INVALID, "Expected %s before '%c' (argument byte %zu)", wanted, c,
                  x->pos);
    else
        error_set(x->err, ERR_INVALID, "Expected %s at argument byte %zu", wanted, x->pos);
    return PARSE_WRONG;
}

enum parse_result reader_over(struct reader *x, const char *what, unsigned limit)
{
    error_set(x->err, ERR_LIMIT, "Too many %s: %u are taken", what, limit);
    return PARSE_WRONG;
}

struct slice reader_span(struct reader *x, bool (*in)(uint8_t c))
{
    size_t from = x->pos;

    while (x->pos < x->n && in(x->p[x->pos]))
        x->pos++;
    return slice_of(x->p + from, x->pos - from);
}

bool reader_digits(struct reader *x, uint64_t max, uint64_t *ret)
{
    size_t from = x->pos;

    while (byte_is_digit(reader_peek(x, 0)))
        x->pos++;
    if (slice_to_u64(slice_of(x->p + from, x->pos - from), max, ret))
        return true;
    x->pos = from;
    return false;
}

/* --- strings -----------------------------------------------------------------------------------
 */

static enum parse_result quoted(struct reader *x, struct slice *ret)
{
    size_t from = ++x->pos, n = 0;
    char *to;

    while (reader_peek(x, 0) != '"') {
        if (reader_peek(x, 0) == '\\') {
            x->pos++;
            if (reader_peek(x, 0) != '"' && reader_peek(x, 0) != '\\')
                return reader_wrong(x, "\\\" or \\\\ in the quoted string");
        }
        if (reader_peek(x, 0) == 0 || reader_peek(x, 0) == '\r' || reader_peek(x, 0) == '\n')
            return reader_wrong(x, "a quote at the end of the string");
        x->pos++;
    }
    to = arena_alloc(x->arena, x->pos - from + 1);
    for (size_t i = from; i < x->pos; i++) {
        if (x->p[i] == '\\')
            i++;
        to[n++] = (char)x->p[i];
    }
    x->pos++;
    *ret = slice_of(to, n);
    /* RFC 6855 section 3: "the server MUST reject, with a "BAD" response, any octet sequences with
     * the high bit set that fail to comply with the formal syntax requirements of UTF-8" */
    if (x->limits->utf8 && !utf8_valid(*ret))
        return reader_wrong(x, "UTF-8 in a quoted string");
    return PARSE_OK;
}

/* "{n}" or "{n+}" and its line end; the position is behind it. */
enum parse_result read_literal_head(struct reader *x, uint64_t *ret_n)
{
    x->pos++;
    if (!reader_digits(x, INT64_MAX, ret_n))
        return reader_wrong(x, "the size of a literal");
    if (reader_peek(x, 0) == '+')
        x->pos++;
    if (reader_peek(x, 0) != '}')
        return reader_wrong(x, "} behind the size of a literal");
    x->pos++;
    if (reader_peek(x, 0) == '\r')
        x->pos++;
    if (reader_peek(x, 0) != '\n')
        return reader_wrong(x, "a line end behind a literal's }");
    x->pos++;
    return PARSE_OK;
}

static enum parse_result literal(struct reader *x, struct slice *ret, bool nul)
{
    uint64_t n;
    enum parse_result r = read_literal_head(x, &n);

    if (r != PARSE_OK)
        return r;
    if (x->pos == x->n && n > 0)
        return PARSE_NEED;
    if (n > x->n - x->pos)
        return PARSE_NEED;
    if (n && !nul && memchr(x->p + x->pos, 0, (size_t)n)) /* RFC 3501 section 9: CHAR8 is not NUL */
        return reader_wrong(x, "no NUL in a literal");
    *ret = arena_slice(x->arena, slice_of(x->p + x->pos, (size_t)n));
    x->pos += (size_t)n;
    return x->pos == x->n ? PARSE_NEED : PARSE_OK;
}

enum parse_result read_string(struct reader *x, struct slice *ret, const char *what)
{
    if (reader_peek(x, 0) == '"')
        return quoted(x, ret);
    if (reader_peek(x, 0) == '{')
        return literal(x, ret, false);
    return reader_wrong(x, what);
}

enum parse_result read_value(struct reader *x, struct slice *ret, const char *what)
{
    if (reader_peek(x, 0) != '~' || reader_peek(x, 1) != '{')
        return read_nstring(x, ret, what);
    x->pos++;
    return literal(x, ret, true);
}

enum parse_result read_any_string(struct reader *x, struct slice *ret, bool (*in)(uint8_t c),
                                  const char *what)
{
    struct slice s;

    if (reader_peek(x, 0) == '"' || reader_peek(x, 0) == '{')
        return read_string(x, ret, what);
    s = reader_span(x, in);
    if (s.n == 0)
        return reader_wrong(x, what);
    *ret = arena_slice(x->arena, s);
    return PARSE_OK;
}

enum parse_result read_nstring(struct reader *x, struct slice *ret, const char *what)
{
    if (reader_peek(x, 0) == '"' || reader_peek(x, 0) == '{')
        return read_string(x, ret, what);
    if (!slice_ieq(slice_sub(slice_of(x->p, x->n), x->pos, x->pos + 3), S("NIL")))
        return reader_wrong(x, what);
    x->pos += 3;
    *ret = (struct slice){0};
    return PARSE_OK;
}

/* RFC 9051 section 5.1: "Servers that choose to accept such denormalized UTF-8 mailbox names MUST
 * accept them in all IMAP commands that have a mailbox name parameter." */
struct slice imap_mailbox_name(struct arena *arena, struct slice utf8)
{
    CLEANUP(buf_done) struct buf composed = buf_make(BUF_MAX_DEFAULT);
    struct slice s = arena_slice(arena, nfc_add(&composed, utf8) ? buf_slice(&composed) : utf8);

    if (slice_istarts(s, S("INBOX")) && (s.n == 5 || s.p[5] == '/'))
        memcpy((char *)s.p, "INBOX", 5);
    return s;
}

/* Modified UTF-7, or UTF-8 from clients that write it. */
enum parse_result read_name(struct reader *x, struct arg *arg, bool (*in)(uint8_t c),
                            const char *what)
{
    CLEANUP(buf_done) struct buf utf8 = buf_make(BUF_MAX_DEFAULT);
    enum parse_result r = read_any_string(x, &arg->text, in, what);

    if (r != PARSE_OK)
        return r;
    if (x->limits->utf8)
        arg->malformed = !utf8_valid(arg->text);
    else
        arg->malformed = mutf7_decode(&utf8, arg->text) < 0;
    if (arg->malformed)
        return PARSE_OK;
    arg->given = x->limits->utf8 ? arg->text : arena_slice(x->arena, buf_slice(&utf8));
    arg->text = imap_mailbox_name(x->arena, arg->given);
    return PARSE_OK;
}

/* --- sets --------------------------------------------------------------------------------------
 */

static bool set_number(struct reader *x, uint32_t *ret)
{
    size_t from = x->pos;
    uint64_t n;

    if (reader_peek(x, 0) == '*') {
        x->pos++;
        *ret = 0;
        return true;
    }
    if (!reader_digits(x, UINT32_MAX, &n) || n == 0) {
        x->pos = from;
        return false;
    }
    *ret = (uint32_t)n;
    return true;
}

static bool set_range(struct reader *x, struct seq_range *ret)
{
    if (!set_number(x, &ret->first))
        return false;
    ret->last = ret->first;
    return !reader_byte(x, ':') || set_number(x, &ret->last);
}

enum parse_result read_set(struct reader *x, struct arg *arg, const char *what)
{
    CLEANUP_FREE void *items = NULL;
    size_t n = 0, cap = 0;

    for (;;) {
        struct seq_range range;

        if (reader_byte(x, '$')) {
            arg->set.saved = true;
        } else if (!set_range(x, &range)) {
            return reader_wrong(x, what);
        } else {
            if (n == x->limits->set)
                return reader_over(x, "ranges in a set", x->limits->set);
            if (n == cap) {
                cap = cap ? cap * 2 : 4;
                items = mem_realloc(items, cap, sizeof range);
            }
            ((struct seq_range *)items)[n++] = range;
        }
        if (!reader_byte(x, ','))
            break;
    }
    arg->set.items = arena_array(x->arena, n, sizeof(struct seq_range));
    if (n)
        memcpy(arg->set.items, items, n * sizeof(struct seq_range));
    arg->set.n = n;
    return PARSE_OK;
}

/* RFC 9394 section 4: both ends are of one sign, none is 0, and their order does not matter. */
enum parse_result read_range(struct reader *x, struct arg *arg, const char *what)
{
    bool minus = reader_byte(x, '-');
    uint64_t a, b;

    if (!reader_digits(x, UINT32_MAX, &a) || a == 0 || !reader_byte(x, ':') ||
        (minus && !reader_byte(x, '-')) || !reader_digits(x, UINT32_MAX, &b) || b == 0)
        return reader_wrong(x, what);
    arg->range.first = (uint32_t)MIN(a, b);
    arg->range.last = (uint32_t)MAX(a, b);
    arg->range.from_end = minus;
    return PARSE_OK;
}

/* --- flags -------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    uint8_t flag;
} system_flags[] = {
    {"Seen", FLAG_SEEN},       {"Answered", FLAG_ANSWERED}, {"Flagged", FLAG_FLAGGED},
    {"Deleted", FLAG_DELETED}, {"Draft", FLAG_DRAFT},
};

static enum parse_result system_flag(struct reader *x, uint8_t *flags)
{
    struct slice s;

    x->pos++;
    s = reader_span(x, reader_is_atom_char);
    if (s.n == 0)
        return reader_wrong(x, "the name of a flag behind its backslash");
    /* RFC 3501 section 7.1, PERMANENTFLAGS: "If the client attempts to STORE a flag that is not in
     * the PERMANENTFLAGS list, the server will either ignore the change or ...": ignored, \Recent
     * among them. A message that somebody appends with a flag of another server is worth more. */
    for (size_t i = 0; i < ARRAY_LEN(system_flags); i++)
        if (slice_ieq(s, slice_str(system_flags[i].name)))
            *flags |= system_flags[i].flag;
    return PARSE_OK;
}

static int keyword_order(const void *a, const void *b)
{
    const struct slice *l = a, *r = b;

    for (size_t i = 0; i < l->n && i < r->n; i++)
        if (byte_lower(l->p[i]) != byte_lower(r->p[i]))
            return byte_lower(l->p[i]) - byte_lower(r->p[i]);
    return (l->n > r->n) - (l->n < r->n);
}

static void keywords_unique(struct flags *f)
{
    size_t n = 0;

    if (f->n_keywords)
        qsort(f->keywords, f->n_keywords, sizeof *f->keywords, keyword_order);
    for (size_t i = 0; i < f->n_keywords; i++)
        if (n == 0 || !slice_ieq(f->keywords[n - 1], f->keywords[i]))
            f->keywords[n++] = f->keywords[i];
    f->n_keywords = n;
}

static enum parse_result flag(struct reader *x, struct flags *f, size_t *cap)
{
    struct slice s, *grown;

    if (++x->arguments > x->limits->arguments)
        return reader_over(x, "arguments", x->limits->arguments);
    if (reader_peek(x, 0) == '\\')
        return system_flag(x, &f->system);
    s = reader_span(x, reader_is_atom_char);
    if (s.n == 0)
        return reader_wrong(x, "a flag or keyword");
    if (f->n_keywords == *cap) {
        *cap = *cap ? *cap * 2 : 4;
        grown = arena_array(x->arena, *cap, sizeof *grown);
        if (f->n_keywords)
            memcpy(grown, f->keywords, f->n_keywords * sizeof *grown);
        f->keywords = grown;
    }
    f->keywords[f->n_keywords++] = arena_slice(x->arena, s);
    return PARSE_OK;
}

enum parse_result read_flags(struct reader *x, struct arg *arg, bool list_only)
{
    bool list = reader_peek(x, 0) == '(';
    size_t cap = 0;
    enum parse_result r;

    if (!list && list_only)
        return reader_wrong(x, "a list of flags");
    x->pos += list;
    if (!list || reader_peek(x, 0) != ')') {
        for (;;) {
            r = flag(x, &arg->flags, &cap);
            if (r != PARSE_OK)
                return r;
            if (reader_peek(x, 0) != ' ' ||
                (!list && (reader_peek(x, 1) == '\r' || reader_peek(x, 1) == '\n')))
                break;
            x->pos++;
        }
    }
    if (list && reader_peek(x, 0) != ')')
        return reader_wrong(x, "a flag or )");
    x->pos += list;
    keywords_unique(&arg->flags);
    return PARSE_OK;
}

/* --- dates -------------------------------------------------------------------------------------
 */

static bool fixed_digits(struct reader *x, size_t n, int *ret)
{
    int v = 0;

    for (size_t i = 0; i < n; i++, x->pos++) {
        if (!byte_is_digit(reader_peek(x, 0)))
            return false;
        v = v * 10 + (reader_peek(x, 0) - '0');
    }
    *ret = v;
    return true;
}

bool reader_byte(struct reader *x, uint8_t c)
{
    if (reader_peek(x, 0) != c)
        return false;
    x->pos++;
    return true;
}

/* "Feb-1994" */
static bool month_year(struct reader *x, struct civil *c)
{
    struct slice s = slice_sub(slice_of(x->p, x->n), x->pos, x->pos + 3);

    for (int i = 0; i < 12; i++)
        if (slice_ieq(s, slice_str(clock_month_names[i])))
            c->month = i + 1;
    x->pos += s.n;
    return c->month && reader_byte(x, '-') && fixed_digits(x, 4, &c->year);
}

enum parse_result read_date(struct reader *x, struct arg *arg, const char *what)
{
    bool quote = reader_byte(x, '"');
    struct civil c = {0};
    uint64_t day;

    if (!reader_digits(x, 31, &day) || !reader_byte(x, '-'))
        return reader_wrong(x, what);
    c.day = (int)day;
    if (!month_year(x, &c) || !civil_valid(&c) || (quote && !reader_byte(x, '"')))
        return reader_wrong(x, what);
    arg->date = civil_to_unix(&c);
    return PARSE_OK;
}

static bool zone(struct reader *x, struct civil *c)
{
    bool west = reader_peek(x, 0) == '-';
    int hours, minutes;

    if (!west && reader_peek(x, 0) != '+')
        return false;
    x->pos++;
    if (!fixed_digits(x, 2, &hours) || !fixed_digits(x, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    c->zone = (hours * 60 + minutes) * (west ? -1 : 1);
    return true;
}

/* date-day-fixed: two digits, or a blank and one; iOS sends one digit alone */
static bool day_fixed(struct reader *x, int *ret)
{
    bool blank = reader_byte(x, ' ');

    return fixed_digits(x, blank || !byte_is_digit(reader_peek(x, 1)) ? 1 : 2, ret);
}

/* " 7-Feb-1994 21:52:25 -0800" in quotes */
enum parse_result read_date_time(struct reader *x, struct arg *arg, const char *what)
{
    struct civil c = {0};

    if (!reader_byte(x, '"') || !day_fixed(x, &c.day) || !reader_byte(x, '-') ||
        !month_year(x, &c) || !reader_byte(x, ' ') || !fixed_digits(x, 2, &c.hour) ||
        !reader_byte(x, ':') || !fixed_digits(x, 2, &c.minute) || !reader_byte(x, ':') ||
        !fixed_digits(x, 2, &c.second) || !reader_byte(x, ' ') || !zone(x, &c) ||
        !reader_byte(x, '"') || !civil_valid(&c))
        return reader_wrong(x, what);
    arg->date = civil_to_unix(&c);
    return PARSE_OK;
}

/* --- sections ----------------------------------------------------------------------------------
 */

static enum parse_result section_numbers(struct reader *x, struct imap_section *s)
{
    uint64_t n;

    s->numbers = arena_array(x->arena, x->limits->nesting, sizeof *s->numbers);
    while (byte_is_digit(reader_peek(x, 0))) {
        if (!reader_digits(x, UINT32_MAX, &n) || n == 0)
            return reader_wrong(x, "a part number");
        if (s->n_numbers == x->limits->nesting)
            return reader_over(x, "levels in a part number", x->limits->nesting);
        s->numbers[s->n_numbers++] = (uint32_t)n;
        if (reader_peek(x, 0) != '.')
            return PARSE_OK;
        x->pos++;
    }
    return s->n_numbers && !byte_is_alpha(reader_peek(x, 0))
               ? reader_wrong(x, "a part number or section name")
               : PARSE_OK;
}

static enum parse_result section_fields(struct reader *x, struct imap_section *s)
{
    size_t cap = 0;
    struct slice *grown;
    enum parse_result r;

    if (!reader_byte(x, ' ') || !reader_byte(x, '('))
        return reader_wrong(x, "a list of header field names");
    for (;;) {
        if (++x->arguments > x->limits->arguments)
            return reader_over(x, "arguments", x->limits->arguments);
        if (s->n_fields == cap) {
            cap = cap ? cap * 2 : 4;
            grown = arena_array(x->arena, cap, sizeof *grown);
            if (s->n_fields)
                memcpy(grown, s->fields, s->n_fields * sizeof *grown);
            s->fields = grown;
        }
        r = read_any_string(x, &s->fields[s->n_fields++], reader_is_astring_char,
                            "a header field name");
        if (r != PARSE_OK)
            return r;
        if (!reader_byte(x, ' '))
            break;
    }
    return reader_byte(x, ')') ? PARSE_OK : reader_wrong(x, "a header field name or )");
}

static const struct {
    const char *name;
    enum section_kind kind;
} section_names[] = {
    {"HEADER", SECTION_HEADER},
    {"HEADER.FIELDS", SECTION_FIELDS},
    {"HEADER.FIELDS.NOT", SECTION_FIELDS_NOT},
    {"TEXT", SECTION_TEXT},
    {"MIME", SECTION_MIME},
};

static enum parse_result section_name(struct reader *x, struct imap_section *s)
{
    struct slice word = reader_span(x, reader_is_word_char);

    for (size_t i = 0; i < ARRAY_LEN(section_names); i++) {
        if (!slice_ieq(word, slice_str(section_names[i].name)))
            continue;
        s->kind = section_names[i].kind;
        if (s->kind == SECTION_MIME && s->n_numbers == 0)
            return reader_wrong(x, "a part number before MIME");
        if (s->kind == SECTION_FIELDS || s->kind == SECTION_FIELDS_NOT)
            return section_fields(x, s);
        return PARSE_OK;
    }
    return reader_wrong(x, "HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME");
}

/* What is between the brackets, as the answer shows it: an astring that is no atom is quoted, and
 * what cannot be quoted (it came as a literal) is a literal again. */
static struct slice section_text(struct reader *x, const struct imap_section *s)
{
    CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);

    for (size_t i = 0; i < s->n_numbers; i++)
        buf_printf(&b, "%s%u", i ? "." : "", s->numbers[i]);
    if (s->kind != SECTION_ALL)
        buf_printf(&b, "%s%s", s->n_numbers ? "." : "", section_names[s->kind - 1].name);
    for (size_t i = 0; i < s->n_fields; i++) {
        bool atom = s->fields[i].n > 0, quotable = true;

        for (size_t k = 0; k < s->fields[i].n; k++) {
            uint8_t c = s->fields[i].p[k];

            atom = atom && reader_is_astring_char(c) && c != ']';
            quotable = quotable && c >= ' ' && c < 0x7f && c != '"' && c != '\\';
        }
        buf_add_str(&b, i ? " " : " (");
        if (atom)
            buf_add_slice(&b, s->fields[i]);
        else if (quotable)
            buf_printf(&b, "\"%.*s\"", SLICE_FMT(s->fields[i]));
        else
            buf_printf(&b, "{%zu}\r\n%.*s", s->fields[i].n, SLICE_FMT(s->fields[i]));
    }
    if (s->n_fields)
        buf_add_byte(&b, ')');
    return arena_slice(x->arena, buf_slice(&b));
}

enum parse_result read_section(struct reader *x, struct arg *arg)
{
    struct imap_section *s = ARENA_NEW(x->arena, struct imap_section);
    enum parse_result r;

    if (!reader_byte(x, '['))
        return reader_wrong(x, "[");
    r = section_numbers(x, s);
    if (r == PARSE_OK && reader_peek(x, 0) != ']')
        r = section_name(x, s);
    if (r != PARSE_OK)
        return r;
    if (!reader_byte(x, ']'))
        return reader_wrong(x, "]");
    s->text = section_text(x, s);
    arg->section = s;
    return PARSE_OK;
}

enum parse_result read_partial(struct reader *x, struct arg *arg)
{
    uint64_t offset, count;

    if (!reader_byte(x, '<') || !reader_digits(x, INT64_MAX, &offset) || !reader_byte(x, '.') ||
        !reader_digits(x, INT64_MAX, &count) || count == 0 || !reader_byte(x, '>'))
        return reader_wrong(x, "<offset.count>");
    arg->partial.offset = offset;
    arg->partial.count = count;
    return PARSE_OK;
}
