/* limits.h: every limit of VecDB in one table. Each has a test one past it.
 *
 * Where a number comes from stands beside it; "contract" means it is promised to users in docs/api.md.
 */
#ifndef VDB_BASE_LIMITS_H
#define VDB_BASE_LIMITS_H

#include <stdint.h>

#define VDB_LIMIT_DIMENSION_MAX         65536u      /* contract */
#define VDB_LIMIT_K_MAX                 16384u      /* contract: results of one search */
#define VDB_LIMIT_BATCH_POINTS_MAX      10000u      /* contract: points in one write */
#define VDB_LIMIT_BATCH_BYTES_MAX       (64u << 20) /* contract: encoded bytes of one write */
#define VDB_LIMIT_ID_BYTES_MAX          255u        /* contract: a string id */
#define VDB_LIMIT_METADATA_BYTES_MAX    (1u << 20)  /* contract: one point's metadata as compact JSON */
#define VDB_LIMIT_NAME_BYTES_MAX        64u         /* contract: [A-Za-z0-9][A-Za-z0-9_.-]{0,63} */
#define VDB_LIMIT_COLLECTIONS_MAX       10000u      /* contract */
#define VDB_LIMIT_JSON_DEPTH_MAX        64u         /* contract: nesting of any JSON we read */
#define VDB_LIMIT_FILTER_DEPTH_MAX      32u         /* contract: nesting of and/or/not */
#define VDB_LIMIT_FILTER_TERMS_MAX      1024u       /* contract: comparisons in one filter */
#define VDB_LIMIT_HTTP_BODY_BYTES_MAX   (64u << 20) /* contract: one request body */
#define VDB_LIMIT_HTTP_HEADER_BYTES_MAX (64u << 10) /* contract */
#define VDB_LIMIT_IDLE_SECONDS_MAX      60u         /* contract: an idle connection is closed */
#define VDB_LIMIT_COLLECTION_POINTS_MAX                                                                          \
    (1u << 30)                         /* slots are 32-bit; the upper quarter stays free for flags               \
                                        */
#define VDB_LIMIT_PATH_BYTES_MAX 4096u /* Linux PATH_MAX */

#endif
