/* test_hnsw_updates.c: rows that come and go, one by one against a model, and beside searches. */
#include "hnsw_support.h"

#include <pthread.h>
#include <stdatomic.h>

enum { K = 10 };

/* ---- Against a model ---- */

struct model {
    bool *in;
    size_t count;
};

static uint32_t pick(struct data *data, const struct model *model, bool in)
{
    uint32_t row;
    do {
        row = (uint32_t)vdb_rng_below(&data->rng, data->rows.count);
    } while (model->in[row] != in);
    return row;
}

/* Random inserts and removals, mostly of the one kind and then of the other; `equal` of 100 rows repeat another.
 * */
static void run_model(vdb_element element, vdb_metric metric, unsigned equal, bool inside, uint64_t seed)
{
    enum { ROWS = 1500, STEPS = 9000 };
    struct data data;
    struct vdb_hnsw *hnsw;
    struct vdb_err err = {0};
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.m = 8;
    params.ef_construction = 64;
    params.vectors_inside = inside;
    params.inside_as = inside && seed % 3 == 1   ? VDB_ELEMENT_BF16
                       : inside && seed % 3 == 2 ? VDB_ELEMENT_U8
                                                 : VDB_ELEMENT_F32;
    data_init(&data, ROWS, 12, element, metric, seed);
    const size_t bytes = data.rows.stride_bytes;
    for (size_t row = 1; row < ROWS; row++) {
        if (vdb_rng_below(&data.rng, 100) < equal) {
            memcpy(data.memory + row * bytes, data.memory + vdb_rng_below(&data.rng, row / 50 + 1) * bytes,
                   bytes);
        }
    }
    struct model model = {calloc(ROWS, sizeof *model.in), 0};
    assert_non_null(model.in);
    assert_ok(vdb_hnsw_create(&params, &data.rows, 0, &hnsw, &err), &err);
    for (size_t step = 0; step < STEPS; step++) {
        unsigned inserts = step / 1500 % 2 == 0 ? 70 : 30;
        bool insert = model.count == 0 || (model.count < ROWS && vdb_rng_below(&data.rng, 100) < inserts);
        uint32_t row = pick(&data, &model, !insert);
        if (insert) {
            vdb_status status = vdb_hnsw_insert(hnsw, &data.rows, row, &err);
            if (status == VDB_EXISTS) { /* its removal is not settled */
                assert_non_null(strstr(err.text, "not settled"));
                assert_ok(vdb_hnsw_settle(hnsw, &data.rows, &err), &err);
                status = vdb_hnsw_insert(hnsw, &data.rows, row, &err);
            }
            assert_ok(status, &err);
            model.count++;
        } else {
            assert_ok(vdb_hnsw_remove(hnsw, &data.rows, row, &err), &err);
            assert_fails(vdb_hnsw_remove(hnsw, &data.rows, row, &err), VDB_NOT_FOUND, &err, "is not in");
            model.count--;
        }
        model.in[row] = insert;
        if (step % 500 == 0 || model.count < 3) {
            assert_ok(vdb_hnsw_check(hnsw, &data.rows, &err), &err);
            for (uint32_t i = 0; i < ROWS; i++) {
                assert_int_equal(vdb_hnsw_has(hnsw, i), model.in[i]);
            }
        }
        if (step % 1500 == 1499) { /* recall_of also sees that nothing is returned that is not in */
            double recall = recall_of(hnsw, &data, NULL, 20, K, 64, VDB_HNSW_ALWAYS_WALK);
            if (recall < 0.95) {
                fail_msg("seed %llu, step %zu: recall %.3f", (unsigned long long)seed, step, recall);
            }
        }
    }
    while (model.count > 0) { /* down to nothing */
        uint32_t row = pick(&data, &model, true);
        assert_ok(vdb_hnsw_remove(hnsw, &data.rows, row, &err), &err);
        model.in[row] = false;
        if (--model.count % 100 < 3) {
            assert_ok(vdb_hnsw_check(hnsw, &data.rows, &err), &err);
        }
    }
    assert_ok(vdb_hnsw_settle(hnsw, &data.rows, &err), &err);
    struct vdb_hnsw_stats stats;
    vdb_hnsw_get_stats(hnsw, &stats);
    assert_true(stats.rows == 0 && stats.removed == 0 && stats.duplicates == 0 && stats.layer_count == 0);
    assert_int_equal(stats.layer_nodes[0], 0);
    assert_true(recall_of(hnsw, &data, NULL, 1, K, 0, 0) == 1);    /* nothing, of nothing */
    assert_ok(vdb_hnsw_build(hnsw, &data.rows, NULL, &err), &err); /* and up again */
    assert_ok(vdb_hnsw_check(hnsw, &data.rows, &err), &err);
    assert_true(recall_of(hnsw, &data, NULL, 20, K, 64, VDB_HNSW_ALWAYS_WALK) > 0.95);
    vdb_hnsw_destroy(hnsw);
    free(model.in);
    data_fini(&data);
}

static void test_against_a_model(void **state)
{
    (void)state;
    run_model(VDB_ELEMENT_F32, VDB_METRIC_L2, 0, false, 1);
    run_model(VDB_ELEMENT_F32, VDB_METRIC_COSINE, 0, true, 2);
}

static void test_against_a_model_with_equal_rows(void **state)
{
    (void)state;
    run_model(VDB_ELEMENT_U8, VDB_METRIC_L2, 50, false, 3);
    run_model(VDB_ELEMENT_F32, VDB_METRIC_L2, 98, true, 4);
}

static void test_a_graph_that_turns_over_keeps_its_recall(void **state)
{
    (void)state;
    enum { WINDOW = 2000, ROWS = 8000 };
    struct data data;
    struct vdb_hnsw *hnsw;
    struct vdb_err err = {0};
    data_init(&data, ROWS, 16, VDB_ELEMENT_F32, VDB_METRIC_L2, 5);
    assert_ok(vdb_hnsw_create(NULL, &data.rows, 0, &hnsw, &err), &err);
    for (uint32_t row = 0; row < ROWS; row++) { /* the oldest goes as the next comes */
        assert_ok(vdb_hnsw_insert(hnsw, &data.rows, row, &err), &err);
        if (row >= WINDOW) {
            assert_ok(vdb_hnsw_remove(hnsw, &data.rows, row - WINDOW, &err), &err);
        }
    }
    struct vdb_hnsw_stats stats;
    vdb_hnsw_get_stats(hnsw, &stats);
    assert_int_equal(stats.rows, WINDOW);
    assert_true(stats.removed < ROWS / 16); /* the sweeps keep up */
    double unsettled = recall_of(hnsw, &data, NULL, 100, K, 64, VDB_HNSW_ALWAYS_WALK);
    assert_ok(vdb_hnsw_settle(hnsw, &data.rows, &err), &err);
    assert_ok(vdb_hnsw_check(hnsw, &data.rows, &err), &err);
    vdb_hnsw_get_stats(hnsw, &stats);
    assert_int_equal(stats.removed, 0);
    double settled = recall_of(hnsw, &data, NULL, 100, K, 64, VDB_HNSW_ALWAYS_WALK);
    if (unsettled < 0.97 || settled < 0.97) {
        fail_msg("recall %.3f, settled %.3f", unsettled, settled);
    }
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

static void test_the_head_of_equal_rows_goes_again_and_again(void **state)
{
    (void)state;
    enum { ROWS = 600, EQUAL = 500 };
    struct data data;
    data_init(&data, ROWS, 6, VDB_ELEMENT_F32, VDB_METRIC_L2, 6);
    for (size_t row = 1; row < EQUAL; row++) {
        memcpy(data.memory + row * 24, data.memory, 24);
    }
    struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
    struct vdb_err err = {0};
    struct vdb_candidate answer[ROWS];
    struct vdb_query query = {.vector = data.memory, .ef = ROWS};
    for (uint32_t row = 0; row < EQUAL; row++) {
        assert_ok(vdb_hnsw_remove(hnsw, &data.rows, row, &err), &err);
        assert_ok(vdb_hnsw_check(hnsw, &data.rows, &err), &err);
        size_t count = search_graph(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, ROWS, answer);
        assert_int_equal(count, ROWS - row - 1);
    }
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

/* ---- Threads ---- */

struct crowd {
    struct data *data;
    struct vdb_hnsw *hnsw;
    _Atomic uint32_t next; /* row to insert */
    atomic_bool *gone;     /* set before a removal begins, cleared never */
    atomic_bool *removed;  /* set when it has returned */
    atomic_bool *in;       /* set when an insert has returned */
    atomic_bool done;
    atomic_uint failures;
    atomic_size_t searches;
};

static void *insert_rows(void *ctx)
{
    struct crowd *crowd = ctx;
    for (;;) {
        uint32_t row = atomic_fetch_add(&crowd->next, 1);
        if (row >= crowd->data->rows.count) {
            return NULL;
        }
        struct vdb_err err;
        crowd->failures += vdb_hnsw_insert(crowd->hnsw, &crowd->data->rows, row, &err) != VDB_OK;
        atomic_store_explicit(&crowd->in[row], true, memory_order_release);
    }
}

static void *remove_rows(void *ctx)
{
    struct crowd *crowd = ctx;
    for (uint32_t row = 7; row < crowd->data->rows.count; row += 10) {
        while (!atomic_load_explicit(&crowd->in[row], memory_order_acquire)) {
            sched_yield();
        }
        struct vdb_err err;
        atomic_store(&crowd->gone[row], true);
        crowd->failures += vdb_hnsw_remove(crowd->hnsw, &crowd->data->rows, row, &err) != VDB_OK;
        atomic_store(&crowd->removed[row], true);
    }
    return NULL;
}

static void *search_rows(void *ctx)
{
    struct crowd *crowd = ctx;
    const struct vdb_rows *rows = &crowd->data->rows;
    struct vdb_rng rng;
    vdb_rng_init(&rng, 99);
    bool *removed_before = calloc(rows->count, sizeof *removed_before);
    while (!atomic_load(&crowd->done)) {
        struct vdb_candidate answer[K];
        struct vdb_topk topk;
        struct vdb_err err;
        uint32_t target = (uint32_t)vdb_rng_below(&rng, rows->count);
        bool was_in = atomic_load_explicit(&crowd->in[target], memory_order_acquire);
        for (size_t row = 7; row < rows->count; row += 10) {
            removed_before[row] = atomic_load(&crowd->removed[row]);
        }
        struct vdb_query query = {.vector = vdb_rows_at(rows, target), .ef = 48};
        vdb_topk_init(&topk, answer, K);
        crowd->failures += vdb_hnsw_search(crowd->hnsw, rows, &query, VDB_HNSW_ALWAYS_WALK, &topk, NULL, &err) !=
                           VDB_OK;
        vdb_topk_finish(&topk);
        for (size_t i = 0; i < topk.count; i++) {
            crowd->failures += answer[i].row >= rows->count || removed_before[answer[i].row];
            crowd->failures += i > 0 && answer[i].distance < answer[i - 1].distance;
            for (size_t j = 0; j < i; j++) {
                crowd->failures += answer[j].row == answer[i].row;
            }
        }
        /* A row that is in finds itself; now and then one is missed, as with any such graph. */
        if (was_in && !atomic_load(&crowd->gone[target])) {
            crowd->searches++;
            crowd->failures += topk.count == 0;
        }
    }
    free(removed_before);
    return NULL;
}

static void run_crowd(bool inside)
{
    enum { ROWS = 3000 };
    struct data data;
    struct vdb_err err = {0};
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.m = 8;
    params.ef_construction = 48;
    params.vectors_inside = inside;
    data_init(&data, ROWS, 8, VDB_ELEMENT_F32, VDB_METRIC_L2, 7);
    for (size_t row = 100; row < ROWS; row += 9) { /* some equal ones */
        memcpy(data.memory + row * 32, data.memory + (row % 50) * 32, 32);
    }
    struct crowd crowd = {.data = &data};
    crowd.gone = calloc(ROWS, sizeof *crowd.gone);
    crowd.removed = calloc(ROWS, sizeof *crowd.removed);
    crowd.in = calloc(ROWS, sizeof *crowd.in);
    assert_true(crowd.gone != NULL && crowd.removed != NULL && crowd.in != NULL);
    assert_ok(vdb_hnsw_create(&params, &data.rows, 0, &crowd.hnsw, &err), &err);
    pthread_t inserters[3];
    pthread_t remover;
    pthread_t searchers[2];
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&inserters[i], NULL, insert_rows, &crowd), 0);
    }
    assert_int_equal(pthread_create(&remover, NULL, remove_rows, &crowd), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&searchers[i], NULL, search_rows, &crowd), 0);
    }
    for (size_t i = 0; i < 3; i++) {
        pthread_join(inserters[i], NULL);
    }
    pthread_join(remover, NULL);
    atomic_store(&crowd.done, true);
    for (size_t i = 0; i < 2; i++) {
        pthread_join(searchers[i], NULL);
    }
    assert_int_equal(crowd.failures, 0);
    assert_ok(vdb_hnsw_check(crowd.hnsw, &data.rows, &err), &err);
    assert_ok(vdb_hnsw_settle(crowd.hnsw, &data.rows, &err), &err);
    assert_ok(vdb_hnsw_check(crowd.hnsw, &data.rows, &err), &err);
    struct vdb_hnsw_stats stats;
    vdb_hnsw_get_stats(crowd.hnsw, &stats);
    assert_int_equal(stats.rows, ROWS - ROWS / 10);
    assert_true(recall_of(crowd.hnsw, &data, NULL, 60, K, 64, VDB_HNSW_ALWAYS_WALK) > 0.95);
    vdb_hnsw_destroy(crowd.hnsw);
    free(crowd.gone);
    free(crowd.removed);
    free(crowd.in);
    data_fini(&data);
}

static void test_searches_beside_inserts_and_removals(void **state)
{
    (void)state;
    run_crowd(false);
    run_crowd(true);
}

/* ---- Heirs beside searches ---- */

struct heirs {
    struct data *data;
    struct vdb_hnsw *hnsw;
    _Atomic uint32_t going; /* rows below have begun to go */
    _Atomic uint32_t gone;  /* rows below are gone */
    atomic_bool done;
    atomic_uint twice;
    atomic_uint late;
    atomic_uint lost;
    atomic_size_t searches;
    size_t ef; /* as many nodes as there are, and more twins than k */
};

enum { EQUAL_ROWS = 2500, EQUAL_LEFT = 500, OTHER_ROWS = 200, HEIRS_K = 20 };

static void *search_equals(void *ctx)
{
    struct heirs *heirs = ctx;
    const struct vdb_rows *rows = &heirs->data->rows;
    while (!atomic_load(&heirs->done)) {
        struct vdb_candidate answer[HEIRS_K];
        struct vdb_topk topk;
        struct vdb_err err;
        const uint32_t gone = atomic_load(&heirs->gone);
        struct vdb_query query = {.vector = vdb_rows_at(rows, 0), .ef = heirs->ef};
        vdb_topk_init(&topk, answer, HEIRS_K);
        heirs->lost += vdb_hnsw_search(heirs->hnsw, rows, &query, VDB_HNSW_ALWAYS_WALK, &topk, NULL, &err) !=
                       VDB_OK;
        vdb_topk_finish(&topk);
        const uint32_t going = atomic_load(&heirs->going);
        for (size_t i = 0; i < topk.count; i++) {
            heirs->twice += i > 0 && answer[i].row == answer[i - 1].row; /* equal distances: ascending rows */
            heirs->late += answer[i].row < gone;
        }
        /* Equal rows go to the lower one: the first of them that nobody removes must be there. */
        for (size_t i = 0, row = going; i < topk.count && row < topk.heap[topk.count - 1].row; i++) {
            heirs->lost += topk.heap[i].row > row;
            row += topk.heap[i].row == row;
        }
        heirs->lost += topk.count < HEIRS_K || answer[HEIRS_K - 1].distance > 0;
        heirs->searches++;
    }
    return NULL;
}

/* The head of a crowd of equal rows goes, and its heir, and so on, beside searches for them: each row that is in counts
 * once, whichever of the two it is found through. */
static void test_heirs_take_over_beside_searches(void **state)
{
    (void)state;
    struct data data;
    struct vdb_err err = {0};
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.m = 8;
    params.ef_construction = 32;
    data_init(&data, EQUAL_ROWS + OTHER_ROWS, 8, VDB_ELEMENT_F32, VDB_METRIC_L2, 17);
    for (size_t row = 1; row < EQUAL_ROWS; row++) {
        memcpy(data.memory + row * 32, data.memory, 32);
    }
    for (unsigned inside = 0; inside < 2; inside++) {
        struct heirs heirs = {.data = &data, .ef = inside != 0 ? EQUAL_ROWS : EQUAL_LEFT};
        pthread_t searchers[2];
        params.vectors_inside = inside != 0;
        heirs.hnsw = build_with(&data, &params, 1);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(pthread_create(&searchers[i], NULL, search_equals, &heirs), 0);
        }
        for (uint32_t row = 0; row < EQUAL_ROWS - EQUAL_LEFT; row++) {
            atomic_store(&heirs.going, row + 1);
            assert_ok(vdb_hnsw_remove(heirs.hnsw, &data.rows, row, &err), &err);
            atomic_store(&heirs.gone, row + 1);
        }
        while (atomic_load(&heirs.searches) < 10) {
            sched_yield();
        }
        atomic_store(&heirs.done, true);
        for (size_t i = 0; i < 2; i++) {
            pthread_join(searchers[i], NULL);
        }
        if (heirs.twice + heirs.late + heirs.lost > 0) {
            fail_msg("of %zu searches: %u rows twice, %u after they had gone, %u lost", heirs.searches,
                     heirs.twice, heirs.late, heirs.lost);
        }
        assert_ok(vdb_hnsw_check(heirs.hnsw, &data.rows, &err), &err);
        assert_ok(vdb_hnsw_settle(heirs.hnsw, &data.rows, &err), &err);
        assert_ok(vdb_hnsw_check(heirs.hnsw, &data.rows, &err), &err);
        vdb_hnsw_destroy(heirs.hnsw);
    }
    data_fini(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_model),
        cmocka_unit_test(test_against_a_model_with_equal_rows),
        cmocka_unit_test(test_a_graph_that_turns_over_keeps_its_recall),
        cmocka_unit_test(test_the_head_of_equal_rows_goes_again_and_again),
        cmocka_unit_test(test_searches_beside_inserts_and_removals),
        cmocka_unit_test(test_heirs_take_over_beside_searches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
