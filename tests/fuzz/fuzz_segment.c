// floor: storage env
/* fuzz_segment.c: a good segment, one of whose three files has edits (block_edits.h), with its checksums as they were
 * or, mostly, set right. Input: u8 (bits 0-1 the file, bit 2 the shape of ids, bit 3 leaves the checksums, bits 4-5 the
 * element), edits.
 *
 * Every read is good or refused; where verify finds nothing, every read is good and every id leads to its row. */
#include "block_edits.h"

#include "base/convert.h"
#include "base/mem.h"
#include "env/env_memory.h"
#include "storage/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { ROWS = 30, DIMENSION = 3, SHAPES = 2, ELEMENTS = 4, FILES = 3 };

static const uint8_t uuid[VDB_UUID_BYTES] = "0123456789abcde";
static const vdb_element elements[ELEMENTS] = {VDB_ELEMENT_F32, VDB_ELEMENT_F16, VDB_ELEMENT_U8, VDB_ELEMENT_I8};

struct base {
    struct vdb_schema schema;
    struct vdb_segment_info info;
    char names[FILES][VDB_SEGMENT_NAME_BYTES];
    uint8_t *images[FILES];
    size_t bytes[FILES];
};

static struct vdb_env *fresh_env(void)
{
    struct vdb_env *env = vdb_env_memory_create();
    REQUIRE(env != NULL);
    REQUIRE(env->ops->mkdir(env, "d", NULL) == VDB_OK);
    REQUIRE(env->ops->mkdir(env, "d/vectors", NULL) == VDB_OK);
    REQUIRE(env->ops->mkdir(env, "d/meta", NULL) == VDB_OK);
    return env;
}

static struct vdb_id id_of(uint32_t i, bool texts, char text[32])
{
    if (texts && i % 3 != 0) {
        return (struct vdb_id){.text = text, .text_bytes = (uint32_t)snprintf(text, 32, "row %u", i)};
    }
    return (struct vdb_id){.number = i * UINT64_C(77)};
}

/* Long metadata makes several blocks, noise one that is stored as it is, and one row has a block of its own. */
static struct vdb_str metadata_of(uint32_t i, uint8_t *buffer)
{
    size_t bytes = i == 20 ? 40000 : i % 4 == 0 ? 0 : 3000;
    for (size_t b = 0; b < bytes; b++) {
        buffer[b] = i % 4 == 1 ? (uint8_t)((b * 2654435761u + i * 40503u) >> 11) : (uint8_t)('a' + b % 5);
    }
    return bytes > 0 ? (struct vdb_str){(const char *)buffer, bytes} : vdb_str_of("{}");
}

static void make_base(struct base *base, bool texts, vdb_element element)
{
    struct vdb_env *env = fresh_env();
    struct vdb_segment_writer *writer;
    struct vdb_segment *segment;
    struct vdb_err err = {0};
    uint8_t *buffer = malloc(40000);
    REQUIRE(buffer != NULL);
    base->schema = (struct vdb_schema){.name = "fuzz", .dimension = DIMENSION, .element = element};
    REQUIRE(vdb_segment_writer_create(env, "d", uuid, 1, &base->schema, &writer, &err) == VDB_OK);
    for (uint32_t i = 0; i < ROWS; i++) {
        char text[32];
        struct vdb_id id = id_of(i, texts, text);
        const float floats[DIMENSION] = {(float)i, 1, 2};
        float vector[DIMENSION]; /* room for any element */
        vdb_convert_narrow(element, floats, DIMENSION, vector);
        REQUIRE(vdb_segment_writer_add(writer, &id, i + 1, vector, metadata_of(i, buffer), &err) == VDB_OK);
    }
    REQUIRE(vdb_segment_writer_finish(writer, &base->info, &err) == VDB_OK);
    vdb_segment_writer_destroy(writer);
    REQUIRE(vdb_segment_open(env, "d", uuid, &base->schema, &base->info, &segment, &err) == VDB_OK);
    for (uint32_t i = 0; i < ROWS; i += 5) {
        vdb_segment_end(segment, i, 100);
    }
    REQUIRE(vdb_segment_save_dead(segment, 100, 1, &base->info, &err) == VDB_OK);
    vdb_segment_unref(segment);
    static const vdb_block_file_kind kinds[FILES] = {VDB_BLOCK_FILE_VECTORS, VDB_BLOCK_FILE_META,
                                                     VDB_BLOCK_FILE_DEAD};
    for (int f = 0; f < FILES; f++) {
        char path[VDB_SEGMENT_NAME_BYTES + 2] = "d/";
        vdb_segment_file_name(base->names[f], kinds[f], 1, kinds[f] == VDB_BLOCK_FILE_DEAD ? 1 : 0);
        snprintf(path + 2, sizeof path - 2, "%s", base->names[f]);
        REQUIRE(vdb_env_read_file(env, path, 1 << 24, &base->images[f], &base->bytes[f], &err) == VDB_OK);
    }
    free(buffer);
    vdb_env_memory_destroy(env);
}

static void put(struct vdb_env *env, const char *name, const uint8_t *image, size_t bytes)
{
    char path[VDB_SEGMENT_NAME_BYTES + 2];
    struct vdb_file *file;
    snprintf(path, sizeof path, "d/%s", name);
    REQUIRE(env->ops->open(env, path, VDB_OPEN_WRITE | VDB_OPEN_CREATE, &file, NULL) == VDB_OK);
    REQUIRE(bytes == 0 || env->ops->write_at(env, file, image, bytes, 0, NULL) == VDB_OK);
    env->ops->close(env, file);
}

static bool good_or_refused(vdb_status status, const struct vdb_err *err)
{
    REQUIRE(status == VDB_OK || (status == VDB_CORRUPT && err->text[0] != '\0'));
    return status == VDB_OK;
}

static bool read_metadata(struct vdb_segment_meta *reader, uint32_t row, struct vdb_err *err)
{
    struct vdb_str metadata;
    if (!good_or_refused(vdb_segment_meta_read(reader, row, &metadata, err), err)) {
        return false;
    }
    char *copy = vdb_strndup(metadata.data, metadata.bytes); /* reads all of it */
    REQUIRE(copy != NULL && metadata.bytes <= (1u << 20));
    free(copy);
    return true;
}

/* True when all reads are good. */
static bool read_all(struct vdb_segment *segment, bool texts)
{
    struct vdb_segment_meta reader;
    struct vdb_err err = {0};
    bool good = true;
    vdb_segment_meta_init(&reader, segment);
    for (uint32_t i = 0; i < ROWS; i++) {
        char text[32];
        struct vdb_id known = id_of(i, texts, text);
        struct vdb_id id;
        const void *vector;
        uint32_t row;
        uint64_t seq;
        good = good_or_refused(vdb_segment_find(segment, &known, &row, &err), &err) && good;
        if (good_or_refused(vdb_segment_id(segment, i, &id, &err), &err)) {
            vdb_status status = vdb_segment_find(segment, &id, &row, &err);
            REQUIRE(!good_or_refused(status, &err) || row == VDB_SLOT_NONE || row < ROWS);
            good = good && status == VDB_OK && row == i;
        } else {
            good = false;
        }
        good = good_or_refused(vdb_segment_seq_from(segment, i, &seq, &err), &err) && good;
        good = good_or_refused(vdb_segment_vector(segment, i, &vector, &err), &err) && good;
        good = read_metadata(&reader, i, &err) && good;
    }
    for (uint32_t i = 0; i < ROWS; i += 7) { /* out of order, too */
        good = read_metadata(&reader, i * 37 % ROWS, &err) && good;
    }
    vdb_segment_meta_fini(&reader);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct base bases[ELEMENTS][SHAPES];
    static bool made;
    for (int e = 0; e < ELEMENTS && !made; e++) {
        make_base(&bases[e][0], false, elements[e]);
        make_base(&bases[e][1], true, elements[e]);
    }
    made = true;
    if (bytes < 1) {
        return 0;
    }
    const bool texts = (data[0] & 4) != 0;
    const struct base *base = &bases[data[0] >> 4 & 3][texts];
    const int edited_file = (data[0] & 3) % FILES;
    struct vdb_segment_info info = base->info;
    struct vdb_segment *segment;
    struct vdb_err err = {0};
    struct edited file = edit_image(base->images[edited_file], base->bytes[edited_file], data + 1, bytes - 1);
    if ((data[0] & 8) == 0) {
        struct vdb_stamp stamp = image_seal(file.data, file.bytes);
        *(edited_file == 0 ? &info.vectors : edited_file == 1 ? &info.meta : &info.dead) = stamp;
    }
    struct vdb_env *env = fresh_env();
    for (int f = 0; f < FILES; f++) {
        bool edited = f == edited_file;
        put(env, base->names[f], edited ? file.data : base->images[f], edited ? file.bytes : base->bytes[f]);
    }
    vdb_status status = vdb_segment_open(env, "d", uuid, &base->schema, &info, &segment, &err);
    if (status == VDB_OK) {
        const void *vectors;
        uint64_t read = 0;
        bool good = read_all(segment, texts);
        good = good_or_refused(vdb_segment_vectors(segment, &vectors, &err), &err) && good;
        REQUIRE(vdb_segment_dead(segment) == info.dead_rows);
        bool verified = good_or_refused(vdb_segment_verify(segment, &read, &err), &err);
        REQUIRE(!verified || good);
        vdb_segment_unref(segment);
    } else {
        REQUIRE((status == VDB_CORRUPT || status == VDB_VERSION) && err.text[0] != '\0' && segment == NULL);
    }
    free(file.data);
    vdb_env_memory_destroy(env);
    return 0;
}
