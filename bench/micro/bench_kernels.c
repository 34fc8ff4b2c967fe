/* bench_kernels.c: every one-to-many kernel that this process would use, on one core, beside the machine's roofs.
 *
 * Two sets of rows: one that fits the second-level cache (256 KiB) and one that does not fit any (256 MiB).
 * Beside them the roofs, measured in the same rounds: reading, the fastest pass over the large set by hamming or
 * by a plain sum, whatever reads faster; and peak, the fastest rate of elements that any kernel of the same
 * element reaches in the cache. An operation is one element of one row taken into a distance. All are run in
 * turn, ROUNDS times, and the median is printed, so a busy machine slows all alike.
 *
 * Usage: bench_kernels [--json] [DIMENSION]     (default dimension 768; VECDB_CPU picks the level)
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/timer.h"
#include "distance/cpu.h"

enum {
    ROUNDS = 5,
    BLOCK_ROWS = 256,
    CACHE_BYTES = 256 << 10,
    MEMORY_BYTES = 256 << 20,
    CACHE_PASSES = 64,
    KERNELS_MAX = VDB_ELEMENT_COUNT * VDB_METRIC_COUNT,
};

struct measured {
    vdb_element element;
    vdb_metric metric;
    double cache[ROUNDS]; /* seconds per byte */
    double memory[ROUNDS];
};

static volatile double sink;
static volatile uint64_t word_sink;

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Bytes per second, from the median. */
static double rate_of(double seconds_per_byte[ROUNDS])
{
    qsort(seconds_per_byte, ROUNDS, sizeof *seconds_per_byte, compare);
    return 1 / seconds_per_byte[ROUNDS / 2];
}

static double seconds_since(uint64_t start)
{
    return (double)(vdb_now_ns() - start) * 1e-9;
}

static double pass(const struct measured *at, const char *rows, size_t bytes, size_t dimension, unsigned passes)
{
    vdb_distance_many_fn *many = vdb_kernels_get()->many[at->element][at->metric];
    size_t row_bytes = vdb_vector_bytes(at->element, dimension);
    size_t count = bytes / row_bytes;
    double out[BLOCK_ROWS];
    uint64_t start = vdb_now_ns();
    for (unsigned p = 0; p < passes; p++) {
        for (size_t i = 0; i < count; i += BLOCK_ROWS) {
            size_t block = count - i < BLOCK_ROWS ? count - i : BLOCK_ROWS;
            many(rows, rows + i * row_bytes, row_bytes, block, dimension, out);
        }
        sink = out[0];
    }
    return seconds_since(start) / ((double)passes * (double)(count * row_bytes));
}

static double read_pass(const char *rows, size_t bytes)
{
    uint64_t sums[8] = {0};
    uint64_t start = vdb_now_ns();
    for (size_t i = 0; i + 64 <= bytes; i += 64) {
        uint64_t words[8];
        memcpy(words, rows + i, sizeof words);
        for (int j = 0; j < 8; j++) {
            sums[j] += words[j];
        }
    }
    for (int j = 0; j < 8; j++) {
        word_sink = sums[j];
    }
    return seconds_since(start) / (double)bytes;
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

static double elements_per_byte(vdb_element element)
{
    return element == VDB_ELEMENT_BIT ? 8.0 : 1.0 / (double)vdb_element_bytes(element);
}

static void print(struct measured *measured, size_t count, double read_rate, size_t dimension, bool json)
{
    double memory[KERNELS_MAX];
    double cache[KERNELS_MAX];
    double peak[VDB_ELEMENT_COUNT] = {0};
    for (size_t i = 0; i < count; i++) {
        memory[i] = rate_of(measured[i].memory);
        cache[i] = rate_of(measured[i].cache);
        read_rate = memory[i] > read_rate ? memory[i] : read_rate;
        double operations = cache[i] * elements_per_byte(measured[i].element);
        double *best = &peak[measured[i].element];
        *best = operations > *best ? operations : *best;
    }
    const struct vdb_kernels *kernels = vdb_kernels_get();
    if (json) {
        printf("{\"level\":\"%s\",\"dimension\":%zu,\"rounds\":%d,\"read_gb_s\":%.3f,\"kernels\":[",
               vdb_cpu_level_name(kernels->level), dimension, ROUNDS, read_rate * 1e-9);
    } else {
        printf("level %s, dimension %zu, medians of %d interleaved rounds, one core; reading: %.1f GB/s\n\n",
               vdb_cpu_level_name(kernels->level), dimension, ROUNDS, read_rate * 1e-9);
        printf("%-8s %-8s %-16s %12s %8s %12s %12s %8s\n", "element", "metric", "kernel", "memory GB/s",
               "of read", "cache GB/s", "cache Gop/s", "of peak");
    }
    for (size_t i = 0; i < count; i++) {
        vdb_element element = measured[i].element;
        vdb_metric metric = measured[i].metric;
        double operations = cache[i] * elements_per_byte(element);
        printf(json ? "%s{\"element\":\"%s\",\"metric\":\"%s\",\"kernel\":\"%s\",\"memory_gb_s\":%.3f,"
                      "\"of_read\":%.4f,\"cache_gb_s\":%.3f,\"cache_gop_s\":%.3f,\"of_peak\":%.4f}"
                    : "%s%-8s %-8s %-16s %12.1f %7.0f%% %12.1f %12.1f %7.0f%%\n",
               json && i > 0 ? "," : "", vdb_element_name(element), vdb_metric_name(metric),
               kernels->from[element][metric], memory[i] * 1e-9, memory[i] / read_rate * (json ? 1 : 100),
               cache[i] * 1e-9, operations * 1e-9, operations / peak[element] * (json ? 1 : 100));
    }
    printf(json ? "]}\n" : "\nof peak: of the fastest kernel of the same element.\n");
}

int main(int argc, char **argv)
{
    static struct measured measured[KERNELS_MAX];
    double reads[ROUNDS];
    bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
    const char *text = argc > 1 + json ? argv[1 + json] : "768";
    char *end = NULL;
    unsigned long dimension = strtoul(text, &end, 10);
    if (*end != '\0' || argc > 2 + json || dimension < 1 || dimension > VDB_LIMIT_DIMENSION_MAX / 4) {
        fprintf(stderr, "usage: bench_kernels [--json] [DIMENSION]: \"%s\" is no dimension in 1..%u\n", text,
                VDB_LIMIT_DIMENSION_MAX / 4);
        return 2;
    }
    struct vdb_err err = {0};
    if (vdb_cpu_check(&err) != VDB_OK) {
        fprintf(stderr, "bench_kernels: %s\n", err.text);
        return 2;
    }
    char *rows = aligned_alloc(VDB_CACHE_LINE_BYTES, MEMORY_BYTES);
    if (rows == NULL) {
        fprintf(stderr, "bench_kernels: no memory for %d bytes\n", MEMORY_BYTES);
        return 1;
    }
    fill(rows, MEMORY_BYTES);
    size_t count = 0;
    for (unsigned i = 0; i < KERNELS_MAX; i++) {
        vdb_element element = (vdb_element)(i / VDB_METRIC_COUNT);
        vdb_metric metric = (vdb_metric)(i % VDB_METRIC_COUNT);
        if (vdb_metric_fits(element, metric)) {
            measured[count++] = (struct measured){.element = element, .metric = metric};
        }
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        reads[round] = read_pass(rows, MEMORY_BYTES);
        for (size_t i = 0; i < count; i++) {
            measured[i].memory[round] = pass(&measured[i], rows, MEMORY_BYTES, dimension, 1);
            measured[i].cache[round] = pass(&measured[i], rows, CACHE_BYTES, dimension, CACHE_PASSES);
        }
    }
    print(measured, count, rate_of(reads), dimension, json);
    free(rows);
    return 0;
}
