"""What `make install` puts on a machine can be used: C programs find the library through pkg-config, link it either
way and run; the header stands alone in C99 and C++17; the shared library shows vecdb_ names and no others."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VECDB_BIN_DIR") or REPOSITORY / "build" / "release").resolve()

PROGRAM = r"""
#include <stdio.h>
#include <string.h>

#include <vecdb.h>

#define TEXT_OF(number) #number
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

static int fail(const char *what, const vecdb_error *err)
{
    printf("%s: %s\n", what, err->message);
    return 1;
}

int main(int argc, char **argv)
{
    const float near[3] = {1.0f, 2.0f, 3.0f};
    const float far[3] = {9.0f, 9.0f, 9.0f};
    const char *version = VERSION_TEXT(VECDB_VERSION_MAJOR, VECDB_VERSION_MINOR, VECDB_VERSION_PATCH);
    vecdb_collection_config config = {.name = "docs", .dimension = 3, .metric = VECDB_L2};
    vecdb_point points[2];
    vecdb_search_request request;
    vecdb_result *result = NULL;
    vecdb_error err;
    vecdb *db = NULL;

    if (argc != 2 || strcmp(vecdb_version(), version) != 0) {
        printf("the header says %s, the library %s\n", version, vecdb_version());
        return 1;
    }
    if (vecdb_open(argv[1], NULL, &db, &err) != VECDB_OK) {
        return fail("open", &err);
    }
    if (vecdb_create_collection(db, &config, &err) != VECDB_OK) {
        return fail("create", &err);
    }
    if (vecdb_create_collection(db, &config, &err) != VECDB_EXISTS || err.status != VECDB_EXISTS) {
        return fail("create again", &err);
    }
    memset(points, 0, sizeof(points));
    points[0].id = vecdb_id_number(7);
    points[0].vector = far;
    points[0].dimension = 3;
    points[1].id.text = "near";
    points[1].id.text_bytes = 4;
    points[1].vector = near;
    points[1].dimension = 3;
    if (vecdb_upsert(db, "docs", points, 2, NULL, &err) != VECDB_OK) {
        return fail("upsert", &err);
    }
    memset(&request, 0, sizeof(request));
    request.vector = near;
    request.dimension = 3;
    request.k = 5;
    if (vecdb_search(db, "docs", &request, &result, &err) != VECDB_OK) {
        return fail("search", &err);
    }
    printf("%lu hits, first %.*s at %g\n", (unsigned long)vecdb_result_count(result),
           (int)vecdb_result_hits(result)[0].id.text_bytes, vecdb_result_hits(result)[0].id.text,
           vecdb_result_hits(result)[0].score);
    vecdb_result_free(result);
    vecdb_close(db);
    return 0;
}
"""
EXPECTED_OUTPUT = "2 hits, first near at 0\n"
C_FLAGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]


def run(*command, **options):
    done = subprocess.run(
        [str(word) for word in command],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def cache_value(name):
    cache = (BUILD / "CMakeCache.txt").read_text(encoding="utf-8")
    match = re.search(rf"^{re.escape(name)}(?::[A-Z]+)?=(.*)$", cache, re.MULTILINE)
    return match.group(1) if match else ""


def is_off(value):
    return value.upper() in ("", "OFF", "0", "NO", "FALSE")


@pytest.fixture(scope="module")
def compiler():
    return cache_value("CMAKE_C_COMPILER") or "cc"


@pytest.fixture(scope="module")
def plain_build():
    """Skips where a program needs the run-time library of the instrumentation that the build has."""
    for option in ("VECDB_SANITIZE", "VECDB_COVERAGE", "VECDB_FUZZ"):
        value = cache_value(option)
        if not is_off(value):
            pytest.skip(f"the build has {option}={value}: users' programs would need its run-time library")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The installed tree, staged below a DESTDIR of ours: its (prefix, environment for pkg-config)."""
    if not (BUILD / "cmake_install.cmake").is_file():
        pytest.skip(f"{BUILD} is no build folder of CMake")
    stage = tmp_path_factory.mktemp("stage")
    run("cmake", "--install", BUILD, env={**os.environ, "DESTDIR": str(stage)})
    prefix = stage / cache_value("CMAKE_INSTALL_PREFIX").lstrip("/")
    descriptions = list(prefix.rglob("vecdb.pc"))
    assert len(descriptions) == 1, descriptions
    environment = {
        **os.environ,
        "PKG_CONFIG_SYSROOT_DIR": str(stage),
        "PKG_CONFIG_LIBDIR": str(descriptions[0].parent),
    }
    environment.pop("PKG_CONFIG_PATH", None)
    return prefix, environment


def pkg_config(environment, *arguments):
    return run("pkg-config", *arguments, "vecdb", env=environment).split()


def library_folder(prefix):
    return next(prefix.rglob("libvecdb.a")).parent


def build_program(compiler, folder, flags):
    source = folder / "program.c"
    source.write_text(PROGRAM, encoding="utf-8")
    program = folder / "program"
    run(compiler, *C_FLAGS, source, "-o", program, *flags)
    return program


def test_installed_files(installed):
    prefix, environment = installed
    library = library_folder(prefix)
    assert (prefix / "include" / "vecdb.h").read_bytes() == (REPOSITORY / "include" / "vecdb.h").read_bytes()
    assert os.readlink(library / "libvecdb.so").startswith("libvecdb.so.")
    assert os.readlink(library / "libvecdb.so.0").startswith("libvecdb.so.0.")
    for name in ("vecdb", "vecdb-server"):
        assert os.access(prefix / "bin" / name, os.X_OK), name
    assert len([path for path in (prefix / "include").rglob("*") if path.is_file()]) == 1  # no internal header
    header = (prefix / "include" / "vecdb.h").read_text(encoding="utf-8")
    version = ".".join(
        re.search(rf"VECDB_VERSION_{part} (\d+)", header).group(1) for part in ("MAJOR", "MINOR", "PATCH")
    )
    assert pkg_config(environment, "--modversion") == [version]


def test_program_with_shared_library(installed, plain_build, compiler, tmp_path):
    prefix, environment = installed
    program = build_program(compiler, tmp_path, pkg_config(environment, "--cflags", "--libs"))
    library = str(library_folder(prefix))
    assert f"{library}/libvecdb.so.0" in run("ldd", program, env={**os.environ, "LD_LIBRARY_PATH": library})
    output = run(program, tmp_path / "data", env={**os.environ, "LD_LIBRARY_PATH": library})
    assert output == EXPECTED_OUTPUT


def test_program_with_static_library(installed, plain_build, compiler, tmp_path):
    _, environment = installed
    flags = pkg_config(environment, "--static", "--cflags", "--libs")
    assert "-lvecdb" in flags, flags
    flags = ["-l:libvecdb.a" if flag == "-lvecdb" else flag for flag in flags]
    program = build_program(compiler, tmp_path, flags)
    assert "libvecdb" not in run("ldd", program)
    assert run(program, tmp_path / "data") == EXPECTED_OUTPUT


@pytest.mark.parametrize(
    "language, standard, command",
    [("c", "c99", "cc"), ("c", "c17", "cc"), ("c++", "c++11", "c++"), ("c++", "c++17", "c++")],
)
def test_header_stands_alone(tmp_path, language, standard, command):
    if shutil.which(command) is None:
        pytest.skip(f"no {command} on this machine")
    run(
        command,
        "-x",
        language,
        f"-std={standard}",
        "-pedantic",
        "-Wall",
        "-Wextra",
        "-Wshadow",
        "-Werror",
        "-fsyntax-only",
        REPOSITORY / "include" / "vecdb.h",
    )
    # Twice in one unit, in the way users' headers bring it along.
    unit = tmp_path / "unit.c"
    unit.write_text(
        "#include <vecdb.h>\n#include <vecdb.h>\nint main(void) { return (int)vecdb_id_number(0).number; }\n",
        encoding="utf-8",
    )
    run(
        command,
        "-x",
        language,
        f"-std={standard}",
        "-pedantic",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsyntax-only",
        "-I",
        REPOSITORY / "include",
        unit,
    )


def defined_names(library):
    """The names that the shared library defines for others, without the version nodes."""
    lines = run("nm", "-D", "--defined-only", library).splitlines()
    return {line.split()[-1].split("@")[0] for line in lines}


def test_shared_library_shows_the_public_names_only(installed, plain_build):
    prefix, _ = installed
    names = defined_names(library_folder(prefix) / "libvecdb.so")
    header = (prefix / "include" / "vecdb.h").read_text(encoding="utf-8")
    header = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    declared = set(re.findall(r"VECDB_API[^;]*?\b(vecdb_\w+)\(", header))
    assert len(declared) > 15, declared
    assert names == declared


def test_static_library_has_no_names_outside_the_project(installed, plain_build):
    prefix, _ = installed
    lines = run("nm", "--defined-only", "--extern-only", library_folder(prefix) / "libvecdb.a").splitlines()
    names = {line.split()[-1] for line in lines if len(line.split()) == 3}
    assert names, lines[:5]
    assert {name for name in names if not name.startswith(("vecdb_", "vdb_"))} == set()
