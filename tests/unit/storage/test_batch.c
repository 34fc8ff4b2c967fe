/* test_batch.c: a write batch's bytes: round trips, every cut and every flip, malformed fields, limits one past.
 */
#include "support.h"

#include <stdlib.h>

#include "base/limits.h"
#include "base/rng.h"
#include "storage/batch.h"

enum { DIMENSION = 3 };

static struct vdb_id number_id(uint64_t number)
{
    return (struct vdb_id){.number = number};
}

static struct vdb_id text_id(const char *text, uint32_t bytes)
{
    return (struct vdb_id){text, bytes, 0};
}

static const float vector[DIMENSION] = {1.5f, -2.25f, 0.0f};

/* Three operations: upsert of a text id, upsert of a number without metadata, delete of a text id. */
static void put_example(struct vdb_buf *out)
{
    struct vdb_id a = text_id("id\0x", 4);
    struct vdb_id b = number_id(UINT64_MAX);
    vdb_buf_clear(out);
    vdb_batch_begin(out, DIMENSION);
    vdb_batch_upsert(out, &a, vector, DIMENSION, vdb_str_of("{\"a\":1}"));
    vdb_batch_upsert(out, &b, vector, DIMENSION, (struct vdb_str){"", 0});
    vdb_batch_delete(out, &a);
    assert_false(out->failed);
}

/* Reads a batch to its end; *count gets the good operations. */
static vdb_status read_all(const void *data, size_t bytes, uint32_t dimension, uint32_t *count,
                           struct vdb_err *err)
{
    struct vdb_batch batch;
    struct vdb_op op;
    bool more;
    *count = 0;
    VDB_TRY(vdb_batch_open(&batch, data, bytes, dimension, err));
    for (;;) {
        VDB_TRY(vdb_batch_next(&batch, &op, &more, err));
        if (!more) {
            return VDB_OK;
        }
        ++*count;
    }
}

/* docs/format.md, section 4, byte for byte. */
static void test_golden_bytes(void **state)
{
    (void)state;
    static const uint8_t expected[] = {
        3,    0,    0,    0,    3,    0,    0,    0,                    /* dimension, operations */
        1,    1,    4,    0,    7,    0,    0,    0,                    /* upsert, text id of 4, metadata of 7 */
        'i',  'd',  0,    'x',                                          /* the id */
        0,    0,    0xc0, 0x3f, 0,    0,    0x10, 0xc0, 0,   0,   0, 0, /* 1.5, -2.25, 0 */
        '{',  '"',  'a',  '"',  ':',  '1',  '}',                        /* metadata */
        1,    0,    0,    0,    0,    0,    0,    0,                    /* upsert, number, no metadata */
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,                 /* the id */
        0,    0,    0xc0, 0x3f, 0,    0,    0x10, 0xc0, 0,   0,   0, 0, /* the vector */
        2,    1,    4,    0,    0,    0,    0,    0,    'i', 'd', 0, 'x', /* delete */
    };
    struct vdb_buf buf = {0};
    put_example(&buf);
    assert_int_equal(buf.bytes, sizeof expected);
    assert_memory_equal(buf.data, expected, sizeof expected);
    vdb_buf_fini(&buf);
}

static void test_reads_back(void **state)
{
    (void)state;
    struct vdb_buf buf = {0};
    struct vdb_err err = {0};
    struct vdb_batch batch;
    struct vdb_op op;
    bool more;
    put_example(&buf);
    assert_ok(vdb_batch_open(&batch, buf.data, buf.bytes, DIMENSION, &err), &err);
    assert_int_equal(batch.count, 3);
    assert_ok(vdb_batch_next(&batch, &op, &more, &err), &err);
    assert_true(more);
    assert_int_equal(op.kind, VDB_OP_UPSERT);
    assert_int_equal(op.id.text_bytes, 4);
    assert_memory_equal(op.id.text, "id\0x", 4);
    assert_memory_equal(op.vector, vector, sizeof vector);
    assert_true(vdb_str_is(op.metadata, "{\"a\":1}"));
    assert_ok(vdb_batch_next(&batch, &op, &more, &err), &err);
    assert_true(more);
    assert_null(op.id.text);
    assert_true(op.id.number == UINT64_MAX);
    assert_int_equal(op.metadata.bytes, 0);
    assert_ok(vdb_batch_next(&batch, &op, &more, &err), &err);
    assert_true(more);
    assert_int_equal(op.kind, VDB_OP_DELETE);
    assert_null(op.vector);
    for (int i = 0; i < 3; i++) { /* the end stays the end */
        assert_ok(vdb_batch_next(&batch, &op, &more, &err), &err);
        assert_false(more);
    }
    vdb_buf_fini(&buf);
}

/* Random batches against a list of what was put. */
static void test_random_round_trips(void **state)
{
    (void)state;
    enum { ROUNDS = 300, OPS_MAX = 40, DIMENSION_MAX = 20 };
    struct vdb_rng rng;
    struct vdb_buf buf = {0};
    struct vdb_err err = {0};
    vdb_rng_init(&rng, 21);
    for (int round = 0; round < ROUNDS; round++) {
        static char texts[OPS_MAX][VDB_LIMIT_ID_BYTES_MAX];
        static float vectors[OPS_MAX][DIMENSION_MAX];
        static char metadata[OPS_MAX][50];
        struct vdb_op ops[OPS_MAX];
        uint32_t dimension = 1 + (uint32_t)vdb_rng_below(&rng, DIMENSION_MAX);
        size_t count = 1 + vdb_rng_below(&rng, OPS_MAX);
        vdb_buf_clear(&buf);
        vdb_batch_begin(&buf, dimension);
        for (size_t i = 0; i < count; i++) {
            struct vdb_op *op = &ops[i];
            *op = (struct vdb_op){.kind = vdb_rng_below(&rng, 3) == 0 ? VDB_OP_DELETE : VDB_OP_UPSERT};
            op->id = number_id(vdb_rng_u64(&rng));
            if (vdb_rng_below(&rng, 2) == 0) {
                op->id = text_id(texts[i], 1 + (uint32_t)vdb_rng_below(&rng, VDB_LIMIT_ID_BYTES_MAX));
                for (uint32_t b = 0; b < op->id.text_bytes; b++) {
                    texts[i][b] = (char)vdb_rng_u64(&rng);
                }
            }
            for (uint32_t d = 0; d < dimension; d++) {
                vectors[i][d] = vdb_rng_normal(&rng);
            }
            op->metadata = (struct vdb_str){metadata[i], vdb_rng_below(&rng, sizeof metadata[i])};
            memset(metadata[i], 'm' + (int)(i % 10), sizeof metadata[i]);
            if (op->kind == VDB_OP_UPSERT) {
                vdb_batch_upsert(&buf, &op->id, vectors[i], dimension, op->metadata);
            } else {
                vdb_batch_delete(&buf, &op->id);
            }
        }
        struct vdb_batch batch;
        struct vdb_op got;
        bool more;
        assert_ok(vdb_batch_open(&batch, buf.data, buf.bytes, dimension, &err), &err);
        for (size_t i = 0; i < count; i++) {
            assert_ok(vdb_batch_next(&batch, &got, &more, &err), &err);
            assert_true(more);
            assert_int_equal(got.kind, ops[i].kind);
            assert_true(vdb_id_equal(&got.id, &ops[i].id));
            if (got.kind == VDB_OP_UPSERT) {
                assert_memory_equal(got.vector, vectors[i], dimension * sizeof(float));
                assert_true(vdb_str_eq(got.metadata, ops[i].metadata));
            }
        }
        assert_ok(vdb_batch_next(&batch, &got, &more, &err), &err);
        assert_false(more);
    }
    vdb_buf_fini(&buf);
}

/* No cut is taken for a batch, and nothing past the cut is read (each is copied to its exact size). */
static void test_every_truncation(void **state)
{
    (void)state;
    struct vdb_buf buf = {0};
    struct vdb_err err = {0};
    uint32_t count;
    put_example(&buf);
    for (size_t bytes = 0; bytes < buf.bytes; bytes++) {
        uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
        memcpy(exact, buf.data, bytes);
        assert_fails(read_all(exact, bytes, DIMENSION, &count, &err), VDB_CORRUPT, &err, "batch: ");
        assert_true(count < 3);
        free(exact);
    }
    vdb_buf_put_u8(&buf, 0);
    assert_fails(read_all(buf.data, buf.bytes, DIMENSION, &count, &err), VDB_CORRUPT, &err,
                 "1 bytes after operation 3");
    vdb_buf_fini(&buf);
}

/* Any byte as any value: read or refused, never read past the end; the address sanitizer watches. */
static void test_every_byte_value(void **state)
{
    (void)state;
    struct vdb_buf buf = {0};
    uint32_t count;
    put_example(&buf);
    uint8_t *exact = malloc(buf.bytes);
    for (size_t at = 0; at < buf.bytes; at++) {
        for (int value = 0; value < 256; value++) {
            struct vdb_err err = {0};
            memcpy(exact, buf.data, buf.bytes);
            exact[at] = (uint8_t)value;
            vdb_status status = read_all(exact, buf.bytes, DIMENSION, &count, &err);
            assert_true(status == VDB_OK || (status == VDB_CORRUPT && err.text[0] != '\0'));
        }
    }
    free(exact);
    vdb_buf_fini(&buf);
}

/* The example with bytes[at] = value must fail, saying `part`. */
static void check_malformed(size_t at, uint8_t value, const char *part)
{
    struct vdb_buf buf = {0};
    struct vdb_err err = {0};
    uint32_t count;
    put_example(&buf);
    assert_int_not_equal(buf.data[at], value);
    buf.data[at] = value;
    assert_fails(read_all(buf.data, buf.bytes, DIMENSION, &count, &err), VDB_CORRUPT, &err, part);
    vdb_buf_fini(&buf);
}

static void test_malformed_fields(void **state)
{
    (void)state;
    check_malformed(0, 4, "dimension 4, the collection has 3");
    check_malformed(3, 1, "dimension 16777219");
    check_malformed(4, 0, "0 operations, allowed are 1..10000");
    check_malformed(4, 4, "operation 4 of 4 is malformed");
    check_malformed(4, 2, "bytes after operation 2");
    check_malformed(7, 0xff, "operations, allowed are 1..10000");
    check_malformed(8, 0, "operation 1 of 3 is malformed"); /* no such kind */
    check_malformed(8, 3, "operation 1 of 3 is malformed");
    check_malformed(8, 2, "operation 1 of 3 is malformed");     /* a delete with metadata */
    check_malformed(9, 2, "operation 1 of 3 is malformed");     /* no such id kind */
    check_malformed(10, 0, "operation 1 of 3 is malformed");    /* an empty text id */
    check_malformed(11, 1, "operation 1 of 3 is malformed");    /* 260 bytes of id */
    check_malformed(14, 0xff, "operation 1 of 3 is malformed"); /* more metadata than bytes */
    check_malformed(15, 0xff, "operation 1 of 3 is malformed");
    size_t second = 8 + 8 + 4 + 12 + 7;
    check_malformed(second + 2, 1, "operation 2 of 3 is malformed"); /* a number id with text bytes */
    check_malformed(second + 28 + 4, 1, "operation 3 of 3 is malformed");
}

static void test_dimension_must_match(void **state)
{
    (void)state;
    struct vdb_buf buf = {0};
    struct vdb_err err = {0};
    struct vdb_batch batch;
    put_example(&buf);
    assert_fails(vdb_batch_open(&batch, buf.data, buf.bytes, 4, &err), VDB_CORRUPT, &err,
                 "dimension 3, the collection has 4");
    vdb_buf_fini(&buf);
}

/* Each limit, and one past it. */
static void test_limits(void **state)
{
    (void)state;
    struct vdb_buf buf = {0};
    struct vdb_err err = {0};
    struct vdb_id id = number_id(1);
    uint32_t count;
    for (uint32_t extra = 0; extra < 2; extra++) {
        vdb_buf_clear(&buf);
        vdb_batch_begin(&buf, 1);
        for (uint32_t i = 0; i < VDB_LIMIT_BATCH_POINTS_MAX + extra; i++) {
            vdb_batch_delete(&buf, &id);
        }
        vdb_status status = read_all(buf.data, buf.bytes, 1, &count, &err);
        assert_int_equal(status, extra == 0 ? VDB_OK : VDB_CORRUPT);
        assert_int_equal(count, extra == 0 ? VDB_LIMIT_BATCH_POINTS_MAX : 0);
    }
    assert_non_null(strstr(err.text, "10001 operations"));

    char text[VDB_LIMIT_ID_BYTES_MAX + 1];
    memset(text, 'i', sizeof text);
    for (uint32_t extra = 0; extra < 2; extra++) {
        id = text_id(text, VDB_LIMIT_ID_BYTES_MAX + extra);
        vdb_buf_clear(&buf);
        vdb_batch_begin(&buf, 1);
        vdb_batch_delete(&buf, &id);
        assert_int_equal(read_all(buf.data, buf.bytes, 1, &count, &err), extra == 0 ? VDB_OK : VDB_CORRUPT);
    }

    char *metadata = malloc(VDB_LIMIT_METADATA_BYTES_MAX + 1);
    memset(metadata, ' ', VDB_LIMIT_METADATA_BYTES_MAX + 1);
    for (uint32_t extra = 0; extra < 2; extra++) {
        vdb_buf_clear(&buf);
        id = number_id(2);
        vdb_batch_begin(&buf, 1);
        vdb_batch_upsert(&buf, &id, vector, 1, (struct vdb_str){metadata, VDB_LIMIT_METADATA_BYTES_MAX + extra});
        assert_int_equal(read_all(buf.data, buf.bytes, 1, &count, &err), extra == 0 ? VDB_OK : VDB_CORRUPT);
    }
    free(metadata);

    /* The largest dimension. */
    float *wide = calloc(VDB_LIMIT_DIMENSION_MAX, sizeof *wide);
    vdb_buf_clear(&buf);
    vdb_batch_begin(&buf, VDB_LIMIT_DIMENSION_MAX);
    vdb_batch_upsert(&buf, &id, wide, VDB_LIMIT_DIMENSION_MAX, vdb_str_of("{}"));
    assert_ok(read_all(buf.data, buf.bytes, VDB_LIMIT_DIMENSION_MAX, &count, &err), &err);
    free(wide);
    vdb_buf_fini(&buf);
}

/* Writing into a buffer that could not grow does nothing. */
static void test_failed_buffer(void **state)
{
    (void)state;
    struct vdb_buf buf = {.failed = true};
    struct vdb_id id = number_id(1);
    vdb_batch_begin(&buf, DIMENSION);
    vdb_batch_upsert(&buf, &id, vector, DIMENSION, vdb_str_of("{}"));
    vdb_batch_delete(&buf, &id);
    assert_true(buf.failed);
    assert_null(buf.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_bytes),         cmocka_unit_test(test_reads_back),
        cmocka_unit_test(test_random_round_trips),   cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_byte_value),     cmocka_unit_test(test_malformed_fields),
        cmocka_unit_test(test_dimension_must_match), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_failed_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
