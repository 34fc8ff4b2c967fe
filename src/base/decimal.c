/* decimal.c: correctly rounded decimal to binary conversion, and the shortest decimal that reads back.
 *
 * Reading takes the first of these that can decide:
 *   1. digits <= 2^53 and |exp10| <= 22: digits and the power of ten are both exact doubles, so one
 * multiplication or division rounds correctly (Clinger, How to Read Floating Point Numbers Accurately, PLDI
 * 1990). A float is rounded from that double, except when the double lies exactly between two floats, where
 * rounding twice could go the wrong way.
 *   2. |exp10| <= 27: 5^27 < 2^63, so the number is an exact 128-bit product, or a 128-bit quotient with a
 * remainder; rounding that once is exact by construction. With cut digits the number lies between digits and
 * digits + 1: when both round alike, that is the answer.
 *   3. strtod or strtof of the C locale, on a bounded copy. 800 digits and a sticky one decide every rounding,
 * since the midpoint of two doubles has at most 768 significant digits. Writing tries lengths upwards and proves
 * each candidate by reading it.
 */
#include "decimal.h"

#include <assert.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Step 1 needs each operation rounded to double at once. */
_Static_assert(FLT_EVAL_METHOD == 0, "double arithmetic must not keep excess precision");

enum {
    DIGITS_MAX = 19,             /* 10^19 - 1 < 2^64 */
    CLINGER_EXP10_MAX = 22,      /* 5^22 < 2^53 */
    EXACT_EXP10_MAX = 27,        /* 5^27 < 2^63 */
    SLOW_DIGITS_MAX = 800,       /* more than the 768 that a midpoint can have */
    EXPONENT_LIMIT = 1000000000, /* an exponent is read up to here; past it nothing changes */
    DOUBLE_BITS = 53,
    FLOAT_BITS = 24,
};

__extension__ typedef unsigned __int128 u128;

static const double power_of_ten[CLINGER_EXP10_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

static const uint64_t power_of_five[EXACT_EXP10_MAX + 1] = {
    1u,
    5u,
    25u,
    125u,
    625u,
    3125u,
    15625u,
    78125u,
    390625u,
    1953125u,
    9765625u,
    48828125u,
    244140625u,
    1220703125u,
    6103515625u,
    30517578125u,
    152587890625u,
    762939453125u,
    3814697265625u,
    19073486328125u,
    95367431640625u,
    476837158203125u,
    2384185791015625u,
    11920928955078125u,
    59604644775390625u,
    298023223876953125u,
    1490116119384765625u,
    7450580596923828125u,
};

static bool is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

/* ---- Scanning ---- */

/* Whether the eight bytes of a little-endian word are all '0' to '9': their high nibble is 3, and stays 3 after
 * adding 6. */
static bool eight_digits(uint64_t word)
{
    return (((word & 0xf0f0f0f0f0f0f0f0u) | ((word + 0x0606060606060606u) & 0xf0f0f0f0f0f0f0f0u) >> 4) ==
            0x3333333333333333u);
}

/* Their value: pairs, then fours, then eight, each by one multiplication. */
static uint32_t eight_digits_value(uint64_t word)
{
    word -= 0x3030303030303030u;
    word = word * 10 + (word >> 8);
    uint64_t low = (word & 0x000000ff000000ffu) * (100u + (1000000ull << 32));
    uint64_t high = (word >> 16 & 0x000000ff000000ffu) * (1u + (10000ull << 32));
    return (uint32_t)((low + high) >> 32);
}

static const char *read_digits(const char *p, const char *end, uint64_t *value)
{
    uint64_t digits = *value;
    while (end - p >= 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        if (!eight_digits(word)) {
            break;
        }
        digits = digits * 100000000u + eight_digits_value(word);
        p += 8;
    }
    while (p < end && is_digit(*p)) {
        digits = digits * 10 + (uint64_t)(*p - '0');
        p++;
    }
    *value = digits;
    return p;
}

/* The exponent after 'e'; NULL (and *bad) when no digit follows. */
static const char *read_exponent(const char *p, const char *end, int64_t *exponent, const char **bad)
{
    bool negative = false;
    if (p < end && (*p == '+' || *p == '-')) {
        negative = *p == '-';
        p++;
    }
    if (p == end || !is_digit(*p)) {
        *bad = p;
        return NULL;
    }
    int64_t value = 0;
    for (; p < end && is_digit(*p); p++) {
        if (value < EXPONENT_LIMIT) {
            value = value * 10 + (*p - '0');
        }
    }
    *exponent = negative ? -value : value;
    return p;
}

/* More than 19 digits stand between first and end: keeps the first 19 significant ones. */
static void cut_digits(const char *first, const char *end, struct vdb_decimal *out)
{
    uint64_t digits = 0;
    unsigned kept = 0;
    int64_t dropped = 0;
    bool cut = false;
    for (const char *p = first; p < end; p++) {
        if (*p == '.') {
            continue;
        }
        if (kept < DIGITS_MAX) {
            digits = digits * 10 + (uint64_t)(*p - '0');
            kept += digits != 0;
        } else {
            dropped++;
            cut |= *p != '0';
        }
    }
    out->digits = digits;
    out->exp10 += dropped;
    out->cut = cut;
}

bool vdb_decimal_scan(const char *text, size_t bytes, struct vdb_decimal *out)
{
    const char *p = text;
    const char *end = text + bytes;
    const char *bad = NULL;
    uint64_t digits = 0;
    *out = (struct vdb_decimal){.text = text, .integer = true};
    if (p < end && *p == '-') {
        out->negative = true;
        p++;
    }
    const char *first = p;
    if (p == end || !is_digit(*p)) {
        out->bytes = (size_t)(p - text);
        return false;
    }
    if (*p == '0') {
        p++;
        if (p < end && is_digit(*p)) {
            out->bytes = (size_t)(p - text);
            return false;
        }
    } else {
        p = read_digits(p, end, &digits);
    }
    size_t digit_count = (size_t)(p - first);
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        p = read_digits(p, end, &digits);
        if (p == fraction) {
            out->bytes = (size_t)(p - text);
            return false;
        }
        out->integer = false;
        out->exp10 = fraction - p;
        digit_count += (size_t)(p - fraction);
    }
    const char *digits_end = p;
    if (p < end && (*p == 'e' || *p == 'E')) {
        int64_t exponent = 0;
        p = read_exponent(p + 1, end, &exponent, &bad);
        if (p == NULL) {
            out->bytes = (size_t)(bad - text);
            return false;
        }
        out->integer = false;
        out->exp10 += exponent;
    }
    out->digits = digits;
    out->bytes = (size_t)(p - text);
    if (digit_count > DIGITS_MAX) {
        cut_digits(first, digits_end, out);
    }
    return true;
}

/* ---- Rounding ---- */

/* digits * 10^exp10 rounded once to a binary mantissa of `bits`, exactly. digits > 0, |exp10| <= 27, bits <= 53;
 * the result is far inside the range of normal doubles. */
static double round_exactly(uint64_t digits, int exp10, unsigned bits)
{
    unsigned shift_up = (unsigned)__builtin_clzll(digits);
    uint64_t normal = digits << shift_up;
    u128 wide;
    int exp2 = exp10 - (int)shift_up; /* the value is wide * 2^exp2; 10^n = 5^n * 2^n */
    if (exp10 >= 0) {
        wide = (u128)normal * power_of_five[exp10];
    } else {
        uint64_t five = power_of_five[-exp10];
        unsigned five_up = (unsigned)__builtin_clzll(five);
        five <<= five_up;
        u128 dividend = (u128)normal << 63;
        uint64_t quotient = (uint64_t)(dividend / five); /* 63 or 64 bits: normal < 2 * five */
        bool rest = (u128)quotient * five != dividend;
        wide = (u128)quotient << 1 | rest;
        exp2 += (int)five_up - 64;
    }
    uint64_t top = (uint64_t)(wide >> 64);
    unsigned length = top != 0 ? 128 - (unsigned)__builtin_clzll(top)
                               : 64 - (unsigned)__builtin_clzll((uint64_t)wide);
    unsigned drop = length - bits; /* wide has at least 63 bits */
    uint64_t mantissa = (uint64_t)(wide >> drop);
    u128 rest = wide & (((u128)1 << drop) - 1);
    u128 half = (u128)1 << (drop - 1);
    if (rest > half || (rest == half && (mantissa & 1) != 0)) {
        mantissa++;
    }
    uint64_t scale_bits = (uint64_t)(1023 + exp2 + (int)drop) << 52;
    double scale;
    memcpy(&scale, &scale_bits, sizeof scale);
    return (double)mantissa * scale;
}

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void c_locale_create(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    assert(c_locale != (locale_t)0); /* the C locale is built into the library: no file, no allocation */
}

/* The number without its sign as `digits e exponent`, short enough for a buffer of fixed size. */
static void write_bounded(const struct vdb_decimal *decimal, char *out, size_t capacity)
{
    size_t kept = 0;
    int64_t significant = 0;
    bool sticky = false;
    for (size_t i = 0; i < decimal->bytes && decimal->text[i] != 'e' && decimal->text[i] != 'E'; i++) {
        char c = decimal->text[i];
        if (!is_digit(c) || (c == '0' && significant == 0)) {
            continue;
        }
        significant++;
        if (kept < SLOW_DIGITS_MAX) {
            out[kept++] = c;
        } else {
            sticky |= c != '0';
        }
    }
    int64_t exp10 = decimal->exp10 - (significant > DIGITS_MAX ? significant - DIGITS_MAX : 0);
    exp10 += significant - (int64_t)kept;
    if (sticky) {
        out[kept++] = '1';
        exp10--;
    }
    snprintf(out + kept, capacity - kept, "e%lld", (long long)exp10);
}

static double slow_double(const struct vdb_decimal *decimal)
{
    char text[SLOW_DIGITS_MAX + 32];
    write_bounded(decimal, text, sizeof text);
    pthread_once(&c_locale_once, c_locale_create);
    return strtod_l(text, NULL, c_locale);
}

static float slow_float(const struct vdb_decimal *decimal)
{
    char text[SLOW_DIGITS_MAX + 32];
    write_bounded(decimal, text, sizeof text);
    pthread_once(&c_locale_once, c_locale_create);
    return strtof_l(text, NULL, c_locale);
}

static bool within(int64_t exp10, int64_t limit)
{
    return exp10 >= -limit && exp10 <= limit;
}

/* Step 1 of the file head. */
static double round_by_double(uint64_t digits, int exp10)
{
    return exp10 < 0 ? (double)digits / power_of_ten[-exp10] : (double)digits * power_of_ten[exp10];
}

/* Step 2 of the file head; false when it cannot decide. */
static bool round_by_integers(const struct vdb_decimal *decimal, unsigned bits, double *out)
{
    if (!within(decimal->exp10, EXACT_EXP10_MAX)) {
        return false;
    }
    *out = round_exactly(decimal->digits, (int)decimal->exp10, bits);
    return !decimal->cut || round_exactly(decimal->digits + 1, (int)decimal->exp10, bits) == *out;
}

static bool clinger_applies(const struct vdb_decimal *decimal)
{
    return !decimal->cut && decimal->digits <= 1ull << DOUBLE_BITS && within(decimal->exp10, CLINGER_EXP10_MAX);
}

double vdb_decimal_to_double(const struct vdb_decimal *decimal)
{
    double value;
    if (decimal->digits == 0) {
        value = 0.0;
    } else if (clinger_applies(decimal)) {
        value = round_by_double(decimal->digits, (int)decimal->exp10);
    } else if (!round_by_integers(decimal, DOUBLE_BITS, &value)) {
        value = slow_double(decimal);
    }
    return decimal->negative ? -value : value;
}

/* Whether a double lies exactly between two neighbouring floats: the 29 bits that a float lacks are 100...0. Only
 * for doubles in the normal range of floats. */
static bool between_floats(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x1fffffffu) == 0x10000000u;
}

float vdb_decimal_to_float(const struct vdb_decimal *decimal)
{
    float value;
    double wide;
    if (decimal->digits == 0) {
        value = 0.0f;
    } else if (clinger_applies(decimal) &&
               !between_floats(wide = round_by_double(decimal->digits, (int)decimal->exp10))) {
        value = (float)wide; /* 1e-22 to 2^53 * 1e22: neither subnormal nor infinite as a float */
    } else if (round_by_integers(decimal, FLOAT_BITS, &wide)) {
        value = wide <= (double)FLT_MAX ? (float)wide : INFINITY;
    } else {
        value = slow_float(decimal);
    }
    return decimal->negative ? -value : value;
}

/* ---- The shortest decimal ---- */

/* One width's parameters: lengths below `first` need no try, since first digits always survive the way through
 * the binary form (FLT_DIG, DBL_DIG), and `last` always suffice. */
struct width {
    unsigned bits;
    int first, last;
    double normal_min;
    long double doubt; /* how near to a tie the scaled value's error could reach, with room to spare */
};

static const struct width float_width = {FLOAT_BITS, FLT_DIG, FLT_DECIMAL_DIG, 0x1p-126, 0x1p-20L};
static const struct width double_width = {DOUBLE_BITS, DBL_DIG, DBL_DECIMAL_DIG, 0x1p-1022, 0x1p-7L};

/* A worker may run with denormals-are-zero, so what follows neither compares nor converts a subnormal in floating
 * point: it looks at the bits. */
static bool same_double(double a, double b)
{
    /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison, cert-exp42-c, cert-flp37-c): the bits, on purpose */
    return memcmp(&a, &b, sizeof a) == 0;
}

static double widen(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits < 0x00800000u ? (double)bits * 0x1p-149 : (double)value; /* positive here */
}

static void strip_zeros(uint64_t *digits, int *exp10)
{
    while (*digits % 10 == 0) {
        *digits /= 10;
        (*exp10)++;
    }
}

/* Scales by one operation of long double: the error is below 2^-8 of the last of 17 digits with a mantissa of 64
 * bits (x87), and a candidate counts only after it was read back. False leaves it to the slow way: outside the
 * range of step 2, or too near to a tie to know the nearest candidate. */
static bool shortest_quickly(double value, const struct width *width, uint64_t *digits, int *exp10)
{
    int exp2;
    (void)frexp(value, &exp2);
    int magnitude = (int)floor((exp2 - 1) * 0.30102999566398120); /* log10 rounded down; perhaps one too small */
    if (LDBL_MANT_DIG < 64 || !within(magnitude, CLINGER_EXP10_MAX)) {
        return false;
    }
    if ((magnitude >= -1 && magnitude < CLINGER_EXP10_MAX && value >= power_of_ten[magnitude + 1]) ||
        (magnitude < -1 && value * power_of_ten[-magnitude - 1] >= 1.0)) {
        magnitude++;
    }
    for (int length = width->first; length <= width->last; length++) {
        int scale = length - 1 - magnitude;
        if (!within(scale, EXACT_EXP10_MAX)) {
            return false;
        }
        /* 10^n = 5^n * 2^n is exact in 64 bits up to n = 27. */
        long double power = ldexpl((long double)power_of_five[abs(scale)], abs(scale));
        long double scaled = scale >= 0 ? (long double)value * power : (long double)value / power;
        uint64_t candidate = (uint64_t)scaled;
        long double fraction = scaled - (long double)candidate;
        if (fabsl(fraction - 0.5L) < width->doubt) {
            return false;
        }
        candidate += fraction > 0.5L;
        if (candidate > 0 && round_exactly(candidate, -scale, width->bits) == value) {
            *digits = candidate;
            *exp10 = -scale;
            strip_zeros(digits, exp10);
            return true;
        }
    }
    return false;
}

/* The digits of printf's %e, whatever the locale's decimal point is. */
static void print_digits(double value, int length, uint64_t *digits, int *exp10)
{
    char text[64];
    snprintf(text, sizeof text, "%.*e", length - 1, value);
    *digits = 0;
    const char *p = text;
    for (; *p != 'e'; p++) {
        if (is_digit(*p)) {
            *digits = *digits * 10 + (uint64_t)(*p - '0');
        }
    }
    *exp10 = (int)strtol(p + 1, NULL, 10) - (length - 1);
    strip_zeros(digits, exp10);
}

static void shortest_slowly(double value, const struct width *width, uint64_t *digits, int *exp10)
{
    /* A subnormal holds fewer digits than a normal number: its shortest form may be shorter than `first`. */
    int first = value < width->normal_min ? 1 : width->first;
    for (int length = first; length <= width->last; length++) {
        print_digits(value, length, digits, exp10);
        char text[48];
        int bytes = snprintf(text, sizeof text, "%llue%d", (unsigned long long)*digits, *exp10);
        struct vdb_decimal decimal;
        bool well_formed = vdb_decimal_scan(text, (size_t)bytes, &decimal);
        assert(well_formed);
        (void)well_formed;
        double back = width == &float_width ? widen(vdb_decimal_to_float(&decimal))
                                            : vdb_decimal_to_double(&decimal);
        if (same_double(back, value)) {
            return;
        }
    }
}

void vdb_decimal_shortest_double(double value, uint64_t *digits, int *exp10)
{
    assert(isfinite(value) && !signbit(value) && !same_double(value, 0.0));
    if (!shortest_quickly(value, &double_width, digits, exp10)) {
        shortest_slowly(value, &double_width, digits, exp10);
    }
}

void vdb_decimal_shortest_float(float value, uint64_t *digits, int *exp10)
{
    double wide = widen(value);
    assert(isfinite(wide) && !signbit(wide) && !same_double(wide, 0.0));
    if (!shortest_quickly(wide, &float_width, digits, exp10)) {
        shortest_slowly(wide, &float_width, digits, exp10);
    }
}
