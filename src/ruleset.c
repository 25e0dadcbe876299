/*
 * ruleset.c
 *		Ladders and tiers compiled, the same for every session.
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
#include "ruleset.h"
#include "saved_plan.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static Ruleset *compiled = NULL;
static MemoryContext compiled_context = NULL;

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

/* The only row's version as a snapshot shows it. */
static int64
ruleset_version(Relation relation, Snapshot snapshot)
{
	TableScanDesc scan = table_beginscan(relation, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	int64		version = 0;

	if (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;

		version = DatumGetInt64(slot_getattr(slot, 1, &isnull));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	return version;
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

/* Compile all ladders into the current context.  Must run inside SPI, as owner. */
static Ruleset *
compile(int64 version)
{
	Ruleset    *ruleset = palloc0(sizeof(Ruleset));
	Numeric		money_unit;
	StringInfoData what,
				detail,
				hint;

	ruleset->version = version;
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
	return ruleset;
}

/*
 * The ruleset in force, valid until the next call.  The caller is inside SPI
 * and has written segment.facts, whose lock keeps rule changes out (see above);
 * owner is who owns our tables.  Raises 40001 where the transaction's own
 * snapshot is older than the rules: its view of the standings may be older too.
 */
const Ruleset *
segment_ruleset(Oid owner)
{
	Oid			relid = get_relname_relid("ruleset", get_namespace_oid("segment", false));
	Relation	relation = table_open(relid, AccessShareLock);
	Snapshot	latest = RegisterSnapshot(GetLatestSnapshot());
	int64		version = ruleset_version(relation, latest);

	UnregisterSnapshot(latest);
	if (IsolationUsesXactSnapshot() &&
		ruleset_version(relation, GetTransactionSnapshot()) != version)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to a concurrent change of ladders or tiers"),
				 errhint("The transaction might succeed if retried.")));
	table_close(relation, AccessShareLock);

	if (compiled == NULL || compiled->version != version)
	{
		MemoryContext context = AllocSetContextCreate(TopMemoryContext, "segment ruleset",
													  ALLOCSET_SMALL_SIZES);
		MemoryContext before;
		Ruleset    *fresh;
		Identity	caller;

		segment_become(owner, &caller);
		before = MemoryContextSwitchTo(context);
		PG_TRY();
		{
			fresh = compile(version);
		}
		PG_CATCH();
		{
			MemoryContextDelete(context);
			PG_RE_THROW();
		}
		PG_END_TRY();
		MemoryContextSwitchTo(before);
		segment_resume(&caller);

		if (compiled_context)
			MemoryContextDelete(compiled_context);
		compiled_context = context;
		compiled = fresh;
	}
	return compiled;
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
