/* graph_input.c: the vectors of `vecdb hnsw` and `vecdb qgraph`: loaded, checked, and in a type that indexes take. */
#include "graph.h"

#include "base/crc32c.h"
#include "env/env.h"

static vdb_status prepare(vdb_metric metric, uint64_t bits, struct vdb_vectors *vectors, vdb_element *element,
                          struct vdb_err *err)
{
    const bool compares_bits = metric == VDB_METRIC_HAMMING || metric == VDB_METRIC_JACCARD;
    if (vectors->count == 0) {
        return vdb_err_set(err, VDB_INVALID, "it holds 0 vectors, at least 1 is needed");
    }
    if (vectors->type == VDB_VECTORS_I32) {
        return vdb_err_set(err, VDB_INVALID, "it holds i32 values (ids); f32, f16, u8 and i8 are allowed");
    }
    if (vectors->type != VDB_VECTORS_BIT && (compares_bits || bits > 0)) {
        VDB_TRY(vdb_vectors_as_bits(vectors, bits > 0 ? (size_t)bits : vectors->dimension * 8, err));
    }
    VDB_TRY(vdb_vectors_check_finite(vectors, err));
    if (metric == VDB_METRIC_COSINE) {
        VDB_TRY(vdb_vectors_check_nonzero(vectors, err));
    }
    if (vectors->type == VDB_VECTORS_F16) {
        VDB_TRY(vdb_vectors_to_f32(vectors, err));
    }
    if (!vdb_vectors_type_element(vectors->type, element) || !vdb_metric_fits(*element, metric)) {
        return vdb_err_set(err, VDB_INVALID,
                           "--metric %s does not compare vectors of %s: hamming and jaccard compare bits, the "
                           "others numbers",
                           vdb_metric_name(metric), vdb_vectors_type_name(vectors->type));
    }
    return VDB_OK;
}

vdb_status vdb_graph_input_load(const char *option, const char *path, vdb_metric metric, uint64_t bits,
                                struct vdb_vectors *out, vdb_element *element, struct vdb_err *err)
{
    vdb_status status = vdb_vectors_load(vdb_env_posix(), path, out, err);
    if (status != VDB_OK) {
        return vdb_err_wrap(err, status, "%s", option);
    }
    status = prepare(metric, bits, out, element, err);
    if (status != VDB_OK) {
        vdb_vectors_fini(out);
        return vdb_err_wrap(err, status, "%s: \"%.200s\"", option, path);
    }
    return VDB_OK;
}

uint64_t vdb_graph_input_stamp(const struct vdb_vectors *vectors)
{
    const uint8_t *data = vectors->data;
    const size_t bytes = vdb_vectors_row_bytes(vectors) * vectors->count;
    const size_t half = bytes / 2;
    return (uint64_t)vdb_crc32c(0, data, half) << 32 | vdb_crc32c(0, data + half, bytes - half);
}
