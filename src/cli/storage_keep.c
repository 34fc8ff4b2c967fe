/* storage_keep.c: `vecdb storage compact`, `snapshot` and `backup`: what keeps a data directory small, and copies it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/json.h"
#include "base/progress.h"
#include "base/timer.h"
#include "cli.h"
#include "storage.h"

/* ---- compact ---- */

static size_t describe_compact(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    table[0] = (struct vdb_args_option){.name = "--rate",
                                        .kind = VDB_ARGS_TEXT,
                                        .out = &options->rate,
                                        .value_name = "BYTES",
                                        .help = "write at most so much per second (200M); default: no limit"};
    table[1] = (struct vdb_args_option){.name = "--due",
                                        .kind = VDB_ARGS_FLAG,
                                        .out = &options->due,
                                        .help = "only segments that the background would take, not all"};
    return 2;
}

struct compaction {
    vecdb_collection_info before;
    vecdb_collection_info after;
    struct vdb_storage_kind disk_before;
    struct vdb_storage_kind disk_after;
    vecdb_compact_result result;
    double checkpoint_seconds;
    double seconds; /* of the compaction alone */
};

static int draw(void *ctx, const char *collection, uint64_t done, uint64_t total)
{
    struct vdb_progress *progress = ctx;
    (void)collection;
    progress->total = total;
    vdb_progress_update(progress, done);
    return 0;
}

static vdb_status measure(const struct vdb_storage_options *options, vecdb *db, vecdb_collection_info *info,
                          struct vdb_storage_kind *disk, struct vdb_err *err)
{
    struct vdb_storage_files files;
    VDB_TRY(vdb_storage_get_info(db, options->collection, info, err));
    VDB_TRY(vdb_storage_measure_files(options, &files, err));
    *disk = vdb_storage_total_files(&files);
    return VDB_OK;
}

/* Memory to a segment first, so that all there is takes part. */
static vdb_status compact(const struct vdb_storage_options *options, vecdb *db, uint64_t rate,
                          struct compaction *done, struct vdb_err *err)
{
    struct vdb_progress progress;
    vecdb_error error;
    const vecdb_compact_options how = {!options->due, rate, draw, &progress};
    VDB_TRY(measure(options, db, &done->before, &done->disk_before, err));
    uint64_t started = vdb_now_ns();
    VDB_TRY(vdb_storage_outcome(vecdb_checkpoint(db, options->collection, &error), &error, err));
    uint64_t middle = vdb_now_ns();
    done->checkpoint_seconds = (double)(middle - started) * 1e-9;
    vdb_progress_begin(&progress, "compact", "rows", done->before.segment_rows);
    vecdb_status status = vecdb_compact(db, options->collection, &how, &done->result, &error);
    vdb_progress_end(&progress);
    VDB_TRY(vdb_storage_outcome(status, &error, err));
    done->seconds = (double)(vdb_now_ns() - middle) * 1e-9;
    return measure(options, db, &done->after, &done->disk_after, err);
}

static void put_row(struct vdb_table *table, const char *name, const char *before, const char *after)
{
    vdb_table_put(table, name);
    vdb_table_put(table, before);
    vdb_table_put(table, after);
}

static void put_comparison(const struct compaction *done, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {{"", false}, {"before", true}, {"after", true}};
    const vecdb_collection_info *before = &done->before;
    const vecdb_collection_info *after = &done->after;
    struct vdb_table table;
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    vdb_table_init(&table, columns, 3);
    put_row(&table, "points", vdb_table_count(a, before->count), vdb_table_count(b, after->count));
    put_row(&table, "dead rows", vdb_table_count(a, before->dead), vdb_table_count(b, after->dead));
    put_row(&table, "segments", vdb_table_count(a, before->segments), vdb_table_count(b, after->segments));
    put_row(&table, "in segments", vdb_storage_bytes(a, before->segment_bytes),
            vdb_storage_bytes(b, after->segment_bytes));
    put_row(&table, "in the log", vdb_storage_bytes(a, before->log_bytes),
            vdb_storage_bytes(b, after->log_bytes));
    put_row(&table, "on disk", vdb_storage_bytes(a, done->disk_before.bytes),
            vdb_storage_bytes(b, done->disk_after.bytes));
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
}

/* May be negative: a log's batches hold no index of ids, a segment does. */
static int64_t reclaimed_bytes(const struct compaction *done)
{
    return (int64_t)done->disk_before.bytes - (int64_t)done->disk_after.bytes;
}

static void report_compaction(const struct vdb_storage_options *options, const struct compaction *done,
                              struct vdb_buf *out)
{
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    int64_t reclaimed = reclaimed_bytes(done);
    uint64_t size = (uint64_t)(reclaimed < 0 ? -reclaimed : reclaimed);
    double percent = done->disk_before.bytes > 0 ? 100.0 * (double)size / (double)done->disk_before.bytes : 0;
    vdb_buf_printf(out, "Compacted \"%s\" in %s\n\n", done->after.name, options->path);
    put_comparison(done, out);
    vdb_buf_put_text(out, "\n");
    vdb_storage_line(out, reclaimed < 0 ? "grown by" : "reclaimed", "%s (%.1f%%)", vdb_storage_bytes(a, size),
                     percent);
    vdb_storage_line(out, "dead rows dropped", "%s", vdb_table_count(a, done->before.dead - done->after.dead));
    vdb_storage_line(out, "space amplification", "%.3f", vdb_storage_amplification(&done->after));
    vdb_storage_line(out, "checkpoint", "%s", vdb_table_duration(a, done->checkpoint_seconds));
    if (done->result.segments > 0) {
        vdb_storage_line(
            out, "compaction", "%s, %s read and written", vdb_table_duration(a, done->seconds),
            vdb_storage_speed(b, done->result.bytes_before + done->result.bytes_after, done->seconds));
    } else {
        vdb_storage_line(out, "compaction", "%s",
                         done->before.dead > done->after.dead
                             ? "not needed: the checkpoint left the dead rows out"
                         : options->due ? "none is due"
                                        : "not needed: one segment without dead rows");
    }
}

static void report_compaction_json(const struct compaction *done, struct vdb_buf *out)
{
    const struct {
        const char *name;
        const vecdb_collection_info *info;
        struct vdb_storage_kind disk;
    } sides[] = {{"before", &done->before, done->disk_before}, {"after", &done->after, done->disk_after}};
    vdb_buf_put_text(out, "{\"collection\":");
    vdb_json_put_string(out, vdb_str_of(done->after.name));
    for (size_t i = 0; i < 2; i++) {
        const vecdb_collection_info *info = sides[i].info;
        vdb_buf_printf(out,
                       ",\"%s\":{\"points\":%" PRIu64 ",\"dead_rows\":%" PRIu64 ",\"segments\":%" PRIu64
                       ",\"segment_bytes\":%" PRIu64 ",\"log_bytes\":%" PRIu64 ",\"disk_bytes\":%" PRIu64 "}",
                       sides[i].name, info->count, info->dead, info->segments, info->segment_bytes,
                       info->log_bytes, sides[i].disk.bytes);
    }
    vdb_buf_printf(out,
                   ",\"reclaimed_bytes\":%" PRId64 ",\"merged_segments\":%" PRIu64
                   ",\"space_amplification\":%.6f,\"checkpoint_seconds\":%.6f,\"compaction_seconds\":%.6f}\n",
                   reclaimed_bytes(done), done->result.segments, vdb_storage_amplification(&done->after),
                   done->checkpoint_seconds, done->seconds);
}

static vdb_status run_compact(const struct vdb_storage_options *options, struct vdb_err *err)
{
    struct compaction done = {0};
    struct vdb_buf out = {0};
    vecdb *db = NULL;
    uint64_t rate = 0;
    vdb_status status;
    if (options->rate != NULL) {
        VDB_CHECK(vdb_storage_parse_bytes("--rate", options->rate, &rate, err));
    }
    VDB_CHECK(vdb_storage_open_collection(options, &db, &done.before, err));
    VDB_CHECK(compact(options, db, rate, &done, err));
    if (options->json) {
        report_compaction_json(&done, &out);
    } else {
        report_compaction(options, &done, &out);
    }
    status = vdb_cli_write(&out, err);

cleanup:
    vdb_buf_fini(&out);
    vecdb_close(db);
    return status;
}

const struct vdb_storage_verb vdb_storage_keep_compact = {
    .name = "compact",
    .summary = "Write live rows anew and give the space of dead ones back",
    .about =
        "First a checkpoint (what is in memory goes to a segment, the log gets short), then all segments become\n"
        "one without dead rows. A crash or a kill at any moment loses nothing. Snapshots keep their files.\n",
    .examples = "  vecdb storage compact --path ./data\n"
                "  vecdb storage compact --path ./data --rate 100M\n",
    .describe = describe_compact,
    .run = run_compact,
};

/* ---- snapshot ---- */

static const struct vdb_args_option name_option = {.name = "--name",
                                                   .kind = VDB_ARGS_TEXT,
                                                   .value_name = "NAME",
                                                   .help = "of the snapshot: letters, digits, _ . -, up to 64",
                                                   .required = true};
static const struct vdb_args_option to_option = {.name = "--to",
                                                 .kind = VDB_ARGS_TEXT,
                                                 .value_name = "DIR",
                                                 .help = "the new data directory: missing or empty",
                                                 .required = true};

static size_t describe_name(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    table[0] = name_option;
    table[0].out = &options->name;
    return 1;
}

static size_t describe_to(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    table[0] = to_option;
    table[0].out = &options->to;
    return 1;
}

static size_t describe_name_to(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    return describe_name(options, table) + describe_to(options, table + 1);
}

/* "2026-01-31 12:34:56" UTC. */
static const char *date_of(char text[VDB_TABLE_TEXT_BYTES], uint64_t created_us)
{
    time_t seconds = (time_t)(created_us / 1000000);
    struct tm when;
    if (gmtime_r(&seconds, &when) == NULL ||
        strftime(text, VDB_TABLE_TEXT_BYTES, "%Y-%m-%d %H:%M:%S", &when) == 0) {
        snprintf(text, VDB_TABLE_TEXT_BYTES, "%" PRIu64, created_us);
    }
    return text;
}

static void put_snapshot_json(const vecdb_snapshot_info *info, struct vdb_buf *out)
{
    vdb_buf_put_text(out, "{\"name\":");
    vdb_json_put_string(out, vdb_str_of(info->name));
    vdb_buf_printf(
        out, ",\"seq\":%" PRIu64 ",\"created_us\":%" PRIu64 ",\"points\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
        info->seq, info->created_us, info->points, info->bytes);
}

static vdb_status run_create(const struct vdb_storage_options *options, struct vdb_err *err)
{
    struct vdb_buf out = {0};
    vecdb *db = NULL;
    vecdb_error error;
    vecdb_snapshot_info info;
    char a[VDB_TABLE_TEXT_BYTES];
    vdb_status status;
    VDB_CHECK(vdb_storage_open(options, false, &db, err));
    uint64_t started = vdb_now_ns();
    VDB_CHECK(vdb_storage_outcome(vecdb_snapshot_create(db, options->collection, options->name, &info, &error),
                                  &error, err));
    double seconds = (double)(vdb_now_ns() - started) * 1e-9;
    if (options->json) {
        put_snapshot_json(&info, &out);
        vdb_buf_put_text(&out, "\n");
    } else {
        vdb_buf_printf(&out, "Made snapshot \"%s\" of \"%s\" in %s\n\n", info.name, options->collection,
                       options->path);
        vdb_storage_line(&out, "points", "%s", vdb_table_count(a, info.points));
        vdb_storage_line(&out, "sequence number", "%s", vdb_table_count(a, info.seq));
        vdb_storage_line(&out, "files", "%s, shared with the collection until a compaction",
                         vdb_storage_bytes(a, info.bytes));
        vdb_storage_line(&out, "time", "%s", vdb_table_duration(a, seconds));
    }
    status = vdb_cli_write(&out, err);

cleanup:
    vdb_buf_fini(&out);
    vecdb_close(db);
    return status;
}

static void put_snapshots(const vecdb_snapshot_info *list, size_t count, struct vdb_buf *out)
{
    static const struct vdb_table_column columns[] = {
        {"snapshot", false}, {"made (UTC)", false}, {"sequence", true}, {"points", true}, {"bytes", true}};
    struct vdb_table table;
    char text[VDB_TABLE_TEXT_BYTES];
    vdb_table_init(&table, columns, 5);
    for (size_t i = 0; i < count; i++) {
        vdb_table_put(&table, list[i].name);
        vdb_table_put(&table, date_of(text, list[i].created_us));
        vdb_table_put(&table, vdb_table_count(text, list[i].seq));
        vdb_table_put(&table, vdb_table_count(text, list[i].points));
        vdb_table_put(&table, vdb_table_count(text, list[i].bytes));
    }
    vdb_table_print(&table, 2, out);
    vdb_table_fini(&table);
}

static vdb_status run_list(const struct vdb_storage_options *options, struct vdb_err *err)
{
    struct vdb_buf out = {0};
    vecdb *db = NULL;
    vecdb_error error;
    vecdb_snapshot_info *list = NULL;
    size_t count = 0;
    vdb_status status;
    VDB_CHECK(vdb_storage_open(options, false, &db, err));
    VDB_CHECK(
        vdb_storage_outcome(vecdb_snapshot_list(db, options->collection, &list, &count, &error), &error, err));
    if (options->json) {
        vdb_buf_put_text(&out, "{\"snapshots\":[");
        for (size_t i = 0; i < count; i++) {
            vdb_buf_put_text(&out, i > 0 ? "," : "");
            put_snapshot_json(&list[i], &out);
        }
        vdb_buf_put_text(&out, "]}\n");
    } else if (count == 0) {
        vdb_buf_printf(&out, "No snapshots of \"%s\" in %s\n", options->collection, options->path);
    } else {
        put_snapshots(list, count, &out);
    }
    status = vdb_cli_write(&out, err);

cleanup:
    vdb_buf_fini(&out);
    vecdb_free(list);
    vecdb_close(db);
    return status;
}

static vdb_status run_snapshot_delete(const struct vdb_storage_options *options, struct vdb_err *err)
{
    struct vdb_buf out = {0};
    vecdb *db = NULL;
    vecdb_error error;
    vdb_status status;
    VDB_CHECK(vdb_storage_open(options, false, &db, err));
    VDB_CHECK(
        vdb_storage_outcome(vecdb_snapshot_delete(db, options->collection, options->name, &error), &error, err));
    if (options->json) {
        vdb_buf_put_text(&out, "{\"deleted\":");
        vdb_json_put_string(&out, vdb_str_of(options->name));
        vdb_buf_put_text(&out, "}\n");
    } else {
        vdb_buf_printf(&out, "Deleted snapshot \"%s\" of \"%s\"\n", options->name, options->collection);
    }
    status = vdb_cli_write(&out, err);

cleanup:
    vdb_buf_fini(&out);
    vecdb_close(db);
    return status;
}

/* What restore and backup say when the copy is complete. */
static vdb_status report_copy(const struct vdb_storage_options *options, const char *title, double seconds,
                              struct vdb_err *err)
{
    struct vdb_buf out = {0};
    struct vdb_storage_kind copied;
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    VDB_TRY(vdb_storage_measure_tree(options->to, &copied, err));
    if (options->json) {
        vdb_buf_put_text(&out, "{\"to\":");
        vdb_json_put_string(&out, vdb_str_of(options->to));
        vdb_buf_printf(&out, ",\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.6f}\n", copied.files,
                       copied.bytes, seconds);
    } else {
        vdb_buf_printf(&out, "%s to %s\n\n", title, options->to);
        vdb_storage_line(&out, "files", "%s (%s), each block checked", vdb_table_count(a, copied.files),
                         vdb_storage_bytes(b, copied.bytes));
        vdb_storage_line(&out, "time", "%s, %s", vdb_table_duration(a, seconds),
                         vdb_storage_speed(b, copied.bytes, seconds));
        vdb_buf_printf(&out, "\nIt is a data directory: vecdb storage stats --path %s\n", options->to);
    }
    vdb_status status = vdb_cli_write(&out, err);
    vdb_buf_fini(&out);
    return status;
}

static vdb_status run_restore(const struct vdb_storage_options *options, struct vdb_err *err)
{
    vecdb *db = NULL;
    vecdb_error error;
    char title[160];
    vdb_status status;
    VDB_CHECK(vdb_storage_open(options, false, &db, err));
    uint64_t started = vdb_now_ns();
    VDB_CHECK(vdb_storage_outcome(
        vecdb_restore_snapshot(db, options->collection, options->name, options->to, &error), &error, err));
    snprintf(title, sizeof title, "Restored snapshot \"%s\"", options->name);
    status = report_copy(options, title, (double)(vdb_now_ns() - started) * 1e-9, err);

cleanup:
    vecdb_close(db);
    return status;
}

const struct vdb_storage_verb vdb_storage_keep_snapshot_create = {
    .name = "snapshot create",
    .summary = "Keep the collection's present state under a name",
    .about = "Costs a checkpoint and hard links, no copy. Searches can ask for it by name (\"snapshot\" over "
             "HTTP and in\n"
             "Python, COLLECTION@NAME in C) and are answered as of now, whatever is written later.\n",
    .examples = "  vecdb storage snapshot create --path ./data --name before-cleanup\n",
    .describe = describe_name,
    .run = run_create,
};

const struct vdb_storage_verb vdb_storage_keep_snapshot_list = {
    .name = "snapshot list",
    .summary = "The snapshots of a collection",
    .about = "Bytes are those of a snapshot's files, shared with the collection while that has them.\n",
    .examples = "  vecdb storage snapshot list --path ./data\n",
    .run = run_list,
};

const struct vdb_storage_verb vdb_storage_keep_snapshot_delete = {
    .name = "snapshot delete",
    .summary = "Delete a snapshot; the collection stays as it is",
    .about = "Gives back the space of files that only the snapshot had.\n",
    .examples = "  vecdb storage snapshot delete --path ./data --name before-cleanup\n",
    .describe = describe_name,
    .run = run_snapshot_delete,
};

const struct vdb_storage_verb vdb_storage_keep_snapshot_restore = {
    .name = "snapshot restore",
    .summary = "Make a new data directory from a snapshot",
    .about = "Every block is checked while it is copied. The directory opens only if all of it was written.\n",
    .examples = "  vecdb storage snapshot restore --path ./data --name before-cleanup --to ./data-before\n",
    .describe = describe_name_to,
    .run = run_restore,
};

/* ---- backup ---- */

static vdb_status run_backup(const struct vdb_storage_options *options, struct vdb_err *err)
{
    struct vdb_progress progress;
    vecdb *db = NULL;
    vecdb_error error;
    vdb_status status;
    VDB_CHECK(vdb_storage_open(options, false, &db, err));
    uint64_t started = vdb_now_ns();
    vdb_progress_begin(&progress, "backup", "collections", 1);
    vecdb_status outcome = vecdb_backup(db, options->to, draw, &progress, &error);
    vdb_progress_end(&progress);
    VDB_CHECK(vdb_storage_outcome(outcome, &error, err));
    status = report_copy(options, "Backed up all collections", (double)(vdb_now_ns() - started) * 1e-9, err);

cleanup:
    vecdb_close(db);
    return status;
}

const struct vdb_storage_verb vdb_storage_keep_backup = {
    .name = "backup",
    .summary = "Copy all collections to a new data directory, checked",
    .about = "Every block is checked while it is copied. The directory opens only if all of it was written.\n"
             "Programs that have the directory open themselves do the same with vecdb_backup.\n",
    .examples = "  vecdb storage backup --path ./data --to /mnt/backup/data-monday\n",
    .describe = describe_to,
    .run = run_backup,
    .whole = true,
};
