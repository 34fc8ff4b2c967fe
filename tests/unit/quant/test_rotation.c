/* test_rotation.c: rotations keep lengths and distances, mix what they should, learn what a sample has, answer alike on all
 * levels, and survive saving. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "quant/rotation.h"
#include "quant/rotation_kernels.h"

enum {
    SEED = 31,
    LEVELS_MAX = 8,
    PCA_DIMENSION = 200 /* in most tests: without optimisation more takes seconds */
};

static struct vdb_rng rng;

static float *floats(size_t count)
{
    float *x = vdb_alloc_aligned(count * sizeof *x);
    assert_non_null(x);
    return x;
}

static float *normals(size_t count)
{
    float *x = floats(count);
    for (size_t i = 0; i < count; i++) {
        x[i] = vdb_rng_normal(&rng);
    }
    return x;
}

static double dot(const float *a, const float *b, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

/* Rows whose variance along coordinate i is spectrum(i), then turned by a few reflections so that it hides. */
static float *sample_create(size_t count, size_t dimension)
{
    float *x = normals(count * dimension);
    float *mirror = normals(dimension);
    double square = dot(mirror, mirror, dimension);
    for (size_t row = 0; row < count; row++) {
        float *at = x + row * dimension;
        for (size_t i = 0; i < dimension; i++) {
            at[i] = at[i] * 30 / (float)(1 + i) + 5;
        }
        double beta = 2 * dot(at, mirror, dimension) / square;
        for (size_t i = 0; i < dimension; i++) {
            at[i] -= (float)beta * mirror[i];
        }
    }
    free(mirror);
    return x;
}

static struct vdb_rotation *create(size_t dimension, vdb_rotation_kind kind, size_t leading)
{
    enum { SAMPLE = 700 }; /* more than a slab, no multiple of one */
    float *sample = sample_create(SAMPLE, dimension);
    struct vdb_rotation_options options = {.kind = kind,
                                           .seed = 5,
                                           .leading = leading,
                                           .sample = sample,
                                           .sample_stride = dimension,
                                           .sample_count = SAMPLE};
    struct vdb_rotation *rotation = NULL;
    struct vdb_err err;
    if (vdb_rotation_create(dimension, &options, &rotation, &err) != VDB_OK) {
        fail_msg("%s", err.text);
    }
    free(sample);
    return rotation;
}

static const size_t dimensions[] = {1, 3, 63, 64, 65, 100, 128, 200, 256, 300, 784};
enum { DIMENSIONS = sizeof dimensions / sizeof dimensions[0] };

/* O1 for lengths, and for inner products of pairs. */
static void test_lengths_and_products_stay(void **state)
{
    (void)state;
    for (size_t n = 0; n < DIMENSIONS; n++) {
        for (unsigned kind = 0; kind < VDB_ROTATION_KIND_COUNT; kind++) {
            const size_t d = dimensions[n];
            if (kind != VDB_ROTATION_RANDOM && d > PCA_DIMENSION) {
                continue;
            }
            struct vdb_rotation *rotation = create(d, (vdb_rotation_kind)kind,
                                                   kind == VDB_ROTATION_PCA_RANDOM ? 64 : 0);
            const size_t padded = vdb_rotation_padded(rotation);
            assert_int_equal(padded, (d + 63) / 64 * 64);
            assert_int_equal(vdb_rotation_dimension(rotation), d);
            assert_int_equal(vdb_rotation_kind_of(rotation), kind);
            assert_true(vdb_rotation_bytes(rotation) > 0);
            float *a = normals(d);
            float *b = normals(d);
            float *ra = floats(padded);
            float *rb = floats(padded);
            vdb_rotation_apply(rotation, a, padded, ra);
            vdb_rotation_apply(rotation, b, padded, rb);
            double aa = dot(a, a, d);
            double bb = dot(b, b, d);
            assert_true(fabs(dot(ra, ra, padded) - aa) <= aa * 0x1p-15);
            assert_true(fabs(dot(ra, rb, padded) - dot(a, b, d)) <= sqrt(aa * bb) * 0x1p-15);
            free(a);
            free(b);
            free(ra);
            free(rb);
            vdb_rotation_destroy(rotation);
        }
    }
}

/* A random rotation takes a unit vector to coordinates of variance 1 / padded, and no coordinate to much more. */
static void test_random_ones_mix(void **state)
{
    (void)state;
    const size_t sizes[] = {64, 128, 192, 320, 448, 512, 576, 960, 1088, 1984};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const size_t d = sizes[s];
        struct vdb_rotation *rotation = create(d, VDB_ROTATION_RANDOM, 0);
        float *in = floats(d);
        float *out = floats(d);
        for (size_t axis = 0; axis < d; axis += 1 + d / 50) {
            memset(in, 0, d * sizeof *in);
            in[axis] = 1;
            vdb_rotation_apply(rotation, in, d, out);
            double fourth = 0;
            double front = 0;
            double most = 0;
            for (size_t i = 0; i < d; i++) {
                double square = (double)out[i] * (double)out[i] * (double)d;
                fourth += square * square / (double)d;
                front += i < d / 2 ? square / (double)d : 0;
                most = fmax(most, square);
            }
            /* Gaussian: fourth moment 3, half of the length in front, greatest square about 2 ln (50 d), 23 at most. */
            if (!(fourth < 6 && front > 0.2 && front < 0.8 && most < 60)) {
                fail_msg("dimension %zu, axis %zu: fourth moment %g, front %g, greatest square %g", d, axis,
                         fourth, front, most);
            }
        }
        free(in);
        free(out);
        vdb_rotation_destroy(rotation);
    }
}

/* What the first n outputs of a PCA hold is what `explained` says, and more than any n coordinates do. */
static void test_pca_explains_variance(void **state)
{
    (void)state;
    enum { D = 200, COUNT = 900 };
    float *sample = sample_create(COUNT, D);
    for (unsigned kind = VDB_ROTATION_PCA; kind <= VDB_ROTATION_PCA_RANDOM; kind++) {
        struct vdb_rotation_options options = {.kind = (vdb_rotation_kind)kind,
                                               .seed = 1,
                                               .explained_min = kind == VDB_ROTATION_PCA_RANDOM ? 0.99 : 0,
                                               .sample = sample,
                                               .sample_stride = D,
                                               .sample_count = COUNT};
        struct vdb_rotation *rotation;
        assert_int_equal(vdb_rotation_create(D, &options, &rotation, NULL), VDB_OK);
        float *out = floats(COUNT * 256);
        vdb_rotation_apply_many(rotation, sample, D, COUNT, 256, out, 256, NULL);
        double variance[256];
        double all = 0;
        for (size_t i = 0; i < 256; i++) {
            double mean = 0;
            double square = 0;
            for (size_t row = 0; row < COUNT; row++) {
                mean += (double)out[row * 256 + i] / COUNT;
            }
            for (size_t row = 0; row < COUNT; row++) {
                square += pow((double)out[row * 256 + i] - mean, 2) / COUNT;
            }
            variance[i] = square;
            all += square;
        }
        double within = 0;
        for (size_t count = 1; count <= 256; count++) {
            within += variance[count - 1];
            if (kind == VDB_ROTATION_PCA || count % 64 == 0) {
                assert_true(fabs(vdb_rotation_explained(rotation, count) - within / all) < 1e-4);
            }
            if (kind == VDB_ROTATION_PCA && count > 1) {
                assert_true(variance[count - 1] <= variance[count - 2] * 1.001 + 1e-9);
            }
        }
        assert_true(vdb_rotation_explained(rotation, 64) > 0.98);
        size_t enough = vdb_rotation_dimensions_for(rotation, 0.99);
        assert_true(vdb_rotation_explained(rotation, enough) >= 0.99);
        assert_true(enough == 64 || vdb_rotation_explained(rotation, enough - 64) < 0.99);
        if (kind == VDB_ROTATION_PCA_RANDOM) { /* within the leading ones variance is spread */
            assert_int_equal(vdb_rotation_leading(rotation), enough);
            for (size_t i = 0; i < enough; i++) {
                assert_true(variance[i] < 0.35 * all);
            }
        }
        assert_true(vdb_rotation_explained(rotation, 256) > 1 - 1e-9);
        assert_int_equal(vdb_rotation_dimensions_for(rotation, 1.5), 256);
        free(out);
        vdb_rotation_destroy(rotation);
    }
    free(sample);
}

static unsigned all_levels(struct vdb_rotation_kernels levels[LEVELS_MAX])
{
    unsigned count = 0;
    for (unsigned level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        if (vdb_cpu_runs(vdb_cpu_detect(), (vdb_cpu_level)level)) {
            vdb_rotation_kernels_fill(&levels[count++], (vdb_cpu_level)level, 0);
        }
    }
    if (vdb_cpu_detect_extensions() != 0) {
        vdb_rotation_kernels_fill(&levels[count++], VDB_CPU_AVX512, vdb_cpu_detect_extensions());
    }
    return count;
}

static void expect_same(const char *what, const char *level, const void *a, const void *b, size_t bytes)
{
    if (memcmp(a, b, bytes) != 0) {
        fail_msg("%s: %s differs from scalar", what, level);
    }
}

/* K1 (and by it O2) for every kernel, size and level. */
static void test_levels_are_equal(void **state)
{
    (void)state;
    struct vdb_rotation_kernels levels[LEVELS_MAX];
    const unsigned level_count = all_levels(levels);
    for (size_t count = 64; count <= 4096; count *= 2) {
        float *x = normals(count);
        uint64_t *signs = malloc(count / 8);
        assert_non_null(signs);
        for (size_t i = 0; i < count / 64; i++) {
            signs[i] = vdb_rng_u64(&rng);
        }
        float *expected = floats(count);
        float *got = floats(count);
        for (unsigned l = 1; l < level_count; l++) {
            for (unsigned what = 0; what < 3; what++) {
                for (unsigned scalar = 0; scalar < 2; scalar++) {
                    const struct vdb_rotation_kernels *k = scalar != 0 ? &levels[0] : &levels[l];
                    float *at = scalar != 0 ? expected : got;
                    memcpy(at, x, count * sizeof *x);
                    if (what == 0) {
                        k->hadamard(at, count, 0.3f);
                    } else if (what == 1) {
                        k->flip(at, signs, count);
                    } else {
                        k->halves(at, count / 2, 0.7f);
                    }
                }
                expect_same(what == 0   ? "hadamard"
                            : what == 1 ? "flip"
                                        : "halves",
                            levels[l].from, got, expected, count * sizeof *x);
            }
        }
        free(x);
        free(signs);
        free(expected);
        free(got);
    }
    for (size_t n = 0; n < DIMENSIONS; n++) {
        const size_t d = dimensions[n];
        float *panel = normals(d * 64);
        float *in = normals(6 * (d + 3));
        for (size_t rows = 1; rows <= VDB_ROTATION_ROWS; rows++) {
            float expected[6 * 80] __attribute__((aligned(64))) = {0};
            levels[0].dense(panel, d, in, d + 3, rows, expected, 80);
            for (unsigned l = 1; l < level_count; l++) {
                float got[6 * 80] __attribute__((aligned(64))) = {0};
                levels[l].dense(panel, d, in, d + 3, rows, got, 80);
                expect_same("dense", levels[l].from, got, expected, sizeof got);
            }
        }
        free(panel);
        free(in);
    }
}

static void test_integers_are_exact(void **state)
{
    (void)state;
    struct vdb_rotation_kernels levels[LEVELS_MAX];
    const unsigned level_count = all_levels(levels);
    const size_t sizes[] = {1, 2, 3, 8, 49, 196, 512, VDB_LIMIT_DIMENSION_MAX / 4};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (unsigned extreme = 0; extreme < 3; extreme++) {
            const size_t quads = sizes[s];
            int8_t *panel = vdb_alloc_aligned(quads * 256);
            uint8_t *in = malloc(quads * 4);
            assert_true(panel != NULL && in != NULL);
            for (size_t i = 0; i < quads * 256; i++) {
                panel[i] = (int8_t)(extreme == 0   ? (int)vdb_rng_below(&rng, 255) - 127
                                    : extreme == 1 ? 127
                                                   : -127);
            }
            for (size_t i = 0; i < quads * 4; i++) {
                in[i] = (uint8_t)(extreme == 0 ? vdb_rng_below(&rng, 256) : 255);
            }
            int64_t expected[64] = {0};
            for (size_t i = 0; i < quads * 4; i++) {
                for (size_t j = 0; j < 64; j++) {
                    expected[j] += (int64_t)in[i] * panel[i / 4 * 256 + 4 * j + i % 4];
                }
            }
            for (unsigned l = 0; l < level_count; l++) {
                int32_t got[64];
                levels[l].int8(panel, quads, in, got);
                for (size_t j = 0; j < 64; j++) {
                    if (got[j] != expected[j]) {
                        fail_msg("int8 %s, %zu quads, output %zu: %" PRId32 ", not %" PRId64, levels[l].int8_from,
                                 quads, j, got[j], expected[j]);
                    }
                }
            }
            free(panel);
            free(in);
        }
    }
}

static void test_many_equal_one(void **state)
{
    (void)state;
    enum { COUNT = 203, D = 150, PADDED = 192 };
    struct vdb_pool *pool;
    assert_int_equal(vdb_pool_create(3, &pool, NULL), VDB_OK);
    for (unsigned kind = 0; kind < VDB_ROTATION_KIND_COUNT; kind++) {
        struct vdb_rotation *rotation = create(D, (vdb_rotation_kind)kind, 0);
        float *in = normals(COUNT * (D + 1));
        float *out = floats(COUNT * PADDED);
        float *one = floats(PADDED);
        for (size_t out_count = 64; out_count <= PADDED; out_count += 128) {
            for (unsigned threads = 0; threads < 2; threads++) {
                memset(out, 0xA5, COUNT * PADDED * sizeof *out);
                vdb_rotation_apply_many(rotation, in, D + 1, COUNT, out_count, out, PADDED,
                                        threads == 0 ? NULL : pool);
                for (size_t row = 0; row < COUNT; row++) {
                    vdb_rotation_apply(rotation, in + row * (D + 1), out_count, one);
                    assert_memory_equal(one, out + row * PADDED, out_count * sizeof *one);
                }
            }
        }
        free(in);
        free(out);
        free(one);
        vdb_rotation_destroy(rotation);
    }
    vdb_pool_destroy(pool);
}

/* Threads do not show in what is learnt. */
static void test_learning_is_the_same_on_threads(void **state)
{
    (void)state;
    enum { D = 130, COUNT = 600 };
    float *sample = sample_create(COUNT, D);
    struct vdb_pool *pool;
    assert_int_equal(vdb_pool_create(3, &pool, NULL), VDB_OK);
    struct vdb_buf bytes[2] = {{0}, {0}};
    for (unsigned i = 0; i < 2; i++) {
        struct vdb_rotation_options options = {.kind = VDB_ROTATION_PCA_RANDOM,
                                               .sample = sample,
                                               .sample_stride = D,
                                               .sample_count = COUNT,
                                               .pool = i == 0 ? NULL : pool};
        struct vdb_rotation *rotation;
        assert_int_equal(vdb_rotation_create(D, &options, &rotation, NULL), VDB_OK);
        vdb_rotation_save(rotation, &bytes[i]);
        vdb_rotation_destroy(rotation);
    }
    assert_int_equal(bytes[0].bytes, bytes[1].bytes);
    assert_memory_equal(bytes[0].data, bytes[1].data, bytes[0].bytes);
    vdb_buf_fini(&bytes[0]);
    vdb_buf_fini(&bytes[1]);
    vdb_pool_destroy(pool);
    free(sample);
}

/* O3, for both signs of bytes, against the float matrix. */
static void test_bytes_stay_within_the_bound(void **state)
{
    (void)state;
    for (size_t n = 0; n < DIMENSIONS; n++) {
        for (unsigned kind = 0; kind < VDB_ROTATION_KIND_COUNT; kind++) {
            const size_t d = dimensions[n];
            if (kind != VDB_ROTATION_RANDOM && d > PCA_DIMENSION) {
                continue;
            }
            struct vdb_rotation *rotation = create(d, (vdb_rotation_kind)kind, 0);
            const size_t padded = vdb_rotation_padded(rotation);
            assert_int_equal(vdb_rotation_prepare_int8(rotation, 64, NULL), VDB_OK);
            assert_int_equal(vdb_rotation_prepare_int8(rotation, padded, NULL), VDB_OK);
            uint8_t *bytes = malloc(d);
            float *in = floats(d);
            float *exact = floats(padded);
            float *out = floats(padded);
            assert_non_null(bytes);
            /* The matrix's rows, from unit vectors. */
            float *scales = floats(padded);
            for (size_t i = 0; i < d && kind != VDB_ROTATION_RANDOM; i++) {
                memset(in, 0, d * sizeof *in);
                in[i] = 1;
                vdb_rotation_apply(rotation, in, padded, exact);
                for (size_t j = 0; j < padded; j++) {
                    scales[j] = fmaxf(scales[j], fabsf(exact[j]) / 127);
                }
            }
            for (unsigned is_signed = 0; is_signed < 2; is_signed++) {
                double magnitude = 0;
                double square = 0;
                for (size_t i = 0; i < d; i++) {
                    bytes[i] = (uint8_t)vdb_rng_below(&rng, 256);
                    in[i] = is_signed != 0 ? (float)(int8_t)bytes[i] : (float)bytes[i];
                    magnitude += fabs((double)in[i]);
                    square += (double)in[i] * (double)in[i];
                }
                vdb_rotation_apply(rotation, in, padded, exact);
                if (is_signed != 0) {
                    vdb_rotation_apply_i8(rotation, (const int8_t *)bytes, padded, out);
                } else {
                    vdb_rotation_apply_u8(rotation, bytes, padded, out);
                }
                for (size_t j = 0; j < padded; j++) {
                    double bound = (double)scales[j] / 2 * magnitude + 2 * 0x1p-20 * sqrt(square);
                    assert_true(fabs((double)out[j] - (double)exact[j]) <= bound);
                }
            }
            free(bytes);
            free(in);
            free(exact);
            free(out);
            free(scales);
            vdb_rotation_destroy(rotation);
        }
    }
}

static void test_saved_ones_load(void **state)
{
    (void)state;
    enum { D = 100, PADDED = 128 };
    for (unsigned kind = 0; kind < VDB_ROTATION_KIND_COUNT; kind++) {
        struct vdb_rotation *rotation = create(D, (vdb_rotation_kind)kind,
                                               kind == VDB_ROTATION_PCA_RANDOM ? 64 : 0);
        struct vdb_rotation *loaded;
        struct vdb_buf bytes = {0};
        struct vdb_cursor cursor;
        struct vdb_err err;
        vdb_rotation_save(rotation, &bytes);
        vdb_buf_put_u8(&bytes, 77); /* what follows is not its own */
        assert_false(bytes.failed);
        vdb_cursor_init(&cursor, bytes.data, bytes.bytes);
        assert_int_equal(vdb_rotation_load(&cursor, &loaded, &err), VDB_OK);
        assert_int_equal(vdb_cursor_left(&cursor), 1);
        float *in = normals(D);
        float *a = floats(PADDED);
        float *b = floats(PADDED);
        vdb_rotation_apply(rotation, in, PADDED, a);
        vdb_rotation_apply(loaded, in, PADDED, b);
        assert_memory_equal(a, b, PADDED * sizeof *a);
        assert_int_equal(vdb_rotation_leading(loaded), vdb_rotation_leading(rotation));
        assert_true(vdb_rotation_explained(loaded, 64) == vdb_rotation_explained(rotation, 64));
        vdb_rotation_destroy(loaded);
        for (size_t cut = 0; cut + 1 < bytes.bytes; cut += cut < 40 ? 1 : 997) {
            vdb_cursor_init(&cursor, bytes.data, cut);
            assert_int_equal(vdb_rotation_load(&cursor, &loaded, &err), VDB_CORRUPT);
            assert_null(loaded);
        }
        /* Each field of the header made impossible in turn. */
        const struct {
            size_t at;
            uint32_t value;
            vdb_status status;
        } wrong[] = {{0, 1, VDB_CORRUPT},    {4, 2, VDB_VERSION},      {8, 3, VDB_CORRUPT},
                     {12, 0, VDB_CORRUPT},   {12, 65537, VDB_CORRUPT}, {16, 0, VDB_CORRUPT},
                     {16, 192, VDB_CORRUPT}, {16, 65, VDB_CORRUPT},    {20, 1, VDB_CORRUPT}};
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            uint32_t old = vdb_load_u32(bytes.data + wrong[i].at);
            vdb_store_u32(bytes.data + wrong[i].at, wrong[i].value);
            vdb_cursor_init(&cursor, bytes.data, bytes.bytes);
            assert_int_equal(vdb_rotation_load(&cursor, &loaded, &err), wrong[i].status);
            vdb_store_u32(bytes.data + wrong[i].at, old);
        }
        if (kind != VDB_ROTATION_RANDOM) { /* an exponent in the matrix, a negative variance */
            const size_t matrix = 32 + PADDED * sizeof(double);
            bytes.data[matrix + 4 * 130 + 3] ^= 0x40;
            vdb_cursor_init(&cursor, bytes.data, bytes.bytes);
            assert_int_equal(vdb_rotation_load(&cursor, &loaded, &err), VDB_CORRUPT);
            assert_string_equal(err.text, "rotation: the matrix does not keep lengths");
            bytes.data[matrix + 4 * 130 + 3] ^= 0x40;
            bytes.data[32 + 7] |= 0x80;
            vdb_cursor_init(&cursor, bytes.data, bytes.bytes);
            assert_int_equal(vdb_rotation_load(&cursor, &loaded, &err), VDB_CORRUPT);
        }
        vdb_buf_fini(&bytes);
        free(in);
        free(a);
        free(b);
        vdb_rotation_destroy(rotation);
    }
}

static void expect_refused(size_t dimension, struct vdb_rotation_options options, vdb_status status,
                           const char *text)
{
    struct vdb_rotation *rotation;
    struct vdb_err err = {0};
    assert_int_equal(vdb_rotation_create(dimension, &options, &rotation, &err), status);
    assert_null(rotation);
    assert_string_equal(err.text, text);
}

static void test_bad_input_is_named(void **state)
{
    (void)state;
    float sample[2 * 70] = {0};
    struct vdb_rotation_options options = {
        .kind = VDB_ROTATION_PCA_RANDOM, .sample = sample, .sample_stride = 70, .sample_count = 2};
    struct vdb_rotation_options wrong = options;
    expect_refused(0, options, VDB_INVALID, "dimension: 0; at least 1");
    expect_refused(4097, options, VDB_LIMIT, "dimension: 4097; at most 4096 with PCA");
    wrong.kind = VDB_ROTATION_RANDOM;
    expect_refused(65537, wrong, VDB_LIMIT, "dimension: 65537; at most 65536");
    wrong.kind = VDB_ROTATION_KIND_COUNT;
    expect_refused(70, wrong, VDB_INVALID, "kind: 3; below 3");
    wrong = options;
    wrong.sample_count = 0;
    expect_refused(70, wrong, VDB_INVALID, "sample_count: 0; at least 1");
    wrong = options;
    wrong.sample_stride = 69;
    expect_refused(70, wrong, VDB_INVALID, "sample_stride: 69; at least the dimension, 70");
    wrong = options;
    wrong.leading = 192;
    expect_refused(70, wrong, VDB_INVALID, "leading: 192; a multiple of 64 up to 128");
    wrong.leading = 65;
    expect_refused(70, wrong, VDB_INVALID, "leading: 65; a multiple of 64 up to 128");
    wrong = options;
    wrong.explained_min = (double)NAN;
    expect_refused(70, wrong, VDB_INVALID, "explained_min: nan; from 0 to 1");
    wrong.explained_min = 1.01;
    expect_refused(70, wrong, VDB_INVALID, "explained_min: 1.01; from 0 to 1");
    sample[71] = INFINITY;
    expect_refused(70, options, VDB_INVALID, "sample: element 1 of row 1 is not finite");
}

/* One row, equal rows, values whose squares leave f32. */
static void test_poor_samples(void **state)
{
    (void)state;
    enum { D = 70 };
    float sample[3 * D];
    struct vdb_rotation *rotation;
    struct vdb_err err;
    for (size_t i = 0; i < 3 * D; i++) {
        sample[i] = (float)(i % D);
    }
    for (size_t count = 1; count <= 3; count += 2) {
        struct vdb_rotation_options options = {.kind = VDB_ROTATION_PCA_RANDOM,
                                               .sample = sample,
                                               .sample_stride = D,
                                               .sample_count = count,
                                               .explained_min = 0.9};
        assert_int_equal(vdb_rotation_create(D, &options, &rotation, &err), VDB_OK);
        assert_true(vdb_rotation_explained(rotation, 64) == 1);
        float *out = floats(128);
        vdb_rotation_apply(rotation, sample, 128, out);
        double length = dot(sample, sample, D);
        assert_true(fabs(dot(out, out, 128) - length) <= length * 0x1p-15);
        free(out);
        vdb_rotation_destroy(rotation);
    }
    sample[0] = 3e38f;
    sample[D] = -3e38f;
    struct vdb_rotation_options options = {
        .kind = VDB_ROTATION_PCA, .sample = sample, .sample_stride = D, .sample_count = 3};
    assert_int_equal(vdb_rotation_create(D, &options, &rotation, &err), VDB_INVALID);
    assert_non_null(strstr(err.text, "sample: covariance: "));
}

static int seed(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    vdb_rng_init(&rng, SEED);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_and_products_stay),
        cmocka_unit_test(test_random_ones_mix),
        cmocka_unit_test(test_pca_explains_variance),
        cmocka_unit_test(test_levels_are_equal),
        cmocka_unit_test(test_integers_are_exact),
        cmocka_unit_test(test_many_equal_one),
        cmocka_unit_test(test_learning_is_the_same_on_threads),
        cmocka_unit_test(test_bytes_stay_within_the_bound),
        cmocka_unit_test(test_saved_ones_load),
        cmocka_unit_test(test_bad_input_is_named),
        cmocka_unit_test(test_poor_samples),
    };
    return cmocka_run_group_tests(tests, seed, NULL);
}
