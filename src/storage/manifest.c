/* manifest.c: metadata.json, written and read.
 *
 * The text is fixed to the byte: encode writes one canonical form and decode accepts only a text that the writer of
 * its format would have written for the same values (F2), so that no byte of the file is without meaning.
 *
 *   F1  The last member is "crc32c": the checksum of every byte before `,"crc32c"`, as 8 hexadecimal digits.
 *   F2  decode(text) succeeds only if writing what was decoded, in the text's own format, gives the text, unless a
 *       newer writer (its format is higher) allowed this reader: then members unknown here are skipped.
 *   F3  What save writes, load takes: save refuses a manifest that decode would refuse.
 *
 * Which readers may read it (min_reader): a reader of format 1 replays the whole log from wal_first and would not see
 * rows in segments, so it is shut out from the first checkpoint on, and from the start where vectors are not f32, which is
 * all that it knows. Else it misses nothing: the database's manifest, and that of a collection of f32 without a
 * checkpoint, say 1.
 */
#include "manifest.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/json.h"
#include "base/mem.h"

enum {
    FORMAT_CHECKPOINTS = 2, /* the first with a checkpoint and segments, and with elements other than f32 */
    MANIFEST_BYTES_MAX = 2 << 20,
    HEAD_BYTES_MAX = 64 << 10,   /* all but the segments */
    SEGMENT_LINE_BYTES_MAX = 400 /* one of them: its words and the longest numbers make 368 */
};
_Static_assert(HEAD_BYTES_MAX + (long)VDB_SEGMENTS_MAX * SEGMENT_LINE_BYTES_MAX <= MANIFEST_BYTES_MAX,
               "the largest manifest that can be written can be read");

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

void vdb_manifest_fini(struct vdb_manifest *manifest)
{
    free(manifest->segments);
    *manifest = (struct vdb_manifest){0};
}

static void encode_stamp(struct vdb_buf *out, struct vdb_stamp stamp)
{
    vdb_buf_printf(out, "\"bytes\": %" PRIu64 ", \"crc32c\": \"%08" PRIx32 "\"}", stamp.bytes, stamp.crc);
}

static void encode_segment(struct vdb_buf *out, const struct vdb_segment_info *segment)
{
    vdb_buf_printf(out, "{\"number\": %" PRIu32 ", \"rows\": %" PRIu32 ", \"vectors\": {", segment->number,
                   segment->rows);
    encode_stamp(out, segment->vectors);
    vdb_buf_put_text(out, ", \"meta\": {");
    encode_stamp(out, segment->meta);
    if (segment->dead_edition > 0) {
        vdb_buf_printf(out, ", \"dead\": {\"edition\": %" PRIu32 ", \"rows\": %" PRIu32 ", ",
                       segment->dead_edition, segment->dead_rows);
        encode_stamp(out, segment->dead);
    }
    if (segment->index_edition > 0) {
        vdb_buf_printf(out, ", \"index\": {\"edition\": %" PRIu32 ", ", segment->index_edition);
        encode_stamp(out, segment->index);
    }
    vdb_buf_put_text(out, "}");
}

/* The numbers of an index's configuration, in the order in which they stand. */
static const struct {
    const char *name;
    size_t at;
} config_numbers[] = {
    {"m", offsetof(struct vdb_index_config, m)},
    {"ef_construction", offsetof(struct vdb_index_config, ef_construction)},
    {"ef_search", offsetof(struct vdb_index_config, ef_search)},
    {"code_bits", offsetof(struct vdb_index_config, code_bits)},
    {"compact", offsetof(struct vdb_index_config, compact)},
    {"scan_below", offsetof(struct vdb_index_config, scan_below)},
};

enum { CONFIG_NUMBERS = sizeof config_numbers / sizeof config_numbers[0] };

static uint32_t config_number(const struct vdb_index_config *config, size_t i)
{
    uint32_t value;
    memcpy(&value, (const char *)config + config_numbers[i].at, sizeof value);
    return value;
}

/* Of the members that are not 0, if there are any; the type stands in the schema. */
static void encode_config(struct vdb_buf *out, const struct vdb_index_config *config)
{
    const char *const first = ",\n \"index_config\": {";
    const char *between = first;
    for (size_t i = 0; i < CONFIG_NUMBERS; i++) {
        uint32_t value = config_number(config, i);
        if (value != 0) {
            vdb_buf_printf(out, "%s\"%s\": %" PRIu32, between, config_numbers[i].name, value);
            between = ", ";
        }
    }
    if (config->target_recall != 0) {
        vdb_buf_printf(out, "%s\"target_recall\": ", between);
        vdb_json_put_double(out, config->target_recall);
        between = ", ";
    }
    if (between != first) {
        vdb_buf_put_text(out, "}");
    }
}

static const char *const role_names[] = {[false] = "primary", [true] = "follower"};

/* The canonical text in format 1 or 2. */
static void encode_format(const struct vdb_manifest *manifest, uint64_t format, struct vdb_buf *out)
{
    size_t start = out->bytes;
    char uuid[2 * VDB_UUID_BYTES + 1];
    const bool newer = manifest->kind == VDB_MANIFEST_COLLECTION &&
                       (manifest->checkpoint_seq > 0 || manifest->schema.element != VDB_ELEMENT_F32);
    vdb_uuid_print(manifest->uuid, uuid);
    vdb_buf_printf(out,
                   "{\"magic\": \"%s\",\n \"format\": %" PRIu64 ",\n \"min_reader\": %d,\n \"features\": 0,\n",
                   kind_magic[manifest->kind], format, newer ? FORMAT_CHECKPOINTS : 1);
    vdb_buf_printf(out, " \"uuid\": \"%s\",\n \"created_us\": %" PRIu64, uuid, manifest->created_us);
    if (manifest->kind == VDB_MANIFEST_COLLECTION) {
        const struct vdb_schema *schema = &manifest->schema;
        const vdb_element element = format >= FORMAT_CHECKPOINTS ? schema->element : VDB_ELEMENT_F32;
        /* Names are of [A-Za-z0-9_.-]: nothing to escape. */
        vdb_buf_printf(out,
                       ",\n \"schema\": {\"name\": \"%s\", \"dimension\": %" PRIu32
                       ", \"element\": \"%s\", \"metric\": \"%s\", \"index\": \"%s\"}",
                       schema->name, schema->dimension, vdb_element_name(element),
                       vdb_metric_name(schema->metric), manifest->index_config.type);
        vdb_buf_printf(out, ",\n \"wal_first\": %" PRIu64, manifest->wal_first);
    }
    if (manifest->kind == VDB_MANIFEST_COLLECTION && format >= FORMAT_CHECKPOINTS) {
        vdb_buf_printf(out,
                       ",\n \"role\": \"%s\",\n \"checkpoint_seq\": %" PRIu64 ",\n \"next_number\": %" PRIu32,
                       role_names[manifest->follower], manifest->checkpoint_seq, manifest->next_number);
        encode_config(out, &manifest->index_config);
        vdb_buf_put_text(out, ",\n \"segments\": [");
        for (uint32_t i = 0; i < manifest->segment_count; i++) {
            vdb_buf_put_text(out, i > 0 ? ",\n  " : "\n  ");
            encode_segment(out, &manifest->segments[i]);
        }
        vdb_buf_put_text(out, "]");
    }
    uint32_t crc = out->failed ? 0 : vdb_crc32c(0, out->data + start, out->bytes - start);
    vdb_buf_printf(out, ",\n \"crc32c\": \"%08" PRIx32 "\"}\n", crc);
}

void vdb_manifest_encode(const struct vdb_manifest *manifest, struct vdb_buf *out)
{
    encode_format(manifest, VDB_FORMAT_VERSION, out);
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

static vdb_status decode_schema(struct vdb_json *json, struct vdb_manifest *out, struct vdb_err *err)
{
    struct vdb_schema *schema = &out->schema;
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
            VDB_TRY(copy_name(json, out->index_config.type, sizeof out->index_config.type, err));
        } else if (vdb_str_is(key, "dimension")) {
            uint64_t dimension;
            VDB_TRY(vdb_json_u64(json, &dimension, err));
            schema->dimension = dimension <= VDB_LIMIT_DIMENSION_MAX ? (uint32_t)dimension : 0;
        } else if (vdb_str_is(key, "metric") || vdb_str_is(key, "element")) {
            struct vdb_str name;
            VDB_TRY(vdb_json_string_raw(json, &name, err));
            bool known = vdb_str_is(key, "metric")
                             ? vdb_metric_parse(name, &schema->metric) &&
                                   vdb_metric_fits(VDB_ELEMENT_F32, schema->metric)
                             : vdb_element_parse(name, &schema->element) && vdb_element_is_kept(schema->element);
            if (!known) {
                return vdb_err_set(err, VDB_VERSION, "schema.%.*s: \"%.*s\" is not known to this version",
                                   (int)key.bytes, key.data, (int)name.bytes, name.data);
            }
        } else {
            return vdb_err_set(err, VDB_CORRUPT, "unknown member \"schema.%.*s\"", (int)key.bytes, key.data);
        }
    }
}

/* A member of a newer writer, which min_reader says we need not know, is skipped; else it is damage. */
static vdb_status skip_unknown(struct vdb_json *json, struct vdb_str key, const char *where, uint64_t format,
                               struct vdb_err *err)
{
    if (format > VDB_FORMAT_VERSION) {
        return vdb_json_skip(json, NULL, err);
    }
    return vdb_err_set(err, VDB_CORRUPT, "unknown member \"%s%.*s\"", where, (int)key.bytes, key.data);
}

static vdb_status decode_u32(struct vdb_json *json, struct vdb_str key, uint32_t *out, struct vdb_err *err)
{
    uint64_t value;
    VDB_TRY(vdb_json_u64(json, &value, err));
    if (value > UINT32_MAX) {
        return vdb_err_set(err, VDB_CORRUPT, "%.*s is %" PRIu64 ", at most %" PRIu32 " fits", (int)key.bytes,
                           key.data, value, UINT32_MAX);
    }
    *out = (uint32_t)value;
    return VDB_OK;
}

static vdb_status decode_crc(struct vdb_json *json, uint32_t *out, struct vdb_err *err)
{
    struct vdb_str text;
    char digits[9] = {0};
    char again[9];
    VDB_TRY(vdb_json_string_raw(json, &text, err));
    if (text.bytes == 8) {
        memcpy(digits, text.data, 8);
        *out = (uint32_t)strtoul(digits, NULL, 16);
        snprintf(again, sizeof again, "%08" PRIx32, *out);
        if (strcmp(again, digits) == 0) {
            return VDB_OK;
        }
    }
    return vdb_err_set(err, VDB_CORRUPT, "crc32c is not 8 hex digits");
}

/* {"bytes": , "crc32c": }, before them an edition (not NULL), and of a bitmap of dead rows how many (rows not NULL). */
static vdb_status decode_file(struct vdb_json *json, uint64_t format, struct vdb_stamp *stamp, uint32_t *edition,
                              uint32_t *rows, struct vdb_err *err)
{
    bool more;
    struct vdb_str key;
    VDB_TRY(vdb_json_enter_object(json, err));
    for (;;) {
        VDB_TRY(vdb_json_next_key(json, &key, &more, err));
        if (!more) {
            return VDB_OK;
        }
        if (vdb_str_is(key, "bytes")) {
            VDB_TRY(vdb_json_u64(json, &stamp->bytes, err));
        } else if (vdb_str_is(key, "crc32c")) {
            VDB_TRY(decode_crc(json, &stamp->crc, err));
        } else if (edition != NULL && vdb_str_is(key, "edition")) {
            VDB_TRY(decode_u32(json, key, edition, err));
        } else if (rows != NULL && vdb_str_is(key, "rows")) {
            VDB_TRY(decode_u32(json, key, rows, err));
        } else {
            VDB_TRY(skip_unknown(json, key, "segments.", format, err));
        }
    }
}

static vdb_status decode_segment(struct vdb_json *json, uint64_t format, struct vdb_segment_info *out,
                                 struct vdb_err *err)
{
    bool more;
    struct vdb_str key;
    VDB_TRY(vdb_json_enter_object(json, err));
    for (;;) {
        VDB_TRY(vdb_json_next_key(json, &key, &more, err));
        if (!more) {
            return VDB_OK;
        }
        if (vdb_str_is(key, "number")) {
            VDB_TRY(decode_u32(json, key, &out->number, err));
        } else if (vdb_str_is(key, "rows")) {
            VDB_TRY(decode_u32(json, key, &out->rows, err));
        } else if (vdb_str_is(key, "vectors")) {
            VDB_TRY(decode_file(json, format, &out->vectors, NULL, NULL, err));
        } else if (vdb_str_is(key, "meta")) {
            VDB_TRY(decode_file(json, format, &out->meta, NULL, NULL, err));
        } else if (vdb_str_is(key, "dead")) {
            VDB_TRY(decode_file(json, format, &out->dead, &out->dead_edition, &out->dead_rows, err));
        } else if (vdb_str_is(key, "index")) {
            VDB_TRY(decode_file(json, format, &out->index, &out->index_edition, NULL, err));
        } else {
            VDB_TRY(skip_unknown(json, key, "segments.", format, err));
        }
    }
}

static vdb_status decode_config(struct vdb_json *json, uint64_t format, struct vdb_index_config *out,
                                struct vdb_err *err)
{
    bool more;
    struct vdb_str key;
    VDB_TRY(vdb_json_enter_object(json, err));
    for (;;) {
        VDB_TRY(vdb_json_next_key(json, &key, &more, err));
        if (!more) {
            return VDB_OK;
        }
        size_t i = 0;
        while (i < CONFIG_NUMBERS && !vdb_str_is(key, config_numbers[i].name)) {
            i++;
        }
        if (i < CONFIG_NUMBERS) {
            uint32_t value;
            VDB_TRY(decode_u32(json, key, &value, err));
            memcpy((char *)out + config_numbers[i].at, &value, sizeof value);
        } else if (vdb_str_is(key, "target_recall")) {
            VDB_TRY(vdb_json_double(json, &out->target_recall, err));
        } else {
            VDB_TRY(skip_unknown(json, key, "index_config.", format, err));
        }
    }
}

static vdb_status decode_segments(struct vdb_json *json, uint64_t format, struct vdb_manifest *out,
                                  struct vdb_err *err)
{
    bool more;
    uint32_t capacity = out->segment_count; /* the member came before: refused as not canonical, later */
    VDB_TRY(vdb_json_enter_array(json, err));
    for (;;) {
        VDB_TRY(vdb_json_next_item(json, &more, err));
        if (!more) {
            return VDB_OK;
        }
        if (out->segment_count == VDB_SEGMENTS_MAX) {
            return vdb_err_set(err, VDB_CORRUPT, "more than %d segments", VDB_SEGMENTS_MAX);
        }
        if (out->segment_count == capacity) {
            void *grown = out->segments;
            capacity = capacity > 0 ? 2 * capacity : 8;
            if (!vdb_realloc_array(&grown, capacity, sizeof *out->segments)) {
                return vdb_err_no_memory(err, "a manifest's segments");
            }
            out->segments = grown;
        }
        struct vdb_segment_info *segment = &out->segments[out->segment_count++];
        *segment = (struct vdb_segment_info){0};
        VDB_TRY(decode_segment(json, format, segment, err));
    }
}

static vdb_status check_segment(const struct vdb_manifest *manifest, uint32_t i, struct vdb_err *err)
{
    const struct vdb_segment_info *segment = &manifest->segments[i];
    if (segment->number >= manifest->next_number) {
        return vdb_err_set(err, VDB_CORRUPT, "segment %" PRIu32 ": next_number is %" PRIu32 ", not above it",
                           segment->number, manifest->next_number);
    }
    for (uint32_t j = 0; j < i; j++) {
        if (manifest->segments[j].number == segment->number) {
            return vdb_err_set(err, VDB_CORRUPT, "segment %" PRIu32 ": its number comes twice", segment->number);
        }
    }
    if (segment->rows == 0 || segment->vectors.bytes == 0 || segment->meta.bytes == 0) {
        return vdb_err_set(err, VDB_CORRUPT, "segment %" PRIu32 ": no rows, or a file without bytes",
                           segment->number);
    }
    bool consistent = segment->dead_edition > 0
                          ? segment->dead_rows > 0 && segment->dead.bytes > 0
                          : segment->dead_rows == 0 && segment->dead.bytes == 0 && segment->dead.crc == 0;
    if (!consistent || segment->dead_rows > segment->rows) {
        return vdb_err_set(
            err, VDB_CORRUPT,
            "segment %" PRIu32 ": %" PRIu32 " dead of %" PRIu32 " rows, edition %" PRIu32 " of %" PRIu64 " bytes",
            segment->number, segment->dead_rows, segment->rows, segment->dead_edition, segment->dead.bytes);
    }
    if (segment->index_edition > 0 ? segment->index.bytes == 0
                                   : segment->index.bytes != 0 || segment->index.crc != 0) {
        return vdb_err_set(err, VDB_CORRUPT,
                           "segment %" PRIu32 ": edition %" PRIu32 " of its index file, of %" PRIu64 " bytes",
                           segment->number, segment->index_edition, segment->index.bytes);
    }
    return VDB_OK;
}

/* What must hold between the members of a collection's manifest. */
static vdb_status check_values(const struct vdb_manifest *manifest, struct vdb_err *err)
{
    if (manifest->kind != VDB_MANIFEST_COLLECTION) {
        return VDB_OK;
    }
    vdb_status status = vdb_schema_check(&manifest->schema, err);
    if (status != VDB_OK) {
        return vdb_err_wrap(err, VDB_CORRUPT, "schema");
    }
    status = vdb_schema_check_index(&manifest->index_config, err);
    if (status != VDB_OK) {
        return vdb_err_wrap(err, VDB_CORRUPT, "index_config");
    }
    if (manifest->segment_count > VDB_SEGMENTS_MAX) {
        return vdb_err_set(err, VDB_CORRUPT, "%" PRIu32 " segments, at most %d", manifest->segment_count,
                           VDB_SEGMENTS_MAX);
    }
    if (manifest->segment_count > 0 && manifest->checkpoint_seq == 0) {
        return vdb_err_set(err, VDB_CORRUPT, "%" PRIu32 " segments without a checkpoint",
                           manifest->segment_count);
    }
    for (uint32_t i = 0; i < manifest->segment_count; i++) {
        VDB_TRY(check_segment(manifest, i, err));
    }
    return VDB_OK;
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
        return decode_schema(json, out, err);
    }
    if (vdb_str_is(key, "uuid")) {
        VDB_TRY(vdb_json_string_raw(json, &text, err));
        return parse_uuid(text, out->uuid) ? VDB_OK : vdb_err_set(err, VDB_CORRUPT, "uuid is not 32 hex digits");
    }
    if (vdb_str_is(key, "crc32c")) {
        return vdb_json_string_raw(json, &text, err);
    }
    if (preamble->format >= FORMAT_CHECKPOINTS) {
        if (vdb_str_is(key, "role")) {
            VDB_TRY(vdb_json_string_raw(json, &text, err));
            out->follower = vdb_str_is(text, role_names[true]);
            return VDB_OK; /* another text is not canonical (F2) */
        }
        if (vdb_str_is(key, "checkpoint_seq")) {
            return vdb_json_u64(json, &out->checkpoint_seq, err);
        }
        if (vdb_str_is(key, "next_number")) {
            return decode_u32(json, key, &out->next_number, err);
        }
        if (vdb_str_is(key, "index_config")) {
            return decode_config(json, preamble->format, &out->index_config, err);
        }
        if (vdb_str_is(key, "segments")) {
            return decode_segments(json, preamble->format, out, err);
        }
    }
    return skip_unknown(json, key, "", preamble->format, err);
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
    encode_format(manifest, manifest->format, &again);
    vdb_status status = VDB_OK;
    if (again.failed) {
        status = vdb_err_no_memory(err, "a manifest");
    } else if (again.bytes != bytes || memcmp(again.data, text, bytes) != 0) {
        status = vdb_err_set(err, VDB_CORRUPT, "is not in canonical form");
    }
    vdb_buf_fini(&again);
    return status;
}

/* Leaves what it took in *out, also when it fails. */
static vdb_status decode(const char *text, size_t bytes, vdb_manifest_kind kind, struct vdb_manifest *out,
                         struct vdb_err *err)
{
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
    if (out->format == 0) {
        return vdb_err_set(err, VDB_CORRUPT, "format is 0, the first is 1");
    }
    VDB_TRY(check_values(out, err));
    return out->format > VDB_FORMAT_VERSION ? VDB_OK : check_canonical(text, bytes, out, err);
}

vdb_status vdb_manifest_decode(const char *text, size_t bytes, vdb_manifest_kind kind, struct vdb_manifest *out,
                               struct vdb_err *err)
{
    *out = (struct vdb_manifest){.kind = kind};
    vdb_status status = decode(text, bytes, kind, out, err);
    if (status != VDB_OK) {
        vdb_manifest_fini(out);
    }
    return status;
}

vdb_status vdb_manifest_load(struct vdb_env *env, const char *dir, vdb_manifest_kind kind,
                             struct vdb_manifest *out, struct vdb_err *err)
{
    char path[VDB_LIMIT_PATH_BYTES_MAX];
    uint8_t *text = NULL;
    size_t bytes;
    *out = (struct vdb_manifest){0};
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
    vdb_status valid = check_values(manifest, err); /* F3 */
    if (valid != VDB_OK) {
        return vdb_err_wrap(err, VDB_INVALID, "not saved: \"%s\"", path);
    }
    struct vdb_buf text = {0};
    vdb_manifest_encode(manifest, &text);
    vdb_status status = text.failed ? vdb_err_no_memory(err, "a manifest")
                                    : vdb_env_replace_file(env, path, text.data, text.bytes, err);
    vdb_buf_fini(&text);
    return status;
}
