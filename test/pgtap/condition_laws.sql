-- Laws of the type segment.condition over many generated conditions.
-- A failing run is repeated with: pg_prove --set seed=0.123 ... test/pgtap/condition_laws.sql
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
BEGIN;
SET LOCAL search_path = segment, public;
\if :{?seed}
\else
	SELECT round(random()::numeric, 6) AS seed \gset
\endif
\echo # seed :seed
SELECT setseed(:seed) IS NULL AS seeded \gset

SELECT plan(15);

-- the generator: one spelling of a random condition

CREATE FUNCTION pg_temp.pick(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS
	$$ SELECT choices[1 + floor(random() * cardinality(choices))::int] $$;
CREATE FUNCTION pg_temp.n(most int) RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT floor(random() * (most + 1))::int $$;

CREATE FUNCTION pg_temp.quoted() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	t text := pg_temp.pick('a', 'vip', 'Dũng', 'it''s', 'C:\', '\', '\''', '2026-01-31', 'today', '-30d', '~', 'x y', '12', 'Quận 1', E'two\nlines', '--', '"', '%', '🎁', 'TRUE', '''')
		|| pg_temp.pick('', '', '', 'z', '\', '''', '(');
BEGIN
	RETURN '''' || replace(replace(t, '\', '\\'), '''', pg_temp.pick('''''', '\''')) || '''';
END $$;
CREATE FUNCTION pg_temp.num() RETURNS text LANGUAGE sql VOLATILE AS
	$$ SELECT pg_temp.pick('0', '1', '-1', '1.0', '1.50', '007', '5_000_000', '-0.0', '.5', '123456789012345678901234567890.123456789', '+3', '-12.340') $$;
CREATE FUNCTION pg_temp.val() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE pg_temp.n(7)
		WHEN 0 THEN pg_temp.quoted() WHEN 1 THEN pg_temp.num() WHEN 2 THEN pg_temp.pick('TRUE', 'false')
		WHEN 3 THEN to_char('2000-01-01'::date + pg_temp.n(20000) - 10000, 'YYYY-MM-DD')
		WHEN 4 THEN to_char('2000-01-01'::timestamp + random() * interval '50 years' - interval '25 years', 'YYYY-MM-DD"T"HH24:MI:SS.US')
		WHEN 5 THEN pg_temp.pick('+', '-') || pg_temp.n(1000) || pg_temp.pick('d', 'w', 'm', 'y', 'D')
		WHEN 6 THEN pg_temp.pick('today', 'yesterday', 'TOMORROW', '7_days_ago', '12_months_ago')
		ELSE pg_temp.quoted() END $$;
CREATE FUNCTION pg_temp.vals() RETURNS text LANGUAGE sql VOLATILE AS
	$$ SELECT '(' || string_agg(pg_temp.val(), pg_temp.pick(',', ', ')) || ')' FROM generate_series(1, 1 + pg_temp.n(3)) i $$;
CREATE FUNCTION pg_temp.field() RETURNS text LANGUAGE sql VOLATILE AS
	$$ SELECT pg_temp.pick('a', 'amount_spent', 'Last_Order_Date', 'tags', 'customer_tags', 'custom.x', 'điểm', '''Two words''', '''in''', '''metafields.a.b''', 'any', 'starts', 'custom.in', 'x1.y_2.z', 'month') $$;
CREATE FUNCTION pg_temp.cmp() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT pg_temp.pick('=', '!=', '<>', '<', '<=', '>', '>=') $$;
CREATE FUNCTION pg_temp.no() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT pg_temp.pick(' ', ' NOT ', ' not ') $$;
CREATE FUNCTION pg_temp.period() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE pg_temp.n(1)
		WHEN 0 THEN pg_temp.pick('this', 'last', 'next') || '_' || pg_temp.pick('week', 'month', 'quarter', 'half_year', 'year', 'period')
		ELSE pg_temp.pick('week', 'month', 'quarter', 'half_year', 'year', 'period') || '(' || pg_temp.n(10) - 5 || ')' END $$;
CREATE FUNCTION pg_temp.simple(figure text) RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE pg_temp.n(7)
		WHEN 0 THEN figure || pg_temp.cmp() || pg_temp.val()
		WHEN 1 THEN figure || ' ' || pg_temp.cmp() || ' ' || pg_temp.pick('', '2 * ', '1 * ', '0.30*') || pg_temp.pick('b', 'custom.c', 'ends')
		WHEN 2 THEN figure || pg_temp.no() || pg_temp.pick('BETWEEN 1 AND 2', 'between ''a'' and ''b''', 'BETWEEN -3d AND tomorrow', 'BETWEEN 2026-01-01 AND 2026-01-01', 'BETWEEN -0.5 AND -0.49')
		WHEN 3 THEN figure || pg_temp.no() || 'IN ' || pg_temp.vals()
		WHEN 4 THEN figure || ' IS' || pg_temp.no() || 'NULL'
		WHEN 5 THEN figure || pg_temp.no() || 'DURING ' || pg_temp.period()
		WHEN 6 THEN pg_temp.pick(figure, 'unaccented(' || figure || ')') || pg_temp.no() || pg_temp.pick('CONTAINS', 'STARTS WITH', 'ends  with', 'HAS WORD')
			|| ' ' || pg_temp.pick('', 'ANY ') || pg_temp.pick(pg_temp.val(), pg_temp.vals())
		ELSE figure || pg_temp.no() || 'CONTAINS ALL ' || pg_temp.vals() END $$;
CREATE FUNCTION pg_temp.params() RETURNS text LANGUAGE sql VOLATILE AS
	$$ SELECT '(' || string_agg(pg_temp.simple(pg_temp.field()), pg_temp.pick(', ', ' AND ')) || ')' FROM generate_series(1, 1 + pg_temp.n(2)) i $$;
CREATE FUNCTION pg_temp.clause() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE pg_temp.n(7)
		WHEN 0 THEN pg_temp.simple('amount_spent' || pg_temp.params())
		WHEN 1 THEN 'orders_placed' || pg_temp.no() || 'MATCHES ' || pg_temp.pick('()', pg_temp.params(), pg_temp.params())
		WHEN 2 THEN 'anniversary(birth_date)' || pg_temp.pick(' BETWEEN today AND +30d', ' = today', ' DURING next_month', ' NOT DURING month(2)', ' BETWEEN 2000-12-20 AND 2000-01-10')
		WHEN 3 THEN 'products_purchased(id: ' || pg_temp.pick('1', '(1, 2)', '''x''') || ')' || pg_temp.pick(' = true', ' = false', ' != TRUE')
		WHEN 4 THEN 'a > ' || pg_temp.pick('', '3 * ') || 'amount_spent' || pg_temp.params()
		WHEN 5 THEN pg_temp.pick('TRUE', 'FALSE')
		ELSE pg_temp.simple(pg_temp.field()) END $$;
CREATE FUNCTION pg_temp.condition(depth int) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	shape int := CASE WHEN depth = 0 THEN 0 ELSE pg_temp.n(5) END;
BEGIN
	CASE shape
		WHEN 0, 1 THEN RETURN pg_temp.clause();
		WHEN 2 THEN RETURN 'NOT (' || pg_temp.condition(depth - 1) || ')';
		WHEN 3 THEN RETURN '(' || pg_temp.condition(depth - 1) || ')';
		WHEN 4 THEN RETURN pg_temp.condition(depth - 1) || pg_temp.pick(' AND ', ' or ', E'\n-- and\nAND ') || pg_temp.condition(depth - 1);
		ELSE RETURN '(' || pg_temp.condition(depth - 1) || ')' || pg_temp.pick(' AND ', ' OR ') || '(' || pg_temp.condition(depth - 1) || ')';
	END CASE;
END $$;

CREATE TEMP TABLE held AS
	SELECT i, source, source::condition AS c FROM (SELECT i, pg_temp.condition(4) AS source FROM generate_series(1, 3000) i OFFSET 0) AS written;

SELECT cmp_ok((SELECT count(DISTINCT c) FROM held), '>', 1500::bigint, 'the conditions differ');
SELECT is_empty('SELECT i, source, c FROM held WHERE c::text::condition <> c', 'in(out(c)) = c');
SELECT is_empty('SELECT i, source, c FROM held WHERE c::text::condition::text <> c::text', 'the canonical text is a fixed point');
SELECT is_empty('SELECT i, source, c FROM held WHERE c::jsonb::condition <> c', 'JSON and back is the same');
SELECT is_empty('SELECT i, source, c FROM held WHERE c::jsonb::text::jsonb::condition::jsonb <> c::jsonb', 'JSON from JSON is the same');
SELECT is_empty('SELECT i, source, c FROM held WHERE _condition_hash(c) <> _condition_hash(c::text::condition)
	OR _condition_hash(c, 42) <> _condition_hash(c::jsonb::condition, 42)', 'equal conditions hash equally');
SELECT is_empty('SELECT a.c, b.c FROM held a, held b WHERE a.i % 20 = 0 AND b.i % 20 < 2
	AND ((a.c = b.c) <> (a.c::text = b.c::text) OR (a.c = b.c AND _condition_hash(a.c) <> _condition_hash(b.c)) OR (a.c <> b.c) = (a.c = b.c))',
	'conditions are equal exactly when their texts are');
SELECT is_empty('SELECT a.c, b.c FROM held a, held b WHERE a.i % 20 = 0 AND b.i % 20 < 2
	AND (_condition_cmp(a.c, b.c) <> -_condition_cmp(b.c, a.c) OR (a.c < b.c) <> (a.c::text COLLATE "C" < b.c::text COLLATE "C")
		OR (a.c <= b.c) <> (a.c < b.c OR a.c = b.c) OR (a.c > b.c) <> (b.c < a.c) OR (a.c >= b.c) <> (b.c <= a.c))',
	'the order is that of the texts');
SELECT is_empty('SELECT i, c FROM held WHERE negate(negate(c)) <> c', 'twice negated is the same');
SELECT is_empty('SELECT i, c FROM held WHERE all_of(c) <> c OR any_of(c) <> c', 'all and any of one are that one');
SELECT is_empty('SELECT a.c, b.c, d.c FROM held a JOIN held b ON b.i = a.i + 1 JOIN held d ON d.i = a.i + 2
	WHERE all_of(all_of(a.c, b.c), d.c) <> all_of(a.c, all_of(b.c, d.c)) OR any_of(any_of(a.c, b.c), d.c) <> any_of(a.c, b.c, d.c)',
	'composition is associative');
SELECT is_empty('SELECT i, c FROM held WHERE (''(('' || c::text || ''))'')::condition <> c', 'parentheses around it change nothing');

-- the binary protocol
\set file `mktemp`
\setenv CONDITION_LAWS :file
CREATE TEMP TABLE received (i int, c condition);
\copy (SELECT i, c FROM held) TO PROGRAM 'cat > "$CONDITION_LAWS"' WITH (FORMAT binary)
\copy received FROM PROGRAM 'cat "$CONDITION_LAWS"' WITH (FORMAT binary)
\! rm -f "$CONDITION_LAWS"
SELECT is((SELECT count(*) FROM held JOIN received USING (i) WHERE held.c = received.c), 3000::bigint, 'recv(send(c)) = c, through COPY BINARY');
SELECT is_empty('SELECT i FROM held WHERE get_byte(_condition_send(c), 0) <> 1 OR substr(_condition_send(c), 2) <> convert_to(c::text, ''UTF8'')',
	'the binary form is a version byte and the text');

-- trees with something wrong in them: one member or element removed, doubled or replaced
CREATE FUNCTION pg_temp.spoil(tree jsonb) RETURNS jsonb LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	path text[];
BEGIN
	WITH RECURSIVE places(path, value) AS (
		SELECT '{}'::text[], tree
		UNION ALL
		SELECT p.path || m.key, m.value
		FROM places p, LATERAL (
			SELECT key, value FROM jsonb_each(CASE jsonb_typeof(p.value) WHEN 'object' THEN p.value ELSE '{}' END)
			UNION ALL
			SELECT (n - 1)::text, value FROM jsonb_array_elements(CASE jsonb_typeof(p.value) WHEN 'array' THEN p.value ELSE '[]' END) WITH ORDINALITY e(value, n)
		) m)
	SELECT p.path INTO path FROM places p WHERE p.path <> '{}' ORDER BY random() LIMIT 1;
	RETURN CASE pg_temp.n(2)
		WHEN 0 THEN tree #- path
		ELSE jsonb_set(tree, path, pg_temp.pick('null', 'true', '0', '-1.5', '1e300', '""', '"~"', '"and"', '"2026-02-30"', '"-30d"', '"field"', '"in"', '"during"', '"everybody"',
			'[]', '[1, 2]', '["a", null]', '{}', '{"text": "x"}', '{"text": 1}', '{"rules": []}', '{"field": "b", "times": 2}', '{"combinator": "or", "rules": [{"field": "a", "operator": "null"}]}',
			'{"mode": "atLeast", "threshold": 3}')::jsonb)
	END;
END $$;
CREATE FUNCTION pg_temp.outcome(tree jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	c condition;
BEGIN
	c := tree::condition;
	RETURN CASE WHEN c::jsonb::condition = c AND c::text::condition = c THEN 'condition' ELSE 'unstable: ' || c::text END;
EXCEPTION WHEN invalid_text_representation OR syntax_error OR datetime_field_overflow OR numeric_value_out_of_range THEN
	RETURN 'refused';
END $$;
SELECT set_eq('SELECT pg_temp.outcome(pg_temp.spoil(c::jsonb)) FROM held', ARRAY['condition', 'refused'],
	'a spoiled tree is a condition or refused, nothing else');

SELECT * FROM finish();
ROLLBACK;
