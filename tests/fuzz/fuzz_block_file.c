// floor: storage env
/* fuzz_block_file.c: a good block file with edits (block_edits.h), or any bytes, as a block file: as they are, and
 * with all checksums set right. Input: u8 (0: the rest is the file; else the rest are edits), then the rest.
 *
 * What opens holds: sections lie in the file, each is good or refused, and where verify finds nothing each is good. */
#include "block_edits.h"

#include "env/env_memory.h"
#include "storage/block_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const struct vdb_block_file_name name = {
    .kind = VDB_BLOCK_FILE_META, .uuid = "0123456789abcde", .number = 3};

static void make_base(struct vdb_env *env)
{
    static const struct {
        uint32_t id;
        size_t bytes;
    } plan[] = {{1, 300}, {2, 0}, {3, 70000}, {9, 4096}};
    struct vdb_block_writer *writer;
    struct vdb_stamp stamp;
    struct vdb_err err = {0};
    uint8_t *content = malloc(70000);
    REQUIRE(content != NULL);
    for (size_t i = 0; i < 70000; i++) {
        content[i] = (uint8_t)(i * 7);
    }
    REQUIRE(vdb_block_writer_create(env, "base", &name, &writer, &err) == VDB_OK);
    for (size_t i = 0; i < sizeof plan / sizeof plan[0]; i++) {
        REQUIRE(vdb_block_writer_section(writer, plan[i].id, &err) == VDB_OK);
        REQUIRE(vdb_block_writer_append(writer, content, plan[i].bytes, &err) == VDB_OK);
    }
    REQUIRE(vdb_block_writer_finish(writer, &stamp, &err) == VDB_OK);
    vdb_block_writer_destroy(writer);
    free(content);
}

static void check(struct vdb_env *env, const uint8_t *image, size_t bytes, const struct vdb_stamp *stamp)
{
    struct vdb_err err = {0};
    struct vdb_file *out;
    struct vdb_block_file *file;
    REQUIRE(env->ops->open(env, "x", VDB_OPEN_WRITE | VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE, &out, &err) == VDB_OK);
    REQUIRE(bytes == 0 || env->ops->write_at(env, out, image, bytes, 0, &err) == VDB_OK);
    env->ops->close(env, out);
    vdb_status status = vdb_block_file_open(env, "x", &name, stamp, &file, &err);
    if (status != VDB_OK) {
        REQUIRE((status == VDB_CORRUPT || status == VDB_VERSION) && err.text[0] != '\0' && file == NULL);
        return;
    }
    REQUIRE(vdb_block_file_bytes(file) == bytes);
    bool all_good = true;
    uint64_t sum = 0;
    for (uint32_t id = 0; id < 16; id++) {
        const uint8_t *section;
        uint64_t length;
        if (vdb_block_file_section(file, id, &section, &length, &err) != VDB_OK) {
            continue;
        }
        REQUIRE(length <= bytes);
        bool good = vdb_block_file_need(file, section, (size_t)length, &err) == VDB_OK;
        for (uint64_t i = 0; good && i < length; i += 61) {
            sum += section[i];
        }
        all_good = all_good && good;
    }
    REQUIRE(vdb_block_file_verify(file, &err) != VDB_OK || all_good);
    REQUIRE(sum < UINT64_MAX);
    vdb_block_file_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t *base;
    static size_t base_bytes;
    struct vdb_err err = {0};
    struct vdb_env *env = vdb_env_memory_create();
    REQUIRE(env != NULL);
    if (base == NULL) {
        make_base(env);
        REQUIRE(vdb_env_read_file(env, "base", 1 << 20, &base, &base_bytes, &err) == VDB_OK);
    }
    if (bytes > 0) {
        struct edited file = data[0] == 0 ? edit_image(data + 1, bytes - 1, NULL, 0)
                                          : edit_image(base, base_bytes, data + 1, bytes - 1);
        check(env, file.data, file.bytes, NULL);
        struct vdb_stamp stamp = image_seal(file.data, file.bytes);
        check(env, file.data, file.bytes, &stamp);
        free(file.data);
    }
    vdb_env_memory_destroy(env);
    return 0;
}
