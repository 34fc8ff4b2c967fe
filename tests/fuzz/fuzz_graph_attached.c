// floor: collection
/* fuzz_graph_attached.c: any bytes as a segment's index file: the collection's head, then an index over 48 rows of 4
 * bytes. What the head says is written again as the same bytes; an index that loads is sound and answers. */
#include "require.h"

#include "collection/graph_head.h"

enum { ROWS = 48, DIMENSION = 4, STAMP = 1 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void use(const struct vdb_index_ops *ops, void *index, const struct vdb_rows *rows)
{
    struct vdb_err err = {0};
    struct vdb_candidate memory[ROWS];
    struct vdb_topk topk;
    const struct vdb_query query = {.vector = vdb_rows_at(rows, 1), .ef = 8};
    REQUIRE(ops->check(index, rows, &err) == VDB_OK);
    vdb_topk_init(&topk, memory, 8);
    REQUIRE(ops->search(index, rows, &query, &topk, &err) == VDB_OK);
    for (size_t i = 0; i < topk.count; i++) {
        REQUIRE(memory[i].row < ROWS);
    }
    ops->destroy(index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t values[ROWS][DIMENSION];
    const void *array = values;
    struct vdb_graph_head head;
    struct vdb_err err = {0};
    struct vdb_buf again = {0};
    size_t at;
    for (int i = 0; i < ROWS * DIMENSION; i++) {
        values[i / DIMENSION][i % DIMENSION] = (uint8_t)(i * 37 % 101);
    }
    const struct vdb_rows rows = vdb_rows_of_array(&array, ROWS, DIMENSION, VDB_ELEMENT_U8, VDB_METRIC_L2);
    vdb_status status = vdb_graph_head_decode(data, bytes, &head, &at, &err);
    if (status != VDB_OK) {
        REQUIRE((status == VDB_CORRUPT || status == VDB_VERSION) && err.text[0] != '\0');
        return 0;
    }
    REQUIRE(at <= bytes && at % 64 == 0);
    vdb_graph_head_encode(&head, &again);
    REQUIRE(!again.failed && again.bytes == at && memcmp(again.data, data, at) == 0);
    vdb_buf_fini(&again);
    const struct vdb_index_ops *ops = vdb_index_find(vdb_str_of(head.build.type));
    void *index = NULL;
    REQUIRE(ops != NULL && ops->load != NULL);
    status = ops->load(&rows, STAMP, data + at, bytes - at, &index, &err);
    REQUIRE(status == VDB_OK || (index == NULL && err.text[0] != '\0'));
    if (status == VDB_OK) {
        use(ops, index, &rows);
    }
    return 0;
}
