/* test_env_memory.c: the in-memory env's power cuts, kills, faults and damage, one rule at a time.
 *
 * Where a power cut has a choice, the tests list all outcomes that are legal, run many seeds, and want to see
 * each of these and no other. Random histories are in test_env_crash.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/memory_image.h"
#include "unit/env/env_world.h"

#include <pthread.h>

enum { SECTOR = VDB_MEMORY_SECTOR_BYTES, SEEDS = 400 };

static void must(vdb_status status)
{
    assert_int_equal(status, VDB_OK);
}

static struct vdb_env *create_env(void)
{
    struct vdb_env *env = vdb_env_memory_create();
    assert_non_null(env);
    return env;
}

static void put(struct vdb_env *env, const char *path, const char *text, bool sync)
{
    struct vdb_file *file;
    must(env->ops->open(env, path, CREATE, &file, NULL));
    must(env->ops->write_at(env, file, text, strlen(text), 0, NULL));
    if (sync) {
        must(env->ops->sync(env, file, NULL));
    }
    env->ops->close(env, file);
}

/* The content as text, "-" when there is no such file; a static buffer. */
static const char *text_of(struct vdb_env *env, const char *path)
{
    static char text[4096];
    uint8_t *data;
    size_t bytes;
    vdb_status status = vdb_env_read_file(env, path, sizeof text - 1, &data, &bytes, NULL);
    if (status == VDB_NOT_FOUND) {
        return "-";
    }
    must(status);
    memcpy(text, data, bytes + 1);
    free(data);
    return text;
}

static bool is_there(struct vdb_env *env, const char *path)
{
    vdb_file_kind kind;
    uint64_t bytes;
    return env->ops->stat(env, path, &kind, &bytes, NULL) == VDB_OK;
}

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

/* Contents: every image that the rules allow, by plain enumeration, against what the seeds give.
 *
 * Durable are three sectors of 'a'. Then, unsynced: bytes 256 to 1279 become 'b' (pieces in three sectors), the
 * file is cut to 700 bytes, and bytes 1000 to 1699 become 'c' (pieces in three sectors, past the end). */
struct image {
    size_t bytes;
    char data[4 * SECTOR];
};

struct image_set {
    size_t count;
    struct image images[1024];
    bool reached[1024];
};

struct step {
    size_t offset, bytes; /* of a truncation (fill 0): the new size, 0 */
    char fill;
};

static const struct step history[] = {{256, 1024, 'b'}, {700, 0, 0}, {1000, 700, 'c'}};
enum { HISTORY_COUNT = sizeof history / sizeof history[0] };

static size_t find_image(const struct image_set *set, const struct image *image)
{
    size_t i = 0;
    while (i < set->count && (set->images[i].bytes != image->bytes ||
                              memcmp(set->images[i].data, image->data, image->bytes) != 0)) {
        i++;
    }
    return i;
}

/* Adds all outcomes of the steps from `step` on, from the image `from` (zero past its size). */
static void enumerate(struct image_set *set, struct image from, size_t step)
{
    if (step == HISTORY_COUNT) {
        if (find_image(set, &from) == set->count) {
            assert_true(set->count < sizeof set->images / sizeof set->images[0]);
            set->images[set->count++] = from;
        }
        return;
    }
    const struct step *s = &history[step];
    if (s->fill == 0) {
        enumerate(set, from, step + 1);
        for (size_t i = s->offset; i < from.bytes; i++) {
            from.data[i] = 0;
        }
        from.bytes = s->offset;
        enumerate(set, from, step + 1);
        return;
    }
    size_t end = s->offset + s->bytes;
    size_t first_sector = s->offset / SECTOR;
    size_t sectors = (end - 1) / SECTOR - first_sector + 1;
    for (size_t kept = 0; kept < (size_t)1 << sectors; kept++) {
        for (int with_size = 0; with_size < 2; with_size++) {
            struct image image = from;
            for (size_t i = s->offset; i < end; i++) {
                if ((kept >> (i / SECTOR - first_sector) & 1) != 0) {
                    image.data[i] = s->fill;
                    image.bytes = i + 1 > image.bytes ? i + 1 : image.bytes;
                }
            }
            image.bytes = with_size != 0 && end > image.bytes ? end : image.bytes;
            enumerate(set, image, step + 1);
        }
    }
}

static void run_history(struct vdb_env *env)
{
    char data[4 * SECTOR];
    struct vdb_file *file;
    must(env->ops->open(env, "f", CREATE | VDB_OPEN_TRUNCATE, &file, NULL));
    memset(data, 'a', sizeof data);
    must(env->ops->write_at(env, file, data, 3 * SECTOR, 0, NULL));
    must(env->ops->sync(env, file, NULL));
    must(env->ops->sync_dir(env, "/", NULL));
    for (size_t i = 0; i < HISTORY_COUNT; i++) {
        memset(data, history[i].fill, sizeof data);
        if (history[i].fill == 0) {
            must(env->ops->truncate(env, file, history[i].offset, NULL));
        } else {
            must(env->ops->write_at(env, file, data, history[i].bytes, history[i].offset, NULL));
        }
    }
    env->ops->close(env, file);
}

static void test_every_surviving_image_is_legal(void **state)
{
    (void)state;
    static struct image_set set;
    struct image base = {.bytes = 3 * SECTOR};
    memset(base.data, 'a', base.bytes);
    set.count = 0;
    enumerate(&set, base, 0);
    struct vdb_env *env = create_env();
    for (uint64_t seed = 0; seed < 40000; seed++) {
        struct image image = {0};
        struct vdb_file *file;
        run_history(env);
        vdb_env_memory_crash(env, seed);
        must(env->ops->open(env, "f", VDB_OPEN_READ, &file, NULL));
        must(env->ops->read_at(env, file, image.data, sizeof image.data, 0, &image.bytes, NULL));
        env->ops->close(env, file);
        size_t found = find_image(&set, &image);
        if (found == set.count) {
            fail_msg("seed %llu leaves %zu bytes that no choice allows", (unsigned long long)seed, image.bytes);
        }
        set.reached[found] = true;
        if (seed == 0) {
            assert_int_equal(found, find_image(&set, &base));
        }
    }
    size_t reached = 0;
    for (size_t i = 0; i < set.count; i++) {
        reached += set.reached[i];
    }
    print_message("%zu legal images, %zu reached\n", set.count, reached);
    assert_true(set.count > 50);
    assert_int_equal(reached, set.count);
    vdb_env_memory_destroy(env);
}

/* Names: a history's outcomes as short texts; each seed must give one of the legal ones, and each must come. */
struct scene {
    const char *label;
    void (*before)(struct vdb_env *env); /* made durable */
    void (*after)(struct vdb_env *env);  /* pending at the power cut */
    void (*describe)(struct vdb_env *env, char out[static 64]);
    const char *legal[8];
};

static void run_scene(const struct scene *scene)
{
    bool reached[8] = {false};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct vdb_env *env = create_env();
        scene->before(env);
        scene->after(env);
        vdb_env_memory_crash(env, seed);
        char found[64];
        scene->describe(env, found);
        vdb_env_memory_destroy(env);
        size_t i = 0;
        while (scene->legal[i] != NULL && strcmp(scene->legal[i], found) != 0) {
            i++;
        }
        if (scene->legal[i] == NULL) {
            fail_msg("%s: seed %llu leaves \"%s\"", scene->label, (unsigned long long)seed, found);
        }
        reached[i] = true;
    }
    for (size_t i = 0; scene->legal[i] != NULL; i++) {
        if (!reached[i]) {
            fail_msg("%s: \"%s\" never came", scene->label, scene->legal[i]);
        }
    }
}

/* Which of these paths are there, in a row. */
static void describe_paths(struct vdb_env *env, char *out, const char *const *paths)
{
    out[0] = '\0';
    for (; *paths != NULL; paths++) {
        if (is_there(env, *paths)) {
            strcat(strcat(out, out[0] == '\0' ? "" : " "), *paths);
        }
    }
}

static void before_manifest(struct vdb_env *env)
{
    must(vdb_env_replace_file(env, "M", "old", 3, NULL));
}
static void rename_manifest(struct vdb_env *env)
{
    put(env, "M.tmp", "new", true);
    must(env->ops->rename(env, "M.tmp", "M", NULL));
}
static void rename_manifest_unsynced(struct vdb_env *env)
{
    put(env, "M.tmp", "new", false);
    must(env->ops->rename(env, "M.tmp", "M", NULL));
    must(env->ops->sync_dir(env, "/", NULL));
}
static void describe_manifest(struct vdb_env *env, char out[static 64])
{
    const char *text = text_of(env, "M");
    size_t used = (size_t)snprintf(out, 64, "%s", memcmp(text, "\0\0\0", 4) == 0 ? "zeros" : text);
    snprintf(out + used, 64 - used, "/%s", text_of(env, "M.tmp"));
}

static void before_nothing(struct vdb_env *env)
{
    (void)env;
}
static void create_two(struct vdb_env *env)
{
    put(env, "x", "", false);
    put(env, "y", "", false);
}
static void describe_xy(struct vdb_env *env, char out[static 64])
{
    describe_paths(env, out, (const char *const[]){"x", "y", NULL});
}

static void before_move(struct vdb_env *env)
{
    must(vdb_env_mkdirs(env, "d", NULL));
    must(vdb_env_replace_file(env, "d/f", "f", 1, NULL));
}
static void move_to_new_dir(struct vdb_env *env)
{
    must(env->ops->mkdir(env, "e", NULL));
    must(env->ops->rename(env, "d/f", "e/f", NULL));
}
static void move_two_new_dirs_down(struct vdb_env *env)
{
    must(env->ops->mkdir(env, "e", NULL));
    must(env->ops->mkdir(env, "e/g", NULL));
    must(env->ops->rename(env, "d/f", "e/g/f", NULL));
}
static void move_out_and_rmdir(struct vdb_env *env)
{
    must(env->ops->rename(env, "d/f", "f", NULL));
    must(env->ops->rmdir(env, "d", NULL));
}
static void move_out_and_replace_dir(struct vdb_env *env)
{
    must(env->ops->rename(env, "d/f", "f", NULL));
    must(env->ops->mkdir(env, "e", NULL));
    must(env->ops->rename(env, "e", "d", NULL));
}
static void move_twice(struct vdb_env *env)
{
    must(env->ops->rename(env, "d/f", "f", NULL));
    must(env->ops->rename(env, "f", "e", NULL));
}
static void move_and_sync_source(struct vdb_env *env)
{
    must(env->ops->rename(env, "d/f", "f", NULL));
    must(env->ops->sync_dir(env, "d", NULL));
}
static void create_remove_create(struct vdb_env *env)
{
    must(env->ops->unlink(env, "d/f", NULL));
    put(env, "d/f", "2", true);
}
static void describe_move(struct vdb_env *env, char out[static 64])
{
    describe_paths(env, out, (const char *const[]){"d", "d/f", "e", "e/f", "e/g", "e/g/f", "f", NULL});
}
static void describe_d_f(struct vdb_env *env, char out[static 64])
{
    snprintf(out, 64, "%.60s", text_of(env, "d/f"));
}

static void test_every_surviving_name_is_legal(void **state)
{
    (void)state;
    static const struct scene scenes[] = {
        /* E4: old or new, whole; the temporary name may be there beside the old. */
        {"replace", before_manifest, rename_manifest, describe_manifest, {"old/-", "old/new", "new/-"}},
        /* The classical fault: the name is durable, the content is not. */
        {"replace without sync",
         before_manifest,
         rename_manifest_unsynced,
         describe_manifest,
         {"new/-", "/-", "zeros/-"}},
        {"two creations", before_nothing, create_two, describe_xy, {"", "x", "y", "x y"}},
        /* T1, T2: at one of the places, never at both, never at neither. */
        {"move to a new directory", before_move, move_to_new_dir, describe_move, {"d d/f", "d d/f e", "d e e/f"}},
        {"move two new directories down",
         before_move,
         move_two_new_dirs_down,
         describe_move,
         {"d d/f", "d d/f e", "d d/f e e/g", "d e e/g e/g/f"}},
        {"move twice", before_move, move_twice, describe_move, {"d d/f", "d f", "d e"}},
        /* T3: the emptied directory goes last. */
        {"move out, rmdir", before_move, move_out_and_rmdir, describe_move, {"d d/f", "d f", "f"}},
        {"move out, replace the directory",
         before_move,
         move_out_and_replace_dir,
         describe_move,
         {"d d/f", "d d/f e", "d f", "d e f"}},
        {"move, sync the source", before_move, move_and_sync_source, describe_move, {"d f"}},
        {"remove and create again", before_move, create_remove_create, describe_d_f, {"f", "-", "2"}},
    };
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++) {
        run_scene(&scenes[i]);
    }
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
    VDB_CHECK(ops->unlink(env, "a/log", err));
    VDB_CHECK(ops->sync_dir(env, "a", err));
    VDB_CHECK(vdb_env_remove_tree(env, "a/b", err));

cleanup:
    free(data);
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
    assert_int_equal(total, 27); /* changes only with the workload or the helpers */
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
        cmocka_unit_test(test_every_surviving_image_is_legal),
        cmocka_unit_test(test_every_surviving_name_is_legal),
        cmocka_unit_test(test_failed_sync_is_not_made_good),
        cmocka_unit_test(test_every_call_can_fail),
        cmocka_unit_test(test_replace_file_under_faults_and_power_cuts),
        cmocka_unit_test(test_mkdirs_takes_back_what_is_not_durable),
        cmocka_unit_test(test_failing_write_may_write_a_part),
        cmocka_unit_test(test_flip),
        cmocka_unit_test(test_disk_is_full_at_the_limit),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
