/* SPDX-License-Identifier: MPL-2.0 */
/* The base subject: RFC 5256 section 2.1, its steps in its order. */
#include "lib/mime/header.h"

/* A longer subject is cut: taking blobs off its front costs as much as there are. */
#define SUBJECT_MAX 2048

/* Step 1: white space runs become one blank. */
static void squeeze(struct buf *out, struct slice s)
{
    bool blank = false;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == ' ' || s.p[i] == '\t' || s.p[i] == '\r' || s.p[i] == '\n') {
            blank = true;
            continue;
        }
        if (blank)
            buf_add_byte(out, ' ');
        blank = false;
        buf_add_byte(out, s.p[i]);
    }
    if (blank)
        buf_add_byte(out, ' ');
}

static size_t blanks(struct slice s, size_t i)
{
    while (i < s.n && s.p[i] == ' ')
        i++;
    return i;
}

/* subj-blob = "[" *BLOBCHAR "]" *WSP ; where it ends, or `at` if there is none. */
static size_t blob(struct slice s, size_t at)
{
    size_t i = at;

    if (i >= s.n || s.p[i] != '[')
        return at;
    for (i++; i < s.n && s.p[i] != '[' && s.p[i] != ']';)
        i++;
    return i < s.n && s.p[i] == ']' ? blanks(s, i + 1) : at;
}

/* subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":" */
static size_t refwd(struct slice s, size_t at)
{
    size_t i;

    if (slice_istarts(slice_skip(s, at), S("re")))
        i = at + 2;
    else if (slice_istarts(slice_skip(s, at), S("fwd")))
        i = at + 3;
    else if (slice_istarts(slice_skip(s, at), S("fw")))
        i = at + 2;
    else
        return at;
    i = blob(s, blanks(s, i));
    return i < s.n && s.p[i] == ':' ? i + 1 : at;
}

/* Step 2: subj-trailer = "(fwd)" / WSP, as long as there is one. */
static bool cut_trailer(struct slice *s)
{
    bool cut = false;

    for (;;) {
        if (s->n > 0 && s->p[s->n - 1] == ' ') {
            s->n--;
        } else if (s->n >= 5 && slice_ieq(slice_skip(*s, s->n - 5), S("(fwd)"))) {
            s->n -= 5;
            cut = true;
        } else {
            return cut;
        }
    }
}

/* Step 3: subj-leader = (*subj-blob subj-refwd) / WSP. How much of it there is; blobs that no
 * refwd follows do not count. */
static size_t leader(struct slice s, bool *ret_refwd)
{
    size_t i, next;

    if (s.n > 0 && s.p[0] == ' ')
        return 1;
    for (i = 0; (next = blob(s, i)) > i;)
        i = next;
    next = refwd(s, i);
    *ret_refwd |= next > i;
    return next > i ? next : 0;
}

/* Steps 3 to 5. */
static bool cut_leaders(struct slice *s)
{
    bool cut = false;
    size_t n;

    for (;;) {
        n = leader(*s, &cut);
        if (n == 0) {
            n = blob(*s, 0);
            if (n >= s->n)
                n = 0; /* step 4: only if a non-empty base remains */
        }
        if (n == 0)
            return cut;
        *s = slice_skip(*s, n);
    }
}

int subject_base(struct buf *out, struct slice decoded)
{
    struct buf text = buf_make(SUBJECT_MAX + 1);
    struct slice s;
    int flags = 0;

    squeeze(&text, slice_sub(decoded, 0, SUBJECT_MAX));
    s = buf_slice(&text);
    for (;;) {
        if (cut_trailer(&s))
            flags |= SUBJECT_IS_REPLY;
        if (cut_leaders(&s))
            flags |= SUBJECT_IS_REPLY;
        /* step 6: "[fwd:" ... "]" */
        if (!slice_istarts(s, S("[fwd:")) || s.p[s.n - 1] != ']')
            break;
        s = slice_sub(s, 5, s.n - 1);
        flags |= SUBJECT_IS_REPLY;
    }
    buf_add_slice(out, s);
    buf_done(&text);
    return flags;
}
