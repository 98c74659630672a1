/* SPDX-License-Identifier: MPL-2.0 */
/* The store in MongoDB: opening, and the fate of one command.
 *
 * Documents. {_id: key, h: head, b: body, s: Timestamp}. The server fills in `s`: at an insert
 * because it is sent as Timestamp(0, 0), at a change by $currentDate. Such a timestamp is a tick of
 * the server's logical clock, so no other write has it: its 64 bits are the document's version and
 * the guard of updates, its seconds are the store time at which the document was stored. The store
 * time of a reply is its operationTime. Log, messages, blobs, links, segments and text index are
 * clustered collections where the server has them (5.3): one B-tree instead of two.
 *
 * Commands. Everything is sent as a raw command, because the helpers of the driver hide what has to
 * be looked at: operationTime, writeErrors, and writeConcernError, all of the same reply. A real
 * server has been seen to answer an insert with "n: 0, duplicate key" and a write concern error
 * beside it, where the duplicate was the command's own document, inserted a moment before and
 * rolled back later. So a write concern error makes all of a batch unknown but its duplicates, and
 * a duplicate is "taken", which is no conclusion (store.h).
 *
 * One attempt. retryWrites is off, whatever the URI says. With it the driver sends a failed command
 * again under the same transaction number, and the server runs it once; but then the error that is
 * seen may be the second attempt's, and says nothing of the first: a plain "not primary" would no
 * longer prove anything. Nor would it spare us the question: both attempts can be lost. The layer
 * above has an answer to "unknown" that is sound for every case (docs/log.md), whose own retries
 * are idempotent by key and txid, and it wants to know within seconds. A late first copy of a write
 * that was answered "unknown" is likewise its business: the fence, and the guards of updates. And
 * each retryable write costs the server an update of its session table.
 *
 * What proves that nothing happened (NEVER). The driver found no server, or none of its pool's
 * connections was free: nothing was sent. Or the server answered this one attempt "ok: 0" with a
 * code that is given at the door, before a command runs: not primary, not authorised, not
 * understood. An interruption (11602, 11600, 189, 91) may come in the middle of a batch and is
 * never proof; nor is "not primary" among the writeErrors of a batch, which may be the second go
 * of the server at a document that the first had stored. All else, the lost connection above all,
 * is LOST.
 *
 * Time. A dead database must not hold workers: heartbeats every second, 2 s to find a server, 1.5 s
 * to connect, 4 s for a reply (scaled down when the settings allow less than 10 s in all), and
 * wtimeout and maxTimeMS below the 4 s so that the server itself answers first. The URI may say
 * otherwise. Reads that fail at once are tried a second time: after a restart every pooled
 * connection fails once.
 *
 * Threads. A pool of clients, popped for one command each; pools must not live through a fork, so
 * stores are opened after it. The log handler of the driver is one for the process; opening a
 * store sets it.
 *
 * To add a table: a row in store.c, and in `layouts` below.
 */
#include <pthread.h>
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/mem.h"
#include "lib/base/plant.h"
#include "lib/store/mongo_impl.h"

#define DB_DEFAULT     "eider"
#define FORMAT         1 /* of all that is stored; a store with a higher one is not opened */
#define META           "meta"
#define WIRE_MIN       9  /* MongoDB 4.4: $unionWith */
#define WIRE_CLUSTERED 16 /* 5.3 */
#define HELPERS        16 /* an insert seldom has more than three tables; one for each group */

static const struct layout {
    bool clustered;
    bool packed;   /* values are compressed already */
    bool gathered; /* by mongo_group.c */
} layouts[STORE_TABLES_] = {
    [STORE_LOG] = {.clustered = true},
    [STORE_MESSAGES] = {.clustered = true, .packed = true},
    [STORE_BLOBS] = {.clustered = true, .packed = true},
    [STORE_BLOBLINKS] = {.clustered = true},
    [STORE_SEGMENTS] = {.clustered = true, .packed = true},
    [STORE_TEXTINDEX] = {.clustered = true, .packed = true},
    [STORE_QUEUE] = {.gathered = true},
    [STORE_QUEUEENTRIES] = {.gathered = true},
    [STORE_QUEUEBODIES] = {.clustered = true, .packed = true, .gathered = true},
    [STORE_QUEUEDUE] = {.clustered = true, .gathered = true},
};

/* --- BSON ------------------------------------------------------------------------------------ */

void mongo_add_binary(bson_t *doc, const char *field, struct slice s)
{
    static const uint8_t none[1];

    bson_append_binary(doc, field, -1, BSON_SUBTYPE_BINARY, s.n ? s.p : none, (uint32_t)s.n);
}

void mongo_add_key(bson_t *doc, const char *field, enum store_table table, struct slice key)
{
    if (store_key_size(table))
        mongo_add_binary(doc, field, key);
    else
        bson_append_utf8(doc, field, -1, key.n ? (const char *)key.p : "", (int)key.n);
}

struct slice mongo_key_of(const bson_iter_t *it)
{
    bson_subtype_t subtype;
    const uint8_t *p = NULL;
    uint32_t n = 0;

    if (BSON_ITER_HOLDS_BINARY(it))
        bson_iter_binary(it, &subtype, &n, &p);
    else if (BSON_ITER_HOLDS_UTF8(it))
        p = (const uint8_t *)bson_iter_utf8(it, &n);
    return slice_of(p, n);
}

uint64_t mongo_stamp_of(const bson_iter_t *it)
{
    uint32_t seconds, increment;

    if (!BSON_ITER_HOLDS_TIMESTAMP(it))
        return 0;
    bson_iter_timestamp(it, &seconds, &increment);
    return (uint64_t)seconds << 32 | increment;
}

const char *mongo_index(struct mongo_index *room, size_t i, size_t *ret_n)
{
    const char *text;

    *ret_n = bson_uint32_to_string((uint32_t)i, &text, room->text, sizeof room->text);
    return text;
}

int64_t mongo_deadline(const struct mongo *m)
{
    return clock_mono_ms() + m->store.settings.timeout_ms;
}

static bool reply_has(const bson_t *reply, const char *field, bson_iter_t *it)
{
    return bson_iter_init_find(it, reply, field);
}

static int64_t reply_int(const bson_t *reply, const char *field)
{
    bson_iter_t it;

    return reply_has(reply, field, &it) ? bson_iter_as_int64(&it) : 0;
}

/* --- the fate of a command ------------------------------------------------------------------- */

void mongo_answer_done(struct mongo_answer *a)
{
    bson_destroy(&a->reply);
}

int mongo_fail(const struct mongo_answer *a, bool write, struct error *err)
{
    enum err kind = write && a->fate != MONGO_NEVER ? ERR_UNKNOWN_OUTCOME : ERR_UNAVAILABLE;

    return error_set(err, kind, "MongoDB: %s", a->cause.text);
}

/* Codes that a server gives at the door; see above. */
static bool refused_at_door(int code)
{
    switch (code) {
    case 10107: /* NotWritablePrimary */
    case 13435: /* NotPrimaryNoSecondaryOk */
    case 13436: /* NotPrimaryOrSecondary */
    case 13:    /* Unauthorized */
    case 18:    /* AuthenticationFailed */
    case 59:    /* CommandNotFound */
    case 73:    /* InvalidNamespace */
    case 9:     /* FailedToParse */
    case 2:     /* BadValue */
        return true;
    default:
        return false;
    }
}

/* The driver failed without a reply from a server. */
static enum mongo_fate fate_of_driver_error(const bson_error_t *e)
{
    switch (e->domain) {
    case MONGOC_ERROR_SERVER_SELECTION:
        return MONGO_NEVER;
    case MONGOC_ERROR_STREAM: /* a connection that was never made carried nothing */
        return e->code == MONGOC_ERROR_STREAM_CONNECT ||
                       e->code == MONGOC_ERROR_STREAM_NAME_RESOLUTION
                   ? MONGO_NEVER
                   : MONGO_LOST;
    case MONGOC_ERROR_CLIENT:
        return e->code == MONGOC_ERROR_CLIENT_AUTHENTICATE ? MONGO_NEVER : MONGO_LOST;
    default:
        return MONGO_LOST;
    }
}

static void answer_write_concern(struct mongo_answer *a)
{
    bson_iter_t it, inner;
    const char *text = "not acknowledged by a majority";

    if (!reply_has(&a->reply, "writeConcernError", &it))
        return;
    a->vague = true;
    if (BSON_ITER_HOLDS_DOCUMENT(&it) && bson_iter_recurse(&it, &inner)) {
        while (bson_iter_next(&inner)) {
            if (strcmp(bson_iter_key(&inner), "code") == 0)
                a->code = (int)bson_iter_as_int64(&inner);
            if (strcmp(bson_iter_key(&inner), "errmsg") == 0 && BSON_ITER_HOLDS_UTF8(&inner))
                text = bson_iter_utf8(&inner, NULL);
        }
    }
    error_set(&a->cause, ERR_UNKNOWN_OUTCOME, "%s (code %d)", text, a->code);
}

/* `e` is what the driver made of it: it knows transport errors, the reply knows the rest. */
static void answer_judge(struct mongo_answer *a, const bson_error_t *e)
{
    bson_iter_t it;

    if (reply_has(&a->reply, "operationTime", &it))
        a->time = (int64_t)(mongo_stamp_of(&it) >> 32) * 1000;
    if (!reply_has(&a->reply, "ok", &it)) {
        a->fate = fate_of_driver_error(e);
        a->code = (int)e->code;
        error_set(&a->cause, ERR_UNAVAILABLE, "%s", e->message);
    } else if (bson_iter_as_bool(&it)) {
        a->fate = MONGO_RAN;
        answer_write_concern(a);
    } else {
        a->code = (int)reply_int(&a->reply, "code");
        a->fate = refused_at_door(a->code) ? MONGO_NEVER : MONGO_LOST;
        error_set(&a->cause, ERR_UNAVAILABLE, "%s (code %d)",
                  reply_has(&a->reply, "errmsg", &it) && BSON_ITER_HOLDS_UTF8(&it)
                      ? bson_iter_utf8(&it, NULL)
                      : "refused",
                  a->code);
    }
}

/* prefs NULL: a write. */
static void run_once(struct mongo *m, const bson_t *command, const mongoc_read_prefs_t *prefs,
                     struct mongo_answer *a)
{
    mongoc_client_t *client = mongoc_client_pool_pop(m->clients);
    bson_error_t e = {0};

    *a = (struct mongo_answer){.fate = MONGO_NEVER};
    if (!client) {
        bson_init(&a->reply);
        error_set(&a->cause, ERR_UNAVAILABLE, "all %d connections are busy",
                  m->store.settings.pool_size);
        return;
    }
    if (prefs)
        (void)mongoc_client_read_command_with_opts(client, m->db, command, prefs, NULL, &a->reply,
                                                   &e);
    else
        (void)mongoc_client_write_command_with_opts(client, m->db, command, m->write_opts,
                                                    &a->reply, &e);
    mongoc_client_pool_push(m->clients, client);
    answer_judge(a, &e);
}

void mongo_write(struct mongo *m, bson_t *command, struct mongo_answer *ret_answer)
{
    run_once(m, command, NULL, ret_answer);
    bson_destroy(command);
}

/* The server looked at it and will say the same again. */
static bool retry_is_vain(int code)
{
    return code == 13 || code == 18 || code == 59 || code == 73 || code == 9 || code == 2 ||
           code == 50 /* MaxTimeMSExpired */;
}

void mongo_read(struct mongo *m, bson_t *command, enum store_level level,
                struct mongo_answer *ret_answer)
{
    int64_t start = clock_mono_ms();

    run_once(m, command, level == STORE_ANY ? m->any : m->primary, ret_answer);
    if (ret_answer->fate != MONGO_RAN && !retry_is_vain(ret_answer->code) &&
        clock_mono_ms() - start < m->store.settings.timeout_ms / 8) {
        mongo_answer_done(ret_answer);
        run_once(m, command, m->primary, ret_answer);
    }
    bson_destroy(command);
}

/* --- opening --------------------------------------------------------------------------------- */

static void log_driver(mongoc_log_level_t level, const char *domain, const char *message, void *ctx)
{
    static const enum log_level levels[] = {
        [MONGOC_LOG_LEVEL_ERROR] = LOG_ERROR_,  [MONGOC_LOG_LEVEL_CRITICAL] = LOG_ERROR_,
        [MONGOC_LOG_LEVEL_WARNING] = LOG_WARN_, [MONGOC_LOG_LEVEL_MESSAGE] = LOG_INFO_,
        [MONGOC_LOG_LEVEL_INFO] = LOG_INFO_,
    };

    log_text((size_t)level < ARRAY_LEN(levels) ? levels[level] : LOG_DEBUG_, "mongodb-driver",
             "%s: %s", domain, message);
}

static void start_driver(void)
{
    mongoc_init();
    mongoc_log_set_handler(log_driver, NULL);
}

static void default_int(mongoc_uri_t *uri, const char *option, int value)
{
    if (!mongoc_uri_has_option(uri, option))
        mongoc_uri_set_option_as_int32(uri, option, value);
}

static int patience(const struct store_settings *s, int of_10_seconds)
{
    return s->timeout_ms >= 10000 ? of_10_seconds
                                  : MAX(1, (int)((int64_t)of_10_seconds * s->timeout_ms / 10000));
}

static void complete_uri(mongoc_uri_t *uri, const struct store_settings *s)
{
    default_int(uri, MONGOC_URI_HEARTBEATFREQUENCYMS, 1000);
    default_int(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, patience(s, 2000));
    default_int(uri, MONGOC_URI_CONNECTTIMEOUTMS, patience(s, 1500));
    default_int(uri, MONGOC_URI_SOCKETTIMEOUTMS, patience(s, 4000));
    default_int(uri, MONGOC_URI_WAITQUEUETIMEOUTMS, patience(s, 2000));
    default_int(uri, MONGOC_URI_MAXPOOLSIZE, s->pool_size);
    mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYWRITES, false);
    mongoc_uri_set_option_as_bool(uri, MONGOC_URI_RETRYREADS, false);
    if (!mongoc_uri_get_appname(uri))
        mongoc_uri_set_appname(uri, "eider");
}

static void prepare_options(struct mongo *m, const mongoc_uri_t *uri)
{
    int socket_ms = mongoc_uri_get_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, 4000);
    mongoc_write_concern_t *concern = mongoc_write_concern_new();

    m->command_ms = socket_ms > 0 ? MAX(1, socket_ms / 4 * 3) : m->store.settings.timeout_ms / 2;
    m->store.settings.pool_size =
        mongoc_uri_get_option_as_int32(uri, MONGOC_URI_MAXPOOLSIZE, m->store.settings.pool_size);
    mongoc_write_concern_set_w(concern,
                               PLANTED(one_member_enough) ? 1 : MONGOC_WRITE_CONCERN_W_MAJORITY);
    mongoc_write_concern_set_journal(concern, true);
    mongoc_write_concern_set_wtimeout_int64(concern, m->command_ms);
    m->write_opts = bson_new();
    mongoc_write_concern_append(concern, m->write_opts);
    mongoc_write_concern_destroy(concern);
    m->primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
    m->any = mongoc_uri_has_option(uri, MONGOC_URI_READPREFERENCE)
                 ? mongoc_read_prefs_copy(mongoc_uri_get_read_prefs_t(uri))
                 : mongoc_read_prefs_new(MONGOC_READ_SECONDARY_PREFERRED);
}

static int check_server(const bson_t *hello, struct error *err)
{
    bson_iter_t it;
    bool sharded = reply_has(hello, "msg", &it) && BSON_ITER_HOLDS_UTF8(&it) &&
                   strcmp(bson_iter_utf8(&it, NULL), "isdbgrid") == 0;

    if (reply_int(hello, "maxWireVersion") < WIRE_MIN)
        return error_set(err, ERR_INVALID, "this MongoDB is too old: 4.4 or later is needed");
    if (sharded || reply_has(hello, "setName", &it))
        return 0;
    if (reply_has(hello, "isreplicaset", &it))
        return error_set(err, ERR_INVALID,
                         "this mongod waits to be told of its replica set: in mongosh, once, "
                         "type rs.initiate()");
    return error_set(err, ERR_INVALID,
                     "this mongod is not in a replica set, which gives no store time: put "
                     "\"replication: {replSetName: eider}\" into mongod.conf, restart it, and in "
                     "mongosh, once, type rs.initiate()");
}

/* Drivers of other languages find the other members of a replica set by themselves; this one does
 * if it is told the set's name. */
static void follow_set(mongoc_uri_t *uri, const bson_t *hello)
{
    bson_iter_t it;

    if (reply_has(hello, "setName", &it) && BSON_ITER_HOLDS_UTF8(&it) &&
        !mongoc_uri_get_replica_set(uri) &&
        !mongoc_uri_has_option(uri, MONGOC_URI_DIRECTCONNECTION))
        mongoc_uri_set_option_as_utf8(uri, MONGOC_URI_REPLICASET, bson_iter_utf8(&it, NULL));
}

static int look_at_server(mongoc_uri_t *uri, int *ret_wire, struct error *err)
{
    mongoc_client_t *client = mongoc_client_new_from_uri(uri);
    mongoc_read_prefs_t *prefs = mongoc_read_prefs_new(MONGOC_READ_PRIMARY_PREFERRED);
    bson_t *hello = BCON_NEW("hello", BCON_INT32(1)), reply;
    bson_error_t e = {0};
    int r;

    if (!client) {
        r = error_set(err, ERR_INVALID, "MongoDB: the URI cannot be used");
        bson_init(&reply);
    } else if (!mongoc_client_command_simple(client, "admin", hello, prefs, &reply, &e)) {
        r = error_set(err, ERR_UNAVAILABLE, "MongoDB: %s", e.message);
    } else {
        r = check_server(&reply, err);
        *ret_wire = (int)reply_int(&reply, "maxWireVersion");
        follow_set(uri, &reply);
    }
    bson_destroy(&reply);
    bson_destroy(hello);
    mongoc_read_prefs_destroy(prefs);
    if (client)
        mongoc_client_destroy(client);
    return r;
}

/* Notes which collections there are, and which of them are clustered. */
static int list_collections(struct mongo *m, bool have[static STORE_TABLES_], struct error *err)
{
    struct mongo_answer a;
    bson_iter_t it, batch, one, field;

    mongo_read(m,
               BCON_NEW("listCollections", BCON_INT32(1), "cursor", "{", "batchSize",
                        BCON_INT32(100000), "}"),
               STORE_MAJORITY, &a);
    if (a.fate != MONGO_RAN) {
        int r = mongo_fail(&a, false, err);

        mongo_answer_done(&a);
        return r;
    }
    if (bson_iter_init(&it, &a.reply) &&
        bson_iter_find_descendant(&it, "cursor.firstBatch", &batch) &&
        bson_iter_recurse(&batch, &one)) {
        while (bson_iter_next(&one)) {
            const char *name = bson_iter_recurse(&one, &field) && bson_iter_find(&field, "name")
                                   ? bson_iter_utf8(&field, NULL)
                                   : "";

            for (int t = 0; t < STORE_TABLES_; t++) {
                if (strcmp(name, store_table_name(t)) != 0)
                    continue;
                have[t] = true;
                m->clustered[t] = bson_iter_recurse(&one, &field) &&
                                  bson_iter_find_descendant(&field, "options.clusteredIndex", &it);
            }
        }
    }
    mongo_answer_done(&a);
    return 0;
}

static bson_t *create_command(const char *name, struct layout l)
{
    bson_t *c = BCON_NEW("create", name);

    if (l.clustered)
        BCON_APPEND(c, "clusteredIndex", "{", "key", "{", "_id", BCON_INT32(1), "}", "unique",
                    BCON_BOOL(true), "}");
    if (l.packed)
        BCON_APPEND(c, "storageEngine", "{", "wiredTiger", "{", "configString",
                    "block_compressor=none", "}", "}");
    return c;
}

/* Somebody else may make it at the same time. */
static int create_collection(struct mongo *m, const char *name, struct layout l, struct error *err)
{
    struct mongo_answer a;
    int r = 0;

    mongo_write(m, create_command(name, l), &a);
    if ((a.fate != MONGO_RAN || a.vague) && a.code != 48 /* NamespaceExists */)
        r = error_set(err, ERR_UNAVAILABLE, "MongoDB: making %s: %s", name, a.cause.text);
    mongo_answer_done(&a);
    if (r < 0 && (l.clustered || l.packed)) /* another storage engine, or another's server */
        return create_collection(m, name, (struct layout){0}, err);
    return r;
}

static int make_collections(struct mongo *m, int wire, struct error *err)
{
    bool have[STORE_TABLES_] = {false}, made = false;
    int r = list_collections(m, have, err);

    for (int t = 0; t < STORE_TABLES_ && r == 0; t++) {
        struct layout l = layouts[t];

        if (have[t])
            continue;
        l.clustered = l.clustered && wire >= WIRE_CLUSTERED;
        made = true;
        r = create_collection(m, store_table_name(t), l, err);
    }
    return r == 0 && made ? list_collections(m, have, err) : r;
}

static bson_t *find_format(struct mongo *m)
{
    return BCON_NEW("find", META, "filter", "{", "_id", "format", "}", "limit", BCON_INT32(1),
                    "readConcern", "{", "level", "majority", "}", "maxTimeMS",
                    BCON_INT32(m->command_ms));
}

/* One document names the format of all the others; the first who opens the store writes it. */
static int check_format(struct mongo *m, struct error *err)
{
    struct mongo_answer a;
    bson_iter_t it, field;
    int64_t format = 0;
    int r = 0;

    mongo_write(m,
                BCON_NEW("insert", META, "documents", "[", "{", "_id", "format", "v",
                         BCON_INT32(FORMAT), "}", "]"),
                &a);
    mongo_answer_done(&a); /* there already, most often */
    mongo_read(m, find_format(m), STORE_MAJORITY, &a);
    if (a.fate != MONGO_RAN)
        r = mongo_fail(&a, false, err);
    else if (bson_iter_init(&it, &a.reply) &&
             bson_iter_find_descendant(&it, "cursor.firstBatch.0.v", &field))
        format = bson_iter_as_int64(&field);
    mongo_answer_done(&a);
    if (r == 0 && format == 0)
        r = error_set(err, ERR_UNAVAILABLE, "MongoDB: a new store is not in a majority yet");
    if (format > FORMAT)
        r = error_set(err, ERR_INTERNAL,
                      "this database has format %lld, which only a later Eider knows",
                      (long long)format);
    return r;
}

int mongo_time(struct store *s, int64_t *ret_time, struct error *err)
{
    struct mongo *m = mongo_of(s);
    struct mongo_answer a;
    int r = 0;

    mongo_read(m, find_format(m), STORE_MAJORITY, &a);
    if (a.fate == MONGO_RAN)
        *ret_time = a.time;
    else
        r = mongo_fail(&a, false, err);
    mongo_answer_done(&a);
    return r;
}

static void mongo_close(struct store *s)
{
    struct mongo *m = mongo_of(s);

    pool_free(m->helpers);
    for (int t = 0; t < STORE_TABLES_; t++) {
        mongo_group_free(m->inserts[t]);
        mongo_group_free(m->changes[t]);
    }
    if (m->clients)
        mongoc_client_pool_destroy(m->clients);
    mongoc_read_prefs_destroy(m->primary);
    mongoc_read_prefs_destroy(m->any);
    if (m->write_opts)
        bson_destroy(m->write_opts);
    free(m->db);
    free(m);
}

static const struct store_ops mongo_ops = {
    .kind = "mongodb",
    .close = mongo_close,
    .insert = mongo_insert,
    .update = mongo_update,
    .remove = mongo_remove,
    .remove_range = mongo_remove_range,
    .get = mongo_get,
    .range = mongo_range,
    .time = mongo_time,
};

static void make_groups(struct mongo *m)
{
    for (int t = 0; t < STORE_TABLES_; t++) {
        if (!layouts[t].gathered)
            continue;
        m->inserts[t] = mongo_group_new(m, mongo_insert_members);
        m->changes[t] = mongo_group_new(m, mongo_change_members);
    }
}

static int mongo_start(struct mongo *m, const mongoc_uri_t *uri, int wire, struct error *err)
{
    const char *db = mongoc_uri_get_database(uri);
    int r;

    m->db = mem_strdup(db && *db ? db : DB_DEFAULT);
    prepare_options(m, uri);
    m->clients = mongoc_client_pool_new(uri);
    if (!m->clients)
        return error_set(err, ERR_INVALID, "MongoDB: the URI cannot be used");
    mongoc_client_pool_set_error_api(m->clients, MONGOC_ERROR_API_VERSION_2);
    make_groups(m);
    r = pool_new("mongo", HELPERS, &m->helpers, err);
    if (r == 0)
        r = make_collections(m, wire, err);
    if (r == 0)
        r = check_format(m, err);
    return r;
}

int store_mongo_open(const char *uri_text, const struct store_settings *settings,
                     struct store **ret_store, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    bson_error_t e;
    mongoc_uri_t *uri;
    struct mongo *m;
    int r, wire = 0;

    pthread_once(&once, start_driver);
    uri = mongoc_uri_new_with_error(uri_text, &e);
    if (!uri)
        return error_set(err, ERR_INVALID, "MongoDB: %s", e.message);
    complete_uri(uri, settings);
    r = look_at_server(uri, &wire, err);
    if (r == 0) {
        m = NEW(struct mongo);
        m->store = (struct store){&mongo_ops, false, *settings};
        r = mongo_start(m, uri, wire, err);
        if (r == 0)
            *ret_store = &m->store;
        else
            mongo_close(&m->store);
    }
    mongoc_uri_destroy(uri);
    return r;
}
