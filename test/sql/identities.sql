-- Two identities: the merchant's expressions run as the owner of the merchant's table, writes as the owner of ours.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE ROLE regress_segment_owner;
CREATE ROLE regress_segment_clerk;
CREATE ROLE regress_segment_other;
CREATE SCHEMA shop AUTHORIZATION regress_segment_owner;
SET ROLE regress_segment_owner;
CREATE TABLE shop.customers (id int PRIMARY KEY);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz);
CREATE TABLE shop.rates (id int PRIMARY KEY, rate numeric);
CREATE TABLE shop.returns (id int PRIMARY KEY, order_id int, amount numeric, at timestamptz);
-- tells as whom it runs by what it may read
CREATE FUNCTION shop.who() RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	IF current_user <> 'regress_segment_owner' THEN
		RAISE EXCEPTION 'runs as %', current_user;
	END IF;
	RETURN 1;
END $$;
GRANT USAGE ON SCHEMA shop TO regress_segment_clerk;
GRANT INSERT, UPDATE, DELETE, SELECT ON ALL TABLES IN SCHEMA shop TO regress_segment_clerk;
RESET ROLE;
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total * shop.who()', at => 'at');
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'amount * shop.who()', at => 'at');
INSERT INTO segment.tiers (code, name, min_value) VALUES ('all', 'All', 0);
-- a clerk with only INSERT sells, and can read or write nothing of ours
SET ROLE regress_segment_clerk;
INSERT INTO shop.customers VALUES (1), (2);
INSERT INTO shop.orders VALUES (1, 1, 10, '2026-01-01'), (2, 2, 20, '2026-01-01');
INSERT INTO shop.orders VALUES (6, 1, 10, '2026-01-01'), (7, 2, 20, '2026-01-01');
INSERT INTO shop.returns VALUES (1, 6, 5, '2026-01-02');
UPDATE shop.orders SET customer_id = 2, at = '2026-01-05' WHERE id = 6;
UPDATE shop.orders SET id = 8 WHERE id = 7;
DELETE FROM shop.returns;
DELETE FROM shop.orders WHERE id > 5;
\set VERBOSITY terse
SELECT * FROM segment.customer_tiers;
SELECT segment.recalculate();
RESET ROLE;
SELECT customer_id, amount_ordered FROM segment.facts ORDER BY 1;
SELECT count(*) FROM segment.left_out;
SELECT * FROM segment.verify();
SELECT segment.recalculate();
SELECT changed_by, count(*) FROM segment.changes GROUP BY 1 ORDER BY 1;
-- row-level security does not make the figures partial, even where it is forced on the owner
ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.orders FORCE ROW LEVEL SECURITY;
CREATE POLICY mine ON shop.orders USING (false) WITH CHECK (true);
SELECT segment.recalculate();
DELETE FROM shop.orders WHERE id = 2;
SELECT * FROM segment.verify();
-- a function of the merchant's that changes settings changes them for itself only
CREATE OR REPLACE FUNCTION shop.who() RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM set_config('search_path', 'shop', false), set_config('datestyle', 'German', false); RETURN 1; END $$;
SELECT segment.recalculate();	-- another body may say something else
SHOW datestyle;
SELECT * FROM segment.verify();
INSERT INTO shop.orders VALUES (9, 1, 1, '2026-01-01');
SHOW datestyle;
SHOW search_path;
-- a literal whose type reads it with code of its maker is refused
CREATE DOMAIN shop.odd AS int CHECK (shop.who() = VALUE);
\set VERBOSITY default
SELECT segment.attach_orders('shop.returns', customer => 'id', amount => 'amount', at => 'at', counted_when => $$ '{1}'::shop.odd[] IS NOT NULL $$);
SELECT segment.attach_orders('shop.returns', customer => 'id', amount => 'amount', at => 'at', counted_when => 'tableoid > 0');
\set VERBOSITY terse
-- others' tables cannot be attached, even by a role that may call attach
GRANT USAGE ON SCHEMA segment, shop TO regress_segment_other;
GRANT EXECUTE ON FUNCTION segment.attach_orders, segment.attach_returns, segment.detach TO regress_segment_other;
SET ROLE regress_segment_other;
SELECT segment.attach_returns('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
SELECT segment.detach('shop.orders');
-- our trigger function on a table of somebody's own
CREATE TEMP TABLE mine (id int);
CREATE TRIGGER mine AFTER INSERT ON mine REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();
DROP TABLE mine;
RESET ROLE;
CREATE TABLE public.not_attached (id int);
CREATE TRIGGER mine AFTER INSERT ON public.not_attached REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION segment._source_changed();
INSERT INTO public.not_attached VALUES (1);
DROP TABLE public.not_attached;
SELECT segment._source_changed();
-- planted objects and operators in front of the path change nothing
CREATE SCHEMA evil;
CREATE FUNCTION evil.no(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE FUNCTION evil.plus(bigint, bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
CREATE FUNCTION evil.nplus(numeric, numeric) RETURNS numeric LANGUAGE sql AS 'SELECT 666::numeric';
CREATE FUNCTION evil.unnest(int[]) RETURNS SETOF int LANGUAGE sql AS 'SELECT 666';
CREATE FUNCTION evil.min(timestamptz) RETURNS timestamptz LANGUAGE sql AS 'SELECT null::timestamptz';
CREATE OPERATOR evil.= (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.no);
CREATE OPERATOR evil.+ (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.plus);
CREATE OPERATOR evil.+ (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = evil.nplus);
CREATE TABLE evil.facts (x int);
CREATE TEMP TABLE facts (x int);
CREATE TEMP TABLE standings (x int);
-- each of these would make the clerk a superuser, were it called as the owner of ours
CREATE FUNCTION evil.rise() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF current_user <> 'regress_segment_clerk' THEN
		RAISE EXCEPTION 'evil was called as %', current_user;
	END IF;
	RETURN true;
END $$;
CREATE FUNCTION evil.eq(timestamptz, timestamptz) RETURNS boolean LANGUAGE sql AS 'SELECT evil.rise()';
CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.rise()';
CREATE FUNCTION evil.eq(boolean, boolean) RETURNS boolean LANGUAGE sql AS 'SELECT evil.rise()';
CREATE FUNCTION evil.eq(numeric, numeric) RETURNS boolean LANGUAGE sql AS 'SELECT evil.rise()';
CREATE FUNCTION evil.eq(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT evil.rise()';
CREATE OPERATOR evil.= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = boolean, RIGHTARG = boolean, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = evil.eq);
CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.eq);
GRANT USAGE ON SCHEMA evil TO regress_segment_clerk;
ALTER TABLE shop.orders DISABLE ROW LEVEL SECURITY;
SET ROLE regress_segment_clerk;
SET search_path = evil, pg_temp, pg_catalog;
INSERT INTO shop.customers VALUES (50);
INSERT INTO shop.orders VALUES (50, 50, 10, '2026-01-01'), (51, 50, 'NaN', '2026-01-02');
INSERT INTO shop.returns VALUES (50, 50, 5, '2026-01-02');
UPDATE shop.orders SET at = '2026-01-03';
DELETE FROM shop.returns;
DELETE FROM shop.orders WHERE customer_id OPERATOR(pg_catalog.=) 50;
RESET ROLE;
SELECT count(*) FROM segment.stale_marks;
SET search_path = evil, pg_temp, pg_catalog;
INSERT INTO shop.customers VALUES (3);
INSERT INTO shop.orders VALUES (3, 3, 30, '2026-01-03'), (4, 1, 5, '2026-01-05');
UPDATE shop.orders SET customer_id = 3 WHERE id = 4;
DELETE FROM shop.orders WHERE id = 3;
SELECT segment.recalculate();
SELECT * FROM segment.verify();
SELECT customer_id, number_of_orders, amount_ordered FROM segment.facts ORDER BY customer_id;
INSERT INTO shop.orders VALUES (5, 3, 30, '2026-01-03');
RESET search_path;
SELECT * FROM segment.verify();
DROP SCHEMA evil CASCADE;
DROP TABLE facts, standings;
DROP SCHEMA shop CASCADE;
DROP EXTENSION segment CASCADE;
DROP ROLE regress_segment_owner, regress_segment_clerk, regress_segment_other;
CREATE EXTENSION segment;
