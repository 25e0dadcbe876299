/*
 * explain.c
 *		Why one customer satisfies a condition, or does not.
 *
 * The tree of the condition as it is written is walked together with the bound
 * one.  Both have the same shape, but for MATCHES, which is bound as comparisons
 * of what it adds up: it is one clause here.
 */
#include "segment.h"

#include "condition_change.h"
#include "figure.h"
#include "miscadmin.h"
#include "result_set.h"
#include "row.h"
#include "ruleset.h"
#include "saved_plan.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(segment_explain);
PG_FUNCTION_INFO_V1(segment_explain_condition);

/* a condition being explained for a customer */
typedef struct Explanation
{
	SourceSet  *set;
	Bound	   *bound;
	Shop		shop;
	Datum		customer;
	bool		is_visible;		/* the customer's own row, to whoever asks */
	FigureValue *figures;
	TimestampTz *groups;		/* when the condition's groups may change */
	Tuplestorestate *rows;
	TupleDesc	desc;
} Explanation;

/*
 * The customer.
 */

static void
refuse_customer(const Explanation *explanation)
{
	char	   *key = segment_value_text(explanation->set->key_type, explanation->customer);
	const char *relation = segment_customers_source(explanation->set)->name;

	if (segment_is_anonymous(explanation->set, explanation->customer))
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("%s is listed as anonymous and is no customer", key),
				 errhint("Keys for walk-in customers are in no group: see anonymous => … of segment.attach_customers().")));
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("there is no customer %s", key),
			 errhint("A customer is a row of %s for which its counted_when holds.", relation)));
}

/* Look for the customer's row as whoever asks. */
static void
look_for_row(void *argument)
{
	Explanation *explanation = argument;
	char	   *sql = psprintf("SELECT FROM %s m WHERE m.key OPERATOR(pg_catalog.=) $1",
							   segment_customers_source(explanation->set)->mapping_sql);
	Identity	caller;

	segment_become_merchant(GetUserId(), NULL, &caller);
	segment_execute_with(sql, 1, &explanation->set->key_type, &explanation->customer, NULL, true, NULL, NULL);
	segment_resume(&caller);
	explanation->is_visible = SPI_processed > 0;
}

/* Whoever may read only some customers learns of no other that it is one. */
static void
check_visible(Explanation *explanation)
{
	bool		readable = segment_try(look_for_row, explanation) == NULL;

	if (!readable)
		explanation->is_visible = false;
	else if (!explanation->is_visible &&
			 check_enable_rls(segment_customers_source(explanation->set)->relid, InvalidOid, true) == RLS_ENABLED)
		refuse_customer(explanation);
}

static void
read_customer(Explanation *explanation)
{
	FigureReader reader;
	CustomerFigures *read;
	int			found;

	segment_figures_open(&reader, explanation->set, explanation->bound, NULL);
	read = segment_figures_read(&reader, &explanation->shop, &explanation->customer, 1, GetActiveSnapshot(), &found);
	if (found == 0)
		refuse_customer(explanation);
	explanation->figures = read[0].figures;
	segment_figures_close(&reader);
	check_visible(explanation);
	if (explanation->bound->ngroups > 0)
	{
		segment_judge_groups(explanation->bound, explanation->figures, &explanation->shop, NULL,
							 palloc0(sizeof(bool) * explanation->bound->ngroups));
		explanation->groups = palloc(sizeof(TimestampTz) * explanation->bound->ngroups);
		segment_groups_change(explanation->bound, explanation->figures, &explanation->shop, explanation->groups);
	}
}

/*
 * Values.
 */

/* A day, or an instant as the shop's clock shows it. */
static char *
date_text(const Explanation *explanation, const BoundFigure *figure, const FigureValue *value)
{
	Timestamp	local;
	struct pg_tm tm = {0};
	fsec_t		fsec = 0;
	char		buffer[MAXDATELEN + 1];

	if (!figure->instant)
	{
		j2date(value->date + POSTGRES_EPOCH_JDATE, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
		EncodeDateOnly(&tm, USE_ISO_DATES, buffer);
		return pstrdup(buffer);
	}
	local = DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone,
												  CStringGetTextDatum(explanation->shop.zone_name),
												  TimestampTzGetDatum(value->instant)));
	if (timestamp2tm(local, NULL, &tm, &fsec, NULL, NULL) != 0)
		return NULL;
	EncodeDateTime(&tm, fsec, false, 0, NULL, USE_ISO_DATES, buffer);
	return pstrdup(buffer);
}

static char *
list_text(const FigureValue *value)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < value->nelements; i++)
	{
		if (value->elements[i] != NULL)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", value->elements[i]);
	}
	return list.len > 0 ? list.data : NULL;
}

/* What a figure holds; NULL where that is nothing, or nothing for whoever asks. */
static char *
figure_text(const Explanation *explanation, const BoundFigure *figure)
{
	FigureValue value = segment_shown_figure(explanation->bound, explanation->figures, figure->slot, &explanation->shop);

	if (value.isnull || (!explanation->is_visible && segment_is_personal(figure)))
		return NULL;
	switch (figure->type)
	{
		case VALUE_NUMBER:
			return numeric_normalize(value.number);
		case VALUE_DATE:
			return date_text(explanation, figure, &value);
		case VALUE_BOOLEAN:
			return value.boolean ? "true" : "false";
		case VALUE_LIST:
			return list_text(&value);
		default:
			return value.text;
	}
}

static const char *
aggregate_name(Aggregate aggregate)
{
	switch (aggregate)
	{
		case AGGREGATE_AMOUNT:
			return "sum_amount";
		case AGGREGATE_QUANTITY:
			return "sum_quantity";
		case AGGREGATE_POINTS:
			return "sum_points";
		default:
			return "count";
	}
}

/* What MATCHES adds up, each by its name. */
static char *
event_text(const Explanation *explanation, const BoundNode *bound)
{
	StringInfoData values;
	ListCell   *cell;

	if (bound->kind == CONDITION_NOT)
		bound = linitial(bound->children);
	if (bound->kind != CONDITION_AND)
		return figure_text(explanation, bound->figure);
	if (list_length(bound->children) == 1)
		return figure_text(explanation, ((BoundNode *) linitial(bound->children))->figure);
	initStringInfo(&values);
	foreach(cell, bound->children)
	{
		BoundFigure *figure = ((BoundNode *) lfirst(cell))->figure;
		char	   *value = figure_text(explanation, figure);

		appendStringInfo(&values, "%s%s = %s", values.len > 0 ? ", " : "", aggregate_name(figure->aggregate),
						 value ? value : "NULL");
	}
	return values.data;
}

/* What a clause found. */
static char *
clause_value(const Explanation *explanation, const ConditionNode *node, const BoundNode *bound)
{
	char	   *value;
	char	   *other;

	if (node->kind == CONDITION_MATCHES)
		return event_text(explanation, bound);
	value = figure_text(explanation, bound->figure);
	if (bound->other == NULL)
		return value;
	other = figure_text(explanation, bound->other);
	return psprintf("%s, %s = %s", value ? value : "NULL", bound->other->text, other ? other : "NULL");
}

/*
 * The tree.
 */

static void
put_node(Explanation *explanation, const ConditionNode *node, const BoundNode *bound, int depth)
{
	static const char *const joints[] = {[CONDITION_OR] = "OR", [CONDITION_AND] = "AND", [CONDITION_NOT] = "NOT"};
	bool		joins = node->kind <= CONDITION_NOT;
	bool		asks = node->kind >= CONDITION_COMPARE;
	char	   *value = asks ? clause_value(explanation, node, bound) : NULL;
	TimestampTz changes = segment_condition_change_with(explanation->bound, explanation->groups, bound,
														explanation->figures, &explanation->shop);
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = Int32GetDatum(depth);
	values[1] = CStringGetTextDatum(joins ? joints[node->kind] : segment_condition_node_text(node));
	values[2] = BoolGetDatum(segment_condition_holds(bound, explanation->figures, &explanation->shop));
	values[3] = value ? CStringGetTextDatum(value) : (Datum) 0;
	nulls[3] = value == NULL;
	values[4] = TimestampTzGetDatum(changes);
	nulls[4] = changes == DT_NOEND;
	tuplestore_putvalues(explanation->rows, explanation->desc, values, nulls);
}

static void
put_tree(Explanation *explanation, const ConditionNode *node, const BoundNode *bound, int depth)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "segment explain", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	put_node(explanation, node, bound, depth);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	for (int i = 0; node->kind <= CONDITION_NOT && i < node->nchildren; i++)
	{
		ConditionNode child;

		segment_condition_child(node, i, &child);
		put_tree(explanation, &child, list_nth(bound->children, i), depth + 1);
	}
}

static void
explain(Explanation *explanation, const Condition *condition, TimestampTz at)
{
	ConditionNode root;

	segment_shop_at(&explanation->shop, at);
	explanation->bound = segment_bind(explanation->set, 1, &condition);
	segment_bound_prepare(explanation->bound, &explanation->shop);
	read_customer(explanation);
	segment_condition_root(condition, &root);
	put_tree(explanation, &root, explanation->bound->roots[0], 0);
}

static void
open_explanation(Explanation *explanation, Datum customer)
{
	explanation->customer = customer;
	explanation->set = segment_sources_acquire();
	if (segment_customers_source(explanation->set) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no customers table is attached"),
				 errhint("Call segment.attach_customers().")));
}

Datum
segment_explain_condition(PG_FUNCTION_ARGS)
{
	Explanation explanation = {0};

	explanation.rows = segment_begin_set(fcinfo, &explanation.desc);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	segment_connect(0);
	open_explanation(&explanation, PG_GETARG_DATUM(1));
	explain(&explanation, PG_GETARG_CONDITION_P(0),
			PG_ARGISNULL(2) ? segment_now() : PG_GETARG_TIMESTAMPTZ(2));
	segment_sources_release();
	SPI_finish();
	return (Datum) 0;
}

Datum
segment_explain(PG_FUNCTION_ARGS)
{
	Explanation explanation = {0};
	const Condition *condition;
	bool		active;

	explanation.rows = segment_begin_set(fcinfo, &explanation.desc);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	segment_connect(0);
	open_explanation(&explanation, PG_GETARG_DATUM(1));
	condition = segment_group_condition(explanation.set, text_to_cstring(PG_GETARG_TEXT_PP(0)), &active);
	if (condition != NULL)
		explain(&explanation, condition, segment_judging_instant(GetActiveSnapshot()));
	segment_sources_release();
	SPI_finish();
	return (Datum) 0;
}
