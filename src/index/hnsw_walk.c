/* hnsw_walk.c: the search of one layer (algorithm 2), for queries and inserts alike.
 *
 * Candidates and results are one array, sorted by distance and ef long; a cursor stands on the nearest that was
 * not expanded. It ends where the paper's two heaps end: when all of the ef nearest known are expanded. A list's
 * neighbours that were not visited are gathered first, so that their vectors can be asked for ahead of their
 * turn.
 *
 * Threads: readers beside writers, see hnsw_internal.h.
 */
#include "hnsw_internal.h"

#include <math.h>

enum {
    EXPANDED_SHIFT = 31,
    LINE_BYTES = VDB_CACHE_LINE_BYTES,
    PREFETCH_BYTES_MAX = 1024,   /* of a vector; the processor's own prefetchers follow a longer one */
    PREFETCH_AHEAD_BYTES = 6144, /* of vectors between the one asked for and the one computed */
    PREFETCH_ROWS_MIN = VDB_KERNELS_FEW,
    PREFETCH_ROWS_MAX = 16,
};

#define EXPANDED (UINT32_C(1) << EXPANDED_SHIFT)

void vdb_hnsw_new_epoch(struct hnsw_scratch *scratch)
{
    if (++scratch->epoch == 0) {
        memset(scratch->marks, 0, scratch->mark_count);
        scratch->epoch = 1;
    }
}

void vdb_hnsw_walk_begin(struct hnsw_walk *walk, const struct vdb_hnsw *hnsw, const struct vdb_rows *rows,
                         struct hnsw_scratch *scratch, const void *source)
{
    *walk = (struct hnsw_walk){.hnsw = hnsw,
                               .rows = rows,
                               .scratch = scratch,
                               .query = source,
                               .source = source,
                               .limit = (uint32_t)rows->count,
                               .equal = HNSW_NONE};
    if (hnsw->coded && !atomic_load_explicit(&hnsw->codes_ready, memory_order_acquire)) {
        walk->query = NULL; /* no row is in yet */
    } else if (hnsw->lossy && source != NULL) {
        vdb_hnsw_convert(hnsw, source, scratch->query);
        walk->query = scratch->query;
    }
    if (hnsw->params.vectors_inside) {
        if (rows->count <= (size_t)1 << hnsw->vectors.shift) {
            walk->vectors = atomic_load_explicit(&hnsw->vectors.chunks[0], memory_order_acquire);
            walk->stride_bytes = hnsw->vectors.item_bytes;
        }
    } else if (rows->count > 0 && rows->count - 1 < (size_t)1 << rows->chunk_shift) {
        walk->vectors = rows->chunks[0];
        walk->stride_bytes = rows->stride_bytes;
    }
}

bool vdb_hnsw_walk_equals(const struct hnsw_walk *walk, uint32_t row)
{
    return memcmp(vdb_rows_at(walk->rows, row), walk->source, walk->hnsw->vector_bytes) == 0;
}

/* A start for a view that is older than the entry point: the highest of its predecessors that the view holds, or
 * else any node. */
static bool older_entry(const struct hnsw_walk *walk, uint32_t *row, unsigned *layer)
{
    const struct vdb_hnsw *hnsw = walk->hnsw;
    for (unsigned height = *layer + 1; height > 0; height--) {
        uint64_t entry = atomic_load_explicit(&hnsw->entries[height - 1], memory_order_acquire);
        *row = (uint32_t)entry;
        if (entry != 0 && *row < walk->limit && hnsw_state_of(hnsw, *row) == HNSW_NODE) {
            *layer = height - 1;
            return true;
        }
    }
    uint32_t end = atomic_load_explicit(&hnsw->row_end, memory_order_acquire);
    end = end < walk->limit ? end : walk->limit;
    *layer = 0;
    for (*row = 0; *row < end; ++*row) {
        if (hnsw_state_of(hnsw, *row) == HNSW_NODE) {
            return true;
        }
    }
    return false;
}

bool vdb_hnsw_walk_entry(struct hnsw_walk *walk, struct hnsw_entry *out, unsigned *layer)
{
    const struct vdb_hnsw *hnsw = walk->hnsw;
    uint64_t entry = atomic_load_explicit(&hnsw->entry, memory_order_acquire);
    if (entry == 0 || walk->query == NULL) {
        return false;
    }
    uint32_t row = (uint32_t)entry;
    *layer = (unsigned)(entry >> 32) - 1;
    if (row >= walk->limit && !older_entry(walk, &row, layer)) {
        return false;
    }
    *out = (struct hnsw_entry){hnsw_distance(walk, walk->query, hnsw_vector(walk, row)), row};
    walk->distances++;
    return true;
}

/* Sums of squares of f32 reach 2^274, past the range of a float: the eighth root of what lies beyond 2^100 leaves
 * order as it is, and 20 bits to tell such distances apart. */
float vdb_hnsw_walk_narrow(double distance)
{
    const double beyond = fabs(distance) / HNSW_FLOAT_SURE;
    if (isnan(distance)) {
        return INFINITY;
    }
    return (float)copysign(sqrt(sqrt(sqrt(beyond))) * HNSW_FLOAT_SURE, distance);
}

double vdb_hnsw_walk_widen(float distance)
{
    const double beyond = fabs((double)distance) / HNSW_FLOAT_SURE;
    const double square = beyond * beyond;
    return beyond < 1 ? (double)distance
                      : copysign(square * square * square * square * HNSW_FLOAT_SURE, (double)distance);
}

/* Of a step's distance: codes are measured in their own. */
static double unit_of(const struct vdb_hnsw *hnsw)
{
    const double step = hnsw->coded && hnsw->metric != VDB_METRIC_COSINE ? (double)hnsw->code_step : 1;
    return hnsw->metric == VDB_METRIC_L1 ? step : step * step;
}

void vdb_hnsw_walk_note(struct hnsw_walk *walk, unsigned layer, struct hnsw_entry at)
{
    struct vdb_hnsw_trace *trace = walk->trace;
    walk->expanded++;
    if (trace == NULL) {
        return;
    }
    if (trace->step_count < VDB_HNSW_TRACE_STEPS_MAX) {
        trace->steps[trace->step_count] = (struct vdb_hnsw_step){
            layer, at.row, vdb_hnsw_walk_widen(at.distance) * unit_of(walk->hnsw)};
    }
    trace->step_count++;
    trace->hops[layer]++;
}

struct hnsw_entry vdb_hnsw_walk_greedy(struct hnsw_walk *walk, struct hnsw_entry at, unsigned layer)
{
    const struct vdb_hnsw *hnsw = walk->hnsw;
    for (bool moved = true; moved;) {
        moved = false;
        vdb_hnsw_walk_note(walk, layer, at);
        const hnsw_slot *slots = hnsw_list_at(hnsw, at.row, layer);
        for (uint32_t i = 0; i < hnsw->params.m; i++) {
            uint32_t link = hnsw_link_get(&slots[i]);
            if (link == HNSW_NONE) {
                break;
            }
            if (link >= walk->limit) {
                continue;
            }
            float distance = hnsw_distance(walk, walk->query, hnsw_vector(walk, link));
            walk->distances++;
            if (distance < at.distance) {
                at = (struct hnsw_entry){distance, link};
                moved = true;
            }
        }
    }
    return at;
}

/* Inserts behind those that are no farther; returns the place. The pool has room for one more. The search has no
 * branch to guess wrong. */
static inline size_t pool_insert(struct hnsw_entry *pool, size_t count, struct hnsw_entry entry)
{
    size_t low = 0;
    for (size_t left = count; left > 0;) {
        const size_t half = (left + 1) / 2;
        low += pool[low + half - 1].distance <= entry.distance ? half : 0;
        left -= half;
    }
    memmove(pool + low + 1, pool + low, (count - low) * sizeof *pool);
    pool[low] = entry;
    return low;
}

static inline void prefetch_vector(const char *vector, size_t bytes)
{
    bytes = bytes < PREFETCH_BYTES_MAX ? bytes : PREFETCH_BYTES_MAX;
    for (size_t i = 0; i < bytes; i += LINE_BYTES) {
        __builtin_prefetch(vector + i);
    }
}

uint32_t vdb_hnsw_walk_gather(struct hnsw_walk *walk, uint32_t row, unsigned layer, uint32_t *out)
{
    const hnsw_slot *slots = hnsw_list_at(walk->hnsw, row, layer);
    const uint32_t slot_count = hnsw_list_slots(walk->hnsw, layer);
    uint8_t *marks = walk->scratch->marks;
    const uint8_t epoch = walk->scratch->epoch;
    uint32_t count = 0;
    for (uint32_t i = 0; i < slot_count; i++) {
        uint32_t link = hnsw_link_get(&slots[i]);
        if (link == HNSW_NONE) {
            break;
        }
        link &= HNSW_ROW;
        if (link < walk->limit) {
            out[count] = link; /* whether it was visited is a coin's throw: no branch */
            count += marks[link] != epoch;
            marks[link] = epoch;
        }
    }
    return count;
}

static inline void prefetch_list(const struct vdb_hnsw *hnsw, uint32_t row, unsigned layer)
{
    if (layer == 0) { /* above, the address is in the node, which would have to be there first */
        const char *list = hnsw_at(&hnsw->lists, row);
        for (size_t i = 0; i < hnsw->lists.item_bytes; i += LINE_BYTES) {
            __builtin_prefetch(list + i);
        }
    }
}

/* Asks for the first vectors; returns how far ahead of its turn each is asked for. */
static inline size_t measure_begin(struct hnsw_walk *walk, const uint32_t *rows, uint32_t count)
{
    const size_t bytes = walk->hnsw->inside_bytes;
    size_t ahead = PREFETCH_AHEAD_BYTES / bytes;
    ahead = ahead < PREFETCH_ROWS_MIN ? PREFETCH_ROWS_MIN : ahead < PREFETCH_ROWS_MAX ? ahead : PREFETCH_ROWS_MAX;
    for (uint32_t i = 0; i < count && i < ahead; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): count of them are set */
        prefetch_vector(hnsw_vector(walk, rows[i]), bytes);
    }
    return ahead;
}

/* All distances of a list before any is looked at: no wrong guess about one holds up the next. */
static inline void measure(struct hnsw_walk *walk, const uint32_t *rows, uint32_t count, size_t ahead, float *out)
{
    const struct vdb_hnsw *hnsw = walk->hnsw;
    uint32_t i = 0;
    for (; i + 1 < count; i += VDB_KERNELS_FEW) {
        const uint32_t left = count - i < VDB_KERNELS_FEW ? count - i : VDB_KERNELS_FEW;
        const void *vectors[VDB_KERNELS_FEW];
        double distances[VDB_KERNELS_FEW];
        for (uint32_t r = 0; r < VDB_KERNELS_FEW; r++) {
            vectors[r] = hnsw_vector(walk,
                                     rows[i + (r < left ? r : left - 1)]); /* the last again is in the cache */
            if (i + r + ahead < count) {
                prefetch_vector(hnsw_vector(walk, rows[i + r + ahead]), hnsw->inside_bytes);
            }
        }
        hnsw->few(walk->query, vectors, hnsw->dimension, distances);
        for (uint32_t r = 0; r < left; r++) {
            out[i + r] = hnsw_narrow(distances[r]);
        }
    }
    if (i < count) {
        out[i] = hnsw_distance(walk, walk->query, hnsw_vector(walk, rows[i]));
    }
    walk->distances += count;
}

void vdb_hnsw_walk_measure(struct hnsw_walk *walk, const uint32_t *rows, uint32_t count, float *out)
{
    measure(walk, rows, count, measure_begin(walk, rows, count), out);
}

void vdb_hnsw_walk_ask_row(const struct hnsw_walk *walk, uint32_t row)
{
    prefetch_vector(vdb_rows_at(walk->rows, row), walk->hnsw->vector_bytes);
}

void vdb_hnsw_walk_ask(const struct hnsw_walk *walk, uint32_t row)
{
    prefetch_list(walk->hnsw, row, 0);
}

void vdb_hnsw_walk_layer(struct hnsw_walk *walk, unsigned layer, size_t ef)
{
    const struct vdb_hnsw *hnsw = walk->hnsw;
    struct hnsw_entry *pool = walk->scratch->pool;
    uint32_t fresh[HNSW_LINKS_MAX];
    float distances[HNSW_LINKS_MAX];
    size_t count = walk->pool_count;
    vdb_hnsw_new_epoch(walk->scratch);
    for (size_t i = 0; i < count; i++) {
        pool[i].row &= ~EXPANDED;
        walk->scratch->marks[pool[i].row] = walk->scratch->epoch;
    }
    for (size_t cursor = 0; cursor < count;) {
        struct hnsw_entry at = pool[cursor];
        pool[cursor].row |= EXPANDED;
        vdb_hnsw_walk_note(walk, layer, at);
        uint32_t fresh_count = vdb_hnsw_walk_gather(walk, at.row, layer, fresh);
        const size_t ahead = measure_begin(walk, fresh, fresh_count);
        size_t nearest = cursor + 1;
        while (nearest < count && (pool[nearest].row & EXPANDED) != 0) {
            nearest++;
        }
        if (nearest < count) { /* the next, unless a nearer one turns up */
            prefetch_list(hnsw, pool[nearest].row, layer);
        }
        measure(walk, fresh, fresh_count, ahead, distances);
        for (uint32_t i = 0; i < fresh_count; i++) {
            const float distance = distances[i];
            if (count == ef && !(distance < pool[count - 1].distance)) {
                continue;
            }
            size_t place = pool_insert(pool, count - (count == ef), (struct hnsw_entry){distance, fresh[i]});
            count += count < ef;
            if (place <= nearest) {
                nearest = place;
                prefetch_list(hnsw, fresh[i], layer);
            }
            if (distance <= 0 && walk->stop_at_zero && hnsw_state_of(hnsw, fresh[i]) == HNSW_NODE &&
                (!hnsw->lossy || vdb_hnsw_walk_equals(walk, fresh[i]))) {
                walk->equal = fresh[i];
                walk->pool_count = count;
                return;
            }
        }
        for (cursor = nearest; cursor < count && (pool[cursor].row & EXPANDED) != 0;) {
            cursor++;
        }
    }
    for (size_t i = 0; i < count; i++) {
        pool[i].row &= ~EXPANDED;
    }
    walk->pool_count = count;
}
