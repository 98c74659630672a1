/* SPDX-License-Identifier: MPL-2.0 */
/* Sends messages through the transport, without a queue, and says what became of them.
 *
 *     smtpout [NAME=VALUE...] <jobs
 *
 * Settings by NAME: hostname, port, sts_port, servers, anchor, ca, family (0-3), concurrency,
 * messages, idle, timeout, connect, dns_timeout (ms), local (a network), nodane, nosts,
 * route=DOMAIN,HOST,PORT,TLS(0-3),VERIFY(0-1),USER,PASSWORD (several may be given).
 * A job is a line: SENDER DESTINATION RECIPIENT[,RECIPIENT...] FILE [8bit|binary|utf8|requiretls|
 * tlsoptional|envid=X|notify=N|priority=N|head=TEXT]...; "-" is the empty sender; "wait" waits
 * until all that went before is answered, "sleep MS" sleeps; "room DESTINATION" asks for room.
 * For each recipient a line comes: JOB RECIPIENT RESULT CODE STATUS REMOTE TEXT. At the end the
 * counters. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/net/net.h"
#include "lib/queue/transport.h"

#define FILE_MAX   ((size_t)64 << 20)
#define ROUTES_MAX 8
#define PARTS_MAX  16
#define RCPTS_MAX  2000

struct sending {
    struct transport_job job;
    struct queue_envelope envelope;
    struct queue_recipient recipients[RCPTS_MAX];
    struct transport_recipient results[RCPTS_MAX];
    struct buf body;
    char *line;
    int number;
};

static struct transport_settings settings = {.hostname = "eider.test", .servers = "recursive"};
static struct transport_route routes[ROUTES_MAX];
static struct network local;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answered = PTHREAD_COND_INITIALIZER;
static int open_jobs;

static int split(char *text, const char *at, char **ret, int max)
{
    int n = 0;

    for (char *save, *p = strtok_r(text, at, &save); p && n < max; p = strtok_r(NULL, at, &save))
        ret[n++] = p;
    return n;
}

static void add_route(char *text)
{
    struct transport_route *r = &routes[settings.routes_n++];
    const char *parts[7] = {"", "", "0", "0", "0", "", ""};

    split(text, ",", (char **)parts, 7);
    *r = (struct transport_route){.domain = parts[0],
                                  .host = parts[1],
                                  .port = (uint16_t)atoi(parts[2]),
                                  .tls = (enum transport_tls)atoi(parts[3]),
                                  .verify = atoi(parts[4]),
                                  .user = parts[5],
                                  .password = parts[6]};
    settings.routes = routes;
}

static void set_one(char *text)
{
    char *value = strchr(text, '=');
    struct error err;
    bool any = true;

    *value++ = '\0';
    if (strcmp(text, "route") == 0)
        add_route(value);
    else if (strcmp(text, "hostname") == 0)
        settings.hostname = value;
    else if (strcmp(text, "servers") == 0)
        settings.servers = value;
    else if (strcmp(text, "anchor") == 0)
        settings.trust_anchor = value;
    else if (strcmp(text, "ca") == 0)
        settings.ca_file = value;
    else if (strcmp(text, "port") == 0)
        settings.port = (uint16_t)atoi(value);
    else if (strcmp(text, "sts_port") == 0)
        settings.sts_port = (uint16_t)atoi(value);
    else if (strcmp(text, "family") == 0)
        settings.family = (enum transport_family)atoi(value);
    else if (strcmp(text, "concurrency") == 0)
        settings.concurrency = (unsigned)atoi(value);
    else if (strcmp(text, "messages") == 0)
        settings.messages_max = (unsigned)atoi(value);
    else if (strcmp(text, "idle") == 0)
        settings.idle_ms = atoi(value);
    else if (strcmp(text, "timeout") == 0)
        settings.timeout_ms = atoi(value);
    else if (strcmp(text, "connect") == 0)
        settings.connect_ms = atoi(value);
    else if (strcmp(text, "dns_timeout") == 0)
        settings.dns_timeout_ms = atoi(value);
    else if (strcmp(text, "nodane") == 0)
        settings.no_dane = true;
    else if (strcmp(text, "nosts") == 0)
        settings.no_sts = true;
    else if (strcmp(text, "local") == 0 && network_parse(value, &local, &err) == 0)
        settings.local_networks = &local, settings.local_networks_n = 1;
    else
        any = false;
    if (!any) {
        fprintf(stderr, "smtpout: %s?\n", text);
        exit(64);
    }
}

/* ---- jobs ---- */

static int read_body(struct transport_job *job, uint64_t offset, size_t n, struct buf *out,
                     struct error *err)
{
    struct sending *s = job->context;

    buf_add_slice(out, slice_sub(buf_slice(&s->body), offset, offset + n));
    return 0;
}

static void on_done(struct transport_job *job)
{
    static const char *const results[] = {"delivered", "later", "failed"};
    struct sending *s = job->context;

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < job->n; i++) {
        const struct transport_recipient *r = &job->recipients[i];

        printf("%d %s %s %u %s %s %s\n", s->number, r->to->address, results[r->result], r->code,
               r->status, r->remote[0] ? r->remote : "-", r->text);
    }
    fflush(stdout);
    open_jobs--;
    pthread_cond_signal(&answered);
    pthread_mutex_unlock(&lock);
    arena_done(&job->arena);
    buf_done(&s->body);
    free(s->line);
    free(s);
}

static void read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    size_t got;

    if (!f) {
        perror(path);
        exit(66);
    }
    do {
        uint8_t *to = buf_reserve(out, 65536);

        got = to ? fread(to, 1, 65536, f) : 0;
        out->n += got;
    } while (got > 0);
    fclose(f);
}

static void set_flag(struct sending *s, char *flag)
{
    struct queue_envelope *e = &s->envelope;

    if (strcmp(flag, "8bit") == 0)
        e->body = QUEUE_8BITMIME;
    else if (strcmp(flag, "binary") == 0)
        e->body = QUEUE_BINARYMIME;
    else if (strcmp(flag, "utf8") == 0)
        e->utf8 = true;
    else if (strcmp(flag, "requiretls") == 0)
        e->require_tls = true;
    else if (strcmp(flag, "tlsoptional") == 0)
        e->tls_optional = true;
    else if (strncmp(flag, "envid=", 6) == 0)
        e->envid = flag + 6;
    else if (strncmp(flag, "notify=", 7) == 0)
        s->recipients[0].notify = (unsigned)atoi(flag + 7);
    else if (strncmp(flag, "priority=", 9) == 0)
        e->priority = atoi(flag + 9);
    else if (strncmp(flag, "head=", 5) == 0)
        s->job.head = slice_str(arena_printf(&s->job.arena, "%s\r\n", flag + 5));
}

static void send_line(struct transport *t, const char *line, int number)
{
    struct sending *s = NEW(struct sending);
    char *parts[PARTS_MAX] = {0}, *rcpts[RCPTS_MAX];

    s->line = mem_strdup(line);
    s->number = number;
    int n = split(s->line, " \n", parts, PARTS_MAX);
    if (n < 4) {
        fprintf(stderr, "smtpout: %s?\n", line);
        exit(65);
    }
    s->body = buf_make(FILE_MAX);
    read_file(parts[3], &s->body);
    s->envelope = (struct queue_envelope){
        .sender = strcmp(parts[0], "-") ? parts[0] : "", .envid = "", .recipients = s->recipients};
    s->job = (struct transport_job){.envelope = &s->envelope,
                                    .destination = parts[1],
                                    .size = s->body.n,
                                    .read = read_body,
                                    .recipients = s->results,
                                    .done = on_done,
                                    .context = s};
    s->job.n = (size_t)split(parts[2], ",", rcpts, RCPTS_MAX);
    for (size_t i = 0; i < s->job.n; i++) {
        s->recipients[i] = (struct queue_recipient){.address = rcpts[i], .orcpt = ""};
        s->results[i].to = &s->recipients[i];
    }
    for (int i = 4; i < n; i++)
        set_flag(s, parts[i]);
    pthread_mutex_lock(&lock);
    open_jobs++;
    pthread_mutex_unlock(&lock);
    transport_send(t, &s->job);
}

static void wait_all(void)
{
    pthread_mutex_lock(&lock);
    while (open_jobs > 0)
        pthread_cond_wait(&answered, &lock);
    pthread_mutex_unlock(&lock);
}

static void say_room(struct transport *t, char *destination)
{
    int64_t wait = 0;

    destination[strcspn(destination, "\n")] = '\0';
    unsigned room = transport_room(t, destination, &wait);
    printf("room %s %u %lld\n", destination, room, (long long)wait);
    fflush(stdout);
}

static void run_lines(struct transport *t)
{
    char *line = NULL;
    size_t cap = 0;

    for (int number = 1; getline(&line, &cap, stdin) > 0; number++) {
        if (strncmp(line, "wait", 4) == 0)
            wait_all();
        else if (strncmp(line, "sleep ", 6) == 0)
            usleep((unsigned)atoi(line + 6) * 1000u);
        else if (strncmp(line, "room ", 5) == 0)
            say_room(t, line + 5);
        else
            send_line(t, line, number);
    }
    free(line);
    wait_all();
}

static void say_counters(const struct transport_counters *c)
{
    printf("counters delivered=%llu later=%llu failed=%llu connected=%llu unreachable=%llu "
           "reused=%llu plain=%llu tls=%llu ca=%llu dane=%llu refused=%llu\n",
           (unsigned long long)c->delivered, (unsigned long long)c->later,
           (unsigned long long)c->failed, (unsigned long long)c->connected,
           (unsigned long long)c->unreachable, (unsigned long long)c->reused,
           (unsigned long long)c->plain, (unsigned long long)c->tls, (unsigned long long)c->tls_ca,
           (unsigned long long)c->tls_dane, (unsigned long long)c->policy_refused);
}

int main(int argc, char **argv)
{
    struct net_settings net_settings = {.loops = 1, .workers = 4, .handshake_ms = 3000};
    struct transport *t;
    struct net *net;
    struct error err = {0};

    for (int i = 1; i < argc; i++)
        if (strchr(argv[i], '='))
            set_one(argv[i]);
    if (net_new(&net_settings, &net, &err) < 0 || transport_new(&settings, net, &t, &err) < 0) {
        fprintf(stderr, "smtpout: %s\n", err.text);
        return 70;
    }
    run_lines(t);
    struct transport_counters counters = transport_read_counters(t);
    transport_stop(t);
    net_drain(net, 0);
    net_wait_idle(net, 2000);
    net_free(net);
    transport_free(t);
    say_counters(&counters);
    return 0;
}
