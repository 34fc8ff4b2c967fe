/* histogram.c: see histogram.h. */
#include "histogram.h"

#include <math.h>

/* One decade from 1 us, in nanoseconds. */
static const uint64_t decade_ns[] = {1000, 1250, 1600, 2000, 2500, 3150, 4000, 5000, 6300, 8000};

enum { STEPS = sizeof decade_ns / sizeof decade_ns[0] };

static const uint64_t powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

_Static_assert((VDB_HISTOGRAM_BOUNDS - 1) / STEPS == sizeof powers / sizeof powers[0] - 1, "a power per decade");

uint64_t vdb_histogram_bound(size_t i)
{
    return i < VDB_HISTOGRAM_BOUNDS ? decade_ns[i % STEPS] * powers[i / STEPS] : UINT64_MAX;
}

/* The first bucket whose bound is not below ns. */
static size_t bucket_of(uint64_t ns)
{
    size_t low = 0;
    size_t high = VDB_HISTOGRAM_BUCKETS - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (vdb_histogram_bound(middle) < ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void vdb_histogram_add(struct vdb_histogram *histogram, uint64_t ns)
{
    atomic_fetch_add_explicit(&histogram->sum_ns, ns, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&histogram->max_ns, memory_order_relaxed);
    while (ns > max && !atomic_compare_exchange_weak_explicit(&histogram->max_ns, &max, ns, memory_order_relaxed,
                                                              memory_order_relaxed)) {
    }
    /* H3: last, for those who acquire it. */
    atomic_fetch_add_explicit(&histogram->buckets[bucket_of(ns)], 1, memory_order_release);
}

void vdb_histogram_read(const struct vdb_histogram *histogram, struct vdb_histogram_reading *out)
{
    out->count = 0;
    for (size_t i = 0; i < VDB_HISTOGRAM_BUCKETS; i++) {
        out->buckets[i] = atomic_load_explicit(&histogram->buckets[i], memory_order_acquire);
        out->count += out->buckets[i]; /* H2 */
    }
    out->sum_ns = atomic_load_explicit(&histogram->sum_ns, memory_order_relaxed);
    out->max_ns = atomic_load_explicit(&histogram->max_ns, memory_order_relaxed);
}

void vdb_histogram_merge(struct vdb_histogram_reading *to, const struct vdb_histogram_reading *from)
{
    for (size_t i = 0; i < VDB_HISTOGRAM_BUCKETS; i++) {
        to->buckets[i] += from->buckets[i];
    }
    to->count += from->count;
    to->sum_ns += from->sum_ns;
    to->max_ns = from->max_ns > to->max_ns ? from->max_ns : to->max_ns;
}

void vdb_histogram_subtract(struct vdb_histogram_reading *from, const struct vdb_histogram_reading *earlier)
{
    for (size_t i = 0; i < VDB_HISTOGRAM_BUCKETS; i++) {
        from->buckets[i] -= earlier->buckets[i];
    }
    from->count -= earlier->count;
    from->sum_ns -= earlier->sum_ns;
}

uint64_t vdb_histogram_quantile(const struct vdb_histogram_reading *reading, double q)
{
    if (reading->count == 0) {
        return 0;
    }
    double share = ceil(q * (double)reading->count);
    uint64_t rank = share < 1 ? 1 : share < (double)reading->count ? (uint64_t)share : reading->count;
    uint64_t seen = 0;
    size_t i = 0;
    while (i < VDB_HISTOGRAM_BUCKETS - 1 && seen + reading->buckets[i] < rank) {
        seen += reading->buckets[i++];
    }
    uint64_t bound = vdb_histogram_bound(i);
    return bound < reading->max_ns ? bound : reading->max_ns;
}
