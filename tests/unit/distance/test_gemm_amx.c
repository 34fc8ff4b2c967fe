/* test_gemm_amx.c: the tile of x86/gemm_amx.c on emulated tile instructions, bit for bit against the one in plain C:
 * products, what passes, and that bytes past a row's codes count nothing. On a machine with AMX its own instructions
 * are held to the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "distance/gemm.h"

#if defined(__x86_64__) && defined(__linux__)

/* The file under test once more, under other names. */
#define vdb_gemm_amx         gemm_amx_emulated
#define vdb_gemm_amx_missing gemm_amx_emulated_missing
void gemm_amx_emulated(struct vdb_gemm *table);
const char *gemm_amx_emulated_missing(void);
#define VDB_GEMM_AMX_OPERATIONS "unit/distance/amx_emulated.h"
#include "distance/x86/gemm_amx.c" // NOLINT(bugprone-suspicious-include): the file under test
#undef vdb_gemm_amx
#undef vdb_gemm_amx_missing

enum { SEED = 17, ROWS = VDB_GEMM_ROWS, LANES = VDB_GEMM_LANES };

static struct vdb_rng rng;

static int8_t code(bool extreme)
{
    return (int8_t)(extreme ? (vdb_rng_below(&rng, 2) ? 127 : -128) : (int)vdb_rng_below(&rng, 256) - 128);
}

/* products: whether the kernel leaves them in out. */
static void check_tile(const struct vdb_gemm_kernel *kernel, size_t dimension, size_t queries, bool extreme,
                       bool products)
{
    struct vdb_gemm scalar;
    vdb_gemm_scalar(&scalar);
    int8_t *rows = vdb_alloc_aligned(dimension * ROWS + 64);
    int8_t *query = vdb_alloc_aligned(dimension * queries);
    void *panel = vdb_alloc_aligned(kernel->panel_bytes(dimension));
    void *plain_panel = vdb_alloc_aligned(scalar.low.panel_bytes(dimension));
    struct vdb_gemm_out *got = vdb_alloc_aligned(sizeof *got);
    struct vdb_gemm_out *want = vdb_alloc_aligned(sizeof *want);
    float(*lanes)[LANES] = vdb_alloc_aligned(4 * sizeof *lanes);
    float numbers[4][ROWS];
    int32_t correction[ROWS] = {0};
    assert_true(rows && query && panel && plain_panel && got && want && lanes);
    for (size_t i = 0; i < dimension * ROWS + 64; i++) {
        rows[i] = code(extreme);
        if (i < dimension * ROWS) {
            correction[i / dimension] -= 128 * rows[i];
        }
    }
    for (size_t i = 0; i < dimension * queries; i++) {
        query[i] = code(extreme);
    }
    for (size_t i = 0; i < 4; i++) {
        for (size_t r = 0; r < ROWS; r++) {
            numbers[i][r] = i == 1 ? 0.5f : (float)(1 + vdb_rng_below(&rng, 4)) / 4;
        }
        for (size_t l = 0; l < LANES; l++) {
            lanes[i][l] = i == 1 ? 0.25f : (float)vdb_rng_below(&rng, 8) * (i == 3 ? -64 : 1);
        }
    }
    numbers[3][3] = -INFINITY; /* all the rest have few bits: fused or not, the sums are the same */
    memset(panel, 0xA5, kernel->panel_bytes(dimension));
    kernel->pack(query, dimension, queries, dimension, 1, panel);
    scalar.low.pack(query, dimension, queries, dimension, 1, plain_panel);
    memset(got, 0xA5, sizeof *got);
    memset(want, 0x5A, sizeof *want);
    struct vdb_gemm_tile tile = {.panel = plain_panel,
                                 .rows = rows,
                                 .stride_bytes = dimension,
                                 .dimension = dimension,
                                 .norm = numbers[0],
                                 .scale = numbers[1],
                                 .residual = numbers[2],
                                 .bias = numbers[3],
                                 .correction = correction,
                                 .gain = lanes[0],
                                 .lane_scale = lanes[1],
                                 .lane_length = lanes[2],
                                 .limit = lanes[3]};
    (void)scalar.low.run(&tile, want);
    tile.panel = panel;
    const bool any = kernel->run(&tile, got);
    uint32_t seen = 0;
    for (size_t r = 0; r < ROWS; r++) {
        seen |= got->passed[r];
        for (size_t l = 0; l < queries; l++) {
            assert_int_equal(got->passed[r] >> l & 1, want->passed[r] >> l & 1);
            if (products) {
                assert_int_equal(got->dots.i32[r][l], want->dots.i32[r][l]);
            }
        }
    }
    assert_int_equal(any, seen != 0);
    free(rows);
    free(query);
    free(panel);
    free(plain_panel);
    free(got);
    free(want);
    free(lanes);
}

static void check_kernel(const struct vdb_gemm_kernel *kernel, bool products)
{
    for (size_t dimension = 16; dimension <= 400; dimension += 16) {
        check_tile(kernel, dimension, 1 + (size_t)vdb_rng_below(&rng, LANES), false, products);
        check_tile(kernel, dimension, LANES, true, products);
    }
    check_tile(kernel, 784, LANES, false, products);
    check_tile(kernel, 65536, 3, true, products);
}

static void test_emulated_tiles(void **state)
{
    struct vdb_gemm table = {0};
    (void)state;
    gemm_amx_emulated(&table);
    assert_string_equal(table.amx.name, "amx-int8");
    check_kernel(&table.amx, true);
    assert_int_equal(amx.configured, 0); /* released */
}

/* The comparison that guards the first use. */
static void test_the_self_check(void **state)
{
    (void)state;
    assert_true(passes_check());
}

/* VNNI, what AVX-512 has without it, AVX2 and, where there is one, the real AMX. */
static void test_every_low_kernel(void **state)
{
    (void)state;
    for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        struct vdb_gemm table;
        if (!vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
            continue;
        }
        vdb_gemm_fill(&table, (vdb_cpu_level)level, 0);
        assert_true(table.amx.run == NULL);
        check_kernel(&table.low, false);
        vdb_gemm_fill(&table, (vdb_cpu_level)level, vdb_cpu_detect_extensions());
        check_kernel(&table.low, false);
        assert_true(table.amx.run == NULL || vdb_gemm_amx_missing() == NULL);
        if (table.amx.run != NULL) {
            check_kernel(&table.amx, true);
        }
    }
    const char *why = vdb_gemm_amx_missing();
    assert_true(why == NULL || strlen(why) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_emulated_tiles),
        cmocka_unit_test(test_the_self_check),
        cmocka_unit_test(test_every_low_kernel),
    };
    vdb_rng_init(&rng, SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return 0;
}

#endif
