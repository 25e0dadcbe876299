/* sql/segment--0.1--0.2.sql */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION segment UPDATE TO '0.2'" to load this file. \quit

-- Functions and tables of the extension; what attaching made is brought to this
-- version by segment.upgrade() afterwards.

DROP FUNCTION segment.attach_customers(regclass, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text[], text, text, regclass[]);
DROP FUNCTION segment.attach_orders(regclass, text, text, text, text, text, text, text, regclass[]);
DROP FUNCTION segment.attach_returns(regclass, text, text, text, text, text, text, text, text, regclass[], regclass);
DROP FUNCTION segment.configure(text, text, text, numeric);
DROP TRIGGER _segment_changed ON segment.ladders;
DROP TRIGGER _segment_changed ON segment.tiers;

CREATE OR REPLACE FUNCTION segment._setting(setting text) RETURNS text
LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(
		(SELECT s.value FROM segment.settings s WHERE s.name OPERATOR(pg_catalog.=) setting),
		CASE
			WHEN setting OPERATOR(pg_catalog.=) 'timezone' THEN 'Asia/Ho_Chi_Minh'
			WHEN setting OPERATOR(pg_catalog.=) 'country_code' THEN '84'
			WHEN setting OPERATOR(pg_catalog.=) 'currency' THEN 'VND'
			WHEN setting OPERATOR(pg_catalog.=) 'money_unit' THEN '1'
			WHEN setting OPERATOR(pg_catalog.=) 'max_moves' THEN '0'
			WHEN setting OPERATOR(pg_catalog.=) 'given_name' THEN 'last'
		END)
$$;

CREATE OR REPLACE VIEW segment.configuration AS
	SELECT d.name, segment._setting(d.name) AS value,
		   EXISTS (SELECT FROM segment.settings s WHERE s.name OPERATOR(pg_catalog.=) d.name) AS given,
		   d.description
	FROM (VALUES
		('timezone', 'the shop''s time zone: fixes midnight, months and timestamps without zone'),
		('country_code', 'calling code of the shop''s country, digits only'),
		('currency', 'the shop''s currency; rows in another one are left out'),
		('money_unit', 'smallest step of money: the next tier starts one unit above the one below'),
		('max_moves', 'how many customers one change of groups, ladders or tiers may move; 0: any number'),
		('given_name', 'which word of a name is the given name where no column has it: last, or first')
	) AS d(name, description);

CREATE FUNCTION segment.configure(
	timezone text DEFAULT NULL,
	country_code text DEFAULT NULL,
	currency text DEFAULT NULL,
	money_unit numeric DEFAULT NULL,
	max_moves integer DEFAULT NULL,
	given_name text DEFAULT NULL)
RETURNS void
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_configure';
REVOKE ALL ON FUNCTION segment.configure(text, text, text, numeric, integer, text) FROM PUBLIC;
COMMENT ON FUNCTION segment.configure(text, text, text, numeric, integer, text) IS 'set what holds for the whole shop; an argument left out stays as it is';

CREATE TYPE segment.condition;

CREATE FUNCTION segment._condition_in(cstring) RETURNS segment.condition
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_in';
COMMENT ON FUNCTION segment._condition_in(cstring) IS 'reads a condition (internal)';

CREATE FUNCTION segment._condition_out(segment.condition) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_out';
COMMENT ON FUNCTION segment._condition_out(segment.condition) IS 'writes a condition in its canonical form (internal)';

CREATE FUNCTION segment._condition_recv(internal) RETURNS segment.condition
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_recv';
COMMENT ON FUNCTION segment._condition_recv(internal) IS 'reads a condition from a binary protocol: a version byte and the text (internal)';

CREATE FUNCTION segment._condition_send(segment.condition) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_send';
COMMENT ON FUNCTION segment._condition_send(segment.condition) IS 'writes a condition for a binary protocol (internal)';

CREATE TYPE segment.condition (
	INPUT = segment._condition_in,
	OUTPUT = segment._condition_out,
	RECEIVE = segment._condition_recv,
	SEND = segment._condition_send,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = int4,
	STORAGE = extended
);
COMMENT ON TYPE segment.condition IS 'who belongs: a condition such as amount_spent >= 5_000_000 AND last_order_date < -90d; names are looked up when it is used';

CREATE FUNCTION segment._condition_eq(segment.condition, segment.condition) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_eq';
COMMENT ON FUNCTION segment._condition_eq(segment.condition, segment.condition) IS 'implementation of = on conditions (internal)';

CREATE FUNCTION segment._condition_ne(segment.condition, segment.condition) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_ne';
COMMENT ON FUNCTION segment._condition_ne(segment.condition, segment.condition) IS 'implementation of <> on conditions (internal)';

CREATE FUNCTION segment._condition_lt(segment.condition, segment.condition) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_lt';
COMMENT ON FUNCTION segment._condition_lt(segment.condition, segment.condition) IS 'implementation of < on conditions (internal)';

CREATE FUNCTION segment._condition_le(segment.condition, segment.condition) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_le';
COMMENT ON FUNCTION segment._condition_le(segment.condition, segment.condition) IS 'implementation of <= on conditions (internal)';

CREATE FUNCTION segment._condition_gt(segment.condition, segment.condition) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_gt';
COMMENT ON FUNCTION segment._condition_gt(segment.condition, segment.condition) IS 'implementation of > on conditions (internal)';

CREATE FUNCTION segment._condition_ge(segment.condition, segment.condition) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_ge';
COMMENT ON FUNCTION segment._condition_ge(segment.condition, segment.condition) IS 'implementation of >= on conditions (internal)';

CREATE FUNCTION segment._condition_cmp(segment.condition, segment.condition) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_cmp';
COMMENT ON FUNCTION segment._condition_cmp(segment.condition, segment.condition) IS 'order of conditions, that of their texts (internal)';

CREATE FUNCTION segment._condition_hash(segment.condition) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_hash';
COMMENT ON FUNCTION segment._condition_hash(segment.condition) IS 'hash of a condition (internal)';

CREATE FUNCTION segment._condition_hash(segment.condition, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_hash_extended';
COMMENT ON FUNCTION segment._condition_hash(segment.condition, bigint) IS 'hash of a condition with a seed (internal)';

CREATE OPERATOR segment.= (
	LEFTARG = segment.condition, RIGHTARG = segment.condition, FUNCTION = segment._condition_eq,
	COMMUTATOR = OPERATOR(segment.=), NEGATOR = OPERATOR(segment.<>), RESTRICT = pg_catalog.eqsel, JOIN = pg_catalog.eqjoinsel, HASHES, MERGES
);
COMMENT ON OPERATOR segment.= (segment.condition, segment.condition) IS 'the same condition';

CREATE OPERATOR segment.<> (
	LEFTARG = segment.condition, RIGHTARG = segment.condition, FUNCTION = segment._condition_ne,
	COMMUTATOR = OPERATOR(segment.<>), NEGATOR = OPERATOR(segment.=), RESTRICT = pg_catalog.neqsel, JOIN = pg_catalog.neqjoinsel
);
COMMENT ON OPERATOR segment.<> (segment.condition, segment.condition) IS 'another condition';

CREATE OPERATOR segment.< (
	LEFTARG = segment.condition, RIGHTARG = segment.condition, FUNCTION = segment._condition_lt,
	COMMUTATOR = OPERATOR(segment.>), NEGATOR = OPERATOR(segment.>=), RESTRICT = pg_catalog.scalarltsel, JOIN = pg_catalog.scalarltjoinsel
);
COMMENT ON OPERATOR segment.< (segment.condition, segment.condition) IS 'comes before, by the text';

CREATE OPERATOR segment.<= (
	LEFTARG = segment.condition, RIGHTARG = segment.condition, FUNCTION = segment._condition_le,
	COMMUTATOR = OPERATOR(segment.>=), NEGATOR = OPERATOR(segment.>), RESTRICT = pg_catalog.scalarlesel, JOIN = pg_catalog.scalarlejoinsel
);
COMMENT ON OPERATOR segment.<= (segment.condition, segment.condition) IS 'comes before or is the same';

CREATE OPERATOR segment.> (
	LEFTARG = segment.condition, RIGHTARG = segment.condition, FUNCTION = segment._condition_gt,
	COMMUTATOR = OPERATOR(segment.<), NEGATOR = OPERATOR(segment.<=), RESTRICT = pg_catalog.scalargtsel, JOIN = pg_catalog.scalargtjoinsel
);
COMMENT ON OPERATOR segment.> (segment.condition, segment.condition) IS 'comes after, by the text';

CREATE OPERATOR segment.>= (
	LEFTARG = segment.condition, RIGHTARG = segment.condition, FUNCTION = segment._condition_ge,
	COMMUTATOR = OPERATOR(segment.<=), NEGATOR = OPERATOR(segment.<), RESTRICT = pg_catalog.scalargesel, JOIN = pg_catalog.scalargejoinsel
);
COMMENT ON OPERATOR segment.>= (segment.condition, segment.condition) IS 'comes after or is the same';

CREATE OPERATOR CLASS segment.condition_ops DEFAULT FOR TYPE segment.condition USING btree AS
	OPERATOR 1 segment.<, OPERATOR 2 segment.<=, OPERATOR 3 segment.=, OPERATOR 4 segment.>=, OPERATOR 5 segment.>,
	FUNCTION 1 segment._condition_cmp(segment.condition, segment.condition);
COMMENT ON OPERATOR CLASS segment.condition_ops USING btree IS 'order of conditions, for ORDER BY, DISTINCT and unique indexes';

CREATE OPERATOR CLASS segment.condition_ops DEFAULT FOR TYPE segment.condition USING hash AS
	OPERATOR 1 segment.=,
	FUNCTION 1 segment._condition_hash(segment.condition),
	FUNCTION 2 segment._condition_hash(segment.condition, bigint);
COMMENT ON OPERATOR CLASS segment.condition_ops USING hash IS 'hashing of conditions, for GROUP BY, joins and hash indexes';

CREATE FUNCTION segment.all_of(VARIADIC conditions segment.condition[]) RETURNS segment.condition
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_all_of';
COMMENT ON FUNCTION segment.all_of(segment.condition[]) IS 'the condition that all of these hold';

CREATE FUNCTION segment.any_of(VARIADIC conditions segment.condition[]) RETURNS segment.condition
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_any_of';
COMMENT ON FUNCTION segment.any_of(segment.condition[]) IS 'the condition that at least one of these holds';

CREATE FUNCTION segment.negate(condition segment.condition) RETURNS segment.condition
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_negate';
COMMENT ON FUNCTION segment.negate(segment.condition) IS 'the condition that this one does not hold';

CREATE FUNCTION segment._condition_to_jsonb(segment.condition) RETURNS jsonb
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_to_jsonb';
COMMENT ON FUNCTION segment._condition_to_jsonb(segment.condition) IS 'a condition as a rule tree of react-querybuilder (internal)';

CREATE FUNCTION segment._condition_from_jsonb(jsonb) RETURNS segment.condition
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'segment_condition_from_jsonb';
COMMENT ON FUNCTION segment._condition_from_jsonb(jsonb) IS 'the condition that a rule tree of react-querybuilder says (internal)';

CREATE CAST (segment.condition AS jsonb) WITH FUNCTION segment._condition_to_jsonb(segment.condition) AS ASSIGNMENT;
COMMENT ON CAST (segment.condition AS jsonb) IS 'a rule tree of react-querybuilder';

CREATE CAST (jsonb AS segment.condition) WITH FUNCTION segment._condition_from_jsonb(jsonb) AS ASSIGNMENT;
COMMENT ON CAST (jsonb AS segment.condition) IS 'a rule tree of react-querybuilder, read';

CREATE FUNCTION segment.fold(text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_fold';
COMMENT ON FUNCTION segment.fold(text) IS 'the spelling that texts are compared by: NFC, lower case, one place for tone marks, single spaces; the same in every database locale';

CREATE FUNCTION segment.unaccent(text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_unaccent';
COMMENT ON FUNCTION segment.unaccent(text) IS 'the fold without accents: marks removed, đ read as d';

CREATE FUNCTION segment.words(text) RETURNS text[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_words';
COMMENT ON FUNCTION segment.words(text) IS 'words of the folded text in order: runs of letters, marks and digits';

CREATE FUNCTION segment._has_words(value text, words text) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_has_words';
REVOKE ALL ON FUNCTION segment._has_words(text, text) FROM PUBLIC;
COMMENT ON FUNCTION segment._has_words(text, text) IS 'whether the words stand in the value as whole words, one after the other (internal)';

CREATE FUNCTION segment._given_name(name text, first boolean DEFAULT false) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_given_name';
REVOKE ALL ON FUNCTION segment._given_name(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION segment._given_name(text, boolean) IS 'last or first word of a name, folded; NULL without a word (internal)';

CREATE FUNCTION segment._email_domain(email text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_email_domain';
REVOKE ALL ON FUNCTION segment._email_domain(text) FROM PUBLIC;
COMMENT ON FUNCTION segment._email_domain(text) IS 'what follows the last @, folded; NULL where nothing does (internal)';

CREATE FUNCTION segment._sex(text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_sex';
REVOKE ALL ON FUNCTION segment._sex(text) FROM PUBLIC;
COMMENT ON FUNCTION segment._sex(text) IS 'female or male, NULL for whatever cannot be read as one of them (internal)';

CREATE FUNCTION segment.phone(number text, rules jsonb) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_phone';
COMMENT ON FUNCTION segment.phone(text, jsonb) IS 'a phone number as national digits, by the rules given; empty without digits';

CREATE FUNCTION segment.phone_pattern(pattern text, rules jsonb) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_phone_pattern';
COMMENT ON FUNCTION segment.phone_pattern(text, jsonb) IS 'the beginning of a phone number as national digits: only + or 00 with the country code become 0';

CREATE TABLE segment.phone_rules (
	country_code text COLLATE "C" NOT NULL CHECK (country_code OPERATOR(pg_catalog.~) '^[1-9][0-9]{0,2}$'),
	old_prefix text COLLATE "C" NOT NULL CHECK (old_prefix OPERATOR(pg_catalog.~) '^[0-9]+$'),
	digits integer NOT NULL CHECK (digits OPERATOR(pg_catalog.>=) pg_catalog.length(old_prefix)),
	new_prefix text COLLATE "C" NOT NULL CHECK (new_prefix OPERATOR(pg_catalog.~) '^[0-9]+$'),
	PRIMARY KEY (country_code, old_prefix, digits)
);
REVOKE ALL ON segment.phone_rules FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.phone_rules', '');
COMMENT ON TABLE segment.phone_rules IS 'numbers that were given a new prefix: of several rules for one number the longest prefix decides; plain DML';
COMMENT ON COLUMN segment.phone_rules.country_code IS 'calling code of the country, digits only';
COMMENT ON COLUMN segment.phone_rules.old_prefix IS 'how the national number, with its leading 0, begins';
COMMENT ON COLUMN segment.phone_rules.digits IS 'how many digits such a number has, the prefix included';
COMMENT ON COLUMN segment.phone_rules.new_prefix IS 'what stands for the old prefix since';

CREATE FUNCTION segment.load_phone_rules(country_code text) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	added integer;
BEGIN
	IF $1 IS DISTINCT FROM '84' THEN
		RAISE EXCEPTION 'there are no ready-made phone rules for country code %', coalesce(quote_literal($1), 'NULL')
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'There are some for ''84'' (Vietnam).',
				  HINT = 'Insert the country''s rules, if it has any, into segment.phone_rules.';
	END IF;
	-- Vietnam, 2018: mobile numbers of eleven digits became numbers of ten.
	INSERT INTO segment.phone_rules (country_code, old_prefix, digits, new_prefix)
	SELECT '84', r.old_prefix, 11, r.new_prefix
	FROM (VALUES
		('0120', '070'), ('0121', '079'), ('0122', '077'), ('0126', '076'), ('0128', '078'),
		('0123', '083'), ('0124', '084'), ('0125', '085'), ('0127', '081'), ('0129', '082'),
		('0162', '032'), ('0163', '033'), ('0164', '034'), ('0165', '035'),
		('0166', '036'), ('0167', '037'), ('0168', '038'), ('0169', '039'),
		('0186', '056'), ('0188', '058'), ('0199', '059')
	) AS r(old_prefix, new_prefix)
	ON CONFLICT DO NOTHING;
	GET DIAGNOSTICS added = ROW_COUNT;
	RETURN added;
END
$$;
REVOKE ALL ON FUNCTION segment.load_phone_rules(text) FROM PUBLIC;
COMMENT ON FUNCTION segment.load_phone_rules(text) IS 'insert the ready-made rules of a country into segment.phone_rules; rows that are there stay as they are; returns how many were added';

CREATE FUNCTION segment._phone_rules_of(country_code text) RETURNS jsonb
LANGUAGE sql STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object(
		'country_code', $1,
		'renumbered', coalesce(
			(SELECT jsonb_agg(jsonb_build_array(r.old_prefix, r.digits, r.new_prefix) ORDER BY r.old_prefix, r.digits)
			 FROM segment.phone_rules r WHERE r.country_code = $1), '[]'))
$$;
REVOKE ALL ON FUNCTION segment._phone_rules_of(text) FROM PUBLIC;
COMMENT ON FUNCTION segment._phone_rules_of(text) IS 'rules of a country as segment.phone() takes them (internal)';

CREATE FUNCTION segment.region(text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_region';
COMMENT ON FUNCTION segment.region(text) IS 'the spelling that regions are compared by: the fold without Tỉnh, Thành phố, TP. in front';

CREATE TABLE segment.region_aliases (
	alias text NOT NULL,
	region text NOT NULL CHECK (segment.region(region) OPERATOR(pg_catalog.<>) ''),
	set_name text COLLATE "C",
	alias_key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (segment.region(alias)) STORED CHECK (alias_key OPERATOR(pg_catalog.<>) ''),
	region_key text COLLATE "C" NOT NULL GENERATED ALWAYS AS (segment.region(region)) STORED,
	PRIMARY KEY (alias_key, region_key)
);
REVOKE ALL ON segment.region_aliases FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.region_aliases', '');
COMMENT ON TABLE segment.region_aliases IS 'regions that a stored value means besides its own name: one row each, nothing is followed further; plain DML';
COMMENT ON COLUMN segment.region_aliases.alias IS 'a spelling, or the name of a former region; case, Tỉnh, Thành phố, TP. in front do not matter';
COMMENT ON COLUMN segment.region_aliases.region IS 'the region that it is also found under';
COMMENT ON COLUMN segment.region_aliases.set_name IS 'the set that segment.load_region_aliases() took it from; NULL: the merchant''s own';
COMMENT ON COLUMN segment.region_aliases.alias_key IS 'the alias as it is compared';
COMMENT ON COLUMN segment.region_aliases.region_key IS 'the region as it is compared';

CREATE FUNCTION segment.load_region_aliases(set_name text) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	added integer;
BEGIN
	IF $1 IS DISTINCT FROM 'VN-2025' THEN
		RAISE EXCEPTION 'there is no set of region aliases %', coalesce(quote_literal($1), 'NULL')
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'There is ''VN-2025'': the provinces of Vietnam before and after the merger of 2025, with common spellings.',
				  HINT = 'Insert rows of your own into segment.region_aliases.';
	END IF;
	INSERT INTO segment.region_aliases (alias, region, set_name)
	WITH province(name, successor, spellings) AS (VALUES
		-- as they were, and are
		('Hà Nội', 'Hà Nội', '{HN,Hanoi,Hanoi City,Ha Noi City}'::text[]),
		('Cao Bằng', 'Cao Bằng', '{Caobang}'),
		('Điện Biên', 'Điện Biên', '{Dienbien}'),
		('Lai Châu', 'Lai Châu', '{Laichau}'),
		('Sơn La', 'Sơn La', '{Sonla}'),
		('Lạng Sơn', 'Lạng Sơn', '{Langson}'),
		('Quảng Ninh', 'Quảng Ninh', '{Quangninh}'),
		('Thanh Hóa', 'Thanh Hóa', '{Thanhhoa}'),
		('Nghệ An', 'Nghệ An', '{Nghean}'),
		('Hà Tĩnh', 'Hà Tĩnh', '{Hatinh}'),
		('Thừa Thiên Huế', 'Huế', '{Thừa Thiên - Huế,Thừa Thiên-Huế,TT Huế,TT. Huế,TT-Huế,TTH}'),
		('Huế', 'Huế', '{Hue City}'),
		-- as they were, and what they belong to
		('Tuyên Quang', 'Tuyên Quang', '{Tuyenquang}'),
		('Hà Giang', 'Tuyên Quang', '{Hagiang}'),
		('Lào Cai', 'Lào Cai', '{Laocai,Lao Kay}'),
		('Yên Bái', 'Lào Cai', '{Yenbai}'),
		('Thái Nguyên', 'Thái Nguyên', '{Thainguyen}'),
		('Bắc Kạn', 'Thái Nguyên', '{Bắc Cạn,Backan,Baccan}'),
		('Phú Thọ', 'Phú Thọ', '{Phutho}'),
		('Vĩnh Phúc', 'Phú Thọ', '{Vinhphuc}'),
		('Hòa Bình', 'Phú Thọ', '{Hoabinh}'),
		('Bắc Ninh', 'Bắc Ninh', '{Bacninh}'),
		('Bắc Giang', 'Bắc Ninh', '{Bacgiang}'),
		('Hưng Yên', 'Hưng Yên', '{Hungyen}'),
		('Thái Bình', 'Hưng Yên', '{Thaibinh}'),
		('Hải Phòng', 'Hải Phòng', '{HP,Haiphong,Haiphong City,Hai Phong City}'),
		('Hải Dương', 'Hải Phòng', '{Haiduong}'),
		('Ninh Bình', 'Ninh Bình', '{Ninhbinh}'),
		('Hà Nam', 'Ninh Bình', '{Hanam}'),
		('Nam Định', 'Ninh Bình', '{Namdinh}'),
		('Quảng Trị', 'Quảng Trị', '{Quangtri}'),
		('Quảng Bình', 'Quảng Trị', '{Quangbinh}'),
		('Đà Nẵng', 'Đà Nẵng', '{Danang,Danang City,Da Nang City}'),
		('Quảng Nam', 'Đà Nẵng', '{Quangnam}'),
		('Quảng Ngãi', 'Quảng Ngãi', '{Quangngai}'),
		('Kon Tum', 'Quảng Ngãi', '{Kontum,Công Tum}'),
		('Gia Lai', 'Gia Lai', '{Gialai}'),
		('Bình Định', 'Gia Lai', '{Binhdinh}'),
		('Khánh Hòa', 'Khánh Hòa', '{Khanhhoa}'),
		('Ninh Thuận', 'Khánh Hòa', '{Ninhthuan}'),
		('Lâm Đồng', 'Lâm Đồng', '{Lamdong}'),
		('Đắk Nông', 'Lâm Đồng', '{Đăk Nông,Đắc Nông,Đak Nông,Daknong,Dac Nong}'),
		('Bình Thuận', 'Lâm Đồng', '{Binhthuan}'),
		('Đắk Lắk', 'Đắk Lắk', '{Đăk Lăk,Đắc Lắc,Đắk Lắc,Đak Lak,Daklak,Dac Lac,Darlac}'),
		('Phú Yên', 'Đắk Lắk', '{Phuyen}'),
		('Hồ Chí Minh', 'Hồ Chí Minh', '{HCM,HCMC,TPHCM,TP-HCM,SG,Sài Gòn,Saigon,Sài Gòn - TP.HCM,Ho Chi Minh City,HCM City,Hochiminh,Hochiminh City,Saigon City}'),
		('Bình Dương', 'Hồ Chí Minh', '{Binhduong}'),
		('Bà Rịa - Vũng Tàu', 'Hồ Chí Minh', '{Bà Rịa-Vũng Tàu,Bà Rịa – Vũng Tàu,Bà Rịa Vũng Tàu,Vũng Tàu,Bà Rịa,BRVT,BR-VT,BR - VT,Vungtau}'),
		('Đồng Nai', 'Đồng Nai', '{Dongnai}'),
		('Bình Phước', 'Đồng Nai', '{Binhphuoc}'),
		('Tây Ninh', 'Tây Ninh', '{Tayninh}'),
		('Long An', 'Tây Ninh', '{Longan}'),
		('Cần Thơ', 'Cần Thơ', '{Cantho,Cantho City,Can Tho City}'),
		('Sóc Trăng', 'Cần Thơ', '{Soctrang}'),
		('Hậu Giang', 'Cần Thơ', '{Haugiang}'),
		('Vĩnh Long', 'Vĩnh Long', '{Vinhlong}'),
		('Bến Tre', 'Vĩnh Long', '{Bentre}'),
		('Trà Vinh', 'Vĩnh Long', '{Travinh}'),
		('Đồng Tháp', 'Đồng Tháp', '{Dongthap}'),
		('Tiền Giang', 'Đồng Tháp', '{Tiengiang}'),
		('Cà Mau', 'Cà Mau', '{Camau}'),
		('Bạc Liêu', 'Cà Mau', '{Baclieu}'),
		('An Giang', 'An Giang', '{Angiang}'),
		('Kiên Giang', 'An Giang', '{Kiengiang}')
	), spelling(alias, name, successor) AS (
		-- every spelling, with accents and without
		SELECT s.alias, p.name, p.successor
		FROM province p CROSS JOIN LATERAL unnest(p.name || p.spellings) AS s(alias)
		UNION
		SELECT segment.unaccent(s.alias), p.name, p.successor
		FROM province p CROSS JOIN LATERAL unnest(p.name || p.spellings) AS s(alias)
	), means(alias, region) AS (
		SELECT m.alias, m.name FROM spelling m
		UNION
		SELECT m.alias, m.successor FROM spelling m
	)
	SELECT DISTINCT ON (segment.region(m.alias) COLLATE "C", segment.region(m.region) COLLATE "C") m.alias, m.region, $1
	FROM means m
	WHERE segment.region(m.alias) <> segment.region(m.region)
	ORDER BY segment.region(m.alias) COLLATE "C", segment.region(m.region) COLLATE "C", m.alias COLLATE "C"
	ON CONFLICT DO NOTHING;
	GET DIAGNOSTICS added = ROW_COUNT;
	RETURN added;
END
$$;
REVOKE ALL ON FUNCTION segment.load_region_aliases(text) FROM PUBLIC;
COMMENT ON FUNCTION segment.load_region_aliases(text) IS 'insert a ready-made set into segment.region_aliases (''VN-2025''); rows that are there stay as they are; returns how many were added';

CREATE FUNCTION segment._day_of(at timestamptz, zone text) RETURNS date
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_day_of';
COMMENT ON FUNCTION segment._day_of(timestamptz, text) IS 'the day of an instant in a zone, NULL where there is none; for views and conditions as SQL, so anyone may call it (internal)';

CREATE FUNCTION segment._begin_of_day(day date, zone text) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_begin_of_day';
COMMENT ON FUNCTION segment._begin_of_day(date, text) IS 'the first instant of a local day, also where midnight does not exist or comes twice; for readers of the past, so anyone may call it (internal)';

CREATE FUNCTION segment._add_offset(day date, day_offset text) RETURNS date
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_add_offset';
REVOKE ALL ON FUNCTION segment._add_offset(date, text) FROM PUBLIC;
COMMENT ON FUNCTION segment._add_offset(date, text) IS 'the day that an offset such as -30d, +2w, -1m, +1y names from a day; months and years clamp to the month''s end (internal)';

CREATE FUNCTION segment._day_reaching(target date, day_offset text) RETURNS date
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_day_reaching';
REVOKE ALL ON FUNCTION segment._day_reaching(date, text) FROM PUBLIC;
COMMENT ON FUNCTION segment._day_reaching(date, text) IS 'the first day whose offset day is the target or later (internal)';

CREATE FUNCTION segment._period(day date, period text, months integer DEFAULT 12, starts_on date DEFAULT '2000-01-01') RETURNS date[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_period';
REVOKE ALL ON FUNCTION segment._period(date, text, integer, date) FROM PUBLIC;
COMMENT ON FUNCTION segment._period(date, text, integer, date) IS 'first and last day of a period such as this_month, last_week, quarter(-2), seen from a day; months and starts_on are a ladder''s own blocks (internal)';

CREATE FUNCTION segment._during_change(day date, period text, months integer, starts_on date, today date) RETURNS date
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_during_change';
REVOKE ALL ON FUNCTION segment._during_change(date, text, integer, date, date) FROM PUBLIC;
COMMENT ON FUNCTION segment._during_change(date, text, integer, date, date) IS 'the next day after today on which "day DURING period" changes, NULL: never (internal)';

CREATE FUNCTION segment._age(birth date, today date) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_age';
REVOKE ALL ON FUNCTION segment._age(date, date) FROM PUBLIC;
COMMENT ON FUNCTION segment._age(date, date) IS 'whole years; 29 February counts as the 28th in common years (internal)';

CREATE FUNCTION segment._anniversary(birth date, year integer) RETURNS date
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_anniversary';
REVOKE ALL ON FUNCTION segment._anniversary(date, integer) FROM PUBLIC;
COMMENT ON FUNCTION segment._anniversary(date, integer) IS 'the birthday in a year; 29 February falls on the 28th in common years (internal)';

CREATE FUNCTION segment._anniversary_between(birth date, from_day date, to_day date) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_anniversary_is_between';
REVOKE ALL ON FUNCTION segment._anniversary_between(date, date, date) FROM PUBLIC;
COMMENT ON FUNCTION segment._anniversary_between(date, date, date) IS 'whether a birthday falls on one of these days; over the year''s end where to_day is earlier (internal)';

CREATE FUNCTION segment._anniversary_change(birth date, from_offset text, to_offset text, today date) RETURNS date
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_anniversary_change';
REVOKE ALL ON FUNCTION segment._anniversary_change(date, text, text, date) FROM PUBLIC;
COMMENT ON FUNCTION segment._anniversary_change(date, text, text, date) IS 'the next day after today on which "anniversary BETWEEN from_offset AND to_offset" can change (internal)';

CREATE FUNCTION segment._points_add(internal, numeric, timestamptz, timestamptz, timestamptz, timestamptz) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_points_add';
REVOKE ALL ON FUNCTION segment._points_add(internal, numeric, timestamptz, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION segment._points_add(internal, numeric, timestamptz, timestamptz, timestamptz, timestamptz) IS 'collects a row (internal, for segment.points_balance)';

CREATE FUNCTION segment._points_add(internal, numeric, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz) RETURNS internal
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_points_add';
REVOKE ALL ON FUNCTION segment._points_add(internal, numeric, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION segment._points_add(internal, numeric, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz) IS 'collects a row (internal, for segment.points_expiring)';

CREATE FUNCTION segment._points_balance(internal) RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_points_balance';
REVOKE ALL ON FUNCTION segment._points_balance(internal) FROM PUBLIC;
COMMENT ON FUNCTION segment._points_balance(internal) IS 'the balance of the rows collected (internal, for segment.points_balance)';

CREATE FUNCTION segment._points_expiring(internal) RETURNS numeric
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_points_expiring';
REVOKE ALL ON FUNCTION segment._points_expiring(internal) FROM PUBLIC;
COMMENT ON FUNCTION segment._points_expiring(internal) IS 'what expires of the rows collected (internal, for segment.points_expiring)';

CREATE FUNCTION segment._points_change(internal) RETURNS timestamptz
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_points_balance_change';
REVOKE ALL ON FUNCTION segment._points_change(internal) FROM PUBLIC;
COMMENT ON FUNCTION segment._points_change(internal) IS 'when the balance of the rows collected changes (internal, for segment._points_change)';

CREATE FUNCTION segment._points_expiry(internal) RETURNS timestamptz
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'segment_points_expiry';
REVOKE ALL ON FUNCTION segment._points_expiry(internal) FROM PUBLIC;
COMMENT ON FUNCTION segment._points_expiry(internal) IS 'when one of the rows collected expires (internal, for segment._points_expiry)';

CREATE AGGREGATE segment.points_balance(points numeric, at timestamptz, valid_from timestamptz, expires_at timestamptz, now timestamptz) (
	SFUNC = segment._points_add,
	STYPE = internal,
	SSPACE = 2048,
	FINALFUNC = segment._points_balance,
	PARALLEL = SAFE
);
REVOKE ALL ON FUNCTION segment.points_balance(numeric, timestamptz, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON AGGREGATE segment.points_balance(numeric, timestamptz, timestamptz, timestamptz, timestamptz) IS 'balance of a ledger of points at the instant now: spending uses up, of the rows valid at its instant, those that expire first; NULL over no rows';

CREATE AGGREGATE segment.points_expiring(points numeric, at timestamptz, valid_from timestamptz, expires_at timestamptz, now timestamptz, from_instant timestamptz, until_instant timestamptz) (
	SFUNC = segment._points_add,
	STYPE = internal,
	SSPACE = 2048,
	FINALFUNC = segment._points_expiring,
	PARALLEL = SAFE
);
REVOKE ALL ON FUNCTION segment.points_expiring(numeric, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON AGGREGATE segment.points_expiring(numeric, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz, timestamptz) IS 'points that expire after now, from from_instant to just before until_instant (NULL: no bound), if nothing more is written; NULL over no rows';

CREATE AGGREGATE segment._points_change(points numeric, at timestamptz, valid_from timestamptz, expires_at timestamptz, now timestamptz) (
	SFUNC = segment._points_add,
	STYPE = internal,
	SSPACE = 2048,
	FINALFUNC = segment._points_change,
	PARALLEL = SAFE
);
REVOKE ALL ON FUNCTION segment._points_change(numeric, timestamptz, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON AGGREGATE segment._points_change(numeric, timestamptz, timestamptz, timestamptz, timestamptz) IS 'the first instant after now at which the balance changes by time alone, NULL: never (internal)';

CREATE AGGREGATE segment._points_expiry(points numeric, at timestamptz, valid_from timestamptz, expires_at timestamptz, from_instant timestamptz) (
	SFUNC = segment._points_add,
	STYPE = internal,
	SSPACE = 2048,
	FINALFUNC = segment._points_expiry,
	PARALLEL = SAFE
);
REVOKE ALL ON FUNCTION segment._points_expiry(numeric, timestamptz, timestamptz, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON AGGREGATE segment._points_expiry(numeric, timestamptz, timestamptz, timestamptz, timestamptz) IS 'the first instant, from_instant or later, at which something is lost by expiry, NULL: never (internal)';

ALTER TABLE segment.attachments ADD COLUMN filling boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN segment.attachments.order_source IS 'the source whose rows the rows of this one name: orders; of return lines, returns';
COMMENT ON COLUMN segment.attachments.filling IS 'attached with fill => false, and not everyone is filled yet';

ALTER TABLE segment.stale_marks ADD COLUMN xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id();
COMMENT ON COLUMN segment.stale_marks.xid IS 'the transaction that marked: customers computed again later are not concerned (segment.facts.checked)';

CREATE TABLE segment.epoch (
	system_identifier text COLLATE "C" NOT NULL,
	database oid NOT NULL,
	since timestamptz NOT NULL DEFAULT pg_catalog.now()
);
REVOKE ALL ON segment.epoch FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.epoch', '');
COMMENT ON TABLE segment.epoch IS 'the database in which the state was computed: one row where it is this one (internal)';

CREATE FUNCTION segment._database(OUT system_identifier text, OUT database oid)
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT (SELECT c.system_identifier::text FROM pg_control_system() c),
		   (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
$$;
REVOKE ALL ON FUNCTION segment._database() FROM PUBLIC;
COMMENT ON FUNCTION segment._database() IS 'which database this is (internal)';

CREATE FUNCTION segment._is_here() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT count(*) = 1 AND bool_and(e.system_identifier = d.system_identifier AND e.database = d.database)
	FROM segment.epoch e CROSS JOIN segment._database() d
$$;
COMMENT ON FUNCTION segment._is_here() IS 'whether the state was computed in this database, not restored into it (internal)';

CREATE FUNCTION segment._epoch_restored() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	NEW.system_identifier := 'restored';
	RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION segment._epoch_restored() FROM PUBLIC;
COMMENT ON FUNCTION segment._epoch_restored() IS 'trigger that makes every new row of segment.epoch that of another database (internal)';

CREATE TRIGGER _segment_restored BEFORE INSERT ON segment.epoch
	FOR EACH ROW EXECUTE FUNCTION segment._epoch_restored();

ALTER TABLE segment.epoch ENABLE ALWAYS TRIGGER _segment_restored;

CREATE FUNCTION segment._adopt() RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
	DELETE FROM segment.epoch;
	INSERT INTO segment.epoch (system_identifier, database) SELECT d.system_identifier, d.database FROM segment._database() d;
	UPDATE segment.epoch e SET system_identifier = d.system_identifier FROM segment._database() d;
$$;
REVOKE ALL ON FUNCTION segment._adopt() FROM PUBLIC;
COMMENT ON FUNCTION segment._adopt() IS 'make this the database in which the state was computed (internal)';

CREATE FUNCTION segment._attachments_changed() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'segment_attachments_changed';
REVOKE ALL ON FUNCTION segment._attachments_changed() FROM PUBLIC;
COMMENT ON FUNCTION segment._attachments_changed() IS 'trigger that tells every session that what is attached has changed, also by a restore (internal)';

CREATE TRIGGER _segment_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON segment.attachments
	FOR EACH STATEMENT EXECUTE FUNCTION segment._attachments_changed();

CREATE TRIGGER _segment_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON segment.epoch
	FOR EACH STATEMENT EXECUTE FUNCTION segment._attachments_changed();
COMMENT ON SEQUENCE segment.rule_id IS 'ids of groups, ladders and tiers, as kept in standings';

ALTER TABLE segment.ruleset ADD COLUMN ticked timestamptz;
COMMENT ON TABLE segment.ruleset IS 'one row: version goes up with every change of a group, ladder or tier, so that no session judges by old rules; ticked is the instant up to which due customers were brought up to date last (internal)';
COMMENT ON COLUMN segment.ladders.figure IS 'amount_spent, amount_ordered, amount_returned, number_of_orders, number_of_returns, items_bought or items_returned';

ALTER TABLE segment.tiers DROP CONSTRAINT tiers_ladder_fkey;

CREATE TABLE segment.former_groups (
	id integer PRIMARY KEY,
	code text COLLATE "C" NOT NULL
);
REVOKE ALL ON segment.former_groups FROM PUBLIC;
COMMENT ON TABLE segment.former_groups IS 'groups deleted in this transaction, until their members have been judged (internal)';

CREATE SEQUENCE segment.rule_change_id;
REVOKE ALL ON SEQUENCE segment.rule_change_id FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.rule_change_id', '');
COMMENT ON SEQUENCE segment.rule_change_id IS 'numbers of changes of rules (internal)';

CREATE TABLE segment.rule_history (
	id bigint NOT NULL DEFAULT pg_catalog.nextval('segment.rule_change_id'),
	at timestamptz NOT NULL,
	changed_by text NOT NULL,
	kind text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	old_values jsonb,
	new_values jsonb
);

CREATE INDEX rule_history_id ON segment.rule_history (id);
REVOKE ALL ON segment.rule_history FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.rule_history', '');
COMMENT ON TABLE segment.rule_history IS 'read segment.rule_changes (internal)';

CREATE VIEW segment.rule_changes AS
	SELECT h.id, h.at, h.changed_by, h.kind, h.code, h.old_values, h.new_values FROM segment.rule_history h;
REVOKE ALL ON segment.rule_changes FROM PUBLIC;
COMMENT ON VIEW segment.rule_changes IS 'who changed which group, ladder or tier when: kind, code, and the values before (NULL: it was made) and after (NULL: it was deleted)';
COMMENT ON FUNCTION segment._rules_lock() IS 'trigger before a change of groups, ladders or tiers: keeps sales out of the judging until commit (internal)';

CREATE FUNCTION segment._ladders_renamed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE segment.tiers t SET ladder = n.code
	FROM old_rows o JOIN new_rows n ON n.id = o.id
	WHERE t.ladder = o.code AND n.code <> o.code;
	RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION segment._ladders_renamed() FROM PUBLIC;
COMMENT ON FUNCTION segment._ladders_renamed() IS 'trigger that lets tiers follow the code of their ladder (internal)';
COMMENT ON FUNCTION segment._rules_changed() IS 'trigger after a change of groups, ladders or tiers: refuses what does not fit, writes the history, judges everyone as soon as the rules are valid (internal)';

CREATE TRIGGER _segment_cascade AFTER UPDATE ON segment.ladders
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION segment._ladders_renamed();

CREATE TRIGGER _segment_inserted AFTER INSERT ON segment.ladders
	REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TRIGGER _segment_updated AFTER UPDATE ON segment.ladders
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TRIGGER _segment_deleted AFTER DELETE ON segment.ladders
	REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TRIGGER _segment_truncated AFTER TRUNCATE ON segment.ladders
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TRIGGER _segment_inserted AFTER INSERT ON segment.tiers
	REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TRIGGER _segment_updated AFTER UPDATE ON segment.tiers
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TRIGGER _segment_deleted AFTER DELETE ON segment.tiers
	REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TRIGGER _segment_truncated AFTER TRUNCATE ON segment.tiers
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TABLE segment.groups (
	code text COLLATE "C" PRIMARY KEY CHECK (code OPERATOR(pg_catalog.<>) ''),
	name text NOT NULL,
	kind text COLLATE "C" NOT NULL CHECK (kind OPERATOR(pg_catalog.=) 'automatic' OR kind OPERATOR(pg_catalog.=) 'fixed'),
	description text,
	condition segment.condition,
	active boolean NOT NULL DEFAULT true,
	exclusive_set text COLLATE "C",
	precedence integer NOT NULL DEFAULT 0,
	price_list text,
	tax_percent numeric,
	discount_percent numeric,
	payment_method text,
	created_at timestamptz NOT NULL,
	created_by text NOT NULL,
	updated_at timestamptz NOT NULL,
	updated_by text NOT NULL,
	id integer NOT NULL UNIQUE DEFAULT pg_catalog.nextval('segment.rule_id'),
	notify boolean NOT NULL DEFAULT false
);
REVOKE ALL ON segment.groups FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('segment.groups', '');
COMMENT ON TABLE segment.groups IS 'groups: whoever satisfies a condition, or whom people put there; plain DML, everyone is judged by the statement that changes them';
COMMENT ON COLUMN segment.groups.code IS 'left NULL: the name without accents, in small letters and digits, with _2, _3 ... where that is taken; renaming the group does not change it';
COMMENT ON COLUMN segment.groups.name IS 'no two groups have names that compare equal (segment.fold)';
COMMENT ON COLUMN segment.groups.kind IS 'automatic: filled by its condition; fixed: filled by people; left NULL: automatic where there is a condition';
COMMENT ON COLUMN segment.groups.condition IS 'who is in an automatic group';
COMMENT ON COLUMN segment.groups.active IS 'an inactive group has no members and is false in conditions';
COMMENT ON COLUMN segment.groups.exclusive_set IS 'for groups of which a customer is to be in one only (not used yet)';
COMMENT ON COLUMN segment.groups.precedence IS 'of the groups of a customer the one with the greatest decides on price list, tax, discount and payment';
COMMENT ON COLUMN segment.groups.price_list IS 'price list of its members';
COMMENT ON COLUMN segment.groups.tax_percent IS 'tax of its members, in percent';
COMMENT ON COLUMN segment.groups.discount_percent IS 'discount of its members, in percent';
COMMENT ON COLUMN segment.groups.payment_method IS 'payment method of its members';
COMMENT ON COLUMN segment.groups.created_at IS 'filled by the extension, like the three columns that follow';
COMMENT ON COLUMN segment.groups.id IS 'given by the extension, never changes';
COMMENT ON COLUMN segment.groups.notify IS 'announce entries and exits with NOTIFY on channel segment_groups; not where prepared transactions are enabled';

CREATE FUNCTION segment._group_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- who acts, as segment.changes has it: inside this function nobody but the session's role and SET ROLE tell
	acting text := CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END;
	stem text;
	n integer := 1;
BEGIN
	IF NEW.name IS NULL THEN
		RAISE EXCEPTION 'a group has no name' USING ERRCODE = 'not_null_violation', HINT = 'Give a name.';
	END IF;
	IF TG_OP = 'INSERT' THEN
		NEW.kind := coalesce(NEW.kind, CASE WHEN NEW.condition IS NULL THEN 'fixed' ELSE 'automatic' END);
		IF NEW.code IS NULL THEN
			stem := array_to_string(segment.words(segment.unaccent(NEW.name)), '_');
			IF stem = '' THEN
				RAISE EXCEPTION 'a code cannot be made from the name "%", which has no letter or digit', NEW.name
					USING ERRCODE = 'invalid_parameter_value', HINT = 'Give a code.';
			END IF;
			NEW.code := stem;
			WHILE EXISTS (SELECT FROM segment.groups g WHERE g.code = NEW.code) LOOP
				n := n + 1;
				NEW.code := stem || '_' || n;
			END LOOP;
		END IF;
		NEW.created_at := coalesce(NEW.created_at, now());
		NEW.created_by := coalesce(NEW.created_by, acting);
		NEW.updated_at := coalesce(NEW.updated_at, NEW.created_at);
		NEW.updated_by := coalesce(NEW.updated_by, NEW.created_by);
		RETURN NEW;
	END IF;
	IF NEW.id IS DISTINCT FROM OLD.id THEN
		RAISE EXCEPTION 'column "id" of segment.groups cannot be changed'
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'It is what standings remember; change the code or the name instead.';
	END IF;
	NEW.kind := coalesce(NEW.kind, CASE WHEN NEW.condition IS NULL THEN 'fixed' ELSE 'automatic' END);
	NEW.created_at := OLD.created_at;
	NEW.created_by := OLD.created_by;
	NEW.updated_at := now();
	NEW.updated_by := acting;
	RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION segment._group_row() FROM PUBLIC;
COMMENT ON FUNCTION segment._group_row() IS 'trigger that fills in code, kind and who wrote a group when, and keeps ids as they are (internal)';

CREATE TRIGGER _segment_lock BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON segment.groups
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_lock();

CREATE TRIGGER _segment_row BEFORE INSERT OR UPDATE ON segment.groups
	FOR EACH ROW EXECUTE FUNCTION segment._group_row();

CREATE TRIGGER _segment_inserted AFTER INSERT ON segment.groups
	REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TRIGGER _segment_updated AFTER UPDATE ON segment.groups
	REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TRIGGER _segment_deleted AFTER DELETE ON segment.groups
	REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TRIGGER _segment_truncated AFTER TRUNCATE ON segment.groups
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_changed();

CREATE TABLE segment.pending_groups (
	group_id integer PRIMARY KEY,
	marker integer NOT NULL UNIQUE DEFAULT -pg_catalog.nextval('segment.rule_id')::integer,
	condition segment.condition NOT NULL,
	done_up_to text,
	started_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	started_by text NOT NULL
);
REVOKE ALL ON segment.pending_groups FROM PUBLIC;
COMMENT ON TABLE segment.pending_groups IS 'conditions that segment.activate() is about to put into force: segment.status() tells (internal)';
COMMENT ON COLUMN segment.pending_groups.group_id IS 'of the group whose condition it is to be';
COMMENT ON COLUMN segment.pending_groups.marker IS 'what customers hold in segment.standings whom it will move; below 0, so that it is no group and no tier';
COMMENT ON COLUMN segment.pending_groups.done_up_to IS 'customers up to this key have been judged by it';

CREATE PROCEDURE segment.activate(group_code text, condition segment.condition DEFAULT NULL, batch_size integer DEFAULT 1000)
LANGUAGE c
AS 'MODULE_PATHNAME', 'segment_activate';
REVOKE ALL ON PROCEDURE segment.activate(text, segment.condition, integer) FROM PUBLIC;
COMMENT ON PROCEDURE segment.activate(text, segment.condition, integer) IS 'put an inactive group, or a new condition of a group, into force without keeping sales out while everyone is judged; interrupted, it is called again';

CREATE PROCEDURE segment.cancel_activation(group_code text)
LANGUAGE c
AS 'MODULE_PATHNAME', 'segment_cancel_activation';
REVOKE ALL ON PROCEDURE segment.cancel_activation(text) FROM PUBLIC;
COMMENT ON PROCEDURE segment.cancel_activation(text) IS 'give up what segment.activate() has begun: the group stays what it is';

CREATE FUNCTION segment._group_faults(OUT code text, OUT fault text) RETURNS SETOF record
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'segment_group_faults';
COMMENT ON FUNCTION segment._group_faults() IS 'groups whose condition does not bind here, and why, for whoever may read segment.groups (internal)';

CREATE FUNCTION segment._spellings_changed() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'segment_spellings_changed';
REVOKE ALL ON FUNCTION segment._spellings_changed() FROM PUBLIC;
COMMENT ON FUNCTION segment._spellings_changed() IS 'trigger after a change of phone rules or region aliases, by which conditions compare: everyone is judged again (internal)';

CREATE TRIGGER _segment_lock BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON segment.phone_rules
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_lock();

CREATE TRIGGER _segment_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON segment.phone_rules
	FOR EACH STATEMENT EXECUTE FUNCTION segment._spellings_changed();

CREATE TRIGGER _segment_lock BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON segment.region_aliases
	FOR EACH STATEMENT EXECUTE FUNCTION segment._rules_lock();

CREATE TRIGGER _segment_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON segment.region_aliases
	FOR EACH STATEMENT EXECUTE FUNCTION segment._spellings_changed();

CREATE FUNCTION segment._row_changed() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'segment_row_changed';
COMMENT ON FUNCTION segment._row_changed() IS 'row trigger on attached and watched partitioned tables (internal)';

CREATE FUNCTION segment._unseen() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'segment_unseen';
COMMENT ON FUNCTION segment._unseen() IS 'trigger on attached and watched tables that fires in replica sessions only: marks their sources stale (internal)';

CREATE FUNCTION segment._triggers(
	relation regclass,
	OUT "table" regclass, OUT is_partition boolean, OUT wanted name, OUT definition text, OUT wanted_mode "char",
	OUT present name, OUT present_mode "char")
RETURNS SETOF record
LANGUAGE sql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE wanted(name, type, if_partitioned, if_ordinary, event, each, function, mode) AS MATERIALIZED (
		-- transition tables cannot be trusted where rows are routed or moved to partitions
		VALUES ('_segment_insert'::name, 4, false, true, 'AFTER INSERT',
				'REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT', 'segment._source_changed()'::regprocedure, 'O'::"char"),
			   ('_segment_update', 16, false, true, 'AFTER UPDATE',
				'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT', 'segment._source_changed()', 'O'),
			   ('_segment_delete', 8, false, true, 'AFTER DELETE',
				'REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT', 'segment._source_changed()', 'O'),
			   ('_segment_row', 29, true, false, 'AFTER INSERT OR UPDATE OR DELETE',
				'FOR EACH ROW', 'segment._row_changed()', 'O'),
			   ('_segment_truncate', 32, true, true, 'AFTER TRUNCATE',
				'FOR EACH STATEMENT', 'segment._source_changed()', 'O'),
			   ('_segment_unseen', 29, true, true, 'AFTER INSERT OR UPDATE OR DELETE',
				'FOR EACH ROW', 'segment._unseen()', 'R'),
			   ('_segment_unseen_truncate', 32, true, true, 'AFTER TRUNCATE',
				'FOR EACH STATEMENT', 'segment._unseen()', 'R')
	), below(oid, relkind, relispartition) AS (
		SELECT c.oid, c.relkind, c.relispartition FROM pg_class c WHERE c.oid = _triggers.relation
		UNION ALL
		SELECT c.oid, c.relkind, c.relispartition
		FROM below b
			JOIN pg_inherits i ON i.inhparent = b.oid AND NOT i.inhdetachpending
			JOIN pg_class c ON c.oid = i.inhrelid
		WHERE b.relkind = 'p'
	)
	SELECT b.oid::regclass, b.relispartition, w.name,
		   format('%s ON %s %s EXECUTE FUNCTION %s', w.event, b.oid::regclass, w.each, w.function),
		   w.mode, t.tgname, t.tgenabled
	FROM below b
		JOIN wanted w ON CASE WHEN b.relkind = 'p' OR b.relispartition THEN w.if_partitioned ELSE w.if_ordinary END
		LEFT JOIN pg_trigger t ON t.tgrelid = b.oid AND t.tgtype = w.type AND t.tgfoid = w.function
			AND t.tgqual IS NULL AND cardinality(t.tgattr::int2[]) = 0
	WHERE b.relkind IN ('r', 'p')
$$;
REVOKE ALL ON FUNCTION segment._triggers(regclass) FROM PUBLIC;
COMMENT ON FUNCTION segment._triggers(regclass) IS 'triggers of ours that a table and the partitions below it should have, beside those that they have (internal)';

CREATE FUNCTION segment._set_trigger_modes(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	trigger record;
BEGIN
	-- one table at a time: what ALTER TABLE does to the tables below differs between versions;
	-- a trigger that was switched off stays off
	FOR trigger IN
		SELECT * FROM segment._triggers(relation) t
		WHERE t.wanted_mode = 'R' AND t.present_mode IN ('O', 'A')
	LOOP
		EXECUTE format('ALTER TABLE ONLY %s ENABLE REPLICA TRIGGER %I', trigger."table", trigger.present);
	END LOOP;
END
$$;
REVOKE ALL ON FUNCTION segment._set_trigger_modes(regclass) FROM PUBLIC;
COMMENT ON FUNCTION segment._set_trigger_modes(regclass) IS 'give triggers for replica sessions their mode, on a table and the partitions below it (internal)';

CREATE FUNCTION segment._put_triggers(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	trigger record;
BEGIN
	-- row triggers of a partition are clones: the server makes them with those of the table above
	FOR trigger IN
		SELECT * FROM segment._triggers(relation) t
		WHERE t.present IS NULL AND NOT (t.is_partition AND t.wanted IN ('_segment_row', '_segment_unseen'))
	LOOP
		EXECUTE format('CREATE TRIGGER %I %s', trigger.wanted, trigger.definition);
	END LOOP;
	PERFORM segment._set_trigger_modes(relation);
END
$$;
REVOKE ALL ON FUNCTION segment._put_triggers(regclass) FROM PUBLIC;
COMMENT ON FUNCTION segment._put_triggers(regclass) IS 'put on a table and the partitions below it whatever triggers of ours are missing (internal)';

CREATE FUNCTION segment._take_triggers(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	trigger record;
BEGIN
	FOR trigger IN
		WITH RECURSIVE below(oid, relkind, depth) AS (
			SELECT c.oid, c.relkind, 0 FROM pg_class c WHERE c.oid = _take_triggers.relation
			UNION ALL
			SELECT c.oid, c.relkind, b.depth + 1
			FROM below b JOIN pg_inherits i ON i.inhparent = b.oid JOIN pg_class c ON c.oid = i.inhrelid
			WHERE b.relkind = 'p'
		)
		SELECT t.tgname AS name, b.oid::regclass AS "table"
		FROM below b JOIN pg_trigger t ON t.tgrelid = b.oid
		WHERE t.tgfoid IN ('segment._source_changed()'::regprocedure, 'segment._row_changed()'::regprocedure, 'segment._unseen()'::regprocedure)
			AND t.tgparentid = 0	-- clones go with what they were made from
		ORDER BY b.depth, b.oid, t.tgname
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', trigger.name, trigger."table");
	END LOOP;
END
$$;
REVOKE ALL ON FUNCTION segment._take_triggers(regclass) FROM PUBLIC;
COMMENT ON FUNCTION segment._take_triggers(regclass) IS 'take our triggers off a table and the partitions below it (internal)';

CREATE FUNCTION segment.attach_customers(
	"table" regclass,
	key text,
	name text DEFAULT NULL,
	given_name text DEFAULT NULL,
	phone text DEFAULT NULL,
	email text DEFAULT NULL,
	sex text DEFAULT NULL,
	birth_date text DEFAULT NULL,
	birth_day text DEFAULT NULL,
	birth_month text DEFAULT NULL,
	birth_year text DEFAULT NULL,
	address text DEFAULT NULL,
	country text DEFAULT NULL,
	region text DEFAULT NULL,
	city text DEFAULT NULL,
	ward text DEFAULT NULL,
	tags text DEFAULT NULL,
	member_since text DEFAULT NULL,
	added_at text DEFAULT NULL,
	anonymous text[] DEFAULT '{}',
	counted_when text DEFAULT NULL,
	at_zone text DEFAULT NULL,
	watch regclass[] DEFAULT '{}',
	points text DEFAULT NULL,
	custom jsonb DEFAULT '{}',
	fill boolean DEFAULT true)
RETURNS regclass
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_attach_customers';
REVOKE ALL ON FUNCTION segment.attach_customers(regclass, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text[], text, text, regclass[], text, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION segment.attach_customers(regclass, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text, text[], text, text, regclass[], text, jsonb, boolean) IS 'attach the table of customers: arguments are column names or expressions over its row';

CREATE FUNCTION segment.attach_orders(
	"table" regclass,
	customer text,
	amount text,
	at text,
	key text DEFAULT NULL,
	at_zone text DEFAULT NULL,
	currency text DEFAULT NULL,
	counted_when text DEFAULT NULL,
	watch regclass[] DEFAULT '{}',
	items text DEFAULT NULL,
	channel text DEFAULT NULL,
	custom jsonb DEFAULT '{}',
	fill boolean DEFAULT true)
RETURNS regclass
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_attach_orders';
REVOKE ALL ON FUNCTION segment.attach_orders(regclass, text, text, text, text, text, text, text, regclass[], text, text, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION segment.attach_orders(regclass, text, text, text, text, text, text, text, regclass[], text, text, jsonb, boolean) IS 'attach a table of orders: arguments are column names or expressions over its row';

CREATE FUNCTION segment.attach_returns(
	"table" regclass,
	amount text,
	at text,
	customer text DEFAULT NULL,
	order_key text DEFAULT NULL,
	key text DEFAULT NULL,
	at_zone text DEFAULT NULL,
	currency text DEFAULT NULL,
	counted_when text DEFAULT NULL,
	watch regclass[] DEFAULT '{}',
	orders regclass DEFAULT NULL,
	items text DEFAULT NULL,
	custom jsonb DEFAULT '{}',
	fill boolean DEFAULT true)
RETURNS regclass
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_attach_returns';
REVOKE ALL ON FUNCTION segment.attach_returns(regclass, text, text, text, text, text, text, text, text, regclass[], regclass, text, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION segment.attach_returns(regclass, text, text, text, text, text, text, text, text, regclass[], regclass, text, jsonb, boolean) IS 'attach a table of returns: arguments are column names or expressions over its row; customer or order_key, one is enough';

CREATE FUNCTION segment.attach_order_lines(
	"table" regclass,
	order_key text,
	product text DEFAULT NULL,
	category text DEFAULT NULL,
	quantity text DEFAULT NULL,
	amount text DEFAULT NULL,
	key text DEFAULT NULL,
	at_zone text DEFAULT NULL,
	counted_when text DEFAULT NULL,
	watch regclass[] DEFAULT '{}',
	orders regclass DEFAULT NULL,
	custom jsonb DEFAULT '{}',
	fill boolean DEFAULT true)
RETURNS regclass
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_attach_order_lines';
REVOKE ALL ON FUNCTION segment.attach_order_lines(regclass, text, text, text, text, text, text, text, text, regclass[], regclass, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION segment.attach_order_lines(regclass, text, text, text, text, text, text, text, text, regclass[], regclass, jsonb, boolean) IS 'attach a table of order lines: arguments are column names or expressions over its row; a line counts while its order does';

CREATE FUNCTION segment.attach_return_lines(
	"table" regclass,
	return_key text,
	product text DEFAULT NULL,
	category text DEFAULT NULL,
	quantity text DEFAULT NULL,
	amount text DEFAULT NULL,
	key text DEFAULT NULL,
	at_zone text DEFAULT NULL,
	counted_when text DEFAULT NULL,
	watch regclass[] DEFAULT '{}',
	returns regclass DEFAULT NULL,
	custom jsonb DEFAULT '{}',
	fill boolean DEFAULT true)
RETURNS regclass
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_attach_return_lines';
REVOKE ALL ON FUNCTION segment.attach_return_lines(regclass, text, text, text, text, text, text, text, text, regclass[], regclass, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION segment.attach_return_lines(regclass, text, text, text, text, text, text, text, text, regclass[], regclass, jsonb, boolean) IS 'attach a table of return lines: arguments are column names or expressions over its row; a line counts while its return does';

CREATE FUNCTION segment.attach_points(
	"table" regclass,
	customer text,
	points text,
	at text,
	key text DEFAULT NULL,
	at_zone text DEFAULT NULL,
	valid_from text DEFAULT NULL,
	expires_at text DEFAULT NULL,
	counted_when text DEFAULT NULL,
	watch regclass[] DEFAULT '{}',
	custom jsonb DEFAULT '{}',
	fill boolean DEFAULT true)
RETURNS regclass
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_attach_points';
REVOKE ALL ON FUNCTION segment.attach_points(regclass, text, text, text, text, text, text, text, text, regclass[], jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION segment.attach_points(regclass, text, text, text, text, text, text, text, text, regclass[], jsonb, boolean) IS 'attach a ledger of points, earned and spent: arguments are column names or expressions over its row';

CREATE FUNCTION segment.attach_offers(
	"table" regclass,
	customer text,
	offer text,
	at text,
	key text DEFAULT NULL,
	at_zone text DEFAULT NULL,
	counted_when text DEFAULT NULL,
	watch regclass[] DEFAULT '{}',
	custom jsonb DEFAULT '{}',
	fill boolean DEFAULT true)
RETURNS regclass
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_attach_offers';
REVOKE ALL ON FUNCTION segment.attach_offers(regclass, text, text, text, text, text, text, regclass[], jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION segment.attach_offers(regclass, text, text, text, text, text, text, regclass[], jsonb, boolean) IS 'attach a table of offers that customers used: arguments are column names or expressions over its row';

CREATE FUNCTION segment.attach_tags(
	"table" regclass,
	customer text,
	tag text,
	at_zone text DEFAULT NULL,
	counted_when text DEFAULT NULL,
	watch regclass[] DEFAULT '{}',
	custom jsonb DEFAULT '{}',
	fill boolean DEFAULT true)
RETURNS regclass
LANGUAGE c VOLATILE CALLED ON NULL INPUT
AS 'MODULE_PATHNAME', 'segment_attach_tags';
REVOKE ALL ON FUNCTION segment.attach_tags(regclass, text, text, text, text, regclass[], jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION segment.attach_tags(regclass, text, text, text, text, regclass[], jsonb, boolean) IS 'attach a table of customers tags, one a row: arguments are column names or expressions over its row';

CREATE FUNCTION segment._stale_since() RETURNS xid8
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN NOT segment._is_here()
			OR EXISTS (SELECT FROM segment.attachments a
					   WHERE to_regclass('segment.source_' || a.id) IS NULL)
			THEN '18446744073709551615'::xid8
		ELSE (SELECT m.xid FROM segment.stale_marks m ORDER BY m.xid DESC LIMIT 1)
	END
$$;
COMMENT ON FUNCTION segment._stale_since() IS 'the last transaction that may have changed a source unseen, NULL for none: customers computed again later are exact (internal)';

CREATE OR REPLACE FUNCTION segment._stale() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT segment._stale_since() IS NOT NULL
$$;

CREATE FUNCTION segment._comment_customer_tables() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	COMMENT ON TABLE segment.facts IS 'figures kept per customer key; is_customer is false for keys that orders name but the customers table does not (or no longer) count';
	COMMENT ON COLUMN segment.facts.filled IS 'sources up to this id were counted when the customer was computed last; matters while a source attached with fill => false is being filled';
	COMMENT ON COLUMN segment.facts.checked IS 'transactions before this one were seen when the customer was computed again last; older stale marks do not concern it';
	COMMENT ON COLUMN segment.facts.due IS 'the instant at which the standing may next change by time alone: from then on it is computed on the spot, until a tick or a sale has brought it up to date';
	COMMENT ON TABLE segment.standings IS 'what a customer is in now: ids of tiers and groups, and since when, side by side';
	COMMENT ON TABLE segment.changes IS 'every entry, exit and tier move: when it became true, from what to what, and why; version orders the changes of one customer';
END
$$;
REVOKE ALL ON FUNCTION segment._comment_customer_tables() FROM PUBLIC;
COMMENT ON FUNCTION segment._comment_customer_tables() IS 'say what the tables that hold customer keys are (internal)';

CREATE FUNCTION segment._create_customer_tables(key_type regtype) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $function$
BEGIN
	EXECUTE format($$
CREATE TABLE segment.facts (
	customer_id %1$s PRIMARY KEY,
	version bigint NOT NULL DEFAULT 1,
	is_customer boolean NOT NULL DEFAULT false,
	number_of_orders bigint NOT NULL DEFAULT 0,
	amount_ordered numeric NOT NULL DEFAULT 0,
	first_order_at timestamptz,
	last_order_at timestamptz,
	number_of_returns bigint NOT NULL DEFAULT 0,
	amount_returned numeric NOT NULL DEFAULT 0,
	items_bought numeric NOT NULL DEFAULT 0,
	items_returned numeric NOT NULL DEFAULT 0,
	filled integer NOT NULL DEFAULT 0,
	checked xid8,
	due timestamptz
) WITH (fillfactor = 70)$$, key_type);
	CREATE INDEX facts_due ON segment.facts (due) WHERE due IS NOT NULL;
	REVOKE ALL ON segment.facts FROM PUBLIC;

	EXECUTE format($$
CREATE TABLE segment.standings (
	customer_id %1$s PRIMARY KEY,
	held integer[] NOT NULL,
	since timestamptz[] NOT NULL
)$$, key_type);
	CREATE INDEX standings_held ON segment.standings USING gin (held);
	REVOKE ALL ON segment.standings FROM PUBLIC;

	EXECUTE format($$
CREATE TABLE segment.changes (
	at timestamptz NOT NULL,
	customer_id %1$s NOT NULL,
	kind text COLLATE "C" NOT NULL,
	code text COLLATE "C" NOT NULL,
	ladder text COLLATE "C",
	action text COLLATE "C" NOT NULL,
	old_tier text COLLATE "C",
	new_tier text COLLATE "C",
	old_value numeric,
	new_value numeric,
	cause text COLLATE "C" NOT NULL,
	source text,
	source_key text,
	changed_by text NOT NULL,
	version bigint NOT NULL
)$$, key_type);
	CREATE INDEX changes_customer ON segment.changes (customer_id, version);
	CREATE INDEX changes_code ON segment.changes (code, at);
	REVOKE ALL ON segment.changes FROM PUBLIC;

	PERFORM segment._comment_customer_tables();
END
$function$;
REVOKE ALL ON FUNCTION segment._create_customer_tables(regtype) FROM PUBLIC;
COMMENT ON FUNCTION segment._create_customer_tables(regtype) IS 'make the tables that hold customer keys (internal, called by segment.attach_customers())';

CREATE FUNCTION segment._now() RETURNS timestamptz
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'segment_now_sql';
COMMENT ON FUNCTION segment._now() IS 'the instant as of which views show standings: the transaction''s, segment.at, or the last tick where that is later (internal)';

CREATE FUNCTION segment._groups(OUT id integer, OUT code text, OUT name text, OUT kind text, OUT active boolean)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 50
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT g.id, g.code, g.name, g.kind, g.active FROM segment.groups g
$$;
COMMENT ON FUNCTION segment._groups() IS 'groups as views need them (internal)';

CREATE FUNCTION segment.tick(at timestamptz DEFAULT NULL, batch_size integer DEFAULT 10000) RETURNS bigint
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'segment_tick';
REVOKE ALL ON FUNCTION segment.tick(timestamptz, integer) FROM PUBLIC;
COMMENT ON FUNCTION segment.tick(timestamptz, integer) IS 'bring customers who are due up to date, at most batch_size of them; returns how many, 0 when there is nothing left to do';

CREATE PROCEDURE segment.tick_in_batches(batch_size integer DEFAULT 10000)
LANGUAGE c
AS 'MODULE_PATHNAME', 'segment_tick_in_batches';
REVOKE ALL ON PROCEDURE segment.tick_in_batches(integer) FROM PUBLIC;
COMMENT ON PROCEDURE segment.tick_in_batches(integer) IS 'bring everyone who is due up to date, committing after each batch';

CREATE FUNCTION segment.purge_changes(keep interval) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO'
AS $$
DECLARE
	kept_from timestamptz := segment._now() - keep;
	deleted bigint;
BEGIN
	IF keep < interval '0' THEN
		RAISE EXCEPTION 'keep must not be negative, but is %', keep
			USING ERRCODE = 'invalid_parameter_value', HINT = 'It says how long changes are kept: interval ''2 years''.';
	END IF;
	IF to_regclass('segment.changes') IS NULL THEN
		RETURN 0;
	END IF;
	DELETE FROM segment.changes c WHERE c.at < kept_from;
	GET DIAGNOSTICS deleted = ROW_COUNT;
	INSERT INTO segment.settings AS s (name, value) VALUES ('changes_kept_from', kept_from::text)
		ON CONFLICT (name) DO UPDATE SET value = greatest(s.value::timestamptz, excluded.value::timestamptz)::text;
	RETURN deleted;
END
$$;
REVOKE ALL ON FUNCTION segment.purge_changes(interval) FROM PUBLIC;
COMMENT ON FUNCTION segment.purge_changes(interval) IS 'delete entries of segment.changes older than an interval; what customers are in, and since when, stays; returns how many';

CREATE FUNCTION segment._create_customer_views(key_type regtype) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $function$
BEGIN
	CREATE VIEW segment.customers AS
		SELECT f.customer_id,
			   f.number_of_orders,
			   f.number_of_returns,
			   f.amount_ordered - f.amount_returned AS amount_spent,
			   f.amount_ordered,
			   f.amount_returned,
			   f.items_bought,
			   f.items_returned,
			   f.amount_ordered / nullif(f.number_of_orders, 0) AS average_order_value,
			   segment._day_of(f.first_order_at, z.zone) AS first_order_date,
			   segment._day_of(f.last_order_at, z.zone) AS last_order_date,
			   segment._day_of(now(), z.zone) - segment._day_of(f.last_order_at, z.zone) AS days_since_last_order,
			   z.stale_since IS NOT NULL AND NOT coalesce(f.checked > z.stale_since, false) AS stale
		FROM segment.facts f
			CROSS JOIN (SELECT segment._setting('timezone') AS zone, segment._stale_since() AS stale_since OFFSET 0) z
		WHERE f.is_customer;
	REVOKE ALL ON segment.customers FROM PUBLIC;
	COMMENT ON VIEW segment.customers IS 'every counted customer with the figures kept for them; money in the shop''s currency, dates in the shop''s zone';

	CREATE VIEW segment.customer_tiers AS
		SELECT v.customer_id,
			   v.ladder,
			   h.code AS tier,
			   h.name AS tier_name,
			   h.rank,
			   v.value,
			   h.since,
			   n.code AS next_tier,
			   n.min_value - v.value AS to_next,
			   h.points_floor,
			   CASE WHEN h.code IS NOT NULL THEN 'rule' END AS source,
			   v.stale
		FROM (SELECT f.customer_id, l.code AS ladder,
					 z.stale_since IS NOT NULL AND NOT coalesce(f.checked > z.stale_since, false) AS stale,
					 CASE l.figure
						WHEN 'amount_spent' THEN f.amount_ordered - f.amount_returned
						WHEN 'amount_ordered' THEN f.amount_ordered
						WHEN 'amount_returned' THEN f.amount_returned
						WHEN 'number_of_orders' THEN f.number_of_orders
						WHEN 'number_of_returns' THEN f.number_of_returns
						WHEN 'items_bought' THEN f.items_bought
						WHEN 'items_returned' THEN f.items_returned
					 END AS value
			  FROM segment.facts f
				CROSS JOIN segment._active_ladders() l
				CROSS JOIN (SELECT segment._stale_since() AS stale_since OFFSET 0) z
			  WHERE f.is_customer) v
			LEFT JOIN (SELECT s.customer_id, t.ladder, t.code, t.name, t.min_value, t.rank, t.points_floor, u.since
					   FROM segment.standings s
						CROSS JOIN LATERAL unnest(s.held, s.since) AS u(id, since)
						JOIN segment._ranked_tiers() t ON t.id = u.id) h
				ON h.customer_id = v.customer_id AND h.ladder = v.ladder
			LEFT JOIN LATERAL (SELECT t.code, t.min_value
							   FROM segment._ranked_tiers() t
							   WHERE t.ladder = v.ladder AND t.active AND t.min_value > v.value
								AND (h.code IS NULL OR t.min_value > h.min_value)
							   ORDER BY t.min_value LIMIT 1) n ON true;
	REVOKE ALL ON segment.customer_tiers FROM PUBLIC;
	COMMENT ON VIEW segment.customer_tiers IS 'one row per counted customer and active ladder: tier held (NULL: none), value, since when, what is missing to the next';

	CREATE VIEW segment.customer_tier AS
		SELECT DISTINCT ON (c.customer_id, l.programme)
			   c.customer_id, l.programme, c.ladder, c.tier, c.tier_name, c.rank, c.value, c.since, c.stale
		FROM segment.customer_tiers c
			JOIN segment._active_ladders() l ON l.code = c.ladder
		ORDER BY c.customer_id, l.programme, c.rank DESC NULLS LAST, l.is_default DESC, l.code;
	REVOKE ALL ON segment.customer_tier FROM PUBLIC;
	COMMENT ON VIEW segment.customer_tier IS 'one row per counted customer and programme: the tier of the greatest rank over its ladders';

	CREATE VIEW segment.tier_sizes AS
		WITH held AS (
			SELECT u.id, count(*) AS customers
			FROM segment.standings s CROSS JOIN LATERAL unnest(s.held) AS u(id)
			GROUP BY u.id
		), total AS (
			SELECT count(*) AS customers FROM segment.facts f WHERE f.is_customer
		), sizes AS (
			SELECT t.ladder, t.code, t.name, t.rank, coalesce(h.customers, 0) AS customers
			FROM segment._ranked_tiers() t LEFT JOIN held h ON h.id = t.id
			UNION ALL
			SELECT l.code, NULL AS code, NULL AS name, NULL::integer AS rank, total.customers - coalesce((
				SELECT sum(h.customers) FROM held h JOIN segment._ranked_tiers() t ON t.id = h.id WHERE t.ladder = l.code), 0)
			FROM segment._active_ladders() l CROSS JOIN total
		)
		SELECT z.ladder, z.code AS tier, z.name AS tier_name, z.rank,
			   z.customers::bigint AS customers,
			   round(z.customers / nullif(total.customers, 0), 4) AS share,
			   segment._stale() AS stale
		FROM sizes z
			JOIN segment._active_ladders() l ON l.code = z.ladder
			CROSS JOIN total
		ORDER BY z.ladder, z.rank DESC NULLS LAST;
	REVOKE ALL ON segment.tier_sizes FROM PUBLIC;
	COMMENT ON VIEW segment.tier_sizes IS 'how many customers hold each tier of each active ladder, and their share; the row without a tier counts those who hold none';

	EXECUTE format($$
CREATE FUNCTION segment._due_standings(at timestamptz DEFAULT NULL, OUT customer_id %1$s, OUT held integer[], OUT since timestamptz[])
RETURNS SETOF record
LANGUAGE c STABLE ROWS 100
AS '$libdir/segment', 'segment_due_standings'$$, key_type);
	COMMENT ON FUNCTION segment._due_standings(timestamptz) IS 'standings of those who are due, now or at another instant, computed on the spot for whoever may read members (internal)';

	CREATE VIEW segment.members AS
		SELECT g.code AS group_code, g.name AS group_name, g.kind, s.customer_id,
			   s.since[array_position(s.held, g.id)] AS since, NULL::date AS until,
			   'rule'::text AS origin, NULL::text AS added_by, NULL::text AS reason,
			   z.stale_since IS NOT NULL AND NOT coalesce(f.checked > z.stale_since, false) AS stale
		FROM segment._groups() g
			JOIN segment.standings s ON s.held @> ARRAY[g.id]
			JOIN segment.facts f ON f.customer_id = s.customer_id
			CROSS JOIN (SELECT segment._now() AS now, segment._stale_since() AS stale_since OFFSET 0) z
		WHERE f.due IS NULL OR f.due > z.now
		UNION ALL
		SELECT g.code, g.name, g.kind, s.customer_id, s.since[array_position(s.held, g.id)], NULL, 'rule', NULL, NULL,
			   z.stale_since IS NOT NULL AND NOT coalesce(f.checked > z.stale_since, false)
		FROM segment._due_standings() s
			JOIN segment._groups() g ON g.id = ANY (s.held)
			JOIN segment.facts f ON f.customer_id = s.customer_id
			CROSS JOIN (SELECT segment._stale_since() AS stale_since OFFSET 0) z;
	REVOKE ALL ON segment.members FROM PUBLIC;
	COMMENT ON VIEW segment.members IS 'who is in which group, and since when: one row per customer and group';

	CREATE VIEW segment.customer_groups AS
		SELECT f.customer_id,
			   coalesce(g.codes, '{}') AS groups,
			   coalesce(g.names, '{}') AS group_names,
			   z.stale_since IS NOT NULL AND NOT coalesce(f.checked > z.stale_since, false) AS stale
		FROM segment.facts f
			CROSS JOIN (SELECT segment._now() AS now, segment._stale_since() AS stale_since OFFSET 0) z
			LEFT JOIN segment.standings s ON s.customer_id = f.customer_id
			LEFT JOIN segment._due_standings() d ON d.customer_id = f.customer_id
			LEFT JOIN LATERAL (SELECT array_agg(i.code ORDER BY i.code) AS codes, array_agg(i.name ORDER BY i.code) AS names
							   FROM segment._groups() i
							   WHERE i.id = ANY (CASE WHEN f.due <= z.now THEN d.held ELSE s.held END)) g ON true
		WHERE f.is_customer;
	REVOKE ALL ON segment.customer_groups FROM PUBLIC;
	COMMENT ON VIEW segment.customer_groups IS 'one row per counted customer: codes and names of the groups that the customer is in, by code';

	CREATE VIEW segment.group_sizes AS
		SELECT g.code AS group_code, g.name AS group_name, g.kind,
			   coalesce(m.customers, 0) AS customers,
			   round(coalesce(m.customers, 0)::numeric / nullif(t.customers, 0), 4) AS share,
			   segment._stale() AS stale
		FROM segment._groups() g
			LEFT JOIN (SELECT h.id, count(*) AS customers
					   FROM (SELECT u.id
							 FROM segment.standings s
								CROSS JOIN LATERAL unnest(s.held) AS u(id)
								LEFT JOIN segment.facts f ON f.customer_id = s.customer_id AND f.due <= segment._now()
							 WHERE f.customer_id IS NULL
							 UNION ALL
							 SELECT u.id FROM segment._due_standings() s CROSS JOIN LATERAL unnest(s.held) AS u(id)) h
					   GROUP BY h.id) m ON m.id = g.id
			CROSS JOIN (SELECT count(*) AS customers FROM segment.facts f WHERE f.is_customer) t
		ORDER BY g.code;
	REVOKE ALL ON segment.group_sizes FROM PUBLIC;
	COMMENT ON VIEW segment.group_sizes IS 'how many customers are in each group, and their share of all customers';

	CREATE VIEW segment.group_stats AS
		SELECT g.code AS group_code, g.name AS group_name, g.kind,
			   count(m.customer_id) AS customers,
			   coalesce(sum(f.number_of_orders), 0)::bigint AS number_of_orders,
			   coalesce(sum(f.amount_ordered - f.amount_returned), 0) AS amount_spent,
			   sum(f.amount_ordered) / nullif(sum(f.number_of_orders), 0) AS average_order_value,
			   round(coalesce(sum(f.amount_ordered - f.amount_returned), 0) / nullif(t.amount_spent, 0), 4) AS share_of_sales,
			   segment._stale() AS stale
		FROM segment._groups() g
			LEFT JOIN segment.members m ON m.group_code = g.code
			LEFT JOIN segment.facts f ON f.customer_id = m.customer_id
			CROSS JOIN (SELECT sum(c.amount_ordered - c.amount_returned) AS amount_spent FROM segment.facts c WHERE c.is_customer) t
		GROUP BY g.code, g.name, g.kind, t.amount_spent
		ORDER BY g.code;
	REVOKE ALL ON segment.group_stats FROM PUBLIC;
	COMMENT ON VIEW segment.group_stats IS 'orders, spend, average order value and share of all customers'' spend of each group''s members, of all time';

	CREATE VIEW segment.group_details AS
		SELECT g.code AS group_code, g.name AS group_name, g.kind, g.description, g.condition::text AS condition, g.active,
			   g.created_at, g.created_by, g.updated_at, g.updated_by,
			   CASE WHEN g.active AND g.kind = 'automatic' THEN (SELECT min(f.due) FROM segment.facts f WHERE f.due > segment._now()) END AS next_change,
			   segment._stale() AS stale
		FROM segment.groups g
		ORDER BY g.code;
	REVOKE ALL ON segment.group_details FROM PUBLIC;
	COMMENT ON VIEW segment.group_details IS 'what a group is, who made and changed it and when, and the earliest instant at which time alone may change anybody''s groups';

	EXECUTE format($$
CREATE FUNCTION segment.members_at("group" text, date date) RETURNS TABLE (customer_id %1$s)
LANGUAGE plpgsql STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $members$
#variable_conflict use_column
DECLARE
	zone text := segment._setting('timezone');
	ended timestamptz := segment._begin_of_day(date + 1, zone);
	kept_from timestamptz := segment._setting('changes_kept_from')::timestamptz;
	wanted integer := (SELECT g.id FROM segment._groups() g WHERE g.code = "group");
BEGIN
	IF wanted IS NULL THEN
		RAISE EXCEPTION 'there is no group "%%"', "group"
			USING ERRCODE = 'undefined_object', HINT = 'View segment.group_sizes has the codes.';
	END IF;
	IF ended IS NULL THEN
		RAISE EXCEPTION 'argument "date" is not a day of the calendar'
			USING ERRCODE = 'datetime_field_overflow', HINT = 'Give a day that has ended.';
	END IF;
	IF ended > segment._now() THEN
		RAISE EXCEPTION 'the day %% has not ended', date
			USING ERRCODE = 'invalid_parameter_value', HINT = 'segment.members has today''s members, segment.forecast() those of a day to come.';
	END IF;
	IF ended <= kept_from THEN
		RAISE EXCEPTION 'who was in group "%%" on %% is not known any more', "group", date
			USING ERRCODE = 'invalid_parameter_value', DETAIL = format('Changes are kept from %%s on: segment.purge_changes() deleted the earlier ones.', kept_from);
	END IF;
	RETURN QUERY
		WITH later AS (
			SELECT DISTINCT ON (c.customer_id) c.customer_id, c.action
			FROM segment.changes c
			WHERE c.kind = 'group' AND c.code = "group" AND c.at >= ended
			ORDER BY c.customer_id, c.at, c.version
		), due AS (
			SELECT d.customer_id, d.held FROM segment._due_standings(ended - interval '1 microsecond') d
		), ended_in AS (
			SELECT s.customer_id FROM segment.standings s
			WHERE s.held @> ARRAY[wanted] AND NOT EXISTS (SELECT FROM due d WHERE d.customer_id = s.customer_id)
			UNION ALL
			SELECT d.customer_id FROM due d WHERE d.held @> ARRAY[wanted]
		)
		SELECT t.customer_id FROM ended_in t WHERE NOT EXISTS (SELECT FROM later l WHERE l.customer_id = t.customer_id)
		UNION ALL
		SELECT l.customer_id FROM later l WHERE l.action = 'leave';
END
$members$ $$, key_type);
	REVOKE ALL ON FUNCTION segment.members_at(text, date) FROM PUBLIC;
	COMMENT ON FUNCTION segment.members_at(text, date) IS 'who was in a group as a past day of the shop ended';

	EXECUTE format($$
CREATE FUNCTION segment.recalculate_customers(customer_ids %1$s[]) RETURNS bigint
LANGUAGE c VOLATILE STRICT
AS '$libdir/segment', 'segment_recalculate_customers'$$, key_type);
	EXECUTE format($$REVOKE ALL ON FUNCTION segment.recalculate_customers(%1$s[]) FROM PUBLIC$$, key_type);
	EXECUTE format($$COMMENT ON FUNCTION segment.recalculate_customers(%1$s[]) IS 'compute figures and tiers of the named customers again; returns how many were not right'$$, key_type);

	EXECUTE format($$
CREATE FUNCTION segment.preview(condition segment.condition, at timestamptz DEFAULT NULL, max_rows bigint DEFAULT NULL,
	OUT customer_id %1$s, OUT name text, OUT phone text, OUT email text, OUT figures jsonb)
RETURNS SETOF record
LANGUAGE c STABLE
AS '$libdir/segment', 'segment_preview'$$, key_type);
	REVOKE ALL ON FUNCTION segment.preview(segment.condition, timestamptz, bigint) FROM PUBLIC;
	COMMENT ON FUNCTION segment.preview(segment.condition, timestamptz, bigint) IS 'who satisfies a condition, now or at another instant, with the figures that it names; personal columns under the reader''s own rights';

	EXECUTE format($$
CREATE FUNCTION segment.explain("group" text, customer %1$s,
	OUT depth integer, OUT clause text, OUT holds boolean, OUT value text, OUT changes_at timestamptz)
RETURNS SETOF record
LANGUAGE c STABLE
AS '$libdir/segment', 'segment_explain'$$, key_type);
	EXECUTE format($$REVOKE ALL ON FUNCTION segment.explain(text, %1$s) FROM PUBLIC$$, key_type);
	EXECUTE format($$COMMENT ON FUNCTION segment.explain(text, %1$s) IS 'why a customer is in a group or is not: its condition clause by clause, with the value found and when that may change by time alone'$$, key_type);

	EXECUTE format($$
CREATE FUNCTION segment.explain_condition(condition segment.condition, customer %1$s, at timestamptz DEFAULT NULL,
	OUT depth integer, OUT clause text, OUT holds boolean, OUT value text, OUT changes_at timestamptz)
RETURNS SETOF record
LANGUAGE c STABLE
AS '$libdir/segment', 'segment_explain_condition'$$, key_type);
	EXECUTE format($$REVOKE ALL ON FUNCTION segment.explain_condition(segment.condition, %1$s, timestamptz) FROM PUBLIC$$, key_type);
	EXECUTE format($$COMMENT ON FUNCTION segment.explain_condition(segment.condition, %1$s, timestamptz) IS 'why a customer satisfies a condition or does not, now or at another instant: the rows of segment.explain()'$$, key_type);

	EXECUTE format($$
CREATE FUNCTION segment.what_if_group(code text, condition segment.condition, OUT customer_id %1$s, OUT action text)
RETURNS SETOF record
LANGUAGE c STABLE
AS '$libdir/segment', 'segment_what_if_group'$$, key_type);
	REVOKE ALL ON FUNCTION segment.what_if_group(text, segment.condition) FROM PUBLIC;
	COMMENT ON FUNCTION segment.what_if_group(text, segment.condition) IS 'who would enter or leave a group if this were its condition; writes nothing';

	EXECUTE format($$
CREATE FUNCTION segment.forecast("group" text, date date) RETURNS TABLE (customer_id %1$s)
LANGUAGE c STABLE
AS '$libdir/segment', 'segment_forecast'$$, key_type);
	REVOKE ALL ON FUNCTION segment.forecast(text, date) FROM PUBLIC;
	COMMENT ON FUNCTION segment.forecast(text, date) IS 'who is in a group as a day of the shop begins, if nothing happens until then';

	EXECUTE format($$
CREATE FUNCTION segment.verify(OUT customer_id %1$s, OUT figure text, OUT stored text, OUT expected text)
RETURNS SETOF record
LANGUAGE c STABLE
AS '$libdir/segment', 'segment_verify'$$, key_type);
	REVOKE ALL ON FUNCTION segment.verify() FROM PUBLIC;
	COMMENT ON FUNCTION segment.verify() IS 'stored against recomputed by plain SQL from the attached tables: one row per difference, writes nothing';
END
$function$;
REVOKE ALL ON FUNCTION segment._create_customer_views(regtype) FROM PUBLIC;
COMMENT ON FUNCTION segment._create_customer_views(regtype) IS 'make the views and functions that hold or take customer keys (internal, called by segment.attach_customers() and segment.upgrade())';

CREATE OR REPLACE FUNCTION segment._create_customer_objects(key_type regtype) RETURNS void
LANGUAGE plpgsql VOLATILE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM segment._create_customer_tables(key_type);
	PERFORM segment._create_customer_views(key_type);
	PERFORM segment._set_objects_version();
	INSERT INTO segment.ladders (code, name, figure, is_default)
		SELECT 'total', 'Total accumulated', 'amount_spent', true
		WHERE NOT EXISTS (SELECT FROM segment.ladders);
	IF segment._setting('country_code') = '84' THEN
		PERFORM segment.load_phone_rules('84');
	END IF;
	PERFORM segment._adopt();
END
$$;
COMMENT ON FUNCTION segment._create_customer_objects(regtype) IS 'make everything that holds customer keys (internal, called by segment.attach_customers())';

CREATE FUNCTION segment._drop_customer_views() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $function$
DECLARE
	typed regprocedure;
BEGIN
	DROP VIEW IF EXISTS segment.group_details, segment.group_stats, segment.group_sizes, segment.customer_groups, segment.members;
	DROP VIEW segment.tier_sizes, segment.customer_tier, segment.customer_tiers, segment.customers;
	FOR typed IN
		SELECT p.oid FROM pg_proc p
		WHERE p.pronamespace = 'segment'::regnamespace AND p.proname IN ('recalculate_customers', 'verify', 'preview', '_due_standings', 'members_at', 'explain', 'explain_condition', 'what_if_group', 'forecast')
	LOOP
		EXECUTE format('DROP FUNCTION %s', typed);
	END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION segment._drop_customer_views() FROM PUBLIC;
COMMENT ON FUNCTION segment._drop_customer_views() IS 'drop what segment._create_customer_views() made (internal)';

CREATE OR REPLACE FUNCTION segment._drop_customer_objects() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $function$
BEGIN
	PERFORM segment._drop_customer_views();
	DROP TABLE segment.facts, segment.standings, segment.changes;
	DELETE FROM segment.pending_groups;
	DELETE FROM segment.epoch;
	DELETE FROM segment.settings s WHERE s.name = 'objects_version';
END
$function$;

CREATE FUNCTION segment._set_objects_version() RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
	INSERT INTO segment.settings AS s (name, value)
		SELECT 'objects_version', e.extversion FROM pg_extension e WHERE e.extname = 'segment'
		ON CONFLICT (name) DO UPDATE SET value = excluded.value
$$;
REVOKE ALL ON FUNCTION segment._set_objects_version() FROM PUBLIC;
COMMENT ON FUNCTION segment._set_objects_version() IS 'write down which version made the tables and views of customers (internal)';

CREATE FUNCTION segment._upgrade_due() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(segment._setting('objects_version'), '0.1')
	FROM pg_extension e
	WHERE e.extname = 'segment' AND to_regclass('segment.facts') IS NOT NULL
		AND coalesce(segment._setting('objects_version'), '0.1') <> e.extversion
$$;
COMMENT ON FUNCTION segment._upgrade_due() IS 'the version that made the tables and views of customers, where the extension is of another (internal)';

CREATE FUNCTION segment.upgrade() RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $function$
DECLARE
	key_type regtype;
	granted text;
	grants text[];
	ledger regclass;
	attached regclass;
BEGIN
	IF to_regclass('segment.facts') IS NULL THEN
		RETURN;
	END IF;
	LOCK TABLE segment.attachments IN SHARE ROW EXCLUSIVE MODE;
	LOCK TABLE segment.facts IN ACCESS EXCLUSIVE MODE;
	SELECT a.atttypid INTO key_type FROM pg_attribute a WHERE a.attrelid = 'segment.facts'::regclass AND a.attname = 'customer_id';

	SELECT array_agg(format('GRANT %s ON %s TO %s%s', g.privilege_type, g.object, g.grantee,
							CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)) INTO grants
	FROM (
		SELECT x.privilege_type, c.oid::regclass::text AS object, x.is_grantable,
			   CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END AS grantee
		FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) x
		WHERE c.relnamespace = 'segment'::regnamespace
			AND c.relname IN ('tier_sizes', 'customer_tier', 'customer_tiers', 'customers', 'members', 'customer_groups', 'group_sizes', 'group_stats', 'group_details') AND x.grantee <> c.relowner
		UNION ALL
		SELECT x.privilege_type, 'FUNCTION ' || p.oid::regprocedure::text, x.is_grantable,
			   CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END
		FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) x
		WHERE p.pronamespace = 'segment'::regnamespace
			AND p.proname IN ('recalculate_customers', 'verify', 'preview', '_due_standings', 'members_at', 'explain', 'explain_condition', 'what_if_group', 'forecast') AND x.grantee <> p.proowner
	) g;
	BEGIN
		PERFORM segment._drop_customer_views();
	EXCEPTION WHEN dependent_objects_still_exist THEN
		RAISE EXCEPTION 'cannot make the views of schema segment anew: others depend on them'
			USING ERRCODE = 'dependent_objects_still_exist', DETAIL = SQLERRM,
				  HINT = 'Drop those views, call segment.upgrade(), and create them again.';
	END;

	-- from 0.1
	ALTER TABLE segment.facts
		ADD COLUMN IF NOT EXISTS items_bought numeric NOT NULL DEFAULT 0,
		ADD COLUMN IF NOT EXISTS items_returned numeric NOT NULL DEFAULT 0,
		ADD COLUMN IF NOT EXISTS filled integer NOT NULL DEFAULT 0,
		ADD COLUMN IF NOT EXISTS checked xid8,
		ADD COLUMN IF NOT EXISTS due timestamptz;
	CREATE INDEX IF NOT EXISTS facts_due ON segment.facts (due) WHERE due IS NOT NULL;
	CREATE INDEX IF NOT EXISTS changes_code ON segment.changes (code, at);
	CREATE INDEX IF NOT EXISTS standings_held ON segment.standings USING gin (held);
	PERFORM segment._comment_customer_tables();
	FOR ledger IN
		SELECT to_regclass('segment.counted_' || a.id) FROM segment.attachments a WHERE to_regclass('segment.counted_' || a.id) IS NOT NULL
	LOOP
		EXECUTE format('ALTER TABLE %s ADD COLUMN IF NOT EXISTS items numeric, ALTER COLUMN amount DROP NOT NULL, ALTER COLUMN at DROP NOT NULL', ledger);
	END LOOP;
	IF NOT EXISTS (SELECT FROM segment.epoch) THEN
		-- 0.1 did not write down where its state was made, nor notice rows that came unseen
		INSERT INTO segment.stale_marks (source, reason)
			SELECT a.id, 'it was attached with version 0.1, which did not notice rows that come unseen' FROM segment.attachments a;
		PERFORM segment._adopt();
	END IF;

	PERFORM segment._create_customer_views(key_type);
	FOREACH granted IN ARRAY coalesce(grants, '{}') LOOP
		EXECUTE granted;
	END LOOP;
	PERFORM segment._set_objects_version();
	IF segment._setting('country_code') = '84' AND NOT EXISTS (SELECT FROM segment.phone_rules) THEN
		PERFORM segment.load_phone_rules('84');
	END IF;
	FOR attached IN
		SELECT a.relation FROM segment.attachments a
		UNION
		SELECT w.relation FROM segment.attachments a CROSS JOIN LATERAL unnest(segment._watched(a.id)) w(relation)
	LOOP
		PERFORM segment._put_triggers(attached);
	END LOOP;
END
$function$;
REVOKE ALL ON FUNCTION segment.upgrade() FROM PUBLIC;
COMMENT ON FUNCTION segment.upgrade() IS 'after ALTER EXTENSION segment UPDATE: bring tables, views and triggers that attaching made to the new version';

CREATE FUNCTION segment.to_sql(condition segment.condition, at timestamptz DEFAULT NULL) RETURNS text
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'segment_to_sql';
REVOKE ALL ON FUNCTION segment.to_sql(segment.condition, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION segment.to_sql(segment.condition, timestamptz) IS 'the SELECT of customers'' keys over the shop''s own tables that defines what a condition means, now or at another instant';

CREATE FUNCTION segment.preview_count(condition segment.condition, at timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'segment_preview_count';
REVOKE ALL ON FUNCTION segment.preview_count(segment.condition, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION segment.preview_count(segment.condition, timestamptz) IS 'how many customers satisfy a condition, now or at another instant';

CREATE FUNCTION segment._judge(condition segment.condition, at timestamptz DEFAULT NULL) RETURNS SETOF text
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'segment_judge_condition';
REVOKE ALL ON FUNCTION segment._judge(segment.condition, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION segment._judge(segment.condition, timestamptz) IS 'keys of the customers for whom a condition holds, as text, judged in C (internal)';

CREATE FUNCTION segment._figures_of(condition segment.condition, keys text[], at timestamptz DEFAULT NULL,
	OUT key text, OUT slot integer, OUT figure text, OUT value text, OUT next_change timestamptz)
RETURNS SETOF record
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'segment_figures_of';
REVOKE ALL ON FUNCTION segment._figures_of(segment.condition, text[], timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION segment._figures_of(segment.condition, text[], timestamptz) IS 'figures that a condition names, read by key, with the instant at which time may change them; without keys of everybody, without that instant (internal)';

CREATE FUNCTION segment._figures(
	OUT name text, OUT event text, OUT type text, OUT operators text[], OUT english text, OUT vietnamese text,
	OUT available boolean, OUT missing text)
RETURNS SETOF record
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'segment_figures';
COMMENT ON FUNCTION segment._figures() IS 'names of the condition language and what each needs here (internal)';

CREATE VIEW segment.figures AS
	SELECT f.name, f.event, f.type, f.operators, f.english, f.vietnamese, f.available, f.missing
	FROM segment._figures() f;
REVOKE ALL ON segment.figures FROM PUBLIC;
COMMENT ON VIEW segment.figures IS 'what conditions can ask here: names, or fields of an event, with type, operators, labels, and what is to be mapped where nothing feeds them yet';

CREATE FUNCTION segment._ladder_names(OUT code text, OUT name text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT l.code, l.name FROM segment.ladders l
$$;
COMMENT ON FUNCTION segment._ladder_names() IS 'names of ladders, for labels (internal)';

CREATE FUNCTION segment.query_builder_fields(language text DEFAULT 'en') RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF language IS NULL OR language NOT IN ('en', 'vi') THEN
		RAISE EXCEPTION 'there are no labels in language "%"', language
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Use ''en'' or ''vi''.';
	END IF;
	RETURN (
		WITH known AS (
			SELECT f.name, f.event, f.type, f.n, CASE language WHEN 'vi' THEN f.vietnamese ELSE f.english END AS label
			FROM segment._figures() WITH ORDINALITY AS f(name, event, type, operators, english, vietnamese, available, missing, n)
			WHERE f.available
		), figures AS (
			SELECT k.name, k.event, k.type, k.n, 0 AS more, k.label, NULL::text AS ladder FROM known k
			WHERE k.event IS NOT NULL OR k.name <> 'tier' AND (k.name <> 'groups' OR EXISTS (SELECT FROM segment._groups()))
			UNION ALL
			SELECT CASE WHEN l.is_default THEN k.name ELSE format('tier(ladder = ''%s'')', l.code) END, NULL, k.type, k.n,
				row_number() OVER (ORDER BY l.is_default DESC, l.code),
				CASE WHEN l.is_default THEN k.label ELSE k.label || ': ' || n.name END, l.code
			FROM known k CROSS JOIN segment._active_ladders() l JOIN segment._ladder_names() n ON n.code = l.code
			WHERE k.name = 'tier' AND k.event IS NULL AND (l.is_default OR l.code !~ '[\\''()]')
			  AND EXISTS (SELECT FROM known g WHERE g.name = l.figure AND g.event IS NULL)
			  AND EXISTS (SELECT FROM segment._ranked_tiers() t WHERE t.ladder = l.code)
			UNION ALL
			SELECT 'anniversary(birth_date)', NULL, 'anniversary', max(k.n), 1, CASE language WHEN 'vi' THEN 'Sinh nhật' ELSE 'Birthday' END, NULL
			FROM known k WHERE k.name IN ('birth_day', 'birth_month') AND k.event IS NULL HAVING count(*) = 2
		), operators AS (
			SELECT o.type, jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', o.name,
					'label', CASE language WHEN 'vi' THEN o.vietnamese ELSE o.english END,
					'arity', CASE WHEN o.name IN ('null', 'notNull') THEN 'unary' END)) ORDER BY o.n) AS list
			FROM (
				SELECT t.type, v.*
				FROM (VALUES
						(1, '=', 'is', 'là', '{text,number,date,anniversary,boolean,tier,choice,event}'),
						(2, '!=', 'is not', 'không là', '{text,number,date,anniversary,boolean,tier,choice}'),
						(3, '<', '<', '<', '{number,date,anniversary,tier}'),
						(4, '<=', '<=', '<=', '{number,date,anniversary,tier}'),
						(5, '>', '>', '>', '{number,date,anniversary,tier}'),
						(6, '>=', '>=', '>=', '{number,date,anniversary,tier}'),
						(7, 'between', 'between', 'trong khoảng', '{number,date,anniversary,tier}'),
						(8, 'notBetween', 'not between', 'ngoài khoảng', '{number,date,anniversary,tier}'),
						(9, 'in', 'in', 'là một trong', '{text,number,date,tier,choice}'),
						(10, 'notIn', 'not in', 'không là một trong', '{text,number,date,tier,choice}'),
						(11, 'during', 'during', 'trong kỳ', '{date,anniversary}'),
						(12, 'notDuring', 'not during', 'ngoài kỳ', '{date,anniversary}'),
						(13, 'contains', 'contains', 'có chứa', '{text,list}'),
						(14, 'doesNotContain', 'does not contain', 'không chứa', '{text,list}'),
						(15, 'containsAny', 'contains any of', 'chứa ít nhất một trong', '{list}'),
						(16, 'doesNotContainAny', 'contains none of', 'không chứa cái nào trong', '{list}'),
						(17, 'containsAll', 'contains all of', 'chứa tất cả', '{list}'),
						(18, 'doesNotContainAll', 'does not contain all of', 'không chứa tất cả', '{list}'),
						(19, 'beginsWith', 'begins with', 'bắt đầu bằng', '{text}'),
						(20, 'doesNotBeginWith', 'does not begin with', 'không bắt đầu bằng', '{text}'),
						(21, 'beginsWithAny', 'begins with any of', 'bắt đầu bằng một trong', '{text}'),
						(22, 'endsWith', 'ends with', 'kết thúc bằng', '{text}'),
						(23, 'doesNotEndWith', 'does not end with', 'không kết thúc bằng', '{text}'),
						(24, 'hasWord', 'has word', 'có từ', '{text}'),
						(25, 'doesNotHaveWord', 'does not have word', 'không có từ', '{text}'),
						(26, 'null', 'is unknown', 'không có thông tin', '{text,number,date,boolean,list,tier,choice}'),
						(27, 'notNull', 'is known', 'có thông tin', '{text,number,date,boolean,list,tier,choice}')
					 ) AS v(n, name, english, vietnamese, types)
					CROSS JOIN LATERAL unnest(v.types::text[]) AS t(type)) o
			GROUP BY o.type
		), modes AS (
			SELECT jsonb_agg(jsonb_build_object('name', m.name, 'value', m.name,
					'label', CASE language WHEN 'vi' THEN m.vietnamese ELSE m.english END) ORDER BY m.n) AS list
			FROM (VALUES (1, 'some', 'some', 'có'), (2, 'none', 'none', 'không có'), (3, 'atLeast', 'at least', 'ít nhất'),
					(4, 'atMost', 'at most', 'nhiều nhất'), (5, 'exactly', 'exactly', 'đúng')) AS m(n, name, english, vietnamese)
		), fields AS (
			SELECT f.n, f.more, f.event, f.name, f.type, jsonb_strip_nulls(jsonb_build_object(
					'name', f.name,
					'label', f.label,
					'type', f.type,
					'inputType', CASE WHEN f.type = 'number' THEN 'number' WHEN f.type NOT IN ('event', 'boolean') THEN 'text' END,
					'valueEditorType', CASE WHEN f.type = 'tier' OR f.name IN ('sex', 'groups') AND f.event IS NULL THEN 'select'
											WHEN f.type = 'boolean' THEN 'checkbox' WHEN f.type <> 'event' THEN 'text' END,
					'placeholder', CASE WHEN f.type IN ('date', 'anniversary') THEN '2026-01-31, -30d, today, last_month' END,
					'values', CASE
						WHEN f.name = 'sex' AND f.event IS NULL THEN (
							SELECT jsonb_agg(jsonb_build_object('name', s.name, 'label', CASE language WHEN 'vi' THEN s.vietnamese ELSE s.english END) ORDER BY s.n)
							FROM (VALUES (1, 'female', 'Female', 'Nữ'), (2, 'male', 'Male', 'Nam')) AS s(n, name, english, vietnamese))
						WHEN f.name = 'groups' AND f.event IS NULL THEN (
							SELECT jsonb_agg(jsonb_build_object('name', g.code, 'label', g.name) ORDER BY g.code) FROM segment._groups() g)
						WHEN f.type = 'tier' THEN (
							SELECT jsonb_agg(jsonb_build_object('name', t.code, 'label', t.name) ORDER BY t.rank, t.code)
							FROM segment._ranked_tiers() t WHERE t.ladder = f.ladder) END,
					'operators', o.list,
					'valueSources', CASE WHEN f.type IN ('number', 'date') AND f.event IS NULL THEN '["value", "field"]'::jsonb
										 WHEN f.type <> 'event' THEN '["value"]'::jsonb END,
					'comparator', CASE WHEN f.type IN ('number', 'date') AND f.event IS NULL THEN 'type' END)) AS field
			FROM figures f JOIN operators o ON o.type = CASE WHEN f.name = 'sex' AND f.event IS NULL THEN 'choice' ELSE f.type END
		)
		SELECT coalesce(jsonb_agg(f.field || CASE WHEN f.type = 'event' THEN jsonb_build_object('matchModes', m.list,
				'subproperties', (SELECT jsonb_agg(p.field ORDER BY p.n) FROM fields p WHERE p.event = f.name)) ELSE '{}' END ORDER BY f.n, f.more), '[]')
		FROM fields f CROSS JOIN modes m
		WHERE f.event IS NULL);
END
$$;
REVOKE ALL ON FUNCTION segment.query_builder_fields(text) FROM PUBLIC;
COMMENT ON FUNCTION segment.query_builder_fields(text) IS 'what conditions can ask here as the fields of react-querybuilder, labelled in English (en) or Vietnamese (vi)';

CREATE FUNCTION segment._shape_faults(OUT source integer, OUT reason text) RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
	WITH RECURSIVE tables(source, oid, relkind, relpersistence, relispartition) AS (
		SELECT x.source, c.oid, c.relkind, c.relpersistence, c.relispartition
		FROM (SELECT a.id, a.relation FROM segment.attachments a
			  UNION
			  SELECT a.id, w.relation
			  FROM segment.attachments a CROSS JOIN LATERAL unnest(segment._watched(a.id) || a.watch) AS w(relation)
			 ) AS x(source, relation)
			JOIN pg_class c ON c.oid = x.relation
	), below(source, top, oid, relkind, relpersistence) AS (
		SELECT t.source, t.oid, t.oid, t.relkind, t.relpersistence FROM tables t
		UNION ALL
		SELECT b.source, b.top, c.oid, c.relkind, c.relpersistence
		FROM below b JOIN pg_inherits i ON i.inhparent = b.oid JOIN pg_class c ON c.oid = i.inhrelid
		WHERE b.relkind = 'p'
	)
	SELECT t.source, format(CASE WHEN t.relispartition THEN '%s is a partition of %s' ELSE '%s is an inheritance child of %s' END,
							t.oid::regclass, i.inhparent::regclass)
	FROM tables t JOIN pg_inherits i ON i.inhrelid = t.oid
	UNION
	SELECT t.source, format('%s has the inheritance child %s', t.oid::regclass, i.inhrelid::regclass)
	FROM tables t JOIN pg_inherits i ON i.inhparent = t.oid
	WHERE t.relkind <> 'p'
	UNION
	SELECT b.source, format('partition %s of %s is being detached', i.inhrelid::regclass, b.top::regclass)
	FROM below b JOIN pg_inherits i ON i.inhparent = b.oid
	WHERE b.relkind = 'p' AND i.inhdetachpending
	UNION
	SELECT b.source, format('%s is unlogged', b.oid::regclass) || CASE WHEN b.oid <> b.top THEN format(', a partition of %s', b.top::regclass) ELSE '' END
	FROM below b
	WHERE b.relpersistence = 'u'
	UNION
	SELECT b.source, format('%s is a foreign table, a partition of %s', b.oid::regclass, b.top::regclass)
	FROM below b
	WHERE b.relkind = 'f'
	UNION
	SELECT t.source, format('trigger "%s" of %s %s', coalesce(g.present, g.wanted), g."table",
							CASE WHEN g.present IS NULL THEN 'is missing'
								 WHEN g.present_mode = 'D' THEN 'is disabled'
								 ELSE 'fires in the wrong sessions' END)
	FROM tables t CROSS JOIN LATERAL segment._triggers(t.oid) g
	WHERE NOT t.relispartition AND g.present_mode IS DISTINCT FROM g.wanted_mode
	UNION
	SELECT a.id, format('event trigger "%s" is %s', w.name, CASE WHEN e.evtname IS NULL THEN 'missing' ELSE 'not enabled ALWAYS' END)
	FROM segment.attachments a
		CROSS JOIN (VALUES ('segment_ddl_start'), ('segment_ddl_end'), ('segment_ddl_drop')) AS w(name)
		LEFT JOIN pg_event_trigger e ON e.evtname = w.name AND e.evtfoid = 'segment._ddl()'::regprocedure
	WHERE e.evtenabled IS DISTINCT FROM 'A'
	ORDER BY 1, 2
$$;
REVOKE ALL ON FUNCTION segment._shape_faults() FROM PUBLIC;
COMMENT ON FUNCTION segment._shape_faults() IS 'where rows can now reach or leave attached and watched tables unseen, and why (internal)';

CREATE OR REPLACE VIEW segment.sources AS
	SELECT a.relation AS source,
		   a.role,
		   pg_catalog.to_regclass(pg_catalog.format('segment.source_%s', a.id)) AS mapping,
		   a.arguments OPERATOR(pg_catalog.-) 'reads_shop_zone'::text AS arguments,
		   segment._watched(a.id) AS watched,
		   (SELECT coalesce(pg_catalog.sum(o.n), 0)::bigint FROM segment.left_out o
			WHERE o.source OPERATOR(pg_catalog.=) a.id AND o.n OPERATOR(pg_catalog.>) 0) AS rows_left_out,
		   segment._index_advice(a.id) AS advice,
		   a.attached_at,
		   a.attached_by,
		   CASE WHEN pg_catalog.to_regclass(pg_catalog.format('segment.source_%s', a.id)) IS NULL THEN 'the table was dropped'
				WHEN NOT segment._is_here() THEN 'the state was restored from another database'
				ELSE (SELECT pg_catalog.min(m.reason) FROM segment.stale_marks m WHERE m.source OPERATOR(pg_catalog.=) a.id) END AS stale_because,
		   pg_catalog.to_regclass(pg_catalog.format('segment.source_%s', a.id)) IS NULL
			OR NOT segment._is_here()
			OR EXISTS (SELECT FROM segment.stale_marks m WHERE m.source OPERATOR(pg_catalog.=) a.id) AS stale
	FROM segment.attachments a;

CREATE FUNCTION segment._not_read(OUT what text, OUT rows bigint, OUT detail text, OUT hint text) RETURNS SETOF record
LANGUAGE c STABLE
AS 'MODULE_PATHNAME', 'segment_not_read';
COMMENT ON FUNCTION segment._not_read() IS 'sexes, phones and dates of birth that nothing can be read from, for whoever may read segment.left_out (internal)';

CREATE OR REPLACE FUNCTION segment.status(
	OUT item text, OUT source regclass, OUT state text, OUT rows bigint, OUT detail text, OUT hint text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	orphans bigint;
	pending text;
	judged_at timestamptz := segment._now();
	clock timestamptz := coalesce(nullif(current_setting('segment.at', true), '')::timestamptz, now());
	waiting_since timestamptz;
BEGIN
	item := 'state';
	IF to_regclass('segment.facts') IS NULL THEN
		state := 'not attached';
		detail := 'No customers table is attached.';
		hint := 'Call segment.attach_customers().';
		RETURN NEXT;
		RETURN;
	END IF;
	SELECT count(*) INTO rows FROM segment.sources s WHERE s.stale;
	state := CASE WHEN rows > 0 OR segment._stale() THEN 'stale'
		WHEN EXISTS (SELECT FROM segment.attachments a WHERE a.role = 'customers') THEN 'exact' ELSE 'not attached' END;
	detail := CASE
		WHEN rows > 0 THEN format('%s source(s) may have changed unseen.', rows)
		WHEN state = 'stale' THEN 'The state was restored without what was attached.'
		WHEN state = 'not attached' THEN 'No customers table is attached; what is known of the keys waits for another one.'
		ELSE 'Stored state follows every change of the attached tables.' END;
	hint := CASE
		WHEN state = 'not attached' THEN 'Call segment.attach_customers() with a table that has keys of the same type.'
		WHEN rows = 0 AND state = 'stale' THEN 'Restore it anew with the rows of segment.attachments, or DROP EXTENSION segment CASCADE and attach again.'
		WHEN EXISTS (SELECT FROM segment.attachments a WHERE a.filling) THEN 'CALL segment.recalculate_in_batches() fills what was attached with fill => false, while the shop sells.'
		WHEN rows > 0 THEN 'segment.verify() names the customers, segment.recalculate() makes it exact again.' END;
	RETURN NEXT;

	FOR item, source, state, rows, detail, hint IN
		SELECT 'upgrade', NULL::regclass, 'due', NULL::bigint,
			   format('Tables, views and triggers that attaching made are those of version %s.', v.version),
			   'SELECT segment.upgrade();'
		FROM segment._upgrade_due() v(version) WHERE v.version IS NOT NULL
	LOOP
		RETURN NEXT;
	END LOOP;

	FOR item, source, state, rows, detail, hint IN
		SELECT 'source', s.source, CASE WHEN s.stale THEN 'stale' ELSE 'exact' END, NULL::bigint,
			   s.role || CASE WHEN s.stale THEN ': ' || s.stale_because ELSE '' END,
			   s.advice
		FROM segment.sources s ORDER BY s.mapping
	LOOP
		RETURN NEXT;
	END LOOP;

	FOR item, source, state, rows, detail, hint IN
		SELECT 'left out', a.relation, a.role, sum(o.n)::bigint,
			   format('%s; for example %s', o.reason, (array_agg(o.row_key ORDER BY o.row_key))[1:5]),
			   'These rows count again once their values are mended; select them from segment.left_out.'
		FROM segment.left_out o JOIN segment.attachments a ON a.id = o.source
		WHERE o.n > 0
		GROUP BY a.id, a.relation, a.role, o.reason ORDER BY a.id, o.reason
	LOOP
		RETURN NEXT;
	END LOOP;

	FOR item, source, state, rows, detail, hint IN
		SELECT 'not read', (SELECT a.relation FROM segment.attachments a WHERE a.role = 'customers'), n.what, n.rows, n.detail, n.hint
		FROM segment._not_read() n
	LOOP
		RETURN NEXT;
	END LOOP;

	FOR item, source, state, rows, detail, hint IN
		SELECT 'group', NULL::regclass, 'does not bind', NULL::bigint, f.fault,
			   format('Nobody is judged by group "%s" until this is mended, or its condition is changed.', f.code)
		FROM segment._group_faults() f ORDER BY f.code
	LOOP
		RETURN NEXT;
	END LOOP;

	IF has_table_privilege('segment.pending_groups', 'SELECT') THEN
		FOR item, source, state, pending, detail, hint IN
			SELECT 'activation', NULL::regclass, 'pending', p.done_up_to,
				   format('Group "%s" is to have the condition %s; begun at %s by %s.', g.code, p.condition, p.started_at, p.started_by),
				   format('CALL segment.activate(%1$L) goes on, CALL segment.cancel_activation(%1$L) gives it up. Until it has ended the group is what it was.', g.code)
			FROM segment.pending_groups p JOIN segment.groups g ON g.id = p.group_id ORDER BY g.code
		LOOP
			EXECUTE 'SELECT count(*) FROM segment.facts f' || CASE WHEN pending IS NULL THEN '' ELSE format(' WHERE f.customer_id > %L', pending) END INTO rows;
			RETURN NEXT;
		END LOOP;
	END IF;

	IF judged_at > clock + interval '1 minute' THEN
		item := 'clock';
		source := NULL;
		state := 'behind';
		rows := NULL;
		detail := format('The last tick worked at %s, and now is %s.', judged_at, clock);
		hint := 'The clock was set back, or a tick in a rehearsal with segment.at was committed. Until the clock has caught up everyone is judged as of that instant; where that is too long: UPDATE segment.ruleset SET ticked = NULL; SELECT segment.recalculate();';
		RETURN NEXT;
	END IF;

	-- before segment.upgrade() there may be no such column
	IF segment._is_here() AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = 'segment.facts'::regclass AND a.attname = 'due') THEN
		EXECUTE 'SELECT count(*), min(f.due) FROM segment.facts f WHERE f.due <= $1'
			INTO rows, waiting_since USING judged_at - interval '1 hour';
		IF rows > 0 THEN
			item := 'tick';
			source := NULL;
			state := 'late';
			detail := format('Customers are due since %s, and no tick has brought them up to date.', waiting_since);
			hint := 'Views compute their groups whenever they are read, and their changes are not written yet: CALL segment.tick_in_batches(), once a minute.';
			RETURN NEXT;
		END IF;
	END IF;

	EXECUTE 'SELECT count(*) FROM segment.facts f WHERE NOT f.is_customer AND (f.number_of_orders <> 0 OR f.number_of_returns <> 0)' INTO orphans;
	IF orphans > 0 THEN
		item := 'kept apart';
		source := (SELECT a.relation FROM segment.attachments a WHERE a.role = 'customers');
		state := 'customers';
		rows := orphans;
		detail := 'Customer keys with orders or returns that the customers table does not count.';
		hint := 'They count from the moment the customer appears; select them from segment.facts where not is_customer.';
		RETURN NEXT;
	END IF;
END
$$;

CREATE FUNCTION segment._functions_changed(OUT source integer, OUT function oid, OUT name text) RETURNS SETOF record
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE used(source, classid, objid) AS (
		SELECT a.id, 'pg_rewrite'::regclass::oid, r.oid
		FROM segment.attachments a JOIN pg_rewrite r ON r.ev_class = to_regclass('segment.source_' || a.id)
		UNION
		SELECT u.source, d.refclassid, d.refobjid
		FROM used u JOIN pg_depend d ON d.classid = u.classid AND d.objid = u.objid
		WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
	)
	SELECT u.source, c.objid, c.object_identity
	FROM pg_event_trigger_ddl_commands() c JOIN used u ON u.classid = c.classid AND u.objid = c.objid
	WHERE c.classid = 'pg_proc'::regclass
$$;
REVOKE ALL ON FUNCTION segment._functions_changed() FROM PUBLIC;
COMMENT ON FUNCTION segment._functions_changed() IS 'functions that expressions of sources call and that the command has created or altered (internal, for the event trigger)';

CREATE FUNCTION segment._ddl() RETURNS event_trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'segment_ddl';
REVOKE ALL ON FUNCTION segment._ddl() FROM PUBLIC;
COMMENT ON FUNCTION segment._ddl() IS 'event trigger: follows partitions that come and go, marks sources stale whose rows may have changed unseen (internal)';

CREATE EVENT TRIGGER segment_ddl_start ON ddl_command_start
	WHEN TAG IN ('ALTER TABLE', 'DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP FOREIGN TABLE', 'DROP SERVER',
		'DROP FOREIGN DATA WRAPPER', 'DROP TYPE', 'DROP DOMAIN', 'DROP FUNCTION', 'DROP ROUTINE', 'DROP OPERATOR CLASS',
		'DROP OPERATOR FAMILY', 'DROP COLLATION', 'DROP ACCESS METHOD', 'DROP TRIGGER')
	EXECUTE FUNCTION segment._ddl();
ALTER EVENT TRIGGER segment_ddl_start ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER segment_ddl_start IS 'watches what a command takes along with the tables it drops or detaches';

CREATE EVENT TRIGGER segment_ddl_end ON ddl_command_end
	WHEN TAG IN ('CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'ALTER TABLE', 'ALTER FOREIGN TABLE', 'CREATE TRIGGER',
		'CREATE FUNCTION', 'ALTER FUNCTION', 'ALTER ROUTINE')
	EXECUTE FUNCTION segment._ddl();
ALTER EVENT TRIGGER segment_ddl_end ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER segment_ddl_end IS 'puts triggers on new partitions, marks sources stale whose rows may have changed unseen';

CREATE EVENT TRIGGER segment_ddl_drop ON sql_drop
	EXECUTE FUNCTION segment._ddl();
ALTER EVENT TRIGGER segment_ddl_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER segment_ddl_drop IS 'marks sources stale whose partitions or triggers were dropped';
