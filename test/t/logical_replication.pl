# Logical replication. On a subscriber whose tables are attached, what arrives is
# not followed: the initial copy and every streamed transaction mark the sources
# stale, verify() names exactly the customers, recalculate() makes it right. On a
# publisher whose tables are attached everything stays exact.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @init = (extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical', @init);
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical', @init);
$subscriber->start;

# On the subscriber orders are partitioned: changes are routed to partitions there.
my $customers = 'CREATE TABLE shop.customers (id int PRIMARY KEY)';
my $orders = 'CREATE TABLE shop.orders (id int, customer_id int, total numeric, at timestamptz, PRIMARY KEY (id, at))';
my $returns = 'CREATE TABLE shop.returns (id int PRIMARY KEY, customer_id int, amount numeric, at timestamptz)';

sub attach
{
	my ($node) = @_;
	$node->safe_psql('postgres', <<'END');
SET client_min_messages = warning;
CREATE EXTENSION segment;
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', customer => 'customer_id', amount => 'total', at => 'at');
SELECT segment.attach_returns('shop.returns', key => 'id', customer => 'customer_id', amount => 'amount', at => 'at');
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('member', 'Member', 0, 999), ('gold', 'Gold', 1000, NULL);
END
}

# Roles of the sources that are stale, and customers whose figures are wrong.
sub stale { $_[0]->safe_psql('postgres', "SELECT string_agg(role, ' ' ORDER BY role) FROM segment.sources WHERE stale") }
sub wrong { $_[0]->safe_psql('postgres', "SELECT string_agg(DISTINCT customer_id::text, ' ') FROM segment.verify()") }

sub recalculate
{
	my ($node) = @_;
	$node->safe_psql('postgres', 'SELECT segment.recalculate()');
	is(stale($node), '', 'recalculate() clears the marks');
	is(wrong($node), '', 'and everything is right');
}

sub published
{
	my ($sql) = @_;
	$publisher->safe_psql('postgres', $sql);
	$publisher->wait_for_catchup('shop');
}

$publisher->safe_psql('postgres', <<"END");
CREATE SCHEMA shop;
$customers;
$orders;
$returns;
INSERT INTO shop.customers SELECT generate_series(1, 3);
INSERT INTO shop.orders VALUES (1, 1, 1500, '2025-05-05'), (2, 2, 200, '2026-05-05');
CREATE PUBLICATION shop FOR TABLE shop.customers, shop.orders, shop.returns;
END
$subscriber->safe_psql('postgres', <<"END");
CREATE SCHEMA shop;
$customers;
$orders PARTITION BY RANGE (at);
CREATE TABLE shop.orders_2025 PARTITION OF shop.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE shop.orders_2026 PARTITION OF shop.orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
$returns;
END
attach($subscriber);
is(stale($subscriber), '', 'nothing is stale before anything was replicated');

# The initial copy: customers and orders have rows, returns have none.
my $connection = $publisher->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION shop CONNECTION '$connection' PUBLICATION shop");
$publisher->wait_for_catchup('shop');
$subscriber->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')")
  or die 'tables are not synchronized';
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM shop.orders'), 2, 'the initial copy has arrived');
is(stale($subscriber), 'customers orders', 'it marks the tables into which it wrote');
is(wrong($subscriber), '1 2 3', 'and verify() names the customers');
recalculate($subscriber);
is($subscriber->safe_psql('postgres', "SELECT string_agg(customer_id || ' ' || tier, ', ' ORDER BY customer_id) FROM segment.customer_tier"),
	'1 gold, 2 member, 3 member', 'tiers are right');

# Streaming: one source and the customers of that transaction, each time.
published("INSERT INTO shop.orders VALUES (3, 3, 2000, '2026-06-06')");
is(stale($subscriber), 'orders', 'a streamed order marks the orders');
is(wrong($subscriber), '3', 'and is that of the customer named');
recalculate($subscriber);
published("INSERT INTO shop.returns VALUES (1, 1, 600, '2026-07-01'), (2, 2, 1, '2026-07-01')");
is(stale($subscriber), 'returns', 'streamed returns');
is(wrong($subscriber), '1 2', 'their customers');
recalculate($subscriber);
published("BEGIN; UPDATE shop.orders SET total = 1 WHERE id = 1; DELETE FROM shop.returns WHERE id = 2; COMMIT");
is(stale($subscriber), 'orders returns', 'an update and a delete in one transaction');
is(wrong($subscriber), '1 2', 'their customers');
recalculate($subscriber);
published("UPDATE shop.orders SET at = '2025-06-06' WHERE id = 3");
is(stale($subscriber), 'orders', 'a row that moves to another partition');
recalculate($subscriber);
published('TRUNCATE shop.returns');
is(stale($subscriber), 'returns', 'TRUNCATE');
recalculate($subscriber);
published("BEGIN; SAVEPOINT s; INSERT INTO shop.orders VALUES (9, 1, 1, '2026-01-01'); ROLLBACK TO s; COMMIT");
is(stale($subscriber), '', 'what was rolled back marks nothing');
$subscriber->safe_psql('postgres',
	"CREATE TABLE shop.orders_2027 PARTITION OF shop.orders FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')");
published("INSERT INTO shop.orders VALUES (4, 2, 5000, '2027-01-01')");
is(stale($subscriber), 'orders', 'a row for a partition that was made later');
is(wrong($subscriber), '2', 'its customer');
recalculate($subscriber);

# What is written on the subscriber itself is followed as ever.
$subscriber->safe_psql('postgres', 'INSERT INTO shop.customers VALUES (100)');
is(stale($subscriber), '', 'rows of its own mark nothing');
is(wrong($subscriber), '', 'and are followed');

# A publisher whose own tables are attached stays exact, and so does a subscriber
# that knows nothing of segment.
attach($publisher);
$subscriber->safe_psql('postgres', "SET client_min_messages = warning; DROP EXTENSION segment CASCADE");
published("INSERT INTO shop.customers VALUES (4); INSERT INTO shop.orders VALUES (5, 4, 1200, '2026-01-01');
	UPDATE shop.orders SET total = total + 1; DELETE FROM shop.orders WHERE id = 2");
is(stale($publisher), '', 'nothing is stale on the publisher');
is(wrong($publisher), '', 'where every row is followed');
is($publisher->safe_psql('postgres', 'SELECT tier FROM segment.customer_tier WHERE customer_id = 4'), 'gold', 'to the tier');
is($subscriber->safe_psql('postgres', 'SELECT string_agg(o::text, \' \' ORDER BY o) FROM shop.orders o'),
	$publisher->safe_psql('postgres', 'SELECT string_agg(o::text, \' \' ORDER BY o) FROM shop.orders o'),
	'the subscriber has the same rows');

$subscriber->stop;
$publisher->stop;
done_testing();
