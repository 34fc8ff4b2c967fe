/* knn_options.c: what the options of `vecdb knn` mean together: which file holds the queries, which metric rules,
 * and which combinations say nothing that can be done. */
#include "knn.h"

#include "data/hdf5.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static vdb_status parse_radius(struct vdb_knn_options *options, struct vdb_err *err)
{
    char *end;
    double value = strtod(options->range_text, &end);
    if (end == options->range_text || *end != '\0' || !isfinite(value)) {
        return vdb_err_set(err, VDB_INVALID, "--range is \"%.60s\", a finite number is needed",
                           options->range_text);
    }
    if (value < 0 && options->metric != VDB_METRIC_DOT) {
        return vdb_err_set(err, VDB_INVALID, "--range is %.60s, a distance is 0 or more", options->range_text);
    }
    options->radius = value;
    return VDB_OK;
}

/* l2: the largest number whose root is within the radius, since roots are what users see and copy: the square of a
 * root is as often as not a little less than what the root was taken of. */
static double square_within(double radius)
{
    double square = fmin(radius * radius, DBL_MAX);
    while (sqrt(square) > radius) {
        square = nextafter(square, 0);
    }
    while (square < DBL_MAX && sqrt(nextafter(square, (double)INFINITY)) <= radius) {
        square = nextafter(square, (double)INFINITY);
    }
    return square;
}

double vdb_knn_radius_inside(const struct vdb_knn_options *options)
{
    return options->metric == VDB_METRIC_L2    ? square_within(options->radius)
           : options->metric == VDB_METRIC_DOT ? -options->radius
                                               : options->radius;
}

static vdb_status parse_memory(struct vdb_knn_options *options, struct vdb_err *err)
{
    static const char suffixes[] = "KMGT";
    const char *text = options->memory_text;
    char *end = NULL;
    errno = 0;
    uint64_t value = text[0] >= '0' && text[0] <= '9' ? strtoull(text, &end, 10) : 0;
    const char *suffix = value > 0 && *end != '\0' ? strchr(suffixes, *end & ~0x20) : NULL;
    unsigned shift = suffix != NULL ? 10 * (unsigned)(suffix - suffixes + 1) : 0;
    bool ends = value > 0 && errno == 0 && (*end == '\0' || (suffix != NULL && end[1] == '\0'));
    if (!ends || value > UINT64_MAX >> 1 >> shift) {
        return vdb_err_set(err, VDB_INVALID,
                           "--memory-limit is \"%.60s\"; a number of bytes of 1 or more is needed, K, M, G or T "
                           "may follow (512M)",
                           text);
    }
    options->memory_bytes_max = value << shift;
    return VDB_OK;
}

static vdb_status find_queries(struct vdb_knn_options *options, struct vdb_err *err)
{
    size_t path_bytes;
    const char *part;
    if (options->query_path != NULL && options->queries_path != NULL) {
        return vdb_err_set(err, VDB_INVALID,
                           "--query (one search after the other) and --queries (all at once) exclude each other");
    }
    if (options->query_path != NULL || options->queries_path != NULL) {
        bool one = options->query_path != NULL;
        options->query_option = one ? "--query" : "--queries";
        options->query_from = one ? options->query_path : options->queries_path;
        return VDB_OK;
    }
    if (!vdb_vector_stream_is_hdf5(options->dataset_path, &path_bytes, &part)) {
        return vdb_err_set(err, VDB_INVALID,
                           "--query is missing; it needs a value (FILE), as does --queries; only an HDF5 dataset "
                           "brings queries of its own");
    }
    if (path_bytes >= VDB_LIMIT_PATH_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "--dataset: the path has %zu bytes, at most %u are allowed",
                           path_bytes, VDB_LIMIT_PATH_BYTES_MAX - 1);
    }
    snprintf(options->test_path, sizeof options->test_path, "%.*s:test", (int)path_bytes, options->dataset_path);
    options->query_option = "--dataset (its test)";
    options->query_from = options->test_path;
    return VDB_OK;
}

/* Without --metric: what an HDF5 dataset says of itself, hamming for bits, l2. */
static vdb_status find_metric(struct vdb_knn_options *options, struct vdb_err *err)
{
    size_t path_bytes;
    const char *part;
    if (options->metric_given) {
        return VDB_OK;
    }
    options->metric = options->bits_given ? VDB_METRIC_HAMMING : VDB_METRIC_L2;
    if (!vdb_vector_stream_is_hdf5(options->dataset_path, &path_bytes, &part) ||
        path_bytes >= VDB_LIMIT_PATH_BYTES_MAX) {
        return VDB_OK;
    }
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    struct vdb_source probe; /* whether there is such a file: libhdf5 does not say */
    vdb_metric metric;
    memcpy(path, options->dataset_path, path_bytes);
    path[path_bytes] = '\0';
    vdb_status status = vdb_source_open(&probe, vdb_env_posix(), path, err);
    if (status != VDB_OK) {
        return vdb_err_wrap(err, status, "--dataset");
    }
    vdb_source_close(&probe);
    status = vdb_hdf5_metric(path, &metric, err);
    if (status == VDB_OK) {
        options->metric = metric;
    }
    return status == VDB_OK || status == VDB_NOT_FOUND ? VDB_OK
                                                       : vdb_err_wrap(err, status, "--dataset: \"%s\"", path);
}

/* Whether a file that would be written is the one that is read, by whatever names (links, "./", F.hdf5:NAME). */
static bool is_same_file(const char *written, const char *read)
{
    char path[VDB_LIMIT_PATH_BYTES_MAX + 8];
    size_t path_bytes = strlen(read);
    const char *part;
    struct stat a;
    struct stat b;
    (void)vdb_vector_stream_is_hdf5(read, &path_bytes, &part);
    snprintf(path, sizeof path, "%.*s", (int)(path_bytes < sizeof path ? path_bytes : sizeof path - 1), read);
    return stat(written, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static vdb_status refuse_overwriting(const struct vdb_knn_options *options, const char *written,
                                     struct vdb_err *err)
{
    struct stat info;
    if (is_same_file(written, options->dataset_path) || is_same_file(written, options->query_from)) {
        return vdb_err_set(err, VDB_INVALID, "--out is \"%.200s\": \"%.200s\" is read, and would be overwritten",
                           options->out_path, written);
    }
    if (stat(written, &info) == 0 && !S_ISREG(info.st_mode)) {
        return vdb_err_set(err, VDB_INVALID, "--out is \"%.200s\": \"%.200s\" is there, and is no regular file",
                           options->out_path, written);
    }
    return VDB_OK;
}

static vdb_status check_out(const struct vdb_knn_options *options, struct vdb_err *err)
{
    size_t path_bytes;
    const char *part;
    size_t bytes = strlen(options->out_path);
    bool npy = bytes > 4 && strcmp(options->out_path + bytes - 4, ".npy") == 0;
    bool hdf5 = vdb_vector_stream_is_hdf5(options->out_path, &path_bytes, &part) && part == NULL;
    if (!npy && !hdf5) {
        return vdb_err_set(err, VDB_INVALID, "--out is \"%.200s\"; its name must end in .npy, .hdf5 or .h5",
                           options->out_path);
    }
    if (bytes >= VDB_LIMIT_PATH_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "--out: the path has %zu bytes, at most %u are allowed", bytes,
                           VDB_LIMIT_PATH_BYTES_MAX - 1);
    }
    VDB_TRY(refuse_overwriting(options, options->out_path, err));
    if (npy) {
        char distances[VDB_LIMIT_PATH_BYTES_MAX + 8];
        vdb_knn_out_distances_path(options->out_path, distances, sizeof distances);
        VDB_TRY(refuse_overwriting(options, distances, err));
    }
    if (options->range_text != NULL) {
        return vdb_err_set(err, VDB_INVALID,
                           "--out writes lists of one length, --range gives lists of any length; use --json");
    }
    if (hdf5 && options->metric == VDB_METRIC_L1) {
        return vdb_err_set(err, VDB_INVALID, "--out: the HDF5 layout has no word for the metric l1; write .npy");
    }
    return VDB_OK;
}

vdb_status vdb_knn_options_resolve(struct vdb_knn_options *options, struct vdb_err *err)
{
    VDB_TRY(find_queries(options, err));
    VDB_TRY(find_metric(options, err));
    if (options->range_text != NULL) {
        if (options->k_given) {
            return vdb_err_set(err, VDB_INVALID, "--k and --range exclude each other");
        }
        VDB_TRY(parse_radius(options, err));
    }
    if (options->memory_text != NULL) {
        VDB_TRY(parse_memory(options, err));
    }
    if (options->out_path != NULL) {
        VDB_TRY(check_out(options, err));
    }
    options->batch = options->query_path == NULL || options->range_text != NULL || options->out_path != NULL ||
                     options->memory_text != NULL;
    return VDB_OK;
}
