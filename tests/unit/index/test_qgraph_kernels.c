/* test_qgraph_kernels.c: a visit of the quantised graph by the kernels of every level, against plain C. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "index/qgraph_internal.h"
#include "index/qgraph_kernels.h"

enum {
    NODES = 3 * VDB_QGRAPH_MET_BITS, /* three share a bit of `met` */
    LANES_MAX = 512,
    VISITS = 60,
    HALF_INFINITY = 0x7C00,
    HALF_ONE_EXPONENT = 15,
};

/* One pool; all of it is compared but `met`, which may hold more than it has to. */
struct pool {
    _Alignas(64) float distances[LANES_MAX];
    _Alignas(64) uint32_t nodes[LANES_MAX];
    uint32_t met[VDB_QGRAPH_MET_WORDS];
    struct vdb_qgraph_pool pool;
};

/* What a walk has, but for real data. */
struct scene {
    struct vdb_rng rng;
    struct vdb_qgraph_shape shape;
    struct vdb_qgraph_query query;
    uint8_t *block;
    uint8_t *tables;
    int8_t *vector;
    uint32_t marks[NODES / 32];
    struct pool now;
};

static uint16_t random_half(struct vdb_rng *rng, unsigned exponents)
{
    const unsigned exponent = HALF_ONE_EXPONENT + 1 - (unsigned)vdb_rng_below(rng, exponents);
    return (uint16_t)(vdb_rng_below(rng, 2) << 15 | exponent << 10 | vdb_rng_below(rng, 1024));
}

static void random_bytes(struct vdb_rng *rng, void *out, size_t bytes, bool extreme)
{
    for (size_t i = 0; i < bytes; i++) {
        ((uint8_t *)out)[i] = (uint8_t)(extreme ? 0 - vdb_rng_below(rng, 2) : vdb_rng_below(rng, 256));
    }
}

static void set_scene(struct scene *scene, uint64_t seed, uint32_t dimension, uint32_t bits, uint32_t lanes)
{
    memset(scene, 0, sizeof *scene);
    vdb_rng_init(&scene->rng, seed);
    vdb_qgraph_block_shape(dimension, bits, seed % 2 == 0 ? NODES : QGRAPH_SMALL_NODES, &scene->shape);
    scene->block = vdb_alloc_aligned(scene->shape.block_bytes);
    scene->vector = vdb_alloc_aligned(scene->shape.codes_at);
    scene->tables = vdb_alloc_aligned(vdb_fastscan_lut_bytes(bits));
    assert_true(scene->block != NULL && scene->vector != NULL && scene->tables != NULL);
    memset(scene->vector, 0, scene->shape.codes_at);
    if (vdb_rng_below(&scene->rng, 3) == 0) { /* the ends of the range, where sums of pairs are greatest */
        memset(scene->vector, (int)vdb_rng_below(&scene->rng, 2) + 127, dimension);
    } else {
        random_bytes(&scene->rng, scene->vector, dimension, false);
    }
    /* No code's sum may leave 16 bits. */
    const size_t most = 65535 / (bits / 4) < 255 ? 65535 / (bits / 4) : 255;
    const bool full = vdb_rng_below(&scene->rng, 4) == 0;
    for (size_t i = 0; i < vdb_fastscan_lut_bytes(bits); i++) {
        scene->tables[i] = (uint8_t)(full ? most : vdb_rng_below(&scene->rng, most + 1));
    }
    scene->query = (struct vdb_qgraph_query){.vector = scene->vector,
                                             .tables = scene->tables,
                                             .scan = vdb_fastscan_get()->scan,
                                             .square = (uint32_t)vdb_rng_below(&scene->rng, 1 << 20),
                                             .unit = 0x1p-20F,
                                             .slope = 0x1.37p-12F,
                                             .shift = -1.3F};
    scene->now.pool = (struct vdb_qgraph_pool){.distances = scene->now.distances,
                                               .nodes = scene->now.nodes,
                                               .lanes = lanes,
                                               .last = seed % 3 == 0 ? lanes / 2 : lanes - 1,
                                               .next = lanes,
                                               .limit = INFINITY,
                                               .marks = scene->marks,
                                               .met = scene->now.met};
    for (size_t i = 0; i < LANES_MAX; i++) {
        scene->now.distances[i] = INFINITY;
        scene->now.nodes[i] = VDB_QGRAPH_DONE;
    }
}

static void leave_scene(struct scene *scene)
{
    free(scene->block);
    free(scene->vector);
    free(scene->tables);
}

/* A block of neighbours of which many were met before: nodes of a small range, each once. */
static void next_block(struct scene *scene)
{
    struct vdb_rng *rng = &scene->rng;
    const struct vdb_qgraph_shape *shape = &scene->shape;
    uint8_t *block = scene->block;
    memset(block, 0, shape->block_bytes);
    random_bytes(rng, block, shape->dimension, vdb_rng_below(rng, 3) == 0);
    struct vdb_qgraph_head *head = (struct vdb_qgraph_head *)(void *)(block + shape->head_at);
    head->norm = (uint32_t)vdb_rng_below(rng, UINT64_C(1) << 32);
    random_bytes(rng, block + shape->codes_at, vdb_fastscan_packed_bytes(shape->bits),
                 vdb_rng_below(rng, 4) == 0);
    uint16_t *factors = (uint16_t *)(void *)(block + shape->factors_at);
    uint32_t nodes[VDB_QGRAPH_DEGREE];
    const uint32_t first = (uint32_t)vdb_rng_below(rng, VDB_QGRAPH_MET_BITS / 100);
    for (uint32_t i = 0; i < VDB_QGRAPH_DEGREE; i++) {
        /* Few exponents make ties, many make estimates that are nearly the same. */
        factors[i] = random_half(rng, i % 2 == 0 ? 2 : 12);
        factors[VDB_QGRAPH_DEGREE + i] = i % 8 == 7 ? factors[VDB_QGRAPH_DEGREE + i - 1] : random_half(rng, 4);
        factors[i] = i % 8 == 7 ? factors[i - 1] : factors[i];
        nodes[i] = first + 5 * i + VDB_QGRAPH_MET_BITS * (uint32_t)vdb_rng_below(rng, 3);
    }
    if (vdb_rng_below(rng, 5) == 0) { /* places that nobody has */
        for (uint32_t i = 20; i < VDB_QGRAPH_DEGREE; i++) {
            factors[i] = HALF_INFINITY;
            nodes[i] = NODES - 1;
        }
    }
    for (uint32_t i = 0; i < VDB_QGRAPH_DEGREE; i++) {
        uint8_t number[4];
        vdb_store_u32(number, nodes[i]);
        memcpy(block + shape->nodes_at + i * shape->node_bytes, number, shape->node_bytes);
    }
    if (vdb_rng_below(rng, 2) == 0) { /* at a distance that leaves the estimates something to say */
        uint32_t product = 0;
        for (size_t i = 0; i < shape->dimension; i++) {
            product += (uint32_t)(block[i] * scene->vector[i]);
        }
        head->norm = (uint32_t)vdb_rng_below(rng, 1 << 22) + 2 * product - scene->query.square;
    }
}

/* As a walk does between visits: takes some, and at times narrows the limit. */
static void take_some(struct scene *scene)
{
    struct vdb_qgraph_pool *pool = &scene->now.pool;
    for (size_t i = vdb_rng_below(&scene->rng, 3); i > 0 && pool->next < pool->lanes; i--) {
        const uint32_t node = pool->nodes[pool->next];
        pool->nodes[pool->next] |= VDB_QGRAPH_DONE;
        scene->marks[node / 32] |= UINT32_C(1) << (node % 32);
        while (pool->next < pool->lanes && (pool->nodes[pool->next] & VDB_QGRAPH_DONE) != 0) {
            pool->next++;
        }
    }
    if (vdb_rng_below(&scene->rng, 20) == 0) {
        pool->limit = pool->distances[vdb_rng_below(&scene->rng, pool->lanes)];
    }
}

static uint32_t visit_with(const struct vdb_qgraph_kernels *table, const struct scene *scene, struct pool *out)
{
    memcpy(out, &scene->now, sizeof *out);
    out->pool.distances = out->distances;
    out->pool.nodes = out->nodes;
    out->pool.met = out->met;
    return table->visit(&scene->shape, &scene->query, scene->block, &out->pool);
}

static void assert_order(const struct pool *pool)
{
    for (uint32_t i = 1; i < pool->pool.lanes; i++) {
        assert_true(pool->distances[i - 1] <= pool->distances[i]);
    }
}

static void run_scene(uint64_t seed, uint32_t dimension, uint32_t bits, uint32_t lanes, size_t *moved)
{
    static struct scene scene;
    static struct pool plain;
    static struct pool other;
    const struct vdb_kernels *kernels = vdb_kernels_get();
    struct vdb_qgraph_kernels scalar;
    vdb_qgraph_kernels_scalar(&scalar);
    set_scene(&scene, seed, dimension, bits, lanes);
    for (size_t v = 0; v < VISITS; v++) {
        next_block(&scene);
        const uint32_t exact = visit_with(&scalar, &scene, &plain);
        assert_order(&plain);
        for (unsigned level = VDB_CPU_SCALAR; level <= kernels->level; level++) {
            if (!vdb_cpu_runs(kernels->level, (vdb_cpu_level)level)) {
                continue;
            }
            struct vdb_qgraph_kernels table;
            vdb_qgraph_kernels_fill(&table, level, kernels->extensions);
            const bool alike = visit_with(&table, &scene, &other) == exact &&
                               other.pool.next == plain.pool.next &&
                               memcmp(other.distances, plain.distances, sizeof plain.distances) == 0 &&
                               memcmp(other.nodes, plain.nodes, sizeof plain.nodes) == 0;
            if (!alike) {
                fail_msg("seed %llu, dimension %u, %u bits, %u places, visit %zu: %s differs",
                         (unsigned long long)seed, dimension, bits, lanes, v, table.name);
            }
            for (size_t w = 0; w < VDB_QGRAPH_MET_WORDS; w++) { /* whoever was put in is known to be */
                assert_int_equal(other.met[w] & plain.met[w], plain.met[w]);
            }
        }
        *moved += memcmp(plain.nodes, scene.now.nodes, sizeof plain.nodes) != 0;
        memcpy(scene.now.distances, plain.distances, sizeof plain.distances);
        memcpy(scene.now.nodes, plain.nodes, sizeof plain.nodes);
        memcpy(scene.now.met, plain.met, sizeof plain.met);
        scene.now.pool.next = plain.pool.next;
        take_some(&scene);
    }
    leave_scene(&scene);
}

/* From the same pool every level makes the same one, bit by bit, in pools of every form that kernels have. */
static void test_visits(void **state)
{
    (void)state;
    static const uint32_t lanes[] = {16, 32, 48, 64, 80, 112, 128, 240, 256, 272, 512};
    static const uint32_t dimensions[] = {1, 31, 64, 100, 128, 300, 784, 1000, 8192};
    static const uint32_t bits[] = {64, 128, 192, 256, 512, 1024};
    size_t moved = 0;
    size_t scenes = 0;
    for (size_t d = 0; d < sizeof dimensions / sizeof dimensions[0]; d++) {
        for (size_t b = 0; b < sizeof bits / sizeof bits[0]; b++) {
            for (size_t l = 0; l < sizeof lanes / sizeof lanes[0]; l++, scenes++) {
                run_scene(scenes, dimensions[d], bits[b], lanes[l], &moved);
            }
        }
    }
    if (moved < scenes * VISITS / 4) {
        fail_msg("only %zu of %zu visits changed the pool", moved, scenes * VISITS);
    }
}

/* Inputs of every rest modulo 4 and lengths around the steps in which kernels take them; -128 as well. */
static void test_projections(void **state)
{
    (void)state;
    static const size_t inputs[] = {1,  2,   3,   4,   5,   28,  31,  32,  33,  36,
                                    64, 127, 255, 256, 257, 260, 288, 784, 1023};
    enum { OUTPUTS = 128, INPUTS_MAX = 1024 };
    const struct vdb_kernels *kernels = vdb_kernels_get();
    struct vdb_qgraph_kernels plain;
    struct vdb_rng rng;
    vdb_rng_init(&rng, 59);
    vdb_qgraph_kernels_scalar(&plain);
    _Alignas(64) static int8_t matrix[INPUTS_MAX * OUTPUTS];
    _Alignas(64) static int32_t projected[2][OUTPUTS];
    for (size_t n = 0; n < sizeof inputs / sizeof inputs[0]; n++) {
        /* Memory that ends where reading may: behind the inputs, rounded up to 4. */
        uint8_t *vector = malloc((inputs[n] + 3) / 4 * 4);
        assert_non_null(vector);
        for (unsigned round = 0; round < 8; round++) {
            random_bytes(&rng, vector, (inputs[n] + 3) / 4 * 4, false);
            random_bytes(&rng, matrix, sizeof matrix, false);
            if (round < 3) {
                memset(vector, 255, (inputs[n] + 3) / 4 * 4);
                memset(matrix, round == 0 ? 0x80 : 0x7F, round < 2 ? sizeof matrix : 0);
            }
            plain.project(matrix, vector, inputs[n], OUTPUTS, projected[0]);
            for (unsigned level = VDB_CPU_SCALAR; level <= kernels->level; level++) {
                struct vdb_qgraph_kernels table;
                if (!vdb_cpu_runs(kernels->level, (vdb_cpu_level)level)) {
                    continue;
                }
                vdb_qgraph_kernels_fill(&table, level, kernels->extensions);
                memset(projected[1], 0x55, sizeof projected[1]);
                table.project(matrix, vector, inputs[n], OUTPUTS, projected[1]);
                if (memcmp(projected[0], projected[1], sizeof projected[0]) != 0) {
                    fail_msg("%zu inputs, round %u: %s differs", inputs[n], round, table.name);
                }
            }
        }
        free(vector);
    }
}

/* Every length up to several steps, of vectors that end where their memory does. */
static void test_distances(void **state)
{
    (void)state;
    enum { DIMENSIONS = 300 };
    const struct vdb_kernels *kernels = vdb_kernels_get();
    struct vdb_qgraph_kernels plain;
    struct vdb_rng rng;
    vdb_rng_init(&rng, 61);
    vdb_qgraph_kernels_scalar(&plain);
    for (size_t dimension = 1; dimension <= DIMENSIONS; dimension++) {
        uint8_t *a = malloc(dimension);
        uint8_t *b = malloc(dimension);
        assert_true(a != NULL && b != NULL);
        for (unsigned round = 0; round < 4; round++) {
            random_bytes(&rng, a, dimension, round == 1);
            random_bytes(&rng, b, dimension, round == 1);
            if (round == 0) {
                memset(a, 255, dimension);
                memset(b, 0, dimension);
            }
            const uint32_t truth = plain.distance(a, b, dimension);
            for (unsigned level = VDB_CPU_SCALAR; level <= kernels->level; level++) {
                struct vdb_qgraph_kernels table;
                if (!vdb_cpu_runs(kernels->level, (vdb_cpu_level)level)) {
                    continue;
                }
                vdb_qgraph_kernels_fill(&table, level, kernels->extensions);
                assert_int_equal(table.distance(a, b, dimension), truth);
                assert_int_equal(table.distance(b, a, dimension), truth);
            }
        }
        free(a);
        free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_visits),
        cmocka_unit_test(test_projections),
        cmocka_unit_test(test_distances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
