/* table.c: see table.h. Cells have a fixed size, so a table is one buffer and a cell is found by multiplication.
 */
#include "table.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GAP_BYTES = 2 };

void vdb_table_init(struct vdb_table *table, const struct vdb_table_column *columns, size_t column_count)
{
    assert(column_count >= 1 && column_count <= VDB_TABLE_COLUMNS_MAX);
    *table = (struct vdb_table){.columns = columns, .column_count = column_count};
}

void vdb_table_fini(struct vdb_table *table)
{
    vdb_buf_fini(&table->cells);
}

void vdb_table_put(struct vdb_table *table, const char *text)
{
    char cell[VDB_TABLE_CELL_BYTES] = {0};
    snprintf(cell, sizeof cell, "%s", text);
    vdb_buf_put(&table->cells, cell, sizeof cell);
}

static const char *cell_at(const struct vdb_table *table, size_t row, size_t column)
{
    return (const char *)table->cells.data + (row * table->column_count + column) * VDB_TABLE_CELL_BYTES;
}

/* One line; texts[column] padded to widths[column]. No line ends in spaces. */
static void print_line(const struct vdb_table *table, const char *const *texts, const size_t *widths,
                       size_t indent, struct vdb_buf *out)
{
    size_t start = out->bytes;
    vdb_buf_printf(out, "%*s", (int)indent, "");
    for (size_t c = 0; c < table->column_count; c++) {
        int width = (int)widths[c];
        vdb_buf_printf(out, "%*s%*s", table->columns[c].right ? width : -width, texts[c], GAP_BYTES, "");
    }
    while (out->bytes > start && out->data[out->bytes - 1] == ' ') {
        out->bytes--;
    }
    vdb_buf_put_u8(out, '\n');
}

void vdb_table_print(const struct vdb_table *table, size_t indent, struct vdb_buf *out)
{
    static const char dashes[] = "----------------------------------------------------------------";
    _Static_assert(sizeof dashes > VDB_TABLE_CELL_BYTES, "a column is at most one cell wide");
    if (table->cells.failed) {
        out->failed = true;
        return;
    }
    size_t rows = table->cells.bytes / (table->column_count * VDB_TABLE_CELL_BYTES);
    assert(rows * table->column_count * VDB_TABLE_CELL_BYTES == table->cells.bytes);
    const char *texts[VDB_TABLE_COLUMNS_MAX];
    size_t widths[VDB_TABLE_COLUMNS_MAX];
    bool head = false;
    for (size_t c = 0; c < table->column_count; c++) {
        texts[c] = table->columns[c].title != NULL ? table->columns[c].title : "";
        head = head || table->columns[c].title != NULL;
        widths[c] = strlen(texts[c]);
        assert(widths[c] < VDB_TABLE_CELL_BYTES);
        for (size_t r = 0; r < rows; r++) {
            size_t bytes = strlen(cell_at(table, r, c));
            widths[c] = bytes > widths[c] ? bytes : widths[c];
        }
    }
    if (head) {
        print_line(table, texts, widths, indent, out);
        for (size_t c = 0; c < table->column_count; c++) {
            texts[c] = dashes + sizeof dashes - 1 - widths[c];
        }
        print_line(table, texts, widths, indent, out);
    }
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < table->column_count; c++) {
            texts[c] = cell_at(table, r, c);
        }
        print_line(table, texts, widths, indent, out);
    }
}

/* Copies digits[0..bytes) to text with a comma before every third from the right; returns the bytes written. */
static size_t group_digits(char *text, const char *digits, size_t bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (i > 0 && (bytes - i) % 3 == 0) {
            text[used++] = ',';
        }
        text[used++] = digits[i];
    }
    return used;
}

const char *vdb_table_count(char text[VDB_TABLE_TEXT_BYTES], uint64_t value)
{
    char digits[24];
    int bytes = snprintf(digits, sizeof digits, "%" PRIu64, value);
    text[group_digits(text, digits, (size_t)bytes)] = '\0';
    return text;
}

const char *vdb_table_decimal(char text[VDB_TABLE_TEXT_BYTES], double value, unsigned decimals)
{
    /* Beyond 10^15 a double has no digits behind the point to show, and grouping would outgrow the text. */
    if (!(fabs(value) < 1e15) || decimals > 9) {
        snprintf(text, VDB_TABLE_TEXT_BYTES, "%.9g", value);
        return text;
    }
    char plain[VDB_TABLE_TEXT_BYTES];
    snprintf(plain, sizeof plain, "%.*f", (int)decimals, fabs(value));
    size_t whole = strcspn(plain, ".");
    bool zero = strspn(plain, "0.") == strlen(plain); /* what rounds to zero gets no sign */
    size_t used = 0;
    if (value < 0 && !zero) {
        text[used++] = '-';
    }
    used += group_digits(text + used, plain, whole);
    snprintf(text + used, VDB_TABLE_TEXT_BYTES - used, "%s", plain + whole);
    return text;
}

/* Three or four significant digits. */
static unsigned short_decimals(double value)
{
    return value < 10 ? 2 : value < 100 ? 1 : 0;
}

const char *vdb_table_duration(char text[VDB_TABLE_TEXT_BYTES], double seconds)
{
    static const struct {
        double scale;
        const char *unit;
    } units[] = {{1, "s"}, {1e3, "ms"}, {1e6, "us"}, {1e9, "ns"}};
    size_t u = 0;
    while (u < 3 && seconds * units[u].scale < 1) {
        u++;
    }
    char number[VDB_TABLE_TEXT_BYTES];
    double value = seconds * units[u].scale;
    snprintf(text, VDB_TABLE_TEXT_BYTES, "%.30s %s", vdb_table_decimal(number, value, short_decimals(value)),
             units[u].unit);
    return text;
}

const char *vdb_table_rate(char text[VDB_TABLE_TEXT_BYTES], double value, const char *unit)
{
    static const char *const prefixes[] = {"", "k", "M", "G", "T"};
    size_t p = 0;
    while (p < 4 && value >= 9999.5) {
        value /= 1000;
        p++;
    }
    char number[VDB_TABLE_TEXT_BYTES];
    snprintf(text, VDB_TABLE_TEXT_BYTES, "%.24s %s%s%.18s",
             vdb_table_decimal(number, value, short_decimals(value)), prefixes[p], p > 0 ? " " : "", unit);
    return text;
}
