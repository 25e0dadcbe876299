-- How texts are compared: segment.fold, segment.unaccent, segment.words. The
-- same in every locale: test/t/text_locales.pl runs this file in several.
\pset format unaligned
\pset tuples_only on

-- lower case, whatever the database's locale thinks of capitals
SELECT segment.fold('NGUYỄN THỊ ĐÀO'), segment.fold('Ωραία ÅNGSTRÖM ЩЁ ǅ İ ẞ');
-- composed or not
SELECT segment.fold(normalize('Dũng', NFD)) = segment.fold('Dũng'), segment.fold('Dũng') = segment.fold('Dung');
SELECT segment.fold(normalize('Ộ Ử Ẵ', NFD)) = 'ộ ử ẵ';
-- Đ as some keyboards write it (U+00D0), and small (U+00F0)
SELECT segment.fold(U&'\00D0\1EE9c'), segment.fold(U&'\00D0') = segment.fold('Đ'), segment.fold(U&'\00F0') = segment.fold('đ');
-- one place for the tone mark of a final oa, oe, uy; not where something follows, not after q
SELECT segment.fold('Hoà Hòa hoá hỏa hoã họa'), segment.fold('khoẻ toè'), segment.fold('Thuý Thúy thuỷ lũy luỵ');
SELECT segment.fold('hoàn hoạt khoẻn huýt'), segment.fold('quý Quỳ QUỶ quỹ quỵ'), segment.fold('oà!'), segment.fold('hoà-thuý,hoà2');
SELECT segment.fold('Thanh Hoá') = segment.fold(normalize('THANH HÓA', NFD));
-- white space of every kind is one space, none at the ends
SELECT '[' || segment.fold(U&'  a\0009\000Ab\00A0c\3000\2003d\200Be\2028 ') || ']', '[' || segment.fold(U&' \00A0\3000 ') || ']', '[' || segment.fold('') || ']';
-- what has no width and says nothing is not there: byte order mark, soft hyphen, word joiner, direction marks
SELECT segment.fold(U&'\FEFFD\00ADu\2060\0303ng\200E') = segment.fold('Dũng');
-- a joiner is part of the spelling
SELECT segment.fold(U&'a\200Db') = 'ab';
SELECT segment.fold(NULL), segment.unaccent(NULL), segment.words(NULL);

-- without accents
SELECT segment.unaccent('Đặng Thuỳ Trâm'), segment.unaccent('NGUYỄN Ứng Ỷ'), segment.unaccent('Françoise Müller-Ångström'), segment.unaccent('한글 Ελλάδα');
SELECT segment.unaccent('Dũng') = segment.unaccent('DUNG'), '[' || segment.unaccent(U&'a \0301 b') || ']';

-- words
SELECT segment.words('Nguyễn Văn-An, (VIP 2) o''Brien'), segment.words(' -- '), segment.words(''), segment.words('phường 12/3a');
SELECT segment.words(normalize('Lê Dũng', NFD)), cardinality(segment.words(U&'\0915\093F\092E\0903 x\0301y'));

-- whole words, several one after the other
SELECT segment._has_words('12 Quận 10, TP.HCM', 'Quận 1'), segment._has_words('12 QUẬN 1, TP.HCM', 'quận 1'), segment._has_words('Nguyễn Thị Lan', 'an'), segment._has_words('Trần Bình An', 'AN');
SELECT segment._has_words('a b a c', 'a c'), segment._has_words('a b c', 'a c'), segment._has_words('a', 'a b'), segment._has_words('a', '-'), segment._has_words('', '');

-- the given name is the last word, or the first where a setting says so
SELECT segment._given_name('Nguyễn Văn An'), segment._given_name('Mary Ann Smith', first => true), segment._given_name('  Hoà '), segment._given_name('...') IS NULL;
SELECT segment._email_domain('An.Nguyen@Shop.VN '), segment._email_domain('"a@b"@c.d'), segment._email_domain('a@') IS NULL, segment._email_domain('a') IS NULL, segment._email_domain('') IS NULL;
SELECT string_agg(coalesce(segment._sex(s), '-'), ' ' ORDER BY n)
FROM unnest(ARRAY['f', 'F', 'Female', 'Nữ', 'NỮ', normalize('nữ', NFD), 'nu', 'M', 'male', 'Nam', ' nam ', 'x', '', 'Nữa', 'other', '1']) WITH ORDINALITY AS t(s, n);

-- an index on it is in nobody's way who writes the table
CREATE TABLE folded_names (name text, folded text GENERATED ALWAYS AS (segment.fold(name)) STORED);
CREATE INDEX ON folded_names (segment.unaccent(name));
CREATE ROLE segment_till;
GRANT INSERT ON folded_names TO segment_till;
SET ROLE segment_till;
INSERT INTO folded_names VALUES ('HOÀ');
RESET ROLE;
SELECT folded FROM folded_names;
DROP TABLE folded_names;
DROP ROLE segment_till;
