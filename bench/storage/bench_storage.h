/* bench_storage.h: what the parts of the storage benchmark share: the rows, the engines that store them, the disk's own
 * rates, and the samples that go out as JSON.
 *
 * A failure anywhere ends the program with a message: a benchmark that went on would lie.
 */
#ifndef BENCH_STORAGE_H
#define BENCH_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct settings {
    const char *dir; /* made by the program, on the disk to be measured, and removed at the end */
    uint32_t rows;
    uint32_t single_rows; /* of one-sync-per-insert */
    uint32_t dimension;
    uint32_t batch;
    uint32_t threads;
    double seconds; /* of each run of concurrent writers */
    unsigned rounds;
    uint32_t big_rows; /* of the collection that is recovered, opened and compacted */
    unsigned big_rounds;
    uint32_t reads;
};

/* Generated rows; row i has id i. */
struct rows {
    uint32_t count;
    uint32_t dimension;
    float *vectors;
    char *metadata; /* METADATA_BYTES_MAX for each row */
    uint32_t *metadata_bytes;
};

enum { METADATA_BYTES_MAX = 96 };

/* One that stores rows durably. `write` may be called from many threads where `threads` says so. `first_id` is the id of
 * rows->...[first]. */
struct engine {
    const char *name; /* as in the JSON */
    bool threads;
    const char *(*version)(void);
    void *(*open)(const char *dir, uint32_t dimension);
    void (*write)(void *handle, const struct rows *rows, uint32_t first, uint32_t count, uint64_t first_id);
    void (*close)(void *handle);
};

extern const struct engine bench_engine_vecdb;
extern const struct engine *const bench_engine_sqlite; /* NULL when it was not found at build time */
extern const struct engine *const bench_engine_rocksdb;

/* Acknowledged batches and syncs of an open vecdb engine. */
void bench_vecdb_counts(void *handle, uint64_t *writes, uint64_t *syncs);

/* ---- disk.c ---- */

/* A loop of writing `bytes` after the last ones and fdatasync, for `seconds`: syncs per second. The file grows by each;
 * with `ahead` its blocks were written and synced before, and are gone through again and again. */
double bench_disk_sync_rate(const char *dir, size_t bytes, bool ahead, double seconds);
/* Writes `bytes` in pieces of a megabyte and syncs once: bytes per second. */
double bench_disk_write_rate(const char *dir, uint64_t bytes);
/* Bytes that the directory's files take (their lengths). */
uint64_t bench_disk_usage(const char *dir);

/* ---- lifetime.c: recovery, opening, reads, compaction of one large collection ---- */

void bench_lifetime(const struct settings *settings, const struct rows *rows);

/* ---- main.c ---- */

_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void bench_say(const char *format, ...) __attribute__((format(printf, 1, 2))); /* progress, to stderr */
double bench_since(uint64_t started_ns);
/* Notes one sample of a measure; the name must live on. */
void bench_note(const char *measure, double value);
/* The directory of that name under settings->dir, without what was in it (not made). */
const char *bench_fresh_dir(const struct settings *settings, const char *name);

#endif
