/* test_env_alloc.c: every allocation of the envs fails in turn: it is reported, and nothing is half done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/env/alloc_fail.h"
#include "unit/env/env_world.h"

static vdb_status note_nothing(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    (void)ctx, (void)name, (void)kind, (void)err;
    return VDB_OK;
}

/* All that allocates, or might. The directory is as it was before, when it fails and when it does not. */
static vdb_status workload(struct vdb_env *env, const char *root, struct vdb_err *err)
{
    const struct vdb_env_ops *ops = env->ops;
    vdb_status status = VDB_OK;
    char dir[300], a[320], b[320], lock_path[320];
    struct vdb_file *file = NULL;
    struct vdb_lock *lock = NULL;
    struct vdb_map map = {0};
    uint8_t *data = NULL;
    size_t bytes;
    static const uint8_t text[5000];
    snprintf(dir, sizeof dir, "%s/dir", root);
    snprintf(a, sizeof a, "%s/a", dir);
    snprintf(b, sizeof b, "%s/b", dir);
    snprintf(lock_path, sizeof lock_path, "%s/LOCK", dir);
    VDB_CHECK(vdb_env_mkdirs(env, dir, err));
    VDB_CHECK(ops->lock(env, lock_path, &lock, err));
    VDB_CHECK(ops->open(env, a, CREATE, &file, err));
    VDB_CHECK(ops->write_at(env, file, text, sizeof text, 0, err));
    VDB_CHECK(ops->sync(env, file, err));
    VDB_CHECK(ops->truncate(env, file, 100000, err));
    VDB_CHECK(ops->link(env, a, b, err));
    VDB_CHECK(ops->map(env, b, &map, err));
    VDB_CHECK(ops->touch(env, &map, 0, map.bytes, err));
    VDB_CHECK(ops->rename(env, a, dir, err) == VDB_IO ? VDB_OK : VDB_NO_MEMORY);
    VDB_CHECK(ops->list(env, dir, note_nothing, NULL, err));
    VDB_CHECK(vdb_env_replace_file(env, b, "new", 3, err));
    VDB_CHECK(vdb_env_read_file(env, b, 10, &data, &bytes, err));

cleanup:
    free(data);
    ops->unmap(env, &map);
    ops->close(env, file);
    ops->unlock(env, lock);
    return status;
}

static void test_every_allocation_can_fail(void **state)
{
    struct world *w = *state;
    if (!alloc_fail_works()) {
        skip();
    }
    uint64_t made = 0;
    uint64_t failed = 0;
    for (int forever = 0; forever < 2; forever++) {
        for (uint64_t n = 1;; n++) {
            struct vdb_err err = {0};
            alloc_fail_arm(n, forever != 0);
            vdb_status status = workload(w->env, w->root, &err);
            made = alloc_fail_disarm();
            if (made < n) {
                assert_int_equal(status, VDB_OK);
                break;
            }
            if (status != VDB_OK) {
                assert_int_equal(status, VDB_NO_MEMORY);
                failed++;
            }
            /* As if nothing had been: all of it can be removed, and be done again. */
            vdb_status gone = vdb_env_remove_tree(w->env, at(w, "dir"), &w->err);
            assert_true(gone == VDB_OK || gone == VDB_NOT_FOUND);
            struct vdb_err none = {0};
            assert_int_equal(workload(w->env, w->root, &none), VDB_OK);
            expect_file(w, "dir/b", "new");
            assert_int_equal(vdb_env_remove_tree(w->env, at(w, "dir"), &w->err), VDB_OK);
        }
    }
    print_message("%llu allocations, %llu failures\n", (unsigned long long)made, (unsigned long long)failed);
    assert_true(made >= 6);
    assert_true(failed >= 2 * 6 - 2);
}

/* M2: sync, a power cut and the end need no memory. */
static void test_no_memory_is_needed_to_sync_and_crash(void **state)
{
    struct world *w = *state;
    if (!alloc_fail_works()) {
        skip();
    }
    const struct vdb_env_ops *ops = w->env->ops;
    for (uint64_t seed = 0; seed < 40; seed++) {
        put_file(w, "f", "first");
        assert_int_equal(ops->sync_dir(w->env, w->root, &w->err), VDB_OK);
        assert_int_equal(ops->sync_dir(w->env, "/", &w->err), VDB_OK);
        struct vdb_file *file = open_ok(w, "f", VDB_OPEN_WRITE);
        assert_int_equal(ops->write_at(w->env, file, "second", 6, 600, &w->err), VDB_OK);
        struct vdb_env *copy = vdb_env_memory_clone(w->env);
        assert_non_null(copy);
        alloc_fail_arm(1, true);
        vdb_status status = ops->sync(w->env, file, &w->err);
        vdb_status status_dir = ops->sync_dir(w->env, w->root, &w->err);
        ops->close(w->env, file);
        vdb_env_memory_crash(w->env, seed);
        vdb_env_memory_crash(copy, seed);
        vdb_env_memory_destroy(copy);
        uint64_t made = alloc_fail_disarm();
        assert_int_equal(status, VDB_OK);
        assert_int_equal(status_dir, VDB_OK);
        assert_int_equal(made, 0);
        vdb_file_kind kind;
        uint64_t bytes;
        assert_int_equal(ops->stat(w->env, at(w, "f"), &kind, &bytes, &w->err), VDB_OK);
        assert_int_equal(bytes, 606);
    }
}

static void test_clone_without_memory(void **state)
{
    struct world *w = *state;
    if (!alloc_fail_works()) {
        skip();
    }
    put_file(w, "f", "first");
    assert_int_equal(make_dir(w, "d"), VDB_OK);
    assert_int_equal(rename_status(w, "f", "d/f"), VDB_OK);
    assert_int_equal(w->env->ops->link(w->env, at(w, "d/f"), at(w, "g"), &w->err), VDB_OK);
    uint64_t n = 0;
    struct vdb_env *copy = NULL;
    while (copy == NULL) {
        alloc_fail_arm(++n, false);
        copy = vdb_env_memory_clone(w->env);
        uint64_t made = alloc_fail_disarm();
        assert_true(copy != NULL ? made == n - 1 : made == n);
        assert_true(n < 1000);
    }
    assert_true(n > 10);
    vdb_env_memory_destroy(copy);
    /* Without memory for the plan the outcomes are too many to number. */
    alloc_fail_arm(1, true);
    uint64_t choices = vdb_env_memory_crash_choices(w->env);
    (void)alloc_fail_disarm();
    assert_true(choices == UINT64_MAX);
    assert_true(vdb_env_memory_crash_choices(w->env) < UINT64_MAX);
    expect_file(w, "d/f", "first");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_every_allocation_can_fail),
        ON_MEMORY(test_no_memory_is_needed_to_sync_and_crash),
        ON_MEMORY(test_clone_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
