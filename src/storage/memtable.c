/* memtable.c: staging, publishing and viewing rows. The invariants M1..M5 stand in memtable.h.
 *
 * Memory. Vectors and rows live in chunks of 2^chunk_shift slots. The arrays of chunk pointers grow by copying;
 * the outgrown ones are kept until the end, because views may hold them (their sum is less than the newest). Text
 * ids and metadata of a batch live in one block. Memory is given back all at once, when the last reference goes:
 * after a checkpoint has written the rows to a segment and the last view of before is released.
 *
 * Ends. The one who ends a version (under the write lock) does it in the order: end_max, the row's seq_to, its bit in
 * `dead`; the bit is a release, each look of a reader at a bit an acquire. As in segment_ends.c,
 *
 *   N1 who sees a slot's bit sees its seq_to, and an end_max that is not below it;
 *   N2 a view at S, pinned after everything up to S was published, that copies the bits and then finds end_max <= S has
 *      copied exactly the slots that ended up to S. Otherwise it looks at seq_to of the slots whose bits it saw, and of
 *      no others: one that ends meanwhile ends after S.
 *
 * All slots of a view began at or before its S, since slots are filled in the order of their batches; a view whose number
 * was set lower than that looks at every row.
 */
#include "memtable.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/limits.h"
#include "base/lock.h"
#include "base/mem.h"
#include "batch.h"
#include "idmap.h"

enum {
    CHUNK_BYTES = 2 << 20, /* vectors per chunk: one huge page */
    CHUNK_SHIFT_MIN = 3,
    CHUNK_SHIFT_MAX = 14,
    DIRECTORY_FIRST = 16,
    PAGE_BYTES = 4096,
    HUGE_AFTER_CHUNKS = 2, /* a small collection's memory grows page by page */
    AHEAD_OPS = 16,        /* ids whose place in the map is asked for before they are put there */
    DEAD_SHIFT = 15,       /* slots per chunk of dead bits: 4 KiB */
    DEAD_WORDS = 1 << (DEAD_SHIFT - 6),
};

/* An array of chunk pointers and the outgrown ones before it. */
struct directory {
    void **chunks;
    size_t count;
    size_t capacity;
    void **outgrown[64]; /* capacities double, so 64 are never reached */
    unsigned outgrown_count;
};

/* A batch's text ids and metadata. */
struct block {
    struct block *next;
    size_t bytes;
    char data[];
};

struct vdb_memtable {
    _Atomic uint64_t refs;
    _Atomic(void *) spare; /* the next chunk of vectors, its pages there; NULL: none yet */
    _Atomic(void *) spare_rows;
    atomic_bool spare_wanted; /* nobody has begun to make it */
    _Atomic(struct vdb_companion *) companion;
    uint32_t dimension;
    size_t stride_bytes;
    unsigned chunk_shift;

    pthread_rwlock_t lock; /* guards all below; views read chunks and rows without it (M5) */
    struct directory vectors;
    struct directory rows;
    struct directory dead_bits;
    _Atomic uint64_t end_max; /* the highest seq_to of a version that ended */
    struct vdb_idmap ids;
    struct block *blocks;
    uint64_t visible_seq;
    uint32_t slot_count;
    uint32_t reserved; /* slots promised to staged batches */
    size_t asked_at;   /* chunks there were when the next one was last asked for */
    uint32_t live;
    uint32_t dead;
    uint64_t memory_bytes;
};

struct vdb_staged {
    const uint8_t *payload;
    size_t payload_bytes;
    struct block *block;
    uint32_t upserts;
};

struct vdb_memtable *vdb_memtable_create(uint32_t dimension)
{
    struct vdb_memtable *memtable = vdb_calloc(1, sizeof *memtable);
    if (memtable == NULL) {
        return NULL;
    }
    atomic_init(&memtable->refs, 1);
    memtable->dimension = dimension;
    memtable->stride_bytes = vdb_round_up((size_t)dimension * sizeof(float), VDB_CACHE_LINE_BYTES);
    memtable->chunk_shift = CHUNK_SHIFT_MIN;
    while (memtable->chunk_shift < CHUNK_SHIFT_MAX &&
           memtable->stride_bytes << (memtable->chunk_shift + 1) <= CHUNK_BYTES) {
        memtable->chunk_shift++;
    }
    vdb_rwlock_init(&memtable->lock);
    return memtable;
}

static void directory_fini(struct directory *directory)
{
    for (size_t i = 0; i < directory->count; i++) {
        free(directory->chunks[i]);
    }
    free(directory->chunks);
    for (unsigned i = 0; i < directory->outgrown_count; i++) {
        free(directory->outgrown[i]);
    }
}

void vdb_memtable_ref(struct vdb_memtable *memtable)
{
    atomic_fetch_add_explicit(&memtable->refs, 1, memory_order_relaxed);
}

void vdb_memtable_unref(struct vdb_memtable *memtable)
{
    if (memtable == NULL || atomic_fetch_sub_explicit(&memtable->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    vdb_companion_unref(atomic_load_explicit(&memtable->companion, memory_order_acquire));
    directory_fini(&memtable->vectors);
    directory_fini(&memtable->rows);
    directory_fini(&memtable->dead_bits);
    free(atomic_load_explicit(&memtable->spare, memory_order_acquire));
    free(atomic_load_explicit(&memtable->spare_rows, memory_order_acquire));
    vdb_idmap_fini(&memtable->ids);
    while (memtable->blocks != NULL) {
        struct block *next = memtable->blocks->next;
        free(memtable->blocks);
        memtable->blocks = next;
    }
    pthread_rwlock_destroy(&memtable->lock);
    free(memtable);
}

/* `bytes` of memory, not zeroed: pages are touched as rows arrive. One huge page, if the system grants it, where that
 * wastes less than an eighth: most of the time that filling a chunk of small pages takes goes to their faults. */
static void *make_chunk(size_t bytes, bool huge)
{
    if (!huge || bytes > CHUNK_BYTES || bytes < CHUNK_BYTES / 8 * 7) {
        return aligned_alloc(VDB_CACHE_LINE_BYTES, vdb_round_up(bytes, VDB_CACHE_LINE_BYTES));
    }
    void *chunk = aligned_alloc(CHUNK_BYTES, CHUNK_BYTES);
    if (chunk != NULL) {
        (void)madvise(chunk, CHUNK_BYTES, MADV_HUGEPAGE); /* a hint: its failure is nothing */
    }
    return chunk;
}

/* Room for one chunk more. */
static bool directory_grow(struct directory *directory)
{
    if (directory->count < directory->capacity) {
        return true;
    }
    size_t capacity = directory->capacity > 0 ? directory->capacity * 2 : DIRECTORY_FIRST;
    void **grown = vdb_calloc(capacity, sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    if (directory->capacity > 0) {
        memcpy(grown, directory->chunks, directory->count * sizeof *grown);
        directory->outgrown[directory->outgrown_count++] = directory->chunks;
    }
    directory->chunks = grown;
    directory->capacity = capacity;
    return true;
}

/* Adds a chunk of dead bits, all clear. */
static bool directory_add_bits(struct directory *directory)
{
    _Atomic uint64_t *bits = directory_grow(directory) ? vdb_calloc(DEAD_WORDS, sizeof *bits) : NULL;
    if (bits != NULL) {
        directory->chunks[directory->count++] = bits;
    }
    return bits != NULL;
}

/* Adds a chunk of `bytes`: *spare, unless that is NULL. */
static bool directory_add(struct directory *directory, size_t bytes, _Atomic(void *) *spare)
{
    if (!directory_grow(directory)) {
        return false;
    }
    void *chunk = atomic_exchange_explicit(spare, NULL, memory_order_acq_rel);
    if (chunk == NULL) {
        chunk = make_chunk(bytes, directory->count >= HUGE_AFTER_CHUNKS);
    }
    if (chunk == NULL) {
        return false;
    }
    directory->chunks[directory->count++] = chunk;
    return true;
}

/* Promises `upserts` slots and as many new ids. What a failed reservation already added stays, unused. */
static vdb_status reserve_locked(struct vdb_memtable *memtable, uint32_t upserts, struct vdb_err *err)
{
    uint64_t slots = (uint64_t)memtable->slot_count + memtable->reserved + upserts;
    if (slots > VDB_LIMIT_COLLECTION_POINTS_MAX) {
        return vdb_err_set(err, VDB_LIMIT, "the collection would hold %llu versions of points, at most %u fit",
                           (unsigned long long)slots, VDB_LIMIT_COLLECTION_POINTS_MAX);
    }
    size_t chunk_rows = (size_t)1 << memtable->chunk_shift;
    size_t vector_bytes = chunk_rows * memtable->stride_bytes;
    size_t row_bytes = chunk_rows * sizeof(struct vdb_row);
    while (memtable->rows.count * chunk_rows < slots) {
        /* rows follow vectors, so that a half-failed step is made up for by the next reservation */
        if ((memtable->vectors.count == memtable->rows.count &&
             !directory_add(&memtable->vectors, vector_bytes, &memtable->spare)) ||
            !directory_add(&memtable->rows, row_bytes, &memtable->spare_rows)) {
            return vdb_err_no_memory(err, "rows");
        }
        memtable->memory_bytes += vector_bytes + row_bytes;
    }
    while ((uint64_t)memtable->dead_bits.count << DEAD_SHIFT < slots) {
        if (!directory_add_bits(&memtable->dead_bits)) {
            return vdb_err_no_memory(err, "rows");
        }
        memtable->memory_bytes += DEAD_WORDS * sizeof(uint64_t);
    }
    if (slots + chunk_rows / 2 > memtable->rows.count * chunk_rows &&
        memtable->asked_at != memtable->rows.count) {
        memtable->asked_at = memtable->rows.count; /* the last chunk is half full */
        atomic_store_explicit(&memtable->spare_wanted, true, memory_order_relaxed);
    }
    if (!vdb_idmap_reserve(&memtable->ids, (size_t)memtable->reserved + upserts)) {
        return vdb_err_no_memory(err, "the id map");
    }
    memtable->reserved += upserts;
    return VDB_OK;
}

bool vdb_memtable_wants_memory(const struct vdb_memtable *memtable)
{
    return atomic_load_explicit(&memtable->spare_wanted, memory_order_relaxed);
}

static void make_spare(_Atomic(void *) *spare, size_t bytes)
{
    uint8_t *chunk = make_chunk(bytes, true);
    for (size_t at = 0; chunk != NULL && at < bytes; at += PAGE_BYTES) {
        chunk[at] = 0;
    }
    free(atomic_exchange_explicit(spare, chunk, memory_order_acq_rel));
}

void vdb_memtable_make_memory(struct vdb_memtable *memtable)
{
    if (!atomic_exchange_explicit(&memtable->spare_wanted, false, memory_order_relaxed)) {
        return;
    }
    make_spare(&memtable->spare, memtable->stride_bytes << memtable->chunk_shift);
    make_spare(&memtable->spare_rows, sizeof(struct vdb_row) << memtable->chunk_shift);
}

/* Walks the whole batch: checks it and sums what publication will need. */
static vdb_status measure(const struct vdb_memtable *memtable, const void *payload, size_t bytes,
                          uint32_t *upserts, size_t *text_bytes, struct vdb_err *err)
{
    struct vdb_batch batch;
    struct vdb_op op;
    bool more;
    *upserts = 0;
    *text_bytes = 0;
    VDB_TRY(vdb_batch_open(&batch, payload, bytes, memtable->dimension, err));
    for (;;) {
        VDB_TRY(vdb_batch_next(&batch, &op, &more, err));
        if (!more) {
            return VDB_OK;
        }
        if (op.kind == VDB_OP_UPSERT) {
            ++*upserts;
            *text_bytes += op.metadata.bytes + op.id.text_bytes; /* text_bytes is 0 for numbers */
        }
    }
}

vdb_status vdb_memtable_stage(struct vdb_memtable *memtable, const void *payload, size_t bytes,
                              struct vdb_staged **out, struct vdb_err *err)
{
    uint32_t upserts;
    size_t text_bytes;
    VDB_TRY(measure(memtable, payload, bytes, &upserts, &text_bytes, err));
    struct vdb_staged *staged = vdb_calloc(1, sizeof *staged);
    struct block *block = malloc(sizeof *block + text_bytes);
    vdb_status status = VDB_OK;
    if (staged == NULL || block == NULL) {
        status = vdb_err_no_memory(err, "a batch");
        goto cleanup;
    }
    *block = (struct block){.bytes = text_bytes};
    *staged = (struct vdb_staged){.payload = payload, .payload_bytes = bytes, .block = block, .upserts = upserts};
    pthread_rwlock_wrlock(&memtable->lock);
    status = reserve_locked(memtable, upserts, err);
    pthread_rwlock_unlock(&memtable->lock);

cleanup:
    if (status != VDB_OK) {
        free(block);
        free(staged);
        return status;
    }
    *out = staged;
    return VDB_OK;
}

void vdb_memtable_discard(struct vdb_memtable *memtable, struct vdb_staged *staged)
{
    if (staged != NULL) {
        pthread_rwlock_wrlock(&memtable->lock);
        memtable->reserved -= staged->upserts;
        pthread_rwlock_unlock(&memtable->lock);
        free(staged->block);
        free(staged);
    }
}

static struct vdb_row *row_at(const struct vdb_memtable *memtable, uint32_t slot)
{
    struct vdb_row *chunk = memtable->rows.chunks[slot >> memtable->chunk_shift];
    return &chunk[slot & ((1u << memtable->chunk_shift) - 1)];
}

static const struct vdb_id *id_of(const void *ctx, uint32_t slot)
{
    const struct vdb_memtable *memtable = ctx;
    return &row_at(memtable, slot)->id;
}

/* Copies an upsert into its slot, which no view can see yet. */
static void fill_row(struct vdb_memtable *memtable, uint32_t slot, uint64_t seq, const struct vdb_op *op,
                     char **text)
{
    char *vectors = memtable->vectors.chunks[slot >> memtable->chunk_shift];
    char *vector = vectors + (slot & ((1u << memtable->chunk_shift) - 1)) * memtable->stride_bytes;
    size_t vector_bytes = (size_t)memtable->dimension * sizeof(float);
    memcpy(vector, op->vector, vector_bytes);
    memset(vector + vector_bytes, 0, memtable->stride_bytes - vector_bytes);

    struct vdb_row *row = row_at(memtable, slot);
    row->seq_from = seq;
    atomic_init(&row->seq_to, VDB_SEQ_LIVE);
    row->id = op->id;
    if (op->id.text != NULL) {
        memcpy(*text, op->id.text, op->id.text_bytes);
        row->id.text = *text;
        *text += op->id.text_bytes;
    }
    memcpy(*text, op->metadata.data, op->metadata.bytes);
    row->metadata = (struct vdb_str){*text, op->metadata.bytes};
    *text += op->metadata.bytes;
}

/* Ends the version in `slot` as of seq. True when it was live. */
static bool end_version(struct vdb_memtable *memtable, uint32_t slot, uint64_t seq)
{
    struct vdb_row *row = row_at(memtable, slot);
    if (atomic_load_explicit(&row->seq_to, memory_order_relaxed) != VDB_SEQ_LIVE) {
        return false;
    }
    if (seq > atomic_load_explicit(&memtable->end_max, memory_order_relaxed)) {
        atomic_store_explicit(&memtable->end_max, seq, memory_order_relaxed);
    }
    atomic_store_explicit(&row->seq_to, seq, memory_order_relaxed);
    _Atomic uint64_t *bits = memtable->dead_bits.chunks[slot >> DEAD_SHIFT];
    atomic_fetch_or_explicit(&bits[slot / 64 % DEAD_WORDS], UINT64_C(1) << (slot % 64), memory_order_release);
    memtable->live--;
    memtable->dead++;
    return true;
}

/* Steps `ahead` on by one operation, and asks for its id's entry. Errors and the end are the other walk's to see. */
static void look_ahead(const struct vdb_memtable *memtable, struct vdb_batch *ahead)
{
    struct vdb_op op;
    bool more;
    if (ahead->done < ahead->count && vdb_batch_next(ahead, &op, &more, NULL) == VDB_OK) {
        vdb_idmap_prefetch(&memtable->ids, &op.id);
    }
}

uint64_t vdb_memtable_publish(struct vdb_memtable *memtable, struct vdb_staged *staged, uint64_t seq,
                              vdb_memtable_older_fn *older, void *ctx)
{
    struct vdb_batch batch;
    struct vdb_batch ahead;
    struct vdb_op op;
    bool more = true;
    uint64_t changed = 0;
    char *text = staged->block->data;
    /* The write lock keeps the id map, the ends of versions and visible_seq one step; stage has checked the
     * bytes, so the decoder cannot fail here. */
    pthread_rwlock_wrlock(&memtable->lock);
    assert(seq > memtable->visible_seq);
    vdb_status status = vdb_batch_open(&batch, staged->payload, staged->payload_bytes, memtable->dimension, NULL);
    ahead = batch;
    for (uint32_t i = 0; i < AHEAD_OPS; i++) {
        look_ahead(memtable, &ahead);
    }
    while (status == VDB_OK) {
        status = vdb_batch_next(&batch, &op, &more, NULL);
        if (status != VDB_OK || !more) {
            break;
        }
        look_ahead(memtable, &ahead);
        if (op.kind == VDB_OP_UPSERT) {
            uint32_t slot = memtable->slot_count++;
            fill_row(memtable, slot, seq, &op, &text);
            const struct vdb_id *id = &row_at(memtable, slot)->id;
            uint32_t before = vdb_idmap_put(&memtable->ids, id, slot, id_of, memtable);
            if (before != VDB_SLOT_NONE) {
                end_version(memtable, before, seq);
            } else if (older != NULL) {
                (void)older(ctx, id, seq);
            }
            memtable->live++;
            changed++;
        } else {
            uint32_t before = vdb_idmap_find(&memtable->ids, &op.id, id_of, memtable);
            if (before != VDB_SLOT_NONE) {
                changed += end_version(memtable, before, seq);
            } else if (older != NULL) {
                changed += older(ctx, &op.id, seq);
            }
        }
    }
    assert(status == VDB_OK);
    memtable->reserved -= staged->upserts;
    memtable->visible_seq = seq;
    memtable->memory_bytes += sizeof(struct block) + staged->block->bytes;
    staged->block->next = memtable->blocks;
    memtable->blocks = staged->block;
    pthread_rwlock_unlock(&memtable->lock);
    free(staged);
    return changed;
}

bool vdb_memtable_end(struct vdb_memtable *memtable, const struct vdb_id *id, uint64_t seq)
{
    pthread_rwlock_wrlock(&memtable->lock);
    uint32_t slot = vdb_idmap_find(&memtable->ids, id, id_of, memtable);
    bool ended = slot != VDB_SLOT_NONE && end_version(memtable, slot, seq);
    pthread_rwlock_unlock(&memtable->lock);
    return ended;
}

void vdb_memtable_pin(struct vdb_memtable *memtable, struct vdb_memtable_view *view)
{
    pthread_rwlock_rdlock(&memtable->lock);
    *view = (struct vdb_memtable_view){
        .seq = memtable->visible_seq,
        .slot_count = memtable->slot_count,
        .dead_count = memtable->dead,
        .chunk_shift = memtable->chunk_shift,
        .stride_bytes = memtable->stride_bytes,
        .vector_chunks = (const void *const *)memtable->vectors.chunks,
        .row_chunks = (struct vdb_row *const *)(void *)memtable->rows.chunks,
        .dead_chunks = (_Atomic uint64_t *const *)(void *)memtable->dead_bits.chunks,
        .end_max = &memtable->end_max,
    };
    pthread_rwlock_unlock(&memtable->lock);
}

/* The slots of a word of the view's bits. */
static uint64_t word_mask(const struct vdb_memtable_view *view, size_t word)
{
    size_t left = view->slot_count - word * 64;
    return left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1;
}

static uint64_t dead_word(const struct vdb_memtable_view *view, size_t word)
{
    const _Atomic uint64_t *bits = view->dead_chunks[word / DEAD_WORDS];
    return atomic_load_explicit(&bits[word % DEAD_WORDS], memory_order_acquire);
}

/* Of the slots in `seen` (bits of a word), those that the view sees. */
static uint64_t visible_of(const struct vdb_memtable_view *view, size_t word, uint64_t seen)
{
    uint64_t visible = 0;
    for (uint64_t left = seen; left != 0; left &= left - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(left);
        visible |= (uint64_t)vdb_slot_visible(view, (uint32_t)(word * 64) + bit) << bit;
    }
    return visible;
}

uint32_t vdb_memtable_fill_visible(const struct vdb_memtable_view *view, struct vdb_bitset *allow)
{
    const size_t words = vdb_bitset_words(view->slot_count);
    uint32_t count = 0;
    assert(allow->count >= view->slot_count);
    if (words == 0) {
        return 0;
    }
    const bool all_began = vdb_slot_row(view, view->slot_count - 1)->seq_from <= view->seq;
    if (all_began && atomic_load_explicit(view->end_max, memory_order_relaxed) <= view->seq) {
        for (size_t w = 0; w < words; w++) {
            allow->words[w] = ~dead_word(view, w) & word_mask(view, w);
            count += (uint32_t)__builtin_popcountll(allow->words[w]);
        }
        /* Who saw the bit of a later end sees this, too (N1). */
        if (atomic_load_explicit(view->end_max, memory_order_relaxed) <= view->seq) {
            return count;
        }
    }
    count = 0;
    for (size_t w = 0; w < words; w++) {
        const uint64_t all = word_mask(view, w);
        const uint64_t dead = dead_word(view, w) & all;
        allow->words[w] = all_began ? (all & ~dead) | visible_of(view, w, dead) : visible_of(view, w, all);
        count += (uint32_t)__builtin_popcountll(allow->words[w]);
    }
    return count;
}

void vdb_memtable_look(struct vdb_memtable *memtable, const struct vdb_memtable_view *view,
                       const struct vdb_id *ids, size_t count, uint32_t *slots)
{
    pthread_rwlock_rdlock(&memtable->lock);
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = vdb_idmap_find(&memtable->ids, &ids[i], id_of, memtable);
        slots[i] = slot != VDB_SLOT_NONE && vdb_slot_visible(view, slot) ? slot : VDB_SLOT_NONE;
    }
    pthread_rwlock_unlock(&memtable->lock);
}

bool vdb_memtable_set_companion(struct vdb_memtable *memtable, struct vdb_companion *companion)
{
    struct vdb_companion *none = NULL;
    return atomic_compare_exchange_strong_explicit(&memtable->companion, &none, companion, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

struct vdb_companion *vdb_memtable_companion(const struct vdb_memtable *memtable)
{
    return atomic_load_explicit(&memtable->companion, memory_order_acquire);
}

void vdb_memtable_get_stats(struct vdb_memtable *memtable, struct vdb_memtable_stats *out)
{
    pthread_rwlock_rdlock(&memtable->lock);
    *out = (struct vdb_memtable_stats){
        .live = memtable->live,
        .dead = memtable->dead,
        .memory_bytes = memtable->memory_bytes + memtable->ids.capacity * 16,
        .last_seq = memtable->visible_seq,
    };
    pthread_rwlock_unlock(&memtable->lock);
}
