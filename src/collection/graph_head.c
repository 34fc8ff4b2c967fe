/* graph_head.c: see graph_head.h. Every byte has one right value for what it says. */
#include "graph_head.h"

#include <string.h>

#include "base/mem.h"

enum {
    MAGIC = 0x47424456, /* "VDBG" */
    VERSION = 1,
    FIXED_BYTES = 48, /* before the recall table */
    ALIGN_BYTES = 64, /* of the index's bytes */
    SIZE_AT = 8,
};

void vdb_graph_head_encode(const struct vdb_graph_head *head, struct vdb_buf *out)
{
    const size_t start = out->bytes;
    vdb_buf_put_u32(out, MAGIC);
    vdb_buf_put_u16(out, VERSION);
    vdb_buf_put_u16(out, 0);
    vdb_buf_put_u32(out, 0); /* below */
    vdb_buf_put_u32(out, head->rows);
    vdb_buf_put(out, head->build.type, sizeof head->build.type);
    vdb_buf_put_u32(out, head->build.m);
    vdb_buf_put_u32(out, head->build.ef_construction);
    vdb_buf_put_u32(out, head->build.code_bits);
    vdb_buf_put_u32(out, head->build.compact);
    vdb_recall_table_encode(&head->recall, out);
    const size_t bytes = out->bytes - start;
    vdb_buf_put_zeros(out, (ALIGN_BYTES - bytes % ALIGN_BYTES) % ALIGN_BYTES);
    if (!out->failed) {
        vdb_store_u32(out->data + start + SIZE_AT, (uint32_t)(out->bytes - start));
    }
}

static vdb_status decode_fixed(struct vdb_cursor *in, struct vdb_graph_head *out, uint32_t *head_bytes,
                               struct vdb_err *err)
{
    const uint32_t magic = vdb_cursor_u32(in);
    const uint16_t version = vdb_cursor_u16(in);
    const uint16_t zero = vdb_cursor_u16(in);
    *head_bytes = vdb_cursor_u32(in);
    out->rows = vdb_cursor_u32(in);
    const uint8_t *type = vdb_cursor_take(in, sizeof out->build.type);
    out->build.m = vdb_cursor_u32(in);
    out->build.ef_construction = vdb_cursor_u32(in);
    out->build.code_bits = vdb_cursor_u32(in);
    out->build.compact = vdb_cursor_u32(in);
    if (in->failed) {
        return vdb_err_set(err, VDB_CORRUPT, "index file: %zu bytes, its head alone has %d", in->bytes,
                           FIXED_BYTES);
    }
    if (magic != MAGIC) {
        return vdb_err_set(err, VDB_CORRUPT, "index file: begins with %08x, expected %08x", magic, MAGIC);
    }
    if (version != VERSION) {
        return vdb_err_set(err, version > VERSION ? VDB_VERSION : VDB_CORRUPT,
                           "index file: version %u; this build reads %d", version, VERSION);
    }
    if (zero != 0) {
        return vdb_err_set(err, VDB_CORRUPT, "index file: reserved bytes are not zero");
    }
    memcpy(out->build.type, type, sizeof out->build.type);
    const size_t length = strnlen(out->build.type, sizeof out->build.type);
    for (size_t i = length; i < sizeof out->build.type; i++) {
        if (out->build.type[i] != '\0') {
            return vdb_err_set(err, VDB_CORRUPT, "index file: bytes behind its kind's name");
        }
    }
    if (length == sizeof out->build.type || (!vdb_str_is((struct vdb_str){out->build.type, length}, "hnsw") &&
                                             !vdb_str_is((struct vdb_str){out->build.type, length}, "qgraph"))) {
        return vdb_err_set(err, VDB_CORRUPT, "index file: kind \"%.15s\"; this build reads hnsw and qgraph",
                           out->build.type);
    }
    return VDB_OK;
}

vdb_status vdb_graph_head_decode(const void *data, size_t bytes, struct vdb_graph_head *out, size_t *at,
                                 struct vdb_err *err)
{
    struct vdb_cursor in;
    uint32_t head_bytes;
    memset(out, 0, sizeof *out);
    vdb_cursor_init(&in, data, bytes);
    VDB_TRY(decode_fixed(&in, out, &head_bytes, err));
    VDB_TRY(vdb_recall_table_decode(&in, &out->recall, err));
    if (head_bytes != vdb_round_up(in.pos, ALIGN_BYTES) || head_bytes > bytes) {
        return vdb_err_set(err, VDB_CORRUPT, "index file: a head of %u bytes, expected %zu of %zu", head_bytes,
                           vdb_round_up(in.pos, ALIGN_BYTES), bytes);
    }
    while (in.pos < head_bytes) {
        if (vdb_cursor_u8(&in) != 0) {
            return vdb_err_set(err, VDB_CORRUPT, "index file: bytes behind its head are not zero");
        }
    }
    *at = head_bytes;
    return VDB_OK;
}
