# Every SQL example of the documents runs, in the order of its page, on a fresh
# database; a block that begins with "-- new database" in one of its own.
use strict;
use warnings;
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = dirname(__FILE__) . '/../..';
my $node = PostgreSQL::Test::Cluster->new('documentation');
$node->init;
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;

my $databases = 0;

sub new_database
{
	my $name = 'page_' . ++$databases;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	return $name;
}

for my $page (qw(README.md doc/segment.md doc/conditions.md))
{
	my $text = slurp_file("$root/$page");
	my $database;
	my $line = 1;
	my $last = 0;

	while ($text =~ /^```sql\n(.*?)^```$/msg)
	{
		my $block = $1;
		$line += (substr($text, $last, $-[0] - $last) =~ tr/\n//);
		$last = $-[0];
		$database //= new_database();
		my ($code, undef, $errors) =
			$node->psql($block =~ /^-- new database/ ? new_database() : $database, $block, on_error_stop => 1);
		is($code, 0, "$page, line $line runs") or diag($errors);
	}
}

$node->stop;
done_testing();
