// floor: base
/* fuzz_json.c: the JSON reader against jansson: they must accept the same texts and find the same values.
 *
 * Differences on purpose, none of which may hide a real one:
 *   - depth: ours is limited to 64, jansson's to 2,048;
 *   - jansson turns integers into long long and refuses larger ones, and refuses numbers that overflow a double
 * while it reads; ours keeps the text and refuses when a value is asked for;
 *   - jansson refuses U+0000 in a key;
 *   - jansson reads "-0" as the integer 0;
 *   - jansson loses a raw NUL byte behind a number or a word (it puts it back as "nothing"), and so accepts the
 * text. Beside that: the compact form must parse to an equal tree and be its own compact form.
 */
#include "require.h"

#include "base/json.h"
#include "base/limits.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Whether a text that we accept has something jansson refuses by its own limits. */
static bool beyond_jansson(const json_error_t *error)
{
    return json_error_code(error) == json_error_numeric_overflow ||
           json_error_code(error) == json_error_null_byte_in_key ||
           json_error_code(error) == json_error_stack_overflow;
}

static void check_number(struct vdb_json *json, const json_t *tree)
{
    struct vdb_json again = *json;
    struct vdb_str raw;
    REQUIRE(vdb_json_skip(json, &raw, NULL) == VDB_OK);
    char *text = strndup(raw.data, raw.bytes);
    REQUIRE(text != NULL);

    double expected = strtod(text, NULL);
    struct vdb_json reader = again;
    double value;
    vdb_status status = vdb_json_double(&reader, &value, NULL);
    REQUIRE((status == VDB_OK) == (isfinite(expected) != 0));
    REQUIRE(status != VDB_OK || memcmp(&value, &expected, sizeof value) == 0);
    if (json_is_real(tree)) {
        double theirs = json_real_value(tree);
        REQUIRE(memcmp(&theirs, &expected, sizeof theirs) == 0);
    } else {
        REQUIRE(json_is_integer(tree) && (double)json_integer_value(tree) == expected);
    }

    float expected_float = strtof(text, NULL);
    float value_float;
    reader = again;
    status = vdb_json_float(&reader, &value_float, NULL);
    REQUIRE((status == VDB_OK) == (isfinite(expected_float) != 0));
    REQUIRE(status != VDB_OK || memcmp(&value_float, &expected_float, sizeof value_float) == 0);

    uint64_t integer;
    reader = again;
    status = vdb_json_u64(&reader, &integer, NULL);
    bool is_u64 = strspn(text, "0123456789") == raw.bytes;
    errno = 0;
    unsigned long long expected_integer = strtoull(text, NULL, 10);
    REQUIRE((status == VDB_OK) == (is_u64 && errno == 0));
    REQUIRE(status != VDB_OK || integer == expected_integer);

    /* What is written reads back. */
    if (isfinite(expected)) {
        struct vdb_buf out = {0};
        vdb_json_put_double(&out, expected);
        struct vdb_json back;
        vdb_json_init(&back, (const char *)out.data, out.bytes, 1);
        REQUIRE(vdb_json_double(&back, &value, NULL) == VDB_OK && vdb_json_end(&back, NULL) == VDB_OK);
        REQUIRE(memcmp(&value, &expected, sizeof value) == 0);
        vdb_buf_fini(&out);
    }
    if (isfinite(expected_float)) {
        struct vdb_buf out = {0};
        vdb_json_put_float(&out, expected_float);
        struct vdb_json back;
        vdb_json_init(&back, (const char *)out.data, out.bytes, 1);
        REQUIRE(vdb_json_float(&back, &value_float, NULL) == VDB_OK && vdb_json_end(&back, NULL) == VDB_OK);
        REQUIRE(memcmp(&value_float, &expected_float, sizeof value_float) == 0);
        vdb_buf_fini(&out);
    }
    free(text);
}

static void check_value(struct vdb_json *json, const json_t *tree);

static void check_object(struct vdb_json *json, const json_t *tree)
{
    /* jansson keeps the last of equal keys, so each key is checked where it stands last. */
    size_t distinct = 0;
    struct vdb_str key;
    bool more;
    REQUIRE(vdb_json_enter_object(json, NULL) == VDB_OK);
    for (;;) {
        REQUIRE(vdb_json_next_key(json, &key, &more, NULL) == VDB_OK);
        if (!more) {
            break;
        }
        struct vdb_buf plain = {0};
        vdb_json_unescape(key, &plain);
        vdb_buf_put_u8(&plain, 0);
        REQUIRE(vdb_json_raw_is(key, (const char *)plain.data));
        struct vdb_json ahead = *json;
        bool again = false;
        struct vdb_str other;
        bool more_ahead;
        REQUIRE(vdb_json_skip(&ahead, NULL, NULL) == VDB_OK);
        while (vdb_json_next_key(&ahead, &other, &more_ahead, NULL) == VDB_OK && more_ahead) {
            again |= vdb_json_raw_is(other, (const char *)plain.data);
            REQUIRE(vdb_json_skip(&ahead, NULL, NULL) == VDB_OK);
        }
        const json_t *member = json_object_get(tree, (const char *)plain.data);
        REQUIRE(member != NULL);
        if (again) {
            REQUIRE(vdb_json_skip(json, NULL, NULL) == VDB_OK);
        } else {
            distinct++;
            check_value(json, member);
        }
        vdb_buf_fini(&plain);
    }
    REQUIRE(json_object_size(tree) == distinct);
}

static void check_value(struct vdb_json *json, const json_t *tree)
{
    vdb_json_type type;
    bool more;
    REQUIRE(vdb_json_peek(json, &type, NULL) == VDB_OK);
    switch (type) {
    case VDB_JSON_NULL:
        REQUIRE(json_is_null(tree) && vdb_json_null(json, NULL) == VDB_OK);
        break;
    case VDB_JSON_BOOL: {
        bool value;
        REQUIRE(vdb_json_bool(json, &value, NULL) == VDB_OK);
        REQUIRE(value ? json_is_true(tree) : json_is_false(tree));
        break;
    }
    case VDB_JSON_NUMBER:
        check_number(json, tree);
        break;
    case VDB_JSON_STRING: {
        struct vdb_buf value = {0};
        struct vdb_str raw;
        REQUIRE(vdb_json_string_raw(json, &raw, NULL) == VDB_OK);
        vdb_json_unescape(raw, &value);
        REQUIRE(!value.failed);
        REQUIRE(json_is_string(tree) && json_string_length(tree) == value.bytes);
        REQUIRE(value.bytes == 0 || memcmp(json_string_value(tree), value.data, value.bytes) == 0);
        vdb_buf_fini(&value);
        break;
    }
    case VDB_JSON_ARRAY: {
        size_t count = 0;
        REQUIRE(json_is_array(tree) && vdb_json_enter_array(json, NULL) == VDB_OK);
        for (;;) {
            REQUIRE(vdb_json_next_item(json, &more, NULL) == VDB_OK);
            if (!more) {
                break;
            }
            const json_t *item = json_array_get(tree, count++);
            REQUIRE(item != NULL);
            check_value(json, item);
        }
        REQUIRE(json_array_size(tree) == count);
        break;
    }
    case VDB_JSON_OBJECT:
        REQUIRE(json_is_object(tree));
        check_object(json, tree);
        break;
    }
}

static void check_compact(const char *text, size_t bytes, const json_t *tree)
{
    struct vdb_json json;
    struct vdb_buf once = {0};
    struct vdb_buf twice = {0};
    vdb_json_init(&json, text, bytes, VDB_LIMIT_JSON_DEPTH_MAX);
    REQUIRE(vdb_json_compact(&json, &once, NULL) == VDB_OK && vdb_json_end(&json, NULL) == VDB_OK);
    if (tree != NULL) {
        json_error_t error;
        json_t *again = json_loadb((const char *)once.data, once.bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        REQUIRE(again != NULL && json_equal(again, tree));
        json_decref(again);
    }
    vdb_json_init(&json, (const char *)once.data, once.bytes, VDB_LIMIT_JSON_DEPTH_MAX);
    REQUIRE(vdb_json_compact(&json, &twice, NULL) == VDB_OK && vdb_json_end(&json, NULL) == VDB_OK);
    REQUIRE(once.bytes == twice.bytes && memcmp(once.data, twice.data, once.bytes) == 0);
    vdb_buf_fini(&once);
    vdb_buf_fini(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data;
    struct vdb_json json;
    struct vdb_err err;
    vdb_json_init(&json, text, bytes, VDB_LIMIT_JSON_DEPTH_MAX);
    vdb_status status = vdb_json_skip(&json, NULL, &err);
    if (status == VDB_OK) {
        status = vdb_json_end(&json, &err);
    }
    if (status != VDB_OK) {
        REQUIRE(strncmp(err.text, "byte ", 5) == 0 && strtoul(err.text + 5, NULL, 10) <= bytes);
        REQUIRE(vdb_json_end(&json, NULL) != VDB_OK); /* a dead reader stays dead */
    }

    json_error_t error;
    json_t *tree = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (status == VDB_OK && tree == NULL) {
        REQUIRE(beyond_jansson(&error));
    }
    if (status != VDB_OK && tree != NULL) {
        REQUIRE(status == VDB_LIMIT || (json.pos < bytes && data[json.pos] == 0));
    }
    if (status == VDB_OK) {
        check_compact(text, bytes, tree);
        if (tree != NULL) {
            vdb_json_init(&json, text, bytes, VDB_LIMIT_JSON_DEPTH_MAX);
            check_value(&json, tree);
        }
    }
    json_decref(tree);
    return 0;
}
