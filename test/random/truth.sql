-- What segment must say, in plain SQL over the shop's own tables. Nothing here
-- asks segment how it understood them; ladders and tiers are read as given.
--
-- SELECT * FROM truth.differences() has no row where everything is right.
-- Variables: as in shop.sql.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE SCHEMA truth;

-- the full name of a table, whatever the user's search_path is
CREATE FUNCTION truth.name(relation regclass) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT c.relnamespace::regnamespace::text || '.' || c.relname FROM pg_class c WHERE c.oid = relation
$$;

CREATE VIEW truth.customers AS
	SELECT c.id AS customer_id FROM shop.customers c
	WHERE c.deleted_at IS NULL AND c.id <> '0'
		AND NOT (:blocklist AND c.id IN (SELECT b.customer_id FROM shop.blocked b));

-- Money and time that can be added up.
CREATE FUNCTION truth.usable(amount numeric, at timestamptz) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
	SELECT coalesce(amount > -1e30 AND amount < 1e30 AND at >= '0001-01-01 00:00+00' AND at < '10000-01-01 00:00+00', false)
$$;

-- Orders for which counted_when holds, whether or not their values can be used.
CREATE VIEW truth.orders AS
	SELECT 'shop.orders' AS source, o.id::text AS key, o.customer_id, o.total AS amount,
		   o.created_at AT TIME ZONE 'Asia/Ho_Chi_Minh' AS at, false AS raises
	FROM shop.orders o WHERE o.status = 'completed'
	UNION ALL
	SELECT 'shop.web_orders', w.id, a.customer_id, w.total, w.placed_at, false
	FROM shop.web_orders w LEFT JOIN shop.accounts a ON a.id = w.account_id WHERE NOT w.cancelled
	UNION ALL
	SELECT 'shop.book', b.id::text, b.customer_id, CASE WHEN b.rate <> 0 THEN b.amount / b.rate END, b.at, b.rate = 0
	FROM shop.book b WHERE b.amount >= 0;

CREATE VIEW truth.counted_orders AS
	SELECT * FROM truth.orders WHERE truth.usable(amount, at);

-- Returns for which counted_when holds and whose order, where one is named, counts.
CREATE VIEW truth.returns AS
	SELECT 'shop.returns' AS source, r.id::text AS key, coalesce(r.customer_id, o.customer_id) AS customer_id, r.refund AS amount,
		   r.settled_at AS at, false AS raises
	FROM shop.returns r LEFT JOIN truth.counted_orders o ON o.source = 'shop.orders' AND o.key = r.order_id::text
	WHERE r.state = 'settled' AND (r.order_id IS NULL OR o.key IS NOT NULL)
	UNION ALL
	SELECT 'shop.loose_returns', l.id, o.customer_id, CASE WHEN l.refund <> 'abc' THEN l.refund::numeric END,
		   l.day::timestamp AT TIME ZONE 'Asia/Ho_Chi_Minh', l.refund = 'abc'
	FROM shop.loose_returns l LEFT JOIN truth.counted_orders o ON o.source = 'shop.orders' AND o.key = l.order_id::text
	WHERE l.order_id IS NULL OR o.key IS NOT NULL
	UNION ALL
	SELECT 'shop.service_returns', s.id::text, k.customer_id, s.refund, s.at, false
	FROM shop.service_returns s JOIN shop.tickets k ON k.id = s.ticket_id WHERE k.approved
	UNION ALL
	SELECT 'shop.web_returns', w.id::text, o.customer_id, w.refund, w.at, false
	FROM shop.web_returns w LEFT JOIN truth.counted_orders o ON o.source = 'shop.web_orders' AND o.key = w.web_order_id
	WHERE w.web_order_id IS NULL OR o.key IS NOT NULL
	UNION ALL
	SELECT 'shop.book', b.id::text, b.customer_id, CASE WHEN b.rate <> 0 THEN -b.amount / b.rate END, b.at, b.rate = 0
	FROM shop.book b WHERE b.amount < 0;

-- Everybody for whom anything counts, customer or not; walk-in sales are nobody's.
CREATE VIEW truth.figures AS
	SELECT customer_id,
		   customer_id IN (SELECT c.customer_id FROM truth.customers c) AS is_customer,
		   coalesce(o.n, 0) AS number_of_orders,
		   coalesce(r.n, 0) AS number_of_returns,
		   coalesce(o.amount, 0) AS amount_ordered,
		   coalesce(r.amount, 0) AS amount_returned,
		   (o.first AT TIME ZONE 'Asia/Ho_Chi_Minh')::date AS first_order_date,
		   (o.last AT TIME ZONE 'Asia/Ho_Chi_Minh')::date AS last_order_date,
		   o.first, o.last
	FROM truth.customers
		FULL JOIN (SELECT customer_id, count(*) AS n, sum(amount) AS amount, min(at) AS first, max(at) AS last
				   FROM truth.counted_orders WHERE customer_id <> '0' GROUP BY customer_id) o USING (customer_id)
		FULL JOIN (SELECT customer_id, count(*) AS n, sum(amount) AS amount
				   FROM truth.returns WHERE truth.usable(amount, at) AND customer_id <> '0' GROUP BY customer_id) r USING (customer_id);

CREATE VIEW truth.tiers AS
	SELECT v.customer_id, v.ladder, t.code AS tier, t.points_floor, v.value, n.code AS next_tier, n.min_value - v.value AS to_next
	FROM (SELECT f.customer_id, l.code AS ladder,
				 CASE l.figure WHEN 'amount_spent' THEN f.amount_ordered - f.amount_returned
							   WHEN 'amount_ordered' THEN f.amount_ordered
							   WHEN 'amount_returned' THEN f.amount_returned
							   WHEN 'number_of_orders' THEN f.number_of_orders
							   WHEN 'number_of_returns' THEN f.number_of_returns END AS value
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

-- Rows that should count for somebody but hold what cannot be added up. Where an
-- expression raises, a row may be listed although it would not count anyway.
CREATE VIEW truth.left_out AS
	SELECT source, 'orders' AS role, key FROM truth.orders WHERE customer_id <> '0' AND NOT truth.usable(amount, at)
	UNION ALL
	SELECT source, 'returns', key FROM truth.returns WHERE customer_id <> '0' AND NOT truth.usable(amount, at);
CREATE VIEW truth.may_be_left_out AS
	SELECT 'shop.loose_returns' AS source, 'returns' AS role, id AS key FROM shop.loose_returns WHERE refund = 'abc';

-- The log, told in order: each move of a customer on a ladder goes on from the one before.
CREATE VIEW truth.moves AS
	SELECT c.customer_id, c.ladder, c.version, c.action, c.old_tier, c.new_tier, c.at,
		   lag(c.new_tier) OVER w AS held, lead(c.version) OVER w AS next,
		   count(*) OVER (PARTITION BY c.customer_id, c.ladder, c.version) AS twins
	FROM segment.changes c WHERE c.kind = 'tier'
	WINDOW w AS (PARTITION BY c.customer_id, c.ladder ORDER BY c.version);

CREATE FUNCTION truth.differences() RETURNS TABLE (what text, detail text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	pair text[];
	pairs text[] := ARRAY[
		['figures',
		 'SELECT customer_id, number_of_orders, number_of_returns, amount_ordered - amount_returned, amount_ordered, amount_returned,
				 CASE WHEN number_of_orders > 0 THEN ''right'' END, first_order_date, last_order_date
		  FROM truth.figures WHERE is_customer',
		 'SELECT customer_id, number_of_orders, number_of_returns, amount_spent, amount_ordered, amount_returned,
				 CASE WHEN abs(average_order_value * number_of_orders - amount_ordered) <= 1e-12 * abs(amount_ordered) THEN ''right''
					  ELSE average_order_value::text END, first_order_date, last_order_date
		  FROM segment.customers'],
		['figures of those who are no customers',
		 'SELECT customer_id, number_of_orders, number_of_returns, amount_ordered, amount_returned, first, last
		  FROM truth.figures WHERE NOT is_customer',
		 'SELECT customer_id, number_of_orders, number_of_returns, amount_ordered, amount_returned, first_order_at, last_order_at
		  FROM segment.facts WHERE NOT is_customer
			AND (number_of_orders, number_of_returns, amount_ordered, amount_returned) IS DISTINCT FROM (0, 0, 0, 0)'],
		['rows kept for nobody',
		 'SELECT NULL::text WHERE false',
		 'SELECT f::text FROM segment.facts f WHERE NOT is_customer AND number_of_orders = 0 AND number_of_returns = 0
			AND (amount_ordered <> 0 OR amount_returned <> 0 OR first_order_at IS NOT NULL OR last_order_at IS NOT NULL
				 OR customer_id NOT IN (SELECT customer_id FROM segment.changes))'],
		['tiers',
		 'SELECT customer_id, ladder, tier, points_floor, value, next_tier, to_next FROM truth.tiers',
		 'SELECT customer_id, ladder, tier, points_floor, value, next_tier, to_next FROM segment.customer_tiers'],
		['standings of nobody',
		 'SELECT customer_id FROM truth.figures WHERE false',
		 'SELECT customer_id FROM segment.standings WHERE customer_id NOT IN (SELECT customer_id FROM truth.customers)'],
		['tier sizes',
		 'SELECT ladder, tier, count(*) FROM truth.tiers WHERE tier IS NOT NULL GROUP BY 1, 2',
		 'SELECT ladder, tier, customers FROM segment.tier_sizes WHERE tier IS NOT NULL AND customers > 0'],
		['tier of a programme',
		 'SELECT DISTINCT ON (t.customer_id, l.programme) t.customer_id, l.programme, t.ladder, t.tier
		  FROM truth.tiers t JOIN segment.ladders l ON l.code = t.ladder
			LEFT JOIN (SELECT ladder, code, coalesce(rank, row_number() OVER (PARTITION BY ladder ORDER BY min_value)) AS rank
					   FROM segment.tiers) k ON k.ladder = t.ladder AND k.code = t.tier
		  ORDER BY t.customer_id, l.programme, k.rank DESC NULLS LAST, l.is_default DESC, l.code',
		 'SELECT customer_id, programme, ladder, tier FROM segment.customer_tier'],
		['rows left out',
		 'SELECT source, role, key FROM truth.left_out',
		 'SELECT truth.name(a.relation), a.role, o.row_key FROM segment.left_out o JOIN segment.attachments a ON a.id = o.source
		  CROSS JOIN LATERAL generate_series(1, o.n)
		  WHERE (truth.name(a.relation), a.role, o.row_key) IN (SELECT source, role, key FROM truth.left_out)
			 OR (truth.name(a.relation), a.role, o.row_key) NOT IN (SELECT source, role, key FROM truth.may_be_left_out)'],
		['rows left out below zero',
		 'SELECT NULL::text, NULL::bigint WHERE false',
		 'SELECT row_key, n FROM segment.left_out WHERE n <= 0'],
		['moves in the log that do not follow from the one before',
		 'SELECT customer_id, ladder, version, old_tier, held FROM truth.moves WHERE false',
		 'SELECT customer_id, ladder, version, old_tier, held FROM truth.moves
		  WHERE twins > 1 OR old_tier IS DISTINCT FROM held OR old_tier IS NOT DISTINCT FROM new_tier
			 OR (action = ''enter'') <> (old_tier IS NULL) OR (action = ''leave'') <> (new_tier IS NULL)'],
		['last move of each customer',
		 'SELECT customer_id, ladder, tier, since FROM segment.customer_tiers WHERE tier IS NOT NULL',
		 'SELECT customer_id, ladder, new_tier, at FROM truth.moves WHERE next IS NULL AND new_tier IS NOT NULL'],
		['segment.verify()',
		 'SELECT NULL::text WHERE false',
		 'SELECT v::text FROM segment.verify() v'],
		['segment.status()',
		 'SELECT ''state'', ''exact''',
		 'SELECT item, state FROM segment.status() WHERE item = ''state'' OR state = ''stale'''],
		['stale marks',
		 'SELECT NULL::text, NULL::text WHERE false',
		 'SELECT (SELECT truth.name(a.relation) || '' as '' || a.role FROM segment.attachments a WHERE a.id = source), reason FROM segment.stale_marks']
	];
BEGIN
	FOREACH pair SLICE 1 IN ARRAY pairs LOOP
		RETURN QUERY EXECUTE format(
			'WITH expected AS MATERIALIZED (%s), stored AS MATERIALIZED (%s)
			 SELECT %L::text, ''expected '' || e::text FROM (SELECT * FROM expected EXCEPT ALL SELECT * FROM stored) e
			 UNION ALL
			 SELECT %L::text, ''stored '' || s::text FROM (SELECT * FROM stored EXCEPT ALL SELECT * FROM expected) s',
			pair[2], pair[3], pair[1], pair[1]);
	END LOOP;
END
$$;

