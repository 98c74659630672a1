/* SPDX-License-Identifier: MPL-2.0 */
/* Passwords on the command line: never as an argument, which others can see, but as ready hashes,
 * from standard input, or made up. */
#pragma once

#include "daemons/cmd.h"

/* Strings in the command's arena; "" where there is none. */
struct cmd_password {
    const char *hash, *scram, *scram_sha1;
    const char *random; /* made up here, to be shown once */
};

/* The options that account add and account passwd share. */
#define CMD_PASSWORD_OPTIONS                                                                       \
    {'p', "password-stdin", NULL,                                                                  \
     "read the password from standard input, one line (the default; on a terminal, twice and "     \
     "unseen)"},                                                                                   \
        {'r', "random", NULL, "make up a password and print it"},                                  \
        {'H', "hash", "HASH",                                                                      \
         "take a ready hash as in crypt(5) ($y$, $2b$, $6$, $5$), $argon2id$..., or a verifier "   \
         "SCRAM-SHA-256$... or SCRAM-SHA-1$...; may be given once for each sort; a {SCHEME} in "   \
         "front is "                                                                               \
         "skipped"},                                                                               \
    {                                                                                              \
        'N', "no-password", NULL, "without a password: nobody can log in"                          \
    }

/* As the options say. 0, or an exit code after having said why. */
int cmd_password_given(struct cmd *c, struct cmd_password *ret) MUST_USE;
/* Ready hash or verifier into its place. False: of no known kind. */
bool cmd_password_ready(struct cmd *c, const char *text, struct cmd_password *ret);
int cmd_password_make(struct cmd *c, const char *plain, struct cmd_password *ret) MUST_USE;
int cmd_password_random(struct cmd *c, struct cmd_password *ret) MUST_USE;
