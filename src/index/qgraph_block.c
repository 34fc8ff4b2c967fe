/* qgraph_block.c: the blocks of nodes: memory and encoding.
 *
 * For a node x, its neighbour y and a query q, with r = y - x and P the projection on the codes' directions:
 *
 *     |q - y|^2 = |q - x|^2 + |r|^2 - 2 <P(q - x), P r> - 2 <Q(q - x), Q r>
 *
 * Q being what P leaves out. The code s holds the signs of P r, and <v, P r> ~ f <v, s> with f = |P r|^2 / |P
 * r|_1 is RaBitQ's estimate without bias (Gao and Long 2024, section 3.2; f as they write it, 1 / <o-bar, o>).
 * The last product is close to T(y) - T(x) - |Q r|^2 with T(x) = |Q(x - mean)|^2. Three numbers a, k and m, near
 * 1, 1 and 0, make the most of it on the data at hand (qgraph_fit.c):
 *
 *     |q - y|^2 ~ |q - x|^2 + offset + slope <P q, s>,     slope = -2 a f
 *     offset = (1 + m) |r|^2 + 2 a f <P x, s> + k (T(y) - T(x) - (|r|^2 - |P r|^2))
 *
 * Both factors are stored as f16, scaled so that a sample's greatest is 2^12 (offset) or 2^10 (slope).
 *
 * Threads: encoding different nodes at once is allowed.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "qgraph_internal.h"

enum { HUGE_PAGE_BYTES = 2 << 20 };

static uint16_t float_to_half(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    float magnitude = fabsf(value);
    if (!(magnitude < 65504.0F)) {
        return (uint16_t)(sign | (isinf(value) ? 0x7C00u : 0x7BFFu));
    }
    if (magnitude < 0x1p-14F) {
        return (uint16_t)(sign | (unsigned)lrintf(magnitude * 0x1p24F));
    }
    bits &= 0x7FFFFFFFu;
    bits += 0xFFFu + (bits >> 13 & 1);
    return (uint16_t)(sign | (bits - (112u << 23)) >> 13);
}

void vdb_qgraph_block_shape(uint32_t dimension, uint32_t bits, size_t node_count, struct vdb_qgraph_shape *out)
{
    out->dimension = dimension;
    out->bits = bits;
    out->head_at = (uint32_t)vdb_round_up(dimension, 16);
    out->vector_bytes = (uint32_t)vdb_round_up(dimension, 64);
    out->nodes_at = out->head_at + (uint32_t)sizeof(struct vdb_qgraph_head);
    out->node_bytes = node_count < QGRAPH_SMALL_NODES ? 3 : 4;
    out->codes_at = (uint32_t)vdb_round_up(out->nodes_at + VDB_QGRAPH_DEGREE * out->node_bytes, 64);
    out->factors_at = out->codes_at + (uint32_t)vdb_fastscan_packed_bytes(bits);
    out->block_bytes = out->factors_at + VDB_QGRAPH_DEGREE * 2 * (uint32_t)sizeof(uint16_t);
}

void *vdb_qgraph_block_alloc(size_t bytes, size_t *mapped_bytes)
{
    size_t whole;
    if (!vdb_size_add(bytes, 2 * (size_t)HUGE_PAGE_BYTES, &whole)) {
        return NULL;
    }
    whole &= ~((size_t)HUGE_PAGE_BYTES - 1);
    char *memory = mmap(NULL, whole + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                        0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    char *aligned = (char *)vdb_round_up((uintptr_t)memory, HUGE_PAGE_BYTES);
    size_t before = (size_t)(aligned - memory);
    if (before > 0) {
        (void)munmap(memory, before);
    }
    (void)munmap(aligned + whole, HUGE_PAGE_BYTES - before);
    (void)madvise(aligned, whole, MADV_HUGEPAGE); /* a system without them goes slower, no more */
    *mapped_bytes = whole;
    return aligned;
}

void vdb_qgraph_block_free(void *blocks, size_t mapped_bytes)
{
    if (blocks != NULL) {
        (void)munmap(blocks, mapped_bytes);
    }
}

/* Factors without their units; writes the neighbour's code. */
static void factors_of(const struct vdb_qgraph *graph, const struct qgraph_projected *nodes, uint32_t node,
                       uint32_t neighbour, uint32_t distance, uint8_t *code, float *offset, float *slope)
{
    const size_t bits = graph->shape.bits;
    const size_t from = node < graph->node_count ? node : graph->node_count;
    const struct vdb_qgraph_numbers n = graph->kernels->code(nodes->codes + from * bits,
                                                             nodes->codes + (size_t)neighbour * bits, bits, code);
    const struct qgraph_fit *fit = &nodes->fit;
    const float square_unit = graph->projection.unit * graph->projection.unit;
    const float beside = (float)distance - (float)n.square * square_unit;
    float factor = 0;
    if (n.length > 0) {
        factor = fit->along * ((float)n.square / (float)n.length * square_unit);
    }
    *offset = (1 + fit->length) * (float)distance + 2 * factor * (float)n.product +
              fit->outside * (nodes->rest[neighbour] - nodes->rest[from] - beside);
    *slope = -2 * factor;
}

void vdb_qgraph_block_measure(const struct vdb_qgraph *graph, const struct qgraph_projected *nodes, uint32_t node,
                              const uint32_t *neighbours, const uint32_t *distances, size_t count,
                              float *offset_max, float *slope_max)
{
    uint8_t code[VDB_QGRAPH_BITS_MAX / 8];
    for (size_t i = 0; i < count; i++) {
        float offset;
        float slope;
        factors_of(graph, nodes, node, neighbours[i], distances[i], code, &offset, &slope);
        *offset_max = fmaxf(*offset_max, fabsf(offset));
        *slope_max = fmaxf(*slope_max, fabsf(slope));
    }
}

void vdb_qgraph_block_encode(const struct vdb_qgraph *graph, const struct qgraph_projected *nodes, uint32_t node,
                             const uint32_t *neighbours, const uint32_t *distances, size_t count)
{
    const size_t bits = graph->shape.bits;
    uint8_t signs[VDB_FASTSCAN_CODES * VDB_QGRAPH_BITS_MAX / 8] = {0};
    uint8_t *block = qgraph_block(graph, node);
    uint16_t *factors = (uint16_t *)(void *)(block + graph->shape.factors_at);
    uint8_t *numbers = block + graph->shape.nodes_at;
    assert(count <= VDB_QGRAPH_DEGREE);
    for (size_t i = 0; i < VDB_QGRAPH_DEGREE; i++) {
        float offset = INFINITY;
        float slope = 0;
        uint8_t number[4];
        vdb_store_u32(number, i < count ? neighbours[i] : node);
        memcpy(numbers + i * graph->shape.node_bytes, number, graph->shape.node_bytes);
        if (i < count) {
            factors_of(graph, nodes, node, neighbours[i], distances[i], signs + i * bits / 8, &offset, &slope);
        }
        factors[i] = float_to_half(offset * graph->unit);
        factors[VDB_QGRAPH_DEGREE + i] = float_to_half(slope * graph->slope_unit);
    }
    vdb_fastscan_pack(signs, bits, block + graph->shape.codes_at);
}
