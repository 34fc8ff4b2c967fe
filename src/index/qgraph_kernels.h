/* qgraph_kernels.h: the inner steps of the quantised graph, and the layout of a node's block that they share.
 *
 * A block is all that a visit needs, in consecutive cache lines:
 *
 *     vector  dimension bytes (u8), zero up to head_at
 *     head    struct vdb_qgraph_head
 *     nodes   the 32 neighbours' numbers, of node_bytes each: 3 while nodes are few enough, else 4; zero up to a
 *             multiple of 64
 *     codes   of the neighbours, `bits` bits each, packed as quant/fastscan.h has it
 *     factors 32 x f16 `offset`, 32 x f16 `slope`
 *
 * A neighbour's estimate is base + offset + slope * (query->slope * sum + query->shift), each product and sum
 * rounded on its own, `sum` being the exact sum of the table's bytes that its code picks. So all levels give the
 * same bits.
 *
 * In the manner of distance/kernels.h: plain C fills the table first, each instruction set overrides it
 * downwards. Threads: pure functions on the caller's memory; the table is immutable.
 */
#ifndef VDB_INDEX_QGRAPH_KERNELS_H
#define VDB_INDEX_QGRAPH_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/fastscan.h"

enum {
    VDB_QGRAPH_DEGREE = 32,
    VDB_QGRAPH_BITS_MAX = 1024,
    VDB_QGRAPH_CODE_MAX = 16383, /* projections at build time: differences of two fit 16 bits */
    VDB_QGRAPH_MET_BITS = 16384,
    VDB_QGRAPH_MET_WORDS = VDB_QGRAPH_MET_BITS / 32,
    VDB_QGRAPH_POOL_LANES = 16, /* a pool's arrays hold a multiple of this many */
};

#define VDB_QGRAPH_DONE UINT32_C(0x80000000) /* in a pool: expanded already, or skipped */

struct vdb_qgraph_head {
    uint32_t norm;      /* |x|^2 - 256 sum x, modulo 2^32 */
    uint32_t row_at;    /* where in vdb_qgraph.rows the node's rows are, if it has several; else 0 */
    uint32_t row_count; /* how many share its vector */
    uint32_t row;       /* the first of them */
};

struct vdb_qgraph_shape {
    uint32_t dimension;    /* of the inner vectors */
    uint32_t bits;         /* a multiple of 64 */
    uint32_t vector_bytes; /* of the query's; past `dimension` they are 0 there, and anything in a block */
    uint32_t head_at;
    uint32_t nodes_at;
    uint32_t node_bytes;
    uint32_t codes_at; /* a multiple of 64 */
    uint32_t factors_at;
    uint32_t block_bytes;
};

struct vdb_qgraph_query {
    const int8_t *vector;  /* inner vector - 128, zero from `dimension` to vector_bytes; aligned to 64 */
    const uint8_t *tables; /* of quant/fastscan.h */
    vdb_fastscan_fn *scan; /* for levels that do not have their own */
    uint32_t square;       /* |q|^2 */
    float unit;            /* from exact distances to those of the pool */
    float slope;
    float shift;
};

/* The nearest so far by ascending distance. Places that nobody has hold +infinity and VDB_QGRAPH_DONE. */
struct vdb_qgraph_pool {
    float *distances;      /* aligned to 64 */
    uint32_t *nodes;       /* likewise; VDB_QGRAPH_DONE */
    uint32_t lanes;        /* the arrays' length, a multiple of VDB_QGRAPH_POOL_LANES */
    uint32_t last;         /* nobody estimated as far as who stands in this place goes in: < lanes */
    uint32_t next;         /* the first that is not done, or `lanes` */
    float limit;           /* nobody estimated as far as this goes in */
    const uint32_t *marks; /* a bit for each node: expanded */
    uint32_t *met; /* VDB_QGRAPH_MET_WORDS: a bit for node % VDB_QGRAPH_MET_BITS, set when one was put in */
};

/* Visits a node: returns its exact squared distance from the query; puts into the pool those of its neighbours
 * that are estimated nearer than the pool's worst and its limit and are not marked; sets pool->next. First those
 * that were never put in, in their order (`met` may take one for another, which costs time and nothing else),
 * then the others, which may stand in the pool: a node keeps the least of its estimates. */
typedef uint32_t vdb_qgraph_visit_fn(const struct vdb_qgraph_shape *shape, const struct vdb_qgraph_query *query,
                                     const uint8_t *block, struct vdb_qgraph_pool *pool);

/* Squared distance of two inner vectors; no byte past `dimension` is read. Any alignment. */
typedef uint32_t vdb_qgraph_distance_fn(const uint8_t *a, const uint8_t *b, size_t dimension);

/* out[j] = sum of matrix(j, i) * vector[i]. matrix: [outputs / 64][(inputs + 3) / 4][64][4] int8; inputs rounded
 * up to 4 may be read of `vector`; outputs is a multiple of 64; aligned to 64. */
typedef void vdb_qgraph_project_fn(const int8_t *matrix, const uint8_t *vector, size_t inputs, size_t outputs,
                                   int32_t *out);

/* What the code of r = y - x tells of it; sums of projections at build time. */
struct vdb_qgraph_numbers {
    int64_t square;  /* |r|^2 */
    int64_t length;  /* |r|_1 */
    int64_t product; /* <x, s>, s being the signs of r, 0 counting as positive */
};

/* Writes bits / 8 bytes: bit i of the code is set where s[i] is positive. |x|, |y| at most VDB_QGRAPH_CODE_MAX.
 */
typedef struct vdb_qgraph_numbers vdb_qgraph_code_fn(const int16_t *x, const int16_t *y, size_t bits,
                                                     uint8_t *code);

struct vdb_qgraph_kernels {
    vdb_qgraph_visit_fn *visit;
    vdb_qgraph_distance_fn *distance;
    vdb_qgraph_project_fn *project;
    vdb_qgraph_code_fn *code;
    const char *name; /* "avx512vbmi" */
};

/* Each sets the entries it has; called in this order. */
void vdb_qgraph_kernels_scalar(struct vdb_qgraph_kernels *table);
void vdb_qgraph_kernels_avx2(struct vdb_qgraph_kernels *table);
void vdb_qgraph_kernels_avx512vbmi(struct vdb_qgraph_kernels *table);

/* The process's table, by the level that distance/cpu.h chose. */
const struct vdb_qgraph_kernels *vdb_qgraph_kernels_get(void);

/* A table at a level and extensions (of distance/kernels.h) that this machine has. */
void vdb_qgraph_kernels_fill(struct vdb_qgraph_kernels *table, unsigned level, unsigned extensions);

/* ---- What the kernel files share ---- */

static inline uint32_t vdb_qgraph_kernels_node(const struct vdb_qgraph_shape *shape, const uint8_t *block,
                                               size_t i)
{
    uint32_t node; /* what comes behind a number's three bytes is still the block's */
    __builtin_memcpy(&node, block + shape->nodes_at + i * shape->node_bytes, sizeof node);
    return node & (UINT32_MAX >> (32 - 8 * shape->node_bytes));
}

static inline void vdb_qgraph_kernels_nodes(const struct vdb_qgraph_shape *shape, const uint8_t *block,
                                            uint32_t out[VDB_QGRAPH_DEGREE])
{
    for (size_t i = 0; i < VDB_QGRAPH_DEGREE; i++) {
        out[i] = vdb_qgraph_kernels_node(shape, block, i);
    }
}

static inline float vdb_qgraph_kernels_bound(const struct vdb_qgraph_pool *pool)
{
    const float worst = pool->distances[pool->last];
    return worst < pool->limit ? worst : pool->limit;
}

/* A node that stands in the pool moves up if it is now estimated nearer. */
static inline void vdb_qgraph_kernels_insert(struct vdb_qgraph_pool *pool, float distance, uint32_t node)
{
    uint32_t at = 0;
    while (at + 1 < pool->lanes && pool->nodes[at] != node) {
        at++;
    }
    if (pool->distances[at] <= distance) {
        return;
    }
    for (; at > 0 && pool->distances[at - 1] > distance; at--) {
        pool->distances[at] = pool->distances[at - 1];
        pool->nodes[at] = pool->nodes[at - 1];
    }
    pool->distances[at] = distance;
    pool->nodes[at] = node;
}

static inline bool vdb_qgraph_kernels_has_met(const struct vdb_qgraph_pool *pool, uint32_t node)
{
    return (pool->met[node / 32 % VDB_QGRAPH_MET_WORDS] >> (node % 32) & 1) != 0;
}

/* Those of the 32 neighbours whose bits are set, in the order that all levels keep. */
static inline void vdb_qgraph_kernels_insert_all(struct vdb_qgraph_pool *pool, uint32_t near,
                                                 const float *estimates, const uint32_t *nodes)
{
    uint32_t again = 0;
    for (uint32_t left = near; left != 0; left &= left - 1) {
        const unsigned i = (unsigned)__builtin_ctz(left);
        if ((pool->marks[nodes[i] / 32] >> (nodes[i] % 32) & 1) != 0) {
            near &= ~(UINT32_C(1) << i);
        } else if (vdb_qgraph_kernels_has_met(pool, nodes[i])) {
            again |= UINT32_C(1) << i;
        }
    }
    for (unsigned turn = 0; turn < 2; turn++) {
        for (uint32_t left = turn == 0 ? near & ~again : again; left != 0; left &= left - 1) {
            const unsigned i = (unsigned)__builtin_ctz(left);
            if (estimates[i] < pool->distances[pool->lanes - 1]) {
                vdb_qgraph_kernels_insert(pool, estimates[i], nodes[i]);
                pool->met[nodes[i] / 32 % VDB_QGRAPH_MET_WORDS] |= UINT32_C(1) << (nodes[i] % 32);
            }
        }
    }
    pool->next = 0;
    while (pool->next < pool->lanes && (pool->nodes[pool->next] & VDB_QGRAPH_DONE) != 0) {
        pool->next++;
    }
}

#endif
