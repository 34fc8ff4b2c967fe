/* bytes.h: a growable output buffer and a bounded input cursor, both little-endian.
 *
 * Both carry their own failure: writing to a buffer that could not grow, or reading past the end of a cursor,
 * sets `failed` and changes nothing else, so that an encoder or decoder checks once, at its end. No byte outside
 * [data, data + bytes) is ever read. Threads: confined.
 */
#ifndef VDB_BASE_BYTES_H
#define VDB_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A borrowed run of bytes; need not be NUL-terminated. */
struct vdb_str {
    const char *data;
    size_t bytes;
};

static inline struct vdb_str vdb_str_of(const char *text)
{
    return (struct vdb_str){text, strlen(text)};
}

static inline bool vdb_str_eq(struct vdb_str a, struct vdb_str b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

static inline bool vdb_str_is(struct vdb_str a, const char *text)
{
    return vdb_str_eq(a, vdb_str_of(text));
}

/* Output. Zero-initialise to start; vdb_buf_fini frees. */
struct vdb_buf {
    uint8_t *data;
    size_t bytes;
    size_t capacity;
    bool failed; /* an allocation failed; what is in data is incomplete */
};

void vdb_buf_fini(struct vdb_buf *buf);
void vdb_buf_clear(struct vdb_buf *buf); /* empties, keeps the memory, clears failed */
bool vdb_buf_reserve(struct vdb_buf *buf, size_t more);
void vdb_buf_put(struct vdb_buf *buf, const void *data, size_t bytes);
void vdb_buf_put_text(struct vdb_buf *buf, const char *text);
void vdb_buf_put_str(struct vdb_buf *buf, struct vdb_str str);
void vdb_buf_put_zeros(struct vdb_buf *buf, size_t bytes);
void vdb_buf_put_u8(struct vdb_buf *buf, uint8_t value);
void vdb_buf_put_u16(struct vdb_buf *buf, uint16_t value);
void vdb_buf_put_u32(struct vdb_buf *buf, uint32_t value);
void vdb_buf_put_u64(struct vdb_buf *buf, uint64_t value);
void vdb_buf_printf(struct vdb_buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Input. */
struct vdb_cursor {
    const uint8_t *data;
    size_t bytes;
    size_t pos;
    bool failed; /* something was asked for past the end */
};

void vdb_cursor_init(struct vdb_cursor *cursor, const void *data, size_t bytes);
size_t vdb_cursor_left(const struct vdb_cursor *cursor);
uint8_t vdb_cursor_u8(struct vdb_cursor *cursor);
uint16_t vdb_cursor_u16(struct vdb_cursor *cursor);
uint32_t vdb_cursor_u32(struct vdb_cursor *cursor);
uint64_t vdb_cursor_u64(struct vdb_cursor *cursor);
/* Borrows `bytes` bytes and steps over them; NULL (and failed) when fewer are left. */
const uint8_t *vdb_cursor_take(struct vdb_cursor *cursor, size_t bytes);

/* Loads and stores for fixed layouts. */
static inline uint16_t vdb_load_u16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t vdb_load_u32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t vdb_load_u64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void vdb_store_u16(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}
static inline void vdb_store_u32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}
static inline void vdb_store_u64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

/* The files are little-endian and the loads above are native: a big-endian port starts here. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "VecDB's loads assume a little-endian machine");

#endif
