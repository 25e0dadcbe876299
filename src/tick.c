/*
 * tick.c
 *		Due work: customers whose standing changes by time alone.
 *
 * A tick only moves work out of reads: views compute on the spot the standings
 * of those who are due.
 */
#include "segment.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "judge.h"
#include "miscadmin.h"
#include "result_set.h"
#include "ruleset.h"
#include "saved_plan.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "tick.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(segment_tick);
PG_FUNCTION_INFO_V1(segment_tick_in_batches);
PG_FUNCTION_INFO_V1(segment_now_sql);
PG_FUNCTION_INFO_V1(segment_due_standings);

/* of the advisory lock that lets one tick work at a time */
#define TICK_DOOR 3

static bool
enter_alone(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, TICK_DOOR, LINK_DOOR_CLASS);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

/* The instant up to which work is to be done: an argument, or what stands for now. */
static TimestampTz
instant_argument(FunctionCallInfo fcinfo, int argument)
{
	TimestampTz now = segment_now();
	TimestampTz at = PG_ARGISNULL(argument) ? now : PG_GETARG_TIMESTAMPTZ(argument);

	if (at > now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot tick to %s, which is later than now", timestamptz_to_str(at)),
				 errdetail("Now is %s.", timestamptz_to_str(now)),
				 errhint("Leave \"at\" out, or let segment.at stand for now in a rehearsal.")));
	return at;
}

static int64
size_argument(FunctionCallInfo fcinfo, int argument, const char *name)
{
	int64		size = PG_ARGISNULL(argument) ? 0 : PG_GETARG_INT32(argument);

	if (size < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be at least 1, not %lld", name, (long long) size),
				 errhint("It is a number of customers, such as 10000.")));
	return size;
}

/*
 * Bring at most so many customers up to date; returns how many.  A state that
 * was restored, or one that somebody else is at work on, is left alone.  Must
 * run inside SPI, in READ COMMITTED.
 */
uint64
segment_tick_once(TimestampTz at, int64 limit)
{
	SourceSet  *set = segment_sources_acquire();
	uint64		n = 0;
	Identity	caller;

	if (OidIsValid(set->facts) && set->is_here && enter_alone())
	{
		n = segment_wake(set, at, limit);
		if (n > 0)
		{
			/* whoever sells from now on judges at this instant or later */
			segment_become(set->owner, &caller);
			segment_ticked(at);
			segment_resume(&caller);
		}
	}
	segment_sources_release();
	return n;
}

/* segment.tick(at, batch_size) */
Datum
segment_tick(PG_FUNCTION_ARGS)
{
	TimestampTz at = instant_argument(fcinfo, 0);
	int64		size = size_argument(fcinfo, 1, "batch_size");
	uint64		n;

	segment_require_read_committed("tick");
	segment_connect(0);
	n = segment_tick_once(at, size);
	SPI_finish();
	PG_RETURN_INT64((int64) n);
}

/* CALL segment.tick_in_batches(batch_size) */
Datum
segment_tick_in_batches(PG_FUNCTION_ARGS)
{
	int64		size = size_argument(fcinfo, 0, "batch_size");
	uint64		n;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		((CallContext *) fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("segment.tick_in_batches() commits after each batch and cannot run inside a transaction block"),
				 errhint("CALL it on its own, or use segment.tick().")));
	segment_require_read_committed("tick");
	segment_connect(SPI_OPT_NONATOMIC);
	do
	{
		n = segment_tick_once(segment_now(), size);
		SPI_commit();
	} while (n > 0);
	SPI_finish();
	PG_RETURN_VOID();
}

/* segment._now() */
Datum
segment_now_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(segment_judging_instant(GetActiveSnapshot()));
}

/* Whoever may read one of our views of members may read what they compute on the spot. */
static void
require_reader(void)
{
	static const char *const views[] = {"members", "customer_groups", "group_sizes", "group_stats", "group_details"};
	Oid			namespace = get_namespace_oid("segment", false);

	for (int i = 0; i < lengthof(views); i++)
	{
		Oid			view = get_relname_relid(views[i], namespace);

		if (OidIsValid(view) && pg_class_aclcheck(view, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for the standings of customers"),
			 errhint("SELECT on segment.members or another view of members is needed.")));
}

/* segment._due_standings(at) */
Datum
segment_due_standings(PG_FUNCTION_ARGS)
{
	Tuplestorestate *rows;
	TupleDesc	desc;
	SourceSet  *set;
	Snapshot	snapshot = GetActiveSnapshot();
	TimestampTz now = segment_judging_instant(snapshot);
	TimestampTz at = PG_ARGISNULL(0) ? now : Min(PG_GETARG_TIMESTAMPTZ(0), now);

	require_reader();
	rows = segment_begin_set(fcinfo, &desc);

	segment_connect(0);
	set = segment_sources_acquire();
	if (OidIsValid(set->facts) && set->is_here)
		segment_judge_due(set, snapshot, at, rows, desc);
	segment_sources_release();
	SPI_finish();
	return (Datum) 0;
}
