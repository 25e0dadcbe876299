-- Groups are plain rows: what does not fit is refused when it is saved, conditions name other groups, codes are made and
-- followed, every change is written down, and one that moves too many customers must be confirmed.
\set VERBOSITY default
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
SET datestyle = 'ISO, YMD';
SET timezone = 'UTC';
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id int PRIMARY KEY, full_name text, labels text[]);
CREATE TABLE shop.orders (id int PRIMARY KEY, customer_id int, total numeric, at timestamptz);
INSERT INTO shop.customers SELECT i, 'C ' || i, CASE WHEN i % 2 = 0 THEN '{vip}'::text[] WHEN i % 3 = 0 THEN '{new,vip}' END FROM generate_series(1, 12) i;
INSERT INTO shop.orders SELECT i, 1 + i % 9, 100 * i, now() - i * interval '3 days' FROM generate_series(1, 40) i;
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'full_name', tags => 'labels');
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');

-- members as judged in C, and how many of them and of those of the defining SQL are not in the other
CREATE FUNCTION shop.judged(condition segment.condition, OUT members bigint, OUT differences bigint) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('WITH judged AS (SELECT key FROM segment._judge($1) AS j(key)), defined AS (SELECT key::text FROM (%s) d(key))
		SELECT (SELECT count(*) FROM judged),
			(SELECT count(*) FROM ((TABLE judged EXCEPT TABLE defined) UNION ALL (TABLE defined EXCEPT TABLE judged)) x)',
		segment.to_sql(condition)) INTO members, differences USING condition;
END
$$;
CREATE VIEW shop.groups AS SELECT code, name, kind, condition, active FROM segment.groups ORDER BY id;

-- kind and code are filled in: the name without accents, _2, _3 where that is taken, also within one statement
INSERT INTO segment.groups (name, condition) VALUES
	('Sắp rời bỏ', 'last_order_date < -5d'), ('Đại gia!', 'amount_spent >= 10_000'), ('  Khách -- VIP (2026) ', 'tags CONTAINS ''vip''');
INSERT INTO segment.groups (name) VALUES ('Đại lý'), ('Dai ly'), ('Đài ly');
INSERT INTO segment.groups (code, name, price_list, tax_percent, discount_percent, payment_method, precedence) VALUES
	('agents', 'Đại lý cấp 1', 'wholesale', 8, 5.5, 'transfer', 10);
TABLE shop.groups;
SELECT DISTINCT updated_at = created_at AND created_at < now() AS at, created_by = session_user AND updated_by = session_user AS by FROM segment.groups;

-- who acts is who has set a role
CREATE ROLE groups_manager;
GRANT USAGE ON SCHEMA segment TO groups_manager;
GRANT SELECT, INSERT, UPDATE, DELETE ON segment.groups TO groups_manager;
GRANT USAGE ON SEQUENCE segment.rule_id TO groups_manager;
SET ROLE groups_manager;
INSERT INTO segment.groups (name, condition) VALUES ('Of the manager', 'amount_spent > 1');
RESET ROLE;
UPDATE segment.groups SET description = 'checked', created_by = 'somebody', created_at = '2000-01-01' WHERE code = 'of_the_manager';
SELECT code, created_by, updated_by = session_user AS updated, created_at > '2026-01-01' AS created FROM segment.groups WHERE code = 'of_the_manager';
SELECT changed_by, kind, code, old_values ->> 'description' AS was, new_values ->> 'description' AS is FROM segment.rule_changes
	WHERE code = 'of_the_manager' AND old_values IS NULL;

-- a code does not follow the name, nor comes back when it is taken away
UPDATE segment.groups SET name = 'Sắp mất' WHERE code = 'sap_roi_bo';
\set VERBOSITY terse
UPDATE segment.groups SET code = NULL WHERE code = 'sap_roi_bo';
\set VERBOSITY default
SELECT code, name FROM segment.groups WHERE name = 'Sắp mất';

-- bad input
INSERT INTO segment.groups (name) VALUES (NULL);
INSERT INTO segment.groups (code, name) VALUES ('empty', '  ');
INSERT INTO segment.groups (name) VALUES ('!!!');
\set VERBOSITY terse
INSERT INTO segment.groups (code, name) VALUES ('', 'No code');
\set VERBOSITY default
INSERT INTO segment.groups (name) VALUES ('ĐẠI  LÝ');
INSERT INTO segment.groups (name) VALUES ('Twice'), ('twice');
UPDATE segment.groups SET name = 'dai ly' WHERE code = 'dai_ly';
INSERT INTO segment.groups (code, name) VALUES ('agents', 'Another');
INSERT INTO segment.groups (name, kind) VALUES ('No condition', 'automatic');
INSERT INTO segment.groups (name, kind, condition) VALUES ('Condition', 'fixed', 'TRUE');
\set VERBOSITY terse
INSERT INTO segment.groups (name, kind) VALUES ('Other kind', 'manual');
\set VERBOSITY default
UPDATE segment.groups SET condition = NULL WHERE code = 'dai_gia';
UPDATE segment.groups SET condition = 'TRUE' WHERE code = 'agents';
UPDATE segment.groups SET tax_percent = -1 WHERE code = 'agents';
UPDATE segment.groups SET discount_percent = 'NaN' WHERE code = 'agents';
UPDATE segment.groups SET discount_percent = 'Infinity' WHERE code = 'agents';
UPDATE segment.groups SET id = 1 WHERE code = 'agents';
\set VERBOSITY terse
UPDATE segment.groups SET active = NULL WHERE code = 'agents';
\set VERBOSITY default
INSERT INTO segment.groups (name, condition) VALUES ('Syntax', 'amount_spent >=');
INSERT INTO segment.groups (name, condition) VALUES ('Empty', '');
INSERT INTO segment.groups (name, condition) VALUES ('Good', 'TRUE'), ('Unknown', 'amount_spent > 5 AND amount_spnt >= 5');
INSERT INTO segment.groups (name, condition) VALUES ('Not mapped', 'points > 5');
INSERT INTO segment.groups (name, condition, active) VALUES ('Unknown, not active', 'amount_spnt >= 5', false);
UPDATE segment.groups SET condition = 'groups CONTAINS ''dai_gai''' WHERE code = 'sap_roi_bo';
UPDATE segment.groups SET condition = 'groups(date = today) = ''dai_gia''' WHERE code = 'sap_roi_bo';
UPDATE segment.groups SET condition = 'groups = 5' WHERE code = 'sap_roi_bo';
UPDATE segment.groups SET condition = 'groups STARTS WITH ''dai''' WHERE code = 'sap_roi_bo';
UPDATE segment.groups SET condition = 'groups = ''DAI_GIA''' WHERE code = 'sap_roi_bo';
BEGIN ISOLATION LEVEL REPEATABLE READ;
DELETE FROM segment.groups;
ROLLBACK;
TABLE shop.groups;

-- names may be exchanged
UPDATE segment.groups SET name = CASE code WHEN 'dai_ly' THEN 'Dai ly' ELSE 'Đại lý' END WHERE code IN ('dai_ly', 'dai_ly_2');
SELECT code, name FROM segment.groups WHERE code LIKE 'dai\_ly%' ORDER BY id;

-- groups in conditions: of one another in whatever order they came, to any depth
INSERT INTO segment.groups (code, name, condition) VALUES
	('both', 'Both', 'groups CONTAINS ALL (''sap_roi_bo'', ''dai_gia'')'),
	('top', 'Top', 'groups CONTAINS ''middle'' OR groups = ''both'' AND NOT groups CONTAINS ''middle'''),
	('middle', 'Middle', 'groups NOT CONTAINS ''both'' AND groups CONTAINS ANY (''khach_vip_2026'', ''dai_gia'')'),
	('outside', 'Outside', 'groups NOT IN (''top'', ''agents'')');
INSERT INTO segment.groups (code, name, condition, active) VALUES ('off', 'Off', 'TRUE', false), ('not_off', 'Not off', 'groups != ''off''', true);
SELECT c, j.* FROM unnest('{
	groups CONTAINS ''both'',
	groups != ''both'',
	NOT groups = ''both'',
	groups CONTAINS ''top'',
	groups NOT CONTAINS ''top'',
	NOT (groups NOT CONTAINS ''top'' AND groups != ''middle''),
	groups CONTAINS ''outside'',
	"groups IN (''outside'', ''middle'', ''both'')",
	"groups NOT CONTAINS ALL (''middle'', ''top'')",
	groups CONTAINS ''off'',
	groups CONTAINS ''not_off'',
	groups CONTAINS ''agents'',
	groups NOT CONTAINS ''agents'' AND amount_spent > 100,
	groups IS NULL,
	groups IS NOT NULL,
	NOT (groups IS NULL OR tags CONTAINS ''new'')}'::text[]) WITH ORDINALITY u(c, n), shop.judged(u.c::segment.condition) j ORDER BY n;
SELECT customer_id, figures FROM segment.preview('groups CONTAINS ''both'' AND number_of_orders > 4');

-- a chain in which each uses the one before twice does not double at each step
INSERT INTO segment.groups (code, name, condition) VALUES ('step0', 'Step 0', 'amount_spent > 8000');
INSERT INTO segment.groups (code, name, condition)
	SELECT 'step' || i, 'Step ' || i, format('groups CONTAINS %1$L AND tags IS NOT NULL OR groups NOT CONTAINS %1$L AND tags IS NULL', 'step' || i - 1)::segment.condition
	FROM generate_series(1, 60) i;
SELECT length(segment.to_sql('groups CONTAINS ''step60''')) < 100000 AS short;
SELECT * FROM shop.judged('groups CONTAINS ''step60''');
DELETE FROM segment.groups WHERE code LIKE 'step%';

-- cycles
UPDATE segment.groups SET condition = 'groups CONTAINS ''both''' WHERE code = 'both';
UPDATE segment.groups SET condition = 'groups CONTAINS ''top''' WHERE code = 'dai_gia';
UPDATE segment.groups SET condition = 'amount_spent > 7 OR groups IS NULL' WHERE code = 'dai_gia';
UPDATE segment.groups SET condition = 'groups CONTAINS ''not_off''' WHERE code = 'off';
INSERT INTO segment.groups (code, name, condition) VALUES ('a', 'A', 'groups = ''b'''), ('b', 'B', 'groups = ''c'''), ('c', 'C', 'amount_spent > 0 OR groups = ''a''');

-- what others use is not deleted; deactivated it is false
DELETE FROM segment.groups WHERE code = 'both';
DELETE FROM segment.groups WHERE code IN ('dai_gia', 'middle');
UPDATE segment.groups SET active = false WHERE code = 'both';
SELECT c, j.* FROM unnest('{groups = ''both'', groups = ''top'', groups = ''middle''}'::text[]) c, shop.judged(c::segment.condition) j;
UPDATE segment.groups SET active = true WHERE code = 'both';

-- a code is followed by the conditions that name it, and only where it is the code of a group
INSERT INTO segment.groups (code, name, condition) VALUES ('odd', 'Odd', 'tags CONTAINS ''dai_gia'' OR name = ''dai_gia'' OR groups IN (''dai_gia'', ''agents'')');
UPDATE segment.groups SET code = 'b''ig' WHERE code = 'dai_gia';
SELECT code, condition FROM segment.groups WHERE condition::text LIKE '%ig%' ORDER BY id;
SELECT * FROM shop.judged('groups = ''odd''');
-- two exchange theirs
UPDATE segment.groups SET code = CASE code WHEN 'b''ig' THEN 'dai_gia_' ELSE 'b''ig_' END WHERE code IN ('b''ig', 'sap_roi_bo');
UPDATE segment.groups SET code = CASE code WHEN 'b''ig_' THEN 'sap_roi_bo' ELSE 'dai_gia' END WHERE code IN ('b''ig_', 'dai_gia_');
SELECT code, condition FROM segment.groups WHERE code IN ('both', 'odd') ORDER BY id;
-- a condition set by the same statement is taken as it is written
UPDATE segment.groups SET code = CASE code WHEN 'agents' THEN 'agency' ELSE code END,
	condition = CASE code WHEN 'odd' THEN 'groups = ''agency'''::segment.condition ELSE condition END WHERE code IN ('agents', 'odd');
SELECT code, condition FROM segment.groups WHERE code IN ('agency', 'odd') ORDER BY id;
UPDATE segment.groups SET code = 'agency' WHERE code = 'odd';

-- history: a row for each rule that a statement changed
SELECT max(id) AS last FROM segment.rule_changes \gset
INSERT INTO segment.groups (code, name, condition) VALUES ('x', 'X', 'TRUE'), ('y', 'Y', 'groups = ''x''');
UPDATE segment.groups SET discount_percent = 5 WHERE code IN ('x', 'agency');
UPDATE segment.groups SET discount_percent = 5 WHERE code IN ('x', 'agency');
UPDATE segment.groups SET code = 'z' WHERE code = 'x';
DELETE FROM segment.groups WHERE code IN ('y', 'z');
INSERT INTO segment.tiers (code, name, min_value) VALUES ('all', 'All', 0);
UPDATE segment.tiers SET name = 'Everybody' WHERE code = 'all';
UPDATE segment.ladders SET code = 'purchases';
DELETE FROM segment.tiers;
INSERT INTO segment.tiers (code, name, min_value) VALUES ('all', 'All', 0);
TRUNCATE segment.tiers;
SELECT row_number() OVER (ORDER BY id) AS n, changed_by = session_user AS me, kind, code,
	(SELECT jsonb_object_agg(key, value) FROM jsonb_each(old_values) WHERE new_values IS NULL OR new_values -> key <> value) AS was,
	(SELECT jsonb_object_agg(key, value) FROM jsonb_each(new_values) WHERE old_values IS NULL OR old_values -> key <> value) AS is
FROM segment.rule_changes WHERE id > :last ORDER BY id;
SELECT DISTINCT source FROM segment.changes WHERE cause = 'rule';

-- the guard
SELECT segment.configure(max_moves => -1);
SELECT segment.configure(max_moves => 5);
SELECT name, value, given FROM segment.configuration WHERE name = 'max_moves';
INSERT INTO segment.tiers (code, name, min_value) VALUES ('all', 'All', 0);
BEGIN;
SET LOCAL segment.confirm_moves = 11;
SAVEPOINT s;
INSERT INTO segment.tiers (code, name, min_value) VALUES ('all', 'All', 0);
ROLLBACK TO s;
SET LOCAL segment.confirm_moves = 12;
INSERT INTO segment.tiers (code, name, min_value) VALUES ('all', 'All', 0);
COMMIT;
BEGIN;
UPDATE segment.tiers SET max_value = 7000;
INSERT INTO segment.tiers (code, name, min_value) VALUES ('some', 'Some', 7001);
ROLLBACK;
-- what moves nobody needs no confirmation
UPDATE segment.tiers SET description = 'whoever there is';
SELECT segment.configure(max_moves => 0);
DELETE FROM segment.tiers;

-- a group whose condition does not bind any more is reported, and in nobody's way; those that use it neither
SELECT segment.detach('shop.orders');
SELECT item, state, detail, hint FROM segment.status() WHERE item = 'group';
SELECT * FROM shop.judged('groups = ''khach_vip_2026''');
SELECT segment.preview_count('groups = ''both''');
UPDATE segment.groups SET description = 'of orders' WHERE code IN ('sap_roi_bo', 'both');
UPDATE segment.groups SET code = 'leaving' WHERE code = 'sap_roi_bo';
UPDATE segment.groups SET active = false WHERE code = 'leaving';
SELECT detail FROM segment.status() WHERE item = 'group';
UPDATE segment.groups SET active = true WHERE code = 'leaving';
UPDATE segment.groups SET condition = 'groups NOT CONTAINS ''leaving''' WHERE code = 'odd';
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at');
UPDATE segment.groups SET active = true WHERE code = 'leaving';
SELECT count(*) FROM segment.status() WHERE item = 'group';

-- whoever may not read the groups learns nothing of them
SET ROLE groups_manager;
SELECT count(*) FROM segment._group_faults();
SELECT count(*) FROM segment.rule_changes;
RESET ROLE;

TRUNCATE segment.groups;
SELECT kind, count(*) FROM segment.rule_changes WHERE new_values IS NULL GROUP BY kind ORDER BY kind;
DROP SCHEMA shop CASCADE;
DROP OWNED BY groups_manager;
DROP ROLE groups_manager;
