/*
 * figure.c
 *		Figures of customers, read from the attached tables.
 */
#include "segment.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "condition_change.h"
#include "condition_sql.h"
#include "configuration.h"
#include "figure.h"
#include "row.h"
#include "saved_plan.h"
#include "text_fold.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

bool
segment_figure_from_facts(const BoundFigure *figure, const Facts *facts, const Shop *shop, FigureValue *result)
{
	if (figure->narrow != NIL)
		return false;
	switch (figure->word->id)
	{
		case WORD_NUMBER_OF_ORDERS:
			result->number = int64_to_numeric(facts->number_of_orders);
			break;
		case WORD_AMOUNT_SPENT:
			result->number = DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(facts->amount_ordered), NumericGetDatum(facts->amount_returned)));
			break;
		case WORD_LAST_ORDER_DATE:
			result->instant = facts->last_order_at;
			result->isnull = facts->last_order_at == DT_NOBEGIN;
			result->next_change = DT_NOEND;
			return true;
		default:
			return false;
	}
	result->isnull = false;
	result->next_change = DT_NOEND;
	return true;
}

void
segment_shop_at(Shop *shop, TimestampTz at)
{
	SPITupleTable *table;
	Identity	caller;
	Datum		value;
	Oid			type = TEXTOID;

	shop->at = at;
	shop->zone_name = segment_setting("timezone");
	shop->zone = pg_tzset(shop->zone_name);
	if (shop->zone == NULL || !segment_day_of_instant(at, shop->zone, &shop->today))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("argument \"at\" is not a day of the calendar"),
				 errhint("Give an instant between the years 1 and 9999, or leave it out for now.")));
	value = CStringGetTextDatum(segment_setting("country_code"));
	segment_become(segment_owner(), &caller);
	segment_execute_with("SELECT segment._phone_rules_of($1)", 1, &type, &value, NULL, false, NULL, NULL);
	segment_resume(&caller);
	table = SPI_tuptable;
	shop->phone_rules = SPI_getvalue(table->vals[0], table->tupdesc, 1);
	shop->phones = segment_parse_phone_rules(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(shop->phone_rules))));
}

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

void
segment_figures_open(FigureReader *reader, SourceSet *set, const Bound *bound, const bool *slots)
{
	memset(reader, 0, sizeof(FigureReader));
	reader->set = set;
	reader->bound = bound;
	reader->slots = slots;
	reader->reads_as = segment_only_owner(set);
	if (!OidIsValid(reader->reads_as))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("attached tables have several owners")));
}

void
segment_figures_close(FigureReader *reader)
{
	if (reader->plan)
		SPI_freeplan(reader->plan);
	memset(reader, 0, sizeof(FigureReader));
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

static void
read_figure(SourceSet *set, const BoundFigure *figure, Datum value, bool isnull, Oid type, FigureValue *result)
{
	memset(result, 0, sizeof(FigureValue));
	result->isnull = isnull;
	result->derived = figure->word->id == WORD_GIVEN_NAME &&
		segment_source_column(segment_customers_source(set), "given_name") != NULL;
	if (isnull)
		return;
	switch (figure->type)
	{
		case VALUE_NUMBER:
			result->number = type == INT8OID ? int64_to_numeric(DatumGetInt64(value))
				: type == INT4OID ? int64_to_numeric(DatumGetInt32(value)) : DatumGetNumericCopy(value);
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

static TimestampTz
figure_change(const BoundFigure *figure, const Shop *shop)
{
	TimestampTz next = DT_NOEND;
	ListCell   *cell;
	bool		moves = false;

	switch (figure->word->id)
	{
		case WORD_MONTHLY_TOTAL:
		case WORD_MONTHLY_AVERAGE:
		case WORD_POINTS:
		case WORD_POINTS_EXPIRING:
			moves = true;
			break;
		default:
			foreach(cell, figure->narrow)
				moves |= segment_clause_moves(lfirst(cell));
	}
	if (moves)
		segment_day_begins_at(shop->today + 1, shop->zone, &next);
	return next;
}

CustomerFigures *
segment_figures_read(FigureReader *reader, const Shop *shop, const Datum *customers, int n,
					 Snapshot snapshot, int *found)
{
	const Bound *bound = reader->bound;
	SourceSet  *set = reader->set;
	Datum		array = PointerGetDatum(segment_array(set->key_type, unconstify(Datum *, customers), NULL, n));
	SPIPlanPtr	plan = NULL;
	Identity	caller;
	SPITupleTable *table;
	CustomerFigures *result;
	char	   *sql = psprintf("%s AND c.key OPERATOR(pg_catalog.=) ANY ($1) ORDER BY c.key%s",
							   segment_figures_select(set, bound, shop), set->key_order);
	uint64		rows;

	segment_become_merchant(reader->reads_as, NULL, &caller);
	plan = segment_merchant_plan(&plan, sql, 1, &set->key_array_type);
	rows = snapshot == InvalidSnapshot ? segment_fetch(plan, &array, NULL) : segment_fetch_as_of(plan, &array, NULL, snapshot);
	segment_resume(&caller);
	table = SPI_tuptable;
	result = palloc(sizeof(CustomerFigures) * Max(rows, 1));
	for (uint64 i = 0; i < rows; i++)
	{
		Datum	   *values = palloc(sizeof(Datum) * (bound->nfigures + 1));
		bool	   *nulls = palloc(sizeof(bool) * (bound->nfigures + 1));

		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		result[i].customer = segment_copy_customer(set, values[0]);
		result[i].figures = palloc(sizeof(FigureValue) * Max(bound->nfigures, 1));
		for (int j = 0; j < bound->nfigures; j++)
		{
			read_figure(set, bound->figures[j], values[j + 1], nulls[j + 1],
						TupleDescAttr(table->tupdesc, j + 1)->atttypid, &result[i].figures[j]);
			result[i].figures[j].next_change = figure_change(bound->figures[j], shop);
		}
	}
	SPI_freetuptable(table);
	SPI_freeplan(plan);
	*found = (int) rows;
	return result;
}
