/* hdf5_file.c: see hdf5_file.h; writing is in hdf5_write.c.
 *
 * Rows are read as hyperslabs, so a file larger than memory never lies in it whole. bool is what h5py makes of
 * numpy's: an enumeration of FALSE and TRUE over an 8-bit integer; it passes through a block of bytes that is
 * packed row by row.
 */
#include "hdf5_file.h"

#include "base/limits.h"
#include "base/mem.h"

#include <hdf5.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { BOOL_BLOCK_BYTES = 1 << 20, NAME_BYTES_MAX = 255, WORD_BYTES_MAX = 32 };

enum {
    CHUNK_CACHE_BYTES = 1 << 20,       /* libhdf5's own choice */
    CHUNK_CACHE_BYTES_MAX = 256 << 20, /* chunks side by side in one band of rows; all of them are read at once */
    CHUNK_COPIES = 3,                  /* of a chunk on its way into the cache: read, filtered, pushed out */
    READER_BYTES = 20 << 20,   /* libhdf5, its conversions, rows on their way: 9 to 17 MiB were measured */
    CHUNK_CACHE_SLOTS = 12421, /* a prime, some hundred times the chunks of a usual band */
    DEFLATE_RATIO_MAX = 1032,  /* a block of deflate holds at most 258 bytes for 2 bits */
};

struct vdb_hdf5_file {
    hid_t file;
    hid_t dataset;
    uint64_t file_bytes; /* as the file system says, not the superblock */
    size_t value_bytes;
    uint64_t memory_bytes;
    vdb_vectors_type type;
    size_t count;
    size_t dimension;
    char name[NAME_BYTES_MAX + 1];
};

static vdb_status open_file(const char *path, hid_t *out, struct vdb_err *err)
{
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    (void)H5PLset_loading_state(0); /* a file must not make us load code */
    *out = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (*out < 0) {
        return vdb_err_set(err, VDB_INVALID,
                           "libhdf5 cannot open it: not an HDF5 file, damaged, or open for writing elsewhere");
    }
    return VDB_OK;
}

/* Whether a boolean's two names are there, with the values 0 and 1. */
static bool is_bool(hid_t type)
{
    static const char *const names[] = {"FALSE", "TRUE"};
    if (H5Tget_nmembers(type) != 2 || H5Tget_size(type) != 1) {
        return false;
    }
    for (unsigned i = 0; i < 2; i++) {
        signed char value = -1;
        char *name = H5Tget_member_name(type, i);
        bool same = name != NULL && strcmp(name, names[i]) == 0 && H5Tget_member_value(type, i, &value) >= 0 &&
                    value == (signed char)i;
        (void)H5free_memory(name);
        if (!same) {
            return false;
        }
    }
    return true;
}

/* A type of the file as ours; otherwise its name goes to `word`. */
static bool map_type(hid_t type, vdb_vectors_type *out, char word[WORD_BYTES_MAX])
{
    static const char *const classes[] = {"integer", "float",    "time",      "string", "bit field",
                                          "opaque",  "compound", "reference", "enum",   "variable-length list",
                                          "array"};
    H5T_class_t class = H5Tget_class(type);
    size_t bytes = H5Tget_size(type);
    if (class == H5T_FLOAT && (bytes == 2 || bytes == 4 || bytes == 8)) {
        *out = VDB_VECTORS_F32;
        return true;
    }
    if (class == H5T_INTEGER) {
        bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
        if (bytes == 1 || (bytes == 4 && is_signed)) {
            *out = bytes == 4 ? VDB_VECTORS_I32 : is_signed ? VDB_VECTORS_I8 : VDB_VECTORS_U8;
            return true;
        }
        snprintf(word, WORD_BYTES_MAX, "%c%zu", is_signed ? 'i' : 'u', bytes * 8);
        return false;
    }
    if (class == H5T_ENUM && is_bool(type)) {
        *out = VDB_VECTORS_BIT;
        return true;
    }
    bool known = class >= 0 && (size_t) class < sizeof classes / sizeof classes[0];
    if (class == H5T_FLOAT) {
        snprintf(word, WORD_BYTES_MAX, "f%zu", bytes * 8);
    } else {
        snprintf(word, WORD_BYTES_MAX, "%s", known ? classes[class] : "unknown");
    }
    return false;
}

static vdb_status check_type(hid_t dataset, struct vdb_hdf5_file *hdf5, struct vdb_err *err)
{
    char word[WORD_BYTES_MAX] = "unknown";
    hid_t type = H5Dget_type(dataset);
    bool known = type >= 0 && map_type(type, &hdf5->type, word);
    if (type >= 0) {
        (void)H5Tclose(type);
    }
    return known ? VDB_OK
                 : vdb_err_set(err, VDB_INVALID,
                               "its values are of type %s; f16, f32, f64, u8, i8, bool and (for ids) i32 are "
                               "allowed",
                               word);
}

static vdb_status check_shape(hid_t dataset, struct vdb_hdf5_file *hdf5, struct vdb_err *err)
{
    hsize_t extent[2] = {0};
    hid_t space = H5Dget_space(dataset);
    int axes = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    bool read = axes == 2 && H5Sget_simple_extent_dims(space, extent, NULL) == 2;
    if (space >= 0) {
        (void)H5Sclose(space);
    }
    if (!read) {
        return vdb_err_set(err, VDB_INVALID, "its shape has %d axes; 2 (vectors, dimension) are allowed",
                           axes < 0 ? 0 : axes);
    }
    if (extent[1] < 1 || extent[1] > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_INVALID, "its dimension is %" PRIu64 ", 1 to %u is allowed",
                           (uint64_t)extent[1], VDB_LIMIT_DIMENSION_MAX);
    }
    if (extent[0] > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "it has %" PRIu64 " rows, at most %u are allowed", (uint64_t)extent[0],
                           VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    hdf5->count = (size_t)extent[0];
    hdf5->dimension = (size_t)extent[1];
    return VDB_OK;
}

/* The data's place: in this file. Asked before the shape, since libhdf5 opens other files for a virtual one's. */
static vdb_status check_layout(hid_t plist, H5D_layout_t *layout, struct vdb_err *err)
{
    *layout = H5Pget_layout(plist);
    bool known = *layout == H5D_COMPACT || *layout == H5D_CONTIGUOUS || *layout == H5D_CHUNKED;
    if (!known || H5Pget_external_count(plist) != 0) {
        return vdb_err_set(err, VDB_INVALID, "its values lie outside of this file, which is refused");
    }
    return VDB_OK;
}

/* Only filters that are part of libhdf5, widely used and simple; *deflated says whether one of them packs. */
static vdb_status check_filters(hid_t plist, bool *deflated, struct vdb_err *err)
{
    int count = H5Pget_nfilters(plist);
    *deflated = false;
    for (int i = 0; i < count; i++) {
        unsigned flags;
        unsigned config;
        size_t value_count = 0;
        H5Z_filter_t filter = H5Pget_filter2(plist, (unsigned)i, &flags, &value_count, NULL, 0, NULL, &config);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32) {
            return vdb_err_set(err, VDB_INVALID,
                               "its values are packed by filter number %d; gzip, shuffle and fletcher32 are "
                               "allowed",
                               (int)filter);
        }
        *deflated = *deflated || filter == H5Z_FILTER_DEFLATE;
    }
    return count >= 0 ? VDB_OK : vdb_err_set(err, VDB_INVALID, "its list of filters is damaged");
}

/* Bytes of the chunks that lie side by side in one band of rows, and the memory that reading them takes. */
static vdb_status check_chunks(hid_t plist, struct vdb_hdf5_file *hdf5, uint64_t *band_bytes,
                               uint64_t *chunk_count, struct vdb_err *err)
{
    hsize_t chunk[2] = {0};
    if (H5Pget_chunk(plist, 2, chunk) != 2 || chunk[0] == 0 || chunk[1] == 0) {
        return vdb_err_set(err, VDB_INVALID, "the shape of its chunks is damaged");
    }
    uint64_t across = (hdf5->dimension + chunk[1] - 1) / chunk[1];
    uint64_t bytes;
    if (chunk[1] > VDB_LIMIT_DIMENSION_MAX ||
        __builtin_mul_overflow(across * chunk[1] * hdf5->value_bytes, chunk[0], &bytes) ||
        bytes > CHUNK_CACHE_BYTES_MAX) {
        return vdb_err_set(err, VDB_LIMIT,
                           "its chunks have the shape (%" PRIu64 ", %" PRIu64
                           "); those that share a row may hold %d bytes together",
                           (uint64_t)chunk[0], (uint64_t)chunk[1], CHUNK_CACHE_BYTES_MAX);
    }
    *band_bytes = bytes;
    *chunk_count = across * ((hdf5->count + chunk[0] - 1) / chunk[0]);
    hdf5->memory_bytes += (bytes > CHUNK_CACHE_BYTES ? bytes : CHUNK_CACHE_BYTES) + bytes / across * CHUNK_COPIES;
    return VDB_OK;
}

static bool count_chunks(hid_t dataset, hsize_t *out)
{
    hid_t space = H5Dget_space(dataset); /* 1.10 does not know H5S_ALL here */
    bool counted = space >= 0 && H5Dget_num_chunks(dataset, space, out) >= 0;
    if (space >= 0) {
        (void)H5Sclose(space);
    }
    return counted;
}

/* The bytes stored bear out the shape: all values are there, and the file is long enough for them. */
static vdb_status check_stored(hid_t dataset, const struct vdb_hdf5_file *hdf5, H5D_layout_t layout,
                               bool deflated, uint64_t chunk_count, struct vdb_err *err)
{
    hsize_t found = 0;
    uint64_t needed = (uint64_t)hdf5->count * hdf5->dimension * hdf5->value_bytes; /* below 2^30 * 2^16 * 2^3 */
    uint64_t stored = H5Dget_storage_size(dataset);
    if (hdf5->count == 0) {
        return VDB_OK;
    }
    if (stored == 0) {
        return vdb_err_set(err, VDB_INVALID, "its shape is (%zu, %zu), but no values were ever written",
                           hdf5->count, hdf5->dimension);
    }
    uint64_t ratio = deflated ? DEFLATE_RATIO_MAX : 1;
    uint64_t can_hold = stored > UINT64_MAX / ratio ? UINT64_MAX : stored * ratio;
    haddr_t offset = layout == H5D_CONTIGUOUS ? H5Dget_offset(dataset) : 0;
    uint64_t file_bytes = hdf5->file_bytes;
    if (stored > file_bytes || offset > file_bytes - stored || can_hold < needed) {
        return vdb_err_set(err, VDB_INVALID,
                           "its shape is (%zu, %zu), %" PRIu64 " bytes; the file has %" PRIu64 " bytes, %" PRIu64
                           " of them for it: cut short or damaged",
                           hdf5->count, hdf5->dimension, needed, file_bytes, stored);
    }
    if (layout == H5D_CHUNKED && (!count_chunks(dataset, &found) || found != chunk_count)) {
        return vdb_err_set(err, VDB_INVALID,
                           "its shape is (%zu, %zu), %" PRIu64 " chunks; %" PRIu64 " were ever written",
                           hdf5->count, hdf5->dimension, chunk_count, (uint64_t)found);
    }
    return VDB_OK;
}

static size_t value_bytes_of(hid_t dataset)
{
    hid_t type = H5Dget_type(dataset);
    size_t bytes = type >= 0 ? H5Tget_size(type) : 0;
    if (type >= 0) {
        (void)H5Tclose(type);
    }
    return bytes;
}

/* Opens it anew with room for a band of chunks, without which each block of rows would unpack them all again. */
static vdb_status reopen_with_cache(struct vdb_hdf5_file *hdf5, uint64_t band_bytes, struct vdb_err *err)
{
    hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    (void)H5Dclose(hdf5->dataset);
    hdf5->dataset = -1;
    if (access >= 0 && H5Pset_chunk_cache(access, CHUNK_CACHE_SLOTS, (size_t)band_bytes, 1.0) >= 0) {
        hdf5->dataset = H5Dopen2(hdf5->file, hdf5->name, access);
    }
    if (access >= 0) {
        (void)H5Pclose(access);
    }
    return hdf5->dataset >= 0 ? VDB_OK : vdb_err_set(err, VDB_INVALID, "it cannot be opened a second time");
}

/* All that is asked of a data set before its values are read. */
static vdb_status check_dataset(struct vdb_hdf5_file *hdf5, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    H5D_layout_t layout;
    bool deflated;
    uint64_t band_bytes = 0;
    uint64_t chunk_count = 0;
    hid_t plist = H5Dget_create_plist(hdf5->dataset);
    if (plist < 0) {
        return vdb_err_set(err, VDB_INVALID, "its description is damaged");
    }
    VDB_CHECK(check_layout(plist, &layout, err));
    VDB_CHECK(check_filters(plist, &deflated, err));
    VDB_CHECK(check_type(hdf5->dataset, hdf5, err));
    VDB_CHECK(check_shape(hdf5->dataset, hdf5, err));
    hdf5->value_bytes = value_bytes_of(hdf5->dataset);
    hdf5->memory_bytes = READER_BYTES;
    if (layout == H5D_CHUNKED) {
        VDB_CHECK(check_chunks(plist, hdf5, &band_bytes, &chunk_count, err));
    }
    VDB_CHECK(check_stored(hdf5->dataset, hdf5, layout, deflated, chunk_count, err));
    if (band_bytes > CHUNK_CACHE_BYTES) {
        VDB_CHECK(reopen_with_cache(hdf5, band_bytes, err));
    }

cleanup:
    (void)H5Pclose(plist);
    return status;
}

static vdb_status open_dataset(struct vdb_hdf5_file *hdf5, struct vdb_err *err)
{
    H5L_info_t link;
    const char *name = hdf5->name;
    if (strchr(name, '/') != NULL || name[0] == '\0' || strcmp(name, ".") == 0) {
        return vdb_err_set(err, VDB_INVALID, "a data set's name holds no '/' and is not empty");
    }
    if (H5Lexists(hdf5->file, name, H5P_DEFAULT) <= 0) {
        bool all = H5Lexists(hdf5->file, "train", H5P_DEFAULT) > 0;
        return vdb_err_set(err, VDB_NOT_FOUND, "the file has no such data set%s",
                           all ? "" : "; ann-benchmarks files have train, test, neighbors and distances");
    }
    if (H5Lget_info(hdf5->file, name, &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD) {
        return vdb_err_set(err, VDB_INVALID, "it is a link to another place, which is refused");
    }
    hdf5->dataset = H5Dopen2(hdf5->file, name, H5P_DEFAULT);
    if (hdf5->dataset < 0) {
        return vdb_err_set(err, VDB_INVALID, "it is no data set (a group?), or damaged");
    }
    return check_dataset(hdf5, err);
}

vdb_status vdb_hdf5_file_open(const char *path, const char *name, struct vdb_hdf5_file **out,
                              struct vdb_hdf5_shape *shape, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    *out = NULL;
    if (strlen(name) > NAME_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "the data set's name has %zu bytes, at most %d are allowed",
                           strlen(name), NAME_BYTES_MAX);
    }
    struct vdb_hdf5_file *hdf5 = vdb_calloc(1, sizeof *hdf5);
    if (hdf5 == NULL) {
        return vdb_err_no_memory(err, "an HDF5 file");
    }
    hdf5->dataset = -1;
    memcpy(hdf5->name, name, strlen(name) + 1);
    VDB_CHECK(open_file(path, &hdf5->file, err));
    struct stat info;
    hdf5->file_bytes = stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
    status = open_dataset(hdf5, err);
    if (status != VDB_OK) {
        status = vdb_err_wrap(err, status, "data set \"%s\"", name);
        goto cleanup;
    }
    *shape = (struct vdb_hdf5_shape){.type = hdf5->type,
                                     .count = hdf5->count,
                                     .dimension = hdf5->dimension,
                                     .value_bytes = hdf5->value_bytes,
                                     .memory_bytes = hdf5->memory_bytes};
    *out = hdf5;

cleanup:
    if (status != VDB_OK) {
        vdb_hdf5_file_close(hdf5);
    }
    return status;
}

void vdb_hdf5_file_close(struct vdb_hdf5_file *hdf5)
{
    if (hdf5 == NULL) {
        return;
    }
    if (hdf5->dataset >= 0) {
        (void)H5Dclose(hdf5->dataset);
    }
    if (hdf5->file >= 0) {
        (void)H5Fclose(hdf5->file);
    }
    free(hdf5);
}

/* The memory type that libhdf5 converts to. */
static hid_t memory_type(vdb_vectors_type type)
{
    switch (type) {
    case VDB_VECTORS_F32:
        return H5T_NATIVE_FLOAT;
    case VDB_VECTORS_U8:
        return H5T_NATIVE_UCHAR;
    case VDB_VECTORS_I8:
        return H5T_NATIVE_SCHAR;
    default:
        return H5T_NATIVE_INT32;
    }
}

static vdb_status read_slab(struct vdb_hdf5_file *hdf5, hid_t type, size_t first, size_t rows, void *out,
                            struct vdb_err *err)
{
    hsize_t start[2] = {first, 0};
    hsize_t extent[2] = {rows, hdf5->dimension};
    hid_t memory = H5Screate_simple(2, extent, NULL);
    hid_t space = H5Dget_space(hdf5->dataset);
    bool read = memory >= 0 && space >= 0 &&
                H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, extent, NULL) >= 0 &&
                H5Dread(hdf5->dataset, type, memory, space, H5P_DEFAULT, out) >= 0;
    if (memory >= 0) {
        (void)H5Sclose(memory);
    }
    if (space >= 0) {
        (void)H5Sclose(space);
    }
    return read ? VDB_OK
                : vdb_err_set(err, VDB_INVALID,
                              "data set \"%s\": libhdf5 cannot read rows %zu to %zu: damaged or cut short",
                              hdf5->name, first, first + rows - 1);
}

/* Bytes of 0 and 1 into bits, by blocks of rows. */
static vdb_status read_bits(struct vdb_hdf5_file *hdf5, struct vdb_vectors *out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    size_t dimension = hdf5->dimension;
    size_t row_bytes = vdb_vectors_row_bytes(out);
    size_t block_rows = BOOL_BLOCK_BYTES / dimension > 0 ? BOOL_BLOCK_BYTES / dimension : 1;
    hid_t type = H5Dget_type(hdf5->dataset); /* read as it is: nothing to convert in one byte */
    uint8_t *block = malloc(block_rows * dimension);
    if (block == NULL || type < 0) {
        status = vdb_err_no_memory(err, "a block of rows");
        goto cleanup;
    }
    for (size_t first = 0; first < out->count; first += block_rows) {
        size_t rows = out->count - first < block_rows ? out->count - first : block_rows;
        VDB_CHECK(read_slab(hdf5, type, out->first_row + first, rows, block, err));
        for (size_t i = 0; i < rows * dimension; i++) {
            uint8_t *row = (uint8_t *)out->data + (first + i / dimension) * row_bytes;
            row[i % dimension / 8] |= (uint8_t)((block[i] != 0) << (7 - i % dimension % 8));
        }
    }

cleanup:
    free(block);
    if (type >= 0) {
        (void)H5Tclose(type);
    }
    return status;
}

vdb_status vdb_hdf5_file_read_rows(struct vdb_hdf5_file *hdf5, struct vdb_vectors *out, struct vdb_err *err)
{
    if (out->count == 0) {
        return VDB_OK;
    }
    if (hdf5->type == VDB_VECTORS_BIT) {
        return read_bits(hdf5, out, err);
    }
    return read_slab(hdf5, memory_type(hdf5->type), out->first_row, out->count, out->data, err);
}

static const struct {
    const char *word;
    vdb_metric metric;
} words[] = {
    {"euclidean", VDB_METRIC_L2},    {"angular", VDB_METRIC_COSINE},  {"ip", VDB_METRIC_DOT},
    {"hamming", VDB_METRIC_HAMMING}, {"jaccard", VDB_METRIC_JACCARD},
};

/* The attribute's text, of fixed or variable length, cut to the buffer. */
static bool read_word(hid_t file, char out[WORD_BYTES_MAX])
{
    bool read = false;
    hid_t attribute = H5Aopen(file, "distance", H5P_DEFAULT);
    hid_t type = attribute >= 0 ? H5Aget_type(attribute) : -1;
    hid_t space = attribute >= 0 ? H5Aget_space(attribute) : -1;
    bool text = type >= 0 && H5Tget_class(type) == H5T_STRING && space >= 0 &&
                H5Sget_simple_extent_npoints(space) == 1;
    memset(out, 0, WORD_BYTES_MAX);
    if (text && H5Tis_variable_str(type) > 0) {
        hid_t memory = H5Tcopy(H5T_C_S1);
        char *value = NULL;
        if (memory >= 0 && H5Tset_size(memory, H5T_VARIABLE) >= 0 &&
            H5Tset_cset(memory, H5Tget_cset(type)) >= 0 && H5Aread(attribute, memory, (void *)&value) >= 0 &&
            value != NULL) {
            snprintf(out, WORD_BYTES_MAX, "%s", value);
            read = true;
        }
        (void)H5free_memory(value);
        if (memory >= 0) {
            (void)H5Tclose(memory);
        }
    } else if (text && H5Tget_size(type) < WORD_BYTES_MAX) {
        read = H5Aread(attribute, type, out) >= 0;
    }
    (void)(space >= 0 && H5Sclose(space));
    (void)(type >= 0 && H5Tclose(type));
    (void)(attribute >= 0 && H5Aclose(attribute));
    return read;
}

vdb_status vdb_hdf5_file_metric(const char *path, vdb_metric *out, struct vdb_err *err)
{
    hid_t file;
    char word[WORD_BYTES_MAX];
    VDB_TRY(open_file(path, &file, err));
    bool there = H5Aexists(file, "distance") > 0;
    bool read = there && read_word(file, word);
    (void)H5Fclose(file);
    if (!there) {
        return vdb_err_set(err, VDB_NOT_FOUND, "the file has no attribute \"distance\"");
    }
    for (size_t i = 0; read && i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(word, words[i].word) == 0) {
            *out = words[i].metric;
            return VDB_OK;
        }
    }
    return vdb_err_set(
        err, VDB_INVALID,
        "attribute \"distance\" is %s%s%s; euclidean, angular, hamming, jaccard and ip are allowed",
        read ? "\"" : "", read ? word : "no short text", read ? "\"" : "");
}
