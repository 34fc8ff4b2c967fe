// floor: index
// mutations: 4000
/* fuzz_qgraph.c: any bytes as a saved graph over 40 rows of 4 bytes, under l2 (exact codes) and cosine (codes
 * measured again). What loads is sound, can be searched and saved. Since a checksum stops nearly every mutation,
 * the input is tried a second time with the size and the checksum put right. */
#include "require.h"

#include "base/crc32c.h"
#include "index/qgraph.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 40, DIMENSION = 4, STAMP = 1, CRC_BYTES = 4, SIZE_AT = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static vdb_status append(void *ctx, const void *data, size_t bytes, struct vdb_err *err)
{
    (void)err;
    vdb_buf_put(ctx, data, bytes);
    return VDB_OK;
}

static void use(const struct vdb_qgraph *graph, const struct vdb_rows *rows)
{
    struct vdb_err err = {0};
    struct vdb_candidate memory[ROWS];
    for (size_t i = 0; i < ROWS; i += 7) {
        struct vdb_topk topk;
        struct vdb_query query = {.vector = vdb_rows_at(rows, i), .ef = 1 + i * 3};
        vdb_topk_init(&topk, memory, 8);
        REQUIRE(vdb_qgraph_search(graph, rows, &query, &topk, &err) == VDB_OK);
        for (size_t j = 0; j < topk.count; j++) {
            REQUIRE(memory[j].row < ROWS);
        }
    }
    struct vdb_buf saved = {0};
    REQUIRE(vdb_qgraph_save(graph, STAMP, append, &saved, &err) == VDB_OK);
    struct vdb_qgraph *again;
    REQUIRE(vdb_qgraph_load(rows, STAMP, saved.data, saved.bytes, &again, &err) == VDB_OK);
    vdb_qgraph_destroy(again);
    vdb_buf_fini(&saved);
}

static void load(const uint8_t *data, size_t bytes)
{
    static uint8_t memory[ROWS * DIMENSION];
    static const void *array = memory;
    for (size_t i = 0; i < sizeof memory; i++) {
        memory[i] = (uint8_t)(i * i * 7 + i / 5 + 1);
    }
    for (size_t m = 0; m < 2; m++) {
        const struct vdb_rows rows = vdb_rows_of_array(&array, ROWS, DIMENSION, VDB_ELEMENT_U8,
                                                       m == 0 ? VDB_METRIC_L2 : VDB_METRIC_COSINE);
        struct vdb_qgraph *graph;
        struct vdb_err err = {0};
        vdb_status status = vdb_qgraph_load(&rows, STAMP, data, bytes, &graph, &err);
        if (status == VDB_OK) {
            use(graph, &rows);
            vdb_qgraph_destroy(graph);
            continue;
        }
        REQUIRE(graph == NULL);
        REQUIRE(status == VDB_CORRUPT || status == VDB_VERSION || status == VDB_INVALID ||
                status == VDB_NO_MEMORY);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    load(data, bytes);
    if (bytes < SIZE_AT + sizeof(uint64_t) + CRC_BYTES) {
        return 0;
    }
    uint8_t *copy = malloc(bytes);
    REQUIRE(copy != NULL);
    memcpy(copy, data, bytes);
    vdb_store_u64(copy + SIZE_AT, bytes);
    vdb_store_u32(copy + bytes - CRC_BYTES, vdb_crc32c(0, copy, bytes - CRC_BYTES));
    load(copy, bytes);
    free(copy);
    return 0;
}
