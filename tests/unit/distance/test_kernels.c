/* test_kernels.c: every kernel of every level this machine has, in dav1d's manner: each element, metric,
 * dimension, position in memory and fill against a reference in double; few, one-to-many and gather against
 * one-to-one to the last bit.
 *
 * Vectors lie directly before or after a page that may not be read, so a kernel that reads past one crashes.
 * The bound for floats is the one that src/distance/README.md derives; the constants below are the files' shapes.
 * Every table is tested: each level without extensions and avx512 with all; an entry that an earlier table has,
 * once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "guarded.h"

enum {
    DIMENSION_MAX = VDB_LIMIT_DIMENSION_MAX,
    DIMENSION_SMALL_MAX = 130,
    ROWS_MAX = 21, /* beyond twice what a gather asks for ahead */
    TABLES_MAX = VDB_CPU_LEVEL_COUNT + 1,
    SEED_DEFAULT = 20240611
};

static const size_t large_dimensions[] = {256, 768, 784, 1536};

static uint64_t seed = SEED_DEFAULT;
static bool quick; /* VDB_TEST_QUICK is set: some of the cases, for processors that are emulated */

static size_t next_dimension(size_t dimension)
{
    return dimension + (quick && dimension > 8 ? 11 : 1);
}

static size_t large_count(void)
{
    return quick ? 1 : sizeof large_dimensions / sizeof large_dimensions[0];
}

/* lanes * accumulators is what one block takes; README.md, "The error bound for floats". */
static const struct shape {
    const char *from;
    unsigned lanes; /* elements a step */
    unsigned accumulators;
    unsigned cosine_accumulators;
    unsigned additions; /* in a lane, per step */
    bool fused;
} shapes[] = {
    {"scalar", 1, 8, 8, 1, false}, {"neon", 4, 4, 2, 1, true},        {"avx2", 8, 2, 2, 1, true},
    {"avx512", 16, 4, 2, 1, true}, {"avx512bf16", 32, 4, 2, 2, true},
};

static bool is_float(vdb_element element)
{
    return element == VDB_ELEMENT_F32 || element == VDB_ELEMENT_F16 || element == VDB_ELEMENT_BF16;
}

/* ---- Fills ---- */

enum fill {
    FILL_RANDOM,
    FILL_MAX,
    FILL_MIN,
    FILL_ALTERNATING, /* max, min, max, ... */
    FILL_ZERO,
    FILL_HUGE,  /* floats: about 1e18, whose squares overflow when added, or the top of f16; integers: near the
                   ends */
    FILL_TINY,  /* floats: denormals; integers: -1..1 */
    FILL_SMALL, /* floats: about 1e-20, whose squares are denormals, or the bottom of f16 */
    FILL_COUNT
};

static double fill_f32(enum fill fill, size_t i, struct vdb_rng *rng)
{
    double random = 2 * vdb_rng_double(rng) - 1;
    switch (fill) {
    case FILL_RANDOM:
        return random;
    case FILL_MAX:
        return (double)FLT_MAX;
    case FILL_MIN:
        return -(double)FLT_MAX;
    case FILL_ALTERNATING:
        return i % 2 == 0 ? (double)FLT_MAX : -(double)FLT_MAX;
    case FILL_HUGE:
        return 1e18 * (i % 3 == 0 ? -1 : 1) * (1 + vdb_rng_double(rng));
    case FILL_TINY:
        return 1e-40 * random;
    case FILL_SMALL:
        return 1e-20 * random;
    default:
        return 0;
    }
}

/* A 16-bit float from a random sign and fraction, and an exponent from low..high. */
static uint16_t random_half(vdb_element element, unsigned low, unsigned high, struct vdb_rng *rng)
{
    unsigned fraction_bits = element == VDB_ELEMENT_F16 ? 10 : 7;
    unsigned exponent = low + (unsigned)vdb_rng_below(rng, high - low + 1);
    unsigned fraction = (unsigned)vdb_rng_below(rng, 1u << fraction_bits);
    return (uint16_t)(vdb_rng_below(rng, 2) << 15 | exponent << fraction_bits | fraction);
}

static uint16_t fill_half(vdb_element element, enum fill fill, size_t i, struct vdb_rng *rng)
{
    bool f16 = element == VDB_ELEMENT_F16;
    uint16_t max = f16 ? 0x7BFF : 0x7F7F;
    switch (fill) {
    case FILL_RANDOM:
        return f16 ? random_half(element, 1, 14, rng) : random_half(element, 110, 126, rng);
    case FILL_MAX:
        return max;
    case FILL_MIN:
        return max | 0x8000;
    case FILL_ALTERNATING:
        return i % 2 == 0 ? max : max | 0x8000;
    case FILL_HUGE:
        return f16 ? random_half(element, 29, 30, rng) : random_half(element, 186, 188, rng);
    case FILL_TINY:
        return random_half(element, 0, 0, rng);
    case FILL_SMALL:
        return f16 ? random_half(element, 1, 3, rng) : random_half(element, 59, 62, rng);
    default:
        return 0;
    }
}

/* Eight dimensions; the padding is filled as well, since it must not count. */
static uint8_t fill_bits(enum fill fill, size_t i, struct vdb_rng *rng)
{
    uint8_t random = (uint8_t)vdb_rng_below(rng, 256);
    switch (fill) {
    case FILL_RANDOM:
        return random;
    case FILL_MAX:
        return 0xFF;
    case FILL_MIN:
        return 0x55;
    case FILL_ALTERNATING:
        return i % 2 == 0 ? 0xFF : 0;
    case FILL_HUGE: /* nearly all set */
        return random | (uint8_t)vdb_rng_below(rng, 256) | (uint8_t)vdb_rng_below(rng, 256);
    case FILL_TINY: /* nearly none */
        return random & (uint8_t)vdb_rng_below(rng, 256) & (uint8_t)vdb_rng_below(rng, 256);
    case FILL_SMALL: /* one in the vector, at most */
        return i == 0 ? (uint8_t)(1u << random % 8) : 0;
    default:
        return 0;
    }
}

static int fill_int(enum fill fill, size_t i, int low, int high, struct vdb_rng *rng)
{
    int range = high - low + 1;
    switch (fill) {
    case FILL_RANDOM:
        return low + (int)vdb_rng_below(rng, (uint64_t)range);
    case FILL_MAX:
        return high;
    case FILL_MIN:
        return low;
    case FILL_ALTERNATING:
        return i % 2 == 0 ? high : low;
    case FILL_HUGE:
        return vdb_rng_below(rng, 2) == 0 ? low + (int)vdb_rng_below(rng, 3) : high - (int)vdb_rng_below(rng, 3);
    case FILL_TINY:
        return low == 0 ? (int)vdb_rng_below(rng, 2) : (int)vdb_rng_below(rng, 3) - 1;
    case FILL_SMALL:
        return (int)vdb_rng_below(rng, 16);
    default:
        return 0;
    }
}

static void fill_vector(void *vector, vdb_element element, size_t dimension, enum fill fill, struct vdb_rng *rng)
{
    for (size_t i = 0; element == VDB_ELEMENT_BIT && i < vdb_vector_bytes(element, dimension); i++) {
        ((uint8_t *)vector)[i] = fill_bits(fill, i, rng);
    }
    for (size_t i = 0; element != VDB_ELEMENT_BIT && i < dimension; i++) {
        if (element == VDB_ELEMENT_F16 || element == VDB_ELEMENT_BF16) {
            uint16_t half = fill_half(element, fill, i, rng);
            memcpy((char *)vector + i * sizeof half, &half, sizeof half);
        } else if (element == VDB_ELEMENT_F32) {
            float value = (float)fill_f32(fill, i, rng);
            memcpy((char *)vector + i * sizeof value, &value, sizeof value);
        } else if (element == VDB_ELEMENT_U8) {
            ((uint8_t *)vector)[i] = (uint8_t)fill_int(fill, i, 0, 255, rng);
        } else {
            ((int8_t *)vector)[i] = (int8_t)fill_int(fill, i, -128, 127, rng);
        }
    }
}

/* Decoded from its bits. */
static double get_half(const void *vector, vdb_element element, size_t i)
{
    uint16_t half;
    memcpy(&half, (const char *)vector + i * sizeof half, sizeof half);
    int fraction_bits = element == VDB_ELEMENT_F16 ? 10 : 7;
    int bias = element == VDB_ELEMENT_F16 ? 15 : 127;
    int exponent = (half & 0x7FFF) >> fraction_bits;
    int fraction = half & ((1 << fraction_bits) - 1);
    double value = exponent == 0 ? ldexp(fraction, 1 - bias - fraction_bits)
                                 : ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
    return (half & 0x8000) != 0 ? -value : value;
}

static double get(const void *vector, vdb_element element, size_t i)
{
    if (element == VDB_ELEMENT_BIT) {
        return ((const uint8_t *)vector)[i / 8] >> (7 - i % 8) & 1;
    }
    if (element == VDB_ELEMENT_F16 || element == VDB_ELEMENT_BF16) {
        return get_half(vector, element, i);
    }
    if (element == VDB_ELEMENT_F32) {
        float value;
        memcpy(&value, (const char *)vector + i * sizeof value, sizeof value);
        return (double)value;
    }
    return element == VDB_ELEMENT_U8 ? ((const uint8_t *)vector)[i] : ((const int8_t *)vector)[i];
}

/* ---- The reference ---- */

struct reference {
    double value;          /* inside form; exact for integer sums */
    double terms;          /* sum of |terms|: what the error is relative to; 1 for cosine */
    double denormal_terms; /* the part of it that has a denormal f32 for an element */
};

static struct reference reference_of(vdb_element element, vdb_metric metric, const void *a, const void *b,
                                     size_t dimension)
{
    double l2 = 0;
    double l1 = 0;
    double dot = 0;
    double dot_terms = 0;
    double aa = 0;
    double bb = 0;
    double denormal_terms = 0;
    double both = 0;
    double either = 0;
    for (size_t i = 0; i < dimension; i++) {
        double x = get(a, element, i);
        double y = get(b, element, i);
        both += x * y != 0;
        either += x != 0 || y != 0;
        denormal_terms += fabs(x) < 0x1p-126 || fabs(y) < 0x1p-126 ? fabs(x * y) : 0;
        l2 += (x - y) * (x - y);
        l1 += fabs(x - y);
        dot += x * y;
        dot_terms += fabs(x * y);
        aa += x * x;
        bb += y * y;
    }
    switch (metric) {
    case VDB_METRIC_L2:
        return (struct reference){l2, l2, 0};
    case VDB_METRIC_L1:
        return (struct reference){l1, l1, 0};
    case VDB_METRIC_DOT:
        return (struct reference){-dot, dot_terms, denormal_terms};
    case VDB_METRIC_HAMMING:
        return (struct reference){either - both, 0, 0};
    case VDB_METRIC_JACCARD:
        return (struct reference){either == 0 ? 0 : 1 - both / either, 0, 0};
    default:
        break;
    }
    if (aa == 0 || bb == 0) {
        return (struct reference){1, 0, 0};
    }
    double cosine = 1 - dot / (sqrt(aa) * sqrt(bb));
    return (struct reference){cosine < 0 ? 0 : cosine > 2 ? 2 : cosine, 1, 0};
}

static double gamma_of(double n)
{
    return n * 0x1p-24 / (1 - n * 0x1p-24);
}

/* The bound that README.md states, and the reference's own error. */
static double float_bound(const char *from, vdb_metric metric, size_t dimension, struct reference want)
{
    const struct shape *shape = NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        shape = strcmp(shapes[i].from, from) == 0 ? &shapes[i] : shape;
    }
    assert_non_null(shape);
    const double terms = want.terms;
    const bool flushes = strcmp(from, "avx512bf16") == 0;
    unsigned accumulators = metric == VDB_METRIC_COSINE ? shape->cosine_accumulators : shape->accumulators;
    size_t block = (size_t)shape->lanes * accumulators;
    double steps = (double)(dimension / block) + ceil((double)(dimension % block) / shape->lanes);
    double n = steps * shape->additions + log2((double)block / shape->additions);
    switch (metric) {
    case VDB_METRIC_L2:
        n += 2 + !shape->fused;
        break;
    case VDB_METRIC_L1:
        n += 1;
        break;
    default:
        n += !shape->fused;
        break;
    }
    double reference_error = 4 * (double)dimension * 0x1p-53 * terms;
    if (metric == VDB_METRIC_COSINE) {
        return 2 * gamma_of(n) / (1 - gamma_of(n)) + (double)dimension * 0x1p-48 + reference_error;
    }
    double underflow = metric == VDB_METRIC_L1 ? 0 : 2 * (double)dimension * 0x1p-150;
    if (flushes) {
        underflow = 2 * (double)dimension * 0x1p-126 + want.denormal_terms;
    }
    return gamma_of(n) * terms + underflow + reference_error;
}

/* ---- The checks ---- */

struct setting {
    const struct vdb_kernels *table;
    vdb_element element;
    vdb_metric metric;
    size_t dimension;
    enum fill fills[2];
    enum place place;
};

static void fail_setting(const struct setting *at, const char *what, double got, double want, double bound)
{
    fail_msg("%s %s %s dimension %zu fills %d,%d place %d: %s: got %.17g, want %.17g, bound %.3g (seed %" PRIu64
             "; VDB_TEST_SEED repeats it)",
             at->table->from[at->element][at->metric], vdb_element_name(at->element), vdb_metric_name(at->metric),
             at->dimension, at->fills[0], at->fills[1], at->place, what, got, want, bound, seed);
}

static void check_one(const struct setting *at, const void *a, const void *b)
{
    vdb_distance_fn *one = at->table->one[at->element][at->metric];
    struct reference want = reference_of(at->element, at->metric, a, b, at->dimension);
    double got = one(a, b, at->dimension);
    if (!isfinite(got)) {
        fail_setting(at, "not finite", got, want.value, 0);
    }
    if (at->metric == VDB_METRIC_COSINE && (got < 0 || got > 2)) {
        fail_setting(at, "outside [0, 2]", got, want.value, 0);
    }
    double bound = 0;
    if (is_float(at->element)) {
        bound = float_bound(at->table->from[at->element][at->metric], at->metric, at->dimension, want);
    } else if (at->metric == VDB_METRIC_COSINE) {
        bound = 0x1p-50; /* the formula's roundings; equality with scalar is checked by check_levels_equal */
    }
    if (!(fabs(got - want.value) <= bound)) {
        fail_setting(at, "off the reference", got, want.value, bound);
    }
}

/* All tables' results of integers and bits are the same double. The first table is scalar's. */
static void check_tables_equal(const struct vdb_kernels *tables, size_t table_count, struct setting at,
                               const void *a, const void *b)
{
    double want = tables[0].one[at.element][at.metric](a, b, at.dimension);
    for (size_t i = 1; i < table_count; i++) {
        at.table = &tables[i];
        double got = tables[i].one[at.element][at.metric](a, b, at.dimension);
        if (memcmp(&got, &want, sizeof got) != 0) {
            fail_setting(&at, "differs from scalar", got, want, 0);
        }
    }
}

struct fixture {
    struct vdb_kernels tables[TABLES_MAX]; /* scalar first */
    size_t table_count;
    struct guarded memory[2];
    struct guarded rows;
    struct vdb_rng rng;
};

/* Whether this table's entry is not one that an earlier table has. */
static bool is_new(const struct fixture *fixture, size_t table, unsigned element, unsigned metric)
{
    for (size_t i = 0; i < table; i++) {
        if (fixture->tables[i].one[element][metric] == fixture->tables[table].one[element][metric]) {
            return false;
        }
    }
    return vdb_metric_fits((vdb_element)element, (vdb_metric)metric);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    vdb_cpu_level machine = vdb_cpu_detect();
    for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        if (vdb_cpu_runs(machine, (vdb_cpu_level)level)) {
            vdb_kernels_fill_with(&fixture->tables[fixture->table_count++], (vdb_cpu_level)level, 0);
        }
    }
    if (vdb_cpu_detect_extensions() != 0) {
        vdb_kernels_fill(&fixture->tables[fixture->table_count++], machine);
    }
    fixture->memory[0] = guarded_create(DIMENSION_MAX * sizeof(float) + 1);
    fixture->memory[1] = guarded_create(DIMENSION_MAX * sizeof(float) + 1);
    fixture->rows = guarded_create(ROWS_MAX * (1536 * sizeof(float) + 64) + 1);
    quick = getenv("VDB_TEST_QUICK") != NULL;
    const char *text = getenv("VDB_TEST_SEED");
    seed = text != NULL ? strtoull(text, NULL, 10) : SEED_DEFAULT;
    vdb_rng_init(&fixture->rng, seed);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    guarded_destroy(&fixture->memory[0]);
    guarded_destroy(&fixture->memory[1]);
    guarded_destroy(&fixture->rows);
    free(fixture);
    return 0;
}

static void check_dimension(struct fixture *fixture, vdb_element element, size_t dimension)
{
    size_t bytes = vdb_vector_bytes(element, dimension);
    for (unsigned pair = 0; pair < FILL_COUNT * FILL_COUNT * PLACE_COUNT; pair++) {
        struct setting at = {.element = element,
                             .dimension = dimension,
                             .fills = {pair % FILL_COUNT, pair / FILL_COUNT % FILL_COUNT},
                             .place = pair / (FILL_COUNT * FILL_COUNT)};
        if (at.place != PLACE_END && at.fills[0] != at.fills[1]) {
            continue; /* all pairs of fills at the end of memory; each fill at the other places */
        }
        char *vectors[2];
        for (unsigned i = 0; i < 2; i++) {
            vectors[i] = guarded_at(&fixture->memory[i], bytes, at.place);
            fill_vector(vectors[i], element, dimension, at.fills[i], &fixture->rng);
        }
        for (unsigned metric = 0; metric < VDB_METRIC_COUNT; metric++) {
            at.metric = (vdb_metric)metric;
            for (size_t i = 0; i < fixture->table_count; i++) {
                at.table = &fixture->tables[i];
                if (is_new(fixture, i, element, metric)) {
                    check_one(&at, vectors[0], vectors[1]);
                }
            }
            if (!is_float(element) && vdb_metric_fits(element, at.metric)) {
                check_tables_equal(fixture->tables, fixture->table_count, at, vectors[0], vectors[1]);
            }
        }
    }
}

static void test_one_to_one_stays_within_the_bound(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned element = 0; element < VDB_ELEMENT_COUNT; element++) {
        for (size_t dimension = 1; dimension <= DIMENSION_SMALL_MAX; dimension = next_dimension(dimension)) {
            check_dimension(fixture, (vdb_element)element, dimension);
        }
        for (size_t i = 0; i < large_count(); i++) {
            check_dimension(fixture, (vdb_element)element, large_dimensions[i]);
        }
    }
}

/* One row count and stride: `many`, `gather` and `few` give what `one` gives, in exactly their places of out. */
static void check_many(struct fixture *fixture, struct setting at, const char *query, size_t stride, size_t count)
{
    static const char *const forms[] = {"many is not one", "gather is not one", "few is not one"};
    const double poison = -123456789.0;
    const struct vdb_kernels *table = at.table;
    size_t bytes = vdb_vector_bytes(at.element, at.dimension);
    const char *rows = guarded_at(&fixture->rows, count == 0 ? 0 : (count - 1) * stride + bytes, at.place);
    double out[ROWS_MAX + 2];
    uint32_t slots[ROWS_MAX];
    double wants[ROWS_MAX];
    const void *few[ROWS_MAX];
    for (size_t i = 0; i < count; i++) {
        slots[i] = (uint32_t)vdb_rng_below(&fixture->rng, count); /* any order, some twice */
        few[i] = rows + slots[i] * stride;
        wants[i] = table->one[at.element][at.metric](query, rows + i * stride, at.dimension);
    }
    for (unsigned form = 0; form < (count < VDB_KERNELS_FEW ? 2 : 3); form++) {
        const size_t written = form == 2 ? VDB_KERNELS_FEW : count;
        for (size_t i = 0; i < ROWS_MAX + 2; i++) {
            out[i] = poison;
        }
        if (form == 0) {
            table->many[at.element][at.metric](query, rows, stride, count, at.dimension, out + 1);
        } else if (form == 1) {
            table->gather[at.element][at.metric](query, rows, stride, slots, count, at.dimension, out + 1);
        } else {
            table->few[at.element][at.metric](query, few, at.dimension, out + 1);
        }
        for (size_t i = 0; i < written; i++) {
            const double *want = &wants[form == 0 ? i : slots[i]];
            if (memcmp(&out[i + 1], want, sizeof *want) != 0) {
                fail_setting(&at, forms[form], out[i + 1], *want, 0);
            }
        }
        if (out[0] != poison || out[written + 1] != poison) {
            fail_setting(&at, "wrote outside out", out[written + 1], poison, 0);
        }
    }
}

/* 0 to 9, which has every remainder by the rows in step, and the largest. */
static size_t next_count(size_t count)
{
    return count == 9 ? ROWS_MAX : count + 1;
}

static void check_many_dimension(struct fixture *fixture, vdb_element element, size_t dimension)
{
    size_t bytes = vdb_vector_bytes(element, dimension);
    const size_t strides[] = {bytes, bytes + 1, bytes + 60};
    for (unsigned variant = 0; variant < 3 * PLACE_COUNT; variant++) {
        size_t stride = strides[variant % 3];
        struct setting at = {.element = element, .dimension = dimension, .place = variant / 3};
        for (size_t i = 0; i < fixture->rows.bytes / bytes; i++) {
            fill_vector(fixture->rows.data + i * bytes, element, dimension, (enum fill)(i % FILL_COUNT),
                        &fixture->rng);
        }
        char *query = guarded_at(&fixture->memory[0], bytes, at.place);
        fill_vector(query, element, dimension, FILL_RANDOM, &fixture->rng);
        for (unsigned metric = 0; metric < VDB_METRIC_COUNT; metric++) {
            at.metric = (vdb_metric)metric;
            for (size_t i = 0; i < fixture->table_count; i++) {
                at.table = &fixture->tables[i];
                for (size_t count = 0; is_new(fixture, i, element, metric) && count <= ROWS_MAX;
                     count = next_count(count)) {
                    check_many(fixture, at, query, stride, count);
                }
            }
        }
    }
}

static void test_few_many_and_gather_equal_one_to_one(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned element = 0; element < VDB_ELEMENT_COUNT; element++) {
        for (size_t dimension = 1; dimension <= DIMENSION_SMALL_MAX; dimension = next_dimension(dimension)) {
            check_many_dimension(fixture, (vdb_element)element, dimension);
        }
        for (size_t i = 0; i < large_count(); i++) {
            check_many_dimension(fixture, (vdb_element)element, large_dimensions[i]);
        }
    }
}

/* At the largest dimension the integer sums are at their limits: nothing wraps. */
static void test_integers_are_exact_at_the_largest_dimension(void **state)
{
    struct fixture *fixture = *state;
    const double d = DIMENSION_MAX;
    const struct {
        vdb_element element;
        vdb_metric metric;
        int a;
        int b;
        double want;
    } cases[] = {
        {VDB_ELEMENT_U8, VDB_METRIC_L2, 255, 0, d * 65025},
        {VDB_ELEMENT_U8, VDB_METRIC_L2, 0, 255, d * 65025},
        {VDB_ELEMENT_U8, VDB_METRIC_DOT, 255, 255, -d * 65025},
        {VDB_ELEMENT_U8, VDB_METRIC_L1, 255, 0, d * 255},
        {VDB_ELEMENT_U8, VDB_METRIC_COSINE, 255, 255, 0},
        {VDB_ELEMENT_I8, VDB_METRIC_L2, -128, 127, d * 65025},
        {VDB_ELEMENT_I8, VDB_METRIC_DOT, -128, -128, -d * 16384},
        {VDB_ELEMENT_I8, VDB_METRIC_DOT, -128, 127, d * 16256},
        {VDB_ELEMENT_I8, VDB_METRIC_L1, 127, -128, d * 255},
        {VDB_ELEMENT_I8, VDB_METRIC_COSINE, -128, 127, 2},
        {VDB_ELEMENT_U8, VDB_METRIC_L2, 0, 0, 0},
        {VDB_ELEMENT_U8, VDB_METRIC_L2, 255, 255, 0},
        {VDB_ELEMENT_I8, VDB_METRIC_L2, -128, -128, 0},
        {VDB_ELEMENT_BIT, VDB_METRIC_HAMMING, 255, 0, d},
        {VDB_ELEMENT_BIT, VDB_METRIC_HAMMING, 255, 255, 0},
        {VDB_ELEMENT_BIT, VDB_METRIC_JACCARD, 255, 0, 1},
        {VDB_ELEMENT_BIT, VDB_METRIC_JACCARD, 255, 255, 0},
        {VDB_ELEMENT_BIT, VDB_METRIC_JACCARD, 255, 1, 0.875},
        {VDB_ELEMENT_BIT, VDB_METRIC_JACCARD, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(fixture->memory[0].data, (unsigned char)cases[i].a, DIMENSION_MAX);
        memset(fixture->memory[1].data, (unsigned char)cases[i].b, DIMENSION_MAX);
        for (size_t t = 0; t < fixture->table_count; t++) {
            struct setting at = {.table = &fixture->tables[t],
                                 .element = cases[i].element,
                                 .metric = cases[i].metric,
                                 .dimension = DIMENSION_MAX};
            double got = at.table->one[at.element][at.metric](fixture->memory[0].data, fixture->memory[1].data,
                                                              DIMENSION_MAX);
            if (got != cases[i].want) {
                fail_setting(&at, "not exact", got, cases[i].want, 0);
            }
        }
    }
    for (unsigned element = VDB_ELEMENT_U8; !quick && element <= VDB_ELEMENT_I8; element++) {
        check_dimension(fixture, (vdb_element)element, DIMENSION_MAX - 1);
    }
    check_dimension(fixture, VDB_ELEMENT_BIT, DIMENSION_MAX - 1);
}

static void test_floats_stay_within_the_bound_at_the_largest_dimension(void **state)
{
    struct fixture *fixture = *state;
    static const vdb_element elements[] = {VDB_ELEMENT_F32, VDB_ELEMENT_F16, VDB_ELEMENT_BF16};
    /* Equal terms drift furthest: every addition rounds the same way. About 0.1 and 0.7 in each type. */
    static const uint16_t equal[3][2] = {{0, 0}, {0x2E66, 0x399A}, {0x3DCD, 0x3F33}};
    for (unsigned variant = 0; variant < (quick ? 2 : 6); variant++) {
        struct setting at = {.element = elements[variant / 2], .dimension = DIMENSION_MAX};
        for (unsigned i = 0; i < 2; i++) {
            fill_vector(fixture->memory[i].data, at.element, at.dimension, FILL_RANDOM, &fixture->rng);
            for (size_t j = 0; variant % 2 == 1 && j < at.dimension; j++) {
                if (at.element == VDB_ELEMENT_F32) {
                    ((float *)(void *)fixture->memory[i].data)[j] = i == 0 ? 0.1f : 0.7f;
                } else {
                    ((uint16_t *)(void *)fixture->memory[i].data)[j] = equal[variant / 2][i];
                }
            }
        }
        for (unsigned metric = 0; metric < VDB_METRIC_COUNT; metric++) {
            for (size_t i = 0; i < fixture->table_count; i++) {
                at.table = &fixture->tables[i];
                at.metric = (vdb_metric)metric;
                if (is_new(fixture, i, at.element, metric)) {
                    check_one(&at, fixture->memory[0].data, fixture->memory[1].data);
                }
            }
        }
    }
}

/* What the contract promises about cosine, by value. */
static void test_cosine_of_particular_vectors(void **state)
{
    struct fixture *fixture = *state;
    float a[67];
    float b[67];
    float zero[67] = {0};
    for (size_t t = 0; t < fixture->table_count; t++) {
        vdb_distance_fn *cosine = fixture->tables[t].one[VDB_ELEMENT_F32][VDB_METRIC_COSINE];
        for (size_t dimension = 1; dimension <= 67; dimension++) {
            for (size_t i = 0; i < dimension; i++) {
                a[i] = vdb_rng_normal(&fixture->rng);
                b[i] = a[i] * -4;
            }
            assert_true(cosine(a, a, dimension) == 0); /* exactly: sqrt(x * x) is x */
            assert_true(cosine(a, b, dimension) == 2);
            assert_true(cosine(a, zero, dimension) == 1);
            assert_true(cosine(zero, a, dimension) == 1);
            assert_true(cosine(zero, zero, dimension) == 1);
        }
    }
}

/* An infinity or a NaN in a vector never gives a finite distance: it cannot pass for a near row. */
static void test_values_that_are_not_finite(void **state)
{
    struct fixture *fixture = *state;
    static const uint16_t f16[] = {0x7C00, 0xFC00, 0x7E00};
    static const uint16_t bf16[] = {0x7F80, 0xFF80, 0x7FC0};
    uint16_t a[70] = {0};
    uint16_t b[70] = {0};
    for (unsigned i = 0; i < 70 * 3 * 2; i++) {
        vdb_element element = i % 2 == 0 ? VDB_ELEMENT_F16 : VDB_ELEMENT_BF16;
        for (size_t j = 0; j < 70; j++) {
            a[j] = b[j] = element == VDB_ELEMENT_F16 ? 0x3C00 : 0x3F80;
        }
        a[i / 6] = (element == VDB_ELEMENT_F16 ? f16 : bf16)[i / 2 % 3];
        for (size_t t = 0; t < fixture->table_count; t++) {
            for (unsigned metric = 0; metric <= VDB_METRIC_L1; metric++) {
                assert_false(isfinite(fixture->tables[t].one[element][metric](a, b, 70)));
            }
        }
    }
}

/* The file that an entry should come from. */
static const char *expected_from(const struct vdb_kernels *table, vdb_element element, vdb_metric metric)
{
    const bool bytes = element == VDB_ELEMENT_U8 || element == VDB_ELEMENT_I8;
    if (element == VDB_ELEMENT_BIT && table->level == VDB_CPU_AVX512) {
        return (table->extensions & VDB_CPU_AVX512VPOPCNTDQ) != 0 ? "avx512vpopcntdq" : "avx2";
    }
    if (bytes && (metric == VDB_METRIC_DOT || metric == VDB_METRIC_COSINE) &&
        (table->extensions & VDB_CPU_AVX512VNNI) != 0) {
        return "avx512vnni";
    }
    if (element == VDB_ELEMENT_BF16 && (metric == VDB_METRIC_DOT || metric == VDB_METRIC_COSINE) &&
        (table->extensions & VDB_CPU_AVX512BF16) != 0) {
        return "avx512bf16";
    }
    if (table->level == VDB_CPU_NEON &&
        (element == VDB_ELEMENT_F16 || element == VDB_ELEMENT_BF16 || metric == VDB_METRIC_JACCARD)) {
        return "scalar";
    }
    return vdb_cpu_level_name(table->level);
}

/* Every level with every set of extensions: pairs that fit have their entries and come from the right file; pairs
 * that do not have none. */
static void test_tables_are_full(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VDB_CPU_LEVEL_COUNT * (VDB_CPU_EXTENSIONS_ALL + 1); i++) {
        vdb_cpu_level level = (vdb_cpu_level)(i / (VDB_CPU_EXTENSIONS_ALL + 1));
        unsigned extensions = i % (VDB_CPU_EXTENSIONS_ALL + 1);
        if (!vdb_cpu_runs(vdb_cpu_detect(), level) || (extensions & ~vdb_cpu_detect_extensions()) != 0) {
            continue;
        }
        struct vdb_kernels table;
        memset(&table, 0x5A, sizeof table);
        vdb_kernels_fill_with(&table, level, extensions);
        assert_int_equal(table.level, level);
        assert_int_equal(table.extensions, level == VDB_CPU_AVX512 ? extensions : 0);
        for (unsigned pair = 0; pair < VDB_ELEMENT_COUNT * VDB_METRIC_COUNT; pair++) {
            unsigned element = pair / VDB_METRIC_COUNT;
            unsigned metric = pair % VDB_METRIC_COUNT;
            bool fits = vdb_metric_fits((vdb_element)element, (vdb_metric)metric);
            assert_int_equal(table.one[element][metric] != NULL, fits);
            assert_int_equal(table.few[element][metric] != NULL, fits);
            assert_int_equal(table.many[element][metric] != NULL, fits);
            assert_int_equal(table.gather[element][metric] != NULL, fits);
            if (fits) {
                assert_string_equal(table.from[element][metric],
                                    expected_from(&table, (vdb_element)element, (vdb_metric)metric));
            } else {
                assert_null(table.from[element][metric]);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_are_full),
        cmocka_unit_test(test_one_to_one_stays_within_the_bound),
        cmocka_unit_test(test_few_many_and_gather_equal_one_to_one),
        cmocka_unit_test(test_integers_are_exact_at_the_largest_dimension),
        cmocka_unit_test(test_floats_stay_within_the_bound_at_the_largest_dimension),
        cmocka_unit_test(test_values_that_are_not_finite),
        cmocka_unit_test(test_cosine_of_particular_vectors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
