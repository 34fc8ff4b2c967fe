/* convert.h: vectors of f32 as the smaller elements that a collection may keep (f16, u8, i8), and back.
 *
 * Widening is exact. Narrowing rounds f16 to the nearest, ties to even, and takes whole numbers for u8 and i8 as they
 * are. It is defined for all input: beyond f16's range gives an infinity, a NaN stays one; for u8 and i8 a fraction is
 * cut off, what is beyond the range becomes its end, and a NaN 0. Who must not lose anything asks
 * vdb_convert_is_exact before.
 *
 * By arithmetic that gives the same bits on every machine, also where the processor takes subnormal floats for 0.
 * Threads: pure functions.
 */
#ifndef VDB_BASE_CONVERT_H
#define VDB_BASE_CONVERT_H

#include "element.h"

#define VDB_CONVERT_F16_MAX 65504.0f /* the largest that is finite */

/* `count` elements of f32, f16, u8 or i8, of any alignment, as the floats they are. */
void vdb_convert_widen(vdb_element element, const void *vector, size_t count, float *out);

/* The inverse. */
void vdb_convert_narrow(vdb_element element, const float *vector, size_t count, void *out);

/* What is left of floats that are narrowed and widened again. */
void vdb_convert_round(vdb_element element, const float *vector, size_t count, float *out);

/* Whether narrowing loses nothing. -0 counts as 0, which u8 and i8 have but one of. */
bool vdb_convert_is_exact(vdb_element element, const float *vector, size_t count);

/* The range of whole numbers that u8 or i8 holds. */
static inline int vdb_convert_least(vdb_element element)
{
    return element == VDB_ELEMENT_I8 ? -128 : 0;
}

static inline int vdb_convert_greatest(vdb_element element)
{
    return element == VDB_ELEMENT_I8 ? 127 : 255;
}

#endif
