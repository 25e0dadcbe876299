/* sql/segment.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION segment" to load this file. \quit

DO $$
BEGIN
	IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
		RAISE EXCEPTION 'extension "segment" needs a database in encoding UTF8, this one is in %', pg_catalog.getdatabaseencoding()
			USING ERRCODE = 'feature_not_supported',
				  HINT = 'Create a database with ENCODING ''UTF8'' TEMPLATE template0 and move the shop there.';
	END IF;
END
$$;

-- schema

CREATE SCHEMA segment;
COMMENT ON SCHEMA segment IS 'customer tiers kept true beside the shop''s own tables; whatever holds or takes customer keys appears when segment.attach_customers() is called';

-- settings of the shop

CREATE TABLE segment.settings (
	name text COLLATE "C" PRIMARY KEY,
	value text NOT NULL
);
REVOKE ALL ON segment.settings FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.settings', '');
COMMENT ON TABLE segment.settings IS 'what segment.configure() was told; read view segment.configuration';

CREATE FUNCTION segment._setting(setting text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(
		(SELECT s.value FROM segment.settings s WHERE s.name OPERATOR(pg_catalog.=) setting),
		CASE
			WHEN setting OPERATOR(pg_catalog.=) 'timezone' THEN 'Asia/Ho_Chi_Minh'
			WHEN setting OPERATOR(pg_catalog.=) 'country_code' THEN '84'
			WHEN setting OPERATOR(pg_catalog.=) 'currency' THEN 'VND'
			WHEN setting OPERATOR(pg_catalog.=) 'money_unit' THEN '1'
		END)
$$;
COMMENT ON FUNCTION segment._setting(text) IS 'the value of one setting in force, given or default (internal)';

CREATE VIEW segment.configuration AS
	SELECT d.name, segment._setting(d.name) AS value,
		   EXISTS (SELECT FROM segment.settings s WHERE s.name OPERATOR(pg_catalog.=) d.name) AS given,
		   d.description
	FROM (VALUES
		('timezone', 'the shop''s time zone: fixes midnight, months and timestamps without zone'),
		('country_code', 'calling code of the shop''s country, digits only'),
		('currency', 'the shop''s currency; rows in another one are left out'),
		('money_unit', 'smallest step of money: the next tier starts one unit above the one below')
	) AS d(name, description);
REVOKE ALL ON segment.configuration FROM PUBLIC;
COMMENT ON VIEW segment.configuration IS 'settings of the shop: value in force, whether it was given or is the default, meaning';

CREATE FUNCTION segment.configure(
	timezone text DEFAULT NULL,
	country_code text DEFAULT NULL,
	currency text DEFAULT NULL,
	money_unit numeric DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_configure';
REVOKE ALL ON FUNCTION segment.configure(text, text, text, numeric) FROM PUBLIC;
COMMENT ON FUNCTION segment.configure(text, text, text, numeric) IS 'set what holds for the whole shop; an argument left out stays as it is';

-- attached tables

CREATE SEQUENCE segment.source_id AS integer;
REVOKE ALL ON SEQUENCE segment.source_id FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.source_id', '');
COMMENT ON SEQUENCE segment.source_id IS 'numbers of attached tables, never given twice';

CREATE TABLE segment.attachments (
	id integer PRIMARY KEY,
	relation regclass NOT NULL,
	role text COLLATE "C" NOT NULL,
	arguments jsonb NOT NULL,
	order_source integer,
	watch regclass[] NOT NULL DEFAULT '{}',
	attached_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	attached_by text NOT NULL DEFAULT session_user,
	UNIQUE (relation, role)
);
REVOKE ALL ON segment.attachments FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.attachments', '');
COMMENT ON TABLE segment.attachments IS 'which table plays which role, with the arguments as given; the view segment.source_<id> is the mapping itself; read segment.sources';

CREATE TABLE segment.stale_marks (
	source integer NOT NULL,
	reason text NOT NULL,
	marked_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
REVOKE ALL ON segment.stale_marks FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.stale_marks', '');
COMMENT ON TABLE segment.stale_marks IS 'sources whose state may be wrong, and why; recalculation clears them; read segment.status()';

CREATE TABLE segment.left_out (
	source integer NOT NULL,
	row_key text COLLATE "C" NOT NULL,
	reason text COLLATE "C" NOT NULL,
	n bigint NOT NULL,
	PRIMARY KEY (source, row_key, reason)
);
REVOKE ALL ON segment.left_out FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.left_out', '');
COMMENT ON TABLE segment.left_out IS 'rows of attached tables that should count but hold something that cannot (NaN, infinity, no date, another currency, an expression that raised)';

-- ladders and tiers

CREATE SEQUENCE segment.rule_id AS integer;
REVOKE ALL ON SEQUENCE segment.rule_id FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.rule_id', '');
COMMENT ON SEQUENCE segment.rule_id IS 'ids of ladders and tiers, as kept in standings';

CREATE TABLE segment.ruleset (
	version bigint NOT NULL
);
REVOKE ALL ON segment.ruleset FROM PUBLIC;
INSERT INTO segment.ruleset VALUES (1);
COMMENT ON TABLE segment.ruleset IS 'one row: goes up with every change of a ladder or tier, so that no session judges by old rules (internal)';

CREATE TABLE segment.ladders (
	code text COLLATE "C" PRIMARY KEY CHECK (code OPERATOR(pg_catalog.<>) ''),
	name text NOT NULL,
	figure text COLLATE "C" NOT NULL DEFAULT 'amount_spent',
	unit numeric,
	programme text COLLATE "C" NOT NULL DEFAULT 'default',
	is_default boolean NOT NULL DEFAULT false,
	active boolean NOT NULL DEFAULT true,
	id integer NOT NULL UNIQUE DEFAULT pg_catalog.nextval('segment.rule_id')
);
CREATE UNIQUE INDEX ladders_one_default ON segment.ladders (is_default) WHERE is_default;
REVOKE ALL ON segment.ladders FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.ladders', '');
COMMENT ON TABLE segment.ladders IS 'ladders: a purchase figure with tiers on it; plain DML, everyone is re-ranked by the statement that leaves it valid';
COMMENT ON COLUMN segment.ladders.figure IS 'amount_spent, amount_ordered, amount_returned, number_of_orders or number_of_returns';
COMMENT ON COLUMN segment.ladders.unit IS 'step from the maximum of a tier to the minimum of the next; NULL: money_unit for amounts, 1 for numbers';
COMMENT ON COLUMN segment.ladders.programme IS 'ladders of one programme give one tier, the highest: view segment.customer_tier';
COMMENT ON COLUMN segment.ladders.is_default IS 'tiers inserted without a ladder go to this one';
COMMENT ON COLUMN segment.ladders.active IS 'an inactive ladder gives nobody a tier';
COMMENT ON COLUMN segment.ladders.id IS 'given by the extension, never changes';

CREATE TABLE segment.tiers (
	ladder text COLLATE "C" NOT NULL REFERENCES segment.ladders (code) ON UPDATE CASCADE,
	code text COLLATE "C" NOT NULL CHECK (code OPERATOR(pg_catalog.<>) ''),
	name text NOT NULL,
	description text,
	min_value numeric NOT NULL,
	max_value numeric,
	points_floor numeric NOT NULL DEFAULT 0,
	rank integer,
	active boolean NOT NULL DEFAULT true,
	id integer NOT NULL UNIQUE DEFAULT pg_catalog.nextval('segment.rule_id'),
	PRIMARY KEY (ladder, code)
);
REVOKE ALL ON segment.tiers FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.tiers', '');
COMMENT ON TABLE segment.tiers IS 'tiers: ranges of a ladder''s figure; plain DML, checked at the latest at commit, everyone is re-ranked by the statement that leaves the ladder valid';
COMMENT ON COLUMN segment.tiers.ladder IS 'left NULL: the default ladder';
COMMENT ON COLUMN segment.tiers.min_value IS 'who has at least this much holds the tier; 0 on the lowest tier takes negative totals too';
COMMENT ON COLUMN segment.tiers.max_value IS 'one unit below the minimum of the next tier, NULL on the highest; checked, never used to judge';
COMMENT ON COLUMN segment.tiers.points_floor IS 'points that must stay when points are spent';
COMMENT ON COLUMN segment.tiers.rank IS '1 is the lowest; left NULL it follows min_value';
COMMENT ON COLUMN segment.tiers.active IS 'an inactive tier takes nobody: its range falls to the active tier below';
COMMENT ON COLUMN segment.tiers.id IS 'given by the extension, never changes';

CREATE TABLE segment.former_tiers (
	id integer PRIMARY KEY,
	ladder text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	min_value numeric NOT NULL
);
REVOKE ALL ON segment.former_tiers FROM PUBLIC;
COMMENT ON TABLE segment.former_tiers IS 'tiers deleted in this transaction, until their holders have been re-ranked (internal)';

-- Views read these through functions: their row estimates are right before
-- anything is analysed, and whoever may read a view needs no right on what lies
-- behind it.

CREATE FUNCTION segment._active_ladders(OUT code text, OUT figure text, OUT programme text, OUT is_default boolean)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT l.code, l.figure, l.programme, l.is_default FROM segment.ladders l WHERE l.active
$$;
COMMENT ON FUNCTION segment._active_ladders() IS 'ladders in force (internal)';

CREATE FUNCTION segment._ranked_tiers(
	OUT id integer, OUT ladder text, OUT code text, OUT name text, OUT min_value numeric,
	OUT points_floor numeric, OUT active boolean, OUT rank integer)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 8
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT t.id, t.ladder, t.code, t.name, t.min_value, t.points_floor, t.active,
		   coalesce(t.rank, (row_number() OVER (PARTITION BY t.ladder ORDER BY t.min_value))::integer)
	FROM segment.tiers t
$$;
COMMENT ON FUNCTION segment._ranked_tiers() IS 'tiers with the rank in force (internal)';

CREATE FUNCTION segment._rules_lock() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'segment_rules_lock';
REVOKE ALL ON FUNCTION segment._rules_lock() FROM PUBLIC;
COMMENT ON FUNCTION segment._rules_lock() IS 'trigger before a change of ladders or tiers: keeps sales out of the judging until commit (internal)';

CREATE FUNCTION segment._rule_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		INSERT INTO segment.former_tiers VALUES (OLD.id, OLD.ladder, OLD.code, OLD.min_value);
		RETURN OLD;
	END IF;
	IF TG_OP = 'UPDATE' AND NEW.id IS DISTINCT FROM OLD.id THEN
		RAISE EXCEPTION 'column "id" of segment.% cannot be changed', TG_TABLE_NAME
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'It is what standings remember; change the code or the name instead.';
	END IF;
	IF TG_TABLE_NAME = 'tiers' THEN
		IF TG_OP = 'UPDATE' AND NEW.ladder IS DISTINCT FROM OLD.ladder AND pg_trigger_depth() = 1 THEN
			RAISE EXCEPTION 'tier "%" cannot move from ladder "%" to another', OLD.code, OLD.ladder
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'Delete it and insert it on the other ladder.';
		END IF;
		IF NEW.ladder IS NULL THEN
			NEW.ladder := (SELECT l.code FROM segment.ladders l WHERE l.is_default);
			IF NEW.ladder IS NULL THEN
				RAISE EXCEPTION 'tier "%" names no ladder and there is no default ladder', NEW.code
					USING ERRCODE = 'not_null_violation',
						  HINT = 'Call segment.attach_customers(), which makes the ladder "total", or insert into segment.ladders with is_default => true.';
			END IF;
		END IF;
	END IF;
	RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION segment._rule_row() FROM PUBLIC;
COMMENT ON FUNCTION segment._rule_row() IS 'trigger that fills in the default ladder and keeps ids as they are (internal)';

CREATE FUNCTION segment._rules_changed() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'segment_rules_changed';
REVOKE ALL ON FUNCTION segment._rules_changed() FROM PUBLIC;
COMMENT ON FUNCTION segment._rules_changed() IS 'trigger after a change of ladders or tiers: re-ranks everyone as soon as the rules are valid (internal)';

CREATE FUNCTION segment._rules_check() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'segment_rules_check';
REVOKE ALL ON FUNCTION segment._rules_check() FROM PUBLIC;
COMMENT ON FUNCTION segment._rules_check() IS 'deferred trigger: refuses a commit with invalid ranges (internal)';

CREATE TRIGGER _segment_lock BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON segment.ladders
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_lock();
CREATE TRIGGER _segment_row BEFORE INSERT OR UPDATE ON segment.ladders
	FOR EACH ROW EXECUTE FUNCTION segment._rule_row();
CREATE TRIGGER _segment_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON segment.ladders
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();
CREATE CONSTRAINT TRIGGER _segment_check AFTER INSERT OR UPDATE OR DELETE ON segment.ladders
	DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION segment._rules_check();

CREATE TRIGGER _segment_lock BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON segment.tiers
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_lock();
CREATE TRIGGER _segment_row BEFORE INSERT OR UPDATE OR DELETE ON segment.tiers
	FOR EACH ROW EXECUTE FUNCTION segment._rule_row();
CREATE TRIGGER _segment_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON segment.tiers
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();
CREATE CONSTRAINT TRIGGER _segment_check AFTER INSERT OR UPDATE OR DELETE ON segment.tiers
	DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION segment._rules_check();

-- attaching

CREATE FUNCTION segment._source_changed() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'segment_source_changed';
REVOKE ALL ON FUNCTION segment._source_changed() FROM PUBLIC;
COMMENT ON FUNCTION segment._source_changed() IS 'trigger on attached and watched tables (internal)';

CREATE FUNCTION segment.attach_customers(
	"table" regclass,
	key text,
	name text DEFAULT NULL,
	given_name text DEFAULT NULL,
	phone text DEFAULT NULL,
	email text DEFAULT NULL,
	sex text DEFAULT NULL,
	birth_date text DEFAULT NULL,
	birth_day text DEFAULT NULL,
	birth_month text DEFAULT NULL,
	birth_year text DEFAULT NULL,
	address text DEFAULT NULL,
	country text DEFAULT NULL,
	region text DEFAULT NULL,
	city text DEFAULT NULL,
	ward text DEFAULT NULL,
	tags text DEFAULT NULL,
	member_since text DEFAULT NULL,
	added_at text DEFAULT NULL,
	anonymous text[] DEFAULT '{}',
	counted_when text DEFAULT NULL,
	at_zone text DEFAULT NULL,
	watch regclass[] DEFAULT '{}')
RETURNS regclass
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_attach_customers';
REVOKE ALL ON FUNCTION segment.attach_customers(regclass, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text[], text, text, regclass[]) FROM PUBLIC;
COMMENT ON FUNCTION segment.attach_customers(regclass, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text[], text, text, regclass[]) IS 'attach the table of customers: arguments are column names or expressions over its row';

CREATE FUNCTION segment.attach_orders(
	"table" regclass,
	customer text,
	amount text,
	at text,
	key text DEFAULT NULL,
	at_zone text DEFAULT NULL,
	currency text DEFAULT NULL,
	counted_when text DEFAULT NULL,
	watch regclass[] DEFAULT '{}')
RETURNS regclass
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_attach_orders';
REVOKE ALL ON FUNCTION segment.attach_orders(regclass, text, text, text, text, text, text, text, regclass[]) FROM PUBLIC;
COMMENT ON FUNCTION segment.attach_orders(regclass, text, text, text, text, text, text, text, regclass[]) IS 'attach a table of orders: arguments are column names or expressions over its row';

CREATE FUNCTION segment.attach_returns(
	"table" regclass,
	amount text,
	at text,
	customer text DEFAULT NULL,
	order_key text DEFAULT NULL,
	key text DEFAULT NULL,
	at_zone text DEFAULT NULL,
	currency text DEFAULT NULL,
	counted_when text DEFAULT NULL,
	watch regclass[] DEFAULT '{}',
	orders regclass DEFAULT NULL)
RETURNS regclass
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_attach_returns';
REVOKE ALL ON FUNCTION segment.attach_returns(regclass, text, text, text, text, text, text, text, text, regclass[], regclass) FROM PUBLIC;
COMMENT ON FUNCTION segment.attach_returns(regclass, text, text, text, text, text, text, text, text, regclass[], regclass) IS 'attach a table of returns: arguments are column names or expressions over its row; customer or order_key, one is enough';

CREATE FUNCTION segment.detach("table" regclass, role text DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_detach';
REVOKE ALL ON FUNCTION segment.detach(regclass, text) FROM PUBLIC;
COMMENT ON FUNCTION segment.detach(regclass, text) IS 'take a table out of its role; what it contributed is taken off again';

-- recalculation

CREATE FUNCTION segment.recalculate() RETURNS bigint
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'segment_recalculate';
REVOKE ALL ON FUNCTION segment.recalculate() FROM PUBLIC;
COMMENT ON FUNCTION segment.recalculate() IS 'compute every figure and tier again from the attached tables; returns how many customers were not right';

CREATE PROCEDURE segment.recalculate_in_batches(batch_size integer DEFAULT 10000)
LANGUAGE c
AS 'MODULE_PATHNAME', 'segment_recalculate_in_batches';
REVOKE ALL ON PROCEDURE segment.recalculate_in_batches(integer) FROM PUBLIC;
COMMENT ON PROCEDURE segment.recalculate_in_batches(integer) IS 'compute everything again, some customers at a time, committing after each batch and telling percent and remaining time';

CREATE FUNCTION segment._stale() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM segment.stale_marks)
		OR EXISTS (SELECT FROM segment.attachments a WHERE to_regclass('segment.source_' || a.id) IS NULL)
$$;
COMMENT ON FUNCTION segment._stale() IS 'whether the state of any source may be wrong (internal)';

-- everything with a customer key in it, made with the type of the merchant's key

CREATE FUNCTION segment._create_customer_objects(key_type regtype) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $function$
BEGIN
	EXECUTE format($$
CREATE TABLE segment.facts (
	customer_id %1$s PRIMARY KEY,
	version bigint NOT NULL DEFAULT 1,
	is_customer boolean NOT NULL DEFAULT false,
	number_of_orders bigint NOT NULL DEFAULT 0,
	amount_ordered numeric NOT NULL DEFAULT 0,
	first_order_at timestamptz,
	last_order_at timestamptz,
	number_of_returns bigint NOT NULL DEFAULT 0,
	amount_returned numeric NOT NULL DEFAULT 0
) WITH (fillfactor = 70)$$, key_type);
	REVOKE ALL ON segment.facts FROM PUBLIC;
	COMMENT ON TABLE segment.facts IS 'figures kept per customer key; is_customer is false for keys that orders name but the customers table does not (or no longer) count';

	EXECUTE format($$
CREATE TABLE segment.standings (
	customer_id %1$s PRIMARY KEY,
	held integer[] NOT NULL,
	since timestamptz[] NOT NULL
)$$, key_type);
	REVOKE ALL ON segment.standings FROM PUBLIC;
	COMMENT ON TABLE segment.standings IS 'what a customer is in now: ids of tiers, and since when, side by side';

	EXECUTE format($$
CREATE TABLE segment.changes (
	at timestamptz NOT NULL,
	customer_id %1$s NOT NULL,
	kind text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	ladder text COLLATE "C",
	action text COLLATE "C" NOT NULL,
	old_tier text COLLATE "C",
	new_tier text COLLATE "C",
	old_value numeric,
	new_value numeric,
	cause text COLLATE "C" NOT NULL,
	source text,
	source_key text,
	changed_by text NOT NULL,
	version bigint NOT NULL
)$$, key_type);
	CREATE INDEX changes_customer ON segment.changes (customer_id, version);
	REVOKE ALL ON segment.changes FROM PUBLIC;
	COMMENT ON TABLE segment.changes IS 'every tier move: when it became true, from what to what, and why; version orders the changes of one customer';

	CREATE VIEW segment.customers AS
		SELECT f.customer_id,
			   f.number_of_orders,
			   f.number_of_returns,
			   f.amount_ordered - f.amount_returned AS amount_spent,
			   f.amount_ordered,
			   f.amount_returned,
			   f.amount_ordered / nullif(f.number_of_orders, 0) AS average_order_value,
			   (f.first_order_at AT TIME ZONE z.zone)::date AS first_order_date,
			   (f.last_order_at AT TIME ZONE z.zone)::date AS last_order_date,
			   (now() AT TIME ZONE z.zone)::date - (f.last_order_at AT TIME ZONE z.zone)::date AS days_since_last_order,
			   z.stale
		FROM segment.facts f
			CROSS JOIN (SELECT segment._setting('timezone') AS zone, segment._stale() AS stale OFFSET 0) z
		WHERE f.is_customer;
	REVOKE ALL ON segment.customers FROM PUBLIC;
	COMMENT ON VIEW segment.customers IS 'every counted customer with the figures kept for them; money in the shop''s currency, dates in the shop''s zone';

	CREATE VIEW segment.customer_tiers AS
		SELECT v.customer_id,
			   v.ladder,
			   h.code AS tier,
			   h.name AS tier_name,
			   h.rank,
			   v.value,
			   h.since,
			   n.code AS next_tier,
			   n.min_value - v.value AS to_next,
			   h.points_floor,
			   CASE WHEN h.code IS NOT NULL THEN 'rule' END AS source,
			   v.stale
		FROM (SELECT f.customer_id, l.code AS ladder, z.stale,
					 CASE l.figure
						WHEN 'amount_spent' THEN f.amount_ordered - f.amount_returned
						WHEN 'amount_ordered' THEN f.amount_ordered
						WHEN 'amount_returned' THEN f.amount_returned
						WHEN 'number_of_orders' THEN f.number_of_orders
						WHEN 'number_of_returns' THEN f.number_of_returns
					 END AS value
			  FROM segment.facts f
				CROSS JOIN segment._active_ladders() l
				CROSS JOIN (SELECT segment._stale() AS stale OFFSET 0) z
			  WHERE f.is_customer) v
			LEFT JOIN (SELECT s.customer_id, t.ladder, t.code, t.name, t.min_value, t.rank, t.points_floor, u.since
					   FROM segment.standings s
						CROSS JOIN LATERAL unnest(s.held, s.since) AS u(id, since)
						JOIN segment._ranked_tiers() t ON t.id = u.id) h
				ON h.customer_id = v.customer_id AND h.ladder = v.ladder
			LEFT JOIN LATERAL (SELECT t.code, t.min_value
							   FROM segment._ranked_tiers() t
							   WHERE t.ladder = v.ladder AND t.active AND t.min_value > v.value
								AND (h.code IS NULL OR t.min_value > h.min_value)
							   ORDER BY t.min_value LIMIT 1) n ON true;
	REVOKE ALL ON segment.customer_tiers FROM PUBLIC;
	COMMENT ON VIEW segment.customer_tiers IS 'one row per counted customer and active ladder: tier held (NULL: none), value, since when, what is missing to the next';

	CREATE VIEW segment.customer_tier AS
		SELECT DISTINCT ON (c.customer_id, l.programme)
			   c.customer_id, l.programme, c.ladder, c.tier, c.tier_name, c.rank, c.value, c.since, c.stale
		FROM segment.customer_tiers c
			JOIN segment._active_ladders() l ON l.code = c.ladder
		ORDER BY c.customer_id, l.programme, c.rank DESC NULLS LAST, l.is_default DESC, l.code;
	REVOKE ALL ON segment.customer_tier FROM PUBLIC;
	COMMENT ON VIEW segment.customer_tier IS 'one row per counted customer and programme: the tier of the greatest rank over its ladders';

	CREATE VIEW segment.tier_sizes AS
		WITH held AS (
			SELECT u.id, count(*) AS customers
			FROM segment.standings s CROSS JOIN LATERAL unnest(s.held) AS u(id)
			GROUP BY u.id
		), total AS (
			SELECT count(*) AS customers FROM segment.facts f WHERE f.is_customer
		), sizes AS (
			SELECT t.ladder, t.code, t.name, t.rank, coalesce(h.customers, 0) AS customers
			FROM segment._ranked_tiers() t LEFT JOIN held h ON h.id = t.id
			UNION ALL
			SELECT l.code, NULL, NULL, NULL, total.customers - coalesce((
				SELECT sum(h.customers) FROM held h JOIN segment._ranked_tiers() t ON t.id = h.id WHERE t.ladder = l.code), 0)
			FROM segment._active_ladders() l CROSS JOIN total
		)
		SELECT z.ladder, z.code AS tier, z.name AS tier_name, z.rank,
			   z.customers::bigint AS customers,
			   round(z.customers / nullif(total.customers, 0), 4) AS share,
			   segment._stale() AS stale
		FROM sizes z
			JOIN segment._active_ladders() l ON l.code = z.ladder
			CROSS JOIN total
		ORDER BY z.ladder, z.rank DESC NULLS LAST;
	REVOKE ALL ON segment.tier_sizes FROM PUBLIC;
	COMMENT ON VIEW segment.tier_sizes IS 'how many customers hold each tier of each active ladder, and their share; the row without a tier counts those who hold none';

	EXECUTE format($$
CREATE FUNCTION segment.recalculate_customers(customer_ids %1$s[]) RETURNS bigint
LANGUAGE c VOLATILE STRICT
AS '$libdir/segment', 'segment_recalculate_customers'$$, key_type);
	EXECUTE format($$REVOKE ALL ON FUNCTION segment.recalculate_customers(%1$s[]) FROM PUBLIC$$, key_type);
	EXECUTE format($$COMMENT ON FUNCTION segment.recalculate_customers(%1$s[]) IS 'compute figures and tiers of the named customers again; returns how many were not right'$$, key_type);

	EXECUTE format($$
CREATE FUNCTION segment.verify(OUT customer_id %1$s, OUT figure text, OUT stored text, OUT expected text)
RETURNS SETOF record
LANGUAGE c STABLE
AS '$libdir/segment', 'segment_verify'$$, key_type);
	REVOKE ALL ON FUNCTION segment.verify() FROM PUBLIC;
	COMMENT ON FUNCTION segment.verify() IS 'stored against recomputed by plain SQL from the attached tables: one row per difference, writes nothing';

	INSERT INTO segment.ladders (code, name, figure, is_default)
		SELECT 'total', 'Total accumulated', 'amount_spent', true
		WHERE NOT EXISTS (SELECT FROM segment.ladders);
END
$function$;
REVOKE ALL ON FUNCTION segment._create_customer_objects(regtype) FROM PUBLIC;
COMMENT ON FUNCTION segment._create_customer_objects(regtype) IS 'make tables, views and functions that hold customer keys (internal, called by segment.attach_customers())';

CREATE FUNCTION segment._drop_customer_objects() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $function$
DECLARE
	recalculation regprocedure;
BEGIN
	DROP VIEW segment.tier_sizes, segment.customer_tier, segment.customer_tiers, segment.customers;
	FOR recalculation IN
		SELECT p.oid FROM pg_proc p
		WHERE p.pronamespace = 'segment'::regnamespace AND p.proname IN ('recalculate_customers', 'verify')
	LOOP
		EXECUTE format('DROP FUNCTION %s', recalculation);
	END LOOP;
	DROP TABLE segment.facts, segment.standings, segment.changes;
END
$function$;
REVOKE ALL ON FUNCTION segment._drop_customer_objects() FROM PUBLIC;
COMMENT ON FUNCTION segment._drop_customer_objects() IS 'drop what segment._create_customer_objects() made (internal, called by segment.detach())';

-- what is attached, and whether it can be trusted

CREATE FUNCTION segment._watched(source integer) RETURNS regclass[]
LANGUAGE c STABLE STRICT
AS 'MODULE_PATHNAME', 'segment_watched';
COMMENT ON FUNCTION segment._watched(integer) IS 'tables whose changes reach a source through its expressions (internal)';

CREATE FUNCTION segment._index_advice(source integer) RETURNS text
LANGUAGE c STABLE STRICT
AS 'MODULE_PATHNAME', 'segment_index_advice';
COMMENT ON FUNCTION segment._index_advice(integer) IS 'indexes on the merchant''s table that recomputation would use and that are missing (internal)';

CREATE VIEW segment.sources AS
	SELECT a.relation AS source,
		   a.role,
		   pg_catalog.to_regclass(pg_catalog.format('segment.source_%s', a.id)) AS mapping,
		   a.arguments OPERATOR(pg_catalog.-) 'reads_shop_zone'::text AS arguments,
		   segment._watched(a.id) AS watched,
		   (SELECT coalesce(pg_catalog.sum(o.n), 0)::bigint FROM segment.left_out o
			WHERE o.source OPERATOR(pg_catalog.=) a.id AND o.n OPERATOR(pg_catalog.>) 0) AS rows_left_out,
		   segment._index_advice(a.id) AS advice,
		   a.attached_at,
		   a.attached_by,
		   CASE WHEN pg_catalog.to_regclass(pg_catalog.format('segment.source_%s', a.id)) IS NULL THEN 'the table was dropped'
				ELSE (SELECT pg_catalog.min(m.reason) FROM segment.stale_marks m WHERE m.source OPERATOR(pg_catalog.=) a.id) END AS stale_because,
		   pg_catalog.to_regclass(pg_catalog.format('segment.source_%s', a.id)) IS NULL
			OR EXISTS (SELECT FROM segment.stale_marks m WHERE m.source OPERATOR(pg_catalog.=) a.id) AS stale
	FROM segment.attachments a;
REVOKE ALL ON segment.sources FROM PUBLIC;
COMMENT ON VIEW segment.sources IS 'what is attached: table, role, the view that is its mapping, the arguments as given, tables watched, rows left out, missing indexes, whether its state can be trusted';

CREATE FUNCTION segment.status(
	OUT item text, OUT source regclass, OUT state text, OUT rows bigint, OUT detail text, OUT hint text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	orphans bigint;
BEGIN
	item := 'state';
	IF to_regclass('segment.facts') IS NULL THEN
		state := 'not attached';
		detail := 'No customers table is attached.';
		hint := 'Call segment.attach_customers().';
		RETURN NEXT;
		RETURN;
	END IF;
	SELECT count(*) INTO rows FROM segment.sources s WHERE s.stale;
	state := CASE WHEN rows > 0 THEN 'stale' ELSE 'exact' END;
	detail := CASE WHEN rows > 0 THEN format('%s source(s) may have changed unseen.', rows) ELSE 'Stored state follows every change of the attached tables.' END;
	hint := CASE WHEN rows > 0 THEN 'segment.verify() names the customers, segment.recalculate() makes it exact again.' END;
	RETURN NEXT;

	FOR item, source, state, rows, detail, hint IN
		SELECT 'source', s.source, CASE WHEN s.stale THEN 'stale' ELSE 'exact' END, NULL::bigint,
			   s.role || CASE WHEN s.stale THEN ': ' || s.stale_because ELSE '' END,
			   s.advice
		FROM segment.sources s ORDER BY s.mapping
	LOOP
		RETURN NEXT;
	END LOOP;

	FOR item, source, state, rows, detail, hint IN
		SELECT 'left out', a.relation, a.role, sum(o.n)::bigint,
			   format('%s; for example %s', o.reason, (array_agg(o.row_key ORDER BY o.row_key))[1:5]),
			   'These rows count again once their values are mended; select them from segment.left_out.'
		FROM segment.left_out o JOIN segment.attachments a ON a.id = o.source
		WHERE o.n > 0
		GROUP BY a.id, a.relation, a.role, o.reason ORDER BY a.id, o.reason
	LOOP
		RETURN NEXT;
	END LOOP;

	EXECUTE 'SELECT count(*) FROM segment.facts f WHERE NOT f.is_customer AND (f.number_of_orders <> 0 OR f.number_of_returns <> 0)' INTO orphans;
	IF orphans > 0 THEN
		item := 'kept apart';
		source := (SELECT a.relation FROM segment.attachments a WHERE a.role = 'customers');
		state := 'customers';
		rows := orphans;
		detail := 'Customer keys with orders or returns that the customers table does not count.';
		hint := 'They count from the moment the customer appears; select them from segment.facts where not is_customer.';
		RETURN NEXT;
	END IF;
END
$$;
REVOKE ALL ON FUNCTION segment.status() FROM PUBLIC;
COMMENT ON FUNCTION segment.status() IS 'one look: can the state be trusted, what is stale and why, what was left out, what is kept apart';
