/* test_store_damage.c: promise P4 of the design on whole directories: files that are not as the store left them are
 * named, or make no difference; never a wrong answer, a crash or a hang. Every byte is flipped (one bit each), every
 * file is cut at every length, is taken away, is exchanged for another; old manifests are put back.
 *
 * What cannot be told from a crash, and is not: a log whose last segment was shortened, or taken away, is taken for
 * one that ended there. It never shows more or less than whole batches, and none before the last checkpoint is lost
 * by it. After a close without a mark the same holds of a flip in the last group of batches (docs/format.md). */
#include "support.h"

#include "base/log.h"
#include "store_world.h"

enum { FILES_MAX = 48 };

struct files {
    unsigned count;
    char paths[FILES_MAX][96];
    uint64_t bytes[FILES_MAX];
};

/* The directory under test: two segments, one of them with a bitmap; a log of several segments; a snapshot whose
 * segments were merged away since. */
struct damage {
    struct vdb_env *env;
    struct files files;
    unsigned checkpointed; /* batches in the segments */
    unsigned batches;
    unsigned kept; /* batches in the snapshot */
    bool marked;
    struct {
        uint8_t *text;
        size_t bytes;
    } manifests[16]; /* each that there was, the last one is in place */
    unsigned manifest_count;
    uint64_t found;
    uint64_t harmless;
    uint64_t shorter;
};

static void add_files(struct damage *d, const char *dir)
{
    struct listing listing;
    list_dir(d->env, dir, &listing);
    for (unsigned i = 0; i < listing.count; i++) {
        struct vdb_err err = {0};
        vdb_file_kind kind;
        uint64_t bytes;
        char path[96];
        snprintf(path, sizeof path, "%.40s/%.48s", dir, listing.names[i]);
        assert_ok(d->env->ops->stat(d->env, path, &kind, &bytes, &err), &err);
        if (kind == VDB_KIND_DIR) {
            add_files(d, path);
        } else {
            assert_true(d->files.count < FILES_MAX);
            snprintf(d->files.paths[d->files.count], sizeof path, "%s", path);
            d->files.bytes[d->files.count++] = bytes;
        }
    }
}

static void note_manifest(struct damage *d)
{
    struct vdb_err err = {0};
    uint8_t *text;
    size_t bytes;
    assert_ok(vdb_env_read_file(d->env, "c/metadata.json", 1 << 20, &text, &bytes, &err), &err);
    if (d->manifest_count > 0 && d->manifests[d->manifest_count - 1].bytes == bytes &&
        memcmp(d->manifests[d->manifest_count - 1].text, text, bytes) == 0) {
        free(text);
        return;
    }
    assert_true(d->manifest_count < 16);
    d->manifests[d->manifest_count].text = text;
    d->manifests[d->manifest_count++].bytes = bytes;
}

static void make_damage(struct damage *d, bool marked)
{
    static const struct step steps[] = {
        {.kind = WRITE},
        {.kind = WRITE},
        {.kind = CHECKPOINT},
        {.kind = WRITE},
        {.kind = KEEP, .snapshot = 0},
        {.kind = WRITE},
        {.kind = WRITE},
        {.kind = CHECKPOINT},
        {.kind = WRITE},
        {.kind = COMPACT_FULL},
        {.kind = WRITE},
        {.kind = CHECKPOINT},
        {.kind = WRITE},
        {.kind = WRITE},
        {.kind = WRITE},
        {.kind = WRITE},
        {.kind = WRITE},
    };
    struct world w = {0};
    *d = (struct damage){.env = fresh_env(), .marked = marked};
    w.env = d->env;
    assert_ok(world_open(&w), &w.err);
    note_manifest(d);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        assert_ok(perform(&w, &steps[i]), &w.err);
        note_manifest(d);
        d->kept = steps[i].kind == KEEP ? w.acked : d->kept;
        d->checkpointed = steps[i].kind == CHECKPOINT ? w.acked : d->checkpointed;
    }
    d->batches = w.acked;
    world_close(&w, marked);
    world_fini(&w);
    vdb_env_memory_crash(d->env, UINT64_MAX); /* no handles, no maps */
    add_files(d, "c");
    assert_true(d->manifest_count >= 5);
}

static void free_damage(struct damage *d)
{
    for (unsigned i = 0; i < d->manifest_count; i++) {
        free(d->manifests[i].text);
    }
    vdb_env_memory_destroy(d->env);
}

static const char *base_name(const char *path)
{
    return strrchr(path, '/') + 1;
}

static unsigned find_file(const struct damage *d, const char *path)
{
    unsigned f = 0;
    while (strcmp(d->files.paths[f], path) != 0) {
        f++;
        assert_true(f < d->files.count);
    }
    return f;
}

/* The file with the highest number in a folder. */
static unsigned last_in(const struct damage *d, const char *prefix)
{
    unsigned last = FILES_MAX;
    for (unsigned f = 0; f < d->files.count; f++) {
        if (strncmp(d->files.paths[f], prefix, strlen(prefix)) == 0 &&
            (last == FILES_MAX || strcmp(d->files.paths[f], d->files.paths[last]) > 0)) {
            last = f;
        }
    }
    assert_true(last < FILES_MAX);
    return last;
}

/* ---- The verdict ---- */

enum verdict { HARMLESS, FOUND, SHORTER };

/* A refusal names the file. With `other`, that one may be named instead. */
static void expect_named(vdb_status status, const struct vdb_err *err, const char *name, const char *other)
{
    if (status != VDB_CORRUPT && status != VDB_VERSION && status != VDB_NOT_FOUND) {
        fail_msg("%s: %s: %s", name, vdb_status_name(status), err->text);
    }
    if (strstr(err->text, name) == NULL && (other == NULL || strstr(err->text, other) == NULL)) {
        fail_msg("%s is not named: %s", name, err->text);
    }
}

/* Reads and verifies an open store; *batch is what it shows. */
static vdb_status look_through(struct vdb_store *store, unsigned first, unsigned last, unsigned *batch,
                               struct vdb_err *err)
{
    struct vdb_verify_result verified;
    struct model seen;
    VDB_TRY(read_store(store, &seen, err));
    *batch = last;
    while (!is_model(&seen, *batch)) {
        if (*batch == first) {
            fail_msg("shows what no batch from %u to %u left", first, last);
        }
        --*batch;
    }
    return vdb_store_verify(store, &verified, err);
}

static enum verdict judge_store(struct vdb_env *env, const struct damage *d, const char *name, const char *other)
{
    struct vdb_err err = {0};
    struct vdb_store *store = NULL;
    unsigned batch = d->batches;
    vdb_status status = vdb_store_open(env, "c", &world_log, &store, &err);
    if (status == VDB_OK) {
        status = look_through(store, d->checkpointed, d->batches, &batch, &err);
    }
    vdb_store_close(store, false);
    if (status != VDB_OK) {
        expect_named(status, &err, name, other);
        return FOUND;
    }
    return batch == d->batches ? HARMLESS : SHORTER;
}

static enum verdict judge_snapshot(struct vdb_env *env, const struct damage *d, const char *name,
                                   const char *other)
{
    struct vdb_err err = {0};
    struct vdb_store *store = NULL;
    unsigned batch;
    vdb_status status = vdb_store_snapshot_open(env, "c", snapshot_names[0], &store, &err);
    if (status == VDB_OK) {
        status = look_through(store, d->kept, d->kept, &batch, &err);
    }
    vdb_store_close(store, false);
    if (status != VDB_OK) {
        expect_named(status, &err, name, other);
        return FOUND;
    }
    return HARMLESS;
}

/* Both; a file belongs to one of them, here. */
static enum verdict judge(struct vdb_env *env, struct damage *d, unsigned f, const char *other)
{
    const char *path = d->files.paths[f];
    const char *name = base_name(path);
    bool of_snapshot = strstr(path, "snapshots/") != NULL;
    enum verdict store = judge_store(env, d, name, other);
    enum verdict snapshot = judge_snapshot(env, d, name, other);
    assert_true((of_snapshot ? store : snapshot) == HARMLESS);
    enum verdict verdict = of_snapshot ? snapshot : store;
    d->found += verdict == FOUND;
    d->harmless += verdict == HARMLESS;
    d->shorter += verdict == SHORTER;
    return verdict;
}

/* Where a file ends but for the zeros that a log's writer leaves ahead of itself. */
static uint64_t content_end(const struct damage *d, unsigned f)
{
    struct vdb_err err = {0};
    uint8_t *data;
    size_t bytes;
    assert_ok(vdb_env_read_file(d->env, d->files.paths[f], 1 << 20, &data, &bytes, &err), &err);
    while (bytes > 0 && data[bytes - 1] == 0) {
        bytes--;
    }
    free(data);
    return (bytes + 7) / 8 * 8; /* a record's own last bytes may be zeros */
}

/* ---- Flips ---- */

static void flip_everything(bool marked)
{
    struct damage d;
    struct vdb_rng rng;
    make_damage(&d, marked);
    vdb_rng_init(&rng, 11);
    uint64_t zeros = 0;
    uint64_t stride = 1;
#ifdef VDB_SANITIZED
    stride = 37;
#endif
    unsigned tail = last_in(&d, "c/wal/");
    where.active = true;
    for (unsigned f = 0; f < d.files.count; f++) {
        bool is_log = strncmp(d.files.paths[f], "c/wal/", 6) == 0;
        if (!marked && !is_log) {
            continue; /* as with a mark */
        }
        where.what = d.files.paths[f];
        uint64_t end = is_log ? content_end(&d, f) : d.files.bytes[f];
        assert_true(f == tail || end == d.files.bytes[f]);
        assert_true(!marked || end == d.files.bytes[f]);
        for (uint64_t i = 0; i < d.files.bytes[f]; i += is_log ? 1 : 1 + vdb_rng_below(&rng, 2 * stride - 1)) {
            struct vdb_env *env = clone_env(d.env);
            where.n = i;
            assert_true(vdb_env_memory_flip(env, d.files.paths[f], i, (uint8_t)(1u << vdb_rng_below(&rng, 8))));
            enum verdict verdict = judge(env, &d, f, NULL);
            /* Only the mark itself has nobody to vouch for it, and says nothing; or the last batch, without one. Zeros
             * ahead of it hold nothing. */
            bool at_end = f == tail && i + (marked ? 48 : 300) >= end;
            zeros += i >= end && verdict == HARMLESS;
            assert_true(verdict == FOUND || (i >= end && verdict == HARMLESS) ||
                        (at_end && i < end && verdict == (marked ? HARMLESS : SHORTER)));
            vdb_env_memory_destroy(env);
        }
    }
    where.active = false;
    print_message(
        "%llu flips named, %llu of the mark or of zeros written ahead, %llu of the last batch without a mark\n",
        (unsigned long long)d.found, (unsigned long long)d.harmless, (unsigned long long)d.shorter);
    assert_int_equal(d.harmless - zeros, marked ? 48 : 0);
    assert_true((zeros > 0) == !marked);
    assert_true((d.shorter > 0) == !marked);
    free_damage(&d);
}

static void test_every_flip(void **state)
{
    (void)state;
    flip_everything(true);
}

static void test_every_flip_of_the_log_without_a_mark(void **state)
{
    (void)state;
    flip_everything(false);
}

/* ---- Lengths ---- */

static void cut_file(struct vdb_env *env, const char *path, uint64_t bytes)
{
    struct vdb_err err = {0};
    struct vdb_file *file;
    assert_ok(env->ops->open(env, path, VDB_OPEN_WRITE, &file, &err), &err);
    assert_ok(env->ops->truncate(env, file, bytes, &err), &err);
    assert_ok(env->ops->sync(env, file, &err), &err);
    env->ops->close(env, file);
}

static void test_every_length(void **state)
{
    (void)state;
    struct damage d;
    make_damage(&d, true);
    unsigned tail = last_in(&d, "c/wal/");
    uint64_t stride = 1;
#ifdef VDB_SANITIZED
    stride = 41;
#endif
    where.active = true;
    for (unsigned f = 0; f < d.files.count; f++) {
        where.what = d.files.paths[f];
        for (uint64_t bytes = 0; bytes < d.files.bytes[f]; bytes += d.files.bytes[f] < 2000 ? 1 : stride) {
            struct vdb_env *env = clone_env(d.env);
            where.n = bytes;
            cut_file(env, d.files.paths[f], bytes);
            /* A log segment that ends between two records is missed by the one after it. */
            enum verdict verdict = judge(env, &d, f, f != tail ? "does not follow the segment before" : NULL);
            assert_true(verdict == FOUND || f == tail);
            vdb_env_memory_destroy(env);
        }
        struct vdb_env *env = clone_env(d.env); /* and one byte too many */
        cut_file(env, d.files.paths[f], d.files.bytes[f] + 1);
        enum verdict verdict = judge(env, &d, f, NULL);
        bool is_log = strncmp(d.files.paths[f], "c/wal/", 6) == 0; /* a zero there is one written ahead */
        assert_int_equal(verdict, is_log ? HARMLESS : FOUND);
        vdb_env_memory_destroy(env);
    }
    where.active = false;
    print_message("%llu lengths named, %llu of the log's end taken for its end\n", (unsigned long long)d.found,
                  (unsigned long long)(d.shorter + d.harmless));
    free_damage(&d);
}

/* ---- Files missing, exchanged, too many ---- */

static void test_missing_files(void **state)
{
    (void)state;
    struct damage d;
    make_damage(&d, true);
    unsigned tail = last_in(&d, "c/wal/");
    where.active = true;
    for (unsigned f = 0; f < d.files.count; f++) {
        struct vdb_env *env = clone_env(d.env);
        struct vdb_err err = {0};
        where.what = d.files.paths[f];
        assert_ok(env->ops->unlink(env, d.files.paths[f], &err), &err);
        enum verdict verdict = judge(env, &d, f, NULL);
        assert_true(verdict == (f == tail ? SHORTER : FOUND));
        vdb_env_memory_destroy(env);
    }
    /* The whole log. */
    struct vdb_env *env = clone_env(d.env);
    struct vdb_err err = {0};
    struct vdb_store *store;
    for (unsigned f = 0; f < d.files.count; f++) {
        if (strncmp(d.files.paths[f], "c/wal/", 6) == 0) {
            assert_ok(env->ops->unlink(env, d.files.paths[f], &err), &err);
        }
    }
    assert_fails(vdb_store_open(env, "c", NULL, &store, &err), VDB_CORRUPT, &err, ".wal is missing");
    assert_ok(env->ops->rmdir(env, "c/wal", &err), &err);
    vdb_status status = vdb_store_open(env, "c", NULL, &store, &err);
    assert_true(status == VDB_CORRUPT || status == VDB_NOT_FOUND);
    assert_non_null(strstr(err.text, "wal"));
    vdb_env_memory_destroy(env);
    where.active = false;
    free_damage(&d);
}

static void put_file(struct vdb_env *env, const char *path, const void *data, size_t bytes)
{
    struct vdb_err err = {0};
    struct vdb_file *file;
    unsigned flags = VDB_OPEN_WRITE | VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE;
    assert_ok(env->ops->open(env, path, flags, &file, &err), &err);
    assert_ok(env->ops->write_at(env, file, data, bytes, 0, &err), &err);
    env->ops->close(env, file);
}

/* Each file for each other one, of its kind or not; also the snapshot's for the store's. */
static void test_exchanged_files(void **state)
{
    (void)state;
    struct damage d;
    make_damage(&d, true);
    where.active = true;
    for (unsigned f = 0; f < d.files.count; f++) {
        for (unsigned g = 0; g < d.files.count; g++) {
            if (f == g) {
                continue;
            }
            struct vdb_env *env = clone_env(d.env);
            struct vdb_err err = {0};
            uint8_t *data;
            size_t bytes;
            where.what = d.files.paths[f];
            where.n = g;
            assert_ok(vdb_env_read_file(env, d.files.paths[g], 1 << 20, &data, &bytes, &err), &err);
            assert_ok(env->ops->unlink(env, d.files.paths[f], &err), &err);
            put_file(env, d.files.paths[f], data, bytes);
            /* A manifest of another moment is whole; what it names is not there, or differs. */
            bool manifest = strcmp(base_name(d.files.paths[f]), "metadata.json") == 0;
            enum verdict verdict = judge(env, &d, f, manifest ? "." : NULL);
            assert_int_equal(verdict, FOUND);
            free(data);
            vdb_env_memory_destroy(env);
        }
    }
    where.active = false;
    print_message("%llu exchanges named\n", (unsigned long long)d.found);
    free_damage(&d);
}

/* A manifest of before names files that are gone: it is refused by their name, and shows nothing old. */
static void test_old_manifests(void **state)
{
    (void)state;
    struct damage d;
    make_damage(&d, true);
    where.active = true;
    where.what = "old manifest";
    for (unsigned i = 0; i + 1 < d.manifest_count; i++) {
        struct vdb_env *env = clone_env(d.env);
        struct vdb_err err = {0};
        struct vdb_store *store = NULL;
        where.n = i;
        put_file(env, "c/metadata.json", d.manifests[i].text, d.manifests[i].bytes);
        vdb_status status = vdb_store_open(env, "c", NULL, &store, &err);
        assert_int_equal(status, VDB_CORRUPT);
        assert_true(strstr(err.text, ".wal") != NULL || strstr(err.text, ".bin") != NULL);
        /* Nothing was removed on its word. */
        unsigned last = d.manifest_count - 1;
        put_file(env, "c/metadata.json", d.manifests[last].text, d.manifests[last].bytes);
        assert_int_equal(judge(env, &d, find_file(&d, "c/metadata.json"), NULL), HARMLESS);
        vdb_env_memory_destroy(env);
    }
    where.active = false;
    free_damage(&d);
}

/* Names that are no file of a store are refused, and left alone; a segment's name that the manifest does not know is
 * a crash's leftover, and goes. */
static void test_extra_files(void **state)
{
    (void)state;
    static const char *const foreign[] = {
        "c/vectors/notes.txt",
        "c/vectors/meta_000001.bin",
        "c/vectors/vectors_1.bin",
        "c/meta/notes.txt",
        "c/meta/vectors_000001.bin",
        "c/meta/dead_000001.bin",
        "c/meta/dead_000001_0001.bin",
        "c/vectors/vectors_000001.bin~",
        "c/wal/notes.txt",
        "c/snapshots/notes.txt",
        "c/snapshots/.hidden",
    };
    static const char *const leftovers[] = {"c/vectors/vectors_000099.bin", "c/meta/meta_000099.bin",
                                            "c/meta/dead_000099_000001.bin", "c/wal/segment_000000.wal"};
    struct damage d;
    struct vdb_err err = {0};
    struct vdb_store *store = NULL;
    vdb_file_kind kind;
    uint64_t bytes;
    make_damage(&d, true);
    where.active = true;
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        struct vdb_env *env = clone_env(d.env);
        where.what = foreign[i];
        put_file(env, foreign[i], "x", 1);
        assert_fails(vdb_store_open(env, "c", NULL, &store, &err), VDB_CORRUPT, &err, base_name(foreign[i]));
        assert_ok(env->ops->unlink(env, foreign[i], &err), &err); /* still there */
        assert_int_equal(judge(env, &d, 0, NULL), HARMLESS);
        vdb_env_memory_destroy(env);
    }
    for (size_t i = 0; i < sizeof leftovers / sizeof leftovers[0]; i++) {
        struct vdb_env *env = clone_env(d.env);
        where.what = leftovers[i];
        put_file(env, leftovers[i], "x", 1);
        assert_int_equal(judge(env, &d, 0, NULL), HARMLESS);
        assert_int_equal(env->ops->stat(env, leftovers[i], &kind, &bytes, &err), VDB_NOT_FOUND);
        vdb_env_memory_destroy(env);
    }
    where.active = false;
    free_damage(&d);
}

/* ---- Under an open store ---- */

/* What was read and found good is read again by verify: every file that the store stands on, the log's end too. */
static void test_verify_finds_later_damage(void **state)
{
    (void)state;
    struct damage d;
    struct vdb_err err = {0};
    struct vdb_store *store = NULL;
    struct vdb_verify_result verified;
    struct vdb_rng rng;
    unsigned batch;
    uint64_t found = 0;
    make_damage(&d, false);
    vdb_rng_init(&rng, 3);
    assert_ok(vdb_store_open(d.env, "c", &world_log, &store, &err), &err);
    assert_ok(look_through(store, d.batches, d.batches, &batch, &err), &err);
    where.active = true;
    for (unsigned f = 0; f < d.files.count; f++) {
        bool is_log = strncmp(d.files.paths[f], "c/wal/", 6) == 0;
        where.what = d.files.paths[f];
        if (strstr(d.files.paths[f], "snapshots/") != NULL) {
            continue;
        }
        uint64_t end = is_log ? content_end(&d, f) : d.files.bytes[f];
        for (uint64_t i = 0; i < end; i += is_log ? 1 : 1 + vdb_rng_below(&rng, 400)) {
            uint8_t mask = (uint8_t)(1u << vdb_rng_below(&rng, 8));
            where.n = i;
            assert_true(vdb_env_memory_flip(d.env, d.files.paths[f], i, mask));
            vdb_status status = vdb_store_verify(store, &verified, &err);
            if (status == VDB_OK) {
                fail_msg("byte %llu of %s is damaged, and verify finds all good", (unsigned long long)i,
                         d.files.paths[f]);
            }
            /* Of the log's end only the place after the last good record is known. */
            expect_named(status, &err, base_name(d.files.paths[f]), is_log ? "c/wal: " : NULL);
            assert_true(vdb_env_memory_flip(d.env, d.files.paths[f], i, mask));
            found++;
        }
    }
    where.active = false;
    assert_ok(look_through(store, d.batches, d.batches, &batch, &err), &err);
    vdb_store_close(store, false);
    print_message("%llu flips under an open store named by verify\n", (unsigned long long)found);
    free_damage(&d);
}

int main(void)
{
    vdb_log_set_level(VDB_LOG_OFF); /* every case fails on purpose */
    make_history();
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_every_flip),      WORLD_TEST(test_every_flip_of_the_log_without_a_mark),
        WORLD_TEST(test_every_length),    WORLD_TEST(test_missing_files),
        WORLD_TEST(test_exchanged_files), WORLD_TEST(test_old_manifests),
        WORLD_TEST(test_extra_files),     WORLD_TEST(test_verify_finds_later_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
