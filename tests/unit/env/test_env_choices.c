/* test_env_choices.c: the walk over all that a power cut may leave.
 *
 * Where outcomes are few, the walk and the seeds must come to the same set; where they are many, the walk is held
 * against a list made by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/memory_choice.h"
#include "unit/env/state_text.h"

enum { SEEDS = 6000 };

/* ---- Small states ---- */

static void make_nothing(struct vdb_env *env)
{
    settle(env, 10);
}
static void make_append(struct vdb_env *env)
{
    settle(env, 10);
    fill(env, "f", 'b', 10, 100, false);
}
static void make_overwrite(struct vdb_env *env)
{
    settle(env, 100);
    fill(env, "f", 'b', 10, 20, false);
}
static void make_append_over_boundary(struct vdb_env *env)
{
    settle(env, 500);
    fill(env, "f", 'b', 500, 100, false);
}
static void make_overwrite_over_boundary(struct vdb_env *env)
{
    settle(env, 1000);
    fill(env, "f", 'b', 500, 100, false);
}
static void make_whole_sectors(struct vdb_env *env)
{
    settle(env, 4 * SECTOR);
    fill(env, "f", 'b', SECTOR, 2 * SECTOR, false);
}
static void make_two_appends(struct vdb_env *env)
{
    settle(env, 10);
    fill(env, "f", 'b', 10, 20, false);
    fill(env, "f", 'c', 30, 20, false);
}
static void make_three_overwrites(struct vdb_env *env)
{
    settle(env, 100);
    fill(env, "f", 'b', 10, 20, false);
    fill(env, "f", 'c', 20, 20, false);
    fill(env, "f", 'd', 15, 5, false);
}
static void make_cut_and_append(struct vdb_env *env)
{
    settle(env, 100);
    cut_to(env, "f", 40);
    fill(env, "f", 'b', 40, 20, false); /* longer than the file only if the cut survives */
}
static void make_growth_by_truncation(struct vdb_env *env)
{
    settle(env, 10);
    cut_to(env, "f", 700);
}
static void make_new_file(struct vdb_env *env)
{
    settle(env, 10);
    fill(env, "g", 'b', 0, 20, false);
}
static void make_new_file_synced(struct vdb_env *env)
{
    settle(env, 10);
    fill(env, "g", 'b', 0, 20, true);
}
static void make_replacement(struct vdb_env *env)
{
    settle(env, 10);
    fill(env, "f.tmp", 'b', 0, 20, true);
    must(env->ops->rename(env, "f.tmp", "f", NULL));
}
static void make_careless_replacement(struct vdb_env *env)
{
    settle(env, 10);
    fill(env, "f.tmp", 'b', 0, 20, false);
    must(env->ops->rename(env, "f.tmp", "f", NULL));
}
static void make_links(struct vdb_env *env)
{
    settle(env, 10);
    must(env->ops->link(env, "f", "g", NULL));
    must(env->ops->unlink(env, "f", NULL));
}
static void make_write_through_link(struct vdb_env *env)
{
    settle(env, 10);
    must(env->ops->link(env, "f", "g", NULL));
    fill(env, "g", 'b', 0, 5, false);
}
static void make_removed_file(struct vdb_env *env)
{
    settle(env, 10);
    fill(env, "f", 'b', 0, 5, false); /* of no account once the name has gone */
    must(env->ops->unlink(env, "f", NULL));
    must(env->ops->sync_dir(env, "/", NULL));
}
static void make_move_to_new_dir(struct vdb_env *env)
{
    settle(env, 10);
    must(env->ops->mkdir(env, "d", NULL));
    must(env->ops->rename(env, "f", "d/f", NULL));
    must(env->ops->mkdir(env, "e", NULL));
}

/* The number of outcomes by hand, and of different ones; the walk and the seeds come to the same. */
static void test_walk_is_what_seeds_reach(void **state)
{
    (void)state;
    static const struct {
        const char *label;
        void (*make)(struct vdb_env *env);
        uint64_t choices;
        size_t different;
    } cases[] = {
        {"nothing", make_nothing, 1, 1},
        {"append", make_append, 2 + 1, 3}, /* not, whole, size only */
        {"overwrite", make_overwrite, 2, 2},
        {"append over a boundary", make_append_over_boundary, 2 + 4, 6},
        {"overwrite over a boundary", make_overwrite_over_boundary, 2 + 2, 4},
        {"whole sectors", make_whole_sectors, 2 + 2, 4},
        {"two appends", make_two_appends, 4 + 2 * 2,
         7}, /* the second whole, the first not or its size: the same */
        {"three overwrites", make_three_overwrites, 8, 8},
        {"cut and append", make_cut_and_append, 4 + 1 * 2, 5},
        {"growth by truncation", make_growth_by_truncation, 2, 2},
        {"new file", make_new_file, 1 + 3, 4}, /* no name, no content */
        {"new file, synced", make_new_file_synced, 2, 2},
        {"replacement", make_replacement, 3, 3},
        {"careless replacement", make_careless_replacement, 1 + 3 + 3, 7},
        {"links", make_links, 4, 4},
        {"write through a link", make_write_through_link, 2 * 2, 4},
        {"removed file", make_removed_file, 1, 1},
        {"move to a new directory", make_move_to_new_dir, 3 * 2, 6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static struct texts walked, seeded;
        struct vdb_env *env = create_env();
        cases[i].make(env);
        char *before = state_text(env);
        uint64_t choices = vdb_env_memory_crash_choices(env);
        walk(env, &walked);
        try_seeds(env, SEEDS, &seeded);
        expect_within(cases[i].label, &walked, &seeded, "comes by no seed");
        expect_within(cases[i].label, &seeded, &walked, "comes by a seed, not by the walk");
        if (choices != cases[i].choices || walked.count != cases[i].different) {
            fail_msg("%s: %llu choices, %zu different; by hand %llu, %zu", cases[i].label,
                     (unsigned long long)choices, walked.count, (unsigned long long)cases[i].choices,
                     cases[i].different);
        }
        /* Choice 0 is seed 0: all that is unsynced goes. */
        struct vdb_env *a = clone_env(env);
        struct vdb_env *b = clone_env(env);
        vdb_env_memory_crash_choice(a, 0);
        vdb_env_memory_crash(b, 0);
        char *text_a = state_text(a);
        char *text_b = state_text(b);
        assert_string_equal(text_a, text_b);
        /* The copies' power cuts were not ours; all kept is one of the outcomes. */
        char *after = state_text(env);
        assert_string_equal(before, after);
        assert_true(has_text(&walked, after));
        assert_int_equal(vdb_env_memory_crash_choices(env), choices);
        free(before), free(after), free(text_a), free(text_b);
        free_texts(&walked), free_texts(&seeded);
        vdb_env_memory_destroy(a), vdb_env_memory_destroy(b), vdb_env_memory_destroy(env);
    }
}

/* One write of many sectors over old content, by hand: dropped, kept, and at each boundary the first part or the
 * last. From 16 sectors on the boundaries are those of pages, and all in the first and the last page. */
static void expect_tears(size_t offset, size_t bytes, size_t old_bytes, const size_t *boundaries, size_t count)
{
    static struct texts walked, by_hand;
    struct vdb_env *env = create_env();
    size_t end = offset + bytes;
    settle(env, old_bytes);
    fill(env, "f", 'b', offset, bytes, false);
    walk(env, &walked);
    for (size_t i = 0; i <= count; i++) {
        for (int way = 0; way < 3; way++) {
            size_t from = i == count ? offset : way == 1 ? boundaries[i] : offset; /* what of it is kept */
            size_t to = i == count ? (way == 0 ? end : offset) : way == 1 ? end : boundaries[i];
            size_t size = way == 2 && end > old_bytes ? end : from < to && to > old_bytes ? to : old_bytes;
            char letters[4 * PAGE];
            struct vdb_buf out = {0};
            for (size_t at_byte = 0; at_byte < size; at_byte++) {
                letters[at_byte] = (char)(at_byte >= from && at_byte < to ? 'b'
                                          : at_byte < old_bytes           ? 'a'
                                                                          : '.');
            }
            vdb_buf_put_text(&out, "f=");
            for (size_t at_byte = 0, run; at_byte < size; at_byte += run) {
                for (run = 1; at_byte + run < size && letters[at_byte + run] == letters[at_byte]; run++) {
                }
                vdb_buf_printf(&out, "%zu%c", run, letters[at_byte]);
            }
            vdb_buf_put_text(&out, " ");
            vdb_buf_put_u8(&out, 0);
            add_text(&by_hand, (char *)out.data);
        }
    }
    expect_within("walked", &walked, &by_hand, "is not to be");
    expect_within("by hand", &by_hand, &walked, "never came");
    free_texts(&walked), free_texts(&by_hand);
    vdb_env_memory_destroy(env);
}

/* Two writes that can be torn, in two files: one of them torn at most, whatever becomes of the other. */
static void test_one_is_torn_at_a_time(void **state)
{
    (void)state;
    static struct texts walked, seeded;
    struct vdb_env *env = create_env();
    fill(env, "g", 'a', 0, 600, true);
    settle(env, 500);
    fill(env, "f", 'b', 500, 100, false);
    fill(env, "g", 'c', 600, 500, false);
    assert_int_equal(vdb_env_memory_crash_choices(env), 4 + 4 * 2 + 4 * 2);
    walk(env, &walked);
    try_seeds(env, SEEDS, &seeded);
    assert_int_equal(walked.count, 4 + 4 * 2 + 4 * 2);
    assert_true(seeded.count > walked.count && seeded.count <= 6 * 6); /* where both may be torn */
    expect_within("two files", &walked, &seeded, "comes by no seed");
    free_texts(&walked), free_texts(&seeded);
    vdb_env_memory_destroy(env);
}

static void test_tears_of_long_writes(void **state)
{
    (void)state;
    static const size_t few[] = {512, 1024, 1536};
    expect_tears(500, 1100, 2000, few, 3); /* inside */
    expect_tears(500, 1100, 700, few, 3);  /* past the end */
    expect_tears(512, 1536, 2048, few + 1, 2);
    size_t all[64];
    size_t count = 0;
    for (size_t b = SECTOR; b < 16 * SECTOR; b += SECTOR) {
        all[count++] = b;
    }
    expect_tears(0, 16 * SECTOR, PAGE, all, count); /* 16 sectors: all boundaries */
    for (size_t i = 0; i < count; i++) {
        all[i] += SECTOR;
    }
    expect_tears(SECTOR, 16 * SECTOR, PAGE, all, count); /* in three pages */
    count = 0;
    for (size_t b = SECTOR; b < PAGE; b += SECTOR) {
        all[count++] = b;
    }
    all[count++] = PAGE;
    all[count++] = 2 * PAGE;
    for (size_t b = 2 * PAGE + SECTOR; b < 3 * PAGE; b += SECTOR) {
        all[count++] = b;
    }
    expect_tears(0, 3 * PAGE, PAGE, all, count);
    expect_tears(0, 16 * SECTOR + 1, PAGE, all, 9); /* one byte more: pages, and nothing inside the last */
}

static void test_limits(void **state)
{
    (void)state;
    /* As many sets of names as are listed, and twice as many. */
    struct vdb_env *env = create_env();
    for (int i = 0; i < 12; i++) {
        char name[8];
        snprintf(name, sizeof name, "%d", i);
        fill(env, name, 'x', 0, 0, false);
    }
    assert_int_equal(vdb_env_memory_crash_choices(env), VDB_MEMORY_CHOICE_SETS_MAX);
    fill(env, "12", 'x', 0, 0, false);
    assert_true(vdb_env_memory_crash_choices(env) == UINT64_MAX);
    /* Then a choice is a seed. */
    struct vdb_env *copy = clone_env(env);
    vdb_env_memory_crash(env, 77);
    vdb_env_memory_crash_choice(copy, 77);
    char *a = state_text(env);
    char *b = state_text(copy);
    assert_string_equal(a, b);
    free(a), free(b);
    vdb_env_memory_destroy(env), vdb_env_memory_destroy(copy);

    /* More changes than fit into a set: one chain, of which any first part may survive. */
    env = create_env();
    settle(env, 1);
    for (int i = 0; i < 32; i++) {
        must(env->ops->rename(env, "f", "g", NULL));
        must(env->ops->rename(env, "g", "f", NULL));
    }
    assert_int_equal(vdb_env_memory_crash_choices(env), 65);
    must(env->ops->rename(env, "f", "g", NULL));
    assert_true(vdb_env_memory_crash_choices(env) == UINT64_MAX);
    vdb_env_memory_destroy(env);

    /* Writes, too, as many as are counted and one more. */
    env = create_env();
    settle(env, 100);
    for (unsigned i = 0; i < VDB_MEMORY_CHOICE_WRITES_MAX; i++) {
        fill(env, "f", 'b', i, 1, false);
    }
    uint64_t choices = vdb_env_memory_crash_choices(env);
    assert_true(choices == (uint64_t)1 << VDB_MEMORY_CHOICE_WRITES_MAX);
    copy = clone_env(env);
    vdb_env_memory_crash_choice(copy, choices - 1); /* all */
    a = state_text(copy);
    b = state_text(env);
    assert_string_equal(a, b);
    free(a), free(b);
    vdb_env_memory_destroy(copy);
    copy = clone_env(env);
    vdb_env_memory_crash_choice(copy, 1 | (uint64_t)1 << 39); /* the first and the last */
    a = state_text(copy);
    assert_string_equal(a, "f=1b38a1b60a ");
    free(a);
    vdb_env_memory_destroy(copy);
    fill(env, "f", 'b', 0, 1, false);
    assert_true(vdb_env_memory_crash_choices(env) == UINT64_MAX);
    vdb_env_memory_destroy(env);
}

/* E4 in full: a file is replaced, the process dies at every call in turn, and the power goes in every way there is. */
static void test_replacement_in_every_way(void **state)
{
    (void)state;
    uint64_t states = 0;
    bool saw_old = false, saw_new = false;
    char text[1200];
    memset(text, 'n', sizeof text);
    vdb_status status = VDB_IO;
    for (uint64_t n = 1; status != VDB_OK; n++) {
        for (uint64_t seed = 0; seed < 4; seed++) { /* how much a failing write has written */
            struct vdb_env *env = create_env();
            must(vdb_env_replace_file(env, "M", "oooo", 4, NULL));
            vdb_env_memory_fail_at(env, n, VDB_IO, true, seed);
            status = vdb_env_replace_file(env, "M", text, sizeof text, NULL);
            vdb_env_memory_fail_at(env, 0, VDB_OK, false, 0);
            uint64_t choices = vdb_env_memory_crash_choices(env);
            for (uint64_t i = 0; i < choices; i++, states++) {
                struct vdb_env *copy = clone_env(env);
                vdb_env_memory_crash_choice(copy, i);
                uint8_t *data;
                size_t bytes;
                must(vdb_env_read_file(copy, "M", sizeof text, &data, &bytes, NULL));
                bool is_new = bytes == sizeof text && memcmp(data, text, bytes) == 0;
                assert_true(is_new || (bytes == 4 && memcmp(data, "oooo", 4) == 0));
                assert_true(is_new || status != VDB_OK);
                saw_old = saw_old || !is_new;
                saw_new = saw_new || is_new;
                free(data);
                vdb_env_memory_destroy(copy);
            }
            vdb_env_memory_destroy(env);
        }
    }
    print_message("%llu states\n", (unsigned long long)states);
    assert_true(saw_old && saw_new && states > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk_is_what_seeds_reach), cmocka_unit_test(test_one_is_torn_at_a_time),
        cmocka_unit_test(test_tears_of_long_writes),     cmocka_unit_test(test_limits),
        cmocka_unit_test(test_replacement_in_every_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
