/* hdf5.c: reading, see hdf5.h: a child process runs hdf5_file.c, this one asks it for rows.
 *
 * libhdf5 was written for files of friends: damaged ones make it crash, loop, or allocate without bound. None of
 * that can be repaired from outside, but all of it ends with the process that it happens in:
 *
 *     H1  a crash is the end of the conversation, which is an error like any other
 *     H2  the child has CHILD_MEMORY_BYTES of address space more than it starts with
 *     H3  the child has CHILD_CPU_SECONDS of processor time for each block of rows that it sends
 *     H4  what the child says of itself is checked again here: its types and sizes are a stranger's
 *     H5  a child that is silent for SILENCE_MS_MAX (no byte of an answer that is due) is killed
 *
 * The conversation, on a pair of sockets: the child speaks first, with a `reply` that has the shape (or the metric).
 * Each `request` for rows is answered by slabs: a reply, then its rows. Both ends are one program, so structures
 * travel as they lie in memory. The end of this process is the end of the child, whose read then gives nothing.
 */
#include "hdf5.h"

#include "base/limits.h"
#include "base/mem.h"
#include "hdf5_file.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SLAB_BYTES = 1 << 20,         /* rows on their way: the child holds no more of them */
    CHILD_MEMORY_BYTES = 1 << 30, /* four times what the largest chunks allowed need */
    CHILD_CPU_SECONDS = 60,       /* unpacking those takes one or two */
    SILENCE_MS_MAX = 300 * 1000,  /* they come from a disk of 1 MB/s in that time */
    REAP_MS_MAX = 1000,           /* a killed process that is not gone by then stands still in the kernel */
    REAP_STEP_MS = 5,
    VALUE_BYTES_MAX = 8,
};

struct vdb_hdf5 {
    pid_t child;
    int socket;
    bool hangs; /* it was silent for too long */
    struct vdb_hdf5_shape shape;
    struct vdb_err failure; /* the first one, which ends the conversation */
};

struct request {
    size_t first_row;
    size_t count;
};

struct reply {
    struct vdb_err err; /* VDB_OK: the rest holds */
    struct vdb_hdf5_shape shape;
    vdb_metric metric;
    size_t row_count; /* of the slab that follows */
};

/* What the child shall do; name is NULL when only the metric is asked for. */
struct task {
    const char *path;
    const char *name;
};

static bool send_all(int socket, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t sent = send(socket, at, bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent <= 0) {
            return false;
        }
        at += sent;
        bytes -= (size_t)sent;
    }
    return true;
}

static bool receive_all(int socket, void *data, size_t bytes)
{
    char *at = data;
    while (bytes > 0) {
        ssize_t got = recv(socket, at, bytes, MSG_WAITALL);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got == 0) {
            errno = 0; /* the other end is gone; EAGAIN says that it is silent */
        }
        if (got <= 0) {
            return false;
        }
        at += got;
        bytes -= (size_t)got;
    }
    return true;
}

static size_t slab_rows(const struct vdb_hdf5_shape *shape)
{
    size_t row_bytes = vdb_vectors_type_row_bytes(shape->type, shape->dimension);
    return SLAB_BYTES / row_bytes > 0 ? SLAB_BYTES / row_bytes : 1;
}

/* ---- The child ---- */

/* H3: as many seconds from now on, whatever was used before. */
static void limit_time(void)
{
    struct rusage used;
    struct rlimit limit;
    if (getrusage(RUSAGE_SELF, &used) == 0 && getrlimit(RLIMIT_CPU, &limit) == 0) {
        rlim_t wanted = (rlim_t)used.ru_utime.tv_sec + (rlim_t)used.ru_stime.tv_sec + CHILD_CPU_SECONDS;
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        (void)setrlimit(RLIMIT_CPU, &limit);
    }
}

/* H2, and no core file: a crash on a damaged file is no news. The address sanitizer's own memory fits no limit. */
static void limit_memory(void)
{
    struct rlimit limit;
    char line[128];
    FILE *file = fopen("/proc/self/statm", "re");
    bool known = file != NULL && fgets(line, sizeof line, file) != NULL;
    uint64_t pages = known ? strtoull(line, NULL, 10) : 0;
    if (file != NULL) {
        (void)fclose(file);
    }
#ifdef VDB_SANITIZED
    pages = 0;
#endif
    if (pages > 0 && getrlimit(RLIMIT_AS, &limit) == 0) {
        rlim_t wanted = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + CHILD_MEMORY_BYTES;
        limit.rlim_cur = limit.rlim_cur < wanted ? limit.rlim_cur : wanted;
        (void)setrlimit(RLIMIT_AS, &limit);
    }
    if (getrlimit(RLIMIT_CORE, &limit) == 0) {
        limit.rlim_cur = 0;
        (void)setrlimit(RLIMIT_CORE, &limit);
    }
}

/* H1: the handlers of this program are not the child's: a crash is to end it. */
static void forget_handlers(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGXCPU, SIGTERM, SIGINT};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        (void)signal(signals[i], SIG_DFL);
    }
}

/* Sends the rows asked for. False: the conversation is over. */
static bool answer_rows(int socket, struct vdb_hdf5_file *file, const struct request *request,
                        struct reply *reply)
{
    struct vdb_vectors slab = {0};
    size_t rows_max = slab_rows(&reply->shape);
    bool sent = true;
    for (size_t done = 0; sent && reply->err.status == VDB_OK && done < request->count;) {
        size_t left = request->count - done;
        size_t rows = left < rows_max ? left : rows_max;
        limit_time();
        reply->err.status = vdb_vectors_init(&slab, reply->shape.type, rows, reply->shape.dimension, &reply->err);
        slab.first_row = request->first_row + done;
        if (reply->err.status == VDB_OK) {
            reply->err.status = vdb_hdf5_file_read_rows(file, &slab, &reply->err);
        }
        reply->row_count = rows;
        sent = send_all(socket, reply, sizeof *reply);
        if (sent && reply->err.status == VDB_OK) {
            sent = send_all(socket, slab.data, rows * vdb_vectors_row_bytes(&slab));
        }
        vdb_vectors_fini(&slab);
        done += rows;
    }
    return sent && reply->err.status == VDB_OK;
}

/* The child's life. It leaves by _exit: what this process has registered for its end is not the child's to run. */
static void run_child(int socket, const struct task *task)
{
    static struct reply reply; /* all of it is sent, so none of it may be unset */
    struct vdb_hdf5_file *file = NULL;
    struct request request;
    forget_handlers();
    limit_memory();
    limit_time();
    reply.err.status = task->name != NULL
                           ? vdb_hdf5_file_open(task->path, task->name, &file, &reply.shape, &reply.err)
                           : vdb_hdf5_file_metric(task->path, &reply.metric, &reply.err);
    if (reply.shape.memory_bytes > CHILD_MEMORY_BYTES) {
        reply.shape.memory_bytes = CHILD_MEMORY_BYTES; /* H2: it gets no more */
    }
    bool more = send_all(socket, &reply, sizeof reply) && file != NULL;
    while (more && receive_all(socket, &request, sizeof request)) {
        more = answer_rows(socket, file, &request, &reply);
    }
    _exit(0);
}

/* ---- This side ---- */

static unsigned silence_ms_max = SILENCE_MS_MAX;

void vdb_hdf5_set_silence_ms_max(unsigned ms)
{
    silence_ms_max = ms > 0 ? ms : SILENCE_MS_MAX;
}

/* Ignored, ended children vanish by themselves: nobody learns how they ended, and their numbers go to strangers,
 * whom stop would kill. A program inherits that from its parent without knowing. */
static void keep_ended_children(void)
{
    struct sigaction action;
    if (sigaction(SIGCHLD, NULL, &action) == 0 &&
        (action.sa_handler == SIG_IGN || (action.sa_flags & SA_NOCLDWAIT) != 0)) {
        action.sa_handler = action.sa_handler == SIG_IGN ? SIG_DFL : action.sa_handler;
        action.sa_flags &= ~SA_NOCLDWAIT;
        (void)sigaction(SIGCHLD, &action, NULL);
    }
}

static vdb_status start(struct vdb_hdf5 *hdf5, const struct task *task, struct vdb_err *err)
{
    int ends[2];
    struct timeval patience = {silence_ms_max / 1000, (suseconds_t)(silence_ms_max % 1000) * 1000};
    hdf5->child = -1;
    hdf5->socket = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        return vdb_err_set(err, VDB_IO, "start the process that reads HDF5: %s", strerror(errno));
    }
    keep_ended_children();
    hdf5->child = fork();
    if (hdf5->child == 0) {
        close(ends[0]);
        run_child(ends[1], task);
    }
    int failed = errno;
    close(ends[1]);
    hdf5->socket = ends[0];
    if (hdf5->child < 0) {
        return vdb_err_set(err, VDB_IO, "start the process that reads HDF5: %s", strerror(failed));
    }
    if (setsockopt(hdf5->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
        setsockopt(hdf5->socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0) {
        return vdb_err_set(err, VDB_IO, "talk to the process that reads HDF5: %s", strerror(errno));
    }
    return VDB_OK;
}

/* Ends the child, which has nothing to lose, and says how it ended by itself, if it did. One that hangs may do so in
 * the kernel, where no signal reaches it: that one is left to whoever comes after this process. */
static int stop(struct vdb_hdf5 *hdf5)
{
    int how = 0;
    if (hdf5->socket >= 0) {
        close(hdf5->socket);
        hdf5->socket = -1;
    }
    if (hdf5->child > 0) {
        (void)kill(hdf5->child, SIGKILL);
        pid_t ended = 0;
        for (unsigned ms = 0; ended == 0 || (ended < 0 && errno == EINTR); ms += REAP_STEP_MS) {
            ended = waitpid(hdf5->child, &how, hdf5->hangs ? WNOHANG : 0);
            if (ended == 0 && ms >= REAP_MS_MAX) {
                break;
            }
            if (ended == 0) {
                (void)usleep(REAP_STEP_MS * 1000);
            }
        }
        hdf5->child = -1;
    }
    return how;
}

/* H1 and H5: the child went away in the middle of the conversation, or says nothing more. */
static vdb_status explain_end(struct vdb_hdf5 *hdf5, struct vdb_err *err)
{
    siginfo_t info = {0};
    if (hdf5->hangs) {
        (void)stop(hdf5);
        return vdb_err_set(
            err, VDB_IO,
            "the process that reads it got no further in %g seconds: it was stopped, or the disk hangs",
            silence_ms_max / 1000.0);
    }
    /* Waits for the end that the broken conversation promises, so that it is the child's own and not our kill. */
    while (hdf5->child > 0 && waitid(P_PID, (id_t)hdf5->child, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
    }
    int how = stop(hdf5);
    int number = WIFSIGNALED(how) ? WTERMSIG(how) : 0;
    if (number == SIGXCPU) {
        return vdb_err_set(err, VDB_INVALID,
                           "libhdf5 got nowhere with it in %d seconds of processor time: the file is damaged",
                           CHILD_CPU_SECONDS);
    }
    if (number == SIGKILL || number == SIGTERM || number == SIGINT) {
        return vdb_err_set(err, VDB_IO, "the process that reads it was ended by signal %d", number);
    }
    return vdb_err_set(err, VDB_INVALID, "libhdf5 crashed on it (%s %d): the file is damaged",
                       number != 0 ? "signal" : "exit code", number != 0 ? number : WEXITSTATUS(how));
}

static vdb_status receive(struct vdb_hdf5 *hdf5, void *data, size_t bytes, struct vdb_err *err)
{
    if (receive_all(hdf5->socket, data, bytes)) {
        return VDB_OK;
    }
    hdf5->hangs = errno == EAGAIN;
    return explain_end(hdf5, err);
}

/* H4 for what the child says went wrong. */
static vdb_status receive_reply(struct vdb_hdf5 *hdf5, struct reply *reply, struct vdb_err *err)
{
    VDB_TRY(receive(hdf5, reply, sizeof *reply, err));
    reply->err.text[VDB_ERR_TEXT_BYTES - 1] = '\0';
    if (reply->err.status == VDB_OK) {
        return VDB_OK;
    }
    bool known = (unsigned)reply->err.status <= VDB_CANCELLED && reply->err.text[0] != '\0';
    return known ? vdb_err_set(err, reply->err.status, "%s", reply->err.text)
                 : vdb_err_set(err, VDB_INVALID, "libhdf5 made nonsense of it");
}

/* H4. */
static bool is_sane(const struct vdb_hdf5_shape *shape)
{
    return shape->type < VDB_VECTORS_TYPE_COUNT && shape->count <= VDB_LIMIT_COLLECTION_POINTS_MAX &&
           shape->dimension >= 1 && shape->dimension <= VDB_LIMIT_DIMENSION_MAX && shape->value_bytes >= 1 &&
           shape->value_bytes <= VALUE_BYTES_MAX && shape->memory_bytes <= CHILD_MEMORY_BYTES;
}

vdb_status vdb_hdf5_open(const char *path, const char *name, struct vdb_hdf5 **out, struct vdb_hdf5_shape *shape,
                         struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct reply reply;
    *out = NULL;
    struct vdb_hdf5 *hdf5 = vdb_calloc(1, sizeof *hdf5);
    if (hdf5 == NULL) {
        return vdb_err_no_memory(err, "an HDF5 file");
    }
    VDB_CHECK(start(hdf5, &(struct task){path, name}, err));
    VDB_CHECK(receive_reply(hdf5, &reply, err));
    if (!is_sane(&reply.shape)) {
        status = vdb_err_set(err, VDB_INVALID, "data set \"%s\": libhdf5 made nonsense of it", name);
        goto cleanup;
    }
    hdf5->shape = reply.shape;
    *shape = reply.shape;
    *out = hdf5;

cleanup:
    if (status != VDB_OK) {
        vdb_hdf5_close(hdf5);
    }
    return status;
}

/* Asks for the rows and takes them as they come. */
static vdb_status converse(struct vdb_hdf5 *hdf5, struct vdb_vectors *out, struct vdb_err *err)
{
    struct reply reply;
    size_t row_bytes = vdb_vectors_row_bytes(out);
    struct request request = {out->first_row, out->count};
    if (out->count > 0 && !send_all(hdf5->socket, &request, sizeof request)) {
        hdf5->hangs = errno == EAGAIN;
        return explain_end(hdf5, err);
    }
    for (size_t done = 0; done < out->count; done += reply.row_count) {
        VDB_TRY(receive_reply(hdf5, &reply, err));
        if (reply.row_count == 0 || reply.row_count > out->count - done) {
            return vdb_err_set(err, VDB_INVALID, "libhdf5 made nonsense of row %zu", out->first_row + done);
        }
        VDB_TRY(receive(hdf5, (char *)out->data + done * row_bytes, reply.row_count * row_bytes, err));
    }
    return VDB_OK;
}

vdb_status vdb_hdf5_read_rows(struct vdb_hdf5 *hdf5, struct vdb_vectors *out, struct vdb_err *err)
{
    if (out->first_row > hdf5->shape.count || out->count > hdf5->shape.count - out->first_row) {
        return vdb_err_set(err, VDB_INVALID, "rows %zu to %zu are asked for, it has %zu", out->first_row,
                           out->first_row + out->count - 1, hdf5->shape.count);
    }
    if (hdf5->failure.status == VDB_OK && converse(hdf5, out, &hdf5->failure) != VDB_OK) {
        (void)stop(hdf5);
    }
    return hdf5->failure.status == VDB_OK ? VDB_OK
                                          : vdb_err_set(err, hdf5->failure.status, "%s", hdf5->failure.text);
}

void vdb_hdf5_close(struct vdb_hdf5 *hdf5)
{
    if (hdf5 != NULL) {
        (void)stop(hdf5);
        free(hdf5);
    }
}

vdb_status vdb_hdf5_metric(const char *path, vdb_metric *out, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_hdf5 hdf5 = {0};
    struct reply reply;
    VDB_CHECK(start(&hdf5, &(struct task){.path = path}, err));
    VDB_CHECK(receive_reply(&hdf5, &reply, err));
    if (reply.metric >= VDB_METRIC_COUNT) {
        status = vdb_err_set(err, VDB_INVALID, "libhdf5 made nonsense of the attribute \"distance\"");
        goto cleanup;
    }
    *out = reply.metric;

cleanup:
    (void)stop(&hdf5);
    return status;
}
