/* wal_recover.c: opening a log: find the segments, replay them, cut a torn tail, remove what a checkpoint replaced.
 *
 * The argument. A segment is created only after the one before is durable to its last byte (wal.c, write_group),
 * so a bad record in any segment but the last is damage. In the last, W4 tells damage from a torn tail. A last
 * segment whose 64-byte header never became durable holds nothing that anyone was told of, since its header is
 * synced before its first record is written: it is made anew. Nothing is changed on the disk before all segments
 * have been walked and found good. What was replayed may have been in the kernel's cache only (a killed process),
 * so the last segment is synced before the first answer: what a reader sees never disappears.
 *
 * Segments before the first live one are what a pruning left behind: a manifest that no longer names them was durable
 * before it began. They are not looked at, and go when all else is done; a removal that fails is tried again at the
 * next open.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "wal_internal.h"
#include "wal_scan.h"

struct recovery {
    struct vdb_wal *wal;
    uint32_t first;
    uint32_t last;
    bool any;
    uint64_t after_seq;
    vdb_wal_record_fn *fn;
    void *ctx;
    struct vdb_wal_recovery *found;
    struct vdb_buf old; /* numbers (u32) of segments before the first */

    /* The segment walked last. */
    struct vdb_file *file; /* owned */
    struct vdb_wal_source source;
    uint64_t keep_bytes;    /* of them good; 0: not even the header ever became durable */
    uint64_t durable_bytes; /* of them known to be on the disk */
};

/* Finds the highest number, and those before the first; foreign names are refused, since nothing else belongs in this directory. */
static vdb_status note_segment(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    struct recovery *r = ctx;
    uint32_t number;
    if (kind == VDB_KIND_FILE && vdb_wal_parse_segment_name(name, &number)) {
        if (number < r->first) {
            vdb_buf_put_u32(&r->old, number);
            return r->old.failed ? vdb_err_no_memory(err, "a list of log segments") : VDB_OK;
        }
        r->last = !r->any || number > r->last ? number : r->last;
        r->any = true;
        return VDB_OK;
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
    if (record->seq <= r->after_seq) {
        return VDB_OK; /* a checkpoint has it */
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
    if (header->number == r->first) {
        /* The checkpoint (0: the collection's beginning) and the log leave no gap between them. */
        if (header->first_seq == 0 || header->first_seq - 1 > r->after_seq) {
            return vdb_err_set(err, VDB_CORRUPT,
                               "header at byte 0: the log begins at sequence number %" PRIu64
                               ", but the checkpoint ends at %" PRIu64,
                               header->first_seq, r->after_seq);
        }
        return VDB_OK;
    }
    if (header->chain != wal->last_crc || header->first_seq != wal->next_seq) {
        return vdb_err_set(
            err, VDB_CORRUPT,
            "header at byte 0: does not follow the segment before (it starts at sequence number %" PRIu64
            ", expected %" PRIu64 ")",
            header->first_seq, wal->next_seq);
    }
    return VDB_OK;
}

/* Walks the segment; sets the log's position behind it. */
static vdb_status replay_file(struct recovery *r, uint64_t *first_seq, struct vdb_err *err)
{
    struct vdb_wal *wal = r->wal;
    struct vdb_wal_header header;
    struct vdb_wal_scan scan;
    uint32_t header_crc;
    const uint8_t *head;
    bool is_last = wal->number == r->last;
    uint64_t bytes = r->source.bytes;
    size_t head_bytes = bytes < VDB_WAL_HEADER_BYTES ? (size_t)bytes : VDB_WAL_HEADER_BYTES;
    r->keep_bytes = 0;
    r->durable_bytes = 0;
    VDB_TRY(vdb_wal_source_need(&r->source, 0, head_bytes, &head, err));
    if (head == NULL) {
        return vdb_err_set(err, VDB_IO, "shorter than its size of %" PRIu64 " bytes", bytes);
    }
    vdb_status status = vdb_wal_header_decode(head, head_bytes, &header, &header_crc, err);
    if (status == VDB_CORRUPT && is_last && wal->number != r->first && bytes <= VDB_WAL_HEADER_BYTES) {
        *first_seq = wal->next_seq;
        return VDB_OK; /* a creation that a crash cut short */
    }
    VDB_TRY(status);
    VDB_TRY(check_successor(r, &header, err));
    VDB_TRY(vdb_wal_scan(&r->source, &header, header_crc, replay_record, r, &scan, err));
    if (scan.end == VDB_WAL_END_DAMAGED) {
        return vdb_err_set(err, VDB_CORRUPT,
                           "record at byte %" PRIu64 ": %s; an intact record at byte %" PRIu64
                           " proves that it was durable",
                           scan.valid_bytes, scan.reason, scan.proof_offset);
    }
    if (scan.end == VDB_WAL_END_TORN && !is_last) {
        return vdb_err_set(err, VDB_CORRUPT,
                           "record at byte %" PRIu64 ": %s; the log goes on in segment_%06u.wal",
                           scan.valid_bytes, scan.reason, wal->number + 1);
    }
    if (is_last && scan.next_seq - 1 < r->after_seq) {
        return vdb_err_set(err, VDB_CORRUPT,
                           "record at byte %" PRIu64 ": the log ends at sequence number %" PRIu64
                           ", but a checkpoint proves that %" PRIu64 " was durable",
                           scan.valid_bytes, scan.next_seq - 1, r->after_seq);
    }
    r->keep_bytes = scan.valid_bytes;
    r->found->torn_bytes_cut = scan.tail_bytes;
    r->durable_bytes = scan.durable_bytes;
    *first_seq = header.first_seq;
    wal->key = header_crc;
    wal->last_crc = scan.last_crc;
    wal->next_seq = scan.next_seq;
    return VDB_OK;
}

static vdb_status replay_segment(struct recovery *r, struct vdb_err *err)
{
    struct vdb_wal *wal = r->wal;
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    uint64_t bytes;
    uint64_t first_seq = 0;
    if (!vdb_wal_reserve_segment(wal)) {
        return vdb_err_no_memory(err, "a list of log segments");
    }
    wal->env->ops->close(wal->env, r->file);
    r->file = NULL;
    VDB_TRY(vdb_wal_segment_path(path, wal->dir, wal->number, err));
    vdb_status status = wal->env->ops->open(wal->env, path, VDB_OPEN_READ, &r->file, err);
    if (status == VDB_NOT_FOUND) {
        return vdb_err_wrap(err, VDB_CORRUPT, "a log segment is missing");
    }
    VDB_TRY(status);
    VDB_TRY(wal->env->ops->size(wal->env, r->file, &bytes, err));
    r->source.env = wal->env;
    r->source.file = r->file;
    vdb_wal_source_reset(&r->source, bytes); /* its buffer serves all segments */
    r->found->segments++;
    r->found->bytes += bytes;
    status = replay_file(r, &first_seq, err);
    if (status != VDB_OK) {
        return vdb_err_wrap(err, status, "replay segment_%06u.wal", wal->number);
    }
    wal->segments[wal->segment_count++] = (struct vdb_wal_segment){
        .number = wal->number, .first_seq = first_seq, .bytes = r->keep_bytes};
    return VDB_OK;
}

/* Writes the bytes that nobody vouches for again: a sync that failed before the crash may have left them in the
 * kernel's cache, marked clean (E3). */
static vdb_status rewrite_unproven(struct recovery *r, struct vdb_err *err)
{
    enum { PIECE_BYTES = 256 << 10 };
    struct vdb_wal *wal = r->wal;
    for (uint64_t at = r->durable_bytes; at < r->keep_bytes;) {
        uint64_t left = r->keep_bytes - at;
        size_t piece = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        const uint8_t *data;
        VDB_TRY(vdb_wal_source_need(&r->source, at, piece, &data, err));
        if (data == NULL) {
            return vdb_err_set(err, VDB_IO, "segment_%06u.wal became shorter while it was read", wal->number);
        }
        VDB_TRY(wal->env->ops->write_at(wal->env, wal->file, data, piece, at, err));
        at += piece;
    }
    return VDB_OK;
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
        wal->filled_bytes = VDB_WAL_HEADER_BYTES;
        wal->segments[wal->segment_count - 1].bytes = VDB_WAL_HEADER_BYTES;
        return VDB_OK;
    }
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    VDB_TRY(vdb_wal_segment_path(path, wal->dir, wal->number, err));
    VDB_TRY(env->ops->open(env, path, VDB_OPEN_WRITE, &wal->file, err));
    if (r->found->torn_bytes_cut > 0) {
        vdb_log(VDB_LOG_WARN, "wal", "%s: cutting %" PRIu64 " unacknowledged bytes after byte %" PRIu64, path,
                r->found->torn_bytes_cut, r->keep_bytes);
    }
    if (r->source.bytes > r->keep_bytes) { /* zeros, too: the next group writes them anew */
        VDB_TRY(env->ops->truncate(env, wal->file, r->keep_bytes, err));
    }
    VDB_TRY(rewrite_unproven(r, err));
    VDB_TRY(env->ops->sync(env, wal->file, err));
    VDB_TRY(env->ops->sync_dir(env, wal->dir, err));
    wal->file_bytes = r->keep_bytes;
    wal->filled_bytes = r->keep_bytes;
    return VDB_OK;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = vdb_load_u32(a);
    uint32_t y = vdb_load_u32(b);
    return x < y ? -1 : x > y;
}

/* What a pruning left. Nothing depends on it, so a failure is only told. */
static void remove_old(struct recovery *r)
{
    struct vdb_wal *wal = r->wal;
    struct vdb_err err = {0};
    vdb_status status = VDB_OK;
    if (r->old.bytes == 0) {
        return;
    }
    qsort(r->old.data, r->old.bytes / sizeof(uint32_t), sizeof(uint32_t), compare_numbers);
    for (size_t at = 0; at < r->old.bytes && status == VDB_OK; at += sizeof(uint32_t)) {
        char path[VDB_LIMIT_PATH_BYTES_MAX];
        status = vdb_wal_segment_path(path, wal->dir, vdb_load_u32(r->old.data + at), &err);
        if (status == VDB_OK) {
            status = wal->env->ops->unlink(wal->env, path, &err);
        }
    }
    if (status == VDB_OK) {
        status = wal->env->ops->sync_dir(wal->env, wal->dir, &err);
    }
    if (status != VDB_OK) {
        vdb_log(VDB_LOG_WARN, "wal", "%s: segments that a checkpoint replaced are still there: %s", wal->dir,
                err.text);
    }
}

vdb_status vdb_wal_open(struct vdb_env *env, const char *dir, const uint8_t uuid[VDB_UUID_BYTES], uint64_t first,
                        uint64_t after_seq, const struct vdb_wal_options *options, vdb_wal_record_fn *fn,
                        void *ctx, struct vdb_wal **out, struct vdb_wal_recovery *recovery, struct vdb_err *err)
{
    *recovery = (struct vdb_wal_recovery){0};
    struct vdb_wal *wal = vdb_wal_new(env, dir, options);
    if (wal == NULL) {
        return vdb_err_no_memory(err, "a log");
    }
    memcpy(wal->uuid, uuid, VDB_UUID_BYTES);
    wal->next_seq = 1;
    struct recovery r = {
        .wal = wal, .first = (uint32_t)first, .after_seq = after_seq, .fn = fn, .ctx = ctx, .found = recovery};
    vdb_status status;
    if (first > UINT32_MAX) { /* no segment has a number past 32 bits */
        status = vdb_err_set(err, VDB_CORRUPT, "segment_%06" PRIu64 ".wal is missing", first);
        goto cleanup;
    }
    VDB_CHECK(env->ops->list(env, dir, note_segment, &r, err));
    if (!r.any) {
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
    remove_old(&r);

cleanup:
    env->ops->close(env, r.file);
    vdb_wal_source_fini(&r.source);
    vdb_buf_fini(&r.old);
    if (status != VDB_OK) {
        vdb_wal_close(wal, false);
        return vdb_err_wrap(err, status, "log"); /* the callers name the place: a path twice would not fit */
    }
    *out = wal;
    return VDB_OK;
}
