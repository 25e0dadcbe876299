-- Order lines and return lines: how many items a customer bought and brought back.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id int REFERENCES shop.customers ON DELETE CASCADE,
	total numeric, at timestamptz, state text NOT NULL DEFAULT 'done', pieces int);
-- no key, and no foreign key: lines may be written before their order, and some are exact duplicates
CREATE TABLE shop.lines (order_id bigint, sku text, qty numeric, price numeric, state text NOT NULL DEFAULT 'sold');
INSERT INTO shop.customers SELECT generate_series(1, 4);
INSERT INTO shop.orders VALUES (1, 1, 100, '2026-01-01', 'done', 40), (2, 2, 200, '2026-01-02', 'done', 50);
INSERT INTO shop.lines VALUES (1, 'tea', 2, 10), (1, 'tea', 2, 10), (1, 'cup', 1, 60), (2, 'tea', 20, 10), (9, 'pot', 7, 1);

-- orders say how many pieces they hold, until lines are attached that say it better
SELECT segment.attach_customers('shop.customers', key => 'id');
CREATE VIEW shop.items AS
	SELECT customer_id AS customer, number_of_orders AS orders, number_of_returns AS returns,
		   trim_scale(items_bought) AS bought, trim_scale(items_returned) AS returned, stale
	FROM segment.customers ORDER BY 1;
-- what plain SQL says; nothing here reads the schema segment
CREATE VIEW shop.truth AS
	SELECT c.id AS customer, coalesce(sum(l.qty), 0) AS bought
	FROM shop.customers c
		LEFT JOIN shop.orders o ON o.customer_id = c.id AND o.state = 'done'
		LEFT JOIN shop.lines l ON l.order_id = o.id AND l.state = 'sold' AND l.qty > '-Infinity' AND l.qty < 'Infinity'
	GROUP BY c.id;
CREATE VIEW shop.wrong AS
	SELECT customer, t.bought AS expected, i.bought FROM shop.truth t FULL JOIN shop.items i USING (customer)
	WHERE t.bought IS DISTINCT FROM i.bought;
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at',
	counted_when => $$state = 'done'$$, items => 'pieces');
TABLE shop.items;
SET client_min_messages = notice;
SELECT segment.attach_order_lines('shop.lines', order_key => 'order_id', product => 'sku', quantity => 'qty',
	amount => 'price', counted_when => $$state = 'sold'$$);
SET client_min_messages = warning;
TABLE shop.items;
TABLE shop.wrong;
SELECT source, role, arguments, watched, advice FROM segment.sources WHERE role = 'order_lines';
SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'segment' AND table_name = 'source_3' ORDER BY ordinal_position;
-- a change of the orders' own number of pieces is nothing to the items now
UPDATE shop.orders SET pieces = 1000;
TABLE shop.items;

-- a ladder on items: lines that go to an order move its customer
INSERT INTO segment.ladders (code, name, figure, programme) VALUES ('pieces', 'Pieces bought', 'items_bought', 'pieces');
INSERT INTO segment.tiers (ladder, code, name, min_value, max_value) VALUES ('pieces', 'few', 'Few', 1, 9), ('pieces', 'many', 'Many', 10, NULL);
INSERT INTO shop.lines VALUES (1, 'tray', 5, 3);
SELECT customer_id, tier, value, to_next FROM segment.customer_tiers WHERE ladder = 'pieces' ORDER BY 1;
SELECT customer_id, action, old_tier, new_tier, old_value, new_value, cause, source, source_key
	FROM segment.changes WHERE ladder = 'pieces' AND cause <> 'rule' ORDER BY customer_id, version;

-- written before its order, a line counts from the moment the order does
INSERT INTO shop.lines VALUES (3, 'tea', 4, 10);
TABLE shop.items;
INSERT INTO shop.orders VALUES (3, 3, 40, '2026-01-03', 'cart');
TABLE shop.items;
UPDATE shop.orders SET state = 'done' WHERE id = 3;
TABLE shop.items;
-- in one transaction, in either order of the two
BEGIN;
INSERT INTO shop.lines VALUES (4, 'tea', 1, 10);
INSERT INTO shop.orders VALUES (4, 3, 10, '2026-01-04'), (5, 3, 10, '2026-01-04');
INSERT INTO shop.lines VALUES (5, 'tea', 2, 10);
COMMIT;
TABLE shop.items;
-- and in one statement
WITH o AS (INSERT INTO shop.orders VALUES (6, 4, 10, '2026-01-05') RETURNING id)
	INSERT INTO shop.lines SELECT id, 'tea', 8, 10 FROM o;
TABLE shop.items;
TABLE shop.wrong;

-- an order that is cancelled takes its lines along; so does one that comes back
UPDATE shop.orders SET state = 'cancelled' WHERE id = 1;
SELECT customer, bought FROM shop.items WHERE customer = 1;
UPDATE shop.lines SET qty = qty + 1 WHERE order_id = 1 AND sku = 'cup';
SELECT customer, bought FROM shop.items WHERE customer = 1;
UPDATE shop.orders SET state = 'done' WHERE id = 1;
SELECT customer, bought FROM shop.items WHERE customer = 1;
-- moved to another customer, and given another key
UPDATE shop.orders SET customer_id = 2 WHERE id = 1;
SELECT customer, bought FROM shop.items WHERE customer IN (1, 2);
UPDATE shop.orders SET id = 9 WHERE id = 1;
SELECT customer, bought FROM shop.items WHERE customer IN (1, 2);
UPDATE shop.lines SET order_id = 9 WHERE order_id = 1;
SELECT customer, bought FROM shop.items WHERE customer IN (1, 2);
TABLE shop.wrong;
-- lines moved from one order to another, and one of two that are alike
UPDATE shop.lines SET order_id = 3 WHERE order_id = 9 AND sku = 'tea';
DELETE FROM shop.lines WHERE ctid = (SELECT min(ctid) FROM shop.lines WHERE order_id = 3 AND sku = 'tea' AND qty = 2);
INSERT INTO shop.lines SELECT * FROM shop.lines WHERE order_id = 6;
TABLE shop.items;
TABLE shop.wrong;
-- lines that stop to count, sold to nobody, below zero, by the half
UPDATE shop.lines SET state = 'given back' WHERE order_id = 6 AND ctid = (SELECT min(ctid) FROM shop.lines WHERE order_id = 6);
INSERT INTO shop.lines VALUES (NULL, 'tea', 99, 10), (4, 'tea', -0.5, 10), (4, 'tea', 0, 10);
TABLE shop.items;
TABLE shop.wrong;
-- what is rolled back leaves no trace
BEGIN;
SAVEPOINT s;
DELETE FROM shop.lines;
SELECT sum(bought) FROM shop.items;
ROLLBACK TO s;
SELECT sum(bought) FROM shop.items;
TRUNCATE shop.lines;
SELECT sum(bought) FROM shop.items;
ROLLBACK;
TABLE shop.wrong;
SELECT * FROM segment.verify();

-- quantities that are no numbers are left out, and listed by what they name
UPDATE shop.lines SET qty = NULL WHERE sku = 'tray';
INSERT INTO shop.lines VALUES (4, 'x', 'NaN', 1), (4, 'x', 'Infinity', 1), (4, 'x', '-Infinity', 1), (4, 'x', 1e30, 1), (4, 'y', 3, 'NaN');
SELECT source, row_key, reason, n FROM segment.left_out ORDER BY 1, 2, 3;
SELECT item, source, state, rows, detail FROM segment.status() WHERE item = 'left out';
SELECT customer, bought FROM shop.items WHERE customer IN (2, 3);
SELECT * FROM segment.verify();
UPDATE shop.lines SET qty = 6 WHERE sku = 'tray';
DELETE FROM shop.lines WHERE sku = 'x';
SELECT source, row_key, reason, n FROM segment.left_out ORDER BY 1, 2, 3;
TABLE shop.wrong;

-- a customer deleted with all orders; the lines stay behind and count for nobody
DELETE FROM shop.customers WHERE id = 2;
TABLE shop.items;
SELECT count(*) AS lines_left FROM shop.lines WHERE order_id = 9;
TABLE shop.wrong;
-- lines that go with their order: the server deletes them after it
DELETE FROM shop.lines WHERE order_id IS NOT NULL AND order_id NOT IN (SELECT id FROM shop.orders);
ALTER TABLE shop.lines ADD FOREIGN KEY (order_id) REFERENCES shop.orders ON DELETE CASCADE ON UPDATE CASCADE;
DELETE FROM shop.orders WHERE id = 3;
UPDATE shop.orders SET id = 40 WHERE id = 4;
TABLE shop.items;
DELETE FROM shop.customers WHERE id = 3;
TABLE shop.items;
TABLE shop.wrong;
SELECT * FROM segment.verify();
SELECT segment.recalculate();
TRUNCATE shop.orders CASCADE;
TABLE shop.items;
SELECT * FROM segment.verify();

-- what is attached may not go while a ladder stands on it, or while others name its rows
\set VERBOSITY terse
SELECT segment.detach('shop.lines');
SELECT segment.detach('shop.orders');
\set VERBOSITY default
INSERT INTO shop.orders VALUES (1, 1, 100, '2026-01-01', 'done', 40);
INSERT INTO shop.lines VALUES (1, 'tea', 2, 10);
TABLE shop.items;
-- without lines the orders' own number of pieces counts again
UPDATE segment.ladders SET active = false WHERE code = 'pieces';
SELECT segment.detach('shop.lines');
TABLE shop.items;
INSERT INTO shop.lines VALUES (1, 'tea', 20, 10);
TABLE shop.items;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'shop.lines'::regclass AND NOT tgisinternal;
SELECT to_regclass('segment.counted_3'), to_regclass('segment.source_3');
SELECT * FROM segment.verify();

-- Lines with a key, that reach their order by an expression; a quantity that is not mapped is one a line.
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION segment;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id text PRIMARY KEY);
CREATE TABLE shop.orders (number varchar(20) PRIMARY KEY, customer_id text, total numeric, at timestamptz);
CREATE TABLE shop.parcels (id int PRIMARY KEY, number text);
CREATE TABLE shop.lines (id int PRIMARY KEY, parcel int, qty int);
INSERT INTO shop.customers VALUES ('an'), ('lan');
INSERT INTO shop.orders VALUES ('A1', 'an', 10, '2026-01-01'), ('B1', 'lan', 10, '2026-01-01');
INSERT INTO shop.parcels VALUES (1, 'a1'), (2, 'b1');
INSERT INTO shop.lines VALUES (1, 1, 3), (2, 1, 4), (3, 2, 5), (4, 7, 6);
SELECT segment.attach_customers('shop.customers', key => 'id');
CREATE VIEW shop.items AS
	SELECT customer_id AS customer, trim_scale(items_bought) AS bought, trim_scale(items_returned) AS returned, stale FROM segment.customers ORDER BY 1;
SELECT segment.attach_orders('shop.orders', key => 'number', customer => 'customer_id', amount => 'total', at => 'at');
SELECT segment.attach_order_lines('shop.lines', key => 'id',
	order_key => '(SELECT upper(p.number) FROM shop.parcels p WHERE p.id = parcel)');
TABLE shop.items;
SELECT watched FROM segment.sources WHERE role = 'order_lines';
INSERT INTO shop.parcels VALUES (7, 'b1');
UPDATE shop.parcels SET number = 'B1' WHERE id = 1;
TABLE shop.items;
DELETE FROM shop.parcels WHERE id = 2;
UPDATE shop.orders SET customer_id = 'an' WHERE number = 'B1';
TABLE shop.items;
UPDATE shop.lines SET id = id + 100, parcel = 1;
TABLE shop.items;
SELECT * FROM segment.verify();
SELECT segment.detach('shop.lines');
-- the same lines with their quantity
SELECT segment.attach_order_lines('shop.lines', key => 'id', quantity => 'qty',
	order_key => '(SELECT upper(p.number) FROM shop.parcels p WHERE p.id = parcel)');
TABLE shop.items;
UPDATE shop.lines SET qty = NULL WHERE id = 104;
SELECT row_key, reason, n FROM segment.left_out;
DELETE FROM shop.lines WHERE id = 104;
SELECT row_key, reason, n FROM segment.left_out;
SELECT * FROM segment.verify();

-- Two tables of orders: the till's say how many pieces, the web shop's have lines.
CREATE TABLE shop.till (id int PRIMARY KEY, customer_id text, total numeric, at timestamptz, pieces int);
INSERT INTO shop.till VALUES (1, 'an', 1, '2026-01-01', 30), (2, 'lan', 1, '2026-01-01', NULL), (3, 'lan', 1, '2026-01-01', 7);
SELECT segment.attach_orders('shop.till', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', items => 'pieces');
TABLE shop.items;
INSERT INTO shop.till VALUES (4, 'lan', 1, '2026-01-01', 100);
INSERT INTO shop.lines VALUES (200, 1, 1000);
TABLE shop.items;
SELECT * FROM segment.verify();

-- Return lines over returns over orders: a line counts while its return does, that while its order does.
CREATE TABLE shop.returns (id int PRIMARY KEY, number text, refund numeric, at timestamptz, settled boolean DEFAULT true, pieces int);
CREATE TABLE shop.return_lines (return_id int, sku text, qty int);
INSERT INTO shop.returns VALUES (1, 'A1', 5, '2026-02-01', true, 9), (2, 'B1', 5, '2026-02-01', true, 9), (3, 'Z9', 5, '2026-02-01', true, 9);
SELECT segment.attach_returns('shop.returns', key => 'id', amount => 'refund', at => 'at', counted_when => 'settled',
	order_key => 'number', orders => 'shop.orders', items => 'pieces');
TABLE shop.items;
INSERT INTO shop.return_lines VALUES (1, 'tea', 1), (1, 'tea', 1), (2, 'tea', 3), (3, 'tea', 50), (4, 'cup', 2);
SELECT segment.attach_return_lines('shop.return_lines', return_key => 'return_id', product => 'sku', quantity => 'qty');
TABLE shop.items;
-- a line before its return, a return before its order
INSERT INTO shop.returns VALUES (4, 'C1', 5, '2026-02-01');
TABLE shop.items;
INSERT INTO shop.orders VALUES ('C1', 'lan', 10, '2026-01-03'), ('Z9', 'lan', 10, '2026-01-03');
TABLE shop.items;
UPDATE shop.returns SET settled = false WHERE id = 3;
TABLE shop.items;
UPDATE shop.orders SET customer_id = 'an' WHERE number = 'C1';
TABLE shop.items;
DELETE FROM shop.orders WHERE number = 'A1';
TABLE shop.items;
UPDATE shop.returns SET number = 'C1' WHERE id = 3;
UPDATE shop.returns SET settled = true WHERE id = 3;
TABLE shop.items;
SELECT * FROM segment.verify();
SELECT segment.recalculate();
-- the same with a key of their own, and a return that they name in words
SELECT segment.detach('shop.return_lines');
ALTER TABLE shop.return_lines ADD id serial PRIMARY KEY, ADD return_name text;
UPDATE shop.return_lines SET return_name = 'R-' || return_id;
SELECT segment.attach_return_lines('shop.return_lines', key => 'id', quantity => 'qty',
	return_key => $$substr(return_name, 3)::int$$, counted_when => $$sku <> 'cup'$$);
TABLE shop.items;
UPDATE shop.return_lines SET return_name = 'R-two' WHERE return_id = 2;
SELECT row_key, reason, n FROM segment.left_out;
TABLE shop.items;
UPDATE shop.return_lines SET return_name = 'R-2';
TABLE shop.items;
SELECT * FROM segment.verify();
DELETE FROM shop.returns;
SELECT sum(returned) FROM shop.items;
SELECT * FROM segment.verify();
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;

-- Mistakes are refused when they are made.
CREATE EXTENSION segment;
CREATE SCHEMA bad;
CREATE FUNCTION bad.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(E'\n', state || ': ' || message, nullif(detail, ''), 'HINT: ' || nullif(hint, ''));
END $$;
CREATE FUNCTION bad.try_lines(arguments text) RETURNS text LANGUAGE sql
	AS $$ SELECT bad.try('SELECT segment.attach_order_lines(''bad.lines'', ' || arguments || ')') $$;
CREATE FUNCTION bad.try_return_lines(arguments text) RETURNS text LANGUAGE sql
	AS $$ SELECT bad.try('SELECT segment.attach_return_lines(''bad.lines'', ' || arguments || ')') $$;
CREATE TABLE bad.customers (id int PRIMARY KEY);
CREATE TABLE bad.orders (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz);
CREATE TABLE bad.others (id int, customer_id int, total numeric, at timestamptz);
CREATE TABLE bad.returns (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz);
CREATE TABLE bad.lines (id int PRIMARY KEY, nullable int UNIQUE, order_id int, code char(8), sku text, qty int, weight float8, at timestamptz);
\pset format unaligned
\pset tuples_only on
SELECT bad.try_lines('order_key => ''order_id''');
SELECT segment.attach_customers('bad.customers', key => 'id');
-- nothing that lines could name
SELECT bad.try_lines('order_key => ''order_id''');
SELECT bad.try_return_lines('return_key => ''order_id''');
SELECT segment.attach_orders('bad.others', customer => 'customer_id', amount => 'total', at => 'at');
SELECT bad.try_lines('order_key => ''order_id''');
SELECT segment.detach('bad.others');
SELECT segment.attach_orders('bad.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
SELECT bad.try_lines('order_key => NULL');
SELECT bad.try_lines('order_key => ''order_id'', orders => ''bad.others''');
SELECT bad.try_lines('order_key => ''order_id'', orders => ''bad.returns''');
SELECT bad.try_return_lines('return_key => ''order_id''');
-- without a key, lines are found by a plain column that names their order
SELECT bad.try_lines('order_key => ''order_id + 1''');
SELECT bad.try_lines('order_key => ''code''');
SELECT bad.try_lines('key => ''id'', order_key => ''sku''');
SELECT bad.try_lines('order_key => ''at''');
SELECT bad.try_lines('key => ''sku'', order_key => ''order_id''');
SELECT bad.try_lines('key => ''nullable'', order_key => ''order_id''');
-- types
SELECT bad.try_lines('order_key => ''order_id'', quantity => ''weight''');
SELECT bad.try_lines('order_key => ''order_id'', quantity => ''sku''');
SELECT bad.try_lines('order_key => ''order_id'', amount => ''weight''');
SELECT bad.try_lines('order_key => ''order_id'', product => ''at''');
SELECT bad.try_lines('order_key => ''order_id'', category => ''weight''');
SELECT bad.try_lines('order_key => ''order_id'', counted_when => ''qty''');
SELECT bad.try_lines('order_key => ''order_id'', product => ''skuu''');
SELECT bad.try_lines('order_key => ''order_id'', product => ''random()::text''');
SELECT bad.try_lines('order_key => ''order_id'', sku => ''sku''');
-- which of two tables of orders
DELETE FROM bad.others;
ALTER TABLE bad.others ADD PRIMARY KEY (id);
SELECT segment.attach_orders('bad.others', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
SELECT bad.try_lines('order_key => ''order_id''');
SELECT bad.try_lines('order_key => ''order_id'', orders => ''bad.others''');
SELECT bad.try_lines('order_key => ''order_id'', orders => ''bad.orders''');
SELECT bad.try('SELECT segment.detach(''bad.others'')');
SELECT bad.try('SELECT segment.detach(''bad.customers'')');
SELECT bad.try('SELECT segment.detach(''bad.lines'', role => ''order lines'')');
SELECT segment.detach('bad.lines', role => 'order_lines');
\pset tuples_only off
\pset format aligned
DROP EXTENSION segment CASCADE;
DROP SCHEMA bad CASCADE;
CREATE EXTENSION segment;
-- keys that are equal and written differently; those of which only others know when they are equal are refused
SET client_min_messages = warning;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY);
CREATE TABLE shop.orders (id numeric PRIMARY KEY, customer_id int, total numeric, at timestamptz);
CREATE TABLE shop.lines (id int PRIMARY KEY, order_id numeric, qty int);
CREATE TABLE shop.old_orders (code char(10) PRIMARY KEY, customer_id int, total numeric, at timestamptz);
INSERT INTO shop.customers VALUES (1);
INSERT INTO shop.orders VALUES (1.0, 1, 10, '2026-01-01');
INSERT INTO shop.lines VALUES (1, 1, 1);
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
SELECT segment.attach_order_lines('shop.lines', key => 'id', order_key => 'order_id', quantity => 'qty');
INSERT INTO shop.lines VALUES (2, 1.00, 2);
INSERT INTO shop.orders VALUES (2, 1, 10, '2026-01-01');
INSERT INTO shop.lines VALUES (3, 2.000, 4);
SELECT items_bought FROM segment.customers;
SELECT * FROM segment.verify();
DELETE FROM shop.orders WHERE id = 1;
SELECT items_bought FROM segment.customers;
SELECT * FROM segment.verify();
SELECT segment.attach_orders('shop.old_orders', key => 'code', customer => 'customer_id', amount => 'total', at => 'at');
SELECT segment.attach_returns('shop.lines', key => 'id', order_key => 'qty::text', amount => '1', at => '''2026-01-01''::timestamptz', orders => 'shop.old_orders');
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
CREATE EXTENSION segment;
