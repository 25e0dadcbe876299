/*
 * standing.c
 *		What a customer is in now: write standings, log changes.
 *
 * Whoever judges has written the customer's facts row in this transaction (or
 * holds SHARE ROW EXCLUSIVE on segment.facts), so nobody else judges the same
 * customer before commit.
 */
#include "segment.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "row.h"
#include "ruleset.h"
#include "saved_plan.h"
#include "standing.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* customers judged between two looks for a cancel, and at a time by segment_judge_all() */
#define JUDGE_BATCH 5000

/* milliseconds after which a long judging says how far it is */
#define TELL_EVERY 3000

static const char *const cause_names[] = {
	[CAUSE_ORDER] = "order",
	[CAUSE_CANCELLATION] = "cancellation",
	[CAUSE_EDIT] = "edit",
	[CAUSE_RETURN] = "return",
	[CAUSE_PROFILE] = "profile",
	[CAUSE_RULE] = "rule",
	[CAUSE_ATTACH] = "attach",
	[CAUSE_RECALCULATION] = "recalculation",
};

/* tiers that a customer holds, and since when */
typedef struct Standing
{
	int			n;
	int		   *held;
	TimestampTz *since;
} Standing;

/* where new standings and moves are gathered before they are written */
typedef struct Moves
{
	SourceSet  *set;
	const Ruleset *ruleset;
	TimestampTz at;
	Datum		changed_by;
	TupleDesc	standings_desc;
	TupleDesc	changes_desc;
	Tuplestorestate *standings;
	Tuplestorestate *changes;
	uint64		customers;
} Moves;

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

static void
moves_begin(Moves *moves, SourceSet *set, const Ruleset *ruleset)
{
	moves->set = set;
	moves->ruleset = ruleset;
	moves->at = GetCurrentTransactionStartTimestamp();
	moves->changed_by = CStringGetTextDatum(GetUserNameFromId(GetOuterUserId(), false));
	moves->standings_desc = table_desc("standings");
	moves->changes_desc = table_desc("changes");
	moves->standings = tuplestore_begin_heap(true, false, work_mem);
	moves->changes = tuplestore_begin_heap(true, false, work_mem);
	moves->customers = 0;
}

static Datum
text_or_null(const char *value, bool *isnull)
{
	*isnull = value == NULL;
	return value == NULL ? (Datum) 0 : CStringGetTextDatum(value);
}

/* Note one ladder's move. */
static void
log_move(Moves *moves, const Judgement *judgement, const Ladder *ladder,
		 const char *ladder_code, const Tier *was, const Tier *is)
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
	values[0] = TimestampTzGetDatum(moves->at);
	values[1] = judgement->after.customer;
	values[2] = CStringGetTextDatum("tier");
	values[3] = CStringGetTextDatum(is ? is->code : was->code);
	values[4] = CStringGetTextDatum(ladder_code);
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
	values[10] = CStringGetTextDatum(cause_names[judgement->cause]);
	values[11] = text_or_null(judgement->source, &nulls[11]);
	values[12] = text_or_null(judgement->source_key, &nulls[12]);
	values[13] = moves->changed_by;
	values[14] = Int64GetDatum(judgement->after.version);
	tuplestore_putvalues(moves->changes, moves->changes_desc, values, nulls);
}

/*
 * Compare what is held with what is reached; note the new standing and the
 * moves where they differ.
 */
static bool
judge_customer(Moves *moves, const Judgement *judgement, const Standing *standing)
{
	const Ruleset *ruleset = moves->ruleset;
	int		   *held = palloc(sizeof(int) * Max(ruleset->nladders, 1));
	TimestampTz *since = palloc(sizeof(TimestampTz) * Max(ruleset->nladders, 1));
	int			n = 0;
	int			kept = 0;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	for (int i = 0; i < ruleset->nladders; i++)
	{
		const Ladder *ladder = &ruleset->ladders[i];
		const Tier *is = segment_tier_reached(ladder, &judgement->after);
		const Tier *was = NULL;
		TimestampTz was_since = moves->at;

		for (int j = 0; j < standing->n; j++)
		{
			const Ladder *its_ladder;
			const Tier *tier = segment_tier_by_id(ruleset, standing->held[j], &its_ladder);

			if (tier != NULL && its_ladder == ladder)
			{
				was = tier;
				was_since = standing->since[j];
			}
		}
		if (is != NULL)
		{
			held[n] = is->id;
			since[n++] = is == was ? was_since : moves->at;
		}
		if (is == was)
			kept += is != NULL;
		else
			log_move(moves, judgement, ladder, ladder->code, was, is);
	}
	if (kept == standing->n && kept == n)
		return false;

	{
		Datum	   *elements = palloc(sizeof(Datum) * Max(n, 1));

		values[0] = judgement->after.customer;
		for (int i = 0; i < n; i++)
			elements[i] = Int32GetDatum(held[i]);
		values[1] = PointerGetDatum(segment_array(INT4OID, elements, NULL, n));
		for (int i = 0; i < n; i++)
			elements[i] = TimestampTzGetDatum(since[i]);
		values[2] = PointerGetDatum(segment_array(TIMESTAMPTZOID, elements, NULL, n));
	}
	tuplestore_putvalues(moves->standings, moves->standings_desc, values, nulls);
	moves->customers++;
	return true;
}

static void
moves_end(Moves *moves)
{
	SPIPlanPtr *plans = moves->set->plans;
	Identity	caller;

	if (moves->customers > 0)
	{
		segment_name_rows("moved", moves->standings_desc, moves->standings);
		segment_name_rows("moves", moves->changes_desc, moves->changes);
		segment_become(moves->set->owner, &caller);
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
		segment_write(segment_plan(&plans[PLAN_CHANGES_WRITE],
								   "INSERT INTO segment.changes SELECT m.* FROM moves m",
								   0, NULL), NULL, NULL);
		segment_resume(&caller);
		SPI_unregister_relation("moved");
		SPI_unregister_relation("moves");
	}
	tuplestore_end(moves->standings);
	tuplestore_end(moves->changes);
}

/* Unpack arrays of a standings row; empty where they are null. */
static void
read_standing(Datum held, bool held_null, Datum since, bool since_null, Standing *standing)
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
compare_judgements(const void *a, const void *b, void *set)
{
	return segment_compare_customers(set, ((const Judgement *) a)->after.customer,
									 ((const Judgement *) b)->after.customer);
}

/* Leave one entry per customer, from its first "before" to its last "after". */
static void
merge_judgements(SourceSet *set, Judgements *judgements)
{
	int			n = 0;

	for (int i = 0; i < judgements->n; i++)
	{
		Judgement  *item = &judgements->items[i];
		Judgement  *last = n > 0 ? &judgements->items[n - 1] : NULL;

		if (last == NULL || compare_judgements(last, item, set) != 0)
			judgements->items[n++] = *item;
		else if (item->after.version > last->after.version)
			last->after = item->after;
		else
			last->before = item->before;
	}
	judgements->n = n;
}

/* Whether nothing that a ladder looks at has moved past a threshold. */
static bool
stays(const Ruleset *ruleset, const Judgement *judgement)
{
	if (judgement->before.is_customer != judgement->after.is_customer)
		return false;
	if (!judgement->after.is_customer)
		return true;
	for (int i = 0; i < ruleset->nladders; i++)
	{
		const Ladder *ladder = &ruleset->ladders[i];

		if (segment_tier_reached(ladder, &judgement->before) !=
			segment_tier_reached(ladder, &judgement->after))
			return false;
	}
	return true;
}

static int
compare_rows(const void *a, const void *b, void *set)
{
	return segment_compare_customers(set, *(const Datum *) a, *(const Datum *) b);
}

typedef struct StoredStanding
{
	Datum		customer;		/* first, for compare_rows */
	Standing	standing;
} StoredStanding;

/* Standings of the customers to be judged, by key. */
static StoredStanding *
read_standings(SourceSet *set, Datum *customers, int n, int *found)
{
	Datum		array = PointerGetDatum(segment_array(set->key_type, customers, NULL, n));
	StoredStanding *stored;
	SPITupleTable *table;
	Identity	caller;

	segment_become(set->owner, &caller);
	*found = (int) segment_fetch(segment_plan(&set->plans[PLAN_STANDINGS_READ],
											  "SELECT s.customer_id, s.held, s.since FROM segment.standings s"
											  " WHERE s.customer_id OPERATOR(pg_catalog.=) ANY ($1)",
											  1, &set->key_array_type), &array, NULL);
	segment_resume(&caller);
	table = SPI_tuptable;
	stored = palloc(sizeof(StoredStanding) * Max(*found, 1));
	for (int i = 0; i < *found; i++)
	{
		Datum		values[3];
		bool		nulls[3];

		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		stored[i].customer = segment_copy_customer(set, values[0]);
		read_standing(values[1], nulls[1], values[2], nulls[2], &stored[i].standing);
	}
	SPI_freetuptable(table);
	qsort_arg(stored, *found, sizeof(StoredStanding), compare_rows, set);
	return stored;
}

/*
 * Judge the customers whose facts this transaction has just written; returns
 * how many moved.  Those whose figures crossed no threshold are passed over,
 * unless everything is to be compared.  Must run inside SPI.
 */
uint64
segment_judge(SourceSet *set, Judgements *judgements, bool everything)
{
	const Ruleset *ruleset;
	Datum	   *customers;
	StoredStanding *stored;
	int			n = 0;
	int			found;
	Moves		moves;

	if (judgements->n == 0)
		return 0;
	ruleset = segment_ruleset(set->owner);
	if (!ruleset->valid)
		return 0;				/* everyone is judged when the rules are right again */
	if (judgements->n > 1)
	{
		qsort_arg(judgements->items, judgements->n, sizeof(Judgement), compare_judgements, set);
		merge_judgements(set, judgements);
	}
	customers = palloc(sizeof(Datum) * judgements->n);
	for (int i = 0; i < judgements->n; i++)
	{
		if (!everything && stays(ruleset, &judgements->items[i]))
			continue;
		judgements->items[n] = judgements->items[i];
		customers[n] = judgements->items[n].after.customer;
		n++;
	}
	if (n == 0)
		return 0;
	stored = read_standings(set, customers, n, &found);
	moves_begin(&moves, set, ruleset);
	for (int i = 0; i < n; i++)
	{
		static const Standing none = {0};
		StoredStanding *its = bsearch_arg(&customers[i], stored, found, sizeof(StoredStanding),
										  compare_rows, set);

		judge_customer(&moves, &judgements->items[i], its ? &its->standing : &none);
		if (i % JUDGE_BATCH == 0)
			CHECK_FOR_INTERRUPTS();
	}
	moves_end(&moves);
	return moves.customers;
}

/*
 * Give the customers that are to move, sorted by key, a new version of their
 * facts.  Standings without facts keep version 0.
 */
static void
bump_versions(SourceSet *set, Judgements *judgements)
{
	Datum	   *customers = palloc(sizeof(Datum) * judgements->n);
	Datum		array;
	SPITupleTable *table;

	for (int i = 0; i < judgements->n; i++)
		customers[i] = judgements->items[i].after.customer;
	array = PointerGetDatum(segment_array(set->key_type, customers, NULL, judgements->n));
	segment_execute_with("UPDATE segment.facts f SET version = f.version + 1"
						 " WHERE f.customer_id = ANY ($1) RETURNING f.customer_id, f.version",
						 1, &set->key_array_type, &array, NULL, false, NULL, NULL);
	table = SPI_tuptable;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		customer = SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull);
		Datum	   *found = bsearch_arg(&customer, customers, judgements->n, sizeof(Datum), compare_rows, set);

		judgements->items[found - customers].after.version =
			DatumGetInt64(SPI_getbinval(table->vals[i], table->tupdesc, 2, &isnull));
	}
	SPI_freetuptable(table);
}

/* Figures before a recomputation, in the last columns where they changed. */
static void
read_before(HeapTuple row, TupleDesc desc, Judgement *item)
{
	Datum		values[MOVING_NCOLUMNS];
	bool		nulls[MOVING_NCOLUMNS];

	item->before = item->after;
	for (int i = 0; i < MOVING_NCOLUMNS; i++)
		values[i] = SPI_getbinval(row, desc, FACTS_NCOLUMNS + 3 + i, &nulls[i]);
	if (nulls[0])
		return;
	item->before.number_of_orders = DatumGetInt64(values[0]);
	item->before.amount_ordered = DatumGetNumericCopy(values[1]);
	item->before.number_of_returns = DatumGetInt64(values[2]);
	item->before.amount_returned = DatumGetNumericCopy(values[3]);
	item->before.items_bought = DatumGetNumericCopy(values[4]);
	item->before.items_returned = DatumGetNumericCopy(values[5]);
}

/*
 * Judge everyone (or those for whom the SQL condition filter over segment.facts
 * "f" holds) by the rules as they are; returns how many moved and adds their
 * keys to moved, where given.  With with_before, rows "facts_before" tell the
 * figures of customers whose facts have just changed.  The caller holds SHARE
 * ROW EXCLUSIVE on segment.facts, or the rows of those customers, and is inside
 * SPI.
 */
uint64
segment_judge_all(SourceSet *set, const char *filter, bool with_before, Cause cause,
				  const char *source, Tuplestorestate *moved, TupleDesc moved_desc)
{
	const Ruleset *ruleset;
	MemoryContext batch_context;
	MemoryContext before;
	Portal		portal;
	Identity	caller;
	char	   *sql;
	uint64		total = 0;
	uint64		judged = 0;
	TimestampTz told = GetCurrentTimestamp();

	ruleset = segment_ruleset(set->owner);
	if (!ruleset->valid)
		return 0;
	sql = psprintf("SELECT * FROM (SELECT " FACTS_COLUMNS("f") ", s.held, s.since, %s"
				   " FROM segment.facts f LEFT JOIN segment.standings s ON s.customer_id = f.customer_id%s"
				   " WHERE (f.is_customer OR s.customer_id IS NOT NULL) AND (%s)%s) AS u"
				   " ORDER BY u.customer_id%s",
				   with_before ? MOVING_COLUMNS("b")
				   : "NULL::bigint, NULL::numeric, NULL::bigint, NULL::numeric, NULL::numeric, NULL::numeric",
				   with_before ? " LEFT JOIN facts_before b ON b.customer_id = f.customer_id" : "",
				   filter ? filter : "true",
				   filter ? "" : " UNION ALL"
				   " SELECT s.customer_id, 0, false, 0, 0, NULL, NULL, 0, 0, 0, 0, s.held, s.since,"
				   " NULL, NULL, NULL, NULL, NULL, NULL"
				   " FROM segment.standings s WHERE NOT EXISTS"
				   " (SELECT FROM segment.facts f WHERE f.customer_id = s.customer_id)",
				   set->key_order);
	segment_become(set->owner, &caller);
	portal = SPI_cursor_open_with_args(NULL, sql, 0, NULL, NULL, NULL, false, 0);
	batch_context = AllocSetContextCreate(CurrentMemoryContext, "segment judge", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(batch_context);
	for (;;)
	{
		Judgements	wrong = {0};
		SPITupleTable *table;
		uint64		n;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(batch_context);
		n = segment_fetch_next(portal, JUDGE_BATCH);
		table = SPI_tuptable;
		if (n == 0)
			break;
		judged += n;
		if (TimestampDifferenceExceeds(told, GetCurrentTimestamp(), TELL_EVERY))
		{
			told = GetCurrentTimestamp();
			ereport(NOTICE, (errmsg("judged %llu customers, %llu of them moved",
									(unsigned long long) judged, (unsigned long long) total)));
		}
		for (uint64 i = 0; i < n; i++)
		{
			Judgement	item = {.cause = cause, .source = source};
			Standing	standing;
			Datum		held,
						since;
			bool		held_null,
						since_null;
			int			right = 0;
			int			reached = 0;

			segment_read_facts(set, table->vals[i], table->tupdesc, &item.after);
			read_before(table->vals[i], table->tupdesc, &item);
			held = SPI_getbinval(table->vals[i], table->tupdesc, FACTS_NCOLUMNS + 1, &held_null);
			since = SPI_getbinval(table->vals[i], table->tupdesc, FACTS_NCOLUMNS + 2, &since_null);
			read_standing(held, held_null, since, since_null, &standing);
			for (int j = 0; j < ruleset->nladders; j++)
			{
				const Tier *tier = segment_tier_reached(&ruleset->ladders[j], &item.after);

				if (tier == NULL)
					continue;
				reached++;
				for (int k = 0; k < standing.n; k++)
					right += standing.held[k] == tier->id;
			}
			if (right == reached && reached == standing.n)
				continue;
			*segment_judgements_add(&wrong) = item;
		}
		SPI_freetuptable(table);
		if (wrong.n == 0)
			continue;
		for (int i = 0; moved != NULL && i < wrong.n; i++)
		{
			bool		isnull = false;

			tuplestore_putvalues(moved, moved_desc, &wrong.items[i].after.customer, &isnull);
		}
		bump_versions(set, &wrong);
		total += segment_judge(set, &wrong, true);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(batch_context);
	SPI_cursor_close(portal);
	segment_resume(&caller);
	return total;
}
