/* json.c: the streaming JSON reader. Its counterpart, everything that writes JSON, is json_write.c.
 *
 * The reader keeps no stack: the caller's own nesting of enter and next calls is the stack, and `fresh` is the
 * one bit that must survive it. It is true only between an enter and the first key or item, so a container that
 * closes leaves it false: its parent has had at least that value. Only vdb_json_skip and vdb_json_compact walk
 * containers by themselves; they keep one bit per open container.
 */
#include "json.h"

#include "decimal.h"
#include "utf8.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    DEPTH_CEILING = 128, /* bits of struct kinds: no depth_max is larger */
    SHOWN_BYTES_MAX = 40 /* of a value inside an error text */
};

/* ---- Errors ---- */

static bool is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

/* Marks the reader dead at byte `at` and writes "byte AT: text". */
__attribute__((format(printf, 5, 6))) static vdb_status
fail(struct vdb_json *json, struct vdb_err *err, vdb_status status, size_t at, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json->pos = at;
    json->dead = true;
    return vdb_err_set(err, status, "byte %zu: %s", at, text);
}

static vdb_status fail_dead(struct vdb_json *json, struct vdb_err *err)
{
    return vdb_err_set(err, VDB_INVALID, "byte %zu: reading has failed here before", json->pos);
}

/* "byte 17: expected ',' or '}', found 'x'" */
static vdb_status fail_expected(struct vdb_json *json, struct vdb_err *err, size_t at, const char *expected)
{
    if (at >= json->bytes) {
        return fail(json, err, VDB_INVALID, at, "expected %s, found the end of the text", expected);
    }
    unsigned char c = (unsigned char)json->text[at];
    if (c > 0x20 && c < 0x7f) {
        return fail(json, err, VDB_INVALID, at, "expected %s, found '%c'", expected, c);
    }
    return fail(json, err, VDB_INVALID, at, "expected %s, found byte 0x%02x", expected, c);
}

static int shown_bytes(size_t bytes)
{
    return bytes < SHOWN_BYTES_MAX ? (int)bytes : SHOWN_BYTES_MAX;
}

/* ---- Tokens ---- */

const char *vdb_json_type_name(vdb_json_type type)
{
    static const char *const names[] = {
        [VDB_JSON_NULL] = "null",     [VDB_JSON_BOOL] = "boolean", [VDB_JSON_NUMBER] = "number",
        [VDB_JSON_STRING] = "string", [VDB_JSON_ARRAY] = "array",  [VDB_JSON_OBJECT] = "object",
    };
    return names[type];
}

static const char *type_phrase(vdb_json_type type)
{
    static const char *const phrases[] = {
        [VDB_JSON_NULL] = "null",       [VDB_JSON_BOOL] = "a boolean", [VDB_JSON_NUMBER] = "a number",
        [VDB_JSON_STRING] = "a string", [VDB_JSON_ARRAY] = "an array", [VDB_JSON_OBJECT] = "an object",
    };
    return phrases[type];
}

static void skip_white(struct vdb_json *json)
{
    size_t pos = json->pos;
    while (pos < json->bytes) {
        char c = json->text[pos];
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') {
            break;
        }
        pos++;
    }
    json->pos = pos;
}

/* After skip_white: whether the next byte is c. */
static bool next_is(const struct vdb_json *json, char c)
{
    return json->pos < json->bytes && json->text[json->pos] == c;
}

/* The type that a value's first byte promises. */
static bool type_of(char c, vdb_json_type *out)
{
    switch (c) {
    case '{':
        *out = VDB_JSON_OBJECT;
        return true;
    case '[':
        *out = VDB_JSON_ARRAY;
        return true;
    case '"':
        *out = VDB_JSON_STRING;
        return true;
    case 't':
    case 'f':
        *out = VDB_JSON_BOOL;
        return true;
    case 'n':
        *out = VDB_JSON_NULL;
        return true;
    default:
        *out = VDB_JSON_NUMBER;
        return c == '-' || is_digit(c);
    }
}

vdb_status vdb_json_peek(struct vdb_json *json, vdb_json_type *out, struct vdb_err *err)
{
    if (json->dead) {
        return fail_dead(json, err);
    }
    skip_white(json);
    if (json->pos == json->bytes || !type_of(json->text[json->pos], out)) {
        return fail_expected(json, err, json->pos, "a value");
    }
    return VDB_OK;
}

/* Moves to the next value and holds it to the type. */
static vdb_status expect(struct vdb_json *json, vdb_json_type type, struct vdb_err *err)
{
    if (json->dead) {
        return fail_dead(json, err);
    }
    skip_white(json);
    vdb_json_type found;
    if (json->pos == json->bytes || !type_of(json->text[json->pos], &found)) {
        return fail_expected(json, err, json->pos, type_phrase(type));
    }
    if (found != type) {
        return fail(json, err, VDB_INVALID, json->pos, "expected %s, found %s", type_phrase(type),
                    type_phrase(found));
    }
    return VDB_OK;
}

static vdb_status read_literal(struct vdb_json *json, const char *literal, struct vdb_err *err)
{
    size_t at = json->pos;
    for (const char *p = literal; *p != '\0'; p++, at++) {
        if (at == json->bytes || json->text[at] != *p) {
            return fail_expected(json, err, at, literal);
        }
    }
    json->pos = at;
    return VDB_OK;
}

/* At the first byte of a number. */
static vdb_status read_number(struct vdb_json *json, struct vdb_decimal *out, struct vdb_err *err)
{
    if (vdb_decimal_scan(json->text + json->pos, json->bytes - json->pos, out)) {
        json->pos += out->bytes;
        return VDB_OK;
    }
    size_t at = json->pos + out->bytes;
    if (at < json->bytes && is_digit(json->text[at])) {
        return fail(json, err, VDB_INVALID, at, "a number must not begin with 0");
    }
    return fail_expected(json, err, at, "a digit");
}

static int hex_value(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Four hexadecimal digits at `at`. */
static vdb_status read_hex(struct vdb_json *json, size_t at, uint32_t *out, struct vdb_err *err)
{
    *out = 0;
    for (size_t i = at; i < at + 4; i++) {
        int value = i < json->bytes ? hex_value(json->text[i]) : -1;
        if (value < 0) {
            return fail_expected(json, err, i, "a hexadecimal digit");
        }
        *out = *out << 4 | (uint32_t)value;
    }
    return VDB_OK;
}

/* At a backslash at *at; moves *at behind the escape. */
static vdb_status read_escape(struct vdb_json *json, size_t *at, struct vdb_err *err)
{
    size_t pos = *at;
    char c = pos + 1 < json->bytes ? json->text[pos + 1] : '\0';
    if (c == '\0' || strchr("\"\\/bfnrtu", c) == NULL) {
        return fail_expected(json, err, pos + 1, "an escape (one of \" \\ / b f n r t u)");
    }
    if (c != 'u') {
        *at = pos + 2;
        return VDB_OK;
    }
    uint32_t unit;
    VDB_TRY(read_hex(json, pos + 2, &unit, err));
    *at = pos + 6;
    if (unit < 0xd800 || unit > 0xdfff) {
        return VDB_OK;
    }
    bool paired = unit <= 0xdbff && json->bytes - pos >= 8 && memcmp(json->text + pos + 6, "\\u", 2) == 0;
    uint32_t second = 0;
    if (paired) {
        VDB_TRY(read_hex(json, pos + 8, &second, err));
    }
    if (second < 0xdc00 || second > 0xdfff) {
        return fail(json, err, VDB_INVALID, pos, "lone surrogate \\u%04x", unit);
    }
    *at = pos + 12;
    return VDB_OK;
}

/* Marks, in the high bit of each byte, those that end a plain run: controls, '"', '\\' and all beyond ASCII. A
 * borrow can only disturb bytes above a marked one, so the lowest mark is always right. */
static uint64_t not_plain(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t quote = word ^ ones * '"';
    uint64_t backslash = word ^ ones * '\\';
    return ((word - ones * 0x20) | (quote - ones) | (backslash - ones) | word) & ones * 0x80;
}

/* At the opening quote: validates the string, gives its inside, moves behind the closing quote. */
static vdb_status read_string(struct vdb_json *json, struct vdb_str *out, struct vdb_err *err)
{
    const char *text = json->text;
    size_t first = json->pos + 1;
    size_t at = first;
    for (;;) {
        while (json->bytes - at >= sizeof(uint64_t)) {
            uint64_t marks = not_plain(vdb_load_u64(text + at));
            if (marks != 0) {
                at += (size_t)__builtin_ctzll(marks) / 8;
                break;
            }
            at += sizeof(uint64_t);
        }
        if (at == json->bytes) {
            return fail_expected(json, err, at, "'\"' to end the string");
        }
        unsigned char c = (unsigned char)text[at];
        if (c == '"') {
            break;
        }
        if (c == '\\') {
            VDB_TRY(read_escape(json, &at, err));
        } else if (c < 0x20) {
            return fail(json, err, VDB_INVALID, at, "control character 0x%02x in a string must be escaped", c);
        } else if (c < 0x80) {
            at++;
        } else {
            const unsigned char *bytes = (const unsigned char *)text;
            unsigned length = vdb_utf8_sequence(bytes + at, bytes + json->bytes);
            if (length == 0) {
                return fail(json, err, VDB_INVALID, at, "byte 0x%02x is not well-formed UTF-8", c);
            }
            at += length;
        }
    }
    *out = (struct vdb_str){text + first, at - first};
    json->pos = at + 1;
    return VDB_OK;
}

/* ---- Walking ---- */

void vdb_json_init(struct vdb_json *json, const char *text, size_t bytes, unsigned depth_max)
{
    assert(depth_max <= DEPTH_CEILING);
    *json = (struct vdb_json){.text = text, .bytes = bytes};
    json->depth_max = depth_max < DEPTH_CEILING ? depth_max : DEPTH_CEILING;
}

/* At '{' or '['. */
static vdb_status enter(struct vdb_json *json, struct vdb_err *err)
{
    if (json->depth == json->depth_max) {
        return fail(json, err, VDB_LIMIT, json->pos, "nested deeper than %u", json->depth_max);
    }
    json->depth++;
    json->pos++;
    json->fresh = true;
    return VDB_OK;
}

vdb_status vdb_json_enter_object(struct vdb_json *json, struct vdb_err *err)
{
    VDB_TRY(expect(json, VDB_JSON_OBJECT, err));
    return enter(json, err);
}

vdb_status vdb_json_enter_array(struct vdb_json *json, struct vdb_err *err)
{
    VDB_TRY(expect(json, VDB_JSON_ARRAY, err));
    return enter(json, err);
}

/* Inside a container: steps over its end (*more false) or over the comma before the next member. */
static vdb_status next_member(struct vdb_json *json, char close, const char *expected, bool *more,
                              struct vdb_err *err)
{
    if (json->dead) {
        return fail_dead(json, err);
    }
    assert(json->depth > 0);
    skip_white(json);
    if (next_is(json, close)) {
        json->pos++;
        json->depth--;
        json->fresh = false;
        *more = false;
        return VDB_OK;
    }
    if (!json->fresh) {
        if (!next_is(json, ',')) {
            return fail_expected(json, err, json->pos, expected);
        }
        json->pos++;
        skip_white(json);
    }
    json->fresh = false;
    *more = true;
    return VDB_OK;
}

vdb_status vdb_json_next_key(struct vdb_json *json, struct vdb_str *key, bool *more, struct vdb_err *err)
{
    bool fresh = json->fresh;
    VDB_TRY(next_member(json, '}', "',' or '}'", more, err));
    if (!*more) {
        return VDB_OK;
    }
    if (!next_is(json, '"')) {
        return fail_expected(json, err, json->pos, fresh ? "a key or '}'" : "a key");
    }
    VDB_TRY(read_string(json, key, err));
    skip_white(json);
    if (!next_is(json, ':')) {
        return fail_expected(json, err, json->pos, "':'");
    }
    json->pos++;
    return VDB_OK;
}

vdb_status vdb_json_next_item(struct vdb_json *json, bool *more, struct vdb_err *err)
{
    return next_member(json, ']', "',' or ']'", more, err);
}

vdb_status vdb_json_end(struct vdb_json *json, struct vdb_err *err)
{
    if (json->dead) {
        return fail_dead(json, err);
    }
    assert(json->depth == 0);
    skip_white(json);
    if (json->pos < json->bytes) {
        return fail_expected(json, err, json->pos, "the end of the text");
    }
    return VDB_OK;
}

/* ---- Values ---- */

vdb_status vdb_json_null(struct vdb_json *json, struct vdb_err *err)
{
    VDB_TRY(expect(json, VDB_JSON_NULL, err));
    return read_literal(json, "null", err);
}

vdb_status vdb_json_bool(struct vdb_json *json, bool *out, struct vdb_err *err)
{
    VDB_TRY(expect(json, VDB_JSON_BOOL, err));
    *out = json->text[json->pos] == 't';
    return read_literal(json, *out ? "true" : "false", err);
}

static vdb_status fail_range(struct vdb_json *json, struct vdb_err *err, const struct vdb_decimal *decimal,
                             const char *what)
{
    return fail(json, err, VDB_INVALID, (size_t)(decimal->text - json->text),
                "%.*s%s is out of the range of a %s", shown_bytes(decimal->bytes), decimal->text,
                decimal->bytes > SHOWN_BYTES_MAX ? "..." : "", what);
}

vdb_status vdb_json_double(struct vdb_json *json, double *out, struct vdb_err *err)
{
    struct vdb_decimal decimal;
    VDB_TRY(expect(json, VDB_JSON_NUMBER, err));
    VDB_TRY(read_number(json, &decimal, err));
    *out = vdb_decimal_to_double(&decimal);
    return isinf(*out) ? fail_range(json, err, &decimal, "double") : VDB_OK;
}

vdb_status vdb_json_float(struct vdb_json *json, float *out, struct vdb_err *err)
{
    struct vdb_decimal decimal;
    VDB_TRY(expect(json, VDB_JSON_NUMBER, err));
    VDB_TRY(read_number(json, &decimal, err));
    *out = vdb_decimal_to_float(&decimal);
    return isinf(*out) ? fail_range(json, err, &decimal, "32-bit float") : VDB_OK;
}

/* An integer may have 20 digits, one more than a decimal keeps: its own text decides. */
vdb_status vdb_json_u64(struct vdb_json *json, uint64_t *out, struct vdb_err *err)
{
    struct vdb_decimal decimal;
    VDB_TRY(expect(json, VDB_JSON_NUMBER, err));
    VDB_TRY(read_number(json, &decimal, err));
    uint64_t value = 0;
    bool fits = decimal.integer && !decimal.negative;
    for (size_t i = 0; fits && i < decimal.bytes; i++) {
        fits = !__builtin_mul_overflow(value, 10u, &value) &&
               !__builtin_add_overflow(value, (uint64_t)(decimal.text[i] - '0'), &value);
    }
    if (!fits) {
        return fail(json, err, VDB_INVALID, (size_t)(decimal.text - json->text),
                    "expected an integer from 0 to 18446744073709551615, found %.*s%s",
                    shown_bytes(decimal.bytes), decimal.text, decimal.bytes > SHOWN_BYTES_MAX ? "..." : "");
    }
    *out = value;
    return VDB_OK;
}

vdb_status vdb_json_string_raw(struct vdb_json *json, struct vdb_str *out, struct vdb_err *err)
{
    VDB_TRY(expect(json, VDB_JSON_STRING, err));
    return read_string(json, out, err);
}

/* ---- Whole values ---- */

/* Which of the containers that a walk has open are objects. */
struct kinds {
    uint64_t words[DEPTH_CEILING / 64];
};

static void kinds_set(struct kinds *kinds, unsigned depth, bool object)
{
    uint64_t bit = 1ull << depth % 64;
    uint64_t *word = &kinds->words[depth / 64];
    *word = object ? *word | bit : *word & ~bit;
}

static bool kinds_get(const struct kinds *kinds, unsigned depth)
{
    return (kinds->words[depth / 64] >> depth % 64 & 1) != 0;
}

static void put_char(struct vdb_buf *out, char c)
{
    if (out != NULL) {
        vdb_buf_put_u8(out, (uint8_t)c);
    }
}

/* A string without escapes is its own canonical form; the others are unescaped to scratch and written again. */
static void put_canonical(struct vdb_buf *out, struct vdb_str raw, struct vdb_buf *scratch)
{
    if (out == NULL) {
        return;
    }
    if (memchr(raw.data, '\\', raw.bytes) == NULL) {
        vdb_buf_put(out, raw.data - 1, raw.bytes + 2); /* with its quotes */
        return;
    }
    vdb_buf_clear(scratch);
    vdb_json_unescape(raw, scratch);
    out->failed |= scratch->failed;
    vdb_json_put_string(out, (struct vdb_str){(const char *)scratch->data, scratch->bytes});
}

/* One scalar, or the opening of a container. */
static vdb_status walk_token(struct vdb_json *json, struct kinds *kinds, struct vdb_buf *out,
                             struct vdb_buf *scratch, struct vdb_err *err)
{
    vdb_json_type type;
    VDB_TRY(vdb_json_peek(json, &type, err));
    size_t start = json->pos;
    switch (type) {
    case VDB_JSON_NULL:
        VDB_TRY(read_literal(json, "null", err));
        break;
    case VDB_JSON_BOOL:
        VDB_TRY(read_literal(json, json->text[start] == 't' ? "true" : "false", err));
        break;
    case VDB_JSON_NUMBER: {
        struct vdb_decimal decimal;
        VDB_TRY(read_number(json, &decimal, err));
        break;
    }
    case VDB_JSON_STRING: {
        struct vdb_str raw;
        VDB_TRY(read_string(json, &raw, err));
        put_canonical(out, raw, scratch);
        return VDB_OK;
    }
    case VDB_JSON_ARRAY:
    case VDB_JSON_OBJECT:
        VDB_TRY(enter(json, err));
        kinds_set(kinds, json->depth - 1, type == VDB_JSON_OBJECT);
        break;
    }
    if (out != NULL) {
        vdb_buf_put(out, json->text + start, json->pos - start);
    }
    return VDB_OK;
}

/* Reads one value of any type to its end; a copy in canonical form goes to out unless that is NULL. */
static vdb_status walk(struct vdb_json *json, struct vdb_buf *out, struct vdb_buf *scratch, struct vdb_err *err)
{
    struct kinds kinds = {{0}};
    unsigned base = json->depth;
    VDB_TRY(walk_token(json, &kinds, out, scratch, err));
    while (json->depth > base) {
        bool object = kinds_get(&kinds, json->depth - 1);
        bool first = json->fresh;
        bool more = false;
        if (object) {
            struct vdb_str key;
            VDB_TRY(vdb_json_next_key(json, &key, &more, err));
            if (more) {
                if (!first) {
                    put_char(out, ',');
                }
                put_canonical(out, key, scratch);
                put_char(out, ':');
            }
        } else {
            VDB_TRY(vdb_json_next_item(json, &more, err));
            if (more && !first) {
                put_char(out, ',');
            }
        }
        if (more) {
            VDB_TRY(walk_token(json, &kinds, out, scratch, err));
        } else {
            put_char(out, object ? '}' : ']');
        }
    }
    return VDB_OK;
}

vdb_status vdb_json_skip(struct vdb_json *json, struct vdb_str *raw, struct vdb_err *err)
{
    if (json->dead) {
        return fail_dead(json, err);
    }
    skip_white(json);
    size_t start = json->pos;
    VDB_TRY(walk(json, NULL, NULL, err));
    if (raw != NULL) {
        *raw = (struct vdb_str){json->text + start, json->pos - start};
    }
    return VDB_OK;
}

vdb_status vdb_json_compact(struct vdb_json *json, struct vdb_buf *out, struct vdb_err *err)
{
    struct vdb_buf scratch = {0};
    vdb_status status = walk(json, out, &scratch, err);
    vdb_buf_fini(&scratch);
    if (status == VDB_OK && out->failed) {
        json->dead = true;
        status = vdb_err_no_memory(err, "compact JSON");
    }
    return status;
}
