/* rng.c: xoshiro256** seeded by splitmix64 (Blackman and Vigna, "Scrambled linear pseudorandom number
 * generators"). */
#include "rng.h"

#include <math.h>

static uint64_t rotate_left(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

void vdb_rng_init(struct vdb_rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        rng->state[i] = z ^ (z >> 31);
    }
}

uint64_t vdb_rng_u64(struct vdb_rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t vdb_rng_below(struct vdb_rng *rng, uint64_t bound)
{
    /* Lemire 2019: multiply-high, rejecting the few low products that would bias. */
    unsigned __int128 product = (unsigned __int128)vdb_rng_u64(rng) * bound;
    if ((uint64_t)product < bound) {
        uint64_t threshold = (0 - bound) % bound;
        while ((uint64_t)product < threshold) {
            product = (unsigned __int128)vdb_rng_u64(rng) * bound;
        }
    }
    return (uint64_t)(product >> 64);
}

double vdb_rng_double(struct vdb_rng *rng)
{
    return (double)(vdb_rng_u64(rng) >> 11) * 0x1p-53;
}

float vdb_rng_normal(struct vdb_rng *rng)
{
    double x;
    double y;
    double r;
    do {
        x = 2.0 * vdb_rng_double(rng) - 1.0;
        y = 2.0 * vdb_rng_double(rng) - 1.0;
        r = x * x + y * y;
    } while (r >= 1.0 || r == 0.0);
    return (float)(x * sqrt(-2.0 * log(r) / r));
}
