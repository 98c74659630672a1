/* SPDX-License-Identifier: MPL-2.0 */
/* Unicode Normalization Form C, for names that people type (RFC 5198: Net-Unicode). */
#pragma once

#include "lib/base/buf.h"

/* Appends the NFC of UTF-8; false, and nothing appended: it is not well-formed, or too long for
 * out. ASCII costs a look. */
bool nfc_add(struct buf *out, struct slice utf8);
