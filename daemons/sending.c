/* SPDX-License-Identifier: MPL-2.0 */
#include "daemons/sending.h"

#include "daemons/settings.h"
#include "lib/auth/directory.h"
#include "lib/base/mem.h"
#include "protocols/submit/here.h"

struct sending {
    struct transport *transport;
    struct directory *directory;
    struct here *here;
    struct runner *runner;
};

/* Its own directory: whom that does not find, the sender is told is not here. */
static void open_here(struct sending *s, const struct conf *c, struct queue *queue,
                      struct mail *mail, struct store *store, struct directory *domains)
{
    struct here_settings settings = {.over_quota_permanent =
                                         c->delivery.over_quota == CONF_OVER_QUOTA_PERMANENT};
    struct directory_options names;

    settings_directory(c, &names);
    names.proves_absence = true;
    s->directory = directory_new(store, &names);
    s->here = here_new(&settings, mail, domains, s->directory, queue);
}

/* What is under the runner, which is gone or was never there. */
static void free_parts(struct sending *s)
{
    transport_free(s->transport);
    here_free(s->here);
    directory_free(s->directory);
    free(s);
}

int sending_new(struct conf *c, struct net *net, struct queue *queue, struct mail *mail,
                struct store *store, struct directory *directory, struct sending **ret,
                struct error *err)
{
    struct sending *s = NEW(struct sending);
    struct transport_settings transport;
    struct runner_settings runner;
    int r;

    settings_transport(c, &transport);
    settings_runner(c, &runner);
    open_here(s, c, queue, mail, store, directory);
    r = transport_new(&transport, net, &s->transport, err);
    if (r == 0)
        r = runner_new(&runner, queue, mail,
                       &(struct runner_transport){transport_room, transport_send, s->transport,
                                                  here_deliver, s->here},
                       &s->runner, err);
    if (r < 0) { /* nothing has been sent: the net owes nothing */
        transport_stop(s->transport);
        free_parts(s);
        return r;
    }
    *ret = s;
    return 0;
}

bool sending_drain(struct sending *s, int64_t wait_ms)
{
    return !s || runner_drain(s->runner, wait_ms);
}

void sending_stop(struct sending *s)
{
    if (!s)
        return;
    runner_drain(s->runner, 0);
    transport_stop(s->transport);
}

void sending_free(struct sending *s)
{
    if (!s)
        return;
    runner_free(s->runner);
    free_parts(s);
}

void sending_wake(struct sending *s)
{
    if (s)
        runner_wake(s->runner);
}

struct runner_counters sending_runner_counters(struct sending *s)
{
    return runner_read_counters(s->runner);
}

struct transport_counters sending_transport_counters(struct sending *s)
{
    return transport_read_counters(s->transport);
}
