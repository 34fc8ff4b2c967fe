/* test_env_clone.c: copies of an in-memory env: alike, apart, without handles, and cheap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/env/state_text.h"

#include <pthread.h>
#include <time.h>

static char *cut(struct vdb_env *env, uint64_t seed)
{
    vdb_env_memory_crash(env, seed);
    return state_text(env);
}

static void make_much(struct vdb_env *env)
{
    must(vdb_env_mkdirs(env, "a/b", NULL));
    fill(env, "a/b/f", 'a', 0, 3000, true);
    fill(env, "a/b/f", 'b', 2000, 3000, false);
    cut_to(env, "a/b/f", 4500);
    fill(env, "g", 'g', 0, 100, false);
    must(env->ops->rename(env, "g", "a/g", NULL));
    must(env->ops->rename(env, "a/b", "c", NULL));
    must(env->ops->mkdir(env, "a/b", NULL));
    must(env->ops->link(env, "c/f", "a/b/h", NULL));
    must(env->ops->unlink(env, "c/f", NULL));
    must(env->ops->rename(env, "a/b", "c/b", NULL));
    must(env->ops->rename(env, "a", "c/b/a", NULL));
}

/* A copy answers every power cut as the original would have. */
static void test_clone_is_alike(void **state)
{
    (void)state;
    struct vdb_env *original = create_env();
    make_much(original);
    (void)original->ops->now_us(original);
    uint64_t choices = vdb_env_memory_crash_choices(original);
    for (uint64_t seed = 0; seed < 600; seed++) {
        struct vdb_env *same = create_env();
        make_much(same);
        struct vdb_env *copy = clone_env(original);
        struct vdb_env *copy_of_copy = clone_env(copy);
        assert_int_equal(vdb_env_memory_crash_choices(copy), choices);
        char *want = cut(same, seed);
        char *have = cut(copy, seed);
        char *have_too = cut(copy_of_copy, seed);
        assert_string_equal(want, have);
        assert_string_equal(want, have_too);
        free(want), free(have), free(have_too);
        vdb_env_memory_destroy(same), vdb_env_memory_destroy(copy), vdb_env_memory_destroy(copy_of_copy);
    }
    /* Clock and entropy go on alike. */
    struct vdb_env *copy = clone_env(original);
    uint8_t a[8], b[8];
    must(original->ops->entropy(original, a, 8, NULL));
    must(copy->ops->entropy(copy, b, 8, NULL));
    assert_memory_equal(a, b, 8);
    assert_true(original->ops->now_us(original) == copy->ops->now_us(copy));
    vdb_env_memory_destroy(copy);
    vdb_env_memory_destroy(original);
}

/* A copy goes on as the original would have: what comes later knows what it comes after. */
static void go_on(struct vdb_env *env)
{
    const struct vdb_env_ops *ops = env->ops;
    must(ops->rename(env, "g", "h", NULL));
    assert_int_equal(ops->rename(env, "d", "d/e/x", NULL), VDB_IO); /* into itself */
    must(ops->rename(env, "d/e/../x", "y", NULL));
    must(ops->unlink(env, "d/e/z", NULL));
    must(ops->rmdir(env, "d/e", NULL));
    fill(env, "y", 'y', 5, 10, false);
}

static void test_clone_goes_on(void **state)
{
    (void)state;
    static struct texts of_original, of_copy;
    struct vdb_env *original = create_env();
    settle(original, 10);
    must(vdb_env_mkdirs(original, "d/e", NULL));
    fill(original, "d/x", 'x', 0, 10, true);
    must(original->ops->link(original, "d/x", "d/e/z", NULL));
    must(original->ops->sync_dir(original, "d", NULL));
    must(original->ops->rename(original, "f", "g", NULL)); /* pending */
    struct vdb_env *copy = clone_env(original);
    go_on(copy);
    go_on(original);
    assert_int_equal(vdb_env_memory_crash_choices(copy), vdb_env_memory_crash_choices(original));
    walk(original, &of_original);
    walk(copy, &of_copy);
    expect_within("original", &of_original, &of_copy, "does not come in the copy");
    expect_within("copy", &of_copy, &of_original, "comes only in the copy");
    assert_true(of_copy.count > 10);
    free_texts(&of_original), free_texts(&of_copy);
    vdb_env_memory_destroy(copy), vdb_env_memory_destroy(original);
}

/* What is done to one of the two does not show in the other, whatever they share. */
static void test_clone_is_apart(void **state)
{
    (void)state;
    for (int who = 0; who < 2; who++) {
        for (int what = 0; what < 7; what++) {
            struct vdb_env *original = create_env();
            fill(original, "f", 'a', 0, 2000, true);
            fill(original, "p", 'a', 0, 1000, true);
            must(original->ops->sync_dir(original, "/", NULL));
            fill(original, "p", 'p', 500, 1000, false); /* pending in both */
            struct vdb_env *copy = clone_env(original);
            struct vdb_env *changed = who == 0 ? original : copy;
            struct vdb_env *other = who == 0 ? copy : original;
            char *before = state_text(other);
            switch (what) {
            case 0:
                fill(changed, "f", 'b', 100, 5000, true);
                fill(changed, "p", 'b', 100, 5000, false);
                break;
            case 1:
                cut_to(changed, "f", 10);
                cut_to(changed, "p", 10000);
                break;
            case 2:
                assert_true(vdb_env_memory_flip(changed, "f", 1, 1));
                assert_true(vdb_env_memory_flip(changed, "p", 600, 1));
                break;
            case 3:
                must(changed->ops->unlink(changed, "f", NULL));
                must(changed->ops->rename(changed, "p", "q", NULL));
                break;
            case 4:
                vdb_env_memory_crash(changed, 0);
                fill(changed, "f", 'c', 0, 10, false);
                fill(changed, "p", 'c', 0, 10, true);
                break;
            case 5:
                vdb_env_memory_crash_choice(changed, 2);
                fill(changed, "p", 'd', 0, 3000, false);
                break;
            default:
                vdb_env_memory_destroy(changed);
                changed = NULL;
                break;
            }
            char *after = state_text(other);
            assert_string_equal(before, after);
            /* And no more or less is durable than it was. */
            char *left = cut(other, 0);
            assert_string_equal(left, "f=2000a p=1000a ");
            free(before), free(after), free(left);
            vdb_env_memory_destroy(changed);
            vdb_env_memory_destroy(other);
        }
    }
}

/* Handles, locks, maps and faults stay behind, and with them the files that only they hold. */
static void test_clone_has_no_handles(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    const struct vdb_env_ops *ops = env->ops;
    struct vdb_file *file;
    struct vdb_lock *lock, *lock_in_copy;
    struct vdb_map map;
    fill(env, "gone", 'g', 0, 10, true);
    fill(env, "mapped", 'm', 0, 10, true);
    must(ops->open(env, "gone", VDB_OPEN_WRITE, &file, NULL));
    must(ops->unlink(env, "gone", NULL));
    must(ops->sync_dir(env, "/", NULL));
    must(ops->lock(env, "LOCK", &lock, NULL));
    must(ops->map(env, "mapped", &map, NULL));
    vdb_env_memory_fail_at(env, 3, VDB_IO, true, 0);
    struct vdb_env *copy = clone_env(env);
    assert_int_equal(vdb_env_memory_operations(copy), 0);
    for (int i = 0; i < 5; i++) {
        must(ops->lock(copy, "LOCK", &lock_in_copy, NULL));
        ops->unlock(copy, lock_in_copy);
    }
    fill(copy, "mapped", 'x', 0, 10, false); /* asserts in the original */
    assert_memory_equal(map.data, "mmmmmmmmmm", 10);
    vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
    must(ops->write_at(env, file, "still there", 11, 0, NULL));
    ops->close(env, file);
    ops->unlock(env, lock);
    vdb_env_memory_destroy(env);
    char *text = state_text(copy);
    assert_string_equal(text, "LOCK= mapped=10x ");
    free(text);
    vdb_env_memory_destroy(copy);
}

/* E3 in a copy: what a failed sync has lost stays lost. */
static void test_clone_of_a_failed_sync(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    struct vdb_file *file;
    settle(env, 10);
    must(env->ops->open(env, "f", VDB_OPEN_WRITE, &file, NULL));
    must(env->ops->write_at(env, file, "bbb", 3, 0, NULL));
    vdb_env_memory_fail_at(env, 1, VDB_IO, false, 0);
    assert_int_equal(env->ops->sync(env, file, NULL), VDB_IO);
    struct vdb_env *copy = clone_env(env);
    must(env->ops->open(copy, "f", VDB_OPEN_WRITE, &file, NULL));
    must(copy->ops->sync(copy, file, NULL));
    char *text = cut(copy, 0);
    assert_string_equal(text, "f=10a ");
    free(text);
    vdb_env_memory_destroy(copy);
    vdb_env_memory_destroy(env);
}

/* Copies of one state in several threads at once (the thread sanitizer is the judge). */
struct walker {
    struct vdb_env *env;
    uint64_t first, step;
    pthread_t thread;
};

static void *walk_apart(void *arg)
{
    struct walker *walker = arg;
    uint64_t choices = vdb_env_memory_crash_choices(walker->env);
    for (uint64_t i = walker->first; i < choices && i < 2000; i += walker->step) {
        struct vdb_env *copy = vdb_env_memory_clone(walker->env);
        assert_non_null(copy);
        vdb_env_memory_crash_choice(copy, i);
        fill(copy, "f", 'z', 100, 2000, true);
        vdb_env_memory_destroy(copy);
    }
    return NULL;
}

static void test_clones_in_threads(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    settle(env, 3000);
    fill(env, "f", 'b', 1000, 3000, false);
    make_much(env);
    struct walker walkers[4];
    for (unsigned i = 0; i < 4; i++) {
        walkers[i] = (struct walker){.env = env, .first = i, .step = 4};
        assert_int_equal(pthread_create(&walkers[i].thread, NULL, walk_apart, &walkers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(walkers[i].thread, NULL), 0);
    }
    vdb_env_memory_destroy(env);
}

/* Not a test of anything but the clock: what a state of a store's size costs. */
static void test_cost(void **state)
{
    (void)state;
    enum { FILES = 16, STATES = 5000 };
    struct vdb_env *env = create_env();
    for (int i = 0; i < FILES; i++) {
        char name[8];
        snprintf(name, sizeof name, "%d", i);
        fill(env, name, 'x', 0, 3 * PAGE, true);
        fill(env, name, 'x', 3 * PAGE, 3 * PAGE, true);
    }
    must(env->ops->sync_dir(env, "/", NULL));
    fill(env, "0", 'y', 6 * PAGE, PAGE, false);
    fill(env, "0", 'y', 7 * PAGE, PAGE, false);
    fill(env, "new", 'y', 0, PAGE, false);
    must(env->ops->rename(env, "new", "1", NULL));
    uint64_t choices = vdb_env_memory_crash_choices(env);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (uint64_t i = 0; i < STATES; i++) {
        struct vdb_env *copy = clone_env(env);
        vdb_env_memory_crash_choice(copy, i % choices);
        vdb_env_memory_destroy(copy);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    double us = (double)(end.tv_sec - begin.tv_sec) * 1e6 + (double)(end.tv_nsec - begin.tv_nsec) / 1e3;
    print_message("%llu choices; %.1f us each for copy, power cut and destruction\n", (unsigned long long)choices,
                  us / STATES);
    vdb_env_memory_destroy(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clone_is_alike),
        cmocka_unit_test(test_clone_goes_on),
        cmocka_unit_test(test_clone_is_apart),
        cmocka_unit_test(test_clone_has_no_handles),
        cmocka_unit_test(test_clone_of_a_failed_sync),
        cmocka_unit_test(test_clones_in_threads),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
