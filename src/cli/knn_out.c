/* knn_out.c: the files that `vecdb knn --out` makes: a ground truth.
 *
 *     gt.npy    i32 ids, queries x k, and beside it gt_dist.npy: f64, the numbers that the report shows
 *     gt.hdf5   the layout of ann-benchmarks: train and test as they were compared, neighbors (i32), distances
 *               (f32), the attributes distance, dimension, type and point_type
 *
 * Distances there are ann-benchmarks' own: euclidean is the root, angular 1 - cosine, jaccard 1 - common / all that
 * are set, as in our reports; but hamming is the share of the bits that differ, not their number. `ip`, which only
 * its relatives have, is the product negated, since smaller is nearer.
 */
#include "knn.h"

#include "base/mem.h"
#include "data/hdf5.h"
#include "data/npy_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void vdb_knn_out_distances_path(const char *path, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%.*s_dist.npy", (int)(strlen(path) - strlen(".npy")), path);
}

vdb_status vdb_knn_out_open(const struct vdb_knn_options *options, struct vdb_knn_out *out, struct vdb_err *err)
{
    size_t path_bytes;
    const char *part;
    if (vdb_vector_stream_is_hdf5(options->out_path, &path_bytes, &part)) {
        return vdb_hdf5_create(options->out_path, (vdb_metric)options->metric, &out->hdf5, err);
    }
    /* A folder that is not there, or not ours to write in, shall show before the search. */
    struct vdb_env *env = vdb_env_posix();
    struct vdb_file *file = NULL;
    char path[VDB_LIMIT_PATH_BYTES_MAX + 8];
    snprintf(path, sizeof path, "%s.tmp", options->out_path);
    VDB_TRY(env->ops->open(env, path, VDB_OPEN_WRITE | VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE, &file, err));
    env->ops->close(env, file);
    return env->ops->unlink(env, path, err);
}

vdb_status vdb_knn_out_block(struct vdb_knn_out *out, const struct vdb_vectors *block, size_t count,
                             struct vdb_err *err)
{
    return out->hdf5 != NULL ? vdb_hdf5_write_rows(out->hdf5, "train", block, count, err) : VDB_OK;
}

/* A distance as ann-benchmarks has it. */
static double bench_distance(vdb_metric metric, double score, size_t dimension)
{
    return metric == VDB_METRIC_DOT ? -score : metric == VDB_METRIC_HAMMING ? score / (double)dimension : score;
}

/* All answers as two matrices: distances, or narrow in the way of ann-benchmarks. */
static void fill(const struct vdb_knn_results *results, vdb_metric metric, size_t dimension, int32_t *ids,
                 double *distances, float *narrow)
{
    for (size_t q = 0; q < results->query_count; q++) {
        size_t count;
        const struct vdb_candidate *hits = vdb_knn_hits(results, q, &count);
        for (size_t i = 0; i < count; i++) {
            double score = vdb_metric_score(metric, hits[i].distance);
            ids[q * results->k + i] = (int32_t)hits[i].row;
            if (distances != NULL) {
                distances[q * results->k + i] = score;
            } else {
                narrow[q * results->k + i] = (float)bench_distance(metric, score, dimension);
            }
        }
    }
}

static vdb_status finish_hdf5(struct vdb_knn_out *out, const struct vdb_knn_input *input,
                              const struct vdb_knn_results *results, vdb_metric metric, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_vectors ids = {0};
    struct vdb_vectors distances = {0};
    struct vdb_vectors test = input->query;
    test.data = (char *)test.data + results->first_row * vdb_vectors_row_bytes(&test);
    test.count = results->query_count;
    VDB_CHECK(vdb_vectors_init(&ids, VDB_VECTORS_I32, results->query_count, results->k, err));
    VDB_CHECK(vdb_vectors_init(&distances, VDB_VECTORS_F32, results->query_count, results->k, err));
    fill(results, metric, input->dimension, ids.data, NULL, distances.data);
    VDB_CHECK(vdb_hdf5_write_rows(out->hdf5, "test", &test, test.count, err));
    VDB_CHECK(vdb_hdf5_write_rows(out->hdf5, "neighbors", &ids, ids.count, err));
    VDB_CHECK(vdb_hdf5_write_rows(out->hdf5, "distances", &distances, distances.count, err));
    VDB_CHECK(vdb_hdf5_finish(out->hdf5, err));

cleanup:
    vdb_vectors_fini(&ids);
    vdb_vectors_fini(&distances);
    return status;
}

static vdb_status finish_npy(const struct vdb_knn_options *options, const struct vdb_knn_results *results,
                             struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_env *env = vdb_env_posix();
    char path[VDB_LIMIT_PATH_BYTES_MAX + 8];
    size_t values = results->query_count * results->k; /* as many hits are in memory */
    int32_t *ids = vdb_calloc(values, sizeof *ids);
    double *distances = vdb_calloc(values, sizeof *distances);
    if (ids == NULL || distances == NULL) {
        status = vdb_err_no_memory(err, "the files of answers");
        goto cleanup;
    }
    fill(results, (vdb_metric)options->metric, 0, ids, distances, NULL);
    vdb_knn_out_distances_path(options->out_path, path, sizeof path);
    VDB_CHECK(vdb_npy_write(env, path, VDB_NPY_F64, distances, results->query_count, results->k, err));
    VDB_CHECK(vdb_npy_write(env, options->out_path, VDB_NPY_I32, ids, results->query_count, results->k, err));

cleanup:
    free(ids);
    free(distances);
    return status;
}

vdb_status vdb_knn_out_finish(const struct vdb_knn_options *options, struct vdb_knn_out *out,
                              const struct vdb_knn_input *input, const struct vdb_knn_results *results,
                              struct vdb_err *err)
{
    return out->hdf5 != NULL ? finish_hdf5(out, input, results, (vdb_metric)options->metric, err)
                             : finish_npy(options, results, err);
}

void vdb_knn_out_close(struct vdb_knn_out *out)
{
    vdb_hdf5_writer_close(out->hdf5);
    *out = (struct vdb_knn_out){0};
}
