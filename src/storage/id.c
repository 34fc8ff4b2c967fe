/* id.c: comparison and hashing of ids. */
#include "id.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

bool vdb_id_equal(const struct vdb_id *a, const struct vdb_id *b)
{
    if (a->text == NULL || b->text == NULL) {
        return a->text == NULL && b->text == NULL && a->number == b->number;
    }
    return a->text_bytes == b->text_bytes && memcmp(a->text, b->text, a->text_bytes) == 0;
}

bool vdb_id_before(const struct vdb_id *a, const struct vdb_id *b)
{
    if (a->text == NULL || b->text == NULL) {
        if (a->text == NULL && b->text == NULL) {
            return a->number < b->number;
        }
        return a->text == NULL;
    }
    uint32_t common = a->text_bytes < b->text_bytes ? a->text_bytes : b->text_bytes;
    int order = memcmp(a->text, b->text, common);
    return order != 0 ? order < 0 : a->text_bytes < b->text_bytes;
}

uint64_t vdb_id_hash(const struct vdb_id *id)
{
    if (id->text == NULL) {
        return XXH3_64bits(&id->number, sizeof id->number);
    }
    return XXH3_64bits_withSeed(id->text, id->text_bytes, 1);
}
