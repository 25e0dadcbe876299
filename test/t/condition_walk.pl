# The clock walked from random instants on: what explain_condition() says about
# when a condition may change by time alone must be kept. Until then the verdict
# of each customer, as segment._judge() gives it, is the same at the beginning of
# every day and at some instants between.
#
#   CONDITIONS=number   how many in all (default 24, a minute)
#   SEED=number         other shops and conditions (default: the same every time)
#   SHOP=number         only this shop
#   SESSIONS=number     how many walk at the same time (default 2)
#   DAYS=number         how far (default 400)
#
# To wake early is no fault; how often that happened is told at the end.

use strict;
use warnings;
use utf8;

use Encode ();
use FindBin;
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::RealBin/../random";
use ConditionShop;
use RandomConditions;

my $conditions = $ENV{CONDITIONS} // 24;
my $seed = $ENV{SEED} // 20260530;
my $sessions = $ENV{SESSIONS} // 2;
my $days = $ENV{DAYS} // 400;

my @counted = qw(asked wrong promised never turned early);

my $node = ConditionShop::server();
my $shops = $conditions < 12 ? 1 : $conditions < 240 ? 6 : 12;
my $of_each = int(($conditions + $shops - 1) / $shops);
my $start = time;
my %total = map { $_ => 0 } @counted;
note("seed $seed, $conditions conditions over $shops shops, $days days");
for my $shop ($ENV{SHOP} // 1 .. $ENV{SHOP} // $shops)
{
	my $stats = walk_shop($shop);
	$total{$_} += $stats->{$_} // 0 for @counted;
	diag(Encode::encode('UTF-8', $_)) for @{ $stats->{reports} };
	last if $total{wrong} > 20;
}
is($total{wrong}, 0, "no verdict of $total{asked} conditions changes before it is said to: seed $seed");
cmp_ok($total{turned}, '>', 0, 'some change when it is said that they may');
note(sprintf '%d verdicts of customers: %d never change; %d changed at the instant that was named, %d were asked early (%.1f %%); %.0f s',
	@total{qw(promised never turned early)}, 100 * $total{early} / (($total{turned} + $total{early}) || 1), time - $start);
$node->stop;
done_testing();

# ---------------------------------------------------------------------------

sub walker
{
	return <<'END';
CREATE SCHEMA walk;
CREATE TABLE walk.zone AS SELECT z.zone FROM truth.shop z;

-- what is said to be so, and until when, of some customers
CREATE FUNCTION walk.promises(c segment.condition, at timestamptz, n int, OUT key text, OUT holds boolean, OUT changes_at timestamptz) RETURNS SETOF record
LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT m.key, e.holds, e.changes_at FROM (SELECT key FROM truth.m ORDER BY random() LIMIT $3) m, segment.explain_condition($1, m.key::%s, $2) e WHERE e.depth = 0',
		(SELECT format_type(a.atttypid, NULL) FROM pg_attribute a WHERE a.attrelid = 'segment.facts'::regclass AND a.attname = 'customer_id')) USING c, at, n;
END $$;

-- instants to ask at: the beginnings of days, and some between
CREATE FUNCTION walk.instants(at timestamptz, days int) RETURNS SETOF timestamptz LANGUAGE sql AS $$
	SELECT DISTINCT x.at FROM (
		SELECT segment._begin_of_day(segment._day_of($1, z.zone) + d, z.zone) FROM walk.zone z, generate_series(1, $2) d
		UNION ALL
		SELECT segment._begin_of_day(segment._day_of($1, z.zone) + d, z.zone) + random() * interval '23 hours' FROM walk.zone z, generate_series(0, $2) d WHERE random() < 0.1
	) x(at) WHERE x.at > $1 ORDER BY 1 $$;

CREATE FUNCTION walk.check(source text, at timestamptz, days int, OUT wrong text, OUT promised int, OUT never int, OUT turned int, OUT early int) LANGUAGE plpgsql AS $$
DECLARE
	c segment.condition := source;
	last timestamptz;
	instant timestamptz;
	judged text[];
	faults text;
BEGIN
	CREATE TEMP TABLE IF NOT EXISTS said (key text, holds boolean, changes_at timestamptz, turned boolean);
	TRUNCATE said;
	INSERT INTO said SELECT p.* FROM walk.promises(c, at, 50) p;
	SELECT count(*), count(*) FILTER (WHERE s.changes_at IS NULL), max(coalesce(s.changes_at, 'infinity')) INTO promised, never, last FROM said s;
	judged := truth.judged(c, at);
	SELECT string_agg(s.key, ' ') INTO faults FROM said s WHERE s.holds <> (s.key = ANY (judged));
	IF faults IS NOT NULL THEN
		wrong := 'the verdict itself differs for ' || faults; RETURN;
	END IF;
	SELECT string_agg(s.key, ' ') INTO faults FROM said s WHERE s.changes_at <= at;
	IF faults IS NOT NULL THEN
		wrong := 'the change is past for ' || faults; RETURN;
	END IF;
	FOR instant IN SELECT walk.instants(at, days) LOOP
		EXIT WHEN instant >= last;
		judged := truth.judged(c, instant);
		SELECT string_agg(format('%s (said %s)', s.key, coalesce(s.changes_at::text, 'never')), ' ') INTO faults
		FROM said s WHERE instant < coalesce(s.changes_at, 'infinity') AND s.holds <> (s.key = ANY (judged));
		IF faults IS NOT NULL THEN
			wrong := format('at %s already other: %s', instant, faults); RETURN;
		END IF;
	END LOOP;
	FOR instant IN SELECT DISTINCT s.changes_at FROM said s WHERE s.changes_at < at + make_interval(days => days) LOOP
		judged := truth.judged(c, instant);
		UPDATE said s SET turned = s.holds <> (s.key = ANY (judged)) WHERE s.changes_at = instant;
	END LOOP;
	SELECT count(*) FILTER (WHERE s.turned), count(*) FILTER (WHERE NOT s.turned) INTO turned, early FROM said s;
EXCEPTION WHEN OTHERS THEN
	wrong := 'fails: ' || SQLSTATE || ' ' || SQLERRM;
END $$;
END
}

sub walk_shop
{
	my ($n) = @_;
	my $shop = ConditionShop->new(node => $node, number => $n, seed => $seed);
	$shop->ask(walker());
	srand($shop->{seed});
	$shop->ask(groups($shop->random));
	my $stats = $shop->side_by_side($sessions, sub { work($shop, $_[0], int(($of_each + $sessions - 1) / $sessions)) });
	$shop->drop;
	return $stats;
}

# Groups that conditions may name; the last one names others.
sub groups
{
	my ($random) = @_;
	my $sql = "SET client_min_messages = warning;\n";
	for my $n (1 .. 4)
	{
		my $text = moving($random, $n == 4 ? 1 : RandomConditions::pick(0, 1));
		$text = "groups CONTAINS ANY ('g1', 'g2') AND ($text)" if $n == 4;
		$sql .= "INSERT INTO segment.groups (code, name, condition) VALUES ('g$n', 'Group $n', " . ConditionShop::string($text) . ");\n";
	}
	return $sql;
}

# A condition, now and then over groups.
sub condition
{
	my ($random) = @_;
	return moving($random) if RandomConditions::chance(0.9);
	my $groups = RandomConditions::pick("groups CONTAINS 'g1'", "groups NOT CONTAINS 'g2'", "groups CONTAINS ALL ('g3', 'g1')", "groups = 'g4'", 'groups IS NULL');
	return RandomConditions::chance(0.4) ? $groups : join(RandomConditions::pick(' AND ', ' OR '), $groups, '(' . moving($random) . ')');
}

# One that time can move, mostly.
sub moving
{
	my ($random, $depth) = @_;
	for (1 .. 50)
	{
		my $text = $random->text($random->condition($depth));
		return $text if $text =~ /today|yesterday|tomorrow|[+-]\d+[dwmy]\b|DURING|anniversary|\bage\b|days_since|monthly|points\b/ || RandomConditions::chance(0.02);
	}
	return 'anniversary(birth_date) = today';
}

sub work
{
	my ($shop, $session, $many) = @_;
	srand(($seed * 1000003 + $shop->{number} * 8191 + $session * 131) % 4294967291);
	my $random = $shop->random;
	my %stats = (map({ $_ => 0 } @counted), reports => []);
	for (1 .. $many)
	{
		my ($text, $at) = (condition($random), RandomConditions::pick(@{ $shop->{instants} }));
		my $quoted = ConditionShop::string($text);
		my ($answer) = $shop->ask_json("SET timezone = 'UTC'; SET client_min_messages = warning; SELECT setseed(0.5) \\g /dev/null\nSELECT row_to_json(k) FROM walk.check($quoted, '$at', $days) k;");
		$stats{asked}++;
		if (defined $answer->{wrong})
		{
			$stats{wrong}++;
			push @{ $stats{reports} }, <<END if @{ $stats{reports} } < 8;
shop $shop->{number} of seed $seed, shape $shop->{shape} in $shop->{zone}, from $at on:
$text
$answer->{wrong}
-- again: SEED=$seed SHOP=$shop->{number} CONDITIONS=$conditions
END
			next;
		}
		$stats{$_} += $answer->{$_} // 0 for qw(promised never turned early);
		push @{ $stats{reports} }, "early $answer->{early} of " . ($answer->{early} + $answer->{turned}) . ": $text from $at\n" if $ENV{EARLY} && $answer->{early} > 0;
	}
	return \%stats;
}
