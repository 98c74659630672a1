/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/queue/smtp_answer.h"

#include "lib/base/codec.h"
#include "lib/base/mem.h"

/* ---- Form ---- */

static bool line_code(struct slice line, unsigned *ret)
{
    if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' || !byte_is_digit(line.p[1]) ||
        !byte_is_digit(line.p[2]))
        return false;
    *ret = (line.p[0] - '0') * 100u + (line.p[1] - '0') * 10u + (line.p[2] - '0');
    return line.n == 3 || line.p[3] == ' ' || line.p[3] == '-';
}

static struct slice without_end(struct slice line)
{
    while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    return line;
}

static size_t digits(struct slice s)
{
    size_t n = 0;

    while (n < s.n && n < 3 && byte_is_digit(s.p[n]))
        n++;
    return n;
}

/* "5.1.1 ...": of the same class as the code (RFC 2034 4). */
static void take_status(struct slice text, unsigned code, char ret[static SMTP_STATUS_MAX])
{
    size_t subject, detail, n;

    ret[0] = '\0';
    if (text.n < 5 || text.p[0] != '0' + code / 100 || text.p[1] != '.')
        return;
    subject = digits(slice_skip(text, 2));
    if (subject == 0 || text.n <= 2 + subject || text.p[2 + subject] != '.')
        return;
    detail = digits(slice_skip(text, 3 + subject));
    n = 3 + subject + detail;
    if (detail == 0 || (text.n > n && text.p[n] != ' '))
        return;
    memcpy(ret, text.p, n);
    ret[n] = '\0';
}

int smtp_answer_take(struct slice in, struct smtp_answer *ret, size_t *ret_used)
{
    size_t at = 0;
    unsigned code = 0, first = 0;

    for (unsigned lines = 0; lines < SMTP_ANSWER_LINES; lines++) {
        ssize_t lf = slice_find(slice_skip(in, at), '\n');

        if (lf < 0)
            return in.n >= SMTP_ANSWER_MAX ? -ERR_LIMIT : 0;
        struct slice line = without_end(slice_sub(in, at, at + (size_t)lf));

        at += (size_t)lf + 1;
        if (!line_code(line, &code) || (lines > 0 && code != first))
            return -ERR_INVALID;
        first = code;
        if (line.n > 3 && line.p[3] == '-')
            continue;
        *ret = (struct smtp_answer){.code = code, .raw = slice_sub(in, 0, at)};
        take_status(slice_skip(without_end(ret->raw), 4), code, ret->status);
        *ret_used = at;
        return 1;
    }
    return -ERR_LIMIT;
}

bool smtp_answer_line(const struct smtp_answer *reply, size_t *at, struct slice *ret)
{
    struct slice rest = slice_skip(reply->raw, *at);
    ssize_t lf = slice_find(rest, '\n');

    if (lf < 0)
        return false;
    *ret = slice_skip(without_end(slice_sub(rest, 0, (size_t)lf)), 4);
    *at += (size_t)lf + 1;
    return true;
}

/* Whole characters only, up to `max` bytes of `out`. */
static void add_printable(struct buf *out, struct slice text, size_t max)
{
    while (text.n > 0) {
        size_t n;
        int32_t c = utf8_next(text, &n);

        if (out->n + n > max)
            return;
        if (c == '\t')
            buf_add_byte(out, ' ');
        else if (c < ' ' || c == 127)
            buf_add_byte(out, '?');
        else
            buf_add(out, text.p, n);
        text = slice_skip(text, n);
    }
}

void smtp_answer_text(const struct smtp_answer *reply, struct buf *out)
{
    size_t at = 0, max = out->n + SMTP_ANSWER_TEXT;
    struct slice line;

    buf_printf(out, "%u", reply->code);
    while (smtp_answer_line(reply, &at, &line)) {
        buf_add_byte(out, ' ');
        add_printable(out, line, max);
    }
}

/* ---- EHLO ---- */

static const struct keyword {
    const char *name;
    enum smtp_feature feature;
} keywords[] = {
    {"PIPELINING", SMTP_PIPELINING}, {"8BITMIME", SMTP_8BITMIME},
    {"BINARYMIME", SMTP_BINARYMIME}, {"CHUNKING", SMTP_CHUNKING},
    {"SMTPUTF8", SMTP_UTF8},         {"DSN", SMTP_DSN},
    {"STARTTLS", SMTP_STARTTLS},     {"SIZE", SMTP_SIZE},
    {"REQUIRETLS", SMTP_REQUIRETLS}, {"MT-PRIORITY", SMTP_MT_PRIORITY},
    {"DELIVERBY", SMTP_DELIVERBY},   {"AUTH", SMTP_AUTH},
    {"LIMITS", SMTP_LIMITS},         {"NO-SOLICITING", SMTP_NO_SOLICITING},
};

static struct slice next_word(struct slice *rest)
{
    size_t n = 0;

    *rest = slice_trim(*rest);
    while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
        n++;
    struct slice word = slice_sub(*rest, 0, n);
    *rest = slice_skip(*rest, n);
    return word;
}

static bool is_mechanism(struct slice word)
{
    for (size_t i = 0; i < word.n; i++)
        if (!byte_is_alpha(word.p[i]) && !byte_is_digit(word.p[i]) && word.p[i] != '-' &&
            word.p[i] != '_')
            return false;
    return word.n > 0 && word.n <= 20;
}

static void take_mechanisms(struct slice rest, struct smtp_offer *ret)
{
    size_t n = strlen(ret->mechanisms);

    for (struct slice w = next_word(&rest); w.n > 0; w = next_word(&rest)) {
        if (!is_mechanism(w) || n + w.n + 2 > sizeof ret->mechanisms)
            continue;
        for (size_t i = 0; i < w.n; i++)
            ret->mechanisms[n++] = (char)byte_upper(w.p[i]);
        ret->mechanisms[n++] = ' ';
        ret->mechanisms[n] = '\0';
    }
}

static void take_limits(struct slice rest, struct smtp_offer *ret)
{
    for (struct slice w = next_word(&rest); w.n > 0; w = next_word(&rest)) {
        if (slice_istarts(w, S("RCPTMAX=")))
            (void)slice_to_u64(slice_skip(w, 8), 1000000, &ret->rcpt_max);
        if (slice_istarts(w, S("MAILMAX=")))
            (void)slice_to_u64(slice_skip(w, 8), 1000000, &ret->mail_max);
    }
}

static void take_keyword(struct slice line, struct smtp_offer *ret)
{
    struct slice word = next_word(&line);
    unsigned feature = 0;

    for (size_t i = 0; i < ARRAY_LEN(keywords); i++)
        if (slice_ieq(word, slice_str(keywords[i].name)))
            feature = keywords[i].feature;
    ret->features |= feature;
    if (feature == SMTP_SIZE)
        (void)slice_to_u64(next_word(&line), INT64_MAX, &ret->size_max);
    else if (feature == SMTP_DELIVERBY)
        (void)slice_to_u64(next_word(&line), INT32_MAX, &ret->deliverby_min);
    else if (feature == SMTP_AUTH)
        take_mechanisms(line, ret);
    else if (feature == SMTP_LIMITS)
        take_limits(line, ret);
}

void smtp_answer_offer(const struct smtp_answer *reply, struct smtp_offer *ret)
{
    struct slice line;
    size_t at = 0;

    *ret = (struct smtp_offer){0};
    if (!smtp_answer_line(reply, &at, &line)) /* the first one is the server's name */
        return;
    while (smtp_answer_line(reply, &at, &line))
        take_keyword(line, ret);
}
