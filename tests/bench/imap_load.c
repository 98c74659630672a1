/* SPDX-License-Identifier: MPL-2.0 */
/* A load of IMAP commands, for tests/bench: any server, loopback only, plain connections.
 *
 *   imap_load --port N --user U --password P [--clients N] [--seconds S] [--count N]
 *             [--setup COMMAND]... --command COMMAND... [--first N --last N] [--random]
 *             [--append MAILBOX --dir DIR [--batch N]] [--logins]
 *             [--sessions [--users N] [--sometimes 'N COMMAND']...]
 *
 * Each client is one connection that logs in, runs the setup commands, waits for the others, and
 * then gives the commands in turn, one at a time, until the time is over or all have given `count`
 * together. In U, %u is the client's number from 1; in commands %u too, and %n is a number that
 * goes from `first` to `last` and begins again (or is random in between).
 * --append: the command is an APPEND of a message of DIR (LITERAL+), each different; `batch` of
 * them at a time: as one MULTIAPPEND where the server has it, else pipelined.
 * --logins: the command is a connection with LOGIN and LOGOUT.
 * --sessions: a turn is a connection with LOGIN, all the commands, and LOGOUT; %u goes from 1 to
 * `users` and begins again, and each time it does, %n is one further. After the commands come, in
 * every Nth session, those of --sometimes.
 *
 * A response is over when the last line that has come begins with the command's tag, which no
 * message holds. Prints one JSON object: rate, octets/s, latencies.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"

#define FILES_MAX 10000
#define READ_SIZE ((size_t)256 << 10)
#define TAIL_SIZE 2048 /* a tagged line is shorter */

struct seldom {
    uint64_t every;
    const char *command;
};

struct load {
    unsigned port, clients, batch;
    uint64_t first, last, count;
    int64_t seconds_ms;
    const char *user, *password, *append, *dir;
    VEC(const char *) setup, commands;
    VEC(struct slice) files;
    VEC(struct seldom) seldom;
    uint64_t users;
    bool random, logins, sessions;
    pthread_barrier_t barrier;
    _Atomic uint64_t given, failed, octets;
    int64_t begun_us, run;
};

struct client {
    struct load *load;
    uint64_t number;
    int fd;
    uint64_t tag, next, seed;
    bool multiappend;
    uint8_t *in; /* TAIL_SIZE of what came before, then what comes */
    size_t tail;
    struct buf out;
    VEC(int64_t) latencies;
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* --- one connection ------------------------------------------------------------------------------
 */

static void connect_to(struct client *c)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)c->load->port)};
    int on = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->tail = 0;
}

static void send_out(struct client *c)
{
    struct slice s = buf_slice(&c->out);

    while (s.n) {
        ssize_t n = write(c->fd, s.p, s.n);

        if (n <= 0)
            die("write");
        s = slice_skip(s, (size_t)n);
    }
    buf_reset(&c->out, READ_SIZE);
}

/* The last line, if it is whole. */
static struct slice last_line(const uint8_t *p, size_t n)
{
    const uint8_t *start;

    if (n < 2 || p[n - 1] != '\n' || p[n - 2] != '\r')
        return (struct slice){NULL, 0};
    start = memrchr(p, '\n', n - 2);
    start = start ? start + 1 : p;
    return slice_of(start, (size_t)(p + n - start));
}

/* Reads until the last line begins with this; gives that line. */
static struct slice read_until(struct client *c, struct slice begin)
{
    for (;;) {
        uint8_t *from = c->in + TAIL_SIZE;
        ssize_t n = read(c->fd, from, READ_SIZE);
        size_t keep;
        struct slice line;

        if (n <= 0) {
            fprintf(stderr, "connection lost\n");
            exit(1);
        }
        atomic_fetch_add_explicit(&c->load->octets, (uint64_t)n, memory_order_relaxed);
        line = last_line(from - c->tail, c->tail + (size_t)n);
        keep = MIN(c->tail + (size_t)n, (size_t)TAIL_SIZE);
        if (line.n && slice_starts(line, begin)) {
            c->tail = 0;
            return line;
        }
        memmove(c->in + TAIL_SIZE - keep, from + n - keep, keep);
        c->tail = keep;
    }
}

static void start_command(struct client *c)
{
    buf_printf(&c->out, "zQ7x%08llu ", (unsigned long long)++c->tag);
}

static bool finish_command(struct client *c)
{
    char tag[32];
    struct slice line;

    send_out(c);
    snprintf(tag, sizeof tag, "zQ7x%08llu ", (unsigned long long)c->tag);
    line = read_until(c, slice_str(tag));
    if (slice_starts(slice_skip(line, strlen(tag)), S("OK")))
        return true;
    if (atomic_fetch_add(&c->load->failed, 1) < 3)
        fprintf(stderr, "%.*s", SLICE_FMT(line));
    return false;
}

static uint64_t number(struct client *c)
{
    struct load *load = c->load;
    uint64_t span = load->last - load->first + 1;

    if (load->sessions)
        return load->first + c->next % span;
    if (!load->random)
        return load->first + c->next++ % span;
    c->seed = c->seed * 6364136223846793005u + 1442695040888963407u;
    return load->first + (c->seed >> 33) % span;
}

static void expand(struct client *c, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (p[0] == '%' && p[1] == 'u') {
            buf_add_u64(&c->out, c->number);
            p++;
        } else if (p[0] == '%' && p[1] == 'n') {
            buf_add_u64(&c->out, number(c));
            p++;
        } else {
            buf_add_byte(&c->out, (uint8_t)*p);
        }
    }
}

static bool run_command(struct client *c, const char *text)
{
    start_command(c);
    expand(c, text);
    buf_add_str(&c->out, "\r\n");
    return finish_command(c);
}

static void log_in(struct client *c)
{
    connect_to(c);
    read_until(c, S("* OK"));
    start_command(c);
    buf_add_str(&c->out, "LOGIN ");
    expand(c, c->load->user);
    buf_printf(&c->out, " %s\r\n", c->load->password);
    if (!finish_command(c))
        exit(1);
}

/* --- APPEND --------------------------------------------------------------------------------------
 */

static struct slice read_file(const char *dir, const char *name)
{
    CLEANUP_FREE char *path = mem_printf("%s/%s", dir, name);
    struct buf out = buf_make(BUF_MAX_DEFAULT);
    FILE *f = fopen(path, "r");
    uint8_t *to;
    size_t n;

    if (!f)
        die(path);
    do {
        to = buf_reserve(&out, 65536);
        n = to ? fread(to, 1, 65536, f) : 0;
        out.n += n;
    } while (n);
    fclose(f);
    return buf_slice(&out);
}

static void read_dir(struct load *load)
{
    DIR *dir = opendir(load->dir);
    struct dirent *e;

    if (!dir)
        die(load->dir);
    while ((e = readdir(dir)) && load->files.n < FILES_MAX)
        if (e->d_name[0] != '.')
            *VEC_PUSH(&load->files) = read_file(load->dir, e->d_name);
    closedir(dir);
    if (!load->files.n) {
        fprintf(stderr, "%s: no messages\n", load->dir);
        exit(1);
    }
}

static void add_message(struct client *c, uint64_t n)
{
    struct load *load = c->load;
    struct slice body = load->files.items[n % load->files.n];
    char head[64];
    int k = snprintf(head, sizeof head, "X-Bench: %llx.%llu\r\n", (unsigned long long)load->run,
                     (unsigned long long)n);

    buf_printf(&c->out, " {%zu+}\r\n%s", body.n + (size_t)k, head);
    buf_add_slice(&c->out, body);
}

static void run_append(struct client *c, uint64_t first, unsigned batch)
{
    for (unsigned i = 0; i < batch; i++) {
        if (i == 0 || !c->multiappend) {
            start_command(c);
            buf_add_str(&c->out, "APPEND ");
            expand(c, c->load->append);
        }
        add_message(c, first + i);
        if (!c->multiappend)
            buf_add_str(&c->out, "\r\n");
    }
    if (c->multiappend)
        buf_add_str(&c->out, "\r\n");
    finish_command(c);
}

static void look_for_multiappend(struct client *c)
{
    start_command(c);
    buf_add_str(&c->out, "CAPABILITY\r\n");
    send_out(c);
    /* one line, one segment: what was read is still there in front of the tagged line */
    c->tail = 0;
    for (size_t n = 0;;) {
        ssize_t got = read(c->fd, c->in + n, READ_SIZE - n);
        struct slice all;

        if (got <= 0)
            die("read");
        n += (size_t)got;
        all = slice_of(c->in, n);
        if (slice_search(all, S("\r\nzQ7x")) >= 0 && c->in[n - 1] == '\n') {
            c->multiappend = slice_search(all, S("MULTIAPPEND")) >= 0;
            return;
        }
    }
}

/* --- all -----------------------------------------------------------------------------------------
 */

static void run_session(struct client *c, uint64_t turn)
{
    struct load *load = c->load;

    c->number = turn % load->users + 1;
    c->next = turn / load->users;
    log_in(c);
    for (size_t i = 0; i < load->commands.n; i++)
        run_command(c, load->commands.items[i]);
    for (size_t i = 0; i < load->seldom.n; i++)
        if (turn % load->seldom.items[i].every == 0)
            run_command(c, load->seldom.items[i].command);
    run_command(c, "LOGOUT");
    close(c->fd);
}

static void one(struct client *c, uint64_t turn, unsigned batch)
{
    struct load *load = c->load;
    int64_t begun = clock_mono_us();

    if (load->append) {
        run_append(c, turn, batch);
    } else if (load->sessions) {
        run_session(c, turn);
    } else if (load->logins) {
        log_in(c);
        run_command(c, "LOGOUT");
        close(c->fd);
    } else {
        run_command(c, load->commands.items[turn % load->commands.n]);
    }
    *VEC_PUSH(&c->latencies) = clock_mono_us() - begun;
}

static void *run_client(void *arg)
{
    struct client *c = arg;
    struct load *load = c->load;
    int64_t until;

    c->in = mem_alloc(TAIL_SIZE + READ_SIZE);
    c->out = buf_make(BUF_MAX_DEFAULT);
    c->seed = c->number * 7919u;
    if (!load->logins && !load->sessions) {
        log_in(c);
        for (size_t i = 0; i < load->setup.n; i++)
            run_command(c, load->setup.items[i]);
        if (load->append && load->batch > 1)
            look_for_multiappend(c);
    }
    if (pthread_barrier_wait(&load->barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
        atomic_store(&load->octets, 0);
        load->begun_us = clock_mono_us();
    }
    pthread_barrier_wait(&load->barrier);
    until = clock_mono_ms() + load->seconds_ms;
    for (uint64_t own = 0; clock_mono_ms() < until; own++) {
        uint64_t n = atomic_fetch_add(&load->given, load->batch);

        if (n >= load->count)
            break;
        one(c, load->append || load->sessions ? n : own,
            (unsigned)MIN((uint64_t)load->batch, load->count - n));
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void report(struct load *load, struct client *clients, double seconds)
{
    VEC(int64_t) all = {0};
    double n;

    for (unsigned i = 0; i < load->clients; i++)
        for (size_t k = 0; k < clients[i].latencies.n; k++)
            *VEC_PUSH(&all) = clients[i].latencies.items[k];
    if (!all.n)
        *VEC_PUSH(&all) = 0;
    qsort(all.items, all.n, sizeof *all.items, by_value);
    n = (double)(load->batch > 1 ? MIN(atomic_load(&load->given), load->count) : all.n);
    printf("{\"commands\": %.0f, \"failed\": %llu, \"seconds\": %.4f, \"rate\": %.2f, "
           "\"octets\": %llu, \"min_ms\": %.4f, \"p50_ms\": %.4f, \"p99_ms\": %.4f, "
           "\"max_ms\": %.4f}\n",
           n, (unsigned long long)atomic_load(&load->failed), seconds, n / seconds,
           (unsigned long long)atomic_load(&load->octets), (double)all.items[0] / 1e3,
           (double)all.items[all.n / 2] / 1e3, (double)all.items[all.n * 99 / 100] / 1e3,
           (double)all.items[all.n - 1] / 1e3);
    VEC_DONE(&all);
}

static void run(struct load *load)
{
    pthread_t *threads = NEW_ARRAY(pthread_t, load->clients);
    struct client *clients = NEW_ARRAY(struct client, load->clients);

    pthread_barrier_init(&load->barrier, NULL, load->clients);
    for (unsigned i = 0; i < load->clients; i++) {
        clients[i].load = load;
        clients[i].number = i + 1;
        if (pthread_create(&threads[i], NULL, run_client, &clients[i]))
            die("thread");
    }
    for (unsigned i = 0; i < load->clients; i++)
        pthread_join(threads[i], NULL);
    report(load, clients, (double)(clock_mono_us() - load->begun_us) / 1e6);
}

/* "N COMMAND" */
static bool add_seldom(struct load *load, const char *text)
{
    char *command;
    uint64_t every = strtoull(text, &command, 10);

    if (every == 0 || *command != ' ')
        return false;
    *VEC_PUSH(&load->seldom) = (struct seldom){every, command + 1};
    return true;
}

static bool take_option(struct load *load, int c)
{
    switch (c) {
    case 'p':
        load->port = (unsigned)strtoul(optarg, NULL, 10);
        return true;
    case 'u':
        load->user = optarg;
        return true;
    case 'w':
        load->password = optarg;
        return true;
    case 'c':
        load->clients = (unsigned)strtoul(optarg, NULL, 10);
        return true;
    case 't':
        load->seconds_ms = (int64_t)(strtod(optarg, NULL) * 1000);
        return true;
    case 'n':
        load->count = strtoull(optarg, NULL, 10);
        return true;
    case 's':
        *VEC_PUSH(&load->setup) = optarg;
        return true;
    case 'x':
        *VEC_PUSH(&load->commands) = optarg;
        return true;
    case 'f':
        load->first = strtoull(optarg, NULL, 10);
        return true;
    case 'l':
        load->last = strtoull(optarg, NULL, 10);
        return true;
    case 'r':
        load->random = true;
        return true;
    case 'a':
        load->append = optarg;
        return true;
    case 'd':
        load->dir = optarg;
        return true;
    case 'b':
        load->batch = (unsigned)strtoul(optarg, NULL, 10);
        return true;
    case 'L':
        load->logins = true;
        return true;
    case 'S':
        load->sessions = true;
        return true;
    case 'U':
        load->users = strtoull(optarg, NULL, 10);
        return true;
    case 'o':
        return add_seldom(load, optarg);
    default:
        return false;
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},
        {"user", required_argument, NULL, 'u'},
        {"password", required_argument, NULL, 'w'},
        {"clients", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 't'},
        {"count", required_argument, NULL, 'n'},
        {"setup", required_argument, NULL, 's'},
        {"command", required_argument, NULL, 'x'},
        {"first", required_argument, NULL, 'f'},
        {"last", required_argument, NULL, 'l'},
        {"random", no_argument, NULL, 'r'},
        {"append", required_argument, NULL, 'a'},
        {"dir", required_argument, NULL, 'd'},
        {"batch", required_argument, NULL, 'b'},
        {"logins", no_argument, NULL, 'L'},
        {"sessions", no_argument, NULL, 'S'},
        {"users", required_argument, NULL, 'U'},
        {"sometimes", required_argument, NULL, 'o'},
        {0},
    };
    struct load load = {.clients = 1,
                        .batch = 1,
                        .users = 1,
                        .first = 1,
                        .last = UINT32_MAX,
                        .count = UINT64_MAX,
                        .seconds_ms = 300000};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (!take_option(&load, c))
            return 2;
    if (!load.port || !load.user || !load.password || !load.clients || !load.batch || !load.users ||
        load.last < load.first ||
        !(load.append ? load.dir != NULL : load.logins || load.commands.n)) {
        fprintf(stderr, "imap_load: see the top of imap_load.c\n");
        return 2;
    }
    load.run = clock_wall_ms();
    if (load.append)
        read_dir(&load);
    run(&load);
    return atomic_load(&load.failed) > 0;
}
