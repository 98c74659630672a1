/* SPDX-License-Identifier: MPL-2.0 */
/* Values of the directory's tables. Formats only grow:
 *
 *   account  version(1) = 1, then fields: tag(varint) value(string). Unknown fields are kept.
 *            An app password, of which there may be many, is a field: version(1) = 1, services(1),
 *            created(8), expires(8), hash(32), name. Those of later versions are kept as well.
 *   address  version(1) = 1, kind(1): 1 login: account(8); 2 alias: n(varint) n x target(string)
 *   domain   version(1) = 1, then fields as of an account
 */
#include <string.h>

#include "lib/auth/directory_impl.h"
#include "lib/base/mem.h"

#define FORMAT 1

/* Numbers are stored: never change or reuse them. */
enum account_tag {
    TAG_LOGIN = 1,
    TAG_DISPLAY = 2,
    TAG_STATUS = 3,
    TAG_CREATED = 4,
    TAG_MESSAGE_SIZE = 5,
    TAG_CONNECTIONS = 6,
    TAG_HASH = 7,
    TAG_SCRAM = 8,
    TAG_ADMIN = 9,
    TAG_SCRAM_SHA1 = 10,
    TAG_REFUSED = 11,
    TAG_APP_PASSWORD = 12,
    TAG_SANDBOX = 20,
    TAG_SAVE_SENT = 21,
    TAG_SEND_MESSAGES = 22,
    TAG_SEND_RECIPIENTS = 23,
    TAG_SENDERS = 24,
};

enum domain_tag { TAG_DOMAIN_SANDBOX = 1, TAG_DOMAIN_EXPIRE = 2 /* ms + 1 */ };

enum address_kind { ADDRESS_LOGIN = 1, ADDRESS_ALIAS = 2 };

static void add_text(struct buf *out, unsigned tag, const char *text)
{
    if (!text || !*text)
        return;
    buf_add_varint(out, tag);
    buf_add_string(out, slice_str(text));
}

static void add_number(struct buf *out, unsigned tag, uint64_t v)
{
    uint8_t bytes[8];

    if (v == 0)
        return;
    put_be64(bytes, v);
    buf_add_varint(out, tag);
    buf_add_string(out, slice_of(bytes, sizeof bytes));
}

#define APP_PASSWORD_VERSION 1

static void add_app_password(struct buf *out, const struct directory_app_password *item)
{
    CLEANUP(buf_done) struct buf value = buf_make(1024);

    buf_add_byte(&value, APP_PASSWORD_VERSION);
    buf_add_byte(&value, (uint8_t)item->services);
    buf_add_be64(&value, (uint64_t)item->created_ms);
    buf_add_be64(&value, (uint64_t)item->expires_ms);
    buf_add(&value, item->hash, sizeof item->hash);
    buf_add_str(&value, item->name);
    buf_add_varint(out, TAG_APP_PASSWORD);
    buf_add_string(out, buf_slice(&value));
}

void account_encode(const struct directory_account *account, struct buf *out)
{
    buf_add_byte(out, FORMAT);
    add_text(out, TAG_LOGIN, account->login);
    add_text(out, TAG_DISPLAY, account->display);
    add_number(out, TAG_STATUS, account->status);
    add_number(out, TAG_CREATED, (uint64_t)account->created_ms);
    add_number(out, TAG_MESSAGE_SIZE, account->message_size);
    add_number(out, TAG_CONNECTIONS, account->connections);
    add_number(out, TAG_ADMIN, account->admin);
    add_text(out, TAG_HASH, account->hash);
    add_text(out, TAG_SCRAM, account->scram);
    add_text(out, TAG_SCRAM_SHA1, account->scram_sha1);
    add_number(out, TAG_REFUSED, account->refused);
    for (size_t i = 0; i < account->app_passwords_n; i++)
        add_app_password(out, &account->app_passwords[i]);
    add_number(out, TAG_SANDBOX, account->sandbox);
    add_number(out, TAG_SAVE_SENT, account->save_sent);
    add_number(out, TAG_SEND_MESSAGES, account->send_messages);
    add_number(out, TAG_SEND_RECIPIENTS, account->send_recipients);
    add_text(out, TAG_SENDERS, account->senders);
    buf_add_slice(out, account->unknown);
}

static uint64_t number(struct slice value)
{
    return value.n == 8 ? get_be64(value.p) : 0;
}

/* False: of a later version, or more than there may be. */
static bool app_password_field(struct slice value, struct arena *a, struct directory_account *ret)
{
    struct directory_app_password *items = (struct directory_app_password *)ret->app_passwords;
    struct directory_app_password item = {0};
    struct cursor c = cursor_of(value);
    uint8_t version = cursor_u8(&c);
    struct slice hash;

    item.services = cursor_u8(&c);
    item.created_ms = (int64_t)cursor_be64(&c);
    item.expires_ms = (int64_t)cursor_be64(&c);
    hash = cursor_bytes(&c, sizeof item.hash);
    if (c.bad || version != APP_PASSWORD_VERSION ||
        ret->app_passwords_n >= DIRECTORY_APP_PASSWORDS_MAX)
        return false;
    memcpy(item.hash, hash.p, sizeof item.hash);
    item.name = arena_str(a, cursor_bytes(&c, cursor_left(&c)));
    if (!items)
        items = arena_array(a, DIRECTORY_APP_PASSWORDS_MAX, sizeof *items);
    items[ret->app_passwords_n++] = item;
    ret->app_passwords = items;
    return true;
}

/* False: of no tag that we know. */
/* What an account may send; false: of no tag that we know. */
static bool sending_field(uint64_t tag, struct slice value, struct arena *a,
                          struct directory_account *ret)
{
    switch (tag) {
    case TAG_SANDBOX:
        ret->sandbox = number(value) != 0;
        return true;
    case TAG_SAVE_SENT:
        ret->save_sent = (enum directory_choice)MIN(number(value), (uint64_t)DIRECTORY_NO);
        return true;
    case TAG_SEND_MESSAGES:
        ret->send_messages = (unsigned)number(value);
        return true;
    case TAG_SEND_RECIPIENTS:
        ret->send_recipients = (unsigned)number(value);
        return true;
    case TAG_SENDERS:
        ret->senders = arena_str(a, value);
        return true;
    default:
        return false;
    }
}

static bool account_field(uint64_t tag, struct slice value, struct arena *a,
                          struct directory_account *ret)
{
    switch (tag) {
    case TAG_LOGIN:
        ret->login = arena_str(a, value);
        return true;
    case TAG_DISPLAY:
        ret->display = arena_str(a, value);
        return true;
    case TAG_STATUS:
        ret->status = (enum account_status)number(value);
        return true;
    case TAG_CREATED:
        ret->created_ms = (int64_t)number(value);
        return true;
    case TAG_MESSAGE_SIZE:
        ret->message_size = number(value);
        return true;
    case TAG_CONNECTIONS:
        ret->connections = (unsigned)number(value);
        return true;
    case TAG_ADMIN:
        ret->admin = number(value) != 0;
        return true;
    case TAG_HASH:
        ret->hash = arena_str(a, value);
        return true;
    case TAG_SCRAM:
        ret->scram = arena_str(a, value);
        return true;
    case TAG_SCRAM_SHA1:
        ret->scram_sha1 = arena_str(a, value);
        return true;
    case TAG_REFUSED:
        ret->refused = (unsigned)number(value);
        return true;
    case TAG_APP_PASSWORD:
        return app_password_field(value, a, ret);
    default:
        return sending_field(tag, value, a, ret);
    }
}

int account_decode(struct slice value, struct arena *a, struct directory_account *ret,
                   struct error *err)
{
    struct directory_account out = {
        .login = "", .display = "", .hash = "", .scram = "", .scram_sha1 = "", .senders = ""};
    CLEANUP(buf_done) struct buf unknown = buf_make(DIRECTORY_VALUE_MAX);
    struct cursor c = cursor_of(value);

    if (cursor_u8(&c) != FORMAT)
        return error_set(err, ERR_INTERNAL, "an account's document is of an unknown format");
    while (cursor_left(&c)) {
        const uint8_t *start = c.p;
        uint64_t tag = cursor_varint(&c);
        struct slice field = cursor_string(&c);

        if (!c.bad && !account_field(tag, field, a, &out))
            buf_add(&unknown, start, (size_t)(c.p - start));
    }
    if (c.bad || !*out.login || out.status < ACCOUNT_ENABLED || out.status > ACCOUNT_CLOSING)
        return error_set(err, ERR_INTERNAL, "an account's document is damaged");
    out.unknown = arena_slice(a, buf_slice(&unknown));
    *ret = out;
    return 0;
}

void alias_encode(const struct directory_alias *alias, struct buf *out)
{
    buf_add_byte(out, FORMAT);
    buf_add_byte(out, alias->account ? ADDRESS_LOGIN : ADDRESS_ALIAS);
    if (alias->account) {
        buf_add_be64(out, alias->account);
        return;
    }
    buf_add_varint(out, alias->targets_n);
    for (size_t i = 0; i < alias->targets_n; i++)
        buf_add_string(out, slice_str(alias->targets[i]));
}

int alias_decode(struct slice value, struct arena *a, struct directory_alias *ret,
                 struct error *err)
{
    struct directory_alias out = {0};
    struct cursor c = cursor_of(value);
    uint8_t format = cursor_u8(&c), kind = cursor_u8(&c);
    uint64_t n;

    if (format != FORMAT || (kind != ADDRESS_LOGIN && kind != ADDRESS_ALIAS))
        return error_set(err, ERR_INTERNAL, "an address's document is of an unknown format");
    if (kind == ADDRESS_LOGIN) {
        out.account = cursor_be64(&c);
    } else {
        n = cursor_varint(&c);
        /* Each target takes a byte at least. */
        if (n > cursor_left(&c) || n > DIRECTORY_TARGETS_MAX)
            c.bad = true;
        out.targets = arena_array(a, c.bad ? 0 : n, sizeof *out.targets);
        while (!c.bad && out.targets_n < n)
            out.targets[out.targets_n++] = arena_str(a, cursor_string(&c));
    }
    if (c.bad || (kind == ADDRESS_LOGIN && out.account == 0))
        return error_set(err, ERR_INTERNAL, "an address's document is damaged");
    *ret = out;
    return 0;
}

void domain_encode(const struct directory_domain *domain, struct buf *out)
{
    buf_add_byte(out, FORMAT);
    add_number(out, TAG_DOMAIN_SANDBOX, domain->sandbox);
    add_number(out, TAG_DOMAIN_EXPIRE, domain->has_expire ? (uint64_t)domain->expire_ms + 1 : 0);
    buf_add_slice(out, domain->unknown);
}

static void read_expire(uint64_t stored, struct directory_domain *out)
{
    out->has_expire = stored > 0 && stored - 1 <= INT64_MAX;
    out->expire_ms = out->has_expire ? (int64_t)(stored - 1) : 0;
}

int domain_decode(struct slice value, struct arena *a, struct directory_domain *ret,
                  struct error *err)
{
    CLEANUP(buf_done) struct buf unknown = buf_make(DIRECTORY_VALUE_MAX);
    struct directory_domain out = {0};
    struct cursor c = cursor_of(value);

    if (cursor_u8(&c) != FORMAT)
        return error_set(err, ERR_INTERNAL, "a domain's document is of an unknown format");
    while (cursor_left(&c)) {
        const uint8_t *start = c.p;
        uint64_t tag = cursor_varint(&c);
        struct slice field = cursor_string(&c);

        if (!c.bad && tag == TAG_DOMAIN_SANDBOX)
            out.sandbox = number(field) != 0;
        else if (!c.bad && tag == TAG_DOMAIN_EXPIRE)
            read_expire(number(field), &out);
        else if (!c.bad)
            buf_add(&unknown, start, (size_t)(c.p - start));
    }
    if (c.bad)
        return error_set(err, ERR_INTERNAL, "a domain's document is damaged");
    out.unknown = arena_slice(a, buf_slice(&unknown));
    *ret = out;
    return 0;
}
