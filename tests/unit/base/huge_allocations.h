/* huge_allocations.h: for tests that ask for more memory than there is: under a sanitizer too, such a request
 * then returns NULL as it does everywhere else, instead of ending the program. Include in one file of a program.
 */
#ifndef VDB_TESTS_UNIT_BASE_HUGE_ALLOCATIONS_H
#define VDB_TESTS_UNIT_BASE_HUGE_ALLOCATIONS_H

#ifdef VDB_SANITIZED
/* The sanitizers' runtimes look these names up. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}
#endif

#endif
