/* id.h: a point's id: an unsigned 64-bit integer or a UTF-8 string of 1..255 bytes.
 *
 * The two kinds never collide: 42 and "42" are two points. Order (it breaks ties between equal distances):
 * integers by value, then strings by their bytes. Threads: values; safe from all threads.
 */
#ifndef VDB_STORAGE_ID_H
#define VDB_STORAGE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vdb_id {
    const char *text; /* NULL: the id is `number`; else text_bytes bytes, borrowed */
    uint32_t text_bytes;
    uint64_t number;
};

bool vdb_id_equal(const struct vdb_id *a, const struct vdb_id *b);
bool vdb_id_before(const struct vdb_id *a, const struct vdb_id *b);
uint64_t vdb_id_hash(const struct vdb_id *id);

#endif
