/* mem.h: checked sizes, aligned allocation, and the arena that gives short-lived memory.
 *
 * The creator frees; a transfer is written "takes ownership" in a header. Sizes computed from input go through
 * the checked functions, so that a lying header cannot wrap a multiplication. Threads: the functions are
 * thread-safe; one arena is confined to one thread at a time.
 */
#ifndef VDB_BASE_MEM_H
#define VDB_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VDB_CACHE_LINE_BYTES = 64 };

static inline bool vdb_size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

static inline bool vdb_size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* value rounded up to a multiple of align (a power of two). The caller keeps value far from SIZE_MAX. */
static inline size_t vdb_round_up(size_t value, size_t align)
{
    return (value + align - 1) & ~(align - 1);
}

/* count * size zeroed bytes, or NULL (also when the product overflows). Freed with free(). */
void *vdb_calloc(size_t count, size_t size);

/* Grows or shrinks *p (an array of count items of size bytes); keeps *p valid on failure. */
bool vdb_realloc_array(void **p, size_t count, size_t size);

/* Zeroed memory aligned to 64 bytes, its size rounded up to 64, or NULL. Freed with free(). */
void *vdb_alloc_aligned(size_t bytes);

/* NUL-terminated copy of bytes[0..count), or NULL. Freed with free(). */
char *vdb_strndup(const char *bytes, size_t count);

/* Arena: bump allocation from blocks; everything is freed at once. Addresses stay valid until fini. */
struct vdb_arena {
    struct vdb_arena_block *head;
    size_t block_bytes; /* size of a fresh block; larger requests get a block of their own */
    size_t total_bytes; /* held from malloc, for metrics */
};

void vdb_arena_init(struct vdb_arena *arena, size_t block_bytes);
void vdb_arena_fini(struct vdb_arena *arena);

/* bytes of memory aligned to 16, not zeroed, or NULL. Freed by vdb_arena_fini. */
void *vdb_arena_alloc(struct vdb_arena *arena, size_t bytes);

#endif
