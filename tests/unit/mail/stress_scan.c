/* SPDX-License-Identifier: MPL-2.0 */
/* Searches and readers ahead of several sessions at once, for TSan and for what they promise: each
 * answer is that of one thread that looks alone, in any order, in slices, when scans end in the
 * middle, when messages are gone, and when the store does not answer. A plain main(), since
 * Criterion does not run under TSan. Exit status 0 if all was as promised.
 *     stress_scan [SECONDS] */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/account.h"
#include "lib/mail/message_ahead.h"
#include "lib/mail/textscan.h"
#include "lib/store/faulty.h"
#include "lib/store/keys.h"

#define ACCOUNT  7u
#define MESSAGES 300u
#define THREADS  4u
#define GONE     17u /* this one's content is not in the store */

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

struct rig {
    struct store *inner, *store;
    struct mail *mail;
    struct account *account;
    struct textscan_message messages[MESSAGES];
    uint64_t expected[MESSAGES];
    _Atomic bool down;
    int64_t end_ms;
};

static const struct slice keys[] = {
    {(const uint8_t *)"Third", 5}, {(const uint8_t *)"marker fi", 9}, {(const uint8_t *)"q", 1}};
static const enum text_where where[] = {TEXT_BODIES, TEXT_BODIES, TEXT_HEADERS | TEXT_BODIES};

static void append(struct rig *r, unsigned number)
{
    struct message_writer *w = message_writer_new(r->mail);
    CLEANUP(buf_done) struct buf text = buf_make(BUF_MAX_DEFAULT);
    struct intent it = {.kind = INTENT_APPEND, .account = r->account, .name = S("INBOX")};
    struct intent *one = &it;
    size_t size = number % 50 == 3 ? 60000 : number * 37 % 3000;

    buf_printf(&text, "Subject: %s %u\r\n\r\n", number % 11 ? "any" : "Q", number);
    while (text.n < size)
        buf_printf(&text, "words and words %u\r\n", number);
    buf_printf(&text, "%s\r\n%s\r\n", number % 3 ? "" : "the third",
               number % 5 ? "" : "marker five");
    CHECK(message_writer_feed(w, buf_slice(&text), NULL) == 0);
    CHECK(message_writer_finish(w, &it.prepared, NULL) == 0);
    message_writer_free(w);
    mail_commit(r->mail, &one, 1);
    CHECK(it.result == 0);
    r->messages[number] = (struct textscan_message){.id = it.message_id, .size = text.n};
    r->expected[number] = (number % 3 ? 0 : 1) | (number % 5 ? 0 : 2) | (number % 11 ? 0 : 4);
    prepared_unref(it.prepared);
    intent_done(&it);
}

static enum fault when_down(void *ctx, const char *verb, enum store_table table)
{
    struct rig *r = ctx;

    return atomic_load(&r->down) && table == STORE_MESSAGES ? FAULT_REFUSED : FAULT_NONE;
}

static void rig_init(struct rig *r, const char *uri, int64_t seconds)
{
    struct fault_plan plan = {.hook = when_down, .ctx = r};
    struct mail_account_options options = {.only_inbox = true};
    struct mail_settings settings;
    struct key16 gone;
    struct slice key;

    *r = (struct rig){.end_ms = clock_mono_ms() + seconds * 1000};
    mail_settings_default(&settings);
    CHECK(store_open(uri, NULL, &r->inner, NULL) == 0);
    r->store = store_faulty_new(r->inner, &plan);
    CHECK(mail_new(r->store, NULL, &settings, &r->mail, NULL) == 0);
    CHECK(mail_account_create(r->mail, ACCOUNT, &options, NULL) == 0);
    CHECK(account_open(r->mail, ACCOUNT, &r->account, NULL) == 0);
    for (unsigned i = 0; i < MESSAGES; i++)
        append(r, i);
    gone = key_pair(ACCOUNT, r->messages[GONE].id);
    key = KEY_SLICE(gone);
    CHECK(store_delete(r->store, STORE_MESSAGES, &key, 1, NULL) == 0);
    content_forget(mail_content(r->mail), ACCOUNT, r->messages[GONE].id);
}

static void rig_done(struct rig *r)
{
    account_unref(r->account);
    mail_free(r->mail);
    store_close(r->store);
    store_close(r->inner);
}

static void forget_all(struct rig *r)
{
    for (size_t i = 0; i < MESSAGES; i++)
        content_forget(mail_content(r->mail), ACCOUNT, r->messages[i].id);
}

static void check_one(struct rig *r, struct textscan *scan, size_t first, size_t i)
{
    struct error err = {0};
    uint64_t found = 0;
    int got = 0;

    /* in slices: each turn does something, so it comes to an end */
    while (got == 0)
        got = textscan_get(scan, i, clock_mono_ms() + 2, &found, &err);
    if (first + i == GONE) {
        CHECK(got == -ERR_NOTFOUND);
        CHECK(err.kind);
        return;
    }
    CHECK(got == 1);
    CHECK(found == r->expected[first + i]);
}

static void scan_some(struct rig *r, unsigned *seed)
{
    size_t first = (size_t)rand_r(seed) % MESSAGES,
           n = 1 + (size_t)rand_r(seed) % (MESSAGES - first);
    bool backwards = rand_r(seed) % 2;
    size_t asked = rand_r(seed) % 3 ? n : n / 4; /* or it is given up in the middle */
    struct textscan *scan = textscan_begin(r->account, keys, where, 3, r->messages + first, n);

    for (size_t i = 0; i < asked; i++)
        check_one(r, scan, first, backwards ? n - 1 - i : i);
    textscan_free(scan);
}

static void read_some_ahead(struct rig *r, unsigned *seed)
{
    uint64_t ids[64];
    size_t first = (size_t)rand_r(seed) % (MESSAGES - 64);
    struct message_ahead *ahead;

    for (size_t i = 0; i < 64; i++)
        ids[i] = r->messages[first + i].id;
    ahead = message_ahead_begin_any(r->account, ids, rand_r(seed) % 64, ids, 64);
    if (rand_r(seed) % 2)
        message_ahead_wait(ahead);
    (void)message_ahead_end(ahead);
}

static void *session(void *arg)
{
    struct rig *r = arg;
    unsigned seed = (unsigned)(uintptr_t)&seed;

    do {
        scan_some(r, &seed);
        read_some_ahead(r, &seed);
        if (rand_r(&seed) % 4 == 0)
            forget_all(r);
    } while (clock_mono_ms() < r->end_ms);
    return NULL;
}

/* What is not known to be gone is not called so. */
static void check_down(struct rig *r)
{
    struct textscan *scan;
    uint64_t found;

    forget_all(r);
    atomic_store(&r->down, true);
    scan = textscan_begin(r->account, keys, where, 3, r->messages, MESSAGES);
    for (size_t i = 0; i < MESSAGES; i++)
        CHECK(textscan_get(scan, i, INT64_MAX, &found, NULL) == -ERR_UNAVAILABLE);
    textscan_free(scan);
    atomic_store(&r->down, false);
}

static void check_until(struct rig *r)
{
    struct textscan *scan = textscan_begin(r->account, keys, where, 3, r->messages, MESSAGES);
    int64_t began = clock_mono_ms();
    uint64_t found;
    int got;

    do
        got = textscan_get(scan, MESSAGES - 1, began, &found, NULL);
    while (got == 0 && clock_mono_ms() < began + 20000);
    if (store_is_atomic(r->store) && pool_cores() == 1) /* nobody helps */
        CHECK(got == 0);
    else
        CHECK(got == 1);
    textscan_free(scan);
}

static void run(const char *uri, int64_t seconds)
{
    struct rig *r = NEW(struct rig);
    pthread_t threads[THREADS];

    rig_init(r, uri, seconds);
    check_until(r);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, session, r) == 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    check_down(r);
    /* the account goes while helpers may still be at work */
    textscan_free(textscan_begin(r->account, keys, where, 3, r->messages, MESSAGES));
    rig_done(r);
    free(r);
}

int main(int argc, char **argv)
{
    int64_t seconds = argc > 1 ? atoi(argv[1]) : 2;

    run("memory:", seconds);
    run("memory:?atomic=0", seconds);
    return 0;
}
