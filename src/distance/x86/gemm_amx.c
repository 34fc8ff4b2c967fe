/* gemm_amx.c: the low-precision tile by AMX: 64 codes of 12 rows against 64 codes of 32 queries in two instructions
 * (tdpbsud: signed rows, unsigned queries). The panel's layout, four codes of each query side by side, is the one
 * that the instruction wants, so panels are those of gemm_avx512vnni.c, padded to 64 codes.
 *
 * Tile registers: 0 and 1 hold the sums of queries 0-15 and 16-31, 2 the rows, 3 and 4 the queries. They are
 * configured anew for each tile and released after it: some other library of the process may use them on the same
 * thread, and registers in use make every context switch save 8 KiB.
 *
 * The tile operations are macros. VDB_GEMM_AMX_OPERATIONS names a header that replaces them, together with the
 * test of the products; tests/unit/distance/test_gemm_amx.c does so with an emulation, for machines without AMX.
 * Nothing else in this file needs more than the baseline, so the questions whether there is AMX stand here too.
 */
#include "distance/gemm.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(VDB_GEMM_AMX_OPERATIONS)
#include VDB_GEMM_AMX_OPERATIONS
#else
#include <immintrin.h>
#define TILE_CONFIGURE(config)             _tile_loadconfig(config)
#define TILE_RELEASE()                     _tile_release()
#define TILE_ZERO(tile)                    _tile_zero(tile)
#define TILE_LOAD(tile, from, stride)      _tile_loadd(tile, from, stride)
#define TILE_STORE(tile, to, stride)       _tile_stored(tile, to, stride)
#define TILE_MULTIPLY(sums, rows, queries) _tile_dpbsud(sums, rows, queries)
#define TEST_PRODUCTS(tile, out)           vdb_gemm_test_low_avx512(tile, out)
#endif

enum {
    TILE_CODES = 64,                          /* of a row or query, in one multiplication */
    GROUP_BYTES = VDB_GEMM_LANES * 4,         /* four codes of all queries of a panel */
    PANEL_STEP = TILE_CODES * VDB_GEMM_LANES, /* bytes of a panel that one multiplication takes */
    HALF_BYTES = GROUP_BYTES / 2,
    SUMS_STRIDE = VDB_GEMM_LANES * sizeof(int32_t),
    CHECK_CODES = 208, /* of the self-check: three multiplications and a part */
};

/* The memory form of LDTILECFG. */
struct tile_config {
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static const struct tile_config config = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64},
    .rows = {VDB_GEMM_ROWS, VDB_GEMM_ROWS, VDB_GEMM_ROWS, 16, 16},
};

static void multiply(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    const char *rows = tile->rows;
    const char *panel = tile->panel;
    TILE_CONFIGURE(&config);
    TILE_ZERO(0);
    TILE_ZERO(1);
    for (size_t i = 0; i < tile->dimension; i += TILE_CODES) {
        TILE_LOAD(2, rows + i, tile->stride_bytes);
        TILE_LOAD(3, panel, GROUP_BYTES);
        TILE_LOAD(4, panel + HALF_BYTES, GROUP_BYTES);
        TILE_MULTIPLY(0, 2, 3);
        TILE_MULTIPLY(1, 2, 4);
        panel += PANEL_STEP;
    }
    TILE_STORE(0, out->dots.i32[0], SUMS_STRIDE);
    TILE_STORE(1, out->dots.i32[0] + VDB_GEMM_LANES / 2, SUMS_STRIDE);
    TILE_RELEASE();
    for (size_t r = 0; r < VDB_GEMM_ROWS; r++) {
        for (size_t lane = 0; lane < VDB_GEMM_LANES; lane++) {
            out->dots.u32[r][lane] += (uint32_t)tile->correction[r];
        }
    }
}

static bool run_low(const struct vdb_gemm_tile *tile, struct vdb_gemm_out *out)
{
    multiply(tile, out);
    return TEST_PRODUCTS(tile, out);
}

static size_t panel_bytes(size_t dimension)
{
    return (dimension + TILE_CODES - 1) / TILE_CODES * PANEL_STEP;
}

/* The unsigned zeros past the dimension make whatever follows a row's codes count nothing. */
static void pack(const void *queries, size_t stride_bytes, size_t count, size_t dimension, float scale,
                 void *panel)
{
    memset(panel, 0, panel_bytes(dimension));
    vdb_gemm_pack_int8(queries, stride_bytes, count, dimension, scale, panel);
}

/* ---- Whether it can be used ---- */

enum {
    LEAF1_C_OSXSAVE = 27,
    LEAF7_D_AMX_TILE = 24,
    LEAF7_D_AMX_INT8 = 25,
    STATE_TILES = 3 << 17,       /* of XCR0: configuration and data */
    REQUEST_PERMISSION = 0x1023, /* arch_prctl: ARCH_REQ_XCOMP_PERM */
    FEATURE_TILE_DATA = 18,
};

static bool has_processor(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) {
        return false;
    }
    return (d >> LEAF7_D_AMX_TILE & 1) != 0 && (d >> LEAF7_D_AMX_INT8 & 1) != 0;
}

static bool has_system(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c >> LEAF1_C_OSXSAVE & 1) == 0) {
        return false;
    }
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (a & STATE_TILES) == STATE_TILES;
}

/* Compares a tile with the one in plain C, bit for bit. */
static bool passes_check(void)
{
    static _Alignas(64) int8_t codes[VDB_GEMM_ROWS + VDB_GEMM_LANES + 1][CHECK_CODES];
    static _Alignas(64) char amx_panel[(CHECK_CODES + TILE_CODES - 1) / TILE_CODES * PANEL_STEP];
    static _Alignas(64) char scalar_panel[CHECK_CODES * VDB_GEMM_LANES * 2];
    static const float zeros[VDB_GEMM_LANES];
    struct vdb_gemm_out got;
    struct vdb_gemm_out want;
    struct vdb_gemm scalar;
    int32_t correction[VDB_GEMM_ROWS] = {0};
    uint32_t state = 1;
    for (size_t v = 0; v < VDB_GEMM_ROWS + VDB_GEMM_LANES; v++) {
        for (size_t i = 0; i < CHECK_CODES; i++) {
            state = state * 1664525 + 1013904223;
            codes[v][i] = (int8_t)(state >> 24);
            correction[v % VDB_GEMM_ROWS] -= v < VDB_GEMM_ROWS ? 128 * codes[v][i] : 0;
        }
    }
    vdb_gemm_scalar(&scalar);
    const struct vdb_gemm_kernel *kernel = &scalar.kernels[VDB_ELEMENT_I8];
    const void *queries = codes[VDB_GEMM_ROWS];
    pack(queries, CHECK_CODES, VDB_GEMM_LANES, CHECK_CODES, 1, amx_panel);
    kernel->pack(queries, CHECK_CODES, VDB_GEMM_LANES, CHECK_CODES, 1, scalar_panel);
    struct vdb_gemm_tile tile = {.panel = amx_panel,
                                 .rows = codes,
                                 .stride_bytes = CHECK_CODES,
                                 .dimension = CHECK_CODES,
                                 .norm = zeros,
                                 .bias = zeros,
                                 .correction = correction,
                                 .gain = zeros,
                                 .limit = zeros};
    multiply(&tile, &got);
    tile.panel = scalar_panel;
    (void)kernel->run(&tile, &want);
    return memcmp(got.dots.i32, want.dots.i32, sizeof got.dots.i32) == 0;
}

static const char *missing;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_out(void)
{
    if (!has_processor()) {
        missing = "the processor has none";
    } else if (!has_system()) {
        missing = "the operating system does not keep its registers";
    } else if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, FEATURE_TILE_DATA) != 0) {
        missing = "the operating system refuses it to this process";
    } else if (!passes_check()) {
        missing = "its products failed the comparison with plain C";
    }
}

const char *vdb_gemm_amx_missing(void)
{
    pthread_once(&once, find_out);
    return missing;
}

void vdb_gemm_amx(struct vdb_gemm *table)
{
    table->amx = (struct vdb_gemm_kernel){run_low, panel_bytes, pack, "amx-int8"};
}

#else

const char *vdb_gemm_amx_missing(void)
{
    return "only x86-64 Linux has it";
}

#endif
