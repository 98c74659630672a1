/* SPDX-License-Identifier: MPL-2.0 */
/* The randomised model check of the log: see log_world.h for what a run is.
 *
 *   check_log [-u URI] [-s SEED] [-n RUNS] [-t SECONDS] [-o OPERATIONS] [-f PER_MILLE]
 *             [-j THREADS] [-k A,B,...] [-b RULE] [-B] [-v]
 *
 *   -u  store: memory: (default), memory:?atomic=0, sqlite:FILE, mongodb://...
 *   -s  first seed (default 1); -n runs (default: until the time is over); -t seconds (default 10)
 *   -o  operations a run (default 120); -f faults among 1,000 store calls (default 50)
 *   -j  threads: not stepped, the run cannot be repeated exactly
 *   -k  A,B,...: these operations only
 *   -b  break a rule (below) on purpose; -B: each in turn, until the check has noticed
 *   -v  print every answer
 *
 * The seed of a failing run is printed; a stepped one is made smaller, by leaving out operations by
 * halves as long as it still fails, and the command that repeats it is printed.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "tests/store/log_world.h"

/* Rules of docs/log.md, and the store on which breaking them can be noticed. */
static const struct mutation {
    const char *name;
    uint64_t broken;
    const char *uri;
} mutations[] = {
    {"no txid check", BREAK_TXID, "memory:?atomic=0"},
    {"no fence", BREAK_FENCE, "memory:?atomic=0"},
    {"no position guard", BREAK_POSITION, "memory:?atomic=0"},
    {"answers without a record from the replica", BREAK_NOTHING, "memory:?atomic=0"},
    {"no read after a lost slot", BREAK_READ, "memory:?atomic=0"},
    {"sweep without a noop", BREAK_SWEEP, "memory:?atomic=0"},
    {"old messages named", BREAK_OLD, "memory:?atomic=0"},
    {"taken message id is ours", BREAK_DUPLICATE, "memory:?atomic=0"},
};

struct totals {
    unsigned runs;
    struct world_result sum;
};

static void add(struct totals *t, const struct world_result *r)
{
    t->runs++;
    t->sum.records += r->records;
    t->sum.answers += r->answers;
    t->sum.refused += r->refused;
    t->sum.unknown += r->unknown;
    t->sum.faults += r->faults;
    t->sum.restarts += r->restarts;
    t->sum.jumps += r->jumps;
    t->sum.fences += r->fences;
    t->sum.looked_up += r->looked_up;
    t->sum.lost += r->lost;
    t->sum.given_up += r->given_up;
    t->sum.saved += r->saved;
    t->sum.swept += r->swept;
    t->sum.trimmed += r->trimmed;
}

static void print_totals(const struct totals *t)
{
    const struct world_result *s = &t->sum;

    printf(
        "%u runs: %llu records, %llu answers (%llu refused, %llu unknown), %llu faults, "
        "%llu restarts, %llu jumps of the clock, %llu outcomes looked up, %llu slots lost, "
        "%llu fences, %llu given up, %llu snapshots, %llu records trimmed, %llu messages swept\n",
        t->runs, (unsigned long long)s->records, (unsigned long long)s->answers,
        (unsigned long long)s->refused, (unsigned long long)s->unknown,
        (unsigned long long)s->faults, (unsigned long long)s->restarts,
        (unsigned long long)s->jumps, (unsigned long long)s->looked_up, (unsigned long long)s->lost,
        (unsigned long long)s->fences, (unsigned long long)s->given_up,
        (unsigned long long)s->saved, (unsigned long long)s->trimmed, (unsigned long long)s->swept);
}

/* Leaves out as many operations as may be while the same invariant stays broken. */
static unsigned shrink(const struct world_options *o, const char *invariant, bool *left_out)
{
    struct world_options quiet = *o;
    unsigned left = o->operations;

    quiet.trace = false;
    for (unsigned size = o->operations / 2; size; size /= 2)
        for (unsigned from = 0; from < o->operations; from += size) {
            struct world_result r;
            bool *trial = mem_dup(left_out, o->operations * sizeof *left_out);

            for (unsigned i = from; i < from + size && i < o->operations; i++)
                trial[i] = true;
            world_run(&quiet, trial, &r);
            if (strcmp(r.violated, invariant) == 0)
                memcpy(left_out, trial, o->operations * sizeof *left_out);
            free(trial);
        }
    for (unsigned i = 0; i < o->operations; i++)
        left -= left_out[i];
    return left;
}

static void report(const struct world_options *o, const struct world_result *r)
{
    printf("%s violated, seed %llu: %s\n", r->violated, (unsigned long long)o->seed, r->text);
    printf("again: check_log -u '%s' -s %llu -n 1 -o %u -f %u -b %llu -v\n", o->uri,
           (unsigned long long)o->seed, o->operations, o->fault_per_mille,
           (unsigned long long)o->broken);
    if (!o->threads && strncmp(o->uri, "memory:", 7) == 0) {
        bool *left_out = NEW_ARRAY(bool, o->operations);
        unsigned left = shrink(o, r->violated, left_out);

        printf("%u operations are enough: -k ", left);
        for (unsigned i = 0; i < o->operations; i++)
            if (!left_out[i])
                printf("%u,", i);
        printf("\n");
        free(left_out);
    }
}

/* 0, or 1 if an invariant was broken. */
static int run_many(struct world_options *o, const bool *left_out, unsigned runs, int seconds,
                    bool quiet)
{
    int64_t end = clock_mono_ms() + (int64_t)seconds * 1000;
    struct totals totals = {0};
    int bad = 0;

    while (!bad && (runs ? totals.runs < runs : clock_mono_ms() < end)) {
        struct world_result r;

        world_run(o, left_out, &r);
        add(&totals, &r);
        bad = r.violated[0] != 0;
        if (bad && !quiet)
            report(o, &r);
        if (bad && quiet)
            printf("  noticed in run %u: %s %s\n", totals.runs, r.violated, r.text);
        o->seed++;
    }
    if (!quiet)
        print_totals(&totals);
    return bad;
}

static int run_mutations(struct world_options *o, int seconds)
{
    int missed = 0;

    for (size_t i = 0; i < ARRAY_LEN(mutations); i++) {
        struct world_options with = *o;

        printf("%s\n", mutations[i].name);
        with.uri = mutations[i].uri;
        with.broken = mutations[i].broken;
        if (!run_many(&with, NULL, 0, seconds, true)) {
            printf("  NOT NOTICED\n");
            missed++;
        }
        fflush(stdout);
    }
    return missed;
}

/* "3,17,40": all others are left out. */
static bool *keep_only(const char *list, unsigned operations)
{
    bool *left_out = NEW_ARRAY(bool, operations);
    char *end;

    memset(left_out, 1, operations * sizeof *left_out);
    for (; *list; list = *end ? end + 1 : end) {
        unsigned long i = strtoul(list, &end, 10);

        if (end == list)
            break;
        if (i < operations)
            left_out[i] = false;
    }
    return left_out;
}

int main(int argc, char **argv)
{
    struct world_options o = {
        .uri = "memory:", .seed = 1, .nodes = 3, .operations = 120, .fault_per_mille = 50};
    unsigned runs = 0;
    int seconds = 10, c;
    bool all_mutations = false, *left_out;
    const char *kept = NULL;

    setvbuf(stdout, NULL, _IOLBF, 0);
    while ((c = getopt(argc, argv, "u:s:n:t:o:f:j:k:b:Bv")) != -1) {
        switch (c) {
        case 'u':
            o.uri = optarg;
            break;
        case 's':
            o.seed = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            runs = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 't':
            seconds = (int)strtol(optarg, NULL, 10);
            break;
        case 'o':
            o.operations = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'f':
            o.fault_per_mille = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'j':
            o.threads = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'k':
            kept = optarg;
            break;
        case 'b':
            o.broken = strtoull(optarg, NULL, 10);
            break;
        case 'B':
            all_mutations = true;
            break;
        case 'v':
            o.trace = true;
            break;
        default:
            return 2;
        }
    }
    left_out = kept ? keep_only(kept, o.operations) : NULL;
    c = all_mutations ? run_mutations(&o, seconds) : run_many(&o, left_out, runs, seconds, false);
    free(left_out);
    return c;
}
