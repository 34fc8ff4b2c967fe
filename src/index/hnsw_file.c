/* hnsw_file.c: a graph as bytes, and back without building.
 *
 * All numbers little-endian. Levels are not stored: they follow from the seed and the row.
 *
 *     0   8  "VDBHNSW" and a zero
 *     8   4  version, 2                 a later one is refused; 1 has no codes and at most 2 m links in layer 0
 *     12  4  features, 0                unknown bits are refused
 *     16  8  bytes in all
 *     24  8  stamp of the rows
 *     32  4  dimension
 *     36  1  element
 *     37  1  metric
 *     38  1  options: 1 extend_candidates, 2 keep_pruned, 4 vectors_inside, 8 as f16, 16 as bf16,
 *            32 as 8-bit codes
 *     39  1  0
 *     40  4  m
 *     44  4  ef_construction
 *     48  4  ef_search
 *     52  4  row_end
 *     56  8  seed
 *     64  4  row of the entry point, or 2^32 - 1
 *     68  4  row of the tree's root, or 2^32 - 1
 *            with option 32: 4 bytes low, 4 bytes step of the codes, f32 (hnsw_inside.c)
 *     72     row_end bytes              of each row: 0 not in, 1 a node, 2 shares a node
 *            of each node, of each of its layers from 0: 2 bytes count, count * 4 bytes links (hnsw_internal.h)
 *            4 bytes groups; of each: 4 bytes head, 4 bytes count, count * 4 bytes rows
 *            4 bytes CRC-32C of all before
 *
 * Whatever the bytes, a graph that loads would pass vdb_hnsw_check: the same is asked, in an order that reads memory in
 * one direction. That every node reaches every other follows from the tree, whose links go both ways. Threads: see hnsw.h.
 */
#include "hnsw_internal.h"

#include <math.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/limits.h"

enum {
    VERSION_FIRST = 1,
    VERSION = 2,
    HEADER_BYTES = 72,
    CODES_BYTES = 8,
    TRAILER_BYTES = 4,
    FLUSH_BYTES = 1 << 16,
    OPTION_EXTEND = 1,
    OPTION_KEEP = 2,
    OPTION_INSIDE = 4,
    OPTION_F16 = 8,
    OPTION_BF16 = 16,
    OPTION_CODES = 32,
    OPTIONS_FIRST = 31, /* of version 1 */
    OPTIONS_ALL = 63,
};

static const char MAGIC[8] = "VDBHNSW";

/* ---- Save ---- */

struct writer {
    struct vdb_buf buf;
    uint64_t bytes; /* all, flushed or not */
    uint32_t crc;
    vdb_index_write_fn *write; /* NULL: only count */
    void *ctx;
};

static vdb_status flush(struct writer *writer, struct vdb_err *err)
{
    if (writer->buf.failed) {
        return vdb_err_no_memory(err, "a graph's bytes");
    }
    writer->bytes += writer->buf.bytes;
    if (writer->write != NULL && writer->buf.bytes > 0) {
        writer->crc = vdb_crc32c(writer->crc, writer->buf.data, writer->buf.bytes);
        VDB_TRY(writer->write(writer->ctx, writer->buf.data, writer->buf.bytes, err));
    }
    vdb_buf_clear(&writer->buf);
    return VDB_OK;
}

static void put_float(struct vdb_buf *buf, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    vdb_buf_put_u32(buf, bits);
}

static float take_float(struct vdb_cursor *cursor)
{
    const uint32_t bits = vdb_cursor_u32(cursor);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void put_header(const struct vdb_hnsw *hnsw, uint64_t stamp, uint64_t bytes, struct vdb_buf *buf)
{
    const struct vdb_hnsw_params *params = &hnsw->params;
    const uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_relaxed);
    vdb_buf_put(buf, MAGIC, sizeof MAGIC);
    vdb_buf_put_u32(buf, VERSION);
    vdb_buf_put_u32(buf, 0);
    vdb_buf_put_u64(buf, bytes);
    vdb_buf_put_u64(buf, stamp);
    vdb_buf_put_u32(buf, (uint32_t)hnsw->dimension);
    vdb_buf_put_u8(buf, (uint8_t)hnsw->element);
    vdb_buf_put_u8(buf, (uint8_t)hnsw->metric);
    vdb_buf_put_u8(
        buf,
        (uint8_t)((params->extend_candidates ? OPTION_EXTEND : 0) | (params->keep_pruned ? OPTION_KEEP : 0) |
                  (params->vectors_inside ? OPTION_INSIDE : 0) |
                  (params->inside_as == VDB_ELEMENT_F16 ? OPTION_F16 : 0) |
                  (params->inside_as == VDB_ELEMENT_BF16 ? OPTION_BF16 : 0) | (hnsw->coded ? OPTION_CODES : 0)));
    vdb_buf_put_u8(buf, 0);
    vdb_buf_put_u32(buf, params->m);
    vdb_buf_put_u32(buf, params->ef_construction);
    vdb_buf_put_u32(buf, params->ef_search);
    vdb_buf_put_u32(buf, atomic_load_explicit(&hnsw->row_end, memory_order_relaxed));
    vdb_buf_put_u64(buf, params->seed);
    vdb_buf_put_u32(buf, entry == 0 ? HNSW_NONE : (uint32_t)entry);
    vdb_buf_put_u32(buf, hnsw->root);
    if (hnsw->coded) {
        put_float(buf, hnsw->code_low);
        put_float(buf, hnsw->code_step);
    }
}

static void put_node(const struct vdb_hnsw *hnsw, uint32_t row, struct vdb_buf *buf)
{
    unsigned level = atomic_load_explicit(&hnsw_node_at(hnsw, row)->level, memory_order_relaxed);
    for (unsigned layer = 0; layer <= level; layer++) {
        const hnsw_slot *slots = hnsw_list_at(hnsw, row, layer);
        uint32_t count = 0;
        while (count < hnsw_list_slots(hnsw, layer) && hnsw_link_get(&slots[count]) != HNSW_NONE) {
            count++;
        }
        vdb_buf_put_u16(buf, (uint16_t)count);
        for (uint32_t i = 0; i < count; i++) {
            vdb_buf_put_u32(buf, hnsw_link_get(&slots[i]));
        }
    }
}

static struct hnsw_group *group_with_twins(const struct vdb_hnsw *hnsw, uint32_t row)
{
    struct hnsw_group *group = atomic_load_explicit(&hnsw_node_at(hnsw, row)->group, memory_order_relaxed);
    if (hnsw_state_of(hnsw, row) != HNSW_NODE || group == NULL ||
        atomic_load_explicit(&group->count, memory_order_relaxed) == 0) {
        return NULL;
    }
    return group;
}

static vdb_status put_groups(const struct vdb_hnsw *hnsw, uint32_t row_end, struct writer *writer,
                             struct vdb_err *err)
{
    uint32_t group_count = 0;
    for (uint32_t row = 0; row < row_end; row++) {
        group_count += group_with_twins(hnsw, row) != NULL;
    }
    vdb_buf_put_u32(&writer->buf, group_count);
    for (uint32_t row = 0; row < row_end; row++) {
        const struct hnsw_group *group = group_with_twins(hnsw, row);
        if (group == NULL) {
            continue;
        }
        vdb_buf_put_u32(&writer->buf, row);
        vdb_buf_put_u32(&writer->buf, atomic_load_explicit(&group->count, memory_order_relaxed));
        uint32_t twin = atomic_load_explicit(&group->first, memory_order_relaxed);
        while (twin != HNSW_NONE) {
            vdb_buf_put_u32(&writer->buf, twin);
            if (writer->buf.bytes >= FLUSH_BYTES) {
                VDB_TRY(flush(writer, err));
            }
            twin = atomic_load_explicit(&hnsw_node_at(hnsw, twin)->next, memory_order_relaxed);
        }
    }
    return VDB_OK;
}

/* Everything but the trailer. bytes: what the header says. */
static vdb_status put_all(const struct vdb_hnsw *hnsw, uint64_t stamp, uint64_t bytes, struct writer *writer,
                          struct vdb_err *err)
{
    const uint32_t row_end = atomic_load_explicit(&hnsw->row_end, memory_order_relaxed);
    put_header(hnsw, stamp, bytes, &writer->buf);
    for (uint32_t row = 0; row < row_end; row++) {
        unsigned state = hnsw_state_of(hnsw, row);
        vdb_buf_put_u8(&writer->buf, state == HNSW_NODE ? 1 : state == HNSW_TWIN ? 2 : 0);
        if (writer->buf.bytes >= FLUSH_BYTES) {
            VDB_TRY(flush(writer, err));
        }
    }
    for (uint32_t row = 0; row < row_end; row++) {
        if (hnsw_state_of(hnsw, row) == HNSW_NODE) {
            put_node(hnsw, row, &writer->buf);
        }
        if (writer->buf.bytes >= FLUSH_BYTES) {
            VDB_TRY(flush(writer, err));
        }
    }
    VDB_TRY(put_groups(hnsw, row_end, writer, err));
    return flush(writer, err);
}

static vdb_status save_alone(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, uint64_t stamp,
                             struct writer *writer, struct vdb_err *err)
{
    vdb_index_write_fn *write = writer->write;
    VDB_TRY(vdb_hnsw_sweep_all(hnsw, rows, err));
    writer->write = NULL;
    VDB_TRY(put_all(hnsw, stamp, 0, writer, err));
    uint64_t bytes = writer->bytes + TRAILER_BYTES;
    writer->write = write;
    VDB_TRY(put_all(hnsw, stamp, bytes, writer, err));
    vdb_buf_put_u32(&writer->buf, writer->crc);
    return flush(writer, err);
}

vdb_status vdb_hnsw_save(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, uint64_t stamp,
                         vdb_index_write_fn *write, void *ctx, struct vdb_err *err)
{
    struct writer writer = {.write = write, .ctx = ctx};
    VDB_TRY(vdb_hnsw_rows_fit(hnsw, rows, err));
    pthread_rwlock_wrlock(&hnsw->writers);
    const uint32_t row_end = atomic_load_explicit(&hnsw->row_end, memory_order_relaxed);
    vdb_status status = rows->count < row_end
                            ? vdb_err_set(err, VDB_INVALID, "hnsw: rows: %zu, the graph has seen %u", rows->count,
                                          row_end)
                            : save_alone(hnsw, rows, stamp, &writer, err);
    pthread_rwlock_unlock(&hnsw->writers);
    vdb_buf_fini(&writer.buf);
    return status;
}

/* ---- Load ---- */

struct header {
    struct vdb_hnsw_params params;
    uint64_t stamp;
    uint32_t dimension;
    unsigned element;
    unsigned metric;
    uint32_t row_end;
    uint32_t entry;
    uint32_t root;
    size_t bytes;   /* of all of it */
    float code_low; /* of codes */
    float code_step;
};

/* Both 0 in a graph that never held a row. */
static vdb_status read_codes(struct vdb_cursor *cursor, struct header *out, struct vdb_err *err)
{
    out->code_low = take_float(cursor);
    out->code_step = take_float(cursor);
    const bool known = isfinite(out->code_low) && out->code_step > 0 && isfinite(out->code_step) &&
                       isfinite(1 / out->code_step);
    const bool none = out->row_end == 0 && out->code_low == 0 && out->code_step == 0;
    if (cursor->failed || (!known && !none)) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: codes: low %g, step %g", (double)out->code_low,
                           (double)out->code_step);
    }
    return VDB_OK;
}

static vdb_status read_header(const void *data, size_t bytes, struct header *out, struct vdb_err *err)
{
    struct vdb_cursor cursor;
    vdb_cursor_init(&cursor, data, bytes);
    const uint8_t *magic = vdb_cursor_take(&cursor, sizeof MAGIC);
    if (magic == NULL || memcmp(magic, MAGIC, sizeof MAGIC) != 0) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: magic: these are not the bytes of a graph");
    }
    if (bytes < HEADER_BYTES + TRAILER_BYTES) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: bytes: %zu, a graph has %d at least", bytes,
                           HEADER_BYTES + TRAILER_BYTES);
    }
    uint32_t version = vdb_cursor_u32(&cursor);
    if (version > VERSION) {
        return vdb_err_set(err, VDB_VERSION, "hnsw: version: %u, this program knows up to %d", version, VERSION);
    }
    uint32_t features = vdb_cursor_u32(&cursor);
    uint64_t said = vdb_cursor_u64(&cursor);
    if (said != bytes) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: bytes: %zu are there, the header says %llu", bytes,
                           (unsigned long long)said);
    }
    uint32_t crc = vdb_load_u32((const uint8_t *)data + bytes - TRAILER_BYTES);
    if (crc != vdb_crc32c(0, data, bytes - TRAILER_BYTES)) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: checksum mismatch");
    }
    if (version < VERSION_FIRST || features != 0) {
        return vdb_err_set(err, VDB_VERSION,
                           "hnsw: version %u, features 0x%x: this program knows %d to %d and none", version,
                           features, VERSION_FIRST, VERSION);
    }
    *out = (struct header){.stamp = vdb_cursor_u64(&cursor)};
    out->dimension = vdb_cursor_u32(&cursor);
    out->element = vdb_cursor_u8(&cursor);
    out->metric = vdb_cursor_u8(&cursor);
    unsigned options = vdb_cursor_u8(&cursor);
    unsigned zero = vdb_cursor_u8(&cursor);
    out->params.m = vdb_cursor_u32(&cursor);
    out->params.ef_construction = vdb_cursor_u32(&cursor);
    out->params.ef_search = vdb_cursor_u32(&cursor);
    out->row_end = vdb_cursor_u32(&cursor);
    out->params.seed = vdb_cursor_u64(&cursor);
    out->entry = vdb_cursor_u32(&cursor);
    out->root = vdb_cursor_u32(&cursor);
    out->params.extend_candidates = (options & OPTION_EXTEND) != 0;
    out->params.keep_pruned = (options & OPTION_KEEP) != 0;
    out->params.vectors_inside = (options & OPTION_INSIDE) != 0;
    const unsigned kept_as = options & (OPTION_F16 | OPTION_BF16 | OPTION_CODES);
    out->params.inside_as = kept_as == OPTION_F16     ? VDB_ELEMENT_F16
                            : kept_as == OPTION_BF16  ? VDB_ELEMENT_BF16
                            : kept_as == OPTION_CODES ? VDB_ELEMENT_U8
                                                      : VDB_ELEMENT_F32;
    out->bytes = HEADER_BYTES + (kept_as == OPTION_CODES ? CODES_BYTES : 0);
    if (kept_as == OPTION_CODES) {
        VDB_TRY(read_codes(&cursor, out, err));
    }
    if (options > (version == VERSION_FIRST ? OPTIONS_FIRST : OPTIONS_ALL) || (kept_as & (kept_as - 1)) != 0 ||
        (kept_as != 0 && (!out->params.vectors_inside || out->element != VDB_ELEMENT_F32)) || zero != 0 ||
        vdb_hnsw_params_check(&out->params, err) != VDB_OK) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: parameters: out of range (m %u, ef_construction %u)",
                           out->params.m, out->params.ef_construction);
    }
    if (bytes < out->bytes + TRAILER_BYTES || out->row_end > bytes - out->bytes - TRAILER_BYTES ||
        out->row_end > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: row_end: %u in %zu bytes", out->row_end, bytes);
    }
    return VDB_OK;
}

static vdb_status check_origin(const struct header *header, const struct vdb_rows *rows, uint64_t stamp,
                               struct vdb_err *err)
{
    if (header->stamp != stamp) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: stamp: %llx, these rows have %llx: it belongs to others",
                           (unsigned long long)header->stamp, (unsigned long long)stamp);
    }
    if (header->dimension != rows->dimension || header->element != (unsigned)rows->element ||
        header->metric != (unsigned)rows->metric) {
        return vdb_err_set(err, VDB_INVALID,
                           "hnsw: dimension %u, element %u, metric %u: these rows have %zu, %u, %u",
                           header->dimension, header->element, header->metric, rows->dimension,
                           (unsigned)rows->element, (unsigned)rows->metric);
    }
    if (header->row_end > rows->count) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: row_end: %u, there are %zu rows", header->row_end,
                           rows->count);
    }
    return VDB_OK;
}

/* What is known of the nodes while they are read. */
struct reader {
    struct vdb_hnsw *hnsw;
    const struct vdb_rows *rows;
    struct vdb_cursor *cursor;
    uint32_t row_end;
    uint32_t root;
    uint8_t *heights;   /* of each row: its layers, 0 where it has no node; with marks of check_tree */
    uint32_t *parents;  /* whom its list calls its parent; HNSW_NONE */
    uint32_t *named_by; /* whose list calls it a child; HNSW_NONE */
    uint64_t children;  /* how often that was */
    uint64_t layer_nodes[VDB_HNSW_LAYERS_MAX];
};

enum { SEEN_BITS = 4096, SEEN_SHIFT = 20, ON_WAY = 0x40, AT_ROOT = 0x80 };

/* Whether one of the links before the i-th leads where it does; asked of the few whose bits are taken. */
static bool is_repeated(const uint8_t *links, uint32_t i)
{
    const uint32_t to = vdb_load_u32(links + i * sizeof to) & HNSW_ROW;
    for (uint32_t j = 0; j < i; j++) {
        if ((vdb_load_u32(links + j * sizeof to) & HNSW_ROW) == to) {
            return true;
        }
    }
    return false;
}

/* All that vdb_hnsw_check asks of a list. */
static vdb_status read_list(struct reader *reader, uint32_t row, unsigned layer, struct vdb_err *err)
{
    struct vdb_hnsw *hnsw = reader->hnsw;
    hnsw_slot *slots = hnsw_list_at(hnsw, row, layer);
    const uint32_t slot_count = hnsw_list_slots(hnsw, layer);
    const uint32_t count = vdb_cursor_u16(reader->cursor);
    const uint8_t *links = vdb_cursor_take(reader->cursor, (size_t)count * sizeof(uint32_t));
    uint64_t seen[SEEN_BITS / 64] = {0};
    uint32_t parents = 0;
    uint32_t children = 0;
    if (links == NULL || count > slot_count) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u layer %u: %u links", row, layer, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t link = vdb_load_u32(links + i * sizeof link);
        const uint32_t to = link & HNSW_ROW;
        const uint32_t tree = link & HNSW_TREE;
        if (to >= reader->row_end || to == row || reader->heights[to] <= layer || tree == HNSW_TREE ||
            (layer > 0 && tree != 0)) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u layer %u: link %u is 0x%x", row, layer, i, link);
        }
        const uint32_t bit = to * UINT32_C(2654435761) >> SEEN_SHIFT;
        const uint64_t mask = UINT64_C(1) << bit % 64;
        if ((seen[bit / 64] & mask) != 0 && is_repeated(links, i)) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u layer %u: link to %u twice", row, layer, to);
        }
        seen[bit / 64] |= mask;
        if (tree == HNSW_PARENT) {
            reader->parents[row] = to;
            parents++;
        } else if (tree == HNSW_CHILD) {
            reader->named_by[to] = row; /* of two who name it, one is not its parent */
            children++;
        }
        atomic_store_explicit(&slots[i], link, memory_order_relaxed);
    }
    for (uint32_t i = count; i < slot_count; i++) {
        atomic_store_explicit(&slots[i], HNSW_NONE, memory_order_relaxed);
    }
    if (layer == 0 && (parents != (row != reader->root) || children > hnsw->children_max)) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u: %u parents and %u children", row, parents, children);
    }
    reader->children += children;
    return VDB_OK;
}

static vdb_status read_node(struct reader *reader, uint32_t row, struct vdb_err *err)
{
    struct vdb_hnsw *hnsw = reader->hnsw;
    struct hnsw_node *node = hnsw_node_at(hnsw, row);
    const unsigned level = reader->heights[row] - 1u;
    if (level > 0) {
        hnsw_slot *upper = vdb_hnsw_make_upper(hnsw, level);
        if (upper == NULL) {
            return vdb_err_no_memory(err, "the graph's upper layers");
        }
        atomic_store_explicit(&node->upper, upper, memory_order_relaxed);
    }
    atomic_store_explicit(&node->level, (unsigned char)level, memory_order_relaxed);
    atomic_store_explicit(&node->state, HNSW_NODE, memory_order_relaxed);
    if (hnsw->params.vectors_inside) {
        vdb_hnsw_convert(hnsw, vdb_rows_at(reader->rows, row), hnsw_at(&hnsw->vectors, row));
    }
    for (unsigned layer = 0; layer <= level; layer++) {
        reader->layer_nodes[layer]++;
        VDB_TRY(read_list(reader, row, layer, err));
    }
    return VDB_OK;
}

/* G1: whom a node calls its parent calls it a child, there are no more children than that, and from every node the
 * way up ends at the root. */
static vdb_status check_tree(struct reader *reader, struct vdb_err *err)
{
    uint8_t *heights = reader->heights;
    const uint64_t nodes = reader->layer_nodes[0];
    if (reader->root != HNSW_NONE) {
        if (reader->root >= reader->row_end || heights[reader->root] == 0) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: root: row %u is no node", reader->root);
        }
        heights[reader->root] |= AT_ROOT;
    }
    if (reader->children != (nodes > 0 ? nodes - 1 : 0)) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: %llu children of %llu nodes",
                           (unsigned long long)reader->children, (unsigned long long)nodes);
    }
    for (uint32_t row = 0; row < reader->row_end; row++) {
        if (heights[row] == 0) {
            continue;
        }
        if (reader->parents[row] != reader->named_by[row]) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u: its parent %u does not link back in the tree",
                               row, reader->parents[row]);
        }
        uint32_t at = row;
        for (; (heights[at] & AT_ROOT) == 0; at = reader->parents[at]) {
            if ((heights[at] & ON_WAY) != 0) {
                return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u: the root is not above it", row);
            }
            heights[at] |= ON_WAY;
        }
        for (at = row; (heights[at] & AT_ROOT) == 0; at = reader->parents[at]) {
            heights[at] ^= ON_WAY | AT_ROOT;
        }
    }
    return VDB_OK;
}

static vdb_status read_groups(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, const uint8_t *states,
                              uint32_t row_end, struct vdb_cursor *cursor, struct vdb_err *err)
{
    uint32_t group_count = vdb_cursor_u32(cursor);
    for (uint32_t i = 0; i < group_count && !cursor->failed; i++) {
        uint32_t head = vdb_cursor_u32(cursor);
        uint32_t count = vdb_cursor_u32(cursor);
        if (head >= row_end || states[head] != 1) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: group %u: its head, row %u, is no node", i, head);
        }
        for (uint32_t j = 0; j < count && !cursor->failed; j++) {
            uint32_t row = vdb_cursor_u32(cursor);
            if (row >= row_end || states[row] != 2 || hnsw_state_of(hnsw, row) != HNSW_ABSENT) {
                return vdb_err_set(err, VDB_CORRUPT, "hnsw: group %u: row %u cannot be in it", i, row);
            }
            if (hnsw->params.vectors_inside) {
                vdb_hnsw_convert(hnsw, vdb_rows_at(rows, row), hnsw_at(&hnsw->vectors, row));
            }
            VDB_TRY(vdb_hnsw_join_group(hnsw, head, row, err));
            atomic_fetch_add_explicit(&hnsw->rows, 1, memory_order_relaxed);
        }
    }
    return VDB_OK;
}

/* The entry point is as high as anything. */
static vdb_status read_entry(struct reader *reader, uint32_t entry, struct vdb_err *err)
{
    const uint8_t *heights = reader->heights; /* not marked yet */
    if ((entry == HNSW_NONE) != (reader->root == HNSW_NONE)) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: the entry point and the root of the tree disagree");
    }
    if (entry == HNSW_NONE) {
        return VDB_OK;
    }
    if (entry >= reader->row_end || heights[entry] == 0) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: entry point: row %u is no node", entry);
    }
    for (unsigned layer = heights[entry]; layer < VDB_HNSW_LAYERS_MAX; layer++) {
        if (reader->layer_nodes[layer] != 0) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: entry point: row %u is not in layer %u", entry, layer);
        }
    }
    reader->hnsw->root = reader->root;
    vdb_hnsw_set_entry(reader->hnsw, (uint64_t)heights[entry] << 32 | entry);
    return VDB_OK;
}

static vdb_status read_rows(struct reader *reader, const struct header *header, struct vdb_err *err)
{
    struct vdb_hnsw *hnsw = reader->hnsw;
    struct vdb_cursor *cursor = reader->cursor;
    const uint8_t *states = vdb_cursor_take(cursor, header->row_end);
    uint64_t twins = 0;
    for (uint32_t row = 0; row < header->row_end; row++) {
        if (states[row] > 2) {
            return vdb_err_set(err, VDB_CORRUPT, "hnsw: row %u: its state is %u", row, states[row]);
        }
        twins += states[row] == 2;
        reader->heights[row] = states[row] == 1 ? (uint8_t)(vdb_hnsw_level_of(hnsw, row) + 1) : 0;
        reader->parents[row] = HNSW_NONE;
        reader->named_by[row] = HNSW_NONE;
    }
    for (uint32_t row = 0; row < header->row_end; row++) {
        if (states[row] == 1) {
            VDB_TRY(read_node(reader, row, err));
        }
    }
    for (unsigned layer = 0; layer < VDB_HNSW_LAYERS_MAX; layer++) {
        atomic_store_explicit(&hnsw->layer_nodes[layer], reader->layer_nodes[layer], memory_order_relaxed);
    }
    atomic_store_explicit(&hnsw->rows, reader->layer_nodes[0], memory_order_relaxed);
    VDB_TRY(read_entry(reader, header->entry, err));
    VDB_TRY(check_tree(reader, err));
    VDB_TRY(read_groups(hnsw, reader->rows, states, header->row_end, cursor, err));
    if (cursor->failed || vdb_cursor_left(cursor) != 0 ||
        twins != atomic_load_explicit(&hnsw->twins, memory_order_relaxed)) {
        return vdb_err_set(err, VDB_CORRUPT, "hnsw: its parts do not add up");
    }
    return VDB_OK;
}

static vdb_status read_graph(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, const struct header *header,
                             struct vdb_cursor *cursor, struct vdb_err *err)
{
    struct reader reader = {
        .hnsw = hnsw, .rows = rows, .cursor = cursor, .row_end = header->row_end, .root = header->root};
    vdb_status status;
    reader.heights = vdb_calloc((size_t)header->row_end + 1, 1);
    reader.parents = vdb_calloc((size_t)header->row_end + 1, sizeof *reader.parents);
    reader.named_by = vdb_calloc((size_t)header->row_end + 1, sizeof *reader.named_by);
    status = reader.heights != NULL && reader.parents != NULL && reader.named_by != NULL
                 ? read_rows(&reader, header, err)
                 : vdb_err_no_memory(err, "the check of a graph");
    free(reader.heights);
    free(reader.parents);
    free(reader.named_by);
    return status;
}

vdb_status vdb_hnsw_load(const struct vdb_rows *rows, uint64_t stamp, const void *data, size_t bytes,
                         struct vdb_hnsw **out, struct vdb_err *err)
{
    struct vdb_hnsw *hnsw = NULL;
    struct header header;
    struct vdb_cursor cursor;
    vdb_status status;
    *out = NULL;
    VDB_CHECK(read_header(data, bytes, &header, err));
    VDB_CHECK(check_origin(&header, rows, stamp, err));
    VDB_CHECK(vdb_hnsw_create(&header.params, rows, header.row_end, &hnsw, err));
    hnsw->code_low = header.code_low;
    hnsw->code_step = header.code_step;
    atomic_store_explicit(&hnsw->codes_ready, header.code_step > 0, memory_order_relaxed);
    if (header.row_end > 0) {
        VDB_CHECK(vdb_hnsw_grow(hnsw, header.row_end - 1, err));
    }
    vdb_cursor_init(&cursor, data, bytes - TRAILER_BYTES);
    (void)vdb_cursor_take(&cursor, header.bytes);
    VDB_CHECK(read_graph(hnsw, rows, &header, &cursor, err));
    *out = hnsw;
    hnsw = NULL;
cleanup:
    vdb_hnsw_destroy(hnsw);
    return status;
}
