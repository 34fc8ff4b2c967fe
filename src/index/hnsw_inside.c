/* hnsw_inside.c: the copies of vectors that a graph keeps: as they are, or f32 as f16, bf16 or 8-bit codes.
 *
 * Half or a quarter of the bytes is as much less memory traffic, which is most of a search's time where vectors are
 * long. Such copies only show the way: answers are measured again on the rows, and rows are equal only if their own
 * bytes are. Rounded to nearest, ties to even; what is too large becomes the largest finite number.
 *
 * 8-bit codes are whole vectors of u8 or i8, so that the integer kernels order them as the decoded ones would be:
 *     l2, l1   u8, (x - low) / step; a common shift and step leave the order of distances as it is
 *     dot      i8, x / step; a common step does
 *     cosine   i8, each vector by a step of its own: lengths do not matter
 * A build takes low and step from its rows, from evenly spread ones where there are many; an insert into an
 * empty graph has but its row, and takes twice its range. What later lies beyond counts as the bound.
 *
 * Threads: pure functions, but for vdb_hnsw_learn: codes_ready publishes what it found.
 */
#include "hnsw_internal.h"

#include <math.h>

enum { LEARN_ROWS = 16384, CODE_MAX = 127 };

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

/* ---- 8-bit codes ---- */

static inline float load_float(const void *vector, size_t i)
{
    float value;
    memcpy(&value, (const char *)vector + i * sizeof value, sizeof value);
    return value;
}

/* Widens [*low, *high] to hold a vector; what is not finite counts nothing. */
static void widen_range(const void *vector, size_t dimension, float *low, float *high)
{
    for (size_t i = 0; i < dimension; i++) {
        float value = load_float(vector, i);
        if (isfinite(value)) {
            *low = value < *low ? value : *low;
            *high = value > *high ? value : *high;
        }
    }
}

static float greater_of(float a, float b)
{
    return a > b ? a : b;
}

void vdb_hnsw_learn(struct vdb_hnsw *hnsw, const struct vdb_rows *rows, const struct vdb_bitset *only,
                    uint32_t row)
{
    const bool one = row != HNSW_NONE;
    float low = INFINITY;
    float high = -INFINITY;
    if (!hnsw->coded || atomic_load_explicit(&hnsw->codes_ready, memory_order_acquire)) {
        return;
    }
    pthread_mutex_lock(&hnsw->grow_lock);
    if (!atomic_load_explicit(&hnsw->codes_ready, memory_order_relaxed)) {
        const size_t step = one ? 1 : rows->count / LEARN_ROWS + 1;
        for (size_t i = one ? row : 0; i < rows->count; i += step) {
            if (only == NULL || vdb_bitset_test(only, i)) {
                widen_range(vdb_rows_at(rows, i), hnsw->dimension, &low, &high);
            }
            if (one) {
                break;
            }
        }
        if (!(low <= high)) { /* nothing finite */
            low = 0;
            high = 0;
        }
        const float more = one ? (high - low) / 2 : 0;
        const float half = one ? 2.0f : 1.0f;
        const bool is_signed = hnsw->inside_element == VDB_ELEMENT_I8;
        const float range = is_signed ? half * greater_of(-low, high) : high / 255 - low / 255 + more / 255 * 2;
        const float unit = is_signed ? range / CODE_MAX : range;
        hnsw->code_low = is_signed ? 0 : low - more;
        hnsw->code_step = unit > 0 && isfinite(unit) && isfinite(1 / unit) ? unit : 1;
        atomic_store_explicit(&hnsw->codes_ready, true, memory_order_release);
    }
    pthread_mutex_unlock(&hnsw->grow_lock);
}

/* What a vector's elements are multiplied by; under cosine each vector has its own. */
static float factor_of(const struct vdb_hnsw *hnsw, const void *vector)
{
    if (hnsw->metric != VDB_METRIC_COSINE) {
        return 1 / hnsw->code_step;
    }
    float low = 0;
    float high = 0;
    widen_range(vector, hnsw->dimension, &low, &high);
    const float factor = CODE_MAX / greater_of(-low, high);
    return isfinite(factor) ? factor : 0;
}

/* The code of one element as a byte. */
static inline uint8_t code_of(const struct vdb_hnsw *hnsw, float value, float factor)
{
    const bool is_signed = hnsw->inside_element == VDB_ELEMENT_I8;
    const float least = is_signed ? -CODE_MAX : 0;
    const float most = is_signed ? CODE_MAX : 255;
    float code = (value - hnsw->code_low) * factor;
    code = code > least ? code : least; /* a NaN, too */
    code = code < most ? code : most;
    return (uint8_t)lrintf(code);
}

/* ---- Copies ---- */

void vdb_hnsw_convert(const struct vdb_hnsw *hnsw, const void *vector, void *out)
{
    if (!hnsw->lossy) {
        memcpy(out, vector, hnsw->vector_bytes);
        return;
    }
    if (hnsw->coded) {
        uint8_t *codes = out;
        const float factor = factor_of(hnsw, vector);
        for (size_t i = 0; i < hnsw->dimension; i++) {
            codes[i] = code_of(hnsw, load_float(vector, i), factor);
        }
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

static bool are_stored(const struct vdb_hnsw *hnsw, const uint8_t *codes, const void *vector)
{
    const float factor = factor_of(hnsw, vector);
    for (size_t i = 0; i < hnsw->dimension; i++) {
        if (codes[i] != code_of(hnsw, load_float(vector, i), factor)) {
            return false;
        }
    }
    return true;
}

bool vdb_hnsw_is_stored(const struct vdb_hnsw *hnsw, uint32_t row, const void *vector)
{
    const char *stored = hnsw_at(&hnsw->vectors, row);
    if (!hnsw->lossy) {
        return memcmp(stored, vector, hnsw->vector_bytes) == 0;
    }
    if (hnsw->coded) {
        return are_stored(hnsw, (const uint8_t *)stored, vector);
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
