/* SPDX-License-Identifier: MPL-2.0 */
/* conn: the one pump that moves the bytes of every protocol. lib/base/session.h is its contract.
 *
 * A connection's life is a walk down this list; `set_state` is the only place that changes it:
 *
 *   CONNECT    outgoing: no answer from the other side yet
 *   PROXY      the PROXY header is awaited (listeners that require one)
 *   HANDSHAKE  TLS, at once or after STARTTLS; the session may be there already and waits
 *   OPEN       the session talks
 *   LINGER     our last byte is sent; what the client still sends is thrown away for a moment: a
 *              close with unread input would make the kernel destroy output that is under way
 *   DEAD       the socket is closed; the session is freed on a worker, then this
 *
 * Everything happens in `turn`, on the loop's thread: it is run whenever something may have changed
 * (an edge on the socket, the timer, a wake-up, a worker that is done), looks at what there is, and
 * leaves when nothing can be done now. While a worker has the session (`working`) turn does
 * nothing; the flags of the socket keep what happens meanwhile. The hand-over is pool_submit in one
 * direction and loop_post in the other, whose locks order all memory between them.
 *
 * A worker sends what a step gave (`push_output`) before it hands the connection back, so that an
 * answer does not wait for the loop, and steps again at once where the session has more to say and
 * the socket took all, for WORKER_MS at most. What the socket does not take is the loop's to send.
 *
 * A client that asks one thing after the other would have three threads wake each other for each
 * answer. So a worker whose client was quick last time stays (`stay`): it goes on with what has
 * been read already and waits STAY_MS for more, as long as no other job waits and while fewer than
 * one in STAY_SHARE of the workers do so. Who is slower than that costs it this once.
 *
 * What a client can cost: its input up to input_max, its output up to one slice and OUT_HIGH, and
 * no worker unless there is something complete to work on.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/net/inside.h"
#include "lib/net/proxy.h"
#include "lib/net/squeeze.h"

#define OUT_HIGH        ((size_t)64 << 10) /* unread output beyond which no input is worked on */
#define READS_PER_TURN  8                  /* then others on the loop have their turn */
#define LINGER_INPUT    ((size_t)1 << 20)  /* bytes thrown away at most */
#define LINGER_MS       2000
#define CONNECT_MS      30000
#define DRAIN_TICK_MS   100
#define DRAIN_TICK_MIN  64   /* connections told in a tick at least */
#define SQUEEZE_REST_MS 3000 /* without bytes; then compression gives its memory back */
#define WORKER_MS       20   /* in which a worker goes on with one connection */
#define STAY_MS         2    /* of it, waiting for the next command */
#define STAY_SHARE      4    /* one in so many workers may wait so */
#define STAY_INPUT      ((size_t)4 << 10) /* read by a worker at once; who sends more is the loop's */

enum conn_state {
    CONN_CONNECT,
    CONN_PROXY,
    CONN_HANDSHAKE,
    CONN_OPEN,
    CONN_LINGER,
    CONN_DEAD,
    CONN_STATES_
};

/* A connection that we began: how. */
struct outgoing {
    struct netaddr to, from;
    int64_t connect_ms;
    bool implicit_tls;
    SSL *ssl; /* until TLS begins */
};

struct conn {
    struct wire wire;
    struct loop_timer timer;
    struct loop_task wake_task; /* also: adopt, go on */
    struct loop_task done_task; /* a worker is done; the session is freed */
    struct pool_job job;
    TAILQ_ENTRY(conn) link;
    struct shard *shard;
    struct listener *listener;       /* NULL: outgoing */
    struct session_service *service; /* as the listener had it when this began; NULL: outgoing */
    struct outgoing *outgoing;       /* NULL: the other side began */
    struct session *session;         /* NULL before and after */
    struct session_peer *peer;       /* until the session has its copy */
    enum conn_state state;

    struct squeeze *squeeze; /* NULL: no compression */
    struct buf packed;       /* session->out compressed; the worker does that */
    int64_t squeezed_ms;     /* when bytes went through it last */

    unsigned events;       /* noted since the last step */
    size_t out_sent;       /* bytes of the output that are gone */
    int64_t started_ms;    /* the connection */
    int64_t since_ms;      /* the state */
    int64_t progress_ms;   /* output moved, or began to wait */
    int64_t deadline_told; /* the deadline that was shown last: once is enough */
    int64_t shutdown_ms;   /* when a shutdown was asked for; 0: not */
    size_t in_before;      /* in.n as the last step left it */
    const char *reason;    /* why it ends, for the log; the first one counts */
    uint64_t bytes_in, bytes_out, steps;
    uint8_t client_key[16];
    uint8_t client_key_n;
    bool client_counted;
    bool working;     /* a worker has the session */
    bool first;       /* the session has not had its first step */
    bool eof, broken; /* the client ended its input; nothing can be moved any more */
    bool eof_told, shutdown_told;
    bool full_shown; /* this step is due to a full input buffer alone */
    bool stuck;      /* and it took nothing */
    bool may_push;   /* the worker sends: not what goes to a broken connection */
    bool push_broke; /* the worker's word for `broken` */
    bool quick;      /* the client answered at once: its worker may stay */
    bool pulled;     /* the worker has read from the socket */
    _Atomic bool hinted;
};

static void turn(struct conn *c);

static void set_state(struct conn *c, enum conn_state to)
{
    static const uint8_t allowed[CONN_STATES_] = {
        [CONN_CONNECT] = 1 << CONN_HANDSHAKE | 1 << CONN_OPEN | 1 << CONN_DEAD,
        [CONN_PROXY] = 1 << CONN_HANDSHAKE | 1 << CONN_OPEN | 1 << CONN_DEAD,
        [CONN_HANDSHAKE] = 1 << CONN_OPEN | 1 << CONN_DEAD,
        [CONN_OPEN] = 1 << CONN_HANDSHAKE | 1 << CONN_LINGER | 1 << CONN_DEAD,
        [CONN_LINGER] = 1 << CONN_DEAD,
    };

    if (!(allowed[c->state] & 1 << to)) {
        log_text(LOG_ERROR_, "conn_state", "from %d to %d is not foreseen", c->state, to);
        abort();
    }
    c->state = to;
    c->since_ms = clock_mono_ms();
}

static struct net *net_of(const struct conn *c)
{
    return c->shard->net;
}

static void give_reason(struct conn *c, const char *reason)
{
    if (!c->reason)
        c->reason = reason;
}

static void break_conn(struct conn *c, const char *reason)
{
    give_reason(c, reason);
    c->broken = true;
}

/* What goes to the client. */
static struct buf *output(struct conn *c)
{
    return c->squeeze ? &c->packed : &c->session->out;
}

static size_t pending(const struct conn *c)
{
    return output((struct conn *)c)->n - c->out_sent;
}

static size_t input_room(const struct session *s)
{
    size_t max = MIN(s->want.input_max, s->in.max);

    return s->in.n < max ? max - s->in.n : 0;
}

/* ---- The end ---- */

static void log_end_of(const struct conn *c)
{
    struct log_line l;
    const struct session *s = c->session;
    const struct session_peer *peer = s ? &s->peer : c->peer;

    log_begin(&l, LOG_INFO_, "connection");
    log_str(&l, "service", slice_str(c->service ? c->service->name : s->ops->name));
    if (s) {
        log_num(&l, "session", (int64_t)s->id);
        if (s->user[0])
            log_str(&l, "user", slice_str(s->user));
    }
    log_str(&l, "remote", slice_str(peer->remote));
    if (peer->tls_version[0])
        log_str(&l, "tls", slice_str(peer->tls_version));
    log_num(&l, "ms", clock_mono_ms() - c->started_ms);
    log_num(&l, "in", (int64_t)c->bytes_in);
    log_num(&l, "out", (int64_t)c->bytes_out);
    log_num(&l, "steps", (int64_t)c->steps);
    log_str(&l, "end", slice_str(c->reason ? c->reason : "closed"));
    log_end(&l);
}

/* The last act of a connection, after all wake-ups that came before it (same inbox, in order). */
static void bury(struct loop_task *task)
{
    struct conn *c = CONTAINER_OF(task, struct conn, done_task);
    struct net *net = net_of(c);
    struct listener *l = c->listener;

    if (c->client_counted)
        listener_uncount_client(l, c->client_key, c->client_key_n);
    TAILQ_REMOVE(&c->shard->conns, c, link);
    c->shard->conns_n--;
    loop_timer_done(&c->timer);
    squeeze_free(c->squeeze);
    buf_done(&c->packed);
    if (c->outgoing)
        SSL_free(c->outgoing->ssl);
    free(c->outgoing);
    free(c->peer);
    free(c);
    if (l)
        atomic_fetch_sub(&l->open, 1);
    pthread_mutex_lock(&net->lock);
    if (--net->open == 0)
        pthread_cond_broadcast(&net->idle);
    pthread_mutex_unlock(&net->lock);
}

static void run_free(struct pool_job *job)
{
    struct conn *c = CONTAINER_OF(job, struct conn, job);
    struct session *s = c->session;

    buf_done(&s->in);
    buf_done(&s->out);
    s->ops->free(s);
    loop_post(c->shard->loop, &c->done_task);
}

static void die(struct conn *c)
{
    if (c->broken)
        COUNT(net_of(c), broken, 1);
    log_end_of(c);
    wire_close(&c->wire);
    loop_timer_stop(&c->timer);
    set_state(c, CONN_DEAD);
    c->done_task.run = bury;
    if (!c->session) {
        loop_post(c->shard->loop, &c->done_task);
        return;
    }
    c->job.run = run_free;
    pool_submit(net_of(c)->workers, &c->job);
}

static void linger(struct conn *c)
{
    wire_finish(&c->wire);
    if (c->eof) {
        die(c);
        return;
    }
    set_state(c, CONN_LINGER);
    c->progress_ms = 0; /* counts the bytes thrown away from here on */
    loop_timer_set(&c->timer, c->since_ms + LINGER_MS);
}

static void turn_linger(struct conn *c)
{
    uint8_t *scratch = loop_scratch(c->shard->loop);
    ssize_t got = 1;

    for (int i = 0; i < READS_PER_TURN && got > 0 && c->wire.readable; i++) {
        got = wire_read(&c->wire, scratch, LOOP_SCRATCH);
        c->progress_ms += got > 0 ? got : 0;
    }
    if (got == WIRE_EOF || got == WIRE_BROKEN || c->broken ||
        c->progress_ms > (int64_t)LINGER_INPUT || clock_mono_ms() >= c->since_ms + LINGER_MS)
        die(c);
    else if (c->wire.readable)
        loop_post(c->shard->loop, &c->wake_task);
}

/* ---- Steps ---- */

static void squeeze_output(struct conn *c)
{
    struct session *s = c->session;

    squeeze_write(c->squeeze, buf_slice(&s->out), &c->packed);
    if (s->want.output)
        buf_reset(&s->out, SESSION_SLICE * 2);
    else
        buf_done(&s->out);
}

/* All of the output is gone. */
static void output_sent(struct conn *c)
{
    c->out_sent = 0;
    if (c->session->want.output)
        buf_reset(output(c), SESSION_SLICE * 2);
    else
        buf_done(output(c));
}

static void note_sent(struct conn *c, size_t n)
{
    c->out_sent += n;
    c->bytes_out += n;
    c->progress_ms = clock_mono_ms();
    COUNT(net_of(c), bytes_out, n);
}

/* On the worker. True: the socket took all there was. */
static bool push_output(struct conn *c)
{
    struct buf *out = output(c);

    while (pending(c) > 0) {
        ssize_t n = wire_push(&c->wire, out->p + c->out_sent, pending(c));

        c->push_broke = n == WIRE_BROKEN;
        if (n < 0)
            return false;
        note_sent(c, (size_t)n);
    }
    output_sent(c);
    return true;
}

static void one_step(struct conn *c, unsigned events)
{
    c->steps++;
    COUNT(net_of(c), steps, 1);
    c->session->ops->step(c->session, events);
    if (c->squeeze) {
        squeeze_output(c);
        c->squeezed_ms = clock_mono_ms();
    }
}

static void note_input(struct conn *c, const uint8_t *p, size_t n)
{
    buf_add(&c->session->in, p, n);
    c->events |= SESSION_INPUT;
    c->bytes_in += n;
    COUNT(net_of(c), bytes_in, n);
}

/* On the worker. Waits a moment for input; its end is left to the loop. True: a command is there.
 */
static bool pull_input(struct conn *c)
{
    uint8_t bytes[STAY_INPUT];
    struct session *s = c->session;
    size_t room = input_room(s);
    ssize_t n;

    if (!room || !wire_await(&c->wire, STAY_MS))
        return false;
    n = wire_pull(&c->wire, bytes, MIN(room, sizeof bytes));
    c->pulled = true;
    c->push_broke = n == WIRE_BROKEN;
    if (n <= 0)
        return false;
    c->full_shown = false; /* this step is due to more than that */
    note_input(c, bytes, (size_t)n);
    return s->ops->ready(s);
}

static bool wait_as_one_of_few(struct conn *c)
{
    struct net *net = net_of(c);
    bool came = false;

    if (atomic_fetch_add(&net->staying, 1) < MAX(net->settings.workers / STAY_SHARE, 1u))
        came = pull_input(c);
    atomic_fetch_sub(&net->staying, 1);
    return came;
}

/* On the worker, after a step whose output is sent. True: the next command is there. */
static bool stay(struct conn *c)
{
    const struct session_want *want = &c->session->want;
    struct net *net = net_of(c);

    if (!c->quick || !want->input || want->starttls || want->compress || want->hint ||
        atomic_load(&net->draining) || pool_has_waiting(net->workers))
        return false;
    return c->session->ops->ready(c->session) || wait_as_one_of_few(c);
}

/* On the worker. True: the next step is due without the loop, with these events. */
static bool goes_on(struct conn *c, int64_t until, unsigned *ret_events)
{
    const struct session_want *want = &c->session->want;

    if (!c->may_push || !push_output(c) || want->close || clock_mono_ms() >= until)
        return false;
    *ret_events = want->output ? SESSION_DRAINED : SESSION_INPUT;
    return want->output || stay(c);
}

static void run_step(struct pool_job *job)
{
    struct conn *c = CONTAINER_OF(job, struct conn, job);
    struct loop *loop = c->shard->loop;
    int64_t until = clock_mono_ms() + WORKER_MS;
    unsigned events = c->events;

    do {
        c->events = 0;
        one_step(c, events);
    } while (goes_on(c, until, &events));
    loop_post(loop, &c->done_task); /* from here on it is the loop's */
}

static void step_done(struct loop_task *task)
{
    struct conn *c = CONTAINER_OF(task, struct conn, done_task);
    struct session *s = c->session;

    c->working = false;
    c->wire.readable |= c->pulled; /* the edge of what the worker has not read may be gone */
    c->pulled = false;
    c->stuck = c->full_shown && s->in.n == c->in_before && input_room(s) == 0 && s->want.input &&
               !s->want.output && !s->ops->ready(s);
    c->full_shown = false;
    if (s->in.n == 0)
        buf_done(&s->in);
    if (pending(c) > 0)
        c->progress_ms = clock_mono_ms();
    if (c->push_broke)
        break_conn(c, "broken");
    turn(c);
}

static void start_step(struct conn *c, unsigned events)
{
    struct session *s = c->session;

    if (c->out_sent > 0) { /* step appends to what is left, and may look at it */
        buf_consume(output(c), c->out_sent);
        c->out_sent = 0;
    }
    c->events = events;
    c->in_before = s->in.n;
    c->working = true;
    c->first = false;
    c->may_push = !c->broken;
    c->quick = c->listener && !c->squeeze && clock_mono_ms() - c->progress_ms <= STAY_MS;
    c->job.run = run_step;
    pool_submit(net_of(c)->workers, &c->job);
}

static void session_wake(struct session *s)
{
    struct conn *c = s->pump;

    atomic_store(&c->hinted, true);
    loop_post(c->shard->loop, &c->wake_task);
}

/* ---- Bytes ---- */

static void flush_output(struct conn *c)
{
    struct buf *out = output(c);

    while (pending(c) > 0 && c->wire.writable && !c->broken) {
        ssize_t n = wire_write(&c->wire, out->p + c->out_sent, pending(c));

        if (n == WIRE_BROKEN)
            break_conn(c, "broken");
        if (n < 0)
            break;
        note_sent(c, (size_t)n);
    }
    if (c->broken) {
        c->out_sent = 0;
        buf_done(out);
    } else if (pending(c) == 0) {
        output_sent(c);
    }
}

static bool may_read(const struct conn *c)
{
    const struct session_want *want = &c->session->want;

    bool more = (c->squeeze && squeeze_waits(c->squeeze)) || (c->wire.readable && !c->eof);

    return more && want->input && !want->starttls && !want->compress && !want->close &&
           !c->broken && input_room(c->session) > 0 && pending(c) <= OUT_HIGH;
}

/* As wire_read, through the expander; 0: nothing yet. Nothing is read before all is expanded that
 * was, so what waits is one read at most, however much it becomes. */
static ssize_t read_squeezed(struct conn *c, uint8_t *to, size_t n)
{
    ssize_t got;

    if (!squeeze_waits(c->squeeze)) {
        got = wire_read(&c->wire, to, LOOP_SCRATCH);
        if (got <= 0)
            return got;
        squeeze_feed(c->squeeze, slice_of(to, (size_t)got));
        c->squeezed_ms = clock_mono_ms();
    }
    got = squeeze_read(c->squeeze, to, n);
    return got >= 0 ? got : WIRE_BROKEN;
}

/* Through the loop's scratch buffer, so that an idle connection holds no room for bytes that have
 * not come. */
static void read_input(struct conn *c)
{
    uint8_t *scratch = loop_scratch(c->shard->loop);

    for (int i = 0; i < READS_PER_TURN && may_read(c); i++) {
        size_t room = MIN(input_room(c->session), LOOP_SCRATCH);
        ssize_t n =
            c->squeeze ? read_squeezed(c, scratch, room) : wire_read(&c->wire, scratch, room);

        if (n > 0)
            note_input(c, scratch, (size_t)n);
        else if (n == 0)
            continue;
        else if (n == WIRE_EOF)
            c->eof = true;
        else if (n == WIRE_BROKEN)
            break_conn(c, "broken");
        else
            return;
    }
}

/* ---- The session talks ---- */

/* A shutdown waits for the end of a command, but not for ever. */
static bool shutdown_due(const struct conn *c, int64_t now)
{
    if (c->shutdown_ms == 0 || c->shutdown_told)
        return false;
    return (!c->session->want.busy && !c->session->want.output) ||
           now >= c->shutdown_ms + net_of(c)->settings.drain_busy_ms;
}

static bool deadline_due(const struct conn *c, int64_t now)
{
    int64_t deadline = c->session->want.deadline_ms;

    return deadline != 0 && deadline != c->deadline_told && now >= deadline;
}

/* Would step do anything with the input? A full buffer is shown in any case. */
static bool input_due(struct conn *c)
{
    struct session *s = c->session;

    if (s->want.output || pending(c) > OUT_HIGH)
        return false;
    if (s->ops->ready(s))
        return true;
    c->full_shown = s->want.input && s->in.n > 0 && input_room(s) == 0 && !c->stuck;
    return c->full_shown;
}

/* The events to step with now; false: nothing to do. */
static bool choose_events(struct conn *c, int64_t now, unsigned *ret_events)
{
    const struct session_want *want = &c->session->want;
    unsigned events = c->events & ~(unsigned)SESSION_INPUT;

    if (c->first && !c->broken) {
        *ret_events = 0;
        return true;
    }
    if (want->output && pending(c) == 0)
        events |= SESSION_DRAINED;
    if (want->hint && pending(c) <= OUT_HIGH && atomic_exchange(&c->hinted, false))
        events |= SESSION_HINT;
    if (deadline_due(c, now)) {
        events |= SESSION_DEADLINE;
        c->deadline_told = want->deadline_ms;
    }
    if (shutdown_due(c, now)) {
        events |= SESSION_SHUTDOWN;
        c->shutdown_told = true;
    }
    bool due = input_due(c);
    if (c->broken || (c->eof && !due && !want->output && !c->eof_told)) {
        events |= SESSION_EOF;
        c->eof_told = true;
    }
    *ret_events = events | (c->events & SESSION_INPUT);
    return events != 0 || due;
}

static int start_tls(struct conn *c)
{
    struct tls *tls = c->listener ? c->listener->settings.tls : NULL;

    if (c->outgoing && c->outgoing->ssl)
        return wire_start_client(&c->wire, TAKE(c->outgoing->ssl));
    return tls ? wire_start_tls(&c->wire, tls) : -ERR_UNAVAILABLE;
}

static void begin_starttls(struct conn *c)
{
    struct session *s = c->session;

    if (s->in.n > 0) {
        /* RFC 3207, 6 and CVE-2011-0411: bytes sent in plain text must not be taken for protected
         * ones. Who sends them early attacks or is broken, and would wait for a reply to them. */
        log_text(LOG_WARN_, "starttls_injection", "session %llu: %zu bytes after STARTTLS",
                 (unsigned long long)s->id, s->in.n);
        break_conn(c, "plain text after STARTTLS");
    } else if (c->wire.ssl || c->squeeze || start_tls(c) < 0) {
        break_conn(c, "no TLS here");
    } else {
        buf_done(&s->in);
        c->wire.readable = c->wire.writable = true;
        set_state(c, CONN_HANDSHAKE);
    }
}

/* RFC 4978 section 3: both directions change behind the tagged OK. What the client has sent already
 * can only be compressed. */
static void begin_compress(struct conn *c)
{
    struct session *s = c->session;

    c->squeeze = squeeze_new();
    c->packed = buf_make(s->out.max);
    squeeze_feed(c->squeeze, buf_slice(&s->in));
    buf_done(&s->in);
    s->want.compress = false;
}

/* Whether the compression has nothing to do; else when that is to be looked at again. */
static bool rest_squeeze(struct conn *c, int64_t now, int64_t *ret_at)
{
    if (!c->squeeze || !squeeze_is_awake(c->squeeze))
        return false;
    *ret_at = c->squeezed_ms + SQUEEZE_REST_MS;
    if (now < *ret_at)
        return true;
    squeeze_rest(c->squeeze);
    return false;
}

static void arm_timer(struct conn *c)
{
    const struct session_want *want = &c->session->want;
    const struct net_settings *settings = &net_of(c)->settings;
    int64_t due = want->deadline_ms != c->deadline_told ? want->deadline_ms : 0;
    int64_t at;

    if (pending(c) > 0) {
        at = c->progress_ms + (want->close ? settings->linger_ms : settings->stall_ms);
        due = due ? MIN(due, at) : at;
    }
    if (c->shutdown_ms && !c->shutdown_told) {
        at = c->shutdown_ms + settings->drain_busy_ms;
        due = due ? MIN(due, at) : at;
    }
    if (rest_squeeze(c, clock_mono_ms(), &at))
        due = due ? MIN(due, at) : at;
    loop_timer_set(&c->timer, due);
}

static bool is_stalled(const struct conn *c, int64_t now)
{
    const struct net_settings *settings = &net_of(c)->settings;

    return pending(c) > 0 && now >= c->progress_ms + (c->session->want.close ? settings->linger_ms
                                                                             : settings->stall_ms);
}

static const char *closed_by(const struct conn *c)
{
    return c->outgoing ? "server closed" : "client closed";
}

/* The session has said all and wants no more: true if the connection was ended. */
static bool ended(struct conn *c)
{
    const struct session_want *want = &c->session->want;

    if (c->broken && (c->eof_told || want->close)) {
        die(c);
        return true;
    }
    if (c->broken || c->first || pending(c) > 0)
        return false;
    if (!want->close && !(c->eof_told && !want->output) && !c->stuck)
        return false;
    give_reason(c, want->close ? (c->shutdown_told ? "shutdown" : "closed")
                               : (c->eof ? closed_by(c) : "input not understood"));
    linger(c);
    return true;
}

static void turn_open(struct conn *c)
{
    int64_t now = clock_mono_ms();
    unsigned events;

    flush_output(c);
    if (is_stalled(c, now))
        break_conn(c, "client does not read");
    if (ended(c))
        return;
    if (c->session->want.starttls && pending(c) == 0 && !c->broken) {
        begin_starttls(c);
        turn(c);
        return;
    }
    if (c->session->want.compress && pending(c) == 0 && !c->broken)
        begin_compress(c);
    read_input(c);
    if (!(c->session->want.close || c->session->want.starttls || c->session->want.compress) ||
        c->broken) {
        if (choose_events(c, now, &events)) {
            start_step(c, events);
            return;
        }
    }
    if (ended(c))
        return;
    if (may_read(c)) /* others first */
        loop_post(c->shard->loop, &c->wake_task);
    arm_timer(c);
}

/* ---- Before the session ---- */

static void turn_away(struct conn *c, const char *reason)
{
    const char *text = c->service->refusal;

    COUNT(net_of(c), refused, 1);
    give_reason(c, reason);
    if (text && !c->wire.ssl && !c->listener->settings.implicit_tls)
        wire_write(&c->wire, text, strlen(text));
    die(c);
}

static void open_session(struct conn *c)
{
    struct session *s = c->service->open(c->service, c->peer);

    if (!s) {
        turn_away(c, "refused by the service");
        return;
    }
    s->peer = *c->peer;
    s->id = atomic_fetch_add(&net_of(c)->next_id, 1) + 1;
    s->wake = session_wake;
    s->pump = c;
    free(TAKE(c->peer));
    c->session = s;
    c->first = true;
    c->done_task.run = step_done;
    loop_timer_stop(&c->timer);
    set_state(c, CONN_OPEN);
    turn(c);
}

/* The client's address is known: may it come in, and what comes first? */
static void let_in(struct conn *c)
{
    struct listener *l = c->listener;

    c->client_counted = listener_count_client(l, c->client_key, c->client_key_n);
    if (!c->client_counted) {
        turn_away(c, "too many connections from this client");
    } else if (!l->settings.implicit_tls) {
        open_session(c);
    } else if (wire_start_tls(&c->wire, l->settings.tls) < 0) {
        turn_away(c, "no memory for TLS");
    } else {
        set_state(c, CONN_HANDSHAKE);
        turn(c);
    }
}

/* The session's last step: it never had what it wanted. */
static void fail_outgoing(struct conn *c, const char *why)
{
    struct session_peer *peer = &c->session->peer;

    COUNT(net_of(c), connect_failed, 1);
    snprintf(peer->failure, sizeof peer->failure, "%s", why);
    break_conn(c, "no connection");
    wire_close(&c->wire);
    loop_timer_stop(&c->timer);
    set_state(c, CONN_OPEN);
    c->done_task.run = step_done;
    c->eof_told = true;
    start_step(c, SESSION_FAILED | SESSION_EOF);
}

static void tls_failed_outgoing(struct conn *c, int result)
{
    char why[120] = "closed in the TLS handshake";

    COUNT(net_of(c), tls_failed, 1);
    if (result == WIRE_BROKEN)
        tls_client_failure(c->wire.ssl, why, sizeof why);
    fail_outgoing(c, result == WIRE_BLOCKED ? "TLS handshake took too long" : why);
}

static void tls_failed(struct conn *c, int result)
{
    char reason[120];

    if (c->outgoing) {
        tls_failed_outgoing(c, result);
        return;
    }
    tls_last_error(reason, sizeof reason);
    COUNT(net_of(c), tls_failed, 1);
    log_text(LOG_DEBUG_, "tls_failed", "%s: %s",
             c->session ? c->session->peer.remote : c->peer->remote,
             result == WIRE_EOF ? "closed by the client" : reason);
    break_conn(c, result == WIRE_EOF ? "closed in the TLS handshake" : "TLS handshake failed");
    die(c);
}

static void turn_handshake(struct conn *c)
{
    int64_t end =
        c->since_ms + (c->outgoing ? net_of(c)->settings.handshake_ms : net_of(c)->handshake_ms);
    int result = wire_handshake(&c->wire);

    if (result == WIRE_BLOCKED && clock_mono_ms() < end) {
        loop_timer_set(&c->timer, end);
        return;
    }
    if (result != 0) {
        if (result == WIRE_BLOCKED)
            give_reason(c, "TLS handshake took too long");
        tls_failed(c, result);
        return;
    }
    COUNT(net_of(c), tls_done, 1);
    tls_fill_peer(c->wire.ssl, c->session ? &c->session->peer : c->peer);
    if (!c->session) {
        open_session(c);
        return;
    }
    set_state(c, CONN_OPEN);
    if (c->first) { /* outgoing, TLS from the first byte on */
        turn(c);
        return;
    }
    c->session->want.starttls = false;
    start_step(c, SESSION_TLS);
}

static void use_proxy_header(struct conn *c, const struct proxy_header *h)
{
    struct session_peer *peer = c->peer;

    if (h->local)
        return;
    peer->trusted = h->tls;
    if (h->source.n > 0) {
        netaddr_format_host(&h->source, peer->remote, sizeof peer->remote);
        peer->remote_port = netaddr_port(&h->source);
        netaddr_format_host(&h->destination, peer->local, sizeof peer->local);
        peer->local_port = netaddr_port(&h->destination);
        c->client_key_n = (uint8_t)netaddr_client_key(&h->source, c->client_key);
    }
    memcpy(peer->tls_version, h->tls_version, sizeof peer->tls_version);
    memcpy(peer->tls_cipher, h->tls_cipher, sizeof peer->tls_cipher);
    memcpy(peer->tls_sni, h->authority, sizeof peer->tls_sni);
}

static void proxy_failed(struct conn *c, const char *reason)
{
    COUNT(net_of(c), proxy_bad, 1);
    log_text(LOG_WARN_, "proxy_header", "%s: %s", c->peer->remote, reason);
    break_conn(c, reason);
    die(c);
}

/* Peeks, and takes from the kernel exactly the header: what follows is for TLS or the session. */
static void turn_proxy(struct conn *c)
{
    uint8_t *scratch = loop_scratch(c->shard->loop);
    int64_t end = c->since_ms + net_of(c)->handshake_ms;
    ssize_t n = recv(c->wire.fd, scratch, PROXY_MAX, MSG_PEEK);
    struct proxy_header header;
    size_t used = 0;
    enum proxy_result result = PROXY_MORE;

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        proxy_failed(c, "closed before a PROXY header");
        return;
    }
    if (n > 0)
        result = proxy_parse(slice_of(scratch, (size_t)n), &header, &used);
    if (result == PROXY_MORE && n < (ssize_t)PROXY_MAX && clock_mono_ms() < end) {
        loop_timer_set(&c->timer, end);
        return;
    }
    if (result != PROXY_DONE || recv(c->wire.fd, scratch, used, 0) != (ssize_t)used) {
        proxy_failed(c, result == PROXY_MORE ? "no PROXY header in time" : "bad PROXY header");
        return;
    }
    use_proxy_header(c, &header);
    let_in(c);
}

static bool proxy_allowed(const struct conn *c, const struct netaddr *from)
{
    const struct net_listener *settings = &c->listener->settings;

    return netaddr_is_unix(from) ||
           network_any_has(settings->proxy_networks, settings->proxy_networks_n, from);
}

/* ---- Outgoing ---- */

static void fill_outgoing_peer(struct conn *c)
{
    struct session_peer *peer = &c->session->peer;
    struct netaddr from = {.n = sizeof from.sa};

    netaddr_format_host(&c->outgoing->to, peer->remote, sizeof peer->remote);
    peer->remote_port = netaddr_port(&c->outgoing->to);
    if (getsockname(c->wire.fd, &from.sa.any, &from.n) == 0) {
        netaddr_format_host(&from, peer->local, sizeof peer->local);
        peer->local_port = netaddr_port(&from);
    }
}

static void connected(struct conn *c)
{
    COUNT(net_of(c), connected, 1);
    loop_timer_stop(&c->timer);
    fill_outgoing_peer(c);
    c->wire.readable = c->wire.writable = true;
    c->done_task.run = step_done;
    if (!c->outgoing->implicit_tls) {
        set_state(c, CONN_OPEN);
    } else if (start_tls(c) < 0) {
        fail_outgoing(c, "TLS cannot begin");
        return;
    } else {
        set_state(c, CONN_HANDSHAKE);
    }
    turn(c);
}

static void turn_connect(struct conn *c)
{
    int64_t end = c->since_ms + c->outgoing->connect_ms;
    struct netaddr to = {.n = sizeof to.sa};
    int error = 0;
    socklen_t n = sizeof error;

    if (getsockopt(c->wire.fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error != 0)
        fail_outgoing(c, strerrordesc_np(error ? error : errno));
    else if (getpeername(c->wire.fd, &to.sa.any, &to.n) == 0)
        connected(c);
    else if (clock_mono_ms() >= end)
        fail_outgoing(c, "no answer");
    else
        loop_timer_set(&c->timer, end);
}

static void turn(struct conn *c)
{
    if (c->working)
        return;
    switch (c->state) {
    case CONN_CONNECT:
        turn_connect(c);
        break;
    case CONN_PROXY:
        turn_proxy(c);
        break;
    case CONN_HANDSHAKE:
        turn_handshake(c);
        break;
    case CONN_OPEN:
        turn_open(c);
        break;
    case CONN_LINGER:
        turn_linger(c);
        break;
    default:
        break;
    }
}

static void on_wire(struct wire *wire)
{
    turn(CONTAINER_OF(wire, struct conn, wire));
}

static void on_timer(struct loop_timer *timer)
{
    turn(CONTAINER_OF(timer, struct conn, timer));
}

static void on_wake(struct loop_task *task)
{
    turn(CONTAINER_OF(task, struct conn, wake_task));
}

/* ---- The beginning ---- */

static void fill_addresses(struct conn *c, struct netaddr *ret_from)
{
    struct session_peer *peer = c->peer;
    struct netaddr to = {.n = sizeof to.sa};

    *ret_from = (struct netaddr){.n = sizeof ret_from->sa};
    if (getpeername(c->wire.fd, &ret_from->sa.any, &ret_from->n) != 0)
        ret_from->n = 0;
    if (getsockname(c->wire.fd, &to.sa.any, &to.n) != 0)
        to.n = 0;
    peer->trusted = netaddr_is_unix(&to);
    netaddr_format_host(peer->trusted ? &to : ret_from, peer->remote, sizeof peer->remote);
    netaddr_format_host(&to, peer->local, sizeof peer->local);
    peer->remote_port = netaddr_port(ret_from);
    peer->local_port = netaddr_port(&to);
    c->client_key_n = (uint8_t)netaddr_client_key(ret_from, c->client_key);
}

/* On the loop that the connection was dealt to. */
static void adopt(struct loop_task *task)
{
    struct conn *c = CONTAINER_OF(task, struct conn, wake_task);
    struct net *net = net_of(c);
    struct netaddr from;
    int fd = c->wire.fd;

    TAILQ_INSERT_TAIL(&c->shard->conns, c, link);
    c->shard->conns_n++;
    c->wake_task.run = on_wake;
    loop_timer_init(&c->timer, c->shard->loop, on_timer);
    fill_addresses(c, &from);
    if (wire_open(&c->wire, c->shard->loop, fd, on_wire) < 0 ||
        (atomic_load(&net->draining) && !c->listener->settings.through_drain)) {
        give_reason(c, "shutdown");
        die(c);
    } else if (c->listener->settings.proxy == NET_PROXY_OFF) {
        let_in(c);
    } else if (!proxy_allowed(c, &from)) {
        proxy_failed(c, "not from a network that may send PROXY headers");
    } else {
        turn(c);
    }
}

void conn_start(struct shard *shard, struct listener *l, int fd)
{
    struct conn *c = NEW(struct conn);

    c->shard = shard;
    c->listener = l;
    c->service = atomic_load(&l->service);
    c->wire.fd = fd;
    c->peer = NEW(struct session_peer);
    c->started_ms = c->since_ms = clock_mono_ms();
    c->state = CONN_PROXY; /* left at once where no header is awaited */
    c->wake_task.run = adopt;
    loop_post(shard->loop, &c->wake_task);
}

/* A nonblocking socket on its way to the other side; -1 with errno. */
static int begin_connect(const struct outgoing *o)
{
    int fd = socket(o->to.sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0)
        return -1;
    if (o->to.sa.any.sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if ((o->from.n > 0 && bind(fd, &o->from.sa.any, o->from.n) < 0) ||
        (connect(fd, &o->to.sa.any, o->to.n) < 0 && errno != EINPROGRESS)) {
        int error = errno;

        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* On the loop that the connection was dealt to. */
static void depart(struct loop_task *task)
{
    struct conn *c = CONTAINER_OF(task, struct conn, wake_task);

    TAILQ_INSERT_TAIL(&c->shard->conns, c, link);
    c->shard->conns_n++;
    c->wake_task.run = on_wake;
    loop_timer_init(&c->timer, c->shard->loop, on_timer);
    fill_outgoing_peer(c);
    int fd = atomic_load(&net_of(c)->draining) ? -1 : begin_connect(c->outgoing);
    if (fd < 0)
        fail_outgoing(c, atomic_load(&net_of(c)->draining) ? "shutdown" : strerrordesc_np(errno));
    else if (wire_open(&c->wire, c->shard->loop, fd, on_wire) < 0)
        fail_outgoing(c, "no event for the socket");
    else
        turn(c);
}

void conn_connect(struct shard *shard, const struct net_target *target, struct session *session)
{
    struct conn *c = NEW(struct conn);
    struct outgoing *o = NEW(struct outgoing);

    o->to = target->to;
    if (target->from)
        o->from = *target->from;
    o->connect_ms = target->connect_ms ? target->connect_ms : CONNECT_MS;
    o->implicit_tls = target->implicit_tls;
    o->ssl = target->ssl;
    c->shard = shard;
    c->outgoing = o;
    c->wire.fd = -1;
    c->session = session;
    c->first = true;
    c->started_ms = c->since_ms = clock_mono_ms();
    c->state = CONN_CONNECT;
    c->wake_task.run = depart;
    session->id = atomic_fetch_add(&shard->net->next_id, 1) + 1;
    session->wake = session_wake;
    session->pump = c;
    loop_post(shard->loop, &c->wake_task);
}

/* ---- Draining ---- */

static void tell_shutdown(struct conn *c)
{
    c->shutdown_ms = clock_mono_ms();
    if (c->outgoing && (c->state == CONN_CONNECT || c->state == CONN_HANDSHAKE)) {
        if (!c->working)
            fail_outgoing(c, "shutdown");
    } else if (c->state == CONN_PROXY || (c->state == CONN_HANDSHAKE && !c->session)) {
        give_reason(c, "shutdown");
        die(c);
    } else {
        turn(c);
    }
}

void conn_drain_tick(struct loop_timer *timer)
{
    struct shard *shard = CONTAINER_OF(timer, struct shard, drain_timer);
    int64_t now = clock_mono_ms();
    int64_t ticks = MAX((shard->drain_end_ms - now) / DRAIN_TICK_MS, (int64_t)1);
    size_t left = MAX(shard->conns_n / (size_t)ticks, (size_t)DRAIN_TICK_MIN);
    struct conn *c;

    TAILQ_FOREACH (c, &shard->conns, link) /* nothing leaves the list within a turn */
        if (c->shutdown_ms == 0 && left > 0) {
            tell_shutdown(c);
            left--;
        }
    if (left == 0)
        loop_timer_set(timer, now + DRAIN_TICK_MS);
}

void conn_break_all(struct shard *shard)
{
    struct conn *c;

    TAILQ_FOREACH (c, &shard->conns, link) {
        if (c->state == CONN_DEAD)
            continue;
        break_conn(c, "ended");
        c->eof_told = true; /* no further step */
        if (c->working)
            continue;
        die(c);
    }
}
