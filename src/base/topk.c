/* topk.c: a binary max-heap over (distance, tie order). */
#include "topk.h"

#include <assert.h>

void vdb_topk_init(struct vdb_topk *topk, struct vdb_candidate *memory, size_t k)
{
    *topk = (struct vdb_topk){.heap = memory, .k = k};
}

/* The total order: true when a is the better candidate. */
static inline bool before(const struct vdb_topk *topk, struct vdb_candidate a, struct vdb_candidate b)
{
    if (a.distance != b.distance) {
        return a.distance < b.distance;
    }
    return topk->tie != NULL ? topk->tie(topk->tie_ctx, a.row, b.row) : a.row < b.row;
}

/* Moves the candidate at the top of heap[0..count) down to its place: parents are worse than children. */
static void sift_down(const struct vdb_topk *topk, struct vdb_candidate *heap, size_t count,
                      struct vdb_candidate moved)
{
    size_t hole = 0;
    for (;;) {
        size_t child = 2 * hole + 1;
        if (child >= count) {
            break;
        }
        if (child + 1 < count && before(topk, heap[child], heap[child + 1])) {
            child++; /* the worse child */
        }
        if (!before(topk, moved, heap[child])) {
            break;
        }
        heap[hole] = heap[child];
        hole = child;
    }
    heap[hole] = moved;
}

bool vdb_topk_push(struct vdb_topk *topk, double distance, uint32_t row)
{
    assert(!isnan(distance));
    struct vdb_candidate candidate = {distance, row};
    if (topk->count < topk->k) {
        size_t hole = topk->count++;
        while (hole > 0 && before(topk, topk->heap[(hole - 1) / 2], candidate)) {
            topk->heap[hole] = topk->heap[(hole - 1) / 2];
            hole = (hole - 1) / 2;
        }
        topk->heap[hole] = candidate;
        return true;
    }
    if (topk->k == 0 || !before(topk, candidate, topk->heap[0])) {
        return false;
    }
    sift_down(topk, topk->heap, topk->count, candidate);
    return true;
}

void vdb_topk_finish(struct vdb_topk *topk)
{
    /* Heap sort's second half: the worst goes to the end, again and again. */
    for (size_t left = topk->count; left > 1; left--) {
        struct vdb_candidate worst = topk->heap[0];
        struct vdb_candidate last = topk->heap[left - 1];
        sift_down(topk, topk->heap, left - 1, last);
        topk->heap[left - 1] = worst;
    }
}
