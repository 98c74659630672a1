/* SPDX-License-Identifier: MPL-2.0 */
/* mongo_bench URI SECONDS: store_insert beside the driver's own insertMany of the same documents.
 *
 * Both with majority and journal, unordered, from the same number of threads, into collections made
 * alike; in turns, so that what else the machine does hits both. Goal: 80 % of raw or more. Build
 * without sanitizers; tests/store/with_mongod gives a server:
 *
 *     with_mongod mongo_bench {} 3
 */
#include <mongoc/mongoc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"
#include "lib/store/keys.h"
#include "lib/store/store.h"

#define BATCH_MAX   1000
#define THREADS_MAX 8

struct shape {
    const char *name;
    enum store_table table;
    size_t head, body, batch;
    int threads;
    bool delivery; /* each batch of messages is followed by one of as many records */
};

static const struct shape shapes[] = {
    {"record 300 B", STORE_LOG, 300, 0, 1, 1},
    {"record 300 B", STORE_LOG, 300, 0, 1, 8},
    {"record 300 B", STORE_LOG, 300, 0, 32, 1},
    {"record 300 B", STORE_LOG, 300, 0, 32, 2},
    {"record 300 B", STORE_LOG, 300, 0, 128, 1},
    {"record 300 B", STORE_LOG, 300, 0, 128, 2},
    {"record 300 B", STORE_LOG, 300, 0, 1000, 2},
    {"message 4 kB", STORE_MESSAGES, 1000, 3000, 32, 1},
    {"message 4 kB", STORE_MESSAGES, 1000, 3000, 32, 2},
    {"message 4 kB", STORE_MESSAGES, 1000, 3000, 128, 2},
    {"message 100 kB", STORE_MESSAGES, 1500, 100000, 8, 2},
    /* what the committer sends for texts (1.4 kB digest, 2.2 kB of zstd), at the batches that it
     * makes of 1, 8 and 32 deliveries at a time: the raw limit beside tests/bench/delivery.py */
    {"delivery 4 kB", STORE_MESSAGES, 1400, 2200, 1, 1, true},
    {"delivery 4 kB", STORE_MESSAGES, 1400, 2200, 4, 2, true},
    {"delivery 4 kB", STORE_MESSAGES, 1400, 2200, 16, 2, true},
};

static const struct shape record = {"record 300 B", STORE_LOG, 300, 0, 0, 0};

struct job {
    const struct shape *shape;
    struct store *store;           /* or */
    mongoc_client_pool_t *clients; /* raw */
    const uint8_t *bytes;
    int64_t end_us;
    atomic_ulong docs;
};

static void insert_store(struct job *j, const struct shape *s, struct key16 *keys)
{
    struct store_item items[BATCH_MAX];
    struct error err;
    int64_t time;

    for (size_t i = 0; i < j->shape->batch; i++)
        items[i] = (struct store_item){.table = s->table,
                                       .key = KEY_SLICE(keys[i]),
                                       .head = slice_of(j->bytes, s->head),
                                       .body = slice_of(j->bytes, s->body)};
    if (store_insert(j->store, items, j->shape->batch, &time, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
}

static bson_t *raw_doc(struct job *j, const struct shape *s, const struct key16 *key)
{
    bson_t *doc = bson_sized_new(s->head + s->body + 100);

    bson_append_binary(doc, "_id", 3, BSON_SUBTYPE_BINARY, key->b, sizeof key->b);
    bson_append_binary(doc, "h", 1, BSON_SUBTYPE_BINARY, j->bytes, (uint32_t)s->head);
    if (s->body)
        bson_append_binary(doc, "b", 1, BSON_SUBTYPE_BINARY, j->bytes, (uint32_t)s->body);
    bson_append_timestamp(doc, "s", 1, 0, 0);
    return doc;
}

static void insert_raw(struct job *j, const struct shape *s, struct key16 *keys)
{
    mongoc_client_t *client = mongoc_client_pool_pop(j->clients);
    mongoc_collection_t *c = mongoc_client_get_collection(
        client, "eider_raw", s->table == STORE_LOG ? "log" : "messages");
    bson_t *opts = BCON_NEW("ordered", BCON_BOOL(false)), *docs[BATCH_MAX];
    bson_error_t e;

    for (size_t i = 0; i < j->shape->batch; i++)
        docs[i] = raw_doc(j, s, &keys[i]);
    if (!mongoc_collection_insert_many(c, (const bson_t **)docs, j->shape->batch, opts, NULL, &e)) {
        fprintf(stderr, "%s\n", e.message);
        exit(1);
    }
    for (size_t i = 0; i < j->shape->batch; i++)
        bson_destroy(docs[i]);
    bson_destroy(opts);
    mongoc_collection_destroy(c);
    mongoc_client_pool_push(j->clients, client);
}

static void insert_batch(struct job *j, const struct shape *s, struct key16 *keys)
{
    if (j->store)
        insert_store(j, s, keys);
    else
        insert_raw(j, s, keys);
}

static void *run_thread(void *arg)
{
    struct job *j = arg;
    struct key16 keys[BATCH_MAX];
    uint64_t seq = 0, account = random_u64() >> 1;

    while (clock_mono_us() < j->end_us) {
        for (size_t i = 0; i < j->shape->batch; i++)
            keys[i] = key_pair(account + i, seq);
        seq++;
        insert_batch(j, j->shape, keys);
        if (j->shape->delivery)
            insert_batch(j, &record, keys);
        atomic_fetch_add(&j->docs, j->shape->batch);
    }
    return NULL;
}

/* Documents in a second. */
static double run(struct job j, double seconds)
{
    pthread_t threads[THREADS_MAX];
    int64_t start = clock_mono_us();

    j.end_us = start + (int64_t)(seconds * 1e6);
    for (int i = 0; i < j.shape->threads; i++)
        if (pthread_create(&threads[i], NULL, run_thread, &j) != 0)
            abort();
    for (int i = 0; i < j.shape->threads; i++)
        pthread_join(threads[i], NULL);
    return (double)atomic_load(&j.docs) * 1e6 / (double)(clock_mono_us() - start);
}

static mongoc_client_pool_t *open_raw(const char *text)
{
    mongoc_uri_t *uri = mongoc_uri_new(text);
    mongoc_write_concern_t *wc = mongoc_write_concern_new();
    mongoc_client_pool_t *pool;
    mongoc_client_t *client;

    mongoc_write_concern_set_wmajority(wc, 10000);
    mongoc_write_concern_set_journal(wc, true);
    mongoc_uri_set_write_concern(uri, wc);
    mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYWRITES, false);
    mongoc_write_concern_destroy(wc);
    pool = mongoc_client_pool_new(uri);
    mongoc_uri_destroy(uri);
    client = mongoc_client_pool_pop(pool);
    for (int i = 0; i < 2; i++) {
        bson_t *c = BCON_NEW("create", i ? "messages" : "log", "clusteredIndex", "{", "key", "{",
                             "_id", BCON_INT32(1), "}", "unique", BCON_BOOL(true), "}");

        if (i)
            BCON_APPEND(c, "storageEngine", "{", "wiredTiger", "{", "configString",
                        "block_compressor=none", "}", "}");
        mongoc_client_command_simple(client, "eider_raw", c, NULL, NULL, NULL);
        bson_destroy(c);
    }
    mongoc_client_pool_push(pool, client);
    return pool;
}

int main(int argc, char **argv)
{
    double seconds = argc > 2 ? strtod(argv[2], NULL) : 3;
    struct job ours = {0}, raw = {0};
    struct error err;
    uint8_t *bytes = mem_alloc(1 << 20);

    if (argc < 2) {
        fprintf(stderr, "usage: mongo_bench URI [SECONDS]\n");
        return 2;
    }
    random_bytes(bytes, 1 << 20);
    ours.bytes = raw.bytes = bytes;
    if (store_open(argv[1], NULL, &ours.store, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    raw.clients = open_raw(argv[1]);
    printf("%-16s %7s %7s %10s %10s %6s\n", "document", "threads", "batch", "raw/s", "store/s",
           "%");
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        double a = 0, b = 0;

        ours.shape = raw.shape = &shapes[i];
        for (int round = 0; round < 3; round++) {
            a += run(raw, seconds / 3);
            b += run(ours, seconds / 3);
        }
        printf("%-16s %7d %7zu %10.0f %10.0f %6.0f\n", shapes[i].name, shapes[i].threads,
               shapes[i].batch, a / 3, b / 3, 100 * b / a);
        fflush(stdout);
    }
    mongoc_client_pool_destroy(raw.clients);
    store_close(ours.store);
    free(bytes);
    return 0;
}
