/*
 * segment.c
 *		Module and server settings.
 */
#include "segment.h"

#include "ddl.h"
#include "source.h"
#include "stale.h"
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
