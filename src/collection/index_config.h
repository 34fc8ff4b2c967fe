/* index_config.h: what a collection's index_config means: the kinds, their defaults and limits.
 *
 *     flat     every search scans
 *     hnsw     memtables and segments have an HNSW
 *     qgraph   memtables have an HNSW, segments a quantised graph (l2, cosine, dot; up to 8,192 dimensions)
 *
 * Numbers that are 0 stand for the default. Errors begin with the field: `index_config.m: 3; allowed are 4..256`.
 * Threads: pure functions.
 */
#ifndef VDB_COLLECTION_INDEX_CONFIG_H
#define VDB_COLLECTION_INDEX_CONFIG_H

#include <string.h>

#include "index/hnsw.h"
#include "index/qgraph.h"
#include "storage/schema.h"

#define VDB_INDEX_CONFIG_TARGET_RECALL 0.98 /* when nothing is said */

enum {
    VDB_INDEX_CONFIG_SCAN_BELOW = 4096, /* when nothing is said: a scan of so many takes as long as a few walks */
    VDB_INDEX_CONFIG_EF_MAX = VDB_HNSW_EF_MAX,
};

/* What a collection of that schema gets when its creator says nothing: qgraph, or hnsw where that cannot be. */
void vdb_index_config_default(const struct vdb_schema *schema, struct vdb_index_config *out);

/* VDB_UNSUPPORTED: a type that is not known, or does not fit metric or dimension. VDB_INVALID: a number. */
vdb_status vdb_index_config_check(const struct vdb_index_config *config, const struct vdb_schema *schema,
                                  struct vdb_err *err) VDB_MUST_CHECK;

/* Checked configs in all that follows. */

static inline bool vdb_index_config_is(const struct vdb_index_config *config, const char *type)
{
    return strcmp(config->type, type) == 0;
}

/* Graphs of segments, in full numbers; two configs give the same graphs when these are equal byte for byte. */
struct vdb_index_build {
    char type[VDB_INDEX_NAME_BYTES];
    uint32_t m; /* hnsw; qgraph's is that of memtables and stands here as 0 */
    uint32_t ef_construction;
    uint32_t code_bits;
    uint32_t compact;
};

struct vdb_index_build vdb_index_config_build(const struct vdb_index_config *config);
struct vdb_hnsw_params vdb_index_config_hnsw(const struct vdb_index_build *build);
struct vdb_qgraph_params vdb_index_config_qgraph(const struct vdb_index_build *build);
/* Of a memtable's graph, of whatever kind the segments' are. */
struct vdb_hnsw_params vdb_index_config_memory(const struct vdb_index_config *config);

uint32_t vdb_index_config_scan_below(const struct vdb_index_config *config);
double vdb_index_config_target_recall(const struct vdb_index_config *config);

#endif
