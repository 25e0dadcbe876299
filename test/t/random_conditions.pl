# Random conditions over random shops at random instants: the evaluation in C,
# the SELECT that defines the condition, and a model in plain SQL that is made
# of neither must find the same customers; what is not in p is in NOT p; and
# text and JSON must give back the condition.
#
#   CONDITIONS=number   how many in all (default 20,000, two or three minutes)
#   SEED=number         other shops and conditions (default: the same every time)
#   SHOP=number         only this shop
#   SESSIONS=number     how many ask at the same time (default 2)
#   SHRINK=seconds      how long to look for a shorter condition after a failure
#
# A failing condition is made shorter while it still fails, and printed as a
# script with the shop, the instant and the keys on each side.

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

my $conditions = $ENV{CONDITIONS} // 20000;
my $seed = $ENV{SEED} // 20260530;
my $sessions = $ENV{SESSIONS} // 2;
my $shrink_for = $ENV{SHRINK} // 30;
my $tmp = $PostgreSQL::Test::Utils::tmp_check;
my $shop_file = "$FindBin::RealBin/../random/condition_shop.sql";
my $batch = 100;
my $json = JSON::PP->new;

my @shapes = qw(a b c d);
my @zones = qw(Asia/Ho_Chi_Minh America/Sao_Paulo Europe/Lisbon Pacific/Apia Africa/Cairo America/St_Johns);

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

# Every shape in every zone once, then again with other customers.
my $shops = int($conditions / 800) || 1;
my $of_each = int(($conditions + $shops - 1) / $shops);
my $start = time;
my %total = (asked => 0, wrong => 0, none => 0, some => 0, all => 0);
note("seed $seed, $conditions conditions over $shops shops");
for my $shop ($ENV{SHOP} // 1 .. $ENV{SHOP} // $shops)
{
	my $stats = open_shop($shop);
	$total{$_} += $stats->{$_} for keys %total;
	diag(Encode::encode('UTF-8', $_)) for @{ $stats->{reports} };
	last if $total{wrong} > 20;
}
is($total{wrong}, 0, "$total{asked} conditions mean the same in C, in SQL and to the model: seed $seed");
cmp_ok($total{some}, '>', 0.5 * $total{asked}, 'more than half of them are for some customers, not for all or none');
note(sprintf '%d for nobody, %d for some, %d for everybody; %.0f s', @total{qw(none some all)}, time - $start);
$node->stop;
done_testing();

# ---------------------------------------------------------------------------

sub open_shop
{
	my ($shop) = @_;
	my %shop = (n => $shop, shape => $shapes[ ($shop - 1) % @shapes ], zone => $zones[ ($shop - 1) % @zones ], seed => ($seed * 7919 + $shop * 104729) % 1000003);
	# four shapes and six zones do not go round together: move on by one after each dozen
	$shop{zone} = $zones[ ($shop - 1 + int(($shop - 1) / 12)) % @zones ];
	my $name = "shop$shop";
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-Xq', (map { ('-v', "$_=$shop{$_}") } qw(shape zone seed)), '-d', $node->connstr($name), '-f', $shop_file ], '>', \$out, '2>', \$err)
	  or die "shop $shop does not open: $err";
	my ($pools, $instants) = map { $json->decode($_) } map { Encode::decode('UTF-8', $_) } split /\n/, ask($name, "SET timezone = 'UTC'; SELECT truth.pools(); SELECT truth.instants();");
	my @workers;
	for my $session (1 .. $sessions)
	{
		my $file = "$tmp/random_conditions_$session.json";
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
		$stats{$_} = ($stats{$_} // 0) + ($of->{$_} // 0) for keys %total;
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

sub work
{
	my ($shop, $name, $pools, $instants, $session, $many) = @_;
	srand(($seed * 1000003 + $shop->{n} * 8191 + $session * 131) % 4294967291);
	my $random = RandomConditions->new(shape => $shop->{shape}, zone => $shop->{zone}, pools => $pools);
	my %stats = (asked => 0, wrong => 0, none => 0, some => 0, all => 0, reports => []);
	my %seen;
	while ($stats{asked} < $many)
	{
		my @asked = map { { tree => $random->condition, at => RandomConditions::pick(@$instants), thorough => RandomConditions::chance(0.2) } }
		  1 .. ($many - $stats{asked} < $batch ? $many - $stats{asked} : $batch);
		my @answers = answers($random, $name, @asked);
		$stats{asked} += @asked;
		for my $n (0 .. $#asked)
		{
			my ($wrong, $size, $customers) = @{ $answers[$n] };
			if (!defined $wrong) { $stats{ $size == 0 ? 'none' : $size == $customers ? 'all' : 'some' }++; next; }
			$stats{wrong}++;
			my $kind = $wrong =~ s/[^a-zA-Z ].*//sr;
			next if $seen{$kind}++ >= 3 || @{ $stats{reports} } >= 8;
			push @{ $stats{reports} }, report($shop, $random, $name, $asked[$n], $wrong);
		}
	}
	return \%stats;
}

# What is wrong with each, if anything; how many satisfy it, of how many.
sub answers
{
	my ($random, $name, @asked) = @_;
	my $sql = "SET timezone = 'UTC';\n";
	for (@asked)
	{
		my ($text, $model) = ($random->text($_->{tree}), $random->model($_->{tree}));
		$sql .= sprintf "SELECT json_build_array(a.wrong, a.size, (SELECT count(*) FROM truth.m)) FROM truth.ask(%s, '%s', %s, %s) a;\n",
		  string($text), $_->{at}, string($model), $_->{thorough} ? 'true' : 'false';
	}
	return map { $json->decode(Encode::decode('UTF-8', $_)) } split /\n/, ask($name, $sql);
}

sub string
{
	my ($text) = @_;
	my $tag = 'q';
	$tag .= 'q' while index($text, "\$$tag\$") >= 0;
	return "\$$tag\$$text\$$tag\$";
}

sub report
{
	my ($shop, $random, $name, $asked, $wrong) = @_;
	my $until = time + $shrink_for;
	my $kind = $wrong =~ s/[^a-zA-Z ].*//sr;
	my $steps = 0;
	SHRINK: while (time < $until)
	{
		my @smaller = map { { %$asked, tree => $_ } } $random->shrinks($asked->{tree});
		last if !@smaller;
		my @answers = answers($random, $name, @smaller);
		for my $n (0 .. $#smaller)
		{
			my $still = $answers[$n][0];
			next if !defined $still || ($still =~ s/[^a-zA-Z ].*//sr) ne $kind;
			$asked = $smaller[$n];
			$wrong = $still;
			$steps++;
			next SHRINK;
		}
		last;
	}
	my ($text, $model) = ($random->text($asked->{tree}), $random->model($asked->{tree}));
	my $sql = eval { Encode::decode('UTF-8', ask($name, "SET timezone = 'UTC'; SELECT segment.to_sql(" . string($text) . ", '$asked->{at}');")) } // $@;
	return <<END;
shop $shop->{n} of seed $seed, shape $shop->{shape} in $shop->{zone}, $asked->{at}, after $steps steps of shrinking:
$text
$wrong
-- again: SEED=$seed SHOP=$shop->{n} CONDITIONS=$conditions; or:
-- createdb shop; psql -v shape=$shop->{shape} -v zone=$shop->{zone} -v seed=$shop->{seed} -d shop -f test/random/condition_shop.sql
SET timezone = 'UTC';
SELECT segment._judge(@{[string($text)]}, '$asked->{at}');
SELECT * FROM truth.ask(@{[string($text)]}, '$asked->{at}', @{[string($model)]}, true);
-- SQL:
$sql
END
}
