/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/smtp/values.h"

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/queue/queue.h"

#define SOLICIT_MAX 1000 /* RFC 3865 section 2.3 */

static int hex_digit(uint8_t c)
{
    if (byte_is_digit(c))
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; /* RFC 3461 section 4: upper case only */
}

static bool printable(struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < ' ' || text.p[i] == 0x7f)
            return false;
    return utf8_valid(text);
}

int smtp_xtext_decode(struct slice value, struct buf *out)
{
    size_t start = out->n;

    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i];

        if (c == '+') {
            int high = i + 2 < value.n ? hex_digit(value.p[i + 1]) : -1;
            int low = i + 2 < value.n ? hex_digit(value.p[i + 2]) : -1;

            if (high < 0 || low < 0)
                return -ERR_INVALID;
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (c <= ' ' || c == '=' || c == 0x7f) {
            return -ERR_INVALID;
        }
        buf_add_byte(out, c);
    }
    if (buf_full(out) || !printable(slice_skip(buf_slice(out), start)))
        return -ERR_INVALID;
    return 0;
}

int smtp_orcpt_decode(struct slice value, struct buf *out)
{
    ssize_t end = slice_find(value, ';');

    if (end <= 0 || (size_t)end + 1 == value.n)
        return -ERR_INVALID;
    for (ssize_t i = 0; i < end; i++)
        if (!byte_is_alpha(value.p[i]) && !byte_is_digit(value.p[i]) && value.p[i] != '-')
            return -ERR_INVALID;
    buf_add(out, value.p, (size_t)end + 1);
    return smtp_xtext_decode(slice_skip(value, (size_t)end + 1), out);
}

int smtp_notify_parse(struct slice value, unsigned *ret)
{
    static const struct {
        const char *name;
        unsigned bit;
    } words[] = {{"NEVER", QUEUE_NOTIFY_NEVER},
                 {"SUCCESS", QUEUE_NOTIFY_SUCCESS},
                 {"FAILURE", QUEUE_NOTIFY_FAILURE},
                 {"DELAY", QUEUE_NOTIFY_DELAY}};
    unsigned mask = 0;

    for (bool more = true; more;) {
        ssize_t comma = slice_find(value, ',');
        struct slice word = slice_sub(value, 0, comma < 0 ? value.n : (size_t)comma);
        size_t i = 0;

        while (i < ARRAY_LEN(words) && !slice_ieq(word, slice_str(words[i].name)))
            i++;
        if (i == ARRAY_LEN(words))
            return -ERR_INVALID;
        mask |= words[i].bit;
        more = comma >= 0;
        value = slice_skip(value, word.n + 1);
    }
    /* RFC 3461 section 4.1: NEVER stands alone */
    if (mask & QUEUE_NOTIFY_NEVER && mask != QUEUE_NOTIFY_NEVER)
        return -ERR_INVALID;
    *ret = mask;
    return 0;
}

/* n digits at `at`; false if there is anything else. */
static bool digits(struct slice s, size_t at, size_t n, int *ret)
{
    uint64_t v;

    if (at + n > s.n || !slice_to_u64(slice_sub(s, at, at + n), 9999, &v))
        return false;
    *ret = (int)v;
    return true;
}

int smtp_time_parse(struct slice s, int64_t *ret)
{
    static const char form[] = "....-..-..T..:..:..Z";
    struct civil c = {0};

    if (s.n != sizeof form - 1)
        return -ERR_INVALID;
    for (size_t i = 0; i < s.n; i++)
        if (form[i] != '.' && byte_upper(s.p[i]) != (uint8_t)form[i])
            return -ERR_INVALID;
    if (!digits(s, 0, 4, &c.year) || !digits(s, 5, 2, &c.month) || !digits(s, 8, 2, &c.day) ||
        !digits(s, 11, 2, &c.hour) || !digits(s, 14, 2, &c.minute) ||
        !digits(s, 17, 2, &c.second) || !civil_valid(&c))
        return -ERR_INVALID;
    *ret = civil_to_unix(&c);
    return 0;
}

/* Up to nine digits with a sign. */
static bool signed_number(struct slice s, int64_t *ret)
{
    bool negative = s.n && s.p[0] == '-';
    uint64_t v;

    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = slice_skip(s, 1);
    if (s.n > 9 || !slice_to_u64(s, 999999999, &v))
        return false;
    *ret = negative ? -(int64_t)v : (int64_t)v;
    return true;
}

int smtp_by_parse(struct slice value, struct smtp_by *ret)
{
    ssize_t semicolon = slice_find(value, ';');
    struct slice mode = slice_skip(value, (size_t)semicolon + 1);
    struct smtp_by by = {0};

    if (semicolon < 0 || !signed_number(slice_sub(value, 0, (size_t)semicolon), &by.seconds))
        return -ERR_INVALID;
    if (mode.n < 1 || mode.n > 2)
        return -ERR_INVALID;
    by.ret = byte_upper(mode.p[0]) == 'R';
    by.trace = mode.n == 2;
    if (!by.ret && byte_upper(mode.p[0]) != 'N')
        return -ERR_INVALID;
    if (by.trace && byte_upper(mode.p[1]) != 'T')
        return -ERR_INVALID;
    /* RFC 2852 section 4: "a by-time of zero or less with R is not allowed" */
    if (by.ret && by.seconds <= 0)
        return -ERR_INVALID;
    *ret = by;
    return 0;
}

static bool is_of_class(uint8_t c)
{
    return byte_is_alpha(c) || byte_is_digit(c) || c == '.' || c == '-' || c == '_' || c == ':';
}

int smtp_solicit_check(struct slice value)
{
    bool first = true; /* of a word */

    if (value.n > SOLICIT_MAX)
        return -ERR_INVALID;
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i];

        if (first ? !byte_is_alpha(c) : c != ',' && !is_of_class(c))
            return -ERR_INVALID;
        first = c == ',';
    }
    return first ? -ERR_INVALID : 0;
}

/* Empty: there are no more. */
static struct slice next_class(struct slice *rest)
{
    size_t from = 0, end;

    while (from < rest->n && !is_of_class(rest->p[from]))
        from++;
    for (end = from; end < rest->n && is_of_class(rest->p[end]);)
        end++;
    struct slice class = slice_sub(*rest, from, end);
    *rest = slice_skip(*rest, end);
    return class;
}

struct slice smtp_solicit_refused(struct slice text, struct slice refused)
{
    for (struct slice class = next_class(&text); class.n; class = next_class(&text)) {
        struct slice rest = refused;

        for (struct slice r = next_class(&rest); r.n; r = next_class(&rest))
            if (slice_ieq(class, r))
                return class;
    }
    return (struct slice){0};
}

int smtp_priority_parse(struct slice value, int *ret)
{
    int64_t v;

    if (value.n < 1 || value.n > 2 || value.p[0] == '+' || !signed_number(value, &v) || v < -9 ||
        v > 9)
        return -ERR_INVALID;
    *ret = (int)v;
    return 0;
}
