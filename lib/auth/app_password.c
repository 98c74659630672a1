/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/auth/app_password.h"

#include <string.h>

#include "lib/auth/password.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/mem.h"

#define LETTERS 20

/* As it was made, whatever was typed between its letters. False: it cannot be one. */
static bool hash_of(struct slice password, uint8_t ret[static SHA256_SIZE])
{
    static const char purpose[] = "eider app password";
    uint8_t text[sizeof purpose + LETTERS];
    size_t n = sizeof purpose;

    memcpy(text, purpose, n);
    for (size_t i = 0; i < password.n; i++) {
        uint8_t c = byte_lower(password.p[i]);

        if (c == '-' || c == ' ')
            continue;
        if (n == sizeof text || (!byte_is_alpha(c) && !byte_is_digit(c)))
            return false;
        text[n++] = c;
    }
    if (n == sizeof text)
        digest_sha256(slice_of(text, n), ret);
    secret_wipe(text, sizeof text);
    return n == sizeof text;
}

void app_password_new(const char *name, unsigned services, int64_t expires_ms, struct buf *text,
                      struct directory_app_password *ret)
{
    size_t before = text->n;

    *ret = (struct directory_app_password){.name = name,
                                           .services = services,
                                           .created_ms = clock_wall_ms(),
                                           .expires_ms = expires_ms};
    password_random(text);
    if (!hash_of(slice_skip(buf_slice(text), before), ret->hash))
        abort(); /* password_random makes what hash_of takes */
}

int app_password_check(const struct directory_account *account, struct slice password,
                       enum auth_service service, int64_t now_ms)
{
    uint8_t hash[SHA256_SIZE];
    const struct directory_app_password *found = NULL;

    if (!account->app_passwords_n || !hash_of(password, hash))
        return 0;
    for (size_t i = 0; i < account->app_passwords_n; i++) {
        const struct directory_app_password *item = &account->app_passwords[i];

        if (secret_eq(slice_of(hash, sizeof hash), slice_of(item->hash, sizeof item->hash)))
            found = item;
    }
    if (!found)
        return 0;
    if (!(found->services & service) || (found->expires_ms && found->expires_ms <= now_ms))
        return -ERR_NOPERM;
    return 1;
}

int app_password_add(struct directory_account *account, const struct directory_app_password *item,
                     struct arena *a, struct error *err)
{
    size_t n = account->app_passwords_n;
    struct directory_app_password *items = arena_array(a, n + 1, sizeof *items);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(account->app_passwords[i].name, item->name) == 0)
            return error_set(err, ERR_EXISTS, "there is an app password of that name");
        items[i] = account->app_passwords[i];
    }
    if (n >= DIRECTORY_APP_PASSWORDS_MAX)
        return error_set(err, ERR_LIMIT, "an account has %d app passwords at most",
                         DIRECTORY_APP_PASSWORDS_MAX);
    items[n] = *item;
    account->app_passwords = items;
    account->app_passwords_n = n + 1;
    return 0;
}

int app_password_delete(struct directory_account *account, const char *name, struct arena *a,
                        struct error *err)
{
    size_t n = 0;
    struct directory_app_password *items = arena_array(a, account->app_passwords_n, sizeof *items);

    for (size_t i = 0; i < account->app_passwords_n; i++)
        if (strcmp(account->app_passwords[i].name, name) != 0)
            items[n++] = account->app_passwords[i];
    if (n == account->app_passwords_n)
        return error_set(err, ERR_NOTFOUND, "there is no app password of that name");
    account->app_passwords = items;
    account->app_passwords_n = n;
    return 0;
}
