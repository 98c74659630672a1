/* SPDX-License-Identifier: MPL-2.0 */
/* RFC 7162 by a client that keeps a copy of a mailbox and comes back to it again and again, while
 * another changes the mailbox: what it was told must make its copy right. Single sentences of the
 * RFC are in tests/session/imap/rfc7162.txt and condstore.txt. */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/store/faulty.h"
#include "tests/unit/imap/talk.h"

#define UIDS 400

enum { WRITER = 1, READER = 2 };

/* What the reader keeps on disk. */
struct copy {
    char *flags[UIDS]; /* NULL: no such message */
    uint32_t last;     /* up to this uid all messages have been asked for */
    uint64_t uidvalidity, modseq;
};

struct world {
    struct talk *t;
    struct copy copy;
    uint64_t seed;
    unsigned appended, vanished, over;
};

static uint32_t draw(struct world *w, uint32_t below)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->seed >> 33) % below;
}

static uint64_t number_behind(const char *text, const char *what)
{
    const char *at = strstr(text, what);

    cr_assert(at, "no %s in\n%s", what, text);
    return strtoull(at + strlen(what), NULL, 10);
}

static void forget(struct world *w, const char *set)
{
    for (;;) {
        char *end;
        unsigned long first = strtoul(set, &end, 10), last = first;

        if (*end == ':')
            last = strtoul(end + 1, &end, 10);
        for (unsigned long uid = first; uid <= last && uid < UIDS; uid++) {
            w->vanished += w->copy.flags[uid] != NULL;
            w->over += w->copy.flags[uid] == NULL;
            free(TAKE(w->copy.flags[uid]));
        }
        if (*end != ',')
            return;
        set = end + 1;
    }
}

static void learn(struct world *w, const char *line)
{
    const char *uid = strstr(line, "UID "), *flags = strstr(line, "FLAGS ("), *end;
    uint32_t n = uid ? (uint32_t)strtoul(uid + 4, NULL, 10) : 0;

    if (!n || !flags)
        return;
    cr_assert_lt(n, UIDS);
    end = strchr(flags, ')');
    free(w->copy.flags[n]);
    w->copy.flags[n] = strndup(flags, (size_t)(end - flags));
}

/* RFC 7162 section 6: "If the HIGHESTMODSEQ response code is received, the client MUST use it even
 * if it has seen higher mod-sequences. Otherwise, the client calculates the highest value among all
 * MODSEQ FETCH data items". I10: it never goes back. */
static void take(struct world *w, const char *answer)
{
    uint64_t seen = 0, told = 0;

    for (const char *line = answer; *line; line = strchr(line, '\n') + 1) {
        size_t n = strcspn(line, "\n");
        char *one = strndup(line, n);

        if (strncmp(one, "* VANISHED (EARLIER) ", 21) == 0)
            forget(w, one + 21);
        else if (strncmp(one, "* VANISHED ", 11) == 0)
            forget(w, one + 11);
        else if (strstr(one, " FETCH ("))
            learn(w, one);
        if (strstr(one, "MODSEQ ("))
            seen = MAX(seen, number_behind(one, "MODSEQ ("));
        if (strstr(one, "[HIGHESTMODSEQ "))
            told = number_behind(one, "[HIGHESTMODSEQ ");
        free(one);
    }
    seen = told ? told : MAX(seen, w->copy.modseq);
    cr_assert_geq(seen, w->copy.modseq, "HIGHESTMODSEQ went back:\n%s", answer);
    w->copy.modseq = seen;
}

static void reader(struct world *w, const char *line)
{
    take(w, talk(w->t, READER, line));
}

/* The copy against what the writer, who sees the present, is told. */
static void compare(struct world *w)
{
    struct world truth = {0};
    const char *answer;

    talk_has(w->t, WRITER, "t1 NOOP", "t1 OK ${*}");
    answer = talk(w->t, WRITER, "t2 UID FETCH 1:* (FLAGS)");
    for (const char *line = answer; *line; line = strchr(line, '\n') + 1)
        if (strncmp(line, "* ", 2) == 0)
            learn(&truth, line);
    for (uint32_t uid = 1; uid < UIDS; uid++) {
        const char *is = truth.copy.flags[uid], *has = w->copy.flags[uid];

        cr_assert(!is == !has, "uid %u %s", uid, is ? "is there and not known" : "is gone unseen");
        cr_assert(!is || strcmp(is, has) == 0, "uid %u: %s, but %s is known", uid, is, has);
        free(truth.copy.flags[uid]);
    }
}

static void come_back(struct world *w)
{
    char line[200];

    snprintf(line, sizeof line, "b1 SELECT INBOX (QRESYNC (%" PRIu64 " %" PRIu64 "%s))",
             w->copy.uidvalidity, w->copy.modseq, draw(w, 2) ? "" : " 1:399");
    reader(w, line);
    snprintf(line, sizeof line, "b2 UID FETCH %u:* (FLAGS)", w->copy.last + 1);
    reader(w, line);
    for (uint32_t uid = w->copy.last + 1; uid < UIDS; uid++)
        if (w->copy.flags[uid])
            w->copy.last = uid;
}

/* While it is here: commands with and without room for VANISHED, and perhaps it is cut off. */
static void stay(struct world *w)
{
    static const char *const lines[] = {
        "c NOOP",       "c FETCH 1 (UID FLAGS MODSEQ)", "c UID FETCH 1 (FLAGS)",
        "c SEARCH ALL", "c STORE 1 +FLAGS (r1)",        "c UID STORE 1:9 -FLAGS (r1)",
    };

    reader(w, lines[draw(w, ARRAY_LEN(lines))]);
}

static void write_something(struct world *w)
{
    char line[200];
    uint32_t uid = 1 + draw(w, w->appended + 1);

    switch (draw(w, 6)) {
    case 0:
    case 1:
        if (w->appended + 2 < UIDS) {
            talk_has(w->t, WRITER, "w APPEND INBOX {3+}\r\nabc", "w OK ${*}");
            w->appended++;
        }
        return;
    case 2:
        snprintf(line, sizeof line, "w UID STORE %u:%u +FLAGS.SILENT (\\Deleted)", uid,
                 uid + draw(w, 4));
        talk_has(w->t, WRITER, line, "w OK ${*}");
        talk_has(w->t, WRITER, "w EXPUNGE", "w OK ${*}");
        return;
    case 3:
        snprintf(line, sizeof line, "w UID MOVE %u Sent", uid);
        talk_has(w->t, WRITER, line, "w OK ${*}");
        return;
    default:
        snprintf(line, sizeof line, "w UID STORE %u:%u %cFLAGS.SILENT (k%u)", uid, uid + draw(w, 5),
                 draw(w, 2) ? '+' : '-', draw(w, 3));
        talk_has(w->t, WRITER, line, "w OK ${*}");
    }
}

static void begin(struct world *w, uint64_t seed)
{
    *w = (struct world){.t = talk_new(), .seed = seed};
    talk_login(w->t, WRITER);
    talk_login(w->t, READER);
    talk_has(w->t, WRITER, "w SELECT INBOX", "w OK ${*}");
    talk_has(w->t, READER, "a ENABLE QRESYNC", "* ENABLED QRESYNC");
    w->copy.uidvalidity =
        number_behind(talk(w->t, READER, "a STATUS INBOX (UIDVALIDITY)"), "(UIDVALIDITY ");
    w->copy.modseq = 1;
}

static void end(struct world *w)
{
    for (uint32_t uid = 0; uid < UIDS; uid++)
        free(w->copy.flags[uid]);
    talk_free(w->t);
}

/* After so many days nothing is known any more of what vanished before. */
static void let_days_pass(struct world *w, int days)
{
    store_faulty_advance(w->t->world->store, (int64_t)days * 24 * 3600 * 1000);
    w->appended++;
    talk_has(w->t, WRITER, "w APPEND INBOX {3+}\r\nabc", "w OK ${*}");
}

static void run(uint64_t seed, unsigned *vanished, unsigned *over, bool days)
{
    struct world w;

    begin(&w, seed);
    for (int round = 0; round < 40; round++) {
        for (uint32_t n = draw(&w, 8); n; n--)
            write_something(&w);
        if (days && draw(&w, 8) == 0)
            let_days_pass(&w, 31);
        come_back(&w);
        compare(&w);
        for (uint32_t n = draw(&w, 6); n; n--) {
            write_something(&w);
            stay(&w);
        }
        if (draw(&w, 2))
            talk_has(w.t, READER, "u UNSELECT", "u OK ${*}");
    }
    *vanished += w.vanished;
    *over += w.over;
    end(&w);
}

Test(rfc7162, I10_I11_who_comes_back_learns_of_all_that_changed_and_all_that_is_gone,
     .timeout = 200)
{
    unsigned vanished = 0, over = 0;

    for (uint64_t seed = 1; seed <= 10; seed++)
        run(seed, &vanished, &over, false);
    cr_assert_gt(vanished, 100u);
}

/* 3.2.6: "A server that receives a mod-sequence smaller than <minmodseq> ... MUST behave as if it
 * was requested to report all expunged messages from the provided UID set parameter." */
Test(rfc7162, I11_also_when_what_vanished_is_forgotten, .timeout = 200)
{
    unsigned vanished = 0, over = 0;

    for (uint64_t seed = 21; seed <= 26; seed++)
        run(seed, &vanished, &over, true);
    cr_assert_gt(vanished, 50u);
    cr_assert_gt(over, 50u, "nothing was told twice: was anything forgotten?");
}

/* 3.1.3: "the server MUST ... not perform the requested operation on any message whose mod-sequence
 * is greater"; I12: of two that store under the same condition one wins. */
Test(rfc7162, I12_of_two_conditional_stores_one_wins)
{
    struct world w;
    unsigned lost = 0;

    begin(&w, 1);
    w.appended++;
    talk_has(w.t, WRITER, "w APPEND INBOX {3+}\r\nabc", "w OK ${*}");
    talk_has(w.t, READER, "a SELECT INBOX", "a OK ${*}");
    for (int i = 0; i < 20; i++) {
        uint64_t before = number_behind(talk(w.t, READER, "a FETCH 1 (MODSEQ)"), "MODSEQ (");
        char line[100];

        snprintf(line, sizeof line, "b STORE 1 (UNCHANGEDSINCE %" PRIu64 ") +FLAGS.SILENT (k%d)",
                 before, i);
        talk_has(w.t, i % 2 ? WRITER : READER, line, "b OK Done");
        snprintf(line, sizeof line, "c STORE 1 (UNCHANGEDSINCE %" PRIu64 ") +FLAGS.SILENT (l%d)",
                 before, i);
        talk_has(w.t, i % 2 ? READER : WRITER, line, "c OK [MODIFIED 1] ${*}");
        snprintf(line, sizeof line, "d SEARCH KEYWORD l%d", i);
        talk_has(w.t, READER, line, "* SEARCH");
        lost++;
    }
    cr_assert_eq(lost, 20);
    end(&w);
}
