/* graph_oracle.h: what the random tests of collections with graphs share: vectors that follow from id and version, a
 * data directory, and the exact oracle.
 *
 * Every point says in its metadata which version it is, and its vector is a function of id and version: so a version that should
 * be gone shows by its metadata and by its score. Vectors lie in clusters, which an update leaves for another.
 */
#ifndef VDB_TESTS_GRAPH_ORACLE_H
#define VDB_TESTS_GRAPH_ORACLE_H

#include "support.h"

#include <ftw.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/rng.h"
#include "vecdb.h"

enum { DIMENSION_MAX = 64, CENTRES = 40, GROUPS = 5, METADATA_BYTES = 48, SCAN_BELOW = 100 };

#define RECALL_MIN 0.95 /* averaged over many searches at default settings */

#define assert_vecdb_ok(call, err)                                                                               \
    do {                                                                                                         \
        if ((call) != VECDB_OK) {                                                                                \
            fail_msg("%s: %s", #call, (err)->message);                                                           \
        }                                                                                                        \
    } while (0)

/* ---- A directory ---- */

static inline int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

/* In TMPDIR; else in memory where there is such a place, since each of a million writes is synced. */
static inline int make_dir(void **state)
{
    char path[512];
    const char *parent = getenv("TMPDIR");
    parent = parent != NULL ? parent : access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, sizeof path, "%s/vecdb-graphs-XXXXXX", parent);
    *state = mkdtemp(path) == NULL ? NULL : strdup(path);
    return *state == NULL;
}

static inline int remove_dir(void **state)
{
    nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

static inline uint64_t number_of(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 10) : otherwise;
}

/* What VECDB_RANDOM_OPS is when nothing is said. */
#ifdef VDB_SANITIZED
enum { OPS = 6000 };
#else
enum { OPS = 20000 };
#endif

/* ---- Collections ---- */

struct kind {
    const char *name; /* of the collection */
    uint32_t dimension;
    vecdb_metric metric;
    vecdb_element element;
    const char *index; /* NULL: the default */
};

static const struct kind kinds[] = {
    {"bytes", 32, VECDB_L2, VECDB_U8, NULL},
    {"floats", 48, VECDB_COSINE, VECDB_F32, NULL},
    {"sums", 24, VECDB_L1, VECDB_F32, "hnsw"},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static inline void create_collections(vecdb *db)
{
    for (size_t i = 0; i < KINDS; i++) {
        vecdb_error err;
        const vecdb_index_config index = {.type = kinds[i].index, .scan_below = SCAN_BELOW};
        const vecdb_collection_config config = {.name = kinds[i].name,
                                                .dimension = kinds[i].dimension,
                                                .metric = kinds[i].metric,
                                                .element = kinds[i].element,
                                                .index_config = &index};
        assert_vecdb_ok(vecdb_create_collection(db, &config, &err), &err);
    }
}

/* ---- Vectors ---- */

/* Of a point, or of a query: any two numbers. */
static inline void make_vector(const struct kind *kind, uint64_t id, uint64_t version, float *out)
{
    struct vdb_rng rng;
    struct vdb_rng centre;
    vdb_rng_init(&rng, id * UINT64_C(0x9e3779b97f4a7c15) + version);
    vdb_rng_init(&centre, vdb_rng_below(&rng, CENTRES) + 1);
    for (uint32_t i = 0; i < kind->dimension; i++) {
        const double value = vdb_rng_double(&centre) + vdb_rng_double(&rng) - 1;
        out[i] = (float)value;
        if (kind->element == VECDB_U8) {
            out[i] = roundf(out[i] * 80 + 128);
            out[i] = out[i] < 0 ? 0 : out[i] > 255 ? 255 : out[i];
        }
    }
}

static inline unsigned group_of(uint64_t id)
{
    return (unsigned)(id % GROUPS);
}

static inline size_t make_metadata(uint64_t id, uint64_t version, char out[METADATA_BYTES])
{
    return (size_t)snprintf(out, METADATA_BYTES, "{\"g\":%u,\"v\":%llu}", group_of(id),
                            (unsigned long long)version);
}

/* The version that a hit says it is. */
static inline uint64_t version_of(const vecdb_hit *hit)
{
    char text[METADATA_BYTES];
    char again[METADATA_BYTES];
    unsigned group;
    unsigned long long version;
    assert_true(hit->metadata_bytes < sizeof text);
    memcpy(text, hit->metadata, hit->metadata_bytes);
    text[hit->metadata_bytes] = '\0';
    assert_int_equal(sscanf(text, "{\"g\":%u,\"v\":%llu}", &group, &version), 2);
    assert_int_equal(make_metadata(hit->id.number, version, again), hit->metadata_bytes);
    assert_string_equal(text, again);
    return version;
}

/* ---- Distances ---- */

/* As users see scores, but lower is always nearer; the vectors' squares are of cosine only. */
static inline double score_of(const struct kind *kind, const float *a, const float *b)
{
    double sum = 0;
    double a_square = 0;
    double b_square = 0;
    for (uint32_t i = 0; i < kind->dimension; i++) {
        const double x = (double)a[i];
        const double y = (double)b[i];
        if (kind->metric == VECDB_L2) {
            sum += (x - y) * (x - y);
        } else if (kind->metric == VECDB_L1) {
            sum += fabs(x - y);
        } else {
            sum += x * y;
            a_square += x * x;
            b_square += y * y;
        }
    }
    switch (kind->metric) {
    case VECDB_L2:
        return sqrt(sum);
    case VECDB_L1:
        return sum;
    case VECDB_DOT:
        return -sum;
    default:
        return 1 - sum / sqrt(a_square * b_square);
    }
}

static inline double hit_score(const struct kind *kind, const vecdb_hit *hit)
{
    return kind->metric == VECDB_DOT ? -hit->score : hit->score;
}

/* Sums of doubles in another order. */
static inline bool same_score(double a, double b)
{
    return fabs(a - b) <= 1e-9 * (1 + fabs(a));
}

#endif
