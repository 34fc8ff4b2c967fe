/* engine_rocksdb.c: RocksDB through its C interface: a WriteBatch for each batch, written with sync; its defaults
 * otherwise. The key is the id, big-endian; the value the vector and the metadata. */
#include "bench_storage.h"

#ifdef BENCH_ROCKSDB
#include <stdlib.h>
#include <string.h>

#include <rocksdb/c.h>

struct handle {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *sync;
};

static void *open_engine(const char *dir, uint32_t dimension)
{
    char *error = NULL;
    struct handle *handle = calloc(1, sizeof *handle);
    (void)dimension;
    if (handle == NULL) {
        bench_die("out of memory");
    }
    handle->options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(handle->options, 1);
    handle->sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(handle->sync, 1);
    handle->db = rocksdb_open(handle->options, dir, &error);
    if (error != NULL) {
        bench_die("rocksdb: %s", error);
    }
    return handle;
}

static void write_engine(void *context, const struct rows *rows, uint32_t first, uint32_t count,
                         uint64_t first_id)
{
    struct handle *handle = context;
    char *error = NULL;
    rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
    for (uint32_t i = 0; i < count; i++) {
        const size_t row = first + i;
        const uint64_t id = __builtin_bswap64(first_id + i);
        const char *const key = (const char *)&id;
        const size_t key_bytes = sizeof id;
        const char *const values[2] = {(const char *)(rows->vectors + row * rows->dimension),
                                       rows->metadata + row * METADATA_BYTES_MAX};
        const size_t value_bytes[2] = {rows->dimension * sizeof(float), rows->metadata_bytes[row]};
        rocksdb_writebatch_putv(batch, 1, &key, &key_bytes, 2, values, value_bytes);
    }
    rocksdb_write(handle->db, handle->sync, batch, &error);
    if (error != NULL) {
        bench_die("rocksdb: %s", error);
    }
    rocksdb_writebatch_destroy(batch);
}

static void close_engine(void *context)
{
    struct handle *handle = context;
    rocksdb_close(handle->db);
    rocksdb_writeoptions_destroy(handle->sync);
    rocksdb_options_destroy(handle->options);
    free(handle);
}

/* The build read it from the header: the C interface has no call for it. */
static const char *version(void)
{
    return BENCH_ROCKSDB_VERSION;
}

static const struct engine engine = {"rocksdb", true, version, open_engine, write_engine, close_engine};
const struct engine *const bench_engine_rocksdb = &engine;
#else
const struct engine *const bench_engine_rocksdb = NULL;
#endif
