/* SPDX-License-Identifier: MPL-2.0 */
#include <stdio.h>
#include <string.h>

#include "daemons/cmd.h"
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/queue/dkim.h"

#define HOUR_MS         INT64_C(3600000)
#define ROTATE_HOURS    24
#define HOURS_MAX       (24 * 365)
#define RSA_BITS        2048
#define KEY_FILE_MAX    ((size_t)64 << 10)
#define TXT_STRING_MAX  255 /* bytes of one string of a TXT record */
#define OPTION_AFTER    256
#define OPTION_SELECTOR 257
#define OPTION_KEY      258
#define OPTION_BITS     259

/* ---- what all have in common ---- */

struct dkim_call {
    struct cmd *c;
    struct dkim *dkim;
    const char *domain;
};

static int begin(struct cmd *c, const char *domain, struct dkim_call *ret)
{
    int r = cmd_open_store(c);

    *ret = (struct dkim_call){.c = c};
    if (r != 0)
        return r;
    if (domain && domain_normalise(slice_str(domain), &c->arena, &ret->domain, &c->error) < 0)
        return cmd_fail(c, domain);
    ret->dkim = dkim_new(c->store, 0);
    return 0;
}

static bool number_option(struct cmd *c, int letter, uint64_t max, uint64_t *ret)
{
    const char *text;

    return !cmd_option(c, letter, &text) || slice_to_u64(slice_str(text), max, ret);
}

static void put_quoted(struct slice text)
{
    for (size_t at = 0; at < text.n; at += TXT_STRING_MAX) {
        struct slice piece = slice_sub(text, at, at + TXT_STRING_MAX);

        printf("%s\"%.*s\"", at ? " " : "", SLICE_FMT(piece));
    }
}

/* As a line of a zone file; long values are several strings, which resolvers join. */
static int put_record(struct cmd *c, const struct dkim_key *key)
{
    CLEANUP(buf_done) struct buf record = buf_make(8192);

    if (dkim_key_record(key, &record, &c->error) < 0)
        return cmd_fail(c, key->selector);
    printf("%s._domainkey.%s. IN TXT ( ", key->selector, key->domain);
    put_quoted(buf_slice(&record));
    printf(" )\n");
    return 0;
}

static json_t *time_or_null(struct arena *a, int64_t ms)
{
    return ms ? json_string(cmd_time(a, ms)) : json_null();
}

static int put_key(struct cmd *c, const struct dkim_key *key, bool record)
{
    const char *status = dkim_status_name(dkim_key_status(key, clock_wall_ms()));
    CLEANUP(buf_done) struct buf text = buf_make(8192);

    if (!c->json) {
        if (record)
            return put_record(c, key);
        printf("%s\t%s\t%s\t%u\t%s\t%s\t%s\n", key->domain, key->selector,
               dkim_algorithm_name(key->algorithm), key->bits, status,
               cmd_time(&c->arena, key->active_ms),
               key->retired_ms ? cmd_time(&c->arena, key->retired_ms) : "-");
        return 0;
    }
    if (dkim_key_record(key, &text, &c->error) < 0)
        return cmd_fail(c, key->selector);
    cmd_put_json(json_pack("{s:s, s:s, s:s, s:i, s:s, s:o, s:o, s:o, s:s, s:s}", "domain",
                           key->domain, "selector", key->selector, "algorithm",
                           dkim_algorithm_name(key->algorithm), "bits", (int)key->bits, "status",
                           status, "created", time_or_null(&c->arena, key->created_ms), "active",
                           time_or_null(&c->arena, key->active_ms), "retired",
                           time_or_null(&c->arena, key->retired_ms), "name",
                           arena_printf(&c->arena, "%s._domainkey.%s", key->selector, key->domain),
                           "record", buf_cstr(&text)));
    return 0;
}

/* ---- add, rotate ---- */

/* "rsa20261129", and a letter behind it where that is taken. */
static int add_with_date(struct dkim_call *call, struct dkim_key *key)
{
    struct civil day = civil_from_unix(key->created_ms / 1000, 0);
    struct error *err = &call->c->error;
    int rc = -ERR_EXISTS;

    for (int i = 0; rc == -ERR_EXISTS && i <= DKIM_KEYS_MAX; i++) {
        const char letter[2] = {i ? (char)('a' + i) : '\0', '\0'};

        key->selector = arena_printf(&call->c->arena, "%s%04d%02d%02d%s",
                                     key->algorithm == DKIM_RSA_SHA256 ? "rsa" : "ed", day.year,
                                     day.month, day.day, letter);
        rc = dkim_key_add(call->dkim, key, err);
    }
    return rc;
}

static int add_key(struct dkim_call *call, struct dkim_key *key, int64_t active_ms)
{
    struct cmd *c = call->c;
    const char *selector = "";
    int rc;

    key->domain = call->domain;
    key->created_ms = clock_wall_ms();
    key->active_ms = active_ms;
    if (cmd_option(c, OPTION_SELECTOR, &selector)) {
        key->selector = selector;
        rc = dkim_key_add(call->dkim, key, &c->error);
    } else {
        rc = add_with_date(call, key);
    }
    return rc < 0 ? cmd_fail(c, call->domain) : put_key(c, key, true);
}

static int make_and_add(struct dkim_call *call, enum dkim_algorithm algorithm, unsigned bits,
                        int64_t active_ms)
{
    struct dkim_key key = {0};

    if (dkim_key_make(algorithm, bits, &call->c->arena, &key, &call->c->error) < 0)
        return cmd_fail(call->c, NULL);
    return add_key(call, &key, active_ms);
}

static int read_key_file(struct cmd *c, const char *path, struct dkim_key *ret)
{
    CLEANUP(buf_done) struct buf text = buf_make(KEY_FILE_MAX);
    FILE *f = fopen(path, "re");
    size_t got = f ? fread(buf_reserve(&text, KEY_FILE_MAX), 1, KEY_FILE_MAX, f) : 0;

    if (!f) {
        error_set(&c->error, ERR_NOTFOUND, "cannot read %s: %m", path);
        return cmd_fail(c, NULL);
    }
    fclose(f);
    text.n = got;
    int rc = dkim_key_read(buf_slice(&text), &c->arena, ret, &c->error);
    memset(text.p, 0, text.n);
    return rc < 0 ? cmd_fail(c, path) : 0;
}

static int add_chosen(struct dkim_call *call, unsigned bits, int64_t active_ms)
{
    struct cmd *c = call->c;
    const char *path, *algorithm = "both";
    struct dkim_key key = {0};
    int r = 0;

    if (cmd_option(c, OPTION_KEY, &path)) {
        r = read_key_file(c, path, &key);
        return r != 0 ? r : add_key(call, &key, active_ms);
    }
    cmd_option(c, 'a', &algorithm);
    bool rsa = strcmp(algorithm, "ed25519") != 0, ed = strcmp(algorithm, "rsa") != 0;
    if (rsa && ed && strcmp(algorithm, "both") != 0)
        return cmd_usage_error(c, "%s is none of rsa, ed25519, both", algorithm);
    if (rsa && ed && cmd_option(c, OPTION_SELECTOR, NULL))
        return cmd_usage_error(c, "two keys need two selectors: say which algorithm");
    if (rsa)
        r = make_and_add(call, DKIM_RSA_SHA256, bits, active_ms);
    if (ed && r == 0)
        r = make_and_add(call, DKIM_ED25519_SHA256, 0, active_ms);
    return r;
}

static int run_add(struct cmd *c, int argc, char **argv)
{
    uint64_t hours = 0, bits = RSA_BITS;
    struct dkim_call call;
    int r = begin(c, argv[0], &call);

    if (r != 0)
        return r;
    if (!number_option(c, OPTION_AFTER, HOURS_MAX, &hours) ||
        !number_option(c, OPTION_BITS, 65536, &bits))
        r = cmd_usage_error(c, "a number is wanted");
    else
        r = add_chosen(&call, (unsigned)bits, clock_wall_ms() + (int64_t)hours * HOUR_MS);
    dkim_free(call.dkim);
    return r;
}

/* For each algorithm in use a new key; the old ones end where the new ones begin. */
static int rotate(struct dkim_call *call, int64_t when_ms)
{
    struct cmd *c = call->c;
    struct dkim_key *list;
    bool made[3] = {false}; /* by enum dkim_algorithm */
    size_t n;
    int r = 0;

    if (dkim_key_list(call->dkim, call->domain, &c->arena, &list, &n, &c->error) < 0)
        return cmd_fail(c, call->domain);
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct dkim_key *key = &list[i];

        if (key->retired_ms != 0)
            continue;
        if (!made[key->algorithm])
            r = make_and_add(call, key->algorithm, key->bits, when_ms);
        made[key->algorithm] = true;
        if (r == 0 &&
            dkim_key_retire(call->dkim, call->domain, key->selector, when_ms, &c->error) < 0)
            r = cmd_fail(c, key->selector);
    }
    if (r == 0 && !made[DKIM_RSA_SHA256] && !made[DKIM_ED25519_SHA256]) {
        error_set(&c->error, ERR_NOTFOUND, "there is no key to be replaced");
        r = cmd_fail(c, call->domain);
    }
    return r;
}

static int run_rotate(struct cmd *c, int argc, char **argv)
{
    uint64_t hours = ROTATE_HOURS;
    struct dkim_call call;
    int r = begin(c, argv[0], &call);

    if (r != 0)
        return r;
    if (!number_option(c, OPTION_AFTER, HOURS_MAX, &hours))
        r = cmd_usage_error(c, "a number of hours is wanted");
    else
        r = rotate(&call, clock_wall_ms() + (int64_t)hours * HOUR_MS);
    dkim_free(call.dkim);
    return r;
}

/* ---- list, show, delete ---- */

static int put_keys(struct cmd *c, const char *domain, const char *selector, bool record)
{
    struct dkim_call call;
    struct dkim_key *list;
    bool found = false;
    size_t n;
    int r = begin(c, domain, &call);

    if (r != 0)
        return r;
    if (dkim_key_list(call.dkim, call.domain, &c->arena, &list, &n, &c->error) < 0) {
        r = cmd_fail(c, domain);
        n = 0;
    }
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (selector && strcmp(selector, list[i].selector) != 0)
            continue;
        found = true;
        r = put_key(c, &list[i], record);
    }
    if (r == 0 && record && !found) {
        error_set(&c->error, ERR_NOTFOUND, "there is no such key");
        r = cmd_fail(c, selector ? selector : domain);
    }
    dkim_free(call.dkim);
    return r;
}

static int run_list(struct cmd *c, int argc, char **argv)
{
    return put_keys(c, argc > 0 ? argv[0] : NULL, NULL, false);
}

static int run_show(struct cmd *c, int argc, char **argv)
{
    return put_keys(c, argv[0], argc > 1 ? argv[1] : NULL, true);
}

static int run_delete(struct cmd *c, int argc, char **argv)
{
    struct dkim_call call;
    int r = begin(c, argv[0], &call);

    for (int i = 1; r == 0 && i < argc; i++)
        if (dkim_key_delete(call.dkim, call.domain, argv[i], &c->error) < 0)
            r = cmd_fail(c, argv[i]);
    dkim_free(call.dkim);
    return r;
}

/* ---- rows ---- */

static const struct cmd_option add_options[] = {
    {'a', "algorithm", "NAME",
     "rsa, ed25519, or both, which is the default: receivers that do not "
     "know Ed25519 look at the RSA signature."},
    {OPTION_BITS, "bits", "N", "Of an RSA key, 1024 to 4096; else 2048."},
    {OPTION_KEY, "key", "FILE",
     "Take this private key, in PEM or DER without a passphrase, instead of making one."},
    {OPTION_SELECTOR, "selector", "NAME",
     "The key's name in the DNS; else one is made from algorithm and date."},
    {OPTION_AFTER, "after", "HOURS", "Sign with it only after so many hours; else at once."},
    {0}};

static const struct cmd_option rotate_options[] = {
    {OPTION_AFTER, "after", "HOURS", "When the new keys take over; else after 24."}, {0}};

const struct command cmd_dkim_add = {
    .name = "dkim add",
    .usage = "[OPTION...] DOMAIN",
    .brief = "make keys that sign a domain's outgoing mail",
    .help = "Makes an RSA and an Ed25519 key for DKIM signatures of mail from DOMAIN, or one of "
            "them, and prints what has to be put into the DNS, as lines of a zone file. Every "
            "active key signs; so put the records there first, or use --after.\n"
            "Private keys lie in the store, readable for whoever can read that.",
    .options = add_options,
    .json = true,
    .min_args = 1,
    .max_args = 1,
    .run = run_add,
};

const struct command cmd_dkim_list = {
    .name = "dkim list",
    .usage = "[OPTION...] [DOMAIN]",
    .brief = "list signing keys",
    .help = "Writes a line for each key: domain, selector, algorithm, bits, status (waiting, "
            "active, retired), since when it signs and until when (- for no end), separated by "
            "tabs.",
    .json = true,
    .max_args = 1,
    .run = run_list,
};

const struct command cmd_dkim_show = {
    .name = "dkim show",
    .usage = "[OPTION...] DOMAIN [SELECTOR]",
    .brief = "print the DNS records of signing keys",
    .help = "Prints what has to be in the DNS for the keys of DOMAIN, or for one of them, as lines "
            "of a zone file.",
    .json = true,
    .min_args = 1,
    .max_args = 2,
    .run = run_show,
};

const struct command cmd_dkim_rotate = {
    .name = "dkim rotate",
    .usage = "[OPTION...] DOMAIN",
    .brief = "let new signing keys take over",
    .help = "For each algorithm in use makes a new key, which takes over a day from now, and "
            "prints its DNS record: put that into the DNS within the day. Leave the records of the "
            "old keys there for a week or so after that: mail under way is still checked with "
            "them. Then remove them there, and here by dkim delete.",
    .options = rotate_options,
    .json = true,
    .min_args = 1,
    .max_args = 1,
    .run = run_rotate,
};

const struct command cmd_dkim_delete = {
    .name = "dkim delete",
    .usage = "[OPTION...] DOMAIN SELECTOR...",
    .brief = "remove signing keys",
    .help = "Removes keys at once. Servers stop signing with them within half a minute.",
    .min_args = 2,
    .max_args = -1,
    .run = run_delete,
};
