/* wal_recover.c: opening a log: find the segments, replay them, cut a torn tail.
 *
 * The argument. A segment is created only after the one before is durable to its last byte (wal.c, write_group),
 * so a bad record in any segment but the last is damage. In the last, W4 tells damage from a torn tail. A last
 * segment whose 64-byte header never became durable holds nothing that anyone was told of, since its header is
 * synced before its first record is written: it is made anew. Nothing is changed on the disk before all segments
 * have been walked and found good. What was replayed may have been in the kernel's cache only (a killed process),
 * so the last segment is synced before the first answer: what a reader sees never disappears.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "wal_internal.h"

/* A segment grows past segment_bytes by at most one group: the queue's limit plus one largest record. */
#define SEGMENT_FILE_BYTES_MAX ((uint64_t)2 << 30)

struct recovery {
    struct vdb_wal *wal;
    uint32_t first;
    uint32_t last;
    bool any;
    vdb_wal_record_fn *fn;
    void *ctx;
    struct vdb_wal_recovery *found;

    /* The segment walked last. */
    uint8_t *image; /* owned */
    size_t image_bytes;
    uint64_t keep_bytes;    /* of them good; 0: not even the header ever became durable */
    uint64_t durable_bytes; /* of them known to be on the disk */
};

/* Finds the highest number; foreign names are refused, since nothing else belongs in this directory. */
static vdb_status note_segment(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    struct recovery *r = ctx;
    static const char prefix[] = "segment_";
    char again[64];
    if (kind == VDB_KIND_FILE && strncmp(name, prefix, sizeof prefix - 1) == 0) {
        /* Whatever strtoul makes of the rest: only the one spelling of a number is a segment's name. */
        uint32_t number = (uint32_t)strtoul(name + sizeof prefix - 1, NULL, 10);
        snprintf(again, sizeof again, "segment_%06" PRIu32 ".wal", number);
        if (strcmp(again, name) == 0) {
            r->last = !r->any || number > r->last ? number : r->last;
            r->any = true;
            return VDB_OK;
        }
    }
    return vdb_err_set(err, VDB_CORRUPT, "\"%s\" is no log segment; nothing else belongs in this directory",
                       name);
}

static vdb_status replay_record(void *ctx, const struct vdb_wal_record *record, struct vdb_err *err)
{
    struct recovery *r = ctx;
    r->wal->unmarked = record->type != VDB_WAL_MARK;
    if (record->type == VDB_WAL_MARK) {
        return record->payload_bytes == 0 ? VDB_OK : vdb_err_set(err, VDB_CORRUPT, "a mark with a payload");
    }
    if (record->type != VDB_WAL_BATCH) {
        return vdb_err_set(err, VDB_VERSION, "record type %d is not known to this version", (int)record->type);
    }
    r->found->records++;
    return r->fn(r->ctx, record, err);
}

/* Whether the header is the one that must follow what has been replayed so far. */
static vdb_status check_successor(const struct recovery *r, const struct vdb_wal_header *header,
                                  struct vdb_err *err)
{
    const struct vdb_wal *wal = r->wal;
    if (memcmp(header->uuid, wal->uuid, VDB_UUID_BYTES) != 0) {
        return vdb_err_set(err, VDB_CORRUPT, "header at byte 0: belongs to another collection (UUID mismatch)");
    }
    if (header->number != wal->number) {
        return vdb_err_set(err, VDB_CORRUPT, "header at byte 0: says it is segment %u", header->number);
    }
    bool follows = header->number == r->first ||
                   (header->chain == wal->last_crc && header->first_seq == wal->next_seq);
    if (!follows) {
        return vdb_err_set(
            err, VDB_CORRUPT,
            "header at byte 0: does not follow the segment before (it starts at sequence number %" PRIu64
            ", expected %" PRIu64 ")",
            header->first_seq, wal->next_seq);
    }
    return VDB_OK;
}

/* Walks the segment's image; sets the log's position behind it. */
static vdb_status replay_image(struct recovery *r, struct vdb_err *err)
{
    struct vdb_wal *wal = r->wal;
    struct vdb_wal_header header;
    struct vdb_wal_scan scan;
    uint32_t header_crc;
    bool is_last = wal->number == r->last;
    r->keep_bytes = 0;
    r->durable_bytes = 0;
    vdb_status status = vdb_wal_header_decode(r->image, r->image_bytes, &header, &header_crc, err);
    if (status == VDB_CORRUPT && is_last && wal->number != r->first && r->image_bytes <= VDB_WAL_HEADER_BYTES) {
        return VDB_OK; /* a creation that a crash cut short */
    }
    VDB_TRY(status);
    VDB_TRY(check_successor(r, &header, err));
    VDB_TRY(vdb_wal_scan_image(r->image, r->image_bytes, &header, header_crc, replay_record, r, &scan, err));
    if (scan.end == VDB_WAL_END_DAMAGED) {
        return vdb_err_set(err, VDB_CORRUPT,
                           "record at byte %zu: %s; an intact record at byte %" PRIu64
                           " proves that it was durable",
                           scan.valid_bytes, scan.reason, scan.proof_offset);
    }
    if (scan.end == VDB_WAL_END_TORN && !is_last) {
        return vdb_err_set(err, VDB_CORRUPT, "record at byte %zu: %s; the log goes on in segment_%06u.wal",
                           scan.valid_bytes, scan.reason, wal->number + 1);
    }
    r->keep_bytes = scan.valid_bytes;
    r->durable_bytes = scan.durable_bytes;
    wal->key = header_crc;
    wal->last_crc = scan.last_crc;
    wal->next_seq = scan.next_seq;
    return VDB_OK;
}

static vdb_status replay_segment(struct recovery *r, struct vdb_err *err)
{
    struct vdb_wal *wal = r->wal;
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    free(r->image);
    r->image = NULL;
    VDB_TRY(vdb_wal_segment_path(path, wal->dir, wal->number, err));
    vdb_status status = vdb_env_read_file(wal->env, path, SEGMENT_FILE_BYTES_MAX, &r->image, &r->image_bytes,
                                          err);
    if (status == VDB_NOT_FOUND || status == VDB_LIMIT) {
        return vdb_err_wrap(err, VDB_CORRUPT, "a log segment is missing or too large");
    }
    VDB_TRY(status);
    r->found->segments++;
    r->found->bytes += r->image_bytes;
    status = replay_image(r, err);
    wal->log_bytes += r->keep_bytes;
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "replay segment_%06u.wal", wal->number);
}

/* Opens the last segment for appending, cuts its torn tail, and makes the rest durable. */
static vdb_status open_tail(struct recovery *r, struct vdb_err *err)
{
    struct vdb_wal *wal = r->wal;
    struct vdb_env *env = wal->env;
    if (r->keep_bytes == 0) {
        struct vdb_wal_header header = {
            .number = wal->number, .chain = wal->last_crc, .first_seq = wal->next_seq};
        memcpy(header.uuid, wal->uuid, VDB_UUID_BYTES);
        VDB_TRY(vdb_wal_segment_create(env, wal->dir, &header, &wal->file, &wal->key, err));
        wal->last_crc = wal->key;
        wal->file_bytes = VDB_WAL_HEADER_BYTES;
        wal->log_bytes += VDB_WAL_HEADER_BYTES;
        return VDB_OK;
    }
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    VDB_TRY(vdb_wal_segment_path(path, wal->dir, wal->number, err));
    VDB_TRY(env->ops->open(env, path, VDB_OPEN_WRITE, &wal->file, err));
    if (r->image_bytes > r->keep_bytes) {
        r->found->torn_bytes_cut = r->image_bytes - r->keep_bytes;
        vdb_log(VDB_LOG_WARN, "wal", "%s: cutting %" PRIu64 " unacknowledged bytes after byte %" PRIu64, path,
                r->found->torn_bytes_cut, r->keep_bytes);
        VDB_TRY(env->ops->truncate(env, wal->file, r->keep_bytes, err));
    }
    VDB_TRY(env->ops->write_at(env, wal->file, r->image + r->durable_bytes, r->keep_bytes - r->durable_bytes,
                               r->durable_bytes, err));
    VDB_TRY(env->ops->sync(env, wal->file, err));
    VDB_TRY(env->ops->sync_dir(env, wal->dir, err));
    wal->file_bytes = r->keep_bytes;
    return VDB_OK;
}

vdb_status vdb_wal_open(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES], uint64_t first,
                        const struct vdb_wal_options *options, vdb_wal_record_fn *fn, void *ctx,
                        struct vdb_wal **out, struct vdb_wal_recovery *recovery, struct vdb_err *err)
{
    *recovery = (struct vdb_wal_recovery){0};
    struct vdb_wal *wal = vdb_wal_new(env, dir, options);
    if (wal == NULL) {
        return vdb_err_no_memory(err, "a log");
    }
    memcpy(wal->uuid, uuid, VDB_UUID_BYTES);
    wal->next_seq = 1;
    struct recovery r = {.wal = wal, .first = (uint32_t)first, .fn = fn, .ctx = ctx, .found = recovery};
    vdb_status status;
    VDB_CHECK(env->ops->list(env, dir, note_segment, &r, err));
    if (!r.any || r.last < first) { /* compared in 64 bits: no segment has a number past 32 */
        status = vdb_err_set(err, VDB_CORRUPT, "segment_%06" PRIu64 ".wal is missing", first);
        goto cleanup;
    }
    for (wal->number = r.first;; wal->number++) {
        VDB_CHECK(replay_segment(&r, err));
        if (wal->number == r.last) {
            break;
        }
    }
    VDB_CHECK(open_tail(&r, err));
    wal->durable_seq = wal->next_seq - 1;

cleanup:
    free(r.image);
    if (status != VDB_OK) {
        vdb_wal_close(wal, false);
        return vdb_err_wrap(err, status, "log"); /* the callers name the place: a path twice would not fit */
    }
    *out = wal;
    return VDB_OK;
}
