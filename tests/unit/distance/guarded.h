/* guarded.h: memory between unreadable pages, for who may read no byte too many. */
#ifndef VDB_TESTS_GUARDED_H
#define VDB_TESTS_GUARDED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <unistd.h>

struct guarded {
    char *map;
    size_t map_bytes;
    char *data; /* first readable byte */
    size_t bytes;
};

static inline struct guarded guarded_create(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (bytes + page - 1) / page * page;
    struct guarded memory = {NULL, inner + 2 * page, NULL, inner};
    memory.map = mmap(NULL, memory.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory.map, MAP_FAILED);
    memory.data = memory.map + page;
    assert_int_equal(mprotect(memory.data, inner, PROT_READ | PROT_WRITE), 0);
    return memory;
}

static inline void guarded_destroy(struct guarded *memory)
{
    munmap(memory->map, memory->map_bytes);
}

/* Where `bytes` bytes lie: at the start of the memory, 1 byte later, or so that they end with it. */
enum place { PLACE_START, PLACE_ODD, PLACE_END, PLACE_COUNT };

static inline char *guarded_at(const struct guarded *memory, size_t bytes, enum place place)
{
    assert_true(bytes + 1 <= memory->bytes);
    return place == PLACE_END ? memory->data + memory->bytes - bytes : memory->data + (place == PLACE_ODD);
}

#endif
