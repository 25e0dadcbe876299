#!/bin/sh
# Installs, by package name, what "make $1" (test, demo or bench) misses on a
# Debian machine, and nothing when nothing is missing.
set -eu
PG_CONFIG=${PG_CONFIG:-pg_config}

has() { command -v "$1" >/dev/null 2>&1; }

missing=
miss() { missing="$missing $1"; }

pgxs=$("$PG_CONFIG" --pgxs 2>/dev/null) || pgxs=
headers=$("$PG_CONFIG" --includedir-server 2>/dev/null) || headers=
if [ -f "$pgxs" ] && [ -f "$headers/postgres.h" ]; then
	major=$("$PG_CONFIG" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
	bindir=$("$PG_CONFIG" --bindir)
	sharedir=$("$PG_CONFIG" --sharedir)
else
	# A server without its headers says which version is wanted; else Debian does.
	major=
	for dir in /usr/lib/postgresql/[1-9][0-9]; do
		[ -d "$dir" ] && major=${dir##*/}
	done
	bindir=/usr/lib/postgresql/$major/bin
	sharedir=/usr/share/postgresql/$major
	miss postgresql-server-dev-MAJOR
fi

has gcc || miss gcc
has bison || miss bison         # the condition language
has flex || miss flex
[ -e /usr/include/stdio.h ] || miss libc6-dev
[ -x "$bindir/postgres" ] || miss postgresql-MAJOR
has xz || miss xz-utils         # the data sets of tests and demo are .xz files
if [ "$1" = test ]; then
	[ -e "$sharedir/extension/pgtap.control" ] || miss postgresql-MAJOR-pgtap
	has pg_prove || miss libtap-parser-sourcehandler-pgtap-perl
	perl -MIPC::Run -e1 2>/dev/null || miss libipc-run-perl
	[ -e "$sharedir/extension/pg_cron.control" ] || miss postgresql-MAJOR-cron
fi

[ -n "$missing" ] || exit 0

number() { echo "$missing" | sed "s/MAJOR/$1/g"; }
fail() {
	echo "$0: $1; please install:$(number "${major:-15}")" >&2
	exit 1
}

has apt-get || fail "not a Debian machine"
sudo=
if [ "$(id -u)" != 0 ]; then
	has sudo || fail "neither root nor sudo"
	sudo=sudo
fi
apt_install() {
	$sudo env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

$sudo apt-get update -qq
: "${major:=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)}"
packages=$(number "$major")
echo "missing, to be installed:$packages"

# With a new server package Debian also makes and starts a cluster "main";
# nobody asked for one. Say so for this installation only.
conf=/etc/postgresql-common/createcluster.conf
case "$packages " in
*" postgresql-$major "*)
	[ -e "$conf" ] || apt_install postgresql-common
	saved=$conf.before-segment
	trap '$sudo mv -f "$saved" "$conf"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	$sudo cp -p "$conf" "$saved"
	echo 'create_main_cluster = false' | $sudo tee -a "$conf" >/dev/null
	;;
esac

# shellcheck disable=SC2086 # one word a package
apt_install $packages
