/* hnsw.c: the graph's parameters, memory and life, and its table of operations.
 *
 * Malkov and Yashunin 2016; what differs from the paper and why stands in hnsw_internal.h (tree, groups,
 * removal) and hnsw_insert.c (choice of neighbours). The level of a row is a hash of its number and the seed: so
 * it does not depend on the order in which threads come, and a row that is inserted again finds the memory it
 * had.
 *
 * Threads: see hnsw.h.
 */
#include "hnsw_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/limits.h"

enum {
    HUGE_PAGE_BYTES = 2 << 20,
    UPPER_BLOCK_BYTES_MIN = 4 << 10,
    UPPER_BLOCK_BYTES_MAX = 64 << 10,
    MARKS_MIN = 1024,
};

struct vdb_hnsw_params vdb_hnsw_params_default(void)
{
    return (struct vdb_hnsw_params){.m = 16, .ef_construction = 200, .ef_search = 64, .seed = 1};
}

static vdb_status check_range(const char *field, uint32_t value, uint32_t low, uint32_t high, struct vdb_err *err)
{
    if (value < low || value > high) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: %s: %u is not in %u..%u", field, value, low, high);
    }
    return VDB_OK;
}

vdb_status vdb_hnsw_params_check(const struct vdb_hnsw_params *params, struct vdb_err *err)
{
    VDB_TRY(check_range("m", params->m, VDB_HNSW_M_MIN, VDB_HNSW_M_MAX, err));
    VDB_TRY(check_range("ef_construction", params->ef_construction, 1, VDB_HNSW_EF_MAX, err));
    if (params->ef_construction < params->m) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: ef_construction: %u is less than m, %u",
                           params->ef_construction, params->m);
    }
    return check_range("ef_search", params->ef_search, 1, VDB_HNSW_EF_MAX, err);
}

const struct vdb_hnsw_params *vdb_hnsw_get_params(const struct vdb_hnsw *hnsw)
{
    return &hnsw->params;
}

/* ---- Memory ---- */

static size_t chunk_items(const struct hnsw_array *array, unsigned chunk)
{
    return (size_t)1 << (array->shift + (chunk == 0 ? 0 : chunk - 1));
}

static bool array_cover(struct hnsw_array *array, uint32_t row)
{
    for (unsigned chunk = 0; chunk <= hnsw_chunk_of(array, row); chunk++) {
        if (atomic_load_explicit(&array->chunks[chunk], memory_order_relaxed) != NULL) {
            continue;
        }
        size_t bytes;
        if (!vdb_size_mul(chunk_items(array, chunk), array->item_bytes, &bytes)) {
            return false;
        }
        bool huge = bytes >= HUGE_PAGE_BYTES;
        size_t align = huge ? HUGE_PAGE_BYTES : VDB_CACHE_LINE_BYTES;
        bytes = vdb_round_up(bytes, align);
        char *items = aligned_alloc(align, bytes);
        if (items == NULL) {
            return false;
        }
        if (huge) {
            (void)madvise(items, bytes, MADV_HUGEPAGE); /* a hint: its failure is nothing */
        }
        if (array->zeroed) {
            memset(items, 0, bytes);
        }
        atomic_store_explicit(&array->chunks[chunk], items, memory_order_release);
    }
    return true;
}

static void array_fini(struct hnsw_array *array)
{
    for (unsigned chunk = 0; chunk < HNSW_CHUNKS; chunk++) {
        free(atomic_load_explicit(&array->chunks[chunk], memory_order_relaxed));
    }
}

vdb_status vdb_hnsw_grow(struct vdb_hnsw *hnsw, uint32_t row, struct vdb_err *err)
{
    if (row < atomic_load_explicit(&hnsw->row_end, memory_order_acquire)) {
        return VDB_OK;
    }
    vdb_status status = VDB_OK;
    pthread_mutex_lock(&hnsw->grow_lock);
    if (row >= atomic_load_explicit(&hnsw->row_end, memory_order_relaxed)) {
        if (array_cover(&hnsw->nodes, row) && array_cover(&hnsw->lists, row) &&
            (!hnsw->params.vectors_inside || array_cover(&hnsw->vectors, row))) {
            atomic_store_explicit(&hnsw->row_end, row + 1, memory_order_release);
        } else {
            status = vdb_err_no_memory(err, "the graph's nodes");
        }
    }
    pthread_mutex_unlock(&hnsw->grow_lock);
    return status;
}

hnsw_slot *vdb_hnsw_make_upper(struct vdb_hnsw *hnsw, unsigned level)
{
    size_t bytes = vdb_round_up((size_t)level * hnsw->params.m * sizeof(hnsw_slot), VDB_CACHE_LINE_BYTES);
    pthread_mutex_lock(&hnsw->grow_lock);
    if (hnsw->blocks == NULL || hnsw->block_bytes - hnsw->block_used < bytes) {
        size_t block_bytes = hnsw->block_bytes * 2;
        block_bytes = block_bytes < UPPER_BLOCK_BYTES_MIN   ? UPPER_BLOCK_BYTES_MIN
                      : block_bytes < UPPER_BLOCK_BYTES_MAX ? block_bytes
                                                            : UPPER_BLOCK_BYTES_MAX;
        block_bytes = block_bytes > bytes ? block_bytes : bytes;
        struct hnsw_block *block = vdb_alloc_aligned(sizeof *block + block_bytes);
        if (block == NULL) {
            pthread_mutex_unlock(&hnsw->grow_lock);
            return NULL;
        }
        block->older = hnsw->blocks;
        hnsw->blocks = block;
        hnsw->block_bytes = block_bytes;
        hnsw->block_used = 0;
    }
    hnsw_slot *slots = (hnsw_slot *)(void *)(hnsw->blocks->data + hnsw->block_used);
    hnsw->block_used += bytes;
    hnsw->upper_bytes += bytes;
    pthread_mutex_unlock(&hnsw->grow_lock);
    for (size_t i = 0; i < (size_t)level * hnsw->params.m; i++) {
        atomic_init(&slots[i], HNSW_NONE);
    }
    return slots;
}

struct hnsw_group *vdb_hnsw_make_group(struct vdb_hnsw *hnsw, uint32_t head)
{
    struct hnsw_group *group = vdb_calloc(1, sizeof *group);
    if (group == NULL) {
        return NULL;
    }
    atomic_init(&group->head, head);
    atomic_init(&group->first, HNSW_NONE);
    group->last = HNSW_NONE;
    pthread_mutex_lock(&hnsw->grow_lock);
    group->older = hnsw->groups;
    hnsw->groups = group;
    hnsw->group_count++;
    pthread_mutex_unlock(&hnsw->grow_lock);
    return group;
}

/* splitmix64's mixing (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

unsigned vdb_hnsw_level_of(const struct vdb_hnsw *hnsw, uint32_t row)
{
    double uniform = ((double)(mix(mix(hnsw->params.seed) ^ row) >> 11) + 1) * 0x1p-53; /* (0, 1] */
    if (uniform * hnsw->params.m > 1 + 0x1p-20) {
        return 0; /* nearly all: no logarithm */
    }
    double level = -log(uniform) * hnsw->level_scale;
    return level >= VDB_HNSW_LAYERS_MAX - 1 ? VDB_HNSW_LAYERS_MAX - 1 : (unsigned)level;
}

/* ---- Scratch ---- */

static void scratch_destroy(struct hnsw_scratch *scratch)
{
    if (scratch != NULL) {
        free(scratch->marks);
        free(scratch->pool);
        free(scratch->heap);
        free(scratch->spare);
        free(scratch->chosen);
        free(scratch->query);
        free(scratch);
    }
}

bool vdb_hnsw_entries_reserve(struct hnsw_entry **entries, size_t *capacity, size_t count)
{
    if (count <= *capacity) {
        return true;
    }
    size_t wanted = count > *capacity * 2 ? count : *capacity * 2;
    if (!vdb_realloc_array((void **)entries, wanted, sizeof **entries)) {
        return false;
    }
    *capacity = wanted;
    return true;
}

struct hnsw_scratch *vdb_hnsw_scratch_get(const struct vdb_hnsw *hnsw, uint32_t limit)
{
    struct vdb_hnsw *shared = (struct vdb_hnsw *)hnsw;
    struct hnsw_scratch *scratch = NULL;
    for (unsigned i = 0; i < HNSW_SCRATCHES_IDLE && scratch == NULL; i++) {
        if (atomic_load_explicit(&shared->idle[i], memory_order_relaxed) != NULL) {
            scratch = atomic_exchange_explicit(&shared->idle[i], NULL, memory_order_acquire);
        }
    }
    if (scratch == NULL) {
        scratch = vdb_calloc(1, sizeof *scratch);
        if (scratch == NULL) {
            return NULL;
        }
        scratch->chosen = vdb_calloc((size_t)VDB_HNSW_LAYERS_MAX * hnsw->links0, sizeof *scratch->chosen);
        scratch->query = hnsw->lossy ? vdb_alloc_aligned(hnsw->vectors.item_bytes) : NULL;
        if (scratch->chosen == NULL || (hnsw->lossy && scratch->query == NULL)) {
            scratch_destroy(scratch);
            return NULL;
        }
    }
    if (scratch->mark_count < limit) {
        size_t count = limit > scratch->mark_count / 2 * 3 ? limit : scratch->mark_count / 2 * 3;
        count = count > MARKS_MIN ? count : MARKS_MIN;
        if (!vdb_realloc_array((void **)&scratch->marks, count, 1)) {
            scratch_destroy(scratch);
            return NULL;
        }
        memset(scratch->marks, 0, count);
        scratch->mark_count = count;
        scratch->epoch = 0;
    }
    size_t width = hnsw->params.ef_construction > hnsw->params.ef_search ? hnsw->params.ef_construction
                                                                         : hnsw->params.ef_search;
    if (!vdb_hnsw_entries_reserve(&scratch->pool, &scratch->pool_capacity, width + 1)) {
        scratch_destroy(scratch);
        return NULL;
    }
    return scratch;
}

void vdb_hnsw_scratch_put(const struct vdb_hnsw *hnsw, struct hnsw_scratch *scratch)
{
    struct vdb_hnsw *shared = (struct vdb_hnsw *)hnsw;
    for (unsigned i = 0; i < HNSW_SCRATCHES_IDLE; i++) {
        struct hnsw_scratch *expected = NULL;
        if (atomic_load_explicit(&shared->idle[i], memory_order_relaxed) == NULL &&
            atomic_compare_exchange_strong_explicit(&shared->idle[i], &expected, scratch, memory_order_release,
                                                    memory_order_relaxed)) {
            return;
        }
    }
    scratch_destroy(scratch);
}

/* ---- Life ---- */

vdb_status vdb_hnsw_create(const struct vdb_hnsw_params *params, const struct vdb_rows *rows, size_t capacity,
                           struct vdb_hnsw **out, struct vdb_err *err)
{
    *out = NULL;
    const struct vdb_hnsw_params defaults = vdb_hnsw_params_default();
    params = params != NULL ? params : &defaults;
    VDB_TRY(vdb_hnsw_params_check(params, err));
    if (!vdb_metric_fits(rows->element, rows->metric)) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: metric: %s does not compare vectors of %s",
                           vdb_metric_name(rows->metric), vdb_element_name(rows->element));
    }
    if (params->inside_as != VDB_ELEMENT_F32 &&
        (!params->vectors_inside || rows->element != VDB_ELEMENT_F32 ||
         (params->inside_as != VDB_ELEMENT_F16 && params->inside_as != VDB_ELEMENT_BF16 &&
          params->inside_as != VDB_ELEMENT_U8))) {
        return vdb_err_set(
            err, VDB_INVALID,
            "hnsw: inside_as: %s: only vectors of f32 that are kept inside can be kept as f16, bf16 or "
            "u8; these are of %s%s",
            params->inside_as < VDB_ELEMENT_COUNT ? vdb_element_name(params->inside_as) : "none of them",
            vdb_element_name(rows->element), params->vectors_inside ? "" : ", not kept inside");
    }
    if (rows->dimension < 1 || rows->dimension > VDB_LIMIT_DIMENSION_MAX) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: dimension: %zu is not in 1..%u", rows->dimension,
                           VDB_LIMIT_DIMENSION_MAX);
    }
    if (capacity > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "hnsw: capacity: %zu is over the limit of %u", capacity,
                           VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    struct vdb_hnsw *hnsw = vdb_alloc_aligned(sizeof *hnsw);
    if (hnsw == NULL) {
        return vdb_err_no_memory(err, "a graph");
    }
    hnsw->params = *params;
    hnsw->element = rows->element;
    hnsw->metric = rows->metric;
    hnsw->dimension = rows->dimension;
    hnsw->vector_bytes = vdb_vector_bytes(rows->element, rows->dimension);
    hnsw->inside_element = params->inside_as != VDB_ELEMENT_F32 ? params->inside_as : rows->element;
    hnsw->coded = params->inside_as == VDB_ELEMENT_U8;
    if (hnsw->coded && (rows->metric == VDB_METRIC_DOT || rows->metric == VDB_METRIC_COSINE)) {
        hnsw->inside_element = VDB_ELEMENT_I8;
    }
    hnsw->inside_bytes = vdb_vector_bytes(hnsw->inside_element, rows->dimension);
    hnsw->lossy = hnsw->inside_element != rows->element;
    hnsw->one = vdb_kernels_get()->one[hnsw->inside_element][rows->metric];
    hnsw->few = vdb_kernels_get()->few[hnsw->inside_element][rows->metric];
    hnsw->exact = vdb_kernels_get()->one[rows->element][rows->metric];
    hnsw->level_scale = 1 / log((double)params->m);
    hnsw->children_max = params->m < 8 ? 2 : params->m / 4;
    /* Under dot few long vectors are everybody's nearest. Their lists, chosen anew, keep little but each other; the
     * slots left are the ways to all others, and the tree takes none of them. */
    hnsw->links0 = 2 * params->m + (rows->metric == VDB_METRIC_DOT ? hnsw->children_max : 0);
    unsigned shift = HNSW_FIRST_SHIFT_MIN;
    while (((size_t)1 << shift) < capacity) {
        shift++;
    }
    hnsw->nodes = (struct hnsw_array){.item_bytes = sizeof(struct hnsw_node), .shift = shift, .zeroed = true};
    hnsw->lists = (struct hnsw_array){.item_bytes = hnsw->links0 * sizeof(hnsw_slot), .shift = shift};
    hnsw->vectors = (struct hnsw_array){.item_bytes = vdb_round_up(hnsw->inside_bytes, VDB_CACHE_LINE_BYTES),
                                        .shift = shift};
    hnsw->root = HNSW_NONE;
    vdb_rwlock_init(&hnsw->writers);
    pthread_mutex_init(&hnsw->entry_lock, NULL);
    pthread_mutex_init(&hnsw->grow_lock, NULL);
    *out = hnsw;
    return VDB_OK;
}

void vdb_hnsw_destroy(struct vdb_hnsw *hnsw)
{
    if (hnsw == NULL) {
        return;
    }
    for (unsigned i = 0; i < HNSW_SCRATCHES_IDLE; i++) {
        scratch_destroy(atomic_load_explicit(&hnsw->idle[i], memory_order_relaxed));
    }
    array_fini(&hnsw->nodes);
    array_fini(&hnsw->lists);
    array_fini(&hnsw->vectors);
    while (hnsw->blocks != NULL) {
        struct hnsw_block *older = hnsw->blocks->older;
        free(hnsw->blocks);
        hnsw->blocks = older;
    }
    while (hnsw->groups != NULL) {
        struct hnsw_group *older = hnsw->groups->older;
        free(hnsw->groups);
        hnsw->groups = older;
    }
    free(hnsw->dead);
    pthread_rwlock_destroy(&hnsw->writers);
    pthread_mutex_destroy(&hnsw->entry_lock);
    pthread_mutex_destroy(&hnsw->grow_lock);
    free(hnsw);
}

vdb_status vdb_hnsw_rows_fit(const struct vdb_hnsw *hnsw, const struct vdb_rows *rows, struct vdb_err *err)
{
    if (rows->dimension != hnsw->dimension) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: rows: dimension %zu, the graph is of %zu", rows->dimension,
                           hnsw->dimension);
    }
    if (rows->element != hnsw->element || rows->metric != hnsw->metric) {
        return vdb_err_set(err, VDB_INVALID, "hnsw: rows: %s by %s, the graph is of %s by %s",
                           vdb_element_name(rows->element), vdb_metric_name(rows->metric),
                           vdb_element_name(hnsw->element), vdb_metric_name(hnsw->metric));
    }
    if (rows->count > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "hnsw: rows: %zu is over the limit of %u", rows->count,
                           VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    return VDB_OK;
}

void vdb_hnsw_set_entry(struct vdb_hnsw *hnsw, uint64_t entry)
{
    if (entry != 0) {
        atomic_store_explicit(&hnsw->entries[(entry >> 32) - 1], entry, memory_order_release);
    }
    atomic_store_explicit(&hnsw->entry, entry, memory_order_release);
}

uint64_t vdb_hnsw_graph_bytes(struct vdb_hnsw *hnsw, uint64_t *vector_bytes)
{
    pthread_mutex_lock(&hnsw->grow_lock);
    const uint64_t rows = atomic_load_explicit(&hnsw->row_end, memory_order_relaxed);
    const uint64_t bytes = sizeof *hnsw + rows * (hnsw->nodes.item_bytes + hnsw->lists.item_bytes) +
                           hnsw->upper_bytes + hnsw->group_count * sizeof(struct hnsw_group);
    pthread_mutex_unlock(&hnsw->grow_lock);
    *vector_bytes = hnsw->params.vectors_inside ? rows * hnsw->vectors.item_bytes : 0;
    return bytes;
}

bool vdb_hnsw_has(const struct vdb_hnsw *hnsw, uint32_t row)
{
    if (row >= atomic_load_explicit(&hnsw->row_end, memory_order_acquire)) {
        return false;
    }
    unsigned state = hnsw_state_of(hnsw, row);
    return state == HNSW_NODE || state == HNSW_TWIN;
}

/* ---- The table ---- */

static vdb_status search(const void *index, const struct vdb_rows *rows, const struct vdb_query *query,
                         struct vdb_topk *topk, struct vdb_err *err)
{
    return vdb_hnsw_search(index, rows, query, 0, topk, NULL, err);
}

/* A walk computes some m distances for each of its ef, more under a filter in the measure in which it refuses. */
static double cost(const void *index, const struct vdb_rows *rows, size_t allowed)
{
    const struct vdb_hnsw *hnsw = index;
    double walk = (double)hnsw->params.ef_search * hnsw->params.m * (double)rows->count /
                  (allowed > 0 ? (double)allowed : 1);
    return walk < (double)allowed ? walk : (double)allowed;
}

static vdb_status check(const void *index, const struct vdb_rows *rows, struct vdb_err *err)
{
    return vdb_hnsw_check((struct vdb_hnsw *)index, rows, err);
}

static void stats(const void *index, struct vdb_index_stats *out)
{
    uint64_t vector_bytes;
    const uint64_t graph_bytes = vdb_hnsw_graph_bytes((struct vdb_hnsw *)index, &vector_bytes);
    out->memory_bytes = graph_bytes + vector_bytes;
}

static vdb_status build(const struct vdb_rows *rows, const struct vdb_index_settings *settings, void **out,
                        struct vdb_err *err)
{
    struct vdb_hnsw *hnsw;
    vdb_status status;
    *out = NULL;
    VDB_CHECK(vdb_hnsw_create(settings != NULL ? settings->params : NULL, rows, rows->count, &hnsw, err));
    VDB_CHECK(vdb_hnsw_build(hnsw, rows, settings, err));
    *out = hnsw;
    hnsw = NULL;
cleanup:
    vdb_hnsw_destroy(hnsw);
    return status;
}

static void destroy(void *index)
{
    vdb_hnsw_destroy(index);
}

static vdb_status insert(void *index, const struct vdb_rows *rows, uint32_t row, struct vdb_err *err)
{
    return vdb_hnsw_insert(index, rows, row, err);
}

static vdb_status remove_row(void *index, const struct vdb_rows *rows, uint32_t row, struct vdb_err *err)
{
    return vdb_hnsw_remove(index, rows, row, err);
}

static vdb_status save(void *index, const struct vdb_rows *rows, uint64_t stamp, vdb_index_write_fn *write,
                       void *ctx, struct vdb_err *err)
{
    return vdb_hnsw_save(index, rows, stamp, write, ctx, err);
}

static vdb_status load(const struct vdb_rows *rows, uint64_t stamp, const void *data, size_t bytes, void **out,
                       struct vdb_err *err)
{
    struct vdb_hnsw *hnsw;
    vdb_status status = vdb_hnsw_load(rows, stamp, data, bytes, &hnsw, err);
    *out = hnsw;
    return status;
}

const struct vdb_index_ops vdb_index_hnsw = {
    .name = "hnsw",
    .caps = VDB_INDEX_BUILT | VDB_INDEX_UPDATED,
    .search = search,
    .cost = cost,
    .check = check,
    .stats = stats,
    .build = build,
    .destroy = destroy,
    .insert = insert,
    .remove = remove_row,
    .save = save,
    .load = load,
};
