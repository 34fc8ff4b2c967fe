/* test_index_conformance.c: what src/index/index.h promises, over every kind in vdb_index_all, and the
 * compact qgraph. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "distance/cpu.h"
#include "distance/wide.h"
#include "index/index.h"
#include "index/qgraph.h"

enum { ROWS = 1000, DIMENSION = 24, K = 10, QUERIES = 20, SEED = 4242 };
#define RECALL_MIN 0.9 /* of an index that is not exact, at its own settings */

struct world {
    float *memory;
    const void *array;
    struct vdb_rows rows;
    float queries[QUERIES][DIMENSION];
    struct vdb_bitset allow; /* a third of the rows */
};

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->memory = malloc(ROWS * DIMENSION * sizeof *world->memory);
    assert_non_null(world->memory);
    assert_true(vdb_bitset_init(&world->allow, ROWS));
    struct vdb_rng rng;
    vdb_rng_init(&rng, SEED);
    for (size_t i = 0; i < ROWS * DIMENSION; i++) {
        world->memory[i] = vdb_rng_normal(&rng);
    }
    for (size_t i = 0; i < QUERIES * DIMENSION; i++) {
        world->queries[i / DIMENSION][i % DIMENSION] = vdb_rng_normal(&rng);
    }
    for (size_t i = 0; i < ROWS; i++) {
        if (vdb_rng_below(&rng, 3) == 0) {
            vdb_bitset_set(&world->allow, i);
        }
    }
    world->array = world->memory;
    world->rows = vdb_rows_of_array(&world->array, ROWS, DIMENSION, VDB_ELEMENT_F32, VDB_METRIC_L2);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    vdb_bitset_fini(&world->allow);
    free(world->memory);
    free(world);
    return 0;
}

static void test_tables_are_complete_and_found_by_name(void **state)
{
    (void)state;
    assert_non_null(vdb_index_all[0]);
    for (size_t i = 0; vdb_index_all[i] != NULL; i++) {
        const struct vdb_index_ops *ops = vdb_index_all[i];
        assert_true(ops->name != NULL && ops->name[0] != '\0');
        assert_true(ops->search != NULL && ops->cost != NULL && ops->check != NULL && ops->stats != NULL);
        assert_int_equal((ops->caps & VDB_INDEX_BUILT) != 0, ops->build != NULL);
        assert_int_equal(ops->build != NULL, ops->destroy != NULL);
        assert_int_equal((ops->caps & VDB_INDEX_UPDATED) != 0, ops->insert != NULL);
        assert_int_equal(ops->insert != NULL, ops->remove != NULL);
        assert_int_equal(ops->save != NULL, ops->load != NULL);
        assert_ptr_equal(vdb_index_find(vdb_str_of(ops->name)), ops); /* so names are unique too */
    }
    assert_ptr_equal(vdb_index_find(vdb_str_of("flat")), &vdb_index_flat);
    const char *const unknown[] = {"", "fla", "flatt", "FLAT", "flat ", "none"};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        assert_null(vdb_index_find(vdb_str_of(unknown[i])));
    }
}

/* ---- Kinds, and what they come in besides ---- */

static struct vdb_index_ops compact;

static vdb_status build_compact(const struct vdb_rows *rows, const struct vdb_index_settings *settings,
                                void **out, struct vdb_err *err)
{
    struct vdb_qgraph_params params = vdb_qgraph_params_default();
    struct vdb_index_settings with = *settings;
    params.compact = true;
    with.params = &params;
    return vdb_index_qgraph.build(rows, &with, out, err);
}

static const struct vdb_index_ops *kind(size_t i)
{
    size_t count = 0;
    while (vdb_index_all[count] != NULL) {
        count++;
    }
    compact = vdb_index_qgraph;
    compact.name = "compact qgraph";
    compact.build = build_compact;
    return i < count ? vdb_index_all[i] : i == count ? &compact : NULL;
}

/* The distance that counts: an exact index's f32 distances are those of double precision, others' the kernel's.
 */
static double distance_of(const struct vdb_index_ops *ops, const struct vdb_rows *rows,
                          const struct vdb_query *query, size_t row)
{
    const void *vector = vdb_rows_at(rows, row);
    if ((ops->caps & VDB_INDEX_EXACT) != 0 && rows->element == VDB_ELEMENT_F32) {
        struct vdb_wide wide;
        vdb_wide_fill(&wide, VDB_CPU_SCALAR);
        double square = wide.dot(query->vector, query->vector, rows->dimension);
        return vdb_wide_distance(&wide, rows->metric, query->vector, square, vector, rows->dimension);
    }
    return vdb_kernels_get()->one[rows->element][rows->metric](query->vector, vector, rows->dimension);
}

/* Whatever an index returns is allowed, in order, without a duplicate, and at its distance. */
static void check_answer(const struct vdb_index_ops *ops, const struct vdb_rows *rows,
                         const struct vdb_query *query, const struct vdb_topk *topk)
{
    for (size_t i = 0; i < topk->count; i++) {
        uint32_t row = topk->heap[i].row;
        assert_true(row < rows->count);
        assert_true(query->allow == NULL || vdb_bitset_test(query->allow, row));
        assert_true(topk->heap[i].distance == distance_of(ops, rows, query, row));
        if (i > 0) {
            const struct vdb_candidate *before = &topk->heap[i - 1];
            assert_true(before->distance < topk->heap[i].distance ||
                        (before->distance == topk->heap[i].distance && before->row < row));
        }
    }
}

/* Rows strictly nearer than the last result: an exact index has returned them all. */
static void check_exact(const struct vdb_index_ops *ops, const struct vdb_rows *rows,
                        const struct vdb_query *query, const struct vdb_topk *topk)
{
    size_t allowed = 0;
    size_t nearer = 0;
    for (size_t i = 0; i < rows->count; i++) {
        if (query->allow == NULL || vdb_bitset_test(query->allow, i)) {
            allowed++;
            nearer += topk->count > 0 && distance_of(ops, rows, query, i) < topk->heap[topk->count - 1].distance;
        }
    }
    assert_int_equal(topk->count, allowed < topk->k ? allowed : topk->k);
    assert_true(topk->count == 0 || nearer < topk->count);
}

/* How many of the allowed rows at most as far as the true k-th were returned, of how many an exact index returns. */
struct recall {
    size_t hits;
    size_t wanted;
};

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return left < right ? -1 : left > right;
}

static void count_recall(const struct vdb_index_ops *ops, const struct vdb_rows *rows,
                         const struct vdb_query *query, const struct vdb_topk *topk, struct recall *recall)
{
    double distances[ROWS];
    size_t allowed = 0;
    for (size_t i = 0; i < rows->count; i++) {
        if (query->allow == NULL || vdb_bitset_test(query->allow, i)) {
            distances[allowed++] = distance_of(ops, rows, query, i);
        }
    }
    qsort(distances, allowed, sizeof *distances, compare_doubles);
    size_t wanted = allowed < topk->k ? allowed : topk->k;
    for (size_t i = 0; i < topk->count; i++) {
        recall->hits += topk->heap[i].distance <= distances[wanted - 1];
    }
    recall->wanted += wanted;
}

static void *build(const struct vdb_index_ops *ops, const struct vdb_rows *rows)
{
    void *index = NULL;
    if (ops->build != NULL) {
        const struct vdb_index_settings settings = {.threads = 2};
        struct vdb_err err = {0};
        vdb_status status = ops->build(rows, &settings, &index, &err);
        if (status != VDB_OK) {
            fail_msg("%s: build: %s", ops->name, err.text);
        }
    }
    return index;
}

static void destroy(const struct vdb_index_ops *ops, void *index)
{
    if (ops->destroy != NULL) {
        ops->destroy(index);
    }
}

static void run_queries(const struct world *world, const struct vdb_index_ops *ops, const void *index,
                        const struct vdb_rows *rows, const struct vdb_bitset *allow, size_t k)
{
    struct recall recall = {0, 0};
    struct vdb_candidate *heap = malloc(k * sizeof *heap);
    assert_non_null(heap);
    struct vdb_search_counters counters = {0, 0};
    for (size_t q = 0; q < QUERIES; q++) {
        struct vdb_query query = {.vector = world->queries[q], .allow = allow, .counters = &counters};
        struct vdb_search_counters before = counters;
        struct vdb_topk topk;
        vdb_topk_init(&topk, heap, k);
        struct vdb_err err = {0};
        assert_int_equal(ops->search(index, rows, &query, &topk, &err), VDB_OK);
        vdb_topk_finish(&topk);
        check_answer(ops, rows, &query, &topk);
        if (ops->caps & VDB_INDEX_EXACT) {
            check_exact(ops, rows, &query, &topk);
        } else {
            count_recall(ops, rows, &query, &topk, &recall);
        }
        assert_true(counters.rows_visited >= before.rows_visited + topk.count);
        assert_true(counters.distances_computed >= before.distances_computed + topk.count);
    }
    if ((double)recall.hits < RECALL_MIN * (double)recall.wanted) {
        fail_msg("%s, %s, k %zu: %zu of %zu", ops->name, vdb_metric_name(rows->metric), k, recall.hits,
                 recall.wanted);
    }
    free(heap);
}

/* A kind that is built may refuse a metric, by name. */
static bool takes(const struct vdb_index_ops *ops, const struct vdb_rows *rows)
{
    if (ops->build == NULL) {
        return true;
    }
    const struct vdb_index_settings settings = {.threads = 1};
    struct vdb_err err = {0};
    void *index = NULL;
    struct vdb_rows none = *rows;
    none.count = 0;
    vdb_status status = ops->build(&none, &settings, &index, &err);
    assert_true(status == VDB_OK || (status == VDB_UNSUPPORTED && err.text[0] != '\0' && index == NULL));
    destroy(ops, index);
    return status == VDB_OK;
}

static void test_search_keeps_the_contract(void **state)
{
    struct world *world = *state;
    struct vdb_bitset nothing;
    assert_true(vdb_bitset_init(&nothing, ROWS));
    for (size_t i = 0; kind(i) != NULL; i++) {
        for (unsigned metric = 0; metric < VDB_METRIC_COUNT; metric++) {
            struct vdb_rows rows = world->rows;
            rows.metric = (vdb_metric)metric;
            if (!vdb_metric_fits(rows.element, rows.metric)) {
                continue;
            }
            const struct vdb_index_ops *ops = kind(i);
            if (!takes(ops, &rows)) {
                continue;
            }
            void *index = build(ops, &rows);
            run_queries(world, ops, index, &rows, NULL, 1);
            run_queries(world, ops, index, &rows, NULL, K);
            run_queries(world, ops, index, &rows, NULL, ROWS + 7);
            run_queries(world, ops, index, &rows, &world->allow, K);
            run_queries(world, ops, index, &rows, &world->allow, ROWS);
            run_queries(world, ops, index, &rows, &nothing, K);
            destroy(ops, index);
            rows.count = 0;
            index = build(ops, &rows);
            run_queries(world, ops, index, &rows, NULL, K);
            destroy(ops, index);
        }
    }
    vdb_bitset_fini(&nothing);
}

/* The first `count` queries together, every third with a filter: each is answered as one alone must be. */
static void run_together(const struct world *world, const struct vdb_index_ops *ops, const void *index, size_t k,
                         size_t count)
{
    struct recall recall = {0, 0};
    struct vdb_candidate heaps[QUERIES * K];
    struct vdb_query queries[QUERIES];
    struct vdb_topk topks[QUERIES];
    struct vdb_search_counters counters = {0, 0};
    struct vdb_err err = {0};
    size_t returned = 0;
    assert_true(k <= K && count <= QUERIES);
    for (size_t q = 0; q < count; q++) {
        queries[q] = (struct vdb_query){.vector = world->queries[q],
                                        .allow = q % 3 == 1 ? &world->allow : NULL,
                                        .ef = q % 2 == 0 ? 0 : 100 + q,
                                        .counters = &counters};
        vdb_topk_init(&topks[q], heaps + q * K, k);
    }
    assert_int_equal(vdb_index_search_many(ops, index, &world->rows, queries, topks, count, &err), VDB_OK);
    for (size_t q = 0; q < count; q++) {
        vdb_topk_finish(&topks[q]);
        returned += topks[q].count;
        check_answer(ops, &world->rows, &queries[q], &topks[q]);
        if (ops->caps & VDB_INDEX_EXACT) {
            check_exact(ops, &world->rows, &queries[q], &topks[q]);
        } else {
            count_recall(ops, &world->rows, &queries[q], &topks[q], &recall);
        }
    }
    assert_int_equal(returned, count * k);
    assert_true(counters.rows_visited >= returned && counters.distances_computed >= returned);
    assert_true((double)recall.hits >= RECALL_MIN * (double)recall.wanted);
}

static void test_searches_together_keep_the_contract(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; kind(i) != NULL; i++) {
        const struct vdb_index_ops *ops = kind(i);
        void *index = build(ops, &world->rows);
        run_together(world, ops, index, K, 0);
        run_together(world, ops, index, K, 1);
        run_together(world, ops, index, 1, 3);
        run_together(world, ops, index, K, QUERIES);
        destroy(ops, index);
    }
}

static void test_check_cost_and_stats(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; kind(i) != NULL; i++) {
        const struct vdb_index_ops *ops = kind(i);
        struct vdb_err err = {0};
        void *index = build(ops, &world->rows);
        assert_int_equal(ops->check(index, &world->rows, &err), VDB_OK);
        double all = ops->cost(index, &world->rows, ROWS);
        double few = ops->cost(index, &world->rows, 10);
        assert_true(few >= 0 && few <= all && all <= ROWS);
        struct vdb_index_stats stats = {UINT64_MAX};
        ops->stats(index, &stats);
        assert_true(stats.memory_bytes != UINT64_MAX);
        destroy(ops, index);
    }
}

static vdb_status append(void *ctx, const void *data, size_t bytes, struct vdb_err *err)
{
    (void)err;
    vdb_buf_put(ctx, data, bytes);
    return VDB_OK;
}

static void test_what_is_saved_loads_and_answers_the_same(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; kind(i) != NULL; i++) {
        const struct vdb_index_ops *ops = kind(i);
        if (ops->save == NULL) {
            continue;
        }
        void *index = build(ops, &world->rows);
        struct vdb_buf bytes = {0};
        struct vdb_err err = {0};
        assert_int_equal(ops->save(index, &world->rows, 77, append, &bytes, &err), VDB_OK);
        void *loaded = NULL;
        assert_int_equal(ops->load(&world->rows, 78, bytes.data, bytes.bytes, &loaded, &err), VDB_INVALID);
        assert_null(loaded);
        assert_int_equal(ops->load(&world->rows, 77, bytes.data, bytes.bytes - 1, &loaded, &err), VDB_CORRUPT);
        assert_null(loaded);
        assert_int_equal(ops->load(&world->rows, 77, bytes.data, bytes.bytes, &loaded, &err), VDB_OK);
        assert_int_equal(ops->check(loaded, &world->rows, &err), VDB_OK);
        for (size_t q = 0; q < QUERIES; q++) {
            struct vdb_candidate answers[2][K];
            for (size_t j = 0; j < 2; j++) {
                struct vdb_query query = {.vector = world->queries[q]};
                struct vdb_topk topk;
                vdb_topk_init(&topk, answers[j], K);
                assert_int_equal(ops->search(j == 0 ? index : loaded, &world->rows, &query, &topk, &err), VDB_OK);
                vdb_topk_finish(&topk);
                assert_int_equal(topk.count, K);
            }
            for (size_t j = 0; j < K; j++) {
                assert_int_equal(answers[0][j].row, answers[1][j].row);
            }
        }
        vdb_buf_fini(&bytes);
        destroy(ops, loaded);
        destroy(ops, index);
    }
}

static void test_what_is_removed_is_not_returned(void **state)
{
    struct world *world = *state;
    for (size_t i = 0; kind(i) != NULL; i++) {
        const struct vdb_index_ops *ops = kind(i);
        if ((ops->caps & VDB_INDEX_UPDATED) == 0) {
            continue;
        }
        void *index = build(ops, &world->rows);
        struct vdb_err err = {0};
        assert_int_equal(ops->insert(index, &world->rows, 5, &err), VDB_EXISTS);
        for (uint32_t row = 0; row < ROWS; row += 2) {
            assert_int_equal(ops->remove(index, &world->rows, row, &err), VDB_OK);
            assert_int_equal(ops->remove(index, &world->rows, row, &err), VDB_NOT_FOUND);
        }
        assert_int_equal(ops->check(index, &world->rows, &err), VDB_OK);
        for (size_t q = 0; q < QUERIES; q++) {
            struct vdb_candidate answer[K];
            struct vdb_query query = {.vector = world->queries[q]};
            struct vdb_topk topk;
            vdb_topk_init(&topk, answer, K);
            assert_int_equal(ops->search(index, &world->rows, &query, &topk, &err), VDB_OK);
            assert_int_equal(topk.count, K);
            for (size_t j = 0; j < K; j++) {
                assert_int_equal(answer[j].row % 2, 1);
            }
        }
        destroy(ops, index);
    }
}

/* A wide query is answered, or refused by what the kind's caps say. */
static void test_wide_queries(void **state)
{
    const struct world *world = *state;
    for (size_t i = 0; kind(i) != NULL; i++) {
        const struct vdb_index_ops *ops = kind(i);
        void *index = build(ops, &world->rows);
        struct vdb_err err = {0};
        struct vdb_candidate answer[K];
        struct vdb_query query = {.vector = world->queries[0], .wide = true};
        struct vdb_topk topk;
        vdb_topk_init(&topk, answer, K);
        vdb_status status = ops->search(index, &world->rows, &query, &topk, &err);
        assert_int_equal(status, (ops->caps & VDB_INDEX_WIDE) != 0 ? VDB_OK : VDB_UNSUPPORTED);
        destroy(ops, index);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wide_queries),
        cmocka_unit_test(test_tables_are_complete_and_found_by_name),
        cmocka_unit_test(test_search_keeps_the_contract),
        cmocka_unit_test(test_searches_together_keep_the_contract),
        cmocka_unit_test(test_check_cost_and_stats),
        cmocka_unit_test(test_what_is_saved_loads_and_answers_the_same),
        cmocka_unit_test(test_what_is_removed_is_not_returned),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
