# A big shop is attached while it sells: attach with fill => false, then
# recalculate_in_batches(), which is cancelled, terminated and killed on its way
# and called again until it ends. No sale fails, whoever is said to be exact is
# exact, and at the end everybody is.
#
#   SEGMENT_SEED=number      other moments of interruption

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(sleep time);

use lib "$FindBin::RealBin/../random";
use LongCall;
use Tills;

my $seed = $ENV{SEGMENT_SEED} // 50000;
srand($seed);
note("seed $seed");

my $node = PostgreSQL::Test::Cluster->new('live');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\nrestart_after_crash = on\nmax_wal_size = 4GB\nlog_min_duration_statement = -1");
$node->start;
my $database;

# ---------------------------------------------------------------------------
# Four tills. $customers and $orders: how many there are. While a source is
# attached, a sale may wait for it longer than it wants to.

sub open_tills
{
	my ($customers, $orders, $with_lines) = @_;
	my $choose = "\\set c random(1, $customers)\n\\set d random(1, $customers)\n\\set o random(1, $orders)\n\\set n random(1, 9)\n";
	my %script = (
		'sale' => [ 8, "INSERT INTO shop.orders (customer_id, total) VALUES (:c, :n * 100000);" ],
		'cart' => [ 2, "BEGIN;\nINSERT INTO shop.orders (customer_id, total, status) VALUES (:c, :n * 100000, 'cart');\n"
			  . "UPDATE shop.orders SET status = 'done' WHERE id = currval('shop.orders_id_seq');\nCOMMIT;" ],
		'cancellation' => [ 3, "UPDATE shop.orders SET status = 'cancelled' WHERE id = :o;" ],
		'cancellation_taken_back' => [ 2, "UPDATE shop.orders SET status = 'done' WHERE id = :o + 1 AND status = 'cancelled';" ],
		'edit' => [ 3, "UPDATE shop.orders SET total = total + :n * 1000, at = at - interval '1 hour' WHERE id = :o;" ],
		'move' => [ 2, "UPDATE shop.orders SET customer_id = :c WHERE id IN (:o, :o + 7);" ],
		'deletion' => [ 1, "DELETE FROM shop.orders WHERE id = :o;" ],
		'new_customer' => [ 2, "BEGIN;\nINSERT INTO shop.customers DEFAULT VALUES;\n"
			  . "INSERT INTO shop.orders (customer_id, total) VALUES (currval('shop.customers_id_seq'), :n * 2000000);\nCOMMIT;" ],
		'customer_leaves' => [ 1, "UPDATE shop.customers SET deleted = NOT deleted WHERE id = :d;" ],
		'change_of_mind' => [ 1, "BEGIN;\nINSERT INTO shop.orders (customer_id, total) VALUES (:c, 99999999);\nROLLBACK;" ]);
	if ($with_lines)
	{
		$script{'lines'} = [ 6, "INSERT INTO shop.lines SELECT :o, :n FROM generate_series(1, 2);" ];
		$script{'lines_go'} = [ 2, "DELETE FROM shop.lines WHERE order_id = :o AND quantity = :n;" ];
		$script{'lines_change'} = [ 2, "UPDATE shop.lines SET quantity = quantity + 1 WHERE order_id = :o;" ];
		$script{'return'} = [ 2, "INSERT INTO shop.returns (order_id, refund) VALUES (:o, :n * 10000);" ];
		$script{'return_goes'} = [ 1, "DELETE FROM shop.returns WHERE order_id = :o + 3;" ];
	}
	return Tills->open(node => $node, database => $database, choose => $choose, scripts => \%script, expected => ['canceling statement due to lock timeout']);
}

# ---------------------------------------------------------------------------
# The filling.

sub start_filling
{
	my ($size) = @_;
	return LongCall->start(node => $node, database => $database, sql => "CALL segment.recalculate_in_batches(batch_size => $size)", told => qr/INFO:  recalculated/);
}

# Who is exact already, and who of them is not what plain SQL says at that very moment.
sub look
{
	my ($when) = @_;
	my ($exact, $all, $wrong) = split /\|/, answer("BEGIN ISOLATION LEVEL REPEATABLE READ; TABLE proof.looked; COMMIT;");
	is($wrong, 0, "$when: whoever is said to be exact is exact ($exact of $all)");
	return ($exact, $all);
}

# Interrupt the filling as often as there are ways, at moments chosen by chance, then let it end.
sub fill
{
	my ($size, @ways) = @_;
	my ($most, $seen_part) = (0, 0);
	for my $way (@ways, '')
	{
		my $start = time;
		my $filling = start_filling($size);
		if ($way ne '')
		{
			# some batches on, and then anywhere in the next one
			$filling->let_run(1 + int rand 4);
			sleep rand() * 0.1;
			my $done = !$filling->interrupt($way);
			$filling->finish;
			note(sprintf('%s after %.1f s and %d batches', $done ? 'it had ended' : $way, time - $start, $filling->batches));
			my ($exact, $all) = look("after $way");
			cmp_ok($exact, '>=', $most * 0.99, "after $way: what was done stays done");
			$most = $exact;
			$seen_part ||= $exact > 0 && $exact < $all;
		}
		else
		{
			while ($filling->runs)
			{
				look('while it is filled');
				sleep 0.3;
			}
			my $ended = $filling->finish;
			ok($ended, 'and called once more it ends');
			diag($filling->{err}) if !$ended;
			my @told = $filling->{err} =~ /^INFO:  (recalculated .*)$/mg;
			note(sprintf('%.1f s for the rest; %s', time - $start, $told[-1] // 'nothing was left'));
		}
	}
	ok($seen_part, 'there was a moment when some were exact and others not');
	return;
}

sub nothing_is_left
{
	my ($name) = @_;
	is(answer('SELECT count(*) FROM segment.verify()'), 0, "$name: verify() finds nothing");
	diag(answer('SELECT * FROM segment.verify() LIMIT 5')) if answer('SELECT count(*) FROM segment.verify()');
	is(answer("SELECT count(*) FROM segment.status() WHERE state = 'stale'"), 0, "$name: nothing is stale");
	is(answer('SELECT count(*) FROM segment.customers WHERE stale'), 0, "$name: nobody is");
	is(answer('SELECT count(*) FROM proof.expected'), answer('SELECT count(*) FROM segment.customers'), "$name: everybody is there");
	is(answer('SELECT count(*) FROM (TABLE proof.expected EXCEPT TABLE proof.figures) d'), 0, "$name: all figures equal plain SQL");
	is( answer(q(SELECT count(*) FROM segment.customer_tiers WHERE tier IS DISTINCT FROM
			CASE WHEN value >= 3000000 THEN 'gold' WHEN value >= 1000000 THEN 'silver' ELSE 'member' END)),
		0, "$name: so do the tiers");
	is(answer('SELECT count(*) FROM segment.attachments WHERE filling'), 0, "$name: no source is being filled any more");
	is(answer('SELECT segment.recalculate()'), 0, "$name: recalculate() finds nothing to mend");
	return;
}

# ---------------------------------------------------------------------------

sub open_shop
{
	my ($name, $customers, $orders, $lines) = @_;
	$database = $name;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, qq{
		CREATE SCHEMA shop;
		CREATE TABLE shop.customers (id serial PRIMARY KEY, deleted boolean NOT NULL DEFAULT false);
		CREATE TABLE shop.orders (id serial PRIMARY KEY, customer_id integer, total numeric NOT NULL, status text NOT NULL DEFAULT 'done',
			at timestamptz NOT NULL DEFAULT now());
		CREATE TABLE shop.lines (order_id integer, quantity integer NOT NULL);
		CREATE TABLE shop.returns (id serial PRIMARY KEY, order_id integer, refund numeric NOT NULL, at timestamptz NOT NULL DEFAULT now());
		INSERT INTO shop.customers (deleted) SELECT g % 50 = 0 FROM generate_series(1, $customers) g;
		INSERT INTO shop.orders (customer_id, total, status, at)
			SELECT CASE WHEN g % 40 > 0 THEN 1 + (g * 7919::bigint) % ($customers + 100) END, (g % 97) * 10000,
				CASE WHEN g % 11 = 0 THEN 'cancelled' ELSE 'done' END, timestamptz '2025-01-01 00:00+07' + g * interval '2 minutes'
			FROM generate_series(1, $orders) g;
		INSERT INTO shop.lines SELECT 1 + g % $orders, 1 + g % 5 FROM generate_series(1, $lines) g;
		INSERT INTO shop.returns (order_id, refund) SELECT g * 5, 10000 FROM generate_series(1, $orders / 10) g;
		CREATE INDEX ON shop.orders (customer_id, at);
		CREATE INDEX ON shop.lines (order_id);
		CREATE INDEX ON shop.returns (order_id);
		ANALYZE;
		CREATE EXTENSION segment;
	});
	return;
}

# Views for the looks; they can be made once customers are attached.
sub ready_to_look
{
	my ($with_lines) = @_;
	my $lines = $with_lines ? 'SELECT customer_id, sum(quantity) AS n FROM shop.lines JOIN shop.orders o ON o.id = order_id WHERE status = \'done\' GROUP BY 1'
		: 'SELECT 0 AS customer_id, 0 AS n';
	my $returns = $with_lines ? 'SELECT customer_id, count(*) AS n, sum(refund) AS amount FROM shop.returns JOIN shop.orders o ON o.id = order_id WHERE status = \'done\' GROUP BY 1'
		: 'SELECT 0 AS customer_id, 0 AS n, 0 AS amount';
	$node->safe_psql($database, qq{
		CREATE SCHEMA proof;
		CREATE VIEW proof.expected AS
			SELECT c.id AS customer_id, coalesce(o.n, 0) AS number_of_orders, coalesce(o.amount, 0) AS amount_ordered, o.first, o.last,
				   coalesce(l.n, 0) AS items_bought, coalesce(r.n, 0) AS number_of_returns, coalesce(r.amount, 0) AS amount_returned
			FROM shop.customers c
				LEFT JOIN (SELECT customer_id, count(*) AS n, sum(total) AS amount, (min(at) AT TIME ZONE 'Asia/Ho_Chi_Minh')::date AS first,
								  (max(at) AT TIME ZONE 'Asia/Ho_Chi_Minh')::date AS last
						   FROM shop.orders WHERE status = 'done' GROUP BY 1) o ON o.customer_id = c.id
				LEFT JOIN ($lines) l ON l.customer_id = c.id
				LEFT JOIN ($returns) r ON r.customer_id = c.id
			WHERE NOT c.deleted;
		CREATE VIEW proof.figures AS
			SELECT customer_id, number_of_orders, amount_ordered, first_order_date, last_order_date, items_bought, number_of_returns, amount_returned
			FROM segment.customers;
		CREATE VIEW proof.looked AS
			SELECT (SELECT count(*) FROM segment.customers WHERE NOT stale) AS exact, (SELECT count(*) FROM segment.customers) AS everybody,
				   (SELECT count(*) FROM (SELECT customer_id, number_of_orders, amount_ordered, first_order_date, last_order_date, items_bought,
												 number_of_returns, amount_returned FROM segment.customers WHERE NOT stale
										  EXCEPT TABLE proof.expected) d) AS wrong;
		INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES
			('member', 'Member', 0, 999999), ('silver', 'Silver', 1000000, 2999999), ('gold', 'Gold', 3000000, NULL);
	});
	return;
}

# How long somebody who attaches keeps the tills waiting: at most the whole call.
sub attach
{
	my ($call) = @_;
	my $start = time;
	my ($code, undef, $err) = $node->psql($database, "SET client_min_messages = warning; SELECT segment.$call");
	is($code, 0, "while it sells: $call") or diag($err);
	note(sprintf('%s: %.0f ms', $call =~ s/\(.*//r, 1000 * (time - $start)));
	return;
}

# 50,000 customers who are attached already, 200,000 orders that are not.
open_shop('orders', 50_000, 200_000, 0);
$node->safe_psql($database, q{SELECT segment.attach_customers('shop.customers', key => 'id', counted_when => 'NOT deleted')});
ready_to_look(0);
my $tills = open_tills(50_000, 200_000, 0);
sleep 1;
attach(q{attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', counted_when => $$status = 'done'$$, fill => false)});
my ($exact) = look('attached, not filled');
fill(2000, 'pg_cancel_backend', 'pg_terminate_backend', 'kill -9', 'pg_terminate_backend', 'pg_cancel_backend');
sleep 0.5;
$tills->shut;
nothing_is_left('orders');

# A shop of which nothing is attached; everything is, one after the other, and filled at once.
open_shop('everything', 5_000, 20_000, 40_000);
$tills = open_tills(5_000, 20_000, 1);
sleep 0.5;
attach(q{attach_customers('shop.customers', key => 'id', counted_when => 'NOT deleted', fill => false)});
ready_to_look(1);
attach(q{attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', counted_when => $$status = 'done'$$, fill => false)});
attach(q{attach_order_lines('shop.lines', order_key => 'order_id', quantity => 'quantity', fill => false)});
attach(q{attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'refund', at => 'at', fill => false)});
look('attached, not filled');
fill(300, 'pg_terminate_backend', 'pg_cancel_backend', 'pg_terminate_backend');
sleep 0.5;
$tills->shut;
nothing_is_left('everything');

$node->stop;
done_testing();

# ---------------------------------------------------------------------------

sub answer { return $node->safe_psql($database, $_[0]); }
