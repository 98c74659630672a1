/* SPDX-License-Identifier: MPL-2.0 */
/* Log: one line per event, "name key=value key="quoted value"", to stderr or the journal.
 *
 * Libraries return errors; daemons and their pumps log. Values are escaped here, so they may come
 * from outside; passwords and tokens never get here. Safe on any thread; each line is one write().
 */
#pragma once

#include <stdint.h>

#include "lib/base/bytes.h"
#include "lib/base/err.h"

enum log_level { LOG_ERROR_, LOG_WARN_, LOG_INFO_, LOG_DEBUG_ };

/* The process-wide level; lines above it cost one comparison. Default info. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* Where lines go: a file descriptor (default 2), each with a time stamp unless `bare` (the
 * journal and tests add or want none). */
void log_set_output(int fd, bool bare);

/* A line is built of fields and sent by log_end. Field text longer than 400 bytes is cut. */
struct log_line {
    char text[1400];
    size_t n;
    bool off;
};
void log_begin(struct log_line *l, enum log_level level, const char *event);
void log_str(struct log_line *l, const char *key, struct slice value);
void log_num(struct log_line *l, const char *key, int64_t value);
void log_err(struct log_line *l, const struct error *err); /* error=kind reason="..." */
void log_end(struct log_line *l);

/* The short form: event name, then one free sentence as text="...". */
void log_text(enum log_level level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);
