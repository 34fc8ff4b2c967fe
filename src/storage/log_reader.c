/* log_reader.c: following a log from outside. L1 to L4 stand in log_reader.h.
 *
 *     next:  the record at the place --intact--> does it follow? --yes--> is it durable? --else sync--> hand it out
 *               |not                                |no
 *               v                                   v
 *            read anew, once per call           read anew, once; then the log was cut
 *               |still not
 *               +-- at the file's end: the next segment? begin it, or nothing yet, or it was pruned
 *               +-- bytes there: does anything prove that they were durable? damage, else nothing yet
 */
#include "log_reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/mem.h"
#include "wal_internal.h"
#include "wal_scan.h"

struct vdb_log_reader {
    struct vdb_env *env;
    char *dir;
    uint8_t uuid[VDB_UUID_BYTES];
    uint32_t number; /* of the segment that is read */
    struct vdb_file *file;
    struct vdb_wal_source source;
    struct vdb_wal_place place; /* of the next record */
    uint32_t previous_crc;      /* of the record before it, which may be in the segment before */
    uint64_t safe_bytes;        /* of the segment, as far as they were read: durable (L2) */
    uint64_t searched_bytes;    /* where content ended when nothing was found that proves damage at the place */
    struct vdb_err stuck;       /* status other than VDB_OK: what every call says from now on */
    struct vdb_log_reader_stats stats;
};

/* ---- Segments ---- */

struct segment_head {
    struct vdb_file *file; /* owned */
    struct vdb_wal_header header;
    uint32_t crc;
};

/* Opens a segment and reads its header. VDB_NOT_FOUND: no such file. *good is false, and no file open, while its
 * creation is not done. */
static vdb_status open_segment(struct vdb_env *env, const char *dir, uint32_t number, struct segment_head *out,
                               bool *good, struct vdb_err *err)
{
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    uint8_t bytes[VDB_WAL_HEADER_BYTES];
    size_t got;
    uint64_t size;
    *out = (struct segment_head){0};
    *good = false;
    vdb_status status;
    VDB_CHECK(vdb_wal_segment_path(path, dir, number, err));
    VDB_CHECK(env->ops->open(env, path, VDB_OPEN_READ, &out->file, err));
    VDB_CHECK(env->ops->read_at(env, out->file, bytes, sizeof bytes, 0, &got, err));
    status = vdb_wal_header_decode(bytes, got, &out->header, &out->crc, err);
    if (status == VDB_CORRUPT) {
        /* Longer than a header only when it was once written whole. */
        VDB_CHECK(env->ops->size(env, out->file, &size, err));
        status = size > VDB_WAL_HEADER_BYTES ? vdb_err_set(err, VDB_CORRUPT, "header at byte 0 is damaged")
                                             : VDB_OK;
    } else if (status == VDB_OK && out->header.number != number) {
        status = vdb_err_set(err, VDB_CORRUPT, "header at byte 0: says it is segment %" PRIu32,
                             out->header.number);
    } else {
        *good = status == VDB_OK;
    }

cleanup:
    if (!*good) {
        env->ops->close(env, out->file);
        out->file = NULL;
    }
    return status == VDB_OK || status == VDB_NOT_FOUND
               ? status
               : vdb_err_wrap(err, status, "segment_%06" PRIu32 ".wal", number);
}

struct numbers {
    bool any;
    uint32_t lowest;
    uint32_t highest;
};

/* Other names are recovery's to refuse. */
static vdb_status note_number(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    struct numbers *numbers = ctx;
    uint32_t number;
    (void)err;
    if (kind == VDB_KIND_FILE && vdb_wal_parse_segment_name(name, &number)) {
        numbers->lowest = !numbers->any || number < numbers->lowest ? number : numbers->lowest;
        numbers->highest = !numbers->any || number > numbers->highest ? number : numbers->highest;
        numbers->any = true;
    }
    return VDB_OK;
}

static vdb_status say_pruned(struct vdb_env *env, const char *dir, uint64_t seq, struct vdb_err *err)
{
    struct numbers numbers = {0};
    struct segment_head head;
    bool good = false;
    VDB_TRY(env->ops->list(env, dir, note_number, &numbers, err));
    /* More may be pruned while this looks: the first that can be opened. */
    for (uint32_t n = numbers.lowest; numbers.any && n <= numbers.highest; n++) {
        vdb_status status = open_segment(env, dir, n, &head, &good, err);
        if (status == VDB_OK && good) {
            env->ops->close(env, head.file);
            return vdb_err_set(err, VDB_NOT_FOUND,
                               "sequence number %" PRIu64 " was pruned from the log; the first there is %" PRIu64,
                               seq, head.header.first_seq);
        }
        if (status != VDB_OK && status != VDB_NOT_FOUND) {
            return status;
        }
    }
    return vdb_err_set(err, VDB_NOT_FOUND, "no log in \"%s\"", dir);
}

static void begin(struct vdb_log_reader *reader, const struct segment_head *head)
{
    reader->env->ops->close(reader->env, reader->file);
    reader->file = head->file;
    reader->number = head->header.number;
    reader->source.env = reader->env;
    reader->source.file = reader->file;
    vdb_wal_source_reset(&reader->source, 0); /* the first look is at the file as it is then */
    reader->place = vdb_wal_place_first(&head->header, head->crc);
    reader->safe_bytes = 0;
    reader->searched_bytes = 0;
    reader->stats.segments++;
}

/* ---- The record at the place ---- */

static vdb_status corrupt(const struct vdb_log_reader *reader, const char *what, struct vdb_err *err)
{
    return vdb_err_set(err, VDB_CORRUPT, "segment_%06" PRIu32 ".wal: record at byte %" PRIu64 ": %s",
                       reader->number, reader->place.offset, what);
}

/* Forgets what was read, and asks how much there is. */
static vdb_status look_anew(struct vdb_log_reader *reader, struct vdb_err *err)
{
    uint64_t size;
    VDB_TRY(reader->env->ops->size(reader->env, reader->file, &size, err));
    vdb_wal_source_reset(&reader->source, size);
    if (reader->safe_bytes != UINT64_MAX && reader->safe_bytes > reader->place.offset) {
        reader->safe_bytes = reader->place.offset; /* the sync was for the bytes that were there then */
    }
    return VDB_OK;
}

/* *reason is NULL when the next record stands at the place, intact and chained. Bytes that do not give it are read
 * anew (L4). */
static vdb_status read_place(struct vdb_log_reader *reader, struct vdb_wal_record *record, const char **reason,
                             struct vdb_err *err)
{
    for (int look = 0; look < 2; look++) {
        if (look == 1) {
            VDB_TRY(look_anew(reader, err));
        }
        VDB_TRY(
            vdb_wal_source_record(&reader->source, reader->place.offset, reader->place.key, record, reason, err));
        if (*reason == NULL && vdb_wal_place_refuses(&reader->place, record) == NULL) {
            return VDB_OK;
        }
    }
    if (*reason == NULL) {
        char what[128];
        snprintf(what, sizeof what, "%s; the log was cut below what was read",
                 vdb_wal_place_refuses(&reader->place, record));
        return corrupt(reader, what, err);
    }
    if (reader->source.bytes < reader->place.offset) {
        return corrupt(reader, "the log was cut below what was read", err);
    }
    return VDB_OK;
}

/* The next segment, if it is there with a good header. */
static vdb_status peek_next(struct vdb_log_reader *reader, struct segment_head *head, bool *good,
                            struct vdb_err *err)
{
    vdb_status status = open_segment(reader->env, reader->dir, reader->number + 1, head, good, err);
    return status == VDB_NOT_FOUND ? VDB_OK : status;
}

/* L2: makes what the window holds durable. */
static vdb_status make_safe(struct vdb_log_reader *reader, struct vdb_err *err)
{
    struct segment_head next;
    bool sealed;
    VDB_TRY(peek_next(reader, &next, &sealed, err));
    if (sealed) {
        reader->env->ops->close(reader->env, next.file);
        reader->safe_bytes = UINT64_MAX;
        return VDB_OK;
    }
    vdb_status status = reader->env->ops->sync(reader->env, reader->file, err);
    if (status != VDB_OK) {
        reader->stuck = *err; /* E3: what it did is not known, now or later */
        return status;
    }
    reader->stats.syncs++;
    reader->safe_bytes = reader->source.at + reader->source.got;
    return VDB_OK;
}

/* The segment ends at the place, but for zeros. *moved: the next segment has been begun, or there is more here. */
static vdb_status go_on(struct vdb_log_reader *reader, bool *moved, struct vdb_err *err)
{
    struct segment_head next;
    bool good;
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    vdb_file_kind kind;
    uint64_t size;
    uint64_t content_end;
    *moved = false;
    VDB_TRY(peek_next(reader, &next, &good, err));
    if (!good) {
        /* Nothing yet, unless both are gone: the current segment is never pruned, so there was a next one. */
        VDB_TRY(vdb_wal_segment_path(path, reader->dir, reader->number, err));
        vdb_status status = reader->env->ops->stat(reader->env, path, &kind, &size, err);
        if (status != VDB_NOT_FOUND) {
            return status;
        }
        VDB_TRY(peek_next(reader, &next, &good, err)); /* it may have come between the two looks */
        if (!good) {
            return say_pruned(reader->env, reader->dir, reader->place.next_seq, err);
        }
    }
    vdb_status status = look_anew(reader, err);
    if (status == VDB_OK) {
        status = vdb_wal_source_content_end(&reader->source, reader->place.offset, &content_end, err);
    }
    if (status != VDB_OK || content_end > reader->place.offset) {
        reader->env->ops->close(reader->env, next.file); /* more came, and then the next one: read on */
        *moved = true;
        return status;
    }
    if (memcmp(next.header.uuid, reader->uuid, VDB_UUID_BYTES) != 0 ||
        next.header.chain != reader->place.last_crc || next.header.first_seq != reader->place.next_seq) {
        reader->env->ops->close(reader->env, next.file);
        return vdb_err_set(err, VDB_CORRUPT,
                           "segment_%06" PRIu32 ".wal: header at byte 0: does not follow sequence number %" PRIu64
                           "; the log was cut below what was read",
                           next.header.number, reader->place.next_seq - 1);
    }
    begin(reader, &next);
    *moved = true;
    return VDB_OK;
}

/* Bytes at the place that are no record: damage if anything proves that they were durable (L4). */
static vdb_status judge(struct vdb_log_reader *reader, const char *reason, uint64_t content_end,
                        struct vdb_err *err)
{
    struct segment_head next;
    struct vdb_wal_record record;
    bool sealed;
    char what[160];
    uint64_t proof = 0;
    VDB_TRY(peek_next(reader, &next, &sealed, err));
    if (sealed) {
        reader->env->ops->close(reader->env, next.file);
        snprintf(what, sizeof what, "%s; the log goes on in segment_%06" PRIu32 ".wal", reason,
                 reader->number + 1);
    } else if (content_end != reader->searched_bytes) {
        VDB_TRY(vdb_wal_source_proof(&reader->source, reader->place.key, reader->place.offset, &proof, err));
        reader->searched_bytes = proof != 0 ? 0 : content_end;
        snprintf(what, sizeof what, "%s; an intact record at byte %" PRIu64 " proves that it was durable", reason,
                 proof);
    }
    if (!sealed && proof == 0) {
        return VDB_OK;
    }
    VDB_TRY(look_anew(reader, err));
    VDB_TRY(
        vdb_wal_source_record(&reader->source, reader->place.offset, reader->place.key, &record, &reason, err));
    return reason == NULL ? VDB_OK : corrupt(reader, what, err);
}

/* The record at the place, if it is there; the place stays. */
static vdb_status find_next(struct vdb_log_reader *reader, struct vdb_wal_record *record, bool *more,
                            struct vdb_err *err)
{
    *more = false;
    for (;;) {
        const char *reason;
        VDB_TRY(read_place(reader, record, &reason, err));
        if (reason == NULL) {
            *more = true;
            return VDB_OK;
        }
        uint64_t content_end;
        VDB_TRY(vdb_wal_source_content_end(&reader->source, reader->place.offset, &content_end, err));
        if (content_end > reader->place.offset) {
            return judge(reader, reason, content_end, err);
        }
        bool moved;
        VDB_TRY(go_on(reader, &moved, err));
        if (!moved) {
            return VDB_OK;
        }
    }
}

static void step_over(struct vdb_log_reader *reader, const struct vdb_wal_record *record)
{
    vdb_wal_place_advance(&reader->place, record);
    reader->previous_crc = record->crc;
    reader->searched_bytes = 0;
    if (reader->place.durable_bytes > reader->safe_bytes) {
        reader->safe_bytes = reader->place.durable_bytes;
    }
}

static vdb_status check_record(const struct vdb_log_reader *reader, const struct vdb_wal_record *record,
                               struct vdb_err *err)
{
    if (record->type == VDB_WAL_MARK && record->payload_bytes > 0) {
        return corrupt(reader, "a mark with a payload", err);
    }
    if (record->type != VDB_WAL_BATCH && record->type != VDB_WAL_MARK) {
        return vdb_err_set(err, VDB_VERSION,
                           "segment_%06" PRIu32 ".wal: record at byte %" PRIu64
                           ": record type %d is not known to this version",
                           reader->number, reader->place.offset, (int)record->type);
    }
    return VDB_OK;
}

vdb_status vdb_log_reader_next(struct vdb_log_reader *reader, struct vdb_wal_record *record, bool *more,
                               struct vdb_err *err)
{
    *more = false;
    if (reader->stuck.status != VDB_OK) {
        return vdb_err_set(err, reader->stuck.status, "%s", reader->stuck.text);
    }
    bool found;
    vdb_status status = find_next(reader, record, &found, err);
    if (status == VDB_OK && found) {
        status = check_record(reader, record, err);
    }
    if (status == VDB_CORRUPT || status == VDB_VERSION) {
        reader->stuck = *err;
    }
    VDB_TRY(status);
    if (!found) {
        return VDB_OK;
    }
    if (reader->place.offset + record->total_bytes > reader->safe_bytes) {
        VDB_TRY(make_safe(reader, err));
    }
    step_over(reader, record);
    reader->stats.records++;
    reader->stats.bytes += record->total_bytes;
    *more = true;
    return VDB_OK;
}

/* ---- Open ---- */

/* The last segment that begins at or before the sequence number. */
static vdb_status find_segment(struct vdb_env *env, const char *dir, uint64_t seq, struct segment_head *out,
                               struct vdb_err *err)
{
    struct numbers numbers = {0};
    VDB_TRY(env->ops->list(env, dir, note_number, &numbers, err));
    for (uint64_t n = (uint64_t)numbers.highest + 1; numbers.any && n > numbers.lowest; n--) {
        bool good;
        vdb_status status = open_segment(env, dir, (uint32_t)(n - 1), out, &good, err);
        if (status == VDB_NOT_FOUND) {
            break; /* pruned meanwhile, and all before it */
        }
        VDB_TRY(status);
        if (good && out->header.first_seq <= seq) {
            return VDB_OK;
        }
        if (good) {
            env->ops->close(env, out->file);
        }
    }
    return say_pruned(env, dir, seq, err);
}

/* Steps to the record from->seq, which is in this segment or yet to come. */
static vdb_status skip_to(struct vdb_log_reader *reader, const struct vdb_log_from *from, struct vdb_err *err)
{
    while (reader->place.next_seq < from->seq) {
        struct vdb_wal_record record;
        const char *reason;
        VDB_TRY(read_place(reader, &record, &reason, err));
        if (reason != NULL) {
            uint64_t content_end;
            VDB_TRY(vdb_wal_source_content_end(&reader->source, reader->place.offset, &content_end, err));
            if (content_end > reader->place.offset) {
                VDB_TRY(judge(reader, reason, content_end, err));
            }
        }
        if (reason != NULL) {
            return vdb_err_set(err, VDB_CORRUPT,
                               "segment_%06" PRIu32 ".wal: record at byte %" PRIu64
                               ": the log ends at sequence number %" PRIu64 ", %" PRIu64
                               " was asked for; the log was cut below what was read",
                               reader->number, reader->place.offset, reader->place.next_seq - 1, from->seq);
        }
        step_over(reader, &record);
    }
    if (from->check_crc && from->seq > 1 && reader->previous_crc != from->crc) {
        return vdb_err_set(err, VDB_CORRUPT,
                           "segment_%06" PRIu32 ".wal: sequence number %" PRIu64 " has checksum %08" PRIx32
                           ", the one that was read had %08" PRIx32 "; the log was cut below what was read",
                           reader->number, from->seq - 1, reader->previous_crc, from->crc);
    }
    return VDB_OK;
}

vdb_status vdb_log_reader_open(struct vdb_env *env, const char *dir, const struct vdb_log_from *from,
                               struct vdb_log_reader **out, struct vdb_err *err)
{
    struct segment_head head = {0};
    vdb_status status;
    *out = NULL;
    struct vdb_log_reader *reader = vdb_calloc(1, sizeof *reader);
    if (reader == NULL) {
        return vdb_err_no_memory(err, "a log reader");
    }
    reader->env = env;
    reader->dir = vdb_strndup(dir, strlen(dir));
    if (reader->dir == NULL) {
        status = vdb_err_no_memory(err, "a log reader");
        goto cleanup;
    }
    VDB_CHECK(find_segment(env, dir, from->seq, &head, err));
    begin(reader, &head);
    memcpy(reader->uuid, head.header.uuid, VDB_UUID_BYTES);
    reader->previous_crc = head.header.chain;
    if (from->uuid != NULL && memcmp(from->uuid, reader->uuid, VDB_UUID_BYTES) != 0) {
        status = vdb_err_set(err, VDB_CORRUPT,
                             "segment_%06" PRIu32 ".wal: header at byte 0: belongs to another collection (UUID "
                             "mismatch)",
                             reader->number);
        goto cleanup;
    }
    VDB_CHECK(skip_to(reader, from, err));

cleanup:
    if (status != VDB_OK) {
        vdb_log_reader_close(reader);
        return vdb_err_wrap(err, status, "log");
    }
    *out = reader;
    return VDB_OK;
}

void vdb_log_reader_close(struct vdb_log_reader *reader)
{
    if (reader != NULL) {
        reader->env->ops->close(reader->env, reader->file);
        vdb_wal_source_fini(&reader->source);
        free(reader->dir);
        free(reader);
    }
}

uint64_t vdb_log_reader_seq(const struct vdb_log_reader *reader)
{
    return reader->place.next_seq;
}

uint32_t vdb_log_reader_crc(const struct vdb_log_reader *reader)
{
    return reader->previous_crc;
}

const uint8_t *vdb_log_reader_uuid(const struct vdb_log_reader *reader)
{
    return reader->uuid;
}

void vdb_log_reader_get_stats(const struct vdb_log_reader *reader, struct vdb_log_reader_stats *out)
{
    *out = reader->stats;
}
