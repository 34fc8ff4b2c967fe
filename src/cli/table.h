/* table.h: tables for people: columns as wide as their widest cell, numbers to the right.
 *
 *       rank      id     distance
 *     ------  ------  -----------
 *          1  12,401     814.2088
 *
 * And the one place that writes numbers for people: thousands separators, durations and rates with a unit.
 * Threads: confined.
 */
#ifndef VDB_CLI_TABLE_H
#define VDB_CLI_TABLE_H

#include "base/bytes.h"

#include <stdbool.h>

enum { VDB_TABLE_COLUMNS_MAX = 12, VDB_TABLE_CELL_BYTES = 64, VDB_TABLE_TEXT_BYTES = 48 };

struct vdb_table_column {
    const char *title; /* NULL in all columns: no head is printed */
    bool right;        /* numbers */
};

/* Zero-initialised by vdb_table_init; released by vdb_table_fini. */
struct vdb_table {
    const struct vdb_table_column *columns; /* borrowed */
    size_t column_count;
    struct vdb_buf cells; /* VDB_TABLE_CELL_BYTES each, row after row */
};

void vdb_table_init(struct vdb_table *table, const struct vdb_table_column *columns, size_t column_count);
void vdb_table_fini(struct vdb_table *table);

/* Adds the next cell, left to right, row after row. Longer texts are cut at VDB_TABLE_CELL_BYTES - 1. */
void vdb_table_put(struct vdb_table *table, const char *text);

/* Appends the table, each line behind `indent` spaces. The last row must be full. out->failed when memory is
 * short. */
void vdb_table_print(const struct vdb_table *table, size_t indent, struct vdb_buf *out);

/* A number as text, returned in `text`. */
const char *vdb_table_count(char text[VDB_TABLE_TEXT_BYTES], uint64_t value);                    /* 1,234,567 */
const char *vdb_table_decimal(char text[VDB_TABLE_TEXT_BYTES], double value, unsigned decimals); /* -1,234.50 */
const char *vdb_table_duration(char text[VDB_TABLE_TEXT_BYTES], double seconds);                 /* 12.3 ms */
const char *vdb_table_rate(char text[VDB_TABLE_TEXT_BYTES], double value, const char *unit); /* 12.3 M rows/s */

#endif
