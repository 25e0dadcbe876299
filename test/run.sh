#!/bin/bash
# Every suite, on the server that with_server.sh started, and one line at the
# end that counts them. Fails if anything failed or if a suite ran nothing.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
trap 'exit 130' INT
trap 'exit 143' TERM HUP
make=${MAKE:-make}
log=$SERVER_DIR/suite.log
passed=0 failed=0 skipped=0

# suite NAME COMMAND...: run it, show its output, count its results.
# pg_regress says "test x ... ok" or, from 16 on, TAP as prove does.
suite() {
	local name=$1 status ok bad left_out
	shift
	echo "== $name"
	"$@" 2>&1 | tee "$log" | show
	status=${PIPESTATUS[0]}
	ok=$(grep -E '^ok [0-9]|\.\.\. ok ' "$log" | grep -vciE '# (skip|todo)')
	bad=$(grep -E '^not ok [0-9]|\.\.\. FAILED' "$log" | grep -vciE '# todo')
	left_out=$(grep -ciE '^ok [0-9].*# skip|^1\.\.0 # skip' "$log")
	if [ "$bad" = 0 ] && { [ "$status" != 0 ] || [ $((ok + left_out)) = 0 ]; }; then
		echo "$name: no test failed, but exit status $status after $ok tests"
		bad=1
	fi
	if [ "$bad" != 0 ] && [ -s regression.diffs ]; then
		cat regression.diffs
	fi
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + left_out))
}

# TAP suites run with -v to be counted; their passed tests need not be read.
show() { grep --line-buffered -vE '^ *(ok [0-9]|[0-9]+\.\.[0-9]+$)|^# (Subtest|\+)' || true; }

# Scripts of released versions, for tests that update from them.
install -m 644 test/upgrade/segment--*.sql "$SERVER_DIR/inst$("${PG_CONFIG:-pg_config}" --sharedir)/extension/"

# PostgreSQL::Test starts servers of its own, which initdb refuses to root:
# then a copy of the tree, as the server's user.
tap() {
	if [ -z "$SERVER_USER" ]; then
		TMPDIR=$SERVER_DIR "$make" -s installcheck REGRESS= ISOLATION= ENABLE_TAP=1 PROVE_FLAGS=-v
		return
	fi
	local copy=$SERVER_DIR/tree status=0
	mkdir "$copy"
	tar -c --exclude=./.git --exclude=./results --exclude=./tmp_check . | tar -x -C "$copy"
	chown -R "$SERVER_USER:" "$copy"
	(cd "$copy" && runuser -u "$SERVER_USER" -- env HOME="$copy" TMPDIR="$copy" \
		"$make" -s installcheck REGRESS= ISOLATION= ENABLE_TAP=1 PROVE_FLAGS=-v) || status=$?
	if [ "$status" != 0 ]; then
		tail -n 20 "$copy"/tmp_check/log/regress_log_* 2>/dev/null
	fi
	return "$status"
}

bench() { SIZE=toy bench/run.sh && echo "ok 1 - bench"; }

# Real data that some tests read when it is there; absolute, because of the copy.
SEGMENT_DATA=$(realpath -m "${SEGMENT_DATA:-../shared/data}")
export SEGMENT_DATA

rm -rf results output_iso tmp_check regression.diffs regression.out
suite regress "$make" -s installcheck ISOLATION=
rm -f regression.diffs
suite isolation "$make" -s installcheck REGRESS=
rm -f regression.diffs
suite pgTAP "$make" -s pgtapcheck PGTAP_FLAGS=-v
suite TAP tap
[ ! -e bench/run.sh ] || suite bench bench

for test in $("$make" -s skipped); do
	echo "skipped, needs a newer server: $test"
	skipped=$((skipped + 1))
done
for test in $("$make" -s forgotten); do
	echo "not listed in the Makefile: $test"
	failed=$((failed + 1))
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
