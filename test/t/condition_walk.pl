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
use IPC::Run ();
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::RealBin/../random";
use RandomConditions;

my $conditions = $ENV{CONDITIONS} // 24;
my $seed = $ENV{SEED} // 20260530;
my $sessions = $ENV{SESSIONS} // 2;
my $days = $ENV{DAYS} // 400;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $shop_file = "$FindBin::RealBin/../random/condition_shop.sql";
my $json = JSON::PP->new;

my @shapes = qw(a b c d);
my @zones = qw(Asia/Ho_Chi_Minh America/Sao_Paulo Europe/Lisbon Pacific/Apia Africa/Cairo America/St_Johns);
my @counted = qw(asked wrong promised never turned early);

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', <<'END');
jit = off
fsync = off
statement_timeout = 300s
join_collapse_limit = 1
autovacuum = off
END
$node->start;

my $shops = $conditions < 12 ? 1 : $conditions < 240 ? 6 : 12;
my $of_each = int(($conditions + $shops - 1) / $shops);
my $start = time;
my %total = map { $_ => 0 } @counted;
note("seed $seed, $conditions conditions over $shops shops, $days days");
for my $shop ($ENV{SHOP} // 1 .. $ENV{SHOP} // $shops)
{
	my $stats = open_shop($shop);
	$total{$_} += $stats->{$_} for @counted;
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

sub open_shop
{
	my ($shop) = @_;
	my %shop = (n => $shop, shape => $shapes[ ($shop - 1) % @shapes ], zone => $zones[ ($shop - 1) % @zones ], seed => ($seed * 7919 + $shop * 104729) % 1000003);
	my $name = "shop$shop";
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-Xq', (map { ('-v', "$_=$shop{$_}") } qw(shape zone seed)), '-d', $node->connstr($name), '-f', $shop_file ], '>', \$out, '2>', \$err)
	  or die "shop $shop does not open: $err";
	ask($name, walker());
	my ($pools, $instants) = map { $json->decode($_) } map { Encode::decode('UTF-8', $_) } split /\n/, ask($name, "SET timezone = 'UTC'; SELECT truth.pools(); SELECT truth.instants();");
	srand($shop{seed});
	ask($name, groups(RandomConditions->new(shape => $shop{shape}, zone => $shop{zone}, pools => $pools)));
	my @workers;
	for my $session (1 .. $sessions)
	{
		my $file = "$tmp/condition_walk_$session.json";
		unlink $file;
		my $pid = fork // die "fork: $!";
		if ($pid == 0)
		{
			my $stats = eval { work(\%shop, $name, $pools, $instants, $session, int(($of_each + $sessions - 1) / $sessions)) };
			$stats //= { wrong => 1, reports => ["shop $shop: $@"] };
			open my $to, '>:utf8', $file or POSIX::_exit(1);
			print {$to} $json->encode($stats);
			close $to;
			POSIX::_exit(0);
		}
		push @workers, [ $pid, $file ];
	}
	my %stats = (reports => []);
	for (@workers)
	{
		my ($pid, $file) = @$_;
		waitpid $pid, 0;
		my $of = -s $file ? $json->decode(Encode::decode('UTF-8', slurp_file($file))) : { wrong => 1, reports => ["a session in shop $shop ended with status $?"] };
		$stats{$_} = ($stats{$_} // 0) + ($of->{$_} // 0) for @counted;
		push @{ $stats{reports} }, @{ $of->{reports} };
	}
	$node->safe_psql('postgres', "DROP DATABASE $name WITH (FORCE)") if !$ENV{KEEP};
	return \%stats;
}

sub ask
{
	my ($name, $sql) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($name), '-f', '-' ], '<', \Encode::encode('UTF-8', $sql), '>', \$out, '2>', \$err)
	  or die "$err\n";
	return $out;
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
		$sql .= "INSERT INTO segment.groups (code, name, condition) VALUES ('g$n', 'Group $n', " . string($text) . ");\n";
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
	my ($shop, $name, $pools, $instants, $session, $many) = @_;
	srand(($seed * 1000003 + $shop->{n} * 8191 + $session * 131) % 4294967291);
	my $random = RandomConditions->new(shape => $shop->{shape}, zone => $shop->{zone}, pools => $pools);
	my %stats = (map({ $_ => 0 } @counted), reports => []);
	for (1 .. $many)
	{
		my ($text, $at) = (condition($random), RandomConditions::pick(@$instants));
		my $quoted = string($text);
		my $answer = $json->decode(Encode::decode('UTF-8', ask($name, "SET timezone = 'UTC'; SET client_min_messages = warning; SELECT setseed(0.5) \\g /dev/null\nSELECT row_to_json(k) FROM walk.check($quoted, '$at', $days) k;")));
		$stats{asked}++;
		if (defined $answer->{wrong})
		{
			$stats{wrong}++;
			push @{ $stats{reports} }, <<END if @{ $stats{reports} } < 8;
shop $shop->{n} of seed $seed, shape $shop->{shape} in $shop->{zone}, from $at on:
$text
$answer->{wrong}
-- again: SEED=$seed SHOP=$shop->{n} CONDITIONS=$conditions
END
			next;
		}
		$stats{$_} += $answer->{$_} // 0 for qw(promised never turned early);
		push @{ $stats{reports} }, "early $answer->{early} of " . ($answer->{early} + $answer->{turned}) . ": $text from $at\n" if $ENV{EARLY} && $answer->{early} > 0;
	}
	return \%stats;
}

sub string
{
	my ($text) = @_;
	my $tag = 'q';
	$tag .= 'q' while index($text, "\$$tag\$") >= 0;
	return "\$$tag\$$text\$$tag\$";
}
