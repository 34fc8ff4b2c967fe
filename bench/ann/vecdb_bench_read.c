/* vecdb_bench_read.c: measures what the machine can read, by the widest loads it has. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/timer.h"
#include "vecdb_bench.h"

enum { THREADS_MAX = 256, SHARE_ALIGN_BYTES = 4096 };

struct share {
    vdb_read_loop *read;
    const char *data;
    size_t bytes;
    uint32_t repeats;
    double *seconds; /* of the first share only; NULL in the others */
    pthread_barrier_t *barrier;
    uint64_t sum;
};

static vdb_read_loop *widest(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        return vdb_read_loop_avx512;
    }
    if (__builtin_cpu_supports("avx2")) {
        return vdb_read_loop_avx2;
    }
#endif
    return vdb_read_loop_plain;
}

/* All threads begin a pass together; it has ended when the last one has. */
static void *read_share(void *argument)
{
    struct share *share = argument;
    for (uint32_t turn = 0; turn < share->repeats * VECDB_BENCH_LOOP_COUNT; turn++) {
        uint32_t loop = turn % VECDB_BENCH_LOOP_COUNT;
        pthread_barrier_wait(share->barrier);
        uint64_t begin_ns = vdb_now_ns();
        share->sum += share->read((enum vecdb_bench_loop)loop, share->data, share->bytes);
        pthread_barrier_wait(share->barrier);
        if (share->seconds != NULL) {
            share->seconds[loop * share->repeats + turn / VECDB_BENCH_LOOP_COUNT] =
                (double)(vdb_now_ns() - begin_ns) * 1e-9;
        }
    }
    return NULL;
}

int vecdb_bench_read(const void *data, uint64_t bytes, uint32_t threads, uint32_t repeats, double *seconds,
                     struct vecdb_bench_text text)
{
    struct share shares[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    pthread_barrier_t barrier;
    if (threads == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        threads = cores < 1 ? 1 : (uint32_t)cores;
    }
    if (threads > THREADS_MAX || (uintptr_t)data % 64 != 0 ||
        pthread_barrier_init(&barrier, NULL, threads) != 0) {
        (void)snprintf(text.data, text.bytes, "read: %u threads (at most %d), data aligned to %zu bytes (64)",
                       threads, THREADS_MAX, (size_t)(uintptr_t)data % 64);
        return 1;
    }
    size_t share_bytes = (size_t)bytes / threads / SHARE_ALIGN_BYTES * SHARE_ALIGN_BYTES;
    for (uint32_t i = 0; i < threads; i++) {
        const char *at = (const char *)data + i * share_bytes;
        size_t left = i + 1 == threads ? (size_t)bytes - i * share_bytes : share_bytes;
        shares[i] = (struct share){widest(), at, left, repeats, i == 0 ? seconds : NULL, &barrier, 0};
    }
    for (uint32_t i = 1; i < threads; i++) {
        if (pthread_create(&ids[i], NULL, read_share, &shares[i]) != 0) {
            /* The others wait at the barrier for a thread that never comes: there is no way on. */
            (void)fprintf(stderr, "vecdb_bench: thread %u of %u cannot start\n", i, threads);
            _exit(70);
        }
    }
    (void)read_share(&shares[0]);
    uint64_t sum = shares[0].sum;
    for (uint32_t i = 1; i < threads; i++) {
        (void)pthread_join(ids[i], NULL);
        sum += shares[i].sum;
    }
    pthread_barrier_destroy(&barrier);
    /* Shown to nobody, but it keeps the loads. */
    (void)snprintf(text.data, text.bytes, "%llu", (unsigned long long)sum);
    return 0;
}
