/* database_handle.h: what is behind the opaque types of vecdb.h, and the bridge between its values and ours. */
#ifndef VDB_API_DATABASE_HANDLE_H
#define VDB_API_DATABASE_HANDLE_H

#include <pthread.h>
#include <stdatomic.h>

#include "collection/database.h"
#include "collection/index_config.h"
#include "vecdb.h"

struct vecdb {
    struct vdb_database *database;
    pthread_mutex_t retired_lock; /* taken alone */
    vecdb_stats retired;          /* what builds and shadow queries of dropped collections had counted */
};

/* Between the names of a collection and of a snapshot of it; no name contains it. */
#define VDB_API_SNAPSHOT_SIGN '@'

/* Copies an outcome to the user's error (may be NULL) and returns it as a public status. */
vecdb_status vdb_api_report(vdb_status status, const struct vdb_err *from, vecdb_error *to);

/* VDB_INVALID for NULL and for COLLECTION@SNAPSHOT: what takes a name and does not read points refuses them. */
vdb_status vdb_api_check_collection(const char *name, struct vdb_err *err) VDB_MUST_CHECK;

/* A reference to the collection of that name; NULL names none. COLLECTION@SNAPSHOT is VDB_INVALID here. */
vdb_status vdb_api_get(vecdb *db, const char *name, struct vdb_collection **out,
                       struct vdb_err *err) VDB_MUST_CHECK;

/* The same for who only reads points: COLLECTION@SNAPSHOT is that snapshot (storage_calls.c). */
vdb_status vdb_api_get_to_read(vecdb *db, const char *name, struct vdb_collection **out,
                               struct vdb_err *err) VDB_MUST_CHECK;

/* What a collection's segments hold (storage_calls.c). */
struct vdb_storage_calls_sizes {
    uint64_t segment_live_bytes;
    uint64_t debt_bytes;
};
void vdb_storage_calls_measure(struct vdb_collection *collection, struct vdb_storage_calls_sizes *out);

/* What a public progress callback needs, for those within. */
struct vdb_api_teller {
    vecdb_progress_fn *progress;
    void *ctx;
    const char *collection;
};
bool vdb_api_tell_rows(void *teller, uint64_t rows_done, uint64_t rows_total);

/* ---- index_calls.c ---- */

/* The config that the two together name (either may be NULL), with the default type of such a collection when neither
 * does. VDB_INVALID when they name two types; what the members mean is checked by the collection. */
vdb_status vdb_index_calls_config(const vecdb_index_config *from, const char *type,
                                  const struct vdb_schema *schema, struct vdb_index_config *to,
                                  struct vdb_err *err) VDB_MUST_CHECK;
/* The index_... members, and `index`. */
void vdb_index_calls_describe(struct vdb_collection *collection, vecdb_collection_info *out);
/* Adds a collection's to the sums of all; or, of one that was dropped, what it had counted. */
void vdb_index_calls_add(struct vdb_collection *collection, bool dropped, vecdb_stats *sum);

/* Takes ownership of the hits and of one reference to the collection. On failure both are released. */
vdb_status vdb_result_create(struct vdb_collection *collection, struct vdb_hits *hits, bool with_vector,
                             bool with_metadata, vecdb_result **out, struct vdb_err *err) VDB_MUST_CHECK;

static inline struct vdb_id vdb_api_id(const vecdb_id *id)
{
    /* A length past 32 bits must not wrap into an allowed one. */
    uint32_t text_bytes = id->text_bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)id->text_bytes;
    return (struct vdb_id){id->text, id->text != NULL ? text_bytes : 0, id->text != NULL ? 0 : id->number};
}

#endif
