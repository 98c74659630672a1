/* SPDX-License-Identifier: MPL-2.0 */
/* The interpreter of rules: one function a kind, and parse_rules that walks an array of them.
 *
 * Every function reads at x->pos and returns PARSE_OK, or says why not in x->err. No rule needs
 * more than the next byte, or the next word, to know whether it can begin here (`begins`), so there
 * is no backtracking and the work is linear. Depth is counted at each nested array of rules.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "protocols/imap/rules.h"

#define WORD_MAX 40

struct reader {
    const uint8_t *p;
    size_t n, pos;
    const struct parse_limits *limits;
    struct arena *arena;
    unsigned depth, arguments;
    struct error *err;
};

static enum parse_result parse_rules(struct reader *x, const struct rule *rules, bool first_tight,
                                     struct arg **ret_args, size_t *ret_n);
static enum parse_result parse_one(struct reader *x, const struct rule *rule, struct arg *arg);

/* What a rule wants, for people, where it does not say so itself. */
static const char *const kind_names[] = {
    [RULE_END] = "the end of the command",
    [RULE_ATOM] = "an atom",
    [RULE_ASTRING] = "a string",
    [RULE_STRING] = "a quoted string or literal",
    [RULE_NSTRING] = "a quoted string, a literal or NIL",
    [RULE_MAILBOX] = "a mailbox name",
    [RULE_PATTERN] = "a mailbox pattern",
    [RULE_BASE64] = "base64",
    [RULE_NUMBER] = "a number",
    [RULE_NUMBER64] = "a number",
    [RULE_SET] = "a sequence set",
    [RULE_FLAGS] = "flags",
    [RULE_FLAG_LIST] = "a list of flags",
    [RULE_DATE] = "a date like 1-Feb-1994",
    [RULE_DATE_TIME] = "a date like \"17-Jul-1996 02:44:25 -0700\"",
    [RULE_SECTION] = "[",
    [RULE_PARTIAL] = "<offset.count>",
    [RULE_STREAM] = "a literal",
    [RULE_WORD] = "a word",
    [RULE_LIST] = "a list in parentheses",
    [RULE_CHOICE] = "an argument",
};

static const char *what_of(const struct rule *rule)
{
    return rule->what ? rule->what : kind_names[rule->kind];
}

/* --- bytes ------------------------------------------------------------------------------------- */

/* The byte at an offset from here; 0 behind the end (0 itself is never allowed outside literals). */
static uint8_t peek(const struct reader *x, size_t at)
{
    return x->pos + at < x->n ? x->p[x->pos + at] : 0;
}

static bool is_atom_char(uint8_t c)
{
    return c > ' ' && c < 0x7f && !strchr("(){%*\"\\]", c);
}

static bool is_astring_char(uint8_t c)
{
    return is_atom_char(c) || c == ']';
}

static bool is_pattern_char(uint8_t c)
{
    return is_astring_char(c) || c == '%' || c == '*';
}

/* Names of words: letters and what occurs in "+FLAGS.SILENT", "\Sent", "RFC822.SIZE". */
static bool is_word_char(uint8_t c)
{
    return byte_is_alpha(c) || byte_is_digit(c) || (c && strchr(".+-_/=\\", c));
}

static bool is_base64_char(uint8_t c)
{
    return byte_is_alpha(c) || byte_is_digit(c) || c == '+' || c == '/' || c == '=';
}

static enum parse_result wrong(struct reader *x, const char *wanted)
{
    uint8_t c = peek(x, 0);

    if (x->pos >= x->n || c == '\r' || c == '\n')
        error_set(x->err, ERR_INVALID, "Expected %s, but the command ends", wanted);
    else if (c > ' ' && c < 0x7f)
        error_set(x->err, ERR_INVALID, "Expected %s before '%c' (argument byte %zu)", wanted, c,
                  x->pos);
    else
        error_set(x->err, ERR_INVALID, "Expected %s at argument byte %zu", wanted, x->pos);
    return PARSE_WRONG;
}

static enum parse_result over(struct reader *x, const char *what, unsigned limit)
{
    error_set(x->err, ERR_LIMIT, "Too many %s: %u are taken", what, limit);
    return PARSE_WRONG;
}

static struct slice span(struct reader *x, bool (*in)(uint8_t c))
{
    size_t from = x->pos;

    while (x->pos < x->n && in(x->p[x->pos]))
        x->pos++;
    return slice_of(x->p + from, x->pos - from);
}

static bool digits(struct reader *x, uint64_t max, uint64_t *ret)
{
    size_t from = x->pos;

    while (byte_is_digit(peek(x, 0)))
        x->pos++;
    if (slice_to_u64(slice_of(x->p + from, x->pos - from), max, ret))
        return true;
    x->pos = from;
    return false;
}

/* --- strings ----------------------------------------------------------------------------------- */

static enum parse_result quoted(struct reader *x, struct slice *ret)
{
    size_t from = ++x->pos, n = 0;
    char *to;

    while (peek(x, 0) != '"') {
        if (peek(x, 0) == '\\') {
            x->pos++;
            if (peek(x, 0) != '"' && peek(x, 0) != '\\')
                return wrong(x, "\\\" or \\\\ in the quoted string");
        }
        if (peek(x, 0) == 0 || peek(x, 0) == '\r' || peek(x, 0) == '\n')
            return wrong(x, "a quote at the end of the string");
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
    return PARSE_OK;
}

/* "{n}" or "{n+}" and its line end; the position is behind it. */
static enum parse_result literal_head(struct reader *x, uint64_t *ret_n)
{
    x->pos++;
    if (!digits(x, INT64_MAX, ret_n))
        return wrong(x, "the size of a literal");
    if (peek(x, 0) == '+')
        x->pos++;
    if (peek(x, 0) != '}')
        return wrong(x, "} behind the size of a literal");
    x->pos++;
    if (peek(x, 0) == '\r')
        x->pos++;
    if (peek(x, 0) != '\n')
        return wrong(x, "a line end behind a literal's }");
    x->pos++;
    return PARSE_OK;
}

static enum parse_result literal(struct reader *x, struct slice *ret)
{
    uint64_t n;
    enum parse_result r = literal_head(x, &n);

    if (r != PARSE_OK)
        return r;
    if (x->pos == x->n && n > 0)
        return PARSE_NEED;
    if (n > x->n - x->pos)
        return PARSE_NEED;
    if (n && memchr(x->p + x->pos, 0, (size_t)n)) /* RFC 3501 section 9: CHAR8 is not NUL */
        return wrong(x, "no NUL in a literal");
    *ret = arena_slice(x->arena, slice_of(x->p + x->pos, (size_t)n));
    x->pos += (size_t)n;
    return x->pos == x->n ? PARSE_NEED : PARSE_OK;
}

static enum parse_result string(struct reader *x, struct slice *ret, const char *what)
{
    if (peek(x, 0) == '"')
        return quoted(x, ret);
    if (peek(x, 0) == '{')
        return literal(x, ret);
    return wrong(x, what);
}

static enum parse_result any_string(struct reader *x, struct slice *ret, bool (*in)(uint8_t c),
                                    const char *what)
{
    struct slice s;

    if (peek(x, 0) == '"' || peek(x, 0) == '{')
        return string(x, ret, what);
    s = span(x, in);
    if (s.n == 0)
        return wrong(x, what);
    *ret = arena_slice(x->arena, s);
    return PARSE_OK;
}

static enum parse_result nstring(struct reader *x, struct slice *ret, const char *what)
{
    if (peek(x, 0) == '"' || peek(x, 0) == '{')
        return string(x, ret, what);
    if (!slice_ieq(slice_sub(slice_of(x->p, x->n), x->pos, x->pos + 3), S("NIL")))
        return wrong(x, what);
    x->pos += 3;
    *ret = (struct slice){0};
    return PARSE_OK;
}

/* Modified UTF-7 to UTF-8; INBOX in any case is INBOX, also as the first level of a name. */
static enum parse_result name(struct reader *x, struct arg *arg, bool (*in)(uint8_t c),
                              const char *what)
{
    CLEANUP(buf_done) struct buf utf8 = buf_make(BUF_MAX_DEFAULT);
    enum parse_result r = any_string(x, &arg->text, in, what);
    struct slice s;

    if (r != PARSE_OK)
        return r;
    arg->malformed = mutf7_decode(&utf8, arg->text) < 0;
    if (arg->malformed)
        return PARSE_OK;
    s = arena_slice(x->arena, buf_slice(&utf8));
    if (slice_istarts(s, S("INBOX")) && (s.n == 5 || s.p[5] == '/'))
        memcpy((char *)s.p, "INBOX", 5);
    arg->text = s;
    return PARSE_OK;
}

/* --- sets -------------------------------------------------------------------------------------- */

static bool set_number(struct reader *x, uint32_t *ret)
{
    size_t from = x->pos;
    uint64_t n;

    if (peek(x, 0) == '*') {
        x->pos++;
        *ret = 0;
        return true;
    }
    if (!digits(x, UINT32_MAX, &n) || n == 0) {
        x->pos = from;
        return false;
    }
    *ret = (uint32_t)n;
    return true;
}

static enum parse_result set(struct reader *x, struct arg *arg, const char *what)
{
    CLEANUP_FREE void *items = NULL;
    size_t n = 0, cap = 0;

    for (;;) {
        struct seq_range range;

        if (!set_number(x, &range.first))
            return wrong(x, what);
        range.last = range.first;
        if (peek(x, 0) == ':') {
            x->pos++;
            if (!set_number(x, &range.last))
                return wrong(x, what);
        }
        if (n == x->limits->set)
            return over(x, "ranges in a set", x->limits->set);
        if (n == cap) {
            cap = cap ? cap * 2 : 4;
            items = mem_realloc(items, cap, sizeof range);
        }
        ((struct seq_range *)items)[n++] = range;
        if (peek(x, 0) != ',')
            break;
        x->pos++;
    }
    arg->set.items = arena_array(x->arena, n, sizeof(struct seq_range));
    memcpy(arg->set.items, items, n * sizeof(struct seq_range));
    arg->set.n = n;
    return PARSE_OK;
}

/* --- flags ------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint8_t flag;
} system_flags[] = {
    {"Seen", FLAG_SEEN},       {"Answered", FLAG_ANSWERED}, {"Flagged", FLAG_FLAGGED},
    {"Deleted", FLAG_DELETED}, {"Draft", FLAG_DRAFT},
    {"Recent", 0}, /* only the server sets it, and this one does not: nothing to refuse */
};

static enum parse_result system_flag(struct reader *x, uint8_t *flags)
{
    struct slice s;

    x->pos++;
    s = span(x, is_atom_char);
    for (size_t i = 0; i < ARRAY_LEN(system_flags); i++)
        if (slice_ieq(s, slice_str(system_flags[i].name))) {
            *flags |= system_flags[i].flag;
            return PARSE_OK;
        }
    x->pos -= s.n + 1;
    return wrong(x, "a flag that exists, or a keyword without a backslash,");
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
        return over(x, "arguments", x->limits->arguments);
    if (peek(x, 0) == '\\')
        return system_flag(x, &f->system);
    s = span(x, is_atom_char);
    if (s.n == 0)
        return wrong(x, "a flag or keyword");
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

static enum parse_result flags(struct reader *x, struct arg *arg, bool list_only)
{
    bool list = peek(x, 0) == '(';
    size_t cap = 0;
    enum parse_result r;

    if (!list && list_only)
        return wrong(x, "a list of flags");
    x->pos += list;
    if (!list || peek(x, 0) != ')') {
        for (;;) {
            r = flag(x, &arg->flags, &cap);
            if (r != PARSE_OK)
                return r;
            if (peek(x, 0) != ' ' || (!list && (peek(x, 1) == '\r' || peek(x, 1) == '\n')))
                break;
            x->pos++;
        }
    }
    if (list && peek(x, 0) != ')')
        return wrong(x, "a flag or )");
    x->pos += list;
    keywords_unique(&arg->flags);
    return PARSE_OK;
}

/* --- dates ------------------------------------------------------------------------------------- */

static bool fixed_digits(struct reader *x, size_t n, int *ret)
{
    int v = 0;

    for (size_t i = 0; i < n; i++, x->pos++) {
        if (!byte_is_digit(peek(x, 0)))
            return false;
        v = v * 10 + (peek(x, 0) - '0');
    }
    *ret = v;
    return true;
}

static bool byte_is(struct reader *x, uint8_t c)
{
    if (peek(x, 0) != c)
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
    return c->month && byte_is(x, '-') && fixed_digits(x, 4, &c->year);
}

static enum parse_result date(struct reader *x, struct arg *arg, const char *what)
{
    bool quote = byte_is(x, '"');
    struct civil c = {0};
    uint64_t day;

    if (!digits(x, 31, &day) || !byte_is(x, '-'))
        return wrong(x, what);
    c.day = (int)day;
    if (!month_year(x, &c) || !civil_valid(&c) || (quote && !byte_is(x, '"')))
        return wrong(x, what);
    arg->date = civil_to_unix(&c);
    return PARSE_OK;
}

static bool zone(struct reader *x, struct civil *c)
{
    bool west = peek(x, 0) == '-';
    int hours, minutes;

    if (!west && peek(x, 0) != '+')
        return false;
    x->pos++;
    if (!fixed_digits(x, 2, &hours) || !fixed_digits(x, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    c->zone = (hours * 60 + minutes) * (west ? -1 : 1);
    return true;
}

/* " 7-Feb-1994 21:52:25 -0800" in quotes */
static enum parse_result date_time(struct reader *x, struct arg *arg, const char *what)
{
    struct civil c = {0};
    bool one_digit;

    if (!byte_is(x, '"'))
        return wrong(x, what);
    one_digit = byte_is(x, ' ');
    if (!fixed_digits(x, one_digit ? 1 : 2, &c.day) || !byte_is(x, '-') || !month_year(x, &c) ||
        !byte_is(x, ' ') || !fixed_digits(x, 2, &c.hour) || !byte_is(x, ':') ||
        !fixed_digits(x, 2, &c.minute) || !byte_is(x, ':') || !fixed_digits(x, 2, &c.second) ||
        !byte_is(x, ' ') || !zone(x, &c) || !byte_is(x, '"') || !civil_valid(&c))
        return wrong(x, what);
    arg->date = civil_to_unix(&c);
    return PARSE_OK;
}

/* --- sections ---------------------------------------------------------------------------------- */

static enum parse_result section_numbers(struct reader *x, struct imap_section *s)
{
    uint64_t n;

    s->numbers = arena_array(x->arena, x->limits->nesting, sizeof *s->numbers);
    while (byte_is_digit(peek(x, 0))) {
        if (!digits(x, UINT32_MAX, &n) || n == 0)
            return wrong(x, "a part number");
        if (s->n_numbers == x->limits->nesting)
            return over(x, "levels in a part number", x->limits->nesting);
        s->numbers[s->n_numbers++] = (uint32_t)n;
        if (peek(x, 0) != '.')
            return PARSE_OK;
        x->pos++;
    }
    return s->n_numbers && !byte_is_alpha(peek(x, 0)) ? wrong(x, "a part number or section name")
                                                      : PARSE_OK;
}

static enum parse_result section_fields(struct reader *x, struct imap_section *s)
{
    size_t cap = 0;
    struct slice *grown;
    enum parse_result r;

    if (!byte_is(x, ' ') || !byte_is(x, '('))
        return wrong(x, "a list of header field names");
    for (;;) {
        if (++x->arguments > x->limits->arguments)
            return over(x, "arguments", x->limits->arguments);
        if (s->n_fields == cap) {
            cap = cap ? cap * 2 : 4;
            grown = arena_array(x->arena, cap, sizeof *grown);
            if (s->n_fields)
                memcpy(grown, s->fields, s->n_fields * sizeof *grown);
            s->fields = grown;
        }
        r = any_string(x, &s->fields[s->n_fields++], is_astring_char, "a header field name");
        if (r != PARSE_OK)
            return r;
        if (!byte_is(x, ' '))
            break;
    }
    return byte_is(x, ')') ? PARSE_OK : wrong(x, "a header field name or )");
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
    struct slice word = span(x, is_word_char);

    for (size_t i = 0; i < ARRAY_LEN(section_names); i++) {
        if (!slice_ieq(word, slice_str(section_names[i].name)))
            continue;
        s->kind = section_names[i].kind;
        if (s->kind == SECTION_MIME && s->n_numbers == 0)
            return wrong(x, "a part number before MIME");
        if (s->kind == SECTION_FIELDS || s->kind == SECTION_FIELDS_NOT)
            return section_fields(x, s);
        return PARSE_OK;
    }
    return wrong(x, "HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME");
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

            atom = atom && is_astring_char(c) && c != ']';
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

static enum parse_result section(struct reader *x, struct arg *arg)
{
    struct imap_section *s = ARENA_NEW(x->arena, struct imap_section);
    enum parse_result r;

    if (!byte_is(x, '['))
        return wrong(x, "[");
    r = section_numbers(x, s);
    if (r == PARSE_OK && peek(x, 0) != ']')
        r = section_name(x, s);
    if (r != PARSE_OK)
        return r;
    if (!byte_is(x, ']'))
        return wrong(x, "]");
    s->text = section_text(x, s);
    arg->section = s;
    return PARSE_OK;
}

static enum parse_result partial(struct reader *x, struct arg *arg)
{
    uint64_t offset, count;

    if (!byte_is(x, '<') || !digits(x, UINT32_MAX, &offset) || !byte_is(x, '.') ||
        !digits(x, UINT32_MAX, &count) || count == 0 || !byte_is(x, '>'))
        return wrong(x, "<offset.count>");
    arg->partial.offset = (uint32_t)offset;
    arg->partial.count = (uint32_t)count;
    return PARSE_OK;
}

/* --- words, lists, choices --------------------------------------------------------------------- */

static const struct word *word_here(const struct reader *x, const struct word *table, size_t *ret_n)
{
    size_t n = 0;

    while (n <= WORD_MAX && is_word_char(peek(x, n)))
        n++;
    *ret_n = n;
    for (; table->name; table++)
        if (slice_ieq(slice_of(x->p + x->pos, n), slice_str(table->name)))
            return table;
    return NULL;
}

static enum parse_result word(struct reader *x, const struct rule *rule, struct arg *arg)
{
    size_t n;
    const struct word *w = word_here(x, rule->of, &n);

    if (!w && n > 0 && n <= WORD_MAX) {
        error_set(x->err, ERR_INVALID, "Unknown %s %.*s", what_of(rule), (int)n,
                  x->p + x->pos);
        return PARSE_WRONG;
    }
    if (!w)
        return wrong(x, what_of(rule));
    x->pos += n;
    arg->word = w->value;
    return w->rules ? parse_rules(x, w->rules, false, &arg->items, &arg->n) : PARSE_OK;
}

static enum parse_result list(struct reader *x, const struct rule *rule, struct arg *arg)
{
    enum parse_result r;

    if (!byte_is(x, '('))
        return wrong(x, what_of(rule));
    r = parse_rules(x, rule->of, true, &arg->items, &arg->n);
    if (r != PARSE_OK)
        return r;
    return byte_is(x, ')') ? PARSE_OK : wrong(x, ")");
}

static bool begins(const struct reader *x, const struct rule *rule, size_t at)
{
    struct reader there = *x;
    uint8_t c;
    size_t n;

    there.pos += at;
    c = peek(&there, 0);
    switch (rule->kind) {
    case RULE_WORD:
        return word_here(&there, rule->of, &n) != NULL;
    case RULE_LIST:
    case RULE_FLAG_LIST:
        return c == '(';
    case RULE_SECTION:
        return c == '[';
    case RULE_PARTIAL:
        return c == '<';
    case RULE_STREAM:
        return c == '{';
    case RULE_STRING:
    case RULE_DATE_TIME:
        return c == '"' || (c == '{' && rule->kind == RULE_STRING);
    case RULE_SET:
        return byte_is_digit(c) || c == '*';
    case RULE_NUMBER:
    case RULE_NUMBER64:
        return byte_is_digit(c);
    case RULE_CHOICE:
        for (const struct rule *r = rule->of; r->kind; r++)
            if (begins(x, r, at))
                return true;
        return false;
    default:
        return c > ' ' && c != ')' && c != '(';
    }
}

static enum parse_result choice(struct reader *x, const struct rule *rule, struct arg *arg)
{
    const struct rule *r = rule->of;

    while (r[1].kind && !begins(x, r, 0))
        r++;
    /* the last one is tried in any case: its sentence is the best there is */
    return parse_one(x, r, arg);
}

static enum parse_result number(struct reader *x, struct arg *arg, uint64_t max, const char *what)
{
    return digits(x, max, &arg->number) ? PARSE_OK : wrong(x, what);
}

static enum parse_result stream(struct reader *x, struct arg *arg)
{
    enum parse_result r;

    if (peek(x, 0) != '{')
        return wrong(x, "a literal");
    r = literal_head(x, &arg->number);
    if (r != PARSE_OK)
        return r;
    return x->pos == x->n ? PARSE_STREAM : wrong(x, "the end of the line");
}

static enum parse_result base64(struct reader *x, struct arg *arg, const char *what)
{
    struct slice s = span(x, is_base64_char);

    if (s.n == 0)
        return wrong(x, what);
    arg->text = arena_slice(x->arena, s);
    return PARSE_OK;
}

static enum parse_result parse_one(struct reader *x, const struct rule *rule, struct arg *arg)
{
    const char *what = what_of(rule);

    arg->kind = rule->kind;
    switch (rule->kind) {
    case RULE_ATOM:
        arg->text = arena_slice(x->arena, span(x, is_atom_char));
        return arg->text.n ? PARSE_OK : wrong(x, what);
    case RULE_ASTRING:
        return any_string(x, &arg->text, is_astring_char, what);
    case RULE_STRING:
        return string(x, &arg->text, what);
    case RULE_NSTRING:
        return nstring(x, &arg->text, what);
    case RULE_MAILBOX:
        return name(x, arg, is_astring_char, what);
    case RULE_PATTERN:
        return name(x, arg, is_pattern_char, what);
    case RULE_BASE64:
        return base64(x, arg, what);
    case RULE_NUMBER:
        return number(x, arg, UINT32_MAX, what);
    case RULE_NUMBER64:
        return number(x, arg, INT64_MAX, what);
    case RULE_SET:
        return set(x, arg, what);
    case RULE_FLAGS:
        return flags(x, arg, false);
    case RULE_FLAG_LIST:
        return flags(x, arg, true);
    case RULE_DATE:
        return date(x, arg, what);
    case RULE_DATE_TIME:
        return date_time(x, arg, what);
    case RULE_SECTION:
        return section(x, arg);
    case RULE_PARTIAL:
        return partial(x, arg);
    case RULE_STREAM:
        return stream(x, arg);
    case RULE_WORD:
        return word(x, rule, arg);
    case RULE_LIST:
        return list(x, rule, arg);
    case RULE_CHOICE:
        return choice(x, rule, arg);
    case RULE_END:
        break;
    }
    return wrong(x, "nothing");
}

/* --- arrays of rules --------------------------------------------------------------------------- */

static enum parse_result many(struct reader *x, const struct rule *rule, struct arg *arg)
{
    enum parse_result r;
    struct arg *grown;
    size_t cap = 0;

    arg->kind = rule->kind;
    arg->many = true;
    for (;;) {
        if (++x->arguments > x->limits->arguments)
            return over(x, "arguments", x->limits->arguments);
        if (arg->n == cap) {
            cap = cap ? cap * 2 : 4;
            grown = arena_array(x->arena, cap, sizeof *grown);
            if (arg->n)
                memcpy(grown, arg->items, arg->n * sizeof *grown);
            arg->items = grown;
        }
        r = parse_one(x, rule, &arg->items[arg->n]);
        if (r != PARSE_OK)
            return r;
        arg->n++;
        if (peek(x, 0) != ' ' || !begins(x, rule, 1)) {
            /* a blank that nothing follows which could be one of ours, but something that should */
            if (peek(x, 0) == ' ' && rule[1].kind == RULE_END && peek(x, 1) != '\r' &&
                peek(x, 1) != '\n' && peek(x, 1) != ' ') {
                x->pos++;
                return parse_one(x, rule, &(struct arg){0}) == PARSE_WRONG ? PARSE_WRONG
                                                                          : wrong(x, "the end");
            }
            return PARSE_OK;
        }
        x->pos++;
    }
}

size_t rules_count(const struct rule *rules)
{
    size_t n = 0;

    while (rules[n].kind)
        n++;
    return n;
}

static enum parse_result parse_rules(struct reader *x, const struct rule *rules, bool first_tight,
                                     struct arg **ret_args, size_t *ret_n)
{
    size_t n = rules_count(rules);
    struct arg *args = arena_array(x->arena, n, sizeof *args);
    bool tight = first_tight;
    enum parse_result r = PARSE_OK;

    if (++x->depth > x->limits->nesting)
        return over(x, "levels of nesting", x->limits->nesting);
    x->arguments += (unsigned)n;
    if (x->arguments > x->limits->arguments)
        return over(x, "arguments", x->limits->arguments);
    *ret_args = args;
    *ret_n = n;
    for (size_t i = 0; i < n && r == PARSE_OK; i++) {
        const struct rule *rule = &rules[i];
        size_t gap = tight || rule->flags & RULE_TIGHT ? 0 : 1;

        if (rule->flags & RULE_OPTIONAL && ((gap && peek(x, 0) != ' ') || !begins(x, rule, gap)))
            continue;
        if (gap && peek(x, 0) != ' ')
            return wrong(x, what_of(rule));
        x->pos += gap;
        tight = false;
        r = rule->flags & RULE_MANY ? many(x, rule, &args[i]) : parse_one(x, rule, &args[i]);
    }
    x->depth--;
    return r;
}

enum parse_result parse_args(struct slice in, const struct rule *rules,
                             const struct parse_limits *limits, struct arena *arena,
                             struct arg **ret_args, size_t *ret_n, struct error *err)
{
    struct reader x = {in.p, in.n, 0, limits, arena, 0, 0, err};
    enum parse_result r = parse_rules(&x, rules, false, ret_args, ret_n);

    if (r != PARSE_OK)
        return r;
    while (peek(&x, 0) == ' ')
        x.pos++;
    if (peek(&x, 0) == '\r')
        x.pos++;
    if (peek(&x, 0) != '\n' || x.pos + 1 != x.n)
        return wrong(&x, "the end of the command");
    return PARSE_OK;
}
