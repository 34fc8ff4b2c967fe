/* float16.c: see float16.h. By integer arithmetic on the bits, so that the result is the same on every machine
 * and does not depend on the processor's handling of subnormal numbers. */
#include "float16.h"

#include <string.h>

float vdb_float16_to_f32(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = (half >> 10) & 0x1fu;
    uint32_t fraction = half & 0x3ffu;
    uint32_t bits;
    if (exponent == 31) { /* infinity or NaN */
        bits = sign | 0x7f800000u | fraction << 13;
    } else if (exponent != 0) { /* normal: the bias goes from 15 to 127 */
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else if (fraction == 0) {
        bits = sign;
    } else { /* subnormal: fraction * 2^-24, which a float holds as a normal number */
        unsigned shift = (unsigned)__builtin_clz(fraction) - 21; /* brings the top bit to bit 10 */
        bits = sign | (113 - shift) << 23 | ((fraction << shift) & 0x3ffu) << 13;
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void vdb_float16_to_f32_many(const uint16_t *halves, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = vdb_float16_to_f32(halves[i]);
    }
}
