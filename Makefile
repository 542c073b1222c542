# These targets run the same commands as CI, from .ci/run. A test is skipped if a program that it needs is
# not installed. `make ci` runs all steps, installs these programs, and does not skip such tests.
.PHONY: fmt lint test race bench ci

fmt:
	gofmt -l -w .

lint test race:
	bash .ci/run $@

bench:
	BENCHTIME=1s bash .ci/run bench

ci:
	bash .ci/run
