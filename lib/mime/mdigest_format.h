/* SPDX-License-Identifier: MPL-2.0 */
/* The stored form of a digest, for the builder and the reader.
 *
 * Version 1 (varints, svarints and strings as in lib/base/bytes.h):
 *   u8 version, varint flags, varint missing, varint size, varint header size, svarint date,
 *   svarint zone, the strings of mdigest_strings() in its order, varint count of covered names,
 *   varint bit set of those that are not answered. What follows is for later versions.
 *
 * `sections` is the tree in pre-order: u8 kind | encoding << 2, varint gap (to the end of the part
 * before, or to the start of the parent's body), varint header octets, varint body octets, varint
 * lines, and for a multipart varint number of children.
 *
 * `fields` is a row of: u8 id, varint offset in the header block, string (the field as it came).
 */
#pragma once

#include "lib/base/bytes.h"

struct mdigest;

#define MDIGEST_VERSION 1

enum mdigest_flag {
    MDIGEST_HAS_DATE = 1,
    MDIGEST_IS_REPLY = 2,
    MDIGEST_HAS_ATTACHMENT = 4,
    MDIGEST_ALL_FIELDS = 8,
    MDIGEST_BASE_IS_SUBJECT = 16, /* the base subject is not stored a second time */
};

#define MDIGEST_STRINGS 18
/* Where the strings stand in the struct, in stored order. */
void mdigest_strings(struct mdigest *d, struct slice *ret[MDIGEST_STRINGS]);

#define MDIGEST_NAMES 58
/* Covered field names; the place is the stored id. Append only, 64 at most. */
extern const struct slice mdigest_names[MDIGEST_NAMES];
