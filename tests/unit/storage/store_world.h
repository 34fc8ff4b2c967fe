/* store_world.h: what the store's crash tests share: a workload that does all that a store can do, the naive model of
 * it, and the check of what a crash left.
 *
 * The workload is a script of steps. Each batch writes its number into every point's vector and metadata, so that a
 * half batch, a lost one and one that came back all show. Sequence numbers are no help to tell states apart (a clean
 * close uses one up), so states are compared by content.
 *
 * A step may have others run inside it, at the moment when its new segment's files are written and nothing is
 * committed yet: so writes, deletions and a checkpoint meet a merge that was planned before them, in one thread and
 * every time alike.
 *
 * Include after "support.h".
 */
#ifndef VDB_TESTS_UNIT_STORAGE_STORE_WORLD_H
#define VDB_TESTS_UNIT_STORAGE_STORE_WORLD_H

#include <stdlib.h>

#include "env/env_memory.h"
#include "storage/block_file.h"
#include "store_script.h"

/* ---- Where a test stands, for the text of a failure ---- */

static struct {
    bool active;
    const char *what;
    uint64_t n; /* the operation of the workload that was the last */
    uint64_t m; /* the one of the recovery, likewise; 0: it passed */
    uint64_t choice;
    uint64_t seed;
    unsigned step;
    unsigned acked;
} where;

/* A test's teardown: says where it failed. */
static inline int tell_where(void **state)
{
    (void)state;
    if (where.active) {
        print_message(
            "failed in: %s; operation %llu (step %u, %s, %u batches acknowledged), of the recovery %llu, "
            "choice %llu, seed %llu\n",
            where.what, (unsigned long long)where.n, where.step, step_text(where.step), where.acked,
            (unsigned long long)where.m, (unsigned long long)where.choice, (unsigned long long)where.seed);
    }
    where.active = false;
    return 0;
}

#define WORLD_TEST(test) cmocka_unit_test_teardown(test, tell_where)

/* ---- Index files ---- */

/* What a segment must have after a crash. Its file names the segment, so that one never passes for another's. */
enum index_state { INDEX_NONE, INDEX_THERE, INDEX_ANY };

/* How often something happened to an attach, over all worlds. */
static struct {
    unsigned named;
    unsigned gone;      /* the segment was merged meanwhile */
    unsigned overtaken; /* a detach came */
} index_met;

static inline void never_destroyed(struct vdb_companion *companion)
{
    (void)companion;
    fail_msg("a companion lost a reference too many");
}

/* Every index file's: each store that is closed must have given up all its references. */
static struct vdb_companion world_companion = {.refs = 1, .destroy = never_destroyed};

static inline void expect_no_companions(void)
{
    assert_int_equal(atomic_load(&world_companion.refs), 1);
}

static inline size_t index_bytes_of(uint32_t number)
{
    return 8 + (size_t)number % 3 * 2500;
}

static inline uint8_t index_byte_of(uint32_t number, size_t i)
{
    return i < 4 ? (uint8_t)(number >> (8 * i)) : (uint8_t)(i * 7 + number);
}

static inline vdb_status fill_index(void *ctx, vdb_attach_put_fn *put, void *put_ctx, struct vdb_err *err)
{
    const uint32_t number = *(const uint32_t *)ctx;
    uint8_t bytes[8 + 2 * 2500];
    const size_t count = index_bytes_of(number);
    for (size_t i = 0; i < count; i++) {
        bytes[i] = index_byte_of(number, i);
    }
    VDB_TRY(put(put_ctx, bytes, 3, err));
    return put(put_ctx, bytes + 3, count - 3, err);
}

/* Opens the segment's index file and reads it. VDB_NOT_FOUND: it has none. */
static inline vdb_status read_index(struct vdb_store *store, struct vdb_segment *segment, struct vdb_err *err)
{
    struct vdb_block_file *file;
    const uint8_t *data;
    uint64_t bytes;
    const uint32_t number = vdb_segment_info(segment)->number;
    VDB_TRY(vdb_store_attached_open(store, segment, &file, &data, &bytes, err));
    assert_int_equal(bytes, index_bytes_of(number));
    for (size_t i = 0; i < bytes; i++) {
        assert_int_equal(data[i], index_byte_of(number, i));
    }
    vdb_block_file_close(file);
    return VDB_OK;
}

/* ---- Running the script ---- */

struct world {
    struct vdb_env *env;
    struct vdb_store *store;
    unsigned step;  /* the next; in flight after a failure */
    unsigned acked; /* batches */
    bool resumed;   /* after a crash: a snapshot's step may find its work done */
    vdb_status status;
    struct vdb_err err;
    /* The first failure. */
    unsigned failed_step;
    struct vdb_err failure;
    unsigned inside;                 /* steps that run inside the one that runs */
    enum index_state index[NUMBERS]; /* by the segment's number */
    uint32_t config;      /* the configuration's m, as it was set; a zeroed world takes what it finds */
    uint32_t config_next; /* as it may be after a step that failed */
    struct vdb_buf payload;
};

static struct world *hooked_world;
static const struct vdb_env_ops *plain_ops;
static struct vdb_env_ops hooked_ops;

static inline bool run_step(struct world *w);

static inline vdb_status hooked_sync_dir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    struct world *w = hooked_world;
    if (w != NULL && w->env == env && w->inside > 0 &&
        (strcmp(path, "c/vectors") == 0 || strcmp(path, "c/index") == 0)) {
        unsigned count = w->inside;
        for (w->inside = 0; count > 0 && run_step(w); count--) {
        }
    }
    return plain_ops->sync_dir(env, path, err);
}

/* What there is of indexes is as the world knows it. */
static inline void check_indexes(struct vdb_store *store, const struct world *w)
{
    struct vdb_err err = {0};
    struct vdb_index_config config;
    struct vdb_view view;
    vdb_store_get_index_config(store, &config);
    assert_string_equal(config.type, world_index.type);
    if (config.m != w->config && config.m != w->config_next) {
        fail_msg("configured %u, or %u; found %u", w->config, w->config_next, config.m);
    }
    vdb_store_pin(store, &view);
    for (uint32_t s = 0; s < view.version->segment_count; s++) {
        struct vdb_segment *segment = view.version->segments[s];
        const uint32_t number = vdb_segment_info(segment)->number;
        assert_in_range(number, 0, NUMBERS - 1);
        vdb_status status = read_index(store, segment, &err);
        if (status != VDB_OK && status != VDB_NOT_FOUND) {
            fail_msg("index file of segment %u: %s", number, err.text);
        }
        if (w->index[number] != INDEX_ANY && (w->index[number] == INDEX_THERE) != (status == VDB_OK)) {
            fail_msg("index file of segment %u %s", number, status == VDB_OK ? "came back" : "was lost");
        }
    }
    vdb_view_release(&view);
}

/* From here on the world knows what there is. */
static inline void learn_indexes(struct world *w)
{
    struct vdb_index_config config;
    struct vdb_view view;
    vdb_store_get_index_config(w->store, &config);
    w->config = w->config_next = config.m;
    memset(w->index, 0, sizeof w->index);
    vdb_store_pin(w->store, &view);
    for (uint32_t s = 0; s < view.version->segment_count; s++) {
        const struct vdb_segment_info *info = vdb_segment_info(view.version->segments[s]);
        w->index[info->number] = info->index_edition != 0 ? INDEX_THERE : INDEX_NONE;
    }
    vdb_view_release(&view);
}

static inline vdb_status world_open(struct world *w)
{
    VDB_TRY(vdb_store_open(w->env, "c", &world_log, &w->store, &w->err));
    learn_indexes(w);
    return VDB_OK;
}

static inline void world_close(struct world *w, bool mark)
{
    vdb_store_close(w->store, mark);
    w->store = NULL;
}

static inline vdb_status configure(struct world *w, uint32_t m)
{
    struct vdb_index_config config = world_index;
    config.m = m;
    w->config_next = m;
    VDB_TRY(vdb_store_set_index_config(w->store, &config, &w->err));
    w->config = m;
    return VDB_OK;
}

/* Attaches or detaches; a segment that is not there any more is nothing to do. */
static inline vdb_status change_index(struct world *w, bool attach, unsigned which)
{
    struct vdb_view view;
    vdb_status status = VDB_OK;
    vdb_store_pin(w->store, &view);
    if (which < view.version->segment_count) {
        struct vdb_segment *segment = view.version->segments[which];
        uint32_t number = vdb_segment_info(segment)->number;
        w->index[number] = INDEX_ANY;
        status = attach ? vdb_store_attach(w->store, segment, fill_index, &number, &world_companion, &w->err)
                        : vdb_store_detach(w->store, segment, &w->err);
        if (status == VDB_OK) {
            w->index[number] = attach ? INDEX_THERE : INDEX_NONE;
        }
        index_met.named += attach && status == VDB_OK;
        index_met.gone += status == VDB_NOT_FOUND;
        index_met.overtaken += status == VDB_BUSY;
        status = status == VDB_NOT_FOUND || status == VDB_BUSY ? VDB_OK : status;
    }
    vdb_view_release(&view);
    return status;
}

static inline vdb_status perform(struct world *w, const struct step *step)
{
    struct vdb_compact_options options = {.full = step->kind == COMPACT_FULL};
    struct vdb_compact_result result;
    struct vdb_snapshot_info info;
    struct model scratch;
    vdb_status status;
    uint64_t seq;
    switch (step->kind) {
    case WRITE:
    case WIPE:
        make_batch(w->acked + 1, &w->payload, &scratch);
        status = vdb_store_write(w->store, w->payload.data, w->payload.bytes, &seq, NULL, &w->err);
        w->acked += status == VDB_OK;
        return status;
    case CHECKPOINT:
        return vdb_store_checkpoint(w->store, &w->err);
    case COMPACT:
    case COMPACT_FULL:
        return vdb_store_compact(w->store, &options, &result, &w->err);
    case KEEP:
        status = vdb_store_snapshot_create(w->store, snapshot_names[step->snapshot], &info, &w->err);
        return status == VDB_EXISTS && w->resumed ? VDB_OK : status;
    case DROP:
        status = vdb_store_snapshot_delete(w->store, snapshot_names[step->snapshot], &w->err);
        return status == VDB_NOT_FOUND && w->resumed ? VDB_OK : status;
    case CONFIGURE:
        return configure(w, step->value);
    case ATTACH:
    case DETACH:
        return change_index(w, step->kind == ATTACH, step->value);
    case REOPEN:
        world_close(w, true);
        return world_open(w);
    case CLOSE:
        break;
    }
    world_close(w, true);
    return VDB_OK;
}

/* False: w->status and w->failure say why. */
static inline bool run_step(struct world *w)
{
    unsigned at = w->step;
    w->inside = script[at].around;
    w->step += script[at].around > 0; /* what runs inside is next */
    w->status = VDB_OK;
    vdb_status status = perform(w, &script[at]);
    w->inside = 0;
    if (w->status != VDB_OK) {
        return false; /* a step inside */
    }
    if (status != VDB_OK) {
        w->status = status;
        w->failed_step = at;
        w->failure = w->err;
        return false;
    }
    w->step += script[at].around == 0;
    return true;
}

/* Opens the store when it is not, and goes on to the end or to the first failure. */
static inline bool run_script(struct world *w)
{
    hooked_world = w;
    if (w->store == NULL) {
        w->status = world_open(w);
        w->failed_step = w->step;
        w->failure = w->err;
    }
    while (w->status == VDB_OK && w->step < STEPS && run_step(w)) {
    }
    hooked_world = NULL;
    return w->status == VDB_OK;
}

/* Ends a world in whatever state, without a mark. */
static inline void world_fini(struct world *w)
{
    world_close(w, false);
    vdb_buf_fini(&w->payload);
}

/* An env with an empty collection "c", durable, and the hook for steps inside steps. */
static inline struct vdb_env *fresh_env_of(vdb_element element)
{
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    assert_non_null(env);
    struct vdb_schema schema = world_schema;
    schema.element = element;
    assert_ok(vdb_store_create(env, "c", &schema, &world_index, &err), &err);
    assert_ok(env->ops->sync_dir(env, ".", &err), &err);
    return env;
}

static inline struct vdb_env *fresh_env(void)
{
    return fresh_env_of(VDB_ELEMENT_F32);
}

static inline void hook_env(struct vdb_env *env)
{
    if (plain_ops == NULL) {
        plain_ops = env->ops;
        hooked_ops = *plain_ops;
        hooked_ops.sync_dir = hooked_sync_dir;
    }
    env->ops = &hooked_ops;
}

static inline struct vdb_env *clone_env(struct vdb_env *env)
{
    struct vdb_env *copy = vdb_env_memory_clone(env);
    assert_non_null(copy);
    return copy;
}

/* Operations of the whole script. */
static inline uint64_t count_operations(struct vdb_env *fresh)
{
    struct vdb_env *env = clone_env(fresh);
    struct world w = {.env = env};
    hook_env(env);
    assert_true(run_script(&w));
    assert_int_equal(w.acked, history.batches);
    world_fini(&w);
    expect_no_companions();
    uint64_t operations = vdb_env_memory_operations(env);
    vdb_env_memory_destroy(env);
    return operations;
}

/* Runs the script on env, a fresh one, to the death of the process at operation n (past the end: to its end). */
static inline void run_to_death(struct world *w, struct vdb_env *env, uint64_t n, uint64_t seed)
{
    *w = (struct world){.env = env};
    hook_env(env);
    vdb_env_memory_fail_at(env, n, VDB_IO, true, seed);
    (void)run_script(w);
    world_fini(w);
    vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
    where.n = n;
    where.m = 0;
    where.choice = 0;
    where.seed = seed;
    where.step = w->step;
    where.acked = w->acked;
}

/* ---- Reading ---- */

/* What the view shows; everything that it shows is as some batch wrote it, whole, and each id is there once. */
static inline vdb_status read_view(const struct vdb_view *view, struct model *seen, struct vdb_err *err)
{
    uint64_t points = 0;
    memset(seen, 0, sizeof *seen);
    for (uint32_t source = 0; source < vdb_view_sources(view); source++) {
        struct vdb_bitset visible = {0};
        struct vdb_view_meta reader;
        uint32_t rows = vdb_view_source_rows(view, source);
        vdb_status status = VDB_OK;
        assert_true(vdb_bitset_init(&visible, rows));
        points += vdb_view_fill_visible(view, source, &visible);
        vdb_view_meta_init(&reader, view, source);
        for (uint32_t row = 0; row < rows && status == VDB_OK; row++) {
            struct vdb_id id;
            const float *vector;
            struct vdb_str metadata;
            float room[DIMENSION];
            float expected[DIMENSION];
            char text[64];
            if (!vdb_bitset_test(&visible, row)) {
                continue;
            }
            VDB_CHECK(vdb_view_id(view, source, row, &id, err));
            VDB_CHECK(vdb_view_vector(view, source, row, room, &vector, err));
            VDB_CHECK(vdb_view_meta_read(&reader, row, &metadata, err));
            unsigned n = id.text != NULL ? (unsigned)strtoul(id.text + 3, NULL, 10) : (unsigned)id.number;
            assert_in_range(n, 0, IDS - 1);
            assert_int_equal(seen->by_id[n], 0);
            unsigned batch = (unsigned)vector[0];
            assert_in_range(batch, 1, history.batches);
            seen->by_id[n] = batch;
            vector_of(n, batch, expected);
            assert_memory_equal(vector, expected, sizeof expected);
            metadata_of(n, batch, text);
            assert_true(vdb_str_is(metadata, text));
        }
    cleanup:
        vdb_view_meta_fini(&reader);
        vdb_bitset_fini(&visible);
        VDB_TRY(status);
    }
    assert_int_equal(points, view->points);
    return VDB_OK;
}

/* The same by look-ups. */
static inline vdb_status find_all(struct vdb_store *store, struct model *seen, struct vdb_err *err)
{
    struct vdb_id ids[IDS];
    char texts[IDS][16];
    struct vdb_place places[IDS];
    struct vdb_view view;
    memset(seen, 0, sizeof *seen);
    for (unsigned n = 0; n < IDS; n++) {
        ids[n] = id_of(n, texts[n]);
    }
    vdb_status status = vdb_store_find(store, ids, IDS, &view, places, err);
    for (unsigned n = 0; n < IDS && status == VDB_OK; n++) {
        const float *vector;
        float room[DIMENSION];
        if (places[n].source != VDB_SLOT_NONE) {
            status = vdb_view_vector(&view, places[n].source, places[n].row, room, &vector, err);
            if (status == VDB_OK) {
                assert_true(vector[1] == (float)n);
                seen->by_id[n] = (uint32_t)vector[0];
            }
        }
    }
    vdb_view_release(&view);
    return status;
}

/* Reads all there is in both ways. */
static inline vdb_status read_store(struct vdb_store *store, struct model *seen, struct vdb_err *err)
{
    struct vdb_view view;
    struct model found;
    vdb_store_pin(store, &view);
    vdb_status status = read_view(&view, seen, err);
    vdb_view_release(&view);
    VDB_TRY(status);
    VDB_TRY(find_all(store, &found, err));
    assert_memory_equal(seen, &found, sizeof found);
    return VDB_OK;
}

/* ---- Listings ---- */

struct listing {
    unsigned count;
    char names[40][48];
};

static inline vdb_status note_listed(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    struct listing *listing = ctx;
    (void)kind, (void)err;
    assert_true(listing->count < 40);
    snprintf(listing->names[listing->count++], sizeof listing->names[0], "%s", name);
    return VDB_OK;
}

static inline void list_dir(struct vdb_env *env, const char *dir, struct listing *listing)
{
    struct vdb_err err = {0};
    listing->count = 0;
    vdb_status status = env->ops->list(env, dir, note_listed, listing, &err);
    assert_true(status == VDB_OK || status == VDB_NOT_FOUND); /* format 1 had no folders of segments */
}

static inline void expect_only(struct vdb_env *env, const char *dir, const char *const *names, size_t count)
{
    struct listing listing;
    list_dir(env, dir, &listing);
    for (unsigned i = 0; i < listing.count; i++) {
        bool known = false;
        for (size_t k = 0; k < count; k++) {
            known = known || strcmp(listing.names[i], names[k]) == 0;
        }
        if (!known) {
            fail_msg("\"%s\" has no business in %s/", listing.names[i], dir);
        }
    }
}

/* The folders of segments hold what the manifest names, which is there (or else it would not be open). */
static inline void check_segment_files(struct vdb_env *env, const char *dir, const struct vdb_manifest *manifest)
{
    struct listing listing;
    char path[96];
    unsigned bitmaps = 0;
    unsigned indexes = 0;
    for (uint32_t i = 0; i < manifest->segment_count; i++) {
        bitmaps += manifest->segments[i].dead_edition != 0;
        indexes += manifest->segments[i].index_edition != 0;
    }
    snprintf(path, sizeof path, "%s/vectors", dir);
    list_dir(env, path, &listing);
    assert_int_equal(listing.count, manifest->segment_count);
    snprintf(path, sizeof path, "%s/meta", dir);
    list_dir(env, path, &listing);
    assert_int_equal(listing.count, manifest->segment_count + bitmaps);
    snprintf(path, sizeof path, "%s/index", dir);
    list_dir(env, path, &listing);
    assert_int_equal(listing.count, indexes);
}

/* No file that nothing names. Of metadata.json.tmp, which the next commit writes over, one may be there. */
static inline void check_files(struct vdb_env *env)
{
    static const char *const names[] = {"metadata.json", "metadata.json.tmp", "wal", "vectors", "meta",
                                        "index",         "snapshots"};
    struct vdb_err err = {0};
    struct vdb_manifest manifest;
    struct listing listing;
    unsigned last = 0;
    expect_only(env, "c", names, 7);
    assert_ok(vdb_manifest_load(env, "c", VDB_MANIFEST_COLLECTION, &manifest, &err), &err);
    check_segment_files(env, "c", &manifest);
    list_dir(env, "c/wal", &listing);
    for (unsigned i = 0; i < listing.count; i++) {
        unsigned number = (unsigned)strtoul(listing.names[i] + strlen("segment_"), NULL, 10);
        assert_true(number >= manifest.wal_first);
        last = number > last ? number : last;
    }
    assert_int_equal(listing.count, last - manifest.wal_first + 1);
    vdb_manifest_fini(&manifest);
}

/* ---- The check ---- */

/* What must be there after a crash at w->step. */
static inline void expect_snapshots(const struct world *w, unsigned made_after[SNAPSHOTS], bool must[SNAPSHOTS],
                                    bool may[SNAPSHOTS])
{
    unsigned batches = 0;
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        must[i] = may[i] = false;
    }
    for (unsigned s = 0; s <= w->step && s < STEPS; s++) {
        unsigned i = script[s].snapshot;
        bool in_flight = s == w->step;
        batches += is_batch(s);
        if (script[s].kind == KEEP) {
            made_after[i] = batches;
            must[i] = !in_flight;
            may[i] = true;
        } else if (script[s].kind == DROP) {
            must[i] = false;
            may[i] = in_flight;
        }
    }
}

static inline void check_snapshot(struct vdb_env *env, unsigned i, unsigned made_after)
{
    static const char *const names[] = {"metadata.json", "vectors", "meta", "index"};
    struct vdb_err err = {0};
    struct vdb_store *store;
    struct vdb_manifest manifest;
    struct vdb_verify_result verified;
    struct model seen;
    char dir[64];
    snprintf(dir, sizeof dir, "c/snapshots/%s", snapshot_names[i]);
    assert_ok(vdb_store_snapshot_open(env, "c", snapshot_names[i], &store, &err), &err);
    assert_ok(read_store(store, &seen, &err), &err);
    if (!is_model(&seen, made_after)) {
        fail_msg("snapshot \"%s\" is not the state after batch %u", snapshot_names[i], made_after);
    }
    assert_ok(vdb_store_verify(store, &verified, &err), &err);
    vdb_store_close(store, false);
    expect_only(env, dir, names, 4);
    assert_ok(vdb_manifest_load(env, dir, VDB_MANIFEST_COLLECTION, &manifest, &err), &err);
    check_segment_files(env, dir, &manifest);
    vdb_manifest_fini(&manifest);
}

static inline void check_snapshots(struct vdb_env *env, struct vdb_store *store, const struct world *w)
{
    struct vdb_err err = {0};
    struct vdb_snapshot_info *list;
    size_t count;
    unsigned made_after[SNAPSHOTS] = {0};
    bool must[SNAPSHOTS];
    bool may[SNAPSHOTS];
    bool there[SNAPSHOTS] = {false};
    expect_snapshots(w, made_after, must, may);
    assert_ok(vdb_store_snapshot_list(store, &list, &count, &err), &err);
    for (size_t k = 0; k < count; k++) {
        unsigned i = strcmp(list[k].name, snapshot_names[0]) == 0 ? 0 : 1;
        assert_string_equal(list[k].name, snapshot_names[i]);
        there[i] = true;
    }
    free(list);
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        if (there[i] ? !may[i] : must[i]) {
            fail_msg("snapshot \"%s\" %s", snapshot_names[i], there[i] ? "came back" : "was lost");
        }
        if (there[i]) {
            check_snapshot(env, i, made_after[i]);
        }
    }
    if (env->ops->stat(env, "c/snapshots", &(vdb_file_kind){VDB_KIND_DIR}, &(uint64_t){0}, &err) == VDB_OK) {
        expect_only(env, "c/snapshots", snapshot_names, SNAPSHOTS);
    }
}

/* An open store holds the state after w->acked batches, or, when `one_more`, after the one in flight. Returns
 * which. */
static inline unsigned check_state(struct vdb_store *store, const struct world *w, bool one_more)
{
    struct vdb_err err = {0};
    struct vdb_verify_result verified;
    struct model seen;
    assert_ok(read_store(store, &seen, &err), &err);
    unsigned batch = w->acked;
    if (!is_model(&seen, batch)) {
        batch++;
        if (!one_more || !is_batch(w->step) || !is_model(&seen, batch)) {
            unsigned b = 0;
            while (b <= history.batches && !is_model(&seen, b)) {
                b++;
            }
            fail_msg("%u batches acknowledged, found the state after %d", w->acked,
                     b <= history.batches ? (int)b : -1);
        }
    }
    assert_ok(vdb_store_verify(store, &verified, &err), &err);
    return batch;
}

/* Opens what a crash left, without faults, and checks all of it. Returns after how many batches. */
static inline unsigned check_recovered(struct vdb_env *env, const struct world *w)
{
    struct vdb_err err = {0};
    struct vdb_store *store = NULL;
    if (vdb_store_open(env, "c", &world_log, &store, &err) != VDB_OK) {
        fail_msg("does not open: %s", err.text);
    }
    unsigned batch = check_state(store, w, true);
    check_indexes(store, w);
    check_snapshots(env, store, w);
    check_files(env);
    vdb_store_close(store, false);
    return batch;
}

/* The world after a crash that left the state of `batch`, ready for run_script. */
static inline struct world resume_world(struct vdb_env *env, const struct world *w, unsigned batch)
{
    hook_env(env);
    return (struct world){
        .env = env, .step = w->step + (batch > w->acked ? 1 : 0), .acked = batch, .resumed = true};
}

/* How many states the long form shall try; 0: the usual number (make crash sets it). */
static inline uint64_t wanted_states(void)
{
    const char *text = getenv("VECDB_CRASH_STATES");
    return text != NULL ? strtoull(text, NULL, 10) : 0;
}

#endif
