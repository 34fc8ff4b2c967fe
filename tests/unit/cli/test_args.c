/* test_args.c: the option parser: every form that is taken, and the words of every refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/args.h"
#include "cli/cli.h"

#include <string.h>

static const char *const metrics[] = {"l2", "cosine", "dot", "l1", NULL};

struct values {
    const char *file;
    uint64_t k;
    unsigned metric;
    bool json;
    bool k_given;
};

enum { OPTION_COUNT = 4, WORDS_MAX = 8 };

static vdb_status parse(struct values *values, const char *const *words, struct vdb_err *err)
{
    struct vdb_args_option options[OPTION_COUNT] = {
        {.name = "--file", .kind = VDB_ARGS_TEXT, .out = &values->file, .value_name = "FILE", .required = true},
        {.name = "--k",
         .kind = VDB_ARGS_NUMBER,
         .out = &values->k,
         .value_name = "NUMBER",
         .min = 1,
         .max = 100,
         .given = &values->k_given},
        {.name = "--metric",
         .kind = VDB_ARGS_CHOICE,
         .out = &values->metric,
         .value_name = "METRIC",
         .choices = metrics},
        {.name = "--json", .kind = VDB_ARGS_FLAG, .out = &values->json},
    };
    *values = (struct values){.k = 10};
    char *argv[WORDS_MAX];
    int argc = 0;
    while (words[argc] != NULL) {
        argv[argc] = (char *)(uintptr_t)words[argc]; /* the parser does not write to them */
        argc++;
    }
    return vdb_args_parse(options, OPTION_COUNT, argc, argv, err);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void refuse(const char *const *words, const char *wanted)
{
    struct values values;
    struct vdb_err err = {0};
    vdb_status status = parse(&values, words, &err);
    if (status != VDB_INVALID || strcmp(err.text, wanted) != 0) {
        fail_msg("status %d, text \"%s\"; wanted \"%s\"", status, err.text, wanted);
    }
}

static void test_forms(void **state)
{
    (void)state;
    struct values values;
    struct vdb_err err = {0};
    assert_int_equal(parse(&values, WORDS("--file", "a"), &err), VDB_OK);
    assert_string_equal(values.file, "a");
    assert_int_equal(values.k, 10); /* the default stays */
    assert_false(values.k_given || values.json);
    assert_int_equal(values.metric, 0);

    assert_int_equal(parse(&values, WORDS("--json", "--k=7", "--metric=l1", "--file=b=c"), &err), VDB_OK);
    assert_string_equal(values.file, "b=c");
    assert_int_equal(values.k, 7);
    assert_true(values.k_given && values.json);
    assert_int_equal(values.metric, 3);

    /* A file whose name begins with dashes can be given with '='. */
    assert_int_equal(parse(&values, WORDS("--file=--json"), &err), VDB_OK);
    assert_string_equal(values.file, "--json");
    assert_false(values.json);
    assert_int_equal(parse(&values, WORDS("--file", "-x"), &err), VDB_OK);
}

static void test_numbers(void **state)
{
    (void)state;
    struct values values;
    struct vdb_err err = {0};
    assert_int_equal(parse(&values, WORDS("--file", "a", "--k", "1"), &err), VDB_OK);
    assert_int_equal(parse(&values, WORDS("--file", "a", "--k", "100"), &err), VDB_OK);
    assert_int_equal(values.k, 100);
    assert_int_equal(parse(&values, WORDS("--file", "a", "--k", "007"), &err), VDB_OK);
    assert_int_equal(values.k, 7);
    refuse(WORDS("--file", "a", "--k", "0"), "--k is 0, an integer from 1 to 100 is allowed");
    refuse(WORDS("--file", "a", "--k", "101"), "--k is 101, an integer from 1 to 100 is allowed");
    refuse(WORDS("--file", "a", "--k", "-1"), "--k is -1, an integer from 1 to 100 is allowed");
    refuse(WORDS("--file", "a", "--k", "1.5"), "--k is 1.5, an integer from 1 to 100 is allowed");
    refuse(WORDS("--file", "a", "--k", "ten"), "--k is ten, an integer from 1 to 100 is allowed");
    refuse(WORDS("--file", "a", "--k", " 1"), "--k is  1, an integer from 1 to 100 is allowed");
    refuse(WORDS("--file", "a", "--k="), "--k is empty, an integer from 1 to 100 is allowed");
    /* 2^64 + 1 must not come out as 1. */
    refuse(WORDS("--file", "a", "--k", "18446744073709551617"),
           "--k is 18446744073709551617, an integer from 1 to 100 is allowed");
}

static void test_refused(void **state)
{
    (void)state;
    refuse(WORDS("--json"), "--file is missing; it needs a value (FILE)");
    refuse(WORDS("--file"), "--file needs a value (FILE)");
    refuse(WORDS("--file", "--json"), "--file needs a value (FILE)");
    refuse(WORDS("--file="), "--file is empty, it needs a value (FILE)");
    refuse(WORDS("--file", ""), "--file is empty, it needs a value (FILE)");
    refuse(WORDS("--file", "a", "--file", "b"), "--file is given twice");
    refuse(WORDS("--json", "--json"), "--json is given twice");
    refuse(WORDS("--json=yes"), "--json takes no value");
    refuse(WORDS("--file", "a", "b"), "unexpected argument \"b\"; options begin with --");
    refuse(WORDS("-"), "unexpected argument \"-\"; options begin with --");
    refuse(WORDS("--metrik", "l2"), "unknown option --metrik; did you mean --metric?");
    refuse(WORDS("-k", "3"), "unknown option -k; did you mean --k?");
    refuse(WORDS("--frobnicate=1"), "unknown option --frobnicate; --help lists them");
    refuse(WORDS("--"), "unknown option --; did you mean --k?");
    refuse(WORDS("--metric", "l3"), "--metric is \"l3\"; allowed: l2, cosine, dot, l1");
    refuse(WORDS("--metric", "L2"), "--metric is \"L2\"; allowed: l2, cosine, dot, l1");
}

/* Words of any length stay within a line and within the buffers. */
static void test_long_words(void **state)
{
    (void)state;
    char word[4096];
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    struct values values;
    struct vdb_err err = {0};
    assert_int_equal(parse(&values, WORDS(word), &err), VDB_INVALID);
    memcpy(word, "--", 2);
    assert_int_equal(parse(&values, WORDS(word), &err), VDB_INVALID);
    assert_non_null(strstr(err.text, "; --help lists them"));
    memcpy(word, "--k=1", 5);
    assert_int_equal(parse(&values, WORDS("--file", "a", word), &err), VDB_INVALID);
    assert_non_null(strstr(err.text, "1 to 100 is allowed"));
    memcpy(word, "--metric=", 9);
    assert_int_equal(parse(&values, WORDS("--file", "a", word), &err), VDB_INVALID);
    assert_non_null(strstr(err.text, "allowed: l2"));
    /* 32 and 33 letters, around the longest word that gets a suggestion. */
    word[32] = '\0';
    assert_null(vdb_args_nearest(word, metrics));
    memset(word, 'x', 33);
    word[33] = '\0';
    assert_null(vdb_args_nearest(word, metrics));
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = {"knn", "cpu", "help", "version", NULL};
    assert_string_equal(vdb_args_nearest("kn", names), "knn");
    assert_string_equal(vdb_args_nearest("kmm", names), "knn");
    assert_string_equal(vdb_args_nearest("hlep", names), "help");
    assert_string_equal(vdb_args_nearest("verison", names), "version");
    assert_null(vdb_args_nearest("search", names));
    assert_null(vdb_args_nearest("", names));
    assert_null(vdb_args_nearest("xyz", names));
}

static void test_help_is_aligned(void **state)
{
    (void)state;
    struct vdb_args_option options[2] = {
        {.name = "--k", .kind = VDB_ARGS_NUMBER, .value_name = "NUMBER", .help = "how many"},
        {.name = "--json", .kind = VDB_ARGS_FLAG, .help = "for programs"},
    };
    struct vdb_buf out = {0};
    vdb_args_help(options, 2, &out);
    vdb_buf_put_u8(&out, '\0');
    assert_string_equal((const char *)out.data, "  --k NUMBER            how many\n"
                                                "  --json                for programs\n");
    vdb_buf_fini(&out);
}

static void test_exit_codes(void **state)
{
    (void)state;
    assert_int_equal(vdb_cli_exit_code(VDB_OK), 0);
    assert_int_equal(vdb_cli_exit_code(VDB_INVALID), 2);
    assert_int_equal(vdb_cli_exit_code(VDB_NOT_FOUND), 2);
    assert_int_equal(vdb_cli_exit_code(VDB_LIMIT), 2);
    assert_int_equal(vdb_cli_exit_code(VDB_IO), 1);
    assert_int_equal(vdb_cli_exit_code(VDB_NO_MEMORY), 1);
    assert_int_equal(vdb_cli_exit_code(VDB_CORRUPT), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),      cmocka_unit_test(test_numbers), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_words), cmocka_unit_test(test_nearest), cmocka_unit_test(test_help_is_aligned),
        cmocka_unit_test(test_exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
