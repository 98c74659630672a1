/* SPDX-License-Identifier: MPL-2.0 */
/* A whole conversation of the SMTP client with a server that says what the input says. The first
 * two bytes choose how it is cut and what the client wants. */
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/queue/smtp_answer.h"
#include "lib/queue/smtp_client.h"

static const char body[] = "Subject: x\r\n\r\n.a\nb\rc\r\n..\r\n";

struct world {
    struct smtp_owner owner;
    struct transport_job job;
    struct queue_envelope envelope;
    struct queue_recipient to[3];
    struct transport_recipient recipients[3];
    unsigned given, answered, ended;
};

static int read_body(struct transport_job *job, uint64_t offset, size_t n, struct buf *out,
                     struct error *err)
{
    buf_add_slice(out, slice_sub(S(body), offset, offset + n));
    return 0;
}

static struct transport_job *next(struct smtp_owner *o)
{
    struct world *w = CONTAINER_OF(o, struct world, owner);

    return w->given++ == 0 ? &w->job : NULL;
}

static void answered(struct smtp_owner *o, struct transport_job *job)
{
    struct world *w = CONTAINER_OF(o, struct world, owner);

    for (size_t i = 0; i < job->n; i++)
        if (!job->recipients[i].status || !job->recipients[i].text)
            abort();
    w->answered++;
}

static void leaves(struct smtp_owner *o)
{
}

static void ended(struct smtp_owner *o, enum smtp_end how, unsigned code, const char *why,
                  struct transport_job *untouched)
{
    struct world *w = CONTAINER_OF(o, struct world, owner);

    w->ended++;
    /* a job that was taken is answered or comes back, never both */
    if (w->answered + (untouched != NULL) != (w->given > 0))
        abort();
}

static void set_up(struct world *w, uint8_t choice)
{
    w->owner = (struct smtp_owner){next, answered, leaves, ended};
    w->envelope = (struct queue_envelope){.sender = "a@b",
                                          .body = choice & 3 ? QUEUE_7BIT : QUEUE_BINARYMIME,
                                          .envid = "x+y",
                                          .recipients = w->to,
                                          .recipients_n = 3};
    for (int i = 0; i < 3; i++) {
        w->to[i] = (struct queue_recipient){.address = "c@d", .orcpt = "rfc822;c@d", .notify = 2};
        w->recipients[i].to = &w->to[i];
    }
    w->job = (struct transport_job){.envelope = &w->envelope,
                                    .destination = "d",
                                    .head = S("X: y\r\n"),
                                    .size = sizeof body - 1,
                                    .read = read_body,
                                    .recipients = w->recipients,
                                    .n = 3};
}

/* What a pump does, without a network. */
static void step(struct session *s, unsigned events)
{
    s->ops->step(s, events);
    for (int i = 0; s->want.output && i < 100; i++) {
        buf_reset(&s->out, 0);
        s->ops->step(s, SESSION_DRAINED);
    }
    buf_reset(&s->out, 0);
    if (s->want.starttls) {
        s->want.starttls = false;
        buf_reset(&s->in, 0);
        s->peer.tls = true;
        s->ops->step(s, SESSION_TLS);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {0};
    struct smtp_client_settings settings = {.helo = "h", .host = "s", .tls = SMTP_TLS_MAY};
    struct session *s;

    if (size < 2)
        return 0;
    log_set_level(LOG_ERROR_);
    set_up(&w, data[1]);
    if (data[1] & 8) {
        settings.user = "u";
        settings.password = "p";
    }
    s = smtp_client_new(&settings, &w.owner);
    strcpy(s->peer.remote, "127.0.0.1");
    size_t piece = (size_t)data[0] + 1;
    step(s, 0);
    for (size_t at = 2; at < size && !s->want.close; at += piece) {
        size_t room = s->want.input_max - s->in.n;

        buf_add_slice(&s->in, slice_sub(slice_of(data, size), at, at + MIN(piece, room)));
        if (s->ops->ready(s))
            step(s, SESSION_INPUT);
    }
    if (!s->want.close)
        step(s, SESSION_EOF);
    buf_done(&s->in);
    buf_done(&s->out);
    s->ops->free(s);
    if (w.ended != 1)
        abort();
    arena_done(&w.job.arena);
    return 0;
}
