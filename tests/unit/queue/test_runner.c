/* SPDX-License-Identifier: MPL-2.0 */
/* One runner, one store in memory, a transport that says what the test wants, and real accounts. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <time.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/mail/message.h"
#include "lib/queue/admin.h"
#include "lib/queue/runner_impl.h"
#include "lib/store/faulty.h"

#define ACCOUNT 7
#define HOUR    ((int64_t)3600 * 1000)

struct visit {
    char destination[64], address[64];
};

struct world {
    struct store *inner, *store; /* the second can move its clock on */
    struct mail *mail;
    struct queue *queue;
    struct runner *runner;
    struct runner_settings settings;
    pthread_mutex_t lock;
    VEC(struct visit) visits;
    enum transport_result result; /* of all, but: */
    const char *exception;        /* this one fails */
    const char *dead;             /* a destination without room */
    const char *ours;             /* a destination whose mail stays here */
    size_t stayed;                /* jobs of it */
    bool dsn, keep;               /* keep: answer nothing until let go */
    struct transport_job *kept;
    struct buf body;
};

static void nap(int ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        int64_t end_ = clock_mono_ms() + 20000;                                                    \
        while (!(condition) && clock_mono_ms() < end_)                                             \
            nap(5);                                                                                \
        cr_assert((condition));                                                                    \
    } while (0)

static unsigned room(struct transport *t, const char *destination, int64_t *ret_wait_ms)
{
    struct world *w = (struct world *)(void *)t;
    bool dead;

    pthread_mutex_lock(&w->lock);
    dead = w->dead && strcmp(w->dead, destination) == 0;
    pthread_mutex_unlock(&w->lock);
    *ret_wait_ms = 20;
    return dead ? 0 : 2;
}

static void fill(struct world *w, struct transport_job *job)
{
    for (size_t i = 0; i < job->n; i++) {
        struct transport_recipient *r = &job->recipients[i];

        r->result = w->exception && strcmp(w->exception, r->to->address) == 0 ? TRANSPORT_FAILED
                                                                              : w->result;
        r->code = r->result == TRANSPORT_DELIVERED ? 250 : r->result == TRANSPORT_LATER ? 451 : 550;
        r->status = r->result == TRANSPORT_FAILED ? "5.1.1" : "4.2.1";
        r->text = "nobody of that name\r\nhere";
        r->remote = "mx.example";
        r->relayed_dsn = w->dsn;
    }
}

static void answer(struct world *w, struct transport_job *job)
{
    fill(w, job);
    job->done(job);
}

static int stay_here(void *ctx, struct transport_job *job)
{
    struct world *w = ctx;

    if (!w->ours || strcmp(w->ours, job->destination) != 0)
        return 0;
    cr_assert_eq(job->read(job, 0, 1 << 20, &w->body, NULL), 0);
    pthread_mutex_lock(&w->lock);
    w->stayed++;
    fill(w, job);
    pthread_mutex_unlock(&w->lock);
    return 1;
}

static void send_job(struct transport *t, struct transport_job *job)
{
    struct world *w = (struct world *)(void *)t;
    bool keep;

    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < job->n; i++) {
        struct visit *v = VEC_PUSH(&w->visits);

        snprintf(v->destination, sizeof v->destination, "%s", job->destination);
        snprintf(v->address, sizeof v->address, "%s", job->recipients[i].to->address);
    }
    keep = w->keep;
    if (keep)
        w->kept = job;
    pthread_mutex_unlock(&w->lock);
    if (job->size)
        cr_assert_eq(job->read(job, 0, 1 << 20, &w->body, NULL), 0);
    if (!keep)
        answer(w, job);
}

static size_t visits(struct world *w)
{
    size_t n;

    pthread_mutex_lock(&w->lock);
    n = w->visits.n;
    pthread_mutex_unlock(&w->lock);
    return n;
}

static void start(struct world *w)
{
    struct error err = {0};

    cr_assert_eq(runner_new(&w->settings, w->queue, w->mail,
                            &(struct runner_transport){room, send_job,
                                                       (struct transport *)(void *)w, stay_here, w},
                            &w->runner, &err),
                 0, "%s", err.text);
}

static void setup(struct world *w)
{
    struct mail_settings s;
    struct error err = {0};

    *w = (struct world){.result = TRANSPORT_DELIVERED, .body = buf_make(1 << 20)};
    log_set_level(LOG_ERROR_);
    pthread_mutex_init(&w->lock, NULL);
    mail_settings_default(&s);
    cr_assert_eq(store_open("memory:?atomic=0", NULL, &w->inner, &err), 0);
    w->store = store_faulty_new(w->inner, &(struct fault_plan){0});
    cr_assert_eq(mail_new(w->inner, NULL, &s, &w->mail, &err), 0);
    cr_assert_eq(mail_account_create(w->mail, ACCOUNT, &(struct mail_account_options){0}, &err), 0);
    w->queue = queue_new(w->store);
    runner_settings_default(&w->settings);
    w->settings.hostname = "mail.example.org";
    w->settings.poll_ms = 20;
    w->settings.reread_ms = 200;
    w->settings.workers = 2;
    w->settings.sweep_ms = -1;
}

static void teardown(struct world *w)
{
    runner_free(w->runner);
    queue_free(w->queue);
    mail_free(w->mail);
    store_close(w->store);
    store_close(w->inner);
    VEC_DONE(&w->visits);
    buf_done(&w->body);
    pthread_mutex_destroy(&w->lock);
}

static uint64_t submit_envelope(struct world *w, struct queue_envelope e, const char *const *to,
                                unsigned notify)
{
    struct queue_recipient list[8];
    struct queue_writer *writer = queue_writer_new(w->queue);
    struct error err = {0};
    uint64_t id;

    for (e.recipients_n = 0; to[e.recipients_n]; e.recipients_n++)
        list[e.recipients_n] = (struct queue_recipient){to[e.recipients_n], notify, "rfc822;orig"};
    e.recipients = list;
    e.sender = e.sender ? e.sender : "anna@example.org";
    e.envid = e.envid ? e.envid : "";
    cr_assert_eq(queue_writer_feed(writer, S("Subject: hello\r\nX: y\r\n\r\nthe body\r\n"), &err),
                 0);
    cr_assert_eq(queue_submit(w->queue, writer, &e, &id, &err), 0, "%s", err.text);
    queue_writer_free(writer);
    return id;
}

static uint64_t submit(struct world *w, const char *to)
{
    return submit_envelope(w, (struct queue_envelope){.account = ACCOUNT},
                           (const char *const[]){to, NULL}, 0);
}

static bool count_one(void *ctx, struct queue_found *found)
{
    (void)found;
    ++*(size_t *)ctx;
    return true;
}

/* Entries that are not done. */
static size_t live(struct world *w)
{
    size_t n = 0;

    cr_assert_eq(queue_list(w->queue, &(struct queue_filter){.number = -1}, count_one, &n, NULL),
                 0);
    return n;
}

/* The texts of INBOX, one behind the other; how many. */
static size_t inbox(struct world *w, struct buf *out)
{
    struct mailbox *box;
    struct mailbox_iter it;
    struct message m;
    struct account *a;
    struct state *st;
    size_t n = 0;

    cr_assert_eq(account_open(w->mail, ACCOUNT, &a, NULL), 0);
    st = account_state(a);
    cr_assert_eq(
        mailbox_load(a, st, state_mailbox_named(st, S("INBOX"))->id, 0, UINT32_MAX, &box, NULL), 0);
    for (it = mailbox_iter(box, 0); mailbox_next(&it, &m); n++) {
        struct message_reader *rd;
        uint64_t at = 0;

        cr_assert_eq(message_open(a, m.id, &rd, NULL), 0);
        while (at < message_size(rd)) {
            size_t before = out->n;

            cr_assert_eq(message_read(rd, at, 65536, out, NULL), 0);
            at += out->n - before;
        }
        message_close(rd);
    }
    mailbox_unref(box);
    state_unref(st);
    account_unref(a);
    return n;
}

#define HAS(text, what)                                                                            \
    cr_assert(slice_search(buf_slice(&(text)), S(what)) >= 0, "not there: %s in\n%s", what,        \
              buf_cstr(&(text)))

Test(runner, what_is_submitted_goes_out_at_once_and_nothing_is_left)
{
    CLEANUP(buf_done) struct buf text = buf_make(1 << 20);
    struct world w;

    setup(&w);
    start(&w);
    submit(&w, "b@b.example");
    WAIT_FOR(live(&w) == 0);
    cr_assert_eq(visits(&w), 1);
    HAS(w.body, "the body");
    cr_assert_eq(inbox(&w, &text), 0);
    cr_assert_eq(runner_read_counters(w.runner).leases, 0); /* it was submitted here */
    teardown(&w);
}

Test(runner, what_another_process_queued_is_found)
{
    struct world w;

    setup(&w);
    submit(&w, "b@b.example");
    start(&w);
    WAIT_FOR(live(&w) == 0);
    cr_assert_eq(runner_read_counters(w.runner).leases, 1);
    teardown(&w);
}

Test(runner, I29_one_bounce_for_those_that_failed_and_no_attempt_more)
{
    CLEANUP(buf_done) struct buf text = buf_make(1 << 20);
    struct world w;

    setup(&w);
    w.result = TRANSPORT_LATER;
    w.exception = "bad@b.example";
    w.settings.retry_first_ms = 30;
    start(&w);
    submit_envelope(&w, (struct queue_envelope){.account = ACCOUNT, .envid = "env-1"},
                    (const char *const[]){"good@b.example", "bad@b.example", NULL}, 0);
    WAIT_FOR(visits(&w) >= 4); /* the good one again and again */
    pthread_mutex_lock(&w.lock);
    w.result = TRANSPORT_DELIVERED;
    pthread_mutex_unlock(&w.lock);
    WAIT_FOR(live(&w) == 0);
    for (size_t i = 2; i < w.visits.n; i++)
        cr_assert_str_eq(w.visits.items[i].address, "good@b.example");
    cr_assert_eq(inbox(&w, &text), 1);
    HAS(text, "Return-Path: <>\r\n");
    HAS(text, "To: <anna@example.org>\r\n");
    HAS(text, "Auto-Submitted: auto-replied\r\n");
    HAS(text, "multipart/report; report-type=delivery-status");
    HAS(text, "Reporting-MTA: dns;mail.example.org\r\n");
    HAS(text, "Original-Envelope-Id: env-1\r\n");
    HAS(text, "Original-Recipient: rfc822;orig\r\n");
    HAS(text, "Final-Recipient: rfc822;bad@b.example\r\n");
    HAS(text, "Action: failed\r\nStatus: 5.1.1\r\n");
    HAS(text, "Remote-MTA: dns;mx.example\r\n");
    HAS(text, "Diagnostic-Code: smtp;nobody of that name  here\r\n");
    HAS(text, "Content-Type: message/rfc822\r\n");
    HAS(text, "the body");
    cr_assert(slice_search(buf_slice(&text), S("good@b.example")) < 0);
    teardown(&w);
}

/* Results, notices and back-off are the same as of what is sent. */
Test(runner, what_is_for_people_here_is_not_sent)
{
    CLEANUP(buf_done) struct buf text = buf_make(1 << 20);
    struct world w;

    setup(&w);
    w.ours = "here.example";
    w.result = TRANSPORT_LATER;
    w.exception = "bad@here.example";
    w.settings.retry_first_ms = 30;
    start(&w);
    submit_envelope(&w, (struct queue_envelope){.account = ACCOUNT},
                    (const char *const[]){"good@here.example", "bad@here.example", NULL}, 0);
    WAIT_FOR(w.stayed >= 3);
    cr_assert_eq(inbox(&w, &text), 1, "the bounce");
    HAS(text, "Final-Recipient: rfc822;bad@here.example\r\n");
    pthread_mutex_lock(&w.lock);
    w.result = TRANSPORT_DELIVERED;
    pthread_mutex_unlock(&w.lock);
    submit(&w, "b@b.example");
    WAIT_FOR(live(&w) == 0);
    cr_assert_eq(visits(&w), 1, "the transport had the other one only");
    cr_assert_str_eq(w.visits.items[0].address, "b@b.example");
    HAS(w.body, "the body");
    teardown(&w);
}

Test(runner, RET_HDRS_and_large_messages_return_the_header_only)
{
    CLEANUP(buf_done) struct buf text = buf_make(1 << 20);
    struct world w;

    setup(&w);
    w.result = TRANSPORT_FAILED;
    start(&w);
    submit_envelope(&w, (struct queue_envelope){.account = ACCOUNT, .ret = QUEUE_RET_HDRS},
                    (const char *const[]){"bad@b.example", NULL}, 0);
    WAIT_FOR(live(&w) == 0);
    cr_assert_eq(inbox(&w, &text), 1);
    HAS(text, "Content-Type: text/rfc822-headers\r\n");
    HAS(text, "Subject: hello\r\nX: y\r\n");
    cr_assert(slice_search(buf_slice(&text), S("the body")) < 0);
    teardown(&w);
}

Test(runner, internationalised_notices_have_their_own_types)
{
    CLEANUP(buf_done) struct buf text = buf_make(1 << 20);
    struct world w;

    setup(&w);
    w.result = TRANSPORT_FAILED;
    start(&w);
    submit_envelope(&w, (struct queue_envelope){.account = ACCOUNT, .utf8 = true},
                    (const char *const[]){"j\xc3\xb6rg@b.example", NULL}, 0);
    WAIT_FOR(live(&w) == 0);
    cr_assert_eq(inbox(&w, &text), 1);
    HAS(text, "message/global-delivery-status");
    HAS(text, "Final-Recipient: utf-8;j\xc3\xb6rg@b.example\r\n");
    HAS(text, "Content-Type: message/global\r\n");
    teardown(&w);
}

/* RFC 3461 4.1. */
Test(runner, NOTIFY_says_what_is_told)
{
    static const struct {
        unsigned notify;
        enum transport_result result;
        bool dsn;
        size_t told;
    } cases[] = {
        {QUEUE_NOTIFY_NEVER, TRANSPORT_FAILED, false, 0},
        {QUEUE_NOTIFY_DELAY, TRANSPORT_FAILED, false, 0},
        {QUEUE_NOTIFY_FAILURE, TRANSPORT_FAILED, false, 1},
        {0, TRANSPORT_DELIVERED, false, 0},
        {QUEUE_NOTIFY_SUCCESS, TRANSPORT_DELIVERED, false, 1},
        {QUEUE_NOTIFY_SUCCESS, TRANSPORT_DELIVERED, true, 0}, /* that server will tell */
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_done) struct buf text = buf_make(1 << 20);
        struct world w;

        setup(&w);
        w.result = cases[i].result;
        w.dsn = cases[i].dsn;
        start(&w);
        submit_envelope(&w, (struct queue_envelope){.account = ACCOUNT},
                        (const char *const[]){"b@b.example", NULL}, cases[i].notify);
        WAIT_FOR(live(&w) == 0);
        cr_assert_eq(inbox(&w, &text), cases[i].told, "case %zu", i);
        if (cases[i].told && cases[i].result == TRANSPORT_DELIVERED)
            HAS(text, "Action: relayed\r\n");
        teardown(&w);
    }
}

Test(runner, a_bounce_is_never_bounced_and_nobodys_mail_is_dropped)
{
    CLEANUP(buf_done) struct buf text = buf_make(1 << 20);
    struct world w;

    setup(&w);
    w.result = TRANSPORT_FAILED;
    start(&w);
    submit_envelope(&w, (struct queue_envelope){.account = ACCOUNT, .sender = ""},
                    (const char *const[]){"b@b.example", NULL}, QUEUE_NOTIFY_FAILURE);
    submit_envelope(&w, (struct queue_envelope){.account = 0},
                    (const char *const[]){"b@b.example", NULL}, 0);
    submit_envelope(&w, (struct queue_envelope){.account = 12345}, /* there is none such */
                    (const char *const[]){"b@b.example", NULL}, 0);
    log_set_level(LOG_ERROR_);
    WAIT_FOR(live(&w) == 0);
    cr_assert_eq(inbox(&w, &text), 0);
    cr_assert_eq(runner_read_counters(w.runner).dropped, 2);
    teardown(&w);
}

Test(runner, a_delay_is_told_once_and_the_end_bounces_even_without_room)
{
    CLEANUP(buf_done) struct buf text = buf_make(1 << 20);
    struct world w;

    setup(&w);
    w.dead = "dead.example";
    start(&w);
    submit(&w, "b@dead.example");
    nap(50);
    store_faulty_advance(w.store, 5 * HOUR);
    WAIT_FOR(runner_read_counters(w.runner).warnings == 1);
    cr_assert_eq(inbox(&w, &text), 1);
    HAS(text, "Action: delayed\r\nStatus: 4.4.1\r\n");
    HAS(text, "Will-Retry-Until: ");
    store_faulty_advance(w.store, 24 * HOUR);
    nap(100);
    cr_assert_eq(runner_read_counters(w.runner).warnings, 1);
    store_faulty_advance(w.store, 5 * 24 * HOUR);
    WAIT_FOR(live(&w) == 0);
    buf_reset(&text, SIZE_MAX);
    cr_assert_eq(inbox(&w, &text), 2);
    HAS(text, "Action: failed\r\nStatus: 4.4.7\r\n");
    cr_assert_eq(visits(&w), 0);
    teardown(&w);
}

Test(runner, ten_thousand_for_a_dead_destination_cost_the_others_nothing)
{
    struct world w;
    size_t before;

    setup(&w);
    w.dead = "dead.example";
    for (int i = 0; i < 10000; i++)
        submit(&w, "b@dead.example");
    start(&w);
    WAIT_FOR(runner_read_counters(w.runner).known >= 10000);
    before = runner_read_counters(w.runner).rows_read;
    submit(&w, "b@live.example");
    WAIT_FOR(visits(&w) == 1);
    cr_assert_str_eq(w.visits.items[0].destination, "live.example");
    /* nor are they read again at each look: at most at the rare reading from the start */
    cr_assert_leq(runner_read_counters(w.runner).rows_read - before,
                  10000 * (1 + runner_read_counters(w.runner).rereads) + 1000);
    teardown(&w);
}

Test(runner, FUTURERELEASE_waits_and_DELIVERBY_does_not)
{
    CLEANUP(buf_done) struct buf text = buf_make(1 << 20);
    struct world w;
    int64_t now;

    setup(&w);
    start(&w);
    now = queue_now(w.queue);
    submit_envelope(&w, (struct queue_envelope){.account = ACCOUNT, .hold_until_ms = now + HOUR},
                    (const char *const[]){"later@b.example", NULL}, 0);
    w.dead = "dead.example";
    submit_envelope(&w,
                    (struct queue_envelope){
                        .account = ACCOUNT, .by = QUEUE_BY_RETURN, .by_ms = now + 10 * 60000},
                    (const char *const[]){"by@dead.example", NULL}, 0);
    submit(&w, "now@b.example");
    WAIT_FOR(visits(&w) == 1);
    cr_assert_str_eq(w.visits.items[0].address, "now@b.example");
    store_faulty_advance(w.store, 11 * 60000);
    WAIT_FOR(runner_read_counters(w.runner).bounces == 1);
    cr_assert_eq(inbox(&w, &text), 1);
    HAS(text, "Status: 5.4.7\r\n");
    cr_assert_eq(visits(&w), 1);
    store_faulty_advance(w.store, HOUR);
    WAIT_FOR(visits(&w) == 2);
    cr_assert_str_eq(w.visits.items[1].address, "later@b.example");
    teardown(&w);
}

/* Another process's runner on the same store. */
static void start_beside(struct world *other, const struct world *w, bool keep)
{
    *other = (struct world){.inner = w->inner,
                            .store = w->store,
                            .mail = w->mail,
                            .queue = queue_new(w->store),
                            .settings = w->settings,
                            .result = TRANSPORT_DELIVERED,
                            .keep = keep,
                            .body = buf_make(1 << 20)};
    pthread_mutex_init(&other->lock, NULL);
    start(other);
}

static void end_beside(struct world *other)
{
    runner_free(other->runner);
    queue_free(other->queue);
    VEC_DONE(&other->visits);
    buf_done(&other->body);
    pthread_mutex_destroy(&other->lock);
}

Test(runner, a_lease_is_renewed_while_the_other_server_takes_its_time)
{
    struct world w, other;

    setup(&w);
    w.settings.lease_ms = 300;
    w.keep = true;
    start(&w);
    submit(&w, "b@b.example");
    WAIT_FOR(visits(&w) == 1);
    start_beside(&other, &w, false);
    for (int i = 0; i < 100; i++)
        nap(10); /* three times the lease */
    cr_assert_eq(visits(&other), 0);
    cr_assert_eq(live(&w), 1);
    answer(&w, w.kept);
    WAIT_FOR(live(&w) == 0);
    cr_assert_eq(visits(&other), 0);
    end_beside(&other);
    teardown(&w);
}

/* What another runner does that begins an attempt while ours has not ended. */
static int take_over(void *ctx, struct queue_entry *e)
{
    e->owner = *(uint64_t *)ctx;
    e->lease_ms = e->read_ms + 400;
    return 1;
}

static void lose_lease(struct world *w, uint64_t id, uint64_t to)
{
    struct queue_found found;
    struct error err = {0};

    cr_assert_eq(queue_find(w->queue, &id, &(uint16_t){0}, 1, &found, &err), 0, "%s", err.text);
    cr_assert_eq(queue_change(w->queue, &found.entry, &found.arena, take_over, &to, &err), 1);
    queue_found_done(&found);
}

static bool is_delivered(struct world *w, uint64_t id)
{
    struct queue_found found;
    bool ret;

    cr_assert_eq(queue_find(w->queue, &id, &(uint16_t){0}, 1, &found, NULL), 0);
    ret = found.entry.n && found.entry.targets[0].state == QUEUE_DELIVERED;
    queue_found_done(&found);
    return ret;
}

/* Its node froze, or the store did not answer: results come when somebody else has the lease, who
 * then dies. Nobody waits any more, but the entry is not done. */
Test(runner, I29_results_of_who_lost_the_lease_end_the_entry_when_the_next_one_dies)
{
    struct world w;
    uint64_t id;

    setup(&w);
    w.keep = true;
    start(&w);
    id = submit(&w, "b@b.example");
    WAIT_FOR(visits(&w) == 1);
    lose_lease(&w, id, 77);
    answer(&w, w.kept);
    WAIT_FOR(live(&w) == 0);
    cr_assert_eq(visits(&w), 1);
    cr_assert_eq(runner_read_counters(w.runner).found_out, 1);
    teardown(&w);
}

/* The same, but the next one lives, and has sent it too. */
Test(runner, I29_results_of_two_at_once_end_the_entry)
{
    struct world w, other;
    struct transport_job *first;

    setup(&w);
    w.keep = true;
    w.settings.lease_ms = 400;
    start(&w);
    uint64_t id = submit(&w, "b@b.example");
    WAIT_FOR(visits(&w) == 1);
    first = w.kept;
    lose_lease(&w, id, 77); /* to one who dies at once; then the other takes it */
    start_beside(&other, &w, true);
    WAIT_FOR(visits(&other) == 1);
    answer(&w, first);
    WAIT_FOR(is_delivered(&w, id));
    answer(&other, other.kept);
    WAIT_FOR(live(&w) == 0);
    end_beside(&other);
    teardown(&w);
}

Test(runner, a_drain_gives_back_what_was_not_begun)
{
    struct world w;

    setup(&w);
    w.dead = "b.example";
    start(&w);
    submit(&w, "b@b.example");
    cr_assert(runner_drain(w.runner, 10000));
    runner_free(w.runner);
    w.dead = NULL;
    w.runner = NULL;
    start(&w); /* another one finds it free, long before the lease has run out */
    WAIT_FOR(live(&w) == 0);
    teardown(&w);
}

static bool do_hold(void *ctx, struct queue_found *found)
{
    return queue_act(ctx, found, QUEUE_HOLD, NULL) == 1;
}

static bool do_release(void *ctx, struct queue_found *found)
{
    return queue_act(ctx, found, QUEUE_RELEASE, NULL) == 1;
}

static bool do_delete(void *ctx, struct queue_found *found)
{
    return queue_act(ctx, found, QUEUE_DELETE, NULL) == 1;
}

Test(runner, the_administrator_holds_releases_and_deletes)
{
    static const struct queue_filter all = {.number = -1};
    struct world w;

    setup(&w);
    submit(&w, "b@b.example");
    cr_assert_eq(queue_list(w.queue, &all, do_hold, w.queue, NULL), 0);
    start(&w);
    nap(200);
    cr_assert_eq(visits(&w), 0);
    cr_assert_eq(live(&w), 1);
    cr_assert_eq(queue_list(w.queue, &all, do_release, w.queue, NULL), 0);
    WAIT_FOR(live(&w) == 0);
    cr_assert_eq(visits(&w), 1);
    w.dead = "b.example";
    submit(&w, "b@b.example");
    cr_assert_eq(queue_list(w.queue, &all, do_delete, w.queue, NULL), 0);
    cr_assert_eq(live(&w), 0);
    teardown(&w);
}
