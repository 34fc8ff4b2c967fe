/* npy_support.h: arrays of the data sets in VECDB_DATA. */
#ifndef VDB_TESTS_NPY_SUPPORT_H
#define VDB_TESTS_NPY_SUPPORT_H

#include "support.h"

#include <stdlib.h>

/* A two-dimensional .npy of version 1, which all of these are. */
struct matrix {
    char *bytes;
    const char *data;
    size_t rows;
    size_t columns;
};

static inline bool matrix_read(const char *set, const char *name, const char *type, struct matrix *out)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s/%s.npy", getenv("VECDB_DATA"), set, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return false;
    }
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long bytes = ftell(file);
    assert_true(bytes > 10);
    rewind(file);
    out->bytes = malloc((size_t)bytes + 1);
    assert_non_null(out->bytes);
    assert_int_equal(fread(out->bytes, 1, (size_t)bytes, file), (size_t)bytes);
    fclose(file);
    out->bytes[bytes] = '\0';
    assert_memory_equal(out->bytes, "\x93NUMPY\x01", 7);
    size_t header = (unsigned char)out->bytes[8] + 256u * (unsigned char)out->bytes[9];
    assert_true(10 + header < (size_t)bytes);
    out->data = out->bytes + 10 + header;
    assert_non_null(strstr(out->bytes + 10, type));
    const char *shape = strstr(out->bytes + 10, "'shape': (");
    assert_non_null(shape);
    assert_int_equal(sscanf(shape, "'shape': (%zu, %zu", &out->rows, &out->columns), 2);
    return true;
}

#endif
