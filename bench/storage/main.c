/* main.c: the storage benchmark: options, rows, rounds, JSON.
 *
 *     bench_storage [--quick] [--dir DIR] [--rounds N] [--only ingest|concurrent|lifetime]    JSON on stdout
 *
 * Participants take turns round by round in the same directory, so that a slow minute of the disk hits all of them; the
 * disk's own rate is measured in every round, too. Every sample goes into the JSON; report.py makes medians of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "base/timer.h"
#include "bench_storage.h"

enum { MEASURES_MAX = 64, SAMPLES_MAX = 64, THREADS_MAX = 64, SETTLE_US = 100000 };

/* About what a row of these takes in a log: vector, id, metadata, a record's head. */
#define ROW_LOG_BYTES(dimension) ((dimension) * sizeof(float) + 72)

struct measure {
    const char *name;
    double samples[SAMPLES_MAX];
    unsigned count;
};

static struct measure measures[MEASURES_MAX];
static unsigned measure_count;

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("bench_storage: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void bench_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

double bench_since(uint64_t started_ns)
{
    return (double)(vdb_now_ns() - started_ns) * 1e-9;
}

void bench_note(const char *measure, double value)
{
    unsigned i = 0;
    while (i < measure_count && strcmp(measures[i].name, measure) != 0) {
        i++;
    }
    if (i == MEASURES_MAX || measures[i].count == SAMPLES_MAX) {
        bench_die("more samples of %s than there is room for", measure);
    }
    if (i == measure_count) {
        measures[measure_count++].name = measure;
    }
    measures[i].samples[measures[i].count++] = value;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

static void remove_tree(const char *path)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT) {
        bench_die("%s: %s", path, strerror(errno));
    }
}

/* What one participant left to the disk (pages not yet written, blocks that were freed and are discarded with the next
 * commit of the file system's journal) must not be paid for by the next one. */
static void settle(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd) != 0) {
        bench_die("%s: %s", dir, strerror(errno));
    }
    close(fd);
    usleep(SETTLE_US);
}

const char *bench_fresh_dir(const struct settings *settings, const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", settings->dir, name);
    remove_tree(path);
    settle(settings->dir);
    return path;
}

static void make_rows(struct rows *rows, uint32_t count, uint32_t dimension)
{
    static const char *const colors[] = {"red", "green", "blue", "black", "white"};
    struct vdb_rng rng;
    vdb_rng_init(&rng, 1);
    *rows = (struct rows){.count = count, .dimension = dimension};
    rows->vectors = malloc((size_t)count * dimension * sizeof(float));
    rows->metadata = malloc((size_t)count * METADATA_BYTES_MAX);
    rows->metadata_bytes = malloc(count * sizeof *rows->metadata_bytes);
    if (rows->vectors == NULL || rows->metadata == NULL || rows->metadata_bytes == NULL) {
        bench_die("out of memory");
    }
    for (size_t i = 0; i < (size_t)count * dimension; i++) {
        rows->vectors[i] = vdb_rng_normal(&rng);
    }
    for (uint32_t i = 0; i < count; i++) {
        rows->metadata_bytes[i] = (uint32_t)snprintf(
            rows->metadata + (size_t)i * METADATA_BYTES_MAX, METADATA_BYTES_MAX,
            "{\"color\":\"%s\",\"price\":%u,\"name\":\"item %u\"}", colors[vdb_rng_below(&rng, 5)],
            (unsigned)vdb_rng_below(&rng, 100000), i);
    }
}

static void rows_fini(struct rows *rows)
{
    free(rows->vectors);
    free(rows->metadata);
    free(rows->metadata_bytes);
}

/* ---- Durable ingest, one writer ---- */

static double ingest(const struct settings *settings, const struct engine *engine, const struct rows *rows,
                     uint32_t count, uint32_t batch)
{
    void *handle = engine->open(bench_fresh_dir(settings, "ingest"), settings->dimension);
    const uint64_t started = vdb_now_ns();
    for (uint32_t at = 0; at < count; at += batch) {
        engine->write(handle, rows, at, count - at < batch ? count - at : batch, at);
    }
    const double rate = count / bench_since(started);
    engine->close(handle);
    (void)bench_fresh_dir(settings, "ingest");
    return rate;
}

static void bench_ingest(const struct settings *settings, const struct rows *rows)
{
    for (unsigned round = 0; round < settings->rounds; round++) {
        bench_say("ingest, round %u of %u", round + 1, settings->rounds);
        bench_note("ingest_vecdb_rows_per_second",
                   ingest(settings, &bench_engine_vecdb, rows, settings->rows, settings->batch));
        bench_note("single_vecdb_rows_per_second",
                   ingest(settings, &bench_engine_vecdb, rows, settings->single_rows, 1));
        if (bench_engine_sqlite != NULL) {
            bench_note("ingest_sqlite_rows_per_second",
                       ingest(settings, bench_engine_sqlite, rows, settings->rows, settings->batch));
        }
        if (bench_engine_rocksdb != NULL) {
            bench_note("ingest_rocksdb_rows_per_second",
                       ingest(settings, bench_engine_rocksdb, rows, settings->rows, settings->batch));
        }
        const size_t bytes = (size_t)settings->batch * ROW_LOG_BYTES(settings->dimension);
        bench_note("disk_sync_batch_rate", bench_disk_sync_rate(settings->dir, bytes, false, 0.5));
        bench_note("disk_sync_batch_ahead_rate", bench_disk_sync_rate(settings->dir, bytes, true, 0.5));
    }
}

/* ---- Single-row writes, many writers ---- */

struct writer {
    pthread_t thread;
    const struct engine *engine;
    void *handle;
    const struct rows *rows;
    const atomic_bool *stop;
    uint64_t first_id;
    uint64_t written;
};

static void *run_writer(void *context)
{
    struct writer *writer = context;
    while (!atomic_load_explicit(writer->stop, memory_order_relaxed)) {
        const uint64_t id = writer->first_id + writer->written;
        writer->engine->write(writer->handle, writer->rows, (uint32_t)(id % writer->rows->count), 1, id);
        writer->written++;
    }
    return NULL;
}

/* Rows per second; *group_size is that of vecdb. */
static double concurrent(const struct settings *settings, const struct engine *engine, const struct rows *rows,
                         double *group_size)
{
    struct writer writers[THREADS_MAX];
    atomic_bool stop = false;
    uint64_t written = 0;
    void *handle = engine->open(bench_fresh_dir(settings, "concurrent"), settings->dimension);
    const uint64_t started = vdb_now_ns();
    for (uint32_t i = 0; i < settings->threads; i++) {
        writers[i] = (struct writer){
            .engine = engine, .handle = handle, .rows = rows, .stop = &stop, .first_id = (uint64_t)i << 32};
        if (pthread_create(&writers[i].thread, NULL, run_writer, &writers[i]) != 0) {
            bench_die("cannot start a thread");
        }
    }
    usleep((useconds_t)(settings->seconds * 1e6));
    atomic_store(&stop, true);
    for (uint32_t i = 0; i < settings->threads; i++) {
        pthread_join(writers[i].thread, NULL);
        written += writers[i].written;
    }
    const double rate = (double)written / bench_since(started);
    if (engine == &bench_engine_vecdb) {
        uint64_t writes;
        uint64_t syncs;
        bench_vecdb_counts(handle, &writes, &syncs);
        *group_size = (double)writes / (double)syncs;
    }
    engine->close(handle);
    (void)bench_fresh_dir(settings, "concurrent");
    return rate;
}

static void bench_concurrent(const struct settings *settings, const struct rows *rows)
{
    for (unsigned round = 0; round < settings->rounds; round++) {
        double group_size = 0;
        bench_say("%u writers, round %u of %u", settings->threads, round + 1, settings->rounds);
        double disk = bench_disk_sync_rate(settings->dir, 4096, false, 0.5);
        const double rate = concurrent(settings, &bench_engine_vecdb, rows, &group_size);
        disk = (disk + bench_disk_sync_rate(settings->dir, 4096, false, 0.5)) / 2;
        const size_t bytes = (size_t)group_size * ROW_LOG_BYTES(settings->dimension);
        bench_note("disk_sync_group_rate", bench_disk_sync_rate(settings->dir, bytes, false, 0.5));
        bench_note("disk_sync_group_ahead_rate", bench_disk_sync_rate(settings->dir, bytes, true, 0.5));
        bench_note("disk_sync_ahead_rate", bench_disk_sync_rate(settings->dir, 4096, true, 0.5));
        bench_note("concurrent_vecdb_rows_per_second", rate);
        bench_note("concurrent_group_size", group_size);
        bench_note("disk_sync_rate", disk);
        bench_note("concurrent_share_of_disk", rate / (disk * group_size));
        if (bench_engine_rocksdb != NULL) {
            bench_note("concurrent_rocksdb_rows_per_second",
                       concurrent(settings, bench_engine_rocksdb, rows, &group_size));
        }
    }
}

/* ---- Report ---- */

static void print_json(const struct settings *settings)
{
    const struct engine *const engines[] = {&bench_engine_vecdb, bench_engine_sqlite, bench_engine_rocksdb};
    printf(
        "{\"settings\": {\"rows\": %u, \"single_rows\": %u, \"dimension\": %u, \"batch\": %u, \"threads\": %u, "
        "\"rounds\": %u, \"big_rows\": %u, \"big_rounds\": %u, \"reads\": %u},\n \"versions\": {",
        settings->rows, settings->single_rows, settings->dimension, settings->batch, settings->threads,
        settings->rounds, settings->big_rows, settings->big_rounds, settings->reads);
    for (size_t i = 0, printed = 0; i < sizeof engines / sizeof engines[0]; i++) {
        if (engines[i] != NULL) {
            printf("%s\"%s\": \"%s\"", printed++ > 0 ? ", " : "", engines[i]->name, engines[i]->version());
        }
    }
    printf("},\n \"samples\": {");
    for (unsigned i = 0; i < measure_count; i++) {
        printf("%s\n  \"%s\": [", i > 0 ? "," : "", measures[i].name);
        for (unsigned k = 0; k < measures[i].count; k++) {
            printf("%s%.9g", k > 0 ? ", " : "", measures[i].samples[k]);
        }
        printf("]");
    }
    printf("}}\n");
}

static bool wanted(const char *only, const char *part)
{
    return only == NULL || strcmp(only, part) == 0;
}

int main(int argc, char **argv)
{
    struct settings settings = {.dir = "bench-storage.tmp",
                                .rows = 100000,
                                .single_rows = 5000,
                                .dimension = 128,
                                .batch = 100,
                                .threads = 16,
                                .seconds = 3,
                                .rounds = 5,
                                .big_rows = 1000000,
                                .big_rounds = 3,
                                .reads = 50000};
    const char *only = NULL;
    struct rows rows;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            settings.rows = 20000;
            settings.single_rows = 500;
            settings.seconds = 1;
            settings.rounds = 2;
            settings.big_rows = 100000;
            settings.big_rounds = 2;
        } else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc) {
            settings.dir = argv[++i];
        } else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
            settings.rounds = (unsigned)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else {
            bench_die(
                "usage: bench_storage [--quick] [--dir DIR] [--rounds N] [--only ingest|concurrent|lifetime]");
        }
    }
    if (settings.rounds < 1 || settings.rounds > SAMPLES_MAX) {
        bench_die("--rounds: 1 to %d", SAMPLES_MAX);
    }
    if (mkdir(settings.dir, 0750) != 0) {
        bench_die("%s: %s; the directory is made here and removed at the end", settings.dir, strerror(errno));
    }
    make_rows(&rows, settings.rows, settings.dimension);
    if (wanted(only, "ingest")) {
        bench_ingest(&settings, &rows);
    }
    if (wanted(only, "concurrent")) {
        bench_concurrent(&settings, &rows);
    }
    if (wanted(only, "lifetime")) {
        bench_lifetime(&settings, &rows);
    }
    remove_tree(settings.dir);
    print_json(&settings);
    rows_fini(&rows);
    return 0;
}
