-- The condition language as a rule tree of react-querybuilder.
CREATE SCHEMA language;
SET search_path = language, public;
\pset format unaligned
\pset tuples_only on

-- text to JSON, and back to the same text
CREATE FUNCTION tree(condition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	c segment.condition := condition::segment.condition;
	rules jsonb := c::jsonb -> 'rules';
BEGIN
	RETURN CASE WHEN (c::jsonb)::segment.condition::text = c::text THEN '' ELSE 'DIFFERS: ' || (c::jsonb)::segment.condition::text || E'\n' END
		|| CASE WHEN c::jsonb - 'rules' = '{"not": false, "combinator": "and"}' AND jsonb_array_length(rules) = 1
			THEN (rules -> 0)::text ELSE c::jsonb::text END;
END $$;
-- JSON to text, or what is wrong with it; short for one rule or for the rules of a group
CREATE FUNCTION said(tree jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	RETURN tree::segment.condition::text;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN state || ': ' || message || ' -- ' || detail || coalesce(' ' || nullif(hint, ''), '');
END $$;
CREATE FUNCTION rules(VARIADIC rules jsonb[]) RETURNS text LANGUAGE sql AS
	$$ SELECT language.said(jsonb_build_object('combinator', 'and', 'rules', to_jsonb(rules))) $$;

-- every operator
SELECT tree(v) FROM unnest(ARRAY['a = 1', 'a != 1.50', 'a < -2', 'a <= 1', 'a > 1', 'a >= 1', 'a BETWEEN 1 AND 2', 'a NOT BETWEEN 1 AND 2', 'a IN (1, 2)', 'a NOT IN (1)', 'a IS NULL', 'a IS NOT NULL',
	'a CONTAINS ''x''', 'a NOT CONTAINS ''x''', 'a STARTS WITH ''x''', 'a NOT STARTS WITH ''x''', 'a ENDS WITH ''x''', 'a NOT ENDS WITH ''x''']) v;
SELECT tree(v) FROM unnest(ARRAY['a HAS WORD ''x''', 'a NOT HAS WORD ''x''', 'a CONTAINS ANY (''x'', ''y'')', 'a NOT CONTAINS ANY (''x'', ''y'')', 'a CONTAINS ALL (''x'', ''y'')', 'a NOT CONTAINS ALL (''x'', ''y'')',
	'a STARTS WITH ANY (''x'', ''y'')', 'a NOT STARTS WITH ANY (''x'', ''y'')', 'a ENDS WITH ANY (''x'', ''y'')', 'a NOT ENDS WITH ANY (''x'', ''y'')', 'a HAS WORD ANY (''x'', ''y'')', 'a NOT HAS WORD ANY (''x'', ''y'')',
	'd DURING this_month', 'd NOT DURING month(-2)', 'TRUE', 'FALSE']) v;
-- values
SELECT tree(v) FROM unnest(ARRAY['a = TRUE', 'a = 12345678901234567890.123456789', 'd = 2026-01-31', 'd = 2026-01-31T13:00:00', 'd = 2026-01-31T13:00:00.5', 'd >= -30d', 'd = today', 'phone = ''0901234567''', 'a = ''12''',
	'a = ''2026-01-31''', 'a = ''today''', 'a = ''+30d''', 'a = ''~''', 'a = ''Today''', 'a = ''it''''s \\ "x"''', 'a IN (''tomorrow'', tomorrow)']) v;
-- what stock operators cannot say
SELECT tree('amount_returned > amount_ordered');
SELECT tree('amount_returned > 0.3 * amount_ordered');
SELECT tree('amount_spent(date >= -30d, channel = ''pos'') > 2 * amount_spent(date < -30d)');
SELECT tree('orders_placed MATCHES ()');
SELECT tree('orders_placed NOT MATCHES (date >= -30d, count >= 2)');
SELECT tree('unaccented(name) HAS WORD ''dung''');
SELECT tree('anniversary(birth_date) BETWEEN today AND +30d');
SELECT tree('''Credit Limit'' > 1 * ''other name''');
-- spelled as a field: what an interface offers as one
SELECT tree('tier(ladder = ''visits'') >= ''gold''');
SELECT tree('orders_placed MATCHES (anniversary(date) DURING this_month)');
SELECT tree('a > 2 * tier(ladder = ''x'')');
SELECT tree(v) FROM unnest(ARRAY['tier(ladder = ''it''''s'') = ''a''', 'tier(ladder = ''a\\b'') = ''a''', 'tier(ladder = ''a)'') = ''a''', 'tier(ladder != ''a'') = ''a''', 'tier(ladder = ''a'', b = 1) = ''a''', 'tier(ladder = 2026-01-31) = ''a''',
	'anniversary(''My Day'') = today', 'anniversary(first_order_date(branch = ''x'')) = today']) v;
-- names that look like one, or like nothing chosen
SELECT tree(v) FROM unnest(ARRAY['''anniversary(a)'' = 1', '''tier(ladder = ''''a'''')'' = 1', 'anniversary(''anniversary(a)'') = today', '''~'' = 1', 'unaccented(''~'') CONTAINS ''a''', 'a > 1 * ''~''', 'a > 2 * ''anniversary(a)''', '''~''(a = 1) = 1', '''~'' MATCHES (''~'' = 1)']) v;
SELECT rules('{"field": "birth_date", "function": "anniversary", "operator": "=", "value": "today"}', '{"field": "tier", "where": {"combinator": "and", "rules": [{"field": "ladder", "operator": "=", "value": "a"}]}, "operator": "=", "value": "b"}', '{"field": "anniversary()", "operator": "=", "value": 1}');
-- groups
SELECT tree('a = 1 AND b = 2');
SELECT tree('NOT (a = 1 OR NOT b = 2)');
SELECT tree('(a = 1 OR b = 2) AND NOT (c = 3 OR d = 4) AND TRUE');

-- read: as the project's components make it
SELECT said('{"id": "r", "combinator": "OR", "not": null, "rules": [
	{"id": "1", "path": [0], "field": "tags", "operator": "contains", "value": "vip", "valueSource": "value"},
	{"id": "2", "path": [1], "combinator": "and", "not": true, "disabled": true, "rules": [
		{"field": "age", "operator": "between", "value": "18,25", "disabled": true}, {"field": "sex", "operator": "=", "value": "female"}]}]}');
-- lists joined by commas; numbers only as bounds
SELECT rules('{"field": "a", "operator": "in", "value": " x , y\\,z ,, 1"}', '{"field": "b", "operator": "notBetween", "value": "-1.50, 2"}', '{"field": "d", "operator": "between", "value": "2026-01-01,today"}', '{"field": "c", "operator": "in", "value": [1, "1", true]}');
-- independent combinators: AND binds tighter
SELECT said('{"rules": [{"field": "a", "operator": "=", "value": 1}, "or", {"field": "b", "operator": "=", "value": 2}, "and", {"field": "c", "operator": "=", "value": 3}]}');
SELECT said('{"not": true, "rules": [{"rules": [{"field": "a", "operator": "=", "value": 1}, "or", {"field": "b", "operator": "=", "value": 2}]}, "AND", {"field": "c", "operator": "=", "value": 3}]}');
-- what is muted is left out, with its combinator
SELECT said('{"rules": [{"field": "a", "operator": "=", "value": 1}, "and", {"field": "b", "operator": "~", "muted": true}, "or", {"field": "c", "operator": "=", "value": 3}]}');
SELECT said('{"rules": [{"field": "a", "operator": "=", "value": 1, "muted": true}, "or", {"field": "b", "operator": "=", "value": 2}, "or", {"field": "c", "operator": "=", "value": 3}]}');
SELECT said('{"combinator": "and", "rules": [{"combinator": "or", "muted": true, "rules": []}, {"field": "c", "operator": "=", "value": 3}]}');
-- match with a number of events
SELECT rules(jsonb_build_object('field', 'orders_placed', 'match', m, 'value', '{"combinator": "and", "rules": [{"field": "amount", "operator": ">", "value": 5}]}'::jsonb))
FROM unnest(ARRAY['{"mode": "some"}', '{"mode": "none", "threshold": 1}', '{"mode": "atLeast", "threshold": 1}', '{"mode": "atLeast", "threshold": 3}', '{"mode": "atMost", "threshold": 2}', '{"mode": "atMost", "threshold": 0}', '{"mode": "exactly", "threshold": 2}',
	'{"mode": "all"}', '{"mode": "atLeast", "threshold": 0.5}', '{"mode": "atLeast"}', '{"mode": "atLeast", "threshold": 0}', '{}', '[]']::jsonb[]) m;

-- refused, naming the path
SELECT said(v) FROM unnest(ARRAY['1', '[]', '"a = 1"', '{}', '{"field": "a", "operator": "=", "value": 1}', '{"combinator": "and", "rules": []}', '{"combinator": "and", "rules": {}}', '{"combinator": "xor", "rules": [{"field": "a", "operator": "null"}]}',
	'{"combinator": "and", "muted": true, "rules": []}', '{"combinator": "and", "not": "yes", "rules": []}', '{"combinator": "and", "rule": [], "rules": []}']::jsonb[]) v;
SELECT rules('{"field": "ok", "operator": "=", "value": 1}', v) FROM unnest(ARRAY['5', '"and"', '{"combinator": "or", "rules": []}', '{"combinator": "or", "rules": [{"field": "a", "operator": "=", "value": 1, "muted": true}]}',
	'{"operator": "=", "value": 1}', '{"field": "~", "operator": "=", "value": 1}', '{"field": 1, "operator": "=", "value": 1}', '{"field": " ", "operator": "=", "value": 1}', '{"field": "a", "value": 1}', '{"field": "a", "operator": "~", "value": 1}', '{"field": "a", "operator": "like", "value": 1}',
	'{"field": "a", "operator": "="}', '{"field": "a", "operator": "=", "value": null}', '{"field": "a", "operator": "=", "value": "~"}', '{"field": "a", "operator": "=", "value": ""}', '{"field": "a", "operator": "contains", "value": "  "}', '{"field": "a", "operator": "=", "value": [1]}',
	'{"field": "a", "operator": "=", "value": {"text": "x", "more": 1}}', '{"field": "a", "operator": "=", "value": {"texts": "x"}}', '{"field": "a", "operator": "=", "value": {"text": ""}}',
	'{"field": "a", "operator": "in", "value": []}', '{"field": "a", "operator": "in", "value": ""}', '{"field": "a", "operator": "in", "value": 5}', '{"field": "a", "operator": "in", "value": ["x", null]}', '{"field": "a", "operator": "in", "value": ["x", {}]}',
	'{"field": "a", "operator": "between", "value": "1,"}', '{"field": "a", "operator": "between", "value": [1, 2, 3]}', '{"field": "a", "operator": "between", "value": [2, 1]}', '{"field": "a", "operator": "between", "value": [1, ""]}',
	'{"field": "a", "operator": "=", "value": "2026-02-30"}', '{"field": "a", "operator": "=", "value": "-366001d"}', '{"field": "a", "operator": "during", "value": "january"}', '{"field": "a", "operator": "during", "value": 1}',
	'{"field": "a", "operator": "=", "value": "b", "valueSource": "fields"}', '{"field": "a", "operator": "=", "value": 5, "valueSource": "field"}', '{"field": "a", "operator": "=", "value": "", "valueSource": "field"}', '{"field": "a", "operator": "in", "value": "b", "valueSource": "field"}',
	'{"field": "a", "operator": "=", "value": {"field": "b", "times": "2"}, "valueSource": "field"}', '{"field": "a", "operator": "=", "value": {"field": "b", "time": 2}, "valueSource": "field"}',
	'{"field": "tier(ladder = '' '')", "operator": "=", "value": "x"}', '{"field": "anniversary(a)", "operator": "in", "value": ["today"]}', '{"field": "a", "operator": "=", "value": {"field": "anniversary(b)"}, "valueSource": "field"}',
	'{"field": "a", "operator": "=", "value": 1, "wher": {}}', '{"field": "a", "operator": "=", "value": 1, "disabled": 1}', '{"field": "a", "operator": "=", "value": 1, "function": "lower"}', '{"field": "a", "operator": "=", "value": 1, "function": "unaccented"}',
	'{"field": "a", "operator": "=", "value": 1, "where": {}}', '{"field": "a", "operator": "=", "value": 1, "where": {"combinator": "and", "rules": []}}', '{"field": "a", "operator": "=", "value": 1, "where": {"combinator": "or", "rules": [{"field": "b", "operator": "null"}, {"field": "c", "operator": "null"}]}}',
	'{"field": "a", "operator": "=", "value": 1, "where": {"combinator": "and", "not": true, "rules": [{"field": "b", "operator": "null"}]}}', '{"field": "a", "operator": "=", "value": 1, "where": {"combinator": "and", "rules": [{"field": "b", "operator": "null", "muted": true}]}}',
	'{"field": "a", "operator": "=", "value": 1, "where": {"combinator": "and", "muted": true, "rules": []}}', '{"field": "anniversary", "operator": "=", "value": 1, "where": {"combinator": "and", "rules": [{"field": "b", "operator": "null"}]}}',
	'{"field": "e", "operator": "=", "match": {"mode": "some"}, "value": ""}', '{"field": "e", "match": {"mode": "some"}, "value": {"combinator": "and", "rules": [{"field": "x", "match": {"mode": "some"}, "value": {"rules": []}}]}}']::jsonb[]) v;
SELECT said(v) FROM unnest(ARRAY['{"rules": [{"field": "a", "operator": "null"}, {"field": "b", "operator": "null"}]}', '{"rules": [{"field": "a", "operator": "null"}, "and"]}', '{"rules": [{"field": "a", "operator": "null"}, "but", {"field": "b", "operator": "null"}]}', '{"rules": ["and"]}',
	'{"combinator": "and", "rules": [{"field": "a", "operator": "null"}, "and", {"field": "b", "operator": "null"}]}']::jsonb[]) v;

-- NULL, storing
SELECT NULL::jsonb::segment.condition IS NULL, NULL::segment.condition::jsonb IS NULL;
CREATE TABLE kept (c segment.condition);
INSERT INTO kept SELECT '{"combinator": "and", "rules": [{"field": "a", "operator": "=", "value": 1}]}'::jsonb;
TABLE kept;
SELECT length((repeat('(a = 1 AND (b = 2 OR ', 500) || 'c = 3' || repeat('))', 500))::segment.condition::jsonb::segment.condition::text);
SET client_min_messages = warning;
DROP SCHEMA language CASCADE;
