/* crc32c.h: CRC-32C (Castagnoli, RFC 3720 appendix B.4), by the SSE4.2 instruction where there is one, else by
 * table.
 *
 * Incremental: vdb_crc32c(vdb_crc32c(0, a), b) is the checksum of a followed by b. Threads: safe from all
 * threads.
 */
#ifndef VDB_BASE_CRC32C_H
#define VDB_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t vdb_crc32c(uint32_t crc, const void *data, size_t bytes);

/* The table form, kept callable so that tests hold both forms against each other. */
uint32_t vdb_crc32c_table(uint32_t crc, const void *data, size_t bytes);

#endif
