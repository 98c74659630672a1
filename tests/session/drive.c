/* SPDX-License-Identifier: MPL-2.0 */
#include "tests/session/drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"

#define SOON_MS 300 /* a deadline nearer than that is waited for */

static void wake(struct session *s)
{
    struct drive *d = s->pump;

    atomic_store(&d->woken, true);
}

static void take_output(struct drive *d)
{
    buf_add_slice(&d->got, buf_slice(&d->s->out));
    buf_reset(&d->s->out, 0);
}

static void step(struct drive *d)
{
    unsigned events = d->events;
    int64_t began = clock_mono_us();

    d->events = 0;
    d->steps++;
    d->s->ops->step(d->s, events);
    d->longest_us = MAX(d->longest_us, clock_mono_us() - began);
    take_output(d);
}

static bool hand_over(struct drive *d)
{
    struct session *s = d->s;
    size_t room = s->want.input_max > s->in.n ? s->want.input_max - s->in.n : 0;
    size_t n = MIN(room, d->unsent.n);

    if (!s->want.input || n == 0)
        return false;
    buf_add(&s->in, d->unsent.p, n);
    buf_consume(&d->unsent, n);
    d->events |= SESSION_INPUT;
    return true;
}

static void handshake(struct drive *d)
{
    buf_reset(&d->s->in, 0);
    buf_reset(&d->unsent, 0);
    d->s->peer.tls = true;
    snprintf(d->s->peer.tls_version, sizeof d->s->peer.tls_version, "TLSv1.3");
    d->events |= SESSION_TLS;
}

static bool wait_deadline(struct drive *d)
{
    int64_t left = d->s->want.deadline_ms - clock_mono_ms();
    struct timespec pause = {0, 1000000 * (left > 0 ? (long)MIN(left, (int64_t)SOON_MS) : 0)};

    /* one that the client could still meet is left to run out while somebody waits for a line */
    if (!d->s->want.deadline_ms || left > (d->s->want.input ? 0 : SOON_MS))
        return false;
    nanosleep(&pause, NULL);
    d->events |= SESSION_DEADLINE;
    return true;
}

/* Notes what the session waits for and what is there. False: nothing. */
static bool note(struct drive *d)
{
    const struct session_want *want = &d->s->want;

    if (want->starttls) {
        handshake(d);
        return true;
    }
    if (want->output)
        d->events |= SESSION_DRAINED;
    if (want->hint && atomic_exchange(&d->woken, false))
        d->events |= SESSION_HINT;
    if (d->events & ~(unsigned)SESSION_INPUT)
        return true;
    if (want->input && !want->output && d->s->ops->ready(d->s))
        return true;
    if (d->eof) {
        d->eof = false;
        d->events |= SESSION_EOF;
        return true;
    }
    return wait_deadline(d);
}

void drive_pump(struct drive *d)
{
    while (!d->closed) {
        hand_over(d);
        if (d->s->want.close) {
            d->closed = true;
            return;
        }
        if (!note(d))
            return;
        step(d);
    }
}

void drive_init(struct drive *d, struct session *s)
{
    *d = (struct drive){
        .s = s, .unsent = buf_make(BUF_MAX_DEFAULT), .got = buf_make(BUF_MAX_DEFAULT)};
    s->wake = wake;
    s->pump = d;
    step(d);
    drive_pump(d);
}

void drive_done(struct drive *d)
{
    if (d->s)
        d->s->ops->free(TAKE(d->s));
    buf_done(&d->unsent);
    buf_done(&d->got);
}

void drive_send(struct drive *d, struct slice bytes)
{
    if (d->closed)
        return;
    buf_add_slice(&d->unsent, bytes);
    drive_pump(d);
}

void drive_eof(struct drive *d)
{
    d->eof = true;
    drive_pump(d);
}

void drive_shutdown(struct drive *d)
{
    d->events |= SESSION_SHUTDOWN;
    drive_pump(d);
}
