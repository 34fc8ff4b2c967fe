/* block_edits.h: how a fuzzer's input changes a good block file: a list of edits of 8 bytes each, so that a mutation
 * of the input hits a field, not one of the file's thousands of zeros.
 *
 *     u8 target | u8 kind | u16 place | u32 value
 *
 * target: 0 the header, 1 the section table, 2 the footer, 3 anywhere, 4 the file's length; 16 + n: section n. kind % 8:
 * bytes set to value (1, 2, 4), xor-ed with it (1, 2, 4), zeros, or a copy of what stands at place `value`.
 */
#ifndef VDB_TESTS_FUZZ_BLOCK_EDITS_H
#define VDB_TESTS_FUZZ_BLOCK_EDITS_H

#include <stdio.h>

#include "unit/storage/block_image.h"

enum { EDIT_BYTES = 8, EDITS_MAX = 32 };

#define REQUIRE(condition)                                                                                       \
    do {                                                                                                         \
        if (!(condition)) {                                                                                      \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                            \
            abort();                                                                                             \
        }                                                                                                        \
    } while (0)

struct edited {
    uint8_t *data; /* owned; room for one byte more than bytes */
    size_t bytes;
};

static inline void edit_field(uint8_t *at, size_t room, uint8_t kind, uint32_t value, const uint8_t *image,
                              size_t bytes)
{
    static const size_t widths[] = {1, 2, 4, 1, 2, 4, 64, 16};
    size_t width = widths[kind % 8] < room ? widths[kind % 8] : room;
    for (size_t i = 0; i < width; i++) {
        uint8_t byte = i < 4 ? (uint8_t)(value >> (8 * i)) : 0;
        switch (kind % 8) {
        case 3:
        case 4:
        case 5:
            at[i] ^= byte;
            break;
        case 6:
            at[i] = 0;
            break;
        case 7:
            at[i] = image[(value + i) % bytes];
            break;
        default:
            at[i] = byte;
        }
    }
}

static inline void edit_once(struct edited *file, const uint8_t *edit)
{
    const size_t place = vdb_load_u16(edit + 2);
    const uint32_t value = vdb_load_u32(edit + 4);
    size_t room = 0;
    uint8_t *at = NULL;
    if (edit[0] == 4) {
        file->bytes = value % (file->bytes + 1);
    } else if (file->bytes >= IMAGE_MIN_BYTES) {
        uint8_t *footer = image_footer(file->data, file->bytes);
        if (edit[0] == 0) {
            at = file->data + place % 64;
        } else if (edit[0] == 1) {
            uint8_t *table = image_section(file->data, file->bytes, 0);
            at = table != NULL ? table + place % (size_t)(footer - table) : NULL;
        } else if (edit[0] == 2) {
            at = footer + place % IMAGE_FOOTER_BYTES;
        } else if (edit[0] == 3) {
            at = file->data + place % file->bytes;
        } else if (edit[0] >= 16) {
            uint8_t *section = image_find(file->data, file->bytes, edit[0] - 16, &room);
            at = section != NULL && room > 0 ? section + place % room : NULL;
        }
        if (at != NULL) {
            edit_field(at, (size_t)(file->data + file->bytes - at), edit[1], value, file->data, file->bytes);
        }
    }
}

/* A copy of image with the edits done. */
static inline struct edited edit_image(const uint8_t *image, size_t bytes, const uint8_t *edits,
                                       size_t edits_bytes)
{
    struct edited file = {.data = malloc(bytes + 1), .bytes = bytes};
    REQUIRE(file.data != NULL);
    if (bytes > 0) {
        memcpy(file.data, image, bytes);
    }
    for (size_t i = 0; i < EDITS_MAX && edits_bytes - i * EDIT_BYTES >= EDIT_BYTES; i++) {
        edit_once(&file, edits + i * EDIT_BYTES);
        if (file.bytes == 0) {
            break;
        }
    }
    return file;
}

#endif
