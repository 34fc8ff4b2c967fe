/* server.c: the life of the program: configure, open the data, listen, tell, wait for a signal, finish, close.
 *
 * The data is opened before the ports are: who can connect gets answers. While a long recovery runs, connections
 * are refused and the two signals end the process at once (a killed process loses nothing).
 */
#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/timer.h"
#include "server/config.h"
#include "server/http.h"
#include "server/listen.h"

enum { EXIT_STOPPED = 0, EXIT_FAULT = 1, EXIT_USAGE = 2 };

enum {
    THREADS_MIN =
        4, /* of the automatic choice: writers wait for the disk, so two cores keep more than two busy */
    DRAIN_POLL_MS = 10
};

/* ---- Signals ---- */

static int signal_pipe[2] = {-1, -1};

static void on_signal(int number)
{
    int saved = errno;
    char byte = (char)number;
    ssize_t wrote = write(signal_pipe[1], &byte, 1); /* full: a signal is noted already */
    (void)wrote;
    errno = saved;
}

static vdb_status catch_signals(struct vdb_err *err)
{
    if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        return vdb_err_set(err, VDB_IO, "pipe: %s", strerror(errno));
    }
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    return VDB_OK;
}

/* Waits up to timeout_ms (-1: for ever) for a signal; 0 when none came. */
static int wait_signal(int timeout_ms)
{
    struct pollfd entry = {.fd = signal_pipe[0], .events = POLLIN};
    char byte = 0;
    int rc;
    do {
        rc = poll(&entry, 1, timeout_ms);
    } while (rc < 0 && errno == EINTR && timeout_ms < 0);
    return rc > 0 && read(signal_pipe[0], &byte, 1) == 1 ? byte : 0;
}

/* ---- Start ---- */

struct program {
    struct vdb_config config;
    struct vdb_server server;
    struct vdb_service *service;
    struct vdb_http *http;
    struct vdb_http *monitor; /* NULL when the metrics port is off */
    unsigned threads;
    char http_text[VDB_LISTEN_TEXT_BYTES];
    char monitor_text[VDB_LISTEN_TEXT_BYTES];
};

static int fail(int code, const char *text)
{
    fprintf(stderr, "vecdb-server: %s\n", text);
    return code;
}

static unsigned choose_threads(uint64_t configured)
{
    cpu_set_t set;
    if (configured > 0) {
        return (unsigned)configured;
    }
    int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return cores > THREADS_MIN ? (unsigned)cores : THREADS_MIN;
}

/* A connection is a file descriptor, and the usual soft limit of 1,024 is what connections_max alone may use. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static vdb_status check_exposure(const struct vdb_config *config, const struct vdb_listen_address *address,
                                 struct vdb_err *err)
{
    if (address->loopback || config->allow_unauthenticated) {
        return VDB_OK;
    }
    return vdb_err_set(
        err, VDB_INVALID,
        "host: %s can be reached from other machines, and this version has no keys: write "
        "\"allow_unauthenticated: true\" in the config file to let everybody who reaches it read and "
        "write, or use 127.0.0.1",
        config->host);
}

static vdb_status start_listener(struct program *program, const struct vdb_listen_address *address, bool monitor,
                                 struct vdb_err *err)
{
    struct vdb_http_options options = {
        .monitoring_only = monitor, .threads = monitor ? 1 : program->threads, .config = &program->config};
    uint64_t port = monitor ? program->config.metrics_port : program->config.port;
    VDB_TRY(vdb_listen_open(address, program->config.host, (uint16_t)port, monitor ? "--metrics-port" : "--port",
                            &options.fd, monitor ? program->monitor_text : program->http_text, err));
    return vdb_http_start(&program->server, &options, monitor ? &program->monitor : &program->http, err);
}

static void print_banner(const struct program *program)
{
    vecdb_stats stats = {0};
    char *path = realpath(program->config.data, NULL);
    program->service->ops->get_stats(program->service, &stats);
    printf("VecDB %s\n", vecdb_version());
    printf("  storage      %s\n", path != NULL ? path : program->config.data);
    printf("  collections  %llu\n", (unsigned long long)stats.collections);
    printf("  points       %llu\n", (unsigned long long)stats.points);
    printf("  recovery     %llu batches replayed in %.1f ms, %llu torn bytes cut\n",
           (unsigned long long)stats.recovered_batches, (double)stats.recovery_ns / 1e6,
           (unsigned long long)stats.torn_bytes_cut);
    printf("  kernels      %s\n", stats.cpu != NULL ? stats.cpu : "");
    printf("  http         http://%s\n", program->http_text);
    if (program->monitor != NULL) {
        printf("  metrics      http://%s/metrics\n", program->monitor_text);
    }
    printf("  threads      %u\n", program->threads);
    printf("  pid          %ld\n", (long)getpid());
    printf("  status       ready\n");
    fflush(stdout);
    free(path);
}

/* ---- Stop ---- */

/* Finishes what runs, for drain_seconds at most or until a second signal. False: some thread is still at work. */
static bool drain(struct program *program)
{
    uint64_t deadline = vdb_now_ns() + program->config.drain_seconds * 1000000000u;
    atomic_store(&program->server.closing, true);
    while (vdb_http_in_flight(program->http) > 0 && vdb_now_ns() < deadline) {
        if (wait_signal(DRAIN_POLL_MS) != 0) {
            break;
        }
    }
    return vdb_http_working(program->http) == 0;
}

static void serve(struct program *program)
{
    print_banner(program);
    int number = wait_signal(-1);
    vdb_log(VDB_LOG_INFO, "server", "%s: finishing %llu requests", number == SIGINT ? "SIGINT" : "SIGTERM",
            (unsigned long long)vdb_http_in_flight(program->http));
    if (!drain(program)) {
        /* Joining would wait without bound. What was acknowledged is on disk, and the rest was not acknowledged.
         */
        vdb_log(VDB_LOG_WARN, "server", "stopped with requests unfinished after %llu s",
                (unsigned long long)program->config.drain_seconds);
        fflush(NULL);
        _exit(EXIT_STOPPED);
    }
}

static int exit_code(vdb_status status)
{
    return status == VDB_BUSY || status == VDB_INVALID || status == VDB_NOT_FOUND || status == VDB_LIMIT
               ? EXIT_USAGE
               : EXIT_FAULT;
}

static int run(struct program *program)
{
    struct vdb_err err = {VDB_OK, ""};
    vecdb_error error = {VECDB_OK, ""};
    struct vdb_listen_address address;
    vdb_status status;
    int code = EXIT_STOPPED;
    VDB_CHECK(vdb_listen_resolve(program->config.host, &address, &err));
    VDB_CHECK(check_exposure(&program->config, &address, &err));
    const vecdb_options options = {
        .no_maintenance = !program->config.maintenance,
        .checkpoint_bytes = program->config.checkpoint_mib << 20,
        .compact_bytes_per_second = program->config.compact_mib_per_second << 20,
    };
    status = (vdb_status)vdb_service_local_open(program->config.data, &options, &program->service, &error);
    if (status != VDB_OK) {
        (void)vdb_err_set(&err, status, "%s", error.message);
        goto cleanup;
    }
    program->server.service = program->service;
    VDB_CHECK(catch_signals(&err));
    VDB_CHECK(start_listener(program, &address, false, &err));
    if (program->config.metrics && program->config.metrics_port != 0) {
        VDB_CHECK(start_listener(program, &address, true, &err));
    }
    serve(program);
cleanup:
    if (status != VDB_OK) {
        code = fail(exit_code(status), err.text);
    }
    vdb_http_stop(program->http);
    vdb_http_stop(program->monitor);
    if (program->service != NULL) {
        program->service->ops->destroy(program->service);
    }
    if (code == EXIT_STOPPED) {
        vdb_log(VDB_LOG_INFO, "server", "stopped");
    }
    return code;
}

int vdb_server_run(int argc, char **argv)
{
    static struct program program; /* one per process; large for a stack */
    vdb_config_action action;
    struct vdb_err err = {VDB_OK, ""};
    if (vdb_config_from_args(&program.config, argc, argv, &action, &err) != VDB_OK) {
        return fail(EXIT_USAGE, err.text);
    }
    if (action == VDB_CONFIG_HELP) {
        fputs(vdb_config_usage(), stdout);
        return EXIT_STOPPED;
    }
    if (action == VDB_CONFIG_VERSION) {
        printf("vecdb-server %s\n", vecdb_version());
        return EXIT_STOPPED;
    }
    vdb_log_set_level(program.config.log_level);
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    program.threads = choose_threads(program.config.threads);
    return run(&program);
}
