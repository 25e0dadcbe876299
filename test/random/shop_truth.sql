-- What the tables of shop.sql say, read by truth.sql.

CREATE VIEW truth.customers AS
	SELECT c.id AS customer_id FROM shop.customers c
	WHERE c.deleted_at IS NULL AND c.id <> :'anonymous'
		AND NOT (:blocklist AND c.id IN (SELECT b.customer_id FROM shop.blocked b));

CREATE VIEW truth.orders AS
	SELECT 'shop.orders' AS source, o.id::text AS key, o.customer_id, o.total AS amount,
		   o.created_at AT TIME ZONE 'Asia/Ho_Chi_Minh' AS at, NULL::numeric AS items
	FROM shop.orders o WHERE o.status = 'completed'
	UNION ALL
	SELECT 'shop.web_orders', w.id, a.customer_id, w.total, w.placed_at, NULL
	FROM shop.web_orders w LEFT JOIN shop.accounts a ON a.id = w.account_id WHERE NOT w.cancelled
	UNION ALL
	SELECT 'shop.book', b.id::text, b.customer_id, CASE WHEN b.rate <> 0 THEN b.amount / b.rate END, b.at, NULL
	FROM shop.book b WHERE b.amount >= 0;

CREATE VIEW truth.orders_named AS
	SELECT source, key, customer_id FROM truth.orders WHERE truth.usable(amount, at, items);

CREATE VIEW truth.returns AS
	SELECT 'shop.returns' AS source, r.id::text AS key, coalesce(r.customer_id, o.customer_id) AS customer_id, r.refund AS amount,
		   r.settled_at AS at, NULL::numeric AS items
	FROM shop.returns r LEFT JOIN truth.orders_named o ON o.source = 'shop.orders' AND o.key = r.order_id::text
	WHERE r.state = 'settled' AND (r.order_id IS NULL OR o.key IS NOT NULL)
	UNION ALL
	SELECT 'shop.loose_returns', l.id, o.customer_id, CASE WHEN l.refund <> 'abc' THEN l.refund::numeric END,
		   l.day::timestamp AT TIME ZONE 'Asia/Ho_Chi_Minh', NULL
	FROM shop.loose_returns l LEFT JOIN truth.orders_named o ON o.source = 'shop.orders' AND o.key = l.order_id::text
	WHERE l.order_id IS NULL OR o.key IS NOT NULL
	UNION ALL
	SELECT 'shop.service_returns', s.id::text, k.customer_id, s.refund, s.at, NULL
	FROM shop.service_returns s JOIN shop.tickets k ON k.id = s.ticket_id WHERE k.approved
	UNION ALL
	SELECT 'shop.web_returns', w.id::text, o.customer_id, w.refund, w.at, NULL
	FROM shop.web_returns w LEFT JOIN truth.orders_named o ON o.source = 'shop.web_orders' AND o.key = w.web_order_id
	WHERE w.web_order_id IS NULL OR o.key IS NOT NULL
	UNION ALL
	SELECT 'shop.book', b.id::text, b.customer_id, CASE WHEN b.rate <> 0 THEN -b.amount / b.rate END, b.at, NULL
	FROM shop.book b WHERE b.amount < 0;

CREATE VIEW truth.order_lines AS
	SELECT NULL::text AS source, NULL::text AS key, o.customer_id, NULL::numeric AS quantity FROM truth.orders o WHERE false;
CREATE VIEW truth.return_lines AS
	SELECT NULL::text AS source, NULL::text AS key, o.customer_id, NULL::numeric AS quantity FROM truth.orders o WHERE false;

-- Where an expression raises, a row may be listed although it would not count anyway.
CREATE VIEW truth.may_be_left_out AS
	SELECT 'shop.loose_returns' AS source, 'returns' AS role, id AS key FROM shop.loose_returns WHERE refund = 'abc';
CREATE FUNCTION truth.adds_up_lines(role text) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT false';
