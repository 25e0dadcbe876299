-- What must be true after the loading of test/t/online_retail.pl, as views.  proof.expected_* start at the raw
-- invoice lines or at the proof's own log and read nothing of schema segment; the others say the same of segment.

CREATE VIEW proof.expected_figures AS
	WITH invoice AS (
		SELECT invoice LIKE 'C%' AS is_return, min(customer) AS customer, min(invoiced_at)::date AS day,
			   sum(quantity * unit_price) AS amount
		FROM raw.lines WHERE customer IS NOT NULL GROUP BY invoice
	), figure AS (
		SELECT customer,
			   count(*) FILTER (WHERE NOT is_return) AS number_of_orders,
			   count(*) FILTER (WHERE is_return) AS number_of_returns,
			   coalesce(sum(amount), 0) AS amount_spent,
			   coalesce(sum(amount) FILTER (WHERE NOT is_return), 0) AS amount_ordered,
			   coalesce(-sum(amount) FILTER (WHERE is_return), 0) AS amount_returned,
			   min(day) FILTER (WHERE NOT is_return) AS first_order_date,
			   max(day) FILTER (WHERE NOT is_return) AS last_order_date
		FROM invoice GROUP BY customer
	)
	SELECT customer, number_of_orders, number_of_returns, amount_spent, amount_ordered, amount_returned,
		   round(amount_ordered / nullif(number_of_orders, 0), 6) AS average_order_value, first_order_date, last_order_date,
		   (now() AT TIME ZONE 'Europe/London')::date - last_order_date AS days_since_last_order, false AS stale
	FROM figure;

CREATE VIEW proof.figures AS
	SELECT customer_id, number_of_orders, number_of_returns, amount_spent, amount_ordered, amount_returned,
		   round(average_order_value, 6) AS average_order_value, first_order_date, last_order_date,
		   days_since_last_order, stale
	FROM segment.customers;

CREATE VIEW proof.expected_tiers AS
	SELECT customer, 'total' AS ladder,
		   CASE WHEN amount_spent >= 10000 THEN 'platinum' WHEN amount_spent >= 2000 THEN 'gold'
				WHEN amount_spent >= 500 THEN 'silver' ELSE 'bronze' END AS tier,
		   CASE WHEN amount_spent >= 10000 THEN 4 WHEN amount_spent >= 2000 THEN 3
				WHEN amount_spent >= 500 THEN 2 ELSE 1 END AS rank,
		   amount_spent AS value,
		   CASE WHEN amount_spent < 500 THEN 500 WHEN amount_spent < 2000 THEN 2000
				WHEN amount_spent < 10000 THEN 10000 END - amount_spent AS to_next
	FROM proof.expected_figures
	UNION ALL
	SELECT customer, 'visits',
		   CASE WHEN number_of_orders >= 10 THEN 'regular' WHEN number_of_orders >= 2 THEN 'again'
				WHEN number_of_orders >= 1 THEN 'once' END,
		   CASE WHEN number_of_orders >= 10 THEN 3 WHEN number_of_orders >= 2 THEN 2 WHEN number_of_orders >= 1 THEN 1 END,
		   number_of_orders,
		   CASE WHEN number_of_orders < 1 THEN 1 WHEN number_of_orders < 2 THEN 2
				WHEN number_of_orders < 10 THEN 10 END - number_of_orders
	FROM proof.expected_figures;

CREATE VIEW proof.tiers AS
	SELECT customer_id, ladder, tier, rank, value, to_next FROM segment.customer_tiers;

-- Every step of the log at which a tier differs from the one before is a move; nothing else is.  Where a customer was
-- not counted before or after, no value is expected on that side.
CREATE VIEW proof.expected_moves AS
	WITH judged AS (
		SELECT customer, step, 'total' AS ladder, counted, spent AS value,
			   CASE WHEN counted THEN CASE WHEN spent >= 10000 THEN 'platinum' WHEN spent >= 2000 THEN 'gold'
										   WHEN spent >= 500 THEN 'silver' ELSE 'bronze' END END AS tier
		FROM proof.history
		UNION ALL
		SELECT customer, step, 'visits', counted, orders,
			   CASE WHEN counted THEN CASE WHEN orders >= 10 THEN 'regular' WHEN orders >= 2 THEN 'again'
										   WHEN orders >= 1 THEN 'once' END END
		FROM proof.history
	), compared AS (
		SELECT customer, ladder, step, tier AS new_tier, CASE WHEN counted THEN value END AS new_value,
			   lag(tier) OVER earlier AS old_tier,
			   CASE WHEN lag(counted) OVER earlier THEN lag(value) OVER earlier END AS old_value
		FROM judged
		WINDOW earlier AS (PARTITION BY customer, ladder ORDER BY step)
	)
	SELECT customer, ladder, row_number() OVER (PARTITION BY customer, ladder ORDER BY step) AS move,
		   old_tier, new_tier, old_value, new_value, step
	FROM compared WHERE old_tier IS DISTINCT FROM new_tier;

CREATE VIEW proof.moves AS
	SELECT customer_id AS customer, ladder, row_number() OVER (PARTITION BY customer_id, ladder ORDER BY version) AS move,
		   old_tier, new_tier, old_value, new_value, action, cause, source, source_key, at, version
	FROM segment.changes WHERE kind = 'tier';

CREATE VIEW proof.wrong_moves AS
	SELECT customer, ladder, move, e.step, e.old_tier, e.new_tier, e.old_value, e.new_value,
		   m.old_tier AS logged_old_tier, m.new_tier AS logged_new_tier, m.old_value AS logged_old_value,
		   m.new_value AS logged_new_value, m.action AS logged_action, m.cause AS logged_cause
	FROM proof.expected_moves e FULL JOIN proof.moves m USING (customer, ladder, move)
	WHERE e.customer IS NULL OR m.customer IS NULL
		OR e.old_tier IS DISTINCT FROM m.old_tier OR e.new_tier IS DISTINCT FROM m.new_tier
		OR e.old_value <> coalesce(m.old_value, 'NaN') OR e.new_value <> coalesce(m.new_value, 'NaN')
		OR m.action IS DISTINCT FROM CASE WHEN e.old_tier IS NULL THEN 'enter' WHEN e.new_tier IS NULL THEN 'leave'
			ELSE CASE WHEN e.new_value > e.old_value THEN 'up' ELSE 'down' END END;
