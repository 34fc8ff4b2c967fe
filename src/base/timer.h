/* timer.h: monotonic nanoseconds for measuring; durable timestamps come from env's clock instead. */
#ifndef VDB_BASE_TIMER_H
#define VDB_BASE_TIMER_H

#include <stdint.h>
#include <time.h>

static inline uint64_t vdb_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
