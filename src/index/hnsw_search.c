/* hnsw_search.c: a query: down the layers, through layer 0, and from what it found to the answer.
 *
 * Without a filter the walk is hnsw_walk.c's. Under a filter, or very wide, it is the paper's two heaps: nodes
 * that may not be returned are gone through but do not count among the ef. A filter that refuses few (the rows of
 * a memtable that were replaced) takes the first kind, a little wider; where too many of what it found are refused
 * (a row replaced again and again by one close to it), the second follows. Both navigate by floats; the answers'
 * distances are the kernels', taken again.
 *
 * S1 Never more than about twice a scan: when a walk is expected to compute more distances than there are
 *    allowed rows, or has, the allowed rows are computed one by one, which is exact. S2 A filtered walk that
 *    finds fewer than k where the filter allows more ends in that scan, too.
 *
 * Threads: takes no lock; scratch comes from the graph's idle ones.
 */
#include "hnsw_internal.h"

#include <assert.h>
#include <math.h>

/* Of halves and codes the nearest are measured again: with these, recall@10 of f16 and bf16 was that of f32 to 0.1 % on
 * 9,746 x 768 of text by cosine; integers of up to 255 are exact in all. Nothing else was measured. */
enum { RERANK_FACTOR = 2, RERANK_MORE = 16, RERANK_ASK_ROWS = 4 };

enum {
    FEW_REFUSED_SHARE = 8, /* a filter refuses few: at most one row of so many */
    STALE_FACTOR_MAX = 4,  /* how much wider a search over an old view gets at most */
};

struct answer {
    struct hnsw_walk walk;
    const struct vdb_query *query;
    struct vdb_topk *topk;
    size_t ef;
    uint32_t end;   /* rows from here on are out of view, or unknown to the filter */
    size_t allowed; /* rows that the filter leaves, removed ones among them */
    size_t visited; /* allowed rows that were looked at */
    bool marking;   /* is_first has begun */
};

static bool may_return(const struct answer *answer, uint32_t row)
{
    if (row >= answer->end || (answer->query->allow != NULL && !vdb_bitset_test(answer->query->allow, row))) {
        return false;
    }
    unsigned state = hnsw_state_of(answer->walk.hnsw, row);
    return state == HNSW_NODE || state == HNSW_TWIN; /* INSERTING: its vector may be half there */
}

/* Measures a row by the kernel and offers it. */
static void offer(struct answer *answer, uint32_t row)
{
    const struct vdb_hnsw *hnsw = answer->walk.hnsw;
    const struct hnsw_walk *walk = &answer->walk;
    const void *vector = hnsw->lossy ? vdb_rows_at(walk->rows, row) : hnsw_vector(walk, row);
    double distance = hnsw->exact(walk->source, vector, hnsw->dimension);
    answer->walk.distances++;
    (void)vdb_topk_push(answer->topk, isnan(distance) ? (double)INFINITY : distance, row);
}

/* ---- A scan ---- */

static void scan_row(struct answer *answer, uint32_t row)
{
    if (may_return(answer, row)) {
        answer->visited++;
        offer(answer, row);
    }
}

static void scan(struct answer *answer)
{
    const struct vdb_hnsw *hnsw = answer->walk.hnsw;
    uint32_t end = atomic_load_explicit(&hnsw->row_end, memory_order_acquire);
    end = end < answer->end ? end : answer->end;
    answer->visited = 0;
    answer->topk->count = 0;
    if (answer->walk.trace != NULL) {
        answer->walk.trace->scanned = true;
    }
    if (answer->query->allow == NULL) {
        for (uint32_t row = 0; row < end; row++) {
            scan_row(answer, row);
        }
        return;
    }
    for (size_t w = 0; w < vdb_bitset_words(end); w++) {
        for (uint64_t word = answer->query->allow->words[w]; word != 0; word &= word - 1) {
            size_t row = w * 64 + (size_t)__builtin_ctzll(word);
            if (row < end) {
                scan_row(answer, (uint32_t)row);
            }
        }
    }
}

static size_t count_allowed(const struct vdb_query *query, uint32_t limit)
{
    if (query->allow == NULL) {
        return limit;
    }
    size_t count = 0;
    for (size_t w = 0; w < limit / 64; w++) {
        count += (size_t)__builtin_popcountll(query->allow->words[w]);
    }
    if (limit % 64 != 0) {
        uint64_t low = (UINT64_C(1) << (limit % 64)) - 1;
        count += (size_t)__builtin_popcountll(query->allow->words[limit / 64] & low);
    }
    return count;
}

/* ---- From nodes to answers ---- */

static const struct hnsw_group *group_of(const struct vdb_hnsw *hnsw, uint32_t row)
{
    return atomic_load_explicit(&hnsw_node_at(hnsw, row)->group, memory_order_acquire);
}

/* While a group's head goes, its rows are found through it, through its heir, or both, and the heir as a twin, a head or
 * a node of its own: each counts once. The walk is over, so its marks are free. */
static bool is_first(struct answer *answer, uint32_t row)
{
    struct hnsw_scratch *scratch = answer->walk.scratch;
    if (!answer->marking) {
        vdb_hnsw_new_epoch(scratch);
        answer->marking = true;
    }
    const bool first = scratch->marks[row] != scratch->epoch;
    scratch->marks[row] = scratch->epoch;
    return first;
}

static bool offer_once(struct answer *answer, uint32_t row)
{
    const bool wanted = may_return(answer, row) && is_first(answer, row);
    if (wanted) {
        offer(answer, row);
    }
    return wanted;
}

/* A node, the rows that share it, as many of these as the walk is wide at most, and (after the list that it leaves then)
 * who heads them by now. */
static void offer_group(struct answer *answer, const struct hnsw_group *group, uint32_t node)
{
    const struct vdb_hnsw *hnsw = answer->walk.hnsw;
    size_t left = answer->ef;
    (void)offer_once(answer, node);
    uint32_t row = atomic_load_explicit(&group->first, memory_order_acquire);
    while (row != HNSW_NONE && left > 0) {
        if (offer_once(answer, row)) {
            answer->visited++;
            left--;
        }
        row = atomic_load_explicit(&hnsw_node_at(hnsw, row)->next, memory_order_acquire);
    }
    (void)offer_once(answer, atomic_load_explicit(&group->head, memory_order_acquire));
}

/* Entries come nearest first; those as near as the k-th still count, for the tie rule. */
static void offer_nodes(struct answer *answer, const struct hnsw_entry *entries, size_t count)
{
    float cut = INFINITY;
    const size_t surely = answer->walk.hnsw->lossy ? answer->topk->k * RERANK_FACTOR + RERANK_MORE : 0;
    for (size_t i = 0; i < count && (i < surely || !(entries[i].distance > cut)); i++) {
        if (surely != 0 && i + RERANK_ASK_ROWS < count) { /* the rows are not in any cache */
            vdb_hnsw_walk_ask_row(&answer->walk, entries[i + RERANK_ASK_ROWS].row);
        }
        const struct hnsw_group *group = group_of(answer->walk.hnsw, entries[i].row);
        if (group != NULL) {
            offer_group(answer, group, entries[i].row);
        } else if (may_return(answer, entries[i].row)) {
            offer(answer, entries[i].row);
        }
        if (answer->topk->count == answer->topk->k && cut == INFINITY) {
            cut = entries[i].distance;
        }
    }
}

/* ---- The wide walk ---- */

/* A min-heap by distance, and (mirrored) a max-heap. */
static void heap_push(struct hnsw_entry *heap, size_t *count, struct hnsw_entry entry, bool farthest_first)
{
    size_t hole = (*count)++;
    while (hole > 0) {
        size_t parent = (hole - 1) / 2;
        bool above = farthest_first ? heap[parent].distance >= entry.distance
                                    : heap[parent].distance <= entry.distance;
        if (above) {
            break;
        }
        heap[hole] = heap[parent];
        hole = parent;
    }
    heap[hole] = entry;
}

static struct hnsw_entry heap_pop(struct hnsw_entry *heap, size_t *count, bool farthest_first)
{
    struct hnsw_entry top = heap[0];
    struct hnsw_entry moved = heap[--*count];
    size_t hole = 0;
    for (;;) {
        size_t child = 2 * hole + 1;
        if (child >= *count) {
            break;
        }
        if (child + 1 < *count && (farthest_first ? heap[child + 1].distance > heap[child].distance
                                                  : heap[child + 1].distance < heap[child].distance)) {
            child++;
        }
        if (farthest_first ? heap[child].distance <= moved.distance : heap[child].distance >= moved.distance) {
            break;
        }
        heap[hole] = heap[child];
        hole = child;
    }
    heap[hole] = moved;
    return top;
}

/* Whether a node is worth a place among the ef: it, or a row that shares it, may be returned. */
static bool is_wanted(const struct answer *answer, uint32_t row)
{
    if (may_return(answer, row)) {
        return true;
    }
    const struct hnsw_group *group = group_of(answer->walk.hnsw, row);
    return group != NULL && atomic_load_explicit(&group->count, memory_order_relaxed) > 0;
}

/* Leaves the nearest found in the pool, nearest first. False when memory is short or the budget was spent. */
static bool walk_wide(struct answer *answer, struct hnsw_entry start, uint64_t budget, bool *spent)
{
    struct hnsw_walk *walk = &answer->walk;
    struct hnsw_scratch *scratch = walk->scratch;
    const struct vdb_hnsw *hnsw = walk->hnsw;
    size_t candidates = 0;
    size_t results = 0;
    *spent = false;
    vdb_hnsw_new_epoch(scratch);
    if (!vdb_hnsw_entries_reserve(&scratch->heap, &scratch->heap_capacity, 1 + hnsw->links0)) {
        return false;
    }
    heap_push(scratch->heap, &candidates, start, false);
    scratch->marks[start.row] = scratch->epoch;
    if (is_wanted(answer, start.row)) {
        answer->visited++;
        heap_push(scratch->pool, &results, start, true);
    }
    while (candidates > 0) {
        struct hnsw_entry at = heap_pop(scratch->heap, &candidates, false);
        if (results == answer->ef && at.distance > scratch->pool[0].distance) {
            break;
        }
        if (walk->distances > budget) {
            *spent = true;
            return false;
        }
        vdb_hnsw_walk_note(walk, 0, at);
        if (!vdb_hnsw_entries_reserve(&scratch->heap, &scratch->heap_capacity, candidates + hnsw->links0)) {
            return false;
        }
        uint32_t fresh[HNSW_LINKS_MAX];
        float distances[HNSW_LINKS_MAX];
        uint32_t fresh_count = vdb_hnsw_walk_gather(walk, at.row, 0, fresh);
        if (candidates > 0) {
            vdb_hnsw_walk_ask(walk, scratch->heap[0].row);
        }
        vdb_hnsw_walk_measure(walk, fresh, fresh_count, distances);
        for (uint32_t i = 0; i < fresh_count; i++) {
            struct hnsw_entry entry = {distances[i], fresh[i]};
            if (results == answer->ef && !(entry.distance < scratch->pool[0].distance)) {
                continue;
            }
            heap_push(scratch->heap, &candidates, entry, false);
            if (is_wanted(answer, fresh[i])) {
                answer->visited++;
                if (results == answer->ef) {
                    (void)heap_pop(scratch->pool, &results, true);
                }
                heap_push(scratch->pool, &results, entry, true);
            }
        }
    }
    vdb_hnsw_sort(scratch->pool, results);
    walk->pool_count = results;
    return true;
}

/* The sorted array's walk for what few rows, or none, are refused of; not *done: it does not serve. */
static vdb_status walk_narrow(struct answer *answer, struct hnsw_entry start, size_t refused, bool *done,
                              struct vdb_err *err)
{
    struct hnsw_walk *walk = &answer->walk;
    struct hnsw_scratch *scratch = walk->scratch;
    size_t width = answer->ef;
    if (answer->query->allow != NULL) { /* twice the share of the refused: they may be denser here */
        width += width * refused * 2 / (answer->allowed + 1) + 1;
    }
    if (width > HNSW_POOL_MAX) {
        return VDB_OK;
    }
    if (!vdb_hnsw_entries_reserve(&scratch->pool, &scratch->pool_capacity, width + 1)) {
        return vdb_err_no_memory(err, "a search's results");
    }
    scratch->pool[0] = start;
    walk->pool_count = 1;
    vdb_hnsw_walk_layer(walk, 0, width);
    *done = true;
    answer->visited = walk->distances;
    if (answer->query->allow != NULL) {
        size_t wanted = 0;
        for (size_t i = 0; i < walk->pool_count; i++) {
            wanted += is_wanted(answer, scratch->pool[i].row);
        }
        *done = wanted >= answer->ef || walk->pool_count < width;
        answer->visited = *done ? answer->visited * answer->allowed / walk->limit : 0;
    }
    return VDB_OK;
}

/* ---- A query ---- */

/* From the entry point to a start in layer 0. */
static bool descend(struct hnsw_walk *walk, struct hnsw_entry *at)
{
    unsigned layer;
    if (!vdb_hnsw_walk_entry(walk, at, &layer)) {
        return false;
    }
    for (; layer > 0; layer--) {
        *at = vdb_hnsw_walk_greedy(walk, *at, layer);
    }
    return true;
}

static vdb_status run(struct answer *answer, unsigned flags, struct vdb_err *err)
{
    struct hnsw_walk *walk = &answer->walk;
    const struct vdb_hnsw *hnsw = walk->hnsw;
    const struct vdb_query *query = answer->query;
    struct hnsw_entry at;
    answer->allowed = count_allowed(query, answer->end);
    const bool must_walk = (flags & VDB_HNSW_ALWAYS_WALK) != 0;
    const size_t refused = walk->limit - answer->allowed;
    double expected = (double)answer->ef * hnsw->params.m * (double)walk->limit /
                      (answer->allowed > 0 ? (double)answer->allowed : 1);
    if (!must_walk && expected >= (double)answer->allowed) { /* S1 */
        scan(answer);
        return VDB_OK;
    }
    if (!descend(walk, &at)) {
        return VDB_OK;
    }
    bool done = false;
    if (refused <= walk->limit / FEW_REFUSED_SHARE) {
        VDB_TRY(walk_narrow(answer, at, refused, &done, err));
    }
    if (!done) {
        bool spent;
        if (!walk_wide(answer, at, must_walk ? UINT64_MAX : answer->allowed, &spent)) {
            if (!spent) {
                return vdb_err_no_memory(err, "a search's candidates");
            }
            scan(answer);
            return VDB_OK;
        }
    }
    offer_nodes(answer, walk->scratch->pool, walk->pool_count);
    if (!must_walk && answer->topk->count < answer->topk->k && answer->topk->count < answer->allowed) { /* S2 */
        scan(answer);
    }
    return VDB_OK;
}

/* Through rows that are not in view no way leads: the fewer of a graph's rows a view holds, the wider. */
static size_t widen_for_age(const struct vdb_hnsw *hnsw, size_t count, size_t ef)
{
    const size_t row_end = atomic_load_explicit(&hnsw->row_end, memory_order_relaxed);
    if (row_end <= count + count / 8) {
        return ef;
    }
    const size_t factor_max = STALE_FACTOR_MAX * count;
    return ef * (row_end < factor_max ? row_end : factor_max) / count;
}

vdb_status vdb_hnsw_search(const struct vdb_hnsw *hnsw, const struct vdb_rows *rows,
                           const struct vdb_query *query, unsigned flags, struct vdb_topk *topk,
                           struct vdb_hnsw_trace *trace, struct vdb_err *err)
{
    assert(topk->k > 0 && topk->count == 0);
    if (trace != NULL) {
        memset(trace, 0, sizeof *trace);
    }
    VDB_TRY(vdb_hnsw_rows_fit(hnsw, rows, err));
    if (query->wide) {
        return vdb_err_set(err, VDB_UNSUPPORTED, "hnsw: takes queries of the rows' own element only");
    }
    if (query->ef > VDB_HNSW_EF_MAX) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: ef: %zu is not in 1..%d", query->ef, VDB_HNSW_EF_MAX);
    }
    if (rows->count == 0) {
        return VDB_OK;
    }
    struct answer answer = {.query = query, .topk = topk, .end = (uint32_t)rows->count};
    if (query->allow != NULL && query->allow->count < rows->count) {
        answer.end = (uint32_t)query->allow->count;
    }
    answer.ef = query->ef > 0 ? query->ef : hnsw->params.ef_search;
    answer.ef = answer.ef > topk->k ? answer.ef : topk->k;
    if ((flags & VDB_HNSW_ALWAYS_WALK) == 0) {
        answer.ef = widen_for_age(hnsw, rows->count, answer.ef);
    }
    answer.ef = answer.ef < rows->count ? answer.ef : rows->count;
    struct hnsw_scratch *scratch = vdb_hnsw_scratch_get(hnsw, (uint32_t)rows->count);
    if (scratch == NULL) {
        return vdb_err_no_memory(err, "a search");
    }
    vdb_status status;
    if (!vdb_hnsw_entries_reserve(&scratch->pool, &scratch->pool_capacity, answer.ef + 1)) {
        status = vdb_err_no_memory(err, "a search's results");
        goto cleanup;
    }
    vdb_hnsw_walk_begin(&answer.walk, hnsw, rows, scratch, query->vector);
    answer.walk.trace = trace;
    status = run(&answer, flags, err);
    if (query->counters != NULL) {
        query->counters->rows_visited += answer.visited;
        query->counters->distances_computed += answer.walk.distances;
    }
    if (trace != NULL) {
        trace->expanded = answer.walk.expanded;
        trace->visited = answer.visited;
        trace->distances = answer.walk.distances;
    }
cleanup:
    vdb_hnsw_scratch_put(hnsw, scratch);
    return status;
}
