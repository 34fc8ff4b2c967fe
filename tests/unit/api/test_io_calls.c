/* test_io_calls.c: what the process has done with files, seen beside what it was told to do. */
#include "support.h"

#include <ftw.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "vecdb.h"

#define assert_vecdb_ok(call, err)                                                                               \
    do {                                                                                                         \
        if ((call) != VECDB_OK) {                                                                                \
            fail_msg("%s: %s", #call, (err)->message);                                                           \
        }                                                                                                        \
    } while (0)

enum { POINTS = 50, DIMENSION = 16 };

static const vecdb_options manual = {.no_maintenance = 1};

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int make_dir(void **state)
{
    char *path = strdup("/tmp/vecdb-test-XXXXXX");
    *state = mkdtemp(path);
    return *state == NULL;
}

static int remove_dir(void **state)
{
    nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

static vecdb_io_stats since(const vecdb_io_stats *before)
{
    vecdb_io_stats now;
    vecdb_get_io_stats(&now);
    vecdb_io_stats_since(&now, before);
    return now;
}

static void open_docs(const char *dir, vecdb **db, bool create)
{
    vecdb_error err;
    const vecdb_collection_config config = {.name = "docs", .dimension = DIMENSION, .metric = VECDB_L2};
    assert_vecdb_ok(vecdb_open(dir, &manual, db, &err), &err);
    if (create) {
        assert_vecdb_ok(vecdb_create_collection(*db, &config, &err), &err);
    }
}

/* One point in each of `count` batches, from id `first`. */
static void write_points(vecdb *db, uint64_t first, unsigned count)
{
    vecdb_error err;
    const float vector[DIMENSION] = {1, 2, 3};
    for (unsigned i = 0; i < count; i++) {
        const vecdb_point point = {vecdb_id_number(first + i), vector, DIMENSION, "{\"a\":1}", 7};
        assert_vecdb_ok(vecdb_upsert(db, "docs", &point, 1, NULL, &err), &err);
    }
}

/* One writer: a write and a sync for each batch, all of the bytes made durable. */
static void test_writes(void **state)
{
    vecdb *db;
    vecdb_stats stats;
    vecdb_io_stats before;
    open_docs(*state, &db, true);
    vecdb_get_io_stats(&before);
    write_points(db, 0, POINTS);
    vecdb_io_stats io = since(&before);
    vecdb_get_stats(db, &stats);
    assert_int_equal(io.syncs.count, POINTS);
    assert_int_equal(io.syncs.count, stats.syncs);
    assert_int_equal(io.dir_syncs.count, 0);
    /* And now and then zeros ahead of the log, as many as the file holds, at least 64 KiB (docs/format.md, section 3). */
    assert_in_range(io.writes, POINTS + 1, POINTS + 4);
    assert_true(io.write_bytes > POINTS * DIMENSION * sizeof(float) + (64 << 10));
    assert_true(io.write_bytes < POINTS * (DIMENSION * sizeof(float) + 256) * 3 + (64 << 10));
    assert_int_equal(io.synced_bytes, io.write_bytes);
    assert_int_equal(io.reads + io.mapped_reads + io.failures, 0);
    uint64_t median = vecdb_latency_quantile_ns(&io.syncs, 0.5);
    assert_true(median > 0 && median <= vecdb_latency_quantile_ns(&io.syncs, 0.99));
    assert_true(vecdb_latency_quantile_ns(&io.syncs, 1) <= io.syncs.max_ns);
    uint64_t counted = 0;
    for (size_t i = 0; i < VECDB_LATENCY_CLASSES; i++) {
        counted += io.syncs.classes[i];
    }
    assert_int_equal(counted, POINTS);
    io = since(&before);
    vecdb_io_stats_since(&io, &io); /* nothing since itself */
    assert_int_equal(io.writes + io.write_bytes + io.syncs.count + io.syncs.sum_ns, 0);
    assert_int_equal(vecdb_latency_quantile_ns(&io.syncs, 0.5), 0);
    vecdb_close(db);
}

/* Opening reads the log; a checkpointed collection is read through maps. */
static void test_opening(void **state)
{
    vecdb *db;
    vecdb_error err;
    vecdb_collection_info info;
    vecdb_io_stats before;
    vecdb_verify_result verified;
    open_docs(*state, &db, true);
    write_points(db, 0, POINTS);
    vecdb_close(db);

    vecdb_get_io_stats(&before);
    open_docs(*state, &db, false);
    vecdb_io_stats io = since(&before);
    assert_vecdb_ok(vecdb_get_collection(db, "docs", &info, &err), &err);
    assert_true(info.recovered_bytes > POINTS * DIMENSION * sizeof(float));
    assert_true(io.read_bytes >= info.recovered_bytes);
    assert_int_equal(io.mapped_reads, 0);
    vecdb_get_io_stats(&before);
    assert_vecdb_ok(vecdb_checkpoint(db, "docs", &err), &err);
    io = since(&before);
    assert_vecdb_ok(vecdb_get_collection(db, "docs", &info, &err), &err);
    assert_true(io.write_bytes >= info.segment_bytes);
    assert_true(io.synced_bytes >= info.segment_bytes);
    assert_true(io.dir_syncs.count >= 2);
    vecdb_close(db);

    vecdb_get_io_stats(&before);
    open_docs(*state, &db, false);
    io = since(&before);
    uint64_t opened = io.mapped_read_bytes; /* heads and tables */
    assert_true(io.mapped_reads > 0 && opened > 0);
    assert_vecdb_ok(vecdb_verify(db, "docs", &verified, &err), &err);
    io = since(&before);
    assert_true(io.mapped_read_bytes >= info.segment_bytes && io.mapped_read_bytes > opened);
    assert_int_equal(io.failures, 0);
    vecdb_close(db);
}

static void test_bounds(void **state)
{
    (void)state;
    assert_int_equal(vecdb_latency_bound_ns(0), 1000);
    assert_int_equal(vecdb_latency_bound_ns(80), UINT64_C(100000000000));
    assert_true(vecdb_latency_bound_ns(81) == UINT64_MAX);
}

/* The debt is the segments that a compaction then reads, and is paid by it. */
static void test_debt(void **state)
{
    vecdb *db;
    vecdb_error err;
    vecdb_collection_info info;
    vecdb_compact_result result;
    vecdb_stats stats;
    open_docs(*state, &db, true);
    for (unsigned i = 0; i < 4; i++) {
        assert_vecdb_ok(vecdb_get_collection(db, "docs", &info, &err), &err);
        assert_int_equal(info.compaction_debt_bytes, 0);
        assert_int_equal(info.compaction_due, 0);
        write_points(db, 100 * i, 3);
        assert_vecdb_ok(vecdb_checkpoint(db, "docs", &err), &err);
    }
    assert_vecdb_ok(vecdb_get_collection(db, "docs", &info, &err), &err);
    assert_int_equal(info.segments, 4);
    assert_int_equal(info.compaction_due, 1);
    assert_int_equal(info.compaction_debt_bytes, info.segment_bytes); /* no bitmaps: nothing is dead */
    vecdb_get_stats(db, &stats);
    assert_int_equal(stats.compaction_debt_bytes, info.compaction_debt_bytes);
    assert_vecdb_ok(vecdb_compact(db, "docs", NULL, &result, &err), &err);
    assert_int_equal(result.bytes_before, info.compaction_debt_bytes);
    assert_vecdb_ok(vecdb_get_collection(db, "docs", &info, &err), &err);
    assert_int_equal(info.compaction_debt_bytes, 0);
    vecdb_get_stats(db, &stats);
    assert_int_equal(stats.compaction_debt_bytes, 0);
    vecdb_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_writes, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_opening, make_dir, remove_dir),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test_setup_teardown(test_debt, make_dir, remove_dir),
    };
    return cmocka_run_group_tests_name("api/io_calls", tests, NULL, NULL);
}
