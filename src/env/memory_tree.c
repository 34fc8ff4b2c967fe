/* memory_tree.c: names, the order among their changes, and what a power cut leaves of them. */
#include "memory_tree.h"

#include "base/limits.h"
#include "base/mem.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES_MAX = 255 }; /* Linux NAME_MAX */

enum { SETS_MAX = 2 };

struct vdb_memory_change {
    uint64_t number;
    struct {
        struct vdb_memory_slot *slot;
        struct vdb_memory_node *value; /* NULL: the name goes */
    } sets[SETS_MAX];                  /* the first, and for a rename the second; its slot is NULL otherwise */
    bool kept;                         /* scratch: chosen to become durable */
    size_t after_count;
    uint64_t after[]; /* numbers of the changes that it comes after; those no longer pending are durable */
};

/* Where a path leads. */
struct place {
    struct vdb_memory_node *dir; /* of the last part; NULL when the path has no last part that is a name */
    const char *name;            /* the last part, name_bytes long */
    size_t name_bytes;
    struct vdb_memory_slot *slot; /* of the last part, if it was ever heard of */
    struct vdb_memory_node *node; /* what is seen there, or NULL */
    bool slash_behind;            /* "a/": only a directory will do */
};

static struct vdb_memory_node *create_node(struct vdb_memory_tree *tree, bool is_dir)
{
    struct vdb_memory_node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        return NULL;
    }
    node->is_dir = is_dir;
    node->prev = tree->last;
    if (tree->last != NULL) {
        tree->last->next = node;
    } else {
        tree->first = node;
    }
    tree->last = node;
    return node;
}

static void set_ref(struct vdb_memory_tree *tree, struct vdb_memory_node **ref, struct vdb_memory_node *node)
{
    struct vdb_memory_node *old = *ref;
    if (node != NULL) {
        vdb_memory_node_ref(node);
    }
    *ref = node;
    vdb_memory_node_unref(tree, old);
}

static void destroy_slots(struct vdb_memory_tree *tree, struct vdb_memory_node *dir)
{
    for (size_t i = 0; i < dir->slot_count; i++) {
        struct vdb_memory_slot *slot = dir->slots[i];
        set_ref(tree, &slot->seen, NULL);
        set_ref(tree, &slot->durable, NULL);
        free(slot);
    }
    free(dir->slots);
    dir->slots = NULL;
    dir->slot_count = 0;
    dir->slot_capacity = 0;
}

void vdb_memory_node_ref(struct vdb_memory_node *node)
{
    node->refs++;
}

void vdb_memory_node_unref(struct vdb_memory_tree *tree, struct vdb_memory_node *node)
{
    if (node == NULL) {
        return;
    }
    assert(node->refs > 0);
    if (--node->refs > 0) {
        return;
    }
    destroy_slots(tree, node);
    vdb_memory_image_fini(&node->image);
    if (node->prev != NULL) {
        node->prev->next = node->next;
    } else {
        tree->first = node->next;
    }
    if (node->next != NULL) {
        node->next->prev = node->prev;
    } else {
        tree->last = node->prev;
    }
    free(node);
}

/* Keeps every node while all of them are walked and references come and go. */
static void hold_all(struct vdb_memory_tree *tree)
{
    for (struct vdb_memory_node *node = tree->first; node != NULL; node = node->next) {
        vdb_memory_node_ref(node);
    }
}

static void release_all(struct vdb_memory_tree *tree)
{
    for (struct vdb_memory_node *node = tree->first; node != NULL;) {
        struct vdb_memory_node *next = node->next; /* stays: it is still held */
        vdb_memory_node_unref(tree, node);
        node = next;
    }
}

bool vdb_memory_tree_init(struct vdb_memory_tree *tree)
{
    tree->root = create_node(tree, true);
    if (tree->root == NULL) {
        return false;
    }
    vdb_memory_node_ref(tree->root);
    return true;
}

static void destroy_change(struct vdb_memory_tree *tree, struct vdb_memory_change *change)
{
    for (size_t i = 0; i < SETS_MAX && change->sets[i].slot != NULL; i++) {
        struct vdb_memory_slot *slot = change->sets[i].slot;
        slot->change_count--;
        set_ref(tree, &change->sets[i].value, NULL);
        vdb_memory_node_unref(tree, slot->dir);
    }
    free(change);
}

void vdb_memory_tree_fini(struct vdb_memory_tree *tree)
{
    for (size_t i = 0; i < tree->change_count; i++) {
        destroy_change(tree, tree->changes[i]);
    }
    free(tree->changes);
    vdb_memory_node_unref(tree, tree->root);
    /* One by one: after two directories have changed places, each may hold the other, one as seen, one as
     * durable. */
    hold_all(tree);
    for (struct vdb_memory_node *node = tree->first; node != NULL; node = node->next) {
        destroy_slots(tree, node);
    }
    release_all(tree);
    assert(tree->first == NULL);
    *tree = (struct vdb_memory_tree){0};
}

static struct vdb_memory_slot *find_slot(const struct vdb_memory_node *dir, const char *name, size_t name_bytes)
{
    for (size_t i = 0; i < dir->slot_count; i++) {
        struct vdb_memory_slot *slot = dir->slots[i];
        if (strncmp(slot->name, name, name_bytes) == 0 && slot->name[name_bytes] == '\0') {
            return slot;
        }
    }
    return NULL;
}

/* One part of a path: steps down to it, or up for "..". */
static void step_to(struct vdb_memory_tree *tree, struct place *place, const char *name, size_t bytes)
{
    struct vdb_memory_node *here = place->node;
    place->name = name;
    place->name_bytes = bytes;
    if (bytes == 1 && name[0] == '.') {
        place->dir = NULL;
    } else if (bytes == 2 && name[0] == '.' && name[1] == '.') {
        place->dir = NULL;
        place->node = here->place != NULL ? here->place->dir : tree->root;
    } else {
        place->dir = here;
        place->slot = find_slot(here, name, bytes);
        place->node = place->slot != NULL ? place->slot->seen : NULL;
    }
}

/* Fails only when a directory on the way is not there; the last part may be missing. */
static int resolve(struct vdb_memory_tree *tree, const char *path, struct place *place)
{
    *place = (struct place){.node = tree->root};
    if (path[0] == '\0') {
        return ENOENT;
    }
    if (strlen(path) >= VDB_LIMIT_PATH_BYTES_MAX) {
        return ENAMETOOLONG;
    }
    while (*path != '\0') {
        size_t bytes = strcspn(path, "/");
        if (bytes > 0) {
            if (place->node == NULL) {
                return ENOENT;
            }
            if (!place->node->is_dir) {
                return ENOTDIR;
            }
            if (bytes > NAME_BYTES_MAX) {
                return ENAMETOOLONG;
            }
            step_to(tree, place, path, bytes);
        }
        place->slash_behind = path[bytes] == '/';
        path += bytes + (place->slash_behind ? 1 : 0);
    }
    if (place->slash_behind && place->node != NULL && !place->node->is_dir) {
        return ENOTDIR;
    }
    return 0;
}

int vdb_memory_tree_find(struct vdb_memory_tree *tree, const char *path, struct vdb_memory_node **out)
{
    struct place place;
    *out = NULL;
    int code = resolve(tree, path, &place);
    if (code != 0) {
        return code;
    }
    *out = place.node;
    return place.node != NULL ? 0 : ENOENT;
}

/* The slot of the place's name, made when it was never heard of. An unused one is swept up by the next sync_dir.
 */
static bool have_slot(struct place *place)
{
    if (place->slot != NULL) {
        return true;
    }
    struct vdb_memory_node *dir = place->dir;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): a place has one */
    if (dir->slot_count == dir->slot_capacity) {
        size_t capacity = dir->slot_capacity == 0 ? 8 : dir->slot_capacity * 2;
        if (!vdb_realloc_array((void **)&dir->slots, capacity, sizeof *dir->slots)) {
            return false;
        }
        dir->slot_capacity = capacity;
    }
    struct vdb_memory_slot *slot = calloc(1, sizeof *slot + place->name_bytes + 1);
    if (slot == NULL) {
        return false;
    }
    slot->dir = dir;
    memcpy(slot->name, place->name, place->name_bytes);
    dir->slots[dir->slot_count++] = slot;
    place->slot = slot;
    return true;
}

static void come_after(struct vdb_memory_change *change, uint64_t number)
{
    if (number != 0) {
        change->after[change->after_count++] = number;
    }
}

static bool touches_dir(const struct vdb_memory_change *change, const struct vdb_memory_node *dir)
{
    for (size_t i = 0; i < SETS_MAX && change->sets[i].slot != NULL; i++) {
        if (change->sets[i].slot->dir == dir) {
            return true;
        }
    }
    return false;
}

/* Makes and files the change (slot a to value_a and, when slot b is given, slot b to value_b) with all that it
 * comes after, and shows it on the seen side. moved_to: the directory of T2, removed_dir: that of T3, or NULL. */
static int add_change(struct vdb_memory_tree *tree, struct vdb_memory_slot *a, struct vdb_memory_node *value_a,
                      struct vdb_memory_slot *b, struct vdb_memory_node *value_b,
                      const struct vdb_memory_node *moved_to, const struct vdb_memory_node *removed_dir)
{
    size_t after_count_max = 2 + (removed_dir != NULL ? tree->change_count : 0);
    for (const struct vdb_memory_node *dir = moved_to; dir != NULL && dir->place != NULL; dir = dir->place->dir) {
        after_count_max++;
    }
    if (tree->change_count == tree->change_capacity) {
        size_t capacity = tree->change_capacity == 0 ? 16 : tree->change_capacity * 2;
        if (!vdb_realloc_array((void **)&tree->changes, capacity, sizeof(struct vdb_memory_change *))) {
            return ENOMEM;
        }
        tree->change_capacity = capacity;
    }
    struct vdb_memory_change *change = calloc(1, sizeof *change + after_count_max * sizeof change->after[0]);
    if (change == NULL) {
        return ENOMEM;
    }

    change->number = ++tree->change_number;
    come_after(change, a->last_change); /* T1 */
    change->sets[0].slot = a;
    if (b != NULL) {
        come_after(change, b->last_change);
        change->sets[1].slot = b;
    }
    for (const struct vdb_memory_node *dir = moved_to; dir != NULL && dir->place != NULL; dir = dir->place->dir) {
        come_after(change, dir->place->last_change); /* T2 */
    }
    for (size_t i = 0; removed_dir != NULL && i < tree->change_count; i++) {
        if (touches_dir(tree->changes[i], removed_dir)) {
            come_after(change, tree->changes[i]->number); /* T3 */
        }
    }
    tree->changes[tree->change_count++] = change;

    /* Both directories are held, which keeps the slots too, and what is no longer seen goes last of all. */
    for (size_t i = 0; i < SETS_MAX && change->sets[i].slot != NULL; i++) {
        struct vdb_memory_slot *slot = change->sets[i].slot;
        vdb_memory_node_ref(slot->dir);
        slot->change_count++;
        slot->last_change = change->number;
    }
    struct vdb_memory_node *values[SETS_MAX] = {value_a, value_b};
    struct vdb_memory_node *gone[SETS_MAX] = {NULL, NULL};
    for (size_t i = 0; i < SETS_MAX && change->sets[i].slot != NULL; i++) {
        struct vdb_memory_slot *slot = change->sets[i].slot;
        set_ref(tree, &change->sets[i].value, values[i]);
        gone[i] = slot->seen;
        if (slot->seen != NULL && slot->seen->is_dir && slot->seen->place == slot) {
            slot->seen->place = NULL;
        }
        slot->seen = NULL;
        set_ref(tree, &slot->seen, values[i]);
    }
    for (size_t i = 0; i < SETS_MAX; i++) {
        if (values[i] != NULL && values[i]->is_dir) {
            values[i]->place = change->sets[i].slot;
        }
    }
    vdb_memory_node_unref(tree, gone[0]);
    vdb_memory_node_unref(tree, gone[1]);
    return 0;
}

int vdb_memory_tree_create(struct vdb_memory_tree *tree, const char *path, bool is_dir,
                           struct vdb_memory_node **out)
{
    struct place place;
    *out = NULL;
    int code = resolve(tree, path, &place);
    if (code != 0) {
        return code;
    }
    if (place.node != NULL) {
        return EEXIST;
    }
    if (place.slash_behind && !is_dir) {
        return EISDIR;
    }
    struct vdb_memory_node *node = create_node(tree, is_dir);
    if (node == NULL) {
        return ENOMEM;
    }
    vdb_memory_node_ref(node);
    code = have_slot(&place) ? add_change(tree, place.slot, node, NULL, NULL, NULL, NULL) : ENOMEM;
    *out = code == 0 ? node : NULL;
    vdb_memory_node_unref(tree, node); /* the slot has it now, or nobody */
    return code;
}

static bool is_empty(const struct vdb_memory_node *dir)
{
    for (size_t i = 0; i < dir->slot_count; i++) {
        if (dir->slots[i]->seen != NULL) {
            return false;
        }
    }
    return true;
}

int vdb_memory_tree_remove(struct vdb_memory_tree *tree, const char *path, bool is_dir)
{
    struct place place;
    int code = resolve(tree, path, &place);
    if (code != 0) {
        return code;
    }
    if (place.node == NULL) {
        return ENOENT;
    }
    if (place.node->is_dir != is_dir) {
        return is_dir ? ENOTDIR : EISDIR;
    }
    if (place.dir == NULL) {
        return EBUSY; /* the root, "." or ".." */
    }
    if (is_dir && !is_empty(place.node)) {
        return ENOTEMPTY;
    }
    return add_change(tree, place.slot, NULL, NULL, NULL, NULL, is_dir ? place.node : NULL);
}

/* Whether dir is node or lies beneath it. */
static bool is_beneath(const struct vdb_memory_node *dir, const struct vdb_memory_node *node)
{
    while (dir != node && dir->place != NULL) {
        dir = dir->place->dir;
    }
    return dir == node;
}

int vdb_memory_tree_rename(struct vdb_memory_tree *tree, const char *from, const char *to)
{
    struct place source;
    struct place target;
    int code = resolve(tree, from, &source);
    if (code == 0) {
        code = resolve(tree, to, &target);
    }
    if (code != 0) {
        return code;
    }
    if (source.node == NULL) {
        return ENOENT;
    }
    if (source.dir == NULL || target.dir == NULL) {
        return EBUSY;
    }
    if (source.node == target.node) {
        return 0;
    }
    if (!source.node->is_dir && target.slash_behind) {
        return ENOTDIR;
    }
    if (source.node->is_dir && is_beneath(target.dir, source.node)) {
        return EINVAL;
    }
    if (target.node != NULL && is_beneath(source.dir, target.node)) {
        return ENOTEMPTY; /* over a directory that the source itself is in */
    }
    if (target.node != NULL) {
        if (source.node->is_dir != target.node->is_dir) {
            return source.node->is_dir ? ENOTDIR : EISDIR;
        }
        if (target.node->is_dir && !is_empty(target.node)) {
            return ENOTEMPTY;
        }
    }
    if (!have_slot(&target)) {
        return ENOMEM;
    }
    return add_change(tree, source.slot, NULL, target.slot, source.node,
                      source.dir != target.dir ? target.dir : NULL,
                      target.node != NULL && target.node->is_dir ? target.node : NULL);
}

int vdb_memory_tree_link(struct vdb_memory_tree *tree, const char *from, const char *to)
{
    struct place source;
    struct place target;
    int code = resolve(tree, from, &source);
    if (code != 0) {
        return code;
    }
    if (source.node == NULL) {
        return ENOENT;
    }
    if (source.node->is_dir) {
        return EPERM;
    }
    code = resolve(tree, to, &target);
    if (code != 0) {
        return code;
    }
    if (target.node != NULL) {
        return EEXIST;
    }
    if (target.slash_behind) {
        return ENOENT; /* as Linux says */
    }
    if (!have_slot(&target)) {
        return ENOMEM;
    }
    return add_change(tree, target.slot, source.node, NULL, NULL, NULL, NULL);
}

/* The pending change with that number; NULL when it is pending no more. */
static struct vdb_memory_change *find_change(const struct vdb_memory_tree *tree, uint64_t number)
{
    size_t low = 0;
    size_t high = tree->change_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (tree->changes[mid]->number < number) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < tree->change_count && tree->changes[low]->number == number ? tree->changes[low] : NULL;
}

/* Drops the names that are neither seen nor durable nor part of a pending change. */
static void sweep_slots(struct vdb_memory_node *dir)
{
    size_t kept = 0;
    for (size_t i = 0; i < dir->slot_count; i++) {
        struct vdb_memory_slot *slot = dir->slots[i];
        if (slot->seen == NULL && slot->durable == NULL && slot->change_count == 0) {
            free(slot);
        } else {
            dir->slots[kept++] = slot;
        }
    }
    dir->slot_count = kept;
}

/* Makes the changes marked `kept` durable, in their order, and forgets them. By T3 a directory that goes leaves
 * no pending change behind. */
static void apply_kept(struct vdb_memory_tree *tree)
{
    size_t left = 0;
    for (size_t i = 0; i < tree->change_count; i++) {
        struct vdb_memory_change *change = tree->changes[i];
        if (!change->kept) {
            tree->changes[left++] = change;
            continue;
        }
        for (size_t j = 0; j < SETS_MAX && change->sets[j].slot != NULL; j++) {
            struct vdb_memory_slot *slot = change->sets[j].slot;
            set_ref(tree, &slot->durable, change->sets[j].value);
        }
        destroy_change(tree, change);
    }
    tree->change_count = left;
}

void vdb_memory_tree_sync_dir(struct vdb_memory_tree *tree, struct vdb_memory_node *dir)
{
    for (size_t i = tree->change_count; i-- > 0;) { /* backwards: what a change comes after stands before it */
        struct vdb_memory_change *change = tree->changes[i];
        change->kept = change->kept || touches_dir(change, dir);
        for (size_t j = 0; change->kept && j < change->after_count; j++) {
            struct vdb_memory_change *before = find_change(tree, change->after[j]);
            if (before != NULL) {
                before->kept = true;
            }
        }
    }
    vdb_memory_node_ref(dir);
    apply_kept(tree);
    sweep_slots(dir);
    vdb_memory_node_unref(tree, dir);
}

/* Chooses what survives: nothing, everything, the first n changes, or each by itself (but never without what it
 * comes after). */
static void choose_changes(struct vdb_memory_tree *tree, struct vdb_rng *rng)
{
    enum { DROP_ALL, KEEP_ALL, KEEP_FIRST, EACH_ALONE, CHOICES };
    uint64_t choice = rng == NULL || tree->change_count == 0 ? DROP_ALL : vdb_rng_below(rng, CHOICES);
    uint64_t first = choice == KEEP_FIRST ? vdb_rng_below(rng, tree->change_count + 1) : 0;
    for (size_t i = 0; i < tree->change_count; i++) {
        struct vdb_memory_change *change = tree->changes[i];
        change->kept = choice == KEEP_ALL || (choice == KEEP_FIRST && i < first) ||
                       (choice == EACH_ALONE && vdb_rng_below(rng, 2) != 0);
        for (size_t j = 0; change->kept && j < change->after_count; j++) {
            const struct vdb_memory_change *before = find_change(tree, change->after[j]);
            change->kept = before == NULL || before->kept;
        }
    }
}

/* Everything seen becomes what is durable. */
static void show_durable(struct vdb_memory_tree *tree, struct vdb_rng *rng)
{
    hold_all(tree);
    for (struct vdb_memory_node *node = tree->first; node != NULL; node = node->next) {
        node->place = NULL;
        for (size_t i = 0; i < node->slot_count; i++) {
            set_ref(tree, &node->slots[i]->seen, node->slots[i]->durable);
        }
        sweep_slots(node);
    }
    for (struct vdb_memory_node *node = tree->first; node != NULL; node = node->next) {
        for (size_t i = 0; i < node->slot_count; i++) {
            if (node->slots[i]->seen->is_dir) {
                node->slots[i]->seen->place = node->slots[i];
            }
        }
        vdb_memory_image_crash(&node->image, rng);
    }
    release_all(tree);
}

/* The end of a power cut, when what survives is marked `kept`. */
static void crash_kept(struct vdb_memory_tree *tree, struct vdb_rng *rng)
{
    apply_kept(tree);
    for (size_t i = 0; i < tree->change_count; i++) {
        destroy_change(tree, tree->changes[i]);
    }
    tree->change_count = 0;
    show_durable(tree, rng);
}

void vdb_memory_tree_crash(struct vdb_memory_tree *tree, struct vdb_rng *rng)
{
    choose_changes(tree, rng);
    crash_kept(tree, rng);
}

void vdb_memory_tree_crash_set(struct vdb_memory_tree *tree, uint64_t set)
{
    for (size_t i = 0; i < tree->change_count; i++) {
        tree->changes[i]->kept = (set >> i & 1) != 0;
    }
    crash_kept(tree, NULL);
}

/* Adds the legal sets that have `set` up to change i and any of the changes from there on. Never a dead end: to
 * keep none of the rest is always legal. */
static size_t list_sets_from(const uint64_t *needs, size_t change_count, size_t i, uint64_t set, uint64_t *sets,
                             size_t sets_max, size_t count)
{
    if (count == SIZE_MAX || i == change_count) {
        if (count >= sets_max) {
            return SIZE_MAX;
        }
        sets[count] = set;
        return count + 1;
    }
    count = list_sets_from(needs, change_count, i + 1, set, sets, sets_max, count);
    if ((needs[i] & ~set) == 0) {
        count = list_sets_from(needs, change_count, i + 1, set | (uint64_t)1 << i, sets, sets_max, count);
    }
    return count;
}

size_t vdb_memory_tree_list_sets(const struct vdb_memory_tree *tree, uint64_t *sets, size_t sets_max)
{
    uint64_t needs[VDB_MEMORY_SET_CHANGES_MAX] = {0};
    if (tree->change_count > VDB_MEMORY_SET_CHANGES_MAX) {
        return SIZE_MAX;
    }
    for (size_t i = 0; i < tree->change_count; i++) {
        const struct vdb_memory_change *change = tree->changes[i];
        for (size_t before = 0; before < i; before++) {
            for (size_t j = 0; j < change->after_count; j++) {
                if (change->after[j] == tree->changes[before]->number) {
                    needs[i] |= (uint64_t)1 << before;
                }
            }
        }
    }
    return list_sets_from(needs, tree->change_count, 0, 0, sets, sets_max, 0);
}

void vdb_memory_tree_mark_named(struct vdb_memory_tree *tree, uint64_t set)
{
    for (struct vdb_memory_node *node = tree->first; node != NULL; node = node->next) {
        node->is_named = false;
        for (size_t i = 0; i < node->slot_count; i++) {
            node->slots[i]->probe = node->slots[i]->durable;
        }
    }
    for (size_t i = 0; i < tree->change_count; i++) {
        const struct vdb_memory_change *change = tree->changes[i];
        for (size_t j = 0; (set >> i & 1) != 0 && j < SETS_MAX && change->sets[j].slot != NULL; j++) {
            change->sets[j].slot->probe = change->sets[j].value;
        }
    }
    for (struct vdb_memory_node *node = tree->first; node != NULL; node = node->next) {
        for (size_t i = 0; i < node->slot_count; i++) {
            if (node->slots[i]->probe != NULL) {
                node->slots[i]->probe->is_named = true;
            }
        }
    }
}

static bool clone_slots(const struct vdb_memory_node *from, struct vdb_memory_tree *to_tree)
{
    struct vdb_memory_node *to = from->copy;
    if (from->slot_count == 0) {
        return true;
    }
    if (!vdb_realloc_array((void **)&to->slots, from->slot_count, sizeof(struct vdb_memory_slot *))) {
        return false;
    }
    to->slot_capacity = from->slot_count;
    for (size_t i = 0; i < from->slot_count; i++) {
        struct vdb_memory_slot *slot = from->slots[i];
        size_t name_bytes = strlen(slot->name) + 1;
        struct vdb_memory_slot *copy = calloc(1, sizeof *copy + name_bytes);
        if (copy == NULL) {
            return false;
        }
        slot->copy = copy;
        copy->dir = to;
        copy->last_change = slot->last_change;
        memcpy(copy->name, slot->name, name_bytes);
        set_ref(to_tree, &copy->seen, slot->seen != NULL ? slot->seen->copy : NULL);
        set_ref(to_tree, &copy->durable, slot->durable != NULL ? slot->durable->copy : NULL);
        to->slots[to->slot_count++] = copy;
    }
    return true;
}

static bool clone_change(const struct vdb_memory_change *from, struct vdb_memory_tree *to)
{
    size_t after_bytes = from->after_count * sizeof from->after[0];
    struct vdb_memory_change *change = calloc(1, sizeof *change + after_bytes);
    if (change == NULL) {
        return false;
    }
    change->number = from->number;
    change->after_count = from->after_count;
    memcpy(change->after, from->after, after_bytes);
    for (size_t i = 0; i < SETS_MAX && from->sets[i].slot != NULL; i++) {
        struct vdb_memory_slot *slot = from->sets[i].slot->copy;
        change->sets[i].slot = slot;
        slot->change_count++;
        vdb_memory_node_ref(slot->dir);
        set_ref(to, &change->sets[i].value, from->sets[i].value != NULL ? from->sets[i].value->copy : NULL);
    }
    to->changes[to->change_count++] = change;
    return true;
}

static bool clone_all(struct vdb_memory_tree *from, struct vdb_memory_tree *to)
{
    /* Every node is held from here on, until all that refers to it is there. */
    for (struct vdb_memory_node *node = from->first; node != NULL; node = node->next) {
        node->copy = create_node(to, node->is_dir);
        if (node->copy == NULL) {
            return false;
        }
        vdb_memory_node_ref(node->copy);
        if (!vdb_memory_image_clone(&node->image, &node->copy->image)) {
            return false;
        }
    }
    to->root = from->root->copy;
    vdb_memory_node_ref(to->root);
    for (const struct vdb_memory_node *node = from->first; node != NULL; node = node->next) {
        if (!clone_slots(node, to)) {
            return false;
        }
    }
    for (const struct vdb_memory_node *node = from->first; node != NULL; node = node->next) {
        node->copy->place = node->place != NULL ? node->place->copy : NULL;
    }
    to->change_number = from->change_number;
    if (from->change_count > 0) {
        if (!vdb_realloc_array((void **)&to->changes, from->change_count, sizeof(struct vdb_memory_change *))) {
            return false;
        }
        to->change_capacity = from->change_count;
    }
    for (size_t i = 0; i < from->change_count; i++) {
        if (!clone_change(from->changes[i], to)) {
            return false;
        }
    }
    return true;
}

bool vdb_memory_tree_clone(struct vdb_memory_tree *from, struct vdb_memory_tree *to)
{
    bool done = clone_all(from, to);
    release_all(to); /* takes along what only a handle held */
    if (!done) {
        vdb_memory_tree_fini(to);
    }
    return done;
}
