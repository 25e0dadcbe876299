-- Phone numbers compare as national digits; the rules are rows of a table.
SELECT count(*) FROM segment.phone_rules;
SELECT segment.load_phone_rules('84') AS added;
SELECT segment.load_phone_rules('84') AS again;
SELECT * FROM segment.phone_rules ORDER BY old_prefix;
SELECT segment._phone_rules_of('84') AS rules \gset
SELECT segment._phone_rules_of('84'), segment._phone_rules_of('33');

-- however it is written
SELECT n AS written, segment.phone(n, :'rules')
FROM unnest('{0912345678,0912 345 678,+84 912 345 678,+84 (0)912-345-678,(+84)912.345.678,0084912345678,84912345678,
	84 0912 345 678,912345678,Tel: 0912345678,+84+912345678,028 3812 3456,842838123456,0,"","n/a"}'::text[]) n;
SELECT segment.phone('０９１２３４５６７８', :'rules') AS full_width, segment.phone('＋８４ 912345678', :'rules') AS with_plus, segment.phone(NULL, :'rules') AS nothing;
-- mobiles of eleven digits, as they are since 2018
SELECT n AS written, segment.phone(n, :'rules')
FROM unnest('{01201234567,0121 123 4567,+84 122 123 4567,841261234567,00841281234567,01231234567,01241234567,01251234567,01271234567,01291234567,
	01621234567,01631234567,01641234567,01651234567,01661234567,01671234567,01681234567,01691234567,01861234567,01881234567,01991234567,
	0120123456,012012345678,01101234567}'::text[]) n;
-- another country's numbers are only digits here
SELECT segment.phone('+1 (212) 555-0123', :'rules'), segment.phone('+33 1 23 45 67 89', segment._phone_rules_of('33')), segment.phone('84912345678', segment._phone_rules_of('33'));

-- patterns: only +84 and 0084 become 0
SELECT p AS pattern, segment.phone_pattern(p, :'rules')
FROM unnest('{084,+84,0084,+84 91,+84 091,84,841,086,0120,912345678,"0 9 6",""}'::text[]) p;

-- the merchant's own rules; of several the longest prefix decides
INSERT INTO segment.phone_rules VALUES ('84', '01205', 11, '099'), ('999', '5', 3, '77');
SELECT segment.phone('01205123456', segment._phone_rules_of('84')), segment.phone('01201123456', segment._phone_rules_of('84')), segment.phone('512', segment._phone_rules_of('999'));
UPDATE segment.phone_rules SET new_prefix = '099' WHERE old_prefix = '0120';
DELETE FROM segment.phone_rules WHERE old_prefix IN ('01205', '0199');
SELECT segment.load_phone_rules('84') AS only_what_is_missing;
SELECT new_prefix FROM segment.phone_rules WHERE old_prefix = '0120';

-- mistakes
\set SHOW_CONTEXT never
SELECT segment.load_phone_rules('33');
SELECT segment.load_phone_rules(NULL);
INSERT INTO segment.phone_rules VALUES ('+84', '0120', 11, '070');
INSERT INTO segment.phone_rules VALUES ('84', '0120', 3, '070');
SELECT segment.phone('1', '{}');
SELECT segment.phone('1', '[]');
SELECT segment.phone('1', '{"country_code": 84, "renumbered": []}');
SELECT segment.phone('1', '{"country_code": "84", "renumbered": {}}');
SELECT segment.phone('1', '{"country_code": "84", "renumbered": [["0120", "070"]]}');
SELECT segment.phone('1', '{"country_code": "84", "renumbered": [["0120", "11", "070"]]}');
SELECT segment.phone('1', '{"country_code": "84", "renumbered": [["x", 11, "070"]]}');
SELECT segment.phone('1', '{"country_code": "84", "renumbered": [], "more": 1}');
DELETE FROM segment.phone_rules;
