/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/net/loop.h"

struct counted {
    struct loop_task task;
    struct loop *loop;
    int runs, again;
    _Atomic int done;
};

static void count(struct loop_task *task)
{
    struct counted *c = CONTAINER_OF(task, struct counted, task);

    c->runs++;
    if (!loop_is_current(c->loop))
        c->runs += 1000;
    if (c->again-- > 0)
        loop_post(c->loop, task);
    else
        atomic_store(&c->done, 1);
}

Test(loop, tasks_run_on_their_loop_and_may_post_themselves)
{
    struct loops *loops;
    struct counted c[4] = {0};

    cr_assert_eq(loops_new(2, &loops, NULL), 0);
    cr_assert_eq(loops_count(loops), 2);
    for (unsigned i = 0; i < 4; i++) {
        c[i].task.run = count;
        c[i].loop = loops_get(loops, i);
        c[i].again = 9;
        loop_post(c[i].loop, &c[i].task);
    }
    for (unsigned i = 0; i < 4; i++) {
        while (!c[i].done)
            usleep(100);
        cr_assert_eq(c[i].runs, 10);
    }
    loops_free(loops);
}

static void post_twice(void *arg)
{
    struct counted *c = arg;

    loop_post(c->loop, &c->task);
    loop_post(c->loop, &c->task);
}

static void nothing(void *arg)
{
}

Test(loop, a_task_posted_twice_runs_once)
{
    struct loops *loops;
    struct counted c = {.task.run = count};

    cr_assert_eq(loops_new(1, &loops, NULL), 0);
    c.loop = loops_get(loops, 0);
    loop_call(c.loop, post_twice, &c);
    loop_call(c.loop, nothing, NULL);
    cr_assert_eq(c.runs, 1);
    loops_free(loops);
}

struct timed {
    struct loop_timer timer;
    int64_t due[3];
    int dues;
    int64_t fired_ms;
    _Atomic int fired;
};

static void fire(struct loop_timer *timer)
{
    struct timed *t = CONTAINER_OF(timer, struct timed, timer);

    t->fired_ms = clock_mono_ms();
    atomic_fetch_add(&t->fired, 1);
}

static void set_timer(void *arg)
{
    struct timed *t = arg;

    for (int i = 0; i < t->dues; i++)
        loop_timer_set(&t->timer, t->due[i]);
}

static void end_timer(void *arg)
{
    struct timed *t = arg;

    loop_timer_done(&t->timer);
}

Test(loop, timers_fire_once_at_the_last_time_set)
{
    struct loops *loops;
    int64_t now = clock_mono_ms();
    struct timed t[4] = {
        {.due = {now + 30, now + 80}, .dues = 2},   /* later */
        {.due = {now + 9999, now + 80}, .dues = 2}, /* earlier */
        {.due = {now - 5}, .dues = 1},              /* past */
        {.due = {now + 20, 0}, .dues = 2},          /* stopped */
    };

    cr_assert_eq(loops_new(1, &loops, NULL), 0);
    for (int i = 0; i < 4; i++) {
        loop_timer_init(&t[i].timer, loops_get(loops, 0), fire);
        loop_call(loops_get(loops, 0), set_timer, &t[i]);
    }
    usleep(200000);
    for (int i = 0; i < 4; i++) {
        loop_call(loops_get(loops, 0), end_timer, &t[i]);
        cr_assert_eq(t[i].fired, i == 3 ? 0 : 1, "timer %d", i);
    }
    cr_assert_geq(t[0].fired_ms, now + 80);
    cr_assert_geq(t[1].fired_ms, now + 80);
    loops_free(loops);
}

Test(loop, impossible_numbers_are_refused)
{
    struct loops *loops;

    cr_assert_eq(loops_new(LOOPS_MAX + 1, &loops, NULL), -ERR_INVALID);
}
