/* segment_world.h: what the segment's tests share: segments of made-up rows in a fresh directory, and the check that
 * every read of one agrees with what was written. Row i is a function of (shape, i). Include after "support.h".
 */
#ifndef VDB_TESTS_UNIT_STORAGE_SEGMENT_WORLD_H
#define VDB_TESTS_UNIT_STORAGE_SEGMENT_WORLD_H

#include <stdlib.h>

#include "base/convert.h"
#include "base/rng.h"
#include "storage/segment.h"
#include "unit/env/env_world.h"

enum { SEGMENT_NUMBER = 12, META_BYTES_MAX = 1 << 20 };

static const uint8_t uuid[VDB_UUID_BYTES] = "fedcba987654321";

typedef enum id_shape { IDS_NUMBERS, IDS_TEXTS, IDS_MIXED } id_shape;
typedef enum meta_shape { META_EMPTY, META_SHORT, META_VARIED, META_HUGE } meta_shape;

struct shape {
    uint32_t rows;
    uint32_t dimension;
    id_shape ids;
    meta_shape metadata;
    vdb_element element;
};

struct row {
    struct vdb_id id;
    uint64_t seq;
    char text[VDB_LIMIT_ID_BYTES_MAX + 1];
    char *metadata; /* META_BYTES_MAX + 1, allocated once */
    size_t metadata_bytes;
    void *vector; /* as the segment keeps it */
    size_t vector_bytes;
};

static inline struct row make_scratch(const struct shape *shape)
{
    struct row row = {.metadata = malloc(META_BYTES_MAX + 1),
                      .vector = calloc(shape->dimension, sizeof(float)),
                      .vector_bytes = vdb_vector_bytes(shape->element, shape->dimension)};
    assert_non_null(row.metadata);
    assert_non_null(row.vector);
    return row;
}

static inline void free_scratch(struct row *row)
{
    free(row->metadata);
    free(row->vector);
}

static inline void make_metadata(const struct shape *shape, uint32_t i, struct row *row)
{
    struct vdb_rng rng;
    size_t bytes = 0;
    vdb_rng_init(&rng, i);
    switch (shape->metadata) {
    case META_EMPTY:
        break;
    case META_SHORT:
        bytes = i % 3 == 0 ? 0 : 20 + i % 50;
        break;
    case META_VARIED:
        bytes = i % 100 == 7 ? 40000 + i % 1000 : i % 5 == 0 ? 0 : (size_t)vdb_rng_below(&rng, 900) + 7;
        break;
    case META_HUGE:
        bytes = i % 2 == 0 ? META_BYTES_MAX - 2 - i : 100; /* row 0 reaches the limit */
        break;
    }
    if (bytes < 7) {
        row->metadata_bytes = (size_t)sprintf(row->metadata, "{}");
        return;
    }
    /* Every third row is noise, which does not compress. */
    memcpy(row->metadata, "{\"k\":\"", 6);
    for (size_t b = 6; b < bytes; b++) {
        row->metadata[b] = i % 3 == 0 ? (char)('#' + vdb_rng_below(&rng, 60)) : (char)('a' + (b + i) % 17);
    }
    memcpy(row->metadata + bytes, "\"}", 2);
    row->metadata_bytes = bytes + 2;
}

/* The number at place d of row i's vector, which its element can hold. */
static inline float number_of(const struct shape *shape, uint32_t i, uint32_t d)
{
    switch (shape->element) {
    case VDB_ELEMENT_U8:
        return (float)((i + d) % 256);
    case VDB_ELEMENT_I8:
        return (float)((i + d) % 256) - 128;
    case VDB_ELEMENT_F16:
        return d == i % 7 ? 65504.0f : (float)(i % 100) + (float)(d % 8) / 8 - 50;
    default:
        return (float)(i % 1000) + (float)d / 1024.0f - 500.0f;
    }
}

static inline void make_row(const struct shape *shape, uint32_t i, struct row *row)
{
    bool text = shape->ids == IDS_TEXTS || (shape->ids == IDS_MIXED && i % 3 != 1);
    if (text) {
        /* Lengths from 1 to the limit; row 0 has the number's bytes as a text. */
        int bytes = snprintf(
            row->text, sizeof row->text, i == 0 ? "a" : "id-%u-%.*s", i, (int)(i * 37 % 240),
            "........................................................................................"
            "........................................................................................"
            "................................................................");
        if (i == 3) {
            memset(row->text, 'x', VDB_LIMIT_ID_BYTES_MAX);
            bytes = VDB_LIMIT_ID_BYTES_MAX;
        }
        row->id = (struct vdb_id){.text = row->text, .text_bytes = (uint32_t)bytes};
    } else {
        row->id = (struct vdb_id){.number = i == 1 ? UINT64_MAX : i == 4 ? 0 : (i + UINT64_C(1)) * 1000003};
    }
    row->seq = 5 + (uint64_t)i * 11 % 1000;
    for (uint32_t d = 0; d < shape->dimension; d++) {
        float number = number_of(shape, i, d);
        vdb_convert_narrow(shape->element, &number, 1,
                           (uint8_t *)row->vector + d * vdb_element_bytes(shape->element));
    }
    make_metadata(shape, i, row);
}

static inline struct vdb_schema schema_of(const struct shape *shape)
{
    return (struct vdb_schema){.name = "test", .dimension = shape->dimension, .element = shape->element};
}

static inline void make_folders(struct world *w)
{
    assert_int_equal(make_dir(w, "vectors"), VDB_OK);
    assert_int_equal(make_dir(w, "meta"), VDB_OK);
    assert_ok(w->env->ops->sync_dir(w->env, w->root, &w->err), &w->err);
    assert_ok(w->env->ops->sync_dir(w->env, ".", &w->err), &w->err);
}

static inline int setup_segment_memory(void **state)
{
    setup_memory(state);
    make_folders(*state);
    return 0;
}

static inline int setup_segment_posix(void **state)
{
    setup_posix(state);
    make_folders(*state);
    return 0;
}

/* clang-format off */
#define SEGMENT_ON_POSIX(test)  {#test "/posix", test, setup_segment_posix, teardown, NULL}
#define SEGMENT_ON_MEMORY(test) {#test "/memory", test, setup_segment_memory, teardown, NULL}
/* clang-format on */

static inline vdb_status write_segment(struct world *w, const struct shape *shape, struct vdb_segment_info *info)
{
    struct vdb_segment_writer *writer = NULL;
    struct vdb_schema schema = schema_of(shape);
    struct row row = make_scratch(shape);
    vdb_status status = VDB_OK;
    VDB_CHECK(vdb_segment_writer_create(w->env, w->root, uuid, SEGMENT_NUMBER, &schema, &writer, &w->err));
    for (uint32_t i = 0; i < shape->rows; i++) {
        make_row(shape, i, &row);
        struct vdb_str metadata = {row.metadata, row.metadata_bytes};
        VDB_CHECK(vdb_segment_writer_add(writer, &row.id, row.seq, row.vector, metadata, &w->err));
        assert_int_equal(vdb_segment_writer_rows(writer), i + 1);
    }
    memset(info, 0xee, sizeof *info);
    VDB_CHECK(vdb_segment_writer_finish(writer, info, &w->err));
    assert_int_equal(info->number, SEGMENT_NUMBER);
    assert_int_equal(info->rows, shape->rows);
    assert_int_equal(info->dead_edition, 0);
    assert_int_equal(info->dead_rows, 0);
    assert_int_equal(vdb_segment_writer_bytes(writer), info->vectors.bytes + info->meta.bytes);
cleanup:
    vdb_segment_writer_destroy(writer);
    free_scratch(&row);
    return status;
}

static inline vdb_status open_segment(struct world *w, const struct shape *shape,
                                      const struct vdb_segment_info *info, struct vdb_segment **out)
{
    struct vdb_schema schema = schema_of(shape);
    *out = (struct vdb_segment *)w; /* must be overwritten */
    vdb_status status = vdb_segment_open(w->env, w->root, uuid, &schema, info, out, &w->err);
    assert_true((status == VDB_OK) == (*out != NULL));
    return status;
}

static inline struct vdb_segment *open_segment_ok(struct world *w, const struct shape *shape,
                                                  const struct vdb_segment_info *info)
{
    struct vdb_segment *segment;
    assert_ok(open_segment(w, shape, info, &segment), &w->err);
    return segment;
}

/* Everything that can be asked about row i, and whether it is as written. A status other than VDB_OK is the first
 * that a read had. */
static inline vdb_status compare_row(struct vdb_segment *segment, struct vdb_segment_meta *reader,
                                     const struct shape *shape, uint32_t i, struct row *row, struct vdb_err *err)
{
    struct vdb_id id;
    struct vdb_str metadata;
    const void *vector;
    uint32_t found;
    uint64_t seq;
    make_row(shape, i, row);
    VDB_TRY(vdb_segment_find(segment, &row->id, &found, err));
    assert_int_equal(found, i);
    VDB_TRY(vdb_segment_id(segment, i, &id, err));
    assert_true(vdb_id_equal(&id, &row->id));
    VDB_TRY(vdb_segment_seq_from(segment, i, &seq, err));
    assert_int_equal(seq, row->seq);
    VDB_TRY(vdb_segment_vector(segment, i, &vector, err));
    assert_int_equal((uintptr_t)vector % 64, 0);
    assert_memory_equal(vector, row->vector, row->vector_bytes);
    VDB_TRY(vdb_segment_meta_read(reader, i, &metadata, err));
    assert_int_equal(metadata.bytes, row->metadata_bytes);
    assert_memory_equal(metadata.data, row->metadata, metadata.bytes);
    return VDB_OK;
}

/* All rows, one after the other, and all vectors at once. */
static inline vdb_status compare_segment(struct vdb_segment *segment, const struct shape *shape,
                                         struct vdb_err *err)
{
    struct vdb_segment_meta reader;
    struct row row = make_scratch(shape);
    const void *rows;
    vdb_status status = VDB_OK;
    vdb_segment_meta_init(&reader, segment);
    for (uint32_t i = 0; i < shape->rows; i++) {
        VDB_CHECK(compare_row(segment, &reader, shape, i, &row, err));
    }
    VDB_CHECK(vdb_segment_vectors(segment, &rows, err));
    for (uint32_t i = 0; i < shape->rows; i++) {
        const uint8_t *vector = (const uint8_t *)rows + i * vdb_segment_stride(segment);
        make_row(shape, i, &row);
        assert_memory_equal(vector, row.vector, row.vector_bytes);
        for (size_t b = row.vector_bytes; b < vdb_segment_stride(segment); b++) {
            assert_int_equal(vector[b], 0);
        }
    }
cleanup:
    vdb_segment_meta_fini(&reader);
    free_scratch(&row);
    return status;
}

static inline const char *segment_file(vdb_block_file_kind kind, uint32_t edition)
{
    static char names[4][VDB_SEGMENT_NAME_BYTES];
    static unsigned turn;
    char *out = names[turn++ % 4];
    vdb_segment_file_name(out, kind, SEGMENT_NUMBER, edition);
    return out;
}

/* Replaces a file of the root directory. */
static inline void put_image(struct world *w, const char *name, const uint8_t *image, size_t bytes)
{
    struct vdb_file *file = open_ok(w, name, CREATE | VDB_OPEN_TRUNCATE);
    assert_ok(w->env->ops->write_at(w->env, file, image, bytes, 0, &w->err), &w->err);
    w->env->ops->close(w->env, file);
}

static inline uint8_t *get_image(struct world *w, const char *name, size_t *bytes)
{
    uint8_t *image;
    assert_ok(vdb_env_read_file(w->env, at(w, name), 1 << 30, &image, bytes, &w->err), &w->err);
    return image;
}

#endif
