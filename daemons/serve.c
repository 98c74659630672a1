/* SPDX-License-Identifier: MPL-2.0 */
#include "daemons/serve.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "daemons/monitor.h"
#include "daemons/node.h"
#include "daemons/sending.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"

static void notify(const char *state)
{
#ifdef HAVE_SYSTEMD
    sd_notify(0, state);
#else
    (void)state;
#endif
}

/* ---- Signals: blocked in all threads and waited for in this one ---- */

static sigset_t our_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    return set;
}

/* One of our signals, or 0 when timeout_ms have passed (<0: never). */
static int next_signal(int64_t timeout_ms)
{
    sigset_t set = our_signals();
    struct timespec patience = {.tv_sec = timeout_ms / 1000,
                                .tv_nsec = timeout_ms % 1000 * 1000000};
    int got;

    do
        got = timeout_ms < 0 ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &patience);
    while (got < 0 && errno == EINTR);
    return got < 0 ? 0 : got;
}

static void log_failure(const char *event, const struct error *err)
{
    struct log_line l;

    log_begin(&l, LOG_ERROR_, event);
    log_err(&l, err);
    log_end(&l);
}

/* ---- Reload ---- */

static void name_what_waits(const struct node *node, const struct conf *fresh)
{
    CLEANUP(buf_done) struct buf names = buf_make(65536);

    if (conf_needs_restart(node->conf, fresh, &names) > 0)
        log_text(LOG_WARN_, "reload", "changed, but needs a restart: %s", buf_cstr(&names));
}

/* What is wrong leaves all as it was: a server must survive a slip in its file. */
static void reload(struct node *node, const char *file)
{
    struct conf *fresh = NULL;
    struct error err;

    if (conf_load(file, &fresh, &err) < 0 || conf_check_serve(fresh, &err) < 0 ||
        node_reload(node, fresh, &err) < 0) {
        log_failure("reload", &err);
        conf_free(fresh);
        return;
    }
    name_what_waits(node, fresh);
    log_text(LOG_INFO_, "reload", "done");
}

/* ---- The end ---- */

static void stop_at_once(void)
{
    log_text(LOG_WARN_, "stop", "at once, as asked again");
    _exit(1); /* what was acknowledged is durable; nothing else is owed */
}

/* Connections that the queue has keep the net busy until their messages are through. */
static bool is_idle(struct node *node, int64_t wait_ms)
{
    return sending_drain(node->sending, 0) && net_wait_idle(node->net, wait_ms);
}

/* Good-byes in waves, then what is left is broken. */
static void drain(struct node *node)
{
    int64_t patience = node->conf->shutdown.drain;
    int64_t end = clock_mono_ms() + patience;

    notify("STOPPING=1");
    monitor_drain(node->monitor);
    log_text(LOG_INFO_, "stop", "draining %llu connections",
             (unsigned long long)net_read_counters(node->net).open);
    net_drain(node->net, patience / 2);
    while (!is_idle(node, 50) && clock_mono_ms() < end) {
        int got = next_signal(0);

        if (got == SIGTERM || got == SIGINT)
            stop_at_once();
    }
}

/* ---- The process ---- */

/* A connection is a file descriptor: take as many as the system lets us. */
static void raise_fd_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run(struct conf *conf, const char *file, unsigned protocols, const char *name)
{
    sigset_t set = our_signals();
    struct node *node = NULL;
    struct error err = {0};
    int got;

    pthread_sigmask(SIG_BLOCK, &set, NULL); /* before any thread begins */
    raise_fd_limit();
    log_set_level((enum log_level)conf->log.level);
    log_set_output(STDERR_FILENO, getenv("JOURNAL_STREAM") != NULL);
    if (node_new(conf, protocols, &node, &err) < 0) {
        fprintf(stderr, "%s: %s\n", name, err.text);
        return 1;
    }
    notify("READY=1");
    log_text(LOG_INFO_, "ready", "%s", name);
    while ((got = next_signal(-1)) == SIGHUP)
        reload(node, file);
    drain(node);
    node_free(node);
    log_text(LOG_INFO_, "stop", "done");
    return 0;
}

static void usage(FILE *to, const char *name)
{
    fprintf(to,
            "usage: %s [-c FILE]\n"
            "Serves mail until it is told to stop by SIGTERM or SIGINT; SIGHUP reloads.\n"
            "  -c, --config FILE  settings (default %s)\n"
            "  -h, --help         this text\n"
            "  -V, --version      the version\n",
            name, CONF_FILE_DEFAULT);
}

int serve_main(int argc, char **argv, unsigned protocols)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {"version", no_argument, NULL, 'V'},
                                            {0}};
    const char *file = CONF_FILE_DEFAULT;
    struct conf *conf = NULL;
    struct error err = {0};
    int option;

    optind = 1;
    while ((option = getopt_long(argc, argv, "c:hV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            file = optarg;
            break;
        case 'h':
            usage(stdout, argv[0]);
            return 0;
        case 'V':
            puts(EIDER_VERSION);
            return 0;
        default:
            usage(stderr, argv[0]);
            return 2;
        }
    }
    if (optind < argc) {
        usage(stderr, argv[0]);
        return 2;
    }
    if (conf_load(file, &conf, &err) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
        return 1;
    }
    return run(conf, file, protocols, argv[0]);
}
