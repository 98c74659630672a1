/* SPDX-License-Identifier: MPL-2.0 */
/* The transcripts of IMAP. Directives of this world:
 *   @login N            logs joe in on connection N
 *   @login N NAME       the same, somebody else of @account
 *   @select N NAME      joe logs in, and selects
 *   @account LOGIN      one more account with joe's password
 *   @disable LOGIN      the account can be used no more
 *   @fill NAME n        n messages into a mailbox
 *   @append NAME text   a message; ${...} as in C lines
 *   @limit NAME n       before any connection: login-timeout, idle-timeout, keepalive (ms),
 *                       connections (of one account), literal-minus (0 or 1), nesting, set,
 *                       search-terms,
 *                       append-messages, progress (ms), append-memory (bytes)
 *   @store down|up|lost the store refuses everything; works; loses the replies to log inserts
 */
#include <stdio.h>

#include "lib/base/mem.h"
#include "tests/session/imap_world.h"
#include "tests/session/run.h"

static void *world_new(void)
{
    return imap_world_new();
}

static void world_free(void *world)
{
    imap_world_free(world);
}

static struct session *open_session(void *world, struct slice how)
{
    return imap_world_open(world, how);
}

static bool quietly(struct run *run, unsigned n, const char *line, const char *tag_ok)
{
    struct buf answer = buf_make(BUF_MAX_DEFAULT);
    bool ok;

    run_quietly(run, n, line, &answer);
    ok = slice_search(buf_slice(&answer), slice_str(tag_ok)) >= 0;
    if (!ok)
        fprintf(stderr, "%s: %s\n", line, buf_cstr(&answer));
    buf_done(&answer);
    return ok;
}

static bool login_as(struct run *run, unsigned n, struct slice name)
{
    char line[200];

    snprintf(line, sizeof line, "_login LOGIN %.*s secret", SLICE_FMT(name));
    return quietly(run, n, line, "_login OK");
}

static bool login(struct run *run, unsigned n)
{
    return login_as(run, n, S("joe"));
}

static bool make_account(struct imap_world *w, struct slice name)
{
    imap_world_account(w, name);
    return true;
}

static bool select_mailbox(struct run *run, unsigned n, struct slice name)
{
    char line[200];

    snprintf(line, sizeof line, "_select SELECT %.*s", SLICE_FMT(name));
    return login(run, n) && quietly(run, n, line, "_select OK");
}

static enum fault refuse_all(void *ctx, const char *verb, enum store_table table)
{
    return FAULT_REFUSED;
}

static enum fault lose_log_replies(void *ctx, const char *verb, enum store_table table)
{
    return table == STORE_LOG ? FAULT_LOST : FAULT_NONE;
}

static bool set_store(struct imap_world *w, struct slice how)
{
    struct fault_plan plan = {0};

    if (slice_eq(how, S("down")))
        plan.hook = refuse_all;
    else if (slice_eq(how, S("lost")))
        plan.hook = lose_log_replies;
    else if (!slice_eq(how, S("up")))
        return false;
    store_faulty_set(w->store, &plan);
    return true;
}

static bool append(struct imap_world *w, struct slice mailbox, struct slice text)
{
    struct buf bytes = buf_make(BUF_MAX_DEFAULT);
    bool ok = transcript_expand(text, &(struct catches){0}, &bytes) &&
              imap_world_append(w, mailbox, buf_slice(&bytes));

    buf_done(&bytes);
    return ok;
}

static bool limit(struct imap_world *w, struct slice name, struct slice value)
{
    struct imap_settings *s = &w->settings;
    uint64_t n;

    if (!slice_to_u64(value, 1000000, &n))
        return false;
    if (slice_eq(name, S("login-timeout")))
        s->login_timeout_ms = (int64_t)n;
    else if (slice_eq(name, S("idle-timeout")))
        s->idle_timeout_ms = (int64_t)n;
    else if (slice_eq(name, S("keepalive")))
        s->keepalive_ms = (int64_t)n;
    else if (slice_eq(name, S("literal-minus")))
        s->literal_minus = n != 0;
    else if (slice_eq(name, S("nesting")))
        s->nesting_max = (unsigned)n;
    else if (slice_eq(name, S("set")))
        s->set_max = (unsigned)n;
    else if (slice_eq(name, S("search-terms")))
        s->search_terms_max = (unsigned)n;
    else if (slice_eq(name, S("connections")))
        s->user_connections = (unsigned)n;
    else if (slice_eq(name, S("progress")))
        s->progress_ms = (int64_t)n;
    else if (slice_eq(name, S("append-messages")))
        s->append_messages = (unsigned)n;
    else if (slice_eq(name, S("messages")))
        s->message_limit = (unsigned)n;
    else if (slice_eq(name, S("saved-messages")))
        s->save_limit = (unsigned)n;
    else if (slice_eq(name, S("append-memory")))
        s->append_memory = (size_t)n;
    else
        return false;
    imap_service_free(w->service);
    w->service = imap_service_new(s, w->mail, w->auth);
    return true;
}

static bool directive(void *world, struct run *run, struct slice word, struct slice rest)
{
    ssize_t blank = slice_find(rest, ' ');
    struct slice first = slice_sub(rest, 0, blank < 0 ? rest.n : (size_t)blank);
    struct slice after = slice_skip(rest, first.n + 1);
    uint64_t n;

    if (slice_eq(word, S("login")))
        return slice_to_u64(first, 9, &n) && login_as(run, (unsigned)n, after.n ? after : S("joe"));
    if (slice_eq(word, S("account")))
        return make_account(world, first);
    if (slice_eq(word, S("disable")))
        return imap_world_disable(world, first);
    if (slice_eq(word, S("select")))
        return slice_to_u64(first, 9, &n) && select_mailbox(run, (unsigned)n, after);
    if (slice_eq(word, S("fill")))
        return slice_to_u64(after, 1000000, &n) && imap_world_fill(world, first, (unsigned)n);
    if (slice_eq(word, S("append")))
        return append(world, first, after);
    if (slice_eq(word, S("limit")))
        return limit(world, first, after);
    if (slice_eq(word, S("store")))
        return set_store(world, rest);
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

    return run_main(&ops, argc, argv);
}
