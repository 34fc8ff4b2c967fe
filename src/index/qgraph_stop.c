/* qgraph_stop.c: when a walk may end before all of its pool is expanded.
 *
 * A pool of fixed width spends as much on a query whose neighbours stand apart as on one amid a crowd. Here a
 * walk ends when the nearest node not expanded is estimated beyond `factor` times the k-th nearest measured (as
 * in arXiv 2505.15636), and the pool may hold more than `ef`: what is saved on the one is there for the other.
 *
 * The factor that is worth a width of ef is a matter of the data: of how fast distances grow from one neighbour
 * to the next. It is taken from walks to some of the nodes: the mean of a pool's distance at about the ef-th
 * place over that of the k-th distance measured; but at least what a factor must be for the path to be followed
 * to its end. Nothing of it is stored with a graph: it follows from the graph. Sums go in one order, and there
 * are no functions but +, * and /: every build and every load gives the same.
 *
 * A narrow walk, of fewer than 2 k places, goes to its end too: it has little to save, and with few nodes to
 * choose from, blocks are asked for too late (60,000 x 784, ef 14: 1.13 times the time for as many visits).
 *
 * Under dot, inner distances are near to each other whatever the rows (qgraph_space.c): such a walk goes to its
 * end.
 *
 * Threads: confined; read only once set.
 */
#include <math.h>
#include <string.h>

#include "qgraph_internal.h"

enum {
    NODES_MIN = 4 * QGRAPH_SPREAD_WIDTH, /* a smaller graph is walked in full */
    SAMPLED_NODES = 64,
    PLACES_MORE = 12,
    UNIT_RANK = 16, /* the place whose distance others are taken by */
};

/* Adds what a walk to `node` met. */
static bool add_sample(const struct vdb_qgraph *graph, struct qgraph_scratch *scratch, size_t node,
                       double pool[QGRAPH_SPREAD_WIDTH], double exact[QGRAPH_SPREAD_K], size_t *count)
{
    uint32_t nearest[QGRAPH_SPREAD_K];
    size_t found = 0;
    memset(scratch->inner, 0, graph->shape.codes_at);
    memcpy(scratch->inner, qgraph_block(graph, node), graph->shape.dimension);
    if (!vdb_qgraph_walk(graph, scratch, QGRAPH_SPREAD_WIDTH + 1)) {
        return false;
    }
    for (size_t i = 0; i < scratch->visited_count; i++) {
        if (scratch->visited[i].row != node) {
            vdb_qgraph_walk_keep(nearest, &found, QGRAPH_SPREAD_K, (uint32_t)scratch->visited[i].distance);
        }
    }
    if (found < QGRAPH_SPREAD_K || nearest[UNIT_RANK - 1] == 0) {
        return true;
    }
    const double unit = nearest[UNIT_RANK - 1];
    for (size_t i = 0; i < QGRAPH_SPREAD_WIDTH; i++) { /* one place on: the node itself comes first */
        pool[i] += (double)scratch->pool.distances[i + 1] / (double)graph->unit / unit;
    }
    for (size_t i = 0; i < QGRAPH_SPREAD_K; i++) {
        exact[i] += nearest[i] / unit;
    }
    (*count)++;
    return true;
}

bool vdb_qgraph_stop_set(struct vdb_qgraph *graph)
{
    double pool[QGRAPH_SPREAD_WIDTH] = {0};
    double exact[QGRAPH_SPREAD_K] = {0};
    size_t count = 0;
    bool done = true;
    graph->spread_known = false;
    if (graph->node_count < NODES_MIN || graph->compact.degree > 0 || graph->space.metric == VDB_METRIC_DOT) {
        return true;
    }
    struct qgraph_scratch *scratch = vdb_qgraph_walk_scratch(graph, QGRAPH_SPREAD_WIDTH + 1);
    for (size_t i = 0; scratch != NULL && done && i < SAMPLED_NODES; i++) {
        done = add_sample(graph, scratch, graph->node_count * i / SAMPLED_NODES, pool, exact, &count);
    }
    done = done && scratch != NULL;
    vdb_qgraph_walk_release(graph, scratch);
    for (size_t i = 0; count > 0 && i < QGRAPH_SPREAD_WIDTH; i++) {
        graph->spread_pool[i] = (float)(pool[i] / (double)count);
    }
    for (size_t i = 0; count > 0 && i < QGRAPH_SPREAD_K; i++) {
        graph->spread_exact[i] = (float)(exact[i] / (double)count);
    }
    graph->spread_known = done && count > 0;
    return done;
}

/* What recall at a width asks for at least, by ef / k: measured, and much alike on data of 128 to 784
 * dimensions. */
static float least_factor(float width)
{
    static const float points[][2] = {{2, 0.97F}, {2.4F, 0.985F}, {3.2F, 1.01F}, {6.4F, 1.08F}, {12.8F, 1.12F}};
    enum { POINTS = sizeof points / sizeof points[0] };
    for (size_t i = 1; i < POINTS; i++) {
        if (width < points[i][0]) {
            const float part = (width - points[i - 1][0]) / (points[i][0] - points[i - 1][0]);
            return points[i - 1][1] + part * (points[i][1] - points[i - 1][1]);
        }
    }
    return points[POINTS - 1][1];
}

float vdb_qgraph_stop_factor(const struct vdb_qgraph *graph, size_t ef, size_t k)
{
    if (!graph->spread_known || k > QGRAPH_SPREAD_K || ef < 2 * k) {
        return INFINITY;
    }
    const size_t more = ef / 4 + 4; /* so that no width finds less than it would in full */
    const size_t place = ef + (more < PLACES_MORE ? more : PLACES_MORE);
    const size_t known = place < QGRAPH_SPREAD_WIDTH ? place : QGRAPH_SPREAD_WIDTH;
    const float factor = graph->spread_pool[known - 1] / graph->spread_exact[k - 1] *
                         ((float)place / (float)known);
    const float least = least_factor((float)ef / (float)k);
    return !(factor > 0) ? INFINITY : factor > least ? factor : least;
}
