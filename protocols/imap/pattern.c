/* SPDX-License-Identifier: MPL-2.0 */
/* Matching goes back to the last "%" only, and where that cannot grow any more, to the last "*":
 * an earlier wildcard never has to be tried again. Behind a later "*" because that takes anything;
 * behind a later "%" because wherever the earlier one could have ended further right, there is no
 * "/" in between, so that the later one can take the difference itself.
 */
#include "protocols/imap/pattern.h"

struct retry {
    size_t pattern, name; /* where to go on; pattern 0: there is none */
};

/* Lets the last wildcard take one byte more. False: none can. */
static bool grow(struct retry *percent, struct retry *star, struct slice name, size_t *ret_p,
                 size_t *ret_n)
{
    if (percent->pattern && percent->name < name.n && name.p[percent->name] != '/') {
        *ret_p = percent->pattern;
        *ret_n = ++percent->name;
        return true;
    }
    percent->pattern = 0;
    if (star->pattern && star->name < name.n) {
        *ret_p = star->pattern;
        *ret_n = ++star->name;
        return true;
    }
    return false;
}

bool pattern_match(struct slice pattern, struct slice name)
{
    struct retry percent = {0, 0}, star = {0, 0};
    size_t p = 0, n = 0;

    for (;;) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = (struct retry){++p, n};
            percent.pattern = 0;
        } else if (p < pattern.n && pattern.p[p] == '%') {
            percent = (struct retry){++p, n};
        } else if (p < pattern.n && n < name.n && pattern.p[p] == name.p[n]) {
            p++;
            n++;
        } else if (p == pattern.n && n == name.n) {
            return true;
        } else if (!grow(&percent, &star, name, &p, &n)) {
            return false;
        }
    }
}
