#!/bin/bash
# test/fuzz/run.sh [text|recv|json] [seconds]: fuzz the condition language without a server.
# Needs clang with libFuzzer (Debian: clang libclang-rt-14-dev), bison, flex and the server's headers.
set -euo pipefail
cd "$(dirname "$0")/../.."
what=${1:-text} seconds=${2:-120} dict=condition
pg_config=${PG_CONFIG:-pg_config}
build=test/fuzz/build
case $what in
text) define= ;;
recv) define=-DFUZZ_RECV ;;
json) define=-DFUZZ_JSON dict=rule_tree ;;
*) sed -n 's/^# //p' "$0" >&2; exit 2 ;;
esac
mkdir -p "$build/corpus-$what"
make -s src/condition_gram.h src/condition_scan.c
# shellcheck disable=SC2046,SC2086 # one word an argument
clang -g -O1 -std=gnu99 -fno-strict-aliasing -fwrapv -fsanitize=fuzzer,address,undefined -fno-sanitize=function,alignment \
	-DUSE_ASSERT_CHECKING=1 -Wno-ignored-attributes -Wno-macro-redefined $define $($pg_config --cppflags) -Isrc -I"$($pg_config --includedir-server)" \
	test/fuzz/condition_fuzz.c test/fuzz/shim.c test/fuzz/shim_jsonb.c src/condition.c src/condition_json.c src/condition_gram.c src/condition_scan.c \
	-L"$($pg_config --pkglibdir)" -L"$($pg_config --libdir)" $($pg_config --ldflags) -lpgcommon -lpgport -lm -o "$build/$what"
# seeds: what the transcripts of the type, or of the casts, read
seeds() {
	if [ "$what" = json ]; then
		grep -o "'{[^']*}'" test/sql/condition_json.sql | sed "s/^'//; s/'\$//; /\"rules\"/!s/.*/{\"combinator\": \"and\", \"rules\": [&]}/"
	else
		grep -o "read(\$\$[^\$]*\$\$)\|read('[^']*')" test/sql/condition_type.sql | sed "s/^read(\(\$\$\|'\)//; s/\(\$\$\|'\))\$//"
	fi
}
n=0
seeds | while IFS= read -r line; do
	n=$((n + 1))
	{ [ "$what" != recv ] || printf '\001'; printf '%s' "$line"; } >"$build/corpus-$what/seed-$n"
done
exec "$build/$what" -dict="test/fuzz/$dict.dict" -max_len=2000 -timeout=10 -max_total_time="$seconds" \
	-artifact_prefix="$build/" -print_final_stats=1 "$build/corpus-$what"
