/* store_script.h: the workload of the store's crash tests as a script of steps, and the naive model of what its batches
 * leave. store_world.h runs it.
 */
#ifndef VDB_TESTS_UNIT_STORAGE_STORE_SCRIPT_H
#define VDB_TESTS_UNIT_STORAGE_STORE_SCRIPT_H

#include <stdlib.h>

#include "base/limits.h"
#include "base/rng.h"
#include "storage/batch.h"
#include "storage/store.h"

enum {
    DIMENSION = 3,
    IDS = 9,
    BATCH_OPS = 4,
    LOG_SEGMENT_BYTES = 500,
    BATCHES_MAX = 48,
    SNAPSHOTS = 2,
    NUMBERS = 64
};

static const struct vdb_schema world_schema = {.name = "docs", .dimension = DIMENSION, .metric = VDB_METRIC_L2};
static const struct vdb_index_config world_index = {.type = "flat"};
static const struct vdb_wal_options world_log = {.segment_bytes = LOG_SEGMENT_BYTES};

/* ---- The script ---- */

enum step_kind {
    WRITE,
    WIPE, /* a batch that deletes every point */
    CHECKPOINT,
    COMPACT,
    COMPACT_FULL,
    KEEP, /* makes a snapshot */
    DROP, /* deletes it */
    CONFIGURE,
    ATTACH, /* an index file to a segment, and a companion */
    DETACH,
    REOPEN,
    CLOSE,
};

struct step {
    enum step_kind kind;
    unsigned snapshot; /* KEEP, DROP */
    unsigned value;    /* CONFIGURE; ATTACH, DETACH: which segment, if there are so many */
    unsigned around;   /* so many of the next steps run inside this one */
};

static const char *const snapshot_names[SNAPSHOTS] = {"first", "second"};

static const struct step script[] = {
    {.kind = WRITE},
    {.kind = WRITE},
    {.kind = WRITE}, /* by now the log has rotated */
    {.kind = CHECKPOINT},
    {.kind = WRITE},
    {.kind = CONFIGURE, .value = 1},
    {.kind = ATTACH, .value = 0}, /* the first index file: its folder is made */
    {.kind = KEEP, .snapshot = 0},
    {.kind = WRITE},
    {.kind = CHECKPOINT, .around = 2}, /* ends go on into the segment that is being written */
    {.kind = WRITE},
    {.kind = WRITE},
    {.kind = WRITE},
    {.kind = CHECKPOINT}, /* four segments with bitmaps: a tier */
    {.kind = WRITE},
    {.kind = COMPACT, .around = 5},
    {.kind = WRITE},
    {.kind = WRITE},
    {.kind = ATTACH, .value = 1}, /* to a segment that is being merged: gone with it */
    {.kind = CHECKPOINT},         /* ends that came after the plan lose their place in the log */
    {.kind = WRITE},
    {.kind = WRITE},
    {.kind = ATTACH, .value = 0, .around = 3}, /* named after what was committed while it was written */
    {.kind = CONFIGURE, .value = 2},
    {.kind = CHECKPOINT},
    {.kind = WRITE},
    {.kind = ATTACH, .value = 0, .around = 1}, /* overtaken */
    {.kind = DETACH, .value = 0},
    {.kind = ATTACH, .value = 1},
    {.kind = KEEP, .snapshot = 1},
    {.kind = REOPEN},
    {.kind = ATTACH, .value = 1}, /* a second edition */
    {.kind = WRITE},
    {.kind = DROP, .snapshot = 0},
    {.kind = CHECKPOINT},
    {.kind = COMPACT_FULL, .around = 1},
    {.kind = WRITE},
    {.kind = WRITE},
    {.kind = COMPACT}, /* one segment of which much has ended, or nothing to do */
    {.kind = CHECKPOINT},
    {.kind = DROP, .snapshot = 1},
    {.kind = KEEP, .snapshot = 0},
    {.kind = WIPE},
    {.kind = ATTACH, .value = 0, .around = 1}, /* to a segment that is merged meanwhile */
    {.kind = COMPACT_FULL},                    /* the ends are in the log only; nothing is left of the rows */
    {.kind = CHECKPOINT},                      /* no rows, only a shorter log */
    {.kind = WRITE},
    {.kind = CHECKPOINT},
    {.kind = ATTACH, .value = 0},
    {.kind = WRITE},
    {.kind = KEEP, .snapshot = 1},
    {.kind = DETACH, .value = 0},
    {.kind = WRITE},
    {.kind = CLOSE},
};

enum { STEPS = sizeof script / sizeof script[0] };

static inline const char *step_text(unsigned step)
{
    static const char *const texts[] = {"write", "wipe",      "checkpoint", "compact", "compact full", "keep",
                                        "drop",  "configure", "attach",     "detach",  "reopen",       "close"};
    return step < STEPS ? texts[script[step].kind] : "the end";
}

static inline bool is_batch(unsigned step)
{
    return step < STEPS && (script[step].kind == WRITE || script[step].kind == WIPE);
}

/* ---- The model ---- */

/* Which batch wrote each id last; 0: not there. */
struct model {
    uint32_t by_id[IDS];
};

/* The state after each batch, and the batch after which each snapshot was made. */
struct history {
    struct model after[BATCHES_MAX + 1];
    bool wipes[BATCHES_MAX + 1];
    unsigned batches;
};

static struct history history;

/* Even ids are numbers, odd ones texts. */
static inline struct vdb_id id_of(unsigned n, char text[16])
{
    snprintf(text, 16, "id-%u", n);
    return n % 2 == 0 ? (struct vdb_id){.number = n} : (struct vdb_id){text, (uint32_t)strlen(text), 0};
}

static inline void vector_of(unsigned n, uint32_t batch, float out[DIMENSION])
{
    out[0] = (float)batch;
    out[1] = (float)n;
    out[2] = (float)(batch + n * 8); /* all below 128: every element holds them */
}

static inline int metadata_of(unsigned n, uint32_t batch, char out[64])
{
    return snprintf(out, 64, "{\"batch\":%u,\"n\":%u}", batch, n);
}

/* Batch number b, always the same for the same b. */
static inline void make_batch(unsigned b, struct vdb_buf *payload, struct model *model)
{
    struct vdb_rng rng;
    char text[16];
    bool wipe = history.wipes[b];
    vdb_rng_init(&rng, b * 77 + 5);
    vdb_buf_clear(payload);
    vdb_batch_begin(payload, DIMENSION);
    for (unsigned i = 0; i < (wipe ? IDS : BATCH_OPS); i++) {
        unsigned n = wipe ? i : (unsigned)vdb_rng_below(&rng, IDS);
        struct vdb_id id = id_of(n, text);
        if (wipe || vdb_rng_below(&rng, 3) == 0) {
            vdb_batch_delete(payload, &id);
            model->by_id[n] = 0;
        } else {
            float vector[DIMENSION];
            char metadata[64];
            vector_of(n, b, vector);
            int bytes = metadata_of(n, b, metadata);
            vdb_batch_upsert(payload, &id, vector, DIMENSION, (struct vdb_str){metadata, (size_t)bytes});
            model->by_id[n] = b;
        }
    }
}

static inline void make_history(void)
{
    struct vdb_buf payload = {0};
    memset(&history, 0, sizeof history);
    for (unsigned s = 0; s < STEPS; s++) {
        if (is_batch(s)) {
            unsigned b = ++history.batches;
            assert_true(b <= BATCHES_MAX);
            history.wipes[b] = script[s].kind == WIPE;
            history.after[b] = history.after[b - 1];
            make_batch(b, &payload, &history.after[b]);
        }
    }
    vdb_buf_fini(&payload);
}

static inline bool is_model(const struct model *seen, unsigned batch)
{
    return memcmp(seen, &history.after[batch], sizeof *seen) == 0;
}

#endif
