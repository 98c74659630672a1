/* SPDX-License-Identifier: MPL-2.0 */
/* The bus over Redis: one channel, two connections, one thread.
 *
 * A subscribed connection cannot publish, so there are two: `in` and `out`. A message on the
 * channel is a version byte and any number of hints of 16 bytes (account, seq): hints that come
 * while one message is on its way leave together as the next, and of one account only the newest.
 * That keeps Redis at some thousand messages a second whatever the mail does.
 *
 * Publishing and subscribing has no replay. So when `in` is subscribed, at first and after each
 * gap, everybody looks again; and a message that was not answered when `out` broke is sent again,
 * since nobody else could know what it said. Silence is no sign of health: a frozen server sends no
 * FIN; links ask for a sign of life after a second and give up after three (redis_link.c).
 *
 * Behind Sentinels each link asks them anew when it connects. A server that was replaced while it
 * could not be reached may still take messages; so `out` asks it for its role again and again, and
 * both links must be at the same server.
 *
 * SECURITY: what comes over the channel wakes sessions and nothing else; a forged hint costs a
 * read.
 */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/bus/bus_impl.h"
#include "lib/bus/redis_link.h"

#define MESSAGE_VERSION 1
#define HINT_BYTES      16
#define MESSAGE_HINTS   1000
#define ROLE_MS         1000 /* behind Sentinels: so often the server is asked for its role */

struct redis {
    struct bus bus;
    struct link_target target;
    char *channel;
    struct link in, out;
    int64_t asked_role_ms;    /* clock_mono_ms() */
    uint64_t in_ups, out_ups; /* of the links, as last seen */
    bool subscribed;
    struct bus_hint sent[MESSAGE_HINTS]; /* not answered yet */
    size_t sent_n;
    pthread_t thread;
    int wake_fd;
    atomic_bool stop;
};

static struct redis *redis_of(struct bus *bus)
{
    return CONTAINER_OF(bus, struct redis, bus);
}

static void redis_wake(struct bus *bus)
{
    uint64_t one = 1;

    /* A full counter wakes as well. */
    if (write(redis_of(bus)->wake_fd, &one, sizeof one) < 0)
        return;
}

static void note_state(struct redis *r)
{
    bool up = r->subscribed && r->out.state == LINK_UP;
    struct log_line line;

    if (!bus_set_state(&r->bus, up, r->in.drops + r->out.drops))
        return;
    log_begin(&line, up ? LOG_INFO_ : LOG_WARN_, "bus");
    log_str(&line, "hints", up ? S("flow") : S("none"));
    if (up)
        log_str(&line, "server", slice_str(r->in.host));
    log_num(&line, "lost", (int64_t)(r->in.drops + r->out.drops));
    log_end(&line);
}

/* `other` has just come up. */
static void leave_old_master(struct link *l, const struct link *other)
{
    if (l->state == LINK_UP &&
        (strcmp(l->host, other->host) != 0 || strcmp(l->port, other->port) != 0))
        link_drop(l, "the master is another one");
}

/* --- in -------------------------------------------------------------------------------------- */

static void take_message(struct redis *r, struct slice payload)
{
    struct cursor c = cursor_of(payload);

    if (cursor_u8(&c) != MESSAGE_VERSION)
        return; /* a later version's, in the middle of an upgrade: polling will do */
    while (cursor_left(&c) >= HINT_BYTES) {
        struct bus_hint hint = {.account = cursor_be64(&c)};

        hint.seq = cursor_be64(&c);
        bus_deliver(&r->bus, hint);
    }
}

static struct slice element(const redisReply *reply, size_t i)
{
    if (reply->type != REDIS_REPLY_ARRAY || i >= reply->elements ||
        reply->element[i]->type != REDIS_REPLY_STRING)
        return slice_of(NULL, 0);
    return slice_of(reply->element[i]->str, (size_t)reply->element[i]->len);
}

static void take_in(struct redis *r, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        link_drop(&r->in, reply->str);
    } else if (slice_eq(element(reply, 0), S("message"))) {
        take_message(r, element(reply, 2));
    } else if (slice_eq(element(reply, 0), S("subscribe"))) {
        r->subscribed = true;
        link_works(&r->in);
        note_state(r);
        bus_deliver(&r->bus, (struct bus_hint){0, 0});
    }
}

static void tend_in(struct redis *r)
{
    link_tend(&r->in);
    if (r->in.state != LINK_UP)
        r->subscribed = false;
    if (r->in.state == LINK_UP && r->in_ups != r->in.ups) {
        struct slice subscribe[] = {S("SUBSCRIBE"), slice_str(r->channel)};

        r->in_ups = r->in.ups;
        r->subscribed = false;
        leave_old_master(&r->out, &r->in);
        link_send(&r->in, 2, subscribe);
    }
}

/* --- out ------------------------------------------------------------------------------------- */

static void send_message(struct redis *r)
{
    uint8_t payload[1 + MESSAGE_HINTS * HINT_BYTES];
    struct slice publish[] = {S("PUBLISH"), slice_str(r->channel),
                              slice_of(payload, 1 + r->sent_n * HINT_BYTES)};

    payload[0] = MESSAGE_VERSION;
    for (size_t i = 0; i < r->sent_n; i++) {
        put_be64(payload + 1 + i * HINT_BYTES, r->sent[i].account);
        put_be64(payload + 1 + i * HINT_BYTES + 8, r->sent[i].seq);
    }
    link_send(&r->out, 3, publish);
}

static bool has_sentinel(const struct redis *r)
{
    return r->target.uri.master != NULL;
}

static void ask_role(struct redis *r)
{
    static const struct slice role[] = {{(const uint8_t *)"ROLE", 4}};
    int64_t now = clock_mono_ms();

    if (now - r->asked_role_ms < ROLE_MS)
        return;
    r->asked_role_ms = now;
    link_send(&r->out, 1, role);
}

static void tend_out(struct redis *r)
{
    link_tend(&r->out);
    if (r->out.state != LINK_UP)
        return;
    if (r->out_ups != r->out.ups) {
        r->out_ups = r->out.ups;
        leave_old_master(&r->in, &r->out);
        if (r->sent_n) /* not answered by the last connection */
            send_message(r);
    }
    if (has_sentinel(r))
        ask_role(r);
    if (r->sent_n == 0) {
        r->sent_n = bus_take(&r->bus, r->sent, MESSAGE_HINTS);
        if (r->sent_n)
            send_message(r);
    }
}

static void take_out(struct redis *r, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR) {
        link_drop(&r->out, reply->str);
        return;
    }
    if (reply->type == REDIS_REPLY_ARRAY && !slice_eq(element(reply, 0), S("master"))) {
        link_drop(&r->out, "no master any more");
        link_drop(&r->in, "no master any more");
        return;
    }
    link_works(&r->out);
    if (reply->type == REDIS_REPLY_INTEGER) {
        r->sent_n = 0;
        bus_left(&r->bus);
    }
}

/* --- the thread ------------------------------------------------------------------------------ */

static void take_replies(struct redis *r, struct link *l,
                         void (*take)(struct redis *r, const redisReply *reply))
{
    redisReply *reply;

    while ((reply = link_next(l))) {
        take(r, reply);
        freeReplyObject(reply);
    }
}

static void wait_for_work(struct redis *r)
{
    struct pollfd fds[] = {
        {r->wake_fd, POLLIN, 0},
        {r->in.fd, link_events(&r->in), 0},
        {r->out.fd, link_events(&r->out), 0},
    };
    int64_t due = MIN(link_due_ms(&r->in), link_due_ms(&r->out));
    uint64_t count;

    if (has_sentinel(r) && r->out.state == LINK_UP)
        due = MIN(due, r->asked_role_ms + ROLE_MS);
    due -= clock_mono_ms();

    if (poll(fds, ARRAY_LEN(fds), due < 0 ? 0 : (int)MIN(due, (int64_t)60000)) <= 0)
        return;
    if (fds[0].revents && read(r->wake_fd, &count, sizeof count) < 0)
        return; /* woken by another reading of it */
    link_io(&r->in, fds[1].revents);
    link_io(&r->out, fds[2].revents);
}

static void *redis_run(void *arg)
{
    struct redis *r = arg;
    sigset_t all;

    sigfillset(&all); /* SIGPIPE of OpenSSL's writes; and signals are for the main thread */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    while (!atomic_load(&r->stop)) {
        tend_in(r);
        tend_out(r);
        note_state(r);
        wait_for_work(r);
        take_replies(r, &r->in, take_in);
        take_replies(r, &r->out, take_out);
    }
    return NULL;
}

static void redis_free(struct redis *r)
{
    link_done(&r->in);
    link_done(&r->out);
    link_target_done(&r->target);
    free(r->channel);
    mem_close_fd(&r->wake_fd);
    bus_done(&r->bus);
    free(r);
}

static void redis_close(struct bus *bus)
{
    struct redis *r = redis_of(bus);

    atomic_store(&r->stop, true);
    redis_wake(bus);
    pthread_join(r->thread, NULL);
    redis_free(r);
}

static const struct bus_ops redis_ops = {.wake = redis_wake, .close = redis_close};

int bus_redis_open(struct slice rest, bool tls, struct bus **ret_bus, struct error *err)
{
    struct link_target target;
    struct redis *r;
    int result = link_target_open(rest, tls, &target, err);

    if (result < 0)
        return result;
    r = NEW(struct redis);
    bus_init(&r->bus, &redis_ops);
    r->target = target;
    r->channel = mem_printf("%s:hints", target.uri.prefix);
    link_init(&r->in, &r->target, "in");
    link_init(&r->out, &r->target, "out");
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake_fd < 0 || pthread_create(&r->thread, NULL, redis_run, r) != 0) {
        redis_free(r);
        return error_set(err, ERR_UNAVAILABLE, "no thread for the bus");
    }
    *ret_bus = &r->bus;
    return 0;
}

int bus_redis_check(struct slice rest, bool tls, struct error *err)
{
    struct link_target target;
    int result = link_target_open(rest, tls, &target, err);

    if (result == 0)
        link_target_done(&target);
    return result;
}
