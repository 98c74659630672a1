/* SPDX-License-Identifier: MPL-2.0 */
/* The content of a submission: it streams through line ends and header into the accounts' message
 * and the queue's; at the end both are made durable, in the order that submit.h gives. */
#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "protocols/smtp/deliver.h"
#include "protocols/smtp/trace.h"
#include "protocols/smtp/values.h"
#include "protocols/submit/header.h"
#include "protocols/submit/impl.h"
#include "protocols/submit/lines.h"
#include "protocols/submit/report.h"

#define HEADER_MAX   ((size_t)256 << 10)
#define HEADER_PIECE ((size_t)64 << 10) /* taken at once while the header lasts */
#define HOPS_MAX     100                /* RFC 5321 section 6.3 */
#define CAUGHT_MAX   ((size_t)16 << 10) /* octets of X-Envelope-To in sandbox mode */
#define SEARCH_MAX   100u               /* messages looked through for the same Message-ID, ... */
#define SEARCH_UIDS  1000u              /* ... of so many uids */

/* On its way in; t->content. */
struct incoming {
    struct submit *s;
    struct smtp_transaction *t;
    const struct client *client;
    struct digest_ctx *digest; /* of the bytes as the client sends them */
    struct lines lines;
    struct buf raw, header; /* the header as it came; as it goes on */
    struct submit_header fields;
    bool in_body;
    struct message_writer *writer; /* for accounts here; NULL: nobody is */
    struct message_writer *sent;   /* the sender's copy, where it differs (Bcc) */
    struct queue_writer *queue;    /* NULL: nobody is elsewhere */
    struct buf received;
    char id[QUEUE_ID_TEXT]; /* in trace fields, replies and log */
    bool held;              /* FUTURERELEASE: all of it goes to the queue */
    bool save_sent;
    struct smtp_reply reply; /* why it failed, or what came of it */
};

static int fail(struct incoming *in, int res, unsigned code, const char *enhanced, const char *text)
{
    if (res != -ERR_UNAVAILABLE)
        submit_count(&in->s->parts.counters->refused_content, 1);
    smtp_reply_set(&in->reply, code, enhanced, "%s", text);
    return res;
}

/* --- the beginning -------------------------------------------------------------------------------
 */

/* Who is there to write for? */
static void count_places(const struct incoming *in, bool *ret_here, bool *ret_elsewhere)
{
    *ret_here = in->client->sandbox || in->save_sent;
    *ret_elsewhere = in->held;
    for (size_t i = 0; i < in->t->recipients.n; i++) {
        const struct rcpt *rcpt = in->t->recipients.items[i].context;

        for (size_t k = 0; k < rcpt->n; k++) {
            *ret_elsewhere |= rcpt->items[k].foreign != NULL;
            *ret_here |= !rcpt->items[k].foreign && !in->held;
        }
    }
}

int submit_begin(void *service, struct smtp_transaction *t, struct smtp_reply *reply)
{
    struct submit *s = service;
    const struct client *client = t->client;
    struct incoming *in;
    bool here, elsewhere;
    int r = submit_check_rates(s, t, reply);

    if (r < 0)
        return r;
    in = NEW(struct incoming);
    in->s = s;
    in->t = t;
    in->client = client;
    in->digest = digest_new();
    in->raw = in->header = buf_make(HEADER_MAX * 2);
    in->received = buf_make(8192);
    in->held = !client->sandbox && t->hold_until_ms > clock_wall_ms();
    in->save_sent = !client->sandbox && client->save_sent && *t->sender;
    queue_id_text(random_u64(), in->id);
    trace_received(t,
                   &(struct trace_options){.id = in->id, .hide_client = !s->settings.trace_client},
                   &in->received);
    count_places(in, &here, &elsewhere);
    if (here)
        in->writer = message_writer_new(s->parts.mail);
    if (elsewhere)
        in->queue = queue_writer_new(s->parts.queue);
    t->content = in;
    return 0;
}

void submit_abort(void *service, struct smtp_transaction *t)
{
    struct incoming *in = t->content;

    digest_free(in->digest);
    buf_done(&in->raw);
    buf_done(&in->header);
    buf_done(&in->received);
    message_writer_free(in->writer);
    message_writer_free(in->sent);
    queue_writer_free(in->queue);
    free(in);
    t->content = NULL;
}

/* --- bytes ---------------------------------------------------------------------------------------
 */

static int write_here(struct incoming *in, struct message_writer *w, struct slice bytes)
{
    struct error err = {0};
    int r = w ? message_writer_feed(w, bytes, &err) : 0;

    if (r < 0)
        delivery_reply(&in->reply, r, true);
    return r;
}

static int write_queue(struct incoming *in, struct slice bytes)
{
    struct error err = {0};
    int r = in->queue ? queue_writer_feed(in->queue, bytes, &err) : 0;

    if (r < 0)
        fail(in, -ERR_UNAVAILABLE, 451, "4.3.0", "The queue cannot be reached, try again later");
    return r;
}

static int write_all(struct incoming *in, struct slice bytes)
{
    int r = write_here(in, in->writer, bytes);

    if (r == 0)
        r = write_here(in, in->sent, bytes);
    return r == 0 ? write_queue(in, bytes) : r;
}

/* --- the header ----------------------------------------------------------------------------------
 */

static int check_authors(struct incoming *in)
{
    const struct submit_header *f = &in->fields;
    int r = 0;

    if (f->from_fields == 0 && f->authors_n == 0 && !f->authors_damaged)
        return 0; /* none: one is added */
    if (f->authors_damaged || f->authors_n == 0)
        return fail(in, -ERR_INVALID, 550, "5.7.1", "The From field holds no address of yours");
    for (size_t i = 0; r == 0 && i < f->authors_n; i++)
        if (strcmp(f->authors[i], in->t->sender) != 0) /* that one has been looked at */
            r = submit_check_name(in->s, in->client, f->authors[i], "author", &in->reply);
    return r;
}

static int check_classes(struct incoming *in)
{
    struct slice refused =
        smtp_solicit_refused(in->fields.solicitation, slice_str(in->t->settings->no_solicit));

    if (!refused.n)
        return 0;
    refused.n = MIN(refused.n, (size_t)100);
    return fail(in, -ERR_NOPERM, 550, "5.7.1",
                arena_printf(&in->t->arena, "Mail of the class %.*s is not taken here",
                             SLICE_FMT(refused)));
}

static int check_header(struct incoming *in)
{
    const struct submit_header *f = &in->fields;
    int r = check_classes(in);

    if (r < 0)
        return r;

    if (f->received > HOPS_MAX)
        return fail(in, -ERR_LIMIT, 554, "5.4.6", "The message goes round in circles");
    if (f->from_fields > 1)
        return fail(in, -ERR_INVALID, 550, "5.6.0", "The message has more than one From field");
    return in->client->sandbox ? 0 : check_authors(in);
}

static int write_header(struct incoming *in)
{
    const char *from = *in->t->sender ? in->t->sender : in->client->account.login;
    struct submit_fixes fixes = {
        .from = from,
        .sender = from,
        .message_id = arena_printf(&in->t->arena, "%s@%s", in->id, in->t->settings->hostname),
        .date = clock_wall_ms() / 1000,
    };
    CLEANUP(buf_done) struct buf own = buf_make(HEADER_MAX * 2);
    int r;

    submit_header_write(&in->fields, &fixes, &in->header);
    if (in->save_sent && in->fields.has_bcc) {
        fixes.keep_bcc = true;
        submit_header_write(&in->fields, &fixes, &own);
        in->sent = message_writer_new(in->s->parts.mail);
    }
    r = write_here(in, in->writer, buf_slice(&in->header));
    if (r == 0)
        r = write_here(in, in->sent, buf_slice(&own));
    if (r == 0)
        r = write_queue(in, buf_slice(&in->received));
    return r == 0 ? write_queue(in, buf_slice(&in->header)) : r;
}

/* The header is the first n bytes of `raw`; what follows is body. */
static int end_header(struct incoming *in, size_t n)
{
    int r;

    in->in_body = true;
    submit_header_read(slice_sub(buf_slice(&in->raw), 0, n), &in->t->arena, &in->fields);
    r = check_header(in);
    if (r == 0)
        r = write_header(in);
    if (r == 0)
        r = write_all(in, slice_skip(buf_slice(&in->raw), n));
    buf_done(&in->raw);
    in->fields.block = slice_of(NULL, 0);
    return r;
}

/* Where the header ends, if it does: behind the first empty line. `before`: octets that have been
 * looked at. */
static bool header_end(const struct incoming *in, size_t before, size_t *ret)
{
    struct slice raw = buf_slice(&in->raw);
    size_t from = before > 3 ? before - 3 : 0;
    ssize_t first = before < 1000 ? slice_search(raw, S("\r\n")) : 0, at;

    if (first == 0 && slice_starts(raw, S("\r\n"))) {
        *ret = 2;
        return true;
    }
    if (first > 0 && submit_header_absent(slice_sub(raw, 0, (size_t)first + 2))) {
        *ret = 0;
        return true;
    }
    at = slice_search(slice_skip(raw, from), S("\r\n\r\n"));
    *ret = from + (size_t)at + 4;
    return at >= 0;
}

static int take_header(struct incoming *in, struct slice *bytes)
{
    struct slice piece = slice_sub(*bytes, 0, HEADER_PIECE);
    size_t before = in->raw.n, end;

    buf_add_slice(&in->raw, piece);
    *bytes = slice_skip(*bytes, piece.n);
    if (header_end(in, before, &end)) {
        if (end > HEADER_MAX)
            return fail(in, -ERR_TOOBIG, 552, "5.3.4", "The header is too large");
        return end_header(in, end);
    }
    if (in->raw.n > HEADER_MAX)
        return fail(in, -ERR_TOOBIG, 552, "5.3.4", "The header is too large");
    return 0;
}

static int take(void *ctx, struct slice bytes)
{
    struct incoming *in = ctx;
    int r = 0;

    while (r == 0 && !in->in_body && bytes.n)
        r = take_header(in, &bytes);
    return r == 0 && bytes.n ? write_all(in, bytes) : r;
}

int submit_feed(void *service, struct smtp_transaction *t, struct slice bytes,
                struct smtp_reply *reply)
{
    struct incoming *in = t->content;
    int r;

    digest_add(in->digest, bytes);
    in->reply.code = 0;
    r = t->body == QUEUE_BINARYMIME ? take(in, bytes) : lines_feed(&in->lines, bytes, take, in);
    if (r < 0 && !in->reply.code)
        fail(in, r, 554, "5.6.0", "The message holds a NUL: that needs BODY=BINARYMIME");
    if (r < 0)
        *reply = in->reply;
    return r;
}

/* --- the end: what all places need
 * ---------------------------------------------------------------- */

/* One message, under way to its places. */
struct sending {
    struct incoming *in;
    struct smtp_transaction *t;
    struct prepared *base, *sent; /* references */
    struct delivery_message message;
    struct deliveries all;
    struct delivery *copy; /* in Sent; NULL: none */
    VEC(struct report_recipient) reports;
    size_t got, failed; /* recipients here that have it; that will not have it */
};

static void sending_done(struct sending *d)
{
    deliveries_done(&d->all);
    prepared_unref(d->base);
    prepared_unref(d->sent);
    VEC_DONE(&d->reports);
}

static int finish_writer(struct incoming *in, struct message_writer *w, struct prepared **ret)
{
    struct error err = {0};
    int r = w ? message_writer_finish(w, ret, &err) : 0;

    if (r < 0)
        delivery_reply(&in->reply, r, true);
    return r;
}

/* What the same bytes again are known by (I24); a message that has nothing of its own by which two
 * could be told apart is a new one. */
static void end_hash(struct incoming *in, uint8_t hash[SHA256_SIZE])
{
    digest_end(TAKE(in->digest), hash);
    if (!in->fields.has_date && !in->fields.has_message_id)
        random_bytes(hash, SHA256_SIZE);
}

static int end_content(struct incoming *in, struct sending *ret)
{
    int r = lines_finish(&in->lines, take, in);

    if (r == 0 && !in->in_body)
        r = end_header(in, in->raw.n);
    if (r == 0)
        r = finish_writer(in, in->writer, &ret->base);
    if (r == 0)
        r = finish_writer(in, in->sent, &ret->sent);
    if (r < 0)
        return r;
    if (!ret->sent && ret->base)
        ret->sent = prepared_ref(ret->base);
    ret->in = in;
    ret->t = in->t;
    ret->message = (struct delivery_message){
        .sender = in->t->sender, .received = buf_slice(&in->received), .base = ret->base};
    end_hash(in, ret->message.hash);
    return 0;
}

/* --- the sandbox
 * ---------------------------------------------------------------------------------- */

/* Who would have got it. */
static void add_envelope(const struct smtp_transaction *t, struct buf *out)
{
    for (size_t i = 0; i < t->recipients.n; i++) {
        if (out->n > CAUGHT_MAX) {
            buf_printf(out, "X-Envelope-To: (and %zu others)\r\n", t->recipients.n - i);
            return;
        }
        buf_printf(out, "X-Envelope-To: <%s>\r\n", t->recipients.items[i].address);
    }
}

/* The ids of the last messages, of those with uids from `first` on; how many. */
static size_t last_ids(const struct mailbox *box, uint32_t first, uint64_t ids[SEARCH_MAX])
{
    struct mailbox_iter i = mailbox_iter(box, first);
    struct message m;
    size_t n = 0;

    while (mailbox_next(&i, &m))
        ids[n++ % SEARCH_MAX] = m.id;
    return MIN(n, (size_t)SEARCH_MAX);
}

/* The id of one of these messages that has this Message-ID; 0: there is none. */
static uint64_t find_message(struct account *account, const struct mailbox *box, uint32_t first,
                             const char *id)
{
    struct slice digests[SEARCH_MAX];
    uint64_t ids[SEARCH_MAX], result = 0;
    size_t n = last_ids(box, first, ids);
    struct hold *hold;

    if (!n || message_digests(account, ids, n, digests, &hold, NULL) < 0)
        return 0;
    for (size_t i = 0; i < n && !result; i++) {
        struct mdigest d;

        if (digests[i].n && mdigest_open(&d, digests[i]) == 0 &&
            slice_eq(d.message_id, slice_str(id)))
            result = ids[i];
    }
    hold_release(hold);
    return result;
}

/* Is there a message with this Message-ID among the last of a mailbox? Its id, or 0. */
static uint64_t find_in(struct account *account, struct slice name, const char *id)
{
    struct state *st = account_state(account);
    const struct mailbox *there = *id ? state_mailbox_named(st, name) : NULL;
    uint32_t first =
        there && there->sum.uidnext > SEARCH_UIDS ? there->sum.uidnext - SEARCH_UIDS : 1;
    struct mailbox *box;
    uint64_t result = 0;

    if (there && mailbox_load(account, st, there->id, first, UINT32_MAX, &box, NULL) == 0) {
        result = find_message(account, box, first, id);
        mailbox_unref(box);
    }
    state_unref(st);
    return result;
}

static void reply_caught(struct incoming *in, const struct intent *it)
{
    uint64_t id = it->duplicate ? find_in(it->account, S("INBOX"), in->fields.id) : it->message_id;

    if (id)
        smtp_reply_set(&in->reply, 250, "2.0.0", "Accepted [STATUS=new MSGID=M%016llx]",
                       (unsigned long long)id);
    else
        smtp_reply_set(&in->reply, 250, "2.0.0", "Accepted [STATUS=new]");
}

static int catch_all(struct sending *d)
{
    CLEANUP(buf_done) struct buf head = buf_make((size_t)64 << 10);
    struct prepared *caught;
    struct delivery *copy;
    struct error err = {0};
    int r;

    buf_printf(&head, "Return-Path: <%s>\r\n", d->t->sender);
    add_envelope(d->t, &head);
    buf_add_slice(&head, d->message.received);
    r = prepared_with_head(d->base, buf_slice(&head), &caught, &err);
    if (r < 0) {
        delivery_reply(&d->in->reply, r, true);
        return r;
    }
    buf_reset(&head, SIZE_MAX);
    add_envelope(d->t, &head); /* the same message to others is another one */
    deliveries_init(&d->all, d->in->s->parts.mail, &d->t->arena, 1);
    copy = deliveries_add_copy(&d->all, d->in->client->account.id, S("INBOX"), caught, &d->message,
                               arena_str(&d->t->arena, buf_slice(&head)));
    prepared_unref(caught);
    deliveries_commit(&d->all);
    if (copy->intent.result == 0)
        reply_caught(d->in, &copy->intent);
    else
        delivery_reply(&d->in->reply, copy->intent.result, true);
    submit_count(&d->in->s->parts.counters->sandboxed, copy->intent.result == 0);
    return copy->intent.result;
}

/* --- accounts here
 * -------------------------------------------------------------------------------- */

/* The mailbox for sent mail, made if need be; into the transaction's arena. */
static struct slice sent_mailbox(struct sending *d, struct account *account)
{
    struct intent create = {
        .kind = INTENT_CREATE, .account = account, .name = S("Sent"), .uses = USE_SENT};
    struct intent *list[] = {&create};
    struct state *st = account_state(account);
    struct slice name = {0};

    for (size_t i = 0; i < st->n_mailboxes && !name.p; i++)
        if (st->mailboxes[i]->uses & USE_SENT)
            name = slice_str(arena_str(&d->t->arena, slice_str(st->mailboxes[i]->name)));
    if (!name.p && !state_mailbox_named(st, S("Sent")))
        mail_commit(d->in->s->parts.mail, list, 1); /* if that fails, so does the copy */
    intent_done(&create);
    state_unref(st);
    return name.p ? name : S("Sent");
}

/* A client that saves its copy before it sends has it there already. */
static void plan_copy(struct sending *d)
{
    uint64_t id = d->in->client->account.id;
    struct slice mailbox = S("Sent");
    struct account *account;
    bool there = false;

    if (account_open(d->in->s->parts.mail, id, &account, NULL) == 0) {
        mailbox = sent_mailbox(d, account);
        there = find_in(account, mailbox, d->in->fields.id) != 0;
        account_unref(account);
    }
    if (there)
        return;
    d->copy = deliveries_add_copy(&d->all, id, mailbox, d->sent, &d->message, "sent");
    d->copy->intent.flags.system = FLAG_SEEN;
}

static void plan(struct sending *d)
{
    size_t most = 1;

    for (size_t i = 0; i < d->t->recipients.n; i++)
        most += ((struct rcpt *)d->t->recipients.items[i].context)->n;
    deliveries_init(&d->all, d->in->s->parts.mail, &d->t->arena, most);
    for (size_t i = 0; i < d->t->recipients.n && !d->in->held; i++) {
        const struct rcpt *rcpt = d->t->recipients.items[i].context;

        deliveries_add(&d->all, &d->message, rcpt->items, rcpt->n);
    }
    if (d->in->save_sent)
        plan_copy(d);
}

/* Is it certain that it is not there and will not be? Else the client is to try again. */
static bool is_final(int r)
{
    return r == -ERR_INVALID || r == -ERR_NOTFOUND || r == -ERR_NOPERM || r == -ERR_LIMIT ||
           r == -ERR_TOOBIG || r == -ERR_QUOTA;
}

static void note_report(struct sending *d, const struct smtp_recipient *to, int res)
{
    struct smtp_reply *reply = ARENA_NEW(&d->t->arena, struct smtp_reply);
    unsigned wants = res ? QUEUE_NOTIFY_FAILURE : QUEUE_NOTIFY_SUCCESS;

    d->got += res == 0;
    d->failed += res != 0;
    /* RFC 3461 section 4.1: what is not said means failures */
    if (!((to->notify ? to->notify : QUEUE_NOTIFY_FAILURE) & wants))
        return;
    delivery_reply(reply, res, true);
    *VEC_PUSH(&d->reports) = (struct report_recipient){
        .address = to->address,
        .orcpt = to->orcpt,
        .delivered = res == 0,
        .code = reply->code,
        .status = reply->enhanced,
        .text = reply->text,
    };
}

/* Looks at what became of everybody here. <0: nobody knows, or the store is away. */
static int judge(struct sending *d)
{
    for (size_t i = 0; i < d->t->recipients.n && !d->in->held; i++) {
        const struct smtp_recipient *to = &d->t->recipients.items[i];
        const struct rcpt *rcpt = to->context;
        int r = deliveries_result(&d->all, rcpt->items, rcpt->n);
        bool here = false;

        for (size_t k = 0; k < rcpt->n; k++)
            here |= !rcpt->items[k].foreign;
        if (r < 0 && !is_final(r))
            return r;
        if (here)
            note_report(d, to, r);
    }
    if (d->copy && d->copy->intent.result < 0) {
        if (!is_final(d->copy->intent.result))
            return d->copy->intent.result;
        log_text(LOG_WARN_, "submit", "no copy in Sent of %s: %s", d->in->client->account.login,
                 err_name(d->copy->intent.result));
    }
    return 0;
}

/* Everybody is here, and nobody got it: the reply can say so, and no report is needed. */
static bool all_failed(const struct sending *d)
{
    return !d->in->queue && d->failed == d->t->recipients.n;
}

static int reply_failed(struct sending *d)
{
    const struct rcpt *rcpt = d->t->recipients.items[0].context;
    int r = deliveries_result(&d->all, rcpt->items, rcpt->n);

    delivery_reply(&d->in->reply, r, true);
    return r;
}

static struct prepared *prepare_report(struct sending *d)
{
    struct report report = {
        .hostname = d->t->settings->hostname,
        .to = d->t->sender,
        .envid = d->t->envid,
        .id = d->in->id,
        .date = clock_wall_ms() / 1000,
        .header = buf_slice(&d->in->header),
        .recipients = d->reports.items,
        .n = d->reports.n,
    };
    CLEANUP(buf_done) struct buf text = buf_make(BUF_MAX_DEFAULT);
    struct message_writer *w = message_writer_new(d->in->s->parts.mail);
    struct prepared *ret = NULL;
    struct error err = {0};

    report_write(&report, &text);
    if (message_writer_feed(w, buf_slice(&text), &err) == 0 &&
        message_writer_finish(w, &ret, &err) < 0)
        ret = NULL;
    message_writer_free(w);
    return ret;
}

/* Into the sender's INBOX; once, however often the client tries (I24). */
static int send_report(struct sending *d)
{
    struct prepared *report = d->reports.n && *d->t->sender ? prepare_report(d) : NULL;
    struct deliveries all;
    int r;

    if (!d->reports.n || !*d->t->sender)
        return 0;
    if (!report)
        return -ERR_UNAVAILABLE;
    deliveries_init(&all, d->in->s->parts.mail, &d->t->arena, 1);
    deliveries_add_copy(&all, d->in->client->account.id, S("INBOX"), report, &d->message, "report");
    prepared_unref(report);
    deliveries_commit(&all);
    r = all.items[0].intent.result;
    deliveries_done(&all);
    return r < 0 && is_final(r) ? 0 : r;
}

/* --- the queue
 * ------------------------------------------------------------------------------------ */

struct envelope {
    struct queue_envelope e;
    VEC(struct queue_recipient) to;
};

static void add_queued(struct envelope *out, const char *address, const struct smtp_recipient *to)
{
    for (size_t i = 0; i < out->to.n; i++)
        if (strcmp(out->to.items[i].address, address) == 0)
            return;
    *VEC_PUSH(&out->to) = (struct queue_recipient){address, to->notify, to->orcpt};
}

static void collect(const struct sending *d, struct envelope *out)
{
    for (size_t i = 0; i < d->t->recipients.n; i++) {
        const struct smtp_recipient *to = &d->t->recipients.items[i];
        const struct rcpt *rcpt = to->context;

        if (d->in->held)
            add_queued(out, rcpt->address, to);
        for (size_t k = 0; k < rcpt->n && !d->in->held; k++)
            if (rcpt->items[k].foreign)
                add_queued(out, rcpt->items[k].foreign, to);
    }
}

static int enqueue(struct sending *d, size_t *ret_n)
{
    const struct smtp_transaction *t = d->t;
    struct envelope out = {
        .e = {.account = d->in->client->account.id,
              .sender = t->sender,
              .author = d->in->fields.authors_n ? d->in->fields.authors[0] : NULL,
              .utf8 = t->utf8,
              .body = t->body,
              .ret = t->ret,
              .envid = t->envid,
              .hold_until_ms = d->in->held ? t->hold_until_ms : 0,
              .by = t->by,
              .by_ms = t->by_ms,
              .by_trace = t->by_trace,
              .priority = t->priority,
              .require_tls = t->require_tls,
              .solicit = t->solicit,
              /* RFC 8689 section 4.1: REQUIRETLS beats the header field */
              .tls_optional = d->in->fields.tls_no && !t->require_tls},
    };
    struct error err = {0};
    uint64_t id;
    int r;

    *ret_n = 0;
    if (!d->in->queue)
        return 0;
    collect(d, &out);
    out.e.recipients = out.to.items;
    out.e.recipients_n = *ret_n = out.to.n;
    r = queue_submit(d->in->s->parts.queue, d->in->queue, &out.e, &id, &err);
    if (r == 0)
        queue_id_text(id, d->in->id);
    else
        log_text(LOG_WARN_, "submit", "not queued: %s", err.text);
    VEC_DONE(&out.to);
    return r;
}

/* --- all together
 * --------------------------------------------------------------------------------- */

static int deliver_all(struct sending *d)
{
    size_t queued = 0;
    int r;

    plan(d);
    deliveries_commit(&d->all);
    r = judge(d);
    if (r == 0 && all_failed(d))
        return reply_failed(d);
    if (r == 0)
        r = send_report(d);
    if (r == 0)
        r = enqueue(d, &queued);
    if (r < 0) {
        delivery_reply(&d->in->reply, r == -ERR_UNKNOWN_OUTCOME ? r : -ERR_UNAVAILABLE, true);
        return r;
    }
    submit_count(&d->in->s->parts.counters->queued, queued);
    submit_count(&d->in->s->parts.counters->local, d->got);
    smtp_reply_set(&d->in->reply, 250, "2.0.0",
                   queued ? "Accepted, queued as %s" : "Accepted as %s", d->in->id);
    return 0;
}

void submit_finish(void *service, struct smtp_transaction *t)
{
    CLEANUP(sending_done) struct sending d = {0};
    struct submit *s = service;
    struct incoming *in = t->content;
    int r = end_content(in, &d);

    if (r == 0)
        r = in->client->sandbox ? catch_all(&d) : deliver_all(&d);
    submit_count(r == 0 ? &s->parts.counters->messages : &s->parts.counters->failed, 1);
    for (size_t i = 0; i < t->recipients.n; i++)
        t->recipients.items[i].reply = in->reply;
    submit_abort(service, t);
}
