# Shops of many shapes for test/t/random_operations.pl: keys of several types,
# partitioned orders, two tables in one role, one table in two roles, returns
# over some tables, lines with a key and without. One description, drawn from
# rand(), gives the tables, the attach calls, the truth in plain SQL, and the
# statements that write to them.
#
# SQL that reaches a table unseen (or asks for staleness) says so in a comment,
# unseen: only then may the state be stale.

package RandomShop;

use strict;
use warnings;

use RandomOperations;
our @ISA = ('RandomOperations');

sub chance { return RandomOperations::chance(@_); }
sub one_of { return RandomOperations::one_of(@_); }
sub between { return RandomOperations::between(@_); }

our $unseen = '/* unseen */';

# What may be chosen; the first of each is the plainest.
my %choices = (
	key => [qw(bigint integer text uuid)],
	orders => [qw(plain by_date by_status by_branch nested)],
	foreign_keys => [qw(none cascade)],
	returns => [qw(order_key customer one_step two_steps three_steps)],
	returns_items => [ 0, 1 ],
	lines => [qw(none bare keyed expression)],
	return_lines => [qw(none bare keyed)],
	till => [qw(orders refunds bare)],
	also => [qw(none none customers returns_state returns_at order_lines)],    # what else is partitioned
	own_triggers => [ 0, 1 ],
	deferred => [ 0, 1 ]);

# Options as a line of text, and back.
sub options { my ($self) = @_; return join ' ', map { "$_=$self->{$_}" } sort keys %choices; }

sub kind { my ($self) = @_; return "orders=$self->{orders}" . ($self->{also} ne 'none' ? " also=$self->{also}" : ''); }

# What a description does not name is the plainest.
sub complete { my ($class, %given) = @_; return { (map { $_ => $choices{$_}[0] } keys %choices), %given }; }

sub draw
{
	my ($class, %given) = @_;
	my %options = map { $_ => one_of(@{ $choices{$_} }) } sort keys %choices;
	%options = (%options, %given);
	# a key that may repeat is no target of a foreign key or of a subquery
	$options{returns} = 'order_key' if $options{orders} ne 'plain' && $options{returns} =~ /^(one|three)/;
	$options{also} = 'none' if $options{also} eq 'order_lines' && $options{lines} eq 'none';
	return \%options;
}

sub new
{
	my ($class, %options) = @_;
	my $self = bless { can_merge => 1, truncate => 1, %options }, $class;
	$self->describe;
	return $self;
}

# --- values ---

sub key_value
{
	my ($self, $n) = @_;
	return sprintf("'00000000-0000-4000-8000-%012d'", $n) if $self->{key} eq 'uuid';
	return "'$n'";
}
sub anonymous { my ($self) = @_; return $self->key_value(0) =~ s/'//gr; }
sub someone { my ($self) = @_; return $self->key_value(chance(0.4) ? between(1, 6) : between(1, 24)); }
sub customer
{
	my ($self) = @_;
	return 'NULL' if chance(0.05);
	return $self->key_value(0) if chance(0.06);
	return $self->key_value(between(900, 903)) if chance($self->{foreign_keys} eq 'cascade' ? 0.005 : 0.05);
	return $self->someone;
}
sub recalculate_some
{
	my ($self) = @_;
	return 'SELECT segment.recalculate_customers(ARRAY[' . join(', ', map { $self->someone } 1 .. between(1, 5)) . "]::$self->{key}\[])";
}

sub amount { return RandomOperations::amount(); }
sub instant
{
	my ($self) = @_;
	my $instant = RandomOperations::instant();
	return $instant if $instant eq 'NULL' || $instant =~ /infinity/;
	return $instant =~ s/( BC|)'$/+00$1'/r;
}
sub date_in { return sprintf("'%s-%02d-%02d %s+00'", one_of('2024', '2025', '2025', '2025', '2026'), between(1, 12), between(1, 28), one_of('00:00', '17:00', '12:30')); }
sub items { return one_of('NULL', "'NaN'", "'Infinity'", -3, 0, "'1e30'", "'0.5'") if chance(0.12); return between(1, 9); }
sub quantity { return one_of('NULL', "'NaN'", "'-Infinity'", -2, 0, "'1e30'", "'-5e30'", "'0.25'") if chance(0.12); return between(1, 5); }

my @branches = qw(north south west east);
sub branch { return "'" . (chance(0.08) ? 'extra' : one_of(@branches)) . "'"; }
sub status { return "'" . (chance(0.7) ? 'completed' : one_of(qw(cart cancelled lost extra))) . "'"; }

sub order_id { return between(1, 90); }
sub return_id { return between(1, 60); }

# --- tables ---

# A table: its columns (name, type, generator), the columns of its unique key,
# ways to change a row and to choose rows, how often it is written, and how to
# attach and detach it.
sub describe
{
	my ($self) = @_;
	my %t;
	my $key = $self->{key};
	my $partitioned = $self->{orders} ne 'plain';
	$t{customers} = {
		weight => 8, columns => [
			[ id => $key, sub { chance(0.03) ? $self->key_value(0) : $self->someone } ], [ name => 'text', sub { "'somebody'" } ],
			[ deleted_at => 'timestamptz', sub { chance(0.2) ? "'2025-01-01 00:00+00'" : 'NULL' } ], [ tier_code => 'text', sub { 'NULL' } ] ],
		key => ['id'],
		assign => sub {
			one_of("deleted_at = '2025-01-01 00:00+00'", 'deleted_at = NULL', "deleted_at = CASE WHEN deleted_at IS NULL THEN timestamptz '2025-01-01 00:00+00' END",
				'id = ' . $self->someone, 'id = ' . $self->someone, "name = name || '.'");
		},
		where => sub { one_of('deleted_at IS NOT NULL', 'id IN (' . join(', ', map { $self->someone } 1 .. 5) . ')', 'id = ' . $self->someone) } };

	my $at = $self->{orders} =~ /date|nested/ ? sub { chance(0.03) ? "'infinity'" : date_in() } : sub { $self->instant };
	my %order_key = (plain => ['id'], by_date => [ 'id', 'at' ], by_status => [ 'id', 'status' ], by_branch => [ 'id', 'branch' ], nested => [ 'id', 'branch', 'at' ]);
	$t{orders} = {
		weight => 30, columns => [
			[ id => 'bigint', \&order_id ], [ customer_id => $key, sub { $self->customer } ], [ branch => 'text', \&branch ], [ status => 'text', \&status ],
			[ total => 'numeric', \&amount ], [ items => 'numeric', \&items ], [ at => 'timestamptz', $at ],
			[ note => 'text', sub { $self->{own_triggers} && chance(0.15) ? "'" . one_of(qw(again move gone line close raise twin)) . "'" : 'NULL' } ] ],
		key => $order_key{ $self->{orders} },
		assign => sub {
			one_of('total = ' . amount(), 'total = ' . amount(), 'total = total + 1', 'total = total', 'status = ' . status(), 'status = ' . status(),
				'branch = ' . branch(), 'branch = ' . branch(), 'at = ' . $at->(), 'at = ' . $at->(), "at = at + interval '5 months'", 'items = ' . items(),
				'customer_id = ' . $self->customer, 'customer_id = ' . $self->customer, 'id = ' . order_id(), 'id = id + 1',
				'customer_id = ' . $self->customer . ', total = ' . amount() . ', branch = ' . branch() . ', status = ' . status() . ', at = ' . $at->(),
				"status = CASE status WHEN 'completed' THEN 'cancelled' ELSE 'completed' END", ($self->{own_triggers} ? ("note = '" . one_of(qw(again move gone line close raise twin)) . "'") : ()));
		},
		where => sub {
			my $a = order_id();
			one_of('customer_id = ' . $self->someone, "id BETWEEN $a AND $a + " . between(1, 9), "status = 'cart'", 'branch = ' . branch(), 'id % 7 = ' . between(0, 6),
				"at < '2025-01-01 00:00+00'", "id = $a AND branch = " . branch());
		} };

	$t{till} = {
		weight => 12, columns => [
			[ id => 'integer', sub { between(1, 60) } ], [ customer_id => $key, sub { my $c = $self->customer; $self->{foreign_keys} eq 'cascade' && $c =~ /90\d'$/ ? 'NULL' : $c } ],
			[ total => 'numeric', sub { my $a = amount(); $a =~ /^\d+$/ && chance(0.3) ? -$a : $a } ], [ items => 'numeric', \&items ],
			[ day => 'date', sub { RandomOperations::day() } ], [ cancelled => 'boolean', sub { one_of('true', ('false') x 5, 'NULL') } ] ],
		key => $self->{till} eq 'bare' ? [] : ['id'],
		assign => sub {
			one_of('total = ' . amount(), 'total = -total', 'customer_id = ' . $self->customer, 'cancelled = NOT cancelled', 'day = ' . RandomOperations::day(), 'items = ' . items(),
				'id = ' . between(1, 60), 'customer_id = ' . $self->someone . ', total = ' . amount());
		},
		where => sub { one_of('customer_id = ' . $self->someone, 'total < 0', 'cancelled', 'id > 40') } };

	if ($self->{returns} =~ /^(two|three)/)
	{
		$t{payments} = {
			weight => 4, columns => [ [ id => 'integer', sub { between(1, 70) } ], [ order_id => 'bigint', sub { chance(0.06) ? 'NULL' : order_id() } ] ],
			key => ['id'], assign => sub { one_of('order_id = ' . order_id(), 'order_id = ' . order_id(), 'order_id = NULL', 'id = ' . between(1, 70)) },
			where => sub { one_of('order_id = ' . order_id(), 'order_id < 20', 'id % 6 = 1') } };
	}
	if ($self->{returns} =~ /^three/)
	{
		$t{shipments} = {
			weight => 4, columns => [ [ id => 'integer', sub { between(1, 70) } ], [ payment_id => 'integer', sub { chance(0.06) ? 'NULL' : between(1, 70) } ] ],
			key => ['id'], assign => sub { one_of('payment_id = ' . between(1, 70), 'payment_id = NULL', 'id = ' . between(1, 70)) },
			where => sub { one_of('payment_id = ' . between(1, 70), 'payment_id < 20') } };
	}
	my %names = (order_key => 'order_id', customer => 'order_id', one_step => 'order_id', two_steps => 'payment_id', three_steps => 'shipment_id');
	my $named = $names{ $self->{returns} };
	my $name = sub { chance(0.08) ? 'NULL' : $named eq 'order_id' ? between(1, 93) : between(1, 72) };
	$t{returns} = {
		weight => 16, columns => [
			[ id => 'bigint', \&return_id ], [ $named => $named eq 'order_id' ? 'bigint' : 'integer', $name ],
			($self->{returns} eq 'customer' ? [ customer_id => $key, sub { chance(0.5) ? 'NULL' : $self->customer } ] : ()),
			[ refund => 'numeric', \&amount ], [ pieces => 'numeric', \&items ], [ at => 'timestamptz', sub { $self->{also} eq 'returns_at' ? date_in() : $self->instant } ],
			[ state => 'text', sub { $self->{also} ne 'returns_state' && chance(0.02) ? 'NULL' : "'" . (chance(0.8) ? 'settled' : 'pending') . "'" } ] ],
		key => ['id'],
		assign => sub {
			one_of('refund = ' . amount(), "$named = " . $name->(), "$named = " . $name->(), "state = '" . one_of('settled', 'pending') . "'", 'at = ' . ($self->{also} eq 'returns_at' ? date_in() : $self->instant),
				'id = ' . return_id(), 'pieces = ' . items(), 'refund = refund', ($self->{returns} eq 'customer' ? 'customer_id = ' . one_of('NULL', $self->customer) : ()));
		},
		where => sub { one_of("$named = " . order_id(), "$named < 30", "state = 'pending'", 'id % 5 = ' . between(0, 4)) } };

	if ($self->{lines} ne 'none')
	{
		my $expression = $self->{lines} eq 'expression';
		my $named = $expression ? 'parcel_id' : 'order_id';
		my $name = sub { chance(0.05) ? 'NULL' : $expression ? between(1, 50) : between(1, 93) };
		$t{order_lines} = {
			weight => 22, columns => [
				($self->{lines} eq 'bare' ? () : [ id => 'bigint', sub { between(1, 150) } ]), [ $named => $expression ? 'integer' : 'bigint', $name ],
				[ sku => 'text', sub { one_of("'a'", "'a'", "'b'", $self->{also} eq 'order_lines' ? "'c'" : 'NULL') } ], [ qty => 'numeric', \&quantity ],
				($expression ? [ pack => 'numeric', sub { one_of(1, 1, 1, 6, 0, -1, 'NULL') } ] : ()), [ void => 'boolean', sub { one_of('true', ('false') x 6, 'NULL') } ] ],
			key => $self->{lines} eq 'bare' ? [] : ['id'],
			assign => sub {
				one_of('qty = ' . quantity(), 'qty = qty + 1', 'qty = qty', "$named = " . $name->(), "$named = " . $name->(), 'void = NOT void', "sku = 'b'", "sku = CASE sku WHEN 'a' THEN 'b' ELSE 'a' END",
					($expression ? 'pack = ' . between(1, 3) : ()), ($self->{lines} eq 'bare' ? () : 'id = ' . between(1, 150)));
			},
			where => sub { one_of("$named = " . order_id(), "$named = " . order_id(), "$named < 20", 'qty > 3', "sku = 'b' AND $named > 60") } };
		$t{parcels} = {
			weight => 4, columns => [ [ id => 'integer', sub { between(1, 50) } ], [ order_id => 'bigint', sub { chance(0.06) ? 'NULL' : order_id() } ] ],
			key => ['id'], assign => sub { one_of('order_id = ' . order_id(), 'order_id = ' . order_id(), 'order_id = NULL', 'id = ' . between(1, 50)) },
			where => sub { one_of('order_id = ' . order_id(), 'order_id < 20') } } if $expression;
	}
	if ($self->{return_lines} ne 'none')
	{
		my $name = sub { chance(0.05) ? 'NULL' : between(1, 62) };
		$t{return_lines} = {
			weight => 10, columns => [
				($self->{return_lines} eq 'bare' ? () : [ id => 'integer', sub { between(1, 90) } ]), [ return_id => 'bigint', $name ], [ qty => 'numeric', \&quantity ] ],
			key => $self->{return_lines} eq 'bare' ? [] : ['id'],
			assign => sub { one_of('qty = ' . quantity(), 'qty = qty + 1', 'return_id = ' . $name->(), ($self->{return_lines} eq 'bare' ? () : 'id = ' . between(1, 90))) },
			where => sub { one_of('return_id = ' . return_id(), 'return_id < 20', 'qty > 3') } };
	}
	push @{ $t{returns}{key} }, $self->{also} =~ /returns_(\w+)/ if $self->{also} =~ /returns/;
	push @{ $t{order_lines}{key} }, 'sku' if $self->{also} eq 'order_lines' && $self->{lines} ne 'bare';
	for my $name (keys %t)
	{
		my $table = $t{$name};
		$table->{name} = $name;
		$table->{names} = [ map { $_->[0] } @{ $table->{columns} } ];
		$table->{by} = @{ $table->{key} } ? $table->{key}[0] : $table->{columns}[0][0];
	}
	$self->{tables} = \%t;
	$self->{lottery} = [ map { ($_) x $t{$_}{weight} } sort keys %t ];
	return;
}

# Partitions of orders: name => [ table above, bound, values for "odd" layout ]
sub partitions
{
	my ($self) = @_;
	my %partitions = (
		plain => [],
		by_date => [ [ orders_2024 => "FROM ('2024-01-01 00:00+00') TO ('2025-01-01 00:00+00')" ], [ orders_2025a => "FROM ('2025-01-01 00:00+00') TO ('2025-07-01 00:00+00')" ],
			[ orders_2025b => "FROM ('2025-07-01 00:00+00') TO ('2026-01-01 00:00+00')" ], [ orders_rest => 'DEFAULT' ] ],
		by_status => [ [ orders_completed => "IN ('completed')" ], [ orders_cart => "IN ('cart')" ], [ orders_cancelled => "IN ('cancelled')" ], [ orders_rest => 'DEFAULT' ] ],
		by_branch => [ [ orders_north => "IN ('north')" ], [ orders_south => "IN ('south')" ], [ orders_west => "IN ('west')" ], [ orders_rest => 'DEFAULT' ] ],
		nested => [ [ orders_north => "IN ('north')" ], [ orders_south => "IN ('south')" ], [ orders_west => "IN ('west')" ], [ orders_rest => 'DEFAULT' ] ]);
	return @{ $partitions{ $self->{orders} } };
}
my %also_by = (
	customers => [ 'HASH (id)', customers_0 => 'FOR VALUES WITH (MODULUS 2, REMAINDER 0)', customers_1 => 'FOR VALUES WITH (MODULUS 2, REMAINDER 1)' ],
	returns_state => [ 'LIST (state)', returns_settled => "FOR VALUES IN ('settled')", returns_other => 'DEFAULT' ],
	returns_at => [ 'RANGE (at)', returns_old => "FOR VALUES FROM (MINVALUE) TO ('2025-06-01 00:00+00')", returns_new => "FOR VALUES FROM ('2025-06-01 00:00+00') TO (MAXVALUE)" ],
	order_lines => [ 'LIST (sku)', order_lines_a => "FOR VALUES IN ('a')", order_lines_other => 'DEFAULT' ]);
my %odd = map { $_ => 1 } qw(orders_2025b orders_cancelled orders_west);
my %extra = (by_date => "FROM ('2026-01-01 00:00+00') TO ('2026-07-01 00:00+00')", by_status => "IN ('extra')", by_branch => "IN ('extra')", nested => "IN ('extra')");

sub leaf
{
	my ($self) = @_;
	my @leaves = map { $_->[0] } $self->partitions;
	@leaves = map { $_ eq 'orders_south' ? ('orders_south_old', 'orders_south_new') : $_ } @leaves if $self->{orders} eq 'nested';
	return one_of(@leaves);
}

# The table, or now and then one of its partitions.
sub target
{
	my ($self, $table) = @_;
	return 'shop.' . $self->leaf if $table->{name} eq 'orders' && $self->{orders} ne 'plain' && chance(0.2);
	my ($by, %parts) = $self->{also} =~ /^$table->{name}/ ? @{ $also_by{ $self->{also} } } : ();
	return 'shop.' . one_of(sort keys %parts) if %parts && chance(0.15);
	return "shop.$table->{name}";
}

sub setup
{
	my ($self) = @_;
	my $cascade = $self->{foreign_keys} eq 'cascade';
	my $deferred = $self->{deferred} ? 'DEFERRABLE INITIALLY DEFERRED' : '';
	my %part_by = (by_date => 'RANGE (at)', by_status => 'LIST (status)', by_branch => 'LIST (branch)', nested => 'LIST (branch)');
	my @sql = ('SET client_min_messages = warning', 'CREATE SCHEMA shop');
	for my $name (qw(customers orders payments shipments parcels till returns order_lines return_lines))
	{
		my $table = $self->{tables}{$name} or next;
		my @columns = map {
			my ($column, $type) = @$_;
			my $needed = (grep { $_ eq $column } @{ $table->{key} }) || $column =~ /^(status|branch)$/ ? ' NOT NULL' : '';
			"$column $type$needed"
		} @{ $table->{columns} };
		push @sql, "CREATE TABLE shop.$name (" . join(', ', @columns, @{ $table->{key} } ? 'PRIMARY KEY (' . join(', ', @{ $table->{key} }) . ')' : ()) . ')'
		  . ($name eq 'orders' && $self->{orders} ne 'plain' ? " PARTITION BY $part_by{ $self->{orders} }" : $self->{also} =~ /^$name(?:_|$)/ ? " PARTITION BY $also_by{ $self->{also} }[0]" : '');
	}
	my ($by, %parts) = @{ $also_by{ $self->{also} } // [] };
	push @sql, "CREATE TABLE shop.$_ PARTITION OF shop." . ($self->{also} =~ s/returns_.*/returns/r) . " $parts{$_}" for sort keys %parts;
	for ($self->partitions)
	{
		my ($name, $bound) = @$_;
		$bound = "FOR VALUES $bound" if $bound ne 'DEFAULT';
		if ($odd{$name})
		{
			my @columns = reverse map { "$_->[0] $_->[1]" . ($_->[0] =~ /^(id|status|branch)$/ ? ' NOT NULL' : '') } @{ $self->{tables}{orders}{columns} };
			push @sql, "CREATE TABLE shop.$name (was text, " . join(', gone int, ', @columns[ 0, 1 ]) . ', ' . join(', ', @columns[ 2 .. $#columns ]) . ')';
			$sql[-1] =~ s/ timestamptz/ timestamptz NOT NULL/ if grep { $_ eq 'at' } @{ $self->{tables}{orders}{key} };
			push @sql, "ALTER TABLE shop.$name DROP COLUMN was, DROP COLUMN gone", "ALTER TABLE shop.orders ATTACH PARTITION shop.$name $bound";
		}
		elsif ($self->{orders} eq 'nested' && $name eq 'orders_south')
		{
			push @sql, "CREATE TABLE shop.$name PARTITION OF shop.orders $bound PARTITION BY RANGE (at)",
			  "CREATE TABLE shop.orders_south_old PARTITION OF shop.$name FOR VALUES FROM (MINVALUE) TO ('2025-06-01 00:00+00')",
			  "CREATE TABLE shop.orders_south_new PARTITION OF shop.$name FOR VALUES FROM ('2025-06-01 00:00+00') TO (MAXVALUE)";
		}
		else
		{
			push @sql, "CREATE TABLE shop.$name PARTITION OF shop.orders $bound";
		}
	}
	push @sql, 'CREATE INDEX ON shop.orders (customer_id, at)';
	my @references;
	push @references, [ orders => 'customer_id', 'customers', 'CASCADE' ], [ till => 'customer_id', 'customers', 'SET NULL' ];
	my $plain = $self->{orders} eq 'plain';
	push @references, [ returns => 'order_id', 'orders', 'CASCADE' ] if $plain && $self->{returns} !~ /^(two|three)/;
	push @references, [ payments => 'order_id', 'orders', 'CASCADE' ] if $plain && $self->{tables}{payments};
	push @references, [ returns => 'payment_id', 'payments', 'SET NULL' ] if $self->{returns} =~ /^two/;
	push @references, [ shipments => 'payment_id', 'payments', 'CASCADE' ], [ returns => 'shipment_id', 'shipments', 'CASCADE' ] if $self->{returns} =~ /^three/;
	push @references, [ order_lines => 'order_id', 'orders', 'CASCADE' ] if $plain && $self->{lines} =~ /bare|keyed/;
	push @references, [ parcels => 'order_id', 'orders', 'SET NULL' ] if $plain && $self->{lines} eq 'expression';
	push @references, [ order_lines => 'parcel_id', 'parcels', 'CASCADE' ] if $self->{lines} eq 'expression';
	push @references, [ return_lines => 'return_id', 'returns', 'CASCADE' ] if $self->{return_lines} ne 'none' && $self->{also} !~ /returns/;
	for (@references)
	{
		my ($from, $column, $to, $action) = @$_;
		push @sql, "CREATE INDEX ON shop.$from ($column)";
		push @{ $self->{tables}{$from}{references} }, [ $column, $to ] if $cascade;
		push @sql, "ALTER TABLE shop.$from ADD FOREIGN KEY ($column) REFERENCES shop.$to ON UPDATE CASCADE ON DELETE $action $deferred" if $cascade;
	}
	push @sql, $self->own_triggers if $self->{own_triggers};

	# the first customers and sales are there before anything is attached
	push @sql, 'INSERT INTO shop.customers VALUES ' . join(', ', map { '(' . $self->key_value($_) . ", 'customer $_')" } 0 .. 24);
	# Some of these name rows that are not there; the same for every shop of this description.
	my $next = int rand 4294967291;
	srand(unpack '%31C*', $self->options);
	push @sql, '\set ON_ERROR_STOP off';
	for my $name (qw(orders payments shipments parcels till returns order_lines return_lines))
	{
		my $table = $self->{tables}{$name} or next;
		push @sql, map { $self->insert($table, "shop.$name") =~ s/(?: ON CONFLICT DO NOTHING|)$/ ON CONFLICT DO NOTHING/r } 1 .. 12;
	}
	push @sql, '\set ON_ERROR_STOP on';
	srand($next);
	push @sql, 'CREATE EXTENSION segment',
	  "SELECT segment.configure(timezone => 'Asia/Ho_Chi_Minh', country_code => '84', currency => 'VND', money_unit => 1) \\g /dev/null",
	  "SELECT segment.attach_customers('shop.customers', key => 'id', name => 'name', anonymous => '{" . $self->anonymous
	  . "}', counted_when => 'deleted_at IS NULL') \\g /dev/null";
	push @sql, map { $self->attach($_, '') . ' \g /dev/null' } $self->sources;
	push @sql, <<'END';
INSERT INTO segment.ladders (code, name, figure, programme) VALUES
	('visits', 'Visits', 'number_of_orders', 'visits'), ('ordered', 'Ordered', 'amount_ordered', 'default'), ('pieces', 'Pieces', 'items_bought', 'pieces');
INSERT INTO segment.tiers (ladder, code, name, min_value, max_value, points_floor) VALUES
	('total', 'member', 'Thành viên', 0, 2999999, 0), ('total', 'silver', 'Bạc', 3000000, 9999999, 50), ('total', 'gold', 'Vàng', 10000000, NULL, 100),
	('visits', 'once', 'Once', 1, 1, 0), ('visits', 'again', 'Again', 2, 5, 0), ('visits', 'often', 'Often', 6, NULL, 0),
	('ordered', 'big', 'Big', 5000000, NULL, 0), ('pieces', 'few', 'Few', 1, 9, 0), ('pieces', 'many', 'Many', 10, NULL, 0);
GRANT USAGE ON SCHEMA shop TO till;
GRANT ALL ON ALL TABLES IN SCHEMA shop TO till
END
	return join('', map { "$_;\n" } '\set ON_ERROR_STOP on', @sql) =~ s/(\\set .*);\n/$1\n/gr =~ s{/dev/null;\n}{/dev/null\n}gr;
}

# The merchant's own triggers write to the same tables again.
sub own_triggers
{
	my ($self) = @_;
	my $line = $self->{lines} eq 'bare' ? "INSERT INTO shop.order_lines (order_id, sku, qty, void) VALUES (NEW.id, 'a', 2, false);"
	  : $self->{lines} eq 'keyed' ? "INSERT INTO shop.order_lines (id, order_id, sku, qty, void) VALUES (5000 + NEW.id, NEW.id, 'a', 2, false) ON CONFLICT DO NOTHING;"
	  : 'NULL;';
	my @sql = (<<"SQL");
CREATE FUNCTION shop.order_written() RETURNS trigger LANGUAGE plpgsql AS \$\$
BEGIN
	IF NEW.note IS NULL OR pg_trigger_depth() > 3 THEN
		RETURN NULL;
	END IF;
	CASE NEW.note
		WHEN 'again' THEN UPDATE shop.orders SET total = total + 1000, note = NULL WHERE id = NEW.id;
		WHEN 'move' THEN UPDATE shop.orders SET customer_id = '${\($self->key_value(7) =~ s/'//gr)}', branch = 'west', note = NULL WHERE id = NEW.id;
		WHEN 'gone' THEN DELETE FROM shop.orders WHERE id = NEW.id;
		WHEN 'line' THEN $line
		WHEN 'close' THEN UPDATE shop.orders SET status = 'cancelled', note = NULL WHERE id = NEW.id;
		WHEN 'raise' THEN RAISE EXCEPTION 'the till is closed';
		WHEN 'twin' THEN
			INSERT INTO shop.orders VALUES (500 + NEW.id, NEW.customer_id, 'west', 'completed', 2500, 1, '2025-02-28 23:30+00', NULL) ON CONFLICT DO NOTHING;
		ELSE NULL;
	END CASE;
	RETURN NULL;
END
\$\$;
CREATE TRIGGER order_written AFTER INSERT OR UPDATE ON shop.orders
	FOR EACH ROW EXECUTE FUNCTION shop.order_written()
SQL
	if ($self->{lines} =~ /bare|keyed/)
	{
		# the total of an order is kept by the lines, as many a shop does
		push @sql, <<'SQL';
CREATE FUNCTION shop.line_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP <> 'DELETE' AND NEW.sku = 'b' THEN
		UPDATE shop.orders SET total = total + 10 WHERE id = NEW.order_id;
	ELSIF TG_OP = 'DELETE' AND OLD.sku = 'b' THEN
		UPDATE shop.orders SET total = total - 10, items = 1 WHERE id = OLD.order_id;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER line_written AFTER INSERT OR UPDATE OR DELETE ON shop.order_lines
	FOR EACH ROW EXECUTE FUNCTION shop.line_written()
SQL
	}
	return @sql;
}

# --- what is attached ---

# [ table, role ] in the order of attaching
sub sources
{
	my ($self) = @_;
	return (
		[qw(orders orders)], [qw(till orders)], ($self->{till} eq 'refunds' ? [qw(till returns)] : ()), [qw(returns returns)],
		($self->{lines} ne 'none' ? [qw(order_lines order_lines)] : ()), ($self->{return_lines} ne 'none' ? [qw(return_lines return_lines)] : ()));
}

sub attach
{
	my ($self, $source, $more) = @_;
	my ($table, $role) = @$source;
	my %arguments;
	if ($table eq 'orders')
	{
		%arguments = (key => 'id', customer => 'customer_id', amount => 'total', at => 'at', items => 'items', counted_when => "status IN ('completed', 'extra')");
	}
	elsif ($table eq 'till')
	{
		%arguments = (customer => 'customer_id', amount => 'total', at => 'day', items => 'items', counted_when => 'NOT cancelled');
		$arguments{key} = 'id' if $self->{till} ne 'bare';
		if ($self->{till} eq 'refunds' && $role eq 'orders')
		{
			$arguments{counted_when} = 'NOT cancelled AND total >= 0';
		}
		elsif ($role eq 'returns')
		{
			%arguments = (%arguments, amount => '-total', counted_when => 'NOT cancelled AND total < 0');
		}
	}
	elsif ($table eq 'returns')
	{
		%arguments = (key => 'id', amount => 'refund', at => 'at', counted_when => "state = 'settled'");
		$arguments{items} = 'pieces' if $self->{returns_items};
		$arguments{order_key} = 'order_id' if $self->{returns} =~ /^(order_key|customer)/;
		$arguments{customer} = 'customer_id' if $self->{returns} eq 'customer';
		$arguments{customer} = '(SELECT o.customer_id FROM shop.orders o WHERE o.id = order_id)' if $self->{returns} eq 'one_step';
		$arguments{order_key} = '(SELECT p.order_id FROM shop.payments p WHERE p.id = payment_id)' if $self->{returns} eq 'two_steps';
		$arguments{customer} = '(SELECT o.customer_id FROM shop.shipments s JOIN shop.payments p ON p.id = s.payment_id, shop.orders o WHERE s.id = shipment_id AND o.id = p.order_id)'
		  if $self->{returns} eq 'three_steps';
		$arguments{orders} = 'shop.orders' if $arguments{order_key};
	}
	elsif ($table eq 'order_lines')
	{
		%arguments = (order_key => 'order_id', orders => 'shop.orders', product => 'sku', quantity => 'qty', counted_when => 'NOT void');
		$arguments{key} = 'id' if $self->{lines} ne 'bare';
		%arguments = (%arguments, order_key => '(SELECT p.order_id FROM shop.parcels p WHERE p.id = parcel_id)', quantity => 'qty * pack') if $self->{lines} eq 'expression';
	}
	else
	{
		%arguments = (return_key => 'return_id', returns => 'shop.returns', quantity => 'qty');
		$arguments{key} = 'id' if $self->{return_lines} eq 'keyed';
	}
	return "SELECT segment.attach_$role('shop.$table'" . join('', map { ", $_ => '" . $arguments{$_} =~ s/'/''/gr . "'" } sort keys %arguments) . "$more)";
}

# --- the truth ---

# Views over this shop's tables for truth.sql; no row of a table that is not attached.
sub truth
{
	my ($self) = @_;
	my $collate = $self->{key} eq 'text' ? ' COLLATE "C"' : '';
	my $named = {
		order_key => 'SELECT r.*, NULL::' . $self->{key} . ' AS own, r.order_id AS names FROM shop.returns r',
		customer => 'SELECT r.*, r.customer_id AS own, r.order_id AS names FROM shop.returns r',
		one_step => 'SELECT r.*, (SELECT o.customer_id FROM shop.orders o WHERE o.id = r.order_id) AS own, NULL::bigint AS names FROM shop.returns r',
		two_steps => 'SELECT r.*, NULL::' . $self->{key} . ' AS own, p.order_id AS names FROM shop.returns r LEFT JOIN shop.payments p ON p.id = r.payment_id',
		three_steps => 'SELECT r.*, o.customer_id AS own, NULL::bigint AS names FROM shop.returns r LEFT JOIN shop.shipments s ON s.id = r.shipment_id
			LEFT JOIN shop.payments p ON p.id = s.payment_id LEFT JOIN shop.orders o ON o.id = p.order_id'
	}->{ $self->{returns} };
	my $none = "SELECT NULL::text, NULL::text, NULL::$self->{key}, NULL::numeric WHERE false";
	my %lines = (
		none => $none,
		bare => "SELECT 'shop.order_lines', l.order_id::text, o.customer_id, l.qty FROM shop.order_lines l JOIN truth.orders_named o ON o.key = l.order_id WHERE NOT l.void",
		keyed => "SELECT 'shop.order_lines', l.id::text, o.customer_id, l.qty FROM shop.order_lines l JOIN truth.orders_named o ON o.key = l.order_id WHERE NOT l.void",
		expression => "SELECT 'shop.order_lines', l.id::text, o.customer_id, l.qty * l.pack FROM shop.order_lines l
			JOIN shop.parcels p ON p.id = l.parcel_id JOIN truth.orders_named o ON o.key = p.order_id WHERE NOT l.void");
	my %return_lines = (
		none => $none,
		bare => "SELECT 'shop.return_lines', l.return_id::text, r.customer_id, l.qty FROM shop.return_lines l JOIN truth.returns_named r ON r.key = l.return_id::text",
		keyed => "SELECT 'shop.return_lines', l.id::text, r.customer_id, l.qty FROM shop.return_lines l JOIN truth.returns_named r ON r.key = l.return_id::text");
	my $refunds = $self->{till} eq 'refunds';
	my $till_key = $self->{till} eq 'bare' ? "''" : 't.id::text';
	my $pieces = $self->{returns_items} ? 'r.pieces' : 'NULL::numeric';
	# items of a row do not count where lines are attached; what cannot be added up leaves the row out anyway
	return <<"END";
CREATE VIEW truth.customers AS
	SELECT c.id AS customer_id FROM shop.customers c WHERE c.deleted_at IS NULL AND c.id <> '${\ $self->anonymous}';

CREATE FUNCTION truth.items_of_row(items numeric, lines_are_attached boolean) RETURNS numeric IMMUTABLE LANGUAGE sql AS \$\$
	SELECT CASE WHEN lines_are_attached AND truth.usable(items) THEN NULL ELSE items END
\$\$;

CREATE VIEW truth.orders AS
	SELECT 'shop.orders' AS source, o.id::text AS key, o.customer_id, o.total AS amount, o.at,
		   truth.items_of_row(o.items, (SELECT truth.is_attached('shop.order_lines', 'order_lines'))) AS items
	FROM shop.orders o WHERE o.status IN ('completed', 'extra') AND (SELECT truth.is_attached('shop.orders', 'orders'))
	UNION ALL
	SELECT 'shop.till', $till_key, t.customer_id, t.total, t.day::timestamp AT TIME ZONE 'Asia/Ho_Chi_Minh', t.items
	FROM shop.till t WHERE NOT t.cancelled ${\ ($refunds ? 'AND t.total >= 0' : '')} AND (SELECT truth.is_attached('shop.till', 'orders'));

-- where a key repeats, it counts while any of its orders does, for the least of
-- their customers, and for a walk-in one only where there is no other
CREATE VIEW truth.orders_named AS
	SELECT DISTINCT ON (o.key) o.key::bigint AS key, o.customer_id FROM truth.orders o
	WHERE o.source = 'shop.orders' AND truth.usable(o.amount, o.at, o.items) ORDER BY o.key, o.customer_id = '${\ $self->anonymous}', o.customer_id$collate;

CREATE VIEW truth.returns AS
	SELECT 'shop.returns' AS source, r.id::text AS key, coalesce(r.own, o.customer_id) AS customer_id, r.refund AS amount, r.at,
		   truth.items_of_row($pieces, (SELECT truth.is_attached('shop.return_lines', 'return_lines'))) AS items, $pieces AS given_items
	FROM ($named) r LEFT JOIN truth.orders_named o ON o.key = r.names
	WHERE r.state = 'settled' AND (r.names IS NULL OR o.key IS NOT NULL) AND (SELECT truth.is_attached('shop.returns', 'returns'))
	UNION ALL
	SELECT 'shop.till', $till_key, t.customer_id, -t.total, t.day::timestamp AT TIME ZONE 'Asia/Ho_Chi_Minh', t.items, t.items
	FROM shop.till t WHERE NOT t.cancelled AND t.total < 0 AND (SELECT truth.is_attached('shop.till', 'returns'));

CREATE VIEW truth.returns_named AS
	SELECT DISTINCT ON (r.key) r.key, r.customer_id FROM truth.returns r
	WHERE r.source = 'shop.returns' AND truth.usable(r.amount, r.at, r.given_items) AND r.customer_id <> '${\ $self->anonymous}'
	ORDER BY r.key, r.customer_id$collate;

CREATE VIEW truth.order_lines (source, key, customer_id, quantity) AS
	SELECT * FROM ($lines{ $self->{lines} }) l WHERE (SELECT truth.is_attached('shop.order_lines', 'order_lines'));
CREATE VIEW truth.return_lines (source, key, customer_id, quantity) AS
	SELECT * FROM ($return_lines{ $self->{return_lines} }) l WHERE (SELECT truth.is_attached('shop.return_lines', 'return_lines'));
CREATE FUNCTION truth.adds_up_lines(role text) RETURNS boolean IMMUTABLE LANGUAGE sql AS \$\$
	SELECT CASE role WHEN 'order_lines' THEN ${\ ($self->{lines} eq 'bare' ? 'true' : 'false')} ELSE ${\ ($self->{return_lines} eq 'bare' ? 'true' : 'false')} END
\$\$;
CREATE VIEW truth.may_be_left_out AS SELECT NULL::text AS source, NULL::text AS role, NULL::text AS key WHERE false;
END
}

# --- statements ---

sub table { my ($self) = @_; return $self->{tables}{ one_of(@{ $self->{lottery} }) }; }
sub a { my ($self, $name) = @_; return $self->{tables}{$name}; }

sub row { my ($table) = @_; return [ map { $_->[2]->() } @{ $table->{columns} } ]; }
sub columns { my ($table) = @_; return join ', ', @{ $table->{names} }; }
sub position { my ($table, $name) = @_; my ($i) = grep { $table->{names}[$_] eq $name } 0 .. $#{ $table->{names} }; return $i; }
sub key_of { my ($table, $row) = @_; return join '|', map { $row->[ position($table, $_) ] } @{ $table->{key} }; }

# Rows whose keys differ: ON CONFLICT DO UPDATE and MERGE want that.
sub different
{
	my ($table, $n) = @_;
	my %seen;
	return grep { !@{ $table->{key} } || !$seen{ key_of($table, $_) }++ } map { row($table) } 1 .. $n;
}

sub insert
{
	my ($self, $table, $target) = @_;
	my $n = chance(0.6) ? 1 : between(2, 8);
	my @rows = map { row($table) } 1 .. $n;
	push @rows, $rows[0] if !@{ $table->{key} } && chance(0.3);
	return 'INSERT INTO ' . ($target // $self->target($table)) . ' (' . columns($table) . ') ' . $self->values_of($table, @rows)
	  . (@{ $table->{key} } && (chance(0.7) || $n > 1) ? ' ON CONFLICT DO NOTHING' : '');
}

# Rows; where foreign keys would refuse most, those that they allow.
sub values_of
{
	my ($self, $table, @rows) = @_;
	my $values = 'VALUES ' . join(', ', map { '(' . join(', ', @$_) . ')' } @rows);
	return $values if !$table->{references} || chance(0.1);
	my @types = map { $_->[1] } @{ $table->{columns} };
	$values = 'VALUES ' . join(', ', map { my $r = $_; '(' . join(', ', map { "$r->[$_]::$types[$_]" } 0 .. $#types) . ')' } @rows);
	return "SELECT * FROM ($values) AS v (" . columns($table) . ') WHERE '
	  . join(' AND ', map { "(v.$_->[0] IS NULL OR v.$_->[0] IN (SELECT p.id FROM shop.$_->[1] p))" } @{ $table->{references} });
}

sub where
{
	my ($self, $table) = @_;
	my $by = $table->{by};
	my $value = sub { row($table)->[ position($table, $by) ] };
	return "$by = " . $value->() if chance(0.55);
	return "$by IN (" . join(', ', map { $value->() } 1 .. between(2, 6)) . ')' if chance(0.4);
	return $table->{where}->();
}

sub update
{
	my ($self, $table, $target) = @_;
	return 'UPDATE ' . ($target // $self->target($table)) . ' SET ' . $table->{assign}->() . ' WHERE ' . $self->where($table) . (chance(0.15) ? ' RETURNING *' : '');
}

sub delete_
{
	my ($self, $table) = @_;
	return 'DELETE FROM ' . $self->target($table) . ' WHERE ' . $self->where($table);
}

sub upsert
{
	my ($self, $table) = @_;
	return $self->insert($table) if !@{ $table->{key} };
	my @names = grep { my $n = $_; !grep { $_ eq $n } @{ $table->{key} } } @{ $table->{names} };
	@names = @{ $table->{names} } if chance(0.1);
	my $set = chance(0.5) ? join(', ', map { "$_ = excluded.$_" } (chance(0.4) ? @names : one_of(@names)))
	  : do { my $name = one_of(@names); "$name = " . row($table)->[ position($table, $name) ] };
	return 'INSERT INTO ' . $self->target($table) . ' AS t (' . columns($table) . ') ' . $self->values_of($table, different($table, between(1, 6)))
	  . ' ON CONFLICT (' . join(', ', @{ $table->{key} }) . ") DO UPDATE SET $set" . (chance(0.15) ? " WHERE t.$table->{by} IS NOT NULL" : '');
}

sub as_copy { return join('', map { join("\t", map { $_ eq 'NULL' ? '\N' : /^'(.*)'$/ ? $1 : $_ } @$_) . "\n" } @_) . '\\.'; }

sub copy
{
	my ($self, $table) = @_;
	my $target = $self->target($table);
	my @rows = different($table, between(1, 8));
	my @sql = "COPY $target (" . columns($table) . ") FROM STDIN;\n" . as_copy(@rows);
	my $i = position($table, $table->{by});
	my @keys = grep { $_ ne 'NULL' } map { $_->[$i] } @rows;
	# rows are removed first, so that the COPY has a chance to succeed
	unshift @sql, "DELETE FROM shop.$table->{name} WHERE $table->{by} IN (" . join(', ', @keys) . ')' if @keys && @{ $table->{key} } && chance(0.8);
	return @sql;
}

sub merge
{
	my ($self, $table) = @_;
	my @names = @{ $table->{names} };
	my @types = map { $_->[1] } @{ $table->{columns} };
	my @rows = map {
		my $r = $_;
		'(' . join(', ', map { "$r->[$_]::$types[$_]" } 0 .. $#names) . ')'
	} different($table, between(1, 8));
	my $on = join ' AND ', map { "t.$_ = s.$_" } (@{ $table->{key} } && chance(0.6) ? @{ $table->{key} } : $table->{by});
	my @others = grep { $_ ne $table->{by} } @names;
	my @when;
	push @when, 'WHEN MATCHED AND ' . one_of('true', "t.$table->{by} = t.$table->{by}", 'random() >= 0') . ' THEN DELETE' if chance(0.15);
	push @when, "WHEN MATCHED AND s.$others[0] IS NULL THEN " . one_of('DELETE', 'DO NOTHING') if chance(0.4);
	push @when, 'WHEN MATCHED THEN UPDATE SET ' . join(', ', map { "$_ = s.$_" } (chance(0.5) ? @others : one_of(@others))) if chance(0.8);
	push @when, 'WHEN NOT MATCHED THEN INSERT (' . columns($table) . ') VALUES (' . join(', ', map { "s.$_" } @names) . ')' if chance(0.8) || !@when;
	return 'MERGE INTO ' . $self->target($table) . ' t USING (VALUES ' . join(', ', @rows) . ') AS s (' . columns($table) . ") ON $on " . join(' ', @when);
}

# Several tables, or one table several times, in one statement.
sub writable_cte
{
	my ($self) = @_;
	my @parts = map {
		my $table = $self->table;
		my $sql = one_of($self->insert($table), $self->update($table), $self->update($table), $self->delete_($table));
		$sql =~ s/ RETURNING \*$//;
		$sql
	} 1 .. between(2, 4);
	my $last = pop @parts;
	my $order = order_id();
	unshift @parts, one_of(
		"DELETE FROM shop.orders WHERE id = $order",
		"UPDATE shop.orders SET customer_id = " . $self->customer . " WHERE id = $order",
		"UPDATE shop.orders SET status = " . status() . ", branch = " . branch() . " WHERE id BETWEEN $order AND $order + 3",
		$self->insert($self->a('orders'))) if chance(0.5);
	return 'WITH ' . join(', ', map { "w$_ AS ($parts[$_])" } 0 .. $#parts) . " $last";
}

# An order with its lines, and other things that belong together.
sub sale
{
	my ($self) = @_;
	my $orders = $self->a('orders');
	my $row = row($orders);
	my $id = $row->[0];
	my @sql = ('INSERT INTO shop.orders (' . columns($orders) . ') VALUES (' . join(', ', @$row) . ') ON CONFLICT DO NOTHING');
	$sql[0] = $self->insert($orders, 'shop.orders') if chance(0.3);
	if (my $lines = $self->a('order_lines'))
	{
		my $named = $lines->{names}[ position($lines, 'sku') - 1 ];
		my @rows = different($lines, between(1, 4));
		$_->[ position($lines, $named) ] = $id for $named eq 'order_id' ? @rows : ();
		my $insert = 'INSERT INTO shop.order_lines (' . columns($lines) . ') ' . $self->values_of($lines, @rows)
		  . (@{ $lines->{key} } ? ' ON CONFLICT DO NOTHING' : '');
		return "WITH o AS ($sql[0] RETURNING id) $insert" if chance(0.3);
		push @sql, $insert;
	}
	return @sql;
}

sub move
{
	my ($self) = @_;
	my ($a, $b) = ($self->someone, $self->someone);
	return one_of(
		[ "UPDATE shop.orders SET customer_id = $a WHERE customer_id = $b" ],
		[ "UPDATE shop.orders SET branch = " . branch() . " WHERE branch = " . branch() ],
		[ "UPDATE shop.orders SET status = " . status() . " WHERE customer_id = $a" ],
		[ "UPDATE shop.orders SET at = at + interval '1 year' WHERE customer_id = $a" ],
		[ "UPDATE shop.orders SET id = id + 200 WHERE id BETWEEN " . order_id() . " AND 92" ],
		[ "UPDATE shop.orders SET id = id - 200 WHERE id BETWEEN 201 AND 292 AND NOT EXISTS (SELECT FROM shop.orders x WHERE x.id = orders.id - 200)" ],
		[ "UPDATE shop.customers SET id = $a WHERE id = $b" ],
		# a customer is merged into another
		[ 'BEGIN', "UPDATE shop.orders SET customer_id = $a WHERE customer_id = $b", "UPDATE shop.till SET customer_id = $a WHERE customer_id = $b", "DELETE FROM shop.customers WHERE id = $b", 'COMMIT' ],
		[ "UPDATE shop.orders SET total = total" ],
		[ "INSERT INTO shop.till (id, customer_id, total, items, day, cancelled) SELECT id % 60, customer_id, total, items, '2025-08-08', false FROM shop.orders WHERE id < " . between(2, 15)
			. ($self->{till} eq 'bare' ? '' : ' ON CONFLICT DO NOTHING') ],
		[ "DELETE FROM shop.orders WHERE id > 92" ],
		[ "DELETE FROM shop.customers WHERE id = $a" ]);
}

sub truncate_
{
	my ($self) = @_;
	my @names = sort keys %{ $self->{tables} };
	return 'TRUNCATE shop.' . $self->leaf . one_of('', ' CASCADE') if $self->{orders} ne 'plain' && chance(0.4);
	return 'TRUNCATE shop.' . one_of(@names) . one_of('', ' CASCADE', ' CASCADE') if chance(0.7);
	return 'TRUNCATE shop.' . join(', shop.', one_of(@names), grep { chance(0.3) } @names) . ' CASCADE';
}

sub block
{
	my ($self) = @_;
	my @statements = map {
		my $table = $self->table;
		my $sql = one_of($self->insert($table), $self->update($table), $self->delete_($table), $self->upsert($table));
		$sql =~ s/ RETURNING \*$//;
		"$sql;"
	} 1 .. between(1, 3);
	my $order = order_id();
	push @statements, one_of("UPDATE shop.orders SET total = total + i WHERE id = i;", "DELETE FROM shop.orders WHERE id = i;", "UPDATE shop.orders SET status = 'completed' WHERE id = i;");
	my $after = one_of("IF i % 3 = 0 THEN RAISE EXCEPTION 'stop'; END IF;", 'PERFORM 1 / (i % 2);', '');
	return "DO \$\$ BEGIN FOR i IN $order .. $order + " . between(0, 4) . " LOOP BEGIN @statements $after EXCEPTION "
	  . "WHEN raise_exception OR division_by_zero OR integrity_constraint_violation OR cardinality_violation OR feature_not_supported THEN "
	  . one_of('NULL;', 'NULL;', "UPDATE shop.orders SET total = total + 3 WHERE id = i + 1;") . ' END; END LOOP; END $$';
}

sub statement
{
	my ($self) = @_;
	my $dice = rand;
	my $table = $self->table;
	my $name = $table->{name};
	return [ "insert $name", $self->insert($table) ] if $dice < 0.18;
	return [ "update $name", $self->update($table) ] if $dice < 0.42;
	return [ "delete $name", $self->delete_($table) ] if $dice < 0.51;
	return [ "on conflict $name", $self->upsert($table) ] if $dice < 0.58;
	return [ "copy $name", $self->copy($table) ] if $dice < 0.64;
	return [ "merge $name", $self->merge($table) ] if $dice < 0.73 && $self->{can_merge};
	return [ 'writable cte', $self->writable_cte ] if $dice < 0.81;
	return [ 'sale', $self->sale ] if $dice < 0.88;
	return [ 'block', $self->block ] if $dice < 0.93;
	return [ 'truncate', $self->truncate_ ] if $dice > 0.992 && $self->{truncate};
	my $move = $self->move;
	return [ 'move', @$move ] if @$move == 1;
	return [ "update $name", $self->update($table) ];
}

# for the rules of RandomOperations
sub sale_statement { my ($self) = @_; return $self->insert($self->a('orders')); }
sub edit_statement { my ($self) = @_; return $self->update($self->a('orders')); }
sub return_statement { my ($self) = @_; return $self->delete_($self->a('returns')); }

# --- the merchant as administrator ---

sub as_administrator { return RandomOperations::as_administrator(@_); }

# A statement that the triggers do not see.
sub unseen_write
{
	my ($self) = @_;
	my $table = $self->table;
	my @sql = one_of($self->insert($table), $self->update($table), $self->update($table), $self->delete_($table), $self->upsert($table));
	@sql = $self->copy($table) if chance(0.1);
	@sql = $self->truncate_ if chance(0.05);
	@sql = $self->merge($table) if chance(0.1) && $self->{can_merge};
	return map { /^COPY/ ? $_ : "$unseen $_" } @sql;
}

sub replica
{
	my ($self) = @_;
	return [ 'replica session', as_administrator("$unseen SET session_replication_role = replica"), (map { $self->unseen_write } 1 .. between(1, 2)),
		as_administrator('RESET session_replication_role') ];
}

# Triggers are off while some statements run, in one transaction.
sub disabled
{
	my ($self) = @_;
	my ($source) = one_of($self->sources, [ 'customers', 'customers' ]);
	my $name = $source->[0];
	$name = $self->leaf if $name eq 'orders' && $self->{orders} ne 'plain' && chance(0.4);
	my $partitioned = $source->[0] eq 'orders' && $self->{orders} ne 'plain';
	my $which = one_of('ALL', 'USER', $partitioned ? '_segment_row' : one_of('_segment_insert', '_segment_update', '_segment_delete'));
	my $table = $self->a($source->[0]);
	return [ 'triggers disabled',
		'BEGIN', as_administrator("$unseen ALTER TABLE shop.$name DISABLE TRIGGER $which"),
		(map { my $sql = one_of($self->insert($table), $self->update($table), $self->delete_($table)); as_administrator($sql) } 1 .. between(0, 2)),
		'SET CONSTRAINTS ALL IMMEDIATE',    # open: test/seeds/pending_events_of_a_partition.txt
		as_administrator("ALTER TABLE shop.$name ENABLE TRIGGER $which"), one_of('COMMIT', 'COMMIT', 'ROLLBACK') ];
}

# Partitions come and go: empty ones change nothing, others are noticed.
sub partition
{
	my ($self) = @_;
	my $extra = "FOR VALUES $extra{ $self->{orders} }";
	my $filled = $self->{orders} eq 'by_date' ? "(301, " . $self->someone . ", 'north', 'completed', 500000, 2, '2026-03-03 00:00+00')"
	  : "(301, " . $self->someone . ", 'extra', 'extra', 500000, 2, '2025-03-03 00:00+00')";
	my $columns = '(id, customer_id, branch, status, total, items, at)';
	my $empty = "DELETE FROM shop.orders_extra";
	my $leaf = $self->leaf;
	$leaf = 'orders_north' if $leaf =~ /_(old|new)$/;
	my ($bound) = map { $_->[1] eq 'DEFAULT' ? 'DEFAULT' : "FOR VALUES $_->[1]" } grep { $_->[0] eq $leaf } $self->partitions;
	return one_of(
		[ 'partition: new', as_administrator("CREATE TABLE shop.orders_extra PARTITION OF shop.orders $extra", 'GRANT ALL ON shop.orders_extra TO till') ],
		[ 'partition: new', as_administrator("CREATE TABLE shop.orders_extra PARTITION OF shop.orders $extra", 'GRANT ALL ON shop.orders_extra TO till') ],
		[ 'partition: written', "INSERT INTO shop.orders_extra $columns VALUES $filled ON CONFLICT DO NOTHING" ],
		[ 'partition: attached empty', 'BEGIN', as_administrator('CREATE TABLE shop.orders_extra (LIKE shop.orders INCLUDING ALL)',
				"ALTER TABLE shop.orders ATTACH PARTITION shop.orders_extra $extra", 'GRANT ALL ON shop.orders_extra TO till', 'COMMIT') ],
		[ 'partition: attached with rows', 'BEGIN', as_administrator('CREATE TABLE shop.orders_extra (LIKE shop.orders INCLUDING ALL)', "INSERT INTO shop.orders_extra $columns VALUES $filled",
				"$unseen ALTER TABLE shop.orders ATTACH PARTITION shop.orders_extra $extra", 'GRANT ALL ON shop.orders_extra TO till', one_of('COMMIT', 'COMMIT', 'ROLLBACK')) ],
		[ 'partition: emptied and detached', 'BEGIN', as_administrator($empty, 'ALTER TABLE shop.orders DETACH PARTITION shop.orders_extra', 'DROP TABLE shop.orders_extra', 'COMMIT') ],
		[ 'partition: emptied and dropped', 'BEGIN', as_administrator($empty, 'DROP TABLE shop.orders_extra', 'COMMIT') ],
		[ 'partition: detached', 'BEGIN', as_administrator("$unseen ALTER TABLE shop.orders DETACH PARTITION shop.orders_extra", 'DROP TABLE shop.orders_extra', 'COMMIT') ],
		[ 'partition: dropped', as_administrator("$unseen DROP TABLE shop.orders_extra") ],
		[ 'partition: detached, written, attached', 'BEGIN', as_administrator("$unseen ALTER TABLE shop.orders DETACH PARTITION shop.$leaf",
				"UPDATE shop.$leaf SET total = total + 100000 WHERE id % 3 = 0", "ALTER TABLE shop.orders ATTACH PARTITION shop.$leaf $bound", one_of('COMMIT', 'COMMIT', 'ROLLBACK')) ],
		[ 'partition: truncated', "TRUNCATE shop.orders_extra" ]);
}

# Sources are detached and attached again, in the same transaction or another.
sub reattach
{
	my ($self) = @_;
	my @sources = $self->sources;
	my @last = grep { $_->[0] !~ /^orders$/ && !($_->[0] eq 'returns' && $self->{return_lines} ne 'none') } @sources;
	my $source = one_of(@last);
	my @others = grep { my $name = "$_->[0] $_->[1]"; $name =~ /^(returns|order_lines|return_lines) / } @sources;
	my $later = chance(0.3);
	my $fill = $later ? ", fill => false" : '';
	my $mark = $later ? "$unseen " : '';
	my @detach = ('UPDATE segment.ladders SET active = false', "SELECT segment.detach('shop.$source->[0]', '$source->[1]')", 'UPDATE segment.ladders SET active = true');
	return one_of(
		[ 'source: detached', 'BEGIN', (map { as_administrator($_) } @detach), chance(0.9) ? 'COMMIT' : 'ROLLBACK' ],
		[ 'source: attached', as_administrator($mark . $self->attach($source, $fill)) ],
		[ 'source: attached', as_administrator($mark . $self->attach($source, $fill)) ],
		[ 'source: all of one kind attached', (map { as_administrator($mark . $self->attach($_, $fill)) } @sources) ],
		[ 'source: attached anew', 'BEGIN', (map { as_administrator($_) } @detach[ 0, 1 ]), $self->sale, as_administrator($mark . $self->attach($source, $fill)),
			as_administrator($detach[2]), chance(0.8) ? 'COMMIT' : 'ROLLBACK' ],
		# everything that hangs on orders, orders last
		[ 'source: all attached anew', 'BEGIN', as_administrator($detach[0]),
			(map { as_administrator("SELECT segment.detach('shop.$_->[0]', '$_->[1]')") } reverse @others), as_administrator("SELECT segment.detach('shop.orders')"),
			$self->edit_statement,
			as_administrator($mark . $self->attach([qw(orders orders)], $fill)), (map { as_administrator($mark . $self->attach($_, $fill)) } @others),
			as_administrator($detach[2]), chance(0.8) ? 'COMMIT' : 'ROLLBACK' ]);
}

# Batches that are interrupted, in this session or another.
sub interrupted
{
	my ($self) = @_;
	my $size = between(1, 6);
	return one_of(
		[ 'batches, interrupted', as_administrator("SET statement_timeout = '" . between(4, 40) . "ms'", "CALL segment.recalculate_in_batches($size)", ("SET statement_timeout = '60s'") x 3) ],
		[ 'batches, terminated', as_administrator("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
				. " AND state = 'active' AND query ~ '^CALL segment'") ],
		[ 'a session terminated', as_administrator("SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
				. " AND pid <> pg_backend_pid() AND usename IS NOT NULL AND state <> 'idle' ORDER BY pid LIMIT 1) x") ]);
}

sub operation
{
	my ($self) = @_;
	my $dice = rand;
	my $operation;
	if ($dice < 0.17)
	{
		my @units = $self->transaction;
		return { kind => $units[-1] eq 'COMMIT' ? 'transaction' : 'transaction, rolled back', units => \@units };
	}
	if ($dice < 0.20)
	{
		my ($rule) = @{ $self->rules };
		my ($kind, @sql) = @$rule;
		return { kind => $kind, units => @sql > 1 ? [ 'BEGIN', (map { as_administrator($_) } @sql), chance(0.9) ? 'COMMIT' : 'ROLLBACK' ] : [ as_administrator(@sql) ] };
	}
	return { kind => 'recalculate', units => [ $self->recalculate ] } if $dice < 0.208;
	return { kind => 'recalculate in batches', units => [ RandomOperations::recalculate_in_batches() ] } if $dice < 0.214;
	$operation = $self->interrupted if $dice >= 0.214 && $dice < 0.218;
	$operation = $self->replica if $dice >= 0.218 && $dice < 0.221;
	$operation = $self->disabled if $dice >= 0.221 && $dice < 0.224;
	$operation = $self->reattach if $dice >= 0.224 && $dice < 0.232;
	$operation = $self->partition if $dice >= 0.232 && $dice < 0.245 && $self->{orders} ne 'plain';
	$operation = [ 'move', @{ $self->move } ] if $dice >= 0.245 && $dice < 0.275;
	$operation //= $self->statement;
	my ($kind, @units) = @$operation;
	return { kind => $kind, units => \@units };
}

1;
