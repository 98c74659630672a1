/* SPDX-License-Identifier: MPL-2.0 */
/* How an account of many mailboxes feels, without sockets: bench_mailboxes [mailboxes]. Build it
 * with -O2. Of each command: its time, its steps, and the longest of these. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "tests/session/imap_world.h"

#define BATCH 100

static void drop_output(struct session *s, size_t *bytes)
{
    *bytes += s->out.n;
    buf_reset(&s->out, 0);
}

static void measure(struct session *s, const char *command)
{
    int64_t began = clock_mono_us(), longest = 0;
    unsigned steps = 0;
    size_t bytes = 0;

    buf_printf(&s->in, "a %s\r\n", command);
    do {
        int64_t step = clock_mono_us();

        s->ops->step(s, SESSION_INPUT);
        longest = MAX(longest, clock_mono_us() - step);
        steps++;
        drop_output(s, &bytes);
    } while (s->in.n || s->want.busy);
    printf("%-52s %9.2f ms, %3u steps, longest %7.2f ms, %8zu bytes\n", command,
           (double)(clock_mono_us() - began) / 1000, steps, (double)longest / 1000, bytes);
}

static void create(struct imap_world *w, unsigned n)
{
    struct intent *intents = NEW_ARRAY(struct intent, n), **list = NEW_ARRAY(struct intent *, n);
    struct account *a;
    struct error err = {0};

    if (account_open(w->mail, w->account, &a, &err) < 0)
        abort();
    for (unsigned i = 0; i < n; i++) {
        intents[i] = (struct intent){.kind = INTENT_CREATE, .account = a};
        intents[i].name = slice_str(mem_printf("box/%u/of a group/number %u", i / 100, i));
        list[i] = &intents[i];
    }
    for (unsigned at = 0; at < n; at += BATCH)
        mail_commit(w->mail, list + at, MIN((unsigned)BATCH, n - at));
    for (unsigned i = 0; i < n; i++) {
        free((void *)intents[i].name.p);
        intent_done(&intents[i]);
    }
    free(intents);
    free(list);
    account_unref(a);
}

int main(int argc, char **argv)
{
    static const char *const commands[] = {
        "LIST \"\" *",
        "LIST \"\" %",
        "LIST \"\" * RETURN (STATUS (MESSAGES UNSEEN) SUBSCRIBED)",
        "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" *",
        "LSUB \"\" *",
        "STATUS INBOX (MESSAGES)",
        "SETMETADATA INBOX (/private/comment \"x\")",
        "APPEND INBOX {6+}\r\na: b\r\n",
        "SELECT INBOX",
        "STORE 1 +FLAGS (\\Seen)",
        "STORE 1 -FLAGS (\\Seen)",
        "RENAME box other",
        "CREATE another",
        "DELETE another",
    };
    unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 9000;
    struct imap_world *w = imap_world_new();
    struct session *s = imap_world_open(w, S(""));
    int64_t began = clock_mono_ms();

    s->ops->step(s, 0);
    measure(s, "LOGIN joe secret");
    create(w, n);
    printf("%u mailboxes made in %lld ms\n", n, (long long)(clock_mono_ms() - began));
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        measure(s, commands[i]);
    s->ops->free(s);
    imap_world_free(w);
    return 0;
}
