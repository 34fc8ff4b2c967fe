/* test_recall_control.c: widths from a wanted recall: what a calibration foretells is what queries get; targets, k and boosts
 * on tables made by hand; bytes back and forth and damaged; and the shadow controller against a world that is simulated.
 */
#include "support.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "collection/recall.h"
#include "index/hnsw.h"
#include "index/qgraph.h"

enum { ROWS = 4000, DIMENSION = 24, FRESH = 100, K = 10, SEED = 5 };

struct data {
    char *memory;
    const void *array;
    struct vdb_rows rows;
    const char *fresh; /* FRESH vectors of the same kind that are no rows */
};

/* Clusters; u8, i8 or f32. */
static void make(struct data *data, size_t count, vdb_element element, vdb_metric metric)
{
    struct vdb_rng rng;
    vdb_rng_init(&rng, SEED);
    const size_t bytes = vdb_vector_bytes(element, DIMENSION);
    float centres[30][DIMENSION];
    data->memory = calloc(count + FRESH, bytes);
    assert_non_null(data->memory);
    for (size_t i = 0; i < sizeof centres / sizeof(float); i++) {
        centres[i / DIMENSION][i % DIMENSION] = 1.5F * vdb_rng_normal(&rng);
    }
    for (size_t i = 0; i < count + FRESH; i++) {
        const float *centre = centres[vdb_rng_below(&rng, 30)];
        for (size_t j = 0; j < DIMENSION; j++) {
            const float value = centre[j] + vdb_rng_normal(&rng);
            char *out = data->memory + i * bytes + vdb_vector_bytes(element, j);
            if (element == VDB_ELEMENT_U8) {
                *(uint8_t *)out = (uint8_t)(fminf(fmaxf(value * 18 + 128, 0), 255));
            } else {
                memcpy(out, &value, sizeof value);
            }
        }
    }
    data->array = data->memory;
    data->rows = vdb_rows_of_array(&data->array, count, DIMENSION, element, metric);
    data->fresh = data->memory + count * bytes;
}

static void *build(const struct vdb_index_ops *ops, const struct data *data, const struct vdb_bitset *only)
{
    const struct vdb_index_settings settings = {.threads = 2, .only = only};
    struct vdb_err err = {0};
    void *index = NULL;
    assert_ok(ops->build(&data->rows, &settings, &index, &err), &err);
    return index;
}

static size_t search(const struct vdb_index_ops *ops, const void *index, const struct data *data, size_t q,
                     const struct vdb_bitset *allow, size_t ef, struct vdb_candidate *out)
{
    struct vdb_err err = {0};
    const struct vdb_query query = {
        .vector = data->fresh + q * data->rows.stride_bytes, .allow = allow, .ef = ef};
    struct vdb_topk topk;
    vdb_topk_init(&topk, out, K);
    assert_ok(ops->search(index, &data->rows, &query, &topk, &err), &err);
    vdb_topk_finish(&topk);
    return topk.count;
}

/* Of vectors that are no rows. */
static double recall_of(const struct vdb_index_ops *ops, const void *index, const struct data *data,
                        const struct vdb_bitset *allow, size_t ef)
{
    size_t hits = 0;
    for (size_t q = 0; q < FRESH; q++) {
        struct vdb_candidate truth[K];
        struct vdb_candidate found[K];
        assert_int_equal(search(&vdb_index_flat, NULL, data, q, allow, 0, truth), K);
        size_t count = search(ops, index, data, q, allow, ef, found);
        for (size_t i = 0; i < count; i++) {
            hits += found[i].distance <= truth[K - 1].distance + fabs(truth[K - 1].distance) * 1e-5;
        }
    }
    return (double)hits / (FRESH * K);
}

static void check_table(const struct vdb_recall_table *table, uint32_t k)
{
    assert_in_range(table->count, 1, VDB_RECALL_POINTS_MAX);
    assert_int_equal(table->k, k);
    for (uint32_t i = 0; i < table->count; i++) {
        assert_true(table->points[i].recall >= 0 && table->points[i].recall <= 1);
        assert_true(i == 0 || (table->points[i].ef > table->points[i - 1].ef &&
                               table->points[i].recall >= table->points[i - 1].recall));
    }
}

static void test_targets_are_met_by_other_queries(void **state)
{
    (void)state;
    static const struct {
        const struct vdb_index_ops *ops;
        vdb_element element;
        vdb_metric metric;
    } cases[] = {
        {&vdb_index_qgraph, VDB_ELEMENT_U8, VDB_METRIC_L2},
        {&vdb_index_hnsw, VDB_ELEMENT_U8, VDB_METRIC_L2},
        {&vdb_index_qgraph, VDB_ELEMENT_F32, VDB_METRIC_COSINE},
        {&vdb_index_hnsw, VDB_ELEMENT_F32, VDB_METRIC_L1},
    };
    static const double targets[] = {0.9, 0.95, 0.98, 0.99};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct data data;
        struct vdb_recall_table table;
        struct vdb_err err = {0};
        make(&data, ROWS, cases[i].element, cases[i].metric);
        void *index = build(cases[i].ops, &data, NULL);
        assert_ok(vdb_recall_calibrate(cases[i].ops, index, &data.rows, NULL, 0, SEED, NULL, NULL, &table, &err),
                  &err);
        check_table(&table, K);
        uint32_t before = 0;
        for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++) {
            const uint32_t ef = vdb_recall_ef(&table, targets[t], K, 1);
            const double recall = recall_of(cases[i].ops, index, &data, NULL, ef);
            printf("%s, %s: target %.2f: ef %u: recall %.4f\n", cases[i].ops->name,
                   vdb_metric_name(cases[i].metric), targets[t], ef, recall);
            assert_true(ef >= before && ef < 1000);
            assert_true(recall >= targets[t]);
            before = ef;
        }
        cases[i].ops->destroy(index);
        free(data.memory);
    }
}

/* Rows that the index does not hold are neither asked for nor among the truth, few or nearly all. */
static void test_only_some_rows(void **state)
{
    (void)state;
    struct data data;
    make(&data, ROWS, VDB_ELEMENT_U8, VDB_METRIC_L2);
    for (size_t every = 2; every <= 100; every += 49) { /* every 2nd, 51st, 100th is left */
        struct vdb_bitset only;
        struct vdb_recall_table table;
        struct vdb_err err = {0};
        assert_true(vdb_bitset_init(&only, ROWS));
        for (size_t row = 1; row < ROWS; row += every) {
            vdb_bitset_set(&only, row);
        }
        void *index = build(&vdb_index_qgraph, &data, &only);
        assert_ok(
            vdb_recall_calibrate(&vdb_index_qgraph, index, &data.rows, &only, 64, SEED, NULL, NULL, &table, &err),
            &err);
        check_table(&table, K);
        assert_true((double)table.points[table.count - 1].recall > 0.98);
        const uint32_t ef = vdb_recall_ef(&table, 0.95, K, 1);
        assert_true(recall_of(&vdb_index_qgraph, index, &data, &only, ef) >= 0.95);
        vdb_bitset_fini(&only);
        vdb_index_qgraph.destroy(index);
    }
    free(data.memory);
}

/* None, one, two; fewer than 10; all equal; rows in chunks. */
static void test_small_and_odd_sources(void **state)
{
    (void)state;
    struct data data;
    struct vdb_err err = {0};
    struct vdb_recall_table table;
    make(&data, 300, VDB_ELEMENT_F32, VDB_METRIC_L2);
    for (size_t count = 0; count <= 20; count++) {
        struct data part = data;
        part.rows.count = count;
        void *index = build(&vdb_index_hnsw, &part, NULL);
        table.count = 77;
        assert_ok(
            vdb_recall_calibrate(&vdb_index_hnsw, index, &part.rows, NULL, 10, SEED, NULL, NULL, &table, &err),
            &err);
        if (count < 2) {
            assert_int_equal(table.count, 0);
        } else {
            check_table(&table, count - 1 < K ? (uint32_t)count - 1 : K);
            assert_true((double)table.points[0].recall > 0.8);
        }
        vdb_index_hnsw.destroy(index);
    }
    const void *chunks[5];
    struct data chunked = data;
    for (size_t i = 0; i < 5; i++) {
        chunks[i] = data.memory + i * 64 * data.rows.stride_bytes;
    }
    chunked.rows.chunks = chunks;
    chunked.rows.chunk_shift = 6;
    struct vdb_recall_table whole;
    void *index = build(&vdb_index_qgraph, &data, NULL);
    assert_ok(vdb_recall_calibrate(&vdb_index_qgraph, index, &data.rows, NULL, 0, SEED, NULL, NULL, &whole, &err),
              &err);
    assert_ok(
        vdb_recall_calibrate(&vdb_index_qgraph, index, &chunked.rows, NULL, 0, SEED, NULL, NULL, &table, &err),
        &err);
    assert_memory_equal(&table, &whole, sizeof table);
    vdb_index_qgraph.destroy(index);
    for (size_t row = 1; row < 300; row++) {
        memcpy(data.memory + row * data.rows.stride_bytes, data.memory, data.rows.stride_bytes);
    }
    index = build(&vdb_index_qgraph, &data, NULL);
    assert_ok(vdb_recall_calibrate(&vdb_index_qgraph, index, &data.rows, NULL, 0, SEED, NULL, NULL, &table, &err),
              &err);
    check_table(&table, K);
    assert_true((double)table.points[0].recall > 0.99);
    vdb_index_qgraph.destroy(index);
    free(data.memory);
}

/* Finds the one nearest row and nothing else. */
static vdb_status search_for_one(const void *index, const struct vdb_rows *rows, const struct vdb_query *query,
                                 struct vdb_topk *topk, struct vdb_err *err)
{
    const size_t k = topk->k;
    topk->k = 1;
    vdb_status status = vdb_index_flat.search(index, rows, query, topk, err);
    topk->k = k;
    return status;
}

/* Bits have no floats to mix: rows are the queries, and are left out of their own answers. */
static void test_bits(void **state)
{
    (void)state;
    enum { COUNT = 500, BYTES = 32 };
    struct vdb_rng rng;
    struct vdb_err err = {0};
    struct vdb_recall_table table;
    vdb_rng_init(&rng, SEED);
    uint64_t *memory = calloc(COUNT, BYTES);
    assert_non_null(memory);
    for (size_t i = 0; i < COUNT * BYTES / sizeof *memory; i++) {
        memory[i] = vdb_rng_u64(&rng);
    }
    struct data data = {.array = memory};
    data.rows = vdb_rows_of_array(&data.array, COUNT, BYTES * 8, VDB_ELEMENT_BIT, VDB_METRIC_HAMMING);
    struct vdb_index_ops ops = vdb_index_flat;
    assert_ok(vdb_recall_calibrate(&ops, NULL, &data.rows, NULL, 0, SEED, NULL, NULL, &table, &err), &err);
    assert_int_equal(table.count, 1); /* all is found at the first width */
    assert_true((double)table.points[0].recall > 0.99);
    ops.search = search_for_one;
    assert_ok(vdb_recall_calibrate(&ops, NULL, &data.rows, NULL, 0, SEED, NULL, NULL, &table, &err), &err);
    assert_true(table.count < VDB_RECALL_POINTS_MAX);       /* wider and wider brought nothing */
    assert_true(table.points[table.count - 1].recall == 0); /* finding oneself is no find */
    free(memory);
}

/* Of ten found seven: what is foretold is less than that, and no width is chosen in vain. */
static vdb_status search_for_seven(const void *index, const struct vdb_rows *rows, const struct vdb_query *query,
                                   struct vdb_topk *topk, struct vdb_err *err)
{
    const size_t k = topk->k;
    topk->k = k < 7 ? k : 7;
    vdb_status status = vdb_index_flat.search(index, rows, query, topk, err);
    topk->k = k;
    return status;
}

static void test_what_no_width_finds(void **state)
{
    (void)state;
    struct data data;
    struct vdb_recall_table table;
    struct vdb_err err = {0};
    make(&data, 1000, VDB_ELEMENT_U8, VDB_METRIC_L2);
    struct vdb_index_ops ops = vdb_index_flat;
    ops.search = search_for_seven;
    assert_ok(vdb_recall_calibrate(&ops, NULL, &data.rows, NULL, 0, SEED, NULL, NULL, &table, &err), &err);
    const double recall = (double)table.points[table.count - 1].recall;
    assert_true(recall > 0.05 && recall < 0.4);
    assert_in_range(vdb_recall_ef(&table, 0.9, K, 1), 10, 30);
    free(data.memory);
}

static bool stop(void *ctx, uint64_t done, uint64_t total)
{
    unsigned *left = ctx;
    assert_true(done > 0 && done <= total);
    return *left == 0 || --*left > 0;
}

static void test_progress_cancels_at_every_step(void **state)
{
    (void)state;
    struct data data;
    struct vdb_err err = {0};
    struct vdb_recall_table table;
    make(&data, 500, VDB_ELEMENT_U8, VDB_METRIC_L2);
    void *index = build(&vdb_index_qgraph, &data, NULL);
    unsigned steps = 0;
    for (;; steps++) {
        unsigned left = steps + 1;
        vdb_status status = vdb_recall_calibrate(&vdb_index_qgraph, index, &data.rows, NULL, 4, SEED, stop, &left,
                                                 &table, &err);
        if (status == VDB_OK) {
            break;
        }
        assert_int_equal(status, VDB_CANCELLED);
        assert_int_equal(table.count, 0);
    }
    assert_true(steps > 5 && steps < 100);
    check_table(&table, K);
    vdb_index_qgraph.destroy(index);
    free(data.memory);
}

/* ---- Choosing ---- */

static void test_widths_of_a_table(void **state)
{
    (void)state;
    const struct vdb_recall_table table = {4, 10, {{32, 0.8F}, {64, 0.9F}, {128, 0.96F}, {256, 0.99F}}};
    assert_int_equal(vdb_recall_ef(&table, 0.5, 10, 1), 32);
    assert_in_range(vdb_recall_ef(&table, 0.9, 10, 1), 64, 65);
    assert_in_range(vdb_recall_ef(&table, 0.93, 10, 1), 95, 97);
    assert_in_range(vdb_recall_ef(&table, 0.96, 10, 1), 127, 129);
    assert_in_range(vdb_recall_ef(&table, 0.995, 10, 1), 500,
                    520); /* beyond the last: half the misses, twice the width */
    assert_int_equal(vdb_recall_ef(&table, 0.9, 1, 1), vdb_recall_ef(&table, 0.9, 10, 1));
    assert_in_range(vdb_recall_ef(&table, 0.9, 10, 2), 128, 130);
    assert_int_equal(vdb_recall_ef(&table, 0.999999, 10, 8), VDB_RECALL_EF_MAX);
    for (uint32_t k = 1; k < 40000; k += k < 200 ? 1 : 997) { /* never under k, ever more */
        uint32_t ef = vdb_recall_ef(&table, 0.95, k, 1);
        assert_true(ef >= k && ef >= vdb_recall_ef(&table, 0.95, k > 1 ? k - 1 : 1, 1));
        assert_true(ef <= (k > VDB_RECALL_EF_MAX ? k : VDB_RECALL_EF_MAX));
    }
    for (double target = 0.01; target < 1; target += 0.003) {
        assert_true(vdb_recall_ef(&table, target, 10, 1) <= vdb_recall_ef(&table, target + 0.0029, 10, 1));
        assert_true(vdb_recall_ef(&table, target, 10, 1) <= vdb_recall_ef(&table, target, 10, 1.2));
    }
}

static void test_no_table_and_a_plateau(void **state)
{
    (void)state;
    const struct vdb_recall_table none = {0};
    assert_in_range(vdb_recall_ef(NULL, 0.98, 10, 1), 200, 400);
    assert_int_equal(vdb_recall_ef(&none, 0.98, 10, 1), vdb_recall_ef(NULL, 0.98, 10, 1));
    assert_true(vdb_recall_ef(&none, 0.95, 10, 1) < vdb_recall_ef(&none, 0.99, 10, 1));
    assert_true(vdb_recall_ef(&none, 0.95, 5000, 1) >= 5000);
    struct vdb_recall_table plateau = {VDB_RECALL_POINTS_MAX, 10, {{0}}};
    for (uint32_t i = 0; i < VDB_RECALL_POINTS_MAX; i++) { /* as good from ef 60 on as it gets */
        plateau.points[i] = (struct vdb_recall_point){10 * (i + 1), i < 5 ? 0.8F : 0.97F};
    }
    assert_in_range(vdb_recall_ef(&plateau, 0.98, 10, 1), 60, 70);
    /* A perfect one: even so no width that is a handful. */
    const struct vdb_recall_table perfect = {1, 10, {{10, 1.0F}}};
    assert_in_range(vdb_recall_ef(&perfect, 0.95, 10, 1), 20, 30);
    assert_true(vdb_recall_ef(&perfect, 0.99, 10, 1) >= 40);
}

/* ---- Bytes ---- */

static void test_bytes(void **state)
{
    (void)state;
    struct vdb_recall_table table = {3, 10, {{10, 0.5F}, {20, 0.75F}, {40, 1.0F}}};
    struct vdb_recall_table back;
    struct vdb_buf buf = {0};
    struct vdb_cursor cursor;
    struct vdb_err err = {0};
    vdb_recall_table_encode(&table, &buf);
    assert_false(buf.failed);
    vdb_buf_put_u8(&buf, 99); /* what follows is left alone */
    vdb_cursor_init(&cursor, buf.data, buf.bytes);
    assert_ok(vdb_recall_table_decode(&cursor, &back, &err), &err);
    assert_memory_equal(&back, &table, sizeof table);
    assert_int_equal(vdb_cursor_left(&cursor), 1);
    for (size_t cut = 0; cut + 1 < buf.bytes; cut++) {
        vdb_cursor_init(&cursor, buf.data, cut);
        assert_int_equal(vdb_recall_table_decode(&cursor, &back, &err), VDB_CORRUPT);
        assert_int_equal(back.count, 0);
    }
    vdb_buf_clear(&buf);
    const struct vdb_recall_table none = {0};
    vdb_recall_table_encode(&none, &buf);
    vdb_cursor_init(&cursor, buf.data, buf.bytes);
    assert_ok(vdb_recall_table_decode(&cursor, &back, &err), &err);
    assert_int_equal(back.count, 0);
    vdb_buf_fini(&buf);
}

static void test_wrong_bytes_are_named(void **state)
{
    (void)state;
    static const struct {
        struct vdb_recall_table table;
        const char *part;
    } cases[] = {
        {{2, 10, {{10, 0.5F}, {10, 0.6F}}}, "ef 10"},
        {{2, 10, {{20, 0.5F}, {10, 0.6F}}}, "ef 10"},
        {{1, 10, {{0, 0.5F}}}, "ef 0"},
        {{1, 10, {{VDB_RECALL_EF_MAX + 1, 0.5F}}}, "ef 16385"},
        {{2, 10, {{10, 0.5F}, {20, 0.4F}}}, "recall 0.4"},
        {{1, 10, {{10, 1.5F}}}, "recall 1.5"},
        {{1, 10, {{10, -0.5F}}}, "recall -0.5"},
        {{1, 10, {{10, NAN}}}, "recall"},
        {{1, 11, {{10, 0.5F}}}, "k 11"},
        {{1, 0, {{10, 0.5F}}}, "k 0"},
        {{0, 10, {{0}}}, "k 10"},
    };
    struct vdb_buf buf = {0};
    struct vdb_cursor cursor;
    struct vdb_recall_table back;
    struct vdb_err err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vdb_buf_clear(&buf);
        vdb_recall_table_encode(&cases[i].table, &buf);
        vdb_cursor_init(&cursor, buf.data, buf.bytes);
        assert_fails(vdb_recall_table_decode(&cursor, &back, &err), VDB_CORRUPT, &err, cases[i].part);
        assert_int_equal(back.count, 0);
    }
    vdb_buf_clear(&buf);
    vdb_buf_put_u32(&buf, VDB_RECALL_POINTS_MAX + 1);
    vdb_buf_put_u32(&buf, 10);
    vdb_buf_put_zeros(&buf, 1000);
    vdb_cursor_init(&cursor, buf.data, buf.bytes);
    assert_fails(vdb_recall_table_decode(&cursor, &back, &err), VDB_CORRUPT, &err, "17 points");
    vdb_buf_fini(&buf);
}

/* ---- Shadow queries ---- */

#define SECOND_NS UINT64_C(1000000000)

static void test_shadows_are_few_and_cheap(void **state)
{
    (void)state;
    static const uint64_t costs[] = {1000, 1000000, 2500000, 50000000, 3000000000};
    for (size_t i = 0; i < sizeof costs / sizeof costs[0]; i++) {
        struct vdb_shadow shadow;
        vdb_shadow_init(&shadow);
        uint64_t due = 0;
        const uint64_t seconds = 3600;
        for (uint64_t now = 5; now < seconds * SECOND_NS;) { /* a search every millisecond or so */
            if (vdb_shadow_due(&shadow, now)) {
                due++;
                assert_false(vdb_shadow_due(&shadow, now)); /* one at a time */
                assert_false(vdb_shadow_due(&shadow, now + costs[i]));
                vdb_shadow_report(&shadow, 0.95, 0.95, costs[i]);
                now += costs[i];
            }
            now += 1000003;
        }
        assert_true(due <= 4 * seconds + 1);
        assert_true((double)(due - 1) * (double)costs[i] <= 0.0101 * (double)seconds * 1e9);
        assert_true(due >= 11); /* and goes on */
        vdb_shadow_fini(&shadow);
    }
}

static void test_a_lost_shadow_is_forgotten(void **state)
{
    (void)state;
    struct vdb_shadow shadow;
    vdb_shadow_init(&shadow);
    assert_true(vdb_shadow_due(&shadow, SECOND_NS));
    assert_false(vdb_shadow_due(&shadow, 30 * SECOND_NS));
    assert_true(vdb_shadow_due(&shadow, 62 * SECOND_NS));
    vdb_shadow_cancel(&shadow); /* the next one is due soon, but not at once */
    assert_false(vdb_shadow_due(&shadow, 62 * SECOND_NS + SECOND_NS / 5));
    assert_true(vdb_shadow_due(&shadow, 62 * SECOND_NS + SECOND_NS / 3));
    vdb_shadow_report(&shadow, 0.95, 1, UINT64_MAX); /* a cost past all measure */
    assert_false(vdb_shadow_due(&shadow, 1000 * SECOND_NS));
    vdb_shadow_fini(&shadow);
}

/* One shadow query of k 10 in a world in which each answer is found with probability `found`. */
static void play(struct vdb_shadow *shadow, struct vdb_rng *rng, double target, double found)
{
    unsigned hits = 0;
    for (unsigned i = 0; i < K; i++) {
        hits += vdb_rng_double(rng) < found;
    }
    vdb_shadow_report(shadow, target, hits / (double)K, 1000);
}

static void test_the_boost_finds_its_level(void **state)
{
    (void)state;
    struct vdb_shadow shadow;
    struct vdb_shadow_stats stats;
    struct vdb_rng rng;
    vdb_rng_init(&rng, SEED);
    vdb_shadow_init(&shadow);
    vdb_shadow_get(&shadow, &stats);
    assert_true(stats.queries == 0 && stats.recall == 0 && stats.boost == 1);
    for (unsigned i = 0; i < 3000; i++) { /* enough as it is: nothing happens */
        play(&shadow, &rng, 0.95, 0.96);
        assert_true(vdb_shadow_boost(&shadow) < 1.2);
    }
    double sum = 0;
    for (unsigned i = 0; i < 4000; i++) { /* misses are 0.15 over the boost: 0.05 wants a boost of 3 */
        play(&shadow, &rng, 0.95, 1 - 0.15 / vdb_shadow_boost(&shadow));
        sum += i >= 2000 ? vdb_shadow_boost(&shadow) : 0;
    }
    assert_true(sum / 2000 > 2.3 && sum / 2000 < 4);
    vdb_shadow_get(&shadow, &stats);
    assert_int_equal(stats.queries, 7000);
    assert_true(fabs(stats.recall - 0.95) < 0.03);
    for (unsigned i = 0; i < 3000; i++) { /* nothing helps: it stays within its bounds */
        play(&shadow, &rng, 0.95, 0.3);
        assert_true(vdb_shadow_boost(&shadow) <= VDB_RECALL_BOOST_MAX);
    }
    assert_true(vdb_shadow_boost(&shadow) == VDB_RECALL_BOOST_MAX);
    for (unsigned i = 0; i < 3000; i++) { /* and comes back */
        play(&shadow, &rng, 0.9, 1);
    }
    assert_true(vdb_shadow_boost(&shadow) == 1);
    vdb_shadow_fini(&shadow);
}

/* A few bad answers by chance raise nothing. */
static void test_few_reports_change_nothing(void **state)
{
    (void)state;
    struct vdb_shadow shadow;
    vdb_shadow_init(&shadow);
    for (unsigned i = 0; i < 15; i++) {
        vdb_shadow_report(&shadow, 0.99, i % 3 == 0 ? 0.5 : 1, 1000);
    }
    assert_true(vdb_shadow_boost(&shadow) == 1);
    vdb_shadow_fini(&shadow);
}

struct team {
    struct vdb_shadow shadow;
    _Atomic uint64_t now;
    _Atomic uint64_t inside;
    _Atomic uint64_t done;
};

static void *ask(void *ctx)
{
    struct team *team = ctx;
    for (unsigned i = 0; i < 20000; i++) {
        if (vdb_shadow_due(&team->shadow, atomic_fetch_add(&team->now, 1000000))) {
            if (atomic_fetch_add(&team->inside, 1) != 0) {
                return ctx; /* two at once */
            }
            atomic_fetch_sub(&team->inside, 1);
            atomic_fetch_add(&team->done, 1);
            vdb_shadow_report(&team->shadow, 0.95, 0.5, 10);
        }
        struct vdb_shadow_stats stats;
        vdb_shadow_get(&team->shadow, &stats);
        if (!(stats.boost >= 1 && stats.boost <= VDB_RECALL_BOOST_MAX)) {
            return ctx;
        }
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    static struct team team;
    pthread_t threads[4];
    vdb_shadow_init(&team.shadow);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &team), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        void *failed;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    struct vdb_shadow_stats stats;
    vdb_shadow_get(&team.shadow, &stats);
    assert_int_equal(stats.queries, atomic_load(&team.done));
    assert_in_range(stats.queries, 100, 80 * 4 + 1); /* 80 seconds by the clock that they share */
    vdb_shadow_fini(&team.shadow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets_are_met_by_other_queries),
        cmocka_unit_test(test_only_some_rows),
        cmocka_unit_test(test_small_and_odd_sources),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_what_no_width_finds),
        cmocka_unit_test(test_progress_cancels_at_every_step),
        cmocka_unit_test(test_widths_of_a_table),
        cmocka_unit_test(test_no_table_and_a_plateau),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_wrong_bytes_are_named),
        cmocka_unit_test(test_shadows_are_few_and_cheap),
        cmocka_unit_test(test_a_lost_shadow_is_forgotten),
        cmocka_unit_test(test_the_boost_finds_its_level),
        cmocka_unit_test(test_few_reports_change_nothing),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
