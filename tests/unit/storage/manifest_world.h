/* manifest_world.h: what the manifest's tests share: one of a collection, and the comparison of two.
 *
 * Include after "support.h".
 */
#ifndef VDB_TESTS_UNIT_STORAGE_MANIFEST_WORLD_H
#define VDB_TESTS_UNIT_STORAGE_MANIFEST_WORLD_H

#include "storage/manifest.h"

static const struct vdb_manifest collection = {
    .kind = VDB_MANIFEST_COLLECTION,
    .uuid = {0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10, 0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78},
    .created_us = 5,
    .schema = {.name = "docs", .dimension = 384, .metric = VDB_METRIC_COSINE},
    .index_config = {.type = "flat"},
    .wal_first = 17,
};

static inline void encode(const struct vdb_manifest *manifest, struct vdb_buf *out)
{
    vdb_buf_clear(out);
    vdb_manifest_encode(manifest, out);
    assert_false(out->failed);
}

static inline void assert_same(const struct vdb_manifest *a, const struct vdb_manifest *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_memory_equal(a->uuid, b->uuid, VDB_UUID_BYTES);
    assert_true(a->created_us == b->created_us);
    assert_true(a->wal_first == b->wal_first);
    assert_string_equal(a->schema.name, b->schema.name);
    assert_string_equal(a->index_config.type, b->index_config.type);
    assert_int_equal(a->index_config.m, b->index_config.m);
    assert_int_equal(a->index_config.ef_construction, b->index_config.ef_construction);
    assert_int_equal(a->index_config.ef_search, b->index_config.ef_search);
    assert_int_equal(a->index_config.code_bits, b->index_config.code_bits);
    assert_int_equal(a->index_config.compact, b->index_config.compact);
    assert_int_equal(a->index_config.scan_below, b->index_config.scan_below);
    assert_true(a->index_config.target_recall == b->index_config.target_recall);
    assert_int_equal(a->schema.dimension, b->schema.dimension);
    assert_int_equal(a->schema.metric, b->schema.metric);
    assert_int_equal(a->schema.element, b->schema.element);
    assert_true(a->follower == b->follower);
    assert_true(a->checkpoint_seq == b->checkpoint_seq);
    assert_int_equal(a->next_number, b->next_number);
    assert_int_equal(a->segment_count, b->segment_count);
    for (uint32_t i = 0; i < a->segment_count; i++) {
        const struct vdb_segment_info *x = &a->segments[i];
        const struct vdb_segment_info *y = &b->segments[i];
        assert_int_equal(x->number, y->number);
        assert_int_equal(x->rows, y->rows);
        assert_int_equal(x->dead_edition, y->dead_edition);
        assert_int_equal(x->dead_rows, y->dead_rows);
        assert_true(x->vectors.bytes == y->vectors.bytes && x->vectors.crc == y->vectors.crc);
        assert_true(x->meta.bytes == y->meta.bytes && x->meta.crc == y->meta.crc);
        assert_true(x->dead.bytes == y->dead.bytes && x->dead.crc == y->dead.crc);
        assert_int_equal(x->index_edition, y->index_edition);
        assert_true(x->index.bytes == y->index.bytes && x->index.crc == y->index.crc);
    }
}

#endif
