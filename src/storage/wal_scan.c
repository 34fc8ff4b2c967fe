/* wal_scan.c: the window over a segment, and the walk over its records. See wal_format.h for W1..W4. */
#include "wal_scan.h"

#include <stdlib.h>
#include <string.h>

/* Half of a common core's second-level cache: what was read is hashed and handed on before it leaves. */
enum { WINDOW_BYTES = 512 << 10 };

void vdb_wal_source_of_image(struct vdb_wal_source *source, const uint8_t *image, size_t bytes)
{
    *source = (struct vdb_wal_source){.bytes = bytes, .data = image, .got = bytes};
}

void vdb_wal_source_of_file(struct vdb_wal_source *source, struct vdb_env *env, struct vdb_file *file,
                            uint64_t bytes)
{
    *source = (struct vdb_wal_source){.bytes = bytes, .env = env, .file = file};
}

void vdb_wal_source_fini(struct vdb_wal_source *source)
{
    free(source->buffer);
    *source = (struct vdb_wal_source){0};
}

void vdb_wal_source_reset(struct vdb_wal_source *source, uint64_t bytes)
{
    source->bytes = bytes;
    source->got = 0;
}

/* Reads from offset on: what is needed, and as much more as the window holds. */
static vdb_status fill(struct vdb_wal_source *source, uint64_t offset, size_t bytes, struct vdb_err *err)
{
    uint64_t wanted = bytes > WINDOW_BYTES ? bytes : WINDOW_BYTES;
    uint64_t left = source->bytes - offset;
    if (wanted > left) {
        wanted = left;
    }
    if (source->capacity < bytes || source->buffer == NULL) {
        size_t capacity = bytes > WINDOW_BYTES ? bytes : WINDOW_BYTES;
        uint8_t *grown = malloc(capacity);
        if (grown == NULL) {
            return vdb_err_no_memory(err, "a window over the log");
        }
        free(source->buffer);
        source->buffer = grown;
        source->capacity = capacity;
    }
    source->got = 0;
    VDB_TRY(source->env->ops->read_at(source->env, source->file, source->buffer, (size_t)wanted, offset,
                                      &source->got, err));
    source->at = offset;
    source->data = source->buffer;
    return VDB_OK;
}

vdb_status vdb_wal_source_need(struct vdb_wal_source *source, uint64_t offset, size_t bytes, const uint8_t **out,
                               struct vdb_err *err)
{
    *out = bytes == 0 ? (const uint8_t *)"" : NULL;
    if (bytes == 0 || offset > source->bytes || bytes > source->bytes - offset) {
        return VDB_OK;
    }
    bool inside = offset >= source->at && offset - source->at <= source->got &&
                  bytes <= source->got - (offset - source->at);
    if (!inside && source->env != NULL) {
        VDB_TRY(fill(source, offset, bytes, err));
        inside = bytes <= source->got; /* not when the file was cut meanwhile */
    }
    if (inside) {
        *out = source->data + (offset - source->at);
    }
    return VDB_OK;
}

vdb_status vdb_wal_source_record(struct vdb_wal_source *source, uint64_t offset, uint32_t key,
                                 struct vdb_wal_record *out, const char **reason, struct vdb_err *err)
{
    const uint8_t *record;
    size_t total;
    VDB_TRY(vdb_wal_source_need(source, offset, VDB_WAL_RECORD_HEADER_BYTES, &record, err));
    if (record == NULL) {
        *reason = "cut short in its header";
        return VDB_OK;
    }
    *reason = vdb_wal_record_size(record, offset, key, &total);
    if (*reason != NULL) {
        return VDB_OK;
    }
    VDB_TRY(vdb_wal_source_need(source, offset, total, &record, err));
    if (record == NULL) {
        *reason = "cut short in its payload";
        return VDB_OK;
    }
    *reason = vdb_wal_record_decode(record, total, out);
    return VDB_OK;
}

vdb_status vdb_wal_source_proof(struct vdb_wal_source *source, uint32_t key, uint64_t bad, uint64_t *proof,
                                struct vdb_err *err)
{
    *proof = 0;
    for (uint64_t at = bad + VDB_WAL_ALIGN;
         at < source->bytes && source->bytes - at >= VDB_WAL_RECORD_HEADER_BYTES; at += VDB_WAL_ALIGN) {
        struct vdb_wal_record record;
        const char *reason;
        /* The length check fails at nearly every offset that is no record, so this costs 16 hashed bytes a step. */
        VDB_TRY(vdb_wal_source_record(source, at, key, &record, &reason, err));
        if (reason == NULL && record.durable_bytes > bad) {
            *proof = at;
            return VDB_OK;
        }
    }
    return VDB_OK;
}

vdb_status vdb_wal_source_content_end(struct vdb_wal_source *source, uint64_t from, uint64_t *end,
                                      struct vdb_err *err)
{
    enum { PIECE_BYTES = 64 << 10 };
    static const uint8_t zeros[PIECE_BYTES];
    *end = from;
    for (uint64_t at = from; at < source->bytes;) {
        uint64_t left = source->bytes - at;
        size_t piece = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        const uint8_t *data;
        VDB_TRY(vdb_wal_source_need(source, at, piece, &data, err));
        if (data == NULL) {
            break; /* cut meanwhile */
        }
        if (memcmp(data, zeros, piece) != 0) {
            size_t used = piece;
            while (data[used - 1] == 0) {
                used--;
            }
            *end = at + used;
        }
        at += piece;
    }
    return VDB_OK;
}

struct vdb_wal_place vdb_wal_place_first(const struct vdb_wal_header *header, uint32_t header_crc)
{
    return (struct vdb_wal_place){
        .key = header_crc, .last_crc = header_crc, .next_seq = header->first_seq, .offset = VDB_WAL_HEADER_BYTES};
}

const char *vdb_wal_place_refuses(const struct vdb_wal_place *place, const struct vdb_wal_record *record)
{
    return record->prev != place->last_crc         ? "does not chain to the record before"
           : record->seq != place->next_seq        ? "sequence number out of order"
           : record->durable_bytes > place->offset ? "vouches for bytes past its own place"
           : !record->zeros_kept                   ? "has reserved bytes that are not zero"
                                                   : NULL;
}

void vdb_wal_place_advance(struct vdb_wal_place *place, const struct vdb_wal_record *record)
{
    if (record->durable_bytes > place->durable_bytes) {
        place->durable_bytes = record->durable_bytes;
    }
    place->last_crc = record->crc;
    place->next_seq = record->seq + 1;
    place->offset += record->total_bytes;
}

vdb_status vdb_wal_scan(struct vdb_wal_source *source, const struct vdb_wal_header *header, uint32_t header_crc,
                        vdb_wal_record_fn *fn, void *ctx, struct vdb_wal_scan *out, struct vdb_err *err)
{
    struct vdb_wal_place place = vdb_wal_place_first(header, header_crc);
    vdb_status status = VDB_OK;
    *out = (struct vdb_wal_scan){.end = VDB_WAL_END_CLEAN, .reason = ""};
    while (place.offset < source->bytes) {
        struct vdb_wal_record record;
        const char *reason;
        VDB_TRY(vdb_wal_source_record(source, place.offset, header_crc, &record, &reason, err));
        if (reason != NULL) {
            uint64_t content_end;
            VDB_TRY(vdb_wal_source_content_end(source, place.offset, &content_end, err));
            if (content_end == place.offset) {
                break; /* written ahead */
            }
            content_end = (content_end + VDB_WAL_ALIGN - 1) / VDB_WAL_ALIGN * VDB_WAL_ALIGN;
            out->tail_bytes = (content_end < source->bytes ? content_end : source->bytes) - place.offset;
            VDB_TRY(vdb_wal_source_proof(source, header_crc, place.offset, &out->proof_offset, err));
            out->reason = reason;
            out->end = out->proof_offset != 0 ? VDB_WAL_END_DAMAGED : VDB_WAL_END_TORN;
            break;
        }
        reason = vdb_wal_place_refuses(&place, &record);
        if (reason != NULL) {
            /* Intact but not the successor (W2, W3, W4): no crash of ours can leave that. */
            out->reason = reason;
            out->end = VDB_WAL_END_DAMAGED;
            out->proof_offset = place.offset;
            break;
        }
        if (fn != NULL) {
            status = fn(ctx, &record, err);
            if (status != VDB_OK) {
                status = vdb_err_wrap(err, status, "record at byte %llu", (unsigned long long)place.offset);
                break;
            }
        }
        vdb_wal_place_advance(&place, &record);
        out->records++;
    }
    out->valid_bytes = place.offset;
    out->next_seq = place.next_seq;
    out->last_crc = place.last_crc;
    out->durable_bytes = place.durable_bytes;
    return status;
}

vdb_status vdb_wal_scan_image(const uint8_t *image, size_t bytes, const struct vdb_wal_header *header,
                              uint32_t header_crc, vdb_wal_record_fn *fn, void *ctx, struct vdb_wal_scan *out,
                              struct vdb_err *err)
{
    struct vdb_wal_source source;
    vdb_wal_source_of_image(&source, image, bytes);
    return vdb_wal_scan(&source, header, header_crc, fn, ctx, out, err);
}
