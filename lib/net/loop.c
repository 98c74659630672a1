/* SPDX-License-Identifier: MPL-2.0 */
/* Each base is touched by its own thread only, so libevent's locks are not used: a lock of ours
 * guards the inbox of tasks, and an eventfd is written when the inbox ceases to be empty. */
#include "lib/net/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/base/pool.h"

struct loop {
    struct event_base *base;
    struct event *inbox_event;
    int inbox_fd;
    pthread_mutex_t lock; /* inbox, and `queued` of the tasks in it */
    STAILQ_HEAD(, loop_task) inbox;
    size_t inbox_n;
    struct loop_task stop;
    pthread_t thread;
    bool started;
    uint8_t *scratch;
};

struct loops {
    _Atomic unsigned next;
    unsigned n;
    struct loop items[];
};

static struct loop_task *take_task(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    struct loop_task *task = STAILQ_FIRST(&loop->inbox);
    if (task) {
        STAILQ_REMOVE_HEAD(&loop->inbox, link);
        loop->inbox_n--;
        task->queued = false;
    }
    pthread_mutex_unlock(&loop->lock);
    return task;
}

/* Only what was there at the beginning: tasks that post themselves again must not keep the sockets
 * waiting. */
static void run_inbox(evutil_socket_t fd, short what, void *arg)
{
    struct loop *loop = arg;
    uint64_t ignored;
    struct loop_task *task;

    if (read(fd, &ignored, sizeof ignored) < 0)
        return; /* nothing was written since the last time */
    pthread_mutex_lock(&loop->lock);
    size_t n = loop->inbox_n;
    pthread_mutex_unlock(&loop->lock);

    for (; n > 0 && (task = take_task(loop)); n--)
        task->run(task);

    pthread_mutex_lock(&loop->lock);
    bool more = loop->inbox_n > 0;
    pthread_mutex_unlock(&loop->lock);
    if (more)
        eventfd_write(fd, 1);
}

void loop_post(struct loop *loop, struct loop_task *task)
{
    pthread_mutex_lock(&loop->lock);
    bool wake = !task->queued && STAILQ_EMPTY(&loop->inbox);
    if (!task->queued) {
        STAILQ_INSERT_TAIL(&loop->inbox, task, link);
        task->queued = true;
        loop->inbox_n++;
    }
    pthread_mutex_unlock(&loop->lock);
    if (wake)
        eventfd_write(loop->inbox_fd, 1);
}

struct call {
    struct loop_task task;
    void (*fn)(void *);
    void *arg;
    pthread_mutex_t lock;
    pthread_cond_t done;
    bool is_done;
};

static void run_call(struct loop_task *task)
{
    struct call *call = CONTAINER_OF(task, struct call, task);

    call->fn(call->arg);
    pthread_mutex_lock(&call->lock);
    call->is_done = true;
    pthread_cond_signal(&call->done);
    pthread_mutex_unlock(&call->lock);
}

void loop_call(struct loop *loop, void (*fn)(void *), void *arg)
{
    if (loop_is_current(loop)) {
        fn(arg);
        return;
    }

    struct call call = {.task.run = run_call,
                        .fn = fn,
                        .arg = arg,
                        .lock = PTHREAD_MUTEX_INITIALIZER,
                        .done = PTHREAD_COND_INITIALIZER};

    loop_post(loop, &call.task);
    pthread_mutex_lock(&call.lock);
    while (!call.is_done)
        pthread_cond_wait(&call.done, &call.lock);
    pthread_mutex_unlock(&call.lock);
    pthread_cond_destroy(&call.done);
    pthread_mutex_destroy(&call.lock);
}

bool loop_is_current(const struct loop *loop)
{
    return pthread_equal(loop->thread, pthread_self());
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

uint8_t *loop_scratch(struct loop *loop)
{
    return loop->scratch;
}

static void *thread_main(void *arg)
{
    struct loop *loop = arg;

    pthread_setname_np(pthread_self(), "loop");
    event_base_loop(loop->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

static void stop_loop(struct loop_task *task)
{
    struct loop *loop = CONTAINER_OF(task, struct loop, stop);

    event_base_loopbreak(loop->base);
}

/* What fails leaves a loop that loop_done can take apart. */
static int loop_init(struct loop *loop)
{
    struct event_config *config = event_config_new();

    STAILQ_INIT(&loop->inbox);
    pthread_mutex_init(&loop->lock, NULL);
    loop->stop.run = stop_loop;
    loop->inbox_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!config || loop->inbox_fd < 0)
        goto fail;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    event_config_require_features(config, EV_FEATURE_ET);
    loop->base = event_base_new_with_config(config);
    if (!loop->base)
        goto fail;
    event_config_free(config);
    loop->inbox_event =
        event_new(loop->base, loop->inbox_fd, EV_READ | EV_PERSIST, run_inbox, loop);
    if (!loop->inbox_event || event_add(loop->inbox_event, NULL) < 0)
        return -ERR_UNAVAILABLE;
    loop->scratch = mem_alloc(LOOP_SCRATCH);
    if (pthread_create(&loop->thread, NULL, thread_main, loop) != 0)
        return -ERR_UNAVAILABLE;
    loop->started = true;
    return 0;
fail:
    if (config)
        event_config_free(config);
    return -ERR_UNAVAILABLE;
}

static void loop_done(struct loop *loop)
{
    if (loop->started) {
        loop_post(loop, &loop->stop);
        pthread_join(loop->thread, NULL);
    }
    if (loop->inbox_event)
        event_free(loop->inbox_event);
    if (loop->base)
        event_base_free(loop->base);
    if (loop->inbox_fd >= 0)
        close(loop->inbox_fd);
    free(loop->scratch);
    pthread_mutex_destroy(&loop->lock);
}

int loops_new(unsigned n, struct loops **ret_loops, struct error *err)
{
    if (n == 0)
        n = MIN(pool_cores(), (unsigned)LOOPS_MAX);
    if (n > LOOPS_MAX)
        return error_set(err, ERR_INVALID, "%u loop threads are more than %d", n, LOOPS_MAX);

    struct loops *loops = mem_zalloc(sizeof *loops + n * sizeof loops->items[0]);

    for (unsigned i = 0; i < n; i++) {
        loops->n++;
        if (loop_init(&loops->items[i]) < 0) {
            loops_free(loops);
            return error_set(err, ERR_UNAVAILABLE,
                             "the system gives no thread or file descriptor for loop %u", i);
        }
    }
    *ret_loops = loops;
    return 0;
}

void loops_free(struct loops *loops)
{
    if (!loops)
        return;
    for (unsigned i = 0; i < loops->n; i++)
        loop_done(&loops->items[i]);
    free(loops);
}

unsigned loops_count(const struct loops *loops)
{
    return loops->n;
}

struct loop *loops_get(struct loops *loops, unsigned i)
{
    return &loops->items[i % loops->n];
}

struct loop *loops_next(struct loops *loops)
{
    return loops_get(loops, atomic_fetch_add(&loops->next, 1));
}

static void arm(struct loop_timer *timer, int64_t now)
{
    int64_t in = MAX(timer->due_ms - now, (int64_t)0);
    struct timeval tv = {.tv_sec = in / 1000, .tv_usec = in % 1000 * 1000};

    timer->armed_ms = timer->due_ms;
    event_add(&timer->event, &tv);
}

static void timer_fired(evutil_socket_t fd, short what, void *arg)
{
    struct loop_timer *timer = arg;
    int64_t now = clock_mono_ms();

    timer->armed_ms = 0;
    if (timer->due_ms == 0)
        return;
    if (timer->due_ms > now) {
        arm(timer, now);
        return;
    }
    timer->due_ms = 0;
    timer->run(timer);
}

void loop_timer_init(struct loop_timer *timer, struct loop *loop,
                     void (*run)(struct loop_timer *timer))
{
    *timer = (struct loop_timer){.loop = loop, .run = run};
    event_assign(&timer->event, loop->base, -1, EV_TIMEOUT, timer_fired, timer);
}

void loop_timer_set(struct loop_timer *timer, int64_t due_ms)
{
    timer->due_ms = due_ms;
    if (due_ms != 0 && (timer->armed_ms == 0 || due_ms < timer->armed_ms))
        arm(timer, clock_mono_ms());
}

void loop_timer_stop(struct loop_timer *timer)
{
    timer->due_ms = 0;
}

void loop_timer_done(struct loop_timer *timer)
{
    event_del(&timer->event);
}
