-- What is told of time: ticks that are late, a clock that was set back, who was
-- in a group as a past day ended.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
SET timezone = 'Asia/Ho_Chi_Minh';
SET segment.at = '2026-03-01 10:00+07';

CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, name text);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz);
INSERT INTO shop.customers VALUES (1, 'An'), (2, 'Lan'), (3, 'Dũng');
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'name');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
INSERT INTO segment.groups (code, name, condition) VALUES
	('recent', 'Bought within three days', 'last_order_date >= -3d'),
	('buyers', 'Have bought', 'number_of_orders >= 1');
INSERT INTO shop.orders VALUES (1, 1, 300000, '2026-03-01 09:00+07'), (2, 2, 100000, '2026-02-27 09:00+07');

-- a group's share of what all customers have spent
BEGIN;
SELECT group_code, customers, share_of_sales FROM segment.group_stats;
INSERT INTO segment.groups (code, name, condition) VALUES
	('big', 'Big', 'amount_spent >= 200000'), ('nobody', 'Nobody', 'amount_spent > 1000000');
SELECT group_code, customers, number_of_orders, amount_spent, average_order_value, share_of_sales FROM segment.group_stats;
DELETE FROM shop.orders;
SELECT group_code, share_of_sales FROM segment.group_stats WHERE group_code = 'buyers';
ROLLBACK;

-- a tick that is late is told, an hour after it was due
SELECT item, state, rows, detail FROM segment.status() WHERE item IN ('clock', 'tick');
SET segment.at = '2026-03-03 00:59+07';
SELECT item, state, rows, detail FROM segment.status() WHERE item IN ('clock', 'tick');
SET segment.at = '2026-03-06 10:00+07';
SELECT item, state, rows, detail FROM segment.status() WHERE item IN ('clock', 'tick');
SELECT group_code, customer_id, since FROM segment.members ORDER BY 1, 2;

-- members of past days, before the tick and after it
SELECT day, array(SELECT customer_id FROM segment.members_at('recent', day) ORDER BY 1) AS recent,
	array(SELECT customer_id FROM segment.members_at('buyers', day) ORDER BY 1) AS buyers
FROM unnest('{2026-02-28,2026-03-01,2026-03-02,2026-03-03,2026-03-04,2026-03-05}'::date[]) AS day;
SELECT segment.tick();
SELECT segment.tick();
SELECT item, state, rows FROM segment.status() WHERE item IN ('clock', 'tick');
SELECT at, customer_id, code, action, cause FROM segment.changes ORDER BY customer_id, version, code;
SELECT day, array(SELECT customer_id FROM segment.members_at('recent', day) ORDER BY 1) AS recent,
	array(SELECT customer_id FROM segment.members_at('buyers', day) ORDER BY 1) AS buyers
FROM unnest('{2026-02-28,2026-03-01,2026-03-02,2026-03-03,2026-03-04,2026-03-05}'::date[]) AS day;
SELECT * FROM segment.members_at('recent', NULL);
SELECT * FROM segment.members_at(NULL, '2026-03-01');
SELECT segment.members_at('recent', '2026-03-06');
SELECT segment.members_at('recent', '-infinity');
SELECT segment.members_at('recents', '2026-03-01');

-- a clock that is set back makes no history backwards: whatever tells of groups
-- stays at the instant of the last tick, and status() says so
SET segment.at = '2026-03-02 10:00+07';
SELECT item, state, rows, detail FROM segment.status() WHERE item IN ('clock', 'tick');
SELECT group_code, customer_id FROM segment.members ORDER BY 1, 2;
SELECT clause, holds FROM segment.explain('recent', 1);
SELECT * FROM segment.what_if_group('recent', 'last_order_date >= -3d');
SELECT segment.forecast('recent', '2026-03-05');
INSERT INTO shop.orders VALUES (3, 3, 50000, '2026-03-02 09:00+07');
SELECT at, code, action, cause FROM segment.changes WHERE customer_id = 3 ORDER BY code;
SELECT segment.tick();
SET segment.at = '2026-03-06 11:00+07';
SELECT item, state, rows FROM segment.status() WHERE item IN ('clock', 'tick');

-- whoever may read the past needs what it is made of
CREATE ROLE clock_reader;
GRANT USAGE ON SCHEMA segment TO clock_reader;
GRANT SELECT ON segment.members, segment.standings, segment.changes TO clock_reader;
GRANT EXECUTE ON FUNCTION segment.members_at(text, date) TO clock_reader;
SET ROLE clock_reader;
SELECT * FROM segment.members_at('buyers', '2026-03-03') ORDER BY 1;
RESET ROLE;

-- what is left of the past does not depend on how a session writes dates
SET datestyle = 'SQL, DMY';
SELECT segment.purge_changes(interval '3 days');
SET datestyle = 'ISO, MDY';
SELECT segment.members_at('buyers', '2026-03-02');
SELECT * FROM segment.members_at('buyers', '2026-03-03') ORDER BY 1;
SELECT segment.purge_changes(interval '4 days');
SELECT segment.members_at('buyers', '2026-03-02');
SELECT group_code, customer_id, since FROM segment.members WHERE customer_id = 1;
SELECT segment.purge_changes(interval '-1 day');

-- a clock that was far ahead by mistake: everyone is brought back by hand
INSERT INTO shop.orders VALUES (4, 2, 70000, '2026-03-06 10:00+07');
SET segment.at = '2036-03-06 11:00+07';
SELECT segment.tick();
SET segment.at = '2026-03-06 12:00+07';
SELECT group_code, customer_id FROM segment.members WHERE group_code = 'recent';
SELECT hint FROM segment.status() WHERE item = 'clock';
UPDATE segment.ruleset SET ticked = NULL;
SELECT segment.recalculate();
SELECT group_code, customer_id FROM segment.members WHERE group_code = 'recent' ORDER BY 2;
SELECT * FROM segment.verify();
SELECT count(*) FROM segment.status() WHERE item = 'clock';
SET segment.at = '2026-03-10 00:00+07';
SELECT segment.tick();
SELECT at, code, action, cause FROM segment.changes WHERE customer_id = 2 AND code = 'recent' ORDER BY version;

RESET segment.at;
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
DROP OWNED BY clock_reader;
DROP ROLE clock_reader;
CREATE EXTENSION segment;
