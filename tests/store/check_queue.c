/* SPDX-License-Identifier: MPL-2.0 */
/* The queue under everything that can happen to it.
 *
 *   check_queue [-s SEED] [-n MESSAGES] [-t ROUNDS] URI
 *
 * Several nodes run the queue on one store, each behind faults of its own (lib/store/faulty.h), and
 * die at some store call, any one, to be followed by new ones. Messages are submitted through them
 * and past them; a transport of the test's own delivers, defers and refuses by chance. What is
 * checked, when all is healed and nothing is left to do:
 *
 *   - what was accepted has been attempted until it had a final result; what was refused never was
 *     (I21, I23, I29);
 *   - no attempt is made for a recipient whose final result is recorded: looked up in the store
 *     itself at each attempt (I29);
 *   - each recipient that failed is named by one bounce in the sender's INBOX, no other by any;
 *   - after the horizon the sweep leaves nothing.
 *
 * Not a function of the seed alone: threads have their own order. The seed is printed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/mail/message.h"
#include "lib/queue/runner_impl.h"
#include "lib/store/faulty.h"

#define NODES        3
#define DESTINATIONS 5
#define END_MS       120000

enum answer { REFUSED, UNKNOWN, ACCEPTED };

struct person {
    char address[48];
    enum answer answer;
    int attempts;
    enum transport_result last;
    int bounces;
};

struct world;

struct node {
    struct world *world;
    struct store *store;
    struct queue *queue;
    struct runner *runner;
    pthread_mutex_t lock;
    uint64_t dice;
    unsigned faults; /* per mille of each kind */
    int calls_left;  /* then it is dead */
    bool dead;
};

struct world {
    struct store *inner;
    struct mail *mail;
    uint64_t account; /* the sender; another one each time */
    struct node *nodes[NODES];
    struct pool *pool; /* the other servers */
    pthread_mutex_t lock;
    uint64_t dice;
    struct person *people;
    size_t people_n, people_cap;
    bool failed;
    unsigned deaths;
};

static uint64_t roll(uint64_t *dice)
{
    uint64_t z = *dice += 0x9e3779b97f4a7c15;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static uint64_t world_roll(struct world *w, uint64_t below)
{
    uint64_t v;

    pthread_mutex_lock(&w->lock);
    v = roll(&w->dice) % below;
    pthread_mutex_unlock(&w->lock);
    return v;
}

static void complain(struct world *w, const char *what, const char *whom)
{
    printf("# %s: %s\n", whom, what);
    fflush(stdout);
    w->failed = true;
}

static void nap(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

/* --- the other servers ------------------------------------------------------------------------ */

struct visit {
    struct pool_job job;
    struct node *node;
    struct transport_job *send;
};

static struct person *find_person(struct world *w, const char *address)
{
    for (size_t i = 0; i < w->people_n; i++)
        if (strcmp(w->people[i].address, address) == 0)
            return &w->people[i];
    return NULL;
}

/* What the store has of the recipient, by the store itself. */
static enum queue_state recorded(struct world *w, const char *address)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    CLEANUP(arena_done) struct arena arena = {0};

    if (store_range(w->inner,
                    &(struct store_query){.table = STORE_QUEUEENTRIES,
                                          .parts = STORE_HEAD,
                                          .level = STORE_LINEARIZABLE},
                    &docs, NULL) < 0)
        return QUEUE_WAITING;
    for (size_t i = 0; i < docs.n; i++) {
        struct queue_entry e;

        if (queue_entry_decode(0, 0, docs.items[i].head, &arena, &e, NULL) < 0 || e.done)
            continue;
        for (size_t k = 0; k < e.n; k++)
            if (strcmp(e.targets[k].to.address, address) == 0)
                return e.targets[k].state;
    }
    return QUEUE_DELIVERED; /* done, and so final */
}

static void visit_one(struct node *n, struct transport_recipient *r)
{
    struct world *w = n->world;
    enum queue_state state = recorded(w, r->to->address);
    uint64_t chance;
    struct person *p;

    pthread_mutex_lock(&w->lock);
    p = find_person(w, r->to->address);
    chance = roll(&w->dice) % 100;
    r->result = chance < 50   ? TRANSPORT_DELIVERED
                : chance < 80 ? TRANSPORT_LATER
                              : TRANSPORT_FAILED;
    r->code = r->result == TRANSPORT_DELIVERED ? 250 : r->result == TRANSPORT_LATER ? 450 : 550;
    r->status = r->result == TRANSPORT_FAILED ? "5.1.1" : "4.2.0";
    r->text = "so says the check";
    r->remote = "mx.example";
    if (!p)
        complain(w, "attempted, and nobody submitted it", r->to->address);
    else if (state != QUEUE_WAITING)
        complain(w, "I29: attempted after a final result was recorded", p->address);
    if (p) {
        p->attempts++;
        p->last = r->result;
    }
    pthread_mutex_unlock(&w->lock);
}

static void run_visit(struct pool_job *job)
{
    struct visit *v = CONTAINER_OF(job, struct visit, job);
    struct transport_job *send = v->send;
    CLEANUP(buf_done) struct buf body = buf_make(1 << 20);

    nap((int)world_roll(v->node->world, 12));
    if (send->read(send, 0, 100, &body, NULL) == 0 &&
        !slice_starts(buf_slice(&body), S("Subject: check")))
        complain(v->node->world, "the body is another one", send->recipients[0].to->address);
    for (size_t i = 0; i < send->n; i++)
        visit_one(v->node, &send->recipients[i]);
    free(v);
    send->done(send);
}

static unsigned room(struct transport *t, const char *destination, int64_t *ret_wait_ms)
{
    (void)t, (void)destination;
    *ret_wait_ms = 10;
    return 4;
}

static void send_job(struct transport *t, struct transport_job *job)
{
    struct node *n = (struct node *)(void *)t;
    struct visit *v = NEW(struct visit);

    v->node = n;
    v->send = job;
    v->job.run = run_visit;
    pool_submit(n->world->pool, &v->job);
}

/* --- nodes ----------------------------------------------------------------------------------- */

static enum fault draw(void *ctx, const char *verb, enum store_table table)
{
    struct node *n = ctx;
    enum fault fault = FAULT_NONE;

    (void)verb, (void)table;
    pthread_mutex_lock(&n->lock);
    if (n->calls_left > 0 && --n->calls_left == 0)
        n->dead = true;
    if (n->dead)
        fault = FAULT_REFUSED;
    else if (roll(&n->dice) % 1000 < n->faults)
        fault = (enum fault)(1 + roll(&n->dice) % (FAULT_COUNT_ - 1));
    pthread_mutex_unlock(&n->lock);
    return fault;
}

static struct node *node_new_(struct world *w, unsigned faults)
{
    struct node *n = NEW(struct node);
    struct runner_settings s;
    struct error err = {0};

    n->world = w;
    n->dice = world_roll(w, UINT64_MAX);
    n->faults = faults;
    n->calls_left = faults ? 20 + (int)world_roll(w, 600) : 0;
    pthread_mutex_init(&n->lock, NULL);
    n->store = store_faulty_new(
        w->inner, &(struct fault_plan){.seed = n->dice, .late_calls = 30, .hook = draw, .ctx = n});
    n->queue = queue_new(n->store);
    n->queue->patience_ms = 400;
    runner_settings_default(&s);
    s.retry_first_ms = 40;
    s.retry_max_ms = 150;
    s.lease_ms = 2400;
    s.poll_ms = 40;
    s.reread_ms = 600;
    s.workers = 4;
    s.sweep_ms = 500;
    if (runner_new(&s, n->queue, w->mail,
                   &(struct runner_transport){room, send_job, (struct transport *)(void *)n},
                   &n->runner, &err) < 0) {
        printf("# %s\n", err.text);
        exit(1);
    }
    return n;
}

static void node_end(struct node *n)
{
    runner_free(n->runner);
    queue_free(n->queue);
    store_close(n->store);
    pthread_mutex_destroy(&n->lock);
    free(n);
}

static bool is_dead(struct node *n)
{
    bool dead;

    pthread_mutex_lock(&n->lock);
    dead = n->dead;
    pthread_mutex_unlock(&n->lock);
    return dead;
}

static void bury(struct world *w, unsigned faults)
{
    for (size_t i = 0; i < NODES; i++)
        if (is_dead(w->nodes[i])) {
            node_end(w->nodes[i]);
            w->nodes[i] = node_new_(w, faults);
            w->deaths++;
        }
}

/* No more faults; what was to come late comes. Nodes that are to die soon do not. */
static void heal(struct world *w)
{
    bury(w, 0);
    for (size_t i = 0; i < NODES; i++) {
        pthread_mutex_lock(&w->nodes[i]->lock);
        w->nodes[i]->faults = 0;
        w->nodes[i]->calls_left = 0;
        pthread_mutex_unlock(&w->nodes[i]->lock);
        store_faulty_flush(w->nodes[i]->store);
    }
    bury(w, 0);
}

/* --- submitting ------------------------------------------------------------------------------ */

static struct person *new_person(struct world *w)
{
    struct person *p;

    if (w->people_n == w->people_cap) {
        printf("# too many people\n");
        exit(1);
    }
    p = &w->people[w->people_n];
    *p = (struct person){.answer = UNKNOWN};
    snprintf(p->address, sizeof p->address, "p%zu@d%zu.example", w->people_n,
             (size_t)(roll(&w->dice) % DESTINATIONS));
    w->people_n++;
    return p;
}

static void submit(struct world *w)
{
    struct node *n = w->nodes[world_roll(w, NODES)];
    struct queue_recipient list[6];
    struct person *people[6];
    size_t count = 1 + (size_t)world_roll(w, ARRAY_LEN(list));
    struct queue_writer *writer = queue_writer_new(n->queue);
    struct error err = {0};
    uint64_t id;
    int r = queue_writer_feed(writer, S("Subject: check\r\n\r\nbody\r\n"), &err);

    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < count; i++) {
        people[i] = new_person(w);
        list[i] = (struct queue_recipient){people[i]->address, 0, ""};
    }
    pthread_mutex_unlock(&w->lock);
    if (r == 0)
        r = queue_submit(n->queue, writer,
                         &(struct queue_envelope){.account = w->account,
                                                  .sender = "anna@example.org",
                                                  .envid = "",
                                                  .recipients = list,
                                                  .recipients_n = count},
                         &id, &err);
    queue_writer_free(writer);
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < count; i++)
        people[i]->answer = r == 0 ? ACCEPTED : r == -ERR_UNAVAILABLE ? REFUSED : UNKNOWN;
    pthread_mutex_unlock(&w->lock);
}

/* --- the end --------------------------------------------------------------------------------- */

static size_t count_table(struct world *w, enum store_table table)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    if (store_range(w->inner, &(struct store_query){.table = table, .level = STORE_LINEARIZABLE},
                    &docs, NULL) < 0)
        return SIZE_MAX;
    return docs.n;
}

/* Entries with an envelope that are not done. */
static size_t count_live(struct world *w)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};
    size_t live = 0;

    if (store_range(w->inner,
                    &(struct store_query){.table = STORE_QUEUEENTRIES, .level = STORE_LINEARIZABLE},
                    &docs, NULL) < 0)
        return SIZE_MAX;
    for (size_t i = 0; i < docs.n; i++) {
        uint64_t id = get_be64(docs.items[i].key.p);
        uint16_t number = get_be16(docs.items[i].key.p + 8);
        struct queue_found found;
        struct queue *q = queue_new(w->inner);

        if (queue_find(q, &id, &number, 1, &found, NULL) == 0) {
            live += found.counts && !found.entry.done;
            queue_found_done(&found);
        } else {
            live++;
        }
        queue_free(q);
    }
    return live;
}

static bool wait_for_all(struct world *w)
{
    int64_t end = clock_mono_ms() + END_MS;
    size_t live;

    while ((live = count_live(w)) > 0 && clock_mono_ms() < end)
        nap(50);
    if (live)
        printf("# %zu entries are not done\n", live);
    return live == 0;
}

static void count_bounces(struct world *w, struct slice text)
{
    static const char field[] = "Final-Recipient: rfc822;";

    for (;;) {
        ssize_t at = slice_search(text, S(field));
        struct slice rest, line;
        struct person *p;
        char address[48] = {0};
        ssize_t end;

        if (at < 0)
            return;
        rest = slice_skip(text, (size_t)at + strlen(field));
        end = slice_find(rest, '\r');
        line = slice_sub(rest, 0, end < 0 ? rest.n : (size_t)end);
        memcpy(address, line.p, MIN(line.n, sizeof address - 1));
        p = find_person(w, address);
        if (p)
            p->bounces++;
        else
            complain(w, "a bounce for somebody unknown", address);
        text = rest;
    }
}

static void tell_message(struct account *a, uint64_t id, struct buf *out)
{
    struct message_reader *rd;

    if (message_open(a, id, &rd, NULL) < 0)
        return;
    while (out->n < message_size(rd) && message_read(rd, out->n, 1 << 16, out, NULL) == 0)
        ;
    message_close(rd);
}

static void read_inbox(struct world *w)
{
    struct mailbox *inbox = NULL;
    struct mailbox_iter it;
    struct message m;
    struct account *a;
    struct state *st;

    if (account_open(w->mail, w->account, &a, NULL) < 0) {
        complain(w, "cannot be opened", "the account");
        return;
    }
    st = account_state(a);
    if (mailbox_load(a, st, state_mailbox_named(st, S("INBOX"))->id, 0, UINT32_MAX, &inbox, NULL) <
        0) {
        complain(w, "cannot be read", "INBOX");
    } else {
        it = mailbox_iter(inbox, 0);
        while (mailbox_next(&it, &m)) {
            CLEANUP(buf_done) struct buf text = buf_make(1 << 20);

            tell_message(a, m.id, &text);
            count_bounces(w, buf_slice(&text));
        }
        mailbox_unref(inbox);
    }
    state_unref(st);
    account_unref(a);
}

static void judge(struct world *w)
{
    unsigned n[3] = {0};

    for (size_t i = 0; i < w->people_n; i++) {
        const struct person *p = &w->people[i];
        bool failed = p->attempts && p->last == TRANSPORT_FAILED;

        n[p->answer]++;
        if (p->answer == REFUSED && p->attempts)
            complain(w, "I23: refused, and attempted", p->address);
        if (p->answer == ACCEPTED && !p->attempts)
            complain(w, "I29: accepted, and never attempted", p->address);
        if (p->attempts && p->last == TRANSPORT_LATER)
            complain(w, "I29: given up without a final result", p->address);
        if (p->bounces != failed)
            complain(w, failed ? "I29: failed, and not one bounce" : "a bounce without a cause",
                     p->address);
    }
    printf("# people: %u accepted, %u refused, %u unknown; %u deaths\n", n[ACCEPTED], n[REFUSED],
           n[UNKNOWN], w->deaths);
}

static const enum store_table all[] = {STORE_QUEUE, STORE_QUEUEBODIES, STORE_QUEUEENTRIES,
                                       STORE_QUEUEDUE};

/* Of an earlier run that was broken off. */
static int clear_queue(struct world *w, struct error *err)
{
    int r = 0;

    for (size_t i = 0; i < ARRAY_LEN(all) && r == 0; i++)
        r = store_delete_range(w->inner, all[i], S(""), S(""), NULL, err);
    return r;
}

static void judge_sweep(struct world *w)
{
    struct queue *q = queue_new(w->inner);
    struct error err = {0};
    uint64_t n;

    q->horizon_ms = -1;
    q->guard_ms = -1;
    nap(20);
    for (int i = 0; i < 3; i++)
        if (queue_sweep(q, NULL, NULL, &n, &err) < 0)
            complain(w, err.text, "the sweep");
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (count_table(w, all[i]) != 0) {
            printf("# table %d: %zu left\n", (int)all[i], count_table(w, all[i]));
            w->failed = true;
        }
    queue_free(q);
}

static void world_open(struct world *w, const char *uri, size_t messages, struct error *err)
{
    struct mail_settings s;

    mail_settings_default(&s);
    w->people_cap = messages * 6;
    w->people = NEW_ARRAY(struct person, w->people_cap);
    pthread_mutex_init(&w->lock, NULL);
    if (store_open(uri, NULL, &w->inner, err) < 0 ||
        mail_new(w->inner, NULL, &s, &w->mail, err) < 0 ||
        pool_new("servers", 8, &w->pool, err) < 0) {
        printf("# %s\n", err->text);
        exit(1);
    }
    w->account = random_u64();
    if (clear_queue(w, err) < 0 ||
        mail_account_create(w->mail, w->account, &(struct mail_account_options){.only_inbox = true},
                            err) < 0) {
        printf("# %s\n", err->text);
        exit(1);
    }
}

static int run(const char *uri, uint64_t seed, size_t messages)
{
    struct world w = {.dice = seed};
    struct error err = {0};
    unsigned faults;

    printf("# seed %llu, %zu messages, %s\n", (unsigned long long)seed, messages, uri);
    fflush(stdout);
    world_open(&w, uri, messages, &err);
    faults = 20 + (unsigned)world_roll(&w, 150);
    for (size_t i = 0; i < NODES; i++)
        w.nodes[i] = node_new_(&w, faults);
    for (size_t i = 0; i < messages; i++) {
        submit(&w);
        nap((int)world_roll(&w, 15));
        bury(&w, faults);
    }
    for (int i = 0; i < 20; i++) {
        nap(40);
        bury(&w, faults);
    }
    heal(&w);
    if (!wait_for_all(&w))
        w.failed = true;
    for (size_t i = 0; i < NODES; i++)
        node_end(w.nodes[i]);
    read_inbox(&w);
    judge(&w);
    judge_sweep(&w);
    pool_free(w.pool);
    mail_free(w.mail);
    store_close(w.inner);
    pthread_mutex_destroy(&w.lock);
    free(w.people);
    return w.failed;
}

int main(int argc, char **argv)
{
    uint64_t seed = 0;
    size_t messages = 60;
    int option;

    while ((option = getopt(argc, argv, "s:n:v")) != -1) {
        if (option == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (option == 'n')
            messages = (size_t)strtoull(optarg, NULL, 10);
        else if (option == 'v')
            log_set_level(LOG_DEBUG_);
        else
            return 2;
    }
    if (optind + 1 != argc)
        return 2;
    if (log_get_level() != LOG_DEBUG_)
        log_set_level(LOG_ERROR_);
    if (!seed)
        seed = random_u64() >> 1;
    return run(argv[optind], seed, messages);
}
