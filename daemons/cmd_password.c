/* SPDX-License-Identifier: MPL-2.0 */
#include "daemons/cmd_password.h"

#include <string.h>
#include <unistd.h>

#include "daemons/settings.h"
#include "lib/auth/password.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

bool cmd_password_ready(struct cmd *c, const char *text, struct cmd_password *ret)
{
    const char *end = *text == '{' ? strchr(text, '}') : NULL;
    const char *bare = end ? end + 1 : text;
    enum scram_hash kind;

    if (!password_hash_known(text))
        return false;
    if (!password_scram_kind(bare, &kind))
        ret->hash = arena_str(&c->arena, slice_str(bare));
    else if (kind == SCRAM_SHA1)
        ret->scram_sha1 = arena_str(&c->arena, slice_str(bare));
    else
        ret->scram = arena_str(&c->arena, slice_str(bare));
    return true;
}

static int make_scram(struct cmd *c, const char *plain, const struct password_cost *cost,
                      enum scram_hash hash, const char **ret)
{
    CLEANUP(buf_done) struct buf text = buf_make(PASSWORD_HASH_MAX);
    uint32_t iterations = password_scram_iterations(cost, hash);
    int r = 0;

    if (iterations)
        r = password_scram(slice_str(plain), hash, iterations, &text, &c->error);
    *ret = arena_str(&c->arena, buf_slice(&text));
    return r;
}

int cmd_password_make(struct cmd *c, const char *plain, struct cmd_password *ret)
{
    CLEANUP(buf_done) struct buf hash = buf_make(PASSWORD_HASH_MAX);
    struct password_cost cost;
    int r;

    settings_password(c->conf, &cost);
    r = password_hash(slice_str(plain), &cost, &hash, &c->error);
    if (r == 0)
        r = make_scram(c, plain, &cost, SCRAM_SHA256, &ret->scram);
    if (r == 0)
        r = make_scram(c, plain, &cost, SCRAM_SHA1, &ret->scram_sha1);
    if (r < 0)
        return cmd_fail(c, NULL);
    ret->hash = arena_str(&c->arena, buf_slice(&hash));
    return 0;
}

int cmd_password_random(struct cmd *c, struct cmd_password *ret)
{
    CLEANUP(buf_done) struct buf text = buf_make(100);

    password_random(&text);
    ret->random = arena_str(&c->arena, buf_slice(&text));
    return cmd_password_make(c, ret->random, ret);
}

static int from_stdin(struct cmd *c, struct cmd_password *ret)
{
    char *first = cmd_read_secret(c, "Password"), *second;
    int r;

    if (!first)
        return cmd_usage_error(c, "there is no password on standard input");
    if (isatty(STDIN_FILENO)) {
        second = cmd_read_secret(c, "Again");
        if (!second || strcmp(first, second) != 0)
            return cmd_usage_error(c, "the two are not the same");
        secret_wipe(second, strlen(second));
    }
    r = cmd_password_make(c, first, ret);
    secret_wipe(first, strlen(first));
    return r;
}

int cmd_password_given(struct cmd *c, struct cmd_password *ret)
{
    bool random = cmd_option(c, 'r', NULL), none = cmd_option(c, 'N', NULL);
    bool hash = cmd_option(c, 'H', NULL);

    *ret = (struct cmd_password){.hash = "", .scram = "", .scram_sha1 = "", .random = ""};
    if (random + none + hash + cmd_option(c, 'p', NULL) > 1)
        return cmd_usage_error(c, "only one of -p, -r, -H and -N can be given");
    if (none)
        return 0;
    if (random)
        return cmd_password_random(c, ret);
    for (size_t i = 0; i < c->given_n; i++)
        if (c->given[i].letter == 'H' && !cmd_password_ready(c, c->given[i].arg, ret)) {
            error_set(&c->error, ERR_INVALID, "the hash is of no kind that is known and safe");
            return cmd_fail(c, NULL);
        }
    return hash ? 0 : from_stdin(c, ret);
}
