/* SPDX-License-Identifier: MPL-2.0 */
/* The transcripts of POP3. Directives of this world:
 *   @append text       a message into INBOX; ${...} as in C lines
 *   @fill n            n messages into INBOX
 *   @limit NAME n      before any connection: login-timeout, idle-timeout (ms), login-delay (s),
 *                      connections (of one account), bad-commands
 *   @store down|up     the store refuses everything; works
 */
#include "tests/session/pop3_world.h"
#include "tests/session/run.h"

static void *world_new(void)
{
    return pop3_world_new();
}

static void world_free(void *world)
{
    pop3_world_free(world);
}

static struct session *open_session(void *world, struct slice how)
{
    return pop3_world_open(world, how);
}

static enum fault refuse_all(void *ctx, const char *verb, enum store_table table)
{
    return FAULT_REFUSED;
}

static bool set_store(struct pop3_world *w, struct slice how)
{
    struct fault_plan plan = {.hook = slice_eq(how, S("down")) ? refuse_all : NULL};

    store_faulty_set(w->node->store, &plan);
    return plan.hook || slice_eq(how, S("up"));
}

static bool append(struct pop3_world *w, struct slice text)
{
    struct buf bytes = buf_make(BUF_MAX_DEFAULT);
    bool ok = transcript_expand(text, &(struct catches){0}, &bytes) &&
              imap_world_append(w->node, S("INBOX"), buf_slice(&bytes));

    buf_done(&bytes);
    return ok;
}

static bool limit(struct pop3_world *w, struct slice name, struct slice value)
{
    struct pop3_settings s = w->settings;
    uint64_t n;

    if (!slice_to_u64(value, 1000000, &n))
        return false;
    if (slice_eq(name, S("login-timeout")))
        s.login_timeout_ms = (int64_t)n;
    else if (slice_eq(name, S("idle-timeout")))
        s.idle_timeout_ms = (int64_t)n;
    else if (slice_eq(name, S("login-delay")))
        s.login_delay_s = (unsigned)n;
    else if (slice_eq(name, S("connections")))
        s.user_connections = (unsigned)n;
    else if (slice_eq(name, S("bad-commands")))
        s.bad_commands = (unsigned)n;
    else
        return false;
    pop3_world_set(w, &s);
    return true;
}

static bool directive(void *world, struct run *run, struct slice word, struct slice rest)
{
    ssize_t blank = slice_find(rest, ' ');
    struct slice first = slice_sub(rest, 0, blank < 0 ? rest.n : (size_t)blank);
    struct pop3_world *w = world;
    uint64_t n;

    if (slice_eq(word, S("append")))
        return append(w, rest);
    if (slice_eq(word, S("fill")))
        return slice_to_u64(rest, 1000000, &n) && imap_world_fill(w->node, S("INBOX"), (unsigned)n);
    if (slice_eq(word, S("limit")))
        return limit(w, first, slice_skip(rest, first.n + 1));
    if (slice_eq(word, S("store")))
        return set_store(w, rest);
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
