/* storage_report.c: `vecdb storage recover`, `verify` and `stats`: what is there, and whether it is whole. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/timer.h"
#include "cli.h"
#include "storage.h"

/* ---- recover ---- */

struct recovery {
    vecdb_collection_info info;
    vecdb_verify_result verified;
    uint64_t
        found; /* entries after the checkpoint, by their sequence numbers: batches and marks of clean closes */
    uint64_t index_sees; /* rows that a search takes part in */
    uint64_t scanned;    /* points read whole */
    uint64_t broken;     /* of them, with a vector that is not finite */
    double open_seconds;
    double check_seconds;
};

static int check_point(void *ctx, const vecdb_hit *point)
{
    struct recovery *recovery = ctx;
    double sum = 0;
    for (uint32_t d = 0; d < point->dimension; d++) {
        sum += fabs((double)point->vector[d]);
    }
    recovery->scanned++;
    recovery->broken += !isfinite(sum) || point->metadata_bytes < 2;
    return 0;
}

/* Whether the index sees exactly the points that are there: a search with every row let through says so. */
static vdb_status ask_index(vecdb *db, struct recovery *recovery, struct vdb_err *err)
{
    const vecdb_collection_info *info = &recovery->info;
    vecdb_error error;
    vecdb_result *result;
    float *vector = vdb_calloc(info->dimension, sizeof *vector);
    if (vector == NULL) {
        return vdb_err_no_memory(err, "a query");
    }
    vector[0] = 1; /* not zero, which has no cosine */
    const vecdb_search_request request = {
        .vector = vector, .dimension = info->dimension, .k = 1, .without_metadata = 1};
    vdb_status status = vdb_storage_outcome(vecdb_search(db, info->name, &request, &result, &error), &error, err);
    if (status == VDB_OK) {
        recovery->index_sees = vecdb_result_explain(result)->rows_allowed;
        vecdb_result_free(result);
    }
    free(vector);
    return status;
}

static bool is_whole(const struct recovery *recovery)
{
    const vecdb_collection_info *info = &recovery->info;
    return recovery->found >= info->recovered_batches && recovery->index_sees == info->count &&
           recovery->scanned == info->count && recovery->broken == 0;
}

static vdb_status recover(const struct vdb_storage_options *options, vecdb **db, struct recovery *recovery,
                          struct vdb_err *err)
{
    vecdb_error error;
    vdb_log_set_level(VDB_LOG_ERROR); /* a torn end is in the report */
    uint64_t started = vdb_now_ns();
    VDB_TRY(vdb_storage_open_collection(options, db, &recovery->info, err));
    recovery->open_seconds = (double)(vdb_now_ns() - started) * 1e-9;
    if (recovery->info.last_seq > recovery->info.checkpoint_seq) {
        recovery->found = recovery->info.last_seq - recovery->info.checkpoint_seq;
    }
    started = vdb_now_ns();
    VDB_TRY(ask_index(*db, recovery, err));
    const vecdb_scan_options scan = {check_point, recovery, 0, 0};
    VDB_TRY(vdb_storage_outcome(vecdb_scan(*db, options->collection, &scan, &error), &error, err));
    VDB_TRY(
        vdb_storage_outcome(vecdb_verify(*db, options->collection, &recovery->verified, &error), &error, err));
    recovery->check_seconds = (double)(vdb_now_ns() - started) * 1e-9;
    return VDB_OK;
}

static void put_found(const struct recovery *recovery, struct vdb_buf *out)
{
    const vecdb_collection_info *info = &recovery->info;
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    char c[VDB_TABLE_TEXT_BYTES];
    vdb_storage_line(out, "segments scanned", "%s (%s rows, %s)", vdb_table_count(a, info->segments),
                     vdb_table_count(b, info->segment_rows), vdb_storage_bytes(c, info->segment_bytes));
    vdb_storage_line(out, "log files scanned", "%s (%s)", vdb_table_count(a, info->recovered_files),
                     vdb_storage_bytes(b, info->recovered_bytes));
    if (recovery->found > 0) {
        vdb_storage_line(out, "log entries found", "%s (sequence numbers %s to %s)",
                         vdb_table_count(a, recovery->found), vdb_table_count(b, info->checkpoint_seq + 1),
                         vdb_table_count(c, info->last_seq));
    } else {
        vdb_storage_line(out, "log entries found", "0 after the checkpoint at %s",
                         vdb_table_count(a, info->checkpoint_seq));
    }
    uint64_t marks = recovery->found - info->recovered_batches;
    if (recovery->found > info->recovered_batches) {
        vdb_storage_line(out, "log entries replayed", "%s (%s more mark clean closes)",
                         vdb_table_count(a, info->recovered_batches), vdb_table_count(b, marks));
    } else {
        vdb_storage_line(out, "log entries replayed", "%s", vdb_table_count(a, info->recovered_batches));
    }
    vdb_storage_line(out, "torn bytes cut", "%s%s", vdb_table_count(a, info->torn_bytes_cut),
                     info->torn_bytes_cut > 0 ? " (of a write that was never acknowledged)" : "");
    double seconds = (double)info->recovery_ns * 1e-9;
    vdb_storage_line(out, "recovery time", "%s (%s of log)", vdb_table_duration(a, seconds),
                     vdb_storage_speed(b, info->recovered_bytes, seconds));
}

static void report_recovery(const struct vdb_storage_options *options, const struct recovery *recovery,
                            struct vdb_buf *out)
{
    const vecdb_collection_info *info = &recovery->info;
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    vdb_buf_printf(out, "Recovered \"%s\" in %s\n\n", info->name, options->path);
    put_found(recovery, out);
    vdb_buf_put_text(out, "\n");
    vdb_storage_line(out, "index consistency", "%s: the %s index sees %s of %s points",
                     recovery->index_sees == info->count ? "ok" : "BROKEN", info->index,
                     vdb_table_count(a, recovery->index_sees), vdb_table_count(b, info->count));
    vdb_storage_line(out, "points verified", "%s of %s, each read whole",
                     vdb_table_count(a, recovery->scanned - recovery->broken), vdb_table_count(b, info->count));
    vdb_storage_line(out, "checksums", "ok: %s in %s files", vdb_storage_bytes(a, recovery->verified.bytes),
                     vdb_table_count(b, recovery->verified.files));
    vdb_storage_line(out, "time to check", "%s", vdb_table_duration(a, recovery->check_seconds));
    if (!is_whole(recovery)) {
        vdb_buf_put_text(out, "\nDATA IS MISSING: the counts above do not agree.\n");
        return;
    }
    vdb_buf_put_text(out, "\nNo data loss: every acknowledged write is there.\n");
    if (info->torn_bytes_cut > 0) {
        vdb_buf_put_text(out, "The bytes cut are what a crash left of a write that was never acknowledged.\n");
    }
}

static void report_recovery_json(const struct recovery *recovery, struct vdb_buf *out)
{
    const vecdb_collection_info *info = &recovery->info;
    vdb_buf_put_text(out, "{\"collection\":");
    vdb_json_put_string(out, vdb_str_of(info->name));
    vdb_buf_printf(out,
                   ",\"segments_scanned\":%" PRIu64 ",\"segment_rows\":%" PRIu64 ",\"log_files\":%" PRIu64
                   ",\"log_bytes\":%" PRIu64,
                   info->segments, info->segment_rows, info->recovered_files, info->recovered_bytes);
    vdb_buf_printf(out,
                   ",\"entries_found\":%" PRIu64 ",\"entries_replayed\":%" PRIu64 ",\"torn_bytes_cut\":%" PRIu64
                   ",\"checkpoint_seq\":%" PRIu64 ",\"last_seq\":%" PRIu64,
                   recovery->found, info->recovered_batches, info->torn_bytes_cut, info->checkpoint_seq,
                   info->last_seq);
    vdb_buf_printf(out,
                   ",\"points\":%" PRIu64 ",\"index_points\":%" PRIu64 ",\"points_verified\":%" PRIu64
                   ",\"files_verified\":%" PRIu64 ",\"bytes_verified\":%" PRIu64,
                   info->count, recovery->index_sees, recovery->scanned - recovery->broken,
                   recovery->verified.files, recovery->verified.bytes);
    vdb_buf_printf(out,
                   ",\"recovery_seconds\":%.6f,\"open_seconds\":%.6f,\"check_seconds\":%.6f,\"data_loss\":%s}\n",
                   (double)info->recovery_ns * 1e-9, recovery->open_seconds, recovery->check_seconds,
                   is_whole(recovery) ? "false" : "true");
}

static vdb_status run_recover(const struct vdb_storage_options *options, struct vdb_err *err)
{
    struct recovery recovery = {0};
    struct vdb_buf out = {0};
    vecdb *db = NULL;
    vdb_status status;
    VDB_CHECK(recover(options, &db, &recovery, err));
    if (options->json) {
        report_recovery_json(&recovery, &out);
    } else {
        report_recovery(options, &recovery, &out);
    }
    VDB_CHECK(vdb_cli_write(&out, err));
    if (!is_whole(&recovery)) {
        status = vdb_err_set(err, VDB_CORRUPT,
                             "collection \"%s\": %" PRIu64 " points, of which the index sees %" PRIu64
                             " and %" PRIu64 " read well; %" PRIu64 " log entries, of which %" PRIu64 " replayed",
                             recovery.info.name, recovery.info.count, recovery.index_sees,
                             recovery.scanned - recovery.broken, recovery.found, recovery.info.recovered_batches);
    }

cleanup:
    vdb_buf_fini(&out);
    vecdb_close(db);
    return status;
}

const struct vdb_storage_verb vdb_storage_report_recover = {
    .name = "recover",
    .summary = "Open after a crash, say what was found, check every point",
    .about =
        "Opening recovers: the segments that the manifest names, then the log after the last checkpoint. Bytes "
        "at\n"
        "the log's end that belong to no whole entry are of a write that was never acknowledged, and are cut.\n"
        "Then the index is asked, and every point and every block is read. Exit code 1 when anything is amiss.\n",
    .examples = "  vecdb storage recover --path ./data\n"
                "  vecdb storage recover --path ./data --json\n",
    .run = run_recover,
};

/* ---- verify ---- */

struct verification {
    vecdb_verify_result result;
    vecdb_stats stats;
    double seconds;
};

static void report_verify(const struct vdb_storage_options *options, const struct verification *done,
                          struct vdb_buf *out)
{
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    const vecdb_verify_result *result = &done->result;
    vdb_buf_printf(out, "Verified %s\n\n", options->path);
    vdb_storage_line(out, "collections", "%s", vdb_table_count(a, result->collections));
    vdb_storage_line(out, "snapshots", "%s", vdb_table_count(a, result->snapshots));
    vdb_storage_line(out, "files", "%s (%s)", vdb_table_count(a, result->files),
                     vdb_storage_bytes(b, result->bytes));
    vdb_storage_line(out, "points", "%s", vdb_table_count(a, result->points));
    if (done->stats.torn_bytes_cut > 0) {
        vdb_storage_line(out, "torn bytes cut", "%s (of a write that was never acknowledged)",
                         vdb_table_count(a, done->stats.torn_bytes_cut));
    }
    vdb_storage_line(out, "time", "%s, %s", vdb_table_duration(a, done->seconds),
                     vdb_storage_speed(b, result->bytes, done->seconds));
    vdb_buf_put_text(out, "\nEvery byte is what was written.\n");
}

static vdb_status run_verify(const struct vdb_storage_options *options, struct vdb_err *err)
{
    struct verification done;
    struct vdb_buf out = {0};
    vecdb *db = NULL;
    vecdb_error error;
    uint64_t started = vdb_now_ns();
    vdb_status status;
    vdb_log_set_level(VDB_LOG_ERROR); /* a torn end is in the report */
    VDB_CHECK(vdb_storage_open(options, false, &db, err));
    VDB_CHECK(vdb_storage_outcome(vecdb_verify(db, NULL, &done.result, &error), &error, err));
    done.seconds = (double)(vdb_now_ns() - started) * 1e-9;
    vecdb_get_stats(db, &done.stats);
    if (options->json) {
        vdb_buf_printf(&out,
                       "{\"ok\":true,\"collections\":%" PRIu64 ",\"snapshots\":%" PRIu64 ",\"files\":%" PRIu64
                       ",\"bytes\":%" PRIu64 ",\"points\":%" PRIu64 ",\"torn_bytes_cut\":%" PRIu64
                       ",\"seconds\":%.6f}\n",
                       done.result.collections, done.result.snapshots, done.result.files, done.result.bytes,
                       done.result.points, done.stats.torn_bytes_cut, done.seconds);
    } else {
        report_verify(options, &done, &out);
    }
    status = vdb_cli_write(&out, err);

cleanup:
    vdb_buf_fini(&out);
    vecdb_close(db);
    return status;
}

const struct vdb_storage_verb vdb_storage_report_verify = {
    .name = "verify",
    .summary = "Read and check every byte of a data directory",
    .about = "Manifests, logs, segments and snapshots of all collections. Exit code 0 only when every byte "
             "checks; else\n"
             "one line names the file and the byte. A torn end of a log, as a crash leaves it, is cut and is no "
             "damage.\n",
    .examples = "  vecdb storage verify --path ./data\n",
    .run = run_verify,
    .whole = true,
};

/* ---- stats ---- */

struct picture {
    vecdb_collection_info info;
    vecdb_io_stats opening; /* what opening the directory took */
    vecdb_segment_info *segments;
    size_t segment_count;
    vecdb_snapshot_info *snapshots;
    size_t snapshot_count;
    struct vdb_storage_files files;
};

static vdb_status look(const struct vdb_storage_options *options, vecdb **db, struct picture *picture,
                       struct vdb_err *err)
{
    const char *collection = options->collection;
    vecdb_io_stats before;
    vecdb_error error;
    vecdb_get_io_stats(&before);
    VDB_TRY(vdb_storage_open_collection(options, db, &picture->info, err));
    vecdb_get_io_stats(&picture->opening);
    vecdb_io_stats_since(&picture->opening, &before);
    VDB_TRY(vdb_storage_outcome(
        vecdb_list_segments(*db, collection, &picture->segments, &picture->segment_count, &error), &error, err));
    VDB_TRY(vdb_storage_outcome(
        vecdb_snapshot_list(*db, collection, &picture->snapshots, &picture->snapshot_count, &error), &error,
        err));
    return vdb_storage_measure_files(options, &picture->files, err);
}

static void put_files(const struct vdb_storage_files *files, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {{"on disk", false}, {"files", true}, {"bytes", true}};
    struct vdb_storage_kind total = vdb_storage_total_files(files);
    const struct {
        const char *name;
        const struct vdb_storage_kind *kind;
    } rows[] = {{"log", &files->log},
                {"vectors", &files->vectors},
                {"ids and metadata", &files->metadata},
                {"dead rows", &files->bitmaps},
                {"graphs", &files->index},
                {"manifest", &files->manifest},
                {"total", &total}};
    struct vdb_table table;
    char text[VDB_TABLE_TEXT_BYTES];
    vdb_table_init(&table, columns, 3);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        vdb_table_put(&table, rows[i].name);
        vdb_table_put(&table, vdb_table_count(text, rows[i].kind->files));
        vdb_table_put(&table, vdb_table_count(text, rows[i].kind->bytes));
    }
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
}

static void put_segments(const struct picture *picture, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {{"segment", true}, {"rows", true},    {"dead", true},
                                                      {"dead %", true},  {"vectors", true}, {"metadata", true}};
    struct vdb_table table;
    char text[VDB_TABLE_TEXT_BYTES];
    vdb_table_init(&table, columns, 6);
    for (size_t i = 0; i < picture->segment_count; i++) {
        const vecdb_segment_info *segment = &picture->segments[i];
        double dead = 100.0 * (double)segment->dead / (double)segment->rows;
        char number[16];
        snprintf(number, sizeof number, "%06" PRIu32, segment->number);
        vdb_table_put(&table, number);
        vdb_table_put(&table, vdb_table_count(text, segment->rows));
        vdb_table_put(&table, vdb_table_count(text, segment->dead));
        vdb_table_put(&table, vdb_table_decimal(text, dead, 1));
        vdb_table_put(&table, vdb_storage_bytes(text, segment->vector_bytes));
        vdb_table_put(&table, vdb_storage_bytes(text, segment->metadata_bytes));
    }
    if (picture->segment_count > 0) {
        vdb_buf_put_text(out, "\n");
        vdb_table_print(&table, 2, out);
    }
    vdb_table_fini(&table);
}

static double seconds_of(const vecdb_latency *latency, double share)
{
    return (double)vecdb_latency_quantile_ns(latency, share) * 1e-9;
}

static void put_opening(const vecdb_io_stats *io, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {{"while opening", false}, {"calls", true}, {"bytes", true}};
    const struct {
        const char *name;
        uint64_t calls;
        uint64_t bytes;
    } rows[] = {{"read", io->reads, io->read_bytes},
                {"read through maps", io->mapped_reads, io->mapped_read_bytes},
                {"written", io->writes, io->write_bytes},
                {"made durable", io->syncs.count, io->synced_bytes}};
    struct vdb_table table;
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    vdb_table_init(&table, columns, 3);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        vdb_table_put(&table, rows[i].name);
        vdb_table_put(&table, vdb_table_count(a, rows[i].calls));
        vdb_table_put(&table, vdb_table_count(a, rows[i].bytes));
    }
    vdb_buf_put_text(out, "\n");
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
    const struct {
        const char *name;
        const vecdb_latency *latency;
    } syncs[] = {{"syncs of files", &io->syncs}, {"syncs of directories", &io->dir_syncs}};
    vdb_buf_put_text(out, "\n");
    for (size_t i = 0; i < sizeof syncs / sizeof syncs[0]; i++) {
        if (syncs[i].latency->count > 0) {
            char count[VDB_TABLE_TEXT_BYTES];
            vdb_storage_line(out, syncs[i].name, "%s (p50 <= %s, p99 <= %s)",
                             vdb_table_count(count, syncs[i].latency->count),
                             vdb_table_duration(a, seconds_of(syncs[i].latency, 0.5)),
                             vdb_table_duration(b, seconds_of(syncs[i].latency, 0.99)));
        }
    }
}

static void report_stats(const struct vdb_storage_options *options, const struct picture *picture,
                         struct vdb_buf *out)
{
    const vecdb_collection_info *info = &picture->info;
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    char c[VDB_TABLE_TEXT_BYTES];
    vdb_buf_printf(out, "Collection \"%s\" in %s\n\n", info->name, options->path);
    vdb_storage_line(out, "points", "%s", vdb_table_count(a, info->count));
    vdb_storage_line(out, "dimension, metric", "%" PRIu32 ", %s", info->dimension,
                     vecdb_metric_name(info->metric));
    vdb_storage_line(out, "element", "%s", vecdb_element_name(info->element));
    vdb_storage_index_put(info, out);
    vdb_storage_line(out, "sequence number", "%s (checkpoint at %s)", vdb_table_count(a, info->last_seq),
                     vdb_table_count(b, info->checkpoint_seq));
    vdb_storage_line(out, "dead rows", "%s (%s in segments)", vdb_table_count(a, info->dead),
                     vdb_table_count(b, info->segment_dead));
    vdb_storage_line(out, "space amplification", "%.3f%s", vdb_storage_amplification(info),
                     info->compaction_due ? " (a compaction is due)" : "");
    vdb_storage_line(out, "compaction debt", "%s", vdb_storage_bytes(a, info->compaction_debt_bytes));
    vdb_storage_line(out, "memory", "%s", vdb_storage_bytes(a, info->memory_bytes));
    vdb_storage_line(out, "time to open", "%s (%s log entries replayed, %s of log read)",
                     vdb_table_duration(a, (double)info->recovery_ns * 1e-9),
                     vdb_table_count(b, info->recovered_batches), vdb_storage_bytes(c, info->recovered_bytes));
    if (picture->snapshot_count > 0) {
        vdb_storage_line(out, "snapshots", "%s (%s, shared with the collection while it has them)",
                         vdb_table_count(a, picture->snapshot_count),
                         vdb_storage_bytes(b, picture->files.snapshots.bytes));
    }
    vdb_buf_put_text(out, "\n");
    put_files(&picture->files, out);
    put_segments(picture, out);
    put_opening(&picture->opening, out);
}

static void put_kind_json(struct vdb_buf *out, const char *name, struct vdb_storage_kind kind, const char *after)
{
    vdb_buf_printf(out, "\"%s\":{\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 "}%s", name, kind.files, kind.bytes,
                   after);
}

static void put_syncs_json(struct vdb_buf *out, const char *name, const vecdb_latency *latency, const char *after)
{
    vdb_buf_printf(out,
                   "\"%s\":{\"count\":%" PRIu64 ",\"seconds\":%.9f,\"p50_seconds\":%.9f,\"p99_seconds\":%.9f}%s",
                   name, latency->count, (double)latency->sum_ns * 1e-9, seconds_of(latency, 0.5),
                   seconds_of(latency, 0.99), after);
}

static void put_opening_json(const vecdb_io_stats *io, struct vdb_buf *out)
{
    vdb_buf_printf(out,
                   "\"opening\":{\"reads\":%" PRIu64 ",\"read_bytes\":%" PRIu64 ",\"mapped_reads\":%" PRIu64
                   ",\"mapped_read_bytes\":%" PRIu64,
                   io->reads, io->read_bytes, io->mapped_reads, io->mapped_read_bytes);
    vdb_buf_printf(out,
                   ",\"writes\":%" PRIu64 ",\"write_bytes\":%" PRIu64 ",\"synced_bytes\":%" PRIu64
                   ",\"failures\":%" PRIu64 ",",
                   io->writes, io->write_bytes, io->synced_bytes, io->failures);
    put_syncs_json(out, "syncs", &io->syncs, ",");
    put_syncs_json(out, "dir_syncs", &io->dir_syncs, "}");
}

static void report_stats_json(const struct picture *picture, struct vdb_buf *out)
{
    const vecdb_collection_info *info = &picture->info;
    vdb_buf_put_text(out, "{\"collection\":");
    vdb_json_put_string(out, vdb_str_of(info->name));
    vdb_buf_printf(out,
                   ",\"dimension\":%" PRIu32 ",\"metric\":\"%s\",\"element\":\"%s\",\"index\":", info->dimension,
                   vecdb_metric_name(info->metric), vecdb_element_name(info->element));
    vdb_json_put_string(out, vdb_str_of(info->index));
    vdb_buf_printf(out,
                   ",\"points\":%" PRIu64 ",\"dead_rows\":%" PRIu64 ",\"last_seq\":%" PRIu64
                   ",\"checkpoint_seq\":%" PRIu64 ",\"memory_bytes\":%" PRIu64,
                   info->count, info->dead, info->last_seq, info->checkpoint_seq, info->memory_bytes);
    vdb_buf_printf(out, ",\"space_amplification\":%.6f,\"compaction_due\":%s,\"compaction_debt_bytes\":%" PRIu64,
                   vdb_storage_amplification(info), info->compaction_due ? "true" : "false",
                   info->compaction_debt_bytes);
    vdb_buf_printf(
        out, ",\"recovery_seconds\":%.6f,\"recovered_bytes\":%" PRIu64 ",\"recovered_batches\":%" PRIu64 ",",
        (double)info->recovery_ns * 1e-9, info->recovered_bytes, info->recovered_batches);
    put_opening_json(&picture->opening, out);
    vdb_buf_put_text(out, ",");
    vdb_storage_index_put_json(info, out);
    vdb_buf_put_text(out, ",\"disk\":{");
    put_kind_json(out, "log", picture->files.log, ",");
    put_kind_json(out, "vectors", picture->files.vectors, ",");
    put_kind_json(out, "metadata", picture->files.metadata, ",");
    put_kind_json(out, "dead_rows", picture->files.bitmaps, ",");
    put_kind_json(out, "index", picture->files.index, ",");
    put_kind_json(out, "manifest", picture->files.manifest, ",");
    put_kind_json(out, "snapshots", picture->files.snapshots, ",");
    put_kind_json(out, "total", vdb_storage_total_files(&picture->files), "},\"segments\":[");
    for (size_t i = 0; i < picture->segment_count; i++) {
        const vecdb_segment_info *segment = &picture->segments[i];
        vdb_buf_printf(out,
                       "%s{\"number\":%" PRIu32 ",\"rows\":%" PRIu32 ",\"dead\":%" PRIu32
                       ",\"vector_bytes\":%" PRIu64 ",\"metadata_bytes\":%" PRIu64 "}",
                       i > 0 ? "," : "", segment->number, segment->rows, segment->dead, segment->vector_bytes,
                       segment->metadata_bytes);
    }
    vdb_buf_put_text(out, "]}\n");
}

static vdb_status run_stats(const struct vdb_storage_options *options, struct vdb_err *err)
{
    struct picture picture = {0};
    struct vdb_buf out = {0};
    vecdb *db = NULL;
    vdb_status status;
    VDB_CHECK(look(options, &db, &picture, err));
    if (options->json) {
        report_stats_json(&picture, &out);
    } else {
        report_stats(options, &picture, &out);
    }
    status = vdb_cli_write(&out, err);

cleanup:
    vdb_buf_fini(&out);
    vecdb_free(picture.segments);
    vecdb_free(picture.snapshots);
    vecdb_close(db);
    return status;
}

const struct vdb_storage_verb vdb_storage_report_stats = {
    .name = "stats",
    .summary = "Files, segments, dead rows, space and recovery of a collection",
    .about =
        "Space amplification is what segments take on disk over the share of their live rows. The compaction "
        "debt is "
        "what\n"
        "background compactions would read until they have nothing to do. The last part tells what opening the "
        "directory\n"
        "took just now; reads through maps are what was asked for when checksums were looked at, from the disk "
        "or the "
        "page\n"
        "cache.\n",
    .examples = "  vecdb storage stats --path ./data\n"
                "  vecdb storage stats --path ./data --collection docs --json\n",
    .run = run_stats,
};
