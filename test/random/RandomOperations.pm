# What the sessions of test/t/random_operations.pl do: random statements on the
# tables of shop.sql. Everything comes from rand(), so that one seed gives the
# same list again; nothing is read from the server.
#
# An operation is a list of units: { kind => …, units => [ SQL, … ] }. A unit is
# what psql takes in one piece (a statement, or a COPY with its rows); leaving
# units out still gives a script that runs, which is how failures are shrunk.

package RandomOperations;

use strict;
use warnings;

sub new
{
	my ($class, %options) = @_;
	return bless { can_merge => 1, truncate => 1, %options }, $class;
}

# The shop of shop.sql comes in these variants.
my %choices = (
	customer_key => [qw(bigint text)], blocklist => [qw(true false)], on_delete => [ 'CASCADE', 'SET NULL' ],
	deferred => [ '', '', 'DEFERRABLE INITIALLY DEFERRED' ]);

sub draw
{
	my ($class, %given) = @_;
	$given{$_} =~ s/_/ /g for grep { defined $given{$_} } qw(on_delete deferred);
	return { (map { $_ => one_of(@{ $choices{$_} }) } sort keys %choices), %given };
}
sub variables { my ($self) = @_; return map { "$_=$self->{$_}" } sort keys %choices; }
sub options { my ($self) = @_; return join ' ', 'shop=triggers', map { s/ /_/gr } $self->variables; }
sub kind { return 'shop=triggers'; }
sub anonymous { return '0'; }

sub chance { return rand() < $_[0]; }
sub one_of { return $_[ int rand @_ ]; }
sub between { return $_[0] + int rand($_[1] - $_[0] + 1); }

# --- values ---

sub customer
{
	return 'NULL' if chance(0.05);
	return "'0'" if chance(0.06);                      # walk-in sales
	return "'" . between(900, 903) . "'" if chance(0.05);    # nobody's key
	return "'" . between(1, 6) . "'" if chance(0.35);        # the regulars
	return "'" . between(1, 24) . "'";
}
sub someone { return "'" . (chance(0.4) ? between(1, 6) : between(1, 24)) . "'"; }

sub amount
{
	return one_of('NULL', "'NaN'", "'Infinity'", "'-Infinity'", "'1e30'", "'-1e31'") if chance(0.04);
	return one_of(0, 1, 2999999, '2999999.5', 3000000, '9999999.50', 10000000, '0.000000001', -1, "'1e20'") if chance(0.2);
	return -1000 * between(1, 4000) if chance(0.08);
	return 1000 * between(1, 6000);
}

# few enough that orders share an instant, and midnight in the shop's zone is near
sub instant
{
	return one_of('NULL', "'infinity'", "'-infinity'", "'0044-03-15 12:00 BC'", "'20000-01-01'") if chance(0.04);
	return one_of("'1999-12-31 23:59:59'", "'2038-01-19 03:14'", "'2099-01-01'") if chance(0.08);
	return sprintf("'2025-%02d-%02d %s'", between(1, 12), between(1, 28), one_of('00:00', '16:59:59.999999', '17:00', '12:30'));
}
sub day
{
	return one_of('NULL', "'infinity'", "'-infinity'") if chance(0.04);
	return sprintf("'2025-%02d-%02d'", between(1, 12), between(1, 28));
}

sub order_id { return between(1, 120); }
sub order_note
{
	return 'NULL' if chance(0.85);
	return "'" . one_of(qw(again redate move cancel gone refund twin raise welcome ban try phoenix phoenix orphan first last late)) . "'";
}
sub return_note
{
	return 'NULL' if chance(0.85);
	return "'" . one_of('early', 'reopen', 'skip', 'void', 'again', 'gone', 'loose', 'drop order') . "'";
}
sub status { return "'" . (chance(0.75) ? 'completed' : one_of(qw(cart cancelled))) . "'"; }
sub state { return chance(0.02) ? 'NULL' : "'" . (chance(0.8) ? 'settled' : 'pending') . "'"; }

# --- rows, one per table ---

my %width = (orders => 6, returns => 7, loose_returns => 4, tickets => 3, service_returns => 4, accounts => 2, web_orders => 5,
	web_returns => 4, book => 5, customers => 4, blocked => 2);

my %row = (
	orders => sub { return (order_id(), customer(), status(), amount(), instant(), order_note()); },
	returns => sub {
		return (between(1, 80), chance(0.2) ? 'NULL' : order_id(), chance(0.6) ? 'NULL' : customer(), amount(), instant(), state(), return_note());
	},
	loose_returns => sub {
		my $amount = chance(0.06) ? "'abc'" : amount();
		$amount = "'$amount'" if $amount !~ /^['N]/;
		return ("'l" . between(1, 60) . "'", chance(0.1) ? 'NULL' : between(1, 125), $amount, day());
	},
	tickets => sub { return (between(1, 20), customer(), one_of('true', 'true', 'true', 'false', 'NULL')); },
	service_returns => sub { return (between(1, 40), chance(0.1) ? 'NULL' : between(1, 22), amount(), instant()); },
	accounts => sub { return (between(1, 20), chance(0.15) ? 'NULL' : someone()); },
	web_orders => sub { return ("'w" . between(1, 60) . "'", chance(0.1) ? 'NULL' : between(1, 20), amount(), instant(), one_of('true', ('false') x 4)); },
	web_returns => sub { return (between(1, 40), chance(0.1) ? 'NULL' : "'w" . between(1, 62) . "'", amount(), instant()); },
	book => sub {
		my $amount = amount();
		$amount = $amount =~ /^'/ ? $amount : $amount eq 'NULL' ? $amount : $amount * one_of(1, 1, -1);
		return (between(1, 60), chance(0.1) ? 'NULL' : someone(), $amount, chance(0.08) ? 0 : between(1, 7), instant());
	},
	customers => sub { return (chance(0.03) ? "'0'" : someone(), "'somebody'", chance(0.2) ? "'2025-01-01'" : 'NULL', 'NULL'); },
	blocked => sub { return (someone(), one_of('NULL', "'fraud'")); });

my %key = (tickets => 'id', accounts => 'id', blocked => 'customer_id');
sub key { return $key{ $_[0] } // 'id'; }

# How to change one row of a table; returns assignments.
my %assign = (
	orders => sub {
		return one_of(
			'total = ' . amount(), 'total = ' . amount(), 'total = total + 1', 'total = total', 'status = ' . status(), 'status = ' . status(),
			'created_at = ' . instant(), 'customer_id = ' . customer(), 'customer_id = ' . customer(), 'id = ' . order_id(), 'id = id + 1',
			'note = ' . order_note(), 'note = ' . order_note() . ', total = ' . amount(),
			'customer_id = ' . customer() . ', total = ' . amount() . ', created_at = ' . instant(),
			"status = CASE status WHEN 'completed' THEN 'cancelled' ELSE 'completed' END");
	},
	returns => sub {
		return one_of('refund = ' . amount(), 'order_id = ' . one_of('NULL', order_id(), order_id()), 'customer_id = ' . one_of('NULL', customer()),
			'state = ' . state(), 'settled_at = ' . instant(), 'id = ' . between(1, 80), 'note = ' . return_note(), 'refund = refund');
	},
	loose_returns => sub {
		return one_of("refund = '" . between(1, 9999999) . "'", "refund = 'abc'", 'refund = NULL', 'order_id = ' . order_id(), 'order_id = NULL', 'day = ' . day(),
			"id = id || 'x'", "id = 'l" . between(1, 60) . "'");
	},
	tickets => sub { return one_of('customer_id = ' . customer(), 'approved = NOT approved', 'id = ' . between(1, 22), 'approved = NULL'); },
	service_returns => sub { return one_of('refund = ' . amount(), 'ticket_id = ' . between(1, 22), 'at = ' . instant(), 'id = ' . between(1, 40)); },
	accounts => sub { return one_of('customer_id = ' . one_of('NULL', someone(), someone()), 'id = ' . between(1, 20)); },
	web_orders => sub {
		return one_of('total = ' . amount(), 'account_id = ' . one_of('NULL', between(1, 20), between(1, 20)), 'cancelled = NOT cancelled', 'placed_at = ' . instant(),
			"id = 'w" . between(1, 62) . "'");
	},
	web_returns => sub { return one_of('refund = ' . amount(), "web_order_id = 'w" . between(1, 62) . "'", 'at = ' . instant(), 'id = ' . between(1, 40)); },
	book => sub {
		return one_of('amount = ' . amount(), 'amount = -amount', 'rate = ' . between(0, 5), 'customer_id = ' . one_of('NULL', someone(), someone()), 'at = ' . instant(),
			'id = ' . between(1, 60));
	},
	customers => sub {
		return one_of("deleted_at = '2025-01-01'", 'deleted_at = NULL', "deleted_at = CASE WHEN deleted_at IS NULL THEN timestamptz '2025-01-01' END",
			'id = ' . someone(), 'id = ' . someone(), "name = name || '.'");
	},
	blocked => sub { return one_of('customer_id = ' . someone(), "why = 'unknown'"); });

# Which rows: one, some, or a stretch of them.
sub where
{
	my ($table) = @_;
	my $key = key($table);
	my @row = $row{$table}->();
	return "$key = $row[0]" if chance(0.6);
	return "$key IN (" . join(', ', map { ($row{$table}->())[0] } 1 .. between(2, 6)) . ')' if chance(0.4);
	my %by = (
		orders => sub {
			return one_of('customer_id = ' . someone(), 'id BETWEEN ' . order_id() . ' AND ' . order_id(), "note IS NOT NULL", "status = 'cart'", 'id % 5 = ' . between(0, 4));
		},
		returns => sub { return one_of('order_id = ' . order_id(), 'order_id < ' . between(1, 40), "state = 'pending'", 'customer_id IS NOT NULL'); },
		loose_returns => sub { return one_of('order_id = ' . order_id(), "refund = 'abc'", 'order_id < 30'); },
		tickets => sub { return one_of('customer_id = ' . someone(), 'approved', 'id > 10'); },
		service_returns => sub { return one_of('ticket_id = ' . between(1, 20), 'id > 20'); },
		accounts => sub { return one_of('customer_id = ' . someone(), 'id > 10', 'customer_id IS NULL'); },
		web_orders => sub { return one_of('account_id = ' . between(1, 20), 'cancelled', 'account_id IS NULL', 'total > 3000000'); },
		web_returns => sub { return one_of("web_order_id = 'w" . between(1, 60) . "'", 'id > 20'); },
		book => sub { return one_of('customer_id = ' . someone(), 'rate = 0', 'amount < 0', 'id > 30'); },
		customers => sub { return one_of('deleted_at IS NOT NULL', "name = 'somebody'", "id IN (" . join(', ', map { someone() } 1 .. 5) . ')'); },
		blocked => sub { return one_of('why IS NULL', 'true'); });
	return $by{$table}->();
}

my @tables = ((('orders') x 30), (('returns') x 14), (('loose_returns') x 8), (('service_returns') x 6), (('tickets') x 4), (('web_orders') x 9),
	(('accounts') x 3), (('web_returns') x 6), (('book') x 10), (('customers') x 8), (('blocked') x 2));
sub table { return $tables[ int rand @tables ]; }

# --- statements ---

sub values_of { return '(' . join(', ', $row{ $_[0] }->()) . ')'; }

# Rows whose keys differ: ON CONFLICT DO UPDATE and MERGE want that.
sub different_rows
{
	my ($table, $n) = @_;
	my %seen;
	return grep { !$seen{ $_->[0] }++ } map { [ $row{$table}->() ] } 1 .. $n;
}

sub insert
{
	my ($table) = @_;
	my $n = chance(0.6) ? 1 : between(2, 8);
	return "INSERT INTO shop.$table VALUES " . join(', ', map { values_of($table) } 1 .. $n) . (chance(0.7) || $n > 1 ? ' ON CONFLICT DO NOTHING' : '');
}

sub upsert
{
	my ($table) = @_;
	my $key = key($table);
	my $set = $assign{$table}->();
	$set =~ s/\b(\w+) = (NOT |-|)(\1|total|status|deleted_at|name|refund)\b/$1 = $2$table.$3/ if $set !~ /CASE/;
	$set = 'name = excluded.name' if $set =~ /CASE/ && $table eq 'customers';
	$set = 'status = excluded.status, total = excluded.total' if $set =~ /CASE/;
	$set = "id = $table.id" if $set =~ /^id = id/;
	$set =~ s/\|\|/|| '' ||/ if $set =~ /\|\|/;
	if ($table eq 'orders' && chance(0.4))
	{
		$set = one_of('total = excluded.total', 'customer_id = excluded.customer_id', 'status = excluded.status, created_at = excluded.created_at',
			'total = orders.total + excluded.total, note = excluded.note');
	}
	return "INSERT INTO shop.$table VALUES " . join(', ', map { '(' . join(', ', @$_) . ')' } different_rows($table, between(1, 6)))
	  . " ON CONFLICT ($key) DO UPDATE SET $set" . (chance(0.15) ? " WHERE " . ($table eq 'orders' ? 'orders.total > 100' : 'true') : '');
}

sub update
{
	my ($table) = @_;
	return "UPDATE shop.$table SET " . $assign{$table}->() . ' WHERE ' . where($table) . (chance(0.2) ? ' RETURNING *' : '');
}

sub delete_
{
	my ($table) = @_;
	return "DELETE FROM shop.$table WHERE " . where($table);
}

sub copy
{
	my ($table) = @_;
	my @lines;
	my $n = between(1, 6);
	for my $i (1 .. $n)
	{
		my @columns = map { $_ eq 'NULL' ? '\N' : /^'(.*)'$/ ? $1 : $_ } $row{$table}->();
		# mostly keys that are not there; some are, and the whole COPY fails
		push @lines, join("\t", @columns);
	}
	return "COPY shop.$table FROM STDIN;\n" . join("\n", @lines) . "\n\\.";
}

# Rows are removed first, so that the COPY has a chance to succeed.
sub replace_by_copy
{
	my ($table) = @_;
	my $key = key($table);
	my @rows = different_rows($table, between(1, 8));
	return (
		"DELETE FROM shop.$table WHERE $key IN (" . join(', ', map { $_->[0] } @rows) . ')',
		"COPY shop.$table FROM STDIN;\n"
		  . join('', map { join("\t", map { $_ eq 'NULL' ? '\N' : /^'(.*)'$/ ? $1 : $_ } @$_) . "\n" } @rows) . "\\.");
}

my %names = (
	orders => 'id, customer_id, status, total, created_at, note',
	returns => 'id, order_id, customer_id, refund, settled_at, state, note',
	loose_returns => 'id, order_id, refund, day',
	web_orders => 'id, account_id, total, placed_at, cancelled',
	book => 'id, customer_id, amount, rate, at',
	customers => 'id, name, deleted_at, tier_code');
my %casts = (
	orders => [qw(bigint KEY text numeric timestamp text)],
	returns => [qw(bigint bigint KEY numeric timestamptz text text)],
	loose_returns => [qw(text bigint text date)],
	web_orders => [qw(text integer numeric timestamptz boolean)],
	book => [qw(bigint KEY numeric numeric timestamptz)],
	customers => [qw(KEY text timestamptz text)]);

sub merge
{
	my ($self) = @_;
	my $table = one_of('orders', 'orders', 'orders', 'returns', 'loose_returns', 'web_orders', 'book', 'customers');
	my @names = split /, /, $names{$table};
	my @casts = map { $_ eq 'KEY' ? $self->{customer_key} : $_ } @{ $casts{$table} };
	my @rows = map {
		my $r = $_;
		'(' . join(', ', map { "$r->[$_]::$casts[$_]" } 0 .. $#casts) . ')'
	} different_rows($table, between(1, 8));
	my @when;
	push @when, 'WHEN MATCHED AND ' . one_of('true', 't.id = t.id', 'random() >= 0') . ' THEN DELETE' if chance(0.15);
	push @when, 'WHEN MATCHED AND s.' . $names[1] . ' IS NULL THEN ' . one_of('DELETE', 'DO NOTHING') if chance(0.4);
	push @when, 'WHEN MATCHED THEN UPDATE SET '
	  . join(', ', map { "$_ = s.$_" } (chance(0.5) ? @names[ 1 .. $#names ] : $names[ between(1, $#names) ]))
	  if chance(0.8);
	push @when, 'WHEN NOT MATCHED THEN INSERT VALUES (' . join(', ', map { "s.$_" } @names) . ')' if chance(0.8) || !@when;
	return "MERGE INTO shop.$table t USING (VALUES " . join(', ', @rows) . ") AS s ($names{$table}) ON t.id = s.id " . join(' ', @when);
}

# Several tables, or one table several times, in one statement.
sub writable_cte
{
	my ($self) = @_;
	my $order = order_id();
	my $other = order_id();
	return one_of(
		"WITH o AS (INSERT INTO shop.orders VALUES " . values_of('orders') . " ON CONFLICT DO NOTHING RETURNING id) "
		  . "INSERT INTO shop.returns SELECT " . between(1, 80) . ", id, NULL, " . amount() . ", " . instant() . "::timestamptz, 'settled', NULL FROM o ON CONFLICT DO NOTHING",
		"WITH o AS (UPDATE shop.orders SET status = " . status() . " WHERE id = $order RETURNING id), r AS (UPDATE shop.returns SET state = " . state()
		  . " WHERE order_id = $order RETURNING id) DELETE FROM shop.loose_returns WHERE order_id = $order",
		"WITH d AS (DELETE FROM shop.loose_returns WHERE order_id = $order RETURNING order_id) DELETE FROM shop.orders WHERE id = $order",
		"WITH a AS (INSERT INTO shop.orders VALUES " . values_of('orders') . " ON CONFLICT DO NOTHING RETURNING id), "
		  . "b AS (INSERT INTO shop.orders VALUES " . values_of('orders') . " ON CONFLICT DO NOTHING RETURNING id), "
		  . "c AS (UPDATE shop.orders SET total = total + 7 WHERE id = $order RETURNING id) DELETE FROM shop.orders WHERE id = $other",
		"WITH d AS (DELETE FROM shop.orders WHERE id = $order RETURNING *) INSERT INTO shop.web_orders SELECT 'w' || between_id, 1, total, '2025-08-08 00:00+00', false "
		  . "FROM (SELECT id % 60 AS between_id, total FROM d) x ON CONFLICT (id) DO UPDATE SET total = excluded.total",
		"WITH c AS (UPDATE shop.customers SET deleted_at = NULL WHERE id = " . someone() . " RETURNING id), "
		  . "o AS (UPDATE shop.orders SET customer_id = c.id FROM c WHERE orders.id BETWEEN $order AND $order + 3 RETURNING orders.id) "
		  . "INSERT INTO shop.book SELECT " . between(1, 60) . ", NULL, 1000, 1, '2025-01-01 00:00+00' FROM o LIMIT 1 ON CONFLICT DO NOTHING",
		"WITH t AS (UPDATE shop.tickets SET customer_id = " . customer() . " WHERE id = " . between(1, 20) . " RETURNING id) "
		  . "UPDATE shop.service_returns s SET refund = coalesce(refund, 0) + 3 FROM t WHERE s.ticket_id = t.id",
		"WITH t AS (UPDATE shop.accounts SET customer_id = " . someone() . " WHERE id = " . between(1, 20) . " RETURNING id), "
		  . "r AS (INSERT INTO shop.web_returns VALUES " . values_of('web_returns') . " ON CONFLICT DO NOTHING) "
		  . "UPDATE shop.web_orders w SET cancelled = NOT cancelled FROM t WHERE w.account_id = t.id",
		"WITH n AS (INSERT INTO shop.customers VALUES " . values_of('customers') . " ON CONFLICT DO NOTHING RETURNING id), "
		  . "b AS (DELETE FROM shop.blocked WHERE customer_id = " . someone() . ") UPDATE shop.orders SET customer_id = n.id FROM n WHERE orders.id IN ($order, $other)",
		"WITH d AS (DELETE FROM shop.customers WHERE id = " . someone() . " RETURNING id) UPDATE shop.orders SET total = total + 1 FROM d WHERE orders.customer_id = d.id");
}

sub truncate_
{
	return one_of(
		'TRUNCATE shop.returns', 'TRUNCATE shop.orders CASCADE', 'TRUNCATE shop.loose_returns', 'TRUNCATE shop.web_returns, shop.service_returns',
		'TRUNCATE shop.accounts CASCADE', 'TRUNCATE shop.tickets', 'TRUNCATE shop.customers CASCADE', 'TRUNCATE shop.book', 'TRUNCATE shop.blocked',
		'TRUNCATE shop.orders, shop.returns, shop.loose_returns', 'TRUNCATE shop.web_orders');
}

sub block
{
	my ($self) = @_;
	my $order = order_id();
	my $customer = customer();
	my $inner = one_of(
		"INSERT INTO shop.orders VALUES (i, $customer, 'completed', i * 100000, '2025-05-05', NULL);",
		"UPDATE shop.orders SET total = total + i WHERE id = i;",
		"DELETE FROM shop.orders WHERE id = i; INSERT INTO shop.orders VALUES (i, $customer, 'completed', 3000000, '2025-06-06', NULL);",
		"UPDATE shop.returns SET refund = refund + i WHERE order_id = i;",
		"INSERT INTO shop.returns VALUES (i, i, NULL, 5, '2025-05-05 00:00+00', 'settled', NULL);",
		"UPDATE shop.web_orders SET total = total + 1 WHERE id = 'w' || i;",
		"UPDATE shop.tickets SET approved = NOT approved WHERE id = i % 20;");
	my $after = one_of("IF i % 3 = 0 THEN RAISE EXCEPTION 'stop'; END IF;", "PERFORM 1 / (i % 2);", '');
	return "DO \$\$ BEGIN FOR i IN $order .. $order + " . between(0, 6) . " LOOP BEGIN $inner $after EXCEPTION WHEN OTHERS THEN "
	  . one_of("NULL;", "NULL;", "UPDATE shop.orders SET total = total + 3 WHERE id = i + 1;")
	  . " END; END LOOP; END \$\$";
}

sub other
{
	my ($self) = @_;
	return one_of(
		"SELECT shop.sell(" . order_id() . ", " . someone() . ", " . amount() . ")",
		"SELECT shop.sell(g, " . someone() . ", g * 1000) FROM generate_series(" . between(1, 60) . ", " . between(61, 70) . ") g",
		"UPDATE shop.orders SET total = total",
		"UPDATE shop.orders o SET total = o.total + r.refund FROM shop.returns r WHERE r.order_id = o.id AND r.refund < 1e9",
		"INSERT INTO shop.orders SELECT id + 120, customer_id, status, total, created_at, note FROM shop.orders WHERE id < " . between(1, 20) . " ON CONFLICT DO NOTHING",
		"DELETE FROM shop.orders WHERE id > 120",
		"DELETE FROM shop.returns WHERE id > 80",
		"DELETE FROM shop.loose_returns WHERE id !~ '^l[0-9]+\$'",
		"UPDATE shop.orders SET id = id + 200 WHERE id BETWEEN " . order_id() . " AND 130",
		"UPDATE shop.orders SET id = id - 200 WHERE id BETWEEN 201 AND 330 AND id - 200 NOT IN (SELECT id FROM shop.orders)",
		"UPDATE shop.orders SET customer_id = " . customer() . " WHERE customer_id = " . someone(),
		"UPDATE shop.customers SET tier_code = 'x' WHERE id = " . someone());
}

# --- the merchant as administrator ---

sub as_administrator { return "SET ROLE NONE;\n" . join(";\n", @_) . ";\nSET ROLE till"; }

sub recalculate
{
	my ($self) = @_;
	return as_administrator(
		one_of(
			'SELECT segment.recalculate()',
			$self->recalculate_some, $self->recalculate_some));
}
sub recalculate_in_batches { return as_administrator('CALL segment.recalculate_in_batches(batch_size => ' . between(3, 30) . ')'); }

# ranges that fit together
sub ranges
{
	my @mins = sort { $a <=> $b } (one_of(0, 0, 0, -1000000, 1, 500000), map { 1000000 * $_ } different(2 .. 14));
	my %unique = map { $_ => 1 } @mins;
	return sort { $a <=> $b } keys %unique;
}
sub different { my %s; $s{ $_[ int rand @_ ] } = 1 for 1 .. between(1, 3); return keys %s; }

sub tiers_of
{
	my ($ladder, @mins) = @_;
	my @codes = qw(member silver gold diamond ruby);
	return map {
		"('$ladder', '$codes[$_]', '$codes[$_]', $mins[$_], " . ($_ < $#mins ? $mins[ $_ + 1 ] - 1 : 'NULL') . ", " . 10 * between(0, 9) . ", "
		  . (chance(0.12) ? 'false' : 'true') . ")"
	} 0 .. ($#mins > 4 ? 4 : $#mins);
}

sub new_tiers
{
	my ($ladder) = @_;
	my @mins = $ladder =~ /visits|pieces/ ? (one_of(0, 1), sort { $a <=> $b } different(2 .. 9)) : ranges();
	$#mins = 4 if $#mins > 4;
	return "INSERT INTO segment.tiers (ladder, code, name, min_value, max_value, points_floor, active) VALUES " . join(', ', tiers_of($ladder, @mins));
}

sub recalculate_some
{
	my ($self) = @_;
	return one_of(
		'SELECT segment.recalculate_customers(ARRAY[' . join(', ', map { someone() } 1 .. between(1, 5)) . "]::$self->{customer_key}\[])",
		"SELECT segment.recalculate_customers('{" . join(',', map { between(1, 24) } 1 .. 3) . ",0,901}')");
}

sub sale_statement { return insert('orders'); }
sub edit_statement { return update('orders'); }
sub return_statement { return delete_('returns'); }

# Each is a transaction of its own; some are refused.
sub rules
{
	my ($self) = @_;
	my $ladder = one_of('total', 'total', 'visits', 'ordered', 'pieces');
	my $n = between(2, 12);
	my $bound = $n * 1000000;
	return [
		one_of(
			[ 'rules: replaced', "DELETE FROM segment.tiers WHERE ladder = '$ladder'", new_tiers($ladder) ],
			[ 'rules: replaced', 'TRUNCATE segment.tiers', map { new_tiers($_) } qw(total visits ordered pieces) ],
			[ 'rules: replaced, a sale between', "DELETE FROM segment.tiers WHERE ladder = '$ladder' AND max_value IS NULL", $self->sale_statement, $self->edit_statement,
				"DELETE FROM segment.tiers WHERE ladder = '$ladder'", $self->return_statement, new_tiers($ladder), $self->sale_statement ],
			[ 'rules: bound moved', "UPDATE segment.tiers SET max_value = $bound - 1 WHERE (ladder, min_value) = (SELECT ladder, min(min_value) FROM segment.tiers WHERE ladder = 'total' GROUP BY 1)",
				$self->edit_statement,
				"UPDATE segment.tiers SET min_value = $bound WHERE (ladder, min_value) = (SELECT ladder, (array_agg(min_value ORDER BY min_value))[2] FROM segment.tiers WHERE ladder = 'total' GROUP BY 1)" ],
			[ 'rules: half done', "UPDATE segment.tiers SET max_value = $bound WHERE ladder = '$ladder' AND code = 'silver'", $self->sale_statement ],
			[ 'rules: half done', "DELETE FROM segment.tiers WHERE ladder = '$ladder' AND code = 'member'" ],
			[ 'rules: switch', "UPDATE segment.tiers SET active = NOT active WHERE ladder = '$ladder' AND code = '" . one_of(qw(member silver gold diamond)) . "'" ],
			[ 'rules: all on', 'UPDATE segment.tiers SET active = true WHERE NOT active' ],
			[ 'rules: ladder switched', "UPDATE segment.ladders SET active = NOT active WHERE code = '$ladder'" ],
			[ 'rules: ladders on', 'UPDATE segment.ladders SET active = true' ],
			[ 'rules: other figure', "UPDATE segment.ladders SET figure = '" . one_of(qw(amount_spent amount_ordered amount_returned)) . "' WHERE code IN ('total', 'ordered')" ],
			[ 'rules: other figure', "UPDATE segment.ladders SET figure = '" . one_of(qw(items_bought items_returned number_of_orders number_of_returns)) . "' WHERE code IN ('pieces', 'visits')" ],
			[ 'rules: other programme', "UPDATE segment.ladders SET programme = '" . one_of('default', 'visits') . "' WHERE code = 'visits'" ],
			[ 'rules: rank', "UPDATE segment.tiers SET rank = " . one_of('NULL', 1, 2, 5) . " WHERE ladder = '$ladder' AND code = 'gold'" ],
			[ 'rules: one more on top', "UPDATE segment.tiers SET max_value = min_value + 999999 WHERE ladder = 'total' AND max_value IS NULL",
				"INSERT INTO segment.tiers (ladder, code, name, min_value) SELECT ladder, 'top', 'Top', max(max_value) + 1 FROM segment.tiers WHERE ladder = 'total' GROUP BY 1" ],
			[ 'rules: refused', "INSERT INTO segment.tiers (ladder, code, name, min_value, max_value) VALUES ('$ladder', 'bad', 'Bad', " . one_of("'NaN', 5", '5, 4', '-9, NULL', '3000000, 3500000') . ")" ],
			[ 'rules: a ladder comes', "INSERT INTO segment.ladders (code, name, figure) VALUES ('extra', 'Extra', 'number_of_returns')",
				"INSERT INTO segment.tiers (ladder, code, name, min_value) VALUES ('extra', 'taker', 'Taker', 2)" ],
			[ 'rules: a ladder goes', "DELETE FROM segment.tiers WHERE ladder = 'extra'", "DELETE FROM segment.ladders WHERE code = 'extra'" ])
	];
}

# --- operations ---

sub statement
{
	my ($self) = @_;
	my $dice = rand;
	my $table = table();
	return [ "insert $table", insert($table) ] if $dice < 0.22;
	return [ "update $table", update($table) ] if $dice < 0.46;
	return [ "delete $table", delete_($table) ] if $dice < 0.54;
	return [ "on conflict $table", upsert($table) ] if $dice < 0.62;
	return [ "copy $table", chance(0.2) ? copy($table) : replace_by_copy($table) ] if $dice < 0.68;
	return [ 'merge', $self->merge ] if $dice < 0.75 && $self->{can_merge};
	return [ 'writable cte', $self->writable_cte ] if $dice < 0.84;
	return [ 'block', $self->block ] if $dice < 0.90;
	return [ 'truncate', truncate_() ] if $dice > 0.994 && $self->{truncate};
	return [ 'other', $self->other ] if $dice < 0.95;
	return [ "update $table", update($table) ];
}

sub transaction
{
	my ($self) = @_;
	my @units = (chance(0.8) ? 'BEGIN' : 'BEGIN ISOLATION LEVEL ' . one_of('REPEATABLE READ', 'SERIALIZABLE'));
	my $rules = $units[0] eq 'BEGIN';
	my @savepoints;
	push @units, 'SET CONSTRAINTS ALL ' . one_of('DEFERRED', 'IMMEDIATE') if chance(0.1);
	for (1 .. between(1, 6))
	{
		my $dice = rand;
		if ($dice < 0.15)
		{
			push @savepoints, 's' . between(1, 3);
			push @units, "SAVEPOINT $savepoints[-1]";
		}
		elsif ($dice < 0.27 && @savepoints)
		{
			push @units, one_of('ROLLBACK TO', 'ROLLBACK TO', 'RELEASE') . ' ' . one_of(@savepoints);
		}
		elsif ($dice < 0.30 && $rules)
		{
			push @units, $self->recalculate;
		}
		elsif ($dice < 0.34 && $rules)
		{
			push @units, as_administrator(@$_[ 1 .. $#$_ ]) for @{ $self->rules };
		}
		else
		{
			my ($kind, @sql) = @{ $self->statement };
			push @units, @sql;
		}
	}
	push @units, chance(0.75) ? 'COMMIT' : 'ROLLBACK';
	return @units;
}

sub operation
{
	my ($self) = @_;
	my $dice = rand;
	if ($dice < 0.20)
	{
		my @units = $self->transaction;
		return { kind => $units[-1] eq 'COMMIT' ? 'transaction' : 'transaction, rolled back', units => \@units };
	}
	if ($dice < 0.235)
	{
		my ($rule) = @{ $self->rules };
		my ($kind, @sql) = @$rule;
		return { kind => $kind, units => @sql > 1 ? [ 'BEGIN', (map { as_administrator($_) } @sql), chance(0.9) ? 'COMMIT' : 'ROLLBACK' ] : [ as_administrator(@sql) ] };
	}
	return { kind => 'recalculate', units => [ $self->recalculate ] } if $dice < 0.245;
	return { kind => 'recalculate in batches', units => [ recalculate_in_batches() ] } if $dice < 0.248;
	my ($kind, @sql) = @{ $self->statement };
	return { kind => $kind, units => \@sql };
}

# As psql reads it.
sub script
{
	return join('', map { /\\\.\z/ ? "$_\n" : "$_;\n" } map { @{ $_->{units} } } @_);
}

1;
