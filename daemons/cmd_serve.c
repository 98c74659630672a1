/* SPDX-License-Identifier: MPL-2.0 */
#include "daemons/cmd.h"
#include "daemons/serve.h"

static int run(struct cmd *c, int argc, char **argv)
{
    /* getopt sorts the pointers and leaves the texts alone. */
    char *args[] = {(char *)"eider serve", (char *)"-c", (char *)c->conf_path, NULL};

    return serve_main(3, args, SERVE_ALL);
}

const struct command cmd_serve = {
    .name = "serve",
    .usage = "[-c FILE]",
    .brief = "serve mail",
    .help =
        "Serves all listeners of the settings in one process, in the foreground, until SIGTERM "
        "or SIGINT. SIGHUP reads settings and certificates again. Exit code 1: it cannot start. "
        "See eider-serve(8).",
    .run = run,
};
