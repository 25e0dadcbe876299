-- Every way that rows change, compared with plain SQL after each.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY, name text);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int REFERENCES shop.customers ON UPDATE CASCADE ON DELETE CASCADE,
	total numeric, at timestamptz, status text DEFAULT 'completed');
CREATE TABLE shop.returns (id int PRIMARY KEY, order_id int REFERENCES shop.orders ON UPDATE CASCADE ON DELETE CASCADE,
	amount numeric, at timestamptz);
CREATE INDEX ON shop.orders (customer_id, at);
CREATE INDEX ON shop.returns (order_id);
INSERT INTO shop.customers SELECT g, 'c' || g FROM generate_series(1, 5) g;
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at',
	counted_when => $$status = 'completed'$$);
SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'amount', at => 'at');
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('low', 'Low', 0, 99), ('high', 'High', 100, NULL);

-- what the figures must be, by hand, and how many customers differ
CREATE VIEW shop.expected AS
	SELECT c.id AS customer_id,
		   count(o.id) AS number_of_orders,
		   coalesce(sum(o.total), 0) AS amount_ordered,
		   min(o.at) AS first_order_at, max(o.at) AS last_order_at,
		   coalesce(sum(r.n), 0)::bigint AS number_of_returns,
		   coalesce(sum(r.amount), 0) AS amount_returned
	FROM shop.customers c
		LEFT JOIN shop.orders o ON o.customer_id = c.id AND o.status = 'completed'
		LEFT JOIN LATERAL (SELECT count(*) AS n, sum(r.amount) AS amount FROM shop.returns r WHERE r.order_id = o.id) r ON true
	GROUP BY c.id;
CREATE FUNCTION shop.differences() RETURNS bigint LANGUAGE sql AS $$
	SELECT (SELECT count(*) FROM (
			(SELECT customer_id, number_of_orders, amount_ordered, first_order_at, last_order_at, number_of_returns, amount_returned
				FROM segment.facts WHERE is_customer EXCEPT ALL TABLE shop.expected)
			UNION ALL
			(TABLE shop.expected EXCEPT ALL
				SELECT customer_id, number_of_orders, amount_ordered, first_order_at, last_order_at, number_of_returns, amount_returned
				FROM segment.facts WHERE is_customer)) d)
		+ (SELECT count(*) FROM segment.customer_tiers t
			WHERE t.tier IS DISTINCT FROM CASE WHEN t.value >= 100 THEN 'high' ELSE 'low' END)
		+ (SELECT count(*) FROM segment.verify())
		+ (SELECT count(*) FROM segment.stale_marks) $$;

INSERT INTO shop.orders VALUES (1, 1, 60, '2026-01-01'), (2, 1, 50, '2026-01-02'), (3, 2, 100, '2026-01-03'), (4, 3, 10, '2026-01-04');
SELECT shop.differences();
COPY shop.orders FROM stdin;
5	1	5.50	2026-01-05	completed
6	4	700	2026-01-06	cart
7	4	800	2025-01-06	completed
\.
SELECT shop.differences();
UPDATE shop.orders SET total = total + 1;
SELECT shop.differences();
UPDATE shop.orders SET at = at + interval '1 day', status = CASE id WHEN 6 THEN 'completed' ELSE status END WHERE customer_id IN (1, 4);
SELECT shop.differences();
-- to another customer, both ways in one statement
UPDATE shop.orders SET customer_id = CASE customer_id WHEN 1 THEN 2 ELSE 1 END WHERE customer_id IN (1, 2);
SELECT shop.differences();
DELETE FROM shop.orders WHERE id IN (4, 7);
SELECT shop.differences();
INSERT INTO shop.orders VALUES (1, 3, 9, '2026-02-01'), (8, 3, 8, '2026-02-02')
	ON CONFLICT (id) DO UPDATE SET total = excluded.total, customer_id = excluded.customer_id, at = excluded.at;
SELECT shop.differences();
INSERT INTO shop.orders VALUES (1, 3, 9, '2026-02-01') ON CONFLICT DO NOTHING;
SELECT shop.differences();
INSERT INTO shop.returns VALUES (1, 1, 3, '2026-02-03'), (2, 5, 2, '2026-02-03'), (3, 6, 1, '2026-02-03');
SELECT shop.differences();
-- orders and returns in one statement, in every combination
WITH gone AS (DELETE FROM shop.returns WHERE id = 1 RETURNING order_id),
	 less AS (UPDATE shop.orders SET total = total - 1 WHERE id = 5),
	 more AS (INSERT INTO shop.orders VALUES (9, 5, 90, '2026-02-04') RETURNING id)
INSERT INTO shop.returns SELECT 4, id, 4, timestamptz '2026-02-05' FROM more UNION ALL SELECT 5, 5, 1, '2026-02-05';
SELECT shop.differences();
WITH uncounted AS (UPDATE shop.orders SET status = 'cancelled' WHERE id = 9),
	 moved AS (UPDATE shop.returns SET order_id = 1 WHERE id = 4)
INSERT INTO shop.returns VALUES (6, 9, 6, '2026-02-05');
SELECT shop.differences();
UPDATE shop.orders SET status = 'completed' WHERE id = 9;
SELECT shop.differences();
-- keys change, and cascade
UPDATE shop.orders SET id = id + 100;
SELECT shop.differences();
UPDATE shop.customers SET id = id + 10 WHERE id IN (1, 2);
SELECT shop.differences();
DELETE FROM shop.customers WHERE id = 11;
SELECT shop.differences();
SELECT count(*) FROM segment.facts WHERE NOT is_customer;
-- savepoints, blocks that catch errors, rollback
BEGIN;
INSERT INTO shop.orders VALUES (20, 3, 1000, '2026-03-01');
SAVEPOINT a;
UPDATE shop.orders SET total = 1 WHERE customer_id = 3;
SAVEPOINT b;
DELETE FROM shop.orders;
ROLLBACK TO b;
SELECT shop.differences();
ROLLBACK TO a;
SELECT shop.differences();
DO $$ BEGIN
	UPDATE shop.orders SET total = 5 WHERE id = 20;
	RAISE EXCEPTION 'undone';
EXCEPTION WHEN raise_exception THEN NULL; END $$;
SELECT shop.differences();
COMMIT;
SELECT shop.differences();
-- a merchant's trigger that changes the order again, and one that returns part of it
CREATE FUNCTION shop.round_down() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE shop.orders SET total = floor(total), at = date_trunc('day', at) - interval '1 day'
		WHERE id = NEW.id AND (total, at) IS DISTINCT FROM (floor(total), date_trunc('day', at));
	IF TG_OP = 'INSERT' THEN
		INSERT INTO shop.returns VALUES (NEW.id + 1000, NEW.id, 1, NEW.at);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER round_down AFTER INSERT OR UPDATE OF total ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.round_down();
INSERT INTO shop.orders VALUES (30, 4, 10.75, '2026-04-01 10:00'), (31, 5, 200.25, '2026-04-02 10:00');
SELECT shop.differences();
UPDATE shop.orders SET total = total + 0.5 WHERE id IN (30, 31);
SELECT shop.differences();
DROP TRIGGER round_down ON shop.orders;
-- a merchant's trigger that deletes the order at once, for a key that is no customer
ALTER TABLE shop.orders DROP CONSTRAINT orders_customer_id_fkey;
CREATE FUNCTION shop.gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM shop.orders WHERE id = NEW.id; RETURN NULL; END $$;
CREATE TRIGGER gone AFTER INSERT ON shop.orders FOR EACH ROW WHEN (NEW.total = 7) EXECUTE FUNCTION shop.gone();
INSERT INTO shop.orders VALUES (40, 99, 500, '2026-04-01');
INSERT INTO shop.orders VALUES (41, 99, 7, '2026-04-02');
SELECT shop.differences();
SELECT number_of_orders, amount_ordered FROM segment.facts WHERE customer_id = 99;
BEGIN;
INSERT INTO shop.orders VALUES (42, 1, 7, '2026-04-02');
TRUNCATE shop.returns;
SELECT count(*) FROM segment.stale_marks;
ROLLBACK;
DROP TRIGGER gone ON shop.orders;
DELETE FROM shop.orders WHERE customer_id = 99;
-- the row trigger of partitioned tables on one that has triggers for statements: rows count once
CREATE TRIGGER mine AFTER INSERT OR UPDATE OR DELETE ON shop.orders FOR EACH ROW EXECUTE FUNCTION segment._row_changed();
INSERT INTO shop.orders VALUES (43, 1, 7, '2026-04-02');
SELECT shop.differences();
DELETE FROM shop.orders WHERE id = 43;
SELECT shop.differences();
DROP TRIGGER mine ON shop.orders;
-- truncate, and its rollback
BEGIN;
TRUNCATE shop.returns;
SELECT shop.differences();
TRUNCATE shop.orders CASCADE;
SELECT shop.differences();
SELECT count(*), sum(number_of_orders) FROM segment.facts;
ROLLBACK;
SELECT shop.differences();
TRUNCATE shop.customers CASCADE;
SELECT shop.differences();
SELECT count(*) FROM segment.facts;
SELECT count(*) FROM segment.standings;
SELECT segment.recalculate();
DROP SCHEMA shop CASCADE;
