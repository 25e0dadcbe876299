-- Laws of segment.fold, unaccent, words, phone and region, over every character
-- and over many random texts, against models in plain SQL.
--
--   SEED=number           other random texts (default: the same every time)
--   SEGMENT_DATA=folder   real given names, in vietnam/given_names_*.txt
\set ON_ERROR_STOP on
\set QUIET on
SET client_min_messages = warning;
\set seed `echo "${SEED:-20260530}"`
\set names `cat "${SEGMENT_DATA:-/nonexistent}"/vietnam/given_names_*.txt 2>/dev/null || true`
BEGIN;
SELECT plan(30);
SELECT diag('random texts, SEED=' || :'seed');
SELECT setseed((:seed % 1000000) / 1000000.0);

-- ICU knows letters and their cases whatever the database's locale; no test
-- depends on the default one.
CREATE TEMP TABLE facts_of_server AS
	SELECT EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu') AS has_icu;

-- every character that a text can hold
CREATE TEMP TABLE characters AS
	SELECT code, chr(code) AS c FROM generate_series(1, 1114111) code WHERE code NOT BETWEEN 55296 AND 57343;
CREATE TEMP TABLE folded AS
	SELECT code, c, segment.fold(c) AS f FROM characters;

SELECT is((SELECT count(*) FROM folded WHERE segment.fold(f) <> f), 0::bigint, 'folding twice is folding once: every character');
SELECT is((SELECT count(*) FROM folded WHERE f <> '' AND normalize(f, NFC) <> f), 0::bigint, 'what is folded is NFC: every character');
SELECT is((SELECT count(*) FROM folded WHERE segment.fold(normalize(c, NFD)) <> f), 0::bigint, 'NFC and NFD fold alike: every character');
SELECT is((SELECT count(*) FROM characters WHERE segment.unaccent(segment.unaccent(c)) <> segment.unaccent(c)), 0::bigint, 'unaccenting twice is unaccenting once: every character');
SELECT is((SELECT count(*) FROM folded WHERE segment.unaccent(f) <> segment.unaccent(c)), 0::bigint, 'unaccenting folds first: every character');
SELECT is((SELECT count(*) FROM folded WHERE segment.words(f) <> segment.words(c)), 0::bigint, 'words are those of the folded text: every character');
SELECT is((SELECT string_agg(to_hex(code), ' ') FROM folded WHERE f = '' AND code > 32),
	'85 a0 ad 61c 1680 2000 2001 2002 2003 2004 2005 2006 2007 2008 2009 200a 200b 200e 200f 2028 2029 202a 202b 202c 202d 202e 202f 205f 2060 2066 2067 2068 2069 3000 feff',
	'these characters alone fold to nothing');
SELECT has_icu AS has_icu FROM facts_of_server \gset
\if :has_icu
-- Letters that Unicode 14 has; a newer ICU knows more. U+0130 becomes i and a dot in full mappings.
SELECT is((SELECT string_agg(to_hex(code), ' ') FROM folded
		   WHERE (cardinality(segment.words(c)) = 1 OR code BETWEEN 8544 AND 8580 OR code BETWEEN 9398 AND 9449)
			 AND f <> replace(normalize(lower(normalize(c, NFC) COLLATE "und-x-icu"), NFC), U&'\00F0', 'đ')), '130',
	'lower case is what ICU says, but for the dotted capital I');
SELECT is((SELECT count(*) FROM folded WHERE f <> segment.fold(lower(c COLLATE "und-x-icu")) AND code <> 304), 0::bigint,
	'what ICU makes small folds like the capital: every character');
\else
SELECT skip('this server has no ICU', 2);
\endif
SELECT is((SELECT count(*) FROM characters WHERE code < 128 AND segment.words(c || '1' || c) <> CASE
		WHEN c ~ '[a-zA-Z0-9]' THEN ARRAY[lower(c COLLATE "C") || '1' || lower(c COLLATE "C")] ELSE '{1}' END), 0::bigint,
	'of ASCII, letters and digits make words');
SELECT is((SELECT count(*) FROM characters WHERE code BETWEEN 768 AND 879 AND segment.unaccent('a' || c || 'b') <> 'ab'), 0::bigint,
	'combining marks go');

-- random texts: syllables, tones composed and not, spaces, and whatever else
CREATE FUNCTION pg_temp.pick(choices text[]) RETURNS text LANGUAGE sql VOLATILE
	AS $$ SELECT choices[1 + floor(random() * cardinality(choices))::int] $$;
CREATE FUNCTION pg_temp.random_text() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	result text := '';
	kind float8;
BEGIN
	FOR i IN 1 .. 1 + floor(random() * 14)::int LOOP
		kind := random();
		result := result || CASE
			WHEN kind < 0.25 THEN pg_temp.pick('{o,u,q,oa,oe,uy,O,U,Q,OA,Uy,h,th,kh,ng,n}')
			WHEN kind < 0.45 THEN pg_temp.pick('{à,á,ả,ã,ạ,è,é,ẻ,ẽ,ẹ,ỳ,ý,ỷ,ỹ,ỵ,À,Ẻ,Ỹ,ò,ú,ộ,ử,ơ,ă}')
			WHEN kind < 0.55 THEN U&'o' || pg_temp.pick('{a,e,y,u}') || pg_temp.pick(ARRAY[U&'\0300', U&'\0301', U&'\0303', U&'\0309', U&'\0323', U&'\0302', U&'\031B'])
			WHEN kind < 0.65 THEN pg_temp.pick(ARRAY[' ', '  ', U&'\00A0', U&'\3000', U&'\0009', U&'\200B', U&'\2028'])
			WHEN kind < 0.72 THEN pg_temp.pick(ARRAY['Đ', 'đ', U&'\00D0', U&'\00F0', 'D', 'İ', 'I'])
			WHEN kind < 0.80 THEN pg_temp.pick('{a,b,e,i,n,A,Z,1,2,.,-,@,/}')
			WHEN kind < 0.86 THEN pg_temp.pick(ARRAY[U&'\FEFF', U&'\00AD', U&'\0300', U&'\0301', U&'\0323', U&'\0308'])
			WHEN kind < 0.92 THEN pg_temp.pick('{한,글,Ω,Σ,ς,Щ,ア,中,ß,ﬁ,ẞ,Å}')
			ELSE chr(CASE WHEN random() < 0.7 THEN 161 + floor(random() * 8000)::int ELSE 65536 + floor(random() * 100000)::int END)
		END;
	END LOOP;
	RETURN result;
END $$;
CREATE TEMP TABLE random_texts AS
	SELECT n, pg_temp.random_text() AS x FROM generate_series(1, 60000) n;
ALTER TABLE random_texts ADD f text, ADD u text;
UPDATE random_texts SET f = segment.fold(x), u = segment.unaccent(x);

SELECT is((SELECT min(x) FROM random_texts WHERE segment.fold(f) <> f), NULL, 'folding twice is folding once: random texts');
SELECT is((SELECT min(x) FROM random_texts WHERE segment.fold(normalize(x, NFD)) <> f OR segment.fold(normalize(x, NFC)) <> f), NULL,
	'NFC and NFD fold alike: random texts');
SELECT is((SELECT min(x) FROM random_texts WHERE f IS NOT NFC NORMALIZED OR f <> btrim(f) OR f LIKE '%  %'), NULL,
	'what is folded is NFC, with single spaces and none at the ends');
SELECT is((SELECT min(x) FROM random_texts WHERE segment.fold(U&'\00A0' || x || U&'\2003') <> f), NULL, 'white space at the ends makes no difference');
SELECT is((SELECT min(x) FROM random_texts WHERE segment.unaccent(u) <> u OR segment.fold(u) <> u), NULL, 'unaccenting twice is unaccenting once: random texts');
SELECT is((SELECT min(x) FROM random_texts WHERE segment.unaccent(f) <> u), NULL, 'unaccenting folds first: random texts');
SELECT is((SELECT min(x) FROM random_texts WHERE segment.words(f) <> segment.words(x)), NULL, 'words are those of the folded text: random texts');
SELECT is((SELECT min(x) FROM random_texts
		   WHERE segment.words(x) <> segment.words(array_to_string(segment.words(x), ' - '))), NULL, 'a word is one word');
SELECT is((SELECT min(x) FROM random_texts r, LATERAL (SELECT segment.words(x) AS w) w
		   WHERE EXISTS (SELECT FROM generate_series(1, cardinality(w)) i, generate_series(i, cardinality(w)) j
						 WHERE NOT segment._has_words(x, array_to_string(w[i:j], ' ')))), NULL,
	'a text has each run of its words');
SELECT is((SELECT min(a.x || '|' || b.x) FROM random_texts a JOIN random_texts b ON b.n = a.n % 60000 + 1,
			LATERAL (SELECT segment.words(a.x) AS have, (segment.words(b.x))[1:2] AS wanted) w
		   WHERE segment._has_words(a.x, array_to_string(wanted, ' ')) <> (cardinality(wanted) > 0
			AND position(' ' || array_to_string(wanted, ' ') || ' ' IN ' ' || array_to_string(have, ' ') || ' ') > 0)), NULL,
	'it has no other words');

-- The fold as regular expressions over ICU's lower case. It knows letters of
-- the alphabet above only, so texts with others are left out.
CREATE FUNCTION pg_temp.fold_model(x text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before text[] := '{oà,oá,oả,oã,oạ,oè,oé,oẻ,oẽ,oẹ,uỳ,uý,uỷ,uỹ,uỵ}';
	after text[] := '{òa,óa,ỏa,õa,ọa,òe,óe,ỏe,õe,ọe,ùy,úy,ủy,ũy,ụy}';
	result text := normalize(regexp_replace(x, U&'[\FEFF\00AD]', '', 'g'), NFC);
BEGIN
	result := normalize(translate(lower(replace(replace(result, 'İ', 'i'), 'Σ', 'σ') COLLATE "und-x-icu"), U&'\00F0', 'đ'), NFC);
	FOR i IN 1 .. cardinality(before) LOOP
		result := regexp_replace(result COLLATE "und-x-icu", '(?<!q)' || before[i] || U&'(?![[:alpha:]\0300-\036F])', after[i], 'g');
	END LOOP;
	RETURN btrim(regexp_replace(result, U&'[\0009-\000D \00A0\2000-\200B\2028\3000]+', ' ', 'g'), ' ');
END $$;
CREATE TEMP TABLE known_texts AS
	SELECT x, f, u FROM random_texts
	WHERE x !~ U&'[^\0009 -~\00A0\00AD\00C0-\017F\01A0\01A1\01AF\01B0\0300\0301\0302\0303\0308\0309\031B\0323\0391-\03C9\0410-\044F\1E00-\1EFF\200B\2028\3000\30A2\4E2D\AC00-\D7A3\FB01\FEFF]';
\if :has_icu
SELECT is((SELECT min(format('%s: %s, not %s', x, f, pg_temp.fold_model(x))) FROM known_texts WHERE f <> pg_temp.fold_model(x)), NULL,
	'the fold is what its model in SQL says');
SELECT is((SELECT min(x) FROM known_texts
		   WHERE u <> btrim(regexp_replace(normalize(translate(regexp_replace(normalize(pg_temp.fold_model(x), NFD), U&'[\0300-\036F]', '', 'g'), 'đ', 'd'), NFC), ' +', ' ', 'g'), ' ')), NULL,
	'unaccent is what its model in SQL says');
SELECT is((SELECT min(x) FROM known_texts
		   WHERE segment.words(x) <> ARRAY(SELECT (regexp_matches(f COLLATE "und-x-icu", U&'[[:alpha:][:digit:]\0300-\036F]+', 'g'))[1])), NULL,
	'words are what their model in SQL says');
SELECT diag((SELECT count(*) FROM known_texts) || ' of ' || (SELECT count(*) FROM random_texts) || ' random texts compared with the models');
\else
SELECT skip('this server has no ICU', 3);
\endif

-- what the defining SQL writes instead of a function of ours
SELECT is((SELECT count(*) FROM (SELECT unnest(ARRAY['f', 'Female', 'nữ', 'NU', 'M', 'Male', 'NAM', 'x', '', ' nam ', normalize('NỮ', NFD)]) UNION ALL SELECT x FROM random_texts) t(x)
		   WHERE segment._sex(x) IS DISTINCT FROM CASE
				WHEN segment.fold(x) IN ('f', 'female', 'nữ', 'nu') THEN 'female'
				WHEN segment.fold(x) IN ('m', 'male', 'nam') THEN 'male' END
			  OR segment._given_name(x) IS DISTINCT FROM (segment.words(x))[cardinality(segment.words(x))]
			  OR segment._given_name(x, true) IS DISTINCT FROM (segment.words(x))[1]
			  OR segment._email_domain(x) IS DISTINCT FROM substring(segment.fold(x) FROM '@([^@]+)$')), 0::bigint,
	'sex, given name and e-mail domain can be said with fold and words');

-- regions
SELECT segment.load_region_aliases('VN-2025') IS NOT NULL AS loaded \gset
SELECT is((SELECT min(x) FROM (SELECT x FROM random_texts UNION ALL SELECT alias FROM segment.region_aliases) t(x)
		   WHERE segment.region(segment.region(x)) <> segment.region(x)
			  OR segment.region(x) <> '' AND (segment.region('TỈNH  ' || x) <> segment.region(x)
				OR segment.region('tp.' || x) <> segment.region(x) OR segment.region('Thành phố ' || x) <> segment.region(x))), NULL,
	'what kind of region it is makes no difference');

-- phones: a national number, written in any way, is that number
SELECT segment.load_phone_rules('84') AS loaded \gset
SELECT segment._phone_rules_of('84') AS rules \gset
CREATE TEMP TABLE written AS
	SELECT national, CASE floor(random() * 8)::int
			WHEN 0 THEN national
			WHEN 1 THEN '+84' || substr(national, 2)
			WHEN 2 THEN '0084 ' || substr(national, 2)
			WHEN 3 THEN '84' || substr(national, 2)
			WHEN 4 THEN '(+84) 0' || substr(national, 2)
			WHEN 5 THEN 'ĐT: ' || regexp_replace(national, '(...)', '\1 ', 'g')
			WHEN 6 THEN CASE length(national) WHEN 10 THEN substr(national, 2) ELSE '+84.' || substr(national, 2) END
			ELSE regexp_replace(national, '(..)', '\1-', 'g') END AS number
	FROM (SELECT '0' || (1 + floor(random() * 9))::int || lpad(floor(random() * 100000000)::int::text, 8, '0')
				 || CASE WHEN random() < 0.3 THEN floor(random() * 10)::int::text ELSE '' END AS national
		  FROM generate_series(1, 40000)) n;
SELECT is((SELECT min(number || ' is ' || segment.phone(number, :'rules')) FROM written
		   WHERE segment.phone(number, :'rules') <> coalesce(
			(SELECT r.new_prefix || substr(national, 5) FROM segment.phone_rules r WHERE r.old_prefix = left(national, 4) AND length(national) = 11), national)), NULL,
	'a number compares alike however it is written');
SELECT is((SELECT min(x) FROM (SELECT number FROM written UNION ALL SELECT x FROM random_texts) t(x)
		   WHERE segment.phone(segment.phone(x, :'rules'), :'rules') <> segment.phone(x, :'rules')
			  OR segment.phone(x, :'rules') !~ '^[0-9]*$' OR segment.phone_pattern(x, :'rules') !~ '^[0-9]*$'), NULL,
	'national digits stay what they are');

-- names as people bear them
SELECT :'names' <> '' AS has_names \gset
CREATE TEMP TABLE given_names AS
	SELECT DISTINCT x FROM regexp_split_to_table(:'names', '\s*\n\s*') x WHERE x <> '';
\if :has_names
SELECT diag((SELECT count(*) FROM given_names) || ' given names');
SELECT is((SELECT min(x) FROM given_names
		   WHERE segment.fold(normalize(x, NFD)) <> segment.fold(x)
			  OR segment.fold(replace(x, 'Đ', U&'\00D0')) <> segment.fold(x)
			  OR segment.unaccent(x) !~ '^[a-z ]+$'
			  OR segment.words(x) <> regexp_split_to_array(segment.fold(x), ' ')
			  OR EXISTS (SELECT FROM unnest(segment.words(x)) w WHERE NOT segment._has_words('Nguyễn ' || x || ' (VIP)', w))
			  OR segment._given_name('Nguyễn ' || x) <> segment.fold(regexp_replace(x, '^.* ', ''))), NULL,
	'every given name: composed or not, with either Đ, word by word, without accents');
\else
SELECT skip('no given names: SEGMENT_DATA is not set or has no vietnam/given_names_*.txt', 1);
\endif
-- and a table of the syllables that tone marks move in, written both ways
SELECT is((SELECT count(*) FROM (VALUES ('hoà', 'hòa'), ('hoá', 'hóa'), ('thoả', 'thỏa'), ('xoã', 'xõa'), ('hoạ', 'họa'), ('toè', 'tòe'), ('loé', 'lóe'), ('khoẻ', 'khỏe'), ('toẽ', 'tõe'), ('choẹ', 'chọe'), ('thuỳ', 'thùy'), ('thuý', 'thúy'), ('thuỷ', 'thủy'), ('luỹ', 'lũy'), ('luỵ', 'lụy')) v(a, b)
		   WHERE segment.fold(a) <> segment.fold(b) OR segment.fold(upper(a COLLATE "C")) <> segment.fold(b) OR segment.fold('q' || a || 'n') = segment.fold('q' || b || 'n')), 0::bigint,
	'both ways of writing a tone are one, where nothing follows');
SELECT * FROM finish();
ROLLBACK;
