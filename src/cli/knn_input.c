/* knn_input.c: the two files of `vecdb knn`, checked and brought to one element type.
 *
 * Types are kept where that is exact and changed only where nothing is lost:
 *
 *     same types (f32, u8, i8)     kept; u8 and i8 are computed in integers, exactly
 *     f16                          becomes f32, which holds every f16 value
 *     f32 or f16 with u8 or i8     the integers become f32, which holds every one of them
 *     u8 with i8                   refused: no integer kernel takes both, and in f32 the answer would no longer
 * be exact, which is what integers are chosen for i32                          refused: these are ids
 */
#include "knn.h"

#include "base/limits.h"
#include "base/timer.h"

#include <inttypes.h>

static vdb_status load_one(struct vdb_env *env, const char *option, const char *path, struct vdb_vectors *out,
                           struct vdb_err *err)
{
    vdb_status status = vdb_vectors_load(env, path, out, err);
    if (status != VDB_OK) {
        return vdb_err_wrap(err, status, "%s", option);
    }
    if (out->count == 0) {
        return vdb_err_set(err, VDB_INVALID, "%s: \"%s\" holds 0 vectors, at least 1 is needed", option, path);
    }
    if (out->type == VDB_VECTORS_I32) {
        return vdb_err_set(err, VDB_INVALID, "%s: \"%s\" holds i32 values (ids); f32, f16, u8 and i8 are allowed",
                           option, path);
    }
    return VDB_OK;
}

static vdb_status check_values(const char *option, const char *path, const struct vdb_vectors *vectors,
                               unsigned metric, struct vdb_err *err)
{
    vdb_status status = vdb_vectors_check_finite(vectors, err);
    if (status == VDB_OK && metric == VDB_METRIC_COSINE) {
        status = vdb_vectors_check_nonzero(vectors, err);
    }
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "%s: \"%s\"", option, path);
}

/* The table at the head of this file. */
static vdb_status agree_on_type(struct vdb_knn_input *input, struct vdb_err *err)
{
    vdb_vectors_type d = input->dataset.type;
    vdb_vectors_type q = input->query.type;
    bool d_float = d == VDB_VECTORS_F32 || d == VDB_VECTORS_F16;
    bool q_float = q == VDB_VECTORS_F32 || q == VDB_VECTORS_F16;
    if (d_float || q_float) {
        VDB_TRY(vdb_vectors_to_f32(&input->dataset, err));
        VDB_TRY(vdb_vectors_to_f32(&input->query, err));
    } else if (d != q) {
        return vdb_err_set(
            err, VDB_INVALID,
            "--query holds %s and --dataset %s: they cannot be compared exactly; save both in one type",
            vdb_vectors_type_name(q), vdb_vectors_type_name(d));
    }
    bool known = vdb_vectors_type_element(input->dataset.type, &input->element);
    return known ? VDB_OK : vdb_err_set(err, VDB_UNSUPPORTED, "no kernel for %s", vdb_vectors_type_name(d));
}

vdb_status vdb_knn_input_load(struct vdb_env *env, const struct vdb_knn_options *options,
                              struct vdb_knn_input *out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    *out = (struct vdb_knn_input){0};
    uint64_t start = vdb_now_ns();
    VDB_CHECK(load_one(env, "--dataset", options->dataset_path, &out->dataset, err));
    VDB_CHECK(load_one(env, "--query", options->query_path, &out->query, err));
    out->dataset_type = out->dataset.type;
    out->query_type = out->query.type;
    if (out->query.dimension != out->dataset.dimension) {
        status = vdb_err_set(err, VDB_INVALID, "--query: dimension is %zu, --dataset has %zu: they must be equal",
                             out->query.dimension, out->dataset.dimension);
        goto cleanup;
    }
    if (options->row_given && options->row >= out->query.count) {
        status = vdb_err_set(err, VDB_INVALID, "--row is %" PRIu64 ", \"%s\" has rows 0 to %zu", options->row,
                             options->query_path, out->query.count - 1);
        goto cleanup;
    }
    VDB_CHECK(check_values("--dataset", options->dataset_path, &out->dataset, options->metric, err));
    VDB_CHECK(check_values("--query", options->query_path, &out->query, options->metric, err));
    VDB_CHECK(agree_on_type(out, err));
    out->load_seconds = (double)(vdb_now_ns() - start) / 1e9;

cleanup:
    if (status != VDB_OK) {
        vdb_knn_input_fini(out);
    }
    return status;
}

void vdb_knn_input_fini(struct vdb_knn_input *input)
{
    vdb_vectors_fini(&input->dataset);
    vdb_vectors_fini(&input->query);
}
