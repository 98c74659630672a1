/* SPDX-License-Identifier: MPL-2.0 */
/* The interpreter of rules: words, lists, choices, and parse_rules that walks an array of them.
 *
 * No rule needs more than the next byte, or the next word, to know whether it can begin here
 * (`begins`), so there is no backtracking and the work is linear. Depth is counted at each nested
 * array of rules. What rules end in (strings, sets, ...) is read by args_values.c.
 */
#include "lib/base/mem.h"
#include "protocols/imap/reader.h"

#define WORD_MAX 40

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
    [RULE_RANGE] = "a range like 1:10 or -1:-10",
    [RULE_FLAGS] = "flags",
    [RULE_FLAG_LIST] = "a list of flags",
    [RULE_DATE] = "a date like 1-Feb-1994",
    [RULE_DATE_TIME] = "a date like \"17-Jul-1996 02:44:25 -0700\"",
    [RULE_SECTION] = "[",
    [RULE_PARTIAL] = "<offset.count>",
    [RULE_STREAM] = "a literal",
    [RULE_CLOSE] = ")",
    [RULE_WORD] = "a word",
    [RULE_LIST] = "a list in parentheses",
    [RULE_ATTRIBUTE] = "an attribute like \\Sent",
    [RULE_VALUE] = "a quoted string, a literal or NIL",
    [RULE_GROUP] = "an argument",
    [RULE_CHOICE] = "an argument",
};

static const char *what_of(const struct rule *rule)
{
    return rule->what ? rule->what : kind_names[rule->kind];
}

/* --- words, lists, choices ---------------------------------------------------------------------
 */

static const struct word *word_here(const struct reader *x, const struct word *table, size_t *ret_n)
{
    size_t n = 0;

    while (n <= WORD_MAX && reader_is_word_char(reader_peek(x, n)))
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
        error_set(x->err, ERR_INVALID, "Unknown %s %.*s", what_of(rule), (int)n, x->p + x->pos);
        return PARSE_WRONG;
    }
    if (!w)
        return reader_wrong(x, what_of(rule));
    x->pos += n;
    arg->word = w->value;
    return w->rules ? parse_rules(x, w->rules, false, &arg->items, &arg->n) : PARSE_OK;
}

static enum parse_result list(struct reader *x, const struct rule *rule, struct arg *arg)
{
    enum parse_result r;

    if (!reader_byte(x, '('))
        return reader_wrong(x, what_of(rule));
    r = parse_rules(x, rule->of, true, &arg->items, &arg->n);
    if (r != PARSE_OK)
        return r;
    return reader_byte(x, ')') ? PARSE_OK : reader_wrong(x, ")");
}

static bool begins(const struct reader *x, const struct rule *rule, size_t at)
{
    struct reader there = *x;
    uint8_t c;
    size_t n;

    there.pos += at;
    c = reader_peek(&there, 0);
    switch (rule->kind) {
    case RULE_WORD:
        return word_here(&there, rule->of, &n) != NULL;
    case RULE_LIST:
        return c == '(' && (!(rule->flags & RULE_LOOK) || begins(x, rule->of, at + 1));
    case RULE_FLAG_LIST:
        return c == '(';
    case RULE_SECTION:
        return c == '[';
    case RULE_PARTIAL:
        return c == '<';
    case RULE_CLOSE:
        return c == ')';
    case RULE_STREAM:
        return c == '{' || (c == '~' && reader_peek(&there, 1) == '{');
    case RULE_STRING:
    case RULE_DATE_TIME:
        return c == '"' || (c == '{' && rule->kind == RULE_STRING);
    case RULE_SET:
        return byte_is_digit(c) || c == '*' || c == '$';
    case RULE_RANGE:
        return byte_is_digit(c) || c == '-';
    case RULE_NUMBER:
    case RULE_NUMBER64:
        return byte_is_digit(c);
    case RULE_ATTRIBUTE:
        return c == '\\';
    case RULE_GROUP:
        return begins(x, rule->of, at);
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
    return reader_digits(x, max, &arg->number) ? PARSE_OK : reader_wrong(x, what);
}

static enum parse_result stream(struct reader *x, struct arg *arg)
{
    enum parse_result r;

    arg->binary = reader_byte(x, '~');
    if (reader_peek(x, 0) != '{')
        return reader_wrong(x, "a literal");
    r = read_literal_head(x, &arg->number);
    if (r != PARSE_OK)
        return r;
    return x->pos == x->n ? PARSE_STREAM : reader_wrong(x, "the end of the line");
}

static enum parse_result base64(struct reader *x, struct arg *arg, const char *what)
{
    struct slice s = reader_span(x, reader_is_base64_char);

    if (s.n == 0)
        return reader_wrong(x, what);
    arg->text = arena_slice(x->arena, s);
    return PARSE_OK;
}

static enum parse_result attribute(struct reader *x, struct arg *arg, const char *what)
{
    size_t from = x->pos;

    if (!reader_byte(x, '\\') || reader_span(x, reader_is_atom_char).n == 0)
        return reader_wrong(x, what);
    arg->text = arena_slice(x->arena, slice_of(x->p + from, x->pos - from));
    return PARSE_OK;
}

static enum parse_result parse_one(struct reader *x, const struct rule *rule, struct arg *arg)
{
    const char *what = what_of(rule);

    arg->kind = rule->kind;
    switch (rule->kind) {
    case RULE_ATOM:
        arg->text = arena_slice(x->arena, reader_span(x, reader_is_atom_char));
        return arg->text.n ? PARSE_OK : reader_wrong(x, what);
    case RULE_ASTRING:
        return read_any_string(x, &arg->text, reader_is_astring_char, what);
    case RULE_STRING:
        return read_string(x, &arg->text, what);
    case RULE_NSTRING:
        return read_nstring(x, &arg->text, what);
    case RULE_MAILBOX:
        return read_name(x, arg, reader_is_astring_char, what);
    case RULE_PATTERN:
        return read_name(x, arg, reader_is_pattern_char, what);
    case RULE_BASE64:
        return base64(x, arg, what);
    case RULE_NUMBER:
        return number(x, arg, UINT32_MAX, what);
    case RULE_NUMBER64:
        return number(x, arg, INT64_MAX, what);
    case RULE_SET:
        return read_set(x, arg, what);
    case RULE_RANGE:
        return read_range(x, arg, what);
    case RULE_FLAGS:
        return read_flags(x, arg, false);
    case RULE_FLAG_LIST:
        return read_flags(x, arg, true);
    case RULE_DATE:
        return read_date(x, arg, what);
    case RULE_DATE_TIME:
        return read_date_time(x, arg, what);
    case RULE_SECTION:
        return read_section(x, arg);
    case RULE_PARTIAL:
        return read_partial(x, arg);
    case RULE_STREAM:
        return stream(x, arg);
    case RULE_CLOSE:
        return reader_byte(x, ')') ? PARSE_OK : reader_wrong(x, what);
    case RULE_WORD:
        return word(x, rule, arg);
    case RULE_LIST:
        return list(x, rule, arg);
    case RULE_ATTRIBUTE:
        return attribute(x, arg, what);
    case RULE_VALUE:
        return read_value(x, &arg->text, what);
    case RULE_GROUP:
        return parse_rules(x, rule->of, true, &arg->items, &arg->n);
    case RULE_CHOICE:
        return choice(x, rule, arg);
    case RULE_END:
        break;
    }
    return reader_wrong(x, "nothing");
}

/* --- arrays of rules ---------------------------------------------------------------------------
 */

static enum parse_result many(struct reader *x, const struct rule *rule, struct arg *arg)
{
    enum parse_result r;
    struct arg *grown;
    size_t cap = 0;

    arg->kind = rule->kind;
    arg->many = true;
    for (;;) {
        if (++x->arguments > x->limits->arguments)
            return reader_over(x, "arguments", x->limits->arguments);
        if (arg->n == cap) {
            cap = cap ? cap * 2 : 4;
            grown = arena_array(x->arena, cap, sizeof *grown);
            if (arg->n)
                memcpy(grown, arg->items, arg->n * sizeof *grown);
            arg->items = grown;
        }
        r = parse_one(x, rule, &arg->items[arg->n]);
        arg->n += r == PARSE_OK || r == PARSE_STREAM;
        if (r != PARSE_OK)
            return r;
        if (reader_peek(x, 0) != ' ' || !begins(x, rule, 1)) {
            /* a blank that nothing follows which could be one of ours, but something that should */
            if (reader_peek(x, 0) == ' ' && rule[1].kind == RULE_END && reader_peek(x, 1) != '\r' &&
                reader_peek(x, 1) != '\n' && reader_peek(x, 1) != ' ') {
                x->pos++;
                return parse_one(x, rule, &(struct arg){0}) == PARSE_WRONG
                           ? PARSE_WRONG
                           : reader_wrong(x, "the end");
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
        return reader_over(x, "levels of nesting", x->limits->nesting);
    x->arguments += (unsigned)n;
    if (x->arguments > x->limits->arguments)
        return reader_over(x, "arguments", x->limits->arguments);
    *ret_args = args;
    *ret_n = n;
    for (size_t i = 0; i < n && r == PARSE_OK; i++) {
        const struct rule *rule = &rules[i];
        size_t gap = tight || rule->flags & RULE_TIGHT ? 0 : 1;

        if (rule->flags & RULE_OPTIONAL &&
            ((gap && reader_peek(x, 0) != ' ') || !begins(x, rule, gap)))
            continue;
        if (gap && reader_peek(x, 0) != ' ')
            return reader_wrong(x, what_of(rule));
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
    while (reader_peek(&x, 0) == ' ')
        x.pos++;
    if (reader_peek(&x, 0) == '\r')
        x.pos++;
    if (reader_peek(&x, 0) != '\n' || x.pos + 1 != x.n)
        return reader_wrong(&x, "the end of the command");
    return PARSE_OK;
}
