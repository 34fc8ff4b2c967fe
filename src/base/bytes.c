/* bytes.c: the growable buffer and the bounded cursor. */
#include "bytes.h"

#include "mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_FIRST_BYTES = 256 };

void vdb_buf_fini(struct vdb_buf *buf)
{
    free(buf->data);
    *buf = (struct vdb_buf){0};
}

void vdb_buf_clear(struct vdb_buf *buf)
{
    buf->bytes = 0;
    buf->failed = false;
}

bool vdb_buf_reserve(struct vdb_buf *buf, size_t more)
{
    size_t needed;
    if (buf->failed || !vdb_size_add(buf->bytes, more, &needed)) {
        buf->failed = true;
        return false;
    }
    if (needed <= buf->capacity) {
        return true;
    }
    size_t capacity = buf->capacity > 0 ? buf->capacity : BUF_FIRST_BYTES;
    while (capacity < needed) {
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    }
    void *data = buf->data;
    if (!vdb_realloc_array(&data, capacity, 1)) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->capacity = capacity;
    return true;
}

void vdb_buf_put(struct vdb_buf *buf, const void *data, size_t bytes)
{
    if (bytes > 0 && vdb_buf_reserve(buf, bytes)) {
        memcpy(buf->data + buf->bytes, data, bytes);
        buf->bytes += bytes;
    }
}

void vdb_buf_put_text(struct vdb_buf *buf, const char *text)
{
    vdb_buf_put(buf, text, strlen(text));
}

void vdb_buf_put_str(struct vdb_buf *buf, struct vdb_str str)
{
    vdb_buf_put(buf, str.data, str.bytes);
}

void vdb_buf_put_zeros(struct vdb_buf *buf, size_t bytes)
{
    if (bytes > 0 && vdb_buf_reserve(buf, bytes)) {
        memset(buf->data + buf->bytes, 0, bytes);
        buf->bytes += bytes;
    }
}

void vdb_buf_put_u8(struct vdb_buf *buf, uint8_t value)
{
    vdb_buf_put(buf, &value, sizeof value);
}

void vdb_buf_put_u16(struct vdb_buf *buf, uint16_t value)
{
    vdb_buf_put(buf, &value, sizeof value);
}

void vdb_buf_put_u32(struct vdb_buf *buf, uint32_t value)
{
    vdb_buf_put(buf, &value, sizeof value);
}

void vdb_buf_put_u64(struct vdb_buf *buf, uint64_t value)
{
    vdb_buf_put(buf, &value, sizeof value);
}

void vdb_buf_printf(struct vdb_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int needed = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (needed < 0) {
        buf->failed = true;
        return;
    }
    if (vdb_buf_reserve(buf, (size_t)needed + 1)) {
        va_start(args, format);
        vsnprintf((char *)buf->data + buf->bytes, (size_t)needed + 1, format, args);
        va_end(args);
        buf->bytes += (size_t)needed;
    }
}

void vdb_cursor_init(struct vdb_cursor *cursor, const void *data, size_t bytes)
{
    *cursor = (struct vdb_cursor){.data = data, .bytes = bytes};
}

size_t vdb_cursor_left(const struct vdb_cursor *cursor)
{
    return cursor->failed ? 0 : cursor->bytes - cursor->pos;
}

const uint8_t *vdb_cursor_take(struct vdb_cursor *cursor, size_t bytes)
{
    if (cursor->failed || bytes > cursor->bytes - cursor->pos) {
        cursor->failed = true;
        return NULL;
    }
    if (cursor->data == NULL) {
        return (const uint8_t *)""; /* nothing of nothing: there is no data to point into */
    }
    const uint8_t *taken = cursor->data + cursor->pos;
    cursor->pos += bytes;
    return taken;
}

uint8_t vdb_cursor_u8(struct vdb_cursor *cursor)
{
    const uint8_t *p = vdb_cursor_take(cursor, 1);
    return p != NULL ? *p : 0;
}

uint16_t vdb_cursor_u16(struct vdb_cursor *cursor)
{
    const uint8_t *p = vdb_cursor_take(cursor, 2);
    return p != NULL ? vdb_load_u16(p) : 0;
}

uint32_t vdb_cursor_u32(struct vdb_cursor *cursor)
{
    const uint8_t *p = vdb_cursor_take(cursor, 4);
    return p != NULL ? vdb_load_u32(p) : 0;
}

uint64_t vdb_cursor_u64(struct vdb_cursor *cursor)
{
    const uint8_t *p = vdb_cursor_take(cursor, 8);
    return p != NULL ? vdb_load_u64(p) : 0;
}
