/*
 * figure.c
 *		Figures of customers, read from the attached tables.
 *
 * For many customers the whole query of condition_sql.c serves; for some, given
 * by key, there is a reader, which also tells when each figure may next change
 * by time alone.  What a figure is made of comes in the columns of one query or
 * several; what takes functions of ours is put together here.
 */
#include "segment.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "condition_change.h"
#include "condition_sql.h"
#include "configuration.h"
#include "figure.h"
#include "miscadmin.h"
#include "points.h"
#include "row.h"
#include "saved_plan.h"
#include "text_fold.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* texts of a field that are remembered; with more, all are forgotten and told anew */
#define MAX_KNOWN_TEXTS		1000

/*
 * The plan for so many customers is the same whoever they are, and making it
 * costs more than running it.  It assumes ten: for many it would be a bad one.
 */
#define A_FEW_CUSTOMERS		100

/*
 * The shop's clock.
 */

/* Everything is allocated in the current context.  Must run inside SPI. */
void
segment_shop_at(Shop *shop, TimestampTz at)
{
	SPITupleTable *table;
	Identity	caller;
	Datum		value;
	Oid			type = TEXTOID;

	memset(shop, 0, sizeof(Shop));
	shop->at = at;
	shop->zone_name = segment_setting("timezone");
	shop->zone = pg_tzset(shop->zone_name);
	if (shop->zone == NULL || !segment_day_of_instant(at, shop->zone, &shop->today))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("argument \"at\" is not a day of the calendar"),
				 errhint("Give an instant between the years 1 and 9999, or leave it out for now.")));
	shop->given_name_first = strcmp(segment_setting("given_name"), "first") == 0;
	value = CStringGetTextDatum(segment_setting("country_code"));
	segment_become(segment_owner(), &caller);
	segment_execute_with("SELECT segment._phone_rules_of($1)", 1, &type, &value, NULL, false, NULL, NULL);
	segment_resume(&caller);
	table = SPI_tuptable;
	shop->phone_rules = SPI_getvalue(table->vals[0], table->tupdesc, 1);
	shop->phones = segment_parse_phone_rules(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(shop->phone_rules))));
}

/* The first instant of a day to come; DT_NOEND where no clock can show it. */
static TimestampTz
begin_of(DateADT day, const Shop *shop)
{
	TimestampTz result;

	if (DATE_NOT_FINITE(day) || !segment_day_begins_at(day, shop->zone, &result))
		return DT_NOEND;
	return result;
}

/*
 * Reading values.
 */

/* The owner of all tables that the language reads here, InvalidOid where there are several. */
Oid
segment_only_owner(SourceSet *set)
{
	Oid			owner = segment_customers_source(set)->owner;

	for (int i = 0; i < set->nsources; i++)
	{
		if (set->sources[i].owner != owner)
			return InvalidOid;
	}
	return owner;
}

static Numeric
read_number(Datum value, Oid type)
{
	switch (type)
	{
		case INT8OID:
			return int64_to_numeric(DatumGetInt64(value));
		case INT4OID:
			return int64_to_numeric(DatumGetInt32(value));
		default:
			return DatumGetNumericCopy(value);
	}
}

static void
read_list(Datum value, FigureValue *figure)
{
	Datum	   *elements;
	bool	   *nulls;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, &nulls, &figure->nelements);
	figure->elements = palloc0(sizeof(char *) * Max(figure->nelements, 1));
	for (int i = 0; i < figure->nelements; i++)
	{
		if (!nulls[i])
			figure->elements[i] = TextDatumGetCString(elements[i]);
	}
}

/* One figure of a row; the query gives whatever type its SQL has. */
void
segment_read_figure(SourceSet *set, const BoundFigure *figure, Datum value, bool isnull, Oid type, FigureValue *result)
{
	memset(result, 0, sizeof(FigureValue));
	result->next_change = DT_NOEND;
	result->isnull = isnull;
	result->derived = figure->word->id == WORD_GIVEN_NAME &&
		segment_source_column(segment_customers_source(set), "given_name") != NULL;
	if (isnull)
		return;
	switch (figure->type)
	{
		case VALUE_NUMBER:
			result->number = read_number(value, type);
			break;
		case VALUE_DATE:
			if (type == TIMESTAMPTZOID)
				result->instant = DatumGetTimestampTz(value);
			else
				result->date = DatumGetDateADT(value);
			break;
		case VALUE_BOOLEAN:
			result->boolean = DatumGetBool(value);
			break;
		case VALUE_LIST:
			read_list(value, result);
			break;
		default:
			result->text = TextDatumGetCString(value);
	}
}

/*
 * Figures that segment.facts keeps.
 */

static void
set_number(FigureValue *result, Numeric number)
{
	memset(result, 0, sizeof(FigureValue));
	result->next_change = DT_NOEND;
	result->isnull = number == NULL;
	result->number = number;
}

static void
set_instant(FigureValue *result, TimestampTz at)
{
	set_number(result, NULL);
	result->isnull = TIMESTAMP_NOT_FINITE(at);
	result->instant = at;
}

static Numeric
divide(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_div, NumericGetDatum(a), NumericGetDatum(b)));
}

/* Whole days from that of an instant to today. */
static void
set_days_since(FigureValue *result, TimestampTz at, const Shop *shop)
{
	DateADT		day;

	set_number(result, TIMESTAMP_NOT_FINITE(at) || !segment_day_of_instant(at, shop->zone, &day)
			   ? NULL : int64_to_numeric((int64) shop->today - day));
}

/* Sums over all orders or all returns, whichever word asks for them. */
static bool
sum_from_facts(const BoundFigure *figure, const Facts *facts, FigureValue *result)
{
	bool		orders = figure->event == NARROW_ORDERS;

	switch (figure->aggregate)
	{
		case AGGREGATE_COUNT:
			set_number(result, int64_to_numeric(orders ? facts->number_of_orders : facts->number_of_returns));
			return true;
		case AGGREGATE_AMOUNT:
			set_number(result, orders ? facts->amount_ordered : facts->amount_returned);
			return true;
		default:
			return false;
	}
}

/*
 * A figure as segment.facts keeps it; false, and nothing is set, where it does
 * not.  A tier is made of a figure that has a slot of its own: for it only the
 * answer counts.  What is set shares the numbers of the facts.
 */
bool
segment_figure_from_facts(const BoundFigure *figure, const Facts *facts, const Shop *shop, FigureValue *result)
{
	FigureValue ignored;

	if (figure->narrow != NIL)
		return false;
	switch (figure->word->id)
	{
		case WORD_NUMBER_OF_ORDERS:
		case WORD_AMOUNT_ORDERED:
		case WORD_ORDERS_PLACED:
		case WORD_NUMBER_OF_RETURNS:
		case WORD_AMOUNT_RETURNED:
		case WORD_RETURNS_MADE:
			return sum_from_facts(figure, facts, result);
		case WORD_ITEMS_BOUGHT:
			set_number(result, facts->items_bought);
			return true;
		case WORD_ITEMS_RETURNED:
			set_number(result, facts->items_returned);
			return true;
		case WORD_AMOUNT_SPENT:
			set_number(result, DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(facts->amount_ordered),
																   NumericGetDatum(facts->amount_returned))));
			return true;
		case WORD_AVERAGE_ORDER_VALUE:
			set_number(result, facts->number_of_orders == 0 ? NULL
					   : divide(facts->amount_ordered, int64_to_numeric(facts->number_of_orders)));
			return true;
		case WORD_FIRST_ORDER_DATE:
			set_instant(result, facts->first_order_at);
			return true;
		case WORD_LAST_ORDER_DATE:
			set_instant(result, facts->last_order_at);
			return true;
		case WORD_DAYS_SINCE_LAST_ORDER:
			set_days_since(result, facts->last_order_at, shop);
			return true;
		case WORD_TIER:
			if (!segment_figure_from_facts(figure->base, facts, shop, &ignored))
				return false;
			set_number(result, NULL);
			return true;
		default:
			return false;
	}
}

/*
 * Changes by time alone.
 */

/* The first of two days after today. */
static DateADT
first_to_come(DateADT a, DateADT b, const Shop *shop)
{
	if (a <= shop->today)
		a = DATEVAL_NOEND;
	if (b <= shop->today)
		b = DATEVAL_NOEND;
	return Min(a, b);
}

/* The day on which a moving bound passes the day of an event; see select_passing() in condition_sql.c. */
static DateADT
passing_day(const FigureColumn *column, DateADT day, const Shop *shop)
{
	DateADT		reached = DATEVAL_NOEND;
	DateADT		let_go = DATEVAL_NOEND;

	if (column->period != NULL)
	{
		if (!segment_during_changes(day, column->period, shop->today, &reached))
			return DATEVAL_NOEND;
		return reached;
	}
	/* unknown: beyond the calendar */
	if (column->reaches && !segment_first_day_reaching(day, column->offset, &reached))
		reached = DATEVAL_NOEND;
	if (column->lets_go && !segment_first_day_reaching(day + 1, column->offset, &let_go))
		let_go = DATEVAL_NOEND;
	return first_to_come(reached, let_go, shop);
}

/* The shop's day of a date or an instant. */
static bool
read_day(Datum value, Oid type, const Shop *shop, DateADT *day)
{
	if (type == TIMESTAMPTZOID)
		return segment_day_of_instant(DatumGetTimestampTz(value), shop->zone, day);
	*day = DatumGetDateADT(value);
	return !DATE_NOT_FINITE(*day);
}

static void
changes_on(FigureValue *figure, DateADT day, const Shop *shop)
{
	figure->next_change = Min(figure->next_change, begin_of(day, shop));
}

/* The first change of moving clauses over a field, given all its values. */
static void
change_of_dates(FigureValue *figure, const BoundFigure *bound, const char *field, Datum value, Oid type, const Shop *shop)
{
	Oid			element = get_element_type(type);
	int16		length;
	bool		by_value;
	char		alignment;
	Datum	   *dates;
	bool	   *nulls;
	int			n;

	get_typlenbyvalalign(element, &length, &by_value, &alignment);
	deconstruct_array(DatumGetArrayTypeP(value), element, length, by_value, alignment, &dates, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		DateADT		day;
		ListCell   *cell;

		CHECK_FOR_INTERRUPTS();
		if (nulls[i] || !read_day(dates[i], element, shop, &day))
			continue;
		foreach(cell, bound->narrow)
		{
			const BoundNode *clause = lfirst(cell);

			if (clause->type == VALUE_DATE && strcmp(clause->field, field) == 0 && segment_clause_moves(clause))
				changes_on(figure, segment_date_clause_change(clause, day, shop), shop);
		}
	}
}

/* An age goes up, or begins to be known, on a birthday. */
static void
change_of_age(FigureValue *figure, DateADT birth, const Shop *shop)
{
	int			year,
				month,
				day;
	DateADT		next = birth;

	if (DATE_NOT_FINITE(birth) ||
		(birth <= shop->today && (!segment_date_parts(birth, &year, &month, &day) ||
								  !segment_next_anniversary(month, day, shop->today, &next))))
		return;
	changes_on(figure, next, shop);
}

/* The total since the first order over the months since then, both counted. */
static void
average_over_months(FigureValue *figure, bool isnull, TimestampTz first_order, const Shop *shop)
{
	static const Period this_month = {.unit = PERIOD_MONTH, .n = 0};
	Numeric		zero = int64_to_numeric(0);
	DateADT		first_day;
	DateADT		ignored,
				last;
	int			year,
				month,
				this_year,
				now,
				day;

	if (isnull || !segment_day_of_instant(first_order, shop->zone, &first_day) ||
		!segment_date_parts(first_day, &year, &month, &day) ||
		!segment_date_parts(shop->today, &this_year, &now, &day))
	{
		figure->number = zero;
		return;
	}
	if (DatumGetBool(DirectFunctionCall2(numeric_ne, NumericGetDatum(figure->number), NumericGetDatum(zero))) &&
		segment_period_days(Max(first_day, shop->today), &this_month, &ignored, &last))
		changes_on(figure, last + 1, shop);
	figure->number = divide(figure->number,
							int64_to_numeric(Max((this_year - year) * MONTHS_PER_YEAR + now - month + 1, 1)));
}

/*
 * Points.
 */

/* arrays of one customer's ledger */
typedef struct LedgerColumns
{
	bool		isnull[4];
	Datum		values[4];		/* points, at, valid_from, expires_at */
} LedgerColumns;

static Datum *
array_of(const LedgerColumns *columns, int i, bool **nulls, int *n)
{
	Datum	   *elements;

	if (i == 0)
		deconstruct_array(DatumGetArrayTypeP(columns->values[i]), NUMERICOID, -1, false, TYPALIGN_INT, &elements, nulls, n);
	else
		deconstruct_array(DatumGetArrayTypeP(columns->values[i]), TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL,
						  TYPALIGN_DOUBLE, &elements, nulls, n);
	return elements;
}

static PointsLedger *
read_ledger(const LedgerColumns *columns)
{
	PointsRow  *rows;
	Datum	   *elements[4];
	bool	   *nulls[4];
	int			n = 0;
	int			nrows = 0;

	if (columns->isnull[0])
		return segment_replay_points(NULL, 0);
	for (int i = 0; i < lengthof(elements); i++)
		elements[i] = array_of(columns, i, &nulls[i], &n);
	rows = palloc(sizeof(PointsRow) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		PointsRow  *row = &rows[nrows];

		if (nulls[0][i] || nulls[1][i])
			continue;
		row->points = DatumGetNumeric(elements[0][i]);
		if (numeric_is_nan(row->points) || numeric_is_inf(row->points))
			continue;
		row->at = DatumGetTimestampTz(elements[1][i]);
		row->valid_from = nulls[2][i] ? DT_NOBEGIN : DatumGetTimestampTz(elements[2][i]);
		row->expires_at = nulls[3][i] ? DT_NOEND : DatumGetTimestampTz(elements[3][i]);
		nrows++;
	}
	return segment_replay_points(rows, nrows);
}

/* What will expire changes when some of it does, and when the days that are meant move. */
static void
set_points_expiring(FigureValue *result, const BoundFigure *figure, const PointsLedger *ledger, const Shop *shop)
{
	TimestampTz from,
				until,
				next;
	ListCell   *cell;

	segment_expiry_window(figure, shop, &from, &until);
	set_number(result, segment_points_expiring_in(ledger, shop->at, from, until));
	if (segment_points_next_expiry(ledger, Max(shop->at + 1, from), &next) && next < until)
		result->next_change = next;
	for (int i = 0; i < ledger->nrows; i++)
	{
		const PointsRow *row = &ledger->rows[i];
		DateADT		day;

		if (ledger->left[i] == NULL || row->expires_at <= shop->at || TIMESTAMP_NOT_FINITE(row->expires_at) ||
			!segment_day_of_instant(row->expires_at, shop->zone, &day))
			continue;
		foreach(cell, figure->narrow)
		{
			if (segment_clause_moves(lfirst(cell)))
				changes_on(result, segment_date_clause_change(lfirst(cell), day, shop), shop);
		}
	}
}

static void
set_from_ledger(FigureValue *result, const BoundFigure *figure, const PointsLedger *ledger, const Shop *shop)
{
	if (figure->word->id == WORD_POINTS_EXPIRING)
	{
		set_points_expiring(result, figure, ledger, shop);
		return;
	}
	set_number(result, segment_points_at(ledger, shop->at));
	if (!segment_points_change(ledger, shop->at, &result->next_change))
		result->next_change = DT_NOEND;
}

/*
 * Texts that clauses are told about.
 */

static Datum
text_array(List *texts)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(list_length(texts), 1));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, texts)
		elements[n++] = CStringGetTextDatum(lfirst(cell));
	return PointerGetDatum(segment_array(TEXTOID, elements, NULL, n));
}

/* A value of a field from its text. */
static FigureValue
field_value(const FieldTexts *texts, char *text)
{
	FigureValue value = {.text = text};
	Oid			input;
	Oid			ioparam;

	if (texts->type == VALUE_DATE)
		value.instant = strtoi64(text, NULL, 10) - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	else if (texts->type == VALUE_LIST)
	{
		getTypeInputInfo(TEXTARRAYOID, &input, &ioparam);
		read_list(OidInputFunctionCall(input, text, ioparam, -1), &value);
	}
	return value;
}

static bool
is_known(const FieldTexts *texts, const char *text)
{
	ListCell   *cell;

	foreach(cell, texts->known)
	{
		if (strcmp(lfirst(cell), text) == 0)
			return true;
	}
	return false;
}

/* Judge a text by all clauses over its field. */
static void
learn_text(FigureReader *reader, FieldTexts *texts, char *text, const Shop *shop)
{
	MemoryContext before = CurrentMemoryContext;
	FigureValue value;
	ListCell   *cell;

	if (is_known(texts, text))
		return;
	value = field_value(texts, text);
	foreach(cell, texts->clauses)
	{
		TextClause *told = lfirst(cell);

		if (!segment_field_holds(told->clause, &value, shop))
			continue;
		MemoryContextSwitchTo(reader->context);
		told->texts = lappend(told->texts, pstrdup(text));
		MemoryContextSwitchTo(before);
	}
	MemoryContextSwitchTo(reader->context);
	texts->known = lappend(texts->known, pstrdup(text));
	MemoryContextSwitchTo(before);
}

static void
forget_texts(FieldTexts *texts)
{
	ListCell   *cell;

	list_free_deep(texts->known);
	texts->known = NIL;
	foreach(cell, texts->clauses)
	{
		TextClause *told = lfirst(cell);

		list_free_deep(told->texts);
		told->texts = NIL;
	}
}

/* Learn what the rows of a query say that is not known; false where there is nothing new. */
static bool
learn_texts(FigureReader *reader, const FigureQuery *query, SPITupleTable *table, uint64 rows, const Shop *shop)
{
	bool		learnt = false;
	ListCell   *cell;

	foreach(cell, query->columns)
	{
		const FigureColumn *column = lfirst(cell);

		if (column->part != PART_UNKNOWN_TEXTS)
			continue;
		for (uint64 i = 0; i < rows; i++)
		{
			bool		isnull;
			Datum		value;
			FigureValue list;

			value = SPI_getbinval(table->vals[i], table->tupdesc, foreach_current_index(cell) + 2, &isnull);
			if (isnull)
				continue;
			read_list(value, &list);
			for (int j = 0; j < list.nelements; j++)
				learn_text(reader, column->texts, list.elements[j], shop);
			learnt = true;
		}
	}
	return learnt;
}

/*
 * The reader.
 */

static void
refuse_several_owners(SourceSet *set)
{
	Source	   *customers = segment_customers_source(set);

	for (int i = 0; i < set->nsources; i++)
	{
		if (set->sources[i].owner == customers->owner)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("automatic groups need all attached tables to have one owner, but %s belongs to \"%s\" and %s to \"%s\"",
						customers->name, GetUserNameFromId(customers->owner, true),
						set->sources[i].name, GetUserNameFromId(set->sources[i].owner, true)),
				 errhint("ALTER TABLE … OWNER TO makes them one role's.")));
	}
}

/*
 * Get ready to read figures of a bound; both must live as long as the reader,
 * which has a context of its own below the current one.
 */
void
segment_figures_open(FigureReader *reader, SourceSet *set, const Bound *bound, const bool *slots)
{
	memset(reader, 0, sizeof(FigureReader));
	refuse_several_owners(set);
	reader->reads_as = segment_only_owner(set);
	reader->context = AllocSetContextCreate(CurrentMemoryContext, "segment figures", ALLOCSET_SMALL_SIZES);
	reader->set = set;
	reader->slots = slots;
	reader->bound = bound;
}

static void
forget_plans(FigureReader *reader)
{
	reader->ready = false;
	for (int i = 0; i < reader->nplans; i++)
	{
		if (reader->plans[i] != NULL)
			SPI_freeplan(reader->plans[i]);
		if (reader->plans_of_many[i] != NULL)
			SPI_freeplan(reader->plans_of_many[i]);
	}
	reader->nplans = 0;
	MemoryContextReset(reader->context);
}

void
segment_figures_close(FigureReader *reader)
{
	if (reader->context == NULL)
		return;
	forget_plans(reader);
	MemoryContextDelete(reader->context);
	memset(reader, 0, sizeof(FigureReader));
}

/* Write the queries anew where those at hand were for another day. */
static void
prepare_queries(FigureReader *reader, const Shop *shop)
{
	MemoryContext before;

	if (reader->ready && reader->day == shop->today && strcmp(reader->zone_name, shop->zone_name) == 0)
		return;
	forget_plans(reader);
	before = MemoryContextSwitchTo(reader->context);
	reader->queries = segment_figure_queries(reader->set, reader->bound, shop, reader->slots);
	reader->plans = palloc0(sizeof(SPIPlanPtr) * list_length(reader->queries));
	reader->plans_of_many = palloc0(sizeof(SPIPlanPtr) * list_length(reader->queries));
	reader->nplans = list_length(reader->queries);
	reader->day = shop->today;
	reader->zone_name = pstrdup(shop->zone_name);
	MemoryContextSwitchTo(before);
	reader->ready = true;
}

/* the customers asked for */
typedef struct Asked
{
	Datum		keys;			/* array */
	bool		few;
	Snapshot	snapshot;
} Asked;

/* The parameters of a query: the customers, and what is known of texts. */
static Datum *
query_parameters(const FigureQuery *query, const Asked *asked)
{
	Datum	   *values = palloc(sizeof(Datum) * query->nparameters);
	ListCell   *cell;

	values[0] = asked->keys;
	foreach(cell, query->texts)
	{
		FieldTexts *texts = lfirst(cell);
		ListCell   *clause;

		values[texts->parameter - 1] = text_array(texts->known);
		foreach(clause, texts->clauses)
		{
			TextClause *told = lfirst(clause);

			values[told->parameter - 1] = text_array(told->texts);
		}
	}
	return values;
}

/* As the merchant; rows are in SPI_tuptable. */
static uint64
run_query_once(FigureReader *reader, int number, const Asked *asked)
{
	FigureQuery *query = list_nth(reader->queries, number);
	Datum	   *values = query_parameters(query, asked);
	Oid		   *types = palloc(sizeof(Oid) * query->nparameters);
	SPIPlanPtr	plan;
	Identity	caller;
	uint64		n;

	types[0] = reader->set->key_array_type;
	for (int i = 1; i < query->nparameters; i++)
		types[i] = TEXTARRAYOID;
	segment_become_merchant(reader->reads_as, NULL, &caller);
	/* many expressions over few rows */
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	plan = asked->few ? segment_plan(&reader->plans[number], query->sql, query->nparameters, types)
		: segment_plan_each_time(&reader->plans_of_many[number], query->sql, query->nparameters, types);
	n = segment_fetch_as_of(plan, values, NULL, asked->snapshot);
	segment_resume(&caller);
	return n;
}

/* Run a query until it tells no text that is not known. */
static uint64
run_query(FigureReader *reader, int number, const Asked *asked, const Shop *shop)
{
	FigureQuery *query = list_nth(reader->queries, number);
	ListCell   *cell;
	uint64		n;

	foreach(cell, query->texts)
	{
		if (list_length(((FieldTexts *) lfirst(cell))->known) > MAX_KNOWN_TEXTS)
			forget_texts(lfirst(cell));
	}
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		n = run_query_once(reader, number, asked);
		if (!learn_texts(reader, query, SPI_tuptable, n, shop))
			return n;
		SPI_freetuptable(SPI_tuptable);
	}
}

/* One column of a row. */
static void
read_column(FigureReader *reader, const FigureColumn *column, Datum value, bool isnull, Oid type, const Shop *shop,
			FigureValue *figures, LedgerColumns *ledger)
{
	const BoundFigure *figure = column->slot >= 0 ? reader->bound->figures[column->slot] : NULL;
	FigureValue *result = column->slot >= 0 ? &figures[column->slot] : NULL;
	DateADT		day;

	switch (column->part)
	{
		case PART_VALUE:
			segment_read_figure(reader->set, figure, value, isnull, type, result);
			break;
		case PART_LAST_ORDER:
			set_days_since(result, isnull ? DT_NOBEGIN : DatumGetTimestampTz(value), shop);
			break;
		case PART_FIRST_ORDER:
			average_over_months(result, isnull, isnull ? 0 : DatumGetTimestampTz(value), shop);
			break;
		case PART_BIRTH_DATE:
			if (!isnull)
				change_of_age(result, DatumGetDateADT(value), shop);
			break;
		case PART_PASSING:
			if (!isnull && read_day(value, type, shop, &day))
				changes_on(result, passing_day(column, day, shop), shop);
			break;
		case PART_DATES:
			if (!isnull)
				change_of_dates(result, figure, column->field, value, type, shop);
			break;
		case PART_LEDGER_POINTS:
		case PART_LEDGER_AT:
		case PART_LEDGER_VALID_FROM:
		case PART_LEDGER_EXPIRES_AT:
			ledger->values[column->part - PART_LEDGER_POINTS] = value;
			ledger->isnull[column->part - PART_LEDGER_POINTS] = isnull;
			break;
		case PART_UNKNOWN_TEXTS:
			break;				/* there are none any more */
	}
}

/* The figures that a query gives for one customer, in columns after the key. */
static void
read_customer(FigureReader *reader, const FigureQuery *query, const Datum *values, const bool *nulls, TupleDesc desc,
			  const Shop *shop, FigureValue *figures)
{
	LedgerColumns columns = {0};
	ListCell   *cell;

	foreach(cell, query->columns)
	{
		int			n = foreach_current_index(cell) + 1;

		read_column(reader, lfirst(cell), values[n], nulls[n], TupleDescAttr(desc, n)->atttypid, shop, figures, &columns);
	}
	if (query->ledger != NIL)
	{
		PointsLedger *ledger = read_ledger(&columns);

		foreach(cell, query->ledger)
		{
			const BoundFigure *figure = lfirst(cell);

			set_from_ledger(&figures[figure->slot], figure, ledger, shop);
		}
	}
}

static FigureValue *
no_figures(const Bound *bound)
{
	FigureValue *figures = palloc0(sizeof(FigureValue) * Max(bound->nfigures, 1));

	for (int i = 0; i < bound->nfigures; i++)
	{
		figures[i].isnull = true;
		figures[i].next_change = DT_NOEND;
	}
	return figures;
}

/* Read what a query gives; the first one says who there is. */
static void
read_query(FigureReader *reader, int number, const Asked *asked, const Shop *shop,
		   CustomerFigures **result, int *found)
{
	const FigureQuery *query = list_nth(reader->queries, number);
	uint64		n = run_query(reader, number, asked, shop);
	SPITupleTable *table = SPI_tuptable;
	Datum	   *values = palloc(sizeof(Datum) * table->tupdesc->natts);
	bool	   *nulls = palloc(sizeof(bool) * table->tupdesc->natts);

	if (number == 0)
	{
		*result = palloc(sizeof(CustomerFigures) * Max(n, 1));
		*found = (int) n;
	}
	else if (n != *found)
		elog(ERROR, "queries of figures found %d and " UINT64_FORMAT " customers under one snapshot", *found, n);
	for (uint64 i = 0; i < n; i++)
	{
		CustomerFigures *entry = &(*result)[i];

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		if (number == 0)
		{
			entry->customer = segment_copy_customer(reader->set, values[0]);
			entry->figures = no_figures(reader->bound);
		}
		read_customer(reader, query, values, nulls, table->tupdesc, shop, entry->figures);
	}
	SPI_freetuptable(table);
}

/*
 * The figures of those among the customers who count, sorted by key, in the
 * current context.  They are read under the given snapshot, and then nothing is
 * written, not even a command counted; without one under the latest.  All
 * queries see the same.  Must run inside SPI.
 */
CustomerFigures *
segment_figures_read(FigureReader *reader, const Shop *shop, const Datum *customers, int n,
					 Snapshot snapshot, int *found)
{
	CustomerFigures *result = NULL;
	Snapshot	latest = InvalidSnapshot;
	Asked		asked = {.few = n <= A_FEW_CUSTOMERS};

	prepare_queries(reader, shop);
	if (snapshot == InvalidSnapshot)
	{
		CommandCounterIncrement();
		snapshot = latest = RegisterSnapshot(GetLatestSnapshot());
	}
	asked.snapshot = snapshot;
	asked.keys = PointerGetDatum(segment_array(reader->set->key_type, unconstify(Datum *, customers), NULL, n));
	for (int i = 0; i < list_length(reader->queries); i++)
		read_query(reader, i, &asked, shop, &result, found);
	if (latest != InvalidSnapshot)
		UnregisterSnapshot(latest);
	return result;
}
