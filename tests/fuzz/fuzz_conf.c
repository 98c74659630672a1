/* SPDX-License-Identifier: MPL-2.0 */
/* Settings: any text is taken or refused with a sentence, and what is taken can be written and read
 * again as the same. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/mem.h"
#include "lib/conf/conf.h"

#define TEXT_MAX ((size_t)1 << 22)

static void see(void *context, const char *name, const char *value, bool is_default)
{
    (void)context;
    (void)name;
    (void)is_default;
    if (!*value)
        abort();
}

static bool write_of(const char *text, struct buf *out)
{
    struct error err = {0};
    struct conf *c = NULL;

    if (conf_parse(text, "fuzz", &c, &err) < 0) {
        if (!*err.text)
            abort();
        return false;
    }
    conf_write(c, out);
    conf_each(c, see, NULL);
    (void)conf_check_serve(c, &err);
    conf_free(c);
    return true;
}

/* libconfig 1.5 leaks the string in which it meets an error. */
const char *__lsan_default_suppressions(void);
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buf_done) struct buf first = buf_make(TEXT_MAX), again = buf_make(TEXT_MAX);
    char *text = slice_dup(slice_of(data, size));

    /* Files that it names would be opened. */
    if (!strstr(text, "@include") && write_of(text, &first)) {
        if (!write_of(buf_cstr(&first), &again) || !slice_eq(buf_slice(&first), buf_slice(&again)))
            abort();
    }
    free(text);
    return 0;
}
