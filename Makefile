# The two front doors: `make demo` and `make test`. Each does all of its own set-up on a fresh Debian or Ubuntu that
# has git, make and a Swift toolchain.

DMSAE := .build/release/dmsae

.PHONY: help setup build demo table test test-report test-peers bench dist wheel install test-install dist-tests test-gpu mpi

help:
	@echo "make demo          install what is missing, build, fetch model and text, distil a core (runs/demo)"
	@echo "make table         measure SAEs of two models and of known features, print the table of evaluations (runs/table)"
	@echo "make test          install what is missing, build, run every test"
	@echo "make test-report   install what is missing, build, look at the HTML reports in headless Chromium"
	@echo "make test-peers    build, install the libraries whose SAE formats we write, load with them what we wrote"
	@echo "make install       copy program, plugins, headers and libraries into PREFIX=/usr/local"
	@echo "make dist          pack the same for machines without Swift (.build/dist)"
	@echo "make wheel         the same as a wheel for pip (.build/dist)"
	@echo "make test-install  install wheel and folder in a bare Debian without Swift, rank latents with a scorer in C"
	@echo "make test-gpu      pack tests too and run what needs an NVIDIA card; on another machine: unpack, ./test-gpu"
	@echo "make mpi           compile what several processes speak by for an MPI without the standard ABI (MPICC=mpicc)"
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

# An hour or two on two cores. What is done is kept, and a second `make table` goes on. Fetching Gemma asks for its terms of use.
TABLE ?= runs/table
table: build
	$(DMSAE) fetch demo
	$(DMSAE) fetch probes
	$(DMSAE) fetch gemma3
	.ci/table $(TABLE) $(DMSAE)

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

# For Open MPI and older MPICH: name the result in DMSAE_MPI.
MPICC ?= mpicc
mpi:
	@mkdir -p .build/mpi
	$(MPICC) -O2 -Wall -Werror -shared -fPIC Sources/Ranks/Shim/dmsae_mpi.c -o .build/mpi/libdmsae_mpi.so
	@echo "start with: DMSAE_MPI=$(CURDIR)/.build/mpi/libdmsae_mpi.so mpiexec -n 2 .build/release/dmsae ..."

# Tests/Benchmarks/README.md says what there is to ask for. Peers are timed if DMSAE_PEER_PYTHON has them.
bench: build
	.build/release/Benchmarks $(BENCH_ARGS)

# One folder that runs where no Swift is; .ci/dist says what is in it.
dist:
	@.ci/setup --dist
	swift build -c release
	@.ci/dist

wheel:
	@.ci/setup --dist
	swift build -c release
	@.ci/dist --folder
	@.ci/wheel

# Libraries are copied too: the installation needs no Swift. DESTDIR is for makers of packages.
PREFIX ?= /usr/local
install:
	@.ci/setup --dist
	swift build -c release
	@.ci/dist --folder
	mkdir -p "$(DESTDIR)$(PREFIX)"
	folder=.build/dist/dmsae-$$(.ci/version)-linux-x86_64; \
	    cp -r $$folder/bin $$folder/include $$folder/lib $$folder/share "$(DESTDIR)$(PREFIX)"

# Takes root's rights and, the first time, a download of some 100 MiB.
test-install: wheel
	@.ci/setup --install
	.ci/test-install --bare

# The same with tests, benchmarks and fixtures. On a machine with a card: unpack the .tar.xz there and run its ./test-gpu.
dist-tests:
	@.ci/setup --dist
	swift build -c release --build-tests
	@.ci/dist --tests

test-gpu: dist-tests
	.build/dist/dmsae-tests-$$(.ci/version)-linux-x86_64/test-gpu
