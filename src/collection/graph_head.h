/* graph_head.h: the head of a segment's index file: of what kind the graph is, what it was built with, and its
 * calibration. The index's own bytes follow, from a multiple of 64 on.
 *
 *     u32 magic "VDBG" | u16 version | u16 0 | u32 bytes of the head | u32 rows of the segment
 *     char type[16] | u32 m | u32 ef_construction | u32 code_bits | u32 compact | recall table | zeros
 *
 * Threads: pure functions.
 */
#ifndef VDB_COLLECTION_GRAPH_HEAD_H
#define VDB_COLLECTION_GRAPH_HEAD_H

#include "index_config.h"
#include "recall.h"

struct vdb_graph_head {
    struct vdb_index_build build;
    struct vdb_recall_table recall;
    uint32_t rows; /* of the segment */
};

void vdb_graph_head_encode(const struct vdb_graph_head *head, struct vdb_buf *out);

/* data: of a whole file; *at is where the index's bytes begin. VDB_VERSION: written by a later version. VDB_CORRUPT says
 * what is wrong. */
vdb_status vdb_graph_head_decode(const void *data, size_t bytes, struct vdb_graph_head *out, size_t *at,
                                 struct vdb_err *err) VDB_MUST_CHECK;

#endif
