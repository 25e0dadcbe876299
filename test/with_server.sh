#!/bin/bash
# with_server.sh [-k database] [-o setting=value]... -- command...
#
# Builds the extension, starts a throw-away PostgreSQL server that can install
# it, runs the command with PGHOST, PGPORT and PGUSER pointing there, and takes
# everything away again. Nothing is installed into /usr. The server listens on a
# Unix socket in its own directory and on no port, so it cannot meet another one.
#
# -k keeps the server and prints how to reach that database, how to remove it all.
#
# The command also finds:
#   SERVER_DIR   a temporary directory that it may write to
#   SERVER_USER  who runs the server, where that is somebody else (we are root)
#   TEMP_CONFIG  settings with which any other server finds the extension;
#                PostgreSQL::Test::Cluster reads this variable by itself
#
# One test alone: test/with_server.sh make installcheck ISOLATION= REGRESS=name
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

keep='' settings=()
while getopts k:o: option; do
	case $option in
	k) keep=$OPTARG ;;
	o) settings+=("$OPTARG") ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))

# The caller's job server and libpq variables stay outside; PG_CONFIG is ours.
unset MAKEFLAGS MFLAGS MAKELEVEL
for variable in ${!PG@}; do
	case $variable in PG_* | PGTAP*) ;; *) unset "$variable" ;; esac
done
export PG_CONFIG=${PG_CONFIG:-pg_config}
bindir=$("$PG_CONFIG" --bindir)
libdir=$("$PG_CONFIG" --pkglibdir)
sharedir=$("$PG_CONFIG" --sharedir)
export PATH="$bindir:$PATH"

# A server refuses to run as root; as anybody else it runs as that user.
# It must be able to enter the directory (libpam-tmpdir's TMPDIR is private).
base=${TMPDIR:-/tmp}
export SERVER_USER=''
if [ "$(id -u)" = 0 ]; then
	SERVER_USER=postgres
	runuser -u "$SERVER_USER" -- test -x "$base" || base=/tmp
fi
SERVER_DIR=$(mktemp -d "$base/segment.XXXXXX")
export SERVER_DIR
server=$SERVER_DIR/server
log=$server/log

as_server() {
	(cd "$SERVER_DIR" && exec ${SERVER_USER:+runuser -u "$SERVER_USER" --} "$@")
}

finish() {
	local status=$?
	trap - EXIT INT TERM HUP
	set +e
	if [ "$status" != 0 ] && grep -qsE 'PANIC|was terminated by signal' "$log"; then
		echo "the server crashed; the end of its log:" >&2
		tail -n 40 "$log" >&2
	fi
	if [ -n "$keep" ] && [ -e "$server/data/postmaster.pid" ]; then
		cat >"$SERVER_DIR/remove" <<-END
			cd / || exit
			${SERVER_USER:+runuser -u $SERVER_USER -- }$bindir/pg_ctl -D $server/data -m immediate stop
			rm -rf $SERVER_DIR
		END
		cat <<-END

			The server stays up until you remove it.
			  connect:  ${SUDO_USER:+sudo }$bindir/psql -h $PGHOST -U $PGUSER -d $keep
			  remove:   ${SUDO_USER:+sudo }sh $SERVER_DIR/remove
		END
		exit "$status"
	fi
	# Ours, and those of TAP tests that were interrupted.
	find "$SERVER_DIR" "$PWD/tmp_check" -name postmaster.pid 2>/dev/null | while read -r pidfile; do
		as_server pg_ctl -s -D "${pidfile%/*}" -m immediate stop </dev/null
	done
	rm -rf "$SERVER_DIR"
	# What root built in another user's tree belongs to that user.
	if [ "$(id -u)" = 0 ] && [ "$(stat -c %u .)" != 0 ]; then
		find . -path ./.git -prune -o -user root -exec chown -h --reference=. {} +
	fi
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

make=${MAKE:-make}
chmod 755 "$SERVER_DIR"
"$make" -s -j"$(nproc)"
"$make" -s install DESTDIR="$SERVER_DIR/inst" >/dev/null

mkdir -m 700 "$server"
[ -z "$SERVER_USER" ] || chown "$SERVER_USER:" "$server"
as_server initdb -D "$server/data" -U postgres -A trust -N \
	--encoding=UTF8 --locale=C.UTF-8 >"$SERVER_DIR/initdb.log" 2>&1 ||
	{ cat "$SERVER_DIR/initdb.log" >&2; exit 1; }

# How a server learns of an extension outside its own tree: Debian's servers by
# extension_destdir, others from PostgreSQL 18 on by extension_control_path.
export TEMP_CONFIG=$SERVER_DIR/temp.conf
if as_server postgres -D "$server/data" -C extension_destdir >/dev/null 2>&1; then
	echo "extension_destdir = '$SERVER_DIR/inst'"
elif as_server postgres -D "$server/data" -C extension_control_path >/dev/null 2>&1; then
	echo "extension_control_path = '$SERVER_DIR/inst$sharedir:\$system'"
else
	echo "$0: $bindir/postgres cannot load an extension from elsewhere;" \
		"use make install and make installcheck" >&2
	exit 1
fi >"$TEMP_CONFIG"
echo "dynamic_library_path = '$SERVER_DIR/inst$libdir:\$libdir'" >>"$TEMP_CONFIG"

as_server tee -a "$server/data/postgresql.conf" <<END >/dev/null
listen_addresses = ''
unix_socket_directories = '$server'
max_prepared_transactions = 10
include '$TEMP_CONFIG'
END
for setting in "${settings[@]}"; do
	echo "$setting" | as_server tee -a "$server/data/postgresql.conf" >/dev/null
done

as_server pg_ctl -s -w -D "$server/data" -l "$log" start || { cat "$log" >&2; exit 1; }

export PGHOST=$server PGPORT=5432 PGUSER=postgres PGDATABASE=postgres PSQLRC=/dev/null
export PGCLIENTENCODING=UTF8
"$@"
