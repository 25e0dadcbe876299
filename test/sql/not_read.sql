-- status() tells of how many customers the sex, the phone or the date of birth says something that nothing can be read from.
SET client_min_messages = warning;
DROP EXTENSION segment CASCADE;
CREATE EXTENSION segment;
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, gender text, tel text, born date, day integer, month integer, year integer, gone boolean NOT NULL DEFAULT false);
INSERT INTO shop.customers VALUES
	(1, 'Nữ', '0912345678', '1990-02-28', 28, 2, 1990), (2, 'nam', 'Tel: 028 3812', NULL, NULL, NULL, NULL), (3, NULL, NULL, NULL, 29, 2, NULL),
	(4, '', ' ', NULL, NULL, 5, NULL), (5, '  ', '', '0001-01-01', 15, NULL, 2001), (6, 'F', '０９１２３４５６７８', '9999-12-31', NULL, NULL, NULL);
SELECT segment.attach_customers('shop.customers', key => 'id', sex => 'gender', phone => 'tel', birth_date => 'born',
	birth_day => 'day', birth_month => 'month', birth_year => 'year', counted_when => 'NOT gone');
CREATE VIEW shop.not_read AS SELECT item, source, state, rows, detail, hint FROM segment.status() WHERE item = 'not read';
-- everything can be read, or is missing
SELECT * FROM shop.not_read;

INSERT INTO shop.customers (id, gender, tel, born, day, month, year) VALUES
	(10, 'khác', 'n/a', 'infinity', NULL, NULL, NULL), (11, 'khác', 'không có', '-infinity', NULL, NULL, NULL), (12, '1', '-', NULL, 31, 4, NULL),
	(13, '2', '+', NULL, 30, 2, NULL), (14, 'x', NULL, NULL, 0, NULL, NULL), (15, NULL, NULL, NULL, NULL, 13, NULL), (16, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO shop.customers VALUES (17, 'x', 'x', 'infinity', 40, 40, 40, true);		-- not counted
SELECT * FROM shop.not_read;
-- the same for whoever else may run status(); without the right to see rows left out nothing is told
CREATE ROLE segment_auditor;
CREATE ROLE segment_nosy;
GRANT USAGE ON SCHEMA segment TO segment_auditor, segment_nosy;
GRANT SELECT ON segment.sources, segment.attachments, segment.left_out, segment.facts TO segment_auditor;
GRANT EXECUTE ON FUNCTION segment.status() TO segment_auditor;
SET ROLE segment_auditor;
SELECT state, rows FROM segment.status() WHERE item = 'not read';
SET ROLE segment_nosy;
SELECT count(*) FROM segment._not_read();
RESET ROLE;
-- the owner of the table needs no right on the schema, and what he wrote runs as himself
CREATE ROLE segment_shop;
CREATE FUNCTION shop.reads(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN
		IF current_user <> 'segment_shop' THEN RAISE EXCEPTION 'run as %', current_user; END IF;
		IF $1 = 'x' THEN RAISE EXCEPTION 'cannot read it'; END IF;
		RETURN $1;
	END $$;
SELECT segment.detach('shop.customers');
ALTER TABLE shop.customers OWNER TO segment_shop;
GRANT USAGE ON SCHEMA shop TO segment_shop;
UPDATE shop.customers SET gender = NULL WHERE gender = 'x';
SELECT segment.attach_customers('shop.customers', key => 'id', sex => 'shop.reads(gender)');
SELECT state, rows FROM shop.not_read;
-- where an expression raises for some row nobody can say
UPDATE shop.customers SET gender = 'x' WHERE id = 14;
SELECT state, rows, detail, hint FROM shop.not_read;
DROP EXTENSION segment CASCADE;
DROP SCHEMA shop CASCADE;
DROP ROLE segment_auditor, segment_nosy, segment_shop;
CREATE EXTENSION segment;
