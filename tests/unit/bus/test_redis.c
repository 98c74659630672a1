/* SPDX-License-Identifier: MPL-2.0 */
/* Against a real redis-server, started here on a free port. */
#include "lib/base/mem.h"
#include "tests/unit/bus/ear.h"
#include "tests/unit/bus/redis_server.h"

static struct bus *open_bus(const char *uri)
{
    struct bus *bus = NULL;
    struct error err;

    cr_assert_eq(bus_open(uri, NULL, &bus, &err), 0, "%s", err.text);
    return bus;
}

static bool await_connected(struct bus *bus, bool connected, int ms)
{
    int64_t end = clock_mono_ms() + ms;

    while (bus_read_counters(bus).connected != connected && clock_mono_ms() < end)
        usleep(2000);
    return bus_read_counters(bus).connected == connected;
}

/* Two nodes: one publishes, the other one hears. */
static void talk(const struct server *s)
{
    struct bus *here = open_bus(s->uri), *there = open_bus(s->uri);
    struct ear a, b;

    ear_open(&a, there, 0x8000000000000001);
    ear_open(&b, there, 2);
    cr_assert(await_connected(here, true, 30000));
    cr_assert(await_connected(there, true, 30000));
    cr_assert_geq(atomic_load(&a.gaps), 1, "a new subscription makes everybody look again");
    bus_publish(here, 0x8000000000000001, 77);
    cr_assert(ear_await(&a.seq, 77, 20000), "I14");
    cr_assert_eq(atomic_load(&b.hints), 0);
    for (uint64_t seq = 1; seq <= 200000; seq++)
        bus_publish(here, 2, seq);
    cr_assert(ear_await(&b.seq, 200000, 30000));
    ear_close(&a);
    ear_close(&b);
    bus_close(here);
    bus_close(there);
}

Test(redis, I14_a_hint_reaches_other_nodes)
{
    struct server s;

    start(&s, false);
    talk(&s);
    finish(&s);
}

Test(redis, over_tls)
{
    struct server s;

    start(&s, true);
    talk(&s);
    finish(&s);
}

Test(redis, tls_with_an_unknown_authority_is_refused)
{
    struct server s;
    struct bus *bus;
    char uri[128];

    start(&s, true);
    snprintf(uri, sizeof uri, "rediss://:p%%40ss@127.0.0.1:%d", s.port);
    bus = open_bus(uri);
    cr_assert_not(await_connected(bus, true, 1500));
    bus_close(bus);
    finish(&s);
}

Test(redis, a_wrong_password_is_no_connection)
{
    struct server s;
    struct bus *bus;
    char uri[128];

    start(&s, false);
    snprintf(uri, sizeof uri, "redis://:wrong@127.0.0.1:%d", s.port);
    bus = open_bus(uri);
    usleep(1000000);
    cr_assert_not(bus_read_counters(bus).connected && bus_read_counters(bus).gaps);
    cr_assert_eq(bus_read_counters(bus).gaps, 0);
    bus_close(bus);
    finish(&s);
}

Test(redis, channels_do_not_hear_each_other)
{
    struct server s;
    char uri[300];
    struct bus *one, *two;
    struct ear a, b;

    start(&s, false);
    snprintf(uri, sizeof uri, "%s?prefix=other%%20one", s.uri);
    one = open_bus(s.uri);
    two = open_bus(uri);
    ear_open(&a, one, 1);
    ear_open(&b, two, 1);
    cr_assert(await_connected(one, true, 5000) && await_connected(two, true, 30000));
    bus_publish(one, 1, 5);
    cr_assert(ear_await(&a.seq, 5, 1000), "one's own channel");
    usleep(100000);
    cr_assert_eq(atomic_load(&b.hints), 0);
    ear_close(&a);
    ear_close(&b);
    bus_close(one);
    bus_close(two);
    finish(&s);
}

Test(redis, I28_after_a_dead_server_everybody_looks_again)
{
    struct server s;
    struct bus *bus;
    struct ear a;
    uint64_t gaps;

    start(&s, false);
    bus = open_bus(s.uri);
    ear_open(&a, bus, 1);
    cr_assert(await_connected(bus, true, 30000));
    gaps = atomic_load(&a.gaps);
    stop(&s);
    cr_assert(await_connected(bus, false, 30000));
    start_again(&s);
    cr_assert(ear_await(&a.gaps, gaps + 1, 8000), "a gap is told");
    cr_assert(await_connected(bus, true, 30000));
    bus_publish(bus, 1, 43);
    cr_assert(ear_await(&a.seq, 43, 30000));
    ear_close(&a);
    bus_close(bus);
    finish(&s);
}

/* No FIN, no reset: silence is noticed. */
Test(redis, a_frozen_server_is_noticed_and_found_again)
{
    struct server s;
    struct bus *bus;
    struct ear a;
    uint64_t gaps;

    start(&s, false);
    bus = open_bus(s.uri);
    ear_open(&a, bus, 1);
    cr_assert(await_connected(bus, true, 30000));
    gaps = atomic_load(&a.gaps);
    kill(s.pid, SIGSTOP);
    cr_assert(await_connected(bus, false, 30000));
    usleep(5000000); /* one link has noticed; the other one does within three seconds of silence */
    kill(s.pid, SIGCONT);
    cr_assert(await_connected(bus, true, 30000));
    cr_assert(ear_await(&a.gaps, gaps + 1, 30000));
    bus_publish(bus, 1, 9);
    cr_assert(ear_await(&a.seq, 9, 30000));
    ear_close(&a);
    bus_close(bus);
    finish(&s);
}

Test(redis, an_idle_connection_stays)
{
    struct server s;
    struct bus *bus;

    start(&s, false);
    bus = open_bus(s.uri);
    cr_assert(await_connected(bus, true, 30000));
    usleep(4500000);
    cr_assert(bus_read_counters(bus).connected);
    cr_assert_eq(bus_read_counters(bus).gaps, 1);
    bus_close(bus);
    finish(&s);
}

/* What a careful administrator gives to Eider: its channel, and no keys at all. */
Test(redis, a_user_with_few_rights_will_do)
{
    struct server s;
    struct bus *bus;
    struct ear a;
    char uri[128], command[256];

    start(&s, false);
    bus = open_bus(s.uri);
    cr_assert(await_connected(bus, true, 30000));
    bus_close(bus);
    snprintf(
        command, sizeof command,
        "redis-cli -p %d -a p@ss --no-auth-warning ACL SETUSER eider on '>ge:im' resetchannels "
        "'&mail:hints' +subscribe +publish +ping >/dev/null",
        s.port);
    cr_assert_eq(system(command), 0);
    snprintf(uri, sizeof uri, "redis://eider:ge%%3aim@127.0.0.1:%d?prefix=mail", s.port);
    bus = open_bus(uri);
    ear_open(&a, bus, 1);
    cr_assert(await_connected(bus, true, 30000));
    bus_publish(bus, 1, 5);
    cr_assert(ear_await(&a.seq, 5, 5000));
    ear_close(&a);
    bus_close(bus);
    finish(&s);
}

/* --- Sentinels ------------------------------------------------------------------------------- */

struct sentinels {
    struct server servers[2]; /* a master, its replica */
    pid_t pid[3];
    int port[3];
    char dir[64], uri[256];
};

static pid_t spawn(const char *const *words)
{
    pid_t pid = fork();

    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null, 0);
        dup2(null, 1);
        execvp(words[0], (char *const *)words);
        _exit(127);
    }
    cr_assert_gt(pid, 0);
    return pid;
}

static void start_replica(struct sentinels *s, int i)
{
    char port[16], master[16];
    const char *words[] = {"redis-server",
                           "--port",
                           port,
                           "--bind",
                           "127.0.0.1",
                           "--save",
                           "",
                           "--dir",
                           s->dir,
                           "--requirepass",
                           "p@ss",
                           "--masterauth",
                           "p@ss",
                           i ? "--replicaof" : NULL,
                           "127.0.0.1",
                           master,
                           NULL};

    snprintf(port, sizeof port, "%d", s->servers[i].port);
    snprintf(master, sizeof master, "%d", s->servers[0].port);
    s->servers[i].pid = spawn(words);
}

static void start_sentinel(struct sentinels *s, int i)
{
    char file[128];
    FILE *f;
    const char *words[] = {"redis-server", file, "--sentinel", NULL};

    snprintf(file, sizeof file, "%s/sentinel%d.conf", s->dir, i);
    f = fopen(file, "w");
    cr_assert_not_null(f);
    fprintf(f,
            "port %d\nbind 127.0.0.1\nrequirepass geheim\ndir %s\n"
            "sentinel sentinel-pass geheim\n"
            "sentinel monitor mail 127.0.0.1 %d 2\nsentinel auth-pass mail p@ss\n"
            "sentinel down-after-milliseconds mail 1000\nsentinel failover-timeout mail 5000\n",
            s->port[i], s->dir, s->servers[0].port);
    fclose(f);
    s->pid[i] = spawn(words);
}

static void start_sentinels(struct sentinels *s)
{
    *s = (struct sentinels){0};
    log_set_level(LOG_ERROR_);
    snprintf(s->dir, sizeof s->dir, "/tmp/eider-redis-XXXXXX");
    cr_assert_not_null(mkdtemp(s->dir));
    for (int i = 0; i < 2; i++)
        s->servers[i].port = free_port();
    for (int i = 0; i < 2; i++)
        start_replica(s, i);
    for (int i = 0; i < 3; i++)
        s->port[i] = free_port();
    for (int i = 0; i < 3; i++)
        start_sentinel(s, i);
    snprintf(s->uri, sizeof s->uri,
             "redis://:p%%40ss@127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d"
             "?sentinel=mail&sentinel_password=geheim",
             s->port[0], s->port[1], s->port[2]);
}

static void finish_sentinels(struct sentinels *s)
{
    char command[128];

    for (int i = 0; i < 3; i++) {
        kill(s->pid[i], SIGKILL);
        waitpid(s->pid[i], NULL, 0);
    }
    for (int i = 0; i < 2; i++)
        if (s->servers[i].pid)
            stop(&s->servers[i]);
    snprintf(command, sizeof command, "rm -r %s", s->dir);
    cr_assert_eq(system(command), 0);
}

/* Sentinels must have found each other and the replica before a failover can be. */
static bool sentinels_are_ready(const struct sentinels *s)
{
    char command[256];

    snprintf(command, sizeof command,
             "redis-cli -p %d -a geheim --no-auth-warning info sentinel 2>/dev/null"
             " | grep -q 'status=ok.*slaves=1,sentinels=3'",
             s->port[0]);
    return system(command) == 0;
}

Test(redis, I28_sentinels_name_the_server_and_its_successor, .timeout = 110)
{
    struct sentinels s;
    struct bus *here, *there;
    struct ear a;
    uint64_t gaps;
    int64_t end = clock_mono_ms() + 30000;

    start_sentinels(&s);
    while (!sentinels_are_ready(&s) && clock_mono_ms() < end)
        usleep(100000);
    here = open_bus(s.uri);
    there = open_bus(s.uri);
    ear_open(&a, there, 1);
    cr_assert(await_connected(here, true, 30000));
    cr_assert(await_connected(there, true, 30000));
    bus_publish(here, 1, 5);
    cr_assert(ear_await(&a.seq, 5, 5000));
    gaps = atomic_load(&a.gaps);
    stop(&s.servers[0]);
    s.servers[0].pid = 0;
    cr_assert(await_connected(there, false, 10000));
    cr_assert(await_connected(here, true, 40000), "the successor is found");
    cr_assert(await_connected(there, true, 40000));
    cr_assert_gt(atomic_load(&a.gaps), gaps, "a gap is told");
    bus_publish(here, 1, 9);
    cr_assert(ear_await(&a.seq, 9, 5000));
    cr_assert_gt(bus_read_counters(there).lost, 0);
    ear_close(&a);
    bus_close(here);
    bus_close(there);
    finish_sentinels(&s);
}

/* A server that is a replica says so; a Sentinel that does not know the name is no help. */
Test(redis, only_a_master_will_do)
{
    struct sentinels s;
    struct bus *bus;
    char uri[256];

    start_sentinels(&s);
    snprintf(uri, sizeof uri,
             "redis://:p%%40ss@127.0.0.1:%d?sentinel=other&sentinel_password=geheim", s.port[0]);
    bus = open_bus(uri);
    cr_assert_not(await_connected(bus, true, 1500));
    bus_close(bus);
    finish_sentinels(&s);
}
