/* npy.c: see npy.h.
 *
 * The header is a Python dictionary literal; this reads the small part of that language which NumPy writes:
 * strings without escapes, True and False, tuples of decimal integers (with the `L` that Python 2 put behind
 * them). Everything else is refused by byte offset in the file. Keys may come in any order, each exactly once.
 *
 * Order of trust: magic, version, header length (against the file's size and HEADER_BYTES_MAX), header text, then
 * the size that it claims against the size that the file has; only after that is memory for the values asked for.
 */
#include "npy.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAGIC_BYTES = 6,
    START_BYTES_MAX = 12, /* magic, version, and the longer of the two length fields */
    HEADER_BYTES_MAX =
        65535, /* all that version 1 can say; versions 2 and 3 need more only for structured types */
    DESCR_BYTES_MAX = 16,
    AXES_MAX = 32, /* NumPy's own limit on the axes of an array */
};

/* What the dictionary said. */
struct fields {
    bool has_descr;
    bool has_order;
    bool has_shape;
    char descr[DESCR_BYTES_MAX + 1];
    bool fortran_order;
    unsigned axes;
    uint64_t shape[2]; /* the first two */
};

/* The header's text, with its place in the file for messages. */
struct text {
    const char *data;
    size_t bytes;
    size_t pos;
    uint64_t offset; /* of data[0] in the file */
};

static uint64_t place(const struct text *text)
{
    return text->offset + text->pos;
}

static char peek(const struct text *text)
{
    return text->pos < text->bytes ? text->data[text->pos] : '\0';
}

static void skip_space(struct text *text)
{
    while (peek(text) == ' ' || peek(text) == '\n' || peek(text) == '\t' || peek(text) == '\r') {
        text->pos++;
    }
}

static vdb_status expect(struct text *text, char wanted, struct vdb_err *err)
{
    skip_space(text);
    if (peek(text) != wanted) {
        return vdb_err_set(err, VDB_INVALID, "header: byte %" PRIu64 ": expected '%c'", place(text), wanted);
    }
    text->pos++;
    return VDB_OK;
}

/* A quoted run of printable characters without escapes, borrowed from the text. */
static vdb_status read_string(struct text *text, struct vdb_str *out, struct vdb_err *err)
{
    skip_space(text);
    char quote = peek(text);
    if (quote != '\'' && quote != '"') {
        return vdb_err_set(err, VDB_INVALID, "header: byte %" PRIu64 ": expected a quoted string", place(text));
    }
    text->pos++;
    size_t start = text->pos;
    while (peek(text) != quote) {
        char c = peek(text);
        if (c < 0x20 || c > 0x7e || c == '\\') { /* also the end of the text, which peeks as 0 */
            return vdb_err_set(err, VDB_INVALID,
                               "header: byte %" PRIu64
                               ": a string has an escape or unprintable character, or no end",
                               place(text));
        }
        text->pos++;
    }
    *out = (struct vdb_str){text->data + start, text->pos - start};
    text->pos++;
    return VDB_OK;
}

static vdb_status read_descr(struct text *text, struct fields *out, struct vdb_err *err)
{
    skip_space(text);
    if (peek(text) == '[') {
        return vdb_err_set(err, VDB_INVALID,
                           "header: descr is a structured type; allowed: '<f4', '<f2', '|u1', '|i1', '<i4'");
    }
    struct vdb_str descr;
    VDB_TRY(read_string(text, &descr, err));
    if (descr.bytes > DESCR_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "header: descr has %zu characters, at most %d are allowed",
                           descr.bytes, DESCR_BYTES_MAX);
    }
    memcpy(out->descr, descr.data, descr.bytes);
    out->descr[descr.bytes] = '\0';
    return VDB_OK;
}

static vdb_status read_order(struct text *text, struct fields *out, struct vdb_err *err)
{
    skip_space(text);
    const char *at = text->data + text->pos;
    size_t left = text->bytes - text->pos;
    if (left >= 4 && memcmp(at, "True", 4) == 0) {
        out->fortran_order = true;
        text->pos += 4;
    } else if (left >= 5 && memcmp(at, "False", 5) == 0) {
        out->fortran_order = false;
        text->pos += 5;
    } else {
        return vdb_err_set(err, VDB_INVALID, "header: byte %" PRIu64 ": fortran_order must be True or False",
                           place(text));
    }
    return VDB_OK;
}

static vdb_status read_integer(struct text *text, uint64_t *out, struct vdb_err *err)
{
    skip_space(text);
    uint64_t value = 0;
    if (peek(text) < '0' || peek(text) > '9') {
        return vdb_err_set(err, VDB_INVALID, "header: byte %" PRIu64 ": shape needs integers of 0 or more",
                           place(text));
    }
    while (peek(text) >= '0' && peek(text) <= '9') {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(peek(text) - '0'), &value)) {
            return vdb_err_set(err, VDB_INVALID, "header: byte %" PRIu64 ": a number in shape is 2^64 or more",
                               place(text));
        }
        text->pos++;
    }
    if (peek(text) == 'L') {
        text->pos++;
    }
    *out = value;
    return VDB_OK;
}

static vdb_status read_shape(struct text *text, struct fields *out, struct vdb_err *err)
{
    VDB_TRY(expect(text, '(', err));
    out->axes = 0;
    bool comma = true; /* "(5)" is a number to Python, "(5,)" a tuple */
    for (;;) {
        skip_space(text);
        if (peek(text) == ')' && (comma || out->axes > 1)) {
            text->pos++;
            return VDB_OK;
        }
        if (!comma) {
            return vdb_err_set(err, VDB_INVALID, "header: byte %" PRIu64 ": expected ',' in shape", place(text));
        }
        uint64_t value = 0;
        VDB_TRY(read_integer(text, &value, err));
        if (out->axes == AXES_MAX) {
            return vdb_err_set(err, VDB_INVALID, "header: shape has more than %d axes, 1 or 2 are allowed",
                               AXES_MAX);
        }
        if (out->axes < 2) {
            out->shape[out->axes] = value;
        }
        out->axes++;
        skip_space(text);
        comma = peek(text) == ',';
        text->pos += comma;
    }
}

/* One value, by its key; a key that is unknown or comes twice is refused. */
static vdb_status read_field(struct text *text, struct vdb_str key, struct fields *out, struct vdb_err *err)
{
    bool *seen = vdb_str_is(key, "descr")           ? &out->has_descr
                 : vdb_str_is(key, "fortran_order") ? &out->has_order
                 : vdb_str_is(key, "shape")         ? &out->has_shape
                                                    : NULL;
    int shown = key.bytes < 40 ? (int)key.bytes : 40;
    if (seen == NULL) {
        return vdb_err_set(err, VDB_INVALID,
                           "header: unknown key '%.*s'; exactly descr, fortran_order and shape are allowed",
                           shown, key.data);
    }
    if (*seen) {
        return vdb_err_set(err, VDB_INVALID, "header: key '%.*s' comes twice", shown, key.data);
    }
    *seen = true;
    return seen == &out->has_descr   ? read_descr(text, out, err)
           : seen == &out->has_order ? read_order(text, out, err)
                                     : read_shape(text, out, err);
}

static vdb_status read_dictionary(struct text *text, struct fields *out, struct vdb_err *err)
{
    *out = (struct fields){0};
    VDB_TRY(expect(text, '{', err));
    for (;;) {
        skip_space(text);
        if (peek(text) == '}') {
            break;
        }
        struct vdb_str key;
        VDB_TRY(read_string(text, &key, err));
        VDB_TRY(expect(text, ':', err));
        VDB_TRY(read_field(text, key, out, err));
        skip_space(text);
        if (peek(text) != ',') {
            break;
        }
        text->pos++;
    }
    VDB_TRY(expect(text, '}', err));
    skip_space(text);
    if (text->pos != text->bytes) {
        return vdb_err_set(err, VDB_INVALID, "header: byte %" PRIu64 ": something stands after the dictionary",
                           place(text));
    }
    const char *missing = !out->has_descr   ? "descr"
                          : !out->has_order ? "fortran_order"
                          : !out->has_shape ? "shape"
                                            : NULL;
    if (missing != NULL) {
        return vdb_err_set(err, VDB_INVALID, "header: key '%s' is missing", missing);
    }
    return VDB_OK;
}

/* '<f4' and its like. A byte has no order, so one-byte types may say '<' as well. */
static vdb_status parse_descr(const char *descr, vdb_vectors_type *out, struct vdb_err *err)
{
    static const struct {
        const char *descr;
        vdb_vectors_type type;
    } known[] = {
        {"<f4", VDB_VECTORS_F32}, {"<f2", VDB_VECTORS_F16}, {"|u1", VDB_VECTORS_U8},  {"<u1", VDB_VECTORS_U8},
        {"|i1", VDB_VECTORS_I8},  {"<i1", VDB_VECTORS_I8},  {"<i4", VDB_VECTORS_I32},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(descr, known[i].descr) == 0) {
            *out = known[i].type;
            return VDB_OK;
        }
    }
    return vdb_err_set(
        err, VDB_INVALID,
        "header: descr is '%s'%s; allowed: '<f4' (f32), '<f2' (f16), '|u1' (u8), '|i1' (i8), '<i4' (i32)", descr,
        descr[0] == '>' ? " (big-endian)" : "");
}

static vdb_status parse_shape(const struct fields *fields, struct vdb_npy_header *out, struct vdb_err *err)
{
    if (fields->axes < 1 || fields->axes > 2) {
        return vdb_err_set(err, VDB_INVALID,
                           "header: shape has %u axes; 1 (one vector) or 2 (vectors, dimension) are allowed",
                           fields->axes);
    }
    uint64_t count = fields->axes == 1 ? 1 : fields->shape[0];
    uint64_t dimension = fields->axes == 1 ? fields->shape[0] : fields->shape[1];
    if (dimension < 1 || dimension > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_INVALID, "header: shape gives dimension %" PRIu64 ", 1 to %u is allowed",
                           dimension, VDB_LIMIT_DIMENSION_MAX);
    }
    if (count > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "header: shape gives %" PRIu64 " vectors, at most %u are allowed",
                           count, VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    out->count = (size_t)count;
    out->dimension = (size_t)dimension;
    return VDB_OK;
}

/* Magic, version and header length, each checked: where the text lies and how long it is. */
static vdb_status read_start(const struct vdb_source *source, uint64_t *text_offset, size_t *text_bytes,
                             struct vdb_err *err)
{
    uint8_t start[START_BYTES_MAX] = {0};
    size_t have = source->bytes < sizeof start ? (size_t)source->bytes : sizeof start;
    VDB_TRY(vdb_source_read(source, start, have, 0, err));
    if (have < MAGIC_BYTES || memcmp(start, "\x93NUMPY", MAGIC_BYTES) != 0) {
        return vdb_err_set(err, VDB_INVALID, "byte 0: not a .npy file: it does not begin with \\x93NUMPY");
    }
    if (have < 10) {
        return vdb_err_set(err, VDB_INVALID, "byte 6: cut short: the file ends at byte %zu, inside the header",
                           have);
    }
    unsigned major = start[6];
    unsigned minor = start[7];
    if (major < 1 || major > 3 || minor != 0) {
        return vdb_err_set(err, VDB_INVALID, "byte 6: format version is %u.%u; 1.0, 2.0 and 3.0 are allowed",
                           major, minor);
    }
    *text_offset = major == 1 ? 10 : 12;
    uint32_t length = major == 1 ? vdb_load_u16(start + 8) : vdb_load_u32(start + 8);
    if (length > HEADER_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "byte 8: header length is %" PRIu32 ", at most %d is allowed",
                           length, HEADER_BYTES_MAX);
    }
    if (source->bytes < *text_offset || length > source->bytes - *text_offset) {
        return vdb_err_set(err, VDB_INVALID,
                           "byte 8: header length is %" PRIu32 ", but the file ends at byte %" PRIu64, length,
                           source->bytes);
    }
    *text_bytes = length;
    return VDB_OK;
}

/* The file must hold the values that the header claims, and nothing more. */
static vdb_status check_size(const struct vdb_source *source, const struct vdb_npy_header *header,
                             struct vdb_err *err)
{
    /* No overflow: count <= 2^30, dimension <= 2^16, 4 bytes at most. */
    uint64_t claimed = (uint64_t)header->count * vdb_vectors_type_row_bytes(header->type, header->dimension);
    uint64_t there = source->bytes - header->data_offset;
    if (claimed != there) {
        return vdb_err_set(err, VDB_INVALID,
                           "header: shape (%zu, %zu) of %s takes %" PRIu64 " bytes, but %" PRIu64
                           " follow from byte %" PRIu64,
                           header->count, header->dimension, vdb_vectors_type_name(header->type), claimed, there,
                           header->data_offset);
    }
    return VDB_OK;
}

vdb_status vdb_npy_read_header(const struct vdb_source *source, struct vdb_npy_header *out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    uint64_t text_offset = 0;
    size_t text_bytes = 0;
    *out = (struct vdb_npy_header){0};
    VDB_TRY(read_start(source, &text_offset, &text_bytes, err));
    char *data = malloc(text_bytes > 0 ? text_bytes : 1);
    if (data == NULL) {
        return vdb_err_no_memory(err, "the header");
    }
    VDB_CHECK(vdb_source_read(source, data, text_bytes, text_offset, err));
    struct text text = {data, text_bytes, 0, text_offset};
    struct fields fields;
    VDB_CHECK(read_dictionary(&text, &fields, err));
    VDB_CHECK(parse_descr(fields.descr, &out->type, err));
    if (fields.fortran_order) {
        status = vdb_err_set(
            err, VDB_INVALID,
            "header: fortran_order is True, only False is allowed (save numpy.ascontiguousarray(a))");
        goto cleanup;
    }
    VDB_CHECK(parse_shape(&fields, out, err));
    out->data_offset = text_offset + text_bytes;
    VDB_CHECK(check_size(source, out, err));

cleanup:
    free(data);
    return status;
}

vdb_status vdb_npy_read(const struct vdb_source *source, struct vdb_vectors *out, struct vdb_err *err)
{
    struct vdb_npy_header header;
    *out = (struct vdb_vectors){0};
    VDB_TRY(vdb_npy_read_header(source, &header, err));
    VDB_TRY(vdb_vectors_init(out, header.type, header.count, header.dimension, err));
    vdb_status status = vdb_source_read(source, out->data, header.count * vdb_vectors_row_bytes(out),
                                        header.data_offset, err);
    if (status != VDB_OK) {
        vdb_vectors_fini(out);
    }
    return status;
}
