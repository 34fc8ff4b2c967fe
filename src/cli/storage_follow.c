/* storage_follow.c: `vecdb storage follow` and `promote`: a second directory kept equal to one that is being written to.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/json.h"
#include "base/timer.h"
#include "cli.h"
#include "storage.h"

enum {
    IDLE_NS_MIN = 1000 * 1000, /* between looks at a log that has not grown: doubled up to the next */
    IDLE_NS_MAX = 50 * 1000 * 1000,
};

static volatile sig_atomic_t stop_asked;

static void ask_to_stop(int number)
{
    (void)number;
    stop_asked = 1;
}

static size_t describe_follow(struct vdb_storage_options *options, struct vdb_args_option *table)
{
    table[0] = (struct vdb_args_option){.name = "--to",
                                        .kind = VDB_ARGS_TEXT,
                                        .out = &options->to,
                                        .value_name = "DIR",
                                        .help = "the directory that follows (made when missing)"};
    table[1] = (struct vdb_args_option){
        .name = "--once",
        .kind = VDB_ARGS_FLAG,
        .out = &options->once,
        .help = "end when all that is there was applied; default: go on until Ctrl-C"};
    return 2;
}

static void print_state(const struct vdb_storage_options *options, const vecdb_follower_stats *stats,
                        double seconds)
{
    char a[VDB_TABLE_TEXT_BYTES];
    char b[VDB_TABLE_TEXT_BYTES];
    struct vdb_buf out = {0};
    if (options->json) {
        vdb_buf_printf(&out,
                       "{\"seq\": %" PRIu64 ", \"records\": %" PRIu64 ", \"bytes\": %" PRIu64
                       ", \"copies\": %" PRIu64 ", \"points\": %" PRIu64 ", \"seconds\": %.3f}\n",
                       stats->seq, stats->records, stats->bytes, stats->copies, stats->points, seconds);
    } else {
        vdb_buf_printf(&out, "\"%s\" in %s follows %s\n\n", options->collection, options->to, options->path);
        vdb_storage_line(&out, "points", "%s", vdb_table_count(a, stats->points));
        vdb_storage_line(&out, "sequence number", "%" PRIu64, stats->seq);
        vdb_storage_line(&out, "records applied", "%s, %s", vdb_table_count(a, stats->records),
                         vdb_storage_speed(b, stats->bytes, seconds));
        vdb_storage_line(&out, "copies of segments", "%" PRIu64, stats->copies);
    }
    if (!out.failed) {
        (void)fwrite(out.data, 1, out.bytes, stdout);
    }
    vdb_buf_fini(&out);
}

static void rest(uint64_t *idle_ns)
{
    struct timespec pause = {0, (long)*idle_ns};
    (void)nanosleep(&pause, NULL); /* a signal ends it early */
    *idle_ns = *idle_ns * 2 < IDLE_NS_MAX ? *idle_ns * 2 : IDLE_NS_MAX;
}

/* Applies until it is told to stop; with --once, until there is nothing more. */
static vdb_status follow(const struct vdb_storage_options *options, vecdb_follower *follower, struct vdb_err *err)
{
    uint64_t idle_ns = IDLE_NS_MIN;
    while (!stop_asked) {
        vecdb_error error;
        int more;
        VDB_TRY(vdb_storage_outcome(vecdb_follower_step(follower, &more, &error), &error, err));
        if (more) {
            idle_ns = IDLE_NS_MIN;
        } else if (options->once) {
            break;
        } else {
            rest(&idle_ns);
        }
    }
    return VDB_OK;
}

static vdb_status run_follow(const struct vdb_storage_options *options, struct vdb_err *err)
{
    vecdb_error error;
    vecdb_follower *follower = NULL;
    vecdb_follower_stats stats;
    struct sigaction action = {.sa_handler = ask_to_stop};
    uint64_t started = vdb_now_ns();
    if (options->to == NULL) {
        return vdb_err_set(err, VDB_INVALID, "--to: missing; the directory that follows");
    }
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    VDB_TRY(vdb_storage_outcome(
        vecdb_follower_open(options->path, options->to, options->collection, &follower, &error), &error, err));
    if (!options->json && !options->once) {
        fprintf(stderr, "following %s; Ctrl-C ends it\n", options->path);
    }
    vdb_status status = follow(options, follower, err);
    if (status == VDB_OK) {
        vecdb_follower_get_stats(follower, &stats);
        print_state(options, &stats, (double)(vdb_now_ns() - started) * 1e-9);
    }
    vecdb_follower_close(follower);
    return status;
}

static vdb_status run_promote(const struct vdb_storage_options *options, struct vdb_err *err)
{
    vecdb_error error;
    vecdb *db = NULL;
    vecdb_collection_info info;
    VDB_TRY(vdb_storage_open_collection(options, &db, &info, err));
    vdb_status status = vdb_storage_outcome(vecdb_promote(db, options->collection, &error), &error, err);
    vecdb_close(db);
    if (status == VDB_OK && options->json) {
        printf("{\"collection\": \"%s\", \"promoted\": true}\n", options->collection);
    } else if (status == VDB_OK) {
        printf("\"%s\" in %s takes writes now and follows nobody\n", options->collection, options->path);
    }
    return status;
}

static vdb_status run_checkpoint(const struct vdb_storage_options *options, struct vdb_err *err)
{
    vecdb_error error;
    vecdb *db = NULL;
    vecdb_collection_info info;
    char text[VDB_TABLE_TEXT_BYTES];
    VDB_TRY(vdb_storage_open_collection(options, &db, &info, err));
    vdb_status status = vdb_storage_outcome(vecdb_checkpoint(db, options->collection, &error), &error, err);
    if (status == VDB_OK) {
        status = vdb_storage_get_info(db, options->collection, &info, err);
    }
    vecdb_close(db);
    if (status == VDB_OK && options->json) {
        printf("{\"collection\": \"%s\", \"checkpoint_seq\": %" PRIu64 ", \"segments\": %" PRIu64 "}\n",
               options->collection, (uint64_t)info.checkpoint_seq, (uint64_t)info.segments);
    } else if (status == VDB_OK) {
        printf("\"%s\" in %s: %s segments hold everything up to sequence number %" PRIu64 "\n",
               options->collection, options->path, vdb_table_count(text, info.segments),
               (uint64_t)info.checkpoint_seq);
    }
    return status;
}

const struct vdb_storage_verb vdb_storage_follow_follow = {
    .name = "follow",
    .summary = "keep a second directory equal to this one",
    .about = "Copies what the log no longer holds, then applies the log as it grows. The directory that is\n"
             "followed may be in use; nothing in it is locked or changed. Either side may be killed.\n",
    .examples = "  vecdb storage follow --path ./data --to ./copy\n"
                "  vecdb storage follow --path ./data --to ./copy --once --json\n",
    .describe = describe_follow,
    .run = run_follow,
};

const struct vdb_storage_verb vdb_storage_follow_promote = {
    .name = "promote",
    .summary = "let a follower take writes; it follows nobody any more",
    .examples = "  vecdb storage promote --path ./copy\n",
    .run = run_promote,
};

const struct vdb_storage_verb vdb_storage_follow_checkpoint = {
    .name = "checkpoint",
    .summary = "write what is in memory to a segment, and shorten the log",
    .examples = "  vecdb storage checkpoint --path ./data\n",
    .run = run_checkpoint,
};
