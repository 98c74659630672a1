/* SPDX-License-Identifier: MPL-2.0 */
/* with_mongod PROGRAM [ARGUMENT]...: starts a mongod (mongod.h), runs the program with its URI in
 * place of each argument "{}", and ends both. Exit status: the program's; 77 (to meson: skipped)
 * if there is no mongod to be had. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/store/mongod.h"

static volatile sig_atomic_t child;

/* A test that takes too long is told to end; the server and its data must go all the same. */
static void pass_on(int signal)
{
    if (child)
        kill((pid_t)child, signal);
}

int main(int argc, char **argv)
{
    struct mongod m;
    struct error err;
    int status = 0, r;
    pid_t pid;

    if (argc < 2) {
        fprintf(stderr, "usage: with_mongod PROGRAM [ARGUMENT]...   ({}: the URI)\n");
        return 2;
    }
    r = mongod_start(&m, 1, &err);
    if (r < 0) {
        fprintf(stderr, "with_mongod: %s\n", err.text);
        return r == -ERR_NOTFOUND ? 77 : 1;
    }
    pid = fork();
    if (pid == 0) {
        for (int i = 2; i < argc; i++)
            if (strcmp(argv[i], "{}") == 0)
                argv[i] = m.uri;
        execv(argv[1], argv + 1);
        _exit(127);
    }
    child = pid;
    signal(SIGTERM, pass_on);
    signal(SIGINT, pass_on);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    mongod_stop(&m);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
