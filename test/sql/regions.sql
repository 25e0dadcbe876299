-- Names of regions: what kind of region it is does not matter; aliases add what a stored value means.
\pset format unaligned
\pset tuples_only on
SELECT string_agg(segment.region(r), ' | ' ORDER BY n)
FROM unnest('{Tỉnh Bình Dương,BÌNH DƯƠNG,Thành phố Hồ Chí Minh,TP. Hồ Chí Minh,TP.Hồ Chí Minh,tp hồ chí minh,TP.HCM,Tinh Binh Duong,Thanh pho Da Nang,Tỉnh,TP.,Tpbank,Khánh Hoà}'::text[])
	WITH ORDINALITY AS t(r, n);

SELECT count(*) FROM segment.region_aliases;
SELECT segment.load_region_aliases('VN-2025') AS added;
SELECT segment.load_region_aliases('VN-2025') AS again;

-- what a customer's list holds: the stored value, and what it means
CREATE FUNCTION regions_of(stored text) RETURNS text LANGUAGE sql AS $$
	SELECT segment.region(stored) || coalesce(string_agg(' + ' || a.region, '' ORDER BY a.region_key), '')
	FROM segment.region_aliases a WHERE a.alias_key = segment.region(stored)
$$;
SELECT r || ': ' || regions_of(r)
FROM unnest('{Bình Dương,Tỉnh Bình Dương,binh duong,TP.HCM,HCM,TPHCM,"TP HCM",Sài Gòn,SAIGON,Ho Chi Minh City,Hồ Chí Minh,Bà Rịa - Vũng Tàu,Bà Rịa-Vũng Tàu,BRVT,Vũng Tàu,
	Hà Nội,Ha Noi,Hanoi,TP. Đà Nẵng,Danang,Thừa Thiên Huế,Thừa Thiên - Huế,TT Huế,Hue,Đắk Lắk,Đắc Lắc,Dak Lak,Đăk Nông,Thanh Hoá,Khánh Hoà,Kontum,Paris}'::text[]) r;

-- the 63 provinces of before, by the 34 of today; 29 gave up their name, and Thừa Thiên Huế is called Huế
CREATE VIEW province AS
	SELECT a.region AS name FROM segment.region_aliases a UNION SELECT a.alias FROM segment.region_aliases a
	WHERE a.alias = 'Hòa Bình' OR a.alias IN (SELECT b.region FROM segment.region_aliases b);
SELECT count(*) FROM province;
SELECT p.name || ' = ' || string_agg(a.alias, ', ' ORDER BY a.alias COLLATE "C")
FROM province p JOIN segment.region_aliases a ON a.region = p.name AND a.alias IN (SELECT name FROM province)
GROUP BY p.name ORDER BY p.name COLLATE "C";
SELECT count(*) FROM province p
WHERE NOT EXISTS (SELECT FROM segment.region_aliases a WHERE a.alias_key = segment.region(p.name));
-- no spelling means two provinces that are not one today
SELECT a.alias_key, array_agg(a.region) FROM segment.region_aliases a GROUP BY a.alias_key HAVING count(*) > 2;

-- the merchant's own, and what was changed, stays
INSERT INTO segment.region_aliases (alias, region) VALUES ('Thành phố Thủ Đức', 'Hồ Chí Minh');
DELETE FROM segment.region_aliases WHERE alias = 'SG';
SELECT segment.load_region_aliases('VN-2025') AS only_what_is_missing;
SELECT regions_of('thủ đức'), (SELECT set_name FROM segment.region_aliases WHERE alias = 'Thành phố Thủ Đức') IS NULL;

-- mistakes
\set SHOW_CONTEXT never
SELECT segment.load_region_aliases('VN');
SELECT segment.load_region_aliases(NULL);
INSERT INTO segment.region_aliases (alias, region) VALUES (' ', 'Hà Nội');
INSERT INTO segment.region_aliases (alias, region) VALUES ('TP.HCM', 'hồ chí minh');
DELETE FROM segment.region_aliases;
DROP VIEW province;
DROP FUNCTION regions_of(text);
