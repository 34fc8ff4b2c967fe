/* test_npy_write.c: written matrices read back; a failure at any operation leaves the old file or the new. */
#include "support.h"

#include "data/npy.h"
#include "data/npy_write.h"
#include "data/vectors.h"
#include "env/env_memory.h"

static const int32_t old_ids[] = {9, 8};
static const int32_t new_ids[] = {1, -2, 3, 4, 5, 2147483647};

static void test_reads_back(void **state)
{
    (void)state;
    struct vdb_env *env = vdb_env_memory_create();
    struct vdb_err err = {0};
    struct vdb_vectors v;
    static const float floats[] = {1.5f, -2, 0, 3};
    assert_ok(vdb_npy_write(env, "ids.npy", VDB_NPY_I32, new_ids, 2, 3, &err), &err);
    assert_ok(vdb_vectors_load(env, "ids.npy", &v, &err), &err);
    assert_int_equal(v.type, VDB_VECTORS_I32);
    assert_int_equal(v.count, 2);
    assert_int_equal(v.dimension, 3);
    assert_memory_equal(v.data, new_ids, sizeof new_ids);
    vdb_vectors_fini(&v);
    assert_ok(vdb_npy_write(env, "f.npy", VDB_NPY_F32, floats, 1, 4, &err), &err);
    assert_ok(vdb_vectors_load(env, "f.npy", &v, &err), &err);
    assert_memory_equal(v.data, floats, sizeof floats);
    vdb_vectors_fini(&v);
    assert_ok(vdb_npy_write(env, "none.npy", VDB_NPY_F32, floats, 0, 4, &err), &err);
    assert_ok(vdb_vectors_load(env, "none.npy", &v, &err), &err);
    assert_int_equal(v.count, 0);
    vdb_vectors_fini(&v);
    assert_fails(vdb_npy_write(env, "f.npy", VDB_NPY_F64, floats, SIZE_MAX / 8, 2, &err), VDB_LIMIT, &err,
                 "overflow");
    vdb_env_memory_destroy(env);
}

static void test_faults(void **state)
{
    (void)state;
    bool passed = false;
    for (uint64_t n = 1; !passed; n++) {
        struct vdb_env *env = vdb_env_memory_create();
        struct vdb_err err = {0};
        struct vdb_vectors v;
        assert_ok(vdb_npy_write(env, "ids.npy", VDB_NPY_I32, old_ids, 1, 2, &err), &err);
        vdb_env_memory_fail_at(env, n, VDB_NO_SPACE, false, n);
        passed = vdb_npy_write(env, "ids.npy", VDB_NPY_I32, new_ids, 2, 3, &err) == VDB_OK;
        vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
        assert_ok(vdb_vectors_load(env, "ids.npy", &v, &err), &err);
        assert_int_equal(v.count, passed ? 2 : 1);
        vdb_vectors_fini(&v);
        vdb_file_kind kind;
        uint64_t bytes;
        assert_int_equal(env->ops->stat(env, "ids.npy.tmp", &kind, &bytes, &err), VDB_NOT_FOUND);
        assert_true(n < 100);
        vdb_env_memory_destroy(env);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads_back), cmocka_unit_test(test_faults)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
