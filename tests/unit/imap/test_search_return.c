/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/search_return.h"

#include <criterion/criterion.h>

#include "lib/base/mem.h"

static const struct command_row row = {.flags = CMD_UID};

/* All slices of the answer; how many there were. */
static size_t write_all(struct search_return *r, struct buf *answer)
{
    struct imap im = {.s.out = buf_make(BUF_MAX_DEFAULT)};
    struct command cmd = {.row = &row, .parsed.tag = "t"};
    size_t slices = 0;
    int result;

    do {
        result = search_return_write(r, &im, &cmd, "SORT", false);
        cr_assert(result == 0 || result == RUN_AGAIN);
        cr_assert_leq(im.s.out.n, SESSION_SLICE + 100);
        buf_add_slice(answer, buf_slice(&im.s.out));
        im.s.out.n = 0;
        slices++;
    } while (result == RUN_AGAIN);
    buf_done(&im.s.out);
    uidset_done(&im.saved);
    arena_done(&cmd.arena);
    return slices;
}

/* Every other uid, downwards where asked for: no two make a range. */
static void fill(struct search_return *r, uint32_t n, bool down)
{
    struct command cmd = {.row = &row};

    for (uint32_t i = 0; i < n; i++)
        search_return_add(r, &cmd, 0, down ? 2 * (n - i) : 2 * i + 1, 1);
}

Test(search_return, writes_in_slices_what_it_would_write_at_once)
{
    enum { N = 100000 };
    CLEANUP(buf_done) struct buf answer = buf_make(BUF_MAX_DEFAULT);
    CLEANUP(buf_done) struct buf want = buf_make(BUF_MAX_DEFAULT);
    struct search_return plain = {.options = RETURN_ALL};
    struct search_return extended = {.extended = true, .options = RETURN_ALL | RETURN_COUNT};

    fill(&plain, N, true);
    buf_add_str(&want, "* SORT");
    for (uint32_t i = 0; i < N; i++)
        buf_printf(&want, " %u", 2 * (N - i));
    buf_add_str(&want, "\r\n");
    cr_assert_gt(write_all(&plain, &answer), 2);
    cr_assert(slice_eq(buf_slice(&answer), buf_slice(&want)));

    fill(&extended, N, false);
    answer.n = want.n = 0;
    buf_printf(&want, "* ESEARCH (TAG \"t\") UID COUNT %d ALL", N);
    for (uint32_t i = 0; i < N; i++)
        buf_printf(&want, "%c%u", i ? ',' : ' ', 2 * i + 1);
    buf_add_str(&want, "\r\n");
    cr_assert_gt(write_all(&extended, &answer), 2);
    cr_assert(slice_eq(buf_slice(&answer), buf_slice(&want)));
    search_return_done(&plain);
    search_return_done(&extended);
}

Test(search_return, parts_of_lists)
{
    /* as a SORT may find them: 5,6,7,2,9,10 */
    struct uid_range ranges[] = {{5, 7}, {2, 2}, {9, 10}};
    const struct uidset list = {.items = ranges, .n = ARRAY_LEN(ranges)};
    static const struct {
        uint32_t first, last;
        bool from_end;
        const char *want;
    } cases[] = {
        {1, 1, false, "5"},
        {1, 6, false, "5:7,2,9:10"},
        {2, 4, false, "6:7,2"},
        {4, 99, false, "2,9:10"},
        {7, 9, false, ""},
        {1, 1, true, "10"},
        {1, 3, true, "2,9:10"},
        {3, 5, true, "6:7,2"},
        {5, 99, true, "5:6"},
        {6, 6, true, "5"},
        {7, 7, true, ""},
        {1, UINT32_MAX, true, "5:7,2,9:10"},
        {UINT32_MAX, UINT32_MAX, true, ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct arg range = {.range = {cases[i].first, cases[i].last, cases[i].from_end}};
        CLEANUP(buf_done) struct buf text = buf_make(BUF_MAX_DEFAULT);
        CLEANUP(uidset_done) struct uidset part = search_return_part(&list, &range);

        uidset_print(&part, &text);
        cr_expect_str_eq(buf_cstr(&text), cases[i].want, "%zu: %s", i, buf_cstr(&text));
    }
    cr_expect_eq(search_return_part(&(struct uidset){0}, &(struct arg){.range = {1, 5, true}}).n,
                 0);
}
