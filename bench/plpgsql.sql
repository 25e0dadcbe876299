-- Side "plpgsql": what a good DBA would write by hand in place of the extension.
--
-- One row per customer with the same totals and the tier; a log of tier moves with the columns of segment.changes;
-- statement triggers with transition tables.  An INSERT of orders, of one row or of a million, is one statement: group
-- by customer, upsert in key order (so that two statements never wait for each other in a circle), judge the tier on
-- the row that the upsert holds locked, log the moves from what it returns.  Everything else may take away a first or
-- last order, so it locks the customers that it touches, in key order, and computes them again in a new statement.
--
-- Cut, all in favour of this side: no SECURITY DEFINER, no pinned search_path, nothing against odd values or errors,
-- no re-ranking when crm.tiers is edited (SELECT crm.recompute_all('rule', NULL) by hand).

CREATE SCHEMA crm;

CREATE TABLE crm.tiers (
    code       text PRIMARY KEY,
    name       text NOT NULL,
    rank       int NOT NULL UNIQUE,
    min_value  numeric NOT NULL UNIQUE CHECK (min_value >= 0)
);

INSERT INTO crm.tiers (code, name, rank, min_value) VALUES
    ('member',  'Thành viên', 1,        0),
    ('silver',  'Bạc',        2,  3000000),
    ('gold',    'Vàng',       3, 10000000),
    ('diamond', 'Kim cương',  4, 30000000);

-- tier_before, value_before, moved_by: as they were before the last write, and the order that made it.  PostgreSQL 15
-- cannot return the old row; with these the write itself says which customers it moved.
CREATE TABLE crm.customer_totals (
    customer_id       bigint PRIMARY KEY,
    version           bigint NOT NULL DEFAULT 1,
    is_customer       boolean NOT NULL DEFAULT false,
    number_of_orders  bigint NOT NULL DEFAULT 0,
    amount_ordered    numeric NOT NULL DEFAULT 0,
    first_order_at    timestamptz,
    last_order_at     timestamptz,
    number_of_returns bigint NOT NULL DEFAULT 0,
    amount_returned   numeric NOT NULL DEFAULT 0,
    tier              text,
    tier_before       text,
    value_before      numeric,
    moved_by          bigint
) WITH (fillfactor = 80);

CREATE TABLE crm.changes (
    at          timestamptz NOT NULL,
    customer_id bigint NOT NULL,
    kind        text NOT NULL,
    code        text,
    ladder      text,
    action      text NOT NULL,
    old_tier    text,
    new_tier    text,
    old_value   numeric,
    new_value   numeric,
    cause       text NOT NULL,
    source      text,
    source_key  text,
    changed_by  text NOT NULL,
    version     bigint NOT NULL,
    PRIMARY KEY (customer_id, version)
);

CREATE FUNCTION crm.action_of(old_tier text, new_tier text) RETURNS text
    LANGUAGE sql STABLE
    RETURN CASE WHEN old_tier IS NULL THEN 'enter'
                WHEN new_tier IS NULL THEN 'leave'
                WHEN (SELECT rank FROM crm.tiers WHERE code = new_tier)
                   > (SELECT rank FROM crm.tiers WHERE code = old_tier) THEN 'up'
                ELSE 'down' END;

-- The path that is measured.  A new order has no returns yet, the foreign key of shop.returns sees to that.  The tier is
-- looked up in the statement and not by a function: an SQL function with a subquery is not inlined and costs more than
-- all the rest.
CREATE FUNCTION crm.orders_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH written AS (
        INSERT INTO crm.customer_totals AS t
               (customer_id, number_of_orders, amount_ordered, first_order_at, last_order_at, moved_by)
        SELECT customer_id, count(*), sum(total), min(created_at), max(created_at), max(id)
          FROM new_rows
         WHERE status = 'completed' AND customer_id IS NOT NULL
         GROUP BY customer_id
         ORDER BY customer_id
        ON CONFLICT (customer_id) DO UPDATE
           SET version = t.version + 1,
               number_of_orders = t.number_of_orders + excluded.number_of_orders,
               amount_ordered = t.amount_ordered + excluded.amount_ordered,
               first_order_at = least(t.first_order_at, excluded.first_order_at),
               last_order_at = greatest(t.last_order_at, excluded.last_order_at),
               tier = CASE WHEN t.is_customer THEN
                          (SELECT l.code
                             FROM crm.tiers AS l
                            WHERE l.min_value
                                  <= greatest(t.amount_ordered + excluded.amount_ordered - t.amount_returned, 0)
                            ORDER BY l.min_value DESC
                            LIMIT 1)
                      END,
               tier_before = t.tier,
               value_before = t.amount_ordered - t.amount_returned,
               moved_by = excluded.moved_by
        RETURNING *
    )
    INSERT INTO crm.changes
    SELECT now(), customer_id, 'tier', tier, 'total', crm.action_of(tier_before, tier), tier_before, tier,
           value_before, amount_ordered - amount_returned, 'order', 'shop.orders', moved_by::text, session_user, version
      FROM written
     WHERE tier IS DISTINCT FROM tier_before;
    RETURN NULL;
END $$;

CREATE FUNCTION crm.recompute(keys bigint[], why text, origin text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO crm.customer_totals (customer_id)
    SELECT DISTINCT k FROM unnest(keys) AS k WHERE k IS NOT NULL ORDER BY k
    ON CONFLICT DO NOTHING;

    PERFORM 1 FROM crm.customer_totals WHERE customer_id = ANY (keys) ORDER BY customer_id FOR UPDATE;

    WITH bought AS (
        SELECT customer_id, count(*) AS n, sum(total) AS amount, min(created_at) AS first_at, max(created_at) AS last_at
          FROM shop.orders
         WHERE customer_id = ANY (keys) AND status = 'completed'
         GROUP BY customer_id
    ), returned AS (
        SELECT o.customer_id, count(*) AS n, sum(r.refund) AS amount
          FROM shop.orders AS o JOIN shop.returns AS r ON r.order_id = o.id
         WHERE o.customer_id = ANY (keys) AND o.status = 'completed' AND r.state = 'settled'
         GROUP BY o.customer_id
    ), right_now AS (
        SELECT t.customer_id, c.id IS NOT NULL AS is_customer, coalesce(b.n, 0) AS number_of_orders,
               coalesce(b.amount, 0) AS amount_ordered, b.first_at, b.last_at,
               coalesce(r.n, 0) AS number_of_returns, coalesce(r.amount, 0) AS amount_returned,
               CASE WHEN c.id IS NOT NULL THEN
                   (SELECT l.code
                      FROM crm.tiers AS l
                     WHERE l.min_value <= greatest(coalesce(b.amount, 0) - coalesce(r.amount, 0), 0)
                     ORDER BY l.min_value DESC
                     LIMIT 1)
               END AS tier
          FROM crm.customer_totals AS t
          LEFT JOIN shop.customers AS c ON c.id = t.customer_id AND c.deleted_at IS NULL
          LEFT JOIN bought AS b ON b.customer_id = t.customer_id
          LEFT JOIN returned AS r ON r.customer_id = t.customer_id
         WHERE t.customer_id = ANY (keys)
    ), written AS (
        UPDATE crm.customer_totals AS t
           SET version = t.version + 1,
               is_customer = n.is_customer,
               number_of_orders = n.number_of_orders,
               amount_ordered = n.amount_ordered,
               first_order_at = n.first_at,
               last_order_at = n.last_at,
               number_of_returns = n.number_of_returns,
               amount_returned = n.amount_returned,
               tier = n.tier,
               tier_before = t.tier,
               value_before = t.amount_ordered - t.amount_returned
          FROM right_now AS n
         WHERE n.customer_id = t.customer_id
           AND (t.is_customer, t.number_of_orders, t.amount_ordered, t.first_order_at, t.last_order_at,
                t.number_of_returns, t.amount_returned, t.tier)
               IS DISTINCT FROM
               (n.is_customer, n.number_of_orders, n.amount_ordered, n.first_at, n.last_at,
                n.number_of_returns, n.amount_returned, n.tier)
        RETURNING t.*
    )
    INSERT INTO crm.changes
    SELECT now(), customer_id, 'tier', coalesce(tier, tier_before), 'total', crm.action_of(tier_before, tier), tier_before, tier,
           value_before, amount_ordered - amount_returned, why, origin, NULL, session_user, version
      FROM written
     WHERE tier IS DISTINCT FROM tier_before;
END $$;

CREATE FUNCTION crm.recompute_all(why text, origin text) RETURNS void LANGUAGE sql AS $$
    SELECT crm.recompute(array_agg(k ORDER BY k), why, origin)
      FROM (SELECT id AS k FROM shop.customers
            UNION SELECT customer_id FROM crm.customer_totals
            UNION SELECT customer_id FROM shop.orders) AS k
$$;

CREATE FUNCTION crm.orders_updated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    keys bigint[];
BEGIN
    SELECT array_agg(DISTINCT k ORDER BY k) INTO keys
      FROM old_rows AS o FULL JOIN new_rows AS n USING (id), unnest(ARRAY[o.customer_id, n.customer_id]) AS k
     WHERE k IS NOT NULL
       AND (o.customer_id, o.total, o.status, o.created_at) IS DISTINCT FROM (n.customer_id, n.total, n.status, n.created_at);
    IF keys IS NOT NULL THEN
        PERFORM crm.recompute(keys, 'edit', 'shop.orders');
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION crm.orders_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    keys bigint[] := (SELECT array_agg(DISTINCT customer_id ORDER BY customer_id) FROM old_rows WHERE customer_id IS NOT NULL);
BEGIN
    IF keys IS NOT NULL THEN
        PERFORM crm.recompute(keys, 'cancellation', 'shop.orders');
    END IF;
    RETURN NULL;
END $$;

-- INSERT and DELETE of returns and customers: one set of rows; UPDATE: both, under the same name.
CREATE FUNCTION crm.returns_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    keys bigint[];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(DISTINCT s.customer_id ORDER BY s.customer_id) INTO keys
          FROM (SELECT order_id FROM old_rows UNION SELECT order_id FROM changed_rows) AS r
          JOIN shop.orders AS s ON s.id = r.order_id
         WHERE s.customer_id IS NOT NULL;
    ELSE
        SELECT array_agg(DISTINCT s.customer_id ORDER BY s.customer_id) INTO keys
          FROM changed_rows AS r JOIN shop.orders AS s ON s.id = r.order_id
         WHERE s.customer_id IS NOT NULL;
    END IF;
    IF keys IS NOT NULL THEN
        PERFORM crm.recompute(keys, 'return', 'shop.returns');
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION crm.customers_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    keys bigint[];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(id ORDER BY id) INTO keys FROM (SELECT id FROM old_rows UNION SELECT id FROM changed_rows) AS c;
    ELSE
        SELECT array_agg(id ORDER BY id) INTO keys FROM changed_rows;
    END IF;
    IF keys IS NOT NULL THEN
        PERFORM crm.recompute(keys, 'profile', 'shop.customers');
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION crm.emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM crm.recompute_all('cancellation', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME);
    RETURN NULL;
END $$;

CREATE TRIGGER crm_insert AFTER INSERT ON shop.orders REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION crm.orders_inserted();
CREATE TRIGGER crm_update AFTER UPDATE ON shop.orders REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION crm.orders_updated();
CREATE TRIGGER crm_delete AFTER DELETE ON shop.orders REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION crm.orders_deleted();
CREATE TRIGGER crm_truncate AFTER TRUNCATE ON shop.orders FOR EACH STATEMENT EXECUTE FUNCTION crm.emptied();

CREATE TRIGGER crm_insert AFTER INSERT ON shop.returns REFERENCING NEW TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION crm.returns_changed();
CREATE TRIGGER crm_update AFTER UPDATE ON shop.returns REFERENCING OLD TABLE AS old_rows NEW TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION crm.returns_changed();
CREATE TRIGGER crm_delete AFTER DELETE ON shop.returns REFERENCING OLD TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION crm.returns_changed();
CREATE TRIGGER crm_truncate AFTER TRUNCATE ON shop.returns FOR EACH STATEMENT EXECUTE FUNCTION crm.emptied();

CREATE TRIGGER crm_insert AFTER INSERT ON shop.customers REFERENCING NEW TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION crm.customers_changed();
CREATE TRIGGER crm_update AFTER UPDATE ON shop.customers REFERENCING OLD TABLE AS old_rows NEW TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION crm.customers_changed();
CREATE TRIGGER crm_delete AFTER DELETE ON shop.customers REFERENCING OLD TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION crm.customers_changed();
CREATE TRIGGER crm_truncate AFTER TRUNCATE ON shop.customers FOR EACH STATEMENT EXECUTE FUNCTION crm.emptied();

-- First fill.
SELECT crm.recompute_all('attach', NULL);
