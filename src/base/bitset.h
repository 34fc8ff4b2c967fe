/* bitset.h: a dense bitset over slots; the form in which a filter reaches an index (`allow`).
 *
 * Bit i lives in words[i / 64], bit i % 64. Threads: confined while written, shared-read after.
 */
#ifndef VDB_BASE_BITSET_H
#define VDB_BASE_BITSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vdb_bitset {
    uint64_t *words;
    size_t count; /* bits */
};

static inline size_t vdb_bitset_words(size_t count)
{
    return (count + 63) / 64;
}
static inline bool vdb_bitset_test(const struct vdb_bitset *set, size_t i)
{
    return (set->words[i / 64] >> (i % 64)) & 1;
}
static inline void vdb_bitset_set(struct vdb_bitset *set, size_t i)
{
    set->words[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline void vdb_bitset_clear(struct vdb_bitset *set, size_t i)
{
    set->words[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* All bits clear. False when memory is short. */
bool vdb_bitset_init(struct vdb_bitset *set, size_t count);
void vdb_bitset_fini(struct vdb_bitset *set);

#endif
