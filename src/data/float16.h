/* float16.h: IEEE 754 binary16 to binary32, exactly. Threads: safe from all threads. */
#ifndef VDB_DATA_FLOAT16_H
#define VDB_DATA_FLOAT16_H

#include <stddef.h>
#include <stdint.h>

/* Every half has a float of the same value; infinities stay, a NaN stays a NaN with its payload. */
float vdb_float16_to_f32(uint16_t half);

void vdb_float16_to_f32_many(const uint16_t *halves, size_t count, float *out);

#endif
