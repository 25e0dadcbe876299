# Three years of orders of a real shop, partitioned by year, with text keys and
# once more with uuids: every figure and tier must equal plain SQL after the
# load, after a run of edits of every kind, and after a recalculation that finds
# nothing to write.
#
# AdventureWorks (Microsoft, MIT): 19,820 customers, 31,465 orders. The data are
# not part of the project:
#
#   SEGMENT_DATA=directory   holds adventureworks/{customers,orders}.csv.xz
#                            (default: ../shared/data beside the project)
#   SEGMENT_SEED=number      another mixture of edits

use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $root = "$FindBin::RealBin/../..";
my $data = ($ENV{SEGMENT_DATA} // "$root/../shared/data") . '/adventureworks';

for my $file ("$data/customers.csv.xz", "$data/orders.csv.xz")
{
	plan skip_all => "AdventureWorks is not here, or not readable: $file (set SEGMENT_DATA to its directory)" unless -r $file;
}
plan skip_all => 'AdventureWorks cannot be read without xz (package xz-utils)' if system('xz --version >/dev/null 2>&1') != 0;
$ENV{ADVENTUREWORKS} = $data;

my $seed = $ENV{SEGMENT_SEED} // 43659;
note("seed $seed");

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
# what waits for a disk is not what is tested here
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off");
$node->start;
my $can_merge = $node->safe_psql('postgres', 'SHOW server_version_num') >= 150000;

my $database;
my $scratch = "$PostgreSQL::Test::Utils::tmp_check/adventureworks";

for my $keys (
	{ name => 'text', key => q(SELECT 'AW' || lpad(id::text, 8, '0')) },
	{ name => 'uuid', key => q(SELECT md5('adventureworks customer ' || id)::uuid) })
{
	srand($seed);
	$database = "keys_$keys->{name}";
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	my $start = time;

	subtest "customers with $keys->{name} keys" => sub { a_shop($keys); };
	note(sprintf('%s keys: %.1f s', $keys->{name}, time - $start));
}

$node->stop;
done_testing();

# ---------------------------------------------------------------------------

sub a_shop
{
	my ($keys) = @_;

	run_psql('the empty shop is attached', '-v', "key_type=$keys->{name}", '-v', "key=$keys->{key}", '-f', "$root/test/adventureworks/shop.sql");
	is(answer('SELECT count(*), sum(total) FROM raw.orders'), '31465|123216786.1159', 'all raw orders are there');

	# Nine customers of ten come before their orders. Half of the orders are
	# copied to the table by its name, half to the partitions by theirs.
	my $customers = 'SELECT raw.key(id), store, first_name, last_name, email, phone, gender, birth_date, first_purchase, address, city, state, country FROM raw.customers';
	my $columns = '(id, store, first_name, last_name, email, phone, gender, birth_date, first_purchase, address, city, state, country)';
	my @copies = ([ "$customers WHERE id % 10 <> 0", "shop.customers $columns" ]);
	my $orders = 'SELECT number, at, raw.key(customer), online = 1, total FROM raw.orders';
	$columns = '(number, placed_at, customer, online, total)';
	push @copies, [ "$orders WHERE id % 2 = 0", "shop.orders $columns" ];
	push @copies, [ "$orders WHERE id % 2 = 1 AND extract(year FROM at) = $_", "shop.orders_$_ $columns" ] for 2011 .. 2013;
	push @copies, [ "$orders WHERE id % 2 = 1 AND extract(year FROM at) = 2014 AND online = 1", "shop.orders_2014_online $columns" ];
	push @copies, [ "$orders WHERE id % 2 = 1 AND extract(year FROM at) = 2014 AND online = 0", "shop.orders_2014 $columns" ];
	push @copies, [ "$customers WHERE id % 10 = 0", 'shop.customers (id, store, first_name, last_name, email, phone, gender, birth_date, first_purchase, address, city, state, country)' ];
	my $start = time;
	run_psql('everything is loaded by COPY', map { ('-c', "\\copy ($_->[0]) TO $scratch", '-c', "\\copy $_->[1] FROM $scratch") } @copies);
	note(sprintf('loaded in %.1f s', time - $start));
	unlink $scratch;

	is(answer('SELECT sum(number_of_orders), sum(amount_spent) FROM segment.customers'), '31465|123216786.1159', 'all orders count, to the last cent');
	is(answer('SELECT count(*), count(*) FILTER (WHERE number_of_orders = 0) FROM segment.customers'), '19820|701', 'all customers; those who never bought');
	is(answer('SELECT count(*) FROM segment.source_1 WHERE name IS NOT NULL AND octet_length(name) > length(name)'),
		answer(q(SELECT count(*) FROM raw.customers WHERE octet_length(first_name || ' ' || last_name) > length(first_name || ' ' || last_name))),
		'names with accents are read as they are written');
	is( answer(q(SELECT "custom.channel", count(*) FROM segment.source_2 WHERE counts GROUP BY 1 ORDER BY 1)),
		"sales|3806\nweb|27659", 'the channel of each order is in the mapping');
	all_is_right('after the load');

	# Edits one at a time, of orders picked by chance.
	my @numbers = map { 'SO' . $_ } split /\n/, answer('SELECT substr(number, 3) FROM raw.orders ORDER BY id');
	my @ids = split /\n/, answer('SELECT raw.key(id) FROM raw.customers ORDER BY id');
	my @script;
	for (1 .. 400)
	{
		my $number = one_of(@numbers);
		my $where = "WHERE number = '$number'";
		my $customer = one_of(@ids);
		push @script, one_of(
			"UPDATE shop.orders SET status = 'cancelled' $where;",
			"UPDATE shop.orders SET status = 'cancelled' WHERE customer = '$customer';",
			"UPDATE shop.orders SET status = 'complete' WHERE status = 'cancelled' AND number < '$number';",
			"UPDATE shop.orders SET total = total * 3 - 1000.0001 $where;",
			"UPDATE shop.orders SET total = " . one_of('NULL', "'NaN'", "'Infinity'", '0', '-5') . " $where;",
			"UPDATE shop.orders SET placed_at = placed_at + interval '" . one_of('1 year', '-1 year', '2 years', '-2 years', '20 years', '1 day') . "' $where;",
			"UPDATE shop.orders SET placed_at = placed_at - interval '1 year', customer = '$customer' $where;",
			"UPDATE shop.orders SET customer = " . one_of("'$customer'", 'NULL') . " $where;",
			"UPDATE shop.orders SET online = NOT online $where;",
			"DELETE FROM shop.orders $where;",
			"DELETE FROM shop.orders WHERE customer = '$customer';",
			"INSERT INTO shop.orders_2012 (number, placed_at, customer, online, total) VALUES ('$number-" . (int rand 1e6) . "', '2012-02-29 23:59:59', '$customer', true, 99.9999) ON CONFLICT DO NOTHING;",
			"INSERT INTO shop.orders (number, placed_at, customer, online, total) SELECT number || '-again', placed_at + interval '1 month', customer, online, total FROM shop.orders $where ON CONFLICT (number, placed_at, online) DO UPDATE SET total = excluded.total;",
			"UPDATE shop.customers SET deleted = NOT deleted WHERE id = '$customer';",
			"DELETE FROM shop.customers WHERE id = '$customer';",
			"INSERT INTO shop.customers (id) VALUES ('$customer') ON CONFLICT (id) DO UPDATE SET deleted = false;");
	}
	run_script('400 edits, one at a time', @script);
	all_is_right('after 400 edits');

	# Edits of many rows at once.
	my %bulk = (
		'a month is cancelled' => "UPDATE shop.orders SET status = 'cancelled' WHERE placed_at >= '2013-07-01' AND placed_at < '2013-08-01'",
		'a quarter moves to the next year' => "UPDATE shop.orders SET placed_at = placed_at + interval '1 year 7 seconds' WHERE placed_at >= '2013-01-01' AND placed_at < '2013-04-01'",
		'last year comes back' => "UPDATE shop.orders SET placed_at = placed_at - interval '1 year 7 seconds' WHERE placed_at >= '2014-06-01' AND number LIKE '%7'",
		'a partition is emptied' => 'TRUNCATE shop.orders_2011',
		'and filled again' => "INSERT INTO shop.orders_2011 (number, placed_at, customer, online, total) $orders WHERE extract(year FROM at) = 2011",
		'shops are shops no more' => 'UPDATE shop.customers SET deleted = true WHERE store IS NOT NULL',
		'all totals are rounded' => 'UPDATE shop.orders_2012 SET total = round(total)',
		'one row of nine goes' => "DELETE FROM shop.orders WHERE number LIKE '%3'",
		'keys of orders change' => "UPDATE shop.orders SET number = number || '*' WHERE number LIKE '%5'",
		'a partition between is emptied and the sale goes on' =>
			"BEGIN; TRUNCATE shop.orders_2014; INSERT INTO shop.orders (number, placed_at, customer, online, total) $orders WHERE at >= '2014-03-01' AND id % 3 = 0; COMMIT",
	);
	$bulk{'a merge that moves, inserts and deletes'} =
		"MERGE INTO shop.orders o USING (SELECT number, at, raw.key(customer) AS customer, total FROM raw.orders WHERE id % 20 = 0) r ON o.number = r.number "
	  . "WHEN MATCHED AND o.total < 100 THEN DELETE "
	  . "WHEN MATCHED THEN UPDATE SET placed_at = o.placed_at - interval '1 year', total = r.total "
	  . "WHEN NOT MATCHED THEN INSERT (number, placed_at, customer, online, total) VALUES (r.number, r.at + interval '1 year', r.customer, false, r.total)"
	  if $can_merge;
	for my $name (sort keys %bulk)
	{
		run_psql($name, '-c', $bulk{$name});
		all_is_right("after \"$name\"");
	}

	# The extension's own judgement, and nothing to mend.
	nothing('SELECT * FROM segment.verify()', 'verify() finds nothing');
	is(answer("SELECT count(*) FROM segment.sources WHERE stale"), 0, 'and nothing is stale');
	is(answer('SELECT count(*) FROM segment.left_out'),
		answer("SELECT count(*) FROM shop.orders WHERE status = 'complete' AND customer IS NOT NULL AND coalesce(total, 'NaN') IN ('NaN', 'Infinity')"),
		'odd amounts are listed');
	nothing(
		q(SELECT customer_id, ladder, tier FROM segment.customer_tiers WHERE tier IS NOT NULL
		  EXCEPT (SELECT DISTINCT ON (customer_id, ladder) customer_id, ladder, new_tier FROM segment.changes ORDER BY customer_id, ladder, version DESC)),
		'the tier held is the one of the last move');
	run_psql('every row is noted', '-c', 'CREATE TABLE proof.before AS TABLE proof.rows');
	is(answer('SELECT segment.recalculate()'), 0, 'recalculate() finds nothing to mend');
	nothing('TABLE proof.rows EXCEPT TABLE proof.before', 'and has written no row');
	nothing('TABLE proof.before EXCEPT TABLE proof.rows', 'nor deleted one');
	all_is_right('after the recalculation');
	return;
}

sub one_of { return $_[ int rand @_ ]; }

sub answer { return $node->safe_psql($database, $_[0]); }

sub run_psql
{
	my ($name, @arguments) = @_;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database), @arguments ], '>', \$out, '2>', \$err);
	ok($ok, $name);
	# the rest makes no sense after an error; notices are no error
	diag(substr($err, -2000)) if !$ok;
	die $name if !$ok;
	return;
}

sub run_script
{
	my ($name, @statements) = @_;
	my $file = "$PostgreSQL::Test::Utils::tmp_check/${database}_statements.sql";
	unlink $file;
	append_to_file($file, join("\n", @statements) . "\n");
	run_psql($name, '-f', $file);
	return;
}

# No row is right; else the first ones are shown.
sub nothing
{
	my ($query, $name) = @_;
	my $rows = answer("SELECT * FROM ($query) AS q LIMIT 5");
	is($rows, '', $name);
	diag("seed $seed, database $database") if $rows ne '';
	return;
}

sub all_is_right
{
	my ($when) = @_;
	for my $what ('figures', 'tiers')
	{
		nothing("TABLE proof.expected_$what EXCEPT ALL TABLE proof.$what", "$what equal plain SQL $when: nothing is missing");
		nothing("TABLE proof.$what EXCEPT ALL TABLE proof.expected_$what", "$what equal plain SQL $when: nothing is too much");
	}
	return;
}
