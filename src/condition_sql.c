/*
 * condition_sql.c
 *		A condition in plain SQL over the merchant's own tables.
 *
 * The statement written here defines what the condition means:
 *
 *		SELECT c.key
 *		FROM (mapping of the customers) c
 *			LEFT JOIN (SELECT e.customer, count(*) AS total FROM (
 *				SELECT o.customer, ... FROM (mapping of orders) o WHERE o.counts AND ...
 *				UNION ALL ...) e GROUP BY e.customer) f0 ON f0.customer = c.key
 *		WHERE c.counts AND <the clauses>
 *
 * with one join for each figure that adds up events.  It reads no view, no
 * setting and no clock: zone, day and phone rules are written out as constants,
 * and bounds of dates as instants, so that indexes on the merchant's columns
 * serve.  Clauses are two-valued: where a missing value would make a clause
 * NULL and that is not the same as false, IS TRUE is written.
 */
#include "segment.h"

#include "condition_change.h"
#include "condition_sql.h"
#include "miscadmin.h"
#include "text_fold.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"

typedef struct SqlWriter
{
	SourceSet  *set;
	const Bound *bound;
	const Shop *shop;
	bool		raw;			/* texts as they are stored */
	bool		keyed;			/* of the customers in $1 only */
	const int  *named;			/* by group: how often conditions name it */
} SqlWriter;

/*
 * Constants.
 */

static char *
sql_text(const char *value)
{
	return quote_literal_cstr(value);
}

static char *
folded(const char *value, bool unaccented)
{
	return text_to_cstring(unaccented ? segment_unaccent_text(value, (int) strlen(value))
						   : segment_fold_text(value, (int) strlen(value)));
}

static char *
sql_date(DateADT day)
{
	if (day == DATEVAL_NOBEGIN)
		return "date '-infinity'";
	if (day == DATEVAL_NOEND)
		return "date 'infinity'";
	{
		char		buffer[MAXDATELEN + 1];
		struct pg_tm tm = {0};

		j2date(day + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
		EncodeDateOnly(&tm, USE_ISO_DATES, buffer);
		return psprintf("date '%s'", buffer);
	}
}

/* An instant, written in UTC. */
static char *
sql_instant(TimestampTz at)
{
	struct pg_tm tm = {0};
	fsec_t		fsec;
	char		buffer[MAXDATELEN + 1];

	if (at == DT_NOBEGIN)
		return "timestamptz '-infinity'";
	if (at == DT_NOEND || timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		return "timestamptz 'infinity'";
	EncodeDateTime(&tm, fsec, false, 0, NULL, USE_ISO_DATES, buffer);
	return psprintf("timestamptz '%s+00'", buffer);
}

/* The first instant of a day, infinite beyond the calendar. */
static TimestampTz
begin_of(const SqlWriter *writer, DateADT day)
{
	TimestampTz result;

	if (day == DATEVAL_NOBEGIN)
		return DT_NOBEGIN;
	if (day == DATEVAL_NOEND || !segment_day_begins_at(day, writer->shop->zone, &result))
		return day < 0 ? DT_NOBEGIN : DT_NOEND;
	return result;
}

static DateADT
next_day(DateADT day)
{
	return DATE_NOT_FINITE(day) ? day : day + 1;
}

/* The day that a value of a date clause means. */
static DateADT
day_of(const SqlWriter *writer, const BoundValue *value)
{
	DateADT		day;

	switch (value->kind)
	{
		case CONDITION_DATE:
			return (DateADT) value->number;
		case CONDITION_DAY:
			return writer->shop->today + (DateADT) value->number;
		case CONDITION_OFFSET:
			if (segment_offset_day(writer->shop->today, value->offset, &day))
				return day;
			return value->offset.n < 0 ? DATEVAL_NOBEGIN : DATEVAL_NOEND;
		default:
			elog(ERROR, "value of kind %d is no day", value->kind);
	}
	return 0;
}

/* The instant of a datetime, which is written in the shop's time. */
static char *
sql_datetime(const SqlWriter *writer, const BoundValue *value)
{
	return psprintf("(timestamp %s AT TIME ZONE %s)",
					sql_text(DatumGetCString(DirectFunctionCall1(timestamp_out, TimestampGetDatum(value->number)))),
					sql_text(writer->shop->zone_name));
}

/* The shop's day of an instant. */
static char *
local_day(const SqlWriter *writer, const char *expr)
{
	const char *zone = sql_text(writer->shop->zone_name);

	/* in plain SQL wherever it can be said so */
	if (segment_days_come_again(writer->shop->zone))
		return psprintf("segment._day_of(%s, %s)", expr, zone);
	return psprintf("(%s AT TIME ZONE %s)::date", expr, zone);
}

/*
 * Clauses.
 */

/* An expression that may be NULL, made two-valued where NULL and false differ. */
static char *
two_valued(char *sql, bool positive)
{
	return positive ? sql : psprintf("(%s) IS TRUE", sql);
}

static const char *
operator_sql(uint8 detail)
{
	static const char *const operators[] = {
		[CONDITION_EQ] = "=",
		[CONDITION_NE] = "=",		/* negated by whoever writes it */
		[CONDITION_LT] = "<",
		[CONDITION_LE] = "<=",
		[CONDITION_GT] = ">",
		[CONDITION_GE] = ">=",
	};

	return operators[detail];
}

static char *
join_sql(List *parts, const char *separator)
{
	StringInfoData sql;
	ListCell   *cell;

	if (list_length(parts) == 1)
		return linitial(parts);
	initStringInfo(&sql);
	appendStringInfoChar(&sql, '(');
	foreach(cell, parts)
		appendStringInfo(&sql, "%s%s", cell == list_head(parts) ? "" : separator, (char *) lfirst(cell));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* Comparisons with a day: of dates as they are, of instants by the bounds of that day. */
static char *
compare_day(const SqlWriter *writer, const char *expr, bool instant, uint8 detail, const BoundValue *value)
{
	DateADT		day;

	if (value->kind == CONDITION_DATETIME)
		return psprintf("%s %s %s", expr, operator_sql(detail), sql_datetime(writer, value));
	day = day_of(writer, value);
	if (!instant)
		return psprintf("%s %s %s", expr, operator_sql(detail), sql_date(day));
	switch (detail)
	{
		case CONDITION_EQ:
		case CONDITION_NE:
			return psprintf("(%s >= %s AND %s < %s)", expr, sql_instant(begin_of(writer, day)),
							expr, sql_instant(begin_of(writer, next_day(day))));
		case CONDITION_LT:
			return psprintf("%s < %s", expr, sql_instant(begin_of(writer, day)));
		case CONDITION_LE:
			return psprintf("%s < %s", expr, sql_instant(begin_of(writer, next_day(day))));
		case CONDITION_GT:
			return psprintf("%s >= %s", expr, sql_instant(begin_of(writer, next_day(day))));
		default:
			return psprintf("%s >= %s", expr, sql_instant(begin_of(writer, day)));
	}
}

static char *
date_clause(const SqlWriter *writer, const BoundNode *node, const char *expr)
{
	List	   *parts = NIL;
	ListCell   *cell;

	switch (node->kind)
	{
		case CONDITION_BETWEEN:
			return psprintf("(%s AND %s)",
							compare_day(writer, expr, node->instant, CONDITION_GE, linitial(node->values)),
							compare_day(writer, expr, node->instant, CONDITION_LE, lsecond(node->values)));
		case CONDITION_IN:
			foreach(cell, node->values)
				parts = lappend(parts, compare_day(writer, expr, node->instant, CONDITION_EQ, lfirst(cell)));
			return join_sql(parts, " OR ");
		case CONDITION_DURING:
			{
				BoundValue	first = {.kind = CONDITION_DATE};
				BoundValue	last = {.kind = CONDITION_DATE};
				DateADT		from,
							to;

				if (!segment_period_days(writer->shop->today, &node->period, &from, &to))
					return "false";
				first.number = from;
				last.number = to;
				return psprintf("(%s AND %s)",
								compare_day(writer, expr, node->instant, CONDITION_GE, &first),
								compare_day(writer, expr, node->instant, CONDITION_LE, &last));
			}
		default:
			return compare_day(writer, expr, node->instant, node->detail, linitial(node->values));
	}
}

/*
 * The days between which an anniversary must fall.  Dates given with a year are
 * taken to lie in this one, and a last day before the first stands for the next
 * such day: a range goes over the year's end.
 */
static void
anniversary_bounds(const SqlWriter *writer, const BoundNode *node, DateADT *from, DateADT *to)
{
	const BoundValue *first;
	const BoundValue *last;
	int			year,
				month,
				day,
				this_year;

	if (node->kind == CONDITION_DURING)
	{
		if (!segment_period_days(writer->shop->today, &node->period, from, to))
			*from = *to = DATEVAL_NOEND;
		return;
	}
	first = linitial(node->values);
	last = llast(node->values);
	*from = day_of(writer, first);
	*to = day_of(writer, last);
	if (!segment_date_parts(writer->shop->today, &this_year, &month, &day))
		return;
	if (first->kind == CONDITION_DATE && segment_date_parts(*from, &year, &month, &day))
		(void) segment_anniversary_in(month, day, this_year, from);
	if (segment_date_parts(*to, &year, &month, &day))
	{
		if (last->kind == CONDITION_DATE)
			(void) segment_anniversary_in(month, day, this_year, to);
		if (*to < *from)
			(void) segment_next_anniversary(month, day, *from - 1, to);
	}
}

/* The day on which the anniversary of a date falls in a year: 29 February on the 28th in others. */
static char *
anniversary_in_sql(const char *expr, int year)
{
	const char *day = psprintf("extract(day FROM %s)::integer", expr);

	if (!isleap(year))
		day = psprintf("least(%s, CASE WHEN extract(month FROM %s) = 2 THEN 28 ELSE 31 END)", day, expr);
	return psprintf("make_date(%d, extract(month FROM %s)::integer, %s)", year > 0 ? year : year - 1, expr, day);
}

static char *
anniversary_clause(const SqlWriter *writer, const BoundNode *node, const char *expr)
{
	DateADT		from,
				to;
	int			first_year,
				last_year,
				month,
				day;
	List	   *parts = NIL;

	if (node->instant)
		expr = local_day(writer, expr);
	if (node->kind == CONDITION_IN)
	{
		ListCell   *cell;

		foreach(cell, node->values)
		{
			BoundNode	one = *node;

			one.kind = CONDITION_COMPARE;
			one.detail = CONDITION_EQ;
			one.instant = false;
			one.values = list_make1(lfirst(cell));
			parts = lappend(parts, anniversary_clause(writer, &one, expr));
		}
		return join_sql(parts, " OR ");
	}
	anniversary_bounds(writer, node, &from, &to);
	if (!segment_date_parts(from, &first_year, &month, &day) || !segment_date_parts(to, &last_year, &month, &day))
		return psprintf("(%s IS NOT NULL AND false)", expr);
	if (node->kind == CONDITION_COMPARE && node->detail != CONDITION_EQ && node->detail != CONDITION_NE)
		return psprintf("%s %s %s", anniversary_in_sql(expr, first_year), operator_sql(node->detail), sql_date(from));
	if (to - from >= 366)
		return psprintf("%s IS NOT NULL", expr);
	for (int year = first_year; year <= last_year; year++)
		parts = lappend(parts, psprintf("%s BETWEEN %s AND %s", anniversary_in_sql(expr, year), sql_date(from), sql_date(to)));
	if (parts == NIL)
		return psprintf("(%s IS NOT NULL AND false)", expr);
	return join_sql(parts, " OR ");
}

static char *
number_clause(const BoundNode *node, const char *expr)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	switch (node->kind)
	{
		case CONDITION_BETWEEN:
			return psprintf("%s BETWEEN %s AND %s", expr, ((BoundValue *) linitial(node->values))->text,
							((BoundValue *) lsecond(node->values))->text);
		case CONDITION_IN:
			appendStringInfo(&sql, "%s IN (", expr);
			foreach(cell, node->values)
				appendStringInfo(&sql, "%s%s", cell == list_head(node->values) ? "" : ", ", ((BoundValue *) lfirst(cell))->text);
			appendStringInfoChar(&sql, ')');
			return sql.data;
		default:
			return psprintf("%s %s %s", expr, operator_sql(node->detail), ((BoundValue *) linitial(node->values))->text);
	}
}

/* A value as texts are compared with it, written out. */
static char *
text_constant(const SqlWriter *writer, const BoundNode *node, const BoundValue *value)
{
	WordId		id = node->figure ? node->figure->word->id : WORD_CUSTOM;
	int			length = (int) strlen(value->text);

	if (node->field != NULL && strcmp(node->field, "id") == 0)
		return value->text;		/* a product's key is compared as it is */
	if (id == WORD_PHONE)
		return text_to_cstring(node->kind == CONDITION_COMPARE || node->kind == CONDITION_IN
							   ? segment_phone_text(value->text, length, writer->shop->phones)
							   : segment_phone_pattern_text(value->text, length, writer->shop->phones));
	return folded(value->text, node->unaccented);
}

/* What a text clause compares. */
static char *
text_expression(const SqlWriter *writer, const BoundNode *node, const char *expr)
{
	if (node->field != NULL && strcmp(node->field, "id") == 0)
		return pstrdup(expr);
	if (node->figure && node->figure->word->id == WORD_PHONE)
		return psprintf("segment.phone(%s, %s::jsonb)", expr, sql_text(writer->shop->phone_rules));
	if (node->figure && node->figure->word->id == WORD_SEX)
		return pstrdup(expr);
	return psprintf("segment.%s(%s)", node->unaccented ? "unaccent" : "fold", expr);
}

/* The words of a text or pattern, one space about each. */
static char *
spaced_words(const char *value, bool unaccented)
{
	text	   *folded_value = unaccented ? segment_unaccent_text(value, (int) strlen(value))
		: segment_fold_text(value, (int) strlen(value));
	ArrayType  *words = segment_words_of(folded_value);
	Datum	   *elements;
	int			n;
	StringInfoData sql;

	deconstruct_array(words, TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &n);
	initStringInfo(&sql);
	appendStringInfoChar(&sql, ' ');
	for (int i = 0; i < n; i++)
		appendStringInfo(&sql, "%s ", TextDatumGetCString(elements[i]));
	return sql.data;
}

static char *
text_match(const SqlWriter *writer, const BoundNode *node, const char *expr, const BoundValue *value)
{
	char	   *constant;

	if (node->kind == CONDITION_HAS_WORD)
		return psprintf("strpos(' ' || array_to_string(segment.words(%s), ' ') || ' ', %s) > 0",
						node->unaccented ? psprintf("segment.unaccent(%s)", expr) : expr,
						sql_text(spaced_words(value->text, node->unaccented)));
	constant = sql_text(text_constant(writer, node, value));
	expr = text_expression(writer, node, expr);
	switch (node->kind)
	{
		case CONDITION_CONTAINS:
			return psprintf("strpos(%s, %s) > 0", expr, constant);
		case CONDITION_STARTS_WITH:
			return psprintf("starts_with(%s, %s)", expr, constant);
		case CONDITION_ENDS_WITH:
			return psprintf("right(%s, length(%s)) = %s", expr, constant, constant);
		default:
			return psprintf("%s = %s", expr, constant);
	}
}

static char *
text_clause(const SqlWriter *writer, const BoundNode *node, const char *expr)
{
	List	   *parts = NIL;
	ListCell   *cell;

	if (node->kind == CONDITION_IN)
	{
		StringInfoData sql;

		initStringInfo(&sql);
		appendStringInfo(&sql, "%s IN (", text_expression(writer, node, expr));
		foreach(cell, node->values)
			appendStringInfo(&sql, "%s%s", cell == list_head(node->values) ? "" : ", ",
							 sql_text(text_constant(writer, node, lfirst(cell))));
		appendStringInfoChar(&sql, ')');
		return sql.data;
	}
	foreach(cell, node->values)
		parts = lappend(parts, text_match(writer, node, expr, lfirst(cell)));
	return join_sql(parts, " OR ");
}

/* Whether a list has one of some spellings. */
static char *
has_element(const BoundNode *node, const char *expr, List *values)
{
	bool		region = node->figure && node->figure->word->id == WORD_REGION;
	StringInfoData sql;
	ListCell   *cell;
	const char *separator = "";

	initStringInfo(&sql);
	appendStringInfo(&sql, "EXISTS (SELECT FROM unnest(%s) AS x(element) WHERE segment.%s(x.element) IN (",
					 expr, region ? "region" : "fold");
	foreach(cell, values)
	{
		BoundValue *value = lfirst(cell);
		ListCell   *also;

		appendStringInfo(&sql, "%s%s", separator,
						 sql_text(region ? text_to_cstring(segment_region_text(value->text, (int) strlen(value->text)))
								  : folded(value->text, false)));
		separator = ", ";
		foreach(also, value->also)
			appendStringInfo(&sql, ", %s", sql_text(lfirst(also)));
	}
	appendStringInfoString(&sql, "))");
	return sql.data;
}

static char *
list_clause(const BoundNode *node, const char *expr)
{
	List	   *parts = NIL;
	ListCell   *cell;

	if (node->kind != CONDITION_CONTAINS || node->detail != CONDITION_ALL)
		return has_element(node, expr, node->values);
	foreach(cell, node->values)
		parts = lappend(parts, has_element(node, expr, list_make1(lfirst(cell))));
	return join_sql(parts, " AND ");
}

/* Tiers that a comparison by rank takes in. */
static char *
tier_clause(const BoundNode *node, const char *expr)
{
	const BoundLadder *ladder = node->figure->ladder;
	StringInfoData sql;
	const char *separator = "";

	initStringInfo(&sql);
	appendStringInfo(&sql, "%s IN (", expr);
	for (int i = 0; i < ladder->ntiers; i++)
	{
		bool		in = false;
		int			ranks[2] = {0, 0};
		int			n = 0;
		ListCell   *cell;

		foreach(cell, node->values)
		{
			const char *code = ((BoundValue *) lfirst(cell))->text;

			for (int j = 0; j < ladder->ntiers; j++)
			{
				if (strcmp(ladder->tiers[j].code, code) == 0 && n < 2)
					ranks[n++] = ladder->tiers[j].rank;
			}
			in |= strcmp(ladder->tiers[i].code, code) == 0;
		}
		if (node->kind == CONDITION_BETWEEN)
			in = ladder->tiers[i].rank >= ranks[0] && ladder->tiers[i].rank <= ranks[1];
		else if (node->kind == CONDITION_COMPARE)
		{
			switch (node->detail)
			{
				case CONDITION_LT:
					in = ladder->tiers[i].rank < ranks[0];
					break;
				case CONDITION_LE:
					in = ladder->tiers[i].rank <= ranks[0];
					break;
				case CONDITION_GT:
					in = ladder->tiers[i].rank > ranks[0];
					break;
				case CONDITION_GE:
					in = ladder->tiers[i].rank >= ranks[0];
					break;
				default:
					break;
			}
		}
		if (!in)
			continue;
		appendStringInfo(&sql, "%s%s", separator, sql_text(ladder->tiers[i].code));
		separator = ", ";
	}
	if (separator[0] == '\0')
		return psprintf("(%s IS NOT NULL AND false)", expr);
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

/* Whether a value is missing: an empty text or list is. */
static char *
absent_sql(const BoundNode *node, const char *expr)
{
	switch (node->type)
	{
		case VALUE_TEXT:
			return psprintf("COALESCE(segment.fold(%s), '') = ''", expr);
		case VALUE_LIST:
			return psprintf("NOT EXISTS (SELECT FROM unnest(%s) AS x(element) WHERE segment.fold(x.element) <> '')", expr);
		default:
			return psprintf("%s IS NULL", expr);
	}
}

/* The clause as it stands without NOT, over an expression. */
static char *
positive_clause(const SqlWriter *writer, const BoundNode *node, const char *expr)
{
	if (node->anniversary)
		return anniversary_clause(writer, node, expr);
	switch (node->type)
	{
		case VALUE_NUMBER:
			return number_clause(node, expr);
		case VALUE_DATE:
			return date_clause(writer, node, expr);
		case VALUE_BOOLEAN:
			return psprintf("%s = %s", expr, ((BoundValue *) linitial(node->values))->number ? "true" : "false");
		case VALUE_LIST:
			return list_clause(node, expr);
		case VALUE_TIER:
			return tier_clause(node, expr);
		default:
			return text_clause(writer, node, expr);
	}
}

static bool
is_negative(const BoundNode *node)
{
	return node->negated != (node->kind == CONDITION_COMPARE && node->detail == CONDITION_NE);
}

/* Two dates of a customer: instants as such, else as days of the shop. */
static char *
compare_dates(const SqlWriter *writer, const BoundNode *node, const char *expr, const char *other)
{
	if (node->figure->instant && !node->other->instant)
		expr = local_day(writer, expr);
	if (node->other->instant && !node->figure->instant)
		other = local_day(writer, other);
	return psprintf("%s %s %s", expr, operator_sql(node->detail), other);
}

/* A clause over an expression; positive: NULL is as good as false. */
static char *
clause_sql(const SqlWriter *writer, const BoundNode *node, const char *expr, const char *other, bool positive)
{
	char	   *sql;

	if (node->kind == CONDITION_IS_NULL)
	{
		sql = absent_sql(node, expr);
		return node->negated ? psprintf("NOT (%s)", sql) : sql;
	}
	if (other != NULL && node->type == VALUE_DATE)
		sql = compare_dates(writer, node, expr, other);
	else if (other != NULL)
		sql = psprintf("%s %s %s%s", expr, operator_sql(node->detail),
					   node->factor ? psprintf("%s::numeric * ", node->factor) : "", other);
	else
		sql = positive_clause(writer, node, expr);
	if (is_negative(node))
		return psprintf("(%s) IS NOT TRUE", sql);
	return two_valued(sql, positive);
}

/*
 * Whether a clause compares a number or date with values that are given, so
 * that it can be asked of a column which may hold infinities: beside a guard,
 * where an index on the column serves it, and not inside a CASE.
 */
static bool
asks_of_column(const BoundNode *node)
{
	return (node->type == VALUE_NUMBER || node->type == VALUE_DATE) && !node->anniversary &&
		node->other == NULL && node->kind != CONDITION_IS_NULL;
}

/* Whether an infinity could satisfy the clause, or an instant beyond the calendar. */
static bool
needs_guard(const BoundNode *node)
{
	ListCell   *cell;

	if (node->instant || (node->kind == CONDITION_COMPARE && node->detail != CONDITION_EQ && node->detail != CONDITION_NE))
		return true;
	foreach(cell, node->values)
	{
		if (((BoundValue *) lfirst(cell))->kind == CONDITION_OFFSET)
			return true;		/* it may lead out of the calendar */
	}
	return false;
}

/* That a column holds a number or date that counts as one. */
static char *
guard_sql(const BoundNode *node, const char *expr)
{
	if (node->type == VALUE_NUMBER)
		return psprintf("%1$s > '-Infinity' AND %1$s < 'Infinity'", expr);
	if (node->instant)
		return psprintf("%1$s >= timestamptz '0001-01-01 00:00:00+00' AND %1$s < timestamptz '10000-01-01 00:00:00+00'", expr);
	return psprintf("%1$s > date '-infinity' AND %1$s < date 'infinity'", expr);
}

static char *
column_clause(const SqlWriter *writer, const BoundNode *node, const char *expr, bool positive)
{
	char	   *sql = positive_clause(writer, node, expr);

	if (needs_guard(node))
		sql = psprintf("(%s AND %s)", sql, guard_sql(node, expr));
	if (is_negative(node))
		return psprintf("(%s) IS NOT TRUE", sql);
	return two_valued(sql, positive);
}

/*
 * Events.
 */

/* one kind of rows among which events are found: a source, joined to what its rows name */
typedef struct Branch
{
	Source	   *source;			/* alias "e" */
	Source	   *parent;			/* what its rows name, alias "p", or NULL */
	Source	   *order;			/* the order behind that, alias "o", or NULL */
	bool		lines;			/* rows are lines */
	const char *sign;			/* "-" where it is taken off */
} Branch;

static Source *
parent_of(const SqlWriter *writer, const Source *source)
{
	return source->parent >= 0 ? &writer->set->sources[source->parent] : NULL;
}

static char *
column_sql(const char *alias, const char *column)
{
	return psprintf("%s.%s", alias, quote_identifier(column));
}

/* A column of the first of the branch's tables that maps it; NULL where none does. */
static char *
reached_column(const Branch *branch, const char *column, bool *through_order)
{
	*through_order = false;
	if (segment_source_column(branch->source, column))
		return column_sql("e", column);
	if (branch->parent && segment_source_column(branch->parent, column))
	{
		*through_order = branch->source->role == ROLE_RETURNS;
		return column_sql("p", column);
	}
	if (branch->order && segment_source_column(branch->order, column))
	{
		*through_order = true;
		return column_sql("o", column);
	}
	return NULL;
}

/* Lines that name rows of a source. */
static List *
lines_of(const SqlWriter *writer, const Source *source)
{
	List	   *lines = NIL;

	for (int i = 0; i < writer->set->nsources; i++)
	{
		if (segment_is_lines(writer->set->sources[i].role) && parent_of(writer, &writer->set->sources[i]) == source)
			lines = lappend(lines, &writer->set->sources[i]);
	}
	return lines;
}

/* The number of items of a row of orders or returns: its lines' where lines name it. */
static char *
items_sql(const SqlWriter *writer, const Source *source, const char *alias)
{
	List	   *lines = lines_of(writer, source);
	List	   *parts = NIL;
	ListCell   *cell;

	if (lines == NIL)
		return source->fields[FIELD_ITEMS].mapped ? column_sql(alias, "items") : "NULL::numeric";
	foreach(cell, lines)
	{
		Source	   *line = lfirst(cell);

		parts = lappend(parts, psprintf("COALESCE((SELECT sum(x.quantity) FROM %s x WHERE x.counts AND x.%s = %s.key), 0)",
										line->mapping_sql, segment_field_column(line->role, FIELD_PARENT_KEY), alias));
	}
	return join_sql(parts, " + ");
}

/*
 * What a field of an event is for the rows of a branch.  What returns do not
 * carry themselves is reached through their order; without one they stay out.
 */
static char *
field_sql(const SqlWriter *writer, const Branch *branch, Narrowing event, const char *field, bool *through_order)
{
	bool		returns = branch->source->role == ROLE_RETURNS || branch->source->role == ROLE_RETURN_LINES;
	char	   *sql;

	*through_order = false;
	if (strcmp(field, "date") == 0)
		return branch->lines ? "p.at" : "e.at";
	if (strcmp(field, "id") == 0 || strcmp(field, "category") == 0)
		field = strcmp(field, "id") == 0 ? "product" : "category";
	else if (strcmp(field, "amount") == 0)
	{
		if (event == NARROW_SPENT && returns)
		{
			*through_order = true;
			return branch->parent ? "p.amount" : "NULL::numeric";
		}
		return branch->lines ? "p.amount" : "e.amount";
	}
	else if (strcmp(field, "items") == 0)
	{
		*through_order = returns;
		if (returns)
			return branch->parent ? items_sql(writer, branch->parent, "p") : "NULL::numeric";
		return items_sql(writer, branch->source, "e");
	}
	sql = reached_column(branch, field, through_order);
	if (sql == NULL && returns)
		*through_order = true;	/* neither has it: it stays out, as one without an order does */
	return sql;
}

/* NULL of the type that a clause asks for. */
static const char *
null_sql(const BoundNode *node)
{
	switch (node->type)
	{
		case VALUE_NUMBER:
			return "NULL::numeric";
		case VALUE_DATE:
			return node->instant ? "NULL::timestamptz" : "NULL::date";
		case VALUE_BOOLEAN:
			return "NULL::boolean";
		case VALUE_LIST:
			return "NULL::text[]";
		default:
			return "NULL::text";
	}
}

/* A list from a column that holds one text or several. */
static char *
as_list(const char *expr, bool is_array)
{
	return is_array ? pstrdup(expr) : psprintf("ARRAY[%s]", expr);
}

/* A number that is one and finite, or NULL. */
static char *
finite_number(const char *expr)
{
	return psprintf("CASE WHEN %1$s > '-Infinity' AND %1$s < 'Infinity' THEN %1$s END", expr);
}

/* A date that is finite, or NULL. */
static char *
finite_date(const char *expr)
{
	return psprintf("CASE WHEN isfinite(%1$s) THEN %1$s END", expr);
}

/* An instant that is finite and in the calendar, or NULL. */
static char *
finite_instant(const char *expr)
{
	return psprintf("CASE WHEN %1$s >= timestamptz '0001-01-01 00:00:00+00' AND %1$s < timestamptz '10000-01-01 00:00:00+00' THEN %1$s END", expr);
}

/* A column of the merchant's own, whose values nobody has checked. */
static char *
custom_sql(ValueType type, bool instant, const char *expr)
{
	if (type == VALUE_NUMBER)
		return finite_number(expr);
	if (type == VALUE_DATE)
		return instant ? finite_instant(expr) : finite_date(expr);
	return pstrdup(expr);
}

/*
 * Whose a row of a branch is: the customer it names, and where it names none the
 * one of what it names, NULL where there is no such way.
 */
static void
branch_customers(const Branch *branch, const char **own, const char **inherited)
{
	const Source *source = branch->source;

	*inherited = NULL;
	if (branch->order)
	{
		bool		named = branch->parent->fields[FIELD_CUSTOMER].mapped;

		*own = named ? "p.customer" : "o.customer";
		*inherited = named ? "o.customer" : NULL;
	}
	else if (!branch->lines && (source->fields[FIELD_CUSTOMER].mapped || source->fields[FIELD_CUSTOMER].attno))
	{
		*own = "e.customer";
		*inherited = branch->parent ? "p.customer" : NULL;
	}
	else
		*own = "p.customer";
}

static const char *
branch_at(const Branch *branch)
{
	return branch->lines ? "p.at" : "e.at";
}

/* What events are made of, of a branch. */
static void
append_event(StringInfo sql, const SqlWriter *writer, const Branch *branch)
{
	Source	   *source = branch->source;
	const char *own;
	const char *inherited;
	const char *amount;
	const char *items;
	const char *identity;

	branch_customers(branch, &own, &inherited);
	amount = !segment_source_column(source, "amount") ? "NULL::numeric"
		: branch->lines ? finite_number("e.amount") : "e.amount";
	items = branch->lines ? "e.quantity" : source->role == ROLE_ORDERS || source->role == ROLE_RETURNS
		? segment_source_column(source, "items") ? "e.items" : "NULL::numeric"
		: source->role == ROLE_POINTS ? "e.points" : "NULL::numeric";
	identity = branch->lines ? psprintf("'%d/' || p.key::text", branch->parent->id) : "NULL::text";
	appendStringInfo(sql, "%s::%s AS customer, %s AS at, %s%s AS amount, %s AS items, %s AS event",
					 inherited ? psprintf("COALESCE(%s, %s)", own, inherited) : own, writer->set->key_type_name,
					 branch_at(branch), branch->sign, amount, items, identity);
}

/*
 * The rows of a source that others name, one for each key.  Where keys repeat,
 * that takes all rows of a key: "keys", if given, is a query of those that matter.
 */
static char *
named_rows(const SqlWriter *writer, const Source *source, const char *keys)
{
	StringInfoData sql;

	if (!source->key_may_repeat)
		return psprintf("SELECT * FROM %s q", source->mapping_sql);
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT DISTINCT ON (q.key) q.* FROM %s q WHERE q.counts", source->mapping_sql);
	if (keys != NULL)
		appendStringInfo(&sql, " AND q.key IN (%s)", keys);
	appendStringInfo(&sql, " ORDER BY q.key%s",
					 source->fields[FIELD_CUSTOMER].mapped ? psprintf(", q.customer%s", writer->set->key_order) : "");
	return sql.data;
}

/*
 * FROM and WHERE of the rows of a branch that count; with parent_keys and
 * order_keys the keys of what they name, see above.
 */
static void
append_rows(StringInfo sql, const SqlWriter *writer, Narrowing event, const Branch *branch,
			const char *parent_keys, const char *order_keys)
{
	appendStringInfo(sql, " FROM %s e", branch->source->mapping_sql);
	if (branch->parent)
		appendStringInfo(sql, " %s JOIN (%s) p ON p.key = e.%s AND p.counts",
						 branch->lines ? "" : "LEFT", named_rows(writer, branch->parent, parent_keys),
						 segment_field_column(branch->source->role, FIELD_PARENT_KEY));
	if (branch->order)
		appendStringInfo(sql, " LEFT JOIN (%s) o ON o.key = p.order_key AND o.counts",
						 named_rows(writer, branch->order, order_keys));
	appendStringInfoString(sql, " WHERE e.counts");
	if (branch->parent && !branch->lines)
		appendStringInfoString(sql, " AND (e.order_key IS NULL OR p.key IS NOT NULL)");
	if (branch->order)
		appendStringInfoString(sql, " AND (p.order_key IS NULL OR o.key IS NOT NULL)");
	if (event == NARROW_POINTS)
		appendStringInfoString(sql, " AND e.points > 0");
}

/* What a clause is about in the rows of a branch, checked; reached: what must hold besides, or NULL. */
static char *
branch_field(const SqlWriter *writer, const Branch *branch, Narrowing event, const BoundNode *clause,
			 const char **reached)
{
	bool		through_order;
	char	   *expr = field_sql(writer, branch, event, clause->field, &through_order);

	*reached = NULL;
	if (through_order)
		*reached = branch->lines ? branch->order ? "o.key IS NOT NULL" : "false"
			: branch->parent ? "p.key IS NOT NULL" : "false";
	if (expr && strncmp(clause->field, "custom.", 7) == 0)
		expr = custom_sql(clause->type, clause->instant, expr);
	return expr ? expr : pstrdup(null_sql(clause));
}

/* A clause over a field of a branch; over a column of the merchant's own in the form that indexes serve. */
static char *
branch_clause(const SqlWriter *writer, const Branch *branch, Narrowing event, const BoundNode *clause, const char *expr)
{
	bool		ignored;
	char	   *column;

	if (strncmp(clause->field, "custom.", 7) != 0 || !asks_of_column(clause))
		return clause_sql(writer, clause, expr, NULL, true);
	column = field_sql(writer, branch, event, clause->field, &ignored);
	return column ? column_clause(writer, clause, column, true) : clause_sql(writer, clause, expr, NULL, true);
}

/* The rows of a branch for which the clauses hold. */
static void
append_branch(StringInfo sql, const SqlWriter *writer, const BoundFigure *figure, const Branch *branch)
{
	ListCell   *cell;

	appendStringInfoString(sql, "SELECT ");
	append_event(sql, writer, branch);
	append_rows(sql, writer, figure->event, branch, NULL, NULL);
	foreach(cell, figure->narrow)
	{
		BoundNode  *clause = lfirst(cell);
		const char *reached;
		char	   *expr = branch_field(writer, branch, figure->event, clause, &reached);

		if (reached)
			appendStringInfo(sql, " AND %s", reached);
		appendStringInfo(sql, " AND %s", branch_clause(writer, branch, figure->event, clause, expr));
	}
}

/* Whether a clause asks for what only lines have. */
static bool
narrows_by_lines(const SqlWriter *writer, const BoundFigure *figure)
{
	SourceRole	whole = figure->event == NARROW_LINES ? ROLE_ORDERS : ROLE_RETURNS;
	ListCell   *cell;

	if (figure->event != NARROW_LINES && figure->event != NARROW_RETURN_LINES)
		return false;
	foreach(cell, figure->narrow)
	{
		const char *field = ((BoundNode *) lfirst(cell))->field;

		if (strcmp(field, "id") == 0 || strcmp(field, "category") == 0)
			return true;
		if (strncmp(field, "custom.", 7) == 0 && !segment_is_mapped(writer->set, whole, field) &&
			!segment_is_mapped(writer->set, ROLE_ORDERS, field))
			return true;
	}
	return false;
}

/* Whether the rows of a source, or their lines, are the events of a figure. */
static bool
is_branch(const SqlWriter *writer, const BoundFigure *figure, const Source *source)
{
	bool		lines = narrows_by_lines(writer, figure);

	switch (figure->event)
	{
		case NARROW_ORDERS:
			return source->role == ROLE_ORDERS;
		case NARROW_SPENT:
			return source->role == ROLE_ORDERS || source->role == ROLE_RETURNS;
		case NARROW_LINES:
			if (source->role == ROLE_ORDER_LINES)
				return source->parent >= 0;
			/* items of orders without lines, where nothing asks for lines */
			return source->role == ROLE_ORDERS && figure->word->type != VALUE_EVENT && !lines &&
				source->counts_items;
		case NARROW_RETURN_LINES:
			if (source->role == ROLE_RETURN_LINES)
				return source->parent >= 0 && (lines || figure->aggregate == AGGREGATE_QUANTITY);
			if (source->role != ROLE_RETURNS || lines)
				return false;
			return figure->aggregate != AGGREGATE_QUANTITY || source->counts_items;
		case NARROW_OFFERS:
			return source->role == ROLE_OFFERS;
		case NARROW_POINTS:
			return source->role == ROLE_POINTS;
		default:
			return false;
	}
}

/* The branches among which the events of a figure are found. */
static List *
branches_of(const SqlWriter *writer, const BoundFigure *figure)
{
	List	   *branches = NIL;

	for (int i = 0; i < writer->set->nsources; i++)
	{
		Source	   *source = &writer->set->sources[i];
		Branch	   *branch;

		if (!is_branch(writer, figure, source))
			continue;
		branch = palloc0(sizeof(Branch));
		branch->source = source;
		branch->sign = figure->event == NARROW_SPENT && source->role == ROLE_RETURNS ? "-" : "";
		branch->lines = segment_is_lines(source->role);
		branch->parent = parent_of(writer, source);
		if (source->role == ROLE_RETURN_LINES)
			branch->order = parent_of(writer, branch->parent);
		branches = lappend(branches, branch);
	}
	return branches;
}

/* Rows "e" (customer, at, amount, items, event) of all events of a figure. */
static char *
events_sql(const SqlWriter *writer, const BoundFigure *figure)
{
	StringInfoData sql;
	ListCell   *cell;

	initStringInfo(&sql);
	foreach(cell, branches_of(writer, figure))
	{
		appendStringInfoString(&sql, sql.len > 0 ? " UNION ALL " : "");
		append_branch(&sql, writer, figure, lfirst(cell));
	}
	if (sql.len == 0)
		appendStringInfo(&sql, "SELECT NULL::%s AS customer, NULL::timestamptz AS at, NULL::numeric AS amount,"
						 " NULL::numeric AS items, NULL::text AS event WHERE false", writer->set->key_type_name);
	return sql.data;
}

/*
 * Figures.
 */

/* A customer's column, or NULL of its type where it is not mapped. */
static char *
profile_column(const SqlWriter *writer, const char *column, const char *type)
{
	Source	   *customers = segment_customers_source(writer->set);

	return segment_source_column(customers, column) ? column_sql("c", column) : psprintf("NULL::%s", type);
}

static bool
is_profile_array(const SqlWriter *writer, const char *column)
{
	const SourceColumn *mapped = segment_source_column(segment_customers_source(writer->set), column);

	return mapped != NULL && mapped->type == TEXTARRAYOID;
}

static char *
birth_part(const SqlWriter *writer, const char *column, const char *part)
{
	Source	   *customers = segment_customers_source(writer->set);

	if (segment_source_column(customers, column))
		return finite_number(column_sql("c", column));
	return psprintf("extract(%s FROM %s)::numeric", part, finite_date("c.birth_date"));
}

/* The date of which an anniversary is asked, in a leap year where no year is known. */
static char *
birth_date_sql(const SqlWriter *writer)
{
	if (segment_source_column(segment_customers_source(writer->set), "birth_date"))
		return finite_date("c.birth_date");
	return "CASE WHEN c.birth_month IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12) AND c.birth_day >= 1"
		" AND c.birth_day = trunc(c.birth_day)"
		" AND c.birth_day <= (ARRAY[31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[c.birth_month::integer]"
		" THEN make_date(2000, c.birth_month::integer, c.birth_day::integer) END";
}

static char *
age_sql(const SqlWriter *writer)
{
	int			year,
				month,
				day;

	(void) segment_date_parts(writer->shop->today, &year, &month, &day);
	return psprintf("CASE WHEN isfinite(c.birth_date) AND c.birth_date <= %1$s THEN %2$d - extract(year FROM c.birth_date)"
					" - CASE WHEN c.birth_date < date '0001-01-01' THEN 1 ELSE 0 END"
					" - CASE WHEN %3$s > %1$s THEN 1 ELSE 0 END END",
					sql_date(writer->shop->today), year, anniversary_in_sql("c.birth_date", year));
}

static char *
list_sql(const SqlWriter *writer, const char *column)
{
	return as_list(profile_column(writer, column, "text"), is_profile_array(writer, column));
}

/* Tags of the customers' row and of the tables of tags together. */
static char *
tags_sql(const SqlWriter *writer)
{
	StringInfoData sql;
	bool		mapped = segment_source_column(segment_customers_source(writer->set), "tags") != NULL;

	initStringInfo(&sql);
	if (mapped)
		appendStringInfo(&sql, "COALESCE(%s, '{}')", list_sql(writer, "tags"));
	for (int i = 0; i < writer->set->nsources; i++)
	{
		Source	   *source = &writer->set->sources[i];

		if (source->role == ROLE_TAGS)
			appendStringInfo(&sql, "%sARRAY(SELECT t.tag FROM %s t WHERE t.counts AND t.customer = c.key)",
							 sql.len > 0 ? " || " : "", source->mapping_sql);
	}
	return psprintf("(%s)", sql.data);
}

/* The tier that a value reaches. */
static char *
tier_sql(const BoundLadder *ladder, const char *value)
{
	StringInfoData sql;

	if (!ladder->active)
		return "NULL::text";
	initStringInfo(&sql);
	appendStringInfoString(&sql, "CASE");
	for (int i = ladder->ntiers - 1; i >= 0; i--)
	{
		const BoundTier *tier = &ladder->tiers[i];

		if (!tier->active)
			continue;
		if (i == 0 && DatumGetBool(DirectFunctionCall2(numeric_eq,
													   DirectFunctionCall3(numeric_in, CStringGetDatum(tier->min_value),
																		   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)),
													   NumericGetDatum(int64_to_numeric(0)))))
			appendStringInfo(&sql, " WHEN true THEN %s", sql_text(tier->code));
		else
			appendStringInfo(&sql, " WHEN %s >= %s THEN %s", value, tier->min_value, sql_text(tier->code));
	}
	if (strcmp(sql.data, "CASE") == 0)
		return "NULL::text";
	appendStringInfoString(&sql, " END");
	return sql.data;
}

static char *figure_sql(const SqlWriter *writer, const BoundFigure *figure);

/* Months from that of the first order to this one, both counted, at least one. */
static char *
months_sql(const SqlWriter *writer, const char *first)
{
	int			year,
				month,
				day;

	(void) segment_date_parts(writer->shop->today, &year, &month, &day);
	first = local_day(writer, first);
	return psprintf("greatest(%d - (extract(year FROM %s) * 12 + extract(month FROM %s)), 1)", year * 12 + month + 1, first, first);
}

/* The value of a figure, over the row "c" and the join of the figure. */
static char *
figure_sql(const SqlWriter *writer, const BoundFigure *figure)
{
	const char *f = psprintf("f%d", figure->slot);

	switch (figure->word->id)
	{
		case WORD_NAME:
		case WORD_EMAIL:
		case WORD_PHONE:
		case WORD_ADDRESS:
			return profile_column(writer, figure->word->column, "text");
		case WORD_GIVEN_NAME:
			if (segment_source_column(segment_customers_source(writer->set), "given_name"))
				return "c.given_name";
			if (writer->raw)
				return "c.name";
			return psprintf("(SELECT x.word FROM unnest(segment.words(c.name)) WITH ORDINALITY AS x(word, n) ORDER BY x.n%s LIMIT 1)",
							writer->shop->given_name_first ? "" : " DESC");
		case WORD_EMAIL_DOMAIN:
			if (writer->raw)
				return "c.email";
			return "nullif(substring(segment.fold(c.email) FROM '@([^@]*)$'), '')";
		case WORD_SEX:
			if (writer->raw)
				return "c.sex";
			return "CASE WHEN segment.fold(c.sex) IN ('f', 'female', 'nữ', 'nu') THEN 'female'"
				" WHEN segment.fold(c.sex) IN ('m', 'male', 'nam') THEN 'male' END";
		case WORD_BIRTH_DATE:
			return birth_date_sql(writer);
		case WORD_BIRTH_DAY:
			return birth_part(writer, "birth_day", "day");
		case WORD_BIRTH_MONTH:
			return birth_part(writer, "birth_month", "month");
		case WORD_BIRTH_YEAR:
			return birth_part(writer, "birth_year", "year");
		case WORD_AGE:
			return age_sql(writer);
		case WORD_COUNTRY:
		case WORD_REGION:
		case WORD_CITY:
		case WORD_WARD:
			return list_sql(writer, figure->word->column);
		case WORD_TAGS:
			return tags_sql(writer);
		case WORD_GROUPS:
			return "NULL::text[]";	/* clauses over it have SQL of their own; judging fills it in */
		case WORD_MEMBER_SINCE:
		case WORD_ADDED_DATE:
			return finite_instant(column_sql("c", figure->word->column));
		case WORD_CUSTOM:
			if (figure->type == VALUE_LIST)
				return list_sql(writer, figure->column);
			return custom_sql(figure->type, figure->instant, column_sql("c", figure->column));
		case WORD_AVERAGE_ORDER_VALUE:
			return psprintf("(%s.total / nullif(%s.n, 0))", f, f);
		case WORD_FIRST_ORDER_DATE:
			return psprintf("%s.first", f);
		case WORD_LAST_ORDER_DATE:
			return psprintf("%s.last", f);
		case WORD_DAYS_SINCE_LAST_ORDER:
			return psprintf("(%s - %s)", sql_date(writer->shop->today), local_day(writer, psprintf("%s.last", f)));
		case WORD_MONTHLY_AVERAGE:
			if (figure->months > 0)
				return psprintf("(COALESCE(%s.total, 0) / %d)", f, figure->months);
			return psprintf("CASE WHEN %1$s.first IS NULL THEN 0 ELSE %1$s.total / %2$s END", f, months_sql(writer, psprintf("%s.first", f)));
		case WORD_POINTS:
			if (segment_source_column(segment_customers_source(writer->set), "points"))
				return "CASE WHEN c.points > '-Infinity' AND c.points < 'Infinity' THEN c.points ELSE 0 END";
			return psprintf("COALESCE(%s.total, 0)", f);
		case WORD_TIER:
			if (writer->raw)
				return "NULL::text";
			return tier_sql(figure->ladder, figure_sql(writer, figure->base));
		default:
			return psprintf("COALESCE(%s.total, 0)", f);
	}
}

/* The customers' column that a figure is, infinities and all; NULL where it is more than that. */
static char *
plain_column(const SqlWriter *writer, const BoundFigure *figure)
{
	switch (figure->word->id)
	{
		case WORD_BIRTH_DATE:
			return segment_source_column(segment_customers_source(writer->set), "birth_date") ? "c.birth_date" : NULL;
		case WORD_MEMBER_SINCE:
		case WORD_ADDED_DATE:
			return column_sql("c", figure->word->column);
		case WORD_CUSTOM:
			return column_sql("c", figure->column);
		default:
			return NULL;
	}
}

/* Whether a clause fails for 0. */
static bool
fails_for_nothing(const BoundNode *node)
{
	ListCell   *cell;
	int			n = 0;
	int			signs[2] = {0, 0};

	if (node->type != VALUE_NUMBER || node->other || node->kind == CONDITION_IS_NULL || is_negative(node))
		return false;
	foreach(cell, node->values)
	{
		const char *value = ((BoundValue *) lfirst(cell))->text;
		int			sign = value[0] == '-' ? -1 : strspn(value, "0.") < strlen(value);

		if (node->kind == CONDITION_IN && sign == 0)
			return false;
		signs[n++ > 0] = sign;
	}
	if (node->kind == CONDITION_IN)
		return true;
	if (node->kind == CONDITION_BETWEEN)
		return signs[0] > 0 || signs[1] < 0;
	switch (node->detail)
	{
		case CONDITION_EQ:
			return signs[0] != 0;
		case CONDITION_LT:
			return signs[0] <= 0;
		case CONDITION_LE:
			return signs[0] < 0;
		case CONDITION_GT:
			return signs[0] >= 0;
		case CONDITION_GE:
			return signs[0] > 0;
		default:
			return false;
	}
}

/*
 * The value of a figure in a clause.  A sum over nothing is 0; where the clause
 * fails for that, and NULL is as good as false, the sum is left as it is: then
 * the planner sees that it needs nobody without events, and may begin with them.
 */
static char *
compared_figure(const SqlWriter *writer, const BoundNode *node, bool positive)
{
	char	   *sql = figure_sql(writer, node->figure);
	char	   *total = psprintf("f%d.total", node->figure->slot);

	if (positive && fails_for_nothing(node) && strcmp(sql, psprintf("COALESCE(%s, 0)", total)) == 0)
		return total;
	return sql;
}

static char *
figure_clause(const SqlWriter *writer, const BoundNode *node, bool positive)
{
	char	   *column = plain_column(writer, node->figure);

	if (column != NULL && asks_of_column(node))
		return column_clause(writer, node, column, positive);
	return clause_sql(writer, node, compared_figure(writer, node, positive),
					  node->other ? figure_sql(writer, node->other) : NULL, positive);
}

/* The earliest and latest instant of some months, as a clause over "at". */
static char *
at_in_months(const SqlWriter *writer, int first, int last, const char *expr)
{
	Period		period = {.unit = PERIOD_MONTH};
	DateADT		from,
				to,
				ignored;

	period.n = first;
	if (!segment_period_days(writer->shop->today, &period, &from, &ignored))
		from = DATEVAL_NOBEGIN;
	period.n = last;
	if (!segment_period_days(writer->shop->today, &period, &ignored, &to))
		to = DATEVAL_NOEND;
	return psprintf("%s >= %s AND %s < %s", expr, sql_instant(begin_of(writer, from)),
					expr, sql_instant(begin_of(writer, next_day(to))));
}

/* Rows of the ledgers of points, with what points_balance() asks for. */
static char *
points_rows_sql(const SqlWriter *writer, bool *expires)
{
	StringInfoData sql;

	*expires = false;
	initStringInfo(&sql);
	for (int i = 0; i < writer->set->nsources; i++)
	{
		Source	   *source = &writer->set->sources[i];
		const SourceColumn *from = segment_source_column(source, "valid_from");
		const SourceColumn *until = segment_source_column(source, "expires_at");

		if (source->role != ROLE_POINTS)
			continue;
		*expires |= !from->is_null || !until->is_null;
		appendStringInfo(&sql, "%sSELECT e.customer::%s AS customer, e.points, e.at, e.valid_from, e.expires_at"
						 " FROM %s e WHERE e.counts%s", sql.len > 0 ? " UNION ALL " : "", writer->set->key_type_name,
						 source->mapping_sql, writer->keyed ? " AND e.customer = ANY ($1)" : "");
	}
	return sql.data;
}

/* From when until when the points expire that points_expiring() counts. */
static void
expiry_window(const SqlWriter *writer, const BoundFigure *figure, TimestampTz *from, TimestampTz *until)
{
	ListCell   *cell;

	*from = DT_NOBEGIN;
	*until = DT_NOEND;
	foreach(cell, figure->narrow)
	{
		BoundNode  *clause = lfirst(cell);
		DateADT		first = DATEVAL_NOBEGIN;
		DateADT		last = DATEVAL_NOEND;

		if (clause->kind == CONDITION_DURING)
		{
			if (!segment_period_days(writer->shop->today, &clause->period, &first, &last))
				first = DATEVAL_NOEND;
		}
		else
		{
			DateADT		low = day_of(writer, linitial(clause->values));
			DateADT		high = day_of(writer, llast(clause->values));

			if (clause->kind == CONDITION_BETWEEN || clause->detail == CONDITION_EQ ||
				clause->detail == CONDITION_GE)
				first = low;
			if (clause->kind == CONDITION_COMPARE && clause->detail == CONDITION_GT)
				first = next_day(low);
			if (clause->kind == CONDITION_BETWEEN || clause->detail == CONDITION_EQ ||
				clause->detail == CONDITION_LE)
				last = high;
			if (clause->kind == CONDITION_COMPARE && clause->detail == CONDITION_LT)
				last = DATE_NOT_FINITE(high) ? high : high - 1;
		}
		*from = Max(*from, begin_of(writer, first));
		*until = Min(*until, begin_of(writer, next_day(last)));
	}
}

static char *
points_join(const SqlWriter *writer, const BoundFigure *figure)
{
	bool		expires;
	char	   *rows = points_rows_sql(writer, &expires);
	const char *total = "sum(e.points)";

	if (figure->word->id == WORD_POINTS_EXPIRING)
	{
		TimestampTz from,
					until;

		expiry_window(writer, figure, &from, &until);
		total = psprintf("segment.points_expiring(e.points, e.at, e.valid_from, e.expires_at, %s, %s, %s)",
						 sql_instant(writer->shop->at), sql_instant(from), sql_instant(until));
	}
	else if (expires)
		total = psprintf("segment.points_balance(e.points, e.at, e.valid_from, e.expires_at, %s)",
						 sql_instant(writer->shop->at));
	return psprintf("SELECT e.customer, %s AS total FROM (%s) e GROUP BY e.customer", total, rows);
}

/* What is joined for a figure; NULL where its value is in the customer's own row. */
static char *
figure_join(const SqlWriter *writer, const BoundFigure *figure)
{
	BoundFigure spent = *figure;
	const char *total;

	switch (figure->word->id)
	{
		case WORD_POINTS:
			if (segment_source_column(segment_customers_source(writer->set), "points"))
				return NULL;
			return points_join(writer, figure);
		case WORD_POINTS_EXPIRING:
			return points_join(writer, figure);
		case WORD_AMOUNT_SPENT:
			total = "sum(e.amount)";
			break;
		case WORD_AVERAGE_ORDER_VALUE:
			return psprintf("SELECT e.customer, sum(e.amount) AS total, count(*) AS n FROM (%s) e GROUP BY e.customer",
							events_sql(writer, figure));
		case WORD_FIRST_ORDER_DATE:
		case WORD_LAST_ORDER_DATE:
		case WORD_DAYS_SINCE_LAST_ORDER:
			spent.event = NARROW_ORDERS;
			return psprintf("SELECT e.customer, min(e.at) AS first, max(e.at) AS last FROM (%s) e GROUP BY e.customer",
							events_sql(writer, &spent));
		case WORD_MONTHLY_TOTAL:
			spent.event = NARROW_SPENT;
			return psprintf("SELECT e.customer, sum(e.amount) AS total FROM (%s) e WHERE %s GROUP BY e.customer",
							events_sql(writer, &spent), at_in_months(writer, 0, 0, "e.at"));
		case WORD_MONTHLY_AVERAGE:
			spent.event = NARROW_SPENT;
			if (figure->months > 0)
				return psprintf("SELECT e.customer, sum(e.amount) AS total FROM (%s) e WHERE %s GROUP BY e.customer",
								events_sql(writer, &spent), at_in_months(writer, -figure->months, -1, "e.at"));
			{
				BoundFigure orders = *figure;

				orders.event = NARROW_ORDERS;
				return psprintf("SELECT s.customer, s.total, o.first FROM"
								" (SELECT e.customer, sum(e.amount) AS total FROM (%s) e GROUP BY e.customer) s"
								" LEFT JOIN (SELECT e.customer, min(e.at) AS first FROM (%s) e GROUP BY e.customer) o"
								" ON o.customer = s.customer",
								events_sql(writer, &spent), events_sql(writer, &orders));
			}
		default:
			switch (figure->aggregate)
			{
				case AGGREGATE_NONE:
					return NULL;
				case AGGREGATE_COUNT:
					total = figure->event == NARROW_LINES || narrows_by_lines(writer, figure)
						? "count(DISTINCT e.event)" : "count(*)";
					break;
				case AGGREGATE_AMOUNT:
					total = "sum(e.amount)";
					break;
				default:
					total = "sum(e.items)";
			}
	}
	return psprintf("SELECT e.customer, %s AS total FROM (%s) e GROUP BY e.customer", total, events_sql(writer, figure));
}

/*
 * Groups.
 *
 * A clause that names a group says that group's own condition.  Where a group
 * is named more than once it stands in a LATERAL subquery of its own, which
 * OFFSET keeps from being pulled up: groups that use groups that use groups would
 * else double at each step.
 */

static char *node_sql(const SqlWriter *writer, const BoundNode *node, bool positive);

static int
group_index(const Bound *bound, const char *code)
{
	for (int i = 0; i < bound->ngroups; i++)
	{
		if (strcmp(bound->groups[i]->code, code) == 0)
			return i;
	}
	elog(ERROR, "group \"%s\" is not bound", code);
	return -1;
}

/* Count how often each group is named below a node. */
static void
count_named(const Bound *bound, const BoundNode *node, int *counts)
{
	ListCell   *cell;

	check_stack_depth();
	foreach(cell, node->children)
		count_named(bound, lfirst(cell), counts);
	if (node->figure == NULL || node->figure->word->id != WORD_GROUPS)
		return;
	foreach(cell, node->values)
		counts[group_index(bound, ((BoundValue *) lfirst(cell))->text)]++;
	for (int i = 0; node->kind == CONDITION_IS_NULL && i < bound->ngroups; i++)
		counts[i]++;
}

static bool
has_condition(const BoundGroup *group)
{
	return group->active && group->root != NULL;
}

/* Whether the customer is in a group; of fixed ones nobody is yet. */
static char *
group_sql(const SqlWriter *writer, int i, bool positive)
{
	const BoundGroup *group = writer->bound->groups[i];

	if (!has_condition(group))
		return "false";
	if (writer->named[i] > 1)
		return psprintf("g%d.holds", i);
	return node_sql(writer, group->root, positive);
}

static char *
groups_clause(const SqlWriter *writer, const BoundNode *node, bool positive)
{
	List	   *parts = NIL;
	ListCell   *cell;
	bool		all = node->kind == CONDITION_CONTAINS && node->detail == CONDITION_ALL;
	bool		negative = node->kind == CONDITION_IS_NULL ? !node->negated : is_negative(node);
	char	   *sql;

	foreach(cell, node->values)
		parts = lappend(parts, group_sql(writer, group_index(writer->bound, ((BoundValue *) lfirst(cell))->text),
										 positive && !negative));
	for (int i = 0; node->kind == CONDITION_IS_NULL && i < writer->bound->ngroups; i++)
		parts = lappend(parts, group_sql(writer, i, positive && !negative));
	sql = parts == NIL ? "false" : join_sql(parts, all ? " AND " : " OR ");
	return negative ? psprintf("NOT (%s)", sql) : sql;
}

/* Subqueries of the groups that are named more than once. */
static void
append_groups(StringInfo sql, const SqlWriter *writer)
{
	for (int i = 0; i < writer->bound->ngroups; i++)
	{
		if (writer->named[i] > 1 && has_condition(writer->bound->groups[i]))
			appendStringInfo(sql, "\n\tCROSS JOIN LATERAL (SELECT %s AS holds OFFSET 0) g%d",
							 node_sql(writer, writer->bound->groups[i]->root, false), i);
	}
}

static int *
count_groups(const Bound *bound)
{
	int		   *counts = palloc0(sizeof(int) * Max(bound->ngroups, 1));

	for (int i = 0; i < bound->nroots; i++)
		count_named(bound, bound->roots[i], counts);
	for (int i = 0; i < bound->ngroups; i++)
	{
		if (has_condition(bound->groups[i]))
			count_named(bound, bound->groups[i]->root, counts);
	}
	return counts;
}

/*
 * The whole.
 */

static char *
node_sql(const SqlWriter *writer, const BoundNode *node, bool positive)
{
	List	   *parts = NIL;
	ListCell   *cell;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	switch (node->kind)
	{
		case CONDITION_TRUE:
			return "true";
		case CONDITION_FALSE:
			return "false";
		case CONDITION_NOT:
			return psprintf("NOT (%s)", node_sql(writer, linitial(node->children), false));
		case CONDITION_AND:
		case CONDITION_OR:
			foreach(cell, node->children)
				parts = lappend(parts, node_sql(writer, lfirst(cell), positive));
			return join_sql(parts, node->kind == CONDITION_AND ? " AND " : " OR ");
		default:
			if (node->figure->word->id == WORD_GROUPS)
				return groups_clause(writer, node, positive);
			return figure_clause(writer, node, positive);
	}
}

/* FROM and WHERE: customers who count, with a join for each figure; condition may be NULL. */
static void
append_customers(StringInfo sql, const SqlWriter *writer, bool only_members)
{
	SourceSet  *set = writer->set;
	Source	   *customers = segment_customers_source(set);

	appendStringInfo(sql, "\nFROM %s c", customers->mapping_sql);
	for (int i = 0; i < writer->bound->nfigures; i++)
	{
		char	   *join = figure_join(writer, writer->bound->figures[i]);

		if (join != NULL)
			appendStringInfo(sql, "\n\tLEFT JOIN (%s) f%d ON f%d.customer = c.key", join, i, i);
	}
	if (only_members)
		append_groups(sql, writer);
	appendStringInfoString(sql, "\nWHERE c.counts");
	if (set->nanonymous > 0)
		appendStringInfo(sql, " AND c.key <> ALL (%s)", set->anonymous_sql);
	if (only_members)
		appendStringInfo(sql, "\n\tAND %s", node_sql(writer, writer->bound->roots[0], true));
}

/*
 * The SELECT of keys that defines who satisfies a condition; allocated in the
 * current context.  Names in it are qualified but for the server's own.
 */
char *
segment_condition_select(SourceSet *set, const Bound *bound, const Shop *shop)
{
	SqlWriter	writer = {.set = set, .bound = bound, .shop = shop, .named = count_groups(bound)};
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT c.key");
	append_customers(&sql, &writer, true);
	return sql.data;
}

/*
 * Keys and the vector of figures of every customer, for evaluation elsewhere.
 * What is derived from a stored text is left to the evaluation, so that nothing
 * but the points' balance asks for a right on the schema "segment".
 */
char *
segment_figures_select(SourceSet *set, const Bound *bound, const Shop *shop)
{
	SqlWriter	writer = {.set = set, .bound = bound, .shop = shop, .raw = true};
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT c.key::%s", set->key_type_name);
	for (int i = 0; i < bound->nfigures; i++)
		appendStringInfo(&sql, ", %s", figure_sql(&writer, bound->figures[i]));
	append_customers(&sql, &writer, false);
	return sql.data;
}

/* From when until when the points expire that points_expiring() counts. */
void
segment_expiry_window(const BoundFigure *figure, const Shop *shop, TimestampTz *from, TimestampTz *until)
{
	SqlWriter	writer = {.shop = shop};

	expiry_window(&writer, figure, from, until);
}

/*
 * Figures by key.
 *
 * Of the customers in $1 the figures that are wanted, with what tells when they
 * may change by time alone.  Figures that add up the same rows share one pass
 * over them, each with a FILTER of its own:
 *
 *		LEFT JOIN (SELECT e.customer, sum(e.amount) FILTER (WHERE e.x0) AS v0, ...
 *			FROM (SELECT o.customer, ..., <clauses> AS x0 FROM (mapping of orders) o
 *				WHERE o.counts AND o.customer = ANY ($1) ...) e
 *			GROUP BY e.customer) p0 ON p0.customer = c.key
 *
 * Each branch is restricted to the customers by itself, on whichever of its
 * tables has them, so that the merchant's indexes serve.  Nothing in the schema
 * "segment" is named, because the merchant need have no right on it: texts are
 * folded in C, each one once, and the query is told for which of them a clause
 * holds.  The day is written out as a constant, the clock is not.
 */

/* columns after which the next figure starts another query; a tuple can have 1,664 */
#define COLUMNS_OF_QUERY	400

/* more bounds than that of one figure are not followed one by one */
#define MAX_BOUNDS			8

/* a pass over rows */
typedef struct Pass
{
	int			id;				/* alias "p<id>" */
	Narrowing	event;
	List	   *branches;
	bool		windowed;		/* rows before "since" matter to nobody */
	TimestampTz since;
	List	   *extras;			/* of List of char *, by branch: columns "x<n>" of its rows */
	List	   *totals;			/* of char *: columns "v<n>" */
} Pass;

/* one query being written */
typedef struct KeyedWriter
{
	SqlWriter	sql;
	FigureQuery *query;
	List	   *passes;
	List	   *selected;		/* of char *, as query->columns */
	char	   *points;			/* what is read of the ledgers, NULL: nothing */
} KeyedWriter;

static void
select_column(KeyedWriter *writer, const char *expr, const FigureColumn *column)
{
	FigureColumn *copy = palloc(sizeof(FigureColumn));

	*copy = *column;
	writer->selected = lappend(writer->selected, pstrdup(expr));
	writer->query->columns = lappend(writer->query->columns, copy);
}

static void
select_part(KeyedWriter *writer, const char *expr, FigurePart part, int slot)
{
	FigureColumn column = {.part = part, .slot = slot};

	select_column(writer, expr, &column);
}

/* The number that a text has in a list; it is added where it is not there. */
static int
number_in(List **list, const char *text)
{
	ListCell   *cell;

	foreach(cell, *list)
	{
		if (strcmp(lfirst(cell), text) == 0)
			return foreach_current_index(cell);
	}
	*list = lappend(*list, pstrdup(text));
	return list_length(*list) - 1;
}

/* A total of a pass, as it is called outside. */
static char *
total_of(Pass *pass, const char *total)
{
	return psprintf("p%d.v%d", pass->id, number_in(&pass->totals, total));
}

static bool
same_texts(List *a, List *b)
{
	ListCell   *x;
	ListCell   *y;

	forboth(x, a, y, b)
	{
		if (strcmp(lfirst(x), lfirst(y)) != 0)
			return false;
	}
	return list_length(a) == list_length(b);
}

/* A column of a pass's rows beyond those of every event, given by branch. */
static char *
extra_of(Pass *pass, List *by_branch)
{
	ListCell   *cell;
	int			n = 0;

	foreach(cell, pass->extras)
	{
		if (same_texts(lfirst(cell), by_branch))
			return psprintf("e.x%d", n);
		n++;
	}
	pass->extras = lappend(pass->extras, by_branch);
	return psprintf("e.x%d", n);
}

static bool
same_rows(const Pass *pass, Narrowing event, List *branches)
{
	ListCell   *x;
	ListCell   *y;

	if (pass->event != event || list_length(pass->branches) != list_length(branches))
		return false;
	forboth(x, pass->branches, y, branches)
	{
		if (((Branch *) lfirst(x))->source != ((Branch *) lfirst(y))->source)
			return false;
	}
	return true;
}

/* The pass over a figure's rows from an instant on, NULL where there are none. */
static Pass *
pass_for(KeyedWriter *writer, const BoundFigure *figure, TimestampTz since)
{
	List	   *branches = branches_of(&writer->sql, figure);
	bool		windowed = since != DT_NOBEGIN;
	Pass	   *pass;
	ListCell   *cell;

	if (branches == NIL)
		return NULL;
	foreach(cell, writer->passes)
	{
		pass = lfirst(cell);
		/* one that goes over all rows anyway serves those of a window as well */
		if (!same_rows(pass, figure->event, branches) || (pass->windowed && !windowed))
			continue;
		pass->since = Min(pass->since, since);
		return pass;
	}
	pass = palloc0(sizeof(Pass));
	pass->id = list_length(writer->passes);
	pass->event = figure->event;
	pass->branches = branches;
	pass->windowed = windowed;
	pass->since = since;
	writer->passes = lappend(writer->passes, pass);
	return pass;
}

/*
 * Clauses over texts.
 */

/*
 * Whether a clause is judged in C: whatever folds, but not a product's key, which
 * is compared as it is; and anniversaries where days are not plain SQL.
 */
static bool
is_told(const SqlWriter *writer, const BoundNode *clause)
{
	if (clause->anniversary)
		return clause->instant && segment_days_come_again(writer->shop->zone);
	if (clause->type != VALUE_TEXT && clause->type != VALUE_LIST)
		return false;
	return strcmp(clause->field, "id") != 0 || clause->kind == CONDITION_HAS_WORD || clause->kind == CONDITION_IS_NULL;
}

static FieldTexts *
texts_of(KeyedWriter *writer, const BoundNode *clause)
{
	FigureQuery *query = writer->query;
	FieldTexts *texts;
	ListCell   *cell;

	foreach(cell, query->texts)
	{
		texts = lfirst(cell);
		if (strcmp(texts->field, clause->field) == 0 && texts->type == clause->type)
			return texts;
	}
	texts = palloc0(sizeof(FieldTexts));
	texts->field = clause->field;
	texts->type = clause->type;
	texts->parameter = ++query->nparameters;
	query->texts = lappend(query->texts, texts);
	return texts;
}

static TextClause *
text_clause_of(KeyedWriter *writer, FieldTexts *texts, const BoundNode *clause)
{
	char	   *meaning = clause_sql(&writer->sql, clause, "x", NULL, true);
	TextClause *told;
	ListCell   *cell;

	foreach(cell, texts->clauses)
	{
		told = lfirst(cell);
		if (strcmp(told->meaning, meaning) == 0)
			return told;
	}
	told = palloc0(sizeof(TextClause));
	told->clause = clause;
	told->meaning = meaning;
	told->parameter = ++writer->query->nparameters;
	texts->clauses = lappend(texts->clauses, told);
	return told;
}

/* A value of a field as it is compared with known ones: as text, byte by byte; instants in microseconds. */
static char *
plain_text(const BoundNode *clause, const char *expr)
{
	if (clause->type == VALUE_DATE)
		return psprintf("(extract(epoch FROM %s) * 1000000)::bigint::text COLLATE \"C\"", expr);
	return psprintf("(%s)%s::text COLLATE \"C\"", expr, clause->type == VALUE_LIST ? "::text[]" : "");
}

static char *
told_sql(KeyedWriter *writer, const BoundNode *clause, const char *expr)
{
	TextClause *told = text_clause_of(writer, texts_of(writer, clause), clause);
	FigureValue nothing = {.isnull = true};

	return psprintf("CASE WHEN (%s) IS NULL THEN %s ELSE %s = ANY ($%d) END", expr,
					segment_field_holds(clause, &nothing, writer->sql.shop) ? "true" : "false",
					plain_text(clause, expr), told->parameter);
}

/* Have the texts returned that are not known yet. */
static void
select_unknown_texts(KeyedWriter *writer, Pass *pass, const BoundNode *clause)
{
	FigureColumn column = {.part = PART_UNKNOWN_TEXTS, .slot = -1};
	List	   *by_branch = NIL;
	ListCell   *cell;
	char	   *extra;
	char	   *total;

	column.texts = texts_of(writer, clause);
	foreach(cell, pass->branches)
	{
		const char *reached;
		char	   *expr = branch_field(&writer->sql, lfirst(cell), pass->event, clause, &reached);

		by_branch = lappend(by_branch, plain_text(clause, expr));
	}
	extra = extra_of(pass, by_branch);
	total = total_of(pass, psprintf("array_agg(DISTINCT %s) FILTER (WHERE %s IS NOT NULL AND %s <> ALL ($%d))",
									extra, extra, extra, column.texts->parameter));
	foreach(cell, writer->selected)
	{
		if (strcmp(lfirst(cell), total) == 0)
			return;
	}
	select_column(writer, total, &column);
}

/* A column of a pass's rows: whether all clauses hold; NULL where there are none. */
static char *
test_of(KeyedWriter *writer, Pass *pass, List *clauses)
{
	List	   *by_branch = NIL;
	ListCell   *branch;
	ListCell   *cell;

	if (clauses == NIL)
		return NULL;
	foreach(branch, pass->branches)
	{
		List	   *parts = NIL;

		foreach(cell, clauses)
		{
			const BoundNode *clause = lfirst(cell);
			const char *reached;
			char	   *expr = branch_field(&writer->sql, lfirst(branch), pass->event, clause, &reached);

			if (reached)
				parts = lappend(parts, unconstify(char *, reached));
			parts = lappend(parts, is_told(&writer->sql, clause) ? told_sql(writer, clause, expr)
							: clause_sql(&writer->sql, clause, expr, NULL, true));
		}
		by_branch = lappend(by_branch, join_sql(parts, " AND "));
	}
	foreach(cell, clauses)
	{
		if (is_told(&writer->sql, lfirst(cell)))
			select_unknown_texts(writer, pass, lfirst(cell));
	}
	return extra_of(pass, by_branch);
}

static char *
filtered(const char *aggregate, const char *test)
{
	return test ? psprintf("%s FILTER (WHERE %s)", aggregate, test) : pstrdup(aggregate);
}

/*
 * What moves.
 */

static bool
moving_offset(const BoundValue *value, DayOffset *offset)
{
	if (value->kind == CONDITION_OFFSET)
	{
		*offset = value->offset;
		return true;
	}
	offset->n = (int32) value->number;
	offset->unit = 'd';
	return value->kind == CONDITION_DAY;
}

static List *
clauses_that_move(List *clauses, bool moving)
{
	List	   *result = NIL;
	ListCell   *cell;

	foreach(cell, clauses)
	{
		const BoundNode *clause = lfirst(cell);

		if ((clause->type == VALUE_DATE && segment_clause_moves(clause)) == moving)
			result = lappend(result, lfirst(cell));
	}
	return result;
}

/* How many moving bounds clauses have; more than MAX_BOUNDS where they cannot be followed one by one. */
static int
number_of_bounds(List *clauses)
{
	int			n = 0;
	ListCell   *cell;

	foreach(cell, clauses)
	{
		const BoundNode *clause = lfirst(cell);

		if (clause->anniversary)
			return MAX_BOUNDS + 1;
		n += Max(list_length(clause->values), 1);
	}
	return n;
}

/* The date that a clause is about, among a pass's rows. */
static char *
date_of(KeyedWriter *writer, Pass *pass, const BoundNode *clause)
{
	List	   *by_branch = NIL;
	ListCell   *cell;

	if (strcmp(clause->field, "date") == 0)
		return "e.at";
	foreach(cell, pass->branches)
	{
		const char *reached;

		by_branch = lappend(by_branch, branch_field(&writer->sql, lfirst(cell), pass->event, clause, &reached));
	}
	return extra_of(pass, by_branch);
}

/* The first event from a day on, for which "test" holds: a moving bound that is there now passes it next. */
static void
select_passing(KeyedWriter *writer, Pass *pass, const char *test, const char *date, bool instant, DateADT from,
			   const FigureColumn *column)
{
	const char *reached = psprintf("%s >= %s", date, instant ? sql_instant(begin_of(&writer->sql, from)) : sql_date(from));

	select_column(writer, total_of(pass, filtered(psprintf("min(%s)", date),
												  test ? psprintf("%s AND %s", test, reached) : reached)), column);
}

/*
 * One moving value: "day < value" and its like let go of a day when the value
 * goes past it, "day > value" when it arrives there, "=" does both.
 */
static void
select_passing_value(KeyedWriter *writer, Pass *pass, const BoundFigure *figure, const char *test,
					 const BoundNode *clause, const BoundValue *value, bool reaches, bool lets_go)
{
	FigureColumn column = {.part = PART_PASSING, .slot = figure->slot, .reaches = reaches, .lets_go = lets_go};
	DateADT		day;

	if (!moving_offset(value, &column.offset))
		return;
	day = day_of(&writer->sql, value);
	select_passing(writer, pass, test, date_of(writer, pass, clause), clause->instant,
				   lets_go ? day : next_day(day), &column);
}

static void
select_passing_period(KeyedWriter *writer, Pass *pass, const BoundFigure *figure, const char *test,
					  const char *date, bool instant, const Period *period)
{
	FigureColumn column = {.part = PART_PASSING, .slot = figure->slot, .period = period};
	DateADT		first,
				last;

	if (segment_period_days(writer->sql.shop->today, period, &first, &last))
		select_passing(writer, pass, test, date, instant, first, &column);
}

static void
select_passings(KeyedWriter *writer, Pass *pass, const BoundFigure *figure, const char *test, const BoundNode *clause)
{
	ListCell   *cell;

	switch (clause->kind)
	{
		case CONDITION_DURING:
			select_passing_period(writer, pass, figure, test, date_of(writer, pass, clause), clause->instant, &clause->period);
			break;
		case CONDITION_BETWEEN:
			select_passing_value(writer, pass, figure, test, clause, linitial(clause->values), false, true);
			select_passing_value(writer, pass, figure, test, clause, lsecond(clause->values), true, false);
			break;
		case CONDITION_COMPARE:
			{
				bool		equal = clause->detail == CONDITION_EQ || clause->detail == CONDITION_NE;
				bool		past = clause->detail == CONDITION_GE || clause->detail == CONDITION_LT;

				select_passing_value(writer, pass, figure, test, clause, linitial(clause->values), !past, equal || past);
			}
			break;
		default:
			foreach(cell, clause->values)
				select_passing_value(writer, pass, figure, test, clause, lfirst(cell), true, true);
	}
}

/* All dates in the fields that clauses are about. */
static void
select_dates(KeyedWriter *writer, Pass *pass, const BoundFigure *figure, const char *test, List *clauses)
{
	List	   *fields = NIL;
	ListCell   *cell;

	foreach(cell, clauses)
	{
		const BoundNode *clause = lfirst(cell);
		FigureColumn column = {.part = PART_DATES, .slot = figure->slot, .field = clause->field};
		int			known = list_length(fields);
		char	   *date;

		if (number_in(&fields, clause->field) < known)
			continue;
		date = date_of(writer, pass, clause);
		select_column(writer, total_of(pass, filtered(psprintf("array_agg(DISTINCT %s)", date), test)), &column);
	}
}

/* What tells when a sum over the events that pass clauses may change by time alone. */
static void
select_changes(KeyedWriter *writer, Pass *pass, const BoundFigure *figure)
{
	List	   *moving = clauses_that_move(figure->narrow, true);
	char	   *test;
	ListCell   *cell;

	if (moving == NIL)
		return;
	test = test_of(writer, pass, clauses_that_move(figure->narrow, false));
	if (number_of_bounds(moving) > MAX_BOUNDS)
	{
		select_dates(writer, pass, figure, test, moving);
		return;
	}
	foreach(cell, moving)
		select_passings(writer, pass, figure, test, lfirst(cell));
}

/* The first day on which a clause can hold, now or later: bounds only move on. */
static DateADT
earliest_day(const SqlWriter *writer, const BoundNode *clause)
{
	const BoundValue *value = clause->values != NIL ? linitial(clause->values) : NULL;
	DateADT		first,
				last;

	if (strcmp(clause->field, "date") != 0 || clause->anniversary || is_negative(clause))
		return DATEVAL_NOBEGIN;
	switch (clause->kind)
	{
		case CONDITION_DURING:
			return segment_period_days(writer->shop->today, &clause->period, &first, &last) ? first : DATEVAL_NOBEGIN;
		case CONDITION_COMPARE:
			if (clause->detail == CONDITION_LT || clause->detail == CONDITION_LE)
				return DATEVAL_NOBEGIN;
			break;
		case CONDITION_BETWEEN:
			break;
		default:
			return DATEVAL_NOBEGIN;
	}
	return value->kind == CONDITION_DATETIME ? DATEVAL_NOBEGIN : day_of(writer, value);
}

static TimestampTz
earliest_event(const SqlWriter *writer, const BoundFigure *figure)
{
	DateADT		day = DATEVAL_NOBEGIN;
	ListCell   *cell;

	foreach(cell, figure->narrow)
		day = Max(day, earliest_day(writer, lfirst(cell)));
	return begin_of(writer, day);
}

/*
 * Figures.
 */

static const char *
aggregate_sql(const SqlWriter *writer, const BoundFigure *figure)
{
	switch (figure->aggregate)
	{
		case AGGREGATE_COUNT:
			return figure->event == NARROW_LINES || narrows_by_lines(writer, figure)
				? "count(DISTINCT e.event)" : "count(*)";
		case AGGREGATE_QUANTITY:
		case AGGREGATE_POINTS:
			return "sum(e.items)";
		default:
			return "sum(e.amount)";
	}
}

static void
select_sum(KeyedWriter *writer, const BoundFigure *figure)
{
	Pass	   *pass = pass_for(writer, figure, earliest_event(&writer->sql, figure));
	char	   *test;
	char	   *total;

	if (pass == NULL)
	{
		select_part(writer, figure->word->id == WORD_AVERAGE_ORDER_VALUE ? "NULL::numeric" : "0", PART_VALUE, figure->slot);
		return;
	}
	test = test_of(writer, pass, figure->narrow);
	total = total_of(pass, filtered(aggregate_sql(&writer->sql, figure), test));
	if (figure->word->id == WORD_AVERAGE_ORDER_VALUE)
		total = psprintf("(%s / nullif(%s, 0))", total, total_of(pass, filtered("count(*)", test)));
	else
		total = psprintf("COALESCE(%s, 0)", total);
	select_part(writer, total, PART_VALUE, figure->slot);
	select_changes(writer, pass, figure);
}

/* The first or last order's instant. */
static void
select_order_date(KeyedWriter *writer, const BoundFigure *figure, const char *aggregate, FigurePart part)
{
	BoundFigure orders = *figure;
	Pass	   *pass;

	orders.event = NARROW_ORDERS;
	pass = pass_for(writer, &orders, DT_NOBEGIN);
	select_part(writer, pass ? total_of(pass, aggregate) : "NULL::timestamptz", part, figure->slot);
}

/* What was spent in some months up to one; they move when a month ends. */
static void
select_spent_in_months(KeyedWriter *writer, const BoundFigure *figure, int first, int last)
{
	static const Period last_month = {.unit = PERIOD_MONTH, .n = -1};
	BoundFigure spent = *figure;
	Period	   *period = palloc0(sizeof(Period));
	DateADT		from,
				ignored;
	TimestampTz since = DT_NOBEGIN;
	Pass	   *pass;
	char	   *total = "0";
	FigureColumn enters = {.part = PART_PASSING, .slot = figure->slot};

	spent.event = NARROW_SPENT;
	period->unit = PERIOD_MONTH;
	period->n = first;
	if (segment_period_days(writer->sql.shop->today, period, &from, &ignored))
		since = begin_of(&writer->sql, from);
	pass = pass_for(writer, &spent, since);
	if (pass != NULL)
		total = psprintf("COALESCE(%s, 0)",
						 total_of(pass, filtered("sum(e.amount)", at_in_months(&writer->sql, first, last, "e.at"))));
	if (figure->months > 0)
		total = psprintf("(%s / %d)", total, figure->months);
	select_part(writer, total, PART_VALUE, figure->slot);
	if (pass == NULL)
		return;
	select_passing_period(writer, pass, figure, NULL, "e.at", true, period);
	if (first == last)
		return;
	/* after last month come those that do not count yet */
	enters.period = &last_month;
	if (segment_period_days(writer->sql.shop->today, &last_month, &ignored, &from))
		select_passing(writer, pass, NULL, "e.at", true, next_day(from), &enters);
}

static void
select_monthly_average(KeyedWriter *writer, const BoundFigure *figure)
{
	BoundFigure spent = *figure;
	Pass	   *pass;

	if (figure->months > 0)
	{
		select_spent_in_months(writer, figure, -figure->months, -1);
		return;
	}
	spent.event = NARROW_SPENT;
	pass = pass_for(writer, &spent, DT_NOBEGIN);
	select_part(writer, pass ? psprintf("COALESCE(%s, 0)", total_of(pass, "sum(e.amount)")) : "0", PART_VALUE, figure->slot);
	select_order_date(writer, figure, "min(e.at)", PART_FIRST_ORDER);
}

static void
select_points(KeyedWriter *writer, const BoundFigure *figure)
{
	bool		expires = false;

	if (figure->word->id == WORD_POINTS)
	{
		if (segment_source_column(segment_customers_source(writer->sql.set), "points"))
		{
			select_part(writer, figure_sql(&writer->sql, figure), PART_VALUE, figure->slot);
			return;
		}
		(void) points_rows_sql(&writer->sql, &expires);
		if (!expires)
		{
			writer->points = "sum(e.points) AS total";
			select_part(writer, "COALESCE(l.total, 0)", PART_VALUE, figure->slot);
			return;
		}
	}
	writer->query->ledger = lappend(writer->query->ledger, unconstify(BoundFigure *, figure));
}

/* The rows of the ledgers, for figures that are made of them. */
static void
select_ledger(KeyedWriter *writer)
{
	if (writer->query->ledger == NIL)
		return;
	writer->points = psprintf("%s%sarray_agg(e.points::numeric) AS points, array_agg(e.at) AS at,"
							  " array_agg(e.valid_from) AS valid_from, array_agg(e.expires_at) AS expires_at",
							  writer->points ? writer->points : "", writer->points ? ", " : "");
	select_part(writer, "l.points", PART_LEDGER_POINTS, -1);
	select_part(writer, "l.at", PART_LEDGER_AT, -1);
	select_part(writer, "l.valid_from", PART_LEDGER_VALID_FROM, -1);
	select_part(writer, "l.expires_at", PART_LEDGER_EXPIRES_AT, -1);
}

static void
select_figure(KeyedWriter *writer, const BoundFigure *figure)
{
	switch (figure->word->id)
	{
		case WORD_TIER:
		case WORD_GROUPS:
			break;				/* made of others */
		case WORD_POINTS:
		case WORD_POINTS_EXPIRING:
			select_points(writer, figure);
			break;
		case WORD_FIRST_ORDER_DATE:
			select_order_date(writer, figure, "min(e.at)", PART_VALUE);
			break;
		case WORD_LAST_ORDER_DATE:
			select_order_date(writer, figure, "max(e.at)", PART_VALUE);
			break;
		case WORD_DAYS_SINCE_LAST_ORDER:
			select_order_date(writer, figure, "max(e.at)", PART_LAST_ORDER);
			break;
		case WORD_MONTHLY_TOTAL:
			select_spent_in_months(writer, figure, 0, 0);
			break;
		case WORD_MONTHLY_AVERAGE:
			select_monthly_average(writer, figure);
			break;
		case WORD_AGE:
			select_part(writer, age_sql(&writer->sql), PART_VALUE, figure->slot);
			select_part(writer, finite_date("c.birth_date"), PART_BIRTH_DATE, figure->slot);
			break;
		default:
			if (figure->aggregate != AGGREGATE_NONE || figure->word->id == WORD_AMOUNT_SPENT ||
				figure->word->id == WORD_AVERAGE_ORDER_VALUE)
				select_sum(writer, figure);
			else
				select_part(writer, figure_sql(&writer->sql, figure), PART_VALUE, figure->slot);
	}
}

/*
 * The whole query.
 */

/* The rows of a branch whose customer, or what they name, is asked for. */
static void
append_keyed_branch(StringInfo sql, const SqlWriter *writer, const Pass *pass, int n, bool inherit)
{
	const Branch *branch = list_nth(pass->branches, n);
	const Source *order = branch->order;
	const char *own;
	const char *inherited;
	const char *customer;
	char	   *orders = NULL;
	char	   *parents = NULL;
	ListCell   *cell;

	branch_customers(branch, &own, &inherited);
	customer = inherit ? inherited : own;
	/* where keys repeat: the keys of those rows that can be named */
	if (customer[0] == 'o')
	{
		orders = psprintf("SELECT k.key FROM %s k WHERE k.customer = ANY ($1)", order->mapping_sql);
		parents = psprintf("SELECT k.key FROM %s k WHERE k.order_key IN (%s)", branch->parent->mapping_sql, orders);
	}
	else if (customer[0] == 'p')
	{
		parents = psprintf("SELECT k.key FROM %s k WHERE k.customer = ANY ($1)", branch->parent->mapping_sql);
		if (order)
			orders = psprintf("SELECT k.order_key FROM %s k WHERE k.customer = ANY ($1)", branch->parent->mapping_sql);
	}
	else if (branch->parent)
		parents = psprintf("SELECT k.%s FROM %s k WHERE k.customer = ANY ($1)",
						   segment_field_column(branch->source->role, FIELD_PARENT_KEY), branch->source->mapping_sql);
	appendStringInfoString(sql, "SELECT ");
	append_event(sql, writer, branch);
	foreach(cell, pass->extras)
		appendStringInfo(sql, ", %s AS x%d", (char *) list_nth(lfirst(cell), n), foreach_current_index(cell));
	append_rows(sql, writer, pass->event, branch, parents, orders);
	if (inherit)
		appendStringInfo(sql, " AND %s IS NULL", own);
	appendStringInfo(sql, " AND %s = ANY ($1)", customer);
	if (pass->windowed)
		appendStringInfo(sql, " AND %s >= %s", branch_at(branch), sql_instant(pass->since));
}

static void
append_pass(StringInfo sql, const SqlWriter *writer, const Pass *pass)
{
	ListCell   *cell;
	const char *separator = "";

	appendStringInfoString(sql, "\n\tLEFT JOIN (SELECT e.customer");
	foreach(cell, pass->totals)
		appendStringInfo(sql, ", %s AS v%d", (char *) lfirst(cell), foreach_current_index(cell));
	appendStringInfoString(sql, " FROM (");
	for (int n = 0; n < list_length(pass->branches); n++)
	{
		const char *own;
		const char *inherited;

		branch_customers(list_nth(pass->branches, n), &own, &inherited);
		for (int inherit = 0; inherit <= (inherited ? 1 : 0); inherit++)
		{
			appendStringInfoString(sql, separator);
			append_keyed_branch(sql, writer, pass, n, inherit);
			separator = " UNION ALL ";
		}
	}
	appendStringInfo(sql, ") e GROUP BY e.customer) p%d ON p%d.customer = c.key", pass->id, pass->id);
}

static FigureQuery *
finish_query(KeyedWriter *writer)
{
	SourceSet  *set = writer->sql.set;
	StringInfoData sql;
	ListCell   *cell;
	bool		ignored;

	select_ledger(writer);
	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT c.key::%s", set->key_type_name);
	foreach(cell, writer->selected)
		appendStringInfo(&sql, ", %s", (char *) lfirst(cell));
	appendStringInfo(&sql, "\nFROM %s c", segment_customers_source(set)->mapping_sql);
	foreach(cell, writer->passes)
		append_pass(&sql, &writer->sql, lfirst(cell));
	if (writer->points)
		appendStringInfo(&sql, "\n\tLEFT JOIN (SELECT e.customer, %s FROM (%s) e GROUP BY e.customer) l ON l.customer = c.key",
						 writer->points, points_rows_sql(&writer->sql, &ignored));
	appendStringInfoString(&sql, "\nWHERE c.counts AND c.key = ANY ($1)");
	if (set->nanonymous > 0)
		appendStringInfo(&sql, " AND c.key <> ALL (%s)", set->anonymous_sql);
	appendStringInfo(&sql, "\nORDER BY c.key%s", set->key_order);
	writer->query->sql = sql.data;
	return writer->query;
}

static bool
is_windowed(const SqlWriter *writer, const BoundFigure *figure)
{
	return figure->word->id == WORD_MONTHLY_TOTAL || figure->months > 0 ||
		earliest_event(writer, figure) != DT_NOBEGIN;
}

static void
begin_query(KeyedWriter *writer, SourceSet *set, const Bound *bound, const Shop *shop)
{
	memset(writer, 0, sizeof(KeyedWriter));
	writer->sql.set = set;
	writer->sql.bound = bound;
	writer->sql.shop = shop;
	writer->sql.raw = writer->sql.keyed = true;
	writer->query = palloc0(sizeof(FigureQuery));
	writer->query->nparameters = 1;
}

/*
 * Queries, at least one, that read the figures of the customers in $1 whose
 * slots are wanted (NULL: all).  They hold as long as the shop's day and zone do.
 */
List *
segment_figure_queries(SourceSet *set, const Bound *bound, const Shop *shop, const bool *slots)
{
	KeyedWriter writer;
	List	   *queries = NIL;

	begin_query(&writer, set, bound, shop);
	/* those that go over all rows first: the others then share that */
	for (int windowed = 0; windowed < 2; windowed++)
	{
		for (int i = 0; i < bound->nfigures; i++)
		{
			const BoundFigure *figure = bound->figures[i];

			if ((slots && !slots[i]) || is_windowed(&writer.sql, figure) != windowed)
				continue;
			if (list_length(writer.selected) >= COLUMNS_OF_QUERY)
			{
				queries = lappend(queries, finish_query(&writer));
				begin_query(&writer, set, bound, shop);
			}
			select_figure(&writer, figure);
		}
	}
	return lappend(queries, finish_query(&writer));
}
