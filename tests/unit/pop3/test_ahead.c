/* SPDX-License-Identifier: MPL-2.0 */
/* Reading ahead: what it saves, that every message is the right one in any order, and that nothing
 * is kept for a client that goes elsewhere. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "protocols/pop3/impl.h"
#include "tests/session/drive.h"
#include "tests/session/pop3_world.h"

#define MESSAGES 300u

struct rig {
    struct pop3_world *world;
    struct drive drive;
};

static struct pop3_service *service_of(struct rig *r)
{
    return r->world->service->context;
}

static uint64_t bytes_held(struct rig *r)
{
    return atomic_load(&service_of(r)->ahead_bytes);
}

/* The answer to a command, a string that is valid until the next one. */
static const char *say(struct rig *r, const char *command)
{
    CLEANUP_FREE char *line = mem_printf("%s\r\n", command);

    buf_reset(&r->drive.got, SIZE_MAX);
    drive_send(&r->drive, slice_str(line));
    buf_add_byte(&r->drive.got, '\0');
    return (const char *)r->drive.got.p;
}

static void append(struct rig *r, unsigned number, size_t size)
{
    CLEANUP(buf_done) struct buf bytes = buf_make(BUF_MAX_DEFAULT);

    buf_printf(&bytes, "Subject: message %u\r\n\r\n", number);
    while (bytes.n < size)
        buf_printf(&bytes, "%06x %u\r\n", (unsigned)bytes.n * 2654435761u, number);
    cr_assert(imap_world_append(r->world->node, S("INBOX"), buf_slice(&bytes)));
}

static void login(struct rig *r)
{
    drive_init(&r->drive, pop3_world_open(r->world, S("")));
    say(r, "USER joe");
    cr_assert_eq(strncmp(say(r, "PASS secret"), "+OK", 3), 0);
}

/* Messages of some hundred bytes; each `large`th one has 300,000 (0: none). */
static void rig_init(struct rig *r, unsigned large)
{
    *r = (struct rig){.world = pop3_world_new()};
    for (unsigned i = 1; i <= MESSAGES; i++)
        append(r, i, large && i % large == 0 ? 300000 : 300);
    login(r);
}

static void rig_done(struct rig *r)
{
    drive_done(&r->drive);
    cr_assert_eq(bytes_held(r), 0);
    pop3_world_free(r->world);
}

static void retr(struct rig *r, unsigned number)
{
    CLEANUP_FREE char *command = mem_printf("RETR %u", number);
    CLEANUP_FREE char *subject = mem_printf("Subject: message %u\r\n", number);
    const char *answer = say(r, command), *text = strchr(answer, '\n');
    size_t n = strlen(answer);

    cr_assert_eq(strncmp(answer, "+OK ", 4), 0, "%u: %.60s", number, answer);
    cr_assert_eq(strncmp(text + 1, subject, strlen(subject)), 0, "%u: %.90s", number, answer);
    cr_assert_str_eq(answer + n - 5, "\r\n.\r\n");
}

static uint64_t trips_of_all(struct rig *r)
{
    uint64_t before = store_trips();

    for (unsigned i = 1; i <= MESSAGES; i++)
        retr(r, i);
    return store_trips() - before;
}

Test(pop3_ahead, who_takes_one_after_the_other_waits_for_few_reads)
{
    struct rig r;

    rig_init(&r, 0);
    cr_assert_leq(trips_of_all(&r), MESSAGES / 10);
    cr_assert_gt(bytes_held(&r), 0);
    rig_done(&r);
}

Test(pop3_ahead, the_same_with_large_ones_between_and_others_deleted)
{
    struct rig r;

    rig_init(&r, 40);
    for (unsigned i = 1; i <= MESSAGES; i++) {
        CLEANUP_FREE char *command = mem_printf("DELE %u", i);

        retr(&r, i);
        cr_assert_eq(strncmp(say(&r, command), "+OK", 3), 0);
        if (i % 40 == 0)
            cr_assert_eq(bytes_held(&r), 0, "kept while a large message goes out");
    }
    cr_assert_eq(strncmp(say(&r, "RETR 7"), "-ERR", 4), 0);
    rig_done(&r);
}

Test(pop3_ahead, any_order_gives_the_right_messages)
{
    struct rig r;
    unsigned seed = 1;

    rig_init(&r, 0);
    for (unsigned i = 0, at = 1; i < 2000; i++) {
        at = rand_r(&seed) % 10 ? at % MESSAGES + 1 : (unsigned)rand_r(&seed) % MESSAGES + 1;
        retr(&r, at);
        cr_assert_leq(bytes_held(&r), 2 * AHEAD_BYTES);
    }
    rig_done(&r);
}

Test(pop3_ahead, elsewhere_means_that_nothing_is_kept)
{
    struct rig r;

    rig_init(&r, 0);
    retr(&r, 1);
    cr_assert_eq(bytes_held(&r), 0, "one message is not a row");
    retr(&r, 2);
    cr_assert_gt(bytes_held(&r), 0);
    retr(&r, 200);
    cr_assert_eq(bytes_held(&r), 0);
    rig_done(&r);
}

Test(pop3_ahead, who_is_idle_holds_nothing)
{
    struct rig r;

    rig_init(&r, 0);
    retr(&r, 1);
    retr(&r, 2);
    cr_assert_gt(bytes_held(&r), 0);
    cr_assert_leq(r.drive.s->want.deadline_ms, clock_mono_ms() + AHEAD_KEEP_MS);
    usleep((AHEAD_KEEP_MS + 10) * 1000);
    drive_pump(&r.drive);
    cr_assert_eq(bytes_held(&r), 0);
    cr_assert_gt(r.drive.s->want.deadline_ms, clock_mono_ms() + AHEAD_KEEP_MS);
    retr(&r, 3);
    cr_assert_gt(bytes_held(&r), 0, "it goes on where it was");
    rig_done(&r);
}

Test(pop3_ahead, all_sessions_together_hold_a_bounded_amount)
{
    struct rig r;

    rig_init(&r, 0);
    atomic_store(&service_of(&r)->ahead_bytes, AHEAD_BYTES_IN_ALL - 1000);
    for (unsigned i = 1; i <= 50; i++) {
        retr(&r, i);
        cr_assert_leq(bytes_held(&r), AHEAD_BYTES_IN_ALL);
    }
    say(&r, "QUIT");
    drive_done(&r.drive);
    cr_assert_eq(bytes_held(&r), AHEAD_BYTES_IN_ALL - 1000);
    pop3_world_free(r.world);
}

Test(pop3_ahead, pipelined_commands_are_answered_in_their_order)
{
    CLEANUP(buf_done) struct buf commands = buf_make(BUF_MAX_DEFAULT);
    struct rig r;
    const char *at;

    rig_init(&r, 0);
    for (unsigned i = 1; i <= MESSAGES; i++)
        buf_printf(&commands, "RETR %u\r\nTOP %u 0\r\n", i, i);
    buf_add_str(&commands, "NOOP");
    buf_add_byte(&commands, '\0');
    at = say(&r, (const char *)commands.p);
    for (unsigned i = 1; i <= 2 * MESSAGES; i++) {
        CLEANUP_FREE char *subject = mem_printf("Subject: message %u\r\n", (i + 1) / 2);

        at = strstr(at, "Subject: ");
        cr_assert(at);
        cr_assert_eq(strncmp(at, subject, strlen(subject)), 0, "%.30s", at);
        at++;
    }
    rig_done(&r);
}
