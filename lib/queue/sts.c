/* SPDX-License-Identifier: MPL-2.0 */
#include "lib/queue/sts.h"

#include "lib/base/mem.h"
#include "lib/net/dns.h"

/* Takes the next piece up to the byte; false: none is left. */
static bool next_piece(struct slice *rest, uint8_t end, struct slice *ret)
{
    if (rest->n == 0)
        return false;
    ssize_t at = slice_find(*rest, end);
    size_t n = at < 0 ? rest->n : (size_t)at;
    *ret = slice_trim(slice_sub(*rest, 0, n));
    *rest = slice_skip(*rest, n + 1);
    return true;
}

/* "name SEP value", both trimmed. */
static bool split(struct slice piece, uint8_t separator, struct slice *name, struct slice *value)
{
    ssize_t at = slice_find(piece, separator);

    if (at < 0)
        return false;
    *name = slice_trim(slice_sub(piece, 0, (size_t)at));
    *value = slice_trim(slice_skip(piece, (size_t)at + 1));
    return true;
}

static bool take_id(struct slice value, char ret[static STS_ID_MAX])
{
    if (value.n == 0 || value.n >= STS_ID_MAX)
        return false;
    for (size_t i = 0; i < value.n; i++)
        if (!byte_is_alpha(value.p[i]) && !byte_is_digit(value.p[i]))
            return false;
    memcpy(ret, value.p, value.n);
    ret[value.n] = '\0';
    return true;
}

int sts_parse_record(struct slice text, char ret_id[static STS_ID_MAX])
{
    struct slice piece, name, value;
    bool id = false;

    if (!next_piece(&text, ';', &piece) || !split(piece, '=', &name, &value) ||
        !slice_eq(name, S("v")) || !slice_eq(value, S("STSv1")))
        return -ERR_INVALID;
    while (!id && next_piece(&text, ';', &piece))
        if (split(piece, '=', &name, &value) && slice_eq(name, S("id")))
            id = take_id(value, ret_id);
    return id ? 0 : -ERR_INVALID;
}

static const char *lower(struct slice text, struct arena *a)
{
    char *s = arena_str(a, text);

    for (size_t i = 0; s[i]; i++)
        s[i] = (char)byte_lower((uint8_t)s[i]);
    return s;
}

static bool is_pattern(const char *text)
{
    return dns_is_hostname(strncmp(text, "*.", 2) == 0 ? text + 2 : text);
}

struct policy_fields {
    bool version, mode, age;
    const char *mx[STS_MX_MAX];
};

/* False: the policy is none. Unknown fields are passed over (RFC 8461 3.2). */
static bool take_field(struct slice name, struct slice value, struct arena *a,
                       struct policy_fields *f, struct sts_policy *ret)
{
    if (slice_eq(name, S("version"))) {
        f->version = slice_eq(value, S("STSv1"));
        return f->version;
    }
    if (slice_eq(name, S("mode")) && !f->mode) {
        f->mode = true;
        ret->mode = slice_eq(value, S("enforce"))   ? STS_ENFORCE
                    : slice_eq(value, S("testing")) ? STS_TESTING
                                                    : STS_NONE;
        return ret->mode != STS_NONE || slice_eq(value, S("none"));
    }
    if (slice_eq(name, S("max_age")) && !f->age) {
        f->age = true;
        return slice_to_u64(value, STS_AGE_MAX, &ret->max_age);
    }
    if (slice_eq(name, S("mx")) && ret->mx_n < STS_MX_MAX) {
        const char *pattern = lower(slice_sub(value, 0, DNS_NAME_MAX), a);

        if (is_pattern(pattern))
            f->mx[ret->mx_n++] = pattern;
    }
    return true;
}

int sts_parse_policy(struct slice text, struct arena *a, struct sts_policy *ret)
{
    struct policy_fields f = {0};
    struct sts_policy policy = {0};
    struct slice line, name, value;

    while (next_piece(&text, '\n', &line)) {
        if (line.n == 0)
            continue;
        if (!split(line, ':', &name, &value) || !take_field(name, value, a, &f, &policy))
            return -ERR_INVALID;
    }
    if (!f.version || !f.mode || !f.age || (policy.mode != STS_NONE && policy.mx_n == 0))
        return -ERR_INVALID;
    const char **mx = arena_array(a, policy.mx_n + 1, sizeof *mx);
    memcpy(mx, f.mx, policy.mx_n * sizeof *mx);
    policy.mx = mx;
    *ret = policy;
    return 0;
}

bool sts_matches(const struct sts_policy *policy, const char *host)
{
    for (size_t i = 0; i < policy->mx_n; i++) {
        const char *pattern = policy->mx[i], *dot = strchr(host, '.');

        if (strcmp(pattern, host) == 0)
            return true;
        /* one label stands for the star */
        if (pattern[0] == '*' && dot && strcmp(pattern + 1, dot) == 0)
            return true;
    }
    return false;
}
