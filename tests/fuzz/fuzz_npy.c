/* fuzz_npy.c: any bytes as a .npy file. What is accepted must be borne out by the input's size, and usable. */
// floor: data
#include "require.h"

#include "data/npy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct vdb_source source;
    vdb_source_of_memory(&source, data, bytes);
    struct vdb_err err = {0};
    struct vdb_npy_header header;
    struct vdb_vectors vectors;
    vdb_status status = vdb_npy_read(&source, &vectors, &err);
    REQUIRE(vdb_npy_read_header(&source, &header, &err) == status);
    if (status != VDB_OK) {
        REQUIRE(vectors.data == NULL && err.status == status && err.text[0] != '\0');
        return 0;
    }
    size_t value_bytes = vectors.count * vdb_vectors_row_bytes(&vectors);
    REQUIRE(header.count == vectors.count && header.dimension == vectors.dimension &&
            header.type == vectors.type);
    REQUIRE(header.data_offset + value_bytes == bytes);
    REQUIRE(memcmp(vectors.data, data + header.data_offset, value_bytes) == 0);
    vdb_status finite = vdb_vectors_check_finite(&vectors, &err);
    status = vdb_vectors_to_f32(&vectors, &err);
    REQUIRE(status == VDB_OK || vectors.type == VDB_VECTORS_I32);
    /* Conversion neither makes nor loses a NaN or infinity. */
    REQUIRE(vdb_vectors_check_finite(&vectors, &err) == finite);
    vdb_vectors_fini(&vectors);
    return 0;
}
