/* test_graphs_builds.c: builds that are disturbed: by changes of settings, cancellation, writers, a close, a drop that fails;
 * and what merged segments keep for theirs. */
#include "graph_world.h"

#include <unistd.h>

#include "collection/collection_internal.h"
#include "collection/indexer.h"

enum { ROWS = 1500, PATIENCE_MS = 3000, LOOKS_MAX = 300 };

/* ---- Progress ---- */

static bool count_down(void *ctx, uint64_t done, uint64_t total)
{
    (void)done;
    (void)total;
    return --*(int *)ctx > 0;
}

static struct vdb_index_build_options cancelled_after(int *looks)
{
    return (struct vdb_index_build_options){.threads = 1, .progress = count_down, .ctx = looks};
}

struct changes {
    struct world *w;
    struct vdb_index_config config;
    uint64_t most; /* done so far */
    unsigned made;
    bool went_back;
};

/* Another width at each look. */
static bool change_width(void *ctx, uint64_t done, uint64_t total)
{
    struct changes *changes = ctx;
    struct vdb_err err = {0};
    (void)total;
    changes->went_back = changes->went_back || done < changes->most;
    changes->most = done > changes->most ? done : changes->most;
    if (done > 0 && changes->made < 100) {
        changes->config.ef_search = 50 + changes->made++;
        assert_ok(vdb_collection_set_index(changes->w->collection, &changes->config, &err), &err);
    }
    return true;
}

/* What concerns searches alone neither cancels a build nor has it begun again. */
static void test_a_width_disturbs_no_build(void **state)
{
    static const char *const types[] = {"qgraph", "hnsw"};
    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct world w;
        struct vdb_err err = {0};
        open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, types[t], false);
        put(&w, 0, ROWS, BATCH);
        checkpoint(&w);
        struct changes changes = {.w = &w, .config = config_of(types[t])};
        const struct vdb_index_build_options options = {.threads = 1, .progress = change_width, .ctx = &changes};
        assert_ok(vdb_collection_build_index(w.collection, &options, &err), &err);
        assert_true(changes.made > 1);
        assert_false(changes.went_back);
        assert_int_equal(changes.most, ROWS);
        assert_int_equal(status_of(&w).builds, 1);
        assert_int_equal(status_of(&w).config.ef_search, changes.config.ef_search);
        close_world(&w);
    }
}

static bool change_m(void *ctx, uint64_t done, uint64_t total)
{
    struct changes *changes = ctx;
    struct vdb_err err = {0};
    (void)total;
    changes->went_back = changes->went_back || done < changes->most;
    changes->most = done > changes->most ? done : changes->most;
    if (done > 0 && changes->made == 0) {
        changes->made++;
        changes->config.m = 6;
        assert_ok(vdb_collection_set_index(changes->w->collection, &changes->config, &err), &err);
    }
    return true;
}

/* What concerns the graph does: one build, of the later settings, comes to an end. */
static void test_other_settings_begin_anew(void **state)
{
    struct world w;
    struct vdb_err err = {0};
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "hnsw", false);
    put(&w, 0, ROWS, BATCH);
    checkpoint(&w);
    struct changes changes = {.w = &w, .config = config_of("hnsw")};
    const struct vdb_index_build_options options = {.threads = 1, .progress = change_m, .ctx = &changes};
    assert_ok(vdb_collection_build_index(w.collection, &options, &err), &err);
    assert_true(changes.made == 1 && changes.went_back);
    assert_int_equal(status_of(&w).builds, 1);
    assert_int_equal(status_of(&w).rows_waiting, 0);
    close_world(&w);
}

/* Rows in memory alone: a cancelled build says so, and what it did stays. */
static void test_builds_in_memory_are_cancelled(void **state)
{
    struct world w;
    struct vdb_err err = {0};
    uint64_t before = 0;
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
    put(&w, 0, ROWS, BATCH);
    for (int looks = 1; looks < 6; looks++) {
        int left = looks;
        const struct vdb_index_build_options options = cancelled_after(&left);
        assert_fails(vdb_collection_build_index(w.collection, &options, &err), VDB_CANCELLED, &err, "cancelled");
        assert_true(status_of(&w).rows_indexed >= before && status_of(&w).rows_indexed < ROWS);
        before = status_of(&w).rows_indexed;
    }
    assert_true(before > 0);
    build(&w);
    assert_int_equal(status_of(&w).rows_indexed, ROWS);
    close_world(&w);
}

struct writer {
    struct world *w;
    unsigned next; /* id */
    unsigned looks;
};

/* Writes faster than the build inserts. */
static bool write_more(void *ctx, uint64_t done, uint64_t total)
{
    struct writer *writer = ctx;
    (void)done;
    (void)total;
    put(writer->w, writer->next, writer->next + 50, 50);
    writer->next += 50;
    return ++writer->looks < LOOKS_MAX;
}

static void test_a_build_ends_beside_writers(void **state)
{
    struct world w;
    struct vdb_err err = {0};
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
    put(&w, 0, ROWS, BATCH);
    struct writer writer = {.w = &w, .next = ROWS};
    const struct vdb_index_build_options options = {.threads = 1, .progress = write_more, .ctx = &writer};
    assert_ok(vdb_collection_build_index(w.collection, &options, &err), &err);
    assert_true(writer.looks < LOOKS_MAX); /* not since that ended it */
    assert_true(status_of(&w).rows_indexed >= ROWS);
    close_world(&w);
}

/* ---- Lineage ---- */

static void merge(struct world *w)
{
    const struct vdb_compact_options all = {.full = true};
    struct vdb_compact_result merged;
    struct vdb_err err = {0};
    assert_ok(vdb_collection_compact(w->collection, &all, &merged, &err), &err);
    assert_true(merged.merged > 1);
}

static void test_what_merged_segments_keep(void **state)
{
    struct world w;
    struct vdb_err err = {0};
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
    put(&w, 0, 600, BATCH);
    checkpoint(&w);
    put(&w, 600, 1200, BATCH);
    checkpoint(&w);
    build(&w);
    struct vdb_graphs *graphs = &w.collection->graphs;
    merge(&w);
    assert_non_null(graphs->lineages);
    /* A build that is cancelled gives it back, one that ends does not. */
    for (int looks = 2; looks < 5; looks++) {
        int left = looks;
        const struct vdb_index_build_options options = cancelled_after(&left);
        assert_fails(vdb_collection_build_index(w.collection, &options, &err), VDB_CANCELLED, &err, "cancelled");
        assert_non_null(graphs->lineages);
    }
    build(&w);
    assert_null(graphs->lineages);
    /* Of an input of which no row is left nothing is kept. */
    put(&w, 1200, 1800, BATCH);
    checkpoint(&w);
    build(&w);
    merge(&w);
    assert_non_null(graphs->lineages);
    for (unsigned id = 0; id < 1800; id++) {
        delete_point(&w, id);
    }
    put(&w, 1800, 1900, BATCH);
    checkpoint(&w);
    merge(&w);
    assert_null(graphs->lineages);
    build(&w);
    assert_int_equal(status_of(&w).rows_waiting, 0);
    close_world(&w);
}

/* ---- A close, and a drop that fails ---- */

/* The world's env, but that the first write to an index file waits for the collection to be told to end. */
static struct {
    const struct vdb_env_ops *real;
    struct vdb_env_ops ops;
    _Atomic(struct vdb_file *) file;
    struct vdb_collection *collection;
    atomic_bool waits;
    atomic_bool told;
} slow;

static vdb_status slow_open(struct vdb_env *env, const char *path, unsigned flags, struct vdb_file **out,
                            struct vdb_err *err)
{
    vdb_status status = slow.real->open(env, path, flags, out, err);
    if (status == VDB_OK && strstr(path, "/index/index_") != NULL) {
        atomic_store(&slow.file, *out);
    }
    return status;
}

static vdb_status slow_write(struct vdb_env *env, struct vdb_file *file, const void *data, size_t bytes,
                             uint64_t offset, struct vdb_err *err)
{
    if (file == atomic_load(&slow.file) && !atomic_exchange(&slow.waits, true)) {
        for (int ms = 0; ms < PATIENCE_MS && !atomic_load(&slow.told); ms++) {
            atomic_store(&slow.told, atomic_load(&slow.collection->closing));
            usleep(1000);
        }
    }
    return slow.real->write_at(env, file, data, bytes, offset, err);
}

/* A graph's file may be gigabytes: who writes one when the database is closed is told at once. */
static void test_a_close_reaches_a_save(void **state)
{
    struct world w;
    struct vdb_err err = {0};
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
    slow.real = w.env->ops;
    slow.ops = *w.env->ops;
    slow.ops.open = slow_open;
    slow.ops.write_at = slow_write;
    slow.collection = w.collection;
    w.env->ops = &slow.ops;
    assert_ok(vdb_database_maintain(w.database, NULL, &err), &err);
    put(&w, 0, ROWS, BATCH);
    checkpoint(&w);
    while (!atomic_load(&slow.waits)) {
        usleep(1000);
    }
    vdb_database_close(w.database);
    assert_true(atomic_load(&slow.told));
    vdb_collection_unref(w.collection);
    w.env->ops = slow.real;
    vdb_env_memory_destroy(w.env);
}

/* It cancels what runs; when it fails, that is due again. */
static void test_a_drop_that_fails(void **state)
{
    struct world w;
    struct vdb_err err = {0};
    (void)state;
    open_world(&w, VDB_METRIC_L2, VDB_ELEMENT_U8, "qgraph", false);
    put(&w, 0, ROWS, BATCH);
    checkpoint(&w);
    struct vdb_indexer *indexer = vdb_collection_indexer(w.collection);
    indexer->segments_due = false;
    atomic_store(&w.collection->graphs.segments_due, false);
    vdb_env_memory_fail_kinds_at(w.env, VDB_MEMORY_WRITES, 1, VDB_IO, false, 1);
    assert_fails(vdb_collection_drop(w.collection, "data/collections/.gone", &err), VDB_IO, &err, "");
    vdb_env_memory_fail_at(w.env, 0, VDB_OK, false, 1);
    assert_true(indexer->segments_due && atomic_load(&w.collection->graphs.segments_due));
    build(&w);
    assert_int_equal(status_of(&w).rows_indexed, ROWS);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_width_disturbs_no_build),
        cmocka_unit_test(test_other_settings_begin_anew),
        cmocka_unit_test(test_builds_in_memory_are_cancelled),
        cmocka_unit_test(test_a_build_ends_beside_writers),
        cmocka_unit_test(test_what_merged_segments_keep),
        cmocka_unit_test(test_a_close_reaches_a_save),
        cmocka_unit_test(test_a_drop_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
