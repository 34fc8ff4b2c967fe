/* qgraph_fit.c: what the estimates of neighbours' distances leave out, fitted to the data.
 *
 * With r = y - x as in qgraph_block.c, the part of <q - x, r> that codes do not see is not of mean 0: let Q be
 * what P leaves out, and q's Q part have nothing to do with those of x and y. Then
 *
 *     -2 <Q(q - x), Q r>  ~  2 <Q x, Q y - Q x>  =  |Q y|^2 - |Q x|^2 - |Q r|^2
 *
 * each vector being taken from the mean. How much of it there is, and how far the codes' product says the truth,
 * are two numbers of the data:
 *
 *     |q - y|^2 - |q - x|^2 - |r|^2  ~  along * (-2 f <P(q - x), s>) + outside * (|Q y|^2 - |Q x|^2 - |Q r|^2)
 *
 * by least squares over edges x - y near some of the nodes, which stand for queries; distances are taken in
 * units of each one's surroundings. Nodes as queries give the same numbers as queries do (two data sets, within
 * 0.02).
 *
 * What is least wrong is not yet what finds most: a node lost is worse than one visited for nothing. The longer
 * an edge, the less is known of its end, so a part of its square is taken off. Against least squares in all
 * three, that saved 2 to 10 % of the visits at equal recall (128 to 784 dimensions).
 *
 * Threads: confined.
 */
#include <math.h>

#include "qgraph_internal.h"

enum {
    SAMPLED_NODES = 256,
    SAMPLED_PLACES = 16, /* of each: its nearest, whose edges are taken */
    EDGES_MIN = 1000,    /* fewer say nothing */
    TERMS = 2,
};

static const double FAR = 2;       /* beyond this, in units of the surroundings, a walk takes nobody in */
static const double PRIOR = 0.001; /* how much the numbers without data weigh */
static const float LENGTH = -0.1F; /* of an edge's square, and what goes with it: measured */
static const double ALONG_LESS = 0.04;

struct sums {
    double product[TERMS][TERMS];
    double wanted[TERMS];
    size_t count;
};

static void add_edge(struct sums *sums, const double term[TERMS], double wanted)
{
    for (size_t i = 0; i < TERMS; i++) {
        for (size_t j = 0; j < TERMS; j++) {
            sums->product[i][j] += term[i] * term[j];
        }
        sums->wanted[i] += term[i] * wanted;
    }
    sums->count++;
}

/* <codes, signs> */
static int32_t turned_sum(const int16_t *codes, const uint8_t *signs, size_t bits)
{
    int32_t sum = 0;
    for (size_t i = 0; i < bits; i++) {
        sum += (signs[i / 8] >> (i % 8) & 1) != 0 ? codes[i] : -codes[i];
    }
    return sum;
}

/* All edges of x, seen from q; near: the square of the surroundings' radius. */
static void add_place(const struct qgraph_builder *builder, uint32_t q, uint32_t x, double near,
                      struct sums *sums)
{
    const struct vdb_qgraph *graph = builder->graph;
    const size_t bits = graph->shape.bits;
    const size_t dimension = graph->shape.dimension;
    const double square_unit = (double)graph->projection.unit * (double)graph->projection.unit;
    const double base = graph->kernels->distance(qgraph_block(graph, q), qgraph_block(graph, x), dimension);
    for (size_t i = 0; i < builder->now.counts[x]; i++) {
        uint8_t signs[VDB_QGRAPH_BITS_MAX / 8];
        const uint32_t y = builder->now.nodes[(size_t)x * VDB_QGRAPH_DEGREE + i];
        const double edge = builder->now.distances[(size_t)x * VDB_QGRAPH_DEGREE + i];
        const double truth = graph->kernels->distance(qgraph_block(graph, q), qgraph_block(graph, y), dimension);
        if (y == q || truth > FAR * near) {
            continue;
        }
        const struct vdb_qgraph_numbers n = graph->kernels->code(builder->codes + x * bits,
                                                                 builder->codes + y * bits, bits, signs);
        const double factor = n.length > 0 ? (double)n.square / (double)n.length : 0;
        const int64_t product = turned_sum(builder->codes + q * bits, signs, bits) - n.product;
        const double beside = edge - (double)n.square * square_unit;
        const double term[TERMS] = {
            -2 * factor * (double)product * square_unit / near,
            ((double)builder->rest[y] - (double)builder->rest[x] - beside) / near,
        };
        add_edge(sums, term, (truth - base - edge) / near);
    }
}

/* The numbers whose sum of squared errors is least, `start` counting as PRIOR of all edges. False: there are
 * none. */
static bool solve(const struct sums *sums, const double start[TERMS], double out[TERMS])
{
    double a[TERMS][TERMS + 1];
    for (size_t i = 0; i < TERMS; i++) {
        for (size_t j = 0; j < TERMS; j++) {
            a[i][j] = sums->product[i][j];
        }
        a[i][i] += PRIOR * sums->product[i][i];
        a[i][TERMS] = sums->wanted[i] + PRIOR * sums->product[i][i] * start[i];
        if (a[i][i] <= 0) { /* the term is 0 everywhere */
            a[i][i] = 1;
            a[i][TERMS] = start[i];
        }
    }
    for (size_t i = 0; i < TERMS; i++) { /* positive definite: no pivots */
        if (!(a[i][i] > 0)) {
            return false;
        }
        for (size_t below = i + 1; below < TERMS; below++) {
            const double factor = a[below][i] / a[i][i];
            for (size_t j = i; j <= TERMS; j++) {
                a[below][j] -= factor * a[i][j];
            }
        }
    }
    for (size_t i = TERMS; i-- > 0;) {
        out[i] = a[i][TERMS];
        for (size_t j = i + 1; j < TERMS; j++) {
            out[i] -= a[i][j] * out[j];
        }
        out[i] /= a[i][i];
    }
    return true;
}

/* NaN gives `least`. */
static float between(double x, double least, double most)
{
    return (float)(!(x > least) ? least : x > most ? most : x);
}

void vdb_qgraph_fit_set(struct qgraph_builder *builder)
{
    const struct vdb_qgraph *graph = builder->graph;
    const double start[TERMS] = {1, 1};
    double found[TERMS];
    struct sums sums = {0};
    for (size_t q = 0; q < graph->node_count; q += graph->node_count / SAMPLED_NODES + 1) {
        const bool found_near = builder->seeding.count == 0; /* seeds leave little to the search for near ones */
        const uint32_t *near = found_near ? builder->near.nodes + q * builder->near.width
                                          : builder->now.nodes + q * VDB_QGRAPH_DEGREE;
        const size_t count = found_near ? builder->near.counts[q] : builder->now.counts[q];
        if (count == 0) {
            continue;
        }
        const uint32_t radius = graph->kernels->distance(
            qgraph_block(graph, q), qgraph_block(graph, near[count - 1]), graph->shape.dimension);
        for (size_t i = 0; i < count && i < SAMPLED_PLACES && radius > 0; i++) {
            add_place(builder, (uint32_t)q, near[i], radius, &sums);
        }
    }
    builder->fit = (struct qgraph_fit){1, 1, 0};
    if (sums.count >= EDGES_MIN && solve(&sums, start, found)) {
        builder->fit = (struct qgraph_fit){between(found[0] - ALONG_LESS, 0.5, 1.5), between(found[1], 0, 1.5),
                                           LENGTH};
    }
}
