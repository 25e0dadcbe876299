/*
 * ladder.c
 *		What the merchant decides: settings, ladders and tiers.
 *
 * Rules are plain tables; their triggers are here, those of groups go on in
 * group.c.  A statement that leaves every ladder valid re-ranks everyone at once; while a ladder is not valid nobody is judged, and the
 * commit is refused.
 */
#include "segment.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "configuration.h"
#include "group.h"
#include "judge.h"
#include "rule.h"
#include "ruleset.h"
#include "saved_plan.h"
#include "source.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(segment_configure);
PG_FUNCTION_INFO_V1(segment_rules_lock);
PG_FUNCTION_INFO_V1(segment_rules_changed);
PG_FUNCTION_INFO_V1(segment_rules_check);
PG_FUNCTION_INFO_V1(segment_spellings_changed);

static void
require_trigger(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function was not called by trigger manager")));
}

/* Before the statement: the lock, before anything is read. */
Datum
segment_rules_lock(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	SourceSet  *set;

	require_trigger(fcinfo);
	segment_connect(0);
	if (segment_is_restored())
	{
		segment_stand_aside();	/* a restore loads rules; recalculate() looks at them */
		SPI_finish();
		return PointerGetDatum(NULL);
	}
	segment_rules_begin();
	set = segment_sources_acquire();
	segment_wake_everyone(set);
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		const char *table = RelationGetRelationName(trigger->tg_relation);
		Identity	caller;

		if (strcmp(table, "groups") == 0 || strcmp(table, "ladders") == 0 || strcmp(table, "tiers") == 0)
			(void) segment_rule_history(set, trigger);
		segment_become(set->owner, &caller);
		if (strcmp(table, "tiers") == 0)
			segment_execute("INSERT INTO segment.former_tiers"
							" SELECT t.id, t.ladder, t.code, t.min_value FROM segment.tiers t");
		else if (strcmp(table, "groups") == 0)
			segment_execute("INSERT INTO segment.former_groups SELECT g.id, g.code FROM segment.groups g");
		segment_resume(&caller);
	}
	segment_sources_release();
	SPI_finish();
	return PointerGetDatum(NULL);
}

/* Faults of a single row, refused at once. */
static void
check_rows(SourceSet *set)
{
	static const struct
	{
		const char *condition;
		const char *message;
		const char *detail;
		const char *hint;
	}			tier_faults[] =
	{
		{"t.min_value = 'NaN' OR t.max_value = 'NaN' OR t.min_value = 'Infinity' OR t.min_value = '-Infinity'"
			" OR t.max_value = 'Infinity' OR t.max_value = '-Infinity'",
			"a bound of tier \"%s\" is not a finite number", "min_value is %s, max_value is %s.",
		"Give a number; leave max_value NULL on the highest tier."},
		{"t.max_value < t.min_value",
			"min_value of tier \"%s\" is greater than its max_value", "min_value is %s, max_value is %s.",
		"Exchange them, or mend the one that is wrong."},
	};
	Identity	caller;

	segment_become(set->owner, &caller);
	segment_require_ladders();
	if (segment_execute("SELECT l.code, l.figure FROM segment.ladders l"
						" WHERE l.figure NOT IN ('amount_spent', 'amount_ordered', 'amount_returned',"
						" 'number_of_orders', 'number_of_returns', 'items_bought', 'items_returned') LIMIT 1") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ladder \"%s\" stands on an unknown figure \"%s\"",
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)),
				 errhint("Use one of %s.", segment_figure_names())));
	if (segment_execute("SELECT l.code, l.unit FROM segment.ladders l"
						" WHERE l.unit <= 0 OR l.unit = 'NaN' OR l.unit = 'Infinity' LIMIT 1") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unit of ladder \"%s\" must be greater than 0, not %s",
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)),
				 errhint("Leave it NULL for the shop's money_unit, or 1 for numbers.")));
	for (int i = 0; i < lengthof(tier_faults); i++)
	{
		if (segment_execute(psprintf("SELECT t.code, t.min_value, coalesce(t.max_value::text, 'NULL')"
									 " FROM segment.tiers t WHERE %s ORDER BY 1 LIMIT 1", tier_faults[i].condition)) > 0)
		{
			SPITupleTable *table = SPI_tuptable;

			ereport(ERROR,
					(errcode(i == 0 ? ERRCODE_INVALID_PARAMETER_VALUE : ERRCODE_CHECK_VIOLATION),
					 errmsg(tier_faults[i].message, SPI_getvalue(table->vals[0], table->tupdesc, 1)),
					 errdetail(tier_faults[i].detail, SPI_getvalue(table->vals[0], table->tupdesc, 2),
							   SPI_getvalue(table->vals[0], table->tupdesc, 3)),
					 errhint("%s", tier_faults[i].hint)));
		}
	}
	if (segment_execute("SELECT t.code, t.points_floor FROM segment.tiers t"
						" WHERE t.points_floor < 0 OR t.points_floor = 'NaN' OR t.points_floor = 'Infinity' LIMIT 1") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("points_floor of tier \"%s\" must be a number not below 0, not %s",
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)),
				 errhint("It is the number of points that must stay when points are spent.")));
	if (segment_execute("SELECT t.code, t.rank FROM segment.tiers t WHERE t.rank < 1 LIMIT 1") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rank of tier \"%s\" must be at least 1, not %s",
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)),
				 errhint("1 is the lowest; leave it NULL to follow min_value.")));
	segment_resume(&caller);
}

/* Raise what is wrong with the ranges, where something is. */
static void
check_ranges(const Ruleset *ruleset)
{
	StringInfoData what,
				detail,
				hint;

	initStringInfo(&what);
	initStringInfo(&detail);
	initStringInfo(&hint);
	if (segment_ruleset_fault(ruleset, &what, &detail, &hint) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EXCLUSION_VIOLATION),
				 errmsg_internal("%s", what.data),
				 errdetail_internal("%s", detail.data),
				 errhint("%s", hint.data)));
}

/* The ladders are other ones now: re-rank everyone if they are valid. */
static void
ladders_changed(SourceSet *set, const char *source_key)
{
	if (!segment_is_restored())
		check_rows(set);
	(void) segment_rules_apply(set, source_key, NULL);
}

/* Groups that a restore brings, or that nobody is judged by, need no judging. */
static void
groups_changed(SourceSet *set, TriggerData *trigger, const char *source_key)
{
	Identity	caller;

	if (!segment_is_restored() && segment_groups_saved(set, trigger))
	{
		(void) segment_rules_apply(set, source_key, segment_group_coming());
		return;
	}
	segment_become(set->owner, &caller);
	segment_ruleset_bump();
	segment_resume(&caller);
}

/* After each statement on groups, ladders or tiers. */
Datum
segment_rules_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const char *table;
	SourceSet  *set;
	char	   *source_key = NULL;

	require_trigger(fcinfo);
	table = RelationGetRelationName(trigger->tg_relation);
	segment_connect(0);
	SPI_register_trigger_data(trigger);
	set = segment_sources_acquire();
	if (!segment_is_restored())
		source_key = TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event) ? segment_rule_truncated(set, table)
			: segment_rule_history(set, trigger);
	if (strcmp(table, "groups") == 0)
		groups_changed(set, trigger, source_key);
	else
		ladders_changed(set, source_key);
	segment_sources_release();
	SPI_finish();
	return PointerGetDatum(NULL);
}

/*
 * After each statement on segment.phone_rules or segment.region_aliases, by which
 * conditions compare: everyone is judged again.
 */
Datum
segment_spellings_changed(PG_FUNCTION_ARGS)
{
	require_trigger(fcinfo);
	segment_connect(0);
	(void) segment_rules_apply(segment_sources_acquire(), NULL, NULL);
	segment_sources_release();
	SPI_finish();
	return PointerGetDatum(NULL);
}

/* up to which command of which transaction the ranges were checked last */
static LocalTransactionId checked_in = InvalidLocalTransactionId;
static CommandId checked_at = InvalidCommandId;

/*
 * Where constraints are immediate the rows are checked before the statement's
 * own trigger has moved the version: what was compiled before is not meant.
 */
static void
compile_anew(SourceSet *set)
{
	Identity	caller;

	if (checked_in == my_local_xid() && checked_at == GetCurrentCommandId(false))
		return;					/* the statement's other rows */
	segment_become(set->owner, &caller);
	segment_ruleset_bump();
	segment_resume(&caller);
}

/* At commit, or SET CONSTRAINTS: the ranges must be right. */
Datum
segment_rules_check(PG_FUNCTION_ARGS)
{
	SourceSet  *set;

	require_trigger(fcinfo);
	segment_connect(0);
	set = segment_sources_acquire();
	if (!segment_is_restored())
	{
		compile_anew(set);
		check_ranges(&segment_rules(set, InvalidSnapshot)->ruleset);
		checked_in = my_local_xid();
		checked_at = GetCurrentCommandId(false);
	}
	segment_sources_release();
	SPI_finish();
	return PointerGetDatum(NULL);
}

static void
save_setting(const char *name, const char *value)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2] = {CStringGetTextDatum(name), CStringGetTextDatum(value)};

	segment_execute_with("INSERT INTO segment.settings AS s (name, value) VALUES ($1, $2)"
						 " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
						 2, types, values, NULL, false, NULL, NULL);
}

/* A setting that sources were attached with cannot change under them. */
static void
refuse_while_used(const char *name, const char *argument)
{
	if (segment_execute(psprintf("SELECT a.relation::text FROM segment.attachments a"
								 " WHERE a.arguments ->> %s IS NOT NULL ORDER BY a.id LIMIT 1",
								 quote_literal_cstr(argument))) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("cannot change %s while %s is attached, which was read by it", name,
						SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				 errhint("Detach it, configure, and attach it again.")));
}

static bool
differs(const char *name, const char *value)
{
	return strcmp(segment_setting(name), value) != 0;
}

/* segment.configure() */
Datum
segment_configure(PG_FUNCTION_ARGS)
{
	SourceSet  *set;
	Identity	caller;
	bool		rejudge = false;	/* conditions mean something else */

	segment_connect(0);
	segment_rules_begin();
	set = segment_sources_acquire();
	segment_wake_everyone(set);
	segment_become(set->owner, &caller);
	if (!PG_ARGISNULL(0))
	{
		char	   *zone = text_to_cstring(PG_GETARG_TEXT_PP(0));
		Oid			type = TEXTOID;
		Datum		value = PG_GETARG_DATUM(0);

		segment_execute_with("SELECT n.name FROM pg_timezone_names n WHERE lower(n.name) = lower($1)",
							 1, &type, &value, NULL, true, NULL, NULL);
		if (SPI_processed == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("time zone \"%s\" is not known", zone),
					 errhint("Use a name of pg_timezone_names, such as 'Asia/Ho_Chi_Minh'.")));
		zone = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		if (differs("timezone", zone))
			refuse_while_used("timezone", "reads_shop_zone");
		rejudge |= differs("timezone", zone);
		save_setting("timezone", zone);
	}
	if (!PG_ARGISNULL(1))
	{
		char	   *code = text_to_cstring(PG_GETARG_TEXT_PP(1));

		if (strlen(code) < 1 || strlen(code) > 3 || strspn(code, "0123456789") != strlen(code) || code[0] == '0')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("country_code must be one to three digits, not \"%s\"", code),
					 errhint("Give the calling code alone, without + or 00: '84' for Vietnam.")));
		rejudge |= differs("country_code", code);
		save_setting("country_code", code);
	}
	if (!PG_ARGISNULL(2))
	{
		char	   *currency = text_to_cstring(PG_GETARG_TEXT_PP(2));

		if (currency[0] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("currency must not be empty"),
					 errhint("Give it as the shop's tables spell it, such as 'VND'.")));
		if (differs("currency", currency))
			refuse_while_used("currency", "currency");
		save_setting("currency", currency);
	}
	if (!PG_ARGISNULL(3))
	{
		Numeric		unit = PG_GETARG_NUMERIC(3);
		char	   *shown = numeric_normalize(unit);

		if (numeric_is_nan(unit) || numeric_is_inf(unit) || shown[0] == '-' || strcmp(shown, "0") == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("money_unit must be greater than 0, not %s", shown),
					 errhint("Give the smallest step of money: 1 for VND, 0.01 for EUR.")));
		save_setting("money_unit", shown);
		ladders_changed(set, NULL);
		check_ranges(&segment_rules(set, InvalidSnapshot)->ruleset);
	}
	if (!PG_ARGISNULL(4))
	{
		int32		most = PG_GETARG_INT32(4);

		if (most < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("max_moves must not be below 0, but is %d", most),
					 errhint("It is the number of customers that one change of rules may move; 0 is without limit.")));
		save_setting("max_moves", psprintf("%d", most));
	}
	if (PG_NARGS() > 5 && !PG_ARGISNULL(5))
	{
		char	   *word = text_to_cstring(PG_GETARG_TEXT_PP(5));

		if (strcmp(word, "last") != 0 && strcmp(word, "first") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("given_name must be last or first, not \"%s\"", word),
					 errhint("It is the last word of a name in Vietnam and the first in English; a column of its own is mapped with segment.attach_customers(…, given_name => …).")));
		rejudge |= differs("given_name", word);
		save_setting("given_name", word);
	}
	if (rejudge)
		(void) segment_rules_apply(set, NULL, NULL);
	segment_resume(&caller);
	segment_sources_changed(set->attachments);
	segment_sources_release();
	SPI_finish();
	PG_RETURN_VOID();
}
