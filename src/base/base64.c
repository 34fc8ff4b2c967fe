/* base64.c: strict base64 (RFC 4648 section 4) by table. */
#include "base64.h"

static const char alphabet[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* value + 1, so that 0 (every byte not listed) means: outside the alphabet. */
static const uint8_t value_plus_one[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
    ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
    ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
    ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
    ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['+'] = 63, ['/'] = 64,
};

/* Four characters to 24 bits; false when one is outside the alphabet. */
static bool decode_four(const unsigned char *in, uint32_t *out)
{
    uint32_t a = value_plus_one[in[0]];
    uint32_t b = value_plus_one[in[1]];
    uint32_t c = value_plus_one[in[2]];
    uint32_t d = value_plus_one[in[3]];
    *out = (a - 1) << 18 | (b - 1) << 12 | (c - 1) << 6 | (d - 1);
    return a != 0 && b != 0 && c != 0 && d != 0;
}

/* The last four characters, of which `padding` (1 or 2) are '='. */
static bool decode_padded(const unsigned char *in, size_t padding, uint8_t *out)
{
    unsigned char four[4] = {in[0], in[1], padding == 1 ? in[2] : 'A', 'A'};
    uint32_t bits;
    if (!decode_four(four, &bits) || (bits & (padding == 1 ? 0xffu : 0xffffu)) != 0) {
        return false; /* a foreign character, or unused bits that are not zero */
    }
    out[0] = (uint8_t)(bits >> 16);
    if (padding == 1) {
        out[1] = (uint8_t)(bits >> 8);
    }
    return true;
}

bool vdb_base64_decode(const char *text, size_t bytes, uint8_t *out, size_t capacity, size_t *written)
{
    const unsigned char *in = (const unsigned char *)text;
    *written = 0;
    if (bytes % 4 != 0) {
        return false;
    }
    if (bytes == 0) {
        return true;
    }
    size_t padding = in[bytes - 1] != '=' ? 0 : in[bytes - 2] != '=' ? 1 : 2;
    size_t size = bytes / 4 * 3 - padding;
    if (size > capacity) {
        return false;
    }
    const unsigned char *full_end = in + bytes - (padding > 0 ? 4 : 0);
    uint8_t *p = out;
    for (; in < full_end; in += 4, p += 3) {
        uint32_t bits;
        if (!decode_four(in, &bits)) {
            return false;
        }
        p[0] = (uint8_t)(bits >> 16);
        p[1] = (uint8_t)(bits >> 8);
        p[2] = (uint8_t)bits;
    }
    if (padding > 0 && !decode_padded(in, padding, p)) {
        return false;
    }
    *written = size;
    return true;
}

void vdb_base64_encode(struct vdb_buf *out, const void *data, size_t bytes)
{
    const uint8_t *in = data;
    size_t groups = bytes / 3 + (bytes % 3 != 0);
    if (groups > SIZE_MAX / 4 || !vdb_buf_reserve(out, groups * 4)) {
        out->failed = true;
        return;
    }
    if (groups == 0) {
        return;
    }
    uint8_t *p = out->data + out->bytes;
    for (; bytes >= 3; bytes -= 3, in += 3, p += 4) {
        uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        p[0] = (uint8_t)alphabet[bits >> 18];
        p[1] = (uint8_t)alphabet[bits >> 12 & 63];
        p[2] = (uint8_t)alphabet[bits >> 6 & 63];
        p[3] = (uint8_t)alphabet[bits & 63];
    }
    if (bytes > 0) {
        uint32_t bits = (uint32_t)in[0] << 16 | (bytes == 2 ? (uint32_t)in[1] << 8 : 0);
        p[0] = (uint8_t)alphabet[bits >> 18];
        p[1] = (uint8_t)alphabet[bits >> 12 & 63];
        p[2] = bytes == 2 ? (uint8_t)alphabet[bits >> 6 & 63] : '=';
        p[3] = '=';
    }
    out->bytes += groups * 4;
}
