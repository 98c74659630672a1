/* SPDX-License-Identifier: MPL-2.0 */
/* The engine with a dialect that keeps messages in memory: what a peer may do to it. */
#include <criterion/criterion.h>

#include "lib/base/log.h"
#include "protocols/smtp/smtp.h"

struct box {
    struct buf message; /* of the transaction under way */
    struct buf log;     /* "message;" for each that was finished */
    unsigned open;
};

static int box_rcpt(void *service, struct smtp_transaction *t, struct smtp_recipient *r,
                    struct smtp_reply *reply)
{
    if (strcmp(r->address, "nobody") != 0)
        return 0;
    smtp_reply_set(reply, 550, "5.1.1", "No such user");
    return -ERR_NOTFOUND;
}

static int box_begin(void *service, struct smtp_transaction *t, struct smtp_reply *reply)
{
    struct box *box = service;

    box->open++;
    t->content = box;
    buf_reset(&box->message, 0);
    return 0;
}

static int box_feed(void *service, struct smtp_transaction *t, struct slice bytes,
                    struct smtp_reply *reply)
{
    buf_add_slice(&((struct box *)service)->message, bytes);
    return 0;
}

static void box_abort(void *service, struct smtp_transaction *t)
{
    ((struct box *)service)->open--;
    t->content = NULL;
}

static void box_finish(void *service, struct smtp_transaction *t)
{
    struct box *box = service;

    for (size_t i = 0; i < t->recipients.n; i++) {
        buf_printf(&box->log, "%s<%s:", t->sender, t->recipients.items[i].address);
        buf_add_slice(&box->log, buf_slice(&box->message));
        buf_add_byte(&box->log, ';');
        smtp_reply_set(&t->recipients.items[i].reply, 250, "2.0.0", "Stored for %s",
                       t->recipients.items[i].address);
    }
    box_abort(service, t);
}

static const struct smtp_ops box_ops = {.rcpt = box_rcpt,
                                        .begin = box_begin,
                                        .feed = box_feed,
                                        .finish = box_finish,
                                        .abort = box_abort};
static const struct smtp_dialect dialect = {
    .name = "LMTP",
    .log_name = "lmtp",
    .with = "LMTP",
    .with_utf8 = "UTF8LMTP",
    .extensions = SMTP_LHLO | SMTP_PIPELINING | SMTP_SIZE | SMTP_STARTTLS | SMTP_EIGHT |
                  SMTP_BINARY | SMTP_CHUNKING | SMTP_UTF8,
    .reply_per_recipient = true,
    .ops = &box_ops,
};

/* Runs the input in pieces of `step` bytes; the replies are the result. */
static void converse(const char *input, size_t step, struct box *box, struct buf *replies)
{
    struct smtp_settings settings = {.hostname = "mx.example",
                                     .message_max = 100,
                                     .recipients_max = 3,
                                     .bad_commands = 5,
                                     .timeout_ms = 1000};
    struct session_service *service = smtp_service_new(&dialect, &settings, box);
    struct session_peer peer = {.remote = "192.0.2.1"};
    struct session *s = service->open(service, &peer);
    struct slice all = slice_str(input);

    s->ops->step(s, 0);
    for (size_t at = 0; at < all.n && !s->want.close; at += step) {
        buf_add_slice(&s->in, slice_sub(all, at, at + step));
        if (s->ops->ready(s))
            s->ops->step(s, SESSION_INPUT);
    }
    buf_add_slice(replies, buf_slice(&s->out));
    s->ops->free(s);
    smtp_service_free(service);
}

static const struct {
    const char *input, *replies, *log;
} talks[] = {
    {"LHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<x>\r\nRCPT TO:<nobody>\r\nRCPT "
     "TO:<y>\r\nDATA\r\nHi\r\n..\r\n.\r\nQUIT\r\n",
     "250 2.1.0 Sender accepted\r\n250 2.1.5 Recipient accepted\r\n550 5.1.1 No such user\r\n250 "
     "2.1.5 Recipient accepted\r\n"
     "354 Send the message, end with <CRLF>.<CRLF>\r\n250 2.0.0 Stored for x\r\n250 2.0.0 Stored "
     "for y\r\n221 2.0.0 mx.example closing\r\n",
     "a@b<x:Hi\r\n.\r\n;a@b<y:Hi\r\n.\r\n;"},
    {"LHLO c\r\nMAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<x>\r\nBDAT 3\r\na\nbBDAT 2 LAST\r\n\r.",
     "250 2.1.0 Sender accepted\r\n250 2.1.5 Recipient accepted\r\n250 2.0.0 3 octets so "
     "far\r\n250 2.0.0 Stored for x\r\n",
     "<x:a\nb\r.;"},
    {"LHLO c\r\nBDAT 5\r\nQUIT\nDATA\r\nMAIL FROM:<a>\r\nDATA\r\n",
     "503 5.5.1 No valid recipients\r\n503 5.5.1 No valid recipients\r\n250 2.1.0 Sender "
     "accepted\r\n503 5.5.1 No valid recipients\r\n",
     ""},
    {"MAIL FROM:<a>\r\nHELO c\r\nEHLO c\r\n",
     "503 5.5.1 Say hello first, and one MAIL only in a transaction\r\n500 5.5.1 Unknown "
     "command\r\n500 5.5.1 Unknown command\r\n",
     ""},
    {"LHLO c\r\nMAIL FROM:<a> SIZE=101\r\nMAIL FROM:<a> WHAT=1\r\nMAIL FROM:<\xff>\r\n",
     "552 5.3.4 A message may have 100 octets here\r\n555 5.5.4 A parameter is not known or not "
     "offered\r\n"
     "553 5.6.7 An address outside ASCII needs SMTPUTF8 and must be UTF-8\r\n",
     ""},
    {"LHLO c\r\nMAIL FROM:<a>\r\nRCPT TO:<x>\r\nDATA\r\n"
     "012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012"
     "3456789\r\n.\r\nNOOP\r\n",
     "250 2.1.0 Sender accepted\r\n250 2.1.5 Recipient accepted\r\n354 Send the message, end with "
     "<CRLF>.<CRLF>\r\n"
     "552 5.3.4 A message may have 100 octets here\r\n250 2.0.0 Nothing done\r\n",
     ""},
    {"a\nb\r\nx\r\n.\r\n\r\n\x01\r\n1\r\nNOOP\r\n",
     "500 5.5.2 That is no command\r\n500 5.5.1 Unknown command\r\n500 5.5.2 That is no "
     "command\r\n500 5.5.2 That is no command\r\n"
     "500 5.5.2 That is no command\r\n421 4.7.0 mx.example too many errors\r\n",
     ""},
    {"LHLO c\r\nMAIL FROM:<a>\r\nRCPT TO:<1>\r\nRCPT TO:<2>\r\nRCPT TO:<3>\r\nRCPT "
     "TO:<4>\r\nRSET\r\nRCPT TO:<1>\r\n",
     "250 2.1.0 Sender accepted\r\n250 2.1.5 Recipient accepted\r\n250 2.1.5 Recipient "
     "accepted\r\n250 2.1.5 Recipient accepted\r\n"
     "452 4.5.3 Too many recipients in one transaction: send again for the rest\r\n250 2.0.0 "
     "Forgotten\r\n503 5.5.1 MAIL comes before RCPT\r\n",
     ""},
    /* I35: refused ones are counted too */
    {"LHLO c\r\nMAIL FROM:<a>\r\nRCPT TO:<x>\r\nRCPT TO:<nobody>\r\nRCPT TO:<nobody>\r\nRCPT "
     "TO:<nobody>\r\nRCPT TO:<y>\r\n",
     "250 2.1.0 Sender accepted\r\n250 2.1.5 Recipient accepted\r\n550 5.1.1 No such user\r\n550 "
     "5.1.1 No such user\r\n"
     "550 5.1.1 No such user\r\n452 4.5.3 Too many recipients in one transaction: send again for "
     "the rest\r\n",
     ""},
    {"STARTTLS\r\nLHLO c\r\nMAIL FROM:<a> BODY=BINARYMIME\r\nRCPT TO:<x>\r\nDATA\r\nRCPT TO:<x> "
     "NOTIFY=NEVER\r\nVRFY x\r\n",
     "503 5.5.1 TLS is not offered\r\n", ""},
};

static void quiet(void)
{
    log_set_level(LOG_ERROR_);
}

TestSuite(session, .init = quiet);

Test(session, talks_are_answered_alike_however_they_are_cut)
{
    for (size_t i = 0; i < ARRAY_LEN(talks); i++) {
        size_t n = strlen(talks[i].input);

        for (size_t step = 1; step <= n; step += step < 9 ? 1 : n - step ? n - step : 1) {
            CLEANUP(buf_done) struct buf replies = buf_make(100000);
            struct box box = {.message = buf_make(100000), .log = buf_make(100000)};

            converse(talks[i].input, step, &box, &replies);
            cr_assert_neq(slice_search(buf_slice(&replies), slice_str(talks[i].replies)), -1,
                          "%zu by %zu: %s", i, step, buf_cstr(&replies));
            cr_assert_str_eq(buf_cstr(&box.log), talks[i].log, "%zu by %zu", i, step);
            cr_assert_eq(box.open, 0);
            buf_done(&box.message);
            buf_done(&box.log);
        }
    }
}

Test(session, I35_an_endless_line_is_dropped_and_refused_once)
{
    CLEANUP(buf_done) struct buf input = buf_make(1 << 20), replies = buf_make(100000);
    struct box box = {.message = buf_make(1000), .log = buf_make(1000)};

    for (int i = 0; i < 50000; i++)
        buf_add_str(&input, "NOOP ");
    buf_add_str(&input, "\r\nNOOP\r\n");
    converse(buf_cstr(&input), 1000, &box, &replies);
    cr_assert_str_eq(buf_cstr(&replies),
                     "220 mx.example LMTP Eider ready\r\n500 5.5.6 The line is too long\r\n"
                     "250 2.0.0 Nothing done\r\n");
    buf_done(&box.message);
    buf_done(&box.log);
}
