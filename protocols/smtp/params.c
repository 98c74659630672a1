/* SPDX-License-Identifier: MPL-2.0 */
/* What EHLO offers, and the parameters of MAIL and RCPT: rows that belong to extensions.
 *
 * To add an extension: a bit in smtp.h, a row in `keywords`, rows in `mail_params` or
 * `rcpt_params`, and the bit in the dialects that offer it.
 *
 * STANDARDS: RFC 1870, RFC 2852, RFC 3030, RFC 3461, RFC 3865, RFC 4468, RFC 4865, RFC 4954 section
 * 5, RFC 6152, RFC 6531, RFC 6710, RFC 8689, RFC 9422.
 */
#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "protocols/smtp/impl.h"
#include "protocols/smtp/values.h"

#define ENVID_MAX 100 /* RFC 3461 section 4.4, before decoding */
#define ORCPT_MAX 500 /* section 4.2 */

/* --- EHLO ----------------------------------------------------------------------------------------
 */

/* Each appends " value" and says whether it is offered now. */

static bool say_size(const struct smtp_session *s, struct buf *out)
{
    buf_printf(out, " %llu", (unsigned long long)s->service->settings.message_max);
    return true;
}

static bool say_starttls(const struct smtp_session *s, struct buf *out)
{
    return s->service->settings.starttls && !s->base.peer.tls;
}

static bool say_auth(const struct smtp_session *s, struct buf *out)
{
    const char *names[SASL_MECHANISMS_MAX];
    size_t n = s->logged_in ? 0 : sasl_mechanisms(s->service->settings.auth, &s->base.peer, names);

    for (size_t i = 0; i < n; i++)
        buf_printf(out, " %s", names[i]);
    return n > 0;
}

static bool say_limits(const struct smtp_session *s, struct buf *out)
{
    const struct smtp_settings *set = &s->service->settings;

    buf_printf(out, " RCPTMAX=%u", set->recipients_max);
    if (set->transactions_max)
        buf_printf(out, " MAILMAX=%u", set->transactions_max);
    return true;
}

/* RFC 4865 section 3: the longest interval in seconds, and the latest time. */
static bool say_hold(const struct smtp_session *s, struct buf *out)
{
    int64_t max = s->service->settings.hold_max_ms;
    struct civil c = civil_from_unix((clock_wall_ms() + max) / 1000, 0);

    buf_printf(out, " %lld %04d-%02d-%02dT%02d:%02d:%02dZ", (long long)(max / 1000), c.year,
               c.month, c.day, c.hour, c.minute, c.second);
    return max > 0;
}

static bool say_deliverby(const struct smtp_session *s, struct buf *out)
{
    if (s->service->settings.by_min_s)
        buf_printf(out, " %lld", (long long)s->service->settings.by_min_s);
    return true;
}

/* RFC 4468 section 3.1: "a server that advertises BURL with no arguments prior to authentication
 * indicates that BURL is supported but authentication is required to use it". Section 3.3: "imap"
 * is for URLs with URLAUTH, "imap://imap.example.com" for one's own without it. */
static bool say_burl(const struct smtp_session *s, struct buf *out)
{
    struct slice rest = slice_str(s->service->settings.url_hosts);

    if (s->logged_in)
        buf_add_str(out, " imap");
    while (s->logged_in && (rest = slice_trim(rest)).n) {
        ssize_t end = slice_find(rest, ' ');
        struct slice word = slice_sub(rest, 0, end < 0 ? rest.n : (size_t)end);

        if (!slice_eq(word, S("*")))
            buf_printf(out, " imap://%.*s", SLICE_FMT(word));
        rest = slice_skip(rest, word.n);
    }
    return *s->service->settings.url_hosts != '\0';
}

/* RFC 3865 section 2.1: the classes that are not wanted, or nothing. */
static bool say_solicit(const struct smtp_session *s, struct buf *out)
{
    const char *between = " ";

    for (const char *c = s->service->settings.no_solicit; *c; c++) {
        if (*c == ' ')
            continue;
        if (c == s->service->settings.no_solicit || c[-1] == ' ') {
            buf_add_str(out, between);
            between = ",";
        }
        buf_add_byte(out, (uint8_t)*c);
    }
    return true;
}

/* RFC 8689 section 2: "advertised only over TLS" */
static bool say_requiretls(const struct smtp_session *s, struct buf *out)
{
    return s->base.peer.tls;
}

static const struct keyword_row {
    unsigned extension;
    const char *keyword;
    bool (*value)(const struct smtp_session *s, struct buf *out); /* NULL: none, always offered */
} keywords[] = {
    {SMTP_PIPELINING, "PIPELINING", NULL},
    {SMTP_SIZE, "SIZE", say_size},
    {SMTP_STARTTLS, "STARTTLS", say_starttls},
    {SMTP_AUTH, "AUTH", say_auth},
    {SMTP_ENHANCED, "ENHANCEDSTATUSCODES", NULL},
    {SMTP_EIGHT, "8BITMIME", NULL},
    {SMTP_BINARY, "BINARYMIME", NULL},
    {SMTP_CHUNKING, "CHUNKING", NULL},
    {SMTP_BURL, "BURL", say_burl},
    {SMTP_DSN, "DSN", NULL},
    {SMTP_LIMITS, "LIMITS", say_limits},
    {SMTP_HOLD, "FUTURERELEASE", say_hold},
    {SMTP_DELIVERBY, "DELIVERBY", say_deliverby},
    {SMTP_PRIORITY, "MT-PRIORITY", NULL},
    {SMTP_REQUIRETLS, "REQUIRETLS", say_requiretls},
    {SMTP_SOLICIT, "NO-SOLICITING", say_solicit},
    {SMTP_UTF8, "SMTPUTF8", NULL},
};

void smtp_say_extensions(struct smtp_session *s)
{
    struct buf *out = &s->base.out;
    size_t line = out->n; /* where the last line begins */

    buf_printf(out, "250-%s\r\n", s->service->settings.hostname);
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
        const struct keyword_row *row = &keywords[i];
        CLEANUP(buf_done) struct buf value = buf_make(1000);

        if (!smtp_has(s, row->extension) || (row->value && !row->value(s, &value)))
            continue;
        line = out->n;
        buf_printf(out, "250-%s%s\r\n", row->keyword, buf_cstr(&value));
    }
    out->p[line + 3] = ' ';
}

/* --- MAIL ----------------------------------------------------------------------------------------
 */

/* Where a parameter goes. */
struct taking {
    struct smtp_session *s;
    struct smtp_transaction *t;
    struct smtp_recipient *recipient; /* of RCPT */
};

/* Handlers: true: fine; false: a reply has been sent. */

static bool param_size(struct taking *take, struct slice value)
{
    uint64_t max = take->s->service->settings.message_max;

    if (!slice_to_u64(value, INT64_MAX, &take->t->size)) {
        smtp_bad(take->s, 501, "5.5.4", "SIZE needs a number");
        return false;
    }
    if (take->t->size > max) {
        SMTP_REPLY(take->s, 552, "5.3.4", "A message may have %llu octets here",
                   (unsigned long long)max);
        return false;
    }
    return true;
}

static bool param_body(struct taking *take, struct slice value)
{
    static const struct {
        const char *name;
        enum queue_body_type body;
    } bodies[] = {
        {"7BIT", QUEUE_7BIT}, {"8BITMIME", QUEUE_8BITMIME}, {"BINARYMIME", QUEUE_BINARYMIME}};

    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        if (slice_ieq(value, slice_str(bodies[i].name))) {
            take->t->body = bodies[i].body;
            return true;
        }
    }
    smtp_bad(take->s, 501, "5.5.4", "BODY is 7BIT, 8BITMIME or BINARYMIME");
    return false;
}

static bool param_utf8(struct taking *take, struct slice value)
{
    if (value.n) {
        smtp_bad(take->s, 501, "5.5.4", "SMTPUTF8 has no value");
        return false;
    }
    take->t->utf8 = true;
    return true;
}

/* Who the client says has sent it: checked and not used, as RFC 4954 section 5 allows. */
static bool param_auth(struct taking *take, struct slice value)
{
    CLEANUP(buf_done) struct buf text = buf_make(SMTP_LINE_MAX);

    if (slice_eq(value, S("<>")) || (value.n && smtp_xtext_decode(value, &text) == 0))
        return true;
    smtp_bad(take->s, 501, "5.5.4", "AUTH is <> or an address as xtext");
    return false;
}

static bool param_ret(struct taking *take, struct slice value)
{
    bool full = slice_ieq(value, S("FULL"));

    if (!full && !slice_ieq(value, S("HDRS"))) {
        smtp_bad(take->s, 501, "5.5.4", "RET is FULL or HDRS");
        return false;
    }
    take->t->ret = full ? QUEUE_RET_FULL : QUEUE_RET_HDRS;
    return true;
}

static bool param_envid(struct taking *take, struct slice value)
{
    CLEANUP(buf_done) struct buf text = buf_make(ENVID_MAX);

    if (!value.n || value.n > ENVID_MAX || smtp_xtext_decode(value, &text) < 0) {
        smtp_bad(take->s, 501, "5.5.4", "ENVID is xtext of up to 100 characters");
        return false;
    }
    take->t->envid = arena_str(&take->t->arena, buf_slice(&text));
    return true;
}

static bool hold_until(struct taking *take, int64_t until_ms)
{
    struct smtp_transaction *t = take->t;

    if (t->hold_until_ms) {
        smtp_bad(take->s, 501, "5.5.4", "HOLDFOR and HOLDUNTIL do not go together");
        return false;
    }
    if (until_ms > clock_wall_ms() + take->s->service->settings.hold_max_ms) {
        smtp_bad(take->s, 501, "5.5.4", "A message is not held for so long here");
        return false;
    }
    t->hold_until_ms = MAX(until_ms, (int64_t)1);
    return true;
}

static bool param_holdfor(struct taking *take, struct slice value)
{
    uint64_t seconds;

    if (value.n > 9 || !slice_to_u64(value, 999999999, &seconds)) {
        smtp_bad(take->s, 501, "5.5.4", "HOLDFOR needs a number of seconds");
        return false;
    }
    return hold_until(take, clock_wall_ms() + (int64_t)seconds * 1000);
}

static bool param_holduntil(struct taking *take, struct slice value)
{
    int64_t time;

    if (smtp_time_parse(value, &time) < 0) {
        smtp_bad(take->s, 501, "5.5.4", "HOLDUNTIL needs a time like 2030-12-31T23:59:59Z");
        return false;
    }
    return hold_until(take, time * 1000);
}

static bool param_by(struct taking *take, struct slice value)
{
    struct smtp_by by;

    if (smtp_by_parse(value, &by) < 0) {
        smtp_bad(take->s, 501, "5.5.4", "BY needs seconds;R or seconds;N");
        return false;
    }
    if (by.ret && by.seconds < take->s->service->settings.by_min_s) {
        SMTP_REPLY(take->s, 455, "4.5.4", "BY with R needs %lld seconds at least",
                   (long long)take->s->service->settings.by_min_s);
        return false;
    }
    take->t->by = by.ret ? QUEUE_BY_RETURN : QUEUE_BY_NOTIFY;
    take->t->by_ms = clock_wall_ms() + by.seconds * 1000;
    take->t->by_trace = by.trace;
    return true;
}

static bool param_priority(struct taking *take, struct slice value)
{
    if (smtp_priority_parse(value, &take->t->priority) == 0)
        return true;
    smtp_bad(take->s, 501, "5.5.2", "MT-PRIORITY is a number from -9 to 9");
    return false;
}

static bool param_solicit(struct taking *take, struct slice value)
{
    struct slice refused;

    if (smtp_solicit_check(value) < 0) {
        smtp_bad(take->s, 501, "5.5.4", "SOLICIT is a list of classes, of up to 1000 characters");
        return false;
    }
    refused = smtp_solicit_refused(value, slice_str(take->s->service->settings.no_solicit));
    if (refused.n) {
        refused.n = MIN(refused.n, (size_t)100);
        SMTP_REPLY(take->s, 550, "5.7.1", "Mail of the class %.*s is not taken here",
                   SLICE_FMT(refused));
        return false;
    }
    take->t->solicit = arena_str(&take->t->arena, value);
    return true;
}

static bool param_requiretls(struct taking *take, struct slice value)
{
    if (value.n) {
        smtp_bad(take->s, 501, "5.5.4", "REQUIRETLS has no value");
        return false;
    }
    if (!take->s->base.peer.tls) {
        smtp_bad(take->s, 530, "5.7.0", "REQUIRETLS needs TLS here too: say STARTTLS first");
        return false;
    }
    take->t->require_tls = true;
    return true;
}

/* --- RCPT ----------------------------------------------------------------------------------------
 */

static bool param_notify(struct taking *take, struct slice value)
{
    if (smtp_notify_parse(value, &take->recipient->notify) == 0)
        return true;
    smtp_bad(take->s, 501, "5.5.4", "NOTIFY is NEVER or a list of SUCCESS, FAILURE, DELAY");
    return false;
}

static bool param_orcpt(struct taking *take, struct slice value)
{
    CLEANUP(buf_done) struct buf text = buf_make(ORCPT_MAX);

    if (value.n > ORCPT_MAX || smtp_orcpt_decode(value, &text) < 0) {
        smtp_bad(take->s, 501, "5.5.4", "ORCPT is a type, a semicolon and an address as xtext");
        return false;
    }
    take->recipient->orcpt = arena_str(&take->t->arena, buf_slice(&text));
    return true;
}

static const struct param_row {
    unsigned extension;
    const char *keyword;
    bool (*handle)(struct taking *take, struct slice value);
} mail_params[] =
    {
        {SMTP_SIZE, "SIZE", param_size},
        {SMTP_EIGHT, "BODY", param_body},
        {SMTP_UTF8, "SMTPUTF8", param_utf8},
        {SMTP_AUTH, "AUTH", param_auth},
        {SMTP_DSN, "RET", param_ret},
        {SMTP_DSN, "ENVID", param_envid},
        {SMTP_HOLD, "HOLDFOR", param_holdfor},
        {SMTP_HOLD, "HOLDUNTIL", param_holduntil},
        {SMTP_DELIVERBY, "BY", param_by},
        {SMTP_PRIORITY, "MT-PRIORITY", param_priority},
        {SMTP_REQUIRETLS, "REQUIRETLS", param_requiretls},
        {SMTP_SOLICIT, "SOLICIT", param_solicit},
},
  rcpt_params[] = {
      {SMTP_DSN, "NOTIFY", param_notify},
      {SMTP_DSN, "ORCPT", param_orcpt},
};

static const struct param_row *row_named(const struct smtp_session *s, struct slice keyword,
                                         const struct param_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (slice_ieq(keyword, slice_str(rows[i].keyword)) && smtp_has(s, rows[i].extension))
            return &rows[i];
    return NULL;
}

bool smtp_take_params(struct smtp_session *s, const struct smtp_path *path,
                      struct smtp_recipient *recipient)
{
    struct taking take = {s, &s->t, recipient};
    const struct param_row *rows = recipient ? rcpt_params : mail_params;
    size_t n = recipient ? ARRAY_LEN(rcpt_params) : ARRAY_LEN(mail_params);
    unsigned seen = 0;

    for (size_t i = 0; i < path->n_params; i++) {
        const struct smtp_param *param = &path->params[i];
        const struct param_row *row = row_named(s, param->keyword, rows, n);

        if (!row || !s->extended) {
            smtp_bad(s, 555, "5.5.4", "A parameter is not known or not offered");
            return false;
        }
        if (seen & 1u << (row - rows)) {
            smtp_bad(s, 501, "5.5.4", "A parameter is given twice");
            return false;
        }
        seen |= 1u << (row - rows);
        if (!row->handle(&take, param->value))
            return false;
    }
    return true;
}
