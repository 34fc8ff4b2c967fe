/* recall_support.h: parts of real data sets, and clusters drawn at random, as rows of any element but bits. */
#ifndef VDB_TESTS_RECALL_SUPPORT_H
#define VDB_TESTS_RECALL_SUPPORT_H

#include "support.h"

#include <math.h>
#include <stdlib.h>

#include "base/convert.h"
#include "base/rng.h"
#include "index/index.h"
#include "npy_support.h"

struct sample {
    char *memory;
    const void *array;
    struct vdb_rows rows;
    const char *queries; /* query_count vectors of the same element */
    size_t query_count;
};

/* A value of a file's type: u8, i8, f16 or f32. */
static inline float value_at(const struct matrix *matrix, const char *type, size_t i)
{
    float value;
    if (strcmp(type, "<f4") == 0) {
        memcpy(&value, matrix->data + i * sizeof value, sizeof value);
    } else if (strcmp(type, "<f2") == 0) {
        vdb_convert_widen(VDB_ELEMENT_F16, matrix->data + i * 2, 1, &value);
    } else if (strcmp(type, "|i1") == 0) {
        value = (float)((const int8_t *)matrix->data)[i];
    } else {
        value = (float)((const uint8_t *)matrix->data)[i];
    }
    return value;
}

/* Up to `count` rows, evenly from the whole file. */
static inline float *take_floats(const struct matrix *matrix, const char *type, size_t *count)
{
    const size_t rows = *count < matrix->rows ? *count : matrix->rows;
    float *out = malloc(rows * matrix->columns * sizeof *out);
    assert_non_null(out);
    for (size_t row = 0; row < rows; row++) {
        const size_t from = row * matrix->rows / rows;
        for (size_t i = 0; i < matrix->columns; i++) {
            out[row * matrix->columns + i] = value_at(matrix, type, from * matrix->columns + i);
        }
    }
    *count = rows;
    return out;
}

static inline void narrow(vdb_element element, const float *in, size_t count, void *out)
{
    for (size_t i = 0; i < count && element == VDB_ELEMENT_BF16; i++) {
        uint32_t bits;
        memcpy(&bits, &in[i], sizeof bits);
        ((uint16_t *)out)[i] = (uint16_t)(bits >> 16);
    }
    if (element != VDB_ELEMENT_BF16) {
        vdb_convert_narrow(element, in, count, out);
    }
}

/* Floats as whole numbers in the element's range, unless they are. */
static inline void quantise(vdb_element element, float *rows, size_t count, float *queries, size_t query_count)
{
    float least = INFINITY;
    float greatest = -INFINITY;
    if (element != VDB_ELEMENT_U8 && element != VDB_ELEMENT_I8) {
        return;
    }
    if (vdb_convert_is_exact(element, rows, count) && vdb_convert_is_exact(element, queries, query_count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        least = fminf(least, rows[i]);
        greatest = fmaxf(greatest, rows[i]);
    }
    const float end = fmaxf(fabsf(least), fabsf(greatest));
    for (size_t i = 0; i < count + query_count; i++) {
        float *value = i < count ? &rows[i] : &queries[i - count];
        *value = element == VDB_ELEMENT_U8 ? roundf((*value - least) / (greatest - least) * 255)
                                           : roundf(*value / end * 127);
    }
}

/* Takes ownership of both arrays. */
static inline void sample_fill(struct sample *sample, float *rows, size_t count, float *queries,
                               size_t query_count, size_t dimension, vdb_element element, vdb_metric metric)
{
    const size_t bytes = vdb_vector_bytes(element, dimension);
    quantise(element, rows, count * dimension, queries, query_count * dimension);
    sample->memory = malloc((count + query_count) * bytes);
    assert_non_null(sample->memory);
    sample->queries = sample->memory + count * bytes;
    sample->query_count = query_count;
    narrow(element, rows, count * dimension, sample->memory);
    narrow(element, queries, query_count * dimension, sample->memory + count * bytes);
    sample->array = sample->memory;
    sample->rows = vdb_rows_of_array(&sample->array, count, dimension, element, metric);
    free(rows);
    free(queries);
}

/* "clusters-DIMENSION": rows / 50 balls of equal size. */
static inline void sample_draw(struct sample *sample, size_t dimension, size_t rows, size_t queries,
                               vdb_element element, vdb_metric metric)
{
    struct vdb_rng rng;
    vdb_rng_init(&rng, 11 + dimension);
    const size_t centres = rows / 50 + 1;
    float *memory = malloc((centres + rows + queries) * dimension * sizeof *memory);
    float *query_memory = malloc(queries * dimension * sizeof *query_memory);
    float *row_memory = malloc(rows * dimension * sizeof *row_memory);
    assert_true(memory != NULL && query_memory != NULL && row_memory != NULL);
    for (size_t i = 0; i < centres * dimension; i++) {
        memory[i] = vdb_rng_normal(&rng);
    }
    for (size_t i = 0; i < rows + queries; i++) {
        const float *centre = memory + vdb_rng_below(&rng, centres) * dimension;
        float *out = i < rows ? row_memory + i * dimension : query_memory + (i - rows) * dimension;
        for (size_t j = 0; j < dimension; j++) {
            out[j] = centre[j] + 0.6F * vdb_rng_normal(&rng);
        }
    }
    free(memory);
    sample_fill(sample, row_memory, rows, query_memory, queries, dimension, element, metric);
}

/* False when the set is not in VECDB_DATA. */
static inline bool sample_load(struct sample *sample, const char *set, size_t rows, size_t queries,
                               vdb_element element, vdb_metric metric)
{
    static const struct {
        const char *set;
        const char *type;
    } types[] = {{"fashion-mnist-784", "|u1"}, {"sift-castle-128", "|u1"}, {"beir-bge-768", "<f4"},
                 {"movielens-16", "<f4"},      {"wiki-movies-384", "<f2"}, {"cohere-int8-900", "|i1"}};
    struct matrix base;
    struct matrix query_matrix;
    size_t dimension = 0;
    if (sscanf(set, "clusters-%zu", &dimension) == 1) {
        sample_draw(sample, dimension, rows, queries, element, metric);
        return true;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].set, set) != 0) {
            continue;
        }
        if (getenv("VECDB_DATA") == NULL || !matrix_read(set, "base", types[i].type, &base)) {
            return false;
        }
        assert_true(matrix_read(set, "queries", types[i].type, &query_matrix));
        dimension = base.columns;
        float *row_floats = take_floats(&base, types[i].type, &rows);
        float *query_floats = take_floats(&query_matrix, types[i].type, &queries);
        free(base.bytes);
        free(query_matrix.bytes);
        sample_fill(sample, row_floats, rows, query_floats, queries, dimension, element, metric);
        return true;
    }
    fail_msg("no set is known by the name \"%s\"", set);
    return false;
}

static inline void sample_fini(struct sample *sample)
{
    free(sample->memory);
}

#endif
