/* SPDX-License-Identifier: MPL-2.0 */
/* eider log: the records of an account, as they stand in the store. */
#include <stdio.h>
#include <stdlib.h>

#include "daemons/cmd.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"
#include "lib/mail/record.h"
#include "lib/store/keys.h"

#define PAGE 500

enum { OPT_FROM = 'f' };

static const struct cmd_option options[] = {
    {OPT_FROM, "from", "SEQ", "begin at this record (default: the oldest that is kept)"}, {0}};

/* --- as JSON --------------------------------------------------------------------------------- */

static void put_text(json_t *o, const char *key, struct slice text)
{
    if (text.n)
        json_object_set_new(o, key, json_stringn_nocheck((const char *)text.p, text.n));
}

static void put_number(json_t *o, const char *key, uint64_t value)
{
    if (value)
        json_object_set_new(o, key, json_integer((json_int_t)value));
}

static void put_id(struct cmd *c, json_t *o, const char *key, uint64_t id)
{
    if (id)
        json_object_set_new(o, key, json_string(cmd_id_text(&c->arena, id)));
}

static void put_flags(json_t *o, const char *key, const struct flags *f)
{
    static const char *const names[] = {"\\Seen", "\\Answered", "\\Flagged", "\\Deleted",
                                        "\\Draft"};
    json_t *list = json_array();

    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (f->system & 1u << i)
            json_array_append_new(list, json_string(names[i]));
    for (size_t i = 0; i < f->n_keywords; i++)
        json_array_append_new(
            list, json_stringn_nocheck((const char *)f->keywords[i].p, f->keywords[i].n));
    if (json_array_size(list))
        json_object_set_new(o, key, list);
    else
        json_decref(list);
}

static json_t *op_json(struct cmd *c, const struct op *op)
{
    CLEANUP(buf_done) struct buf uids = buf_make((size_t)16 << 20);
    json_t *o = json_object();

    json_object_set_new(o, "op", json_string(op_name(op->kind)));
    put_id(c, o, "mailbox", op->mailbox);
    put_id(c, o, "target", op->target);
    put_text(o, "name", op->name);
    put_number(o, "uidvalidity", op->uidvalidity);
    if (op->kind == OP_SUBSCRIBE)
        json_object_set_new(o, "on", json_boolean(op->on));
    put_number(o, "uid", op->uid);
    uidset_print(&op->uids, &uids);
    put_text(o, "uids", buf_slice(&uids));
    put_id(c, o, "message", op->message);
    put_number(o, "size", op->size);
    put_flags(o, op->kind == OP_APPEND ? "flags" : "add", &op->add);
    put_flags(o, "remove", &op->remove);
    put_text(o, "key", op->key);
    put_text(o, "value", op->value.n && record_is_secret(op) ? S("(hidden)") : op->value);
    return o;
}

static void print_json(struct cmd *c, const struct record *rec)
{
    CLEANUP(buf_done) struct buf txid = buf_make(64);
    json_t *o = json_object(), *ops = json_array();

    hex_encode(&txid, slice_of(rec->txid, TXID_SIZE));
    json_object_set_new(o, "seq", json_integer((json_int_t)rec->seq));
    json_object_set_new(o, "time", json_string(cmd_time(&c->arena, rec->t_ms)));
    json_object_set_new(o, "txid", json_string(buf_cstr(&txid)));
    for (size_t i = 0; i < rec->n_ops; i++)
        json_array_append_new(ops, op_json(c, &rec->ops[i]));
    json_object_set_new(o, "ops", ops);
    json_object_set_new(o, "used_bytes", json_integer((json_int_t)rec->used_bytes));
    json_object_set_new(o, "used_messages", json_integer((json_int_t)rec->used_messages));
    cmd_put_json(o);
}

/* --- as text --------------------------------------------------------------------------------- */

static void print_text(struct cmd *c, const struct record *rec)
{
    CLEANUP(buf_done) struct buf ops = buf_make((size_t)64 << 20);
    struct slice rest;

    printf("%llu  %s\n", (unsigned long long)rec->seq, cmd_time(&c->arena, rec->t_ms));
    record_print(rec, &ops);
    rest = buf_slice(&ops);
    while (rest.n) {
        ssize_t end = slice_find(rest, '\n');
        struct slice line = slice_sub(rest, 0, end < 0 ? rest.n : (size_t)end);

        printf("    %.*s\n", SLICE_FMT(line));
        rest = slice_skip(rest, line.n + 1);
    }
}

static int print_page(struct cmd *c, const struct store_docs *docs, uint64_t *next)
{
    CLEANUP(arena_done) struct arena arena = {0};

    for (size_t i = 0; i < docs->n; i++) {
        uint64_t seq = get_be64(docs->items[i].key.p + 8);
        struct record rec;
        int r;

        arena_reset(&arena);
        r = record_decode(docs->items[i].head, seq, &arena, &rec, &c->error);
        if (r < 0)
            return r;
        if (c->json)
            print_json(c, &rec);
        else
            print_text(c, &rec);
        *next = seq + 1;
    }
    return 0;
}

static int run(struct cmd *c, int argc, char **argv)
{
    struct directory_account account;
    const char *from = "0";
    uint64_t next;
    bool more = true;
    int r;

    if (cmd_option(c, OPT_FROM, &from) && !slice_to_u64(slice_str(from), UINT64_MAX - 1, &next))
        return cmd_usage_error(c, "--from takes the number of a record");
    next = strtoull(from, NULL, 10);
    if ((r = cmd_open_directory(c)) || (r = cmd_find_account(c, argv[0], &account)))
        return r;
    while (more) {
        struct key16 begin = key_pair(account.id, next), end = key_pair(account.id, UINT64_MAX);
        CLEANUP(store_docs_done) struct store_docs docs = {0};

        r = store_range(c->store,
                        &(struct store_query){.table = STORE_LOG,
                                              .from = KEY_SLICE(begin),
                                              .to = KEY_SLICE(end),
                                              .limit = PAGE,
                                              .parts = STORE_HEAD,
                                              .level = STORE_MAJORITY},
                        &docs, &c->error);
        if (r == 0)
            r = print_page(c, &docs, &next);
        if (r < 0)
            return cmd_fail(c, argv[0]);
        more = docs.more;
    }
    return CMD_OK;
}

const struct command cmd_log = {
    .name = "log",
    .usage = "[OPTION...] LOGIN",
    .brief = "show the records of an account's log",
    .help = "All that ever happened to an account is a record in its log. Records below a snapshot "
            "are removed after a day; what is older than that cannot be shown.",
    .options = options,
    .json = true,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
