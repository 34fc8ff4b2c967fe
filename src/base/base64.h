/* base64.h: standard base64 with padding (RFC 4648 section 4), for vectors inside JSON.
 *
 * Strict: no white space, padding required, unused bits must be zero. Threads: safe from all threads.
 */
#ifndef VDB_BASE_BASE64_H
#define VDB_BASE_BASE64_H

#include <stdbool.h>

#include "bytes.h"

/* The decoded size of `bytes` characters that end in `padding` '=' signs is bytes / 4 * 3 - padding. Writes at
 * most capacity bytes to out and their number to *written; false when the text is not strict base64 or does not
 * fit. */
bool vdb_base64_decode(const char *text, size_t bytes, uint8_t *out, size_t capacity, size_t *written);

/* Appends the encoded form. */
void vdb_base64_encode(struct vdb_buf *out, const void *data, size_t bytes);

#endif
