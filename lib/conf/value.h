/* SPDX-License-Identifier: MPL-2.0 */
/* value: one setting between libconfig and struct conf, in both directions. Inside lib/conf. */
#pragma once

#include <libconfig.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/err.h"
#include "lib/conf/rows.h"

/* Where a value stands, for messages: "file:line: name". */
struct conf_place {
    const char *file; /* for settings that were not read from a file */
    const char *name; /* of the setting, members with their list in front */
};

/* Checks the value against the row and writes it to its place in `base`.
 * 0 or -ERR_INVALID with "file:line: name: what is wrong". */
int value_read(const struct conf_row *row, const config_setting_t *s, const struct conf_place *at,
               struct arena *a, void *base, struct error *err) MUST_USE;
/* The row's default, by the same way. */
int value_default(const struct conf_row *row, struct arena *a, void *base,
                  struct error *err) MUST_USE;
/* Once more, for what stands in `base` now: a path below data may be too long with data in front.
 */
int value_check(const struct conf_row *row, const void *base, const struct conf_place *at,
                struct error *err) MUST_USE;
/* Refuses members of the group that no row in `rows` names. prefix: "limits." or "". */
int value_check_names(const struct conf_row *rows, const config_setting_t *group,
                      const char *prefix, const struct conf_place *at, struct error *err) MUST_USE;
int value_error(const config_setting_t *s, const struct conf_place *at, struct error *err,
                const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Appends the value as the file would have it. mask: passwords in URIs as ***. */
void value_write(const struct conf_row *row, const void *base, bool mask, struct buf *out);
void value_write_size(uint64_t bytes, struct buf *out);
void value_write_duration(uint64_t ms, struct buf *out);
/* Appends a quoted string with libconfig's escapes. */
void value_write_string(const char *s, struct buf *out);
