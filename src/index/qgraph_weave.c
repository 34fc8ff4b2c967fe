/* qgraph_weave.c: the edges of a graph.
 *
 * Pruning is Vamana's (Subramanya et al. 2019): of the candidates by distance, one is left out if a kept one is
 * nearer to it, by the factor alpha, than the node is. Places that pruning leaves free go to the nearest of those
 * left out: a block costs the same full or not.
 *
 * Each pass reads the lists of the pass before and writes new ones, so the graph does not depend on threads.
 *
 * Threads: uses the pool's.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "qgraph_internal.h"

enum {
    DEGREE = VDB_QGRAPH_DEGREE,
    NEAR_WIDTH = 32,
    BALLS = 4,          /* of a node... */
    SEEDED_BALLS = 1,   /* ...where seeds know most: the parts get tied together */
    UNSETTLED_PART = 8, /* with fewer than one node in so many to walk to, no one does */
    AHEAD = 6,          /* vectors asked for before they are measured */
    MEASURED_NODES = 2000,
    ALPHA_NODES = 500,
    ALPHA_STEPS = 4,
    FIRST_DEGREE_MAX = 18, /* of DEGREE, kept by the first pruning: measured on data of 16 to 1,800 dimensions */
};

/* ---- Pruning ---- */

static inline uint32_t distance_of(const struct qgraph_builder *builder, uint32_t a, uint32_t b)
{
    const struct vdb_qgraph *graph = builder->graph;
    return graph->kernels->distance(qgraph_block(graph, a), qgraph_block(graph, b), graph->shape.dimension);
}

static inline uint64_t key_of(const struct qgraph_candidate *candidate)
{
    return vdb_load_u64(candidate);
}

/* By (distance, node), each node once, without `self`. */
static void sort_candidates(struct qgraph_builder_worker *worker, uint32_t self)
{
    static const size_t gaps[] = {701, 301, 132, 57, 23, 10, 4, 1}; /* Ciura 2001 */
    struct qgraph_candidate *all = worker->candidates;
    for (size_t g = 0; g < sizeof gaps / sizeof gaps[0]; g++) {
        const size_t gap = gaps[g];
        for (size_t i = gap; i < worker->count; i++) {
            const struct qgraph_candidate moved = all[i];
            const uint64_t key = key_of(&moved);
            size_t at = i;
            for (; at >= gap && key_of(&all[at - gap]) > key; at -= gap) {
                all[at] = all[at - gap];
            }
            all[at] = moved;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < worker->count; i++) {
        if (all[i].node != self && (kept == 0 || all[kept - 1].node != all[i].node)) {
            all[kept++] = all[i];
        }
    }
    worker->count = kept;
}

static inline void ask_for(const struct qgraph_builder *builder, uint32_t node)
{
    const uint8_t *vector = qgraph_block(builder->graph, node);
    for (size_t at = 0; at < builder->graph->shape.dimension; at += VDB_CACHE_LINE_BYTES) {
        __builtin_prefetch(vector + at);
    }
}

/* Fills worker->picked from its sorted candidates. */
static void prune(const struct qgraph_builder *builder, struct qgraph_builder_worker *worker, bool fill)
{
    uint32_t left_out[DEGREE];
    size_t left_count = 0;
    worker->picked_count = 0;
    for (size_t i = 0; i < worker->count && i < AHEAD; i++) {
        ask_for(builder, worker->candidates[i].node);
    }
    for (size_t i = 0; i < worker->count && worker->picked_count < builder->degree; i++) {
        const struct qgraph_candidate candidate = worker->candidates[i];
        if (i + AHEAD < worker->count) {
            ask_for(builder, worker->candidates[i + AHEAD].node);
        }
        bool occluded = false;
        for (size_t k = 0; k < worker->picked_count && !occluded; k++) {
            uint32_t between = distance_of(builder, candidate.node, worker->picked[k].node);
            occluded = (float)between * builder->params.alpha < (float)candidate.distance;
        }
        if (!occluded) {
            worker->picked[worker->picked_count++] = candidate;
        } else if (left_count < DEGREE) {
            left_out[left_count++] = (uint32_t)i;
        }
    }
    for (size_t i = 0; fill && i < left_count && worker->picked_count < builder->degree; i++) {
        worker->picked[worker->picked_count++] = worker->candidates[left_out[i]];
    }
}

static void write_list(struct qgraph_lists *lists, size_t node, const struct qgraph_builder_worker *worker)
{
    for (size_t i = 0; i < worker->picked_count; i++) {
        lists->nodes[node * DEGREE + i] = worker->picked[i].node;
        lists->distances[node * DEGREE + i] = worker->picked[i].distance;
    }
    lists->counts[node] = (uint8_t)worker->picked_count;
}

/* The nearest candidates, which fill up what merging leaves free. */
static void write_nearest(struct qgraph_lists *lists, size_t node, const struct qgraph_builder_worker *worker)
{
    const size_t count = worker->count < DEGREE ? worker->count : DEGREE;
    for (size_t i = 0; i < count; i++) {
        lists->nodes[node * DEGREE + i] = worker->candidates[i].node;
        lists->distances[node * DEGREE + i] = worker->candidates[i].distance;
    }
    lists->counts[node] = (uint8_t)count;
}

static void add(struct qgraph_builder_worker *worker, uint32_t node, uint32_t distance)
{
    if (worker->count < QGRAPH_CANDIDATES_MAX) {
        worker->candidates[worker->count++] = (struct qgraph_candidate){.node = node, .distance = distance};
    }
}

static void add_list(struct qgraph_builder_worker *worker, const struct qgraph_lists *lists, size_t node)
{
    for (size_t i = 0; i < lists->counts[node]; i++) {
        add(worker, lists->nodes[node * DEGREE + i], lists->distances[node * DEGREE + i]);
    }
}

/* Measures and adds nodes from all over. */
static void add_nodes(const struct qgraph_builder *builder, struct qgraph_builder_worker *worker, uint32_t node,
                      const uint32_t *others, size_t count)
{
    for (size_t i = 0; i < count && i < AHEAD; i++) {
        ask_for(builder, others[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (i + AHEAD < count) {
            ask_for(builder, others[i + AHEAD]);
        }
        add(worker, others[i], distance_of(builder, node, others[i]));
    }
}

/* What the balls found near a node, and what its seed knows. */
static void add_near(const struct qgraph_builder *builder, struct qgraph_builder_worker *worker, uint32_t node)
{
    const struct qgraph_near *near = &builder->near;
    uint32_t known[QGRAPH_SEED_CANDIDATES];
    add_nodes(builder, worker, node, known, vdb_qgraph_seeds_near(&builder->seeding, node, known));
    if (near->counts != NULL) {
        add_nodes(builder, worker, node, near->nodes + node * near->width, near->counts[node]);
    }
}

static void take_near(const struct qgraph_builder *builder, struct qgraph_builder_worker *worker, uint32_t node)
{
    worker->count = 0;
    add_near(builder, worker, node);
    sort_candidates(worker, node);
}

/* ---- Passes ---- */

/* Where all distances are alike, as in data of many dimensions, a factor far from 1 leaves nobody out. The
 * params' alpha comes nearer to 1 until pruning a sample leaves out enough. */
static void set_alpha(struct qgraph_builder *builder)
{
    const struct qgraph_seeding *seeding = &builder->seeding;
    const size_t count = builder->graph->node_count;
    const float known = seeding->count > 0 ? seeding->seeds[seeding->largest].graph->alpha : 0;
    if (known > 0) { /* lists that were pruned before leave out few */
        builder->params.alpha = known < builder->params.alpha ? known : builder->params.alpha;
        return;
    }
    struct qgraph_builder_worker *worker = &builder->workers[0];
    for (unsigned step = 0; step < ALPHA_STEPS; step++) {
        size_t picked = 0;
        size_t sampled = 0;
        for (size_t node = 0; node < count; node += count / ALPHA_NODES + 1, sampled++) {
            take_near(builder, worker, (uint32_t)node);
            prune(builder, worker, false);
            picked += worker->picked_count;
        }
        if (picked <= sampled * FIRST_DEGREE_MAX) {
            return;
        }
        builder->params.alpha = 1 + (builder->params.alpha - 1) / 2;
    }
}

/* The first: of what is known near a node. */
static void prune_near(void *ctx, unsigned worker_number, size_t index)
{
    struct qgraph_builder *builder = ctx;
    struct qgraph_builder_worker *worker = &builder->workers[worker_number];
    for (size_t node = index * QGRAPH_PIECE_NODES; node < qgraph_piece_end(index, builder->graph->node_count);
         node++) {
        take_near(builder, worker, (uint32_t)node);
        prune(builder, worker, builder->fill_first);
        write_list(builder->fill_first ? &builder->now : &builder->then, node, worker);
        if (!builder->fill_first) {
            write_nearest(&builder->now, node, worker);
        }
    }
}

/* A refinement: of what a walk to the node expands. */
static void prune_walked(void *ctx, unsigned worker_number, size_t index)
{
    struct qgraph_builder *builder = ctx;
    const struct vdb_qgraph *graph = builder->graph;
    struct qgraph_builder_worker *worker = &builder->workers[worker_number];
    const size_t ef = builder->params.ef_construction < graph->node_count ? builder->params.ef_construction
                                                                          : graph->node_count;
    struct qgraph_scratch *scratch = vdb_qgraph_walk_scratch(graph, ef);
    if (scratch == NULL) {
        worker->failed = true;
        return;
    }
    for (size_t node = index * QGRAPH_PIECE_NODES; node < qgraph_piece_end(index, graph->node_count); node++) {
        worker->count = 0;
        add_list(worker, &builder->now, node);
        scratch->visited_count = 0;
        if (!vdb_qgraph_seeds_settled(&builder->seeding, (uint32_t)node)) {
            memcpy(scratch->inner, qgraph_block(graph, node), graph->shape.dimension);
            if (!vdb_qgraph_walk(graph, scratch, ef)) {
                worker->failed = true;
                break;
            }
        }
        for (size_t i = 0; i < scratch->visited_count; i++) {
            add(worker, scratch->visited[i].row, (uint32_t)scratch->visited[i].distance);
        }
        sort_candidates(worker, (uint32_t)node);
        prune(builder, worker, false);
        write_list(&builder->then, node, worker);
        write_nearest(&builder->now, node, worker);
    }
    vdb_qgraph_walk_release(graph, scratch);
}

/* Lists of `then` turned round: who points to each node. */
static void turn_round(struct qgraph_builder *builder)
{
    const size_t count = builder->graph->node_count;
    const struct qgraph_lists *lists = &builder->then;
    memset(builder->incoming_at, 0, (count + 1) * sizeof *builder->incoming_at);
    for (size_t node = 0; node < count; node++) {
        for (size_t i = 0; i < lists->counts[node]; i++) {
            builder->incoming_at[lists->nodes[node * DEGREE + i] + 1]++;
        }
    }
    for (size_t node = 0; node < count; node++) {
        builder->incoming_at[node + 1] += builder->incoming_at[node];
    }
    for (size_t node = 0; node < count; node++) {
        for (size_t i = 0; i < lists->counts[node]; i++) {
            size_t at = builder->incoming_at[lists->nodes[node * DEGREE + i]]++;
            builder->incoming[at] = (struct qgraph_candidate){.node = (uint32_t)node,
                                                              .distance = lists->distances[node * DEGREE + i]};
        }
    }
    memmove(builder->incoming_at + 1, builder->incoming_at, count * sizeof *builder->incoming_at);
    builder->incoming_at[0] = 0;
}

/* Own edges and incoming ones together, pruned and filled up: from `then` to `now`. */
static void prune_merged(void *ctx, unsigned worker_number, size_t index)
{
    struct qgraph_builder *builder = ctx;
    struct qgraph_builder_worker *worker = &builder->workers[worker_number];
    for (size_t node = index * QGRAPH_PIECE_NODES; node < qgraph_piece_end(index, builder->graph->node_count);
         node++) {
        worker->count = 0;
        add_list(worker, &builder->then, node);
        for (size_t i = builder->incoming_at[node]; i < builder->incoming_at[node + 1]; i++) {
            add(worker, builder->incoming[i].node, builder->incoming[i].distance);
        }
        sort_candidates(worker, (uint32_t)node);
        if (worker->count < DEGREE) {
            add_list(worker, &builder->now, node);
            sort_candidates(worker, (uint32_t)node);
        }
        prune(builder, worker, true);
        write_list(&builder->now, node, worker);
    }
}

static void encode_node(const struct qgraph_builder *builder, size_t node)
{
    const struct qgraph_projected projected = qgraph_projected(builder);
    vdb_qgraph_block_encode(builder->graph, &projected, (uint32_t)node, builder->now.nodes + node * DEGREE,
                            builder->now.distances + node * DEGREE, builder->now.counts[node]);
}

static void encode(void *ctx, unsigned worker_number, size_t index)
{
    const struct qgraph_builder *builder = ctx;
    (void)worker_number;
    for (size_t node = index * QGRAPH_PIECE_NODES; node < qgraph_piece_end(index, builder->graph->node_count);
         node++) {
        encode_node(builder, node);
    }
}

static float power_of_two_below(float x)
{
    return x > 0 && isfinite(x) ? exp2f(floorf(log2f(x))) : 1;
}

/* The units of factors, from a sample of nodes. */
static void set_units(struct qgraph_builder *builder)
{
    struct vdb_qgraph *graph = builder->graph;
    const struct qgraph_projected projected = qgraph_projected(builder);
    float offset = 0;
    float slope = 0;
    const size_t every = graph->node_count / MEASURED_NODES + 1;
    for (size_t node = 0; node < graph->node_count; node += every) {
        vdb_qgraph_block_measure(graph, &projected, (uint32_t)node, builder->now.nodes + node * DEGREE,
                                 builder->now.distances + node * DEGREE, builder->now.counts[node], &offset,
                                 &slope);
    }
    graph->unit = power_of_two_below(4096 / offset);
    graph->slope_unit = power_of_two_below(1024 / slope);
}

/* The entries: nodes at equal spaces in their order, which is one of places too. */
static void set_entries(struct qgraph_builder *builder)
{
    struct vdb_qgraph *graph = builder->graph;
    const struct qgraph_projected projected = qgraph_projected(builder);
    const size_t wanted = (size_t)graph->entry_count * DEGREE;
    const size_t count = graph->node_count < wanted ? graph->node_count : wanted;
    for (size_t entry = 0; entry < graph->entry_count; entry++) {
        const uint32_t number = (uint32_t)(graph->node_count + entry);
        uint32_t nodes[DEGREE];
        uint32_t distances[DEGREE];
        size_t filled = 0;
        for (size_t i = entry; i < count; i += graph->entry_count) {
            nodes[filled] = (uint32_t)(graph->node_count * i / count);
            distances[filled] = distance_of(builder, number, nodes[filled]);
            filled++;
        }
        vdb_qgraph_block_encode(graph, &projected, number, nodes, distances, filled);
    }
}

/* ---- Reachability ---- */

struct reach {
    uint32_t *queue;
    size_t count;
    size_t done;
    bool *seen;
    uint32_t *needed;  /* of each node: the places through which others were first reached */
    uint32_t *changed; /* nodes whose lists did, some of them twice */
    size_t changed_count;
};

static void spread(const struct qgraph_lists *lists, struct reach *reach)
{
    for (; reach->done < reach->count; reach->done++) {
        const size_t node = reach->queue[reach->done];
        for (size_t i = 0; i < lists->counts[node]; i++) {
            uint32_t other = lists->nodes[node * DEGREE + i];
            if (!reach->seen[other]) {
                reach->seen[other] = true;
                reach->needed[node] |= UINT32_C(1) << i;
                reach->queue[reach->count++] = other;
            }
        }
    }
}

/* Gives a reached node's last free place to `node`. */
static bool link_from(struct qgraph_builder *builder, struct reach *reach, uint32_t from, uint32_t node)
{
    struct qgraph_lists *lists = &builder->now;
    size_t place = lists->counts[from];
    if (place < builder->degree) {
        lists->counts[from]++;
    } else {
        uint32_t spare = ~reach->needed[from] & (UINT32_MAX >> (DEGREE - builder->degree));
        if (spare == 0) {
            return false;
        }
        place = 31 - (size_t)__builtin_clz(spare);
    }
    lists->nodes[from * DEGREE + place] = node;
    lists->distances[from * DEGREE + place] = distance_of(builder, from, node);
    reach->needed[from] |= UINT32_C(1) << place;
    reach->seen[node] = true;
    reach->queue[reach->count++] = node;
    reach->changed[reach->changed_count++] = from;
    return true;
}

/* Every node gets a path from an entry: one not reached is linked from the nearest that a walk to it expands and
 * that has a place through which nobody else is reached; failing those, from any that has. */
static vdb_status link_all(struct qgraph_builder *builder, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_qgraph *graph = builder->graph;
    const size_t count = graph->node_count;
    const size_t ef = DEGREE * 2 < count ? DEGREE * 2 : count;
    struct reach reach = {.queue = vdb_calloc(count, sizeof(uint32_t)),
                          .seen = vdb_calloc(count, sizeof(bool)),
                          .needed = vdb_calloc(count, sizeof(uint32_t)),
                          .changed = vdb_calloc(count, sizeof(uint32_t))};
    struct qgraph_scratch *scratch = vdb_qgraph_walk_scratch(graph, ef);
    struct qgraph_builder_worker *worker = &builder->workers[0];
    size_t spare = 0; /* in the queue: all before it are full */
    if (reach.queue == NULL || reach.seen == NULL || reach.needed == NULL || reach.changed == NULL ||
        scratch == NULL) {
        status = vdb_err_no_memory(err, "the graph's paths");
        goto cleanup;
    }
    for (size_t i = 0; i < (size_t)graph->entry_count * DEGREE; i++) {
        uint32_t node = qgraph_node(graph, graph->node_count + i / DEGREE, i % DEGREE);
        if (node < count && !reach.seen[node]) {
            reach.seen[node] = true;
            reach.queue[reach.count++] = node;
        }
    }
    spread(&builder->now, &reach);
    for (uint32_t node = 0; node < count; node++) {
        if (reach.seen[node]) {
            continue;
        }
        memcpy(scratch->inner, qgraph_block(graph, node), graph->shape.dimension);
        if (!vdb_qgraph_walk(graph, scratch, ef)) {
            status = vdb_err_no_memory(err, "the graph's paths");
            goto cleanup;
        }
        worker->count = 0;
        for (size_t i = 0; i < scratch->visited_count; i++) {
            if (reach.seen[scratch->visited[i].row]) {
                add(worker, scratch->visited[i].row, (uint32_t)scratch->visited[i].distance);
            }
        }
        sort_candidates(worker, node);
        bool linked = false;
        for (size_t i = 0; i < worker->count && !linked; i++) {
            linked = link_from(builder, &reach, worker->candidates[i].node, node);
        }
        while (!linked) {
            linked = link_from(builder, &reach, reach.queue[spare], node);
            spare += !linked;
        }
        graph->linked++;
        spread(&builder->now, &reach);
    }
    for (size_t i = 0; i < reach.changed_count; i++) {
        encode_node(builder, reach.changed[i]);
    }
cleanup:
    vdb_qgraph_walk_release(graph, scratch);
    free(reach.queue);
    free(reach.seen);
    free(reach.needed);
    free(reach.changed);
    return status;
}

/* ---- All of it ---- */

static bool lists_init(struct qgraph_lists *lists, size_t count)
{
    lists->nodes = vdb_calloc(count, DEGREE * sizeof *lists->nodes);
    lists->distances = vdb_calloc(count, DEGREE * sizeof *lists->distances);
    lists->counts = vdb_calloc(count, sizeof *lists->counts);
    return lists->nodes != NULL && lists->distances != NULL && lists->counts != NULL;
}

void vdb_qgraph_weave_lists_fini(struct qgraph_lists *lists)
{
    free(lists->nodes);
    free(lists->distances);
    free(lists->counts);
}

static bool any_failed(const struct qgraph_builder *builder)
{
    for (unsigned i = 0; i < builder->worker_count; i++) {
        if (builder->workers[i].failed) {
            return true;
        }
    }
    return false;
}

/* How much of the way there is to go. */
struct plan {
    size_t balls;         /* of a node; 0: none */
    bool first_is_merged; /* reverse edges in the first graph, too */
    unsigned refinements;
};

static struct plan plan_of(const struct qgraph_builder *builder)
{
    const struct vdb_qgraph_params *params = &builder->params;
    const struct qgraph_seeding *seeding = &builder->seeding;
    const size_t count = builder->graph->node_count;
    struct plan plan = {BALLS, true, params->refinements};
    if (!seeding->most) {
        return plan;
    }
    const bool one = seeding->seeds[seeding->largest].given == count;
    plan.balls = one ? 0 : SEEDED_BALLS;
    if (seeding->unsettled * UNSETTLED_PART <= count) {
        plan.refinements = 0;
    }
    plan.first_is_merged = plan.refinements == 0; /* old lists have their reverse edges: walks find their way */
    return plan;
}

/* From candidates to blocks: the first graph, or a refinement of the one there is. */
static vdb_status weave_pass(struct qgraph_builder *builder, bool first, bool merged, struct vdb_err *err)
{
    struct vdb_qgraph *graph = builder->graph;
    const size_t count = graph->node_count;
    builder->fill_first = !merged;
    vdb_qgraph_build_run(builder, count, first ? prune_near : prune_walked);
    if (any_failed(builder)) {
        return vdb_err_no_memory(err, "the graph's edges");
    }
    VDB_TRY(vdb_qgraph_build_report(builder, err));
    if (merged) {
        size_t edges = 0;
        for (size_t node = 0; node < count; node++) {
            edges += builder->then.counts[node];
        }
        graph->average_degree = (double)edges / (double)count;
        turn_round(builder);
        vdb_qgraph_build_run(builder, count, prune_merged);
    }
    vdb_qgraph_fit_set(builder);
    if (first) {
        set_units(builder);
    }
    set_entries(builder);
    vdb_qgraph_build_run(builder, count, encode);
    return vdb_qgraph_build_report(builder, err);
}

vdb_status vdb_qgraph_weave(struct qgraph_builder *builder, struct vdb_err *err)
{
    struct vdb_qgraph *graph = builder->graph;
    const size_t count = graph->node_count;
    const struct plan plan = plan_of(builder);
    builder->incoming_at = vdb_calloc(count + 1, sizeof *builder->incoming_at);
    builder->incoming = vdb_calloc(count, DEGREE * sizeof *builder->incoming);
    if (!lists_init(&builder->now, count) || !lists_init(&builder->then, count) || builder->incoming_at == NULL ||
        builder->incoming == NULL) {
        return vdb_err_no_memory(err, "the graph's edges");
    }
    if (plan.balls > 0) {
        VDB_TRY(vdb_qgraph_near_find(&builder->cloud, NEAR_WIDTH, plan.balls, builder->params.seed + 2,
                                     builder->pool, &builder->near, err));
    }
    set_alpha(builder);
    graph->alpha = builder->params.alpha;
    builder->steps += (uint64_t)count * 2 * (builder->params.refinements - plan.refinements); /* left out */
    VDB_TRY(weave_pass(builder, true, plan.first_is_merged, err));
    for (unsigned pass = 0; pass < plan.refinements; pass++) {
        VDB_TRY(weave_pass(builder, false, true, err));
    }
    return link_all(builder, err);
}
