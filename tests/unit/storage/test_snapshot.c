/* test_snapshot.c: a snapshot that is opened beside its collection: what may happen in the middle of that, and what it
 * leaves alone. That snapshots hold what they should is tested by test_store.c and the crash tests. */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "env/env_memory.h"
#include "storage/batch.h"
#include "storage/store.h"

enum { DIMENSION = 2, ROWS = 20, WAIT_MS = 100 };

static const struct vdb_schema schema = {.name = "docs", .dimension = DIMENSION, .metric = VDB_METRIC_L2};

/* An env whose operations tell what they do, and stop to let others do something. */
struct world {
    struct vdb_env *env;
    struct vdb_store *store;
    pthread_t deleter;
    bool deletes_in_map; /* the next map of a snapshot's file starts the deletion of it */
    bool started;
    bool reads_in_sync; /* the next sync of c/vectors opens the snapshot */
    bool has_read;
    bool watched; /* changes are counted */
    atomic_uint changes;
    atomic_bool renamed;
};

static struct world *world;
static const struct vdb_env_ops *plain;

static void *delete_keep(void *arg)
{
    struct vdb_err err = {0};
    (void)arg;
    assert_ok(vdb_store_snapshot_delete(world->store, "keep", &err), &err);
    return NULL;
}

static void note_change(void)
{
    if (world->watched) {
        atomic_fetch_add(&world->changes, 1);
    }
}

static vdb_status told_map(struct vdb_env *env, const char *path, struct vdb_map *out, struct vdb_err *err)
{
    if (world->deletes_in_map && strstr(path, "snapshots/keep/vectors/") != NULL) {
        world->deletes_in_map = false;
        world->started = pthread_create(&world->deleter, NULL, delete_keep, NULL) == 0;
        for (int ms = 0; ms < WAIT_MS && !atomic_load(&world->renamed); ms++) {
            struct timespec pause = {0, 1000000};
            (void)nanosleep(&pause, NULL);
        }
    }
    return plain->map(env, path, out, err);
}

static vdb_status told_open(struct vdb_env *env, const char *path, unsigned flags, struct vdb_file **out,
                            struct vdb_err *err)
{
    if ((flags & VDB_OPEN_WRITE) != 0) {
        note_change();
    }
    return plain->open(env, path, flags, out, err);
}

static vdb_status told_rename(struct vdb_env *env, const char *from, const char *to, struct vdb_err *err)
{
    note_change();
    atomic_store(&world->renamed, true);
    return plain->rename(env, from, to, err);
}

static vdb_status told_mkdir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    note_change();
    return plain->mkdir(env, path, err);
}

static vdb_status told_unlink(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    note_change();
    return plain->unlink(env, path, err);
}

static void expect_rows(struct vdb_store *store, uint64_t points)
{
    struct vdb_err err = {0};
    struct vdb_view view;
    struct vdb_id ids[ROWS];
    struct vdb_place places[ROWS];
    uint64_t found = 0;
    for (uint64_t n = 0; n < ROWS; n++) {
        ids[n] = (struct vdb_id){.number = n};
    }
    assert_ok(vdb_store_find(store, ids, ROWS, &view, places, &err), &err);
    assert_int_equal(view.points, points);
    for (size_t n = 0; n < ROWS; n++) {
        found += places[n].source != VDB_SLOT_NONE;
    }
    assert_int_equal(found, points);
    vdb_view_release(&view);
}

static vdb_status told_sync_dir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    note_change();
    if (world->reads_in_sync && strcmp(path, "c/vectors") == 0) {
        struct vdb_store *snapshot;
        world->reads_in_sync = false;
        assert_ok(vdb_store_snapshot_read(world->store, "keep", &snapshot, err), err);
        expect_rows(snapshot, ROWS);
        vdb_store_close(snapshot, false);
        world->has_read = true;
    }
    return plain->sync_dir(env, path, err);
}

static void write_rows(struct world *w, uint64_t first, uint64_t end, bool deletes)
{
    struct vdb_err err = {0};
    struct vdb_buf batch = {0};
    uint64_t seq;
    vdb_batch_begin(&batch, DIMENSION);
    for (uint64_t n = first; n < end; n++) {
        struct vdb_id id = {.number = n};
        float vector[DIMENSION] = {(float)n, 1};
        if (deletes) {
            vdb_batch_delete(&batch, &id);
        } else {
            vdb_batch_upsert(&batch, &id, vector, DIMENSION, (struct vdb_str){"{}", 2});
        }
    }
    assert_ok(vdb_store_write(w->store, batch.data, batch.bytes, &seq, NULL, &err), &err);
    vdb_buf_fini(&batch);
}

/* A collection with a snapshot "keep" of ROWS rows in two segments, the first with a bitmap; then less. */
static int setup(void **state)
{
    static struct vdb_env_ops told;
    struct vdb_err err = {0};
    struct vdb_snapshot_info info;
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    world = w;
    *state = w;
    w->env = vdb_env_memory_create();
    plain = w->env->ops;
    told = *plain;
    told.map = told_map;
    told.open = told_open;
    told.rename = told_rename;
    told.mkdir = told_mkdir;
    told.unlink = told_unlink;
    told.sync_dir = told_sync_dir;
    w->env->ops = &told;
    assert_ok(vdb_store_create(w->env, "c", &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
    assert_ok(vdb_store_open(w->env, "c", NULL, &w->store, &err), &err);
    write_rows(w, 0, ROWS, false);
    assert_ok(vdb_store_checkpoint(w->store, &err), &err);
    write_rows(w, 0, ROWS / 2, false);
    assert_ok(vdb_store_snapshot_create(w->store, "keep", &info, &err), &err);
    assert_int_equal(info.points, ROWS);
    write_rows(w, 0, ROWS, true);
    atomic_store(&w->renamed, false);
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    vdb_store_close(w->store, true);
    w->env->ops = plain;
    vdb_env_memory_destroy(w->env);
    free(w);
    return 0;
}

/* A deletion that comes when one file of several is mapped waits for the rest, and then takes nothing away. */
static void test_deleted_while_it_is_opened(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_store *snapshot;
    w->deletes_in_map = true;
    vdb_status status = vdb_store_snapshot_read(w->store, "keep", &snapshot, &err);
    assert_true(w->started);
    pthread_join(w->deleter, NULL);
    assert_ok(status, &err);
    expect_rows(snapshot, ROWS);
    vdb_store_close(snapshot, false);
    assert_fails(vdb_store_snapshot_read(w->store, "keep", &snapshot, &err), VDB_NOT_FOUND, &err,
                 "snapshot \"keep\": there is none of that name");
    expect_rows(w->store, 0);
}

/* It opens in the middle of a checkpoint, which may take long. */
static void test_opened_during_a_checkpoint(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    write_rows(w, 3, 4, false);
    w->reads_in_sync = true;
    assert_ok(vdb_store_checkpoint(w->store, &err), &err);
    assert_true(w->has_read);
    expect_rows(w->store, 1);
}

static void test_reading_changes_nothing(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_store *snapshot;
    struct vdb_store_stats stats;
    struct vdb_verify_result verified;
    uint64_t seq;
    w->watched = true;
    assert_ok(vdb_store_snapshot_read(w->store, "keep", &snapshot, &err), &err);
    expect_rows(snapshot, ROWS);
    vdb_store_get_stats(snapshot, &stats);
    assert_int_equal(stats.points, ROWS);
    assert_int_equal(stats.segment_dead, ROWS / 2);
    assert_int_equal(stats.seq, 2);
    assert_ok(vdb_store_verify(snapshot, &verified, &err), &err);
    assert_int_equal(verified.points, ROWS);
    assert_fails(vdb_store_write(snapshot, "", 0, &seq, NULL, &err), VDB_READ_ONLY, &err, "snapshot");
    assert_fails(vdb_store_checkpoint(snapshot, &err), VDB_READ_ONLY, &err, "snapshot");
    vdb_store_close(snapshot, true);
    assert_int_equal(atomic_load(&w->changes), 0);
}

/* A file that is missing is damage; a name that is not one is the caller's mistake. */
static void test_what_is_not_there(void **state)
{
    struct world *w = *state;
    struct vdb_err err = {0};
    struct vdb_store *snapshot;
    assert_fails(vdb_store_snapshot_read(w->store, "kep", &snapshot, &err), VDB_NOT_FOUND, &err,
                 "snapshot \"kep\": there is none");
    assert_fails(vdb_store_snapshot_read(w->store, "../c", &snapshot, &err), VDB_INVALID, &err, "../c");
    assert_fails(vdb_store_snapshot_read(w->store, "", &snapshot, &err), VDB_INVALID, &err, "empty");
    assert_fails(vdb_store_snapshot_read(w->store, ".new-keep", &snapshot, &err), VDB_INVALID, &err, ".new-keep");
    assert_ok(plain->unlink(w->env, "c/snapshots/keep/metadata.json", &err), &err);
    assert_fails(vdb_store_snapshot_read(w->store, "keep", &snapshot, &err), VDB_CORRUPT, &err, "metadata.json");
    assert_ok(vdb_store_snapshot_delete(w->store, "keep", &err), &err);
    assert_fails(vdb_store_snapshot_read(w->store, "keep", &snapshot, &err), VDB_NOT_FOUND, &err, "keep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_deleted_while_it_is_opened, setup, teardown),
        cmocka_unit_test_setup_teardown(test_opened_during_a_checkpoint, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reading_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_there, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
