/* fuzz_request.c: any bytes as each of the request bodies, and as a path.
 *
 * The first byte chooses the body and the collection's dimension, so that one corpus serves all. What is accepted
 * must keep the contracts of vecdb.h: finite vectors of the dimension, ids and counts within their limits.
 */
// floor: server
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "server/body.h"
#include "server/routes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_id(const vecdb_id *id)
{
    must(id->text == NULL || (id->text_bytes >= 1 && id->text_bytes <= VDB_LIMIT_ID_BYTES_MAX));
    volatile char last = id->text != NULL ? id->text[id->text_bytes - 1] : 0;
    (void)last;
}

static void check_vector(const float *vector, uint32_t dimension)
{
    for (uint32_t i = 0; i < dimension; i++) {
        must(isfinite(vector[i]));
    }
}

static void fuzz_upsert(const struct vdb_body *body, struct vdb_err *err)
{
    struct vdb_body_points points;
    if (vdb_body_parse_upsert(body, &points, err) != VDB_OK) {
        return;
    }
    must(points.count >= 1 && points.count <= VDB_LIMIT_BATCH_POINTS_MAX);
    for (size_t i = 0; i < points.count; i++) {
        check_id(&points.points[i].id);
        check_vector(points.points[i].vector, body->dimension);
        must(points.points[i].metadata == NULL || points.points[i].metadata[0] == '{');
    }
}

static void fuzz_ids(const struct vdb_body *body, struct vdb_err *err, bool to_read)
{
    struct vdb_body_ids ids;
    if (vdb_body_parse_ids(body, to_read, &ids, err) != VDB_OK) {
        return;
    }
    must(to_read || ids.snapshot == NULL);
    must(ids.count >= 1 && ids.count <= VDB_LIMIT_BATCH_POINTS_MAX);
    for (size_t i = 0; i < ids.count; i++) {
        check_id(&ids.ids[i]);
    }
}

static void fuzz_search(const struct vdb_body *body, struct vdb_err *err)
{
    struct vdb_body_search search;
    if (vdb_body_parse_search(body, &search, err) == VDB_OK) {
        must(search.request.k >= 1 && search.request.k <= VDB_LIMIT_K_MAX);
        check_vector(search.request.vector, body->dimension);
        must(search.request.ef <= 65536 && (search.request.ef == 0 || search.request.target_recall == 0));
        must(search.request.target_recall >= 0 && search.request.target_recall < 1);
    }
}

static void check_index(const vecdb_index_config *config)
{
    must(config->type == NULL || strcmp(config->type, "flat") == 0 || strcmp(config->type, "hnsw") == 0 ||
         strcmp(config->type, "qgraph") == 0);
    must(config->m == 0 || (config->m >= 4 && config->m <= 256));
    must(config->ef_construction <= 65536 && config->ef_search <= 65536 && config->compact <= 1);
    must(config->code_bits <= 1024 && config->scan_below <= VDB_LIMIT_COLLECTION_POINTS_MAX);
    must(config->target_recall >= 0 && config->target_recall < 1);
}

static void fuzz_index(const struct vdb_body *body, struct vdb_err *err)
{
    vecdb_index_config config;
    if (vdb_body_parse_index(body, VECDB_L1, &config, err) == VDB_OK) {
        check_index(&config);
        must(config.type == NULL || strcmp(config.type, "qgraph") != 0);
    }
}

static void fuzz_create(const struct vdb_body *body, struct vdb_err *err)
{
    vecdb_collection_config config;
    if (vdb_body_parse_create(body, &config, err) == VDB_OK) {
        must(config.name != NULL && config.dimension >= 1 && config.dimension <= VDB_LIMIT_DIMENSION_MAX);
        must(config.metric >= VECDB_L2 && config.metric <= VECDB_L1);
        if (config.index_config != NULL) {
            check_index(config.index_config);
        }
    }
}

static void fuzz_path(const char *text, size_t bytes, struct vdb_err *err)
{
    char path[512];
    size_t used = bytes < sizeof path - 1 ? bytes : sizeof path - 1;
    memcpy(path, text, used);
    path[used] = '\0';
    struct vdb_match match;
    vdb_routes_find("GET", path, &match);
    char decoded[VDB_LIMIT_ID_BYTES_MAX + 1];
    size_t count;
    vecdb_id id;
    if (vdb_routes_decode(match.id.data != NULL ? match.id : vdb_str_of(path), "id", decoded,
                          VDB_LIMIT_ID_BYTES_MAX, &count, err) == VDB_OK) {
        must(count <= VDB_LIMIT_ID_BYTES_MAX && decoded[count] == '\0');
        if (vdb_routes_id((struct vdb_str){decoded, count}, &id, err) == VDB_OK) {
            check_id(&id);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    struct vdb_arena arena;
    struct vdb_err err = {VDB_OK, ""};
    struct vdb_body_count count;
    vdb_arena_init(&arena, 4096);
    /* '0' to '7' choose the body at dimension 3, '(' to '/' at 2. */
    struct vdb_body body = {(const char *)data + 1, bytes - 1, "docs", 1 + data[0] / 8 % 4, &arena};
    switch (data[0] % 8) {
    case 0:
        fuzz_upsert(&body, &err);
        break;
    case 1:
        fuzz_index(&body, &err);
        break;
    case 2:
        fuzz_ids(&body, &err, true);
        break;
    case 3:
        fuzz_ids(&body, &err, false);
        break;
    case 4:
        fuzz_search(&body, &err);
        break;
    case 5:
        fuzz_create(&body, &err);
        break;
    case 6:
        if (vdb_body_parse_count(&body, &count, &err) == VDB_OK) {
            must(count.filter.data == NULL || count.filter.bytes > 0);
        }
        break;
    default:
        fuzz_path((const char *)data + 1, bytes - 1, &err);
        break;
    }
    must(memchr(err.text, '\0', sizeof err.text) != NULL);
    vdb_arena_fini(&arena);
    return 0;
}
