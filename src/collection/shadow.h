/* shadow.h: a search that is done again exactly, to learn what recall its user got (recall.h has the controller).
 *
 * It keeps the view that the search had, so that both answer from the same rows; one waits at a time, and it is done
 * within moments, on the indexer's thread.
 *
 * Threads: confined.
 */
#ifndef VDB_COLLECTION_SHADOW_H
#define VDB_COLLECTION_SHADOW_H

#include "base/topk.h"
#include "collection.h"

struct vdb_shadow_query;

/* After an answered search: makes one and hands it to the indexer, if one is due and the search was for it: by recall, not
 * filtered. target: the recall that it was to reach; hits as found, nearest first. */
void vdb_shadow_query_offer(struct vdb_collection *collection, const struct vdb_search *search, double target,
                            const struct vdb_view *view, const struct vdb_candidate *found, size_t count);

/* Does it, reports, frees it. */
void vdb_shadow_query_run(struct vdb_shadow_query *query);
void vdb_shadow_query_destroy(struct vdb_shadow_query *query); /* NULL is allowed */

#endif
