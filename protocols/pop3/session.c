/* SPDX-License-Identifier: MPL-2.0 */
/* The session: phases, the step, status lines.
 *
 *   READ -> handler -> answer -> READ
 *                   -> RUN -> ... -> READ     a listing or a message, slice by slice
 *                   -> AUTH                   the client's turn
 *                   -> DELAY -> answer        a failed login
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "protocols/pop3/impl.h"

#define BATCH_BYTES                                                                                \
    ((size_t)16 << 10) /* of output; pipelined commands are run in one step up to it */

/* RFC 2449 section 8, RFC 3206. The sentences are for people; codes are for clients. */
static const struct {
    const char *code, *text;
} refusals[ERR_COUNT_] = {
    [ERR_INVALID] = {NULL, "That cannot be done"},
    [ERR_LIMIT] = {"SYS/TEMP", "A limit has been reached"},
    [ERR_NOTFOUND] = {NULL, "No such message"},
    [ERR_NOPERM] = {"SYS/PERM", "Not allowed"},
    [ERR_AUTH] = {"AUTH", "Wrong user name or password"},
    [ERR_UNAVAILABLE] = {"SYS/TEMP", "The mail store cannot be reached, try again later"},
    [ERR_INTERNAL] = {"SYS/PERM", "Something is damaged here"},
};

int pop3_ok(struct pop3 *p, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_add_str(&p->s.out, "+OK ");
    buf_add_str(&p->s.out, text);
    buf_add_str(&p->s.out, "\r\n");
    return 0;
}

int pop3_no(struct pop3 *p, const char *code, const char *fmt, ...)
{
    va_list ap;

    p->code = code;
    p->err.kind = ERR_INVALID;
    va_start(ap, fmt);
    vsnprintf(p->err.text, sizeof p->err.text, fmt, ap);
    va_end(ap);
    return -ERR_INVALID;
}

void pop3_close(struct pop3 *p)
{
    p->phase = PHASE_CLOSED;
}

static void refuse(struct pop3 *p, int result)
{
    int kind = -result < ERR_COUNT_ ? -result : ERR_INTERNAL;
    const char *code = p->code ? p->code : refusals[kind].code;
    const char *text = refusals[kind].text ? refusals[kind].text : refusals[ERR_INTERNAL].text;

    /* what the store says may name hosts and files: that is for the log */
    if (kind == ERR_INVALID && p->err.text[0])
        text = p->err.text;
    if (kind == ERR_UNAVAILABLE || kind == ERR_INTERNAL)
        log_text(LOG_WARN_, "pop3", "%s", p->err.text);
    if (code)
        buf_printf(&p->s.out, "-ERR [%s] %s\r\n", code, text);
    else
        buf_printf(&p->s.out, "-ERR %s\r\n", text);
}

static void say_goodbye(struct pop3 *p, const char *code, const char *text)
{
    if (p->phase == PHASE_CLOSED)
        return;
    buf_printf(&p->s.out, code ? "-ERR [%s] %s\r\n" : "-ERR %s%s\r\n", code ? code : "", text);
    pop3_close(p);
}

static void touch(struct pop3 *p)
{
    if (p->state == POP3_TRANSACTION)
        p->deadline_ms = clock_mono_ms() + p->service->settings.idle_timeout_ms;
}

/* Working time: what a client took to read or to send does not count. */
static void count_time(struct pop3 *p)
{
    int64_t now = clock_mono_us();

    if (p->row && p->service->settings.times)
        histogram_add(&p->service->settings.times[pop3_row_number(p->row)],
                      p->spent_us + now - p->mark_us);
    p->row = NULL;
    p->spent_us = 0;
    p->mark_us = now;
}

static void answer(struct pop3 *p, int result)
{
    count_time(p);
    if (result < 0)
        refuse(p, result);
    p->code = NULL;
    p->err = (struct error){0};
    if (p->phase == PHASE_CLOSED)
        return;
    p->phase = PHASE_READ;
    touch(p);
    if (p->failed_logins >= p->service->settings.auth_failures)
        pop3_close(p);
}

static void handled(struct pop3 *p, int result)
{
    if (result == RUN_WAIT)
        return;
    if (result == RUN_AGAIN) {
        pop3_ahead_drop(p);
        p->phase = PHASE_RUN;
        return;
    }
    if (p->job.run)
        pop3_job_end(p);
    if (result == -ERR_UNKNOWN_OUTCOME) { /* every answer could be a lie */
        pop3_close(p);
        return;
    }
    p->result = result;
    if (p->delay_until_ms > clock_mono_ms())
        p->phase = PHASE_DELAY;
    else
        answer(p, result);
}

/* --- lines ------------------------------------------------------------------------------------
 */

static ssize_t line_end(const struct pop3 *p)
{
    return slice_find(buf_slice(&p->s.in), '\n');
}

static void count_bad(struct pop3 *p, bool bad)
{
    p->bad_in_a_row = bad ? p->bad_in_a_row + 1 : 0;
    if (p->bad_in_a_row >= p->service->settings.bad_commands)
        say_goodbye(p, NULL, "Too many commands that make no sense");
}

static int check(struct pop3 *p, const struct pop3_row *row, const struct pop3_line *line)
{
    if (!row)
        return pop3_no(p, NULL, "No command is called %s", line->verb);
    if (!(row->states & p->state))
        return pop3_no(p, NULL, "%s is not possible now: %s", row->name,
                       p->state == POP3_AUTHORIZATION ? "log in first" : "you are logged in");
    if (row->args_min != POP3_FREE &&
        (line->n_args < row->args_min || line->n_args > row->args_max || line->more))
        return pop3_no(p, NULL, "%s takes %s arguments", row->name,
                       line->n_args < row->args_min ? "more" : "fewer");
    return 0;
}

static void run_command(struct pop3 *p, struct slice text)
{
    const struct pop3_row *row;
    struct pop3_line line;
    int r;

    if (pop3_line_parse(text, &line) < 0) {
        handled(p, pop3_no(p, NULL, "That is no command"));
        count_bad(p, true);
        return;
    }
    row = pop3_row_named(line.verb);
    r = check(p, row, &line);
    if (r == 0) {
        p->row = row;
        handled(p, row->run(p, &line));
        p->bad_in_a_row = 0;
        return;
    }
    handled(p, r);
    count_bad(p, true);
}

/* The next line, if there is a whole one; it is consumed when it is done with. */
static bool step_line(struct pop3 *p)
{
    ssize_t end = line_end(p);
    struct slice text;

    if (end < 0) {
        if (p->s.in.n >= POP3_LINE_MAX)
            say_goodbye(p, NULL, "The line is too long");
        return false;
    }
    text = slice_sub(buf_slice(&p->s.in), 0, (size_t)end);
    if (text.n && text.p[text.n - 1] == '\r')
        text.n--;
    if (p->phase == PHASE_AUTH)
        handled(p, pop3_auth_line(p, text));
    else
        run_command(p, text);
    buf_consume(&p->s.in, (size_t)end + 1);
    return true;
}

/* --- steps ------------------------------------------------------------------------------------
 */

static void step_greeting(struct pop3 *p)
{
    pop3_ok(p, "Eider is ready");
    p->deadline_ms = clock_mono_ms() + p->service->settings.login_timeout_ms;
    p->phase = PHASE_READ;
}

static bool expired(struct pop3 *p)
{
    if (clock_mono_ms() < p->deadline_ms || (p->state == POP3_TRANSACTION && line_end(p) >= 0))
        return false;
    /* RFC 1939 section 3: no UPDATE state, nothing is deleted */
    say_goodbye(p, NULL,
                p->state == POP3_AUTHORIZATION ? "Too slow to log in" : "Idle for too long");
    return true;
}

static void step_phase(struct pop3 *p)
{
    switch (p->phase) {
    case PHASE_GREETING:
        step_greeting(p);
        break;
    case PHASE_READ:
    case PHASE_AUTH:
        if (expired(p))
            break;
        while ((p->phase == PHASE_READ || p->phase == PHASE_AUTH) && p->s.out.n < BATCH_BYTES &&
               step_line(p))
            ;
        break;
    case PHASE_RUN:
        handled(p, p->job.run(p));
        break;
    case PHASE_DELAY:
        if (clock_mono_ms() < p->delay_until_ms)
            break;
        p->delay_until_ms = 0;
        answer(p, p->result);
        break;
    case PHASE_TLS:
    case PHASE_CLOSED:
        break;
    }
}

static bool has_line(const struct pop3 *p)
{
    return line_end(p) >= 0 || p->s.in.n >= POP3_LINE_MAX;
}

static int64_t deadline(const struct pop3 *p)
{
    int64_t keep = p->ahead.keep_until;

    return keep ? MIN(keep, p->deadline_ms) : p->deadline_ms;
}

static void set_want(struct pop3 *p)
{
    bool reads = p->phase == PHASE_READ || p->phase == PHASE_AUTH;

    p->s.want = (struct session_want){
        .input = reads,
        .output = p->phase == PHASE_RUN || (reads && p->s.out.n >= BATCH_BYTES && has_line(p)),
        .starttls = p->phase == PHASE_TLS,
        .close = p->phase == PHASE_CLOSED,
        .busy = p->phase == PHASE_RUN || p->phase == PHASE_DELAY,
        .input_max = POP3_LINE_MAX,
        .deadline_ms = p->phase == PHASE_DELAY ? p->delay_until_ms
                       : reads                 ? deadline(p)
                                               : 0,
    };
}

static bool ready(struct session *s)
{
    const struct pop3 *p = (const struct pop3 *)s;

    return p->s.want.input && has_line(p);
}

static void step(struct session *s, unsigned events)
{
    struct pop3 *p = (struct pop3 *)s;

    p->mark_us = clock_mono_us();
    pop3_ahead_expire(p);
    if (events & SESSION_SHUTDOWN)
        p->shutdown = true;
    if (events & SESSION_TLS && p->phase == PHASE_TLS) {
        p->name[0] = '\0'; /* RFC 2595 section 4: nothing that was said before counts */
        p->phase = PHASE_READ;
    } else {
        step_phase(p);
    }
    if (p->shutdown && (p->phase == PHASE_READ || p->phase == PHASE_AUTH))
        say_goodbye(p, "SYS/TEMP", "The server is being restarted; come again");
    if (events & SESSION_EOF && p->phase != PHASE_RUN)
        pop3_close(p);
    if (p->row)
        p->spent_us += clock_mono_us() - p->mark_us;
    set_want(p);
}

static void session_free(struct session *s)
{
    struct pop3 *p = (struct pop3 *)s;

    pop3_job_end(p);
    pop3_ahead_drop(p);
    sasl_free(p->sasl);
    maildrop_done(&p->drop);
    if (p->account)
        account_unref(p->account);
    if (p->counted)
        connections_out(auth_connections(p->service->auth), p->user.account);
    buf_done(&p->s.in);
    buf_done(&p->s.out);
    free(p);
}

static const struct session_ops ops = {
    .name = "pop3", .ready = ready, .step = step, .free = session_free};

struct session *pop3_session_open(struct session_service *service, const struct session_peer *peer)
{
    struct pop3 *p = NEW(struct pop3);

    p->service = service->context;
    p->state = POP3_AUTHORIZATION;
    p->phase = PHASE_GREETING;
    p->s.ops = &ops;
    p->s.in = buf_make(BUF_MAX_DEFAULT);
    p->s.out = buf_make(BUF_MAX_DEFAULT);
    p->s.peer = *peer;
    p->s.want.input_max = POP3_LINE_MAX;
    return &p->s;
}
