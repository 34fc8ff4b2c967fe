/* json_write.c: what makes text: unescaping, and the writer of strings and numbers (contract: json.h). */
#include "json.h"

#include "decimal.h"
#include "utf8.h"

#include <assert.h>
#include <math.h>

/* ---- Unescaping ---- */

static uint32_t hex_unit(const char *p)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        value = value << 4 | (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

/* At a backslash of a validated raw string: writes the character to out (4 bytes), its length to *length, and
 * returns the escape's length: 2, 6 or 12. */
static size_t decode_escape(const char *p, char out[4], unsigned *length)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (p[1] != 'u') {
        const char *found = strchr(from, p[1]);
        assert(found != NULL && *found != '\0');
        out[0] = to[found - from];
        *length = 1;
        return 2;
    }
    uint32_t code = hex_unit(p + 2);
    size_t used = 6;
    if (code >= 0xd800 && code <= 0xdbff) {
        code = 0x10000 + ((code - 0xd800) << 10) + (hex_unit(p + 8) - 0xdc00);
        used = 12;
    }
    *length = vdb_utf8_encode(code, out);
    return used;
}

void vdb_json_unescape(struct vdb_str raw, struct vdb_buf *out)
{
    const char *p = raw.data;
    const char *end = raw.data + raw.bytes;
    vdb_buf_reserve(out, raw.bytes); /* the unescaped form is never longer */
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        if (escape == NULL) {
            escape = end;
        }
        vdb_buf_put(out, p, (size_t)(escape - p));
        p = escape;
        if (p < end) {
            char bytes[4];
            unsigned length;
            p += decode_escape(p, bytes, &length);
            vdb_buf_put(out, bytes, length);
        }
    }
}

bool vdb_json_raw_is(struct vdb_str raw, const char *text)
{
    const char *p = raw.data;
    const char *end = raw.data + raw.bytes;
    while (p < end) {
        if (*p != '\\') {
            if (*p != *text || *text == '\0') {
                return false;
            }
            p++;
            text++;
            continue;
        }
        char bytes[4];
        unsigned length;
        p += decode_escape(p, bytes, &length);
        for (unsigned i = 0; i < length; i++, text++) {
            if (*text != bytes[i] || *text == '\0') {
                return false;
            }
        }
    }
    return *text == '\0';
}

/* ---- Writing ---- */

static void put_control(struct vdb_buf *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    switch (c) {
    case '\b':
        vdb_buf_put(out, "\\b", 2);
        break;
    case '\f':
        vdb_buf_put(out, "\\f", 2);
        break;
    case '\n':
        vdb_buf_put(out, "\\n", 2);
        break;
    case '\r':
        vdb_buf_put(out, "\\r", 2);
        break;
    case '\t':
        vdb_buf_put(out, "\\t", 2);
        break;
    default: {
        char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
        vdb_buf_put(out, escape, sizeof escape);
        break;
    }
    }
}

void vdb_json_put_string(struct vdb_buf *out, struct vdb_str text)
{
    const unsigned char *p = (const unsigned char *)text.data;
    const unsigned char *end = p + text.bytes;
    const unsigned char *run = p; /* bytes from run to p stand for themselves */
    vdb_buf_put_u8(out, '"');
    while (p < end) {
        unsigned length = vdb_utf8_sequence(p, end);
        if (length > 1 || (length == 1 && *p >= 0x20 && *p != '"' && *p != '\\')) {
            p += length;
            continue;
        }
        vdb_buf_put(out, run, (size_t)(p - run));
        if (length == 0) {
            vdb_buf_put(out, "\xef\xbf\xbd", 3); /* U+FFFD for each byte that begins no character */
        } else if (*p < 0x20) {
            put_control(out, *p);
        } else {
            char escape[2] = {'\\', (char)*p};
            vdb_buf_put(out, escape, sizeof escape);
        }
        p++;
        run = p;
    }
    vdb_buf_put(out, run, (size_t)(p - run));
    vdb_buf_put_u8(out, '"');
}

/* Decimal digits of value, most significant first; returns their number. */
static int write_digits(uint64_t value, char out[20])
{
    char reversed[20];
    int count = 0;
    do {
        reversed[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (int i = 0; i < count; i++) {
        out[i] = reversed[count - 1 - i];
    }
    return count;
}

/* digits * 10^exp10, plain where that is short (0.00012, 1500, 3.25), else with an exponent (1.5e-7, 1e22). */
static void put_decimal(struct vdb_buf *out, bool negative, uint64_t digits, int exp10)
{
    char text[20];
    char line[48];
    int count = write_digits(digits, text);
    int point = count + exp10; /* digits before the decimal point, when positive */
    char *p = line;
    if (negative) {
        *p++ = '-';
    }
    if (point > -4 && point <= 0) {
        *p++ = '0';
        *p++ = '.';
        memset(p, '0', (size_t)-point);
        p += -point;
        memcpy(p, text, (size_t)count);
        p += count;
    } else if (point > 0 && point <= 17) {
        int whole = point < count ? point : count;
        memcpy(p, text, (size_t)whole);
        p += whole;
        if (point > count) {
            memset(p, '0', (size_t)(point - count));
            p += point - count;
        } else if (whole < count) {
            *p++ = '.';
            memcpy(p, text + whole, (size_t)(count - whole));
            p += count - whole;
        }
    } else {
        *p++ = text[0];
        if (count > 1) {
            *p++ = '.';
            memcpy(p, text + 1, (size_t)(count - 1));
            p += count - 1;
        }
        *p++ = 'e';
        if (point < 1) {
            *p++ = '-';
        }
        p += write_digits((uint64_t)(point < 1 ? 1 - point : point - 1), p);
    }
    vdb_buf_put(out, line, (size_t)(p - line));
}

/* The absolute value is below 2^53 and has no fraction. Looks at the bits first: with denormals-are-zero a
 * subnormal would compare equal to 0. */
static bool small_integer(double magnitude, uint64_t *out)
{
    uint64_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    if (bits != 0 && bits >> 52 == 0) {
        return false;
    }
    if (magnitude >= 0x1p53) {
        return false;
    }
    *out = (uint64_t)magnitude;
    return (double)*out == magnitude;
}

void vdb_json_put_double(struct vdb_buf *out, double value)
{
    assert(isfinite(value));
    double magnitude = fabs(value);
    uint64_t digits;
    int exp10 = 0;
    if (!small_integer(magnitude, &digits)) {
        vdb_decimal_shortest_double(magnitude, &digits, &exp10);
    }
    put_decimal(out, signbit(value) != 0, digits, exp10);
}

void vdb_json_put_float(struct vdb_buf *out, float value)
{
    assert(isfinite(value));
    float magnitude = fabsf(value);
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    bool subnormal = bits != 0 && bits >> 23 == 0;
    uint64_t digits;
    int exp10 = 0;
    /* From 2^24 on an integer may have more digits than a float needs. */
    if (subnormal || magnitude >= 0x1p24f || !small_integer((double)magnitude, &digits)) {
        vdb_decimal_shortest_float(magnitude, &digits, &exp10);
    }
    put_decimal(out, signbit(value) != 0, digits, exp10);
}
