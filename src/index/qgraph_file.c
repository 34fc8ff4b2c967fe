/* qgraph_file.c: a graph as bytes, and back without building.
 *
 * All numbers little-endian.
 *
 *     0    8  "VDBQGRA" and a zero
 *     8    4  version, 2                  any other is refused (1 had a table of all rows)
 *     12   4  features: 1, it is compact   unknown bits are refused
 *     16   8  bytes in all
 *     24   8  stamp of the rows
 *     32   4  dimension of the rows
 *     36   1  element
 *     37   1  metric
 *     38   2  0
 *     40   4  code bits; 0 if compact, as projections and factors have no numbers then
 *     44   4  entries: blocks behind those of the nodes; or, compact, as many times 32 nodes at equal spaces
 *     48   8  node_count
 *     56   8  row_count
 *     64   4  row_end
 *     68   4  shared_count: numbers in the table of rows
 *     72   4  ef_search
 *     76   4  step            f32, as the five that follow
 *     80   4  longest
 *     84   4  alpha of pruning, or 0
 *     88   4  scale and unit of projections
 *     96   4  unit and slope_unit of factors
 *     104  8  explained       f64
 *     112  8  average_degree  f64
 *     120  8  linked
 *     128     centre: dimension f32, unless inner distances are exact
 *             matrix, offset (i32) and mean (f32) of projections (none without nodes)
 *             rows, u32: of each node that several rows share, by node: how many, then they, ascending
 *             blocks (qgraph_kernels.h); or, compact, vectors and links (qgraph_compact.c)
 *             4 bytes CRC-32C of all before
 *
 * What loads has passed vdb_qgraph_check; whether the rows are those it was built over, the stamp says. Threads:
 * see qgraph.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "qgraph_internal.h"

enum {
    OFFSET_PER_INPUT = 255 * 128,
    VERSION = 2,
    FEATURE_COMPACT = 1,
    HEADER_BYTES = 128,
    TRAILER_BYTES = 4,
    PIECE_BYTES = 1 << 20
};

static const char MAGIC[8] = "VDBQGRA";

/* ---- Parts, in their order: the same list for writing and reading ---- */

struct part {
    void *data;
    size_t bytes;
};

enum { PARTS = 6 };

static size_t groups_of(const struct vdb_qgraph *graph)
{
    return ((size_t)graph->space.dimension + 3) / 4 * 4;
}

static void parts_of(const struct vdb_qgraph *graph, struct part parts[PARTS])
{
    const bool compact = graph->compact.degree > 0;
    const bool any = graph->node_count > 0 && !compact;
    const size_t bits = any ? graph->shape.bits : 0;
    const size_t dimension = any ? graph->space.dimension : 0;
    parts[0] = (struct part){graph->space.centre,
                             graph->space.exact ? 0 : graph->space.row_dimension * sizeof(float)};
    parts[1] = (struct part){graph->projection.matrix, any ? groups_of(graph) * bits : 0};
    parts[2] = (struct part){graph->projection.offset, bits * sizeof(int32_t)};
    parts[3] = (struct part){graph->projection.mean, dimension * sizeof(float)};
    parts[4] = (struct part){graph->rows, graph->shared_count * sizeof(uint32_t)};
    parts[5] = (struct part){graph->blocks,
                             compact ? graph->compact.bytes
                                     : (graph->node_count + graph->entry_count) * graph->shape.block_bytes};
}

/* ---- Save ---- */

static void put_f32(struct vdb_buf *buf, float value)
{
    vdb_buf_put(buf, &value, sizeof value);
}

static void put_f64(struct vdb_buf *buf, double value)
{
    vdb_buf_put(buf, &value, sizeof value);
}

static void put_header(const struct vdb_qgraph *graph, uint64_t stamp, uint64_t bytes, struct vdb_buf *buf)
{
    const bool compact = graph->compact.degree > 0;
    vdb_buf_put(buf, MAGIC, sizeof MAGIC);
    vdb_buf_put_u32(buf, VERSION);
    vdb_buf_put_u32(buf, compact ? FEATURE_COMPACT : 0);
    vdb_buf_put_u64(buf, bytes);
    vdb_buf_put_u64(buf, stamp);
    vdb_buf_put_u32(buf, graph->space.row_dimension);
    vdb_buf_put_u8(buf, (uint8_t)graph->space.element);
    vdb_buf_put_u8(buf, (uint8_t)graph->space.metric);
    vdb_buf_put_u16(buf, 0);
    vdb_buf_put_u32(buf, compact ? 0 : graph->shape.bits);
    vdb_buf_put_u32(buf, graph->entry_count);
    vdb_buf_put_u64(buf, graph->node_count);
    vdb_buf_put_u64(buf, graph->row_count);
    vdb_buf_put_u32(buf, (uint32_t)graph->row_end);
    vdb_buf_put_u32(buf, (uint32_t)graph->shared_count);
    vdb_buf_put_u32(buf, graph->ef_search);
    put_f32(buf, graph->space.step);
    put_f32(buf, graph->space.longest);
    put_f32(buf, graph->alpha);
    put_f32(buf, graph->projection.scale);
    put_f32(buf, graph->projection.unit);
    put_f32(buf, graph->unit);
    put_f32(buf, graph->slope_unit);
    put_f64(buf, graph->projection.explained);
    put_f64(buf, graph->average_degree);
    vdb_buf_put_u64(buf, graph->linked);
}

vdb_status vdb_qgraph_save(const struct vdb_qgraph *graph, uint64_t stamp, vdb_index_write_fn *write, void *ctx,
                           struct vdb_err *err)
{
    vdb_status status;
    struct part parts[PARTS];
    struct vdb_buf buf = {0};
    uint64_t bytes = HEADER_BYTES + TRAILER_BYTES;
    parts_of(graph, parts);
    for (size_t i = 0; i < PARTS; i++) {
        bytes += parts[i].bytes;
    }
    put_header(graph, stamp, bytes, &buf);
    if (buf.failed) {
        status = vdb_err_no_memory(err, "the graph's header");
        goto cleanup;
    }
    VDB_CHECK(write(ctx, buf.data, buf.bytes, err));
    uint32_t crc = vdb_crc32c(0, buf.data, buf.bytes);
    for (size_t i = 0; i < PARTS; i++) {
        for (size_t at = 0; at < parts[i].bytes; at += PIECE_BYTES) {
            const size_t left = parts[i].bytes - at;
            const size_t piece = left < PIECE_BYTES ? left : PIECE_BYTES;
            const char *from = (const char *)parts[i].data + at;
            crc = vdb_crc32c(crc, from, piece);
            VDB_CHECK(write(ctx, from, piece, err));
        }
    }
    vdb_buf_clear(&buf);
    vdb_buf_put_u32(&buf, crc);
    VDB_CHECK(write(ctx, buf.data, buf.bytes, err));
cleanup:
    vdb_buf_fini(&buf);
    return status;
}

/* ---- Load ---- */

static float take_f32(struct vdb_cursor *cursor)
{
    uint32_t bits = vdb_cursor_u32(cursor);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double take_f64(struct vdb_cursor *cursor)
{
    uint64_t bits = vdb_cursor_u64(cursor);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static vdb_status check_origin(const struct vdb_rows *rows, uint64_t stamp, struct vdb_cursor *cursor,
                               struct vdb_err *err)
{
    const uint64_t found = vdb_cursor_u64(cursor);
    const uint32_t dimension = vdb_cursor_u32(cursor);
    const uint8_t element = vdb_cursor_u8(cursor);
    const uint8_t metric = vdb_cursor_u8(cursor);
    const uint16_t zero = vdb_cursor_u16(cursor);
    if (found != stamp) {
        return vdb_err_set(err, VDB_INVALID, "qgraph: it is of other rows: stamp %llx, wanted %llx",
                           (unsigned long long)found, (unsigned long long)stamp);
    }
    if (dimension != rows->dimension || element != (uint8_t)rows->element || metric != (uint8_t)rows->metric) {
        return vdb_err_set(err, VDB_INVALID,
                           "qgraph: it is of %u dimensions, element %u and metric %u; rows have "
                           "%zu, %u and %u",
                           dimension, element, metric, rows->dimension, (unsigned)rows->element,
                           (unsigned)rows->metric);
    }
    if (zero != 0 || dimension == 0 || dimension > VDB_QGRAPH_DIMENSION_MAX || rows->element == VDB_ELEMENT_BIT) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: header: no graph has %u dimensions of this kind",
                           dimension);
    }
    return VDB_OK;
}

/* Magic, length, checksum, version. */
static vdb_status check_envelope(const uint8_t *data, size_t bytes, struct vdb_err *err)
{
    if (bytes < HEADER_BYTES + TRAILER_BYTES || memcmp(data, MAGIC, sizeof MAGIC) != 0) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: %zu bytes that are no graph", bytes);
    }
    if (vdb_load_u32(data + 8) != VERSION || (vdb_load_u32(data + 12) & ~(uint32_t)FEATURE_COMPACT) != 0) {
        return vdb_err_set(err, VDB_VERSION, "qgraph: version %u with features %x; this build reads version %u",
                           vdb_load_u32(data + 8), vdb_load_u32(data + 12), VERSION);
    }
    if (vdb_load_u64(data + 16) != bytes) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: %zu bytes, and its header says %llu", bytes,
                           (unsigned long long)vdb_load_u64(data + 16));
    }
    if (vdb_crc32c(0, data, bytes - TRAILER_BYTES) != vdb_load_u32(data + bytes - TRAILER_BYTES)) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: checksum mismatch");
    }
    return VDB_OK;
}

static bool is_positive(float x)
{
    return x > 0 && isfinite(x);
}

/* The rest of the header; counts are those that the remaining bytes can hold. */
static vdb_status read_header(const struct vdb_rows *rows, bool compact, struct vdb_qgraph *graph,
                              struct vdb_cursor *cursor, struct vdb_err *err)
{
    struct qgraph_space *space = &graph->space;
    struct qgraph_projection *projection = &graph->projection;
    const uint32_t bits = vdb_cursor_u32(cursor);
    graph->entry_count = vdb_cursor_u32(cursor);
    const uint64_t node_count = vdb_cursor_u64(cursor);
    const uint64_t row_count = vdb_cursor_u64(cursor);
    const uint32_t row_end = vdb_cursor_u32(cursor);
    const uint32_t shared_count = vdb_cursor_u32(cursor);
    graph->ef_search = vdb_cursor_u32(cursor);
    vdb_qgraph_space_set(space, rows);
    space->step = take_f32(cursor);
    space->longest = take_f32(cursor);
    graph->alpha = take_f32(cursor);
    projection->scale = take_f32(cursor);
    projection->unit = take_f32(cursor);
    graph->unit = take_f32(cursor);
    graph->slope_unit = take_f32(cursor);
    projection->explained = take_f64(cursor);
    graph->average_degree = take_f64(cursor);
    graph->linked = vdb_cursor_u64(cursor);
    if (row_end > rows->count) {
        return vdb_err_set(err, VDB_INVALID, "qgraph: it is of %u rows, and there are %zu", row_end, rows->count);
    }
    if (node_count > row_count || row_count > row_end || row_end > VDB_LIMIT_COLLECTION_POINTS_MAX ||
        (node_count == 0) != (row_count == 0) || (node_count == 0) != (graph->entry_count == 0) ||
        graph->entry_count > QGRAPH_ENTRIES_MAX) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: header: %llu nodes of %llu rows of %u",
                           (unsigned long long)node_count, (unsigned long long)row_count, row_end);
    }
    const bool coded = node_count > 0 && !compact;
    if ((coded && (bits == 0 || bits % 64 != 0 || bits > VDB_QGRAPH_BITS_MAX)) || (compact && bits != 0) ||
        graph->ef_search == 0 || graph->ef_search > VDB_QGRAPH_EF_MAX || !is_positive(space->step) ||
        !(space->longest >= 0) || !(graph->alpha == 0 || (graph->alpha >= 1 && graph->alpha <= 2)) ||
        !is_positive(graph->unit) || !is_positive(graph->slope_unit) ||
        (coded && (!is_positive(projection->scale) || !is_positive(projection->unit)))) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: header: a number is out of range");
    }
    projection->inputs = coded ? space->dimension : 0;
    projection->bits = bits;
    graph->node_count = (size_t)node_count;
    graph->row_count = (size_t)row_count;
    graph->row_end = row_end;
    graph->shared_count = shared_count;
    if (compact && node_count == 0) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: header: compact, and no nodes");
    }
    if (compact) {
        vdb_qgraph_compact_shape(graph);
    } else if (node_count > 0) {
        vdb_qgraph_block_shape(space->dimension, bits, graph->node_count, &graph->shape);
    }
    return VDB_OK;
}

static vdb_status take_row(struct vdb_qgraph *graph, uint32_t row, struct vdb_err *err)
{
    if (row >= graph->row_end) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: row %u, and there are %zu", row, graph->row_end);
    }
    vdb_bitset_set(&graph->taken, row);
    return VDB_OK;
}

/* Fills `taken`: whether rows are those of their nodes is for vdb_qgraph_check. */
static vdb_status take_rows(struct vdb_qgraph *graph, struct vdb_err *err)
{
    for (size_t at = 0; at < graph->shared_count;) {
        const uint32_t count = graph->rows[at++];
        if (count > graph->shared_count - at) {
            return vdb_err_set(err, VDB_CORRUPT, "qgraph: a node of %u rows, of which %zu are here", count,
                               graph->shared_count - at);
        }
        for (uint32_t i = 0; i < count; i++) {
            VDB_TRY(take_row(graph, graph->rows[at++], err));
        }
    }
    for (size_t node = 0; node < graph->node_count; node++) {
        const uint32_t row = graph->compact.degree > 0 ? vdb_qgraph_compact_place(graph, node)
                                                       : qgraph_head(graph, node)->row;
        if (graph->compact.degree == 0 || (row & QGRAPH_SHARED) == 0) {
            VDB_TRY(take_row(graph, row, err));
        }
    }
    return VDB_OK;
}

static vdb_status read_parts(struct vdb_qgraph *graph, struct vdb_cursor *cursor, struct vdb_err *err)
{
    struct part parts[PARTS];
    const bool coded = graph->node_count > 0 && graph->compact.degree == 0;
    size_t wanted = 0;
    parts_of(graph, parts); /* counts are below 2^31, blocks below 2^20: no product wraps */
    for (size_t i = 0; i < PARTS; i++) {
        wanted += parts[i].bytes;
    }
    if (wanted != vdb_cursor_left(cursor)) {
        return vdb_err_set(err, VDB_CORRUPT, "qgraph: its parts take %zu bytes, and there are %zu", wanted,
                           vdb_cursor_left(cursor));
    }
    graph->space.centre = vdb_alloc_aligned(parts[0].bytes);
    graph->projection.matrix = vdb_alloc_aligned(parts[1].bytes);
    graph->projection.offset = vdb_alloc_aligned(parts[2].bytes);
    graph->projection.mean = vdb_alloc_aligned(parts[3].bytes);
    graph->rows = vdb_alloc_aligned(parts[4].bytes);
    graph->blocks = vdb_qgraph_block_alloc(parts[5].bytes, &graph->blocks_bytes);
    parts_of(graph, parts);
    if (!vdb_bitset_init(&graph->taken, graph->row_end)) {
        return vdb_err_no_memory(err, "the graph's rows");
    }
    for (size_t i = 0; i < PARTS; i++) {
        if (parts[i].bytes == 0) {
            continue;
        }
        if (parts[i].data == NULL) {
            return vdb_err_no_memory(err, "a saved graph");
        }
        memcpy(parts[i].data, vdb_cursor_take(cursor, parts[i].bytes), parts[i].bytes);
    }
    VDB_TRY(take_rows(graph, err));
    for (size_t i = 0; coded && i < graph->projection.bits; i++) {
        /* |sum of an input times a weight| is at most 255 * 127 each: what is further off would overflow later */
        if (abs(graph->projection.offset[i] / (OFFSET_PER_INPUT + 1)) > (int)graph->projection.inputs) {
            return vdb_err_set(err, VDB_CORRUPT, "qgraph: projections: offset %zu is %d", i,
                               graph->projection.offset[i]);
        }
    }
    for (size_t i = 0; !graph->space.exact && i < graph->space.row_dimension; i++) {
        if (!isfinite(graph->space.centre[i])) {
            return vdb_err_set(err, VDB_CORRUPT, "qgraph: centre: element %zu is not finite", i);
        }
    }
    return VDB_OK;
}

vdb_status vdb_qgraph_load(const struct vdb_rows *rows, uint64_t stamp, const void *data, size_t bytes,
                           struct vdb_qgraph **out, struct vdb_err *err)
{
    vdb_status status;
    struct vdb_cursor cursor;
    struct vdb_qgraph *graph = NULL;
    *out = NULL;
    VDB_CHECK(check_envelope(data, bytes, err));
    const bool compact = (vdb_load_u32((const uint8_t *)data + 12) & FEATURE_COMPACT) != 0;
    vdb_cursor_init(&cursor, data, bytes - TRAILER_BYTES);
    (void)vdb_cursor_take(&cursor, 24);
    VDB_CHECK(check_origin(rows, stamp, &cursor, err));
    graph = vdb_calloc(1, sizeof *graph);
    if (graph == NULL) {
        status = vdb_err_no_memory(err, "a graph");
        goto cleanup;
    }
    graph->kernels = vdb_qgraph_kernels_get();
    VDB_CHECK(read_header(rows, compact, graph, &cursor, err));
    VDB_CHECK(read_parts(graph, &cursor, err));
    VDB_CHECK(vdb_qgraph_check(graph, NULL, err));
    if (!vdb_qgraph_stop_set(graph)) {
        status = vdb_err_no_memory(err, "a saved graph");
        goto cleanup;
    }
    *out = graph;
    graph = NULL;
cleanup:
    vdb_qgraph_destroy(graph);
    return status;
}
