// floor: base
/* fuzz_base64.c: what decodes must encode to the very same text (so the decoder is strict: one text per value),
 * and every input, taken as bytes, must survive the way out and back. */
#include "require.h"

#include "base/base64.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data;
    size_t capacity = bytes / 4 * 3;
    uint8_t *decoded = malloc(capacity + 1);
    REQUIRE(decoded != NULL);
    size_t written;
    if (vdb_base64_decode(text, bytes, decoded, capacity, &written)) {
        struct vdb_buf out = {0};
        vdb_base64_encode(&out, decoded, written);
        REQUIRE(!out.failed && out.bytes == bytes && (bytes == 0 || memcmp(out.data, text, bytes) == 0));
        vdb_buf_fini(&out);
        /* An exact fit is enough, one byte less is not. */
        size_t again;
        REQUIRE(vdb_base64_decode(text, bytes, decoded, written, &again) && again == written);
        REQUIRE(written == 0 || !vdb_base64_decode(text, bytes, decoded, written - 1, &again));
    }
    free(decoded);

    struct vdb_buf encoded = {0};
    vdb_base64_encode(&encoded, data, bytes);
    REQUIRE(!encoded.failed && encoded.bytes % 4 == 0);
    uint8_t *back = malloc(bytes + 1);
    REQUIRE(back != NULL);
    REQUIRE(vdb_base64_decode((const char *)encoded.data, encoded.bytes, back, bytes, &written));
    REQUIRE(written == bytes && memcmp(back, data, bytes) == 0);
    free(back);
    vdb_buf_fini(&encoded);
    return 0;
}
