/* SPDX-License-Identifier: MPL-2.0 */
/* Counts in Redis: one connection, one thread, many callers.
 *
 * A caller puts his question into a queue and sleeps until it is answered, or too long has passed;
 * the thread sends all that are waiting at once and hands the replies out in the same order. A key
 * is a hash of three fields: the window's number, what was counted in it, and in the one before. A
 * script reads and adds in one step, by the clock of the server; only it may write them, so two
 * nodes never let the same room be taken twice.
 *
 * Nobody waits for a server that is not there: questions are taken only while the link is up, all
 * that wait are sent away when it breaks, and after one that was not answered in time the next ones
 * go to memory at once for a second. A server that answers with an error (a user without rights)
 * is asked again after a minute.
 */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/bus/bus_impl.h"
#include "lib/bus/rates.h"
#include "lib/bus/redis_link.h"

#define WAITING_MAX 10000 /* questions; more would wait longer than they may */
#define SENT_MAX    200   /* at once, without an answer: they fit into the link's buffer */
#define SLOW_MS     1000
#define REFUSED_MS  60000

/* KEYS[1]; n, limit, window in ms -> counted or not, current, previous, ms of the window that have
 * passed. The weights are those of rates_wait_ms. */
static const char script[] =
    "local n, limit, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]) "
    "local t = redis.call('TIME') "
    "local ms = t[1] * 1000 + math.floor(t[2] / 1000) "
    "local elapsed = ms % window "
    "local number = (ms - elapsed) / window "
    "local v = redis.call('HMGET', KEYS[1], 'w', 'c', 'p', 'l') "
    "local w, c, p = tonumber(v[1]) or 0, tonumber(v[2]) or 0, tonumber(v[3]) or 0 "
    "if tonumber(v[4]) ~= window then c, p = 0, 0 "
    "elseif w == number - 1 then c, p = 0, c "
    "elseif w ~= number then c, p = 0, 0 end "
    "if c + n > limit or p * (window - elapsed) > (limit - c - n) * window "
    "then return {0, c, p, elapsed} end "
    "redis.call('HSET', KEYS[1], 'w', string.format('%.0f', number), "
    "'c', string.format('%.0f', c + n), 'p', string.format('%.0f', p), 'l', ARGV[3]) "
    "redis.call('PEXPIRE', KEYS[1], 2 * window) "
    "return {1, c + n, p, elapsed}";

enum answer { NO_ANSWER, COUNTED, NOT_COUNTED, NOT_ASKED };

/* Belongs to the thread's queues until it is answered; then to the caller, or, if he has gone, to
 * nobody. */
struct question {
    char key[SHA256_SIZE + 1];
    uint64_t n, limit;
    int64_t window_ms;
    enum answer answer;
    struct rates_window window; /* of NOT_COUNTED */
    bool abandoned;
    STAILQ_ENTRY(question) link;
};
STAILQ_HEAD(questions, question);

struct redis_rates {
    struct rates rates;
    struct rates *memory;
    struct link_target target;
    struct link link;
    pthread_mutex_t lock; /* guards the rest but the link */
    pthread_cond_t answered;
    struct questions waiting, sent;
    size_t waiting_n, sent_n;
    bool up;
    int64_t memory_until_ms; /* clock_mono_ms() */
    pthread_t thread;
    int wake_fd;
    atomic_bool stop;
};

/* --- callers ---------------------------------------------------------------------------------- */

static void wake(struct redis_rates *r)
{
    uint64_t one = 1;

    /* A full counter wakes as well. */
    if (write(r->wake_fd, &one, sizeof one) < 0)
        return;
}

static struct question *question_new(struct slice key, uint64_t n, uint64_t limit,
                                     int64_t window_ms)
{
    CLEANUP(buf_done) struct buf hex = buf_make(2 * SHA256_SIZE);
    struct question *q = NEW(struct question);
    uint8_t hash[SHA256_SIZE];

    digest_sha256(key, hash);
    hex_encode(&hex, slice_of(hash, sizeof hash / 2));
    memcpy(q->key, hex.p, sizeof q->key - 1);
    q->n = n;
    q->limit = limit;
    q->window_ms = window_ms;
    return q;
}

/* With the lock. False: it took too long, and the question is not the caller's any more. */
static bool await(struct redis_rates *r, struct question *q)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (RATES_WAIT_MS % 1000) * 1000000L;
    until.tv_sec += RATES_WAIT_MS / 1000 + until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    while (q->answer == NO_ANSWER)
        if (pthread_cond_timedwait(&r->answered, &r->lock, &until) != 0)
            break;
    if (q->answer != NO_ANSWER)
        return true;
    q->abandoned = true;
    r->memory_until_ms = clock_mono_ms() + SLOW_MS;
    return false;
}

/* NOT_ASKED: Redis does not say. */
static enum answer ask(struct redis_rates *r, struct question *q, struct rates_window *ret_window)
{
    enum answer answer = NOT_ASKED;
    bool ours = true;

    pthread_mutex_lock(&r->lock);
    if (r->up && r->waiting_n < WAITING_MAX && clock_mono_ms() >= r->memory_until_ms) {
        STAILQ_INSERT_TAIL(&r->waiting, q, link);
        r->waiting_n++;
        wake(r);
        ours = await(r, q);
        if (ours)
            answer = q->answer;
        *ret_window = ours ? q->window : (struct rates_window){0};
    }
    pthread_mutex_unlock(&r->lock);
    if (ours)
        free(q);
    return answer;
}

static int redis_take(struct rates *rates, struct slice key, uint64_t n, uint64_t limit,
                      int64_t window_ms, int64_t *ret_wait_ms)
{
    struct redis_rates *r = CONTAINER_OF(rates, struct redis_rates, rates);
    struct rates_window window = {0};

    switch (ask(r, question_new(key, n, limit, window_ms), &window)) {
    case COUNTED:
        return 0;
    case NOT_COUNTED:
        *ret_wait_ms = MAX(rates_wait_ms(&window, n, limit, window_ms), (int64_t)1);
        return -ERR_LIMIT;
    case NO_ANSWER:
    case NOT_ASKED:
        break;
    }
    return rates_take(r->memory, key, n, limit, window_ms, ret_wait_ms);
}

/* --- the thread ------------------------------------------------------------------------------- */

/* With the lock. */
static void answer_question(struct redis_rates *r, struct question *q, enum answer answer)
{
    q->answer = answer;
    if (q->abandoned)
        free(q);
    else
        pthread_cond_broadcast(&r->answered);
}

/* With the lock. */
static void send_away(struct redis_rates *r, struct questions *questions)
{
    struct question *q;

    while ((q = STAILQ_FIRST(questions))) {
        STAILQ_REMOVE_HEAD(questions, link);
        answer_question(r, q, NOT_ASKED);
    }
}

static void send_question(struct redis_rates *r, const struct question *q)
{
    char key[600], n[24], limit[24], window[24];
    struct slice args[] = {S("EVAL"), slice_str(script), S("1"), {0}, {0}, {0}, {0}};

    snprintf(key, sizeof key, "%.500s:rate:%s", r->target.uri.prefix, q->key);
    snprintf(n, sizeof n, "%llu", (unsigned long long)q->n);
    snprintf(limit, sizeof limit, "%llu", (unsigned long long)q->limit);
    snprintf(window, sizeof window, "%lld", (long long)q->window_ms);
    args[3] = slice_str(key);
    args[4] = slice_str(n);
    args[5] = slice_str(limit);
    args[6] = slice_str(window);
    link_send(&r->link, (int)ARRAY_LEN(args), args);
}

/* With the lock: those who waited for a connection that is not there any more. */
static void send_all_away(struct redis_rates *r)
{
    send_away(r, &r->waiting);
    send_away(r, &r->sent);
    r->waiting_n = r->sent_n = 0;
}

/* With the lock. */
static void send_waiting(struct redis_rates *r)
{
    struct question *q;

    while (r->sent_n < SENT_MAX && (q = STAILQ_FIRST(&r->waiting))) {
        STAILQ_REMOVE_HEAD(&r->waiting, link);
        r->waiting_n--;
        if (q->abandoned) {
            free(q);
            continue;
        }
        send_question(r, q);
        STAILQ_INSERT_TAIL(&r->sent, q, link);
        r->sent_n++;
    }
}

static void tend(struct redis_rates *r)
{
    link_tend(&r->link);
    pthread_mutex_lock(&r->lock);
    r->up = r->link.state == LINK_UP;
    if (r->up)
        send_waiting(r);
    else
        send_all_away(r);
    pthread_mutex_unlock(&r->lock);
}

static bool read_window(const redisReply *reply, enum answer *ret_answer,
                        struct rates_window *ret_window)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 4)
        return false;
    for (size_t i = 0; i < 4; i++)
        if (reply->element[i]->type != REDIS_REPLY_INTEGER || reply->element[i]->integer < 0)
            return false;
    *ret_answer = reply->element[0]->integer ? COUNTED : NOT_COUNTED;
    *ret_window = (struct rates_window){.current = (uint64_t)reply->element[1]->integer,
                                        .previous = (uint64_t)reply->element[2]->integer,
                                        .elapsed_ms = reply->element[3]->integer};
    return true;
}

/* Errors that pass by, or that another server would not give. */
static bool is_passing(const char *text)
{
    static const char *const kinds[] = {"READONLY", "LOADING", "MASTERDOWN", "BUSY"};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strncmp(text, kinds[i], strlen(kinds[i])) == 0)
            return true;
    return false;
}

static void log_refused(const char *why)
{
    struct log_line line;

    log_begin(&line, LOG_WARN_, "rates");
    log_str(&line, "counted", S("in this process only"));
    log_str(&line, "reason", slice_str(why));
    log_end(&line);
}

/* With the lock. True: it was told for the first time. */
static bool note_refusal(struct redis_rates *r, bool passing)
{
    int64_t now = clock_mono_ms();
    bool first = now >= r->memory_until_ms;

    if (!passing)
        r->memory_until_ms = now + REFUSED_MS;
    return first && !passing;
}

static void take_reply(struct redis_rates *r, const redisReply *reply)
{
    const char *text = reply->type == REDIS_REPLY_ERROR ? reply->str : "not an answer";
    struct rates_window window = {0};
    enum answer answer = NOT_ASKED;
    bool known = read_window(reply, &answer, &window), log = false;
    struct question *q;

    if (reply->type == REDIS_REPLY_STATUS) /* PONG */
        return;
    pthread_mutex_lock(&r->lock);
    q = STAILQ_FIRST(&r->sent);
    if (q) {
        STAILQ_REMOVE_HEAD(&r->sent, link);
        r->sent_n--;
        q->window = window;
        answer_question(r, q, answer);
    }
    if (!known)
        log = note_refusal(r, is_passing(text));
    pthread_mutex_unlock(&r->lock);
    if (known)
        link_works(&r->link);
    else if (is_passing(text))
        link_drop(&r->link, text);
    if (log)
        log_refused(text);
}

static void wait_for_work(struct redis_rates *r)
{
    struct pollfd fds[] = {{r->wake_fd, POLLIN, 0}, {r->link.fd, link_events(&r->link), 0}};
    int64_t due = link_due_ms(&r->link) - clock_mono_ms();
    uint64_t count;

    if (poll(fds, ARRAY_LEN(fds), due < 0 ? 0 : (int)MIN(due, (int64_t)60000)) <= 0)
        return;
    if (fds[0].revents && read(r->wake_fd, &count, sizeof count) < 0)
        return; /* woken by another reading of it */
    link_io(&r->link, fds[1].revents);
}

static void *run(void *arg)
{
    struct redis_rates *r = arg;
    redisReply *reply;
    sigset_t all;

    sigfillset(&all); /* SIGPIPE of OpenSSL's writes; and signals are for the main thread */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    while (!atomic_load(&r->stop)) {
        tend(r);
        wait_for_work(r);
        while ((reply = link_next(&r->link))) {
            take_reply(r, reply);
            freeReplyObject(reply);
        }
    }
    return NULL;
}

/* --- making ----------------------------------------------------------------------------------- */

static void redis_free(struct redis_rates *r)
{
    send_away(r, &r->waiting);
    send_away(r, &r->sent);
    link_done(&r->link);
    link_target_done(&r->target);
    mem_close_fd(&r->wake_fd);
    rates_free(r->memory);
    pthread_cond_destroy(&r->answered);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void redis_close(struct rates *rates)
{
    struct redis_rates *r = CONTAINER_OF(rates, struct redis_rates, rates);

    atomic_store(&r->stop, true);
    wake(r);
    pthread_join(r->thread, NULL);
    redis_free(r);
}

int rates_redis_open(struct slice rest, bool tls, size_t max_keys, struct rates **ret,
                     struct error *err)
{
    struct redis_rates *r;
    struct link_target target;
    pthread_condattr_t attr;
    int result = link_target_open(rest, tls, &target, err);

    if (result < 0)
        return result;
    r = NEW(struct redis_rates);
    r->rates = (struct rates){.take = redis_take, .free = redis_close};
    r->memory = rates_memory_new(max_keys);
    r->target = target;
    link_init(&r->link, &r->target, "rates");
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->answered, &attr);
    pthread_condattr_destroy(&attr);
    STAILQ_INIT(&r->waiting);
    STAILQ_INIT(&r->sent);
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake_fd < 0 || pthread_create(&r->thread, NULL, run, r) != 0) {
        redis_free(r);
        return error_set(err, ERR_UNAVAILABLE, "no thread for the counts in Redis");
    }
    *ret = &r->rates;
    return 0;
}
