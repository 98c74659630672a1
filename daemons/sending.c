/* SPDX-License-Identifier: MPL-2.0 */
#include "daemons/sending.h"

#include "daemons/settings.h"
#include "lib/base/mem.h"

struct sending {
    struct transport *transport;
    struct runner *runner;
};

int sending_new(struct conf *c, struct net *net, struct queue *queue, struct mail *mail,
                struct sending **ret, struct error *err)
{
    struct sending *s = NEW(struct sending);
    struct transport_settings transport;
    struct runner_settings runner;
    int r;

    settings_transport(c, &transport);
    settings_runner(c, &runner);
    r = transport_new(&transport, net, &s->transport, err);
    if (r == 0)
        r = runner_new(&runner, queue, mail,
                       &(struct runner_transport){transport_room, transport_send, s->transport},
                       &s->runner, err);
    if (r < 0) { /* nothing has been sent: the net owes nothing */
        transport_stop(s->transport);
        transport_free(s->transport);
        free(s);
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
    transport_free(s->transport);
    free(s);
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
