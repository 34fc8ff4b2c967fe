/* index.c: the registry of index kinds. */
#include "index.h"
#include "hnsw.h"
#include "qgraph.h"

const struct vdb_index_ops *const vdb_index_all[] = {&vdb_index_flat, &vdb_index_hnsw, &vdb_index_qgraph, NULL};

const struct vdb_index_ops *vdb_index_find(struct vdb_str name)
{
    for (size_t i = 0; vdb_index_all[i] != NULL; i++) {
        if (vdb_str_is(name, vdb_index_all[i]->name)) {
            return vdb_index_all[i];
        }
    }
    return NULL;
}

vdb_status vdb_index_search_many(const struct vdb_index_ops *ops, const void *index, const struct vdb_rows *rows,
                                 const struct vdb_query *queries, struct vdb_topk *topks, size_t count,
                                 struct vdb_err *err)
{
    if (ops->search_many != NULL) {
        return ops->search_many(index, rows, queries, topks, count, err);
    }
    for (size_t i = 0; i < count; i++) {
        VDB_TRY(ops->search(index, rows, &queries[i], &topks[i], err));
    }
    return VDB_OK;
}
