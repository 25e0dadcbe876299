/*
 * rule.c
 *		What every change of groups, ladders and tiers has in common: the lock,
 *		the history, judging everyone, and the guard.
 */
#include "segment.h"

#include "catalog/pg_type.h"
#include "configuration.h"
#include "judge.h"
#include "miscadmin.h"
#include "rule.h"
#include "ruleset.h"
#include "saved_plan.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/*
 * Only one session changes rules at a time, and nobody judges meanwhile: two
 * administrators who each add a range see each other's.
 */
void
segment_rules_begin(void)
{
	segment_require_read_committed("change groups, ladders, tiers or settings");
	segment_lock_rules();
	segment_lock_facts();
}

/*
 * History.
 */

/* The values of a row that the merchant decides. */
static char *
values_of(const char *alias)
{
	return psprintf("to_jsonb(%s) - '{id,created_at,created_by,updated_at,updated_by}'::text[]", alias);
}

/*
 * Write down what a statement on groups, ladders or tiers has changed, a row for
 * each rule: after it, or before a TRUNCATE, while the rows are there.  Returns
 * the first row's id, which customers who move are given as the reason; NULL
 * where nothing has changed.
 */
char *
segment_rule_history(SourceSet *set, TriggerData *trigger)
{
	const char *table = RelationGetRelationName(trigger->tg_relation);
	char	   *kind = pnstrdup(table, strlen(table) - 1);
	const char *rows;
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2];
	Identity	caller;
	char	   *first = NULL;

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		rows = psprintf("SELECT n.id, n.code, NULL::jsonb, %s FROM new_rows n", values_of("n"));
	else if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		rows = psprintf("SELECT n.id, n.code, %s, %s FROM old_rows o JOIN new_rows n ON n.id = o.id",
						values_of("o"), values_of("n"));
	else
		rows = psprintf("SELECT o.id, o.code, %s, NULL::jsonb FROM %s o", values_of("o"),
						TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? "old_rows"
						: psprintf("segment.%s", quote_identifier(table)));
	values[0] = CStringGetTextDatum(GetUserNameFromId(GetOuterUserId(), false));
	values[1] = CStringGetTextDatum(kind);
	segment_become(set->owner, &caller);
	if (segment_execute_with(psprintf("INSERT INTO segment.rule_history (at, changed_by, kind, code, old_values, new_values)"
									  " SELECT now(), $1, $2, r.code, r.was, r.became"
									  " FROM (%s) AS r(id, code, was, became) WHERE r.was IS DISTINCT FROM r.became"
									  " ORDER BY r.id RETURNING id", rows),
							 2, types, values, NULL, false, NULL, NULL) > 0)
		first = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	segment_resume(&caller);
	return first;
}

/* What a TRUNCATE wrote down before it; of several rows the last. */
char *
segment_rule_truncated(SourceSet *set, const char *table)
{
	Oid			type = TEXTOID;
	Datum		kind = CStringGetTextDatum(pnstrdup(table, strlen(table) - 1));
	Identity	caller;
	char	   *last = NULL;

	segment_become(set->owner, &caller);
	if (segment_execute_with("SELECT h.id FROM segment.rule_history h"
							 " WHERE h.at = now() AND h.kind = $1 AND h.new_values IS NULL ORDER BY h.id DESC LIMIT 1",
							 1, &type, &kind, NULL, false, NULL, NULL) > 0)
		last = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	segment_resume(&caller);
	return last;
}

/*
 * The guard.
 */

/* Who comes and goes by this change, for whoever has to confirm it. */
static char *
moves_told(const char *source_key)
{
	Oid			types[2] = {TEXTOID, TIMESTAMPTZOID};
	Datum		values[2] = {0, TimestampTzGetDatum(segment_judging_instant(InvalidSnapshot))};
	StringInfoData told;
	uint64		n;

	initStringInfo(&told);
	if (source_key != NULL)
		values[0] = CStringGetTextDatum(source_key);
	n = segment_execute_with("SELECT format('%s %s %s \"%s\"', count(*),"
							 " CASE c.action WHEN 'enter' THEN 'would enter' WHEN 'leave' THEN 'would leave'"
							 " WHEN 'up' THEN 'would move up to' ELSE 'would move down to' END, c.kind, c.code)"
							 " FROM segment.changes c WHERE c.at = $2 AND c.source = 'rule_changes'"
							 " AND (c.source_key = $1 OR c.source_key IS NULL)"
							 " GROUP BY c.kind, c.code, c.action ORDER BY count(*) DESC, c.kind, c.code, c.action LIMIT 10",
							 2, types, values, source_key ? "  " : "n ", false, NULL, NULL);
	for (uint64 i = 0; i < n; i++)
		appendStringInfo(&told, "%s%s", i > 0 ? ", " : "", SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	appendStringInfoString(&told, n == 0 ? "" : ".");
	return told.data;
}

/* A change that moves more customers than anybody expected is refused. */
static void
guard_moves(uint64 moved, const char *source_key, bool activates)
{
	uint64		most = strtou64(segment_setting("max_moves"), NULL, 10);
	char	   *told;

	if (most == 0 || moved <= most || moved <= (uint64) segment_confirm_moves)
		return;
	told = moves_told(source_key);
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg_plural("this change of rules would move %llu customer, and max_moves is %llu",
						   "this change of rules would move %llu customers, and max_moves is %llu",
						   moved, (unsigned long long) moved, (unsigned long long) most),
			 told[0] != '\0' ? errdetail_internal("%s", told) : 0,
			 activates
			 ? errhint("Where that is meant: SET segment.confirm_moves = %llu, and CALL segment.activate() again: everyone is judged. Else CALL segment.cancel_activation().",
					   (unsigned long long) moved)
			 : errhint("Where that is meant: SET LOCAL segment.confirm_moves = %llu, in the same transaction.",
					   (unsigned long long) moved)));
}

/*
 * The rules are other ones now: every session compiles anew, and everyone is
 * judged where the rules are valid; with coming, only those whom it moves.
 * Returns how many customers moved; the row of segment.rule_changes that moved
 * them is source_key.
 */
uint64
segment_rules_apply(SourceSet *set, const char *source_key, Coming *coming)
{
	const Ruleset *ruleset;
	uint64		moved = 0;
	Identity	caller;

	segment_become(set->owner, &caller);
	segment_ruleset_bump();
	if (segment_is_restored())
	{
		segment_resume(&caller);
		return 0;
	}
	ruleset = &segment_rules(set, InvalidSnapshot)->ruleset;
	if (ruleset->valid)
	{
		if (OidIsValid(set->facts) && coming != NULL)
			moved = coming->moved = segment_judge_group(set, coming->group,
														psprintf("s.held @> ARRAY[%d]", coming->marker), source_key);
		else if (OidIsValid(set->facts))
			moved = segment_judge_all(set, NULL, false, CAUSE_RULE, source_key ? "rule_changes" : NULL,
									  source_key, NULL, NULL);
		segment_execute("DELETE FROM segment.former_tiers");
		segment_execute("DELETE FROM segment.former_groups");
	}
	guard_moves(moved, source_key, coming != NULL);
	segment_resume(&caller);
	return moved;
}
