/* decimal.h: decimal text to float and double, correctly rounded, and the shortest way back.
 *
 * The grammar is JSON's: -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?. Nothing here looks at the process
 * locale. Threads: safe from all threads.
 */
#ifndef VDB_BASE_DECIMAL_H
#define VDB_BASE_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A scanned number: (-1)^negative * digits * 10^exp10, where cut tells that more non-zero digits followed. */
struct vdb_decimal {
    uint64_t digits; /* the first 19 significant digits at most */
    int64_t exp10;
    bool negative;
    bool cut;
    bool integer;     /* neither fraction nor exponent stood in the text */
    const char *text; /* borrowed; needed again when digits alone cannot decide the rounding */
    size_t bytes;     /* length of the number in text */
};

/* Scans the longest number at the start of text[0..bytes). False when there is none: out->bytes is then the
 * offset of the byte that breaks the grammar (a digit there means: a leading zero), or `bytes` when the text ends
 * too early. */
bool vdb_decimal_scan(const char *text, size_t bytes, struct vdb_decimal *out);

/* The nearest double or float, ties to even; an infinity when the number is out of range, and 0 or a subnormal
 * when it is too small. The sign of a negative zero is kept. */
double vdb_decimal_to_double(const struct vdb_decimal *decimal);
float vdb_decimal_to_float(const struct vdb_decimal *decimal);

/* The fewest digits (1 to 17, or 1 to 9) with which digits * 10^exp10 reads back to value. value is finite and >
 * 0; digits does not end in 0. */
void vdb_decimal_shortest_double(double value, uint64_t *digits, int *exp10);
void vdb_decimal_shortest_float(float value, uint64_t *digits, int *exp10);

#endif
