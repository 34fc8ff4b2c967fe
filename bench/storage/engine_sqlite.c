/* engine_sqlite.c: SQLite as its documentation recommends it for durable writes: WAL mode, synchronous=FULL, a transaction
 * for each batch, prepared statements; vectors as blobs, metadata as text. */
#include "bench_storage.h"

#ifdef BENCH_SQLITE
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <sqlite3.h>

struct handle {
    sqlite3 *db;
    sqlite3_stmt *begin;
    sqlite3_stmt *insert;
    sqlite3_stmt *commit;
};

static void check(struct handle *handle, int code, int wanted)
{
    if (code != wanted) {
        bench_die("sqlite: %s", sqlite3_errmsg(handle->db));
    }
}

static void prepare(struct handle *handle, const char *text, sqlite3_stmt **out)
{
    check(handle, sqlite3_prepare_v3(handle->db, text, -1, SQLITE_PREPARE_PERSISTENT, out, NULL), SQLITE_OK);
}

static void *open_engine(const char *dir, uint32_t dimension)
{
    char path[4096];
    struct handle *handle = calloc(1, sizeof *handle);
    (void)dimension;
    if (handle == NULL || mkdir(dir, 0750) != 0) {
        bench_die("sqlite: cannot make %s", dir);
    }
    snprintf(path, sizeof path, "%s/points.db", dir);
    check(handle, sqlite3_open(path, &handle->db), SQLITE_OK);
    check(
        handle,
        sqlite3_exec(handle->db,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                     "CREATE TABLE points(id INTEGER PRIMARY KEY, vector BLOB NOT NULL, metadata TEXT NOT NULL)",
                     NULL, NULL, NULL),
        SQLITE_OK);
    prepare(handle, "BEGIN IMMEDIATE", &handle->begin);
    prepare(handle, "INSERT OR REPLACE INTO points(id, vector, metadata) VALUES(?, ?, ?)", &handle->insert);
    prepare(handle, "COMMIT", &handle->commit);
    return handle;
}

static void step(struct handle *handle, sqlite3_stmt *statement)
{
    check(handle, sqlite3_step(statement), SQLITE_DONE);
    check(handle, sqlite3_reset(statement), SQLITE_OK);
}

static void write_engine(void *context, const struct rows *rows, uint32_t first, uint32_t count,
                         uint64_t first_id)
{
    struct handle *handle = context;
    step(handle, handle->begin);
    for (uint32_t i = 0; i < count; i++) {
        const size_t row = first + i;
        sqlite3_bind_int64(handle->insert, 1, (sqlite3_int64)(first_id + i));
        sqlite3_bind_blob(handle->insert, 2, rows->vectors + row * rows->dimension,
                          (int)(rows->dimension * sizeof(float)), SQLITE_STATIC);
        sqlite3_bind_text(handle->insert, 3, rows->metadata + row * METADATA_BYTES_MAX,
                          (int)rows->metadata_bytes[row], SQLITE_STATIC);
        step(handle, handle->insert);
    }
    step(handle, handle->commit);
}

static void close_engine(void *context)
{
    struct handle *handle = context;
    sqlite3_finalize(handle->begin);
    sqlite3_finalize(handle->insert);
    sqlite3_finalize(handle->commit);
    check(handle, sqlite3_close(handle->db), SQLITE_OK);
    free(handle);
}

static const struct engine engine = {"sqlite",    false,        sqlite3_libversion,
                                     open_engine, write_engine, close_engine};
const struct engine *const bench_engine_sqlite = &engine;
#else
const struct engine *const bench_engine_sqlite = NULL;
#endif
