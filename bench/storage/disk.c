/* disk.c: what the disk itself gives: rates of syncs and of sequential writing, by the system calls alone. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/timer.h"
#include "bench_storage.h"

enum { AHEAD_BYTES = 64 << 20 };

static int open_scratch(const char *dir, char *path, size_t path_bytes)
{
    snprintf(path, path_bytes, "%s/disk-scratch", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0 || fsync(fd) != 0) {
        bench_die("%s: %s", path, strerror(errno));
    }
    return fd;
}

/* Writes the whole file once, so that later writes to it change nothing but data. */
static void write_ahead(int fd, const char *path, const char *data, size_t bytes)
{
    for (off_t at = 0; at < AHEAD_BYTES; at += (off_t)bytes) {
        if (pwrite(fd, data, bytes, at) != (ssize_t)bytes) {
            bench_die("%s: %s", path, strerror(errno));
        }
    }
    if (fsync(fd) != 0) {
        bench_die("%s: %s", path, strerror(errno));
    }
}

double bench_disk_sync_rate(const char *dir, size_t bytes, bool ahead, double seconds)
{
    char path[4096];
    char *data = malloc(bytes);
    int fd = open_scratch(dir, path, sizeof path);
    if (data == NULL) {
        bench_die("out of memory");
    }
    memset(data, 'x', bytes);
    if (ahead) {
        write_ahead(fd, path, data, bytes);
    }
    const uint64_t places = ahead ? AHEAD_BYTES / bytes : UINT64_MAX;
    uint64_t syncs = 0;
    const uint64_t started = vdb_now_ns();
    while (bench_since(started) < seconds) {
        const off_t at = (off_t)(syncs % places * bytes);
        if (pwrite(fd, data, bytes, at) != (ssize_t)bytes || fdatasync(fd) != 0) {
            bench_die("%s: %s", path, strerror(errno));
        }
        syncs++;
    }
    const double rate = (double)syncs / bench_since(started);
    close(fd);
    unlink(path);
    free(data);
    return rate;
}

double bench_disk_write_rate(const char *dir, uint64_t bytes)
{
    enum { PIECE_BYTES = 1 << 20 };
    char path[4096];
    char *data = malloc(PIECE_BYTES);
    int fd = open_scratch(dir, path, sizeof path);
    if (data == NULL) {
        bench_die("out of memory");
    }
    memset(data, 'x', PIECE_BYTES);
    const uint64_t started = vdb_now_ns();
    uint64_t done = 0;
    for (; done < bytes; done += PIECE_BYTES) {
        if (pwrite(fd, data, PIECE_BYTES, (off_t)done) != PIECE_BYTES) {
            bench_die("%s: %s", path, strerror(errno));
        }
    }
    if (fdatasync(fd) != 0) {
        bench_die("%s: %s", path, strerror(errno));
    }
    const double rate = (double)done / bench_since(started);
    close(fd);
    unlink(path);
    free(data);
    return rate;
}

static uint64_t usage; /* nftw has no context */

static int add_usage(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)path;
    (void)at;
    usage += kind == FTW_F ? (uint64_t)info->st_size : 0;
    return 0;
}

uint64_t bench_disk_usage(const char *dir)
{
    usage = 0;
    if (nftw(dir, add_usage, 16, FTW_PHYS) != 0) {
        bench_die("%s: %s", dir, strerror(errno));
    }
    return usage;
}
