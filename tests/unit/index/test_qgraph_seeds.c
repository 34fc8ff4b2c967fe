/* test_qgraph_seeds.c: builds that take neighbours from graphs over parts of their rows. */
#include "qgraph_support.h"

/* Rows of `data` in parts, part by part as a merge writes them, without those that are gone. */
struct merge {
    struct data old;
    struct data merged;
    struct vdb_index_seeds seeds[8];
    struct data parts[8];
    uint32_t *row_of[8];
    size_t count;
};

enum { FRESH = 100 };

/* The part of a row, FRESH for one that no graph knows; *gone: it is not in the merge. */
typedef int part_fn(size_t row, bool *gone);

static void merge_make(struct merge *merge, size_t rows, size_t dimension, vdb_element element, vdb_metric metric,
                       size_t parts, part_fn *part_of, const struct vdb_qgraph_params *params)
{
    memset(merge, 0, sizeof *merge);
    merge->count = parts;
    make(&merge->old, rows, dimension, element, metric, 20, 77 + rows);
    const size_t bytes = merge->old.bytes;
    char *memory = calloc(rows + QUERIES, bytes);
    assert_non_null(memory);
    size_t written = 0;
    for (size_t p = 0; p <= parts; p++) {
        const int wanted = p < parts ? (int)p : FRESH;
        struct data *part = &merge->parts[p];
        char *own = calloc(rows + 1, bytes);
        uint32_t *row_of = calloc(rows + 1, sizeof *row_of);
        assert_true(own != NULL && row_of != NULL);
        size_t count = 0;
        for (size_t row = 0; row < rows; row++) {
            bool gone = false;
            if (part_of(row, &gone) != wanted) {
                continue;
            }
            const char *vector = (const char *)merge->old.memory + row * bytes;
            memcpy(own + count * bytes, vector, bytes);
            row_of[count] = gone ? UINT32_MAX : (uint32_t)written;
            if (!gone) {
                memcpy(memory + written++ * bytes, vector, bytes);
            }
            count++;
        }
        part->memory = own;
        part->array = own;
        part->bytes = bytes;
        part->rows = vdb_rows_of_array(&part->array, count, dimension, element, metric);
        merge->row_of[p] = row_of;
        if (p < parts) {
            const struct vdb_index_settings settings = {.params = params, .threads = 1};
            merge->seeds[p] = (struct vdb_index_seeds){.ops = &vdb_index_qgraph,
                                                       .index = build(part, &settings),
                                                       .rows = &part->rows,
                                                       .row_of = row_of,
                                                       .row_count = count};
        }
    }
    memcpy(memory + written * bytes, merge->old.queries, QUERIES * bytes);
    merge->merged.memory = memory;
    merge->merged.array = memory;
    merge->merged.bytes = bytes;
    merge->merged.queries = memory + written * bytes;
    merge->merged.rows = vdb_rows_of_array(&merge->merged.array, written, dimension, element, metric);
}

static void merge_free(struct merge *merge)
{
    for (size_t p = 0; p <= merge->count; p++) {
        if (p < merge->count) {
            vdb_qgraph_destroy((void *)(uintptr_t)merge->seeds[p].index);
        }
        free(merge->row_of[p]);
        free(merge->parts[p].memory);
    }
    free(merge->merged.memory);
    free(merge->old.memory);
}

static uint32_t scatter(size_t row)
{
    return (uint32_t)(row * 2654435761u) >> 16;
}

static int third_gone(size_t row, bool *gone)
{
    *gone = scatter(row) % 3 == 0;
    return 0;
}

static int nearly_all_gone(size_t row, bool *gone)
{
    *gone = scatter(row) % 10 != 0;
    return 0;
}

static int all_gone(size_t row, bool *gone)
{
    (void)row;
    *gone = true;
    return 0;
}

static int four_equal(size_t row, bool *gone)
{
    (void)gone;
    return (int)(scatter(row) % 4);
}

static int one_large(size_t row, bool *gone)
{
    const uint32_t x = scatter(row) % 10;
    *gone = scatter(row + 1) % 9 == 0;
    return x < 7 ? 0 : (int)x - 6;
}

static int half_fresh(size_t row, bool *gone)
{
    (void)gone;
    return scatter(row) % 2 == 0 ? 0 : FRESH;
}

static int nearly_all_fresh(size_t row, bool *gone)
{
    (void)gone;
    return scatter(row) % 20 == 0 ? 0 : FRESH;
}

static void test_recall_is_that_of_a_build_from_nothing(void **state)
{
    (void)state;
    static const struct {
        part_fn *part_of;
        size_t parts;
        size_t dimension;
        vdb_element element;
        vdb_metric metric;
    } cases[] = {
        {third_gone, 1, 32, VDB_ELEMENT_U8, VDB_METRIC_L2},
        {third_gone, 1, 48, VDB_ELEMENT_F32, VDB_METRIC_COSINE},
        {nearly_all_gone, 1, 32, VDB_ELEMENT_U8, VDB_METRIC_L2},
        {four_equal, 4, 32, VDB_ELEMENT_U8, VDB_METRIC_L2},
        {four_equal, 4, 64, VDB_ELEMENT_F32, VDB_METRIC_DOT},
        {one_large, 4, 40, VDB_ELEMENT_I8, VDB_METRIC_L2},
        {half_fresh, 1, 32, VDB_ELEMENT_U8, VDB_METRIC_L2},
        {nearly_all_fresh, 1, 32, VDB_ELEMENT_F32, VDB_METRIC_L2},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct merge merge;
        merge_make(&merge, 1500, cases[c].dimension, cases[c].element, cases[c].metric, cases[c].parts,
                   cases[c].part_of, NULL);
        struct vdb_index_settings settings = {.threads = 2};
        struct vdb_qgraph *plain = build(&merge.merged, &settings);
        settings.seeds = merge.seeds;
        settings.seed_count = merge.count;
        struct vdb_qgraph *seeded = build(&merge.merged, &settings);
        for (size_t ef = 16; ef <= 64; ef *= 2) {
            const double wanted = recall_of(plain, &merge.merged, NULL, ef);
            const double recall = recall_of(seeded, &merge.merged, NULL, ef);
            if (recall < wanted - 0.015) { /* of 600 answers: less is noise */
                fail_msg("case %zu, ef %zu: recall %.4f, and %.4f without seeds", c, ef, recall, wanted);
            }
        }
        vdb_qgraph_destroy(plain);
        vdb_qgraph_destroy(seeded);
        merge_free(&merge);
    }
}

static void test_threads_do_not_show(void **state)
{
    (void)state;
    struct merge merge;
    merge_make(&merge, 3000, 24, VDB_ELEMENT_U8, VDB_METRIC_L2, 4, one_large, NULL);
    struct vdb_buf bytes[2];
    for (unsigned i = 0; i < 2; i++) {
        const struct vdb_index_settings settings = {
            .threads = i == 0 ? 1 : 3, .seeds = merge.seeds, .seed_count = merge.count};
        struct vdb_qgraph *graph = build(&merge.merged, &settings);
        save(graph, &bytes[i]);
        vdb_qgraph_destroy(graph);
    }
    assert_int_equal(bytes[0].bytes, bytes[1].bytes);
    assert_memory_equal(bytes[0].data, bytes[1].data, bytes[0].bytes);
    vdb_buf_fini(&bytes[0]);
    vdb_buf_fini(&bytes[1]);
    merge_free(&merge);
}

/* Merged again and again, a tenth gone each time: nothing wears off. */
static void test_many_generations(void **state)
{
    (void)state;
    enum { START = 3000, DIMENSION = 32, GENERATIONS = 7 };
    struct data data;
    make(&data, START, DIMENSION, VDB_ELEMENT_U8, VDB_METRIC_L2, 30, 9);
    struct vdb_qgraph *graph = build(&data, NULL);
    struct vdb_rng rng;
    vdb_rng_init(&rng, 10);
    uint32_t *row_of = calloc(START, sizeof *row_of);
    assert_non_null(row_of);
    for (size_t g = 0; g < GENERATIONS; g++) {
        struct data next = data;
        char *memory = calloc(data.rows.count + QUERIES, data.bytes);
        assert_non_null(memory);
        size_t kept = 0;
        for (size_t row = 0; row < data.rows.count; row++) {
            row_of[row] = UINT32_MAX;
            if (vdb_rng_below(&rng, 10) != 0) {
                memcpy(memory + kept * data.bytes, (char *)data.memory + row * data.bytes, data.bytes);
                row_of[row] = (uint32_t)kept++;
            }
        }
        memcpy(memory + kept * data.bytes, data.queries, QUERIES * data.bytes);
        next.memory = memory;
        next.array = memory;
        next.queries = memory + kept * data.bytes;
        next.rows = vdb_rows_of_array(&next.array, kept, DIMENSION, VDB_ELEMENT_U8, VDB_METRIC_L2);
        const struct vdb_index_seeds seed = {&vdb_index_qgraph, graph, &data.rows, row_of, data.rows.count};
        const struct vdb_index_settings settings = {.threads = 1, .seeds = &seed, .seed_count = 1};
        struct vdb_qgraph *later = build(&next, &settings);
        vdb_qgraph_destroy(graph);
        free(data.memory);
        graph = later;
        data = next;
        data.rows.chunks = &data.array;
    }
    struct vdb_qgraph *plain = build(&data, NULL);
    const double wanted = recall_of(plain, &data, NULL, 32);
    const double recall = recall_of(graph, &data, NULL, 32);
    if (recall < wanted - 0.015) {
        fail_msg("recall %.4f after %u generations, and %.4f without", recall, GENERATIONS, wanted);
    }
    vdb_qgraph_destroy(plain);
    vdb_qgraph_destroy(graph);
    free(row_of);
    free(data.memory);
}

/* A loaded graph seeds as the built one does. */
static void test_loaded_seeds(void **state)
{
    (void)state;
    struct merge merge;
    merge_make(&merge, 1500, 24, VDB_ELEMENT_U8, VDB_METRIC_L2, 1, third_gone, NULL);
    struct vdb_buf seed_bytes;
    struct vdb_buf bytes[2];
    struct vdb_err err = {0};
    struct vdb_qgraph *loaded = NULL;
    save(merge.seeds[0].index, &seed_bytes);
    assert_int_equal(
        vdb_qgraph_load(&merge.parts[0].rows, STAMP, seed_bytes.data, seed_bytes.bytes, &loaded, &err), VDB_OK);
    for (unsigned i = 0; i < 2; i++) {
        struct vdb_index_seeds seed = merge.seeds[0];
        seed.index = i == 0 ? seed.index : loaded;
        seed.rows = i == 0 ? seed.rows : NULL;
        const struct vdb_index_settings settings = {.threads = 1, .seeds = &seed, .seed_count = 1};
        struct vdb_qgraph *graph = build(&merge.merged, &settings);
        save(graph, &bytes[i]);
        vdb_qgraph_destroy(graph);
    }
    assert_int_equal(bytes[0].bytes, bytes[1].bytes);
    assert_memory_equal(bytes[0].data, bytes[1].data, bytes[0].bytes);
    vdb_qgraph_destroy(loaded);
    vdb_buf_fini(&seed_bytes);
    vdb_buf_fini(&bytes[0]);
    vdb_buf_fini(&bytes[1]);
    merge_free(&merge);
}

static void test_seeds_of_every_sort(void **state)
{
    (void)state;
    struct merge merge;
    struct vdb_err err = {0};
    merge_make(&merge, 2000, 16, VDB_ELEMENT_U8, VDB_METRIC_L2, 1, third_gone, NULL);
    struct vdb_qgraph *plain = build(&merge.merged, NULL);
    struct vdb_buf wanted;
    save(plain, &wanted);
    vdb_qgraph_destroy(plain);

    /* Of other kinds, or none: as if there were no seeds. */
    struct vdb_index_seeds strange[] = {{&vdb_index_flat, NULL, NULL, merge.row_of[0], merge.seeds[0].row_count},
                                        {&vdb_index_qgraph, NULL, NULL, NULL, 0}};
    struct vdb_index_settings settings = {.threads = 2, .seeds = strange, .seed_count = 2};
    struct vdb_qgraph *graph = build(&merge.merged, &settings);
    struct vdb_buf bytes;
    save(graph, &bytes);
    assert_int_equal(bytes.bytes, wanted.bytes);
    assert_memory_equal(bytes.data, wanted.data, wanted.bytes);
    vdb_buf_fini(&bytes);
    vdb_buf_fini(&wanted);
    vdb_qgraph_destroy(graph);

    /* No row of the seed's is known: its nodes count as gone. */
    struct vdb_index_seeds seed = merge.seeds[0];
    seed.row_count = 0;
    settings = (struct vdb_index_settings){.threads = 1, .seeds = &seed, .seed_count = 1};
    graph = build(&merge.merged, &settings);
    assert_true(recall_of(graph, &merge.merged, NULL, 64) >= 0.95);
    vdb_qgraph_destroy(graph);

    /* The same graph twice, and rows that say the same: still one list each. */
    const struct vdb_index_seeds twice[] = {merge.seeds[0], merge.seeds[0]};
    settings = (struct vdb_index_settings){.threads = 1, .seeds = twice, .seed_count = 2};
    graph = build(&merge.merged, &settings);
    assert_true(recall_of(graph, &merge.merged, NULL, 64) >= 0.95);
    vdb_qgraph_destroy(graph);

    /* Rows that the build leaves out. */
    struct vdb_bitset only;
    assert_true(vdb_bitset_init(&only, merge.merged.rows.count));
    for (size_t row = 0; row < merge.merged.rows.count; row += 2) {
        vdb_bitset_set(&only, row);
    }
    settings = (struct vdb_index_settings){.threads = 1, .seeds = merge.seeds, .seed_count = 1, .only = &only};
    graph = build(&merge.merged, &settings);
    struct vdb_candidate found[K];
    for (size_t q = 0; q < QUERIES; q++) {
        const size_t count = search(&vdb_index_qgraph, graph, &merge.merged,
                                    merge.merged.queries + q * merge.merged.bytes, NULL, 64, K, found);
        assert_int_equal(count, K);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(found[i].row % 2, 0);
        }
    }
    vdb_qgraph_destroy(graph);
    vdb_bitset_fini(&only);

    /* A row beyond the end. */
    merge.row_of[0][merge.seeds[0].row_count - 1] = (uint32_t)merge.merged.rows.count;
    settings = (struct vdb_index_settings){.threads = 1, .seeds = merge.seeds, .seed_count = 1};
    assert_int_equal(vdb_qgraph_build(&merge.merged.rows, &settings, &graph, &err), VDB_INVALID);
    assert_null(graph);
    assert_non_null(strstr(err.text, "seeds"));
    merge_free(&merge);
}

static void test_nothing_is_left(void **state)
{
    (void)state;
    struct merge merge;
    merge_make(&merge, 300, 16, VDB_ELEMENT_U8, VDB_METRIC_L2, 1, all_gone, NULL);
    const struct vdb_index_settings settings = {.threads = 1, .seeds = merge.seeds, .seed_count = 1};
    struct vdb_qgraph *graph = build(&merge.merged, &settings);
    assert_true(recall_of(graph, &merge.merged, NULL, 64) >= 1);
    vdb_qgraph_destroy(graph);
    merge_free(&merge);
}

/* Equal rows in several parts are one node, with the neighbours that one of them had. */
static void test_equal_rows_in_several_parts(void **state)
{
    (void)state;
    struct data data;
    make(&data, 2000, 24, VDB_ELEMENT_U8, VDB_METRIC_L2, 10, 21);
    memcpy((char *)data.memory + 1000 * data.bytes, data.memory, 1000 * data.bytes);
    struct data half = data;
    half.rows.chunks = &half.array;
    half.rows.count = 1000;
    struct vdb_qgraph *graph = build(&half, NULL);
    uint32_t row_of[2][1000];
    for (uint32_t row = 0; row < 1000; row++) {
        row_of[0][row] = row;
        row_of[1][row] = row + 1000;
    }
    const struct vdb_index_seeds seeds[] = {{&vdb_index_qgraph, graph, &half.rows, row_of[0], 1000},
                                            {&vdb_index_qgraph, graph, &half.rows, row_of[1], 1000}};
    const struct vdb_index_settings settings = {.threads = 1, .seeds = seeds, .seed_count = 2};
    struct vdb_qgraph *merged = build(&data, &settings);
    struct vdb_qgraph_info info;
    vdb_qgraph_get_info(merged, &info);
    assert_int_equal(info.row_count, 2000);
    assert_true(info.node_count <= 1000);
    assert_true(recall_of(merged, &data, NULL, 64) >= 0.95);
    vdb_qgraph_destroy(merged);
    vdb_qgraph_destroy(graph);
    free(data.memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recall_is_that_of_a_build_from_nothing),
        cmocka_unit_test(test_threads_do_not_show),
        cmocka_unit_test(test_many_generations),
        cmocka_unit_test(test_loaded_seeds),
        cmocka_unit_test(test_seeds_of_every_sort),
        cmocka_unit_test(test_nothing_is_left),
        cmocka_unit_test(test_equal_rows_in_several_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
