-- A failure of ours lets the sale pass and marks the source stale, durably and visibly.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz);
INSERT INTO shop.customers SELECT generate_series(1, 3);
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
INSERT INTO shop.orders VALUES (1, 1, 10, '2026-01-01');
-- somebody breaks our table
ALTER TABLE segment.facts ADD CONSTRAINT broken CHECK (amount_ordered < 100);
INSERT INTO shop.orders VALUES (2, 2, 1000, '2026-01-01'), (3, 1, 5, '2026-01-01');
SELECT count(*) FROM shop.orders;
SELECT item, source, state, detail FROM segment.status() WHERE state = 'stale';
SELECT customer_id, figure, stored, expected FROM segment.verify() ORDER BY 1, 2;
-- the transaction goes on, and can be rolled back as a whole
BEGIN;
INSERT INTO shop.orders VALUES (4, 3, 1, '2026-01-01');
INSERT INTO shop.orders VALUES (5, 3, 2000, '2026-01-01');
INSERT INTO shop.orders VALUES (6, 3, 2, '2026-01-01');
SELECT number_of_orders FROM segment.facts WHERE customer_id = 3;
ROLLBACK;
SELECT count(*) FROM segment.stale_marks;
-- those who prefer it otherwise
SET segment.on_error = abort;
INSERT INTO shop.orders VALUES (7, 3, 3000, '2026-01-01');
RESET segment.on_error;
ALTER TABLE segment.facts DROP CONSTRAINT broken;
SELECT segment.recalculate();
SELECT * FROM segment.verify();
SELECT item, source, state FROM segment.status();
-- errors that every statement of the server shares go to the client
BEGIN;
SET LOCAL statement_timeout = '100ms';
CREATE FUNCTION shop.slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(10); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER UPDATE ON segment.facts FOR EACH ROW EXECUTE FUNCTION shop.slow();
INSERT INTO shop.orders VALUES (8, 3, 3000, '2026-01-01');
ROLLBACK;
SELECT count(*) FROM segment.stale_marks;
-- a watched table from whose rows ours cannot be found: said when attaching, and marked when it changes
CREATE TABLE shop.rates (rate numeric);
INSERT INTO shop.rates VALUES (2);
CREATE TABLE shop.returns (id int PRIMARY KEY, customer_id int, amount numeric, at timestamptz);
SET client_min_messages = notice;
SELECT segment.attach_returns('shop.returns', key => 'id', customer => 'customer_id', at => 'at',
	amount => 'amount * (SELECT max(r.rate) FROM shop.rates r)');
SET client_min_messages = warning;
INSERT INTO shop.returns VALUES (1, 1, 3, '2026-01-01');
SELECT amount_returned FROM segment.facts WHERE customer_id = 1;
UPDATE shop.rates SET rate = rate;
SELECT count(*) FROM segment.stale_marks;
UPDATE shop.rates SET rate = 3;
SELECT source, stale, stale_because FROM segment.sources WHERE stale;
SELECT segment.recalculate();
SELECT amount_returned FROM segment.facts WHERE customer_id = 1;
-- DROP and CREATE EXTENSION in one session, and a CREATE rolled back
DROP EXTENSION segment CASCADE;
INSERT INTO shop.orders VALUES (9, 3, 1, '2026-01-01');
BEGIN;
CREATE EXTENSION segment;
SELECT segment.attach_customers('shop.customers', key => 'id');
INSERT INTO shop.customers VALUES (50);
SELECT count(*) FROM segment.facts;
ROLLBACK;
CREATE EXTENSION segment;
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
INSERT INTO shop.orders VALUES (10, 3, 1, '2026-01-01');
SELECT * FROM segment.verify();
SELECT number_of_orders FROM segment.facts WHERE customer_id = 3;
DROP SCHEMA shop CASCADE;
