/* test_elements.c: collections of f32, f16, u8 and i8 against a naive model in doubles, to the bit: what is kept, which
 * rows a search finds, in which order, with which scores; with rows in the memtable and in several segments, overwritten
 * and deleted, through checkpoints, compactions and reopening. Queries that the element can hold, and such that it cannot.
 * And what the elements refuse.
 */
#include "support.h"

#include <math.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/rng.h"
#include "collection/database.h"
#include "env/env_memory.h"

#ifdef VDB_SANITIZED
enum { ROUNDS = 60 };
#else
enum { ROUNDS = 150 };
#endif
enum { SEED = 53, DIMENSION = 37, IDS = 120, BATCH = 8, LANES = 16 };

static const vdb_element elements[] = {VDB_ELEMENT_F32, VDB_ELEMENT_F16, VDB_ELEMENT_U8, VDB_ELEMENT_I8};

struct fixture {
    struct vdb_env *env;
    struct vdb_database *database;
    struct vdb_collection *collection;
    vdb_element element;
    vdb_metric metric;
    struct vdb_rng rng;
};

static void open_database(struct fixture *f)
{
    struct vdb_err err = {0};
    assert_ok(vdb_database_open(f->env, "data", false, &f->database, &err), &err);
}

static void take_collection(struct fixture *f)
{
    struct vdb_err err = {0};
    assert_ok(vdb_database_get(f->database, "docs", &f->collection, &err), &err);
}

static void open_fixture(struct fixture *f, vdb_element element, vdb_metric metric, uint32_t dimension)
{
    struct vdb_err err = {0};
    struct vdb_schema schema = {.name = "docs", .dimension = dimension, .metric = metric, .element = element};
    *f = (struct fixture){.env = vdb_env_memory_create(), .element = element, .metric = metric};
    vdb_rng_init(&f->rng, SEED + (uint64_t)element * 10 + (uint64_t)metric);
    open_database(f);
    assert_ok(vdb_database_create(f->database, &schema, &(struct vdb_index_config){.type = "flat"}, &err), &err);
    take_collection(f);
}

static void close_database(struct fixture *f)
{
    vdb_collection_unref(f->collection);
    vdb_database_close(f->database);
}

static void close_fixture(struct fixture *f)
{
    close_database(f);
    vdb_env_memory_destroy(f->env);
}

/* ---- The model ---- */

struct model {
    bool live[IDS];
    float kept[IDS][DIMENSION];
    int group[IDS];
};

/* To the nearest number that f16 has, ties to even, by the format's definition. */
static float round_to_half(float value)
{
    if (value == 0.0f) {
        return value;
    }
    int exponent = ilogbf(value);
    double step = ldexp(1, (exponent < -14 ? -14 : exponent) - 10);
    return (float)(nearbyint((double)value / step) * step);
}

/* A number that the element takes, and what it keeps of it. Few values, so that distances tie. */
static float draw_number(struct fixture *f, float *kept)
{
    float value = 0;
    switch (f->element) {
    case VDB_ELEMENT_U8:
        value = vdb_rng_below(&f->rng, 9) == 0 ? 255.0f : (float)vdb_rng_below(&f->rng, 3);
        value = value == 0.0f && vdb_rng_below(&f->rng, 2) == 0 ? -0.0f : value;
        *kept = value + 0.0f; /* no negative zero */
        return value;
    case VDB_ELEMENT_I8:
        value = vdb_rng_below(&f->rng, 9) == 0 ? -128.0f : (float)vdb_rng_below(&f->rng, 3) - 1;
        *kept = value;
        return value;
    case VDB_ELEMENT_F16:
        value = vdb_rng_below(&f->rng, 2) == 0 ? (float)vdb_rng_below(&f->rng, 3) : vdb_rng_normal(&f->rng);
        switch (vdb_rng_below(&f->rng, 30)) {
        case 0:
            value = -65504;
            break;
        case 1:
            value *= 0x1p-20f; /* below the normal numbers */
            break;
        case 2:
            value = -0x1p-30f; /* to -0 */
            break;
        default:
            break;
        }
        *kept = round_to_half(value);
        return value;
    default:
        value = vdb_rng_below(&f->rng, 2) == 0 ? (float)vdb_rng_below(&f->rng, 3) : vdb_rng_normal(&f->rng);
        *kept = value;
        return value;
    }
}

static double sum_lanes(double lane[LANES])
{
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t i = 0; i < half; i++) {
            lane[i] += lane[i + half];
        }
    }
    return lane[0];
}

/* The order of summation is the one that distance/wide.h fixes. */
static double naive_distance(vdb_metric metric, const float *a, const float *b)
{
    double l2[LANES] = {0};
    double dot[LANES] = {0};
    double aa[LANES] = {0};
    double bb[LANES] = {0};
    double l1[LANES] = {0};
    for (size_t i = 0; i < DIMENSION; i++) {
        double x = (double)a[i];
        double y = (double)b[i];
        l2[i % LANES] += (x - y) * (x - y);
        l1[i % LANES] += fabs(x - y);
        dot[i % LANES] += x * y;
        aa[i % LANES] += x * x;
        bb[i % LANES] += y * y;
    }
    double cosine;
    switch (metric) {
    case VDB_METRIC_L2:
        return sum_lanes(l2);
    case VDB_METRIC_DOT:
        return -sum_lanes(dot);
    case VDB_METRIC_L1:
        return sum_lanes(l1);
    default:
        cosine = 1 - sum_lanes(dot) / sqrt(sum_lanes(aa) * sum_lanes(bb));
        return cosine < 0 ? 0 : cosine > 2 ? 2 : cosine;
    }
}

/* Id n is a number when even, a text when odd; texts come after numbers, in the order of n. */
static struct vdb_id id_of(unsigned n, char text[16])
{
    snprintf(text, 16, "s%05u", n);
    return n % 2 == 0 ? (struct vdb_id){.number = n} : (struct vdb_id){text, (uint32_t)strlen(text), 0};
}

struct ranked {
    unsigned n;
    double distance;
};

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a;
    const struct ranked *y = b;
    char xt[16];
    char yt[16];
    struct vdb_id xi = id_of(x->n, xt);
    struct vdb_id yi = id_of(y->n, yt);
    if (x->distance != y->distance) {
        return x->distance < y->distance ? -1 : 1;
    }
    return vdb_id_before(&xi, &yi) ? -1 : vdb_id_before(&yi, &xi) ? 1 : 0;
}

static size_t naive_search(const struct model *model, vdb_metric metric, const float *query, int group,
                           struct ranked out[IDS])
{
    size_t count = 0;
    for (unsigned n = 0; n < IDS; n++) {
        if (model->live[n] && (group < 0 || model->group[n] == group)) {
            out[count++] = (struct ranked){n, naive_distance(metric, query, model->kept[n])};
        }
    }
    qsort(out, count, sizeof *out, compare_ranked);
    return count;
}

/* ---- What a round does ---- */

static void write_batch(struct fixture *f, struct model *model)
{
    struct vdb_err err = {0};
    struct vdb_write_result result;
    struct vdb_point points[BATCH];
    float vectors[BATCH][DIMENSION];
    char texts[BATCH][16];
    char metadata[BATCH][32];
    for (unsigned i = 0; i < BATCH; i++) {
        unsigned n = (unsigned)vdb_rng_below(&f->rng, IDS);
        for (size_t d = 0; d < DIMENSION; d++) {
            vectors[i][d] = draw_number(f, &model->kept[n][d]);
        }
        vectors[i][0] = model->kept[n][0] = 1; /* not zero, which cosine refuses */
        model->live[n] = true;
        model->group[n] = (int)vdb_rng_below(&f->rng, 3);
        snprintf(metadata[i], sizeof metadata[i], "{\"group\":%d}", model->group[n]);
        points[i] = (struct vdb_point){id_of(n, texts[i]), vectors[i], DIMENSION, vdb_str_of(metadata[i])};
    }
    assert_ok(vdb_collection_upsert(f->collection, points, BATCH, &result, &err), &err);
}

static void delete_some(struct fixture *f, struct model *model)
{
    struct vdb_err err = {0};
    struct vdb_write_result result;
    for (int i = 0; i < 3; i++) {
        char text[16];
        unsigned n = (unsigned)vdb_rng_below(&f->rng, IDS);
        struct vdb_id id = id_of(n, text);
        assert_ok(vdb_collection_delete(f->collection, &id, 1, &result, &err), &err);
        assert_int_equal(result.changed, model->live[n]);
        model->live[n] = false;
    }
}

static void move_rows(struct fixture *f)
{
    struct vdb_err err = {0};
    struct vdb_compact_result result;
    switch (vdb_rng_below(&f->rng, 24)) {
    case 0:
    case 1:
    case 2:
    case 3:
        assert_ok(vdb_collection_checkpoint(f->collection, &err), &err);
        return;
    case 4: {
        const struct vdb_compact_options options = {.full = vdb_rng_below(&f->rng, 2) == 0};
        assert_ok(vdb_collection_compact(f->collection, &options, &result, &err), &err);
        return;
    }
    case 5:
        close_database(f);
        open_database(f);
        take_collection(f);
        return;
    default:
        return;
    }
}

/* Everything that is there, by id. */
static void compare_points(struct fixture *f, const struct model *model)
{
    struct vdb_err err = {0};
    struct vdb_id ids[IDS];
    char texts[IDS][16];
    struct vdb_hits hits;
    size_t at = 0;
    for (unsigned n = 0; n < IDS; n++) {
        ids[n] = id_of(n, texts[n]);
    }
    assert_ok(vdb_collection_get(f->collection, ids, IDS, &hits, &err), &err);
    for (unsigned n = 0; n < IDS; n++) {
        if (model->live[n]) {
            assert_true(at < hits.count);
            assert_true(vdb_id_equal(&hits.hits[at].id, &ids[n]));
            assert_memory_equal(hits.hits[at].vector, model->kept[n], sizeof model->kept[n]);
            at++;
        }
    }
    assert_int_equal(at, hits.count);
    vdb_hits_fini(&hits);
}

static void compare_search(struct fixture *f, const struct model *model)
{
    struct vdb_err err = {0};
    struct vdb_hits hits;
    static struct ranked expected[IDS];
    float query[DIMENSION];
    char filter[96];
    int group = (int)vdb_rng_below(&f->rng, 4) - 1; /* -1: no filter */
    unsigned kind = (unsigned)vdb_rng_below(&f->rng, 3);
    for (size_t d = 0; d < DIMENSION; d++) {
        float kept;
        query[d] = draw_number(f, &kept);
        query[d] = kind == 0   ? kept
                   : kind == 1 ? query[d]
                               : vdb_rng_normal(&f->rng) * 300; /* out of every range */
    }
    query[0] = kind == 1 ? 0.3f : 1.0f; /* which f16 rounds and the bytes have not */
    snprintf(filter, sizeof filter, "{\"field\":\"group\",\"op\":\"==\",\"value\":%d}", group);
    struct vdb_search search = {
        .vector = query, .dimension = DIMENSION, .k = 1 + (uint32_t)vdb_rng_below(&f->rng, 30)};
    search.without_vector = vdb_rng_below(&f->rng, 4) == 0;
    if (group >= 0) {
        search.filter = vdb_str_of(filter);
    }
    size_t count = naive_search(model, f->metric, query, group, expected);
    size_t wanted = count < search.k ? count : search.k;
    assert_ok(vdb_collection_search(f->collection, &search, &hits, &err), &err);
    assert_int_equal(hits.count, wanted);
    assert_int_equal(hits.explain.rows_allowed, count);
    for (size_t i = 0; i < wanted; i++) {
        char text[16];
        unsigned n = expected[i].n;
        struct vdb_id id = id_of(n, text);
        assert_true(vdb_id_equal(&hits.hits[i].id, &id));
        assert_true(hits.hits[i].score == vdb_metric_score(f->metric, expected[i].distance));
        if (search.without_vector) {
            assert_null(hits.hits[i].vector);
        } else {
            assert_memory_equal(hits.hits[i].vector, model->kept[n], sizeof model->kept[n]);
        }
    }
    vdb_hits_fini(&hits);
}

static void test_model(void **state)
{
    (void)state;
    uint64_t segments_max = 0;
    for (int run = 0; run < 4 * (VDB_METRIC_L1 + 1); run++) {
        struct fixture f;
        struct vdb_err err = {0};
        struct vdb_verify_result verified;
        struct model *model = calloc(1, sizeof *model);
        assert_non_null(model);
        open_fixture(&f, elements[run % 4], (vdb_metric)(run / 4), DIMENSION);
        assert_int_equal(vdb_collection_schema(f.collection)->element, elements[run % 4]);
        for (int round = 0; round < ROUNDS; round++) {
            struct vdb_store_stats stats;
            if (vdb_rng_below(&f.rng, 4) == 0) {
                delete_some(&f, model);
            } else {
                write_batch(&f, model);
            }
            compare_search(&f, model);
            move_rows(&f);
            compare_search(&f, model);
            if (round % 16 == 0) {
                compare_points(&f, model);
            }
            vdb_store_get_stats(vdb_collection_store(f.collection), &stats);
            segments_max = stats.segments > segments_max ? stats.segments : segments_max;
        }
        assert_ok(vdb_collection_checkpoint(f.collection, &err), &err);
        compare_points(&f, model);
        assert_ok(vdb_collection_verify(f.collection, &verified, &err), &err);
        assert_int_equal(vdb_collection_schema(f.collection)->element, elements[run % 4]);
        close_fixture(&f);
        free(model);
    }
    assert_true(segments_max >= 3);
}

/* ---- Bounds ---- */

/* One point of one dimension: refused with that text, or kept as `kept`, before and after a checkpoint. */
static void put_one(vdb_element element, float value, float kept, const char *refusal)
{
    struct fixture f;
    struct vdb_err err = {0};
    struct vdb_write_result result;
    struct vdb_hits hits;
    struct vdb_id id = {.number = 1};
    float vector[2] = {1, value};
    struct vdb_point point = {id, vector, 2, {NULL, 0}};
    open_fixture(&f, element, VDB_METRIC_L2, 2);
    vdb_status status = vdb_collection_upsert(f.collection, &point, 1, &result, &err);
    if (refusal != NULL) {
        assert_fails(status, VDB_INVALID, &err, refusal);
        close_fixture(&f);
        return;
    }
    assert_ok(status, &err);
    for (int i = 0; i < 2; i++) {
        assert_ok(vdb_collection_get(f.collection, &id, 1, &hits, &err), &err);
        assert_int_equal(hits.count, 1);
        assert_memory_equal(&hits.hits[0].vector[1], &kept, sizeof kept);
        vdb_hits_fini(&hits);
        assert_ok(vdb_collection_checkpoint(f.collection, &err), &err);
    }
    close_fixture(&f);
}

static void test_bounds(void **state)
{
    (void)state;
    put_one(VDB_ELEMENT_U8, 255, 255, NULL);
    put_one(VDB_ELEMENT_U8, -0.0f, 0, NULL);
    put_one(VDB_ELEMENT_U8, 256, 0,
            "points[0].vector[1]: 256; the collection \"docs\" keeps u8: whole numbers from 0 to 255");
    put_one(VDB_ELEMENT_U8, -1, 0, "points[0].vector[1]: -1;");
    put_one(VDB_ELEMENT_U8, 0.5f, 0, "points[0].vector[1]: 0.5;");
    put_one(VDB_ELEMENT_U8, nextafterf(255, 0), 0, "points[0].vector[1]: 254.999985;");
    put_one(VDB_ELEMENT_U8, 0x1p-149f, 0, "points[0].vector[1]: 1.40129846e-45;");
    put_one(VDB_ELEMENT_U8, 3e38f, 0, "keeps u8");
    put_one(VDB_ELEMENT_U8, NAN, 0, "vector[1]: NaN");
    put_one(VDB_ELEMENT_I8, 127, 127, NULL);
    put_one(VDB_ELEMENT_I8, -128, -128, NULL);
    put_one(VDB_ELEMENT_I8, 128, 0,
            "points[0].vector[1]: 128; the collection \"docs\" keeps i8: whole numbers from -128 to 127");
    put_one(VDB_ELEMENT_I8, -129, 0, "points[0].vector[1]: -129;");
    put_one(VDB_ELEMENT_I8, -0.25f, 0, "points[0].vector[1]: -0.25;");
    put_one(VDB_ELEMENT_I8, -INFINITY, 0, "vector[1]: infinity");
    put_one(VDB_ELEMENT_F16, 65504, 65504, NULL);
    put_one(VDB_ELEMENT_F16, -65504, -65504, NULL);
    put_one(VDB_ELEMENT_F16, nextafterf(65504, INFINITY), 0,
            "points[0].vector[1]: 65504.0039; the collection \"docs\" keeps f16: numbers from -65504 to 65504");
    put_one(VDB_ELEMENT_F16, -70000, 0, "points[0].vector[1]: -70000;");
    put_one(VDB_ELEMENT_F16, 2049, 2048, NULL); /* half-way, to even */
    put_one(VDB_ELEMENT_F16, 2051, 2052, NULL);
    put_one(VDB_ELEMENT_F16, 0x1p-24f, 0x1p-24f, NULL);
    put_one(VDB_ELEMENT_F16, -0x1p-25f, -0.0f, NULL);
    put_one(VDB_ELEMENT_F32, 0.1f, 0.1f, NULL);
}

/* A vector that rounds to zero has no direction, and leaves nothing of its batch. */
static void test_zero_after_rounding(void **state)
{
    (void)state;
    struct fixture f;
    struct vdb_err err = {0};
    struct vdb_write_result result;
    uint64_t count;
    float good[2] = {1, 1};
    float tiny[2] = {0x1p-26f, -0x1p-30f};
    struct vdb_point points[2] = {{{.number = 1}, good, 2, {NULL, 0}}, {{.number = 2}, tiny, 2, {NULL, 0}}};
    open_fixture(&f, VDB_ELEMENT_F16, VDB_METRIC_COSINE, 2);
    assert_fails(vdb_collection_upsert(f.collection, points, 2, &result, &err), VDB_INVALID, &err,
                 "points[1].vector: rounded to f16 it is the zero vector");
    assert_ok(vdb_collection_count(f.collection, (struct vdb_str){NULL, 0}, &count, &err), &err);
    assert_int_equal(count, 0);
    /* As a query it has one. */
    assert_ok(vdb_collection_upsert(f.collection, points, 1, &result, &err), &err);
    for (int i = 0; i < 2; i++) {
        struct vdb_hits hits;
        const struct vdb_search search = {.vector = tiny, .dimension = 2, .k = 1};
        assert_ok(vdb_collection_search(f.collection, &search, &hits, &err), &err);
        assert_int_equal(hits.count, 1);
        assert_true(fabs(hits.hits[0].score - (1 - 15 / sqrt(2 * (16 * 16 + 1)))) < 1e-12);
        vdb_hits_fini(&hits);
        assert_ok(vdb_collection_checkpoint(f.collection, &err), &err);
    }
    close_fixture(&f);
}

static void test_refused_schemas(void **state)
{
    (void)state;
    static const vdb_element refused[] = {VDB_ELEMENT_BF16, VDB_ELEMENT_BIT, (vdb_element)77};
    static const char *const names[] = {"\"bf16\" (4)", "\"bit\" (5)", "\"unknown\" (77)"};
    struct fixture f;
    open_fixture(&f, VDB_ELEMENT_F32, VDB_METRIC_L2, 2);
    for (size_t i = 0; i < 3; i++) {
        struct vdb_err err = {0};
        char text[64];
        struct vdb_schema schema = {.name = "more", .dimension = 2, .element = refused[i]};
        snprintf(text, sizeof text, "element: %s is none of f32, f16, u8, i8", names[i]);
        assert_fails(vdb_database_create(f.database, &schema, &(struct vdb_index_config){.type = "flat"}, &err),
                     VDB_INVALID, &err, text);
    }
    close_fixture(&f);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF);
    print_message("seed %d\n", SEED);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_zero_after_rounding),
        cmocka_unit_test(test_refused_schemas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
