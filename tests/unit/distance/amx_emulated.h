/* amx_emulated.h: the tile instructions that x86/gemm_amx.c uses, in plain C after the processor's manual: palette 1,
 * eight registers of up to 16 rows of 64 bytes. What the processor would refuse fails an assertion. Included by that
 * file in place of its intrinsics; the state is one thread's.
 */
#ifndef VDB_TEST_AMX_EMULATED_H
#define VDB_TEST_AMX_EMULATED_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

#define TILE_CONFIGURE(config)             amx_configure(config)
#define TILE_RELEASE()                     amx_configure(NULL)
#define TILE_ZERO(tile)                    memset(amx_tile(tile), 0, sizeof amx.tiles[0])
#define TILE_LOAD(tile, from, stride)      amx_load(tile, from, stride)
#define TILE_STORE(tile, to, stride)       amx_store(tile, to, stride)
#define TILE_MULTIPLY(sums, rows, queries) amx_dpbsud(sums, rows, queries)
#define TEST_PRODUCTS(tile, out)           vdb_gemm_test_low_scalar(tile, out)

enum { AMX_TILES = 8, AMX_ROWS = 16, AMX_ROW_BYTES = 64, AMX_CONFIG_BYTES = 64 };

static struct {
    int configured;
    unsigned rows[AMX_TILES];
    unsigned row_bytes[AMX_TILES];
    uint8_t tiles[AMX_TILES][AMX_ROWS][AMX_ROW_BYTES];
} amx;

/* LDTILECFG, and with NULL TILERELEASE: both zero every register. */
static void amx_configure(const void *memory)
{
    const uint8_t *bytes = memory;
    memset(&amx, 0, sizeof amx);
    if (bytes == NULL) {
        return;
    }
    assert(bytes[0] == 1); /* the palette; 0 would release */
    amx.configured = 1;
    for (unsigned i = 1; i < 16; i++) {
        assert(bytes[i] == 0); /* no restart row; the rest is reserved */
    }
    for (unsigned tile = 0; tile < 16; tile++) {
        unsigned row_bytes = bytes[16 + 2 * tile] | (unsigned)bytes[17 + 2 * tile] << 8;
        unsigned rows = bytes[48 + tile];
        assert(tile < AMX_TILES || (row_bytes == 0 && rows == 0));
        assert(rows <= AMX_ROWS && row_bytes <= AMX_ROW_BYTES && (rows == 0) == (row_bytes == 0));
        if (tile < AMX_TILES) {
            amx.rows[tile] = rows;
            amx.row_bytes[tile] = row_bytes;
        }
    }
}

static void *amx_tile(unsigned tile)
{
    assert(amx.configured && tile < AMX_TILES && amx.rows[tile] > 0);
    return amx.tiles[tile];
}

static void amx_load(unsigned tile, const void *from, size_t stride)
{
    uint8_t *to = amx_tile(tile);
    memset(to, 0, sizeof amx.tiles[0]);
    for (unsigned r = 0; r < amx.rows[tile]; r++) {
        memcpy(to + r * AMX_ROW_BYTES, (const char *)from + r * stride, amx.row_bytes[tile]);
    }
}

static void amx_store(unsigned tile, void *to, size_t stride)
{
    const uint8_t *from = amx_tile(tile);
    for (unsigned r = 0; r < amx.rows[tile]; r++) {
        memcpy((char *)to + r * stride, from + r * AMX_ROW_BYTES, amx.row_bytes[tile]);
    }
}

/* TDPBSUD: for each doubleword of the sums, products of a row's signed with a column's unsigned bytes, four at a
 * time, modulo 2^32. */
static void amx_dpbsud(unsigned sums, unsigned a, unsigned b)
{
    assert(sums != a && sums != b && a != b);
    uint8_t *to = amx_tile(sums);
    const uint8_t *rows = amx_tile(a);
    const uint8_t *columns = amx_tile(b);
    assert(amx.rows[sums] == amx.rows[a] && amx.row_bytes[sums] == amx.row_bytes[b]);
    assert(amx.row_bytes[a] % 4 == 0 && amx.row_bytes[a] / 4 == amx.rows[b] && amx.row_bytes[b] % 4 == 0);
    for (unsigned m = 0; m < amx.rows[sums]; m++) {
        for (unsigned k = 0; k < amx.row_bytes[a] / 4; k++) {
            for (unsigned n = 0; n < amx.row_bytes[sums] / 4; n++) {
                uint32_t sum;
                memcpy(&sum, to + m * AMX_ROW_BYTES + n * 4, sizeof sum);
                for (unsigned i = 0; i < 4; i++) {
                    int32_t product = (int32_t)(int8_t)rows[m * AMX_ROW_BYTES + k * 4 + i] *
                                      (int32_t)columns[k * AMX_ROW_BYTES + n * 4 + i];
                    sum += (uint32_t)product;
                }
                memcpy(to + m * AMX_ROW_BYTES + n * 4, &sum, sizeof sum);
            }
        }
    }
}

#endif
