/* SPDX-License-Identifier: MPL-2.0 */
/* STANDARDS: RFC 4865 (what is held is delivered when its time has come), RFC 3461 section 5.2.7
 * (whose success is told by whom, where an address is an alias). */
#include "protocols/submit/here.h"

#include <pthread.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "protocols/smtp/deliver.h"

#define PIECE       ((size_t)256 << 10)
#define DOMAINS     256  /* remembered, each at the place that its name gives it */
#define REMEMBER_MS 2000 /* the queue may hold thousands of messages for a domain */

struct known {
    char *name; /* NULL: nothing is known */
    bool ours;
    int64_t until_ms; /* clock_mono_ms() */
};

struct here {
    struct here_settings settings;
    struct mail *mail;
    struct directory *domains, *people;
    struct queue *queue;
    pthread_mutex_t lock; /* of: */
    struct known known[DOMAINS];
};

/* A recipient of the job, and what becomes of it. */
struct addressee {
    struct directory_recipient *items;
    size_t n;
    bool here, elsewhere; /* some of them are */
    bool found;           /* else `result` says why not */
    int result;           /* 0, or minus enum err */
};

struct handing {
    struct here *h;
    struct transport_job *job;
    struct addressee *to; /* as many as the job has recipients */
    struct message_writer *writer;
    struct queue_writer *queue;
    struct buf received; /* the trace field that the submission put in front */
    bool begun;          /* that has been cut off */
};

struct here *here_new(const struct here_settings *settings, struct mail *mail,
                      struct directory *domains, struct directory *people, struct queue *queue)
{
    struct here *h = NEW(struct here);

    h->settings = *settings;
    h->mail = mail;
    h->domains = domains;
    h->people = people;
    h->queue = queue;
    pthread_mutex_init(&h->lock, NULL);
    return h;
}

void here_free(struct here *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < DOMAINS; i++)
        free(h->known[i].name);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* --- is it ours? --------------------------------------------------------------------------------
 */

static struct known *place_of(struct here *h, const char *domain)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (const char *c = domain; *c; c++)
        hash = (hash ^ (uint8_t)*c) * 16777619u;
    return &h->known[hash % DOMAINS];
}

/* 1, 0; -ERR_UNAVAILABLE, -ERR_INTERNAL. */
static int is_ours(struct here *h, const char *domain)
{
    struct known *k = place_of(h, domain);
    int64_t now = clock_mono_ms();
    int r = -1;

    if (*domain == '[')
        return 0;
    pthread_mutex_lock(&h->lock);
    if (k->name && k->until_ms > now && strcmp(k->name, domain) == 0)
        r = k->ours;
    pthread_mutex_unlock(&h->lock);
    if (r >= 0)
        return r;
    r = directory_domain_is_local(h->domains, domain, NULL);
    if (r < 0)
        return r;
    pthread_mutex_lock(&h->lock);
    free(k->name);
    k->name = mem_strdup(domain);
    k->ours = r > 0;
    k->until_ms = now + REMEMBER_MS;
    pthread_mutex_unlock(&h->lock);
    return r;
}

/* --- who is it? ----------------------------------------------------------------------------------
 */

static void look_up(struct handing *d, size_t i)
{
    struct addressee *to = &d->to[i];
    const char *address = d->job->recipients[i].to->address;

    to->result = directory_resolve(d->h->people, slice_str(address), RESOLVE_FOREIGN,
                                   &d->job->arena, &to->items, &to->n, NULL);
    to->found = to->result == 0;
    for (size_t k = 0; k < to->n; k++) {
        to->here |= !to->items[k].foreign;
        to->elsewhere |= to->items[k].foreign != NULL;
    }
}

static void look_up_all(struct handing *d)
{
    for (size_t i = 0; i < d->job->n; i++) {
        look_up(d, i);
        if (d->to[i].here && !d->writer)
            d->writer = message_writer_new(d->h->mail);
        if (d->to[i].elsewhere && !d->queue)
            d->queue = queue_writer_new(d->h->queue);
    }
}

static void fail_all(struct handing *d, int res)
{
    for (size_t i = 0; i < d->job->n; i++)
        if (d->to[i].found)
            d->to[i].result = res;
}

/* --- the bytes -----------------------------------------------------------------------------------
 */

/* How many octets the trace field has that a submission puts in front: its lines, folded. */
static size_t trace_size(struct slice text)
{
    size_t at = 0;

    if (!slice_istarts(text, S("Received:")))
        return 0;
    while (true) {
        ssize_t end = slice_search(slice_skip(text, at), S("\r\n"));

        if (end < 0)
            return 0;
        at += (size_t)end + 2;
        if (at >= text.n || (text.p[at] != ' ' && text.p[at] != '\t'))
            return at;
    }
}

/* What is common to all accounts is the message without it: so it is the same message as one that
 * was not held, and as the one that a client sent twice (I24). */
static int give_here(struct handing *d, struct slice bytes)
{
    if (!d->begun) {
        size_t n = trace_size(bytes);

        d->begun = true;
        buf_add_slice(&d->received, slice_sub(bytes, 0, n));
        bytes = slice_skip(bytes, n);
    }
    return message_writer_feed(d->writer, bytes, NULL);
}

static int read_all(struct handing *d)
{
    CLEANUP(buf_done) struct buf piece = buf_make(PIECE);
    uint64_t at = 0;
    int r = 0;

    while (r == 0 && at < d->job->size) {
        buf_reset(&piece, SIZE_MAX);
        if (d->job->read(d->job, at, MIN((uint64_t)PIECE, d->job->size - at), &piece, NULL) < 0)
            return -ERR_UNAVAILABLE;
        at += piece.n;
        if (d->writer)
            r = give_here(d, buf_slice(&piece));
        if (r == 0 && d->queue && queue_writer_feed(d->queue, buf_slice(&piece), NULL) < 0)
            r = -ERR_UNAVAILABLE;
    }
    return r;
}

/* --- accounts here -------------------------------------------------------------------------------
 */

static int deliver_here(struct handing *d)
{
    struct delivery_message message = {.sender = d->job->envelope->sender,
                                       .received = buf_slice(&d->received)};
    struct deliveries all;
    size_t most = 0;
    int r = message_writer_finish(d->writer, &message.base, NULL);

    if (r < 0)
        return r;
    prepared_hash(message.base, message.hash);
    for (size_t i = 0; i < d->job->n; i++)
        most += d->to[i].n;
    deliveries_init(&all, d->h->mail, &d->job->arena, most);
    for (size_t i = 0; i < d->job->n; i++)
        deliveries_add(&all, &message, d->to[i].items, d->to[i].n);
    deliveries_commit(&all);
    for (size_t i = 0; i < d->job->n; i++)
        if (d->to[i].found)
            d->to[i].result = deliveries_result(&all, d->to[i].items, d->to[i].n);
    deliveries_done(&all);
    prepared_unref(message.base);
    return 0;
}

/* --- addresses elsewhere -------------------------------------------------------------------------
 */

static bool will_be_tried_again(const struct handing *d, int res)
{
    struct smtp_reply reply;

    delivery_reply(&reply, res, d->h->settings.over_quota_permanent);
    return reply.code >= 400 && reply.code < 500;
}

static void add_foreign(struct queue_envelope *e, const char *address,
                        const struct queue_recipient *of)
{
    for (size_t i = 0; i < e->recipients_n; i++)
        if (strcmp(e->recipients[i].address, address) == 0)
            return;
    e->recipients[e->recipients_n++] = (struct queue_recipient){address, of->notify, of->orcpt};
}

/* Not yet for those who are tried again: it would be handed on each time. */
static bool is_handed_on(const struct handing *d, const struct addressee *to)
{
    return to->elsewhere && !will_be_tried_again(d, to->result);
}

static void hand_on(struct handing *d)
{
    struct queue_envelope e = *d->job->envelope;
    size_t most = 0;
    uint64_t id;

    for (size_t i = 0; i < d->job->n; i++)
        most += d->to[i].n;
    e.recipients = arena_array(&d->job->arena, most, sizeof *e.recipients);
    e.recipients_n = 0;
    e.author = NULL;
    e.hold_until_ms = 0;
    e.head = d->job->head;
    e.head_is_whole = true;
    for (size_t i = 0; i < d->job->n; i++)
        for (size_t k = 0; is_handed_on(d, &d->to[i]) && k < d->to[i].n; k++)
            if (d->to[i].items[k].foreign)
                add_foreign(&e, d->to[i].items[k].foreign, d->job->recipients[i].to);
    if (e.recipients_n == 0 || queue_submit(d->h->queue, d->queue, &e, &id, NULL) == 0)
        return;
    for (size_t i = 0; i < d->job->n; i++)
        if (is_handed_on(d, &d->to[i]))
            d->to[i].result = -ERR_UNAVAILABLE;
}

/* --- all together --------------------------------------------------------------------------------
 */

static void set_result(struct handing *d, size_t i)
{
    struct transport_recipient *r = &d->job->recipients[i];
    const struct addressee *to = &d->to[i];
    struct smtp_reply reply;

    if (to->found)
        delivery_reply(&reply, to->result, d->h->settings.over_quota_permanent);
    else
        delivery_rcpt_reply(&reply, to->result);
    r->result = reply.code >= 500   ? TRANSPORT_FAILED
                : reply.code >= 400 ? TRANSPORT_LATER
                                    : TRANSPORT_DELIVERED;
    r->code = reply.code;
    r->status = reply.enhanced;
    r->text = to->result == 0 && !to->here ? "Handed on to the address that this one stands for"
                                           : arena_str(&d->job->arena, slice_str(reply.text));
    /* of success the entry tells that the message has now */
    r->relayed_dsn = to->result == 0 && !to->here;
}

int here_deliver(void *here, struct transport_job *job)
{
    struct handing d = {.h = here, .job = job, .received = buf_make(PIECE)};
    int r = is_ours(d.h, job->destination);

    if (r == 0)
        return 0;
    d.to = arena_array(&job->arena, job->n, sizeof *d.to);
    if (r > 0) {
        look_up_all(&d);
        r = d.writer || d.queue ? read_all(&d) : 0;
        if (r == 0 && d.writer)
            r = deliver_here(&d);
        if (r == 0 && d.queue)
            hand_on(&d);
        if (r < 0)
            fail_all(&d, r);
    } else {
        for (size_t i = 0; i < job->n; i++)
            d.to[i].result = -ERR_UNAVAILABLE;
    }
    for (size_t i = 0; i < job->n; i++)
        set_result(&d, i);
    message_writer_free(d.writer);
    queue_writer_free(d.queue);
    buf_done(&d.received);
    return 1;
}
