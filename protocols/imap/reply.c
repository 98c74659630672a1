/* SPDX-License-Identifier: MPL-2.0 */
/* Tagged lines, capabilities, and the writers of values that several responses share.
 *
 * Handlers return kinds of errors; what a client reads of them is said here, once. The codes are
 * those of RFC 5530 unless another RFC defines one for the very case.
 */
#include <inttypes.h>
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "protocols/imap/impl.h"

static const struct {
    const char *code, *text; /* text: where the error has no sentence */
} refusals[ERR_COUNT_] = {
    [ERR_INVALID] = {"CANNOT", "That is not possible"},
    [ERR_LIMIT] = {"LIMIT", "A limit was met"},
    [ERR_NOTFOUND] = {"NONEXISTENT", "It does not exist"},
    [ERR_EXISTS] = {"ALREADYEXISTS", "It exists already"},
    [ERR_NOPERM] = {"CANNOT", "That is not allowed"},
    [ERR_AUTH] = {"AUTHENTICATIONFAILED", "Wrong user name or password"},
    [ERR_QUOTA] = {"OVERQUOTA", "The account has no room for it"},
    [ERR_TOOBIG] = {"TOOBIG", "The message is too large"}, /* RFC 4469 */
    [ERR_CONFLICT] = {"INUSE", "Others are changing it; try again"},
    [ERR_UNAVAILABLE] = {"UNAVAILABLE", "The store cannot be reached; try again later"},
    [ERR_CANCELLED] = {"UNAVAILABLE", "Cancelled; try again"},
    [ERR_INTERNAL] = {"SERVERBUG", "Something is wrong on this side"},
};

/* A sentence may quote what came from outside; a response line is printable ASCII. */
static void write_sentence(struct buf *out, const char *s)
{
    for (; *s; s++)
        buf_add_byte(out, *s >= ' ' && *s < 0x7f ? (uint8_t)*s : '?');
}

static void write_line(struct imap *im, const char *tag, const char *status, const char *code,
                       const char *text)
{
    struct buf *out = &im->s.out;

    buf_printf(out, "%s %s ", tag, status);
    if (code) {
        buf_add_byte(out, '[');
        buf_add_str(out, code);
        buf_add_str(out, "] ");
    }
    write_sentence(out, text);
    buf_add_str(out, "\r\n");
}

/* What the store says may name hosts and files: that is for the log. */
static const char *sentence(const struct error *err, int kind)
{
    if (!err->text[0])
        return refusals[kind].text;
    if (kind != ERR_UNAVAILABLE && kind != ERR_INTERNAL)
        return err->text;
    log_text(LOG_WARN_, "imap", "%s", err->text);
    return refusals[kind].text;
}

void imap_reply(struct imap *im, struct command *cmd, int result)
{
    const char *code = cmd->code, *text = cmd->text ? cmd->text : "Done";
    const char *status = cmd->status ? cmd->status : "OK";
    int kind = -result;

    if (result < 0) {
        if (!cmd->status)
            status = "NO";
        if (!code && !cmd->status)
            code = refusals[kind].code;
        text = sentence(&cmd->err, kind);
    }
    write_line(im, cmd->parsed.tag, status, code, text ? text : "Failed");
}

void imap_reply_bad(struct imap *im, struct command *cmd)
{
    const char *code = cmd->err.kind == ERR_TOOBIG  ? "TOOBIG"
                       : cmd->err.kind == ERR_LIMIT ? "LIMIT"
                                                    : NULL;

    write_line(im, cmd->parsed.tag[0] ? cmd->parsed.tag : "*", "BAD", code, cmd->err.text);
}

int imap_bad(struct command *cmd, const char *fmt, ...)
{
    va_list ap;
    char text[ERROR_TEXT_MAX];

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    cmd->status = "BAD";
    return error_set(&cmd->err, ERR_INVALID, "%s", text);
}

/* A response code may hold no "]" and no line end. */
const char *imap_badurl(struct command *cmd, struct slice url)
{
    CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);

    buf_add_str(&b, "BADURL ");
    for (size_t i = 0; i < url.n && b.n < 1000; i++) {
        if (url.p[i] > ' ' && url.p[i] < 0x7f && url.p[i] != ']')
            buf_add_byte(&b, url.p[i]);
        else
            buf_printf(&b, "%%%02X", url.p[i]);
    }
    return arena_str(&cmd->arena, buf_slice(&b));
}

int imap_uid_required(struct command *cmd)
{
    int r = imap_bad(cmd, "After ENABLE UIDONLY there are no sequence numbers");

    cmd->code = "UIDREQUIRED";
    return r;
}

int imap_no(struct command *cmd, const char *code, const char *fmt, ...)
{
    va_list ap;
    char text[ERROR_TEXT_MAX];

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    cmd->status = "NO";
    cmd->code = code;
    return error_set(&cmd->err, ERR_NOPERM, "%s", text);
}

/* --- capabilities ------------------------------------------------------------------------------
 */

/* What no command stands for. */
static const char *const capabilities[] = {
    "CHILDREN",    /* RFC 3348 */
    "UTF8=ACCEPT", /* RFC 6855 */
    "I18NLEVEL=1", /* RFC 5255: i;unicode-casemap in all comparisons */
    "BINARY",      /* RFC 3516 */
    "CATENATE",    /* RFC 4469 */
    "URL-PARTIAL", /* RFC 5550 */
    "OBJECTID",    /* RFC 8474 */
    "PREVIEW",     /* RFC 8970 */
    "SAVEDATE",    /* RFC 8514 */
    "INPROGRESS",  /* RFC 9585 */
    "UIDONLY",     /* RFC 9586 */
};

static void write_login_capabilities(const struct imap *im, struct buf *out)
{
    const char *mechanisms[SASL_MECHANISMS_MAX];
    size_t n = sasl_mechanisms(im->service->auth, &im->s.peer, mechanisms);

    if (im->service->settings.starttls && !im->s.peer.tls && !im->compressed)
        buf_add_str(out, " STARTTLS");
    if (!auth_plaintext_allowed(im->service->auth, &im->s.peer))
        buf_add_str(out, " LOGINDISABLED");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, " AUTH=%s", mechanisms[i]);
}

void imap_write_capabilities(const struct imap *im, struct buf *out)
{
    buf_add_str(out, "IMAP4rev1 IMAP4rev2");
    if (im->state == IMAP_NOT_AUTHENTICATED)
        write_login_capabilities(im, out);
    buf_add_str(out, im->service->settings.literal_minus ? " LITERAL-" : " LITERAL+");
    for (size_t i = 0; i < ARRAY_LEN(capabilities); i++)
        buf_printf(out, " %s", capabilities[i]);
    for (size_t i = 0; i < imap_commands_n; i++)
        if (imap_commands[i].capability)
            buf_printf(out, " %s", imap_commands[i].capability);
    /* RFC 9738 */
    if (im->service->settings.message_limit)
        buf_printf(out, " MESSAGELIMIT=%u", im->service->settings.message_limit);
    else if (im->service->settings.save_limit)
        buf_printf(out, " SAVELIMIT=%u", im->service->settings.save_limit);
    /* RFC 7889 section 3: the same for all mailboxes; after the login it is the account's */
    buf_printf(out, " APPENDLIMIT=%" PRIu64, imap_message_max(im));
}

void imap_code_capabilities(const struct imap *im, struct command *cmd)
{
    CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);

    buf_add_str(&b, "CAPABILITY ");
    imap_write_capabilities(im, &b);
    cmd->code = arena_str(&cmd->arena, buf_slice(&b));
}

/* --- values ------------------------------------------------------------------------------------
 */

static bool quotable(struct slice s, bool utf8)
{
    bool plain = s.n <= 1000;

    for (size_t i = 0; i < s.n && plain; i++)
        plain = s.p[i] >= ' ' && s.p[i] != 0x7f && (s.p[i] < 0x80 || utf8);
    return plain && (!utf8 || utf8_valid(s));
}

static void write_string(struct buf *out, struct slice s, bool utf8)
{
    if (!quotable(s, utf8)) {
        buf_printf(out, "{%zu}\r\n", s.n);
        buf_add_slice(out, s);
        return;
    }
    buf_add_byte(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            buf_add_byte(out, '\\');
        buf_add_byte(out, s.p[i]);
    }
    buf_add_byte(out, '"');
}

void imap_write_string(struct buf *out, struct slice s)
{
    write_string(out, s, false);
}

bool imap_takes_utf8(const struct imap *im)
{
    return im->enabled & (ENABLED_UTF8 | ENABLED_REV2);
}

void imap_write_mailbox(const struct imap *im, struct buf *out, struct slice name)
{
    CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);

    if (imap_takes_utf8(im)) {
        write_string(out, name, true);
        return;
    }
    if (mutf7_encode(&b, name) < 0)
        buf_add_slice(&b, name); /* not UTF-8: cannot be, names are checked when they are made */
    imap_write_string(out, buf_slice(&b));
}

void imap_write_fetch(struct imap *im, uint32_t seq, uint32_t uid)
{
    bool uid_only = im->enabled & ENABLED_UIDONLY;

    buf_add_str(&im->s.out, "* ");
    buf_add_u64(&im->s.out, uid_only ? uid : seq);
    buf_add_str(&im->s.out, uid_only ? " UIDFETCH (" : " FETCH (");
}

void imap_write_flags(struct buf *out, const struct flagset *flags)
{
    buf_add_str(out, "FLAGS (");
    buf_add_slice(out, flags->text);
    buf_add_byte(out, ')');
}

static void put_digits(uint8_t *p, int v, int n)
{
    for (int i = n - 1; i >= 0; i--, v /= 10)
        p[i] = (uint8_t)('0' + v % 10);
}

/* By hand: printf would be half of what a FETCH of many messages costs. */
void imap_write_date(struct buf *out, int64_t seconds)
{
    static const char form[] = "\"00-Jan-0000 00:00:00 +0000\"";
    struct civil c = civil_from_unix(seconds, 0);
    uint8_t *p = buf_reserve(out, sizeof form - 1);

    if (!p)
        return;
    memcpy(p, form, sizeof form - 1);
    put_digits(p + 1, c.day, 2);
    memcpy(p + 4, clock_month_names[c.month - 1], 3);
    put_digits(p + 8, c.year, 4);
    put_digits(p + 13, c.hour, 2);
    put_digits(p + 16, c.minute, 2);
    put_digits(p + 19, c.second, 2);
    out->n += sizeof form - 1;
}
