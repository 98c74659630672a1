/* SPDX-License-Identifier: MPL-2.0 */
/* BODY and BODYSTRUCTURE (RFC 3501 section 7.4.2), ready to be sent. */
#pragma once

#include "lib/base/buf.h"
#include "lib/mime/parse.h"

/* Appends "(...)". `extended` is BODYSTRUCTURE. */
void structure_write(struct buf *out, const struct mime_part *root, bool extended);
