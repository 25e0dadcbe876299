-- The shop of test/t/random_operations.pl: every way in which a row can reach a
-- customer, and a merchant whose own triggers get in the way.
--
-- Variables: customer_key (bigint or text), blocklist (true: customers on
-- shop.blocked do not count), on_delete (CASCADE or SET NULL), deferred
-- (foreign keys checked at commit).

\set ON_ERROR_STOP on
SET client_min_messages = warning;

CREATE SCHEMA shop;

CREATE TABLE shop.customers (
	id :customer_key PRIMARY KEY,
	name text,
	deleted_at timestamptz,
	tier_code text
);
CREATE TABLE shop.blocked (
	customer_id :customer_key PRIMARY KEY,
	why text
);

-- A row means something by itself; anybody's key may be in it.
CREATE TABLE shop.orders (
	id bigint PRIMARY KEY,
	customer_id :customer_key,
	status text NOT NULL,
	total numeric,
	created_at timestamp,
	note text
);
CREATE INDEX ON shop.orders (customer_id, created_at);

-- Names an order, a customer, both or neither.
CREATE TABLE shop.returns (
	id bigint PRIMARY KEY,
	order_id bigint,
	customer_id :customer_key,
	refund numeric,
	settled_at timestamptz,
	state text,
	note text
);
SELECT format('ALTER TABLE shop.returns ADD FOREIGN KEY (order_id) REFERENCES shop.orders ON UPDATE CASCADE ON DELETE %s %s',
			  :'on_delete', :'deferred') \gexec
CREATE INDEX ON shop.returns (order_id);

-- Names an order that may never have been there; the amount may be no number.
CREATE TABLE shop.loose_returns (
	id text PRIMARY KEY,
	order_id bigint,
	refund text,
	day date
);
CREATE INDEX ON shop.loose_returns (order_id);

-- Reaches its customer through another table.
CREATE TABLE shop.tickets (
	id integer PRIMARY KEY,
	customer_id :customer_key,
	approved boolean
);
CREATE TABLE shop.service_returns (
	id bigint PRIMARY KEY,
	ticket_id integer,
	refund numeric,
	at timestamptz
);
CREATE INDEX ON shop.service_returns (ticket_id);

-- The same for orders, with foreign keys all the way, and returns of those.
CREATE TABLE shop.accounts (
	id integer PRIMARY KEY,
	customer_id :customer_key
);
SELECT format('ALTER TABLE shop.accounts ADD FOREIGN KEY (customer_id) REFERENCES shop.customers ON UPDATE CASCADE ON DELETE %s %s',
			  :'on_delete', :'deferred') \gexec
CREATE TABLE shop.web_orders (
	id text PRIMARY KEY,
	account_id integer REFERENCES shop.accounts ON UPDATE CASCADE ON DELETE CASCADE,
	total numeric,
	placed_at timestamptz,
	cancelled boolean NOT NULL DEFAULT false
);
CREATE INDEX ON shop.web_orders (account_id);
CREATE TABLE shop.web_returns (
	id bigint PRIMARY KEY,
	web_order_id text,
	refund numeric,
	at timestamptz
);
CREATE INDEX ON shop.web_returns (web_order_id);

-- Two roles: money in is an order, money out a return. A rate of 0 raises.
CREATE TABLE shop.book (
	id bigint PRIMARY KEY,
	customer_id :customer_key,
	amount numeric,
	rate numeric NOT NULL DEFAULT 1,
	at timestamptz
);
SELECT format('ALTER TABLE shop.book ADD FOREIGN KEY (customer_id) REFERENCES shop.customers ON UPDATE CASCADE ON DELETE SET NULL %s',
			  :'deferred') \gexec
CREATE INDEX ON shop.book (customer_id, at);

-- The merchant's own triggers: what orders and returns say in "note" happens.

CREATE FUNCTION shop.order_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.note IS NULL OR pg_trigger_depth() > 3 THEN
		RETURN NULL;
	END IF;
	CASE NEW.note
		WHEN 'again' THEN
			UPDATE shop.orders SET total = total + 1000, note = NULL WHERE id = NEW.id;
		WHEN 'redate' THEN
			UPDATE shop.orders SET created_at = created_at - interval '400 days', note = NULL WHERE id = NEW.id;
		WHEN 'move' THEN
			UPDATE shop.orders SET customer_id = '7', note = NULL WHERE id = NEW.id;
		WHEN 'cancel' THEN
			UPDATE shop.orders SET status = 'cancelled', note = NULL WHERE id = NEW.id;
		WHEN 'gone' THEN
			DELETE FROM shop.orders WHERE id = NEW.id;
		WHEN 'refund' THEN
			INSERT INTO shop.returns VALUES (50000 + NEW.id, NEW.id, NULL, 1500, '2025-06-01 12:00+00', 'settled', NULL)
				ON CONFLICT (id) DO UPDATE SET refund = returns.refund + 1;
		WHEN 'twin' THEN
			INSERT INTO shop.orders VALUES (50000 + NEW.id, NEW.customer_id, 'completed', 2500, '2023-02-28 23:30', NULL)
				ON CONFLICT (id) DO UPDATE SET total = orders.total + 1;
		WHEN 'raise' THEN
			RAISE EXCEPTION 'the till is closed';
		WHEN 'welcome' THEN
			INSERT INTO shop.customers VALUES (coalesce(NEW.customer_id, '8'), 'came with an order')
				ON CONFLICT (id) DO UPDATE SET deleted_at = NULL;
		WHEN 'ban' THEN
			UPDATE shop.customers SET deleted_at = '2025-01-01' WHERE id = NEW.customer_id;
		WHEN 'try' THEN
			BEGIN
				UPDATE shop.orders SET total = 99999999 WHERE id = NEW.id;
				INSERT INTO shop.returns VALUES (60000 + NEW.id, NEW.id, NULL, 777, '2025-06-01 12:00+00', 'settled', NULL);
				RAISE EXCEPTION 'no';
			EXCEPTION WHEN raise_exception OR unique_violation THEN
				UPDATE shop.orders SET note = NULL WHERE id = NEW.id;
			END;
		ELSE
			NULL;
	END CASE;
	RETURN NULL;
END
$$;
CREATE TRIGGER order_written AFTER INSERT OR UPDATE ON shop.orders
	FOR EACH ROW EXECUTE FUNCTION shop.order_written();

CREATE FUNCTION shop.order_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.note = 'phoenix' THEN
		INSERT INTO shop.orders VALUES (OLD.id, OLD.customer_id, 'completed', OLD.total, OLD.created_at, NULL) ON CONFLICT DO NOTHING;
	ELSIF OLD.note = 'orphan' THEN
		DELETE FROM shop.loose_returns WHERE order_id = OLD.id;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER order_deleted AFTER DELETE ON shop.orders
	FOR EACH ROW EXECUTE FUNCTION shop.order_deleted();

-- Statement triggers on both sides of the alphabet.
CREATE FUNCTION shop.tidy() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		IF TG_ARGV[0] = 'first' THEN
			UPDATE shop.orders SET total = total * 2, note = NULL WHERE note = 'first';
		ELSE
			DELETE FROM shop.orders WHERE note = 'last';
		END IF;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER "AAA" AFTER INSERT OR UPDATE ON shop.orders FOR EACH STATEMENT EXECUTE FUNCTION shop.tidy('first');
CREATE TRIGGER zzz AFTER INSERT OR UPDATE ON shop.orders FOR EACH STATEMENT EXECUTE FUNCTION shop.tidy('last');

-- At commit.
CREATE FUNCTION shop.order_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE shop.orders SET total = total - 10, note = NULL WHERE id = NEW.id AND note = 'late';
	RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER order_settled AFTER INSERT OR UPDATE ON shop.orders
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.note = 'late') EXECUTE FUNCTION shop.order_settled();

CREATE FUNCTION shop.return_coming() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.note = 'early' THEN
		UPDATE shop.orders SET total = total + 5 WHERE id = NEW.order_id;
	ELSIF NEW.note = 'reopen' THEN
		UPDATE shop.orders SET status = 'completed' WHERE id = NEW.order_id;
	ELSIF NEW.note = 'skip' THEN
		RETURN NULL;
	END IF;
	RETURN NEW;
END
$$;
CREATE TRIGGER return_coming BEFORE INSERT ON shop.returns
	FOR EACH ROW EXECUTE FUNCTION shop.return_coming();

CREATE FUNCTION shop.return_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.note IS NULL OR pg_trigger_depth() > 3 THEN
		RETURN NULL;
	END IF;
	CASE NEW.note
		WHEN 'void' THEN
			UPDATE shop.orders SET status = 'cancelled' WHERE id = NEW.order_id;
		WHEN 'again' THEN
			UPDATE shop.returns SET refund = refund + 1, note = NULL WHERE id = NEW.id;
		WHEN 'gone' THEN
			DELETE FROM shop.returns WHERE id = NEW.id;
		WHEN 'loose' THEN
			INSERT INTO shop.loose_returns VALUES ('t' || NEW.id, NEW.order_id, '250', '2025-02-02') ON CONFLICT DO NOTHING;
		WHEN 'drop order' THEN
			DELETE FROM shop.orders WHERE id = NEW.order_id;
		ELSE
			NULL;
	END CASE;
	RETURN NULL;
END
$$;
CREATE TRIGGER return_written AFTER INSERT OR UPDATE ON shop.returns
	FOR EACH ROW EXECUTE FUNCTION shop.return_written();

-- Volatile functions called by a SELECT.
CREATE FUNCTION shop.sell(id bigint, customer :customer_key, total numeric) RETURNS void LANGUAGE sql AS $$
	INSERT INTO shop.orders VALUES (id, customer, 'completed', total, '2025-03-01 08:00')
		ON CONFLICT (id) DO UPDATE SET total = excluded.total, customer_id = excluded.customer_id
$$;

-- The first customers and sales are there before anything is attached.
INSERT INTO shop.customers SELECT g::text:::customer_key, 'customer ' || g FROM generate_series(0, 20) g;
INSERT INTO shop.orders
	SELECT g, (g % 25)::text:::customer_key, CASE WHEN g % 7 = 0 THEN 'cart' ELSE 'completed' END, g * 77777, timestamp '2025-01-01' + g * interval '7 hours'
	FROM generate_series(1, 60) g;
INSERT INTO shop.returns
	SELECT g, g * 2, NULL, g * 1000, timestamptz '2025-03-01 00:00+00' + g * interval '1 day', 'settled'
	FROM generate_series(1, 20) g;
INSERT INTO shop.loose_returns SELECT 'l' || g, g * 3, (g * 10)::text, date '2025-04-01' + g FROM generate_series(1, 20) g;
INSERT INTO shop.tickets SELECT g, (g % 12)::text:::customer_key, g % 3 > 0 FROM generate_series(1, 15) g;
INSERT INTO shop.service_returns SELECT g, g % 18, g * 5, timestamptz '2025-05-01 00:00+00' FROM generate_series(1, 15) g;
INSERT INTO shop.accounts SELECT g, (g % 15)::text:::customer_key FROM generate_series(1, 15) g;
INSERT INTO shop.web_orders SELECT 'w' || g, 1 + g % 15, g * 50000, timestamptz '2024-05-01 00:00+00' + g * interval '3 days' FROM generate_series(1, 30) g;
INSERT INTO shop.web_returns SELECT g, 'w' || g * 2, g * 7, timestamptz '2025-05-01 00:00+00' FROM generate_series(1, 12) g;
INSERT INTO shop.book SELECT g, (g % 14)::text:::customer_key, (g - 10) * 30000, 1 + g % 3, timestamptz '2025-02-01 00:00+00' + g * interval '1 hour'
	FROM generate_series(1, 25) g;

CREATE EXTENSION segment;
SELECT segment.configure(timezone => 'Asia/Ho_Chi_Minh', country_code => '84', currency => 'VND', money_unit => 1) \g /dev/null
SELECT segment.attach_customers('shop.customers', key => 'id', name => 'name', anonymous => '{0}', counted_when =>
	CASE WHEN :blocklist THEN 'deleted_at IS NULL AND NOT EXISTS (SELECT FROM shop.blocked b WHERE b.customer_id = id)'
		 ELSE 'deleted_at IS NULL' END) \g /dev/null
SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'created_at',
	counted_when => $$status = 'completed'$$) \g /dev/null
SELECT segment.attach_returns('shop.returns', key => 'id', customer => 'customer_id', order_key => 'order_id', amount => 'refund',
	at => 'settled_at', counted_when => $$state = 'settled'$$, orders => 'shop.orders') \g /dev/null
SELECT segment.attach_returns('shop.loose_returns', key => 'id', order_key => 'order_id', amount => 'refund::numeric', at => 'day',
	orders => 'shop.orders') \g /dev/null
SELECT segment.attach_returns('shop.service_returns', key => 'id', customer => '(SELECT k.customer_id FROM shop.tickets k WHERE k.id = ticket_id)',
	amount => 'refund', at => 'at', counted_when => '(SELECT k.approved FROM shop.tickets k WHERE k.id = ticket_id)') \g /dev/null
SELECT segment.attach_orders('shop.web_orders', key => 'id', customer => '(SELECT a.customer_id FROM shop.accounts a WHERE a.id = account_id)',
	amount => 'total', at => 'placed_at', counted_when => 'NOT cancelled') \g /dev/null
SELECT segment.attach_returns('shop.web_returns', key => 'id', order_key => 'web_order_id', amount => 'refund', at => 'at',
	orders => 'shop.web_orders') \g /dev/null
SELECT segment.attach_orders('shop.book', key => 'id', customer => 'customer_id', amount => 'amount / rate', at => 'at',
	counted_when => 'amount >= 0') \g /dev/null
SELECT segment.attach_returns('shop.book', key => 'id', customer => 'customer_id', amount => '-amount / rate', at => 'at',
	counted_when => 'amount < 0') \g /dev/null

INSERT INTO segment.ladders (code, name, figure, programme) VALUES
	('visits', 'Visits', 'number_of_orders', 'visits'), ('ordered', 'Ordered', 'amount_ordered', 'default'),
	('pieces', 'Pieces', 'number_of_returns', 'pieces');
INSERT INTO segment.tiers (ladder, code, name, min_value, max_value, points_floor) VALUES
	('total', 'member', 'Thành viên', 0, 2999999, 0), ('total', 'silver', 'Bạc', 3000000, 9999999, 50), ('total', 'gold', 'Vàng', 10000000, NULL, 100),
	('visits', 'once', 'Once', 1, 1, 0), ('visits', 'again', 'Again', 2, 5, 0), ('visits', 'often', 'Often', 6, NULL, 0),
	('ordered', 'big', 'Big', 5000000, NULL, 0);

-- The tills know nothing of segment.
GRANT USAGE ON SCHEMA shop TO till;
GRANT ALL ON ALL TABLES IN SCHEMA shop TO till;
