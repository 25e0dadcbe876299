/*
 * worker.c
 *		Ticks by background workers, one for each database that is listed.
 *
 * Optional: nothing but shared_preload_libraries starts them, and pg_cron or
 * any other schedule that calls segment.tick() serves as well.  They do not run
 * on a hot standby, where views compute what is due by themselves.
 */
#include "segment.h"

#include "access/xact.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "tick.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

/* customers brought up to date in one transaction */
#define TICK_BATCH 10000

static char *databases = NULL;
static int	interval = 60;

PGDLLEXPORT pg_noreturn void segment_worker_main(Datum number);

/* One transaction of a tick; false where nothing is left to do. */
static bool
tick_once(void)
{
	uint64		n = 0;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED; /* whatever the default is */
	PushActiveSnapshot(GetTransactionSnapshot());
	if (OidIsValid(get_extension_oid("segment", true)))
	{
		pgstat_report_activity(STATE_RUNNING, "segment.tick()");
		SPI_connect();
		n = segment_tick_once(segment_now(), TICK_BATCH);
		SPI_finish();
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return n > 0;
}

/* The name of a database in the list, by its place. */
static char *
database_at(int number)
{
	List	   *names = NIL;

	if (!SplitGUCList(pstrdup(databases), ',', &names) || number >= list_length(names))
		return NULL;
	return list_nth(names, number);
}

/* What errors end is begun anew by the postmaster, after a while. */
void
segment_worker_main(Datum number)
{
	char	   *database;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	database = database_at(DatumGetInt32(number));
	if (database == NULL)
		proc_exit(0);
	BackgroundWorkerInitializeConnection(database, NULL, 0);
	for (;;)
	{
		while (tick_once())
			CHECK_FOR_INTERRUPTS();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 interval * 1000L, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

static bool
check_databases(char **value, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*value);
	List	   *names = NIL;
	bool		right = SplitGUCList(copy, ',', &names);

	if (!right)
		GUC_check_errdetail("It is a list of names of databases, separated by commas.");
	pfree(copy);
	list_free(names);
	return right;
}

/* Define the settings; where the server is just starting, register the workers. */
void
segment_worker_init(void)
{
	List	   *names = NIL;

	DefineCustomIntVariable("segment.tick_interval",
							"Seconds between two ticks of a background worker.",
							NULL, &interval, 60, 1, 86400,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomStringVariable("segment.tick_databases",
							   "Databases in which background workers tick, separated by commas.",
							   "Read when the server starts.",
							   &databases, "", PGC_POSTMASTER, GUC_LIST_INPUT, check_databases, NULL, NULL);
	(void) SplitGUCList(pstrdup(databases), ',', &names);
	for (int i = 0; i < list_length(names); i++)
	{
		BackgroundWorker worker = {0};

		worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
		worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
		worker.bgw_restart_time = 60;
		strlcpy(worker.bgw_library_name, "segment", sizeof(worker.bgw_library_name));
		strlcpy(worker.bgw_function_name, "segment_worker_main", sizeof(worker.bgw_function_name));
		snprintf(worker.bgw_name, BGW_MAXLEN, "segment tick of database %s", (char *) list_nth(names, i));
		strlcpy(worker.bgw_type, "segment tick", BGW_MAXLEN);
		worker.bgw_main_arg = Int32GetDatum(i);
		RegisterBackgroundWorker(&worker);
	}
}
