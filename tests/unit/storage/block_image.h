/* block_image.h: an image of a block file under a test's or a fuzzer's hands: where its parts lie (docs/format.md,
 * section 5), and its checksums set right after a change, so that the change is met by what looks behind them.
 * Knows nothing of src/storage/block_file.c. */
#ifndef VDB_TESTS_UNIT_STORAGE_BLOCK_IMAGE_H
#define VDB_TESTS_UNIT_STORAGE_BLOCK_IMAGE_H

#include <stdlib.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "storage/manifest.h"

enum {
    IMAGE_HEADER_BYTES = 4096,
    IMAGE_BLOCK_BYTES = 65536,
    IMAGE_SECTION_BYTES = 24,
    IMAGE_FOOTER_BYTES = 64,
    IMAGE_MIN_BYTES = IMAGE_HEADER_BYTES + IMAGE_FOOTER_BYTES,
};

/* Offsets in the header. */
enum {
    IMAGE_FORMAT = 8,
    IMAGE_MIN_READER = 12,
    IMAGE_FEATURES = 16,
    IMAGE_UUID = 24,
    IMAGE_KIND = 40,
    IMAGE_NUMBER = 44,
    IMAGE_HEADER_ZERO = 48,
    IMAGE_HEADER_CRC = 4092,
};

/* Offsets in the footer. */
enum {
    IMAGE_DATA_BYTES = 8,
    IMAGE_BLOCKS = 16,
    IMAGE_SECTIONS = 20,
    IMAGE_HEADER_CRC_COPY = 24,
    IMAGE_FOOTER_ZERO = 28,
    IMAGE_FOOTER_CRC = 60,
};

static inline uint8_t *image_footer(uint8_t *image, size_t bytes)
{
    return image + bytes - IMAGE_FOOTER_BYTES;
}

/* What the footer says, kept within the image. */
static inline size_t image_data_bytes(uint8_t *image, size_t bytes)
{
    uint64_t data_bytes = vdb_load_u64(image_footer(image, bytes) + IMAGE_DATA_BYTES);
    return data_bytes <= bytes - IMAGE_FOOTER_BYTES ? (size_t)data_bytes : bytes - IMAGE_FOOTER_BYTES;
}

/* Entry i of the section table; NULL when there is none within the image. */
static inline uint8_t *image_section(uint8_t *image, size_t bytes, uint32_t i)
{
    size_t count = vdb_load_u32(image_footer(image, bytes) + IMAGE_SECTIONS);
    size_t room = bytes - IMAGE_FOOTER_BYTES - image_data_bytes(image, bytes);
    return i < count && count <= room / IMAGE_SECTION_BYTES
               ? image_footer(image, bytes) - (count - i) * IMAGE_SECTION_BYTES
               : NULL;
}

/* Where section `id` lies, NULL when there is none or it leaves the image. */
static inline uint8_t *image_find(uint8_t *image, size_t bytes, uint32_t id, size_t *section_bytes)
{
    uint8_t *entry;
    for (uint32_t i = 0; (entry = image_section(image, bytes, i)) != NULL; i++) {
        uint64_t offset = vdb_load_u64(entry + 8);
        uint64_t length = vdb_load_u64(entry + 16);
        if (vdb_load_u32(entry) == id && offset <= bytes && length <= bytes - offset) {
            *section_bytes = (size_t)length;
            return image + offset;
        }
    }
    return NULL;
}

/* Sets all checksums right, as far as the footer makes sense; returns the file's stamp. */
static inline struct vdb_stamp image_seal(uint8_t *image, size_t bytes)
{
    if (bytes < IMAGE_MIN_BYTES) {
        return (struct vdb_stamp){.bytes = bytes};
    }
    uint8_t *footer = image_footer(image, bytes);
    vdb_store_u32(image + IMAGE_HEADER_CRC, vdb_crc32c(0, image, IMAGE_HEADER_CRC));
    vdb_store_u32(footer + IMAGE_HEADER_CRC_COPY, vdb_load_u32(image + IMAGE_HEADER_CRC));
    size_t data_bytes = image_data_bytes(image, bytes);
    size_t room = (bytes - IMAGE_FOOTER_BYTES - data_bytes) / 4;
    for (size_t i = 0; i < room && i * IMAGE_BLOCK_BYTES < data_bytes; i++) {
        size_t left = data_bytes - i * IMAGE_BLOCK_BYTES;
        vdb_store_u32(
            image + data_bytes + i * 4,
            vdb_crc32c(0, image + i * IMAGE_BLOCK_BYTES, left < IMAGE_BLOCK_BYTES ? left : IMAGE_BLOCK_BYTES));
    }
    uint32_t crc = vdb_crc32c(0, image + data_bytes, (size_t)(footer - image) + IMAGE_FOOTER_CRC - data_bytes);
    vdb_store_u32(footer + IMAGE_FOOTER_CRC, crc);
    return (struct vdb_stamp){.bytes = bytes, .crc = crc};
}

#endif
