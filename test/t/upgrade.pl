# ALTER EXTENSION segment UPDATE from every released version, and
# segment.upgrade() after it: the result is a fresh install, with the shop's
# state, rights and tables as they were; the shop sells all the while.
use strict;
use warnings;
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# test/upgrade holds, of every released version, its script and a dump of a shop
# to which it was attached. The scripts are where the server looks because
# test/run.sh has put them there; they are no part of what is installed.
my $here = dirname(__FILE__);
my $node = PostgreSQL::Test::Cluster->new('upgrade');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\ntimezone = 'UTC'");
$node->start;

my @versions = map { /segment--([0-9.]+)\.sql$/ } glob("$here/../upgrade/segment--*.sql");
for my $version (@versions)
{
	my ($code) = $node->psql('postgres', "BEGIN; CREATE EXTENSION segment VERSION '$version'; ROLLBACK", on_error_stop => 1);
	plan skip_all => "the script of version $version is not where the server looks" if $code != 0;
}

my $shop = q{
	CREATE SCHEMA shop;
	CREATE TABLE shop.customers (id bigint PRIMARY KEY);
	CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz);
	CREATE TABLE shop.returns (id bigint PRIMARY KEY, order_id bigint, amount numeric, at timestamptz);
	INSERT INTO shop.customers SELECT generate_series(1, 20);
	INSERT INTO shop.orders SELECT g, g % 20 + 1, g * 100000, timestamptz '2026-01-01 00:00+00' + g * interval '1 day' FROM generate_series(1, 100) g;
	INSERT INTO shop.returns SELECT g, g * 3, 50000, '2026-05-01 00:00+00' FROM generate_series(1, 10) g;
};
my $attach = q{
	SELECT segment.attach_customers('shop.customers', key => 'id');
	SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
	SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'amount', at => 'at');
	INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('member', 'Member', 0, 9999999), ('gold', 'Gold', 10000000, NULL);
};

# Everything that describes an object, but for OIDs and the order in which it was made.
my $catalog = q{
	SELECT 'function ' || p.oid::regprocedure || ' ' || md5(pg_get_functiondef(p.oid)) || ' ' || coalesce(p.proacl, acldefault('f', p.proowner))::text
		|| ' ' || coalesce(obj_description(p.oid, 'pg_proc'), '') || member(p.oid)
	FROM pg_proc p WHERE p.pronamespace = 'segment'::regnamespace AND p.prokind <> 'a'
	UNION ALL
	SELECT 'relation ' || c.oid::regclass || ' ' || c.relkind::text || ' ' || coalesce(c.reloptions::text, '') || ' ' || coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))::text
		|| ' ' || coalesce(obj_description(c.oid, 'pg_class'), '') || member(c.oid)
	FROM pg_class c WHERE c.relnamespace = 'segment'::regnamespace AND c.relkind <> 'i'
	UNION ALL
	SELECT 'column ' || c.oid::regclass || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull || ' '
		|| coalesce(pg_get_expr(d.adbin, d.adrelid), '') || ' ' || coalesce(col_description(c.oid, a.attnum), '')
		|| ' ' || row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum)
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
	WHERE c.relnamespace = 'segment'::regnamespace AND c.relkind IN ('r', 'v')
	UNION ALL
	SELECT 'view ' || c.oid::regclass || ' ' || md5(pg_get_viewdef(c.oid)) FROM pg_class c
	WHERE c.relnamespace = 'segment'::regnamespace AND c.relkind = 'v'
	UNION ALL
	SELECT 'index ' || pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
	WHERE c.relnamespace = 'segment'::regnamespace
	UNION ALL
	SELECT 'constraint ' || c.conrelid::regclass || ' ' || pg_get_constraintdef(c.oid) FROM pg_constraint c
	WHERE c.connamespace = 'segment'::regnamespace AND c.contype <> 't'
	UNION ALL
	SELECT 'trigger ' || pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text FROM pg_trigger t WHERE NOT t.tgisinternal
	UNION ALL
	SELECT 'event trigger ' || e.evtname || ' ' || e.evtevent || ' ' || e.evtenabled::text || ' ' || coalesce(e.evttags::text, '')
		|| ' ' || coalesce(obj_description(e.oid, 'pg_event_trigger'), '') || member(e.oid) FROM pg_event_trigger e
	UNION ALL
	SELECT 'dumped ' || w.dumped::regclass || ' ' || w.condition FROM pg_extension e
		CROSS JOIN LATERAL ROWS FROM (unnest(e.extconfig), unnest(e.extcondition)) AS w(dumped, condition)
	WHERE e.extname = 'segment'
	ORDER BY 1
};
my $member = q{CREATE FUNCTION public.member(oid) RETURNS text LANGUAGE sql STABLE AS
	$$ SELECT CASE WHEN EXISTS (SELECT FROM pg_depend d WHERE d.objid = $1 AND d.deptype = 'e') THEN ' member' ELSE '' END $$};

sub catalog_of
{
	my ($database) = @_;
	$node->safe_psql($database, $member);
	return $node->safe_psql($database, "SET search_path = public, pg_catalog; $catalog");
}

$node->safe_psql('postgres', 'CREATE DATABASE fresh');
$node->safe_psql('fresh', "CREATE EXTENSION segment; $shop $attach");
my $fresh = catalog_of('fresh');
ok(length $fresh > 10000, 'the catalog of a fresh install was read');
my $current = $node->safe_psql('fresh', q{SELECT extversion FROM pg_extension WHERE extname = 'segment'});

for my $version (@versions)
{
	# In place: the package brings a new library while the old extension is in use.
	my $database = "from_$version";
	my $dump = slurp_file("$here/../upgrade/attached--$version.sql");
	my $without = $dump;
	$without =~ s/^(CREATE|COMMENT ON) EXTENSION.*$//mg;
	$node->safe_psql('postgres', qq{CREATE DATABASE "$database"});
	$node->safe_psql('postgres', "CREATE ROLE $_") for grep { $node->safe_psql('postgres', "SELECT count(*) FROM pg_roles WHERE rolname = '$_'") eq '0' } qw(reader seller);
	$node->safe_psql($database, "CREATE EXTENSION segment VERSION '$version'");
	$node->safe_psql($database, "SET session_replication_role = replica;\n$without");
	$node->safe_psql($database, q{GRANT USAGE ON SCHEMA segment TO reader; GRANT SELECT ON segment.customer_tiers TO reader;
		GRANT USAGE ON SCHEMA shop TO seller; GRANT INSERT ON shop.orders TO seller});

	my ($code, undef, $errors) = $node->psql($database, q{SET ROLE seller; INSERT INTO shop.orders VALUES (900, 1, 700000, '2026-06-01')});
	is($code, 0, "$version: the shop sells under the new library before the extension is updated");
	like($errors, qr/WARNING:  segment could not follow/, "$version: with a warning");
	cmp_ok($node->safe_psql($database, 'SELECT count(*) FROM segment.stale_marks'), '>', 0, "$version: and its state is stale");
	(undef, undef, $errors) = $node->psql($database, q{SELECT segment.attach_orders('shop.returns', customer => 'id', amount => 'amount', at => 'at')});
	like($errors, qr/of another version.*\n.*ALTER EXTENSION segment UPDATE/, "$version: attaching asks for the update first");

	$node->safe_psql($database, 'ALTER EXTENSION segment UPDATE');
	is($node->safe_psql($database, q{SELECT extversion FROM pg_extension WHERE extname = 'segment'}), $current, "$version: updated");
	upgrade($database, $version);

	# By a dump, restored where the new version is installed.
	$database = "restored_from_$version";
	$node->safe_psql('postgres', qq{CREATE DATABASE "$database"});
	($code, undef, $errors) = $node->psql($database, $dump, on_error_stop => 1);
	is($code, 0, "dump of $version: restored without an error");
	is($errors, '', "dump of $version: nor a warning");
	$node->safe_psql($database, q{GRANT USAGE ON SCHEMA segment TO reader; GRANT SELECT ON segment.customer_tiers TO reader;
		GRANT USAGE ON SCHEMA shop TO seller; GRANT INSERT ON shop.orders TO seller});
	upgrade($database, "dump of $version");
}

# Between update and upgrade, and after it.
sub upgrade
{
	my ($database, $version) = @_;
	like($node->safe_psql($database, q{SELECT * FROM segment.status() WHERE item = 'upgrade'}), qr/due.*those of version/,
		"$version: status() says that segment.upgrade() is due");
	my ($code) = $node->psql($database, q{SET ROLE seller; INSERT INTO shop.orders VALUES (901, 2, 800000, '2026-06-01')});
	is($code, 0, "$version: the shop sells before segment.upgrade()");
	$node->safe_psql($database, 'SELECT segment.upgrade()');
	is($node->safe_psql($database, q{SELECT count(*) FROM segment.status() WHERE item = 'upgrade'}), '0', "$version: not due any more");
	is($node->safe_psql($database, q{SET ROLE reader; SELECT count(*) FROM segment.customer_tiers}), '20', "$version: readers keep their rights");
	is($node->safe_psql($database, 'SELECT bool_and(stale) FROM segment.customers'), 't', "$version: what came meanwhile makes the state stale");
	$node->safe_psql($database, q{REVOKE ALL ON segment.customer_tiers FROM reader; REVOKE ALL ON SCHEMA segment FROM reader;
		REVOKE ALL ON SCHEMA shop FROM seller; REVOKE ALL ON shop.orders FROM seller});
	$node->safe_psql($database, 'SELECT segment.recalculate()');
	is($node->safe_psql($database, 'SELECT count(*) FROM segment.verify()'), '0', "$version: nothing differs");
	is($node->safe_psql($database, 'SELECT bool_or(stale) FROM segment.customers'), 'f', "$version: nothing is stale");
	$node->safe_psql($database, q{INSERT INTO shop.orders VALUES (902, 3, 900000, '2026-06-01'); UPDATE shop.orders SET total = 1 WHERE id = 3; DELETE FROM shop.returns WHERE id = 1});
	is($node->safe_psql($database, 'SELECT count(*) FROM segment.verify()'), '0', "$version: sales are followed");
	same_as_fresh(catalog_of($database), "$version: every object is as in a fresh install");
	$node->safe_psql($database, 'SELECT segment.upgrade()');
	same_as_fresh(catalog_again($database), "$version: upgrading twice changes nothing");
}

# Show lines that are on one side only.
sub same_as_fresh
{
	my ($catalog, $name) = @_;
	my %fresh = map { $_ => 1 } split /\n/, $fresh;
	my %other = map { $_ => 1 } split /\n/, $catalog;
	my @differences = sort((map { "fresh only: $_" } grep { !$other{$_} } keys %fresh),
		(map { "here only: $_" } grep { !$fresh{$_} } keys %other));
	ok(!@differences, $name) or diag(join "\n", @differences);
}

sub catalog_again
{
	my ($database) = @_;
	return $node->safe_psql($database, "SET search_path = public, pg_catalog; $catalog");
}

$node->stop;
done_testing();
