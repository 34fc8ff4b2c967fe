/* engine_vecdb.c: VecDB by its public header, with its defaults (background checkpoints and compactions included). */
#include <stdlib.h>

#include "bench_storage.h"
#include "vecdb.h"

enum { BATCH_MAX = 1000 };

static void *open_engine(const char *dir, uint32_t dimension)
{
    vecdb *db;
    vecdb_error error;
    /* flat: what is measured is storage, and no engine beside it builds graphs. */
    const vecdb_collection_config config = {
        .name = "points", .dimension = dimension, .metric = VECDB_L2, .index = "flat"};
    if (vecdb_open(dir, NULL, &db, &error) != VECDB_OK ||
        vecdb_create_collection(db, &config, &error) != VECDB_OK) {
        bench_die("vecdb: %s", error.message);
    }
    return db;
}

static void write_engine(void *handle, const struct rows *rows, uint32_t first, uint32_t count, uint64_t first_id)
{
    vecdb_point points[BATCH_MAX];
    vecdb_error error;
    if (count > BATCH_MAX) {
        bench_die("batches of %u, at most %d", count, BATCH_MAX);
    }
    for (uint32_t i = 0; i < count; i++) {
        points[i] = (vecdb_point){.id = vecdb_id_number(first_id + i),
                                  .vector = rows->vectors + (size_t)(first + i) * rows->dimension,
                                  .dimension = rows->dimension,
                                  .metadata = rows->metadata + (size_t)(first + i) * METADATA_BYTES_MAX,
                                  .metadata_bytes = rows->metadata_bytes[first + i]};
    }
    if (vecdb_upsert(handle, "points", points, count, NULL, &error) != VECDB_OK) {
        bench_die("vecdb: %s", error.message);
    }
}

static void close_engine(void *handle)
{
    vecdb_close(handle);
}

void bench_vecdb_counts(void *handle, uint64_t *writes, uint64_t *syncs)
{
    vecdb_stats stats;
    vecdb_get_stats(handle, &stats);
    *writes = stats.writes;
    *syncs = stats.syncs;
}

const struct engine bench_engine_vecdb = {"vecdb", true, vecdb_version, open_engine, write_engine, close_engine};
