/* test_cpu.c: what VECDB_CPU may say, on machines of every level, and what the process then uses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "distance/cpu.h"

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(vdb_cpu_level_name(VDB_CPU_SCALAR), "scalar");
    assert_string_equal(vdb_cpu_level_name(VDB_CPU_NEON), "neon");
    assert_string_equal(vdb_cpu_level_name(VDB_CPU_AVX2), "avx2");
    assert_string_equal(vdb_cpu_level_name(VDB_CPU_AVX512), "avx512");
}

static void test_extensions(void **state)
{
    (void)state;
    assert_string_equal(vdb_cpu_extension_name(VDB_CPU_AVX512VNNI), "avx512vnni");
    assert_string_equal(vdb_cpu_extension_name(VDB_CPU_AVX512BF16), "avx512bf16");
    assert_string_equal(vdb_cpu_extension_name(VDB_CPU_AVX512VPOPCNTDQ), "avx512vpopcntdq");
    assert_null(vdb_cpu_extension_name(0));
    assert_null(vdb_cpu_extension_name(VDB_CPU_AVX512VNNI | VDB_CPU_AVX512BF16));
    assert_null(vdb_cpu_extension_name(VDB_CPU_EXTENSIONS_ALL + 1));
    unsigned extensions = vdb_cpu_detect_extensions();
    assert_int_equal(extensions & ~(unsigned)VDB_CPU_EXTENSIONS_ALL, 0);
    if (vdb_cpu_detect() != VDB_CPU_AVX512) {
        assert_int_equal(extensions, 0);
    }
    struct vdb_kernels table;
    vdb_kernels_fill(&table, vdb_cpu_detect());
    assert_int_equal(table.extensions, extensions);
    vdb_kernels_fill(&table, VDB_CPU_SCALAR);
    assert_int_equal(table.extensions, 0);
}

/* Rows: machine; columns: level. */
static const bool runs[VDB_CPU_LEVEL_COUNT][VDB_CPU_LEVEL_COUNT] = {
    [VDB_CPU_SCALAR] = {true, false, false, false},
    [VDB_CPU_NEON] = {true, true, false, false},
    [VDB_CPU_AVX2] = {true, false, true, false},
    [VDB_CPU_AVX512] = {true, false, true, true},
};

/* Every level asked of every machine: allowed exactly when it can run there. */
static void test_choose_allows_what_the_machine_has(void **state)
{
    (void)state;
    for (unsigned machine = 0; machine < VDB_CPU_LEVEL_COUNT; machine++) {
        for (unsigned asked = 0; asked < VDB_CPU_LEVEL_COUNT; asked++) {
            const char *name = vdb_cpu_level_name((vdb_cpu_level)asked);
            vdb_cpu_level level = VDB_CPU_LEVEL_COUNT;
            struct vdb_err err = {0};
            vdb_status status = vdb_cpu_choose(name, (vdb_cpu_level)machine, &level, &err);
            assert_int_equal(vdb_cpu_runs((vdb_cpu_level)machine, (vdb_cpu_level)asked), runs[machine][asked]);
            if (runs[machine][asked]) {
                assert_int_equal(status, VDB_OK);
                assert_int_equal(level, asked);
            } else {
                assert_int_equal(status, VDB_INVALID);
                assert_int_equal(level, machine);
                assert_non_null(strstr(err.text, "VECDB_CPU"));
                assert_non_null(strstr(err.text, name));
                assert_non_null(strstr(err.text, vdb_cpu_level_name((vdb_cpu_level)machine)));
            }
        }
    }
}

static void test_choose_without_a_value_takes_the_machine(void **state)
{
    (void)state;
    const char *const values[] = {NULL, ""};
    for (unsigned i = 0; i < 2; i++) {
        vdb_cpu_level level = VDB_CPU_LEVEL_COUNT;
        assert_int_equal(vdb_cpu_choose(values[i], VDB_CPU_AVX2, &level, NULL), VDB_OK);
        assert_int_equal(level, VDB_CPU_AVX2);
    }
}

static void test_choose_refuses_other_words(void **state)
{
    (void)state;
    const char *const values[] = {"AVX2", "avx", "avx5", "avx5122", " avx2", "avx2 ", "sse2", "0", "scalar,avx2"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        vdb_cpu_level level = VDB_CPU_LEVEL_COUNT;
        struct vdb_err err = {0};
        assert_int_equal(vdb_cpu_choose(values[i], VDB_CPU_AVX512, &level, &err), VDB_INVALID);
        assert_int_equal(level, VDB_CPU_AVX512);
        assert_non_null(strstr(err.text, values[i]));
        assert_non_null(strstr(err.text, "allowed: scalar, avx2, avx512"));
        assert_non_null(strstr(err.text, "this machine has avx512"));
    }
}

/* A long value is cut, so that what is allowed still fits the text. */
static void test_choose_cuts_a_long_value(void **state)
{
    (void)state;
    char value[4096];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    vdb_cpu_level level;
    struct vdb_err err = {0};
    assert_int_equal(vdb_cpu_choose(value, VDB_CPU_SCALAR, &level, &err), VDB_INVALID);
    assert_non_null(strstr(err.text, "xxxx\""));
    assert_non_null(strstr(err.text, "this machine has scalar"));
}

/* In a child, since the process's table is filled once: exits with 10 + its level, or 1 when vdb_cpu_check's
 * answer is not `want`. */
static int level_of_child(const char *value, vdb_status want)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct vdb_err err = {0};
        bool set = value == NULL ? unsetenv("VECDB_CPU") == 0 : setenv("VECDB_CPU", value, 1) == 0;
        if (!set || vdb_cpu_check(&err) != want) {
            _exit(1);
        }
        const struct vdb_kernels *table = vdb_kernels_get();
        _exit(table == vdb_kernels_get() ? 10 + (int)table->level : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) - 10;
}

static void test_the_process_uses_what_the_variable_says(void **state)
{
    (void)state;
    int machine = (int)vdb_cpu_detect();
    for (int level = 0; level < VDB_CPU_LEVEL_COUNT; level++) {
        const char *name = vdb_cpu_level_name((vdb_cpu_level)level);
        if (runs[machine][level]) {
            assert_int_equal(level_of_child(name, VDB_OK), level);
        } else {
            assert_int_equal(level_of_child(name, VDB_INVALID), machine);
        }
    }
    assert_int_equal(level_of_child(NULL, VDB_OK), machine);
    assert_int_equal(level_of_child("", VDB_OK), machine);
    assert_int_equal(level_of_child("fast", VDB_INVALID), machine); /* the documented fallback */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_extensions),
        cmocka_unit_test(test_choose_allows_what_the_machine_has),
        cmocka_unit_test(test_choose_without_a_value_takes_the_machine),
        cmocka_unit_test(test_choose_refuses_other_words),
        cmocka_unit_test(test_choose_cuts_a_long_value),
        cmocka_unit_test(test_the_process_uses_what_the_variable_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
