/* env_world.h: what the env tests share: a fresh empty directory in the posix env or the in-memory one, and short
 * words for the common steps. ON_BOTH(test) enters a test for both.
 *
 * Include after <cmocka.h>. Paths given to the helpers are relative to the fresh directory.
 */
#ifndef VDB_TESTS_UNIT_ENV_ENV_WORLD_H
#define VDB_TESTS_UNIT_ENV_ENV_WORLD_H

#include "base/limits.h"
#include "env/env.h"
#include "env/env_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* clang-format off */
#define ON_POSIX(test)  {#test "/posix", test, setup_posix, teardown, NULL}
#define ON_MEMORY(test) {#test "/memory", test, setup_memory, teardown, NULL}
/* clang-format on */
#define ON_BOTH(test) ON_POSIX(test), ON_MEMORY(test)

struct world {
    struct vdb_env *env;
    bool is_posix;
    char root[256];
    struct vdb_err err;
};

enum { CREATE = VDB_OPEN_WRITE | VDB_OPEN_CREATE };

static inline int setup_memory(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->env = vdb_env_memory_create();
    assert_non_null(w->env);
    snprintf(w->root, sizeof w->root, "root");
    assert_int_equal(w->env->ops->mkdir(w->env, w->root, &w->err), VDB_OK);
    *state = w;
    return 0;
}

static inline int setup_posix(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->env = vdb_env_posix();
    w->is_posix = true;
    const char *parent = getenv("TMPDIR");
    snprintf(w->root, sizeof w->root, "%s/vecdb_env_XXXXXX", parent != NULL ? parent : "/tmp");
    assert_non_null(mkdtemp(w->root));
    *state = w;
    return 0;
}

/* What a test leaves must go, and be gone. */
static inline int teardown(void **state)
{
    struct world *w = *state;
    assert_int_equal(vdb_env_remove_tree(w->env, w->root, &w->err), VDB_OK);
    vdb_file_kind kind;
    uint64_t bytes;
    assert_int_equal(w->env->ops->stat(w->env, w->root, &kind, &bytes, &w->err), VDB_NOT_FOUND);
    if (!w->is_posix) {
        vdb_env_memory_destroy(w->env);
    }
    free(w);
    return 0;
}

/* root/name, in one of a few buffers that take turns. */
static inline const char *at(const struct world *w, const char *name)
{
    static char buffers[4][VDB_LIMIT_PATH_BYTES_MAX];
    static unsigned turn;
    char *out = buffers[turn++ % 4];
    assert_int_equal(vdb_path_join(out, VDB_LIMIT_PATH_BYTES_MAX, w->root, name, NULL), VDB_OK);
    return out;
}

static inline struct vdb_file *open_ok(struct world *w, const char *name, unsigned flags)
{
    struct vdb_file *file = NULL;
    vdb_status status = w->env->ops->open(w->env, at(w, name), flags, &file, &w->err);
    if (status != VDB_OK) {
        fail_msg("%s", w->err.text);
    }
    assert_non_null(file);
    return file;
}

static inline vdb_status open_status(struct world *w, const char *name, unsigned flags)
{
    struct vdb_file *file = (struct vdb_file *)w; /* must be overwritten with NULL */
    vdb_status status = w->env->ops->open(w->env, at(w, name), flags, &file, &w->err);
    if (status == VDB_OK) {
        w->env->ops->close(w->env, file);
    } else {
        assert_null(file);
        assert_int_equal(w->err.status, status);
        assert_int_equal(strncmp(w->err.text, "open \"", 6), 0);
    }
    return status;
}

static inline void put_file(struct world *w, const char *name, const char *text)
{
    struct vdb_file *file = open_ok(w, name, CREATE | VDB_OPEN_TRUNCATE);
    assert_int_equal(w->env->ops->write_at(w->env, file, text, strlen(text), 0, &w->err), VDB_OK);
    w->env->ops->close(w->env, file);
}

static inline void expect_file(struct world *w, const char *name, const char *text)
{
    uint8_t *data;
    size_t bytes;
    assert_int_equal(vdb_env_read_file(w->env, at(w, name), 1 << 20, &data, &bytes, &w->err), VDB_OK);
    assert_int_equal(bytes, strlen(text));
    assert_string_equal((char *)data, text);
    free(data);
}

static inline vdb_status make_dir(struct world *w, const char *name)
{
    return w->env->ops->mkdir(w->env, at(w, name), &w->err);
}

static inline vdb_status rename_status(struct world *w, const char *from, const char *to)
{
    return w->env->ops->rename(w->env, at(w, from), at(w, to), &w->err);
}

/* What is there: 'f', 'd', 'o' or '-' for nothing. */
static inline char kind_at(struct world *w, const char *name)
{
    vdb_file_kind kind;
    uint64_t bytes;
    vdb_status status = w->env->ops->stat(w->env, at(w, name), &kind, &bytes, &w->err);
    if (status == VDB_NOT_FOUND) {
        return '-';
    }
    assert_int_equal(status, VDB_OK);
    return kind == VDB_KIND_FILE ? 'f' : kind == VDB_KIND_DIR ? 'd' : 'o';
}

static inline void expect_text(struct world *w, const char *format, const char *path, const char *reason)
{
    char text[VDB_ERR_TEXT_BYTES];
    snprintf(text, sizeof text, "%s \"%s\": %s", format, path, reason);
    assert_string_equal(w->err.text, text);
}

#endif
