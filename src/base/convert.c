/* convert.c: see convert.h. The loops have no branches, so that compilers turn them into vector code. */
#include "convert.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    F16_SIGN = 0x8000,
    F16_INFINITY = 0x7C00,
    F16_NAN = 0x7E00,
    F16_NORMAL_LEAST = 0x0400,
    PART_ELEMENTS = 64, /* of a vector, narrowed and widened again at a time */
};

static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The exponent's bias goes from 15 to 127; all ones, an infinity or a NaN, stay all ones. Below the normal range the
 * value is fraction * 2^-24, which is a normal float. */
static inline float widen_half(uint16_t half)
{
    const uint32_t rest = half & 0x7FFFu;
    const uint32_t sign = (uint32_t)(half & F16_SIGN) << 16;
    const uint32_t normal = (rest << 13) + (rest >= F16_INFINITY ? UINT32_C(224) << 23 : UINT32_C(112) << 23);
    const uint32_t subnormal = bits_of((float)(int32_t)rest * 0x1p-24f);
    return float_of(sign | (rest < F16_NORMAL_LEAST ? subnormal : normal));
}

static inline uint16_t narrow_half(float value)
{
    const uint32_t bits = bits_of(value);
    const uint32_t sign = bits >> 16 & F16_SIGN;
    const uint32_t rest = bits & 0x7FFFFFFFu;
    if (rest > UINT32_C(0x7F800000)) {
        return (uint16_t)(sign | F16_NAN);
    }
    if (rest >= UINT32_C(143) << 23) { /* 2^16 and more */
        return (uint16_t)(sign | F16_INFINITY);
    }
    if (rest < UINT32_C(113) << 23) { /* below 2^-14: a float from 1/2 on has steps of 2^-24, too */
        return (uint16_t)(sign | (bits_of(float_of(rest) + 0.5f) - bits_of(0.5f)));
    }
    /* Half a step, less one when the last bit that stays is even; a carry goes into the exponent as it should. */
    const uint32_t rounded = (rest + 0xFFF + (rest >> 13 & 1)) >> 13;
    return (uint16_t)(sign | (rounded - (UINT32_C(112) << 10)));
}

void vdb_convert_widen(vdb_element element, const void *vector, size_t count, float *out)
{
    const uint8_t *u8 = vector;
    const int8_t *i8 = vector;
    switch (element) {
    case VDB_ELEMENT_F16:
        for (size_t i = 0; i < count; i++) {
            uint16_t half;
            memcpy(&half, u8 + i * sizeof half, sizeof half);
            out[i] = widen_half(half);
        }
        return;
    case VDB_ELEMENT_U8:
        for (size_t i = 0; i < count; i++) {
            out[i] = (float)u8[i];
        }
        return;
    case VDB_ELEMENT_I8:
        for (size_t i = 0; i < count; i++) {
            out[i] = (float)i8[i];
        }
        return;
    default:
        assert(element == VDB_ELEMENT_F32);
        memcpy(out, vector, count * sizeof *out);
        return;
    }
}

static inline int narrow_int(float value, int least, int greatest)
{
    if (!(value > (float)least)) { /* a NaN too */
        return isnan(value) ? 0 : least;
    }
    return value < (float)greatest ? (int)value : greatest;
}

void vdb_convert_narrow(vdb_element element, const float *vector, size_t count, void *out)
{
    uint8_t *bytes = out;
    switch (element) {
    case VDB_ELEMENT_F16:
        for (size_t i = 0; i < count; i++) {
            uint16_t half = narrow_half(vector[i]);
            memcpy(bytes + i * sizeof half, &half, sizeof half);
        }
        return;
    case VDB_ELEMENT_U8:
    case VDB_ELEMENT_I8:
        for (size_t i = 0; i < count; i++) {
            bytes[i] = (uint8_t)narrow_int(vector[i], vdb_convert_least(element), vdb_convert_greatest(element));
        }
        return;
    default:
        assert(element == VDB_ELEMENT_F32);
        memcpy(out, vector, count * sizeof *vector);
        return;
    }
}

void vdb_convert_round(vdb_element element, const float *vector, size_t count, float *out)
{
    float narrow[PART_ELEMENTS]; /* room for any element */
    for (size_t at = 0; at < count; at += PART_ELEMENTS) {
        size_t part = count - at < PART_ELEMENTS ? count - at : PART_ELEMENTS;
        vdb_convert_narrow(element, vector + at, part, narrow);
        vdb_convert_widen(element, narrow, part, out + at);
    }
}

bool vdb_convert_is_exact(vdb_element element, const float *vector, size_t count)
{
    float again[PART_ELEMENTS];
    for (size_t at = 0; at < count; at += PART_ELEMENTS) {
        size_t part = count - at < PART_ELEMENTS ? count - at : PART_ELEMENTS;
        vdb_convert_round(element, vector + at, part, again);
        for (size_t i = 0; i < part; i++) {
            if (again[i] != vector[at + i]) {
                return false;
            }
        }
    }
    return true;
}
