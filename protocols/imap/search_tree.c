/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/search_tree.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "lib/mail/textindex.h"
#include "lib/mime/charset.h"
#include "lib/mime/header.h"
#include "lib/mime/text.h"
#include "protocols/imap/objectid.h"

#define DAY   86400
#define CHUNK ((size_t)64 << 10)

/* What BADCHARSET offers; ICU knows many more. */
#define CHARSETS                                                                                   \
    "UTF-8 US-ASCII ISO-8859-1 ISO-8859-2 ISO-8859-15 KOI8-R WINDOWS-1251 WINDOWS-1252 GB18030 "   \
    "BIG5 ISO-2022-JP SHIFT_JIS EUC-JP EUC-KR"

/* --- compiling ---------------------------------------------------------------------------------
 */

struct compiler {
    struct search_tree *tree;
    struct imap *im;
    struct view *view;
    struct command *cmd;
    struct slice charset;
    int64_t now; /* seconds */
};

static int compile_key(struct compiler *c, const struct arg *arg, struct search_node **ret);

static struct slice to_utf8(struct compiler *c, struct slice s)
{
    CLEANUP(buf_done) struct buf b = buf_make(BUF_MAX_DEFAULT);

    charset_convert(&b, c->charset, s);
    return arena_slice(&c->cmd->arena, buf_slice(&b));
}

static int cost_order(const void *a, const void *b)
{
    const struct search_node *l = *(struct search_node *const *)a;
    const struct search_node *r = *(struct search_node *const *)b;

    return (l->cost > r->cost) - (l->cost < r->cost);
}

static int compile_children(struct compiler *c, struct search_node *node, const struct arg *args,
                            size_t n)
{
    int r;

    node->children = arena_array(&c->cmd->arena, n, sizeof(struct search_node *));
    for (size_t i = 0; i < n; i++) {
        r = compile_key(c, &args[i], &node->children[i]);
        node->n++; /* also one that failed: it may hold sets */
        if (r < 0)
            return r;
        node->cost = MAX(node->cost, node->children[i]->cost);
    }
    qsort(node->children, n, sizeof(struct search_node *), cost_order);
    return 0;
}

static const struct {
    enum search_word word;
    const char *name;
} field_keys[] = {
    {SEARCH_BCC, "Bcc"},         {SEARCH_CC, "Cc"}, {SEARCH_FROM, "From"},
    {SEARCH_SUBJECT, "Subject"}, {SEARCH_TO, "To"},
};

static void compile_field(struct compiler *c, struct search_node *node, const struct arg *arg)
{
    for (size_t i = 0; i < ARRAY_LEN(field_keys); i++)
        if (field_keys[i].word == node->op)
            node->name = slice_str(field_keys[i].name);
    node->addresses = node->op != SEARCH_SUBJECT;
    node->op = SEARCH_HEADER;
    node->key = to_utf8(c, arg->items[0].text);
    node->cost = 1;
}

static int compile_text(struct compiler *c, struct search_node *node, const struct arg *arg)
{
    struct search_tree *t = c->tree;

    if (t->n_texts == SEARCH_TEXTS_MAX)
        return imap_no(c->cmd, "LIMIT", "A SEARCH may have %d BODY and TEXT keys",
                       SEARCH_TEXTS_MAX);
    node->cost = 2;
    node->text = t->n_texts++;
    t->texts[node->text] = to_utf8(c, arg->items[0].text);
    t->where[node->text] = node->op == SEARCH_BODY ? TEXT_BODIES : TEXT_HEADERS | TEXT_BODIES;
    return 0;
}

static int compile_set(struct compiler *c, struct search_node *node, const struct arg *set,
                       bool by_uid)
{
    node->op = SEARCH_UID;
    if (!by_uid && set->set.n && c->im->enabled & ENABLED_UIDONLY)
        return imap_uid_required(c->cmd);
    if (c->view != c->im->view && (!by_uid || set->set.saved))
        return imap_bad(c->cmd, "Message numbers and $ are of the selected mailbox");
    c->cmd->numbers |= !by_uid; /* RFC 3501 section 7.4.1: no EXPUNGE then */
    return imap_resolve_in(c->im, c->view, c->cmd, set, by_uid, &node->uids);
}

/* RFC 9738: UIDs above one, or below it */
static int compile_border(struct compiler *c, struct search_node *node, uint32_t uid)
{
    bool after = node->op == SEARCH_UIDAFTER;

    if (uid == 0)
        return imap_bad(c->cmd, "A UID is at least 1");
    node->op = SEARCH_UID;
    if (after && uid < UINT32_MAX)
        uidset_add_range(&node->uids, uid + 1, UINT32_MAX);
    if (!after && uid > 1)
        uidset_add_range(&node->uids, 1, uid - 1);
    return 0;
}

/* RFC 5032 section 3: an nz-number of seconds before now */
static int compile_interval(struct compiler *c, struct search_node *node, const struct arg *arg)
{
    if (arg->items[0].number == 0)
        return imap_bad(c->cmd, "An interval is at least 1 second");
    node->date = c->now - (int64_t)arg->items[0].number;
    return 0;
}

/* What is no id of ours is nobody's. */
static void compile_objectid(struct search_node *node, struct slice text)
{
    bool email = node->op == SEARCH_EMAILID;

    node->flag = objectid_read(text, email ? OBJECTID_EMAIL : OBJECTID_THREAD, &node->number);
    node->cost = email ? 0 : 1;
}

static int compile_word(struct compiler *c, struct search_node *node, const struct arg *arg)
{
    node->op = arg->word & 0xff;
    node->flag = (uint8_t)(arg->word >> 8);
    switch (node->op) {
    case SEARCH_KEYWORD:
    case SEARCH_UNKEYWORD:
        node->name = arg->items[0].text;
        return 0;
    case SEARCH_SENTBEFORE:
    case SEARCH_SENTON:
    case SEARCH_SENTSINCE:
        node->cost = 1;
        node->date = arg->items[0].date;
        return 0;
    case SEARCH_BEFORE:
    case SEARCH_ON:
    case SEARCH_SINCE:
    case SEARCH_SAVEDBEFORE:
    case SEARCH_SAVEDON:
    case SEARCH_SAVEDSINCE:
        node->date = arg->items[0].date;
        return 0;
    case SEARCH_OLDER:
    case SEARCH_YOUNGER:
        return compile_interval(c, node, arg);
    case SEARCH_EMAILID:
    case SEARCH_THREADID:
        compile_objectid(node, arg->items[0].text);
        return 0;
    case SEARCH_LARGER:
    case SEARCH_SMALLER:
        node->number = arg->items[0].number;
        return 0;
    case SEARCH_MODSEQ:
        node->number = arg->items[2].number;
        c->tree->modseq = true;
        return 0;
    case SEARCH_UID:
        return compile_set(c, node, &arg->items[0], true);
    case SEARCH_UIDAFTER:
    case SEARCH_UIDBEFORE:
        return compile_border(c, node, (uint32_t)arg->items[0].number);
    case SEARCH_NOT:
    case SEARCH_OR:
        return compile_children(c, node, arg->items, arg->n);
    case SEARCH_HEADER:
        node->name = arg->items[0].text;
        node->key = to_utf8(c, arg->items[1].text);
        node->cost = 1;
        return 0;
    case SEARCH_BCC:
    case SEARCH_CC:
    case SEARCH_FROM:
    case SEARCH_SUBJECT:
    case SEARCH_TO:
        compile_field(c, node, arg);
        return 0;
    case SEARCH_BODY:
    case SEARCH_TEXT:
        return compile_text(c, node, arg);
    default:
        return 0;
    }
}

static int compile_key(struct compiler *c, const struct arg *arg, struct search_node **ret)
{
    struct search_node *node = ARENA_NEW(&c->cmd->arena, struct search_node);
    unsigned max = c->im->service->settings.search_terms_max;
    int r;

    *ret = node;
    if (++c->tree->terms > max)
        return imap_no(c->cmd, "LIMIT", "A SEARCH may have %u keys", max);
    node->op = SEARCH_ALL;
    if (arg->kind == RULE_LIST)
        r = compile_children(c, node, arg->items[0].items, arg->items[0].n);
    else if (arg->kind == RULE_SET)
        r = compile_set(c, node, arg, false);
    else
        r = compile_word(c, node, arg);
    return r;
}

int search_tree_compile(struct search_tree *t, struct imap *im, struct view *view,
                        struct command *cmd, struct slice charset, const struct arg *keys)
{
    struct compiler c = {
        t, im, view, cmd, charset.p ? charset : S("UTF-8"), clock_wall_ms() / 1000};

    *t = (struct search_tree){0};
    t->root = ARENA_NEW(&cmd->arena, struct search_node);
    t->root->op = SEARCH_ALL;
    if (charset.p && !charset_known(charset))
        return imap_no(cmd, "BADCHARSET (" CHARSETS ")", "This charset is not known");
    return compile_children(&c, t->root, keys->items, keys->n);
}

static void node_done(struct search_node *node)
{
    if (!node)
        return;
    uidset_done(&node->uids);
    for (size_t i = 0; i < node->n; i++)
        node_done(node->children[i]);
}

/* --- evaluating --------------------------------------------------------------------------------
 */

/* One message while it is looked at. It may take several turns: then the program runs again from
 * its root, on what was found out in those before. */
struct subject {
    struct search_tree *tree;
    struct account *account;
    const struct message *m;
    struct slice digest;
    struct fetch_part part;
    bool opened, searched;
    struct text_search *search; /* in the content, up to `at` */
    uint64_t at;
    uint64_t found; /* bit i: text i is in it */
    uint64_t may;   /* bit i is clear: it certainly is not */
    int64_t until;
    bool worked; /* in this turn */
    struct error *err;
};

static void subject_free(struct subject *s)
{
    if (!s)
        return;
    if (s->opened)
        fetch_part_done(&s->part);
    if (s->search)
        text_search_free(s->search);
    free(s);
}

void search_tree_done(struct search_tree *t)
{
    subject_free(TAKE(t->subject));
    node_done(t->root);
    t->root = NULL;
    textindex_query_free(TAKE(t->index));
}

void search_tree_narrow(struct search_tree *t, struct account *account)
{
    enum text_where where[SEARCH_TEXTS_MAX];

    for (unsigned i = 0; i < t->n_texts; i++)
        where[i] = (enum text_where)t->where[i];
    if (t->n_texts)
        t->index = textindex_query_new(account, t->texts, where, t->n_texts);
}

/* Bit i is clear: text i is certainly not in the message. */
static uint64_t may_hold(const struct search_tree *t, uint64_t message)
{
    return t->index ? textindex_may(t->index, message) : UINT64_MAX;
}

/* A turn does something, however little. */
static bool turn_is_over(struct subject *s)
{
    bool worked = s->worked;

    s->worked = true;
    return worked && clock_mono_ms() >= s->until;
}

static int64_t day_of(int64_t seconds)
{
    int64_t day = seconds / DAY - (seconds % DAY < 0);

    return day * DAY;
}

static bool has_keyword(const struct flagset *f, struct slice keyword)
{
    for (size_t i = 0; i < f->n_keywords; i++)
        if (slice_ieq(f->keywords[i], keyword))
            return true;
    return false;
}

static int open_part(struct subject *s)
{
    if (s->opened)
        return 0;
    s->opened = true;
    return fetch_part_open(&s->part, s->account, s->m->id, s->digest, s->err);
}

static int match_field(struct subject *s, const struct search_node *node)
{
    CLEANUP(buf_done) struct buf fields = buf_make(BUF_MAX_DEFAULT);
    struct slice name = node->name;
    const struct imap_section section = {.kind = SECTION_FIELDS, .fields = &name, .n_fields = 1};
    struct header_reader reader;
    struct header_field field;
    int r = open_part(s);

    if (r == 0)
        r = fetch_part_fields(&s->part, &section, &fields, s->err);
    if (r <= 0)
        return r;
    reader = header_reader_of(buf_slice(&fields));
    while (header_next(&reader, &field))
        /* RFC 3501 section 6.4.4: a zero-length string matches wherever the field is */
        if (node->key.n == 0 || (node->addresses ? text_addresses_contain(field.value, node->key)
                                                 : text_field_contains(field.value, node->key)))
            return 1;
    return 0;
}

static int match_sent(struct subject *s, const struct search_node *node)
{
    int64_t day;
    int r = open_part(s);

    if (r < 0 || !s->part.digest.has_date)
        return r;
    /* RFC 3501 section 6.4.4: "disregarding time and timezone" */
    day = day_of(s->part.digest.date + s->part.digest.zone * 60);
    if (node->op == SEARCH_SENTBEFORE)
        return day < node->date;
    return node->op == SEARCH_SENTON ? day == node->date : day >= node->date;
}

static int match_thread(struct subject *s, const struct search_node *node)
{
    int r = open_part(s);

    if (r == 0)
        r = fetch_part_need(&s->part, MDIGEST_NO_REFERENCES, s->err);
    return r < 0 ? r : node->flag && objectid_thread(&s->part.digest, s->m->id) == node->number;
}

/* The answer of a node that costs a look at the digest or the header; one look a message. */
static int look(struct subject *s, struct search_node *node)
{
    int r;

    if (node->looked_at == s->tree->messages)
        return node->answer;
    if (turn_is_over(s))
        return SEARCH_LATER;
    r = node->op == SEARCH_HEADER     ? match_field(s, node)
        : node->op == SEARCH_THREADID ? match_thread(s, node)
                                      : match_sent(s, node);
    if (r < 0)
        return r;
    node->looked_at = s->tree->messages;
    node->answer = r;
    return r;
}

static int begin_content(struct subject *s)
{
    enum text_where where[SEARCH_TEXTS_MAX];
    int r = open_part(s);

    if (r == 0)
        r = fetch_part_content(&s->part, s->err);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < s->tree->n_texts; i++)
        where[i] = (enum text_where)s->tree->where[i];
    s->search = text_search_new(s->tree->texts, where, s->tree->n_texts);
    return 0;
}

/* All BODY and TEXT keys in one pass over the content. */
static int search_content(struct subject *s)
{
    CLEANUP(buf_done) struct buf chunk = buf_make(BUF_MAX_DEFAULT);
    int r = s->search ? 0 : begin_content(s);
    uint64_t size;

    if (r < 0)
        return r;
    size = message_size(s->part.reader);
    for (; s->at < size && !text_search_done(s->search); s->at += CHUNK) {
        if (turn_is_over(s))
            return SEARCH_LATER;
        buf_reset(&chunk, CHUNK * 2);
        r = message_read(s->part.reader, s->at, CHUNK, &chunk, s->err);
        if (r < 0)
            return r;
        text_search_feed(s->search, buf_slice(&chunk));
    }
    s->found = text_search_finish(s->search);
    s->searched = true;
    text_search_free(TAKE(s->search));
    return 0;
}

static int match_text(struct subject *s, const struct search_node *node)
{
    int r;

    if (!(s->may >> node->text & 1))
        return 0;
    r = s->searched ? 0 : search_content(s);
    return r ? r : (int)(s->found >> node->text & 1);
}

static bool match_flags(const struct search_node *node, const struct flagset *flags)
{
    switch (node->op) {
    case SEARCH_FLAG:
        return flags->system & node->flag;
    case SEARCH_UNFLAG:
        return !(flags->system & node->flag);
    case SEARCH_KEYWORD:
        return has_keyword(flags, node->name);
    case SEARCH_UNKEYWORD:
        return !has_keyword(flags, node->name);
    default: /* NEW, RECENT; I13: no message is ever \Recent */
        return false;
    }
}

/* What needs no more than the view's data. */
static bool match_cheap(const struct search_node *node, const struct message *m)
{
    switch (node->op) {
    case SEARCH_FLAG:
    case SEARCH_UNFLAG:
    case SEARCH_KEYWORD:
    case SEARCH_UNKEYWORD:
    case SEARCH_NEW:
    case SEARCH_RECENT:
        return match_flags(node, m->flags);
    case SEARCH_BEFORE:
        return day_of(m->date) < node->date;
    case SEARCH_ON:
        return day_of(m->date) == node->date;
    case SEARCH_SINCE:
        return day_of(m->date) >= node->date;
    case SEARCH_OLDER:
        return m->date <= node->date;
    case SEARCH_YOUNGER:
        return m->date >= node->date;
    case SEARCH_SAVEDBEFORE:
        return day_of(m->saved) < node->date;
    case SEARCH_SAVEDON:
        return day_of(m->saved) == node->date;
    case SEARCH_SAVEDSINCE:
        return day_of(m->saved) >= node->date;
    case SEARCH_LARGER:
        return m->size > node->number;
    case SEARCH_SMALLER:
        return m->size < node->number;
    case SEARCH_UID:
        return uidset_has(&node->uids, m->uid);
    case SEARCH_MODSEQ:
        return m->modseq >= node->number;
    case SEARCH_EMAILID:
        return node->flag && m->id == node->number;
    default: /* OLD, ALL, SAVEDATESUPPORTED */
        return true;
    }
}

static int match(struct subject *s, struct search_node *node)
{
    int r;

    switch (node->op) {
    case SEARCH_ALL:
        for (size_t i = 0; i < node->n; i++) {
            r = match(s, node->children[i]);
            if (r != 1)
                return r;
        }
        return 1;
    case SEARCH_OR:
        r = match(s, node->children[0]);
        return r == 0 ? match(s, node->children[1]) : r;
    case SEARCH_NOT:
        r = match(s, node->children[0]);
        return r < 0 || r == SEARCH_LATER ? r : !r;
    case SEARCH_HEADER:
    case SEARCH_SENTBEFORE:
    case SEARCH_SENTON:
    case SEARCH_SENTSINCE:
    case SEARCH_THREADID:
        return look(s, node);
    case SEARCH_BODY:
    case SEARCH_TEXT:
        return match_text(s, node);
    default:
        return match_cheap(node, s->m);
    }
}

int search_tree_match(struct search_tree *t, struct account *account, const struct message *m,
                      struct slice digest, int64_t until, struct error *err)
{
    struct subject *s = t->subject;
    int r;

    if (!s) {
        s = t->subject = NEW(struct subject);
        *s = (struct subject){.tree = t, .account = account, .m = m, .digest = digest};
        s->may = may_hold(t, m->id);
        s->searched = t->texts_known;
        s->found = t->texts_found;
        t->texts_known = false;
        t->messages++;
    }
    s->until = until;
    s->worked = false;
    s->err = err;
    r = match(s, t->root);
    if (r != SEARCH_LATER)
        subject_free(TAKE(t->subject));
    return r;
}

int search_tree_match_known(struct search_tree *t, struct account *account, const struct message *m,
                            uint64_t found, int64_t until, struct error *err)
{
    t->texts_known = true;
    t->texts_found = found;
    return search_tree_match(t, account, m, (struct slice){0}, until, err);
}

struct textscan *search_tree_scan(const struct search_tree *t, struct account *account,
                                  const struct textscan_message *messages, size_t n)
{
    enum text_where where[SEARCH_TEXTS_MAX];

    for (unsigned i = 0; i < t->n_texts; i++)
        where[i] = (enum text_where)t->where[i];
    return textscan_begin(account, t->texts, where, t->n_texts, messages, n);
}

/* 1, 0, or SEARCH_LATER: it depends on more than is known of the message without its digest. */
static int glance(const struct search_node *node, const struct message *m, uint64_t may)
{
    int r, result;

    switch (node->op) {
    case SEARCH_ALL:
        result = 1;
        for (size_t i = 0; i < node->n && result != 0; i++) {
            r = glance(node->children[i], m, may);
            result = r == 1 ? result : r;
        }
        return result;
    case SEARCH_OR:
        result = glance(node->children[0], m, may);
        if (result == 1)
            return 1;
        r = glance(node->children[1], m, may);
        return r == 0 ? result : r;
    case SEARCH_NOT:
        r = glance(node->children[0], m, may);
        return r == SEARCH_LATER ? r : !r;
    case SEARCH_BODY:
    case SEARCH_TEXT:
        return may >> node->text & 1 ? SEARCH_LATER : 0;
    default:
        return node->cost > 0 ? SEARCH_LATER : match_cheap(node, m);
    }
}

static bool needs_digest(const struct search_node *node)
{
    bool needs = node->cost == 1 && node->n == 0;

    for (size_t i = 0; i < node->n && !needs; i++)
        needs = needs_digest(node->children[i]);
    return needs;
}

bool search_tree_reads_content(const struct search_tree *t)
{
    return t->n_texts && !needs_digest(t->root);
}

/* Is a digest enough for some key? */
static bool asks_digest(const struct search_node *node)
{
    bool asks = node->cost == 1 && node->n == 0 &&
                (node->op != SEARCH_HEADER || mdigest_field_id(node->name) >= 0);

    for (size_t i = 0; i < node->n && !asks; i++)
        asks = asks_digest(node->children[i]);
    return asks;
}

bool search_tree_reads_header(const struct search_tree *t)
{
    return needs_digest(t->root) && !asks_digest(t->root);
}

int search_tree_glance(const struct search_tree *t, const struct message *m)
{
    return glance(t->root, m, may_hold(t, m->id));
}
