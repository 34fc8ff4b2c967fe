// floor: index
/* fuzz_hnsw.c: any bytes as a saved graph over 48 rows of 4 bytes, or of 4 floats where the bytes say so. What loads is sound and can be searched,
 * changed and saved. Since a checksum stops nearly every mutation, the input is tried a second time with the
 * size and the checksum put right. */
#include "require.h"

#include "base/crc32c.h"
#include "index/hnsw.h"

#include <stdlib.h>

enum { ROWS = 48, DIMENSION = 4, STAMP = 1, CRC_BYTES = 4, SIZE_AT = 16, ELEMENT_AT = 36 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static vdb_status append(void *ctx, const void *data, size_t bytes, struct vdb_err *err)
{
    (void)err;
    vdb_buf_put(ctx, data, bytes);
    return VDB_OK;
}

static void use(struct vdb_hnsw *hnsw, const struct vdb_rows *rows)
{
    struct vdb_err err = {0};
    REQUIRE(vdb_hnsw_check(hnsw, rows, &err) == VDB_OK);
    struct vdb_candidate memory[ROWS];
    struct vdb_topk topk;
    struct vdb_query query = {.vector = vdb_rows_at(rows, 1), .ef = 8};
    vdb_topk_init(&topk, memory, 8);
    REQUIRE(vdb_hnsw_search(hnsw, rows, &query, VDB_HNSW_ALWAYS_WALK, &topk, NULL, &err) == VDB_OK);
    for (size_t i = 0; i < topk.count; i++) {
        REQUIRE(memory[i].row < ROWS && vdb_hnsw_has(hnsw, memory[i].row));
    }
    struct vdb_buf saved = {0};
    REQUIRE(vdb_hnsw_save(hnsw, rows, STAMP, append, &saved, &err) == VDB_OK);
    struct vdb_hnsw *again;
    REQUIRE(vdb_hnsw_load(rows, STAMP, saved.data, saved.bytes, &again, &err) == VDB_OK);
    vdb_hnsw_destroy(again);
    vdb_buf_fini(&saved);
    for (uint32_t row = 0; row < ROWS; row += 3) {
        vdb_status status = vdb_hnsw_has(hnsw, row) ? vdb_hnsw_remove(hnsw, rows, row, &err)
                                                    : vdb_hnsw_insert(hnsw, rows, row, &err);
        REQUIRE(status == VDB_OK);
    }
    REQUIRE(vdb_hnsw_check(hnsw, rows, &err) == VDB_OK);
}

static void load(const struct vdb_rows *rows, const uint8_t *data, size_t bytes)
{
    struct vdb_hnsw *hnsw;
    struct vdb_err err = {0};
    vdb_status status = vdb_hnsw_load(rows, STAMP, data, bytes, &hnsw, &err);
    if (status == VDB_OK) {
        use(hnsw, rows);
        vdb_hnsw_destroy(hnsw);
        return;
    }
    REQUIRE(status == VDB_CORRUPT || status == VDB_VERSION || status == VDB_INVALID || status == VDB_NO_MEMORY);
    REQUIRE(hnsw == NULL && err.status == status && err.text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t vectors[ROWS][DIMENSION];
    for (size_t i = 0; i < ROWS * DIMENSION; i++) {
        vectors[i / DIMENSION][i % DIMENSION] = (uint8_t)(i / DIMENSION % 40 * 37 + i * i);
    }
    static float floats[ROWS][DIMENSION];
    for (size_t i = 0; i < ROWS * DIMENSION; i++) {
        floats[i / DIMENSION][i % DIMENSION] = (float)vectors[i / DIMENSION][i % DIMENSION];
    }
    const bool of_floats = bytes > ELEMENT_AT && data[ELEMENT_AT] == VDB_ELEMENT_F32;
    const void *array = of_floats ? (const void *)floats : (const void *)vectors;
    struct vdb_rows rows = vdb_rows_of_array(&array, ROWS, DIMENSION,
                                             of_floats ? VDB_ELEMENT_F32 : VDB_ELEMENT_U8, VDB_METRIC_L2);
    load(&rows, data, bytes);
    if (bytes >= SIZE_AT + sizeof(uint64_t) + CRC_BYTES) {
        uint8_t *right = malloc(bytes);
        REQUIRE(right != NULL);
        memcpy(right, data, bytes);
        vdb_store_u64(right + SIZE_AT, bytes);
        vdb_store_u32(right + bytes - CRC_BYTES, vdb_crc32c(0, right, bytes - CRC_BYTES));
        load(&rows, right, bytes);
        free(right);
    }
    return 0;
}
