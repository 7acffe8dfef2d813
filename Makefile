# The two front doors: `make demo` and `make test`. Each does all of its own set-up on a fresh Debian or Ubuntu that
# has git, make and a Swift toolchain.

DMSAE := .build/release/dmsae

.PHONY: help setup build demo test test-report test-peers bench dist test-gpu

help:
	@echo "make demo          install what is missing, build, fetch model and text, distil a core (runs/demo)"
	@echo "make test          install what is missing, build, run every test"
	@echo "make test-report   install what is missing, build, look at the HTML reports in headless Chromium"
	@echo "make test-peers    build, install the libraries whose SAE formats we write, load with them what we wrote"
	@echo "make dist          pack program, tests and libraries for machines without Swift (.build/dist)"
	@echo "make test-gpu      the same, then run what needs an NVIDIA card; on another machine: unpack, ./test-gpu"
	@echo "make bench         time the parts of a run; BENCH_ARGS='sae 576 16384 64 2048' for one of them"

setup:
	@.ci/setup

build: setup
	swift build -c release

# A second `make demo` continues or shows the first; `make demo OUT=runs/again` makes another.
OUT ?= runs/demo
demo: build
	$(DMSAE) fetch demo
	$(DMSAE) distill demo --out $(OUT) $(if $(wildcard $(OUT)/run.json),--resume)

# Without a network the tests that need the real model are skipped by name; all others run.
test: setup
	swift build -c release --build-tests
	@$(DMSAE) fetch demo || echo "make test: going on without the demo's files; tests that need them are skipped" >&2
	swift test -c release --disable-xctest --skip-build
	@mkdir -p .build/template
	cc -O2 -Wall -Werror -shared -fPIC -I Include Plugins/Template/scorer.c -o .build/template/scorer.so
	DMSAE_PLUGIN_PATH=.build/template $(DMSAE) plugin list | grep -A 1 '^activation '

# Needs no network once Chromium is there; `make test-report SHOTS=shots` keeps pages and screenshots.
test-report:
	@.ci/setup --reports
	swift build -c release
	.ci/reports $(SHOTS)

# Fetches some gigabytes the first time; DMSAE_PEER_PYTHON names a Python that has the libraries.
test-peers: build
	Tests/Peers/run

# Tests/Benchmarks/README.md says what there is to ask for. Peers are timed if DMSAE_PEER_PYTHON has them.
bench: build
	.build/release/Benchmarks $(BENCH_ARGS)

# One folder that runs where no Swift is. On a machine with a card: unpack the .tar.xz there and run its ./test-gpu.
dist:
	@.ci/setup --dist
	swift build -c release --build-tests
	@.ci/dist

test-gpu: dist
	.build/dist/dmsae-$$($(DMSAE) --version)-linux-x86_64/test-gpu
