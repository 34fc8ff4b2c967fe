/* memory_choice.c: numbers into power cuts.
 *
 * With n writes pending in named files and t_i ways to tear write i, a set of names has
 *
 *     2^n + (t_1 + ... + t_n) * 2^(n-1)
 *
 * outcomes: each write kept or dropped; or one of them torn and each of the others kept or dropped. In this order
 * they are numbered, the sets of names one after the other.
 */
#include "memory_choice.h"

#include "base/mem.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

struct plan_entry {
    uint64_t set;
    uint64_t end; /* number of its last outcome, plus one */
};

struct vdb_memory_plan {
    atomic_size_t refs;
    uint64_t total;
    size_t count;
    struct plan_entry entries[];
};

/* Outcomes of the files that are marked as named; UINT64_MAX when they are too many. */
static uint64_t count_of_files(const struct vdb_memory_tree *tree)
{
    uint64_t writes = 0;
    uint64_t tears = 0;
    for (const struct vdb_memory_node *node = tree->first; node != NULL; node = node->next) {
        size_t pending = node->is_named && !node->is_dir ? vdb_memory_image_pending_count(&node->image) : 0;
        writes += pending;
        if (writes > VDB_MEMORY_CHOICE_WRITES_MAX) {
            return UINT64_MAX;
        }
        for (size_t i = 0; i < pending; i++) {
            tears += vdb_memory_image_tear_count(&node->image, i);
        }
    }
    if (writes == 0) {
        return 1;
    }
    uint64_t whole = (uint64_t)1 << writes;
    uint64_t torn;
    return __builtin_mul_overflow(tears, whole / 2, &torn) || torn > UINT64_MAX - whole ? UINT64_MAX
                                                                                        : whole + torn;
}

struct vdb_memory_plan *vdb_memory_choice_plan(struct vdb_memory_tree *tree)
{
    uint64_t *sets = vdb_calloc(VDB_MEMORY_CHOICE_SETS_MAX, sizeof *sets);
    if (sets == NULL) {
        return NULL;
    }
    size_t count = vdb_memory_tree_list_sets(tree, sets, VDB_MEMORY_CHOICE_SETS_MAX);
    bool too_many = count == SIZE_MAX;
    count = too_many ? 0 : count;
    struct vdb_memory_plan *plan = calloc(1, sizeof *plan + count * sizeof plan->entries[0]);
    if (plan == NULL) {
        free(sets);
        return NULL;
    }
    atomic_init(&plan->refs, 1);
    for (size_t i = 0; i < count && !too_many; i++) {
        vdb_memory_tree_mark_named(tree, sets[i]);
        too_many = __builtin_add_overflow(plan->total, count_of_files(tree), &plan->total);
        plan->entries[i] = (struct plan_entry){.set = sets[i], .end = plan->total};
    }
    plan->count = count;
    plan->total = too_many ? UINT64_MAX : plan->total;
    free(sets);
    return plan;
}

struct vdb_memory_plan *vdb_memory_choice_ref(struct vdb_memory_plan *plan)
{
    if (plan != NULL) {
        atomic_fetch_add(&plan->refs, 1);
    }
    return plan;
}

void vdb_memory_choice_unref(struct vdb_memory_plan *plan)
{
    if (plan != NULL && atomic_fetch_sub(&plan->refs, 1) == 1) {
        free(plan);
    }
}

uint64_t vdb_memory_choice_count(const struct vdb_memory_plan *plan)
{
    return plan->total;
}

/* What becomes of the pending writes of all named files, which are numbered through. */
struct fates {
    uint64_t kept; /* as bits */
    size_t torn;   /* SIZE_MAX: none */
    size_t tear;   /* its way */
};

static struct fates fates_of(const struct vdb_memory_tree *tree, uint64_t outcome)
{
    struct fates fates = {.torn = SIZE_MAX};
    size_t writes = 0;
    for (const struct vdb_memory_node *node = tree->first; node != NULL; node = node->next) {
        writes += node->is_named && !node->is_dir ? vdb_memory_image_pending_count(&node->image) : 0;
    }
    uint64_t whole = (uint64_t)1 << writes;
    if (outcome < whole) {
        fates.kept = outcome;
        return fates;
    }
    /* Without writes there is one outcome, 0. NOLINTNEXTLINE(clang-analyzer-core.DivideZero) */
    uint64_t others = (outcome - whole) % (whole / 2);
    uint64_t tear = (outcome - whole) / (whole / 2);
    size_t number = 0;
    for (const struct vdb_memory_node *node = tree->first; node != NULL; node = node->next) {
        size_t pending = node->is_named && !node->is_dir ? vdb_memory_image_pending_count(&node->image) : 0;
        for (size_t i = 0; i < pending; i++, number++) {
            size_t tears = vdb_memory_image_tear_count(&node->image, i);
            if (tear < tears) {
                uint64_t below = ((uint64_t)1 << number) - 1;
                fates.kept = (others & below) | (others & ~below) << 1;
                fates.torn = number;
                fates.tear = (size_t)tear;
                return fates;
            }
            tear -= tears;
        }
    }
    assert(!"an outcome past the last");
    return fates;
}

void vdb_memory_choice_crash(struct vdb_memory_tree *tree, const struct vdb_memory_plan *plan, uint64_t outcome)
{
    assert(plan->total != UINT64_MAX && outcome < plan->total);
    size_t low = 0;
    size_t high = plan->count - 1;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (plan->entries[mid].end <= outcome) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    uint64_t start = low == 0 ? 0 : plan->entries[low - 1].end;
    vdb_memory_tree_mark_named(tree, plan->entries[low].set);
    struct fates fates = fates_of(tree, outcome - start);
    size_t number = 0;
    for (struct vdb_memory_node *node = tree->first; node != NULL; node = node->next) {
        size_t pending = node->is_named && !node->is_dir ? vdb_memory_image_pending_count(&node->image) : 0;
        if (pending == 0) {
            continue;
        }
        bool has_torn = fates.torn != SIZE_MAX && fates.torn >= number && fates.torn - number < pending;
        vdb_memory_image_cut(&node->image, fates.kept >> number, has_torn ? fates.torn - number : SIZE_MAX,
                             fates.tear);
        number += pending;
    }
    vdb_memory_tree_crash_set(tree, plan->entries[low].set);
}
