# What the sessions of test/t/random_groups.pl do: random statements on the
# tables of group_shop.sql, by their columns and the values that are in them;
# groups that come, change and go; ticks, and a clock that moves.
#
# As in RandomOperations an operation is { kind => …, units => [ SQL, … ] };
# everything comes from rand(), so that one seed gives the same list again.
# Instants are expressions over the clock of the session, segment.at.

package RandomGroups;

use strict;
use warnings;
use utf8;

use RandomConditions;

sub pick { return $_[ int rand @_ ]; }
sub chance { return rand() < $_[0]; }
sub between { my ($low, $high) = @_; return $low + int rand($high - $low + 1); }

# shape, zone, key_type, tables (truth.tables()), pools (truth.pools())
sub new
{
	my ($class, %args) = @_;
	my $self = bless {%args}, $class;
	$self->{random} = RandomConditions->new(shape => $args{shape}, zone => $args{zone}, pools => $args{pools});
	my %weight = (customers => 16, labels => 6, offers => 7, points1 => 4, points2 => 3, vouchers => 7, return_lines => 4);
	for my $name (sort keys %{ $self->{tables} })
	{
		my $table = $self->{tables}{$name};
		$table->{name} = $name;
		$table->{weight} = $weight{$name} // ($name =~ /orders/ ? 26 : $name =~ /returns/ ? 9 : 8);
		$table->{orders} = $name =~ /^pos_/ ? 'pos_orders' : $name =~ /1$/ ? 'orders1' : $name =~ /2$/ ? 'orders2' : 'orders';
	}
	my @keys = map { @{ $_->{values} } } grep { $_->{name} eq 'id' } @{ $self->{tables}{customers}{columns} };
	$self->{keys} = \@keys;
	$self->{regulars} = [ map { pick(@keys) } 1 .. 12 ];
	return $self;
}

sub literal
{
	my ($value) = @_;
	$value =~ s/'/''/g;
	return $value =~ /\\/ ? "E'" . ($value =~ s/\\/\\\\/gr) . "'" : "'$value'";
}

# --- values ---

sub customer
{
	my ($self) = @_;
	return 'NULL' if chance(0.03);
	return literal($self->{key_type} eq 'uuid' ? '00000000-0000-4000-8000-00000000000' . between(1, 3) : 90001 + between(0, 2)) if chance(0.03);
	return $self->someone;
}
sub someone { my ($self) = @_; return literal(pick(@{ $self->{ chance(0.3) ? 'regulars' : 'keys' } })); }

sub instant
{
	my $kind = rand;
	return 'shop.midnight(' . pick(-1, 0, 0, 1, -30, -90, between(-400, 40)) . ')' . pick('', '', " - interval '1 us'", " + interval '1 hour'") if $kind < 0.25;
	return "shop.now() - interval '" . pick(between(0, 20) . ' min', between(0, 40) . ' hours', between(0, 8) . ' days', between(0, 100) . ' days', between(0, 800) . ' days') . "'" if $kind < 0.9;
	return "shop.now() + interval '" . pick(between(1, 30) . ' hours', between(1, 60) . ' days') . "'";
}

sub near_day
{
	return 'shop.day(' . between(-2, 3) . ") - interval '" . pick(between(0, 70) . ' years', '0 days', '1 year') . "'" if chance(0.6);
	return 'shop.day(' . between(-200, 60) . ')';
}

sub order_key
{
	my ($self, $table) = @_;
	my $n = between(1, 1.1 * $self->{orders} + 20);
	return $table =~ /^pos_/ ? "'P$n'" : $n;
}

sub value
{
	my ($self, $table, $column) = @_;
	my ($name, $type) = @{$column}{qw(name type)};
	my $values = $column->{values} // [];
	return literal(chance(0.96) ? pick(@{ $self->{keys} }) : $self->{key_type} eq 'uuid' ? '00000000-0000-4000-8000-00000000000' . between(1, 3) : 90001 + between(0, 2)) if $name eq 'id' && $table->{name} eq 'customers';
	return $self->customer if $name eq 'customer_id';
	return $name eq 'order_id' && chance(0.04) ? 'NULL' : $self->order_key($table->{name}) if $name eq 'order_id' || ($name eq 'id' && $table->{name} =~ /orders/);
	return between(1, 1.2 * $table->{rows} + 20) if $name eq 'id';
	return chance(0.04) ? 'NULL' : between(1, 1.1 * $self->{returns} + 10) if $name eq 'return_id';
	return between(1, 150) if $name eq 'n';
	return chance(0.88) ? 'false' : 'true' if $name eq 'deleted' || $name eq 'void';
	return chance(0.85) ? 'true' : 'false' if $name eq 'done';
	return pick("'completed'", "'completed'", "'completed'", "'completed'", "'draft'") if $name eq 'status';
	if ($type =~ /^timestamp/ && !chance(0.03))
	{
		return 'NULL' if $name =~ /^valid_from$|^expires_at$/ && chance(0.3);
		return "shop.now() + interval '" . between(-20, 90) . " days'" if $name eq 'expires_at' && chance(0.5);
		return 'shop.midnight(' . between(-5, 60) . ')' if $name eq 'expires_at';
		return instant() if $type =~ /with time/;
		return '(' . instant() . ") AT TIME ZONE '$self->{zone}'";
	}
	return near_day() if $type eq 'date' && chance(0.6);
	return between(1, 40) * ($name eq 'cents' ? 2500 : 25) if $name =~ /^(total|amount|cents)$/ && chance(0.5);
	return 'NULL' if !@$values || chance(0.03);
	return literal(pick(@$values)) . ($type =~ /\[\]/ ? "::$type" : '');
}

sub cast_value { my ($self, $table, $column) = @_; return '(' . $self->value($table, $column) . ")::$column->{type}"; }

sub table
{
	my ($self) = @_;
	return RandomConditions::weighted(map { $self->{tables}{$_} } sort keys %{ $self->{tables} });
}

sub names { my ($table) = @_; return join ', ', map { $_->{name} } @{ $table->{columns} }; }
sub row { my ($self, $table) = @_; return '(' . join(', ', map { $self->cast_value($table, $_) } @{ $table->{columns} }) . ')'; }

# columns that may be set; keys seldom
sub assignment
{
	my ($self, $table) = @_;
	my @columns = grep { $_->{name} ne 'n' && ($_->{name} !~ /^id$/ || chance(0.15)) } @{ $table->{columns} };
	my %seen;
	return join ', ', map { "$_->{name} = " . $self->cast_value($table, $_) } grep { !$seen{ $_->{name} }++ } map { pick(@columns) } 1 .. pick(1, 1, 1, 2, 4);
}

sub where
{
	my ($self, $table) = @_;
	my %columns = map { $_->{name} => $_ } @{ $table->{columns} };
	my @by = grep { exists $columns{$_} } qw(id customer_id order_id return_id);
	my $by = chance(0.75) ? $by[0] : pick(@by);
	return "$by IN (" . join(', ', map { $self->value($table, $columns{$by}) } 1 .. between(2, 5)) . ')' if chance(0.12);
	my $value = $self->value($table, $columns{$by});
	return "$by = $value";
}

# --- statements of the merchant ---

sub insert
{
	my ($self, $table) = @_;
	return "INSERT INTO shop.$table->{name} (" . names($table) . ') VALUES ' . join(', ', map { $self->row($table) } 1 .. pick(1, 1, 1, 1, 2, 4)) . ($table->{has_key} ? ' ON CONFLICT DO NOTHING' : '');
}

sub upsert
{
	my ($self, $table) = @_;
	return $self->insert($table) if !$table->{has_key};
	my @columns = grep { $_->{name} ne 'id' } @{ $table->{columns} };
	my @set = map { my $c = pick(@columns); $c->{name} } 1 .. 3;
	my %seen;
	return "INSERT INTO shop.$table->{name} (" . names($table) . ') VALUES ' . $self->row($table) . ' ON CONFLICT (id) DO UPDATE SET ' . join(', ', map { "$_ = excluded.$_" } grep { !$seen{$_}++ } @set);
}

sub statement
{
	my ($self) = @_;
	my $table = $self->table;
	my $name = $table->{name};
	my $kind = rand;
	return [ "insert $name", $self->insert($table) ] if $kind < ($name eq 'customers' ? 0.15 : 0.42);
	return [ "on conflict $name", $self->upsert($table) ] if $kind < 0.5;
	return [ "delete $name", "DELETE FROM shop.$name WHERE " . $self->where($table) ] if $kind < ($name eq 'customers' ? 0.54 : 0.6);
	return [ "rows of many $name", "UPDATE shop.$name SET " . $self->assignment_of_many($table) ] if $kind > 0.985;
	return [ 'block', $self->block ] if $kind > 0.95;
	return [ "update $name", "UPDATE shop.$name SET " . $self->assignment($table) . ' WHERE ' . $self->where($table) ];
}

sub assignment_of_many
{
	my ($self, $table) = @_;
	my $by = (grep { $_->{name} eq 'n' } @{ $table->{columns} }) ? 'n' : (grep { $_->{name} eq 'id' && $_->{type} ne 'text' } @{ $table->{columns} }) ? 'id' : '';
	my @columns = grep { $_->{name} !~ /^(n|id)$/ } @{ $table->{columns} };
	my $column = pick(@columns);
	return "$column->{name} = " . $self->cast_value($table, $column) . " WHERE " . ($by ? "$by % 37 = " . between(0, 36) : $self->where($table));
}

# savepoints that the server makes
sub block
{
	my ($self) = @_;
	my ($first, $second, $third) = map { my ($kind, $sql) = @{ $self->plain }; $sql } 1 .. 3;
	return "DO \$block\$ BEGIN $first; BEGIN $second; " . pick("RAISE division_by_zero", 'NULL', "PERFORM 1 / 0") . "; EXCEPTION WHEN division_by_zero THEN $third; END; END \$block\$";
}

sub plain
{
	my ($self) = @_;
	for (1 .. 20) { my $statement = $self->statement; return $statement if $statement->[0] !~ /block|many/; }
	return [ 'nothing', 'SELECT 1' ];
}

# --- what the administrator does ---

sub admin { return "SET ROLE NONE;\n" . join(";\n", @_) . ";\nSET ROLE till"; }

sub slots { return map { "g$_" } 1 .. ($_[0]{groups} // 12); }

# Conditions whose answer moves with the clock, or that lean on tiers and other groups.
sub timely
{
	my ($self, $own) = @_;
	my $s = $self->{shape};
	my $days = sub { pick(1, 2, 7, 14, 30, 30, 60, 90, 180, 365) };
	my $money = sub { 25 * between(0, 60) };
	my $share = sub { pick('0.1', '0.3', '0.5', 1) };
	my $cmp = sub { pick('>=', '>=', '>', '<', '<=', '=', '!=') };
	my $unit = sub { pick(qw(week month quarter half_year year)) };
	my $other = sub { pick($self->slots) };
	my @all = (
		sub { 'last_order_date < -' . $days->() . 'd' },
		sub { 'last_order_date >= -' . $days->() . pick('d', 'd', 'w', 'm') },
		sub { my $n = $days->(); "first_order_date BETWEEN -${n}d AND " . pick('today', 'yesterday', '-0d') },
		sub { my $n = $days->(); "days_since_last_order BETWEEN $n AND " . ($n + $days->()) },
		sub { 'last_order_date < -90d AND amount_spent >= ' . $money->() },
		sub { 'last_order_date DURING ' . pick('this', 'last', 'next') . '_' . $unit->() },
		sub { 'amount_spent(date >= -' . $days->() . 'd) ' . $cmp->() . ' ' . $money->() },
		sub { 'amount_spent(date DURING ' . pick('this', 'last') . '_' . $unit->() . ') ' . $cmp->() . ' ' . $money->() },
		sub { my $n = $days->(); "amount_ordered(date BETWEEN -" . ($n + $days->()) . "d AND -${n}d) " . $cmp->() . ' ' . $money->() },
		sub { 'number_of_orders(date DURING last_' . $unit->() . ') = 0' },
		sub { 'number_of_orders(date <= -' . $days->() . "d) >= " . between(1, 4) },
		sub { 'number_of_orders(date >= -' . $days->() . "d, channel = 'pos') " . $cmp->() . ' ' . between(0, 3) },
		sub { 'average_order_value(date >= -' . $days->() . 'd) ' . $cmp->() . ' ' . $money->() },
		sub { 'items_bought(date >= -' . $days->() . 'd) ' . $cmp->() . ' ' . between(0, 9) },
		sub { my $n = $days->(); "amount_returned(date >= -${n}d) > " . $share->() . " * amount_ordered(date >= -${n}d)" },
		sub { my $n = $days->(); "amount_spent(date >= -${n}d) < " . $share->() . ' * amount_spent' },
		sub { 'monthly_total ' . $cmp->() . ' ' . $money->() },
		sub { 'monthly_average ' . $cmp->() . ' ' . int($money->() / 8) },
		sub { 'monthly_average(months = ' . between(1, 12) . ') ' . $cmp->() . ' ' . int($money->() / 6) },
		sub { 'orders_placed MATCHES (date >= -' . $days->() . 'd, amount >= ' . $money->() . ')' },
		sub { 'orders_placed NOT MATCHES (date BETWEEN -' . $days->() . 'd AND ' . pick('today', '-0d', '+30d') . ')' },
		sub { 'orders_placed MATCHES (date > today)' },
		sub { 'returns_made MATCHES (date >= -' . $days->() . 'd, count ' . $cmp->() . ' ' . between(0, 2) . ')' },
		sub { 'anniversary(birth_date) = ' . pick('today', 'tomorrow', '+7d') },
		sub { 'anniversary(birth_date) BETWEEN today AND +' . between(1, 60) . 'd' },
		sub { 'anniversary(birth_date) DURING ' . pick('this', 'next') . '_' . pick('month', 'week') },
		sub { 'member_since ' . pick('>=', '<') . ' -' . $days->() . 'd' },
		sub { "tier = '" . pick('gold', 'silver', 'member') . "'" . pick('', ' AND last_order_date < -30d', ' AND number_of_orders(date >= -60d) = 0') },
		sub { "tier(ladder = 'visits') >= 'some'" . pick('', ' AND monthly_total = 0') },
		sub { "groups CONTAINS '" . $other->() . "' AND last_order_date " . pick('<', '>=') . ' -' . $days->() . 'd' },
		sub { "NOT groups CONTAINS '" . $other->() . "'" },
		sub { "groups CONTAINS ANY ('" . $other->() . "', '" . $other->() . "')" . pick('', ' AND amount_spent > 1000') },
		sub { 'points ' . $cmp->() . ' ' . between(0, 120) },
	);
	push @all, sub { 'age ' . $cmp->() . ' ' . between(18, 60) } if $s ne 'b';
	push @all,
	  sub { 'points_expiring(date <= +' . $days->() . 'd) > ' . between(0, 30) },
	  sub { 'points_expiring(date BETWEEN +' . between(0, 5) . 'd AND +' . between(6, 60) . 'd) ' . $cmp->() . ' ' . between(0, 30) },
	  sub { 'points_earned MATCHES (date >= -' . $days->() . 'd, sum_points >= ' . between(1, 90) . ')' },
	  sub { 'offers_used MATCHES (date >= -' . $days->() . "d, offer = 'TET')" },
	  sub { 'offers_used NOT MATCHES (date DURING ' . pick('this', 'last') . '_' . $unit->() . ')' }
	  if $s ne 'b';
	push @all, sub { "tags CONTAINS 'vip'" . pick('', ' AND last_order_date < -' . $days->() . 'd', " AND NOT groups CONTAINS '" . $other->() . "'") } if $s ne 'd';
	push @all, sub { 'customer_added_date ' . pick('<', '>=') . ' -' . $days->() . 'd' } if $s ne 'b';
	my $condition = pick(@all)->();
	$condition = "$condition " . pick('AND', 'OR') . ' ' . pick(@all)->() if chance(0.25);
	return $condition;
}

sub condition
{
	my ($self) = @_;
	return $self->timely if chance(0.65);
	my $random = $self->{random};
	return $random->text($random->condition(pick(0, 0, 0, 1, 1, 2)));
}

sub quoted
{
	my ($text) = @_;
	my $tag = 'q';
	$tag .= 'q' while index($text, "\$$tag\$") >= 0;
	return "\$$tag\$$text\$$tag\$";
}

sub save_group
{
	my ($self, $code) = @_;
	my $condition = quoted($self->condition);
	return "INSERT INTO segment.groups (code, name, condition, active) VALUES ('$code', 'Group $code', $condition, " . (chance(0.92) ? 'true' : 'false') . ') ON CONFLICT (code) DO UPDATE SET condition = excluded.condition';
}

# [ kind, units ]
sub groups
{
	my ($self) = @_;
	my $code = pick($self->slots);
	my $other = pick($self->slots);
	my $kind = rand;
	return [ 'group saved', admin($self->save_group($code)) ] if $kind < 0.4;
	return [ 'group changed', admin("UPDATE segment.groups SET condition = " . quoted($self->condition) . " WHERE code = '$code'") ] if $kind < 0.55;
	return [ 'group switched', admin("UPDATE segment.groups SET active = NOT active WHERE code = '$code'") ] if $kind < 0.62;
	return [ 'groups switched on', admin('UPDATE segment.groups SET active = true WHERE NOT active') ] if $kind < 0.72;
	return [ 'group deleted', admin("DELETE FROM segment.groups WHERE code = '$code'") ] if $kind < 0.78;
	return [ 'two groups at once', admin("UPDATE segment.groups SET condition = CASE code WHEN '$code' THEN " . quoted($self->condition) . "::segment.condition ELSE " . quoted($self->condition) . " END WHERE code IN ('$code', '$other')") ] if $kind < 0.82;
	return [ 'fixed group', admin("INSERT INTO segment.groups (code, name) VALUES ('fixed', 'Fixed') ON CONFLICT DO NOTHING") ] if $kind < 0.83;
	# the log is made to follow, so that it can be compared with what is held
	return [ 'group renamed', 'BEGIN', admin("UPDATE segment.groups SET code = 'new_$code' WHERE code = '$code'"), admin("UPDATE segment.changes SET code = 'new_$code' WHERE kind = 'group' AND code = '$code'"),
		chance(0.8) ? 'COMMIT' : 'ROLLBACK' ] if $kind < 0.88;
	return [ 'group renamed back', 'BEGIN', admin("UPDATE segment.groups SET code = '$code' WHERE code = 'new_$code'"), admin("UPDATE segment.changes SET code = '$code' WHERE kind = 'group' AND code = 'new_$code' AND EXISTS (SELECT FROM segment.groups WHERE code = '$code')"),
		'COMMIT' ] if $kind < 0.93;
	return [ 'group with sales about it', 'BEGIN', $self->plain->[1], admin($self->save_group($code)), $self->plain->[1], (chance(0.5) ? admin("DELETE FROM segment.groups WHERE code = '$other'") : ()), $self->plain->[1], chance(0.8) ? 'COMMIT' : 'ROLLBACK' ];
}

sub tiers
{
	my ($self) = @_;
	my $silver = 25 * between(20, 60);
	my $gold = $silver + 25 * between(41, 100);
	return pick(
		[ 'tiers: bounds', 'BEGIN', admin("UPDATE segment.tiers SET min_value = CASE code WHEN 'silver' THEN $silver WHEN 'dust' THEN $gold - 500 WHEN 'gold' THEN $gold ELSE 0 END, " .
				"max_value = CASE code WHEN 'member' THEN $silver - 1 WHEN 'silver' THEN $gold - 501 WHEN 'dust' THEN $gold - 1 END WHERE ladder = 'total'"), $self->plain->[1], 'COMMIT' ],
		[ 'tiers: switch', admin("UPDATE segment.tiers SET active = NOT active WHERE ladder = 'total' AND code = '" . pick('dust', 'dust', 'silver', 'gold') . "'") ],
		[ 'tiers: ladder switched', admin("UPDATE segment.ladders SET active = NOT active WHERE code = 'visits'") ],
		[ 'tiers: all on', admin("UPDATE segment.tiers SET active = true WHERE ladder = 'total'", "UPDATE segment.ladders SET active = true WHERE code = 'visits'") ]);
}

sub tick
{
	return [ 'tick', admin('SELECT segment.tick(batch_size => ' . pick(1, 5, 20, 100, 10000) . ')') ] if chance(0.6);
	return [ 'tick in batches', admin('CALL segment.tick_in_batches(' . pick(7, 40, 10000) . ')') ];
}

# The session's own clock goes on: others may be behind.
sub advance
{
	my ($self) = @_;
	my $to = chance(0.4) ? 'shop.midnight(1)' . pick('', " - interval '1 us'", " + interval '1 us'") : "shop.now() + interval '" . pick('1 min', '10 min', '1 hour', '5 hours', '30 hours') . "'";
	return admin("SELECT set_config('segment.at', ($to)::text, false)");
}

sub transaction
{
	my ($self) = @_;
	my @units = (chance(0.8) ? 'BEGIN' : 'BEGIN ISOLATION LEVEL ' . pick('REPEATABLE READ', 'SERIALIZABLE'));
	my $plain = $units[0] eq 'BEGIN';
	my @savepoints;
	for (1 .. between(1, 5))
	{
		my $dice = rand;
		if ($dice < 0.15) { push @savepoints, 's' . between(1, 3); push @units, "SAVEPOINT $savepoints[-1]"; }
		elsif ($dice < 0.28 && @savepoints) { push @units, pick('ROLLBACK TO', 'ROLLBACK TO', 'RELEASE') . ' ' . pick(@savepoints); }
		elsif ($dice < 0.3 && $plain) { push @units, $self->tick_once; }
		elsif ($dice < 0.32) { push @units, $self->advance; }
		else { push @units, $self->statement->[1]; }
	}
	push @units, chance(0.75) ? 'COMMIT' : 'ROLLBACK';
	return @units;
}

sub tick_once { return admin('SELECT segment.tick(batch_size => ' . pick(1, 20, 10000) . ')'); }

sub operation
{
	my ($self) = @_;
	my $dice = rand;
	if ($dice < 0.15)
	{
		my @units = $self->transaction;
		return { kind => $units[-1] eq 'COMMIT' ? 'transaction' : 'transaction, rolled back', units => \@units };
	}
	my $other = $dice < 0.16 ? $self->groups : $dice < 0.162 ? $self->tiers : $dice < 0.17 ? $self->tick : $dice < 0.174 ? [ 'clock', $self->advance ]
	  : $dice < 0.1745 ? [ 'recalculate', admin(pick('DO $$ BEGIN PERFORM segment.recalculate(); END $$', 'CALL segment.recalculate_in_batches(50)', 'SELECT segment.recalculate_customers(ARRAY[' . $self->someone . ', ' . $self->someone . "]::$self->{key_type}\[])")) ] : $self->statement;
	my ($kind, @units) = @$other;
	return { kind => $kind, units => \@units };
}

# The groups that a shop opens with.
sub opening
{
	my ($self) = @_;
	return map { { kind => 'group saved', units => [ admin($self->save_group($_)) ] } } $self->slots;
}

# As psql reads it.
sub script { return join '', map { "$_;\n" } map { @{ $_->{units} } } @_; }

1;
