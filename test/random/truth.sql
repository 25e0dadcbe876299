-- What segment must say, in plain SQL over the shop's own tables. Nothing here
-- asks segment how it understood them; ladders and tiers, and which tables are
-- attached, are read as given.
--
-- SELECT * FROM truth.differences(false, true) has no row where everything is
-- right, truth.differences(true, true) none where the state is stale and says so.
-- Variables: shop_truth (file with the views over this shop's tables, each row
-- for which counted_when holds and whose order or return, where one is named,
-- counts: truth.customers, orders, returns, order_lines, return_lines; whether
-- lines have no key of their own and are added up per order or return:
-- truth.adds_up_lines(role); and truth.may_be_left_out), anonymous (the walk-in customer), and the shop's own.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE SCHEMA truth;

-- the full name of a table, whatever the user's search_path is
CREATE FUNCTION truth.name(relation regclass) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT c.relnamespace::regnamespace::text || '.' || c.relname FROM pg_class c WHERE c.oid = relation
$$;
CREATE FUNCTION truth.is_attached(relation text, role text) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM segment.attachments a WHERE truth.name(a.relation) = is_attached.relation AND a.role = is_attached.role)
$$;

-- Money and time that can be added up, and a number of items or none.
CREATE FUNCTION truth.usable(amount numeric, at timestamptz, items numeric) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
	SELECT coalesce(amount > -1e30 AND amount < 1e30 AND at >= '0001-01-01 00:00+00' AND at < '10000-01-01 00:00+00'
					AND (items IS NULL OR items > -1e30 AND items < 1e30), false)
$$;
CREATE FUNCTION truth.usable(quantity numeric) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
	SELECT coalesce(quantity > -1e30 AND quantity < 1e30, false)
$$;

\i :shop_truth

CREATE VIEW truth.counted_orders AS SELECT * FROM truth.orders WHERE truth.usable(amount, at, items) AND customer_id <> :'anonymous';
CREATE VIEW truth.counted_returns AS SELECT * FROM truth.returns WHERE truth.usable(amount, at, items) AND customer_id <> :'anonymous';
CREATE VIEW truth.counted_order_lines AS SELECT * FROM truth.order_lines WHERE truth.usable(quantity) AND customer_id <> :'anonymous';
CREATE VIEW truth.counted_return_lines AS SELECT * FROM truth.return_lines WHERE truth.usable(quantity) AND customer_id <> :'anonymous';

-- Everybody for whom anything counts, customer or not; walk-in sales are nobody's.
CREATE VIEW truth.figures AS
	SELECT customer_id,
		   customer_id IN (SELECT c.customer_id FROM truth.customers c) AS is_customer,
		   coalesce(o.n, 0) AS number_of_orders,
		   coalesce(r.n, 0) AS number_of_returns,
		   coalesce(o.amount, 0) AS amount_ordered,
		   coalesce(r.amount, 0) AS amount_returned,
		   coalesce(o.items, 0) + coalesce(ol.items, 0) AS items_bought,
		   coalesce(r.items, 0) + coalesce(rl.items, 0) AS items_returned,
		   (o.first AT TIME ZONE 'Asia/Ho_Chi_Minh')::date AS first_order_date,
		   (o.last AT TIME ZONE 'Asia/Ho_Chi_Minh')::date AS last_order_date,
		   o.first, o.last
	FROM truth.customers
		FULL JOIN (SELECT customer_id, count(*) AS n, sum(amount) AS amount, min(at) AS first, max(at) AS last, sum(items) AS items
				   FROM truth.counted_orders GROUP BY customer_id) o USING (customer_id)
		FULL JOIN (SELECT customer_id, count(*) AS n, sum(amount) AS amount, sum(items) AS items
				   FROM truth.counted_returns GROUP BY customer_id) r USING (customer_id)
		FULL JOIN (SELECT customer_id, sum(quantity) AS items FROM truth.counted_order_lines GROUP BY customer_id) ol USING (customer_id)
		FULL JOIN (SELECT customer_id, sum(quantity) AS items FROM truth.counted_return_lines GROUP BY customer_id) rl USING (customer_id);

CREATE VIEW truth.tiers AS
	SELECT v.customer_id, v.ladder, t.code AS tier, t.points_floor, v.value, n.code AS next_tier, n.min_value - v.value AS to_next
	FROM (SELECT f.customer_id, l.code AS ladder,
				 CASE l.figure WHEN 'amount_spent' THEN f.amount_ordered - f.amount_returned
							   WHEN 'amount_ordered' THEN f.amount_ordered
							   WHEN 'amount_returned' THEN f.amount_returned
							   WHEN 'number_of_orders' THEN f.number_of_orders
							   WHEN 'number_of_returns' THEN f.number_of_returns
							   WHEN 'items_bought' THEN f.items_bought
							   WHEN 'items_returned' THEN f.items_returned END AS value
		  FROM truth.figures f CROSS JOIN segment.ladders l WHERE f.is_customer AND l.active) v
		LEFT JOIN LATERAL (
			SELECT t.* FROM segment.tiers t
			WHERE t.ladder = v.ladder AND t.active
				AND (t.min_value <= v.value
					 OR t.min_value = 0 AND t.min_value = (SELECT min(u.min_value) FROM segment.tiers u WHERE u.ladder = v.ladder))
			ORDER BY t.min_value DESC LIMIT 1) t ON true
		LEFT JOIN LATERAL (
			SELECT u.* FROM segment.tiers u
			WHERE u.ladder = v.ladder AND u.active AND u.min_value > v.value AND u.min_value > coalesce(t.min_value, '-Infinity')
			ORDER BY u.min_value LIMIT 1) n ON true;

CREATE VIEW truth.lines_left_out AS
	SELECT l.*, CASE WHEN quantity IN ('Infinity', '-Infinity') THEN 'infinite' WHEN quantity <> 'NaN' THEN 'large' ELSE quantity::text END AS reason
	FROM (SELECT *, 'order_lines' AS role FROM truth.order_lines UNION ALL SELECT *, 'return_lines' FROM truth.return_lines) l
	WHERE customer_id <> :'anonymous' AND NOT truth.usable(quantity);

-- Rows that should count for somebody but hold what cannot be added up; of lines
-- without a key, one for each order and reason.
CREATE VIEW truth.left_out AS
	SELECT source, 'orders' AS role, key FROM truth.orders WHERE customer_id <> :'anonymous' AND NOT truth.usable(amount, at, items)
	UNION ALL
	SELECT source, 'returns', key FROM truth.returns WHERE customer_id <> :'anonymous' AND NOT truth.usable(amount, at, items)
	UNION ALL
	SELECT source, role, key FROM truth.lines_left_out WHERE NOT truth.adds_up_lines(role)
	UNION ALL
	SELECT source, role, key FROM truth.lines_left_out WHERE truth.adds_up_lines(role) GROUP BY source, role, key, reason;

CREATE VIEW truth.counted_lines AS
	SELECT *, 'order_lines' AS role FROM truth.counted_order_lines UNION ALL SELECT *, 'return_lines' FROM truth.counted_return_lines;

-- What each row of a linked source counts for, and what the ledgers say.
CREATE VIEW truth.ledger AS
	SELECT source, 'orders' AS role, key, customer_id, amount, at, coalesce(items, 0) AS items FROM truth.counted_orders
	UNION ALL
	SELECT source, 'returns', key, customer_id, amount, at, coalesce(items, 0) FROM truth.counted_returns
	UNION ALL
	SELECT source, role, key, customer_id, NULL, NULL, quantity FROM truth.counted_lines WHERE NOT truth.adds_up_lines(role)
	UNION ALL
	SELECT source, role, key, customer_id, NULL, NULL, sum(quantity) FROM truth.counted_lines WHERE truth.adds_up_lines(role) GROUP BY 1, 2, 3, 4;

CREATE FUNCTION truth.ledger_differences() RETURNS TABLE (detail text) LANGUAGE plpgsql AS $$
DECLARE
	a segment.attachments;
BEGIN
	FOR a IN SELECT * FROM segment.attachments ORDER BY id LOOP
		CONTINUE WHEN to_regclass('segment.counted_' || a.id) IS NULL;
		RETURN QUERY EXECUTE format(
			'WITH stored AS (SELECT c.key::text, c.customer_id, c.amount, c.at, coalesce(c.items, 0) FROM segment.counted_%s c),
				  expected AS (SELECT e.key, e.customer_id, e.amount, e.at, e.items FROM truth.ledger e WHERE (e.source, e.role) = (%L, %L))
			 SELECT %L || '' expected '' || e::text FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM stored) e
			 UNION ALL
			 SELECT %L || '' stored '' || s::text FROM (SELECT * FROM stored EXCEPT ALL SELECT * FROM expected) s',
			a.id, truth.name(a.relation), a.role, truth.name(a.relation), truth.name(a.relation));
	END LOOP;
END
$$;

-- The log, told in order: each move of a customer on a ladder goes on from the one before.
CREATE VIEW truth.moves AS
	SELECT c.customer_id, c.ladder, c.version, c.action, c.old_tier, c.new_tier, c.at,
		   lag(c.new_tier) OVER w AS held, lead(c.version) OVER w AS next,
		   count(*) OVER (PARTITION BY c.customer_id, c.ladder, c.version) AS twins
	FROM segment.changes c WHERE c.kind = 'tier'
	WINDOW w AS (PARTITION BY c.customer_id, c.ladder ORDER BY c.version);

-- Customers whose figures or tiers are not right.
CREATE VIEW truth.wrong AS
	SELECT coalesce(e.customer_id, s.customer_id) AS customer_id
	FROM truth.figures e FULL JOIN segment.facts s ON s.customer_id = e.customer_id
	WHERE (coalesce(e.is_customer, false), coalesce(e.number_of_orders, 0), coalesce(e.number_of_returns, 0), coalesce(e.amount_ordered, 0),
		   coalesce(e.amount_returned, 0), coalesce(e.items_bought, 0), coalesce(e.items_returned, 0), e.first, e.last)
		IS DISTINCT FROM
		  (coalesce(s.is_customer, false), coalesce(s.number_of_orders, 0), coalesce(s.number_of_returns, 0), coalesce(s.amount_ordered, 0),
		   coalesce(s.amount_returned, 0), coalesce(s.items_bought, 0), coalesce(s.items_returned, 0), s.first_order_at, s.last_order_at)
	UNION
	SELECT coalesce(e.customer_id, s.customer_id)
	FROM (SELECT customer_id, ladder, tier FROM truth.tiers WHERE tier IS NOT NULL) e
		FULL JOIN (SELECT s.customer_id, t.ladder, t.code AS tier
				   FROM segment.standings s CROSS JOIN LATERAL unnest(s.held) AS u(id) JOIN segment.tiers t ON t.id = u.id) s
			ON (s.customer_id, s.ladder, s.tier) = (e.customer_id, e.ladder, e.tier)
	WHERE e.tier IS NULL OR s.tier IS NULL;

-- When to compare: always, only while nothing is or something is stale, or now
-- and then, for what follows from the rest.
CREATE TABLE truth.checks (n integer GENERATED ALWAYS AS IDENTITY, what text, at text, expected text, stored text);
INSERT INTO truth.checks (what, at, expected, stored) VALUES
	('figures', 'exact',
	 'SELECT customer_id, number_of_orders, number_of_returns, amount_ordered - amount_returned, amount_ordered, amount_returned,
			 items_bought, items_returned, CASE WHEN number_of_orders > 0 THEN ''right'' END, first_order_date, last_order_date
	  FROM truth.figures WHERE is_customer',
	 'SELECT customer_id, number_of_orders, number_of_returns, amount_spent, amount_ordered, amount_returned, items_bought, items_returned,
			 CASE WHEN abs(average_order_value * number_of_orders - amount_ordered) <= 1e-12 * abs(amount_ordered) THEN ''right''
				  ELSE average_order_value::text END, first_order_date, last_order_date
	  FROM segment.customers'),
	('figures of anybody', 'exact',
	 'SELECT NULL::text WHERE false',
	 'SELECT w::text FROM truth.wrong w'),
	('rows kept for nobody', 'exact',
	 'SELECT NULL::text WHERE false',
	 'SELECT f::text FROM segment.facts f WHERE NOT is_customer AND number_of_orders = 0 AND number_of_returns = 0
		AND (amount_ordered <> 0 OR amount_returned <> 0 OR first_order_at IS NOT NULL OR last_order_at IS NOT NULL
			 OR customer_id NOT IN (SELECT customer_id FROM segment.changes
									UNION SELECT customer_id FROM truth.counted_order_lines UNION SELECT customer_id FROM truth.counted_return_lines))'),
	('tiers', 'exact',
	 'SELECT customer_id, ladder, tier, points_floor, value, next_tier, to_next FROM truth.tiers',
	 'SELECT customer_id, ladder, tier, points_floor, value, next_tier, to_next FROM segment.customer_tiers'),
	('standings of nobody', 'seldom',
	 'SELECT customer_id FROM truth.figures WHERE false',
	 'SELECT customer_id FROM segment.standings WHERE customer_id NOT IN (SELECT customer_id FROM truth.customers)'),
	('tier sizes', 'seldom',
	 'SELECT ladder, tier, count(*) FROM truth.tiers WHERE tier IS NOT NULL GROUP BY 1, 2',
	 'SELECT ladder, tier, customers FROM segment.tier_sizes WHERE tier IS NOT NULL AND customers > 0'),
	('tier of a programme', 'seldom',
	 'SELECT DISTINCT ON (t.customer_id, l.programme) t.customer_id, l.programme, t.ladder, t.tier
	  FROM truth.tiers t JOIN segment.ladders l ON l.code = t.ladder
		LEFT JOIN (SELECT ladder, code, coalesce(rank, row_number() OVER (PARTITION BY ladder ORDER BY min_value)) AS rank
				   FROM segment.tiers) k ON k.ladder = t.ladder AND k.code = t.tier
	  ORDER BY t.customer_id, l.programme, k.rank DESC NULLS LAST, l.is_default DESC, l.code',
	 'SELECT customer_id, programme, ladder, tier FROM segment.customer_tier'),
	('rows left out', 'exact',
	 'SELECT source, role, key FROM truth.left_out',
	 'SELECT truth.name(a.relation), a.role, o.row_key FROM segment.left_out o JOIN segment.attachments a ON a.id = o.source
	  CROSS JOIN LATERAL generate_series(1, o.n)
	  WHERE (truth.name(a.relation), a.role, o.row_key) IN (SELECT source, role, key FROM truth.left_out)
		 OR (truth.name(a.relation), a.role, o.row_key) NOT IN (SELECT source, role, key FROM truth.may_be_left_out)'),
	('ledgers', 'exact',
	 'SELECT NULL::text WHERE false',
	 'SELECT d.detail FROM truth.ledger_differences() d'),
	('segment.verify()', 'exact',
	 'SELECT NULL::text WHERE false',
	 'SELECT v::text FROM segment.verify() v'),
	('segment.status()', 'exact',
	 'SELECT ''state'', ''exact''',
	 'SELECT item, state FROM segment.status() WHERE item = ''state'' OR state = ''stale'''),
	('stale', 'seldom',
	 'SELECT NULL::text WHERE false',
	 'SELECT customer_id::text FROM segment.customers WHERE stale
	  UNION ALL SELECT customer_id::text FROM segment.customer_tiers WHERE stale
	  UNION ALL SELECT ladder FROM segment.tier_sizes WHERE stale'),
	('stale marks', 'seldom',
	 'SELECT NULL::text, NULL::text WHERE false',
	 'SELECT (SELECT truth.name(a.relation) || '' as '' || a.role FROM segment.attachments a WHERE a.id = source), reason FROM segment.stale_marks'),

	-- stale or not
	('customers that are wrong and not stale', 'stale',
	 'SELECT NULL::text WHERE false',
	 'SELECT c.customer_id::text FROM segment.customers c WHERE NOT c.stale AND c.customer_id IN (SELECT w.customer_id FROM truth.wrong w)
	  UNION ALL
	  SELECT w.customer_id::text FROM truth.wrong w WHERE NOT EXISTS (SELECT FROM segment.status() s WHERE s.state = ''stale'')'),
	('customers that verify() names', 'stale',
	 'SELECT DISTINCT customer_id FROM truth.wrong',
	 'SELECT DISTINCT v.customer_id FROM segment.verify() v WHERE v.figure !~ ''^rows? of'''),
	('rows left out below zero', 'exact',
	 'SELECT NULL::text, NULL::bigint WHERE false',
	 'SELECT row_key, n FROM segment.left_out WHERE n <= 0'),
	('moves in the log that do not follow from the one before', 'always',
	 'SELECT customer_id, ladder, version, old_tier, held FROM truth.moves WHERE false',
	 'SELECT customer_id, ladder, version, old_tier, held FROM truth.moves
	  WHERE twins > 1 OR old_tier IS DISTINCT FROM held OR old_tier IS NOT DISTINCT FROM new_tier
		 OR (action = ''enter'') <> (old_tier IS NULL) OR (action = ''leave'') <> (new_tier IS NULL)'),
	('last move of each customer', 'always',
	 'SELECT s.customer_id, t.ladder, t.code, u.since FROM segment.standings s CROSS JOIN LATERAL unnest(s.held, s.since) AS u(id, since)
	  JOIN segment.tiers t ON t.id = u.id',
	 'SELECT customer_id, ladder, new_tier, at FROM truth.moves WHERE next IS NULL AND new_tier IS NOT NULL'),
	('remains of what is not attached', 'always',
	 'SELECT NULL::text WHERE false',
	 'SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = ''segment''::regnamespace AND c.relname ~ ''^(source|counted)_\d+$''
		AND NOT EXISTS (SELECT FROM segment.attachments a WHERE c.relname IN (''source_'' || a.id, ''counted_'' || a.id))
	  UNION ALL
	  SELECT o.row_key FROM segment.left_out o WHERE o.source NOT IN (SELECT a.id FROM segment.attachments a)
	  UNION ALL
	  SELECT m.reason FROM segment.stale_marks m WHERE m.source NOT IN (SELECT a.id FROM segment.attachments a)
	  UNION ALL
	  SELECT f::text FROM segment.former_tiers f
	  UNION ALL
	  SELECT f::text FROM segment.former_groups f
	  UNION ALL
	  SELECT t.tgrelid::regclass || '' '' || t.tgname FROM pg_trigger t WHERE t.tgname LIKE ''\_segment%''
		AND t.tgrelid NOT IN (SELECT a.relation FROM segment.attachments a UNION SELECT w FROM segment.attachments a, unnest(segment._watched(a.id)) w
							  UNION SELECT c.oid FROM pg_class c WHERE c.relnamespace = ''segment''::regnamespace
							  UNION SELECT p.relid FROM segment.attachments a, pg_partition_tree(a.relation) p)');

-- One function for each, so that a session plans it once.
SELECT format($f$CREATE FUNCTION truth.check_%1$s() RETURNS TABLE (what text, detail text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY WITH expected AS MATERIALIZED (%3$s), stored AS MATERIALIZED (%4$s)
		SELECT %2$L::text, 'expected ' || e::text FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM stored) e
		UNION ALL
		SELECT %2$L::text, 'stored ' || s::text FROM (SELECT * FROM stored EXCEPT ALL SELECT * FROM expected) s;
END
$$$f$, n, what, expected, stored) FROM truth.checks ORDER BY n \gexec

SELECT format($f$CREATE FUNCTION truth.differences(is_stale boolean, thorough boolean) RETURNS TABLE (what text, detail text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
	%1$s
END
$$$f$, string_agg(format('IF %s THEN RETURN QUERY SELECT * FROM truth.check_%s(); END IF;',
		CASE at WHEN 'always' THEN 'true' WHEN 'exact' THEN 'NOT is_stale' WHEN 'stale' THEN 'is_stale' WHEN 'seldom' THEN 'thorough AND NOT is_stale' END, n), ' ' ORDER BY n))
FROM truth.checks \gexec
