/* topk.h: the k nearest of a stream, exactly, with a total order.
 *
 * A bounded binary max-heap (the worst kept candidate on top). Smaller `distance` is better; equal distances go
 * to the smaller `row` unless a `tie` order over rows is given (a collection orders equal distances by user id).
 * Memory is the caller's: an array of k candidates. Threads: confined.
 */
#ifndef VDB_BASE_TOPK_H
#define VDB_BASE_TOPK_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* double, because integer kernels return sums up to 2^32 that a float would round into false ties. */
struct vdb_candidate {
    double distance;
    uint32_t row;
};

/* True when row a goes before row b at equal distance. */
typedef bool vdb_tie_fn(void *ctx, uint32_t a, uint32_t b);

struct vdb_topk {
    struct vdb_candidate *heap; /* k entries of the caller's memory */
    size_t k;
    size_t count;
    vdb_tie_fn *tie; /* NULL: the lower row first */
    void *tie_ctx;
};

void vdb_topk_init(struct vdb_topk *topk, struct vdb_candidate *memory, size_t k);

/* The distance a newcomer must not exceed to get in; +infinity while there is room. Equal still needs the tie
 * rule. */
static inline double vdb_topk_bound(const struct vdb_topk *topk)
{
    return topk->count < topk->k ? (double)INFINITY : topk->heap[0].distance;
}

/* Offers one candidate. distance must not be NaN. Returns true when it was kept. */
bool vdb_topk_push(struct vdb_topk *topk, double distance, uint32_t row);

/* Sorts heap[0..count) best first. The topk takes no more pushes after it. */
void vdb_topk_finish(struct vdb_topk *topk);

#endif
