/* element.h: what a vector is made of, and how two are compared: pinned numbers (they are on disk) and names.
 *
 * Inside, every metric is a distance: smaller is better. What users see (docs/api.md, "Scores") is made at the
 * edge by vdb_metric_score.
 *
 *     metric   inside                 users see
 *     l2       sum (a-b)^2            its square root
 *     cosine   1 - cos(a, b)          the same
 *     dot      -sum a*b               the product, higher is better
 *     l1       sum |a-b|              the same
 *     hamming  bits that differ       the same
 *     jaccard  1 - |a and b| / |a or b|, 0 of two empty sets; the same
 *
 * Vectors of bits are packed eight to a byte, the first dimension in the highest bit of byte 0 (as numpy.packbits
 * does). Where the dimension is no multiple of 8, the last byte's low bits are padding: writers leave them zero,
 * and no metric counts them.
 */
#ifndef VDB_BASE_ELEMENT_H
#define VDB_BASE_ELEMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "bytes.h"

typedef enum vdb_element {
    VDB_ELEMENT_F32 = 0,
    VDB_ELEMENT_U8 = 1,
    VDB_ELEMENT_I8 = 2,
    VDB_ELEMENT_F16 = 3,  /* IEEE 754 binary16 */
    VDB_ELEMENT_BF16 = 4, /* the upper half of an f32 */
    VDB_ELEMENT_BIT = 5,
    VDB_ELEMENT_COUNT = 6,
} vdb_element;

typedef enum vdb_metric {
    VDB_METRIC_L2 = 0,
    VDB_METRIC_COSINE = 1,
    VDB_METRIC_DOT = 2,
    VDB_METRIC_L1 = 3,
    VDB_METRIC_HAMMING = 4,
    VDB_METRIC_JACCARD = 5,
    VDB_METRIC_COUNT = 6,
} vdb_metric;

/* Bytes of one element; 0 for bits, of which eight share one: sizes of vectors come from vdb_vector_bytes. */
size_t vdb_element_bytes(vdb_element element);
/* Bytes of a vector of so many elements. */
size_t vdb_vector_bytes(vdb_element element, size_t dimension);
/* hamming and jaccard compare bits and nothing else; the other metrics compare all but bits. */
bool vdb_metric_fits(vdb_element element, vdb_metric metric);
const char *vdb_element_name(vdb_element element); /* "f32", "u8", "i8", "f16", "bf16", "bit" */
bool vdb_element_parse(struct vdb_str name, vdb_element *out);
/* Whether a collection may keep its vectors in it: f32, f16, u8, i8. */
bool vdb_element_is_kept(vdb_element element);
const char *vdb_metric_name(vdb_metric metric); /* "l2", "cosine", "dot", "l1", "hamming", "jaccard" */
bool vdb_metric_parse(struct vdb_str name, vdb_metric *out);

/* The score users see for an inside distance. */
double vdb_metric_score(vdb_metric metric, double distance);

#endif
