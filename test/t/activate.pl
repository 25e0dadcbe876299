# Groups are activated in a big shop while it sells: segment.activate() is
# cancelled, terminated and killed on its way and called again until it ends. No
# sale fails, until the condition is in force the members are those of the old
# one, and then those of the new one.
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

my $node = PostgreSQL::Test::Cluster->new('activate');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\nrestart_after_crash = on\nmax_wal_size = 4GB\nlog_min_duration_statement = -1");
$node->start;
my ($customers, $orders) = (50_000, 200_000);
my $lock_timeout = 5;    # seconds, segment.lock_timeout

# ---------------------------------------------------------------------------
# Four tills, each statement of which touches one customer's row at a time or
# several in any order.

sub open_tills
{
	my $choose = "\\set c random(1, $customers)\n\\set o random(1, $orders)\n\\set n random(1, 9)\n";
	my %script = (
		'sale' => [ 10, "INSERT INTO shop.orders (customer_id, total) VALUES (:c, :n * 100000);" ],
		'cart' => [ 2, "BEGIN;\nINSERT INTO shop.orders (customer_id, total) VALUES (:c, :n * 100000);\n"
			  . "UPDATE shop.orders SET total = total + 1 WHERE id = currval('shop.orders_id_seq');\nCOMMIT;" ],
		'exact_sale' => [ 2, "BEGIN ISOLATION LEVEL REPEATABLE READ;\nINSERT INTO shop.orders (customer_id, total) VALUES (:c, :n * 100000);\nCOMMIT;" ],
		'edit' => [ 3, "UPDATE shop.orders SET total = total + :n * 1000, at = at - interval '30 days' WHERE id = :o;" ],
		'move' => [ 2, "UPDATE shop.orders SET customer_id = :c WHERE id IN (:o, :o + 7);" ],
		'deletion' => [ 2, "DELETE FROM shop.orders WHERE id = :o;" ],
		'all_go' => [ 1, "DELETE FROM shop.orders WHERE customer_id = :c;" ],
		'tag' => [ 2, "UPDATE shop.customers SET tags = CASE WHEN tags IS NULL THEN '{vip}'::text[] END WHERE id = :c;" ],
		'new_customer' => [ 2, "BEGIN;\nINSERT INTO shop.customers DEFAULT VALUES;\n"
			  . "INSERT INTO shop.orders (customer_id, total) VALUES (currval('shop.customers_id_seq'), :n * 2000000);\nCOMMIT;" ],
		'customer_leaves' => [ 1, "UPDATE shop.customers SET deleted = NOT deleted WHERE id = :c;" ],
		'change_of_mind' => [ 1, "BEGIN;\nINSERT INTO shop.orders (customer_id, total) VALUES (:c, 99999999);\nROLLBACK;" ]);
	return Tills->open(node => $node, database => 'shop', choose => $choose, scripts => \%script);
}

# ---------------------------------------------------------------------------
# Activations.

sub answer { return $node->safe_psql('shop', $_[0]); }

# Members, and how many of them and of those of a condition are not in the other, at one moment.
sub differences
{
	my ($group, $condition) = @_;
	my $sql = answer("SELECT segment.to_sql(\$\$$condition\$\$)");
	return answer(
		"WITH judged AS (SELECT customer_id FROM segment.members WHERE group_code = '$group'), defined(customer_id) AS ($sql)
		SELECT count(*) FROM ((TABLE judged EXCEPT TABLE defined) UNION ALL (TABLE defined EXCEPT TABLE judged)) d");
}

sub start
{
	my ($call) = @_;
	return LongCall->start(node => $node, database => 'shop', sql => $call, told => qr/NOTICE:  judged/);
}

sub is_pending { return answer("SELECT count(*) FROM segment.pending_groups p JOIN segment.groups g ON g.id = p.group_id WHERE g.code = '$_[0]'"); }

# Interrupt a call as often as there are ways, at moments chosen by chance, then let it end.
sub activate
{
	my ($group, $old, $new, @ways) = @_;
	my $call = "CALL segment.activate('$group', \$\$$new\$\$, batch_size => 500)";
	my $left = $customers * 2;
	for my $way (@ways)
	{
		my $start = time;
		my $running = start($call);
		$running->let_run(1 + int rand 8);
		sleep rand() * 0.1;
		my $done = !$running->interrupt($way);
		$running->finish;
		note(sprintf('%s: %s after %.1f s and %d batches', $group, $done ? 'it had ended' : $way, time - $start, $running->batches));
		next if $done || !is_pending($group);
		is(differences($group, $old), 0, "$group, after $way: who is in it is by the old condition");
		my $now = answer("SELECT rows FROM segment.status() WHERE item = 'activation'");
		cmp_ok($now, '<=', $left + 1000, "$group, after $way: what was done stays done, $now are left");
		$left = $now;
		# now and then it is given up, and begun anew
		next if rand() > 0.2;
		answer("CALL segment.cancel_activation('$group')");
		is(differences($group, $old), 0, "$group, given up: who is in it is by the old condition");
		$left = $customers * 2;
	}
	my $start = time;
	my $running = start($call);
	my $looks = 0;
	while (is_pending($group) || !$looks)
	{
		# the look tells nothing when it came into force meanwhile
		my $wrong = differences($group, $old);
		last if !is_pending($group);
		is($wrong, 0, "$group, while it is activated: who is in it is by the old condition");
		$looks++;
		sleep 0.2;
	}
	my $ended = $running->finish;
	ok($ended, "$group: and called once more it ends") or diag($running->{err});
	note(sprintf('%s: %.1f s for the rest; %s', $group, time - $start, $running->{err} =~ /^NOTICE:  (group .*)$/m));
	is(differences($group, $new), 0, "$group: who is in it is by the new condition");
	return;
}

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', qq{
	CREATE SCHEMA shop;
	CREATE TABLE shop.customers (id serial PRIMARY KEY, deleted boolean NOT NULL DEFAULT false, tags text[]);
	CREATE TABLE shop.orders (id serial PRIMARY KEY, customer_id integer, total numeric NOT NULL, at timestamptz NOT NULL DEFAULT now());
	INSERT INTO shop.customers (deleted, tags) SELECT g % 50 = 0, CASE WHEN g % 3 = 0 THEN '{vip}'::text[] END FROM generate_series(1, $customers) g;
	INSERT INTO shop.orders (customer_id, total, at)
		SELECT CASE WHEN g % 40 > 0 THEN 1 + (g * 7919::bigint) % ($customers + 100) END, (g % 97) * 10000, now() - g * interval '2 minutes'
		FROM generate_series(1, $orders) g;
	CREATE INDEX ON shop.orders (customer_id, at);
	ANALYZE;
	CREATE EXTENSION segment;
	SELECT segment.attach_customers('shop.customers', key => 'id', tags => 'tags', counted_when => 'NOT deleted');
	SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
	INSERT INTO segment.groups (code, name, condition, active) VALUES
		('big', 'Big', 'amount_spent >= 1_000_000', false),
		('active', 'Active', 'number_of_orders(date >= -60d) >= 2', false);
	INSERT INTO segment.groups (code, name, condition) VALUES
		('vip', 'VIP', 'tags CONTAINS ''vip'' AND amount_spent > 500_000'),
		('both', 'Both', 'groups CONTAINS ALL (''big'', ''vip'')');
	ANALYZE;
});
my $tills = open_tills();
sleep 1;
activate('big', 'FALSE', 'amount_spent >= 1_000_000', 'pg_cancel_backend', 'kill -9', 'pg_terminate_backend');
activate('active', 'FALSE', 'number_of_orders(date >= -60d) >= 2', 'pg_terminate_backend', 'pg_cancel_backend');
activate('big', 'amount_spent >= 1_000_000', 'amount_spent >= 900_000 AND groups CONTAINS \'active\'',
	'pg_terminate_backend', 'kill -9', 'pg_cancel_backend', 'pg_terminate_backend');
activate('active', 'number_of_orders(date >= -60d) >= 2', 'number_of_orders(date >= -90d) >= 3 AND tags CONTAINS \'vip\'', 'pg_cancel_backend');

# two at once, and a change of another rule in between
my $one = start(q{CALL segment.activate('big', 'amount_spent >= 1_500_000', 300)});
my $two = start(q{CALL segment.activate('active', 'number_of_orders(date >= -30d) >= 1', 300)});
sleep 0.5;
answer(q{UPDATE segment.groups SET condition = 'groups CONTAINS ANY (''big'', ''active'')' WHERE code = 'both'});
ok($one->finish, 'two at once: the one ends') or diag($one->{err});
ok($two->finish, 'two at once: the other ends') or diag($two->{err});
sleep 0.5;
# Publishing and coming into force wait no longer than lock_timeout, and take
# what moving those takes who move.
cmp_ok($tills->shut, '<', $lock_timeout + 10, 'and no sale waited longer than the rules may keep it waiting');

for my $group (split /\n/, answer('SELECT code FROM segment.groups'))
{
	is(differences($group, answer("SELECT condition FROM segment.groups WHERE code = '$group'")), 0, "in the end, $group: members are those of its condition");
}
is(answer('SELECT count(*) FROM segment.verify()'), 0, 'verify() finds nothing');
is(answer('SELECT count(*) FROM segment.pending_groups'), 0, 'nothing is pending');
is(answer('SELECT count(*) FROM segment.standings WHERE 0 > ANY (held)'), 0, 'nobody bears a mark');
is( answer(q{
		SELECT count(*) FROM (
			SELECT customer_id, code, sum(CASE action WHEN 'enter' THEN 1 ELSE -1 END) AS n FROM segment.changes WHERE kind = 'group' GROUP BY 1, 2) c
			FULL JOIN segment.members m ON m.customer_id = c.customer_id AND m.group_code = c.code
		WHERE coalesce(c.n, 0) <> CASE WHEN m.customer_id IS NULL THEN 0 ELSE 1 END}),
	0, 'segment.changes tells the same');
is(answer('SELECT segment.recalculate()'), 0, 'recalculate() finds nothing to mend');

$node->stop;
done_testing();
