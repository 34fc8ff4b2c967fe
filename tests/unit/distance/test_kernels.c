/* test_kernels.c: every kernel of every level this machine has, in dav1d's manner: each element, metric,
 * dimension, position in memory and fill against a reference in double; one-to-many against one-to-one to the
 * last bit.
 *
 * Vectors lie directly before or after a page that may not be read, so a kernel that reads past one crashes.
 * The f32 bound is the one that src/distance/README.md derives; the constants below are the levels' shapes.
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

enum {
    DIMENSION_MAX = VDB_LIMIT_DIMENSION_MAX,
    DIMENSION_SMALL_MAX = 130,
    ROWS_MAX = 9,
    SEED_DEFAULT = 20240611
};

static const size_t large_dimensions[] = {256, 768, 784, 1536};

static uint64_t seed = SEED_DEFAULT;

/* lanes * accumulators is what one block takes; README.md, "The f32 error bound". */
static const struct {
    unsigned lanes;
    unsigned accumulators;
    unsigned cosine_accumulators;
    bool fused;
} shapes[VDB_CPU_LEVEL_COUNT] = {
    [VDB_CPU_SCALAR] = {1, 8, 8, false},
    [VDB_CPU_AVX2] = {8, 2, 2, true},
    [VDB_CPU_AVX512] = {16, 4, 2, true},
};

/* ---- Memory with unreadable pages on both sides ---- */

struct guarded {
    char *map;
    size_t map_bytes;
    char *data; /* first readable byte */
    size_t bytes;
};

static struct guarded guarded_create(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (bytes + page - 1) / page * page;
    struct guarded memory = {NULL, inner + 2 * page, NULL, inner};
    memory.map = mmap(NULL, memory.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory.map, MAP_FAILED);
    memory.data = memory.map + page;
    assert_int_equal(mprotect(memory.data, inner, PROT_READ | PROT_WRITE), 0);
    return memory;
}

static void guarded_destroy(struct guarded *memory)
{
    munmap(memory->map, memory->map_bytes);
}

/* Where `bytes` bytes lie: at the start of the memory, 1 byte later, or so that they end with it. */
enum place { PLACE_START, PLACE_ODD, PLACE_END, PLACE_COUNT };

static char *guarded_at(const struct guarded *memory, size_t bytes, enum place place)
{
    assert_true(bytes + 1 <= memory->bytes);
    return place == PLACE_END ? memory->data + memory->bytes - bytes : memory->data + (place == PLACE_ODD);
}

/* ---- Fills ---- */

enum fill {
    FILL_RANDOM,
    FILL_MAX,
    FILL_MIN,
    FILL_ALTERNATING, /* max, min, max, ... */
    FILL_ZERO,
    FILL_HUGE,  /* f32: about 1e18, whose squares overflow when added; integers: near the ends */
    FILL_TINY,  /* f32: denormals; integers: -1..1 */
    FILL_SMALL, /* f32: about 1e-20, whose squares are denormals */
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
    for (size_t i = 0; i < dimension; i++) {
        if (element == VDB_ELEMENT_F32) {
            float value = (float)fill_f32(fill, i, rng);
            memcpy((char *)vector + i * sizeof value, &value, sizeof value);
        } else if (element == VDB_ELEMENT_U8) {
            ((uint8_t *)vector)[i] = (uint8_t)fill_int(fill, i, 0, 255, rng);
        } else {
            ((int8_t *)vector)[i] = (int8_t)fill_int(fill, i, -128, 127, rng);
        }
    }
}

static double get(const void *vector, vdb_element element, size_t i)
{
    if (element == VDB_ELEMENT_F32) {
        float value;
        memcpy(&value, (const char *)vector + i * sizeof value, sizeof value);
        return (double)value;
    }
    return element == VDB_ELEMENT_U8 ? ((const uint8_t *)vector)[i] : ((const int8_t *)vector)[i];
}

/* ---- The reference ---- */

struct reference {
    double value; /* inside form; exact for integer sums */
    double terms; /* sum of |terms|: what the error is relative to; 1 for cosine */
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
    for (size_t i = 0; i < dimension; i++) {
        double x = get(a, element, i);
        double y = get(b, element, i);
        l2 += (x - y) * (x - y);
        l1 += fabs(x - y);
        dot += x * y;
        dot_terms += fabs(x * y);
        aa += x * x;
        bb += y * y;
    }
    switch (metric) {
    case VDB_METRIC_L2:
        return (struct reference){l2, l2};
    case VDB_METRIC_L1:
        return (struct reference){l1, l1};
    case VDB_METRIC_DOT:
        return (struct reference){-dot, dot_terms};
    default:
        break;
    }
    if (aa == 0 || bb == 0) {
        return (struct reference){1, 0};
    }
    double cosine = 1 - dot / (sqrt(aa) * sqrt(bb));
    return (struct reference){cosine < 0 ? 0 : cosine > 2 ? 2 : cosine, 1};
}

static double gamma_of(double n)
{
    return n * 0x1p-24 / (1 - n * 0x1p-24);
}

/* The bound that README.md states, and the reference's own error. */
static double f32_bound(vdb_cpu_level level, vdb_metric metric, size_t dimension, double terms)
{
    unsigned accumulators = metric == VDB_METRIC_COSINE ? shapes[level].cosine_accumulators
                                                        : shapes[level].accumulators;
    size_t block = (size_t)shapes[level].lanes * accumulators;
    double steps = (double)(dimension / block) + ceil((double)(dimension % block) / shapes[level].lanes);
    double n = steps + log2((double)block);
    switch (metric) {
    case VDB_METRIC_L2:
        n += 2 + !shapes[level].fused;
        break;
    case VDB_METRIC_L1:
        n += 1;
        break;
    default:
        n += !shapes[level].fused;
        break;
    }
    double reference_error = 4 * (double)dimension * 0x1p-53 * terms;
    if (metric == VDB_METRIC_COSINE) {
        return 2 * gamma_of(n) / (1 - gamma_of(n)) + (double)dimension * 0x1p-48 + reference_error;
    }
    double underflow = metric == VDB_METRIC_L1 ? 0 : 2 * (double)dimension * 0x1p-150;
    return gamma_of(n) * terms + underflow + reference_error;
}

/* ---- The checks ---- */

struct setting {
    vdb_cpu_level level;
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
             vdb_cpu_level_name(at->level), vdb_element_name(at->element), vdb_metric_name(at->metric),
             at->dimension, at->fills[0], at->fills[1], at->place, what, got, want, bound, seed);
}

static void check_one(const struct setting *at, vdb_distance_fn *one, const void *a, const void *b)
{
    struct reference want = reference_of(at->element, at->metric, a, b, at->dimension);
    double got = one(a, b, at->dimension);
    if (!isfinite(got)) {
        fail_setting(at, "not finite", got, want.value, 0);
    }
    if (at->metric == VDB_METRIC_COSINE && (got < 0 || got > 2)) {
        fail_setting(at, "outside [0, 2]", got, want.value, 0);
    }
    double bound = 0;
    if (at->element == VDB_ELEMENT_F32) {
        bound = f32_bound(at->level, at->metric, at->dimension, want.terms);
    } else if (at->metric == VDB_METRIC_COSINE) {
        bound = 0x1p-50; /* the formula's roundings; equality with scalar is checked by check_levels_equal */
    }
    if (!(fabs(got - want.value) <= bound)) {
        fail_setting(at, "off the reference", got, want.value, bound);
    }
}

/* All levels' integer results are the same double. */
static void check_levels_equal(const struct vdb_kernels *tables, vdb_cpu_level machine, struct setting at,
                               const void *a, const void *b)
{
    double want = tables[VDB_CPU_SCALAR].one[at.element][at.metric](a, b, at.dimension);
    for (unsigned level = 1; level <= machine; level++) {
        at.level = (vdb_cpu_level)level;
        double got = tables[level].one[at.element][at.metric](a, b, at.dimension);
        if (memcmp(&got, &want, sizeof got) != 0) {
            fail_setting(&at, "differs from scalar", got, want, 0);
        }
    }
}

struct fixture {
    vdb_cpu_level machine;
    struct vdb_kernels tables[VDB_CPU_LEVEL_COUNT];
    struct guarded memory[2];
    struct guarded rows;
    struct vdb_rng rng;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->machine = vdb_cpu_detect();
    for (unsigned level = 0; level <= fixture->machine; level++) {
        vdb_kernels_fill(&fixture->tables[level], (vdb_cpu_level)level);
    }
    fixture->memory[0] = guarded_create(DIMENSION_MAX * sizeof(float) + 1);
    fixture->memory[1] = guarded_create(DIMENSION_MAX * sizeof(float) + 1);
    fixture->rows = guarded_create(ROWS_MAX * (1536 * sizeof(float) + 64) + 1);
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
    size_t bytes = dimension * vdb_element_bytes(element);
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
            for (unsigned level = 0; level <= fixture->machine; level++) {
                at.level = (vdb_cpu_level)level;
                check_one(&at, fixture->tables[level].one[element][metric], vectors[0], vectors[1]);
            }
            if (element != VDB_ELEMENT_F32) {
                check_levels_equal(fixture->tables, fixture->machine, at, vectors[0], vectors[1]);
            }
        }
    }
}

static void test_one_to_one_stays_within_the_bound(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned element = 0; element < VDB_ELEMENT_COUNT; element++) {
        for (size_t dimension = 1; dimension <= DIMENSION_SMALL_MAX; dimension++) {
            check_dimension(fixture, (vdb_element)element, dimension);
        }
        for (size_t i = 0; i < sizeof large_dimensions / sizeof large_dimensions[0]; i++) {
            check_dimension(fixture, (vdb_element)element, large_dimensions[i]);
        }
    }
}

/* One row count and stride: `many` gives what `one` gives, in exactly `count` places of out. */
static void check_many(struct fixture *fixture, struct setting at, const char *query, size_t stride, size_t count)
{
    const double poison = -123456789.0;
    const struct vdb_kernels *table = &fixture->tables[at.level];
    size_t bytes = at.dimension * vdb_element_bytes(at.element);
    const char *rows = guarded_at(&fixture->rows, count == 0 ? 0 : (count - 1) * stride + bytes, at.place);
    double out[ROWS_MAX + 2];
    for (size_t i = 0; i < ROWS_MAX + 2; i++) {
        out[i] = poison;
    }
    table->many[at.element][at.metric](query, rows, stride, count, at.dimension, out + 1);
    for (size_t i = 0; i < count; i++) {
        double want = table->one[at.element][at.metric](query, rows + i * stride, at.dimension);
        if (memcmp(&out[i + 1], &want, sizeof want) != 0) {
            fail_setting(&at, "one-to-many differs from one-to-one", out[i + 1], want, 0);
        }
    }
    if (out[0] != poison || out[count + 1] != poison) {
        fail_setting(&at, "wrote outside out", out[count + 1], poison, 0);
    }
}

static void check_many_dimension(struct fixture *fixture, vdb_element element, size_t dimension)
{
    size_t bytes = dimension * vdb_element_bytes(element);
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
            for (unsigned level = 0; level <= fixture->machine; level++) {
                at.level = (vdb_cpu_level)level;
                for (size_t count = 0; count <= ROWS_MAX; count++) {
                    check_many(fixture, at, query, stride, count);
                }
            }
        }
    }
}

static void test_one_to_many_equals_one_to_one(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned element = 0; element < VDB_ELEMENT_COUNT; element++) {
        for (size_t dimension = 1; dimension <= DIMENSION_SMALL_MAX; dimension++) {
            check_many_dimension(fixture, (vdb_element)element, dimension);
        }
        for (size_t i = 0; i < sizeof large_dimensions / sizeof large_dimensions[0]; i++) {
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
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(fixture->memory[0].data, (unsigned char)cases[i].a, DIMENSION_MAX);
        memset(fixture->memory[1].data, (unsigned char)cases[i].b, DIMENSION_MAX);
        for (unsigned level = 0; level <= fixture->machine; level++) {
            struct setting at = {.level = (vdb_cpu_level)level,
                                 .element = cases[i].element,
                                 .metric = cases[i].metric,
                                 .dimension = DIMENSION_MAX};
            double got = fixture->tables[level].one[at.element][at.metric](
                fixture->memory[0].data, fixture->memory[1].data, DIMENSION_MAX);
            if (got != cases[i].want) {
                fail_setting(&at, "not exact", got, cases[i].want, 0);
            }
        }
    }
    for (unsigned element = VDB_ELEMENT_U8; element <= VDB_ELEMENT_I8; element++) {
        check_dimension(fixture, (vdb_element)element, DIMENSION_MAX - 1);
    }
}

static void test_f32_stays_within_the_bound_at_the_largest_dimension(void **state)
{
    struct fixture *fixture = *state;
    struct setting at = {.element = VDB_ELEMENT_F32, .dimension = DIMENSION_MAX};
    for (unsigned fill = 0; fill < 2; fill++) {
        for (unsigned i = 0; i < 2; i++) {
            /* Equal terms drift furthest: every addition rounds the same way. */
            fill_vector(fixture->memory[i].data, at.element, at.dimension, FILL_RANDOM, &fixture->rng);
            for (size_t j = 0; fill == 1 && j < at.dimension; j++) {
                ((float *)(void *)fixture->memory[i].data)[j] = i == 0 ? 0.1f : 0.7f;
            }
        }
        for (unsigned metric = 0; metric < VDB_METRIC_COUNT; metric++) {
            for (unsigned level = 0; level <= fixture->machine; level++) {
                at.level = (vdb_cpu_level)level;
                at.metric = (vdb_metric)metric;
                check_one(&at, fixture->tables[level].one[at.element][metric], fixture->memory[0].data,
                          fixture->memory[1].data);
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
    for (unsigned level = 0; level <= fixture->machine; level++) {
        vdb_distance_fn *cosine = fixture->tables[level].one[VDB_ELEMENT_F32][VDB_METRIC_COSINE];
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

/* Every entry is there at every level, and a level changes what it should. */
static void test_tables_are_full(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned level = 0; level <= fixture->machine; level++) {
        assert_int_equal(fixture->tables[level].level, level);
        for (unsigned element = 0; element < VDB_ELEMENT_COUNT; element++) {
            for (unsigned metric = 0; metric < VDB_METRIC_COUNT; metric++) {
                assert_non_null(fixture->tables[level].one[element][metric]);
                assert_non_null(fixture->tables[level].many[element][metric]);
                if (level > 0) {
                    assert_ptr_not_equal(fixture->tables[level].one[element][metric],
                                         fixture->tables[level - 1].one[element][metric]);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_are_full),
        cmocka_unit_test(test_one_to_one_stays_within_the_bound),
        cmocka_unit_test(test_one_to_many_equals_one_to_one),
        cmocka_unit_test(test_integers_are_exact_at_the_largest_dimension),
        cmocka_unit_test(test_f32_stays_within_the_bound_at_the_largest_dimension),
        cmocka_unit_test(test_cosine_of_particular_vectors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
