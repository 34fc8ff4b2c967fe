/* eigen.h: all eigenvalues and eigenvectors of a real symmetric matrix.
 *
 * Householder's reduction to a tridiagonal matrix, then implicit QL steps with Wilkinson's shift (Golub and Van Loan, *Matrix
 * Computations*, sections 8.3.1 and 8.3.3). In double; about 9 n^3 operations: n = 1,024 takes a few seconds.
 *
 * Threads: pure functions.
 */
#ifndef VDB_QUANT_EIGEN_H
#define VDB_QUANT_EIGEN_H

#include <stddef.h>

#include "base/err.h"

/* matrix: double[n][n], symmetric, finite; overwritten. values: n of them, greatest first. vectors: double[n][n], row i the unit
 * eigenvector of values[i], its component of the greatest magnitude positive. Rows are orthonormal to about n 2^-50, and
 * |A v - value v| is about n 2^-50 times the greatest element's magnitude or less. VDB_INVALID: an element is not finite. */
vdb_status vdb_eigen_symmetric(double *matrix, size_t n, double *values, double *vectors,
                               struct vdb_err *err) VDB_MUST_CHECK;

#endif
