/* test_golden.c: the directories under tests/golden, written by earlier versions: each opens and holds what it held
 * (tests/golden/expected.txt), also after it was written to and opened again; those from the future are refused by
 * name, and nothing in them changes. The committed files are copied first. */
#include "support.h"

#include <dirent.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vecdb.h"

enum { PATH_BYTES = 1024, LISTING_BYTES = 1 << 16, HITS_MAX = 1000 };

#define assert_vecdb_ok(call, err)                                                                               \
    do {                                                                                                         \
        if ((call) != VECDB_OK) {                                                                                \
            fail_msg("%s: %s", #call, (err)->message);                                                           \
        }                                                                                                        \
    } while (0)

/* tests/golden/NAME, found from this file's own path. */
static const char *golden(const char *name)
{
    static char path[PATH_BYTES];
    static const char here[] = "unit/api/test_golden.c";
    const char *file = __FILE__;
    size_t bytes = strlen(file);
    assert_true(bytes > sizeof here && strcmp(file + bytes - (sizeof here - 1), here) == 0);
    snprintf(path, sizeof path, "%.*sgolden/%s", (int)(bytes - (sizeof here - 1)), file, name);
    return path;
}

static size_t read_whole(const char *path, char *out, size_t bytes_max)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("%s cannot be opened", path);
        return 0;
    }
    size_t bytes = fread(out, 1, bytes_max - 1, file);
    assert_true(bytes < bytes_max - 1);
    out[bytes] = '\0';
    fclose(file);
    return bytes;
}

static void copy_tree(const char *from, const char *to)
{
    static char content[LISTING_BYTES];
    DIR *dir = opendir(from);
    if (dir == NULL) {
        fail_msg("%s cannot be read", from);
        return;
    }
    assert_true(mkdir(to, 0755) == 0);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char source[PATH_BYTES];
        char target[PATH_BYTES];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        snprintf(source, sizeof source, "%s/%s", from, entry->d_name);
        snprintf(target, sizeof target, "%s/%s", to, entry->d_name);
        struct stat status;
        assert_int_equal(stat(source, &status), 0);
        if (S_ISDIR(status.st_mode)) {
            copy_tree(source, target);
            continue;
        }
        size_t bytes = read_whole(source, content, sizeof content);
        FILE *file = fopen(target, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(content, 1, bytes, file), bytes);
        fclose(file);
    }
    closedir(dir);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int make_dir(void **state)
{
    char *path = strdup("/tmp/vecdb-golden-XXXXXX");
    *state = mkdtemp(path);
    return *state == NULL;
}

static int remove_dir(void **state)
{
    nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

/* Numbers by value, then texts by bytes. */
static int compare_hits(const void *a, const void *b)
{
    const vecdb_id *x = &((const vecdb_hit *)a)->id;
    const vecdb_id *y = &((const vecdb_hit *)b)->id;
    if ((x->text == NULL) != (y->text == NULL)) {
        return x->text == NULL ? -1 : 1;
    }
    if (x->text == NULL) {
        return x->number < y->number ? -1 : x->number > y->number;
    }
    size_t shorter = x->text_bytes < y->text_bytes ? x->text_bytes : y->text_bytes;
    int order = memcmp(x->text, y->text, shorter);
    return order != 0 ? order : x->text_bytes < y->text_bytes ? -1 : x->text_bytes > y->text_bytes;
}

/* Every collection, and every point of it in id order, as text. */
static void list_database(vecdb *db, char out[LISTING_BYTES])
{
    static vecdb_hit hits[HITS_MAX];
    static const float origin[16] = {1};
    vecdb_error err;
    vecdb_collection_info *infos;
    size_t count;
    size_t at = 0;
    assert_vecdb_ok(vecdb_list_collections(db, &infos, &count, &err), &err);
    for (size_t c = 0; c < count; c++) {
        vecdb_result *result;
        vecdb_search_request request = {
            .vector = origin, .dimension = infos[c].dimension, .k = HITS_MAX, .with_vector = 1};
        assert_vecdb_ok(vecdb_search(db, infos[c].name, &request, &result, &err), &err);
        size_t points = vecdb_result_count(result);
        assert_int_equal(points, infos[c].count);
        memcpy(hits, vecdb_result_hits(result), points * sizeof *hits);
        qsort(hits, points, sizeof *hits, compare_hits);
        at += (size_t)snprintf(out + at, LISTING_BYTES - at, "collection %s dimension %u metric %s index %s\n",
                               infos[c].name, infos[c].dimension, vecdb_metric_name(infos[c].metric),
                               infos[c].index);
        for (size_t i = 0; i < points; i++) {
            if (hits[i].id.text != NULL) {
                at += (size_t)snprintf(out + at, LISTING_BYTES - at, "\"%.*s\" [", (int)hits[i].id.text_bytes,
                                       hits[i].id.text);
            } else {
                at += (size_t)snprintf(out + at, LISTING_BYTES - at, "%llu [",
                                       (unsigned long long)hits[i].id.number);
            }
            for (uint32_t d = 0; d < hits[i].dimension; d++) {
                at += (size_t)snprintf(out + at, LISTING_BYTES - at, "%s%.2f", d > 0 ? " " : "",
                                       (double)hits[i].vector[d]);
            }
            at += (size_t)snprintf(out + at, LISTING_BYTES - at, "] %.*s\n", (int)hits[i].metadata_bytes,
                                   hits[i].metadata);
            assert_true(at < LISTING_BYTES - 4096);
        }
        vecdb_result_free(result);
    }
    vecdb_free(infos);
}

static void assert_listing(const char *dir, const char *expected)
{
    static char listing[LISTING_BYTES];
    vecdb_error err;
    vecdb *db;
    vecdb_options options = {.must_exist = 1};
    assert_vecdb_ok(vecdb_open(dir, &options, &db, &err), &err);
    list_database(db, listing);
    vecdb_close(db);
    if (strcmp(listing, expected) != 0) {
        fail_msg("%s does not hold what it held:\n%s", dir, listing);
    }
}

/* Opens, holds what is expected, takes a write and a deletion of it, and holds the same again. */
static void check_golden(void **state, const char *name, const char *more)
{
    static char expected[LISTING_BYTES];
    char dir[PATH_BYTES];
    size_t bytes = read_whole(golden("expected.txt"), expected, sizeof expected);
    /* What the torn one has besides stands in id order: "late" comes before "plain". */
    if (more != NULL) {
        char *at = strstr(expected, "\"plain\"");
        assert_non_null(at);
        memmove(at + strlen(more), at, bytes + 1 - (size_t)(at - expected));
        memcpy(at, more, strlen(more));
    }
    snprintf(dir, sizeof dir, "%s/%s", (const char *)*state, name);
    copy_tree(golden(name), dir);
    assert_listing(dir, expected);
    assert_listing(dir, expected); /* opened, closed, opened */
    vecdb *db;
    vecdb_error err;
    const float vector[3] = {1, 2, 3};
    vecdb_point point = {vecdb_id_number(5), vector, 3, "{\"new\":1}", 9};
    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    vecdb_write_result written;
    assert_vecdb_ok(vecdb_upsert(db, "numbers", &point, 1, &written, &err), &err);
    assert_int_equal(written.changed, 1);
    vecdb_close(db);
    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    assert_vecdb_ok(vecdb_delete(db, "numbers", &point.id, 1, &written, &err), &err);
    assert_int_equal(written.changed, 1);
    vecdb_close(db);
    assert_listing(dir, expected);
}

/* The snapshot that is in it still holds what it did, although the collection took writes since, and verifies. */
static void check_snapshot(void **state, const char *name)
{
    static const char *const collections[] = {"numbers", "texts"};
    char dir[PATH_BYTES];
    vecdb *db;
    vecdb_error err;
    snprintf(dir, sizeof dir, "%s/%s", (const char *)*state, name);
    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        char at_kept[64];
        uint64_t now;
        uint64_t then;
        snprintf(at_kept, sizeof at_kept, "%s@kept", collections[i]);
        assert_vecdb_ok(vecdb_count(db, collections[i], NULL, 0, &now, &err), &err);
        assert_vecdb_ok(vecdb_count(db, at_kept, NULL, 0, &then, &err), &err);
        assert_true(then > 0);
        assert_int_equal(then, now);
        vecdb_verify_result verified;
        assert_vecdb_ok(vecdb_verify(db, collections[i], &verified, &err), &err);
        assert_int_equal(verified.snapshots, 1);
    }
    vecdb_close(db);
}

/* Collections of the other elements: what they hold is read from a segment and a log; then all from a segment. */
static void check_elements(void **state, const char *name)
{
    static const char *const collections[] = {"f16", "i8", "u8"};
    static char expected[LISTING_BYTES];
    char dir[PATH_BYTES];
    vecdb *db;
    vecdb_error err;
    read_whole(golden("expected-elements.txt"), expected, sizeof expected);
    snprintf(dir, sizeof dir, "%s/%s", (const char *)*state, name);
    copy_tree(golden(name), dir);
    assert_listing(dir, expected);
    assert_vecdb_ok(vecdb_open(dir, NULL, &db, &err), &err);
    for (size_t i = 0; i < 3; i++) {
        vecdb_verify_result verified;
        assert_vecdb_ok(vecdb_checkpoint(db, collections[i], &err), &err);
        assert_vecdb_ok(vecdb_verify(db, collections[i], &verified, &err), &err);
    }
    vecdb_close(db);
    assert_listing(dir, expected);
}

static bool there(const char *name)
{
    struct stat status;
    return stat(golden(name), &status) == 0;
}

static void test_format1(void **state)
{
    assert_true(there("format1"));
    check_golden(state, "format1", NULL);
}

#define LATE "\"late\" [0.50 -1.25 2.00 -2.75 3.50] {\"late\":1}\n"

static void test_format1_torn(void **state)
{
    check_golden(state, "format1-torn", LATE);
}

/* Every format from the second on that has golden directories. */
static void test_later_formats(void **state)
{
    assert_true(there("format2"));
    for (int format = 2; format < 100; format++) {
        char name[64];
        snprintf(name, sizeof name, "format%d", format);
        if (!there(name)) {
            break;
        }
        check_golden(state, name, NULL);
        snprintf(name, sizeof name, "format%d-torn", format);
        check_golden(state, name, LATE);
        snprintf(name, sizeof name, "format%d-checkpointed", format);
        check_golden(state, name, NULL);
        check_snapshot(state, name);
        snprintf(name, sizeof name, "format%d-elements", format);
        check_elements(state, name);
        snprintf(name, sizeof name, "format%d-indexed", format);
        check_golden(state, name, NULL);
        check_snapshot(state, name);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *name;
        const char *file;
        const char *part;
    } refused[] = {
        {"refused-database-future", "metadata.json", "needs a reader of format 4000000000"},
        {"refused-database-feature", "metadata.json", "feature bits 0x8000000000000000"},
        {"refused-collection-future", "docs", "needs a reader of format 4000000000"},
        {"refused-collection-feature", "docs", "feature bits 0x8000000000000000"},
        {"refused-log-future", "segment_000000.wal", "format 4000000000 for readers of 4000000000 or later"},
        {"refused-log-feature", "segment_000000.wal", "feature bits 0x8000000000000000"},
    };
    static const char *const files[] = {"metadata.json", "collections/docs/metadata.json",
                                        "collections/docs/wal/segment_000000.wal"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char dir[PATH_BYTES];
        vecdb_error err;
        vecdb *db;
        snprintf(dir, sizeof dir, "%s/%s", (const char *)*state, refused[i].name);
        copy_tree(golden(refused[i].name), dir);
        for (int again = 0; again < 2; again++) {
            vecdb_status status = vecdb_open(dir, NULL, &db, &err);
            if (status != VECDB_VERSION || strstr(err.message, refused[i].part) == NULL ||
                strstr(err.message, refused[i].file) == NULL) {
                fail_msg("%s: status %d, %s", refused[i].name, (int)status, err.message);
            }
        }
        for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
            char path[2 * PATH_BYTES];
            char was[4096];
            char is[4096];
            snprintf(path, sizeof path, "%s/%s", refused[i].name, files[f]);
            size_t bytes = read_whole(golden(path), was, sizeof was);
            snprintf(path, sizeof path, "%s/%s", dir, files[f]);
            assert_int_equal(read_whole(path, is, sizeof is), bytes);
            assert_memory_equal(is, was, bytes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_format1, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_format1_torn, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_later_formats, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(test_refused, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
