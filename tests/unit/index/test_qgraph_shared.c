/* test_qgraph_shared.c: nodes of several rows: what they cost, that all of them are found, kept, filtered and merged,
 * and that a table that does not fit its nodes is refused. */
#include "qgraph_support.h"

#include "base/crc32c.h"
#include "index/qgraph_internal.h"

enum { ROWS = 240, DIMENSION = 8 };

/* Which row's vector a row has. */
typedef size_t same_fn(size_t row);

static size_t none(size_t row)
{
    return row;
}

static size_t every_twice(size_t row)
{
    return row % (ROWS / 2);
}

static size_t half_twice(size_t row)
{
    return row < ROWS / 4 ? row + ROWS / 2 : row;
}

static size_t one_many_times(size_t row)
{
    return row % 3 == 0 ? 99 : row;
}

static size_t all_equal(size_t row)
{
    (void)row;
    return 0;
}

/* numbers: of the table, as rows are counted. */
static const struct {
    const char *name;
    same_fn *same;
    size_t nodes;
    size_t numbers;
} sets[] = {
    {"no duplicates", none, ROWS, 0},
    {"every row twice", every_twice, ROWS / 2, (size_t)ROWS / 2 * 3},
    {"half of the rows twice", half_twice, ROWS * 3 / 4, (size_t)ROWS / 4 * 3},
    {"one row many times", one_many_times, ROWS - ROWS / 3 + 1, ROWS / 3 + 1},
    {"all rows equal", all_equal, 1, ROWS + 1},
};

enum { SETS = sizeof sets / sizeof sets[0], FORMS = 2 };

/* Vectors are random, so that no two of them are equal unless `same` says so. */
static void make_set(struct data *data, same_fn *same, vdb_element element, vdb_metric metric, uint64_t seed)
{
    make(data, ROWS, DIMENSION, element, metric, 20, seed);
    const size_t bytes = data->bytes;
    char *own = calloc(ROWS, bytes);
    assert_non_null(own);
    memcpy(own, data->memory, ROWS * bytes);
    for (size_t row = 0; row < ROWS; row++) {
        memcpy((char *)data->memory + row * bytes, own + same(row) * bytes, bytes);
    }
    free(own);
}

static struct vdb_qgraph *build_form(const struct data *data, bool compact, const struct vdb_bitset *only,
                                     const struct vdb_index_seeds *seeds, size_t seed_count)
{
    struct vdb_qgraph_params params = vdb_qgraph_params_default();
    params.compact = compact;
    const struct vdb_index_settings settings = {
        .params = &params, .threads = 2, .only = only, .seeds = seeds, .seed_count = seed_count};
    return build(data, &settings);
}

/* Every row is among the answers to its own vector, at a distance of 0, and no other row is unless it is its equal. */
static void expect_all_rows(const struct vdb_qgraph *graph, const struct data *data,
                            const struct vdb_bitset *allow, const char *name)
{
    static struct vdb_candidate found[ROWS];
    static bool seen[ROWS];
    memset(seen, 0, sizeof seen);
    for (size_t row = 0; row < ROWS; row++) {
        const void *vector = vdb_rows_at(&data->rows, row);
        if ((allow != NULL && !vdb_bitset_test(allow, row)) || seen[row]) {
            continue;
        }
        const size_t count = search(&vdb_index_qgraph, graph, data, vector, allow, 64, ROWS, found);
        for (size_t i = 0; i < count && found[i].distance == 0; i++) {
            assert_memory_equal(vdb_rows_at(&data->rows, found[i].row), vector, data->bytes);
            assert_true(allow == NULL || vdb_bitset_test(allow, found[i].row));
            seen[found[i].row] = true;
        }
        if (!seen[row]) {
            fail_msg("%s: row %zu is not found", name, row);
        }
        row += row % 7 == 0 ? 0 : 5; /* most are like the others */
    }
}

static void test_each_row_is_found(void **state)
{
    (void)state;
    for (size_t s = 0; s < SETS; s++) {
        for (unsigned form = 0; form < FORMS; form++) {
            struct data data;
            make_set(&data, sets[s].same, VDB_ELEMENT_U8, VDB_METRIC_L2, 60 + s);
            struct vdb_qgraph *graph = build_form(&data, form == 1, NULL, NULL, 0);
            assert_int_equal(graph->node_count, sets[s].nodes);
            assert_int_equal(graph->row_count, ROWS);
            assert_int_equal(graph->shared_count, sets[s].numbers);
            expect_all_rows(graph, &data, NULL, sets[s].name);
            vdb_qgraph_destroy(graph);
            free(data.memory);
        }
    }
}

/* Deleted rows come as a filter: first rows of nodes, later ones, whole nodes. */
static void test_deleted_rows(void **state)
{
    (void)state;
    struct vdb_bitset allow;
    assert_true(vdb_bitset_init(&allow, ROWS));
    for (size_t s = 0; s < SETS; s++) {
        for (size_t gone = 0; gone < 3; gone++) {
            struct data data;
            make_set(&data, sets[s].same, VDB_ELEMENT_U8, VDB_METRIC_L2, 70 + s);
            memset(allow.words, 0, vdb_bitset_words(ROWS) * sizeof *allow.words);
            for (size_t row = 0; row < ROWS; row++) {
                if (gone == 0 ? row >= 100 : gone == 1 ? row < ROWS - 100 : row % 4 != 0) {
                    vdb_bitset_set(&allow, row);
                }
            }
            for (unsigned form = 0; form < FORMS; form++) {
                struct vdb_qgraph *graph = build_form(&data, form == 1, NULL, NULL, 0);
                expect_all_rows(graph, &data, &allow, sets[s].name);
                vdb_qgraph_destroy(graph);
                graph = build_form(&data, form == 1, &allow, NULL, 0); /* never taken in */
                expect_all_rows(graph, &data, &allow, sets[s].name);
                struct vdb_candidate found[K];
                const size_t count = search(&vdb_index_qgraph, graph, &data, data.queries, NULL, 64, K, found);
                for (size_t i = 0; i < count; i++) {
                    assert_true(vdb_bitset_test(&allow, found[i].row));
                }
                vdb_qgraph_destroy(graph);
            }
            free(data.memory);
        }
    }
    vdb_bitset_fini(&allow);
}

static vdb_status load(const struct data *data, const struct vdb_buf *bytes, struct vdb_qgraph **out)
{
    struct vdb_err err = {0};
    const vdb_status status = vdb_qgraph_load(&data->rows, STAMP, bytes->data, bytes->bytes, out, &err);
    assert_int_equal(status == VDB_OK, *out != NULL);
    return status;
}

static void test_bytes_come_back(void **state)
{
    (void)state;
    static const struct {
        vdb_element element;
        vdb_metric metric;
    } kinds[] = {{VDB_ELEMENT_U8, VDB_METRIC_L2}, {VDB_ELEMENT_F32, VDB_METRIC_L2}};
    for (size_t s = 0; s < SETS; s++) {
        for (unsigned form = 0; form < FORMS * 2; form++) {
            struct data data;
            struct vdb_err err = {0};
            struct vdb_buf bytes;
            struct vdb_buf again;
            struct vdb_qgraph *loaded;
            make_set(&data, sets[s].same, kinds[form / 2].element, kinds[form / 2].metric, 80 + s);
            struct vdb_qgraph *graph = build_form(&data, form % 2 == 1, NULL, NULL, 0);
            save(graph, &bytes);
            assert_int_equal(load(&data, &bytes, &loaded), VDB_OK);
            assert_int_equal(vdb_qgraph_check(loaded, &data.rows, &err), VDB_OK);
            expect_all_rows(loaded, &data, NULL, sets[s].name);
            struct vdb_qgraph_info infos[2];
            vdb_qgraph_get_info(graph, &infos[0]);
            vdb_qgraph_get_info(loaded, &infos[1]);
            assert_int_equal(infos[0].memory_bytes, infos[1].memory_bytes);
            save(loaded, &again);
            assert_int_equal(bytes.bytes, again.bytes);
            assert_memory_equal(bytes.data, again.data, bytes.bytes);
            vdb_buf_fini(&bytes);
            vdb_buf_fini(&again);
            vdb_qgraph_destroy(loaded);
            vdb_qgraph_destroy(graph);
            free(data.memory);
        }
    }
}

/* A merge of a full and a compact graph, each of which has rows that the other has, too; a tenth are gone. */
static void test_merges(void **state)
{
    (void)state;
    enum { HALF = ROWS / 2 };
    for (size_t s = 0; s < SETS; s++) {
        struct data data;
        struct vdb_bitset only;
        struct vdb_index_seeds seeds[2];
        struct data parts[2];
        static uint32_t row_of[2][HALF];
        make_set(&data, sets[s].same, VDB_ELEMENT_U8, VDB_METRIC_L2, 90 + s);
        assert_true(vdb_bitset_init(&only, ROWS));
        for (size_t p = 0; p < 2; p++) {
            parts[p] = data;
            parts[p].array = (const char *)data.memory + p * HALF * data.bytes;
            parts[p].rows = vdb_rows_of_array(&parts[p].array, HALF, DIMENSION, VDB_ELEMENT_U8, VDB_METRIC_L2);
            for (size_t row = 0; row < HALF; row++) {
                const bool gone = row % 10 == 3;
                row_of[p][row] = gone ? UINT32_MAX : (uint32_t)(p * HALF + row);
                if (!gone) {
                    vdb_bitset_set(&only, p * HALF + row);
                }
            }
            seeds[p] = (struct vdb_index_seeds){.ops = &vdb_index_qgraph,
                                                .index = build_form(&parts[p], p == 1, NULL, NULL, 0),
                                                .rows = &parts[p].rows,
                                                .row_of = row_of[p],
                                                .row_count = HALF};
        }
        for (unsigned form = 0; form < FORMS; form++) {
            struct vdb_qgraph *graph = build_form(&data, form == 1, &only, seeds, 2);
            assert_int_equal(graph->row_count, ROWS - ROWS / 10);
            expect_all_rows(graph, &data, &only, sets[s].name);
            vdb_qgraph_destroy(graph);
        }
        for (size_t p = 0; p < 2; p++) {
            vdb_qgraph_destroy((void *)(uintptr_t)seeds[p].index);
        }
        vdb_bitset_fini(&only);
        free(data.memory);
    }
}

/* Beside blocks a graph of rows that differ holds what does not grow with them, and a bit for each. */
static void test_bytes_per_vector(void **state)
{
    (void)state;
    static const struct {
        size_t dimension;
        unsigned code_bits;
        size_t block_bytes;
    } cases[] = {{128, 128, 896}, {784, 256, 2048}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct data data;
        struct vdb_qgraph_info info;
        make(&data, ROWS, cases[c].dimension, VDB_ELEMENT_U8, VDB_METRIC_L2, 20, 3);
        struct vdb_qgraph_params params = vdb_qgraph_params_default();
        params.code_bits = cases[c].code_bits;
        const struct vdb_index_settings settings = {.params = &params, .threads = 2};
        struct vdb_qgraph *graph = build(&data, &settings);
        vdb_qgraph_get_info(graph, &info);
        assert_int_equal(info.block_bytes, cases[c].block_bytes);
        const uint64_t fixed = sizeof *graph + graph->entry_count * cases[c].block_bytes +
                               (uint64_t)cases[c].code_bits * cases[c].dimension +
                               (cases[c].code_bits + cases[c].dimension) * 4;
        assert_int_equal(info.memory_bytes - fixed, ROWS * cases[c].block_bytes + (ROWS + 63) / 64 * 8);
        vdb_qgraph_destroy(graph);
        free(data.memory);
    }
}

/* ---- What does not fit ---- */

static void expect_broken(struct vdb_qgraph *graph, uint32_t *number, uint32_t value, const char *names)
{
    struct vdb_err err = {0};
    const uint32_t was = *number;
    *number = value;
    if (vdb_qgraph_check(graph, NULL, &err) != VDB_CORRUPT || strstr(err.text, names) == NULL) {
        fail_msg("%u for %u: \"%s\" does not name the %s", value, was, err.text, names);
    }
    *number = was;
}

static uint32_t *place_of(struct vdb_qgraph *graph, size_t node)
{
    return (uint32_t *)(void *)(graph->blocks + graph->compact.links_at + node * graph->compact.link_bytes);
}

static void test_check_names_what_is_broken(void **state)
{
    (void)state;
    struct vdb_err err = {0};
    struct data data;
    make_set(&data, half_twice, VDB_ELEMENT_U8, VDB_METRIC_L2, 44);
    for (unsigned form = 0; form < FORMS; form++) {
        struct vdb_qgraph *graph = build_form(&data, form == 1, NULL, NULL, 0);
        uint32_t *table = graph->rows;
        const uint32_t counts[] = {0, 1, 3, (uint32_t)graph->shared_count, UINT32_MAX};
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            expect_broken(graph, &table[6], counts[i], "row");
        }
        expect_broken(graph, &table[8], ROWS, "out of order");
        expect_broken(graph, &table[8], table[7], "out of order");
        expect_broken(graph, &table[8], table[5], "out of order"); /* of another node */
        expect_broken(graph, &table[7], table[8], "row");
        size_t node = 0; /* that has one row, and one that has two */
        size_t pair = 0;
        while (qgraph_rows_of(graph, node).row_count != 1) {
            node++;
        }
        while (qgraph_rows_of(graph, pair).row_count != 2) {
            pair++;
        }
        uint32_t *own = place_of(graph, node);
        uint32_t *shared = place_of(graph, pair);
        if (form == 0) {
            expect_broken(graph, &qgraph_head(graph, node)->row_at, 1, "row");
            expect_broken(graph, &qgraph_head(graph, node)->row_count, 0, "row");
            expect_broken(graph, &qgraph_head(graph, node)->row_count, 2, "row");
            expect_broken(graph, &qgraph_head(graph, pair)->row_at, 0, "row");
            expect_broken(graph, &qgraph_head(graph, pair)->row_at, 4, "row");
            expect_broken(graph, &qgraph_head(graph, pair)->row_at, UINT32_MAX, "row");
            expect_broken(graph, &qgraph_head(graph, pair)->row_count, 1, "row");
            expect_broken(graph, &qgraph_head(graph, pair)->row, table[2], "row");
        } else {
            expect_broken(graph, own, ROWS, "row");
            expect_broken(graph, own, QGRAPH_SHARED, "row");
            expect_broken(graph, own, UINT32_MAX, "row");
            expect_broken(graph, shared, QGRAPH_SHARED | 3, "row");
            expect_broken(graph, shared, QGRAPH_SHARED | (uint32_t)graph->shared_count, "row");
            expect_broken(graph, shared, table[1], "row");
        }
        graph->shared_count -= 3; /* what the last nodes have is gone */
        assert_int_equal(vdb_qgraph_check(graph, NULL, &err), VDB_CORRUPT);
        graph->shared_count += 3;
        assert_int_equal(vdb_qgraph_check(graph, &data.rows, &err), VDB_OK);
        vdb_qgraph_destroy(graph);
    }
    free(data.memory);
}

/* Any number of the table may be wrong with a checksum that fits: refused, or sound enough to search. */
static void test_wrong_tables_are_refused(void **state)
{
    (void)state;
    struct vdb_rng rng;
    struct data data;
    vdb_rng_init(&rng, 45);
    make_set(&data, every_twice, VDB_ELEMENT_U8, VDB_METRIC_L2, 46);
    for (unsigned form = 0; form < FORMS; form++) {
        enum { TRIES = 300 };
        struct vdb_buf bytes;
        size_t refused = 0;
        struct vdb_qgraph *graph = build_form(&data, form == 1, NULL, NULL, 0);
        save(graph, &bytes);
        const size_t behind = graph->compact.degree > 0
                                  ? graph->compact.bytes
                                  : (graph->node_count + graph->entry_count) * graph->shape.block_bytes;
        char *table = (char *)bytes.data + bytes.bytes - 4 - behind - graph->shared_count * sizeof(uint32_t);
        assert_int_equal(vdb_load_u32(table), 2);
        for (size_t i = 0; i < TRIES; i++) {
            struct vdb_qgraph *loaded;
            char *number = table + vdb_rng_below(&rng, graph->shared_count) * sizeof(uint32_t);
            const uint32_t was = vdb_load_u32(number);
            const uint32_t values[] = {0, 1, 3, ROWS, UINT32_MAX, was ^ 1, was + 7};
            vdb_store_u32(number, values[i % (sizeof values / sizeof values[0])]);
            vdb_store_u32((char *)bytes.data + bytes.bytes - 4, vdb_crc32c(0, bytes.data, bytes.bytes - 4));
            if (load(&data, &bytes, &loaded) == VDB_OK) {
                struct vdb_candidate found[K];
                (void)search(&vdb_index_qgraph, loaded, &data, data.queries, NULL, 32, K, found);
                vdb_qgraph_destroy(loaded);
            } else {
                refused++;
            }
            vdb_store_u32(number, was);
        }
        assert_true(refused > TRIES * 9 / 10);
        vdb_buf_fini(&bytes);
        vdb_qgraph_destroy(graph);
    }
    free(data.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_row_is_found),        cmocka_unit_test(test_deleted_rows),
        cmocka_unit_test(test_bytes_come_back),          cmocka_unit_test(test_merges),
        cmocka_unit_test(test_bytes_per_vector),         cmocka_unit_test(test_check_names_what_is_broken),
        cmocka_unit_test(test_wrong_tables_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
