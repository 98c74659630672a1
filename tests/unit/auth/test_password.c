/* SPDX-License-Identifier: MPL-2.0 */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/auth/password.h"
#include "lib/base/codec.h"
#include "lib/base/mem.h"

static const struct password_cost cheap = {.scheme = PASSWORD_ARGON2ID,
                                           .argon2_memory = 64,
                                           .argon2_passes = 1,
                                           .yescrypt_cost = 1,
                                           .scram_iterations = 4096};

/* RFC 4013 section 3. */
Test(password, saslprep_examples_of_rfc_4013)
{
    static const struct {
        const char *in, *want;
    } cases[] = {
        {"I\xc2\xadX", "IX"},
        {"user", "user"},
        {"USER", "USER"},
        {"\xc2\xaa", "a"},
        {"\xe2\x85\xa8", "IX"},
        {"\x07", NULL},
        {"\xd8\xa7\x31", NULL},
        {"", NULL},
        {"\xc2\xad", NULL},
        {"a\xc2\xa0"
         "b",
         "a b"},
        {"\xff", NULL},
        {"p\xf0\x9f\x98\x80", "p\xf0\x9f\x98\x80"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_done) struct buf out = buf_make(1000);
        int r = password_prepare(slice_str(cases[i].in), &out, NULL);

        cr_expect(r == (cases[i].want ? 0 : -ERR_INVALID), "case %zu: %d", i, r);
        if (cases[i].want)
            cr_expect_str_eq(buf_cstr(&out), cases[i].want);
    }
}

Test(password, what_is_made_fits_and_nothing_else_does)
{
    static const char *const words[] = {"secret", "p\xc3\xa4ss w\xc3\xb6rt", "x",
                                        "\xf0\x9f\x98\x80"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        for (int scheme = PASSWORD_ARGON2ID; scheme <= PASSWORD_YESCRYPT; scheme++) {
            CLEANUP(buf_done) struct buf hash = buf_make(1000), scram = buf_make(1000);
            struct password_cost cost = cheap;

            cost.scheme = (enum password_scheme)scheme;
            cr_assert(password_hash(slice_str(words[i]), &cost, &hash, NULL) == 0);
            cr_assert(password_scram(slice_str(words[i]), SCRAM_SHA256, 4096, &scram, NULL) == 0);
            cr_expect(password_hash_known(buf_cstr(&hash)), "%s", buf_cstr(&hash));
            cr_expect(password_hash_known(buf_cstr(&scram)));
            cr_expect(password_verify(slice_str(words[i]), buf_cstr(&hash)) == 0);
            cr_expect(password_verify(slice_str(words[i]), buf_cstr(&scram)) == 0);
            cr_expect(password_verify(S("Secret"), buf_cstr(&hash)) == -ERR_AUTH);
            cr_expect(password_verify(S("secre"), buf_cstr(&scram)) == -ERR_AUTH);
            cr_expect(password_verify(S(""), buf_cstr(&hash)) == -ERR_AUTH);
        }
}

Test(password, prepared_forms_are_the_same_password)
{
    CLEANUP(buf_done) struct buf hash = buf_make(1000);

    cr_assert(password_hash(S("IX"), &cheap, &hash, NULL) == 0);
    cr_expect(password_verify(S("\xe2\x85\xa8"), buf_cstr(&hash)) == 0);
    cr_expect(password_verify(S("I\xc2\xadX"), buf_cstr(&hash)) == 0);
    /* A NUL inside must not hide what stands behind it. */
    cr_expect(password_verify(S("IX\0more"), buf_cstr(&hash)) == -ERR_AUTH);
}

Test(password, ready_hashes_from_elsewhere)
{
    static const struct {
        const char *password, *hash;
    } cases[] = {
        {"Hello world!",
         "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4"
         "OTLiBFdcbYEdFCoEOfaS35inz1"},
        {"Hello world!",
         "{SHA512-CRYPT}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnI"
         "FNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
        {"Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"},
        {"U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"},
        {"pencil",
         "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtb"
         "sT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_expect(password_hash_known(cases[i].hash), "%s", cases[i].hash);
        cr_expect(password_verify(slice_str(cases[i].password), cases[i].hash) == 0, "%s",
                  cases[i].hash);
        cr_expect(password_verify(S("other"), cases[i].hash) == -ERR_AUTH, "%s", cases[i].hash);
    }
}

Test(password, broken_and_hostile_hashes_are_refused)
{
    static const char *const cases[] = {
        "",
        "secret",
        "{PLAIN}secret",
        "{",
        "$1$saltsalt$abcdefghijklmnopqrstuv",
        "aaZZZZZZZZZZZ",
        "$6$",
        "$6$a:b$c",
        "$argon2id$",
        "$argon2id$v=19$m=99999999,t=2,p=1$c2FsdHNhbHQ$aGFzaA",
        "$argon2id$v=19$m=64,t=999999,p=1$c2FsdHNhbHQ$aGFzaA",
        "SCRAM-SHA-256$0:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:x",
        "SCRAM-SHA-256$4096:$:",
        "SCRAM-SHA-256$4096",
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cr_expect(!password_hash_known(cases[i]), "%s", cases[i]);
        if (!strstr(cases[i], "999"))
            cr_expect(password_verify(S("secret"), cases[i]) != 0, "%s", cases[i]);
    }
}

/* RFC 7677 section 3: user "user", password "pencil". */
Test(password, scram_verifier_of_rfc_7677)
{
    CLEANUP(buf_done) struct buf salt = buf_make(100), out = buf_make(1000);

    cr_assert(base64_decode(&salt, S("W22ZaJ0SNY7soEsUEjb6gQ==")) == 0);
    password_scram_salted(S("pencil"), SCRAM_SHA256, buf_slice(&salt), 4096, &out);
    cr_assert_str_eq(buf_cstr(&out),
                     "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcX"
                     "kuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
}

/* RFC 5802 section 5: the same user. The keys are those that its messages were made with. */
Test(password, scram_verifier_of_rfc_5802)
{
    CLEANUP(buf_done) struct buf salt = buf_make(100), out = buf_make(1000);

    cr_assert(base64_decode(&salt, S("QSXCR+Q6sek8bf92")) == 0);
    password_scram_salted(S("pencil"), SCRAM_SHA1, buf_slice(&salt), 4096, &out);
    cr_assert_str_eq(buf_cstr(&out),
                     "SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y="
                     ":D+CSWLOshSulAsxiupA+qs2/fTE=");
    cr_expect(password_hash_known(buf_cstr(&out)));
    cr_expect(password_verify(S("pencil"), buf_cstr(&out)) == 0);
    cr_expect(password_verify(S("pencils"), buf_cstr(&out)) == -ERR_AUTH);
    cr_expect(
        !password_hash_known("SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcX"
                             "kuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
        "keys of another size");
    cr_expect(!password_hash_known("SCRAM-SHA-512$4096:QSXCR+Q6sek8bf92$YQ==:YQ=="));
}

Test(password, too_long_is_a_limit)
{
    CLEANUP(buf_done) struct buf out = buf_make(100000);
    char text[PASSWORD_MAX + 1];
    memset(text, 'a', sizeof text);

    cr_expect(password_prepare(slice_of(text, PASSWORD_MAX), &out, NULL) == 0);
    cr_expect(password_prepare(slice_of(text, PASSWORD_MAX + 1), &out, NULL) == -ERR_LIMIT);
}

Test(password, random_ones_differ_and_are_easy_to_read)
{
    CLEANUP(buf_done) struct buf a = buf_make(100), b = buf_make(100);

    password_random(&a);
    password_random(&b);
    cr_assert(a.n == 23 && b.n == 23 && !slice_eq(buf_slice(&a), buf_slice(&b)));
    cr_assert(a.p[5] == '-' && a.p[11] == '-' && a.p[17] == '-');
    cr_assert(strcspn(buf_cstr(&a), "il1o0") == 23);
}

struct crowd {
    struct password_gate *gate;
    atomic_int inside, most, refused;
};

static void *visit(void *context)
{
    struct crowd *c = context;

    for (int i = 0; i < 50; i++) {
        int now, most;

        if (password_gate_enter(c->gate) < 0) {
            c->refused++;
            continue;
        }
        now = ++c->inside;
        most = c->most;
        while (now > most && !atomic_compare_exchange_weak(&c->most, &most, now))
            ;
        usleep(200);
        c->inside--;
        password_gate_leave(c->gate);
    }
    return NULL;
}

Test(password, the_gate_lets_so_many_in_and_so_many_wait)
{
    struct crowd c = {.gate = password_gate_new(2, 3)};
    pthread_t threads[16];

    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        cr_assert(pthread_create(&threads[i], NULL, visit, &c) == 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    cr_expect(c.most <= 2 && c.most > 0 && c.refused > 0);
    password_gate_free(c.gate);
}

/* AddressSanitizer ends a program that wants too much, unless told not to. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

/* A hash of 4 TB: who cannot look must not say that the password is wrong. */
Test(password, want_of_memory_is_no_wrong_password)
{
    static const char hash[] = "$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$"
                               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
#ifndef __SANITIZE_ADDRESS__
    struct rlimit room = {(rlim_t)1 << 36, (rlim_t)1 << 36};

    cr_assert_eq(setrlimit(RLIMIT_AS, &room), 0);
#endif
    cr_assert_eq(password_verify(S("secret"), hash), -ERR_UNAVAILABLE);
}
