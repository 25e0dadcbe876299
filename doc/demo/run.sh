#!/bin/sh
# The demo of segment.  `make demo` calls it inside a throw-away server; it can also be called by hand
# on any server that has the extension: the connection is taken from PGHOST, PGPORT, PGUSER, PGPASSWORD.
#
#   doc/demo/run.sh                                     a Vietnamese shop, generated
#   DATA=/path/to/online_retail doc/demo/run.sh         the invoices of a real British wholesaler
#
# Everything happens in a new database, "demo", which stays when the script ends.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
data=${DATA:-}

# Numbers are printed with thousands separators and names with their accents, whatever the caller's locale.
export LC_ALL=C.UTF-8 PGCLIENTENCODING=UTF8 PGDATABASE=demo PAGER=
unset PGOPTIONS || true

fail() { echo "demo: $*" >&2; exit 1; }

if [ -n "$data" ]; then
    [ -f "$data/invoice_lines.csv.xz" ] || [ ! -f "$data/online_retail/invoice_lines.csv.xz" ] || data=$data/online_retail
    [ -f "$data/invoice_lines.csv.xz" ] || fail "no file invoice_lines.csv.xz in DATA=$data"
    command -v xz >/dev/null || fail "xz is needed to read the invoices (package xz-utils)"
    data=$(cd "$data" && pwd)
    export DEMO_FILE="$data/invoice_lines.csv.xz"
fi

# -X: the reader's ~/.psqlrc must not change what is shown.  The scripts come by standard input, so that notices of
# the server are printed without a file name and a line number in front.
play() { psql -X -q -v ON_ERROR_STOP=1 <"$here/$1"; }

# A demo must not touch a database that somebody else made.
createdb --maintenance-db=postgres --template=template0 --encoding=UTF8 --locale=C.UTF-8 "$PGDATABASE" \
    || fail "the database \"$PGDATABASE\" could not be made"

if [ -n "$data" ]; then
    play online_retail_shop.sql
    play online_retail_story.sql
else
    play vietnam_shop.sql
    play vietnam_story.sql
fi
