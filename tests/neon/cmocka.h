/* cmocka.h: the few names of cmocka that test_kernels.c uses, for machines we cross-compile for, where that
 * library is not at hand. tools/check_neon puts this folder before the system's. A failed assertion ends the
 * program. */
#ifndef VDB_TESTS_NEON_CMOCKA_H
#define VDB_TESTS_NEON_CMOCKA_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

#define cmocka_unit_test(function)                                                                               \
    {                                                                                                            \
#function, function                                                                                      \
    }
#define fail_msg(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))
#define assert_true(condition)                                                                                   \
    ((condition) ? (void)0 : (void)fail_msg("%s:%d: %s does not hold", __FILE__, __LINE__, #condition))
#define assert_false(condition)    assert_true(!(condition))
#define assert_non_null(pointer)   assert_true((pointer) != NULL)
#define assert_null(pointer)       assert_true((pointer) == NULL)
#define assert_int_equal(a, b)     assert_true((long long)(a) == (long long)(b))
#define assert_ptr_not_equal(a, b) assert_true((a) != (b))
#define assert_string_equal(a, b)  assert_true(strcmp(a, b) == 0)
#define cmocka_run_group_tests(tests, setup, teardown)                                                           \
    run_group(tests, sizeof(tests) / sizeof(tests)[0], setup, teardown)

static inline int run_group(const struct CMUnitTest *tests, size_t count, int (*setup)(void **),
                            int (*teardown)(void **))
{
    void *state = NULL;
    if (setup(&state) != 0) {
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        printf("%s\n", tests[i].name);
        fflush(stdout);
        tests[i].run(&state);
    }
    return teardown(&state);
}

#endif
