/* kernels_rows.h: how every kernel file turns its families into entries of the table: one row, a few, many, a gather.
 *
 * A family is a function that computes `row_count` rows against one query, inlined at each entry with a constant
 * row_count of 1 or ROWS:
 *
 *     family(constants..., query, rows, row_count, ahead, dimension, out)
 *
 * The loads of the query are shared by the rows in step, and each row has accumulators of its own. So a row's sum
 * takes the same operations in the same order however it is asked for, and few, one-to-many and gather equal
 * one-to-one to the last bit.
 *
 * R1 The hardware's prefetchers follow one stream of addresses better than ROWS at once. So every step asks for a
 * line AHEAD_BYTES later, in the order of addresses and never past the rows of the call; and a call whose f32 rows
 * do not fit the first-level cache takes them one by one: there is nothing to gain from sharing the query's
 * loads when rows come from further away. README.md has the measurements. R2 A gather asks for a row
 * GATHER_AHEAD rows before its turn; one row ahead instead of eight took up to twice as long. Beyond
 * GATHER_BYTES_MAX of a row the processor's own prefetchers have found the stream.
 *
 * Private to the kernel files. Threads: pure functions.
 */
#ifndef VDB_DISTANCE_KERNELS_ROWS_H
#define VDB_DISTANCE_KERNELS_ROWS_H

#include "kernels.h"

#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum {
    ROWS = VDB_KERNELS_FEW,
    LINE_BYTES = 64,
    AHEAD_BYTES = 8192,     /* 4 to 12 KiB gave the same; it leaves room in any first-level cache */
    NEAR_BYTES_MAX = 32768, /* the smallest first-level cache there is */
    GATHER_AHEAD = 8,
    GATHER_BYTES_MAX = 1024,
};

/* The rows in step, wherever each lies. */
struct kernel_rows {
    const char *row[ROWS];
};

INLINE const char *at(const void *rows, size_t stride_bytes, size_t row, size_t byte)
{
    return (const char *)rows + row * stride_bytes + byte;
}

INLINE const char *row_at(struct kernel_rows rows, size_t row, size_t byte)
{
    return rows.row[row] + byte;
}

/* `count` rows that lie stride_bytes apart. */
INLINE struct kernel_rows rows_from(const void *first, size_t stride_bytes, size_t count)
{
    struct kernel_rows rows = {{first}};
    UNROLL for (size_t r = 1; r < count; r++)
    {
        rows.row[r] = at(first, stride_bytes, r, 0);
    }
    return rows;
}

/* R1: how far ahead the rows of a call are asked for: whole rows, so that padding between them is left out. */
INLINE size_t ahead_bytes(size_t stride_bytes)
{
    return stride_bytes < AHEAD_BYTES ? (AHEAD_BYTES - 1) / stride_bytes * stride_bytes + stride_bytes
                                      : AHEAD_BYTES;
}

/* Where the lines lie that the steps on `group_bytes` bytes at `group` ask for, when left_bytes are left there. */
INLINE const char *ahead_of(const char *group, size_t group_bytes, size_t left_bytes, size_t ahead)
{
    return ahead + group_bytes <= left_bytes ? group + ahead : group;
}

/* Asks for one line of those at `ahead` (NULL: none). `byte` is how far the rows in step have been read, in steps
 * of step_bytes per row. */
INLINE void prefetch(const char *ahead, size_t row_count, size_t row, size_t byte, size_t step_bytes)
{
    size_t at_byte = byte * row_count + row * step_bytes;
    if (ahead != NULL && at_byte % LINE_BYTES == 0) {
        __builtin_prefetch(ahead + at_byte);
    }
}

/* R2 */
INLINE void prefetch_row(const char *row, size_t row_bytes)
{
    size_t bytes = row_bytes < GATHER_BYTES_MAX ? row_bytes : GATHER_BYTES_MAX;
    for (size_t i = 0; i < bytes; i += LINE_BYTES) {
        __builtin_prefetch(row + i);
    }
}

/* The entries metric_element_one, _few, _many and _gather. `...` are the family's constants, if any with CONSTANTS. */
#define KERNEL(metric, element, ELEMENT, family, ...)                                                            \
    static double metric##_##element##_one(const void *a, const void *b, size_t dimension)                       \
    {                                                                                                            \
        double out;                                                                                              \
        family(__VA_ARGS__ a, rows_from(b, 0, 1), 1, NULL, dimension, &out);                                     \
        return out;                                                                                              \
    }                                                                                                            \
    static void metric##_##element##_few(const void *query, const void *const rows[VDB_KERNELS_FEW],             \
                                         size_t dimension, double *out)                                          \
    {                                                                                                            \
        const struct kernel_rows few = {{rows[0], rows[1], rows[2], rows[3]}};                                   \
        family(__VA_ARGS__ query, few, ROWS, NULL, dimension, out);                                              \
    }                                                                                                            \
    static void metric##_##element##_many(const void *query, const void *rows, size_t stride_bytes,              \
                                          size_t count, size_t dimension, double *out)                           \
    {                                                                                                            \
        const size_t ahead = ahead_bytes(stride_bytes);                                                          \
        size_t left = count * stride_bytes;                                                                      \
        size_t i = 0;                                                                                            \
        if (VDB_ELEMENT_##ELEMENT == VDB_ELEMENT_F32 && left > NEAR_BYTES_MAX) {                                 \
            for (; i < count; i++, left -= stride_bytes) {                                                       \
                const char *row = at(rows, stride_bytes, i, 0);                                                  \
                family(__VA_ARGS__ query, rows_from(row, 0, 1), 1, ahead_of(row, stride_bytes, left, ahead),     \
                       dimension, out + i);                                                                      \
            }                                                                                                    \
        }                                                                                                        \
        for (; i + ROWS <= count; i += ROWS, left -= ROWS * stride_bytes) {                                      \
            const char *group = at(rows, stride_bytes, i, 0);                                                    \
            family(__VA_ARGS__ query, rows_from(group, stride_bytes, ROWS), ROWS,                                \
                   ahead_of(group, ROWS *stride_bytes, left, ahead), dimension, out + i);                        \
        }                                                                                                        \
        for (; i < count; i++) {                                                                                 \
            out[i] = metric##_##element##_one(query, at(rows, stride_bytes, i, 0), dimension);                   \
        }                                                                                                        \
    }                                                                                                            \
    static void metric##_##element##_gather(const void *query, const void *rows, size_t stride_bytes,            \
                                            const uint32_t *slots, size_t count, size_t dimension, double *out)  \
    {                                                                                                            \
        size_t bytes = vdb_vector_bytes(VDB_ELEMENT_##ELEMENT, dimension);                                       \
        for (size_t i = 0; i < GATHER_AHEAD && i < count; i++) {                                                 \
            prefetch_row(at(rows, stride_bytes, slots[i], 0), bytes);                                            \
        }                                                                                                        \
        for (size_t i = 0; i < count; i++) {                                                                     \
            if (i + GATHER_AHEAD < count) {                                                                      \
                prefetch_row(at(rows, stride_bytes, slots[i + GATHER_AHEAD], 0), bytes);                         \
            }                                                                                                    \
            out[i] = metric##_##element##_one(query, at(rows, stride_bytes, slots[i], 0), dimension);            \
        }                                                                                                        \
    }
#define CONSTANTS(...) __VA_ARGS__,

/* Sets one pair's entries in `table`, as coming from the file kernels_FROM.c. */
#define SET_FROM(FROM, element, ELEMENT, metric, METRIC)                                                         \
    table->one[VDB_ELEMENT_##ELEMENT][VDB_METRIC_##METRIC] = metric##_##element##_one;                           \
    table->few[VDB_ELEMENT_##ELEMENT][VDB_METRIC_##METRIC] = metric##_##element##_few;                           \
    table->many[VDB_ELEMENT_##ELEMENT][VDB_METRIC_##METRIC] = metric##_##element##_many;                         \
    table->gather[VDB_ELEMENT_##ELEMENT][VDB_METRIC_##METRIC] = metric##_##element##_gather;                     \
    table->from[VDB_ELEMENT_##ELEMENT][VDB_METRIC_##METRIC] = FROM;

#endif
