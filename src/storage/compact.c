/* compact.c: several segments into one, without what has ended.
 *
 * Planned on a view: the inputs and the sequence number P. Rows that end by P are left behind; the rest are copied to
 * a new segment while writes, pins and checkpoints go on. The commit, under the maintain lock, checks that the inputs
 * are still what was planned on, carries over the ends that came after P (D3: those up to the checkpoint into the new
 * segment's bitmap, since the log no longer has them; all of them in memory), replaces the manifest, and installs.
 * Nothing that was deleted can come back: a row is copied with its end or not at all.
 *
 * Which segments: with `full` all of them. Else those that lie in one tier of size (each tier spans a factor of four)
 * once four are there, so that each row is copied about once per tier; or a single one of which a third has ended.
 *
 * The debt is what merges by this rule would read, from now until it finds nothing to do: the same rule run on the
 * segments' shapes alone, where a merge's output has the bytes of its inputs' live rows, by their share. What it would
 * read first is exact; the size of what comes out of a merge, and goes into a further one, is that estimate.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/timer.h"
#include "store_internal.h"

enum {
    TIER_SEGMENTS_MIN = 4,
    TIER_SEGMENTS_MAX = 16,
    TIER_BYTES_FIRST = 1 << 20, /* smaller segments are all of the first tier */
    DEAD_SHARE_MIN = 3,         /* one in so many rows ended: worth a rewrite on its own */
    ROWS_PER_LOOK = 256,        /* between looks at the clock and the cancel flag */
};

struct merge {
    struct vdb_store *store;
    const struct vdb_compact_options *options;
    struct vdb_view view;
    bool *taken; /* per segment of the view's version: is an input */
    uint32_t input_count;
    uint64_t rows_total; /* of the inputs, dead ones too */
    uint64_t rows_done;
    uint32_t *rows;  /* of the output's row i in its input; inputs follow one another */
    uint32_t *first; /* per segment of the version: where its rows begin in `rows` */
    uint32_t row_count;
    uint32_t number;
    struct vdb_segment_writer *writer;
    struct vdb_segment_info info; /* of the output */
    struct vdb_segment *output;   /* NULL: no row was left */
    bool written;
    uint64_t started_ns;
};

static uint64_t segment_bytes(const struct vdb_segment_info *info)
{
    return info->vectors.bytes + info->meta.bytes;
}

/* Of a segment, all that the choice goes by. */
struct shape {
    uint64_t bytes;
    uint32_t rows;
    uint32_t dead;
    unsigned tier;
};

static unsigned tier_of(uint64_t segment_bytes)
{
    unsigned tier = 0;
    for (uint64_t bytes = segment_bytes; bytes > TIER_BYTES_FIRST; bytes /= 4) {
        tier++;
    }
    return tier;
}

/* The shapes of a version's segments; NULL when memory is short. */
static struct shape *shapes_of(const struct vdb_version *version)
{
    struct shape *shapes = vdb_calloc((size_t)version->segment_count + 1, sizeof *shapes);
    for (uint32_t i = 0; shapes != NULL && i < version->segment_count; i++) {
        const struct vdb_segment *segment = version->segments[i];
        uint64_t bytes = segment_bytes(vdb_segment_info(segment));
        shapes[i] = (struct shape){bytes, vdb_segment_rows(segment), vdb_segment_dead(segment), tier_of(bytes)};
    }
    return shapes;
}

/* Fills taken; returns how many segments were picked. */
static uint32_t pick(const struct shape *shapes, uint32_t count, bool full, bool *taken)
{
    memset(taken, 0, count * sizeof *taken);
    if (full) {
        bool any = count > 1 || (count == 1 && shapes[0].dead > 0);
        memset(taken, any, count * sizeof *taken);
        return any ? count : 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t picked = 0;
        for (uint32_t j = i; j < count && picked < TIER_SEGMENTS_MAX; j++) {
            taken[j] = shapes[j].tier == shapes[i].tier;
            picked += taken[j];
        }
        if (picked >= TIER_SEGMENTS_MIN) {
            return picked;
        }
        memset(taken, 0, count * sizeof *taken);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (shapes[i].dead >= shapes[i].rows / DEAD_SHARE_MIN + 1) {
            taken[i] = true;
            return 1;
        }
    }
    return 0;
}

/* As a merge of those that are taken would leave them: the output at the end, if a row is left. Returns how many there
 * are then; *bytes grows by what went in. */
static uint32_t merge_shapes(struct shape *shapes, uint32_t count, const bool *taken, uint64_t *bytes)
{
    struct shape output = {0};
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct shape *shape = &shapes[i];
        if (!taken[i]) {
            shapes[kept++] = *shape;
            continue;
        }
        uint32_t live = shape->rows - shape->dead;
        output.rows += live;
        output.bytes += (uint64_t)((double)shape->bytes * live / shape->rows);
        *bytes += shape->bytes;
    }
    output.tier = tier_of(output.bytes);
    if (output.rows > 0) {
        shapes[kept++] = output;
    }
    return kept;
}

/* Ends, as each merge leaves fewer segments, or one less that has dead rows. */
uint64_t vdb_store_compaction_debt(struct vdb_store *store)
{
    struct vdb_view view;
    uint64_t bytes = 0;
    vdb_store_pin(store, &view);
    uint32_t count = view.version->segment_count;
    struct shape *shapes = shapes_of(view.version);
    bool *taken = vdb_calloc((size_t)count + 1, sizeof *taken);
    vdb_view_release(&view);
    while (shapes != NULL && taken != NULL && pick(shapes, count, false, taken) > 0) {
        count = merge_shapes(shapes, count, taken, &bytes);
    }
    free(taken);
    free(shapes);
    return bytes;
}

bool vdb_store_wants_compaction(struct vdb_store *store)
{
    struct vdb_view view;
    vdb_store_pin(store, &view);
    uint32_t count = view.version->segment_count;
    struct shape *shapes = shapes_of(view.version);
    bool *taken = vdb_calloc((size_t)count + 1, sizeof *taken);
    vdb_view_release(&view);
    bool wants = shapes != NULL && taken != NULL && pick(shapes, count, false, taken) > 0;
    free(taken);
    free(shapes);
    return wants;
}

static vdb_status plan(struct merge *merge, struct vdb_err *err)
{
    struct vdb_store *store = merge->store;
    pthread_mutex_lock(&store->maintain);
    vdb_status status = vdb_store_may_commit(store, err);
    if (status == VDB_OK) {
        vdb_store_pin(store, &merge->view);
        merge->number = store->manifest.next_number++; /* saved with whichever manifest comes next */
    }
    pthread_mutex_unlock(&store->maintain);
    VDB_TRY(status);
    const struct vdb_version *version = merge->view.version;
    struct shape *shapes = shapes_of(version);
    merge->taken = vdb_calloc((size_t)version->segment_count + 1, sizeof *merge->taken);
    merge->first = vdb_calloc((size_t)version->segment_count + 1, sizeof *merge->first);
    bool ready = shapes != NULL && merge->taken != NULL && merge->first != NULL;
    if (ready) {
        merge->input_count = pick(shapes, version->segment_count, merge->options->full, merge->taken);
    }
    free(shapes);
    if (!ready) {
        return vdb_err_no_memory(err, "a compaction");
    }
    for (uint32_t i = 0; i < version->segment_count; i++) {
        merge->rows_total += merge->taken[i] ? vdb_segment_rows(version->segments[i]) : 0;
    }
    if (merge->rows_total > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "a segment of %llu rows, at most %u fit",
                           (unsigned long long)merge->rows_total, VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    merge->rows = vdb_calloc((size_t)merge->rows_total + 1, sizeof *merge->rows);
    return merge->rows != NULL ? VDB_OK : vdb_err_no_memory(err, "a compaction's rows");
}

/* Between rows: cancelled, too fast, how far. */
static vdb_status look_up(struct merge *merge, struct vdb_err *err)
{
    const struct vdb_compact_options *options = merge->options;
    bool cancelled = options->cancel != NULL && atomic_load_explicit(options->cancel, memory_order_relaxed);
    if (!cancelled && options->progress != NULL) {
        cancelled = !options->progress(options->ctx, merge->rows_done, merge->rows_total);
    }
    if (cancelled) {
        return vdb_err_set(err, VDB_CANCELLED, "compaction cancelled after %llu of %llu rows",
                           (unsigned long long)merge->rows_done, (unsigned long long)merge->rows_total);
    }
    if (options->bytes_per_second > 0 && merge->writer != NULL) {
        double due = (double)vdb_segment_writer_bytes(merge->writer) / (double)options->bytes_per_second;
        double ahead = due - (double)(vdb_now_ns() - merge->started_ns) * 1e-9;
        if (ahead > 1e-3) {
            ahead = ahead > 0.1 ? 0.1 : ahead; /* look at the cancel flag again soon */
            struct timespec pause = {0, (long)(ahead * 1e9)};
            (void)nanosleep(&pause, NULL);
        }
    }
    return VDB_OK;
}

static vdb_status copy_row(struct merge *merge, struct vdb_segment *segment, uint32_t row,
                           struct vdb_segment_meta *reader, struct vdb_err *err)
{
    struct vdb_store *store = merge->store;
    struct vdb_id id;
    uint64_t seq_from;
    const void *vector;
    struct vdb_str metadata;
    if (merge->writer == NULL) {
        VDB_TRY(vdb_segment_writer_create(store->env, store->dir, store->manifest.uuid, merge->number,
                                          &store->manifest.schema, &merge->writer, err));
    }
    VDB_TRY(vdb_segment_id(segment, row, &id, err));
    VDB_TRY(vdb_segment_seq_from(segment, row, &seq_from, err));
    VDB_TRY(vdb_segment_vector(segment, row, &vector, err));
    VDB_TRY(vdb_segment_meta_read(reader, row, &metadata, err));
    VDB_TRY(vdb_segment_writer_add(merge->writer, &id, seq_from, vector, metadata, err));
    merge->rows[merge->row_count++] = row;
    return VDB_OK;
}

static vdb_status copy_segment(struct merge *merge, struct vdb_segment *segment, struct vdb_err *err)
{
    struct vdb_segment_meta reader;
    vdb_status status = VDB_OK;
    vdb_segment_meta_init(&reader, segment);
    vdb_segment_advise(segment, VDB_ACCESS_SEQUENTIAL);
    for (uint32_t row = 0; row < vdb_segment_rows(segment) && status == VDB_OK; row++) {
        if (merge->rows_done++ % ROWS_PER_LOOK == 0) {
            VDB_CHECK(look_up(merge, err));
        }
        if (vdb_segment_sees(segment, row, merge->view.seq)) {
            status = copy_row(merge, segment, row, &reader, err);
        }
    }

cleanup:
    vdb_segment_meta_fini(&reader);
    return status;
}

static vdb_status write_output(struct merge *merge, struct vdb_err *err)
{
    struct vdb_store *store = merge->store;
    const struct vdb_version *version = merge->view.version;
    merge->started_ns = vdb_now_ns();
    for (uint32_t i = 0; i < version->segment_count; i++) {
        merge->first[i] = merge->row_count;
        if (merge->taken[i]) {
            VDB_TRY(copy_segment(merge, version->segments[i], err));
        }
    }
    merge->first[version->segment_count] = merge->row_count;
    if (merge->writer == NULL) {
        return VDB_OK;
    }
    VDB_TRY(vdb_segment_writer_finish(merge->writer, &merge->info, err));
    merge->written = true;
    return vdb_segment_open(store->env, store->dir, store->manifest.uuid, &store->manifest.schema, &merge->info,
                            &merge->output, err);
}

/* Ends that came after the plan. Again under the lock at installation; an end that is there stays. */
static void carry_ends(void *ctx)
{
    struct merge *merge = ctx;
    const struct vdb_version *version = merge->view.version;
    for (uint32_t i = 0; i < version->segment_count; i++) {
        for (uint32_t r = merge->first[i]; merge->taken[i] && r < merge->first[i + 1]; r++) {
            uint64_t end = vdb_segment_end_of(version->segments[i], merge->rows[r]);
            if (end != 0) {
                (void)vdb_segment_end(merge->output, r, end);
            }
        }
    }
}

static bool is_input(const struct merge *merge, const struct vdb_segment *segment)
{
    const struct vdb_version *version = merge->view.version;
    for (uint32_t i = 0; i < version->segment_count; i++) {
        if (version->segments[i] == segment) {
            return merge->taken[i];
        }
    }
    return false;
}

/* The next manifest and version: the output in place of the inputs, at the end. */
static vdb_status commit_locked(struct merge *merge, struct vdb_segment_info *doomed, struct vdb_err *err)
{
    struct vdb_store *store = merge->store;
    struct vdb_version *now = store->version;
    struct vdb_manifest next = {0};
    struct vdb_version *version = NULL;
    struct vdb_segment **segments = vdb_calloc((size_t)now->segment_count + 1, sizeof *segments);
    uint32_t count = 0;
    uint32_t gone = 0;
    vdb_status status;
    if (segments == NULL) {
        status = vdb_err_no_memory(err, "a version");
        goto cleanup;
    }
    VDB_CHECK(vdb_store_may_commit(store, err));
    VDB_CHECK(vdb_store_manifest_copy(&store->manifest, &next, err));
    for (uint32_t i = 0; i < now->segment_count; i++) {
        if (is_input(merge, now->segments[i])) {
            doomed[gone++] = store->manifest.segments[i];
        } else {
            next.segments[count] = store->manifest.segments[i];
            segments[count++] = now->segments[i];
        }
    }
    if (gone != merge->input_count) {
        status = vdb_err_set(err, VDB_BUSY, "%u of %u planned segments are gone", merge->input_count - gone,
                             merge->input_count);
        goto cleanup;
    }
    if (merge->output != NULL) {
        pthread_rwlock_wrlock(&store->lock); /* vdb_segment_end: one writer */
        carry_ends(merge);
        pthread_rwlock_unlock(&store->lock);
        VDB_CHECK(vdb_segment_save_dead(merge->output, store->manifest.checkpoint_seq, 1, &merge->info, err));
        next.segments[count] = merge->info;
        segments[count++] = merge->output;
    }
    next.segment_count = count;
    version = vdb_version_create(now->memtables, now->memtable_count, segments, count);
    if (version == NULL) {
        status = vdb_err_no_memory(err, "a version");
        goto cleanup;
    }
    VDB_CHECK(vdb_store_commit(store, &next, err));
    vdb_store_install(store, version, merge->output != NULL ? carry_ends : NULL, merge);
    version = NULL;

cleanup:
    vdb_version_unref(version);
    free(segments);
    vdb_manifest_fini(&next);
    return status;
}

static void unlink_files(struct vdb_store *store, const struct vdb_segment_info *info)
{
    vdb_store_unlink(store->env, store->dir, VDB_BLOCK_FILE_VECTORS, info->number, 0);
    vdb_store_unlink(store->env, store->dir, VDB_BLOCK_FILE_META, info->number, 0);
    if (info->dead_edition != 0) {
        vdb_store_unlink(store->env, store->dir, VDB_BLOCK_FILE_DEAD, info->number, info->dead_edition);
    }
    if (info->index_edition != 0) {
        vdb_store_unlink(store->env, store->dir, VDB_BLOCK_FILE_INDEX, info->number, info->index_edition);
    }
}

static vdb_status commit(struct merge *merge, struct vdb_compact_result *result, struct vdb_err *err)
{
    struct vdb_store *store = merge->store;
    struct vdb_segment_info *doomed = vdb_calloc(merge->input_count, sizeof *doomed);
    if (doomed == NULL) {
        return vdb_err_no_memory(err, "a compaction");
    }
    pthread_mutex_lock(&store->maintain);
    vdb_status status = commit_locked(merge, doomed, err);
    if (status == VDB_OK) {
        for (uint32_t i = 0; i < merge->input_count; i++) {
            unlink_files(store, &doomed[i]);
            result->bytes_before += segment_bytes(&doomed[i]);
        }
        result->merged = merge->input_count;
        result->rows_before = merge->rows_total;
        result->rows_after = merge->row_count;
        result->bytes_after = segment_bytes(&merge->info);
        atomic_fetch_add_explicit(&store->compactions, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&store->bytes_compacted, result->bytes_after, memory_order_relaxed);
    } else if (merge->written && !store->commit_failed) {
        unlink_files(store, &merge->info);
    }
    pthread_mutex_unlock(&store->maintain);
    free(doomed);
    return status;
}

vdb_status vdb_store_compact(struct vdb_store *store, const struct vdb_compact_options *options,
                             struct vdb_compact_result *result, struct vdb_err *err)
{
    struct merge merge = {.store = store, .options = options};
    vdb_status status;
    *result = (struct vdb_compact_result){0};
    pthread_mutex_lock(&store->compacting);
    VDB_CHECK(plan(&merge, err));
    if (merge.input_count > 0) {
        status = write_output(&merge, err);
        if (status == VDB_OK) {
            status = commit(&merge, result, err);
            if (status == VDB_OK && merge.output != NULL && options->merged != NULL) {
                options->merged(options->ctx, &merge.view, merge.first, merge.rows, merge.output);
            }
        } else if (merge.written) {
            unlink_files(store, &merge.info);
        }
    }

cleanup:
    vdb_segment_writer_destroy(merge.writer); /* unlinks what is unfinished */
    vdb_segment_unref(merge.output);
    vdb_view_release(&merge.view);
    free(merge.taken);
    free(merge.first);
    free(merge.rows);
    pthread_mutex_unlock(&store->compacting);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "compact");
}
