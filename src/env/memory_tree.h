/* memory_tree.h: the directories of the in-memory file system, as they are seen and as a power cut would leave
 * them.
 *
 * Every name of a directory is a slot holding two things: the node that is seen there and the one that is durable
 * there. A creation, removal or rename changes the seen side at once and is remembered as a pending change;
 * sync_dir carries the pending changes of one directory over. A power cut keeps a set of the pending changes, in
 * their order, that is closed under "comes after":
 *
 *   T1  A change comes after every pending change of a name that it touches itself. A rename touches two names
 *       and is one change: its node is at the old name or at the new one, never at both, never at neither, and
 *       what it replaces is there until then (E4).
 *   T2  A rename into another directory also comes after the pending changes that put that directory and those
 *       above it where they are: a file is never moved into a directory that is not there.
 *   T3  The removal of a directory (or its replacement by a rename) also comes after all pending changes inside
 *       it: what was moved out of it has arrived.
 *
 * Nothing else is ordered: names in one directory become durable in any order, a name says nothing about the
 * content of its file, a directory nothing about the names in it. Where journalling file systems keep more than
 * this, the caller shall not rely on it. Where T1 to T3 keep more than POSIX promises (after sync_dir of one of
 * the two directories of a rename both halves are durable), it is what every journalling file system does.
 *
 * A file may have several names (vdb_memory_tree_link). Its content belongs to the node, not to a name.
 *
 * Functions return 0 or an error number (ENOENT, ENOTDIR, ...) as Linux would. Threads: confined (the env's
 * mutex).
 */
#ifndef VDB_ENV_MEMORY_TREE_H
#define VDB_ENV_MEMORY_TREE_H

#include "memory_image.h"

struct vdb_memory_slot;

struct vdb_memory_node {
    struct vdb_memory_node *prev; /* all nodes, in the order of their creation */
    struct vdb_memory_node *next;
    size_t refs;      /* from slots (one per side), pending changes, handles and locks */
    size_t map_count; /* files: mapped so many times now */
    bool is_dir;
    struct vdb_memory_image image;  /* files */
    struct vdb_memory_slot **slots; /* directories */
    size_t slot_count;
    size_t slot_capacity;
    struct vdb_memory_slot *place; /* directories: where it is seen; NULL for the root and for removed ones */
    struct vdb_memory_node *copy;  /* scratch of vdb_memory_tree_clone */
    bool is_named;                 /* result of vdb_memory_tree_mark_named */
};

struct vdb_memory_slot {
    struct vdb_memory_node *dir;     /* the owner */
    struct vdb_memory_node *seen;    /* NULL: no such name */
    struct vdb_memory_node *durable; /* the same after a power cut */
    uint64_t last_change;            /* number of the latest change that touched it; 0: none yet */
    size_t change_count;             /* pending changes that touch it */
    struct vdb_memory_slot *copy;    /* scratch of vdb_memory_tree_clone */
    struct vdb_memory_node *probe;   /* scratch of vdb_memory_tree_mark_named */
    char name[];
};

struct vdb_memory_change; /* a pending creation, removal or rename */

/* Zero-initialise, then init. */
struct vdb_memory_tree {
    struct vdb_memory_node *root;
    struct vdb_memory_node *first;
    struct vdb_memory_node *last;
    struct vdb_memory_change **changes; /* pending, in their order */
    size_t change_count;
    size_t change_capacity;
    uint64_t change_number; /* of the latest */
};

bool vdb_memory_tree_init(struct vdb_memory_tree *tree); /* false when memory is short */
void vdb_memory_tree_fini(struct vdb_memory_tree *tree); /* after the last handle's unref */

void vdb_memory_node_ref(struct vdb_memory_node *node);
void vdb_memory_node_unref(struct vdb_memory_tree *tree, struct vdb_memory_node *node);

/* *out is borrowed. Relative and absolute paths both start at the root. */
int vdb_memory_tree_find(struct vdb_memory_tree *tree, const char *path, struct vdb_memory_node **out);

/* An empty file or directory under a new name; EEXIST when the name is there. *out is borrowed. */
int vdb_memory_tree_create(struct vdb_memory_tree *tree, const char *path, bool is_dir,
                           struct vdb_memory_node **out);

/* unlink (is_dir false) or rmdir. */
int vdb_memory_tree_remove(struct vdb_memory_tree *tree, const char *path, bool is_dir);

int vdb_memory_tree_rename(struct vdb_memory_tree *tree, const char *from, const char *to);

/* A second name for a file. Its change comes after nothing but T1: the old name and the new one become durable, and
 * go, each by itself. */
int vdb_memory_tree_link(struct vdb_memory_tree *tree, const char *from, const char *to);

/* Makes durable what is pending in dir, with all that it comes after. */
void vdb_memory_tree_sync_dir(struct vdb_memory_tree *tree, struct vdb_memory_node *dir);

/* A power cut: names and files. rng NULL drops all that is pending. The handles' references are gone by now. */
void vdb_memory_tree_crash(struct vdb_memory_tree *tree, struct vdb_rng *rng);

/* Makes *to, which is zero-initialised, the same as from, without the references that handles hold; false when memory
 * is short (*to is zero-initialised again). */
bool vdb_memory_tree_clone(struct vdb_memory_tree *from, struct vdb_memory_tree *to);

/* For the walk over all outcomes (memory_choice.h): a set of pending changes as bits, bit i for changes[i], of at
 * most 64. */
enum { VDB_MEMORY_SET_CHANGES_MAX = 64 };

/* The sets that a power cut may keep, by T1 to T3: the empty one first, all changes last. Returns how many there
 * are, or SIZE_MAX when there are more than sets_max or more than VDB_MEMORY_SET_CHANGES_MAX changes. */
size_t vdb_memory_tree_list_sets(const struct vdb_memory_tree *tree, uint64_t *sets, size_t sets_max);

/* Sets is_named of every node: whether it would have a name after a power cut that keeps that set. */
void vdb_memory_tree_mark_named(struct vdb_memory_tree *tree, uint64_t set);

/* A power cut that keeps that set of the names' changes, and of what is pending in files nothing. */
void vdb_memory_tree_crash_set(struct vdb_memory_tree *tree, uint64_t set);

#endif
