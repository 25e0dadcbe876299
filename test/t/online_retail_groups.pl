# A year of a real shop with 100 groups: the invoices of Online Retail are loaded
# day by day, the clock with them (segment.at), ticks come on some evenings only,
# and every group must have exactly the members that plain SQL finds.
#
#   SEGMENT_DATA=directory   holds online_retail/invoice_lines.csv.xz
#                            (default: ../shared/data beside the project)
#   SEGMENT_SEED=number      ticks on other evenings

use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $root = "$FindBin::RealBin/../..";
my $file = ($ENV{SEGMENT_DATA} // "$root/../shared/data") . '/online_retail/invoice_lines.csv.xz';

plan skip_all => "the Online Retail invoices are not here, or not readable: $file (set SEGMENT_DATA to their directory)" unless -r $file;
plan skip_all => 'the Online Retail invoices cannot be read without xz (package xz-utils)'
	if system('xz --version >/dev/null 2>&1') != 0;

my $seed = $ENV{SEGMENT_SEED} // 581483;
srand($seed);
note("seed $seed");

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\njit = off\nclient_min_messages = warning");
$node->start;

sub run_sql
{
	my ($sql) = @_;
	my ($out, $err) = ('', '');
	my $file = "$PostgreSQL::Test::Utils::tmp_check/online_retail_groups.sql";
	open my $to, '>', $file or die "$file: $!";
	print {$to} $sql;
	close $to;
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file ], '>', \$out, '2>', \$err)
	  or die "$err\n" . substr($sql, 0, 2000);
	return ($out, $err);
}

$ENV{ONLINE_RETAIL_FILE} = $file;
run_sql("\\i $root/test/online_retail/shop.sql");

# ---------------------------------------------------------------------------
# 100 groups: of all time, of windows that move, of silence, of months, of places, of each other.

my @conditions = (
	(map { "amount_spent >= " . 250 * $_ * $_ } 1 .. 15),
	(map { "number_of_orders BETWEEN $_ AND " . 2 * $_ } 1 .. 10),
	(map { 'average_order_value > ' . 100 * $_ } 1 .. 5),
	(map { "amount_spent(date >= -" . 10 * $_ . "d) >= " . 150 * $_ } 1 .. 15),
	(map { "number_of_orders(date >= -${_}m) >= $_" } 1 .. 6),
	(map { 'last_order_date < -' . 15 * $_ . 'd' } 1 .. 12),
	(map { 'days_since_last_order BETWEEN ' . 10 * $_ . ' AND ' . (10 * $_ + 9) } 1 .. 6),
	(map { "number_of_orders(date DURING $_) = 0" } qw(this_week last_week this_month last_month this_quarter last_quarter)),
	(map { "monthly_total >= $_" } 100, 500, 1000), (map { "monthly_average(months = $_) >= 200" } 1, 3, 6),
	(map { "country CONTAINS '$_'" } 'United Kingdom', 'Germany', 'France', 'EIRE', 'Spain'),
	'first_order_date >= -1m', 'amount_returned > 0.3 * amount_ordered', 'returns_made MATCHES (date >= -14d)', 'returns_made NOT MATCHES ()',
	"tier >= 'gold' AND last_order_date < -60d", "orders_placed MATCHES (date >= -7d, amount >= 500)",
	"groups CONTAINS 'g_1' AND NOT groups CONTAINS 'g_60'", "groups CONTAINS ANY ('g_31', 'g_46', 'g_70')");
my $n = 0;
push @conditions, "groups CONTAINS 'g_" . (3 * ++$n) . "' OR amount_spent(date >= -" . 7 * $n . "d) > 700" while @conditions < 100;
is(scalar(@conditions), 100, '100 groups');
my ($ladder) = split /\n/, (run_sql(q{SELECT string_agg(t.code, ',' ORDER BY t.min_value) FROM segment.tiers t JOIN segment.ladders l ON l.code = t.ladder WHERE l.is_default}))[0];
my $top = (split /,/, $ladder)[-1];
s/'gold'/'$top'/ for @conditions;
run_sql("SET segment.at = '2010-11-30 20:00 Europe/London';\n"
	  . join '', map { my $i = $_ + 1; my $c = $conditions[$_]; $c =~ s/'/''/g; "INSERT INTO segment.groups (code, name, condition) VALUES ('g_$i', 'Group $i', '$c');\n" } 0 .. $#conditions);

# ---------------------------------------------------------------------------

# Both directions, for every group, at the instant that stands for now.
my $compare = <<'END';
CREATE TEMP TABLE shown AS SELECT group_code, customer_id FROM segment.members;
DO $$
DECLARE
	g record;
	n bigint;
BEGIN
	CREATE TEMP TABLE compared (code text, differences bigint);
	FOR g IN SELECT code, condition FROM segment.groups LOOP
		EXECUTE format('SELECT count(*) FROM (SELECT customer_id FROM shown WHERE group_code = %L) s FULL JOIN (%s) c ON c.key = s.customer_id'
			' WHERE c.key IS NULL OR s.customer_id IS NULL', g.code, segment.to_sql(g.condition, segment._now())) INTO n;
		INSERT INTO compared VALUES (g.code, n);
	END LOOP;
END $$;
SELECT count(*) || ' ' || sum(differences) || ' ' || coalesce(string_agg(code, ',') FILTER (WHERE differences > 0), '') FROM compared;
END

my @days = split /\n/, (run_sql('SELECT DISTINCT day FROM raw.invoices ORDER BY day'))[0];
is(scalar(@days), 305, 'days of sales');
my $from = time;
my ($ticks, $warnings) = (0, '');
my %look = map { $_ => 1 } $days[20], $days[75], $days[76], $days[150], $days[230], $days[-1];
for my $day (@days)
{
	my $sql = "SET segment.at = '$day 20:00 Europe/London';\n";
	if (rand() < 0.5)
	{
		$sql .= "SELECT segment.tick();\n";
		$ticks++;
	}
	$sql .= "INSERT INTO shop.orders SELECT number, customer_id, 'completed', amount, at FROM raw.invoices WHERE day = '$day' AND NOT is_return;\n"
	  . "INSERT INTO shop.returns SELECT number, customer_id, 'settled', -amount, at AT TIME ZONE 'Europe/London' FROM raw.invoices WHERE day = '$day' AND is_return;\n";
	my ($out, $err) = run_sql($sql);
	$warnings .= $err;
	next if !$look{$day};
	my ($answer) = run_sql("SET segment.at = '$day 20:00 Europe/London';\n$compare");
	is($answer, "100 0 \n", "$day: members of 100 groups are those that to_sql finds");
}
is($warnings, '', 'nothing was complained of');
note(sprintf('%d days, %d ticks, %.0f s', scalar(@days), $ticks, time - $from));

# Both directions go by an index.
for my $plan ([ "group_code = 'g_40'", qr/Bitmap Index Scan on standings_held/, 'members of a group' ], [ 'customer_id = 17850', qr/Index Scan using standings_pkey/, 'groups of a customer' ])
{
	my ($explained) = run_sql("SET enable_seqscan = off; EXPLAIN SELECT * FROM segment.members WHERE $plan->[0]");
	like($explained, $plan->[1], "$plan->[2] are found by an index");
}

# A tick that is terminated half way: what it has done is done, the rest is left to the next one.
my $at = '2011-12-11 12:00';
my $tick = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SET segment.at = '$at Europe/London'", '-c', 'CALL segment.tick_in_batches(20)' ],
	'>', \my $out, '2>', \my $err);
for (1 .. 400)
{
	last if $node->safe_psql('postgres', "SELECT count(*) FROM segment.ruleset WHERE ticked >= '$at Europe/London'");
	sleep 0.01;
}
$node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL segment.tick%'});
$tick->finish;
my $left = $node->safe_psql('postgres', "SELECT count(*) FROM segment.facts WHERE due <= '$at Europe/London'");
cmp_ok($left, '>', 0, "$left customers are left when a tick is terminated");
my ($half) = run_sql("SET segment.at = '$at Europe/London';\n$compare");
is($half, "100 0 \n", '... views are right all the same');

# The clock goes on, nothing is sold: first without, then with a tick.
for my $at ('2011-12-13 00:00', '2011-12-19 12:00')
{
	my ($answer) = run_sql("SET segment.at = '$at Europe/London';\n$compare");
	is($answer, "100 0 \n", "$at: the same before a tick");
	($answer) = run_sql("SET segment.at = '$at Europe/London';\nCALL segment.tick_in_batches(700);\nSELECT count(*) FROM segment.facts WHERE due <= segment._now();\n$compare");
	is($answer, "0\n100 0 \n", '... and after it');
}
my ($answer) = run_sql("SET segment.at = '2011-12-19 12:00 Europe/London'; SELECT count(*) FROM segment.verify();");
is($answer, "0\n", 'verify() finds nothing');

# What was logged leads to what is held.
($answer) = run_sql(<<'END');
SET segment.at = '2011-12-19 12:00 Europe/London';
WITH last AS (
	SELECT DISTINCT ON (c.customer_id, c.code) c.customer_id, c.code, c.action, c.at
	FROM segment.changes c WHERE c.kind = 'group' ORDER BY c.customer_id, c.code, c.version DESC, c.at DESC
)
SELECT count(*) FROM last l FULL JOIN segment.members m ON m.customer_id = l.customer_id AND m.group_code = l.code
WHERE (l.action IS NOT DISTINCT FROM 'enter') <> (m.customer_id IS NOT NULL) OR (m.since <> l.at);
END
is($answer, "0\n", 'the last entry of each customer and group says whether, and since when, the customer is in');

$node->stop;
done_testing();
