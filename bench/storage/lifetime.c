/* lifetime.c: one large collection from its log to its segments: recovery, checkpoint, opening, reads, compaction.
 *
 * No background work: every step is taken when it is timed. What is read lies in the kernel's cache (the files were
 * written just before), so recovery and opening are the processor's work, not the disk's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "base/timer.h"
#include "bench_storage.h"
#include "vecdb.h"

static const char NAME[] = "points";

static void check(vecdb_status status, const vecdb_error *error)
{
    if (status != VECDB_OK) {
        bench_die("vecdb: %s", error->message);
    }
}

static vecdb *open_quiet(const char *dir)
{
    vecdb *db;
    vecdb_error error;
    const vecdb_options options = {.no_maintenance = 1};
    check(vecdb_open(dir, &options, &db, &error), &error);
    return db;
}

static vecdb_collection_info info_of(vecdb *db)
{
    vecdb_collection_info info;
    vecdb_error error;
    check(vecdb_get_collection(db, NAME, &info, &error), &error);
    return info;
}

/* The rows are used again and again under new ids. */
static void fill(const struct settings *settings, const struct rows *rows, const char *dir)
{
    vecdb *db = open_quiet(dir);
    vecdb_error error;
    const vecdb_collection_config config = {
        .name = NAME, .dimension = settings->dimension, .metric = VECDB_L2, .index = "flat"};
    check(vecdb_create_collection(db, &config, &error), &error);
    for (uint32_t at = 0; at < settings->big_rows; at += settings->batch) {
        uint32_t count = settings->big_rows - at < settings->batch ? settings->big_rows - at : settings->batch;
        bench_engine_vecdb.write(db, rows, at % (rows->count - settings->batch + 1), count, at);
    }
    vecdb_close(db);
}

static void recover(const struct settings *settings, const char *dir)
{
    for (unsigned round = 0; round < settings->big_rounds; round++) {
        const uint64_t started = vdb_now_ns();
        vecdb *db = open_quiet(dir);
        const double seconds = bench_since(started);
        const vecdb_collection_info info = info_of(db);
        if (info.count != settings->big_rows) {
            bench_die("recovery found %llu of %u points", (unsigned long long)info.count, settings->big_rows);
        }
        bench_note("recovery_bytes_per_second", (double)info.recovered_bytes / seconds);
        bench_note("recovery_seconds", seconds);
        bench_note("recovery_log_bytes", (double)info.recovered_bytes);
        vecdb_close(db);
    }
}

static void get_one(vecdb *db, uint64_t id)
{
    vecdb_result *result;
    vecdb_error error;
    const vecdb_id wanted = vecdb_id_number(id);
    check(vecdb_get(db, NAME, &wanted, 1, &result, &error), &error);
    if (vecdb_result_count(result) != 1) {
        bench_die("point %llu is not there", (unsigned long long)id);
    }
    vecdb_result_free(result);
}

static void open_and_ask(const struct settings *settings, const struct rows *rows, const char *dir)
{
    for (unsigned round = 0; round < settings->big_rounds + 2; round++) {
        uint64_t started = vdb_now_ns();
        vecdb *db = open_quiet(dir);
        get_one(db, settings->big_rows / 2);
        bench_note("open_get_seconds", bench_since(started));
        const vecdb_search_request request = {.vector = rows->vectors, .dimension = rows->dimension, .k = 10};
        vecdb_result *result;
        vecdb_error error;
        started = vdb_now_ns();
        check(vecdb_search(db, NAME, &request, &result, &error), &error);
        bench_note("first_search_seconds", bench_since(started));
        vecdb_result_free(result);
        started = vdb_now_ns();
        check(vecdb_search(db, NAME, &request, &result, &error), &error);
        bench_note("next_search_seconds", bench_since(started));
        vecdb_result_free(result);
        vecdb_close(db);
    }
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

static int touch(void *ctx, const vecdb_hit *point)
{
    double *sum = ctx;
    for (uint32_t i = 0; i < point->dimension; i += 16) { /* each cache line */
        *sum += (double)point->vector[i];
    }
    *sum += (double)point->metadata_bytes;
    return 0;
}

static void read_points(const struct settings *settings, vecdb *db)
{
    double *times = malloc(settings->reads * sizeof *times);
    struct vdb_rng rng;
    vdb_rng_init(&rng, 1);
    if (times == NULL) {
        bench_die("out of memory");
    }
    for (unsigned round = 0; round < settings->big_rounds; round++) {
        for (uint32_t i = 0; i < settings->reads; i++) {
            const uint64_t id = vdb_rng_below(&rng, settings->big_rows);
            const uint64_t started = vdb_now_ns();
            get_one(db, id);
            times[i] = bench_since(started);
        }
        qsort(times, settings->reads, sizeof *times, compare);
        bench_note("get_p50_seconds", times[settings->reads / 2]);
        bench_note("get_p99_seconds", times[settings->reads - settings->reads / 100 - 1]);
        double sum = 0;
        vecdb_error error;
        const vecdb_scan_options scan = {touch, &sum, 0, 0};
        const uint64_t started = vdb_now_ns();
        check(vecdb_scan(db, NAME, &scan, &error), &error);
        const double seconds = bench_since(started);
        if (sum == 0) {
            bench_die("the scan saw nothing");
        }
        bench_note("scan_rows_per_second", settings->big_rows / seconds);
        bench_note("scan_vector_bytes_per_second",
                   (double)settings->big_rows * settings->dimension * sizeof(float) / seconds);
    }
    free(times);
}

/* Each round deletes every eighth of the ids, then compacts: read all, write what lives. */
static void compact(const struct settings *settings, const struct rows *rows, vecdb *db, const char *dir)
{
    enum { EIGHTHS = 8, IDS = 1000 };
    vecdb_error error;
    vecdb_id ids[IDS];
    for (unsigned round = 0; round < settings->big_rounds && round < EIGHTHS - 1; round++) {
        size_t count = 0;
        for (uint64_t id = round; id < settings->big_rows; id += EIGHTHS) {
            ids[count++] = vecdb_id_number(id);
            if (count == IDS || id + EIGHTHS >= settings->big_rows) {
                check(vecdb_delete(db, NAME, ids, count, NULL, &error), &error);
                count = 0;
            }
        }
        check(vecdb_checkpoint(db, NAME, &error), &error);
        vecdb_compact_result result;
        const vecdb_compact_options how = {.full = 1};
        bench_note("disk_write_bytes_per_second",
                   bench_disk_write_rate(settings->dir, (uint64_t)settings->big_rows * 512));
        const uint64_t started = vdb_now_ns();
        check(vecdb_compact(db, NAME, &how, &result, &error), &error);
        const double seconds = bench_since(started);
        const vecdb_collection_info info = info_of(db);
        bench_note("compact_written_bytes_per_second", (double)result.bytes_after / seconds);
        bench_note("compact_read_bytes_per_second", (double)result.bytes_before / seconds);
        bench_note("compact_seconds", seconds);
        bench_note("space_amplification_rows", (double)info.segment_bytes / (double)info.segment_live_bytes);
        double given = 0; /* what the user handed over: id, vector, metadata */
        for (uint64_t id = 0; id < settings->big_rows; id++) {
            if (id % EIGHTHS > round) {
                const uint64_t batch_at = id / settings->batch * settings->batch;
                const size_t row = batch_at % (rows->count - settings->batch + 1) + id % settings->batch;
                given += (double)(8 + settings->dimension * sizeof(float) + rows->metadata_bytes[row]);
            }
        }
        bench_note("space_directory_over_given", (double)bench_disk_usage(dir) / given);
        bench_note("space_bytes_per_point", (double)bench_disk_usage(dir) / (double)info.count);
    }
}

void bench_lifetime(const struct settings *settings, const struct rows *rows)
{
    const char *dir = bench_fresh_dir(settings, "lifetime");
    vecdb_error error;
    bench_say("%u points into the log", settings->big_rows);
    fill(settings, rows, dir);
    bench_say("recovery");
    recover(settings, dir);
    vecdb *db = open_quiet(dir);
    const uint64_t started = vdb_now_ns();
    check(vecdb_checkpoint(db, NAME, &error), &error);
    const double seconds = bench_since(started);
    bench_note("checkpoint_seconds", seconds);
    bench_note("checkpoint_bytes_per_second", (double)info_of(db).segment_bytes / seconds);
    vecdb_close(db);
    bench_say("opening");
    open_and_ask(settings, rows, dir);
    db = open_quiet(dir);
    bench_say("reads");
    read_points(settings, db);
    bench_say("compaction");
    compact(settings, rows, db, dir);
    vecdb_close(db);
    (void)bench_fresh_dir(settings, "lifetime");
}
