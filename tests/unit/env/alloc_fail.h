/* alloc_fail.h: lets the n-th allocation of a test program fail, whoever asks for it.
 *
 *     for (uint64_t n = 1;; n++) {
 *         alloc_fail_arm(n, false);
 *         vdb_status status = what_is_tested(...);
 *         uint64_t made = alloc_fail_disarm();
 *         if (made < n) break;              // passed untouched: every allocation has failed once
 *         ... status is VDB_NO_MEMORY, or the failure was of no account; nothing is half done ...
 *     }
 *
 * The program's own malloc, calloc, realloc, aligned_alloc, posix_memalign and memalign stand in front of the C
 * library's (glibc), and hand on to them. A sanitizer stands there itself: then nothing is replaced, and
 * alloc_fail_works() is false for the test to skip. Include it in one file of a program only.
 *
 * Threads: atomic; it counts and fails for all threads alike. Nothing is to be asserted while armed (a failing
 * assertion allocates).
 */
#ifndef VDB_TESTS_UNIT_ENV_ALLOC_FAIL_H
#define VDB_TESTS_UNIT_ENV_ALLOC_FAIL_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static atomic_bool alloc_fail_armed;
static atomic_bool alloc_fail_forever;
static _Atomic uint64_t alloc_fail_count;
static _Atomic uint64_t alloc_fail_n;

/* The n-th allocation from now on fails (1: the next; 0: none, they are only counted), with `forever` all from the
 * n-th on. */
static inline void alloc_fail_arm(uint64_t n, bool forever)
{
    atomic_store(&alloc_fail_count, 0);
    atomic_store(&alloc_fail_n, n);
    atomic_store(&alloc_fail_forever, forever);
    atomic_store(&alloc_fail_armed, true);
}

/* Returns how many allocations there were since it was armed. */
static inline uint64_t alloc_fail_disarm(void)
{
    atomic_store(&alloc_fail_armed, false);
    return atomic_load(&alloc_fail_count);
}

#if defined(__GLIBC__) && !defined(VDB_SANITIZED)

static inline bool alloc_fail_works(void)
{
    return true;
}

static bool alloc_fail_now(void)
{
    if (!atomic_load_explicit(&alloc_fail_armed, memory_order_relaxed)) {
        return false;
    }
    uint64_t number = atomic_fetch_add(&alloc_fail_count, 1) + 1;
    uint64_t n = atomic_load(&alloc_fail_n);
    bool fails = n != 0 && (number == n || (number > n && atomic_load(&alloc_fail_forever)));
    if (fails) {
        errno = ENOMEM;
    }
    return fails;
}

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *p, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);

__attribute__((visibility("default"))) void *malloc(size_t bytes)
{
    return alloc_fail_now() ? NULL : __libc_malloc(bytes);
}

__attribute__((visibility("default"))) void *calloc(size_t count, size_t bytes)
{
    return alloc_fail_now() ? NULL : __libc_calloc(count, bytes);
}

__attribute__((visibility("default"))) void *realloc(void *p, size_t bytes)
{
    return alloc_fail_now() ? NULL : __libc_realloc(p, bytes);
}

__attribute__((visibility("default"))) void *aligned_alloc(size_t align, size_t bytes)
{
    return alloc_fail_now() ? NULL : __libc_memalign(align, bytes);
}

void *memalign(size_t align, size_t bytes);
__attribute__((visibility("default"))) void *memalign(size_t align, size_t bytes)
{
    return alloc_fail_now() ? NULL : __libc_memalign(align, bytes);
}

__attribute__((visibility("default"))) int posix_memalign(void **out, size_t align, size_t bytes)
{
    void *p = alloc_fail_now() ? NULL : __libc_memalign(align, bytes);
    if (p == NULL) {
        return ENOMEM;
    }
    *out = p;
    return 0;
}

#else

static inline bool alloc_fail_works(void)
{
    return false;
}

#endif
#endif
