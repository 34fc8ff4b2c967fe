/* test_env_power.c: what one power cut may leave, against lists made by hand.
 *
 * Where a power cut has a choice, the tests list all outcomes that are legal, run many seeds, and want to see each of
 * these and no other. Random histories are in test_env_crash.c, the walk over all outcomes in test_env_choices.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/env/memory_world.h"

enum { SEEDS = 400 };

/* Contents: every image that the rules allow, by plain enumeration, against what the seeds give.
 *
 * Durable are three sectors of 'a'. Then, unsynced: bytes 256 to 1279 become 'b' (pieces in three sectors), the
 * file is cut to 700 bytes, and bytes 1000 to 1699 become 'c' (pieces in three sectors, past the end). */
struct image {
    size_t bytes;
    char data[4 * SECTOR];
};

struct image_set {
    size_t count;
    struct image images[1024];
    bool reached[1024];
};

struct step {
    size_t offset, bytes; /* of a truncation (fill 0): the new size, 0 */
    char fill;
};

static const struct step history[] = {{256, 1024, 'b'}, {700, 0, 0}, {1000, 700, 'c'}};
enum { HISTORY_COUNT = sizeof history / sizeof history[0] };

static size_t find_image(const struct image_set *set, const struct image *image)
{
    size_t i = 0;
    while (i < set->count && (set->images[i].bytes != image->bytes ||
                              memcmp(set->images[i].data, image->data, image->bytes) != 0)) {
        i++;
    }
    return i;
}

/* Adds all outcomes of the steps from `step` on, from the image `from` (zero past its size). */
static void enumerate(struct image_set *set, struct image from, size_t step)
{
    if (step == HISTORY_COUNT) {
        if (find_image(set, &from) == set->count) {
            assert_true(set->count < sizeof set->images / sizeof set->images[0]);
            set->images[set->count++] = from;
        }
        return;
    }
    const struct step *s = &history[step];
    if (s->fill == 0) {
        enumerate(set, from, step + 1);
        for (size_t i = s->offset; i < from.bytes; i++) {
            from.data[i] = 0;
        }
        from.bytes = s->offset;
        enumerate(set, from, step + 1);
        return;
    }
    size_t end = s->offset + s->bytes;
    size_t first_sector = s->offset / SECTOR;
    size_t sectors = (end - 1) / SECTOR - first_sector + 1;
    for (size_t kept = 0; kept < (size_t)1 << sectors; kept++) {
        for (int with_size = 0; with_size < 2; with_size++) {
            struct image image = from;
            for (size_t i = s->offset; i < end; i++) {
                if ((kept >> (i / SECTOR - first_sector) & 1) != 0) {
                    image.data[i] = s->fill;
                    image.bytes = i + 1 > image.bytes ? i + 1 : image.bytes;
                }
            }
            image.bytes = with_size != 0 && end > image.bytes ? end : image.bytes;
            enumerate(set, image, step + 1);
        }
    }
}

static void run_history(struct vdb_env *env)
{
    char data[4 * SECTOR];
    struct vdb_file *file;
    must(env->ops->open(env, "f", CREATE | VDB_OPEN_TRUNCATE, &file, NULL));
    memset(data, 'a', sizeof data);
    must(env->ops->write_at(env, file, data, 3 * SECTOR, 0, NULL));
    must(env->ops->sync(env, file, NULL));
    must(env->ops->sync_dir(env, "/", NULL));
    for (size_t i = 0; i < HISTORY_COUNT; i++) {
        memset(data, history[i].fill, sizeof data);
        if (history[i].fill == 0) {
            must(env->ops->truncate(env, file, history[i].offset, NULL));
        } else {
            must(env->ops->write_at(env, file, data, history[i].bytes, history[i].offset, NULL));
        }
    }
    env->ops->close(env, file);
}

static void test_every_surviving_image_is_legal(void **state)
{
    (void)state;
    static struct image_set set;
    struct image base = {.bytes = 3 * SECTOR};
    memset(base.data, 'a', base.bytes);
    set.count = 0;
    enumerate(&set, base, 0);
    struct vdb_env *env = create_env();
    for (uint64_t seed = 0; seed < 40000; seed++) {
        struct image image = {0};
        struct vdb_file *file;
        run_history(env);
        vdb_env_memory_crash(env, seed);
        must(env->ops->open(env, "f", VDB_OPEN_READ, &file, NULL));
        must(env->ops->read_at(env, file, image.data, sizeof image.data, 0, &image.bytes, NULL));
        env->ops->close(env, file);
        size_t found = find_image(&set, &image);
        if (found == set.count) {
            fail_msg("seed %llu leaves %zu bytes that no choice allows", (unsigned long long)seed, image.bytes);
        }
        set.reached[found] = true;
        if (seed == 0) {
            assert_int_equal(found, find_image(&set, &base));
        }
    }
    size_t reached = 0;
    for (size_t i = 0; i < set.count; i++) {
        reached += set.reached[i];
    }
    print_message("%zu legal images, %zu reached\n", set.count, reached);
    assert_true(set.count > 50);
    assert_int_equal(reached, set.count);
    vdb_env_memory_destroy(env);
}

/* Names: a history's outcomes as short texts; each seed must give one of the legal ones, and each must come. */
struct scene {
    const char *label;
    void (*before)(struct vdb_env *env); /* made durable */
    void (*after)(struct vdb_env *env);  /* pending at the power cut */
    void (*describe)(struct vdb_env *env, char out[static 64]);
    const char *legal[8];
};

static void run_scene(const struct scene *scene)
{
    bool reached[8] = {false};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct vdb_env *env = create_env();
        scene->before(env);
        scene->after(env);
        vdb_env_memory_crash(env, seed);
        char found[64];
        scene->describe(env, found);
        vdb_env_memory_destroy(env);
        size_t i = 0;
        while (scene->legal[i] != NULL && strcmp(scene->legal[i], found) != 0) {
            i++;
        }
        if (scene->legal[i] == NULL) {
            fail_msg("%s: seed %llu leaves \"%s\"", scene->label, (unsigned long long)seed, found);
        }
        reached[i] = true;
    }
    for (size_t i = 0; scene->legal[i] != NULL; i++) {
        if (!reached[i]) {
            fail_msg("%s: \"%s\" never came", scene->label, scene->legal[i]);
        }
    }
}

/* Which of these paths are there, in a row. */
static void describe_paths(struct vdb_env *env, char *out, const char *const *paths)
{
    out[0] = '\0';
    for (; *paths != NULL; paths++) {
        if (is_there(env, *paths)) {
            strcat(strcat(out, out[0] == '\0' ? "" : " "), *paths);
        }
    }
}

static void before_manifest(struct vdb_env *env)
{
    must(vdb_env_replace_file(env, "M", "old", 3, NULL));
}
static void rename_manifest(struct vdb_env *env)
{
    put(env, "M.tmp", "new", true);
    must(env->ops->rename(env, "M.tmp", "M", NULL));
}
static void rename_manifest_unsynced(struct vdb_env *env)
{
    put(env, "M.tmp", "new", false);
    must(env->ops->rename(env, "M.tmp", "M", NULL));
    must(env->ops->sync_dir(env, "/", NULL));
}
static void describe_manifest(struct vdb_env *env, char out[static 64])
{
    const char *text = text_of(env, "M");
    size_t used = (size_t)snprintf(out, 64, "%s", memcmp(text, "\0\0\0", 4) == 0 ? "zeros" : text);
    snprintf(out + used, 64 - used, "/%s", text_of(env, "M.tmp"));
}

static void before_nothing(struct vdb_env *env)
{
    (void)env;
}
static void create_two(struct vdb_env *env)
{
    put(env, "x", "", false);
    put(env, "y", "", false);
}
static void describe_xy(struct vdb_env *env, char out[static 64])
{
    describe_paths(env, out, (const char *const[]){"x", "y", NULL});
}

static void before_move(struct vdb_env *env)
{
    must(vdb_env_mkdirs(env, "d", NULL));
    must(vdb_env_replace_file(env, "d/f", "f", 1, NULL));
}
static void move_to_new_dir(struct vdb_env *env)
{
    must(env->ops->mkdir(env, "e", NULL));
    must(env->ops->rename(env, "d/f", "e/f", NULL));
}
static void move_two_new_dirs_down(struct vdb_env *env)
{
    must(env->ops->mkdir(env, "e", NULL));
    must(env->ops->mkdir(env, "e/g", NULL));
    must(env->ops->rename(env, "d/f", "e/g/f", NULL));
}
static void move_out_and_rmdir(struct vdb_env *env)
{
    must(env->ops->rename(env, "d/f", "f", NULL));
    must(env->ops->rmdir(env, "d", NULL));
}
static void move_out_and_replace_dir(struct vdb_env *env)
{
    must(env->ops->rename(env, "d/f", "f", NULL));
    must(env->ops->mkdir(env, "e", NULL));
    must(env->ops->rename(env, "e", "d", NULL));
}
static void move_twice(struct vdb_env *env)
{
    must(env->ops->rename(env, "d/f", "f", NULL));
    must(env->ops->rename(env, "f", "e", NULL));
}
static void move_and_sync_source(struct vdb_env *env)
{
    must(env->ops->rename(env, "d/f", "f", NULL));
    must(env->ops->sync_dir(env, "d", NULL));
}
static void create_remove_create(struct vdb_env *env)
{
    must(env->ops->unlink(env, "d/f", NULL));
    put(env, "d/f", "2", true);
}
static void describe_move(struct vdb_env *env, char out[static 64])
{
    describe_paths(env, out, (const char *const[]){"d", "d/f", "e", "e/f", "e/g", "e/g/f", "f", NULL});
}
static void before_x(struct vdb_env *env)
{
    put(env, "x", "old", true);
    must(env->ops->sync_dir(env, "/", NULL));
}
static void link_only(struct vdb_env *env)
{
    must(env->ops->link(env, "x", "y", NULL));
}
static void link_and_sync(struct vdb_env *env)
{
    must(env->ops->link(env, "x", "y", NULL));
    must(env->ops->sync_dir(env, "/", NULL));
}
static void link_and_unlink(struct vdb_env *env)
{
    must(env->ops->link(env, "x", "y", NULL));
    must(env->ops->unlink(env, "x", NULL));
}
static void link_sync_unlink(struct vdb_env *env)
{
    link_and_sync(env);
    must(env->ops->unlink(env, "x", NULL));
}
static void link_to_dir_sync_there(struct vdb_env *env)
{
    must(vdb_env_mkdirs(env, "d", NULL));
    must(env->ops->link(env, "x", "d/f", NULL));
    must(env->ops->sync_dir(env, "d", NULL));
    must(env->ops->unlink(env, "x", NULL));
}
static void link_to_dir_sync_here(struct vdb_env *env)
{
    must(vdb_env_mkdirs(env, "d", NULL));
    must(env->ops->link(env, "x", "d/f", NULL));
    must(env->ops->sync_dir(env, "/", NULL));
}
static void link_new_file(struct vdb_env *env)
{
    put(env, "n", "new", true);
    must(env->ops->link(env, "n", "y", NULL));
    must(env->ops->rename(env, "n", "x", NULL));
}
static void link_and_write(struct vdb_env *env)
{
    link_and_sync(env);
    put(env, "y", "new", false);
}
static void describe_link(struct vdb_env *env, char out[static 64])
{
    describe_paths(env, out, (const char *const[]){"d", "d/f", "x", "y", NULL});
}
static void describe_link_content(struct vdb_env *env, char out[static 64])
{
    size_t used = (size_t)snprintf(out, 64, "%.20s/", text_of(env, "x"));
    snprintf(out + used, 64 - used, "%.20s", text_of(env, "y"));
}

static void describe_d_f(struct vdb_env *env, char out[static 64])
{
    snprintf(out, 64, "%.60s", text_of(env, "d/f"));
}

static void test_every_surviving_name_is_legal(void **state)
{
    (void)state;
    static const struct scene scenes[] = {
        /* E4: old or new, whole; the temporary name may be there beside the old. */
        {"replace", before_manifest, rename_manifest, describe_manifest, {"old/-", "old/new", "new/-"}},
        /* The classical fault: the name is durable, the content is not. */
        {"replace without sync",
         before_manifest,
         rename_manifest_unsynced,
         describe_manifest,
         {"new/-", "/-", "zeros/-"}},
        {"two creations", before_nothing, create_two, describe_xy, {"", "x", "y", "x y"}},
        /* T1, T2: at one of the places, never at both, never at neither. */
        {"move to a new directory", before_move, move_to_new_dir, describe_move, {"d d/f", "d d/f e", "d e e/f"}},
        {"move two new directories down",
         before_move,
         move_two_new_dirs_down,
         describe_move,
         {"d d/f", "d d/f e", "d d/f e e/g", "d e e/g e/g/f"}},
        {"move twice", before_move, move_twice, describe_move, {"d d/f", "d f", "d e"}},
        /* T3: the emptied directory goes last. */
        {"move out, rmdir", before_move, move_out_and_rmdir, describe_move, {"d d/f", "d f", "f"}},
        {"move out, replace the directory",
         before_move,
         move_out_and_replace_dir,
         describe_move,
         {"d d/f", "d d/f e", "d f", "d e f"}},
        {"move, sync the source", before_move, move_and_sync_source, describe_move, {"d f"}},
        {"remove and create again", before_move, create_remove_create, describe_d_f, {"f", "-", "2"}},
        /* E6: a name of its own, and the content is the file's. */
        {"link", before_x, link_only, describe_link, {"x", "x y"}},
        {"link, sync", before_x, link_and_sync, describe_link, {"x y"}},
        {"link, unlink the old", before_x, link_and_unlink, describe_link, {"", "x", "y", "x y"}},
        {"link, sync, unlink the old", before_x, link_sync_unlink, describe_link, {"y", "x y"}},
        {"link to a directory, sync it", before_x, link_to_dir_sync_there, describe_link, {"d d/f", "d d/f x"}},
        {"link to a directory, sync this", before_x, link_to_dir_sync_here, describe_link, {"d x", "d d/f x"}},
        {"link a new file, rename it",
         before_x,
         link_new_file,
         describe_link_content,
         {"old/-", "old/new", "new/-", "new/new"}},
        {"link, write through it", before_x, link_and_write, describe_link_content, {"old/old", "new/new"}},
    };
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++) {
        run_scene(&scenes[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_surviving_image_is_legal),
        cmocka_unit_test(test_every_surviving_name_is_legal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
