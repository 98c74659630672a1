/* SPDX-License-Identifier: MPL-2.0 */
/* rows: what a setting is. Inside lib/conf; others read struct conf.
 *
 * A row's default is text in the file's own syntax and goes through the same code as the file, so a
 * default out of its range would show at every start.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf;

enum conf_type {
    CONF_SECTION,  /* no setting: a heading for the rows behind it with "name." in front */
    CONF_BOOL,     /* bool */
    CONF_UINT,     /* unsigned */
    CONF_SIZE,     /* uint64_t, bytes: 4096 or "4K", "50M", "1G" */
    CONF_DURATION, /* int64_t, ms: 30 (seconds) or "500ms", "30s", "5m", "24h", "7d" */
    CONF_STRING,   /* const char *; range: its length in bytes */
    CONF_ENUM,     /* int: index into choices */
    CONF_MODE,     /* unsigned: "0660" */
    CONF_NETWORKS, /* a list: items of struct conf_network */
    CONF_GROUPS,   /* a list: items as `members` says */
};

struct conf_row {
    const char *name; /* "limits.message_size"; a member: "port" */
    enum conf_type type;
    size_t offset; /* in struct conf; of a member: in its item */
    const char *dflt;
    uint64_t min, max;
    bool reload;                    /* a reload changes it in a running server */
    bool secret;                    /* a URI that may hold a password: masked when shown */
    bool hidden;                    /* a password: never shown */
    const char *const *choices;     /* of an enum, NULL behind the last */
    const struct conf_row *members; /* of groups, name NULL behind the last */
    size_t item_size, line_offset;  /* of groups */
    const char *help;               /* sentences for the manual and the sample file */
};

/* Ends with a row without a name. Sections stand before their settings. */
extern const struct conf_row conf_rows[];

/* Any CONF_LIST looks like this. */
struct __attribute__((may_alias)) conf_any_list {
    void *items;
    size_t n;
};
