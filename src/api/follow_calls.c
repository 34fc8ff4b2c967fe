/* follow_calls.c: implements the following part of vecdb.h over collection/follow.h. */
#include <stdlib.h>

#include "base/mem.h"
#include "collection/follow.h"
#include "database_handle.h"

struct vecdb_follower {
    struct vdb_follower *inner;
};

vecdb_status vecdb_follower_open(const char *from, const char *to, const char *collection, vecdb_follower **out,
                                 vecdb_error *err)
{
    struct vdb_err inner = {0};
    vdb_status status = VDB_OK;
    struct vecdb_follower *follower = vdb_calloc(1, sizeof *follower);
    if (follower == NULL) {
        status = vdb_err_no_memory(&inner, "a follower");
    } else if (from == NULL || to == NULL || collection == NULL) {
        status = vdb_err_set(&inner, VDB_INVALID, "%s: none given",
                             from == NULL ? "from"
                             : to == NULL ? "to"
                                          : "collection");
    } else {
        status = vdb_follower_open(vdb_env_posix(), from, to, collection, &follower->inner, &inner);
    }
    if (status != VDB_OK) {
        free(follower);
        return vdb_api_report(status, &inner, err);
    }
    *out = follower;
    return vdb_api_report(VDB_OK, &inner, err);
}

void vecdb_follower_close(vecdb_follower *follower)
{
    if (follower != NULL) {
        vdb_follower_close(follower->inner);
        free(follower);
    }
}

vecdb_status vecdb_follower_step(vecdb_follower *follower, int *more, vecdb_error *err)
{
    struct vdb_err inner = {0};
    bool there_is_more = false;
    vdb_status status = vdb_follower_step(follower->inner, &there_is_more, &inner);
    *more = there_is_more;
    return vdb_api_report(status, &inner, err);
}

void vecdb_follower_get_stats(const vecdb_follower *follower, vecdb_follower_stats *out)
{
    struct vdb_follower_stats stats;
    vdb_follower_get_stats(follower->inner, &stats);
    *out = (vecdb_follower_stats){
        .seq = stats.seq,
        .records = stats.records,
        .bytes = stats.bytes,
        .copies = stats.copies,
        .points = stats.points,
    };
}

vecdb_status vecdb_promote(vecdb *db, const char *name, vecdb_error *err)
{
    struct vdb_err inner = {0};
    struct vdb_collection *collection = NULL;
    vdb_status status = vdb_api_get(db, name, &collection, &inner);
    if (status == VDB_OK) {
        status = vdb_collection_promote(collection, &inner);
        vdb_collection_unref(collection);
    }
    return vdb_api_report(status, &inner, err);
}
