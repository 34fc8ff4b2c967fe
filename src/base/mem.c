/* mem.c: checked allocation and the arena. */
#include "mem.h"

#include <stdlib.h>
#include <string.h>

void *vdb_calloc(size_t count, size_t size)
{
    return calloc(count > 0 ? count : 1, size > 0 ? size : 1); /* calloc checks the product */
}

bool vdb_realloc_array(void **p, size_t count, size_t size)
{
    size_t bytes;
    if (!vdb_size_mul(count, size, &bytes)) {
        return false;
    }
    void *grown = realloc(*p, bytes > 0 ? bytes : 1);
    if (grown == NULL) {
        return false;
    }
    *p = grown;
    return true;
}

void *vdb_alloc_aligned(size_t bytes)
{
    size_t padded;
    if (!vdb_size_add(bytes > 0 ? bytes : 1, VDB_CACHE_LINE_BYTES - 1, &padded)) {
        return NULL;
    }
    padded &= ~(size_t)(VDB_CACHE_LINE_BYTES - 1);
    void *memory = aligned_alloc(VDB_CACHE_LINE_BYTES, padded);
    if (memory != NULL) {
        memset(memory, 0, padded);
    }
    return memory;
}

char *vdb_strndup(const char *bytes, size_t count)
{
    size_t size;
    if (!vdb_size_add(count, 1, &size)) {
        return NULL;
    }
    char *copy = malloc(size);
    if (copy != NULL) {
        if (count > 0) {
            memcpy(copy, bytes, count);
        }
        copy[count] = '\0';
    }
    return copy;
}

struct vdb_arena_block {
    struct vdb_arena_block *next;
    size_t used;
    size_t capacity;
    _Alignas(16) unsigned char data[];
};

void vdb_arena_init(struct vdb_arena *arena, size_t block_bytes)
{
    *arena = (struct vdb_arena){.block_bytes = block_bytes};
}

void vdb_arena_fini(struct vdb_arena *arena)
{
    struct vdb_arena_block *block = arena->head;
    while (block != NULL) {
        struct vdb_arena_block *next = block->next;
        free(block);
        block = next;
    }
    arena->head = NULL;
    arena->total_bytes = 0;
}

/* A block for one oversized request goes behind the current one, which keeps being filled. */
static struct vdb_arena_block *add_block(struct vdb_arena *arena, size_t capacity)
{
    size_t bytes;
    if (!vdb_size_add(capacity, sizeof(struct vdb_arena_block), &bytes)) {
        return NULL;
    }
    struct vdb_arena_block *block = malloc(bytes);
    if (block == NULL) {
        return NULL;
    }
    block->used = 0;
    block->capacity = capacity;
    arena->total_bytes += bytes;
    if (arena->head != NULL && capacity > arena->block_bytes) {
        block->next = arena->head->next;
        arena->head->next = block;
    } else {
        block->next = arena->head;
        arena->head = block;
    }
    return block;
}

void *vdb_arena_alloc(struct vdb_arena *arena, size_t bytes)
{
    size_t rounded;
    if (!vdb_size_add(bytes > 0 ? bytes : 1, 15, &rounded)) {
        return NULL;
    }
    rounded &= ~(size_t)15;
    struct vdb_arena_block *block = arena->head;
    if (block == NULL || block->capacity - block->used < rounded) {
        block = add_block(arena, rounded > arena->block_bytes ? rounded : arena->block_bytes);
        if (block == NULL) {
            return NULL;
        }
    }
    void *memory = block->data + block->used;
    block->used += rounded;
    return memory;
}
