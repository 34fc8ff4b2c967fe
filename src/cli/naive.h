/* naive.h: the search that anybody would write first: a loop in double precision over every value, then a full
 * sort.
 *
 * It is what `vecdb knn` measures itself against and checks its answers with, so it shares no code with the
 * kernels. Distances are in the inside form of base/element.h. Threads: safe from all threads.
 */
#ifndef VDB_CLI_NAIVE_H
#define VDB_CLI_NAIVE_H

#include "index/index.h"

/* Distance of two vectors. *rounding (may be NULL) gets how far a kernel may be from it: integer sums are exact,
 * and the f32 kernels, which add up in f32, stay within (dimension + 16) * 2^-24 of the sum of the terms' sizes.
 */
double vdb_naive_distance(const void *a, const void *b, size_t dimension, vdb_element element, vdb_metric metric,
                          double *rounding);

/* out: rows->count candidates, sorted: nearest first, equal distances by row. */
void vdb_naive_search(const struct vdb_rows *rows, const void *query, struct vdb_candidate *out);

#endif
