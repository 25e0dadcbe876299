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
use Test::More;
use Time::HiRes qw(time);

use lib "$FindBin::RealBin/../random";
use ConditionShop;
use RandomConditions;

my $conditions = $ENV{CONDITIONS} // 20000;
my $seed = $ENV{SEED} // 20260530;
my $sessions = $ENV{SESSIONS} // 2;
my $shrink_for = $ENV{SHRINK} // 30;
my $batch = 100;

my $node = ConditionShop::server();

# Every shape in every zone once, then again with other customers.
my $shops = int($conditions / 800) || 1;
my $of_each = int(($conditions + $shops - 1) / $shops);
my $start = time;
my %total = (asked => 0, wrong => 0, none => 0, some => 0, all => 0);
note("seed $seed, $conditions conditions over $shops shops");
for my $shop ($ENV{SHOP} // 1 .. $ENV{SHOP} // $shops)
{
	my $stats = ask_shop($shop);
	$total{$_} += $stats->{$_} // 0 for keys %total;
	diag(Encode::encode('UTF-8', $_)) for @{ $stats->{reports} };
	last if $total{wrong} > 20;
}
is($total{wrong}, 0, "$total{asked} conditions mean the same in C, in SQL and to the model: seed $seed");
cmp_ok($total{some}, '>', 0.5 * $total{asked}, 'more than half of them are for some customers, not for all or none');
note(sprintf '%d for nobody, %d for some, %d for everybody; %.0f s', @total{qw(none some all)}, time - $start);
$node->stop;
done_testing();

# ---------------------------------------------------------------------------

sub ask_shop
{
	my ($n) = @_;
	my $shop = ConditionShop->new(node => $node, number => $n, seed => $seed);
	my $stats = $shop->side_by_side($sessions, sub { work($shop, $_[0], int(($of_each + $sessions - 1) / $sessions)) });
	$shop->drop;
	return $stats;
}

sub work
{
	my ($shop, $session, $many) = @_;
	srand(($seed * 1000003 + $shop->{number} * 8191 + $session * 131) % 4294967291);
	my $random = $shop->random;
	my %stats = (asked => 0, wrong => 0, none => 0, some => 0, all => 0, reports => []);
	my %seen;
	while ($stats{asked} < $many)
	{
		my @asked = map { { tree => $random->condition, at => RandomConditions::pick(@{ $shop->{instants} }), thorough => RandomConditions::chance(0.2) } }
		  1 .. ($many - $stats{asked} < $batch ? $many - $stats{asked} : $batch);
		my @answers = answers($shop, $random, @asked);
		$stats{asked} += @asked;
		for my $n (0 .. $#asked)
		{
			my ($wrong, $size, $customers) = @{ $answers[$n] };
			if (!defined $wrong) { $stats{ $size == 0 ? 'none' : $size == $customers ? 'all' : 'some' }++; next; }
			$stats{wrong}++;
			my $kind = $wrong =~ s/[^a-zA-Z ].*//sr;
			next if $seen{$kind}++ >= 3 || @{ $stats{reports} } >= 8;
			push @{ $stats{reports} }, report($shop, $random, $asked[$n], $wrong);
		}
	}
	return \%stats;
}

# What is wrong with each, if anything; how many satisfy it, of how many.
sub answers
{
	my ($shop, $random, @asked) = @_;
	my $sql = "SET timezone = 'UTC';\n";
	for (@asked)
	{
		my ($text, $model) = ($random->text($_->{tree}), $random->model($_->{tree}));
		$sql .= sprintf "SELECT json_build_array(a.wrong, a.size, (SELECT count(*) FROM truth.m)) FROM truth.ask(%s, '%s', %s, %s) a;\n",
		  ConditionShop::string($text), $_->{at}, ConditionShop::string($model), $_->{thorough} ? 'true' : 'false';
	}
	return $shop->ask_json($sql);
}

sub report
{
	my ($shop, $random, $asked, $wrong) = @_;
	my $until = time + $shrink_for;
	my $kind = $wrong =~ s/[^a-zA-Z ].*//sr;
	my $steps = 0;
	SHRINK: while (time < $until)
	{
		my @smaller = map { { %$asked, tree => $_ } } $random->shrinks($asked->{tree});
		last if !@smaller;
		my @answers = answers($shop, $random, @smaller);
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
	my $sql = eval { $shop->ask("SET timezone = 'UTC'; SELECT segment.to_sql(" . ConditionShop::string($text) . ", '$asked->{at}');") } // $@;
	return <<END;
shop $shop->{number} of seed $seed, shape $shop->{shape} in $shop->{zone}, $asked->{at}, after $steps steps of shrinking:
$text
$wrong
-- again: SEED=$seed SHOP=$shop->{number} CONDITIONS=$conditions; or:
-- createdb shop; psql -v shape=$shop->{shape} -v zone=$shop->{zone} -v seed=$shop->{seed} -d shop -f test/random/condition_shop.sql
SET timezone = 'UTC';
SELECT segment._judge(@{[ConditionShop::string($text)]}, '$asked->{at}');
SELECT * FROM truth.ask(@{[ConditionShop::string($text)]}, '$asked->{at}', @{[ConditionShop::string($model)]}, true);
-- SQL:
$sql
END
}
