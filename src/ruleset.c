/*
 * ruleset.c
 *		Ladders and groups compiled, the same for every session.
 *
 * Whoever judges holds ROW EXCLUSIVE on segment.facts, whoever changes rules
 * SHARE ROW EXCLUSIVE, so the version read with the latest snapshot after that
 * lock is the one that holds until commit.
 */
#include "segment.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "configuration.h"
#include "miscadmin.h"
#include "catalog/pg_type.h"
#include "ruleset.h"
#include "saved_plan.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static Rules *compiled = NULL;
static List *retired = NIL;		/* of Rules, in TopMemoryContext: somebody further up may work with them */

/* A private copy in the current context of a numeric column of the current row. */
static Numeric
row_numeric(HeapTuple row, int column, bool *isnull)
{
	Datum		value = SPI_getbinval(row, SPI_tuptable->tupdesc, column, isnull);

	return *isnull ? NULL : DatumGetNumericCopy(value);
}

static int
row_int(HeapTuple row, int column)
{
	bool		isnull;

	return DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, column, &isnull));
}

static bool
row_bool(HeapTuple row, int column)
{
	bool		isnull;

	return DatumGetBool(SPI_getbinval(row, SPI_tuptable->tupdesc, column, &isnull));
}

/* The only row of segment.ruleset. */
typedef struct RulesetRow
{
	int64		version;
	TimestampTz ticked;			/* the last tick, DT_NOBEGIN for none */
} RulesetRow;

static RulesetRow
read_row(Snapshot snapshot)
{
	Oid			relid = get_relname_relid("ruleset", get_namespace_oid("segment", false));
	Relation	relation = table_open(relid, AccessShareLock);
	TableScanDesc scan = table_beginscan(relation, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	RulesetRow	row = {0, DT_NOBEGIN};

	if (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		Datum		ticked;

		row.version = DatumGetInt64(slot_getattr(slot, 1, &isnull));
		ticked = slot_getattr(slot, 2, &isnull);
		if (!isnull)
			row.ticked = DatumGetTimestampTz(ticked);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	return row;
}

/* The same as a snapshot shows it, or with InvalidSnapshot the latest. */
static RulesetRow
read_row_now(Snapshot snapshot)
{
	Snapshot	shown = RegisterSnapshot(snapshot != InvalidSnapshot ? snapshot : GetLatestSnapshot());
	RulesetRow	row = read_row(shown);

	UnregisterSnapshot(shown);
	return row;
}

/* Take one ladder's tiers from the rows of a query over all of them. */
static Tier *
take_tiers(const Ladder *ladder, int *ntiers)
{
	SPITupleTable *table = SPI_tuptable;
	Tier	   *tiers = palloc0(sizeof(Tier) * Max(SPI_processed, 1));

	*ntiers = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = table->vals[i];
		Tier	   *tier = &tiers[*ntiers];
		bool		isnull;

		if (strcmp(SPI_getvalue(row, table->tupdesc, 1), ladder->code) != 0)
			continue;
		tier->id = row_int(row, 2);
		tier->code = SPI_getvalue(row, table->tupdesc, 3);
		tier->active = row_bool(row, 4);
		tier->min_value = row_numeric(row, 5, &isnull);
		tier->max_value = row_numeric(row, 6, &isnull);
		tier->has_max = !isnull;
		tier->takes_all_below = *ntiers == 0 &&
			DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(tier->min_value),
											 NumericGetDatum(int64_to_numeric(0))));
		(*ntiers)++;
	}
	return tiers;
}

static void
read_tiers(Ruleset *ruleset)
{
	segment_execute_latest("SELECT t.ladder, t.id, t.code, t.active, t.min_value, t.max_value"
					" FROM segment.tiers t"
					" ORDER BY t.ladder, t.min_value, t.max_value NULLS LAST, t.id");
	for (int i = 0; i < ruleset->nladders; i++)
		ruleset->ladders[i].tiers = take_tiers(&ruleset->ladders[i], &ruleset->ladders[i].ntiers);
	segment_execute_latest("SELECT t.ladder, t.id, t.code, false, t.min_value, NULL::numeric"
					" FROM segment.former_tiers t");
	for (int i = 0; i < ruleset->nladders; i++)
		ruleset->ladders[i].former = take_tiers(&ruleset->ladders[i], &ruleset->ladders[i].nformer);
}

static void
read_ladders(Ruleset *ruleset)
{
	Numeric		money_unit;
	StringInfoData what,
				detail,
				hint;

	money_unit = DatumGetNumeric(DirectFunctionCall3(numeric_in,
													 CStringGetDatum(segment_setting("money_unit")),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	segment_execute_latest("SELECT l.code, l.figure, l.active, l.unit"
					" FROM segment.ladders l ORDER BY l.code");
	ruleset->nladders = (int) SPI_processed;
	ruleset->ladders = palloc0(sizeof(Ladder) * Max(ruleset->nladders, 1));
	for (int i = 0; i < ruleset->nladders; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		Ladder	   *ladder = &ruleset->ladders[i];
		bool		isnull;

		ladder->code = SPI_getvalue(row, SPI_tuptable->tupdesc, 1);
		ladder->figure = segment_figure_by_name(SPI_getvalue(row, SPI_tuptable->tupdesc, 2));
		ladder->active = row_bool(row, 3);
		ladder->unit = row_numeric(row, 4, &isnull);
		if (isnull)
			ladder->unit = segment_figure_is_money(ladder->figure) ? money_unit : int64_to_numeric(1);
	}
	read_tiers(ruleset);

	initStringInfo(&what);
	initStringInfo(&detail);
	initStringInfo(&hint);
	ruleset->valid = segment_ruleset_fault(ruleset, &what, &detail, &hint) == NULL;
}

static void find_touches(Rules *rules);

static void
read_groups(Rules *rules)
{
	Ruleset    *ruleset = &rules->ruleset;

	segment_execute_latest("SELECT g.id, g.code FROM segment.former_groups g");
	ruleset->nformer = (int) SPI_processed;
	ruleset->former = palloc0(sizeof(FormerGroup) * Max(ruleset->nformer, 1));
	for (int i = 0; i < ruleset->nformer; i++)
	{
		ruleset->former[i].id = row_int(SPI_tuptable->vals[i], 1);
		ruleset->former[i].code = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
	}
	if (segment_customers_source(rules->set) != NULL)
		ruleset->groups = segment_bind_rules(rules->set);
	else
		ruleset->groups = palloc0(sizeof(Bound));
	find_touches(rules);
}

/* Compile all rules into the current context.  Must run inside SPI, as owner. */
static Rules *
compile(SourceSet *set, int64 version)
{
	Rules	   *rules = palloc0(sizeof(Rules));

	rules->ruleset.version = version;
	rules->set = set;
	rules->generation = set->generation;
	read_ladders(&rules->ruleset);
	read_groups(rules);
	if (rules->ruleset.groups->ngroups > 0)
	{
		segment_shop_at(&rules->shop, GetCurrentTransactionStartTimestamp());
		segment_bound_prepare(rules->ruleset.groups, &rules->shop);
	}
	return rules;
}

/* With the plans that go with them. */
static void
free_rules(Rules *rules)
{
	for (int i = 0; i < lengthof(rules->concerned); i++)
	{
		if (rules->concerned[i] != NULL && rules->concerned[i]->reads)
			segment_figures_close(&rules->concerned[i]->reader);
	}
	if (rules->by != NULL && rules->by->reads)
		segment_figures_close(&rules->by->reader);
	if (rules->replay.bound != NULL)
		segment_figures_close(&rules->replay);
	MemoryContextDelete(rules->context);
}

/* Others take the place of what was compiled. */
static void
retire_compiled(void)
{
	MemoryContext before;
	ListCell   *cell;

	if (compiled != NULL)
	{
		before = MemoryContextSwitchTo(TopMemoryContext);
		retired = lappend(retired, compiled);
		MemoryContextSwitchTo(before);
		compiled = NULL;
	}
	if (segment_sources_shared())
		return;
	foreach(cell, retired)
		free_rules(lfirst(cell));
	list_free(retired);
	retired = NIL;
}

static void
compile_anew(SourceSet *set, int64 version, Snapshot snapshot)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "segment ruleset",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext before;
	Rules	   *fresh;
	Identity	caller;

	segment_become(set->owner, &caller);
	before = MemoryContextSwitchTo(context);
	segment_pin_snapshot(snapshot);
	PG_TRY();
	{
		fresh = compile(set, version);
	}
	PG_CATCH();
	{
		segment_pin_snapshot(InvalidSnapshot);
		MemoryContextDelete(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	segment_pin_snapshot(InvalidSnapshot);
	MemoryContextSwitchTo(before);
	segment_resume(&caller);

	retire_compiled();
	fresh->context = context;
	compiled = fresh;
}

/*
 * The rules in force, good until the caller releases the sources.  Whoever writes passes
 * InvalidSnapshot, is inside SPI and holds ROW EXCLUSIVE on segment.facts, whose
 * lock keeps rule changes out (see above); 40001 is raised where the
 * transaction's own snapshot is older than the rules: its view of the standings
 * may be older too.  Whoever only reads passes the snapshot that it reads with.
 */
Rules *
segment_rules(SourceSet *set, Snapshot snapshot)
{
	RulesetRow	row = read_row_now(snapshot);

	if (snapshot == InvalidSnapshot)
	{
		if (IsolationUsesXactSnapshot() && read_row(GetTransactionSnapshot()).version != row.version)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to a concurrent change of groups, ladders or tiers"),
					 errhint("The transaction might succeed if retried.")));
	}
	if (compiled == NULL || compiled->ruleset.version != row.version ||
		compiled->set != set || compiled->generation != set->generation)
		compile_anew(set, row.version, snapshot);
	compiled->ticked = row.ticked;
	return compiled;
}

/*
 * The instant at which customers are judged: what stands for now, or the last
 * tick where that is later, so that nobody is judged at an earlier instant than
 * others were before.
 */
TimestampTz
segment_judging_instant(Snapshot snapshot)
{
	return Max(read_row_now(snapshot).ticked, segment_now());
}

/* The same for whoever has just asked for the rules. */
TimestampTz
segment_rules_instant(const Rules *rules)
{
	return Max(rules->ticked, segment_now());
}

/* Write down that a tick has come as far as an instant. */
void
segment_ticked(TimestampTz at)
{
	Oid			type = TIMESTAMPTZOID;
	Datum		value = TimestampTzGetDatum(at);

	segment_execute_with("UPDATE segment.ruleset SET ticked = $1 WHERE ticked IS NULL OR ticked < $1",
						 1, &type, &value, NULL, false, NULL, NULL);
}

/* The shop at an instant. */
Shop
segment_rules_shop(const Rules *rules, TimestampTz at)
{
	Shop		shop = rules->shop;

	shop.at = at;
	if (shop.zone == NULL || !segment_day_of_instant(at, shop.zone, &shop.today))
		shop.today = 0;			/* without groups nobody asks */
	return shop;
}

/*
 * What changes whom.
 */

/* The kind of thing that rows of a role are about. */
int
segment_role_touches(SourceRole role)
{
	switch (role)
	{
		case ROLE_CUSTOMERS:
			return TOUCHES_PROFILE;
		case ROLE_POINTS:
			return TOUCHES_POINTS;
		case ROLE_OFFERS:
			return TOUCHES_OFFERS;
		case ROLE_TAGS:
			return TOUCHES_TAGS;
		default:
			return TOUCHES_PURCHASES;
	}
}

static int
figure_touches(const BoundFigure *figure)
{
	switch (figure->word->id)
	{
		case WORD_TAGS:
			return TOUCHES_PROFILE | TOUCHES_TAGS;
		case WORD_POINTS:
		case WORD_POINTS_EXPIRING:
			return TOUCHES_PROFILE | TOUCHES_POINTS;
		case WORD_TIER:
			return figure->base ? figure_touches(figure->base) : 0;
		case WORD_GROUPS:
			return 0;			/* what those are touched by is added to them */
		case WORD_CUSTOM:
		case WORD_GIVEN_NAME:
		case WORD_EMAIL_DOMAIN:
			return TOUCHES_PROFILE;
		default:
			break;
	}
	if (figure->word->column != NULL)
		return TOUCHES_PROFILE;
	switch (figure->event)
	{
		case NARROW_OFFERS:
			return TOUCHES_OFFERS;
		case NARROW_POINTS:
			return TOUCHES_POINTS;
		default:
			return TOUCHES_PURCHASES | (figure->word->id == WORD_AGE ? TOUCHES_PROFILE : 0);
	}
}

/* Figures that a condition reads, into slots by number. */
static void
collect_slots(const BoundNode *node, bool *slots)
{
	ListCell   *cell;

	check_stack_depth();
	foreach(cell, node->children)
		collect_slots(lfirst(cell), slots);
	if (node->figure != NULL)
		slots[node->figure->slot] = true;
	if (node->other != NULL)
		slots[node->other->slot] = true;
}

/* With those that others are derived from. */
static bool *
slots_of(const Bound *bound, const BoundNode *root)
{
	bool	   *slots = palloc0(sizeof(bool) * Max(bound->nfigures, 1));

	collect_slots(root, slots);
	for (int i = 0; i < bound->nfigures; i++)
	{
		if (slots[i] && bound->figures[i]->base != NULL)
			slots[bound->figures[i]->base->slot] = true;
	}
	return slots;
}

/* A group is touched by what its figures are touched by, and by what touches the groups that it names. */
static void
find_touches(Rules *rules)
{
	const Bound *bound = rules->ruleset.groups;

	rules->touched_by = palloc0(sizeof(int) * Max(bound->ngroups, 1));
	for (int i = 0; i < bound->ngroups; i++)
	{
		bool	   *slots;

		if (bound->groups[i]->root == NULL)
			continue;
		slots = slots_of(bound, bound->groups[i]->root);
		for (int j = 0; j < bound->nfigures; j++)
		{
			if (!slots[j])
				continue;
			rules->touched_by[i] |= figure_touches(bound->figures[j]);
			/* groups that may be named come before */
			for (int k = 0; bound->figures[j]->word->id == WORD_GROUPS && k < i; k++)
				rules->touched_by[i] |= rules->touched_by[k];
		}
		/* whether it would be another one's verdict changes with the group, too */
		if (bound->groups[i]->instead_of != 0)
			rules->touched_by[i] |= rules->touched_by[bound->groups[i]->present];
	}
}

static Concerned *
new_concerned(const Bound *bound)
{
	Concerned  *concerned = palloc0(sizeof(Concerned));

	concerned->wanted = palloc0(sizeof(bool) * Max(bound->ngroups, 1));
	concerned->slots = palloc0(sizeof(bool) * Max(bound->nfigures, 1));
	return concerned;
}

/* One that does not bind is judged by nobody, nor is what people fill. */
static bool
is_judged(const BoundGroup *group)
{
	return !group->fixed && (group->root != NULL || !group->active);
}

/* A group is to be judged, and the figures that it needs to be read. */
static void
want(const Rules *rules, Concerned *concerned, int i)
{
	const Bound *bound = rules->ruleset.groups;
	const BoundNode *root = bound->groups[i]->root;
	Facts		facts = {0};
	bool	   *slots;

	concerned->wanted[i] = true;
	concerned->n++;
	if (root == NULL)
		return;
	facts.amount_ordered = facts.amount_returned = facts.items_bought = facts.items_returned = int64_to_numeric(0);
	slots = slots_of(bound, root);
	for (int j = 0; j < bound->nfigures; j++)
	{
		FigureValue ignored;

		if (!slots[j] || bound->figures[j]->word->id == WORD_GROUPS || bound->figures[j]->word->id == WORD_TIER ||
			segment_figure_from_facts(bound->figures[j], &facts, &rules->shop, &ignored))
			continue;
		concerned->slots[j] = true;
		concerned->reads = true;
	}
}

/* The groups that rows of these kinds can change, with the figures to be read for them. */
Concerned *
segment_concerned(Rules *rules, int touched)
{
	const Bound *bound = rules->ruleset.groups;
	Concerned  *concerned = rules->concerned[touched];
	MemoryContext before;

	if (concerned != NULL)
		return concerned;
	before = MemoryContextSwitchTo(rules->context);
	concerned = new_concerned(bound);
	for (int i = 0; i < bound->ngroups; i++)
	{
		const BoundGroup *group = bound->groups[i];

		/* an inactive one is nobody's */
		if (is_judged(group) &&
			(touched == TOUCHES_ALL || (group->active && (rules->touched_by[i] & touched))))
			want(rules, concerned, i);
	}
	if (concerned->reads)
		segment_figures_open(&concerned->reader, rules->set, bound, concerned->slots);
	MemoryContextSwitchTo(before);
	rules->concerned[touched] = concerned;
	return concerned;
}

static bool
asks_for_groups(const Bound *bound, const BoundNode *root)
{
	bool	   *slots = slots_of(bound, root);

	for (int i = 0; i < bound->nfigures; i++)
	{
		if (slots[i] && bound->figures[i]->word->id == WORD_GROUPS)
			return true;
	}
	return false;
}

/*
 * The group, or what is pending, with that id, and the groups that can change
 * when it does: for whoever knows that nothing else has changed.  With 0 none is
 * judged.
 */
Concerned *
segment_concerned_by(Rules *rules, int id)
{
	const Bound *bound = rules->ruleset.groups;
	bool		found = false;
	MemoryContext before;
	Concerned  *concerned;

	if (rules->by != NULL && rules->by_id == id)
		return rules->by;
	before = MemoryContextSwitchTo(rules->context);
	concerned = new_concerned(bound);
	for (int i = 0; i < bound->ngroups; i++)
	{
		const BoundGroup *group = bound->groups[i];

		/* whoever may name it comes after it */
		if (is_judged(group) &&
			(group->id == id ||
			 (found && group->root != NULL && asks_for_groups(bound, group->root)) ||
			 (group->instead_of != 0 && concerned->wanted[group->present])))
			want(rules, concerned, i);
		found |= id > 0 && group->id == id;
	}
	if (concerned->reads)
		segment_figures_open(&concerned->reader, rules->set, bound, concerned->slots);
	if (rules->by != NULL && rules->by->reads)
		segment_figures_close(&rules->by->reader);
	rules->by = concerned;
	rules->by_id = id;
	MemoryContextSwitchTo(before);
	return concerned;
}

/* Reads all figures that segment.facts does not keep, on days that have passed. */
FigureReader *
segment_replay_reader(Rules *rules)
{
	MemoryContext before = MemoryContextSwitchTo(rules->context);

	if (rules->replay.bound == NULL)
		segment_figures_open(&rules->replay, rules->set, rules->ruleset.groups,
							 segment_concerned(rules, TOUCHES_ALL)->slots);
	MemoryContextSwitchTo(before);
	return &rules->replay;
}

/*
 * Make every session compile anew, once this transaction has committed.  The
 * version comes from a sequence because it must never come again: a session
 * may have compiled one that was rolled back.
 */
void
segment_ruleset_bump(void)
{
	segment_execute("UPDATE segment.ruleset SET version = pg_catalog.nextval('segment.rule_id')");
}

/* Every tier must be one of a ladder that there is.  Must run inside SPI, as owner. */
void
segment_require_ladders(void)
{
	if (segment_execute_latest("SELECT t.code, t.ladder FROM segment.tiers t"
							   " WHERE NOT EXISTS (SELECT FROM segment.ladders l WHERE l.code = t.ladder)"
							   " ORDER BY t.ladder, t.min_value, t.id LIMIT 1") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("tier \"%s\" stands on ladder \"%s\", which does not exist",
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)),
				 errhint("Insert a ladder before its tiers, and delete its tiers before it.")));
}

static char *
numeric_text(Numeric value)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value)));
}

/*
 * Find the first ladder whose ranges are wrong: the minimum of the next tier
 * must be the maximum of the one before plus one unit, and only the highest
 * has no maximum.  Returns NULL where all are right; what, detail and hint are
 * filled in otherwise.
 */
const Ladder *
segment_ruleset_fault(const Ruleset *ruleset, StringInfo what,
					  StringInfo detail, StringInfo hint)
{
	for (int i = 0; i < ruleset->nladders; i++)
	{
		const Ladder *ladder = &ruleset->ladders[i];

		for (int j = 0; j < ladder->ntiers; j++)
		{
			const Tier *tier = &ladder->tiers[j];
			const Tier *next = j + 1 < ladder->ntiers ? &ladder->tiers[j + 1] : NULL;
			Datum		expected;

			if (next == NULL)
			{
				if (!tier->has_max)
					continue;
				appendStringInfo(what, "highest tier \"%s\" of ladder \"%s\" has a maximum",
								 tier->code, ladder->code);
				appendStringInfo(detail, "max_value is %s, so nobody above it would have a tier.",
								 numeric_text(tier->max_value));
				appendStringInfoString(hint, "Set max_value of the highest tier to NULL, or add the tier above it in the same transaction.");
				return ladder;
			}
			if (!tier->has_max)
			{
				appendStringInfo(what, "tier \"%s\" of ladder \"%s\" has no maximum but is not the highest",
								 tier->code, ladder->code);
				appendStringInfo(detail, "Tier \"%s\" starts at %s.", next->code, numeric_text(next->min_value));
				appendStringInfo(hint, "Set max_value of tier \"%s\" one unit (%s) below that.",
								 tier->code, numeric_text(ladder->unit));
				return ladder;
			}
			expected = DirectFunctionCall2(numeric_add, NumericGetDatum(tier->max_value),
										   NumericGetDatum(ladder->unit));
			if (DatumGetBool(DirectFunctionCall2(numeric_eq, expected,
												 NumericGetDatum(next->min_value))))
				continue;
			appendStringInfo(what, "tiers \"%s\" and \"%s\" of ladder \"%s\" %s",
							 tier->code, next->code, ladder->code,
							 DatumGetBool(DirectFunctionCall2(numeric_gt, expected,
															  NumericGetDatum(next->min_value)))
							 ? "overlap" : "leave a gap");
			appendStringInfo(detail, "Tier \"%s\" ends at %s, tier \"%s\" starts at %s; the unit of the ladder is %s.",
							 tier->code, numeric_text(tier->max_value),
							 next->code, numeric_text(next->min_value),
							 numeric_text(ladder->unit));
			appendStringInfo(hint, "min_value of tier \"%s\" must be %s, or max_value of tier \"%s\" %s.",
							 next->code, DatumGetCString(DirectFunctionCall1(numeric_out, expected)),
							 tier->code,
							 DatumGetCString(DirectFunctionCall1(numeric_out,
																 DirectFunctionCall2(numeric_sub,
																					 NumericGetDatum(next->min_value),
																					 NumericGetDatum(ladder->unit)))));
			return ladder;
		}
	}
	return NULL;
}
