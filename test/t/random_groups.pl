# Random sales, returns, points, offers, tags, edits of customers, groups and
# tiers, ticks and jumps of the clock, in one session and in several; every
# thousand operations all of them pause, and for every group the members must be
# those whom the SQL that defines its condition finds at that instant, in both
# directions; the other views, the log of changes and verify() must agree.
#
#   OPERATIONS=number   how many in all (default 100,000)
#   SEED=number         other operations (default: the same every time)
#   SESSIONS=number     1 or more; by default half of the operations run in one
#                       session, half in three
#   EPISODE=number      only this part of them
#   LENGTH=number       how many on one shop (default 12,500)
#   EVERY=number        how many operations between two comparisons (default 1,000)
#   SHRINK=seconds      how long to look for a shorter script after a failure
#
# The clock is segment.at of each session: it jumps by minutes to months before
# each comparison and goes on by itself in each session between, so that some
# are behind others, as transactions are that began earlier.

use strict;
use warnings;
use utf8;

use Encode ();
use FindBin;
use IPC::Run ();
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::RealBin/../random";
use RandomGroups;
use ShopSession;

my $root = "$FindBin::RealBin/..";
my $operations = $ENV{OPERATIONS} // 100000;
my $seed = $ENV{SEED} // 20260530;
my $every = $ENV{EVERY} // 1000;
my $shrink_for = $ENV{SHRINK} // 120;
my $length = $ENV{LENGTH} // 12500;
my @sessions = $ENV{SESSIONS} ? ($ENV{SESSIONS}) : (1, 3);
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $json = JSON::PP->new;

my @shapes = qw(a c d b);
my @zones = qw(Asia/Ho_Chi_Minh America/Sao_Paulo Europe/Lisbon Africa/Cairo Pacific/Apia);
my %begins = (
	'Asia/Ho_Chi_Minh' => '2024-01-01 13:00+07', 'America/Sao_Paulo' => '2018-02-10 13:00-02', 'Europe/Lisbon' => '2024-01-01 13:00+00',
	'Africa/Cairo' => '2023-12-20 13:00+02', 'Pacific/Apia' => '2011-09-01 13:00-11');

# What statements of the merchant's may fail with, none of it segment's doing but
# what concurrency asks for.
my %of_merchant = map { $_ => 1 } qw(23505 22012 25P02 3B001 40001 40P01 55P03 57014);
# An administrator is refused besides what does not fit when it is saved.
my %of_administrator = map { $_ => 1 } qw(23505 25001 25P02 2BP01 2D000 3B001 40001 40P01 42704 42P17 42P19 55P03 22023 25P01);

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', <<'END');
deadlock_timeout = 10ms
statement_timeout = 120s
jit = off
fsync = off
log_min_messages = warning
log_statement = none
max_locks_per_transaction = 256
autovacuum = off
END
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE till');
my $file_copy = $node->safe_psql('postgres', 'SHOW server_version_num') >= 150000;

my ($done, $checks, $failures, %kinds, %errors, %spent) = (0, 0, 0);
my $start = time;
note("seed $seed, $operations operations");
for my $sessions (@sessions)
{
	my $episodes = int($operations / @sessions / $length + 0.5) || 1;
	my $before = $done;
	my $wrong = 0;
	for my $episode ($ENV{EPISODE} // 1 .. $ENV{EPISODE} // $episodes)
	{
		$wrong++ if !episode($sessions, $episode, $length < $operations ? $length : $operations);
		last if $wrong >= 3;
	}
	is($wrong, 0, ($done - $before) . ' random operations in ' . ($sessions == 1 ? 'one session' : "$sessions sessions") . ": seed $seed");
}
cmp_ok($checks, '>', 0, 'something was compared');
note(sprintf '%d operations, %d comparisons, %.0f s (%s): %.0f operations a second', $done, $checks, time - $start,
	join(', ', map { sprintf '%.0f s %s', $spent{$_}, $_ } sort keys %spent), $done / (time - $start));
note("$kinds{$_} $_") for sort { $kinds{$b} <=> $kinds{$a} || $a cmp $b } keys %kinds;
note("failed with $_: $errors{$_}") for sort keys %errors;
$node->stop;
done_testing();

# ---------------------------------------------------------------------------

# One shop from its opening to its last comparison; true if all was right.
sub episode
{
	my ($sessions, $episode, $many) = @_;
	my $n = $episode - 1 + ($sessions == 1 ? 0 : 2);
	my %shop = (shape => $shapes[ $n % @shapes ], zone => $zones[ $n % @zones ], seed => ($seed * 7919 + $episode * 104729 + $sessions) % 1000003);
	my $name = "episode $episode of seed $seed, $sessions session" . ($sessions > 1 ? 's' : '') . ", shape $shop{shape} in $shop{zone}";
	my $since = time;
	open_shop('shop', \%shop);
	# everything that is drawn is drawn here, and in this order
	srand(($seed * 1000003 + $episode * 8191 + ($sessions == 1 ? 0 : 5)) % 4294967291);
	my $generator = generator(\%shop);
	my $begins = $begins{ $shop{zone} };
	my @psql = map { session($_, 'shop', $begins) } 1 .. $sessions;
	my $checker = checker('shop', $begins);
	my @history = $generator->opening;
	my @wrong;
	$psql[0]->start(RandomGroups::script(@history));
	push @wrong, odd($psql[0]);
	push @wrong, compare($checker, $begins, 1);
	$spent{'to open'} += time - $since;
	my ($now, $ran, $checked) = ($begins, 0, scalar @history);
	while ($ran < $many && !@wrong)
	{
		$since = time;
		my $share = int(($many - $ran < $every ? $many - $ran : $every) / $sessions) || 1;
		my ($jump) = $checker->ask("SELECT (" . jump($now, $shop{zone}) . ")::text");
		my @chunks = map { [ { kind => 'jump', units => [ RandomGroups::admin("SET segment.at = '$jump'") ] }, map { $generator->operation } 1 .. $share ] } 1 .. $sessions;
		my $tick = RandomGroups::chance(0.5);
		my $thorough = RandomGroups::chance(0.3);
		$psql[$_]->start(RandomGroups::script(@{ $chunks[$_] })) for 0 .. $#psql;
		push @wrong, map { odd($_) } @psql;
		push @history, map { @$_ } @chunks;
		$kinds{ $_->{kind} }++ for map { @$_ } @chunks;
		$ran += $share * $sessions;
		$done += $share * $sessions;
		$spent{'at work'} += time - $since;
		$since = time;
		($now) = $checker->ask("SELECT max(x::timestamptz)::text FROM unnest(ARRAY['" . join("', '", map { $_->ask("SELECT current_setting('segment.at')") } @psql) . "']) x");
		# a while later: many are due whom no tick has brought up to date
		($now) = $checker->ask("SELECT (" . jump($now, $shop{zone}) . ")::text") if RandomGroups::chance(0.5);
		push @wrong, compare($checker, $now, $thorough || $ran >= $many);
		if ($tick && !@wrong)
		{
			my $unit = { kind => 'tick at the end', units => [ RandomGroups::admin("SET segment.at = '$now'", 'CALL segment.tick_in_batches(50)') ] };
			push @history, $unit;
			$psql[0]->start(RandomGroups::script($unit));
			push @wrong, odd($psql[0]), map { "after a tick: $_" } compare($checker, $now, 0);
			my ($left) = $checker->ask("SET segment.at = '$now'; SELECT count(*) FROM segment.facts WHERE due <= '$now'");
			push @wrong, "$left are due after a tick" if $left;
		}
		$checked = @history if !@wrong;
		$spent{comparing} += time - $since;
	}
	$_->end for @psql, $checker;
	return 1 if !@wrong;
	say_(("$name: after $ran operations, at $now"), map { "  $_" } @wrong > 20 ? (@wrong[ 0 .. 19 ], '…') : @wrong);
	shrink($name, \%shop, \@wrong, $checked, $now, @history);
	say_("again: SEED=$seed EPISODE=$episode SESSIONS=$sessions OPERATIONS=$operations");
	return 0;
}

sub say_ { diag(Encode::encode('UTF-8', $_)) for @_; return; }

# From minutes to months, now and then to a midnight exactly.
sub jump
{
	my ($now, $zone) = @_;
	my $dice = rand;
	my $by = $dice < 0.25 ? RandomGroups::between(0, 300) . ' min' : $dice < 0.5 ? RandomGroups::between(1, 4) . ' days' : $dice < 0.85 ? RandomGroups::between(5, 30) . ' days' : RandomGroups::between(1, 5) . ' months';
	my $then = "timestamptz '$now' + interval '$by'";
	return $then if !RandomGroups::chance(0.15);
	return "greatest(timestamptz '$now', date_trunc('day', ($then) AT TIME ZONE '$zone') AT TIME ZONE '$zone')";
}

sub open_shop
{
	my ($name, $shop) = @_;
	$node->safe_psql('postgres', "DROP DATABASE IF EXISTS $name WITH (FORCE)");
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	my ($out, $err) = ('', '');
	local $ENV{PGOPTIONS} = "-c segment.at=" . ($begins{ $shop->{zone} } =~ s/ /T/r);
	IPC::Run::run([ 'psql', '-Xq', (map { ('-v', "$_=$shop->{$_}") } qw(shape zone seed)), '-d', $node->connstr($name), '-f', "$root/random/group_shop.sql" ], '>', \$out, '2>', \$err)
	  or die "the shop does not open: $err";
	return;
}

sub generator
{
	my ($shop) = @_;
	my ($tables, $pools) = map { $json->decode(Encode::decode('UTF-8', $_)) }
	  split /\n/, $node->safe_psql('shop', "SET timezone = 'UTC'; SELECT truth.tables(); SELECT truth.pools();");
	my %rows = map { $_ => $tables->{$_}{rows} } keys %$tables;
	my ($orders) = sort { $b <=> $a } map { $rows{$_} } grep { /orders/ } keys %rows;
	my ($returns) = sort { $b <=> $a } map { $rows{$_} } grep { /returns/ } keys %rows;
	return RandomGroups->new(%$shop, key_type => { b => 'uuid', c => 'text' }->{ $shop->{shape} } // 'bigint', tables => $tables, pools => $pools, orders => $orders, returns => $returns);
}

sub session
{
	my ($n, $database, $begins) = @_;
	my $zone = (qw(Asia/Tokyo UTC America/Sao_Paulo Pacific/Kiritimati))[ $n % 4 ];
	return ShopSession->new(name => $n, connection => $node->connstr($database), setup => "SET client_min_messages = warning;\nSET timezone = '$zone';\nSET segment.at = '$begins';\nSET ROLE till;");
}

sub checker
{
	my ($database, $begins) = @_;
	return ShopSession->new(name => 'checker', connection => $node->connstr($database), setup => "SET client_min_messages = error;\nSET timezone = 'UTC';\nSET segment.at = '$begins';");
}

sub compare
{
	my ($checker, $now, $thorough) = @_;
	$checks++;
	my $ask = "SET segment.at = '$now'; SELECT what || ': ' || coalesce(detail, '') FROM truth.wrong";
	my @wrong = $checker->ask("$ask(" . ($thorough ? 'true' : 'false') . ')');
	return @wrong && !$thorough ? $checker->ask("$ask(true)") : @wrong;
}

# Of what a session was told, what it should not have met.
sub odd
{
	my ($psql) = @_;
	my @odd;
	for my $message ($psql->finish)
	{
		next unless $message =~ /(ERROR|WARNING|FATAL|PANIC):\s+(\w{5}): (.*)/;
		my ($severity, $code, $what) = ($1, $2, $3);
		my $administrator = $message =~ /^psql:\S+?:(\d+):/ && $psql->before($1, qr/^SET ROLE (NONE|till);/) eq 'NONE';
		$errors{"$code $severity" . ($administrator ? ' of an administrator' : '')}++;
		next if $severity eq 'ERROR' && ($of_merchant{$code} || ($administrator && $of_administrator{$code}));
		next if $severity eq 'WARNING' && $code =~ /^25/;
		push @odd, join ' | ', grep { !/^LOCATION|^\s*\^/ } split /\n/, $message =~ s/^psql:\S+ //r;
	}
	return @odd;
}

# --- shrinking ---

# The first words: what kind of difference it is.
sub headline { return $_[0] =~ s/^after a tick: //r =~ s/^(\w+:\s+\w{5}: [a-z ]*|[^:]*).*/$1/sr; }

# Run units in a copy of the shop by one session, and tell what is wrong at an instant.
sub play
{
	my ($shop, $now, @units) = @_;
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS shrinking WITH (FORCE)');
	$node->safe_psql('postgres', 'CREATE DATABASE shrinking TEMPLATE template_shop' . ($file_copy ? ' STRATEGY file_copy' : ''));
	my $begins = $begins{ $shop->{zone} };
	# a copy is another database: its state is stale until it is computed there
	$node->safe_psql('shrinking', "SET client_min_messages = error; SET segment.at = '$begins'; SELECT segment.recalculate()");
	my $psql = session(1, 'shrinking', $begins);
	$psql->start(RandomGroups::script({ units => [ @units, 'ROLLBACK' ] }));
	my @wrong = odd($psql);
	my ($own) = $psql->ask("SELECT current_setting('segment.at')");
	$psql->end;
	my $checker = checker('shrinking', $begins);
	($now) = $checker->ask("SELECT greatest(timestamptz '$own', timestamptz '$now')::text");
	push @wrong, compare($checker, $now, 1);
	$checker->end;
	return @wrong;
}

sub shrink
{
	my ($name, $shop, $wrong, $checked, $now, @history) = @_;
	my $file = "$tmp/random_groups_failure_" . ++$failures;
	ShopSession::write_file("$file.sql", RandomGroups::script(@history));
	say_("all operations: $file.sql");
	return if $shrink_for <= 0;
	my $until = time + $shrink_for;
	my %headlines = map { headline($_) => 1 } @$wrong;
	open_shop('template_shop', $shop);
	my $tries = 0;
	my @found;
	my $fails = sub { $tries++; @found = grep { $headlines{ headline($_) } } play($shop, $now, @_); return scalar @found; };
	my @units = map { @{ $_->{units} } } @history;
	if (!$fails->(@units))
	{
		say_('one session that does the same does not fail');
		return;
	}
	# the end first: what comes after the failure is not needed
	my ($low, $high) = (scalar(map { @{ $_->{units} } } @history[ 0 .. $checked - 1 ]), scalar @units);
	while ($low < $high && time < $until)
	{
		my $middle = int(($low + $high) / 2);
		if ($fails->(@units[ 0 .. $middle - 1 ])) { $high = $middle; }
		else { $low = $middle + 1; }
	}
	@units = @units[ 0 .. $high - 1 ];
	my $pieces = 2;
	while (@units > 1 && time < $until)
	{
		my $size = int((@units + $pieces - 1) / $pieces);
		my $shorter = 0;
		for (my $from = $#units - ($#units % $size); $from >= 0 && time < $until; $from -= $size)
		{
			my @rest = @units;
			splice @rest, $from, $size;
			if (@rest && $fails->(@rest)) { @units = @rest; $shorter = 1; }
		}
		last if $size == 1 && !$shorter;
		$pieces = $size == 1 ? @units : $pieces * 2;
		$pieces = @units if $pieces > @units;
	}
	$fails->(@units);
	ShopSession::write_file("$file.txt", RandomGroups::script({ units => \@units }));
	say_("the same with " . @units . " statements, after $tries tries ($file.txt), in the shop of psql -v shape=$shop->{shape} -v zone=$shop->{zone} -v seed=$shop->{seed} -f test/random/group_shop.sql, at $now:",
		(map { "  $_;" } @units > 40 ? (@units[ 0 .. 39 ], '…') : @units), map { "  then $_" } @found > 5 ? @found[ 0 .. 4 ] : @found);
	return;
}
