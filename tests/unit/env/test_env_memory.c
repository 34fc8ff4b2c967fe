/* test_env_memory.c: the in-memory env's power cuts, kills, faults and damage, one rule at a time.
 *
 * What exactly a power cut may leave is in test_env_power.c, random histories are in test_env_crash.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/env/memory_world.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static void test_power_cut_drops_what_is_unsynced(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    put(env, "synced", "one", true);
    put(env, "content_unsynced", "two", false);
    must(env->ops->mkdir(env, "dir", NULL));
    must(env->ops->sync_dir(env, "/", NULL));
    put(env, "name_unsynced", "three", true);
    put(env, "dir/name_unsynced", "four", true);
    put(env, "synced", "ONE and more", false);
    vdb_env_memory_crash(env, 0);
    assert_string_equal(text_of(env, "synced"), "one");
    assert_string_equal(text_of(env, "content_unsynced"), "");
    assert_string_equal(text_of(env, "name_unsynced"), "-");
    assert_true(is_there(env, "dir"));
    assert_string_equal(text_of(env, "dir/name_unsynced"), "-");

    /* Removals and truncations, too, come back. */
    struct vdb_file *file;
    must(env->ops->open(env, "synced", VDB_OPEN_WRITE | VDB_OPEN_TRUNCATE, &file, NULL));
    env->ops->close(env, file);
    must(env->ops->unlink(env, "content_unsynced", NULL));
    must(env->ops->rmdir(env, "dir", NULL));
    vdb_env_memory_crash(env, 0);
    assert_string_equal(text_of(env, "synced"), "one");
    assert_true(is_there(env, "content_unsynced"));
    assert_true(is_there(env, "dir"));
    vdb_env_memory_destroy(env);
}

/* E2 to the letter: a directory whose own name is not durable takes its synced content along. */
static void test_power_cut_drops_a_directory_without_a_durable_name(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    must(env->ops->mkdir(env, "dir", NULL));
    put(env, "dir/f", "x", true);
    must(env->ops->sync_dir(env, "dir", NULL));
    vdb_env_memory_crash(env, 0);
    assert_false(is_there(env, "dir"));

    must(vdb_env_mkdirs(env, "a/b/c", NULL)); /* which syncs each parent */
    must(vdb_env_replace_file(env, "a/b/c/f", "kept", 4, NULL));
    vdb_env_memory_crash(env, 0);
    assert_string_equal(text_of(env, "a/b/c/f"), "kept");
    vdb_env_memory_destroy(env);
}

/* A killed process: all is as it was seen, but no more durable than before. */
static void test_kill_keeps_everything(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    struct vdb_lock *lock;
    put(env, "f", "one", true);
    must(env->ops->sync_dir(env, "/", NULL));
    put(env, "f", "two", false);
    put(env, "g", "new", false);
    must(env->ops->lock(env, "LOCK", &lock, NULL));
    vdb_env_memory_crash(env, UINT64_MAX);
    env->ops->unlock(env, lock);
    assert_string_equal(text_of(env, "f"), "two");
    assert_string_equal(text_of(env, "g"), "new");
    vdb_env_memory_crash(env, 0);
    assert_string_equal(text_of(env, "f"), "one");
    assert_string_equal(text_of(env, "g"), "-");
    vdb_env_memory_destroy(env);
}

static void test_crash_closes_handles_and_locks(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    const struct vdb_env_ops *ops = env->ops;
    uint64_t seeds[] = {0, 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        struct vdb_file *file;
        struct vdb_lock *lock, *again;
        put(env, "f", "x", true);
        must(ops->sync_dir(env, "/", NULL));
        must(ops->open(env, "f", VDB_OPEN_WRITE, &file, NULL));
        must(ops->lock(env, "LOCK", &lock, NULL));
        vdb_env_memory_crash(env, seeds[i]);
        char byte;
        size_t got;
        uint64_t size;
        struct vdb_err err;
        assert_int_equal(ops->read_at(env, file, &byte, 1, 0, &got, &err), VDB_IO);
        assert_string_equal(err.text, "read \"f\" at byte 0: Bad file descriptor");
        assert_int_equal(ops->write_at(env, file, "y", 1, 0, &err), VDB_IO);
        assert_int_equal(ops->size(env, file, &size, &err), VDB_IO);
        assert_int_equal(ops->truncate(env, file, 0, &err), VDB_IO);
        assert_int_equal(ops->sync(env, file, &err), VDB_IO);
        must(ops->lock(env, "LOCK", &again, &err));
        ops->unlock(env, lock);
        assert_int_equal(ops->lock(env, "LOCK", &lock, &err),
                         VDB_BUSY); /* the old one freed nothing of the new */
        ops->unlock(env, again);
        ops->close(env, file);
        assert_string_equal(text_of(env, "f"), "x");
    }
    vdb_env_memory_destroy(env);
}

/* Destroying frees what was left open (the sanitizer's leak check is the judge). */
static void test_destroy_with_open_handles(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    struct vdb_file *file;
    struct vdb_lock *lock;
    must(env->ops->open(env, "f", CREATE, &file, NULL));
    must(env->ops->unlink(env, "f", NULL));
    must(env->ops->lock(env, "LOCK", &lock, NULL));
    /* Two directories that have changed places: each holds the other, on one side each. */
    must(vdb_env_mkdirs(env, "a/b", NULL));
    must(env->ops->rename(env, "a/b", "b", NULL));
    must(env->ops->rename(env, "a", "b/a", NULL));
    vdb_env_memory_destroy(env);
    vdb_env_memory_destroy(NULL);
}

/* E3: a sync that failed is not made good by one that succeeds. */
static void test_failed_sync_is_not_made_good(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    struct vdb_file *file;
    struct vdb_err err;
    put(env, "f", "one", true);
    must(env->ops->sync_dir(env, "/", NULL));
    must(env->ops->open(env, "f", VDB_OPEN_WRITE, &file, NULL));
    must(env->ops->write_at(env, file, "two", 3, 0, NULL));
    vdb_env_memory_fail_at(env, 1, VDB_IO, false, 1);
    assert_int_equal(env->ops->sync(env, file, &err), VDB_IO);
    assert_string_equal(err.text, "sync \"f\": Input/output error");
    must(env->ops->write_at(env, file, "more", 4, 3, NULL));
    must(env->ops->sync(env, file, NULL));
    assert_string_equal(text_of(env, "f"), "twomore"); /* still in the cache */
    env->ops->close(env, file);
    vdb_env_memory_crash(env, 0);
    assert_string_equal(text_of(env, "f"), "onemore");
    vdb_env_memory_destroy(env);
}

/* A small workload that touches every operation once or more. */
static vdb_status list_nothing(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    (void)ctx, (void)name, (void)kind, (void)err;
    return VDB_OK;
}

static vdb_status workload(struct vdb_env *env, struct vdb_err *err)
{
    const struct vdb_env_ops *ops = env->ops;
    vdb_status status = VDB_OK;
    struct vdb_lock *lock = NULL;
    struct vdb_file *file = NULL;
    struct vdb_map map = {0};
    uint8_t *data = NULL;
    size_t bytes;
    uint8_t random[8];
    VDB_CHECK(ops->lock(env, "LOCK", &lock, err));
    VDB_CHECK(ops->entropy(env, random, sizeof random, err));
    VDB_CHECK(vdb_env_mkdirs(env, "a/b", err));
    VDB_CHECK(vdb_env_replace_file(env, "a/b/M", "new", 3, err));
    VDB_CHECK(vdb_env_read_file(env, "a/b/M", 10, &data, &bytes, err));
    VDB_CHECK(ops->open(env, "a/log", CREATE, &file, err));
    VDB_CHECK(ops->write_at(env, file, "0123456789", 10, 0, err));
    VDB_CHECK(ops->truncate(env, file, 5, err));
    VDB_CHECK(ops->sync(env, file, err));
    VDB_CHECK(ops->list(env, "a", list_nothing, NULL, err));
    VDB_CHECK(ops->link(env, "a/log", "a/b/log", err));
    VDB_CHECK(ops->map(env, "a/b/log", &map, err));
    VDB_CHECK(ops->touch(env, &map, 0, map.bytes, err));
    ops->advise(env, &map, 0, map.bytes, VDB_ACCESS_RANDOM); /* a hint does not fail, nor count */
    VDB_CHECK(ops->unlink(env, "a/log", err));
    VDB_CHECK(ops->sync_dir(env, "a", err));
    VDB_CHECK(vdb_env_remove_tree(env, "a/b", err));

cleanup:
    free(data);
    ops->unmap(env, &map);
    ops->close(env, file);
    ops->unlock(env, lock);
    return status;
}

/* Every call fails once, alone and for ever, until the workload passes untouched. */
static void test_every_call_can_fail(void **state)
{
    (void)state;
    uint64_t total = 0;
    for (int forever = 0; forever < 2; forever++) {
        for (uint64_t n = 1;; n++) {
            vdb_status fault = n % 2 == 0 ? VDB_IO : VDB_NO_SPACE;
            struct vdb_env *env = create_env();
            struct vdb_err err = {0};
            vdb_env_memory_fail_at(env, n, fault, forever != 0, n);
            vdb_status status = workload(env, &err);
            if (status != VDB_OK) {
                assert_int_equal(status, fault);
                assert_int_equal(err.status, fault);
                assert_non_null(
                    strstr(err.text, fault == VDB_IO ? ": Input/output error" : ": No space left on"));
            } else {
                /* Only when no call failed, or the one whose failure is of no account (there is none here). */
                total = vdb_env_memory_operations(env);
                assert_int_equal(total, n - 1);
            }
            vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
            assert_int_equal(vdb_env_memory_operations(env), 0);
            must(env->ops->mkdir(env, "works_again", NULL));
            assert_int_equal(vdb_env_memory_operations(env), 1);
            vdb_env_memory_crash(env, n);
            vdb_env_memory_destroy(env);
            if (status == VDB_OK) {
                break;
            }
        }
    }
    print_message("%llu calls\n", (unsigned long long)total);
    assert_int_equal(total, 31); /* changes only with the workload or the helpers */
}

/* A file being replaced is the old or the new, whole, whatever call fails and whatever a power cut leaves. */
static void test_replace_file_under_faults_and_power_cuts(void **state)
{
    (void)state;
    bool saw_old = false;
    bool saw_new = false;
    char big[3 * SECTOR + 1];
    memset(big, 'n', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    for (uint64_t seed = 0; seed < 50; seed++) {
        vdb_status status = VDB_IO;
        for (uint64_t n = 1; status != VDB_OK; n++) {
            struct vdb_env *env = create_env();
            must(vdb_env_replace_file(env, "M", "old", 3, NULL));
            vdb_env_memory_fail_at(env, n, VDB_NO_SPACE, seed % 2 != 0, seed);
            status = vdb_env_replace_file(env, "M", big, strlen(big), NULL);
            vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
            if (seed % 2 == 0 && status != VDB_OK) {
                assert_false(is_there(env, "M.tmp")); /* a live process cleans up */
            }
            vdb_env_memory_crash(env, seed);
            bool is_new = strcmp(text_of(env, "M"), big) == 0;
            assert_true(is_new || strcmp(text_of(env, "M"), "old") == 0);
            assert_true(is_new || status != VDB_OK);
            saw_old = saw_old || !is_new;
            saw_new = saw_new || (is_new && status != VDB_OK);
            vdb_env_memory_destroy(env);
        }
    }
    assert_true(saw_old && saw_new);
}

/* A directory whose parent could not be synced is not left behind as if it were durable. */
static void test_mkdirs_takes_back_what_is_not_durable(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 3; n++) { /* stat, mkdir, sync_dir */
        struct vdb_env *env = create_env();
        vdb_env_memory_fail_at(env, n, VDB_IO, false, 0);
        assert_int_equal(vdb_env_mkdirs(env, "d", NULL), VDB_IO);
        assert_false(is_there(env, "d"));
        must(vdb_env_mkdirs(env, "d", NULL));
        vdb_env_memory_crash(env, 0);
        assert_true(is_there(env, "d"));
        vdb_env_memory_destroy(env);
    }
}

static void test_failing_write_may_write_a_part(void **state)
{
    (void)state;
    bool saw[11] = {false};
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct vdb_env *env = create_env();
        struct vdb_file *file;
        uint64_t size;
        must(env->ops->open(env, "f", CREATE, &file, NULL));
        vdb_env_memory_fail_at(env, 1, VDB_NO_SPACE, true, seed);
        assert_int_equal(env->ops->write_at(env, file, "0123456789", 10, 0, NULL), VDB_NO_SPACE);
        assert_int_equal(env->ops->write_at(env, file, "0123456789", 10, 10, NULL), VDB_NO_SPACE);
        vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
        must(env->ops->size(env, file, &size, NULL));
        assert_true(size <= 10); /* and nothing of the second: the process is dead */
        saw[size] = true;
        assert_memory_equal(text_of(env, "f"), "0123456789", size);
        env->ops->close(env, file);
        vdb_env_memory_destroy(env);
    }
    for (size_t i = 0; i <= 10; i++) {
        assert_true(saw[i]);
    }
}

/* A disk that is full for those who write; sectors that cannot be read; syncs that fail: the others pass. */
static void test_faults_of_one_kind(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    const struct vdb_env_ops *ops = env->ops;
    struct vdb_file *file, *second;
    struct vdb_map map;
    uint64_t size;
    put(env, "f", "text", true);
    must(ops->open(env, "f", VDB_OPEN_WRITE, &file, NULL));

    vdb_env_memory_fail_kinds_at(env, VDB_MEMORY_WRITES, 2, VDB_NO_SPACE, true, 0);
    must(ops->write_at(env, file, "T", 1, 0, NULL)); /* the first */
    assert_string_equal(text_of(env, "f"), "Text");
    assert_int_equal(vdb_env_memory_operations(env), 1); /* reads do not count */
    assert_int_equal(ops->write_at(env, file, "", 0, 0, NULL), VDB_NO_SPACE);
    assert_int_equal(ops->truncate(env, file, 0, NULL), VDB_NO_SPACE);
    assert_int_equal(ops->open(env, "new", CREATE, &second, NULL), VDB_NO_SPACE);
    assert_int_equal(ops->open(env, "f", VDB_OPEN_WRITE | VDB_OPEN_TRUNCATE, &second, NULL), VDB_NO_SPACE);
    assert_int_equal(ops->link(env, "f", "g", NULL), VDB_NO_SPACE);
    assert_int_equal(ops->rename(env, "f", "g", NULL), VDB_NO_SPACE);
    assert_int_equal(ops->unlink(env, "f", NULL), VDB_NO_SPACE);
    assert_int_equal(ops->mkdir(env, "d", NULL), VDB_NO_SPACE);
    assert_int_equal(vdb_env_memory_operations(env), 9);
    must(ops->sync(env, file, NULL));
    must(ops->sync_dir(env, "/", NULL));
    must(ops->map(env, "f", &map, NULL));
    must(ops->touch(env, &map, 0, 4, NULL));
    ops->unmap(env, &map);
    assert_string_equal(text_of(env, "f"), "Text");

    vdb_env_memory_fail_kinds_at(env, VDB_MEMORY_READS, 1, VDB_IO, true, 0);
    char byte;
    size_t got;
    assert_int_equal(ops->read_at(env, file, &byte, 1, 0, &got, NULL), VDB_IO);
    assert_int_equal(ops->size(env, file, &size, NULL), VDB_IO);
    assert_int_equal(ops->map(env, "f", &map, NULL), VDB_IO);
    assert_int_equal(ops->open(env, "f", VDB_OPEN_READ, &second, NULL), VDB_IO);
    must(ops->write_at(env, file, "t", 1, 0, NULL));
    must(ops->sync(env, file, NULL));

    vdb_env_memory_fail_kinds_at(env, VDB_MEMORY_SYNCS | VDB_MEMORY_READS, 2, VDB_IO, false, 0);
    must(ops->sync_dir(env, "/", NULL));
    must(ops->write_at(env, file, "X", 1, 0, NULL));
    assert_int_equal(ops->sync(env, file, NULL), VDB_IO);
    must(ops->sync(env, file, NULL));

    vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
    must(ops->write_at(env, file, "X", 1, 0, NULL));
    assert_int_equal(vdb_env_memory_operations(env), 1); /* all kinds again */
    ops->close(env, file);
    vdb_env_memory_destroy(env);
}

static void test_flip(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    struct vdb_file *file;
    put(env, "f", "abcd", true);
    must(env->ops->mkdir(env, "d", NULL));
    must(env->ops->sync_dir(env, "/", NULL));
    must(env->ops->open(env, "f", VDB_OPEN_WRITE, &file, NULL));
    must(env->ops->write_at(env, file, "ef", 2, 4, NULL)); /* pending */
    assert_true(vdb_env_memory_flip(env, "f", 0, 0x20));
    assert_true(vdb_env_memory_flip(env, "f", 5, 0x20));
    assert_false(vdb_env_memory_flip(env, "f", 6, 0x20));
    assert_false(vdb_env_memory_flip(env, "f", UINT64_MAX, 0x20));
    assert_false(vdb_env_memory_flip(env, "g", 0, 0x20));
    assert_false(vdb_env_memory_flip(env, "d", 0, 0x20));
    assert_string_equal(text_of(env, "f"), "AbcdeF");
    must(env->ops->sync(env, file, NULL));
    env->ops->close(env, file);
    vdb_env_memory_crash(env, 0);
    assert_string_equal(text_of(env, "f"), "AbcdeF"); /* damage is durable */
    vdb_env_memory_destroy(env);
}

static void test_flip_shows_in_maps(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    struct vdb_map map, other;
    put(env, "f", "abcd", true);
    put(env, "g", "abcd", true);
    must(env->ops->map(env, "f", &map, NULL));
    must(env->ops->map(env, "g", &other, NULL));
    assert_true(vdb_env_memory_flip(env, "f", 3, 0x20));
    assert_memory_equal(map.data, "abcD", 4);
    assert_memory_equal(other.data, "abcd", 4);
    env->ops->unmap(env, &map);
    env->ops->unmap(env, &other);
    vdb_env_memory_destroy(env);
}

/* A power cut ends maps as it ends handles; their memory stays until unmap. A map that is left over is destroy's. */
static void test_crash_ends_maps(void **state)
{
    (void)state;
    uint64_t seeds[] = {0, 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        struct vdb_env *env = create_env();
        const struct vdb_env_ops *ops = env->ops;
        struct vdb_map map, left;
        struct vdb_err err;
        put(env, "f", "abcd", true);
        put(env, "g", "abcd", true);
        must(ops->sync_dir(env, "/", NULL));
        must(ops->map(env, "f", &map, NULL));
        must(ops->map(env, "g", &left, NULL));
        must(ops->unlink(env, "g", NULL));
        vdb_env_memory_crash(env, seeds[i]);
        assert_int_equal(ops->touch(env, &map, 1, 2, &err), VDB_IO);
        assert_string_equal(err.text, "read \"f\" at byte 1: Bad file descriptor");
        put(env, "f", "written", true); /* nobody has it mapped */
        assert_memory_equal(map.data, "abcd", 4);
        ops->unmap(env, &map);
        must(ops->map(env, "f", &map, NULL));
        assert_memory_equal(map.data, "written", 7);
        vdb_env_memory_destroy(env);
    }
}

#ifndef NDEBUG
/* E5's other half: who changes a file that is mapped has a bug, and hears of it. */
static void test_mapped_files_are_not_written(void **state)
{
    (void)state;
    for (int what = 0; what < 4; what++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct vdb_env *env = create_env();
            struct vdb_map map;
            struct vdb_file *file;
            signal(SIGABRT, SIG_DFL); /* not the test library's */
            if (freopen("/dev/null", "w", stderr) == NULL) {
                _exit(1);
            }
            put(env, "f", "abcd", true);
            must(env->ops->link(env, "f", "g", NULL));
            must(env->ops->map(env, "f", &map, NULL));
            must(env->ops->open(env, what == 3 ? "f.tmp" : "g", CREATE, &file, NULL));
            if (what == 0) {
                (void)!env->ops->write_at(env, file, "x", 1, 0, NULL);
            } else if (what == 1) {
                (void)!env->ops->truncate(env, file, 2, NULL);
            } else if (what == 2) {
                (void)!env->ops->open(env, "f", VDB_OPEN_WRITE | VDB_OPEN_TRUNCATE, &file, NULL);
            } else {
                must(env->ops->write_at(env, file, "new", 3, 0, NULL));
                must(env->ops->rename(env, "f.tmp", "f", NULL)); /* as one shall do it */
            }
            _exit(0);
        }
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_int_equal(what < 3, WIFSIGNALED(how) && WTERMSIG(how) == SIGABRT);
        assert_int_equal(what == 3, WIFEXITED(how) && WEXITSTATUS(how) == 0);
    }
}
#endif

static void test_disk_is_full_at_the_limit(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    struct vdb_file *file;
    struct vdb_err err;
    uint64_t size;
    must(env->ops->open(env, "f", CREATE, &file, NULL));
    assert_int_equal(env->ops->truncate(env, file, (uint64_t)VDB_MEMORY_FILE_BYTES_MAX + 1, &err), VDB_NO_SPACE);
    assert_string_equal(err.text, "truncate \"f\" at byte 1073741825: No space left on device");
    assert_int_equal(env->ops->write_at(env, file, "x", 1, VDB_MEMORY_FILE_BYTES_MAX, &err), VDB_NO_SPACE);
    assert_int_equal(env->ops->write_at(env, file, "x", 1, 1ull << 40, &err), VDB_NO_SPACE);
    must(env->ops->size(env, file, &size, NULL));
    assert_int_equal(size, 0);
    env->ops->close(env, file);
    vdb_env_memory_destroy(env);
}

/* Four threads on files, names, locks and the clock of one env; one file they all read. */
struct worker {
    struct vdb_env *env;
    struct vdb_file *shared;
    int number;
    pthread_t thread;
};

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct vdb_env *env = worker->env;
    const struct vdb_env_ops *ops = env->ops;
    char dir[32], path[64], text[32], shared[8];
    size_t got;
    snprintf(dir, sizeof dir, "common/%d", worker->number);
    snprintf(path, sizeof path, "%s/f", dir);
    for (int round = 0; round < 200; round++) {
        struct vdb_lock *lock;
        uint8_t *data;
        size_t bytes;
        snprintf(text, sizeof text, "%d %d", worker->number, round);
        must(vdb_env_mkdirs(env, dir, NULL));
        must(vdb_env_replace_file(env, path, text, strlen(text), NULL));
        must(vdb_env_read_file(env, path, 100, &data, &bytes, NULL));
        assert_string_equal((char *)data, text);
        free(data);
        struct vdb_map map;
        must(ops->map(env, path, &map, NULL));
        assert_memory_equal(map.data, text, map.bytes);
        ops->unmap(env, &map);
        must(ops->read_at(env, worker->shared, shared, 6, 0, &got, NULL));
        assert_memory_equal(shared, "shared", 6);
        if (ops->lock(env, "LOCK", &lock, NULL) == VDB_OK) {
            ops->unlock(env, lock);
        }
        (void)ops->now_us(env);
        must(vdb_env_remove_tree(env, dir, NULL));
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct vdb_env *env = create_env();
    struct worker workers[4];
    struct vdb_file *shared;
    put(env, "shared", "shared", true);
    must(env->ops->open(env, "shared", VDB_OPEN_READ, &shared, NULL));
    for (int i = 0; i < 4; i++) {
        workers[i] = (struct worker){.env = env, .shared = shared, .number = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    env->ops->close(env, shared);
    vdb_env_memory_destroy(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cut_drops_what_is_unsynced),
        cmocka_unit_test(test_power_cut_drops_a_directory_without_a_durable_name),
        cmocka_unit_test(test_kill_keeps_everything),
        cmocka_unit_test(test_crash_closes_handles_and_locks),
        cmocka_unit_test(test_destroy_with_open_handles),
        cmocka_unit_test(test_failed_sync_is_not_made_good),
        cmocka_unit_test(test_every_call_can_fail),
        cmocka_unit_test(test_replace_file_under_faults_and_power_cuts),
        cmocka_unit_test(test_mkdirs_takes_back_what_is_not_durable),
        cmocka_unit_test(test_failing_write_may_write_a_part),
        cmocka_unit_test(test_faults_of_one_kind),
        cmocka_unit_test(test_flip),
        cmocka_unit_test(test_flip_shows_in_maps),
        cmocka_unit_test(test_crash_ends_maps),
#ifndef NDEBUG
        cmocka_unit_test(test_mapped_files_are_not_written),
#endif
        cmocka_unit_test(test_disk_is_full_at_the_limit),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
