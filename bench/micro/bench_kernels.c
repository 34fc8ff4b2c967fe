/* bench_kernels.c: every one-to-many kernel that this process would use, on one core, beside the machine's roofs.
 *
 * Three sets of rows: one that fits the first-level cache, one that fits the second, one that fits none. For each,
 * what loops that only read reach (bench/ann/read_loop.c); for the arithmetic, what loops of the kernels' own
 * instructions reach on registers alone (roofs.h). An operation is one multiply-add of two elements, or one counted
 * bit; README.md says how many a metric needs. All are run in turn, ROUNDS times, by processor time, and the median
 * is printed, so a busy machine slows all alike.
 *
 * Usage: bench_kernels [--json] [DIMENSION]     (default dimension 768; VECDB_CPU picks the level)
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/limits.h"
#include "base/mem.h"
#include "bench/ann/vecdb_bench.h"
#include "distance/cpu.h"
#include "roofs.h"

enum {
    ROUNDS = 21,
    KERNELS_MAX = VDB_ELEMENT_COUNT * VDB_METRIC_COUNT,
    BLOCK_BYTES = 1 << 20, /* of one call, at most; rows that are scanned come in calls of many */
    OUT_MAX = 4096,
    HUGE_PAGE_BYTES = 2 << 20,
    TURN_BYTES_MAX = 64 << 20,
};

/* Where rows lie, from near to far. */
static const struct place {
    const char *name;
    size_t bytes;
    unsigned passes; /* over all of it, for one time */
} places[] = {{"l1", 24 << 10, 256}, {"l2", 256 << 10, 32}, {"memory", 256 << 20, 1}};
enum { PLACES = 3, MEMORY = 2 };

struct measured {
    vdb_element element;
    vdb_metric metric;
    double seconds[PLACES][ROUNDS]; /* per byte */
    double rate[PLACES];            /* medians: bytes per second */
};

static volatile double sink;
static volatile uint64_t word_sink;

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double values[ROUNDS])
{
    qsort(values, ROUNDS, sizeof *values, compare);
    return values[ROUNDS / 2];
}

/* A part of the place's rows, another one for each turn: a whole pass over the memory's takes too long. */
static const char *part_of(const char *rows, const struct place *place, unsigned turn, size_t *bytes)
{
    size_t parts = place->bytes > TURN_BYTES_MAX ? place->bytes / TURN_BYTES_MAX : 1;
    *bytes = place->bytes / parts;
    return rows + turn % parts * *bytes;
}

/* Seconds per byte. The query is the part's first row. */
static double time_kernel(const struct measured *at, const char *rows, const struct place *place, unsigned turn,
                          size_t dimension)
{
    static double out[OUT_MAX];
    vdb_distance_many_fn *many = vdb_kernels_get()->many[at->element][at->metric];
    size_t row_bytes = vdb_vector_bytes(at->element, dimension);
    size_t bytes;
    const char *part = part_of(rows, place, turn, &bytes);
    size_t count = bytes / row_bytes;
    size_t block_max = BLOCK_BYTES / row_bytes;
    block_max = block_max < 1 ? 1 : block_max > OUT_MAX ? OUT_MAX : block_max;
    double start = roof_cpu_seconds();
    for (unsigned p = 0; p < place->passes; p++) {
        for (size_t i = 0; i < count; i += block_max) {
            size_t block = count - i < block_max ? count - i : block_max;
            many(part, part + i * row_bytes, row_bytes, block, dimension, out);
        }
        sink = out[0];
    }
    return (roof_cpu_seconds() - start) / ((double)place->passes * (double)(count * row_bytes));
}

static vdb_read_loop *widest(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        return vdb_read_loop_avx512;
    }
    if (__builtin_cpu_supports("avx2")) {
        return vdb_read_loop_avx2;
    }
#endif
    return vdb_read_loop_plain;
}

static double time_read(enum vecdb_bench_loop loop, const char *rows, const struct place *place, unsigned turn)
{
    vdb_read_loop *read = widest();
    size_t bytes;
    const char *part = part_of(rows, place, turn, &bytes);
    double start = roof_cpu_seconds();
    for (unsigned p = 0; p < place->passes; p++) {
        word_sink = read(loop, part, bytes);
    }
    return (roof_cpu_seconds() - start) / ((double)place->passes * (double)bytes);
}

/* Bytes that are moderate numbers in every type: halves and floats of small exponents. */
static void fill(char *rows, size_t bytes)
{
    uint32_t state = 1;
    for (size_t i = 0; i < bytes; i++) {
        state = state * 1664525u + 1013904223u;
        rows[i] = (char)(i % 2 == 0 ? state >> 24 : 0x30 + (state >> 31)); /* little-endian: the upper byte */
    }
}

/* Operations per byte of rows: README.md has the table. */
static double operations_per_byte(const struct measured *at)
{
    double elements = at->element == VDB_ELEMENT_BIT ? 8.0 : 1.0 / (double)vdb_element_bytes(at->element);
    return at->metric == VDB_METRIC_COSINE || at->metric == VDB_METRIC_JACCARD ? 2 * elements : elements;
}

/* The instruction that a kernel's file builds on. */
static enum roof roof_of(const struct measured *at)
{
    const char *from = vdb_kernels_get()->from[at->element][at->metric];
    const bool number = at->element != VDB_ELEMENT_BIT;
    const bool integer = at->element == VDB_ELEMENT_U8 || at->element == VDB_ELEMENT_I8;
    enum roof roof = ROOF_NONE;
    if (strcmp(from, "avx512vnni") == 0) {
        roof = ROOF_AVX512_VNNI;
    } else if (strcmp(from, "avx512bf16") == 0) {
        roof = ROOF_AVX512_BF16;
    } else if (strcmp(from, "avx512vpopcntdq") == 0) {
        roof = ROOF_AVX512_POPCNT;
    } else if (strcmp(from, "avx512") == 0) {
        roof = integer ? ROOF_AVX512_MADD : ROOF_AVX512_FMA;
    } else if (strcmp(from, "avx2") == 0) {
        roof = !number ? ROOF_AVX2_SHUFFLE : integer ? ROOF_AVX2_MADD : ROOF_AVX2_FMA;
    } else if (strcmp(from, "scalar") == 0 && number && !integer) {
        roof = ROOF_SSE_MULADD;
    }
    return roof_exists(roof) ? roof : ROOF_NONE;
}

struct machine {
    double reads[PLACES];     /* bytes per second of the best loop */
    double peaks[ROOF_COUNT]; /* operations per second; 0: not there */
};

static void print_json(const struct measured *measured, size_t count, const struct machine *machine,
                       size_t dimension)
{
    const struct vdb_kernels *kernels = vdb_kernels_get();
    printf("{\"level\":\"%s\",\"dimension\":%zu,\"rounds\":%d,\"read_gb_s\":{",
           vdb_cpu_level_name(kernels->level), dimension, ROUNDS);
    for (int p = 0; p < PLACES; p++) {
        printf("%s\"%s\":%.3f", p > 0 ? "," : "", places[p].name, machine->reads[p] * 1e-9);
    }
    printf("},\"peak_gop_s\":{");
    const char *comma = "";
    for (int r = 0; r < ROOF_COUNT; r++) {
        if (machine->peaks[r] > 0) {
            printf("%s\"%s\":%.3f", comma, roof_name((enum roof)r), machine->peaks[r] * 1e-9);
            comma = ",";
        }
    }
    printf("},\"kernels\":[");
    for (size_t i = 0; i < count; i++) {
        const struct measured *at = &measured[i];
        printf("%s{\"element\":\"%s\",\"metric\":\"%s\",\"kernel\":\"%s\"", i > 0 ? "," : "",
               vdb_element_name(at->element), vdb_metric_name(at->metric),
               kernels->from[at->element][at->metric]);
        for (int p = 0; p < PLACES; p++) {
            printf(",\"%s_gb_s\":%.3f,\"%s_of_read\":%.4f", places[p].name, at->rate[p] * 1e-9, places[p].name,
                   at->rate[p] / machine->reads[p]);
        }
        enum roof roof = roof_of(at);
        double operations = at->rate[0] * operations_per_byte(at);
        printf(",\"gop_s\":%.3f", operations * 1e-9);
        if (roof != ROOF_NONE) {
            printf(",\"roof\":\"%s\",\"of_peak\":%.4f", roof_name(roof), operations / machine->peaks[roof]);
        }
        printf("}");
    }
    printf("]}\n");
}

static void print_table(const struct measured *measured, size_t count, const struct machine *machine,
                        size_t dimension)
{
    const struct vdb_kernels *kernels = vdb_kernels_get();
    printf("level %s, dimension %zu, medians of %d interleaved rounds, one core\n\nread, GB/s:",
           vdb_cpu_level_name(kernels->level), dimension, ROUNDS);
    for (int p = 0; p < PLACES; p++) {
        printf("   %s %.1f", places[p].name, machine->reads[p] * 1e-9);
    }
    printf("\npeak, Gop/s:");
    for (int r = 0; r < ROOF_COUNT; r++) {
        if (machine->peaks[r] > 0) {
            printf("   %s %.0f", roof_name((enum roof)r), machine->peaks[r] * 1e-9);
        }
    }
    printf("\n\n%-8s %-8s %-16s %13s %8s %13s %8s %13s %8s %9s %8s  %s\n", "element", "metric", "kernel",
           "memory GB/s", "of read", "l2 GB/s", "of read", "l1 GB/s", "of read", "Gop/s", "of peak", "roof");
    for (size_t i = 0; i < count; i++) {
        const struct measured *at = &measured[i];
        printf("%-8s %-8s %-16s", vdb_element_name(at->element), vdb_metric_name(at->metric),
               kernels->from[at->element][at->metric]);
        for (int p = PLACES - 1; p >= 0; p--) {
            printf(" %13.1f %7.0f%%", at->rate[p] * 1e-9, 100 * at->rate[p] / machine->reads[p]);
        }
        enum roof roof = roof_of(at);
        double operations = at->rate[0] * operations_per_byte(at);
        if (roof == ROOF_NONE) {
            printf(" %9.1f %8s  -\n", operations * 1e-9, "-");
        } else {
            printf(" %9.1f %7.0f%%  %s\n", operations * 1e-9, 100 * operations / machine->peaks[roof],
                   roof_name(roof));
        }
    }
    printf("\nHow to read it: bench/micro/README.md.\n");
}

static void measure(struct measured *measured, size_t count, const char *rows, size_t dimension,
                    struct machine *machine)
{
    static double reads[PLACES][VECDB_BENCH_LOOP_COUNT][ROUNDS], peaks[ROOF_COUNT][ROUNDS];
    unsigned turn = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (int r = 0; r < ROOF_COUNT; r++) {
            peaks[r][round] = roof_exists((enum roof)r) ? roof_measure((enum roof)r) : 0;
        }
        for (int p = 0; p < PLACES; p++) {
            for (int loop = 0; loop < VECDB_BENCH_LOOP_COUNT; loop++) {
                reads[p][loop][round] = time_read((enum vecdb_bench_loop)loop, rows, &places[p], turn++);
            }
            for (size_t i = 0; i < count; i++) {
                measured[i].seconds[p][round] = time_kernel(&measured[i], rows, &places[p], turn++, dimension);
            }
        }
    }
    for (int r = 0; r < ROOF_COUNT; r++) {
        machine->peaks[r] = median(peaks[r]);
    }
    for (int p = 0; p < PLACES; p++) {
        machine->reads[p] = 0;
        for (int loop = 0; loop < VECDB_BENCH_LOOP_COUNT; loop++) {
            double rate = 1 / median(reads[p][loop]);
            machine->reads[p] = rate > machine->reads[p] ? rate : machine->reads[p];
        }
        for (size_t i = 0; i < count; i++) {
            measured[i].rate[p] = 1 / median(measured[i].seconds[p]);
        }
    }
}

int main(int argc, char **argv)
{
    static struct measured measured[KERNELS_MAX];
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    const char *text = argc > 1 + json ? argv[1 + json] : "768";
    char *end = NULL;
    unsigned long dimension = strtoul(text, &end, 10);
    const unsigned long dimension_max = (unsigned long)places[0].bytes / sizeof(float);
    if (*end != '\0' || argc > 2 + json || dimension < 1 || dimension > dimension_max) {
        fprintf(stderr, "usage: bench_kernels [--json] [DIMENSION]: \"%s\" is no dimension in 1..%lu\n", text,
                dimension_max);
        return 2;
    }
    struct vdb_err err = {0};
    if (vdb_cpu_check(&err) != VDB_OK) {
        fprintf(stderr, "bench_kernels: %s\n", err.text);
        return 2;
    }
    char *rows = aligned_alloc(HUGE_PAGE_BYTES, places[MEMORY].bytes);
    if (rows == NULL) {
        fprintf(stderr, "bench_kernels: no memory for %zu bytes\n", places[MEMORY].bytes);
        return 1;
    }
    (void)madvise(rows, places[MEMORY].bytes,
                  MADV_HUGEPAGE); /* kernels and read loops alike; without it, both lose */
    fill(rows, places[MEMORY].bytes);
    size_t count = 0;
    for (unsigned i = 0; i < KERNELS_MAX; i++) {
        vdb_element element = (vdb_element)(i / VDB_METRIC_COUNT);
        vdb_metric metric = (vdb_metric)(i % VDB_METRIC_COUNT);
        if (vdb_metric_fits(element, metric)) {
            measured[count++] = (struct measured){.element = element, .metric = metric};
        }
    }
    struct machine machine;
    measure(measured, count, rows, dimension, &machine);
    if (json) {
        print_json(measured, count, &machine, dimension);
    } else {
        print_table(measured, count, &machine, dimension);
    }
    free(rows);
    return 0;
}
