/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/store/mongod.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <mongoc/mongoc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"

#define START_MS 60000

static int find_program(struct mongod *m, struct error *err)
{
    const char *root = getenv("EIDER_SOURCE_ROOT");
    char command[600];
    size_t n = 0;
    FILE *out;

    snprintf(command, sizeof command, "%s/tools/mongod", root ? root : ".");
    out = popen(command, "r");
    if (out) {
        if (fgets(m->program, sizeof m->program, out))
            n = strcspn(m->program, "\n");
        m->program[n] = 0;
        if (pclose(out) == 0 && n)
            return 0;
    }
    return error_set(err, ERR_NOTFOUND, "%s gave no mongod", command);
}

/* Free now; another process may take it before mongod does, which then fails to start. */
static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 ||
        getsockname(fd, (struct sockaddr *)&a, &size) < 0)
        abort();
    close(fd);
    return ntohs(a.sin_port);
}

static void run_program(const struct mongod *m, int replica_set)
{
    char port[16], log[128];
    int null = open("/dev/null", O_RDWR);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    snprintf(port, sizeof port, "%d", m->port);
    snprintf(log, sizeof log, "%s/log", m->dir);
    execl(m->program, "mongod", "--dbpath", m->dir, "--port", port, "--bind_ip", "127.0.0.1",
          "--nounixsocket", "--wiredTigerCacheSizeGB", "0.5", "--logpath", log, "--logappend",
          "--setParameter", "diagnosticDataCollectionEnabled=false",
          replica_set ? "--replSet" : NULL, "eider", NULL);
    _exit(127);
}

static void launch(struct mongod *m, int replica_set)
{
    m->pid = fork();
    if (m->pid == 0)
        run_program(m, replica_set);
    if (m->pid < 0)
        abort();
}

static bool admin(mongoc_client_t *client, bson_t *command, bson_t *reply)
{
    bson_error_t e;
    bool ok = mongoc_client_command_simple(client, "admin", command, NULL, reply, &e);

    bson_destroy(command);
    return ok;
}

static void initiate(mongoc_client_t *client, const struct mongod *m)
{
    char host[32];
    bson_t reply;

    snprintf(host, sizeof host, "127.0.0.1:%d", m->port);
    admin(client,
          BCON_NEW("replSetInitiate", "{", "_id", "eider", "members", "[", "{", "_id",
                   BCON_INT32(0), "host", host, "}", "]", "}"),
          &reply);
    bson_destroy(&reply);
}

static bool is_primary(mongoc_client_t *client)
{
    bson_t reply;
    bson_iter_t it;
    bool yes = admin(client, BCON_NEW("hello", BCON_INT32(1)), &reply) &&
               bson_iter_init_find(&it, &reply, "isWritablePrimary") && bson_iter_as_bool(&it);

    bson_destroy(&reply);
    return yes;
}

/* Until it takes writes; `fresh`: tell it first that it is a replica set. */
static int await_primary(struct mongod *m, bool fresh, struct error *err)
{
    int64_t deadline = clock_mono_ms() + START_MS;
    char uri[160];
    mongoc_client_t *client;
    bool up = false;

    mongoc_init();
    snprintf(uri, sizeof uri,
             "mongodb://127.0.0.1:%d/?directConnection=true&serverSelectionTryOnce=false"
             "&serverSelectionTimeoutMS=1000&connectTimeoutMS=1000&socketTimeoutMS=5000",
             m->port);
    client = mongoc_client_new(uri);
    while (!(up = is_primary(client)) && clock_mono_ms() < deadline) {
        if (waitpid(m->pid, NULL, WNOHANG) == m->pid) {
            m->pid = 0;
            break;
        }
        if (fresh)
            initiate(client, m);
        usleep(50000);
    }
    mongoc_client_destroy(client);
    return up ? 0
              : error_set(err, ERR_UNAVAILABLE, "%s did not start; see %s/log", m->program, m->dir);
}

static int prepare(struct mongod *m, struct error *err)
{
    int r;

    *m = (struct mongod){0};
    r = find_program(m, err);
    if (r < 0)
        return r;
    snprintf(m->dir, sizeof m->dir, "/tmp/eider-mongod-XXXXXX");
    if (!mkdtemp(m->dir))
        return error_set(err, ERR_UNAVAILABLE, "mkdtemp %s", m->dir);
    m->port = free_port();
    return 0;
}

int mongod_start(struct mongod *m, int replica_set, struct error *err)
{
    int r = prepare(m, err);

    if (r < 0)
        return r;
    snprintf(m->uri, sizeof m->uri, "mongodb://127.0.0.1:%d/eider_test", m->port);
    launch(m, replica_set);
    r = await_primary(m, replica_set, err);
    if (r < 0)
        mongod_stop(m);
    return r;
}

/* --- three ----------------------------------------------------------------------------------- */

static mongoc_client_t *connect_to(const struct mongod *m)
{
    char uri[160];

    snprintf(uri, sizeof uri,
             "mongodb://127.0.0.1:%d/?directConnection=true&serverSelectionTimeoutMS=500"
             "&connectTimeoutMS=500&socketTimeoutMS=10000",
             m->port);
    return mongoc_client_new(uri);
}

int mongod_primary(struct mongod set[static 3])
{
    int found = -1;

    for (int i = 0; i < 3 && found < 0; i++) {
        mongoc_client_t *client;

        if (set[i].pid <= 0 || set[i].frozen)
            continue;
        client = connect_to(&set[i]);
        if (is_primary(client))
            found = i;
        mongoc_client_destroy(client);
    }
    return found;
}

static void initiate_three(struct mongod set[static 3])
{
    mongoc_client_t *client = connect_to(&set[0]);
    char host[3][32];
    bson_t reply;

    for (int i = 0; i < 3; i++)
        snprintf(host[i], sizeof host[i], "127.0.0.1:%d", set[i].port);
    admin(client,
          BCON_NEW("replSetInitiate", "{", "_id", "eider", "members", "[", "{", "_id",
                   BCON_INT32(0), "host", host[0], "}", "{", "_id", BCON_INT32(1), "host", host[1],
                   "}", "{", "_id", BCON_INT32(2), "host", host[2], "}", "]", "settings", "{",
                   "electionTimeoutMillis", BCON_INT32(2000), "}", "}"),
          &reply);
    bson_destroy(&reply);
    mongoc_client_destroy(client);
}

int mongod_start_three(struct mongod set[static 3], struct error *err)
{
    int64_t deadline = clock_mono_ms() + START_MS;
    int r = 0;

    mongoc_init();
    memset(set, 0, 3 * sizeof *set);
    for (int i = 0; i < 3 && r == 0; i++) {
        r = prepare(&set[i], err);
        if (r == 0)
            launch(&set[i], 1);
    }
    while (r == 0 && mongod_primary(set) < 0) {
        initiate_three(set); /* until they are up; later ones are refused */
        usleep(200000);
        if (clock_mono_ms() > deadline)
            r = error_set(err, ERR_UNAVAILABLE, "three mongods did not become a set");
    }
    for (int i = 0; i < 3; i++) {
        snprintf(set[i].uri, sizeof set[i].uri,
                 "mongodb://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/eider_test?replicaSet=eider",
                 set[0].port, set[1].port, set[2].port);
        if (r < 0)
            mongod_stop(&set[i]);
    }
    return r;
}

void mongod_relaunch(struct mongod *m)
{
    launch(m, 1);
}

/* --- harm ------------------------------------------------------------------------------------ */

void mongod_kill(struct mongod *m)
{
    if (m->pid <= 0)
        return;
    kill(m->pid, SIGKILL);
    waitpid(m->pid, NULL, 0);
    m->pid = 0;
}

int mongod_restart(struct mongod *m, struct error *err)
{
    launch(m, 1);
    return await_primary(m, false, err);
}

void mongod_freeze(struct mongod *m)
{
    m->frozen = 1;
    kill(m->pid, SIGSTOP);
}

void mongod_thaw(struct mongod *m)
{
    m->frozen = 0;
    kill(m->pid, SIGCONT);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

void mongod_stop(struct mongod *m)
{
    mongod_kill(m);
    if (m->dir[0])
        nftw(m->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    m->dir[0] = 0;
}
