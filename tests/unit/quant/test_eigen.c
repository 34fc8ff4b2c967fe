/* test_eigen.c: eigenvalues and eigenvectors against what defines them, and against known ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "distance/cpu.h"
#include "quant/eigen.h"
#include "quant/eigen_kernels.h"

enum { SEED = 21 };

struct problem {
    size_t n;
    double *matrix, *copy, *values, *vectors;
};

static struct problem problem_create(size_t n)
{
    struct problem p = {n, calloc(n * n, sizeof(double)), calloc(n * n, sizeof(double)),
                        calloc(n, sizeof(double)), calloc(n * n, sizeof(double))};
    assert_true(p.matrix != NULL && p.copy != NULL && p.values != NULL && p.vectors != NULL);
    return p;
}

static void problem_destroy(struct problem *p)
{
    free(p->matrix);
    free(p->copy);
    free(p->values);
    free(p->vectors);
}

/* Solves and checks: order, orthonormal rows, A v = value v, signs. */
static void solve(struct problem *p)
{
    const size_t n = p->n;
    double most = 0;
    for (size_t i = 0; i < n * n; i++) {
        most = fmax(most, fabs(p->matrix[i]));
    }
    const double bound = (double)(n + 4) * 0x1p-50;
    memcpy(p->copy, p->matrix, n * n * sizeof(double));
    assert_int_equal(vdb_eigen_symmetric(p->copy, n, p->values, p->vectors, NULL), VDB_OK);
    for (size_t i = 0; i < n; i++) {
        const double *v = p->vectors + i * n;
        assert_true(i == 0 || p->values[i] <= p->values[i - 1]);
        for (size_t j = 0; j <= i; j++) {
            double sum = i == j ? -1 : 0;
            for (size_t k = 0; k < n; k++) {
                sum += v[k] * p->vectors[j * n + k];
            }
            assert_true(fabs(sum) <= bound);
        }
        double top = 0;
        for (size_t row = 0; row < n; row++) {
            double sum = -p->values[i] * v[row];
            for (size_t k = 0; k < n; k++) {
                sum += p->matrix[row * n + k] * v[k];
            }
            assert_true(fabs(sum) <= bound * most);
            top = fabs(v[row]) > fabs(top) ? v[row] : top;
        }
        assert_true(top > 0);
    }
}

static void test_random_matrices(void **state)
{
    (void)state;
    struct vdb_rng rng;
    print_message("seed %d\n", SEED);
    vdb_rng_init(&rng, SEED);
    const size_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 16, 33, 64, 100, 150, 200};
    const double magnitudes[] = {1, 1e-200, 1e200};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (size_t m = 0; m < 3; m++) {
            struct problem p = problem_create(sizes[s]);
            for (size_t i = 0; i < p.n; i++) {
                for (size_t j = 0; j <= i; j++) {
                    p.matrix[i * p.n + j] = p.matrix[j * p.n + i] = magnitudes[m] * (double)vdb_rng_normal(&rng);
                }
            }
            solve(&p);
            problem_destroy(&p);
        }
    }
}

/* The second difference's values are known: 2 - 2 cos(k pi / (n + 1)). */
static void test_known_values(void **state)
{
    (void)state;
    struct problem p = problem_create(90);
    for (size_t i = 0; i < p.n; i++) {
        p.matrix[i * p.n + i] = 2;
        if (i + 1 < p.n) {
            p.matrix[i * p.n + i + 1] = p.matrix[(i + 1) * p.n + i] = -1;
        }
    }
    solve(&p);
    for (size_t k = 0; k < p.n; k++) {
        double known = 2 - 2 * cos((double)(p.n - k) * M_PI / (double)(p.n + 1));
        assert_true(fabs(p.values[k] - known) < 1e-12);
    }
    problem_destroy(&p);
}

/* Zero, the identity, one outer product, equal values: much is 0 and vectors are not unique. */
static void test_degenerate_matrices(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 5; kind++) {
        struct problem p = problem_create(40);
        for (size_t i = 0; i < p.n; i++) {
            for (size_t j = 0; j < p.n; j++) {
                double value = 0;
                value = kind == 1 ? (i == j) : value;
                value = kind == 2 ? (double)(i + 1) * (double)(j + 1) : value;
                value = kind == 3 ? (i % 2 == j % 2) : value;
                value = kind == 4 ? (double)(i == j) * (double)(i % 3) : value;
                p.matrix[i * p.n + j] = value;
            }
        }
        solve(&p);
        if (kind == 2) {
            assert_true(fabs(p.values[0] - 40 * 41 * 81 / 6.0) < 1e-8 && fabs(p.values[1]) < 1e-8);
        }
        problem_destroy(&p);
    }
}

static void test_what_is_not_finite_is_refused(void **state)
{
    (void)state;
    double matrix[4] = {1, 2, (double)NAN, 1};
    double values[2];
    double vectors[4];
    struct vdb_err err;
    assert_int_equal(vdb_eigen_symmetric(matrix, 2, values, vectors, &err), VDB_INVALID);
    assert_string_equal(err.text, "matrix: element 0 of row 1 is not finite");
}

/* Every level's kernels, to the last bit. */
static void test_levels_are_equal(void **state)
{
    (void)state;
    enum { ROWS = 12, COLUMNS = 100 };
    struct vdb_rng rng;
    vdb_rng_init(&rng, SEED);
    double x[ROWS * COLUMNS];
    struct vdb_eigen_rotation rotations[ROWS - 1];
    struct vdb_eigen_kernels scalar;
    vdb_eigen_kernels_fill(&scalar, VDB_CPU_SCALAR);
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        x[i] = (double)vdb_rng_normal(&rng);
    }
    for (size_t i = 0; i < ROWS - 1; i++) {
        rotations[i] = (struct vdb_eigen_rotation){cos((double)i), sin((double)i)};
    }
    for (unsigned level = 1; level < VDB_CPU_LEVEL_COUNT; level++) {
        if (!vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
            continue;
        }
        struct vdb_eigen_kernels table;
        vdb_eigen_kernels_fill(&table, (vdb_cpu_level)level);
        for (size_t n = 1; n < COLUMNS; n++) {
            double a[ROWS * COLUMNS];
            double b[ROWS * COLUMNS];
            double sums[4];
            memcpy(a, x, sizeof a);
            memcpy(b, x, sizeof b);
            sums[0] = scalar.dot(x, x + COLUMNS, n);
            sums[1] = table.dot(x, x + COLUMNS, n);
            scalar.add(a, 0.3, x + COLUMNS, n);
            table.add(b, 0.3, x + COLUMNS, n);
            sums[2] = scalar.update(a, 0.1, x + COLUMNS, -3, x + 2 * COLUMNS, x + 3 * COLUMNS, n);
            sums[3] = table.update(b, 0.1, x + COLUMNS, -3, x + 2 * COLUMNS, x + 3 * COLUMNS, n);
            size_t columns = n < VDB_EIGEN_COLUMNS ? n : VDB_EIGEN_COLUMNS;
            scalar.sweep(a + 1, COLUMNS, columns, ROWS - 1, rotations, n % ROWS);
            table.sweep(b + 1, COLUMNS, columns, ROWS - 1, rotations, n % ROWS);
            assert_memory_equal(&sums[0], &sums[1], sizeof sums[0]);
            assert_memory_equal(&sums[2], &sums[3], sizeof sums[0]);
            assert_memory_equal(a, b, sizeof a);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_matrices),
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_degenerate_matrices),
        cmocka_unit_test(test_levels_are_equal),
        cmocka_unit_test(test_what_is_not_finite_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
