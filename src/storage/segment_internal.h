/* segment_internal.h: what the segment's own files share: the bytes of its sections, and the open segment. Private to
 * segment.c, segment_write.c, segment_meta.c, segment_ends.c, segment_verify.c.
 *
 * Bytes: docs/format.md, section 6, is normative.
 */
#ifndef VDB_STORAGE_SEGMENT_INTERNAL_H
#define VDB_STORAGE_SEGMENT_INTERNAL_H

#include "base/limits.h"
#include "base/mem.h"
#include "segment.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Sections of the vectors file. */
enum { VDB_VECTORS_ROWS = 1, VDB_VECTORS_HEAD = 2 };

/* Sections of the meta file, in the order in which they are written. */
enum {
    VDB_META_TEXT = 1,     /* blocks of metadata, one after the other */
    VDB_META_TABLE = 2,    /* where each block lies, and one entry for their end */
    VDB_META_IDS = 3,      /* u64 per row: the number, or where the text begins in ID_TEXT */
    VDB_META_ID_BYTES = 4, /* u8 per row: 0 a number, else the text's length; empty when all are numbers */
    VDB_META_ID_TEXT = 5,
    VDB_META_SEQ = 6,  /* u64 per row: seq_from */
    VDB_META_HASH = 7, /* u32 per slot */
    VDB_META_HEAD = 8,
};

/* Sections of the dead bitmap's file. */
enum { VDB_DEAD_BITS = 1, VDB_DEAD_HEAD = 2 };

enum { VDB_SEGMENT_HEAD_BYTES = 64 }; /* of each file's head */

/* Offsets in the vectors file's head. */
enum { VDB_VH_DIMENSION = 0, VDB_VH_ELEMENT = 4, VDB_VH_STRIDE = 8, VDB_VH_ROWS = 12, VDB_VH_ZERO = 16 };

/* Offsets in the meta file's head. */
enum {
    VDB_MH_ROWS = 0,
    VDB_MH_TEXT_IDS = 4,
    VDB_MH_HASH_SEED = 8,
    VDB_MH_ID_TEXT_BYTES = 16,
    VDB_MH_SEQ_MIN = 24,
    VDB_MH_SEQ_MAX = 32,
    VDB_MH_METADATA_BYTES = 40,
    VDB_MH_BLOCKS = 48,
    VDB_MH_ZERO = 52,
};

/* Offsets in the dead bitmap's head. */
enum {
    VDB_DH_ROWS = 0,
    VDB_DH_DEAD = 4,
    VDB_DH_EDITION = 8,
    VDB_DH_ZERO = 12,
    VDB_DH_SEQ = 16,
    VDB_DH_ZERO_2 = 24
};

/* Offsets in an entry of the metadata blocks' table. */
enum { VDB_MT_OFFSET = 0, VDB_MT_FIRST_ROW = 8, VDB_MT_RAW_BYTES = 12, VDB_MT_ENTRY_BYTES = 16 };

/* A metadata block, decompressed: a u32 length per row, then the texts. More than one row share a block only up to
 * RAW_BYTES: small enough that one row costs about 10 us, large enough for lz4 to find what rows have in common. */
enum {
    VDB_META_BLOCK_RAW_BYTES = 32 << 10,
    VDB_META_BLOCK_LENGTH_BYTES = 4,
};
#define VDB_META_BLOCK_RAW_BYTES_MAX (VDB_META_BLOCK_LENGTH_BYTES + VDB_LIMIT_METADATA_BYTES_MAX)

/* Fixed by the format; the seed is drawn per file, so that nobody can choose ids that collide. The low half chooses
 * the slot, the high half the tag. */
static inline uint64_t vdb_segment_hash(uint64_t seed, const struct vdb_id *id)
{
    if (id->text == NULL) {
        return XXH3_64bits_withSeed(&id->number, sizeof id->number, seed);
    }
    return XXH3_64bits_withSeed(id->text, id->text_bytes, ~seed);
}

/* Slots of the table for so many rows (> 0): the smallest power of two that they fill to at most 2/3. */
static inline uint32_t vdb_segment_hash_capacity(uint32_t rows)
{
    uint32_t capacity = 2;
    while ((uint64_t)capacity * 2 < (uint64_t)rows * 3) {
        capacity *= 2;
    }
    return capacity;
}

/* The low bits of a slot, which hold row + 1; the bits above hold as much of the hash's high half as fits. */
static inline uint32_t vdb_segment_row_mask(uint32_t rows)
{
    return UINT32_MAX >> __builtin_clz(rows);
}

static inline size_t vdb_segment_stride_of(vdb_element element, uint32_t dimension)
{
    return vdb_round_up(vdb_vector_bytes(element, dimension), VDB_CACHE_LINE_BYTES);
}

/* A section in the map. */
struct vdb_segment_part {
    const uint8_t *data;
    uint64_t bytes;
};

struct vdb_segment {
    _Atomic uint32_t refs;
    struct vdb_companion *companion; /* of the store's maintain lock */
    uint32_t index_reserved;         /* likewise: the highest edition of an index file that was ever begun */
    struct vdb_env *env;
    char *dir;
    uint8_t uuid[VDB_UUID_BYTES];
    struct vdb_segment_info info;
    uint32_t rows;
    uint32_t dimension;
    vdb_element element;
    size_t stride;

    struct vdb_block_file *vectors;
    struct vdb_segment_part vector_rows;
    _Atomic bool vectors_good; /* all their blocks are */

    struct vdb_block_file *meta;
    struct vdb_segment_part text;
    struct vdb_segment_part table;
    struct vdb_segment_part ids;
    struct vdb_segment_part id_bytes;
    struct vdb_segment_part id_text;
    struct vdb_segment_part seqs;
    struct vdb_segment_part hash;
    struct vdb_segment_part meta_head;
    uint64_t hash_seed;
    uint32_t hash_capacity;
    uint32_t row_mask;
    uint32_t text_ids;
    uint32_t blocks; /* of metadata */

    /* Ends. What a reader sees of them is argued in segment_ends.c. */
    _Atomic uint64_t *ends;      /* per row; lazily zero pages */
    _Atomic uint64_t *dead_bits; /* rows whose end is set */
    _Atomic uint64_t end_max;    /* the highest end in ends, or higher */
    _Atomic uint32_t dead;
};

static inline bool vdb_segment_all_zero(const uint8_t *p, size_t bytes)
{
    return bytes == 0 || (p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0);
}

/* DIR/NAME of one of the segment's files. */
static inline vdb_status vdb_segment_path(char out[VDB_LIMIT_PATH_BYTES_MAX], const char *dir,
                                          vdb_block_file_kind kind, uint32_t number, uint32_t edition,
                                          struct vdb_err *err)
{
    char name[VDB_SEGMENT_NAME_BYTES];
    vdb_segment_file_name(name, kind, number, edition);
    return vdb_path_join(out, VDB_LIMIT_PATH_BYTES_MAX, dir, name, err);
}

/* Finds a section and checks its length. */
vdb_status vdb_segment_find_part(const struct vdb_block_file *file, uint32_t id, uint64_t bytes,
                                 struct vdb_segment_part *out, struct vdb_err *err) VDB_MUST_CHECK;

/* Allocates the ends, and reads the dead bitmap when info has one. */
vdb_status vdb_segment_open_ends(struct vdb_segment *segment, struct vdb_err *err) VDB_MUST_CHECK;
void vdb_segment_close_ends(struct vdb_segment *segment);

#endif
