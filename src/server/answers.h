/* answers.h: writes the JSON of answers and problems (docs/api.md).
 *
 * All append to a vdb_buf, whose `failed` tells of short memory. Threads: all functions are pure.
 */
#ifndef VDB_SERVER_ANSWERS_H
#define VDB_SERVER_ANSWERS_H

#include "base/bytes.h"
#include "base/err.h"
#include "server/body.h"
#include "vecdb.h"

void vdb_answers_put_info(struct vdb_buf *out, const vecdb_collection_info *info);
void vdb_answers_put_collections(struct vdb_buf *out, const vecdb_collection_info *infos, size_t count);

/* One SNAPSHOT, {"snapshots": [SNAPSHOT...]} */
void vdb_answers_put_snapshot(struct vdb_buf *out, const vecdb_snapshot_info *info);
void vdb_answers_put_snapshots(struct vdb_buf *out, const vecdb_snapshot_info *infos, size_t count);

/* {"seq": 7, "upserted": 2}: `verb` names the second field. */
void vdb_answers_put_write(struct vdb_buf *out, const vecdb_write_result *result, const char *verb);

/* One POINT. */
void vdb_answers_put_point(struct vdb_buf *out, const vecdb_hit *hit, const struct vdb_body_shape *shape);
/* {"points": [POINT...]} */
void vdb_answers_put_points(struct vdb_buf *out, const vecdb_hit *hits, size_t count,
                            const struct vdb_body_shape *shape);
/* RESULT; explain may be NULL. */
void vdb_answers_put_results(struct vdb_buf *out, const vecdb_hit *hits, size_t count,
                             const struct vdb_body_shape *shape, const vecdb_explain *explain);

/* The HTTP status of a failed call. */
unsigned vdb_answers_http_status(vdb_status status);

/* A problem document (RFC 9457). */
void vdb_answers_put_problem(struct vdb_buf *out, unsigned http_status, const struct vdb_err *err);

#endif
