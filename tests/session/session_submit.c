/* SPDX-License-Identifier: MPL-2.0 */
/* The transcripts of submission, and of LMTP. Connections: @open N plain, lmtp, imap (see
 * submit_world.h). The account is joe@example.org, "secret". Directives of this world:
 *   @account LOGIN         one more account with that password
 *   @alias ADDRESS TARGET
 *   @senders LIST          what joe may send for
 *   @sandbox account|domain|server
 *   @save-sent             joe gets copies in Sent
 *   @limit NAME n          before any connection: message (octets), recipients, transactions,
 *                          messages, to (an hour), address-messages, auth-failures, bad-commands,
 *                          login-timeout (ms)
 *   @hide-client           trace fields do not name the client
 *   @no-solicit CLASSES    are refused
 *   @no-queue              nothing is sent to others
 *   @quota n               joe's, in octets
 *   @queued n              so many messages are in the queue
 *   @envelope TEXT         of the newest one (submit_world.h); ${n} and ${*} as in S lines
 *   @store down|up         the store refuses everything; works
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/log.h"
#include "tests/session/run.h"
#include "tests/session/submit_world.h"

static void *world_new(void)
{
    return submit_world_new();
}

static void world_free(void *world)
{
    submit_world_free(world);
}

static struct session *open_session(void *world, struct slice how)
{
    return submit_world_open(world, how);
}

static enum fault refuse_all(void *ctx, const char *verb, enum store_table table)
{
    return FAULT_REFUSED;
}

static bool set_store(struct submit_world *w, struct slice how)
{
    struct fault_plan plan = {.hook = slice_eq(how, S("down")) ? refuse_all : NULL};

    store_faulty_set(w->node->store, &plan);
    return plan.hook || slice_eq(how, S("up"));
}

static void split(struct slice text, struct slice *ret_first, struct slice *ret_rest)
{
    ssize_t blank = slice_find(text, ' ');

    *ret_first = slice_sub(text, 0, blank < 0 ? text.n : (size_t)blank);
    *ret_rest = slice_skip(text, ret_first->n + 1);
}

static bool limit(struct submit_world *w, struct slice text)
{
    struct submit_settings s = w->settings;
    struct slice name, value;
    uint64_t n;

    split(text, &name, &value);
    if (!slice_to_u64(value, 10000000, &n))
        return false;
    if (slice_eq(name, S("message")))
        s.smtp.message_max = n;
    else if (slice_eq(name, S("recipients")))
        s.smtp.recipients_max = (unsigned)n;
    else if (slice_eq(name, S("transactions")))
        s.smtp.transactions_max = (unsigned)n;
    else if (slice_eq(name, S("messages")))
        s.account.messages = (unsigned)n;
    else if (slice_eq(name, S("to")))
        s.account.recipients = (unsigned)n;
    else if (slice_eq(name, S("address-messages")))
        s.address.messages = (unsigned)n;
    else if (slice_eq(name, S("auth-failures")))
        s.smtp.auth_failures = (unsigned)n;
    else if (slice_eq(name, S("bad-commands")))
        s.smtp.bad_commands = (unsigned)n;
    else if (slice_eq(name, S("login-timeout")))
        s.smtp.login_timeout_ms = (int64_t)n;
    else
        return false;
    submit_world_set(w, &s);
    return true;
}

/* joe's document in the directory, changed. */
static bool change_joe(struct submit_world *w, const char *senders, bool sandbox, bool save_sent)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct directory_account joe;
    struct error err = {0};

    if (directory_account_get(w->node->directory, w->node->account, &a, &joe, &err) < 0)
        return false;
    joe.senders = senders ? senders : joe.senders;
    joe.sandbox = sandbox || joe.sandbox;
    joe.save_sent = save_sent ? DIRECTORY_YES : joe.save_sent;
    return directory_account_update(w->node->directory, &joe, &err) == 0;
}

static bool set_sandbox(struct submit_world *w, struct slice of)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct submit_settings s = w->settings;
    struct directory_domain domain;
    struct error err = {0};

    if (slice_eq(of, S("account")))
        return change_joe(w, NULL, true, false);
    if (slice_eq(of, S("domain"))) {
        if (directory_domain_get(w->node->directory, "example.org", &a, &domain, &err) != 1)
            return false;
        domain.sandbox = true;
        return directory_domain_update(w->node->directory, "example.org", &domain, &err) == 0;
    }
    s.sandbox = true;
    submit_world_set(w, &s);
    return slice_eq(of, S("server"));
}

static bool add_alias(struct submit_world *w, struct slice text)
{
    struct slice address, target;
    struct error err = {0};

    split(text, &address, &target);
    return directory_alias_add(w->node->directory, address, &target, 1, &err) == 0;
}

static bool set_quota(struct submit_world *w, struct slice value)
{
    struct intent intent = {.kind = INTENT_ACCOUNT, .key = S(VALUE_QUOTA_BYTES), .value = value};
    struct intent *list[] = {&intent};
    bool ok;

    intent.account = account_get(w->node->mail, w->node->account);
    mail_commit(w->node->mail, list, 1);
    ok = intent.result == 0;
    account_unref(intent.account);
    intent_done(&intent);
    return ok;
}

static bool check_envelope(struct submit_world *w, struct slice pattern)
{
    struct catches catches = {0};
    struct buf line = buf_make(10000);
    bool ok =
        submit_world_queued(w, &line) > 0 && transcript_match(pattern, buf_slice(&line), &catches);

    if (!ok)
        fprintf(stderr, "queued: %.*s\n", SLICE_FMT(buf_slice(&line)));
    buf_done(&line);
    return ok;
}

static bool check_queued(struct submit_world *w, struct slice n)
{
    struct buf line = buf_make(10000);
    uint64_t want;
    bool ok = slice_to_u64(n, 1000, &want) && submit_world_queued(w, &line) == want;

    buf_done(&line);
    return ok;
}

static bool account(struct submit_world *w, struct slice login)
{
    CLEANUP_FREE char *text = slice_dup(login);
    uint64_t id;

    return submit_world_account(w, text, &id);
}

static bool senders(struct submit_world *w, struct slice list)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct error err = {0};
    const char *text;

    return directory_senders_parse(w->node->directory, list, &a, &text, &err) == 0 &&
           change_joe(w, text, false, false);
}

static bool save_sent(struct submit_world *w, struct slice none)
{
    return change_joe(w, NULL, false, true);
}

static bool refuse_classes(struct submit_world *w, struct slice classes)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct submit_settings s = w->settings;

    s.smtp.no_solicit = arena_str(&a, classes);
    submit_world_set(w, &s);
    w->settings.smtp.no_solicit = NULL;
    return true;
}

static bool hide_client(struct submit_world *w, struct slice none)
{
    struct submit_settings s = w->settings;

    s.trace_client = false;
    submit_world_set(w, &s);
    return true;
}

static bool no_queue(struct submit_world *w, struct slice none)
{
    queue_free(TAKE(w->queue));
    submit_world_set(w, &w->settings);
    return true;
}

static bool directive(void *world, struct run *run, struct slice word, struct slice rest)
{
    static const struct {
        const char *word;
        bool (*run)(struct submit_world *w, struct slice rest);
    } rows[] = {
        {"account", account},         {"alias", add_alias},           {"senders", senders},
        {"sandbox", set_sandbox},     {"save-sent", save_sent},       {"limit", limit},
        {"hide-client", hide_client}, {"no-solicit", refuse_classes}, {"no-queue", no_queue},
        {"quota", set_quota},         {"queued", check_queued},       {"envelope", check_envelope},
        {"store", set_store},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (slice_eq(word, slice_str(rows[i].word)))
            return rows[i].run(world, rest);
    return false;
}

int main(int argc, char **argv)
{
    static const struct run_ops ops = {
        .world_new = world_new,
        .world_free = world_free,
        .open = open_session,
        .directive = directive,
    };

    log_set_level(LOG_ERROR_);
    return run_main(&ops, argc, argv);
}
