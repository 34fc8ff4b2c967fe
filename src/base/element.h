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
    VDB_ELEMENT_COUNT = 3,
} vdb_element;

typedef enum vdb_metric {
    VDB_METRIC_L2 = 0,
    VDB_METRIC_COSINE = 1,
    VDB_METRIC_DOT = 2,
    VDB_METRIC_L1 = 3,
    VDB_METRIC_COUNT = 4,
} vdb_metric;

size_t vdb_element_bytes(vdb_element element);
const char *vdb_element_name(vdb_element element); /* "f32", "u8", "i8" */
bool vdb_element_parse(struct vdb_str name, vdb_element *out);
const char *vdb_metric_name(vdb_metric metric); /* "l2", "cosine", "dot", "l1" */
bool vdb_metric_parse(struct vdb_str name, vdb_metric *out);

/* The score users see for an inside distance. */
double vdb_metric_score(vdb_metric metric, double distance);

#endif
