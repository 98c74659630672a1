/* SPDX-License-Identifier: MPL-2.0 */
/* The session: states, phases, and the step.
 *
 * `state` is that of RFC 3501 section 3; `phase` is what goes on in it. Each has one function that
 * changes it, against a table of allowed moves. What a session wants of its pump (struct
 * session_want) follows from the phase's row and is worked out once, at the end of every step;
 * nothing else sets it. A step handles one command, or one slice of one:
 *
 *   READ -> handler -> [RUN ...] -> TELL -> answer -> READ
 *                   -> LITERAL, AUTH, IDLE (the client's turn) -> TELL -> answer
 *                   -> DELAY -> answer
 *
 * and READ and IDLE -> PUSH -> back, where the client has asked for NOTIFY, or a search goes on.
 *
 * To add a command that talks with the client in the middle: a phase here, its row, its moves.
 */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/plant.h"
#include "protocols/imap/impl.h"

#define BIT(phase)    (1u << (phase))
#define LITERAL_INPUT ((size_t)64 << 10) /* bytes of a streamed literal that wait here at most */

static void step_greeting(struct imap *im);
static void step_read(struct imap *im);
static void step_run(struct imap *im);
static void step_literal(struct imap *im);
static void step_line(struct imap *im);
static void step_idle(struct imap *im);
static void step_push(struct imap *im);
static void step_delay(struct imap *im);
static void step_tell(struct imap *im);
static void step_nothing(struct imap *im);

static const struct phase_row {
    const char *name;
    void (*step)(struct imap *im);
    bool input, output, hint, busy;
    bool ends; /* a shutdown or the end of input ends the session here */
    unsigned to;
} phases[PHASES_] = {
    [PHASE_GREETING] = {"greeting", step_greeting, .ends = true, .to = BIT(PHASE_READ)},
    [PHASE_READ] = {"read", step_read, .input = true, .ends = true,
                    .to = BIT(PHASE_RUN) | BIT(PHASE_LITERAL) | BIT(PHASE_AUTH) | BIT(PHASE_IDLE) |
                          BIT(PHASE_DELAY) | BIT(PHASE_TELL) | BIT(PHASE_TLS) | BIT(PHASE_PUSH)},
    [PHASE_RUN] = {"run", step_run, .output = true, .busy = true,
                   .to = BIT(PHASE_TELL) | BIT(PHASE_READ)},
    [PHASE_LITERAL] = {"literal", step_literal, .input = true, .busy = true,
                       .to = BIT(PHASE_TELL) | BIT(PHASE_READ)},
    [PHASE_AUTH] = {"auth", step_line, .input = true, .ends = true,
                    .to = BIT(PHASE_READ) | BIT(PHASE_DELAY)},
    [PHASE_IDLE] = {"idle", step_idle, .input = true, .hint = true, .ends = true,
                    .to = BIT(PHASE_TELL) | BIT(PHASE_READ) | BIT(PHASE_PUSH)},
    [PHASE_PUSH] = {"push", step_push, .output = true, .busy = true,
                    .to = BIT(PHASE_READ) | BIT(PHASE_IDLE)},
    [PHASE_DELAY] = {"delay", step_delay, .busy = true, .to = BIT(PHASE_READ)},
    [PHASE_TELL] = {"tell", step_tell, .output = true, .busy = true, .to = BIT(PHASE_READ)},
    [PHASE_TLS] = {"tls", step_nothing, .to = BIT(PHASE_READ)},
    [PHASE_CLOSED] = {"closed", step_nothing},
};

/* From which states a state is reached (RFC 3501 section 3). */
static const struct {
    enum imap_state state;
    const char *name;
    unsigned from;
} states[] = {
    {IMAP_NOT_AUTHENTICATED, "not authenticated", IMAP_AUTHENTICATED},
    {IMAP_AUTHENTICATED, "authenticated", IMAP_NOT_AUTHENTICATED | IMAP_SELECTED},
    {IMAP_SELECTED, "selected", IMAP_AUTHENTICATED},
    {IMAP_LOGOUT, "logout", IMAP_ANY},
};

static void log_move(const struct imap *im, const char *what, const char *from, const char *to)
{
    struct log_line l;

    log_begin(&l, LOG_DEBUG_, what);
    log_num(&l, "session", (int64_t)im->s.id);
    log_str(&l, "from", slice_str(from));
    log_str(&l, "to", slice_str(to));
    log_end(&l);
}

static size_t state_index(enum imap_state state)
{
    size_t i = 0;

    while (states[i].state != state)
        i++;
    return i;
}

void imap_set_state(struct imap *im, enum imap_state to)
{
    size_t now = state_index(im->state), next = state_index(to);

    if (!(states[next].from & im->state))
        abort();
    log_move(im, "imap_state", states[now].name, states[next].name);
    im->state = to;
}

void imap_set_phase(struct imap *im, enum imap_phase to)
{
    /* closing is possible everywhere, staying is no move */
    if (to != im->phase && to != PHASE_CLOSED && !(phases[im->phase].to & BIT(to)))
        abort();
    if (to != im->phase)
        log_move(im, "imap_phase", phases[im->phase].name, phases[to].name);
    im->phase = to;
}

uint64_t imap_message_max(const struct imap *im)
{
    uint64_t max =
        MIN(im->service->settings.message_max, mail_settings(im->service->mail)->message_max);

    return im->user.message_size ? MIN(max, im->user.message_size) : max;
}

static void close_now(struct imap *im)
{
    if (im->state != IMAP_LOGOUT)
        imap_set_state(im, IMAP_LOGOUT);
    imap_set_phase(im, PHASE_CLOSED);
}

void imap_bye(struct imap *im, const char *code, const char *text)
{
    if (im->phase == PHASE_CLOSED)
        return;
    if (code)
        buf_printf(&im->s.out, "* BYE [%s] %s\r\n", code, text);
    else
        buf_printf(&im->s.out, "* BYE %s\r\n", text);
    close_now(im);
}

/* --- the command under way ---------------------------------------------------------------------
 */

static void touch(struct imap *im)
{
    if (im->state != IMAP_NOT_AUTHENTICATED)
        im->deadline_ms = clock_mono_ms() + im->service->settings.idle_timeout_ms;
}

void imap_command_done(struct command *cmd)
{
    if (cmd->context_free)
        cmd->context_free(cmd->context);
    arena_done(&cmd->arena);
    *cmd = (struct command){.next = PHASE_READ};
}

static void count_bad(struct imap *im)
{
    if (++im->bad_in_a_row >= im->service->settings.bad_commands)
        imap_bye(im, "CLIENTBUG", "Too many commands that make no sense");
}

/* Working time: what a client took to read or to send does not count. */
static void count_time(struct imap *im)
{
    int64_t now = clock_mono_us();

    if (im->cmd.row && im->service->settings.times)
        histogram_add(&im->service->settings.times[im->cmd.row - imap_commands],
                      im->cmd.spent_us + now - im->mark_us);
    im->mark_us = now;
}

/* A slice of what NOTIFY and contexts have to say; then back to where it came from. */
static void step_push(struct imap *im)
{
    int r = imap_push(im, im->push_back == PHASE_IDLE);

    if (r == RUN_AGAIN)
        return;
    if (r == -ERR_NOTFOUND)
        imap_bye(im, "NONEXISTENT", "The selected mailbox was deleted");
    else if (r == -ERR_CONFLICT)
        imap_bye(im, "UNAVAILABLE", "The mailbox has changed too much; select it again");
    else if (r == -ERR_UNKNOWN_OUTCOME)
        close_now(im);
    else
        imap_set_phase(im, im->push_back);
}

static void push(struct imap *im)
{
    if (!(im->notify || im->contexts) || (im->phase != PHASE_READ && im->phase != PHASE_IDLE))
        return;
    im->push_back = im->phase;
    imap_set_phase(im, PHASE_PUSH);
    step_push(im);
}

/* What parser and limits are after a login or the end of a TLS handshake. */
static void end_command(struct imap *im)
{
    bool bad = im->cmd.status && strcmp(im->cmd.status, "BAD") == 0;
    enum imap_phase next = im->cmd.next;

    count_time(im);
    imap_command_done(&im->cmd);
    if (im->phase == PHASE_CLOSED)
        return;
    im->parser.limits = im->state == IMAP_NOT_AUTHENTICATED ? &im->service->before_login
                        : imap_takes_utf8(im)               ? &im->service->after_login_utf8
                                                            : &im->service->after_login;
    touch(im);
    if (next == PHASE_CLOSED) {
        close_now(im);
        return;
    }
    if (im->phase != PHASE_READ)
        imap_set_phase(im, PHASE_READ);
    if (next != PHASE_READ)
        imap_set_phase(im, next);
    if (bad)
        count_bad(im);
    else
        im->bad_in_a_row = 0;
    if (im->failed_logins >= im->service->settings.auth_failures)
        imap_bye(im, NULL, "Too many failed logins");
    push(im);
}

/* RFC 7162: where EXPUNGE, UID EXPUNGE or MOVE have left the mailbox (3.2.7, 3.2.9); and where it
 * stands for this client as long as an expunge with a lower mod-sequence than was told is held
 * back (3.2), so that he does not skip it when he comes back (I10). */
static void say_modseq(struct imap *im)
{
    struct command *cmd = &im->cmd;
    uint64_t modseq;

    if (!im->view || !(im->enabled & ENABLED_CONDSTORE))
        return;
    modseq = view_modseq(im->view);
    if (im->enabled & ENABLED_QRESYNC && cmd->row->flags & CMD_EXPUNGES && cmd->result == 0 &&
        !cmd->code)
        cmd->code = arena_printf(&cmd->arena, "HIGHESTMODSEQ %llu", (unsigned long long)modseq);
    else if (im->modseq_told && modseq < view_mailbox(im->view)->sum.modseq)
        buf_printf(&im->s.out, "* OK [HIGHESTMODSEQ %llu] There is more to be told\r\n",
                   (unsigned long long)modseq);
    im->modseq_told = false;
}

/* RFC 9738: how far a command came; where its OK has a code already, in a line before it. */
static void say_limit(struct imap *im)
{
    struct command *cmd = &im->cmd;
    const char *code;

    if (!cmd->limited || cmd->result < 0)
        return;
    code = arena_printf(&cmd->arena, "MESSAGELIMIT %u %u", im->service->settings.message_limit,
                        cmd->limited);
    if (cmd->code)
        buf_printf(&im->s.out, "* NO [%s] Not all of them\r\n", code);
    else
        cmd->code = code;
    cmd->text = cmd->text ? cmd->text : "Not all of them";
}

static void answer(struct imap *im)
{
    /* a NOOP without a mailbox asks for what else is new */
    if (im->cmd.next != PHASE_CLOSED)
        imap_metadata_tell(im, im->cmd.row->flags & CMD_PRESENT && !im->view);
    if (im->cmd.next != PHASE_CLOSED)
        imap_notify_tell(im);
    say_modseq(im);
    say_limit(im);
    imap_reply(im, &im->cmd, im->cmd.result);
    end_command(im);
}

static void tell(struct imap *im)
{
    unsigned flags = im->cmd.row->flags;

    bool expunge = (!(flags & CMD_SEQ) && !im->cmd.numbers) || PLANTED(expunge_in_fetch);

    if (imap_tell(im, expunge, flags & CMD_UID))
        imap_set_phase(im, PHASE_TELL);
    else
        answer(im);
}

static void update_and_tell(struct imap *im)
{
    struct command *cmd = &im->cmd;
    struct error err = {0};
    bool present = cmd->row->flags & CMD_PRESENT && cmd->result >= 0;
    int r = imap_update(im, present, &err);

    if (r == -ERR_NOTFOUND || r == -ERR_CONFLICT) { /* I18 */
        if (r == -ERR_NOTFOUND)
            imap_bye(im, "NONEXISTENT", "The selected mailbox was deleted");
        else
            imap_bye(im, "UNAVAILABLE", "The mailbox has changed too much; select it again");
        imap_command_done(cmd);
        return;
    }
    if (r < 0 && present) {
        cmd->result = r;
        cmd->err = err;
    }
    imap_set_phase(im, PHASE_TELL);
    tell(im);
}

/* Takes a handler's result. */
static void handled(struct imap *im, int result)
{
    struct command *cmd = &im->cmd;

    if (im->phase == PHASE_CLOSED || result == RUN_WAIT) {
        if (im->phase == PHASE_IDLE)
            push(im);
        return;
    }
    if (result == RUN_AGAIN) {
        imap_set_phase(im, PHASE_RUN);
        return;
    }
    cmd->result = result;
    if (result == -ERR_UNKNOWN_OUTCOME) {
        /* It may have happened, and it will not be known: every answer could be a lie. */
        close_now(im);
        imap_command_done(cmd);
    } else if (im->delay_until_ms > clock_mono_ms()) {
        imap_set_phase(im, PHASE_DELAY);
    } else if (im->state == IMAP_SELECTED && !(cmd->row->flags & CMD_QUIET)) {
        update_and_tell(im);
    } else {
        answer(im);
    }
}

static bool any_malformed(const struct command *cmd)
{
    for (size_t i = 0; i < cmd->parsed.n_args; i++)
        if (cmd->parsed.args[i].kind == RULE_MAILBOX && cmd->parsed.args[i].malformed)
            return true;
    return false;
}

static int run(struct imap *im)
{
    struct command *cmd = &im->cmd;

    cmd->row = cmd->parsed.verb;
    /* RFC 3501 section 6.3.1: also a SELECT that fails leaves no mailbox selected */
    if (cmd->row->run == cmd_select || cmd->row->run == cmd_examine) {
        if (im->view) /* RFC 7162 section 3.2.11, RFC 9051 section 7.1 */
            buf_add_str(&im->s.out, "* OK [CLOSED] The mailbox before is closed\r\n");
        imap_unselect(im);
    }
    if (any_malformed(cmd))
        return imap_no(cmd, "CANNOT", "A mailbox name is not %s",
                       imap_takes_utf8(im) ? "UTF-8" : "modified UTF-7 (RFC 3501 5.1.3)");
    if (im->enabled & ENABLED_UIDONLY && cmd->row->flags & (CMD_SEQ | CMD_NUMBERS))
        return imap_uid_required(cmd);
    if (cmd->row->flags & CMD_NEEDS_WRITE && im->read_only)
        return imap_no(cmd, "READ-ONLY", "The mailbox is open for reading only");
    if (cmd->row->states == IMAP_SELECTED && !(cmd->row->flags & CMD_PIECES)) {
        int r = view_load(im->view, im->account, NULL, &cmd->err);

        if (r < 0)
            return r;
    }
    return cmd->row->run(im, cmd);
}

/* A command, or the next message of one, has come up to a streamed literal; the handler has
 * taken it (RUN_WAIT) or not. */
static void literal_begins(struct imap *im, int result)
{
    if (result == RUN_WAIT) {
        if (im->cmd.parsed.stream_sync)
            buf_add_str(&im->s.out, "+ OK\r\n");
        return;
    }
    parser_drop(&im->parser, !im->cmd.parsed.stream_sync);
    handled(im, result);
}

/* --- steps -------------------------------------------------------------------------------------
 */

static void step_nothing(struct imap *im)
{
}

static void step_greeting(struct imap *im)
{
    buf_add_str(&im->s.out, "* OK [CAPABILITY ");
    imap_write_capabilities(im, &im->s.out);
    buf_add_str(&im->s.out, "] Eider is ready\r\n");
    im->deadline_ms = clock_mono_ms() + im->service->settings.login_timeout_ms;
    imap_set_phase(im, PHASE_READ);
}

static bool ready(const struct imap *im)
{
    return phases[im->phase].input && parser_ready(&im->parser, buf_slice(&im->s.in));
}

/* Nothing to do, and the client's time is over. The time to log in is not made longer by commands.
 */
static bool expired(struct imap *im)
{
    if (clock_mono_ms() < im->deadline_ms || (ready(im) && im->state != IMAP_NOT_AUTHENTICATED))
        return false;
    imap_bye(im, NULL,
             im->state == IMAP_NOT_AUTHENTICATED ? "Too slow to log in" : "Idle for too long");
    return true;
}

static enum parser_event parse(struct imap *im)
{
    struct command *cmd = &im->cmd;
    size_t used;
    enum parser_event event = parser_next(&im->parser, buf_slice(&im->s.in), imap_command_find, im,
                                          &cmd->arena, &cmd->parsed, &used, &cmd->err);

    buf_consume(&im->s.in, used);
    return event;
}

static void parsed_badly(struct imap *im, enum parser_event event)
{
    if (event == PARSER_FATAL) {
        imap_bye(im, "TOOBIG", im->cmd.err.text);
        imap_command_done(&im->cmd);
        return;
    }
    imap_reply_bad(im, &im->cmd);
    im->cmd.status = "BAD";
    end_command(im);
}

static void step_read(struct imap *im)
{
    enum parser_event event = PARSER_WAIT;

    if (expired(im))
        return;
    while (ready(im) && (event == PARSER_WAIT || event == PARSER_CONTINUE)) {
        event = parse(im);
        if (event == PARSER_CONTINUE)
            buf_add_str(&im->s.out, "+ OK\r\n");
    }
    if (event == PARSER_BAD || event == PARSER_FATAL)
        parsed_badly(im, event);
    else if (event == PARSER_DONE)
        handled(im, run(im));
    else if (event == PARSER_STREAM)
        literal_begins(im, run(im));
    else
        push(im);
}

static void step_run(struct imap *im)
{
    handled(im, im->cmd.row->run(im, &im->cmd));
}

static void step_tell(struct imap *im)
{
    tell(im);
}

static void step_delay(struct imap *im)
{
    if (clock_mono_ms() < im->delay_until_ms)
        return;
    im->delay_until_ms = 0;
    answer(im);
}

static void take_literal(struct imap *im)
{
    struct command *cmd = &im->cmd;
    size_t n = (size_t)MIN(im->parser.left, (uint64_t)im->s.in.n);
    int r;

    parser_took(&im->parser, n, cmd->more_rules);
    r = cmd->bytes(im, cmd, slice_of(im->s.in.p, n));
    buf_consume(&im->s.in, n);
    if (r < 0) {
        parser_drop(&im->parser, true);
        handled(im, r);
    }
}

static void step_literal(struct imap *im)
{
    enum parser_event event;

    if (expired(im))
        return;
    touch(im);
    if (!ready(im))
        return;
    if (im->parser.mode == PARSER_BYTES) {
        take_literal(im);
        return;
    }
    event = parse(im);
    if (event == PARSER_BAD || event == PARSER_FATAL)
        parsed_badly(im, event);
    else if (event == PARSER_CONTINUE)
        buf_add_str(&im->s.out, "+ OK\r\n");
    else if (event == PARSER_DONE)
        handled(im, im->cmd.more(im, &im->cmd));
    else if (event == PARSER_STREAM)
        literal_begins(im, im->cmd.more(im, &im->cmd));
}

/* A raw line for the command under way, if there is a whole one. */
static void step_line(struct imap *im)
{
    struct command *cmd = &im->cmd;
    struct slice line;
    enum parser_event event;
    size_t used;
    int r;

    if (expired(im) || !ready(im))
        return;
    event = parser_next(&im->parser, buf_slice(&im->s.in), NULL, NULL, &cmd->arena, &cmd->parsed,
                        &used, &cmd->err);
    if (event == PARSER_DONE) {
        line = cmd->parsed.line;
        r = im->phase == PHASE_IDLE ? cmd_idle_line(im, cmd, line)
                                    : cmd_authenticate_line(im, cmd, line);
        buf_consume(&im->s.in, used);
        if (r != RUN_WAIT)
            parser_set_mode(&im->parser, PARSER_COMMAND);
        handled(im, r);
        return;
    }
    buf_consume(&im->s.in, used);
    if (event == PARSER_BAD) {
        cmd_idle_end(im);
        sasl_free(TAKE(im->sasl));
        parsed_badly(im, event);
    }
}

static void step_idle(struct imap *im)
{
    int r;

    if (ready(im)) {
        step_line(im);
        return;
    }
    if (expired(im))
        return;
    r = cmd_idle_tell(im, &im->cmd);
    if (r < 0)
        imap_bye(im, "NONEXISTENT", "The selected mailbox was deleted");
    push(im);
}

/* --- what the pump calls -----------------------------------------------------------------------
 */

static bool imap_ready(struct session *s)
{
    return ready((struct imap *)s);
}

static int64_t phase_deadline(const struct imap *im)
{
    if (im->phase == PHASE_DELAY)
        return im->delay_until_ms;
    if (!phases[im->phase].input)
        return 0;
    if (im->phase == PHASE_IDLE && im->keepalive_at_ms)
        return MIN(im->deadline_ms, im->keepalive_at_ms);
    return im->deadline_ms;
}

static void set_want(struct imap *im)
{
    const struct phase_row *row = &phases[im->phase];

    im->s.want = (struct session_want){
        .input = row->input,
        .output = row->output || (im->phase == PHASE_IDLE && im->idle_more),
        .hint = row->hint || (im->notify && im->phase == PHASE_READ),
        .starttls = im->phase == PHASE_TLS,
        .compress = im->compress_now,
        .close = im->phase == PHASE_CLOSED,
        .busy = row->busy,
        .input_max = im->parser.mode == PARSER_BYTES ? LITERAL_INPUT : im->parser.limits->command,
        .deadline_ms = phase_deadline(im),
    };
}

static void tls_began(struct imap *im)
{
    parser_init(&im->parser, &im->service->before_login);
    imap_set_phase(im, PHASE_READ);
}

static void imap_step(struct session *s, unsigned events)
{
    struct imap *im = (struct imap *)s;

    im->mark_us = clock_mono_us();
    im->compress_now = false;
    if (events & SESSION_SHUTDOWN)
        im->shutdown = true;
    if (events & SESSION_TLS && im->phase == PHASE_TLS)
        tls_began(im);
    else
        phases[im->phase].step(im);
    if (im->shutdown && phases[im->phase].ends)
        imap_bye(im, "UNAVAILABLE", "The server is being restarted; come again");
    if (events & SESSION_EOF && !phases[im->phase].output && im->phase != PHASE_CLOSED)
        close_now(im);
    if (im->cmd.row)
        im->cmd.spent_us += clock_mono_us() - im->mark_us;
    set_want(im);
}

static void imap_free(struct session *s)
{
    struct imap *im = (struct imap *)s;

    cmd_idle_end(im);
    sasl_free(im->sasl);
    imap_command_done(&im->cmd);
    view_free(im->view);
    imap_metadata_forget(im);
    imap_notify_end(im);
    imap_contexts_end(im);
    uidset_done(&im->saved);
    free(im->binary);
    if (im->account)
        account_unref(im->account);
    if (im->counted)
        connections_out(auth_connections(im->service->auth), im->user.account);
    buf_done(&im->s.in);
    buf_done(&im->s.out);
    free(im);
}

static const struct session_ops ops = {
    .name = "imap",
    .ready = imap_ready,
    .step = imap_step,
    .free = imap_free,
};

struct session *imap_session_open(struct session_service *service, const struct session_peer *peer)
{
    struct imap *im = NEW(struct imap);

    im->service = service->context;
    im->state = IMAP_NOT_AUTHENTICATED;
    im->phase = PHASE_GREETING;
    im->cmd.next = PHASE_READ;
    im->s.ops = &ops;
    im->s.in = buf_make(BUF_MAX_DEFAULT);
    im->s.out = buf_make(BUF_MAX_DEFAULT);
    im->s.want.input_max = im->service->before_login.command;
    parser_init(&im->parser, &im->service->before_login);
    return &im->s;
}
