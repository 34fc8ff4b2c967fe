/* test_levels.c: on integers, graphs that scalar, AVX2 and AVX-512 code builds and searches answer the same: row for row,
 * distance for distance.
 *
 * Which kernels a process uses is settled once, so each level of this machine gets a process of its own (VECDB_CPU), which
 * builds both kinds of graph over u8 and i8 under every metric, drawn at random and, where VECDB_DATA has them, real, and
 * writes all answers to a pipe; the parent compares.
 */
#include "support.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "distance/cpu.h"
#include "index/hnsw.h"
#include "index/qgraph.h"
#include "recall_support.h"

enum { ROWS = 500, QUERIES = 40, K = 10 };

struct answers {
    char *bytes;
    size_t count;
};

static void write_all(int to, const void *data, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t written = write(to, (const char *)data + at, bytes - at);
        if (written <= 0) {
            _exit(3);
        }
        at += (size_t)written;
    }
}

/* Searches at two widths, and under a filter. */
static void answer(const struct vdb_index_ops *ops, const void *index, const struct sample *sample, int to)
{
    struct vdb_bitset allow;
    if (!vdb_bitset_init(&allow, sample->rows.count)) {
        _exit(4);
    }
    for (size_t row = 0; row < sample->rows.count; row += 3) {
        vdb_bitset_set(&allow, row);
    }
    for (size_t q = 0; q < sample->query_count * 3; q++) {
        struct vdb_candidate found[K];
        struct vdb_topk topk;
        struct vdb_query query = {.vector = sample->queries + q / 3 * sample->rows.stride_bytes,
                                  .ef = q % 3 == 0 ? K : 64,
                                  .allow = q % 3 == 2 ? &allow : NULL};
        memset(found, 0, sizeof found); /* padding, too: bytes are compared */
        vdb_topk_init(&topk, found, K);
        vdb_status status = ops == &vdb_index_hnsw ? vdb_hnsw_search(index, &sample->rows, &query,
                                                                     VDB_HNSW_ALWAYS_WALK, &topk, NULL, NULL)
                                                   : ops->search(index, &sample->rows, &query, &topk, NULL);
        if (status != VDB_OK) {
            _exit(5);
        }
        vdb_topk_finish(&topk);
        for (size_t i = 0; i < topk.count; i++) {
            write_all(to, &found[i].row, sizeof found[i].row);
            write_all(to, &found[i].distance, sizeof found[i].distance);
        }
    }
    vdb_bitset_fini(&allow);
}

/* The child: all answers of one set. A set that is not there has none. */
static void run_set(const char *set, vdb_element element, int to)
{
    static const vdb_metric metrics[] = {VDB_METRIC_L2, VDB_METRIC_COSINE, VDB_METRIC_DOT, VDB_METRIC_L1};
    for (size_t m = 0; m < sizeof metrics / sizeof metrics[0]; m++) {
        struct sample sample;
        if (!sample_load(&sample, set, ROWS, QUERIES, element, metrics[m])) {
            return;
        }
        for (size_t i = 0; i < 2; i++) {
            const struct vdb_index_ops *ops = i == 0 ? &vdb_index_hnsw : &vdb_index_qgraph;
            const struct vdb_index_settings settings = {.threads = 1};
            void *index = NULL;
            if (ops == &vdb_index_qgraph && metrics[m] == VDB_METRIC_L1) {
                continue;
            }
            if (ops->build(&sample.rows, &settings, &index, NULL) != VDB_OK) {
                _exit(6);
            }
            answer(ops, index, &sample, to);
            ops->destroy(index);
        }
        sample_fini(&sample);
    }
}

static struct answers read_answers(int from)
{
    struct answers answers = {NULL, 0};
    size_t capacity = 0;
    for (;;) {
        if (answers.count == capacity) {
            capacity += 1 << 20;
            answers.bytes = realloc(answers.bytes, capacity);
            assert_non_null(answers.bytes);
        }
        ssize_t got = read(from, answers.bytes + answers.count, capacity - answers.count);
        assert_true(got >= 0);
        if (got == 0) {
            return answers;
        }
        answers.count += (size_t)got;
    }
}

static struct answers answers_at(vdb_cpu_level level, const char *set, vdb_element element)
{
    int ends[2];
    int status;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        if (setenv("VECDB_CPU", vdb_cpu_level_name(level), 1) != 0 || vdb_kernels_get()->level != level) {
            _exit(2);
        }
        run_set(set, element, ends[1]);
        close(ends[1]);
        _exit(0);
    }
    close(ends[1]);
    struct answers answers = read_answers(ends[0]);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail_msg("%s, %s at level %s: wait status %#x", set, vdb_element_name(element), vdb_cpu_level_name(level),
                 (unsigned)status);
    }
    return answers;
}

static void check_set(const char *set, vdb_element element)
{
    enum { ANSWER_BYTES = sizeof(uint32_t) + sizeof(double) };
    const vdb_cpu_level machine = vdb_cpu_detect();
    struct answers first = answers_at(VDB_CPU_SCALAR, set, element);
    if (first.count == 0) {
        printf("%s is not in VECDB_DATA: skipped\n", set);
        free(first.bytes);
        skip();
    }
    /* l2, cosine and dot of both kinds, l1 of one; all but filtered answers have K. */
    assert_true(first.count >= (size_t)7 * 2 * QUERIES * K * ANSWER_BYTES);
    for (unsigned level = VDB_CPU_SCALAR + 1; level <= (unsigned)machine; level++) {
        if (!vdb_cpu_runs(machine, (vdb_cpu_level)level)) {
            continue;
        }
        struct answers other = answers_at((vdb_cpu_level)level, set, element);
        for (size_t at = 0; at + ANSWER_BYTES <= first.count && at + ANSWER_BYTES <= other.count;
             at += ANSWER_BYTES) {
            if (memcmp(first.bytes + at, other.bytes + at, ANSWER_BYTES) != 0) {
                fail_msg("%s, %s: answer %zu differs between scalar and %s", set, vdb_element_name(element),
                         at / ANSWER_BYTES, vdb_cpu_level_name((vdb_cpu_level)level));
            }
        }
        assert_int_equal(first.count, other.count);
        free(other.bytes);
    }
    free(first.bytes);
}

#define LEVEL_TEST(name, set, element)                                                                           \
    static void name(void **state)                                                                               \
    {                                                                                                            \
        (void)state;                                                                                             \
        check_set(set, element);                                                                                 \
    }

LEVEL_TEST(test_clusters_as_u8, "clusters-37", VDB_ELEMENT_U8)
LEVEL_TEST(test_clusters_as_i8, "clusters-37", VDB_ELEMENT_I8)
LEVEL_TEST(test_longer_clusters_as_u8, "clusters-150", VDB_ELEMENT_U8)
LEVEL_TEST(test_sift_as_u8, "sift-castle-128", VDB_ELEMENT_U8)
LEVEL_TEST(test_sift_as_i8, "sift-castle-128", VDB_ELEMENT_I8)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clusters_as_u8),
        cmocka_unit_test(test_clusters_as_i8),
        cmocka_unit_test(test_longer_clusters_as_u8),
        cmocka_unit_test(test_sift_as_u8),
        cmocka_unit_test(test_sift_as_i8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
