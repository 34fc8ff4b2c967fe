/* test_env_posix.c: what only the system's env has: links, special files, processes, descriptors, short writes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/env/env_world.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void make_link(struct world *w, const char *target, const char *name)
{
    assert_int_equal(symlink(target, at(w, name)), 0);
}

static void test_links_are_not_followed(void **state)
{
    struct world *w = *state;
    assert_int_equal(make_dir(w, "outside"), VDB_OK);
    put_file(w, "outside/precious", "x");
    assert_int_equal(make_dir(w, "tree"), VDB_OK);
    assert_int_equal(make_dir(w, "tree/sub"), VDB_OK);
    make_link(w, "../outside", "tree/to_dir");
    make_link(w, "../../outside/precious", "tree/sub/to_file");
    make_link(w, "nowhere", "tree/dangling");
    make_link(w, "outside", "link");
    assert_int_equal(mkfifo(at(w, "tree/fifo"), 0600), 0);
    assert_int_equal(kind_at(w, "tree/to_dir"), 'o');
    assert_int_equal(kind_at(w, "tree/to_dir/."), 'd');
    assert_int_equal(kind_at(w, "tree/dangling"), 'o');
    assert_int_equal(kind_at(w, "tree/fifo"), 'o');

    assert_int_equal(vdb_env_remove_tree(w->env, at(w, "tree"), &w->err), VDB_OK);
    assert_int_equal(kind_at(w, "tree"), '-');
    assert_int_equal(vdb_env_remove_tree(w->env, at(w, "link/"), &w->err),
                     VDB_OK); /* the link, not what it names */
    assert_int_equal(kind_at(w, "link"), '-');
    expect_file(w, "outside/precious", "x");
}

static vdb_status note_kind(void *ctx, const char *name, vdb_file_kind kind, struct vdb_err *err)
{
    (void)err;
    assert_string_equal(name, "link");
    *(vdb_file_kind *)ctx = kind;
    return VDB_OK;
}

static void test_list_names_links_as_other(void **state)
{
    struct world *w = *state;
    vdb_file_kind kind = VDB_KIND_FILE;
    make_link(w, "/", "link");
    assert_int_equal(w->env->ops->list(w->env, w->root, note_kind, &kind, &w->err), VDB_OK);
    assert_int_equal(kind, VDB_KIND_OTHER);
}

static void test_mkdirs_through_links(void **state)
{
    struct world *w = *state;
    assert_int_equal(make_dir(w, "big_disk"), VDB_OK);
    make_link(w, "big_disk", "var");
    assert_int_equal(vdb_env_mkdirs(w->env, at(w, "var/data"), &w->err), VDB_OK);
    assert_int_equal(kind_at(w, "big_disk/data"), 'd');
    assert_int_equal(vdb_env_mkdirs(w->env, at(w, "var"), &w->err), VDB_OK);
    make_link(w, "nowhere", "dangling");
    assert_int_equal(vdb_env_mkdirs(w->env, at(w, "dangling/data"), &w->err), VDB_NOT_FOUND);
    put_file(w, "file", "x");
    make_link(w, "file", "to_file");
    assert_int_equal(vdb_env_mkdirs(w->env, at(w, "to_file"), &w->err), VDB_IO);
}

/* An open that waited for a FIFO's writer would hang here. */
static void test_special_files_are_refused(void **state)
{
    struct world *w = *state;
    char text[VDB_ERR_TEXT_BYTES];
    assert_int_equal(mkfifo(at(w, "fifo"), 0600), 0);
    assert_int_equal(open_status(w, "fifo", VDB_OPEN_READ), VDB_IO);
    snprintf(text, sizeof text, "open \"%s\": not a regular file", at(w, "fifo"));
    assert_string_equal(w->err.text, text);
    assert_int_equal(open_status(w, "fifo", VDB_OPEN_WRITE), VDB_IO);
    struct vdb_file *file;
    assert_int_equal(w->env->ops->open(w->env, "/dev/null", VDB_OPEN_WRITE, &file, &w->err), VDB_IO);

    struct vdb_lock *lock;
    assert_int_equal(w->env->ops->lock(w->env, at(w, "fifo"), &lock, &w->err), VDB_IO);
    put_file(w, "file", "not to be written over");
    make_link(w, "file", "LOCK");
    assert_int_equal(w->env->ops->lock(w->env, at(w, "LOCK"), &lock, &w->err), VDB_IO);
    expect_file(w, "file", "not to be written over");
}

/* A child that locks, tells so by a byte, and waits to be killed. */
static pid_t fork_holder(struct world *w)
{
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct vdb_lock *lock;
        char ok = w->env->ops->lock(w->env, at(w, "LOCK"), &lock, &w->err) == VDB_OK ? 'y' : 'n';
        if (write(pipe_fds[1], &ok, 1) != 1) {
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    char ok = 0;
    assert_int_equal(read(pipe_fds[0], &ok, 1), 1);
    assert_int_equal(ok, 'y');
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    return pid;
}

static void test_lock_of_another_process(void **state)
{
    struct world *w = *state;
    struct vdb_lock *lock;
    pid_t child = fork_holder(w);
    char text[VDB_ERR_TEXT_BYTES];
    assert_int_equal(w->env->ops->lock(w->env, at(w, "LOCK"), &lock, &w->err), VDB_BUSY);
    snprintf(text, sizeof text, "lock \"%s\": in use by process %ld", at(w, "LOCK"), (long)child);
    assert_string_equal(w->err.text, text);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(w->env->ops->lock(w->env, at(w, "LOCK"), &lock, &w->err), VDB_OK); /* gone with its holder */
    w->env->ops->unlock(w->env, lock);
}

static int wait_for(pid_t child)
{
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    return WEXITSTATUS(how);
}

static void test_lock_and_forked_children(void **state)
{
    struct world *w = *state;
    struct vdb_lock *lock;
    struct vdb_lock *second;
    assert_int_equal(w->env->ops->lock(w->env, at(w, "LOCK"), &lock, &w->err), VDB_OK);
    /* A child gets no lock, and its unlock of the inherited one frees nothing. */
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        vdb_status status = w->env->ops->lock(w->env, at(w, "LOCK"), &second, NULL);
        w->env->ops->unlock(w->env, lock);
        _exit(status == VDB_BUSY ? 0 : 1);
    }
    assert_int_equal(wait_for(child), 0);
    assert_int_equal(w->env->ops->lock(w->env, at(w, "LOCK"), &second, &w->err), VDB_BUSY);

    /* A child that lives on with a copy of the descriptor does not keep the lock from whom comes next. */
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (;;) {
            pause();
        }
    }
    w->env->ops->unlock(w->env, lock);
    assert_int_equal(w->env->ops->lock(w->env, at(w, "LOCK"), &second, &w->err), VDB_OK);
    w->env->ops->unlock(w->env, second);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* A lock file that was removed under its holder: the next one locks a new file of that name, and says so rightly.
 */
static void test_lock_of_removed_file(void **state)
{
    struct world *w = *state;
    struct vdb_lock *first;
    struct vdb_lock *second;
    struct vdb_lock *third;
    assert_int_equal(w->env->ops->lock(w->env, at(w, "LOCK"), &first, &w->err), VDB_OK);
    assert_int_equal(w->env->ops->unlink(w->env, at(w, "LOCK"), &w->err), VDB_OK);
    assert_int_equal(w->env->ops->lock(w->env, at(w, "LOCK"), &second, &w->err), VDB_OK);
    assert_int_equal(w->env->ops->lock(w->env, at(w, "LOCK"), &third, &w->err), VDB_BUSY);
    w->env->ops->unlock(w->env, first);
    assert_int_equal(w->env->ops->lock(w->env, at(w, "LOCK"), &third, &w->err), VDB_BUSY);
    w->env->ops->unlock(w->env, second);
}

/* Holders that remove the lock file as they leave: between another one's open and its flock the file may go and a
 * new one come. Never may two be inside at once. */
struct contender {
    struct world *w;
    atomic_int *inside;
    atomic_int *clashes;
    atomic_int *entered;
    char path[512];
    pthread_t thread;
};

static void *contend(void *arg)
{
    struct contender *c = arg;
    const struct vdb_env_ops *ops = c->w->env->ops;
    for (int round = 0; round < 2000; round++) {
        struct vdb_lock *lock;
        vdb_status status = ops->lock(c->w->env, c->path, &lock, NULL);
        if (status == VDB_BUSY) {
            continue;
        }
        assert_int_equal(status, VDB_OK);
        atomic_fetch_add(c->entered, 1);
        if (atomic_fetch_add(c->inside, 1) != 0) {
            atomic_fetch_add(c->clashes, 1);
        }
        sched_yield();
        atomic_fetch_sub(c->inside, 1);
        assert_int_equal(ops->unlink(c->w->env, c->path, NULL), VDB_OK);
        ops->unlock(c->w->env, lock);
    }
    return NULL;
}

static void test_lock_files_that_come_and_go(void **state)
{
    enum { CONTENDERS = 4 };
    struct world *w = *state;
    atomic_int inside = 0;
    atomic_int clashes = 0;
    atomic_int entered = 0;
    struct contender contenders[CONTENDERS];
    for (int i = 0; i < CONTENDERS; i++) {
        struct contender *c = &contenders[i];
        *c = (struct contender){.w = w, .inside = &inside, .clashes = &clashes, .entered = &entered};
        snprintf(c->path, sizeof c->path, "%s", at(w, "LOCK"));
        assert_int_equal(pthread_create(&c->thread, NULL, contend, c), 0);
    }
    for (int i = 0; i < CONTENDERS; i++) {
        assert_int_equal(pthread_join(contenders[i].thread, NULL), 0);
    }
    assert_true(atomic_load(&entered) > 0);
    assert_int_equal(atomic_load(&clashes), 0);
}

/* Every descriptor that leads into our directory is closed by exec. */
static void test_descriptors_are_closed_by_exec(void **state)
{
    struct world *w = *state;
    struct vdb_lock *lock;
    struct vdb_file *file = open_ok(w, "f", CREATE);
    assert_int_equal(w->env->ops->lock(w->env, at(w, "LOCK"), &lock, &w->err), VDB_OK);
    int found = 0;
    for (int fd = 0; fd < 256; fd++) {
        char link[64];
        char target[512];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, target, sizeof target - 1);
        if (n <= 0) {
            continue;
        }
        target[n] = '\0';
        if (strstr(target, strrchr(w->root, '/')) != NULL) {
            found++;
            assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        }
    }
    assert_int_equal(found, 2);
    w->env->ops->unlock(w->env, lock);
    w->env->ops->close(w->env, file);
}

/* With a file size limit of 4096 bytes the system moves 4096 of 10000 bytes, then fails: the loop must have
 * carried on after the short transfer and must name the byte that it came to. */
static void test_short_write(void **state)
{
    struct world *w = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static char data[10000];
        struct rlimit limit = {4096, 4096};
        struct vdb_file *file;
        signal(SIGXFSZ, SIG_IGN);
        if (w->env->ops->open(w->env, at(w, "f"), CREATE, &file, &w->err) != VDB_OK ||
            setrlimit(RLIMIT_FSIZE, &limit) != 0) {
            _exit(1);
        }
        if (w->env->ops->write_at(w->env, file, data, sizeof data, 0, &w->err) != VDB_IO ||
            strstr(w->err.text, "f\" at byte 4096: File too large") == NULL) {
            _exit(2);
        }
        if (w->env->ops->truncate(w->env, file, 8192, &w->err) != VDB_IO) {
            _exit(3);
        }
        _exit(0);
    }
    assert_int_equal(wait_for(child), 0);
    vdb_file_kind kind;
    uint64_t bytes;
    assert_int_equal(w->env->ops->stat(w->env, at(w, "f"), &kind, &bytes, &w->err), VDB_OK);
    assert_int_equal(bytes, 4096);
}

/* A map holds no descriptor, and a special file is not mapped. */
static void test_map_closes_its_descriptor(void **state)
{
    struct world *w = *state;
    struct vdb_map map;
    put_file(w, "f", "x");
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(before);
    assert_int_equal(w->env->ops->map(w->env, at(w, "f"), &map, &w->err), VDB_OK);
    int after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(after);
    assert_int_equal(before, after); /* the lowest that is free */
    w->env->ops->unmap(w->env, &map);
    assert_int_equal(mkfifo(at(w, "fifo"), 0600), 0);
    assert_int_equal(w->env->ops->map(w->env, at(w, "fifo"), &map, &w->err), VDB_IO);
    expect_text(w, "map", at(w, "fifo"), "not a regular file");
    after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(after);
    assert_int_equal(before, after);
}

/* Pages that are not there any more stand in for pages that cannot be read: an access is SIGBUS, touch says so
 * before. */
static void test_touch_reports_what_would_be_a_signal(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    struct vdb_map map;
    static char text[20001];
    memset(text, 'x', 20000);
    put_file(w, "f", text);
    assert_int_equal(ops->map(w->env, at(w, "f"), &map, &w->err), VDB_OK);
    assert_int_equal(truncate(at(w, "f"), 4096), 0); /* against E5 */
    assert_int_equal(ops->touch(w->env, &map, 100, 3996, &w->err), VDB_OK);
    assert_int_equal(ops->touch(w->env, &map, 100, 3997, &w->err), VDB_IO);
    char want[VDB_ERR_TEXT_BYTES];
    snprintf(want, sizeof want, "read \"%s\" at byte 100: Input/output error", at(w, "f"));
    assert_string_equal(w->err.text, want);
    ops->advise(w->env, &map, 0, 20000, VDB_ACCESS_RANDOM);
    assert_int_equal(ops->touch(w->env, &map, 19999, 1, &w->err), VDB_IO);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGBUS, SIG_DFL); /* not the test library's */
        _exit(*(const volatile uint8_t *)(map.data + 10000));
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGBUS);
    ops->unmap(w->env, &map);
}

/* Hard links are of files, and within one file system. */
static void test_link_of_what_is_no_file(void **state)
{
    struct world *w = *state;
    const struct vdb_env_ops *ops = w->env->ops;
    put_file(w, "f", "x");
    make_link(w, "f", "symlink");
    make_link(w, "nowhere", "dangling");
    assert_int_equal(ops->link(w->env, at(w, "symlink"), at(w, "x"), &w->err), VDB_IO);
    assert_int_equal(ops->link(w->env, at(w, "f"), at(w, "dangling"), &w->err), VDB_EXISTS);
    assert_int_equal(mkfifo(at(w, "fifo"), 0600), 0);
    assert_int_equal(ops->link(w->env, at(w, "fifo"), at(w, "x"), &w->err), VDB_IO);
    assert_int_equal(kind_at(w, "x"), '-');

    struct stat here, there;
    if (stat(w->root, &here) != 0 || stat("/dev/shm", &there) != 0 || here.st_dev == there.st_dev) {
        print_message("no second file system: link across is not tried\n");
        return;
    }
    char to[64];
    snprintf(to, sizeof to, "/dev/shm/vecdb_env_link_%ld", (long)getpid());
    assert_int_equal(ops->link(w->env, at(w, "f"), to, &w->err), VDB_IO);
    assert_non_null(strstr(w->err.text, "\": Invalid cross-device link"));
}

static void test_modes(void **state)
{
    struct world *w = *state;
    struct stat info;
    mode_t mask = umask(0);
    put_file(w, "f", "x");
    assert_int_equal(make_dir(w, "d"), VDB_OK);
    umask(mask);
    assert_int_equal(stat(at(w, "f"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640); /* not for all the world */
    assert_int_equal(stat(at(w, "d"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0750);
}

static void test_permission_denied(void **state)
{
    struct world *w = *state;
    if (geteuid() == 0) {
        skip(); /* root is denied nothing */
    }
    put_file(w, "f", "x");
    assert_int_equal(chmod(at(w, "f"), 0), 0);
    assert_int_equal(open_status(w, "f", VDB_OPEN_READ), VDB_IO);
    assert_non_null(strstr(w->err.text, "Permission denied"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_POSIX(test_links_are_not_followed),
        ON_POSIX(test_list_names_links_as_other),
        ON_POSIX(test_mkdirs_through_links),
        ON_POSIX(test_special_files_are_refused),
        ON_POSIX(test_lock_of_another_process),
        ON_POSIX(test_lock_and_forked_children),
        ON_POSIX(test_lock_of_removed_file),
        ON_POSIX(test_lock_files_that_come_and_go),
        ON_POSIX(test_descriptors_are_closed_by_exec),
        ON_POSIX(test_short_write),
        ON_POSIX(test_map_closes_its_descriptor),
        ON_POSIX(test_touch_reports_what_would_be_a_signal),
        ON_POSIX(test_link_of_what_is_no_file),
        ON_POSIX(test_modes),
        ON_POSIX(test_permission_denied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
