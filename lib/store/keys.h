/* SPDX-License-Identifier: MPL-2.0 */
/* The binary keys of store.h, made and taken apart. */
#pragma once

#include "lib/base/bytes.h"

struct key8 {
    uint8_t b[8];
};
struct key10 {
    uint8_t b[10];
};
struct key12 {
    uint8_t b[12];
};
struct key16 {
    uint8_t b[16];
};
struct key20 {
    uint8_t b[20];
};
struct key22 {
    uint8_t b[22];
};
struct key28 {
    uint8_t b[28];
};
struct key32 {
    uint8_t b[32];
};

#define KEY_SLICE(k) slice_of((k).b, sizeof(k).b)

static inline struct key8 key_account(uint64_t account)
{
    struct key8 k;

    put_be64(k.b, account);
    return k;
}

/* log: account, seq; messages: account, message id. */
static inline struct key16 key_pair(uint64_t account, uint64_t second)
{
    struct key16 k;

    put_be64(k.b, account);
    put_be64(k.b + 8, second);
    return k;
}

static inline struct key28 key_segment(uint64_t account, uint64_t mailbox, uint32_t uid,
                                       uint64_t seq)
{
    struct key28 k;

    put_be64(k.b, account);
    put_be64(k.b + 8, mailbox);
    put_be32(k.b + 16, uid);
    put_be64(k.b + 20, seq);
    return k;
}

static inline struct key20 key_textindex(uint64_t account, uint32_t part, uint64_t segment)
{
    struct key20 k;

    put_be64(k.b, account);
    put_be32(k.b + 8, part);
    put_be64(k.b + 12, segment);
    return k;
}

static inline struct key32 key_bloblink(const uint8_t hash[32], uint64_t account, uint64_t message)
{
    struct key32 k;

    memcpy(k.b, hash, 16);
    put_be64(k.b + 16, account);
    put_be64(k.b + 24, message);
    return k;
}

static inline struct key12 key_queue_body(uint64_t id, uint32_t piece)
{
    struct key12 k;

    put_be64(k.b, id);
    put_be32(k.b + 8, piece);
    return k;
}

static inline struct key10 key_queue_entry(uint64_t id, uint16_t number)
{
    struct key10 k;

    put_be64(k.b, id);
    put_be16(k.b + 8, number);
    return k;
}

static inline struct key22 key_queue_due(int64_t when_ms, uint64_t id, uint16_t number,
                                         uint32_t turn)
{
    struct key22 k;

    put_be64(k.b, (uint64_t)when_ms);
    put_be64(k.b + 8, id);
    put_be16(k.b + 16, number);
    put_be32(k.b + 18, turn);
    return k;
}
