/* test_config.c: defaults, the YAML file, the command line, and every way to get them wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/config.h"

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", text, part);
    }
}

static vdb_status parse(struct vdb_config *config, const char *text, struct vdb_err *err)
{
    vdb_config_init(config);
    return vdb_config_parse(config, "test.yaml", text, strlen(text), err);
}

static void assert_refused(const char *text, const char *part)
{
    struct vdb_config config;
    struct vdb_err err = {VDB_OK, ""};
    if (parse(&config, text, &err) != VDB_INVALID) {
        fail_msg("accepted: %s", text);
    }
    assert_has(err.text, part);
    assert_null(strchr(err.text, '\n'));
}

static void test_defaults(void **state)
{
    (void)state;
    struct vdb_config config;
    struct vdb_err err;
    const char *const empty[] = {"", "\n\n", "# only a comment\n", "---\n", "{}\n"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        assert_int_equal(parse(&config, empty[i], &err), VDB_OK);
        assert_string_equal(config.data, "./vecdb-data");
        assert_string_equal(config.host, "127.0.0.1");
        assert_int_equal(config.port, 6334);
        assert_int_equal(config.metrics_port, 9090);
        assert_true(config.metrics);
        assert_false(config.allow_unauthenticated);
        assert_int_equal(config.threads, 0);
        assert_int_equal(config.connections_max, 1024);
        assert_int_equal(config.idle_seconds, 60);
        assert_int_equal(config.drain_seconds, 10);
        assert_int_equal(config.body_memory_mib, 1024);
        assert_int_equal(config.log_level, VDB_LOG_INFO);
        assert_true(config.maintenance);
        assert_int_equal(config.checkpoint_mib, 64);
        assert_int_equal(config.compact_mib_per_second, 200);
    }
}

static void test_all_keys(void **state)
{
    (void)state;
    struct vdb_config config;
    struct vdb_err err;
    assert_int_equal(parse(&config,
                           "data: \"/var/lib/vec db\"\nhost: ::1\nport: 0\nmetrics_port: 65535\nmetrics: off\n"
                           "allow_unauthenticated: true\nthreads: 1024\nconnections_max: 1\nidle_seconds: 3600\n"
                           "drain_seconds: 0\nbody_memory_mib: 64\nlog_level: debug\nmaintenance: off\n"
                           "checkpoint_mib: 65536\ncompact_mib_per_second: 1\n",
                           &err),
                     VDB_OK);
    assert_string_equal(config.data, "/var/lib/vec db");
    assert_string_equal(config.host, "::1");
    assert_int_equal(config.port, 0);
    assert_int_equal(config.metrics_port, 65535);
    assert_false(config.metrics);
    assert_true(config.allow_unauthenticated);
    assert_int_equal(config.threads, 1024);
    assert_int_equal(config.connections_max, 1);
    assert_int_equal(config.idle_seconds, 3600);
    assert_int_equal(config.drain_seconds, 0);
    assert_int_equal(config.body_memory_mib, 64);
    assert_int_equal(config.log_level, VDB_LOG_DEBUG);
    assert_false(config.maintenance);
    assert_int_equal(config.checkpoint_mib, 65536);
    assert_int_equal(config.compact_mib_per_second, 1);
}

static void test_switches(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool value;
    } rows[] = {{"metrics: true", true},   {"metrics: on", true},   {"metrics: yes", true},
                {"metrics: false", false}, {"metrics: off", false}, {"metrics: no", false}};
    struct vdb_config config;
    struct vdb_err err;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(parse(&config, rows[i].text, &err), VDB_OK);
        assert_int_equal(config.metrics, rows[i].value);
    }
}

static void test_refused(void **state)
{
    (void)state;
    /* Who and where. */
    assert_refused("port: 1\nprot: 2\n", "test.yaml:2: unknown key \"prot\"; known keys: data, host, port");
    assert_refused("# c\n\nport: 1\nhost: x\nport: 2\n", "test.yaml:5: port: given twice");
    /* Limits, one past each. */
    assert_refused("port: 65536", "test.yaml:1: port: \"65536\" is not a whole number from 0 to 65535");
    assert_refused("metrics_port: 65536", "metrics_port");
    assert_refused("threads: 1025", "from 0 to 1024");
    assert_refused("connections_max: 0", "from 1 to 65536");
    assert_refused("connections_max: 65537", "from 1 to 65536");
    assert_refused("idle_seconds: 0", "from 1 to 3600");
    assert_refused("idle_seconds: 3601", "from 1 to 3600");
    assert_refused("drain_seconds: 3601", "from 0 to 3600");
    assert_refused("body_memory_mib: 63", "from 64 to 1048576");
    assert_refused("body_memory_mib: 1048577", "from 64 to 1048576");
    assert_refused("checkpoint_mib: 0", "from 1 to 65536");
    assert_refused("checkpoint_mib: 65537", "from 1 to 65536");
    assert_refused("compact_mib_per_second: 0", "from 1 to 65536");
    assert_refused("compact_mib_per_second: 65537", "from 1 to 65536");
    assert_refused("maintenance: sometimes", "\"sometimes\"");
    /* Not numbers. */
    assert_refused("port: -1", "\"-1\"");
    assert_refused("port: +1", "\"+1\"");
    assert_refused("port: 1.5", "\"1.5\"");
    assert_refused("port: 0x10", "\"0x10\"");
    assert_refused("port: ''", "\"\"");
    assert_refused("port: 18446744073709551617", "\"18446744073709551617\"");
    assert_refused("port: 99999999999999999999999999999999999999999999999999999999999999999999999999", "port");
    /* Not switches, not levels, empty texts. */
    assert_refused("metrics: maybe", "\"maybe\" is none of true, false, on, off, yes, no");
    assert_refused("allow_unauthenticated: TRUE", "\"TRUE\"");
    assert_refused("log_level: loud", "\"loud\" is none of error, warn, info, debug, off");
    assert_refused("log_level: a_level_name_that_is_longer_than_any", "none of error");
    assert_refused("data:\n", "data: the value is empty");
    assert_refused("host: \"a\\0b\"", "NUL");
    /* Not a flat mapping. */
    assert_refused("port: [1]", "test.yaml:1: port: expected a single value");
    assert_refused("port: {a: 1}", "port: expected a single value");
    assert_refused("- port\n", "key: value");
    assert_refused("port\n", "key: value");
    assert_refused("[port, 1]: 2\n", "key: value");
    assert_refused("port: &a 1\n", "anchors and tags");
    assert_refused("port: !!int 1\n", "anchors and tags");
    assert_refused("&a port: 1\n", "anchors and tags");
    assert_refused("port: *a\n", "test.yaml:1: port: expected a single value");
    assert_refused("port: 1\n---\nport: 2\n", "test.yaml:2: a second document");
    /* Not YAML. */
    assert_refused("port: \"1\nhost: x\n", "test.yaml:");
    assert_refused("port: 1\n\thost: 2\n", "test.yaml:2:");
    assert_refused("port: 1\nhost: \xff\xfe\n", "test.yaml:");
}

static void test_long_values(void **state)
{
    (void)state;
    struct vdb_config config;
    struct vdb_err err = {VDB_OK, ""};
    char text[VDB_LIMIT_PATH_BYTES_MAX + 64];
    /* The longest path fits, one more byte does not. */
    for (size_t more = 0; more < 2; more++) {
        size_t bytes = VDB_LIMIT_PATH_BYTES_MAX - 1 + more;
        memcpy(text, "data: ", 6);
        memset(text + 6, 'd', bytes);
        text[6 + bytes] = '\0';
        assert_int_equal(parse(&config, text, &err), more == 0 ? VDB_OK : VDB_INVALID);
    }
    assert_has(err.text, "data: 4096 bytes given, at most 4095 are allowed");
    /* So with the whole file. */
    char *file = malloc(VDB_CONFIG_FILE_BYTES_MAX + 1);
    memset(file, '\n', VDB_CONFIG_FILE_BYTES_MAX + 1);
    assert_int_equal(vdb_config_parse(&config, "f", file, VDB_CONFIG_FILE_BYTES_MAX, &err), VDB_OK);
    assert_int_equal(vdb_config_parse(&config, "f", file, VDB_CONFIG_FILE_BYTES_MAX + 1, &err), VDB_INVALID);
    free(file);
}

enum { ARGS_MAX = 12 };

static vdb_status from_args(struct vdb_config *config, vdb_config_action *action, struct vdb_err *err,
                            const char *first, ...)
{
    char program[] = "vecdb-server";
    char *argv[ARGS_MAX] = {program};
    int argc = 1;
    va_list list;
    va_start(list, first);
    for (const char *arg = first; arg != NULL && argc < ARGS_MAX; arg = va_arg(list, const char *)) {
        argv[argc++] = (char *)(uintptr_t)arg;
    }
    va_end(list);
    return vdb_config_from_args(config, argc, argv, action, err);
}

static void test_arguments(void **state)
{
    (void)state;
    struct vdb_config config;
    struct vdb_err err = {VDB_OK, ""};
    vdb_config_action action;
    assert_int_equal(from_args(&config, &action, &err, "--data", "d", "--port=7", "--metrics-port", "0", "--host",
                               "localhost", "--log-level=off", NULL),
                     VDB_OK);
    assert_int_equal(action, VDB_CONFIG_RUN);
    assert_string_equal(config.data, "d");
    assert_string_equal(config.host, "localhost");
    assert_int_equal(config.port, 7);
    assert_int_equal(config.metrics_port, 0);
    assert_int_equal(config.log_level, VDB_LOG_OFF);

    assert_int_equal(from_args(&config, &action, &err, "--port", "1", "--help", "--nonsense", NULL), VDB_OK);
    assert_int_equal(action, VDB_CONFIG_HELP);
    assert_int_equal(from_args(&config, &action, &err, "--version", NULL), VDB_OK);
    assert_int_equal(action, VDB_CONFIG_VERSION);

    assert_int_equal(from_args(&config, &action, &err, "--nonsense", NULL), VDB_INVALID);
    assert_has(err.text, "unknown argument \"--nonsense\"");
    assert_int_equal(from_args(&config, &action, &err, "data", NULL), VDB_INVALID);
    assert_int_equal(from_args(&config, &action, &err, "--threads", "4", NULL), VDB_INVALID);
    assert_int_equal(from_args(&config, &action, &err, "--port", NULL), VDB_INVALID);
    assert_has(err.text, "--port: a value must follow");
    assert_int_equal(from_args(&config, &action, &err, "--port", "70000", NULL), VDB_INVALID);
    assert_has(err.text, "--port: port: \"70000\" is not a whole number from 0 to 65535");
    assert_int_equal(from_args(&config, &action, &err, "--data=", NULL), VDB_INVALID);

    /* An option is no value, unless "=" says so; and none counts twice. */
    assert_int_equal(from_args(&config, &action, &err, "--data", "--port", "7", NULL), VDB_INVALID);
    assert_has(err.text, "--data: a value must follow");
    assert_int_equal(from_args(&config, &action, &err, "--config", "--help", NULL), VDB_INVALID);
    assert_has(err.text, "--config: a value must follow");
    assert_int_equal(from_args(&config, &action, &err, "--data=--port", NULL), VDB_OK);
    assert_string_equal(config.data, "--port");
    assert_int_equal(from_args(&config, &action, &err, "--port", "7", "--data", "d", "--port=8", NULL),
                     VDB_INVALID);
    assert_has(err.text, "--port: given twice");
    assert_int_equal(from_args(&config, &action, &err, "--data", "d", "--data", "d", NULL), VDB_INVALID);
    assert_has(err.text, "--data: given twice");
}

static void test_file_and_arguments(void **state)
{
    (void)state;
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char text[] = "port: 1111\nmetrics_port: 2222\n";
    assert_int_equal(write(fd, text, sizeof text - 1), (ssize_t)sizeof text - 1);
    close(fd);
    struct vdb_config config;
    struct vdb_err err = {VDB_OK, ""};
    vdb_config_action action;
    /* The option wins on either side of --config. */
    assert_int_equal(from_args(&config, &action, &err, "--port", "3333", "--config", path, NULL), VDB_OK);
    assert_int_equal(config.port, 3333);
    assert_int_equal(config.metrics_port, 2222);
    assert_int_equal(from_args(&config, &action, &err, "--config", path, "--port", "3333", NULL), VDB_OK);
    assert_int_equal(config.port, 3333);
    assert_int_equal(from_args(&config, &action, &err, "--config", path, "--config", path, NULL), VDB_INVALID);
    assert_has(err.text, "--config: given twice");
    unlink(path);
    assert_int_equal(from_args(&config, &action, &err, "--config", path, NULL), VDB_IO);
    assert_has(err.text, path);
    assert_has(err.text, "No such file");
    /* A folder opens but does not read. */
    assert_int_equal(from_args(&config, &action, &err, "--config", "/tmp", NULL), VDB_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),           cmocka_unit_test(test_all_keys),
        cmocka_unit_test(test_switches),           cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_values),        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_file_and_arguments),
    };
    return cmocka_run_group_tests_name("server/config", tests, NULL, NULL);
}
