/* test_vecs.c: .fvecs, .bvecs and .ivecs files: what is read, and what is refused with row and byte offset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/rng.h"
#include "data/vecs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static vdb_status read_buf(const struct vdb_buf *file, size_t bytes, vdb_vectors_type type,
                           struct vdb_vectors *out, struct vdb_err *err)
{
    uint8_t *exact = malloc(bytes > 0 ? bytes : 1); /* exact, for the address sanitizer */
    assert_non_null(exact);
    if (bytes > 0) {
        memcpy(exact, file->data, bytes);
    }
    struct vdb_source source;
    vdb_source_of_memory(&source, exact, bytes);
    vdb_status status = vdb_vecs_read(&source, type, out, err);
    vdb_source_close(&source);
    free(exact);
    return status;
}

static void refuse(const struct vdb_buf *file, vdb_vectors_type type, vdb_status wanted, const char *words)
{
    struct vdb_vectors vectors;
    struct vdb_err err = {0};
    vdb_status status = read_buf(file, file->bytes, type, &vectors, &err);
    if (status != wanted || strstr(err.text, words) == NULL) {
        fail_msg("status %d, text \"%s\"; wanted %d and \"%s\"", status, err.text, wanted, words);
    }
    assert_null(vectors.data);
}

/* Rows of random bytes; the values alone are also appended to `values`. */
static void build(struct vdb_buf *file, struct vdb_buf *values, size_t count, size_t dimension,
                  vdb_vectors_type type)
{
    struct vdb_rng rng;
    vdb_rng_init(&rng, count * 131 + dimension);
    for (size_t row = 0; row < count; row++) {
        vdb_buf_put_u32(file, (uint32_t)dimension);
        for (size_t i = 0; i < dimension * vdb_vectors_type_bytes(type); i++) {
            uint8_t byte = (uint8_t)vdb_rng_u64(&rng);
            vdb_buf_put_u8(file, byte);
            vdb_buf_put_u8(values, byte);
        }
    }
    assert_false(file->failed || values->failed);
}

static void test_reads(void **state)
{
    (void)state;
    static const vdb_vectors_type types[] = {VDB_VECTORS_F32, VDB_VECTORS_U8, VDB_VECTORS_I32};
    /* Row counts around the block of 1 MiB: rows of 1,028 bytes go 1,020 to a block. */
    static const struct {
        size_t count;
        size_t dimension;
    } shapes[] = {{1, 1}, {3, 5}, {1, 65536}, {5, 65536}, {1020, 256}, {1021, 256}, {2500, 256}};
    for (size_t t = 0; t < 3; t++) {
        for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
            struct vdb_buf file = {0};
            struct vdb_buf values = {0};
            build(&file, &values, shapes[s].count, shapes[s].dimension, types[t]);
            struct vdb_vectors vectors;
            struct vdb_err err = {0};
            assert_int_equal(read_buf(&file, file.bytes, types[t], &vectors, &err), VDB_OK);
            assert_int_equal(vectors.count, shapes[s].count);
            assert_int_equal(vectors.dimension, shapes[s].dimension);
            assert_int_equal(vectors.type, types[t]);
            assert_int_equal((uintptr_t)vectors.data % 64, 0);
            assert_memory_equal(vectors.data, values.data, values.bytes);
            vdb_vectors_fini(&vectors);
            vdb_buf_fini(&file);
            vdb_buf_fini(&values);
        }
    }
}

static void test_dimension_limits(void **state)
{
    (void)state;
    static const struct {
        uint32_t raw;
        const char *words;
    } cases[] = {
        {0, "row 0 at byte 0: dimension is 0, 1 to 65536 is allowed"},
        {UINT32_MAX, "dimension is -1, 1 to 65536"},
        {0x80000000u, "dimension is -2147483648"},
        {VDB_LIMIT_DIMENSION_MAX + 1, "dimension is 65537"},
        {0x7fffffff, "dimension is 2147483647"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vdb_buf file = {0};
        vdb_buf_put_u32(&file, cases[i].raw);
        vdb_buf_put_zeros(&file, 64);
        refuse(&file, VDB_VECTORS_F32, VDB_INVALID, cases[i].words);
        vdb_buf_fini(&file);
    }
}

static void test_short_files(void **state)
{
    (void)state;
    struct vdb_buf file = {0};
    refuse(&file, VDB_VECTORS_F32, VDB_INVALID, "row 0 at byte 0: cut short: the file has 0 bytes");
    vdb_buf_put(&file, "\x04\x00\x00", 3);
    refuse(&file, VDB_VECTORS_F32, VDB_INVALID, "the file has 3 bytes");
    vdb_buf_clear(&file);
    vdb_buf_put_u32(&file, 65536);
    refuse(&file, VDB_VECTORS_F32, VDB_INVALID,
           "row 0 at byte 0: cut short: a row of dimension 65536 takes 262148 bytes, 4 are left");
    vdb_buf_fini(&file);
}

/* A good file cut at every byte: whole rows are fine, all else is refused. */
static void test_every_cut(void **state)
{
    (void)state;
    struct vdb_buf file = {0};
    struct vdb_buf values = {0};
    build(&file, &values, 4, 3, VDB_VECTORS_F32);
    for (size_t cut = 0; cut <= file.bytes; cut++) {
        struct vdb_vectors vectors;
        struct vdb_err err = {0};
        vdb_status status = read_buf(&file, cut, VDB_VECTORS_F32, &vectors, &err);
        if (cut > 0 && cut % 16 == 0) {
            assert_int_equal(status, VDB_OK);
            assert_int_equal(vectors.count, cut / 16);
            vdb_vectors_fini(&vectors);
        } else {
            char words[64];
            snprintf(words, sizeof words, "row %zu at byte %zu: cut short", cut / 16, cut / 16 * 16);
            assert_int_equal(status, VDB_INVALID);
            assert_non_null(strstr(err.text, words));
            assert_null(vectors.data);
        }
    }
    vdb_buf_fini(&file);
    vdb_buf_fini(&values);
}

static void test_unequal_dimensions(void **state)
{
    (void)state;
    struct vdb_buf file = {0};
    struct vdb_buf values = {0};
    build(&file, &values, 3000, 128, VDB_VECTORS_F32);
    vdb_store_u32(file.data + 2100u * 516, 127); /* in the second block */
    refuse(&file, VDB_VECTORS_F32, VDB_INVALID,
           "row 2100 at byte 1083600: dimension is 127, row 0 has 128: all must be equal");
    vdb_buf_fini(&file);
    vdb_buf_fini(&values);

    /* A longer last row, of which the file holds less than a row of the first dimension. */
    vdb_buf_put_u32(&file, 8);
    vdb_buf_put_zeros(&file, 8);
    vdb_buf_put_u32(&file, 2);
    vdb_buf_put_zeros(&file, 2);
    refuse(&file, VDB_VECTORS_U8, VDB_INVALID,
           "row 1 at byte 12: dimension is 2, row 0 has 8: all must be equal");
    vdb_buf_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_dimension_limits),
        cmocka_unit_test(test_short_files),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_unequal_dimensions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
