/* hnsw_inside.c: the copies of vectors that a graph keeps: as they are, or f32 as f16 or bf16.
 *
 * Half the bytes are half the memory traffic, which is most of a search's time where vectors are long. Such
 * copies only show the way: answers are measured again on the rows, and rows are equal only if their own bytes
 * are. Rounded to nearest, ties to even; what is too large becomes the largest finite number.
 *
 * Threads: pure functions.
 */
#include "hnsw_internal.h"

static uint16_t bf16_of(uint32_t bits)
{
    if ((bits & 0x7FFFFFFF) > 0x7F800000) { /* a NaN stays one */
        return (uint16_t)(bits >> 16 | 0x40);
    }
    if ((bits & 0x7F800000) == 0x7F800000) {
        return (uint16_t)(bits >> 16);
    }
    uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return (uint16_t)((rounded & 0x7F80) == 0x7F80 ? rounded - 1 : rounded);
}

static uint16_t f16_of(uint32_t bits)
{
    const uint32_t sign = bits >> 16 & 0x8000;
    const uint32_t size = bits & 0x7FFFFFFF;
    if (size >= 0x7F800000) { /* infinity, NaN */
        return (uint16_t)(sign | 0x7C00 | (size > 0x7F800000 ? 0x200 : 0));
    }
    if (size >= 0x477FF000) { /* 65520 and above would round to infinity */
        return (uint16_t)(sign | 0x7BFF);
    }
    if (size >= 0x38800000) { /* 2^-14: the exponent moves by 127 - 15 */
        return (uint16_t)(sign | ((size - 0x38000000 + 0xFFF + (size >> 13 & 1)) >> 13));
    }
    /* Below: adding 0.5 leaves the half's 10 bits at the end of the float's, rounded. */
    float value;
    memcpy(&value, &size, sizeof value);
    value += 0.5f;
    uint32_t shifted;
    memcpy(&shifted, &value, sizeof shifted);
    return (uint16_t)(sign | (shifted - 0x3F000000));
}

void vdb_hnsw_convert(const struct vdb_hnsw *hnsw, const void *vector, void *out)
{
    if (!hnsw->lossy) {
        memcpy(out, vector, hnsw->vector_bytes);
        return;
    }
    const char *from = vector;
    uint16_t *halves = out;
    for (size_t i = 0; i < hnsw->dimension; i++) {
        uint32_t bits;
        memcpy(&bits, from + i * sizeof bits, sizeof bits);
        halves[i] = hnsw->inside_element == VDB_ELEMENT_BF16 ? bf16_of(bits) : f16_of(bits);
    }
}

bool vdb_hnsw_is_stored(const struct vdb_hnsw *hnsw, uint32_t row, const void *vector)
{
    const char *stored = hnsw_at(&hnsw->vectors, row);
    if (!hnsw->lossy) {
        return memcmp(stored, vector, hnsw->vector_bytes) == 0;
    }
    const char *from = vector;
    for (size_t i = 0; i < hnsw->dimension; i++) {
        uint32_t bits;
        memcpy(&bits, from + i * sizeof bits, sizeof bits);
        uint16_t half = hnsw->inside_element == VDB_ELEMENT_BF16 ? bf16_of(bits) : f16_of(bits);
        if (memcmp(stored + i * sizeof half, &half, sizeof half) != 0) {
            return false;
        }
    }
    return true;
}
