# Who ticks when nobody calls segment.tick(): pg_cron, once a minute, and the
# extension's own background workers. Sales are made as of a day in the past, by
# segment.at; back at the clock's now customers are overdue, views say what is
# true, and the schedule is to write it down, with the shop's midnight as its time.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $sharedir = `pg_config --sharedir`;
chomp $sharedir;
my $has_cron = -e "$sharedir/extension/pg_cron.control";

# A shop in which a customer bought 100 days ago, when that was today.
sub open_shop
{
	my ($node, $database) = @_;
	$node->safe_psql($database, <<'END');
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, name text);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz);
INSERT INTO shop.customers SELECT i, 'customer ' || i FROM generate_series(1, 3) i;
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'name');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
INSERT INTO segment.groups (name, condition) VALUES ('Leaving', 'last_order_date < -90d');
SELECT set_config('segment.at', (now() - interval '100 days')::text, false);
INSERT INTO shop.orders VALUES (1, 1, 100000, now() - interval '100 days'), (2, 2, 100000, now());
END
	return;
}

my $logged = q{SELECT string_agg(format('%s %s %s %s', customer_id, action, cause, at = segment._begin_of_day(segment._day_of(at, 'Asia/Ho_Chi_Minh'), 'Asia/Ho_Chi_Minh')), ', ')
	FROM segment.changes WHERE kind = 'group'};

sub is_written_down
{
	my ($node, $database, $patience, $by) = @_;
	is($node->safe_psql($database, 'SELECT string_agg(customer_id::text, $$,$$) FROM segment.members'), '1', "the view is right before $by comes");
	for (1 .. $patience * 4)
	{
		last if $node->safe_psql($database, $logged) ne '';
		sleep 0.25;
	}
	is($node->safe_psql($database, $logged), '1 enter time t', "$by writes down the entry, at the shop's midnight");
	is($node->safe_psql($database, 'SELECT string_agg(customer_id::text, $$,$$) FROM segment.members'), '1', '... and the view says the same');
	is($node->safe_psql($database, 'SELECT count(*) FROM segment.verify()'), '0', '... as plain SQL does');
	return;
}

# ---------------------------------------------------------------------------
# The extension's own workers: two databases with the extension, one without.

my $node = PostgreSQL::Test::Cluster->new('worker');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\nshared_preload_libraries = 'segment'\nsegment.tick_databases = 'postgres, one, \"Two\"'\n"
	  . "segment.tick_interval = 1\ndefault_transaction_isolation = 'serializable'\nlog_min_messages = warning");
$node->start;
$node->safe_psql('postgres', "CREATE DATABASE $_") for 'one', '"Two"';
for my $database ('one', 'Two')
{
	$node->safe_psql('postgres', qq{ALTER DATABASE "$database" SET default_transaction_isolation = 'read committed'});
	open_shop($node, $database);
}
# workers that found no database are started again after a minute; a restart is sooner
$node->restart;
is_written_down($node, $_, 30, "the worker of database $_") for 'one', 'Two';
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'segment tick'}), '3', 'one worker for each database');
my $log = slurp_file($node->logfile);
unlike($log, qr/(?:ERROR|PANIC|terminated by signal).*/, 'none of them met an error') or diag($log);

# Groups that announce who comes and goes.
$node->safe_psql('one', q{INSERT INTO segment.groups (name, condition, notify) VALUES ('Rich "ones"', 'amount_spent >= 500000', true)});
my $heard = $node->safe_psql('one', q{LISTEN segment_groups; BEGIN; INSERT INTO shop.orders VALUES (3, 3, 600000, now()); ROLLBACK;
	INSERT INTO shop.orders VALUES (4, 2, 600000, now()); DELETE FROM shop.orders WHERE id = 4; SELECT 1});
my @heard = $heard =~ /"segment_groups" with payload "(.*?)" received/g;
is("@heard", '{"action": "enter", "group": "rich_ones", "customer": "2"} {"action": "leave", "group": "rich_ones", "customer": "2"}', 'entries and exits are announced, those of committed transactions');

$node->psql('postgres', q{ALTER SYSTEM SET segment.tick_databases = '"a'}, stderr => \my $error);
like($error, qr/invalid value for parameter "segment.tick_databases"/, 'a list that is none is refused');
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$node->restart;
$node->psql('one', q{INSERT INTO segment.groups (name, condition, notify) VALUES ('More', 'amount_spent >= 600000', true)}, stderr => \$error);
like($error, qr/group "more" cannot notify where prepared transactions are enabled/, 'no announcements beside prepared transactions');
$node->safe_psql('one', q{BEGIN; INSERT INTO shop.orders VALUES (5, 2, 600000, now()); PREPARE TRANSACTION 'sale'; COMMIT PREPARED 'sale'});
is($node->safe_psql('one', q{SELECT count(*) FROM segment.members WHERE group_code = 'rich_ones'}), '1', 'a sale of a customer who enters such a group can be prepared');
$node->stop;

# ---------------------------------------------------------------------------
# pg_cron.

SKIP:
{
	skip 'pg_cron is not installed', 6 if !$has_cron;
	$node = PostgreSQL::Test::Cluster->new('cron');
	$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
	$node->append_conf('postgresql.conf', "fsync = off\nshared_preload_libraries = 'pg_cron'\ncron.database_name = 'shop'\n"
		  . "cron.use_background_workers = on\ntimezone = 'America/St_Johns'");
	$node->start;
	$node->safe_psql('postgres', 'CREATE DATABASE shop');
	$node->restart;
	open_shop($node, 'shop');
	$node->safe_psql('shop', q{CREATE EXTENSION pg_cron; SELECT cron.schedule('segment tick', '* * * * *', 'CALL segment.tick_in_batches()')});
	is_written_down($node, 'shop', 130, 'pg_cron');
	for (1 .. 40)
	{
		last if $node->safe_psql('shop', q{SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'}) > 0;
		sleep 0.25;
	}
	cmp_ok($node->safe_psql('shop', q{SELECT count(*) FROM cron.job_run_details WHERE status = 'succeeded'}), '>=', 1, 'the job has succeeded');
	is($node->safe_psql('shop', q{SELECT count(*) FROM cron.job_run_details WHERE status = 'failed'}), '0', '... and has never failed');
	$node->stop;
}

done_testing();
