/* service.h: the request table that the server speaks to, whoever answers: an embedded database (service_local.c)
 * or, later, a cluster's router. The types are those of vecdb.h, and so are the contracts of each entry.
 *
 * Threads: all entries may be called from all threads at once.
 */
#ifndef VDB_API_SERVICE_H
#define VDB_API_SERVICE_H

#include "vecdb.h"

struct vdb_service;

struct vdb_service_ops {
    const char *name; /* "local" */
    vecdb_status (*create_collection)(struct vdb_service *service, const vecdb_collection_config *config,
                                      vecdb_error *err);
    vecdb_status (*drop_collection)(struct vdb_service *service, const char *name, vecdb_error *err);
    vecdb_status (*get_collection)(struct vdb_service *service, const char *name, vecdb_collection_info *out,
                                   vecdb_error *err);
    vecdb_status (*list_collections)(struct vdb_service *service, vecdb_collection_info **out, size_t *count,
                                     vecdb_error *err);
    vecdb_status (*upsert)(struct vdb_service *service, const char *collection, const vecdb_point *points,
                           size_t count, vecdb_write_result *result, vecdb_error *err);
    vecdb_status (*remove)(struct vdb_service *service, const char *collection, const vecdb_id *ids, size_t count,
                           vecdb_write_result *result, vecdb_error *err);
    vecdb_status (*get)(struct vdb_service *service, const char *collection, const vecdb_id *ids, size_t count,
                        vecdb_result **out, vecdb_error *err);
    vecdb_status (*count)(struct vdb_service *service, const char *collection, const char *filter,
                          size_t filter_bytes, uint64_t *out, vecdb_error *err);
    vecdb_status (*search)(struct vdb_service *service, const char *collection,
                           const vecdb_search_request *request, vecdb_result **out, vecdb_error *err);
    vecdb_status (*set_index)(struct vdb_service *service, const char *collection,
                              const vecdb_index_config *config, vecdb_error *err);
    vecdb_status (*build_index)(struct vdb_service *service, const char *collection,
                                const vecdb_build_options *options, vecdb_error *err);
    vecdb_status (*create_snapshot)(struct vdb_service *service, const char *collection, const char *name,
                                    vecdb_snapshot_info *out, vecdb_error *err);
    vecdb_status (*list_snapshots)(struct vdb_service *service, const char *collection, vecdb_snapshot_info **out,
                                   size_t *count, vecdb_error *err);
    vecdb_status (*delete_snapshot)(struct vdb_service *service, const char *collection, const char *name,
                                    vecdb_error *err);
    void (*get_stats)(struct vdb_service *service, vecdb_stats *out);
    void (*destroy)(struct vdb_service *service);
};

/* Implementations embed this as their first member. */
struct vdb_service {
    const struct vdb_service_ops *ops;
};

/* Opens the data directory at path (vecdb_open; options may be NULL) and serves it from this process. Released by
 * ops->destroy. */
vecdb_status vdb_service_local_open(const char *path, const vecdb_options *options, struct vdb_service **out,
                                    vecdb_error *err);

#endif
