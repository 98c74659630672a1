/* SPDX-License-Identifier: MPL-2.0 */
/* app_password: passwords for one program on one device, beside the account's own one.
 *
 * They are made here, never by people: 20 letters and digits, 99 bits. So a fast hash is as good as
 * a slow one, and a login by one costs nothing. They are for some services only (a scanner that
 * sends mail cannot read it), may expire, and are taken back one by one. Dashes, blanks and the
 * letters' case do not matter when one is typed in.
 *
 * They are for logins that show the password (PLAIN, LOGIN, USER and PASS); SCRAM knows the main
 * password only. Values in struct directory_account; nothing here blocks or keeps state.
 */
#pragma once

#include "lib/auth/directory.h"
#include "lib/base/buf.h"

/* Appends a new one to `text`, as people get to see it, and fills *ret, whose name is borrowed.
 * expires_ms: wall clock; 0: never. */
void app_password_new(const char *name, unsigned services, int64_t expires_ms, struct buf *text,
                      struct directory_app_password *ret);

/* 1: it is one of this account's, for this service, and has not expired; 0: it is none;
 * -ERR_NOPERM: it is one, but for other services, or expired. now_ms: wall clock. */
int app_password_check(const struct directory_account *account, struct slice password,
                       enum auth_service service, int64_t now_ms) MUST_USE;

/* Puts one in, or takes the one of that name out; the array is in the arena. -ERR_EXISTS there is
 * one of that name; -ERR_LIMIT there are DIRECTORY_APP_PASSWORDS_MAX. */
int app_password_add(struct directory_account *account, const struct directory_app_password *item,
                     struct arena *a, struct error *err) MUST_USE;
/* -ERR_NOTFOUND */
int app_password_delete(struct directory_account *account, const char *name, struct arena *a,
                        struct error *err) MUST_USE;
