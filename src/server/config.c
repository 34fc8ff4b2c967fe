/* config.c: reads the configuration: one table of keys, a YAML reader over libyaml's events, the command line.
 *
 * The file is a flat mapping of keys to single values. Events (not a loaded document) are read, so that every
 * error has its line and nothing is built for input that will be refused. Anchors, tags and second documents are
 * refused: a configuration has no use for them.
 */
#include "server/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/bytes.h"

enum kind { KIND_TEXT, KIND_NUMBER, KIND_SWITCH, KIND_LEVEL };

struct key {
    const char *name;
    enum kind kind;
    size_t offset;
    uint64_t min; /* KIND_NUMBER */
    uint64_t max; /* KIND_NUMBER: the largest value; KIND_TEXT: the size of the array */
};

#define KEY_OFFSET(member) offsetof(struct vdb_config, member)

static const struct key keys[] = {
    {"data", KIND_TEXT, KEY_OFFSET(data), 0, VDB_LIMIT_PATH_BYTES_MAX},
    {"host", KIND_TEXT, KEY_OFFSET(host), 0, VDB_CONFIG_HOST_BYTES},
    {"port", KIND_NUMBER, KEY_OFFSET(port), 0, 65535},
    {"metrics_port", KIND_NUMBER, KEY_OFFSET(metrics_port), 0, 65535},
    {"metrics", KIND_SWITCH, KEY_OFFSET(metrics), 0, 0},
    {"allow_unauthenticated", KIND_SWITCH, KEY_OFFSET(allow_unauthenticated), 0, 0},
    {"threads", KIND_NUMBER, KEY_OFFSET(threads), 0, 1024},
    {"connections_max", KIND_NUMBER, KEY_OFFSET(connections_max), 1, 65536},
    {"idle_seconds", KIND_NUMBER, KEY_OFFSET(idle_seconds), 1, 3600},
    {"drain_seconds", KIND_NUMBER, KEY_OFFSET(drain_seconds), 0, 3600},
    {"body_memory_mib", KIND_NUMBER, KEY_OFFSET(body_memory_mib), 64, 1u << 20},
    {"log_level", KIND_LEVEL, KEY_OFFSET(log_level), 0, 0},
    {"maintenance", KIND_SWITCH, KEY_OFFSET(maintenance), 0, 0},
    {"checkpoint_mib", KIND_NUMBER, KEY_OFFSET(checkpoint_mib), 1, 65536},
    {"compact_mib_per_second", KIND_NUMBER, KEY_OFFSET(compact_mib_per_second), 1, 65536},
};

enum { KEY_COUNT = sizeof keys / sizeof keys[0] };

static const char keys_text[] =
    "data, host, port, metrics_port, metrics, allow_unauthenticated, threads, "
    "connections_max, idle_seconds, drain_seconds, body_memory_mib, log_level, maintenance, "
    "checkpoint_mib, compact_mib_per_second";

/* The keys that are also command line options. */
static const struct option {
    const char *option;
    const char *key;
} options[] = {
    {"--data", "data"},           {"--host", "host"}, {"--port", "port"}, {"--metrics-port", "metrics_port"},
    {"--log-level", "log_level"},
};

static const char usage[] =
    "Usage: vecdb-server [--config FILE] [--data DIR] [--host H] [--port N] [--metrics-port N] [--log-level L]\n"
    "\n"
    "Serves a VecDB data directory over HTTP.\n"
    "\n"
    "  --config FILE      YAML file; options given here win over it\n"
    "  --data DIR         data directory, created when missing (default ./vecdb-data)\n"
    "  --host H           address to listen on (default 127.0.0.1)\n"
    "  --port N           HTTP port (default 6334); 0: the system chooses and the start banner tells\n"
    "  --metrics-port N   port of /metrics for Prometheus (default 9090); 0: none\n"
    "  --log-level L      error, warn, info (default), debug or off\n"
    "  --help             this text\n"
    "  --version          the version\n"
    "\n"
    "Exit codes: 0 stopped by SIGTERM or SIGINT, 1 the disk failed or data is damaged, 2 wrong usage, or the "
    "port or\n"
    "the data directory is in use.\n";

const char *vdb_config_usage(void)
{
    return usage;
}

void vdb_config_init(struct vdb_config *config)
{
    *config = (struct vdb_config){
        .data = "./vecdb-data",
        .host = "127.0.0.1",
        .port = 6334,
        .metrics_port = 9090,
        .metrics = true,
        .connections_max = 1024,
        .idle_seconds = VDB_LIMIT_IDLE_SECONDS_MAX,
        .drain_seconds = 10,
        .body_memory_mib = 1024, /* sixteen bodies of the largest size */
        .log_level = VDB_LOG_INFO,
        .maintenance = true,
        .checkpoint_mib = 64,
        .compact_mib_per_second = 200,
    };
}

/* ---- Values ---- */

static const struct key *find_key(struct vdb_str name)
{
    for (size_t i = 0; i < KEY_COUNT; i++) {
        if (vdb_str_is(name, keys[i].name)) {
            return &keys[i];
        }
    }
    return NULL;
}

static vdb_status set_text(char *out, const struct key *key, struct vdb_str value, struct vdb_err *err)
{
    if (value.bytes == 0) {
        return vdb_err_set(err, VDB_INVALID, "%s: the value is empty", key->name);
    }
    if (value.bytes >= key->max) {
        return vdb_err_set(err, VDB_INVALID, "%s: %zu bytes given, at most %llu are allowed", key->name,
                           value.bytes, (unsigned long long)(key->max - 1));
    }
    if (memchr(value.data, '\0', value.bytes) != NULL) {
        return vdb_err_set(err, VDB_INVALID, "%s: the value holds a NUL byte", key->name);
    }
    memcpy(out, value.data, value.bytes);
    out[value.bytes] = '\0';
    return VDB_OK;
}

static vdb_status set_number(uint64_t *out, const struct key *key, struct vdb_str value, struct vdb_err *err)
{
    uint64_t number = 0;
    bool valid = value.bytes > 0 && value.bytes <= 18; /* 18 digits cannot overflow */
    for (size_t i = 0; i < value.bytes && valid; i++) {
        valid = value.data[i] >= '0' && value.data[i] <= '9';
        number = number * 10 + (uint64_t)(unsigned char)(value.data[i] - '0');
    }
    if (!valid || number < key->min || number > key->max) {
        return vdb_err_set(err, VDB_INVALID, "%s: \"%.*s\" is not a whole number from %llu to %llu", key->name,
                           (int)(value.bytes < 64 ? value.bytes : 64), value.data, (unsigned long long)key->min,
                           (unsigned long long)key->max);
    }
    *out = number;
    return VDB_OK;
}

static vdb_status set_switch(bool *out, const struct key *key, struct vdb_str value, struct vdb_err *err)
{
    if (vdb_str_is(value, "true") || vdb_str_is(value, "on") || vdb_str_is(value, "yes")) {
        *out = true;
    } else if (vdb_str_is(value, "false") || vdb_str_is(value, "off") || vdb_str_is(value, "no")) {
        *out = false;
    } else {
        return vdb_err_set(err, VDB_INVALID, "%s: \"%.*s\" is none of true, false, on, off, yes, no", key->name,
                           (int)(value.bytes < 64 ? value.bytes : 64), value.data);
    }
    return VDB_OK;
}

static vdb_status set_level(vdb_log_level *out, const struct key *key, struct vdb_str value, struct vdb_err *err)
{
    char text[16] = "";
    if (value.bytes < sizeof text) {
        memcpy(text, value.data, value.bytes);
    }
    if (!vdb_log_level_parse(text, out)) {
        return vdb_err_set(err, VDB_INVALID, "%s: \"%.*s\" is none of error, warn, info, debug, off", key->name,
                           (int)(value.bytes < 64 ? value.bytes : 64), value.data);
    }
    return VDB_OK;
}

static vdb_status set_value(struct vdb_config *config, const struct key *key, struct vdb_str value,
                            struct vdb_err *err)
{
    void *field = (char *)config + key->offset;
    switch (key->kind) {
    case KIND_TEXT:
        return set_text(field, key, value, err);
    case KIND_NUMBER:
        return set_number(field, key, value, err);
    case KIND_SWITCH:
        return set_switch(field, key, value, err);
    default:
        return set_level(field, key, value, err);
    }
}

/* ---- The YAML file ---- */

/* What the reader waits for: the start of the mapping, a key, a key's value, or nothing but the end. */
enum expect { EXPECT_MAPPING, EXPECT_KEY, EXPECT_VALUE, EXPECT_END };

struct reader {
    struct vdb_config *config;
    const char *name;
    enum expect expect;
    const struct key *key; /* whose value comes next */
    bool seen[KEY_COUNT];
};

static vdb_status take_key(struct reader *reader, struct vdb_str text, struct vdb_err *err)
{
    reader->key = find_key(text);
    if (reader->key == NULL) {
        return vdb_err_set(err, VDB_INVALID, "unknown key \"%.*s\"; known keys: %s",
                           (int)(text.bytes < 64 ? text.bytes : 64), text.data, keys_text);
    }
    size_t i = (size_t)(reader->key - keys);
    if (reader->seen[i]) {
        return vdb_err_set(err, VDB_INVALID, "%s: given twice", reader->key->name);
    }
    reader->seen[i] = true;
    reader->expect = EXPECT_VALUE;
    return VDB_OK;
}

static vdb_status take_scalar(struct reader *reader, const yaml_event_t *event, struct vdb_err *err)
{
    struct vdb_str text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL) {
        return vdb_err_set(err, VDB_INVALID, "anchors and tags are not used here");
    }
    switch (reader->expect) {
    case EXPECT_KEY:
        return take_key(reader, text, err);
    case EXPECT_VALUE:
        reader->expect = EXPECT_KEY;
        return set_value(reader->config, reader->key, text, err);
    default:
        /* A file of comments alone is an empty scalar to some writers: it sets nothing. */
        if (text.bytes == 0 && reader->expect == EXPECT_MAPPING) {
            reader->expect = EXPECT_END;
            return VDB_OK;
        }
        return vdb_err_set(err, VDB_INVALID, "expected lines of the form key: value");
    }
}

static vdb_status take_event(struct reader *reader, const yaml_event_t *event, struct vdb_err *err)
{
    switch (event->type) {
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return VDB_OK;
    case YAML_DOCUMENT_START_EVENT:
        if (reader->expect != EXPECT_MAPPING) {
            return vdb_err_set(err, VDB_INVALID, "a second document begins; one is allowed");
        }
        return VDB_OK;
    case YAML_MAPPING_START_EVENT:
        if (reader->expect == EXPECT_MAPPING && event->data.mapping_start.anchor == NULL &&
            event->data.mapping_start.tag == NULL) {
            reader->expect = EXPECT_KEY;
            return VDB_OK;
        }
        break;
    case YAML_MAPPING_END_EVENT:
        reader->expect = EXPECT_END;
        return VDB_OK;
    case YAML_SCALAR_EVENT:
        return take_scalar(reader, event, err);
    default:
        break;
    }
    if (reader->expect == EXPECT_VALUE) {
        return vdb_err_set(err, VDB_INVALID, "%s: expected a single value, not a list or mapping",
                           reader->key->name);
    }
    return vdb_err_set(err, VDB_INVALID, "expected lines of the form key: value");
}

vdb_status vdb_config_parse(struct vdb_config *config, const char *name, const char *text, size_t bytes,
                            struct vdb_err *err)
{
    if (bytes > VDB_CONFIG_FILE_BYTES_MAX) {
        return vdb_err_set(err, VDB_INVALID, "%s: over %d bytes", name, VDB_CONFIG_FILE_BYTES_MAX);
    }
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return vdb_err_no_memory(err, "the YAML reader");
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    struct reader reader = {config, name, EXPECT_MAPPING, NULL, {false}};
    vdb_status status = VDB_OK;
    bool more = true;
    while (more && status == VDB_OK) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            if (parser.error == YAML_MEMORY_ERROR) {
                status = vdb_err_no_memory(err, "the YAML reader");
            } else {
                size_t line = parser.error == YAML_READER_ERROR ? parser.mark.line : parser.problem_mark.line;
                status = vdb_err_set(err, VDB_INVALID, "%s:%zu: %s", name, line + 1,
                                     parser.problem != NULL ? parser.problem : "malformed YAML");
            }
            break;
        }
        more = event.type != YAML_STREAM_END_EVENT;
        status = take_event(&reader, &event, err);
        if (status != VDB_OK) {
            status = vdb_err_wrap(err, status, "%s:%zu", name, event.start_mark.line + 1);
        }
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return status;
}

vdb_status vdb_config_load(struct vdb_config *config, const char *path, struct vdb_err *err)
{
    vdb_status status = VDB_OK;
    FILE *file = fopen(path, "rb");
    char *text = malloc(VDB_CONFIG_FILE_BYTES_MAX + 1);
    if (file == NULL) {
        status = vdb_err_set(err, VDB_IO, "config file %s: %s", path, strerror(errno));
        goto cleanup;
    }
    if (text == NULL) {
        status = vdb_err_no_memory(err, "the config file");
        goto cleanup;
    }
    size_t bytes = fread(text, 1, VDB_CONFIG_FILE_BYTES_MAX + 1, file);
    if (ferror(file)) {
        status = vdb_err_set(err, VDB_IO, "config file %s: %s", path, strerror(errno));
        goto cleanup;
    }
    status = vdb_config_parse(config, path, text, bytes, err);
cleanup:
    free(text);
    if (file != NULL) {
        fclose(file);
    }
    return status;
}

/* ---- The command line ---- */

/* The value of the option at argv[*at], from behind "=" or from the next argument. */
static vdb_status take_value(int argc, char *const *argv, int *at, const char **value, struct vdb_err *err)
{
    const char *arg = argv[*at];
    const char *equals = strchr(arg, '=');
    if (equals != NULL) {
        *value = equals + 1;
        return VDB_OK;
    }
    /* What looks like an option is not taken for a value; `--data=--port` says it in so many words. */
    if (*at + 1 >= argc || strncmp(argv[*at + 1], "--", 2) == 0) {
        return vdb_err_set(err, VDB_INVALID, "%s: a value must follow", arg);
    }
    *value = argv[++*at];
    return VDB_OK;
}

enum { OPTION_COUNT = sizeof options / sizeof options[0] };

/* The option's place in the table; OPTION_COUNT for --config, OPTION_COUNT + 1 for what is none. */
static size_t find_option(const char *arg)
{
    struct vdb_str name = {arg, strcspn(arg, "=")};
    size_t i = 0;
    while (i < OPTION_COUNT && !vdb_str_is(name, options[i].option)) {
        i++;
    }
    return i < OPTION_COUNT || vdb_str_is(name, "--config") ? i : OPTION_COUNT + 1;
}

/* One walk over the arguments: the first takes --config alone (and --help, --version), the second the others. */
static vdb_status walk(struct vdb_config *config, int argc, char *const *argv, bool first,
                       vdb_config_action *action, struct vdb_err *err)
{
    bool seen[OPTION_COUNT + 1] = {false};
    for (int at = 1; at < argc; at++) {
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "--version") == 0) {
            *action = strcmp(argv[at], "--help") == 0 ? VDB_CONFIG_HELP : VDB_CONFIG_VERSION;
            return VDB_OK;
        }
        size_t i = find_option(argv[at]);
        if (i > OPTION_COUNT) {
            return vdb_err_set(err, VDB_INVALID, "unknown argument \"%.200s\"; see vecdb-server --help",
                               argv[at]);
        }
        const char *name = i < OPTION_COUNT ? options[i].option : "--config";
        const char *value;
        VDB_TRY(take_value(argc, argv, &at, &value, err));
        if (seen[i]) {
            return vdb_err_set(err, VDB_INVALID, "%s: given twice", name);
        }
        seen[i] = true;
        vdb_status status = VDB_OK;
        if (i == OPTION_COUNT) {
            VDB_TRY(first ? vdb_config_load(config, value, err) : VDB_OK);
        } else if (!first) {
            status = set_value(config, find_key(vdb_str_of(options[i].key)), vdb_str_of(value), err);
        }
        if (status != VDB_OK) {
            return vdb_err_wrap(err, status, "%s", name);
        }
    }
    return VDB_OK;
}

vdb_status vdb_config_from_args(struct vdb_config *config, int argc, char *const *argv, vdb_config_action *action,
                                struct vdb_err *err)
{
    vdb_config_init(config);
    *action = VDB_CONFIG_RUN;
    VDB_TRY(walk(config, argc, argv, true, action, err));
    if (*action != VDB_CONFIG_RUN) {
        return VDB_OK;
    }
    return walk(config, argc, argv, false, action, err);
}
