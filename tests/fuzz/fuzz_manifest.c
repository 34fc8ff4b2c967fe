// floor: storage
/* fuzz_manifest.c: any bytes as a manifest of either kind. What decodes must encode to the very same bytes (F2 of
 * manifest.c) and satisfy the schema's rules. Since a checksum stops nearly every mutation, the input is tried a
 * second time with a right checksum put behind it. */
#include "require.h"

#include "base/crc32c.h"
#include "storage/manifest.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const char *text, size_t bytes)
{
    int decoded = 0;
    for (int kind = VDB_MANIFEST_DATABASE; kind <= VDB_MANIFEST_COLLECTION; kind++) {
        struct vdb_manifest manifest;
        struct vdb_err err = {0};
        vdb_status status = vdb_manifest_decode(text, bytes, (vdb_manifest_kind)kind, &manifest, &err);
        if (status != VDB_OK) {
            REQUIRE(status == VDB_CORRUPT || status == VDB_VERSION);
            REQUIRE(err.status == status && err.text[0] != '\0');
            continue;
        }
        decoded++;
        REQUIRE((int)manifest.kind == kind);
        if (kind == VDB_MANIFEST_COLLECTION) {
            REQUIRE(vdb_schema_check(&manifest.schema, &err) == VDB_OK);
        }
        struct vdb_buf again = {0};
        vdb_manifest_encode(&manifest, &again);
        REQUIRE(!again.failed);
        /* What a newer writer added is skipped; an older format is written as today's, and stays what it is then. */
        REQUIRE(manifest.format != VDB_FORMAT_VERSION ||
                (again.bytes == bytes && memcmp(again.data, text, bytes) == 0));
        vdb_manifest_fini(&manifest);
        REQUIRE(vdb_manifest_decode((const char *)again.data, again.bytes, (vdb_manifest_kind)kind, &manifest,
                                    &err) == VDB_OK);
        struct vdb_buf third = {0};
        vdb_manifest_encode(&manifest, &third);
        REQUIRE(third.bytes == again.bytes && memcmp(third.data, again.data, third.bytes) == 0);
        vdb_buf_fini(&third);
        vdb_buf_fini(&again);
        vdb_manifest_fini(&manifest);
    }
    REQUIRE(decoded <= 1); /* no text is both */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    enum { TAIL_BYTES = 25 };
    check((const char *)data, bytes);
    /* Once with the checksum behind all of it, once in the place of the checksum that it has. */
    for (int in_place = 0; in_place < 2; in_place++) {
        size_t head = in_place == 0 ? bytes : bytes - TAIL_BYTES;
        if (in_place == 1 && bytes < TAIL_BYTES) {
            break;
        }
        struct vdb_buf sealed = {0};
        vdb_buf_put(&sealed, data, head);
        vdb_buf_printf(&sealed, ",\n \"crc32c\": \"%08x\"}\n", vdb_crc32c(0, data, head));
        REQUIRE(!sealed.failed);
        check((const char *)sealed.data, sealed.bytes);
        vdb_buf_fini(&sealed);
    }
    return 0;
}
