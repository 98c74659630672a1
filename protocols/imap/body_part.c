/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/body_part.h"

/* Items of a part that is not multipart (RFC 3501 section 7.4.2). */
enum { ITEM_TYPE, ITEM_SUBTYPE, ITEM_ENCODING = 5, ITEM_OCTETS, ITEM_LINES, ITEM_BODY };

/* Octets of a literal with its head; 0: it is none. */
static size_t literal_length(struct slice s)
{
    ssize_t end = slice_search(s, S("}\r\n"));
    uint64_t n;

    if (end < 0 || !slice_to_u64(slice_sub(s, 1, (size_t)end), s.n, &n))
        return 0;
    return (size_t)end + 3 + n <= s.n ? (size_t)end + 3 + (size_t)n : 0;
}

static size_t quoted_length(struct slice s)
{
    size_t i = 1;

    while (i < s.n && s.p[i] != '"')
        i += s.p[i] == '\\' ? 2 : 1;
    return i < s.n ? i + 1 : 0;
}

/* Octets of a string or atom at the front; 0: there is none. */
static size_t word_length(struct slice s)
{
    size_t i = 0;

    if (s.n && s.p[0] == '"')
        return quoted_length(s);
    if (s.n && s.p[0] == '{')
        return literal_length(s);
    while (i < s.n && s.p[i] != ' ' && s.p[i] != '(' && s.p[i] != ')')
        i++;
    return i;
}

/* Octets of a word or list at the front; 0: neither is whole. */
static size_t item_length(struct slice s)
{
    size_t depth = 0, i = 0;

    do {
        size_t n = 1;

        if (i >= s.n)
            return 0;
        if (s.p[i] == '(')
            depth++;
        else if (s.p[i] == ')' && depth)
            depth--;
        else if (s.p[i] != ' ' || !depth)
            n = word_length(slice_skip(s, i));
        if (!n)
            return 0;
        i += n;
    } while (depth);
    return i;
}

/* Number k (from 0) of the items in a list. The parts of a multipart have no blanks between them.
 */
static bool item(struct slice list, size_t k, struct slice *ret)
{
    struct slice rest = slice_skip(list, 1);
    size_t n;

    if (!list.n || list.p[0] != '(')
        return false;
    for (;;) {
        if (rest.n && rest.p[0] == ' ')
            rest = slice_skip(rest, 1);
        n = rest.n && rest.p[0] != ')' ? item_length(rest) : 0;
        if (!n)
            return false;
        if (!k--)
            break;
        rest = slice_skip(rest, n);
    }
    *ret = slice_sub(rest, 0, n);
    return true;
}

static bool is_multipart(struct slice part)
{
    return part.n > 1 && part.p[1] == '(';
}

bool body_part_message(struct slice part, struct slice *ret)
{
    struct slice type, subtype;

    return !is_multipart(part) && item(part, ITEM_TYPE, &type) &&
           item(part, ITEM_SUBTYPE, &subtype) && slice_ieq(type, S("\"MESSAGE\"")) &&
           (slice_ieq(subtype, S("\"RFC822\"")) || slice_ieq(subtype, S("\"GLOBAL\""))) &&
           item(part, ITEM_BODY, ret) && ret->p[0] == '(';
}

static bool child(struct slice body, uint32_t number, struct slice *ret)
{
    if (!is_multipart(body)) {
        *ret = body;
        return number == 1;
    }
    return number && item(body, number - 1, ret) && ret->p[0] == '(';
}

bool body_part_find(struct slice structure, const uint32_t *numbers, size_t n, struct slice *ret)
{
    struct slice body = structure, part = structure;

    for (size_t i = 0; i < n; i++) {
        if (i && !is_multipart(part) && !body_part_message(part, &body))
            return false;
        if (i && is_multipart(part))
            body = part;
        if (!child(body, numbers[i], &part))
            return false;
    }
    *ret = part;
    return part.n > 0;
}

bool body_part_decoded(struct slice part, uint64_t octets, uint64_t lines, struct buf *out)
{
    struct slice type, encoding, size, last;
    bool text;

    if (is_multipart(part) || !item(part, ITEM_TYPE, &type) ||
        !item(part, ITEM_ENCODING, &encoding) || !item(part, ITEM_OCTETS, &size))
        return false;
    text = slice_ieq(type, S("\"TEXT\""));
    last = size;
    if (text && !item(part, ITEM_LINES, &last))
        return false;
    buf_add_slice(out, slice_sub(part, 0, (size_t)(encoding.p - part.p)));
    buf_printf(out, "\"BINARY\" %llu", (unsigned long long)octets);
    if (text)
        buf_printf(out, " %llu", (unsigned long long)lines);
    buf_add_slice(out, slice_skip(part, (size_t)(last.p + last.n - part.p)));
    return true;
}
