/* SPDX-License-Identifier: MPL-2.0 */
/* The obsolete forms differ in what is missing and in the order, not in what a token looks like: a
 * month is a word, a time has colons, a year has more than two digits or comes behind the day. So
 * tokens are taken as they come and put where they fit. */
#include "lib/mime/date.h"

#include "lib/base/mem.h"
#include "lib/mime/scan.h"

struct reader {
    struct scan s;
    struct civil c;
    bool day, month, year, time, zone, pm, am;
};

static const struct {
    char name[4];
    int8_t hours;
} zones[] = {
    {"UT", 0},   {"GMT", 0},  {"UTC", 0},  {"EST", -5}, {"EDT", -4}, {"CST", -6},
    {"CDT", -5}, {"MST", -7}, {"MDT", -6}, {"PST", -8}, {"PDT", -7},
};

static void take_zone_name(struct reader *r, struct slice word)
{
    if (!r->time || r->zone)
        return;
    /* RFC 5322 section 4.3: single letters and unknown names are as good as "-0000" */
    r->zone = true;
    for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
        if (slice_ieq(word, slice_str(zones[i].name)))
            r->c.zone = zones[i].hours * 60;
    }
}

static void take_word(struct reader *r)
{
    const uint8_t *start = r->s.p;
    struct slice word;

    while (r->s.p < r->s.end && byte_is_alpha(*r->s.p))
        r->s.p++;
    word = slice_of(start, (size_t)(r->s.p - start));
    if (word.n >= 3 && !r->month) {
        for (int i = 0; i < 12; i++) {
            if (slice_ieq(slice_sub(word, 0, 3), slice_str(clock_month_names[i]))) {
                r->c.month = i + 1;
                r->month = true;
                return;
            }
        }
    }
    if (r->time && slice_ieq(word, S("PM")))
        r->pm = true;
    else if (r->time && slice_ieq(word, S("AM")))
        r->am = true;
    else
        take_zone_name(r, word);
}

/* Digits, at most `max` of them; how many there were. */
static size_t digits(struct reader *r, size_t max, int *ret)
{
    size_t n = 0;

    for (*ret = 0; r->s.p < r->s.end && byte_is_digit(*r->s.p) && n < max; n++)
        *ret = *ret * 10 + (*r->s.p++ - '0');
    return n;
}

static bool take_colon(struct reader *r)
{
    const uint8_t *was = r->s.p;

    if (scan_cfws(&r->s) > 0 && *r->s.p == ':') {
        r->s.p++;
        if (scan_cfws(&r->s) > 0 && byte_is_digit(*r->s.p))
            return true;
    }
    r->s.p = was;
    return false;
}

static void take_year(struct reader *r, int number, size_t n)
{
    /* RFC 5322 section 4.3: "00" to "49" are 2000 on, "50" to "99" and three digits 1900 on */
    if (n <= 2)
        number += number < 50 ? 2000 : 1900;
    else if (n == 3)
        number += 1900;
    r->c.year = number;
    r->year = true;
}

static bool take_number(struct reader *r)
{
    int number;
    size_t n = digits(r, 5, &number);

    if (n > 4)
        return false;
    if (!r->time && n <= 2 && take_colon(r)) {
        r->c.hour = number;
        r->time = digits(r, 2, &r->c.minute) > 0;
        if (take_colon(r))
            digits(r, 2, &r->c.second);
        if (r->s.p < r->s.end && *r->s.p == '.') { /* a fraction of a second */
            for (r->s.p++; r->s.p < r->s.end && byte_is_digit(*r->s.p);)
                r->s.p++;
        }
    } else if (n <= 2 && !r->day) {
        r->c.day = number;
        r->day = true;
    } else if (!r->year) {
        take_year(r, number, n);
    }
    return true;
}

/* "+hhmm", "-hhmm", and "+hh:mm". */
static bool take_zone(struct reader *r)
{
    bool west = *r->s.p++ == '-';
    int number;
    size_t n;

    if (!r->time || r->zone || r->s.p == r->s.end || !byte_is_digit(*r->s.p))
        return true; /* a dash between day and month, or nothing of meaning */
    n = digits(r, 4, &number);
    if (n <= 2) {
        number *= 100;
        if (r->s.p < r->s.end && *r->s.p == ':') {
            int minutes;

            r->s.p++;
            digits(r, 2, &minutes);
            number += minutes;
        }
    }
    if (number > 2359 || number % 100 > 59)
        return false;
    r->c.zone = number / 100 * 60 + number % 100;
    if (west)
        r->c.zone = -r->c.zone;
    r->zone = true;
    return true;
}

static bool take_tokens(struct reader *r)
{
    while (scan_cfws(&r->s) > 0) {
        uint8_t c = *r->s.p;
        bool ok = true;

        if (byte_is_alpha(c))
            take_word(r);
        else if (byte_is_digit(c))
            ok = take_number(r);
        else if (c == '+' || c == '-')
            ok = take_zone(r);
        else
            r->s.p++;
        if (!ok)
            return false;
        if (r->day && r->month && r->year && r->time && r->zone)
            break; /* what follows is of no use */
    }
    return r->day && r->month && r->year;
}

int date_parse(struct slice value, struct civil *ret)
{
    struct reader r = {.s = scan_of(slice_sub(value, 0, 1024))};

    if (!take_tokens(&r))
        return -ERR_INVALID;
    if (r.pm && r.c.hour < 12)
        r.c.hour += 12;
    if (r.am && r.c.hour == 12)
        r.c.hour = 0;
    if (r.c.second == 60)
        r.c.second = 59; /* a leap second */
    if (!civil_valid(&r.c))
        return -ERR_INVALID;
    *ret = r.c;
    return 0;
}
