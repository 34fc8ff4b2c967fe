/* attach_world.h: what the tests of index files and companions share: a collection of two segments, companions that count
 * themselves, index files whose content tells a salt.
 *
 * Include after "support.h".
 */
#ifndef VDB_TESTS_UNIT_STORAGE_ATTACH_WORLD_H
#define VDB_TESTS_UNIT_STORAGE_ATTACH_WORLD_H

#include <stdlib.h>

#include "env/env_memory.h"
#include "storage/batch.h"
#include "storage/store.h"

enum { DIMENSION = 2, ROWS = 20 };

static const struct vdb_schema schema = {.name = "docs", .dimension = DIMENSION, .metric = VDB_METRIC_L2};
static const struct vdb_index_config config = {.type = "qgraph", .m = 24, .target_recall = 0.9};

struct world {
    struct vdb_env *env;
    struct vdb_store *store;
};

/* ---- Companions that count themselves ---- */

struct counted {
    struct vdb_companion companion;
    uint32_t number; /* of its segment */
};

static _Atomic int counted_live;

static inline void counted_destroy(struct vdb_companion *companion)
{
    atomic_fetch_sub(&counted_live, 1);
    free(companion);
}

static inline struct vdb_companion *counted_create(uint32_t number)
{
    struct counted *counted = calloc(1, sizeof *counted);
    assert_non_null(counted);
    atomic_init(&counted->companion.refs, 1);
    counted->companion.destroy = counted_destroy;
    counted->number = number;
    atomic_fetch_add(&counted_live, 1);
    return &counted->companion;
}

static inline uint32_t counted_number(const struct vdb_companion *companion)
{
    return ((const struct counted *)(const void *)companion)->number;
}

/* ---- The world ---- */

static inline vdb_status write_ids(struct vdb_store *store, uint64_t first, uint64_t end, bool deletes,
                                   struct vdb_err *err)
{
    struct vdb_buf batch = {0};
    vdb_status status = VDB_OK;
    for (uint64_t n = first; n < end && status == VDB_OK;) {
        uint64_t seq;
        vdb_buf_clear(&batch);
        vdb_batch_begin(&batch, DIMENSION);
        for (unsigned count = 0; n < end && count < 5000; n++, count++) {
            struct vdb_id id = {.number = n};
            float vector[DIMENSION] = {(float)n, 1};
            if (deletes) {
                vdb_batch_delete(&batch, &id);
            } else {
                vdb_batch_upsert(&batch, &id, vector, DIMENSION, (struct vdb_str){"{}", 2});
            }
        }
        status = vdb_store_write(store, batch.data, batch.bytes, &seq, NULL, err);
    }
    vdb_buf_fini(&batch);
    return status;
}

/* A segment with the ids from `first` to `end`. */
static inline void add_segment(struct world *w, uint64_t first, uint64_t end)
{
    struct vdb_err err = {0};
    assert_ok(write_ids(w->store, first, end, false, &err), &err);
    assert_ok(vdb_store_checkpoint(w->store, &err), &err);
}

static inline void reopen(struct world *w)
{
    struct vdb_err err = {0};
    vdb_store_close(w->store, true);
    w->store = NULL;
    assert_ok(vdb_store_open(w->env, "c", NULL, &w->store, &err), &err);
}

/* A collection of two segments: ids 0 to 19, and 20 to 29. */
static inline int setup(void **state)
{
    struct vdb_err err = {0};
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    *state = w;
    w->env = vdb_env_memory_create();
    assert_ok(vdb_store_create(w->env, "c", &schema, &config, &err), &err);
    assert_ok(vdb_store_open(w->env, "c", NULL, &w->store, &err), &err);
    add_segment(w, 0, ROWS);
    add_segment(w, ROWS, ROWS + 10);
    return 0;
}

static inline int teardown(void **state)
{
    struct world *w = *state;
    vdb_store_close(w->store, true);
    assert_int_equal(atomic_load(&counted_live), 0);
    vdb_env_memory_destroy(w->env);
    free(w);
    return 0;
}

/* The segment's place in the present version; the view keeps it. */
static inline struct vdb_segment *pin_segment(struct world *w, struct vdb_view *view, uint32_t s)
{
    vdb_store_pin(w->store, view);
    assert_true(s < view->version->segment_count);
    return view->version->segments[s];
}

static inline struct vdb_companion *companion_of(const struct vdb_view *view, uint32_t s)
{
    return vdb_view_companion(view, view->version->memtable_count + s);
}

/* ---- Files ---- */

enum { CONTENT_BYTES = 200000 }; /* several blocks, and not a whole number of them */

/* Byte i of a file with this salt. */
static inline uint8_t content_at(uint32_t salt, size_t i)
{
    return (uint8_t)((i * 2654435761u + salt) >> 13);
}

static inline vdb_status fill(void *ctx, vdb_attach_put_fn *put, void *put_ctx, struct vdb_err *err)
{
    const uint32_t salt = *(const uint32_t *)ctx;
    uint8_t chunk[7777];
    for (size_t at = 0; at < CONTENT_BYTES;) {
        size_t bytes = CONTENT_BYTES - at < sizeof chunk ? CONTENT_BYTES - at : sizeof chunk;
        for (size_t i = 0; i < bytes; i++) {
            chunk[i] = content_at(salt, at + i);
        }
        VDB_TRY(put(put_ctx, chunk, bytes, err));
        at += bytes;
    }
    return VDB_OK;
}

static inline void attach(struct world *w, uint32_t s, uint32_t salt, struct vdb_companion *companion)
{
    struct vdb_err err = {0};
    struct vdb_view view;
    struct vdb_segment *segment = pin_segment(w, &view, s);
    assert_ok(vdb_store_attach(w->store, segment, fill, &salt, companion, &err), &err);
    vdb_view_release(&view);
    vdb_companion_unref(companion); /* the store has its own reference */
}

static inline void expect_content(struct vdb_store *store, uint32_t s, uint32_t salt)
{
    struct vdb_err err = {0};
    struct vdb_view view;
    struct vdb_block_file *file;
    const uint8_t *data;
    uint64_t bytes;
    vdb_store_pin(store, &view);
    assert_ok(vdb_store_attached_open(store, view.version->segments[s], &file, &data, &bytes, &err), &err);
    vdb_view_release(&view);
    assert_int_equal(bytes, CONTENT_BYTES);
    assert_int_equal((uintptr_t)data % VDB_BLOCK_FILE_ALIGN_BYTES, 0);
    for (size_t i = 0; i < bytes; i++) {
        assert_int_equal(data[i], content_at(salt, i));
    }
    vdb_block_file_close(file);
}

static inline vdb_status open_attached(struct vdb_store *store, uint32_t s, struct vdb_err *err)
{
    struct vdb_view view;
    struct vdb_block_file *file;
    const uint8_t *data;
    uint64_t bytes;
    vdb_store_pin(store, &view);
    vdb_status status = vdb_store_attached_open(store, view.version->segments[s], &file, &data, &bytes, err);
    vdb_view_release(&view);
    assert_true((status == VDB_OK) == (file != NULL));
    vdb_block_file_close(file);
    return status;
}

static inline bool exists(struct world *w, const char *path)
{
    vdb_file_kind kind;
    uint64_t bytes;
    struct vdb_err err = {0};
    return w->env->ops->stat(w->env, path, &kind, &bytes, &err) == VDB_OK;
}

static inline uint32_t edition_in(struct world *w, const char *dir, uint32_t s)
{
    struct vdb_manifest manifest;
    struct vdb_err err = {0};
    assert_ok(vdb_manifest_load(w->env, dir, VDB_MANIFEST_COLLECTION, &manifest, &err), &err);
    assert_true(s < manifest.segment_count);
    uint32_t edition = manifest.segments[s].index_edition;
    vdb_manifest_fini(&manifest);
    return edition;
}

static inline void expect_config(struct vdb_store *store, const struct vdb_index_config *expected)
{
    struct vdb_index_config got;
    vdb_store_get_index_config(store, &got);
    assert_memory_equal(&got, expected, sizeof got);
}

#define ATTACH_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
