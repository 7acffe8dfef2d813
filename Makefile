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
	# The C template of the plugin author's guide, built by one line of cc outside SwiftPM: to be added here.
