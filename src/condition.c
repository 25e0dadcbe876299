/*
 * condition.c
 *		The type segment.condition: reading, the value, its cursor, printing,
 *		comparing, composing.
 *
 * A value is a tree of nodes, each a run of int32 words that starts at a
 * multiple of four from the beginning of data[]; the root is the first:
 *
 *		kind | detail << 8 | negated << 16
 *		number of children
 *		one word a child: where it begins
 *		FIGURE, NUMBER, TEXT: number of bytes, bytes, NULs up to the next word
 *		other values: int64 in two words
 *
 * Children come after their parent, in their order, and nothing lies between
 * them, so that equal trees are equal bytes.
 */
#include "segment.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "condition.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

/* numeric holds no more digits than these */
#define MAX_INTEGER_DIGITS	131072
#define MAX_FRACTION_DIGITS 16383

/* Spans end somewhere: a thousand years. */
static const struct
{
	const char *period;			/* in periods */
	char		letter;			/* in offsets */
	int			max;
}			units[] =
{
	[CONDITION_DAYS] = {NULL, 'd', 366000},
	[CONDITION_WEEKS] = {"week", 'w', 52200},
	[CONDITION_MONTHS] = {"month", 'm', 12000},
	[CONDITION_YEARS] = {"year", 'y', 1000},
	[CONDITION_QUARTERS] = {"quarter", 0, 4000},
	[CONDITION_HALF_YEARS] = {"half_year", 0, 2000},
	[CONDITION_LADDER_PERIODS] = {"period", 0, 12000}
};

static const char *const operators[] = {
	[CONDITION_EQ] = "=",
	[CONDITION_NE] = "!=",
	[CONDITION_LT] = "<",
	[CONDITION_LE] = "<=",
	[CONDITION_GT] = ">",
	[CONDITION_GE] = ">="
};

/* Shopify's longer names, and the two that name things of Shopify's platform */
static const char *const aliases[][2] = {
	{"customer_tags", "tags"},
	{"customer_email_domain", "email_domain"},
	{"customer_countries", "country"},
	{"customer_regions", "region"},
	{"customer_cities", "city"},
	{"app_id", "channel"},
	{"location_id", "branch"}
};

/* Words that cannot be a name without quotes. */
static const char *const reserved[] = {
	"and", "between", "contains", "during", "false", "in", "is", "matches", "not", "null", "or",
	"today", "tomorrow", "true", "yesterday"
};

PG_FUNCTION_INFO_V1(segment_condition_in);
PG_FUNCTION_INFO_V1(segment_condition_out);
PG_FUNCTION_INFO_V1(segment_condition_recv);
PG_FUNCTION_INFO_V1(segment_condition_send);
PG_FUNCTION_INFO_V1(segment_condition_eq);
PG_FUNCTION_INFO_V1(segment_condition_ne);
PG_FUNCTION_INFO_V1(segment_condition_lt);
PG_FUNCTION_INFO_V1(segment_condition_le);
PG_FUNCTION_INFO_V1(segment_condition_gt);
PG_FUNCTION_INFO_V1(segment_condition_ge);
PG_FUNCTION_INFO_V1(segment_condition_cmp);
PG_FUNCTION_INFO_V1(segment_condition_hash);
PG_FUNCTION_INFO_V1(segment_condition_hash_extended);
PG_FUNCTION_INFO_V1(segment_condition_all_of);
PG_FUNCTION_INFO_V1(segment_condition_any_of);
PG_FUNCTION_INFO_V1(segment_condition_negate);

/*
 * Faults
 */

/* What is shown of the source text: whole characters, not too many. */
static char *
excerpt(const char *text, int length)
{
	int			shown = 0;

	while (shown < length && text[shown] != '\0')
	{
		int			next = pg_utf_mblen((const unsigned char *) text + shown);

		if (shown + next > 40 || shown + next > length)
			return psprintf("%.*s...", shown, text);
		shown += next;
	}
	return pnstrdup(text, shown);
}

/*
 * Report a fault, softly where the caller can take it: then whoever called
 * must give up.  at and length are the place in the text (length 0: whatever
 * comes there), read only where there is a text.
 */
void
segment_condition_fault(ConditionReader *reader, int sqlstate, int32 at, int32 length,
						const char *message, const char *hint)
{
	char	   *place;

	if (reader->path)
		place = reader->path->len > 0 ? psprintf("At %s.", reader->path->data) : pstrdup("At the top of the rule tree.");
	else
	{
		int			position = pg_mbstrlen_with_len(reader->source, at) + 1;

		if (reader->source[at] == '\0')
			place = psprintf("At character %d, at the end of the text.", position);
		else
			place = psprintf("At character %d, at or near \"%s\".", position,
							 excerpt(reader->source + at, length > 0 ? length : PG_INT32_MAX));
	}
	errsave(reader->escontext,
			(errcode(sqlstate),
			 errmsg("%s", message),
			 errdetail_internal("%s", place),
			 hint ? errhint("%s", hint) : 0));
}

/*
 * Items
 */

ConditionItem *
segment_condition_item(ConditionKind kind, int32 at)
{
	ConditionItem *item = palloc0(sizeof(ConditionItem));

	item->kind = kind;
	item->at = at;
	return item;
}

/* With room for a text behind it: one allocation, since there may be millions. */
static ConditionItem *
text_item(ConditionKind kind, int room, int32 at)
{
	ConditionItem *item = palloc(sizeof(ConditionItem) + room);

	memset(item, 0, sizeof(ConditionItem));
	item->kind = kind;
	item->at = at;
	item->text = (char *) (item + 1);
	return item;
}

ConditionItem *
segment_condition_string(const char *text, int length, int32 at)
{
	ConditionItem *item = text_item(CONDITION_TEXT, length + 1, at);

	memcpy(item->text, text, length);
	item->text[length] = '\0';
	item->length = length;
	return item;
}

ConditionItem *
segment_condition_add(ConditionItem *parent, ConditionItem *child)
{
	child->next = NULL;
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
	parent->nchildren++;
	return parent;
}

/* Append the children of a list. */
ConditionItem *
segment_condition_adopt(ConditionItem *parent, ConditionItem *list)
{
	if (list->nchildren == 0)
		return parent;
	if (parent->last)
		parent->last->next = list->first;
	else
		parent->first = list->first;
	parent->last = list->last;
	parent->nchildren += list->nchildren;
	return parent;
}

/* AND in AND and OR in OR are one, whatever parentheses there were. */
ConditionItem *
segment_condition_combine(ConditionKind kind, ConditionItem *left, ConditionItem *right)
{
	ConditionItem *item = left;

	if (left->kind != kind)
	{
		item = segment_condition_item(kind, left->at);
		segment_condition_add(item, left);
	}
	if (right->kind == kind)
		return segment_condition_adopt(item, right);
	return segment_condition_add(item, right);
}

/* NOT NOT x is x: the language has two truth values. */
ConditionItem *
segment_condition_not(ConditionItem *item)
{
	if (item->kind == CONDITION_NOT)
		return item->first;
	return segment_condition_add(segment_condition_item(CONDITION_NOT, item->at), item);
}

/* An empty text counts as absent, and white space around a text does not count. */
static bool
is_blank(const char *text)
{
	const unsigned char *c = (const unsigned char *) text;

	for (;;)
	{
		if (*c == ' ' || (*c >= '\t' && *c <= '\r'))
			c++;
		else if (c[0] == 0xc2 && c[1] == 0xa0)
			c += 2;				/* no-break space */
		else if (c[0] == 0xe2 && c[1] == 0x80 && (c[2] <= 0x8b || c[2] == 0xaf))
			c += 3;				/* spaces of various widths */
		else if (c[0] == 0xe3 && c[1] == 0x80 && c[2] == 0x80)
			c += 3;				/* ideographic space */
		else
			return *c == '\0';
	}
}

static void
rename_item(ConditionItem *item, const char *name)
{
	item->text = pstrdup(name);
	item->length = strlen(name);
}

/* The one name of what has several. */
static void
resolve_alias(ConditionItem *figure)
{
	for (int i = 0; i < lengthof(aliases); i++)
	{
		if (strcmp(figure->text, aliases[i][0]) == 0)
		{
			rename_item(figure, aliases[i][1]);
			return;
		}
	}
	if (strncmp(figure->text, "metafields.", strlen("metafields.")) == 0)
	{
		char	   *space = figure->text + strlen("metafields.");
		char	   *key = strchr(space, '.');

		if (key != NULL && key > space && key[1] != '\0')
			rename_item(figure, psprintf("custom.%s", key + 1));
	}
}

/* The fields of an event are plain names. */
static bool
check_param(ConditionReader *reader, const ConditionItem *param)
{
	const ConditionItem *operand = param->first->next;

	if (param->kind == CONDITION_MATCHES || param->first->nchildren > 0 ||
		(operand && operand->kind == CONDITION_FIGURE && operand->nchildren > 0))
	{
		segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, param->at, 0,
								"a field of an event takes no conditions of its own",
								"Inside these parentheses stand clauses over fields, such as date >= -30d.");
		return false;
	}
	return true;
}

static bool
is_function(const char *name, ConditionFunction *function)
{
	if (strcmp(name, "unaccented") == 0)
		*function = CONDITION_UNACCENTED;
	else if (strcmp(name, "anniversary") == 0)
		*function = CONDITION_ANNIVERSARY;
	else
		return false;
	return true;
}

/* A name, perhaps with clauses that narrow it. */
ConditionItem *
segment_condition_figure(ConditionReader *reader, ConditionItem *name, ConditionItem *params)
{
	ConditionItem *figure = segment_condition_item(CONDITION_FIGURE, name->at);
	ConditionFunction function;

	figure->text = name->text;
	figure->length = name->length;
	if (is_blank(figure->text))
	{
		segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, name->at, 0,
								"a name is empty", "In front of an operator, text in single quotes is a name.");
		return NULL;
	}
	resolve_alias(figure);
	if (params)
	{
		if (is_function(figure->text, &function))
		{
			segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, name->at, 0,
									psprintf("%s() takes a name", figure->text),
									function == CONDITION_ANNIVERSARY ?
									"Write anniversary(birth_date) BETWEEN today AND +30d." :
									"Write unaccented(name) HAS WORD 'dung'.");
			return NULL;
		}
		for (ConditionItem *param = params->first; param; param = param->next)
		{
			if (!check_param(reader, param))
				return NULL;
		}
		segment_condition_adopt(figure, params);
	}
	return figure;
}

/* unaccented(name), anniversary(birth_date) */
ConditionItem *
segment_condition_apply(ConditionReader *reader, ConditionItem *name, ConditionItem *figure)
{
	ConditionFunction function;

	if (!is_function(name->text, &function))
	{
		segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, figure->at, 0,
								psprintf("in the parentheses of \"%s\" a name stands alone", name->text),
								"Write clauses there, such as date >= -30d; only unaccented() and anniversary() take a name.");
		return NULL;
	}
	if (figure->old_style || figure->detail != CONDITION_PLAIN)
	{
		segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, figure->at, 0,
								psprintf("%s() takes a name", name->text), NULL);
		return NULL;
	}
	figure->detail = function;
	figure->at = name->at;
	return figure;
}

/* Shopify's older f(id: 1), and anniversary(date: 'metafields.facts.birth_date') */
ConditionItem *
segment_condition_old_figure(ConditionReader *reader, ConditionItem *name, ConditionItem *params)
{
	ConditionItem *param = params->first;
	ConditionItem *figure;

	if (strcmp(name->text, "anniversary") == 0 && params->nchildren == 1 && param->kind == CONDITION_COMPARE &&
		strcmp(param->first->text, "date") == 0 && param->last->kind == CONDITION_TEXT)
	{
		figure = segment_condition_figure(reader, param->last, NULL);
		return figure ? segment_condition_apply(reader, name, figure) : NULL;
	}
	figure = segment_condition_figure(reader, name, params);
	if (figure)
		figure->old_style = true;
	return figure;
}

/* Compare canonical decimals. */
static int
compare_numbers(const char *left, const char *right)
{
	int			sign = 1;
	size_t		left_digits,
				right_digits;

	if ((left[0] == '-') != (right[0] == '-'))
		return left[0] == '-' ? -1 : 1;
	if (left[0] == '-')
	{
		sign = -1;
		left++;
		right++;
	}
	left_digits = strcspn(left, ".");
	right_digits = strcspn(right, ".");
	if (left_digits != right_digits)
		return left_digits < right_digits ? -sign : sign;
	return sign * strcmp(left, right);
}

/* Is the first value above the second, as far as that can be told from the text? */
static bool
is_above(const ConditionItem *low, const ConditionItem *high)
{
	if (low->kind == CONDITION_NUMBER && high->kind == CONDITION_NUMBER)
		return compare_numbers(low->text, high->text) > 0;
	if (low->kind == high->kind && (low->kind == CONDITION_DATE || low->kind == CONDITION_DATETIME ||
									low->kind == CONDITION_DAY || low->kind == CONDITION_OFFSET))
		return low->detail == high->detail && low->number > high->number;
	if (low->kind == CONDITION_DAY && high->kind == CONDITION_OFFSET && high->detail == CONDITION_DAYS)
		return low->number > high->number;
	if (low->kind == CONDITION_OFFSET && low->detail == CONDITION_DAYS && high->kind == CONDITION_DAY)
		return low->number > high->number;
	return false;
}

/* A clause that asks for the empty text can never hold, or always does. */
static bool
check_values(ConditionReader *reader, const ConditionItem *clause)
{
	for (const ConditionItem *value = clause->first->next; value; value = value->next)
	{
		if (value->kind == CONDITION_TEXT && is_blank(value->text))
		{
			bool		asks = clause->kind == CONDITION_COMPARE || clause->kind == CONDITION_IN;
			bool		negative = clause->negated || (clause->kind == CONDITION_COMPARE && clause->detail == CONDITION_NE);

			segment_condition_fault(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, value->at, 0,
									"a clause on the empty text can never hold, or always does",
									!asks ? "Give the text to look for; whether there is any is asked with IS NOT NULL." :
									negative ? "An empty text counts as missing: ask with IS NOT NULL." :
									"An empty text counts as missing: ask with IS NULL.");
			return false;
		}
	}
	return true;
}

static bool
check_function(ConditionReader *reader, const ConditionItem *clause)
{
	const ConditionItem *figure = clause->first;

	if (figure->detail == CONDITION_UNACCENTED && !(clause->kind >= CONDITION_CONTAINS && clause->kind <= CONDITION_HAS_WORD))
	{
		segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, clause->at, 0,
								"unaccented() stands before CONTAINS, STARTS WITH, ENDS WITH and HAS WORD only", NULL);
		return false;
	}
	if (figure->detail == CONDITION_ANNIVERSARY &&
		((clause->kind != CONDITION_COMPARE && clause->kind != CONDITION_BETWEEN && clause->kind != CONDITION_DURING) ||
		 figure->next->kind == CONDITION_FIGURE))
	{
		segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, clause->at, 0,
								"anniversary() is compared with a day, or stands before BETWEEN or DURING",
								clause->kind == CONDITION_IS_NULL ? "Ask whether the date itself IS NULL." :
								"Write anniversary(birth_date) BETWEEN today AND +30d.");
		return false;
	}
	return true;
}

/* Check a clause that is complete, and bring it to its canonical form. */
ConditionItem *
segment_condition_clause(ConditionReader *reader, ConditionItem *clause)
{
	ConditionItem *figure = clause->first;
	ConditionItem *operand = figure->next;
	ConditionUnit unit;
	int			number;

	if (figure->old_style)
	{
		if (figure->nchildren == 0)
			segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, figure->at, 0,
									psprintf("the parentheses of \"%s\" are empty", figure->text),
									"Leave them out, or write inside what narrows it, such as date >= -30d.");
		else
			segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, figure->at, 0,
									"parameters written with a colon are followed by = TRUE or = FALSE",
									"Write products_purchased MATCHES (id = 1), or amount_spent(date >= -30d) >= 500000.");
		return NULL;
	}
	if (!check_function(reader, clause) || !check_values(reader, clause))
		return NULL;
	switch (clause->kind)
	{
		case CONDITION_COMPARE:
			if (operand->kind == CONDITION_FIGURE && operand->nchildren == 0 && clause->nchildren == 2 &&
				segment_condition_period_name(operand->text, &unit, &number))
			{
				segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, operand->at, operand->length,
										"a period cannot be compared with", psprintf("Write DURING %s.", operand->text));
				return NULL;
			}
			/* 1 * x is x */
			if (clause->nchildren == 3 && strcmp(clause->last->text, "1") == 0)
			{
				clause->nchildren = 2;
				clause->last = operand;
				operand->next = NULL;
			}
			break;
		case CONDITION_BETWEEN:
			if (figure->detail != CONDITION_ANNIVERSARY && is_above(operand, operand->next))
			{
				segment_condition_fault(reader, ERRCODE_INVALID_TEXT_REPRESENTATION, operand->at, 0,
										"the first bound of BETWEEN is above the second", "The smaller bound comes first.");
				return NULL;
			}
			break;
		case CONDITION_CONTAINS:
		case CONDITION_STARTS_WITH:
		case CONDITION_ENDS_WITH:
		case CONDITION_HAS_WORD:
			if (clause->detail == CONDITION_ALL && clause->kind != CONDITION_CONTAINS)
			{
				segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, operand->at, 0,
										"ALL goes with CONTAINS only", "Join several clauses with AND.");
				return NULL;
			}
			/* any of one is that one */
			if (clause->nchildren == 2)
				clause->detail = CONDITION_ONE;
			break;
		case CONDITION_MATCHES:
			if (figure->nchildren > 0 || figure->detail != CONDITION_PLAIN)
			{
				segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, figure->at, 0,
										"MATCHES has its conditions in its own parentheses",
										"Write orders_placed MATCHES (date >= -30d, amount > 500000).");
				return NULL;
			}
			for (; operand; operand = operand->next)
			{
				if (!check_param(reader, operand))
					return NULL;
			}
			break;
		default:
			break;
	}
	return clause;
}

/* f(id: 1) = true is f MATCHES (id = 1) */
ConditionItem *
segment_condition_old_clause(ConditionReader *reader, ConditionItem *clause)
{
	ConditionItem *figure = clause->first;
	ConditionItem *operand = figure->next;
	ConditionItem *matches;

	if (operand->kind != CONDITION_BOOLEAN || (clause->detail != CONDITION_EQ && clause->detail != CONDITION_NE))
		return segment_condition_clause(reader, clause);
	matches = segment_condition_item(CONDITION_MATCHES, clause->at);
	matches->negated = (clause->detail == CONDITION_NE) == (operand->number == 1);
	figure->old_style = false;
	segment_condition_add(matches, figure);
	segment_condition_adopt(matches, figure);
	figure->first = figure->last = NULL;
	figure->nchildren = 0;
	return segment_condition_clause(reader, matches);
}

/*
 * Values
 */

/* [+-]digits[.digits] with _ between digits, as the scanner and JSON have checked. */
ConditionItem *
segment_condition_number(ConditionReader *reader, const char *text, int length, int32 at)
{
	ConditionItem *item = text_item(CONDITION_NUMBER, length + 3, at);
	const char *end = text + length;
	bool		negative = *text == '-';
	char	   *to;
	char	   *point;

	to = item->text;
	if (*text == '-' || *text == '+')
		text++;
	while (text < end && (*text == '0' || *text == '_'))
		text++;
	*to++ = '-';
	if (text == end || *text == '.')
		*to++ = '0';
	for (; text < end; text++)
	{
		if (*text != '_')
			*to++ = *text;
	}
	*to = '\0';
	point = strchr(item->text, '.');
	if (point)
	{
		while (to[-1] == '0')
			to--;
		if (to[-1] == '.')
			to--;
		*to = '\0';
	}
	if (strcspn(item->text, ".") - 1 > MAX_INTEGER_DIGITS || (point && to - point - 1 > MAX_FRACTION_DIGITS))
	{
		segment_condition_fault(reader, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, at, 0, "number is out of range", NULL);
		return NULL;
	}
	if (!negative || strcmp(item->text, "-0") == 0)
		memmove(item->text, item->text + 1, to-- - item->text);
	item->length = to - item->text;
	return item;
}

/* So many digits and nothing else, or -1. */
static int
digits_at(const char *text, int count)
{
	int			number = 0;

	for (int i = 0; i < count; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return -1;
		number = number * 10 + (text[i] - '0');
	}
	return number;
}

/* YYYY-MM-DD, perhaps with Thh:mm[:ss[.ffffff]] */
static bool
has_date_shape(const char *text, int length)
{
	if (length < 10 || digits_at(text, 4) < 0 || text[4] != '-' || digits_at(text + 5, 2) < 0 ||
		text[7] != '-' || digits_at(text + 8, 2) < 0)
		return false;
	if (length == 10)
		return true;
	if (length < 16 || (text[10] != 'T' && text[10] != 't') || digits_at(text + 11, 2) < 0 ||
		text[13] != ':' || digits_at(text + 14, 2) < 0)
		return false;
	if (length == 16)
		return true;
	if (length < 19 || text[16] != ':' || digits_at(text + 17, 2) < 0)
		return false;
	if (length == 19)
		return true;
	return length > 20 && text[19] == '.' && strspn(text + 20, "0123456789") >= length - 20;
}

/* A text of that shape that is a day of the calendar. */
ConditionItem *
segment_condition_date(ConditionReader *reader, const char *text, int length, int32 at)
{
	ConditionItem *item = segment_condition_item(CONDITION_DATE, at);
	int			year = digits_at(text, 4);
	int			month = digits_at(text + 5, 2);
	int			day = digits_at(text + 8, 2);

	if (year < 1 || month < 1 || month > 12 || day < 1 || day > day_tab[isleap(year)][month - 1])
	{
		segment_condition_fault(reader, ERRCODE_DATETIME_FIELD_OVERFLOW, at, length, "there is no such date",
								"A date is written year-month-day: 2026-01-31.");
		return NULL;
	}
	item->number = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;
	if (length > 10)
	{
		int			hour = digits_at(text + 11, 2);
		int			minute = digits_at(text + 14, 2);
		int			second = length > 16 ? digits_at(text + 17, 2) : 0;
		int			fraction = 0;

		for (int i = 0; i < 6; i++)
			fraction = fraction * 10 + (20 + i < length ? text[20 + i] - '0' : 0);
		if (hour > 23 || minute > 59 || second > 59 ||
			(length > 26 && strspn(text + 26, "0") < length - 26))
		{
			segment_condition_fault(reader, ERRCODE_DATETIME_FIELD_OVERFLOW, at, length, "there is no such time",
									"A time goes from 00:00:00 to 23:59:59.999999.");
			return NULL;
		}
		item->kind = CONDITION_DATETIME;
		item->number = item->number * USECS_PER_DAY + ((hour * 60 + minute) * 60 + second) * USECS_PER_SEC + fraction;
	}
	return item;
}

static bool
has_offset_shape(const char *text, int length)
{
	if (length < 3 || (text[0] != '+' && text[0] != '-'))
		return false;
	return strspn(text + 1, "0123456789") == length - 2 && strchr("DdWwMmYy", text[length - 1]) != NULL;
}

/* -30d */
ConditionItem *
segment_condition_offset(ConditionReader *reader, const char *text, int length, int32 at)
{
	ConditionItem *item = segment_condition_item(CONDITION_OFFSET, at);
	char		letter = pg_ascii_tolower((unsigned char) text[length - 1]);

	while (units[item->detail].letter != letter)
		item->detail++;
	for (int i = 1; i < length - 1 && item->number <= units[item->detail].max; i++)
		item->number = item->number * 10 + (text[i] - '0');
	if (item->number > units[item->detail].max)
	{
		segment_condition_fault(reader, ERRCODE_DATETIME_FIELD_OVERFLOW, at, length, "offset is out of range",
								"An offset reaches at most a thousand years.");
		return NULL;
	}
	if (text[0] == '-')
		item->number = -item->number;
	return item;
}

/* this_month, last_half_year, next_week */
bool
segment_condition_period_name(const char *name, ConditionUnit *unit, int *number)
{
	if (strncmp(name, "this_", 5) == 0)
		*number = 0;
	else if (strncmp(name, "last_", 5) == 0)
		*number = -1;
	else if (strncmp(name, "next_", 5) == 0)
		*number = 1;
	else
		return false;
	for (int i = 0; i < lengthof(units); i++)
	{
		if (units[i].period && strcmp(name + 5, units[i].period) == 0)
		{
			*unit = i;
			return true;
		}
	}
	return false;
}

/* A name as above, or month(-2) where count is given. */
ConditionItem *
segment_condition_period(ConditionReader *reader, ConditionItem *name, ConditionItem *count)
{
	ConditionItem *item = segment_condition_item(CONDITION_PERIOD, name->at);
	ConditionUnit unit = lengthof(units);
	int			number = 0;

	if (count == NULL)
		segment_condition_period_name(name->text, &unit, &number);
	else
	{
		for (unit = 0; unit < lengthof(units); unit++)
		{
			if (units[unit].period && strcmp(name->text, units[unit].period) == 0)
				break;
		}
		if (unit < lengthof(units))
		{
			number = count->length > 6 ? PG_INT32_MAX : atoi(count->text);
			if (strchr(count->text, '.') != NULL || number < -units[unit].max || number > units[unit].max)
			{
				segment_condition_fault(reader, ERRCODE_DATETIME_FIELD_OVERFLOW, count->at, 0,
										"not a number of periods",
										"Whole numbers are counted from the current period: month(-2) is the month before last.");
				return NULL;
			}
		}
	}
	if (unit == lengthof(units))
	{
		segment_condition_fault(reader, ERRCODE_SYNTAX_ERROR, name->at, name->length, "unknown period",
								"Use this_, last_ or next_ with week, month, quarter, half_year, year or period; or month(-2).");
		return NULL;
	}
	item->detail = unit;
	item->number = number;
	return item;
}

static bool
day_word(const char *text, int length, int *number)
{
	static const char *const words[] = {"yesterday", "today", "tomorrow"};

	for (int i = 0; i < lengthof(words); i++)
	{
		if (length == strlen(words[i]) && memcmp(text, words[i], length) == 0)
		{
			*number = i - 1;
			return true;
		}
	}
	return false;
}

/* Would a string of a rule tree be taken for a date, an offset or a day? */
bool
segment_condition_spelled_as_word(const char *text, int length)
{
	int			number;

	return has_date_shape(text, length) || has_offset_shape(text, length) || day_word(text, length, &number);
}

bool
segment_condition_spelled_as_number(const char *text, int length)
{
	int			i = text[0] == '-';
	int			digits = strspn(text + i, "0123456789");

	if (digits == 0 || (digits > 1 && text[i] == '0'))
		return false;
	i += digits;
	if (i < length && text[i] == '.')
	{
		digits = strspn(text + i + 1, "0123456789");
		if (digits == 0)
			return false;
		i += digits + 1;
	}
	return i == length;
}

/* A string of a rule tree: a date, an offset, a day if it is spelled so, else text. */
ConditionItem *
segment_condition_word(ConditionReader *reader, const char *text, int length)
{
	ConditionItem *item;
	int			number;

	if (has_date_shape(text, length))
		return segment_condition_date(reader, text, length, 0);
	if (has_offset_shape(text, length))
		return segment_condition_offset(reader, text, length, 0);
	if (!day_word(text, length, &number))
		return segment_condition_string(text, length, 0);
	item = segment_condition_item(CONDITION_DAY, 0);
	item->number = number;
	return item;
}

/*
 * The value
 */

static void
append_word(StringInfo out, int32 word)
{
	appendBinaryStringInfo(out, (const char *) &word, sizeof(word));
}

static bool
has_text(int kind)
{
	return kind == CONDITION_FIGURE || kind == CONDITION_NUMBER || kind == CONDITION_TEXT;
}

static void
append_payload(StringInfo out, const ConditionItem *item)
{
	if (has_text(item->kind))
	{
		static const char nuls[sizeof(int32)] = {0};

		append_word(out, item->length);
		appendBinaryStringInfo(out, item->text, item->length);
		appendBinaryStringInfo(out, nuls, sizeof(int32) - item->length % sizeof(int32));
	}
	else if (item->kind > CONDITION_FIGURE)
		appendBinaryStringInfo(out, (const char *) &item->number, sizeof(item->number));
}

/* The only recursion over a tree that is being read. */
static void
append_item(StringInfo out, const ConditionItem *item)
{
	int			children = out->len + 2 * sizeof(int32);
	int			i = 0;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	append_word(out, item->kind | item->detail << 8 | item->negated << 16);
	append_word(out, item->nchildren);
	enlargeStringInfo(out, item->nchildren * sizeof(int32));
	memset(out->data + out->len, 0, item->nchildren * sizeof(int32));
	out->len += item->nchildren * sizeof(int32);
	append_payload(out, item);
	for (const ConditionItem *child = item->first; child; child = child->next)
	{
		int32		at = out->len - offsetof(Condition, data);

		memcpy(out->data + children + i++ * sizeof(int32), &at, sizeof(at));
		append_item(out, child);
	}
}

/* The value of what was read, or NULL after a soft error. */
Condition *
segment_condition_flatten(ConditionReader *reader, ConditionItem *root)
{
	StringInfoData out;
	Condition  *condition;

	initStringInfo(&out);
	append_word(&out, 0);
	append_word(&out, CONDITION_LAYOUT_VERSION);
	append_item(&out, root);
	condition = (Condition *) out.data;
	SET_VARSIZE(condition, out.len);

	/*
	 * What is stored must be readable again.  The canonical text is at most
	 * twice as long as the value, so most need not be printed to know.
	 */
	if (out.len > CONDITION_MAX_LENGTH / 2 && strlen(segment_condition_text(condition)) > CONDITION_MAX_LENGTH)
	{
		segment_condition_fault(reader, ERRCODE_PROGRAM_LIMIT_EXCEEDED, 0, 0, "condition is too long",
								"A condition is at most 8 MB of text.");
		return NULL;
	}
	return condition;
}

static Condition *
read_condition(const char *text, int length, struct Node *escontext)
{
	ConditionReader reader = {0};

	reader.escontext = escontext;
	segment_condition_parse(&reader, text, length);
	if (reader.result == NULL)
		return NULL;
	return segment_condition_flatten(&reader, reader.result);
}

/*
 * Cursor
 */

static void
open_node(const Condition *condition, int32 offset, ConditionNode *node)
{
	const int32 *words = (const int32 *) (condition->data + offset);

	node->condition = condition;
	node->offset = offset;
	node->kind = words[0] & 0xff;
	node->detail = (words[0] >> 8) & 0xff;
	node->negated = (words[0] >> 16) & 1;
	node->nchildren = words[1];
	node->children = words + 2;
	words += 2 + node->nchildren;
	node->length = 0;
	node->text = NULL;
	node->number = 0;
	if (has_text(node->kind))
	{
		node->length = words[0];
		node->text = (const char *) (words + 1);
	}
	else if (node->kind > CONDITION_FIGURE)
		memcpy(&node->number, words, sizeof(node->number));
}

void
segment_condition_root(const Condition *condition, ConditionNode *node)
{
	if (condition->header != CONDITION_LAYOUT_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("condition has unknown layout %u", condition->header),
				 errhint("It was stored by a newer version of the extension.")));
	open_node(condition, 0, node);
}

void
segment_condition_child(const ConditionNode *node, int n, ConditionNode *child)
{
	Assert(n >= 0 && n < node->nchildren);
	open_node(node->condition, node->children[n], child);
}

/*
 * Printing
 */

typedef struct Printer
{
	StringInfoData out;
	int32		mark;			/* offset of a node whose place is asked for */
	int			mark_at;		/* where it begins in the text */
	int			nrenamed;		/* groups that have another code now */
	const char *const *from;
	const char *const *to;
	bool		of_groups;		/* inside a clause over groups */
} Printer;

static void print_clause(Printer *printer, const ConditionNode *clause);

static void
start_printing(Printer *printer, int32 mark)
{
	initStringInfo(&printer->out);
	printer->mark = mark;
	printer->mark_at = 0;
	printer->nrenamed = 0;
	printer->of_groups = false;
}

static void
note_mark(Printer *printer, int32 offset)
{
	if (offset == printer->mark)
		printer->mark_at = printer->out.len;
}

static void
print_text(Printer *printer, const char *text)
{
	appendStringInfoChar(&printer->out, '\'');
	for (; *text; text++)
	{
		if (*text == '\'' || *text == '\\')
			appendStringInfoChar(&printer->out, *text);
		appendStringInfoChar(&printer->out, *text);
	}
	appendStringInfoChar(&printer->out, '\'');
}

/* The code that a group has now. */
static const char *
renamed_code(const Printer *printer, const char *code)
{
	for (int i = 0; printer->of_groups && i < printer->nrenamed; i++)
	{
		if (strcmp(printer->from[i], code) == 0)
			return printer->to[i];
	}
	return code;
}

/* Bytes of the letter that the text begins with, 0 if it is none: as in condition_scan.l. */
static int
letter_length(const unsigned char *c)
{
	if (c[0] < 0x80)
		return c[0] >= 'a' && c[0] <= 'z';
	if (c[0] == 0xc2)
		return c[1] == 0xaa || c[1] == 0xb5 || c[1] == 0xba ? 2 : 0;
	if (c[0] <= 0xdf)
		return 2;
	if (c[0] == 0xe2)
		return c[1] >= 0xb0 ? 3 : 0;
	if (c[0] == 0xe3)
		return c[1] >= 0x81 ? 3 : 0;
	if (c[0] <= 0xee)
		return 3;
	return c[0] == 0xef ? 0 : 4;
}

/* Can a name be written without quotes? */
static bool
is_plain_name(const char *name)
{
	const unsigned char *c = (const unsigned char *) name;
	bool		begins = true;

	for (int i = 0; i < lengthof(reserved); i++)
	{
		if (strcmp(name, reserved[i]) == 0)
			return false;
	}
	for (; *c; begins = *c == '.', c++)
	{
		int			letter = letter_length(c);

		if (letter > 0)
			c += letter - 1;
		else if (begins || !(*c == '_' || *c == '.' || (*c >= '0' && *c <= '9')))
			return false;
	}
	return !begins;
}

static void
print_figure(Printer *printer, const ConditionNode *figure)
{
	if (figure->detail == CONDITION_UNACCENTED)
		appendStringInfoString(&printer->out, "unaccented(");
	else if (figure->detail == CONDITION_ANNIVERSARY)
		appendStringInfoString(&printer->out, "anniversary(");
	note_mark(printer, figure->offset);
	if (is_plain_name(figure->text))
		appendBinaryStringInfo(&printer->out, figure->text, figure->length);
	else
		print_text(printer, figure->text);
	for (int i = 0; i < figure->nchildren; i++)
	{
		ConditionNode param;

		appendStringInfoString(&printer->out, i == 0 ? "(" : ", ");
		segment_condition_child(figure, i, &param);
		print_clause(printer, &param);
	}
	if (figure->nchildren > 0)
		appendStringInfoChar(&printer->out, ')');
	if (figure->detail != CONDITION_PLAIN)
		appendStringInfoChar(&printer->out, ')');
}

static void
print_date(Printer *printer, int days)
{
	int			year,
				month,
				day;

	j2date(days + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	appendStringInfo(&printer->out, "%04d-%02d-%02d", year, month, day);
}

static void
print_datetime(Printer *printer, int64 instant)
{
	int64		days = instant / USECS_PER_DAY;
	int64		time = instant % USECS_PER_DAY;
	int			seconds,
				fraction;

	if (time < 0)
	{
		days--;
		time += USECS_PER_DAY;
	}
	seconds = time / USECS_PER_SEC;
	fraction = time % USECS_PER_SEC;
	print_date(printer, days);
	appendStringInfo(&printer->out, "T%02d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
	if (fraction > 0)
	{
		appendStringInfo(&printer->out, ".%06d", fraction);
		while (printer->out.data[printer->out.len - 1] == '0')
			printer->out.data[--printer->out.len] = '\0';
	}
}

static void
print_period(Printer *printer, const ConditionNode *period)
{
	static const char *const near[] = {"last", "this", "next"};
	const char *unit = units[period->detail].period;

	if (period->number >= -1 && period->number <= 1)
		appendStringInfo(&printer->out, "%s_%s", near[period->number + 1], unit);
	else
		appendStringInfo(&printer->out, "%s(%d)", unit, (int) period->number);
}

static void
print_value(Printer *printer, const ConditionNode *value)
{
	static const char *const days[] = {"yesterday", "today", "tomorrow"};

	note_mark(printer, value->offset);
	switch ((ConditionKind) value->kind)
	{
		case CONDITION_NUMBER:
			appendBinaryStringInfo(&printer->out, value->text, value->length);
			break;
		case CONDITION_TEXT:
			print_text(printer, renamed_code(printer, value->text));
			break;
		case CONDITION_BOOLEAN:
			appendStringInfoString(&printer->out, value->number ? "TRUE" : "FALSE");
			break;
		case CONDITION_DATE:
			print_date(printer, value->number);
			break;
		case CONDITION_DATETIME:
			print_datetime(printer, value->number);
			break;
		case CONDITION_OFFSET:
			appendStringInfo(&printer->out, "%+d%c", (int) value->number, units[value->detail].letter);
			break;
		case CONDITION_DAY:
			appendStringInfoString(&printer->out, days[value->number + 1]);
			break;
		case CONDITION_PERIOD:
			print_period(printer, value);
			break;
		default:
			elog(ERROR, "unexpected kind %d of value in condition", value->kind);
	}
}

/* value, value, ... from the second child on */
static void
print_values(Printer *printer, const ConditionNode *clause)
{
	for (int i = 1; i < clause->nchildren; i++)
	{
		ConditionNode value;

		CHECK_FOR_INTERRUPTS();
		if (i > 1)
			appendStringInfoString(&printer->out, ", ");
		segment_condition_child(clause, i, &value);
		if (clause->kind == CONDITION_MATCHES)
			print_clause(printer, &value);
		else
			print_value(printer, &value);
	}
}

/* value, figure, number * figure */
static void
print_operand(Printer *printer, const ConditionNode *clause)
{
	ConditionNode operand;
	ConditionNode factor;

	segment_condition_child(clause, 1, &operand);
	if (operand.kind != CONDITION_FIGURE)
	{
		print_value(printer, &operand);
		return;
	}
	if (clause->nchildren > 2)
	{
		segment_condition_child(clause, 2, &factor);
		print_value(printer, &factor);
		appendStringInfoString(&printer->out, " * ");
	}
	else if (!is_plain_name(operand.text))
		appendStringInfoString(&printer->out, "1 * "); /* or it would be a text */
	print_figure(printer, &operand);
}

static const char *
operator_text(const ConditionNode *clause)
{
	switch ((ConditionKind) clause->kind)
	{
		case CONDITION_COMPARE:
			return operators[clause->detail];
		case CONDITION_BETWEEN:
			return "BETWEEN";
		case CONDITION_IN:
			return "IN";
		case CONDITION_DURING:
			return "DURING";
		case CONDITION_CONTAINS:
			return "CONTAINS";
		case CONDITION_STARTS_WITH:
			return "STARTS WITH";
		case CONDITION_ENDS_WITH:
			return "ENDS WITH";
		case CONDITION_HAS_WORD:
			return "HAS WORD";
		case CONDITION_MATCHES:
			return "MATCHES";
		default:
			elog(ERROR, "unexpected kind %d of clause in condition", clause->kind);
	}
	return NULL;
}

static void
print_clause(Printer *printer, const ConditionNode *clause)
{
	ConditionNode node;

	note_mark(printer, clause->offset);
	segment_condition_child(clause, 0, &node);
	print_figure(printer, &node);
	if (clause->kind == CONDITION_IS_NULL)
	{
		appendStringInfoString(&printer->out, clause->negated ? " IS NOT NULL" : " IS NULL");
		return;
	}
	appendStringInfo(&printer->out, " %s%s ", clause->negated ? "NOT " : "", operator_text(clause));
	switch ((ConditionKind) clause->kind)
	{
		case CONDITION_COMPARE:
			print_operand(printer, clause);
			break;
		case CONDITION_BETWEEN:
			segment_condition_child(clause, 1, &node);
			print_value(printer, &node);
			appendStringInfoString(&printer->out, " AND ");
			segment_condition_child(clause, 2, &node);
			print_value(printer, &node);
			break;
		default:
			if (clause->kind >= CONDITION_CONTAINS && clause->kind <= CONDITION_HAS_WORD && clause->detail != CONDITION_ONE)
				appendStringInfoString(&printer->out, clause->detail == CONDITION_ANY ? "ANY " : "ALL ");
			if (clause->kind == CONDITION_IN || clause->kind == CONDITION_MATCHES ||
				(clause->kind != CONDITION_DURING && clause->detail != CONDITION_ONE))
			{
				appendStringInfoChar(&printer->out, '(');
				print_values(printer, clause);
				appendStringInfoChar(&printer->out, ')');
			}
			else
				print_values(printer, clause);
			break;
	}
}

/* Apart from print_node(), whose frame is to stay small. */
static pg_noinline void
print_leaf(Printer *printer, const Condition *condition, int32 offset)
{
	ConditionNode node;

	open_node(condition, offset, &node);
	if (node.kind == CONDITION_TRUE || node.kind == CONDITION_FALSE)
	{
		note_mark(printer, offset);
		appendStringInfoString(&printer->out, node.kind == CONDITION_TRUE ? "TRUE" : "FALSE");
	}
	else if (node.kind < CONDITION_FIGURE)
	{
		ConditionNode figure;

		segment_condition_child(&node, 0, &figure);
		printer->of_groups = strcmp(figure.text, "groups") == 0;
		print_clause(printer, &node);
	}
	else if (node.kind == CONDITION_FIGURE)
		print_figure(printer, &node);
	else
		print_value(printer, &node);
}

/* The only recursion over a value; parentheses where the parent binds tighter. */
static void
print_node(Printer *printer, const Condition *condition, int32 offset, int parent)
{
	const int32 *words = (const int32 *) (condition->data + offset);
	int			kind = words[0] & 0xff;
	bool		parentheses = kind < parent && kind <= CONDITION_AND;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (parentheses)
		appendStringInfoChar(&printer->out, '(');
	switch (kind)
	{
		case CONDITION_OR:
		case CONDITION_AND:
			note_mark(printer, offset);
			for (int i = 0; i < words[1]; i++)
			{
				if (i > 0)
					appendStringInfoString(&printer->out, kind == CONDITION_OR ? " OR " : " AND ");
				print_node(printer, condition, words[2 + i], kind);
			}
			break;
		case CONDITION_NOT:
			note_mark(printer, offset);
			appendStringInfoString(&printer->out, "NOT ");
			print_node(printer, condition, words[2], kind);
			break;
		default:
			print_leaf(printer, condition, offset);
			break;
	}
	if (parentheses)
		appendStringInfoChar(&printer->out, ')');
}

/* The canonical text. */
char *
segment_condition_text(const Condition *condition)
{
	ConditionNode root;

	segment_condition_root(condition, &root);
	return segment_condition_node_text(&root);
}

/* The canonical text of one node, to be quoted in a message. */
char *
segment_condition_node_text(const ConditionNode *node)
{
	Printer		printer;

	start_printing(&printer, -1);
	print_node(&printer, node->condition, node->offset, CONDITION_OR);
	return printer.out.data;
}

/*
 * The condition in which groups go by other codes, all at once: two may have
 * exchanged theirs.  The condition itself where it names none of them.
 */
const Condition *
segment_condition_rename_groups(const Condition *condition, const char *const *from, const char *const *to, int n)
{
	Printer		printer;

	start_printing(&printer, -1);
	printer.nrenamed = n;
	printer.from = from;
	printer.to = to;
	print_node(&printer, condition, 0, CONDITION_OR);
	if (strcmp(printer.out.data, segment_condition_text(condition)) == 0)
		return condition;
	return read_condition(printer.out.data, printer.out.len, NULL);
}

/* The character, counted from 1, at which a node begins in the canonical text. */
int
segment_condition_node_position(const ConditionNode *node)
{
	Printer		printer;

	start_printing(&printer, node->offset);
	print_node(&printer, node->condition, 0, CONDITION_OR);
	return pg_mbstrlen_with_len(printer.out.data, printer.mark_at) + 1;
}

/*
 * Input and output
 */

Datum
segment_condition_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	Condition  *condition = read_condition(text, strlen(text), (struct Node *) fcinfo->context);

	if (condition == NULL)
		PG_RETURN_NULL();
	PG_RETURN_CONDITION_P(condition);
}

Datum
segment_condition_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(segment_condition_text(PG_GETARG_CONDITION_P(0)));
}

/* A version byte and the text: the layout may change, the language stays. */
Datum
segment_condition_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int			version = pq_getmsgint(message, 1);
	char	   *text;
	int			length;

	if (version != CONDITION_WIRE_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("unsupported version %d of type segment.condition", version)));
	text = pq_getmsgtext(message, message->len - message->cursor, &length);
	PG_RETURN_CONDITION_P(read_condition(text, length, NULL));
}

Datum
segment_condition_send(PG_FUNCTION_ARGS)
{
	char	   *text = segment_condition_text(PG_GETARG_CONDITION_P(0));
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendint8(&message, CONDITION_WIRE_VERSION);
	pq_sendtext(&message, text, strlen(text));
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

/*
 * Comparing
 */

static bool
same(const Condition *left, const Condition *right)
{
	return VARSIZE(left) == VARSIZE(right) && memcmp(left, right, VARSIZE(left)) == 0;
}

/* Any order will do for an index; that of the texts is also fit to be read. */
static int
compare(FunctionCallInfo fcinfo)
{
	Condition  *left = PG_GETARG_CONDITION_P(0);
	Condition  *right = PG_GETARG_CONDITION_P(1);
	int			result = 0;

	if (!same(left, right))
	{
		char	   *left_text = segment_condition_text(left);
		char	   *right_text = segment_condition_text(right);

		result = strcmp(left_text, right_text);
		pfree(left_text);
		pfree(right_text);
	}
	PG_FREE_IF_COPY(left, 0);
	PG_FREE_IF_COPY(right, 1);
	return result < 0 ? -1 : result > 0;
}

Datum
segment_condition_eq(PG_FUNCTION_ARGS)
{
	Condition  *left = PG_GETARG_CONDITION_P(0);
	Condition  *right = PG_GETARG_CONDITION_P(1);
	bool		result = same(left, right);

	PG_FREE_IF_COPY(left, 0);
	PG_FREE_IF_COPY(right, 1);
	PG_RETURN_BOOL(result);
}

Datum
segment_condition_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(!DatumGetBool(segment_condition_eq(fcinfo)));
}

Datum
segment_condition_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) < 0);
}

Datum
segment_condition_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) <= 0);
}

Datum
segment_condition_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) > 0);
}

Datum
segment_condition_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare(fcinfo) >= 0);
}

Datum
segment_condition_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(compare(fcinfo));
}

Datum
segment_condition_hash(PG_FUNCTION_ARGS)
{
	Condition  *condition = PG_GETARG_CONDITION_P(0);
	Datum		result = hash_any((unsigned char *) condition, VARSIZE(condition));

	PG_FREE_IF_COPY(condition, 0);
	PG_RETURN_DATUM(result);
}

Datum
segment_condition_hash_extended(PG_FUNCTION_ARGS)
{
	Condition  *condition = PG_GETARG_CONDITION_P(0);
	Datum		result = hash_any_extended((unsigned char *) condition, VARSIZE(condition), PG_GETARG_INT64(1));

	PG_FREE_IF_COPY(condition, 0);
	PG_RETURN_DATUM(result);
}

/*
 * Composing: by the text, which is how the language says it.
 */

static Condition *
combine_array(ArrayType *array, const char *function, const char *conjunction)
{
	StringInfoData text;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of no condition", function),
				 errhint("Give at least one; the condition TRUE is for everybody, FALSE for nobody.")));
	initStringInfo(&text);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("condition %d of %s is NULL", i + 1, function),
					 errhint("Leave it out, or write TRUE or FALSE.")));
		appendStringInfo(&text, "%s(%s)", i > 0 ? conjunction : "",
						 segment_condition_text(DatumGetConditionP(elements[i])));
	}
	return read_condition(text.data, text.len, NULL);
}

/* segment.all_of() */
Datum
segment_condition_all_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_CONDITION_P(combine_array(PG_GETARG_ARRAYTYPE_P(0), "all_of()", " AND "));
}

/* segment.any_of() */
Datum
segment_condition_any_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_CONDITION_P(combine_array(PG_GETARG_ARRAYTYPE_P(0), "any_of()", " OR "));
}

/* segment.negate() */
Datum
segment_condition_negate(PG_FUNCTION_ARGS)
{
	char	   *text = psprintf("NOT (%s)", segment_condition_text(PG_GETARG_CONDITION_P(0)));

	PG_RETURN_CONDITION_P(read_condition(text, strlen(text), NULL));
}
