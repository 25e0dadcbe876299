/*
 * points.c
 *		Balance of a ledger of points, and what of it expires.
 *
 * Pure: rows and instants in, numbers out.  What a spend uses up depends on the
 * rows alone, never on when somebody asks, so the ledger is replayed once:
 *
 *	- A row that earns can be used from its instant or from valid_from, whichever
 *	  is later, until just before expires_at.
 *	- A row that spends uses up, at its instant, the rows that can be used then,
 *	  those that expire first before others.  What it does not find is owed, and
 *	  the next row that can be used pays it.
 *	- At one instant expiry comes first, then what is earned, then what is spent.
 *
 * The balance at an instant is the sum of all spending rows, of the earning
 * rows valid then, and, of those expired by then, of what had been used of
 * them.  So it is the plain sum where nothing expires or waits; expiry takes
 * what is left and no more; and a row dated ahead counts at once, though it is
 * used, or uses, in its turn.
 *
 * In the balance a row counts from valid_from on, whatever its own instant.
 */
#include "segment.h"

#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "points.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(segment_points_add);
PG_FUNCTION_INFO_V1(segment_points_balance);
PG_FUNCTION_INFO_V1(segment_points_expiring);
PG_FUNCTION_INFO_V1(segment_points_balance_change);
PG_FUNCTION_INFO_V1(segment_points_expiry);

/* one turn of the replay */
typedef struct PointsTurn
{
	TimestampTz at;
	bool		spends;
	int			row;
	const PointsRow *entry;
} PointsTurn;

/* ---- numbers and instants ---- */

static Numeric
add(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(a), NumericGetDatum(b)));
}

static Numeric
subtract(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(a), NumericGetDatum(b)));
}

static int
compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

static inline int
compare_instants(TimestampTz a, TimestampTz b)
{
	return a < b ? -1 : a > b;
}

/* infinity is no instant: never */
static inline bool
expired_at(const PointsRow *row, TimestampTz at)
{
	return !TIMESTAMP_IS_NOEND(row->expires_at) && row->expires_at <= at;
}

static inline bool
ever_valid(const PointsRow *row)
{
	return !TIMESTAMP_IS_NOEND(row->valid_from) && row->valid_from < row->expires_at;
}

/* ---- replay ---- */

/* Within an instant the order never shows in a figure; it only makes the sort total. */
static int
compare_turns(const void *a, const void *b)
{
	const PointsTurn *x = a;
	const PointsTurn *y = b;

	if (x->at != y->at)
		return compare_instants(x->at, y->at);
	if (x->spends != y->spends)
		return x->spends ? 1 : -1;
	return compare_instants(x->row, y->row);
}

/* The top of the heap is the greatest: what expires first, then what came first. */
static int
compare_usable(Datum a, Datum b, void *arg)
{
	const PointsTurn *x = (const PointsTurn *) DatumGetPointer(a);
	const PointsTurn *y = (const PointsTurn *) DatumGetPointer(b);

	if (x->entry->expires_at != y->entry->expires_at)
		return compare_instants(y->entry->expires_at, x->entry->expires_at);
	return compare_turns(y, x);
}

/* Rows that neither earn nor spend have no turn. */
static int
collect_turns(const PointsRow *rows, int nrows, Numeric *left, PointsTurn *turns)
{
	Numeric		zero = int64_to_numeric(0);
	int			nturns = 0;

	for (int i = 0; i < nrows; i++)
	{
		int			sign = compare(rows[i].points, zero);
		PointsTurn *turn = &turns[nturns];

		left[i] = sign < 0 ? NULL : rows[i].points;
		if (sign == 0)
			continue;
		turn->at = sign < 0 ? rows[i].at : Max(rows[i].at, rows[i].valid_from);
		turn->spends = sign < 0;
		turn->row = i;
		turn->entry = &rows[i];
		nturns++;
	}
	return nturns;
}

/* Pay what is owed at an instant from the rows that can be used; the rest stays owed. */
static Numeric
settle(Numeric owed, binaryheap *usable, TimestampTz at, Numeric *left)
{
	Numeric		zero = int64_to_numeric(0);

	while (!binaryheap_empty(usable) && compare(owed, zero) > 0)
	{
		const PointsTurn *first = (const PointsTurn *) DatumGetPointer(binaryheap_first(usable));
		Numeric		found = left[first->row];

		if (expired_at(first->entry, at))
			binaryheap_remove_first(usable);
		else if (compare(found, owed) > 0)
		{
			left[first->row] = subtract(found, owed);
			return zero;
		}
		else
		{
			left[first->row] = zero;
			owed = subtract(owed, found);
			binaryheap_remove_first(usable);
		}
	}
	return owed;
}

PointsLedger *
segment_replay_points(const PointsRow *rows, int nrows)
{
	PointsLedger *ledger = palloc(sizeof(PointsLedger));
	PointsTurn *turns = palloc(sizeof(PointsTurn) * Max(nrows, 1));
	binaryheap *usable = binaryheap_allocate(Max(nrows, 1), compare_usable, NULL);
	Numeric		owed = int64_to_numeric(0);
	int			nturns;

	ledger->rows = rows;
	ledger->nrows = nrows;
	ledger->left = palloc(sizeof(Numeric) * Max(nrows, 1));
	nturns = collect_turns(rows, nrows, ledger->left, turns);
	qsort(turns, nturns, sizeof(PointsTurn), compare_turns);

	for (int i = 0; i < nturns; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (turns[i].spends)
			owed = subtract(owed, turns[i].entry->points);
		else
			binaryheap_add(usable, PointerGetDatum(&turns[i]));
		/* who comes first within an instant must not matter */
		if (i + 1 == nturns || turns[i + 1].at != turns[i].at)
			owed = settle(owed, usable, turns[i].at, ledger->left);
	}
	binaryheap_free(usable);
	pfree(turns);
	return ledger;
}

/* ---- what it says ---- */

Numeric
segment_points_at(const PointsLedger *ledger, TimestampTz now)
{
	Numeric		sum = int64_to_numeric(0);

	for (int i = 0; i < ledger->nrows; i++)
	{
		const PointsRow *row = &ledger->rows[i];

		if (ledger->left[i] == NULL)
			sum = add(sum, row->points);
		else if (expired_at(row, now))
			sum = add(sum, subtract(row->points, ledger->left[i]));
		else if (row->valid_from <= now)
			sum = add(sum, row->points);
	}
	return sum;
}

/*
 * What goes by expiry after now, from an instant to just before another,
 * should nothing more be written.
 */
Numeric
segment_points_expiring_in(const PointsLedger *ledger, TimestampTz now,
						   TimestampTz from, TimestampTz until)
{
	Numeric		sum = int64_to_numeric(0);

	for (int i = 0; i < ledger->nrows; i++)
	{
		const PointsRow *row = &ledger->rows[i];

		if (ledger->left[i] != NULL && ever_valid(row) &&
			row->expires_at > now && row->expires_at >= from &&
			row->expires_at < until && !TIMESTAMP_IS_NOEND(row->expires_at))
			sum = add(sum, ledger->left[i]);
	}
	return sum;
}

/* The first instant, from the given one on, at which something goes by expiry. */
bool
segment_points_next_expiry(const PointsLedger *ledger, TimestampTz from, TimestampTz *result)
{
	Numeric		zero = int64_to_numeric(0);
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < ledger->nrows; i++)
	{
		const PointsRow *row = &ledger->rows[i];

		if (ledger->left[i] != NULL && ever_valid(row) &&
			row->expires_at >= from && row->expires_at < next &&
			compare(ledger->left[i], zero) > 0)
			next = row->expires_at;
	}
	*result = next;
	return !TIMESTAMP_IS_NOEND(next);
}

/*
 * The first instant after now at which the balance changes by time alone, or
 * would did one row not begin with just what another takes along.
 */
bool
segment_points_change(const PointsLedger *ledger, TimestampTz now, TimestampTz *result)
{
	Numeric		zero = int64_to_numeric(0);
	TimestampTz next = DT_NOEND;

	for (int i = 0; i < ledger->nrows; i++)
	{
		const PointsRow *row = &ledger->rows[i];

		if (ledger->left[i] == NULL || !ever_valid(row))
			continue;
		if (row->valid_from > now)
		{
			if (row->valid_from < next && compare(row->points, zero) > 0)
				next = row->valid_from;
		}
		else if (row->expires_at > now && row->expires_at < next &&
				 compare(ledger->left[i], zero) > 0)
			next = row->expires_at;
	}
	*result = next;
	return !TIMESTAMP_IS_NOEND(next);
}

/* ---- to SQL ---- */

/* instants that the caller asks about */
typedef struct PointsQuestion
{
	bool		now_known;
	TimestampTz now;
	TimestampTz from;
	TimestampTz until;
} PointsQuestion;

typedef struct PointsState
{
	PointsQuestion question;
	PointsRow  *rows;
	int			nrows;
	int			space;
} PointsState;

static TimestampTz
instant_argument(FunctionCallInfo fcinfo, int argument, TimestampTz otherwise)
{
	if (argument >= PG_NARGS() || PG_ARGISNULL(argument))
		return otherwise;
	return PG_GETARG_TIMESTAMPTZ(argument);
}

static PointsQuestion
question_argument(FunctionCallInfo fcinfo)
{
	PointsQuestion question;

	question.now_known = !PG_ARGISNULL(5);
	question.now = instant_argument(fcinfo, 5, DT_NOBEGIN);
	question.from = instant_argument(fcinfo, 6, DT_NOBEGIN);
	question.until = instant_argument(fcinfo, 7, DT_NOEND);
	return question;
}

static bool
same_question(const PointsQuestion *a, const PointsQuestion *b)
{
	return a->now_known == b->now_known && a->now == b->now &&
		a->from == b->from && a->until == b->until;
}

static PointsState *
new_state(MemoryContext context, const PointsQuestion *question)
{
	PointsState *state = MemoryContextAllocZero(context, sizeof(PointsState));

	state->question = *question;
	state->space = 8;
	state->rows = MemoryContextAlloc(context, state->space * sizeof(PointsRow));
	return state;
}

static void
append_row(PointsState *state, MemoryContext context, const PointsRow *row)
{
	MemoryContext caller = MemoryContextSwitchTo(context);

	if (state->nrows == state->space)
	{
		state->space *= 2;
		state->rows = repalloc(state->rows, state->space * sizeof(PointsRow));
	}
	state->rows[state->nrows] = *row;
	state->rows[state->nrows].points = DatumGetNumericCopy(NumericGetDatum(row->points));
	state->nrows++;
	MemoryContextSwitchTo(caller);
}

/*
 * Transition of all aggregates.  Rows are only collected: they may come in any
 * order, and what a spend uses up depends on all of them.  Odd rows are left
 * out, as wherever rows of the shop are read.
 */
Datum
segment_points_add(PG_FUNCTION_ARGS)
{
	PointsState *state = PG_ARGISNULL(0) ? NULL : (PointsState *) PG_GETARG_POINTER(0);
	PointsQuestion question = question_argument(fcinfo);
	MemoryContext context;
	PointsRow	row;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "segment_points_add called outside an aggregate");
	if (state == NULL)
		state = new_state(context, &question);
	else if (!same_question(&state->question, &question))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("rows of one ledger of points are asked about different instants"),
				 errhint("Only the first four arguments may differ from row to row.")));
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_POINTER(state);
	row.points = PG_GETARG_NUMERIC(1);
	if (numeric_is_nan(row.points) || numeric_is_inf(row.points))
		PG_RETURN_POINTER(state);
	row.at = PG_GETARG_TIMESTAMPTZ(2);
	row.valid_from = instant_argument(fcinfo, 3, DT_NOBEGIN);
	row.expires_at = instant_argument(fcinfo, 4, DT_NOEND);
	append_row(state, context, &row);
	PG_RETURN_POINTER(state);
}

/* NULL: nothing to say, for want of rows or of an instant. */
static PointsState *
state_argument(FunctionCallInfo fcinfo)
{
	PointsState *state;

	if (!AggCheckCallContext(fcinfo, NULL))
		elog(ERROR, "final function of points called outside an aggregate");
	if (PG_ARGISNULL(0))
		return NULL;
	state = (PointsState *) PG_GETARG_POINTER(0);
	return state->nrows > 0 && state->question.now_known ? state : NULL;
}

Datum
segment_points_balance(PG_FUNCTION_ARGS)
{
	PointsState *state = state_argument(fcinfo);

	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(segment_points_at(segment_replay_points(state->rows, state->nrows),
										state->question.now));
}

Datum
segment_points_expiring(PG_FUNCTION_ARGS)
{
	PointsState *state = state_argument(fcinfo);

	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(segment_points_expiring_in(segment_replay_points(state->rows, state->nrows),
												 state->question.now, state->question.from,
												 state->question.until));
}

/* The other two for tests. */
Datum
segment_points_balance_change(PG_FUNCTION_ARGS)
{
	PointsState *state = state_argument(fcinfo);
	TimestampTz next;

	if (state == NULL ||
		!segment_points_change(segment_replay_points(state->rows, state->nrows), state->question.now, &next))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(next);
}

Datum
segment_points_expiry(PG_FUNCTION_ARGS)
{
	PointsState *state = state_argument(fcinfo);
	TimestampTz next;

	if (state == NULL ||
		!segment_points_next_expiry(segment_replay_points(state->rows, state->nrows), state->question.now, &next))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(next);
}
