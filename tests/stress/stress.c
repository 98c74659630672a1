/* SPDX-License-Identifier: MPL-2.0 */
/* stress: many clients do random things to a few mailboxes of one account, over one or more nodes,
 * and complain when they are told what cannot be.
 *
 *   stress --user LOGIN --password PASSWORD [OPTION]... PORT [PORT]...
 *
 *   --seed N        of the choices; printed; default: the time
 *   --seconds N     of work, default 10
 *   --clients N     default 10, at most 23; each a thread
 *   --boxes N       mailboxes, default 3
 *   --box-max N     messages in a mailbox, about; default 150
 *   --round-ms N    of work before everything is compared; default 2000
 *   --announce-ms N a session in IDLE must know everything within this time; default 35000
 *   --print         commands go to standard output too
 *   --serial        one client works at a time, so that the choices of a run follow from its seed
 *
 * Each client remembers what the protocol lets it know and checks each response against it, and
 * against what the others were told (ledger.h); messages name the invariant. After each round all
 * clients stop, some of them in IDLE, and fresh sessions on every node read everything: the nodes
 * must agree, the clients must know just that, each message must be accounted for. Exit status 0:
 * nothing was found; 1: the first thing found, with what was said last on that connection.
 *
 * Threads depend on the system's turn, so that a seed repeats the choices of each client, not their
 * order; --serial repeats both.
 */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/clock.h"
#include "tests/stress/client.h"

struct run {
    struct world world;
    struct client clients[CLIENTS_MAX];
    int clients_n, seconds, round_ms;
    uint64_t seed;
    bool serial;
    struct client auditor;
    struct truth *lists[BOXES_MAX];
    uint32_t n[BOXES_MAX];
    _Atomic int64_t until_ms; /* of this round; 0: no more */
    pthread_barrier_t barrier;
    unsigned rounds;
};

struct worker {
    struct run *run;
    struct client *client;
    pthread_t thread;
};

/* --- the truth ------------------------------------------------------------------------------- */

static void forget_truth(struct run *r)
{
    for (int b = 0; b < BOXES_MAX; b++)
        free(TAKE(r->lists[b]));
}

/* I20: STATUS is a recount. */
static void check_status(struct run *r, struct client *a, int box)
{
    uint32_t unseen = 0;

    for (uint32_t i = 0; i < r->n[box]; i++)
        unseen += !(r->lists[box][i].flags & FLAG_BIT_SEEN);
    client_command(a, 0, "STATUS Stress%d (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)",
                   box);
    if (a->status.messages != r->n[box] || a->status.unseen != unseen)
        ledger_fail(&a->conn, "I20: STATUS says %u messages, %u unseen; there are %u, %u",
                    a->status.messages, a->status.unseen, r->n[box], unseen);
}

/* A change of a message in the mailbox, the last one before all is quiet: who waits in IDLE on
 * another node can know it by a hint, or by looking, only. */
static void poke(struct client *a)
{
    const struct msg *last;

    if (!a->msgs.n)
        return;
    last = &a->msgs.items[a->msgs.n - 1];
    client_command(a, 0, "UID STORE %u %cFLAGS ($s)", last->uid,
                   last->flags & FLAG_BIT_SHARED ? '-' : '+');
}

static void read_box(struct run *r, struct client *a, int box, bool first)
{
    struct truth *list;
    uint32_t n;

    client_select(a, box);
    if (first)
        poke(a);
    list = client_read_all(a, &n);
    if (!first && (n != r->n[box] || memcmp(list, r->lists[box], n * sizeof *list) != 0))
        ledger_fail(&a->conn, "I6: the nodes do not agree about box %d", box);
    free(r->lists[box]);
    r->lists[box] = list;
    r->n[box] = n;
    check_status(r, a, box);
}

static void read_node(struct run *r, int port, bool first)
{
    struct world here = r->world;

    here.ports[0] = port;
    here.ports_n = 1;
    r->auditor.world = &here;
    client_connect(&r->auditor);
    for (int box = 0; box < r->world.boxes; box++)
        read_box(r, &r->auditor, box, first);
    if (first)
        ledger_audit(&r->auditor.conn, r->lists, r->n);
    client_leave(&r->auditor, true);
    r->auditor.world = &r->world;
}

/* By one node, each time another, anew. */
static void find_truth(struct run *r)
{
    read_node(r, r->world.ports[r->rounds % (unsigned)r->world.ports_n], true);
}

/* Not before those in IDLE know all: it wakes their nodes. */
static void ask_other_nodes(struct run *r)
{
    for (int i = 1; i < r->world.ports_n; i++)
        read_node(r, r->world.ports[(r->rounds + (unsigned)i) % (unsigned)r->world.ports_n], false);
}

static void await_told(struct run *r, struct client *c)
{
    client_await_told(c, r->lists[c->box], r->n[c->box]);
}

static void verify(struct run *r, struct client *c)
{
    client_verify(c, r->lists[c->box], r->n[c->box]);
}

/* --- workers --------------------------------------------------------------------------------- */

static void begin(struct client *c)
{
    client_connect(c);
    client_select(c, (int)client_roll(c, (uint64_t)c->world->boxes));
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct run *r = w->run;
    struct client *c = w->client;

    begin(c);
    for (;;) {
        pthread_barrier_wait(&r->barrier); /* a round begins */
        if (r->until_ms == 0)
            break;
        while (clock_mono_ms() < r->until_ms)
            client_act(c);
        if (c->id % 3 == 0)
            client_idle(c);
        pthread_barrier_wait(&r->barrier); /* all is quiet */
        pthread_barrier_wait(&r->barrier); /* the truth is known */
        await_told(r, c);
        pthread_barrier_wait(&r->barrier); /* all in IDLE know it */
        pthread_barrier_wait(&r->barrier); /* the nodes agree */
        verify(r, c);
    }
    client_leave(c, true);
    return NULL;
}

static void run_threads(struct run *r)
{
    struct worker workers[CLIENTS_MAX];
    int64_t end = clock_mono_ms() + (int64_t)r->seconds * 1000;

    pthread_barrier_init(&r->barrier, NULL, (unsigned)r->clients_n + 1);
    for (int i = 0; i < r->clients_n; i++) {
        workers[i] = (struct worker){r, &r->clients[i], 0};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            abort();
    }
    while (clock_mono_ms() < end) {
        r->until_ms = MIN(clock_mono_ms() + r->round_ms, end);
        pthread_barrier_wait(&r->barrier);
        pthread_barrier_wait(&r->barrier);
        find_truth(r);
        pthread_barrier_wait(&r->barrier);
        pthread_barrier_wait(&r->barrier);
        ask_other_nodes(r);
        pthread_barrier_wait(&r->barrier);
        r->rounds++;
    }
    r->until_ms = 0;
    pthread_barrier_wait(&r->barrier);
    for (int i = 0; i < r->clients_n; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_barrier_destroy(&r->barrier);
}

/* Rounds are counted in acts, not in time. */
static void run_serial(struct run *r)
{
    struct client *dice = &r->auditor;
    int64_t end = clock_mono_ms() + (int64_t)r->seconds * 1000;
    int acts = r->clients_n * r->round_ms / 50;

    for (int i = 0; i < r->clients_n; i++)
        begin(&r->clients[i]);
    while (clock_mono_ms() < end) {
        for (int i = 0; i < acts; i++)
            client_act(&r->clients[client_roll(dice, (uint64_t)r->clients_n)]);
        find_truth(r);
        for (int i = 0; i < r->clients_n; i++)
            await_told(r, &r->clients[i]);
        ask_other_nodes(r);
        for (int i = 0; i < r->clients_n; i++)
            verify(r, &r->clients[i]);
        r->rounds++;
    }
    for (int i = 0; i < r->clients_n; i++)
        client_leave(&r->clients[i], true);
}

static void make_boxes(struct run *r)
{
    client_connect(&r->auditor);
    for (int box = 0; box < r->world.boxes; box++)
        client_command(&r->auditor, 0, "CREATE Stress%d", box);
    client_leave(&r->auditor, true);
}

/* --- options --------------------------------------------------------------------------------- */

static int number(const char *text, int min, int max)
{
    char *end;
    long n = strtol(text, &end, 10);

    if (*end || n < min || n > max) {
        fprintf(stderr, "stress: %s is no number from %d to %d\n", text, min, max);
        exit(2);
    }
    return (int)n;
}

static void take_option(struct run *r, int option, const char *value)
{
    switch (option) {
    case 'u':
        r->world.user = value;
        break;
    case 'p':
        r->world.password = value;
        break;
    case 's':
        r->seed = strtoull(value, NULL, 10);
        break;
    case 't':
        r->seconds = number(value, 1, 1000000);
        break;
    case 'c':
        r->clients_n = number(value, 1, CLIENTS_MAX - 1);
        break;
    case 'b':
        r->world.boxes = number(value, 1, BOXES_MAX);
        break;
    case 'm':
        r->world.box_max = (uint32_t)number(value, 1, 100000);
        break;
    case 'r':
        r->round_ms = number(value, 10, 1000000);
        break;
    case 'a':
        r->world.announce_ms = number(value, 1, 1000000);
        break;
    case 'P':
        r->world.print = true;
        break;
    case '1':
        r->serial = r->world.lonely = true;
        break;
    default:
        exit(2);
    }
}

static void take_options(struct run *r, int argc, char **argv)
{
    static const struct option options[] = {{"user", required_argument, NULL, 'u'},
                                            {"password", required_argument, NULL, 'p'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"seconds", required_argument, NULL, 't'},
                                            {"clients", required_argument, NULL, 'c'},
                                            {"boxes", required_argument, NULL, 'b'},
                                            {"box-max", required_argument, NULL, 'm'},
                                            {"round-ms", required_argument, NULL, 'r'},
                                            {"announce-ms", required_argument, NULL, 'a'},
                                            {"serial", no_argument, NULL, '1'},
                                            {"print", no_argument, NULL, 'P'},
                                            {0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        take_option(r, option, optarg);
    for (; optind < argc && r->world.ports_n < (int)ARRAY_LEN(r->world.ports); optind++)
        r->world.ports[r->world.ports_n++] = number(argv[optind], 1, 65535);
    if (!r->world.ports_n || !r->world.user || !r->world.password) {
        fputs("usage: stress --user LOGIN --password PASSWORD [OPTION]... PORT...\n", stderr);
        exit(2);
    }
}

static void report(const struct run *r)
{
    uint64_t commands = 0;

    for (int i = 0; i < r->clients_n; i++)
        commands += r->clients[i].commands;
    printf("stress: seed %" PRIu64 ": %" PRIu64 " commands of %d clients over %d nodes, %" PRIu64
           " messages made, %u times compared; nothing found\n",
           r->seed, commands, r->clients_n, r->world.ports_n, ledger_messages(), r->rounds);
}

int main(int argc, char **argv)
{
    struct run *r = NEW(struct run);

    *r = (struct run){.world = {.boxes = 3, .box_max = 150, .announce_ms = 35000},
                      .clients_n = 10,
                      .seconds = 10,
                      .round_ms = 2000,
                      .seed = (uint64_t)time(NULL)};
    take_options(r, argc, argv);
    printf("stress: seed %" PRIu64 "\n", r->seed);
    fflush(stdout);
    ledger_open(r->world.boxes, r->seed);
    client_init(&r->auditor, &r->world, CLIENTS_MAX - 1, r->seed);
    for (int i = 0; i < r->clients_n; i++)
        client_init(&r->clients[i], &r->world, i, r->seed);
    make_boxes(r);
    r->serial ? run_serial(r) : run_threads(r);
    report(r);
    forget_truth(r);
    for (int i = 0; i < r->clients_n; i++)
        client_done(&r->clients[i]);
    client_done(&r->auditor);
    ledger_close();
    free(r);
    return 0;
}
