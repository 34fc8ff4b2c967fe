/* vecdb.c: implements include/vecdb.h over the collection floor: checks pointers, converts values, reports
 * errors. */
#include "vecdb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "collection/maintain.h"
#include "database_handle.h"
#include "distance/cpu.h"

#define STRINGIFY_(x) #x
#define STRINGIFY(x)  STRINGIFY_(x)

/* The public numbers are the inner ones. */
#define VDB_STATUS_SAME(name, number, text)                                                                      \
    _Static_assert((int)VECDB_##name == (int)VDB_##name && (int)VDB_##name == (number), "status numbers "        \
                                                                                        "differ");
VDB_STATUS_LIST(VDB_STATUS_SAME)
_Static_assert((int)VECDB_L2 == (int)VDB_METRIC_L2 && (int)VECDB_COSINE == (int)VDB_METRIC_COSINE &&
                   (int)VECDB_DOT == (int)VDB_METRIC_DOT && (int)VECDB_L1 == (int)VDB_METRIC_L1,
               "metric numbers differ");

_Static_assert((int)VECDB_F32 == (int)VDB_ELEMENT_F32 && (int)VECDB_U8 == (int)VDB_ELEMENT_U8 &&
                   (int)VECDB_I8 == (int)VDB_ELEMENT_I8 && (int)VECDB_F16 == (int)VDB_ELEMENT_F16,
               "element numbers differ");

const char *vecdb_version(void)
{
    return STRINGIFY(VECDB_VERSION_MAJOR) "." STRINGIFY(VECDB_VERSION_MINOR) "." STRINGIFY(VECDB_VERSION_PATCH);
}

const char *vecdb_status_text(vecdb_status status)
{
    return vdb_status_text((vdb_status)status);
}

const char *vecdb_metric_name(vecdb_metric metric)
{
    return vdb_metric_name((vdb_metric)metric);
}

const char *vecdb_element_name(vecdb_element element)
{
    return vdb_element_name((vdb_element)element);
}

vecdb_status vdb_api_report(vdb_status status, const struct vdb_err *from, vecdb_error *to)
{
    if (to != NULL) {
        to->status = (vecdb_status)status;
        snprintf(to->message, sizeof to->message, "%s", status == VDB_OK ? "" : from->text);
    }
    return (vecdb_status)status;
}

static vdb_status open_database(const char *path, const vecdb_options *options, vecdb *db, struct vdb_err *err)
{
    VDB_TRY(vdb_cpu_check(err));
    if (path == NULL) {
        return vdb_err_set(err, VDB_INVALID, "path: no data directory given");
    }
    VDB_TRY(vdb_database_open(vdb_env_posix(), path, options->must_exist != 0, &db->database, err));
    if (options->no_maintenance != 0) {
        return VDB_OK;
    }
    const struct vdb_maintain_options maintain = {.checkpoint_bytes = options->checkpoint_bytes,
                                                  .compact_bytes_per_second = options->compact_bytes_per_second};
    return vdb_database_maintain(db->database, &maintain, err);
}

vecdb_status vecdb_open(const char *path, const vecdb_options *options, vecdb **out, vecdb_error *err)
{
    const vecdb_options defaults = {0};
    struct vdb_err inner = {0};
    vecdb *db = vdb_calloc(1, sizeof *db);
    vdb_status status = VDB_OK;
    if (db != NULL) {
        pthread_mutex_init(&db->retired_lock, NULL);
        status = open_database(path, options != NULL ? options : &defaults, db, &inner);
    } else {
        status = vdb_err_no_memory(&inner, "a database handle");
    }
    if (status != VDB_OK) {
        vecdb_close(db);
        return vdb_api_report(status, &inner, err);
    }
    *out = db;
    return vdb_api_report(VDB_OK, &inner, err);
}

void vecdb_close(vecdb *db)
{
    if (db != NULL) {
        vdb_database_close(db->database);
        pthread_mutex_destroy(&db->retired_lock);
        free(db);
    }
}

vdb_status vdb_api_check_collection(const char *name, struct vdb_err *err)
{
    if (name == NULL) {
        return vdb_err_set(err, VDB_INVALID, "collection: no name given");
    }
    if (strchr(name, VDB_API_SNAPSHOT_SIGN) != NULL) {
        return vdb_err_set(
            err, VDB_INVALID,
            "collection: \"%.140s\" names a snapshot, which can be searched, got from, counted and "
            "scanned, nothing else",
            name);
    }
    return VDB_OK;
}

vdb_status vdb_api_get(vecdb *db, const char *name, struct vdb_collection **out, struct vdb_err *err)
{
    *out = NULL;
    VDB_TRY(vdb_api_check_collection(name, err));
    return vdb_database_get(db->database, name, out, err);
}

void vecdb_free(void *memory)
{
    free(memory);
}

/* ---- Collections ---- */

vecdb_status vecdb_create_collection(vecdb *db, const vecdb_collection_config *config, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_schema schema = {.dimension = config->dimension,
                                .metric = (vdb_metric)config->metric,
                                .element = (vdb_element)config->element};
    struct vdb_index_config index;
    vdb_status status;
    VDB_CHECK(vdb_schema_check_name(config->name, &inner));
    snprintf(schema.name, sizeof schema.name, "%s", config->name);
    VDB_CHECK(vdb_index_calls_config(config->index_config, config->index, &schema, &index, &inner));
    status = vdb_database_create(db->database, &schema, &index, &inner);

cleanup:
    return vdb_api_report(status, &inner, err);
}

vecdb_status vecdb_drop_collection(vecdb *db, const char *name, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection;
    vdb_status status = vdb_api_get(db, name, &collection, &inner);
    if (status == VDB_OK) {
        status = vdb_database_drop(db->database, name, &inner);
        if (status == VDB_OK) { /* counters never go down */
            pthread_mutex_lock(&db->retired_lock);
            vdb_index_calls_add(collection, true, &db->retired);
            pthread_mutex_unlock(&db->retired_lock);
        }
        vdb_collection_unref(collection);
    }
    return vdb_api_report(status, &inner, err);
}

static void fill_info(struct vdb_collection *collection, vecdb_collection_info *out)
{
    const struct vdb_schema *schema = vdb_collection_schema(collection);
    struct vdb_store_stats store;
    vdb_store_get_stats(vdb_collection_store(collection), &store);
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%s", schema->name);
    out->dimension = schema->dimension;
    out->metric = (vecdb_metric)schema->metric;
    out->element = (vecdb_element)schema->element;
    out->count = store.points;
    out->last_seq = store.seq;
    out->memory_bytes = store.memory_bytes;
    out->log_bytes = store.wal.log_bytes;
    out->dead = store.dead;
    out->segments = store.segments;
    out->segment_rows = store.segment_rows;
    out->segment_dead = store.segment_dead;
    out->segment_bytes = store.segment_bytes;
    out->checkpoint_seq = store.checkpoint_seq;
    out->checkpoints = store.checkpoints;
    out->compactions = store.compactions;
    out->bytes_compacted = store.bytes_compacted;
    out->recovered_files = store.recovery.segments;
    out->recovered_batches = store.recovery.records;
    out->recovered_bytes = store.recovery.bytes;
    out->torn_bytes_cut = store.recovery.torn_bytes_cut;
    out->recovery_ns = store.recovery_ns;
    struct vdb_storage_calls_sizes sizes;
    vdb_storage_calls_measure(collection, &sizes);
    out->segment_live_bytes = sizes.segment_live_bytes;
    out->compaction_due = sizes.debt_bytes > 0;
    out->compaction_debt_bytes = sizes.debt_bytes;
    vdb_index_calls_describe(collection, out);
}

vecdb_status vecdb_get_collection(vecdb *db, const char *name, vecdb_collection_info *out, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection;
    vdb_status status = vdb_api_get(db, name, &collection, &inner);
    if (status == VDB_OK) {
        fill_info(collection, out);
        vdb_collection_unref(collection);
    }
    return vdb_api_report(status, &inner, err);
}

vecdb_status vecdb_list_collections(vecdb *db, vecdb_collection_info **out, size_t *count, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection **list = NULL;
    vecdb_collection_info *infos = NULL;
    *count = 0;
    vdb_status status = vdb_database_list(db->database, &list, count, &inner);
    if (status == VDB_OK) {
        infos = vdb_calloc(*count, sizeof *infos);
        for (size_t i = 0; i < *count; i++) {
            if (infos != NULL) {
                fill_info(list[i], &infos[i]);
            }
            vdb_collection_unref(list[i]);
        }
        if (infos == NULL) {
            *count = 0;
            status = vdb_err_no_memory(&inner, "a listing");
        }
    }
    free(list);
    *out = infos;
    return vdb_api_report(status, &inner, err);
}

/* ---- Points ---- */

static vdb_status check_array(const void *array, size_t count, const char *what, struct vdb_err *err)
{
    if (array == NULL && count > 0) {
        return vdb_err_set(err, VDB_INVALID, "%s: NULL with a count of %zu", what, count);
    }
    if (count > VDB_LIMIT_BATCH_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "%s: %zu in one batch, at most %u are allowed", what, count,
                           VDB_LIMIT_BATCH_POINTS_MAX);
    }
    return VDB_OK;
}

static vdb_status copy_ids(const vecdb_id *ids, size_t count, struct vdb_id **out, struct vdb_err *err)
{
    VDB_TRY(check_array(ids, count, "ids", err));
    *out = vdb_calloc(count, sizeof **out);
    if (*out == NULL) {
        return vdb_err_no_memory(err, "ids");
    }
    for (size_t i = 0; i < count; i++) {
        (*out)[i] = vdb_api_id(&ids[i]);
    }
    return VDB_OK;
}

static vecdb_status finish_write(vdb_status status, struct vdb_collection *collection,
                                 const struct vdb_write_result *written, vecdb_write_result *result,
                                 const struct vdb_err *inner, vecdb_error *err)
{
    vdb_collection_unref(collection);
    if (result != NULL) {
        bool done = status == VDB_OK;
        *result = (vecdb_write_result){done ? written->seq : 0, done ? written->changed : 0};
    }
    return vdb_api_report(status, inner, err);
}

vecdb_status vecdb_upsert(vecdb *db, const char *name, const vecdb_point *points, size_t count,
                          vecdb_write_result *result, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection = NULL;
    struct vdb_write_result written = {0};
    struct vdb_point *list = NULL;
    vdb_status status;
    VDB_CHECK(check_array(points, count, "points", &inner));
    VDB_CHECK(vdb_api_get(db, name, &collection, &inner));
    list = vdb_calloc(count, sizeof *list);
    if (list == NULL) {
        status = vdb_err_no_memory(&inner, "a batch");
        goto cleanup;
    }
    for (size_t i = 0; i < count; i++) {
        list[i] = (struct vdb_point){
            .id = vdb_api_id(&points[i].id),
            .vector = points[i].vector,
            .dimension = points[i].dimension,
            .metadata = {points[i].metadata, points[i].metadata != NULL ? points[i].metadata_bytes : 0},
        };
    }
    status = vdb_collection_upsert(collection, list, count, &written, &inner);

cleanup:
    free(list);
    return finish_write(status, collection, &written, result, &inner, err);
}

vecdb_status vecdb_delete(vecdb *db, const char *name, const vecdb_id *ids, size_t count,
                          vecdb_write_result *result, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection = NULL;
    struct vdb_write_result written = {0};
    struct vdb_id *list = NULL;
    vdb_status status;
    VDB_CHECK(copy_ids(ids, count, &list, &inner));
    VDB_CHECK(vdb_api_get(db, name, &collection, &inner));
    status = vdb_collection_delete(collection, list, count, &written, &inner);

cleanup:
    free(list);
    return finish_write(status, collection, &written, result, &inner, err);
}

vecdb_status vecdb_get(vecdb *db, const char *name, const vecdb_id *ids, size_t count, vecdb_result **out,
                       vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection = NULL;
    struct vdb_id *list = NULL;
    struct vdb_hits hits;
    vdb_status status;
    VDB_CHECK(copy_ids(ids, count, &list, &inner));
    VDB_CHECK(vdb_api_get_to_read(db, name, &collection, &inner));
    VDB_CHECK(vdb_collection_get(collection, list, count, &hits, &inner));
    status = vdb_result_create(collection, &hits, true, true, out, &inner);
    collection = NULL; /* the result's now */

cleanup:
    free(list);
    vdb_collection_unref(collection);
    return vdb_api_report(status, &inner, err);
}

/* ---- Questions ---- */

static struct vdb_str filter_text(const char *filter, size_t bytes)
{
    return (struct vdb_str){filter, filter != NULL ? bytes : 0};
}

vecdb_status vecdb_count(vecdb *db, const char *name, const char *filter, size_t filter_bytes, uint64_t *out,
                         vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection = NULL;
    vdb_status status = vdb_api_get_to_read(db, name, &collection, &inner);
    if (status == VDB_OK) {
        status = vdb_collection_count(collection, filter_text(filter, filter_bytes), out, &inner);
        vdb_collection_unref(collection);
    }
    return vdb_api_report(status, &inner, err);
}

vecdb_status vecdb_search(vecdb *db, const char *name, const vecdb_search_request *request, vecdb_result **out,
                          vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection = NULL;
    struct vdb_search search = {
        .vector = request->vector,
        .dimension = request->dimension,
        .k = request->k,
        .filter = filter_text(request->filter, request->filter_bytes),
        .without_vector = request->with_vector == 0,
        .without_metadata = request->without_metadata != 0,
        .ef = request->ef,
        .target_recall = request->target_recall,
        .exact = request->exact != 0,
    };
    struct vdb_hits hits;
    vdb_status status;
    VDB_CHECK(vdb_api_get_to_read(db, name, &collection, &inner));
    VDB_CHECK(vdb_collection_search(collection, &search, &hits, &inner));
    status = vdb_result_create(collection, &hits, request->with_vector != 0, request->without_metadata == 0, out,
                               &inner);
    collection = NULL; /* the result's now */

cleanup:
    vdb_collection_unref(collection);
    return vdb_api_report(status, &inner, err);
}

/* ---- Statistics ---- */

void vecdb_get_stats(vecdb *db, vecdb_stats *out)
{
    struct vdb_database_stats stats;
    struct vdb_collection **list = NULL;
    struct vdb_storage_calls_sizes sum = {0};
    vecdb_stats graphs;
    uint64_t recovered_bytes = 0;
    size_t count = 0;
    pthread_mutex_lock(&db->retired_lock);
    graphs = db->retired;
    pthread_mutex_unlock(&db->retired_lock);
    vdb_database_get_stats(db->database, &stats);
    if (vdb_database_list(db->database, &list, &count, NULL) != VDB_OK) {
        count = 0; /* short of memory: what needs the list reads as 0 */
    }
    for (size_t i = 0; i < count; i++) {
        struct vdb_storage_calls_sizes sizes;
        struct vdb_store_stats store;
        vdb_storage_calls_measure(list[i], &sizes);
        vdb_store_get_stats(vdb_collection_store(list[i]), &store);
        sum.segment_live_bytes += sizes.segment_live_bytes;
        sum.debt_bytes += sizes.debt_bytes;
        recovered_bytes += store.recovery.bytes;
        vdb_index_calls_add(list[i], false, &graphs);
        vdb_collection_unref(list[i]);
    }
    free(list);
    *out = (vecdb_stats){
        .collections = stats.collections,
        .points = stats.points,
        .memory_bytes = stats.memory_bytes,
        .log_bytes = stats.log_bytes,
        .writes = stats.writes,
        .syncs = stats.syncs,
        .log_bytes_written = stats.log_bytes_written,
        .searches = stats.searches,
        .distances_computed = stats.distances_computed,
        .recovered_batches = stats.recovered_batches,
        .recovered_bytes = recovered_bytes,
        .recovery_ns = stats.recovery_ns,
        .segments = stats.segments,
        .segment_rows = stats.segment_rows,
        .segment_dead = stats.segment_dead,
        .segment_bytes = stats.segment_bytes,
        .segment_live_bytes = sum.segment_live_bytes,
        .compaction_debt_bytes = sum.debt_bytes,
        .checkpoints = stats.checkpoints,
        .compactions = stats.compactions,
        .bytes_compacted = stats.bytes_compacted,
        .torn_bytes_cut = stats.torn_bytes_cut,
        .cpu = vdb_cpu_level_name(vdb_kernels_get()->level),
        .index_rows = graphs.index_rows,
        .index_rows_waiting = graphs.index_rows_waiting,
        .index_memory_bytes = graphs.index_memory_bytes,
        .index_file_bytes = graphs.index_file_bytes,
        .index_builds = graphs.index_builds,
        .index_build_failures = graphs.index_build_failures,
        .index_build_ns = graphs.index_build_ns,
        .shadow_queries = graphs.shadow_queries,
        .shadow_recall = graphs.shadow_recall,
    };
}
