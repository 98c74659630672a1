/* SPDX-License-Identifier: MPL-2.0 */
/* A load of deliveries by LMTP or of submissions, for tests/bench: any server, loopback only.
 *
 *   lmtp_load --port N --connections N --messages N [--seconds S] --users N --domain D
 *             [--smtp [--sender S] [--password P]] DIR
 *
 * With --smtp it speaks SMTP, and with a password it logs in as the sender first (AUTH PLAIN).
 * Each connection sends one message after the other (MAIL, RCPT, DATA pipelined as far as RFC 2920
 * allows), taken in turn from the files in DIR; each gets a header line that no other one has, so
 * that no server may take two for one. It ends after so many messages, or when the time is over.
 * Prints one JSON object: rate, octets/s, latencies.
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
#include "lib/base/codec.h"
#include "lib/base/mem.h"

#define FILES_MAX    10000
#define TIME_LIMIT_S 300

struct load {
    unsigned port, connections, users;
    unsigned long messages;
    const char *domain, *sender, *password; /* password NULL: not logged in */
    bool smtp;
    VEC(struct slice) files; /* dot-stuffed, CRLF, with the final dot */
    _Atomic unsigned long next, failed;
    _Atomic uint64_t octets;
    int64_t seconds_ms;
    int64_t *latency_us; /* by message number */
    int64_t run;         /* differs from run to run */
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* --- messages ----------------------------------------------------------------------------------
 */

static struct slice stuff(struct slice raw)
{
    struct buf out = buf_make(BUF_MAX_DEFAULT);
    bool line_start = true;

    for (size_t i = 0; i < raw.n; i++) {
        uint8_t c = raw.p[i];

        if (line_start && c == '.')
            buf_add_byte(&out, '.');
        if (c == '\n' && (i == 0 || raw.p[i - 1] != '\r'))
            buf_add_byte(&out, '\r');
        buf_add_byte(&out, c);
        line_start = c == '\n';
    }
    if (!line_start)
        buf_add_str(&out, "\r\n");
    buf_add_str(&out, ".\r\n");
    return buf_slice(&out);
}

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

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void read_dir(struct load *load, const char *path)
{
    VEC(char *) names = {0};
    DIR *dir = opendir(path);
    struct dirent *e;

    if (!dir)
        die(path);
    while ((e = readdir(dir)) && names.n < FILES_MAX)
        if (e->d_name[0] != '.')
            *VEC_PUSH(&names) = mem_strdup(e->d_name);
    closedir(dir);
    if (!names.n) {
        fprintf(stderr, "%s: no messages\n", path);
        exit(1);
    }
    qsort(names.items, names.n, sizeof *names.items, by_name);
    for (size_t i = 0; i < names.n; i++) {
        struct slice raw = read_file(path, names.items[i]);

        *VEC_PUSH(&load->files) = stuff(raw);
        free((void *)raw.p);
        free(names.items[i]);
    }
    VEC_DONE(&names);
}

/* --- one connection ------------------------------------------------------------------------------
 */

struct peer {
    struct load *load;
    int fd;
    struct buf in;
};

static void send_all(struct peer *p, struct slice s)
{
    while (s.n) {
        ssize_t n = write(p->fd, s.p, s.n);

        if (n <= 0)
            die("write");
        s = slice_skip(s, (size_t)n);
    }
}

/* Reads one reply (all its lines); its code. */
static unsigned reply(struct peer *p)
{
    for (;;) {
        ssize_t end = slice_search(buf_slice(&p->in), S("\r\n"));
        uint8_t *to;
        ssize_t n;

        if (end >= 4) {
            bool last = p->in.p[3] != '-';
            unsigned code = (unsigned)atoi(buf_cstr(&p->in));

            if (last && code >= 400)
                fprintf(stderr, "%.*s\n", (int)end, p->in.p);
            buf_consume(&p->in, (size_t)end + 2);
            if (last)
                return code;
            continue;
        }
        to = buf_reserve(&p->in, 4096);
        n = to ? read(p->fd, to, 4096) : -1;
        if (n <= 0)
            die("connection lost");
        p->in.n += (size_t)n;
    }
}

static void log_in(struct peer *p)
{
    CLEANUP(buf_done) struct buf plain = buf_make(1024), out = buf_make(4096);

    buf_add_byte(&plain, 0);
    buf_add_str(&plain, p->load->sender);
    buf_add_byte(&plain, 0);
    buf_add_str(&plain, p->load->password);
    buf_add_str(&out, "AUTH PLAIN ");
    base64_encode(&out, buf_slice(&plain));
    buf_add_str(&out, "\r\n");
    send_all(p, buf_slice(&out));
    if (reply(p) != 235)
        exit(1);
}

static void open_peer(struct peer *p)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)p->load->port)};
    int on = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    p->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    p->in = buf_make(1 << 20);
    reply(p);
    send_all(p, p->load->smtp ? S("EHLO bench.example\r\n") : S("LHLO bench.example\r\n"));
    reply(p);
    if (p->load->password)
        log_in(p);
}

/* Other attachments for each message: 12 digits near the start of a base64 part and every 500 kB.
 */
static void make_unique(struct buf *out, unsigned long number, int64_t run)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
    ssize_t at = slice_search(buf_slice(out), S("base64\r\n\r\n"));
    uint64_t x = (uint64_t)run * 1000003u + number;

    if (at < 0)
        return;
    for (size_t i = (size_t)at + 10; i + 78 * 20 < out->n; i += 78 * 6400)
        for (int k = 0; k < 12; k++)
            out->p[i + (size_t)k] = (uint8_t)digits[x >> (5 * k) & 31];
}

static void deliver(struct peer *p, unsigned long number)
{
    struct load *load = p->load;
    struct slice body = load->files.items[number % load->files.n];
    CLEANUP(buf_done) struct buf out = buf_make(BUF_MAX_DEFAULT);
    int64_t begun = clock_mono_us();

    buf_printf(&out, "MAIL FROM:<%s>\r\nRCPT TO:<user%lu@%s>\r\nDATA\r\n", load->sender,
               number % load->users + 1, load->domain);
    send_all(p, buf_slice(&out));
    if (reply(p) != 250 || reply(p) != 250 || reply(p) != 354) {
        fprintf(stderr, "not taken\n");
        exit(1);
    }
    buf_reset(&out, 4096);
    buf_printf(&out, "X-Bench: %lld.%lu\r\n", (long long)load->run, number);
    /* one write, as an MTA with a buffer does it */
    buf_add_slice(&out, body);
    make_unique(&out, number, load->run);
    send_all(p, buf_slice(&out));
    if (reply(p) != 250)
        atomic_fetch_add(&load->failed, 1);
    load->latency_us[number] = clock_mono_us() - begun;
    atomic_fetch_add(&load->octets, out.n);
}

static void *run_peer(void *arg)
{
    struct peer p = {.load = arg, .fd = -1};
    int64_t until = clock_mono_ms() + p.load->seconds_ms;

    open_peer(&p);
    while (clock_mono_ms() < until) {
        unsigned long number = atomic_fetch_add(&p.load->next, 1);

        if (number >= p.load->messages)
            break;
        deliver(&p, number);
    }
    send_all(&p, S("QUIT\r\n"));
    close(p.fd);
    buf_done(&p.in);
    return NULL;
}

/* --- all
 * ------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void run(struct load *load)
{
    pthread_t *threads = NEW_ARRAY(pthread_t, load->connections);
    int64_t begun = clock_mono_us();
    double seconds;
    unsigned long n;

    for (unsigned i = 0; i < load->connections; i++)
        if (pthread_create(&threads[i], NULL, run_peer, load))
            die("thread");
    for (unsigned i = 0; i < load->connections; i++)
        pthread_join(threads[i], NULL);
    seconds = (double)(clock_mono_us() - begun) / 1e6;
    n = MIN(atomic_load(&load->next), load->messages);
    qsort(load->latency_us, n, sizeof *load->latency_us, by_value);
    printf(
        "{\"messages\": %lu, \"failed\": %lu, \"seconds\": %.3f, \"rate\": %.1f, "
        "\"megabytes_per_second\": %.2f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f}\n",
        n, atomic_load(&load->failed), seconds, (double)n / seconds,
        (double)atomic_load(&load->octets) / seconds / 1e6, (double)load->latency_us[n / 2] / 1e3,
        (double)load->latency_us[n * 99 / 100] / 1e3, (double)load->latency_us[n - 1] / 1e3);
    free(threads);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},     {"connections", required_argument, NULL, 'c'},
        {"messages", required_argument, NULL, 'm'}, {"users", required_argument, NULL, 'u'},
        {"domain", required_argument, NULL, 'd'},   {"sender", required_argument, NULL, 's'},
        {"password", required_argument, NULL, 'w'}, {"smtp", no_argument, NULL, 'S'},
        {"seconds", required_argument, NULL, 't'},  {0},
    };
    struct load load = {.connections = 1,
                        .messages = 1000,
                        .users = 1,
                        .domain = "bench.example",
                        .sender = "sender@bench.example",
                        .seconds_ms = TIME_LIMIT_S * 1000};
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'p':
            load.port = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            load.connections = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'm':
            load.messages = strtoul(optarg, NULL, 10);
            break;
        case 'u':
            load.users = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            load.domain = optarg;
            break;
        case 's':
            load.sender = optarg;
            break;
        case 'w':
            load.password = optarg;
            break;
        case 'S':
            load.smtp = true;
            break;
        case 't':
            load.seconds_ms = (int64_t)(strtod(optarg, NULL) * 1000);
            break;
        default:
            return 2;
        }
    }
    if (optind + 1 != argc || !load.port || !load.connections || !load.messages || !load.users) {
        fprintf(stderr, "usage: lmtp_load --port N [--connections N] [--messages N] "
                        "[--seconds S] [--users N] [--domain D] "
                        "[--smtp [--sender S] [--password P]] DIR\n");
        return 2;
    }
    load.run = clock_wall_ms();
    load.latency_us = NEW_ARRAY(int64_t, load.messages);
    read_dir(&load, argv[optind]);
    run(&load);
    return atomic_load(&load.failed) > 0;
}
