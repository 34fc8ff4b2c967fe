/* test_schema.c: the element of a collection in its schema and in its manifest: which are kept, which are refused by name,
 * and what format 1 knows of them. The rest of the manifest is test_manifest.c's. */
#include "support.h"

#include <math.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "env/env_memory.h"
#include "storage/manifest.h"

#define HEAD_OF(format, min_reader, element)                                                                     \
    "{\"magic\": \"vecdb-collection\",\n \"format\": " format ",\n \"min_reader\": " min_reader                  \
    ",\n \"features\": 0,\n \"uuid\": \"fedcba98765432100f1e2d3c4b5a6978\",\n \"created_us\": 5,\n"              \
    " \"schema\": {\"name\": \"docs\", \"dimension\": 384, \"element\": \"" element                              \
    "\", \"metric\": \"cosine\", \"index\": \"flat\"},\n \"wal_first\": 17"
#define TAIL_OF_2 ",\n \"role\": \"primary\",\n \"checkpoint_seq\": 0,\n \"next_number\": 0,\n \"segments\": []"

static struct vdb_manifest manifest_of(vdb_element element)
{
    return (struct vdb_manifest){
        .kind = VDB_MANIFEST_COLLECTION,
        .uuid = {0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10, 0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78},
        .created_us = 5,
        .schema = {.name = "docs", .dimension = 384, .metric = VDB_METRIC_COSINE, .element = element},
        .index_config = {.type = "flat"},
        .wal_first = 17,
    };
}

/* `head` with its right checksum behind it. */
static void seal(struct vdb_buf *text, const char *head)
{
    vdb_buf_clear(text);
    vdb_buf_put_text(text, head);
    uint32_t crc = vdb_crc32c(0, text->data, text->bytes);
    vdb_buf_printf(text, ",\n \"crc32c\": \"%08x\"}\n", crc);
}

static vdb_status decode(const char *head, struct vdb_manifest *got, struct vdb_err *err)
{
    struct vdb_buf text = {0};
    seal(&text, head);
    vdb_status status = vdb_manifest_decode((const char *)text.data, text.bytes, VDB_MANIFEST_COLLECTION, got,
                                            err);
    vdb_buf_fini(&text);
    return status;
}

static void test_saved_and_loaded(void **state)
{
    (void)state;
    static const vdb_element elements[] = {VDB_ELEMENT_F32, VDB_ELEMENT_F16, VDB_ELEMENT_U8, VDB_ELEMENT_I8};
    struct vdb_manifest got;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    assert_ok(env->ops->mkdir(env, "d", &err), &err);
    for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
        struct vdb_manifest manifest = manifest_of(elements[i]);
        assert_ok(vdb_manifest_save(env, "d", &manifest, &err), &err);
        assert_ok(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), &err);
        assert_int_equal(got.schema.element, elements[i]);
        assert_int_equal(got.schema.metric, VDB_METRIC_COSINE);
        assert_int_equal(got.schema.dimension, 384);
        vdb_manifest_fini(&got);
    }
    static const vdb_element refused[] = {VDB_ELEMENT_BF16, VDB_ELEMENT_BIT, VDB_ELEMENT_COUNT};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct vdb_manifest manifest = manifest_of(refused[i]);
        assert_fails(vdb_manifest_save(env, "d", &manifest, &err), VDB_INVALID, &err,
                     "is none of f32, f16, u8, i8");
    }
    vdb_env_memory_destroy(env);
}

/* The bytes are the format's: these texts may never change for these values. */
static void test_golden_text(void **state)
{
    (void)state;
    static const struct {
        vdb_element element;
        const char *head;
    } rows[] = {
        {VDB_ELEMENT_F32, HEAD_OF("2", "1", "f32") TAIL_OF_2},
        {VDB_ELEMENT_F16, HEAD_OF("2", "2", "f16") TAIL_OF_2},
        {VDB_ELEMENT_U8, HEAD_OF("2", "2", "u8") TAIL_OF_2},
        {VDB_ELEMENT_I8, HEAD_OF("2", "2", "i8") TAIL_OF_2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct vdb_manifest manifest = manifest_of(rows[i].element);
        struct vdb_manifest got;
        struct vdb_err err = {0};
        struct vdb_buf text = {0};
        struct vdb_buf expected = {0};
        vdb_manifest_encode(&manifest, &text);
        seal(&expected, rows[i].head);
        assert_int_equal(text.bytes, expected.bytes);
        assert_memory_equal(text.data, expected.data, text.bytes);
        assert_ok(decode(rows[i].head, &got, &err), &err);
        assert_int_equal(got.schema.element, rows[i].element);
        vdb_manifest_fini(&got);
        vdb_buf_fini(&text);
        vdb_buf_fini(&expected);
    }
}

/* A reader of format 1 knows f32 alone: it is shut out of other elements, and no writer of format 1 wrote one. */
static void test_refused_texts(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        vdb_status status;
        const char *part;
    } rows[] = {
        {HEAD_OF("2", "1", "u8") TAIL_OF_2, VDB_CORRUPT, "canonical"},
        {HEAD_OF("2", "2", "f32") TAIL_OF_2, VDB_CORRUPT, "canonical"},
        {HEAD_OF("1", "1", "f16"), VDB_CORRUPT, "canonical"},
        {HEAD_OF("1", "2", "f16"), VDB_CORRUPT, "canonical"},
        {HEAD_OF("2", "2", "bf16") TAIL_OF_2, VDB_VERSION, "schema.element: \"bf16\" is not known"},
        {HEAD_OF("2", "2", "bit") TAIL_OF_2, VDB_VERSION, "schema.element: \"bit\" is not known"},
        {HEAD_OF("2", "2", "F16") TAIL_OF_2, VDB_VERSION, "schema.element: \"F16\" is not known"},
        {HEAD_OF("2", "2", "") TAIL_OF_2, VDB_VERSION, "schema.element: \"\" is not known"},
    };
    struct vdb_manifest got;
    struct vdb_err err = {0};
    assert_ok(decode(HEAD_OF("1", "1", "f32"), &got, &err), &err);
    assert_int_equal(got.schema.element, VDB_ELEMENT_F32);
    vdb_manifest_fini(&got);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_fails(decode(rows[i].head, &got, &err), rows[i].status, &err, rows[i].part);
    }
}

/* Storage knows names and numbers, and no more of an index. */
static void test_index_config(void **state)
{
    (void)state;
    static const struct {
        struct vdb_index_config config;
        const char *part; /* NULL: good */
    } cases[] = {
        {{.type = "flat"}, NULL},
        {{.type = "x"}, NULL},
        {{.type = "a.kind-of_2030"}, NULL},
        {{.type = "fifteen-letters", .m = UINT32_MAX, .ef_search = UINT32_MAX, .compact = 7}, NULL},
        {{.type = "qgraph", .target_recall = 5e-324}, NULL},
        {{.type = "qgraph", .target_recall = 0.9999999999999999}, NULL},
        {{.type = ""}, "index type: \"\""},
        {{.type = "-flat"}, "index type: \"-flat\""},
        {{.type = "fl at"}, "{0,14}"},
        {{.type = "fl\"at"}, "{0,14}"},
        {{.type = {'s', 'i', 'x', 't', 'e', 'e', 'n', '-', 'l', 'e', 't', 't', 'e', 'r', 's', 's'}}, "sixteen"},
        {{.type = "flat", .target_recall = 1}, "target_recall: 1 is not between 0 and 1"},
        {{.type = "flat", .target_recall = -1e-9}, "target_recall: -1e-09"},
        {{.type = "flat", .target_recall = HUGE_VAL}, "target_recall: inf"},
        {{.type = "flat", .target_recall = (double)NAN}, "nan"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vdb_err err = {0};
        if (cases[i].part == NULL) {
            assert_ok(vdb_schema_check_index(&cases[i].config, &err), &err);
        } else {
            assert_fails(vdb_schema_check_index(&cases[i].config, &err), VDB_INVALID, &err, cases[i].part);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saved_and_loaded),
        cmocka_unit_test(test_golden_text),
        cmocka_unit_test(test_refused_texts),
        cmocka_unit_test(test_index_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
