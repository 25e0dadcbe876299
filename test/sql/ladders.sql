-- Ladders and tiers: plain DML, ranges checked at the latest at commit, everyone re-ranked once.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
RESET client_min_messages;
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz);
INSERT INTO shop.customers SELECT generate_series(1, 6);
INSERT INTO shop.orders VALUES
	(1, 1, 0, '2026-01-01'), (2, 2, 2999999.99, '2026-01-01'), (3, 3, 3000000, '2026-01-01'),
	(4, 4, 9999999.50, '2026-01-01'), (5, 5, 10000000, '2026-01-01'), (6, 6, -50000, '2026-01-01');
SET client_min_messages = warning;
SELECT segment.attach_customers('shop.customers', key => 'id');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
SELECT code, name, figure, unit, programme, is_default, active FROM segment.ladders;
CREATE VIEW held AS SELECT customer_id, tier, value FROM segment.customer_tiers WHERE ladder = 'total' ORDER BY customer_id;

-- without tiers nobody holds one
SELECT * FROM held;
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES
	('member', 'Member', 0, 2999999), ('silver', 'Silver', 3000000, 9999999), ('gold', 'Gold', 10000000, NULL);

-- the minimum decides; a negative total stays in the lowest tier where that starts at 0
SELECT * FROM held;
TABLE segment.tier_sizes;

-- a lowest minimum above 0 leaves those below without a tier
UPDATE segment.tiers SET min_value = 1 WHERE code = 'member';
SELECT * FROM held;
UPDATE segment.tiers SET min_value = 0 WHERE code = 'member';

-- an inactive tier takes nobody: its range falls to the active tier below; no other edit is needed
SELECT count(*) AS changes FROM segment.changes \gset before_
UPDATE segment.tiers SET active = false WHERE code = 'silver';
SELECT * FROM held;
UPDATE segment.tiers SET active = true WHERE code = 'silver';
SELECT * FROM held;
SELECT customer_id, action, old_tier, new_tier, old_value, new_value, cause FROM segment.changes
	ORDER BY at, customer_id, version OFFSET :before_changes;
UPDATE segment.tiers SET active = false WHERE code = 'member';
SELECT * FROM held;
UPDATE segment.tiers SET active = true WHERE code = 'member';

-- overlap, gap, second maximum-less tier, maximum on the highest: refused at commit
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('diamond', 'Diamond', 20000000, NULL);
UPDATE segment.tiers SET max_value = 20000000 WHERE code = 'gold';
UPDATE segment.tiers SET max_value = 9999998 WHERE code = 'silver';
UPDATE segment.tiers SET max_value = 10000000 WHERE code = 'silver';
DELETE FROM segment.tiers WHERE code = 'silver';

-- the rows as they were: nobody has moved
SELECT * FROM held;

-- statements that pass through invalid states move everyone once, when it is valid again
BEGIN;
SELECT max(version) AS version FROM segment.facts WHERE customer_id = 4 \gset before_
UPDATE segment.tiers SET max_value = 4999999 WHERE code = 'silver';
SELECT * FROM held WHERE customer_id = 4;
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('ruby', 'Ruby', 5000000, 9999999);
SELECT * FROM held WHERE customer_id = 4;
SELECT version - :before_version AS versions FROM segment.facts WHERE customer_id = 4;
COMMIT;

-- SET CONSTRAINTS asks before the commit
BEGIN;
UPDATE segment.tiers SET max_value = 3000001 WHERE code = 'silver';
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK;

-- an order that comes while the ranges are not valid is judged when they are
BEGIN;
UPDATE segment.tiers SET max_value = 5999999 WHERE code = 'silver';
INSERT INTO shop.orders VALUES (7, 1, 6000000, '2026-01-02');
SELECT * FROM held WHERE customer_id = 1;
UPDATE segment.tiers SET min_value = 6000000 WHERE code = 'ruby';
SELECT * FROM held WHERE customer_id = 1;
COMMIT;

-- a tier deleted: those who held it fall to the one below, and the log names what they held
BEGIN;
DELETE FROM segment.tiers WHERE code = 'ruby';
UPDATE segment.tiers SET max_value = 9999999 WHERE code = 'silver';
COMMIT;
SELECT action, old_tier, new_tier, cause FROM segment.changes WHERE customer_id = 4 ORDER BY version DESC LIMIT 1;
SELECT count(*) FROM segment.former_tiers;

-- a new code or name is only a new label
UPDATE segment.tiers SET code = 'bac', name = 'Bạc' WHERE code = 'silver';
SELECT customer_id, tier, tier_name FROM segment.customer_tiers WHERE customer_id = 3;
SELECT action, new_tier FROM segment.changes WHERE customer_id = 3 ORDER BY version DESC LIMIT 1;

-- more ladders: any figure kept, each with a unit of its own; one programme gives the highest tier
INSERT INTO segment.ladders (code, name, figure) VALUES ('visits', 'Visits', 'number_of_orders');
INSERT INTO segment.tiers (ladder, code, name, min_value, max_value, rank) VALUES
	('visits', 'once', 'Once', 1, 1, 1), ('visits', 'often', 'Often', 2, NULL, 5);
SELECT customer_id, ladder, tier, value, to_next FROM segment.customer_tiers WHERE customer_id IN (1, 5) ORDER BY 1, 2;
SELECT customer_id, programme, ladder, tier, rank FROM segment.customer_tier WHERE customer_id IN (1, 5) ORDER BY 1;
UPDATE segment.ladders SET active = false WHERE code = 'visits';
SELECT customer_id, ladder, tier FROM segment.customer_tiers WHERE customer_id = 1;
INSERT INTO segment.ladders (code, name, unit) VALUES ('cents', 'Cents', 0.01);
INSERT INTO segment.tiers (ladder, code, name, min_value, max_value) VALUES
	('cents', 'low', 'Low', 0, 9999999.49), ('cents', 'high', 'High', 9999999.50, NULL);
SELECT customer_id, tier FROM segment.customer_tiers WHERE ladder = 'cents' AND customer_id IN (2, 4) ORDER BY 1;

-- single rows that cannot be right are refused at once
INSERT INTO segment.tiers (code, name, min_value) VALUES ('x', 'X', 'NaN');
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('x', 'X', 5, 4);
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('x', 'X', 5, 'Infinity');
INSERT INTO segment.tiers (code, name, min_value, points_floor) VALUES ('x', 'X', 5, -1);
INSERT INTO segment.tiers (code, name, min_value, rank) VALUES ('x', 'X', 5, 0);
INSERT INTO segment.tiers (ladder, code, name, min_value) VALUES ('nowhere', 'x', 'X', 5);
INSERT INTO segment.ladders (code, name, figure) VALUES ('x', 'X', 'amount_spnt');
INSERT INTO segment.ladders (code, name, unit) VALUES ('x', 'X', 0);
INSERT INTO segment.ladders (code, name, is_default) VALUES ('x', 'X', true);
UPDATE segment.tiers SET id = id + 1000 WHERE code = 'gold';
DELETE FROM segment.ladders WHERE code = 'total';
SELECT segment.configure(money_unit => 0.01);

-- a smaller unit and the bounds that go with it, in one transaction
BEGIN;
UPDATE segment.tiers SET max_value = max_value + 0.99 WHERE ladder = 'total';
SELECT segment.configure(money_unit => 0.01);
COMMIT;
SELECT code, max_value FROM segment.tiers WHERE ladder = 'total' ORDER BY min_value;
SELECT value FROM segment.configuration WHERE name = 'money_unit';

SELECT * FROM segment.verify();

-- tiers follow the code of their ladder, several at once, whoever changes it; nobody moves
CREATE TEMP TABLE moves AS SELECT count(*) AS n FROM segment.changes;
INSERT INTO segment.ladders (code, name, programme) VALUES ('b', 'B', 'b'), ('c', 'C', 'c');
INSERT INTO segment.tiers (ladder, code, name, min_value) VALUES ('b', 'of b', 'Of B', 1e20), ('c', 'of c', 'Of C', 1e20);
UPDATE segment.ladders SET code = chr(ascii(code) + 1) WHERE code = 'c';
UPDATE segment.ladders SET code = code || '!' WHERE code IN ('b', 'd');
SELECT ladder, code FROM segment.tiers WHERE code LIKE 'of %' ORDER BY 1;
\set VERBOSITY terse
TRUNCATE segment.ladders;
DELETE FROM segment.ladders WHERE code = 'b!';
UPDATE segment.ladders SET code = 'd!' WHERE code = 'b!';
\set VERBOSITY default
CREATE ROLE ladder_keeper;
GRANT USAGE ON SCHEMA segment TO ladder_keeper;
GRANT SELECT, UPDATE ON segment.ladders TO ladder_keeper;
SET ROLE ladder_keeper;
UPDATE segment.ladders SET code = 'b' WHERE code = 'b!';
RESET ROLE;
SELECT ladder, code FROM segment.tiers WHERE code LIKE 'of %' ORDER BY 1;
WITH t AS (DELETE FROM segment.tiers WHERE code LIKE 'of %')
	DELETE FROM segment.ladders WHERE code IN ('b', 'd!');
DROP OWNED BY ladder_keeper;
DROP ROLE ladder_keeper;
SELECT count(*) - (SELECT n FROM moves) AS moves FROM segment.changes;
SELECT * FROM segment.verify();

-- all tiers gone
TRUNCATE segment.tiers;
SELECT * FROM held;
SELECT customer_id, action, old_tier, new_tier, cause FROM segment.changes
	WHERE customer_id = 5 AND ladder = 'total' ORDER BY version DESC LIMIT 1;
SELECT count(*) FROM segment.standings;
SELECT * FROM segment.verify();

-- more customers than are judged at a time
INSERT INTO shop.customers SELECT generate_series(1001, 13000);
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('low', 'Low', 0, 9.99), ('high', 'High', 10, NULL);
INSERT INTO shop.orders SELECT g, g, g % 20, '2026-03-01' FROM generate_series(1001, 13000) g;
SELECT tier, customers FROM segment.tier_sizes WHERE ladder = 'total';
UPDATE segment.tiers SET active = false WHERE code = 'high';
SELECT tier, customers FROM segment.tier_sizes WHERE ladder = 'total';
SELECT action, count(*) FROM segment.changes WHERE customer_id > 1000 GROUP BY 1 ORDER BY 1;
SELECT segment.recalculate();
SELECT count(*) FROM segment.verify();
TRUNCATE segment.tiers;

-- ranges are checked at once where constraints are immediate
BEGIN;
SET CONSTRAINTS ALL IMMEDIATE;
INSERT INTO segment.tiers (code, name, min_value) VALUES ('low', 'Low', 0);
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('bad', 'Bad', 5, 9);
COMMIT;
SELECT count(*) FROM segment.tiers;

SELECT segment.detach('shop.orders');
DROP VIEW held;
SELECT segment.detach('shop.customers');

DROP SCHEMA shop CASCADE;
