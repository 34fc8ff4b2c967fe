/* make_indexed.c: adds to a golden directory what storage keeps of indexes: a configuration, an index file of bytes that mean
 * nothing, in its second edition, a checkpoint after it, and a snapshot "kept" with all of it. Through the internals, since
 * no index kind writes bytes that mean nothing.
 *
 *     make_indexed DIR/collections/NAME...     (see README.md)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/store.h"

static void check(vdb_status status, const struct vdb_err *err, const char *what)
{
    if (status != VDB_OK) {
        fprintf(stderr, "%s: %s\n", what, err->text);
        exit(1);
    }
}

/* 5,000 bytes: byte i is i * 7 + edition. */
static vdb_status fill(void *ctx, vdb_attach_put_fn *put, void *put_ctx, struct vdb_err *err)
{
    unsigned char bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(i * 7 + *(const unsigned *)ctx);
    }
    return put(put_ctx, bytes, sizeof bytes, err);
}

int main(int argc, char **argv)
{
    struct vdb_env *env = vdb_env_posix();
    for (int i = 1; i < argc; i++) {
        const struct vdb_index_config config = {.type = "flat", .scan_below = 4096, .target_recall = 0.95};
        struct vdb_err err = {0};
        struct vdb_store *store;
        struct vdb_snapshot_info info;
        struct vdb_view view;
        check(vdb_store_open(env, argv[i], NULL, &store, &err), &err, argv[i]);
        check(vdb_store_set_index_config(store, &config, &err), &err, "configure");
        vdb_store_pin(store, &view);
        for (unsigned edition = 1; edition <= 2; edition++) {
            check(vdb_store_attach(store, view.version->segments[0], fill, &edition, NULL, &err), &err, "attach");
        }
        vdb_view_release(&view);
        check(vdb_store_checkpoint(store, &err), &err, "checkpoint");
        check(vdb_store_snapshot_create(store, "kept", &info, &err), &err, "snapshot");
        vdb_store_close(store, true);
    }
    return 0;
}
