/* knn_input.c: the two files of `vecdb knn`, checked and brought to one element type.
 *
 * Types are kept where that is exact and changed only where nothing is lost:
 *
 *     same types (f32, u8, i8)     kept; u8 and i8 are computed in integers, exactly
 *     f16                          becomes f32, which holds every f16 value
 *     f32 or f16 with u8 or i8     the integers become f32, which holds every one of them
 *     u8 with i8                   refused: no integer kernel takes both, and in f32 the answer would no longer
 *                                  be exact, which is what integers are chosen for
 *     i32                          refused: these are ids
 *     u8 with hamming or jaccard   packed bits, eight a value, or as many a vector as --bits says
 *     bits                         only with bits, and only for hamming and jaccard
 *
 * The dataset is opened as a stream and, unless --memory-limit is given, read in one block. Under a limit, what the
 * queries take is known only when they are there, so they are read before it is held against anything.
 */
#include "knn.h"

#include "base/limits.h"
#include "base/timer.h"

#include <inttypes.h>

enum {
    PROGRAM_BYTES =
        24
        << 20, /* code, libraries, buffers of readers, stacks: a search of 300 short vectors peaked at 10 MiB */
    BLOCK_ROWS_MIN = 256,   /* fewer make the searches' own numbers the larger part */
    ROW_NUMBERS_BYTES = 24, /* what a batch search keeps per row of a block */
    QUERY_COPIES = 3,       /* what it keeps of the queries: as given, padded, in panels */
    LIST_BYTES = 64,        /* and of each of their lists: its head, its limits */
    OUT_HIT_BYTES = 12,     /* an id and a distance on their way into --out */
};

static vdb_status refuse_empty(const char *option, const char *path, size_t count, vdb_vectors_type type,
                               struct vdb_err *err)
{
    if (count == 0) {
        return vdb_err_set(err, VDB_INVALID, "%s: \"%s\" holds 0 vectors, at least 1 is needed", option, path);
    }
    if (type == VDB_VECTORS_I32) {
        return vdb_err_set(err, VDB_INVALID, "%s: \"%s\" holds i32 values (ids); f32, f16, u8 and i8 are allowed",
                           option, path);
    }
    return VDB_OK;
}

static bool compares_bits(const struct vdb_knn_options *options)
{
    return options->metric == VDB_METRIC_HAMMING || options->metric == VDB_METRIC_JACCARD;
}

/* u8 values become bits where the metric or --bits asks for it. */
static vdb_status take_bits(const struct vdb_knn_options *options, const char *option, const char *path,
                            struct vdb_vectors *vectors, struct vdb_err *err)
{
    if (vectors->type == VDB_VECTORS_BIT || (!compares_bits(options) && !options->bits_given)) {
        return VDB_OK;
    }
    size_t bits = options->bits_given ? (size_t)options->bits : vectors->dimension * 8;
    vdb_status status = vdb_vectors_as_bits(vectors, bits, err);
    return status == VDB_OK
               ? VDB_OK
               : vdb_err_wrap(err, status, "%s: \"%s\": %s%s", option, path,
                              options->bits_given ? "--bits" : "--metric ",
                              options->bits_given ? "" : vdb_metric_name((vdb_metric)options->metric));
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
static vdb_status agree_on_type(const struct vdb_knn_options *options, struct vdb_knn_input *input,
                                struct vdb_err *err)
{
    vdb_vectors_type d = input->dataset_type;
    vdb_vectors_type q = input->query_type;
    bool d_float = d == VDB_VECTORS_F32 || d == VDB_VECTORS_F16;
    bool q_float = q == VDB_VECTORS_F32 || q == VDB_VECTORS_F16;
    bool bits = d == VDB_VECTORS_BIT || q == VDB_VECTORS_BIT;
    if (d != q && (bits || (!d_float && !q_float))) {
        return vdb_err_set(err, VDB_INVALID,
                           "%s holds %s and --dataset %s: they cannot be compared exactly; save both in one type",
                           options->query_option, vdb_vectors_type_name(q), vdb_vectors_type_name(d));
    }
    input->work_type = d_float || q_float ? VDB_VECTORS_F32 : d;
    bool known = vdb_vectors_type_element(input->work_type, &input->element);
    if (!known || !vdb_metric_fits(input->element, (vdb_metric)options->metric)) {
        return vdb_err_set(
            err, VDB_INVALID,
            "--metric %s does not compare vectors of %s: hamming and jaccard compare bits, the others "
            "numbers",
            vdb_metric_name((vdb_metric)options->metric), vdb_vectors_type_name(input->work_type));
    }
    return VDB_OK;
}

vdb_status vdb_knn_input_prepare(const struct vdb_knn_options *options, const struct vdb_knn_input *input,
                                 struct vdb_vectors *block, struct vdb_err *err)
{
    VDB_TRY(take_bits(options, "--dataset", options->dataset_path, block, err));
    VDB_TRY(check_values("--dataset", options->dataset_path, block, options->metric, err));
    return input->work_type == VDB_VECTORS_F32 ? vdb_vectors_to_f32(block, err) : VDB_OK;
}

/* What bits are taken of is a bit; the rest is what the file says. */
static const char *name_of(vdb_vectors_type type, const struct vdb_vector_stream *stream)
{
    return type == stream->type ? stream->type_name : vdb_vectors_type_name(type);
}

/* The values of the query file, as they are. */
static vdb_status read_query(struct vdb_env *env, const struct vdb_knn_options *options,
                             struct vdb_knn_input *input, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_vectors end = {0};
    struct vdb_vector_stream stream;
    status = vdb_vector_stream_open(&stream, env, options->query_from, NULL, err);
    if (status != VDB_OK) {
        return vdb_err_wrap(err, status, "%s", options->query_option);
    }
    VDB_CHECK(refuse_empty(options->query_option, options->query_from, stream.count, stream.type, err));
    status = vdb_vector_stream_next(&stream, stream.count, &input->query, err);
    if (status == VDB_OK) {
        status = vdb_vector_stream_next(&stream, 1, &end, err);
    }
    if (status != VDB_OK) {
        status = vdb_err_wrap(err, status, "%s", options->query_option);
        goto cleanup;
    }
    VDB_CHECK(take_bits(options, options->query_option, options->query_from, &input->query, err));
    input->query_type = input->query.type;
    input->query_type_name = name_of(input->query_type, &stream);
    input->query_load_bytes = stream.reader_bytes;

cleanup:
    vdb_vector_stream_close(&stream);
    return status;
}

static vdb_status load_query(struct vdb_env *env, const struct vdb_knn_options *options,
                             struct vdb_knn_input *input, struct vdb_err *err)
{
    VDB_TRY(read_query(env, options, input, err));
    if (input->query.dimension != input->dimension) {
        return vdb_err_set(err, VDB_INVALID, "%s: dimension is %zu, --dataset has %zu: they must be equal",
                           options->query_option, input->query.dimension, input->dimension);
    }
    if (options->row_given && options->row >= input->query.count) {
        return vdb_err_set(err, VDB_INVALID, "--row is %" PRIu64 ", \"%s\" has rows 0 to %zu", options->row,
                           options->query_from, input->query.count - 1);
    }
    VDB_TRY(check_values(options->query_option, options->query_from, &input->query, options->metric, err));
    VDB_TRY(agree_on_type(options, input, err));
    return input->work_type == VDB_VECTORS_F32 ? vdb_vectors_to_f32(&input->query, err) : VDB_OK;
}

/* Opens the dataset; what it holds, without its values. */
static vdb_status open_dataset(struct vdb_env *env, const struct vdb_knn_options *options,
                               struct vdb_knn_input *input, struct vdb_err *err)
{
    struct vdb_vector_stream *stream = &input->stream;
    vdb_status status = vdb_vector_stream_open(stream, env, options->dataset_path, NULL, err);
    if (status != VDB_OK) {
        return vdb_err_wrap(err, status, "--dataset");
    }
    input->stream_open = true;
    input->count = stream->count;
    VDB_TRY(refuse_empty("--dataset", options->dataset_path, stream->count, stream->type, err));
    struct vdb_vectors shape = {.type = stream->type, .dimension = stream->dimension};
    VDB_TRY(take_bits(options, "--dataset", options->dataset_path, &shape, err));
    input->dataset_type = shape.type;
    input->dataset_type_name = name_of(shape.type, stream);
    input->dimension = shape.dimension;
    return VDB_OK;
}

vdb_status vdb_knn_input_plan(const struct vdb_knn_options *options, struct vdb_knn_input *input,
                              const struct vdb_exact *exact, struct vdb_err *err)
{
    struct vdb_exact_stats stats;
    vdb_exact_get_stats(exact, &stats);
    size_t k = options->k < input->count ? (size_t)options->k : input->count;
    /* Every slice of the work keeps a list of its own, and a list that grows is copied. */
    size_t hits = options->range_text != NULL ? 0 : k * (stats.slice_count + 1) * sizeof(struct vdb_candidate);
    size_t work_bytes = vdb_vector_bytes(input->element, input->dimension);
    /* An estimate, held against the processes' peaks by test_a_limit_holds. */
    uint64_t per_query = (uint64_t)work_bytes * QUERY_COPIES + hits + stats.slice_count * LIST_BYTES +
                         (options->out_path != NULL ? k * OUT_HIT_BYTES : 0);
    uint64_t per_row = vdb_vectors_type_row_bytes(input->dataset_type, input->dimension) + ROW_NUMBERS_BYTES +
                       (input->dataset_type != input->work_type ? work_bytes : 0);
    size_t rows_min = input->count < BLOCK_ROWS_MIN ? input->count : BLOCK_ROWS_MIN;
    uint64_t loaded = PROGRAM_BYTES + input->stream.reader_bytes + (uint64_t)work_bytes * input->query.count;
    uint64_t fixed = loaded + per_query * stats.query_count;
    uint64_t smallest = fixed + per_row * rows_min;
    if (smallest < loaded + input->query_load_bytes) { /* both readers were there when the queries were read */
        smallest = loaded + input->query_load_bytes;
    }
    if (options->memory_bytes_max < smallest) {
        return vdb_err_set(err, VDB_INVALID,
                           "--memory-limit is %" PRIu64
                           " bytes; the smallest that works for these queries is %" PRIu64,
                           options->memory_bytes_max, smallest);
    }
    uint64_t rows = (options->memory_bytes_max - fixed) / per_row;
    input->block_rows = rows < input->count ? (size_t)rows : input->count;
    return VDB_OK;
}

static vdb_status load_dataset(const struct vdb_knn_options *options, struct vdb_knn_input *input,
                               struct vdb_err *err)
{
    struct vdb_vectors end = {0};
    vdb_status status = vdb_vector_stream_next(&input->stream, input->count, &input->dataset, err);
    if (status == VDB_OK) {
        status = vdb_vector_stream_next(&input->stream, 1, &end, err);
    }
    if (status != VDB_OK) {
        return vdb_err_wrap(err, status, "--dataset");
    }
    vdb_vector_stream_close(&input->stream);
    input->stream_open = false;
    return vdb_knn_input_prepare(options, input, &input->dataset, err);
}

vdb_status vdb_knn_input_load(struct vdb_env *env, const struct vdb_knn_options *options,
                              struct vdb_knn_input *out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    *out = (struct vdb_knn_input){0};
    uint64_t start = vdb_now_ns();
    VDB_CHECK(open_dataset(env, options, out, err));
    VDB_CHECK(load_query(env, options, out, err));
    out->streamed = options->memory_text != NULL;
    if (!out->streamed) {
        VDB_CHECK(load_dataset(options, out, err));
    }
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
    if (input->stream_open) {
        vdb_vector_stream_close(&input->stream);
        input->stream_open = false;
    }
}
