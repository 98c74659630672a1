/* SPDX-License-Identifier: MPL-2.0 */
/* STLS, USER, PASS, AUTH: RFC 1939 section 7, RFC 2595, RFC 5034. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <uthash.h>

#include "lib/base/clock.h"
#include "lib/base/codec.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "protocols/pop3/impl.h"

/* --- LOGIN-DELAY ------------------------------------------------------------------------------
 */

/* Accounts remembered; when there are more, all are forgotten, which only lets some in earlier. */
#define DELAYS_MAX 100000

struct delay {
    uint64_t account;
    int64_t at_ms;
    UT_hash_handle hh;
};

struct delays {
    pthread_mutex_t mutex;
    struct delay *table; /* keyed by account ids, which no client chooses */
};

struct delays *delays_new(void)
{
    struct delays *d = NEW(struct delays);

    pthread_mutex_init(&d->mutex, NULL);
    return d;
}

static void delays_clear(struct delays *d)
{
    struct delay *entry, *next;

    HASH_ITER (hh, d->table, entry, next) {
        HASH_DEL(d->table, entry);
        free(entry);
    }
}

void delays_free(struct delays *d)
{
    delays_clear(d);
    pthread_mutex_destroy(&d->mutex);
    free(d);
}

/* RFC 2449 section 6.5. False: the account logged in less than delay_ms ago. */
static bool delays_pass(struct delays *d, uint64_t account, int64_t delay_ms)
{
    int64_t now = clock_mono_ms();
    struct delay *entry;
    bool ok;

    if (!delay_ms)
        return true;
    pthread_mutex_lock(&d->mutex);
    HASH_FIND(hh, d->table, &account, sizeof account, entry);
    ok = !entry || now - entry->at_ms >= delay_ms;
    if (!entry) {
        if (HASH_COUNT(d->table) >= DELAYS_MAX)
            delays_clear(d);
        entry = NEW(struct delay);
        entry->account = account;
        HASH_ADD(hh, d->table, account, sizeof entry->account, entry);
    }
    if (ok)
        entry->at_ms = now;
    pthread_mutex_unlock(&d->mutex);
    return ok;
}

/* --- who it is --------------------------------------------------------------------------------
 */

static void leave(struct pop3 *p)
{
    maildrop_done(&p->drop);
    if (p->account)
        account_unref(TAKE(p->account));
    connections_out(auth_connections(p->service->auth), p->user.account);
    p->counted = false;
}

/* Somebody has proved who he is: opens his maildrop. */
static int logged_in(struct pop3 *p)
{
    const struct pop3_settings *settings = &p->service->settings;
    unsigned max = p->user.connections ? p->user.connections : settings->user_connections;
    int r;

    if (!connections_in(auth_connections(p->service->auth), p->user.account, max))
        return pop3_no(p, "SYS/TEMP", "This account has too many connections");
    p->counted = true;
    if (!delays_pass(p->service->delays, p->user.account,
                     (int64_t)settings->login_delay_s * 1000)) {
        leave(p);
        return pop3_no(p, "LOGIN-DELAY", "Come again later: %u seconds between logins",
                       settings->login_delay_s);
    }
    r = account_open(p->service->mail, p->user.account, &p->account, &p->err);
    if (r == 0)
        r = maildrop_open(&p->drop, p->account, &p->err);
    if (r < 0) {
        leave(p);
        return r == -ERR_NOTFOUND ? pop3_no(p, "SYS/PERM", "The account has no mail") : r;
    }
    snprintf(p->s.user, sizeof p->s.user, "%.*s", (int)sizeof p->s.user - 1, p->user.login);
    p->failed_logins = 0;
    p->state = POP3_TRANSACTION;
    return pop3_ok(p, "%u messages, %llu octets", maildrop_total(&p->drop),
                   (unsigned long long)maildrop_bytes(&p->drop));
}

static int refused(struct pop3 *p, int r, int64_t not_before)
{
    p->delay_until_ms = not_before;
    if (r == -ERR_AUTH || r == -ERR_LIMIT)
        p->failed_logins++;
    if (r == -ERR_LIMIT)
        return pop3_no(p, "SYS/TEMP", "Too many failed logins; try again later");
    if (r == -ERR_NOPERM)
        return pop3_no(p, "AUTH", "Not without TLS");
    return r;
}

int pop3_stls(struct pop3 *p, const struct pop3_line *line)
{
    if (p->s.peer.tls)
        return pop3_no(p, NULL, "TLS is active already");
    if (!p->service->settings.starttls)
        return pop3_no(p, NULL, "TLS is not offered here");
    pop3_ok(p, "Begin TLS");
    p->phase = PHASE_TLS;
    return RUN_WAIT;
}

/* The answer is the same whether there is such a user or not. */
int pop3_user(struct pop3 *p, const struct pop3_line *line)
{
    struct slice name = slice_trim(line->rest);

    if (!auth_plaintext_allowed(p->service->auth, &p->s.peer))
        return pop3_no(p, "AUTH", "Not without TLS");
    if (!name.n || name.n >= sizeof p->name)
        return pop3_no(p, NULL, "USER takes a user name of up to %zu octets", sizeof p->name - 1);
    snprintf(p->name, sizeof p->name, "%.*s", SLICE_FMT(name));
    return pop3_ok(p, "Send PASS");
}

int pop3_pass(struct pop3 *p, const struct pop3_line *line)
{
    struct slice name = slice_str(p->name), password = line->rest;
    int64_t not_before = 0;
    int r;

    if (!p->name[0])
        return pop3_no(p, NULL, "Send USER first");
    r = auth_login(p->service->auth, AUTH_POP3, &p->s.peer, name, password, &p->user, &not_before,
                   &p->err);
    secret_wipe((void *)password.p, password.n);
    p->name[0] = '\0'; /* RFC 1939: PASS comes immediately after USER */
    return r == 0 ? logged_in(p) : refused(p, r, not_before);
}

/* --- AUTH -------------------------------------------------------------------------------------
 */

static void wipe(struct buf *b)
{
    secret_wipe(b->p, b->n);
    buf_done(b);
}

/* A step of the exchange gave r. */
static int stepped(struct pop3 *p, int r, const struct buf *challenge, int64_t not_before)
{
    if (r == 1) {
        buf_add_str(&p->s.out, "+ ");
        base64_encode(&p->s.out, buf_slice(challenge));
        buf_add_str(&p->s.out, "\r\n");
        p->phase = PHASE_AUTH;
        return RUN_WAIT;
    }
    sasl_free(TAKE(p->sasl));
    if (r == 0)
        return logged_in(p);
    if (r == -ERR_NOTFOUND)
        return pop3_no(p, NULL, "This mechanism is not offered");
    if (r == -ERR_INVALID)
        return pop3_no(p, NULL, "That is no message of this mechanism");
    return refused(p, r, not_before);
}

/* Without a mechanism: what there is, as clients from before RFC 2449 ask for it. */
static int list_mechanisms(struct pop3 *p)
{
    const char *names[SASL_MECHANISMS_MAX];
    size_t n = sasl_mechanisms(p->service->auth, &p->s.peer, names);

    pop3_ok(p, "Mechanisms");
    for (size_t i = 0; i < n; i++)
        buf_printf(&p->s.out, "%s\r\n", names[i]);
    buf_add_str(&p->s.out, ".\r\n");
    return 0;
}

int pop3_auth(struct pop3 *p, const struct pop3_line *line)
{
    CLEANUP(wipe) struct buf initial = buf_make(POP3_LINE_MAX);
    CLEANUP(buf_done) struct buf challenge = buf_make(BUF_MAX_DEFAULT);
    struct slice response = {(const uint8_t *)"", 0};
    bool has_initial = line->n_args == 2;
    int64_t not_before = 0;
    int r;

    if (line->n_args == 0)
        return list_mechanisms(p);
    if (has_initial && !slice_eq(line->args[1], S("=")) &&
        base64_decode(&initial, line->args[1]) < 0)
        return pop3_no(p, NULL, "The initial response is not base64");
    if (initial.n)
        response = buf_slice(&initial);
    r = sasl_start(p->service->auth, AUTH_POP3, line->args[0], &p->s.peer,
                   has_initial ? &response : NULL, &p->sasl, &challenge, &p->user, &not_before,
                   &p->err);
    return stepped(p, r, &challenge, not_before);
}

int pop3_auth_line(struct pop3 *p, struct slice line)
{
    CLEANUP(wipe) struct buf response = buf_make(POP3_LINE_MAX);
    CLEANUP(buf_done) struct buf challenge = buf_make(BUF_MAX_DEFAULT);
    int64_t not_before = 0;
    int r;

    if (slice_eq(line, S("*")) || base64_decode(&response, line) < 0) {
        sasl_free(TAKE(p->sasl));
        return pop3_no(p, NULL,
                       line.n == 1 ? "Authentication is cancelled" : "The response is not base64");
    }
    r = sasl_step(p->sasl, buf_slice(&response), &challenge, &p->user, &not_before, &p->err);
    return stepped(p, r, &challenge, not_before);
}
