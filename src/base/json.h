/* json.h: a bounded, streaming JSON reader (RFC 8259) and a JSON writer over vdb_buf.
 *
 * Why our own: bodies carry vectors (millions of numbers), which a tree-building library reads at tens of MB/s;
 * this one allocates nothing and hands numbers straight to the caller's array. It is held against jansson by a
 * differential fuzzer. See docs/decisions/0002-own-json-reader.md.
 *
 * Strict: depth is limited, UTF-8 is checked, lone surrogates, leading zeros, trailing commas and anything after
 * the value are refused. Errors name the byte offset: `byte 17: expected ',' or '}', found 'x'`.
 *
 * Use: init, then walk with enter / next / value calls, then vdb_json_end. A value must be consumed (or skipped)
 * before the next key or item is asked for. After an error the reader is dead: every later call fails the same
 * way. Threads: confined.
 */
#ifndef VDB_BASE_JSON_H
#define VDB_BASE_JSON_H

#include "bytes.h"
#include "err.h"

typedef enum vdb_json_type {
    VDB_JSON_NULL,
    VDB_JSON_BOOL,
    VDB_JSON_NUMBER,
    VDB_JSON_STRING,
    VDB_JSON_ARRAY,
    VDB_JSON_OBJECT,
} vdb_json_type;

const char *vdb_json_type_name(vdb_json_type type); /* "null", "boolean", "number", ... */

struct vdb_json {
    const char *text;
    size_t bytes;
    size_t pos;
    unsigned depth;
    unsigned depth_max;
    bool fresh; /* just entered a container: the next key or item needs no comma */
    bool dead;
};

/* Reads text[0..bytes); it must outlive the reader and need not be NUL-terminated. */
void vdb_json_init(struct vdb_json *json, const char *text, size_t bytes, unsigned depth_max);

/* The type of the next value, by its first byte; consumes only white space. */
vdb_status vdb_json_peek(struct vdb_json *json, vdb_json_type *out, struct vdb_err *err) VDB_MUST_CHECK;

/* Objects: enter, then while (next_key gives more) consume one value. *key is raw: the bytes between the quotes,
 * with escapes still in (well-formed UTF-8, escapes valid). Compare with vdb_json_raw_is. */
vdb_status vdb_json_enter_object(struct vdb_json *json, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_json_next_key(struct vdb_json *json, struct vdb_str *key, bool *more,
                             struct vdb_err *err) VDB_MUST_CHECK;

/* Arrays: enter, then while (next_item gives more) consume one value. */
vdb_status vdb_json_enter_array(struct vdb_json *json, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_json_next_item(struct vdb_json *json, bool *more, struct vdb_err *err) VDB_MUST_CHECK;

/* Values. A value of another type is VDB_INVALID: `byte 9: expected a string, found a number`. */
vdb_status vdb_json_null(struct vdb_json *json, struct vdb_err *err) VDB_MUST_CHECK;
vdb_status vdb_json_bool(struct vdb_json *json, bool *out, struct vdb_err *err) VDB_MUST_CHECK;
/* Correctly rounded to double; an overflow to infinity is VDB_INVALID. */
vdb_status vdb_json_double(struct vdb_json *json, double *out, struct vdb_err *err) VDB_MUST_CHECK;
/* Correctly rounded to float straight from the decimal digits (not by way of double). An overflow is VDB_INVALID.
 */
vdb_status vdb_json_float(struct vdb_json *json, float *out, struct vdb_err *err) VDB_MUST_CHECK;
/* An integer without fraction or exponent in [0, 2^64); else VDB_INVALID. */
vdb_status vdb_json_u64(struct vdb_json *json, uint64_t *out, struct vdb_err *err) VDB_MUST_CHECK;
/* The raw bytes between the quotes, validated, escapes still in. */
vdb_status vdb_json_string_raw(struct vdb_json *json, struct vdb_str *out, struct vdb_err *err) VDB_MUST_CHECK;
/* Steps over any value, fully validated; *raw (may be NULL) gets its text. */
vdb_status vdb_json_skip(struct vdb_json *json, struct vdb_str *raw, struct vdb_err *err) VDB_MUST_CHECK;
/* Only white space is left. */
vdb_status vdb_json_end(struct vdb_json *json, struct vdb_err *err) VDB_MUST_CHECK;

/* Copies the next value to out in canonical compact form: no white space between tokens, every string unescaped
 * and written again by vdb_json_put_string (so equal strings are equal bytes), numbers, key order and duplicates
 * as they came. Iterative in depth. */
vdb_status vdb_json_compact(struct vdb_json *json, struct vdb_buf *out, struct vdb_err *err) VDB_MUST_CHECK;

/* Whether a raw (escaped) string equals plain UTF-8 text. */
bool vdb_json_raw_is(struct vdb_str raw, const char *text);

/* Appends the unescaped form of a raw string that the reader has validated. */
void vdb_json_unescape(struct vdb_str raw, struct vdb_buf *out);

/* Writer. put_string writes quotes and the shortest escapes; ill-formed UTF-8 in `text` becomes U+FFFD. */
void vdb_json_put_string(struct vdb_buf *out, struct vdb_str text);
/* The shortest decimal that reads back to the same float or double; not for NaN or infinities (asserted). */
void vdb_json_put_float(struct vdb_buf *out, float value);
void vdb_json_put_double(struct vdb_buf *out, double value);

#endif
