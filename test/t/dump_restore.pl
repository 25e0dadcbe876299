# Whatever way a shop is dumped and restored, the figures are right or said to
# be stale, sales go on, and a recalculation makes everything exact again: then a
# second dump is the first one.
#
# The shop is in test/dump_restore/shop.sql. Each state of it takes each road to
# a new database, with the merchant's tables in schemas that sort before and
# after ours. What pg_dump's switches leave out comes last, one by one.

use strict;
use warnings;

use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $root = "$FindBin::RealBin/../..";
my $tmp = $PostgreSQL::Test::Utils::tmp_check;

my $node = PostgreSQL::Test::Cluster->new('shop');
$node->init(extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
$node->append_conf('postgresql.conf', "fsync = off\nautovacuum = off\nmax_prepared_transactions = 2");
$node->start;

# Each road is given the names of two databases and a file name; its commands
# must end with exit code 0 and say nothing.
my %roads = (
	'plain' => sub {
		my ($from, $to, $file) = @_;
		return ([ 'pg_dump', '-f', $file, $from ], psql_file($to, $file));
	},
	'custom' => sub {
		my ($from, $to, $file) = @_;
		return ([ 'pg_dump', '-Fc', '-f', $file, $from ], [ 'pg_restore', '-d', $to, $file ]);
	},
	'directory, two jobs' => sub {
		my ($from, $to, $file) = @_;
		return ([ 'pg_dump', '-Fd', '-j2', '-f', $file, $from ], [ 'pg_restore', '-j2', '-d', $to, $file ]);
	},
	'custom, one transaction' => sub {
		my ($from, $to, $file) = @_;
		return ([ 'pg_dump', '-Fc', '-f', $file, $from ], [ 'pg_restore', '-1', '-d', $to, $file ]);
	},
	'schema, then data' => sub {
		my ($from, $to, $file) = @_;
		return ([ 'pg_dump', '--schema-only', '-f', "$file.schema", $from ], [ 'pg_dump', '--data-only', '-f', "$file.data", $from ],
			psql_file($to, "$file.schema"), psql_file($to, "$file.data"));
	},
	'schema, then data, triggers off' => sub {
		my ($from, $to, $file) = @_;
		return ([ 'pg_dump', '-Fc', '-f', $file, $from ], [ 'pg_restore', '--schema-only', '-d', $to, $file ],
			[ 'pg_restore', '--data-only', '--disable-triggers', '-d', $to, $file ]);
	},
	'inserts, replica session' => sub {
		my ($from, $to, $file) = @_;
		return ([ 'pg_dump', '--schema-only', '-f', "$file.schema", $from ], [ 'pg_dump', '--data-only', '--inserts', '-f', "$file.data", $from ],
			psql_file($to, "$file.schema"), psql_file($to, "$file.data", 'SET session_replication_role = replica'));
	});

# ---------------------------------------------------------------------------

my ($databases, $restores) = (0, 0);
my $schema;      # the merchant's, as an identifier

for my $name ('public', 'shop', 'a b')
{
	$schema = $name eq 'a b' ? '"a b"' : $name;
	for my $state ('clean', 'stale', $name eq 'shop' ? 'half filled' : ())
	{
		my $start = time;
		my $origin = a_shop($name, $state);
		my $before = dump_of($origin);
		for my $road (sort keys %roads)
		{
			next if $road =~ /one transaction|replica session/ && $name ne 'shop';
			take_road("$schema, $state, $road", $origin, $state, $before, $roads{$road});
		}
		note(sprintf('%s, %s, every road: %.1f s', $schema, $state, time - $start));
	}
}

$schema = 'shop';
less_than_everything();
restores_of_live_databases();

$node->stop;
done_testing();

# ---------------------------------------------------------------------------

# A shop whose state is exact; or stale, since an order came unseen; or being
# filled, when the filling was interrupted.
sub a_shop
{
	my ($name, $state) = @_;
	my $database = new_database();
	command('the shop opens', [ 'psql', '-XAtq', '-d', $node->connstr($database), '-v', 'ON_ERROR_STOP=1', '-v', "schema=$name",
		'-v', 'fill=' . ($state eq 'half filled' ? 'false' : 'true'), '-c', 'SET client_min_messages = error',
		'-f', "$root/test/dump_restore/shop.sql" ]);
	if ($state eq 'stale')
	{
		run($database, "SET session_replication_role = replica; INSERT INTO $schema.orders VALUES (900, 3, 5000, '2026-03-03', 'done'); DELETE FROM $schema.till WHERE id < 9");
	}
	if ($state eq 'half filled')
	{
		# a sale holds customer 10 while the batches want it
		run($database, "BEGIN; UPDATE segment.facts SET version = version WHERE customer_id = 10; PREPARE TRANSACTION 'a sale'");
		my ($code, $out, $err) = $node->psql($database, 'CALL segment.recalculate_in_batches(batch_size => 4)',
			extra_params => [ '-v', 'VERBOSITY=sqlstate' ], on_error_stop => 0, connstr => $node->connstr($database) . " options='-c lock_timeout=200ms'");
		like($err, qr/55P03/, 'the filling is interrupted after some customers');
		run($database, "COMMIT PREPARED 'a sale'");
		run($database, "INSERT INTO $schema.returns VALUES (901, 6, 7, '2026-03-04'), (902, 62, 8, '2026-03-04'); UPDATE $schema.returns SET refund = refund + 1 WHERE id < 12");
		is(answer($database, 'SELECT count(*) > 0 AND count(*) < (SELECT count(*) FROM segment.facts) FROM segment.facts f WHERE filled < 5'),
			't', 'some customers are filled, some are not');
	}
	is(answer($database, 'SELECT state FROM segment.status() LIMIT 1'), $state eq 'clean' ? 'exact' : 'stale', "$schema, $state: the state before the dump");
	return $database;
}

# One road to a new database, and all that must hold at its end.
sub take_road
{
	my ($name, $origin, $state, $before, $road) = @_;
	my $restored = new_database();
	$restores++;
	command($name, $_) for $road->($node->connstr($origin), $node->connstr($restored), "$tmp/dump_$restores");

	never_silently_wrong($name, $restored);
	is(answer($restored, 'SELECT state FROM segment.status() LIMIT 1'), 'stale', "$name: it is said to be stale");
	is(answer($restored, 'SELECT count(*) FROM segment.sources WHERE NOT stale'), 0, "$name: every source is");
	my $copy = new_database("TEMPLATE $restored");

	# In one database everything is recalculated at once; then nothing is lost, nothing is new.
	run($restored, 'SELECT segment.recalculate()');
	exact($name, $restored);
	if ($state eq 'clean')
	{
		same_dump(dump_of($restored), $before, "$name: the second dump is the first one");
	}
	else
	{
		my $mended = new_database("TEMPLATE $origin");
		run($mended, 'SELECT segment.recalculate()');
		same_dump(dump_of($restored, 1), dump_of($mended, 1), "$name: the second dump is that of the first database, mended");
		drop($mended);
	}
	is(answer($restored, 'SELECT last_value >= (SELECT max(id) FROM (SELECT id FROM segment.tiers UNION ALL SELECT id FROM segment.ladders UNION ALL SELECT id FROM segment.groups) t) FROM segment.rule_id'),
		't', "$name: the next tier gets a number of its own");
	sell("$name, recalculated", $restored);
	exact("$name, recalculated, sold", $restored);
	drop($restored);

	# In a copy of it the shop sells first, and is recalculated in batches.
	sell("$name, not recalculated", $copy);
	never_silently_wrong("$name, sold", $copy);
	is(answer($copy, 'SELECT bool_and(stale) FROM segment.customer_tiers'), 't', "$name: still stale after sales");
	run($copy, 'CALL segment.recalculate_in_batches(batch_size => 5)');
	exact("$name, batches", $copy);
	sell("$name, batches", $copy);
	exact("$name, batches, sold", $copy);
	drop($copy);
	return;
}

# Right, or said to be stale: by the views, by segment.sources and by status().
sub never_silently_wrong
{
	my ($name, $database) = @_;
	my $right = answer($database, "SELECT (SELECT count(*) FROM $schema.wrong) = 0");
	my $state = answer($database, 'SELECT state FROM segment.status() LIMIT 1');
	ok($right eq 't' || $state eq 'stale', "$name: right, or said to be stale");
	is( answer($database, "SELECT count(*) FROM segment.customers f WHERE NOT stale AND NOT EXISTS (SELECT FROM $schema.expected e
		WHERE e.customer_id = f.customer_id AND (e.number_of_orders, e.number_of_returns, e.amount_ordered, e.amount_returned, e.items_bought)
			= (f.number_of_orders, f.number_of_returns, f.amount_ordered, f.amount_returned, f.items_bought))"),
		0, "$name: whoever is not stale is right");
	return;
}

sub exact
{
	my ($name, $database) = @_;
	is(answer($database, "SELECT count(*) FROM $schema.wrong"), 0, "$name: figures equal plain SQL");
	is(answer($database, "SELECT segment.preview_count('groups = ''a best''') = (SELECT count(*) FROM $schema.expected WHERE amount_ordered - amount_returned >= 500)"),
		't', "$name: groups bind") if answer($database, 'SELECT count(*) FROM segment.groups') eq '4';
	is(answer($database, 'SELECT * FROM segment.verify()'), '', "$name: verify() finds nothing");
	is(answer($database, "SELECT count(*) FROM segment.status() WHERE state = 'stale'"), 0, "$name: status() says exact");
	is(answer($database, 'SELECT bool_or(stale) FROM segment.customers'), 'f', "$name: so do the customers");
	is(answer($database, 'SELECT count(*) FROM segment.stale_marks'), 0, "$name: no mark is left");
	return;
}

# A sale of every kind, on every table; none may fail, nor warn.
sub sell
{
	my ($name, $database) = @_;
	my @sales = (
		"INSERT INTO $schema.customers VALUES (50, 'new')",
		"INSERT INTO $schema.orders VALUES (1001, 50, 100, '2026-04-01', 'done'), (1002, 3, 200, '2026-04-01', 'cart'), (1003, NULL, 1, '2026-04-01', 'done')",
		"INSERT INTO $schema.lines VALUES (1001, 'product 1', 3), (1001, 'product 1', 3)",
		"INSERT INTO $schema.till VALUES (1001, '2025-12-31', 4, 10, 'north')",
		"INSERT INTO $schema.till_2026 (id, day, customer_id, total, branch) VALUES (1002, '2026-01-01', 5, 10, 'south')",
		"INSERT INTO $schema.returns VALUES (1001, 1001, 5, '2026-04-02')",
		"UPDATE $schema.orders SET status = 'done' WHERE id = 1002",
		"UPDATE $schema.orders SET total = 'NaN' WHERE id = 7",
		"UPDATE $schema.till SET day = day + 200, customer_id = 6 WHERE id BETWEEN 3 AND 6",
		"UPDATE $schema.branches SET open = NOT open",
		"UPDATE $schema.customers SET deleted_at = now() WHERE id = 2",
		"DELETE FROM $schema.orders WHERE id = 11",
		"DELETE FROM $schema.customers WHERE id = 8",
		"TRUNCATE $schema.till_2025",
		"COPY $schema.returns FROM PROGRAM 'echo 1002,13,5,2026-04-03' WITH (FORMAT csv)");
	# the same again is no sale: the second time other rows
	@sales = ("UPDATE $schema.orders SET total = total + 1", "DELETE FROM $schema.returns WHERE id % 3 = 0", "TRUNCATE $schema.lines")
	  if answer($database, "SELECT count(*) FROM $schema.orders WHERE id = 1001") eq '1';
	command("$name: sales", [ 'psql', '-XAtq', '-d', $node->connstr($database), '-v', 'ON_ERROR_STOP=1', map { ('-c', $_) } @sales ]);
	return;
}

# ---------------------------------------------------------------------------

# What is not dumped is not restored; nothing that is may be silently wrong.
sub less_than_everything
{
	my $origin = a_shop('shop', 'clean');
	my $from = $node->connstr($origin);
	my ($n, $t) = ("$tmp/only_shop", "$tmp/only_orders");
	command('dump: the merchant\'s schema', [ 'pg_dump', '-n', 'shop', '-T', 'shop.wrong', '-f', $n, $from ]);
	command('dump: one table', [ 'pg_dump', '-t', 'shop.orders', '-f', $t, $from ]);

	# Where the extension is not, the triggers cannot be made: all else is there, and the shop sells.
	my $database = new_database();
	my ($code, $err) = try(@{ psql_file($node->connstr($database), $n, undef, 0) });
	unlike($err, qr/^.*ERROR:  (?!schema "segment" does not exist|trigger "_segment_\w+" for table "\w+" does not exist).*$/m, 'the merchant\'s schema alone, without the extension: only our triggers are missing');
	is(answer($database, 'SELECT count(*) FROM shop.orders'), 80, '... and all rows are there');
	sell('the merchant\'s schema alone, without the extension', $database);
	drop($database);

	# Where it is, but knows of nothing, the triggers stand aside until the tables are attached.
	$database = new_database();
	run($database, 'CREATE EXTENSION segment');
	command('the merchant\'s schema alone, into a database with the extension', psql_file($node->connstr($database), $n));
	is(answer($database, 'SELECT state FROM segment.status()'), 'not attached', '... which says that nothing is attached');
	sell('the merchant\'s schema alone', $database);
	run($database, q(SELECT segment.attach_customers('shop.customers', key => 'id', counted_when => 'deleted_at IS NULL');
		SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'placed_at', counted_when => $$status = 'done'$$)));
	is(answer($database, 'SELECT * FROM segment.verify()'), '', '... attached anew, verify() finds nothing');
	run($database, "INSERT INTO shop.orders VALUES (2000, 5, 7, '2026-05-01', 'done'); UPDATE shop.orders SET customer_id = 6 WHERE id % 2 = 0");
	is(answer($database, 'SELECT * FROM segment.verify()'), '', '... nor after sales');
	is(answer($database, 'SELECT state FROM segment.status() LIMIT 1'), 'exact', '... and the state is exact');
  TODO:
	{
		# The trigger on a table that is not attached refuses the sale, lest anybody
		# puts it on a table of his own; it cannot tell those from a restored one.
		local $TODO = 'triggers restored on a table that is not attached again refuse sales once others are';
		my ($failed, undef, $error) = $node->psql($database, 'DELETE FROM shop.lines');
		is($error, '', '... tables that were not attached again can be written');
	}
	drop($database);

	# One table into a database where it is not.
	$database = new_database();
	run($database, 'CREATE EXTENSION segment; CREATE SCHEMA shop');
	command('one table, into a database with the extension', psql_file($node->connstr($database), $t));
	run($database, "UPDATE shop.orders SET total = 1; DELETE FROM shop.orders WHERE id > 40; TRUNCATE shop.orders");
	is(answer($database, 'SELECT state FROM segment.status()'), 'not attached', '... which says that nothing is attached');
	drop($database);

	# Everything but the rows of our schema, or of one table of it.
	for my $missing ('segment.*', 'segment.facts', 'segment.epoch', 'segment.attachments', 'segment.counted_*', 'segment.standings', 'segment.tiers')
	{
		$database = new_database();
		my $file = "$tmp/without";
		command("dump without the rows of $missing", [ 'pg_dump', "--exclude-table-data=$missing", '-f', $file, $from ]);
		command("restored without the rows of $missing", psql_file($node->connstr($database), $file));
		isnt(answer($database, 'SELECT state FROM segment.status() LIMIT 1'), 'exact', "... nobody says exact without the rows of $missing");
		is(answer($database, 'SELECT count(*) FROM segment.customers WHERE NOT stale'), 0, '... and no customer is said to be right');
		sell("without the rows of $missing", $database);
		run($database, 'SELECT segment.recalculate()');
		if (answer($database, 'SELECT count(*) FROM segment.attachments') eq '5')
		{
			exact("restored without the rows of $missing, recalculated", $database);
		}
		else
		{
			isnt(answer($database, 'SELECT state FROM segment.status() LIMIT 1'), 'exact', '... not even after a recalculation, of nothing');
		}
		drop($database);
	}

	# Only our schema: the merchant's is there already, and goes on by itself.
	$database = new_database();
	run($database, 'CREATE EXTENSION segment');
	command('the merchant\'s schema first', psql_file($node->connstr($database), $n));
	command('dump: our schema', [ 'pg_dump', '-n', 'segment', '-f', "$tmp/only_segment", $from ]);
	command('then ours', psql_file($node->connstr($database), "$tmp/only_segment"));
	isnt(answer($database, 'SELECT state FROM segment.status() LIMIT 1'), 'exact', '... nobody says exact');
	is(answer($database, 'SELECT count(*) FROM segment.customers WHERE NOT stale'), 0, '... and no customer is said to be right');
	sell('both schemas one after the other', $database);
	drop($database);
	drop($origin);
	return;
}

# Restores into a database that is in use, the first one among them.
sub restores_of_live_databases
{
	my $origin = a_shop('shop', 'clean');
	my $from = $node->connstr($origin);
	my $file = "$tmp/live";
	command('dump of a live shop', [ 'pg_dump', '-Fc', '-f', $file, $from ]);
	my $before = dump_of($origin);

	# One table is emptied and loaded again: the triggers follow, or say that they could not.
	run($origin, 'TRUNCATE shop.returns');
	command('one table is loaded again', [ 'pg_restore', '--data-only', '-n', 'shop', '-t', 'returns', '-d', $from, $file ]);
	exact('one table is loaded again', $origin);
	run($origin, 'TRUNCATE shop.returns');
	command('one table is loaded again, triggers off', [ 'pg_restore', '--data-only', '--disable-triggers', '-n', 'shop', '-t', 'returns', '-d', $from, $file ]);
	never_silently_wrong('one table is loaded again, triggers off', $origin);
	is(answer($origin, "SELECT string_agg(source::text, ' ') FROM segment.sources WHERE stale"), 'shop.returns', '... its source is stale');
	run($origin, 'SELECT segment.recalculate()');
	exact('one table is loaded again, triggers off, recalculated', $origin);

	# All of it once more, on top of what is there: rows with keys are refused, the others are not.
	my ($code, $err) = try('pg_restore', '--data-only', '-d', $from, $file);
	isnt($code, 0, 'all rows once more are refused');
	is(answer($origin, 'SELECT state FROM segment.status() LIMIT 1'), 'stale', '... and the state is stale');
	sell('loaded twice', $origin);
	run($origin, 'SELECT segment.recalculate()');
	is(answer($origin, 'SELECT count(*) FROM shop.wrong'), 0, '... until it is recalculated');

	# The database it came from, its tables dropped and made again: the row of segment.epoch is its own.
	for my $road ([ 'at once', [ [] ] ], [ 'schema, then data', [ ['--schema-only'], ['--data-only'] ] ],
		[ 'schema, then data, triggers off', [ ['--schema-only'], [ '--data-only', '--disable-triggers' ] ] ])
	{
		my ($name, $steps) = @$road;
		run($origin, 'DROP EXTENSION IF EXISTS segment CASCADE; DROP SCHEMA shop CASCADE');
		my $foreign_keys = 0;
		for my $step (@$steps)
		{
			# pg_restore does not sort rows by foreign keys, as pg_dump --data-only would
			($code, $err) = try('pg_restore', @$step, '-d', $from, $file);
			$foreign_keys = $err =~ /lines_order_id_fkey/;
			ok($code == 0 || $foreign_keys, "back into the same database, $name: @$step");
			diag($err) if $code != 0 && !$foreign_keys;
		}
		never_silently_wrong("back into the same database, $name", $origin);
		sell("back into the same database, $name", $origin);
		never_silently_wrong("back into the same database, $name, sold", $origin);
		run($origin, 'SELECT segment.recalculate()');
		exact("back into the same database, $name, recalculated", $origin);
	}

	# What an administrator may do before recalculating.
	my $restored = new_database();
	command('restored, to be changed before it is recalculated', [ 'pg_restore', '-d', $node->connstr($restored), $file ]);
	run($restored, q(CREATE TABLE shop.web (id integer PRIMARY KEY, customer_id bigint, total numeric, at timestamptz);
		INSERT INTO shop.web VALUES (1, 3, 100, '2026-01-01');
		SELECT segment.attach_orders('shop.web', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
		UPDATE segment.ladders SET active = false WHERE code = 'total';
		SELECT segment.detach('shop.returns');
		UPDATE segment.ladders SET active = true WHERE code = 'total';
		CREATE TABLE shop.till_2027 PARTITION OF shop.till FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
		INSERT INTO shop.web VALUES (2, 4, 200, '2026-01-01');
		INSERT INTO shop.till VALUES (3000, '2027-06-01', 4, 300, 'north');
		UPDATE segment.tiers SET name = name || '!'));
	is(answer($restored, 'SELECT state FROM segment.status() LIMIT 1'), 'stale', 'attaching and detaching do not make a restored state exact');
	run($restored, 'SELECT segment.recalculate()');
	is(answer($restored, 'SELECT * FROM segment.verify()'), '', '... recalculating does');
	is(answer($restored, "SELECT count(*) FROM segment.status() WHERE state = 'stale'"), 0, '... and says so');
	run($restored, "TRUNCATE shop.till_2027; INSERT INTO shop.web VALUES (3, 4, 400, '2026-01-01')");
	is(answer($restored, 'SELECT * FROM segment.verify()'), '', '... also after sales');

	# Rules that do not fit are found when everything is recalculated.
	my $unfit = new_database();
	command('restored, its tiers to be spoilt', [ 'pg_restore', '-d', $node->connstr($unfit), $file ]);
	run($unfit, "DELETE FROM segment.tiers WHERE code = 'middle'");
	($code, my $out, $err) = $node->psql($unfit, 'SELECT segment.recalculate()');
	like($err, qr/tiers "low" and "high" of ladder "total" leave a gap/, 'a gap between restored tiers is refused by recalculate()');
	($code, $out, $err) = $node->psql($unfit, 'CALL segment.recalculate_in_batches()');
	like($err, qr/tiers "low" and "high" of ladder "total" leave a gap/, '... and by recalculate_in_batches()');
	is(answer($unfit, 'SELECT state FROM segment.status() LIMIT 1'), 'stale', '... the state stays stale');
	sell('with tiers that do not fit', $unfit);
	run($unfit, "INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('middle', 'Middle', 500, 1999.99)");
	run($unfit, 'SELECT segment.recalculate()');
	exact('mended tiers, recalculated', $unfit);
	drop($_) for $restored, $unfit, $origin;
	return;
}

# ---------------------------------------------------------------------------

sub new_database
{
	my ($options) = @_;
	my $database = 'shop_' . ++$databases;
	$node->safe_psql('postgres', "CREATE DATABASE $database " . ($options // ''));
	return $database;
}

sub drop { $node->safe_psql('postgres', "DROP DATABASE $_[0]"); return; }

sub answer { return $node->safe_psql($_[0], $_[1]); }

# Statements one by one, as they are typed; errors end the test, notices are of no interest.
sub run
{
	my ($database, $sql) = @_;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database) ],
		'<', \"SET client_min_messages = warning;\n$sql;\n", '>', \$out, '2>', \$err);
	diag("$sql: $err") if !$ok;
	die "in database $database" if !$ok;
	return;
}

sub psql_file
{
	my ($connection, $file, $first, $stop) = @_;
	return [ 'psql', '-XAtq', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=' . ($stop // 1), '-d', $connection, ($first ? ('-c', $first) : ()), '-f', $file ];
}

sub try
{
	my @command = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(\@command, '>', \$out, '2>', \$err);
	return ($? >> 8, $err);
}

# Exit code 0, and nothing said.
sub command
{
	my ($name, $command) = @_;
	my ($code, $err) = try(@$command);
	ok($code == 0 && $err eq '', "$name: $command->[0] ends well and says nothing");
	diag("exit code $code: " . substr($err, 0, 3000)) if $code != 0 || $err ne '';
	return;
}

# A dump that can be compared: the rows of each table sorted, without the row that
# says which database this is, and without what the time of a recalculation or of
# its transaction decides.
sub dump_of
{
	my ($database, $mended) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pg_dump', $node->connstr($database) ], '>', \$out, '2>', \$err) or die $err;
	my (@lines, @rows, @columns);
	my $table = '';
	for my $line (split /\n/, $out)
	{
		next if $line =~ /^(--|\\(un)?restrict |$)/;
		if ($line =~ /^COPY (\S+|"[^"]+"\.\S+) \((.*)\) FROM stdin;$/)
		{
			$table = $1;
			@columns = split /, /, $2;
			@rows = ();
			push @lines, $line;
		}
		elsif ($table ne '' && $line eq '\\.')
		{
			push @lines, sort @rows;
			push @lines, $line;
			$table = '';
		}
		elsif ($table eq 'segment.epoch')
		{
			push @rows, 'some database';
		}
		elsif ($table ne '')
		{
			my %row;
			@row{@columns} = split /\t/, $line;
			if ($mended)
			{
				delete @row{qw(version filled checked)} if $table eq 'segment.facts';
				delete @row{qw(at version)} if $table eq 'segment.changes';
				delete $row{since} if $table eq 'segment.standings';
			}
			push @rows, join("\t", map { $_ . '=' . $row{$_} } sort keys %row);
		}
		else
		{
			# every change of rules draws a number, also each table of rules that a restore loads
			$line =~ s/\d+, true/some number, true/ if $line =~ /^SELECT pg_catalog\.setval\('segment\.rule_id'/;
			push @lines, $line;
		}
	}
	return join("\n", @lines);
}

# Else the lines that only one of them has are shown.
sub same_dump
{
	my ($is, $was, $name) = @_;
	return if ok($is eq $was, $name);
	my %count;
	$count{$_}++ for split /\n/, $is;
	$count{$_}-- for split /\n/, $was;
	my @different = map { ($count{$_} > 0 ? '+ ' : '- ') . $_ } grep { $count{$_} != 0 } sort keys %count;
	diag(@different ? join("\n", splice(@different, 0, 20)) : 'the same lines in another order');
	return;
}
