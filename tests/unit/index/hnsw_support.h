/* hnsw_support.h: rows of every element in clusters, and answers of a graph beside those of an exact scan. */
#ifndef VDB_TESTS_HNSW_SUPPORT_H
#define VDB_TESTS_HNSW_SUPPORT_H

#include "support.h"

#include <math.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "index/hnsw.h"

struct data {
    char *memory;
    const void *array;
    struct vdb_rows rows;
    struct vdb_rng rng;
    float *centres;
    size_t centre_count;
};

/* An f32 within the range of normal f16 numbers (or 0), rounded towards 0. */
static inline uint16_t half_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    int exponent = (int)(bits >> 23 & 0xFF) - 127 + 15;
    uint32_t sign = bits >> 16 & 0x8000;
    return (uint16_t)(exponent <= 0 ? sign : sign | (uint32_t)exponent << 10 | (bits >> 13 & 0x3FF));
}

/* One vector near a random centre. */
static inline void draw_vector(struct data *data, void *out)
{
    const struct vdb_rows *rows = &data->rows;
    const float *centre = data->centres + vdb_rng_below(&data->rng, data->centre_count) * rows->dimension;
    if (rows->element == VDB_ELEMENT_BIT) {
        memset(out, 0, vdb_vector_bytes(rows->element, rows->dimension));
    }
    for (size_t i = 0; i < rows->dimension; i++) {
        float value = centre[i] + 0.4f * vdb_rng_normal(&data->rng);
        float scaled = roundf(value * 30);
        uint32_t bits;
        uint16_t half;
        switch (rows->element) {
        case VDB_ELEMENT_U8:
            scaled += 128;
            ((uint8_t *)out)[i] = (uint8_t)(scaled < 0 ? 0 : scaled > 255 ? 255 : scaled);
            break;
        case VDB_ELEMENT_I8:
            ((int8_t *)out)[i] = (int8_t)(scaled < -128 ? -128 : scaled > 127 ? 127 : scaled);
            break;
        case VDB_ELEMENT_F16:
            half = half_of(value);
            memcpy((char *)out + i * sizeof half, &half, sizeof half);
            break;
        case VDB_ELEMENT_BF16:
            memcpy(&bits, &value, sizeof bits);
            half = (uint16_t)(bits >> 16);
            memcpy((char *)out + i * sizeof half, &half, sizeof half);
            break;
        case VDB_ELEMENT_BIT:
            ((uint8_t *)out)[i / 8] |= (uint8_t)(value > 0 ? 0x80u >> (i % 8) : 0);
            break;
        default:
            memcpy((char *)out + i * sizeof value, &value, sizeof value);
            break;
        }
    }
}

static inline void data_init(struct data *data, size_t count, size_t dimension, vdb_element element,
                             vdb_metric metric, uint64_t seed)
{
    size_t bytes = vdb_vector_bytes(element, dimension);
    data->memory = calloc(count > 0 ? count : 1, bytes);
    data->centre_count = 20;
    data->centres = calloc(data->centre_count * dimension, sizeof *data->centres);
    assert_true(data->memory != NULL && data->centres != NULL);
    data->array = data->memory;
    data->rows = vdb_rows_of_array(&data->array, count, dimension, element, metric);
    vdb_rng_init(&data->rng, seed);
    for (size_t i = 0; i < data->centre_count * dimension; i++) {
        data->centres[i] = vdb_rng_normal(&data->rng);
    }
    for (size_t i = 0; i < count; i++) {
        draw_vector(data, data->memory + i * bytes);
    }
}

static inline void data_fini(struct data *data)
{
    free(data->memory);
    free(data->centres);
}

static inline struct vdb_hnsw *build_with(const struct data *data, const struct vdb_hnsw_params *params,
                                          unsigned threads)
{
    struct vdb_hnsw *hnsw;
    struct vdb_err err = {0};
    const struct vdb_index_settings settings = {.threads = threads};
    assert_ok(vdb_hnsw_create(params, &data->rows, data->rows.count, &hnsw, &err), &err);
    assert_ok(vdb_hnsw_build(hnsw, &data->rows, &settings, &err), &err);
    assert_ok(vdb_hnsw_check(hnsw, &data->rows, &err), &err);
    return hnsw;
}

static inline size_t search_graph(const struct vdb_hnsw *hnsw, const struct vdb_rows *rows,
                                  const struct vdb_query *query, unsigned flags, size_t k,
                                  struct vdb_candidate *out)
{
    struct vdb_topk topk;
    struct vdb_err err = {0};
    vdb_topk_init(&topk, out, k);
    assert_ok(vdb_hnsw_search(hnsw, rows, query, flags, &topk, NULL, &err), &err);
    vdb_topk_finish(&topk);
    return topk.count;
}

/* The distance of the k-th nearest of the rows that are in and allowed; *wanted: how many there are, at most k.
 * */
static inline double exact_limit(const struct vdb_hnsw *hnsw, const struct vdb_rows *rows,
                                 const struct vdb_query *query, size_t k, size_t *wanted)
{
    struct vdb_candidate *memory = malloc(k * sizeof *memory);
    assert_non_null(memory);
    struct vdb_topk topk;
    vdb_topk_init(&topk, memory, k);
    vdb_distance_fn *one = vdb_kernels_get()->one[rows->element][rows->metric];
    for (size_t row = 0; row < rows->count; row++) {
        if ((query->allow == NULL || vdb_bitset_test(query->allow, row)) && vdb_hnsw_has(hnsw, (uint32_t)row)) {
            (void)vdb_topk_push(&topk, one(query->vector, vdb_rows_at(rows, row), rows->dimension),
                                (uint32_t)row);
        }
    }
    *wanted = topk.count;
    double limit = topk.count > 0 ? memory[0].distance : 0;
    free(memory);
    return limit;
}

/* Recall of `queries` drawn like the rows; every answer is looked over. */
static inline double recall_of(const struct vdb_hnsw *hnsw, struct data *data, const struct vdb_bitset *allow,
                               size_t queries, size_t k, size_t ef, unsigned flags)
{
    const struct vdb_rows *rows = &data->rows;
    struct vdb_candidate *answer = malloc(k * sizeof *answer);
    void *vector = calloc(1, vdb_vector_bytes(rows->element, rows->dimension));
    assert_true(answer != NULL && vector != NULL);
    vdb_distance_fn *one = vdb_kernels_get()->one[rows->element][rows->metric];
    size_t hits = 0;
    size_t all = 0;
    for (size_t q = 0; q < queries; q++) {
        draw_vector(data, vector);
        struct vdb_query query = {.vector = vector, .allow = allow, .ef = ef};
        size_t count = search_graph(hnsw, rows, &query, flags, k, answer);
        size_t wanted;
        double limit = exact_limit(hnsw, rows, &query, k, &wanted);
        assert_true(count <= wanted);
        for (size_t i = 0; i < count; i++) {
            uint32_t row = answer[i].row;
            assert_true(row < rows->count && vdb_hnsw_has(hnsw, row));
            assert_true(allow == NULL || vdb_bitset_test(allow, row));
            assert_true(answer[i].distance == one(vector, vdb_rows_at(rows, row), rows->dimension));
            for (size_t j = 0; j < i; j++) {
                assert_int_not_equal(answer[j].row, row);
            }
            hits += answer[i].distance <= limit;
        }
        all += wanted;
    }
    free(vector);
    free(answer);
    return all == 0 ? 1 : (double)hits / (double)all;
}

static inline vdb_status append_bytes(void *ctx, const void *data, size_t bytes, struct vdb_err *err)
{
    vdb_buf_put(ctx, data, bytes);
    return ((struct vdb_buf *)ctx)->failed ? vdb_err_no_memory(err, "a test") : VDB_OK;
}

#endif
