/* driver.c: runs a libFuzzer target without libFuzzer: replays a corpus folder, then tries seeded mutations of
 * it.
 *
 * So the normal test run exercises every parser with gcc alone. A crash prints the seed and the case; the command
 * to repeat it is `NAME CORPUS --seed S --only N`. Mutations: flip bits, overwrite with boundary bytes, cut,
 * double, splice two inputs.
 */
#include "base/mem.h"
#include "base/rng.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { INPUTS_MAX = 4096, MUTATIONS_DEFAULT = 20000 };

struct input {
    uint8_t *data;
    size_t bytes;
};

static struct input inputs[INPUTS_MAX];
static size_t input_count;

static void load(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    fseek(file, 0, SEEK_END);
    long bytes = ftell(file);
    rewind(file);
    struct input *input = &inputs[input_count++];
    input->data = malloc(bytes > 0 ? (size_t)bytes : 1);
    input->bytes = fread(input->data, 1, (size_t)bytes, file);
    fclose(file);
}

static void load_corpus(const char *dir)
{
    DIR *handle = opendir(dir);
    if (handle == NULL) {
        return; /* no corpus: mutations start from the empty input */
    }
    struct dirent *entry;
    while ((entry = readdir(handle)) != NULL && input_count < INPUTS_MAX) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        load(path);
    }
    closedir(handle);
}

static uint8_t *mutate(struct vdb_rng *rng, const struct input *from, size_t *bytes)
{
    static const uint8_t boundary[] = {0,   1,   0x7f, 0x80, 0xff, '"', '{', '}',
                                       '[', ']', '\\', ',',  ':',  '-', '0', '9'};
    size_t size = from->bytes;
    uint8_t *out = malloc(size * 2 + 64);
    memcpy(out, from->data, size);
    unsigned rounds = 1 + (unsigned)vdb_rng_below(rng, 4);
    for (unsigned i = 0; i < rounds; i++) {
        size_t at = size > 0 ? (size_t)vdb_rng_below(rng, size) : 0;
        switch (vdb_rng_below(rng, 6)) {
        case 0:
            if (size > 0) {
                out[at] ^= (uint8_t)(1u << vdb_rng_below(rng, 8));
            }
            break;
        case 1:
            if (size > 0) {
                out[at] = boundary[vdb_rng_below(rng, sizeof boundary)];
            }
            break;
        case 2:
            size = at;
            break;
        case 3:
            if (size > 0 && size < from->bytes * 2 + 32) {
                memmove(out + at + 1, out + at, size - at);
                out[at] = boundary[vdb_rng_below(rng, sizeof boundary)];
                size++;
            }
            break;
        case 4:
            if (size > 1) {
                memmove(out + at, out + at + 1, size - at - 1);
                size--;
            }
            break;
        default: {
            const struct input *other = &inputs[vdb_rng_below(rng, input_count)];
            size_t room = from->bytes * 2 + 64 - at;
            size_t take = other->bytes < room ? other->bytes : room;
            take = take > 0 ? (size_t)vdb_rng_below(rng, take + 1) : 0;
            memcpy(out + at, other->data, take);
            size = at + take > size ? at + take : size;
            break;
        }
        }
    }
    *bytes = size;
    return out;
}

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    long mutations = MUTATIONS_DEFAULT;
    long only = -1;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0) {
            seed = strtoull(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--mutations") == 0) {
            mutations = atol(argv[i + 1]);
        } else if (strcmp(argv[i], "--only") == 0) {
            only = atol(argv[i + 1]);
        }
    }
    if (argc > 1) {
        load_corpus(argv[1]);
    }
    for (size_t i = 0; i < input_count; i++) {
        LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].bytes);
    }
    size_t replayed = input_count;
    if (input_count == 0) {
        inputs[input_count++] = (struct input){calloc(1, 1), 0};
    }
    struct vdb_rng rng;
    for (long n = 0; n < mutations; n++) {
        vdb_rng_init(&rng, seed * 1000003u + (uint64_t)n);
        const struct input *from = &inputs[vdb_rng_below(&rng, input_count)];
        size_t bytes;
        uint8_t *data = mutate(&rng, from, &bytes);
        if (only < 0 || only == n) {
            /* Exact-size copy, so that a read past the end is caught by the address sanitizer. */
            uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
            memcpy(exact, data, bytes);
            LLVMFuzzerTestOneInput(exact, bytes);
            free(exact);
        }
        free(data);
    }
    printf("%zu corpus inputs replayed, %ld mutations from seed %llu\n", replayed, mutations,
           (unsigned long long)seed);
    for (size_t i = 0; i < input_count; i++) {
        free(inputs[i].data);
    }
    return 0;
}
