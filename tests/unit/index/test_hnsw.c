/* test_hnsw.c: the graph that is built once: recall against an exact scan for every element and metric,
 * determinism, levels of the processor, filters, shapes of data that break graphs, and bad input. */
#include "hnsw_support.h"

#include <sys/wait.h>
#include <unistd.h>

#ifdef VDB_SANITIZED
enum { K = 10, RECALL_ROWS = 1000, OPTIONS_ROWS = 1500 };
#else
enum { K = 10, RECALL_ROWS = 3000, OPTIONS_ROWS = 4000 };
#endif

/* ---- Levels: each in a process of its own, since a process chooses its kernels once ---- */

enum { LEVEL_ROWS = 1500, LEVEL_QUERIES = 40 };

static void answers_at(vdb_cpu_level level, vdb_element element, vdb_metric metric, uint32_t *out)
{
    int ends[2];
    const size_t bytes = LEVEL_QUERIES * K * sizeof *out;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        uint32_t rows_found[LEVEL_QUERIES * K];
        struct data data;
        setenv("VECDB_CPU", vdb_cpu_level_name(level), 1);
        data_init(&data, LEVEL_ROWS, 37, element, metric, 11);
        struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
        uint8_t vector[37];
        for (size_t q = 0; q < LEVEL_QUERIES; q++) {
            struct vdb_candidate answer[K] = {0};
            draw_vector(&data, vector);
            struct vdb_query query = {.vector = vector};
            (void)search_graph(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, K, answer);
            for (size_t i = 0; i < K; i++) {
                rows_found[q * K + i] = answer[i].row;
            }
        }
        bool sent = write(ends[1], rows_found, bytes) == (ssize_t)bytes;
        vdb_hnsw_destroy(hnsw);
        data_fini(&data);
        _exit(sent ? 0 : 1);
    }
    close(ends[1]);
    size_t got = 0;
    for (ssize_t n; got < bytes && (n = read(ends[0], (char *)out + got, bytes - got)) > 0;) {
        got += (size_t)n;
    }
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(got, bytes);
}

static void test_all_levels_give_the_same_ids_on_integers(void **state)
{
    (void)state;
    static const struct {
        vdb_element element;
        vdb_metric metric;
    } kinds[] = {{VDB_ELEMENT_U8, VDB_METRIC_L2},
                 {VDB_ELEMENT_I8, VDB_METRIC_DOT},
                 {VDB_ELEMENT_U8, VDB_METRIC_L1},
                 {VDB_ELEMENT_BIT, VDB_METRIC_HAMMING}};
    static uint32_t want[LEVEL_QUERIES * K];
    static uint32_t got[LEVEL_QUERIES * K];
    const vdb_cpu_level machine = vdb_cpu_detect();
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        answers_at(VDB_CPU_SCALAR, kinds[i].element, kinds[i].metric, want);
        for (int level = VDB_CPU_SCALAR + 1; level < VDB_CPU_LEVEL_COUNT; level++) {
            if (vdb_cpu_runs(machine, (vdb_cpu_level)level)) {
                answers_at((vdb_cpu_level)level, kinds[i].element, kinds[i].metric, got);
                assert_memory_equal(got, want, sizeof want);
            }
        }
    }
}

/* ---- Recall ---- */

static void test_recall_of_every_element_and_metric(void **state)
{
    (void)state;
    for (unsigned element = 0; element < VDB_ELEMENT_COUNT; element++) {
        for (unsigned metric = 0; metric < VDB_METRIC_COUNT; metric++) {
            if (!vdb_metric_fits((vdb_element)element, (vdb_metric)metric)) {
                continue;
            }
            struct data data;
            data_init(&data, RECALL_ROWS, 32, (vdb_element)element, (vdb_metric)metric,
                      100 + element * 10 + metric);
            /* One thread: the same graph each time. The largest products are few and far out, which a walk may miss. */
            struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
            double recall = recall_of(hnsw, &data, NULL, 60, K, 64, VDB_HNSW_ALWAYS_WALK);
            if (recall < (metric == VDB_METRIC_DOT ? 0.95 : 0.99)) {
                fail_msg("%s by %s: recall %.4f", vdb_element_name(data.rows.element),
                         vdb_metric_name(data.rows.metric), recall);
            }
            vdb_hnsw_destroy(hnsw);
            data_fini(&data);
        }
    }
}

static void test_options_and_copies(void **state)
{
    (void)state;
    struct data data;
    data_init(&data, OPTIONS_ROWS, 24, VDB_ELEMENT_F32, VDB_METRIC_L2, 7);
    double degree_before = 0;
    for (unsigned options = 0; options < 8; options++) {
        struct vdb_hnsw_params params = vdb_hnsw_params_default();
        params.m = 8;
        params.ef_construction = 60;
        params.extend_candidates = (options & 1) != 0;
        params.keep_pruned = (options & 2) != 0;
        params.vectors_inside = (options & 4) != 0;
        struct vdb_hnsw *hnsw = build_with(&data, &params, 1);
        assert_true(recall_of(hnsw, &data, NULL, 50, K, 100, VDB_HNSW_ALWAYS_WALK) > 0.95);
        struct vdb_hnsw_stats stats;
        vdb_hnsw_get_stats(hnsw, &stats);
        assert_int_equal(stats.rows, data.rows.count);
        assert_int_equal(stats.vector_bytes, params.vectors_inside ? data.rows.count * 128 : 0);
        double degree = (double)stats.layer_links[0] / (double)stats.layer_nodes[0];
        assert_true(degree > 3 && degree <= 16);
        if (params.keep_pruned) { /* filled up */
            assert_true(degree > degree_before);
        } else {
            degree_before = degree;
        }
        vdb_hnsw_destroy(hnsw);
    }
    data_fini(&data);
}

static void test_more_width_finds_more_and_all_finds_all(void **state)
{
    (void)state;
    struct data data;
    data_init(&data, 3000, 48, VDB_ELEMENT_F32, VDB_METRIC_COSINE, 8);
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.m = 4;
    params.ef_construction = 8;
    struct vdb_hnsw *hnsw = build_with(&data, &params, 1);
    double narrow = recall_of(hnsw, &data, NULL, 100, 1, 1, VDB_HNSW_ALWAYS_WALK);
    double wide = recall_of(hnsw, &data, NULL, 100, 1, 200, VDB_HNSW_ALWAYS_WALK);
    if (!(narrow < wide && wide > 0.8)) {
        fail_msg("recall %.3f at a width of 1, %.3f at 200", narrow, wide);
    }
    assert_true(recall_of(hnsw, &data, NULL, 20, K, 3000, VDB_HNSW_ALWAYS_WALK) ==
                1); /* G1: all can be reached */
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

/* ---- One thread and a seed give one graph, to the byte; rows may lie anyhow ---- */

static struct vdb_buf saved(struct vdb_hnsw *hnsw, const struct vdb_rows *rows)
{
    struct vdb_buf bytes = {0};
    struct vdb_err err = {0};
    assert_ok(vdb_hnsw_save(hnsw, rows, 1, append_bytes, &bytes, &err), &err);
    return bytes;
}

static void test_one_seed_one_graph(void **state)
{
    (void)state;
    struct data data;
    data_init(&data, 2000, 16, VDB_ELEMENT_F32, VDB_METRIC_L2, 9);
    struct vdb_buf bytes[3];
    for (unsigned i = 0; i < 3; i++) {
        struct vdb_hnsw_params params = vdb_hnsw_params_default();
        params.seed = i == 2 ? 5 : 4;
        struct vdb_hnsw *hnsw = build_with(&data, &params, 1);
        bytes[i] = saved(hnsw, &data.rows);
        vdb_hnsw_destroy(hnsw);
    }
    assert_int_equal(bytes[0].bytes, bytes[1].bytes);
    assert_memory_equal(bytes[0].data, bytes[1].data, bytes[0].bytes);
    assert_true(bytes[0].bytes != bytes[2].bytes || memcmp(bytes[0].data, bytes[2].data, bytes[2].bytes) != 0);

    /* The same rows in chunks of 64, 17 bytes too wide, one by one: the same graph. */
    enum { CHUNK_ROWS = 64, STRIDE = 16 * 4 + 17 };
    char *chunks[2000 / CHUNK_ROWS + 1];
    const size_t chunk_count = 2000 / CHUNK_ROWS + 1;
    for (size_t c = 0; c < chunk_count; c++) {
        chunks[c] = malloc(CHUNK_ROWS * STRIDE);
        assert_non_null(chunks[c]);
        for (size_t i = 0; i < CHUNK_ROWS && c * CHUNK_ROWS + i < 2000; i++) {
            memcpy(chunks[c] + i * STRIDE, vdb_rows_at(&data.rows, c * CHUNK_ROWS + i), 64);
        }
    }
    struct vdb_rows rows = data.rows;
    rows.chunks = (const void *const *)chunks;
    rows.chunk_shift = 6;
    rows.stride_bytes = STRIDE;
    struct vdb_hnsw_params params = vdb_hnsw_params_default();
    params.seed = 4;
    struct vdb_hnsw *hnsw;
    struct vdb_err err = {0};
    assert_ok(vdb_hnsw_create(&params, &rows, 0, &hnsw, &err), &err); /* grows as they come */
    for (uint32_t row = 0; row < 2000; row++) {
        struct vdb_rows view = rows;
        view.count = row + 1;
        assert_ok(vdb_hnsw_insert(hnsw, &view, row, &err), &err);
    }
    struct vdb_buf again = saved(hnsw, &rows);
    assert_int_equal(again.bytes, bytes[0].bytes);
    assert_memory_equal(again.data, bytes[0].data, again.bytes);
    vdb_buf_fini(&again);
    vdb_hnsw_destroy(hnsw);
    for (size_t c = 0; c < chunk_count; c++) {
        free(chunks[c]);
    }
    for (unsigned i = 0; i < 3; i++) {
        vdb_buf_fini(&bytes[i]);
    }
    data_fini(&data);
}

/* ---- Filters and views ---- */

static void test_filters_of_every_size(void **state)
{
    (void)state;
    struct data data;
    data_init(&data, 5000, 16, VDB_ELEMENT_F32, VDB_METRIC_L2, 10);
    struct vdb_hnsw *hnsw = build_with(&data, NULL, 2);
    static const unsigned per_mille[] = {0, 1, 5, 50, 200, 500, 900, 1000};
    for (size_t i = 0; i < sizeof per_mille / sizeof per_mille[0]; i++) {
        struct vdb_bitset allow;
        assert_true(vdb_bitset_init(&allow, data.rows.count));
        for (size_t row = 0; row < data.rows.count; row++) {
            if (vdb_rng_below(&data.rng, 1000) < per_mille[i]) {
                vdb_bitset_set(&allow, row);
            }
        }
        double recall = recall_of(hnsw, &data, &allow, 30, K, 64, 0);
        double walked = recall_of(hnsw, &data, &allow, 30, K, 64, VDB_HNSW_ALWAYS_WALK);
        if (recall < 0.97 || (per_mille[i] >= 50 && walked < 0.97)) {
            fail_msg("%u of 1000 allowed: recall %.3f, walked %.3f", per_mille[i], recall, walked);
        }
        vdb_bitset_fini(&allow);
    }
    /* Only rows far from the query: the walk fills with what may not be returned. */
    struct vdb_bitset allow;
    assert_true(vdb_bitset_init(&allow, data.rows.count));
    const float *first = vdb_rows_at(&data.rows, 0);
    for (size_t row = 0; row < data.rows.count; row++) {
        const float *vector = vdb_rows_at(&data.rows, row);
        if (vector[0] > first[0] + 1) {
            vdb_bitset_set(&allow, row);
        }
    }
    struct vdb_candidate answer[K];
    struct vdb_search_counters counters = {0, 0};
    struct vdb_query query = {.vector = first, .allow = &allow, .counters = &counters};
    size_t wanted;
    double limit = exact_limit(hnsw, &data.rows, &query, K, &wanted);
    assert_int_equal(wanted, K);
    assert_int_equal(search_graph(hnsw, &data.rows, &query, 0, K, answer), K);
    assert_true(answer[K - 1].distance <= limit * 1.2);
    assert_true(counters.distances_computed <= 2 * data.rows.count + 200); /* S1 */
    vdb_bitset_fini(&allow);

    /* A view of the first rows only. */
    struct data view = data;
    view.rows.count = 700;
    for (size_t q = 0; q < 20; q++) {
        float vector[16];
        draw_vector(&data, vector);
        struct vdb_query in_view = {.vector = vector};
        size_t found = search_graph(hnsw, &view.rows, &in_view, q % 2 == 0 ? VDB_HNSW_ALWAYS_WALK : 0, K, answer);
        assert_true(found > 0);
        for (size_t i = 0; i < found; i++) {
            assert_true(answer[i].row < 700);
        }
    }
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

/* ---- Data that breaks graphs ---- */

/* kind: the duplicates first, last, or in between. */
static bool is_duplicate(unsigned kind, size_t row, size_t duplicates, size_t others)
{
    return kind == 0 ? row < duplicates : kind == 1 ? row >= others : row % ((duplicates + others) / others) != 0;
}

static void test_many_duplicates(void **state)
{
    (void)state;
    enum { DUPLICATES = 20000, OTHERS = 2000, DIMENSION = 12 };
#ifdef VDB_SANITIZED
    const unsigned kinds = 1;
#else
    const unsigned kinds = 3;
#endif
    for (unsigned kind = 0; kind < kinds; kind++) {
        struct data data;
        data_init(&data, DUPLICATES + OTHERS, DIMENSION, VDB_ELEMENT_F32, VDB_METRIC_L2, 20 + kind);
        float one[DIMENSION];
        memcpy(one, data.memory, sizeof one);
        size_t duplicates = 0;
        for (uint32_t row = 0; row < data.rows.count; row++) {
            if (is_duplicate(kind, row, DUPLICATES, OTHERS)) {
                memcpy(data.memory + row * sizeof one, one, sizeof one);
                duplicates++;
            }
        }
        struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
        struct vdb_hnsw_stats stats;
        vdb_hnsw_get_stats(hnsw, &stats);
        assert_in_range(stats.duplicates, duplicates - 1, duplicates);
        assert_int_equal(stats.rows, data.rows.count);
        assert_true(stats.distances < data.rows.count * 1000); /* some 11,000 an insert where nothing is equal */
        assert_true(recall_of(hnsw, &data, NULL, 50, K, 64, VDB_HNSW_ALWAYS_WALK) > 0.95);
        struct vdb_candidate answer[100];
        struct vdb_search_counters counters = {0, 0};
        struct vdb_query query = {.vector = one, .counters = &counters};
        assert_int_equal(search_graph(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, 100, answer), 100);
        assert_int_equal(answer[0].row, 0); /* the original, where it is not one of them */
        for (size_t i = 0; i < 100; i++) {
            assert_true(answer[i].distance == 0);
            assert_true(i == 0 || answer[i].row > answer[i - 1].row);
        }
        assert_true(counters.distances_computed < 2000);
        vdb_hnsw_destroy(hnsw);
        data_fini(&data);
    }
}

static void test_all_equal(void **state)
{
    (void)state;
    for (unsigned metric = VDB_METRIC_L2; metric <= VDB_METRIC_L1; metric++) {
        for (unsigned zero = 0; zero < 2; zero++) { /* zero vectors: at cosine distance 1 from themselves */
            struct data data;
            data_init(&data, 3000, 8, VDB_ELEMENT_F32, (vdb_metric)metric, 30);
            for (size_t i = 0; i < data.rows.count * 8; i++) {
                ((float *)(void *)data.memory)[i] = zero != 0 ? 0 : (float)(i % 8);
            }
            struct vdb_hnsw *hnsw = build_with(&data, NULL, 2);
            struct vdb_candidate answer[3000];
            struct vdb_query query = {.vector = data.memory, .ef = 3000};
            assert_int_equal(search_graph(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, 3000, answer), 3000);
            vdb_hnsw_destroy(hnsw);
            data_fini(&data);
        }
    }
}

static void test_one_dimension(void **state)
{
    (void)state;
    for (unsigned metric = VDB_METRIC_L2; metric <= VDB_METRIC_L1; metric++) {
        struct data data;
        data_init(&data, 3000, 1, VDB_ELEMENT_F32, (vdb_metric)metric, 31);
        struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
        assert_true(recall_of(hnsw, &data, NULL, 40, K, 64, VDB_HNSW_ALWAYS_WALK) > 0.95);
        vdb_hnsw_destroy(hnsw);
        data_fini(&data);
    }
    /* In rising order, which makes long chains of greedy steps. */
    struct data data;
    data_init(&data, 4000, 1, VDB_ELEMENT_F32, VDB_METRIC_L2, 32);
    for (size_t i = 0; i < data.rows.count; i++) {
        ((float *)(void *)data.memory)[i] = (float)i / 500;
    }
    struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
    assert_true(recall_of(hnsw, &data, NULL, 40, K, 64, VDB_HNSW_ALWAYS_WALK) > 0.95);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

static void test_inner_product_of_wild_norms(void **state)
{
    (void)state;
    struct data data;
    data_init(&data, 4000, 16, VDB_ELEMENT_F32, VDB_METRIC_DOT, 33);
    for (size_t row = 0; row < data.rows.count; row++) {
        float scale = expf(4 * vdb_rng_normal(&data.rng)); /* 16 orders of magnitude, more or less */
        for (size_t i = 0; i < 16; i++) {
            ((float *)(void *)data.memory)[row * 16 + i] *= scale;
        }
    }
    struct vdb_hnsw *hnsw = build_with(&data, NULL, 2);
    double recall = recall_of(hnsw, &data, NULL, 60, K, 200, VDB_HNSW_ALWAYS_WALK);
    if (recall < 0.9) {
        fail_msg("recall %.3f", recall);
    }
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

/* Squares of elements around 1e25 are past the range of floats, in which the graph is walked. */
static void test_distances_past_the_range_of_floats(void **state)
{
    (void)state;
    static const vdb_metric metrics[] = {VDB_METRIC_L2, VDB_METRIC_COSINE, VDB_METRIC_DOT, VDB_METRIC_L1};
    for (size_t m = 0; m < sizeof metrics / sizeof metrics[0]; m++) {
        enum { ROWS = 1500, DIMENSION = 12, QUERIES = 60 };
        struct data data;
        data_init(&data, ROWS, DIMENSION, VDB_ELEMENT_F32, metrics[m], 61);
        float *values = (float *)(void *)data.memory;
        for (size_t i = 0; i < ROWS * DIMENSION; i++) {
            values[i] *= 1e25f;
        }
        struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
        size_t hits = 0;
        for (size_t q = 0; q < QUERIES; q++) {
            struct vdb_candidate answer[K];
            float vector[DIMENSION];
            size_t wanted;
            for (size_t i = 0; i < DIMENSION; i++) {
                vector[i] = values[q * DIMENSION + i] * 1.02f;
            }
            const struct vdb_query query = {.vector = vector, .ef = 64};
            const double limit = exact_limit(hnsw, &data.rows, &query, K, &wanted);
            const size_t count = search_graph(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, K, answer);
            assert_int_equal(count, wanted);
            for (size_t i = 0; i < count; i++) {
                assert_true(isfinite(answer[i].distance));
                hits += answer[i].distance <= limit;
            }
        }
        if (hits < QUERIES * K * 95 / 100) {
            fail_msg("%s: %zu of %d", vdb_metric_name(metrics[m]), hits, QUERIES * K);
        }
        struct vdb_hnsw_trace trace;
        struct vdb_candidate answer[K];
        struct vdb_topk topk;
        struct vdb_err err = {0};
        const struct vdb_query query = {.vector = values, .ef = 64};
        vdb_topk_init(&topk, answer, K);
        assert_ok(vdb_hnsw_search(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, &topk, &trace, &err), &err);
        vdb_distance_fn *one = vdb_kernels_get()->one[VDB_ELEMENT_F32][metrics[m]];
        for (size_t i = 0; i < trace.step_count; i++) { /* what a trace says is no root */
            const double distance = one(values, vdb_rows_at(&data.rows, trace.steps[i].row), DIMENSION);
            assert_true(fabs(trace.steps[i].distance - distance) <= fabs(distance) * 1e-5 + 1e-6);
        }
        vdb_hnsw_destroy(hnsw);
        data_fini(&data);
    }
}

static void test_rows_that_are_no_numbers(void **state)
{
    (void)state;
    struct data data;
    data_init(&data, 1000, 8, VDB_ELEMENT_F32, VDB_METRIC_L2, 34);
    for (size_t row = 0; row < 1000; row += 10) {
        ((float *)(void *)data.memory)[row * 8 + row % 8] = row % 20 == 0 ? NAN : INFINITY;
    }
    struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
    struct vdb_candidate answer[1000];
    float vector[8];
    draw_vector(&data, vector);
    struct vdb_query query = {.vector = vector, .ef = 1000};
    assert_int_equal(search_graph(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, 1000, answer), 1000);
    assert_true(isinf(answer[999].distance) && isfinite(answer[899].distance));
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

static void test_few_rows(void **state)
{
    (void)state;
    for (size_t count = 0; count <= 6; count++) {
        struct data data;
        data_init(&data, count, 3, VDB_ELEMENT_F32, VDB_METRIC_L2, 35);
        struct vdb_hnsw *hnsw = build_with(&data, NULL, 2);
        struct vdb_candidate answer[K];
        float vector[3] = {0, 0, 0};
        struct vdb_query query = {.vector = vector};
        assert_int_equal(search_graph(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, K, answer), count);
        assert_int_equal(search_graph(hnsw, &data.rows, &query, 0, K, answer), count);
        vdb_hnsw_destroy(hnsw);
        data_fini(&data);
    }
}

/* ---- What is shown ---- */

static void test_trace_and_stats(void **state)
{
    (void)state;
    struct data data;
    data_init(&data, 5000, 16, VDB_ELEMENT_F32, VDB_METRIC_L2, 40);
    struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
    struct vdb_hnsw_stats stats;
    vdb_hnsw_get_stats(hnsw, &stats);
    assert_int_equal(stats.layer_nodes[0], 5000);
    assert_in_range(stats.layer_nodes[1], 230, 400); /* one in 16 */
    assert_true(stats.layer_count >= 3 && stats.layer_nodes[stats.layer_count - 1] > 0);
    assert_int_equal(stats.layer_nodes[stats.layer_count], 0);
    assert_true(stats.graph_bytes >= 5000 * 32 * 4 && stats.graph_bytes < 5000 * 200);
    uint32_t diameter;
    struct vdb_err err = {0};
    assert_ok(vdb_hnsw_estimate_diameter(hnsw, 3, &diameter, &err), &err);
    assert_in_range(diameter, 3, 60);

    static struct vdb_hnsw_trace trace;
    struct vdb_candidate answer[K];
    struct vdb_topk topk;
    struct vdb_query query = {.vector = data.memory, .ef = 50};
    vdb_topk_init(&topk, answer, K);
    assert_ok(vdb_hnsw_search(hnsw, &data.rows, &query, VDB_HNSW_ALWAYS_WALK, &topk, &trace, &err), &err);
    assert_false(trace.scanned);
    assert_int_equal(trace.steps[0].row, stats.entry);
    assert_int_equal(trace.steps[0].layer, stats.layer_count - 1);
    uint64_t hops = 0;
    for (unsigned layer = 0; layer < VDB_HNSW_LAYERS_MAX; layer++) {
        hops += trace.hops[layer];
    }
    assert_true(hops == trace.expanded && trace.step_count == hops);
    assert_in_range(trace.hops[0], 50, 200);
    for (size_t i = 1; i < trace.step_count && i < VDB_HNSW_TRACE_STEPS_MAX; i++) {
        assert_true(trace.steps[i].layer <= trace.steps[i - 1].layer);
        if (trace.steps[i].layer > 0 && trace.steps[i].layer == trace.steps[i - 1].layer) {
            assert_true(trace.steps[i].distance < trace.steps[i - 1].distance);
        }
    }
    assert_true(trace.visited > trace.expanded && trace.distances >= trace.visited);
    topk.count = 0;
    query.ef = 5000;
    assert_ok(vdb_hnsw_search(hnsw, &data.rows, &query, 0, &topk, &trace, &err), &err);
    assert_true(trace.scanned && trace.visited == 5000);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

struct reports {
    uint64_t calls;
    uint64_t last;
    uint64_t stop_at;
};

static bool report(void *ctx, uint64_t done, uint64_t total)
{
    struct reports *reports = ctx;
    assert_true(done >= reports->last && done <= total);
    reports->calls++;
    reports->last = done;
    return done < reports->stop_at;
}

static void test_progress_and_cancel(void **state)
{
    (void)state;
    struct data data;
    data_init(&data, 3000, 8, VDB_ELEMENT_F32, VDB_METRIC_L2, 41);
    struct vdb_hnsw *hnsw;
    struct vdb_err err = {0};
    struct reports reports = {.stop_at = 1000};
    struct vdb_index_settings settings = {.threads = 2, .progress = report, .progress_ctx = &reports};
    assert_ok(vdb_hnsw_create(NULL, &data.rows, 0, &hnsw, &err), &err);
    assert_fails(vdb_hnsw_build(hnsw, &data.rows, &settings, &err), VDB_CANCELLED, &err, "cancelled");
    struct vdb_hnsw_stats stats;
    vdb_hnsw_get_stats(hnsw, &stats);
    assert_true(stats.rows >= 64 && stats.rows < 3000);
    assert_ok(vdb_hnsw_check(hnsw, &data.rows, &err), &err);
    reports = (struct reports){.stop_at = UINT64_MAX};
    struct vdb_bitset only;
    assert_true(vdb_bitset_init(&only, 3000));
    for (size_t row = 0; row < 2900; row++) {
        vdb_bitset_set(&only, row);
    }
    settings.only = &only;
    assert_ok(vdb_hnsw_build(hnsw, &data.rows, &settings, &err), &err);
    assert_true(reports.calls > 5 && reports.last == 3000);
    assert_ok(vdb_hnsw_check(hnsw, &data.rows, &err), &err);
    assert_true(vdb_hnsw_has(hnsw, 2899) && !vdb_hnsw_has(hnsw, 2900) && !vdb_hnsw_has(hnsw, UINT32_MAX));
    vdb_bitset_fini(&only);
    vdb_hnsw_destroy(hnsw);
    data_fini(&data);
}

/* ---- Bad input ---- */

static void test_parameters_out_of_range(void **state)
{
    (void)state;
    static const struct {
        uint32_t m, ef_construction, ef_search;
        const char *part;
    } bad[] = {
        {0, 200, 64, "m: 0 is not in 4..256"},
        {3, 200, 64, "m: 3 is"},
        {257, 300, 64, "m: 257 is"},
        {UINT32_MAX, 200, 64, "m: 4294967295"},
        {16, 0, 64, "ef_construction: 0 is not in 1..65536"},
        {16, 15, 64, "ef_construction: 15 is less than m, 16"},
        {16, 65537, 64, "ef_construction: 65537"},
        {16, 200, 0, "ef_search: 0"},
        {16, 200, 65537, "ef_search: 65537"},
    };
    struct data data;
    data_init(&data, 10, 4, VDB_ELEMENT_F32, VDB_METRIC_L2, 50);
    struct vdb_hnsw *hnsw;
    struct vdb_err err = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct vdb_hnsw_params params = vdb_hnsw_params_default();
        params.m = bad[i].m;
        params.ef_construction = bad[i].ef_construction;
        params.ef_search = bad[i].ef_search;
        assert_fails(vdb_hnsw_create(&params, &data.rows, 0, &hnsw, &err), VDB_INVALID, &err, bad[i].part);
        assert_null(hnsw);
    }
    struct vdb_hnsw_params edge = vdb_hnsw_params_default();
    edge.m = VDB_HNSW_M_MAX;
    edge.ef_construction = VDB_HNSW_M_MAX;
    hnsw = build_with(&data, &edge, 1);
    vdb_hnsw_destroy(hnsw);
    struct vdb_rows rows = data.rows;
    rows.metric = VDB_METRIC_HAMMING;
    assert_fails(vdb_hnsw_create(NULL, &rows, 0, &hnsw, &err), VDB_INVALID, &err, "metric: hamming");
    rows = data.rows;
    rows.dimension = 0;
    assert_fails(vdb_hnsw_create(NULL, &rows, 0, &hnsw, &err), VDB_INVALID, &err, "dimension: 0");
    rows.dimension = VDB_LIMIT_DIMENSION_MAX + 1;
    assert_fails(vdb_hnsw_create(NULL, &rows, 0, &hnsw, &err), VDB_INVALID, &err, "dimension: 65537");
    assert_fails(vdb_hnsw_create(NULL, &data.rows, VDB_LIMIT_COLLECTION_POINTS_MAX + 1ul, &hnsw, &err), VDB_LIMIT,
                 &err, "capacity");
    data_fini(&data);
}

static void test_calls_that_do_not_fit(void **state)
{
    (void)state;
    struct data data;
    data_init(&data, 100, 4, VDB_ELEMENT_F32, VDB_METRIC_L2, 51);
    struct vdb_hnsw *hnsw = build_with(&data, NULL, 1);
    struct vdb_err err = {0};
    struct vdb_rows other = data.rows;
    other.dimension = 3;
    assert_fails(vdb_hnsw_insert(hnsw, &other, 0, &err), VDB_INVALID, &err, "dimension 3, the graph is of 4");
    other = data.rows;
    other.metric = VDB_METRIC_L1;
    assert_fails(vdb_hnsw_check(hnsw, &other, &err), VDB_INVALID, &err, "by l1");
    other = data.rows;
    other.count = VDB_LIMIT_COLLECTION_POINTS_MAX + 1ul;
    assert_fails(vdb_hnsw_build(hnsw, &other, NULL, &err), VDB_LIMIT, &err, "1073741825");
    other.count = 99;
    assert_fails(vdb_hnsw_check(hnsw, &other, &err), VDB_INVALID, &err, "99");
    assert_fails(vdb_hnsw_remove(hnsw, &other, 3, &err), VDB_INVALID, &err, "99");
    assert_fails(vdb_hnsw_insert(hnsw, &data.rows, 100, &err), VDB_INVALID, &err, "row 100");
    assert_fails(vdb_hnsw_insert(hnsw, &data.rows, 99, &err), VDB_EXISTS, &err, "row 99");
    assert_fails(vdb_hnsw_remove(hnsw, &data.rows, 100, &err), VDB_NOT_FOUND, &err, "row 100");
    struct vdb_candidate answer[K];
    struct vdb_topk topk;
    vdb_topk_init(&topk, answer, K);
    struct vdb_query query = {.vector = data.memory, .ef = VDB_HNSW_EF_MAX + 1};
    assert_fails(vdb_hnsw_search(hnsw, &data.rows, &query, 0, &topk, NULL, &err), VDB_INVALID, &err, "ef: 65537");
    vdb_hnsw_destroy(hnsw);
    vdb_hnsw_destroy(NULL);
    data_fini(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_levels_give_the_same_ids_on_integers), /* first: see there */
        cmocka_unit_test(test_recall_of_every_element_and_metric),
        cmocka_unit_test(test_options_and_copies),
        cmocka_unit_test(test_more_width_finds_more_and_all_finds_all),
        cmocka_unit_test(test_one_seed_one_graph),
        cmocka_unit_test(test_filters_of_every_size),
        cmocka_unit_test(test_many_duplicates),
        cmocka_unit_test(test_all_equal),
        cmocka_unit_test(test_one_dimension),
        cmocka_unit_test(test_inner_product_of_wild_norms),
        cmocka_unit_test(test_distances_past_the_range_of_floats),
        cmocka_unit_test(test_rows_that_are_no_numbers),
        cmocka_unit_test(test_few_rows),
        cmocka_unit_test(test_trace_and_stats),
        cmocka_unit_test(test_progress_and_cancel),
        cmocka_unit_test(test_parameters_out_of_range),
        cmocka_unit_test(test_calls_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
