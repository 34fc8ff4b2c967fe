/* bitset.c: the dense bitset's memory and counting. */
#include "bitset.h"

#include "mem.h"

#include <stdlib.h>

bool vdb_bitset_init(struct vdb_bitset *set, size_t count)
{
    set->count = count;
    set->words = vdb_calloc(vdb_bitset_words(count), sizeof(uint64_t));
    return set->words != NULL;
}

void vdb_bitset_fini(struct vdb_bitset *set)
{
    free(set->words);
    *set = (struct vdb_bitset){0};
}

size_t vdb_bitset_popcount(const struct vdb_bitset *set)
{
    size_t sum = 0;
    for (size_t i = 0; i < vdb_bitset_words(set->count); i++) {
        sum += (size_t)__builtin_popcountll(set->words[i]);
    }
    return sum;
}
