/* fields.c: the building blocks of all bodies. See fields.h for how errors get their place. */
#include "server/fields.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/limits.h"

/* The envelope (body, points, a point) stands around a metadata or filter that may use the whole depth. */
#define BODY_DEPTH_MAX (VDB_LIMIT_JSON_DEPTH_MAX + 4)

/* ---- The place ---- */

static void push_name(struct vdb_fields_reader *reader, const char *name)
{
    assert(reader->depth < VDB_FIELDS_STEPS_MAX);
    reader->steps[reader->depth++] = (struct vdb_fields_step){name, 0};
}

static void push_index(struct vdb_fields_reader *reader, size_t index)
{
    assert(reader->depth < VDB_FIELDS_STEPS_MAX);
    reader->steps[reader->depth++] = (struct vdb_fields_step){NULL, index};
}

static void pop(struct vdb_fields_reader *reader)
{
    reader->depth--;
}

static vdb_status place_error(const struct vdb_fields_reader *reader, vdb_status status, struct vdb_err *err)
{
    char place[128] = "body";
    size_t at = 0;
    for (unsigned i = 0; i < reader->depth && at < sizeof place; i++) {
        const struct vdb_fields_step *step = &reader->steps[i];
        int wrote = step->name != NULL
                        ? snprintf(place + at, sizeof place - at, "%s%s", i > 0 ? "." : "", step->name)
                        : snprintf(place + at, sizeof place - at, "[%zu]", step->index);
        at += wrote > 0 ? (size_t)wrote : 0;
    }
    return vdb_err_wrap(err, status, "%s", place);
}

/* ---- Objects and arrays ---- */

static vdb_status unknown_field(const struct vdb_fields_field *fields, size_t count, struct vdb_str key,
                                struct vdb_err *err)
{
    char known[256] = "";
    size_t at = 0;
    for (size_t i = 0; i < count && at < sizeof known; i++) {
        int wrote = snprintf(known + at, sizeof known - at, "%s%s", i > 0 ? ", " : "", fields[i].name);
        at += wrote > 0 ? (size_t)wrote : 0;
    }
    return vdb_err_set(err, VDB_INVALID, "unknown field \"%.*s\"; known fields: %s",
                       (int)(key.bytes < 64 ? key.bytes : 64), key.data, known);
}

vdb_status vdb_fields_read(struct vdb_fields_reader *reader, const struct vdb_fields_field *fields, size_t count,
                           void *out, struct vdb_err *err)
{
    uint32_t seen = 0;
    assert(count <= VDB_FIELDS_COUNT_MAX);
    VDB_TRY(vdb_json_enter_object(&reader->json, err));
    for (;;) {
        struct vdb_str key;
        bool more;
        VDB_TRY(vdb_json_next_key(&reader->json, &key, &more, err));
        if (!more) {
            break;
        }
        size_t i = 0;
        while (i < count && !vdb_json_raw_is(key, fields[i].name)) {
            i++;
        }
        if (i == count) {
            return unknown_field(fields, count, key, err);
        }
        push_name(reader, fields[i].name);
        if (seen & (UINT32_C(1) << i)) {
            return vdb_err_set(err, VDB_INVALID, "given twice");
        }
        seen |= UINT32_C(1) << i;
        VDB_TRY(fields[i].read(reader, (char *)out + fields[i].offset, err));
        pop(reader);
    }
    for (size_t i = 0; i < count; i++) {
        if (fields[i].required && !(seen & (UINT32_C(1) << i))) {
            push_name(reader, fields[i].name);
            return vdb_err_set(err, VDB_INVALID, "missing");
        }
    }
    return VDB_OK;
}

vdb_status vdb_fields_read_body(const struct vdb_body *body, const struct vdb_fields_field *fields, size_t count,
                                void *out, struct vdb_err *err)
{
    struct vdb_fields_reader reader = {.body = body};
    if (body->bytes == 0) {
        return vdb_err_set(err, VDB_INVALID, "body: empty, expected a JSON object");
    }
    vdb_json_init(&reader.json, body->text, body->bytes, BODY_DEPTH_MAX);
    vdb_status status = vdb_fields_read(&reader, fields, count, out, err);
    if (status == VDB_OK) {
        status = vdb_json_end(&reader.json, err);
    }
    return status == VDB_OK ? VDB_OK : place_error(&reader, status, err);
}

/* Doubles the array's memory; what is left behind in the arena is at most as much again. */
static bool grow(struct vdb_arena *arena, void **items, size_t count, size_t item_bytes, size_t *capacity)
{
    size_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *grown = vdb_arena_alloc(arena, wanted * item_bytes);
    if (grown == NULL) {
        return false;
    }
    if (count > 0) {
        memcpy(grown, *items, count * item_bytes);
    }
    *items = grown;
    *capacity = wanted;
    return true;
}

vdb_status vdb_fields_read_array(struct vdb_fields_reader *reader, size_t item_bytes, size_t count_max,
                                 vdb_fields_fn *read, void **items, size_t *count, struct vdb_err *err)
{
    size_t capacity = 0;
    *items = NULL;
    *count = 0;
    VDB_TRY(vdb_json_enter_array(&reader->json, err));
    for (;;) {
        bool more;
        VDB_TRY(vdb_json_next_item(&reader->json, &more, err));
        if (!more) {
            break;
        }
        if (*count >= count_max) { /* past the limit items are only counted, for the message */
            VDB_TRY(vdb_json_skip(&reader->json, NULL, err));
            (*count)++;
            continue;
        }
        if (*count == capacity && !grow(reader->body->arena, items, *count, item_bytes, &capacity)) {
            return vdb_err_no_memory(err, "the request's items");
        }
        void *item = (char *)*items + *count * item_bytes;
        memset(item, 0, item_bytes);
        push_index(reader, *count);
        VDB_TRY(read(reader, item, err));
        pop(reader);
        (*count)++;
    }
    if (*count == 0 || *count > count_max) {
        return vdb_err_set(err, *count == 0 ? VDB_INVALID : VDB_LIMIT, "%zu given, a batch has 1 to %zu", *count,
                           count_max);
    }
    return VDB_OK;
}

/* ---- Strings and ids ---- */

/* Unescapes a raw string into the arena. */
static vdb_status unescape(struct vdb_arena *arena, struct vdb_str raw, struct vdb_str *out, struct vdb_err *err)
{
    struct vdb_buf plain = {0};
    vdb_json_unescape(raw, &plain);
    char *copy = plain.failed ? NULL : vdb_arena_alloc(arena, plain.bytes > 0 ? plain.bytes : 1);
    if (copy != NULL && plain.bytes > 0) {
        memcpy(copy, plain.data, plain.bytes);
    }
    *out = (struct vdb_str){copy, plain.bytes};
    vdb_buf_fini(&plain);
    return copy != NULL ? VDB_OK : vdb_err_no_memory(err, "a string");
}

vdb_status vdb_fields_string(struct vdb_fields_reader *reader, struct vdb_str *out, struct vdb_err *err)
{
    struct vdb_str raw;
    VDB_TRY(vdb_json_string_raw(&reader->json, &raw, err));
    if (raw.bytes == 0 || memchr(raw.data, '\\', raw.bytes) == NULL) {
        *out = raw;
        return VDB_OK;
    }
    return unescape(reader->body->arena, raw, out, err);
}

vdb_status vdb_fields_text(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    struct vdb_str text;
    VDB_TRY(vdb_fields_string(reader, &text, err));
    if (text.bytes > 0 && memchr(text.data, '\0', text.bytes) != NULL) {
        return vdb_err_set(err, VDB_INVALID, "holds a NUL byte");
    }
    char *copy = vdb_arena_alloc(reader->body->arena, text.bytes + 1);
    if (copy == NULL) {
        return vdb_err_no_memory(err, "a string");
    }
    if (text.bytes > 0) {
        memcpy(copy, text.data, text.bytes);
    }
    copy[text.bytes] = '\0';
    *(const char **)out = copy;
    return VDB_OK;
}

vdb_status vdb_fields_id(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    vecdb_id *id = out;
    vdb_json_type type;
    VDB_TRY(vdb_json_peek(&reader->json, &type, err));
    if (type == VDB_JSON_NUMBER) {
        *id = vecdb_id_number(0);
        return vdb_json_u64(&reader->json, &id->number, err);
    }
    if (type != VDB_JSON_STRING) {
        return vdb_err_set(err, VDB_INVALID, "expected an unsigned 64-bit integer or a string, found %s",
                           vdb_json_type_name(type));
    }
    struct vdb_str text;
    VDB_TRY(vdb_fields_string(reader, &text, err));
    if (text.bytes == 0 || text.bytes > VDB_LIMIT_ID_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "%zu bytes given, a string id has 1 to %u", text.bytes,
                           VDB_LIMIT_ID_BYTES_MAX);
    }
    *id = (vecdb_id){text.data, text.bytes, 0};
    return VDB_OK;
}

/* ---- Vectors ---- */

static vdb_status wrong_dimension(const struct vdb_fields_reader *reader, size_t given, struct vdb_err *err)
{
    const struct vdb_body *body = reader->body;
    return vdb_err_set(err, VDB_INVALID, "%zu numbers given, the collection \"%s\" has dimension %u", given,
                       body->collection, body->dimension);
}

static vdb_status read_vector_array(struct vdb_fields_reader *reader, float *out, struct vdb_err *err)
{
    size_t dimension = reader->body->dimension;
    size_t count = 0;
    VDB_TRY(vdb_json_enter_array(&reader->json, err));
    for (;;) {
        bool more;
        VDB_TRY(vdb_json_next_item(&reader->json, &more, err));
        if (!more) {
            break;
        }
        push_index(reader, count);
        if (count < dimension) {
            VDB_TRY(vdb_json_float(&reader->json, &out[count], err));
        } else { /* only counted, for the message */
            VDB_TRY(vdb_json_skip(&reader->json, NULL, err));
        }
        pop(reader);
        count++;
    }
    return count == dimension ? VDB_OK : wrong_dimension(reader, count, err);
}

static vdb_status read_vector_base64(struct vdb_fields_reader *reader, float *out, struct vdb_err *err)
{
    struct vdb_str text;
    VDB_TRY(vdb_fields_string(reader, &text, err));
    size_t wanted = reader->body->dimension * sizeof *out;
    size_t padding = 0;
    while (padding < 2 && padding < text.bytes && text.data[text.bytes - 1 - padding] == '=') {
        padding++;
    }
    if (text.bytes % 4 == 0 && text.bytes / 4 * 3 - padding != wanted) {
        return vdb_err_set(
            err, VDB_INVALID,
            "base64 of %zu bytes given, the collection \"%s\" has dimension %u, which is %zu bytes",
            text.bytes / 4 * 3 - padding, reader->body->collection, reader->body->dimension, wanted);
    }
    size_t written;
    if (!vdb_base64_decode(text.data, text.bytes, (uint8_t *)out, wanted, &written) || written != wanted) {
        return vdb_err_set(
            err, VDB_INVALID,
            "the string is not base64 (standard alphabet, padded to a multiple of 4, no white space)");
    }
    for (size_t i = 0; i < reader->body->dimension; i++) {
        if (!isfinite(out[i])) {
            push_index(reader, i);
            return vdb_err_set(err, VDB_INVALID, "%s is not a finite number",
                               isnan(out[i]) ? "NaN"
                               : out[i] > 0  ? "infinity"
                                             : "-infinity");
        }
    }
    return VDB_OK;
}

vdb_status vdb_fields_vector(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    vdb_json_type type;
    VDB_TRY(vdb_json_peek(&reader->json, &type, err));
    if (type != VDB_JSON_ARRAY && type != VDB_JSON_STRING) {
        return vdb_err_set(err, VDB_INVALID, "expected an array of numbers or a base64 string, found %s",
                           vdb_json_type_name(type));
    }
    float *vector = vdb_arena_alloc(reader->body->arena, reader->body->dimension * sizeof *vector);
    if (vector == NULL) {
        return vdb_err_no_memory(err, "a vector");
    }
    *(const float **)out = vector;
    return type == VDB_JSON_ARRAY ? read_vector_array(reader, vector, err)
                                  : read_vector_base64(reader, vector, err);
}

/* ---- The rest ---- */

static vdb_status read_raw(struct vdb_fields_reader *reader, struct vdb_str *out, vdb_json_type *type,
                           struct vdb_err *err)
{
    *out = (struct vdb_str){NULL, 0};
    VDB_TRY(vdb_json_peek(&reader->json, type, err));
    if (*type == VDB_JSON_NULL) {
        return vdb_json_null(&reader->json, err);
    }
    return vdb_json_skip(&reader->json, out, err);
}

vdb_status vdb_fields_metadata(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    vdb_json_type type;
    VDB_TRY(read_raw(reader, out, &type, err));
    if (type != VDB_JSON_OBJECT && type != VDB_JSON_NULL) {
        return vdb_err_set(err, VDB_INVALID, "expected an object, found %s", vdb_json_type_name(type));
    }
    return VDB_OK;
}

vdb_status vdb_fields_filter(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    vdb_json_type type;
    return read_raw(reader, out, &type, err);
}

vdb_status vdb_fields_switch(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    return vdb_json_bool(&reader->json, out, err);
}

vdb_status vdb_fields_encoding(struct vdb_fields_reader *reader, void *out, struct vdb_err *err)
{
    struct vdb_str text;
    VDB_TRY(vdb_fields_string(reader, &text, err));
    if (!vdb_str_is(text, "array") && !vdb_str_is(text, "base64")) {
        return vdb_err_set(err, VDB_INVALID, "\"%.*s\" is none of array, base64",
                           (int)(text.bytes < 64 ? text.bytes : 64), text.data);
    }
    *(bool *)out = vdb_str_is(text, "base64");
    return VDB_OK;
}
