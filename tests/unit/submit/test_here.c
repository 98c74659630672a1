/* SPDX-License-Identifier: MPL-2.0 */
/* Jobs of the queue for domains that are ours, with a directory, accounts and a queue in memory. */
#include <criterion/criterion.h>

#include "lib/auth/directory.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/mail/message.h"
#include "lib/queue/queue_impl.h"
#include "lib/store/faulty.h"
#include "lib/store/keys.h"
#include "protocols/submit/here.h"

#define TRACE                                                                                      \
    "Received: from [192.0.2.1] by mail.example.org with ESMTPSA\r\n"                              \
    "\tid 0011223344556677; Mon, 30 Nov 2026 00:00:00 +0000\r\n"
#define MESSAGE "Subject: held\r\nMessage-ID: <1@x.example>\r\n\r\nthe text\r\n"

struct world {
    struct store *inner, *store; /* the second can fail */
    struct mail *mail;
    struct directory *directory;
    struct queue *queue;
    struct here_settings settings;
    struct here *here;
    uint64_t anna, bert;
    struct mail_account_options options; /* of the next account */
    const char *text;                    /* the body of the job */
};

static int prepare(void *context, uint64_t id, struct error *err)
{
    struct world *w = context;

    return mail_account_create(w->mail, id, &w->options, err);
}

static uint64_t add_account(struct world *w, const char *login)
{
    struct directory_account a = {.login = login, .status = ACCOUNT_ENABLED, .hash = ""};
    struct error err = {0};
    uint64_t id = 0;

    cr_assert_eq(directory_account_add(w->directory, &a, prepare, w, &id, &err), 0, "%s", err.text);
    return id;
}

static void add_alias(struct world *w, const char *address, const char *target)
{
    struct slice to = slice_str(target);

    cr_assert_eq(directory_alias_add(w->directory, slice_str(address), &to, 1, NULL), 0);
}

static void setup(struct world *w)
{
    static const struct directory_options names = {.delimiter = '+', .proves_absence = true};
    struct mail_settings s;
    struct error err = {0};

    *w = (struct world){.text = TRACE MESSAGE};
    log_set_level(LOG_ERROR_);
    mail_settings_default(&s);
    cr_assert_eq(store_open("memory:", NULL, &w->inner, &err), 0);
    w->store = store_faulty_new(w->inner, &(struct fault_plan){0});
    cr_assert_eq(mail_new(w->inner, NULL, &s, &w->mail, &err), 0);
    w->directory = directory_new(w->store, &names);
    w->queue = queue_new(w->store);
    cr_assert_eq(directory_domain_add(w->directory, S("example.org"), &err), 0);
    w->anna = add_account(w, "anna@example.org");
    w->bert = add_account(w, "bert@example.org");
    w->here = here_new(&w->settings, w->mail, w->directory, w->directory, w->queue);
}

static void teardown(struct world *w)
{
    here_free(w->here);
    queue_free(w->queue);
    directory_free(w->directory);
    mail_free(w->mail);
    store_close(w->store);
    store_close(w->inner);
}

/* --- a job ------------------------------------------------------------------------------------ */

#define RECIPIENTS 8

struct job {
    struct world *w;
    struct transport_job job;
    struct queue_envelope envelope;
    struct queue_recipient to[RECIPIENTS];
    struct transport_recipient recipients[RECIPIENTS];
};

static int read_text(struct transport_job *job, uint64_t offset, size_t n, struct buf *out,
                     struct error *err)
{
    const struct job *j = job->context;

    buf_add_slice(out, slice_sub(slice_str(j->w->text), offset, offset + n));
    return 0;
}

static void job_init(struct job *j, struct world *w, const char *const *to)
{
    *j = (struct job){.w = w};
    j->envelope = (struct queue_envelope){.account = w->anna,
                                          .sender = "anna@example.org",
                                          .envid = "",
                                          .head = S("DKIM-Signature: as it was\r\n")};
    j->job = (struct transport_job){.envelope = &j->envelope,
                                    .destination = strrchr(to[0], '@') + 1,
                                    .head = j->envelope.head,
                                    .size = strlen(w->text),
                                    .read = read_text,
                                    .recipients = j->recipients,
                                    .context = j};
    for (; to[j->job.n]; j->job.n++) {
        j->to[j->job.n] = (struct queue_recipient){.address = to[j->job.n], .orcpt = ""};
        j->recipients[j->job.n] = (struct transport_recipient){
            .to = &j->to[j->job.n], .status = "", .text = "", .remote = ""};
    }
}

#define JOB(j, w, ...) job_init(j, w, (const char *const[]){__VA_ARGS__, NULL})

static void expect(const struct job *j, size_t i, enum transport_result result, unsigned code,
                   const char *status)
{
    const struct transport_recipient *r = &j->recipients[i];

    cr_expect_eq(r->result, result, "%s: %s", r->to->address, r->text);
    cr_expect_eq(r->code, code, "%s: %u %s", r->to->address, r->code, r->text);
    cr_expect_str_eq(r->status, status, "%s", r->to->address);
}

static uint32_t messages(struct world *w, uint64_t id)
{
    struct account *account;
    const struct mailbox *box;
    struct state *st;
    uint32_t n;

    cr_assert_eq(account_open(w->mail, id, &account, NULL), 0);
    st = account_state(account);
    box = state_mailbox_named(st, S("INBOX"));
    n = box->sum.exists;
    state_unref(st);
    account_unref(account);
    return n;
}

static void read_table(struct world *w, enum store_table table, struct store_docs *docs)
{
    const struct store_query all = {.table = table, .parts = STORE_HEAD, .level = STORE_MAJORITY};

    cr_assert_eq(store_range(w->inner, &all, docs, NULL), 0);
}

static size_t documents(struct world *w, enum store_table table)
{
    CLEANUP(store_docs_done) struct store_docs docs = {0};

    read_table(w, table, &docs);
    return docs.n;
}

/* The only submission, and its only entry. */
static void read_queue(struct world *w, struct arena *a, struct queue_stored *ret,
                       struct queue_entry *ret_entry)
{
    CLEANUP(store_docs_done) struct store_docs envelopes = {0};
    CLEANUP(store_docs_done) struct store_docs entries = {0};
    struct slice key;

    read_table(w, STORE_QUEUE, &envelopes);
    read_table(w, STORE_QUEUEENTRIES, &entries);
    cr_assert_eq(envelopes.n, 1);
    cr_assert_eq(entries.n, 1);
    key = entries.items[0].key;
    cr_assert_eq(queue_stored_decode(arena_slice(a, envelopes.items[0].head), a, ret, NULL), 0);
    cr_assert_eq(queue_entry_decode(get_be64(key.p), get_be16(key.p + 8),
                                    arena_slice(a, entries.items[0].head), a, ret_entry, NULL),
                 0);
}

/* --- tests ------------------------------------------------------------------------------------ */

Test(here, what_is_for_others_is_left_to_the_transport)
{
    struct world w;
    struct job j;

    setup(&w);
    JOB(&j, &w, "ann@elsewhere.example");
    cr_assert_eq(here_deliver(w.here, &j.job), 0);
    JOB(&j, &w, "ann@[192.0.2.1]");
    cr_assert_eq(here_deliver(w.here, &j.job), 0);
    cr_expect_eq(documents(&w, STORE_QUEUE), 0);
    arena_done(&j.job.arena);
    teardown(&w);
}

Test(here, each_recipient_has_a_result_of_its_own)
{
    struct world w;
    struct job j;

    setup(&w);
    add_alias(&w, "both@example.org", "anna@example.org");
    add_alias(&w, "both@example.org", "bert@example.org");
    JOB(&j, &w, "Bert+box@example.org", "nobody@example.org", "both@example.org");
    cr_assert_eq(here_deliver(w.here, &j.job), 1);
    expect(&j, 0, TRANSPORT_DELIVERED, 250, "2.0.0");
    expect(&j, 1, TRANSPORT_FAILED, 550, "5.1.1");
    expect(&j, 2, TRANSPORT_DELIVERED, 250, "2.0.0");
    cr_expect_not(j.recipients[0].relayed_dsn, "the runner tells of success");
    cr_expect_eq(messages(&w, w.bert), 1, "whoever two of them lead to gets it once");
    cr_expect_eq(messages(&w, w.anna), 1);
    arena_done(&j.job.arena);
    teardown(&w);
}

/* The attempt was made, its node died, and it is made again; and the client sent it again, so that
 * only the trace field differs. */
Test(here, I24_an_attempt_that_is_repeated_delivers_nothing_twice)
{
    struct world w;
    struct job j;

    setup(&w);
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            w.text = "Received: from another time\r\n" MESSAGE;
        JOB(&j, &w, "bert@example.org");
        cr_assert_eq(here_deliver(w.here, &j.job), 1);
        expect(&j, 0, TRANSPORT_DELIVERED, 250, "2.0.0");
        cr_expect_eq(messages(&w, w.bert), 1);
        arena_done(&j.job.arena);
    }
    w.text = TRACE "Subject: another\r\n\r\nthe text\r\n";
    JOB(&j, &w, "bert@example.org");
    cr_assert_eq(here_deliver(w.here, &j.job), 1);
    cr_expect_eq(messages(&w, w.bert), 2, "another message is another one");
    arena_done(&j.job.arena);
    teardown(&w);
}

Test(here, an_alias_that_leads_elsewhere_hands_it_on)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct queue_stored stored;
    struct queue_entry e;
    struct world w;
    struct job j;

    setup(&w);
    add_alias(&w, "away@example.org", "ann@elsewhere.example");
    add_alias(&w, "friends@example.org", "ann@elsewhere.example");
    add_alias(&w, "friends@example.org", "bert@example.org");
    JOB(&j, &w, "away@example.org", "friends@example.org");
    j.to[0].notify = QUEUE_NOTIFY_SUCCESS;
    j.to[0].orcpt = "rfc822;away@example.org";
    cr_assert_eq(here_deliver(w.here, &j.job), 1);
    expect(&j, 0, TRANSPORT_DELIVERED, 250, "2.0.0");
    expect(&j, 1, TRANSPORT_DELIVERED, 250, "2.0.0");
    cr_expect(j.recipients[0].relayed_dsn, "of success the new entry tells");
    cr_expect_not(j.recipients[1].relayed_dsn);
    cr_expect_eq(messages(&w, w.bert), 1);
    read_queue(&w, &a, &stored, &e);
    cr_assert_eq(e.n, 1, "once, though two lead there");
    cr_expect_str_eq(e.targets[0].to.address, "ann@elsewhere.example");
    cr_expect_eq(e.targets[0].to.notify, QUEUE_NOTIFY_SUCCESS);
    cr_expect_str_eq(e.targets[0].to.orcpt, "rfc822;away@example.org");
    cr_expect_eq(stored.size, strlen(w.text), "the whole message, with its trace field");
    cr_expect_eq(stored.envelope.account, w.anna);
    cr_expect(slice_eq(stored.envelope.head, j.envelope.head), "with the signature that it has");
    arena_done(&j.job.arena);
    teardown(&w);
}

/* Over quota: tried again; what goes elsewhere waits for that, or it would go out each time. */
Test(here, what_fails_for_now_is_handed_on_only_once)
{
    struct world w;
    struct job j;

    setup(&w);
    w.options.quota_bytes = 1;
    add_account(&w, "full@example.org");
    add_alias(&w, "friends@example.org", "ann@elsewhere.example");
    add_alias(&w, "friends@example.org", "full@example.org");
    for (int permanent = 0; permanent < 2; permanent++) {
        here_free(w.here);
        w.settings.over_quota_permanent = permanent;
        w.here = here_new(&w.settings, w.mail, w.directory, w.directory, w.queue);
        JOB(&j, &w, "friends@example.org", "anna@example.org");
        cr_assert_eq(here_deliver(w.here, &j.job), 1);
        expect(&j, 0, permanent ? TRANSPORT_FAILED : TRANSPORT_LATER, permanent ? 552 : 452,
               permanent ? "5.2.2" : "4.2.2");
        expect(&j, 1, TRANSPORT_DELIVERED, 250, "2.0.0");
        cr_expect_eq(documents(&w, STORE_QUEUE), (size_t)permanent);
        arena_done(&j.job.arena);
    }
    teardown(&w);
}

static enum fault no_reads(void *ctx, const char *verb, enum store_table table)
{
    return *(const enum store_table *)ctx == table ? FAULT_REFUSED : FAULT_NONE;
}

/* Domains, addresses, the queue: what cannot be asked is asked again later; nobody is told that he
 * is not here. */
Test(here, a_store_that_is_away_is_tried_again)
{
    static const enum store_table tables[] = {STORE_DOMAINS, STORE_ADDRESSES, STORE_QUEUEBODIES};
    struct world w;
    struct job j;

    setup(&w);
    w.queue->patience_ms = 1;
    add_alias(&w, "away@example.org", "ann@elsewhere.example");
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        store_faulty_set(w.store,
                         &(struct fault_plan){.hook = no_reads, .ctx = (void *)&tables[i]});
        JOB(&j, &w, "away@example.org");
        cr_assert_eq(here_deliver(w.here, &j.job), 1);
        expect(&j, 0, TRANSPORT_LATER, 451, "4.3.0");
        store_faulty_set(w.store, &(struct fault_plan){0});
        arena_done(&j.job.arena);
    }
    JOB(&j, &w, "away@example.org");
    cr_assert_eq(here_deliver(w.here, &j.job), 1);
    expect(&j, 0, TRANSPORT_DELIVERED, 250, "2.0.0");
    arena_done(&j.job.arena);
    teardown(&w);
}
