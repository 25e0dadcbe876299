# Texts, phones and regions compare alike in every database locale: the regression
# tests of both are run in databases of several, and must print the same.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";
my @tests = qw(text_fold phones regions);

# Locales that this machine has not are made in a folder of our own, where that
# is possible: glibc then looks nowhere else.
my $locales = PostgreSQL::Test::Utils::tempdir();
for ([ 'vi_VN.UTF-8', 'vi_VN' ], [ 'tr_TR.UTF-8', 'tr_TR' ], [ 'C.UTF-8', 'C' ])
{
	my ($name, $source) = @$_;
	my $quiet;
	eval { IPC::Run::run([ 'localedef', '-i', $source, '-f', 'UTF-8', "$locales/$name" ], '>&', \$quiet) };
}
$ENV{LOCPATH} = $locales if -d "$locales/C.UTF-8";

my $node = PostgreSQL::Test::Cluster->new('locales');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');

# What pg_regress would make of a file: echoed, on standard input.
sub transcript
{
	my ($database, $test) = @_;
	local $ENV{PGCLIENTENCODING} = 'UTF8';
	my $output;
	IPC::Run::run([ 'psql', '-X', '-a', '-q', '-d', $node->connstr($database) ],
		'<', "$root/test/sql/$test.sql", '>&', \$output)
	  or die "psql failed";
	return $output;
}

sub expected
{
	return slurp_file("$root/expected/$_[0].out");
}

my %databases = (
	'C' => "LOCALE 'C'",
	'C.UTF-8' => "LOCALE 'C.UTF-8'",
	'vi_VN.UTF-8' => "LOCALE 'vi_VN.UTF-8'",
	'tr_TR.UTF-8' => "LOCALE 'tr_TR.UTF-8'",
	$version >= 150000 ? ('ICU vi' => "LOCALE_PROVIDER icu ICU_LOCALE 'vi' LOCALE 'C'") : (),
	$version >= 150000 ? ('ICU tr' => "LOCALE_PROVIDER icu ICU_LOCALE 'tr' LOCALE 'C.UTF-8'") : (),
	$version >= 170000 ? ('builtin' => "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'") : (),
);

my $n = 0;
for my $name (sort keys %databases)
{
  SKIP:
	{
		my $database = 'locale_' . ++$n;
		my ($status, undef, $error) =
		  $node->psql('postgres', "CREATE DATABASE $database TEMPLATE template0 ENCODING 'UTF8' $databases{$name}");
		skip "no locale $name here: $error", scalar @tests if $status != 0;
		note "$name: lower('Đ I') is " . $node->safe_psql($database, "SELECT lower('Đ I')");
		$node->safe_psql($database, 'CREATE EXTENSION segment');
		is(transcript($database, $_), expected($_), "$name: $_") for @tests;
	}
}
$node->stop;
done_testing();
