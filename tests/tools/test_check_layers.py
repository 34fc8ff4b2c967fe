"""tools/check_layers on small trees made here: it must accept a clean one, and name each kind of violation."""

import pathlib
import shutil
import subprocess
import sys

import pytest

CHECK_LAYERS = pathlib.Path(__file__).resolve().parents[2] / "tools" / "check_layers"

LAYERS = """\
# comment
base:
distance: base
distance/x86: distance!kernels.h
index: base distance
api: base index     # a remark
server: base api
cli: base api
"""

FILES = {
    "src/base/err.h": "",
    "src/base/err.c": '#include "err.h"\n#include <stdio.h>\n',
    "src/distance/kernels.h": '#include "base/err.h"\n',
    "src/distance/metric.h": "",
    "src/distance/metric.c": '#include "metric.h"\n#include "distance/kernels.h"\n  #  include "base/err.h"\n',
    "src/distance/x86/l2_avx2.c": '#include "distance/kernels.h"\n#include <immintrin.h>\n',
    "src/index/flat.c": '#include "distance/metric.h"\n#include "base/err.h"\n',
    "src/api/service.h": '#include "index/flat.h"\n',
    "src/api/search.h": "",
    "src/api/api.c": '#include "vecdb.h"\n#include "service.h"\n#include "search.h"\n',
    "src/index/flat.h": "",
    "src/server/routes.c": '#include "api/service.h"\n#include "vecdb.h"\n',
    "src/cli/knn.c": '#include "api/service.h"\n',
    "include/vecdb.h": "",
}


@pytest.fixture
def tree(tmp_path):
    write(tmp_path, "src/LAYERS", LAYERS)
    for name, text in FILES.items():
        write(tmp_path, name, text)
    for folder in ("base", "distance", "distance/x86", "index", "api", "server", "cli"):
        write(tmp_path, f"src/{folder}/README.md", "# Folder\n")
    return tmp_path


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def append(root, name, text):
    path = root / name
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def check(root):
    done = subprocess.run([sys.executable, str(CHECK_LAYERS), "--root", str(root)], cwd="/", text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    return done.returncode, done.stdout


def assert_violation(root, *expected):
    status, output = check(root)
    assert status == 1, output
    for line in expected:
        assert line in output, output
    # One finding for each thing that is wrong, and the closing line that counts them.
    assert output.splitlines()[-1] == f"check_layers: {len(expected)} violations", output


def test_clean_tree_passes(tree):
    status, output = check(tree)
    assert status == 0, output
    assert output.startswith("check_layers: 7 folders"), output


def test_without_arguments_it_checks_the_tree_it_stands_in(tree):
    (tree / "tools").mkdir()
    script = pathlib.Path(shutil.copy(CHECK_LAYERS, tree / "tools"))
    append(tree, "src/index/flat.c", '#include "base/gone.h"\n')
    done = subprocess.run([str(script)], cwd="/", text=True, stdout=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith('src/index/flat.c:3: "base/gone.h" does not exist in src\n'), done.stdout


@pytest.mark.parametrize("file, include, expected", [
    # An upper floor, a floor that is not allowed though lower, a header outside the list of a narrowed folder.
    ("src/base/err.c", "index/flat.h",
     'src/base/err.c:3: "base" may not include "index/flat.h" (src/LAYERS allows it no other folder)'),
    ("src/server/routes.c", "index/flat.h",
     'src/server/routes.c:3: "server" may not include "index/flat.h" (src/LAYERS allows it base, api)'),
    ("src/distance/x86/l2_avx2.c", "distance/metric.h",
     'src/distance/x86/l2_avx2.c:3: "distance/x86" may not include "distance/metric.h" (of distance only kernels.h)'),
    ("src/distance/x86/l2_avx2.c", "base/err.h",
     'src/distance/x86/l2_avx2.c:3: "distance/x86" may not include "base/err.h" (src/LAYERS allows it distance)'),
    # The public header and the request table.
    ("src/index/flat.c", "vecdb.h",
     'src/index/flat.c:3: "index" may not include "vecdb.h" (only api, cli, server may)'),
    ("src/cli/knn.c", "api/search.h",
     'src/cli/knn.c:2: "cli" may not include "api/search.h" (of api only service.h)'),
    ("src/server/routes.c", "api/search.h",
     'src/server/routes.c:3: "server" may not include "api/search.h" (of api only service.h)'),
    # Ways around the list.
    ("src/base/err.c", "../index/flat.h",
     'src/base/err.c:3: "../index/flat.h": name the folder from src down, without ".."'),
    ("src/index/flat.c", "metric.h",
     'src/index/flat.c:3: "metric.h" is not in src/index: include it as "folder/metric.h"'),
    ("src/index/flat.c", "base/gone.h", 'src/index/flat.c:3: "base/gone.h" does not exist in src'),
])
def test_include_is_refused(tree, file, include, expected):
    append(tree, file, f'#include "{include}"\n')
    assert_violation(tree, expected)


@pytest.mark.parametrize("target", ["index/flat.h", "vecdb.h"])
def test_angle_brackets_are_no_way_around(tree, target):
    append(tree, "src/base/err.c", f"#include <{target}>\n")
    assert_violation(tree, f"src/base/err.c:3: <{target}> is ours: include it in quotes")


def test_header_is_checked_like_a_source(tree):
    append(tree, "src/base/err.h", '#include "distance/metric.h"\n')
    assert_violation(tree, 'src/base/err.h:1: "base" may not include "distance/metric.h"')


def test_two_narrowed_headers_are_both_allowed(tree):
    text = LAYERS.replace("distance!kernels.h", "distance!kernels.h distance!metric.h")
    write(tree, "src/LAYERS", text)
    append(tree, "src/distance/x86/l2_avx2.c", '#include "distance/metric.h"\n')
    status, output = check(tree)
    assert status == 0, output


def test_folder_must_be_listed(tree):
    write(tree, "src/extra/new.c", "")
    assert_violation(tree, 'src/extra/new.c:1: folder "extra" is not listed in src/LAYERS')


def test_layers_may_name_only_what_stands_above(tree):
    write(tree, "src/LAYERS", LAYERS.replace("base:\n", "base: cli\n"))
    assert_violation(tree, 'src/LAYERS:2: "base" may not name "cli": it is not listed above')


def test_layers_lists_a_folder_once_and_only_real_ones(tree):
    write(tree, "src/LAYERS", LAYERS + "base:\nattic: base\nno colon\n")
    assert_violation(tree, 'src/LAYERS:9: "base" is listed twice', 'src/LAYERS:10: there is no folder "attic"',
                     'src/LAYERS:11: "no colon" is not "folder: folders"')


def test_missing_layers_file(tree):
    (tree / "src/LAYERS").unlink()
    assert_violation(tree, "src/LAYERS:1: is missing")


def test_file_names_are_unique(tree):
    write(tree, "src/cli/flat.c", "")
    assert_violation(tree, 'src/index/flat.c:1: the name "flat" is taken by src/cli/flat.c',
                     'src/index/flat.h:1: the name "flat" is taken by src/cli/flat.c')


def test_each_program_has_a_main(tree):
    write(tree, "src/cli/main.c", "")
    write(tree, "src/server/main.c", "")
    status, output = check(tree)
    assert status == 0, output


def test_readme_is_wanted(tree):
    (tree / "src/distance/x86/README.md").unlink()
    assert_violation(tree, "src/distance/x86/README.md:1: a folder of src has a README.md")


@pytest.mark.parametrize("file", ["src/base/err.c", "include/vecdb.h", "tests/unit/base/test_err.c", "sdk/python/a.py"])
def test_length_limit(tree, file):
    write(tree, file, "\n" * 800)
    status, output = check(tree)
    assert status == 0, output
    write(tree, file, "\n" * 801)
    assert_violation(tree, f"{file}:801: 801 lines; a source file has at most 800")


@pytest.mark.parametrize("mark", ["TO" "DO", "FIX" "ME", "XX" "X"])
@pytest.mark.parametrize("file", ["src/base/err.c", "tests/unit/base/test_err.c", "tools/script"])
def test_unfinished_work_is_named(tree, file, mark):
    write(tree, file, f"#!/bin/sh\n/* {mark}: later */\n")
    assert_violation(tree, f'{file}:2: unfinished work is marked here: "{mark}"')


def test_template_of_a_temporary_name_is_no_mark(tree):
    append(tree, "src/base/err.c", 'char name[] = "vecdb-XXXXXX";\n')
    status, output = check(tree)
    assert status == 0, output
