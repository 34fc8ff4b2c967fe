/* test_graph_threads.c: collections with graphs, written to and read by several threads at once through the public API.
 *
 * Writers, readers, and one thread that does maintenance: checkpoints, compactions, builds, changes of the index, snapshots,
 * verification. What was acknowledged before a read began must show in it, and nothing that was begun only after: no deleted
 * point, no stale version, every score that of the version returned; and what nobody touched is found.
 *
 * VECDB_RANDOM_OPS is five times the number of points written per collection; VECDB_SEED chooses them. `make soak` runs
 * 1,000,000.
 */
#include "graph_oracle.h"

#include <pthread.h>
#include <stdatomic.h>

enum { TEAM_IDS = 3000, WRITERS = 2, READERS = 2 };

/* What was last begun and acknowledged of an id: version * 2, and 1 more for a deletion. Versions only grow. */
struct life {
    _Atomic uint64_t begun;
    _Atomic uint64_t acknowledged;
};

struct team {
    vecdb *db;
    const struct kind *kind;
    struct life lives[TEAM_IDS];
    uint64_t ops; /* of each writer */
    uint64_t seed;
    _Atomic unsigned writers; /* that are not done yet */
    _Atomic uint64_t searches;
    _Atomic uint64_t wanted; /* points that a search for their own vector should find, ... */
    _Atomic uint64_t found;  /* ...and does */
    _Atomic uint64_t rows;
    _Atomic uint64_t rows_indexed;
    atomic_bool failed;
    char text[1024]; /* of the first failure */
};

struct member {
    struct team *team;
    struct vdb_rng rng;
    unsigned number;
    uint64_t before[TEAM_IDS]; /* readers: acknowledged when the search began */
};

/* cmocka's asserts belong to its own thread. */
static void __attribute__((format(printf, 2, 3))) fail_team(struct team *team, const char *format, ...)
{
    if (!atomic_exchange(&team->failed, true)) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(team->text, sizeof team->text, format, arguments);
        va_end(arguments);
    }
}

static bool team_ok(struct team *team, vecdb_status status, const char *what, const vecdb_error *err)
{
    if (status != VECDB_OK) {
        fail_team(team, "%s: %s", what, err->message);
    }
    return status == VECDB_OK;
}

static void write_some(struct member *member)
{
    enum { BATCH = 4 };
    struct team *team = member->team;
    float vectors[BATCH][DIMENSION_MAX];
    char metadata[BATCH][METADATA_BYTES];
    vecdb_point points[BATCH];
    vecdb_id ids[BATCH];
    uint64_t states[BATCH];
    vecdb_error err;
    const bool deletes = vdb_rng_below(&member->rng, 5) < 2;
    const uint64_t first = vdb_rng_below(&member->rng, TEAM_IDS / WRITERS / BATCH) * BATCH;
    for (size_t i = 0; i < BATCH; i++) { /* each writer has ids of its own */
        const uint64_t id = (first + i) * WRITERS + member->number;
        const uint64_t version = atomic_load(&team->lives[id].begun) / 2 + 1;
        states[i] = version * 2 + deletes;
        atomic_store(&team->lives[id].begun, states[i]);
        ids[i] = vecdb_id_number(id);
        make_vector(team->kind, id, version, vectors[i]);
        points[i] = (vecdb_point){.id = ids[i],
                                  .vector = vectors[i],
                                  .dimension = team->kind->dimension,
                                  .metadata = metadata[i],
                                  .metadata_bytes = make_metadata(id, version, metadata[i])};
    }
    const vecdb_status status = deletes ? vecdb_delete(team->db, team->kind->name, ids, BATCH, NULL, &err)
                                        : vecdb_upsert(team->db, team->kind->name, points, BATCH, NULL, &err);
    if (team_ok(team, status, "write", &err)) {
        for (size_t i = 0; i < BATCH; i++) {
            atomic_store(&team->lives[ids[i].number].acknowledged, states[i]);
        }
    }
}

static void *run_writer(void *ctx)
{
    struct member *member = ctx;
    for (uint64_t i = 0; i < member->team->ops && !atomic_load(&member->team->failed); i += 4) {
        write_some(member);
        usleep(2000); /* lets graphs keep up: of what is replaced at once none is made */
    }
    atomic_fetch_sub(&member->team->writers, 1);
    return NULL;
}

/* Points that are there before it begins, in a segment with a graph. */
static void fill_team(struct team *team)
{
    struct member *member = calloc(1, sizeof *member);
    vecdb_error err;
    assert_non_null(member);
    member->team = team;
    vdb_rng_init(&member->rng, team->seed);
    for (uint64_t i = 0; i < TEAM_IDS; i += 4) {
        member->number = (unsigned)(i / 4 % WRITERS);
        write_some(member);
    }
    free(member);
    assert_false(team->failed);
    assert_vecdb_ok(vecdb_checkpoint(team->db, team->kind->name, &err), &err);
    assert_vecdb_ok(vecdb_build_index(team->db, team->kind->name, NULL, &err), &err);
}

/* A hit that could be there at some moment between the search's begin and now. */
static bool check_hit(struct member *member, const char *what, const vecdb_hit *hit, const float *query)
{
    struct team *team = member->team;
    const uint64_t id = hit->id.number;
    if (hit->id.text != NULL || id >= TEAM_IDS) {
        fail_team(team, "%s: an id that never was", what);
        return false;
    }
    unsigned long long version = 0;
    unsigned group = 0;
    char text[METADATA_BYTES] = {0};
    memcpy(text, hit->metadata, hit->metadata_bytes < sizeof text ? hit->metadata_bytes : sizeof text - 1);
    float vector[DIMENSION_MAX];
    const uint64_t before = member->before[id];
    const uint64_t begun = atomic_load(&team->lives[id].begun);
    if (sscanf(text, "{\"g\":%u,\"v\":%llu}", &group, &version) != 2 || group != group_of(id)) {
        fail_team(team, "%s: point %llu has the metadata %s", what, (unsigned long long)id, text);
        return false;
    }
    if (version * 2 < before || version > begun / 2) {
        fail_team(
            team,
            "%s: point %llu is returned as version %llu; before, version %llu%s was acknowledged, and %llu begun "
            "after",
            what, (unsigned long long)id, version, (unsigned long long)before / 2,
            before % 2 != 0 ? " (a deletion)" : "", (unsigned long long)begun / 2);
        return false;
    }
    make_vector(team->kind, id, version, vector);
    if (query != NULL && !same_score(hit_score(team->kind, hit), score_of(team->kind, query, vector))) {
        fail_team(team, "%s: point %llu, version %llu has score %.17g and is at %.17g", what,
                  (unsigned long long)id, version, hit->score, score_of(team->kind, query, vector));
        return false;
    }
    if (hit->vector != NULL && memcmp(hit->vector, vector, team->kind->dimension * sizeof *vector) != 0) {
        fail_team(team, "%s: point %llu, version %llu has another vector", what, (unsigned long long)id, version);
        return false;
    }
    return true;
}

/* There before and not touched since. */
static bool stayed(const struct member *member, uint64_t id)
{
    const uint64_t before = member->before[id];
    return before != 0 && before % 2 == 0 && atomic_load(&member->team->lives[id].begun) == before;
}

static void read_some(struct member *member)
{
    struct team *team = member->team;
    float query[DIMENSION_MAX];
    vecdb_error err;
    vecdb_result *result;
    const uint64_t id = vdb_rng_below(&member->rng, TEAM_IDS);
    const bool by_id = vdb_rng_below(&member->rng, 5) == 0;
    for (size_t i = 0; i < TEAM_IDS; i++) {
        member->before[i] = atomic_load(&team->lives[i].acknowledged);
    }
    make_vector(team->kind, id, member->before[id] / 2, query);
    const vecdb_id asked = vecdb_id_number(id);
    const vecdb_search_request request = {.vector = query,
                                          .dimension = team->kind->dimension,
                                          .k = 10,
                                          .exact = vdb_rng_below(&member->rng, 10) == 0};
    const char *what = by_id ? "get" : request.exact ? "exact search" : "search";
    const vecdb_status status = by_id ? vecdb_get(team->db, team->kind->name, &asked, 1, &result, &err)
                                      : vecdb_search(team->db, team->kind->name, &request, &result, &err);
    if (!team_ok(team, status, what, &err)) {
        return;
    }
    const vecdb_hit *hits = vecdb_result_hits(result);
    bool present = false;
    for (size_t i = 0; i < vecdb_result_count(result); i++) {
        if (!check_hit(member, what, &hits[i], by_id ? NULL : query)) {
            break;
        }
        for (size_t j = 0; j < i; j++) {
            if (hits[j].id.number == hits[i].id.number) {
                fail_team(team, "%s: point %llu comes twice", what, (unsigned long long)hits[i].id.number);
            }
        }
        present = present || hits[i].id.number == id;
    }
    if (stayed(member, id)) {
        if (!present && (by_id || request.exact)) {
            fail_team(team, "%s: point %llu is missing", what, (unsigned long long)id);
        }
        if (!by_id && !request.exact) {
            atomic_fetch_add(&team->wanted, 1);
            atomic_fetch_add(&team->found, present);
        }
    }
    if (!by_id && !request.exact) {
        atomic_fetch_add(&team->rows, vecdb_result_explain(result)->rows);
        atomic_fetch_add(&team->rows_indexed, vecdb_result_explain(result)->rows_indexed);
    }
    atomic_fetch_add(&team->searches, 1);
    vecdb_result_free(result);
}

static void *run_reader(void *ctx)
{
    struct member *member = ctx;
    while (atomic_load(&member->team->writers) > 0 && !atomic_load(&member->team->failed)) {
        read_some(member);
    }
    return NULL;
}

static void *run_maintainer(void *ctx)
{
    struct member *member = ctx;
    struct team *team = member->team;
    const char *name = team->kind->name;
    const vecdb_compact_options full = {.full = 1};
    vecdb_error err;
    for (unsigned round = 0; atomic_load(&team->writers) > 0 && !atomic_load(&team->failed); round++) {
        const char *type = team->kind->metric == VECDB_L1 || round % 3 == 0 ? "hnsw" : "qgraph";
        const vecdb_index_config config = {
            .type = type, .scan_below = SCAN_BELOW, .compact = strcmp(type, "qgraph") == 0 && round % 2 == 1};
        if (round % 4 == 3) { /* segments of more rows than are scanned */
            (void)team_ok(team, vecdb_checkpoint(team->db, name, &err), "checkpoint", &err);
        }
        (void)team_ok(team, vecdb_build_index(team->db, name, NULL, &err), "build", &err);
        usleep(1000 * (unsigned)vdb_rng_below(&member->rng, 50));
        switch (round % 5) {
        case 0:
            (void)team_ok(team, vecdb_compact(team->db, name, NULL, NULL, &err), "compact", &err);
            break;
        case 1:
            (void)team_ok(team, vecdb_compact(team->db, name, &full, NULL, &err), "compact", &err);
            break;
        case 2:
            (void)team_ok(team, vecdb_set_index(team->db, name, &config, &err), "set_index", &err);
            break;
        case 3:
            (void)team_ok(team, vecdb_verify(team->db, NULL, NULL, &err), "verify", &err);
            break;
        default:
            if (team_ok(team, vecdb_snapshot_create(team->db, name, "kept", NULL, &err), "snapshot", &err)) {
                (void)team_ok(team, vecdb_snapshot_delete(team->db, name, "kept", &err), "snapshot", &err);
            }
            break;
        }
    }
    return NULL;
}

static void run_team(const char *dir, const struct kind *kind, uint64_t ops, uint64_t seed)
{
    enum { MEMBERS = WRITERS + READERS + 1 };
    struct team *team = calloc(1, sizeof *team);
    struct member *members = calloc(MEMBERS, sizeof *members);
    pthread_t threads[MEMBERS];
    vecdb_error err;
    assert_true(team != NULL && members != NULL);
    team->kind = kind;
    team->ops = ops / WRITERS;
    team->writers = WRITERS;
    team->seed = seed;
    assert_vecdb_ok(vecdb_open(dir, NULL, &team->db, &err), &err);
    fill_team(team);
    for (unsigned i = 0; i < MEMBERS; i++) {
        void *(*const run)(void *) = i < WRITERS             ? run_writer
                                     : i < WRITERS + READERS ? run_reader
                                                             : run_maintainer;
        members[i].team = team;
        members[i].number = i;
        vdb_rng_init(&members[i].rng, seed * MEMBERS + i);
        assert_int_equal(pthread_create(&threads[i], NULL, run, &members[i]), 0);
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    if (team->failed) {
        fail_msg("%s: %s", kind->name, team->text);
    }
    assert_vecdb_ok(vecdb_verify(team->db, NULL, NULL, &err), &err);
    const double found = team->wanted == 0 ? 1 : (double)team->found / (double)team->wanted;
    print_message(
        "%s: %llu reads beside writers; %.4f of %llu points found by their own vector; %.0f %% of rows in "
        "graphs\n",
        kind->name, (unsigned long long)team->searches, found, (unsigned long long)team->wanted,
        100.0 * (double)team->rows_indexed / (double)(team->rows > 0 ? team->rows : 1));
    assert_true(team->wanted < 100 || found >= RECALL_MIN);
    assert_true(team->searches == 0 || team->rows_indexed > 0);
    vecdb_close(team->db);
    free(members);
    free(team);
}

static void test_threads(void **state)
{
    const uint64_t ops = number_of("VECDB_RANDOM_OPS", OPS) / 5;
    const uint64_t seed = number_of("VECDB_SEED", 1);
    vecdb_error err;
    vecdb *db;
    print_message("VECDB_SEED=%llu\n", (unsigned long long)seed);
    assert_vecdb_ok(vecdb_open(*state, NULL, &db, &err), &err);
    create_collections(db);
    vecdb_close(db);
    for (size_t i = 0; i < KINDS; i++) {
        run_team(*state, &kinds[i], ops, seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_threads, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
