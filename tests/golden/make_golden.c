/* make_golden.c: writes the content of the golden directories through the public API of whichever VecDB it is linked
 * with (see README.md, tests/golden/make).
 *
 *     make_golden DIR 1    a new database: two collections, the first half of the batches, closed
 *     make_golden DIR 2    the second half, closed
 *     make_golden DIR 3    two more batches, then the process ends without closing: the log has no mark
 *     make_golden DIR 4    another database: a collection for each element but f32, closed (from format 2 on)
 *     make_golden DIR 5    some of its points overwritten, deleted, added, closed
 *
 * After step 2 the content is expected.txt; step 3 adds points "late" and "last" to the collection "texts". Vectors
 * are small multiples of 1/4: exact in every format. After step 5 the content is expected-elements.txt. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vecdb.h"

enum { NUMBERS_DIMENSION = 3, TEXTS_DIMENSION = 5, NUMBERS = 40 };

static vecdb *db;

static void check(vecdb_status status, const vecdb_error *err, const char *what)
{
    if (status != VECDB_OK) {
        fprintf(stderr, "%s: %s\n", what, err->message);
        exit(1);
    }
}

static void create(const char *name, uint32_t dimension, vecdb_metric metric)
{
    vecdb_error err;
    vecdb_collection_config config = {.name = name, .dimension = dimension, .metric = metric};
    check(vecdb_create_collection(db, &config, &err), &err, name);
}

static void put(const char *collection, vecdb_id id, uint32_t dimension, int salt, const char *metadata)
{
    vecdb_error err;
    float vector[TEXTS_DIMENSION];
    for (uint32_t d = 0; d < dimension; d++) {
        vector[d] = (float)(1 + (salt * 7 + (int)d * 3) % 23) / 4.0F * (d % 2 == 0 ? 1.0F : -1.0F);
    }
    vecdb_point point = {id, vector, dimension, metadata, metadata != NULL ? strlen(metadata) : 0};
    check(vecdb_upsert(db, collection, &point, 1, NULL, &err), &err, collection);
}

static vecdb_id text(const char *text)
{
    vecdb_id id = {text, strlen(text), 0};
    return id;
}

static void drop_id(const char *collection, vecdb_id id)
{
    vecdb_error err;
    check(vecdb_delete(db, collection, &id, 1, NULL, &err), &err, collection);
}

static void first_half(void)
{
    create("numbers", NUMBERS_DIMENSION, VECDB_L2);
    create("texts", TEXTS_DIMENSION, VECDB_COSINE);
    for (int i = 0; i < NUMBERS; i++) {
        char metadata[64];
        snprintf(metadata, sizeof metadata, "{\"n\": %d, \"odd\": %s}", i, i % 2 != 0 ? "true" : "false");
        put("numbers", vecdb_id_number((uint64_t)i * 1000003), NUMBERS_DIMENSION, i, metadata);
    }
    put("texts", text("plain"), TEXTS_DIMENSION, 1, NULL);
    put("texts", text("\xc3\xa9t\xc3\xa9"), TEXTS_DIMENSION, 2,
        "{\"title\": \"L'\xc3\xa9t\xc3\xa9 \xe2\x80\x94 \xe5\xa4\x8f \xf0\x9f\x8c\x9e\", \"tags\": [\"a\", "
        "\"b\\n\"]}");
    put("texts", text("deleted"), TEXTS_DIMENSION, 3, "{\"gone\": 1}");
    put("texts", vecdb_id_number(42), TEXTS_DIMENSION, 4, "{\"kind\": \"number\"}");
    put("texts", text("42"), TEXTS_DIMENSION, 5, "{\"kind\": \"text\"}");
}

static void second_half(void)
{
    for (int i = 0; i < NUMBERS; i += 5) {
        drop_id("numbers", vecdb_id_number((uint64_t)i * 1000003));
    }
    for (int i = 1; i < NUMBERS; i += 5) {
        put("numbers", vecdb_id_number((uint64_t)i * 1000003), NUMBERS_DIMENSION, 100 + i,
            "{\"rewritten\": 1.50}");
    }
    drop_id("numbers", vecdb_id_number(77)); /* was never there */
    drop_id("texts", text("deleted"));
    put("texts", text("plain"), TEXTS_DIMENSION, 6, "{\"now\": {\"deep\": [1, [2, [3]]]}, \"e\": 1e3}");
    put("texts", vecdb_id_number(UINT64_MAX), TEXTS_DIMENSION, 7, "{}");
    put("texts", text("again"), TEXTS_DIMENSION, 8, NULL);
    drop_id("texts", text("again"));
    put("texts", text("again"), TEXTS_DIMENSION, 9, "{\"back\": true}");
}

#if VECDB_VERSION_MAJOR > 0 || VECDB_VERSION_MINOR >= 2
static const struct {
    const char *name;
    vecdb_element element;
    int scale; /* whole numbers, times 1 / scale */
    int lowest;
} kinds[] = {{"f16", VECDB_F16, 4, -40}, {"i8", VECDB_I8, 1, -128}, {"u8", VECDB_U8, 1, 0}};

static void put_kind(size_t k, int n, int salt)
{
    vecdb_error err;
    char metadata[32];
    float vector[NUMBERS_DIMENSION];
    for (int d = 0; d < NUMBERS_DIMENSION; d++) {
        vector[d] = (float)(kinds[k].lowest + (salt * 31 + d * 85) % 256) / (float)kinds[k].scale;
    }
    snprintf(metadata, sizeof metadata, "{\"salt\":%d}", salt);
    vecdb_point point = {vecdb_id_number((uint64_t)n), vector, NUMBERS_DIMENSION, metadata, strlen(metadata)};
    check(vecdb_upsert(db, kinds[k].name, &point, 1, NULL, &err), &err, kinds[k].name);
}

static void elements(bool second)
{
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        vecdb_error err;
        vecdb_collection_config config = {.name = kinds[k].name,
                                          .dimension = NUMBERS_DIMENSION,
                                          .metric = VECDB_L2,
                                          .element = kinds[k].element};
        if (!second) {
            check(vecdb_create_collection(db, &config, &err), &err, kinds[k].name);
        }
        for (int n = 0; n < 20; n++) {
            if (!second) {
                put_kind(k, n, n);
            } else if (n % 4 == 1) {
                put_kind(k, n, 100 + n);
            } else if (n % 4 == 2) {
                drop_id(kinds[k].name, vecdb_id_number((uint64_t)n));
            }
        }
        if (second) {
            put_kind(k, 50, 50);
        }
    }
}
#else
static void elements(bool second)
{
    (void)second;
    fprintf(stderr, "this version has no elements but f32\n");
    exit(1);
}
#endif

int main(int argc, char **argv)
{
    vecdb_error err;
    if (argc != 3) {
        fprintf(stderr, "usage: make_golden DIR STEP\n");
        return 2;
    }
    check(vecdb_open(argv[1], NULL, &db, &err), &err, argv[1]);
    switch (atoi(argv[2])) {
    case 1:
        first_half();
        break;
    case 2:
        second_half();
        break;
    case 4:
        elements(false);
        break;
    case 5:
        elements(true);
        break;
    default:
        put("texts", text("late"), TEXTS_DIMENSION, 10, "{\"late\": 1}");
        put("texts", text("last"), TEXTS_DIMENSION, 11, "{\"last\": \"cut by the generator\"}");
        _exit(0);
    }
    vecdb_close(db);
    return 0;
}
