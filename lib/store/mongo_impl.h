/* SPDX-License-Identifier: MPL-2.0 */
/* What mongo.c (opening, commands and their outcomes), mongo_write.c and mongo_read.c share. */
#pragma once

#include <mongoc/mongoc.h>
#include <pthread.h>
#include <sys/queue.h>

#include "lib/base/pool.h"
#include "lib/store/store_impl.h"

/* The fields of every document beside _id; one letter, because there are very many of them. */
#define FIELD_HEAD  "h"
#define FIELD_BODY  "b"
#define FIELD_STAMP "s"

struct mongo {
    struct store store;
    mongoc_client_pool_t *clients;
    struct pool *helpers; /* send the second and further commands of one insert */
    char *db;
    bool clustered[STORE_TABLES_]; /* what the collections really are */
    struct mongo_group *inserts[STORE_TABLES_], *changes[STORE_TABLES_]; /* NULL: each for itself */
    bson_t *write_opts;                                                  /* the write concern */
    mongoc_read_prefs_t *primary, *any;
    int command_ms; /* wtimeout and maxTimeMS: shorter than the socket's patience, so that the
                       server is the one who says what happened */
};

static inline struct mongo *mongo_of(struct store *s)
{
    return (struct mongo *)(void *)s; /* its first member */
}

/* Of a call that begins now and takes several commands: after it none is sent. */
int64_t mongo_deadline(const struct mongo *m);

/* --- one command ----------------------------------------------------------------------------- */

enum mongo_fate {
    MONGO_RAN,   /* the server ran it: look at the reply */
    MONGO_NEVER, /* nothing of it happened, nor will */
    MONGO_LOST,  /* anything may have happened, or may still */
};

struct mongo_answer {
    bson_t reply; /* initialised in any case */
    enum mongo_fate fate;
    bool vague; /* RAN, but a write concern error says that it may be rolled back */
    int code;   /* the server's or the driver's; 0: none */
    int64_t time;
    struct error cause; /* set unless RAN and not vague */
};

/* Runs it once, never a second time. Frees the command. mongo_answer_done in any case. */
void mongo_write(struct mongo *m, bson_t *command, struct mongo_answer *ret_answer);
/* May run it a second time on another connection or server. level ANY: where m->any says. */
void mongo_read(struct mongo *m, bson_t *command, enum store_level level,
                struct mongo_answer *ret_answer);
void mongo_answer_done(struct mongo_answer *a);
/* The error of a failed command: -ERR_UNAVAILABLE, or -ERR_UNKNOWN_OUTCOME if it was LOST or vague
 * (`write`). */
int mongo_fail(const struct mongo_answer *a, bool write, struct error *err);

/* --- documents ------------------------------------------------------------------------------- */

/* Binary where all keys of the table have one size, since BSON orders binary values by length
 * first; text, which it orders by bytes, for the others. */
void mongo_add_key(bson_t *doc, const char *field, enum store_table table, struct slice key);
struct slice mongo_key_of(const bson_iter_t *it);
void mongo_add_binary(bson_t *doc, const char *field, struct slice s);
uint64_t mongo_stamp_of(const bson_iter_t *it);
/* The name of an array's element. */
struct mongo_index {
    char text[12];
};
const char *mongo_index(struct mongo_index *room, size_t i, size_t *ret_n);

/* --- groups: see mongo_group.c ---------------------------------------------------------------- */

/* One caller waits for so many of his members. */
struct mongo_latch {
    pthread_mutex_t lock;
    pthread_cond_t open;
    size_t waiting;
};
#define MONGO_LATCH(n)                                                                             \
    {                                                                                              \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, (n)                                   \
    }
/* Waits until it is open, and ends it. */
void mongo_latch_wait(struct mongo_latch *l);
void mongo_latch_count(struct mongo_latch *l);

/* Part of what its owner wants sent. */
struct mongo_member {
    TAILQ_ENTRY(mongo_member) link;
    size_t bytes;
    struct slice key; /* none of the same key goes into one command; empty: does not matter */
    struct mongo_latch *latch;
};

/* Of one command: documents, and octets of several (one alone may be larger). */
#define MONGO_MEMBERS_MAX 128
#define MONGO_BYTES_MAX   ((size_t)4 << 20)
#define MONGO_FLIGHTS     2 /* commands of one group under way at once */

struct mongo_flight {
    struct pool_job job;
    struct mongo_group *group;
    bool busy;
};

struct mongo_group {
    struct mongo *m;
    /* One command for all; afterwards each knows what became of it. */
    void (*send)(struct mongo *m, struct mongo_member **members, size_t n);
    pthread_mutex_t lock; /* guards what follows */
    TAILQ_HEAD(, mongo_member) waiting;
    struct mongo_flight flights[MONGO_FLIGHTS];
};

struct mongo_group *mongo_group_new(struct mongo *m,
                                    void (*send)(struct mongo *m, struct mongo_member **members,
                                                 size_t n)) MUST_USE;
/* When none of its members waits. NULL is fine. */
void mongo_group_free(struct mongo_group *g);
/* The member is the group's until its latch is counted down. */
void mongo_group_add(struct mongo_group *g, struct mongo_member *member);

/* What they send. */
void mongo_insert_members(struct mongo *m, struct mongo_member **members, size_t n);
void mongo_change_members(struct mongo *m, struct mongo_member **members, size_t n);

/* --- verbs ----------------------------------------------------------------------------------- */

int mongo_insert(struct store *s, struct store_item *items, size_t n, int64_t *ret_time,
                 struct error *err);
int mongo_update(struct store *s, const struct store_change *change, uint64_t *ret_version,
                 int64_t *ret_time, struct error *err);
int mongo_remove(struct store *s, enum store_table table, const struct slice *keys, size_t n,
                 struct error *err);
int mongo_remove_range(struct store *s, enum store_table table, struct slice from, struct slice to,
                       uint64_t *ret_n, struct error *err);
int mongo_get(struct store *s, enum store_table table, const struct slice *keys, size_t n,
              enum store_parts parts, enum store_level level, struct store_docs *docs,
              struct error *err);
int mongo_range(struct store *s, const struct store_query *query, struct store_docs *docs,
                struct error *err);
int mongo_time(struct store *s, int64_t *ret_time, struct error *err);
