/* verify.c: reading everything again.
 *
 * Opening checks little of a segment, by design; here every byte is read from the files and checked: the segments, their
 * index files (what these mean is not known here), the manifest, the bitmaps that it names, and the log. Then that the sources fit together: each id is visible once (V1).
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "log_reader.h"
#include "store_internal.h"

/* Each visible row of a segment must not be visible in a later segment. */
static vdb_status check_distinct(const struct vdb_view *view, uint32_t s, struct vdb_err *err)
{
    struct vdb_version *version = view->version;
    struct vdb_segment *segment = version->segments[s];
    for (uint32_t row = 0; row < vdb_segment_rows(segment); row++) {
        struct vdb_id id;
        if (!vdb_segment_sees(segment, row, view->seq)) {
            continue;
        }
        VDB_TRY(vdb_segment_id(segment, row, &id, err));
        for (uint32_t other = s + 1; other < version->segment_count; other++) {
            uint32_t found;
            VDB_TRY(vdb_segment_find(version->segments[other], &id, &found, err));
            if (found != VDB_SLOT_NONE && vdb_segment_sees(version->segments[other], found, view->seq)) {
                return vdb_err_set(err, VDB_CORRUPT,
                                   "row %" PRIu32 " of segment %06" PRIu32 " and row %" PRIu32
                                   " of segment %06" PRIu32 " are live versions of one point",
                                   row, vdb_segment_info(segment)->number, found,
                                   vdb_segment_info(version->segments[other])->number);
            }
        }
    }
    return VDB_OK;
}

/* The file must say what this process goes by. */
static vdb_status check_manifest(struct vdb_store *store, struct vdb_verify_result *result, struct vdb_err *err)
{
    struct vdb_manifest again;
    struct vdb_buf expected = {0};
    struct vdb_buf found = {0};
    vdb_status status = vdb_manifest_load(store->env, store->dir, VDB_MANIFEST_COLLECTION, &again, err);
    if (status != VDB_OK) {
        return status;
    }
    again.created_us = store->manifest.created_us;
    again.next_number = store->manifest.next_number; /* a number may have been drawn since */
    vdb_manifest_encode(&store->manifest, &expected);
    vdb_manifest_encode(&again, &found);
    if (expected.failed || found.failed) {
        status = vdb_err_no_memory(err, "a manifest");
    } else if (!store->commit_failed && /* else it may be the next one (D4) */
               !vdb_str_eq((struct vdb_str){(const char *)expected.data, expected.bytes},
                           (struct vdb_str){(const char *)found.data, found.bytes})) {
        status = vdb_err_set(err, VDB_CORRUPT, "%s/" VDB_MANIFEST_NAME ": was changed by somebody else",
                             store->dir);
    }
    result->files++;
    result->bytes += found.bytes;
    vdb_buf_fini(&expected);
    vdb_buf_fini(&found);
    vdb_manifest_fini(&again);
    return status;
}

static vdb_status check_log(struct vdb_store *store, struct vdb_verify_result *result, struct vdb_err *err)
{
    char dir[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_log_reader *reader = NULL;
    const struct vdb_log_from from = {.seq = store->manifest.checkpoint_seq + 1, .uuid = store->manifest.uuid};
    struct vdb_log_reader_stats stats;
    struct vdb_wal_record record;
    uint64_t durable_seq = vdb_wal_durable_seq(store->wal);
    uint64_t last_seq = store->manifest.checkpoint_seq;
    bool more = true;
    vdb_status status;
    VDB_CHECK(vdb_path_join(dir, sizeof dir, store->dir, VDB_STORE_WAL_DIR, err));
    VDB_CHECK(vdb_log_reader_open(store->env, dir, &from, &reader, err));
    while (more) {
        VDB_CHECK(vdb_log_reader_next(reader, &record, &more, err));
        last_seq = more ? record.seq : last_seq;
    }
    if (last_seq < durable_seq) { /* to the reader a damaged end is one that is still being written */
        status = vdb_err_set(err, VDB_CORRUPT,
                             "%s: the record after sequence number %" PRIu64 " is damaged, %" PRIu64
                             " was durable",
                             dir, last_seq, durable_seq);
        goto cleanup;
    }
    vdb_log_reader_get_stats(reader, &stats);
    result->files += stats.segments;
    result->bytes += stats.bytes;

cleanup:
    vdb_log_reader_close(reader);
    return status;
}

/* What the maintain lock keeps still: the manifest, the bitmaps it names, and the log after its checkpoint. */
static vdb_status check_named(struct vdb_store *store, struct vdb_verify_result *result, struct vdb_err *err)
{
    VDB_TRY(check_manifest(store, result, err));
    for (uint32_t i = 0; i < store->manifest.segment_count; i++) {
        const struct vdb_segment_info *info = &store->manifest.segments[i];
        if (info->dead_edition != 0) {
            VDB_TRY(vdb_segment_verify_dead(store->version->segments[i], info, &result->bytes, err));
            result->files++;
        }
    }
    return store->wal != NULL ? check_log(store, result, err) : VDB_OK;
}

/* Of a segment that was merged meanwhile it is gone, rightly. */
static vdb_status check_index(struct vdb_store *store, struct vdb_segment *segment,
                              struct vdb_verify_result *result, struct vdb_err *err)
{
    struct vdb_block_file *file;
    const uint8_t *data;
    uint64_t bytes;
    struct vdb_err why = {0};
    vdb_status status = vdb_store_attached_open(store, segment, &file, &data, &bytes, &why);
    if (status == VDB_OK) {
        result->files++;
        result->bytes += vdb_block_file_bytes(file);
        vdb_block_file_close(file);
    }
    return status == VDB_OK || status == VDB_NOT_FOUND ? VDB_OK : vdb_err_set(err, status, "%s", why.text);
}

vdb_status vdb_store_verify(struct vdb_store *store, struct vdb_verify_result *result, struct vdb_err *err)
{
    struct vdb_view view;
    vdb_status status = VDB_OK;
    *result = (struct vdb_verify_result){0};
    vdb_store_pin(store, &view);
    for (uint32_t s = 0; s < view.version->segment_count; s++) {
        VDB_CHECK(vdb_segment_verify(view.version->segments[s], &result->bytes, err));
        VDB_CHECK(check_distinct(&view, s, err));
        result->files += 2;
        VDB_CHECK(check_index(store, view.version->segments[s], result, err));
    }
    pthread_mutex_lock(&store->maintain);
    status = check_named(store, result, err);
    pthread_mutex_unlock(&store->maintain);
    result->points = view.points;

cleanup:
    vdb_view_release(&view);
    return status;
}
