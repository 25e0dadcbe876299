# Random operations against a full recomputation: sessions write to a shop in
# every way that PostgreSQL knows; every few operations all of them pause, and
# figures, tiers, rows left out and the log of tier moves must be what plain SQL
# over the shop's own tables says (test/random/truth.sql).
#
#   OPERATIONS=number   how many in all (default 10,000, a minute or two)
#   SESSIONS=number     1 or more; by default part of the operations run in one
#                       session, part in four
#   SEED=number         other operations (default: the same every time)
#   EPISODE=number      only this part of them
#   SHRINK=seconds      how long to look for a shorter script after a failure
#
# Operations run in episodes of some hundred, each on a new shop, so that every
# failure can be run again in seconds. In one session a failure is shrunk to a
# script of a few statements; of several sessions only the seed is repeatable.

use strict;
use warnings;

use FindBin;
use IPC::Open2;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::RealBin/../random";
use RandomOperations;

my $root = "$FindBin::RealBin/..";
my $operations = $ENV{OPERATIONS} // 10000;
my $seed = $ENV{SEED} // 20260530;
my $shrink_for = $ENV{SHRINK} // 60;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;

# sessions => [ operations of an episode, operations between two checks ]
my %pace = (1 => [ 500, 50 ], many => [ 1000, 125 ]);
my @sessions = $ENV{SESSIONS} ? ($ENV{SESSIONS}) : (1, 4);

# What a statement may fail with; nothing of it is segment's own doing, but for
# refused rules and for recalculations in the wrong isolation level.
my %expected = map { $_ => 1 } qw(21000 22012 22023 23502 23503 23505 23514 23P01 25001 25P02 27000 3B001 40001 40P01 55006 P0001);

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', <<'END');
deadlock_timeout = 50ms
statement_timeout = 60s
jit = off
log_min_messages = warning
log_error_verbosity = default
max_locks_per_transaction = 256
END
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE till');
my $can_merge = $node->safe_psql('postgres', 'SHOW server_version_num') >= 150000;

my ($done, $checks, %kinds, %errors) = (0, 0);
my $failures = 0;
my $start = time;

note("seed $seed, $operations operations");
for my $sessions (@sessions)
{
	my ($length, $between) = @{ $pace{ $sessions == 1 ? 1 : 'many' } };
	my $episodes = int($operations / @sessions / $length) || 1;
	my $first = $ENV{EPISODE} // 1;
	my $last = $ENV{EPISODE} // $episodes;
	my $before = $done;
	my $wrong = 0;
	for my $episode ($first .. $last)
	{
		$wrong++ if !episode($sessions, $episode, $length, $between);
		last if $wrong >= 3;
	}
	is($wrong, 0, ($done - $before) . ' random operations in ' . ($sessions == 1 ? 'one session' : "$sessions sessions") . ": seed $seed");
}
note(sprintf('%d operations, %d comparisons, %.0f s', $done, $checks, time - $start));
note("$kinds{$_} $_") for sort { $kinds{$b} <=> $kinds{$a} || $a cmp $b } keys %kinds;
note("failed with $_: $errors{$_}") for sort keys %errors;
cmp_ok($checks, '>', 0, 'something was compared');

$node->stop;
done_testing();

# ---------------------------------------------------------------------------

# One shop from its opening to its last comparison; true if all was right.
sub episode
{
	my ($sessions, $episode, $length, $between) = @_;
	srand(($seed * 1000003 + $episode * 8191 + ($sessions == 1 ? 0 : 5)) % 4294967291);
	my %variant = (
		customer_key => rand() < 0.3 ? 'text' : 'bigint',
		blocklist => rand() < 0.5 ? 'true' : 'false',
		on_delete => rand() < 0.5 ? 'CASCADE' : 'SET NULL',
		deferred => rand() < 0.3 ? 'DEFERRABLE INITIALLY DEFERRED' : '');
	my $generator = RandomOperations->new(can_merge => $can_merge, customer_key => $variant{customer_key});
	my $template = open_shop(%variant);
	my $name = "episode $episode of seed $seed, $sessions session" . ($sessions > 1 ? 's' : '');
	copy_shop($template, 'shop');
	my @psql = map { session($_, 'shop') } 1 .. $sessions;
	my @history;
	my $right = 1;
	my $n = 0;
	while ($n < $length && $right)
	{
		my @chunks;
		my $many = $length - $n < $between ? $length - $n : $between;
		for my $session (0 .. $#psql)
		{
			$chunks[$session] = [ map { $generator->operation } 1 .. int($many / $sessions) || 1 ];
			$n += @{ $chunks[$session] };
			$kinds{ $_->{kind} }++ for @{ $chunks[$session] };
		}
		send_operations($psql[$_], @{ $chunks[$_] }) for 0 .. $#psql;
		my @odd = map { wait_for($_) } @psql;
		push @history, map { @$_ } @chunks;
		$done += map { @$_ } @chunks;
		my @wrong = (@odd, differences('shop'));
		next if !@wrong;

		$right = 0;
		diag("$name: after $n operations");
		diag("  $_") for @wrong > 20 ? (@wrong[ 0 .. 19 ], '…') : @wrong;
		diag("  $_") for warnings();
		my $checked = @history - map { @$_ } @chunks;
		shrink($name, $template, \@wrong, $checked, $sessions, @history);
		diag("again: SEED=$seed EPISODE=$episode SESSIONS=$sessions OPERATIONS=$operations; the shop: "
			  . join(', ', map { "$_=$variant{$_}" } sort keys %variant));
	}
	end($_) for @psql;
	$node->safe_psql('postgres', 'DROP DATABASE shop WITH (FORCE)');
	return $right;
}

# A shop of this kind with everything attached, as a template.
sub open_shop
{
	my (%variant) = @_;
	my $name = join '_', 'template', map { lc substr($_, 0, 8) =~ s/\W//gr } map { $variant{$_} } sort keys %variant;
	return $name if $node->safe_psql('postgres', "SELECT 1 FROM pg_database WHERE datname = '$name'") ne '';
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	for my $file ('shop.sql', 'truth.sql')
	{
		command_ok_quietly('psql', '-Xq', (map { ('-v', "$_=$variant{$_}") } sort keys %variant),
			'-d', $node->connstr($name), '-f', "$root/random/$file");
	}
	my @wrong = differences($name);
	die "the shop is wrong before it opens: @wrong" if @wrong;
	return $name;
}

sub command_ok_quietly
{
	my (@command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(\@command, '>', \$out, '2>', \$err) or die "@command: $err";
	return;
}

sub copy_shop
{
	my ($template, $name) = @_;
	$node->safe_psql('postgres', "DROP DATABASE IF EXISTS $name WITH (FORCE)");
	$node->safe_psql('postgres', "CREATE DATABASE $name TEMPLATE $template" . ($can_merge ? ' STRATEGY file_copy' : ''));
	# a copy of a database is another one: until then its triggers follow nothing
	$node->safe_psql($name, 'SELECT segment.recalculate()');
	return;
}

# --- sessions: one psql each, fed by files ---

sub session
{
	my ($n, $database) = @_;
	my %session = (n => $n, errors => "$tmp/random_session_$n.err", file => "$tmp/random_session_$n.sql");
	unlink $session{errors};
	append_to_file($session{errors}, '');
	$session{pid} = open2($session{from}, $session{to},
		"exec psql -XAtq -v VERBOSITY=verbose -d '" . $node->connstr($database) . "' 2>>'$session{errors}'");
	$session{to}->autoflush(1);
	my $zone = (qw(Asia/Tokyo UTC America/Sao_Paulo Pacific/Kiritimati))[ $n % 4 ];
	print { $session{to} } "\\o /dev/null\nSET client_min_messages = warning;\nSET timezone = '$zone';\nSET ROLE till;\n";
	$session{read} = 0;
	return \%session;
}

sub send_operations
{
	my ($session, @operations) = @_;
	open my $file, '>', $session->{file} or die "$session->{file}: $!";
	print {$file} RandomOperations::script(@operations);
	close $file;
	print { $session->{to} } "\\i $session->{file}\n\\echo done\n";
	return;
}

# Returns what the session should not have met.
sub wait_for
{
	my ($session) = @_;
	my $from = $session->{from};
	my $line = <$from>;
	return ("session $session->{n} is gone: " . slurp_file($session->{errors}, $session->{read})) if !defined $line;
	my $text = slurp_file($session->{errors}, $session->{read});
	$session->{read} += length $text;
	return odd_messages($text);
}

sub odd_messages
{
	my ($text) = @_;
	my @odd;
	my @messages = split /^(?=psql:\S+ (?:ERROR|WARNING|FATAL|PANIC|INFO|NOTICE):|(?:ERROR|WARNING|FATAL|PANIC|INFO|NOTICE):)/m, $text;
	for my $message (@messages)
	{
		next unless $message =~ /(ERROR|WARNING|FATAL|PANIC):\s+(\w{5}): (.*)/;
		my ($severity, $code, $what) = ($1, $2, $3);
		$errors{"$code"}++;
		my ($schema) = $message =~ /^SCHEMA NAME:\s+(.*)/m;
		my ($table) = $message =~ /^TABLE NAME:\s+(.*)/m;
		my $ours = ($schema // '') eq 'segment' && ($table // '') !~ /^(tiers|ladders)$/;
		next if $severity eq 'ERROR' && $expected{$code} && !$ours;
		next if $severity eq 'WARNING' && $code =~ /^25/;
		push @odd, join ' | ', grep { !/^LOCATION|^LINE|^\s*\^/ } split /\n/, $message =~ s/^psql:\S+ //r;
	}
	return @odd;
}

sub end
{
	my ($session) = @_;
	close $session->{to};
	close $session->{from};
	waitpid $session->{pid}, 0;
	return;
}

# --- comparing ---

sub differences
{
	my ($database) = @_;
	$checks++;
	my ($out, $err);
	$node->psql($database, "SELECT what || ': ' || coalesce(detail, '') FROM truth.differences()", stdout => \$out, stderr => \$err);
	return (split(/\n/, $out), $err ne '' ? ($err) : ());
}

sub warnings
{
	my $log = slurp_file($node->logfile);
	my %seen;
	return grep { !/WARNING:  (?:there is|SET CONSTRAINTS)/ && !$seen{ s/^\S+ \S+ \S+ \[\d+\]\s*//r }++ } $log =~ /(.*(?:WARNING|PANIC|terminated by signal).*(?:\n.*(?:DETAIL|CONTEXT|HINT|STATEMENT).*)*)/g;
}

# --- shrinking ---

# Run units (pieces of SQL) in a new shop and tell what is wrong then.
sub outcome
{
	my ($template, @units) = @_;
	copy_shop($template, 'shrinking');
	my $psql = session('shrinking', 'shrinking');
	send_operations($psql, { units => [ @units, 'ROLLBACK' ] });
	my @wrong = wait_for($psql);
	end($psql);
	push @wrong, differences('shrinking');
	return @wrong;
}

# The first words: what kind of difference it is.
sub headline { return $_[0] =~ s/^(\w+:\s+\w{5}: [a-z ]*|[^:]*).*/$1/sr; }

sub shrink
{
	my ($name, $template, $wrong, $checked, $sessions, @history) = @_;
	my $until = time + $shrink_for;
	my %headlines = map { headline($_) => 1 } @$wrong;
	my $tries = 0;
	my $fails = sub {
		$tries++;
		return scalar grep { $headlines{ headline($_) } } outcome($template, @_);
	};
	my $file = "$tmp/random_operations_failure_" . ++$failures . '.sql';
	my @units;

	# the operation after which it is wrong
	my $n = $sessions == 1 ? $checked : @history - 1;
	for ($n .. $#history)
	{
		last if time > $until && @units;
		@units = map { @{ $_->{units} } } @history[ 0 .. $_ ];
		last if $fails->(@units);
		@units = ();
	}
	if (!@units)
	{
		append_to_file($file, RandomOperations::script(@history));
		diag("$name: one session that does the same does not fail; all operations: $file");
		return;
	}
	my $pieces = 2;
	while (@units > 1 && time < $until)
	{
		my $size = int((@units + $pieces - 1) / $pieces);
		my $shorter = 0;
		for (my $from = $#units - ($#units % $size); $from >= 0 && time < $until; $from -= $size)
		{
			my @rest = @units;
			splice @rest, $from, $size;
			if (@rest && $fails->(@rest))
			{
				@units = @rest;
				$shorter = 1;
			}
		}
		last if $size == 1 && !$shorter;
		$pieces = $size == 1 ? @units : $pieces * 2;
		$pieces = @units if $pieces > @units;
	}
	my @still = outcome($template, @units);
	append_to_file($file, RandomOperations::script({ units => \@units }));
	diag("$name: the same with " . @units . " statements, after $tries tries ($file):");
	diag("  $_") for split /\n/, RandomOperations::script({ units => \@units });
	diag("  then $_") for @still > 10 ? @still[ 0 .. 9 ] : @still;
	return;
}
