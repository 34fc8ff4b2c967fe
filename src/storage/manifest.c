/* manifest.c: metadata.json, written and read.
 *
 * The text is fixed to the byte: encode writes one canonical form and decode accepts only a text that encode
 * would have written for the same values (F2), so that no byte of the file is without meaning.
 *
 *   F1  The last member is "crc32c": the checksum of every byte before `,"crc32c"`, as 8 hexadecimal digits.
 *   F2  decode(text) succeeds only if encode(decode(text)) == text, unless a newer writer (its format is higher)
 *       allowed this reader: then members unknown here are skipped.
 */
#include "manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/json.h"

enum { MANIFEST_BYTES_MAX = 1 << 20 };

static const char *const kind_magic[] = {
    [VDB_MANIFEST_DATABASE] = "vecdb-database",
    [VDB_MANIFEST_COLLECTION] = "vecdb-collection",
};

void vdb_uuid_print(const uint8_t uuid[VDB_UUID_BYTES], char out[2 * VDB_UUID_BYTES + 1])
{
    for (int i = 0; i < VDB_UUID_BYTES; i++) {
        snprintf(out + (size_t)2 * (size_t)i, 3, "%02x", uuid[i]);
    }
}

static bool parse_uuid(struct vdb_str text, uint8_t uuid[VDB_UUID_BYTES])
{
    if (text.bytes != (size_t)2 * VDB_UUID_BYTES) {
        return false;
    }
    for (size_t i = 0; i < text.bytes; i++) {
        char c = text.data[i];
        unsigned digit = 0;
        if (c >= '0' && c <= '9') {
            digit = (unsigned)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = (unsigned)(c - 'a') + 10;
        } else {
            return false;
        }
        uuid[i / 2] = (uint8_t)((i % 2 == 0 ? 0 : uuid[i / 2] << 4) | digit);
    }
    return true;
}

void vdb_manifest_encode(const struct vdb_manifest *manifest, struct vdb_buf *out)
{
    size_t start = out->bytes;
    char uuid[2 * VDB_UUID_BYTES + 1];
    vdb_uuid_print(manifest->uuid, uuid);
    vdb_buf_printf(out, "{\"magic\": \"%s\",\n \"format\": %d,\n \"min_reader\": %d,\n \"features\": 0,\n",
                   kind_magic[manifest->kind], VDB_FORMAT_VERSION, VDB_FORMAT_VERSION);
    vdb_buf_printf(out, " \"uuid\": \"%s\",\n \"created_us\": %" PRIu64, uuid, manifest->created_us);
    if (manifest->kind == VDB_MANIFEST_COLLECTION) {
        const struct vdb_schema *schema = &manifest->schema;
        /* Names are of [A-Za-z0-9_.-]: nothing to escape. */
        vdb_buf_printf(out,
                       ",\n \"schema\": {\"name\": \"%s\", \"dimension\": %" PRIu32
                       ", \"element\": \"f32\", \"metric\": \"%s\", \"index\": \"%s\"}",
                       schema->name, schema->dimension, vdb_metric_name(schema->metric), schema->index);
        vdb_buf_printf(out, ",\n \"wal_first\": %" PRIu64, manifest->wal_first);
    }
    uint32_t crc = out->failed ? 0 : vdb_crc32c(0, out->data + start, out->bytes - start);
    vdb_buf_printf(out, ",\n \"crc32c\": \"%08" PRIx32 "\"}\n", crc);
}

/* What the file says of its own readability, before anything else in it is believed. */
struct preamble {
    struct vdb_str magic;
    uint64_t format;
    uint64_t min_reader;
    uint64_t features;
};

static vdb_status copy_name(struct vdb_json *json, char *out, size_t out_bytes, struct vdb_err *err)
{
    struct vdb_str raw;
    VDB_TRY(vdb_json_string_raw(json, &raw, err));
    if (raw.bytes >= out_bytes) {
        return vdb_err_set(err, VDB_CORRUPT, "a name of %zu bytes, at most %zu fit", raw.bytes, out_bytes - 1);
    }
    memcpy(out, raw.data, raw.bytes);
    out[raw.bytes] = '\0';
    return VDB_OK;
}

static vdb_status decode_schema(struct vdb_json *json, struct vdb_schema *schema, struct vdb_err *err)
{
    bool more;
    struct vdb_str key;
    VDB_TRY(vdb_json_enter_object(json, err));
    for (;;) {
        VDB_TRY(vdb_json_next_key(json, &key, &more, err));
        if (!more) {
            return VDB_OK;
        }
        if (vdb_str_is(key, "name")) {
            VDB_TRY(copy_name(json, schema->name, sizeof schema->name, err));
        } else if (vdb_str_is(key, "index")) {
            VDB_TRY(copy_name(json, schema->index, sizeof schema->index, err));
        } else if (vdb_str_is(key, "dimension")) {
            uint64_t dimension;
            VDB_TRY(vdb_json_u64(json, &dimension, err));
            schema->dimension = dimension <= VDB_LIMIT_DIMENSION_MAX ? (uint32_t)dimension : 0;
        } else if (vdb_str_is(key, "metric") || vdb_str_is(key, "element")) {
            struct vdb_str name;
            vdb_element element;
            VDB_TRY(vdb_json_string_raw(json, &name, err));
            bool known = vdb_str_is(key, "metric")
                             ? vdb_metric_parse(name, &schema->metric) &&
                                   vdb_metric_fits(VDB_ELEMENT_F32, schema->metric)
                             : vdb_element_parse(name, &element) && element == VDB_ELEMENT_F32;
            if (!known) {
                return vdb_err_set(err, VDB_VERSION, "schema.%.*s: \"%.*s\" is not known to this version",
                                   (int)key.bytes, key.data, (int)name.bytes, name.data);
            }
        } else {
            return vdb_err_set(err, VDB_CORRUPT, "unknown member \"schema.%.*s\"", (int)key.bytes, key.data);
        }
    }
}

static vdb_status decode_member(struct vdb_json *json, struct vdb_str key, struct vdb_manifest *out,
                                struct preamble *preamble, struct vdb_err *err)
{
    struct vdb_str text;
    if (vdb_str_is(key, "magic")) {
        return vdb_json_string_raw(json, &preamble->magic, err);
    }
    if (vdb_str_is(key, "format")) {
        return vdb_json_u64(json, &preamble->format, err);
    }
    if (vdb_str_is(key, "min_reader")) {
        return vdb_json_u64(json, &preamble->min_reader, err);
    }
    if (vdb_str_is(key, "features")) {
        return vdb_json_u64(json, &preamble->features, err);
    }
    if (vdb_str_is(key, "created_us")) {
        return vdb_json_u64(json, &out->created_us, err);
    }
    if (vdb_str_is(key, "wal_first")) {
        return vdb_json_u64(json, &out->wal_first, err);
    }
    if (vdb_str_is(key, "schema")) {
        return decode_schema(json, &out->schema, err);
    }
    if (vdb_str_is(key, "uuid")) {
        VDB_TRY(vdb_json_string_raw(json, &text, err));
        return parse_uuid(text, out->uuid) ? VDB_OK : vdb_err_set(err, VDB_CORRUPT, "uuid is not 32 hex digits");
    }
    if (vdb_str_is(key, "crc32c")) {
        return vdb_json_string_raw(json, &text, err);
    }
    if (preamble->format > VDB_FORMAT_VERSION) {
        return vdb_json_skip(json, NULL, err); /* a newer writer's, which min_reader says we need not know */
    }
    return vdb_err_set(err, VDB_CORRUPT, "unknown member \"%.*s\"", (int)key.bytes, key.data);
}

static vdb_status check_preamble(const struct preamble *preamble, vdb_manifest_kind kind, struct vdb_err *err)
{
    if (!vdb_str_is(preamble->magic, kind_magic[kind])) {
        return vdb_err_set(err, VDB_CORRUPT, "magic is \"%.*s\", expected \"%s\"", (int)preamble->magic.bytes,
                           preamble->magic.data != NULL ? preamble->magic.data : "", kind_magic[kind]);
    }
    if (preamble->min_reader > VDB_FORMAT_VERSION) {
        return vdb_err_set(err, VDB_VERSION,
                           "format %" PRIu64 " needs a reader of format %" PRIu64
                           " or later; this build reads up to %d",
                           preamble->format, preamble->min_reader, VDB_FORMAT_VERSION);
    }
    if (preamble->features != 0) {
        return vdb_err_set(err, VDB_VERSION, "feature bits 0x%" PRIx64 " are not known to this version",
                           preamble->features);
    }
    return VDB_OK;
}

/* F1. The position of the checksum member is fixed by the canonical form: the last 25 bytes. */
static vdb_status check_crc(const char *text, size_t bytes, struct vdb_err *err)
{
    const char tail[] = ",\n \"crc32c\": \"00000000\"}\n";
    size_t tail_bytes = sizeof tail - 1;
    if (bytes <= tail_bytes || memcmp(text + bytes - tail_bytes, tail, 14) != 0) {
        return vdb_err_set(err, VDB_CORRUPT, "does not end in its checksum; the file is cut or damaged");
    }
    char expected[64];
    uint32_t crc = vdb_crc32c(0, text, bytes - tail_bytes);
    snprintf(expected, sizeof expected, ",\n \"crc32c\": \"%08" PRIx32 "\"}\n", crc);
    if (memcmp(text + bytes - tail_bytes, expected, tail_bytes) != 0) {
        return vdb_err_set(err, VDB_CORRUPT, "checksum mismatch: the bytes give %08" PRIx32, crc);
    }
    return VDB_OK;
}

/* F2 */
static vdb_status check_canonical(const char *text, size_t bytes, const struct vdb_manifest *manifest,
                                  struct vdb_err *err)
{
    struct vdb_buf again = {0};
    vdb_manifest_encode(manifest, &again);
    vdb_status status = VDB_OK;
    if (again.failed) {
        status = vdb_err_no_memory(err, "a manifest");
    } else if (again.bytes != bytes || memcmp(again.data, text, bytes) != 0) {
        status = vdb_err_set(err, VDB_CORRUPT, "is not in canonical form");
    }
    vdb_buf_fini(&again);
    return status;
}

vdb_status vdb_manifest_decode(const char *text, size_t bytes, vdb_manifest_kind kind, struct vdb_manifest *out,
                               struct vdb_err *err)
{
    *out = (struct vdb_manifest){.kind = kind};
    VDB_TRY(check_crc(text, bytes, err));
    struct preamble preamble = {0};
    struct vdb_json json;
    vdb_json_init(&json, text, bytes, VDB_LIMIT_JSON_DEPTH_MAX);
    vdb_status status = vdb_json_enter_object(&json, err);
    while (status == VDB_OK) {
        struct vdb_str key;
        bool more;
        status = vdb_json_next_key(&json, &key, &more, err);
        if (status != VDB_OK || !more) {
            break;
        }
        status = decode_member(&json, key, out, &preamble, err);
        /* What this build may not read may look like anything: the preamble, which comes first, decides. */
        if (status != VDB_OK && (preamble.min_reader > VDB_FORMAT_VERSION || preamble.features != 0)) {
            return check_preamble(&preamble, kind, err);
        }
    }
    if (status == VDB_OK) {
        status = vdb_json_end(&json, err);
    }
    if (status != VDB_OK) {
        return status == VDB_INVALID ? vdb_err_wrap(err, VDB_CORRUPT, "not a manifest") : status;
    }
    VDB_TRY(check_preamble(&preamble, kind, err));
    out->format = preamble.format;
    if (kind == VDB_MANIFEST_COLLECTION) {
        status = vdb_schema_check(&out->schema, err);
        if (status != VDB_OK) {
            return vdb_err_wrap(err, VDB_CORRUPT, "schema");
        }
    }
    return out->format > VDB_FORMAT_VERSION ? VDB_OK : check_canonical(text, bytes, out, err);
}

vdb_status vdb_manifest_load(struct vdb_env *env, const char *dir, vdb_manifest_kind kind,
                             struct vdb_manifest *out, struct vdb_err *err)
{
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    uint8_t *text = NULL;
    size_t bytes;
    VDB_TRY(vdb_path_join(path, sizeof path, dir, VDB_MANIFEST_NAME, err));
    vdb_status status = vdb_env_read_file(env, path, MANIFEST_BYTES_MAX, &text, &bytes, err);
    if (status == VDB_LIMIT) {
        return vdb_err_wrap(err, VDB_CORRUPT, "not a manifest");
    }
    VDB_TRY(status);
    status = vdb_manifest_decode((const char *)text, bytes, kind, out, err);
    free(text);
    return status == VDB_OK ? VDB_OK : vdb_err_wrap(err, status, "\"%s\"", path);
}

vdb_status vdb_manifest_save(struct vdb_env *env, const char *dir, const struct vdb_manifest *manifest,
                             struct vdb_err *err)
{
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    VDB_TRY(vdb_path_join(path, sizeof path, dir, VDB_MANIFEST_NAME, err));
    struct vdb_buf text = {0};
    vdb_manifest_encode(manifest, &text);
    vdb_status status = text.failed ? vdb_err_no_memory(err, "a manifest")
                                    : vdb_env_replace_file(env, path, text.data, text.bytes, err);
    vdb_buf_fini(&text);
    return status;
}
