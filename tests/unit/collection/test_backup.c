/* test_backup.c: a second data directory from one in use: its state, its refusals, and that it is there whole or not
 * at all, whatever fails or dies meanwhile; the source never suffers. */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "collection/database.h"
#include "env/env_memory.h"

enum { IDS = 24, DIMENSION = 2 };

/* Which stamp each id has; 0: not there. */
struct model {
    unsigned by_id[IDS];
};

struct world {
    struct vdb_env *env;
    struct vdb_database *database;
    struct model a;
    struct model b;
};

static struct vdb_collection *get(struct vdb_database *database, const char *name)
{
    struct vdb_err err = {0};
    struct vdb_collection *collection;
    assert_ok(vdb_database_get(database, name, &collection, &err), &err);
    return collection;
}

/* Writes ids [first, end) with that stamp; stamp 0 deletes them. */
static vdb_status put(struct vdb_database *database, const char *name, struct model *model, unsigned first,
                      unsigned end, unsigned stamp, struct vdb_err *err)
{
    struct vdb_collection *collection = get(database, name);
    struct vdb_write_result result;
    struct vdb_point points[IDS];
    float vectors[IDS][DIMENSION];
    struct vdb_id ids[IDS];
    char metadata[64];
    snprintf(metadata, sizeof metadata, "{\"stamp\":%u}", stamp);
    for (unsigned n = first; n < end; n++) {
        vectors[n][0] = (float)stamp;
        vectors[n][1] = (float)n;
        ids[n] = (struct vdb_id){.number = n};
        points[n] = (struct vdb_point){ids[n], vectors[n], DIMENSION, {metadata, strlen(metadata)}};
    }
    vdb_status status = stamp == 0 ? vdb_collection_delete(collection, ids + first, end - first, &result, err)
                                   : vdb_collection_upsert(collection, points + first, end - first, &result, err);
    for (unsigned n = first; n < end && status == VDB_OK; n++) {
        model->by_id[n] = stamp;
    }
    vdb_collection_unref(collection);
    return status;
}

static void read_all(struct vdb_database *database, const char *name, struct model *seen)
{
    struct vdb_err err = {0};
    struct vdb_collection *collection = get(database, name);
    struct vdb_hits hits = {0};
    struct vdb_id ids[IDS];
    uint64_t count;
    memset(seen, 0, sizeof *seen);
    for (unsigned n = 0; n < IDS; n++) {
        ids[n] = (struct vdb_id){.number = n};
    }
    assert_ok(vdb_collection_get(collection, ids, IDS, &hits, &err), &err);
    for (size_t i = 0; i < hits.count; i++) {
        const struct vdb_hit *hit = &hits.hits[i];
        char metadata[64];
        unsigned n = (unsigned)hit->id.number;
        assert_in_range(n, 0, IDS - 1);
        seen->by_id[n] = (unsigned)hit->vector[0];
        assert_true(hit->vector[1] == (float)n);
        snprintf(metadata, sizeof metadata, "{\"stamp\":%u}", seen->by_id[n]);
        assert_true(vdb_str_is(hit->metadata, metadata));
    }
    assert_ok(vdb_collection_count(collection, (struct vdb_str){NULL, 0}, &count, &err), &err);
    assert_int_equal(count, hits.count);
    vdb_hits_fini(&hits);
    vdb_collection_unref(collection);
}

static void expect_state(struct vdb_database *database, const struct model *a, const struct model *b)
{
    struct model seen;
    read_all(database, "a", &seen);
    assert_memory_equal(&seen, a, sizeof seen);
    read_all(database, "b", &seen);
    assert_memory_equal(&seen, b, sizeof seen);
}

static size_t count_snapshots(struct vdb_database *database, const char *name)
{
    struct vdb_err err = {0};
    struct vdb_snapshot_info *list;
    size_t count;
    struct vdb_collection *collection = get(database, name);
    assert_ok(vdb_collection_snapshot_list(collection, &list, &count, &err), &err);
    free(list);
    vdb_collection_unref(collection);
    return count;
}

static void checkpoint(struct vdb_database *database, const char *name)
{
    struct vdb_err err = {0};
    struct vdb_collection *collection = get(database, name);
    assert_ok(vdb_collection_checkpoint(collection, &err), &err);
    vdb_collection_unref(collection);
}

/* "a" has segments, bitmaps and rows in memory; "b" rows in memory only. */
static void make_world(struct world *w)
{
    struct vdb_err err = {0};
    struct vdb_schema schema = {.name = "a", .dimension = DIMENSION, .metric = VDB_METRIC_L2};
    *w = (struct world){.env = vdb_env_memory_create()};
    assert_ok(vdb_database_open(w->env, "data", false, &w->database, &err), &err);
    assert_ok(vdb_database_create(w->database, &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
    snprintf(schema.name, sizeof schema.name, "b");
    assert_ok(vdb_database_create(w->database, &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
    assert_ok(put(w->database, "a", &w->a, 0, 20, 1, &err), &err);
    checkpoint(w->database, "a");
    assert_ok(put(w->database, "a", &w->a, 3, 8, 2, &err), &err);
    assert_ok(put(w->database, "a", &w->a, 10, 12, 0, &err), &err);
    checkpoint(w->database, "a");
    assert_ok(put(w->database, "a", &w->a, 15, IDS, 3, &err), &err);
    assert_ok(put(w->database, "a", &w->a, 0, 2, 0, &err), &err);
    assert_ok(put(w->database, "b", &w->b, 5, 9, 4, &err), &err);
}

static void free_world(struct world *w)
{
    vdb_database_close(w->database);
    vdb_env_memory_destroy(w->env);
}

static void expect_database(struct vdb_env *env, const char *path, const struct model *a, const struct model *b)
{
    struct vdb_err err = {0};
    struct vdb_database *database;
    assert_ok(vdb_database_open(env, path, true, &database, &err), &err);
    expect_state(database, a, b);
    struct vdb_collection *collection = get(database, "a");
    struct vdb_verify_result verified;
    assert_ok(vdb_collection_verify(collection, &verified, &err), &err);
    vdb_collection_unref(collection);
    vdb_database_close(database);
}

static void test_backup_has_the_state(void **state)
{
    (void)state;
    struct world w;
    struct vdb_err err = {0};
    struct model a;
    struct vdb_database *backup;
    make_world(&w);
    a = w.a;
    assert_ok(vdb_database_backup(w.database, "backups/monday", NULL, NULL, &err), &err);
    assert_int_equal(count_snapshots(w.database, "a"), 0);
    expect_state(w.database, &w.a, &w.b);
    assert_ok(put(w.database, "a", &w.a, 0, IDS, 9, &err), &err); /* both go on, each by itself */
    assert_ok(vdb_database_open(w.env, "backups/monday", true, &backup, &err), &err);
    expect_state(backup, &a, &w.b);
    struct model changed = a;
    assert_ok(put(backup, "a", &changed, 4, 20, 7, &err), &err);
    checkpoint(backup, "a");
    expect_state(backup, &changed, &w.b);
    expect_state(w.database, &w.a, &w.b);
    vdb_database_close(backup);
    expect_database(w.env, "backups/monday", &changed, &w.b);
    free_world(&w);
}

static void test_where_a_backup_may_go(void **state)
{
    (void)state;
    struct world w;
    struct vdb_err err = {0};
    struct vdb_file *file;
    make_world(&w);
    assert_fails(vdb_database_backup(w.database, "data", NULL, NULL, &err), VDB_EXISTS, &err, "holds \"");
    assert_ok(vdb_env_mkdirs(w.env, "used", &err), &err);
    assert_ok(w.env->ops->open(w.env, "used/letter.txt", VDB_OPEN_WRITE | VDB_OPEN_CREATE, &file, &err), &err);
    w.env->ops->close(w.env, file);
    assert_fails(vdb_database_backup(w.database, "used", NULL, NULL, &err), VDB_EXISTS, &err,
                 "backup to \"used\": holds \"letter.txt\"");
    assert_ok(vdb_env_mkdirs(w.env, "mount/lost+found", &err), &err);
    assert_ok(vdb_database_backup(w.database, "mount", NULL, NULL, &err), &err);
    expect_database(w.env, "mount", &w.a, &w.b);
    assert_fails(vdb_database_backup(w.database, "mount", NULL, NULL, &err), VDB_EXISTS, &err, "holds");
    expect_database(w.env, "mount", &w.a, &w.b);
    free_world(&w);
}

/* ---- Progress, cancelling, drops ---- */

struct watch {
    struct world *w;
    unsigned calls;
    bool cancel;
    bool drop_b;
};

static bool watch(void *ctx, const char *collection, uint64_t done, uint64_t total)
{
    struct watch *watch = ctx;
    struct vdb_err err = {0};
    assert_string_equal(collection, watch->calls == 0 ? "a" : "b");
    assert_int_equal(done, ++watch->calls);
    assert_int_equal(total, 2);
    if (watch->drop_b) {
        assert_ok(vdb_database_drop(watch->w->database, "b", &err), &err);
    }
    return !watch->cancel;
}

static void test_progress_and_cancelling(void **state)
{
    (void)state;
    struct world w;
    struct vdb_err err = {0};
    struct vdb_database *backup;
    make_world(&w);
    struct watch seen = {.w = &w};
    assert_ok(vdb_database_backup(w.database, "one", watch, &seen, &err), &err);
    assert_int_equal(seen.calls, 2);
    seen = (struct watch){.w = &w, .cancel = true};
    assert_fails(vdb_database_backup(w.database, "two", watch, &seen, &err), VDB_CANCELLED, &err,
                 "1 of 2 collections");
    assert_int_equal(seen.calls, 1);
    assert_int_equal(count_snapshots(w.database, "a"), 0);
    assert_fails(vdb_database_open(w.env, "two", true, &backup, &err), VDB_NOT_FOUND, &err, "two");
    /* A collection that goes meanwhile is left out. */
    seen = (struct watch){.w = &w, .drop_b = true};
    assert_ok(vdb_database_backup(w.database, "three", watch, &seen, &err), &err);
    assert_ok(vdb_database_open(w.env, "three", true, &backup, &err), &err);
    struct vdb_collection *collection;
    assert_fails(vdb_database_get(backup, "b", &collection, &err), VDB_NOT_FOUND, &err, "\"b\"");
    vdb_database_close(backup);
    free_world(&w);
}

/* ---- Beside writes ---- */

struct writer {
    struct world *w;
    atomic_bool stop;
    _Atomic unsigned stamp;
};

static void *write_on(void *arg)
{
    struct writer *writer = arg;
    struct vdb_err err = {0};
    for (unsigned stamp = 10; !atomic_load(&writer->stop); stamp++) {
        assert_ok(put(writer->w->database, "a", &writer->w->a, 0, IDS, stamp, &err), &err);
        atomic_store(&writer->stamp, stamp);
    }
    return NULL;
}

/* A backup beside writes has one batch whole, not older than its beginning. */
static void test_backup_beside_writes(void **state)
{
    (void)state;
    struct world w;
    struct vdb_err err = {0};
    pthread_t thread;
    make_world(&w);
    struct writer writer = {.w = &w};
    assert_int_equal(pthread_create(&thread, NULL, write_on, &writer), 0);
    while (atomic_load(&writer.stamp) == 0) {
    }
    for (int i = 0; i < 6; i++) {
        char to[32];
        struct model seen;
        struct vdb_database *backup;
        snprintf(to, sizeof to, "backup%d", i);
        unsigned before = atomic_load(&writer.stamp);
        assert_ok(vdb_database_backup(w.database, to, NULL, NULL, &err), &err);
        unsigned after = atomic_load(&writer.stamp) + 1;
        assert_ok(vdb_database_open(w.env, to, true, &backup, &err), &err);
        read_all(backup, "a", &seen);
        assert_in_range(seen.by_id[0], before, after);
        for (unsigned n = 1; n < IDS; n++) {
            assert_int_equal(seen.by_id[n], seen.by_id[0]);
        }
        vdb_database_close(backup);
    }
    atomic_store(&writer.stop, true);
    pthread_join(thread, NULL);
    expect_state(w.database, &w.a, &w.b);
    free_world(&w);
}

/* ---- Whatever fails or dies ---- */

/* Opens the target; false: it is none yet, and says so. */
static bool is_backup(struct vdb_env *env, const struct world *w)
{
    struct vdb_err err = {0};
    struct vdb_database *backup;
    vdb_status status = vdb_database_open(env, "to/here", true, &backup, &err);
    if (status != VDB_OK) {
        assert_int_equal(status, VDB_NOT_FOUND);
        return false;
    }
    expect_state(backup, &w->a, &w->b);
    vdb_database_close(backup);
    return true;
}

static void test_crash_everywhere(void **state)
{
    (void)state;
    static const uint64_t cuts[] = {UINT64_MAX, 0, 1, 2, 3, 4};
    uint64_t cases = 0;
    uint64_t whole = 0;
    bool passed = false;
    struct world w;
    struct vdb_err err = {0};
    make_world(&w);
    vdb_database_close(w.database);
    for (uint64_t n = 1; !passed; n++) {
        struct vdb_env *env = vdb_env_memory_clone(w.env);
        struct vdb_database *database;
        assert_ok(vdb_database_open(env, "data", true, &database, &err), &err);
        vdb_env_memory_fail_at(env, n, VDB_IO, true, n);
        vdb_status status = vdb_database_backup(database, "to/here", NULL, NULL, &err);
        passed = vdb_env_memory_operations(env) < n;
        assert_true(passed || status != VDB_OK || n + 20 > vdb_env_memory_operations(env));
        vdb_database_close(database);
        vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
        for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++) {
            struct vdb_env *copy = vdb_env_memory_clone(env);
            vdb_env_memory_crash(copy, cuts[c] > 0 && cuts[c] < UINT64_MAX ? n * 100 + cuts[c] : cuts[c]);
            expect_database(copy, "data", &w.a, &w.b);
            bool there = is_backup(copy, &w);
            assert_true(there || status != VDB_OK);
            whole += there;
            vdb_env_memory_destroy(copy);
            cases++;
        }
        vdb_env_memory_destroy(env);
    }
    w.database = NULL;
    free_world(&w);
    print_message("%llu crashes, after %llu of them the backup was there, whole\n", (unsigned long long)cases,
                  (unsigned long long)whole);
    assert_true(cases > 500 && whole >= 6 && whole < cases);
}

static void test_one_fault_everywhere(void **state)
{
    (void)state;
    uint64_t cases = 0;
    uint64_t failed = 0;
    bool passed = false;
    struct world w;
    struct vdb_err err = {0};
    make_world(&w);
    vdb_database_close(w.database);
    for (uint64_t n = 1; !passed; n++) {
        struct vdb_env *env = vdb_env_memory_clone(w.env);
        struct vdb_database *database;
        struct vdb_database *again;
        vdb_status fault = n % 2 == 0 ? VDB_IO : VDB_NO_SPACE;
        assert_ok(vdb_database_open(env, "data", true, &database, &err), &err);
        vdb_env_memory_fail_at(env, n, fault, false, n);
        vdb_status status = vdb_database_backup(database, "to/here", NULL, NULL, &err);
        passed = vdb_env_memory_operations(env) < n;
        vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
        expect_state(database, &w.a, &w.b);
        if (status != VDB_OK) {
            assert_int_equal(status, fault);
            assert_non_null(strstr(err.text, "backup to \"to/here\""));
            failed++;
        }
        vdb_database_close(database);
        bool there = is_backup(env, &w); /* its manifest may have been the last to fail */
        assert_true(there || status != VDB_OK);
        assert_ok(vdb_database_open(env, "data", true, &again, &err), &err);
        assert_ok(vdb_database_backup(again, "second", NULL, NULL, &err), &err);
        vdb_database_close(again);
        expect_database(env, "second", &w.a, &w.b);
        vdb_env_memory_destroy(env);
        cases++;
    }
    w.database = NULL;
    free_world(&w);
    print_message("%llu faults, %llu reported\n", (unsigned long long)cases, (unsigned long long)failed);
    assert_true(failed > 80);
}

/* Damage is not carried on: the backup stops and names the file. */
static void test_damage_is_not_copied(void **state)
{
    (void)state;
    static const char *const files[] = {"vectors/vectors_000000.bin", "meta/meta_000000.bin",
                                        "meta/dead_000000_000001.bin"};
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        struct world w;
        struct vdb_err err = {0};
        struct vdb_database *backup;
        char path[96];
        make_world(&w);
        snprintf(path, sizeof path, "data/collections/a/%s", files[f]);
        if (!vdb_env_memory_flip(w.env, path, 4096 + 3, 0x20)) {
            fail_msg("%s is not there", path);
        }
        vdb_status status = vdb_database_backup(w.database, "to", NULL, NULL, &err);
        if (f < 2 || status != VDB_OK) { /* the checkpoint on the way may write a newer bitmap */
            assert_int_equal(status, VDB_CORRUPT);
            assert_non_null(strstr(err.text, strrchr(files[f], '/') + 1));
            assert_int_equal(vdb_database_open(w.env, "to", true, &backup, &err), VDB_NOT_FOUND);
        } else {
            expect_database(w.env, "to", &w.a, &w.b);
        }
        assert_int_equal(count_snapshots(w.database, "a"), 0);
        free_world(&w);
    }
}

/* Also in a block that opening does not look at. */
static void test_damage_deep_inside_is_not_copied(void **state)
{
    (void)state;
    enum { ROWS = 3000 }; /* of 64 bytes each: three blocks of vectors */
    static const uint64_t offsets[] = {5000, 66000, 100000, 140000, 190000};
    struct world w;
    struct vdb_err err = {0};
    struct vdb_write_result result;
    struct vdb_point *points = calloc(ROWS, sizeof *points);
    float vector[DIMENSION] = {1, 2};
    assert_non_null(points);
    make_world(&w);
    for (unsigned n = 0; n < ROWS; n++) {
        points[n] = (struct vdb_point){{.number = 1000 + n}, vector, DIMENSION, {NULL, 0}};
    }
    struct vdb_collection *collection = get(w.database, "b");
    assert_ok(vdb_collection_upsert(collection, points, ROWS, &result, &err), &err);
    vdb_collection_unref(collection);
    checkpoint(w.database, "b");
    vdb_database_close(w.database);
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        struct vdb_env *env = vdb_env_memory_clone(w.env);
        struct vdb_database *database;
        assert_true(vdb_env_memory_flip(env, "data/collections/b/vectors/vectors_000000.bin", offsets[i], 4));
        assert_ok(vdb_database_open(env, "data", true, &database, &err), &err);
        assert_fails(vdb_database_backup(database, "to", NULL, NULL, &err), VDB_CORRUPT, &err,
                     "vectors_000000.bin");
        vdb_database_close(database);
        vdb_env_memory_destroy(env);
    }
    w.database = NULL;
    free_world(&w);
    free(points);
}

/* ---- One snapshot ---- */

static void test_restore_a_snapshot(void **state)
{
    (void)state;
    struct world w;
    struct vdb_err err = {0};
    struct vdb_snapshot_info info;
    struct vdb_compact_options options = {.full = true};
    struct vdb_compact_result result;
    struct vdb_database *restored;
    struct model seen;
    make_world(&w);
    struct model then = w.a;
    struct vdb_collection *collection = get(w.database, "a");
    assert_ok(vdb_collection_snapshot_create(collection, "monday", &info, &err), &err);
    assert_ok(put(w.database, "a", &w.a, 0, IDS, 8, &err), &err);
    assert_ok(vdb_collection_compact(collection, &options, &result, &err), &err);
    vdb_collection_unref(collection);
    assert_ok(vdb_database_restore_snapshot(w.database, "a", "monday", "restored", &err), &err);
    assert_ok(vdb_database_open(w.env, "restored", true, &restored, &err), &err);
    read_all(restored, "a", &seen);
    assert_memory_equal(&seen, &then, sizeof seen);
    vdb_database_close(restored);
    expect_state(w.database, &w.a, &w.b);
    assert_fails(vdb_database_restore_snapshot(w.database, "a", "monday", "restored", &err), VDB_EXISTS, &err,
                 "restored");
    assert_fails(vdb_database_restore_snapshot(w.database, "a", "tuesday", "other", &err), VDB_NOT_FOUND, &err,
                 "other");
    assert_fails(vdb_database_restore_snapshot(w.database, "a", "../b", "other2", &err), VDB_INVALID, &err,
                 "name");
    assert_fails(vdb_database_restore_snapshot(w.database, "z", "monday", "other3", &err), VDB_NOT_FOUND, &err,
                 "\"z\"");
    free_world(&w);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF); /* many cases fail on purpose */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backup_has_the_state),    cmocka_unit_test(test_where_a_backup_may_go),
        cmocka_unit_test(test_progress_and_cancelling), cmocka_unit_test(test_backup_beside_writes),
        cmocka_unit_test(test_crash_everywhere),        cmocka_unit_test(test_one_fault_everywhere),
        cmocka_unit_test(test_damage_is_not_copied),    cmocka_unit_test(test_damage_deep_inside_is_not_copied),
        cmocka_unit_test(test_restore_a_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
