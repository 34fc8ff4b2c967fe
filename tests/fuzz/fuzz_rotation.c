// floor: quant
/* fuzz_rotation.c: any bytes as a saved rotation. What loads saves to the very same bytes, has sound numbers, and rotates
 * a vector to finite ones. */
#include "require.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "quant/rotation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void use(const struct vdb_rotation *rotation)
{
    const size_t dimension = vdb_rotation_dimension(rotation);
    const size_t padded = vdb_rotation_padded(rotation);
    REQUIRE(dimension >= 1 && padded >= dimension && padded % VDB_ROTATION_MULTIPLE == 0);
    REQUIRE(vdb_rotation_leading(rotation) <= padded);
    for (size_t count = 0; count <= padded; count += VDB_ROTATION_MULTIPLE) {
        double share = vdb_rotation_explained(rotation, count);
        REQUIRE(share >= 0 && share <= 1);
    }
    float *vectors = vdb_alloc_aligned(2 * padded * sizeof *vectors);
    REQUIRE(vectors != NULL);
    for (size_t i = 0; i < dimension; i++) {
        vectors[padded + i] = (float)(i % 7) - 3;
    }
    vdb_rotation_apply(rotation, vectors + padded, padded, vectors);
    for (size_t i = 0; i < padded; i++) {
        REQUIRE(isfinite(vectors[i]));
    }
    free(vectors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct vdb_cursor cursor;
    struct vdb_rotation *rotation;
    struct vdb_err err = {0};
    vdb_cursor_init(&cursor, data, bytes);
    vdb_status status = vdb_rotation_load(&cursor, &rotation, &err);
    if (status != VDB_OK) {
        REQUIRE((status == VDB_CORRUPT || status == VDB_VERSION) && err.text[0] != '\0' && rotation == NULL);
        return 0;
    }
    struct vdb_buf again = {0};
    vdb_rotation_save(rotation, &again);
    REQUIRE(!again.failed && again.bytes == cursor.pos && memcmp(again.data, data, again.bytes) == 0);
    vdb_buf_fini(&again);
    use(rotation);
    vdb_rotation_destroy(rotation);
    return 0;
}
