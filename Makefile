# The same commands as CI runs: they stand in .ci/run. Tests for which a program is missing are
# skipped, except in `make ci`, which runs the whole gate and installs what it needs.
.PHONY: fmt lint test race bench ci

fmt:
	gofmt -l -w .

lint test race:
	bash .ci/run $@

bench:
	BENCHTIME=1s bash .ci/run bench

ci:
	bash .ci/run
