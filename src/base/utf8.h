/* utf8.h: the two UTF-8 steps that readers and writers of text share (RFC 3629).
 *
 * Well-formed means: shortest form, no surrogates (U+D800 to U+DFFF), nothing above U+10FFFF.
 * Threads: safe from all threads.
 */
#ifndef VDB_BASE_UTF8_H
#define VDB_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the well-formed sequence at p (1 to 4 bytes), or 0 when there is none. p < end; nothing at or
 * past end is read. */
static inline unsigned vdb_utf8_sequence(const unsigned char *p, const unsigned char *end)
{
    size_t left = (size_t)(end - p);
    unsigned char lead = p[0];
    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4 || left < 2) {
        return 0;
    }
    /* Only the second byte's range depends on the first: that is where overlong forms, surrogates and values past
     * U+10FFFF are told from the rest. */
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) {
        return 0;
    }
    unsigned bytes = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (left < bytes) {
        return 0;
    }
    for (unsigned i = 2; i < bytes; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return bytes;
}

/* Writes the code point (a scalar value: the caller has excluded surrogates and values past U+10FFFF) to out and
 * returns its length, 1 to 4. */
static inline unsigned vdb_utf8_encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* Makes a NUL-terminated text of a stranger fit to show on a terminal, in place: control characters (C0, DEL, C1) and
 * bytes that are not UTF-8 become '?'. It never grows. */
static inline void vdb_utf8_make_printable(char *text)
{
    const unsigned char *from = (const unsigned char *)text;
    const unsigned char *end = from;
    while (*end != 0) {
        end++;
    }
    char *to = text;
    while (from < end) {
        unsigned step = vdb_utf8_sequence(from, end);
        bool control = step == 0 || from[0] < 0x20 || from[0] == 0x7f ||
                       (from[0] == 0xc2 && from[1] < 0xa0); /* U+0080 to U+009F; a step of 2 bytes then */
        if (control) {
            *to++ = '?';
            from += step > 0 ? step : 1;
        } else {
            for (unsigned i = 0; i < step; i++) {
                *to++ = (char)*from++;
            }
        }
    }
    *to = '\0';
}

#endif
