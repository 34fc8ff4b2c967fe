/* memory_choice.h: all that a power cut may leave of the in-memory file system, counted and numbered.
 *
 * An outcome is: a legal set of the pending changes of names (memory_tree.h, T1 to T3); and of the writes pending
 * in the files that have a name then, any set kept and the rest dropped (so that a later write may be there without
 * an earlier one), either every one whole, or one of them torn in one of its ways (memory_image.h). What seeds give
 * beyond that: several torn writes at once, and tears in several places.
 *
 * Outcome 0 drops all. Two outcomes may leave the same bytes (two writes to one place); none is left out.
 *
 * The plan is what makes numbers into outcomes: for each legal set of names the number of the last outcome that has
 * it. It is made once per state and shared by the copies of that state.
 *
 * Threads: a plan is immutable and counted atomically; the tree is confined (the env's mutex).
 */
#ifndef VDB_ENV_MEMORY_CHOICE_H
#define VDB_ENV_MEMORY_CHOICE_H

#include "memory_tree.h"

enum {
    VDB_MEMORY_CHOICE_SETS_MAX = 4096, /* of names; with more the walk would not end anyway */
    VDB_MEMORY_CHOICE_WRITES_MAX = 40, /* pending at once, for the numbers to fit into 64 bits with all else */
};

struct vdb_memory_plan;

/* The plan for what is pending now; NULL when memory is short. */
struct vdb_memory_plan *vdb_memory_choice_plan(struct vdb_memory_tree *tree);
struct vdb_memory_plan *vdb_memory_choice_ref(struct vdb_memory_plan *plan); /* NULL allowed, here and below */
void vdb_memory_choice_unref(struct vdb_memory_plan *plan);

/* How many outcomes there are; UINT64_MAX: too many to number. */
uint64_t vdb_memory_choice_count(const struct vdb_memory_plan *plan);

/* A power cut with that outcome (below the count, which is not UINT64_MAX). The plan is of this tree or of the one
 * that this one is a copy of, as it is now. The handles' references are gone by now. */
void vdb_memory_choice_crash(struct vdb_memory_tree *tree, const struct vdb_memory_plan *plan, uint64_t outcome);

#endif
