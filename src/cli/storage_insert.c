/* storage_insert.c: `vecdb storage init`, `insert` and `delete`.
 *
 * Generated points depend on seed and id alone, so that an insert that was killed can be run again, and what is there
 * afterwards can be told from what should be.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/timer.h"
#include "cli.h"
#include "data/stream.h"
#include "storage.h"

enum {
    DIMENSION_DEFAULT = 128,
    INSERT_BATCH_DEFAULT = 100,
    DELETE_BATCH = 1000,
    ACKNOWLEDGED_LINES = 10, /* of one insert, so that a kill can be held against the last */
    COUNT_DEFAULT = 10000,
};

static const char *const metric_names[] = {"l2", "cosine", "dot", "l1", NULL};
_Static_assert(VECDB_L2 == 0 && VECDB_COSINE == 1 && VECDB_DOT == 2 && VECDB_L1 == 3,
               "metric_names is in the order of vecdb_metric");
static const char *const element_names[] = {"f32", "u8", "i8", "f16", NULL};
_Static_assert(VECDB_F32 == 0 && VECDB_U8 == 1 && VECDB_I8 == 2 && VECDB_F16 == 3,
               "element_names is in the order of vecdb_element");

/* ---- init ---- */

static size_t describe_init(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    options->dimension = DIMENSION_DEFAULT;
    table[0] = (struct vdb_args_option){.name = "--dim",
                                        .kind = VDB_ARGS_NUMBER,
                                        .out = &options->dimension,
                                        .value_name = "NUMBER",
                                        .help = "values in a vector, 1 to 65,536 (default 128)",
                                        .min = 1,
                                        .max = VDB_LIMIT_DIMENSION_MAX};
    table[1] = (struct vdb_args_option){.name = "--metric",
                                        .kind = VDB_ARGS_CHOICE,
                                        .out = &options->metric,
                                        .value_name = "METRIC",
                                        .help = "l2 (default), cosine, dot or l1",
                                        .choices = metric_names};
    table[2] = (struct vdb_args_option){.name = "--element",
                                        .kind = VDB_ARGS_CHOICE,
                                        .out = &options->element,
                                        .value_name = "ELEMENT",
                                        .help = "what segments keep of a number: f32 (default), f16, u8 or i8",
                                        .choices = element_names};
    return 3 + vdb_storage_index_describe(options, table + 3);
}

static vdb_status create(vecdb *db, const struct vdb_storage_options *options, struct vdb_err *err)
{
    vecdb_error error;
    vecdb_index_config index;
    VDB_TRY(vdb_storage_index_config(options, &index, err));
    const vecdb_collection_config config = {.name = options->collection,
                                            .dimension = (uint32_t)options->dimension,
                                            .metric = (vecdb_metric)options->metric,
                                            .element = (vecdb_element)options->element,
                                            .index_config = &index};
    return vdb_storage_outcome(vecdb_create_collection(db, &config, &error), &error, err);
}

static vdb_status run_init(const struct vdb_storage_options *options, struct vdb_err *err)
{
    vecdb_error error;
    vecdb *db = NULL;
    struct vdb_buf out = {0};
    const vecdb_options how = {.no_maintenance = 1};
    vecdb_collection_info info;
    vdb_status status;
    VDB_CHECK(vdb_storage_outcome(vecdb_open(options->path, &how, &db, &error), &error, err));
    VDB_CHECK(create(db, options, err));
    VDB_CHECK(vdb_storage_get_info(db, options->collection, &info, err));
    if (options->json) {
        vdb_buf_put_text(&out, "{\"path\":");
        vdb_json_put_string(&out, vdb_str_of(options->path));
        vdb_buf_put_text(&out, ",\"collection\":");
        vdb_json_put_string(&out, vdb_str_of(options->collection));
        vdb_buf_printf(
            &out, ",\"dimension\":%" PRIu64 ",\"metric\":\"%s\",\"element\":\"%s\",\"index\":\"%s\"}\n",
            options->dimension, metric_names[options->metric], element_names[options->element], info.index);
    } else {
        vdb_buf_printf(&out, "Made collection \"%s\" in %s\n\n", options->collection, options->path);
        vdb_storage_line(&out, "dimension", "%" PRIu64, options->dimension);
        vdb_storage_line(&out, "metric", "%s", metric_names[options->metric]);
        vdb_storage_line(&out, "element", "%s", element_names[options->element]);
        vdb_storage_line(&out, "index", "%s", info.index);
    }
    status = vdb_cli_write(&out, err);

cleanup:
    vdb_buf_fini(&out);
    vecdb_close(db);
    return status;
}

const struct vdb_storage_verb vdb_storage_insert_init = {
    .name = "init",
    .summary = "Make a collection, and the data directory when it is missing",
    .about =
        "Durable when it returns. A collection of that name that is there is refused.\n"
        "Vectors on disk take half as much in f16, which rounds numbers to about three digits, and a quarter in\n"
        "u8 and i8, which take whole numbers only, of 0 to 255 and of -128 to 127.\n"
        "The index can be changed later: vecdb storage index.\n",
    .examples = "  vecdb storage init --path ./data\n"
                "  vecdb storage init --path ./data --collection docs --dim 768 --metric cosine\n"
                "  vecdb storage init --path ./data --collection sift --element u8\n"
                "  vecdb storage init --path ./data --collection exact --index flat\n"
                "  vecdb storage init --path ./data --collection wiki --index hnsw --m 24 --target-recall 0.95\n"
                "  vecdb storage init --path ./data --collection large --index qgraph --compact\n",
    .describe = describe_init,
    .run = run_init,
};

/* ---- insert ---- */

static size_t describe_insert(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    size_t i = 0;
    options->batch = INSERT_BATCH_DEFAULT;
    options->count = COUNT_DEFAULT;
    table[i++] = (struct vdb_args_option){.name = "--count",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->count,
                                          .value_name = "NUMBER",
                                          .help = "points to insert (default 10,000; of a dataset: all)",
                                          .min = 1,
                                          .max = VDB_LIMIT_COLLECTION_POINTS_MAX,
                                          .given = &options->count_given};
    table[i++] = (struct vdb_args_option){.name = "--dataset",
                                          .kind = VDB_ARGS_TEXT,
                                          .out = &options->dataset,
                                          .value_name = "FILE",
                                          .help = "vectors from a file (.npy, .fvecs, .bvecs, .hdf5)"};
    table[i++] = (struct vdb_args_option){.name = "--dim",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->dimension,
                                          .value_name = "NUMBER",
                                          .help = "make the collection, of this dimension, when missing",
                                          .min = 1,
                                          .max = VDB_LIMIT_DIMENSION_MAX,
                                          .given = &options->dimension_given};
    table[i++] = (struct vdb_args_option){.name = "--batch",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->batch,
                                          .value_name = "NUMBER",
                                          .help = "points in one write, 1 to 10,000 (default 100)",
                                          .min = 1,
                                          .max = VDB_LIMIT_BATCH_POINTS_MAX};
    table[i++] = (struct vdb_args_option){.name = "--first-id",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->first_id,
                                          .value_name = "NUMBER",
                                          .help = "ids count up from this (default 0)",
                                          .max = UINT64_MAX - VDB_LIMIT_COLLECTION_POINTS_MAX};
    table[i++] = (struct vdb_args_option){.name = "--seed",
                                          .kind = VDB_ARGS_NUMBER,
                                          .out = &options->seed,
                                          .value_name = "NUMBER",
                                          .help = "of generated points (default 0)",
                                          .max = UINT64_MAX};
    table[i++] = (struct vdb_args_option){.name = "--acks",
                                          .kind = VDB_ARGS_FLAG,
                                          .out = &options->acks,
                                          .help = "print a line for every write, once it is on disk"};
    return i + vdb_storage_index_describe_type(options, table + i);
}

void vdb_storage_insert_generate(uint64_t seed, uint64_t id, uint32_t dimension, float *vector,
                                 struct vdb_buf *metadata)
{
    static const char *const kinds[] = {"note", "mail", "page", "image"};
    struct vdb_rng rng;
    vdb_rng_init(&rng,
                 seed ^ (id * UINT64_C(0x9E3779B97F4A7C15))); /* an odd constant: distinct ids stay distinct */
    for (uint32_t d = 0; d < dimension; d += 2) {
        uint64_t bits = vdb_rng_u64(&rng); /* two values of 24 bits in [-1, 1) */
        vector[d] = (float)(uint32_t)(bits >> 40) * 0x1p-23f - 1;
        if (d + 1 < dimension) {
            vector[d + 1] = (float)(uint32_t)(bits & 0xffffff) * 0x1p-23f - 1;
        }
    }
    vdb_buf_printf(metadata, "{\"n\":%" PRIu64 ",\"kind\":\"%s\",\"size\":%" PRIu64 "}", id,
                   kinds[vdb_rng_below(&rng, 4)], vdb_rng_below(&rng, 100000));
}

/* From [-1, 1) to the whole numbers that a collection of u8 or i8 takes. */
static void make_whole(vecdb_element element, float *vector, uint32_t dimension)
{
    if (element != VECDB_U8 && element != VECDB_I8) {
        return;
    }
    for (uint32_t d = 0; d < dimension; d++) {
        vector[d] = floorf(vector[d] * 128) + (element == VECDB_U8 ? 128 : 0);
    }
}

/* Where the vectors come from, a batch at a time. */
struct source {
    const struct vdb_storage_options *options;
    uint32_t dimension;
    vecdb_element element; /* of the collection: generated vectors are such that it takes them */
    uint64_t count;
    bool streams;
    struct vdb_vector_stream stream;
    struct vdb_vectors block; /* of the stream */
    vecdb_point *points;
    float *vectors; /* generated */
    struct vdb_buf metadata;
};

static void source_fini(struct source *source)
{
    if (source->streams) {
        vdb_vector_stream_close(&source->stream);
    }
    vdb_vectors_fini(&source->block);
    vdb_buf_fini(&source->metadata);
    free(source->points);
    free(source->vectors);
}

static vdb_status open_dataset(struct source *source, struct vdb_err *err)
{
    const struct vdb_storage_options *options = source->options;
    struct vdb_vector_stream *stream = &source->stream;
    VDB_TRY(vdb_vector_stream_open(stream, vdb_env_posix(), options->dataset, NULL, err));
    source->streams = true;
    if (stream->count == 0) {
        return vdb_err_set(err, VDB_INVALID, "--dataset: %.200s has no vectors", options->dataset);
    }
    if (options->count_given && options->count > stream->count) {
        return vdb_err_set(err, VDB_INVALID, "--count is %" PRIu64 ", %.200s has %zu vectors", options->count,
                           options->dataset, stream->count);
    }
    source->count = options->count_given ? options->count : stream->count;
    source->dimension = (uint32_t)stream->dimension;
    return VDB_OK;
}

/* With the dimension known. */
static vdb_status source_begin(struct source *source, struct vdb_err *err)
{
    uint64_t batch = source->options->batch;
    uint64_t bytes = batch * source->dimension * sizeof(float);
    if (bytes > VDB_LIMIT_BATCH_BYTES_MAX) {
        return vdb_err_set(err, VDB_LIMIT,
                           "--batch is %" PRIu64 ": so many vectors of dimension %u take %" PRIu64
                           " bytes, at most %u are allowed",
                           batch, source->dimension, bytes, VDB_LIMIT_BATCH_BYTES_MAX);
    }
    source->points = vdb_calloc(batch, sizeof *source->points);
    source->vectors = source->streams ? NULL : vdb_alloc_aligned(bytes);
    if (source->points == NULL || (!source->streams && source->vectors == NULL)) {
        return vdb_err_no_memory(err, "a batch");
    }
    return VDB_OK;
}

static vdb_status next_of_stream(struct source *source, uint64_t rows, struct vdb_err *err)
{
    vdb_vectors_fini(&source->block);
    VDB_TRY(vdb_vector_stream_next(&source->stream, rows, &source->block, err));
    VDB_TRY(vdb_vectors_to_f32(&source->block, err));
    return vdb_vectors_check_finite(&source->block, err);
}

/* The batch that begins with point number `at` of the insert; *rows is how many. */
static vdb_status source_next(struct source *source, uint64_t at, uint64_t *rows, struct vdb_err *err)
{
    const struct vdb_storage_options *options = source->options;
    *rows = source->count - at < options->batch ? source->count - at : options->batch;
    if (source->streams) {
        VDB_TRY(next_of_stream(source, *rows, err));
        if (source->block.data == NULL || source->block.count != *rows) {
            return vdb_err_set(err, VDB_INVALID, "%.200s gave fewer vectors than its head says",
                               options->dataset);
        }
    }
    vdb_buf_clear(&source->metadata);
    for (uint64_t i = 0; i < *rows; i++) {
        uint64_t id = options->first_id + at + i;
        float *vector = source->streams ? NULL : source->vectors + i * source->dimension;
        size_t begin = source->metadata.bytes;
        if (source->streams) {
            vdb_buf_printf(&source->metadata, "{\"row\":%" PRIu64 "}", at + i);
        } else {
            vdb_storage_insert_generate(options->seed, id, source->dimension, vector, &source->metadata);
            make_whole(source->element, vector, source->dimension);
        }
        source->points[i] = (vecdb_point){
            .id = vecdb_id_number(id),
            .vector = source->streams ? vdb_vectors_row(&source->block, i) : vector,
            .dimension = source->dimension,
            .metadata_bytes = source->metadata.bytes - begin,
        };
    }
    if (source->metadata.failed) {
        return vdb_err_no_memory(err, "a batch");
    }
    const char *text = (const char *)source->metadata.data; /* now that it no longer moves */
    for (uint64_t i = 0; i < *rows; i++) {
        source->points[i].metadata = text;
        text += source->points[i].metadata_bytes;
    }
    return VDB_OK;
}

struct insert {
    vecdb *db;
    vecdb_collection_info info;
    struct source source;
    struct vdb_progress progress;
    struct vdb_buf out;
    uint64_t started_ns;
    uint64_t syncs_before;
    uint64_t syncs;
    uint64_t batches;
    uint64_t acknowledged;
    double seconds;
};

static vdb_status prepare(struct insert *insert, const struct vdb_storage_options *options, struct vdb_err *err)
{
    struct source *source = &insert->source;
    vecdb_stats stats;
    *source = (struct source){.options = options, .count = options->count};
    if (options->dataset != NULL) {
        VDB_TRY(open_dataset(source, err));
    }
    VDB_TRY(vdb_storage_open(options, true, &insert->db, err));
    vdb_status status = vdb_storage_get_info(insert->db, options->collection, &insert->info, err);
    if (status == VDB_NOT_FOUND && options->dimension_given) {
        VDB_TRY(create(insert->db, options, err));
        status = vdb_storage_get_info(insert->db, options->collection, &insert->info, err);
    }
    if (status != VDB_OK) {
        return vdb_err_wrap(err, status, "--collection (`vecdb storage init` or --dim makes one)");
    }
    if (options->dimension_given && options->dimension != insert->info.dimension) {
        return vdb_err_set(err, VDB_INVALID, "--dim is %" PRIu64 ", the collection \"%s\" has dimension %u",
                           options->dimension, insert->info.name, insert->info.dimension);
    }
    if (source->streams && source->dimension != insert->info.dimension) {
        return vdb_err_set(err, VDB_INVALID, "%.200s has dimension %u, the collection \"%s\" has %u",
                           options->dataset, source->dimension, insert->info.name, insert->info.dimension);
    }
    source->dimension = insert->info.dimension;
    source->element = insert->info.element;
    vecdb_get_stats(insert->db, &stats);
    insert->syncs_before = stats.syncs;
    return source_begin(source, err);
}

/* What is on disk now, as a line. */
static vdb_status tell(struct insert *insert, struct vdb_err *err)
{
    char count[VDB_TABLE_TEXT_BYTES];
    char rate[VDB_TABLE_TEXT_BYTES];
    double seconds = (double)(vdb_now_ns() - insert->started_ns) * 1e-9;
    vecdb_stats stats;
    vecdb_get_stats(insert->db, &stats);
    bool bar = insert->progress.enabled;
    vdb_progress_end(&insert->progress); /* clears its line for ours; it goes on after that */
    insert->progress.enabled = bar;
    vdb_buf_printf(&insert->out, "acknowledged %12s points %8.2f s %18s %10" PRIu64 " syncs\n",
                   vdb_table_count(count, insert->acknowledged), seconds,
                   vdb_table_rate(rate, (double)insert->acknowledged / seconds, "points/s"),
                   stats.syncs - insert->syncs_before);
    return vdb_cli_write(&insert->out, err);
}

static vdb_status tell_ack(struct insert *insert, uint64_t seq, bool json, struct vdb_err *err)
{
    vdb_buf_printf(&insert->out,
                   json ? "{\"acknowledged\":%" PRIu64 ",\"seq\":%" PRIu64 "}\n"
                        : "acknowledged %" PRIu64 " seq %" PRIu64 "\n",
                   insert->acknowledged, seq);
    return vdb_cli_write(&insert->out, err);
}

static vdb_status insert_all(struct insert *insert, struct vdb_err *err)
{
    struct source *source = &insert->source;
    const struct vdb_storage_options *options = source->options;
    uint64_t lines = 1;
    insert->started_ns = vdb_now_ns();
    vdb_progress_begin(&insert->progress, "insert", "points", source->count);
    while (insert->acknowledged < source->count) {
        vecdb_error error;
        vecdb_write_result written;
        uint64_t rows;
        VDB_TRY(source_next(source, insert->acknowledged, &rows, err));
        VDB_TRY(vdb_storage_outcome(
            vecdb_upsert(insert->db, options->collection, source->points, rows, &written, &error), &error, err));
        insert->acknowledged += rows;
        insert->batches++;
        if (options->acks) {
            VDB_TRY(tell_ack(insert, written.seq, options->json, err));
        } else if (!options->json && insert->acknowledged * ACKNOWLEDGED_LINES >= lines * source->count) {
            lines = insert->acknowledged * ACKNOWLEDGED_LINES / source->count + 1;
            VDB_TRY(tell(insert, err));
        }
        vdb_progress_update(&insert->progress, insert->acknowledged);
    }
    insert->seconds = (double)(vdb_now_ns() - insert->started_ns) * 1e-9;
    return VDB_OK;
}

static void report_insert(struct insert *insert, struct vdb_buf *out)
{
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    const vecdb_collection_info *info = &insert->info;
    uint64_t vector_bytes = insert->acknowledged * info->dimension * sizeof(float);
    vdb_buf_printf(out, "\nInserted into \"%s\" in %s\n\n", info->name, insert->source.options->path);
    vdb_storage_line(out, "acknowledged", "%s points in %s batches", vdb_table_count(a, insert->acknowledged),
                     vdb_table_count(b, insert->batches));
    vdb_storage_line(out, "syncs", "%s", vdb_table_count(a, insert->syncs));
    vdb_storage_line(out, "time", "%s", vdb_table_duration(a, insert->seconds));
    vdb_storage_line(out, "rate", "%s, %s of vectors",
                     vdb_table_rate(a, (double)insert->acknowledged / insert->seconds, "points/s"),
                     vdb_storage_speed(b, vector_bytes, insert->seconds));
    vdb_storage_line(out, "log", "%s", vdb_storage_bytes(a, info->log_bytes));
    vdb_storage_line(out, "segments", "%s (%s)", vdb_table_count(a, info->segments),
                     vdb_storage_bytes(b, info->segment_bytes));
    vdb_storage_line(out, "collection", "%s points", vdb_table_count(a, info->count));
}

static void report_insert_json(struct insert *insert, struct vdb_buf *out)
{
    const vecdb_collection_info *info = &insert->info;
    vdb_buf_put_text(out, "{\"collection\":");
    vdb_json_put_string(out, vdb_str_of(info->name));
    vdb_buf_printf(out, ",\"acknowledged\":%" PRIu64 ",\"batches\":%" PRIu64 ",\"syncs\":%" PRIu64,
                   insert->acknowledged, insert->batches, insert->syncs);
    vdb_buf_printf(out, ",\"seconds\":%.6f,\"points_per_second\":%.1f", insert->seconds,
                   (double)insert->acknowledged / insert->seconds);
    vdb_buf_printf(out, ",\"points\":%" PRIu64 ",\"last_seq\":%" PRIu64 ",\"log_bytes\":%" PRIu64 "}\n",
                   info->count, info->last_seq, info->log_bytes);
}

static vdb_status run_insert(const struct vdb_storage_options *options, struct vdb_err *err)
{
    struct insert insert = {0};
    vecdb_stats stats;
    vdb_status status;
    VDB_CHECK(prepare(&insert, options, err));
    status = insert_all(&insert, err);
    vdb_progress_end(&insert.progress);
    if (status != VDB_OK) {
        status = vdb_err_wrap(err, status, "after %" PRIu64 " acknowledged points", insert.acknowledged);
        goto cleanup;
    }
    vecdb_get_stats(insert.db, &stats);
    insert.syncs = stats.syncs - insert.syncs_before;
    VDB_CHECK(vdb_storage_get_info(insert.db, options->collection, &insert.info, err));
    if (options->json) {
        report_insert_json(&insert, &insert.out);
    } else {
        report_insert(&insert, &insert.out);
    }
    status = vdb_cli_write(&insert.out, err);

cleanup:
    source_fini(&insert.source);
    vdb_buf_fini(&insert.out);
    vecdb_close(insert.db);
    return status;
}

const struct vdb_storage_verb vdb_storage_insert_insert = {
    .name = "insert",
    .summary = "Write points, generated ones or those of a file, each batch durable",
    .about = "Generated points have vectors of uniform values in [-1, 1), of whole numbers for u8 and i8, and a "
             "little\n"
             "metadata; they depend on --seed and their id alone, so an insert that was cut short can be run "
             "again. A\n"
             "file's points get the row as metadata. An id that is there is replaced. Every \"acknowledged\" "
             "line counts\n"
             "what is on disk by then: kill -9 it at any moment, and `vecdb storage recover` finds at least as "
             "many.\n",
    .examples = "  vecdb storage insert --path ./data --count 100000\n"
                "  vecdb storage insert --path ./data --dataset base.fvecs --batch 1000\n"
                "  vecdb storage insert --path ./data --collection docs --dim 768 --count 5000 --acks\n",
    .describe = describe_insert,
    .run = run_insert,
};

/* ---- delete ---- */

static size_t describe_delete(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    table[0] = (struct vdb_args_option){.name = "--fraction",
                                        .kind = VDB_ARGS_TEXT,
                                        .out = &options->fraction,
                                        .value_name = "SHARE",
                                        .help = "of all points, spread evenly: above 0, at most 1 (0.33)"};
    table[1] = (struct vdb_args_option){.name = "--ids",
                                        .kind = VDB_ARGS_TEXT,
                                        .out = &options->ids,
                                        .value_name = "LIST",
                                        .help = "these ids: 1,2,b-3 (digits alone are a number)"};
    return 2;
}

/* Ids to delete; texts live in the arena. */
struct choice {
    vecdb_id *ids;
    size_t count;
    size_t capacity;
    struct vdb_arena texts;
    double fraction;
    uint64_t seen;
    bool failed; /* memory */
};

static void choose(struct choice *choice, vecdb_id id)
{
    if (choice->count == choice->capacity) {
        size_t capacity = choice->capacity > 0 ? choice->capacity * 2 : 1024;
        void *grown = choice->ids;
        if (!vdb_realloc_array(&grown, capacity, sizeof *choice->ids)) {
            choice->failed = true;
            return;
        }
        choice->ids = grown;
        choice->capacity = capacity;
    }
    if (id.text != NULL) {
        char *copy = vdb_arena_alloc(&choice->texts, id.text_bytes);
        if (copy == NULL) {
            choice->failed = true;
            return;
        }
        memcpy(copy, id.text, id.text_bytes);
        id.text = copy;
    }
    choice->ids[choice->count++] = id;
}

/* Every 1/fraction-th point, so that floor(points * fraction) are chosen in all. */
static int choose_share(void *ctx, const vecdb_hit *point)
{
    struct choice *choice = ctx;
    double before = floor((double)choice->seen * choice->fraction);
    choice->seen++;
    if (floor((double)choice->seen * choice->fraction) > before) {
        choose(choice, point->id);
    }
    return choice->failed;
}

static vdb_status choose_listed(struct choice *choice, const char *list, struct vdb_err *err)
{
    while (*list != '\0') {
        size_t bytes = strcspn(list, ",");
        size_t digits = strspn(list, "0123456789");
        char *end;
        if (bytes == 0 || bytes > VDB_LIMIT_ID_BYTES_MAX) {
            return vdb_err_set(err, VDB_INVALID, "--ids: an id of %zu bytes, 1 to %u are allowed", bytes,
                               VDB_LIMIT_ID_BYTES_MAX);
        }
        bool number = digits == bytes && bytes < 20; /* below 10^19, which fits */
        choose(choice, number ? vecdb_id_number(strtoull(list, &end, 10)) : (vecdb_id){list, bytes, 0});
        list += bytes + (list[bytes] == ',');
    }
    return choice->failed ? vdb_err_no_memory(err, "a list of ids") : VDB_OK;
}

static vdb_status parse_fraction(const char *text, double *out, struct vdb_err *err)
{
    char *end;
    *out = strtod(text, &end);
    if (end == text || *end != '\0' || !(*out > 0 && *out <= 1)) {
        return vdb_err_set(err, VDB_INVALID, "--fraction is \"%.60s\", a number above 0 and at most 1 is needed",
                           text);
    }
    return VDB_OK;
}

static vdb_status choose_all(vecdb *db, const struct vdb_storage_options *options, struct choice *choice,
                             struct vdb_err *err)
{
    vecdb_error error;
    if (options->ids != NULL) {
        return choose_listed(choice, options->ids, err);
    }
    const vecdb_scan_options scan = {choose_share, choice, 1, 1};
    vecdb_status status = vecdb_scan(db, options->collection, &scan, &error);
    return choice->failed ? vdb_err_no_memory(err, "a list of ids") : vdb_storage_outcome(status, &error, err);
}

static vdb_status delete_all(vecdb *db, const char *collection, const struct choice *choice, uint64_t *deleted,
                             struct vdb_err *err)
{
    struct vdb_progress progress;
    vdb_status status = VDB_OK;
    vdb_progress_begin(&progress, "delete", "points", choice->count);
    for (size_t at = 0; at < choice->count && status == VDB_OK; at += DELETE_BATCH) {
        vecdb_error error;
        vecdb_write_result written;
        size_t count = choice->count - at < DELETE_BATCH ? choice->count - at : DELETE_BATCH;
        status = vdb_storage_outcome(vecdb_delete(db, collection, choice->ids + at, count, &written, &error),
                                     &error, err);
        *deleted += status == VDB_OK ? written.changed : 0;
        vdb_progress_update(&progress, at + count);
    }
    vdb_progress_end(&progress);
    return status;
}

static vdb_status report_delete(const struct vdb_storage_options *options, const vecdb_collection_info *before,
                                const vecdb_collection_info *after, uint64_t deleted, double seconds,
                                struct vdb_err *err)
{
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    struct vdb_buf out = {0};
    if (options->json) {
        vdb_buf_printf(&out,
                       "{\"deleted\":%" PRIu64 ",\"points_before\":%" PRIu64 ",\"points_after\":%" PRIu64
                       ",\"dead_rows\":%" PRIu64 ",\"seconds\":%.6f}\n",
                       deleted, before->count, after->count, after->dead, seconds);
    } else {
        vdb_buf_printf(&out, "Deleted from \"%s\" in %s\n\n", after->name, options->path);
        vdb_storage_line(&out, "deleted", "%s of %s points", vdb_table_count(a, deleted),
                         vdb_table_count(b, before->count));
        vdb_storage_line(&out, "left", "%s points", vdb_table_count(a, after->count));
        vdb_storage_line(&out, "dead rows", "%s; `vecdb storage compact` reclaims them",
                         vdb_table_count(a, after->dead));
        vdb_storage_line(&out, "time", "%s", vdb_table_duration(a, seconds));
    }
    vdb_status status = vdb_cli_write(&out, err);
    vdb_buf_fini(&out);
    return status;
}

static vdb_status run_delete(const struct vdb_storage_options *options, struct vdb_err *err)
{
    vecdb *db = NULL;
    vecdb_collection_info before;
    vecdb_collection_info after;
    struct choice choice = {0};
    uint64_t deleted = 0;
    vdb_status status;
    vdb_arena_init(&choice.texts, 1 << 16);
    if ((options->fraction != NULL) == (options->ids != NULL)) {
        status = vdb_err_set(err, VDB_INVALID, "one of --fraction and --ids is needed");
        goto cleanup;
    }
    if (options->fraction != NULL) {
        VDB_CHECK(parse_fraction(options->fraction, &choice.fraction, err));
    }
    VDB_CHECK(vdb_storage_open_collection(options, &db, &before, err));
    uint64_t started = vdb_now_ns();
    VDB_CHECK(choose_all(db, options, &choice, err));
    VDB_CHECK(delete_all(db, options->collection, &choice, &deleted, err));
    double seconds = (double)(vdb_now_ns() - started) * 1e-9;
    VDB_CHECK(vdb_storage_get_info(db, options->collection, &after, err));
    status = report_delete(options, &before, &after, deleted, seconds, err);

cleanup:
    vecdb_close(db);
    vdb_arena_fini(&choice.texts);
    free(choice.ids);
    return status;
}

const struct vdb_storage_verb vdb_storage_insert_delete = {
    .name = "delete",
    .summary = "Delete points: a share of all, or by id",
    .about = "Durable when it returns. The rows stay on disk, dead, until a compaction.\n",
    .examples = "  vecdb storage delete --path ./data --fraction 0.33\n"
                "  vecdb storage delete --path ./data --ids 7,8,report-12\n",
    .describe = describe_delete,
    .run = run_delete,
};
