# The daily commands, thin over CMake's presets (CMakePresets.json); `make help` lists them. Each first lets
# tools/setup install what it needs and is missing, so that a fresh Debian 12 with git, make and sudo is enough.

JOBS ?= $(shell nproc)
SECONDS ?= 60
STATES ?= 1000000
OPS ?= 1000000
PREFIX ?= /usr/local
INPUT ?=
FUZZ ?=
# The benchmarks: QUICK=1 for the short run, else PROFILE=full or medium; DATASETS='a b' names data sets (folders of
# DATA, ann-benchmarks HDF5 files, generated sets), ADAPTERS='a b' who takes part, BENCH_ARGS the rest (bench/README.md).
QUICK ?=
PROFILE ?= full
DATASETS ?=
ADAPTERS ?=
BENCH_ARGS ?=
# Arguments handed on, to run a part: make test CTEST_ARGS='-R base/' PYTEST_ARGS='-k knn'
CTEST_ARGS ?=
PYTEST_ARGS ?=
# A folder of data sets (tests/README.md tells the layout), and a folder of packed ones with an `unpack` script that
# fills it. Tests that want real data use what is there and say so when they skip.
DATA ?= build/data
DATA_PACK ?= ../shared/data

export CTEST_ARGS PYTEST_ARGS DATA DATA_PACK JOBS

PYTHON := build/venv/bin/python
FUZZERS = $(or $(FUZZ),$(basename $(notdir $(wildcard tests/fuzz/fuzz_*.c))))
PRODUCTS := --target vecdb_program vecdb_server_program vecdb_shared vecdb_static
# compile PRESET[,CONFIGURE_ARGUMENTS[,BUILD_ARGUMENTS]]
compile = cmake --preset $(1) $(2) && cmake --build --preset $(1) --parallel $(JOBS) $(3)

.DEFAULT_GOAL := help
.PHONY: help build demo test crash soak asan tsan clang coverage lint format fuzz bench neon bench-micro bench-storage \
  install clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

build: ## Build libvecdb, vecdb and vecdb-server into build/release
	@tools/setup build
	$(call compile,release,,$(PRODUCTS))

demo: ## Fill a database with real texts and search it (INPUT=file.jsonl for your own)
	@tools/setup build demo
	$(call compile,release,,$(PRODUCTS))
	VECDB_BIN_DIR=$(CURDIR)/build/release $(PYTHON) examples/demo/demo.py $(if $(INPUT),--input "$(INPUT)")

test: ## Build and run every test (VECDB_CPU=scalar|avx2|avx512 picks the kernels)
	@tools/setup build test
	$(call compile,release)
	tools/run_tests release

CRASH_TESTS := test_store_crash test_store_kill test_store_power test_store_faults test_store_damage test_backup

crash: ## The store's crash sweeps in their long form: STATES=1000000 power cuts, kills everywhere
	@tools/setup build test
	$(call compile,release,,--target $(CRASH_TESTS))
	@for test in $(CRASH_TESTS); do VECDB_CRASH_STATES=$(STATES) build/release/tests/$$test || exit 1; done

soak: ## Collections with graphs against an exact oracle for OPS=1000000 random operations, and several threads at once
	@tools/setup build test
	$(call compile,release,,--target test_graph_random test_graph_threads)
	@for test in test_graph_random test_graph_threads; do VECDB_RANDOM_OPS=$(OPS) build/release/tests/$$test || exit 1; done

asan: ## The same tests under the address and undefined behaviour sanitizers
	@tools/setup build test
	$(call compile,asan)
	tools/run_tests asan

tsan: ## The same tests under the thread sanitizer
	@tools/setup build test
	$(call compile,tsan)
	tools/run_tests tsan

clang: ## The same tests on a build by clang
	@tools/setup build test fuzz
	$(call compile,clang)
	tools/run_tests clang

coverage: ## The same tests with line counts: build/coverage/report/index.html
	@tools/setup build test coverage
	$(call compile,coverage,-DCMAKE_C_FLAGS=-fprofile-update=atomic)
	find build/coverage -name '*.gcda' -delete
	tools/run_tests coverage
	@mkdir -p build/coverage/report
	gcovr --root . --filter src/ --object-directory build/coverage \
	  --print-summary --txt build/coverage/report/summary.txt --html-details build/coverage/report/index.html

lint: ## Check layout, static analysis, layers and Python syntax; changes nothing
	@tools/setup build lint
	cmake --preset release >/dev/null
	tools/lint

format: ## Lay out the C sources with clang-format
	@tools/setup lint
	tools/lint --fix-format

fuzz: ## Fuzz each parser for SECONDS=60 (FUZZ=fuzz_npy for one)
	@tools/setup build fuzz
	$(call compile,fuzz,,--target $(FUZZERS))
	tools/run_fuzz $(SECONDS) $(FUZZERS)

bench: export BENCH_LOAD := $(shell cut -d ' ' -f 1 /proc/loadavg 2>/dev/null)
bench: ## Measure VecDB beside its peers, into build/bench and docs/benchmarks.md (QUICK=1: in minutes, no docs)
	@tools/setup build bench
	cmake --preset release && cmake --build --preset release --parallel $(JOBS) --target vecdb_bench
	@if [ -x "$(DATA_PACK)/unpack" ]; then "$(DATA_PACK)/unpack" "$(DATA)" fashion-mnist-784 sift-castle-128 wiki-movies-384 beir-bge-768; fi
	BENCH_COMMAND="make bench$(if $(QUICK), QUICK=$(QUICK), PROFILE=$(PROFILE))$(if $(DATASETS), DATASETS='$(DATASETS)')$(if \
	  $(ADAPTERS), ADAPTERS='$(ADAPTERS)')$(if $(BENCH_ARGS), BENCH_ARGS='$(BENCH_ARGS)')" \
	  PYTHONDONTWRITEBYTECODE=1 build/venv-bench/bin/python -m bench.ann --data "$(DATA)" \
	  --profile $(if $(QUICK),quick,$(PROFILE)) $(if $(QUICK)$(DATASETS)$(ADAPTERS),,--docs docs/benchmarks.md) \
	  $(if $(DATASETS),--datasets $(DATASETS)) $(if $(ADAPTERS),--adapters $(ADAPTERS)) $(BENCH_ARGS)

neon: ## Cross-compile the 64-bit ARM kernels and run their test under qemu-user
	@tools/setup build neon
	tools/check_neon

bench-micro: ## Measure each distance kernel beside the machine's bandwidth and peak
	@tools/setup build
	cmake --preset release && cmake --build --preset release --parallel $(JOBS) --target bench_kernels
	build/release/bench/micro/bench_kernels

bench-storage: ## Measure durable writes beside SQLite and RocksDB, into docs/benchmarks.md (QUICK=1: no docs)
	@tools/setup build storage-bench
	cmake --preset release && cmake --build --preset release --parallel $(JOBS) --target bench_storage
	@mkdir -p build/bench && rm -rf build/bench/storage.tmp
	build/release/bench/storage/bench_storage --dir build/bench/storage.tmp $(if $(QUICK),--quick) $(BENCH_ARGS) \
	  >build/bench/storage.json
	python3 bench/storage/report.py build/bench/storage.json --command "make bench-storage$(if $(QUICK), QUICK=$(QUICK))" \
	  $(if $(QUICK),,--docs docs/benchmarks.md)

install: ## Install into PREFIX=/usr/local (DESTDIR=dir to stage a package)
	@tools/setup build
	$(call compile,release,-DCMAKE_INSTALL_PREFIX=$(PREFIX),$(PRODUCTS))
	DESTDIR=$(DESTDIR) cmake --install build/release
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" -ne 0 ] || ldconfig # so that programs find the shared library

clean: ## Remove build/
	rm -rf build
