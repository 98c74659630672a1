/* SPDX-License-Identifier: MPL-2.0 */
/* In whose name an account may send: whatever leads to it, and what it was given (`senders`). */
#include "lib/auth/directory_impl.h"
#include "lib/base/mem.h"

/* The next word of a list; false: there is none. */
static bool next_word(struct slice *list, struct slice *ret)
{
    size_t n = 0, from = 0;

    while (from < list->n && strchr(" ,\t\r\n", list->p[from]))
        from++;
    while (from + n < list->n && !strchr(" ,\t\r\n", list->p[from + n]))
        n++;
    *ret = slice_sub(*list, from, from + n);
    *list = slice_skip(*list, from + n);
    return n > 0;
}

static bool was_given(const struct directory_account *account, const struct address *address)
{
    struct slice list = slice_str(account->senders), word;

    while (next_word(&list, &word)) {
        if (slice_eq(word, S("*")) || slice_eq(word, slice_str(address->key)) ||
            slice_eq(word, slice_str(address->full)))
            return true;
        if (word.p[0] == '@' && slice_eq(slice_skip(word, 1), slice_str(address->domain)))
            return true;
    }
    return false;
}

int directory_may_send(struct directory *d, const struct directory_account *account,
                       struct slice text, struct error *err)
{
    CLEANUP(arena_done) struct arena a = {0};
    struct directory_recipient *found;
    struct address address;
    size_t n;
    int r = address_parse(d, text, false, &a, &address, err);

    if (r == -ERR_INVALID)
        return 0;
    if (r == 0 && was_given(account, &address))
        return 1;
    if (r == 0)
        r = directory_resolve(d, slice_str(address.full), RESOLVE_FOREIGN, &a, &found, &n, err);
    if (r == -ERR_NOTFOUND || r == -ERR_NOPERM || r == -ERR_LIMIT || r == -ERR_INVALID)
        return 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        if (found[i].account == account->id)
            return 1;
    return r;
}

static int add_sender(const struct directory *d, struct slice word, struct arena *a,
                      struct buf *out, struct error *err)
{
    struct address address;
    const char *name = "*";
    int r = 0;

    if (word.p[0] == '@') {
        r = domain_normalise(slice_skip(word, 1), a, &name, err);
        name = r < 0 ? name : arena_printf(a, "@%s", name);
    } else if (!slice_eq(word, S("*"))) {
        r = address_parse(d, word, false, a, &address, err);
        name = r < 0 ? name : address.full;
    }
    /* a quoted local part may hold a blank, which would make two words of it */
    if (r == 0 && strchr(name, ' '))
        return error_set(err, ERR_INVALID, "an address with a blank cannot be in the list");
    buf_printf(out, "%s%s", out->n ? " " : "", name);
    return r;
}

int directory_senders_parse(const struct directory *d, struct slice text, struct arena *a,
                            const char **ret, struct error *err)
{
    CLEANUP(buf_done) struct buf out = buf_make(DIRECTORY_SENDERS_MAX);
    struct slice word;

    while (next_word(&text, &word)) {
        int r = add_sender(d, word, a, &out, err);

        if (r < 0)
            return r;
    }
    if (buf_full(&out))
        return error_set(err, ERR_LIMIT, "the list of senders is too long");
    *ret = arena_str(a, buf_slice(&out));
    return 0;
}
