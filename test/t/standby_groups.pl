# A hot standby answers exactly what the conditions mean at every instant, and
# nothing is written for that: customers who are due are judged on the spot. The
# clock is segment.at of the session on the standby; the primary may be ahead of
# it, behind it, ticked or not. So it is after a promotion, and a tick there
# goes on where the primary stopped.

use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use lib "$FindBin::RealBin/../random";
use ShopSession;

my $zone = 'Asia/Ho_Chi_Minh';
my $opens = '2024-01-01 10:00+07';
my $shop = "$FindBin::RealBin/../random/walk_shop.sql";

my $new = "last_order_date >= -60d AND NOT groups CONTAINS ''w01''";

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$primary->append_conf('postgresql.conf', "jit = off\nfsync = off\nautovacuum = off\nlog_min_messages = warning\n");
$primary->start;
$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;

{
	local $ENV{PGOPTIONS} = '-c segment.at=' . ($opens =~ s/ /T/r);
	system('psql', '-Xqo', '/dev/null', '-v', "zone=$zone", '-v', 'seed=7', '-d', $primary->connstr('postgres'), '-f', $shop) == 0 or die 'the shop does not open';
}

# Reads the views and what the conditions mean at an instant, in one transaction
# that cannot write.
sub wrong
{
	my ($node, $at) = @_;
	my $sql = "SET segment.at = '$at'; SET timezone = 'UTC'; SET default_transaction_read_only = on; BEGIN ISOLATION LEVEL REPEATABLE READ;\n";
	# what each condition means, in one query with the view: the statement's own SQL comes from the server
	my @meant = split /\x01/, $node->safe_psql('postgres',
		"SET segment.at = '$at'; SELECT string_agg(format(E'SELECT %L AS code, customer_id FROM (%s\\n) x(customer_id)', g.code, segment.to_sql(g.condition, segment._now())), E'\\x01' ORDER BY g.id) FROM segment.groups g WHERE g.active");
	my $union = join "\nUNION ALL\n", @meant;
	$sql .= <<"END";
WITH meant AS MATERIALIZED ($union), shown AS MATERIALIZED (SELECT m.group_code AS code, m.customer_id FROM segment.members m)
SELECT format('members: %s %s %s', d.which, d.code, d.customer_id)
FROM ((SELECT 'missing' AS which, x.* FROM (TABLE meant EXCEPT ALL TABLE shown) x) UNION ALL (SELECT 'surplus', x.* FROM (TABLE shown EXCEPT ALL TABLE meant) x)) d LIMIT 10;
WITH a AS (SELECT m.customer_id, array_agg(m.group_code ORDER BY m.group_code) AS groups FROM segment.members m GROUP BY 1)
SELECT 'customer_groups: ' || v.customer_id FROM segment.customer_groups v LEFT JOIN a USING (customer_id) WHERE v.groups <> coalesce(a.groups, '{}') LIMIT 10;
WITH m AS MATERIALIZED (SELECT m.group_code, count(*) AS n FROM segment.members m GROUP BY 1)
SELECT 'group_sizes: ' || v.group_code FROM segment.group_sizes v LEFT JOIN m USING (group_code) WHERE v.customers <> coalesce(m.n, 0) LIMIT 10;
WITH m AS MATERIALIZED (SELECT m.group_code, count(*) AS n FROM segment.members m GROUP BY 1)
SELECT 'group_stats: ' || v.group_code FROM segment.group_stats v LEFT JOIN m USING (group_code) WHERE v.customers <> coalesce(m.n, 0) LIMIT 10;
SELECT 'stale: ' || m.customer_id FROM segment.members m WHERE m.stale LIMIT 1;
SELECT 'verify: ' || v::text FROM segment.verify() v LIMIT 10;
COMMIT;
END
	return $node->safe_psql('postgres', $sql);
}

sub members
{
	my ($node, $at) = @_;
	return $node->safe_psql('postgres', "SET segment.at = '$at'; SET timezone = 'UTC'; SELECT m.group_code, m.customer_id, m.since FROM segment.members m ORDER BY 1, 2");
}

sub on_primary
{
	my ($at, $sql) = @_;
	$primary->safe_psql('postgres', "SET client_min_messages = warning; SET segment.at = '$at'; $sql");
	$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
	return;
}

sub due { my ($node, $at) = @_; return $node->safe_psql('postgres', "SELECT count(*) FROM segment.facts WHERE due <= '$at'"); }

# Each instant is asked of the standby and of the primary, which have no tick.
sub both
{
	my ($at, $what) = @_;
	is(wrong($standby, $at), '', "$what: the standby shows whom the conditions mean at $at");
	is(members($standby, $at), members($primary, $at), 'as the primary does, since the same instants');
	return;
}

on_primary($opens, 'SELECT 1');
is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'a standby in recovery');
both($opens, 'as the shop opens');
both('2024-01-01 23:59:59.999999+07', 'before midnight');
both('2024-01-02 00:00:00+07', 'at midnight');
cmp_ok(due($standby, '2024-03-15 12:00+07'), '>', 100, 'ten weeks later most customers are due');
both('2024-02-29 08:00+07', 'on a leap day');
both('2024-03-15 12:00+07', 'ten weeks later');
both('2024-02-01 00:00+07', 'back in between, since nothing was written');

# Sales and groups come over, also while the standby's clock is elsewhere.
on_primary('2024-03-16 09:00+07', q(INSERT INTO shop.orders SELECT 5000 + i, i * 7, 300 * i, '2024-03-16 09:00+07', 'completed', 'pos' FROM generate_series(1, 20) i;
	UPDATE shop.customers SET tags = '{vip}' WHERE id % 10 = 1;
	INSERT INTO shop.orders VALUES (5100, 3, 1000, '2024-05-01 00:00+07', 'completed', 'web')));
both('2024-03-16 09:00+07', 'after sales');
both('2024-05-01 00:00+07', 'on the day of an order that was dated ahead');
on_primary('2024-03-16 10:00+07', "UPDATE segment.groups SET condition = 'last_order_date < -45d' WHERE code = 'w01';
	INSERT INTO segment.groups (code, name, condition) VALUES ('new', 'New', '$new');
	DELETE FROM segment.groups WHERE code = 'w60'; UPDATE segment.groups SET active = false WHERE code = 'w48'");
both('2024-03-16 10:00+07', 'after changes of groups');
both('2024-06-30 23:00+07', 'and a quarter later');

# What is not committed is not seen; what is prepared by a tick is.
on_primary('2024-04-10 08:00+07', 'BEGIN; SELECT segment.tick(batch_size => 30); ROLLBACK');
both('2024-04-10 08:00+07', 'after a tick that was rolled back');
on_primary('2024-04-10 08:00+07', 'SELECT segment.tick(batch_size => 30)');
cmp_ok(due($standby, '2024-04-10 08:00+07'), '>', 0, 'a tick that has not come to the end');
both('2024-04-10 08:00+07', 'with some of them brought up to date');
is(members($standby, '2024-04-01 08:00+07'), members($standby, '2024-04-10 08:00+07'), 'a clock behind the last tick does not go back');
on_primary('2024-04-10 08:00+07', 'CALL segment.tick_in_batches(50)');
is(due($standby, '2024-04-10 08:00+07'), 0, 'a tick that has');
both('2024-04-10 08:00+07', 'with nobody due');
both('2024-04-11 00:00+07', 'on the next day');

# Nothing may be written there.
my ($code, undef, $error) = $standby->psql('postgres', "SET segment.at = '2024-04-12 00:00+07'; SELECT segment.tick()");
isnt($code, 0, 'a tick is refused on a standby');
like($error, qr/read-only transaction|recovery/, 'because nothing can be written');

# One session keeps its rules while the primary changes them.
my $session = ShopSession->new(name => 'reader', connection => $standby->connstr('postgres'), setup => "SET segment.at = '2024-04-11 00:00+07';");
my $count = "SELECT count(*) FROM segment.members WHERE group_code = 'new'";
my ($was) = $session->ask($count);
cmp_ok($was, '>', 0, 'a session on the standby that knows the rules');
on_primary('2024-04-10 09:00+07', "UPDATE segment.groups SET condition = 'TRUE' WHERE code = 'new'");
is(join(' ', $session->ask($count)), 200, 'knows others when they have come');
on_primary('2024-04-10 09:00+07', "UPDATE segment.groups SET condition = '$new' WHERE code = 'new'");
is(join(' ', $session->ask($count)), $was, 'and those again');
$session->end;

# Promoted in the middle: the clock has gone on, nobody has ticked.
$primary->stop('immediate');
$standby->promote;
is(wrong($standby, '2024-05-20 12:00+07'), '', 'promoted, without a tick');
my $shown = members($standby, '2024-05-20 12:00+07');
$standby->safe_psql('postgres', "SET segment.at = '2024-05-20 12:00+07'; CALL segment.tick_in_batches(64)");
is(members($standby, '2024-05-20 12:00+07'), $shown, 'a tick there changes nothing that views show');
is(due($standby, '2024-05-20 12:00+07'), 0, 'and leaves nobody due');
$standby->safe_psql('postgres', "SET segment.at = '2024-05-21 12:00+07'; INSERT INTO shop.orders VALUES (6000, 11, 9000, '2024-05-21 12:00+07', 'completed', 'pos')");
is(wrong($standby, '2024-05-21 12:00+07'), '', 'sales there are followed');
is(wrong($standby, '2025-01-01 00:00+07'), '', 'to the next year');

$standby->stop;
done_testing();
