/* npy_write.c: see npy_write.h. The header is padded so that the values begin at a multiple of 64 bytes, as NumPy
 * does it; the values go out from where they lie, without a copy. */
#include "npy_write.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { START_BYTES = 10, ALIGN_BYTES = 64, HEADER_BYTES_MAX = 256 };

static const struct {
    const char *descr;
    size_t bytes;
} types[VDB_NPY_TYPE_COUNT] = {
    [VDB_NPY_I32] = {"<i4", 4},
    [VDB_NPY_U32] = {"<u4", 4},
    [VDB_NPY_F32] = {"<f4", 4},
    [VDB_NPY_F64] = {"<f8", 8},
};

/* Magic, version, length and dictionary; returns the bytes of it all. */
static size_t make_header(char out[HEADER_BYTES_MAX], vdb_npy_type type, size_t count, size_t dimension)
{
    char text[HEADER_BYTES_MAX - ALIGN_BYTES];
    int text_bytes = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (%zu, %zu), }",
                              types[type].descr, count, dimension);
    size_t bytes = vdb_round_up(START_BYTES + (size_t)text_bytes + 1, ALIGN_BYTES);
    memset(out, ' ', bytes);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    vdb_store_u16(out + 8, (uint16_t)(bytes - START_BYTES));
    memcpy(out + START_BYTES, text, (size_t)text_bytes);
    out[bytes - 1] = '\n';
    return bytes;
}

static vdb_status write_values(struct vdb_env *env, const char *path, vdb_npy_type type, const void *values,
                               size_t count, size_t dimension, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_file *file = NULL;
    char header[HEADER_BYTES_MAX];
    size_t bytes;
    if (!vdb_size_mul(count, dimension, &bytes) || !vdb_size_mul(bytes, types[type].bytes, &bytes)) {
        return vdb_err_set(err, VDB_LIMIT, "%zu x %zu values overflow the address space", count, dimension);
    }
    size_t header_bytes = make_header(header, type, count, dimension);
    VDB_TRY(env->ops->open(env, path, VDB_OPEN_WRITE | VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE, &file, err));
    VDB_CHECK(env->ops->write_at(env, file, header, header_bytes, 0, err));
    if (bytes > 0) {
        VDB_CHECK(env->ops->write_at(env, file, values, bytes, header_bytes, err));
    }
    VDB_CHECK(env->ops->sync(env, file, err));

cleanup:
    env->ops->close(env, file);
    return status;
}

vdb_status vdb_npy_write(struct vdb_env *env, const char *path, vdb_npy_type type, const void *values,
                         size_t count, size_t dimension, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    char temporary[VDB_LIMIT_PATH_BYTES_MAX];
    if (strlen(path) + sizeof ".tmp" > sizeof temporary) {
        return vdb_err_set(err, VDB_INVALID, "\"%.60s...\": the path has %zu bytes, at most %zu are allowed",
                           path, strlen(path), sizeof temporary - sizeof ".tmp");
    }
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    VDB_CHECK(write_values(env, temporary, type, values, count, dimension, err));
    VDB_CHECK(env->ops->rename(env, temporary, path, err));

cleanup:
    if (status != VDB_OK) {
        struct vdb_err ignored;
        if (env->ops->unlink(env, temporary, &ignored) != VDB_OK) {
            return status; /* it may never have been made; the first failure is the one to tell */
        }
    }
    return status;
}
