/* recall.h: which width a graph's search takes for a wanted recall.
 *
 *     vdb_recall_calibrate once a graph is built; its table is kept beside the graph (encode, decode);
 *     vdb_recall_ef for each search; a vdb_shadow per collection checks what real queries get.
 *
 * A table says what share of the k nearest (k is 10, ties count as right) searches of each width find in one
 * source, measured on queries made from the source's own rows, as a lower bound. Users' queries may be harder than those, so
 * now and then a search is done again exactly (a shadow query), and when users get less than they asked for, all
 * widths are multiplied by a boost, which goes back when it is not needed.
 *
 * Threads: tables are immutable once made. A shadow is atomic: any thread, no waiting in vdb_shadow_due and
 * vdb_shadow_boost.
 */
#ifndef VDB_COLLECTION_RECALL_H
#define VDB_COLLECTION_RECALL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/bytes.h"
#include "index/index.h"

enum { VDB_RECALL_POINTS_MAX = 16, VDB_RECALL_K = 10, VDB_RECALL_EF_MAX = 16384 };

#define VDB_RECALL_BOOST_MAX 8.0

/* What searches of width ef find at least: in 0..1. */
struct vdb_recall_point {
    uint32_t ef;
    float recall;
};

/* In ascending order of ef; recall never falls. All zero: nothing is known. */
struct vdb_recall_table {
    uint32_t count;
    uint32_t k; /* that it was measured at: VDB_RECALL_K, or the number of rows if that is less */
    struct vdb_recall_point points[VDB_RECALL_POINTS_MAX];
};

/* Measures on at most `queries` queries (0: the default) made from rows of the source; fewer where the rows are so many that
 * the exact answers would cost more than some 5 % of a build. The index holds the rows of `only` (NULL: all), and is searched
 * beside whatever else searches it. One thread. *out: all zero when there are fewer than two rows. progress may cancel
 * (VDB_CANCELLED; *out is then all zero). */
vdb_status vdb_recall_calibrate(const struct vdb_index_ops *ops, const void *index, const struct vdb_rows *rows,
                                const struct vdb_bitset *only, size_t queries, uint64_t seed,
                                vdb_index_progress_fn *progress, void *progress_ctx, struct vdb_recall_table *out,
                                struct vdb_err *err) VDB_MUST_CHECK;

/* The width, between k and VDB_RECALL_EF_MAX unless k is more, with which a search for k is expected to find `target` (in
 * (0, 1)) of them, times boost (1 or more). An empty table (or NULL) gives a width that is enough on nearly all data. */
uint32_t vdb_recall_ef(const struct vdb_recall_table *table, double target, uint32_t k, double boost);

/* Appends the table's bytes. */
void vdb_recall_table_encode(const struct vdb_recall_table *table, struct vdb_buf *out);

/* Takes them back from the cursor. VDB_CORRUPT names what is wrong; no bytes whatsoever give a table that breaks a rule
 * above. */
vdb_status vdb_recall_table_decode(struct vdb_cursor *in, struct vdb_recall_table *out,
                                   struct vdb_err *err) VDB_MUST_CHECK;

/* ---- Shadow queries ---- */

struct vdb_shadow {
    _Atomic uint64_t next_ns;    /* none is due before */
    _Atomic uint64_t started_ns; /* of the one under way; 0: none */
    _Atomic double boost;
    pthread_mutex_t lock; /* of all below; for a few additions */
    uint64_t queries;
    double recall; /* moving average */
    double above;  /* moving average of recall less its target, since the boost last changed */
    double above_square;
    double weight; /* of how many reports, since then */
};

struct vdb_shadow_stats {
    uint64_t queries; /* reported so far */
    double recall;    /* moving average; 0 without any */
    double boost;
};

void vdb_shadow_init(struct vdb_shadow *shadow);
void vdb_shadow_fini(struct vdb_shadow *shadow);

/* Whether the search that asks shall be done again exactly and reported. At most four a second, one at a time,
 * and together no more than some 1 % of a core. After true, one report or cancel follows (none within a minute: it
 * counts as cancelled). now_ns: of vdb_now_ns. */
bool vdb_shadow_due(struct vdb_shadow *shadow, uint64_t now_ns);

/* What came of it: the share found, of what was asked for, and what the exact search cost. */
void vdb_shadow_report(struct vdb_shadow *shadow, double target, double recall, uint64_t cost_ns);

/* Instead of a report: nothing came of it. */
void vdb_shadow_cancel(struct vdb_shadow *shadow);

/* What widths are to be multiplied with: 1 to VDB_RECALL_BOOST_MAX. */
double vdb_shadow_boost(const struct vdb_shadow *shadow);

void vdb_shadow_get(const struct vdb_shadow *shadow, struct vdb_shadow_stats *out);

#endif
