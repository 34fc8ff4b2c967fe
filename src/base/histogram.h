/* histogram.h: how long something took, many times: counts by size classes, so that quantiles come cheap and a server
 * can show them for ever without keeping a single sample.
 *
 * The bounds are Renard's preferred numbers R10 (ISO 3): 1, 1.25, 1.6, 2, 2.5, 3.15, 4, 5, 6.3, 8 in each decade from
 * 1 us to 100 s. They hold 1, 2 and 5, so the coarse table that people read is cut exactly along the fine one. A
 * bucket holds what is above the bound before it and at most its own; the last one what is above all.
 *
 *   H1 A bucket's upper bound is at most 1.28 times its lower one, which bounds the error of a quantile: it is never
 *      below the value asked for, and above it by less than that (but under 1 us, where it says at most 1 us; and above
 *      100 s, where it says the largest).
 *   H2 What is counted is counted in one bucket, and `count` is their sum in every reading.
 *   H3 The sum and the largest of a reading take in all that it counts, and perhaps a few additions more.
 *
 * Threads: atomic; adding takes no lock. A reading is plain data.
 */
#ifndef VDB_BASE_HISTOGRAM_H
#define VDB_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VDB_HISTOGRAM_BOUNDS = 81,                       /* 8 decades of 10, and the end of the last */
    VDB_HISTOGRAM_BUCKETS = VDB_HISTOGRAM_BOUNDS + 1 /* the last: above all bounds */
};

/* Zero-initialise. */
struct vdb_histogram {
    _Atomic uint64_t buckets[VDB_HISTOGRAM_BUCKETS];
    _Atomic uint64_t sum_ns;
    _Atomic uint64_t max_ns;
};

struct vdb_histogram_reading {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns; /* the longest since the histogram was made, also after vdb_histogram_subtract */
    uint64_t buckets[VDB_HISTOGRAM_BUCKETS];
};

/* The upper bound of bucket i in nanoseconds; UINT64_MAX for the last bucket. */
uint64_t vdb_histogram_bound(size_t i);

void vdb_histogram_add(struct vdb_histogram *histogram, uint64_t ns);

void vdb_histogram_read(const struct vdb_histogram *histogram, struct vdb_histogram_reading *out);

/* Adds another one's counts. */
void vdb_histogram_merge(struct vdb_histogram_reading *to, const struct vdb_histogram_reading *from);

/* Leaves what came after an earlier reading of the same histogram. */
void vdb_histogram_subtract(struct vdb_histogram_reading *from, const struct vdb_histogram_reading *earlier);

/* The time that a share q (0 to 1) of all did not exceed, as the bound of the bucket that it lies in, but at most
 * max_ns; q of 0 is the smallest, 1 the largest. 0 when nothing was counted. */
uint64_t vdb_histogram_quantile(const struct vdb_histogram_reading *reading, double q);

#endif
