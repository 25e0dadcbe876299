-- What a rule builder offers: the fields of react-querybuilder, of what this shop has and nothing else.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
\pset format unaligned
\pset tuples_only on
-- no shop: nothing
SELECT segment.query_builder_fields();

CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, full_name text, born date, gender text, vip boolean, labels text[], credit numeric);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, total numeric, at timestamptz, branch text);
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'full_name', sex => 'gender', birth_date => 'born', tags => 'labels',
	custom => '{"is_vip": "vip", "credit_limit": "credit"}');
-- customers alone: no tier, as nothing feeds what the ladder stands on
SELECT f ->> 'name', f ->> 'label', f ->> 'type', f ->> 'inputType', f ->> 'valueEditorType', f -> 'values', f -> 'valueSources', f ->> 'comparator'
FROM jsonb_array_elements(segment.query_builder_fields()) f;
-- operators by type
SELECT DISTINCT ON (f ->> 'type', f ->> 'valueEditorType') f ->> 'type', (SELECT string_agg(o ->> 'name', ' ') FROM jsonb_array_elements(f -> 'operators') o)
FROM jsonb_array_elements(segment.query_builder_fields()) f ORDER BY f ->> 'type', f ->> 'valueEditorType', f ->> 'name';

SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'at', custom => '{"branch": "branch"}');
SELECT string_agg(f ->> 'name', ' ') FROM jsonb_array_elements(segment.query_builder_fields()) f;
-- an event has what it can be asked for, here neither channel nor items
SELECT jsonb_pretty(f #- '{subproperties}') FROM jsonb_array_elements(segment.query_builder_fields()) f WHERE f ->> 'name' = 'orders_placed';
SELECT p ->> 'name', p ->> 'label', p ->> 'type', p ->> 'inputType', p -> 'valueSources' FROM jsonb_array_elements(segment.query_builder_fields()) f, jsonb_array_elements(f -> 'subproperties') p;
-- tiers of the default ladder, once there are any, in the order of their rank
INSERT INTO segment.tiers (code, name, min_value, max_value) VALUES ('gold', 'Vàng', 1000, NULL), ('silver', 'Bạc', 100, 999);
SELECT f ->> 'label', f -> 'values' FROM jsonb_array_elements(segment.query_builder_fields('vi')) f WHERE f ->> 'name' = 'tier';
-- other ladders too, once they have tiers and something feeds what they stand on; a code that cannot be spelled is left out
INSERT INTO segment.ladders (code, name, figure, active) VALUES ('visits', 'Lượt mua', 'number_of_orders', true), ('empty', 'Chưa có hạng', 'amount_spent', true), ('off', 'Tạm ngừng', 'amount_spent', false),
	('back', 'Trả hàng', 'number_of_returns', true), ('it''s', 'Khác', 'amount_spent', true);
INSERT INTO segment.tiers (ladder, code, name, min_value, max_value) VALUES ('visits', 'regular', 'Quen', 5, NULL), ('visits', 'new', 'Mới', 1, 4), ('off', 'x', 'X', 0, NULL), ('back', 'x', 'X', 0, NULL), ('it''s', 'x', 'X', 0, NULL);
SELECT f ->> 'name', f ->> 'label', f -> 'values' FROM jsonb_array_elements(segment.query_builder_fields()) f WHERE f ->> 'type' = 'tier';
BEGIN;
UPDATE segment.ladders SET is_default = false;
SELECT f ->> 'name', f ->> 'label' FROM jsonb_array_elements(segment.query_builder_fields('vi')) f WHERE f ->> 'type' = 'tier';
ROLLBACK;
-- in Vietnamese
SELECT f ->> 'name', f ->> 'label' FROM jsonb_array_elements(segment.query_builder_fields(language => 'vi')) f;
SELECT f -> 'values', f -> 'operators' FROM jsonb_array_elements(segment.query_builder_fields('vi')) f WHERE f ->> 'name' = 'sex';
SELECT f -> 'matchModes' FROM jsonb_array_elements(segment.query_builder_fields('vi')) f WHERE f ->> 'name' = 'orders_placed';
SELECT segment.query_builder_fields('fr');
SELECT segment.query_builder_fields(NULL);

-- groups, once there are any
INSERT INTO segment.groups (code, name, condition) VALUES ('vip', 'Khách VIP', 'amount_spent >= 1000'), ('agents', 'Đại lý', NULL);
SELECT f - 'operators' FROM jsonb_array_elements(segment.query_builder_fields('vi')) f WHERE f ->> 'name' = 'groups';

-- Every field with every operator makes a rule that this shop can be asked; values as its editors give them.
WITH fields AS (
	SELECT f.field, NULL::text AS event FROM jsonb_array_elements(segment.query_builder_fields()) AS f(field) WHERE NOT f.field ? 'matchModes'
	UNION ALL
	SELECT p.field, f.field ->> 'name' FROM jsonb_array_elements(segment.query_builder_fields()) AS f(field)
		CROSS JOIN LATERAL jsonb_array_elements(f.field -> 'subproperties') AS p(field)
), rules AS (
	SELECT event, jsonb_build_object('field', field ->> 'name', 'operator', o ->> 'name', 'value', CASE
			WHEN o ->> 'name' IN ('null', 'notNull') THEN 'null'
			WHEN o ->> 'name' IN ('during', 'notDuring') THEN '"last_month"'
			WHEN field ->> 'type' = 'boolean' THEN 'true'
			ELSE CASE WHEN o ->> 'name' ~ 'n$|Any|All|etween' AND o ->> 'name' !~ 'ontain$' THEN jsonb_build_array(v, w) ELSE v END END) AS rule
	FROM fields CROSS JOIN LATERAL jsonb_array_elements(field -> 'operators') o
		CROSS JOIN LATERAL (SELECT CASE field ->> 'type' WHEN 'number' THEN '1'::jsonb WHEN 'date' THEN '"-30d"' WHEN 'anniversary' THEN '"-30d"' ELSE coalesce(field #> '{values,0,name}', '"a"') END,
			CASE field ->> 'type' WHEN 'number' THEN '2'::jsonb WHEN 'date' THEN '"today"' WHEN 'anniversary' THEN '"today"' ELSE coalesce(field #> '{values,1,name}', '"b"') END) AS x(v, w)
), trees AS (
	SELECT jsonb_build_object('combinator', 'and', 'rules', jsonb_build_array(CASE WHEN event IS NULL THEN rule
			ELSE jsonb_build_object('field', event, 'operator', '=', 'match', '{"mode": "some"}'::jsonb, 'value',
				jsonb_build_object('combinator', 'and', 'rules', jsonb_build_array(rule))) END)) AS tree
	FROM rules
)
SELECT count(*) > 300 AS many, count(segment.preview_count(tree::segment.condition)) = count(*) AS all_asked FROM trees;
-- whoever may call it needs no other right
CREATE ROLE segment_builder;
GRANT USAGE ON SCHEMA segment TO segment_builder;
GRANT EXECUTE ON FUNCTION segment.query_builder_fields(text) TO segment_builder;
SET ROLE segment_builder;
SELECT jsonb_array_length(segment.query_builder_fields());
RESET ROLE;
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
DROP ROLE segment_builder;
CREATE EXTENSION segment;
