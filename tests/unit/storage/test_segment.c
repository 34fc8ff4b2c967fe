/* test_segment.c: rows that were written are read; ids that were not are not found; limits; faults of every
 * operation; names. Ends are in test_segment_ends.c, damage in test_segment_damage.c. */
#include "support.h"

#include "segment_world.h"
#include "unit/env/alloc_fail.h"

static void check_shape(struct world *w, const struct shape *shape)
{
    struct vdb_segment_info info;
    uint64_t bytes = 0;
    assert_ok(write_segment(w, shape, &info), &w->err);
    struct vdb_segment *segment = open_segment_ok(w, shape, &info);
    assert_int_equal(vdb_segment_rows(segment), shape->rows);
    assert_memory_equal(vdb_segment_info(segment), &info, sizeof info);
    size_t element_bytes = shape->element == VDB_ELEMENT_F32 ? 4 : shape->element == VDB_ELEMENT_F16 ? 2 : 1;
    assert_int_equal(vdb_segment_stride(segment), (shape->dimension * element_bytes + 63) / 64 * 64);
    assert_int_equal(vdb_segment_element(segment), shape->element);
    assert_int_equal(vdb_segment_dimension(segment), shape->dimension);
    assert_ok(compare_segment(segment, shape, &w->err), &w->err);
    assert_ok(vdb_segment_verify(segment, &bytes, &w->err), &w->err);
    assert_int_equal(bytes, info.vectors.bytes + info.meta.bytes);
    /* In another order, by a second reader. */
    struct vdb_segment_meta reader;
    struct row row = make_scratch(shape);
    struct vdb_rng rng;
    vdb_rng_init(&rng, 3);
    vdb_segment_meta_init(&reader, segment);
    for (int i = 0; i < 300; i++) {
        uint32_t r = (uint32_t)vdb_rng_below(&rng, shape->rows);
        assert_ok(compare_row(segment, &reader, shape, r, &row, &w->err), &w->err);
    }
    vdb_segment_meta_fini(&reader);
    vdb_segment_meta_fini(&reader);
    free_scratch(&row);
    /* A second opening is a second segment; references keep one alive. */
    struct vdb_segment *again = open_segment_ok(w, shape, &info);
    vdb_segment_ref(again);
    vdb_segment_unref(segment);
    vdb_segment_unref(again);
    assert_ok(compare_segment(again, shape, &w->err), &w->err);
    vdb_segment_unref(again);
    vdb_segment_unref(NULL);
}

static void test_shapes(void **state)
{
    struct world *w = *state;
    static const uint32_t dimensions[] = {1, 2, 15, 16, 17, 100, 128, 1000};
    for (size_t d = 0; d < sizeof dimensions / sizeof dimensions[0]; d++) {
        for (int ids = IDS_NUMBERS; ids <= IDS_MIXED; ids++) {
            struct shape shape = {.rows = 1 + (uint32_t)(d * 97),
                                  .dimension = dimensions[d],
                                  .ids = (id_shape)ids,
                                  .metadata = (meta_shape)((d + (size_t)ids) % 3)};
            check_shape(w, &shape);
        }
    }
}

/* Every element, of dimensions around where a stride grows; all values of a byte, and the greatest half. */
static void test_elements(void **state)
{
    struct world *w = *state;
    static const vdb_element elements[] = {VDB_ELEMENT_F16, VDB_ELEMENT_U8, VDB_ELEMENT_I8};
    static const uint32_t dimensions[] = {1, 2, 3, 31, 32, 33, 63, 64, 65, 128, 1000};
    for (size_t e = 0; e < sizeof elements / sizeof elements[0]; e++) {
        for (size_t d = 0; d < sizeof dimensions / sizeof dimensions[0]; d++) {
            struct shape shape = {.rows = 1 + (uint32_t)(d * 97),
                                  .dimension = dimensions[d],
                                  .ids = IDS_MIXED,
                                  .metadata = META_SHORT,
                                  .element = elements[e]};
            check_shape(w, &shape);
        }
    }
}

/* A segment opened as one of another element, or of another dimension of the same stride, is refused. */
static void test_other_elements(void **state)
{
    struct world *w = *state;
    struct shape shape = {.rows = 3, .dimension = 16, .element = VDB_ELEMENT_U8};
    struct vdb_segment_info info;
    struct vdb_segment *segment;
    assert_ok(write_segment(w, &shape, &info), &w->err);
    shape.element = VDB_ELEMENT_I8;
    assert_fails(open_segment(w, &shape, &info, &segment), VDB_CORRUPT, &w->err, "the element is 1, expected 2");
    shape.element = VDB_ELEMENT_F32;
    assert_fails(open_segment(w, &shape, &info, &segment), VDB_CORRUPT, &w->err, "the element is 1, expected 0");
    shape.element = VDB_ELEMENT_U8;
    shape.dimension = 17;
    assert_fails(open_segment(w, &shape, &info, &segment), VDB_CORRUPT, &w->err,
                 "the dimension is 16, expected 17");
}

/* One row up to past a growth of the hash table and of the writer's arrays. */
static void test_row_counts(void **state)
{
    struct world *w = *state;
    for (uint32_t rows = 1; rows <= 1100; rows += rows < 20 ? 1 : rows < 1020 ? 250 : 1) {
        struct shape shape = {.rows = rows, .dimension = 3, .ids = IDS_MIXED, .metadata = META_SHORT};
        check_shape(w, &shape);
    }
}

static void test_huge_metadata(void **state)
{
    struct shape shape = {.rows = 7, .dimension = 4, .ids = IDS_NUMBERS, .metadata = META_HUGE};
    check_shape(*state, &shape);
}

static void test_hundred_thousand_rows(void **state)
{
    struct shape shape = {.rows = 100000, .dimension = 24, .ids = IDS_MIXED, .metadata = META_SHORT};
    check_shape(*state, &shape);
}

/* Empty metadata costs next to nothing, and neither do numbers as ids beyond their 8 bytes. */
static void test_empty_metadata_is_cheap(void **state)
{
    struct world *w = *state;
    struct vdb_segment_info info;
    struct shape shape = {.rows = 100000, .dimension = 1, .ids = IDS_NUMBERS, .metadata = META_EMPTY};
    assert_ok(write_segment(w, &shape, &info), &w->err);
    /* ids 8, seq 8, hash 4 * 262144 / 100000; the rest is metadata and alignment. */
    assert_in_range(info.meta.bytes, 0, 16 * 100000 + 4 * 262144 + 40000 + 9 * 4096);
}

static void test_ids_that_are_not_there(void **state)
{
    struct world *w = *state;
    struct vdb_segment_info info;
    struct shape shape = {.rows = 2000, .dimension = 2, .ids = IDS_MIXED, .metadata = META_EMPTY};
    assert_ok(write_segment(w, &shape, &info), &w->err);
    struct vdb_segment *segment = open_segment_ok(w, &shape, &info);
    struct vdb_rng rng;
    uint32_t row;
    vdb_rng_init(&rng, 4);
    for (int i = 0; i < 20000; i++) {
        char text[32];
        uint64_t number = vdb_rng_u64(&rng) | 1;
        struct vdb_id id = {.number = number == UINT64_MAX ? 3 : number};
        if (i % 2 != 0) {
            id = (struct vdb_id){.text = text, .text_bytes = (uint32_t)snprintf(text, sizeof text, "no-%d", i)};
        }
        if (i % 2 != 0 || number % 1000003 != 0) {
            assert_ok(vdb_segment_find(segment, &id, &row, &w->err), &w->err);
            assert_int_equal(row, VDB_SLOT_NONE);
        }
    }
    /* The number that is a text's bytes is another id; so is a text's beginning. */
    uint64_t number = UINT64_MAX;
    struct vdb_id bytes_of_number = {.text = (const char *)&number, .text_bytes = 8};
    assert_ok(vdb_segment_find(segment, &bytes_of_number, &row, &w->err), &w->err);
    assert_int_equal(row, VDB_SLOT_NONE);
    struct vdb_id beginning = {.text = "xxxxxxxxxx", .text_bytes = 10};
    assert_ok(vdb_segment_find(segment, &beginning, &row, &w->err), &w->err);
    assert_int_equal(row, VDB_SLOT_NONE);
    vdb_segment_unref(segment);
}

/* What the writer refuses; the files of what was not finished go. */
static void test_refused_rows(void **state)
{
    struct world *w = *state;
    struct shape shape = {.rows = 1, .dimension = 2};
    struct vdb_schema schema = schema_of(&shape);
    const float vector[2] = {1, 2};
    char *long_text = malloc(META_BYTES_MAX + 1);
    assert_non_null(long_text);
    memset(long_text, ' ', META_BYTES_MAX + 1);
    for (int which = 0; which < 5; which++) {
        struct vdb_segment_writer *writer;
        struct vdb_segment_info info;
        struct vdb_id id = {.number = 1};
        struct vdb_str metadata = vdb_str_of("{}");
        assert_ok(vdb_segment_writer_create(w->env, w->root, uuid, SEGMENT_NUMBER, &schema, &writer, &w->err),
                  &w->err);
        switch (which) {
        case 0:
            assert_fails(vdb_segment_writer_finish(writer, &info, &w->err), VDB_INVALID, &w->err,
                         "at least one row");
            break;
        case 1:
            metadata = (struct vdb_str){long_text, META_BYTES_MAX + 1};
            assert_fails(vdb_segment_writer_add(writer, &id, 1, vector, metadata, &w->err), VDB_LIMIT, &w->err,
                         "1048577 bytes, at most 1048576");
            metadata.bytes--;
            assert_ok(vdb_segment_writer_add(writer, &id, 1, vector, metadata, &w->err), &w->err);
            break;
        case 2:
        case 3:
            id = (struct vdb_id){.text = long_text, .text_bytes = which == 2 ? 0 : 256};
            assert_fails(vdb_segment_writer_add(writer, &id, 1, vector, metadata, &w->err), VDB_INVALID, &w->err,
                         "1 to 255");
            break;
        default:
            for (uint64_t i = 0; i < 50; i++) {
                id.number = i % 49;
                assert_ok(vdb_segment_writer_add(writer, &id, 1, vector, metadata, &w->err), &w->err);
            }
            assert_fails(vdb_segment_writer_finish(writer, &info, &w->err), VDB_INVALID, &w->err,
                         "rows 0 and 49 of a segment have the same id");
        }
        assert_int_equal(kind_at(w, segment_file(VDB_BLOCK_FILE_META, 0)), 'f');
        vdb_segment_writer_destroy(writer);
        assert_int_equal(kind_at(w, segment_file(VDB_BLOCK_FILE_META, 0)), '-');
        assert_int_equal(kind_at(w, segment_file(VDB_BLOCK_FILE_VECTORS, 0)), '-');
    }
    vdb_segment_writer_destroy(NULL);
    free(long_text);
}

/* Operation n fails, once or from then on: the error comes through, and nothing stays but what could not be removed. */
static void test_every_fault_while_writing(void **state)
{
    struct world *w = *state;
    struct shape shape = {.rows = 3000, .dimension = 200, .ids = IDS_MIXED, .metadata = META_VARIED};
    struct vdb_segment_info info;
    uint64_t n = 1;
    for (;; n++) {
        bool forever = n % 3 == 0;
        vdb_status injected = n % 2 ? VDB_NO_SPACE : VDB_IO;
        vdb_env_memory_fail_at(w->env, n, injected, forever, n);
        vdb_status status = write_segment(w, &shape, &info);
        vdb_env_memory_fail_at(w->env, 0, VDB_IO, false, 0);
        if (status == VDB_OK) {
            break;
        }
        assert_int_equal(status, injected);
        assert_true(w->err.text[0] != '\0');
        if (!forever) {
            assert_int_equal(kind_at(w, segment_file(VDB_BLOCK_FILE_META, 0)), '-');
            assert_int_equal(kind_at(w, segment_file(VDB_BLOCK_FILE_VECTORS, 0)), '-');
        }
    }
    assert_in_range(n, 13, 40); /* entropy, 2 creates, some writes, 2 tables, 2 syncs, 2 folders */
    struct vdb_segment *segment = open_segment_ok(w, &shape, &info);
    assert_ok(compare_segment(segment, &shape, &w->err), &w->err);
    vdb_segment_unref(segment);
}

static void test_every_fault_while_reading(void **state)
{
    struct world *w = *state;
    struct shape shape = {.rows = 1000, .dimension = 100, .ids = IDS_MIXED, .metadata = META_VARIED};
    struct vdb_segment_info info;
    assert_ok(write_segment(w, &shape, &info), &w->err);
    for (uint64_t n = 1;; n++) {
        struct vdb_segment *segment;
        uint64_t bytes = 0;
        vdb_env_memory_fail_at(w->env, n, VDB_IO, false, n);
        vdb_status status = open_segment(w, &shape, &info, &segment);
        if (status == VDB_OK) {
            status = compare_segment(segment, &shape, &w->err);
            if (status == VDB_OK) {
                status = vdb_segment_verify(segment, &bytes, &w->err);
            }
            vdb_env_memory_fail_at(w->env, 0, VDB_IO, false, 0);
            if (status != VDB_OK) { /* once it can be read again, all is well */
                assert_ok(compare_segment(segment, &shape, &w->err), &w->err);
            }
        }
        vdb_segment_unref(segment);
        if (status == VDB_OK) {
            assert_true(n > 20);
            break;
        }
        assert_int_equal(status, VDB_IO);
        assert_non_null(strstr(w->err.text, "000012.bin"));
    }
}

/* The n-th allocation fails, for every n: the status says so, nothing leaks or stays (the address sanitizer looks on in
 * the other tests; here the C library's allocator is needed). */
static void test_every_failed_allocation(void **state)
{
    struct world *w = *state;
    struct shape shape = {.rows = 1500, .dimension = 3, .ids = IDS_MIXED, .metadata = META_SHORT};
    struct vdb_schema schema = schema_of(&shape);
    struct vdb_segment_info info = {0};
    struct row row = make_scratch(&shape);
    if (!alloc_fail_works()) {
        free_scratch(&row);
        skip();
    }
    for (uint64_t n = 1;; n++) {
        struct vdb_segment_writer *writer = NULL;
        struct vdb_segment *segment = NULL;
        struct vdb_segment_meta reader;
        struct vdb_str metadata;
        uint64_t read = 0;
        struct vdb_segment_info saved = info;
        alloc_fail_arm(n, n % 2 == 0);
        vdb_status status = vdb_segment_writer_create(w->env, w->root, uuid, SEGMENT_NUMBER, &schema, &writer,
                                                      &w->err);
        for (uint32_t i = 0; i < shape.rows && status == VDB_OK; i++) {
            make_row(&shape, i, &row);
            status = vdb_segment_writer_add(writer, &row.id, row.seq, row.vector,
                                            (struct vdb_str){row.metadata, row.metadata_bytes}, &w->err);
        }
        status = status == VDB_OK ? vdb_segment_writer_finish(writer, &info, &w->err) : status;
        vdb_segment_writer_destroy(writer);
        if (status == VDB_OK) {
            status = vdb_segment_open(w->env, w->root, uuid, &schema, &info, &segment, &w->err);
        }
        if (status == VDB_OK) {
            vdb_segment_end(segment, 7, 2000);
            saved = info;
            status = vdb_segment_save_dead(segment, 2000, 1, &saved, &w->err);
            vdb_segment_meta_init(&reader, segment);
            status = status == VDB_OK ? vdb_segment_meta_read(&reader, 1, &metadata, &w->err) : status;
            status = status == VDB_OK ? vdb_segment_verify(segment, &read, &w->err) : status;
            vdb_segment_meta_fini(&reader);
        }
        vdb_segment_unref(segment);
        if (status == VDB_OK) {
            status = vdb_segment_open(w->env, w->root, uuid, &schema, &saved, &segment, &w->err);
            vdb_segment_unref(segment);
        }
        uint64_t made = alloc_fail_disarm();
        if (made < n) {
            assert_ok(status, &w->err);
            assert_true(n > 40);
            break;
        }
        assert_int_equal(status, VDB_NO_MEMORY);
        assert_non_null(strstr(w->err.text, "out of memory"));
    }
    free_scratch(&row);
}

/* Finished is durable, names too. */
static void test_power_cut_after_finish(void **state)
{
    struct world *w = *state;
    struct shape shape = {.rows = 500, .dimension = 10, .ids = IDS_MIXED, .metadata = META_VARIED};
    struct vdb_segment_info info;
    assert_ok(write_segment(w, &shape, &info), &w->err);
    vdb_env_memory_crash(w->env, 0);
    struct vdb_segment *segment = open_segment_ok(w, &shape, &info);
    assert_ok(compare_segment(segment, &shape, &w->err), &w->err);
    /* Files that were unlinked stay readable while the segment is open. */
    assert_ok(w->env->ops->unlink(w->env, at(w, segment_file(VDB_BLOCK_FILE_META, 0)), &w->err), &w->err);
    assert_ok(w->env->ops->unlink(w->env, at(w, segment_file(VDB_BLOCK_FILE_VECTORS, 0)), &w->err), &w->err);
    assert_ok(compare_segment(segment, &shape, &w->err), &w->err);
    vdb_segment_unref(segment);
    assert_fails(open_segment(w, &shape, &info, &segment), VDB_CORRUPT, &w->err, "vectors_000012.bin");
}

static void test_names(void **state)
{
    (void)state;
    char name[VDB_SEGMENT_NAME_BYTES];
    vdb_block_file_kind kind;
    uint32_t number;
    uint32_t edition;
    vdb_segment_file_name(name, VDB_BLOCK_FILE_VECTORS, 12, 0);
    assert_string_equal(name, "vectors/vectors_000012.bin");
    vdb_segment_file_name(name, VDB_BLOCK_FILE_META, UINT32_MAX, 0);
    assert_string_equal(name, "meta/meta_4294967295.bin");
    vdb_segment_file_name(name, VDB_BLOCK_FILE_DEAD, UINT32_MAX, UINT32_MAX);
    assert_string_equal(name, "meta/dead_4294967295_4294967295.bin");
    static const uint32_t numbers[] = {0, 1, 12, 999999, 1000000, UINT32_MAX};
    for (int k = VDB_BLOCK_FILE_VECTORS; k <= VDB_BLOCK_FILE_DEAD; k++) {
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
            uint32_t e = k == VDB_BLOCK_FILE_DEAD ? (uint32_t)i + 1 : 0;
            vdb_segment_file_name(name, (vdb_block_file_kind)k, numbers[i], e);
            assert_true(vdb_segment_parse_name(strchr(name, '/') + 1, &kind, &number, &edition));
            assert_int_equal(kind, k);
            assert_int_equal(number, numbers[i]);
            assert_int_equal(edition, e);
        }
    }
    static const char *const others[] = {
        "",
        "meta",
        "meta_",
        "meta_.bin",
        "meta_00001.bin",
        "meta_0000012.bin",
        "meta_000012",
        "meta_000012.bin.tmp",
        "meta_000012.bin ",
        " meta_000012.bin",
        "meta_-00012.bin",
        "meta_4294967296.bin",
        "metb_000012.bin",
        "meta_99999999999999999999999.bin",
        "meta_000012_000001.bin",
        "dead_000012.bin",
        "dead_000012_000000.bin",
        "dead_000012_00001.bin",
        "dead_000012_000001",
        "dead_000012_000001_000001.bin",
        "vectors_000012.BIN",
        "vectors/vectors_000012.bin",
        "meta__00012.bin",
        "dead_000012000001.bin",
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (vdb_segment_parse_name(others[i], &kind, &number, &edition)) {
            fail_msg("\"%s\" is taken for a segment's file", others[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEGMENT_ON_MEMORY(test_shapes),
        SEGMENT_ON_POSIX(test_elements),
        SEGMENT_ON_MEMORY(test_other_elements),
        SEGMENT_ON_MEMORY(test_row_counts),
        SEGMENT_ON_MEMORY(test_huge_metadata),
        SEGMENT_ON_POSIX(test_huge_metadata),
        SEGMENT_ON_POSIX(test_hundred_thousand_rows),
        SEGMENT_ON_MEMORY(test_empty_metadata_is_cheap),
        SEGMENT_ON_MEMORY(test_ids_that_are_not_there),
        SEGMENT_ON_MEMORY(test_refused_rows),
        SEGMENT_ON_MEMORY(test_every_fault_while_writing),
        SEGMENT_ON_MEMORY(test_every_fault_while_reading),
        SEGMENT_ON_POSIX(test_every_failed_allocation),
        SEGMENT_ON_MEMORY(test_power_cut_after_finish),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
