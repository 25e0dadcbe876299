# The clock walked day by day over three years, for 200 customers and 60 groups
# whose members change by time alone, with some sales on the way. On every
# seventh day, and on every day on which somebody is due, the views are read
# before the tick and after it: both must show the members that the SQL of the
# conditions finds on that day. A second shop has the same sales and no tick at
# all: now and then its views must show the same members, since the same
# instants; and ticked once at the end its log must be that of the first.
#
#   EVERY=1       compare all groups on every day (default 7; on the days between,
#                 those that somebody entered or left on that day)
#   DAYS=number   how far (default 1,096)
#   SEED=number   other customers and sales (default: the same every time)
#   UNTICKED=number  days between two readings of the shop without ticks (default 120)
#   ZONE=name     default America/Sao_Paulo, where clocks changed at midnight

use strict;
use warnings;

use FindBin;
use IPC::Run ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::RealBin/../random";
use ShopSession;

my $every = $ENV{EVERY} // 7;
my $days = $ENV{DAYS} // 1096;
my $seed = $ENV{SEED} // 20260530;
my $zone = $ENV{ZONE} // 'America/Sao_Paulo';
my $unticked = $ENV{UNTICKED} // 120;    # days between two readings of the shop that is never ticked
my $first = 1451606400;                 # 2016-01-01 00:00 UTC
my $opens = '2016-01-01 10:00:00+00';

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', <<'END');
jit = off
fsync = off
log_min_messages = warning
log_statement = none
autovacuum = off
END
$node->start;

my $start = time;
srand($seed);
my %shop = map { $_ => open_shop($_) } qw(punctual late);
my ($compared, $ticked, $read, @wrong) = (0, 0, 0);
my @sales = sales();
is(members('punctual'), members('late'), 'both shops are the same when they open');
for my $day (1 .. $days)
{
	# what was sold until then, at the same instants
	my $begins = ask('punctual', "SELECT extract(epoch FROM segment._begin_of_day(segment._day_of('$opens', '$zone') + $day, '$zone'))");
	my $at = stamp($begins);
	my @until;
	push @until, shift @sales while @sales && $sales[0][0] < $begins;
	if (@until)
	{
		my $script = join '', map { "SET segment.at = '" . stamp($_->[0]) . "';\n$_->[1];\n" } @until;
		for my $name (qw(punctual late))
		{
			$shop{$name}->start($script);
			push @wrong, map { "a sale in the $name shop: $_" } $shop{$name}->finish;
		}
	}
	my $due = ask('punctual', "SET segment.at = '$at'; SELECT count(*) FROM segment.facts WHERE due <= '$at'");
	next if !$due && $day % $every && $day < $days;

	my $before = members('punctual');
	my $woken = ask('punctual', 'SELECT segment.tick()');
	$ticked += $woken;
	push @wrong, "$woken were ticked at $at where $due were due" if $woken != $due;
	push @wrong, 'a second tick finds somebody' if ask('punctual', 'SELECT segment.tick()') ne '0';
	push @wrong, "the tick changes what views show at $at" if members('punctual') ne $before;
	my $moved = "ARRAY(SELECT DISTINCT c.code FROM segment.changes c WHERE c.kind = 'group' AND c.at = '$at')";
	push @wrong, ask('punctual', 'SELECT walk.wrong(' . ($day % $every == 0 || $day == $days ? 'NULL' : $moved) . ')');
	$compared++;
	if ($day % $unticked == 0)
	{
		$read++;
		push @wrong, "the views of the shop that is not ticked show other members at $at: " . difference($at) if members('late', $at) ne members('punctual');
	}
	last if @wrong > 20;
}
diag($_) for @wrong > 20 ? @wrong[ 0 .. 19 ] : @wrong;
is(scalar @wrong, 0, "on $compared days views with ticks and without show whom the conditions mean: seed $seed");

# One tick at the end, in several batches.
my ($now) = ask('punctual', "SELECT current_setting('segment.at')");
ask('late', "SET segment.at = '$now'");
is(ask('late', 'SELECT segment.tick(batch_size => 50)'), 50, 'a tick takes no more than it was told to');
$shop{late}->start("CALL segment.tick_in_batches(40);\n");
is(join(' ', $shop{late}->finish), '', 'the others are brought up to date in batches');
is(ask('late', 'SELECT segment.tick()'), 0, 'and nobody is left');
is(members('late'), members('punctual'), 'the shops show the same members');
my @changes = map { [ ask($_, "SELECT concat_ws(' ', c.customer_id, c.code, c.action, c.at, c.cause) FROM segment.changes c ORDER BY c.customer_id, c.at, c.code, c.action, c.cause") ] } qw(punctual late);
cmp_ok(scalar @{ $changes[0] }, '>', 10 * $days, scalar @{ $changes[0] } . ' changes are in the log');
my %in_late = map { $_ => 1 } @{ $changes[1] };
my %in_punctual = map { $_ => 1 } @{ $changes[0] };
my @only = ((map { "only ticked daily: $_" } grep { !$in_late{$_} } @{ $changes[0] }), (map { "only ticked at the end: $_" } grep { !$in_punctual{$_} } @{ $changes[1] }));
diag($_) for @only > 20 ? @only[ 0 .. 19 ] : @only;
is(scalar @only, 0, 'both logs say the same');
is(scalar @{ $changes[0] }, scalar @{ $changes[1] }, 'as often');
is(ask($_, 'SELECT count(*) FROM segment.verify()'), 0, "nothing is wrong in the $_ shop") for qw(punctual late);
note(sprintf '%d days, %d compared, %d customers ticked, %d readings without any tick, %.0f s', $days, $compared, $ticked, $read, time - $start);
$_->end for values %shop;
$node->stop;
done_testing();

# ---------------------------------------------------------------------------

sub open_shop
{
	my ($name) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	my ($out, $err) = ('', '');
	local $ENV{PGOPTIONS} = '-c segment.at=' . ($opens =~ s/ /T/r);
	IPC::Run::run([ 'psql', '-Xq', '-v', "zone=$zone", '-v', 'seed=' . ($seed % 1000003), '-d', $node->connstr($name), '-f', "$FindBin::RealBin/../random/walk_shop.sql" ], '>', \$out, '2>', \$err)
	  or die "the shop does not open: $err";
	return ShopSession->new(name => $name, connection => $node->connstr($name), setup => "SET timezone = 'UTC';\nSET client_min_messages = warning;\nSET segment.at = '$opens';");
}

sub ask
{
	my ($name, $sql) = @_;
	my @lines = $shop{$name}->ask($sql);
	return wantarray ? @lines : $lines[-1];
}

sub members
{
	my ($name, $at) = @_;
	return scalar ask($name, ($at ? "SET segment.at = '$at'; " : '') . 'SELECT walk.members()');
}

sub difference
{
	my ($at) = @_;
	my @of = map { { map { $_ => 1 } ask($_, "SELECT concat_ws(' ', m.group_code, m.customer_id, m.since) FROM segment.members m") } } qw(late punctual);
	my @only = ((map { "only late: $_" } grep { !$of[1]{$_} } keys %{ $of[0] }), (map { "only punctual: $_" } grep { !$of[0]{$_} } keys %{ $of[1] }));
	return join '; ', @only > 5 ? @only[ 0 .. 4 ] : @only;
}

# An instant of so many seconds, exact to the microsecond.
sub stamp
{
	my ($seconds) = @_;
	return POSIX::strftime('%Y-%m-%d %H:%M:%S', gmtime int $seconds) . sprintf('.%06d+00', 1e6 * ($seconds - int $seconds) + 0.5);
}

# Some sales, returns, points and edits a week: [ seconds, statement ], by time.
sub sales
{
	my @sales;
	my ($order, $return, $points) = (10000, 10000, 10000);
	my $between = sub { $_[0] + int rand($_[1] - $_[0] + 1) };
	for (1 .. $days * 0.8)
	{
		my $day = $first + 86400 * $between->(1, $days - 1);
		my $at = $day + (rand() < 0.2 ? 3 * 3600 : rand() < 0.2 ? 3 * 3600 - 0.000001 : $between->(0, 86399));
		my $customer = $between->(1, 200);
		my $dated = stamp($at + 86400 * (rand() < 0.8 ? 0 : $between->(-30, 60)));
		my $dice = rand;
		$order++;
		push @sales, [ $at,
			$dice < 0.45 ? "INSERT INTO shop.orders VALUES ($order, $customer, " . 25 * $between->(1, 40) . ", '$dated', 'completed', '" . (rand() < 0.5 ? 'pos' : 'web') . "')"
			: $dice < 0.55 ? 'INSERT INTO shop.returns VALUES (' . $return++ . ", NULL, $customer, " . 25 * $between->(1, 12) . ", '$dated')"
			: $dice < 0.62 ? 'UPDATE shop.orders SET status = ' . (rand() < 0.5 ? "'draft'" : "'completed'") . ' WHERE id = ' . $between->(1, 1200)
			: $dice < 0.68 ? "UPDATE shop.orders SET at = '$dated' WHERE id = " . $between->(1, 1200)
			: $dice < 0.72 ? 'DELETE FROM shop.orders WHERE id = ' . $between->(1, 1200)
			: $dice < 0.84 ? 'INSERT INTO shop.points VALUES (' . $points++ . ", $customer, " . $between->(-20, 60) . ", '$dated', NULL, '" . stamp($at + 86400 * $between->(5, 300)) . "')"
			: $dice < 0.90 ? "INSERT INTO shop.vouchers VALUES ($order, $customer, 'TET', '$dated')"
			: $dice < 0.95 ? "UPDATE shop.customers SET tags = '{vip}' WHERE id = $customer"
			: "UPDATE shop.customers SET dob = dob + 1 WHERE id = $customer" ];
	}
	return sort { $a->[0] <=> $b->[0] } @sales;
}
