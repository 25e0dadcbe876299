-- Mistakes in the set-up are refused when they are made: SQLSTATE, what was given, what is allowed, a hint.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
RESET client_min_messages;
CREATE SCHEMA bad;
CREATE FUNCTION bad.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text; context text;
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n', state || ': ' || message, nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END $$;
CREATE FUNCTION bad.try_orders(arguments text) RETURNS text LANGUAGE sql
	AS $$ SELECT bad.try('SELECT segment.attach_orders(''bad.orders'', ' || arguments || ')') $$;
CREATE FUNCTION bad.try_customers(arguments text) RETURNS text LANGUAGE sql
	AS $$ SELECT bad.try('SELECT segment.attach_customers(''bad.customers'', ' || arguments || ')') $$;
CREATE TABLE bad.customers (id bigint, full_name text, dob date, score float8, deleted_at timestamptz);
CREATE TABLE bad.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, rough float8, cash money,
	created_at timestamptz, naive timestamp, written text, status text);
CREATE FUNCTION bad.rate() RETURNS numeric LANGUAGE sql STABLE AS 'SELECT 1.0';
\pset format unaligned
\pset tuples_only on

-- customers
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total'', at => ''created_at''');
SELECT bad.try('SELECT segment.attach_customers(''bad.nobody'', key => ''id'')');
SELECT bad.try_customers('key => ''id''');
CREATE UNIQUE INDEX partial ON bad.customers (id) WHERE deleted_at IS NULL;
SELECT bad.try_customers('key => ''id''');
CREATE UNIQUE INDEX twofold ON bad.customers (id, full_name);
SELECT bad.try_customers('key => ''id''');
CREATE UNIQUE INDEX scored ON bad.customers (score);
SELECT bad.try_customers('key => ''score''');
ALTER TABLE bad.customers ADD PRIMARY KEY (id);
SELECT bad.try_customers('key => ''id + 1''');
SELECT bad.try_customers('key => ''idd''');
SELECT bad.try_customers('key => NULL');
SELECT bad.try_customers('key => ''id'', phone => ''dob''');
SELECT bad.try_customers('key => ''id'', birth_date => ''full_name''');
SELECT bad.try_customers('key => ''id'', anonymous => ''{0,guest}''');
SELECT bad.try_customers('key => ''id'', counted_when => ''deleted_at''');
SELECT bad.try_customers('key => ''id'', nickname => ''full_name''');
SET client_min_messages = error;
SELECT segment.attach_customers('bad.customers', key => 'id');
RESET client_min_messages;
SELECT bad.try_customers('key => ''id''');
CREATE TABLE bad.others (id int PRIMARY KEY);
SELECT bad.try('SELECT segment.attach_customers(''bad.others'', key => ''id'')');

-- expressions
SELECT bad.try_orders('customer => ''customer_id'', amount => NULL, at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => '' '', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''totl'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total +'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total, 1'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total AS t'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total FROM bad.orders'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total) AS x FROM bad.orders; DROP TABLE bad.orders; --'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''sum(total)'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''generate_series(1, 2)'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total * random()::numeric'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total'', at => ''now()''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total'', at => ''current_date''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total'', at => ''naive::timestamptz''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total'', at => ''written::timestamptz''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total * bad.rate()'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total'', at => ''written''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total'', at => ''naive'', at_zone => ''Mars/Base''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''rough'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''cash'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''written'', at => ''created_at''');
SELECT bad.try_orders('customer => ''written'', amount => ''total'', at => ''created_at''');
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total'', at => ''created_at'', counted_when => ''status''');
SELECT bad.try_orders('customer => ''(SELECT c.id FROM bad.customers c WHERE c.id = customer_id)'', amount => ''total'', at => ''created_at''');
SELECT bad.try('SELECT segment.attach_returns(''bad.orders'', amount => ''total'', at => ''created_at'')');
SELECT bad.try('SELECT segment.attach_returns(''bad.orders'', order_key => ''id'', amount => ''total'', at => ''created_at'')');

-- relations
CREATE VIEW bad.a_view AS TABLE bad.orders;
CREATE MATERIALIZED VIEW bad.a_matview AS TABLE bad.orders;
CREATE TEMP TABLE a_temp (LIKE bad.orders);
CREATE UNLOGGED TABLE bad.an_unlogged (LIKE bad.orders);
CREATE TABLE bad.partitioned (LIKE bad.orders) PARTITION BY LIST (status);
CREATE TABLE bad.leaf PARTITION OF bad.partitioned DEFAULT;
CREATE TABLE bad.parent (LIKE bad.orders);
CREATE TABLE bad.child () INHERITS (bad.parent);
CREATE FOREIGN DATA WRAPPER bad_wrapper;
CREATE SERVER bad_server FOREIGN DATA WRAPPER bad_wrapper;
CREATE FOREIGN TABLE bad.a_foreign (id bigint) SERVER bad_server;
CREATE FOREIGN TABLE bad.a_foreign_leaf PARTITION OF bad.partitioned FOR VALUES IN ('archived') SERVER bad_server;
CREATE SEQUENCE bad.a_sequence;
SELECT relation || ' '
	|| bad.try(format('SELECT segment.attach_orders(%L, customer => ''customer_id'', amount => ''total'', at => ''created_at'')', relation))
	FROM unnest('{bad.a_view,bad.a_matview,a_temp,bad.an_unlogged,bad.partitioned,bad.leaf,bad.parent,bad.child,bad.a_foreign,bad.a_sequence,pg_class,segment.facts}'::text[]) relation;

-- attached twice, detached what is not
SET client_min_messages = error;
SELECT segment.attach_orders('bad.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'naive');
RESET client_min_messages;
SELECT bad.try_orders('customer => ''customer_id'', amount => ''total'', at => ''created_at''');
SELECT bad.try('SELECT segment.detach(''bad.others'')');
SELECT bad.try('SELECT segment.detach(''bad.orders'', role => ''returns'')');
SELECT bad.try('SELECT segment.detach(NULL)');

-- settings
SELECT bad.try('SELECT segment.configure(timezone => ''Nowhere'')');
SELECT bad.try('SELECT segment.configure(timezone => ''UTC'')');
SELECT bad.try('SELECT segment.configure(country_code => ''+84'')');
SELECT bad.try('SELECT segment.configure(currency => '''')');
SELECT bad.try('SELECT segment.configure(money_unit => 0)');
SELECT bad.try('SELECT segment.configure(money_unit => ''NaN'')');
SELECT bad.try('SELECT segment.configure(given_name => ''middle'')');
SELECT bad.try('SELECT segment.configure(colour => ''red'')');

-- recalculation
SELECT bad.try('CALL segment.recalculate_in_batches(0)');
CALL segment.recalculate_in_batches(0);
SELECT bad.try('SELECT segment.recalculate_customers(''{x}'')');
\pset tuples_only off
\pset format aligned

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT segment.recalculate();
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO segment.tiers (code, name, min_value) VALUES ('a', 'A', 0);
ROLLBACK;

SET client_min_messages = error;
SELECT segment.detach('bad.orders');
SELECT segment.detach('bad.customers');
DROP SCHEMA bad CASCADE;
DROP FOREIGN DATA WRAPPER bad_wrapper CASCADE;
