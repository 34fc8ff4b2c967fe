/* segment_ends.c: which rows of a segment have ended, and when: in memory, and as a bitmap file at checkpoints.
 *
 * One writer, any number of readers, no lock. The writer ends a row in the order: end_max, ends[row], the row's bit
 * in dead_bits; each step is a release, each look of a reader an acquire. So
 *
 *   N1 who sees a row's bit sees its end, and an end_max that is not below it;
 *   N2 a view pinned at S (after everything up to S was ended: the pin synchronises) that copies dead_bits and then
 *      finds end_max <= S has copied exactly the rows that ended up to S. Otherwise it looks at the ends of the rows
 *      whose bits it saw, and of no others: a row that ends meanwhile ends after S.
 */
#include "segment_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

enum { END_BEFORE_ALL = 1 }; /* what rows get that were dead when the segment was opened */

static uint64_t dead_word(const struct vdb_segment *segment, size_t word)
{
    return atomic_load_explicit(&segment->dead_bits[word], memory_order_acquire);
}

/* The rows in that word of a bitset. */
static uint64_t word_mask(const struct vdb_segment *segment, size_t word)
{
    size_t left = segment->rows - word * 64;
    return left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1;
}

bool vdb_segment_end(struct vdb_segment *segment, uint32_t row, uint64_t seq)
{
    assert(row < segment->rows && seq > 0);
    if (atomic_load_explicit(&segment->ends[row], memory_order_relaxed) != 0) {
        return false;
    }
    if (seq > atomic_load_explicit(&segment->end_max, memory_order_relaxed)) {
        atomic_store_explicit(&segment->end_max, seq, memory_order_release);
    }
    atomic_store_explicit(&segment->ends[row], seq, memory_order_release);
    atomic_fetch_or_explicit(&segment->dead_bits[row / 64], UINT64_C(1) << (row % 64), memory_order_release);
    atomic_fetch_add_explicit(&segment->dead, 1, memory_order_relaxed);
    return true;
}

uint64_t vdb_segment_end_of(const struct vdb_segment *segment, uint32_t row)
{
    assert(row < segment->rows);
    return atomic_load_explicit(&segment->ends[row], memory_order_acquire);
}

uint32_t vdb_segment_dead(const struct vdb_segment *segment)
{
    return atomic_load_explicit(&segment->dead, memory_order_relaxed);
}

/* Of the rows in `dead` (a word of dead_bits), those that ended at or before seq. */
static uint64_t ended_by(const struct vdb_segment *segment, size_t word, uint64_t dead, uint64_t seq)
{
    uint64_t ended = dead;
    for (uint64_t left = dead; left != 0; left &= left - 1) {
        uint32_t row = (uint32_t)(word * 64) + (uint32_t)__builtin_ctzll(left);
        if (vdb_segment_end_of(segment, row) > seq) {
            ended &= ~(left & -left);
        }
    }
    return ended;
}

/* Takes all dead rows for ended, which is right when end_max, looked at afterwards, is not past seq (N2). */
static uint32_t fill_quick(const struct vdb_segment *segment, struct vdb_bitset *allow)
{
    uint32_t count = 0;
    for (size_t w = 0; w < vdb_bitset_words(segment->rows); w++) {
        uint64_t visible = ~dead_word(segment, w) & word_mask(segment, w);
        allow->words[w] = visible;
        count += (uint32_t)__builtin_popcountll(visible);
    }
    return count;
}

uint32_t vdb_segment_fill_visible(const struct vdb_segment *segment, uint64_t seq, struct vdb_bitset *allow)
{
    assert(allow->count >= segment->rows);
    if (atomic_load_explicit(&segment->end_max, memory_order_acquire) <= seq) {
        uint32_t quick = fill_quick(segment, allow);
        if (atomic_load_explicit(&segment->end_max, memory_order_acquire) <= seq) {
            return quick;
        }
    }
    uint32_t count = 0;
    for (size_t w = 0; w < vdb_bitset_words(segment->rows); w++) {
        uint64_t visible = ~ended_by(segment, w, dead_word(segment, w), seq) & word_mask(segment, w);
        allow->words[w] = visible;
        count += (uint32_t)__builtin_popcountll(visible);
    }
    return count;
}

/* ---- The bitmap file ---- */

static vdb_status write_dead(const struct vdb_segment *segment, const char *path, uint64_t seq, uint32_t edition,
                             const struct vdb_bitset *ended, uint32_t count, struct vdb_stamp *stamp,
                             struct vdb_err *err)
{
    struct vdb_block_writer *writer = NULL;
    struct vdb_block_file_name name = {.kind = VDB_BLOCK_FILE_DEAD, .number = segment->info.number};
    uint8_t head[VDB_SEGMENT_HEAD_BYTES] = {0};
    vdb_status status = VDB_OK;
    memcpy(name.uuid, segment->uuid, VDB_UUID_BYTES);
    vdb_store_u32(head + VDB_DH_ROWS, segment->rows);
    vdb_store_u32(head + VDB_DH_DEAD, count);
    vdb_store_u32(head + VDB_DH_EDITION, edition);
    vdb_store_u64(head + VDB_DH_SEQ, seq);
    VDB_CHECK(vdb_block_writer_create(segment->env, path, &name, &writer, err));
    VDB_CHECK(vdb_block_writer_section(writer, VDB_DEAD_BITS, err));
    VDB_CHECK(vdb_block_writer_append(writer, ended->words, vdb_bitset_words(segment->rows) * 8, err));
    VDB_CHECK(vdb_block_writer_section(writer, VDB_DEAD_HEAD, err));
    VDB_CHECK(vdb_block_writer_append(writer, head, sizeof head, err));
    VDB_CHECK(vdb_block_writer_finish(writer, stamp, err));
cleanup:
    vdb_block_writer_destroy(writer);
    return status;
}

vdb_status vdb_segment_save_dead(struct vdb_segment *segment, uint64_t seq, uint32_t edition,
                                 struct vdb_segment_info *info, struct vdb_err *err)
{
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    char folder[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_bitset ended = {0};
    struct vdb_stamp stamp = {0};
    uint32_t count = 0;
    bool begun = false;
    vdb_status status = VDB_OK;
    assert(edition > 0);
    if (!vdb_bitset_init(&ended, segment->rows)) {
        return vdb_err_no_memory(err, "a bitmap of dead rows");
    }
    for (size_t w = 0; w < vdb_bitset_words(segment->rows); w++) {
        ended.words[w] = ended_by(segment, w, dead_word(segment, w), seq);
        count += (uint32_t)__builtin_popcountll(ended.words[w]);
    }
    if (count > 0) {
        VDB_CHECK(vdb_segment_path(path, segment->dir, VDB_BLOCK_FILE_DEAD, segment->info.number, edition, err));
        VDB_CHECK(vdb_path_join(folder, sizeof folder, segment->dir, "meta", err));
        begun = true;
        VDB_CHECK(write_dead(segment, path, seq, edition, &ended, count, &stamp, err));
        VDB_CHECK(segment->env->ops->sync_dir(segment->env, folder, err));
    }
    info->dead_edition = count > 0 ? edition : 0;
    info->dead_rows = count;
    info->dead = stamp;
cleanup:
    if (status != VDB_OK && begun) {
        /* What stays is removed at the next open, as no manifest names it. */
        vdb_status removed = segment->env->ops->unlink(segment->env, path, NULL);
        (void)removed;
    }
    vdb_bitset_fini(&ended);
    return status;
}

/* Opens the bitmap file that info names and checks all of it; *bits is in the map. */
static vdb_status open_dead(const struct vdb_segment *segment, const struct vdb_segment_info *info,
                            struct vdb_block_file **out, const uint8_t **bits, struct vdb_err *err)
{
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_block_file_name name = {.kind = VDB_BLOCK_FILE_DEAD, .number = info->number};
    struct vdb_segment_part head;
    struct vdb_segment_part part;
    memcpy(name.uuid, segment->uuid, VDB_UUID_BYTES);
    VDB_TRY(vdb_segment_path(path, segment->dir, name.kind, info->number, info->dead_edition, err));
    VDB_TRY(vdb_block_file_open(segment->env, path, &name, &info->dead, out, err));
    const size_t words = vdb_bitset_words(segment->rows);
    VDB_TRY(vdb_segment_find_part(*out, VDB_DEAD_HEAD, VDB_SEGMENT_HEAD_BYTES, &head, err));
    VDB_TRY(vdb_segment_find_part(*out, VDB_DEAD_BITS, words * 8, &part, err));
    VDB_TRY(vdb_block_file_verify(*out, err));
    uint32_t rows = vdb_load_u32(head.data + VDB_DH_ROWS);
    uint32_t dead = vdb_load_u32(head.data + VDB_DH_DEAD);
    uint32_t edition = vdb_load_u32(head.data + VDB_DH_EDITION);
    if (rows != segment->rows || dead != info->dead_rows || edition != info->dead_edition) {
        return vdb_block_file_damaged(*out, err, head.data,
                                      "a bitmap of %u dead of %u rows, edition %u; expected %u of %u, edition %u",
                                      dead, rows, edition, info->dead_rows, segment->rows, info->dead_edition);
    }
    if (vdb_load_u32(head.data + VDB_DH_ZERO) != 0 ||
        !vdb_segment_all_zero(head.data + VDB_DH_ZERO_2, VDB_SEGMENT_HEAD_BYTES - VDB_DH_ZERO_2)) {
        return vdb_block_file_damaged(*out, err, head.data, "reserved bytes are not zero");
    }
    uint64_t count = 0;
    for (size_t w = 0; w < words; w++) {
        uint64_t word = vdb_load_u64(part.data + w * 8);
        count += (uint64_t)__builtin_popcountll(word);
        if ((word & ~word_mask(segment, w)) != 0) {
            return vdb_block_file_damaged(*out, err, part.data + w * 8, "a bit past the last of %u rows is set",
                                          rows);
        }
    }
    if (count != dead) {
        return vdb_block_file_damaged(*out, err, part.data, "%" PRIu64 " bits are set for %u dead rows", count,
                                      dead);
    }
    *bits = part.data;
    return VDB_OK;
}

vdb_status vdb_segment_open_ends(struct vdb_segment *segment, struct vdb_err *err)
{
    const struct vdb_segment_info *info = &segment->info;
    struct vdb_block_file *file = NULL;
    const uint8_t *bits = NULL;
    vdb_status status = VDB_OK;
    segment->ends = vdb_calloc(segment->rows, sizeof *segment->ends);
    segment->dead_bits = vdb_calloc(vdb_bitset_words(segment->rows), sizeof *segment->dead_bits);
    if (segment->ends == NULL || segment->dead_bits == NULL) {
        return vdb_err_no_memory(err, "a segment's ends");
    }
    if (info->dead_edition == 0) {
        return info->dead_rows == 0
                   ? VDB_OK
                   : vdb_err_set(err, VDB_CORRUPT, "segment %u has %u dead rows, and no bitmap of them",
                                 info->number, info->dead_rows);
    }
    VDB_CHECK(open_dead(segment, info, &file, &bits, err));
    for (size_t w = 0; w < vdb_bitset_words(segment->rows); w++) {
        uint64_t dead = vdb_load_u64(bits + w * 8);
        atomic_init(&segment->dead_bits[w], dead);
        for (uint64_t left = dead; left != 0; left &= left - 1) {
            atomic_init(&segment->ends[w * 64 + (size_t)__builtin_ctzll(left)], END_BEFORE_ALL);
        }
    }
    atomic_init(&segment->end_max, END_BEFORE_ALL);
    atomic_init(&segment->dead, info->dead_rows);
cleanup:
    vdb_block_file_close(file);
    return status;
}

void vdb_segment_close_ends(struct vdb_segment *segment)
{
    free(segment->ends);
    free(segment->dead_bits);
}

vdb_status vdb_segment_verify_dead(struct vdb_segment *segment, const struct vdb_segment_info *info,
                                   uint64_t *bytes, struct vdb_err *err)
{
    struct vdb_block_file *file = NULL;
    const uint8_t *bits = NULL;
    vdb_status status = VDB_OK;
    if (info->dead_edition == 0) {
        return VDB_OK;
    }
    VDB_CHECK(open_dead(segment, info, &file, &bits, err));
    for (size_t w = 0; w < vdb_bitset_words(segment->rows); w++) {
        if ((vdb_load_u64(bits + w * 8) & ~dead_word(segment, w)) != 0) {
            status = vdb_block_file_damaged(file, err, bits + w * 8, "a row is dead here that lives in memory");
            goto cleanup;
        }
    }
    *bytes += vdb_block_file_bytes(file);
cleanup:
    vdb_block_file_close(file);
    return status;
}
