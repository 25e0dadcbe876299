/*
 * points.h
 *		A customer's ledger of points: what is left, what expires: pure.
 *
 * Rows come in any order.  Of rows that cannot count (points NULL, NaN or
 * infinite, no instant) none may be among them.  Results live in the current
 * memory context and may share the numerics of the rows.
 */
#ifndef SEGMENT_POINTS_H
#define SEGMENT_POINTS_H

#include "segment.h"

/* a row of the ledger: earns above zero, spends below */
typedef struct PointsRow
{
	Numeric		points;
	TimestampTz at;
	TimestampTz valid_from;		/* DT_NOBEGIN: at once; spending rows: ignored */
	TimestampTz expires_at;		/* DT_NOEND: never; spending rows: ignored */
} PointsRow;

/* the rows replayed: holds at whatever instant is asked for afterwards */
typedef struct PointsLedger
{
	const PointsRow *rows;
	int			nrows;
	Numeric    *left;			/* of each row, what no spend ever uses; NULL where it spends */
} PointsLedger;

extern PointsLedger *segment_replay_points(const PointsRow *rows, int nrows);
extern Numeric segment_points_at(const PointsLedger *ledger, TimestampTz now);
extern Numeric segment_points_expiring_in(const PointsLedger *ledger, TimestampTz now,
										  TimestampTz from, TimestampTz until);

/* what time alone does; false: nothing any more */
extern bool segment_points_change(const PointsLedger *ledger, TimestampTz now, TimestampTz *result);
extern bool segment_points_next_expiry(const PointsLedger *ledger, TimestampTz from, TimestampTz *result);

#endif							/* SEGMENT_POINTS_H */
