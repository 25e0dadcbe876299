-- A shop of test/t/random_conditions.pl: what happened in it (schema base), how
-- the merchant keeps it (schema shop, attached), and what the language says it
-- means, in plain tables made from base and never from a mapping (schema truth).
--
-- Variables: shape (a, b, c or d), zone, seed.

\set ON_ERROR_STOP on
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
CREATE EXTENSION segment;
SELECT segment.configure(timezone => :'zone', given_name => CASE :'shape' WHEN 'c' THEN 'first' END);
SELECT segment.load_phone_rules('84');
SELECT segment.load_region_aliases('VN-2025');
INSERT INTO segment.region_aliases (alias, region) VALUES ('Miền Bắc', 'Hà Nội'), ('the south', 'Cà Mau');

CREATE SCHEMA base;
CREATE SCHEMA shop;
CREATE SCHEMA truth;
CREATE TABLE truth.shop AS SELECT :'shape'::text AS shape, :'zone'::text AS zone;

-- ---------------------------------------------------------------------------
-- What happened.

CREATE FUNCTION base.pick(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS
	$$ SELECT choices[1 + floor(random() * cardinality(choices))::int] $$;
CREATE FUNCTION base.n(low int, high int) RETURNS int LANGUAGE sql VOLATILE AS
	$$ SELECT low + floor(random() * (high - low + 1))::int $$;
CREATE FUNCTION base.maybe(share float8) RETURNS boolean LANGUAGE sql VOLATILE AS $$ SELECT random() < share $$;

-- days about which clocks change, months, quarters and years end
CREATE TABLE base.days (day date PRIMARY KEY);
INSERT INTO base.days SELECT unnest(CASE :'zone'
	WHEN 'Asia/Ho_Chi_Minh' THEN '{2023-12-31,2024-01-01,2024-02-28,2024-02-29,2024-03-01,2024-03-31,2024-06-30,2024-12-31,2025-02-28}'
	WHEN 'America/Sao_Paulo' THEN '{2017-12-31,2018-01-01,2018-02-17,2018-02-18,2018-02-28,2018-03-01,2018-03-31,2018-11-03,2018-11-04,2018-12-31}'
	WHEN 'Europe/Lisbon' THEN '{2023-12-31,2024-01-01,2024-02-29,2024-03-30,2024-03-31,2024-06-30,2024-10-27,2024-12-31,2025-02-28}'
	WHEN 'Pacific/Apia' THEN '{2011-04-02,2011-09-24,2011-12-29,2011-12-30,2011-12-31,2012-01-01,2012-02-29,2012-03-01,2012-03-31}'
	WHEN 'Africa/Cairo' THEN '{2023-04-28,2023-12-31,2024-02-29,2024-04-25,2024-04-26,2024-06-30,2024-10-31,2024-11-01,2024-12-31}'
	ELSE '{2010-02-28,2010-03-13,2010-03-14,2010-06-30,2010-11-06,2010-11-07,2010-12-31,2011-03-13,2012-02-29}' END::date[]);

CREATE FUNCTION base.about(day date, zone text) RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
	SELECT (day::timestamp AT TIME ZONE zone) + base.pick('0', '0', '-1 us', '1 us', '-1 s', '30 min', '-30 min', '1 hour', '-1 hour', '90 min', '12 hours', '23 hours')::interval $$;
CREATE FUNCTION base.some_day() RETURNS date LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	days date[] := ARRAY(SELECT d.day FROM base.days d ORDER BY 1);
BEGIN
	RETURN CASE WHEN random() < 0.5 THEN days[base.n(1, cardinality(days))]
		ELSE days[base.n(1, cardinality(days))] + (random() ^ 3 * base.n(-900, 150))::int END;
END $$;

CREATE TABLE base.customers (
	n int PRIMARY KEY, key text, name text, given text, phone text, email text, sex text, birth date, bday numeric, bmonth numeric,
	address text, country text, region text[], city text[], ward text, tags text[], joined timestamptz, added timestamptz,
	deleted boolean NOT NULL, anonymous boolean NOT NULL, credit numeric, vip boolean, note text, colours text[], renewal date, seen timestamptz,
	balance numeric);
CREATE TABLE base.orders (
	n int PRIMARY KEY, src int NOT NULL, customer int, amount numeric, at timestamptz, done boolean NOT NULL, channel text, branch text, items numeric,
	delivered date, weight numeric, gift boolean, flags text[]);
CREATE TABLE base.lines (
	n int PRIMARY KEY, ordered int, product text, category text, quantity numeric, amount numeric, size text, void boolean NOT NULL);
CREATE TABLE base.returns (
	n int PRIMARY KEY, src int NOT NULL, ordered int, customer int, amount numeric, at timestamptz, done boolean NOT NULL, items numeric, reason text, branch text);
CREATE TABLE base.return_lines (n int PRIMARY KEY, returned int, product text, category text, quantity numeric, amount numeric, wear text);
CREATE TABLE base.points (n int PRIMARY KEY, customer int, points numeric, at timestamptz, branch text, void boolean NOT NULL);
CREATE TABLE base.offers (n int PRIMARY KEY, customer int, offer text, at timestamptz, place text);
CREATE TABLE base.tags (customer int, tag text);

CREATE FUNCTION base.fill(zone text, shape text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	i int;
	j int;
	line int := 0;
	ret int := 0;
	ret_line int := 0;
	o int := 0;
	who int;
	name text;
	phone text;
	at timestamptz;
	key_of constant text := shape;
BEGIN
	FOR i IN 1..150 LOOP
		name := base.pick('Nguyễn Văn', 'Trần Thị', 'Lê', 'Đặng  Thu', 'Ðỗ', 'Phạm Hoà', 'Võ Hòa', 'Bùi thuý', 'LÝ', 'O''Neill', '') || base.pick(' ', ' ', E'\u00a0', E'\t')
			|| base.pick('Dũng', 'dung', 'An', 'Lâm', 'Hoà', 'HÒA', 'Thúy', 'thuý', 'Đức', 'Ðức', 'Quý', 'quí', 'Ánh', 'Anh', '(khách lẻ)', '', 'A\B', '100%_');
		name := CASE WHEN base.maybe(0.25) THEN normalize(name, NFD) WHEN base.maybe(0.1) THEN ' ' || name || '  ' WHEN base.maybe(0.1) THEN upper(name)
			WHEN base.maybe(0.06) THEN NULL WHEN base.maybe(0.06) THEN base.pick('', '   ', '???') ELSE name END;
		phone := lpad(base.n(0, 99)::text, 2, '0') || base.pick('1234567', '7654321', '0000000');
		phone := CASE base.n(0, 11)
			WHEN 0 THEN '+84' || phone WHEN 1 THEN '0084' || phone WHEN 2 THEN '84' || phone WHEN 3 THEN phone
			WHEN 4 THEN '0' || left(phone, 3) || ' ' || substr(phone, 4) WHEN 5 THEN '(0' || left(phone, 3) || ')' || substr(phone, 4)
			WHEN 6 THEN base.pick('0120', '0168', '+84 123', '0084199', '84 162') || '1234567' WHEN 7 THEN '+84 (0)' || phone
			WHEN 8 THEN base.pick('', ' ', 'n/a', '---', '113', '+1 202 555 0100') WHEN 9 THEN NULL
			WHEN 10 THEN translate('0' || phone, '0123456789', '０１２３４５６７８９') ELSE '0' || phone END;
		INSERT INTO base.customers VALUES (
			i, CASE shape WHEN 'b' THEN md5('customer ' || i)::uuid::text WHEN 'c' THEN base.pick('KH-', 'kh ', 'Đ', '0') || i ELSE i::text END,
			name,
			CASE WHEN base.maybe(0.1) THEN NULL ELSE base.pick('Dũng', ' dũng ', 'An', 'LÂM', 'Hoà', 'hòa', '') END,
			phone,
			CASE base.n(0, 7) WHEN 0 THEN NULL WHEN 1 THEN base.pick('', '@', 'nobody', 'a@', '@b.vn') WHEN 2 THEN 'x@y@Gmail.com' ELSE 'c' || i || '@' || base.pick('gmail.com', 'GMAIL.COM', 'shop.vn', 'thư.vn', ' mail.ru ') END,
			base.pick('f', 'F', 'Female', 'nữ', normalize('Nữ', NFD), 'NU', 'm', 'Male', 'nam', ' NAM ', '?', '', 'other', NULL),
			CASE WHEN base.maybe(0.12) THEN base.pick('infinity', '-infinity', '0044-03-15 BC', '4713-01-01 BC', '0001-01-01', '300000-02-28', '5874897-12-31', '2400-02-29')::date
				WHEN base.maybe(0.1) THEN NULL
				WHEN base.maybe(0.2) THEN make_date(base.n(476, 505) * 4, 2, 29)
				WHEN base.maybe(0.4) THEN (base.some_day() - make_interval(years => base.n(0, 70)))::date + base.n(-1, 1)
				ELSE make_date(base.n(1930, 2012), base.n(1, 12), base.n(1, 28)) END,
			CASE WHEN base.maybe(0.1) THEN base.pick('0', '32', '-1', '15.5', 'NaN', '1e20', NULL)::numeric ELSE base.n(1, 31) END,
			CASE WHEN base.maybe(0.1) THEN base.pick('0', '13', '-1', '2.5', 'NaN', '1e20', NULL)::numeric ELSE base.n(1, 12) END,
			CASE base.n(0, 9) WHEN 0 THEN NULL WHEN 1 THEN '' ELSE base.n(1, 99) || ' Lê Lợi, ' || base.pick('Quận 1', 'quận 10', 'Q.1', 'Phường Bến Nghé', 'Quận  1, TP.HCM') END,
			base.pick('VN', 'vn', 'Việt Nam', 'US', '', NULL),
			CASE base.n(0, 9) WHEN 0 THEN NULL WHEN 1 THEN '{}'::text[] WHEN 2 THEN ARRAY[NULL, ''] ELSE ARRAY[
				base.pick('Hà Nội', 'TP.HCM', 'Tp Hồ Chí Minh', 'sài gòn', 'Tỉnh Bình Dương', 'Bình Dương', 'Thành phố Đà Nẵng', 'da nang', 'Thừa Thiên Huế', 'Huế', 'Miền Bắc', 'The  South', 'Nowhere', 'HN', 'TP. Tỉnh Hà Nội')]
				|| CASE WHEN base.maybe(0.3) THEN ARRAY[base.pick('Cà Mau', 'Hà Nội', 'Nowhere', NULL)] END END,
			CASE base.n(0, 5) WHEN 0 THEN NULL ELSE ARRAY[base.pick('Thủ Đức', 'thủ đức', 'Biên Hoà', 'Biên Hòa', '')] END,
			base.pick('Bến Nghé', 'Đa Kao', '', NULL),
			CASE base.n(0, 5) WHEN 0 THEN NULL WHEN 1 THEN '{}'::text[] ELSE ARRAY[base.pick('vip', 'VIP', 'b2b', 'sỉ', ''), base.pick('vip', 'late', 'Khách sỉ', NULL)] END,
			CASE WHEN base.maybe(0.1) THEN base.pick('infinity', '-infinity', '12000-01-01', NULL)::timestamptz ELSE base.about(base.some_day(), zone) END,
			CASE WHEN base.maybe(0.1) THEN base.pick('infinity', '-infinity', NULL)::timestamptz ELSE base.about(base.some_day(), zone) END,
			base.maybe(0.07), base.maybe(0.03),
			CASE WHEN base.maybe(0.2) THEN base.pick('NaN', 'Infinity', '-Infinity', NULL, '0', '-0.5')::numeric ELSE base.n(-20, 200) / 4.0 END,
			CASE base.n(0, 2) WHEN 0 THEN true WHEN 1 THEN false END,
			base.pick('Gọi  lại', 'gọi lại', 'không', '', ' ', NULL, '2024-01-01', E'hai\ndòng'),
			CASE base.n(0, 3) WHEN 0 THEN NULL WHEN 1 THEN '{}'::text[] ELSE ARRAY[base.pick('Đỏ', 'đỏ', 'xanh', ''), NULL, base.pick('xanh', 'vàng')] END,
			CASE WHEN base.maybe(0.2) THEN base.pick('infinity', '-infinity', NULL, '0044-03-15 BC', '300000-01-01')::date ELSE base.some_day() END,
			CASE WHEN base.maybe(0.2) THEN base.pick('infinity', '-infinity', NULL, '0100-01-01 BC', '200000-01-01')::timestamptz ELSE base.about(base.some_day(), zone) END,
			CASE WHEN base.maybe(0.2) THEN base.pick('NaN', '0', NULL, '-5')::numeric ELSE base.n(0, 500) END);
	END LOOP;
	FOR i IN 1..130 LOOP
		FOR j IN 1 .. (random() ^ 2 * 14)::int LOOP
			o := o + 1;
			at := base.about(base.some_day(), zone);
			INSERT INTO base.orders VALUES (
				o, CASE WHEN base.maybe(0.6) THEN 1 ELSE 2 END,
				CASE WHEN base.maybe(0.03) THEN NULL WHEN base.maybe(0.02) THEN 999 ELSE i END,
				CASE WHEN base.maybe(0.04) THEN base.pick('NaN', 'Infinity', '-Infinity', '1e30', NULL)::numeric WHEN base.maybe(0.08) THEN -base.n(0, 400) WHEN base.maybe(0.1) THEN 0
					ELSE base.n(1, 40) * 25 + base.pick('0', '0', '0.25', '0.01')::numeric END,
				CASE WHEN base.maybe(0.02) THEN base.pick('infinity', '-infinity', NULL, '11000-01-01')::timestamptz ELSE at END,
				base.maybe(0.85),
				base.pick('pos', 'POS', 'web', 'zalo ', 'Cửa hàng', '', NULL), base.pick('HN1', 'hn1', 'SG2', NULL),
				CASE WHEN base.maybe(0.1) THEN base.pick('NaN', NULL, '0', '1.5')::numeric ELSE base.n(1, 6) END,
				CASE WHEN base.maybe(0.15) THEN base.pick('infinity', '-infinity', NULL)::date ELSE base.some_day() END,
				CASE WHEN base.maybe(0.2) THEN base.pick('NaN', 'Infinity', NULL, '-1')::numeric ELSE base.n(0, 20) / 2.0 END,
				CASE base.n(0, 2) WHEN 0 THEN true WHEN 1 THEN false END,
				CASE base.n(0, 3) WHEN 0 THEN NULL WHEN 1 THEN '{}'::text[] ELSE ARRAY[base.pick('gấp', 'Gấp', 'sale'), NULL] END);
			FOR who IN 1 .. base.n(0, 4) LOOP
				line := line + 1;
				INSERT INTO base.lines VALUES (line, CASE WHEN base.maybe(0.02) THEN -o ELSE o END, base.pick('SKU-1', 'sku-1', '7', '8', 'ÁO', '', NULL), base.pick('Áo', 'áo', 'Giày', '', NULL),
					CASE WHEN base.maybe(0.05) THEN base.pick('NaN', NULL)::numeric ELSE base.n(-1, 5) END,
					CASE WHEN base.maybe(0.05) THEN base.pick('NaN', '-Infinity', NULL)::numeric ELSE base.n(0, 30) * 10 END,
					base.pick('S', 'm', 'M', NULL), base.maybe(0.06));
			END LOOP;
			IF base.maybe(0.3) THEN
				ret := ret + 1;
				INSERT INTO base.returns VALUES (ret, base.n(1, 2), CASE WHEN base.maybe(0.15) THEN NULL WHEN base.maybe(0.04) THEN -1 ELSE o END,
					CASE WHEN base.maybe(0.3) THEN NULL WHEN base.maybe(0.05) THEN base.n(1, 150) ELSE i END,
					CASE WHEN base.maybe(0.05) THEN base.pick('NaN', NULL, '0', '-10')::numeric ELSE base.n(1, 40) * 25 END,
					CASE WHEN base.maybe(0.5) AND isfinite(at) THEN at + base.pick('1 us', '1 day', '20 days', '-3 days')::interval ELSE base.about(base.some_day(), zone) END,
					base.maybe(0.9), CASE WHEN base.maybe(0.1) THEN NULL ELSE base.n(0, 3) END, base.pick('Hỏng', 'hỏng', 'không vừa', NULL), base.pick('HN1', 'SG2', 'sg2', NULL));
				FOR who IN 1 .. base.n(0, 3) LOOP
					ret_line := ret_line + 1;
					INSERT INTO base.return_lines VALUES (ret_line, CASE WHEN base.maybe(0.03) THEN -ret ELSE ret END, base.pick('SKU-1', 'sku-1', '7', '8', NULL), base.pick('Áo', 'áo', 'Giày', NULL),
						CASE WHEN base.maybe(0.05) THEN base.pick('NaN', NULL)::numeric ELSE base.n(0, 4) END, base.n(0, 30) * 10, base.pick('new', 'broken', NULL));
				END LOOP;
			END IF;
		END LOOP;
	END LOOP;
	FOR i IN 1..500 LOOP
		INSERT INTO base.points VALUES (i, base.n(1, 140), CASE WHEN base.maybe(0.05) THEN base.pick('NaN', NULL, '0', '0.5')::numeric ELSE base.n(-50, 100) END,
			CASE WHEN base.maybe(0.02) THEN base.pick('infinity', NULL)::timestamptz ELSE base.about(base.some_day(), zone) END, base.pick('HN1', 'SG2', NULL), base.maybe(0.05));
		CONTINUE WHEN i > 250;
		INSERT INTO base.offers VALUES (i, base.n(1, 140), base.pick('TET', 'tet', 'Tết', 'SN', '', NULL), CASE WHEN base.maybe(0.02) THEN 'infinity' ELSE base.about(base.some_day(), zone) END, base.pick('HN1', 'web', NULL));
		INSERT INTO base.tags VALUES (base.n(1, 140), base.pick('vip', 'Late', 'sỉ', 'b2b ', '', NULL));
	END LOOP;
END $$;
SELECT setseed(((:seed)::bigint % 1000000) / 1000000.0);
SELECT base.fill(:'zone', :'shape');

-- ---------------------------------------------------------------------------
-- How the merchant keeps it.

SELECT :'shape' = 'a' AS shape_a, :'shape' = 'b' AS shape_b, :'shape' = 'c' AS shape_c, :'shape' = 'd' AS shape_d,
	CASE :'shape' WHEN 'b' THEN 'uuid' WHEN 'c' THEN 'text' ELSE 'bigint' END AS key_type \gset
CREATE FUNCTION base.key(n int) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT CASE WHEN $1 = 999 THEN CASE (SELECT shape FROM truth.shop) WHEN 'b' THEN md5('nobody')::uuid::text ELSE '999' END
		ELSE (SELECT c.key FROM base.customers c WHERE c.n = $1) END $$;

CREATE TABLE shop.customers AS SELECT c.key::text::uuid AS id, c.* FROM base.customers c WHERE false;
ALTER TABLE shop.customers DROP COLUMN key, DROP COLUMN anonymous;
ALTER TABLE shop.customers ALTER id TYPE :key_type USING id::text:::key_type, ADD PRIMARY KEY (id);
INSERT INTO shop.customers SELECT key:::key_type, n, name, given, phone, email, sex, birth, bday, bmonth, address, country, region, city, ward, tags, joined, added,
	deleted, credit, vip, note, colours, renewal, seen, balance FROM base.customers;
SELECT coalesce(array_agg(key), '{}') AS anonymous FROM base.customers WHERE anonymous \gset

-- a: one table of orders with lines, returns that name orders, customers or both
\if :shape_a
	CREATE TABLE shop.orders AS SELECT n::bigint AS id, base.key(customer):::key_type AS customer_id, amount AS total, at AS created_at,
		CASE WHEN done THEN 'completed' ELSE 'draft' END AS status, channel, branch, items AS pieces, delivered, weight, gift, flags FROM base.orders;
	ALTER TABLE shop.orders ADD PRIMARY KEY (id);
	CREATE TABLE shop.order_lines AS SELECT n AS id, ordered::bigint AS order_id, product AS sku, category, quantity, amount, size, void FROM base.lines;
	ALTER TABLE shop.order_lines ADD PRIMARY KEY (id);
	CREATE TABLE shop.returns AS SELECT n AS id, ordered::bigint AS order_id, base.key(customer):::key_type AS customer_id, amount, at, done, items, reason FROM base.returns;
	ALTER TABLE shop.returns ADD PRIMARY KEY (id);
	CREATE TABLE shop.return_lines AS SELECT n AS id, returned AS return_id, product AS sku, category, quantity, amount, wear FROM base.return_lines;
	ALTER TABLE shop.return_lines ADD PRIMARY KEY (id);
	SELECT segment.attach_customers('shop.customers', key => 'id', name => 'name', phone => 'phone', email => 'email', sex => 'sex', birth_date => 'birth',
		address => 'address', country => 'country', region => 'region', city => 'city', ward => 'ward', tags => 'tags', member_since => 'joined', added_at => 'added',
		counted_when => 'NOT deleted', anonymous => :'anonymous',
		custom => '{"credit": "credit", "vip": "vip", "note": "note", "colours": "colours", "renewal": "renewal", "seen": "seen", "name": "upper(note)"}');
	SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'created_at', counted_when => $$status = 'completed'$$,
		items => 'pieces', channel => 'channel', custom => '{"branch": "branch", "delivered": "delivered", "weight": "weight", "gift": "gift", "flags": "flags"}');
	SELECT segment.attach_order_lines('shop.order_lines', key => 'id', order_key => 'order_id', product => 'sku', category => 'category', quantity => 'quantity', amount => 'amount',
		counted_when => 'NOT void', custom => '{"size": "size"}');
	SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', customer => 'customer_id', amount => 'amount', at => 'at', counted_when => 'done',
		items => 'items', custom => '{"reason": "reason"}');
	SELECT segment.attach_return_lines('shop.return_lines', key => 'id', return_key => 'return_id', product => 'sku', category => 'category', quantity => 'quantity', amount => 'amount',
		custom => '{"wear": "wear"}');
\endif

-- b: two tables of orders, one of them in minor units and with timestamps without zone; returns that name customers
\if :shape_b
	CREATE TABLE shop.pos_orders AS SELECT 'P' || n AS id, base.key(customer):::key_type AS customer_id, amount AS total, at AS created_at, done, branch, delivered FROM base.orders WHERE src = 1;
	ALTER TABLE shop.pos_orders ADD PRIMARY KEY (id);
	CREATE TABLE shop.pos_lines AS SELECT n AS id, 'P' || ordered AS order_id, product AS sku, category, quantity, amount FROM base.lines;
	ALTER TABLE shop.pos_lines ADD PRIMARY KEY (id);
	CREATE TABLE shop.web_orders AS SELECT n::bigint AS id, base.key(customer):::key_type AS customer_id,
		(CASE WHEN amount > '-1e9' AND amount < '1e9' THEN amount END * 100)::bigint AS cents, at AT TIME ZONE :'zone' AS created_at, done, channel, branch, items, weight FROM base.orders WHERE src = 2;
	ALTER TABLE shop.web_orders ADD PRIMARY KEY (id);
	CREATE TABLE shop.returns AS SELECT n AS id, base.key(customer):::key_type AS customer_id, amount, at, done, items, reason FROM base.returns;
	ALTER TABLE shop.returns ADD PRIMARY KEY (id);
	SELECT segment.attach_customers('shop.customers', key => 'id', name => 'name', given_name => 'given', phone => 'phone', email => 'email', sex => 'sex',
		birth_day => 'bday', birth_month => 'bmonth', address => 'address', region => 'region[1]', city => 'city', tags => 'tags[1]', member_since => 'joined', points => 'balance',
		counted_when => 'NOT deleted', anonymous => :'anonymous', custom => '{"credit": "credit", "vip": "vip", "colours": "colours[1]"}');
	SELECT segment.attach_orders('shop.pos_orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'created_at', counted_when => 'done',
		channel => $$'pos'$$, custom => '{"branch": "branch", "delivered": "delivered"}');
	SELECT segment.attach_orders('shop.web_orders', key => 'id', customer => 'customer_id', amount => 'cents / 100.0', at => 'created_at', counted_when => 'done',
		items => 'items', channel => 'channel', custom => '{"branch": "branch", "weight": "weight"}');
	SELECT segment.attach_order_lines('shop.pos_lines', key => 'id', orders => 'shop.pos_orders', order_key => 'order_id', product => 'sku', category => 'category', quantity => 'quantity');
	SELECT segment.attach_returns('shop.returns', key => 'id', customer => 'customer_id', amount => 'amount', at => 'at', counted_when => 'done', items => 'items', custom => '{"reason": "reason"}');
\endif

-- c: one table of orders without lines, returns that name orders only, with a branch of their own; tags in two places
\if :shape_c
	ALTER TABLE shop.customers DROP COLUMN deleted;
	CREATE TABLE shop.orders AS SELECT n::bigint AS id, base.key(customer):::key_type AS customer_id, amount AS total, at AS created_at, done, channel, branch, items, gift FROM base.orders;
	ALTER TABLE shop.orders ADD PRIMARY KEY (id);
	CREATE TABLE shop.returns AS SELECT n AS id, ordered::bigint AS order_id, amount, at, done, items, reason, branch FROM base.returns;
	ALTER TABLE shop.returns ADD PRIMARY KEY (id);
	CREATE TABLE shop.labels AS SELECT base.key(customer):::key_type AS customer_id, tag FROM base.tags;
	SELECT segment.attach_customers('shop.customers', key => 'id', name => 'name', phone => 'phone', email => 'email', sex => 'sex', birth_date => 'birth',
		country => 'country', region => 'region', tags => 'tags', member_since => 'joined', added_at => 'added', anonymous => :'anonymous',
		custom => '{"seen": "seen", "renewal": "renewal"}');
	SELECT segment.attach_orders('shop.orders', key => 'id', customer => 'customer_id', amount => 'total', at => 'created_at', counted_when => 'done',
		items => 'items', channel => 'channel', custom => '{"branch": "branch", "gift": "gift"}');
	SELECT segment.attach_returns('shop.returns', key => 'id', order_key => 'order_id', amount => 'amount', at => 'at', counted_when => 'done', items => 'items', custom => '{"reason": "reason", "branch": "branch"}');
	SELECT segment.attach_tags('shop.labels', customer => 'customer_id', tag => 'tag');
\endif

-- d: two tables of orders with lines each; returns of the first, and returns that name customers
\if :shape_d
	CREATE TABLE shop.orders1 AS SELECT n::bigint AS id, base.key(customer):::key_type AS customer_id, amount AS total, at AS created_at, done, channel, branch, flags FROM base.orders WHERE src = 1;
	ALTER TABLE shop.orders1 ADD PRIMARY KEY (id);
	CREATE TABLE shop.orders2 AS SELECT n::bigint AS id, base.key(customer):::key_type AS customer_id, amount AS total, at AS created_at, done, branch, weight FROM base.orders WHERE src = 2;
	ALTER TABLE shop.orders2 ADD PRIMARY KEY (id);
	CREATE TABLE shop.lines1 AS SELECT n AS id, ordered::bigint AS order_id, product AS sku, category, quantity, amount, size, void FROM base.lines;
	ALTER TABLE shop.lines1 ADD PRIMARY KEY (id);
	CREATE TABLE shop.lines2 AS SELECT ordered::bigint AS order_id, quantity FROM base.lines;
	CREATE TABLE shop.returns1 AS SELECT n AS id, ordered::bigint AS order_id, base.key(customer):::key_type AS customer_id, amount, at, done, reason FROM base.returns WHERE src = 1;
	ALTER TABLE shop.returns1 ADD PRIMARY KEY (id);
	CREATE TABLE shop.returns2 AS SELECT n AS id, base.key(customer):::key_type AS customer_id, amount, at, done, items, branch FROM base.returns WHERE src = 2;
	ALTER TABLE shop.returns2 ADD PRIMARY KEY (id);
	CREATE TABLE shop.return_lines AS SELECT n AS id, returned AS return_id, product AS sku, category, quantity, amount FROM base.return_lines;
	ALTER TABLE shop.return_lines ADD PRIMARY KEY (id);
	SELECT segment.attach_customers('shop.customers', key => 'id', name => 'name', phone => 'phone', birth_date => 'birth', birth_year => 'extract(year FROM birth)::numeric',
		region => 'region', member_since => $$(joined AT TIME ZONE 'UTC')::date$$, added_at => 'added', counted_when => 'NOT deleted', anonymous => :'anonymous');
	SELECT segment.attach_orders('shop.orders1', key => 'id', customer => 'customer_id', amount => 'total', at => 'created_at', counted_when => 'done',
		channel => 'channel', custom => '{"branch": "branch", "flags": "flags"}');
	SELECT segment.attach_orders('shop.orders2', key => 'id', customer => 'customer_id', amount => 'total', at => 'created_at', counted_when => 'done', custom => '{"branch": "branch", "weight": "weight"}');
	SELECT segment.attach_order_lines('shop.lines1', key => 'id', orders => 'shop.orders1', order_key => 'order_id', product => 'sku', category => 'category', quantity => 'quantity', amount => 'amount',
		counted_when => 'NOT void', custom => '{"size": "size"}');
	SELECT segment.attach_order_lines('shop.lines2', orders => 'shop.orders2', order_key => 'order_id', quantity => 'quantity');
	SELECT segment.attach_returns('shop.returns1', key => 'id', orders => 'shop.orders1', order_key => 'order_id', customer => 'customer_id', amount => 'amount', at => 'at', counted_when => 'done', custom => '{"reason": "reason"}');
	SELECT segment.attach_returns('shop.returns2', key => 'id', customer => 'customer_id', amount => 'amount', at => 'at', counted_when => 'done', items => 'items', custom => '{"branch": "branch"}');
	SELECT segment.attach_return_lines('shop.return_lines', key => 'id', returns => 'shop.returns1', return_key => 'return_id', product => 'sku', category => 'category', quantity => 'quantity', amount => 'amount');
\endif

-- ledgers of points and offers, where the customers have no balance
\if :shape_b
\else
	CREATE TABLE shop.points1 AS SELECT n AS id, base.key(customer):::key_type AS customer_id, points, at, branch, void FROM base.points WHERE n % 2 = 1;
	CREATE TABLE shop.points2 AS SELECT n AS id, base.key(customer):::key_type AS customer_id, points, at, void FROM base.points WHERE n % 2 = 0;
	CREATE TABLE shop.offers AS SELECT n AS id, base.key(customer):::key_type AS customer_id, offer, at, place FROM base.offers;
	SELECT segment.attach_points('shop.points1', customer => 'customer_id', points => 'points', at => 'at', counted_when => 'NOT void', custom => '{"branch": "branch"}');
	SELECT segment.attach_points('shop.points2', customer => 'customer_id', points => 'points', at => 'at', counted_when => 'NOT void');
	SELECT segment.attach_offers('shop.offers', customer => 'customer_id', offer => 'offer', at => 'at', custom => '{"place": "place"}');
\endif

INSERT INTO segment.ladders (code, name, figure, is_default, active) VALUES
	('visits', 'Visits', 'number_of_orders', false, true), ('off', 'Off', 'amount_ordered', false, false);
INSERT INTO segment.tiers (ladder, code, name, min_value, max_value, active) VALUES
	('total', 'member', 'Member', 0, 999, true), ('total', 'silver', 'Silver', 1000, 2999, true), ('total', 'dust', 'Dust', 3000, 3499, false), ('total', 'gold', 'Gold', 3500, NULL, true),
	('visits', 'some', 'Some', 2, 4, true), ('visits', 'many', 'Many', 5, NULL, true), ('off', 'any', 'Any', 0, NULL, true);

-- ---------------------------------------------------------------------------
-- What it means.

-- Minutes which clocks give to a day though the next has already begun: in
-- Newfoundland they went back from 00:01 to 23:01, some Sunday night in autumn.
CREATE TABLE truth.again (at timestamptz PRIMARY KEY, day date NOT NULL);
INSERT INTO truth.again
	SELECT at, begun FROM (
		SELECT at, at AT TIME ZONE 'America/St_Johns' AS shown, (max(at AT TIME ZONE 'America/St_Johns') OVER (ORDER BY at))::date AS begun
		FROM generate_series(timestamptz '1987-01-01', '2012-01-01', '1 day') d, generate_series(d, d + '23:59', '1 min') at
		WHERE extract(month FROM d) IN (10, 11) AND extract(dow FROM d) = 0
			AND (SELECT zone FROM truth.shop) = 'America/St_Johns') m
	WHERE shown::date < begun;
CREATE FUNCTION truth.day(at timestamptz) RETURNS date LANGUAGE sql STABLE AS $$
	SELECT coalesce((SELECT a.day FROM truth.again a WHERE a.at = date_trunc('minute', $1)), ($1 AT TIME ZONE (SELECT zone FROM truth.shop))::date) $$;
CREATE FUNCTION truth.finite(x numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN x > '-Infinity' AND x < 'Infinity' THEN x END $$;
CREATE FUNCTION truth.finite(x date) RETURNS date LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN isfinite(x) THEN x END $$;
CREATE FUNCTION truth.finite(x timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
	$$ SELECT CASE WHEN x >= '0001-01-01 00:00+00' AND x < '10000-01-01 00:00+00' THEN x END $$;
CREATE FUNCTION truth.summable(x numeric) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(x > -1e30 AND x < 1e30, false) $$;
CREATE FUNCTION truth.as_numbered(x timestamptz) RETURNS timestamptz LANGUAGE sql STABLE AS
	$$ SELECT (x AT TIME ZONE (SELECT zone FROM truth.shop)) AT TIME ZONE (SELECT zone FROM truth.shop) $$;
-- the anniversary of a day of the year: 29 February never leaves February
CREATE FUNCTION truth.anniversary(month int, day int, year int) RETURNS date LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN month = 2 AND day = 29 AND NOT (year % 4 = 0 AND (year % 100 <> 0 OR year % 400 = 0)) THEN make_date(year, 2, 28) ELSE make_date(year, month, day) END $$;
-- whether it falls into these days; of two given days of the year the second may lie beyond the year's end
CREATE FUNCTION truth.anniversary_between(month int, day int, first date, last date) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
	SELECT EXISTS (SELECT FROM generate_series(extract(year FROM first)::int, extract(year FROM last)::int) y WHERE truth.anniversary(month, day, y) BETWEEN first AND last) $$;
CREATE FUNCTION truth.age(birth date, today date) RETURNS int LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN birth <= today THEN (SELECT count(*)::int FROM generate_series(greatest(-5000, CASE WHEN extract(year FROM birth) < 0 THEN extract(year FROM birth)::int + 1 ELSE extract(year FROM birth)::int END + 1), extract(year FROM today)::int) y
		WHERE y < extract(year FROM today)::int OR truth.anniversary(extract(month FROM birth)::int, extract(day FROM birth)::int, y) <= today) END $$;

CREATE TABLE truth.m AS
SELECT c.n, c.key, c.name,
	CASE s.shape WHEN 'b' THEN c.given WHEN 'c' THEN (segment.words(c.name))[1] ELSE (segment.words(c.name))[cardinality(segment.words(c.name))] END AS given_name,
	c.phone, c.email, CASE WHEN c.email LIKE '%@%' THEN nullif(reverse(split_part(reverse(segment.fold(c.email)), '@', 1)), '') END AS email_domain,
	CASE WHEN lower(normalize(btrim(c.sex), NFC)) IN ('f', 'female', 'nữ', 'nu') THEN 'female' WHEN lower(btrim(c.sex)) IN ('m', 'male', 'nam') THEN 'male' END AS sex,
	c.address, CASE s.shape WHEN 'b' THEN NULL ELSE truth.finite(c.birth) END AS birth_date,
	CASE s.shape WHEN 'b' THEN CASE WHEN b.possible THEN c.bmonth::int END ELSE extract(month FROM truth.finite(c.birth))::int END AS month_of_year,
	CASE s.shape WHEN 'b' THEN CASE WHEN b.possible THEN c.bday::int END ELSE extract(day FROM truth.finite(c.birth))::int END AS day_of_month,
	CASE s.shape WHEN 'b' THEN truth.finite(c.bday) ELSE extract(day FROM truth.finite(c.birth)) END AS birth_day,
	CASE s.shape WHEN 'b' THEN truth.finite(c.bmonth) ELSE extract(month FROM truth.finite(c.birth)) END AS birth_month,
	CASE s.shape WHEN 'b' THEN NULL ELSE extract(year FROM truth.finite(c.birth)) END AS birth_year,
	ARRAY[c.country] AS country, CASE s.shape WHEN 'b' THEN ARRAY[c.region[1]] ELSE c.region END AS region, c.city, ARRAY[c.ward] AS ward,
	CASE s.shape WHEN 'b' THEN ARRAY[c.tags[1]] WHEN 'c' THEN coalesce(c.tags, '{}') || ARRAY(SELECT t.tag FROM base.tags t WHERE t.customer = c.n) ELSE c.tags END AS tags,
	CASE s.shape WHEN 'd' THEN truth.finite(((c.joined AT TIME ZONE 'UTC')::date)::timestamp AT TIME ZONE s.zone) ELSE truth.finite(c.joined) END AS member_since,
	truth.finite(c.added) AS customer_added_date,
	truth.finite(c.credit) AS credit, c.vip, c.note, upper(c.note) AS upper_note,
	CASE s.shape WHEN 'b' THEN ARRAY[c.colours[1]] ELSE c.colours END AS colours, truth.finite(c.renewal) AS renewal, truth.finite(c.seen) AS seen,
	coalesce(CASE s.shape WHEN 'b' THEN truth.finite(c.balance) ELSE (SELECT sum(p.points) FROM base.points p WHERE p.customer = c.n AND NOT p.void AND truth.summable(p.points) AND truth.finite(p.at) IS NOT NULL) END, 0) AS points
FROM base.customers c CROSS JOIN truth.shop s
	CROSS JOIN LATERAL (SELECT c.bmonth BETWEEN 1 AND 12 AND c.bmonth = trunc(c.bmonth) AND c.bday BETWEEN 1 AND 31 AND c.bday = trunc(c.bday)
		AND NOT (c.bmonth IN (4, 6, 9, 11) AND c.bday = 31) AND NOT (c.bmonth = 2 AND c.bday > 29) AS possible) b
WHERE (s.shape = 'c' OR NOT c.deleted) AND NOT c.anonymous;
ALTER TABLE truth.m ADD PRIMARY KEY (key);

CREATE TABLE truth.o AS
SELECT o.n, o.src, base.key(o.customer) AS customer, o.amount, o.at, truth.day(o.at) AS day,
	CASE WHEN o.lined THEN coalesce((SELECT sum(l.quantity) FROM base.lines l WHERE l.ordered = o.n AND truth.summable(l.quantity) AND NOT (l.void AND o.voids)), 0) ELSE o.items END AS items,
	o.lined, o.voids, o.channel, o.branch, o.delivered, o.weight, o.gift, o.flags
FROM (
	SELECT o.n, o.src, o.customer, CASE WHEN s.shape = 'b' AND o.src = 2 THEN CASE WHEN abs(o.amount) < 1e9 THEN round(o.amount, 2) END ELSE o.amount END AS amount,
		CASE WHEN s.shape = 'b' AND o.src = 2 THEN truth.as_numbered(o.at) ELSE o.at END AS at,
		o.done, o.items, s.shape = 'a' OR s.shape = 'd' OR (s.shape = 'b' AND o.src = 1) AS lined, s.shape IN ('a', 'd') AND NOT (s.shape = 'd' AND o.src = 2) AS voids,
		s.shape IN ('a', 'c') OR (s.shape = 'b' AND o.src = 2) AS has_items,
		CASE WHEN s.shape = 'b' AND o.src = 1 THEN 'pos' WHEN s.shape = 'd' AND o.src = 2 THEN NULL ELSE o.channel END AS channel,
		o.branch,
		CASE WHEN s.shape = 'a' OR (s.shape = 'b' AND o.src = 1) THEN truth.finite(o.delivered) END AS delivered,
		CASE WHEN s.shape = 'a' OR (s.shape IN ('b', 'd') AND o.src = 2) THEN truth.finite(o.weight) END AS weight,
		CASE WHEN s.shape IN ('a', 'c') THEN o.gift END AS gift,
		CASE WHEN s.shape = 'a' OR (s.shape = 'd' AND o.src = 1) THEN o.flags END AS flags
	FROM base.orders o CROSS JOIN truth.shop s) o
WHERE o.done AND truth.summable(o.amount) AND truth.finite(o.at) IS NOT NULL AND NOT (o.has_items AND o.items IS NOT NULL AND NOT truth.summable(o.items));
CREATE INDEX ON truth.o (customer);
CREATE UNIQUE INDEX ON truth.o (n);

-- lines, and orders without lines as one that says nothing but how many
CREATE TABLE truth.l AS
SELECT o.n AS event, o.customer, o.at, o.day, CASE WHEN s.shape = 'd' AND o.src = 2 THEN NULL ELSE l.product END AS product,
	CASE WHEN s.shape = 'd' AND o.src = 2 THEN NULL ELSE l.category END AS category, l.quantity,
	CASE WHEN s.shape = 'a' OR (s.shape = 'd' AND o.src = 1) THEN truth.finite(l.amount) END AS amount, CASE WHEN o.voids THEN l.size END AS size,
	o.channel, o.branch, o.delivered, o.weight, o.gift, o.flags, true AS is_line
FROM truth.o o JOIN base.lines l ON l.ordered = o.n CROSS JOIN truth.shop s WHERE o.lined AND truth.summable(l.quantity) AND NOT (l.void AND o.voids)
UNION ALL
SELECT o.n, o.customer, o.at, o.day, NULL, NULL, o.items, NULL, NULL, o.channel, o.branch, o.delivered, o.weight, o.gift, o.flags, false FROM truth.o o WHERE NOT o.lined;
CREATE INDEX ON truth.l (customer);

-- returns, with what their order says, where they name one
CREATE TABLE truth.r AS
SELECT r.n, coalesce(CASE WHEN r.names_customer THEN base.key(r.customer) END, o.customer) AS customer, r.amount, r.at, truth.day(r.at) AS day,
	CASE WHEN r.lined THEN coalesce((SELECT sum(l.quantity) FROM base.return_lines l WHERE l.returned = r.n AND truth.summable(l.quantity)), 0) WHEN r.has_items THEN r.items END AS items,
	r.lined, CASE WHEN r.has_reason THEN r.reason END AS reason,
	CASE WHEN r.has_branch THEN r.branch ELSE o.branch END AS branch, r.has_branch, r.has_reason, o.n IS NOT NULL AS ordered,
	o.amount AS o_amount, o.items AS o_items, o.channel, o.delivered, o.weight, o.gift, o.flags
FROM (
	SELECT r.n, r.customer, r.amount, r.at, r.done, r.items, r.reason, r.branch,
		s.shape <> 'c' AS names_customer, CASE WHEN s.shape IN ('a', 'c') OR (s.shape = 'd' AND r.src = 1) THEN r.ordered END AS ordered,
		s.shape = 'a' OR (s.shape = 'd' AND r.src = 1) AS lined, s.shape IN ('a', 'b', 'c') OR (s.shape = 'd' AND r.src = 2) AS has_items,
		NOT (s.shape = 'd' AND r.src = 2) AS has_reason, s.shape = 'c' OR (s.shape = 'd' AND r.src = 2) AS has_branch
	FROM base.returns r CROSS JOIN truth.shop s) r CROSS JOIN truth.shop s
	LEFT JOIN truth.o o ON o.n = r.ordered AND (s.shape <> 'd' OR o.src = 1)
WHERE r.done AND truth.summable(r.amount) AND truth.finite(r.at) IS NOT NULL AND NOT (r.has_items AND r.items IS NOT NULL AND NOT truth.summable(r.items))
	AND (r.ordered IS NULL OR o.n IS NOT NULL);
CREATE INDEX ON truth.r (customer);

CREATE TABLE truth.rl AS
SELECT r.n AS event, r.customer, r.at, r.day, r.amount AS r_amount, l.product, l.category, l.quantity, truth.finite(l.amount) AS amount, l.wear, r.reason, r.branch, r.channel, r.delivered, r.weight, r.gift, r.flags, r.ordered, r.has_branch, r.has_reason, true AS is_line
FROM truth.r r JOIN base.return_lines l ON l.returned = r.n WHERE r.lined AND truth.summable(l.quantity)
UNION ALL
SELECT r.n, r.customer, r.at, r.day, r.amount, NULL, NULL, r.items, NULL, NULL, r.reason, r.branch, r.channel, r.delivered, r.weight, r.gift, r.flags, r.ordered, r.has_branch, r.has_reason, false FROM truth.r r WHERE NOT r.lined;
CREATE INDEX ON truth.rl (customer);

CREATE TABLE truth.p AS
SELECT base.key(p.customer) AS customer, p.points, p.at, truth.day(p.at) AS day, CASE WHEN p.n % 2 = 1 THEN p.branch END AS branch
FROM base.points p WHERE NOT p.void AND truth.summable(p.points) AND p.points > 0 AND truth.finite(p.at) IS NOT NULL;
CREATE TABLE truth.f AS
SELECT base.key(f.customer) AS customer, f.offer, f.at, truth.day(f.at) AS day, f.place FROM base.offers f WHERE f.offer IS NOT NULL AND truth.finite(f.at) IS NOT NULL;
CREATE INDEX ON truth.p (customer);
CREATE INDEX ON truth.f (customer);

-- what follows of all that at any time
ALTER TABLE truth.m ADD spent numeric, ADD ordered numeric, ADD returned numeric, ADD orders bigint, ADD first_at timestamptz, ADD last_at timestamptz;
UPDATE truth.m m SET ordered = coalesce((SELECT sum(o.amount) FROM truth.o o WHERE o.customer = m.key), 0),
	returned = coalesce((SELECT sum(r.amount) FROM truth.r r WHERE r.customer = m.key), 0),
	orders = (SELECT count(*) FROM truth.o o WHERE o.customer = m.key),
	first_at = (SELECT min(o.at) FROM truth.o o WHERE o.customer = m.key), last_at = (SELECT max(o.at) FROM truth.o o WHERE o.customer = m.key);
UPDATE truth.m SET spent = ordered - returned;

-- ---------------------------------------------------------------------------
-- One condition, asked in every way.  Returns what is wrong, if anything, and how many satisfy it.

-- What conditions are made of: values as they are stored, numbers as they come out, days that matter.
CREATE FUNCTION truth.some(statement text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	result json;
BEGIN
	EXECUTE 'SELECT json_agg(x.v ORDER BY x.v) FROM (SELECT DISTINCT v::text FROM (' || statement || ') y(v) WHERE v IS NOT NULL) x' INTO result;
	RETURN result;
END $$;
CREATE FUNCTION truth.pools() RETURNS json LANGUAGE sql AS $$
	SELECT json_object_agg(p.name, truth.some(p.statement))
	FROM (VALUES ('names', 'SELECT name FROM base.customers'), ('given', 'SELECT given_name FROM truth.m'), ('phones', 'SELECT phone FROM base.customers'), ('dialled', $r$SELECT phone FROM base.customers WHERE phone ~ '[0-9]'$r$),
		('emails', 'SELECT email FROM base.customers'), ('domains', 'SELECT email_domain FROM truth.m'), ('addresses', 'SELECT address FROM base.customers'),
		('sexes', 'SELECT sex FROM base.customers'), ('notes', 'SELECT note FROM base.customers'), ('countries', 'SELECT country FROM base.customers'),
		('regions', $r$SELECT unnest(region) FROM base.customers UNION ALL SELECT unnest('{Hồ Chí Minh,Hà Nội,Cà Mau,Huế,Tỉnh Cà Mau}'::text[])$r$),
		('cities', 'SELECT unnest(city) FROM base.customers'), ('wards', 'SELECT ward FROM base.customers'),
		('tags', 'SELECT unnest(tags) FROM base.customers UNION ALL SELECT tag FROM base.tags'), ('colours', 'SELECT unnest(colours) FROM base.customers'),
		('channels', 'SELECT channel FROM base.orders'), ('branches', 'SELECT branch FROM base.orders'), ('flags', 'SELECT unnest(flags) FROM base.orders'),
		('sizes', 'SELECT size FROM base.lines'), ('products', 'SELECT product FROM base.lines'), ('categories', 'SELECT category FROM base.lines'),
		('reasons', 'SELECT reason FROM base.returns'), ('wears', 'SELECT wear FROM base.return_lines'), ('offers', 'SELECT offer FROM base.offers'),
		('births', $r$SELECT birth FROM base.customers WHERE birth BETWEEN '0001-01-01' AND '9999-12-31'$r$),
		('days', 'SELECT day FROM base.days UNION ALL SELECT day + 1 FROM base.days UNION ALL SELECT day FROM truth.o WHERE n % 20 = 0'),
		('amounts', 'SELECT amount FROM truth.o WHERE n % 10 = 0'), ('totals', 'SELECT * FROM (SELECT round(spent, 2) FROM truth.m WHERE n % 5 = 0 UNION ALL SELECT round(spent / 4) FROM truth.m WHERE n % 3 = 0) x'),
		('averages', 'SELECT round(ordered / nullif(orders, 0), 2) FROM truth.m WHERE n % 3 = 0 UNION ALL SELECT round(spent / 13, 2) FROM truth.m WHERE n % 3 = 1'),
		('counts', 'SELECT generate_series(0, 9)'), ('small', 'SELECT generate_series(-1, 12)'), ('weights', 'SELECT weight FROM base.orders WHERE truth.finite(weight) IS NOT NULL'),
		('ages', 'SELECT generate_series(0, 80)'), ('years', 'SELECT generate_series(1930, 2012, 3)'), ('spans', 'SELECT generate_series(-60, 700, 19)'),
		('credits', 'SELECT truth.finite(credit) FROM base.customers'), ('points', 'SELECT points FROM truth.m')) p(name, statement) $$;
CREATE FUNCTION truth.instants() RETURNS json LANGUAGE sql AS $$
	SELECT json_agg(x.at ORDER BY x.at) FROM (
		SELECT DISTINCT (((d.day + k)::timestamp AT TIME ZONE s.zone) + j)::text AS at
		FROM base.days d, truth.shop s, unnest('{0,0,1,30}'::int[]) k, unnest('{0,1 us,-1 us,1 hour,-1 hour,30 min,13 hours}'::interval[]) j) x $$;

CREATE TABLE truth.rules AS SELECT segment._phone_rules_of('84') AS phones;
CREATE FUNCTION truth.keys_of(statement text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	result text[];
BEGIN
	EXECUTE 'SELECT array_agg(x.key::text ORDER BY x.key::text COLLATE "C") FROM (' || statement || E'\n) x' INTO result;
	RETURN coalesce(result, '{}');
END $$;
CREATE FUNCTION truth.judged(c segment.condition, at timestamptz) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
	RETURN coalesce((SELECT array_agg(k ORDER BY k COLLATE "C") FROM segment._judge(c, at) k), '{}');
END $$;
CREATE FUNCTION truth.minus(a text[], b text[]) RETURNS text LANGUAGE sql AS $$ SELECT coalesce(string_agg(x, ' ' ORDER BY x), '') FROM (SELECT unnest(a) EXCEPT SELECT unnest(b)) d(x) $$;
CREATE FUNCTION truth.ask(source text, at timestamptz, model text, thorough boolean, OUT wrong text, OUT size int) LANGUAGE plpgsql AS $$
DECLARE
	c segment.condition;
	sql text[];
	keys text[];
	judged text[];
	meant text[];
	others text[];
	step text := 'reading';
	state text;
	message text;
	detail text;
BEGIN
	c := source;
	IF c::text::segment.condition OPERATOR(segment.<>) c OR c::text::segment.condition::text <> c::text THEN
		wrong := 'text: ' || c::text; RETURN;
	END IF;
	IF c::jsonb::segment.condition OPERATOR(segment.<>) c THEN
		wrong := 'json: ' || c::jsonb::text; RETURN;
	END IF;
	step := 'C'; judged := truth.judged(c, at);
	step := 'SQL'; keys := truth.keys_of(segment.to_sql(c, at));
	size := cardinality(keys);
	IF keys <> judged THEN
		wrong := format('C and SQL differ: only C {%s}, only SQL {%s}', truth.minus(judged, keys), truth.minus(keys, judged)); RETURN;
	END IF;
	IF model IS NOT NULL THEN
		step := 'model';
		EXECUTE 'SELECT array_agg(m.key ORDER BY m.key COLLATE "C") FROM truth.m, (SELECT truth.day($1) AS today, $1 AS now) t WHERE ' || model INTO meant USING at;
		meant := coalesce(meant, '{}');
		IF keys <> meant THEN
			wrong := format('the model differs: only the model {%s}, only the condition {%s}', truth.minus(meant, keys), truth.minus(keys, meant)); RETURN;
		END IF;
	END IF;
	IF thorough THEN
		step := 'NOT in SQL'; others := truth.keys_of(segment.to_sql(segment.negate(c), at));
		IF (SELECT array_agg(k ORDER BY k COLLATE "C") FROM unnest(keys || others) k) IS DISTINCT FROM (SELECT array_agg(m.key ORDER BY m.key COLLATE "C") FROM truth.m) THEN
			wrong := 'with its NOT it is not everybody, in SQL'; RETURN;
		END IF;
		step := 'NOT in C';
		IF others <> truth.judged(segment.negate(c), at) THEN
			wrong := 'C and SQL differ about its NOT'; RETURN;
		END IF;
		step := 'preview_count';
		IF segment.preview_count(c, at) <> size THEN
			wrong := 'preview_count says ' || segment.preview_count(c, at); RETURN;
		END IF;
	END IF;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	wrong := format('%s fails with %s: %s', step, state, concat_ws(E'\n', message, nullif(detail, '')));
END $$;
ANALYZE;
