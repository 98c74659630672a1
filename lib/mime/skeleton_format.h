/* SPDX-License-Identifier: MPL-2.0 */
/* Values of the stored form, for the writer and the reader. */
#pragma once

#define SKELETON_VERSION 1

enum skeleton_run_kind {
    SKELETON_LITERAL = 0,
    SKELETON_RAW = 1,
    SKELETON_BASE64 = 2,
};

#define SKELETON_STORED_MAX ((uint32_t)16 << 20) /* octets of a blob; writers make 1 MB at most */
