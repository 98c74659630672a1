/* SPDX-License-Identifier: MPL-2.0 */
/* search_tree: the program of a SEARCH, compiled, and its evaluation on one message.
 *
 * Nodes know what they cost: 0 what the view knows of a message, 1 its digest, 2 its content. The
 * parts of an AND are tried in order of cost, so that a content is opened only where all that is
 * cheaper does not decide.
 */
#pragma once

#include "lib/mail/textscan.h"
#include "protocols/imap/fetch_part.h"
#include "protocols/imap/impl.h"

#define SEARCH_TEXTS_MAX 64 /* BODY and TEXT keys of one SEARCH: one pass looks for all */

struct search_node {
    enum search_word op; /* SEARCH_ALL: an AND of its children */
    uint8_t flag;
    unsigned cost;
    struct search_node **children;
    size_t n;
    struct uidset uids; /* SEARCH_UID, also of sequence numbers */
    uint64_t number;
    int64_t date;
    struct slice name, key; /* field or keyword; what is looked for, UTF-8 */
    bool addresses;         /* of a HEADER: of the envelope structure */
    unsigned text;          /* index of a BODY or TEXT key */
    uint64_t looked_at;     /* the last message whose digest this node has looked at, */
    bool answer;            /* and what it said */
};

struct search_tree {
    struct search_node *root;
    struct slice texts[SEARCH_TEXTS_MAX];
    int where[SEARCH_TEXTS_MAX]; /* enum text_where */
    unsigned n_texts, terms;
    bool modseq;             /* a MODSEQ key is in it */
    uint64_t messages;       /* looked at so far */
    struct subject *subject; /* one that is half looked at */
    bool texts_known;        /* of the next message: which texts it has, */
    uint64_t texts_found;    /* as bits */
    /* What can be known of BODY and TEXT without the content; NULL: nothing. */
    struct textindex_query *index;
};

/* Fills the tree from the parsed keys (a RULE_MANY of search keys), for the view of a mailbox;
 * charset is that of its strings, {NULL, 0}: UTF-8; memory is the command's arena's, but the sets',
 * which search_tree_done frees. Replies by cmd: BAD, NO [BADCHARSET], NO [LIMIT]. */
int search_tree_compile(struct search_tree *t, struct imap *im, struct view *view,
                        struct command *cmd, struct slice charset, const struct arg *keys) MUST_USE;
void search_tree_done(struct search_tree *t);
/* Asks the text index for the BODY and TEXT keys. Blocks. */
void search_tree_narrow(struct search_tree *t, struct account *account);

/* 1 matches, 0 not, or an error of reading. SEARCH_LATER: it is `until` (clock_mono_ms()) and the
 * message is half looked at; call again with the same arguments, which must stay valid. */
#define SEARCH_LATER 2
int search_tree_match(struct search_tree *t, struct account *account, const struct message *m,
                      struct slice digest, int64_t until, struct error *err) MUST_USE;
/* Looks for the BODY and TEXT keys in these messages, on several threads. */
struct textscan *search_tree_scan(const struct search_tree *t, struct account *account,
                                  const struct textscan_message *messages, size_t n) MUST_USE;
/* The same of a message whose texts have been looked for; where search_tree_reads_content. */
int search_tree_match_known(struct search_tree *t, struct account *account, const struct message *m,
                            uint64_t found, int64_t until, struct error *err) MUST_USE;
/* Does every message that a glance does not decide need its content read? (No key costs as much as
 * a digest.) */
bool search_tree_reads_content(const struct search_tree *t);
/* Does every message whose digest is looked at need its header read, for a field that digests do
 * not hold? (No key is answered by the digest, which would spare most of them that.) */
bool search_tree_reads_header(const struct search_tree *t);
/* By what the view and the text index know of it: 1 matches, 0 not, SEARCH_LATER: its digest must
 * be looked at. */
int search_tree_glance(const struct search_tree *t, const struct message *m);
