/* state_text.h: whole states of the in-memory env as texts, sets of these, and small files to make states of.
 *
 * "d/ d/f=5a3. " is a file of five 'a' and three zeros in a directory. Include after <cmocka.h>.
 */
#ifndef VDB_TESTS_UNIT_ENV_STATE_TEXT_H
#define VDB_TESTS_UNIT_ENV_STATE_TEXT_H

#include "base/bytes.h"
#include "unit/env/memory_world.h"

struct names {
    size_t count;
    char names[64][16];
    bool is_dir[64];
};

static inline vdb_status note_name(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    (void)err;
    struct names *names = ctx;
    assert_true(names->count < 64 && strlen(name) < 15);
    size_t i = names->count++;
    for (; i > 0 && strcmp(names->names[i - 1], name) > 0; i--) {
        strcpy(names->names[i], names->names[i - 1]);
        names->is_dir[i] = names->is_dir[i - 1];
    }
    strcpy(names->names[i], name);
    names->is_dir[i] = kind == VDB_KIND_DIR;
    return VDB_OK;
}

static inline void describe(struct vdb_env *env, const char *dir, struct vdb_buf *out)
{
    struct names names = {0};
    must(env->ops->list(env, dir, note_name, &names, NULL));
    for (size_t i = 0; i < names.count; i++) {
        char path[VDB_LIMIT_PATH_BYTES_MAX];
        must(vdb_path_join(path, sizeof path, dir, names.names[i], NULL));
        vdb_buf_put_text(out, path + 1);
        if (names.is_dir[i]) {
            vdb_buf_put_text(out, "/ ");
            describe(env, path, out);
            continue;
        }
        uint8_t *data;
        size_t bytes;
        must(vdb_env_read_file(env, path, 1 << 20, &data, &bytes, NULL));
        vdb_buf_put_text(out, "=");
        for (size_t at_byte = 0, run; at_byte < bytes; at_byte += run) {
            for (run = 1; at_byte + run < bytes && data[at_byte + run] == data[at_byte]; run++) {
            }
            vdb_buf_printf(out, "%zu%c", run, data[at_byte] == 0 ? '.' : data[at_byte]);
        }
        vdb_buf_put_text(out, " ");
        free(data);
    }
}

static inline char *state_text(struct vdb_env *env)
{
    struct vdb_buf out = {0};
    describe(env, "/", &out);
    vdb_buf_put_u8(&out, 0);
    assert_false(out.failed);
    return (char *)out.data;
}

struct texts {
    size_t count;
    char *texts[4096];
};

/* Takes ownership of text. */
static inline void add_text(struct texts *set, char *text)
{
    for (size_t i = 0; i < set->count; i++) {
        if (strcmp(set->texts[i], text) == 0) {
            free(text);
            return;
        }
    }
    assert_true(set->count < 4096);
    set->texts[set->count++] = text;
}

static inline bool has_text(const struct texts *set, const char *text)
{
    for (size_t i = 0; i < set->count; i++) {
        if (strcmp(set->texts[i], text) == 0) {
            return true;
        }
    }
    return false;
}

static inline void free_texts(struct texts *set)
{
    for (size_t i = 0; i < set->count; i++) {
        free(set->texts[i]);
    }
    set->count = 0;
}

static inline void expect_within(const char *label, const struct texts *part, const struct texts *whole,
                                 const char *how)
{
    for (size_t i = 0; i < part->count; i++) {
        if (!has_text(whole, part->texts[i])) {
            fail_msg("%s: \"%s\" %s", label, part->texts[i], how);
        }
    }
}

static inline struct vdb_env *clone_env(struct vdb_env *env)
{
    struct vdb_env *copy = vdb_env_memory_clone(env);
    assert_non_null(copy);
    return copy;
}

static inline void walk(struct vdb_env *env, struct texts *set)
{
    uint64_t choices = vdb_env_memory_crash_choices(env);
    assert_true(choices < 100000);
    for (uint64_t i = 0; i < choices; i++) {
        struct vdb_env *copy = clone_env(env);
        vdb_env_memory_crash_choice(copy, i);
        add_text(set, state_text(copy));
        vdb_env_memory_destroy(copy);
    }
}

static inline void try_seeds(struct vdb_env *env, uint64_t seeds, struct texts *set)
{
    for (uint64_t seed = 0; seed < seeds; seed++) {
        struct vdb_env *copy = clone_env(env);
        vdb_env_memory_crash(copy, seed);
        add_text(set, state_text(copy));
        vdb_env_memory_destroy(copy);
    }
}

static inline void fill(struct vdb_env *env, const char *path, char letter, size_t offset, size_t bytes,
                        bool sync)
{
    char data[3 * PAGE + 1];
    struct vdb_file *file;
    assert_true(bytes <= sizeof data);
    memset(data, letter, sizeof data);
    must(env->ops->open(env, path, CREATE, &file, NULL));
    must(env->ops->write_at(env, file, data, bytes, offset, NULL));
    if (sync) {
        must(env->ops->sync(env, file, NULL));
    }
    env->ops->close(env, file);
}

static inline void cut_to(struct vdb_env *env, const char *path, uint64_t bytes)
{
    struct vdb_file *file;
    must(env->ops->open(env, path, VDB_OPEN_WRITE, &file, NULL));
    must(env->ops->truncate(env, file, bytes, NULL));
    env->ops->close(env, file);
}

static inline void settle(struct vdb_env *env, size_t bytes)
{
    fill(env, "f", 'a', 0, bytes, true);
    must(env->ops->sync_dir(env, "/", NULL));
}

#endif
