# A year of a real shop goes through the triggers, in statements of every kind,
# and must end with every figure, every tier and every tier move that plain SQL
# finds in the raw invoice lines.
#
# Online Retail (D. Chen, UCI 2015): invoices are orders, those whose number
# begins with C are returns. The data are not part of the project:
#
#   SEGMENT_DATA=directory   holds online_retail/invoice_lines.csv.xz
#                            (default: ../shared/data beside the project)
#   SEGMENT_SEED=number      another mixture of statements
#
# What is attached and expected is in test/online_retail/*.sql; this file
# decides which statements load which day.

use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

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
$node->start;
my $can_merge = $node->safe_psql('postgres', 'SHOW server_version_num') >= 150000;

# ---------------------------------------------------------------------------
# The shop before its first sale.

$ENV{ONLINE_RETAIL_FILE} = $file;
run_file("$root/test/online_retail/shop.sql", 'raw lines are loaded and the empty shop is attached');

is(answer('SELECT count(*), sum(quantity * unit_price) FROM raw.lines'), '541909|9747747.934', 'all lines are there');
is( answer('SELECT count(*), count(*) FILTER (WHERE tier IS NOT NULL) FROM segment.customer_tiers WHERE ladder = \'total\''),
	'4372|4372',
	'every customer stands on the ladder before the first order');

# ---------------------------------------------------------------------------
# The statements. Each is followed by a note of what plain SQL says of the
# customers it can have touched.

my @script;
my $step = 0;
my %kind;        # how many statements of which kind
my %repairs;     # day => edits to take back on that day

sub run_sql { push @script, $_[0]; return; }

sub statement
{
	my ($kind, $sql, @customers) = @_;
	my %seen = map { $_ => 1 } grep { defined } @customers;
	$step++;
	$kind{$kind}++;
	run_sql("-- step $step: $kind");
	run_sql($sql);
	run_sql("SELECT proof.note($step, '{" . join(',', sort { $a <=> $b } keys %seen) . "}');") if %seen;
	return;
}

sub statement_for_everybody
{
	my ($kind, $sql) = @_;
	$step++;
	$kind{$kind}++;
	run_sql("-- step $step: $kind");
	run_sql($sql);
	run_sql("SELECT proof.note_everybody($step);");
	return;
}

sub chance { return rand() < $_[0]; }
sub one_of { return $_[ int rand @_ ]; }
sub literal { return defined $_[0] ? "'$_[0]'" : 'NULL'; }

# One invoice, as the table it goes to sees it. Times of returns are instants: they name the zone.
sub columns
{
	my ($invoice, %other) = @_;
	my %i = (%$invoice, %other);
	return $i{is_return}
	  ? (literal($i{number}), literal($i{customer}), literal($i{state} // 'settled'), $i{amount}, "'$i{at} Europe/London'")
	  : (literal($i{number}), literal($i{customer}), literal($i{state} // 'completed'), $i{amount}, "'$i{at}'");
}
sub table { return $_[0]{is_return} ? 'shop.returns' : 'shop.orders'; }
sub amount_column { return $_[0]{is_return} ? 'refund' : 'amount'; }
sub state_column { return $_[0]{is_return} ? 'state' : 'status'; }
sub counting { return $_[0]{is_return} ? 'settled' : 'completed'; }
sub not_counting { return $_[0]{is_return} ? 'pending' : one_of('cart', 'cancelled'); }
sub time_column { return $_[0]{is_return} ? 'settled_at' : 'placed_at'; }
sub insert { return 'INSERT INTO ' . table($_[0]) . ' VALUES (' . join(', ', columns(@_)) . ');'; }
sub update
{
	my ($invoice, $assignments) = @_;
	return 'UPDATE ' . table($invoice) . " SET $assignments WHERE number = '$invoice->{number}';";
}
sub back    # the assignments that make a row what the raw lines say
{
	my ($i) = @_;
	my @values = columns($i);
	return "customer_id = $values[1], " . state_column($i) . " = $values[2], " . amount_column($i) . " = $values[3], "
	  . time_column($i) . " = $values[4]";
}

my (@invoices, %day, %everybody);
for my $line (split /\n/,
	answer('SELECT number, customer_id, abs(amount), amount < 0, at, day, is_return FROM raw.invoices ORDER BY at, number'))
{
	my ($number, $customer, $amount, $negative, $at, $day, $is_return) = split /\|/, $line;
	my $is_c = $is_return eq 't';
	my $invoice = {
		number => $number,
		customer => $customer eq '' ? undef : $customer,
		# a return's amount is what was taken back; an order below zero (two bad debts, nobody's) stays below zero
		amount => ($is_c || $negative eq 'f') ? $amount : "-$amount",
		at => $at,
		is_return => $is_c };
	push @invoices, $invoice;
	push @{ $day{$day} }, $invoice;
	$everybody{$customer} = 1 if $customer ne '';
}
my @days = sort keys %day;
my @everybody = sort { $a <=> $b } keys %everybody;
# 16446 gets nobody else's invoice by mistake: what the log must say of that customer is known
my @others = grep { $_ != 16446 } @everybody;
my $last_day = $days[-1];

is(scalar(@invoices), 25900, 'invoices to load');
is(scalar(@everybody), 4372, 'customers to load them for');

sub customers_of { return map { $_->{customer} } @_; }
sub orders_of { return grep { !$_->{is_return} } @_; }
sub returns_of { return grep { $_->{is_return} } @_; }

# Whole days from the staging table.
sub insert_day
{
	my ($day, $is_return, $customer, $state, $amount) = @_;
	my $table = $is_return ? 'shop.returns' : 'shop.orders';
	$customer //= 'customer_id';
	$state //= $is_return ? 'settled' : 'completed';
	$amount //= $is_return ? '-amount' : 'amount';
	my $at = $is_return ? q(at AT TIME ZONE 'Europe/London') : 'at';
	my $which = $is_return ? 'is_return' : 'NOT is_return';
	return "INSERT INTO $table SELECT number, $customer, '$state', $amount, $at FROM raw.invoices WHERE day = '$day' AND $which";
}

sub copy
{
	my (@rows) = @_;
	return 'COPY ' . table($rows[0]) . " FROM STDIN;\n" . join(
		'',
		map {
			my @columns = map { $_ eq 'NULL' ? '\N' : $_ =~ s/^'(.*)'$/$1/r } columns($_);
			join("\t", @columns) . "\n"
		} @rows) . "\\.";
}

# --- kinds of days ---

sub one_by_one
{
	my ($day, @rows) = @_;
	while (@rows)
	{
		my $invoice = shift @rows;
		if (chance(0.04))
		{
			# the till is switched off in the middle of a sale
			run_sql('BEGIN;');
			statement('insert, rolled back', insert($invoice, amount => 12345.67), $invoice->{customer});
			run_sql('ROLLBACK;');
		}
		if (chance(0.05) && @rows)
		{
			# two sales in one transaction, the second one after a mistake
			my $next = shift @rows;
			run_sql('BEGIN;');
			statement('insert', insert($invoice), $invoice->{customer});
			run_sql('SAVEPOINT mistake;');
			statement('insert, rolled back to a savepoint', insert($next, customer => $invoice->{customer}, amount => 9999),
				$invoice->{customer}, $next->{customer});
			run_sql('ROLLBACK TO mistake;');
			statement('insert', insert($next), $next->{customer});
			run_sql('COMMIT;');
			next;
		}
		statement('insert', insert($invoice), $invoice->{customer});
	}
	return;
}

sub by_copy
{
	my ($day, @rows) = @_;
	for my $part ([ orders_of(@rows) ], [ returns_of(@rows) ])
	{
		statement('copy', copy(@$part), customers_of(@$part)) if @$part;
	}
	return;
}

sub by_select
{
	my ($day, @rows) = @_;
	# sometimes what comes back is written before what is sold: totals go below zero in between
	for my $is_return (chance(0.3) ? (1, 0) : (0, 1))
	{
		statement('insert select', insert_day($day, $is_return) . ';', customers_of(@rows));
	}
	return;
}

sub amounts_later
{
	my ($day, @rows) = @_;
	statement('insert select, wrong amounts', insert_day($day, 0, undef, undef, 'round(amount * 1.7, 2) - 100') . ';', customers_of(@rows));
	statement('insert select, wrong amounts', insert_day($day, 1, undef, undef, '-3 * amount') . ';', customers_of(@rows));
	# some of them one by one, the others at once
	for my $invoice (grep { chance(0.2) } @rows)
	{
		statement('update of an amount', update($invoice, amount_column($invoice) . " = $invoice->{amount}"), $invoice->{customer});
	}
	for my $table ([ 'shop.orders', 'amount', '' ], [ 'shop.returns', 'refund', '-' ])
	{
		statement('update of amounts',
			"UPDATE $table->[0] t SET $table->[1] = $table->[2]i.amount FROM raw.invoices i WHERE i.day = '$day' AND i.number = t.number;",
			customers_of(@rows));
	}
	return;
}

sub as_carts
{
	my ($day, @rows) = @_;
	statement('insert select of carts', insert_day($day, 0, undef, 'cart') . ';', customers_of(@rows));
	statement('insert select of pending returns', insert_day($day, 1, undef, 'pending') . ';', customers_of(@rows));
	for my $invoice (grep { chance(0.3) } @rows)
	{
		statement('update of a status', update($invoice, state_column($invoice) . " = '" . counting($invoice) . "'"), $invoice->{customer});
	}
	for my $table ([ 'shop.orders', 'status', 'completed' ], [ 'shop.returns', 'state', 'settled' ])
	{
		statement('update of statuses',
			"UPDATE $table->[0] t SET $table->[1] = '$table->[2]' FROM raw.invoices i WHERE i.day = '$day' AND i.number = t.number;",
			customers_of(@rows));
	}
	return;
}

sub customers_later
{
	my ($day, @rows) = @_;
	# first they are walk-in sales, or all of them one stranger's, then each is found its customer
	my $stranger = chance(0.5) ? undef : one_of(@others);
	my $wrong = (defined $stranger ? $stranger : 'NULL') . '::integer';
	statement('insert select of strangers', insert_day($day, 0, $wrong) . ';', $stranger, customers_of(@rows));
	statement('insert select of strangers', insert_day($day, 1, $wrong) . ';', $stranger, customers_of(@rows));
	for my $invoice (grep { chance(0.2) } @rows)
	{
		statement('update of a customer', update($invoice, 'customer_id = ' . literal($invoice->{customer})), $stranger, $invoice->{customer});
	}
	for my $table ('shop.orders', 'shop.returns')
	{
		statement('update of customers',
			"UPDATE $table t SET customer_id = i.customer_id FROM raw.invoices i WHERE i.day = '$day' AND i.number = t.number;",
			$stranger, customers_of(@rows));
	}
	return;
}

sub deleted_and_again
{
	my ($day, @rows) = @_;
	by_select($day, @rows);
	statement('delete of a day', "DELETE FROM shop.orders WHERE placed_at::date = '$day';", customers_of(@rows));
	statement('delete of returns',
		"DELETE FROM shop.returns WHERE (settled_at AT TIME ZONE 'Europe/London')::date = '$day' AND number < 'C56';", customers_of(@rows));
	statement('insert select', insert_day($day, 0) . ';', customers_of(@rows));
	statement('insert select, on conflict do nothing', insert_day($day, 1) . ' ON CONFLICT DO NOTHING;', customers_of(@rows));
	return;
}

# Statements that insert and update at once: two kinds of trigger run, one after
# the other. So that a customer has one total after the statement and none in
# between, what is there already belongs to customers with odd keys only.
sub by_upsert
{
	my ($day, @rows) = @_;
	statement('insert select of carts', insert_day($day, 0, undef, 'cart') . ' AND customer_id % 2 = 1;', customers_of(@rows));
	statement('insert on conflict do update',
		insert_day($day, 0) . ' ON CONFLICT (number) DO UPDATE SET status = excluded.status;', customers_of(@rows));
	statement('insert select', insert_day($day, 1) . ';', customers_of(@rows));
	return;
}

sub by_merge
{
	my ($day, @rows) = @_;
	statement('insert select of carts', insert_day($day, 0, undef, 'cart') . ' AND customer_id % 2 = 1;', customers_of(@rows));
	statement('merge', "MERGE INTO shop.orders o USING (SELECT * FROM raw.invoices WHERE day = '$day' AND NOT is_return) i ON o.number = i.number "
		  . "WHEN MATCHED THEN UPDATE SET status = 'completed' "
		  . "WHEN NOT MATCHED THEN INSERT VALUES (i.number, i.customer_id, 'completed', i.amount, i.at);",
		customers_of(@rows));
	statement('insert select', insert_day($day, 1) . ';', customers_of(@rows));
	return;
}

# --- edits of older invoices, taken back some days later ---

sub edit
{
	my ($number_of_day, $invoice) = @_;
	my $kind = one_of(qw(amount state customer date delete key));
	my $own = $invoice->{customer};
	my $other;
	my $later = "UPDATE " . table($invoice) . " SET " . back($invoice) . " WHERE number = '$invoice->{number}';";
	if ($kind eq 'amount')
	{
		statement('edit of an amount', update($invoice, amount_column($invoice) . ' = ' . one_of('0', '12000.005', '-700', 'NULL', "'NaN'")), $own);
	}
	elsif ($kind eq 'state')
	{
		statement('edit of a state', update($invoice, state_column($invoice) . " = '" . not_counting($invoice) . "'"), $own);
	}
	elsif ($kind eq 'customer')
	{
		$other = chance(0.3) ? undef : one_of(@others);
		statement('edit of a customer', update($invoice, 'customer_id = ' . literal($other)), $own, $other);
	}
	elsif ($kind eq 'date')
	{
		statement('edit of a date', update($invoice, time_column($invoice) . " = '2009-06-07 08:09'"), $own);
	}
	elsif ($kind eq 'delete')
	{
		statement('delete', 'DELETE FROM ' . table($invoice) . " WHERE number = '$invoice->{number}';", $own);
		$later = insert($invoice);
	}
	else
	{
		statement('edit of a key', update($invoice, "number = number || '*'"), $own);
		$later = 'UPDATE ' . table($invoice) . " SET number = '$invoice->{number}' WHERE number = '$invoice->{number}*';";
	}
	my $day = $number_of_day + 1 + int rand 20;
	$day = $#days if $day > $#days;
	push @{ $repairs{$day} }, [ "$kind taken back", $later, $own, $other ];
	return;
}

# --- the year ---

# Customers who are away for a while: their orders go on, and count from the
# moment they are back.
my %absent;
my %away = map { one_of(@others) => 1 } 1 .. 40;

run_sql('\set ON_ERROR_STOP on');
run_sql('\o /dev/null');
# The session's own zone must not matter.
run_sql("SET timezone = 'Asia/Tokyo';");

my @loaded;
for my $n (0 .. $#days)
{
	my $today = $days[$n];
	my @rows = @{ $day{$today} };
	run_sql("-- $today");

	# On the last day one customer buys 80,995 pieces and brings them back twelve
	# minutes later: then, and on the first day, every sale is a statement.
	my @weighted = (
		(\&one_by_one) x 30, (\&by_copy) x 20, (\&by_select) x 15, (\&amounts_later) x 8, (\&as_carts) x 9,
		(\&customers_later) x 8, (\&deleted_and_again) x 5, (\&by_upsert) x 3, ($can_merge ? \&by_merge : \&by_upsert) x 3);
	my $kind_of_day = ($n == 0 || $today eq $last_day) ? \&one_by_one : one_of(@weighted);

	for my $customer (sort { $a <=> $b } keys %away)
	{
		next unless chance(0.04);
		if (!$absent{$customer})
		{
			my $how = one_of('delete', 'soft');
			$absent{$customer} = $how;
			statement("customer leaves ($how)",
				$how eq 'soft' ? "UPDATE shop.customers SET deleted_at = now() WHERE id = $customer;" : "DELETE FROM shop.customers WHERE id = $customer;",
				$customer);
		}
		else
		{
			statement('customer comes', comes($customer), $customer);
		}
	}

	$kind_of_day->($today, @rows);

	statement($_->[0], $_->[1], $_->[2], $_->[3]) for @{ delete $repairs{$n} // [] };
	if ($n < $#days)
	{
		for my $invoice (map { one_of(@loaded) } @loaded ? (1 .. 4) : ())
		{
			next if $invoice->{edited}++ || ($invoice->{customer} // 0) == 16446;
			edit($n, $invoice);
		}
	}
	push @loaded, @rows;

	if ($n == 12)
	{
		# the shop's first fortnight was a rehearsal
		statement_for_everybody('truncate', 'TRUNCATE shop.orders, shop.returns;');
		my @until = map { @{ $day{$_} } } @days[ 0 .. $n ];
		for my $is_return (0, 1)
		{
			my $sql = insert_day($today, $is_return);
			$sql =~ s/day = '[^']*'/day <= '$today'/;
			statement_for_everybody('insert select of everything', "$sql;");
		}
		# rows edited before are as new now
		%repairs = ();
	}
	if ($n % 30 == 20)
	{
		# many rows at once, and back
		statement_for_everybody('update of everything', 'UPDATE shop.orders SET amount = amount / 2;');
		run_sql('BEGIN;');
		statement_for_everybody('delete, rolled back', 'DELETE FROM shop.returns;');
		run_sql('ROLLBACK;');
		statement_for_everybody('update of everything', 'UPDATE shop.orders SET amount = amount * 2;');
		statement_for_everybody('update of nothing', 'UPDATE shop.orders SET amount = amount, customer_id = customer_id;');
		run_sql("SELECT proof.verify($step);") if $n % 60 == 20;
		run_sql('ANALYZE shop.orders, shop.returns, proof.history;');
	}
}
statement('customer comes', comes($_), $_) for sort { $a <=> $b } keys %absent;
$step++;
run_sql("SELECT proof.note_everybody($step);");
run_sql("SELECT proof.verify($step);");

sub comes
{
	my ($customer) = @_;
	my $how = delete $absent{$customer};
	return $how eq 'soft'
	  ? "UPDATE shop.customers SET deleted_at = NULL WHERE id = $customer;"
	  : "INSERT INTO shop.customers (id) VALUES ($customer);";
}

my $script = "$PostgreSQL::Test::Utils::tmp_check/online_retail_statements.sql";
unlink $script;
append_to_file($script, join('', map { "-- $kind{$_} $_\n" } sort { $kind{$b} <=> $kind{$a} || $a cmp $b } keys %kind)
	  . join("\n", @script) . "\n");
note("$step statements of " . keys(%kind) . " kinds: $script");

run_file($script, 'a year of sales goes through the triggers');

# ---------------------------------------------------------------------------
# What came out.

run_file("$root/test/online_retail/expected.sql", 'the expected answers are written down');

# The shop's tables hold what the raw lines say: else the statements above are wrong, not the extension.
nothing(
	q(SELECT number, customer_id, 'completed', amount, at FROM raw.invoices WHERE NOT is_return
	  EXCEPT SELECT number, customer_id, status, amount, placed_at FROM shop.orders),
	'all orders are loaded');
nothing(
	q(SELECT number, customer_id, 'settled', -amount, at FROM raw.invoices WHERE is_return
	  EXCEPT SELECT number, customer_id, state, refund, settled_at AT TIME ZONE 'Europe/London' FROM shop.returns),
	'all returns are loaded');
is(answer('SELECT (SELECT count(*) FROM shop.orders), (SELECT count(*) FROM shop.returns)'), '22064|3836', 'and nothing else');

# Figures.
is(answer('SELECT count(*) FROM segment.customers'), 4372, 'customers with figures');
is(answer('SELECT count(*) FROM proof.expected_figures'), 4372, 'customers with expected figures');
same('proof.expected_figures', 'proof.figures', 'every figure equals plain SQL over the raw lines');
is(answer('SELECT count(*) FROM segment.facts'), 4372, 'walk-in sales and strangers left no row');
is(answer('SELECT count(*) FROM segment.customers WHERE number_of_orders = 0 AND amount_spent < 0'),
	33, 'customers who only ever returned something');

# Tiers.
is(answer('SELECT count(*) FROM proof.expected_tiers'), 2 * 4372, 'expected tiers');
same('proof.expected_tiers', 'proof.tiers', 'every tier equals a plain CASE over the raw totals');
same(
	'(SELECT customer_id, programme, l.code, tier, rank, value, since FROM segment.customer_tiers t JOIN segment.ladders l ON l.code = t.ladder)',
	'(SELECT customer_id, programme, ladder, tier, rank, value, since FROM segment.customer_tier)',
	'one tier a programme: here each ladder is a programme');
same(
	'(SELECT ladder, tier, count(*) FROM proof.expected_tiers WHERE tier IS NOT NULL GROUP BY 1, 2)',
	'(SELECT ladder, tier, customers FROM segment.tier_sizes WHERE tier IS NOT NULL)',
	'tier sizes');

# The history of the tiers.
my $moves = answer('SELECT count(*) FROM proof.expected_moves');
cmp_ok($moves, '>', 20000, "moves to replay: $moves");
is(answer('SELECT count(*) FROM proof.moves'), $moves, 'as many moves are logged');
cmp_ok(answer("SELECT count(*) FROM proof.moves WHERE action = '$_'"), '>', 20, "some of them are '$_'") for qw(enter leave up down);
nothing('SELECT * FROM proof.wrong_moves', 'the history of every customer replays exactly, move by move');
nothing(
	q(SELECT customer_id, ladder, tier, since FROM segment.customer_tiers WHERE tier IS NOT NULL
	  EXCEPT (SELECT DISTINCT ON (customer, ladder) customer, ladder, new_tier, at FROM proof.moves ORDER BY customer, ladder, move DESC)),
	'the tier held is the one of the last move, since then');
is( answer(
		q(SELECT old_tier, new_tier, trim_scale(old_value), trim_scale(new_value), action, cause, source, source_key
		  FROM proof.moves WHERE customer = 16446 AND ladder = 'total' ORDER BY move DESC LIMIT 2)),
	"platinum|bronze|168472.5|2.9|down|return|shop.returns|C581484\n"
	  . 'bronze|platinum|2.9|168472.5|up|order|shop.orders|581483',
	'80,995 pieces were bought and brought back within minutes');

# The extension's own judgement of itself, along the way and at the end.
cmp_ok(answer('SELECT count(*) FROM proof.verified'), '>=', 5, 'verify() was asked along the way');
nothing('SELECT * FROM proof.verified WHERE differences <> 0', 'and never found a difference');
nothing('SELECT * FROM segment.verify()', 'nor does it now');
nothing(q(SELECT * FROM segment.status() WHERE state = 'stale' OR item IN ('left out', 'kept apart')), 'status() has nothing to report');
nothing('SELECT 1 FROM segment.recalculate() AS wrong WHERE wrong <> 0', 'recalculating everything changes nobody');
nothing('SELECT * FROM proof.wrong_moves', 'nor the history');

$node->stop;
done_testing();

# ---------------------------------------------------------------------------

sub answer { return $node->safe_psql('postgres', $_[0]); }

sub run_file
{
	my ($path, $name) = @_;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $path ],
		'>', \$out, '2>', \$err);
	ok($ok, $name);
	# the rest makes no sense after an error; notices are no error
	die "$path: " . substr($err, -2000) if !$ok;
	return;
}

# No row is right; else the first ones are shown.
sub nothing
{
	my ($query, $name) = @_;
	my $rows = answer("SELECT * FROM ($query) AS q LIMIT 5");
	is($rows, '', $name);
	diag("seed $seed, statements in $script") if $rows ne '';
	return;
}

sub same
{
	my ($expected, $actual, $name) = @_;
	$_ = /^\(/ ? substr($_, 1, -1) : "SELECT * FROM $_" for $expected, $actual;
	nothing("$expected EXCEPT ALL ($actual)", "$name: nothing is missing");
	nothing("$actual EXCEPT ALL ($expected)", "$name: nothing is too much");
	return;
}
