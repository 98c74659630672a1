/* SPDX-License-Identifier: MPL-2.0 */
/* A redis-server for one test, on a free port, with a password. */
#pragma once

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/log.h"

struct server {
    pid_t pid;
    int port;
    bool tls;
    char dir[64], uri[256];
};

static inline int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static inline void run_server(const struct server *s)
{
    int null = open("/dev/null", O_RDWR);
    char port[16];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, 0);
    dup2(null, 1);
    snprintf(port, sizeof port, "%d", s->port);
    if (s->tls)
        execlp("redis-server", "redis-server", "--port", "0", "--tls-port", port, "--bind",
               "127.0.0.1", "--save", "", "--dir", s->dir, "--requirepass", "p@ss",
               "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-auth-clients",
               "no", NULL);
    else
        execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "",
               "--dir", s->dir, "--requirepass", "p@ss", NULL);
    _exit(127);
}

static inline void start_again(struct server *s)
{
    s->pid = fork();
    if (s->pid == 0)
        run_server(s);
    cr_assert_gt(s->pid, 0);
}

static inline void make_certificate(const char *dir)
{
    char command[400];

    snprintf(command, sizeof command,
             "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem "
             "-days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 2>/dev/null",
             dir);
    cr_assert_eq(system(command), 0);
}

static inline void start(struct server *s, bool tls)
{
    *s = (struct server){.tls = tls, .port = free_port()};
    log_set_level(LOG_ERROR_);
    cr_assert_eq(system("command -v redis-server >/dev/null"), 0, "tools/packages test has it");
    snprintf(s->dir, sizeof s->dir, "/tmp/eider-redis-XXXXXX");
    cr_assert_not_null(mkdtemp(s->dir));
    if (tls)
        make_certificate(s->dir);
    snprintf(s->uri, sizeof s->uri,
             tls ? "rediss://:p%%40ss@127.0.0.1:%d?cafile=%s/cert.pem"
                 : "redis://:p%%40ss@127.0.0.1:%d",
             s->port, s->dir);
    start_again(s);
}

static inline void stop(struct server *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
}

static inline void finish(struct server *s)
{
    char command[128];

    stop(s);
    snprintf(command, sizeof command, "rm -r %s", s->dir);
    cr_assert_eq(system(command), 0);
}
