/* index_calls.c: the part of vecdb.h about indexes: configurations in and out, builds, and what graphs are there. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "database_handle.h"

_Static_assert(sizeof((vecdb_collection_info *)0)->index >= VDB_INDEX_NAME_BYTES, "every kind's name fits");

/* A type that is too long for any kind is cut, and as such no kind's either. */
static void copy_config(const vecdb_index_config *from, const char *type, struct vdb_index_config *to)
{
    *to = (struct vdb_index_config){
        .m = from->m,
        .ef_construction = from->ef_construction,
        .ef_search = from->ef_search,
        .code_bits = from->code_bits,
        .compact = from->compact,
        .scan_below = from->scan_below,
        .target_recall = from->target_recall,
    };
    snprintf(to->type, sizeof to->type, "%s", type);
}

vdb_status vdb_index_calls_config(const vecdb_index_config *from, const char *type,
                                  const struct vdb_schema *schema, struct vdb_index_config *to,
                                  struct vdb_err *err)
{
    static const vecdb_index_config defaults = {0};
    struct vdb_index_config usual;
    if (from != NULL && from->type != NULL && type != NULL && strcmp(from->type, type) != 0) {
        return vdb_err_set(err, VDB_INVALID,
                           "index: \"%.40s\", and index_config.type: \"%.40s\"; name one of them", type,
                           from->type);
    }
    type = from != NULL && from->type != NULL ? from->type : type;
    vdb_index_config_default(schema, &usual);
    copy_config(from != NULL ? from : &defaults, type != NULL ? type : usual.type, to);
    return VDB_OK;
}

vecdb_status vecdb_set_index(vecdb *db, const char *name, const vecdb_index_config *config, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection = NULL;
    struct vdb_index_status now;
    struct vdb_index_config wanted;
    vdb_status status;
    VDB_CHECK(vdb_api_get(db, name, &collection, &inner));
    vdb_collection_get_index_status(collection, &now);
    copy_config(config, config->type != NULL ? config->type : now.config.type, &wanted);
    status = vdb_collection_set_index(collection, &wanted, &inner);

cleanup:
    vdb_collection_unref(collection);
    return vdb_api_report(status, &inner, err);
}

vecdb_status vecdb_build_index(vecdb *db, const char *name, const vecdb_build_options *options, vecdb_error *err)
{
    const vecdb_build_options defaults = {0};
    options = options != NULL ? options : &defaults;
    struct vdb_err inner = {0};
    struct vdb_collection *collection = NULL;
    struct vdb_api_teller teller = {options->progress, options->ctx, name};
    const struct vdb_index_build_options within = {
        .threads = options->threads,
        .progress = options->progress != NULL ? vdb_api_tell_rows : NULL,
        .ctx = &teller,
    };
    vdb_status status = vdb_api_get(db, name, &collection, &inner);
    if (status == VDB_OK) {
        status = vdb_collection_build_index(collection, &within, &inner);
        vdb_collection_unref(collection);
    }
    return vdb_api_report(status, &inner, err);
}

void vdb_index_calls_describe(struct vdb_collection *collection, vecdb_collection_info *out)
{
    struct vdb_index_status index;
    vdb_collection_get_index_status(collection, &index);
    snprintf(out->index, sizeof out->index, "%s", index.config.type);
    out->index_m = index.config.m;
    out->index_ef_construction = index.config.ef_construction;
    out->index_ef_search = index.config.ef_search;
    out->index_code_bits = index.config.code_bits;
    out->index_compact = index.config.compact;
    out->index_scan_below = index.config.scan_below;
    out->index_target_recall = index.config.target_recall;
    out->index_rows = index.rows_indexed;
    out->index_rows_waiting = index.rows_waiting;
    out->index_memory_bytes = index.memory_bytes;
    out->index_file_bytes = index.file_bytes;
    out->index_ef_default = index.ef_default;
    out->index_building = index.building;
    out->index_builds = index.builds;
    out->index_loads = index.loads;
    out->index_build_failures = index.build_failures;
    out->index_build_ns = index.build_ns;
    out->index_shadow_queries = index.shadow_queries;
    out->index_shadow_recall = index.shadow_recall;
}

void vdb_index_calls_add(struct vdb_collection *collection, bool dropped, vecdb_stats *sum)
{
    struct vdb_index_status index;
    vdb_collection_get_index_status(collection, &index);
    if (!dropped) {
        sum->index_rows += index.rows_indexed;
        sum->index_rows_waiting += index.rows_waiting;
        sum->index_memory_bytes += index.memory_bytes;
        sum->index_file_bytes += index.file_bytes;
    }
    sum->index_builds += index.builds;
    sum->index_build_failures += index.build_failures;
    sum->index_build_ns += index.build_ns;
    uint64_t queries = sum->shadow_queries + index.shadow_queries;
    if (index.shadow_queries > 0) {
        double share = (double)index.shadow_queries / (double)queries;
        sum->shadow_recall += (index.shadow_recall - sum->shadow_recall) * share;
    }
    sum->shadow_queries = queries;
}
