/* flat.h: one query of exact search over all rows, shared out over threads.
 *
 * A team keeps its threads from query to query. It answers what vdb_index_flat.search answers, to the last bit,
 * ties included, in any number of threads. On the caller's thread alone, use vdb_index_flat.
 *
 * Threads: a team is confined; it uses threads of its own inside its calls, so the top-k's `tie` is called from all
 * of them at once.
 */
#ifndef VDB_INDEX_FLAT_H
#define VDB_INDEX_FLAT_H

#include "index.h"

struct vdb_flat_team;

/* threads: 0 for one per core, at most VDB_POOL_THREADS_MAX. k_max: the largest k of any search, 1 to
 * VDB_LIMIT_COLLECTION_POINTS_MAX. Over either limit is VDB_LIMIT. */
vdb_status vdb_flat_team_create(unsigned threads, size_t k_max, struct vdb_flat_team **out,
                                struct vdb_err *err) VDB_MUST_CHECK;
void vdb_flat_team_destroy(struct vdb_flat_team *team); /* NULL is allowed */

unsigned vdb_flat_team_threads(const struct vdb_flat_team *team);

/* Fills topk, which is initialised, empty and not finished, as vdb_index_ops.search does. */
vdb_status vdb_flat_team_search(struct vdb_flat_team *team, const struct vdb_rows *rows,
                                const struct vdb_query *query, struct vdb_topk *topk,
                                struct vdb_err *err) VDB_MUST_CHECK;

#endif
