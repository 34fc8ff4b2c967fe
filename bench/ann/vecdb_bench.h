/* vecdb_bench.h: what the benchmark harness calls through ctypes: exact search over an array, and the machine's
 * read bandwidth. The target vecdb_bench builds it as a shared library; nothing else uses it.
 *
 * Every function returns 0, or a vdb_status with its words in `text`. ids has query_count * k entries; those past
 * a query's last hit are UINT32_MAX. threads 0 means all cores.
 *
 * Threads: every call stands alone.
 */
#ifndef VECDB_BENCH_H
#define VECDB_BENCH_H

#include <stddef.h>
#include <stdint.h>

#define VECDB_BENCH_API __attribute__((visibility("default")))

struct vecdb_bench_text {
    char *data;
    size_t bytes;
};

struct vecdb_bench_job {
    const void *rows;
    const void *queries;
    uint64_t row_count;
    uint64_t query_count;
    uint64_t dimension;
    uint64_t k;
    uint32_t element; /* vdb_element */
    uint32_t metric;  /* vdb_metric */
    uint32_t threads;
};

/* One query after the other, each by one thread, the queries dealt out over `threads` threads. */
VECDB_BENCH_API int vecdb_bench_flat(const struct vecdb_bench_job *job, uint32_t *ids,
                                     struct vecdb_bench_text text);

/* One query after the other, each by all threads at once (vdb_flat_team). */
VECDB_BENCH_API int vecdb_bench_split(const struct vecdb_bench_job *job, uint32_t *ids,
                                      struct vecdb_bench_text text);

/* All queries as one batch; text then says by which plan. */
VECDB_BENCH_API int vecdb_bench_exact(const struct vecdb_bench_job *job, uint32_t *ids,
                                      struct vecdb_bench_text text);

/* Which kernels this process runs. */
VECDB_BENCH_API void vecdb_bench_describe(struct vecdb_bench_text out);

/* The loops that read memory and do nothing else. None is the fastest on every machine, so all are measured. */
enum vecdb_bench_loop {
    VECDB_BENCH_LOOP_PLAIN,   /* eight loads a step, one after the other */
    VECDB_BENCH_LOOP_AHEAD,   /* a line a step, and asks for the line 8 KiB later */
    VECDB_BENCH_LOOP_STREAMS, /* both halves at once */
    VECDB_BENCH_LOOP_COUNT
};

/* Seconds that `threads` threads took to read `bytes` bytes once, each its share, by vector loads: every loop in
 * turn, `repeats` times: seconds[loop * repeats + pass]. data must be 64-byte aligned. */
VECDB_BENCH_API int vecdb_bench_read(const void *data, uint64_t bytes, uint32_t threads, uint32_t repeats,
                                     double *seconds, struct vecdb_bench_text text);

/* ---- Between the files of the library ---- */

enum { VDB_READ_LOOP_AHEAD_BYTES = 8192 };

/* Reads all bytes once; the value depends on each of them, so that no load may be left out. */
typedef uint64_t vdb_read_loop(enum vecdb_bench_loop loop, const void *data, size_t bytes);
vdb_read_loop vdb_read_loop_plain, vdb_read_loop_avx2, vdb_read_loop_avx512;

#endif
