/* SPDX-License-Identifier: MPL-2.0 */
/* Commands of any state, and small ones: CAPABILITY, NOOP and CHECK, LOGOUT, ID, ENABLE, IDLE,
 * NAMESPACE. */
#include "lib/base/clock.h"
#include "lib/base/mem.h"
#include "protocols/imap/impl.h"

int cmd_capability(struct imap *im, struct command *cmd)
{
    buf_add_str(&im->s.out, "* CAPABILITY ");
    imap_write_capabilities(im, &im->s.out);
    buf_add_str(&im->s.out, "\r\n");
    return 0;
}

/* What NOOP and CHECK are for happens behind every command; their rows ask for the present. */
int cmd_noop(struct imap *im, struct command *cmd)
{
    return 0;
}

int cmd_logout(struct imap *im, struct command *cmd)
{
    buf_add_str(&im->s.out, "* BYE Logging out\r\n");
    cmd->next = PHASE_CLOSED;
    return 0;
}

int cmd_id(struct imap *im, struct command *cmd)
{
    buf_add_str(&im->s.out, "* ID (\"name\" \"Eider\")\r\n");
    return 0;
}

/* RFC 7162 section 3.2.3 */
static void enable_qresync(struct imap *im)
{
    imap_enable_condstore(im);
    im->enabled |= ENABLED_QRESYNC;
}

static void enable_utf8(struct imap *im)
{
    im->enabled |= ENABLED_UTF8;
}

/* RFC 9051 Appendix A: what it changes asks for the bit where it is said */
static void enable_rev2(struct imap *im)
{
    im->enabled |= ENABLED_REV2;
}

/* RFC 9586 */
static void enable_uidonly(struct imap *im)
{
    im->enabled |= ENABLED_UIDONLY;
}

/* RFC 4978 section 3: BAD where COMPRESS is active already. */
int cmd_compress(struct imap *im, struct command *cmd)
{
    if (im->compressed) {
        cmd->code = "COMPRESSIONACTIVE";
        return imap_bad(cmd, "DEFLATE is active already");
    }
    im->compressed = im->compress_now = true;
    cmd->text = "DEFLATE active";
    return 0;
}

/* Capabilities that ENABLE knows (RFC 5161: unknown ones are ignored). */
static const struct {
    const char *name;
    void (*enable)(struct imap *im);
    enum imap_enabled bit;
} enables[] = {
    {"CONDSTORE", imap_enable_condstore, ENABLED_CONDSTORE},
    {"QRESYNC", enable_qresync, ENABLED_QRESYNC},
    {"UTF8=ACCEPT", enable_utf8, ENABLED_UTF8},
    {"IMAP4rev2", enable_rev2, ENABLED_REV2},
    {"METADATA", imap_enable_metadata, ENABLED_METADATA},
    {"UIDONLY", enable_uidonly, ENABLED_UIDONLY},
};

int cmd_enable(struct imap *im, struct command *cmd)
{
    const struct arg *names = &cmd->parsed.args[0];
    CLEANUP(buf_done) struct buf line = buf_make(BUF_MAX_DEFAULT);
    unsigned told = im->enabled;

    buf_add_str(&line, "* ENABLED");
    for (size_t i = 0; i < names->n; i++)
        for (size_t k = 0; k < ARRAY_LEN(enables); k++)
            if (slice_ieq(names->items[i].text, slice_str(enables[k].name)) &&
                !(told & enables[k].bit)) {
                buf_printf(&line, " %s", enables[k].name);
                enables[k].enable(im);
                told |= enables[k].bit;
            }
    buf_add_slice(&im->s.out, buf_slice(&line));
    buf_add_str(&im->s.out, "\r\n");
    return 0;
}

/* RFC 2342: one personal namespace; nobody else's mail is reachable yet. */
int cmd_namespace(struct imap *im, struct command *cmd)
{
    buf_add_str(&im->s.out, "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
    return 0;
}

/* --- IDLE (RFC 2177) ---------------------------------------------------------------------------
 */

static void wake(void *ctx)
{
    struct imap *im = ctx;

    im->s.wake(&im->s);
}

static void set_keepalive(struct imap *im)
{
    int64_t every = im->service->settings.keepalive_ms;

    im->keepalive_at_ms = every ? clock_mono_ms() + every : 0;
}

int cmd_idle(struct imap *im, struct command *cmd)
{
    int r;

    buf_add_str(&im->s.out, "+ idling\r\n");
    /* an idle connection keeps no memory of a command: of this one the tag is needed, nothing else
     */
    cmd->parsed.args = NULL;
    cmd->parsed.n_args = 0;
    arena_done(&cmd->arena);
    imap_set_phase(im, PHASE_IDLE);
    parser_set_mode(&im->parser, PARSER_LINE);
    set_keepalive(im);
    im->deadline_ms = clock_mono_ms() + im->service->settings.idle_timeout_ms;
    /* watched before the first look, so that no change falls between the two */
    im->watch = account_watch(im->account, wake, im);
    if (im->view) {
        r = imap_update(im, true, &cmd->err);
        if (r < 0 && r != -ERR_UNAVAILABLE) {
            imap_bye(im, "NONEXISTENT", "The selected mailbox was deleted");
            return RUN_WAIT;
        }
        im->idle_more = imap_tell(im, true, false);
    }
    return RUN_WAIT;
}

int cmd_idle_tell(struct imap *im, struct command *cmd)
{
    int r;

    if (im->keepalive_at_ms && clock_mono_ms() >= im->keepalive_at_ms) {
        buf_add_str(&im->s.out, "* OK Still here\r\n");
        set_keepalive(im);
    }
    imap_metadata_tell(im, false);
    if (!im->view)
        return 0;
    r = imap_update(im, false, &cmd->err);
    if (r == -ERR_NOTFOUND)
        return r;
    im->idle_more = imap_tell(im, true, false);
    return 0;
}

void cmd_idle_end(struct imap *im)
{
    if (im->watch)
        account_unwatch(TAKE(im->watch));
    im->idle_more = false;
    im->keepalive_at_ms = 0;
}

int cmd_idle_line(struct imap *im, struct command *cmd, struct slice line)
{
    cmd_idle_end(im);
    return slice_ieq(line, S("DONE")) ? 0 : imap_bad(cmd, "IDLE ends with DONE");
}
