/* SPDX-License-Identifier: MPL-2.0 */
/* eider queue: what waits to be sent, and what is to become of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "daemons/cmd.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/queue/admin.h"

enum {
    OPT_DESTINATION = 'd',
    OPT_SENDER = 's',
    OPT_RECIPIENT = 'r',
    OPT_ACCOUNT = 'a',
    OPT_OLDER = 'o',
    OPT_HELD = 'H',
    OPT_ALL = 256
};

#define FILTER_OPTIONS                                                                             \
    {OPT_DESTINATION, "destination", "DOMAIN", "only what goes there"},                            \
        {OPT_SENDER, "sender", "ADDRESS", "only what has this envelope sender"},                   \
        {OPT_RECIPIENT, "recipient", "ADDRESS", "only what has this recipient"},                   \
        {OPT_ACCOUNT, "account", "LOGIN", "only what this account has sent"},                      \
        {OPT_OLDER, "older", "TIME", "only what was queued so long ago (90s, 30m, 4h, 2d)"},       \
    {                                                                                              \
        OPT_HELD, "held", NULL, "only what is held"                                                \
    }

static const struct cmd_option list_options[] = {FILTER_OPTIONS, {0}};
static const struct cmd_option act_options[] = {
    FILTER_OPTIONS, {OPT_ALL, "all", NULL, "all that fits (needed where no ID is given)"}, {0}};

/* --- what is meant --------------------------------------------------------------------------- */

/* "90", "30m", ... in milliseconds. */
static bool parse_time(const char *text, int64_t *ret)
{
    static const struct {
        char letter;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    struct slice s = slice_str(text);
    int64_t unit = 1;
    uint64_t n;

    for (size_t i = 0; i < ARRAY_LEN(units) && s.n; i++)
        if (s.p[s.n - 1] == units[i].letter) {
            unit = units[i].seconds;
            s.n--;
            break;
        }
    if (!slice_to_u64(s, 1000000000, &n))
        return false;
    *ret = (int64_t)n * unit * 1000;
    return true;
}

/* "0005...", or "0005.../2" for one entry. */
static bool parse_id(const char *text, struct queue_filter *f)
{
    CLEANUP(buf_done) struct buf id = buf_make(16);
    const char *slash = strchr(text, '/');
    struct slice hex = slash ? slice_of(text, (size_t)(slash - text)) : slice_str(text);
    uint64_t number;

    if (hex.n != 16 || hex_decode(&id, hex) < 0 || id.n != 8)
        return false;
    f->id = get_be64(id.p);
    f->number = -1;
    if (!slash)
        return f->id != 0;
    if (!slice_to_u64(slice_str(slash + 1), UINT16_MAX, &number))
        return false;
    f->number = (int)number;
    return f->id != 0;
}

static int read_filter(struct cmd *c, struct queue_filter *f)
{
    struct directory_account account;
    const char *arg;
    int r;

    *f = (struct queue_filter){.number = -1};
    cmd_option(c, OPT_DESTINATION, &f->destination);
    cmd_option(c, OPT_SENDER, &f->sender);
    cmd_option(c, OPT_RECIPIENT, &f->recipient);
    f->held = cmd_option(c, OPT_HELD, NULL);
    if (cmd_option(c, OPT_OLDER, &arg) && (!parse_time(arg, &f->older_ms) || !f->older_ms))
        return cmd_usage_error(c, "--older takes a time like 90s, 30m, 4h or 2d");
    r = cmd_open_directory(c);
    if (r == 0 && cmd_option(c, OPT_ACCOUNT, &arg)) {
        r = cmd_find_account(c, arg, &account);
        f->account = r == 0 ? account.id : 0;
    }
    return r;
}

/* --- showing --------------------------------------------------------------------------------- */

struct visit {
    struct cmd *cmd;
    struct queue *queue;
    enum queue_action action;
    size_t n, done;
    int result; /* of the last action; below 0 ends it */
};

static const char *state_of(const struct queue_entry *e)
{
    if (e->held)
        return "held";
    if (e->lease_ms > e->read_ms)
        return "under way";
    return e->due_ms > e->read_ms ? "waiting" : "due";
}

static const char *const target_states[] = {
    [QUEUE_WAITING] = "waiting", [QUEUE_DELIVERED] = "delivered", [QUEUE_FAILED] = "failed"};

static json_t *targets_json(struct cmd *c, const struct queue_entry *e)
{
    json_t *list = json_array();

    for (size_t i = 0; i < e->n; i++) {
        const struct queue_target *t = &e->targets[i];
        json_t *o = json_object();

        json_object_set_new(o, "address", json_string(t->to.address));
        json_object_set_new(o, "state", json_string(target_states[t->state]));
        if (t->when_ms) {
            json_object_set_new(o, "last_attempt", json_string(cmd_time(&c->arena, t->when_ms)));
            json_object_set_new(o, "code", json_integer(t->code));
            json_object_set_new(o, "status", json_string(t->status));
            json_object_set_new(o, "reply", json_string(t->text));
            json_object_set_new(o, "server", json_string(t->remote));
        }
        json_array_append_new(list, o);
    }
    return list;
}

static void put_json(struct cmd *c, const struct queue_found *f)
{
    const struct queue_entry *e = &f->entry;
    char id[QUEUE_ID_TEXT];
    json_t *o = json_object();

    queue_id_text(e->id, id);
    json_object_set_new(o, "id", json_string(id));
    json_object_set_new(o, "entry", json_integer(e->number));
    json_object_set_new(o, "state", json_string(state_of(e)));
    json_object_set_new(o, "sender", json_string(f->stored.envelope.sender));
    if (f->stored.envelope.account)
        json_object_set_new(o, "account",
                            json_string(cmd_id_text(&c->arena, f->stored.envelope.account)));
    json_object_set_new(o, "destination", json_string(e->destination));
    json_object_set_new(o, "size", json_integer((json_int_t)f->stored.size));
    json_object_set_new(o, "queued", json_string(cmd_time(&c->arena, f->queued_ms)));
    json_object_set_new(o, "due", json_string(cmd_time(&c->arena, e->due_ms)));
    json_object_set_new(o, "attempts", json_integer(e->attempts));
    json_object_set_new(o, "priority", json_integer(f->stored.envelope.priority));
    json_object_set_new(o, "recipients", targets_json(c, e));
    cmd_put_json(o);
}

/* The last word of a server, of the first recipient that has one. */
static const char *last_reply(const struct queue_entry *e)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->targets[i].state == QUEUE_WAITING && e->targets[i].when_ms)
            return e->targets[i].text;
    return "";
}

static bool put_line(void *ctx, struct queue_found *f)
{
    struct visit *v = ctx;
    struct cmd *c = v->cmd;
    const struct queue_entry *e = &f->entry;
    char id[QUEUE_ID_TEXT];
    size_t waiting = 0;

    v->n++;
    if (c->json) {
        put_json(c, f);
        return true;
    }
    queue_id_text(e->id, id);
    for (size_t i = 0; i < e->n; i++)
        waiting += e->targets[i].state == QUEUE_WAITING;
    printf("%s/%u  %s  %s  <%s>  %s  %zu of %zu  %s\n", id, e->number,
           cmd_time(&c->arena, f->queued_ms), cmd_human_size(&c->arena, f->stored.size),
           f->stored.envelope.sender, e->destination, waiting, e->n, state_of(e));
    if (*last_reply(e))
        printf("    %s\n", last_reply(e));
    return true;
}

static void put_targets(struct cmd *c, const struct queue_entry *e)
{
    for (size_t i = 0; i < e->n; i++) {
        const struct queue_target *t = &e->targets[i];

        printf("  <%s>  %s\n", t->to.address, target_states[t->state]);
        if (t->when_ms)
            printf("      %s  %s%s%s\n", cmd_time(&c->arena, t->when_ms), t->remote,
                   *t->remote ? ": " : "", *t->text ? t->text : t->status);
    }
}

static bool put_whole(void *ctx, struct queue_found *f)
{
    struct visit *v = ctx;
    struct cmd *c = v->cmd;
    const struct queue_entry *e = &f->entry;
    char id[QUEUE_ID_TEXT];

    v->n++;
    if (c->json) {
        put_json(c, f);
        return true;
    }
    queue_id_text(e->id, id);
    printf("%s/%u\n  from <%s>, %s, queued %s\n", id, e->number, f->stored.envelope.sender,
           cmd_human_size(&c->arena, f->stored.size), cmd_time(&c->arena, f->queued_ms));
    printf("  to %s: %s, %u attempts", e->destination, state_of(e), e->attempts);
    if (!e->held)
        printf(", due %s", cmd_time(&c->arena, e->due_ms));
    printf("\n");
    put_targets(c, e);
    return true;
}

static struct queue *open_queue(struct cmd *c)
{
    return queue_new(c->store);
}

static int run_list(struct cmd *c, int argc, char **argv)
{
    struct visit v = {.cmd = c};
    struct queue_filter f;
    struct queue *q;
    int r = read_filter(c, &f);

    (void)argc, (void)argv;
    if (r)
        return r;
    q = open_queue(c);
    r = queue_list(q, &f, put_line, &v, &c->error);
    queue_free(q);
    return r < 0 ? cmd_fail(c, NULL) : CMD_OK;
}

static int run_show(struct cmd *c, int argc, char **argv)
{
    struct queue *q;
    int r = cmd_open_directory(c);

    if (r)
        return r;
    q = open_queue(c);
    for (int i = 0; i < argc && r == 0; i++) {
        struct queue_filter f = {0};
        struct visit v = {.cmd = c};

        if (!parse_id(argv[i], &f))
            r = cmd_usage_error(c, "%s is no queue id", argv[i]);
        else if (queue_list(q, &f, put_whole, &v, &c->error) < 0)
            r = cmd_fail(c, argv[i]);
        else if (v.n == 0)
            r = cmd_exit_code(error_set(&c->error, ERR_NOTFOUND, "nothing waits under this id"));
        if (r == CMD_NOT_FOUND)
            cmd_fail(c, argv[i]);
    }
    queue_free(q);
    return r;
}

/* --- acting ---------------------------------------------------------------------------------- */

static bool act(void *ctx, struct queue_found *f)
{
    struct visit *v = ctx;

    v->n++;
    v->result = queue_act(v->queue, f, v->action, &v->cmd->error);
    v->done += v->result > 0;
    return v->result >= 0;
}

static int act_on(struct visit *v, const struct queue_filter *f, const char *what)
{
    struct cmd *c = v->cmd;
    size_t before = v->n;

    if (queue_list(v->queue, f, act, v, &c->error) < 0 || v->result < 0)
        return cmd_fail(c, what);
    if (what && v->n == before) {
        error_set(&c->error, ERR_NOTFOUND, "nothing waits under this id");
        return cmd_fail(c, what);
    }
    return CMD_OK;
}

static int act_on_ids(struct visit *v, struct queue_filter *f, int argc, char **argv)
{
    int r = CMD_OK;

    for (int i = 0; i < argc && r == 0; i++)
        r = parse_id(argv[i], f) ? act_on(v, f, argv[i])
                                 : cmd_usage_error(v->cmd, "%s is no queue id", argv[i]);
    return r;
}

static int run_act(struct cmd *c, int argc, char **argv, enum queue_action action)
{
    struct visit v = {.cmd = c, .action = action};
    bool all = cmd_option(c, OPT_ALL, NULL);
    struct queue_filter f;
    int r;

    if (all == (argc > 0))
        return cmd_usage_error(c, "give queue ids, or --all and what is to fit");
    r = read_filter(c, &f);
    if (r)
        return r;
    v.queue = open_queue(c);
    r = all ? act_on(&v, &f, NULL) : act_on_ids(&v, &f, argc, argv);
    queue_free(v.queue);
    if (c->json)
        cmd_put_json(
            json_pack("{s:I, s:I}", "found", (json_int_t)v.n, "changed", (json_int_t)v.done));
    else
        printf("%zu of %zu\n", v.done, v.n);
    return r;
}

static int run_retry(struct cmd *c, int argc, char **argv)
{
    return run_act(c, argc, argv, QUEUE_RETRY);
}

static int run_hold(struct cmd *c, int argc, char **argv)
{
    return run_act(c, argc, argv, QUEUE_HOLD);
}

static int run_release(struct cmd *c, int argc, char **argv)
{
    return run_act(c, argc, argv, QUEUE_RELEASE);
}

static int run_delete(struct cmd *c, int argc, char **argv)
{
    return run_act(c, argc, argv, QUEUE_DELETE);
}

/* --- counting -------------------------------------------------------------------------------- */

struct place {
    size_t entries, recipients, held, due;
    int64_t oldest_ms;
    UT_hash_handle hh;
    char name[];
};

struct sums {
    struct place *places;
};

static bool count(void *ctx, struct queue_found *f)
{
    struct sums *s = ctx;
    const struct queue_entry *e = &f->entry;
    struct place *p;

    HASH_FIND_STR(s->places, e->destination, p);
    if (!p) {
        size_t n = strlen(e->destination);

        p = mem_zalloc(sizeof *p + n + 1);
        memcpy(p->name, e->destination, n);
        p->oldest_ms = f->queued_ms;
        HASH_ADD_KEYPTR(hh, s->places, p->name, n, p);
    }
    p->entries++;
    for (size_t i = 0; i < e->n; i++)
        p->recipients += e->targets[i].state == QUEUE_WAITING;
    p->held += e->held;
    p->due += !e->held && e->due_ms <= e->read_ms;
    p->oldest_ms = MIN(p->oldest_ms, f->queued_ms);
    return true;
}

static int most_first(struct place *a, struct place *b)
{
    return (a->entries < b->entries) - (a->entries > b->entries);
}

static void put_place(struct cmd *c, const struct place *p)
{
    if (c->json)
        cmd_put_json(json_pack("{s:s, s:I, s:I, s:I, s:I, s:s}", "destination", p->name, "entries",
                               (json_int_t)p->entries, "recipients", (json_int_t)p->recipients,
                               "due", (json_int_t)p->due, "held", (json_int_t)p->held, "oldest",
                               cmd_time(&c->arena, p->oldest_ms)));
    else
        printf("%s\t%zu entries\t%zu recipients\t%zu due\t%zu held\toldest %s\n", p->name,
               p->entries, p->recipients, p->due, p->held, cmd_time(&c->arena, p->oldest_ms));
}

static int run_stats(struct cmd *c, int argc, char **argv)
{
    struct sums s = {0};
    struct queue_filter f;
    struct place *p, *next;
    struct queue *q;
    int r = read_filter(c, &f);

    (void)argc, (void)argv;
    if (r)
        return r;
    q = open_queue(c);
    r = queue_list(q, &f, count, &s, &c->error);
    queue_free(q);
    HASH_SORT(s.places, most_first);
    HASH_ITER (hh, s.places, p, next) {
        if (r == 0)
            put_place(c, p);
        HASH_DEL(s.places, p);
        free(p);
    }
    return r < 0 ? cmd_fail(c, NULL) : CMD_OK;
}

/* --- rows ------------------------------------------------------------------------------------ */

const struct command cmd_queue_list = {
    .name = "queue list",
    .usage = "[OPTION...]",
    .brief = "list what waits to be sent",
    .help =
        "A message in the queue has an entry for each destination. Writes a line for each entry "
        "that fits: id and number, when it was queued, size, envelope sender, destination, "
        "recipients, state; and below it what a server said last.",
    .options = list_options,
    .json = true,
    .run = run_list,
};

const struct command cmd_queue_show = {
    .name = "queue show",
    .usage = "[OPTION...] ID...",
    .brief = "show entries of the queue with their recipients",
    .help =
        "ID is what the log, the submission's reply and queue list name: 16 hex digits, for all "
        "entries of a message, or with /NUMBER for one.",
    .json = true,
    .min_args = 1,
    .max_args = 1000,
    .run = run_show,
};

const struct command cmd_queue_retry = {
    .name = "queue retry",
    .usage = "[OPTION...] ID... | --all [OPTION...]",
    .brief = "attempt entries now",
    .help =
        "What waits for its next attempt becomes due. Prints how many were changed, of how many "
        "that fit.",
    .options = act_options,
    .json = true,
    .max_args = 1000,
    .run = run_retry,
};

const struct command cmd_queue_hold = {
    .name = "queue hold",
    .usage = "[OPTION...] ID... | --all [OPTION...]",
    .brief = "attempt entries no more, until they are released",
    .help =
        "What is held is neither attempted nor bounced, however old it becomes. An attempt that "
        "is under way goes on.",
    .options = act_options,
    .json = true,
    .max_args = 1000,
    .run = run_hold,
};

const struct command cmd_queue_release = {
    .name = "queue release",
    .usage = "[OPTION...] ID... | --all [OPTION...]",
    .brief = "release entries that are held",
    .help = "They are due at once. What has become too old meanwhile is bounced.",
    .options = act_options,
    .json = true,
    .max_args = 1000,
    .run = run_release,
};

const struct command cmd_queue_delete = {
    .name = "queue delete",
    .usage = "[OPTION...] ID... | --all [OPTION...]",
    .brief = "remove entries from the queue",
    .help = "Nobody is told. Recipients that have the message already keep it, and an attempt that "
            "is under way goes on.",
    .options = act_options,
    .json = true,
    .max_args = 1000,
    .run = run_delete,
};

const struct command cmd_queue_stats = {
    .name = "queue stats",
    .usage = "[OPTION...]",
    .brief = "count what waits to be sent, by destination",
    .help = "Writes a line for each destination, those with the most entries first.",
    .options = list_options,
    .json = true,
    .run = run_stats,
};
