/* test_hnsw_memtable.c: a graph that grows as a memtable does: from nothing, by several threads, over rows whose
 * array of chunks is replaced as it grows, searched meanwhile over views of every age, replaced rows refused. */
#include "hnsw_support.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "index/hnsw_internal.h"

enum { K = 10 };

/* ---- Size ---- */

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2(); /* zeros under a sanitizer */
    return info.uordblks + info.hblkhd;
}

static void test_begins_small(void **state)
{
    (void)state;
    struct data data;
    struct vdb_hnsw *hnsw;
    struct vdb_err err = {0};
    data_init(&data, 1000, 16, VDB_ELEMENT_F32, VDB_METRIC_L2, 20);
    (void)vdb_kernels_get();
    size_t before = heap_bytes();
    assert_ok(vdb_hnsw_create(NULL, &data.rows, 0, &hnsw, &err), &err);
    for (uint32_t row = 0; row < 50; row++) {
        assert_ok(vdb_hnsw_insert(hnsw, &data.rows, row, &err), &err);
    }
    assert_true(heap_bytes() - before < 64 << 10);
    for (uint32_t row = 50; row < 1000; row++) {
        assert_ok(vdb_hnsw_insert(hnsw, &data.rows, row, &err), &err);
        struct vdb_index_stats stats;
        vdb_index_hnsw.stats(hnsw, &stats);
        assert_true(stats.memory_bytes >= row * 160 && stats.memory_bytes < (row + 1) * 200 + 16384);
    }
    assert_true(heap_bytes() - before < 1 << 20);
    assert_ok(vdb_hnsw_check(hnsw, &data.rows, &err), &err);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

/* ---- Views ---- */

/* Recall over the first `count` rows, given as an old view or as an old filter of the newest view. */
static double recall_of_first(const struct vdb_hnsw *hnsw, struct data *data, size_t count, bool by_filter)
{
    struct vdb_candidate answer[K];
    struct vdb_bitset allow;
    float vector[64];
    size_t hits = 0;
    size_t all = 0;
    struct vdb_rows old = data->rows;
    old.count = count;
    assert_true(vdb_bitset_init(&allow, count));
    for (size_t row = 0; row < count; row++) {
        vdb_bitset_set(&allow, row);
    }
    for (size_t q = 0; q < 60; q++) {
        draw_vector(data, vector);
        struct vdb_query query = {.vector = vector, .ef = 64};
        size_t wanted;
        double limit = exact_limit(hnsw, &old, &query, K, &wanted);
        query.allow = by_filter ? &allow : NULL;
        size_t found = search_graph(hnsw, by_filter ? &data->rows : &old, &query,
                                    by_filter ? VDB_HNSW_ALWAYS_WALK : 0, K, answer);
        for (size_t i = 0; i < found; i++) {
            assert_true(answer[i].row < count);
            hits += answer[i].distance <= limit;
        }
        all += wanted;
    }
    vdb_bitset_fini(&allow);
    return (double)hits / (double)all;
}

static void test_old_views_and_old_filters(void **state)
{
    (void)state;
    enum { ROWS = 6000 };
    struct data data;
    data_init(&data, ROWS, 24, VDB_ELEMENT_F32, VDB_METRIC_L2, 21);
    struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
    const size_t counts[] = {1, 63, 64, 65, 500, 1500, 3000, ROWS - 1, ROWS};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        double by_view = recall_of_first(hnsw, &data, counts[i], false);
        double by_filter = recall_of_first(hnsw, &data, counts[i], true);
        if (by_view < 0.9 || by_filter < 0.95) {
            fail_msg("the first %zu rows: recall %.3f, by filter %.3f", counts[i], by_view, by_filter);
        }
    }
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

/* Who is late sees less: every second row comes before the one below it, which does not see it. */
static void test_inserts_with_older_views(void **state)
{
    (void)state;
    enum { ROWS = 3000 };
    struct data data;
    struct vdb_hnsw *hnsw;
    struct vdb_err err = {0};
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.m = 5; /* lists are chosen anew often */
    data_init(&data, ROWS, 12, VDB_ELEMENT_F32, VDB_METRIC_L2, 22);
    assert_ok(vdb_hnsw_create(&params, &data.rows, 0, &hnsw, &err), &err);
    for (uint32_t row = 0; row < ROWS; row++) {
        struct vdb_rows view = data.rows;
        uint32_t other = row ^ 1;
        view.count = other + 1;
        assert_ok(vdb_hnsw_insert(hnsw, &view, other, &err), &err);
    }
    assert_ok(vdb_hnsw_check(hnsw, &data.rows, &err), &err);
    double recall = recall_of(hnsw, &data, NULL, 100, K, 64, VDB_HNSW_ALWAYS_WALK);
    assert_true(recall > 0.97);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

/* A list that an insert with an old view chooses anew keeps what that view does not show. */
static void test_links_out_of_view_stay(void **state)
{
    (void)state;
    enum { ROWS = 400, OLD = 44, NEWER = 20, DIMENSION = 48 };
    struct data data;
    struct vdb_hnsw *hnsw;
    struct vdb_err err = {0};
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    data_init(&data, ROWS, DIMENSION, VDB_ELEMENT_F32, VDB_METRIC_L2, 23);
    assert_ok(vdb_hnsw_create(&params, &data.rows, 0, &hnsw, &err), &err);
    assert_ok(vdb_hnsw_insert(hnsw, &data.rows, 0, &err), &err);
    for (uint32_t row = ROWS - NEWER; row < ROWS; row++) {
        assert_ok(vdb_hnsw_insert(hnsw, &data.rows, row, &err), &err);
    }
    unsigned newer = 0;
    for (unsigned round = 0; round < 2; round++) { /* row 0 sees none of the newer; its list overflows */
        const hnsw_slot *slots = hnsw_list_at(hnsw, 0, 0);
        unsigned there = 0;
        for (unsigned i = 0; i < 32 && hnsw_link_get(&slots[i]) != HNSW_NONE; i++) {
            there += (hnsw_link_get(&slots[i]) & HNSW_ROW) >= ROWS - NEWER;
        }
        if (round == 0) {
            newer = there;
        } else {
            assert_true(newer > 4 && there == newer);
        }
        for (uint32_t row = 1; row < OLD && round == 0; row++) {
            struct vdb_rows view = data.rows;
            view.count = OLD;
            float *vector = (float *)(void *)data.memory + row * DIMENSION; /* each in a direction of its own */
            memcpy(vector, data.memory, DIMENSION * sizeof *vector);
            vector[row] += 1e-2f;
            assert_ok(vdb_hnsw_insert(hnsw, &view, row, &err), &err);
        }
    }
    assert_ok(vdb_hnsw_check(hnsw, &data.rows, &err), &err);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

/* ---- Filters that refuse few ---- */

static void test_few_are_refused(void **state)
{
    (void)state;
    enum { ROWS = 5000, NEAR = 150 };
    struct data data;
    struct vdb_bitset allow;
    data_init(&data, ROWS, 16, VDB_ELEMENT_F32, VDB_METRIC_L2, 24);
    struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
    assert_true(vdb_bitset_init(&allow, ROWS));
    for (size_t row = 0; row < ROWS; row++) {
        vdb_bitset_set(&allow, row);
    }
    for (unsigned refused = 0; refused < 800; refused += 200) { /* up to 1 of 8 and beyond */
        assert_true(recall_of(hnsw, &data, &allow, 60, K, 64, VDB_HNSW_ALWAYS_WALK) > 0.97);
        assert_true(recall_of(hnsw, &data, &allow, 60, K, 16, 0) > 0.85);
        for (unsigned i = 0; i < 200; i++) {
            vdb_bitset_clear(&allow, vdb_rng_below(&data.rng, ROWS));
        }
    }
    /* All that is near a query is refused: no row of the filter is missed for that. */
    for (size_t row = 0; row < ROWS; row++) {
        vdb_bitset_set(&allow, row);
    }
    struct vdb_candidate near[NEAR];
    struct vdb_candidate answer[K];
    struct vdb_query query = {.vector = vdb_rows_at(&data.rows, 17), .ef = 300};
    size_t count = search_graph(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, NEAR, near);
    assert_int_equal(count, NEAR);
    for (size_t i = 0; i < NEAR; i++) {
        vdb_bitset_clear(&allow, near[i].row);
    }
    query.ef = 64;
    query.allow = &allow;
    size_t wanted;
    double limit = exact_limit(hnsw, &data.rows, &query, K, &wanted);
    assert_int_equal(search_graph(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, K, answer), K);
    size_t hits = 0;
    for (size_t i = 0; i < K; i++) {
        assert_true(vdb_bitset_test(&allow, answer[i].row));
        hits += answer[i].distance <= limit;
    }
    assert_true(hits >= K - 1);
    vdb_bitset_fini(&allow);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

/* ---- Threads ---- */

enum {
    TABLE_ROWS = 2600,
    TABLE_SHIFT = 5,
    TABLE_DIMENSION = 8,
    INSERTERS = 4,
    SEARCHERS = 2,
};

/* A memtable: rows are reserved and written under a lock, and inserted outside it. */
struct table {
    struct vdb_hnsw *hnsw;
    pthread_mutex_t lock; /* of what follows */
    void **chunks;        /* replaced as it grows; the old ones stay for their views */
    void **outgrown[16];
    unsigned outgrown_count;
    size_t capacity;
    size_t chunk_count;
    uint32_t reserved;
    struct data *data; /* its rng */
    struct vdb_bitset live;
    uint32_t newest; /* row that was acknowledged last */
    /* not under the lock */
    atomic_uint inserters_left;
    atomic_uint failures;
    atomic_uint missed;
    atomic_uint searches;
};

static struct vdb_rows table_view(const struct table *table)
{
    return (struct vdb_rows){(const void *const *)table->chunks,
                             TABLE_SHIFT,
                             64,
                             TABLE_DIMENSION,
                             VDB_ELEMENT_F32,
                             VDB_METRIC_L2,
                             table->reserved};
}

static void add_chunk(struct table *table)
{
    if (table->chunk_count == table->capacity) {
        size_t capacity = table->capacity > 0 ? table->capacity * 2 : 1;
        void **grown = calloc(capacity, sizeof *grown);
        assert_non_null(grown);
        if (table->capacity > 0) {
            memcpy(grown, table->chunks, table->chunk_count * sizeof *grown);
            table->outgrown[table->outgrown_count++] = table->chunks;
        }
        table->chunks = grown;
        table->capacity = capacity;
    }
    table->chunks[table->chunk_count] = vdb_alloc_aligned((size_t)64 << TABLE_SHIFT);
    assert_non_null(table->chunks[table->chunk_count]);
    table->chunk_count++;
}

static void *insert_into_table(void *ctx)
{
    struct table *table = ctx;
    for (;;) {
        pthread_mutex_lock(&table->lock);
        uint32_t row = table->reserved;
        if (row == TABLE_ROWS) {
            pthread_mutex_unlock(&table->lock);
            atomic_fetch_sub(&table->inserters_left, 1);
            return NULL;
        }
        if (row >> TABLE_SHIFT == table->chunk_count) {
            add_chunk(table);
        }
        table->reserved++;
        struct vdb_rows view = table_view(table);
        char *vector = (char *)table->chunks[row >> TABLE_SHIFT] + (row & ((1u << TABLE_SHIFT) - 1)) * 64;
        uint32_t replaced = HNSW_NONE;
        draw_vector(table->data, vector);
        if (row > 20 && row % 5 == 0) { /* a new version of a row, close to it or equal; the old one is dead */
            replaced = (uint32_t)vdb_rng_below(&table->data->rng, row - 10);
            memcpy(vector, vdb_rows_at(&view, replaced), TABLE_DIMENSION * sizeof(float));
            ((float *)(void *)vector)[0] += row % 10 == 0 ? 0 : 1e-3f;
        }
        pthread_mutex_unlock(&table->lock);
        struct vdb_err err;
        table->failures += vdb_hnsw_insert(table->hnsw, &view, row, &err) != VDB_OK;
        pthread_mutex_lock(&table->lock); /* acknowledged */
        if (replaced != HNSW_NONE) {
            vdb_bitset_clear(&table->live, replaced);
        }
        vdb_bitset_set(&table->live, row);
        table->newest = row;
        pthread_mutex_unlock(&table->lock);
    }
}

static void *search_table(void *ctx)
{
    struct table *table = ctx;
    struct vdb_bitset allow;
    if (!vdb_bitset_init(&allow, TABLE_ROWS)) {
        table->failures++;
        return NULL;
    }
    for (unsigned round = 0; atomic_load(&table->inserters_left) > 0; round++) {
        pthread_mutex_lock(&table->lock);
        const struct vdb_rows view = table_view(table);
        const uint32_t target = table->newest;
        memcpy(allow.words, table->live.words, vdb_bitset_words(TABLE_ROWS) * sizeof *allow.words);
        pthread_mutex_unlock(&table->lock);
        if (target == HNSW_NONE || !vdb_bitset_test(&allow, target)) {
            continue;
        }
        struct vdb_candidate answer[K];
        struct vdb_topk topk;
        struct vdb_err err;
        struct vdb_query query = {.vector = vdb_rows_at(&view, target), .allow = &allow, .ef = 32};
        vdb_topk_init(&topk, answer, K);
        table->failures += vdb_hnsw_search(table->hnsw, &view, &query, round % 4 != 0 ? VDB_HNSW_ALWAYS_WALK : 0,
                                           &topk, NULL, &err) != VDB_OK;
        vdb_topk_finish(&topk);
        vdb_distance_fn *one = vdb_kernels_get()->one[VDB_ELEMENT_F32][VDB_METRIC_L2];
        for (size_t i = 0; i < topk.count; i++) {
            const uint32_t row = answer[i].row;
            table->failures += row >= view.count || !vdb_bitset_test(&allow, row) ||
                               answer[i].distance != one(query.vector, vdb_rows_at(&view, row), view.dimension) ||
                               (i > 0 && answer[i].distance < answer[i - 1].distance);
        }
        table->searches++;
        table->missed += topk.count == 0 || answer[0].distance != 0; /* acknowledged is searchable */
        struct vdb_index_stats stats;
        vdb_index_hnsw.stats(table->hnsw, &stats);
        table->failures += stats.memory_bytes == 0;
    }
    vdb_bitset_fini(&allow);
    return NULL;
}

static void run_table(bool inside, vdb_element inside_as)
{
    struct data data;
    struct vdb_err err = {0};
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.m = 8;
    params.ef_construction = 40;
    params.vectors_inside = inside;
    params.inside_as = inside_as;
    data_init(&data, 1, TABLE_DIMENSION, VDB_ELEMENT_F32, VDB_METRIC_L2, 25);
    struct table table = {.data = &data, .newest = HNSW_NONE, .inserters_left = INSERTERS};
    pthread_mutex_init(&table.lock, NULL);
    assert_true(vdb_bitset_init(&table.live, TABLE_ROWS));
    assert_ok(vdb_hnsw_create(&params, &data.rows, 0, &table.hnsw, &err), &err);
    pthread_t threads[INSERTERS + SEARCHERS];
    for (size_t i = 0; i < INSERTERS + SEARCHERS; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < INSERTERS ? insert_into_table : search_table, &table), 0);
    }
    for (size_t i = 0; i < INSERTERS + SEARCHERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(table.failures, 0);
    if (table.missed > table.searches / 50) {
        fail_msg("%u of %u searches for a row that was acknowledged missed it", table.missed, table.searches);
    }
    data.rows = table_view(&table);
    assert_int_equal(data.rows.count, TABLE_ROWS);
    assert_ok(vdb_hnsw_check(table.hnsw, &data.rows, &err), &err);
    assert_true(recall_of(table.hnsw, &data, NULL, 60, K, 64, VDB_HNSW_ALWAYS_WALK) > 0.95);
    assert_true(recall_of(table.hnsw, &data, &table.live, 60, K, 64, VDB_HNSW_ALWAYS_WALK) > 0.95);
    vdb_hnsw_destroy(table.hnsw);
    for (size_t i = 0; i < table.chunk_count; i++) {
        free(table.chunks[i]);
    }
    free(table.chunks);
    for (unsigned i = 0; i < table.outgrown_count; i++) {
        free(table.outgrown[i]);
    }
    vdb_bitset_fini(&table.live);
    pthread_mutex_destroy(&table.lock);
    data_fini(&data);
}

static void test_a_memtable(void **state)
{
    (void)state;
    run_table(false, VDB_ELEMENT_F32);
    run_table(true, VDB_ELEMENT_F32);
    run_table(true, VDB_ELEMENT_U8);
}

/* A segment's: built by several threads, saved, loaded, and grown on. */
static void test_loaded_and_grown_on(void **state)
{
    (void)state;
    enum { ROWS = 3000, SAVED = 2000 };
    struct data data;
    struct vdb_err err = {0};
    struct vdb_buf saved = {0};
    data_init(&data, ROWS, 10, VDB_ELEMENT_F32, VDB_METRIC_COSINE, 26);
    data.rows.count = SAVED;
    struct vdb_hnsw *built = build_with(&data, NULL, 4);
    assert_ok(vdb_hnsw_save(built, &data.rows, 5, append_bytes, &saved, &err), &err);
    vdb_hnsw_destroy(built);
    data.rows.count = ROWS;
    struct vdb_hnsw *hnsw;
    assert_ok(vdb_hnsw_load(&data.rows, 5, saved.data, saved.bytes, &hnsw, &err), &err);
    vdb_buf_fini(&saved);
    const struct vdb_index_settings settings = {.threads = 3};
    assert_ok(vdb_hnsw_build(hnsw, &data.rows, &settings, &err), &err);
    assert_ok(vdb_hnsw_check(hnsw, &data.rows, &err), &err);
    assert_true(recall_of(hnsw, &data, NULL, 60, K, 64, VDB_HNSW_ALWAYS_WALK) > 0.97);
    assert_true(recall_of_first(hnsw, &data, SAVED, true) > 0.97);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begins_small),
        cmocka_unit_test(test_old_views_and_old_filters),
        cmocka_unit_test(test_inserts_with_older_views),
        cmocka_unit_test(test_links_out_of_view_stay),
        cmocka_unit_test(test_few_are_refused),
        cmocka_unit_test(test_a_memtable),
        cmocka_unit_test(test_loaded_and_grown_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
