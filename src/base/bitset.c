/* bitset.c: the dense bitset's memory. */
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
