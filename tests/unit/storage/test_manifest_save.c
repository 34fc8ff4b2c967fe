/* test_manifest_save.c: metadata.json on the disk: saved and loaded, replaced under every fault. */
#include "support.h"

#include <stdlib.h>

#include "env/env_memory.h"
#include "manifest_world.h"

static struct vdb_env *fresh_env(void)
{
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    assert_non_null(env);
    assert_ok(env->ops->mkdir(env, "d", &err), &err);
    assert_ok(env->ops->sync_dir(env, ".", &err), &err);
    return env;
}

static void test_save_and_load(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_manifest got;
    struct vdb_env *env = fresh_env();
    assert_fails(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), VDB_NOT_FOUND, &err,
                 "metadata.json");
    assert_ok(vdb_manifest_save(env, "d", &collection, &err), &err);
    vdb_env_memory_crash(env, 0); /* durable when it returned */
    assert_ok(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), &err);
    assert_same(&got, &collection);
    assert_fails(vdb_manifest_load(env, "d", VDB_MANIFEST_DATABASE, &got, &err), VDB_CORRUPT, &err,
                 "\"d/metadata.json\": magic");
    assert_true(vdb_env_memory_flip(env, "d/metadata.json", 40, 1));
    assert_fails(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), VDB_CORRUPT, &err,
                 "\"d/metadata.json\": checksum mismatch");
    vdb_env_memory_destroy(env);
}

/* A file that no manifest can be is refused before it fills the memory. */
static void test_too_large_a_file(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct vdb_manifest got;
    struct vdb_env *env = fresh_env();
    char *blanks = malloc((2 << 20) + 1);
    memset(blanks, ' ', (2 << 20) + 1);
    assert_ok(vdb_env_replace_file(env, "d/metadata.json", blanks, (2 << 20) + 1, &err), &err);
    assert_fails(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), VDB_CORRUPT, &err,
                 "not a manifest");
    free(blanks);
    vdb_env_memory_destroy(env);
}

/* Replaces a manifest with the n-th operation failing (for good or once), then perhaps a power cut: what is there
 * is the old one or the new one; the new one if save said so, and never nothing. True when the fault was reached.
 */
static bool save_with_fault(uint64_t n, bool forever, uint64_t cut)
{
    struct vdb_err err = {0};
    struct vdb_manifest got;
    struct vdb_manifest next = collection;
    struct vdb_env *env = fresh_env();
    assert_ok(vdb_manifest_save(env, "d", &collection, &err), &err);
    next.wal_first = 18;
    vdb_env_memory_fail_at(env, n, n % 2 == 0 ? VDB_IO : VDB_NO_SPACE, forever, n * 7 + cut);
    uint64_t before = vdb_env_memory_operations(env);
    vdb_status status = vdb_manifest_save(env, "d", &next, &err);
    bool reached = vdb_env_memory_operations(env) - before >= n;
    vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
    assert_int_equal(status, reached ? (n % 2 == 0 ? VDB_IO : VDB_NO_SPACE) : VDB_OK);
    if (cut != 1) {
        vdb_env_memory_crash(env, cut);
    }
    vdb_status loaded = vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err);
    if (loaded != VDB_OK || (got.wal_first != 17 && got.wal_first != 18) || (!reached && got.wal_first != 18)) {
        fail_msg("operation %llu fails%s, cut %llu: %s, wal_first %llu", (unsigned long long)n,
                 forever ? " for good" : "", (unsigned long long)cut, loaded == VDB_OK ? "loads" : err.text,
                 (unsigned long long)got.wal_first);
    }
    /* And a second try goes through, whatever the first left lying. */
    next.wal_first = 19;
    assert_ok(vdb_manifest_save(env, "d", &next, &err), &err);
    vdb_env_memory_crash(env, 0);
    assert_ok(vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err), &err);
    assert_int_equal(got.wal_first, 19);
    vdb_env_memory_destroy(env);
    return reached;
}

static void test_save_with_every_fault(void **state)
{
    (void)state;
    static const uint64_t cuts[] = {0, UINT64_MAX, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int forever = 0; forever < 2; forever++) {
        for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
            uint64_t n = 1;
            while (save_with_fault(n, forever != 0, cuts[c])) {
                n++;
            }
            assert_true(n > 4); /* open, write, sync, rename, sync_dir at least */
        }
    }
}

/* A load that fails in any step says so and changes nothing. */
static void test_load_with_every_fault(void **state)
{
    (void)state;
    struct vdb_env *env = fresh_env();
    struct vdb_err err = {0};
    struct vdb_manifest got;
    assert_ok(vdb_manifest_save(env, "d", &collection, &err), &err);
    for (uint64_t n = 1;; n++) {
        vdb_env_memory_fail_at(env, n, VDB_IO, false, n);
        vdb_status status = vdb_manifest_load(env, "d", VDB_MANIFEST_COLLECTION, &got, &err);
        if (vdb_env_memory_operations(env) < n) {
            assert_int_equal(status, VDB_OK);
            assert_true(n > 2);
            break;
        }
        assert_int_equal(status, VDB_IO);
    }
    vdb_env_memory_destroy(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_too_large_a_file),
        cmocka_unit_test(test_save_with_every_fault),
        cmocka_unit_test(test_load_with_every_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
