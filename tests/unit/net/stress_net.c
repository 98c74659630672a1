/* SPDX-License-Identifier: MPL-2.0 */
/* Races, for TSan: many clients at once talk, wait, shake hands, vanish in the middle, while hints
 * fly, certificates are reloaded, counters are read, and at last a drain begins under them. A plain
 * main(), since Criterion does not run under TSan. Exit status 0 if the rules held.
 *     stress_net [SECONDS] */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "tests/unit/net/line.h"

#define CLIENTS 12

struct stress {
    struct net *net;
    struct line_service line;
    struct tls *tls;
    char addresses[2][NETADDR_TEXT_MAX]; /* plain, TLS */
    int64_t end_ms;
    _Atomic int talks, failures;
};

struct client_thread {
    struct stress *stress;
    unsigned seed;
    pthread_t thread;
};

static bool talk(struct client_end *c, unsigned *seed)
{
    char bytes[3000];
    unsigned n = (unsigned)rand_r(seed) % sizeof bytes;

    memset(bytes, 'y', sizeof bytes);
    snprintf(bytes, 40, "lit %u\r\n", n);
    if (!client_say(c, bytes) || !client_send(c, bytes, n))
        return false;
    if (n > 0 && strncmp(client_line(c), "got", 3) != 0)
        return false;
    if (!client_say(c, "echo a\r\necho b\r\nbig 300000\r\n"))
        return false;
    if (strcmp(client_line(c), "a") != 0 || strcmp(client_line(c), "b") != 0)
        return false;
    for (size_t got = 0; got < 300000;) {
        ssize_t now = client_read(c, bytes, MIN(sizeof bytes, 300000 - got));

        if (now <= 0)
            return false;
        got += (size_t)now;
    }
    return true;
}

/* One connection; `way` says how it ends. False: the server broke its word. */
static bool one_life(struct stress *s, unsigned *seed)
{
    unsigned way = (unsigned)rand_r(seed) % 6;
    struct client_end c;
    struct linger hard = {.l_onoff = 1};
    bool implicit = rand_r(seed) % 3 == 0;
    bool fine = client_open(&c, s->addresses[implicit]) &&
                (!implicit || client_start_tls(&c, NULL, 0)) &&
                strcmp(client_line(&c), "hello") == 0;

    if (fine && way == 0) {
        setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        client_say(&c, "big 9000000\r\n");
    } else if (fine && way == 1 && !implicit) {
        fine = client_say(&c, "starttls\r\n") && strcmp(client_line(&c), "go") == 0 &&
               client_start_tls(&c, NULL, 0) && strcmp(client_line(&c), "secure") == 0 &&
               talk(&c, seed);
    } else if (fine && way == 2) {
        fine = client_say(&c, "hint\r\n") && strcmp(client_line(&c), "waiting") == 0 &&
               strcmp(client_line(&c), "hinted") == 0;
    } else if (fine) {
        fine = talk(&c, seed);
        if (way == 3)
            fine = fine && client_say(&c, "quit\r\n") && strcmp(client_line(&c), "bye") == 0;
        if (way == 4)
            client_say(&c, "echo half");
    }
    client_close(&c);
    return fine;
}

static void *client_main(void *arg)
{
    struct client_thread *t = arg;

    while (clock_mono_ms() < t->stress->end_ms) {
        if (!one_life(t->stress, &t->seed) && clock_mono_ms() < t->stress->end_ms)
            atomic_fetch_add(&t->stress->failures, 1);
        atomic_fetch_add(&t->stress->talks, 1);
    }
    return NULL;
}

static int begin(struct stress *s, const char *folder)
{
    CLEANUP_FREE char *cert = mem_printf("%s/cert", folder), *key = mem_printf("%s/key", folder);
    struct tls_file_pair pair = {cert, key};
    struct net_listener plain = {.address = "127.0.0.1:0"};

    line_service_init(&s->line);
    if (tls_make_self_signed(cert, key, NULL, 0, 9, NULL) < 0 ||
        tls_new(&(struct tls_settings){.pairs = &pair, .pairs_n = 1}, &s->tls, NULL) < 0 ||
        net_new(&(struct net_settings){.loops = 3, .workers = 4}, &s->net, NULL) < 0)
        return -1;
    plain.tls = s->tls;
    if (net_listen(s->net, &plain, &s->line.service, NULL) < 0)
        return -1;
    plain.implicit_tls = true;
    if (net_listen(s->net, &plain, &s->line.service, NULL) < 0)
        return -1;
    for (size_t i = 0; i < 2; i++)
        strcpy(s->addresses[i], net_listener_address(s->net, i));
    return 0;
}

int main(int argc, char **argv)
{
    static struct stress s;
    static struct client_thread clients[CLIENTS];
    char folder[] = "/tmp/eider-stress-XXXXXX";
    int seconds = argc > 1 ? atoi(argv[1]) : 5;
    struct error err;

    log_set_level(LOG_ERROR_);
    if (!mkdtemp(folder) || begin(&s, folder) < 0)
        return 2;
    s.end_ms = clock_mono_ms() + seconds * 1000;
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client_thread){.stress = &s, .seed = i};
        pthread_create(&clients[i].thread, NULL, client_main, &clients[i]);
    }
    while (clock_mono_ms() < s.end_ms) {
        line_wake_all(&s.line);
        net_read_counters(s.net);
        if (tls_reload(s.tls, NULL, &err) < 0)
            s.failures++;
        usleep(20000);
    }
    net_drain(s.net, 500);
    net_wait_idle(s.net, 1000);
    net_free(s.net);
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    tls_free(s.tls);
    CLEANUP_FREE char *command = mem_printf("rm -rf %s", folder);
    if (system(command) != 0)
        s.failures++;
    printf("%d connections, %d failures, %d rules broken, %d sessions left\n", s.talks, s.failures,
           s.line.wrong, s.line.live);
    return s.failures || s.line.wrong || s.line.live || s.talks < CLIENTS;
}
