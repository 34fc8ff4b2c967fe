/* qgraph_near.c: near neighbours of all nodes, by overlapping balls and matrix products.
 *
 * In the manner of PiPNN: nodes are shared out to the nearest of some random leaders, each node to several, and
 * balls that are too large again, until all are small enough for the distances of all pairs to be taken as one
 * product of 8-bit matrices; each node keeps the best that any of its balls held. Most true neighbours share a
 * ball, and no step reads memory at random.
 *
 * What a list holds does not depend on threads: it is the best by (distance, node) of all that were offered.
 *
 * Threads: uses the pool's; lists are locked by stripes.
 */
#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "distance/cpu.h"
#include "distance/gemm.h"
#include "qgraph_internal.h"

enum {
    LEAF_MAX = 1024,
    LEADERS_MAX = 1000,
    LEADERS_MIN = 4,
    NEXT_FANOUT = 1, /* parts of a ball that a node goes on to */
    LEAF_KEEP = 10,  /* neighbours that a ball offers a node */
    KEEP_MAX = 16,
    STRIPES = 256,
    DEPTH_MAX = 12,
};

struct kept {
    int32_t distance;
    uint32_t at;
};

/* Nodes that others are compared with: their codes side by side, as tiles want them. */
struct ball {
    size_t count;
    size_t capacity;
    int8_t *rows;
    float *zeros;
    float *bias;
    int32_t *norm;
    int32_t *correction;
};

struct worker {
    struct ball ball;
    void *panel;
    int8_t *lanes;
    struct vdb_gemm_out *out;
    struct kept kept[VDB_GEMM_LANES][KEEP_MAX];
    size_t kept_count[VDB_GEMM_LANES];
    bool failed;
};

struct list {
    uint32_t *items;
    size_t count;
    size_t capacity;
};

struct job {
    const struct qgraph_cloud *cloud;
    const struct vdb_gemm_kernel *kernel;
    struct vdb_gemm gemm;
    struct vdb_pool *pool;
    struct vdb_rng rng;
    struct worker *workers;
    unsigned worker_count;
    /* The assignment in progress. */
    struct ball leaders;
    const uint32_t *ids;
    size_t id_count;
    size_t balls;
    size_t fanout;
    uint32_t *assigned; /* fanout for each id, UINT32_MAX for none */
    /* Leaves: members of leaf i from leaves[i] on. */
    struct list members;
    struct list leaves;
    struct qgraph_near *near;
    pthread_mutex_t *stripes;
};

static void run(struct vdb_pool *pool, size_t count, vdb_pool_work_fn *work, void *ctx)
{
    if (pool != NULL) {
        vdb_pool_run(pool, count, work, ctx);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        work(ctx, 0, i);
    }
}

static bool append(struct list *list, uint32_t item)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 1024 : list->capacity * 2;
        void *items = list->items;
        if (!vdb_realloc_array(&items, capacity, sizeof *list->items)) {
            return false;
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = item;
    return true;
}

/* ---- Balls ---- */

static void ball_fini(struct ball *ball)
{
    free(ball->rows);
    free(ball->zeros);
    free(ball->bias);
    free(ball->norm);
    free(ball->correction);
    *ball = (struct ball){0};
}

static bool ball_fill(struct ball *ball, const struct qgraph_cloud *cloud, const uint32_t *ids, size_t count)
{
    const size_t padded = vdb_round_up(count + VDB_GEMM_ROWS, 16);
    const size_t bits = cloud->bits;
    if (padded > ball->capacity) {
        ball_fini(ball);
        ball->rows = vdb_alloc_aligned(padded * bits);
        ball->zeros = vdb_alloc_aligned(padded * sizeof *ball->zeros);
        ball->bias = vdb_alloc_aligned(padded * sizeof *ball->bias);
        ball->norm = vdb_alloc_aligned(padded * sizeof *ball->norm);
        ball->correction = vdb_alloc_aligned(padded * sizeof *ball->correction);
        if (ball->rows == NULL || ball->zeros == NULL || ball->bias == NULL || ball->norm == NULL ||
            ball->correction == NULL) {
            ball_fini(ball);
            return false;
        }
        ball->capacity = padded;
    }
    ball->count = count;
    for (size_t i = 0; i < count; i++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): there are rows where there is a capacity */
        memcpy(ball->rows + i * bits, cloud->codes + (size_t)ids[i] * bits, bits);
        ball->norm[i] = cloud->norm[ids[i]];
        ball->bias[i] = (float)ball->norm[i] / 2;
        ball->correction[i] = -128 * cloud->sum[ids[i]];
    }
    memset(ball->rows + count * bits, 0, (padded - count) * bits);
    for (size_t i = count; i < padded; i++) {
        ball->bias[i] = INFINITY; /* never passes */
        ball->correction[i] = 0;
    }
    return true;
}

static void keep(struct kept *kept, size_t *count, size_t width, int32_t distance, uint32_t at)
{
    size_t i = *count;
    if (i == width) {
        if (distance >= kept[width - 1].distance) {
            return;
        }
        i--;
    } else {
        (*count)++;
    }
    for (; i > 0 && kept[i - 1].distance > distance; i--) {
        kept[i] = kept[i - 1];
    }
    kept[i] = (struct kept){distance, at};
}

/* Fills worker->kept: of each of up to 32 nodes the `width` nearest of a ball, never the ball's (self + lane)-th.
 */
static void find(const struct job *job, const struct ball *ball, struct worker *worker, const uint32_t *ids,
                 size_t count, size_t width, size_t self)
{
    const struct qgraph_cloud *cloud = job->cloud;
    const size_t bits = cloud->bits;
    _Alignas(64) float gain[VDB_GEMM_LANES] = {0};
    _Alignas(64) float limit[VDB_GEMM_LANES];
    for (size_t lane = 0; lane < VDB_GEMM_LANES; lane++) {
        limit[lane] = lane < count ? -INFINITY : INFINITY;
        worker->kept_count[lane] = 0;
        if (lane < count) {
            memcpy(worker->lanes + lane * bits, cloud->codes + (size_t)ids[lane] * bits, bits);
        }
    }
    job->kernel->pack(worker->lanes, bits, count, bits, 1, worker->panel);
    const uint32_t valid = count == VDB_GEMM_LANES ? UINT32_MAX : (UINT32_C(1) << count) - 1;
    for (size_t row = 0; row < ball->count; row += VDB_GEMM_ROWS) {
        struct vdb_gemm_tile tile = {
            .panel = worker->panel, .rows = ball->rows + row * bits, .stride_bytes = bits};
        tile.dimension = bits;
        tile.norm = ball->zeros + row;
        tile.bias = ball->bias + row;
        tile.correction = ball->correction + row;
        tile.gain = gain;
        tile.limit = limit;
        if (!job->kernel->run(&tile, worker->out)) {
            continue;
        }
        for (size_t r = 0; r < VDB_GEMM_ROWS && row + r < ball->count; r++) {
            for (uint32_t passed = worker->out->passed[r] & valid; passed != 0; passed &= passed - 1) {
                size_t lane = (size_t)__builtin_ctz(passed);
                if (row + r == self + lane) {
                    continue;
                }
                int32_t norm = cloud->norm[ids[lane]];
                int32_t distance = norm + ball->norm[row + r] - 2 * worker->out->dots.i32[r][lane];
                keep(worker->kept[lane], &worker->kept_count[lane], width, distance, (uint32_t)(row + r));
                if (worker->kept_count[lane] == width) {
                    limit[lane] = ((float)norm - (float)worker->kept[lane][width - 1].distance) / 2;
                }
            }
        }
    }
}

/* ---- Carving ---- */

static void assign(void *ctx, unsigned worker_number, size_t index)
{
    struct job *job = ctx;
    struct worker *worker = &job->workers[worker_number];
    const size_t begin = index * VDB_GEMM_LANES;
    const size_t count = job->id_count - begin < VDB_GEMM_LANES ? job->id_count - begin : VDB_GEMM_LANES;
    find(job, &job->leaders, worker, job->ids + begin, count, job->fanout, SIZE_MAX / 2);
    for (size_t lane = 0; lane < count; lane++) {
        for (size_t f = 0; f < job->fanout; f++) {
            job->assigned[(begin + lane) * job->fanout + f] = f < worker->kept_count[lane]
                                                                  ? worker->kept[lane][f].at
                                                                  : UINT32_MAX;
        }
    }
}

/* Shares ids out to `leader_count` random ones of them. starts[l]: where leader l's begin in *out, which the
 * caller frees. */
static bool share_out(struct job *job, const uint32_t *ids, size_t count, size_t leader_count, size_t fanout,
                      size_t *starts, uint32_t **out)
{
    bool done = false;
    uint32_t *chosen = vdb_calloc(count, sizeof *chosen);
    *out = vdb_calloc(count * fanout, sizeof **out);
    job->assigned = vdb_calloc(count * fanout, sizeof *job->assigned);
    if (chosen == NULL || *out == NULL || job->assigned == NULL) {
        goto cleanup;
    }
    memcpy(chosen, ids, count * sizeof *ids);
    for (size_t i = 0; i < leader_count; i++) {
        size_t other = i + (size_t)vdb_rng_below(&job->rng, count - i);
        uint32_t id = chosen[other];
        chosen[other] = chosen[i];
        chosen[i] = id;
    }
    if (!ball_fill(&job->leaders, job->cloud, chosen, leader_count)) {
        goto cleanup;
    }
    job->ids = ids;
    job->id_count = count;
    job->fanout = fanout;
    run(job->pool, (count + VDB_GEMM_LANES - 1) / VDB_GEMM_LANES, assign, job);
    memset(starts, 0, (leader_count + 1) * sizeof *starts);
    for (size_t i = 0; i < count * fanout; i++) {
        if (job->assigned[i] != UINT32_MAX) {
            starts[job->assigned[i] + 1]++;
        }
    }
    for (size_t l = 0; l < leader_count; l++) {
        starts[l + 1] += starts[l];
    }
    for (size_t i = 0; i < count * fanout; i++) {
        if (job->assigned[i] != UINT32_MAX) {
            (*out)[starts[job->assigned[i]]++] = ids[i / fanout];
        }
    }
    memmove(starts + 1, starts, leader_count * sizeof *starts);
    starts[0] = 0;
    done = true;
cleanup:
    free(chosen);
    free(job->assigned);
    job->assigned = NULL;
    if (!done) {
        free(*out);
        *out = NULL;
    }
    return done;
}

static bool add_leaf(struct job *job, const uint32_t *ids, size_t count)
{
    if (count < 2) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (!append(&job->members, ids[i])) {
            return false;
        }
    }
    return append(&job->leaves, (uint32_t)job->members.count);
}

static bool carve(struct job *job, const uint32_t *ids, size_t count, unsigned depth)
{
    if (count <= LEAF_MAX) {
        return add_leaf(job, ids, count);
    }
    if (depth == DEPTH_MAX) { /* what no leaders part is cut as it lies */
        for (size_t i = 0; i < count; i += LEAF_MAX) {
            if (!add_leaf(job, ids + i, count - i < LEAF_MAX ? count - i : LEAF_MAX)) {
                return false;
            }
        }
        return true;
    }
    const size_t fanout = depth == 0 ? job->balls : NEXT_FANOUT;
    size_t leader_count = count * fanout * 2 / LEAF_MAX;
    leader_count = leader_count < LEADERS_MIN ? LEADERS_MIN : leader_count;
    leader_count = leader_count > LEADERS_MAX ? LEADERS_MAX : leader_count;
    size_t *starts = vdb_calloc(leader_count + 1, sizeof *starts);
    uint32_t *shared = NULL;
    bool done = starts != NULL && share_out(job, ids, count, leader_count, fanout, starts, &shared);
    for (size_t l = 0; done && l < leader_count; l++) {
        done = carve(job, shared + starts[l], starts[l + 1] - starts[l], depth + 1);
    }
    free(starts);
    free(shared);
    return done;
}

/* ---- Lists ---- */

static bool before(int32_t a_distance, uint32_t a, int32_t b_distance, uint32_t b)
{
    return a_distance < b_distance || (a_distance == b_distance && a < b);
}

/* Offers a node's list what a ball found; the caller holds the list's stripe. */
static void merge(struct qgraph_near *near, uint32_t node, const struct kept *kept, size_t kept_count,
                  const uint32_t *members)
{
    uint32_t *nodes = near->nodes + (size_t)node * near->width;
    int32_t *distances = near->distances + (size_t)node * near->width;
    uint32_t *count = &near->counts[node];
    for (size_t k = 0; k < kept_count; k++) {
        const uint32_t other = members[kept[k].at];
        const int32_t distance = kept[k].distance;
        size_t at = *count;
        if (at == near->width && !before(distance, other, distances[at - 1], nodes[at - 1])) {
            continue;
        }
        while (at > 0 && before(distance, other, distances[at - 1], nodes[at - 1])) {
            at--;
        }
        if (at > 0 && nodes[at - 1] == other) {
            continue; /* one pair has one distance, so its twin stands just before */
        }
        size_t end = *count < near->width ? (*count)++ : near->width - 1;
        memmove(nodes + at + 1, nodes + at, (end - at) * sizeof *nodes);
        memmove(distances + at + 1, distances + at, (end - at) * sizeof *distances);
        nodes[at] = other;
        distances[at] = distance;
    }
}

static void join_leaf(void *ctx, unsigned worker_number, size_t index)
{
    struct job *job = ctx;
    struct worker *worker = &job->workers[worker_number];
    const size_t begin = index == 0 ? 0 : job->leaves.items[index - 1];
    const size_t count = job->leaves.items[index] - begin;
    const uint32_t *members = job->members.items + begin;
    if (!ball_fill(&worker->ball, job->cloud, members, count)) {
        worker->failed = true;
        return;
    }
    for (size_t first = 0; first < count; first += VDB_GEMM_LANES) {
        size_t lanes = count - first < VDB_GEMM_LANES ? count - first : VDB_GEMM_LANES;
        find(job, &worker->ball, worker, members + first, lanes, LEAF_KEEP, first);
        for (size_t lane = 0; lane < lanes; lane++) {
            const uint32_t node = members[first + lane];
            pthread_mutex_t *stripe = &job->stripes[node % STRIPES];
            pthread_mutex_lock(stripe);
            merge(job->near, node, worker->kept[lane], worker->kept_count[lane], members);
            pthread_mutex_unlock(stripe);
        }
    }
}

/* ---- Jobs ---- */

static void job_fini(struct job *job)
{
    for (unsigned i = 0; job->workers != NULL && i < job->worker_count; i++) {
        struct worker *worker = &job->workers[i];
        ball_fini(&worker->ball);
        free(worker->panel);
        free(worker->lanes);
        free(worker->out);
    }
    for (size_t i = 0; job->stripes != NULL && i < STRIPES; i++) {
        (void)pthread_mutex_destroy(&job->stripes[i]);
    }
    ball_fini(&job->leaders);
    free(job->workers);
    free(job->members.items);
    free(job->leaves.items);
    free(job->stripes);
}

static bool job_init(struct job *job, const struct qgraph_cloud *cloud, uint64_t seed, struct vdb_pool *pool)
{
    const struct vdb_kernels *kernels = vdb_kernels_get();
    memset(job, 0, sizeof *job);
    vdb_gemm_fill(&job->gemm, kernels->level, kernels->extensions);
    job->kernel = &job->gemm.kernels[VDB_ELEMENT_I8];
    job->cloud = cloud;
    job->pool = pool;
    vdb_rng_init(&job->rng, seed);
    job->worker_count = pool == NULL ? 1 : vdb_pool_threads(pool);
    job->workers = vdb_calloc(job->worker_count, sizeof *job->workers);
    job->stripes = vdb_calloc(STRIPES, sizeof(pthread_mutex_t));
    if (job->workers == NULL || job->stripes == NULL) {
        free(job->stripes);
        job->stripes = NULL;
        return false;
    }
    for (size_t i = 0; i < STRIPES; i++) {
        (void)pthread_mutex_init(&job->stripes[i], NULL); /* cannot fail on Linux */
    }
    for (unsigned i = 0; i < job->worker_count; i++) {
        struct worker *worker = &job->workers[i];
        worker->panel = vdb_alloc_aligned(job->kernel->panel_bytes(cloud->bits));
        worker->lanes = vdb_alloc_aligned(VDB_GEMM_LANES * cloud->bits);
        worker->out = vdb_alloc_aligned(sizeof *worker->out);
        if (worker->panel == NULL || worker->lanes == NULL || worker->out == NULL) {
            return false;
        }
    }
    return true;
}

vdb_status vdb_qgraph_near_find(const struct qgraph_cloud *cloud, size_t width, size_t balls, uint64_t seed,
                                struct vdb_pool *pool, struct qgraph_near *out, struct vdb_err *err)
{
    struct job job;
    uint32_t *ids = vdb_calloc(cloud->count, sizeof *ids);
    bool done = job_init(&job, cloud, seed, pool) && ids != NULL;
    *out = (struct qgraph_near){.width = width};
    out->counts = vdb_calloc(cloud->count, sizeof *out->counts);
    out->nodes = vdb_calloc(cloud->count, width * sizeof *out->nodes);
    out->distances = vdb_calloc(cloud->count, width * sizeof *out->distances);
    done = done && out->counts != NULL && out->nodes != NULL && out->distances != NULL;
    for (size_t i = 0; done && i < cloud->count; i++) {
        ids[i] = (uint32_t)i;
    }
    job.balls = balls;
    done = done && carve(&job, ids, cloud->count, 0);
    if (done) {
        job.near = out;
        run(pool, job.leaves.count, join_leaf, &job);
        for (unsigned i = 0; i < job.worker_count; i++) {
            done = done && !job.workers[i].failed;
        }
    }
    job_fini(&job);
    free(ids);
    if (!done) {
        vdb_qgraph_near_fini(out);
        return vdb_err_no_memory(err, "the graph's candidates");
    }
    return VDB_OK;
}

void vdb_qgraph_near_fini(struct qgraph_near *near)
{
    free(near->counts);
    free(near->nodes);
    free(near->distances);
    *near = (struct qgraph_near){0};
}

vdb_status vdb_qgraph_near_order(const struct qgraph_cloud *cloud, uint64_t seed, struct vdb_pool *pool,
                                 uint32_t *out, struct vdb_err *err)
{
    struct job job;
    size_t leader_count = cloud->count / 256;
    leader_count = leader_count < LEADERS_MIN   ? LEADERS_MIN
                   : leader_count > LEADERS_MAX ? LEADERS_MAX
                                                : leader_count;
    uint32_t *shared = NULL;
    uint32_t *ids = vdb_calloc(cloud->count, sizeof *ids);
    size_t *starts = vdb_calloc(leader_count + 1, sizeof *starts);
    bool *taken = vdb_calloc(leader_count, sizeof *taken);
    bool done = job_init(&job, cloud, seed, pool) && ids != NULL && starts != NULL && taken != NULL;
    for (size_t i = 0; done && i < cloud->count; i++) {
        ids[i] = (uint32_t)i;
        out[i] = (uint32_t)i;
    }
    if (done && cloud->count > LEAF_MAX) {
        done = share_out(&job, ids, cloud->count, leader_count, 1, starts, &shared);
        /* Balls one after the other, each time on to the nearest that is left. */
        size_t written = 0;
        size_t leader = 0;
        for (size_t step = 0; done && step < leader_count; step++) {
            taken[leader] = true;
            memcpy(out + written, shared + starts[leader], (starts[leader + 1] - starts[leader]) * sizeof *out);
            written += starts[leader + 1] - starts[leader];
            int64_t best = INT64_MAX;
            size_t next = leader;
            const int8_t *a = job.leaders.rows + leader * cloud->bits;
            for (size_t l = 0; l < leader_count; l++) {
                const int8_t *b = job.leaders.rows + l * cloud->bits;
                int64_t distance = 0;
                for (size_t i = 0; !taken[l] && i < cloud->bits; i++) {
                    distance += (a[i] - b[i]) * (a[i] - b[i]);
                }
                if (!taken[l] && distance < best) {
                    best = distance;
                    next = l;
                }
            }
            leader = next;
        }
    }
    job_fini(&job);
    free(shared);
    free(ids);
    free(starts);
    free(taken);
    return done ? VDB_OK : vdb_err_no_memory(err, "the graph's order");
}
