// floor: quant
/* fuzz_sq.c: any bytes as a saved scalar quantiser. What loads saves to the very same bytes; codes of strange vectors decode to
 * what lies within its bounds. */
#include "require.h"

#include <math.h>
#include <stdlib.h>

#include "quant/sq.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void use(const struct vdb_sq *sq)
{
    static const float strange[] = {0, 1, -1e30f, 1e30f, INFINITY, -INFINITY, NAN, 1e-40f};
    const size_t dimension = vdb_sq_dimension(sq);
    const double levels = vdb_sq_bits(sq) == 8 ? 255 : 15;
    float *vector = malloc(dimension * sizeof *vector);
    uint8_t *code = malloc(vdb_sq_code_bytes(sq));
    REQUIRE(vector != NULL && code != NULL);
    for (size_t i = 0; i < dimension; i++) {
        vector[i] = strange[i % (sizeof strange / sizeof strange[0])];
    }
    vdb_sq_encode(sq, vector, code);
    vdb_sq_decode(sq, code, vector);
    for (size_t i = 0; i < dimension; i++) {
        const double low = (double)vdb_sq_low(sq, i);
        const double high = low + levels * (double)vdb_sq_step(sq, i);
        REQUIRE((double)vector[i] >= low && vector[i] <= (float)high);
    }
    free(vector);
    free(code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct vdb_cursor cursor;
    struct vdb_sq *sq;
    struct vdb_err err = {0};
    vdb_cursor_init(&cursor, data, bytes);
    vdb_status status = vdb_sq_load(&cursor, &sq, &err);
    if (status != VDB_OK) {
        REQUIRE((status == VDB_CORRUPT || status == VDB_VERSION) && err.text[0] != '\0' && sq == NULL);
        return 0;
    }
    struct vdb_buf again = {0};
    vdb_sq_save(sq, &again);
    REQUIRE(!again.failed && again.bytes == cursor.pos && memcmp(again.data, data, again.bytes) == 0);
    vdb_buf_fini(&again);
    use(sq);
    vdb_sq_destroy(sq);
    return 0;
}
