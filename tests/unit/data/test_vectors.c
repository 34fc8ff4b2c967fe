/* test_vectors.c: loading by name through an env, faults included; conversion; checks of values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "data/vectors.h"
#include "env/env_memory.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char npy_2x3[] = "\x93NUMPY\x01\x00\x40\x00"
                              "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }    \n"
                              "abcdef";
enum { NPY_2X3_BYTES = sizeof npy_2x3 - 1 };

static void write_file(struct vdb_env *env, const char *path, const void *data, size_t bytes)
{
    struct vdb_err err = {0};
    if (vdb_env_replace_file(env, path, data, bytes, &err) != VDB_OK) {
        fail_msg("%s", err.text);
    }
}

static void refuse(struct vdb_env *env, const char *path, vdb_status wanted, const char *words)
{
    struct vdb_vectors vectors;
    struct vdb_err err = {0};
    vdb_status status = vdb_vectors_load(env, path, &vectors, &err);
    if (status != wanted || strstr(err.text, words) == NULL) {
        fail_msg("status %d, text \"%s\"; wanted %d and \"%s\"", status, err.text, wanted, words);
    }
    assert_null(vectors.data);
}

static void test_load_by_name(void **state)
{
    (void)state;
    struct vdb_env *env = vdb_env_memory_create();
    assert_non_null(env);
    write_file(env, "a.npy", npy_2x3, NPY_2X3_BYTES);
    write_file(env, "A.NPY", npy_2x3, NPY_2X3_BYTES);
    write_file(env, "a.bvecs", "\2\0\0\0ab\2\0\0\0cd", 12);
    write_file(env, "a.fvecs", "\1\0\0\0\0\0\x80\x3f", 8);
    write_file(env, "a.ivecs", "\1\0\0\0\7\0\0\0", 8);
    static const struct {
        const char *path;
        vdb_vectors_type type;
        size_t count;
        size_t dimension;
    } cases[] = {{"a.npy", VDB_VECTORS_U8, 2, 3},
                 {"A.NPY", VDB_VECTORS_U8, 2, 3},
                 {"a.bvecs", VDB_VECTORS_U8, 2, 2},
                 {"a.fvecs", VDB_VECTORS_F32, 1, 1},
                 {"a.ivecs", VDB_VECTORS_I32, 1, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct vdb_vectors vectors;
        struct vdb_err err = {0};
        assert_int_equal(vdb_vectors_load(env, cases[i].path, &vectors, &err), VDB_OK);
        assert_int_equal(vectors.type, cases[i].type);
        assert_int_equal(vectors.count, cases[i].count);
        assert_int_equal(vectors.dimension, cases[i].dimension);
        vdb_vectors_fini(&vectors);
    }
    vdb_env_memory_destroy(env);
}

static void test_load_refused(void **state)
{
    (void)state;
    struct vdb_env *env = vdb_env_memory_create();
    assert_non_null(env);
    struct vdb_err err = {0};
    write_file(env, "a.txt", "1 2 3", 5);
    write_file(env, "cut.npy", npy_2x3, NPY_2X3_BYTES - 1);
    write_file(env, "cut.fvecs", "\1\0\0\0\0\0\x80", 7);
    assert_int_equal(vdb_env_mkdirs(env, "folder.npy", &err), VDB_OK);
    refuse(env, "a.txt", VDB_INVALID, "\"a.txt\": the name does not say what is in it; it must end in .npy");
    refuse(env, "npy", VDB_INVALID, "it must end in .npy");
    refuse(env, "none.npy", VDB_NOT_FOUND, "none.npy");
    refuse(env, "folder.npy", VDB_INVALID, "\"folder.npy\" is a folder");
    char path[VDB_LIMIT_PATH_BYTES_MAX + 1]; /* one byte too long with its end */
    memset(path, 'x', sizeof path);
    memcpy(path + VDB_LIMIT_PATH_BYTES_MAX - 4, ".npy", 5);
    refuse(env, path, VDB_INVALID, "the path has 4096 bytes, at most 4095 are allowed");
    refuse(env, "cut.npy", VDB_INVALID, "\"cut.npy\": header: shape (2, 3) of u8 takes 6 bytes, but 5 follow");
    refuse(env, "cut.fvecs", VDB_INVALID, "\"cut.fvecs\": row 0 at byte 0: cut short");
    vdb_env_memory_destroy(env);
}

/* Each operation of a load fails in turn: a status comes out, nothing is left behind, and the next load works. */
static void test_load_faults(void **state)
{
    (void)state;
    struct vdb_env *env = vdb_env_memory_create();
    assert_non_null(env);
    write_file(env, "a.npy", npy_2x3, NPY_2X3_BYTES);
    write_file(env, "a.bvecs", "\2\0\0\0ab\2\0\0\0cd", 12);
    static const char *const paths[] = {"a.npy", "a.bvecs"};
    for (size_t p = 0; p < 2; p++) {
        bool passed = false;
        unsigned failed = 0;
        for (uint64_t n = 1; n < 100 && !passed; n++) {
            struct vdb_vectors vectors;
            struct vdb_err err = {0};
            vdb_env_memory_fail_at(env, n, VDB_IO, false, 1);
            vdb_status status = vdb_vectors_load(env, paths[p], &vectors, &err);
            passed = vdb_env_memory_operations(env) < n;
            assert_int_equal(status, passed ? VDB_OK : VDB_IO);
            failed += !passed;
            if (passed) {
                vdb_vectors_fini(&vectors);
            } else {
                assert_null(vectors.data);
            }
        }
        assert_true(passed);
        assert_true(failed >= 4); /* stat, open, size, and at least one read */
        vdb_env_memory_fail_at(env, 0, VDB_OK, false, 1);
    }
    vdb_env_memory_destroy(env);
}

static void test_to_f32(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_vectors v;
    assert_int_equal(vdb_vectors_init(&v, VDB_VECTORS_U8, 2, 128, &err), VDB_OK);
    for (size_t i = 0; i < 256; i++) {
        ((uint8_t *)v.data)[i] = (uint8_t)i;
    }
    assert_int_equal(vdb_vectors_to_f32(&v, &err), VDB_OK);
    assert_int_equal(v.type, VDB_VECTORS_F32);
    for (size_t i = 0; i < 256; i++) {
        assert_true(((float *)v.data)[i] == (float)i);
    }
    vdb_vectors_fini(&v);

    assert_int_equal(vdb_vectors_init(&v, VDB_VECTORS_I8, 1, 256, &err), VDB_OK);
    for (int i = 0; i < 256; i++) {
        ((int8_t *)v.data)[i] = (int8_t)(i - 128);
    }
    assert_int_equal(vdb_vectors_to_f32(&v, &err), VDB_OK);
    for (int i = 0; i < 256; i++) {
        assert_true(((float *)v.data)[i] == (float)(i - 128));
    }
    void *same = v.data;
    assert_int_equal(vdb_vectors_to_f32(&v, &err), VDB_OK); /* f32 already: left alone */
    assert_ptr_equal(v.data, same);
    vdb_vectors_fini(&v);

    static const uint16_t halves[] = {0x3c00, 0xbc00, 0x7bff, 0x0001};
    assert_int_equal(vdb_vectors_init(&v, VDB_VECTORS_F16, 2, 2, &err), VDB_OK);
    memcpy(v.data, halves, sizeof halves);
    assert_int_equal(vdb_vectors_to_f32(&v, &err), VDB_OK);
    assert_true(((float *)v.data)[0] == 1.0f && ((float *)v.data)[1] == -1.0f);
    assert_true(((float *)v.data)[2] == 65504.0f && ((float *)v.data)[3] == 0x1p-24f);
    vdb_vectors_fini(&v);

    assert_int_equal(vdb_vectors_init(&v, VDB_VECTORS_I32, 1, 1, &err), VDB_OK);
    assert_int_equal(vdb_vectors_to_f32(&v, &err), VDB_UNSUPPORTED);
    assert_int_equal(v.type, VDB_VECTORS_I32);
    vdb_vectors_fini(&v);
}

static void test_check_finite(void **state)
{
    (void)state;
    static const struct {
        float value;
        const char *words;
    } bad[] = {{NAN, "row 1, column 2: the value is nan"},
               {INFINITY, "row 1, column 2: the value is infinity"},
               {-INFINITY, "row 1, column 2: the value is -infinity"}};
    static const uint16_t bad_halves[] = {0x7e00, 0x7c00, 0xfc00};
    struct vdb_err err = {0};
    struct vdb_vectors v;
    assert_int_equal(vdb_vectors_init(&v, VDB_VECTORS_F32, 2, 3, &err), VDB_OK);
    float *values = v.data;
    values[0] = FLT_MAX;
    values[1] = -FLT_MAX;
    values[2] = FLT_TRUE_MIN;
    assert_int_equal(vdb_vectors_check_finite(&v, &err), VDB_OK);
    for (size_t i = 0; i < 3; i++) {
        values[5] = bad[i].value;
        assert_int_equal(vdb_vectors_check_finite(&v, &err), VDB_INVALID);
        assert_non_null(strstr(err.text, bad[i].words));
    }
    vdb_vectors_fini(&v);

    assert_int_equal(vdb_vectors_init(&v, VDB_VECTORS_F16, 2, 3, &err), VDB_OK);
    uint16_t *halves = v.data;
    halves[0] = 0x7bff;
    assert_int_equal(vdb_vectors_check_finite(&v, &err), VDB_OK);
    for (size_t i = 0; i < 3; i++) {
        halves[5] = bad_halves[i];
        assert_int_equal(vdb_vectors_check_finite(&v, &err), VDB_INVALID);
        assert_non_null(strstr(err.text, bad[i].words));
    }
    vdb_vectors_fini(&v);

    assert_int_equal(vdb_vectors_init(&v, VDB_VECTORS_U8, 1, 4, &err), VDB_OK);
    memset(v.data, 0xff, 4); /* a NaN, were it a float */
    assert_int_equal(vdb_vectors_check_finite(&v, &err), VDB_OK);
    vdb_vectors_fini(&v);
}

static void test_check_nonzero(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_vectors v;
    for (unsigned type = 0; type < VDB_VECTORS_BIT; type++) {
        assert_int_equal(vdb_vectors_init(&v, (vdb_vectors_type)type, 2, 3, &err), VDB_OK);
        uint8_t *bytes = v.data;
        bytes[0] = 1; /* row 0: the smallest value that is not zero */
        assert_int_equal(vdb_vectors_check_nonzero(&v, &err), VDB_INVALID);
        assert_non_null(strstr(err.text, "row 1: all values are zero"));
        bytes[vdb_vectors_row_bytes(&v) * 2 - 1] = 0x80; /* the last byte of row 1: -0 as a float */
        bool is_float = type == VDB_VECTORS_F32 || type == VDB_VECTORS_F16;
        assert_int_equal(vdb_vectors_check_nonzero(&v, &err), is_float ? VDB_INVALID : VDB_OK);
        bytes[vdb_vectors_row_bytes(&v) * 2 - 1] = 0x40;
        assert_int_equal(vdb_vectors_check_nonzero(&v, &err), VDB_OK);
        vdb_vectors_fini(&v);
    }
}

static void test_init_overflow(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_vectors v;
    assert_int_equal(vdb_vectors_init(&v, VDB_VECTORS_F32, SIZE_MAX / 4, 2, &err), VDB_LIMIT);
    assert_null(v.data);
    assert_int_equal(vdb_vectors_init(&v, VDB_VECTORS_F32, SIZE_MAX / 4, 1, &err), VDB_LIMIT);
    assert_int_equal(vdb_vectors_init(&v, VDB_VECTORS_U8, 0, 5, &err), VDB_OK);
    assert_non_null(v.data);
    vdb_vectors_fini(&v);
}

static void test_type_table(void **state)
{
    (void)state;
    static const char *const names[] = {"f32", "f16", "u8", "i8", "i32", "bit"};
    static const size_t bytes[] = {4, 2, 1, 1, 4, 0};
    vdb_element element;
    for (unsigned type = 0; type < VDB_VECTORS_TYPE_COUNT; type++) {
        assert_string_equal(vdb_vectors_type_name((vdb_vectors_type)type), names[type]);
        assert_int_equal(vdb_vectors_type_bytes((vdb_vectors_type)type), bytes[type]);
        bool known = vdb_vectors_type_element((vdb_vectors_type)type, &element);
        assert_int_equal(known, type != VDB_VECTORS_F16 && type != VDB_VECTORS_I32);
        if (known) {
            assert_string_equal(vdb_element_name(element), names[type]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load_by_name),  cmocka_unit_test(test_load_refused),
        cmocka_unit_test(test_load_faults),   cmocka_unit_test(test_to_f32),
        cmocka_unit_test(test_check_finite),  cmocka_unit_test(test_check_nonzero),
        cmocka_unit_test(test_init_overflow), cmocka_unit_test(test_type_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
