/* SPDX-License-Identifier: MPL-2.0 */
/* STANDARDS: RFC 3461 (NOTIFY, RET, ORCPT, ENVID), RFC 3462, RFC 3464, RFC 3834 (Auto-Submitted),
 * RFC 6533. */
#include "lib/queue/notice.h"

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/mail/message.h"

#define HEADER_MAX ((size_t)64 << 10) /* of the message's header, that is returned */
#define LINE_MAX_  400                /* of what servers said */
#define BOUNDARY_N 12                 /* bytes of the hash that part the parts */

struct words {
    const char *subject, *sentence, *action;
};

static const struct words words[QUEUE_NOTICES_] = {
    [QUEUE_NOTICE_FAILED] = {"Your message was not delivered",
                             "Your message could not be delivered to the recipients below. They "
                             "will not get it.",
                             "failed"},
    [QUEUE_NOTICE_DELIVERED] = {"Your message was passed on",
                                "As you asked to be told: your message was accepted by the mail "
                                "servers of the\r\nrecipients below, which do not send reports "
                                "themselves. Nothing more will be heard.",
                                "relayed"},
    [QUEUE_NOTICE_DELAYED] = {"Your message is delayed",
                              "Your message could not be delivered yet to the recipients below. It "
                              "is being tried\r\nagain; you do not need to send it again.",
                              "delayed"},
};

/* --- small parts ----------------------------------------------------------------------------- */

/* Text from elsewhere, on one line of ours. */
static void add_clean(struct buf *out, const char *text, bool utf8)
{
    struct slice s = slice_str(text);
    bool keep = utf8 && utf8_valid(s);

    s = keep ? s : slice_sub(s, 0, LINE_MAX_);
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];

        if (c == '\r' || c == '\n' || c == '\t')
            c = ' ';
        else if (c < 0x20 || c == 0x7f || (c >= 0x80 && !keep))
            c = '?';
        buf_add_byte(out, c);
    }
}

static void add_date(struct buf *out, int64_t ms)
{
    struct civil c = civil_from_unix(ms / 1000, 0);

    buf_printf(out, "%s, %d %s %04d %02d:%02d:%02d +0000", clock_day_names[civil_weekday(&c)],
               c.day, clock_month_names[c.month - 1], c.year, c.hour, c.minute, c.second);
}

static void add_date_field(struct buf *out, const char *name, int64_t ms)
{
    buf_printf(out, "%s: ", name);
    add_date(out, ms);
    buf_add_str(out, "\r\n");
}

void notice_hash(const struct notice *n, uint8_t ret_hash[static DELIVERY_HASH_SIZE])
{
    CLEANUP(buf_done) struct buf b = buf_make(256);
    uint8_t hash[SHA256_SIZE];

    buf_add_str(&b, "eider queue notice 1");
    buf_add_be64(&b, n->about->entry.id);
    buf_add_be16(&b, n->about->entry.number);
    buf_add_be32(&b, n->number);
    buf_add_byte(&b, (uint8_t)n->kind);
    digest_sha256(buf_slice(&b), hash);
    memcpy(ret_hash, hash, MIN((size_t)DELIVERY_HASH_SIZE, sizeof hash));
}

/* --- the message ----------------------------------------------------------------------------- */

struct writer {
    const struct notice *n;
    const struct queue_entry *entry;
    const struct queue_envelope *envelope;
    struct queue *queue;
    struct buf *out;
    char boundary[2 * BOUNDARY_N + 1];
    bool utf8;
};

static void add_head(struct writer *w)
{
    char id[QUEUE_ID_TEXT];

    queue_id_text(w->entry->id, id);
    buf_printf(w->out, "Return-Path: <>\r\nFrom: Mail Delivery System <mailer-daemon@%s>\r\nTo: <",
               w->n->hostname);
    add_clean(w->out, w->envelope->sender, w->utf8);
    buf_printf(w->out, ">\r\nSubject: %s\r\n", words[w->n->kind].subject);
    add_date_field(w->out, "Date", w->entry->notice_ms);
    buf_printf(w->out,
               "Message-ID: <%s.%u.%u.%s@%s>\r\n"
               "Auto-Submitted: auto-replied\r\n"
               "MIME-Version: 1.0\r\n"
               "Content-Type: multipart/report; report-type=delivery-status;\r\n"
               "\tboundary=\"=_%s\"\r\n\r\n",
               id, w->entry->number, w->n->number, words[w->n->kind].action, w->n->hostname,
               w->boundary);
}

static bool is_meant(const struct writer *w, const struct queue_target *t)
{
    return t->notice == w->n->kind && t->notice_number == w->n->number;
}

static void add_part(struct writer *w, const char *type, const char *encoding)
{
    buf_printf(w->out, "--=_%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n",
               w->boundary, type, encoding);
}

static void add_person(struct writer *w)
{
    char id[QUEUE_ID_TEXT];

    queue_id_text(w->entry->id, id);
    add_part(w, "text/plain; charset=utf-8", "8bit");
    buf_printf(w->out, "This is the mail system of %s.\r\n\r\n%s\r\n", w->n->hostname,
               words[w->n->kind].sentence);
    for (size_t i = 0; i < w->entry->n; i++) {
        const struct queue_target *t = &w->entry->targets[i];

        if (!is_meant(w, t))
            continue;
        buf_add_str(w->out, "\r\n  <");
        add_clean(w->out, t->to.address, w->utf8);
        buf_add_str(w->out, ">\r\n    ");
        if (*t->remote) {
            add_clean(w->out, t->remote, false);
            buf_add_str(w->out, " said: ");
        }
        add_clean(w->out, *t->text ? t->text : t->status, false);
        buf_add_str(w->out, "\r\n");
    }
    buf_add_str(w->out, "\r\nThe message was accepted on ");
    add_date(w->out, w->n->about->queued_ms);
    buf_printf(w->out, " with the queue id %s.\r\n", id);
    if (w->n->kind == QUEUE_NOTICE_DELAYED) {
        buf_add_str(w->out, "If it cannot be delivered until ");
        add_date(w->out, w->n->until_ms);
        buf_add_str(w->out, ", you will be told.\r\n");
    }
    buf_add_str(w->out, "\r\n");
}

/* RFC 6533 section 3: addresses beyond ASCII have a type of their own. */
static void add_address(struct writer *w, const char *field, const char *type, const char *address)
{
    bool ascii = true;

    for (const char *c = address; *c; c++)
        ascii = ascii && (uint8_t)*c < 0x80;
    buf_printf(w->out, "%s: %s;", field, ascii ? type : "utf-8");
    add_clean(w->out, address, w->utf8);
    buf_add_str(w->out, "\r\n");
}

static void add_original(struct writer *w, const char *orcpt)
{
    if (!*orcpt)
        return;
    buf_add_str(w->out, "Original-Recipient: ");
    add_clean(w->out, orcpt, w->utf8);
    buf_add_str(w->out, "\r\n");
}

static void add_target(struct writer *w, const struct queue_target *t)
{
    buf_add_str(w->out, "\r\n");
    add_original(w, t->to.orcpt);
    add_address(w, "Final-Recipient", "rfc822", t->to.address);
    buf_printf(w->out, "Action: %s\r\nStatus: ", words[w->n->kind].action);
    add_clean(w->out, *t->status ? t->status : "4.0.0", false);
    buf_add_str(w->out, "\r\n");
    if (*t->remote) {
        buf_add_str(w->out, "Remote-MTA: dns;");
        add_clean(w->out, t->remote, false);
        buf_add_str(w->out, "\r\n");
    }
    if (t->code) {
        buf_add_str(w->out, "Diagnostic-Code: smtp;");
        add_clean(w->out, t->text, false);
        buf_add_str(w->out, "\r\n");
    }
    if (t->when_ms)
        add_date_field(w->out, "Last-Attempt-Date", t->when_ms);
    if (w->n->kind == QUEUE_NOTICE_DELAYED)
        add_date_field(w->out, "Will-Retry-Until", w->n->until_ms);
}

static void add_programs(struct writer *w)
{
    add_part(w, w->utf8 ? "message/global-delivery-status" : "message/delivery-status",
             w->utf8 ? "8bit" : "7bit");
    buf_printf(w->out, "Reporting-MTA: dns;%s\r\n", w->n->hostname);
    if (*w->envelope->envid) {
        buf_add_str(w->out, "Original-Envelope-Id: ");
        add_clean(w->out, w->envelope->envid, w->utf8);
        buf_add_str(w->out, "\r\n");
    }
    add_date_field(w->out, "Arrival-Date", w->n->about->queued_ms);
    for (size_t i = 0; i < w->entry->n; i++)
        if (is_meant(w, &w->entry->targets[i]))
            add_target(w, &w->entry->targets[i]);
    buf_add_str(w->out, "\r\n");
}

/* RET says what goes back with a bounce; other notices have the header only (RFC 3461 4.3). */
static bool is_whole(const struct writer *w)
{
    return w->n->kind == QUEUE_NOTICE_FAILED && w->envelope->ret != QUEUE_RET_HDRS &&
           w->envelope->body != QUEUE_BINARYMIME && w->n->about->stored.size <= w->n->return_max;
}

static int read_original(struct writer *w, bool whole, struct buf *text, struct error *err)
{
    const struct queue_stored *stored = &w->n->about->stored;
    struct queue_reader reader = {
        .queue = w->queue, .id = w->entry->id, .size = stored->size, .tag = stored->tag};
    uint64_t end = whole ? stored->size : MIN(stored->size, (uint64_t)HEADER_MAX);
    ssize_t found = -1;
    int r = 0;

    while (r == 0 && text->n < end && found < 0) {
        r = queue_read(&reader, text->n, (size_t)(end - text->n), text, err);
        found = whole ? -1 : slice_search(buf_slice(text), S("\r\n\r\n"));
    }
    queue_reader_done(&reader);
    if (found >= 0)
        text->n = (size_t)found + 2;
    return r;
}

static bool has_8bit(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] >= 0x80)
            return true;
    return false;
}

static int add_message(struct writer *w, struct error *err)
{
    static const char *const types[2][2] = {{"text/rfc822-headers", "message/global-headers"},
                                            {"message/rfc822", "message/global"}};
    bool whole = is_whole(w);
    CLEANUP(buf_done) struct buf text = buf_make((size_t)w->n->return_max + HEADER_MAX);
    int r = read_original(w, whole, &text, err);

    if (r == -ERR_NOTFOUND)
        return 0;
    if (r < 0)
        return r;
    add_part(w, types[whole][w->utf8], has_8bit(buf_slice(&text)) ? "8bit" : "7bit");
    buf_add_slice(w->out, buf_slice(&text));
    buf_add_str(w->out, "\r\n");
    return 0;
}

int notice_write(const struct notice *n, struct queue *q, struct buf *out, struct error *err)
{
    struct writer w = {.n = n,
                       .entry = &n->about->entry,
                       .envelope = &n->about->stored.envelope,
                       .queue = q,
                       .out = out,
                       .utf8 = n->about->stored.envelope.utf8};
    CLEANUP(buf_done) struct buf hex = buf_make(64);
    uint8_t hash[DELIVERY_HASH_SIZE];
    int r;

    notice_hash(n, hash);
    hex_encode(&hex, slice_of(hash, BOUNDARY_N));
    memcpy(w.boundary, buf_cstr(&hex), 2 * BOUNDARY_N + 1);
    add_head(&w);
    add_person(&w);
    add_programs(&w);
    r = add_message(&w, err);
    buf_printf(out, "--=_%s--\r\n", w.boundary);
    if (r == 0 && buf_full(out))
        r = error_set(err, ERR_TOOBIG, "a notice is too large");
    return r;
}

/* --- delivery -------------------------------------------------------------------------------- */

static int prepare(struct mail *mail, struct slice message, struct prepared **ret,
                   struct error *err)
{
    struct message_writer *w = message_writer_new(mail);
    int r = message_writer_feed(w, message, err);

    if (r == 0)
        r = message_writer_finish(w, ret, err);
    message_writer_free(w);
    return r;
}

int notice_deliver(struct mail *mail, uint64_t account,
                   const uint8_t hash[static DELIVERY_HASH_SIZE], struct slice message,
                   struct error *err)
{
    struct intent intent = {.kind = INTENT_DELIVER, .name = S("INBOX")};
    struct intent *list[] = {&intent};
    int r = prepare(mail, message, &intent.prepared, err);

    if (r < 0)
        return r;
    intent.account = account_get(mail, account);
    memcpy(intent.delivery, hash, DELIVERY_HASH_SIZE);
    mail_commit(mail, list, 1);
    r = intent.result;
    if (r < 0 && err)
        *err = intent.error;
    prepared_unref(intent.prepared);
    account_unref(intent.account);
    intent_done(&intent);
    return r == -ERR_NOTFOUND ? -ERR_NOPERM : r;
}
