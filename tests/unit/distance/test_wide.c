/* test_wide.c: dot_many of every level gives what the scalar one-to-one function gives, to the last bit, in exactly
 * `count` places, for packed and padded rows, near and far. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "distance/cpu.h"
#include "distance/wide.h"

enum { SEED = 11, ROWS_MAX = 37, DIMENSION_MAX = 1100, PADDING_MAX = 1000 };

static struct vdb_rng rng;

static void check(const char *rows, size_t stride, size_t dimension, const float *query)
{
    const double poison = 12345;
    struct vdb_wide scalar;
    vdb_wide_scalar(&scalar);
    for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        struct vdb_wide wide;
        if (!vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
            continue;
        }
        vdb_wide_fill(&wide, (vdb_cpu_level)level);
        for (size_t count = 0; count <= ROWS_MAX; count = count == 5 ? ROWS_MAX : count + 1) {
            double out[ROWS_MAX + 2];
            for (size_t i = 0; i < ROWS_MAX + 2; i++) {
                out[i] = poison;
            }
            /* The rows end where the memory ends: a sanitizer sees what is read beyond them. */
            size_t bytes = count == 0 ? 1 : (count - 1) * stride + dimension * sizeof(float);
            char *copy = malloc(bytes);
            assert_non_null(copy);
            memcpy(copy, rows, bytes);
            wide.dot_many(query, copy, stride, count, dimension, out + 1);
            for (size_t i = 0; i < count; i++) {
                double want = scalar.dot(query, (const void *)(copy + i * stride), dimension);
                if (memcmp(&out[i + 1], &want, sizeof want) != 0) {
                    fail_msg("level %u, dimension %zu, stride %zu, row %zu of %zu: %.17g, want %.17g (seed %d)",
                             level, dimension, stride, i, count, out[i + 1], want, SEED);
                }
            }
            assert_true(out[0] == poison && out[count + 1] == poison);
            free(copy);
        }
    }
}

static void test_dot_many_equals_dot(void **state)
{
    (void)state;
    const size_t memory_bytes = ROWS_MAX * (DIMENSION_MAX * sizeof(float) + PADDING_MAX);
    float *memory = malloc(memory_bytes);
    assert_non_null(memory);
    float query[DIMENSION_MAX];
    for (size_t i = 0; i < memory_bytes / sizeof *memory; i++) {
        memory[i] = vdb_rng_normal(&rng);
    }
    for (size_t i = 0; i < DIMENSION_MAX; i++) {
        query[i] = vdb_rng_normal(&rng);
    }
    for (size_t dimension = 1; dimension <= DIMENSION_MAX; dimension += dimension < 70 ? 1 : 103) {
        check((const char *)memory, dimension * sizeof(float), dimension, query);
        check((const char *)memory, dimension * sizeof(float) + 4, dimension, query);
        check((const char *)memory, dimension * sizeof(float) + PADDING_MAX, dimension, query);
    }
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dot_many_equals_dot),
    };
    vdb_rng_init(&rng, SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
