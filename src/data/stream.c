/* stream.c: see stream.h: dispatch by the end of the file's name, and one block after the other. */
#include "stream.h"

#include "hdf5.h"
#include "npy.h"
#include "vecs.h"

#include <string.h>
#include <strings.h>

static bool ends_with(const char *text, const char *end)
{
    size_t text_bytes = strlen(text);
    size_t end_bytes = strlen(end);
    return text_bytes >= end_bytes && strcasecmp(text + text_bytes - end_bytes, end) == 0;
}

bool vdb_vector_stream_is_hdf5(const char *path, size_t *path_bytes, const char **part)
{
    static const char *const ends[] = {".hdf5", ".h5"};
    const char *colon = strrchr(path, ':');
    size_t before = colon != NULL ? (size_t)(colon - path) : 0;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t end_bytes = strlen(ends[i]);
        if (ends_with(path, ends[i])) {
            *path_bytes = strlen(path);
            *part = NULL;
            return true;
        }
        if (before >= end_bytes && strncasecmp(colon - end_bytes, ends[i], end_bytes) == 0) {
            *path_bytes = before;
            *part = colon + 1;
            return true;
        }
    }
    return false;
}

static vdb_status open_hdf5(struct vdb_vector_stream *stream, const char *part, struct vdb_err *err)
{
    struct vdb_hdf5_shape shape;
    VDB_TRY(vdb_hdf5_open(stream->path, part, &stream->hdf5, &shape, err));
    stream->type = shape.type;
    stream->type_name = shape.type != VDB_VECTORS_F32 ? NULL
                        : shape.value_bytes == 8      ? "f64"
                        : shape.value_bytes == 2      ? "f16"
                                                      : NULL;
    stream->count = shape.count;
    stream->dimension = shape.dimension;
    stream->reader_bytes = shape.memory_bytes;
    return VDB_OK;
}

static vdb_status open_npy(struct vdb_vector_stream *stream, struct vdb_err *err)
{
    struct vdb_npy_header header;
    VDB_TRY(vdb_npy_read_header(&stream->source, &header, err));
    stream->type = header.type;
    stream->count = header.count;
    stream->dimension = header.dimension;
    stream->data_offset = header.data_offset;
    return VDB_OK;
}

vdb_status vdb_vector_stream_open(struct vdb_vector_stream *stream, struct vdb_env *env, const char *path,
                                  const char *part, struct vdb_err *err)
{
    static const struct {
        const char *end;
        vdb_vectors_type type;
    } row_formats[] = {{".fvecs", VDB_VECTORS_F32}, {".bvecs", VDB_VECTORS_U8}, {".ivecs", VDB_VECTORS_I32}};
    memset(stream, 0, sizeof *stream);
    size_t path_bytes = strlen(path);
    const char *named = NULL;
    bool hdf5 = vdb_vector_stream_is_hdf5(path, &path_bytes, &named);
    bool npy = ends_with(path, ".npy");
    for (size_t i = 0; i < sizeof row_formats / sizeof row_formats[0]; i++) {
        if (ends_with(path, row_formats[i].end)) {
            stream->vecs = true;
            stream->type = row_formats[i].type;
        }
    }
    if (!npy && !hdf5 && !stream->vecs) {
        return vdb_err_set(err, VDB_INVALID,
                           "\"%s\": the name does not say what is in it; it must end in .npy, .fvecs, .bvecs or "
                           ".ivecs, .hdf5 or .h5",
                           path);
    }
    if (path_bytes >= sizeof stream->path) {
        return vdb_err_set(err, VDB_INVALID, "\"%.60s...\": the path has %zu bytes, at most %u are allowed", path,
                           path_bytes, VDB_LIMIT_PATH_BYTES_MAX - 1);
    }
    memcpy(stream->path, path, path_bytes);
    stream->path[path_bytes] = '\0';
    VDB_TRY(vdb_source_open(&stream->source, env, stream->path, err));
    const char *set = named != NULL ? named : part != NULL ? part : "train";
    vdb_status status = hdf5  ? open_hdf5(stream, set, err)
                        : npy ? open_npy(stream, err)
                              : vdb_vecs_read_shape(&stream->source, stream->type, &stream->count,
                                                    &stream->dimension, err);
    if (status != VDB_OK) {
        vdb_vector_stream_close(stream);
        return vdb_err_wrap(err, status, "\"%s\"", stream->path);
    }
    stream->type_name = stream->type_name != NULL ? stream->type_name : vdb_vectors_type_name(stream->type);
    return VDB_OK;
}

static vdb_status read_values(struct vdb_vector_stream *stream, struct vdb_vectors *block, struct vdb_err *err)
{
    if (stream->hdf5 != NULL) {
        return vdb_hdf5_read_rows(stream->hdf5, block, err);
    }
    if (stream->vecs) {
        return vdb_vecs_read_rows(&stream->source, block, err);
    }
    size_t row_bytes = vdb_vectors_row_bytes(block);
    return vdb_source_read(&stream->source, block->data, block->count * row_bytes,
                           stream->data_offset + (uint64_t)block->first_row * row_bytes, err);
}

/* The rows of a block, or behind the last one a look at the file's end. A file that changed is the reason behind
 * whatever its reader complains of, so that is what the message says. */
static vdb_status read_next(struct vdb_vector_stream *stream, struct vdb_vectors *block, struct vdb_err *err)
{
    struct vdb_err changed = {0};
    vdb_status status = VDB_OK;
    if (block->count > 0) {
        status = read_values(stream, block, err);
    } else if (stream->vecs) {
        status = vdb_vecs_check_end(&stream->source, stream->type, stream->count, stream->dimension, err);
    }
    vdb_status check = vdb_source_check_unchanged(&stream->source, &changed);
    bool decides = check == VDB_INVALID || (check != VDB_OK && status == VDB_OK);
    return decides ? vdb_err_set(err, check, "%s", changed.text) : status;
}

vdb_status vdb_vector_stream_next(struct vdb_vector_stream *stream, size_t rows_max, struct vdb_vectors *block,
                                  struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    *block = (struct vdb_vectors){0};
    size_t left = stream->count - stream->next_row;
    size_t rows = rows_max < left ? rows_max : left;
    if (rows > 0) {
        VDB_CHECK(vdb_vectors_init(block, stream->type, rows, stream->dimension, err));
        block->first_row = stream->next_row;
    }
    VDB_CHECK(read_next(stream, block, err));
    stream->next_row += rows;

cleanup:
    if (status != VDB_OK) {
        vdb_vectors_fini(block);
        return vdb_err_wrap(err, status, "\"%s\"", stream->path);
    }
    return VDB_OK;
}

void vdb_vector_stream_close(struct vdb_vector_stream *stream)
{
    vdb_hdf5_close(stream->hdf5);
    stream->hdf5 = NULL;
    vdb_source_close(&stream->source);
}
