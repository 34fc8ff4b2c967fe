/* memory_world.h: short words for tests of the in-memory env. Include after <cmocka.h>. */
#ifndef VDB_TESTS_UNIT_ENV_MEMORY_WORLD_H
#define VDB_TESTS_UNIT_ENV_MEMORY_WORLD_H

#include "env/memory_image.h"
#include "unit/env/env_world.h"

enum { SECTOR = VDB_MEMORY_SECTOR_BYTES, PAGE = VDB_MEMORY_PAGE_BYTES };

static inline void must(vdb_status status)
{
    assert_int_equal(status, VDB_OK);
}

static inline struct vdb_env *create_env(void)
{
    struct vdb_env *env = vdb_env_memory_create();
    assert_non_null(env);
    return env;
}

static inline void put(struct vdb_env *env, const char *path, const char *text, bool sync)
{
    struct vdb_file *file;
    must(env->ops->open(env, path, CREATE, &file, NULL));
    must(env->ops->write_at(env, file, text, strlen(text), 0, NULL));
    if (sync) {
        must(env->ops->sync(env, file, NULL));
    }
    env->ops->close(env, file);
}

/* The content as text, "-" when there is no such file; a static buffer. */
static inline const char *text_of(struct vdb_env *env, const char *path)
{
    static char text[4096];
    uint8_t *data;
    size_t bytes;
    vdb_status status = vdb_env_read_file(env, path, sizeof text - 1, &data, &bytes, NULL);
    if (status == VDB_NOT_FOUND) {
        return "-";
    }
    must(status);
    memcpy(text, data, bytes + 1);
    free(data);
    return text;
}

static inline bool is_there(struct vdb_env *env, const char *path)
{
    vdb_file_kind kind;
    uint64_t bytes;
    return env->ops->stat(env, path, &kind, &bytes, NULL) == VDB_OK;
}

#endif
