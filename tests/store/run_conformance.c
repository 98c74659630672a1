/* SPDX-License-Identifier: MPL-2.0 */
/* run_conformance [faulty+]URI: the suite on any store, or on one behind a faulty store that has no
 * faults. Exit status 0: all held; 1: not; 2: no store. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/store/faulty.h"
#include "tests/store/conformance.h"

struct target {
    const char *uri;
    bool faulty;
    struct store *inner[2]; /* behind a faulty one */
    struct store *shared;   /* memory: is one store, not two handles */
    int handles;
};

static struct store *open_uri(void *ctx)
{
    struct target *t = ctx;
    static const struct fault_plan none;
    struct store *s = NULL;
    struct error err = {0};

    t->handles++;
    if (t->shared)
        return t->shared;
    if (store_open(t->uri, NULL, &s, &err) < 0) {
        fprintf(stderr, "run_conformance: %s\n", err.text);
        exit(2);
    }
    if (t->faulty) {
        t->inner[t->handles - 1] = s;
        s = store_faulty_new(s, &none);
    }
    if (slice_starts(slice_str(t->uri), S("memory:")))
        t->shared = s;
    return s;
}

static void close_store(void *ctx, struct store *s)
{
    struct target *t = ctx;

    if (--t->handles == 0 || !t->shared)
        store_close(s);
    for (int i = 0; i < 2 && t->handles == 0; i++)
        store_close(t->inner[i]);
}

int main(int argc, char **argv)
{
    struct target target = {.uri = argc == 2 ? argv[1] : NULL};
    struct conformance_target t = {target.uri, open_uri, close_store, &target};

    if (argc == 2 && slice_starts(slice_str(argv[1]), S("faulty+"))) {
        target.faulty = true;
        target.uri += 7;
    }
    if (argc != 2) {
        fprintf(stderr, "usage: run_conformance URI\n");
        return 2;
    }
    return conformance_run(&t) > 0;
}
