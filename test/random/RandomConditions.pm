# Random conditions over a shop of condition_shop.sql, each with a model: what
# the language says it means, as plain SQL over the tables of schema truth
# ("m" a customer, "t" with today and now).
#
# A condition is a tree of hashes, so that it can be made smaller while it still
# fails: shrinks() gives every tree that is one step smaller.

package RandomConditions;

use strict;
use warnings;
use utf8;

my @cmp = qw(= != < <= > >=);

sub new
{
	my ($class, %args) = @_;
	my $self = bless {%args}, $class;
	$self->_vocabulary;
	return $self;
}

# --- chance ---

sub pick { return $_[ int rand @_ ]; }
sub chance { return rand() < $_[0]; }
sub between { my ($low, $high) = @_; return $low + int rand($high - $low + 1); }

# --- what can be asked here ---

sub _vocabulary
{
	my ($self) = @_;
	my $s = $self->{shape};
	my $p = $self->{pools};
	my @figures;
	my $add = sub { my ($shapes, $name, $type, $model, $pool, %more) = @_; push @figures, { name => $name, type => $type, model => $model, pool => $pool, %more } if index($shapes, $s) >= 0; };

	$add->('abcd', 'name', 'text', 'm.name', 'names');
	$add->('abcd', 'given_name', 'text', 'm.given_name', 'given');
	$add->('abcd', 'phone', 'phone', 'm.phone', 'phones');
	$add->('abc', 'email', 'text', 'm.email', 'emails');
	$add->('abc', 'email_domain', 'text', 'm.email_domain', 'domains');
	$add->('ab', 'address', 'text', 'm.address', 'addresses');
	$add->('abc', 'sex', 'sex', 'm.sex', 'sexes');
	$add->('acd', 'birth_date', 'date', 'm.birth_date', 'births');
	$add->('acd', 'anniversary(birth_date)', 'anniversary', 'm.birth_date', 'births', weight => 3);
	$add->('b', 'anniversary(birth_date)', 'anniversary', undef, 'days', weight => 4);
	$add->('abcd', 'birth_day', 'number', 'm.birth_day', 'small');
	$add->('abcd', 'birth_month', 'number', 'm.birth_month', 'small');
	$add->('acd', 'birth_year', 'number', 'm.birth_year', 'years');
	$add->('acd', 'age', 'number', 'truth.age(m.birth_date, t.today)', 'ages', weight => 2);
	$add->('ac', 'country', 'list', 'm.country', 'countries');
	$add->('abcd', 'region', 'region', 'm.region', 'regions', weight => 2);
	$add->('ab', 'city', 'list', 'm.city', 'cities');
	$add->('a', 'ward', 'list', 'm.ward', 'wards');
	$add->('abc', 'tags', 'list', 'm.tags', 'tags');
	$add->('abcd', 'member_since', 'instant', 'm.member_since', 'days');
	$add->('acd', 'customer_added_date', 'instant', 'm.customer_added_date', 'days');
	$add->('ab', 'custom.credit', 'number', 'm.credit', 'credits');
	$add->('ab', 'credit', 'number', 'm.credit', 'credits');
	$add->('ab', 'vip', 'boolean', 'm.vip', undef);
	$add->('a', 'note', 'text', 'm.note', 'notes');
	$add->('a', 'custom.name', 'text', 'm.upper_note', 'notes');
	$add->('a', 'colours', 'list', 'm.colours', 'colours');
	$add->('b', 'colours', 'text', 'm.colours[1]', 'colours');
	$add->('ac', 'renewal', 'date', 'm.renewal', 'days');
	$add->('ac', 'seen', 'instant', 'm.seen', 'days');
	$add->('a', 'anniversary(renewal)', 'anniversary', 'm.renewal', 'days');
	$add->('a', 'anniversary(seen)', 'anniversary', $self->_day('m.seen'), 'days');
	$add->('abcd', 'monthly_total', 'number', $self->_spent('m', "date_trunc('month', t.today)", "date_trunc('month', t.today) + interval '1 month'"), 'totals');
	$add->('abcd', 'first_order_date', 'instant', 'm.first_at', 'days');
	$add->('abcd', 'last_order_date', 'instant', 'm.last_at', 'days');
	$add->('abcd', 'days_since_last_order', 'number', "(t.today - " . $self->_day('m.last_at') . ")", 'spans');
	$add->('abcd', 'monthly_average', 'number', $self->_monthly_average, 'averages');
	$add->('abcd', 'points', 'number', 'm.points', 'points');
	$add->('abcd', 'tier', 'tier', "CASE WHEN m.spent >= 3500 THEN 'gold' WHEN m.spent >= 1000 THEN 'silver' ELSE 'member' END", undef, ladder => [qw(member silver dust gold)]);
	$add->('abcd', "tier(ladder = 'visits')", 'tier', "CASE WHEN m.orders >= 5 THEN 'many' WHEN m.orders >= 2 THEN 'some' END", undef, ladder => [qw(some many)]);
	$add->('abcd', "tier(ladder = 'off')", 'tier', 'NULL::text', undef, ladder => [qw(any)], weight => 0.3);
	for (@figures) { $_->{type} eq 'anniversary' and !defined $_->{model} and ($_->{month}, $_->{of_month}) = ('m.month_of_year', 'm.day_of_month'); }
	for (@figures) { $_->{type} eq 'anniversary' and defined $_->{model} and ($_->{month}, $_->{of_month}) = ("extract(month FROM $_->{model})::int", "extract(day FROM $_->{model})::int"); }
	$self->{figures} = \@figures;

	# fields of events: name, type, model, values; "via": returns have it of their order
	my $custom = sub {
		my ($on) = @_;
		my %where = (
			branch => [ 'text', 'branches', 'abcd' ], delivered => [ 'date', 'days', 'ab' ], weight => [ 'number', 'weights', 'abd' ],
			gift => [ 'boolean', undef, 'ac' ], flags => [ 'list', 'flags', 'ad' ]);
		my @custom = map { { name => $_, type => $where{$_}[0], model => "e.$_", pool => $where{$_}[1], via => $_ eq 'branch' ? 'NOT e.has_branch' : 'true' } }
		  grep { index($where{$_}[2], $s) >= 0 } sort keys %where;
		push @custom, $self->_anniversary('delivered', 'e.delivered', via => 'true') if $s eq 'a' || $s eq 'b';
		return @custom;
	};
	my @date = ({ name => 'date', type => 'instant', model => 'e.at', pool => 'days', weight => 4 }, $self->_anniversary('date', $self->_day('e.at')));
	my @channel = ({ name => 'channel', type => 'text', model => 'e.channel', pool => 'channels', via => 'true', weight => 2 });
	my @reason = ({ name => 'reason', type => 'text', model => 'e.reason', pool => 'reasons', via => 'NOT e.has_reason' });
	my @size = index('ad', $s) >= 0 ? ({ name => 'size', type => 'text', model => 'e.size', pool => 'sizes', line => 1 }) : ();
	my @product = (
		{ name => 'id', type => 'id', model => 'e.product', pool => 'products', line => 1, weight => 2 },
		{ name => 'category', type => 'text', model => 'e.category', pool => 'categories', line => 1 });
	$self->{fields} = {
		orders => [ @date, @channel, { name => 'amount', type => 'number', model => 'e.amount', pool => 'amounts', weight => 2 },
			(index('abc', $s) >= 0 ? { name => 'items', type => 'number', model => 'e.items', pool => 'small' } : ()), $custom->() ],
		lines => [ @date, @channel, (index('abd', $s) >= 0 ? @product : ()), @size, $custom->() ],
		returns => [ @date, { name => 'amount', type => 'number', model => 'e.amount', pool => 'amounts' },
			(index('ad', $s) >= 0 ? @product : ()), ($s eq 'a' ? { name => 'wear', type => 'text', model => 'e.wear', pool => 'wears', line => 1 } : ()), @reason, $custom->() ],
		offers => [ @date, { name => 'offer', type => 'text', model => 'e.offer', pool => 'offers', weight => 2 }, { name => 'place', type => 'text', model => 'e.place', pool => 'branches' } ],
		points => [ @date, { name => 'points', type => 'number', model => 'e.points', pool => 'small', weight => 2 }, { name => 'branch', type => 'text', model => 'e.branch', pool => 'branches' } ],
	};
	$self->{fields}{spent} = [ @{ $self->{fields}{orders} }, @reason ];

	# figures that add up events, and events with what judges them as a whole
	$self->{sums} = [
		{ name => 'number_of_orders', over => 'orders', adds => 'count', pool => 'counts' },
		{ name => 'amount_ordered', over => 'orders', adds => 'amount', pool => 'totals' },
		{ name => 'amount_spent', over => 'spent', adds => 'amount', pool => 'totals', weight => 3 },
		{ name => 'average_order_value', over => 'orders', adds => 'average', pool => 'averages' },
		{ name => 'items_bought', over => 'lines', adds => 'quantity', pool => 'counts' },
		{ name => 'items_returned', over => 'returns', adds => 'quantity', pool => 'counts' },
		{ name => 'number_of_returns', over => 'returns', adds => 'count', pool => 'counts' },
		{ name => 'amount_returned', over => 'returns', adds => 'amount', pool => 'totals' },
	];
	$self->{events} = [
		{ name => 'orders_placed', over => 'orders', wholes => [ [ 'count', 'count', 'counts' ], [ 'sum_amount', 'amount', 'totals' ] ] },
		(index('abd', $s) >= 0 ? { name => 'products_purchased', over => 'lines', event => 1, wholes => [ [ 'count', 'count', 'counts' ], [ 'sum_quantity', 'quantity', 'counts' ],
			($s ne 'b' ? [ 'sum_amount', 'amount', 'totals' ] : ()) ] } : ()),
		{ name => 'returns_made', over => 'returns', wholes => [ [ 'count', 'count', 'counts' ], [ 'sum_quantity', 'quantity', 'counts' ], [ 'sum_amount', 'amount', 'totals' ] ] },
		(index('acd', $s) >= 0 ? (
			{ name => 'offers_used', over => 'offers', wholes => [ [ 'count', 'count', 'counts' ] ] },
			{ name => 'points_earned', over => 'points', wholes => [ [ 'count', 'count', 'counts' ], [ 'sum_points', 'points', 'totals' ] ] }) : ()),
	];
	return;
}

sub _spent
{
	my ($self, $m, $from, $to) = @_;
	my $within = "e.customer = $m.key AND e.day >= $from AND e.day < $to";
	return "(coalesce((SELECT sum(e.amount) FROM truth.o e WHERE $within), 0) - coalesce((SELECT sum(e.amount) FROM truth.r e WHERE $within), 0))";
}

# The shop's day of an instant; where clocks went back over midnight, see truth.day().
sub _day
{
	my ($self, $expr) = @_;
	return "truth.day($expr)" if $self->{zone} eq 'America/St_Johns';
	return "(($expr) AT TIME ZONE '$self->{zone}')::date";
}

# The anniversary of a field of an event, whose day is given.
sub _anniversary
{
	my ($self, $field, $day, %more) = @_;
	return { name => "anniversary($field)", type => 'anniversary', model => $day, month => "extract(month FROM $day)::int", of_month => "extract(day FROM $day)::int", pool => 'days', weight => 0.7, %more };
}

sub _monthly_average
{
	my ($self) = @_;
	my $first = $self->_day('m.first_at');
	return "(CASE WHEN m.first_at IS NULL THEN 0 ELSE m.spent / greatest(1, 1 + (extract(year FROM t.today) - extract(year FROM $first)) * 12 + extract(month FROM t.today) - extract(month FROM $first)) END)";
}

# --- values ---

sub weighted
{
	my @from = @_;
	my $sum = 0;
	$sum += $_->{weight} // 1 for @from;
	my $at = rand $sum;
	for (@from) { $at -= $_->{weight} // 1; return $_ if $at < 0; }
	return $from[-1];
}

sub number
{
	my ($self, $pool) = @_;
	my $n = pick(@{ $self->{pools}{$pool} });
	$n += pick(-1, 1) if chance(0.1) && $n =~ /^-?\d{1,9}$/;
	$n = pick('0', '-1', '0.5', '123456789012345678901234567890', '-99999999999999999999.5', '2147483648', '9223372036854775808') if chance(0.03);
	return $n;
}

sub date_value
{
	my ($self, $pool, $with_time, $near) = @_;
	my $kind = rand;
	return { kind => 'day', word => pick(qw(today yesterday tomorrow)) } if $kind < 0.15;
	if ($kind < 0.5)
	{
		my ($unit, $most) = @{ pick([ 'd', 45 ], [ 'd', 400 ], [ 'w', 60 ], [ 'm', 30 ], [ 'y', 8 ]) };
		return { kind => 'offset', n => pick(0, 1, -1), unit => $unit } if chance(0.1);
		return { kind => 'offset', n => pick(-1, 1) * { d => 366000, w => 52000, m => 12000, y => 1000 }->{$unit}, unit => $unit } if !$near && chance(0.02);
		return { kind => 'offset', n => chance(0.75) ? -between(0, $most) : between(0, $most), unit => $unit };
	}
	my $date = pick(@{ $self->{pools}{$pool} });
	return { kind => 'datetime', at => $date . 'T' . pick('00:00:00', '00:00:00', '01:00:00', '23:30:00', '12:00:00', '00:30:00', '23:59:59.999999', '00:00:00.000001') } if $with_time && chance(0.25);
	return { kind => 'date', date => $date };
}

sub date_text
{
	my ($value) = @_;
	return $value->{kind} eq 'day' ? $value->{word} : $value->{kind} eq 'offset' ? sprintf('%s%s%s', $value->{n} < 0 ? '-' : '+', abs $value->{n}, $value->{unit})
	  : $value->{kind} eq 'datetime' ? $value->{at} : $value->{quoted} ? "'$value->{date}'" : $value->{date};
}

my %offset_unit = (d => 'days', w => 'weeks', m => 'months', y => 'years');

sub date_model
{
	my ($self, $value) = @_;
	return "date '$value->{date}'" if $value->{kind} eq 'date';
	return $value->{word} eq 'today' ? 't.today' : $value->{word} eq 'tomorrow' ? '(t.today + 1)' : '(t.today - 1)' if $value->{kind} eq 'day';
	return "(t.today + make_interval($offset_unit{$value->{unit}} => $value->{n}))::date";
}

my %period_months = (month => 1, quarter => 3, half_year => 6, year => 12);

sub period
{
	my ($self) = @_;
	return { unit => pick(qw(week month quarter half_year year)), n => pick(-13, -3, -2, -1, -1, 0, 0, 1, 2, 5) };
}

sub period_text
{
	my ($period) = @_;
	my %words = (-1 => 'last', 0 => 'this', 1 => 'next');
	return $words{ $period->{n} } ? "$words{$period->{n}}_$period->{unit}" : "$period->{unit}($period->{n})";
}

# first day, and the first day after it
sub period_model
{
	my ($period) = @_;
	my $days = sub {
		my ($n) = @_;
		return "(date_trunc('week', t.today)::date + 7 * ($n))" if $period->{unit} eq 'week';
		my $months = $period_months{ $period->{unit} };
		return "(date_trunc('year', t.today) + make_interval(months => $months * (((extract(month FROM t.today)::int - 1) / $months) + ($n))))::date";
	};
	return ($days->($period->{n}), $days->($period->{n} + 1));
}

# A text like one that is stored, or part of one.
sub text_value
{
	my ($self, $pool, $how) = @_;
	my $value;
	for (1 .. 50)
	{
		$value = pick(@{ $self->{pools}{$pool} });
		if ($how eq 'part')
		{
			my $length = length $value;
			my $take = between(1, $length > 5 ? pick(2, 4, $length) : $length);
			$value = substr $value, pick(0, $length - $take, between(0, $length - $take)), $take;
		}
		elsif ($how eq 'words')
		{
			my @words = split ' ', $value;
			next if !@words;
			my $from = int rand @words;
			$value = join pick(' ', '  ', ', '), @words[ $from .. between($from, $#words) ];
		}
		last if $value =~ /[[:alnum:]]/;
	}
	$value = 'x' if $value !~ /[[:alnum:]]/;
	$value = pick(uc $value, lc $value, " $value ", $value, $value) if $how ne 'exact' && $how ne 'part';
	return $value;
}

sub quoted
{
	my ($value) = @_;
	$value =~ s/\\/\\\\/g;
	$value =~ s/'/''/g;
	return "'$value'";
}

sub literal
{
	my ($value) = @_;
	$value =~ s/'/''/g;
	return $value =~ /\\/ ? " E'" . ($value =~ s/\\/\\\\/gr) . "'" : "'$value'";
}

# --- tests: what is asked of a value of some type ---

sub test
{
	my ($self, $type, $pool, %more) = @_;
	my $not = chance(0.3);
	return { is => 'null', not => $not } if chance(0.06) && $type ne 'anniversary';
	if ($type eq 'number')
	{
		my $kind = rand;
		return { is => 'in', not => $not, values => [ map { $self->number($pool) } 1 .. pick(1, 2, 4) ] } if $kind < 0.12;
		if ($kind < 0.3)
		{
			my @bounds = sort { $a <=> $b } $self->number($pool), $self->number($pool);
			@bounds = (0, 100) if grep { length > 15 } @bounds;
			return { is => 'between', not => $not, values => \@bounds };
		}
		return { is => 'compare', op => pick(@cmp), values => [ $self->number($pool) ] };
	}
	if ($type eq 'date' || $type eq 'instant')
	{
		my $kind = rand;
		my $time = $type eq 'instant';
		return { is => 'during', not => $not, period => $self->period } if $kind < 0.2;
		return { is => 'in', not => $not, values => [ map { $self->date_value($pool, $time) } 1 .. pick(1, 2, 4) ] } if $kind < 0.3;
		if ($kind < 0.5)
		{
			my ($low, $high) = ($self->date_value($pool, $time), $self->date_value($pool, $time));
			($low, $high) = ($high, $low) if $self->_above($low, $high);
			return { is => 'between', not => $not, values => [ $low, $high ] };
		}
		my $value = $self->date_value($pool, $time);
		$value->{quoted} = 1 if $value->{kind} eq 'date' && chance(0.1);
		return { is => 'compare', op => pick(@cmp), values => [$value] };
	}
	if ($type eq 'anniversary')
	{
		my $kind = rand;
		return { is => 'during', not => $not, period => $self->period } if $kind < 0.25;
		return { is => 'compare', op => pick('=', @cmp), values => [ $self->date_value($pool, 0, 1) ] } if $kind < 0.5;
		return { is => 'between', not => $not, values => [ $self->date_value($pool, 0, 1), $self->date_value($pool, 0, 1) ] };
	}
	return { is => 'compare', op => pick('=', '!='), values => [ pick('TRUE', 'FALSE') ] } if $type eq 'boolean';
	if ($type eq 'sex')
	{
		my $kind = rand;
		my @values = map { pick('female', 'male', 'Nữ', 'nam', 'F', 'M') } 1 .. 2;
		return { is => 'in', not => $not, values => \@values } if $kind < 0.3;
		return { is => 'compare', op => pick('=', '!='), values => [ $values[0] ] };
	}
	if ($type eq 'tier')
	{
		my @ladder = @{ $more{ladder} };
		my $kind = rand;
		if ($kind < 0.2)
		{
			my @bounds = sort { $a <=> $b } map { int rand @ladder } 1 .. 2;
			return { is => 'between', not => $not, values => [ map { $ladder[$_] } @bounds ] };
		}
		return { is => 'in', not => $not, values => [ map { pick(@ladder) } 1 .. pick(1, 2, 3) ] } if $kind < 0.4;
		return { is => 'compare', op => pick(@cmp), values => [ pick(@ladder) ] };
	}
	if ($type eq 'list' || $type eq 'region')
	{
		my $kind = rand;
		my $values = sub { [ map { $self->text_value($pool, 'whole') } 1 .. $_[0] ] };
		return { is => 'compare', op => pick('=', '!='), values => $values->(1) } if $kind < 0.2;
		return { is => 'in', not => $not, values => $values->(pick(1, 2, 3)) } if $kind < 0.35;
		return { is => 'contains', not => $not, all => 1, values => $values->(2) } if $kind < 0.6;
		return { is => 'contains', not => $not, values => $values->(pick(1, 1, 2, 3)) };
	}
	# texts
	my $kind = rand;
	my $how = $type eq 'id' ? 'exact' : 'whole';
	$pool = 'dialled' if $type eq 'phone';
	return { is => 'compare', op => pick('=', '!='), values => [ $self->text_value($pool, $how) ] } if $kind < 0.25;
	return { is => 'in', not => $not, values => [ map { $self->text_value($pool, $how) } 1 .. pick(1, 2, 5) ] } if $kind < 0.4;
	my $operator = pick(qw(contains starts ends word));
	my @values = map { $self->text_value($pool, $operator eq 'word' ? 'words' : $type eq 'id' ? 'exact' : 'part') } 1 .. pick(1, 1, 1, 2, 3);
	if ($type eq 'phone' && $operator ne 'word') { s/[^0-9+０-９ ]//g for @values; @values = map { /[0-9]/ ? $_ : '09' } @values; }
	return { is => $operator, not => $not, unaccented => chance(0.3) && !$more{field} && $type ne 'phone' ? 1 : 0, values => \@values };
}

# Whether a range would be refused because its first bound is the later one, as far as that is told from the text.
sub _above
{
	my ($self, $low, $high) = @_;
	my ($l, $h) = map { $_->{kind} eq 'day' ? { today => 0, yesterday => -1, tomorrow => 1 }->{ $_->{word} } : $_->{kind} eq 'offset' ? $_->{n} : $_->{date} // $_->{at} } $low, $high;
	my ($ul, $uh) = map { $_->{kind} eq 'day' ? 'd' : $_->{kind} eq 'offset' ? $_->{unit} : $_->{kind} } $low, $high;
	return 0 if $ul ne $uh;
	return $ul =~ /^date/ ? $l gt $h : $l > $h;
}

# The clause in the language. $name: what is asked, unaccented or not.
sub test_text
{
	my ($name, $type, $test) = @_;
	my $not = $test->{not} ? ' NOT' : '';
	my $is = $test->{is};
	my $value = sub {
		my ($v) = @_;
		return ref $v ? date_text($v) : $type eq 'number' || $type eq 'boolean' ? $v : quoted($v);
	};
	my @values = map { $value->($_) } @{ $test->{values} // [] };
	$name = "unaccented($name)" if $test->{unaccented};
	return "$name IS$not NULL" if $is eq 'null';
	return "$name $test->{op} $values[0]" if $is eq 'compare';
	return "$name$not BETWEEN $values[0] AND $values[1]" if $is eq 'between';
	return "$name$not IN (" . join(', ', @values) . ')' if $is eq 'in';
	return "$name$not DURING " . period_text($test->{period}) if $is eq 'during';
	my %words = (contains => 'CONTAINS', starts => 'STARTS WITH', ends => 'ENDS WITH', word => 'HAS WORD');
	my $any = @values == 1 ? $values[0] : ($test->{all} ? 'ALL ' : 'ANY ') . '(' . join(', ', @values) . ')';
	return "$name$not $words{$is} $any";
}

# What it means, as SQL over the value; never NULL.
sub test_model
{
	my ($self, $asked, $test) = @_;
	my ($type, $expr) = @{$asked}{qw(type model)};
	my $is = $test->{is};
	my $sql;
	my $negative = $test->{not} || ($is eq 'compare' && $test->{op} eq '!=');
	my $op = $is eq 'compare' ? ($test->{op} eq '!=' ? '=' : $test->{op}) : undef;
	my @values = @{ $test->{values} // [] };
	if ($is eq 'null')
	{
		$sql = $type eq 'list' || $type eq 'region' ? "NOT EXISTS (SELECT FROM unnest($expr) x WHERE segment.fold(x) <> '')"
		  : $type =~ /^(text|id|phone|sex)$/ ? "coalesce(segment.fold($expr), '') = ''" : "($expr) IS NULL";
	}
	elsif ($type eq 'number')
	{
		$sql = $is eq 'compare' ? "($expr) $op ($values[0])::numeric" : $is eq 'between' ? "($expr) >= ($values[0])::numeric AND ($expr) <= ($values[1])::numeric"
		  : '(' . join(' OR ', map { "($expr) = ($_)::numeric" } @values) . ')';
	}
	elsif ($type eq 'boolean') { $sql = "($expr) = $values[0]"; }
	elsif ($type eq 'date' || $type eq 'instant')
	{
		my $day = $type eq 'instant' ? $self->_day($expr) : "($expr)";
		my $one = sub {
			my ($op, $value) = @_;
			return "($expr) $op (timestamp '" . $value->{at} . "' AT TIME ZONE '$self->{zone}')" if $value->{kind} eq 'datetime';
			return "$day $op " . $self->date_model($value);
		};
		if ($is eq 'during') { my ($first, $after) = period_model($test->{period}); $sql = "$day >= $first AND $day < $after"; }
		elsif ($is eq 'compare') { $sql = $one->($op, $values[0]); }
		elsif ($is eq 'between') { $sql = $one->('>=', $values[0]) . ' AND ' . $one->('<=', $values[1]); }
		else { $sql = '(' . join(' OR ', map { $one->('=', $_) } @values) . ')'; }
	}
	elsif ($type eq 'anniversary')
	{
		my ($month, $day) = @{$asked}{qw(month of_month)};
		my $year = sub { "extract(year FROM $_[0])::int" };
		# a given date is one of this year
		my $near = sub {
			my ($value) = @_;
			return $self->date_model($value) if $value->{kind} ne 'date';
			my ($m, $d) = $value->{date} =~ /-(\d\d)-(\d\d)$/;
			return "truth.anniversary($m, $d, " . $year->('t.today') . ')';
		};
		if ($is eq 'during') { my ($first, $after) = period_model($test->{period}); $sql = "truth.anniversary_between($month, $day, $first, $after - 1)"; }
		elsif ($is eq 'compare') { my $that = $near->($values[0]); $sql = "truth.anniversary($month, $day, " . $year->($that) . ") $op $that"; }
		else
		{
			my ($first, $last) = map { $near->($_) } @values;
			my ($m, $d) = $values[1]{kind} eq 'date' ? $values[1]{date} =~ /-(\d\d)-(\d\d)$/ : map { "extract($_ FROM $last)::int" } qw(month day);
			# the second day of the year is the first such day from the first one on
			my $next = "(SELECT min(truth.anniversary($m, $d, y)) FROM generate_series(" . $year->($first) . ', ' . $year->($first) .
			  " + 1) y WHERE truth.anniversary($m, $d, y) >= $first)";
			$sql = "truth.anniversary_between($month, $day, $first, CASE WHEN $last >= $first THEN $last ELSE $next END)";
		}
	}
	elsif ($type eq 'tier')
	{
		my $ladder = $asked->{ladder};
		my %rank = map { $ladder->[$_] => $_ } 0 .. $#$ladder;
		my $rank = 'CASE ' . "($expr)" . join('', map { " WHEN '$_' THEN $rank{$_}" } @$ladder) . ' END';
		$sql = $is eq 'compare' ? "$rank $op $rank{$values[0]}" : $is eq 'between' ? "$rank BETWEEN $rank{$values[0]} AND $rank{$values[1]}"
		  : "($expr) IN (" . join(', ', map { "'$_'" } @values) . ')';
	}
	elsif ($type eq 'list' || $type eq 'region')
	{
		my $has = sub {
			my $value = literal($_[0]);
			return "EXISTS (SELECT FROM unnest($expr) x WHERE segment.fold(x) = segment.fold($value))" if $type eq 'list';
			return "EXISTS (SELECT FROM unnest($expr) x WHERE segment.region(x) = segment.region($value) OR EXISTS (SELECT FROM segment.region_aliases a WHERE a.alias_key = segment.region(x) AND a.region_key = segment.region($value)))";
		};
		$sql = '(' . join($test->{all} ? ' AND ' : ' OR ', map { $has->($_) } @values) . ')';
	}
	elsif ($type eq 'sex')
	{
		$sql = "($expr) IN (" . join(', ', map { /^(female|nữ|f)$/i ? "'female'" : "'male'" } @values) . ')';
	}
	else
	{
		my $fold = $test->{unaccented} ? 'segment.unaccent' : 'segment.fold';
		my $phones = '(SELECT phones FROM truth.rules)';
		my $whole = sub { $type eq 'id' ? "($_[0])" : $type eq 'phone' ? "segment.phone($_[0], $phones)" : "$fold($_[0])"; };
		my $part = sub { $type eq 'id' ? "($_[0])" : $type eq 'phone' ? "segment.phone_pattern($_[0], $phones)" : "$fold($_[0])"; };
		my %holds = (
			compare => sub { $whole->($expr) . ' = ' . $whole->($_[0]) },
			in => sub { $whole->($expr) . ' = ' . $whole->($_[0]) },
			contains => sub { 'position(' . $part->($_[0]) . ' IN ' . $whole->($expr) . ') > 0' },
			starts => sub { 'left(' . $whole->($expr) . ', length(' . $part->($_[0]) . ')) = ' . $part->($_[0]) },
			ends => sub { 'right(' . $whole->($expr) . ', length(' . $part->($_[0]) . ')) = ' . $part->($_[0]) },
			word => sub { my $f = $test->{unaccented} ? 'segment.unaccent' : ''; "(' ' || array_to_string(segment.words($f($expr)), ' ') || ' ') LIKE ('% ' || array_to_string(segment.words($f($_[0])), ' ') || ' %')" });
		$sql = '(' . join(' OR ', map { $holds{$is}->(literal($_)) } @values) . ')';
	}
	return $negative ? "NOT coalesce($sql, false)" : "coalesce($sql, false)";
}

# --- events ---

sub narrowing
{
	my ($self, $over, $most) = @_;
	my @fields = @{ $self->{fields}{$over} };
	return map { my $field = weighted(@fields); { field => $field, test => $self->test($field->{type}, $field->{pool}, field => 1) } } 1 .. between(0, $most);
}

# The rows of events that pass, FROM and WHERE.
sub events_model
{
	my ($self, $over, $whose, @narrow) = @_;
	my $by_lines = grep { $_->{field}{line} } @narrow;
	my %table = (orders => 'o', lines => 'l', offers => 'f', points => 'p');
	my $table = $whose eq 'quantity of returns' ? 'rl' : $whose eq 'spent of returns' ? 'r' : $over eq 'returns' ? ($by_lines ? 'rl' : 'r') : $over eq 'spent' ? 'o' : $table{$over};
	my @where = ('e.customer = m.key');
	push @where, 'e.is_line' if ($table eq 'l' || $table eq 'rl') && ($by_lines || $whose eq 'event');
	my $returns = $table =~ /^rl?$/;
	for (@narrow)
	{
		my %field = %{ $_->{field} };
		$field{model} = 'e.o_amount' if $whose eq 'spent of returns' && $field{name} eq 'amount';
		$field{model} = 'e.o_items' if $whose eq 'spent of returns' && $field{name} eq 'items';
		$field{model} = 'e.r_amount' if $table eq 'rl' && $field{name} eq 'amount';
		$field{via} = 'true' if $whose eq 'spent of returns' && $field{name} =~ /^(amount|items)$/;
		$field{model} = 'NULL::text' if $table eq 'o' && $field{name} eq 'reason';
		push @where, $field{name} eq 'reason' ? "NOT ($field{via})" : "(e.ordered OR NOT ($field{via}))" if $returns && defined $field{via};
		push @where, $self->test_model(\%field, $_->{test});
	}
	return "FROM truth.$table e WHERE " . join ' AND ', @where;
}

sub sum_model
{
	my ($self, $over, $adds, $is_event, @narrow) = @_;
	my $by_lines = grep { $_->{field}{line} } @narrow;
	my $from = $self->events_model($over, $over eq 'returns' && $adds eq 'quantity' ? 'quantity of returns' : $is_event ? 'event' : '', @narrow);
	return "(SELECT count(DISTINCT e.event) $from)" if $adds eq 'count' && ($over eq 'lines' || ($over eq 'returns' && $by_lines));
	return "(SELECT count(*) $from)" if $adds eq 'count';
	return "(SELECT sum(e.amount) / nullif(count(*), 0) $from)" if $adds eq 'average';
	my $sum = "coalesce((SELECT sum(e.$adds) $from), 0)";
	$sum = "($sum - coalesce((SELECT sum(e.amount) " . $self->events_model('spent', 'spent of returns', @narrow) . '), 0))' if $over eq 'spent';
	return $sum;
}

sub narrowed_text
{
	my (@narrow) = @_;
	return join ', ', map { test_text($_->{field}{name}, $_->{field}{type}, $_->{test}) } @narrow;
}

# --- clauses ---

# A figure that numbers or dates can be compared with: name, type, model, narrow
sub figure_of
{
	my ($self, $type) = @_;
	if ($type eq 'number' && chance(0.7))
	{
		my $sum = weighted(@{ $self->{sums} });
		return { sum => $sum, type => 'number', pool => $sum->{pool}, narrow => [ chance(0.35) ? () : $self->narrowing($sum->{over}, 2) ] };
	}
	if ($type eq 'number' && chance(0.15))
	{
		return { months => between(1, 14), type => 'number', pool => 'averages', narrow => [] };
	}
	my @of = grep { $type eq 'any' || $_->{type} eq $type || ($type eq 'dated' && $_->{type} =~ /^(date|instant)$/) } @{ $self->{figures} };
	return { plain => weighted(@of), narrow => [] };
}

sub figure_text
{
	my ($figure) = @_;
	return "monthly_average(months = $figure->{months})" if $figure->{months};
	return $figure->{plain}{name} if $figure->{plain};
	return $figure->{sum}{name} . (@{ $figure->{narrow} } ? '(' . narrowed_text(@{ $figure->{narrow} }) . ')' : '');
}

sub figure_asked
{
	my ($self, $figure) = @_;
	if ($figure->{months})
	{
		my $this = "date_trunc('month', t.today)";
		return { type => 'number', model => '(' . $self->_spent('m', "$this - make_interval(months => $figure->{months})", $this) . " / $figure->{months})" };
	}
	return $figure->{plain} if $figure->{plain};
	my $sum = $figure->{sum};
	return { type => 'number', model => $self->sum_model($sum->{over}, $sum->{adds}, 0, @{ $figure->{narrow} }) };
}

sub clause
{
	my ($self) = @_;
	my $kind = rand;
	if ($kind < 0.2)
	{
		my $event = pick(@{ $self->{events} });
		my @wholes = chance(0.55) ? () : map { my $whole = pick(@{ $event->{wholes} }); { whole => $whole, test => $self->test('number', $whole->[2]) } } 1 .. pick(1, 1, 2);
		return { clause => 'event', event => $event, not => chance(0.3), narrow => [ $self->narrowing($event->{over}, 3) ], wholes => \@wholes };
	}
	if ($kind < 0.28)
	{
		my $type = pick('number', 'number', 'dated');
		my ($left, $right) = ($self->figure_of($type), $self->figure_of($type));
		return { clause => 'figures', left => $left, right => $right, compare => pick(@cmp), times => $type eq 'number' && chance(0.5) ? pick('0.5', '2', '-1', '0.333', '1000000000000', '0', '5000000000', '9223372036854775807') : undef };
	}
	my $figure = $self->figure_of($kind < 0.6 ? 'number' : 'any');
	my $asked = $figure->{plain};
	return { clause => 'figure', figure => $figure,
		test => $asked ? $self->test($asked->{type}, $asked->{pool}, ladder => $asked->{ladder}) : $self->test('number', $figure->{pool}) };
}

sub condition
{
	my ($self, $depth) = @_;
	$depth //= pick(0, 0, 0, 0, 1, 1, 2, 3);
	return chance(0.01) ? { op => pick('true', 'false') } : { op => 'clause', %{ $self->clause } } if $depth == 0;
	return { op => 'not', kids => [ $self->condition($depth - 1) ] } if chance(0.2);
	return { op => pick('and', 'or'), kids => [ map { $self->condition($depth - 1) } 1 .. pick(2, 2, 3) ] };
}

# --- text and model of the whole ---

sub text
{
	my ($self, $node) = @_;
	return uc $node->{op} if $node->{op} eq 'true' || $node->{op} eq 'false';
	return 'NOT (' . $self->text($node->{kids}[0]) . ')' if $node->{op} eq 'not';
	return join ' ' . uc($node->{op}) . ' ', map { '(' . $self->text($_) . ')' } @{ $node->{kids} } if $node->{op} ne 'clause';
	return $self->clause_text($node);
}

sub clause_text
{
	my ($self, $node) = @_;
	if ($node->{clause} eq 'event')
	{
		my @params = ((map { test_text($_->{field}{name}, $_->{field}{type}, $_->{test}) } @{ $node->{narrow} }),
			(map { test_text($_->{whole}[0], 'number', $_->{test}) } @{ $node->{wholes} }));
		return "$node->{event}{name}" . ($node->{not} ? ' NOT' : '') . ' MATCHES (' . join(', ', @params) . ')';
	}
	if ($node->{clause} eq 'figures')
	{
		return figure_text($node->{left}) . " $node->{compare} " . (defined $node->{times} ? "$node->{times} * " : '') . figure_text($node->{right});
	}
	my $figure = $node->{figure};
	return test_text(figure_text($figure), $figure->{plain} ? $figure->{plain}{type} : 'number', $node->{test});
}

sub model
{
	my ($self, $node) = @_;
	return $node->{op} if $node->{op} eq 'true' || $node->{op} eq 'false';
	return 'NOT (' . $self->model($node->{kids}[0]) . ')' if $node->{op} eq 'not';
	return '(' . join(" $node->{op} ", map { '(' . $self->model($_) . ')' } @{ $node->{kids} }) . ')' if $node->{op} ne 'clause';
	if ($node->{clause} eq 'event')
	{
		my $event = $node->{event};
		my @wholes = map { $self->test_model({ type => 'number', model => $self->sum_model($event->{over}, $_->{whole}[1], $event->{event}, @{ $node->{narrow} }) }, $_->{test}) } @{ $node->{wholes} };
		@wholes = ($self->sum_model($event->{over}, 'count', $event->{event}, @{ $node->{narrow} }) . ' >= 1') if !@wholes;
		return ($node->{not} ? 'NOT ' : '') . '(' . join(' AND ', @wholes) . ')';
	}
	if ($node->{clause} eq 'figures')
	{
		my ($left, $right) = map { $self->figure_asked($_) } $node->{left}, $node->{right};
		my ($l, $r) = map { $_->{model} } $left, $right;
		if ($left->{type} ne 'number')
		{
			($l, $r) = map { $_->{type} eq 'instant' ? $self->_day($_->{model}) : "($_->{model})" } $left, $right;
			($l, $r) = map { "($_->{model})" } $left, $right if $left->{type} eq 'instant' && $right->{type} eq 'instant';
		}
		$r = "$node->{times}::numeric * ($r)" if defined $node->{times};
		my $op = $node->{compare} eq '!=' ? '=' : $node->{compare};
		my $sql = "coalesce(($l) $op ($r), false)";
		return $node->{compare} eq '!=' ? "NOT $sql" : $sql;
	}
	return $self->test_model($self->figure_asked($node->{figure}), $node->{test});
}

# --- smaller trees ---

sub shrinks
{
	my ($self, $node) = @_;
	my @smaller;
	my $with = sub { my ($key, $value) = @_; push @smaller, { %$node, $key => $value }; };
	my $without = sub { my ($list) = @_; return map { my $n = $_; [ @{$list}[ grep { $_ != $n } 0 .. $#$list ] ] } 0 .. $#$list; };
	if ($node->{kids})
	{
		push @smaller, @{ $node->{kids} };
		if (@{ $node->{kids} } > 2) { $with->('kids', $_) for $without->($node->{kids}); }
		for my $n (0 .. $#{ $node->{kids} })
		{
			my @kids = @{ $node->{kids} };
			for my $kid ($self->shrinks($kids[$n])) { my @new = @kids; $new[$n] = $kid; $with->('kids', \@new); }
		}
		return @smaller;
	}
	return if $node->{op} ne 'clause';
	my $tests = sub {
		my ($test) = @_;
		my @less;
		push @less, { %$test, values => $_ } for $test->{is} =~ /^(in|contains|starts|ends|word)$/ && @{ $test->{values} } > 1 ? $without->($test->{values}) : ();
		push @less, { %$test, not => 0 } if $test->{not};
		push @less, { %$test, unaccented => 0 } if $test->{unaccented};
		if (($test->{is} eq 'in' || $test->{is} eq 'contains') && @{ $test->{values} } == 1) { push @less, { is => 'compare', op => '=', values => $test->{values} } if $test->{is} eq 'in'; }
		return @less;
	};
	my $narrowed = sub {
		my ($list) = @_;
		my @less = $without->($list);
		for my $n (0 .. $#$list) { for my $test ($tests->($list->[$n]{test})) { my @new = @$list; $new[$n] = { %{ $new[$n] }, test => $test }; push @less, \@new; } }
		return @less;
	};
	if ($node->{clause} eq 'event')
	{
		$with->('narrow', $_) for $narrowed->($node->{narrow});
		$with->('wholes', $_) for $narrowed->($node->{wholes});
		$with->('not', 0) if $node->{not};
	}
	elsif ($node->{clause} eq 'figures')
	{
		$with->('times', undef) if defined $node->{times};
		for my $side (qw(left right)) { $with->($side, { %{ $node->{$side} }, narrow => $_ }) for $narrowed->($node->{$side}{narrow}); }
	}
	else
	{
		$with->('test', $_) for $tests->($node->{test});
		$with->('figure', { %{ $node->{figure} }, narrow => $_ }) for $narrowed->($node->{figure}{narrow});
	}
	return @smaller;
}

1;
