-- A group, or a new condition of one, is put into force in steps that commit: until the last of them the group is what it
-- was, whatever happens in between, and then exactly those move whom it moves.
\set VERBOSITY default
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY, labels text[]);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz);
INSERT INTO shop.customers SELECT i, CASE WHEN i % 2 = 0 THEN '{vip}'::text[] END FROM generate_series(1, 20) i;
INSERT INTO shop.orders SELECT i, 1 + i % 18, 100 * i, timestamptz '2026-01-31 05:00Z' - i * interval '1 day' FROM generate_series(1, 60) i;
SET segment.at = '2026-01-31 10:00Z';

-- before anything is attached there is nobody to judge
CALL segment.activate('none');
INSERT INTO segment.groups (code, name, kind) VALUES ('hands', 'Filled by hand', 'fixed');
CALL segment.activate('hands');
SELECT segment.attach_customers('shop.customers', key => 'id', tags => 'labels');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');

-- every group: members, and how many of them and of those of its defining SQL are not in the other
CREATE FUNCTION shop.groups(OUT code text, OUT members bigint, OUT differences bigint) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	condition segment.condition;
BEGIN
	FOR code, condition IN SELECT g.code, CASE WHEN g.active THEN g.condition ELSE 'FALSE' END FROM segment.groups g WHERE g.kind = 'automatic' ORDER BY g.id LOOP
		EXECUTE format('WITH judged AS (SELECT customer_id FROM segment.members WHERE group_code = %L), defined(customer_id) AS (%s)
			SELECT (SELECT count(*) FROM judged),
				(SELECT count(*) FROM ((TABLE judged EXCEPT TABLE defined) UNION ALL (TABLE defined EXCEPT TABLE judged)) x)',
			code, segment.to_sql(condition)) INTO members, differences;
		RETURN NEXT;
	END LOOP;
END
$$;
-- what is pending, how many bear its mark, and how many of them and of those whom it would move are not in the other
CREATE FUNCTION shop.moves(OUT code text, OUT marked bigint, OUT differences bigint) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	condition segment.condition;
	mark int;
BEGIN
	FOR code, condition, mark IN SELECT g.code, p.condition, p.marker FROM segment.pending_groups p JOIN segment.groups g ON g.id = p.group_id ORDER BY 1 LOOP
		EXECUTE format('WITH members AS (SELECT customer_id FROM segment.members WHERE group_code = %L), defined(customer_id) AS (%s),
			moved AS ((TABLE members EXCEPT TABLE defined) UNION ALL (TABLE defined EXCEPT TABLE members)),
			marked AS (SELECT customer_id FROM segment.standings WHERE held @> ARRAY[%s])
			SELECT (SELECT count(*) FROM marked), (SELECT count(*) FROM ((TABLE marked EXCEPT TABLE moved) UNION ALL (TABLE moved EXCEPT TABLE marked)) x)',
			code, segment.to_sql(condition), mark) INTO marked, differences;
		RETURN NEXT;
	END LOOP;
END
$$;
-- customers who bear any mark
CREATE VIEW shop.marks AS SELECT s.customer_id FROM segment.standings s WHERE 0 > ANY (s.held) ORDER BY 1;
CREATE VIEW shop.pending AS SELECT item, state, rows, regexp_replace(detail, '; begun at .* by .*', '') AS detail, hint
	FROM segment.status() WHERE item = 'activation';

-- an inactive group judges nobody
INSERT INTO segment.groups (code, name, condition, active) VALUES ('big', 'Big', 'amount_spent > 9_000', false);
INSERT INTO segment.groups (code, name, condition) VALUES
	('recent', 'Recent', 'last_order_date > -10d'), ('both', 'Both', 'groups CONTAINS ALL (''big'', ''recent'')'), ('neither', 'Neither', 'groups NOT CONTAINS ''big'' AND groups NOT CONTAINS ''recent''');
SELECT * FROM shop.groups();
SELECT count(*) FROM segment.standings s, segment.groups g WHERE g.code = 'big' AND g.id = ANY (s.held);

-- refused
CALL segment.activate('none');
CALL segment.activate(NULL);
CALL segment.activate('hands');
CALL segment.activate('big', batch_size => 0);
CALL segment.activate('big', 'amount_spnt > 5');
CALL segment.activate('big', 'groups CONTAINS ''both''');
BEGIN;
CALL segment.activate('big');
ROLLBACK;
BEGIN;
CALL segment.cancel_activation('big');
ROLLBACK;
SET default_transaction_isolation = 'repeatable read';
CALL segment.activate('big');
CALL segment.cancel_activation('big');
RESET default_transaction_isolation;
CALL segment.cancel_activation('none');
TABLE shop.pending;

-- a group comes into force, and those that name it follow; what is there already is told
SET client_min_messages = notice;
CALL segment.activate('big', batch_size => 7);
CALL segment.activate('big');
CALL segment.activate('big', 'amount_spent > 9000');
CALL segment.cancel_activation('big');
SET client_min_messages = warning;
SELECT * FROM shop.groups();
SELECT count(*) FROM shop.marks;
SELECT * FROM segment.verify();
SELECT c.code, c.action, c.cause, c.source, r.code AS rule, r.new_values ->> 'active' AS active, count(*) FROM segment.changes c
	JOIN segment.rule_changes r ON r.id::text = c.source_key WHERE r.old_values IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2;

-- another condition: who stays has been there since before, who enters enters now
SET segment.at = '2026-02-01 10:00Z';
CALL segment.activate('big', 'amount_spent > 5_000 AND last_order_date >= 2026-01-20', 1);
SELECT * FROM shop.groups();
SELECT since, count(*) FROM segment.members WHERE group_code = 'big' GROUP BY 1 ORDER BY 1;
SELECT at, code, action, count(*) FROM segment.changes WHERE cause = 'rule' AND at >= '2026-02-01' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT * FROM segment.verify();

-- too many move: it stays pending, everyone is judged, and nobody has moved
SELECT segment.configure(max_moves => 5);
CALL segment.activate('recent', 'last_order_date > -40d');
SELECT * FROM shop.groups();
TABLE shop.marks;
SELECT * FROM shop.moves();
TABLE shop.pending;
SELECT * FROM segment.verify();
SELECT segment.recalculate();

-- meanwhile whoever sells judges by both; whoever was marked and is not moved any more bears no mark
INSERT INTO shop.orders VALUES (101, 20, 7000, '2026-01-21 05:00Z'), (102, 1, 50, '2026-01-31 05:00Z');
DELETE FROM shop.orders WHERE customer_id = 14;
INSERT INTO shop.customers VALUES (21);
DELETE FROM shop.customers WHERE id = 13;
SELECT * FROM shop.groups();
TABLE shop.marks;
SELECT * FROM shop.moves();
SELECT count(*) FROM segment.changes WHERE code = 'recent' AND at = '2026-02-01 10:00Z' AND cause <> 'rule';

-- other rules may change, and are held to what they move themselves
BEGIN;
SET LOCAL segment.confirm_moves = 20;
UPDATE segment.groups SET condition = 'groups CONTAINS ANY (''big'', ''recent'')' WHERE code = 'neither';
COMMIT;
INSERT INTO segment.groups (code, name, condition) VALUES ('vip', 'VIP', 'tags CONTAINS ''vip'' AND groups CONTAINS ''recent'' AND amount_spent > 10_000');
SELECT * FROM shop.groups();
SELECT * FROM shop.moves();

-- time goes by
SET segment.at = '2026-02-12 10:00Z';
SELECT * FROM shop.groups();
SELECT segment.tick();
SELECT * FROM shop.groups();
SELECT * FROM shop.moves();

-- the code may change, also of groups that the pending condition names
CALL segment.activate('big', 'groups CONTAINS ''recent'' OR TRUE');
UPDATE segment.groups SET code = 'fresh' WHERE code = 'recent';
TABLE shop.pending;
SELECT * FROM shop.moves();
-- confirmed, it is in force
SET segment.confirm_moves = 100;
CALL segment.activate('fresh');
SELECT * FROM shop.groups();
SELECT * FROM segment.verify();
TABLE shop.pending;

-- one thing at a time: what is pending may be another condition, or none
RESET segment.confirm_moves;
SELECT * FROM shop.moves();
CALL segment.activate('big', 'TRUE');
TABLE shop.pending;
SELECT * FROM shop.moves();
CALL segment.cancel_activation('big');
SELECT count(*) FROM shop.marks;
TABLE shop.pending;
SELECT * FROM shop.groups();

-- asked for what is in force already: nothing is pending any more
CALL segment.activate('big', 'TRUE');
CALL segment.activate('big', 'amount_spent > 5_000 AND last_order_date >= 2026-01-20');
TABLE shop.pending;
SELECT count(*) FROM shop.marks;

-- whoever changes the group itself has decided otherwise
SET client_min_messages = notice;
CALL segment.activate('big', 'TRUE');
UPDATE segment.groups SET name = 'Very big' WHERE code = 'big';
TABLE shop.pending;
UPDATE segment.groups SET active = false WHERE code = 'vip';
UPDATE segment.groups SET condition = 'amount_spent > 6_000' WHERE code = 'big';
TABLE shop.pending;
SELECT count(*) FROM shop.marks;
SET client_min_messages = warning;
CALL segment.activate('vip', 'groups CONTAINS ''neither''');
CALL segment.activate('vip', 'groups CONTAINS ''big'' OR TRUE');
DELETE FROM segment.groups WHERE code = 'vip';
TABLE shop.pending;
SELECT count(*) FROM segment.pending_groups;
SELECT * FROM shop.groups();
SELECT * FROM segment.verify();

-- what a pending condition names is not deleted, nor made to depend on the group
SELECT segment.configure(max_moves => 1);
INSERT INTO segment.groups (code, name, condition, active) VALUES ('late', 'Late', 'groups CONTAINS ''both''', false), ('other', 'Other', 'FALSE', true);
CALL segment.activate('late', 'groups CONTAINS ''other'' OR TRUE');
DELETE FROM segment.groups WHERE code = 'other';
UPDATE segment.groups SET condition = 'groups CONTAINS ''late''' WHERE code = 'other';
SET segment.confirm_moves = 100;
CALL segment.activate('late');
UPDATE segment.groups SET condition = 'FALSE' WHERE code = 'other';
CALL segment.activate('late');
SELECT * FROM shop.groups();

-- what does not bind any more is not put into force
RESET segment.confirm_moves;
CALL segment.activate('late', 'amount_spent > 3_000 AND last_order_date > 2026-01-01');
-- (here refused for another group's sake)
SELECT segment.detach('shop.orders');
DROP TABLE shop.orders CASCADE;
CALL segment.activate('late');
INSERT INTO shop.customers VALUES (22);
CALL segment.activate('late');
SELECT item, state FROM segment.status() WHERE item = 'activation';
SELECT segment.recalculate();
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz);
INSERT INTO shop.orders SELECT i, 1 + i % 18, 200 * i, timestamptz '2026-01-31 05:00Z' - i * interval '1 day' FROM generate_series(1, 60) i;
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
SELECT item, state, rows FROM segment.status() WHERE item = 'activation';
CALL segment.activate('late');
SELECT * FROM shop.moves();
SELECT * FROM segment.verify();
CALL segment.cancel_activation('late');
SELECT * FROM segment.verify();

-- everything goes
CALL segment.activate('late', 'FALSE');
BEGIN;
SET LOCAL segment.confirm_moves = 30;
TRUNCATE segment.groups;
COMMIT;
SELECT count(*) FROM segment.pending_groups;
SELECT count(*) FROM segment.standings WHERE held <> '{}';

-- the right to call it is enough
CREATE ROLE activate_clerk;
GRANT USAGE ON SCHEMA segment TO activate_clerk;
INSERT INTO segment.groups (code, name, condition, active) VALUES ('clerks', 'Clerk''s', 'number_of_orders > 3', false);
SELECT segment.configure(max_moves => 0);
SET ROLE activate_clerk;
CALL segment.activate('clerks');
RESET ROLE;
GRANT EXECUTE ON PROCEDURE segment.activate(text, segment.condition, integer) TO activate_clerk;
SET ROLE activate_clerk;
CALL segment.activate('clerks');
RESET ROLE;
SELECT * FROM shop.groups();
SELECT changed_by, code FROM segment.rule_changes ORDER BY id DESC LIMIT 1;
SELECT DISTINCT changed_by FROM segment.changes WHERE code = 'clerks';
SELECT updated_by FROM segment.groups WHERE code = 'clerks';

DROP OWNED BY activate_clerk;
DROP ROLE activate_clerk;
DROP SCHEMA shop CASCADE;
