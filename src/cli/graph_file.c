/* graph_file.c: index files: a graph, and which dataset it is of.
 *
 * All numbers little-endian.
 *
 *     0   8  "VDBINDX" and a zero
 *     8   4  version, 1                 a later one is refused
 *     12  4  bytes of this head
 *     16  8  bytes of the graph
 *     24  8  stamp of the dataset (vdb_graph_input_stamp)
 *     32  8  rows of it
 *     40  4  dimension
 *     44  1  element
 *     45  1  metric
 *     46  2  bytes of the path
 *     48  16 kind, zeros behind it
 *     64     path of the dataset
 *            4 bytes CRC-32C of the graph, 4 bytes CRC-32C of the head before
 *            the graph, as its kind saves it
 */
#include "graph.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "env/env.h"

enum { VERSION = 1, PATH_AT = 64, CHECK_BYTES = 8 };

static const char MAGIC[8] = "VDBINDX";

/* ---- Writing ---- */

static void put_head(const struct vdb_graph_file *head, uint64_t payload_bytes, uint32_t payload_crc,
                     struct vdb_buf *out)
{
    const size_t path_bytes = strlen(head->dataset);
    vdb_buf_put(out, MAGIC, sizeof MAGIC);
    vdb_buf_put_u32(out, VERSION);
    vdb_buf_put_u32(out, (uint32_t)(PATH_AT + path_bytes + CHECK_BYTES));
    vdb_buf_put_u64(out, payload_bytes);
    vdb_buf_put_u64(out, head->stamp);
    vdb_buf_put_u64(out, head->rows);
    vdb_buf_put_u32(out, head->dimension);
    vdb_buf_put_u8(out, (uint8_t)head->element);
    vdb_buf_put_u8(out, (uint8_t)head->metric);
    vdb_buf_put_u16(out, (uint16_t)path_bytes);
    vdb_buf_put(out, head->kind, sizeof head->kind);
    vdb_buf_put(out, head->dataset, path_bytes);
    vdb_buf_put_u32(out, payload_crc);
    if (!out->failed) {
        vdb_buf_put_u32(out, vdb_crc32c(0, out->data, out->bytes));
    }
}

struct writer {
    struct vdb_env *env;
    struct vdb_file *file;
    uint64_t offset;
    uint32_t crc; /* of the graph */
};

static vdb_status write_more(void *ctx, const void *data, size_t bytes, struct vdb_err *err)
{
    struct writer *writer = ctx;
    VDB_TRY(writer->env->ops->write_at(writer->env, writer->file, data, bytes, writer->offset, err));
    writer->crc = vdb_crc32c(writer->crc, data, bytes);
    writer->offset += bytes;
    return VDB_OK;
}

static vdb_status write_file(const char *path, const struct vdb_graph_kind *kind,
                             const struct vdb_graph_file *head, void *index, const struct vdb_rows *rows,
                             uint64_t *bytes, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_env *env = vdb_env_posix();
    struct writer writer = {.env = env};
    struct vdb_buf buf = {0};
    put_head(head, 0, 0, &buf);
    const uint64_t head_bytes = buf.bytes;
    writer.offset = head_bytes;
    VDB_CHECK(env->ops->open(env, path, VDB_OPEN_WRITE | VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE, &writer.file, err));
    VDB_CHECK(kind->ops->save(index, rows, head->stamp, write_more, &writer, err));
    vdb_buf_clear(&buf);
    put_head(head, writer.offset - head_bytes, writer.crc, &buf);
    if (buf.failed) {
        status = vdb_err_no_memory(err, "the head of an index file");
        goto cleanup;
    }
    VDB_CHECK(env->ops->write_at(env, writer.file, buf.data, buf.bytes, 0, err));
    VDB_CHECK(env->ops->sync(env, writer.file, err));
    *bytes = writer.offset;

cleanup:
    env->ops->close(env, writer.file);
    vdb_buf_fini(&buf);
    return status;
}

/* The path from the root, so that the file can be found from anywhere. */
static vdb_status make_absolute(const char *path, char out[VDB_LIMIT_PATH_BYTES_MAX], struct vdb_err *err)
{
    char here[VDB_LIMIT_PATH_BYTES_MAX];
    if (path[0] != '/' && getcwd(here, sizeof here) != NULL) {
        return vdb_path_join(out, VDB_LIMIT_PATH_BYTES_MAX, here, path, err);
    }
    if (strlen(path) >= VDB_LIMIT_PATH_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "--dataset: the path has %zu bytes, at most %u are allowed",
                           strlen(path), VDB_LIMIT_PATH_BYTES_MAX - 1);
    }
    snprintf(out, VDB_LIMIT_PATH_BYTES_MAX, "%s", path);
    return VDB_OK;
}

/* ---- Being stopped while writing ---- */

static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
enum { STOPS = sizeof stops / sizeof stops[0] };

static char unfinished[VDB_LIMIT_PATH_BYTES_MAX + 8]; /* what a signal's handler removes */

static void remove_unfinished(int number)
{
    (void)unlink(unfinished); /* safe in a handler, as is raise */
    (void)raise(number);      /* to which the action is the default again: SA_RESETHAND */
}

/* Signals that were ignored stay so. */
static void guard(const char *path, struct sigaction before[STOPS])
{
    struct sigaction action = {.sa_handler = remove_unfinished, .sa_flags = (int)SA_RESETHAND};
    (void)sigemptyset(&action.sa_mask);
    snprintf(unfinished, sizeof unfinished, "%s", path);
    for (size_t i = 0; i < STOPS; i++) {
        if (sigaction(stops[i], NULL, &before[i]) == 0 && before[i].sa_handler != SIG_IGN) {
            (void)sigaction(stops[i], &action, NULL);
        }
    }
}

static void unguard(const struct sigaction before[STOPS])
{
    for (size_t i = 0; i < STOPS; i++) {
        (void)sigaction(stops[i], &before[i], NULL);
    }
}

vdb_status vdb_graph_file_save(const char *path, const struct vdb_graph_kind *kind, const char *dataset,
                               struct vdb_graph_file *head, void *index, const struct vdb_rows *rows,
                               uint64_t *bytes, struct vdb_err *err)
{
    struct vdb_env *env = vdb_env_posix();
    char temporary[VDB_LIMIT_PATH_BYTES_MAX + 8];
    memset(head->kind, 0, sizeof head->kind);
    snprintf(head->kind, sizeof head->kind, "%s", kind->name);
    VDB_TRY(make_absolute(dataset, head->dataset, err));
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    struct sigaction before[STOPS];
    guard(temporary, before);
    vdb_status status = write_file(temporary, kind, head, index, rows, bytes, err);
    if (status == VDB_OK) {
        status = env->ops->rename(env, temporary, path, err);
    }
    unguard(before);
    if (status != VDB_OK) {
        struct vdb_err ignored;
        const vdb_status removed = env->ops->unlink(env, temporary, &ignored);
        (void)removed; /* it may never have been made */
        return vdb_err_wrap(err, status, "--out");
    }
    return VDB_OK;
}

vdb_status vdb_graph_file_try_directory(const char *option, const char *path, struct vdb_err *err)
{
    struct vdb_env *env = vdb_env_posix();
    struct vdb_file *file = NULL;
    char temporary[VDB_LIMIT_PATH_BYTES_MAX + 8];
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    vdb_status status = env->ops->open(env, temporary, VDB_OPEN_WRITE | VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE,
                                       &file, err);
    env->ops->close(env, file);
    if (status == VDB_OK) {
        status = env->ops->unlink(env, temporary, err);
    }
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "%s", option);
}

vdb_status vdb_graph_file_may_write(const char *path, struct vdb_err *err)
{
    struct vdb_env *env = vdb_env_posix();
    struct vdb_file *file = NULL;
    vdb_file_kind kind;
    uint64_t bytes;
    char magic[sizeof MAGIC];
    size_t got = 0;
    if (strlen(path) >= VDB_LIMIT_PATH_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "--out: the path has %zu bytes, at most %u are allowed",
                           strlen(path), VDB_LIMIT_PATH_BYTES_MAX - 1);
    }
    vdb_status status = env->ops->stat(env, path, &kind, &bytes, err);
    if (status == VDB_NOT_FOUND) {
        return vdb_graph_file_try_directory("--out", path, err);
    }
    if (status == VDB_OK && kind == VDB_KIND_FILE && bytes > 0) {
        status = env->ops->open(env, path, VDB_OPEN_READ, &file, err);
        if (status == VDB_OK) {
            status = env->ops->read_at(env, file, magic, sizeof magic, 0, &got, err);
        }
        env->ops->close(env, file);
    }
    if (status != VDB_OK) {
        return vdb_err_wrap(err, status, "--out");
    }
    if (kind != VDB_KIND_FILE || (bytes > 0 && (got != sizeof magic || memcmp(magic, MAGIC, got) != 0))) {
        return vdb_err_set(err, VDB_INVALID,
                           "--out is \"%.200s\": what is there is no index file, and is not written over", path);
    }
    return vdb_graph_file_try_directory("--out", path, err);
}

/* ---- Reading ---- */

vdb_status vdb_graph_file_parse(const void *data, size_t bytes, struct vdb_graph_file *head,
                                const uint8_t **payload, size_t *payload_bytes, struct vdb_err *err)
{
    const uint8_t *at = data;
    *head = (struct vdb_graph_file){0};
    if (bytes < sizeof MAGIC || memcmp(at, MAGIC, sizeof MAGIC) != 0) {
        return vdb_err_set(err, VDB_INVALID, "it is no index file: it does not begin with \"%s\"", MAGIC);
    }
    if (bytes < PATH_AT + CHECK_BYTES) {
        return vdb_err_set(err, VDB_INVALID, "it is cut short: %zu bytes, an index file has %d or more", bytes,
                           PATH_AT + CHECK_BYTES);
    }
    const uint32_t version = vdb_load_u32(at + 8);
    if (version != VERSION) {
        return vdb_err_set(err, VDB_VERSION, "its version is %" PRIu32 ", this program knows version %d", version,
                           VERSION);
    }
    const size_t head_bytes = vdb_load_u32(at + 12);
    const size_t path_bytes = vdb_load_u16(at + 46);
    if (head_bytes != PATH_AT + path_bytes + CHECK_BYTES || path_bytes >= sizeof head->dataset ||
        head_bytes > bytes || vdb_load_u32(at + head_bytes - 4) != vdb_crc32c(0, at, head_bytes - 4)) {
        return vdb_err_set(err, VDB_CORRUPT, "its head is damaged: checksum mismatch");
    }
    const uint64_t graph_bytes = vdb_load_u64(at + 16);
    if (graph_bytes != bytes - head_bytes) {
        return vdb_err_set(err, VDB_INVALID,
                           "it has %zu bytes, its head says %" PRIu64 ": it is cut short or longer", bytes,
                           graph_bytes + head_bytes);
    }
    if (vdb_load_u32(at + head_bytes - CHECK_BYTES) != vdb_crc32c(0, at + head_bytes, graph_bytes)) {
        return vdb_err_set(err, VDB_CORRUPT, "its graph is damaged: checksum mismatch");
    }
    head->stamp = vdb_load_u64(at + 24);
    head->rows = vdb_load_u64(at + 32);
    head->dimension = vdb_load_u32(at + 40);
    head->element = (vdb_element)at[44];
    head->metric = (vdb_metric)at[45];
    memcpy(head->kind, at + 48, sizeof head->kind);
    memcpy(head->dataset, at + PATH_AT, path_bytes);
    if (at[44] >= VDB_ELEMENT_COUNT || at[45] >= VDB_METRIC_COUNT || head->kind[sizeof head->kind - 1] != '\0' ||
        head->dimension == 0 || strlen(head->dataset) != path_bytes) {
        return vdb_err_set(err, VDB_CORRUPT,
                           "its head names what there is not: element %u, metric %u, dimension %u", at[44],
                           at[45], head->dimension);
    }
    *payload = at + head_bytes;
    *payload_bytes = (size_t)graph_bytes;
    return VDB_OK;
}

vdb_status vdb_graph_file_fits(const struct vdb_graph_file *head, const char *dataset,
                               const struct vdb_rows *rows, uint64_t stamp, struct vdb_err *err)
{
    if (rows->count != head->rows) {
        return vdb_err_set(err, VDB_INVALID,
                           "\"%.200s\" has %zu vectors, the index was built over %" PRIu64
                           ": it is of another dataset",
                           dataset, rows->count, head->rows);
    }
    if (rows->dimension != head->dimension) {
        return vdb_err_set(
            err, VDB_INVALID,
            "\"%.200s\" has dimension %zu, the index was built over dimension %u: it is of another "
            "dataset",
            dataset, rows->dimension, head->dimension);
    }
    if (rows->element != head->element) {
        return vdb_err_set(err, VDB_INVALID,
                           "\"%.200s\" holds %s, the index was built over %s: it is of another dataset", dataset,
                           vdb_element_name(rows->element), vdb_element_name(head->element));
    }
    if (stamp != head->stamp) {
        return vdb_err_set(err, VDB_INVALID,
                           "\"%.200s\" has checksum %016" PRIx64
                           ", the index was built over values of %016" PRIx64
                           ": it is another dataset, or was changed",
                           dataset, stamp, head->stamp);
    }
    return VDB_OK;
}
