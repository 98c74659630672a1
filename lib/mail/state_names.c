/* SPDX-License-Identifier: MPL-2.0 */
/* The small sorted lists of a state: subscribed names, values. They change seldom, so a change
 * copies them. */
#include "lib/mail/state_impl.h"

#include <stdlib.h>

#include "lib/base/mem.h"

static struct slice own(struct slice s)
{
    return slice_of(mem_dup(s.p, s.n), s.n);
}

static void disown(struct slice s)
{
    free((void *)s.p);
}

struct names *names_new(void)
{
    struct names *names = NEW(struct names);

    names->refs = 1;
    return names;
}

struct names *names_ref(struct names *names)
{
    atomic_fetch_add_explicit(&names->refs, 1, memory_order_relaxed);
    return names;
}

void names_unref(struct names *names)
{
    if (!names || atomic_fetch_sub_explicit(&names->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < names->n; i++)
        disown(names->items[i]);
    free(names->items);
    free(names);
}

/* Where the name is or would be. */
static size_t names_search(const struct names *names, struct slice name, bool *ret_found)
{
    size_t low = 0, high = names->n;

    *ret_found = false;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = slice_cmp(names->items[mid], name);

        *ret_found |= d == 0;
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool names_has(const struct names *names, struct slice name)
{
    bool found;

    names_search(names, name, &found);
    return found;
}

static struct names *names_own(struct names **names)
{
    struct names *old = *names, *copy;

    if (atomic_load_explicit(&old->refs, memory_order_acquire) == 1)
        return old;
    copy = names_new();
    copy->n = old->n;
    copy->items = mem_realloc(NULL, old->n, sizeof *copy->items);
    for (size_t i = 0; i < old->n; i++)
        copy->items[i] = own(old->items[i]);
    names_unref(old);
    return *names = copy;
}

void names_set(struct names **names, struct slice name, bool on)
{
    bool found;
    size_t at = names_search(*names, name, &found);
    struct names *n;

    if (found == on)
        return;
    n = names_own(names);
    if (on) {
        if (n->n >= n->cap) {
            n->cap = MAX(n->n * 2, (size_t)8);
            n->items = mem_realloc(n->items, n->cap, sizeof *n->items);
        }
        memmove(n->items + at + 1, n->items + at, (n->n - at) * sizeof *n->items);
        n->items[at] = own(name);
        n->n++;
    } else {
        disown(n->items[at]);
        memmove(n->items + at, n->items + at + 1, (n->n - at - 1) * sizeof *n->items);
        n->n--;
    }
}

size_t names_bytes(const struct names *names)
{
    size_t bytes = 0;

    for (size_t i = 0; i < names->n; i++)
        bytes += names->items[i].n;
    return bytes;
}

struct values *values_new(void)
{
    struct values *values = NEW(struct values);

    values->refs = 1;
    return values;
}

struct values *values_ref(struct values *values)
{
    atomic_fetch_add_explicit(&values->refs, 1, memory_order_relaxed);
    return values;
}

void values_unref(struct values *values)
{
    if (!values || atomic_fetch_sub_explicit(&values->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < values->n; i++) {
        disown(values->items[i].key);
        disown(values->items[i].value);
    }
    free(values->items);
    free(values);
}

static size_t values_search(const struct values *values, struct slice key, bool *ret_found)
{
    size_t low = 0, high = values->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (slice_cmp(values->items[mid].key, key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *ret_found = low < values->n && slice_eq(values->items[low].key, key);
    return low;
}

struct slice values_get(const struct values *values, struct slice key)
{
    bool found;
    size_t at = values_search(values, key, &found);

    return found ? values->items[at].value : (struct slice){NULL, 0};
}

static struct values *values_own(struct values **values)
{
    struct values *old = *values, *copy;

    if (atomic_load_explicit(&old->refs, memory_order_acquire) == 1)
        return old;
    copy = values_new();
    copy->n = old->n;
    copy->items = mem_realloc(NULL, old->n, sizeof *copy->items);
    for (size_t i = 0; i < old->n; i++)
        copy->items[i] = (struct value){own(old->items[i].key), own(old->items[i].value)};
    values_unref(old);
    return *values = copy;
}

void values_set(struct values **values, struct slice key, struct slice value)
{
    bool found;
    size_t at = values_search(*values, key, &found);
    struct values *v;

    if (!found && !value.n)
        return;
    v = values_own(values);
    if (found) {
        disown(v->items[at].value);
        v->items[at].value = value.n ? own(value) : (struct slice){NULL, 0};
        if (value.n)
            return;
        disown(v->items[at].key);
        memmove(v->items + at, v->items + at + 1, (v->n - at - 1) * sizeof *v->items);
        v->n--;
        return;
    }
    v->items = mem_realloc(v->items, v->n + 1, sizeof *v->items);
    memmove(v->items + at + 1, v->items + at, (v->n - at) * sizeof *v->items);
    v->items[at] = (struct value){own(key), own(value)};
    v->n++;
}

size_t values_bytes(const struct values *values)
{
    size_t bytes = 0;

    for (size_t i = 0; i < values->n; i++)
        bytes += values->items[i].key.n + values->items[i].value.n;
    return bytes;
}

void values_each(const struct values *values, value_fn *f, void *ctx)
{
    for (size_t i = 0; i < values->n; i++)
        if (!f(ctx, values->items[i].key, values->items[i].value))
            return;
}
