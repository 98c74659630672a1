/* SPDX-License-Identifier: MPL-2.0 */
/* The TRANSACTION state: RFC 1939 sections 5 and 7. */
#include <stdlib.h>

#include "lib/base/mem.h"
#include "protocols/pop3/impl.h"

#define CHUNK ((size_t)64 << 10)

static int find(struct pop3 *p, struct slice text, struct message *ret)
{
    uint64_t number;

    if (!slice_to_u64(text, UINT32_MAX, &number))
        return pop3_no(p, NULL, "A message number is expected");
    if (!maildrop_get(&p->drop, number, ret))
        return -ERR_NOTFOUND;
    return 0;
}

int pop3_stat(struct pop3 *p, const struct pop3_line *line)
{
    /* RFC 1939 section 5: nothing but the two numbers, clients read the line so */
    return pop3_ok(p, "%u %llu", maildrop_count(&p->drop),
                   (unsigned long long)maildrop_bytes(&p->drop));
}

int pop3_dele(struct pop3 *p, const struct pop3_line *line)
{
    struct message m;
    int r = find(p, line->args[0], &m);

    if (r < 0)
        return r;
    maildrop_delete(&p->drop, &m);
    return pop3_ok(p, "Will be deleted at QUIT");
}

int pop3_rset(struct pop3 *p, const struct pop3_line *line)
{
    maildrop_reset(&p->drop);
    return pop3_ok(p, "%u messages, %llu octets", maildrop_total(&p->drop),
                   (unsigned long long)maildrop_bytes(&p->drop));
}

void pop3_job_end(struct pop3 *p)
{
    if (p->job.reader)
        message_close(p->job.reader);
    p->job = (struct pop3_job){0};
}

/* --- listings ---------------------------------------------------------------------------------
 */

/* A line of a listing is written straight into the output: there may be a million of them. */
#define LISTED_MAX 32 /* a number of ten digits, a space, MAILDROP_UID, CR, LF */

static uint8_t *put_number(uint8_t *to, uint32_t v)
{
    uint8_t digits[10];
    size_t n = 0;

    do {
        digits[n++] = (uint8_t)('0' + v % 10);
        v /= 10;
    } while (v);
    while (n)
        *to++ = digits[--n];
    return to;
}

/* Behind "number SP": what is listed of a message. Gives the end. */
typedef uint8_t *put_fn(const struct pop3 *p, uint32_t uid, uint32_t size, uint8_t *to);

static uint8_t *put_size(const struct pop3 *p, uint32_t uid, uint32_t size, uint8_t *to)
{
    return put_number(to, size);
}

static uint8_t *put_uid(const struct pop3 *p, uint32_t uid, uint32_t size, uint8_t *to)
{
    maildrop_uid(&p->drop, uid, to);
    return to + MAILDROP_UID;
}

/* Lines of messages in a row, the first of which has this number; deleted ones have none. */
static inline void list_run(struct pop3 *p, const struct message_run *run, uint64_t number,
                            put_fn *put)
{
    uint8_t *start = buf_reserve(&p->s.out, run->n * LISTED_MAX), *to = start;

    for (size_t i = 0; to && i < run->n; i++) {
        if (p->drop.deleted.n && uidset_has(&p->drop.deleted, run->uid[i]))
            continue;
        to = put_number(to, (uint32_t)(number + i));
        *to++ = ' ';
        to = put(p, run->uid[i], run->size[i], to);
        *to++ = '\r';
        *to++ = '\n';
    }
    p->s.out.n += (size_t)(to - start);
}

static void list_one(struct pop3 *p, const struct message *m, put_fn *put)
{
    struct message_run run = {1, &m->uid, &m->size};

    buf_add_str(&p->s.out, "+OK ");
    list_run(p, &run, mailbox_index(p->drop.box, m->uid) + 1, put);
}

static inline int go_on_listing(struct pop3 *p, put_fn *put)
{
    struct pop3_job *job = &p->job;
    struct mailbox_iter i;
    struct message_run run;
    struct message m;

    if (!mailbox_at(p->drop.box, (uint32_t)job->next - 1, &m))
        m.uid = UINT32_MAX; /* behind the last */
    i = mailbox_iter(p->drop.box, m.uid);
    for (; p->s.out.n < SESSION_SLICE && mailbox_next_run(&i, &run); job->next += run.n)
        list_run(p, &run, job->next, put);
    if (job->next <= maildrop_total(&p->drop))
        return RUN_AGAIN;
    buf_add_str(&p->s.out, ".\r\n");
    return 0;
}

static int go_on_sizes(struct pop3 *p)
{
    return go_on_listing(p, put_size);
}

static int go_on_uids(struct pop3 *p)
{
    return go_on_listing(p, put_uid);
}

int pop3_list(struct pop3 *p, const struct pop3_line *line)
{
    struct message m;
    int r;

    if (line->n_args == 0) {
        pop3_ok(p, "%u messages", maildrop_count(&p->drop));
        p->job = (struct pop3_job){.run = go_on_sizes, .next = 1};
        return go_on_sizes(p);
    }
    r = find(p, line->args[0], &m);
    if (r < 0)
        return r;
    list_one(p, &m, put_size);
    return 0;
}

int pop3_uidl(struct pop3 *p, const struct pop3_line *line)
{
    struct message m;
    int r;

    if (line->n_args == 0) {
        pop3_ok(p, "Unique ids");
        p->job = (struct pop3_job){.run = go_on_uids, .next = 1};
        return go_on_uids(p);
    }
    r = find(p, line->args[0], &m);
    if (r < 0)
        return r;
    list_one(p, &m, put_uid);
    return 0;
}

/* --- messages ---------------------------------------------------------------------------------
 */

/* A dot at the beginning of a line is doubled. A line begins behind every LF, not only behind CRLF:
 * clients that take a bare LF for the end of a line would otherwise see the end of the message in
 * the middle of one that was made for it. */
static void send_piece(struct pop3 *p, struct slice piece)
{
    struct pop3_job *job = &p->job;

    if (job->last[1] == '\n' && piece.p[0] == '.')
        buf_add_byte(&p->s.out, '.');
    buf_add_slice(&p->s.out, piece);
    job->last[0] = piece.n > 1 ? piece.p[piece.n - 2] : job->last[1];
    job->last[1] = piece.p[piece.n - 1];
}

/* Counts a line that begins as the client's; `at_start`: the piece is from a line's beginning.
 * False: it is behind the last line that TOP is to give. */
static bool wanted(struct pop3_job *job, struct slice piece, bool at_start)
{
    if (!at_start)
        return true;
    if (job->in_body)
        return job->lines-- > 0;
    job->in_body = piece.p[0] == '\n' || (piece.n > 1 && piece.p[0] == '\r' && piece.p[1] == '\n');
    return true;
}

/* Sends all of the chunk: in one go what lies between lines that begin with a dot. */
static void send_all(struct pop3 *p, struct slice chunk)
{
    while (chunk.n) {
        ssize_t at = slice_search(chunk, S("\n."));
        struct slice piece = slice_sub(chunk, 0, at < 0 ? chunk.n : (size_t)at + 1);

        send_piece(p, piece);
        chunk = slice_skip(chunk, piece.n);
    }
}

/* Sends what of the chunk is wanted. False: the last line is sent. */
static bool send_chunk(struct pop3 *p, struct slice chunk)
{
    if (p->job.lines == UINT64_MAX) {
        send_all(p, chunk);
        return true;
    }
    while (chunk.n) {
        ssize_t lf = slice_find(chunk, '\n');
        struct slice piece = slice_sub(chunk, 0, lf < 0 ? chunk.n : (size_t)lf + 1);

        if (!wanted(&p->job, piece, p->job.last[1] == '\n'))
            return false;
        send_piece(p, piece);
        chunk = slice_skip(chunk, piece.n);
    }
    return true;
}

static void end_message(struct pop3 *p)
{
    struct pop3_job *job = &p->job;

    if (job->last[0] != '\r' || job->last[1] != '\n')
        buf_add_str(&p->s.out, "\r\n");
    buf_add_str(&p->s.out, ".\r\n");
    if (job->lines == UINT64_MAX)
        uidset_add(&p->drop.seen, job->message.uid);
}

/* A piece that a chunk's end cuts between CR and LF of an empty line would look like text: chunks
 * end with a line end where there is one. */
static struct slice whole_lines(struct slice chunk, bool is_last)
{
    size_t n = chunk.n;

    if (is_last)
        return chunk;
    while (n > 0 && chunk.p[n - 1] != '\n')
        n--;
    return n ? slice_sub(chunk, 0, n) : chunk;
}

static int go_on_message(struct pop3 *p)
{
    CLEANUP(buf_done) struct buf bytes = buf_make(CHUNK * 2);
    struct pop3_job *job = &p->job;
    uint64_t size = message_size(job->reader);
    bool more = true;

    while (more && job->next < size && p->s.out.n < SESSION_SLICE) {
        struct slice chunk;
        int r;

        buf_reset(&bytes, CHUNK * 2);
        r = message_read(job->reader, job->next, CHUNK, &bytes, &p->err);
        if (r < 0 || bytes.n == 0) { /* in the middle of a message nothing can be said any more */
            pop3_close(p);
            return 0;
        }
        chunk = whole_lines(buf_slice(&bytes), job->next + bytes.n >= size);
        job->next += chunk.n;
        more = send_chunk(p, chunk);
    }
    if (more && job->next < size)
        return RUN_AGAIN;
    end_message(p);
    return 0;
}

static int begin_message(struct pop3 *p, struct slice number, uint64_t lines)
{
    struct pop3_job job = {.run = go_on_message, .lines = lines, .last = {'\r', '\n'}};
    int r = find(p, number, &job.message);

    if (r == 0) {
        pop3_ahead_take(p, mailbox_index(p->drop.box, job.message.uid) + 1);
        r = message_open(p->account, job.message.id, &job.reader, &p->err);
    }
    if (r < 0)
        return r;
    p->job = job;
    if (lines == UINT64_MAX)
        pop3_ok(p, "%u octets", job.message.size);
    else
        pop3_ok(p, "The beginning follows");
    return go_on_message(p);
}

int pop3_retr(struct pop3 *p, const struct pop3_line *line)
{
    return begin_message(p, line->args[0], UINT64_MAX);
}

int pop3_top(struct pop3 *p, const struct pop3_line *line)
{
    uint64_t lines;

    if (!slice_to_u64(line->args[1], UINT64_MAX - 1, &lines))
        return pop3_no(p, NULL, "A number of lines is expected");
    return begin_message(p, line->args[0], lines);
}
