/* storage_bench.c: `vecdb storage bench`: how fast this disk and this machine make writes durable, recover, open, read
 * and compact. Works in a fresh directory of its own.
 *
 * Single inserts and batches are timed one by one, each until it is on disk, by one writer: p50 and p99 are of these
 * times; those of the syncs alone come from the library's own histogram. Recovery is the opening of what the log alone
 * holds. Opening until the first answer is timed twice over the same points: so, and when a checkpoint has written them to
 * a segment.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/timer.h"
#include "cli.h"
#include "env/env.h"
#include "plot_svg.h"
#include "storage.h"

enum {
    BENCH_COUNT_DEFAULT = 100000,
    BENCH_BATCH_DEFAULT = 100,
    BENCH_SINGLES_DEFAULT = 500,
    BENCH_READS_DEFAULT = 20000,
    BENCH_DIMENSION_DEFAULT = 128,
    BAR_CELLS = 40,
    CURVE_POINTS = 400
};

static size_t describe_bench(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    size_t i = 0;
    options->count = BENCH_COUNT_DEFAULT;
    options->batch = BENCH_BATCH_DEFAULT;
    options->singles = BENCH_SINGLES_DEFAULT;
    options->reads = BENCH_READS_DEFAULT;
    options->dimension = BENCH_DIMENSION_DEFAULT;
    table[i++] = (struct vdb_args_option){.name = "--count",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->count,
                                          .value_name = "NUMBER",
                                          .help = "points written in batches (default 100,000)",
                                          .min = 100,
                                          .max = 100000000};
    table[i++] = (struct vdb_args_option){.name = "--dim",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->dimension,
                                          .value_name = "NUMBER",
                                          .help = "values in a vector, 1 to 4,096 (default 128)",
                                          .min = 1,
                                          .max = 4096};
    table[i++] = (struct vdb_args_option){.name = "--batch",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->batch,
                                          .value_name = "NUMBER",
                                          .help = "points in a batch, 1 to 1,000 (default 100)",
                                          .min = 1,
                                          .max = 1000};
    table[i++] = (struct vdb_args_option){.name = "--singles",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->singles,
                                          .value_name = "NUMBER",
                                          .help = "inserts of one point each (default 500)",
                                          .min = 10,
                                          .max = 1000000};
    table[i++] = (struct vdb_args_option){.name = "--reads",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->reads,
                                          .value_name = "NUMBER",
                                          .help = "reads by id of each kind (default 20,000)",
                                          .min = 10,
                                          .max = 10000000};
    table[i++] = (struct vdb_args_option){.name = "--seed",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->seed,
                                          .value_name = "NUMBER",
                                          .help = "of points and of the order of reads (default 0)",
                                          .max = UINT64_MAX};
    table[i++] = (struct vdb_args_option){.name = "--plot",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->plot,
                                          .value_name = "F.svg",
                                          .help = "also draws the times of each kind of operation"};
    table[i++] = (struct vdb_args_option){.name = "--keep",
                                          .kind = VDB_ARGS_FLAG,
                                          .out = &options->keep,
                                          .help = "leave the directory there at the end"};
    return i;
}

/* Times of one kind of operation. */
struct timing {
    const char *name;
    uint64_t count;  /* operations */
    uint64_t points; /* in all of them */
    double seconds;  /* of all together */
    double p50;
    double p99;
    double curve_seconds[CURVE_POINTS]; /* the share below of its operations took at most so long */
    double curve_share[CURVE_POINTS];
    size_t curve_count;
};

enum { SINGLES, BATCHES, SEQUENTIAL, RANDOM, TIMINGS };

struct bench {
    const struct vdb_storage_options *options;
    vecdb *db;
    struct timing timings[TIMINGS];
    vecdb_io_stats io[BATCHES + 1]; /* of the single inserts, of the batches */
    double recovery_seconds;
    double checkpoint_seconds;
    double from_log_seconds; /* of opening and the first answer; recovery_seconds is its larger part */
    double open_seconds;     /* the same of the checkpointed collection */
    double scan_seconds;
    double compact_seconds;
    vecdb_compact_result compacted;
    vecdb_collection_info loaded;  /* after recovery */
    vecdb_collection_info opened;  /* after the opening of the checkpointed collection */
    vecdb_collection_info compact; /* at the end */
    double *samples;
    float *vectors;
    vecdb_point *points;
    struct vdb_buf metadata;
};

static double since(uint64_t started_ns)
{
    return (double)(vdb_now_ns() - started_ns) * 1e-9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* samples[0..count) become one timing. */
static void finish_timing(struct bench *bench, int which, const char *name, uint64_t count, uint64_t points)
{
    struct timing *timing = &bench->timings[which];
    *timing = (struct timing){.name = name, .count = count, .points = points};
    for (uint64_t i = 0; i < count; i++) {
        timing->seconds += bench->samples[i];
    }
    qsort(bench->samples, count, sizeof *bench->samples, by_value);
    timing->p50 = bench->samples[(count - 1) / 2];
    timing->p99 = bench->samples[(count - 1) * 99 / 100];
    timing->curve_count = count < CURVE_POINTS ? count : CURVE_POINTS;
    for (size_t i = 0; i < timing->curve_count; i++) {
        uint64_t at = timing->curve_count > 1 ? (count - 1) * i / (timing->curve_count - 1) : 0;
        timing->curve_seconds[i] = bench->samples[at];
        timing->curve_share[i] = (double)(at + 1) / (double)count;
    }
}

static vdb_status prepare(struct bench *bench, struct vdb_err *err)
{
    const struct vdb_storage_options *options = bench->options;
    uint64_t samples = options->count / options->batch + 1; /* the most of what is timed one by one */
    samples = options->singles > samples ? options->singles : samples;
    samples = options->reads > samples ? options->reads : samples;
    bench->samples = vdb_calloc(samples, sizeof *bench->samples);
    bench->vectors = vdb_calloc(options->batch * options->dimension, sizeof *bench->vectors);
    bench->points = vdb_calloc(options->batch, sizeof *bench->points);
    return bench->samples != NULL && bench->vectors != NULL && bench->points != NULL
               ? VDB_OK
               : vdb_err_no_memory(err, "a benchmark");
}

static vdb_status open_bench(struct bench *bench, bool fresh, double *seconds, struct vdb_err *err)
{
    vecdb_error error;
    const vecdb_options how = {.must_exist = !fresh, .no_maintenance = 1};
    uint64_t started = vdb_now_ns();
    VDB_TRY(vdb_storage_outcome(vecdb_open(bench->options->path, &how, &bench->db, &error), &error, err));
    *seconds = since(started);
    return VDB_OK;
}

static void close_bench(struct bench *bench)
{
    vecdb_close(bench->db);
    bench->db = NULL;
}

/* Writes points first .. first + rows as one batch; only the write is timed. */
static vdb_status write_batch(struct bench *bench, uint64_t first, uint64_t rows, double *seconds,
                              struct vdb_err *err)
{
    const struct vdb_storage_options *options = bench->options;
    uint32_t dimension = (uint32_t)options->dimension;
    vecdb_error error;
    vdb_buf_clear(&bench->metadata);
    for (uint64_t i = 0; i < rows; i++) {
        float *vector = bench->vectors + i * dimension;
        size_t begin = bench->metadata.bytes;
        vdb_storage_insert_generate(options->seed, first + i, dimension, vector, &bench->metadata);
        bench->points[i] = (vecdb_point){.id = vecdb_id_number(first + i),
                                         .vector = vector,
                                         .dimension = dimension,
                                         .metadata_bytes = bench->metadata.bytes - begin};
    }
    if (bench->metadata.failed) {
        return vdb_err_no_memory(err, "a batch");
    }
    const char *text = (const char *)bench->metadata.data;
    for (uint64_t i = 0; i < rows; i++) {
        bench->points[i].metadata = text;
        text += bench->points[i].metadata_bytes;
    }
    uint64_t started = vdb_now_ns();
    vecdb_status status = vecdb_upsert(bench->db, options->collection, bench->points, rows, NULL, &error);
    *seconds = since(started);
    return vdb_storage_outcome(status, &error, err);
}

/* What the process has done with files in a phase that began with `before`. */
static void finish_io(struct bench *bench, int which, const vecdb_io_stats *before)
{
    vecdb_get_io_stats(&bench->io[which]);
    vecdb_io_stats_since(&bench->io[which], before);
}

static vdb_status bench_writes(struct bench *bench, struct vdb_err *err)
{
    const struct vdb_storage_options *options = bench->options;
    struct vdb_progress progress;
    vecdb_io_stats before;
    vecdb_get_io_stats(&before);
    vdb_status status = VDB_OK;
    uint64_t batches = 0;
    vdb_progress_begin(&progress, "singles", "points", options->singles);
    for (uint64_t i = 0; i < options->singles && status == VDB_OK; i++) {
        status = write_batch(bench, options->count + i, 1, &bench->samples[i], err);
        vdb_progress_update(&progress, i + 1);
    }
    vdb_progress_end(&progress);
    VDB_TRY(status);
    finish_timing(bench, SINGLES, "insert, one point", options->singles, options->singles);
    finish_io(bench, SINGLES, &before);
    vecdb_get_io_stats(&before);
    vdb_progress_begin(&progress, "batches", "points", options->count);
    for (uint64_t at = 0; at < options->count && status == VDB_OK; at += options->batch) {
        uint64_t rows = options->count - at < options->batch ? options->count - at : options->batch;
        status = write_batch(bench, at, rows, &bench->samples[batches++], err);
        vdb_progress_update(&progress, at + rows);
    }
    vdb_progress_end(&progress);
    VDB_TRY(status);
    finish_timing(bench, BATCHES, "insert, a batch", batches, options->count);
    finish_io(bench, BATCHES, &before);
    return VDB_OK;
}

static vdb_status read_one(struct bench *bench, uint64_t id, struct vdb_err *err)
{
    vecdb_error error;
    vecdb_result *result;
    vecdb_id wanted = vecdb_id_number(id);
    VDB_TRY(vdb_storage_outcome(vecdb_get(bench->db, bench->options->collection, &wanted, 1, &result, &error),
                                &error, err));
    size_t count = vecdb_result_count(result);
    vecdb_result_free(result);
    return count == 1 ? VDB_OK
                      : vdb_err_set(err, VDB_CORRUPT, "point %" PRIu64 " was written and is not there", id);
}

static vdb_status bench_reads(struct bench *bench, struct vdb_err *err)
{
    const struct vdb_storage_options *options = bench->options;
    static const char *const names[] = {"read by id, in order", "read by id, random"};
    struct vdb_rng rng;
    vdb_rng_init(&rng, options->seed);
    for (int kind = 0; kind < 2; kind++) {
        for (uint64_t i = 0; i < options->reads; i++) {
            uint64_t id = kind == 0 ? i % options->count : vdb_rng_below(&rng, options->count);
            uint64_t started = vdb_now_ns();
            VDB_TRY(read_one(bench, id, err));
            bench->samples[i] = since(started);
        }
        finish_timing(bench, kind == 0 ? SEQUENTIAL : RANDOM, names[kind], options->reads, options->reads);
    }
    return VDB_OK;
}

static int touch_point(void *ctx, const vecdb_hit *point)
{
    float *sum = ctx;
    float own = (float)point->metadata_bytes;
    for (uint32_t d = 0; d < point->dimension; d++) {
        own += point->vector[d];
    }
    *sum += own;
    return 0;
}

static vdb_status bench_scan(struct bench *bench, struct vdb_err *err)
{
    vecdb_error error;
    volatile float kept; /* so that the reads stay */
    float sum = 0;
    const vecdb_scan_options scan = {touch_point, &sum, 0, 0};
    uint64_t started = vdb_now_ns();
    VDB_TRY(vdb_storage_outcome(vecdb_scan(bench->db, bench->options->collection, &scan, &error), &error, err));
    bench->scan_seconds = since(started);
    kept = sum;
    (void)kept;
    return VDB_OK;
}

/* Deletes every third point, then compacts all. */
static vdb_status bench_compact(struct bench *bench, struct vdb_err *err)
{
    const struct vdb_storage_options *options = bench->options;
    const vecdb_compact_options how = {.full = 1};
    vecdb_error error;
    enum { IDS = 1000 };
    vecdb_id ids[IDS];
    size_t count = 0;
    for (uint64_t id = 0; id < options->count; id += 3) {
        ids[count++] = vecdb_id_number(id);
        if (count == IDS || id + 3 >= options->count) {
            VDB_TRY(vdb_storage_outcome(vecdb_delete(bench->db, options->collection, ids, count, NULL, &error),
                                        &error, err));
            count = 0;
        }
    }
    VDB_TRY(vdb_storage_outcome(vecdb_checkpoint(bench->db, options->collection, &error), &error, err));
    uint64_t started = vdb_now_ns();
    VDB_TRY(vdb_storage_outcome(vecdb_compact(bench->db, options->collection, &how, &bench->compacted, &error),
                                &error, err));
    bench->compact_seconds = since(started);
    return vdb_storage_get_info(bench->db, options->collection, &bench->compact, err);
}

static vdb_status run_phases(struct bench *bench, struct vdb_err *err)
{
    const struct vdb_storage_options *options = bench->options;
    vecdb_error error;
    double ignored;
    VDB_TRY(prepare(bench, err));
    VDB_TRY(open_bench(bench, true, &ignored, err));
    const vecdb_collection_config config = {
        .name = options->collection,
        .dimension = (uint32_t)options->dimension,
        .metric = VECDB_L2,
        .index = "flat", /* what is measured is storage */
    };
    VDB_TRY(vdb_storage_outcome(vecdb_create_collection(bench->db, &config, &error), &error, err));
    VDB_TRY(bench_writes(bench, err));
    close_bench(bench);
    uint64_t started = vdb_now_ns();
    VDB_TRY(open_bench(bench, false, &bench->recovery_seconds, err));
    VDB_TRY(read_one(bench, options->count / 2, err));
    bench->from_log_seconds = since(started);
    VDB_TRY(vdb_storage_get_info(bench->db, options->collection, &bench->loaded, err));
    started = vdb_now_ns();
    VDB_TRY(vdb_storage_outcome(vecdb_checkpoint(bench->db, options->collection, &error), &error, err));
    bench->checkpoint_seconds = since(started);
    close_bench(bench);
    started = vdb_now_ns();
    VDB_TRY(open_bench(bench, false, &ignored, err));
    VDB_TRY(read_one(bench, options->count / 2, err));
    bench->open_seconds = since(started);
    VDB_TRY(vdb_storage_get_info(bench->db, options->collection, &bench->opened, err));
    VDB_TRY(bench_reads(bench, err));
    VDB_TRY(bench_scan(bench, err));
    return bench_compact(bench, err);
}

/* ---- Report ---- */

static void put_timings(const struct bench *bench, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {
        {"one at a time", false}, {"operations", true}, {"p50", true}, {"p99", true}, {"points/s", true}};
    struct vdb_table table;
    char text[VDB_TABLE_TEXT_BYTES];
    vdb_table_init(&table, columns, 5);
    for (int i = 0; i < TIMINGS; i++) {
        const struct timing *timing = &bench->timings[i];
        vdb_table_put(&table, timing->name);
        vdb_table_put(&table, vdb_table_count(text, timing->count));
        vdb_table_put(&table, vdb_table_duration(text, timing->p50));
        vdb_table_put(&table, vdb_table_duration(text, timing->p99));
        vdb_table_put(&table, vdb_table_count(text, (uint64_t)((double)timing->points / timing->seconds)));
    }
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
}

/* p50 of each kind as a bar; every step to the right is half as long again (a logarithmic scale from 1 us). */
static void put_bars(const struct bench *bench, struct vdb_buf *out)
{
    vdb_buf_put_text(out, "\n  p50 (#) to p99 (.), one step is x1.5, from 1 us\n");
    for (int i = 0; i < TIMINGS; i++) {
        const struct timing *timing = &bench->timings[i];
        char bar[BAR_CELLS + 1];
        size_t used = 0;
        double at = 1e-6;
        while (at < timing->p99 && used < BAR_CELLS) {
            bar[used++] = at < timing->p50 ? '#' : '.';
            at *= 1.5;
        }
        bar[used] = '\0';
        vdb_buf_printf(out, "  %-22s%s\n", timing->name, bar);
    }
}

static double sync_quantile(const vecdb_io_stats *io, double share)
{
    return (double)vecdb_latency_quantile_ns(&io->syncs, share) * 1e-9;
}

static void put_syncs(const struct bench *bench, struct vdb_buf *out)
{
    static const char *const names[] = {"syncs, one point", "syncs, a batch"};
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    char c[VDB_TABLE_TEXT_BYTES];
    for (int i = SINGLES; i <= BATCHES; i++) {
        const vecdb_io_stats *io = &bench->io[i];
        vdb_storage_line(out, names[i], "%s, p50 <= %s, p99 <= %s: %.0f%% of the time",
                         vdb_table_count(a, io->syncs.count), vdb_table_duration(b, sync_quantile(io, 0.5)),
                         vdb_table_duration(c, sync_quantile(io, 0.99)),
                         100 * (double)io->syncs.sum_ns * 1e-9 / bench->timings[i].seconds);
    }
}

/* The same points, opened until the first answer: from the log alone, and after a checkpoint. */
static void put_openings(const struct bench *bench, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {
        {"open, then first read", false}, {"log read", true}, {"batches replayed", true}, {"time", true}};
    struct vdb_table table;
    char text[VDB_TABLE_TEXT_BYTES];
    vdb_table_init(&table, columns, 4);
    for (int i = 0; i < 2; i++) {
        const vecdb_collection_info *info = i == 0 ? &bench->loaded : &bench->opened;
        vdb_table_put(&table, i == 0 ? "from the log alone" : "after a checkpoint");
        vdb_table_put(&table, vdb_storage_bytes(text, info->recovered_bytes));
        vdb_table_put(&table, vdb_table_count(text, info->recovered_batches));
        vdb_table_put(&table, vdb_table_duration(text, i == 0 ? bench->from_log_seconds : bench->open_seconds));
    }
    vdb_buf_put_text(out, "\n");
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
}

static void report_bench(const struct bench *bench, struct vdb_buf *out)
{
    const struct vdb_storage_options *options = bench->options;
    const vecdb_collection_info *loaded = &bench->loaded;
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    char c[VDB_TABLE_TEXT_BYTES];
    const struct timing *single = &bench->timings[SINGLES];
    const struct timing *batch = &bench->timings[BATCHES];
    double single_rate = (double)single->count / single->seconds;
    double batch_rate = (double)options->count / batch->seconds;
    vdb_buf_printf(out, "Storage of %s points, dimension %" PRIu64 ", batches of %" PRIu64 ", in %s\n\n",
                   vdb_table_count(a, options->count), options->dimension, options->batch, options->path);
    put_timings(bench, out);
    put_bars(bench, out);
    vdb_buf_put_text(out, "\n");
    put_syncs(bench, out);
    vdb_storage_line(out, "batches over singles", "%.1f times the points per second", batch_rate / single_rate);
    vdb_storage_line(out, "recovery", "%s for %s of log (%s)", vdb_table_duration(a, bench->recovery_seconds),
                     vdb_storage_bytes(b, loaded->recovered_bytes),
                     vdb_storage_speed(c, loaded->recovered_bytes, bench->recovery_seconds));
    vdb_storage_line(out, "", "%s per million points",
                     vdb_table_duration(a, bench->recovery_seconds * 1e6 / (double)loaded->count));
    vdb_storage_line(out, "checkpoint", "%s", vdb_table_duration(a, bench->checkpoint_seconds));
    vdb_storage_line(
        out, "scan of all points", "%s (%s of vectors)", vdb_table_duration(a, bench->scan_seconds),
        vdb_storage_speed(b, loaded->count * options->dimension * sizeof(float), bench->scan_seconds));
    vdb_storage_line(out, "compaction", "%s, %s read and written, a third was dead",
                     vdb_table_duration(a, bench->compact_seconds),
                     vdb_storage_speed(b, bench->compacted.bytes_before + bench->compacted.bytes_after,
                                       bench->compact_seconds));
    vdb_storage_line(out, "space amplification", "%.3f", vdb_storage_amplification(&bench->compact));
    put_openings(bench, out);
}

static void report_bench_json(const struct bench *bench, struct vdb_buf *out)
{
    static const char *const keys[TIMINGS] = {"insert_single", "insert_batch", "read_sequential", "read_random"};
    const struct vdb_storage_options *options = bench->options;
    vdb_buf_printf(out, "{\"points\":%" PRIu64 ",\"dimension\":%" PRIu64 ",\"batch\":%" PRIu64, options->count,
                   options->dimension, options->batch);
    for (int i = 0; i < TIMINGS; i++) {
        const struct timing *timing = &bench->timings[i];
        vdb_buf_printf(out,
                       ",\"%s\":{\"operations\":%" PRIu64
                       ",\"p50_seconds\":%.9f,\"p99_seconds\":%.9f,\"points_per_second\":%.1f}",
                       keys[i], timing->count, timing->p50, timing->p99,
                       (double)timing->points / timing->seconds);
    }
    for (int i = SINGLES; i <= BATCHES; i++) {
        const vecdb_io_stats *io = &bench->io[i];
        vdb_buf_printf(out,
                       ",\"%s_io\":{\"writes\":%" PRIu64 ",\"write_bytes\":%" PRIu64 ",\"syncs\":%" PRIu64
                       ",\"sync_seconds\":%.9f,\"sync_p50_seconds\":%.9f,\"sync_p99_seconds\":%.9f}",
                       keys[i], io->writes, io->write_bytes, io->syncs.count, (double)io->syncs.sum_ns * 1e-9,
                       sync_quantile(io, 0.5), sync_quantile(io, 0.99));
    }
    vdb_buf_printf(out,
                   ",\"recovery\":{\"seconds\":%.6f,\"log_bytes\":%" PRIu64 ",\"points\":%" PRIu64
                   ",\"seconds_per_million_points\":%.6f}",
                   bench->recovery_seconds, bench->loaded.recovered_bytes, bench->loaded.count,
                   bench->recovery_seconds * 1e6 / (double)bench->loaded.count);
    vdb_buf_put_text(out, ",\"open_and_first_read\":{");
    for (int i = 0; i < 2; i++) {
        const vecdb_collection_info *info = i == 0 ? &bench->loaded : &bench->opened;
        vdb_buf_printf(out, "%s{\"seconds\":%.6f,\"log_bytes\":%" PRIu64 ",\"batches\":%" PRIu64 "}",
                       i == 0 ? "\"from_log\":" : ",\"after_checkpoint\":",
                       i == 0 ? bench->from_log_seconds : bench->open_seconds, info->recovered_bytes,
                       info->recovered_batches);
    }
    vdb_buf_put_text(out, "}");
    vdb_buf_printf(out, ",\"checkpoint_seconds\":%.6f,\"open_and_first_read_seconds\":%.6f,\"scan_seconds\":%.6f",
                   bench->checkpoint_seconds, bench->open_seconds, bench->scan_seconds);
    vdb_buf_printf(out,
                   ",\"compaction\":{\"seconds\":%.6f,\"bytes_read\":%" PRIu64 ",\"bytes_written\":%" PRIu64
                   ",\"space_amplification\":%.6f}}\n",
                   bench->compact_seconds, bench->compacted.bytes_before, bench->compacted.bytes_after,
                   vdb_storage_amplification(&bench->compact));
}

/* ---- Plot ---- */

static vdb_status draw_bench(const struct bench *bench, struct vdb_buf *out, struct vdb_err *err)
{
    const struct vdb_storage_options *options = bench->options;
    struct vdb_plot_svg_curve curves[TIMINGS];
    char notes[TIMINGS][2 * VDB_TABLE_TEXT_BYTES + 16];
    char subtitle[160];
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    for (int i = 0; i < TIMINGS; i++) {
        const struct timing *timing = &bench->timings[i];
        snprintf(notes[i], sizeof notes[i], "p50 %s, p99 %s", vdb_table_duration(a, timing->p50),
                 vdb_table_duration(b, timing->p99));
        curves[i] = (struct vdb_plot_svg_curve){.name = timing->name,
                                                .note = notes[i],
                                                .x = timing->curve_seconds,
                                                .y = timing->curve_share,
                                                .count = timing->curve_count};
    }
    snprintf(subtitle, sizeof subtitle,
             "%s points, dimension %" PRIu64 ", batches of %" PRIu64 "; one writer, every write synced",
             vdb_table_count(a, options->count), options->dimension, options->batch);
    const struct vdb_plot_svg plot = {
        .title = "Latency of storage operations",
        .subtitle = subtitle,
        .x = {"time of one operation, until it is on disk or answered", VDB_PLOT_SVG_SECONDS, true},
        .y = {"share of operations that took at most so long", VDB_PLOT_SVG_SHARE, false},
        .curves = curves,
        .curve_count = TIMINGS,
    };
    return vdb_plot_svg_write(&plot, out, err);
}

/* With `out` NULL only sees that the file can be written: before the measurements rather than after them. */
static vdb_status save_plot(const char *path, const struct vdb_buf *out, struct vdb_err *err)
{
    struct vdb_env *env = vdb_env_posix();
    struct vdb_file *file = NULL;
    unsigned flags = VDB_OPEN_WRITE | VDB_OPEN_CREATE | (out != NULL ? VDB_OPEN_TRUNCATE : 0);
    vdb_status status = env->ops->open(env, path, flags, &file, err);
    if (status == VDB_OK && out != NULL) {
        status = env->ops->write_at(env, file, out->data, out->bytes, 0, err);
    }
    env->ops->close(env, file);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "--plot");
}

/* The directory must be new: it is removed at the end. */
static vdb_status refuse_present(const char *path, struct vdb_err *err)
{
    struct vdb_env *env = vdb_env_posix();
    vdb_file_kind kind;
    uint64_t bytes;
    vdb_status status = env->ops->stat(env, path, &kind, &bytes, err);
    if (status == VDB_OK) {
        return vdb_err_set(
            err, VDB_EXISTS,
            "--path: \"%.200s\" is there; bench works in a directory of its own, which it makes and "
            "removes",
            path);
    }
    return status == VDB_NOT_FOUND ? VDB_OK : status;
}

static vdb_status run_bench(const struct vdb_storage_options *options, struct vdb_err *err)
{
    struct bench bench = {.options = options};
    struct vdb_buf out = {0};
    vdb_status status;
    VDB_TRY(refuse_present(options->path, err));
    if (options->plot != NULL) {
        VDB_TRY(save_plot(options->plot, NULL, err));
    }
    VDB_CHECK(run_phases(&bench, err));
    if (options->json) {
        report_bench_json(&bench, &out);
    } else {
        report_bench(&bench, &out);
    }
    VDB_CHECK(vdb_cli_write(&out, err));
    if (options->plot != NULL) {
        VDB_CHECK(draw_bench(&bench, &out, err));
        status = save_plot(options->plot, &out, err);
    }

cleanup:
    close_bench(&bench);
    if (!options->keep) {
        struct vdb_err late = {0};
        vdb_status removed = vdb_env_remove_tree(vdb_env_posix(), options->path, &late);
        if (status == VDB_OK && removed != VDB_OK && removed != VDB_NOT_FOUND) {
            status = vdb_err_set(err, removed, "%s", late.text);
        }
    }
    vdb_buf_fini(&out);
    vdb_buf_fini(&bench.metadata);
    free(bench.samples);
    free(bench.vectors);
    free(bench.points);
    return status;
}

const struct vdb_storage_verb vdb_storage_bench_bench = {
    .name = "bench",
    .summary = "Measure durable writes, recovery, opening, reads, compaction",
    .about = "Makes the directory, measures in it, and removes it. One writer, every write synced; what a server "
             "gains\n"
             "by syncing for many writers at once is not in it. Reads come from the page cache.\n",
    .examples = "  vecdb storage bench --path ./bench-here\n"
                "  vecdb storage bench --path /mnt/nvme/bench --count 1000000 --json > bench.json\n"
                "  vecdb storage bench --path ./bench-here --plot latency.svg\n",
    .describe = describe_bench,
    .run = run_bench,
};
