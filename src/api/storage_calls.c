/* storage_calls.c: the part of vecdb.h that is about disks: scans, checkpoints, compactions, verification, snapshots,
 * backups. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitset.h"
#include "base/mem.h"
#include "database_handle.h"

_Static_assert(sizeof((vecdb_snapshot_info *)0)->name == VDB_LIMIT_NAME_BYTES_MAX + 1, "names differ in size");

/* ---- Sizes ---- */

/* Without bitmaps of dead rows, as in struct vdb_store_stats. */
static uint64_t bytes_of(const struct vdb_segment_info *info)
{
    return info->vectors.bytes + info->meta.bytes;
}

void vdb_storage_calls_measure(struct vdb_collection *collection, struct vdb_storage_calls_sizes *out)
{
    struct vdb_store *store = vdb_collection_store(collection);
    struct vdb_view view;
    *out = (struct vdb_storage_calls_sizes){0};
    vdb_store_pin(store, &view);
    for (uint32_t i = 0; i < view.version->segment_count; i++) {
        struct vdb_segment *segment = view.version->segments[i];
        uint32_t rows = vdb_segment_rows(segment); /* at least 1 */
        uint64_t files = bytes_of(vdb_segment_info(segment));
        double live = (double)(rows - vdb_segment_dead(segment)) / (double)rows;
        out->segment_live_bytes += (uint64_t)((double)files * live);
    }
    vdb_view_release(&view);
    out->debt_bytes = vdb_store_compaction_debt(store);
}

vecdb_status vecdb_list_segments(vecdb *db, const char *name, vecdb_segment_info **out, size_t *count,
                                 vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection;
    *out = NULL;
    *count = 0;
    vdb_status status = vdb_api_get(db, name, &collection, &inner);
    if (status != VDB_OK) {
        return vdb_api_report(status, &inner, err);
    }
    struct vdb_view view;
    vdb_store_pin(vdb_collection_store(collection), &view);
    vecdb_segment_info *list = vdb_calloc((size_t)view.version->segment_count + 1, sizeof *list);
    for (uint32_t i = 0; list != NULL && i < view.version->segment_count; i++) {
        const struct vdb_segment_info *info = vdb_segment_info(view.version->segments[i]);
        list[i] = (vecdb_segment_info){
            .number = info->number,
            .rows = info->rows,
            .dead = vdb_segment_dead(view.version->segments[i]),
            .vector_bytes = info->vectors.bytes,
            .metadata_bytes = info->meta.bytes,
        };
    }
    *count = list != NULL ? view.version->segment_count : 0;
    *out = list;
    vdb_view_release(&view);
    vdb_collection_unref(collection);
    return vdb_api_report(list != NULL ? VDB_OK : vdb_err_no_memory(&inner, "a listing"), &inner, err);
}

/* ---- Scan ---- */

struct scan {
    const struct vdb_view *view;
    const vecdb_scan_options *options;
    uint32_t dimension;
    float *room; /* for a vector that is not kept as floats */
};

static vdb_status visit_row(const struct scan *scan, uint32_t source, uint32_t row, struct vdb_view_meta *reader,
                            struct vdb_err *err)
{
    const vecdb_scan_options *options = scan->options;
    struct vdb_id id;
    struct vdb_str metadata = {0};
    vecdb_hit hit = {0};
    VDB_TRY(vdb_view_id(scan->view, source, row, &id, err));
    if (options->without_vector == 0) {
        VDB_TRY(vdb_view_vector(scan->view, source, row, scan->room, &hit.vector, err));
    }
    if (options->without_metadata == 0) {
        VDB_TRY(vdb_view_meta_read(reader, row, &metadata, err));
    }
    hit.id = (vecdb_id){id.text, id.text_bytes, id.number};
    hit.dimension = scan->dimension;
    hit.metadata = metadata.data;
    hit.metadata_bytes = metadata.bytes;
    return options->visit(options->ctx, &hit) == 0 ? VDB_OK : vdb_err_set(err, VDB_CANCELLED, "scan cancelled");
}

static vdb_status scan_source(const struct scan *scan, uint32_t source, struct vdb_err *err)
{
    uint32_t rows = vdb_view_source_rows(scan->view, source);
    struct vdb_bitset visible;
    struct vdb_view_meta reader;
    vdb_status status = VDB_OK;
    if (!vdb_bitset_init(&visible, rows)) {
        return vdb_err_no_memory(err, "a scan");
    }
    vdb_view_meta_init(&reader, scan->view, source);
    (void)vdb_view_fill_visible(scan->view, source, &visible);
    for (uint32_t row = 0; row < rows && status == VDB_OK; row++) {
        if (vdb_bitset_test(&visible, row)) {
            status = visit_row(scan, source, row, &reader, err);
        }
    }
    vdb_view_meta_fini(&reader);
    vdb_bitset_fini(&visible);
    return status;
}

vecdb_status vecdb_scan(vecdb *db, const char *name, const vecdb_scan_options *options, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection;
    vdb_status status = vdb_api_get_to_read(db, name, &collection, &inner);
    if (status == VDB_OK) {
        struct vdb_view view;
        struct scan scan = {&view, options, vdb_collection_schema(collection)->dimension, NULL};
        scan.room = vdb_calloc(scan.dimension, sizeof *scan.room);
        status = scan.room != NULL ? VDB_OK : vdb_err_no_memory(&inner, "a scan");
        vdb_store_pin(vdb_collection_store(collection), &view);
        for (uint32_t s = 0; s < vdb_view_sources(&view) && status == VDB_OK; s++) {
            status = scan_source(&scan, s, &inner);
        }
        vdb_view_release(&view);
        free(scan.room);
        vdb_collection_unref(collection);
    }
    return vdb_api_report(status, &inner, err);
}

/* ---- Checkpoint and compaction ---- */

vecdb_status vecdb_checkpoint(vecdb *db, const char *name, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection;
    vdb_status status = vdb_api_get(db, name, &collection, &inner);
    if (status == VDB_OK) {
        status = vdb_collection_checkpoint(collection, &inner);
        vdb_collection_unref(collection);
    }
    return vdb_api_report(status, &inner, err);
}

bool vdb_api_tell_rows(void *ctx, uint64_t rows_done, uint64_t rows_total)
{
    const struct vdb_api_teller *teller = ctx;
    return teller->progress(teller->ctx, teller->collection, rows_done, rows_total) == 0;
}

static bool tell_collection(void *ctx, const char *collection, uint64_t done, uint64_t total)
{
    const struct vdb_api_teller *teller = ctx;
    return teller->progress(teller->ctx, collection, done, total) == 0;
}

vecdb_status vecdb_compact(vecdb *db, const char *name, const vecdb_compact_options *options,
                           vecdb_compact_result *result, vecdb_error *err)
{
    const vecdb_compact_options defaults = {0};
    options = options != NULL ? options : &defaults;
    struct vdb_err inner = {0};
    struct vdb_collection *collection;
    struct vdb_compact_result done = {0};
    struct vdb_api_teller teller = {options->progress, options->ctx, name};
    const struct vdb_compact_options within = {
        .full = options->full != 0,
        .bytes_per_second = options->bytes_per_second,
        .progress = options->progress != NULL ? vdb_api_tell_rows : NULL,
        .ctx = &teller,
    };
    vdb_status status = vdb_api_get(db, name, &collection, &inner);
    if (status == VDB_OK) {
        status = vdb_collection_compact(collection, &within, &done, &inner);
        vdb_collection_unref(collection);
    }
    if (result != NULL) {
        *result = (vecdb_compact_result){done.merged, done.rows_before, done.rows_after, done.bytes_before,
                                         done.bytes_after};
    }
    return vdb_api_report(status, &inner, err);
}

/* ---- Snapshots ---- */

static void fill_snapshot(const struct vdb_snapshot_info *from, vecdb_snapshot_info *to)
{
    memset(to, 0, sizeof *to);
    snprintf(to->name, sizeof to->name, "%s", from->name);
    to->seq = from->seq;
    to->created_us = from->created_us;
    to->points = from->points;
    to->bytes = from->bytes;
}

static vdb_status check_snapshot_name(const char *name, struct vdb_err *err)
{
    return name != NULL ? VDB_OK : vdb_err_set(err, VDB_INVALID, "snapshot: no name given");
}

vecdb_status vecdb_snapshot_create(vecdb *db, const char *name, const char *snapshot, vecdb_snapshot_info *out,
                                   vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection = NULL;
    struct vdb_snapshot_info info;
    vdb_status status;
    VDB_CHECK(check_snapshot_name(snapshot, &inner));
    VDB_CHECK(vdb_api_get(db, name, &collection, &inner));
    VDB_CHECK(vdb_collection_snapshot_create(collection, snapshot, &info, &inner));
    if (out != NULL) {
        fill_snapshot(&info, out);
    }

cleanup:
    vdb_collection_unref(collection);
    return vdb_api_report(status, &inner, err);
}

vecdb_status vecdb_snapshot_list(vecdb *db, const char *name, vecdb_snapshot_info **out, size_t *count,
                                 vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection = NULL;
    struct vdb_snapshot_info *infos = NULL;
    size_t found = 0;
    vdb_status status;
    *out = NULL;
    *count = 0;
    VDB_CHECK(vdb_api_get(db, name, &collection, &inner));
    VDB_CHECK(vdb_collection_snapshot_list(collection, &infos, &found, &inner));
    *out = vdb_calloc(found + 1, sizeof **out);
    if (*out == NULL) {
        status = vdb_err_no_memory(&inner, "a listing");
        goto cleanup;
    }
    for (size_t i = 0; i < found; i++) {
        fill_snapshot(&infos[i], &(*out)[i]);
    }
    *count = found;

cleanup:
    free(infos);
    vdb_collection_unref(collection);
    return vdb_api_report(status, &inner, err);
}

vecdb_status vecdb_snapshot_delete(vecdb *db, const char *name, const char *snapshot, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection = NULL;
    vdb_status status;
    VDB_CHECK(check_snapshot_name(snapshot, &inner));
    VDB_CHECK(vdb_api_get(db, name, &collection, &inner));
    status = vdb_collection_snapshot_delete(collection, snapshot, &inner);

cleanup:
    vdb_collection_unref(collection);
    return vdb_api_report(status, &inner, err);
}

vdb_status vdb_api_get_to_read(vecdb *db, const char *name, struct vdb_collection **out, struct vdb_err *err)
{
    char of[VDB_LIMIT_NAME_BYTES_MAX + 2]; /* what is cut off here is too long for a collection all the same */
    const char *sign = name != NULL ? strchr(name, VDB_API_SNAPSHOT_SIGN) : NULL;
    struct vdb_collection *collection;
    if (sign == NULL) {
        return vdb_api_get(db, name, out, err);
    }
    *out = NULL;
    size_t bytes = (size_t)(sign - name) < sizeof of ? (size_t)(sign - name) : sizeof of - 1;
    snprintf(of, sizeof of, "%.*s", (int)bytes, name);
    VDB_TRY(vdb_database_get(db->database, of, &collection, err));
    vdb_status status = vdb_collection_get_snapshot(collection, sign + 1, out, err);
    vdb_collection_unref(collection);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "collection \"%s\"", of);
}

/* ---- Copies ---- */

static vdb_status check_target(const char *to, struct vdb_err *err)
{
    return to != NULL && to[0] != '\0' ? VDB_OK : vdb_err_set(err, VDB_INVALID, "to: no directory given");
}

vecdb_status vecdb_restore_snapshot(vecdb *db, const char *name, const char *snapshot, const char *to,
                                    vecdb_error *err)
{
    struct vdb_err inner = {0};
    vdb_status status;
    VDB_CHECK(check_snapshot_name(snapshot, &inner));
    VDB_CHECK(check_target(to, &inner));
    VDB_CHECK(vdb_api_check_collection(name, &inner));
    status = vdb_database_restore_snapshot(db->database, name, snapshot, to, &inner);

cleanup:
    return vdb_api_report(status, &inner, err);
}

vecdb_status vecdb_backup(vecdb *db, const char *to, vecdb_progress_fn *progress, void *ctx, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_api_teller teller = {progress, ctx, NULL};
    vdb_status status;
    VDB_CHECK(check_target(to, &inner));
    status = vdb_database_backup(db->database, to, progress != NULL ? tell_collection : NULL, &teller, &inner);

cleanup:
    return vdb_api_report(status, &inner, err);
}

/* ---- Verification ---- */

static void add_verified(const struct vdb_verify_result *from, vecdb_verify_result *sum)
{
    sum->files += from->files;
    sum->bytes += from->bytes;
    sum->points += from->points;
}

/* Whether something was not found since it was dropped or deleted meanwhile; else it is missing, which is damage. */
static vdb_status judge_absence(vdb_status status, bool gone, struct vdb_err *err)
{
    if (status != VDB_NOT_FOUND || gone) {
        return status;
    }
    return vdb_err_wrap(err, VDB_CORRUPT, "missing");
}

static bool is_gone(vecdb *db, struct vdb_collection *collection)
{
    struct vdb_collection *now;
    struct vdb_err ignored;
    if (vdb_database_get(db->database, vdb_collection_schema(collection)->name, &now, &ignored) != VDB_OK) {
        return true;
    }
    bool gone = now != collection;
    vdb_collection_unref(now);
    return gone;
}

/* Whether the collection still has this very snapshot, for all that one can tell. */
static bool still_has(struct vdb_collection *collection, const struct vdb_snapshot_info *snapshot)
{
    struct vdb_snapshot_info *now = NULL;
    struct vdb_err ignored;
    size_t count = 0;
    bool gone = vdb_collection_snapshot_list(collection, &now, &count, &ignored) ==
                VDB_OK; /* waits for a deletion */
    for (size_t i = 0; i < count && gone; i++) {
        gone = strcmp(now[i].name, snapshot->name) != 0 || now[i].created_us != snapshot->created_us;
    }
    free(now);
    return !gone;
}

/* One that is deleted meanwhile is left out: files that are missing then are no damage. */
static vdb_status verify_snapshot(struct vdb_collection *collection, const struct vdb_snapshot_info *snapshot,
                                  vecdb_verify_result *sum, struct vdb_err *err)
{
    struct vdb_store *store = NULL;
    struct vdb_verify_result result = {0};
    vdb_status status = vdb_collection_snapshot_read(collection, snapshot->name, &store, err);
    if (status == VDB_OK) {
        status = vdb_store_verify(store, &result, err);
        vdb_store_close(store, false);
        status = status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "snapshot \"%s\"", snapshot->name);
    }
    if (status != VDB_OK && !still_has(collection, snapshot)) {
        return VDB_OK;
    }
    sum->files += result.files;
    sum->bytes += result.bytes;
    sum->snapshots += status == VDB_OK;
    return status;
}

static vdb_status verify_collection(vecdb *db, struct vdb_collection *collection, vecdb_verify_result *sum,
                                    struct vdb_err *err)
{
    const char *name = vdb_collection_schema(collection)->name;
    struct vdb_verify_result result;
    struct vdb_snapshot_info *snapshots = NULL;
    size_t count = 0;
    vdb_status status = vdb_collection_verify(collection, &result, err);
    add_verified(&result, sum);
    if (status == VDB_OK) {
        status = vdb_collection_snapshot_list(collection, &snapshots, &count, err);
    }
    for (size_t i = 0; i < count && status == VDB_OK; i++) {
        status = verify_snapshot(collection, &snapshots[i], sum, err);
    }
    free(snapshots);
    status = status == VDB_NOT_FOUND ? judge_absence(status, is_gone(db, collection), err) : status;
    sum->collections += status == VDB_OK;
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "collection \"%s\"", name);
}

/* Of all; a collection that is dropped meanwhile is left out. */
static vdb_status verify_all(vecdb *db, vecdb_verify_result *sum, struct vdb_err *err)
{
    struct vdb_collection **list = NULL;
    size_t count = 0;
    vdb_status status = vdb_database_list(db->database, &list, &count, err);
    for (size_t i = 0; i < count; i++) {
        if (status == VDB_OK) {
            status = verify_collection(db, list[i], sum, err);
            status = status == VDB_NOT_FOUND ? VDB_OK : status;
        }
        vdb_collection_unref(list[i]);
    }
    free(list);
    return status;
}

vecdb_status vecdb_verify(vecdb *db, const char *name, vecdb_verify_result *result, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection;
    vecdb_verify_result sum = {0};
    vdb_status status;
    if (name == NULL) {
        status = verify_all(db, &sum, &inner);
    } else {
        status = vdb_api_get(db, name, &collection, &inner);
        if (status == VDB_OK) {
            status = verify_collection(db, collection, &sum, &inner);
            vdb_collection_unref(collection);
        }
    }
    if (result != NULL) {
        *result = sum;
    }
    return vdb_api_report(status, &inner, err);
}
