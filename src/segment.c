/*
 * segment.c
 *		Module and server settings.
 */
#include "segment.h"

#include "access/xact.h"
#include "ddl.h"
#include "source.h"
#include "stale.h"
#include "tick.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"

#if PG_VERSION_NUM >= 180000
PG_MODULE_MAGIC_EXT(.name = "segment", .version = "0.2");
#else
PG_MODULE_MAGIC;
#endif

bool		segment_abort_on_error = false;
int			segment_lock_timeout = 5000;
int			segment_confirm_moves = 0;

static int	on_error = 0;
static char *at = NULL;
static TimestampTz now_instead = DT_NOEND;	/* DT_NOEND: the clock's */

static const struct config_enum_entry on_error_options[] = {
	{"mark_stale", 0, false},
	{"abort", 1, false},
	{NULL, 0, false}
};

static void
assign_on_error(int value, void *extra)
{
	segment_abort_on_error = value == 1;
}

/* Read as by the session's own TimeZone, when it is set. */
static bool
check_at(char **value, void **extra, GucSource source)
{
#if PG_VERSION_NUM >= 160000
	TimestampTz *parsed = guc_malloc(LOG, sizeof(TimestampTz));
#else
	TimestampTz *parsed = malloc(sizeof(TimestampTz));
#endif

	if (parsed == NULL)
		return false;
	*parsed = DT_NOEND;
	if (*value != NULL && **value != '\0')
		*parsed = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(*value),
														  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	if (*value != NULL && **value != '\0' && TIMESTAMP_NOT_FINITE(*parsed))
	{
		GUC_check_errdetail("It stands for now, and now is not infinite.");
#if PG_VERSION_NUM >= 160000
		guc_free(parsed);
#else
		free(parsed);
#endif
		return false;
	}
	*extra = parsed;
	return true;
}

static void
assign_at(const char *value, void *extra)
{
	now_instead = extra ? *(TimestampTz *) extra : DT_NOEND;
}

/* What stands for now: segment.at, else the start of the transaction. */
TimestampTz
segment_now(void)
{
	return now_instead != DT_NOEND ? now_instead : GetCurrentTransactionStartTimestamp();
}

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	DefineCustomEnumVariable("segment.on_error",
							 "What becomes of a sale that the extension fails to follow.",
							 "mark_stale lets it pass and marks the source stale; abort refuses it.",
							 &on_error, 0, on_error_options,
							 PGC_SUSET, 0, NULL, assign_on_error, NULL);
	DefineCustomIntVariable("segment.lock_timeout",
							"How long a change of groups, ladders or tiers, or a recalculation, may wait for sales in flight.",
							"Sales queue behind it meanwhile.",
							&segment_lock_timeout, 5000, 1, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable("segment.at",
							   "Instant that stands for now in views, triggers and ticks.",
							   "Empty: the clock. For tests and rehearsals.",
							   &at, "", PGC_SUSET, 0, check_at, assign_at, NULL);
	segment_worker_init();
	DefineCustomIntVariable("segment.confirm_moves",
							"How many customers a change of groups, ladders or tiers may move although max_moves is less.",
							"For SET LOCAL, in the transaction that makes the change.",
							&segment_confirm_moves, 0, 0, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved("segment");
#else
	EmitWarningsOnPlaceholders("segment");
#endif
	segment_sources_init();
	segment_stale_init();
	segment_ddl_init();
}
