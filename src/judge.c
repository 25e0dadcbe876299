/*
 * judge.c
 *		Who is in what: figures are read, customers classified, and what was
 *		overdue is replayed first.
 *
 * A verdict holds until the customer's rows change or until it is due.  So
 * whoever finds a customer overdue judges at each instant that has passed,
 * with the figures as they were, before anything else: late ticks and punctual
 * ones leave the same history.
 */
#include "segment.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "judge.h"
#include "miscadmin.h"
#include "row.h"
#include "ruleset.h"
#include "saved_plan.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* customers judged at a time by segment_judge_all() and ticks */
#define JUDGE_BATCH 5000

/* milliseconds after which a long judging says how far it is */
#define TELL_EVERY 3000

/* judging on its way */
typedef struct Judging
{
	SourceSet  *set;
	Rules	   *rules;
	Moves	   *moves;			/* NULL: nothing is logged */
	TimestampTz now;
	Snapshot	snapshot;		/* to read with; InvalidSnapshot: the latest */
	Snapshot	past;			/* to replay with, where it is another */
} Judging;

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

/*
 * The vectors of figures of customers at an instant: those that segment.facts
 * keeps from there, the rest by the reader (NULL: nothing is to be read).
 */
static FigureValue **
read_vectors(Judging *judging, Judgement **items, const Facts **facts, int n,
			 FigureReader *reader, const Shop *shop, Snapshot snapshot)
{
	const Bound *bound = judging->rules->ruleset.groups;
	FigureValue **vectors = palloc(sizeof(FigureValue *) * Max(n, 1));
	CustomerFigures *read = NULL;
	int			found = 0;
	int			at = 0;

	if (reader != NULL)
	{
		Datum	   *customers = palloc(sizeof(Datum) * Max(n, 1));

		for (int i = 0; i < n; i++)
			customers[i] = items[i]->after.customer;
		read = segment_figures_read(reader, shop, customers, n, snapshot, &found);
	}
	for (int i = 0; i < n; i++)
	{
		/* both are in the order of keys */
		while (at < found && segment_compare_customers(judging->set, read[at].customer, items[i]->after.customer) < 0)
			at++;
		if (at < found && segment_compare_customers(judging->set, read[at].customer, items[i]->after.customer) == 0)
			vectors[i] = read[at].figures;
		else
		{
			vectors[i] = palloc0(sizeof(FigureValue) * Max(bound->nfigures, 1));
			for (int j = 0; j < bound->nfigures; j++)
			{
				vectors[i][j].isnull = true;
				vectors[i][j].next_change = DT_NOEND;
			}
		}
		for (int j = 0; j < bound->nfigures; j++)
			(void) segment_figure_from_facts(bound->figures[j], facts[i], shop, &vectors[i][j]);
	}
	return vectors;
}

/* Classify one customer, and note what comes of it. */
static void
classify(Judging *judging, Judgement *item, const Facts *facts, FigureValue *figures, const Shop *shop,
		 const Concerned *concerned, bool all, const Reason *reason)
{
	const Ruleset *ruleset = &judging->rules->ruleset;
	Verdict		verdict;

	verdict.tiers = palloc(sizeof(Tier *) * Max(ruleset->nladders, 1));
	verdict.groups = palloc(sizeof(bool) * Max(ruleset->groups->ngroups, 1));
	for (int i = 0; i < ruleset->groups->ngroups; i++)
		verdict.groups[i] = segment_holds(&item->standing, ruleset->groups->groups[i]->id, NULL);
	segment_classify(ruleset, facts, figures, shop, concerned->wanted, &verdict);
	(void) segment_move(judging->moves, ruleset, item, &verdict, reason);
	/* a later one is left as it is: to be looked at early harms nobody */
	if (item->due <= shop->at && all)
		item->due = verdict.due;
	else
		item->due = Min(item->due, verdict.due);
}

/* A standing whose arrays are to outlive the context that they are in. */
static void
keep_standing(Standing *standing)
{
	Size		n = Max(standing->n, 1);

	standing->held = memcpy(palloc(sizeof(int) * n), standing->held, sizeof(int) * standing->n);
	standing->since = memcpy(palloc(sizeof(TimestampTz) * n), standing->since, sizeof(TimestampTz) * standing->n);
}

/*
 * Judge customers, sorted by key, at an instant.  Of all that this takes only
 * new standings are left in the current context.
 */
static void
judge_at(Judging *judging, Judgement **items, const Facts **facts, int n, Concerned *concerned,
		 FigureReader *reader, TimestampTz at, Snapshot snapshot, const Reason *reason)
{
	bool		all = concerned == segment_concerned(judging->rules, TOUCHES_ALL);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "segment figures of a batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext each = AllocSetContextCreate(scratch, "segment customer", ALLOCSET_SMALL_SIZES);
	MemoryContext before = MemoryContextSwitchTo(scratch);
	Shop		shop = segment_rules_shop(judging->rules, at);
	FigureValue **vectors = read_vectors(judging, items, facts, n,
										 !concerned->reads ? NULL : reader != NULL ? reader : &concerned->reader,
										 &shop, snapshot);

	for (int i = 0; i < n; i++)
	{
		Judgement  *item = items[i];
		Reason		its = {.at = at, .cause = item->cause, .source = item->source, .source_key = item->source_key};
		const int  *held = item->standing.held;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(each);
		classify(judging, item, facts[i], vectors[i], &shop, concerned, all, reason ? reason : &its);
		MemoryContextSwitchTo(before);
		if (item->standing.held != held)
			keep_standing(&item->standing);
		MemoryContextReset(each);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(scratch);
}

/* Facts as a snapshot shows them; of whom it shows none they stay as they are. */
static void
read_past_facts(Judging *judging, Judgement **items, Facts *facts, int n)
{
	SourceSet  *set = judging->set;
	Datum	   *customers = palloc(sizeof(Datum) * Max(n, 1));
	Datum		array;
	SPITupleTable *table;
	uint64		found;
	Identity	caller;
	int			at = 0;

	for (int i = 0; i < n; i++)
		customers[i] = items[i]->after.customer;
	array = PointerGetDatum(segment_array(set->key_type, customers, NULL, n));
	segment_become(set->owner, &caller);
	found = segment_fetch_as_of(segment_plan(&set->plans[PLAN_FACTS_READ],
											 psprintf("SELECT " FACTS_COLUMNS("f") " FROM segment.facts f"
													  " WHERE f.customer_id OPERATOR(pg_catalog.=) ANY ($1)"
													  " ORDER BY f.customer_id%s", set->key_order),
											 1, &set->key_array_type), &array, NULL, judging->past);
	segment_resume(&caller);
	table = SPI_tuptable;
	for (uint64 i = 0; i < found; i++)
	{
		Facts		its;

		segment_read_facts(set, table->vals[i], table->tupdesc, &its);
		while (at < n && segment_compare_customers(set, items[at]->after.customer, its.customer) < 0)
			at++;
		if (at < n && segment_compare_customers(set, items[at]->after.customer, its.customer) == 0)
			facts[at] = its;
	}
	SPI_freetuptable(table);
}

/*
 * Judge those who are overdue, sorted by key, at each instant that has passed,
 * one after the other, by their figures as they were before this transaction.
 */
static void
replay(Judging *judging, Judgements *judgements)
{
	Rules	   *rules = judging->rules;
	Concerned  *all = segment_concerned(rules, TOUCHES_ALL);
	Judgement **overdue = palloc(sizeof(Judgement *) * Max(judgements->n, 1));
	Facts	   *facts = palloc(sizeof(Facts) * Max(judgements->n, 1));
	Judgement **items = palloc(sizeof(Judgement *) * Max(judgements->n, 1));
	const Facts **its = palloc(sizeof(Facts *) * Max(judgements->n, 1));
	int			noverdue = 0;
	MemoryContext before = CurrentMemoryContext;

	for (int i = 0; i < judgements->n; i++)
	{
		if (judgements->items[i].due > judging->now)
			continue;
		facts[noverdue] = judgements->items[i].after;
		overdue[noverdue++] = &judgements->items[i];
	}
	if (noverdue == 0)
		return;
	if (judging->past != InvalidSnapshot)
		read_past_facts(judging, overdue, facts, noverdue);
	for (;;)
	{
		TimestampTz next = DT_NOEND;
		Reason		reason = {.cause = CAUSE_TIME};
		int			n = 0;

		for (int i = 0; i < noverdue; i++)
			next = Min(next, overdue[i]->due);
		if (next > judging->now)
			break;
		for (int i = 0; i < noverdue; i++)
		{
			if (overdue[i]->due > next)
				continue;
			its[n] = &facts[i];
			items[n++] = overdue[i];
		}
		reason.at = next;
		judge_at(judging, items, its, n, all, all->reads ? segment_replay_reader(rules) : NULL, next,
				 judging->past != InvalidSnapshot ? judging->past : judging->snapshot, &reason);
		for (int i = 0; i < n; i++)
		{
			if (items[i]->due <= next)
				elog(ERROR, "a verdict is due again at the instant at which it was made");
		}
		MemoryContextSwitchTo(before);
	}
}

/* Judge everyone given, sorted by key, at the instant that stands for now. */
static void
judge_now(Judging *judging, Judgements *judgements, Concerned *concerned)
{
	Judgement **items = palloc(sizeof(Judgement *) * Max(judgements->n, 1));
	const Facts **facts = palloc(sizeof(Facts *) * Max(judgements->n, 1));

	for (int i = 0; i < judgements->n; i++)
	{
		items[i] = &judgements->items[i];
		facts[i] = &judgements->items[i].after;
	}
	judge_at(judging, items, facts, judgements->n, concerned, NULL, judging->now, judging->snapshot, NULL);
}

/* Whether nothing that a ladder looks at has moved past a threshold. */
static bool
keeps_tiers(const Ruleset *ruleset, const Judgement *judgement)
{
	for (int i = 0; i < ruleset->nladders; i++)
	{
		const Ladder *ladder = &ruleset->ladders[i];

		if (segment_tier_reached(ladder, &judgement->before) !=
			segment_tier_reached(ladder, &judgement->after))
			return false;
	}
	return true;
}

/*
 * As things were before this transaction wrote anything: nobody overdue has been
 * judged in it, so nothing of theirs had been changed before this statement.
 * The caller unregisters it.
 */
Snapshot
segment_past_snapshot(void)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	snapshot->curcid = FirstCommandId;
	return snapshot;
}

/* Judge customers whose facts are written, sorted by key, and write what comes of it. */
static uint64
judge_batch(Judging *judging, Judgements *batch, Concerned *concerned)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "segment judge", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(context);
	Moves		moves = {0};
	uint64		moved;

	segment_read_standings(judging->set, batch, InvalidSnapshot);
	segment_moves_begin(&moves, judging->set);
	judging->moves = &moves;
	if (judging->past != InvalidSnapshot)
		replay(judging, batch);
	judge_now(judging, batch, concerned);
	moved = segment_moves_end(&moves, batch);
	judging->moves = NULL;
	MemoryContextSwitchTo(before);
	MemoryContextDelete(context);
	return moved;
}

/*
 * Judge the customers whose facts this transaction has just written; returns
 * how many moved.  Those whom the rows in question cannot have moved are passed
 * over.  Must run inside SPI.
 */
uint64
segment_judge(SourceSet *set, Judgements *judgements)
{
	Judging		judging = {.set = set};
	const Ruleset *ruleset;
	int			touched = judgements->touched;
	int			n = 0;
	bool		overdue = false;
	uint64		moved = 0;

	if (judgements->n == 0)
		return 0;
	judging.rules = segment_rules(set, InvalidSnapshot);
	ruleset = &judging.rules->ruleset;
	if (!ruleset->valid)
		return 0;				/* everyone is judged when the rules are right again */
	judging.now = segment_rules_instant(judging.rules);
	if (judgements->n > 1)
	{
		qsort_arg(judgements->items, judgements->n, sizeof(Judgement), compare_judgements, set);
		merge_judgements(set, judgements);
	}
	for (int i = 0; i < judgements->n; i++)
	{
		Judgement  *item = &judgements->items[i];

		item->due = item->after.due;
		if (item->before.is_customer != item->after.is_customer)
			touched = TOUCHES_ALL;
		else if (item->due > judging.now &&
				 (!item->after.is_customer ||
				  (segment_concerned(judging.rules, judgements->touched)->n == 0 && keeps_tiers(ruleset, item))))
			continue;
		overdue |= item->due <= judging.now;
		judgements->items[n++] = *item;
	}
	judgements->n = n;
	if (overdue)
		judging.past = segment_past_snapshot();
	for (int i = 0; i < n; i += JUDGE_BATCH)
	{
		Judgements	batch = {.n = Min(n - i, JUDGE_BATCH), .items = judgements->items + i};

		moved += judge_batch(&judging, &batch, segment_concerned(judging.rules, touched));
	}
	if (overdue)
		UnregisterSnapshot(judging.past);
	return moved;
}

/* Give the facts of those who moved the version that their moves were logged with. */
static void
bump_versions(SourceSet *set, const Judgements *judgements)
{
	Datum	   *customers = palloc(sizeof(Datum) * Max(judgements->n, 1));
	Datum		array;
	int			n = 0;

	for (int i = 0; i < judgements->n; i++)
	{
		if (judgements->items[i].moved && !judgements->items[i].without_facts)
			customers[n++] = judgements->items[i].after.customer;
	}
	if (n == 0)
		return;
	array = PointerGetDatum(segment_array(set->key_type, customers, NULL, n));
	segment_execute_with("UPDATE segment.facts f SET version = f.version + 1 WHERE f.customer_id = ANY ($1)",
						 1, &set->key_array_type, &array, NULL, false, NULL, NULL);
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

static uint64
judge_where(SourceSet *set, const int *group, const char *filter, bool with_before, Cause cause,
			const char *source, const char *source_key, Tuplestorestate *moved, TupleDesc moved_desc)
{
	Judging		judging = {.set = set};
	MemoryContext batch_context;
	MemoryContext before;
	Portal		portal;
	Identity	caller;
	char	   *sql;
	uint64		total = 0;
	uint64		judged = 0;
	TimestampTz told = GetCurrentTimestamp();
	Concerned  *concerned;

	judging.rules = segment_rules(set, InvalidSnapshot);
	if (!judging.rules->ruleset.valid)
		return 0;
	concerned = group ? segment_concerned_by(judging.rules, *group) : segment_concerned(judging.rules, TOUCHES_ALL);
	judging.now = segment_rules_instant(judging.rules);
	sql = psprintf("SELECT * FROM (SELECT " FACTS_COLUMNS("f") ", s.held, s.since, %s"
				   " FROM segment.facts f LEFT JOIN segment.standings s ON s.customer_id = f.customer_id%s"
				   " WHERE (f.is_customer OR s.customer_id IS NOT NULL) AND (%s)%s) AS u"
				   " ORDER BY u.customer_id%s",
				   with_before ? MOVING_COLUMNS("b")
				   : "NULL::bigint, NULL::numeric, NULL::bigint, NULL::numeric, NULL::numeric, NULL::numeric",
				   with_before ? " LEFT JOIN facts_before b ON b.customer_id = f.customer_id" : "",
				   filter ? filter : "true",
				   filter ? "" : " UNION ALL"
				   " SELECT s.customer_id, 0, false, 0, 0, NULL, NULL, 0, 0, 0, 0, NULL, s.held, s.since,"
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
		Judgements	batch = {0};
		Moves		moves = {0};
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
			Judgement  *item = segment_judgements_add(&batch);
			Datum		held,
						since;
			bool		held_null,
						since_null;

			segment_read_facts(set, table->vals[i], table->tupdesc, &item->after);
			item->cause = cause;
			item->source = source;
			item->source_key = unconstify(char *, source_key);
			item->without_facts = item->after.version == 0;
			item->due = item->after.due;
			if (!item->without_facts)
				item->after.version++;	/* what it will be if the customer moves */
			read_before(table->vals[i], table->tupdesc, item);
			held = SPI_getbinval(table->vals[i], table->tupdesc, FACTS_NCOLUMNS + 1, &held_null);
			since = SPI_getbinval(table->vals[i], table->tupdesc, FACTS_NCOLUMNS + 2, &since_null);
			segment_read_standing(held, held_null, since, since_null, &item->standing);
		}
		SPI_freetuptable(table);
		segment_moves_begin(&moves, set);
		judging.moves = &moves;
		replay(&judging, &batch);
		judge_now(&judging, &batch, concerned);
		bump_versions(set, &batch);
		for (int i = 0; moved != NULL && i < batch.n; i++)
		{
			bool		isnull = false;

			if (batch.items[i].shows)
				tuplestore_putvalues(moved, moved_desc, &batch.items[i].after.customer, &isnull);
		}
		total += segment_moves_end(&moves, &batch);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(batch_context);
	SPI_cursor_close(portal);
	segment_resume(&caller);
	return total;
}

/*
 * Judge everyone (or those for whom the SQL condition filter over segment.facts
 * "f" and segment.standings "s" holds) by the rules as they are; returns how
 * many moved and adds their keys to moved, where given.  With with_before, rows
 * "facts_before" tell the figures of customers whose facts have just changed.
 * The caller holds SHARE ROW EXCLUSIVE on segment.facts, or the rows of those
 * customers, and is inside SPI.
 */
uint64
segment_judge_all(SourceSet *set, const char *filter, bool with_before, Cause cause,
				  const char *source, const char *source_key, Tuplestorestate *moved, TupleDesc moved_desc)
{
	return judge_where(set, NULL, filter, with_before, cause, source, source_key, moved, moved_desc);
}

/*
 * The same where nothing but the group, or what is pending, with that id has
 * changed: the others keep what they are, but for those that may name it.  With
 * 0 nobody is judged but who is overdue, and what is unknown is held no longer.
 */
uint64
segment_judge_group(SourceSet *set, int group, const char *filter, const char *source_key)
{
	return judge_where(set, &group, filter, false, CAUSE_RULE, source_key ? "rule_changes" : NULL, source_key, NULL, NULL);
}

/*
 * Bring up to date at most so many customers who are due at an instant, those
 * whose rows nobody else holds; returns how many there were.  Must run inside
 * SPI; the caller is in READ COMMITTED.
 */
uint64
segment_wake(SourceSet *set, TimestampTz at, int64 limit)
{
	Judging		judging = {.set = set, .now = at};
	Judgements	judgements = {0};
	Moves		moves = {0};
	const Oid	types[2] = {TIMESTAMPTZOID, INT8OID};
	Datum		values[2] = {TimestampTzGetDatum(at), Int64GetDatum(limit)};
	SPITupleTable *table;
	uint64		n;
	Identity	caller;

	LockRelationOid(set->facts, RowExclusiveLock);
	judging.rules = segment_rules(set, InvalidSnapshot);
	if (!judging.rules->ruleset.valid)
		return 0;
	segment_become(set->owner, &caller);
	n = segment_write(segment_plan(&set->plans[PLAN_FACTS_WAKE],
								   psprintf("UPDATE segment.facts AS f SET version = f.version OPERATOR(pg_catalog.+) 1"
											" FROM (SELECT d.customer_id FROM segment.facts d"
											" WHERE d.due OPERATOR(pg_catalog.<=) $1 ORDER BY d.customer_id%s"
											" LIMIT $2 FOR UPDATE SKIP LOCKED) AS d"
											" WHERE f.customer_id OPERATOR(pg_catalog.=) d.customer_id"
											" RETURNING " FACTS_COLUMNS("f"), set->key_order),
								   2, types), values, NULL);
	segment_resume(&caller);
	table = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		Judgement  *item = segment_judgements_add(&judgements);

		segment_read_facts(set, table->vals[i], table->tupdesc, &item->after);
		item->before = item->after;
		item->cause = CAUSE_TIME;
		item->due = item->after.due;
	}
	SPI_freetuptable(table);
	if (n == 0)
		return 0;
	qsort_arg(judgements.items, judgements.n, sizeof(Judgement), compare_judgements, set);
	segment_read_standings(set, &judgements, InvalidSnapshot);
	segment_moves_begin(&moves, set);
	judging.moves = &moves;
	replay(&judging, &judgements);
	segment_moves_end(&moves, &judgements);
	return n;
}

/*
 * Before rules change: everyone who is due is brought up to date by the rules
 * as they are.  The caller holds SHARE ROW EXCLUSIVE on segment.facts.
 */
void
segment_wake_everyone(SourceSet *set)
{
	TimestampTz at = segment_judging_instant(InvalidSnapshot);
	MemoryContext batch;
	MemoryContext before;

	if (!OidIsValid(set->facts))
		return;
	batch = AllocSetContextCreate(CurrentMemoryContext, "segment wake", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(batch);
	while (segment_wake(set, at, JUDGE_BATCH) > 0)
		MemoryContextReset(batch);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(batch);
}

/*
 * The standings at an instant of those who are due by then; nothing is
 * written, so this serves a hot standby too.  Rows (customer_id, held, since).
 */
void
segment_judge_due(SourceSet *set, Snapshot snapshot, TimestampTz at, Tuplestorestate *rows, TupleDesc desc)
{
	Judging		judging = {.set = set, .snapshot = snapshot, .now = at};
	MemoryContext batch;
	MemoryContext before;
	Oid			type = TIMESTAMPTZOID;
	Datum		value;
	Portal		portal;
	Identity	caller;
	char	   *sql = psprintf("SELECT " FACTS_COLUMNS("f") " FROM segment.facts f"
							   " WHERE f.due OPERATOR(pg_catalog.<=) $1 ORDER BY f.customer_id%s", set->key_order);

	judging.rules = segment_rules(set, snapshot);
	value = TimestampTzGetDatum(at);
	if (!judging.rules->ruleset.valid)
		return;
	batch = AllocSetContextCreate(CurrentMemoryContext, "segment judge due", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(batch);
	segment_become(set->owner, &caller);
	portal = SPI_cursor_open_with_args(NULL, sql, 1, &type, &value, NULL, true, 0);
	segment_resume(&caller);
	for (;;)
	{
		Judgements	judgements = {0};
		SPITupleTable *table;
		uint64		n;

		CHECK_FOR_INTERRUPTS();
		segment_become(set->owner, &caller);
		n = segment_fetch_next(portal, JUDGE_BATCH);
		segment_resume(&caller);
		table = SPI_tuptable;
		if (n == 0)
			break;
		for (uint64 i = 0; i < n; i++)
		{
			Judgement  *item = segment_judgements_add(&judgements);

			segment_read_facts(set, table->vals[i], table->tupdesc, &item->after);
			item->before = item->after;
			item->due = item->after.due;
		}
		SPI_freetuptable(table);
		segment_read_standings(set, &judgements, snapshot);
		replay(&judging, &judgements);
		for (int i = 0; i < judgements.n; i++)
			segment_put_standing(rows, desc, judgements.items[i].after.customer, &judgements.items[i].standing);
		MemoryContextReset(batch);
	}
	MemoryContextSwitchTo(before);
	MemoryContextDelete(batch);
	SPI_cursor_close(portal);
}
