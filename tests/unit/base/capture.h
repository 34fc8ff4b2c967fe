/* capture.h: catches what a test writes to stderr: through a file (no terminal) or a pseudo-terminal.
 *
 * Between capture_begin and capture_end a failing assertion would print into the catch: compare after the end.
 */
#ifndef VDB_TESTS_UNIT_BASE_CAPTURE_H
#define VDB_TESTS_UNIT_BASE_CAPTURE_H

#include <fcntl.h>
#include <pty.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum { CAPTURE_BYTES_MAX = 1 << 20 };

struct capture {
    int saved;  /* the real stderr */
    int source; /* where the text is read from */
    bool is_terminal;
    size_t bytes;
    char *text; /* NUL-terminated, after capture_end */
};

static inline void capture_begin(struct capture *capture, bool terminal)
{
    *capture = (struct capture){.is_terminal = terminal};
    int sink;
    fflush(stderr);
    capture->saved = dup(STDERR_FILENO);
    assert_true(capture->saved >= 0);
    if (terminal) {
        assert_int_equal(openpty(&capture->source, &sink, NULL, NULL, NULL), 0);
        /* Raw: no newline becomes two bytes on its way. */
        struct termios mode;
        assert_int_equal(tcgetattr(sink, &mode), 0);
        cfmakeraw(&mode);
        assert_int_equal(tcsetattr(sink, TCSANOW, &mode), 0);
        assert_int_equal(fcntl(capture->source, F_SETFL, O_NONBLOCK), 0);
    } else {
        FILE *file = tmpfile();
        assert_non_null(file);
        capture->source = dup(fileno(file));
        sink = dup(fileno(file));
        fclose(file);
        assert_int_equal(fcntl(sink, F_SETFL, O_APPEND),
                         0); /* shared with source, whose reads set the position */
    }
    assert_true(dup2(sink, STDERR_FILENO) >= 0);
    close(sink);
}

/* Takes what has been written so far; a pseudo-terminal holds only 4 KiB, so drain it on the way. */
static inline void capture_drain(struct capture *capture)
{
    if (capture->text == NULL) {
        capture->text = calloc(1, CAPTURE_BYTES_MAX);
    }
    for (;;) {
        ssize_t got = read(capture->source, capture->text + capture->bytes,
                           CAPTURE_BYTES_MAX - 1 - capture->bytes);
        if (got <= 0) {
            return;
        }
        capture->bytes += (size_t)got;
    }
}

/* Gives stderr back and leaves the text in capture->text, to be freed. */
static inline void capture_end(struct capture *capture)
{
    fflush(stderr);
    if (capture->is_terminal) {
        capture_drain(capture);
    } else {
        lseek(capture->source, 0, SEEK_SET);
        capture_drain(capture);
    }
    dup2(capture->saved, STDERR_FILENO);
    close(capture->saved);
    close(capture->source);
}

#endif
