/*
 * text_fold.c
 *		How texts, phone numbers and names of regions are compared.
 *
 * Pure, and the same in every database: what must be known of Unicode is in
 * unicode_tables.h, so neither locale nor collation provider nor the version of
 * either has a say.  Only the composition of characters is the server's own
 * (unicode_normalize); Unicode has promised never to change that for a
 * character it has assigned.
 *
 * The fold, in this order:
 *
 *		characters without width or meaning are dropped
 *		NFC
 *		lower case, letter by letter; eth is read as d with stroke
 *		NFC again: a capital may compose with a mark only once it is small
 *		the tone mark of a final oa, oe, uy goes to the first vowel
 *		any white space is one space, and there is none at the ends
 *
 * Folding twice gives what folding once gives.
 */
#include "segment.h"

#include "catalog/pg_type.h"
#include "common/unicode_norm.h"
#include "mb/pg_wchar.h"
#include "text_fold.h"
#include "unicode_tables.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(segment_fold);
PG_FUNCTION_INFO_V1(segment_unaccent);
PG_FUNCTION_INFO_V1(segment_words);
PG_FUNCTION_INFO_V1(segment_has_words);
PG_FUNCTION_INFO_V1(segment_given_name);
PG_FUNCTION_INFO_V1(segment_email_domain);
PG_FUNCTION_INFO_V1(segment_sex);
PG_FUNCTION_INFO_V1(segment_region);
PG_FUNCTION_INFO_V1(segment_phone);
PG_FUNCTION_INFO_V1(segment_phone_pattern);

#define LATIN_ETH			0x00F0	/* ð, typed for đ by some keyboards */
#define LATIN_D_STROKE		0x0111	/* đ */
#define FULLWIDTH_PLUS		0xFF0B

/* The vowels that a tone mark moves between, each bare and with the five tones. */
static const pg_wchar toned_a[] = {'a', 0x00E0, 0x00E1, 0x1EA3, 0x00E3, 0x1EA1};
static const pg_wchar toned_e[] = {'e', 0x00E8, 0x00E9, 0x1EBB, 0x1EBD, 0x1EB9};
static const pg_wchar toned_o[] = {'o', 0x00F2, 0x00F3, 0x1ECF, 0x00F5, 0x1ECD};
static const pg_wchar toned_u[] = {'u', 0x00F9, 0x00FA, 0x1EE7, 0x0169, 0x1EE5};
static const pg_wchar toned_y[] = {'y', 0x1EF3, 0x00FD, 0x1EF7, 0x1EF9, 0x1EF5};

static const struct
{
	const pg_wchar *first;
	const pg_wchar *second;
}			toned_pairs[] =
{
	{toned_o, toned_a}, {toned_o, toned_e}, {toned_u, toned_y}
};

/* ---- what kind of character this is ---- */

static const ClassRange *
class_range(pg_wchar c)
{
	int			low = 0;
	int			high = lengthof(class_ranges);

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (c < class_ranges[middle].first)
			high = middle;
		else if (c > class_ranges[middle].last)
			low = middle + 1;
		else
			return &class_ranges[middle];
	}
	return NULL;
}

static CharClass
char_class(pg_wchar c)
{
	const ClassRange *range = class_range(c);

	return range == NULL ? CHAR_OTHER : range->kind;
}

static bool
in_ranges(pg_wchar c, const CodeRange *ranges, int nranges)
{
	for (int i = 0; i < nranges && c >= ranges[i].first; i++)
	{
		if (c <= ranges[i].last)
			return true;
	}
	return false;
}

static bool
is_space(pg_wchar c)
{
	return in_ranges(c, space_ranges, lengthof(space_ranges));
}

static bool
is_ignored(pg_wchar c)
{
	return in_ranges(c, ignored_ranges, lengthof(ignored_ranges));
}

static bool
is_letter_or_mark(pg_wchar c)
{
	CharClass	kind = char_class(c);

	return kind == CHAR_LETTER || kind == CHAR_MARK;
}

static pg_wchar
lower_char(pg_wchar c)
{
	int			low = 0;
	int			high = lengthof(lower_ranges);

	while (low < high)
	{
		int			middle = (low + high) / 2;
		const LowerRange *range = &lower_ranges[middle];

		if (c < range->first)
			high = middle;
		else if (c > range->last)
			low = middle + 1;
		else if ((c - range->first) % range->step == 0)
			return c + range->distance;
		else
			break;
	}
	return c;
}

/* ---- bytes and characters ---- */

/* The character at *s; *s moves behind it.  A cut one at the end ends the text. */
static pg_wchar
next_char(const char **s, const char *end)
{
	const unsigned char *at = (const unsigned char *) *s;
	int			bytes = pg_utf_mblen(at);

	if (bytes > end - *s)
	{
		*s = end;
		return 0;
	}
	*s += bytes;
	return utf8_to_unicode(at);
}

static bool
is_ascii(const char *s, int len)
{
	for (int i = 0; i < len; i++)
	{
		if (IS_HIGHBIT_SET(s[i]))
			return false;
	}
	return true;
}

/* The characters of a text, ended by 0, without those that say nothing. */
static pg_wchar *
decode(const char *s, int len)
{
	pg_wchar   *chars = palloc(((Size) len + 1) * sizeof(pg_wchar));
	const char *end = s + len;
	int			n = 0;

	while (s < end)
	{
		pg_wchar	c = next_char(&s, end);

		if (c != 0 && !is_ignored(c))
			chars[n++] = c;
	}
	chars[n] = 0;
	return chars;
}

static text *
encode(const pg_wchar *chars)
{
	Size		n = 0;
	text	   *result;
	unsigned char *to;

	while (chars[n] != 0)
		n++;
	result = palloc(VARHDRSZ + n * MAX_MULTIBYTE_CHAR_LEN);
	to = (unsigned char *) VARDATA(result);
	for (; *chars != 0; chars++)
	{
		unicode_to_utf8(*chars, to);
		to += pg_utf_mblen(to);
	}
	SET_VARSIZE(result, (char *) to - (char *) result);
	return result;
}

static pg_wchar *
normalized(UnicodeNormalizationForm form, pg_wchar *chars)
{
	if (unicode_is_normalized_quickcheck(form, chars) == UNICODE_NORM_QC_YES)
		return chars;
	return unicode_normalize(form, chars);
}

/* ---- the fold ---- */

static void
lower_chars(pg_wchar *chars)
{
	for (; *chars != 0; chars++)
	{
		*chars = lower_char(*chars);
		if (*chars == LATIN_ETH)
			*chars = LATIN_D_STROKE;
	}
}

/*
 * Of hoà and hòa the second; thuý is thúy.  In quý the u belongs to the q and
 * the y is the only vowel, so nothing moves.
 */
static void
settle_tones(pg_wchar *chars)
{
	for (int i = 0; chars[i] != 0 && chars[i + 1] != 0; i++)
	{
		if ((chars[i] != 'o' && chars[i] != 'u') ||
			(i > 0 && chars[i - 1] == 'q') ||
			is_letter_or_mark(chars[i + 2]))
			continue;
		for (int pair = 0; pair < lengthof(toned_pairs); pair++)
		{
			const pg_wchar *first = toned_pairs[pair].first;
			const pg_wchar *second = toned_pairs[pair].second;

			for (int tone = 1; chars[i] == first[0] && tone < lengthof(toned_a); tone++)
			{
				if (chars[i + 1] == second[tone])
				{
					chars[i] = first[tone];
					chars[i + 1] = second[0];
				}
			}
		}
	}
}

static void
collapse_spaces(pg_wchar *chars)
{
	int			n = 0;

	for (int i = 0; chars[i] != 0; i++)
	{
		if (!is_space(chars[i]))
			chars[n++] = chars[i];
		else if (n > 0 && chars[n - 1] != ' ')
			chars[n++] = ' ';
	}
	if (n > 0 && chars[n - 1] == ' ')
		n--;
	chars[n] = 0;
}

static pg_wchar *
fold_chars(const char *s, int len)
{
	pg_wchar   *chars = normalized(UNICODE_NFC, decode(s, len));

	lower_chars(chars);
	chars = normalized(UNICODE_NFC, chars);
	settle_tones(chars);
	collapse_spaces(chars);
	return chars;
}

/* The same for the many texts that are plain ASCII: no tables, no tones. */
static text *
fold_ascii(const char *s, int len)
{
	text	   *result = palloc(VARHDRSZ + len);
	char	   *to = VARDATA(result);
	int			n = 0;

	for (int i = 0; i < len; i++)
	{
		char		c = s[i];

		if (c == ' ' || (c >= '\t' && c <= '\r'))
		{
			if (n > 0 && to[n - 1] != ' ')
				to[n++] = ' ';
		}
		else
			to[n++] = (c >= 'A' && c <= 'Z') ? c + ('a' - 'A') : c;
	}
	if (n > 0 && to[n - 1] == ' ')
		n--;
	SET_VARSIZE(result, VARHDRSZ + n);
	return result;
}

text *
segment_fold_text(const char *s, int len)
{
	if (is_ascii(s, len))
		return fold_ascii(s, len);
	return encode(fold_chars(s, len));
}

/* The fold without marks; a space that carried one may now stand beside another. */
text *
segment_unaccent_text(const char *s, int len)
{
	pg_wchar   *chars;
	int			n = 0;

	if (is_ascii(s, len))
		return fold_ascii(s, len);
	chars = normalized(UNICODE_NFD, fold_chars(s, len));
	for (int i = 0; chars[i] != 0; i++)
	{
		if (char_class(chars[i]) != CHAR_MARK)
			chars[n++] = chars[i] == LATIN_D_STROKE ? 'd' : chars[i];
	}
	chars[n] = 0;
	chars = normalized(UNICODE_NFC, chars); /* syllables of Hangul came apart too */
	collapse_spaces(chars);
	return encode(chars);
}

/* ---- words ---- */

typedef struct Word
{
	const char *start;
	int			len;
} Word;

/* The next run of letters, marks and digits from *s on; false where there is none. */
static bool
next_word(const char **s, const char *end, Word *word)
{
	word->start = NULL;
	while (*s < end)
	{
		const char *before = *s;

		if (char_class(next_char(s, end)) == CHAR_OTHER)
		{
			if (word->start != NULL)
				break;
		}
		else
		{
			if (word->start == NULL)
				word->start = before;
			word->len = *s - word->start;
		}
	}
	return word->start != NULL;
}

static Word *
words_in(const text *folded, int *nwords)
{
	const char *s = VARDATA_ANY(folded);
	const char *end = s + VARSIZE_ANY_EXHDR(folded);
	int			room = 8;
	Word	   *words = palloc(room * sizeof(Word));

	*nwords = 0;
	while (next_word(&s, end, &words[*nwords]))
	{
		if (++*nwords == room)
		{
			room *= 2;
			words = repalloc(words, room * sizeof(Word));
		}
	}
	return words;
}

ArrayType *
segment_words_of(const text *folded)
{
	int			nwords;
	Word	   *words = words_in(folded, &nwords);
	Datum	   *elements = palloc((nwords + 1) * sizeof(Datum));

	for (int i = 0; i < nwords; i++)
		elements[i] = PointerGetDatum(cstring_to_text_with_len(words[i].start, words[i].len));
	return construct_array(elements, nwords, TEXTOID, -1, false, TYPALIGN_INT);
}

static bool
same_words(const Word *a, const Word *b, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (a[i].len != b[i].len || memcmp(a[i].start, b[i].start, a[i].len) != 0)
			return false;
	}
	return true;
}

/*
 * Whether all words of the second stand in the first, one directly after the
 * other, whatever lies between words.  Both must be folded the same way.  A
 * text without any word is in none.
 */
bool
segment_has_words_in(const text *folded, const text *words)
{
	int			nhave;
	int			nwanted;
	Word	   *have = words_in(folded, &nhave);
	Word	   *wanted = words_in(words, &nwanted);

	for (int i = 0; nwanted > 0 && i + nwanted <= nhave; i++)
	{
		if (same_words(have + i, wanted, nwanted))
			return true;
	}
	return false;
}

/* ---- profile fields ---- */

/* The last word of a name, or its first; NULL where there is no word. */
text *
segment_given_name_text(const char *s, int len, bool first)
{
	int			nwords;
	Word	   *words = words_in(segment_fold_text(s, len), &nwords);
	Word	   *word = first ? words : words + nwords - 1;

	if (nwords == 0)
		return NULL;
	return cstring_to_text_with_len(word->start, word->len);
}

/*
 * That word as it is written.  Folding moves no border of a word that we know
 * of; should it, the folded word is what was meant.
 */
text *
segment_given_name_as_written(const char *s, int len, bool first)
{
	text	   *name = segment_given_name_text(s, len, first);
	text	   *written = cstring_to_text_with_len(s, len);
	int			nwords;
	Word	   *words = words_in(written, &nwords);
	Word	   *word = first ? words : words + nwords - 1;
	text	   *folded;

	if (name == NULL || nwords == 0)
		return name;
	folded = segment_fold_text(word->start, word->len);
	if (VARSIZE_ANY(folded) != VARSIZE_ANY(name) || memcmp(folded, name, VARSIZE_ANY(name)) != 0)
		return name;
	return cstring_to_text_with_len(word->start, word->len);
}

/* What follows the last @ of an address, folded; NULL where nothing does. */
text *
segment_email_domain_text(const char *s, int len)
{
	text	   *folded = segment_fold_text(s, len);
	const char *start = VARDATA_ANY(folded);
	const char *end = start + VARSIZE_ANY_EXHDR(folded);
	const char *domain = end;

	while (domain > start && domain[-1] != '@')
		domain--;
	if (domain == start || domain == end)
		return NULL;
	return cstring_to_text_with_len(domain, end - domain);
}

static bool
text_is(const text *t, const char *s)
{
	return VARSIZE_ANY_EXHDR(t) == strlen(s) && memcmp(VARDATA_ANY(t), s, strlen(s)) == 0;
}

/* "female" or "male"; NULL for whatever cannot be read as one of them. */
const char *
segment_sex_name(const char *s, int len)
{
	static const char *const readings[][2] = {
		{"f", "female"}, {"female", "female"}, {"n\341\273\257", "female"}, {"nu", "female"},
		{"m", "male"}, {"male", "male"}, {"nam", "male"}
	};
	text	   *folded = segment_fold_text(s, len);

	for (int i = 0; i < lengthof(readings); i++)
	{
		if (text_is(folded, readings[i][0]))
			return readings[i][1];
	}
	return NULL;
}

/* How much of a folded text is "province" or "city" in front of a name. */
static int
region_prefix(const char *s, int len)
{
	static const char *const prefixes[] = {
		"t\341\273\211nh ", "tinh ", "th\303\240nh ph\341\273\221 ", "thanh pho ", "tp. ", "tp.", "tp "
	};

	for (int i = 0; i < lengthof(prefixes); i++)
	{
		int			prefix = strlen(prefixes[i]);

		if (len > prefix && memcmp(s, prefixes[i], prefix) == 0)
			return prefix;
	}
	return 0;
}

/* The name of a region, folded, without what kind of region it is. */
text *
segment_region_text(const char *s, int len)
{
	text	   *folded = segment_fold_text(s, len);
	const char *name = VARDATA_ANY(folded);
	int			left = VARSIZE_ANY_EXHDR(folded);
	int			prefix;

	while ((prefix = region_prefix(name, left)) > 0)
	{
		name += prefix;
		left -= prefix;
	}
	return cstring_to_text_with_len(name, left);
}

/* ---- phones ---- */

static void
bad_phone_rules(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid phone rules"),
			 errdetail("%s", detail),
			 errhint("Write them like {\"country_code\": \"84\", \"renumbered\": [[\"0120\", 11, \"070\"]]}.")));
}

static char *
digits_of(const JsonbValue *value, const char *detail)
{
	if (value == NULL || value->type != jbvString || value->val.string.len == 0)
		bad_phone_rules(detail);
	for (int i = 0; i < value->val.string.len; i++)
	{
		if (value->val.string.val[i] < '0' || value->val.string.val[i] > '9')
			bad_phone_rules(detail);
	}
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static void
parse_renumbering(JsonbValue *value, PhoneRenumbering *renumbering)
{
	static const char *const detail =
		"Each element of \"renumbered\" is [old prefix, number of digits, new prefix], prefixes as strings of digits.";
	JsonbValue *digits;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) ||
		JsonContainerSize(value->val.binary.data) != 3)
		bad_phone_rules(detail);
	renumbering->old_prefix = digits_of(getIthJsonbValueFromContainer(value->val.binary.data, 0), detail);
	renumbering->new_prefix = digits_of(getIthJsonbValueFromContainer(value->val.binary.data, 2), detail);
	digits = getIthJsonbValueFromContainer(value->val.binary.data, 1);
	if (digits->type != jbvNumeric)
		bad_phone_rules(detail);
	renumbering->digits = DatumGetInt32(DirectFunctionCall1(numeric_int4,
															NumericGetDatum(digits->val.numeric)));
}

/* Rules as segment.phone() takes them; 22023 where they are none. */
PhoneRules *
segment_parse_phone_rules(Jsonb *jsonb)
{
	PhoneRules *rules = palloc0(sizeof(PhoneRules));
	JsonbValue *renumbered;

	if (!JB_ROOT_IS_OBJECT(jsonb) || JB_ROOT_COUNT(jsonb) != 2)
		bad_phone_rules("They are an object with the keys \"country_code\" and \"renumbered\".");
	rules->country_code = digits_of(getKeyJsonValueFromContainer(&jsonb->root, "country_code",
																 strlen("country_code"), NULL),
									"\"country_code\" is a string of digits.");
	renumbered = getKeyJsonValueFromContainer(&jsonb->root, "renumbered", strlen("renumbered"), NULL);
	if (renumbered == NULL || renumbered->type != jbvBinary ||
		!JsonContainerIsArray(renumbered->val.binary.data))
		bad_phone_rules("\"renumbered\" is an array.");
	rules->nrenumberings = JsonContainerSize(renumbered->val.binary.data);
	rules->renumberings = palloc0((rules->nrenumberings + 1) * sizeof(PhoneRenumbering));
	for (int i = 0; i < rules->nrenumberings; i++)
		parse_renumbering(getIthJsonbValueFromContainer(renumbered->val.binary.data, i),
						  &rules->renumberings[i]);
	return rules;
}

/* Only the digits, of any script; whether a plus sign stands before the first. */
static char *
dial_digits(const char *s, int len, bool *plus)
{
	char	   *digits = palloc((Size) len + 1);
	const char *end = s + len;
	int			n = 0;

	*plus = false;
	while (s < end)
	{
		pg_wchar	c = next_char(&s, end);
		const ClassRange *range = class_range(c);

		if (range != NULL && range->kind == CHAR_DIGIT)
			digits[n++] = '0' + (c - range->first) % 10;
		else if (n == 0 && (c == '+' || c == FULLWIDTH_PLUS))
			*plus = true;
	}
	digits[n] = '\0';
	return digits;
}

static bool
begins_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/*
 * The digits behind the country's code, NULL where the number does not begin
 * with it.  A bare code is one only before 9 or 10 digits, and never in a
 * pattern: 084 is also where numbers of one network begin.
 */
static char *
behind_country_code(char *digits, bool plus, bool pattern, const char *code)
{
	if (begins_with(digits, "00") && begins_with(digits + 2, code))
		return digits + 2 + strlen(code);
	if (begins_with(digits, code))
	{
		char	   *rest = digits + strlen(code);

		if (plus || (!pattern && (strlen(rest) == 9 || strlen(rest) == 10)))
			return rest;
	}
	return NULL;
}

/* 0 in front, unless it is there already, as in +84 (0)912 345 678. */
static char *
with_zero(char *digits)
{
	return digits[0] == '0' ? digits : psprintf("0%s", digits);
}

static char *
renumbered(char *digits, const PhoneRules *rules)
{
	const PhoneRenumbering *best = NULL;
	size_t		len = strlen(digits);

	for (int i = 0; i < rules->nrenumberings; i++)
	{
		const PhoneRenumbering *rule = &rules->renumberings[i];

		if (rule->digits == len && begins_with(digits, rule->old_prefix) &&
			(best == NULL || strlen(rule->old_prefix) > strlen(best->old_prefix)))
			best = rule;
	}
	if (best == NULL)
		return digits;
	return psprintf("%s%s", best->new_prefix, digits + strlen(best->old_prefix));
}

static char *
national_digits(const char *s, int len, const PhoneRules *rules, bool pattern)
{
	bool		plus;
	char	   *digits = dial_digits(s, len, &plus);
	char	   *rest = behind_country_code(digits, plus, pattern, rules->country_code);

	if (rest != NULL)
		digits = with_zero(rest);
	else if (!pattern && strlen(digits) == 9)
		digits = with_zero(digits);
	return pattern ? digits : renumbered(digits, rules);
}

/* A number as it is dialled at home. */
text *
segment_phone_text(const char *s, int len, const PhoneRules *rules)
{
	return cstring_to_text(national_digits(s, len, rules, false));
}

/* The beginning of such a number: only +84 and 0084 are read as 0. */
text *
segment_phone_pattern_text(const char *s, int len, const PhoneRules *rules)
{
	return cstring_to_text(national_digits(s, len, rules, true));
}

/* ---- to SQL ---- */

Datum
segment_fold(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);

	PG_RETURN_TEXT_P(segment_fold_text(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)));
}

Datum
segment_unaccent(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);

	PG_RETURN_TEXT_P(segment_unaccent_text(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)));
}

Datum
segment_words(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);

	PG_RETURN_ARRAYTYPE_P(segment_words_of(segment_fold_text(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t))));
}

Datum
segment_has_words(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);
	text	   *words = PG_GETARG_TEXT_PP(1);

	PG_RETURN_BOOL(segment_has_words_in(segment_fold_text(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)),
										segment_fold_text(VARDATA_ANY(words), VARSIZE_ANY_EXHDR(words))));
}

static Datum
text_or_null(FunctionCallInfo fcinfo, text *t)
{
	if (t == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(t);
}

Datum
segment_given_name(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);

	return text_or_null(fcinfo, segment_given_name_text(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t),
														PG_GETARG_BOOL(1)));
}

Datum
segment_email_domain(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);

	return text_or_null(fcinfo, segment_email_domain_text(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)));
}

Datum
segment_sex(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);
	const char *sex = segment_sex_name(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));

	return text_or_null(fcinfo, sex == NULL ? NULL : cstring_to_text(sex));
}

Datum
segment_region(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);

	PG_RETURN_TEXT_P(segment_region_text(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)));
}

/* Rules come as a constant: parsed once per query, and again should they differ. */
typedef struct CachedRules
{
	MemoryContext context;
	Jsonb	   *given;
	PhoneRules *parsed;
} CachedRules;

static const PhoneRules *
phone_rules_argument(FunctionCallInfo fcinfo, int argument)
{
	Jsonb	   *given = PG_GETARG_JSONB_P(argument);
	CachedRules *cache = fcinfo->flinfo->fn_extra;
	MemoryContext caller;

	if (cache == NULL)
	{
		cache = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(CachedRules));
		cache->context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "segment phone rules",
											   ALLOCSET_SMALL_SIZES);
		fcinfo->flinfo->fn_extra = cache;
	}
	if (cache->given != NULL && VARSIZE(cache->given) == VARSIZE(given) &&
		memcmp(cache->given, given, VARSIZE(given)) == 0)
		return cache->parsed;

	cache->given = NULL;
	MemoryContextReset(cache->context);
	caller = MemoryContextSwitchTo(cache->context);
	cache->parsed = segment_parse_phone_rules(given);
	cache->given = (Jsonb *) DatumGetPointer(datumCopy(JsonbPGetDatum(given), false, -1));
	MemoryContextSwitchTo(caller);
	return cache->parsed;
}

Datum
segment_phone(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);

	PG_RETURN_TEXT_P(segment_phone_text(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t),
										phone_rules_argument(fcinfo, 1)));
}

Datum
segment_phone_pattern(PG_FUNCTION_ARGS)
{
	text	   *t = PG_GETARG_TEXT_PP(0);

	PG_RETURN_TEXT_P(segment_phone_pattern_text(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t),
												phone_rules_argument(fcinfo, 1)));
}
