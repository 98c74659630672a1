/* SPDX-License-Identifier: MPL-2.0 */
#include "protocols/imap/special_use.h"

#include "lib/base/mem.h"
#include "lib/mail/record.h"

static const struct {
    uint32_t use;
    const char *name;
    bool given; /* by clients */
} uses[] = {
    {USE_ALL, "\\All", false},      {USE_ARCHIVE, "\\Archive", true},
    {USE_DRAFTS, "\\Drafts", true}, {USE_FLAGGED, "\\Flagged", false},
    {USE_JUNK, "\\Junk", true},     {USE_SENT, "\\Sent", true},
    {USE_TRASH, "\\Trash", true},   {USE_IMPORTANT, "\\Important", true},
};

uint32_t special_use_named(struct slice word)
{
    for (size_t i = 0; i < ARRAY_LEN(uses); i++)
        if (uses[i].given && slice_ieq(word, slice_str(uses[i].name)))
            return uses[i].use;
    return 0;
}

void special_use_write(struct buf *out, uint32_t set)
{
    bool first = true;

    for (size_t i = 0; i < ARRAY_LEN(uses); i++) {
        if (!(set & uses[i].use))
            continue;
        buf_printf(out, "%s%s", first ? "" : " ", uses[i].name);
        first = false;
    }
}
