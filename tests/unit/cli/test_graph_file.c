/* test_graph_file.c: index files: what was written comes back, any changed byte and any missing one is refused, and so
 * is every other dataset. And the list of --ef. */
#include "support.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "cli/graph.h"
#include "env/env.h"

enum { ROWS = 40, DIMENSION = 4, HEAD_FIXED = 64, FILE_BYTES_MAX = 1 << 20 };

struct world {
    uint8_t vectors[ROWS * DIMENSION];
    const void *array;
    struct vdb_rows rows;
    struct vdb_graph_file head;
    char path[64];
    uint8_t *bytes;
    size_t count;
};

static void set_up(struct world *world)
{
    struct vdb_err err = {0};
    struct vdb_hnsw *hnsw;
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof world->vectors; i++) {
        world->vectors[i] = (uint8_t)(i * 37 + i / 7);
    }
    world->array = world->vectors;
    world->rows = vdb_rows_of_array(&world->array, ROWS, DIMENSION, VDB_ELEMENT_U8, VDB_METRIC_L2);
    struct vdb_vectors vectors = {
        .data = world->vectors, .count = ROWS, .dimension = DIMENSION, .type = VDB_VECTORS_U8};
    world->head = (struct vdb_graph_file){.stamp = vdb_graph_input_stamp(&vectors),
                                          .rows = ROWS,
                                          .dimension = DIMENSION,
                                          .element = VDB_ELEMENT_U8,
                                          .metric = VDB_METRIC_L2};
    snprintf(world->path, sizeof world->path, "test_graph_file_%ld.idx", (long)getpid());
    assert_ok(vdb_hnsw_create(NULL, &world->rows, ROWS, &hnsw, &err), &err);
    assert_ok(vdb_hnsw_build(hnsw, &world->rows, NULL, &err), &err);
    assert_ok(vdb_graph_file_may_write(world->path, &err), &err);
    assert_ok(vdb_graph_file_save(world->path, &vdb_graph_kind_hnsw, "some/base.npy", &world->head, hnsw,
                                  &world->rows, &bytes, &err),
              &err);
    vdb_hnsw_destroy(hnsw);
    assert_ok(vdb_env_read_file(vdb_env_posix(), world->path, FILE_BYTES_MAX, &world->bytes, &world->count, &err),
              &err);
    assert_int_equal(bytes, world->count);
}

static void tear_down(struct world *world)
{
    assert_int_equal(unlink(world->path), 0);
    free(world->bytes);
}

static vdb_status parse(const void *data, size_t bytes, struct vdb_graph_file *head, struct vdb_err *err)
{
    const uint8_t *payload;
    size_t payload_bytes;
    vdb_status status = vdb_graph_file_parse(data, bytes, head, &payload, &payload_bytes, err);
    if (status == VDB_OK) {
        assert_true(payload >= (const uint8_t *)data && payload + payload_bytes == (const uint8_t *)data + bytes);
    }
    return status;
}

static void test_what_was_written_comes_back(void **state)
{
    (void)state;
    struct world world;
    struct vdb_graph_file head;
    struct vdb_err err = {0};
    const uint8_t *payload;
    size_t payload_bytes;
    void *index;
    set_up(&world);
    assert_ok(vdb_graph_file_parse(world.bytes, world.count, &head, &payload, &payload_bytes, &err), &err);
    assert_string_equal(head.kind, "hnsw");
    assert_int_equal(head.dataset[0], '/'); /* to be found from anywhere */
    assert_non_null(strstr(head.dataset, "/some/base.npy"));
    assert_int_equal(head.stamp, world.head.stamp);
    assert_int_equal(head.rows, ROWS);
    assert_int_equal(head.dimension, DIMENSION);
    assert_int_equal(head.element, VDB_ELEMENT_U8);
    assert_int_equal(head.metric, VDB_METRIC_L2);
    assert_ok(vdb_index_hnsw.load(&world.rows, head.stamp, payload, payload_bytes, &index, &err), &err);
    vdb_index_hnsw.destroy(index);
    tear_down(&world);
}

static void test_a_changed_byte_is_refused(void **state)
{
    (void)state;
    struct world world;
    struct vdb_graph_file head;
    set_up(&world);
    for (size_t i = 0; i < world.count; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            struct vdb_err err = {0};
            world.bytes[i] ^= (uint8_t)(1u << bit);
            vdb_status status = parse(world.bytes, world.count, &head, &err);
            world.bytes[i] ^= (uint8_t)(1u << bit);
            if (status != (i < 8 ? VDB_INVALID : i < 12 ? VDB_VERSION : VDB_CORRUPT)) {
                fail_msg("byte %zu, bit %u: %s: %s", i, bit, vdb_status_name(status), err.text);
            }
        }
    }
    tear_down(&world);
}

static void test_a_cut_file_is_refused(void **state)
{
    (void)state;
    struct world world;
    struct vdb_graph_file head;
    struct vdb_err err = {0};
    set_up(&world);
    for (size_t bytes = 0; bytes < world.count; bytes++) {
        uint8_t *copy = malloc(bytes + 1); /* so that a sanitizer sees a read past the end */
        assert_non_null(copy);
        memcpy(copy, world.bytes, bytes);
        assert_int_not_equal(parse(copy, bytes, &head, &err), VDB_OK);
        free(copy);
    }
    uint8_t *longer = malloc(world.count + 1);
    assert_non_null(longer);
    memcpy(longer, world.bytes, world.count);
    longer[world.count] = 0;
    assert_fails(parse(longer, world.count + 1, &head, &err), VDB_INVALID, &err, "longer");
    free(longer);
    tear_down(&world);
}

/* With a checksum that fits: what the head says is looked at, too. */
static void check_forged(struct world *world, size_t at, uint8_t value, const char *part)
{
    struct vdb_graph_file head;
    struct vdb_err err = {0};
    const size_t head_bytes = vdb_load_u32(world->bytes + 12);
    const uint8_t before = world->bytes[at];
    world->bytes[at] = value;
    vdb_store_u32(world->bytes + head_bytes - 4, vdb_crc32c(0, world->bytes, head_bytes - 4));
    assert_fails(parse(world->bytes, world->count, &head, &err), VDB_CORRUPT, &err, part);
    world->bytes[at] = before;
    vdb_store_u32(world->bytes + head_bytes - 4, vdb_crc32c(0, world->bytes, head_bytes - 4));
    assert_ok(parse(world->bytes, world->count, &head, &err), &err);
}

static void test_forged_heads_are_refused(void **state)
{
    (void)state;
    struct world world;
    set_up(&world);
    check_forged(&world, 40, 0, "dimension 0");
    check_forged(&world, 44, VDB_ELEMENT_COUNT, "element 6");
    check_forged(&world, 45, VDB_METRIC_COUNT, "metric 6");
    check_forged(&world, 63, 'x', "names what there is not");       /* a kind without an end */
    check_forged(&world, HEAD_FIXED, 0, "names what there is not"); /* a path that ends early */
    tear_down(&world);
}

static void test_another_dataset_is_refused(void **state)
{
    (void)state;
    struct world world;
    struct vdb_err err = {0};
    set_up(&world);
    const uint64_t stamp = world.head.stamp;
    struct vdb_rows rows = world.rows;
    assert_ok(vdb_graph_file_fits(&world.head, "b", &rows, stamp, &err), &err);
    rows.count--;
    assert_fails(vdb_graph_file_fits(&world.head, "b", &rows, stamp, &err), VDB_INVALID, &err, "39 vectors");
    rows = world.rows;
    rows.dimension++;
    assert_fails(vdb_graph_file_fits(&world.head, "b", &rows, stamp, &err), VDB_INVALID, &err, "dimension 5");
    rows = world.rows;
    rows.element = VDB_ELEMENT_I8;
    assert_fails(vdb_graph_file_fits(&world.head, "b", &rows, stamp, &err), VDB_INVALID, &err, "holds i8");
    assert_fails(vdb_graph_file_fits(&world.head, "b", &world.rows, stamp ^ 1, &err), VDB_INVALID, &err,
                 "checksum");
    /* Every value counts. */
    struct vdb_vectors vectors = {
        .data = world.vectors, .count = ROWS, .dimension = DIMENSION, .type = VDB_VECTORS_U8};
    for (size_t i = 0; i < sizeof world.vectors; i++) {
        world.vectors[i] ^= 1;
        assert_int_not_equal(vdb_graph_input_stamp(&vectors), stamp);
        world.vectors[i] ^= 1;
    }
    assert_int_equal(vdb_graph_input_stamp(&vectors), stamp);
    tear_down(&world);
}

static void test_only_index_files_are_written_over(void **state)
{
    (void)state;
    struct world world;
    struct vdb_err err = {0};
    char other[80];
    set_up(&world);
    assert_ok(vdb_graph_file_may_write(world.path, &err), &err);
    snprintf(other, sizeof other, "%s.other", world.path);
    assert_ok(vdb_env_replace_file(vdb_env_posix(), other, "VDBIND", 6, &err), &err);
    assert_fails(vdb_graph_file_may_write(other, &err), VDB_INVALID, &err, "not written over");
    assert_ok(vdb_env_replace_file(vdb_env_posix(), other, "\x93NUMPY and more", 15, &err), &err);
    assert_fails(vdb_graph_file_may_write(other, &err), VDB_INVALID, &err, "not written over");
    assert_ok(vdb_env_replace_file(vdb_env_posix(), other, "", 0, &err), &err);
    assert_ok(vdb_graph_file_may_write(other, &err), &err);
    assert_fails(vdb_graph_file_may_write(".", &err), VDB_INVALID, &err, "not written over");
    assert_int_equal(unlink(other), 0);
    tear_down(&world);
}

static void test_lists_of_widths(void **state)
{
    (void)state;
    static const char *const bad[] = {"",     "0",   "a",      "10,", ",10", "10,10", "20,10",
                                      "-1",   "+1",  "1,101",  "101", "1 2", "1;2",   "18446744073709551616",
                                      "1, 2", "1.5", "10,0x20"};
    struct vdb_err err = {0};
    size_t *efs;
    size_t count;
    assert_ok(vdb_graph_sweep_parse("1,20,100", 100, &efs, &count, &err), &err);
    assert_int_equal(count, 3);
    assert_int_equal(efs[0], 1);
    assert_int_equal(efs[1], 20);
    assert_int_equal(efs[2], 100);
    free(efs);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_fails(vdb_graph_sweep_parse(bad[i], 100, &efs, &count, &err), VDB_INVALID, &err, "--ef is \"");
        assert_null(efs);
    }
    char many[512];
    size_t used = 0;
    for (unsigned i = 1; i <= 65; i++) {
        used += (size_t)snprintf(many + used, sizeof many - used, "%s%u", i > 1 ? "," : "", i);
    }
    assert_fails(vdb_graph_sweep_parse(many, 100, &efs, &count, &err), VDB_INVALID, &err, "up to 64");
    *strrchr(many, ',') = '\0';
    assert_ok(vdb_graph_sweep_parse(many, 100, &efs, &count, &err), &err);
    assert_int_equal(count, 64);
    free(efs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_comes_back),
        cmocka_unit_test(test_a_changed_byte_is_refused),
        cmocka_unit_test(test_a_cut_file_is_refused),
        cmocka_unit_test(test_forged_heads_are_refused),
        cmocka_unit_test(test_another_dataset_is_refused),
        cmocka_unit_test(test_only_index_files_are_written_over),
        cmocka_unit_test(test_lists_of_widths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
