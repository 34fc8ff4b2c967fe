/* rng.h: a small seeded generator for tests, benchmarks and algorithms that sample.
 *
 * xoshiro256** (Blackman and Vigna 2018), state filled by splitmix64. The same seed gives the same stream on
 * every machine. Not for secrets: those come from env's entropy. Threads: confined.
 */
#ifndef VDB_BASE_RNG_H
#define VDB_BASE_RNG_H

#include <stdint.h>

struct vdb_rng {
    uint64_t state[4];
};

void vdb_rng_init(struct vdb_rng *rng, uint64_t seed);
uint64_t vdb_rng_u64(struct vdb_rng *rng);
uint64_t vdb_rng_below(struct vdb_rng *rng, uint64_t bound); /* uniform in [0, bound), without bias; bound > 0 */
double vdb_rng_double(struct vdb_rng *rng);                  /* uniform in [0, 1) */
float vdb_rng_normal(struct vdb_rng *rng);                   /* mean 0, variance 1 (polar method) */

#endif
