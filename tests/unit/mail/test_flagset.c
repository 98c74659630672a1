/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <pthread.h>

#include "lib/base/mem.h"
#include "lib/mail/flagset.h"

Test(flagset, equal_sets_are_one_pointer)
{
    struct flagsets *t = flagsets_new();
    struct slice words[] = {S("$Work"), S("later"), S("$WORK")};
    size_t n = keywords_sort(words, 3);
    const struct flagset *a = flagsets_intern(t, FLAG_SEEN, words, n);
    struct flags add = {.system = FLAG_SEEN, .keywords = words, .n_keywords = n};
    struct flags remove = {.keywords = words, .n_keywords = 1};

    cr_assert_eq(n, 2);
    cr_assert_eq(flagsets_change(t, flagsets_at(t, 0), &add, NULL), a);
    cr_assert(slice_eq(a->text, S("\\Seen $Work later")));
    cr_assert_eq(flagsets_at(t, a->index), a);
    cr_assert(slice_eq(flagsets_change(t, a, NULL, &remove)->text, S("\\Seen later")));
    cr_assert(flagset_has_keyword(a, S("LATER")) && !flagset_has_keyword(a, S("late")));
    flagsets_unref(t);
}

Test(flagset, what_is_there_keeps_its_spelling)
{
    struct flagsets *t = flagsets_new();
    struct slice first = S("$Work"), again = S("$work"), known;
    const struct flagset *a = flagsets_intern(t, 0, &first, 1);
    struct flags add = {.keywords = &again, .n_keywords = 1};

    cr_assert_eq(flagsets_change(t, a, &add, NULL), a);
    cr_assert(flagsets_keyword(t, again, &known) && slice_eq(known, first));
    cr_assert(!flagsets_keyword(t, S("$worker"), &known));
    cr_assert_eq(flagsets_keywords_count(t), 1);
    flagsets_unref(t);
}

static void *reader(void *p)
{
    const struct flagsets *t = p;

    for (size_t n = 0; n < 3000; n = flagsets_count(t))
        for (uint32_t i = 0; i < n; i += 7)
            if (flagsets_at(t, i)->index != i)
                return p;
    return NULL;
}

Test(flagset, is_read_while_it_grows)
{
    struct flagsets *t = flagsets_new();
    pthread_t thread;
    void *bad;

    pthread_create(&thread, NULL, reader, t);
    for (int i = 0; i < 3000; i++) {
        CLEANUP_FREE char *word = mem_printf("k%d", i);
        struct slice s = slice_str(word);

        cr_assert_eq(flagsets_intern(t, 0, &s, 1)->index, (uint32_t)i + 1);
    }
    pthread_join(thread, &bad);
    cr_assert_null(bad);
    flagsets_unref(t);
}
