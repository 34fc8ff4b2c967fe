/* fuzz_vecs.c: any bytes as a .fvecs, .bvecs or .ivecs file (the first byte chooses). An accepted file must
 * consist of whole rows of one dimension, and its values must come out as they lie in it. */
// floor: data
#include "require.h"

#include "data/vecs.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const vdb_vectors_type types[] = {VDB_VECTORS_F32, VDB_VECTORS_U8, VDB_VECTORS_I32};
    if (bytes == 0) {
        return 0;
    }
    vdb_vectors_type type = types[data[0] % 3];
    data++;
    bytes--;
    struct vdb_source source;
    vdb_source_of_memory(&source, data, bytes);
    struct vdb_err err = {0};
    struct vdb_vectors vectors;
    vdb_status status = vdb_vecs_read(&source, type, &vectors, &err);
    if (status != VDB_OK) {
        REQUIRE(vectors.data == NULL && err.status == status && err.text[0] != '\0');
        return 0;
    }
    size_t row_bytes = vdb_vectors_row_bytes(&vectors);
    REQUIRE(vectors.type == type && vectors.count >= 1 && vectors.count * (4 + row_bytes) == bytes);
    for (size_t row = 0; row < vectors.count; row++) {
        const uint8_t *in = data + row * (4 + row_bytes);
        REQUIRE(vdb_load_u32(in) == vectors.dimension);
        REQUIRE(memcmp(vdb_vectors_row(&vectors, row), in + 4, row_bytes) == 0);
    }
    vdb_vectors_fini(&vectors);
    return 0;
}
