/* SPDX-License-Identifier: MPL-2.0 */
/* What the queue does without a network:
 *
 *   queue_bench [-n MESSAGES] [-d DESTINATIONS] [-b BODY] [-j THREADS] [-w WORKERS] [-x DEAD] URI
 *
 *   fill   messages a second into the queue, by so many threads, no runner
 *   drain  attempts a second out of it, by a runner of another process' making: each is found,
 *          leased, "sent" by a transport that takes everything at once, recorded
 *   flow   the same messages again with both at once in one process, as in `eider serve`
 *   dead   (-x) so many messages wait for a destination that takes none; then as "flow": what the
 *          others have of it
 *
 * Behind each stand the store's round trips for a message and what one of them took, in ms. The
 * store should be empty and not in memory.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/queue/runner_impl.h"

struct bench {
    struct queue *queue;
    struct store *store;
    uint64_t trips[STORE_VERBS_], trip_us[STORE_VERBS_]; /* before this phase */
    size_t messages, destinations, threads, dead;
    const char *to; /* for all; NULL: spread over the destinations */
    unsigned workers;
    struct buf body;
    _Atomic size_t next;
};

static void *submit_some(void *arg)
{
    struct bench *b = arg;

    for (size_t i; (i = atomic_fetch_add(&b->next, 1)) < b->messages;) {
        struct queue_writer *w = queue_writer_new(b->queue);
        char to[64];
        struct queue_recipient rcpt = {to, 0, ""};
        struct error err = {0};
        uint64_t id;
        int r;

        if (b->to)
            snprintf(to, sizeof to, "%s", b->to);
        else
            snprintf(to, sizeof to, "someone@d%zu.example", i % b->destinations);
        r = queue_writer_feed(w, buf_slice(&b->body), &err);
        if (r == 0)
            r = queue_submit(b->queue, w,
                             &(struct queue_envelope){.account = 1,
                                                      .sender = "anna@example.org",
                                                      .envid = "",
                                                      .recipients = &rcpt,
                                                      .recipients_n = 1},
                             &id, &err);
        queue_writer_free(w);
        if (r < 0) {
            printf("submit: %s\n", err.text);
            exit(1);
        }
    }
    return NULL;
}

static void submit_all(struct bench *b)
{
    pthread_t *threads = NEW_ARRAY(pthread_t, b->threads);

    atomic_store(&b->next, 0);
    for (size_t i = 0; i < b->threads; i++)
        if (pthread_create(&threads[i], NULL, submit_some, b) != 0)
            exit(1);
    for (size_t i = 0; i < b->threads; i++)
        pthread_join(threads[i], NULL);
    free(threads);
}

static unsigned room(struct transport *t, const char *destination, int64_t *ret_wait_ms)
{
    (void)t;
    *ret_wait_ms = strcmp(destination, "dead.example") == 0 ? 60000 : 1;
    return *ret_wait_ms > 1 ? 0 : 1000;
}

static void take_it(struct transport *t, struct transport_job *job)
{
    CLEANUP(buf_done) struct buf out = buf_make(64 << 20);

    (void)t;
    if (job->read(job, 0, (size_t)job->size, &out, NULL) < 0)
        exit(1);
    for (size_t i = 0; i < job->n; i++) {
        job->recipients[i].result = TRANSPORT_DELIVERED;
        job->recipients[i].code = 250;
        job->recipients[i].status = "2.0.0";
    }
    job->done(job);
}

static struct runner *start(struct bench *b)
{
    struct runner_settings s;
    struct runner *r;
    struct error err = {0};

    runner_settings_default(&s);
    s.workers = b->workers;
    s.concurrency = 4 * b->workers;
    s.sweep_ms = -1;
    if (runner_new(&s, b->queue, NULL, &(struct runner_transport){room, take_it, NULL}, &r, &err) <
        0) {
        printf("%s\n", err.text);
        exit(1);
    }
    return r;
}

static void wait_for(struct runner *r, uint64_t delivered)
{
    while (runner_read_counters(r).delivered < delivered || runner_read_counters(r).running)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

static size_t memory_mb(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    size_t all = 0, resident = 0;

    if (f && fscanf(f, "%zu %zu", &all, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE) >> 20;
}

static void say_trips(struct bench *b)
{
    printf("      ");
    for (int v = 0; v < STORE_VERBS_; v++) {
        const struct store_verb_counters *c = store_counters(b->store, (enum store_verb)v);
        uint64_t n = histogram_count(&c->times), us = c->times.sum_us;

        if (n > b->trips[v])
            printf(" %s %.2f (%.1f)", store_verb_name((enum store_verb)v),
                   (double)(n - b->trips[v]) / (double)b->messages,
                   (double)(us - b->trip_us[v]) / (double)(n - b->trips[v]) / 1e3);
        b->trips[v] = n;
        b->trip_us[v] = us;
    }
    printf("\n");
    fflush(stdout);
}

static void say(struct bench *b, const char *what, int64_t began_us)
{
    double seconds = (double)(clock_mono_us() - began_us) / 1e6;

    printf("%-6s %zu messages in %.1f s: %.0f a second; %zu MB\n", what, b->messages, seconds,
           (double)b->messages / seconds, memory_mb());
    say_trips(b);
}

static void say_runner(struct runner *r)
{
    struct runner_counters c = runner_read_counters(r);

    printf("       %llu leases, %llu rows read, index read again %llu times\n",
           (unsigned long long)c.leases, (unsigned long long)c.rows_read,
           (unsigned long long)c.rereads);
}

static void run(struct bench *b)
{
    int64_t began = clock_mono_us();
    struct runner *r;

    submit_all(b);
    say(b, "fill", began);
    began = clock_mono_us();
    r = start(b);
    wait_for(r, b->messages);
    say(b, "drain", began);
    say_runner(r);
    runner_free(r);
    began = clock_mono_us();
    r = start(b);
    submit_all(b);
    wait_for(r, b->messages);
    say(b, "flow", began);
    say_runner(r);
    runner_free(r);
}

static void run_dead(struct bench *b)
{
    size_t messages = b->messages;
    int64_t began = clock_mono_us();
    struct runner *r;

    b->messages = b->dead;
    b->to = "someone@dead.example";
    submit_all(b);
    say(b, "fill", began);
    b->messages = messages;
    b->to = NULL;
    began = clock_mono_us();
    r = start(b);
    while (runner_read_counters(r).known < MIN(b->dead, (size_t)20000))
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    say(b, "known", began);
    began = clock_mono_us();
    submit_all(b);
    wait_for(r, b->messages);
    say(b, "dead", began);
    say_runner(r);
    runner_free(r);
}

int main(int argc, char **argv)
{
    struct bench b = {.messages = 100000, .destinations = 1000, .threads = 32, .workers = 32};
    size_t body = 3000;
    struct store *store;
    struct error err = {0};
    int option;

    while ((option = getopt(argc, argv, "n:d:b:j:w:x:")) != -1) {
        size_t value = optarg ? (size_t)strtoull(optarg, NULL, 10) : 0;

        switch (option) {
        case 'n':
            b.messages = value;
            break;
        case 'd':
            b.destinations = value;
            break;
        case 'x':
            b.dead = value;
            break;
        case 'b':
            body = value;
            break;
        case 'j':
            b.threads = value;
            break;
        case 'w':
            b.workers = (unsigned)value;
            break;
        default:
            return 2;
        }
    }
    if (optind + 1 != argc || !b.destinations || !b.threads || !b.workers)
        return 2;
    log_set_level(LOG_ERROR_);
    if (store_open(argv[optind], NULL, &store, &err) < 0) {
        printf("%s\n", err.text);
        return 1;
    }
    b.body = buf_make(body + 1);
    buf_add_str(&b.body, "Subject: bench\r\n\r\n");
    while (b.body.n < body)
        buf_add_byte(&b.body, b.body.n % 72 == 71 ? '\n' : (uint8_t)('a' + random_u64() % 26));
    b.store = store;
    b.queue = queue_new(store);
    run(&b);
    if (b.dead)
        run_dead(&b);
    queue_free(b.queue);
    buf_done(&b.body);
    store_close(store);
    return 0;
}
