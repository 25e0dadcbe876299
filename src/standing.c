/*
 * standing.c
 *		What a customer is in now: read and write standings, log changes.
 *
 * Whoever writes standings has written the customer's facts row in this
 * transaction (or holds SHARE ROW EXCLUSIVE on segment.facts), so nobody else
 * judges the same customer before commit.
 */
#include "segment.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "miscadmin.h"
#include "row.h"
#include "saved_plan.h"
#include "standing.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static const char *const cause_names[] = {
	[CAUSE_ORDER] = "order",
	[CAUSE_CANCELLATION] = "cancellation",
	[CAUSE_EDIT] = "edit",
	[CAUSE_RETURN] = "return",
	[CAUSE_PROFILE] = "profile",
	[CAUSE_TAG] = "tag",
	[CAUSE_POINTS] = "points",
	[CAUSE_OFFERS] = "offers",
	[CAUSE_TIME] = "time",
	[CAUSE_RULE] = "rule",
	[CAUSE_ATTACH] = "attach",
	[CAUSE_RECALCULATION] = "recalculation",
};

Judgement *
segment_judgements_add(Judgements *judgements)
{
	if (judgements->n == judgements->size)
	{
		judgements->size = judgements->size == 0 ? 8 : judgements->size * 2;
		judgements->items = judgements->items == NULL
			? MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Judgement) * (Size) judgements->size)
			: repalloc_huge(judgements->items, sizeof(Judgement) * (Size) judgements->size);
	}
	memset(&judgements->items[judgements->n], 0, sizeof(Judgement));
	return &judgements->items[judgements->n++];
}

/* Take a row selected as FACTS_COLUMNS; copies into the current context. */
void
segment_read_facts(SourceSet *set, HeapTuple row, TupleDesc desc, Facts *facts)
{
	Datum		values[FACTS_NCOLUMNS];
	bool		nulls[FACTS_NCOLUMNS];

	for (int i = 0; i < FACTS_NCOLUMNS; i++)
		values[i] = SPI_getbinval(row, desc, i + 1, &nulls[i]);
	facts->customer = segment_copy_customer(set, values[0]);
	facts->version = DatumGetInt64(values[1]);
	facts->is_customer = DatumGetBool(values[2]);
	facts->number_of_orders = DatumGetInt64(values[3]);
	facts->amount_ordered = DatumGetNumericCopy(values[4]);
	facts->first_order_at = nulls[5] ? DT_NOEND : DatumGetTimestampTz(values[5]);
	facts->last_order_at = nulls[6] ? DT_NOBEGIN : DatumGetTimestampTz(values[6]);
	facts->number_of_returns = DatumGetInt64(values[7]);
	facts->amount_returned = DatumGetNumericCopy(values[8]);
	facts->items_bought = DatumGetNumericCopy(values[9]);
	facts->items_returned = DatumGetNumericCopy(values[10]);
	facts->due = nulls[11] ? DT_NOEND : DatumGetTimestampTz(values[11]);
}

static TupleDesc
table_desc(const char *name)
{
	Oid			relid = get_relname_relid(name, get_namespace_oid("segment", false));
	Relation	relation = table_open(relid, AccessShareLock);
	TupleDesc	desc = CreateTupleDescCopy(RelationGetDescr(relation));

	table_close(relation, AccessShareLock);
	return desc;
}

/* Begin to gather moves; allocates in the current context, which lives until segment_moves_end(). */
void
segment_moves_begin(Moves *moves, SourceSet *set)
{
	moves->set = set;
	moves->context = CurrentMemoryContext;
}

/* Most sales move nobody: what entries need is made when the first one comes. */
static void
begin_changes(Moves *moves)
{
	MemoryContext before = MemoryContextSwitchTo(moves->context);

	moves->changed_by = CStringGetTextDatum(GetUserNameFromId(GetOuterUserId(), false));
	moves->changes_desc = table_desc("changes");
	moves->changes = tuplestore_begin_heap(true, false, work_mem);
	MemoryContextSwitchTo(before);
}

static Datum
text_or_null(const char *value, bool *isnull)
{
	*isnull = value == NULL;
	return value == NULL ? (Datum) 0 : CStringGetTextDatum(value);
}

/* What both kinds of entries have in common. */
static void
put_change(Moves *moves, const Judgement *judgement, const Reason *reason, Datum *values, bool *nulls)
{
	if (moves->changes == NULL)
		begin_changes(moves);
	values[0] = TimestampTzGetDatum(reason->at);
	values[1] = judgement->after.customer;
	values[10] = CStringGetTextDatum(cause_names[reason->cause]);
	values[11] = text_or_null(reason->source, &nulls[11]);
	values[12] = text_or_null(reason->source_key, &nulls[12]);
	values[13] = moves->changed_by;
	values[14] = Int64GetDatum(judgement->after.version);
	tuplestore_putvalues(moves->changes, moves->changes_desc, values, nulls);
}

/* Note that a customer entered, left or changed the tier on a ladder. */
static void
log_tier(Moves *moves, const Judgement *judgement, const Reason *reason, const Ladder *ladder,
		 const Tier *was, const Tier *is)
{
	Datum		values[15];
	bool		nulls[15] = {false};
	const char *action;

	if (was == NULL)
		action = "enter";
	else if (is == NULL)
		action = "leave";
	else
		action = DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(was->min_value),
												  NumericGetDatum(is->min_value))) ? "up" : "down";
	values[2] = CStringGetTextDatum("tier");
	values[3] = CStringGetTextDatum(is ? is->code : was->code);
	values[4] = CStringGetTextDatum(ladder->code);
	values[5] = CStringGetTextDatum(action);
	values[6] = text_or_null(was ? was->code : NULL, &nulls[6]);
	values[7] = text_or_null(is ? is->code : NULL, &nulls[7]);
	if (ladder->figure == FIGURE_UNKNOWN)
		nulls[8] = nulls[9] = true;
	else
	{
		values[8] = NumericGetDatum(segment_figure_value(ladder->figure, &judgement->before));
		values[9] = NumericGetDatum(segment_figure_value(ladder->figure, &judgement->after));
	}
	put_change(moves, judgement, reason, values, nulls);
}

/* longest announcement that NOTIFY takes, with room to spare */
#define MAX_ANNOUNCEMENT	7000

/* Tell whoever listens; once the server has prepared transactions, nobody. */
static void
announce(Moves *moves, const Judgement *judgement, const char *code, bool is)
{
	StringInfoData payload;
	Oid			output;
	bool		varlena;

	if (max_prepared_xacts > 0)
		return;
	initStringInfo(&payload);
	getTypeOutputInfo(moves->set->key_type, &output, &varlena);
	appendStringInfo(&payload, "{\"action\": \"%s\", \"group\": ", is ? "enter" : "leave");
	escape_json(&payload, code);
	appendStringInfoString(&payload, ", \"customer\": ");
	escape_json(&payload, OidOutputFunctionCall(output, judgement->after.customer));
	appendStringInfoChar(&payload, '}');
	if (payload.len < MAX_ANNOUNCEMENT)
		Async_Notify("segment_groups", payload.data);
	pfree(payload.data);
}

/* Note that a customer entered or left a group. */
static void
log_group(Moves *moves, const Judgement *judgement, const Reason *reason, const char *code, bool is)
{
	Datum		values[15];
	bool		nulls[15] = {false};

	values[2] = CStringGetTextDatum("group");
	values[3] = CStringGetTextDatum(code);
	values[5] = CStringGetTextDatum(is ? "enter" : "leave");
	nulls[4] = nulls[6] = nulls[7] = nulls[8] = nulls[9] = true;
	put_change(moves, judgement, reason, values, nulls);
}

/* When the customer entered what bears an id; false where it is not held. */
bool
segment_holds(const Standing *standing, int id, TimestampTz *since)
{
	for (int i = 0; i < standing->n; i++)
	{
		if (standing->held[i] != id)
			continue;
		if (since != NULL)
			*since = standing->since[i];
		return true;
	}
	return false;
}

static void
hold(Standing *standing, int id, TimestampTz since)
{
	standing->held[standing->n] = id;
	standing->since[standing->n++] = since;
}

/* The tier that is held on a ladder, and since when. */
static const Tier *
held_tier(const Ruleset *ruleset, const Standing *standing, const Ladder *ladder, TimestampTz *since)
{
	const Tier *held = NULL;

	for (int i = 0; i < standing->n; i++)
	{
		const Ladder *its_ladder;
		const Tier *tier = segment_tier_by_id(ruleset, standing->held[i], &its_ladder);

		if (tier != NULL && its_ladder == ladder)
		{
			held = tier;
			*since = standing->since[i];
		}
	}
	return held;
}

/* How many of what is held others can see; the rest are marks of what is, or was, pending. */
static int
shown(const Standing *standing)
{
	int			n = 0;

	for (int i = 0; i < standing->n; i++)
		n += standing->held[i] > 0;
	return n;
}

/*
 * Compare what is held with a verdict; where they differ the judgement gets the
 * new standing and the moves are logged, if moves are wanted (a reader passes
 * NULL).  Allocates in the current context.
 */
bool
segment_move(Moves *moves, const Ruleset *ruleset, Judgement *judgement, const Verdict *verdict, const Reason *reason)
{
	Standing   *was = &judgement->standing;
	int			most = ruleset->nladders + ruleset->groups->ngroups;
	Standing	is = {0};
	bool		moved = false;

	is.held = palloc(sizeof(int) * Max(most, 1));
	is.since = palloc(sizeof(TimestampTz) * Max(most, 1));
	for (int i = 0; i < ruleset->nladders; i++)
	{
		const Ladder *ladder = &ruleset->ladders[i];
		TimestampTz since = reason->at;
		const Tier *held = held_tier(ruleset, was, ladder, &since);

		if (verdict->tiers[i] != NULL)
			hold(&is, verdict->tiers[i]->id, held == verdict->tiers[i] ? since : reason->at);
		if (held == verdict->tiers[i])
			continue;
		moved = judgement->shows = true;
		if (moves != NULL)
			log_tier(moves, judgement, reason, ladder, held, verdict->tiers[i]);
	}
	for (int i = 0; i < ruleset->groups->ngroups; i++)
	{
		const BoundGroup *group = ruleset->groups->groups[i];
		TimestampTz since = reason->at;
		bool		held = segment_holds(was, group->id, &since);

		if (verdict->groups[i])
			hold(&is, group->id, since);
		if (held == verdict->groups[i])
			continue;
		moved = true;
		if (group->instead_of != 0)
			continue;
		judgement->shows = true;
		if (moves != NULL)
		{
			log_group(moves, judgement, reason, group->code, verdict->groups[i]);
			if (group->notify)
				announce(moves, judgement, group->code, verdict->groups[i]);
		}
	}
	for (int i = 0; moves != NULL && i < ruleset->nformer; i++)
	{
		if (segment_holds(was, ruleset->former[i].id, NULL))
			log_group(moves, judgement, reason, ruleset->former[i].code, false);
	}
	if (!moved && is.n == was->n)
		return false;
	judgement->shows |= shown(was) != shown(&is);
	judgement->standing = is;
	judgement->moved = true;
	return true;
}

/* A row of standings as its columns. */
static Datum
array_of_held(const Standing *standing)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(standing->n, 1));

	for (int i = 0; i < standing->n; i++)
		elements[i] = Int32GetDatum(standing->held[i]);
	return PointerGetDatum(segment_array(INT4OID, elements, NULL, standing->n));
}

static Datum
array_of_since(const Standing *standing)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(standing->n, 1));

	for (int i = 0; i < standing->n; i++)
		elements[i] = TimestampTzGetDatum(standing->since[i]);
	return PointerGetDatum(segment_array(TIMESTAMPTZOID, elements, NULL, standing->n));
}

/* A customer's standing as a row (customer_id, held, since). */
void
segment_put_standing(Tuplestorestate *rows, TupleDesc desc, Datum customer, const Standing *standing)
{
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = customer;
	values[1] = array_of_held(standing);
	values[2] = array_of_since(standing);
	tuplestore_putvalues(rows, desc, values, nulls);
}

/* Write the standings of those who moved, each customer once; returns of how many others can see it. */
static uint64
write_standings(Moves *moves, Judgements *judgements)
{
	SPIPlanPtr *plans = moves->set->plans;
	TupleDesc	desc = NULL;
	Tuplestorestate *rows = NULL;
	uint64		n = 0;
	uint64		shows = 0;

	for (int i = 0; i < judgements->n; i++)
	{
		if (!judgements->items[i].moved)
			continue;
		if (rows == NULL)
		{
			desc = table_desc("standings");
			rows = tuplestore_begin_heap(true, false, work_mem);
		}
		segment_put_standing(rows, desc, judgements->items[i].after.customer, &judgements->items[i].standing);
		n++;
		shows += judgements->items[i].shows;
	}
	if (n > 0)
	{
		segment_name_rows("moved", desc, rows);
		segment_write(segment_plan(&plans[PLAN_STANDINGS_WRITE],
								   "INSERT INTO segment.standings AS s (customer_id, held, since)"
								   " SELECT m.customer_id, m.held, m.since FROM moved m"
								   " WHERE pg_catalog.cardinality(m.held) OPERATOR(pg_catalog.>) 0"
								   " ON CONFLICT (customer_id) DO UPDATE"
								   " SET held = excluded.held, since = excluded.since",
								   0, NULL), NULL, NULL);
		segment_write(segment_plan(&plans[PLAN_STANDINGS_DELETE],
								   "DELETE FROM segment.standings s USING moved m"
								   " WHERE s.customer_id OPERATOR(pg_catalog.=) m.customer_id"
								   " AND pg_catalog.cardinality(m.held) OPERATOR(pg_catalog.=) 0",
								   0, NULL), NULL, NULL);
		SPI_unregister_relation("moved");
		tuplestore_end(rows);
	}
	return shows;
}

/* Write when customers are due, where that has changed. */
static void
write_dues(Moves *moves, Judgements *judgements)
{
	SourceSet  *set = moves->set;
	Datum	   *customers = palloc(sizeof(Datum) * Max(judgements->n, 1));
	Datum	   *dues = palloc(sizeof(Datum) * Max(judgements->n, 1));
	bool	   *never = palloc(sizeof(bool) * Max(judgements->n, 1));
	Datum		arrays[2];
	Oid			types[2] = {set->key_array_type, TIMESTAMPTZARRAYOID};
	int			n = 0;

	for (int i = 0; i < judgements->n; i++)
	{
		const Judgement *item = &judgements->items[i];

		if (item->due == item->after.due || item->without_facts)
			continue;
		customers[n] = item->after.customer;
		never[n] = item->due == DT_NOEND;
		dues[n++] = TimestampTzGetDatum(item->due);
	}
	if (n == 0)
		return;
	arrays[0] = PointerGetDatum(segment_array(set->key_type, customers, NULL, n));
	arrays[1] = PointerGetDatum(segment_array(TIMESTAMPTZOID, dues, never, n));
	segment_write(segment_plan(&set->plans[PLAN_FACTS_DUE],
							   "UPDATE segment.facts f SET due = d.due"
							   " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS d(customer_id, due)"
							   " WHERE f.customer_id OPERATOR(pg_catalog.=) d.customer_id",
							   2, types), arrays, NULL);
}

/*
 * Write what the judgements, one per customer, have come to, and the moves that
 * were gathered.  Returns how many customers moved.
 */
uint64
segment_moves_end(Moves *moves, Judgements *judgements)
{
	uint64		n;
	Identity	caller;

	segment_become(moves->set->owner, &caller);
	n = write_standings(moves, judgements);
	write_dues(moves, judgements);
	if (moves->changes != NULL)
	{
		segment_name_rows("moves", moves->changes_desc, moves->changes);
		segment_write(segment_plan(&moves->set->plans[PLAN_CHANGES_WRITE],
								   "INSERT INTO segment.changes SELECT m.* FROM moves m",
								   0, NULL), NULL, NULL);
		SPI_unregister_relation("moves");
	}
	segment_resume(&caller);
	if (moves->changes != NULL)
		tuplestore_end(moves->changes);
	return n;
}

/* Unpack arrays of a standings row; empty where they are null. */
void
segment_read_standing(Datum held, bool held_null, Datum since, bool since_null, Standing *standing)
{
	Datum	   *elements;
	int			n;

	memset(standing, 0, sizeof(Standing));
	if (held_null || since_null)
		return;
	deconstruct_array(DatumGetArrayTypeP(held), INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &elements, NULL, &standing->n);
	standing->held = palloc(sizeof(int) * Max(standing->n, 1));
	for (int i = 0; i < standing->n; i++)
		standing->held[i] = DatumGetInt32(elements[i]);
	deconstruct_array(DatumGetArrayTypeP(since), TIMESTAMPTZOID, sizeof(TimestampTz),
					  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements, NULL, &n);
	standing->n = Min(n, standing->n);
	standing->since = palloc(sizeof(TimestampTz) * Max(standing->n, 1));
	for (int i = 0; i < standing->n; i++)
		standing->since[i] = DatumGetTimestampTz(elements[i]);
}

static int
compare_keys(const void *a, const void *b, void *set)
{
	return segment_compare_customers(set, *(const Datum *) a, *(const Datum *) b);
}

/*
 * Read what the customers, sorted by key, hold into their judgements: as of a
 * snapshot, or with InvalidSnapshot what is there now.
 */
void
segment_read_standings(SourceSet *set, Judgements *judgements, Snapshot snapshot)
{
	Datum	   *customers = palloc(sizeof(Datum) * Max(judgements->n, 1));
	Datum		array;
	SPIPlanPtr	plan;
	uint64		n;
	SPITupleTable *table;
	Identity	caller;

	for (int i = 0; i < judgements->n; i++)
		customers[i] = judgements->items[i].after.customer;
	array = PointerGetDatum(segment_array(set->key_type, customers, NULL, judgements->n));
	segment_become(set->owner, &caller);
	plan = segment_plan(&set->plans[PLAN_STANDINGS_READ],
						"SELECT s.customer_id, s.held, s.since FROM segment.standings s"
						" WHERE s.customer_id OPERATOR(pg_catalog.=) ANY ($1)",
						1, &set->key_array_type);
	n = snapshot == InvalidSnapshot ? segment_fetch(plan, &array, NULL)
		: segment_fetch_as_of(plan, &array, NULL, snapshot);
	segment_resume(&caller);
	table = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		Datum		values[3];
		bool		nulls[3];
		Datum	   *its;

		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		its = bsearch_arg(&values[0], customers, judgements->n, sizeof(Datum), compare_keys, set);
		if (its != NULL)
			segment_read_standing(values[1], nulls[1], values[2], nulls[2],
								  &judgements->items[its - customers].standing);
	}
	SPI_freetuptable(table);
}
