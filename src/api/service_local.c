/* service_local.c: the service table answered by an embedded database: each entry is the vecdb.h call of its
 * name. */
#include <stdlib.h>

#include "base/mem.h"
#include "database_handle.h"
#include "service.h"

struct local_service {
    struct vdb_service base;
    vecdb *db;
};

static vecdb *db_of(struct vdb_service *service)
{
    return ((struct local_service *)service)->db;
}

static vecdb_status local_create_collection(struct vdb_service *service, const vecdb_collection_config *config,
                                            vecdb_error *err)
{
    return vecdb_create_collection(db_of(service), config, err);
}

static vecdb_status local_drop_collection(struct vdb_service *service, const char *name, vecdb_error *err)
{
    return vecdb_drop_collection(db_of(service), name, err);
}

static vecdb_status local_get_collection(struct vdb_service *service, const char *name,
                                         vecdb_collection_info *out, vecdb_error *err)
{
    return vecdb_get_collection(db_of(service), name, out, err);
}

static vecdb_status local_list_collections(struct vdb_service *service, vecdb_collection_info **out,
                                           size_t *count, vecdb_error *err)
{
    return vecdb_list_collections(db_of(service), out, count, err);
}

static vecdb_status local_upsert(struct vdb_service *service, const char *collection, const vecdb_point *points,
                                 size_t count, vecdb_write_result *result, vecdb_error *err)
{
    return vecdb_upsert(db_of(service), collection, points, count, result, err);
}

static vecdb_status local_remove(struct vdb_service *service, const char *collection, const vecdb_id *ids,
                                 size_t count, vecdb_write_result *result, vecdb_error *err)
{
    return vecdb_delete(db_of(service), collection, ids, count, result, err);
}

static vecdb_status local_get(struct vdb_service *service, const char *collection, const vecdb_id *ids,
                              size_t count, vecdb_result **out, vecdb_error *err)
{
    return vecdb_get(db_of(service), collection, ids, count, out, err);
}

static vecdb_status local_count(struct vdb_service *service, const char *collection, const char *filter,
                                size_t filter_bytes, uint64_t *out, vecdb_error *err)
{
    return vecdb_count(db_of(service), collection, filter, filter_bytes, out, err);
}

static vecdb_status local_search(struct vdb_service *service, const char *collection,
                                 const vecdb_search_request *request, vecdb_result **out, vecdb_error *err)
{
    return vecdb_search(db_of(service), collection, request, out, err);
}

static vecdb_status local_set_index(struct vdb_service *service, const char *collection,
                                    const vecdb_index_config *config, vecdb_error *err)
{
    return vecdb_set_index(db_of(service), collection, config, err);
}

static vecdb_status local_build_index(struct vdb_service *service, const char *collection,
                                      const vecdb_build_options *options, vecdb_error *err)
{
    return vecdb_build_index(db_of(service), collection, options, err);
}

static vecdb_status local_create_snapshot(struct vdb_service *service, const char *collection, const char *name,
                                          vecdb_snapshot_info *out, vecdb_error *err)
{
    return vecdb_snapshot_create(db_of(service), collection, name, out, err);
}

static vecdb_status local_list_snapshots(struct vdb_service *service, const char *collection,
                                         vecdb_snapshot_info **out, size_t *count, vecdb_error *err)
{
    return vecdb_snapshot_list(db_of(service), collection, out, count, err);
}

static vecdb_status local_delete_snapshot(struct vdb_service *service, const char *collection, const char *name,
                                          vecdb_error *err)
{
    return vecdb_snapshot_delete(db_of(service), collection, name, err);
}

static void local_get_stats(struct vdb_service *service, vecdb_stats *out)
{
    vecdb_get_stats(db_of(service), out);
}

static void local_destroy(struct vdb_service *service)
{
    vecdb_close(db_of(service));
    free(service);
}

static const struct vdb_service_ops local_ops = {
    .name = "local",
    .create_collection = local_create_collection,
    .drop_collection = local_drop_collection,
    .get_collection = local_get_collection,
    .list_collections = local_list_collections,
    .upsert = local_upsert,
    .remove = local_remove,
    .get = local_get,
    .count = local_count,
    .search = local_search,
    .set_index = local_set_index,
    .build_index = local_build_index,
    .create_snapshot = local_create_snapshot,
    .list_snapshots = local_list_snapshots,
    .delete_snapshot = local_delete_snapshot,
    .get_stats = local_get_stats,
    .destroy = local_destroy,
};

vecdb_status vdb_service_local_open(const char *path, const vecdb_options *options, struct vdb_service **out,
                                    vecdb_error *err)
{
    struct local_service *service = vdb_calloc(1, sizeof *service);
    if (service == NULL) {
        struct vdb_err inner = {0};
        return vdb_api_report(vdb_err_no_memory(&inner, "a service"), &inner, err);
    }
    service->base.ops = &local_ops;
    vecdb_status status = vecdb_open(path, options, &service->db, err);
    if (status != VECDB_OK) {
        free(service);
        return status;
    }
    *out = &service->base;
    return VECDB_OK;
}
