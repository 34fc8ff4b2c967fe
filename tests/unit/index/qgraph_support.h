/* qgraph_support.h: clustered data, graphs over it, their recall. */
#ifndef VDB_TESTS_QGRAPH_SUPPORT_H
#define VDB_TESTS_QGRAPH_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/rng.h"
#include "index/qgraph.h"

enum { K = 10, QUERIES = 60, STAMP = 7 };

/* Clustered data: `centres` Gaussian balls in `dimension` dimensions; the last QUERIES vectors are queries. */
struct data {
    void *memory;
    const void *array;
    struct vdb_rows rows;
    const char *queries;
    size_t bytes;
};

static inline void set_value(void *memory, size_t i, vdb_element element, float value)
{
    if (element == VDB_ELEMENT_U8) {
        float clipped = value * 20 + 128;
        ((uint8_t *)memory)[i] = (uint8_t)(clipped < 0 ? 0 : clipped > 255 ? 255 : clipped);
    } else if (element == VDB_ELEMENT_I8) {
        float clipped = value * 20;
        ((int8_t *)memory)[i] = (int8_t)(clipped < -128 ? -128 : clipped > 127 ? 127 : clipped);
    } else {
        ((float *)memory)[i] = value;
    }
}

static inline void make(struct data *data, size_t count, size_t dimension, vdb_element element, vdb_metric metric,
                        size_t centres, uint64_t seed)
{
    struct vdb_rng rng;
    vdb_rng_init(&rng, seed);
    data->bytes = vdb_vector_bytes(element, dimension);
    data->memory = calloc(count + QUERIES, data->bytes);
    float *middle = calloc(centres * dimension, sizeof *middle);
    assert_true(data->memory != NULL && middle != NULL);
    for (size_t i = 0; i < centres * dimension; i++) {
        middle[i] = vdb_rng_normal(&rng) * 1.5F;
    }
    for (size_t i = 0; i < count + QUERIES; i++) {
        const float *from = middle + vdb_rng_below(&rng, centres) * dimension;
        for (size_t j = 0; j < dimension; j++) {
            set_value(data->memory, i * dimension + j, element, from[j] + vdb_rng_normal(&rng));
        }
    }
    free(middle);
    data->array = data->memory;
    data->rows = vdb_rows_of_array(&data->array, count, dimension, element, metric);
    data->queries = (const char *)data->memory + count * data->bytes;
}

static inline struct vdb_qgraph *build(const struct data *data, const struct vdb_index_settings *settings)
{
    struct vdb_qgraph *graph = NULL;
    struct vdb_err err = {0};
    if (vdb_qgraph_build(&data->rows, settings, &graph, &err) != VDB_OK) {
        fail_msg("build: %s", err.text);
    }
    if (vdb_qgraph_check(graph, &data->rows, &err) != VDB_OK) {
        fail_msg("check: %s", err.text);
    }
    return graph;
}

static inline size_t search(const struct vdb_index_ops *ops, const void *index, const struct data *data,
                            const void *vector, const struct vdb_bitset *allow, size_t ef, size_t k,
                            struct vdb_candidate *out)
{
    struct vdb_err err = {0};
    struct vdb_query query = {.vector = vector, .allow = allow, .ef = ef};
    struct vdb_topk topk;
    vdb_topk_init(&topk, out, k);
    assert_int_equal(ops->search(index, &data->rows, &query, &topk, &err), VDB_OK);
    vdb_topk_finish(&topk);
    return topk.count;
}

/* Part of the true K nearest that the graph returns; ties at the end count as right. */
static inline double recall_of(const struct vdb_qgraph *graph, const struct data *data,
                               const struct vdb_bitset *allow, size_t ef)
{
    size_t hits = 0;
    size_t wanted = 0;
    for (size_t q = 0; q < QUERIES; q++) {
        struct vdb_candidate truth[K];
        struct vdb_candidate found[K];
        const void *vector = data->queries + q * data->bytes;
        size_t true_count = search(&vdb_index_flat, NULL, data, vector, allow, 0, K, truth);
        size_t count = search(&vdb_index_qgraph, graph, data, vector, allow, ef, K, found);
        assert_true(count <= true_count);
        for (size_t i = 0; i < count; i++) {
            assert_true(allow == NULL || vdb_bitset_test(allow, found[i].row));
            const double last = truth[true_count - 1].distance;
            hits += found[i].distance <= last + fabs(last) * 1e-5 + 1e-9;
            for (size_t j = 0; j < i; j++) {
                assert_int_not_equal(found[i].row, found[j].row);
            }
        }
        wanted += true_count;
    }
    return wanted == 0 ? 1 : (double)hits / (double)wanted;
}

static inline vdb_status append_bytes(void *ctx, const void *data, size_t bytes, struct vdb_err *err)
{
    (void)err;
    vdb_buf_put(ctx, data, bytes);
    return VDB_OK;
}

static inline void save(const struct vdb_qgraph *graph, struct vdb_buf *out)
{
    struct vdb_err err = {0};
    *out = (struct vdb_buf){0};
    assert_int_equal(vdb_qgraph_save(graph, STAMP, append_bytes, out, &err), VDB_OK);
    assert_false(out->failed);
}

#endif
