// floor: cli
/* fuzz_graph_file.c: any bytes as an index file of `vecdb hnsw`: what is taken lies within them and says only what
 * there can be. Since checksums stop nearly every mutation, the input is tried a second time with sizes and checksums
 * put right. */
#include "require.h"

#include "base/crc32c.h"
#include "cli/graph.h"

#include <stdlib.h>

enum { FIXED_BYTES = 64, CHECK_BYTES = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void parse(const uint8_t *data, size_t bytes)
{
    static struct vdb_graph_file head;
    const uint8_t *payload;
    size_t payload_bytes;
    struct vdb_err err = {0};
    vdb_status status = vdb_graph_file_parse(data, bytes, &head, &payload, &payload_bytes, &err);
    if (status == VDB_OK) {
        REQUIRE(payload > data && payload + payload_bytes == data + bytes);
        REQUIRE(head.element < VDB_ELEMENT_COUNT && head.metric < VDB_METRIC_COUNT && head.dimension > 0);
        REQUIRE(strlen(head.kind) < sizeof head.kind && strlen(head.dataset) < sizeof head.dataset);
        return;
    }
    REQUIRE(status == VDB_INVALID || status == VDB_VERSION || status == VDB_CORRUPT);
    REQUIRE(err.status == status && err.text[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    parse(data, bytes);
    if (bytes < FIXED_BYTES + CHECK_BYTES) {
        return 0;
    }
    const size_t head_bytes = FIXED_BYTES + CHECK_BYTES + vdb_load_u16(data + 46);
    if (head_bytes > bytes) {
        return 0;
    }
    uint8_t *right = malloc(bytes);
    REQUIRE(right != NULL);
    memcpy(right, data, bytes);
    memcpy(right, "VDBINDX", 8);
    vdb_store_u32(right + 8, 1);
    vdb_store_u32(right + 12, (uint32_t)head_bytes);
    vdb_store_u64(right + 16, bytes - head_bytes);
    vdb_store_u32(right + head_bytes - 8, vdb_crc32c(0, right + head_bytes, bytes - head_bytes));
    vdb_store_u32(right + head_bytes - 4, vdb_crc32c(0, right, head_bytes - 4));
    parse(right, bytes);
    free(right);
    return 0;
}
