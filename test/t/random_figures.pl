# Figures read by key against the whole reading, over random shops and random
# conditions: the same values, for everybody and for some; and as the clock
# goes on each value stays until the instant at which it was told it may change.
#
#   FIGURES=number   conditions in all (default 200, about a minute)
#   SEED=number      other shops and conditions (default: the same every time)
#   SHOP=number      only this shop

use strict;
use warnings;
use utf8;

use Encode ();
use FindBin;
use Test::More;

use lib "$FindBin::RealBin/../random";
use ConditionShop;
use RandomConditions;

my $conditions = $ENV{FIGURES} // 200;
my $seed = $ENV{SEED} // 20260531;
my $batch = 25;
my $shops = 12;

my $node = ConditionShop::server();
my %total = (figures => 0, changing => 0, woken => 0, early => 0);
for my $shop ($ENV{SHOP} // 1 .. $ENV{SHOP} // $shops)
{
	my @wrong = ask_shop($shop, int(($conditions + $shops - 1) / $shops));
	is(scalar @wrong, 0, "shop $shop: seed $seed") or diag(Encode::encode('UTF-8', join "\n\n", @wrong[ 0 .. ($#wrong < 4 ? $#wrong : 4) ]));
}
note(sprintf '%d figures of customers, of which %d may change; of %d looked at then %d had not', @total{qw(figures changing woken early)});
$node->stop;
done_testing();

# ---------------------------------------------------------------------------

sub ask_shop
{
	my ($n, $many) = @_;
	my $shop = ConditionShop->new(node => $node, number => $n, seed => $seed);
	$shop->run("$FindBin::RealBin/../random/figures.sql");
	srand(($seed * 1000003 + $n * 8191) % 4294967291);
	my $random = $shop->random;
	my @wrong;
	while ($many > 0)
	{
		my @asked = map { [ condition($random, $shop->{shape}), RandomConditions::pick(@{ $shop->{instants} }) ] } 1 .. ($many < $batch ? $many : $batch);
		my $sql = "SET timezone = 'UTC'; SET client_min_messages = warning; SELECT setseed(0.5) \\g /dev/null\n";
		$sql .= "SELECT to_json(f) FROM truth.figures_wrong(\$q\$$_->[0]\$q\$, '$_->[1]', 8) f;\n" for @asked;
		my @answers = $shop->ask_json($sql);
		for my $n (0 .. $#asked)
		{
			my $answer = $answers[$n];
			$total{$_} += $answer->{$_} // 0 for keys %total;
			push @wrong, "shape $shop->{shape} in $shop->{zone}, at $asked[$n][1]:\n$asked[$n][0]\n$answer->{wrong}" if defined $answer->{wrong};
		}
		$many -= @asked;
	}
	$shop->drop;
	return @wrong;
}

# A random condition, or one of what only time makes interesting.
sub condition
{
	my ($random, $shape) = @_;
	return $random->text($random->condition) if RandomConditions::chance(0.6);
	my $offset = sub { RandomConditions::pick('-', '+') . RandomConditions::pick(1, 2, 7, 30, 31, 90, 400) . RandomConditions::pick('d', 'd', 'd', 'w', 'm', 'm', 'y') };
	my $day = sub { RandomConditions::chance(0.7) ? $offset->() : RandomConditions::pick('today', 'yesterday', 'tomorrow') };
	my $period = sub { RandomConditions::pick('this', 'last', 'next') . '_' . RandomConditions::pick('week', 'month', 'quarter', 'half_year', 'year') };
	my $date = sub {
		my ($field) = @_;
		return "$field " . RandomConditions::pick('=', '!=', '<', '<=', '>', '>=') . ' ' . $day->() if RandomConditions::chance(0.5);
		return "$field " . RandomConditions::pick('', 'NOT ') . 'BETWEEN ' . $day->() . ' AND ' . $day->() if RandomConditions::chance(0.4);
		return "$field " . RandomConditions::pick('', 'NOT ') . 'IN (' . join(', ', map { $day->() } 1 .. RandomConditions::pick(1, 2, 3, 9)) . ')' if RandomConditions::chance(0.4);
		return "$field " . RandomConditions::pick('', 'NOT ') . 'DURING ' . $period->();
	};
	my @narrow = map { $date->('date') } 1 .. RandomConditions::pick(1, 1, 2);
	push @narrow, $date->('delivered') if $shape eq 'a' && RandomConditions::chance(0.3);
	push @narrow, "channel = 'pos'" if RandomConditions::chance(0.3);
	my $narrow = join ', ', @narrow;
	my @figures = ("amount_spent($narrow)", "number_of_orders($narrow)", "amount_ordered($narrow)", "average_order_value($narrow)", "items_bought($narrow)",
		'monthly_total', 'monthly_average', 'monthly_average(months = ' . RandomConditions::pick(1, 2, 6) . ')', 'days_since_last_order');
	push @figures, 'age' if $shape ne 'b';
	push @figures, 'points', 'points_expiring(date ' . RandomConditions::pick('<=', '>=', '<', '>', '=') . ' ' . $day->() . ')',
	  'points_expiring(date BETWEEN today AND ' . $offset->() . ')', 'points_expiring(date DURING ' . $period->() . ')', 'points_expiring' if $shape ne 'b';
	return join ' OR ', map { RandomConditions::pick(@figures) . ' > 1' } 1 .. RandomConditions::pick(1, 2, 3, 6);
}
