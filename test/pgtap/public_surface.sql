-- What the extension shows to the world: names, comments, rights, search_path.
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
BEGIN;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz);
CREATE TABLE shop.returns (id bigint PRIMARY KEY, order_id bigint, amount numeric, at timestamptz);
-- attaching the customers of a Vietnamese shop adds phone rules
CREATE TEMPORARY TABLE shipped ON COMMIT DROP AS
	SELECT 'phone rules' AS rows FROM segment.phone_rules UNION ALL SELECT 'region aliases' FROM segment.region_aliases;
DO $$ BEGIN
	PERFORM segment.attach_customers('shop.customers', key => 'id');
	PERFORM segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
	PERFORM segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'amount', at => 'at');
END $$;

SELECT plan(21);

SELECT set_eq(
	$$ SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' FROM pg_proc p
	   WHERE p.pronamespace = 'segment'::regnamespace AND p.proname NOT LIKE '\_%' $$,
	ARRAY[
		'activate(IN group_code text, IN condition segment.condition, IN batch_size integer)',
		'all_of(VARIADIC conditions segment.condition[])',
		'any_of(VARIADIC conditions segment.condition[])',
		'negate(condition segment.condition)',
		'attach_customers("table" regclass, key text, name text, given_name text, phone text, email text, sex text, birth_date text, birth_day text, birth_month text, birth_year text, address text, country text, region text, city text, ward text, tags text, member_since text, added_at text, anonymous text[], counted_when text, at_zone text, watch regclass[], points text, custom jsonb, fill boolean)',
		'attach_offers("table" regclass, customer text, offer text, at text, key text, at_zone text, counted_when text, watch regclass[], custom jsonb, fill boolean)',
		'attach_orders("table" regclass, customer text, amount text, at text, key text, at_zone text, currency text, counted_when text, watch regclass[], items text, channel text, custom jsonb, fill boolean)',
		'attach_order_lines("table" regclass, order_key text, product text, category text, quantity text, amount text, key text, at_zone text, counted_when text, watch regclass[], orders regclass, custom jsonb, fill boolean)',
		'attach_points("table" regclass, customer text, points text, at text, key text, at_zone text, valid_from text, expires_at text, counted_when text, watch regclass[], custom jsonb, fill boolean)',
		'attach_return_lines("table" regclass, return_key text, product text, category text, quantity text, amount text, key text, at_zone text, counted_when text, watch regclass[], returns regclass, custom jsonb, fill boolean)',
		'attach_returns("table" regclass, amount text, at text, customer text, order_key text, key text, at_zone text, currency text, counted_when text, watch regclass[], orders regclass, items text, custom jsonb, fill boolean)',
		'attach_tags("table" regclass, customer text, tag text, at_zone text, counted_when text, watch regclass[], custom jsonb, fill boolean)',
		'cancel_activation(IN group_code text)',
		'configure(timezone text, country_code text, currency text, money_unit numeric, max_moves integer, given_name text)',
		'detach("table" regclass, role text)',
		'explain("group" text, customer bigint, OUT depth integer, OUT clause text, OUT holds boolean, OUT value text, OUT changes_at timestamp with time zone)',
		'explain_condition(condition segment.condition, customer bigint, at timestamp with time zone, OUT depth integer, OUT clause text, OUT holds boolean, OUT value text, OUT changes_at timestamp with time zone)',
		'fold(text)',
		'forecast("group" text, date date)',
		'load_phone_rules(country_code text)',
		'load_region_aliases(set_name text)',
		'members_at("group" text, date date)',
		'phone(number text, rules jsonb)',
		'purge_changes(keep interval)',
		'tick(at timestamp with time zone, batch_size integer)',
		'tick_in_batches(IN batch_size integer)',
		'phone_pattern(pattern text, rules jsonb)',
		'preview(condition segment.condition, at timestamp with time zone, max_rows bigint, OUT customer_id bigint, OUT name text, OUT phone text, OUT email text, OUT figures jsonb)',
		'preview_count(condition segment.condition, at timestamp with time zone)',
		'query_builder_fields(language text)',
		'points_balance(points numeric, at timestamp with time zone, valid_from timestamp with time zone, expires_at timestamp with time zone, now timestamp with time zone)',
		'points_expiring(points numeric, at timestamp with time zone, valid_from timestamp with time zone, expires_at timestamp with time zone, now timestamp with time zone, from_instant timestamp with time zone, until_instant timestamp with time zone)',
		'recalculate()',
		'recalculate_customers(customer_ids bigint[])',
		'recalculate_in_batches(IN batch_size integer)',
		'region(text)',
		'status(OUT item text, OUT source regclass, OUT state text, OUT rows bigint, OUT detail text, OUT hint text)',
		'to_sql(condition segment.condition, at timestamp with time zone)',
		'unaccent(text)',
		'upgrade()',
		'verify(OUT customer_id bigint, OUT figure text, OUT stored text, OUT expected text)',
		'what_if_group(code text, condition segment.condition, OUT customer_id bigint, OUT action text)',
		'words(text)'
	],
	'public functions are these; whatever is added must be listed here and in the reference');

SELECT set_eq(
	$$ SELECT c.relname || CASE c.relkind WHEN 'v' THEN ' (view)' WHEN 'S' THEN ' (sequence)' ELSE '' END
	   FROM pg_class c WHERE c.relnamespace = 'segment'::regnamespace AND c.relkind IN ('r', 'v', 'S') $$,
	ARRAY['attachments', 'changes', 'configuration (view)', 'counted_3', 'customer_tier (view)', 'customer_tiers (view)',
		  'customers (view)', 'epoch', 'facts', 'figures (view)', 'former_tiers', 'former_groups', 'members (view)', 'customer_groups (view)', 'group_sizes (view)', 'group_stats (view)', 'group_details (view)', 'groups', 'ladders', 'left_out', 'pending_groups', 'phone_rules', 'region_aliases', 'rule_change_id (sequence)', 'rule_changes (view)', 'rule_history', 'rule_id (sequence)', 'ruleset', 'settings', 'source_id (sequence)',
		  'source_1 (view)', 'source_2 (view)', 'source_3 (view)', 'sources (view)', 'stale_marks', 'standings',
		  'tier_sizes (view)', 'tiers'],
	'tables, views and sequences are these');

SELECT is_empty(
	$$ SELECT p.oid::regprocedure FROM pg_proc p
	   WHERE p.pronamespace = 'segment'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL $$,
	'every function has a comment');
SELECT is_empty(
	$$ SELECT c.oid::regclass FROM pg_class c
	   WHERE c.relnamespace = 'segment'::regnamespace AND c.relkind IN ('r', 'v', 'S') AND obj_description(c.oid, 'pg_class') IS NULL $$,
	'every table, view and sequence has a comment');
SELECT set_eq(
	$$ SELECT t.typname FROM pg_type t
	   WHERE t.typnamespace = 'segment'::regnamespace AND t.typtype = 'b' AND t.typcategory <> 'A' $$,
	ARRAY['condition']::name[], 'types are these');
SELECT is_empty(
	$$ SELECT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
	   WHERE d.refclassid = 'pg_extension'::regclass AND e.extname = 'segment' AND d.deptype = 'e'
		 AND (d.classid IN ('pg_operator'::regclass, 'pg_opclass'::regclass, 'pg_cast'::regclass) OR d.objid = 'segment.condition'::regtype)
		 AND obj_description(d.objid, d.classid::regclass::name) IS NULL $$,
	'every type, operator, operator class and cast has a comment');
SELECT is_empty(
	$$ SELECT p.oid::regprocedure FROM pg_proc p
	   WHERE p.pronamespace = 'segment'::regnamespace
		 AND (p.proname LIKE '\_condition\_%' OR p.proname IN ('all_of', 'any_of', 'negate'))
		 AND NOT (p.provolatile = 'i' AND p.proisstrict AND p.proparallel = 's') $$,
	'functions of conditions are immutable, strict and parallel safe');
SELECT isnt(obj_description('segment'::regnamespace, 'pg_namespace'), NULL, 'the schema has a comment');

SELECT is_empty(
	$$ SELECT p.oid::regprocedure FROM pg_proc p
	   WHERE p.pronamespace = 'segment'::regnamespace AND (p.proacl IS NULL OR EXISTS (
		 SELECT FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner))
		 AND p.proname NOT IN ('_setting', '_active_ladders', '_ladder_names', '_ranked_tiers', '_groups', '_now', '_due_standings', '_stale', '_stale_since', '_is_here', '_watched', '_index_advice', '_figures', '_not_read', '_group_faults', '_upgrade_due',
			'_row_changed', '_unseen', '_day_of', '_begin_of_day')
		 AND p.proname NOT LIKE '\_condition\_%' AND p.proname NOT IN ('all_of', 'any_of', 'negate',
			'fold', 'unaccent', 'words', 'phone', 'phone_pattern', 'region') $$,
	'nobody but the owner may call anything until it is granted, except what views call for their readers, what reads, compares and composes conditions or stands in their SQL, and triggers that the server clones for whoever makes a partition');
SELECT is_empty(
	$$ SELECT c.oid::regclass FROM pg_class c, aclexplode(c.relacl) a
	   WHERE c.relnamespace = 'segment'::regnamespace AND a.grantee <> c.relowner $$,
	'nobody but the owner may read or write any table or view');
SELECT ok(NOT has_schema_privilege('public', 'segment', 'USAGE'), 'PUBLIC has no right on the schema');

SELECT is_empty(
	$$ SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
	   WHERE p.pronamespace = 'segment'::regnamespace AND l.lanname <> 'c' AND p.prokind <> 'a'
		 AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false) $$,
	'every function that is not C pins its search_path');
SELECT is_empty(
	$$ SELECT p.oid::regprocedure FROM pg_proc p
	   WHERE p.pronamespace = 'segment'::regnamespace
		 AND p.proname IN ('fold', 'unaccent', 'words', 'phone', 'phone_pattern', 'region', '_has_words', '_given_name', '_email_domain', '_sex',
			'_day_of', '_begin_of_day', '_add_offset', '_day_reaching', '_period', '_during_change', '_age', '_anniversary', '_anniversary_between', '_anniversary_change')
		 AND NOT (p.provolatile = 'i' AND p.proisstrict AND p.proparallel = 's') $$,
	'what compares texts and days is IMMUTABLE STRICT PARALLEL SAFE');
SELECT is_empty(
	$$ SELECT * FROM shipped $$,
	'CREATE EXTENSION inserts no rows that a dump would load again');
SELECT set_eq(
	$$ SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'segment'::regnamespace AND p.prosecdef $$,
	ARRAY['_setting', '_active_ladders', '_ladder_names', '_ranked_tiers', '_groups', '_stale', '_stale_since', '_is_here', '_ladders_renamed', '_rule_row', '_group_row']::name[],
	'only functions that read settings and rules are SECURITY DEFINER: elsewhere identities are switched in C, one step at a time');

SELECT is_empty(
	$$ SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
	   WHERE d.refclassid = 'pg_extension'::regclass AND e.extname = 'segment' AND d.deptype = 'e'
		 AND d.classid = 'pg_class'::regclass
		 AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relname IN
			('facts', 'standings', 'changes', 'counted_3', 'source_1', 'source_2', 'source_3', 'customers', 'customer_tiers')) $$,
	'what attaching made is no member of the extension, so it is dumped');
SELECT set_eq(
	$$ SELECT t.evtname || ' ' || t.evtenabled::text FROM pg_event_trigger t
		JOIN pg_depend d ON d.classid = 'pg_event_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e'
		JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'segment'
	   WHERE obj_description(t.oid, 'pg_event_trigger') IS NOT NULL $$,
	ARRAY['segment_ddl_start A', 'segment_ddl_end A', 'segment_ddl_drop A'],
	'event triggers are members with comments and fire in every session');
SELECT is_empty(
	$$ SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid
	   WHERE d.refclassid = 'pg_extension'::regclass AND e.extname = 'segment' AND d.deptype = 'e'
		 AND NOT (pg_identify_object(d.classid, d.objid, d.objsubid)).identity LIKE '%segment%' $$,
	'every member of the extension lives in schema segment');
SELECT set_eq(
	$$ SELECT unnest(extconfig)::regclass::text FROM pg_extension WHERE extname = 'segment' $$,
	ARRAY['segment.settings', 'segment.attachments', 'segment.stale_marks', 'segment.epoch', 'segment.left_out', 'segment.rule_id', 'segment.source_id', 'segment.ladders', 'segment.tiers', 'segment.groups', 'segment.rule_history', 'segment.rule_change_id', 'segment.phone_rules', 'segment.region_aliases'],
	'what the merchant decided is dumped');

-- whoever may read a view needs no other right
CREATE ROLE segment_reader;
GRANT USAGE ON SCHEMA segment TO segment_reader;
GRANT SELECT ON segment.customers, segment.customer_tiers, segment.customer_tier, segment.tier_sizes, segment.changes,
	segment.sources, segment.configuration, segment.rule_changes, segment.members, segment.customer_groups, segment.group_sizes,
	segment.group_stats, segment.group_details TO segment_reader;
SET LOCAL ROLE segment_reader;
SELECT lives_ok($$ SELECT (SELECT count(*) FROM segment.customers) + (SELECT count(*) FROM segment.customer_tiers)
	+ (SELECT count(*) FROM segment.customer_tier) + (SELECT count(*) FROM segment.tier_sizes) + (SELECT count(*) FROM segment.changes)
	+ (SELECT count(*) FROM segment.configuration) + (SELECT count(*) FROM segment.rule_changes)
	+ (SELECT count(*) FROM segment.members) + (SELECT count(*) FROM segment.customer_groups) + (SELECT count(*) FROM segment.group_sizes)
	+ (SELECT count(*) FROM segment.group_stats) + (SELECT count(*) FROM segment.group_details) + (SELECT count(stale) + count(watched) + count(advice) FROM segment.sources) $$,
	'SELECT on the views is enough to read them');
SELECT throws_ok('SELECT * FROM segment.facts', '42501', NULL, 'and gives nothing else');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
