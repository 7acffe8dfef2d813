# The two front doors: `make demo` and `make test`. Each does all of its own set-up on a fresh Debian or Ubuntu that
# has git, make and a Swift toolchain.

DMSAE := .build/release/dmsae

.PHONY: help setup build demo test

help:
	@echo "make demo   install what is missing, build, fetch model and text, distil a core (runs/demo)"
	@echo "make test   install what is missing, build, run every test"

setup:
	@.ci/setup

build: setup
	swift build -c release

demo: build
	$(DMSAE) fetch demo
	$(DMSAE) distill demo --out runs/demo

# Without a network the tests that need the real model are skipped by name; all others run.
test: setup
	swift build -c release --build-tests
	@$(DMSAE) fetch demo || echo "make test: going on without the demo's files; tests that need them are skipped" >&2
	swift test -c release --disable-xctest --skip-build
	# A plugin in C needs one line of cc and no SwiftPM. To be added here: loading it by path.
	cc -O2 -Wall -Werror -shared -fPIC -I Include Plugins/Template/scorer.c -o .build/template-scorer.so
