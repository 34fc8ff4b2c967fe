/* env_posix.c: the operating system's files, directories, locks, clock and entropy (Linux).
 *
 * How the durability contract of env.h is met:
 *   E1  sync is fdatasync. It writes the data and the metadata without which the data could not be read back: the
 *       block map and a size that grew. A size that shrank need not be among these, so after a truncation the
 *       next sync is a full fsync.
 *   E2  sync_dir is fsync of the directory, opened for the purpose.
 *   E3  sync is called once and its answer is final, EINTR included: the kernel hands out a write-back error once
 *       per open file, and a second call might succeed over lost pages.
 *   E4  rename(2) is atomic over an existing name on every journalling or copy-on-write file system.
 *
 * Interrupted and short transfers are carried on inside. Every descriptor is O_CLOEXEC: a program started by the
 * process inherits neither files nor the lock. Only regular files are opened; O_NONBLOCK keeps an open of a FIFO
 * from waiting for its other end (it has no effect on regular files).
 *
 * Threads: the env has no state but its counts. A handle's mutable fields are atomic.
 */
#include "env.h"
#include "env_count.h"
#include "env_error.h"

#include "base/limits.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FILE_MODE = 0640, /* before the umask; the data is nobody's business but the owner's and the group's */
    DIR_MODE = 0750,
    PID_TEXT_BYTES = 24,
    LOCK_ATTEMPTS_MAX = 16,
    TRANSFER_BYTES_MAX = 1 << 30 /* per system call; Linux moves at most 2 GiB - 4 KiB */
};

struct vdb_file {
    int fd;
    atomic_bool shrunk; /* truncated since the last sync: fdatasync would not be enough */
    _Atomic uint64_t unsynced_bytes;
    char path[]; /* for error texts */
};

struct posix_map {
    size_t bytes; /* mapped; 0: `empty` stands in */
    char path[];  /* for error texts */
};

/* What a map of an empty file points to: mmap has no mapping of no bytes. */
static const _Alignas(4096) uint8_t empty[1];

struct vdb_lock {
    int fd;
    pid_t pid; /* who took it: a forked child that unlocks must not free its parent's lock */
};

static int open_retrying(const char *path, int flags)
{
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* A descriptor of the regular file at path; `what` the caller does, for the error's text. */
static vdb_status open_regular(const char *path, int flags, const char *what, int *out, uint64_t *bytes,
                               struct vdb_err *err)
{
    struct stat info = {0};
    vdb_status status = VDB_OK;
    int fd = open_retrying(path, flags);
    if (fd < 0 || fstat(fd, &info) != 0) {
        status = vdb_env_error_set(err, errno, what, path);
    } else if (S_ISDIR(info.st_mode)) {
        status = vdb_env_error_set(err, EISDIR, what, path);
    } else if (!S_ISREG(info.st_mode)) {
        status = vdb_env_error_set_text(err, VDB_IO, what, path, "not a regular file");
    }
    if (status != VDB_OK) {
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    *out = fd;
    *bytes = (uint64_t)info.st_size;
    return VDB_OK;
}

static vdb_status posix_open(struct vdb_env *env, const char *path, unsigned flags, struct vdb_file **out,
                             struct vdb_err *err)
{
    (void)env;
    bool writes = (flags & VDB_OPEN_WRITE) != 0;
    assert(writes != ((flags & VDB_OPEN_READ) != 0));
    assert(writes || (flags & (VDB_OPEN_CREATE | VDB_OPEN_TRUNCATE)) == 0);
    assert((flags & VDB_OPEN_EXCLUSIVE) == 0 || (flags & VDB_OPEN_CREATE) != 0);

    *out = NULL;
    uint64_t bytes;
    size_t path_bytes = strlen(path) + 1;
    struct vdb_file *file = malloc(sizeof *file + path_bytes);
    if (file == NULL) {
        return vdb_err_no_memory(err, "a file handle");
    }
    int how = writes ? O_RDWR : O_RDONLY;
    how |= (flags & VDB_OPEN_CREATE) != 0 ? O_CREAT : 0;
    how |= (flags & VDB_OPEN_EXCLUSIVE) != 0 ? O_EXCL : 0;
    how |= (flags & VDB_OPEN_TRUNCATE) != 0 ? O_TRUNC : 0;
    vdb_status status = open_regular(path, how, "open", &file->fd, &bytes, err);
    if (status != VDB_OK) {
        free(file);
        return status;
    }
    atomic_init(&file->shrunk, (flags & VDB_OPEN_TRUNCATE) != 0);
    atomic_init(&file->unsynced_bytes, 0);
    memcpy(file->path, path, path_bytes);
    *out = file;
    return VDB_OK;
}

static void posix_close(struct vdb_env *env, struct vdb_file *file)
{
    (void)env;
    if (file == NULL) {
        return;
    }
    close(file->fd); /* never again on EINTR: Linux has released the descriptor by then */
    free(file);
}

static vdb_status read_all(struct vdb_file *file, void *out, size_t bytes, uint64_t offset, size_t *got,
                           struct vdb_err *err)
{
    *got = 0;
    while (*got < bytes && offset + *got <= INT64_MAX) {
        size_t want = bytes - *got;
        if (want > TRANSFER_BYTES_MAX) {
            want = TRANSFER_BYTES_MAX;
        }
        if (want > (uint64_t)INT64_MAX - (offset + *got)) {
            want = (size_t)((uint64_t)INT64_MAX - (offset + *got));
        }
        ssize_t n = pread(file->fd, (uint8_t *)out + *got, want, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return vdb_env_error_set_at(err, errno, "read", file->path, offset + *got);
        }
        if (n == 0) {
            break;
        }
        *got += (size_t)n;
    }
    return VDB_OK;
}

static vdb_status posix_read_at(struct vdb_env *env, struct vdb_file *file, void *out, size_t bytes,
                                uint64_t offset, size_t *got, struct vdb_err *err)
{
    vdb_status status = read_all(file, out, bytes, offset, got, err);
    return vdb_env_count_transfer(env, &env->io.reads, *got, status);
}

static vdb_status write_all(struct vdb_file *file, const void *data, size_t bytes, uint64_t offset,
                            struct vdb_err *err)
{
    if (offset > INT64_MAX || bytes > (uint64_t)INT64_MAX - offset) {
        return vdb_env_error_set_at(err, EFBIG, "write", file->path, offset);
    }
    size_t done = 0;
    while (done < bytes) {
        size_t want = bytes - done < TRANSFER_BYTES_MAX ? bytes - done : TRANSFER_BYTES_MAX;
        ssize_t n = pwrite(file->fd, (const uint8_t *)data + done, want, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            /* Nothing moved and no error: named as one, lest this loop turn for ever. */
            return vdb_env_error_set_at(err, n < 0 ? errno : EIO, "write", file->path, offset + done);
        }
        done += (size_t)n;
    }
    return VDB_OK;
}

static vdb_status posix_write_at(struct vdb_env *env, struct vdb_file *file, const void *data, size_t bytes,
                                 uint64_t offset, struct vdb_err *err)
{
    return vdb_env_count_write(env, &file->unsynced_bytes, bytes, write_all(file, data, bytes, offset, err));
}

static vdb_status posix_size(struct vdb_env *env, struct vdb_file *file, uint64_t *out, struct vdb_err *err)
{
    (void)env;
    struct stat info;
    if (fstat(file->fd, &info) != 0) {
        return vdb_env_error_set(err, errno, "size", file->path);
    }
    *out = (uint64_t)info.st_size;
    return VDB_OK;
}

static vdb_status posix_truncate(struct vdb_env *env, struct vdb_file *file, uint64_t bytes, struct vdb_err *err)
{
    (void)env;
    if (bytes > INT64_MAX) {
        return vdb_env_error_set_at(err, EFBIG, "truncate", file->path, bytes);
    }
    int rc;
    do {
        rc = ftruncate(file->fd, (off_t)bytes);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        return vdb_env_error_set_at(err, errno, "truncate", file->path, bytes);
    }
    atomic_store(&file->shrunk, true);
    return VDB_OK;
}

static vdb_status posix_sync(struct vdb_env *env, struct vdb_file *file, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    struct vdb_env_count_sync sync = vdb_env_count_begin_sync(&file->unsynced_bytes);
    /* Taken before the call: a truncation that comes while it runs belongs to the next sync. */
    bool whole = atomic_exchange(&file->shrunk, false);
    if ((whole ? fsync(file->fd) : fdatasync(file->fd)) != 0) { /* E3: once */
        status = vdb_env_error_set(err, errno, "sync", file->path);
    }
    return vdb_env_count_end_sync(env, &env->io.syncs, sync, status);
}

static vdb_status sync_names(const char *path, struct vdb_err *err)
{
    int fd = open_retrying(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return vdb_env_error_set(err, errno, "sync directory", path);
    }
    vdb_status status = VDB_OK;
    if (fsync(fd) != 0) {
        status = vdb_env_error_set(err, errno, "sync directory", path);
    }
    close(fd);
    return status;
}

static vdb_status posix_sync_dir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    struct vdb_env_count_sync sync = vdb_env_count_begin_sync(NULL);
    return vdb_env_count_end_sync(env, &env->io.dir_syncs, sync, sync_names(path, err));
}

static vdb_status posix_rename(struct vdb_env *env, const char *from, const char *to, struct vdb_err *err)
{
    (void)env;
    if (rename(from, to) != 0) {
        /* A full target directory is ENOTEMPTY on ext4 and EEXIST on XFS; callers get one answer. */
        return vdb_env_error_set_pair(err, errno == EEXIST ? ENOTEMPTY : errno, "rename", from, to);
    }
    return VDB_OK;
}

static vdb_status posix_unlink(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    (void)env;
    return unlink(path) == 0 ? VDB_OK : vdb_env_error_set(err, errno, "unlink", path);
}

static vdb_status posix_link(struct vdb_env *env, const char *from, const char *to, struct vdb_err *err)
{
    (void)env;
    struct stat info;
    if (lstat(from, &info) != 0) {
        return vdb_env_error_set_pair(err, errno, "link", from, to);
    }
    if (!S_ISREG(info.st_mode)) { /* Linux would link special files and symbolic links, too */
        return vdb_env_error_set_pair(err, S_ISDIR(info.st_mode) ? EPERM : EINVAL, "link", from, to);
    }
    if (linkat(AT_FDCWD, from, AT_FDCWD, to, 0) != 0) {
        return vdb_env_error_set_pair(err, errno, "link", from, to);
    }
    return VDB_OK;
}

static vdb_status posix_mkdir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    (void)env;
    return mkdir(path, DIR_MODE) == 0 ? VDB_OK : vdb_env_error_set(err, errno, "mkdir", path);
}

static vdb_status posix_rmdir(struct vdb_env *env, const char *path, struct vdb_err *err)
{
    (void)env;
    if (rmdir(path) != 0) {
        return vdb_env_error_set(err, errno == EEXIST ? ENOTEMPTY : errno, "rmdir", path); /* as in rename */
    }
    return VDB_OK;
}

static vdb_file_kind kind_of_mode(mode_t mode)
{
    return S_ISREG(mode) ? VDB_KIND_FILE : S_ISDIR(mode) ? VDB_KIND_DIR : VDB_KIND_OTHER;
}

/* false, with errno set, when the entry's kind could not be had. */
static bool kind_of_entry(int dir_fd, const struct dirent *entry, vdb_file_kind *kind)
{
    switch (entry->d_type) {
    case DT_REG:
        *kind = VDB_KIND_FILE;
        return true;
    case DT_DIR:
        *kind = VDB_KIND_DIR;
        return true;
    case DT_UNKNOWN:
        break; /* some file systems keep no kinds in their directories */
    default:
        *kind = VDB_KIND_OTHER;
        return true;
    }
    struct stat info;
    if (fstatat(dir_fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return false;
    }
    *kind = kind_of_mode(info.st_mode);
    return true;
}

static vdb_status posix_list(struct vdb_env *env, const char *path, vdb_dir_fn *fn, void *ctx,
                             struct vdb_err *err)
{
    (void)env;
    int fd = open_retrying(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return vdb_env_error_set(err, errno, "list", path);
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        vdb_status status = vdb_env_error_set(err, errno, "list", path);
        close(fd);
        return status;
    }
    vdb_status status = VDB_OK;
    while (status == VDB_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            if (errno != 0) {
                status = vdb_env_error_set(err, errno, "list", path);
            }
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        vdb_file_kind kind = VDB_KIND_OTHER;
        if (!kind_of_entry(fd, entry, &kind)) {
            if (errno == ENOENT) {
                continue; /* removed since it was read: no longer an entry */
            }
            status = vdb_env_error_set(err, errno, "list", path);
            break;
        }
        status = fn(ctx, entry->d_name, kind, err);
    }
    closedir(dir);
    return status;
}

static vdb_status posix_stat(struct vdb_env *env, const char *path, vdb_file_kind *kind, uint64_t *bytes,
                             struct vdb_err *err)
{
    (void)env;
    struct stat info;
    if (lstat(path, &info) != 0) {
        return vdb_env_error_set(err, errno, "stat", path);
    }
    *kind = kind_of_mode(info.st_mode);
    *bytes = *kind == VDB_KIND_FILE ? (uint64_t)info.st_size : 0;
    return VDB_OK;
}

/* The process id that a holder wrote into its lock file; 0 when there is none. */
static long read_holder(int fd)
{
    char text[PID_TEXT_BYTES];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    char *end;
    errno = 0;
    long pid = strtol(text, &end, 10);
    return errno == 0 && end != text && (*end == '\n' || *end == '\0') && pid > 0 ? pid : 0;
}

/* For the message to the next one who tries. Its failure is nothing: the lock holds by the descriptor, and a full
 * disk must not keep a database closed. */
static void write_holder(int fd, pid_t pid)
{
    char text[PID_TEXT_BYTES];
    int bytes = snprintf(text, sizeof text, "%ld\n", (long)pid);
    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)bytes, 0) < 0) {
        return;
    }
}

/* flock and not fcntl's record locks: those belong to the process, so that a second opener in the same process
 * would get the lock too, and closing any descriptor of the file would free it. */
static vdb_status posix_lock(struct vdb_env *env, const char *path, struct vdb_lock **out, struct vdb_err *err)
{
    (void)env;
    *out = NULL;
    vdb_status status = VDB_OK;
    int fd = -1;
    struct vdb_lock *lock = malloc(sizeof *lock);
    if (lock == NULL) {
        return vdb_err_no_memory(err, "a lock");
    }
    for (int attempt = 0; attempt < LOCK_ATTEMPTS_MAX; attempt++) {
        struct stat held;
        struct stat named;
        fd = open_retrying(path, O_RDWR | O_CREAT | O_NOFOLLOW);
        if (fd < 0 || fstat(fd, &held) != 0) {
            status = vdb_env_error_set(err, errno, "lock", path);
            goto cleanup;
        }
        if (!S_ISREG(held.st_mode)) {
            status = vdb_env_error_set_text(err, VDB_IO, "lock", path, "not a regular file");
            goto cleanup;
        }
        int rc;
        do {
            rc = flock(fd, LOCK_EX | LOCK_NB);
        } while (rc != 0 && errno == EINTR);
        if (rc != 0) {
            status = errno == EWOULDBLOCK ? vdb_env_error_set_busy(err, path, read_holder(fd))
                                          : vdb_env_error_set(err, errno, "lock", path);
            goto cleanup;
        }
        /* Between open and flock the file may have been removed: a lock on a file without a name locks nobody
         * out. */
        if (lstat(path, &named) == 0 && named.st_dev == held.st_dev && named.st_ino == held.st_ino) {
            lock->fd = fd;
            lock->pid = getpid();
            write_holder(fd, lock->pid);
            *out = lock;
            return VDB_OK;
        }
        close(fd);
        fd = -1;
    }
    status = vdb_env_error_set_text(err, VDB_BUSY, "lock", path,
                                    "the file was replaced again and again while locking it");

cleanup:
    if (fd >= 0) {
        close(fd);
    }
    free(lock);
    return status;
}

static void posix_unlock(struct vdb_env *env, struct vdb_lock *lock)
{
    (void)env;
    if (lock == NULL) {
        return;
    }
    if (lock->pid == getpid()) {
        if (ftruncate(lock->fd, 0) == 0) { /* names nobody any more; a number left behind would only mislead */
            errno = 0;
        }
        /* In so many words: a child forked meanwhile has a copy of the descriptor, which would go on holding it.
         */
        flock(lock->fd, LOCK_UN);
    }
    close(lock->fd);
    free(lock);
}

/* The descriptor is closed at once: the mapping holds the file, also when its last name has gone. */
static vdb_status posix_map(struct vdb_env *env, const char *path, struct vdb_map *out, struct vdb_err *err)
{
    (void)env;
    *out = (struct vdb_map){0};
    int fd = -1;
    uint64_t bytes = 0;
    size_t path_bytes = strlen(path) + 1;
    struct posix_map *map = malloc(sizeof *map + path_bytes);
    if (map == NULL) {
        return vdb_err_no_memory(err, "a map");
    }
    vdb_status status = open_regular(path, O_RDONLY, "map", &fd, &bytes, err);
    if (status != VDB_OK) {
        free(map);
        return status;
    }
    const void *data = bytes > 0 ? mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0) : empty;
    if (data == MAP_FAILED) {
        status = errno == ENOMEM ? vdb_err_no_memory(err, "a map") : vdb_env_error_set(err, errno, "map", path);
        free(map);
    } else {
        map->bytes = bytes;
        memcpy(map->path, path, path_bytes);
        *out = (struct vdb_map){.data = data, .bytes = bytes, .impl = map};
    }
    close(fd);
    return status;
}

static void posix_unmap(struct vdb_env *env, struct vdb_map *out)
{
    (void)env;
    struct posix_map *map = out->impl;
    if (map != NULL && map->bytes > 0) {
        int rc = munmap((void *)(uintptr_t)out->data, map->bytes);
        assert(rc == 0); /* fails only on what was never mapped */
        (void)rc;
    }
    free(map);
    *out = (struct vdb_map){0};
}

/* The pages that the range lies in, as far as the map goes; false when there are none. */
static bool pages_of(const struct vdb_map *map, uint64_t offset, uint64_t bytes, void **start, size_t *length)
{
    if (offset >= map->bytes || bytes == 0) {
        return false;
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t end = bytes < map->bytes - offset ? offset + bytes : map->bytes;
    uint64_t first = offset - offset % page;
    *start = (void *)((uintptr_t)map->data + first);
    *length = (size_t)(end - first);
    return true;
}

static vdb_status populate(const struct vdb_map *map, uint64_t offset, uint64_t bytes, struct vdb_err *err)
{
    assert(offset <= map->bytes && bytes <= map->bytes - offset);
    void *start;
    size_t length;
    if (!pages_of(map, offset, bytes, &start, &length)) {
        return VDB_OK;
    }
    /* First all pages in one request, whatever was advised (after RANDOM the second call alone would read them one
     * by one); then wait for them. */
    (void)madvise(start, length, MADV_WILLNEED);
    int rc;
    do {
        rc = madvise(start, length, MADV_POPULATE_READ);
    } while (rc != 0 && (errno == EINTR || errno == EAGAIN));
    if (rc == 0 || errno == EINVAL) { /* before Linux 5.14 there is no such call: nothing is known */
        return VDB_OK;
    }
    /* EFAULT: an access would be answered by SIGBUS; EHWPOISON: by one for a broken memory page. */
    const struct posix_map *posix = map->impl;
    return errno == ENOMEM ? vdb_err_no_memory(err, posix->path)
                           : vdb_env_error_set_at(err, EIO, "read", posix->path, offset);
}

static vdb_status posix_touch(struct vdb_env *env, const struct vdb_map *map, uint64_t offset, uint64_t bytes,
                              struct vdb_err *err)
{
    return vdb_env_count_transfer(env, &env->io.touches, bytes, populate(map, offset, bytes, err));
}

static void posix_advise(struct vdb_env *env, const struct vdb_map *map, uint64_t offset, uint64_t bytes,
                         vdb_access access)
{
    (void)env;
    static const int advices[] = {[VDB_ACCESS_NORMAL] = MADV_NORMAL,
                                  [VDB_ACCESS_SEQUENTIAL] = MADV_SEQUENTIAL,
                                  [VDB_ACCESS_RANDOM] = MADV_RANDOM,
                                  [VDB_ACCESS_SOON] = MADV_WILLNEED};
    void *start;
    size_t length;
    if (pages_of(map, offset, bytes, &start, &length)) {
        (void)madvise(start, length, advices[access]); /* a hint: its failure is nothing */
    }
}

static uint64_t posix_now_us(struct vdb_env *env)
{
    (void)env;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static vdb_status posix_entropy(struct vdb_env *env, void *out, size_t bytes, struct vdb_err *err)
{
    (void)env;
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = getrandom((uint8_t *)out + done, bytes - done, 0);
        if (n < 0 && errno != EINTR) {
            return vdb_env_error_set(err, errno, "entropy", "getrandom");
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return VDB_OK;
}

static const struct vdb_env_ops posix_ops = {
    .name = "posix",
    .open = posix_open,
    .close = posix_close,
    .read_at = posix_read_at,
    .write_at = posix_write_at,
    .size = posix_size,
    .truncate = posix_truncate,
    .sync = posix_sync,
    .sync_dir = posix_sync_dir,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .link = posix_link,
    .mkdir = posix_mkdir,
    .rmdir = posix_rmdir,
    .list = posix_list,
    .stat = posix_stat,
    .lock = posix_lock,
    .unlock = posix_unlock,
    .map = posix_map,
    .unmap = posix_unmap,
    .touch = posix_touch,
    .advise = posix_advise,
    .now_us = posix_now_us,
    .entropy = posix_entropy,
};

struct vdb_env *vdb_env_posix(void)
{
    static struct vdb_env env = {.ops = &posix_ops};
    return &env;
}
